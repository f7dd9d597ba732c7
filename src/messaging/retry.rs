//! When to try again: back-off, attempts of activities, circuit breakers. Pure decisions.

use std::time::Duration;

use bytes::Bytes;

use crate::activity::{ActivityError, ActivityPolicy, Outcome, Reconciled};
use crate::clock::Timestamp;

/// The delay before attempt `attempt + 1`: doubles from `first`, is capped, and loses up to a
/// quarter by jitter, so that what failed together does not return together.
pub(crate) fn backoff(first: Duration, max: Duration, attempt: u32, random: u64) -> Duration {
    let doubled = first.saturating_mul(
        1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    let capped = doubled.min(max);
    let micros = u64::try_from(capped.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros - random % (micros / 4 + 1))
}

/// What an activity does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run it (again) after this delay.
    Run(Duration),
    /// Ask the destination first, after this delay.
    Reconcile(Duration),
    /// It has ended.
    End(Outcome<Bytes>),
}

/// An activity on its way: how often it was tried and whether the last try is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempts {
    pub(crate) planned_at: Timestamp,
    pub(crate) runs: u32,
    asks: u32,
    /// Whether an attempt may have taken effect without our knowing.
    unknown: bool,
    idempotent: bool,
}

impl Attempts {
    /// A newly planned activity.
    pub(crate) fn planned(planned_at: Timestamp, idempotent: bool) -> Attempts {
        Attempts {
            planned_at,
            runs: 0,
            asks: 0,
            unknown: false,
            idempotent,
        }
    }

    /// An activity found without a result after a restart: nobody knows whether it ran.
    pub(crate) fn found(planned_at: Timestamp, idempotent: bool) -> Attempts {
        Attempts {
            unknown: true,
            ..Attempts::planned(planned_at, idempotent)
        }
    }

    /// The first thing to do.
    pub(crate) fn first(&self) -> Next {
        if self.unknown && !self.idempotent {
            Next::Reconcile(Duration::ZERO)
        } else {
            Next::Run(Duration::ZERO)
        }
    }

    /// What follows an attempt.
    pub(crate) fn after_run(
        &mut self,
        result: Result<Bytes, ActivityError>,
        policy: &ActivityPolicy,
        now: Timestamp,
        random: u64,
    ) -> Next {
        self.runs += 1;
        match result {
            Ok(output) => Next::End(Outcome::Done(output)),
            Err(ActivityError::Refused(reason)) => Next::End(Outcome::Failed(reason)),
            Err(ActivityError::Transient(reason)) => self.again(reason, policy, now, random),
            Err(ActivityError::Unknown(reason)) => {
                self.unknown = true;
                if self.idempotent {
                    return self.again(reason, policy, now, random);
                }
                // The destination is asked at once: most unknowns are answers lost on the way.
                self.asks = 0;
                Next::Reconcile(Duration::ZERO)
            }
        }
    }

    /// What follows the destination's word on earlier attempts.
    pub(crate) fn after_reconcile(
        &mut self,
        result: Result<Reconciled<Bytes>, ActivityError>,
        policy: &ActivityPolicy,
        now: Timestamp,
        random: u64,
    ) -> Next {
        self.asks += 1;
        let reason = match result {
            Ok(Reconciled::Done(output)) => return Next::End(Outcome::Done(output)),
            Ok(Reconciled::Failed(reason)) => return Next::End(Outcome::Failed(reason)),
            Ok(Reconciled::NotDone) => {
                self.unknown = false;
                return if self.runs == 0 {
                    Next::Run(Duration::ZERO)
                } else {
                    self.again(
                        "the destination says it was not done".to_owned(),
                        policy,
                        now,
                        random,
                    )
                };
            }
            Ok(Reconciled::StillUnknown) => "the destination cannot say yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if self.asks >= policy.attempts_max || now.since(self.planned_at) >= policy.give_up_after {
            return Next::End(Outcome::GaveUp {
                attempts: self.runs,
                reason,
            });
        }
        Next::Reconcile(backoff(
            policy.backoff,
            policy.backoff_max,
            self.asks,
            random,
        ))
    }

    fn again(&self, reason: String, policy: &ActivityPolicy, now: Timestamp, random: u64) -> Next {
        if self.runs >= policy.attempts_max || now.since(self.planned_at) >= policy.give_up_after {
            return Next::End(Outcome::GaveUp {
                attempts: self.runs,
                reason,
            });
        }
        Next::Run(backoff(
            policy.backoff,
            policy.backoff_max,
            self.runs,
            random,
        ))
    }
}

/// A destination's circuit breaker: after many failures in a row it lets nothing through for a
/// while, then one trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Everything goes through; so many have failed in a row.
    Closed { failures: u32 },
    /// Nothing goes through until then.
    Open { until: Timestamp },
    /// One trial is on its way.
    Trial,
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether an attempt may start now; otherwise when to ask again.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Result<(), Option<Timestamp>> {
        match *self {
            Breaker::Closed { .. } => Ok(()),
            Breaker::Open { until } if now >= until => {
                *self = Breaker::Trial;
                Ok(())
            }
            Breaker::Open { until } => Err(Some(until)),
            Breaker::Trial => Err(None),
        }
    }

    /// Notes how an attempt ended. A refusal is an answer: the destination is up.
    pub(crate) fn ended(&mut self, answered: bool, policy: &ActivityPolicy, now: Timestamp) {
        *self = match (&*self, answered) {
            (_, true) => Breaker::Closed { failures: 0 },
            (Breaker::Closed { failures }, false) if failures + 1 < policy.breaker_failures => {
                Breaker::Closed {
                    failures: failures + 1,
                }
            }
            (Breaker::Open { until }, false) => Breaker::Open { until: *until },
            (Breaker::Closed { .. } | Breaker::Trial, false) => Breaker::Open {
                until: now.plus(policy.breaker_open_for),
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn policy() -> ActivityPolicy {
        ActivityPolicy {
            attempts_max: 3,
            breaker_failures: 2,
            ..ActivityPolicy::default()
        }
    }

    #[test]
    fn a_back_off_doubles_is_capped_and_loses_at_most_a_quarter() {
        let (first, max) = (Duration::from_millis(100), Duration::from_secs(1));
        for (attempt, full) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (4, 800),
            (5, 1_000),
            (40, 1_000),
        ] {
            for random in [0, 7, u64::MAX] {
                let delay = backoff(first, max, attempt, random).as_millis();
                assert!(
                    (full * 3 / 4..=full).contains(&delay),
                    "attempt {attempt}: {delay}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_attempt_is_reconciled_before_it_runs_again() {
        let mut attempts = Attempts::planned(NOW, false);
        assert_eq!(attempts.first(), Next::Run(Duration::ZERO));
        let unknown = Err(ActivityError::Unknown("timed out".into()));
        assert_eq!(
            attempts.after_run(unknown, &policy(), NOW, 0),
            Next::Reconcile(Duration::ZERO)
        );
        let next = attempts.after_reconcile(Ok(Reconciled::StillUnknown), &policy(), NOW, 0);
        assert!(matches!(next, Next::Reconcile(_)));
        let next = attempts.after_reconcile(Ok(Reconciled::NotDone), &policy(), NOW, 0);
        assert!(matches!(next, Next::Run(_)));
    }

    #[test]
    fn an_activity_found_after_a_restart_is_reconciled_unless_idempotent() {
        assert_eq!(
            Attempts::found(NOW, false).first(),
            Next::Reconcile(Duration::ZERO)
        );
        assert_eq!(
            Attempts::found(NOW, true).first(),
            Next::Run(Duration::ZERO)
        );
    }

    #[test]
    fn a_transient_failure_is_tried_until_the_limit() {
        let mut attempts = Attempts::planned(NOW, true);
        for _ in 0..2 {
            let failed = Err(ActivityError::Transient("busy".into()));
            assert!(matches!(
                attempts.after_run(failed, &policy(), NOW, 0),
                Next::Run(_)
            ));
        }
        let failed = Err(ActivityError::Transient("busy".into()));
        let gave_up = Next::End(Outcome::GaveUp {
            attempts: 3,
            reason: "busy".into(),
        });
        assert_eq!(attempts.after_run(failed, &policy(), NOW, 0), gave_up);
    }

    #[test]
    fn an_open_breaker_admits_one_trial_after_its_time() {
        let mut breaker = Breaker::default();
        breaker.ended(false, &policy(), NOW);
        assert_eq!(breaker.admit(NOW), Ok(()));
        breaker.ended(false, &policy(), NOW);
        let until = NOW.plus(policy().breaker_open_for);
        assert_eq!(breaker.admit(NOW), Err(Some(until)));
        assert_eq!(breaker.admit(until), Ok(()));
        assert_eq!(breaker.admit(until), Err(None));
        breaker.ended(true, &policy(), until);
        assert_eq!(breaker, Breaker::Closed { failures: 0 });
    }
}
