//! Queueing and writing: how a commit becomes final, and how it becomes durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::journal::body;
use super::journal::record::BODY_BYTES_MAX;
use super::journal::writer::{JournalWriter, Pending, Written};
use super::options::Driving;
use super::state::{Cell, Given};
use super::store::{CellState, Core, Damage, Space, Usage};
use crate::clock::Stopwatch;
use crate::commit::{Cause, Commit, Epoch, Haste, Output, Position, Queued, ServiceId, Write};
use crate::error::StoreError;
use crate::planted::PlantedBug;

/// The service number of the library itself.
const SYSTEM: ServiceId = ServiceId(0);

/// How often the checkpointer's thread looks at the disk when nobody wakes it.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// The same while the disk is full.
const FULL_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn cell(&self) -> MutexGuard<'_, Cell> {
        locked(&self.cell)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, JournalWriter> {
        locked(&self.writer)
    }

    pub(crate) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        match self.closed.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Closed {
                reason: reason.clone(),
            }),
        }
    }

    /// Queues a commit; without an epoch, one of the store's own.
    ///
    /// It does not look at the disk's space: a turn that has begun is to end, and its handler must
    /// not run twice for it. Who takes turns asks [`Core::must_wait`] before each, so that no more
    /// than one of each service comes to wait for a disk that was found full in the middle of it.
    pub(crate) fn queue(
        &self,
        epoch: Option<Epoch>,
        commit: Commit,
        outputs: Vec<Output>,
        haste: Haste,
    ) -> Result<Queued, StoreError> {
        // Encode before taking the lock: it is most of the work.
        let mut body = body::encode(&commit);
        if body.len() > BODY_BYTES_MAX / 2 {
            let error = StoreError::TooLarge {
                bytes: body.len(),
                limit: BODY_BYTES_MAX / 2,
            };
            for output in outputs {
                run(output, Err(error.clone()));
            }
            return Err(error);
        }
        let mut cell = self.cell();
        // Under the lock: `close_because` fails every output that was queued before it.
        self.check_open()?;
        if cell.closing {
            return Err(StoreError::Closed {
                reason: "it is being closed".to_owned(),
            });
        }
        if let Some(Epoch(epoch)) = epoch
            && cell.epochs.get(commit.service.0 as usize) != Some(&epoch)
        {
            return Err(StoreError::Superseded);
        }
        self.state.check(&commit)?;
        let before = cell.uncheckpointed_bytes;
        let sequences = self
            .state
            .apply(&mut cell, commit, Given::Live(&mut body))
            .map_err(|malformed| StoreError::Refused {
                service: SYSTEM.0,
                detail: malformed.0.to_owned(),
            })?;
        let position = cell.last;
        cell.uncheckpointed_bytes += body.len() as u64;
        cell.pending.push(Pending { position, body });
        let mut early = Vec::new();
        if self.options.planted.is(PlantedBug::OutputsBeforeSync) {
            early = outputs;
        } else {
            cell.promise(position, outputs, haste);
        }
        self.queued.store(position.0, Ordering::Release);
        let due = self.options.checkpoint_start_bytes;
        let checkpoint_due = before < due && cell.uncheckpointed_bytes >= due;
        let bytes = cell.uncheckpointed_bytes;
        self.gauges
            .uncheckpointed_bytes
            .store(bytes, Ordering::Relaxed);
        let wake = std::mem::take(&mut cell.writer_idle) || self.pace.is_due(&cell);
        drop(cell);
        if wake {
            self.tell_writer();
        }
        if checkpoint_due {
            self.tell_checkpointer();
        }
        for output in early {
            run(output, Ok(position));
        }
        Ok(Queued {
            position,
            sequences,
        })
    }

    /// Queues a commit of the library itself.
    pub(crate) fn queue_system(&self, writes: Vec<Write>, note: String) -> Result<(), StoreError> {
        let at = self.cell().newest.max(self.clock.wall());
        let commit = Commit {
            service: SYSTEM,
            at,
            seed: 0,
            cause: Cause::System { note },
            mark: None,
            writes,
            sends: Vec::new(),
        };
        self.queue(None, commit, Vec::new(), Haste::Unhurried)
            .map(|_| ())
    }

    /// Runs an output when a position, or all that is queued if that is less, is durable.
    pub(crate) fn gate(&self, position: Position, output: Output) {
        let at_once = {
            let mut cell = self.cell();
            let position = position.min(cell.last);
            match self.check_open() {
                Err(closed) => Err(closed),
                Ok(()) if self.durable() >= position => Ok(position),
                Ok(()) if self.options.planted.is(PlantedBug::QueryBeforeSync) => Ok(position),
                Ok(()) => {
                    cell.promise(position, [output], Haste::Awaited);
                    let due = self.pace.is_due(&cell);
                    drop(cell);
                    if due {
                        self.tell_writer();
                    }
                    return;
                }
            }
        };
        run(output, at_once);
    }

    /// One step of the writer: one group, one sync, its outputs.
    pub(crate) fn write_group(&self) -> Result<bool, StoreError> {
        let mut writer = self.writer();
        self.check_open()?;
        let (group, last) = {
            let mut cell = self.cell();
            (std::mem::take(&mut cell.pending), cell.last)
        };
        writer.take(group);
        self.pace.takes(last);
        match self.step(&mut writer) {
            Ok(progress) => Ok(progress),
            Err(error) => {
                // What a failed write or sync has left on the disk is unknown. Only recovery,
                // which reads it back and writes it again, may go on from here.
                self.close_because(error.to_string());
                self.check_open()?;
                Err(error)
            }
        }
    }

    fn step(&self, writer: &mut JournalWriter) -> Result<bool, StoreError> {
        let written = writer.step()?;
        self.note_segment(writer);
        match written {
            Written::Through(position) => {
                self.state.published.durable_to(position);
                self.durable.store(position.0, Ordering::Release);
                self.running.note_durable(position);
                self.set_space_after_write();
                self.gauges
                    .journal_bytes
                    .store(writer.bytes_written, Ordering::Relaxed);
                self.gauges.syncs.store(writer.syncs, Ordering::Relaxed);
                self.release_outputs(position);
                if self.cell().pending.is_empty() && !writer.is_waiting() {
                    writer.trail()?;
                }
                Ok(true)
            }
            Written::Nothing => {
                let mut cell = self.cell();
                cell.writer_idle = cell.pending.is_empty();
                Ok(!cell.writer_idle)
            }
            Written::Full => {
                self.gauges
                    .space
                    .store(Space::Exhausted as u64, Ordering::Release);
                self.cell().writer_idle = true;
                self.tell_checkpointer();
                Ok(false)
            }
        }
    }

    fn note_segment(&self, writer: &JournalWriter) {
        let present = writer.segment();
        let mut segments = locked(&self.segments);
        if segments.back() != Some(&present) {
            segments.push_back(present);
        }
    }

    /// Runs the outputs up to a position, in order, those first that somebody waits for. The
    /// writer's lock keeps that order.
    fn release_outputs(&self, position: Position) {
        let released = self.cell().released(position);
        let mut later = Vec::new();
        for (due, haste, output) in released {
            match haste {
                Haste::Awaited => run(output, Ok(due)),
                Haste::Unhurried => later.push((due, output)),
            }
        }
        for (due, output) in later {
            run(output, Ok(due));
        }
    }

    /// Stops the cell. Everything that waits is told so; commits that were queued and not yet
    /// durable may or may not survive, which the next opening will know.
    pub(crate) fn close_because(&self, reason: String) {
        let waiting = {
            let mut cell = self.cell();
            if self.closed.set(reason.clone()).is_err() {
                return;
            }
            cell.pending.clear();
            self.state.published.close();
            self.wake.notify_all();
            std::mem::take(&mut cell.outputs)
        };
        self.pace.rouse();
        self.tell_checkpointer();
        for (_, _, output) in waiting {
            let reason = reason.clone();
            run(output, Err(StoreError::Closed { reason }));
        }
    }

    /// Has the cell closed because of what could not be read: nobody may decide on a part.
    pub(crate) fn doubt(&self, damage: Damage) {
        // By the checkpointer: whoever reads may hold what the outputs need.
        let _ = self.damage.set(damage);
        self.tell_checkpointer();
    }

    /// The same for rows of the engine.
    pub(crate) fn doubt_engine(&self, error: StoreError) -> StoreError {
        self.doubt(Damage::Engine(error.clone()));
        error
    }

    fn tell_writer(&self) {
        match &self.driving {
            Driving::Threads => self.wake.notify_one(),
            Driving::Manual(tell) => tell(),
        }
    }

    pub(crate) fn tell_checkpointer(&self) {
        match &self.driving {
            Driving::Threads => {
                locked(&self.maintenance).wanted = true;
                self.maintenance_wake.notify_one();
            }
            Driving::Manual(tell) => tell(),
        }
    }

    /// The journal's thread.
    pub(crate) fn write_forever(&self) {
        loop {
            let began = Stopwatch::start();
            // A closed cell has told everybody already; there is nothing left to report here.
            let Ok(progress) = self.write_group() else {
                return;
            };
            if progress {
                self.pace.took(began.elapsed());
            }
            self.await_group(progress);
        }
    }

    /// The checkpointer's thread.
    pub(crate) fn maintain_forever(&self) {
        loop {
            match self.maintain() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(StoreError::Closed { .. }) => return,
                Err(error) => tracing::warn!(%error, "maintenance of the store failed"),
            }
            let interval = match self.space() {
                Space::Exhausted => FULL_INTERVAL,
                Space::Ok | Space::Low => MAINTENANCE_INTERVAL,
            };
            let mut maintenance = locked(&self.maintenance);
            if !maintenance.wanted && !maintenance.stopping && self.closed.get().is_none() {
                maintenance = self
                    .maintenance_wake
                    .wait_timeout(maintenance, interval)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            maintenance.wanted = false;
            if maintenance.stopping || self.closed.get().is_some() {
                return;
            }
        }
    }

    pub(crate) fn space(&self) -> Space {
        match self.gauges.space.load(Ordering::Acquire) {
            0 => Space::Ok,
            1 => Space::Low,
            _ => Space::Exhausted,
        }
    }

    /// Whether no turn may begin, because what it would queue could not be written. A closed cell
    /// never has space again, which whoever queues is told.
    pub(crate) fn must_wait(&self) -> bool {
        self.space() == Space::Exhausted && self.closed.get().is_none()
    }

    /// A group was written, so the journal can grow again.
    fn set_space_after_write(&self) {
        if self.space() == Space::Exhausted {
            self.gauges
                .space
                .store(Space::Low as u64, Ordering::Release);
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let gauge = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Ordering::Relaxed);
        let uncheckpointed_bytes = gauge(&self.gauges.uncheckpointed_bytes);
        Usage {
            state: match self.closed.get() {
                None => CellState::Open,
                Some(reason) => CellState::Closed(reason.clone()),
            },
            space: self.space(),
            uncheckpointed_bytes,
            uncheckpointed_over_budget: uncheckpointed_bytes > self.options.checkpoint_bytes_max,
            streams_over_budget: self
                .state
                .streams
                .over_budget(self.options.stream_backlog_bytes),
            segments: locked(&self.segments).len(),
            queued: Position(self.queued.load(Ordering::Acquire)),
            durable: self.durable(),
            checkpoint: Position(gauge(&self.gauges.checkpoint)),
            snapshot: Position(gauge(&self.gauges.snapshot)),
            journal_bytes: gauge(&self.gauges.journal_bytes),
            syncs: gauge(&self.gauges.syncs),
            disk_syncs: self.disk.syncs() + self.engine.syncs(),
        }
    }
}

fn run(output: Output, outcome: Result<Position, StoreError>) {
    // An output that panics is a bug of its owner and must not stop the journal for the others.
    if catch_unwind(AssertUnwindSafe(move || output(outcome))).is_err() {
        tracing::error!("an output of a commit panicked");
    }
}
