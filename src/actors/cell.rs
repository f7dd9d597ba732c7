//! The cell: one store and the services that live in it, as their actors share them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::actors::pool::PoolHandle;
use crate::actors::port::Port;
use crate::actors::relay::Relay;
use crate::call::CallError;
use crate::clock::{Clock, MonotonicTime, Timestamp};
use crate::commit::{Incarnation, Position, Sequence, ServiceId, StreamId, TableId};
use crate::config::Config;
use crate::declaration::AfterDeadLetter;
use crate::draft::{Reads, Shape};
use crate::error::StoreError;
use crate::hosted::Hosted;
use crate::messaging::local::Exchange;
use crate::messaging::stream::Accepted;
use crate::messaging::transport::{Delivery, Transport};
use crate::parked::Origin;
use crate::persistence::engine::Direction;
use crate::persistence::store::{CellState, Space, Store};
use crate::span::Span;
use crate::supervision::Supervision;
use crate::turn::OwnTables;

/// One store and its services.
pub(crate) struct Cell {
    pub(crate) store: Store,
    pub(crate) reads: Arc<dyn Reads>,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    time: MonotonicTime,
    pub(crate) transport: Arc<dyn Transport>,
    /// In order of registration.
    pub(crate) members: Vec<Arc<Member>>,
    /// Position in `members` by number.
    by_id: Vec<Option<usize>>,
    pressure: AtomicU8,
    pressure_checked: AtomicI64,
    /// Senders of streams beyond their budget, as of the last check.
    crowded: Mutex<Vec<ServiceId>>,
    /// Cancelled when the system begins to drain.
    pub(crate) draining: CancellationToken,
    pub(crate) faults: Arc<dyn Faults>,
}

/// One hosted service: everything of it that outlives its actors.
pub(crate) struct Member {
    pub(crate) hosted: Arc<dyn Hosted>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) own: OwnTables,
    pub(crate) supervision: Supervision,
    pub(crate) port: Port,
    pub(crate) relay: Relay,
    pub(crate) pool: PoolHandle,
    pub(crate) status: Status,
    /// Streams, the edge and timers whose messages must be durable before their handlers run, because one
    /// of them took the process down and recovery could not find it.
    pub(crate) suspects: Mutex<Suspects>,
    /// Parked messages that this program has shown that it cannot read.
    unreadable: Mutex<BTreeSet<Origin>>,
}

/// See [`Member::suspects`].
#[derive(Debug, Default, Clone)]
pub(crate) struct Suspects {
    pub(crate) senders: Vec<ServiceId>,
    pub(crate) edge: bool,
    /// The newest position when they became suspect; a checkpoint beyond it clears them.
    pub(crate) since: Position,
    pub(crate) timers: bool,
}

impl Suspects {
    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.edge || self.timers || !self.senders.is_empty()
    }
}

/// Deliberate failures, for tests and the `failpoints` feature.
pub(crate) trait Faults: Send + Sync {
    /// Called before a handler runs; may panic or abort.
    fn before_handler(&self, service: &str, message: &str);

    /// Called when a service's actor loads its state; may panic.
    fn before_load(&self, _service: &str) {}

    /// How the next attempt of an activity goes wrong, if it does.
    fn attempt(&self, _service: &str, _activity: &str) -> Option<AttemptFault> {
        None
    }
}

/// How an attempt of an activity goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "testing")), allow(dead_code))]
pub(crate) enum AttemptFault {
    /// It fails before it has begun, and says so.
    Fails,
    /// Nothing is heard of it, and it never took place.
    NeverArrives,
    /// It takes place, and nothing is heard of it.
    AnswerLost,
}

/// No failures.
pub(crate) struct NoFaults;

impl Faults for NoFaults {
    fn before_handler(&self, _service: &str, _message: &str) {}
}

/// Where a service is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Starting,
    Running,
    Restarting,
    Failed,
    Stopped,
}

impl Life {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Life::Starting => "starting",
            Life::Running => "running",
            Life::Restarting => "restarting",
            Life::Failed => "failed",
            Life::Stopped => "stopped",
        }
    }
}

/// The actors of a service's tree, as operators know them, in start order.
pub(crate) const CHILDREN: [&str; 3] = ["service", "relay", "activities"];

/// One actor of a service's tree.
#[derive(Debug, Default)]
pub(crate) struct ChildStatus {
    pub(crate) running: AtomicBool,
    pub(crate) starts: AtomicU64,
}

/// What is visible of a service's tree.
#[derive(Debug)]
pub(crate) struct Status {
    life: Mutex<(Life, Option<String>)>,
    pub(crate) restarts: AtomicU64,
    /// The actors of the tree, in start order: see [`CHILDREN`].
    pub(crate) children: [ChildStatus; CHILDREN.len()],
    last_panic: Mutex<Option<String>>,
    pub(crate) turns: AtomicU64,
    pub(crate) rejections: AtomicU64,
    pub(crate) panics: AtomicU64,
    /// Messages that panicked since a turn last succeeded.
    pub(crate) in_a_row: AtomicU32,
    /// Number of the handler call that runs now; 0 if none does.
    pub(crate) in_call: AtomicU64,
    pub(crate) parked: AtomicU64,
    /// Whether any parked message will be tried again by itself.
    pub(crate) unsettled: AtomicBool,
    /// Activities on their way.
    pub(crate) activities: AtomicU64,
    pub(crate) timers: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
}

impl Status {
    fn new() -> Status {
        Status {
            life: Mutex::new((Life::Starting, None)),
            restarts: AtomicU64::new(0),
            children: Default::default(),
            last_panic: Mutex::new(None),
            turns: AtomicU64::new(0),
            rejections: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            in_call: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
            activities: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
        }
    }

    pub(crate) fn life(&self) -> (Life, Option<String>) {
        self.life
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_life(&self, life: Life, reason: Option<String>) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = (life, reason);
    }

    pub(crate) fn last_panic(&self) -> Option<String> {
        self.last_panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn panicked(&self, reason: &str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        *self
            .last_panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }
}

impl Member {
    pub(crate) fn new(
        hosted: Arc<dyn Hosted>,
        shape: Shape,
        own: OwnTables,
        config: &Config,
        store: &Store,
    ) -> Member {
        let supervision = hosted.declaration().supervision.clone();
        Member {
            supervision,
            port: Port::new(
                config.requests_waiting_max,
                config.stream_window,
                store.at_work(),
                store.planted(),
                hosted.declaration().in_background,
            ),
            relay: Relay::new(shape.id, config.stream_window),
            pool: PoolHandle::default(),
            status: Status::new(),
            suspects: Mutex::new(Suspects::default()),
            unreadable: Mutex::new(BTreeSet::new()),
            hosted,
            shape: Arc::new(shape),
            own,
        }
    }

    pub(crate) fn id(&self) -> ServiceId {
        self.shape.id
    }

    pub(crate) fn name(&self) -> &'static str {
        self.shape.name
    }

    /// Who is suspect now; `checkpoint` is asked only if anybody is.
    pub(crate) fn suspects(&self, checkpoint: impl FnOnce() -> Position) -> Suspects {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.any() && checkpoint() > suspects.since {
            *suspects = Suspects::default();
        }
        suspects.clone()
    }

    /// Notes that this program cannot read a message.
    pub(crate) fn could_not_read(&self, origin: Origin) {
        let mut unreadable = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unreadable.insert(origin);
    }

    /// Whether this program has tried to read a message and failed.
    pub(crate) fn cannot_read(&self, origin: &Origin) -> bool {
        let unreadable = self
            .unreadable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unreadable.contains(origin)
    }

    pub(crate) fn after_dead_letter(&self, message: &str) -> AfterDeadLetter {
        let handles = &self.hosted.declaration().handles;
        handles
            .iter()
            .find(|handled| handled.message == message || handled.formerly.contains(&message))
            .map(|handled| handled.after_dead_letter)
            .unwrap_or_default()
    }
}

/// What a cell is made of.
pub(crate) struct CellParts {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) members: Vec<Arc<Member>>,
    pub(crate) newest: Timestamp,
    pub(crate) faults: Arc<dyn Faults>,
}

impl Cell {
    pub(crate) fn new(parts: CellParts) -> Cell {
        let CellParts {
            store,
            config,
            clock,
            transport,
            members,
            newest,
            faults,
        } = parts;
        let places = members
            .iter()
            .map(|member| member.id().0 as usize + 1)
            .max()
            .unwrap_or(0);
        let mut by_id = vec![None; places];
        for (place, member) in members.iter().enumerate() {
            by_id[member.id().0 as usize] = Some(place);
        }
        let time = MonotonicTime::starting_at(newest.max(clock.wall()));
        Cell {
            reads: Arc::new(store.clone()),
            store,
            config,
            clock,
            time,
            transport,
            members,
            by_id,
            pressure: AtomicU8::new(0),
            pressure_checked: AtomicI64::new(i64::MIN),
            crowded: Mutex::new(Vec::new()),
            draining: CancellationToken::new(),
            faults,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time.now(self.clock.wall())
    }

    pub(crate) fn member(&self, id: ServiceId) -> Option<&Arc<Member>> {
        self.by_id
            .get(id.0 as usize)
            .copied()
            .flatten()
            .map(|place| &self.members[place])
    }

    pub(crate) fn member_named(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.name() == name)
    }

    /// Whether commands to a service may come in from outside; the reason if not.
    pub(crate) fn admit(&self, member: &Member) -> Result<(), CallError> {
        if self.draining.is_cancelled() {
            return Err(CallError::Draining);
        }
        let reason = match self.pressure() {
            0 => return Ok(()),
            PRESSURE_SPACE => "the disk is almost full; free some space",
            PRESSURE_CHECKPOINT => "changes wait for a checkpoint",
            PRESSURE_STREAM if !self.crowded().contains(&member.id()) => return Ok(()),
            PRESSURE_STREAM => "too much waits for the services that this one sends to",
            _ => {
                return Err(CallError::OutcomeUnknown {
                    reason: "the store is closed".to_owned(),
                });
            }
        };
        Err(CallError::Overloaded {
            reason: reason.to_owned(),
            retry_after: Duration::from_secs(1),
        })
    }

    fn crowded(&self) -> MutexGuard<'_, Vec<ServiceId>> {
        self.crowded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's figures are read at most every few milliseconds: they take locks.
    fn pressure(&self) -> u8 {
        const CHECK_EVERY_MICROS: i64 = 5_000;
        let wall = self.clock.wall().0;
        let checked = self.pressure_checked.load(Ordering::Relaxed);
        if wall.saturating_sub(checked) < CHECK_EVERY_MICROS && wall >= checked {
            return self.pressure.load(Ordering::Relaxed);
        }
        self.pressure_checked.store(wall, Ordering::Relaxed);
        let usage = self.store.usage();
        *self.crowded() = usage
            .streams_over_budget
            .iter()
            .map(|stream| stream.sender)
            .collect();
        let pressure = if matches!(usage.state, CellState::Closed(_)) {
            PRESSURE_CLOSED
        } else if usage.space != Space::Ok {
            PRESSURE_SPACE
        } else if usage.uncheckpointed_over_budget {
            PRESSURE_CHECKPOINT
        } else if !usage.streams_over_budget.is_empty() {
            PRESSURE_STREAM
        } else {
            0
        };
        self.pressure.store(pressure, Ordering::Relaxed);
        pressure
    }

    /// Whether turns must wait for space. Never as last seen: the store takes whatever has begun,
    /// and relies on it that nothing begins any more.
    pub(crate) fn exhausted(&self) -> bool {
        self.store.must_wait()
    }
}

const PRESSURE_SPACE: u8 = 1;
const PRESSURE_CHECKPOINT: u8 = 2;
const PRESSURE_STREAM: u8 = 3;
const PRESSURE_CLOSED: u8 = 4;

impl Exchange for Cell {
    fn delivered(&self, delivery: Delivery) {
        let stream = delivery.stream;
        let Some(receiver) = self.member(stream.receiver) else {
            return;
        };
        if delivery.incarnation != self.store.incarnation() {
            tracing::error!(?stream, "messages of another incarnation are refused");
            return;
        }
        match receiver.port.deliver(delivery, || self.store.mark(stream)) {
            Accepted::Ready | Accepted::Known => {}
            Accepted::Gap { after } => self.transport.resume(stream, after),
        }
    }

    fn greeted(&self, stream: StreamId, incarnation: Incarnation, last: Sequence) {
        let Some(receiver) = self.member(stream.receiver) else {
            return;
        };
        if incarnation != self.store.incarnation() {
            return;
        }
        let consumed = self.store.mark(stream).consumed;
        let accepted = receiver.port.accepted(stream.sender).unwrap_or(consumed);
        self.transport.acknowledge(stream, consumed);
        if accepted < last {
            self.transport.resume(stream, accepted);
        }
    }

    fn acknowledged(&self, stream: StreamId, consumed: Sequence) {
        if let Some(sender) = self.member(stream.sender) {
            sender.relay.acknowledged(self, stream, consumed);
        }
    }

    fn resumed(&self, stream: StreamId, accepted: Sequence) {
        if let Some(sender) = self.member(stream.sender) {
            sender.relay.resumed(self, stream, accepted);
        }
    }
}

impl Reads for Store {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Store::get(self, table, key)
    }

    fn scan(
        &self,
        table: TableId,
        span: &Span,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let direction = if span.descending {
            Direction::Descending
        } else {
            Direction::Ascending
        };
        Store::scan(
            self,
            table,
            &(span.lower.clone(), span.upper.clone()),
            direction,
            limit,
        )
    }
}
