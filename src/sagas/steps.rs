//! The table of steps: what a saga sends, what it listens to, and how long it waits.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use super::drive;
use super::state::{Failing, Said, StepShape, Undo};
use crate::clock::{hours, seconds};
use crate::context::Context;
use crate::declaration::DeclaredSaga;
use crate::handlers::Handlers;
use crate::saga::{Answer, Asking, Failure, Saga};
use crate::service::{Command, Event, Service};

/// Tries of a step unless it says otherwise.
const ATTEMPTS_MAX_DEFAULT: u32 = 3;

type Sends<G> =
    Box<dyn Fn(&Asking<'_, G>, &mut Context<<G as Saga>::Service>) + Send + Sync + 'static>;
type Declare<G> = fn(&mut Handlers<<G as Saga>::Service>);
type Hears<G> = Box<dyn Fn(&dyn Any) -> Option<(Answer<<G as Saga>::Id>, Said)> + Send + Sync>;
type Learns<G> = Box<dyn Fn(&mut <G as Saga>::Data, &dyn Any) + Send + Sync>;
type Subscribe<G> = fn(&mut Handlers<<G as Saga>::Service>, Arc<Steps<G>>);
type Starts<G> =
    Box<dyn Fn(&dyn Any) -> Option<(<G as Saga>::Id, <G as Saga>::Data)> + Send + Sync>;
type Cancels<G> = Box<dyn Fn(&dyn Any) -> Option<(<G as Saga>::Id, String)> + Send + Sync>;
type Time<G> = Box<dyn Fn(&<G as Saga>::Data) -> Duration + Send + Sync>;

/// The list that a saga fills in: its steps, in order. See [`Saga::steps`].
pub struct Steps<G: Saga> {
    pub(crate) steps: Vec<Step<G>>,
    pub(crate) starts: Vec<Trigger<Starts<G>>>,
    pub(crate) cancels: Vec<Trigger<Cancels<G>>>,
    declares: Vec<Declare<G>>,
    subscriptions: Vec<(TypeId, Subscribe<G>)>,
}

/// Something an event sets off before or beside the steps.
pub(crate) struct Trigger<F> {
    pub(crate) event: TypeId,
    pub(crate) of: F,
}

/// One step. Everything but its name is optional.
///
/// - A step that sends nothing waits for something that others do.
/// - A step that nothing succeeds is done as soon as it has sent its message.
/// - A step without an undo leaves nothing behind that would have to be undone.
pub struct Step<G: Saga> {
    pub(crate) name: &'static str,
    pub(crate) formerly: &'static [&'static str],
    pub(crate) sends: Option<Sends<G>>,
    pub(crate) undo: Option<Sends<G>>,
    pub(crate) listeners: Vec<Listener<G>>,
    declares: Vec<Declare<G>>,
    subscriptions: Vec<(TypeId, Subscribe<G>)>,
    attempts_max: u32,
    replaces: bool,
    deadline: Option<Time<G>>,
    hold_deadline: Option<Time<G>>,
    undo_deadline: Option<Time<G>>,
    undo_backoff: (Duration, Duration),
}

/// What a step makes of an event.
pub(crate) struct Listener<G: Saga> {
    pub(crate) event: TypeId,
    pub(crate) hears: Hears<G>,
    pub(crate) learns: Option<Learns<G>>,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Succeeds,
    Fails,
    EndsUndo,
}

impl<G: Saga> Steps<G> {
    pub(crate) fn of_saga() -> Steps<G> {
        let mut steps = Steps {
            steps: Vec::new(),
            starts: Vec::new(),
            cancels: Vec::new(),
            declares: Vec::new(),
            subscriptions: Vec::new(),
        };
        G::steps(&mut steps);
        steps
    }

    /// Adds a step. The name is the step's identity in stored data.
    pub fn step(&mut self, name: &'static str) -> &mut Step<G> {
        self.steps.push(Step {
            name,
            formerly: &[],
            sends: None,
            undo: None,
            listeners: Vec::new(),
            declares: Vec::new(),
            subscriptions: Vec::new(),
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            replaces: false,
            deadline: None,
            hold_deadline: None,
            undo_deadline: None,
            undo_backoff: (seconds(30), hours(1)),
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// Starts a saga when this event comes; `None` leaves it alone. Nothing happens if there is
    /// one of this id already.
    pub fn starts_on<E: Event>(
        &mut self,
        of: impl Fn(&E) -> Option<(G::Id, G::Data)> + Send + Sync + 'static,
    ) -> &mut Self {
        self.starts.push(Trigger {
            event: TypeId::of::<E>(),
            of: Box::new(move |event| of(event.downcast_ref::<E>()?)),
        });
        self.subscriptions
            .push((TypeId::of::<E>(), subscribe::<G, E>));
        self
    }

    /// Cancels a saga, with this reason, when this event comes; `None` leaves it alone.
    pub fn cancels_on<E: Event>(
        &mut self,
        of: impl Fn(&E) -> Option<(G::Id, String)> + Send + Sync + 'static,
    ) -> &mut Self {
        self.cancels.push(Trigger {
            event: TypeId::of::<E>(),
            of: Box::new(move |event| of(event.downcast_ref::<E>()?)),
        });
        self.subscriptions
            .push((TypeId::of::<E>(), subscribe::<G, E>));
        self
    }

    /// Declares an event that [`Saga::moved`] or [`Saga::finished`] publishes. The service may
    /// declare it as well.
    pub fn also_publishes<E: Event>(&mut self) -> &mut Self {
        self.declares.push(|on| on.publishes_by_saga::<E>(false));
        self
    }

    /// As [`Steps::also_publishes`], for listeners outside of the system.
    pub fn also_publishes_outside<E: Event>(&mut self) -> &mut Self {
        self.declares.push(|on| on.publishes_by_saga::<E>(true));
        self
    }

    /// The machine's view of the table, with the times that this saga's data give.
    pub(crate) fn shape(&self, data: &G::Data) -> Vec<StepShape> {
        self.steps.iter().map(|step| step.shape(data)).collect()
    }

    /// Declares what the saga publishes and sends, and subscribes to each event once.
    pub(crate) fn attach(self, on: &mut Handlers<G::Service>) {
        on.declare_saga(DeclaredSaga {
            name: G::NAME,
            steps: self.steps.iter().map(|step| step.name).collect(),
        });
        let of_steps = self.steps.iter().flat_map(|step| &step.declares);
        for declare in self.declares.iter().chain(of_steps) {
            declare(on);
        }
        for (at, step) in self.steps.iter().enumerate() {
            if self.steps[..at].iter().any(|other| other.name == step.name) {
                on.report_twice(format!("step `{}` of saga `{}`", step.name, G::NAME));
            }
        }
        let mut subscriptions = self.subscriptions.clone();
        subscriptions.extend(self.steps.iter().flat_map(|step| &step.subscriptions));
        let steps = Arc::new(self);
        let mut subscribed = Vec::new();
        for (event, subscribe) in subscriptions {
            if !subscribed.contains(&event) {
                subscribed.push(event);
                subscribe(on, steps.clone());
            }
        }
        drive::attach_timer(on, steps);
    }
}

fn subscribe<G: Saga, E: Event>(on: &mut Handlers<G::Service>, steps: Arc<Steps<G>>) {
    on.listen::<E>(move |_, event, cx| drive::hear(&steps, event, cx));
}

impl<G: Saga> Step<G> {
    /// Names under which stored sagas may still know this step.
    pub fn formerly(&mut self, names: &'static [&'static str]) -> &mut Self {
        self.formerly = names;
        self
    }

    /// Asks by publishing this event.
    pub fn publishes<E: Event>(
        &mut self,
        message: impl Fn(&Asking<'_, G>) -> E + Send + Sync + 'static,
    ) -> &mut Self {
        self.declares.push(|on| on.publishes_by_saga::<E>(false));
        self.sends = Some(Box::new(move |asking, cx| cx.publish(message(asking))));
        self
    }

    /// Asks by sending this command to a service: `.sends::<Carrier, _>(|order| …)`. The answer
    /// must come as an event.
    pub fn sends<T: Service, C: Command>(
        &mut self,
        message: impl Fn(&Asking<'_, G>) -> C + Send + Sync + 'static,
    ) -> &mut Self {
        self.declares.push(Handlers::sends_by_saga::<T, C>);
        self.sends = Some(Box::new(move |asking, cx| {
            cx.send::<T, C>(message(asking));
        }));
        self
    }

    /// The event that says that the step has succeeded. `answer` names the saga, and the attempt
    /// where the event carries it: `|e: &PaymentConfirmed| (e.order_id, e.attempt)`.
    pub fn succeeds_on<E: Event, A: Into<Answer<G::Id>>>(
        &mut self,
        answer: impl Fn(&E) -> A + Send + Sync + 'static,
    ) -> &mut Self {
        self.listen(Role::Succeeds, move |event: &E| {
            answered(answer(event), |_| Said::Succeeded)
        })
    }

    /// As [`Step::succeeds_on`]; what the saga should remember of the event goes into its data.
    pub fn succeeds_with<E: Event, A: Into<Answer<G::Id>>>(
        &mut self,
        answer: impl Fn(&E) -> A + Send + Sync + 'static,
        learn: impl Fn(&mut G::Data, &E) + Send + Sync + 'static,
    ) -> &mut Self {
        self.succeeds_on(answer);
        if let Some(listener) = self.listeners.last_mut() {
            listener.learns = Some(Box::new(move |data, event| {
                if let Some(event) = event.downcast_ref::<E>() {
                    learn(data, event);
                }
            }));
        }
        self
    }

    /// An event that says that the step has certainly failed, or that its effect is gone although
    /// nobody undid it; `failure` says what that leads to.
    pub fn fails_on<E: Event, A: Into<Answer<G::Id>>>(
        &mut self,
        answer: impl Fn(&E) -> A + Send + Sync + 'static,
        failure: impl Fn(&E) -> Failure + Send + Sync + 'static,
    ) -> &mut Self {
        self.listen(Role::Fails, move |event: &E| {
            answered(answer(event), |_| {
                Said::Failed(Failing::from(failure(event)))
            })
        })
    }

    /// How long to wait for the answer. Without one the step counts as having happened, and the
    /// saga is undone. No deadline: waits for ever, for a person.
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline_of(move |_| deadline)
    }

    /// As [`Step::deadline`], from the saga's data.
    pub fn deadline_of(
        &mut self,
        deadline: impl Fn(&G::Data) -> Duration + Send + Sync + 'static,
    ) -> &mut Self {
        self.deadline = Some(Box::new(deadline));
        self
    }

    /// How long the step may be held ([`Failure::Hold`]) before the saga is undone. Default: for
    /// ever.
    pub fn hold_deadline_of(
        &mut self,
        deadline: impl Fn(&G::Data) -> Duration + Send + Sync + 'static,
    ) -> &mut Self {
        self.hold_deadline = Some(Box::new(deadline));
        self
    }

    /// How often a held step may be tried, the first time included. Default: 3.
    pub fn attempts_max(&mut self, attempts: u32) -> &mut Self {
        self.attempts_max = attempts.max(1);
        self
    }

    /// Says that the receiver gives up what an attempt has done when it is asked for the next one.
    /// A late success of an earlier attempt then needs no undo, which would undo the newest, too.
    pub fn next_attempt_replaces(&mut self) -> &mut Self {
        self.replaces = true;
        self
    }

    /// Undoes the step by publishing this event. It may come twice, and for a request that has
    /// never arrived or had no effect; its receiver answers all the same.
    pub fn undo_publishes<E: Event>(
        &mut self,
        message: impl Fn(&Asking<'_, G>) -> E + Send + Sync + 'static,
    ) -> &mut Self {
        self.declares.push(|on| on.publishes_by_saga::<E>(false));
        self.undo = Some(Box::new(move |asking, cx| cx.publish(message(asking))));
        self
    }

    /// Undoes the step by sending this command; see [`Step::undo_publishes`].
    pub fn undo_sends<T: Service, C: Command>(
        &mut self,
        message: impl Fn(&Asking<'_, G>) -> C + Send + Sync + 'static,
    ) -> &mut Self {
        self.declares.push(Handlers::sends_by_saga::<T, C>);
        self.undo = Some(Box::new(move |asking, cx| {
            cx.send::<T, C>(message(asking));
        }));
        self
    }

    /// The event that says that the step is undone. Without any, the step counts as undone as
    /// soon as the message is sent.
    pub fn undone_on<E: Event, A: Into<Answer<G::Id>>>(
        &mut self,
        answer: impl Fn(&E) -> A + Send + Sync + 'static,
    ) -> &mut Self {
        self.listen(Role::EndsUndo, move |event: &E| {
            answered(answer(event), |_| Said::Undone)
        })
    }

    /// The event that says that the step can no longer be undone: the saga goes on forward.
    pub fn undo_refused_on<E: Event, A: Into<Answer<G::Id>>>(
        &mut self,
        answer: impl Fn(&E) -> A + Send + Sync + 'static,
    ) -> &mut Self {
        self.listen(Role::EndsUndo, move |event: &E| {
            answered(answer(event), |_| Said::UndoRefused)
        })
    }

    /// The event that says that undoing has failed for good: a person must look, for this reason.
    pub fn undo_fails_on<E: Event, A: Into<Answer<G::Id>>>(
        &mut self,
        answer: impl Fn(&E) -> A + Send + Sync + 'static,
        reason: impl Fn(&E) -> String + Send + Sync + 'static,
    ) -> &mut Self {
        self.listen(Role::EndsUndo, move |event: &E| {
            answered(answer(event), |_| Said::UndoFailed(reason(event)))
        })
    }

    /// How long to wait for the undo's answer before a person must look. Default: 24 hours.
    pub fn undo_deadline(&mut self, deadline: Duration) -> &mut Self {
        self.undo_deadline_of(move |_| deadline)
    }

    /// As [`Step::undo_deadline`], from the saga's data.
    pub fn undo_deadline_of(
        &mut self,
        deadline: impl Fn(&G::Data) -> Duration + Send + Sync + 'static,
    ) -> &mut Self {
        self.undo_deadline = Some(Box::new(deadline));
        self
    }

    /// When an unanswered undo is sent again: after `first`, then after twice that, and so on up
    /// to `longest`. Default: 30 seconds to 1 hour.
    pub fn undo_again_after(&mut self, first: Duration, longest: Duration) -> &mut Self {
        self.undo_backoff = (first, longest);
        self
    }

    fn listen<E: Event>(
        &mut self,
        role: Role,
        hears: impl Fn(&E) -> Option<(Answer<G::Id>, Said)> + Send + Sync + 'static,
    ) -> &mut Self {
        self.listeners.push(Listener {
            event: TypeId::of::<E>(),
            hears: Box::new(move |event| hears(event.downcast_ref::<E>()?)),
            learns: None,
            role,
        });
        self.subscriptions
            .push((TypeId::of::<E>(), subscribe::<G, E>));
        self
    }

    fn shape(&self, data: &G::Data) -> StepShape {
        let listens = |role| self.listeners.iter().any(|listener| listener.role == role);
        let time = |time: &Option<Time<G>>| time.as_ref().map(|of| of(data));
        StepShape {
            name: self.name,
            answered: listens(Role::Succeeds),
            undo: match (&self.undo, listens(Role::EndsUndo)) {
                (None, _) => Undo::Nothing,
                (Some(_), false) => Undo::Told,
                (Some(_), true) => Undo::Answered,
            },
            attempts_max: self.attempts_max,
            replaces: self.replaces,
            deadline: time(&self.deadline),
            hold_deadline: time(&self.hold_deadline),
            undo_deadline: time(&self.undo_deadline).unwrap_or(hours(24)),
            undo_backoff: self.undo_backoff.0,
            undo_backoff_max: self.undo_backoff.1,
        }
    }
}

/// An answer that names no saga is none.
fn answered<Id>(
    answer: impl Into<Answer<Id>>,
    said: impl FnOnce(&Id) -> Said,
) -> Option<(Answer<Id>, Said)> {
    let answer = answer.into();
    let said = said(answer.saga.as_ref()?);
    Some((answer, said))
}
