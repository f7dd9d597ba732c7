//! The store: what everything above persistence sees of it.
//!
//! A commit is *queued* when [`Store::queue`] returns: it has its position and its sequence
//! numbers, readers see it, and nothing but the death of the whole cell can lose it. It is
//! *durable* when the journal has been synced behind it; then its outputs run.
//!
//! ```text
//! queue ──(cell lock)──► position, numbers, tables, streams, pending
//! write_group ─────────► take all pending ─► one write ─► one sync ─► durable ─► outputs
//! maintain ────────────► checkpoint · snapshot · trim · space
//! ```

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::watch;

use super::backup::{BackupError, BackupInfo};
use super::checkpoint::Checkpointer;
use super::disk::{Disk, LockGuard};
use super::engine::{Direction, Engine, KeyRange};
pub use super::events::{EventGap, EventPage, StoredEvent};
use super::journal::writer::JournalWriter;
use super::lineage::Lineage;
use super::options::{Driving, StoreOptions};
use super::pace::{AtWork, Pace};
pub use super::published::Readable;
use super::running::{Running, RunningSlot};
pub use super::spill::{SpilledName, SpilledNames};
use super::state::{Cell, State};
use super::streams;
pub use super::streams::StreamState;
use super::writing::locked;
use crate::clock::{Clock, Timestamp};
use crate::commit::{
    Commit, Epoch, EventNumber, Haste, Incarnation, Mark, Output, Position, Queued, Sequence,
    ServiceId, StreamId, TableId,
};
use crate::error::StoreError;
use crate::planted::Planted;

/// Longest page of events, in bytes of their envelopes.
pub const EVENT_PAGE_BYTES_MAX: usize = 1 << 20;

/// A handle to an open store. Clones share it. When the last is dropped without
/// [`Store::close`], the store stops as if the process had died: nothing acknowledged is lost.
#[derive(Clone)]
pub struct Store {
    pub(crate) handle: Arc<Handle>,
}

/// Stops the threads when the last handle goes.
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Everything of an open store.
pub(crate) struct Core {
    pub(crate) options: StoreOptions,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) driving: Driving,
    pub(crate) lineage: Lineage,
    pub(crate) opening: u64,
    /// The cell lock: whoever holds it decides what the next position is.
    pub(crate) cell: Mutex<Cell>,
    /// Wakes the writer's thread; goes with `cell`.
    pub(crate) wake: Condvar,
    pub(crate) pace: Pace,
    pub(crate) state: State,
    /// Serialises the giving of new numbers to services and tables.
    allocating: Mutex<()>,
    pub(crate) writer: Mutex<JournalWriter>,
    pub(crate) checkpointer: Mutex<Checkpointer>,
    /// Segments of the journal: ordinal and first position, ascending.
    pub(crate) segments: Mutex<VecDeque<(u64, Position)>>,
    pub(crate) running: Running,
    pub(crate) lock: Mutex<Option<Box<dyn LockGuard>>>,
    pub(crate) queued: AtomicU64,
    pub(crate) durable: AtomicU64,
    pub(crate) gauges: Gauges,
    pub(crate) closed: OnceLock<String>,
    /// What a reader has found that it could not read, for the checkpointer to close the cell
    /// because of.
    pub(crate) damage: OnceLock<Damage>,
    pub(crate) maintenance: Mutex<Maintenance>,
    pub(crate) maintenance_wake: Condvar,
}

#[derive(Default)]
pub(crate) struct Maintenance {
    pub(crate) stopping: bool,
    pub(crate) wanted: bool,
}

/// Figures that others read without a lock.
#[derive(Default)]
pub(crate) struct Gauges {
    pub(crate) space: AtomicU64,
    pub(crate) uncheckpointed_bytes: AtomicU64,
    pub(crate) checkpoint: AtomicU64,
    pub(crate) snapshot: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
}

/// How much space the disk has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Enough.
    Ok,
    /// Below the low mark: edges should refuse work, internal turns go on.
    Low,
    /// The journal cannot grow: turns wait until space is free again.
    Exhausted,
}

/// Whether the cell takes commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellState {
    /// It does.
    Open,
    /// It has stopped, and why.
    Closed(String),
}

/// Figures of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Whether the cell takes commits.
    pub state: CellState,
    /// How much space is left.
    pub space: Space,
    /// Bytes journaled since the last checkpoint.
    pub uncheckpointed_bytes: u64,
    /// Whether that is more than the options allow.
    pub uncheckpointed_over_budget: bool,
    /// Streams that keep more than the options allow.
    pub streams_over_budget: Vec<StreamId>,
    /// Number of journal segments.
    pub segments: usize,
    /// The newest queued position.
    pub queued: Position,
    /// The newest durable position.
    pub durable: Position,
    /// The position of the last checkpoint.
    pub checkpoint: Position,
    /// The position of the newest verified snapshot.
    pub snapshot: Position,
    /// Bytes written to the journal since opening.
    pub journal_bytes: u64,
    /// Syncs of the journal since opening.
    pub syncs: u64,
    /// Syncs of any file or directory, the journal's included.
    pub disk_syncs: u64,
}

/// What could not be read.
#[derive(Debug)]
pub(crate) enum Damage {
    /// Rows of the engine, which can be made anew.
    Engine(StoreError),
    /// Messages in files of their own, which cannot.
    Spilled(StoreError),
}

impl Store {
    pub(crate) fn start(core: Core) -> Result<Store, StoreError> {
        let core = Arc::new(core);
        let handle = Arc::new(Handle {
            core: core.clone(),
            threads: Mutex::new(Vec::new()),
        });
        if matches!(core.driving, Driving::Threads) {
            let writer = core.clone();
            let checkpointer = core.clone();
            handle.spawn("journal", move || writer.write_forever())?;
            handle.spawn("checkpointer", move || checkpointer.maintain_forever())?;
        }
        Ok(Store { handle })
    }

    fn core(&self) -> &Core {
        &self.handle.core
    }

    /// Names the continuous history of this cell's sequence numbers.
    pub fn incarnation(&self) -> Incarnation {
        self.core().lineage.incarnation
    }

    /// The histories that its event numbers may be of.
    pub(crate) fn lineage(&self) -> &Lineage {
        &self.core().lineage
    }

    /// The mistake that this system makes on purpose.
    pub(crate) fn planted(&self) -> Planted {
        self.core().options.planted
    }

    /// Names this opening of the cell.
    pub fn opening(&self) -> u64 {
        self.core().opening
    }

    /// The number of a service slot: found by its name or a former one, or newly given.
    pub fn service(
        &self,
        name: &str,
        slot: u16,
        formerly: &[&str],
    ) -> Result<ServiceId, StoreError> {
        let core = self.core();
        let _allocating = locked(&core.allocating);
        let (id, row) = core.state.catalog().service(name, slot, formerly);
        if let Some(row) = row {
            core.queue_system(vec![row], format!("service {name} is number {}", id.0))?;
        }
        Ok(id)
    }

    /// All services: number, name, slot.
    pub fn services(&self) -> Vec<(ServiceId, String, u16)> {
        let catalog = self.core().state.catalog();
        let services = catalog.services.iter();
        services
            .map(|(id, (name, slot))| (*id, name.clone(), *slot))
            .collect()
    }

    /// The number of a service's table: found by its name or a former one, or newly given.
    pub fn table(
        &self,
        service: ServiceId,
        name: &str,
        formerly: &[&str],
    ) -> Result<TableId, StoreError> {
        let core = self.core();
        let _allocating = locked(&core.allocating);
        let (id, row) = core.state.catalog().table(service, name, formerly);
        if let Some(row) = row {
            let note = format!("table {name} of service {} is number {}", service.0, id.0);
            core.queue_system(vec![row], note)?;
        }
        Ok(id)
    }

    /// All tables of a service.
    pub fn tables(&self, service: ServiceId) -> Vec<(TableId, String)> {
        let catalog = self.core().state.catalog();
        let tables = catalog.tables.iter();
        tables
            .filter(|(_, (owner, _))| *owner == service)
            .map(|(id, (_, name))| (*id, name.clone()))
            .collect()
    }

    /// Makes the caller the owner of a service; commits of earlier owners are refused from now on.
    pub fn take_over(&self, service: ServiceId) -> Epoch {
        let mut cell = self.core().cell();
        let index = service.0 as usize;
        if cell.epochs.len() <= index {
            cell.epochs.resize(index + 1, 0);
        }
        cell.epochs[index] += 1;
        Epoch(cell.epochs[index])
    }

    /// Queues a commit, which makes it final. The outputs run in order when it is durable. Never
    /// waits for the disk.
    pub fn queue(
        &self,
        epoch: Epoch,
        commit: Commit,
        outputs: Vec<Output>,
    ) -> Result<Queued, StoreError> {
        self.queue_with(Haste::Awaited, epoch, commit, outputs)
    }

    /// As [`Store::queue`], also for outputs that nobody waits for.
    pub fn queue_with(
        &self,
        haste: Haste,
        epoch: Epoch,
        commit: Commit,
        outputs: Vec<Output>,
    ) -> Result<Queued, StoreError> {
        self.core().queue(Some(epoch), commit, outputs, haste)
    }

    /// Runs `output` when everything queued so far is durable: at once if it is.
    pub fn gate(&self, output: Output) {
        self.core().gate(Position(u64::MAX), output);
    }

    /// Runs `output` when a queued position is durable: at once if it is.
    pub fn gate_at(&self, position: Position, output: Output) {
        self.core().gate(position, output);
    }

    /// For somebody who queues commits: to say when more are likely to follow.
    pub(crate) fn at_work(&self) -> AtWork {
        AtWork::new(self.handle.core.clone())
    }

    /// Whether somebody waits for what is not durable yet.
    #[cfg(test)]
    pub(crate) fn is_awaited(&self) -> bool {
        self.core().cell().awaited.is_some()
    }

    /// The position of the newest queued commit.
    pub fn queued(&self) -> Position {
        Position(self.core().queued.load(Ordering::Acquire))
    }

    /// The newest durable position.
    pub fn durable(&self) -> Position {
        self.core().durable()
    }

    /// The newest time of any commit.
    pub fn newest(&self) -> Timestamp {
        self.core().cell().newest
    }

    /// The newest queued value of a row.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let core = self.core();
        core.check_open()?;
        match core.state.tables.find(table) {
            Some(found) => found
                .get(table, key, core.engine.as_ref())
                .map_err(|error| core.doubt_engine(error)),
            None => Ok(None),
        }
    }

    /// At most `limit` rows of a range, as queued so far.
    pub fn scan(
        &self,
        table: TableId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let core = self.core();
        core.check_open()?;
        match core.state.tables.find(table) {
            Some(found) => found
                .scan(table, range, direction, limit, core.engine.as_ref())
                .map_err(|error| core.doubt_engine(error)),
            None => Ok(Vec::new()),
        }
    }

    /// Messages that a stream's outbox keeps behind `after`. The first is given whatever its size.
    pub fn outbox(
        &self,
        stream: StreamId,
        after: Sequence,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<(Sequence, Bytes)>, StoreError> {
        let core = self.core();
        core.check_open()?;
        core.outbox(stream, after, max_entries, max_bytes)
    }

    /// The names of a stream's messages on disk, without reading them; none if they cannot be told.
    pub fn spilled_names(&self, stream: StreamId) -> Result<Option<SpilledNames>, StoreError> {
        let core = self.core();
        core.check_open()?;
        core.spilled_names(stream)
    }

    /// The last number given on a stream.
    pub fn sent(&self, stream: StreamId) -> Sequence {
        let found = self.core().state.streams.find(stream);
        found.map_or(Sequence(0), |stream| streams::lock(&stream).sent)
    }

    /// What a stream's receiver has done with it.
    pub fn mark(&self, stream: StreamId) -> Mark {
        let found = self.core().state.streams.find(stream);
        found.map_or(Mark::default(), |stream| streams::lock(&stream).mark)
    }

    /// All streams.
    pub fn streams(&self) -> Vec<StreamState> {
        self.core().state.streams.states()
    }

    /// The streams that a service receives.
    pub fn incoming(&self, service: ServiceId) -> Vec<StreamId> {
        let ids = self.core().state.streams.ids().into_iter();
        ids.filter(|id| id.receiver == service).collect()
    }

    /// The streams that a service sends.
    pub fn outgoing(&self, service: ServiceId) -> Vec<StreamId> {
        let ids = self.core().state.streams.ids().into_iter();
        ids.filter(|id| id.sender == service).collect()
    }

    /// Durable events from a number on: at most `limit`, and at most [`EVENT_PAGE_BYTES_MAX`] of
    /// them, but one at least if there is one.
    pub fn events(&self, from: EventNumber, limit: usize) -> Result<EventPage, StoreError> {
        let core = self.core();
        core.check_open()?;
        core.state.published.read(from, limit, EVENT_PAGE_BYTES_MAX)
    }

    /// Whether [`Store::events`] would find these in memory, or nothing at all.
    pub fn events_are_recent(&self, from: EventNumber) -> bool {
        self.core().state.published.is_recent(from)
    }

    /// Tells how far events can be read, and every change of it.
    pub fn readable(&self) -> watch::Receiver<Readable> {
        self.core().state.published.readable()
    }

    /// The number of the newest queued event.
    pub fn last_event(&self) -> EventNumber {
        self.core().cell().last_event
    }

    /// The `running` slot of a service, for its actor.
    pub fn running(&self, service: ServiceId) -> RunningSlot {
        self.core().running.slot(service)
    }

    /// Says that an attempt has been charged, durably, for everything that the opening found
    /// interrupted. Until then each further opening finds it again.
    pub fn interrupted_charged(&self) {
        self.core().running.forget();
    }

    /// Whether no turn may begin, for want of space: asked before each, because what has begun is
    /// queued whatever the disk says.
    pub(crate) fn must_wait(&self) -> bool {
        self.core().must_wait()
    }

    /// Whether groups wait for anybody's company.
    #[cfg(test)]
    pub(crate) fn is_at_work(&self) -> bool {
        self.core().pace.is_at_work()
    }

    /// Figures.
    pub fn usage(&self) -> Usage {
        self.core().usage()
    }

    /// One step of the journal's writer. Says whether a group became durable.
    pub fn write_group(&self) -> Result<bool, StoreError> {
        self.core().write_group()
    }

    /// One step of the checkpointer. Says whether there was anything to do.
    pub fn maintain(&self) -> Result<bool, StoreError> {
        self.core().maintain()
    }

    /// Brings the engine to the present and notes it in `CHECKPOINT`.
    pub fn checkpoint_now(&self) -> Result<Position, StoreError> {
        self.core().checkpoint(false)
    }

    /// Takes a snapshot of the present, and lets go of what it makes superfluous.
    pub fn snapshot_now(&self) -> Result<Position, StoreError> {
        self.core().snapshot()
    }

    /// Writes a backup of the present to the file `to`, beside whatever else goes on. Under that
    /// name there is a whole backup or nothing.
    pub fn backup(&self, to: &Path) -> Result<BackupInfo, BackupError> {
        self.core().backup(to)
    }

    /// Stops taking commits, makes everything queued durable, checkpoints, and lets the directory
    /// go. The next opening will find it clean.
    pub fn close(&self) -> Result<(), StoreError> {
        let core = self.core();
        core.check_open()?;
        core.cell().closing = true;
        // The first may only finish a checkpoint that was waiting for space.
        let closed = core
            .checkpoint(false)
            .and_then(|_| core.checkpoint(true))
            .and_then(|_| core.writer().finish());
        let reason = match &closed {
            Ok(()) => {
                core.running.finish();
                "it was closed".to_owned()
            }
            Err(error) => error.to_string(),
        };
        core.close_because(reason);
        self.handle.stop();
        *locked(&core.lock) = None;
        closed
    }
}

impl Handle {
    fn spawn(
        &self,
        name: &str,
        work: impl FnOnce() + std::marker::Send + 'static,
    ) -> Result<(), StoreError> {
        let name = format!("{name}-{}", self.core.options.cell);
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(work)
            .map_err(|error| StoreError::Io {
                operation: format!("starting thread {name}"),
                detail: error.to_string(),
            })?;
        locked(&self.threads).push(thread);
        Ok(())
    }

    fn stop(&self) {
        locked(&self.core.maintenance).stopping = true;
        self.core.maintenance_wake.notify_all();
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            // An output may own the last handle; its thread ends by itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.close_because("the store was dropped".to_owned());
        self.stop();
    }
}

impl Core {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        options: StoreOptions,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        engine: Arc<dyn Engine>,
        driving: Driving,
        lineage: Lineage,
        opening: u64,
        writer: JournalWriter,
        state: State,
        cell: Cell,
        checkpointer: Checkpointer,
        segments: VecDeque<(u64, Position)>,
        running: Running,
        lock: Box<dyn LockGuard>,
    ) -> Core {
        let last = cell.last;
        state.published.begin_at(cell.last_event);
        let gauges = Gauges::default();
        gauges
            .checkpoint
            .store(checkpointer.base().0, Ordering::Relaxed);
        gauges
            .snapshot
            .store(checkpointer.snapshot.0, Ordering::Relaxed);
        gauges
            .uncheckpointed_bytes
            .store(cell.uncheckpointed_bytes, Ordering::Relaxed);
        Core {
            options,
            disk,
            clock,
            engine,
            driving,
            lineage,
            opening,
            cell: Mutex::new(cell),
            wake: Condvar::new(),
            pace: Pace::starting_at(last),
            state,
            allocating: Mutex::new(()),
            writer: Mutex::new(writer),
            checkpointer: Mutex::new(checkpointer),
            segments: Mutex::new(segments),
            running,
            lock: Mutex::new(Some(lock)),
            queued: AtomicU64::new(last.0),
            durable: AtomicU64::new(last.0),
            gauges,
            closed: OnceLock::new(),
            damage: OnceLock::new(),
            maintenance: Mutex::default(),
            maintenance_wake: Condvar::new(),
        }
    }
}
