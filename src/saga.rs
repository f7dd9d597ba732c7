//! The contract of sagas: a persisted state machine over several services, with compensations and
//! deadlines.
//!
//! A saga reads as a table of steps: what it sends, what it succeeds and fails on, how long it
//! waits, how it is undone. It belongs to one service, is registered there with
//! [`Handlers::saga`](crate::Handlers::saga), and uses only what that service's handlers could do
//! themselves: a saga's move is part of the service's turn.
//!
//! What it promises:
//! - Steps run in order, one at a time. A step that has failed for good, was cancelled, or had no
//!   answer in time leads to undoing, one step at a time, the last first. A step without an answer
//!   counts as having happened.
//! - An undo is sent again, with back-off, until it is answered; past its deadline the saga is in
//!   *review* and a person decides ([`Saga::resolve`]). It never claims to be undone before that.
//! - Nothing is dropped silently: a success that comes after its step was given up is undone, also
//!   after the saga has ended; a step whose effect is lost later undoes the saga.
//!
//! What it expects of the services it talks to: an undo may come twice, before its request, or
//! for a request that has failed; it is answered each time.
//!
//! ```text
//!            success          last success
//!  Running ───────────▶ Running … ───────▶ Completed
//!   │  ▲ └─ hold ─▶ Held ── retry ──▶ Running
//!   │  └ refused ┐    │
//!   └─────────▶ Undoing ─────────▶ Undone
//!                  └─ no answer ─▶ Review ── resolve ──▶ …
//! ```

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::TableKey;
use crate::clock::{Timestamp, days};
use crate::codec::{Body, CodecError};
use crate::context::{Context, View};
use crate::handlers::Handlers;
use crate::rejection::Rejection;
use crate::sagas::drive;
use crate::sagas::state::{Failing, Input, Ruling};
use crate::service::Service;

pub use crate::sagas::steps::{Step, Steps};

/// A saga of one service.
///
/// ```
/// use redeliver::prelude::*;
/// # macro_rules! event { ($name:ident, $wire:literal) => {
/// #   #[derive(Serialize, Deserialize)] struct $name { trip: u64 }
/// #   impl Message for $name { const NAME: &'static str = $wire; }
/// #   impl Event for $name {} } }
/// # event!(SeatRequested, "seat-requested"); event!(SeatReserved, "seat-reserved");
/// # event!(SeatRefused, "seat-refused"); event!(SeatReturned, "seat-returned");
/// # event!(SeatFree, "seat-free"); event!(Boarded, "boarded"); event!(TripOver, "trip-over");
///
/// /// A trip: a seat, then boarding.
/// struct Trip;
///
/// #[derive(Serialize, Deserialize)]
/// struct Traveller {
///     name: String,
/// }
///
/// impl Saga for Trip {
///     const NAME: &'static str = "trip";
///     type Service = Travel;
///     type Id = u64;
///     type Data = Traveller;
///
///     fn steps(steps: &mut Steps<Self>) {
///         steps
///             .step("seat")
///             .publishes(|trip| SeatRequested { trip: *trip.id })
///             .succeeds_on(|seat: &SeatReserved| seat.trip)
///             .fails_on(|no: &SeatRefused| no.trip, |_| Failure::last("no seat left"))
///             .deadline(seconds(30))
///             .undo_publishes(|trip| SeatReturned { trip: *trip.id })
///             .undone_on(|free: &SeatFree| free.trip);
///         // Nobody is asked for this: it is something a person does.
///         steps.step("boarding").succeeds_on(|on: &Boarded| on.trip);
///     }
///
///     fn finished(
///         id: &u64,
///         _: &Traveller,
///         outcome: &SagaOutcome,
///         cx: &mut Context<Travel>,
///     ) -> Result<(), Rejection> {
///         if let SagaOutcome::Undone { .. } = outcome {
///             cx.publish(TripOver { trip: *id });
///         }
///         Ok(())
///     }
/// }
///
/// struct Travel;
/// impl Service for Travel {
///     const NAME: &'static str = "travel";
///     fn handlers(on: &mut Handlers<Self>) {
///         on.saga::<Trip>().publishes_outside::<TripOver>();
///     }
/// }
/// // In a handler of Travel: Trip::start(id, Traveller { … }, cx)?;
/// ```
pub trait Saga: Sized + Send + Sync + 'static {
    /// Identity of the saga in stored data: its table and its timers have this name.
    const NAME: &'static str;
    /// The service it belongs to.
    type Service: Service;
    /// What one saga is found by.
    type Id: TableKey + Clone + Send + Sync + 'static;
    /// The facts that it carries from step to step.
    type Data: Serialize + DeserializeOwned + Send + 'static;
    /// Schema version of the data that this program writes.
    const DATA_VERSION: u16 = 1;

    /// Lists the steps, in order.
    fn steps(steps: &mut Steps<Self>);

    /// Told in the same turn whenever a saga comes to stand somewhere else. A saga that has ended
    /// can move again (see [`SagaState`]).
    fn moved(
        id: &Self::Id,
        data: &Self::Data,
        state: &SagaState,
        cx: &mut Context<Self::Service>,
    ) -> Result<(), Rejection> {
        let _ = (id, data, state, cx);
        Ok(())
    }

    /// Told in the same turn when a saga ends, once for each outcome, after [`Saga::moved`].
    fn finished(
        id: &Self::Id,
        data: &Self::Data,
        outcome: &SagaOutcome,
        cx: &mut Context<Self::Service>,
    ) -> Result<(), Rejection>;

    /// How long a saga that has ended is remembered, to compensate late answers and refuse a
    /// second start. `None`: for ever.
    fn keep_for() -> Option<std::time::Duration> {
        Some(days(30))
    }

    /// Reads data of an older version; `None` for versions this program does not know.
    fn upgrade_data(version: u16, body: Body<'_>) -> Option<Result<Self::Data, CodecError>> {
        let _ = (version, body);
        None
    }

    // Not meant to be overridden.

    /// Starts a saga: the first step is asked for in this turn. A conflict if there is one of
    /// this id.
    fn start(
        id: &Self::Id,
        data: Self::Data,
        cx: &mut Context<Self::Service>,
    ) -> Result<(), Rejection> {
        if drive::start::<Self>(&Steps::of_saga(), id, data, cx)? {
            return Ok(());
        }
        let name = Self::NAME;
        Err(Rejection::conflict(
            "saga_exists",
            format!("saga `{name}` of this id has started already"),
        ))
    }

    /// Cancels a saga: it is undone from where it stands. Asking again changes nothing.
    fn cancel(
        id: &Self::Id,
        reason: impl Into<String>,
        cx: &mut Context<Self::Service>,
    ) -> Result<CancelAnswer, Rejection> {
        drive::cancel::<Self>(&Steps::of_saga(), id, reason.into(), cx)
    }

    /// Tries a held step again, as its next attempt. Change the data first ([`Saga::amend`]) if
    /// the next attempt needs other facts.
    fn retry(id: &Self::Id, cx: &mut Context<Self::Service>) -> Result<RetryAnswer, Rejection> {
        drive::retry::<Self>(&Steps::of_saga(), id, cx)
    }

    /// Says that a step has failed, for a handler that knows it from more than one event; else
    /// see [`Step::fails_on`]. Answers whether it meant anything to the saga.
    fn fail(
        id: &Self::Id,
        step: &'static str,
        failure: Failure,
        cx: &mut Context<Self::Service>,
    ) -> Result<bool, Rejection> {
        drive::fail::<Self>(&Steps::of_saga(), id, step, failure.into(), cx)
    }

    /// Ends a review as a person decides.
    fn resolve(
        id: &Self::Id,
        decision: Resolve,
        cx: &mut Context<Self::Service>,
    ) -> Result<ResolveAnswer, Rejection> {
        let input = Input::Rule(match decision {
            Resolve::Retry => Ruling::Retry,
            Resolve::Cancel => Ruling::Cancel,
            Resolve::Accept => Ruling::Accept,
        });
        drive::resolve::<Self>(&Steps::of_saga(), id, input, cx)
    }

    /// Changes the data of a saga. Answers whether there is one.
    fn amend(
        id: &Self::Id,
        change: impl FnOnce(&mut Self::Data),
        cx: &mut Context<Self::Service>,
    ) -> Result<bool, Rejection> {
        drive::amend::<Self>(&Steps::of_saga(), id, change, cx)
    }

    /// Where a saga stands; `None` if there is none of this id.
    fn state(id: &Self::Id, view: &View<Self::Service>) -> Result<Option<SagaState>, Rejection> {
        Ok(Self::progress(id, view)?.map(|progress| progress.state))
    }

    /// All there is to know of a saga; `None` if there is none of this id.
    fn progress(
        id: &Self::Id,
        view: &View<Self::Service>,
    ) -> Result<Option<SagaProgress<Self::Data>>, Rejection> {
        drive::progress::<Self>(&Steps::of_saga(), id, view)
    }
}

/// A service that does nothing but lead one saga: for a saga that belongs to none of the services
/// it leads. Its name is the saga's; its saga says `type Service = Orchestrator<Self>`, starts on
/// events ([`Steps::starts_on`]) and declares what else it publishes
/// ([`Steps::also_publishes`]).
pub struct Orchestrator<G> {
    saga: PhantomData<fn() -> G>,
}

impl<G> Orchestrator<G> {
    /// The service.
    pub const fn new() -> Orchestrator<G> {
        Orchestrator { saga: PhantomData }
    }
}

impl<G> Default for Orchestrator<G> {
    fn default() -> Orchestrator<G> {
        Orchestrator::new()
    }
}

impl<G: Saga<Service = Orchestrator<G>>> Service for Orchestrator<G> {
    const NAME: &'static str = G::NAME;

    fn handlers(on: &mut Handlers<Self>) {
        on.saga::<G>();
    }
}

/// What a step's message is made from.
pub struct Asking<'a, G: Saga> {
    /// The saga.
    pub id: &'a G::Id,
    /// Its data.
    pub data: &'a G::Data,
    /// The step's attempt: 1 for the first. For an undo, the attempt that it undoes. Receivers
    /// repeat it in their answers, so that a late one is not taken for another's.
    pub attempt: u32,
    /// Why the saga is being undone; `None` on its way forward.
    pub reason: Option<&'a str>,
    /// The turn's time.
    pub now: Timestamp,
}

/// Which saga, and which attempt of a step, a message answers. Made by `into` from an id, from
/// `(id, attempt)`, or from an `Option` of these where a message may concern no saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<Id> {
    pub(crate) saga: Option<Id>,
    pub(crate) attempt: Option<u32>,
}

impl<Id> From<Id> for Answer<Id> {
    fn from(id: Id) -> Answer<Id> {
        Some(id).into()
    }
}

impl<Id> From<(Id, u32)> for Answer<Id> {
    fn from(answer: (Id, u32)) -> Answer<Id> {
        Some(answer).into()
    }
}

impl<Id> From<Option<Id>> for Answer<Id> {
    fn from(saga: Option<Id>) -> Answer<Id> {
        Answer {
            saga,
            attempt: None,
        }
    }
}

impl<Id> From<Option<(Id, u32)>> for Answer<Id> {
    fn from(answer: Option<(Id, u32)>) -> Answer<Id> {
        let (saga, attempt) = answer.unzip();
        Answer { saga, attempt }
    }
}

/// What a failed step leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The saga is undone, for this reason.
    Final(String),
    /// The step is held until [`Saga::retry`] or [`Saga::cancel`]. Only the step that the saga
    /// stands at can be held; for any other this is final.
    Hold(String),
    /// A person decides.
    Review(String),
}

impl Failure {
    /// The saga is undone, for this reason.
    pub fn last(reason: impl Into<String>) -> Failure {
        Failure::Final(reason.into())
    }

    /// The step is held, for this reason.
    pub fn hold(reason: impl Into<String>) -> Failure {
        Failure::Hold(reason.into())
    }

    /// A person decides, for this reason.
    pub fn review(reason: impl Into<String>) -> Failure {
        Failure::Review(reason.into())
    }
}

impl From<Failure> for Failing {
    fn from(failure: Failure) -> Failing {
        match failure {
            Failure::Final(reason) => Failing::Final(reason),
            Failure::Hold(reason) => Failing::Hold(reason),
            Failure::Review(reason) => Failing::Review(reason),
        }
    }
}

/// Where a saga stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SagaState {
    /// It waits for this step.
    Running {
        /// The step.
        step: &'static str,
    },
    /// This step has failed and may be tried again.
    Held {
        /// The step.
        step: &'static str,
        /// What its failure said.
        reason: String,
    },
    /// It waits for this step to be undone.
    Undoing {
        /// The step.
        step: &'static str,
        /// Why the saga is undone.
        reason: String,
    },
    /// All steps are done. A step whose effect is lost after that leads to `Review`.
    Completed,
    /// All that happened was undone. A late success leads to `Undoing`, and here again.
    Undone {
        /// Why.
        reason: String,
    },
    /// A person must decide ([`Saga::resolve`]).
    Review {
        /// About this step.
        step: &'static str,
        /// What happened to it.
        reason: String,
        /// Whether the saga was being undone.
        undoing: bool,
    },
}

/// How a saga ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SagaOutcome {
    /// All steps are done.
    Completed,
    /// All that had happened was undone.
    Undone {
        /// Why.
        reason: String,
    },
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelAnswer {
    /// Undoing began; if nothing was to be undone it is over already.
    Cancelling,
    /// It was being undone before.
    AlreadyCancelling,
    /// It was undone before.
    AlreadyUndone,
    /// This step has refused to be undone; the saga goes on.
    Refused {
        /// The step.
        step: &'static str,
    },
    /// All steps are done: too late.
    Completed,
    /// A person is deciding about it: see [`Saga::resolve`].
    InReview,
    /// There is no such saga.
    NotFound,
}

/// What became of a wish to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryAnswer {
    /// The step was asked for again.
    Started {
        /// As this attempt.
        attempt: u32,
    },
    /// It was tried as often as it may be.
    Exhausted,
    /// No step is held.
    NotHeld,
    /// There is no such saga.
    NotFound,
}

/// What a person decides in a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolve {
    /// Do again what did not work: the step, or its undo.
    Retry,
    /// Undo the saga. If it was being undone: as `Retry`.
    Cancel,
    /// It was settled by hand: the step counts as done; if it was being undone, as undone.
    Accept,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveAnswer {
    /// The saga goes on as decided, and stands here now.
    Resolved(SagaState),
    /// It is not in review.
    NotInReview,
    /// There is no such saga.
    NotFound,
}

/// All there is to know of a saga.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SagaProgress<D> {
    /// Where it stands.
    pub state: SagaState,
    /// Its facts.
    pub data: D,
    /// Its steps, in order.
    pub steps: Vec<StepProgress>,
    /// Late successes of given-up attempts whose undo is not answered yet.
    pub compensating: Vec<(&'static str, u32)>,
    /// When it started.
    pub started_at: Timestamp,
    /// What happened to it, oldest first; the newest 32.
    pub notes: Vec<SagaNote>,
}

/// One step of a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepProgress {
    /// The step.
    pub name: &'static str,
    /// Its newest attempt; 0 if it was not asked for yet.
    pub attempt: u32,
    /// What is known of its effect.
    pub effect: StepEffect,
    /// Whether it refused to be undone.
    pub refused: bool,
}

/// What is known of a step's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEffect {
    /// It has none: not asked for yet, or failed.
    None,
    /// It was asked for and has not answered.
    Unknown,
    /// It is done.
    Done,
    /// Its undo is outstanding.
    Undoing,
    /// It was undone.
    Undone,
}

/// Something that happened to a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaNote {
    /// When.
    pub at: Timestamp,
    /// What, in a few words.
    pub what: String,
}
