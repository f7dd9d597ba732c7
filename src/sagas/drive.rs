//! The driver: loads a saga, lets the machine decide, and does what it says within the turn.

use std::any::{Any, TypeId};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::machine;
use super::row::SagaRow;
use super::state::{
    Action, Effect, Failing, Input, Said, Stage, Standing, StepState, Undo, Verdict,
};
use super::steps::Steps;
use crate::TableKey;
use crate::codec::{self, Subject};
use crate::context::{Context, View};
use crate::envelope::Key;
use crate::handlers::Handlers;
use crate::planted::PlantedBug;
use crate::rejection::Rejection;
use crate::saga::{
    Asking, CancelAnswer, ResolveAnswer, RetryAnswer, Saga, SagaOutcome, SagaProgress, SagaState,
    StepEffect, StepProgress,
};
use crate::service::{Event, Message};
use crate::table::Table;

type Cx<G> = Context<<G as Saga>::Service>;

/// The table of a saga.
const fn table<G: Saga>() -> Table<G::Id, SagaRow> {
    Table::new(G::NAME)
}

/// The timer of a saga. Its wire name is the saga's, so it must say all by its content.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
struct Wake<G> {
    /// Key of the saga's row.
    id: Vec<u8>,
    what: WakeFor,
    #[serde(skip)]
    saga: PhantomData<fn() -> G>,
}

#[derive(Serialize, Deserialize)]
enum WakeFor {
    Main {
        alarm: u64,
    },
    Stray {
        /// By name: the table of steps may change before the timer goes off.
        step: String,
        attempt: u32,
        undo_sends: u32,
    },
}

impl<G: Saga> Message for Wake<G> {
    const NAME: &'static str = G::NAME;

    fn key(&self) -> Key {
        Key::of(&self.id)
    }
}

/// Declares what every saga needs of its service: its table and its timer.
pub(super) fn attach_timer<G: Saga>(on: &mut Handlers<G::Service>, steps: Arc<Steps<G>>) {
    on.table(table::<G>());
    on.timer(move |_, wake: Wake<G>, cx| {
        let Some(id) = G::Id::from_bytes(&wake.id) else {
            return Err(Rejection::invalid(
                "unknown_saga_id",
                format!(
                    "a timer of saga `{}` names an id that is not of its type",
                    G::NAME
                ),
            ));
        };
        let input = match wake.what {
            WakeFor::Main { alarm } => Input::Woken { alarm },
            WakeFor::Stray {
                step,
                attempt,
                undo_sends,
            } => {
                let is = |known: &super::steps::Step<G>| {
                    known.name == step || known.formerly.contains(&step.as_str())
                };
                let Some(step) = steps.steps.iter().position(is) else {
                    return Err(missing_step::<G>(&step));
                };
                Input::StrayWoken {
                    step,
                    attempt,
                    undo_sends,
                }
            }
        };
        apply(&steps, &id, input, |_| {}, cx)?;
        Ok(())
    });
}

/// Offers an event to the saga: starts, cancels, and every step that listens to it, in order.
pub(super) fn hear<G: Saga, E: Event>(
    steps: &Steps<G>,
    event: &E,
    cx: &mut Cx<G>,
) -> Result<(), Rejection> {
    let kind = TypeId::of::<E>();
    let event: &dyn Any = event;
    for trigger in steps.starts.iter().filter(|start| start.event == kind) {
        if let Some((id, data)) = (trigger.of)(event) {
            start(steps, &id, data, cx)?;
        }
    }
    for trigger in steps.cancels.iter().filter(|cancel| cancel.event == kind) {
        if let Some((id, reason)) = (trigger.of)(event) {
            cancel(steps, &id, reason, cx)?;
        }
    }
    for (step, listeners) in steps.steps.iter().map(|step| &step.listeners).enumerate() {
        for listener in listeners.iter().filter(|listener| listener.event == kind) {
            let Some((answer, said)) = (listener.hears)(event) else {
                continue;
            };
            let Some(id) = answer.saga else { continue };
            let input = Input::Heard {
                step,
                attempt: answer.attempt,
                said,
            };
            let learn = |data: &mut G::Data| {
                if let Some(learns) = &listener.learns {
                    learns(data, event);
                }
            };
            apply(steps, &id, input, learn, cx)?;
        }
    }
    Ok(())
}

/// Answers whether a saga was started; there may be one of this id.
pub(crate) fn start<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    data: G::Data,
    cx: &mut Cx<G>,
) -> Result<bool, Rejection> {
    if cx.get(table::<G>(), id)?.is_some() {
        return Ok(false);
    }
    let row = SagaRow::new(steps, cx.now());
    advance(steps, id, row, data, Input::Start, |_| {}, cx)?;
    Ok(true)
}

pub(crate) fn cancel<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    reason: String,
    cx: &mut Cx<G>,
) -> Result<CancelAnswer, Rejection> {
    let Some((before, verdict)) = apply(steps, id, Input::Cancel { reason }, |_| {}, cx)? else {
        return Ok(CancelAnswer::NotFound);
    };
    if let Verdict::Refused { step } = verdict {
        let step = steps.steps[step].name;
        return Ok(CancelAnswer::Refused { step });
    }
    Ok(match before {
        Stage::Running { .. } | Stage::Held { .. } => CancelAnswer::Cancelling,
        Stage::Undoing { .. } => CancelAnswer::AlreadyCancelling,
        Stage::Undone { .. } => CancelAnswer::AlreadyUndone,
        Stage::Completed => CancelAnswer::Completed,
        Stage::Review { .. } => CancelAnswer::InReview,
    })
}

pub(crate) fn retry<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    cx: &mut Cx<G>,
) -> Result<RetryAnswer, Rejection> {
    let Some((before, verdict)) = apply(steps, id, Input::Retry, |_| {}, cx)? else {
        return Ok(RetryAnswer::NotFound);
    };
    let Stage::Held { step, .. } = before else {
        return Ok(RetryAnswer::NotHeld);
    };
    if verdict == Verdict::Exhausted {
        return Ok(RetryAnswer::Exhausted);
    }
    let row = load::<G>(steps, id, cx)?;
    let attempt = row.map_or(0, |(row, _)| row.state.steps[step].attempt);
    Ok(RetryAnswer::Started { attempt })
}

pub(crate) fn fail<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    step: &'static str,
    failing: Failing,
    cx: &mut Cx<G>,
) -> Result<bool, Rejection> {
    let Some(step) = steps.steps.iter().position(|known| known.name == step) else {
        return Err(missing_step::<G>(step));
    };
    let input = Input::Heard {
        step,
        attempt: None,
        said: Said::Failed(failing),
    };
    let applied = apply(steps, id, input, |_| {}, cx)?;
    Ok(matches!(applied, Some((_, Verdict::Applied))))
}

pub(crate) fn resolve<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    ruling: Input,
    cx: &mut Cx<G>,
) -> Result<ResolveAnswer, Rejection> {
    match apply(steps, id, ruling, |_| {}, cx)? {
        None => Ok(ResolveAnswer::NotFound),
        Some((Stage::Review { .. }, _)) => {
            let progress = progress(steps, id, cx)?;
            Ok(match progress {
                Some(progress) => ResolveAnswer::Resolved(progress.state),
                None => ResolveAnswer::NotFound,
            })
        }
        Some(_) => Ok(ResolveAnswer::NotInReview),
    }
}

pub(crate) fn amend<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    change: impl FnOnce(&mut G::Data),
    cx: &mut Cx<G>,
) -> Result<bool, Rejection> {
    let Some((mut row, mut data)) = load(steps, id, cx)? else {
        return Ok(false);
    };
    change(&mut data);
    store::<G>(id, &mut row, &data, cx)?;
    Ok(true)
}

pub(crate) fn progress<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    view: &View<G::Service>,
) -> Result<Option<SagaProgress<G::Data>>, Rejection> {
    let Some((row, data)) = load(steps, id, view)? else {
        return Ok(None);
    };
    let name = |step: usize| steps.steps[step].name;
    let of = |(step, state): (usize, &StepState)| StepProgress {
        name: name(step),
        attempt: state.attempt,
        effect: match state.effect {
            Effect::None => StepEffect::None,
            Effect::Unknown => StepEffect::Unknown,
            Effect::Done => StepEffect::Done,
            Effect::Undoing { .. } => StepEffect::Undoing,
            Effect::Undone => StepEffect::Undone,
        },
        refused: state.refused,
    };
    let strays = row.state.strays.iter();
    let open = strays.filter(|stray| stray.standing != Standing::Settled);
    Ok(Some(SagaProgress {
        state: public(steps, &row.state.stage),
        data,
        steps: row.state.steps.iter().enumerate().map(of).collect(),
        compensating: open
            .map(|stray| (name(stray.step), stray.attempt))
            .collect(),
        started_at: row.started_at,
        notes: row.notes,
    }))
}

/// Applies an input to a stored saga. Answers where it stood before, and what the input meant;
/// `None` if there is no such saga.
fn apply<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    input: Input,
    learn: impl FnOnce(&mut G::Data),
    cx: &mut Cx<G>,
) -> Result<Option<(Stage, Verdict)>, Rejection> {
    let Some((row, data)) = load(steps, id, cx)? else {
        return Ok(None);
    };
    let before = row.state.stage.clone();
    let verdict = advance(steps, id, row, data, input, learn, cx)?;
    Ok(Some((before, verdict)))
}

fn advance<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    mut row: SagaRow,
    mut data: G::Data,
    input: Input,
    learn: impl FnOnce(&mut G::Data),
    cx: &mut Cx<G>,
) -> Result<Verdict, Rejection> {
    let note = remark(steps, &input);
    let mut shape = steps.shape(&data);
    if cx.planted(PlantedBug::CompensationSkipped)
        && let Some(first) = shape.iter_mut().find(|step| step.undo != Undo::Nothing)
    {
        first.undo = Undo::Nothing;
    }
    let (state, actions, verdict) = machine::apply(&shape, G::keep_for(), row.state, input);
    row.state = state;
    match verdict {
        Verdict::Applied => learn(&mut data),
        Verdict::Compensated => row.note(cx.now(), format!("{note}, too late: undone")),
        Verdict::Ignored | Verdict::Refused { .. } | Verdict::Exhausted => return Ok(verdict),
    }
    let reason = match &row.state.stage {
        Stage::Undoing { reason, .. } | Stage::Undone { reason } => Some(reason.clone()),
        Stage::Running { .. } | Stage::Held { .. } | Stage::Completed | Stage::Review { .. } => {
            None
        }
    };
    let mut tidings = Vec::new();
    for action in actions {
        match action {
            Action::Ask { step, attempt } => {
                if let Some(sends) = &steps.steps[step].sends {
                    let asking = Asking {
                        id,
                        data: &data,
                        attempt,
                        reason: None,
                        now: cx.now(),
                    };
                    sends(&asking, cx);
                }
            }
            Action::Undo { step, attempt } => {
                if let Some(undo) = &steps.steps[step].undo {
                    let asking = Asking {
                        id,
                        data: &data,
                        attempt,
                        reason: Some(reason.as_deref().unwrap_or("the answer came too late")),
                        now: cx.now(),
                    };
                    undo(&asking, cx);
                }
            }
            Action::Wake { after, alarm } => {
                let what = WakeFor::Main { alarm };
                let timer = cx.after(after, wake::<G>(id, what));
                if let Some(before) = row.timer.replace(timer) {
                    cx.cancel(before);
                }
            }
            Action::Sleep => {
                if let Some(before) = row.timer.take() {
                    cx.cancel(before);
                }
            }
            Action::WakeForStray {
                step,
                attempt,
                undo_sends,
                after,
            } => {
                let step = steps.steps[step].name.to_owned();
                let what = WakeFor::Stray {
                    step,
                    attempt,
                    undo_sends,
                };
                cx.after(after, wake::<G>(id, what));
            }
            Action::Moved(stage) => {
                row.note(cx.now(), describe(&public(steps, &stage)));
                tidings.push(Tidings::Moved(public(steps, &stage)));
            }
            Action::Finished(stage) => tidings.push(Tidings::Finished(match stage {
                Stage::Undone { reason } => SagaOutcome::Undone { reason },
                Stage::Running { .. }
                | Stage::Held { .. }
                | Stage::Undoing { .. }
                | Stage::Completed
                | Stage::Review { .. } => SagaOutcome::Completed,
            })),
            Action::Forget => {
                cx.remove(table::<G>(), id)?;
                return Ok(verdict);
            }
        }
    }
    // Stored before the host is told: what it does to this saga in there finds it as it is.
    store::<G>(id, &mut row, &data, cx)?;
    for tiding in tidings {
        match tiding {
            Tidings::Moved(state) => G::moved(id, &data, &state, cx)?,
            Tidings::Finished(outcome) => G::finished(id, &data, &outcome, cx)?,
        }
    }
    Ok(verdict)
}

enum Tidings {
    Moved(SagaState),
    Finished(SagaOutcome),
}

fn load<G: Saga>(
    steps: &Steps<G>,
    id: &G::Id,
    view: &View<G::Service>,
) -> Result<Option<(SagaRow, G::Data)>, Rejection> {
    let Some(mut row) = view.get(table::<G>(), id)? else {
        return Ok(None);
    };
    row.fit(steps).map_err(|step| missing_step::<G>(&step))?;
    let key = id.to_bytes();
    let subject = Subject::row(G::NAME, &key);
    let data = codec::open(subject, G::DATA_VERSION, &row.data, G::upgrade_data)
        .map_err(|error| view.damaged(error))?;
    Ok(Some((row, data)))
}

fn store<G: Saga>(
    id: &G::Id,
    row: &mut SagaRow,
    data: &G::Data,
    cx: &mut Cx<G>,
) -> Result<(), Rejection> {
    let key = id.to_bytes();
    row.data = codec::seal(Subject::row(G::NAME, &key), G::DATA_VERSION, data)
        .map_err(|error| cx.damaged(error))?;
    Ok(cx.put(table::<G>(), id, row)?)
}

fn wake<G: Saga>(id: &G::Id, what: WakeFor) -> Wake<G> {
    Wake {
        id: id.to_bytes().to_vec(),
        what,
        saga: PhantomData,
    }
}

fn missing_step<G: Saga>(step: &str) -> Rejection {
    Rejection::conflict(
        "unknown_step",
        format!(
            "saga `{}` stands at step `{step}`, which this program does not have; bring it back or name it in `formerly`",
            G::NAME
        ),
    )
}

fn public<G: Saga>(steps: &Steps<G>, stage: &Stage) -> SagaState {
    let name = |step: usize| steps.steps[step].name;
    match stage.clone() {
        Stage::Running { step } => SagaState::Running { step: name(step) },
        Stage::Held { step, reason } => SagaState::Held {
            step: name(step),
            reason,
        },
        Stage::Undoing { step, reason } => SagaState::Undoing {
            step: name(step),
            reason,
        },
        Stage::Completed => SagaState::Completed,
        Stage::Undone { reason } => SagaState::Undone { reason },
        Stage::Review {
            step,
            reason,
            cancelling,
            ..
        } => SagaState::Review {
            step: name(step),
            reason,
            undoing: cancelling.is_some(),
        },
    }
}

fn describe(state: &SagaState) -> String {
    match state {
        SagaState::Running { step } => format!("waits for {step}"),
        SagaState::Held { step, reason } => format!("{step} is held: {reason}"),
        SagaState::Undoing { step, reason } => format!("undoes {step}: {reason}"),
        SagaState::Completed => "completed".to_owned(),
        SagaState::Undone { reason } => format!("undone: {reason}"),
        SagaState::Review { step, reason, .. } => format!("review of {step}: {reason}"),
    }
}

fn remark<G: Saga>(steps: &Steps<G>, input: &Input) -> String {
    match input {
        Input::Heard {
            step,
            attempt,
            said: Said::Succeeded,
        } => format!(
            "{} succeeded on attempt {}",
            steps.steps[*step].name,
            attempt.unwrap_or(1)
        ),
        Input::Heard { .. }
        | Input::Start
        | Input::Cancel { .. }
        | Input::Retry
        | Input::Rule(_)
        | Input::Woken { .. }
        | Input::StrayWoken { .. } => String::new(),
    }
}
