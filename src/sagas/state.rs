//! The words of the saga machine: the shape of a table of steps, the state of a saga, what may
//! happen to it, and what is to be done about it.
//!
//! [`State`] and what it is made of are stored ([`row`](super::row)): changing them changes the
//! stored form.

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
    /// Whether asking for the next attempt gives up what the one before may have done.
    pub(crate) replaces: bool,
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
    pub(super) fn undo_delay(&self, sends: u32) -> Duration {
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
    pub(super) fn undo_waited(&self, sends: u32) -> Duration {
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

    /// What a person reads when the undo's deadline has passed.
    pub(super) fn no_answer(&self) -> String {
        let hours = self.undo_deadline.as_secs_f64() / 3_600.0;
        format!(
            "undoing step `{}` had no answer within {hours:.1} h; settle it by hand, then resolve the review",
            self.name
        )
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
