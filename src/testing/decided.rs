//! What one turn under test came to.

use std::marker::PhantomData;

use bytes::Bytes;

use crate::TableKey;
use crate::activity::Activity;
use crate::clock::Timestamp;
use crate::codec::{self, Subject};
use crate::draft::Plan;
use crate::envelope::{Envelope, Kind};
use crate::handlers::open_message;
use crate::rejection::Rejection;
use crate::service::{Command, Event, Message, Service};

/// What a handler decided: its answer, and what follows from it. A rejected turn plans nothing.
///
/// The questions panic where the answer is not what they ask for, so that a test reads as the
/// promise it checks.
#[derive(Debug)]
pub struct Decided<S, R = ()> {
    result: Result<R, Rejection>,
    plan: Plan,
    service: PhantomData<fn() -> S>,
}

impl<S: Service, R> Decided<S, R> {
    pub(crate) fn new(result: Result<R, Rejection>, plan: Plan) -> Decided<S, R> {
        Decided {
            result,
            plan,
            service: PhantomData,
        }
    }

    pub(crate) fn map<T>(self, open: impl FnOnce(R) -> T) -> Decided<S, T> {
        Decided {
            result: self.result.map(open),
            plan: self.plan,
            service: PhantomData,
        }
    }

    /// The handler's answer.
    pub fn result(&self) -> Result<&R, &Rejection> {
        self.result.as_ref()
    }

    /// The reply of a turn that committed.
    ///
    /// # Panics
    ///
    /// If the handler rejected its message.
    #[track_caller]
    pub fn reply(&self) -> &R {
        match &self.result {
            Ok(reply) => reply,
            Err(rejection) => panic!("expected a reply, but the handler rejected: {rejection}"),
        }
    }

    /// The refusal, if there was one.
    pub fn rejected(&self) -> Option<&Rejection> {
        self.result.as_ref().err()
    }

    /// The refusal.
    ///
    /// # Panics
    ///
    /// If the handler accepted its message.
    #[track_caller]
    pub fn rejection(&self) -> &Rejection {
        match &self.result {
            Ok(_) => panic!("expected a rejection, but the handler accepted its message"),
            Err(rejection) => rejection,
        }
    }

    /// The events of this type that were published, in order.
    #[track_caller]
    pub fn published<E: Event>(&self) -> Vec<E> {
        self.promised(Kind::Event)
    }

    /// The commands of this type that were sent to other services, in order.
    #[track_caller]
    pub fn sent<C: Command>(&self) -> Vec<C> {
        self.promised(Kind::Command)
    }

    /// Wire names of all published events, in order.
    pub fn published_names(&self) -> Vec<String> {
        self.names(Kind::Event)
    }

    /// Wire names of all commands sent to other services, in order.
    pub fn sent_names(&self) -> Vec<String> {
        self.names(Kind::Command)
    }

    /// The timers of this message that were set and not cancelled again, with when they are due.
    #[track_caller]
    pub fn timers<M: Message>(&self) -> Vec<(Timestamp, M)> {
        self.plan
            .timers_set
            .iter()
            .filter(|(_, envelope)| envelope.name() == M::NAME)
            .map(|(timer, envelope)| (timer.due, open(envelope)))
            .collect()
    }

    /// Wire names of all timers that were set, in order of setting.
    pub fn timer_names(&self) -> Vec<String> {
        let set = self.plan.timers_set.iter();
        set.map(|(_, envelope)| envelope.name().to_owned())
            .collect()
    }

    /// How many timers were cancelled, those included that had already gone off.
    pub fn timers_cancelled(&self) -> usize {
        self.plan.timers_cancelled.len()
    }

    /// The inputs of the activities of this type that were planned, in order.
    #[track_caller]
    pub fn planned<A: Activity<S>>(&self) -> Vec<A> {
        let planned = self.plan.activities.iter();
        planned
            .filter(|envelope| envelope.name() == A::NAME)
            .map(open_plan::<S, A>)
            .collect()
    }

    /// Names of all planned activities, in order.
    pub fn planned_names(&self) -> Vec<String> {
        let planned = self.plan.activities.iter();
        planned.map(|envelope| envelope.name().to_owned()).collect()
    }

    /// Whether the watchers of this key are woken.
    pub fn notifies<K: TableKey>(&self, key: &K) -> bool {
        let key: Bytes = key.to_bytes();
        self.plan.notices.contains(&key)
    }

    /// Whether the turn promises nothing: no message, timer, or activity.
    pub fn is_quiet(&self) -> bool {
        self.plan.envelopes.is_empty()
            && self.plan.timers_set.is_empty()
            && self.plan.activities.is_empty()
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let promised = self.plan.envelopes.iter();
        promised
            .filter(|envelope| envelope.kind == kind)
            .map(|envelope| envelope.name().to_owned())
            .collect()
    }

    #[track_caller]
    fn promised<M: Message>(&self, kind: Kind) -> Vec<M> {
        let promised = self.plan.envelopes.iter();
        promised
            .filter(|envelope| envelope.kind == kind && envelope.name() == M::NAME)
            .map(open)
            .collect()
    }
}

#[track_caller]
fn open<M: Message>(envelope: &Envelope) -> M {
    match open_message(envelope.version, M::NAME, &envelope.body) {
        Ok(message) => message,
        Err(error) => panic!("message `{}` does not survive its codec: {error}", M::NAME),
    }
}

#[track_caller]
pub(crate) fn open_plan<S: Service, A: Activity<S>>(envelope: &Envelope) -> A {
    let subject = Subject::message(A::NAME);
    match codec::open(subject, 1, &envelope.body, codec::no_older) {
        Ok(input) => input,
        Err(error) => panic!("activity `{}` does not survive its codec: {error}", A::NAME),
    }
}
