//! The list that a service fills in: which function handles what.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TableKey;
use crate::activity::{
    Activity, ActivityContext, ActivityError, ActivityPolicy, Finished, Outcome, Reconciled,
};
use crate::codec::{self, CodecError, Subject};
use crate::context::{Context, View};
use crate::declaration::{
    AfterDeadLetter, Declaration, DeclaredSaga, HandledMessage, Published, Sent,
};
use crate::envelope::{Envelope, Key, Kind};
use crate::rejection::{Rejection, RejectionKind};
use crate::saga::{Saga, Steps};
use crate::service::{Command, Event, Message, Query, Replied, Service};
use crate::supervision::Supervision;
use crate::table::{Index, IndexKeys, Table};

/// The list that a service fills in. See [`Service::handlers`].
pub struct Handlers<S: Service> {
    pub(crate) declaration: Declaration,
    pub(crate) indexes: HashMap<&'static str, Vec<(&'static str, Arc<IndexKeys>)>>,
    pub(crate) handles: HashMap<(Kind, &'static str), Handle<S>>,
    /// Sagas that hear an event, after the service's own handler if it has one.
    pub(crate) listeners: HashMap<&'static str, Vec<Handle<S>>>,
    /// Events that the service itself declared; its sagas may declare them too.
    pub(crate) own_publishes: Vec<&'static str>,
    pub(crate) answers: HashMap<&'static str, Answer<S>>,
    pub(crate) activities: HashMap<&'static str, ActivityHandler<S>>,
    pub(crate) doors: HashMap<&'static str, JsonDoor>,
    /// How published events look from the outside, by their present and former wire names.
    pub(crate) event_doors: HashMap<&'static str, EventDoor>,
    pub(crate) twice: Vec<String>,
}

impl<S: Service> Handlers<S> {
    /// The list as the service fills it in.
    pub(crate) fn of_service() -> Handlers<S> {
        let mut handlers = Handlers {
            declaration: Declaration {
                name: S::NAME,
                formerly: S::FORMERLY,
                tables: Vec::new(),
                handles: Vec::new(),
                queries: Vec::new(),
                publishes: Vec::new(),
                sends: Vec::new(),
                activities: Vec::new(),
                sagas: Vec::new(),
                retired: Vec::new(),
                supervision: Supervision::default(),
                in_background: false,
            },
            indexes: HashMap::new(),
            handles: HashMap::new(),
            listeners: HashMap::new(),
            own_publishes: Vec::new(),
            answers: HashMap::new(),
            activities: HashMap::new(),
            doors: HashMap::new(),
            event_doors: HashMap::new(),
            twice: Vec::new(),
        };
        S::handlers(&mut handlers);
        handlers
    }

    /// Declares a table that this service owns.
    pub fn table<K: TableKey, V>(&mut self, table: Table<K, V>) -> &mut Self {
        if self
            .declaration
            .tables
            .iter()
            .any(|(name, _)| *name == table.name())
        {
            self.twice.push(format!("table `{}`", table.name()));
        }
        self.declaration
            .tables
            .push((table.name(), table.former_names()));
        self
    }

    /// Declares a secondary index; the library keeps it in step with its table.
    pub fn index<I, K, V>(&mut self, index: Index<I, K, V>) -> &mut Self
    where
        I: TableKey + 'static,
        K: TableKey + 'static,
        V: Serialize + DeserializeOwned + 'static,
    {
        if self
            .declaration
            .tables
            .iter()
            .any(|(name, _)| *name == index.name())
        {
            self.twice.push(format!("table `{}`", index.name()));
        }
        self.declaration.tables.push((index.name(), &[]));
        self.indexes
            .entry(index.table().name())
            .or_default()
            .push((index.name(), Arc::new(index.keys())));
        self
    }

    /// Subscribes to an event.
    pub fn event<E: Event>(
        &mut self,
        handler: impl Fn(&S, E, &mut Context<S>) -> Result<(), Rejection> + Send + Sync + 'static,
    ) -> &mut Self {
        self.handle::<E>(
            Kind::Event,
            Box::new(move |service, envelope, cx| {
                decide::<E, ()>(envelope, |message| handler(service, message, cx))
            }),
        )
    }

    /// Answers a command, from outside or from another service.
    pub fn command<C: Command>(
        &mut self,
        handler: impl Fn(&S, C, &mut Context<S>) -> Result<C::Reply, Rejection> + Send + Sync + 'static,
    ) -> &mut Self {
        if self.answers.contains_key(C::NAME) {
            self.twice.push(format!("command and query `{}`", C::NAME));
        }
        self.doors.insert(C::NAME, door::<C, C::Reply>());
        self.handle::<C>(
            Kind::Command,
            Box::new(move |service, envelope, cx| {
                decide::<C, C::Reply>(envelope, |message| handler(service, message, cx))
            }),
        )
    }

    /// Answers a query.
    pub fn query<Q: Query>(
        &mut self,
        handler: impl Fn(&S, Q, &View<S>) -> Result<Q::Answer, Rejection> + Send + Sync + 'static,
    ) -> &mut Self {
        if self.handles.contains_key(&(Kind::Command, Q::NAME)) {
            self.twice.push(format!("command and query `{}`", Q::NAME));
        }
        if self.answers.contains_key(Q::NAME) {
            self.twice.push(format!("query `{}`", Q::NAME));
        }
        self.doors.insert(Q::NAME, door::<Q, Q::Answer>());
        self.declaration.queries.push(Q::NAME);
        self.answers.insert(
            Q::NAME,
            Box::new(move |service, envelope, view| {
                decide::<Q, Q::Answer>(envelope, |message| handler(service, message, view))
            }),
        );
        self
    }

    /// Handles a timer that this service set with [`Context::after`].
    pub fn timer<M: Message>(
        &mut self,
        handler: impl Fn(&S, M, &mut Context<S>) -> Result<(), Rejection> + Send + Sync + 'static,
    ) -> &mut Self {
        self.handle::<M>(
            Kind::Timer,
            Box::new(move |service, envelope, cx| {
                decide::<M, ()>(envelope, |message| handler(service, message, cx))
            }),
        )
    }

    /// Handles the answers to a command that this service sends with [`Context::send`].
    pub fn reply<C: Command>(
        &mut self,
        handler: impl Fn(&S, Replied<C>, &mut Context<S>) -> Result<(), Rejection>
        + Send
        + Sync
        + 'static,
    ) -> &mut Self {
        self.handle::<C>(
            Kind::Reply,
            Box::new(
                move |service, envelope, cx| match open_reply::<C>(&envelope.body) {
                    Ok(result) => settle(C::NAME, handler(service, Replied { result }, cx)),
                    Err(error) => Handled::Unreadable(error),
                },
            ),
        )
    }

    /// Runs an activity that this service plans with [`Context::plan`], and handles its end.
    pub fn activity<A: Activity<S>>(
        &mut self,
        handler: impl Fn(&S, Finished<A, A::Output>, &mut Context<S>) -> Result<(), Rejection>
        + Send
        + Sync
        + 'static,
    ) -> &mut Self {
        if self.activities.contains_key(A::NAME) {
            self.twice.push(format!("activity `{}`", A::NAME));
        }
        self.declaration.activities.push((A::NAME, A::DESTINATION));
        let run: Run<S> = Box::new(|service, envelope, cx| {
            let input: A = open_activity(A::NAME, &envelope.body)?;
            Ok(Box::pin(async move {
                let output = input.run(service, cx).await?;
                seal_output(A::NAME, &output)
            }))
        });
        let reconcile: Option<Reconcile<S>> = (!A::IDEMPOTENT).then(|| {
            let reconcile: Reconcile<S> = Box::new(|service, envelope, cx| {
                let input: A = open_activity(A::NAME, &envelope.body)?;
                Ok(Box::pin(async move {
                    Ok(match input.reconcile(service, cx).await? {
                        Reconciled::Done(output) => {
                            Reconciled::Done(seal_output(A::NAME, &output)?)
                        }
                        Reconciled::Failed(reason) => Reconciled::Failed(reason),
                        Reconciled::NotDone => Reconciled::NotDone,
                        Reconciled::StillUnknown => Reconciled::StillUnknown,
                    })
                }))
            });
            reconcile
        });
        let finish: Finish<S> = Box::new(move |service, envelope, result, cx| {
            let input: A = match open_activity(A::NAME, &envelope.body) {
                Ok(input) => input,
                Err(error) => return Handled::Unreadable(error),
            };
            let outcome = match result {
                Outcome::Done(sealed) => {
                    match codec::open(Subject::message(A::NAME), 1, sealed, codec::no_older) {
                        Ok(output) => Outcome::Done(output),
                        Err(error) => return Handled::Unreadable(error),
                    }
                }
                Outcome::Failed(reason) => Outcome::Failed(reason.clone()),
                Outcome::GaveUp { attempts, reason } => Outcome::GaveUp {
                    attempts: *attempts,
                    reason: reason.clone(),
                },
            };
            settle(A::NAME, handler(service, Finished { input, outcome }, cx))
        });
        self.activities.insert(
            A::NAME,
            ActivityHandler {
                run,
                reconcile,
                finish,
                policy: A::policy,
                destination: A::DESTINATION,
            },
        );
        self
    }

    /// Declares an event that this service publishes and another service handles.
    pub fn publishes<E: Event>(&mut self) -> &mut Self {
        self.published::<E>(false)
    }

    /// Declares an event that this service publishes for listeners outside of the system (the
    /// event stream); services may subscribe to it too.
    pub fn publishes_outside<E: Event>(&mut self) -> &mut Self {
        self.published::<E>(true)
    }

    /// Declares a command that this service sends to another.
    pub fn sends<T: Service, C: Command>(&mut self) -> &mut Self {
        self.declaration.sends.push(Sent {
            to: T::NAME,
            message: C::NAME,
        });
        self
    }

    /// Runs a saga of this service: declares its table, its timer, and all that its steps send and
    /// hear.
    ///
    /// An event may be heard by several steps and sagas and by the service's own handler: all
    /// happen in one turn, the own handler first (it sees the sagas as they were), then the sagas
    /// in the order of registration. If any of them rejects the event, none of it happens.
    pub fn saga<G: Saga<Service = S>>(&mut self) -> &mut Self {
        Steps::<G>::of_saga().attach(self);
        self
    }

    /// Keeps the followers of a dead letter of this message waiting for an operator. By default
    /// they go on.
    pub fn hold_after_dead_letter<M: Message>(&mut self) -> &mut Self {
        for handled in self
            .declaration
            .handles
            .iter_mut()
            .filter(|handled| handled.message == M::NAME)
        {
            handled.after_dead_letter = AfterDeadLetter::Hold;
        }
        self
    }

    /// Says that this service no longer handles a message of which stored data may still hold
    /// copies; they become dead letters instead of refusing the start.
    pub fn retired(&mut self, wire_name: &'static str) -> &mut Self {
        self.declaration.retired.push(wire_name);
        self
    }

    /// Sets how the service's tree is supervised.
    pub fn supervision(&mut self, supervision: Supervision) -> &mut Self {
        self.declaration.supervision = supervision;
        self
    }

    /// Says that nobody waits for what this service does with the messages of others, as with
    /// statistics, notifications and copies of others' data. It takes them while the journal
    /// writes, so that they delay nobody: up to about a millisecond later than otherwise, and in
    /// larger batches under load. Its activities begin as late, too. Commands and queries from
    /// outside are taken at once, as everywhere. It changes no guarantee.
    ///
    /// ```
    /// # use redeliver::prelude::*;
    /// # struct Statistics;
    /// impl Service for Statistics {
    ///     const NAME: &'static str = "statistics";
    ///     fn handlers(on: &mut Handlers<Self>) {
    ///         on.in_background();
    ///     }
    /// }
    /// ```
    pub fn in_background(&mut self) -> &mut Self {
        self.declaration.in_background = true;
        self
    }

    /// Lets a saga hear an event in the turn that handles it.
    pub(crate) fn listen<E: Event>(
        &mut self,
        hear: impl Fn(&S, &E, &mut Context<S>) -> Result<(), Rejection> + Send + Sync + 'static,
    ) {
        self.declare_handled::<E>(Kind::Event);
        let listener: Handle<S> = Box::new(move |service, envelope, cx| {
            decide::<E, ()>(envelope, |event| hear(service, &event, cx))
        });
        self.listeners.entry(E::NAME).or_default().push(listener);
    }

    /// Declares an event that a saga publishes; several sagas, and the service, may.
    pub(crate) fn publishes_by_saga<E: Event>(&mut self, outside: bool) {
        for name in E::FORMERLY.iter().chain([&E::NAME]) {
            self.event_doors.insert(name, event_door::<E>());
        }
        let publishes = &mut self.declaration.publishes;
        match publishes.iter_mut().find(|known| known.message == E::NAME) {
            Some(known) => known.outside |= outside,
            None => publishes.push(Published {
                message: E::NAME,
                version: E::VERSION,
                outside,
            }),
        }
    }

    pub(crate) fn declare_saga(&mut self, saga: DeclaredSaga) {
        self.declaration.sagas.push(saga);
    }

    /// Declares a command that a saga sends.
    pub(crate) fn sends_by_saga<T: Service, C: Command>(&mut self) {
        let declared = |sent: &Sent| (sent.to, sent.message) == (T::NAME, C::NAME);
        if !self.declaration.sends.iter().any(declared) {
            self.sends::<T, C>();
        }
    }

    pub(crate) fn report_twice(&mut self, what: String) {
        self.twice.push(what);
    }

    fn published<E: Event>(&mut self, outside: bool) -> &mut Self {
        if self.own_publishes.contains(&E::NAME) {
            self.twice.push(format!("published event `{}`", E::NAME));
        }
        self.own_publishes.push(E::NAME);
        self.publishes_by_saga::<E>(outside);
        self
    }

    fn handle<M: Message>(&mut self, kind: Kind, handle: Handle<S>) -> &mut Self {
        if self.handles.contains_key(&(kind, M::NAME)) {
            self.twice
                .push(format!("handler for {kind:?} `{}`", M::NAME));
        }
        self.declare_handled::<M>(kind);
        self.handles.insert((kind, M::NAME), handle);
        self
    }

    fn declare_handled<M: Message>(&mut self, kind: Kind) {
        let known = |handled: &HandledMessage| (handled.kind, handled.message) == (kind, M::NAME);
        if !self.declaration.handles.iter().any(known) {
            self.declaration.handles.push(HandledMessage {
                kind,
                message: M::NAME,
                version: M::VERSION,
                formerly: M::FORMERLY,
                after_dead_letter: AfterDeadLetter::default(),
            });
        }
    }
}

/// What a handler came to.
pub(crate) enum Handled {
    Replied(Vec<u8>),
    Rejected(Rejection),
    Unreadable(CodecError),
}

pub(crate) type Handle<S> = Box<dyn Fn(&S, &Envelope, &mut Context<S>) -> Handled + Send + Sync>;
pub(crate) type Answer<S> = Box<dyn Fn(&S, &Envelope, &View<S>) -> Handled + Send + Sync>;
pub(crate) type Finish<S> =
    Box<dyn Fn(&S, &Envelope, &ActivityResult, &mut Context<S>) -> Handled + Send + Sync>;
pub(crate) type ActivityFuture<T> = Pin<Box<dyn Future<Output = Result<T, ActivityError>> + Send>>;
pub(crate) type Run<S> = Box<
    dyn Fn(Arc<S>, &Envelope, ActivityContext) -> Result<ActivityFuture<Bytes>, CodecError>
        + Send
        + Sync,
>;
pub(crate) type Reconcile<S> = Box<
    dyn Fn(
            Arc<S>,
            &Envelope,
            ActivityContext,
        ) -> Result<ActivityFuture<Reconciled<Bytes>>, CodecError>
        + Send
        + Sync,
>;

/// The recorded end of an activity: its output is sealed, or it failed for good.
pub(crate) type ActivityResult = Outcome<Bytes>;

type ReadJson = fn(&[u8]) -> Result<(Key, Vec<u8>), String>;

/// How a command or query looks from the outside: JSON in, JSON out.
#[derive(Clone, Copy)]
pub(crate) struct JsonDoor {
    /// JSON to ordering key and sealed body.
    pub(crate) read: ReadJson,
    /// Sealed reply to JSON.
    pub(crate) write: fn(&[u8]) -> Result<Vec<u8>, String>,
    pub(crate) version: u16,
    pub(crate) name: &'static str,
}

/// How a published event looks from the outside: JSON out.
#[derive(Clone, Copy)]
pub(crate) struct EventDoor {
    /// Sealed body of any version, under the name it was published by, to the present JSON.
    pub(crate) write: fn(&Envelope) -> Result<Vec<u8>, CodecError>,
    pub(crate) version: u16,
    pub(crate) name: &'static str,
}

pub(crate) struct ActivityHandler<S> {
    pub(crate) run: Run<S>,
    pub(crate) reconcile: Option<Reconcile<S>>,
    pub(crate) finish: Finish<S>,
    pub(crate) policy: fn(&S) -> ActivityPolicy,
    pub(crate) destination: &'static str,
}

/// Seals the body of a message.
pub(crate) fn seal_message<M: Message>(message: &M) -> Result<Vec<u8>, CodecError> {
    codec::seal(Subject::message(M::NAME), M::VERSION, message)
}

/// Opens the body of a message of any version the type knows.
pub(crate) fn open_message<M: Message>(
    envelope_version: u16,
    name: &str,
    body: &[u8],
) -> Result<M, CodecError> {
    let _ = envelope_version;
    codec::open(Subject::message(name), M::VERSION, body, M::upgrade)
}

/// Seals the answer to a command of a service.
pub(crate) fn seal_rejection(rejection: &Rejection) -> Result<Vec<u8>, CodecError> {
    codec::seal(Subject::message(REJECTION), 1, rejection)
}

/// Opens an answer: a sealed reply, or a sealed rejection.
pub(crate) fn open_reply<C: Command>(
    body: &[u8],
) -> Result<Result<C::Reply, Rejection>, CodecError> {
    // The checksum covers the name, so a reply can never pass as a rejection or the reverse.
    match codec::open::<Rejection>(Subject::message(REJECTION), 1, body, codec::no_older) {
        Ok(rejection) => Ok(Err(rejection)),
        Err(_) => open_answer::<C, C::Reply>(body).map(Ok),
    }
}

/// Opens what was answered to a message, maybe by an earlier program that knew the message under
/// one of its former names.
pub(crate) fn open_answer<M: Message, R: DeserializeOwned>(body: &[u8]) -> Result<R, CodecError> {
    let open = |name| codec::open(Subject::message(name), 1, body, codec::no_older);
    open(M::NAME).or_else(|error| {
        let former = M::FORMERLY.iter().find_map(|name| open(name).ok());
        former.ok_or(error)
    })
}

const REJECTION: &str = "redeliver.rejection";

fn open_activity<A: DeserializeOwned>(name: &str, body: &[u8]) -> Result<A, CodecError> {
    codec::open(Subject::message(name), 1, body, codec::no_older)
}

fn seal_output<T: Serialize>(name: &str, output: &T) -> Result<Bytes, ActivityError> {
    codec::seal(Subject::message(name), 1, output)
        .map(Bytes::from)
        .map_err(|error| ActivityError::Refused(error.to_string()))
}

fn decide<M: Message, R: Serialize>(
    envelope: &Envelope,
    handler: impl FnOnce(M) -> Result<R, Rejection>,
) -> Handled {
    match open_message::<M>(envelope.version, envelope.name(), &envelope.body) {
        Ok(message) => settle(M::NAME, handler(message)),
        Err(error) => Handled::Unreadable(error),
    }
}

fn settle<R: Serialize>(name: &str, result: Result<R, Rejection>) -> Handled {
    match result {
        Ok(reply) => match codec::seal(Subject::message(name), 1, &reply) {
            Ok(sealed) => Handled::Replied(sealed),
            Err(error) => Handled::Rejected(Rejection::new(
                RejectionKind::Failed,
                "unencodable_reply",
                error.to_string(),
            )),
        },
        Err(rejection) => Handled::Rejected(rejection),
    }
}

fn event_door<E: Event>() -> EventDoor {
    EventDoor {
        write: |envelope| {
            let event: E = open_message(envelope.version, envelope.name(), &envelope.body)?;
            codec::to_json(&event).map_err(|detail| CodecError::Encode {
                subject: E::NAME.to_owned(),
                detail,
            })
        },
        version: E::VERSION,
        name: E::NAME,
    }
}

fn door<M: Message, R: Serialize + DeserializeOwned>() -> JsonDoor {
    JsonDoor {
        read: |json| {
            let message: M = codec::from_json(json)?;
            let body = seal_message(&message).map_err(|error| error.to_string())?;
            Ok((message.key(), body))
        },
        write: |sealed| {
            let reply: R = open_answer::<M, R>(sealed).map_err(|error| error.to_string())?;
            codec::to_json(&reply)
        },
        version: M::VERSION,
        name: M::NAME,
    }
}
