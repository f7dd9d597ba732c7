//! Handles: how a host talks to a service. They survive the service's restarts.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::TableKey;
use crate::actors::cell::{Cell, Member};
use crate::actors::port::Request;
use crate::call::{Answered, CallError, IdempotencyKey, RawAnswer};
use crate::envelope::{Key, TraceContext};
use crate::handlers::seal_message;
use crate::service::{Command, Message, Query, Service};

/// Talks to a service. Cheap to clone; survives the service's restarts.
pub struct ServiceHandle<S> {
    cell: Arc<Cell>,
    member: Arc<Member>,
    service: PhantomData<fn() -> S>,
}

impl<S> Clone for ServiceHandle<S> {
    fn clone(&self) -> Self {
        ServiceHandle {
            cell: self.cell.clone(),
            member: self.member.clone(),
            service: PhantomData,
        }
    }
}

impl<S> fmt::Debug for ServiceHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceHandle")
            .field(&self.member.name())
            .finish()
    }
}

impl<S: Service> ServiceHandle<S> {
    pub(crate) fn new(cell: Arc<Cell>, member: Arc<Member>) -> ServiceHandle<S> {
        ServiceHandle {
            cell,
            member,
            service: PhantomData,
        }
    }

    /// Sends a command and waits for its answer, which is durable when it comes.
    pub async fn call<C: Command>(&self, command: C) -> Result<C::Reply, CallError> {
        self.command(command)
            .send()
            .await
            .map(|answered| answered.reply)
    }

    /// Prepares a command, to send it with an idempotency key or a trace context.
    pub fn command<C: Command>(&self, command: C) -> CommandCall<S, C> {
        CommandCall {
            handle: self.clone(),
            command,
            idempotency: None,
            trace: None,
        }
    }

    /// Asks a query. The answer shows the newest state, and comes when that state is durable.
    pub async fn query<Q: Query>(&self, query: Q) -> Result<Q::Answer, CallError> {
        let (name, version, body) = sealed(&query)?;
        let question = Question {
            query: true,
            name,
            version,
            key: Key::None,
            body,
            idempotency: None,
            trace: None,
        };
        let answered = ask(&self.cell, &self.member, question).await?;
        open_answer::<Q, Q::Answer>(&answered.reply)
    }

    /// Watches a key of the service: see [`Context::notify`](crate::Context::notify). Start to
    /// watch before the first look at the state, then look again after every change.
    pub fn watch<K: TableKey>(&self, key: &K) -> Watch {
        let key = key.to_bytes();
        let notify = self.member.port.watch(key.clone());
        Watch {
            member: self.member.clone(),
            key,
            notify,
        }
    }
}

/// A command about to be sent.
#[must_use = "call `send` to send the command"]
pub struct CommandCall<S, C> {
    handle: ServiceHandle<S>,
    command: C,
    idempotency: Option<IdempotencyKey>,
    trace: Option<TraceContext>,
}

impl<S: Service, C: Command> CommandCall<S, C> {
    /// Makes the command exactly once per key while the key is kept.
    pub fn idempotency(mut self, key: Option<IdempotencyKey>) -> Self {
        self.idempotency = key;
        self
    }

    /// Makes the command part of a trace.
    pub fn trace(mut self, trace: Option<TraceContext>) -> Self {
        self.trace = trace;
        self
    }

    /// Sends the command and waits for its durable answer.
    pub async fn send(self) -> Result<Answered<C::Reply>, CallError> {
        let (name, version, body) = sealed(&self.command)?;
        let question = Question {
            query: false,
            name,
            version,
            key: self.command.key(),
            body,
            idempotency: self.idempotency,
            trace: self.trace,
        };
        let answered = ask(&self.handle.cell, &self.handle.member, question).await?;
        Ok(Answered {
            reply: open_answer::<C, C::Reply>(&answered.reply)?,
            replayed: answered.replayed,
        })
    }
}

/// Waits for notices about a key.
pub struct Watch {
    member: Arc<Member>,
    key: Bytes,
    notify: Arc<Notify>,
}

impl Watch {
    /// Completes at the next notice. A notice between the call and the first poll is not missed:
    /// create the future, look at the state, then await it.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        let mut notified = Box::pin(self.notify.notified());
        notified.as_mut().enable();
        notified
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.member.port.unwatch(&self.key);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("service", &self.member.name())
            .finish_non_exhaustive()
    }
}

/// A command or query in its sealed form.
pub(crate) struct Question {
    pub(crate) query: bool,
    pub(crate) name: Bytes,
    pub(crate) version: u16,
    pub(crate) key: Key,
    pub(crate) body: Bytes,
    pub(crate) idempotency: Option<IdempotencyKey>,
    pub(crate) trace: Option<TraceContext>,
}

/// Puts a question to a service and waits for its answer.
pub(crate) async fn ask(cell: &Cell, member: &Member, question: Question) -> RawAnswer {
    if !question.query {
        cell.admit(member)?;
    }
    let (reply, answer) = oneshot::channel();
    let Question {
        query,
        name,
        version,
        key,
        body,
        idempotency,
        trace,
    } = question;
    member.port.request(Request {
        query,
        name,
        version,
        key,
        body,
        idempotency,
        trace,
        reply,
    })?;
    match answer.await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::OutcomeUnknown {
            reason: "the service stopped before it answered".to_owned(),
        }),
    }
}

fn sealed<M: Message>(message: &M) -> Result<(Bytes, u16, Bytes), CallError> {
    let body = seal_message(message).map_err(|error| CallError::Malformed(error.to_string()))?;
    Ok((
        Bytes::from_static(M::NAME.as_bytes()),
        M::VERSION,
        Bytes::from(body),
    ))
}

fn open_answer<M: Message, R: serde::de::DeserializeOwned>(reply: &[u8]) -> Result<R, CallError> {
    // A stored answer may be of an older program whose reply had another shape.
    crate::handlers::open_answer::<M, R>(reply)
        .map_err(|error| CallError::Malformed(format!("the stored answer cannot be read: {error}")))
}
