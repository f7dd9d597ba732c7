//! What a handler can see and do: the state of its service, and the plan of its turn.
//!
//! A handler gets time, randomness and ids from here and nowhere else, so a turn is a pure
//! function of state, message and context. Nothing that a handler does takes effect before its
//! turn commits: writes, messages, timers and activities leave together or not at all.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::ops::{Bound, Deref};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::TableKey;
use crate::activity::{Activity, ActivityId};
use crate::clock::Timestamp;
use crate::codec::{self, CodecError, Subject};
use crate::commit::{Send, ServiceId, TableId, Write};
use crate::envelope::{Envelope, Key, Kind, MessageId, TraceContext};
use crate::error::StoreError;
use crate::handlers::seal_message;
use crate::rejection::{Rejection, RejectionKind};
use crate::service::{Command, Event, Message, Service};
use crate::table::{Index, IndexKeys, Table};

/// A handler asked for something that could not be had. Not a business answer: it *taints* the
/// turn, which then cannot commit even if the handler swallows the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The store could not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored value could not be read, or a value could not be written.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The service did not declare what its handler uses.
    #[error("{service} uses {what} without declaring it; add it to its `handlers`")]
    Undeclared {
        /// The service.
        service: String,
        /// Table, event, command, timer or activity.
        what: String,
    },
}

impl From<ContextError> for Rejection {
    fn from(error: ContextError) -> Rejection {
        Rejection::new(RejectionKind::Failed, "turn_failed", error.to_string())
    }
}

/// A span of a table's or index's keys, the direction to read it in, and how many rows to read.
///
/// ```
/// use redeliver::Span;
///
/// let newest_ten_of_customer = Span::prefix(&"customer-7".to_owned()).descending().limit(10);
/// let page_after = Span::all().after(&42u64).limit(50);
/// # let _ = (newest_ten_of_customer, page_after);
/// ```
#[derive(Debug, Clone)]
pub struct Span {
    pub(crate) lower: Bound<Bytes>,
    pub(crate) upper: Bound<Bytes>,
    pub(crate) descending: bool,
    pub(crate) limit: usize,
}

/// Rows read by a [`Span`] without a limit of its own.
pub const SPAN_ROWS_DEFAULT: usize = 1_000;

impl Span {
    /// All keys.
    pub fn all() -> Span {
        Span {
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            descending: false,
            limit: SPAN_ROWS_DEFAULT,
        }
    }

    /// All keys that begin with these parts: a prefix of a tuple key.
    pub fn prefix<P: TableKey>(prefix: &P) -> Span {
        let lower = prefix.to_bytes();
        let upper = match after_prefix(&lower) {
            Some(upper) => Bound::Excluded(upper),
            None => Bound::Unbounded,
        };
        Span {
            lower: Bound::Included(lower),
            upper,
            ..Span::all()
        }
    }

    /// Only keys greater than (descending: less than) this one. For reading page after page, give
    /// the last key of the previous page.
    #[must_use]
    pub fn after<K: TableKey>(self, key: &K) -> Span {
        self.after_bytes(key.to_bytes())
    }

    /// As [`Span::after`], with a key that is already encoded.
    #[must_use]
    pub fn after_bytes(mut self, key: Bytes) -> Span {
        // Not narrower than the span itself: a cursor from elsewhere must not widen it.
        if self.descending {
            if !beyond(&self.upper, &key, false) {
                self.upper = Bound::Excluded(key);
            }
        } else if !beyond(&self.lower, &key, true) {
            self.lower = Bound::Excluded(key);
        }
        self
    }

    /// Only keys from this one on, including it.
    #[must_use]
    pub fn from<K: TableKey>(mut self, key: &K) -> Span {
        self.lower = Bound::Included(key.to_bytes());
        self
    }

    /// Only keys less than this one.
    #[must_use]
    pub fn below<K: TableKey>(mut self, key: &K) -> Span {
        self.upper = Bound::Excluded(key.to_bytes());
        self
    }

    /// Largest key first. Call before [`Span::after`].
    #[must_use]
    pub fn descending(mut self) -> Span {
        self.descending = true;
        self
    }

    /// Reads at most `rows` rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Span {
        self.limit = rows;
        self
    }

    fn contains(&self, key: &Bytes) -> bool {
        use std::ops::RangeBounds;
        (self.lower.clone(), self.upper.clone()).contains(key)
    }

    fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                a >= b
            }
            _ => false,
        }
    }
}

/// Whether `bound` already excludes `key` on its side.
fn beyond(bound: &Bound<Bytes>, key: &Bytes, lower: bool) -> bool {
    match bound {
        Bound::Unbounded => false,
        Bound::Included(at) | Bound::Excluded(at) => {
            if lower {
                at > key
            } else {
                at < key
            }
        }
    }
}

fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let mut upper = prefix.to_vec();
    while let Some(last) = upper.pop() {
        if last < 0xFF {
            upper.push(last + 1);
            return Some(Bytes::from(upper));
        }
    }
    None
}

/// Names a timer, to cancel it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
pub struct TimerId {
    pub(crate) due: Timestamp,
    pub(crate) id: Uuid,
}

impl TimerId {
    pub(crate) fn key(self) -> Bytes {
        (self.due, self.id).to_bytes()
    }

    pub(crate) fn from_key(key: &[u8]) -> Option<TimerId> {
        <(Timestamp, Uuid)>::from_bytes(key).map(|(due, id)| TimerId { due, id })
    }
}

/// Where a turn reads rows from.
pub(crate) trait Reads: std::marker::Send + Sync {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    fn scan(
        &self,
        table: TableId,
        span: &Span,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
}

/// A service's names resolved to durable numbers, once at start.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) id: ServiceId,
    pub(crate) tables: HashMap<&'static str, TableId>,
    pub(crate) indexes: HashMap<&'static str, Vec<(TableId, Arc<IndexKeys>)>>,
    /// Receivers of each event that the service publishes.
    pub(crate) events: HashMap<&'static str, Vec<ServiceId>>,
    /// Receiver of each command that the service sends, by (service, command), and whether this
    /// service handles its reply.
    pub(crate) commands: HashMap<(&'static str, &'static str), (ServiceId, bool)>,
    pub(crate) activities: Vec<&'static str>,
    /// The timers that the service handles.
    pub(crate) wakes: Vec<&'static str>,
    pub(crate) timers: TableId,
    pub(crate) plans: TableId,
}

/// What a turn is given beside the state and the message.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) seed: u64,
    pub(crate) message: MessageId,
    pub(crate) correlation: MessageId,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) attempt: u32,
}

/// A turn under way: what it was given and what it plans so far.
pub(crate) struct Turn {
    shape: Arc<Shape>,
    reads: Arc<dyn Reads>,
    facts: Facts,
    random: RefCell<fastrand::Rng>,
    writes: BTreeMap<TableId, BTreeMap<Bytes, Option<Bytes>>>,
    plan: Plan,
    taint: RefCell<Option<ContextError>>,
    tainted: Cell<bool>,
}

/// What a turn promises beyond rows.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) sends: Vec<Send>,
    /// The decoded twins of `sends`, in the same order; for tests and the event stream.
    pub(crate) envelopes: Vec<Envelope>,
    pub(crate) timers_set: Vec<(TimerId, Envelope)>,
    pub(crate) timers_cancelled: Vec<TimerId>,
    pub(crate) activities: Vec<Envelope>,
    pub(crate) notices: Vec<Bytes>,
}

impl Turn {
    pub(crate) fn new(shape: Arc<Shape>, reads: Arc<dyn Reads>, facts: Facts) -> Turn {
        let random = RefCell::new(fastrand::Rng::with_seed(facts.seed));
        Turn {
            shape,
            reads,
            facts,
            random,
            writes: BTreeMap::new(),
            plan: Plan::default(),
            taint: RefCell::new(None),
            tainted: Cell::new(false),
        }
    }

    /// What tainted the turn, if anything did.
    pub(crate) fn take_taint(&mut self) -> Option<ContextError> {
        self.taint.get_mut().take()
    }

    /// The rows and promises of a turn that commits.
    pub(crate) fn into_effects(self) -> (Vec<Write>, Plan) {
        let mut writes = Vec::new();
        for (table, rows) in self.writes {
            writes.extend(
                rows.into_iter()
                    .map(|(key, value)| Write { table, key, value }),
            );
        }
        (writes, self.plan)
    }

    fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        self.random.borrow_mut().fill(&mut random);
        let millis = u64::try_from(self.facts.now.0 / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn fail<E: Into<ContextError>>(&self, error: E) -> ContextError {
        let error = error.into();
        self.tainted.set(true);
        self.taint.borrow_mut().get_or_insert_with(|| error.clone());
        error
    }

    fn undeclared(&self, what: String) -> ContextError {
        self.fail(ContextError::Undeclared {
            service: self.shape.name.to_owned(),
            what,
        })
    }

    fn table_id(&self, name: &'static str) -> Result<TableId, ContextError> {
        match self.shape.tables.get(name) {
            Some(id) => Ok(*id),
            None => Err(self.undeclared(format!("table `{name}`"))),
        }
    }

    fn raw_get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, ContextError> {
        if let Some(written) = self.writes.get(&table).and_then(|rows| rows.get(key)) {
            return Ok(written.clone());
        }
        self.reads.get(table, key).map_err(|error| self.fail(error))
    }

    /// Reads a span through the turn's own writes.
    fn raw_scan(&self, table: TableId, span: &Span) -> Result<Vec<(Bytes, Bytes)>, ContextError> {
        if span.limit == 0 || span.is_empty() {
            return Ok(Vec::new());
        }
        let own: Vec<(&Bytes, &Option<Bytes>)> = match self.writes.get(&table) {
            Some(rows) => rows.iter().filter(|(key, _)| span.contains(key)).collect(),
            None => Vec::new(),
        };
        // At most `own.len()` stored rows are hidden by own writes, so this many are enough.
        let stored = self
            .reads
            .scan(table, span, span.limit.saturating_add(own.len()))
            .map_err(|error| self.fail(error))?;
        if own.is_empty() {
            return Ok(stored);
        }
        let mut merged: BTreeMap<Bytes, Option<Bytes>> = stored
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        for (key, value) in own {
            merged.insert(key.clone(), value.clone());
        }
        let rows = merged
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)));
        Ok(if span.descending {
            rows.rev().take(span.limit).collect()
        } else {
            rows.take(span.limit).collect()
        })
    }

    fn write(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        self.writes.entry(table).or_default().insert(key, value);
    }

    fn envelope<M: Message>(
        &self,
        kind: Kind,
        message: &M,
        wants_reply: bool,
    ) -> Result<Envelope, ContextError> {
        let body = seal_message(message).map_err(|error| self.fail(error))?;
        Ok(Envelope {
            id: MessageId(self.new_id()),
            kind,
            name: Bytes::from_static(M::NAME.as_bytes()),
            version: M::VERSION,
            key: message.key(),
            correlation: self.facts.correlation,
            causation: self.facts.message,
            trace: self.facts.trace,
            at: self.facts.now,
            wants_reply,
            body: Bytes::from(body),
        })
    }

    fn promise(&mut self, envelope: Envelope, to: Vec<ServiceId>, event: bool) {
        match envelope.encode() {
            Ok(bytes) => {
                self.plan.sends.push(Send {
                    envelope: bytes,
                    to,
                    event,
                });
                self.plan.envelopes.push(envelope);
            }
            Err(error) => {
                self.fail(error);
            }
        }
    }
}

/// What a query can see: the service's newest queued state. The answer is released when that
/// state is durable.
pub struct View<S> {
    turn: Turn,
    service: PhantomData<fn() -> S>,
}

impl<S: Service> View<S> {
    pub(crate) fn new(turn: Turn) -> View<S> {
        View {
            turn,
            service: PhantomData,
        }
    }

    pub(crate) fn into_turn(self) -> Turn {
        self.turn
    }

    /// Taints the turn: part of a row could not be read or written.
    pub(crate) fn damaged(&self, error: CodecError) -> ContextError {
        self.turn.fail(error)
    }

    /// The turn's time. Never goes back from one turn to the next; stays the same within one.
    pub fn now(&self) -> Timestamp {
        self.turn.facts.now
    }

    /// The row of a key.
    pub fn get<K: TableKey, V>(
        &self,
        table: Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, ContextError>
    where
        V: Serialize + DeserializeOwned,
    {
        let id = self.turn.table_id(table.name())?;
        let key = key.to_bytes();
        match self.turn.raw_get(id, &key)? {
            Some(sealed) => table
                .open(&key, &sealed)
                .map(Some)
                .map_err(|error| self.turn.fail(error)),
            None => Ok(None),
        }
    }

    /// The rows of a span of keys.
    pub fn scan<K: TableKey, V>(
        &self,
        table: Table<K, V>,
        span: &Span,
    ) -> Result<Vec<(K, V)>, ContextError>
    where
        V: Serialize + DeserializeOwned,
    {
        let id = self.turn.table_id(table.name())?;
        let rows = self.turn.raw_scan(id, span)?;
        let open = |(key, sealed): (Bytes, Bytes)| {
            let value = table.open(&key, &sealed)?;
            let key = K::from_bytes(&key).ok_or_else(|| unreadable_key(table.name()))?;
            Ok((key, value))
        };
        rows.into_iter()
            .map(open)
            .collect::<Result<_, CodecError>>()
            .map_err(|error| self.turn.fail(error))
    }

    /// The entries of a span of an index: what each row is found by, and the row's key.
    pub fn index<I: TableKey, K: TableKey, V>(
        &self,
        index: Index<I, K, V>,
        span: &Span,
    ) -> Result<Vec<(I, K)>, ContextError> {
        let id = self.turn.table_id(index.name())?;
        let rows = self.turn.raw_scan(id, span)?;
        let open = |(key, _): (Bytes, Bytes)| {
            <(I, K)>::from_bytes(&key).ok_or_else(|| unreadable_key(index.name()))
        };
        rows.into_iter()
            .map(open)
            .collect::<Result<_, CodecError>>()
            .map_err(|error| self.turn.fail(error))
    }

    /// The rows that a span of an index leads to, in the index's order.
    pub fn rows_by<I: TableKey, K: TableKey, V>(
        &self,
        index: Index<I, K, V>,
        span: &Span,
    ) -> Result<Vec<(I, K, V)>, ContextError>
    where
        V: Serialize + DeserializeOwned,
    {
        let mut rows = Vec::new();
        for (entry, key) in self.index(index, span)? {
            if let Some(value) = self.get(index.table(), &key)? {
                rows.push((entry, key, value));
            }
        }
        Ok(rows)
    }
}

fn unreadable_key(table: &str) -> CodecError {
    CodecError::Decode {
        subject: table.to_owned(),
        detail: "its key is not of the table's key type".to_owned(),
    }
}

/// What a handler can see and do. Everything [`View`] offers, and the plan of the turn.
pub struct Context<S> {
    view: View<S>,
}

impl<S> Deref for Context<S> {
    type Target = View<S>;

    fn deref(&self) -> &View<S> {
        &self.view
    }
}

impl<S: Service> Context<S> {
    pub(crate) fn new(turn: Turn) -> Context<S> {
        Context {
            view: View::new(turn),
        }
    }

    pub(crate) fn into_turn(self) -> Turn {
        self.view.turn
    }

    fn turn(&mut self) -> &mut Turn {
        &mut self.view.turn
    }

    /// Puts a row.
    pub fn put<K, V>(&mut self, table: Table<K, V>, key: &K, value: &V) -> Result<(), ContextError>
    where
        K: TableKey + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        let id = self.turn().table_id(table.name())?;
        let key_bytes = key.to_bytes();
        let sealed = table
            .seal(&key_bytes, value)
            .map_err(|error| self.view.turn.fail(error))?;
        self.keep_indexes(table, key, &key_bytes, Some(value))?;
        self.turn().write(id, key_bytes, Some(Bytes::from(sealed)));
        Ok(())
    }

    /// Removes a row; nothing happens if there is none.
    pub fn remove<K, V>(&mut self, table: Table<K, V>, key: &K) -> Result<(), ContextError>
    where
        K: TableKey + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        let id = self.turn().table_id(table.name())?;
        let key_bytes = key.to_bytes();
        self.keep_indexes(table, key, &key_bytes, None)?;
        self.turn().write(id, key_bytes, None);
        Ok(())
    }

    /// Changes the row of a key. Answers whether there was one; without one nothing happens.
    pub fn update<K, V>(
        &mut self,
        table: Table<K, V>,
        key: &K,
        change: impl FnOnce(&mut V),
    ) -> Result<bool, ContextError>
    where
        K: TableKey + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        let Some(mut value) = self.get(table, key)? else {
            return Ok(false);
        };
        change(&mut value);
        self.put(table, key, &value)?;
        Ok(true)
    }

    /// Publishes an event to every subscriber (and to the event stream).
    pub fn publish<E: Event>(&mut self, event: E) {
        let turn = self.turn();
        let Some(receivers) = turn.shape.events.get(E::NAME).cloned() else {
            turn.undeclared(format!("published event `{}`", E::NAME));
            return;
        };
        if let Ok(envelope) = turn.envelope(Kind::Event, &event, false) {
            turn.promise(envelope, receivers, true);
        }
    }

    /// Sends a command to another service (`T`). If this service handles its reply, the answer
    /// arrives there as a turn.
    pub fn send<T: Service, C: Command>(&mut self, command: C) {
        let turn = self.turn();
        let Some((receiver, wants_reply)) = turn.shape.commands.get(&(T::NAME, C::NAME)).copied()
        else {
            turn.undeclared(format!("command `{}` to {}", C::NAME, T::NAME));
            return;
        };
        if let Ok(envelope) = turn.envelope(Kind::Command, &command, wants_reply) {
            turn.promise(envelope, vec![receiver], false);
        }
    }

    /// Sets a durable timer: the message comes back to this service after `delay`.
    pub fn after<M: Message>(&mut self, delay: Duration, message: M) -> TimerId {
        let due = self.now().plus(delay);
        self.at(due, message)
    }

    /// Sets a durable timer: the message comes back to this service once it is `due`.
    pub fn at<M: Message>(&mut self, due: Timestamp, message: M) -> TimerId {
        let turn = self.turn();
        let timer = TimerId {
            due,
            id: turn.new_id(),
        };
        // Set now, it would be found to have no handler only when it is due.
        if !turn.shape.wakes.contains(&M::NAME) {
            turn.undeclared(format!("timer `{}`", M::NAME));
            return timer;
        }
        if let Ok(envelope) = turn.envelope(Kind::Timer, &message, false) {
            match envelope.encode() {
                Ok(bytes) => {
                    turn.write(turn.shape.timers, timer.key(), Some(bytes));
                    turn.plan.timers_set.push((timer, envelope));
                }
                Err(error) => {
                    turn.fail(error);
                }
            }
        }
        timer
    }

    /// Cancels a timer; nothing happens if it has gone off already.
    pub fn cancel(&mut self, timer: TimerId) {
        let turn = self.turn();
        turn.write(turn.shape.timers, timer.key(), None);
        turn.plan.timers_set.retain(|(set, _)| *set != timer);
        turn.plan.timers_cancelled.push(timer);
    }

    /// Plans an activity: it runs once this turn is durable.
    pub fn plan<A: Activity<S>>(&mut self, activity: A) -> ActivityId {
        let turn = self.turn();
        let id = turn.new_id();
        if !turn.shape.activities.contains(&A::NAME) {
            turn.undeclared(format!("activity `{}`", A::NAME));
            return ActivityId(id);
        }
        let sealed =
            codec::seal(Subject::message(A::NAME), 1, &activity).map_err(|error| turn.fail(error));
        let Ok(body) = sealed else {
            return ActivityId(id);
        };
        let envelope = Envelope {
            id: MessageId(id),
            kind: Kind::Activity,
            name: Bytes::from_static(A::NAME.as_bytes()),
            version: 1,
            key: Key::None,
            correlation: turn.facts.correlation,
            causation: turn.facts.message,
            trace: turn.facts.trace,
            at: turn.facts.now,
            wants_reply: false,
            body: Bytes::from(body),
        };
        match envelope.encode() {
            Ok(bytes) => {
                turn.write(turn.shape.plans, id.to_bytes(), Some(bytes));
                turn.plan.activities.push(envelope);
            }
            Err(error) => {
                turn.fail(error);
            }
        }
        ActivityId(id)
    }

    /// Wakes whoever watches this key of this service (see `ServiceHandle::watch`), once the turn
    /// is durable. A hint, not a message: it is not stored.
    pub fn notify<K: TableKey>(&mut self, key: &K) {
        let key = key.to_bytes();
        self.turn().plan.notices.push(key);
    }

    /// A new UUIDv7, from the turn's time and seed.
    pub fn new_id(&mut self) -> Uuid {
        self.turn().new_id()
    }

    /// A random number, from the turn's seed. Not for secrets: the seed is in the journal.
    pub fn random(&mut self) -> u64 {
        self.turn().random.get_mut().u64(..)
    }

    /// The message this turn handles.
    pub fn message_id(&self) -> MessageId {
        self.view.turn.facts.message
    }

    /// The message from outside that this conversation goes back to.
    pub fn correlation_id(&self) -> MessageId {
        self.view.turn.facts.correlation
    }

    /// 1 for a message's first attempt; higher after a panic of an earlier one.
    pub fn attempt(&self) -> u32 {
        self.view.turn.facts.attempt
    }

    fn keep_indexes<K, V>(
        &mut self,
        table: Table<K, V>,
        key: &K,
        key_bytes: &Bytes,
        new: Option<&V>,
    ) -> Result<(), ContextError>
    where
        K: TableKey + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        let turn = self.turn();
        let shape = turn.shape.clone();
        let Some(indexes) = shape.indexes.get(table.name()) else {
            return Ok(());
        };
        let table_id = turn.table_id(table.name())?;
        let old = match turn.raw_get(table_id, key_bytes)? {
            Some(sealed) => Some(
                table
                    .open(key_bytes, &sealed)
                    .map_err(|error| turn.fail(error))?,
            ),
            None => None,
        };
        for (index, keys) in indexes {
            let entry = |value: &V| keys.of(key as &dyn Any, value as &dyn Any);
            let (before, after) = (old.as_ref().and_then(entry), new.and_then(entry));
            if before == after {
                continue;
            }
            if let Some(before) = before {
                turn.write(*index, Bytes::from(before), None);
            }
            if let Some(after) = after {
                turn.write(*index, Bytes::from(after), Some(Bytes::new()));
            }
        }
        Ok(())
    }
}
