//! Learning what became of an operation at the provider, and what follows from it.
//!
//! It may be learned twice, late, and from several sides (its activity, a webhook, a look-up);
//! the first counts and the others change nothing, except that money which moved after all is
//! always believed.

use super::decisions::{Effect, free};
use super::key::Operation;
use super::record::{Attempt, Capture, Failure, Hold, PaymentRecord, RefundState, Try};
use super::{FailureKind, RefundKind};
use crate::ids::RefundId;

/// Why something failed that the provider has never heard of.
const UNREACHABLE: &str = "provider_unreachable";

/// What was learned about an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// It was done.
    Done {
        /// The provider's name of it.
        reference: String,
    },
    /// It was refused for good.
    Declined {
        /// Whether another attempt can help.
        kind: FailureKind,
        /// Why.
        reason: String,
    },
    /// The provider has never heard of it, and nobody is still asking for it.
    NeverArrived,
    /// Its activity gave up without an answer.
    Unknown,
}

impl PaymentRecord {
    /// Something was learned about an operation.
    pub fn learn(&mut self, operation: Operation, learned: Learned) -> Vec<Effect> {
        match operation {
            Operation::Authorise { attempt } => self.learn_hold(attempt, learned),
            Operation::Void { attempt, n } => self.learn_void(attempt, n, learned),
            Operation::Capture { attempt, n } => self.learn_capture(Try { attempt, n }, learned),
            Operation::Refund { refund, n } => self.learn_refund(refund, n, learned),
        }
    }

    fn learn_hold(&mut self, number: u32, learned: Learned) -> Vec<Effect> {
        let current = self.current().map(|last| last.number);
        let undoing = self.undo.is_some();
        let Some(attempt) = self.attempt_mut(number) else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        match (attempt.hold, learned) {
            (Hold::Asked | Hold::Unknown, Learned::Done { reference }) => {
                attempt.hold = Hold::Held;
                attempt.reference = Some(reference);
                if current == Some(number) && !undoing {
                    effects.push(Effect::Confirmed { attempt: number });
                }
            }
            // We were told no, and the provider holds it after all: the order has gone on
            // without it, so nobody wants it.
            (Hold::Declined, Learned::Done { reference }) => {
                attempt.reference = Some(reference);
                effects.push(free(attempt));
            }
            (Hold::Asked | Hold::Unknown, Learned::Declined { kind, reason }) => {
                let failed = decline(attempt, kind, reason);
                if current == Some(number) && !undoing {
                    effects.push(failed);
                }
            }
            (Hold::Unknown, Learned::NeverArrived) => {
                let failed = decline(attempt, FailureKind::Soft, UNREACHABLE.to_owned());
                if current == Some(number) && !undoing {
                    effects.push(failed);
                }
            }
            (Hold::Asked | Hold::Unknown, Learned::Unknown) => {
                attempt.hold = Hold::Unknown;
                effects.push(Effect::AskLater(Operation::Authorise { attempt: number }));
            }
            // The activity is still asking, or we know already.
            (Hold::Asked, Learned::NeverArrived)
            | (
                Hold::Declined,
                Learned::Declined { .. } | Learned::NeverArrived | Learned::Unknown,
            )
            | (Hold::Held | Hold::Freeing | Hold::FreeingUnknown | Hold::Stuck | Hold::Free, _) => {
            }
        }
        effects.extend(self.free_what_nobody_wants());
        effects.extend(self.pursue());
        effects
    }

    fn learn_void(&mut self, number: u32, n: u32, learned: Learned) -> Vec<Effect> {
        let Some(attempt) = self.attempt_mut(number) else {
            return Vec::new();
        };
        let latest = attempt.voids == n;
        let mut failure = None;
        match (attempt.hold, learned) {
            (hold, Learned::Done { .. }) if hold.holds() && n <= attempt.voids => {
                attempt.hold = Hold::Free;
            }
            (Hold::Freeing | Hold::FreeingUnknown, Learned::Declined { reason, .. }) if latest => {
                attempt.hold = Hold::Stuck;
                failure = Some(reason);
            }
            // Certainly still held, and nobody else would ask again for a superseded attempt.
            (Hold::FreeingUnknown, Learned::NeverArrived) if latest => return vec![free(attempt)],
            (Hold::Freeing | Hold::FreeingUnknown, Learned::Unknown) if latest => {
                attempt.hold = Hold::FreeingUnknown;
                return vec![Effect::AskLater(Operation::Void { attempt: number, n })];
            }
            _ => return Vec::new(),
        }
        match failure {
            Some(reason) => self.undo_failed(reason),
            None => self.pursue(),
        }
    }

    fn learn_capture(&mut self, of: Try, learned: Learned) -> Vec<Effect> {
        let asked = match &self.capture {
            Capture::Asked(asked) | Capture::Unknown(asked) | Capture::Refused(asked, _) => *asked,
            Capture::Not | Capture::Taken(_) => return Vec::new(),
        };
        let open = matches!(self.capture, Capture::Asked(_) | Capture::Unknown(_));
        let mut effects = Vec::new();
        match learned {
            // Also of an earlier try: the money is gone from the card, whatever we were told.
            Learned::Done { .. } if of.attempt == asked.attempt && of.n <= asked.n => {
                self.capture = Capture::Taken(of);
                effects.push(Effect::Completed);
            }
            Learned::Declined { reason, .. } if open && of == asked => {
                self.capture = Capture::Refused(of, reason.clone());
                effects.push(Effect::CaptureFailed { reason });
            }
            Learned::NeverArrived if self.capture == Capture::Unknown(of) => {
                let reason = UNREACHABLE.to_owned();
                self.capture = Capture::Refused(of, reason.clone());
                effects.push(Effect::CaptureFailed { reason });
            }
            Learned::Unknown if open && of == asked => {
                let first = matches!(self.capture, Capture::Asked(_));
                self.capture = Capture::Unknown(of);
                effects.push(Effect::AskLater(Operation::Capture {
                    attempt: of.attempt,
                    n: of.n,
                }));
                if first {
                    effects.push(Effect::CaptureFailed {
                        reason: "outcome_unknown".to_owned(),
                    });
                }
            }
            _ => return Vec::new(),
        }
        effects.extend(self.pursue());
        effects
    }

    fn learn_refund(&mut self, id: RefundId, n: u32, learned: Learned) -> Vec<Effect> {
        let (captured, refunded) = (self.captured(), self.refunded());
        let refund = self
            .refunds
            .iter_mut()
            .find(|refund| refund.id == id && refund.n == n);
        let Some(refund) = refund else {
            return Vec::new();
        };
        let credible = refunded.saturating_add(refund.amount) <= captured;
        match (refund.state, learned) {
            (
                RefundState::Asked | RefundState::Unknown | RefundState::Refused,
                Learned::Done { .. },
            ) if credible => {
                refund.state = RefundState::Paid;
            }
            (RefundState::Asked | RefundState::Unknown, Learned::Done { .. }) => {
                refund.state = RefundState::Refused;
                return self.refund_failed(id, "more_than_captured".to_owned());
            }
            (RefundState::Asked | RefundState::Unknown, Learned::Declined { reason, .. }) => {
                refund.state = RefundState::Refused;
                return self.refund_failed(id, reason);
            }
            (RefundState::Unknown, Learned::NeverArrived) => {
                refund.state = RefundState::Refused;
                return self.refund_failed(id, UNREACHABLE.to_owned());
            }
            (RefundState::Asked | RefundState::Unknown, Learned::Unknown) => {
                refund.state = RefundState::Unknown;
                return vec![Effect::AskLater(Operation::Refund { refund: id, n })];
            }
            _ => return Vec::new(),
        }
        let mut effects = Vec::new();
        // The undo's own refund is reported when everything is undone.
        if self.undo.is_none_or(|undo| undo.refund_id != id) {
            refund.reported = true;
            effects.push(Effect::Refunded {
                refund_id: id,
                kind: RefundKind::Refunded,
                amount: refund.amount,
            });
        }
        effects.extend(self.pursue());
        effects
    }

    fn refund_failed(&mut self, id: RefundId, reason: String) -> Vec<Effect> {
        if self.undo.is_some_and(|undo| undo.refund_id == id) {
            return self.undo_failed(reason);
        }
        let mut effects = vec![Effect::RefundFailed {
            refund_id: id,
            reason,
        }];
        // What is not paid back by this is the undo's again.
        effects.extend(self.pursue());
        effects
    }
}

fn decline(attempt: &mut Attempt, kind: FailureKind, reason: String) -> Effect {
    attempt.hold = Hold::Declined;
    attempt.failure = Some(Failure {
        kind,
        reason: reason.clone(),
    });
    Effect::Failed {
        attempt: attempt.number,
        kind,
        reason,
    }
}
