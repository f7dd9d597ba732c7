//! The contract between a host and the library: services, their messages and their handlers.
//!
//! A service declares what it owns (tables), what it hears (events, commands, queries, timers)
//! and what it says (events, commands to others). Nothing is found by reflection and nothing is
//! registered by a macro: `handlers` is an ordinary function that lists ordinary functions.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::TableKey;
use crate::activity::{Activity, ActivityContext, ActivityError, Finished, Outcome, Reconciled};
use crate::codec::{self, Body, CodecError, Subject};
use crate::context::{Context, Turn, View};
use crate::envelope::{Envelope, Key, Kind};
use crate::saga::{Saga, Steps};
use crate::supervision::Supervision;
use crate::table::{Index, IndexKeys, Table};

/// A message: typed, versioned, with a wire name that never changes.
///
/// ```
/// use redeliver::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced {
///     order: u64,
/// }
///
/// impl Message for OrderPlaced {
///     const NAME: &'static str = "order-placed";
///     // Messages about one order are handled in the order of sending.
///     fn key(&self) -> Key {
///         Key::of(&self.order)
///     }
/// }
/// impl Event for OrderPlaced {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    note = "implement `redeliver::Message` for it, with its wire name, and `Event`, `Command` or `Query`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// The wire name: identity of the message in stored data and between services.
    const NAME: &'static str;
    /// Schema version of the body that this program writes.
    const VERSION: u16 = 1;
    /// Wire names under which stored data may still hold this message.
    const FORMERLY: &'static [&'static str] = &[];

    /// The ordering key. Default: unordered.
    fn key(&self) -> Key {
        Key::None
    }

    /// Reads a body of an older version; `None` for versions this program does not know.
    fn upgrade(version: u16, body: Body<'_>) -> Option<Result<Self, CodecError>> {
        let _ = (version, body);
        None
    }
}

/// A fact, for every service that subscribes to it.
pub trait Event: Message {}

/// A request to one service.
pub trait Command: Message {
    /// What the service answers.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// A question that changes nothing.
pub trait Query: Message {
    /// What the service answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// A unit of ownership and supervision: a name, its tables, its handlers, its outbox and inbox.
///
/// Handlers are synchronous and decide; they perform no I/O. A handler that panics is a bug: its
/// message is tried again and finally becomes a dead letter, the service goes on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    note = "implement `redeliver::Service` for it"
)]
pub trait Service: Sized + Send + Sync + 'static {
    /// Identity of the service in stored data, routes, logs and metrics.
    const NAME: &'static str;
    /// Names under which stored data may still know this service.
    const FORMERLY: &'static [&'static str] = &[];

    /// Lists the service's tables, handlers and published messages.
    fn handlers(on: &mut Handlers<Self>);
}

/// What a business refusal is about; the HTTP facade turns it into a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RejectionKind {
    /// The request breaks a rule (422).
    Invalid,
    /// There is no such thing, or the caller may not know of it (404).
    NotFound,
    /// The state does not allow it now (409).
    Conflict,
    /// The caller's precondition does not hold (412).
    Precondition,
    /// The caller may not (403).
    Forbidden,
    /// The library could not complete the turn; the turn is not committed. Handlers do not make
    /// these: `?` on an error of [`Context`] does.
    Failed,
}

/// A business answer: no. It commits what was decided (the message is consumed, the answer is
/// stored) and discards the turn's writes, messages, timers and activities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// What it is about.
    pub kind: RejectionKind,
    /// Stable name for programs, such as `out_of_stock`.
    pub code: String,
    /// A sentence a person can act on.
    pub message: String,
    /// Further facts as name and value.
    pub details: Vec<(String, String)>,
}

impl Rejection {
    /// A refusal of this kind.
    pub fn new(
        kind: RejectionKind,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Rejection {
        Rejection {
            kind,
            code: code.into(),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// The request breaks a rule.
    pub fn invalid(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Invalid, code, message)
    }

    /// There is no such thing.
    pub fn not_found(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::NotFound, code, message)
    }

    /// The state does not allow it now.
    pub fn conflict(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Conflict, code, message)
    }

    /// The caller may not.
    pub fn forbidden(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Forbidden, code, message)
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Rejection {
        self.details.push((name.into(), value.to_string()));
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Rejection {}

/// The answer to a command that a service sent to another.
#[derive(Debug, Clone)]
pub struct Replied<C: Command> {
    /// What the receiver decided.
    pub result: Result<C::Reply, Rejection>,
}

/// What becomes of the messages parked behind a dead letter (same stream, same ordering key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterDeadLetter {
    /// They go on without it.
    #[default]
    Release,
    /// They wait until an operator redrives or discards it.
    Hold,
}

/// A message that a service publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Wire name.
    pub message: &'static str,
    /// Version written.
    pub version: u16,
    /// Whether listeners outside of the system may be its only readers.
    pub outside: bool,
}

/// A command that a service sends to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Name of the service it goes to.
    pub to: &'static str,
    /// Wire name.
    pub message: &'static str,
}

/// A message that a service handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandledMessage {
    /// How it arrives.
    pub kind: Kind,
    /// Wire name.
    pub message: &'static str,
    /// Newest version read.
    pub version: u16,
    /// Older wire names.
    pub formerly: &'static [&'static str],
    /// What becomes of its followers after a dead letter.
    pub after_dead_letter: AfterDeadLetter,
}

/// Everything a service declares, as data: the input of the topology check.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The service's name.
    pub name: &'static str,
    /// Older names.
    pub formerly: &'static [&'static str],
    /// Tables and indexes with their older names.
    pub tables: Vec<(&'static str, &'static [&'static str])>,
    /// Messages handled, in the order of registration.
    pub handles: Vec<HandledMessage>,
    /// Queries answered.
    pub queries: Vec<&'static str>,
    /// Events published.
    pub publishes: Vec<Published>,
    /// Commands sent to other services.
    pub sends: Vec<Sent>,
    /// Activities with their destinations.
    pub activities: Vec<(&'static str, &'static str)>,
    /// Wire names whose stored messages may be dropped as dead letters.
    pub retired: Vec<&'static str>,
    /// How its tree is supervised.
    pub supervision: Supervision,
}

/// What a handler came to.
pub(crate) enum Handled {
    Replied(Vec<u8>),
    Rejected(Rejection),
    Unreadable(CodecError),
}

type Handle<S> = Box<dyn Fn(&S, &Envelope, &mut Context<S>) -> Handled + Send + Sync>;
type Answer<S> = Box<dyn Fn(&S, &Envelope, &View<S>) -> Handled + Send + Sync>;
type Finish<S> =
    Box<dyn Fn(&S, &Envelope, &ActivityResult, &mut Context<S>) -> Handled + Send + Sync>;
pub(crate) type ActivityFuture<T> = Pin<Box<dyn Future<Output = Result<T, ActivityError>> + Send>>;
type Run<S> = Box<
    dyn Fn(Arc<S>, &Envelope, ActivityContext) -> Result<ActivityFuture<Bytes>, CodecError>
        + Send
        + Sync,
>;
type Reconcile<S> = Box<
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

/// How a command or query looks from the outside: JSON in, JSON out.
#[derive(Clone, Copy)]
pub(crate) struct JsonDoor {
    /// JSON to ordering key and sealed body.
    pub(crate) read: fn(&[u8]) -> Result<(Key, Vec<u8>), String>,
    /// Sealed reply to JSON.
    pub(crate) write: fn(&[u8]) -> Result<Vec<u8>, String>,
    pub(crate) version: u16,
    pub(crate) name: &'static str,
}

struct ActivityHandler<S> {
    run: Run<S>,
    reconcile: Option<Reconcile<S>>,
    finish: Finish<S>,
    policy: crate::activity::ActivityPolicy,
    destination: &'static str,
}

/// The list that a service fills in. See [`Service::handlers`].
pub struct Handlers<S: Service> {
    declaration: Declaration,
    indexes: HashMap<&'static str, Vec<(&'static str, Arc<IndexKeys>)>>,
    handles: HashMap<(Kind, &'static str), Handle<S>>,
    /// Sagas that hear an event, after the service's own handler if it has one.
    listeners: HashMap<&'static str, Vec<Handle<S>>>,
    /// Events that the service itself declared; its sagas may declare them too.
    own_publishes: Vec<&'static str>,
    answers: HashMap<&'static str, Answer<S>>,
    activities: HashMap<&'static str, ActivityHandler<S>>,
    doors: HashMap<&'static str, JsonDoor>,
    twice: Vec<String>,
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
                retired: Vec::new(),
                supervision: Supervision::default(),
            },
            indexes: HashMap::new(),
            handles: HashMap::new(),
            listeners: HashMap::new(),
            own_publishes: Vec::new(),
            answers: HashMap::new(),
            activities: HashMap::new(),
            doors: HashMap::new(),
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
                policy: A::policy(),
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
    pub(crate) fn publishes_by_saga<E: Event>(&mut self) {
        let declared = |published: &Published| published.message == E::NAME;
        if !self.declaration.publishes.iter().any(declared) {
            self.declaration.publishes.push(Published {
                message: E::NAME,
                version: E::VERSION,
                outside: false,
            });
        }
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
        self.declaration
            .publishes
            .retain(|published| published.message != E::NAME);
        self.declaration.publishes.push(Published {
            message: E::NAME,
            version: E::VERSION,
            outside,
        });
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

/// A service with its handlers, whatever its type.
pub(crate) trait Hosted: Send + Sync {
    fn declaration(&self) -> &Declaration;
    /// What was registered more than once.
    fn twice(&self) -> &[String];
    /// The indexes of each table, as (index table, key function).
    fn indexes(&self) -> &HashMap<&'static str, Vec<(&'static str, Arc<IndexKeys>)>>;
    fn door(&self, message: &str) -> Option<JsonDoor>;
    fn is_query(&self, message: &str) -> bool;
    /// The current wire name for a (possibly older) one, if this kind of message is handled.
    fn current_name(&self, kind: Kind, name: &str) -> Option<&'static str>;
    /// Runs the handler; `name` comes from [`Hosted::current_name`].
    fn handle(&self, name: &'static str, envelope: &Envelope, turn: Turn) -> (Handled, Turn);
    fn answer(&self, envelope: &Envelope, turn: Turn) -> (Option<Handled>, Turn);
    fn finish(
        &self,
        envelope: &Envelope,
        result: &ActivityResult,
        turn: Turn,
    ) -> (Option<Handled>, Turn);
    fn activity_policy(
        &self,
        name: &str,
    ) -> Option<(crate::activity::ActivityPolicy, &'static str, bool)>;
    fn run_activity(
        &self,
        envelope: &Envelope,
        cx: ActivityContext,
    ) -> Option<Result<ActivityFuture<Bytes>, CodecError>>;
    fn reconcile_activity(
        &self,
        envelope: &Envelope,
        cx: ActivityContext,
    ) -> Option<Result<ActivityFuture<Reconciled<Bytes>>, CodecError>>;
}

/// A service beside its filled-in list.
pub(crate) struct Registered<S: Service> {
    service: Arc<S>,
    handlers: Handlers<S>,
}

impl<S: Service> Registered<S> {
    pub(crate) fn new(service: Arc<S>) -> Registered<S> {
        Registered {
            service,
            handlers: Handlers::of_service(),
        }
    }
}

impl<S: Service> Hosted for Registered<S> {
    fn declaration(&self) -> &Declaration {
        &self.handlers.declaration
    }

    fn twice(&self) -> &[String] {
        &self.handlers.twice
    }

    fn indexes(&self) -> &HashMap<&'static str, Vec<(&'static str, Arc<IndexKeys>)>> {
        &self.handlers.indexes
    }

    fn door(&self, message: &str) -> Option<JsonDoor> {
        self.handlers.doors.get(message).copied()
    }

    fn is_query(&self, message: &str) -> bool {
        self.handlers.answers.contains_key(message)
    }

    fn current_name(&self, kind: Kind, name: &str) -> Option<&'static str> {
        let handles = &self.handlers.declaration.handles;
        let of_kind = || handles.iter().filter(|handled| handled.kind == kind);
        of_kind()
            .find(|handled| handled.message == name)
            .or_else(|| of_kind().find(|handled| handled.formerly.contains(&name)))
            .map(|handled| handled.message)
    }

    fn handle(&self, name: &'static str, envelope: &Envelope, turn: Turn) -> (Handled, Turn) {
        let mut cx = Context::new(turn);
        let own = self.handlers.handles.get(&(envelope.kind, name));
        let listeners = match envelope.kind {
            Kind::Event => self.handlers.listeners.get(name),
            Kind::Command | Kind::Reply | Kind::Timer | Kind::Activity => None,
        };
        let mut handled = None;
        for handle in own.into_iter().chain(listeners.into_iter().flatten()) {
            handled = Some(handle(&self.service, envelope, &mut cx));
            // What one of them refuses, none of them does.
            if !matches!(handled, Some(Handled::Replied(_))) {
                break;
            }
        }
        let handled = handled.unwrap_or_else(|| {
            Handled::Unreadable(CodecError::Decode {
                subject: name.to_owned(),
                detail: "this service has no handler for it".to_owned(),
            })
        });
        (handled, cx.into_turn())
    }

    fn answer(&self, envelope: &Envelope, turn: Turn) -> (Option<Handled>, Turn) {
        let view = View::new(turn);
        let handled = self
            .handlers
            .answers
            .get(envelope.name())
            .map(|answer| answer(&self.service, envelope, &view));
        (handled, view.into_turn())
    }

    fn finish(
        &self,
        envelope: &Envelope,
        result: &ActivityResult,
        turn: Turn,
    ) -> (Option<Handled>, Turn) {
        let mut cx = Context::new(turn);
        let handled = self
            .handlers
            .activities
            .get(envelope.name())
            .map(|activity| (activity.finish)(&self.service, envelope, result, &mut cx));
        (handled, cx.into_turn())
    }

    fn activity_policy(
        &self,
        name: &str,
    ) -> Option<(crate::activity::ActivityPolicy, &'static str, bool)> {
        let activity = self.handlers.activities.get(name)?;
        Some((
            activity.policy.clone(),
            activity.destination,
            activity.reconcile.is_none(),
        ))
    }

    fn run_activity(
        &self,
        envelope: &Envelope,
        cx: ActivityContext,
    ) -> Option<Result<ActivityFuture<Bytes>, CodecError>> {
        let activity = self.handlers.activities.get(envelope.name())?;
        Some((activity.run)(self.service.clone(), envelope, cx))
    }

    fn reconcile_activity(
        &self,
        envelope: &Envelope,
        cx: ActivityContext,
    ) -> Option<Result<ActivityFuture<Reconciled<Bytes>>, CodecError>> {
        let reconcile = self
            .handlers
            .activities
            .get(envelope.name())?
            .reconcile
            .as_ref()?;
        Some(reconcile(self.service.clone(), envelope, cx))
    }
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
