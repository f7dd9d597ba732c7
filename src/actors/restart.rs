//! Whether and when to restart: pure decisions of a service's supervisor.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::messaging::retry::backoff;
use crate::supervision::{Strategy, Supervision};

/// Panics of so many different messages in a row, with no turn succeeding in between, are the
/// service's fault rather than theirs.
pub(crate) const MESSAGES_IN_A_ROW_MAX: u32 = 20;

/// The restarts of a service's tree within its period.
#[derive(Debug, Default)]
pub(crate) struct History {
    at: VecDeque<Timestamp>,
}

/// What a supervisor does about a failed child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Restart these children (indexes in start order) after a delay.
    Restart {
        children: Vec<usize>,
        after: Duration,
    },
    /// Too many restarts: stop the tree, the service is failed.
    Fail { reason: String },
}

impl History {
    /// Decides about the failure of child `failed` out of `children`.
    pub(crate) fn decide(
        &mut self,
        supervision: &Supervision,
        children: usize,
        failed: usize,
        cause: &str,
        now: Timestamp,
        random: u64,
    ) -> Decision {
        while self
            .at
            .front()
            .is_some_and(|at| now.since(*at) >= supervision.period)
        {
            self.at.pop_front();
        }
        let before = u32::try_from(self.at.len()).unwrap_or(u32::MAX);
        if before >= supervision.restarts_max {
            return Decision::Fail {
                reason: format!(
                    "{} restarts within {:?} are used up; the last failure was: {cause}",
                    supervision.restarts_max, supervision.period
                ),
            };
        }
        self.at.push_back(now);
        let after = match before {
            0 => Duration::ZERO,
            n => backoff(supervision.backoff, supervision.backoff_max, n, random),
        };
        Decision::Restart {
            children: affected(supervision.strategy, children, failed),
            after,
        }
    }
}

/// Which children a strategy restarts.
fn affected(strategy: Strategy, children: usize, failed: usize) -> Vec<usize> {
    match strategy {
        Strategy::OneForOne => vec![failed],
        Strategy::OneForAll => (0..children).collect(),
        Strategy::RestForOne => (failed..children).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(history: &mut History, supervision: &Supervision, now: i64) -> Decision {
        history.decide(supervision, 3, 1, "boom", Timestamp(now * 1_000_000), 0)
    }

    #[test]
    fn each_strategy_restarts_whom_it_names() {
        for (strategy, children) in [
            (Strategy::OneForOne, vec![1]),
            (Strategy::OneForAll, vec![0, 1, 2]),
            (Strategy::RestForOne, vec![1, 2]),
        ] {
            let supervision = Supervision {
                strategy,
                ..Supervision::default()
            };
            let decision = decide(&mut History::default(), &supervision, 0);
            assert_eq!(
                decision,
                Decision::Restart {
                    children,
                    after: Duration::ZERO
                }
            );
        }
    }

    #[test]
    fn restarts_back_off_and_end_at_the_intensity() {
        let supervision = Supervision {
            restarts_max: 3,
            ..Supervision::default()
        };
        let mut history = History::default();
        let mut delays = Vec::new();
        for _ in 0..3 {
            match decide(&mut history, &supervision, 1) {
                Decision::Restart { after, .. } => delays.push(after),
                Decision::Fail { reason } => panic!("failed early: {reason}"),
            }
        }
        assert_eq!(delays[0], Duration::ZERO);
        assert!(delays[1] < delays[2]);
        assert!(matches!(
            decide(&mut history, &supervision, 1),
            Decision::Fail { .. }
        ));
    }

    #[test]
    fn restarts_long_ago_are_forgotten() {
        let supervision = Supervision {
            restarts_max: 1,
            ..Supervision::default()
        };
        let mut history = History::default();
        for minute in 0..5 {
            assert!(matches!(
                decide(&mut history, &supervision, minute * 60),
                Decision::Restart { .. }
            ));
        }
    }
}
