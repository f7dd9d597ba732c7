//! A service with its filled-in list, whatever its type: what the runtime works with.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::activity::{ActivityContext, ActivityPolicy, Reconciled};
use crate::codec::CodecError;
use crate::context::{Context, View};
use crate::declaration::Declaration;
use crate::draft::Turn;
use crate::envelope::{Envelope, Kind};
use crate::handlers::{ActivityFuture, ActivityResult, EventDoor, Handled, Handlers, JsonDoor};
use crate::service::Service;
use crate::table::IndexKeys;

/// A service with its handlers, whatever its type.
pub(crate) trait Hosted: Send + Sync {
    fn declaration(&self) -> &Declaration;
    /// What was registered more than once.
    fn twice(&self) -> &[String];
    /// The indexes of each table, as (index table, key function).
    fn indexes(&self) -> &HashMap<&'static str, Vec<(&'static str, Arc<IndexKeys>)>>;
    fn door(&self, message: &str) -> Option<JsonDoor>;
    /// How an event that it publishes looks from the outside; by a present or former name.
    fn event_door(&self, message: &str) -> Option<EventDoor>;
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
    fn activity_policy(&self, name: &str) -> Option<(ActivityPolicy, &'static str, bool)>;
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

    fn event_door(&self, message: &str) -> Option<EventDoor> {
        self.handlers.event_doors.get(message).copied()
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

    fn activity_policy(&self, name: &str) -> Option<(ActivityPolicy, &'static str, bool)> {
        let activity = self.handlers.activities.get(name)?;
        Some((
            (activity.policy)(&self.service),
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
