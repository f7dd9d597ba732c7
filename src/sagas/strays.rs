//! Strays: attempts that were given up and succeed after all. They are undone beside the main
//! line, which waits for them only before it ends.

use super::machine::Machine;
use super::state::{Action, Stage, Standing, Stray, Undo, Verdict};

impl Machine<'_> {
    pub(super) fn stray(&mut self, step: usize, attempt: u32) -> Verdict {
        let known = |stray: &Stray| (stray.step, stray.attempt) == (step, attempt);
        let shape = self.shape[step];
        let nothing_to_undo = shape.undo == Undo::Nothing || shape.replaces;
        if nothing_to_undo || self.state.strays.iter().any(known) {
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

    pub(super) fn send_stray_undo(&mut self, step: usize, attempt: u32) {
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

    pub(super) fn stray_woken(&mut self, step: usize, attempt: u32, undo_sends: u32) -> Verdict {
        let shape = self.shape[step];
        match self.open_stray(step, attempt) {
            Some(stray)
                if stray.undo_sends == undo_sends && stray.standing == Standing::Outstanding =>
            {
                if shape.undo_waited(undo_sends) < shape.undo_deadline {
                    self.send_stray_undo(step, attempt);
                    return Verdict::Applied;
                }
                self.stray_failed(step, attempt, shape.no_answer())
            }
            Some(_) | None => Verdict::Ignored,
        }
    }

    pub(super) fn stray_failed(&mut self, step: usize, attempt: u32, reason: String) -> Verdict {
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

    pub(super) fn open_stray(&mut self, step: usize, attempt: u32) -> Option<&mut Stray> {
        self.state.strays.iter_mut().find(|stray| {
            (stray.step, stray.attempt) == (step, attempt) && stray.standing != Standing::Settled
        })
    }

    pub(super) fn resume_after_stray(&mut self, step: usize, attempt: u32) {
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

    pub(super) fn review_stuck_stray(&mut self, cancelling: Option<&String>) -> bool {
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
}
