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

use super::state::{
    Action, Effect, Failing, Input, Ruling, Said, Stage, Standing, State, StepShape, StepState,
    Stray, Undo, Verdict,
};

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

pub(super) struct Machine<'a> {
    pub(super) shape: &'a [StepShape],
    keep: Option<Duration>,
    pub(super) state: State,
    pub(super) actions: Vec<Action>,
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
                // An answer to a step that the saga has not got to yet is its first attempt's:
                // streams are not ordered among each other.
                let attempt = attempt.unwrap_or(newest.max(1));
                if newest > 0 && attempt > newest {
                    return Verdict::Ignored;
                }
                match said {
                    Said::Succeeded => self.succeeded(step, attempt),
                    Said::Failed(failing) => self.failed(step, attempt, failing),
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
    pub(super) fn go_on(&mut self) {
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
            Effect::Undone if self.shape[step].undo == Undo::Told => {
                // Nobody can say whether the undo or the effect came first; once more is safe.
                self.actions.push(Action::Undo { step, attempt });
                return Verdict::Compensated;
            }
            Effect::None | Effect::Unknown | Effect::Undone => {
                self.state.steps[step].effect = Effect::Done;
                self.state.steps[step].attempt = attempt;
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

    fn failed(&mut self, step: usize, attempt: u32, failing: Failing) -> Verdict {
        if attempt < self.state.steps[step].attempt {
            return Verdict::Ignored;
        }
        let state = &mut self.state.steps[step];
        match state.effect {
            Effect::Undoing { .. } | Effect::Undone => return Verdict::Ignored,
            // Known already, unless the step was not asked for yet.
            Effect::None if state.attempt > 0 => return Verdict::Ignored,
            Effect::None | Effect::Unknown | Effect::Done => {}
        }
        state.effect = Effect::None;
        state.attempt = attempt;
        state.refused = false;
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
    pub(super) fn undo_next(&mut self, reason: String) {
        debug_assert_eq!(self.outstanding(), None, "one undo at a time");
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
        if matches!(state.effect, Effect::Undoing { .. }) && attempt == state.attempt {
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
        let happened = matches!(state.effect, Effect::Unknown | Effect::Done);
        if happened && attempt == state.attempt && state.undo_sends > 0 {
            // The undo was sent more than once and this is the later answer: it took what had
            // come in between. Unasked-for news of an undo are not ours to act on.
            return self.lost(step);
        }
        let Some(stray) = self.open_stray(step, attempt) else {
            return Verdict::Ignored;
        };
        stray.standing = Standing::Settled;
        self.resume_after_stray(step, attempt);
        Verdict::Applied
    }

    /// A step that counted as having happened turns out to be undone.
    fn lost(&mut self, step: usize) -> Verdict {
        self.state.steps[step].effect = Effect::Undone;
        self.state.steps[step].refused = false;
        let reason = format!("step `{}` was undone after all", self.shape[step].name);
        match self.state.stage.clone() {
            Stage::Running { .. } | Stage::Held { .. } => self.undo_next(reason),
            Stage::Completed => self.review(step, reason, None),
            Stage::Review {
                step: at,
                cancelling: Some(cancelling),
                ..
            } if at == step => self.undo_next(cancelling),
            Stage::Undoing { .. } | Stage::Undone { .. } | Stage::Review { .. } => {}
        }
        Verdict::Applied
    }

    fn undo_refused(&mut self, step: usize, attempt: u32) -> Verdict {
        let state = &mut self.state.steps[step];
        if let Effect::Undoing { done } = state.effect
            && attempt == state.attempt
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
        if matches!(state.effect, Effect::Undoing { .. }) && attempt == state.attempt {
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
                // Answers to earlier undos say nothing about what was settled by hand.
                state.undo_sends = 0;
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
                    self.review(step, shape.no_answer(), Some(reason));
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

    pub(super) fn outstanding(&self) -> Option<usize> {
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

    pub(super) fn move_to(&mut self, stage: Stage) {
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

    pub(super) fn sleep(&mut self) {
        self.state.alarm += 1;
        self.actions.push(Action::Sleep);
    }
}
