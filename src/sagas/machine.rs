//! The saga machine: what follows when something happens to a saga.
//!
//! A pure function of the table of steps, the saga's state and one input. It knows steps by their
//! place in the table and neither messages nor time: whoever drives it sends, sets timers and
//! tells the host.
//!
//! ```text
//!            success          last success
//!  Running ───────────▶ Running … ───────▶ Completed
//!   │  ▲ │ hold   retry                       │ a step's effect is lost
//!   │  │ └──────▶ Held ──▶ Running            ▼
//!   │  │           │                        Review ◀─┐
//!   │  │ refused   │ cancel, failure          │      │ no answer until the undo deadline
//!   │  └──────┐    ▼                          ▼      │
//!   └─────▶ Undoing (one step at a time, last first) ┘──▶ Undone ──▶ Undoing (late success)
//! ```
//!
//! What it promises:
//! - The undo of a step begins only when no other undo is outstanding, and always with the last
//!   step that has happened or may have happened.
//! - `Undone` is never reached while an undo is outstanding.
//! - A success that nobody waits for any more is undone, whenever it comes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a step is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undo {
    /// There is nothing to undo.
    Nothing,
    /// By a message that has no answer.
    Told,
    /// By a message that is answered.
    Answered,
}

/// What the machine needs to know of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepShape {
    /// For the sentences of reasons.
    pub(crate) name: &'static str,
    /// Whether anything says that the step has succeeded. If not, asking is doing.
    pub(crate) answered: bool,
    /// How it is undone.
    pub(crate) undo: Undo,
    /// How often it may be tried.
    pub(crate) attempts_max: u32,
    /// How long to wait for its answer; `None`: as long as it takes.
    pub(crate) deadline: Option<Duration>,
    /// How long it may be held; `None`: as long as it takes.
    pub(crate) hold_deadline: Option<Duration>,
    /// How long to wait for the answer to its undo before a person must look.
    pub(crate) undo_deadline: Duration,
    /// Delay before the undo is sent again; doubles.
    pub(crate) undo_backoff: Duration,
    /// The longest such delay.
    pub(crate) undo_backoff_max: Duration,
}

impl StepShape {
    /// How long after the undo was sent for the `sends`th time it is looked at again.
    fn undo_delay(&self, sends: u32) -> Duration {
        let doubled = self.undo_backoff.saturating_mul(
            1u32.checked_shl(sends.saturating_sub(1))
                .unwrap_or(u32::MAX),
        );
        let waited = self.undo_waited(sends.saturating_sub(1));
        doubled
            .clamp(MIN_DELAY, self.undo_backoff_max.max(MIN_DELAY))
            .min(self.undo_deadline.saturating_sub(waited))
    }

    /// How long the undo has been waited for once `sends` delays are over.
    fn undo_waited(&self, sends: u32) -> Duration {
        let mut waited = Duration::ZERO;
        for sent in 1..=sends {
            if waited >= self.undo_deadline {
                break;
            }
            let doubled = self
                .undo_backoff
                .saturating_mul(1u32.checked_shl(sent - 1).unwrap_or(u32::MAX))
                .clamp(MIN_DELAY, self.undo_backoff_max.max(MIN_DELAY));
            waited = waited.saturating_add(doubled);
        }
        waited.min(self.undo_deadline)
    }
}

/// A back-off of zero would send for ever within one instant.
const MIN_DELAY: Duration = Duration::from_millis(10);

/// What is known of a step's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// None: not asked for, or certainly failed.
    None,
    /// Asked for, not answered: counts as happened when it comes to undoing.
    Unknown,
    /// It happened.
    Done,
    /// Its undo is outstanding.
    Undoing {
        /// Whether it was known to have happened.
        done: bool,
    },
    /// It was undone.
    Undone,
}

/// One step's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepState {
    /// The newest attempt; 0 before the first.
    pub(crate) attempt: u32,
    pub(crate) effect: Effect,
    /// Its undo was refused: the saga goes on forward from here.
    pub(crate) refused: bool,
    /// How often the present undo was sent.
    pub(crate) undo_sends: u32,
}

/// An attempt that was given up and succeeded after all: undone beside the main line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stray {
    pub(crate) step: usize,
    pub(crate) attempt: u32,
    pub(crate) undo_sends: u32,
    pub(crate) standing: Standing,
}

/// How far the undo of a stray is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    Outstanding,
    /// A person must look.
    Stuck(String),
    Settled,
}

/// Where a saga stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Running {
        step: usize,
    },
    Held {
        step: usize,
        reason: String,
    },
    Undoing {
        step: usize,
        reason: String,
    },
    Completed,
    Undone {
        reason: String,
    },
    Review {
        step: usize,
        attempt: u32,
        reason: String,
        /// Why the saga was being undone, if it was.
        cancelling: Option<String>,
    },
}

/// All there is to know of one saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) stage: Stage,
    pub(crate) steps: Vec<StepState>,
    pub(crate) strays: Vec<Stray>,
    /// Names the main timer: a wake-up of an older number comes too late to matter.
    pub(crate) alarm: u64,
    pub(crate) told_completed: bool,
    pub(crate) told_undone: bool,
}

impl State {
    /// A saga of so many steps that has not started.
    pub(crate) fn new(steps: usize) -> State {
        let step = StepState {
            attempt: 0,
            effect: Effect::None,
            refused: false,
            undo_sends: 0,
        };
        State {
            stage: Stage::Running { step: 0 },
            steps: vec![step; steps],
            strays: Vec::new(),
            alarm: 0,
            told_completed: false,
            told_undone: false,
        }
    }
}

/// What a message said about a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Succeeded,
    /// It certainly had no effect, or has none any more.
    Failed(Failing),
    Undone,
    UndoRefused,
    UndoFailed(String),
}

/// What a failed step leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failing {
    /// All is undone.
    Final(String),
    /// The step waits for somebody to try it again.
    Hold(String),
    /// A person decides.
    Review(String),
}

/// What a person decides in a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    Retry,
    Cancel,
    Accept,
}

/// Something that happens to a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Start,
    Heard {
        step: usize,
        /// The attempt it belongs to; `None`: the newest.
        attempt: Option<u32>,
        said: Said,
    },
    Cancel {
        reason: String,
    },
    Retry,
    Rule(Ruling),
    /// The main timer went off.
    Woken {
        alarm: u64,
    },
    /// The timer of a stray went off.
    StrayWoken {
        step: usize,
        attempt: u32,
        undo_sends: u32,
    },
}

/// What is to be done about it, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Ask {
        step: usize,
        attempt: u32,
    },
    Undo {
        step: usize,
        attempt: u32,
    },
    /// Set the main timer, in place of the one before.
    Wake {
        after: Duration,
        alarm: u64,
    },
    /// Clear the main timer.
    Sleep,
    WakeForStray {
        step: usize,
        attempt: u32,
        undo_sends: u32,
        after: Duration,
    },
    /// Tell the host where the saga stands.
    Moved(Stage),
    /// Tell the host that the saga has come to this end, for the first time.
    Finished(Stage),
    /// Nothing can be expected of this saga any more: remember it no longer.
    Forget,
}

/// What the input meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Applied,
    /// It belonged to an attempt given up long ago, and is undone.
    Compensated,
    /// It was known already, too old to matter, or did not fit.
    Ignored,
    /// A step has refused to be undone.
    Refused {
        step: usize,
    },
    /// The step was tried as often as it may be.
    Exhausted,
}

/// Applies one input. `keep` is how long a finished saga is remembered.
pub(crate) fn apply(
    shape: &[StepShape],
    keep: Option<Duration>,
    state: State,
    input: Input,
) -> (State, Vec<Action>, Verdict) {
    let mut machine = Machine {
        shape,
        keep,
        state,
        actions: Vec::new(),
    };
    let verdict = machine.input(input);
    (machine.state, machine.actions, verdict)
}

struct Machine<'a> {
    shape: &'a [StepShape],
    keep: Option<Duration>,
    state: State,
    actions: Vec<Action>,
}

impl Machine<'_> {
    fn input(&mut self, input: Input) -> Verdict {
        match input {
            Input::Start => {
                self.go_on();
                Verdict::Applied
            }
            Input::Heard {
                step,
                attempt,
                said,
            } => {
                let newest = self.state.steps[step].attempt;
                let attempt = attempt.unwrap_or(newest.max(1));
                if attempt > newest && matches!(said, Said::Succeeded | Said::Failed(_)) {
                    // Streams are not ordered among each other: the answer may come before the
                    // saga has got to the step.
                    self.state.steps[step].attempt = attempt;
                }
                match said {
                    Said::Succeeded => self.succeeded(step, attempt),
                    Said::Failed(failing) => self.failed(step, attempt, newest, failing),
                    Said::Undone => self.undone(step, attempt),
                    Said::UndoRefused => self.undo_refused(step, attempt),
                    Said::UndoFailed(reason) => self.undo_failed(step, attempt, reason),
                }
            }
            Input::Cancel { reason } => self.cancel(reason),
            Input::Retry => self.retry(),
            Input::Rule(ruling) => self.rule(ruling),
            Input::Woken { alarm } => self.woken(alarm),
            Input::StrayWoken {
                step,
                attempt,
                undo_sends,
            } => self.stray_woken(step, attempt, undo_sends),
        }
    }

    // Forward.

    /// Takes the first step that is not done: asks for it, or goes on waiting for its answer.
    fn go_on(&mut self) {
        for step in 0..self.shape.len() {
            let shape = self.shape[step];
            match self.state.steps[step].effect {
                Effect::Done => continue,
                Effect::Unknown => {}
                Effect::None | Effect::Undoing { .. } | Effect::Undone => {
                    let state = &mut self.state.steps[step];
                    state.attempt += 1;
                    state.effect = Effect::Unknown;
                    state.refused = false;
                    let attempt = state.attempt;
                    self.actions.push(Action::Ask { step, attempt });
                }
            }
            self.move_to(Stage::Running { step });
            if shape.answered {
                self.wake_or_sleep(shape.deadline);
                return;
            }
            self.state.steps[step].effect = Effect::Done;
        }
        if self.review_stuck_stray(None) {
            return;
        }
        self.move_to(Stage::Completed);
        self.wake_or_sleep(self.keep);
        if !self.state.told_completed {
            self.state.told_completed = true;
            self.actions.push(Action::Finished(Stage::Completed));
        }
    }

    fn succeeded(&mut self, step: usize, attempt: u32) -> Verdict {
        if attempt < self.state.steps[step].attempt {
            return self.stray(step, attempt);
        }
        match self.state.steps[step].effect {
            Effect::Done => return Verdict::Ignored,
            Effect::Undoing { .. } => {
                // The undo was sent after the request, so its answer covers this effect too.
                self.state.steps[step].effect = Effect::Undoing { done: true };
                return Verdict::Applied;
            }
            Effect::None | Effect::Unknown | Effect::Undone => {
                self.state.steps[step].effect = Effect::Done;
            }
        }
        match self.state.stage.clone() {
            Stage::Running { step: at } | Stage::Held { step: at, .. } if at == step => {
                self.go_on();
            }
            Stage::Review {
                step: at,
                cancelling: None,
                ..
            } if at == step => self.go_on(),
            // Early: taken for done when the saga gets there.
            Stage::Running { .. } | Stage::Held { .. } => {}
            // Its turn to be undone, or a person's to decide, comes.
            Stage::Undoing { .. } | Stage::Review { .. } | Stage::Completed => {}
            Stage::Undone { reason } => self.undo_next(reason),
        }
        Verdict::Applied
    }

    fn failed(&mut self, step: usize, attempt: u32, newest: u32, failing: Failing) -> Verdict {
        if attempt < self.state.steps[step].attempt {
            return Verdict::Ignored;
        }
        let before = self.state.steps[step].effect;
        match before {
            Effect::Undoing { .. } | Effect::Undone => return Verdict::Ignored,
            Effect::None if attempt <= newest => return Verdict::Ignored,
            Effect::None | Effect::Unknown | Effect::Done => {}
        }
        self.state.steps[step].effect = Effect::None;
        self.state.steps[step].refused = false;
        match self.state.stage.clone() {
            Stage::Running { step: at } if at == step => match failing {
                Failing::Final(reason) => self.undo_next(reason),
                Failing::Hold(reason) => {
                    self.move_to(Stage::Held { step, reason });
                    self.wake_or_sleep(self.shape[step].hold_deadline);
                }
                Failing::Review(reason) => self.review(step, reason, None),
            },
            Stage::Running { .. } | Stage::Held { .. } => match failing {
                // What the saga has built on is gone.
                Failing::Final(reason) | Failing::Hold(reason) => self.undo_next(reason),
                Failing::Review(reason) => self.review(step, reason, None),
            },
            Stage::Completed => {
                let (Failing::Final(reason) | Failing::Hold(reason) | Failing::Review(reason)) =
                    failing;
                self.review(step, reason, None);
            }
            Stage::Undoing { .. } | Stage::Undone { .. } | Stage::Review { .. } => {}
        }
        Verdict::Applied
    }

    fn retry(&mut self) -> Verdict {
        let Stage::Held { step, .. } = self.state.stage else {
            return Verdict::Ignored;
        };
        if self.state.steps[step].attempt >= self.shape[step].attempts_max {
            return Verdict::Exhausted;
        }
        self.go_on();
        Verdict::Applied
    }

    // Backward.

    fn cancel(&mut self, reason: String) -> Verdict {
        match self.state.stage {
            Stage::Running { .. } | Stage::Held { .. } => {
                if let Some(step) = self.state.steps.iter().position(|step| step.refused) {
                    return Verdict::Refused { step };
                }
                self.undo_next(reason);
                Verdict::Applied
            }
            Stage::Undoing { .. }
            | Stage::Undone { .. }
            | Stage::Completed
            | Stage::Review { .. } => Verdict::Ignored,
        }
    }

    /// Undoes the last step that has happened or may have, unless an undo is outstanding.
    fn undo_next(&mut self, reason: String) {
        if let Some(step) = self.outstanding() {
            self.move_to(Stage::Undoing { step, reason });
            return;
        }
        for step in (0..self.shape.len()).rev() {
            let (shape, state) = (self.shape[step], self.state.steps[step]);
            let happened = matches!(state.effect, Effect::Unknown | Effect::Done);
            if !happened || shape.undo == Undo::Nothing {
                continue;
            }
            if state.refused {
                let refusal = format!("step `{}` cannot be undone: {reason}", shape.name);
                self.review(step, refusal, Some(reason));
                return;
            }
            self.move_to(Stage::Undoing {
                step,
                reason: reason.clone(),
            });
            self.send_undo(step);
            if shape.undo == Undo::Answered {
                return;
            }
            self.state.steps[step].effect = Effect::Undone;
        }
        if self.review_stuck_stray(Some(&reason)) {
            return;
        }
        let waiting = |stray: &&Stray| stray.standing == Standing::Outstanding;
        if let Some(stray) = self.state.strays.iter().find(waiting) {
            let step = stray.step;
            self.move_to(Stage::Undoing { step, reason });
            self.sleep();
            return;
        }
        let undone = Stage::Undone { reason };
        if matches!(self.state.stage, Stage::Undone { .. }) {
            return;
        }
        self.move_to(undone.clone());
        self.wake_or_sleep(self.keep);
        if !self.state.told_undone {
            self.state.told_undone = true;
            self.actions.push(Action::Finished(undone));
        }
    }

    fn send_undo(&mut self, step: usize) {
        let shape = self.shape[step];
        let state = &mut self.state.steps[step];
        state.effect = Effect::Undoing {
            done: state.effect == Effect::Done,
        };
        state.undo_sends = 1;
        let attempt = state.attempt;
        self.actions.push(Action::Undo { step, attempt });
        self.wake_or_sleep((shape.undo == Undo::Answered).then(|| shape.undo_delay(1)));
    }

    fn undone(&mut self, step: usize, attempt: u32) -> Verdict {
        let state = &mut self.state.steps[step];
        if matches!(state.effect, Effect::Undoing { .. }) && attempt >= state.attempt {
            state.effect = Effect::Undone;
            match self.state.stage.clone() {
                Stage::Undoing { reason, .. }
                | Stage::Review {
                    cancelling: Some(reason),
                    ..
                } => self.undo_next(reason),
                Stage::Running { .. }
                | Stage::Held { .. }
                | Stage::Completed
                | Stage::Undone { .. }
                | Stage::Review { .. } => {}
            }
            return Verdict::Applied;
        }
        let Some(stray) = self.open_stray(step, attempt) else {
            return Verdict::Ignored;
        };
        stray.standing = Standing::Settled;
        self.resume_after_stray(step, attempt);
        Verdict::Applied
    }

    fn undo_refused(&mut self, step: usize, attempt: u32) -> Verdict {
        let state = &mut self.state.steps[step];
        if let Effect::Undoing { done } = state.effect
            && attempt >= state.attempt
        {
            state.refused = true;
            state.effect = if done { Effect::Done } else { Effect::Unknown };
            self.go_on();
            return Verdict::Applied;
        }
        self.stray_failed(step, attempt, "its undo was refused".to_owned())
    }

    fn undo_failed(&mut self, step: usize, attempt: u32, reason: String) -> Verdict {
        let state = self.state.steps[step];
        if matches!(state.effect, Effect::Undoing { .. }) && attempt >= state.attempt {
            if let Stage::Undoing {
                reason: cancelling, ..
            } = self.state.stage.clone()
            {
                self.review(step, reason, Some(cancelling));
            }
            return Verdict::Applied;
        }
        self.stray_failed(step, attempt, reason)
    }

    // Attempts given up that succeed after all.

    fn stray(&mut self, step: usize, attempt: u32) -> Verdict {
        let known = |stray: &Stray| (stray.step, stray.attempt) == (step, attempt);
        if self.shape[step].undo == Undo::Nothing || self.state.strays.iter().any(known) {
            return Verdict::Ignored;
        }
        self.state.strays.push(Stray {
            step,
            attempt,
            undo_sends: 0,
            standing: Standing::Outstanding,
        });
        self.send_stray_undo(step, attempt);
        if let Stage::Undone { reason } = self.state.stage.clone() {
            self.undo_next(reason);
        }
        Verdict::Compensated
    }

    fn send_stray_undo(&mut self, step: usize, attempt: u32) {
        let shape = self.shape[step];
        let Some(stray) = self.open_stray(step, attempt) else {
            return;
        };
        stray.undo_sends += 1;
        let undo_sends = stray.undo_sends;
        stray.standing = match shape.undo {
            Undo::Answered => Standing::Outstanding,
            Undo::Told | Undo::Nothing => Standing::Settled,
        };
        self.actions.push(Action::Undo { step, attempt });
        if shape.undo == Undo::Answered {
            self.actions.push(Action::WakeForStray {
                step,
                attempt,
                undo_sends,
                after: shape.undo_delay(undo_sends),
            });
        }
    }

    fn stray_woken(&mut self, step: usize, attempt: u32, undo_sends: u32) -> Verdict {
        let shape = self.shape[step];
        match self.open_stray(step, attempt) {
            Some(stray)
                if stray.undo_sends == undo_sends && stray.standing == Standing::Outstanding =>
            {
                if shape.undo_waited(undo_sends) < shape.undo_deadline {
                    self.send_stray_undo(step, attempt);
                    return Verdict::Applied;
                }
                self.stray_failed(step, attempt, no_answer(&shape))
            }
            Some(_) | None => Verdict::Ignored,
        }
    }

    fn stray_failed(&mut self, step: usize, attempt: u32, reason: String) -> Verdict {
        let Some(stray) = self.open_stray(step, attempt) else {
            return Verdict::Ignored;
        };
        stray.standing = Standing::Stuck(reason);
        match self.state.stage.clone() {
            Stage::Undoing { reason, .. } if self.outstanding().is_none() => {
                self.undo_next(reason);
            }
            // Looked at when what is under way has ended: a review now would lose its place.
            Stage::Running { .. }
            | Stage::Held { .. }
            | Stage::Undoing { .. }
            | Stage::Review { .. } => {}
            Stage::Completed | Stage::Undone { .. } => {
                self.review_stuck_stray(None);
            }
        }
        Verdict::Applied
    }

    fn open_stray(&mut self, step: usize, attempt: u32) -> Option<&mut Stray> {
        self.state.strays.iter_mut().find(|stray| {
            (stray.step, stray.attempt) == (step, attempt) && stray.standing != Standing::Settled
        })
    }

    fn resume_after_stray(&mut self, step: usize, attempt: u32) {
        match self.state.stage.clone() {
            Stage::Undoing { reason, .. } if self.outstanding().is_none() => {
                self.undo_next(reason);
            }
            Stage::Review {
                step: at,
                attempt: of,
                cancelling,
                ..
            } if (at, of) == (step, attempt) => match cancelling {
                Some(reason) => self.undo_next(reason),
                None => self.go_on(),
            },
            Stage::Running { .. }
            | Stage::Held { .. }
            | Stage::Undoing { .. }
            | Stage::Completed
            | Stage::Undone { .. }
            | Stage::Review { .. } => {}
        }
    }

    fn review_stuck_stray(&mut self, cancelling: Option<&String>) -> bool {
        let stuck = self
            .state
            .strays
            .iter()
            .find_map(|stray| match &stray.standing {
                Standing::Stuck(reason) => Some((stray.step, stray.attempt, reason.clone())),
                Standing::Outstanding | Standing::Settled => None,
            });
        let Some((step, attempt, reason)) = stuck else {
            return false;
        };
        self.move_to(Stage::Review {
            step,
            attempt,
            reason,
            cancelling: cancelling.cloned(),
        });
        self.sleep();
        true
    }

    // A person decides.

    fn rule(&mut self, ruling: Ruling) -> Verdict {
        let Stage::Review {
            step,
            attempt,
            reason,
            cancelling,
        } = self.state.stage.clone()
        else {
            return Verdict::Ignored;
        };
        if let Some(stray) = self.open_stray(step, attempt) {
            match ruling {
                Ruling::Accept => stray.standing = Standing::Settled,
                Ruling::Retry | Ruling::Cancel => {
                    stray.undo_sends = 0;
                    self.send_stray_undo(step, attempt);
                }
            }
            match (cancelling, ruling) {
                (Some(reason), _) => self.undo_next(reason),
                (None, Ruling::Cancel) => self.undo_next(reason),
                (None, Ruling::Retry | Ruling::Accept) => self.go_on(),
            }
            return Verdict::Applied;
        }
        let state = &mut self.state.steps[step];
        match (cancelling, ruling) {
            (Some(reason), Ruling::Accept) => {
                state.effect = Effect::Undone;
                state.refused = false;
                self.undo_next(reason);
            }
            (Some(reason), Ruling::Retry | Ruling::Cancel) => {
                state.refused = false;
                if let Effect::Undoing { done } = state.effect {
                    state.effect = if done { Effect::Done } else { Effect::Unknown };
                }
                self.undo_next(reason);
            }
            (None, Ruling::Accept) => {
                state.effect = Effect::Done;
                self.go_on();
            }
            (None, Ruling::Retry) => self.go_on(),
            (None, Ruling::Cancel) => self.undo_next(reason),
        }
        Verdict::Applied
    }

    // Time.

    fn woken(&mut self, alarm: u64) -> Verdict {
        if alarm != self.state.alarm {
            return Verdict::Ignored;
        }
        match self.state.stage.clone() {
            Stage::Running { step } => {
                let name = self.shape[step].name;
                self.undo_next(format!("step `{name}` had no answer in time"));
            }
            Stage::Held { reason, .. } => self.undo_next(reason),
            Stage::Undoing { step, reason } => {
                let (shape, state) = (self.shape[step], self.state.steps[step]);
                if !matches!(state.effect, Effect::Undoing { .. }) {
                    return Verdict::Ignored;
                }
                if shape.undo_waited(state.undo_sends) >= shape.undo_deadline {
                    self.review(step, no_answer(&shape), Some(reason));
                    return Verdict::Applied;
                }
                let (sends, attempt) = (state.undo_sends + 1, state.attempt);
                self.state.steps[step].undo_sends = sends;
                self.actions.push(Action::Undo { step, attempt });
                self.wake_or_sleep(Some(shape.undo_delay(sends)));
            }
            Stage::Completed | Stage::Undone { .. } => {
                let open = |stray: &Stray| stray.standing != Standing::Settled;
                if self.state.strays.iter().any(open) {
                    self.wake_or_sleep(self.keep);
                } else {
                    self.actions.push(Action::Forget);
                }
            }
            Stage::Review { .. } => return Verdict::Ignored,
        }
        Verdict::Applied
    }

    // Small moves.

    fn outstanding(&self) -> Option<usize> {
        let undoing = |step: &StepState| matches!(step.effect, Effect::Undoing { .. });
        self.state.steps.iter().position(undoing)
    }

    fn review(&mut self, step: usize, reason: String, cancelling: Option<String>) {
        let attempt = self.state.steps[step].attempt;
        self.move_to(Stage::Review {
            step,
            attempt,
            reason,
            cancelling,
        });
        self.sleep();
    }

    fn move_to(&mut self, stage: Stage) {
        if self.state.stage != stage || self.state.alarm == 0 {
            self.state.stage = stage.clone();
            self.actions.push(Action::Moved(stage));
        }
    }

    fn wake_or_sleep(&mut self, after: Option<Duration>) {
        match after {
            Some(after) => {
                self.state.alarm += 1;
                let alarm = self.state.alarm;
                self.actions.push(Action::Wake { after, alarm });
            }
            None => self.sleep(),
        }
    }

    fn sleep(&mut self) {
        self.state.alarm += 1;
        self.actions.push(Action::Sleep);
    }
}

fn no_answer(shape: &StepShape) -> String {
    let hours = shape.undo_deadline.as_secs_f64() / 3_600.0;
    format!(
        "undoing step `{}` had no answer within {hours:.1} h; settle it by hand, then resolve the review",
        shape.name
    )
}
