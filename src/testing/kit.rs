//! The handler kit: given state, when a message comes, then state and messages.
//!
//! Time stands still until the test moves it, ids and random numbers come from a fixed seed, and
//! a message goes nowhere unless the test takes it there. What would stop a turn in a running
//! system (an undeclared table, an unreadable row) panics here, with the sentence that an
//! operator would read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::decided::{Decided, open_plan};
use super::rows::MemoryRows;
use crate::TableKey;
use crate::activity::{Activity, Outcome};
use crate::clock::Timestamp;
use crate::codec::{self, CodecError, Subject};
use crate::context::{Context, TimerId, View};
use crate::declaration::Declaration;
use crate::draft::{Facts, Plan, Shape, Turn};
use crate::envelope::{Envelope, Key, Kind, MessageId};
use crate::handlers::{Handled, open_reply, seal_message, seal_rejection};
use crate::hosted::{Hosted, Registered};
use crate::rejection::Rejection;
use crate::service::{Command, Event, Message, Query, Service};
use crate::span::Span;
use crate::table::Table;

/// Noon of 2026-01-01 UTC: where every kit's time begins.
const START: Timestamp = Timestamp(1_767_268_800_000_000);

/// Turns that [`ServiceKit::fire_due_timers`] and [`ServiceKit::deliver_own`] take before they
/// conclude that the service keeps itself busy for ever.
const TURNS_MAX: usize = 10_000;

/// One service under test. See the [module](crate::testing) for an example.
pub struct ServiceKit<S: Service> {
    service: Arc<S>,
    hosted: Registered<S>,
    shape: Arc<Shape>,
    rows: Arc<MemoryRows>,
    own_events: VecDeque<Envelope>,
    now: Timestamp,
    random: fastrand::Rng,
    attempt: u32,
}

impl<S: Service> ServiceKit<S> {
    /// A kit for this service, with empty tables.
    ///
    /// # Panics
    ///
    /// If the service's `handlers` register something twice.
    #[track_caller]
    pub fn of(service: S) -> ServiceKit<S> {
        let service = Arc::new(service);
        let hosted = Registered::new(service.clone());
        if let Some(twice) = hosted.twice().first() {
            panic!("{} registers {twice} twice; remove one", S::NAME);
        }
        ServiceKit {
            service,
            shape: Arc::new(Shape::lone(&hosted)),
            hosted,
            rows: Arc::default(),
            own_events: VecDeque::new(),
            now: START,
            random: fastrand::Rng::with_seed(1),
            attempt: 1,
        }
    }

    /// Draws ids and random numbers from another seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> ServiceKit<S> {
        self.random = fastrand::Rng::with_seed(seed);
        self
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// What the service declares.
    pub fn declaration(&self) -> &Declaration {
        self.hosted.declaration()
    }

    /// The kit's time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass. Timers that are due then wait for [`ServiceKit::fire_due_timers`].
    pub fn advance(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
    }

    /// Says which attempt the next messages are on ([`Context::attempt`]).
    pub fn attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    // Given.

    /// Puts a row, with its index entries.
    #[track_caller]
    pub fn given<K, V>(&mut self, table: Table<K, V>, key: &K, value: &V)
    where
        K: TableKey + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        self.turn(|_, cx| Ok(cx.put(table, key, value)?)).reply();
    }

    // When.

    /// An event arrives.
    #[track_caller]
    pub fn event<E: Event>(&mut self, event: E) -> Decided<S> {
        let envelope = self.envelope(Kind::Event, &event);
        self.handle(&envelope).map(drop)
    }

    /// A command arrives.
    #[track_caller]
    pub fn command<C: Command>(&mut self, command: C) -> Decided<S, C::Reply> {
        let envelope = self.envelope(Kind::Command, &command);
        self.handle(&envelope).map(|sealed| {
            match codec::open(Subject::message(C::NAME), 1, &sealed, codec::no_older) {
                Ok(reply) => reply,
                Err(error) => panic!("reply to `{}` does not survive its codec: {error}", C::NAME),
            }
        })
    }

    /// A timer goes off, whether or not it was set.
    #[track_caller]
    pub fn timer<M: Message>(&mut self, message: M) -> Decided<S> {
        let envelope = self.envelope(Kind::Timer, &message);
        self.handle(&envelope).map(drop)
    }

    /// The answer to a command of this service arrives.
    #[track_caller]
    pub fn reply<C: Command>(&mut self, answer: Result<C::Reply, Rejection>) -> Decided<S> {
        let sealed = match answer {
            Ok(reply) => codec::seal(Subject::message(C::NAME), 1, &reply),
            Err(rejection) => seal_rejection(&rejection),
        };
        let body = sealable(C::NAME, sealed);
        // A reply that cannot be read back would reach no handler in a running system either.
        sealable(C::NAME, open_reply::<C>(&body)).ok();
        let envelope = self.sealed_envelope(Kind::Reply, C::NAME, 1, Key::None, body);
        self.handle(&envelope).map(drop)
    }

    /// An activity ends. Its plan is no longer pending after that; that there was one is not
    /// required.
    #[track_caller]
    pub fn activity_result<A: Activity<S>>(
        &mut self,
        input: A,
        outcome: Outcome<A::Output>,
    ) -> Decided<S> {
        let subject = || Subject::message(A::NAME);
        let body = sealable(A::NAME, codec::seal(subject(), 1, &input));
        let result = match outcome {
            Outcome::Done(output) => Outcome::Done(Bytes::from(sealable(
                A::NAME,
                codec::seal(subject(), 1, &output),
            ))),
            Outcome::Failed(reason) => Outcome::Failed(reason),
            Outcome::GaveUp { attempts, reason } => Outcome::GaveUp { attempts, reason },
        };
        let plan = self.plans().find(|(_, plan)| plan.body == body);
        let envelope = match plan {
            Some((key, plan)) => {
                self.rows.remove(self.shape.plans, key);
                plan
            }
            None => self.sealed_envelope(Kind::Activity, A::NAME, 1, Key::None, body),
        };
        let turn = self.begin(envelope.id, envelope.correlation);
        match self.hosted.finish(&envelope, &result, turn) {
            (Some(handled), turn) => self.settle(A::NAME, handled, turn).map(drop),
            (None, _) => panic!(
                "{} has no activity `{}`; add `on.activity`",
                S::NAME,
                A::NAME
            ),
        }
    }

    /// A query is asked.
    #[track_caller]
    pub fn query<Q: Query>(&mut self, query: Q) -> Result<Q::Answer, Rejection> {
        let envelope = self.envelope(Kind::Command, &query);
        let turn = self.begin(envelope.id, envelope.correlation);
        let (handled, turn) = self.hosted.answer(&envelope, turn);
        let Some(handled) = handled else {
            panic!(
                "{} does not answer query `{}`; add `on.query`",
                S::NAME,
                Q::NAME
            );
        };
        let decided = self.settle(Q::NAME, handled, turn);
        let sealed = decided.result().map_err(Clone::clone)?;
        let opened = codec::open(Subject::message(Q::NAME), 1, sealed, codec::no_older);
        Ok(sealable(Q::NAME, opened))
    }

    /// Something that is not a message of the service happens to it, as one turn: for helpers
    /// that take a [`Context`].
    #[track_caller]
    pub fn turn<R>(
        &mut self,
        decide: impl FnOnce(&S, &mut Context<S>) -> Result<R, Rejection>,
    ) -> Decided<S, R> {
        let message = self.message_id();
        let mut cx = Context::new(self.begin(message, message));
        let result = decide(&self.service, &mut cx);
        self.commit("a turn of the test", result, cx.into_turn())
    }

    /// Fires all timers that are due, those included that these turns set, earliest first.
    #[track_caller]
    pub fn fire_due_timers(&mut self) -> Vec<Decided<S>> {
        let mut turns = Vec::new();
        while let Some((timer, envelope)) = self.waiting().filter(|(next, _)| next.due <= self.now)
        {
            turns.push(self.fire(timer, &envelope));
            assert!(
                turns.len() < TURNS_MAX,
                "{} sets timers that are due at once, for ever: `{}`",
                S::NAME,
                envelope.name()
            );
        }
        turns
    }

    /// Lets time pass until the earliest waiting timer is due, and fires it.
    #[track_caller]
    pub fn fire_next_timer(&mut self) -> Option<Decided<S>> {
        let (timer, envelope) = self.waiting()?;
        self.now = self.now.max(timer.due);
        Some(self.fire(timer, &envelope))
    }

    /// Delivers the events that the service has published and handles itself, those included
    /// that these turns publish. Events for others go to nobody.
    #[track_caller]
    pub fn deliver_own(&mut self) -> Vec<Decided<S>> {
        let mut turns = Vec::new();
        while let Some(envelope) = self.own_events.pop_front() {
            turns.push(self.handle(&envelope).map(drop));
            assert!(
                turns.len() < TURNS_MAX,
                "{} answers its own `{}` with another, for ever",
                S::NAME,
                envelope.name()
            );
        }
        turns
    }

    // Then.

    /// The row of a key.
    #[track_caller]
    pub fn get<K: TableKey, V>(&mut self, table: Table<K, V>, key: &K) -> Option<V>
    where
        V: Serialize + DeserializeOwned,
    {
        self.view(|view| Ok(view.get(table, key)?))
    }

    /// All rows of a table, in key order.
    #[track_caller]
    pub fn rows<K: TableKey, V>(&mut self, table: Table<K, V>) -> Vec<(K, V)>
    where
        V: Serialize + DeserializeOwned,
    {
        self.view(|view| Ok(view.scan(table, &Span::all().limit(usize::MAX))?))
    }

    /// What a query would see.
    #[track_caller]
    pub fn view<R>(&mut self, look: impl FnOnce(&View<S>) -> Result<R, Rejection>) -> R {
        let message = self.message_id();
        let view = View::new(self.begin(message, message));
        match look(&view) {
            Ok(seen) => seen,
            Err(rejection) => panic!("{}: {rejection}", S::NAME),
        }
    }

    /// The timers of this message that are waiting, with when they are due, earliest first.
    #[track_caller]
    pub fn waiting_timers<M: Message>(&self) -> Vec<(Timestamp, M)> {
        self.timer_rows()
            .filter(|(_, envelope)| envelope.name() == M::NAME)
            .map(|(timer, envelope)| {
                let subject = Subject::message(M::NAME);
                let opened = codec::open(subject, M::VERSION, &envelope.body, M::upgrade);
                (timer.due, sealable(M::NAME, opened))
            })
            .collect()
    }

    /// The activities of this type that were planned and have not ended, in order of planning.
    #[track_caller]
    pub fn pending<A: Activity<S>>(&self) -> Vec<A> {
        self.plans()
            .filter(|(_, plan)| plan.name() == A::NAME)
            .map(|(_, plan)| open_plan::<S, A>(&plan))
            .collect()
    }

    fn timer_rows(&self) -> impl Iterator<Item = (TimerId, Envelope)> + use<S> {
        let rows = self.rows.all(self.shape.timers).into_iter();
        rows.filter_map(|(key, row)| Some((TimerId::from_key(&key)?, Envelope::decode(&row).ok()?)))
    }

    fn plans(&self) -> impl Iterator<Item = (Bytes, Envelope)> + use<S> {
        let rows = self.rows.all(self.shape.plans).into_iter();
        rows.filter_map(|(key, row)| Some((key, Envelope::decode(&row).ok()?)))
    }

    fn waiting(&self) -> Option<(TimerId, Envelope)> {
        self.timer_rows().next()
    }

    #[track_caller]
    fn fire(&mut self, timer: TimerId, envelope: &Envelope) -> Decided<S> {
        // The turn sees its own timer gone, as in a running system.
        self.rows.remove(self.shape.timers, timer.key());
        self.handle(envelope).map(drop)
    }

    #[track_caller]
    fn handle(&mut self, envelope: &Envelope) -> Decided<S, Vec<u8>> {
        let Some(name) = self.hosted.current_name(envelope.kind, envelope.name()) else {
            panic!(
                "{} does not handle {:?} `{}`; add it to its `handlers`",
                S::NAME,
                envelope.kind,
                envelope.name()
            );
        };
        let turn = self.begin(envelope.id, envelope.correlation);
        let (handled, turn) = self.hosted.handle(name, envelope, turn);
        self.settle(name, handled, turn)
    }

    fn begin(&mut self, message: MessageId, correlation: MessageId) -> Turn {
        let facts = Facts {
            now: self.now,
            seed: self.random.u64(..),
            message,
            correlation,
            trace: None,
            attempt: self.attempt,
        };
        Turn::new(self.shape.clone(), self.rows.clone(), facts)
    }

    #[track_caller]
    fn settle(&mut self, name: &str, handled: Handled, turn: Turn) -> Decided<S, Vec<u8>> {
        let result = match handled {
            Handled::Replied(sealed) => Ok(sealed),
            Handled::Rejected(rejection) => Err(rejection),
            Handled::Unreadable(error) => panic!("{} cannot read `{name}`: {error}", S::NAME),
        };
        self.commit(name, result, turn)
    }

    #[track_caller]
    fn commit<R>(
        &mut self,
        name: &str,
        result: Result<R, Rejection>,
        mut turn: Turn,
    ) -> Decided<S, R> {
        if let Some(taint) = turn.take_taint() {
            panic!("{}, on `{name}`: {taint}", S::NAME);
        }
        if result.is_err() {
            return Decided::new(result, Plan::default());
        }
        let (writes, plan) = turn.into_effects();
        for (_, envelope) in &plan.timers_set {
            let timer = envelope.name();
            assert!(
                self.hosted.current_name(Kind::Timer, timer).is_some(),
                "{} sets timer `{timer}` but does not handle it; add `on.timer`",
                S::NAME
            );
        }
        self.rows.apply(writes);
        let own = |envelope: &&Envelope| {
            envelope.kind == Kind::Event
                && self
                    .hosted
                    .current_name(Kind::Event, envelope.name())
                    .is_some()
        };
        self.own_events
            .extend(plan.envelopes.iter().filter(own).cloned());
        Decided::new(result, plan)
    }

    fn message_id(&mut self) -> MessageId {
        MessageId(Uuid::from_u128(self.random.u128(..)))
    }

    #[track_caller]
    fn envelope<M: Message>(&mut self, kind: Kind, message: &M) -> Envelope {
        let body = sealable(M::NAME, seal_message(message));
        self.sealed_envelope(kind, M::NAME, M::VERSION, message.key(), body)
    }

    fn sealed_envelope(
        &mut self,
        kind: Kind,
        name: &'static str,
        version: u16,
        key: Key,
        body: Vec<u8>,
    ) -> Envelope {
        let id = self.message_id();
        Envelope {
            id,
            kind,
            name: Bytes::from_static(name.as_bytes()),
            version,
            key,
            correlation: id,
            causation: id,
            trace: None,
            at: self.now,
            wants_reply: false,
            body: Bytes::from(body),
        }
    }
}

#[track_caller]
fn sealable<T>(name: &str, sealed: Result<T, CodecError>) -> T {
    match sealed {
        Ok(value) => value,
        Err(error) => panic!("`{name}` does not survive its codec: {error}"),
    }
}
