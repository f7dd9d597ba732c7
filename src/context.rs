//! What a handler can see and do: the state of its service, and the plan of its turn.
//!
//! A handler gets time, randomness and ids from here and nowhere else, so a turn is a pure
//! function of state, message and context. Nothing that a handler does takes effect before its
//! turn commits: writes, messages, timers and activities leave together or not at all.

use std::any::Any;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::TableKey;
use crate::activity::{Activity, ActivityId};
use crate::clock::Timestamp;
use crate::codec::{self, CodecError, Subject};
use crate::draft::Turn;
use crate::envelope::{Envelope, Key, Kind, MessageId};
use crate::error::StoreError;
use crate::planted::PlantedBug;
use crate::rejection::{Rejection, RejectionKind};
use crate::service::{Command, Event, Message, Service};
use crate::span::Span;
use crate::table::{Index, Table};

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

    /// Whether a mistake is to be made on purpose.
    pub(crate) fn planted(&self, bug: PlantedBug) -> bool {
        self.turn.shape.planted.is(bug)
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
            let left = shape.planted.is(PlantedBug::IndexEntryLeft) && new.is_none();
            if let Some(before) = before.filter(|_| !left) {
                turn.write(*index, Bytes::from(before), None);
            }
            if let Some(after) = after {
                turn.write(*index, Bytes::from(after), Some(Bytes::new()));
            }
        }
        Ok(())
    }
}
