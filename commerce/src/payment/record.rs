//! A payment's record: every attempt to pay one order, what was taken, and what was paid back.
//!
//! `0 ≤ refunded ≤ captured ≤ authorised` after every decision.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FailureKind, PaymentStatus, PaymentView};
use crate::ids::{OrderId, PaymentId, RefundId, UserId};
use crate::money::{Currency, Money};

/// Everything known about paying one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRecord {
    /// Which order.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: UserId,
    /// In what.
    pub currency: Currency,
    /// All attempts, oldest first. The last is the current one.
    pub attempts: Vec<Attempt>,
    /// What became of taking the money.
    pub capture: Capture,
    /// All returns of taken money, oldest first.
    pub refunds: Vec<Refund>,
    /// The order's wish to have everything undone.
    pub undo: Option<Undo>,
    /// First request.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// One attempt to have the provider hold the amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// As the order numbers it.
    pub number: u32,
    /// How much.
    pub amount: i64,
    /// What the provider does with it.
    pub hold: Hold,
    /// How often it was to be voided.
    pub voids: u32,
    /// The provider's name of the authorisation.
    pub reference: Option<String>,
    /// Why it was declined.
    pub failure: Option<Failure>,
}

/// Why an attempt was declined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether another attempt can help.
    pub kind: FailureKind,
    /// Stable name of the reason.
    pub reason: String,
}

/// What the provider does with an attempt's amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// It was asked to hold it.
    Asked,
    /// It did not say whether it holds it; it is asked about that.
    Unknown,
    /// It holds it.
    Held,
    /// It does not hold it and never did.
    Declined,
    /// It was asked to free it.
    Freeing,
    /// It did not say whether it freed it; it is asked about that.
    FreeingUnknown,
    /// It refused to free it.
    Stuck,
    /// It no longer holds it.
    Free,
}

/// What became of taking the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capture {
    /// Nobody asked for it.
    Not,
    /// The provider was asked.
    Asked(Try),
    /// The provider did not say; it is asked about that.
    Unknown(Try),
    /// The money is taken.
    Taken(Try),
    /// The provider refused.
    Refused(Try, String),
}

/// Which try of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Of which attempt's authorisation.
    pub attempt: u32,
    /// Which try.
    pub n: u32,
}

/// One try to pay taken money back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Which return.
    pub id: RefundId,
    /// Which try of it.
    pub n: u32,
    /// How much.
    pub amount: i64,
    /// What a person gave as the reason; `None` if the order asked for it.
    pub reason: Option<String>,
    /// What became of it.
    pub state: RefundState,
    /// Whether it was published that it is paid back. Each amount is published once.
    pub reported: bool,
}

/// What became of a try to pay back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefundState {
    /// The provider was asked.
    Asked,
    /// The provider did not say; it is asked about that.
    Unknown,
    /// It is paid back.
    Paid,
    /// The provider refused.
    Refused,
}

/// The order's wish to have everything undone. From then on nothing is held or taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// What the order calls it.
    pub refund_id: RefundId,
    /// How far it is.
    pub progress: UndoProgress,
}

/// How far the undoing of a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoProgress {
    /// The provider is at work.
    UnderWay,
    /// The order was told that it did not work; it may ask again.
    Failed,
    /// The order was told that it is done.
    Done,
}

impl PaymentRecord {
    /// The attempt that counts.
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// The attempt of this number.
    pub fn attempt(&self, number: u32) -> Option<&Attempt> {
        self.attempts
            .iter()
            .find(|attempt| attempt.number == number)
    }

    pub(super) fn attempt_mut(&mut self, number: u32) -> Option<&mut Attempt> {
        self.attempts
            .iter_mut()
            .find(|attempt| attempt.number == number)
    }

    /// How much is held, or was when it was taken.
    pub fn authorised(&self) -> i64 {
        let taken = match &self.capture {
            Capture::Taken(of) => self.attempt(of.attempt),
            _ => None,
        };
        if let Some(attempt) = taken {
            return attempt.amount;
        }
        match self.current() {
            Some(attempt) if attempt.hold.holds() => attempt.amount,
            _ => 0,
        }
    }

    /// How much is taken.
    pub fn captured(&self) -> i64 {
        match &self.capture {
            Capture::Taken(of) => self.attempt(of.attempt).map_or(0, |attempt| attempt.amount),
            _ => 0,
        }
    }

    /// How much of it is paid back.
    pub fn refunded(&self) -> i64 {
        self.refunds_in(|state| state == RefundState::Paid)
    }

    /// How much of what is taken is neither paid back nor on its way back.
    pub fn refundable(&self) -> i64 {
        // A refusal that turns out to have been paid can leave more on its way than is left.
        let back = self.refunds_in(|state| state != RefundState::Refused);
        (self.captured() - back).max(0)
    }

    fn refunds_in(&self, states: impl Fn(RefundState) -> bool) -> i64 {
        self.refunds
            .iter()
            .filter(|refund| states(refund.state))
            .map(|refund| refund.amount)
            .sum()
    }

    /// What has become of the payment.
    pub fn status(&self) -> PaymentStatus {
        let (captured, refunded) = (self.captured(), self.refunded());
        if captured > 0 {
            return match refunded {
                0 => PaymentStatus::Captured,
                all if all == captured => PaymentStatus::Refunded,
                _ => PaymentStatus::PartiallyRefunded,
            };
        }
        if let Capture::Unknown(_) = self.capture {
            return PaymentStatus::Unknown;
        }
        match self.current().map(|attempt| attempt.hold) {
            Some(Hold::Asked) => PaymentStatus::Pending,
            Some(Hold::Unknown | Hold::FreeingUnknown) => PaymentStatus::Unknown,
            Some(Hold::Held | Hold::Freeing | Hold::Stuck) => PaymentStatus::Authorised,
            Some(Hold::Declined) => PaymentStatus::Failed,
            Some(Hold::Free) | None => PaymentStatus::Voided,
        }
    }

    /// As the outside sees it.
    pub fn view(&self, id: PaymentId) -> PaymentView {
        let money = |amount| Money::new(amount, self.currency);
        let failure_reason = match &self.capture {
            Capture::Refused(_, reason) => Some(reason.clone()),
            _ => self
                .current()
                .and_then(|attempt| attempt.failure.as_ref())
                .map(|failure| failure.reason.clone()),
        };
        PaymentView {
            id,
            order_id: self.order_id,
            customer_id: self.customer_id,
            status: self.status(),
            attempts: u32::try_from(self.attempts.len()).unwrap_or(u32::MAX),
            authorised: money(self.authorised()),
            captured: money(self.captured()),
            refunded: money(self.refunded()),
            failure_reason,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl Hold {
    /// Whether the provider is known to hold the amount.
    pub fn holds(self) -> bool {
        match self {
            Hold::Held | Hold::Freeing | Hold::FreeingUnknown | Hold::Stuck => true,
            Hold::Asked | Hold::Unknown | Hold::Declined | Hold::Free => false,
        }
    }
}
