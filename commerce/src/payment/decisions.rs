//! Decisions about a payment: what follows from what is asked.
//!
//! Pure functions over a [`PaymentRecord`]. Each changes the record and answers the effects that
//! the service carries out in the same turn. What the provider says is in
//! [`learning`](super::learning).

use super::key::{Operation, OperationKey};
use super::record::{
    Attempt, Capture, Hold, PaymentRecord, Refund, RefundState, Try, Undo, UndoProgress,
};
use super::{FailureKind, RefundKind};
use crate::ids::RefundId;

/// Attempts of one payment. The order service allows fewer; this bounds the record.
pub const ATTEMPTS_MAX: usize = 10;
/// Tries to pay back of one payment; bounds the record.
pub const REFUNDS_MAX: usize = 200;

/// What follows from a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the provider to do this.
    Operate {
        /// What.
        operation: Operation,
        /// How much.
        amount: i64,
    },
    /// Ask the provider what became of this, now.
    Ask(Operation),
    /// Ask the provider what became of this, later.
    AskLater(Operation),
    /// The attempt is authorised.
    Confirmed {
        /// Which.
        attempt: u32,
    },
    /// The attempt is declined.
    Failed {
        /// Which.
        attempt: u32,
        /// Whether another can help.
        kind: FailureKind,
        /// Why.
        reason: String,
    },
    /// The money is taken.
    Completed,
    /// The money cannot be taken.
    CaptureFailed {
        /// Why.
        reason: String,
    },
    /// The money is back.
    Refunded {
        /// Which return.
        refund_id: RefundId,
        /// How.
        kind: RefundKind,
        /// How much.
        amount: i64,
    },
    /// The money is not back.
    RefundFailed {
        /// Which return.
        refund_id: RefundId,
        /// Why.
        reason: String,
    },
}

impl PaymentRecord {
    /// The order asks for an attempt.
    pub fn request(&mut self, number: u32, amount: i64) -> Vec<Effect> {
        let refuse = |kind, reason: &str| {
            vec![Effect::Failed {
                attempt: number,
                kind,
                reason: reason.to_owned(),
            }]
        };
        if self.undo.is_some() {
            return refuse(FailureKind::Hard, "order_cancelled");
        }
        if let Some(known) = self.attempt(number) {
            return answer_again(known);
        }
        if amount <= 0 {
            return refuse(FailureKind::Hard, "invalid_amount");
        }
        if self.attempts.len() >= ATTEMPTS_MAX {
            return refuse(FailureKind::Hard, "too_many_attempts");
        }
        // The newest attempt counts; a number below it is an old question.
        if self.current().is_some_and(|last| last.number > number) {
            return Vec::new();
        }
        if self.capture != Capture::Not {
            return refuse(FailureKind::Soft, "capture_under_way");
        }
        self.attempts.push(Attempt {
            number,
            amount,
            hold: Hold::Asked,
            voids: 0,
            reference: None,
            failure: None,
        });
        let mut effects = vec![Effect::Operate {
            operation: Operation::Authorise { attempt: number },
            amount,
        }];
        effects.extend(self.free_what_nobody_wants());
        effects
    }

    /// The order wants everything undone, now and for ever. Asking again asks for what is not
    /// done yet.
    pub fn undo(&mut self, refund_id: RefundId) -> Vec<Effect> {
        self.undo = Some(Undo {
            refund_id,
            progress: UndoProgress::UnderWay,
        });
        for attempt in &mut self.attempts {
            if attempt.hold == Hold::Stuck {
                attempt.hold = Hold::Held;
            }
        }
        let mut effects: Vec<Effect> = self.unknown_operations().map(Effect::Ask).collect();
        effects.extend(self.pursue());
        effects
    }

    /// The goods have left: the money is to be taken.
    pub fn capture(&mut self) -> Vec<Effect> {
        let fail = |reason: &str| {
            vec![Effect::CaptureFailed {
                reason: reason.to_owned(),
            }]
        };
        let n = match &self.capture {
            Capture::Not => 1,
            Capture::Refused(last, _) => last.n + 1,
            Capture::Asked(_) | Capture::Unknown(_) | Capture::Taken(_) => return Vec::new(),
        };
        if self.undo.is_some() {
            return fail("order_cancelled");
        }
        let Some(attempt) = self.current().filter(|last| last.hold == Hold::Held) else {
            return fail("not_authorised");
        };
        let (amount, attempt) = (attempt.amount, attempt.number);
        self.capture = Capture::Asked(Try { attempt, n });
        vec![Effect::Operate {
            operation: Operation::Capture { attempt, n },
            amount,
        }]
    }

    /// A part of what was taken is to be paid back. The caller has checked that it can be.
    pub fn refund(&mut self, refund_id: RefundId, amount: i64) -> Vec<Effect> {
        let last = self
            .refunds
            .iter()
            .rev()
            .find(|refund| refund.id == refund_id);
        match last.map(|refund| refund.state) {
            Some(RefundState::Asked | RefundState::Unknown) => return Vec::new(),
            // Its amount was published when it was paid; a second time would count it twice.
            Some(RefundState::Paid) => {
                return vec![Effect::Refunded {
                    refund_id,
                    kind: RefundKind::Refunded,
                    amount: 0,
                }];
            }
            Some(RefundState::Refused) | None => {}
        }
        let refused = if amount <= 0 {
            Some("invalid_amount")
        } else if amount > self.refundable() {
            Some("more_than_captured")
        } else if self.refunds.len() >= REFUNDS_MAX {
            Some("too_many_refunds")
        } else {
            None
        };
        match refused {
            Some(reason) => vec![Effect::RefundFailed {
                refund_id,
                reason: reason.to_owned(),
            }],
            None => vec![self.pay_back(refund_id, amount)],
        }
    }

    pub(super) fn undo_failed(&mut self, reason: String) -> Vec<Effect> {
        match &mut self.undo {
            Some(undo) if undo.progress == UndoProgress::UnderWay => {
                undo.progress = UndoProgress::Failed;
                vec![Effect::RefundFailed {
                    refund_id: undo.refund_id,
                    reason,
                }]
            }
            // A superseded attempt that stays held until it lapses: nobody waits for it.
            Some(_) | None => Vec::new(),
        }
    }

    /// Frees what superseded attempts hold.
    pub(super) fn free_what_nobody_wants(&mut self) -> Vec<Effect> {
        let Some((_, superseded)) = self.attempts.split_last_mut() else {
            return Vec::new();
        };
        superseded
            .iter_mut()
            .filter(|attempt| attempt.hold == Hold::Held)
            .map(free)
            .collect()
    }

    /// Takes the undoing as far as it goes now; answers the order once nothing is left of it.
    pub(super) fn pursue(&mut self) -> Vec<Effect> {
        let Some(undo) = self.undo else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        let kept = match self.capture {
            Capture::Asked(of) | Capture::Unknown(of) | Capture::Taken(of) => Some(of.attempt),
            Capture::Not | Capture::Refused(..) => None,
        };
        for attempt in &mut self.attempts {
            if attempt.hold == Hold::Held && kept != Some(attempt.number) {
                effects.push(free(attempt));
            }
        }
        let left = self.refundable();
        // A refund that was refused is tried again when the order asks again, not at once.
        if left > 0 && undo.progress != UndoProgress::Failed {
            effects.push(self.pay_back(undo.refund_id, left));
        }
        let paid: i64 = self.unreported().map(|refund| refund.amount).sum();
        let news = undo.progress != UndoProgress::Done || paid > 0;
        if !news || self.is_busy() {
            return effects;
        }
        self.unreported_mut()
            .for_each(|refund| refund.reported = true);
        self.undo = Some(Undo {
            progress: UndoProgress::Done,
            ..undo
        });
        let kind = match self.captured() {
            0 => RefundKind::Voided,
            _ => RefundKind::Refunded,
        };
        effects.push(Effect::Refunded {
            refund_id: undo.refund_id,
            kind,
            amount: paid,
        });
        effects
    }

    fn unreported(&self) -> impl Iterator<Item = &Refund> {
        let paid = |refund: &&Refund| refund.state == RefundState::Paid && !refund.reported;
        self.refunds.iter().filter(paid)
    }

    fn unreported_mut(&mut self) -> impl Iterator<Item = &mut Refund> {
        let paid = |refund: &&mut Refund| refund.state == RefundState::Paid && !refund.reported;
        self.refunds.iter_mut().filter(paid)
    }

    /// Whether the provider still holds something, or has something left to answer.
    fn is_busy(&self) -> bool {
        let taken = match self.capture {
            Capture::Asked(_) | Capture::Unknown(_) => return true,
            Capture::Taken(of) => Some(of.attempt),
            Capture::Not | Capture::Refused(..) => None,
        };
        let held = self.attempts.iter().any(|attempt| match attempt.hold {
            Hold::Declined | Hold::Free => false,
            Hold::Asked | Hold::Unknown => true,
            Hold::Held | Hold::Freeing | Hold::FreeingUnknown | Hold::Stuck => {
                taken != Some(attempt.number)
            }
        });
        held || self.refundable() > 0
            || self
                .refunds
                .iter()
                .any(|refund| matches!(refund.state, RefundState::Asked | RefundState::Unknown))
    }

    fn pay_back(&mut self, id: RefundId, amount: i64) -> Effect {
        let tries = self.refunds.iter().filter(|refund| refund.id == id).count();
        let n = u32::try_from(tries + 1).unwrap_or(u32::MAX);
        self.refunds.push(Refund {
            id,
            n,
            amount,
            reason: None,
            state: RefundState::Asked,
            reported: false,
        });
        Effect::Operate {
            operation: Operation::Refund { refund: id, n },
            amount,
        }
    }

    /// Operations of which nobody is waiting for an answer any more.
    fn unknown_operations(&self) -> impl Iterator<Item = Operation> + use<> {
        let holds = self.attempts.iter().filter_map(|attempt| {
            let number = attempt.number;
            match attempt.hold {
                Hold::Unknown => Some(Operation::Authorise { attempt: number }),
                Hold::FreeingUnknown => Some(Operation::Void {
                    attempt: number,
                    n: attempt.voids,
                }),
                _ => None,
            }
        });
        let capture = match self.capture {
            Capture::Unknown(of) => Some(Operation::Capture {
                attempt: of.attempt,
                n: of.n,
            }),
            _ => None,
        };
        let refunds = self.refunds.iter().filter_map(|refund| {
            (refund.state == RefundState::Unknown).then_some(Operation::Refund {
                refund: refund.id,
                n: refund.n,
            })
        });
        holds
            .chain(capture)
            .chain(refunds)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether an operation's outcome is still unknown.
    pub fn awaits(&self, operation: Operation) -> bool {
        self.unknown_operations()
            .any(|unknown| unknown == operation)
    }

    /// How much an operation that was asked for is about; `None` if it never was.
    pub fn amount_of(&self, operation: Operation) -> Option<i64> {
        let amount = |number| self.attempt(number).map(|attempt| attempt.amount);
        match operation {
            Operation::Authorise { attempt } => amount(attempt),
            Operation::Void { attempt, n } => {
                let asked = self.attempt(attempt)?.voids;
                (1..=asked).contains(&n).then(|| amount(attempt))?
            }
            Operation::Capture { attempt, n } => {
                let of = match &self.capture {
                    Capture::Not => return None,
                    Capture::Asked(of)
                    | Capture::Unknown(of)
                    | Capture::Taken(of)
                    | Capture::Refused(of, _) => of,
                };
                let asked = of.attempt == attempt && (1..=of.n).contains(&n);
                asked.then(|| amount(attempt))?
            }
            Operation::Refund { refund, n } => self
                .refunds
                .iter()
                .find(|asked| asked.id == refund && asked.n == n)
                .map(|asked| asked.amount),
        }
    }

    /// The provider's name of the authorisation that an operation works on.
    pub fn reference(&self, operation: Operation) -> String {
        let attempt = match operation {
            Operation::Authorise { attempt }
            | Operation::Capture { attempt, .. }
            | Operation::Void { attempt, .. } => attempt,
            Operation::Refund { .. } => match &self.capture {
                Capture::Taken(of) => of.attempt,
                Capture::Not | Capture::Asked(_) | Capture::Unknown(_) | Capture::Refused(..) => {
                    return String::new();
                }
            },
        };
        self.attempt(attempt)
            .and_then(|attempt| attempt.reference.clone())
            .unwrap_or_default()
    }

    /// The full key of an operation of this payment.
    pub fn key(&self, operation: Operation) -> OperationKey {
        OperationKey {
            order: self.order_id,
            operation,
        }
    }
}

fn answer_again(known: &Attempt) -> Vec<Effect> {
    let attempt = known.number;
    match (known.hold, &known.failure) {
        (Hold::Held, _) => vec![Effect::Confirmed { attempt }],
        (Hold::Declined, Some(failure)) => vec![Effect::Failed {
            attempt,
            kind: failure.kind,
            reason: failure.reason.clone(),
        }],
        (Hold::Declined, None)
        | (
            Hold::Asked
            | Hold::Unknown
            | Hold::Freeing
            | Hold::FreeingUnknown
            | Hold::Stuck
            | Hold::Free,
            _,
        ) => Vec::new(),
    }
}

pub(super) fn free(attempt: &mut Attempt) -> Effect {
    attempt.hold = Hold::Freeing;
    attempt.voids += 1;
    Effect::Operate {
        operation: Operation::Void {
            attempt: attempt.number,
            n: attempt.voids,
        },
        amount: attempt.amount,
    }
}
