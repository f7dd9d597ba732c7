//! The simulated provider's books: which operations it has done, and what it holds by order.
//!
//! It keeps its own rules, as a real one would: it takes only what it holds, and pays back only
//! what it has taken.

use std::collections::HashMap;

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::OrderId;
use crate::money::{Currency, Money};
use crate::payment::FailureKind;
use crate::payment::provider::{Answer, Order};
use crate::time::rfc3339;

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
    /// The caller's name of the operation.
    pub key: String,
    /// What was done.
    pub operation: LedgerOperation,
    /// For which order.
    pub order_id: OrderId,
    /// How much, in minor units.
    pub amount: i64,
    /// Of what.
    pub currency: Currency,
    /// Whether it was done.
    pub outcome: LedgerOutcome,
    /// Why not, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The name of the authorisation, where it is not made from the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// What the provider can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerOperation {
    /// Hold.
    Authorise,
    /// Take.
    Capture,
    /// Free.
    Void,
    /// Pay back.
    Refund,
}

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerOutcome {
    /// Yes.
    Ok,
    /// No.
    Declined,
}

/// What is wished for an operation before the books are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Do it if the books allow it.
    Do,
    /// Do it, and refuse to take the money later.
    HoldOnly,
    /// Decline it for this reason.
    Decline(&'static str),
}

/// Reason of a decline that another card, or time, can help.
pub const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
const HOLD_ONLY: &str = "sim-hold-only";

/// All operations by key, and sums by order.
#[derive(Debug, Default)]
pub struct Books {
    lines: HashMap<String, Line>,
    orders: HashMap<OrderId, Sums>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    held: i64,
    captured: i64,
    refunded: i64,
}

impl Books {
    /// The line of a key.
    pub fn line(&self, key: &str) -> Option<&Line> {
        self.lines.get(key)
    }

    /// How much is held, was taken, and was paid back for an order.
    pub fn sums(&self, order: OrderId) -> (i64, i64, i64) {
        let sums = self.orders.get(&order).copied().unwrap_or_default();
        (sums.held, sums.captured, sums.refunded)
    }

    /// The line that an operation becomes.
    pub fn decide(
        &self,
        operation: LedgerOperation,
        order: &Order,
        authorisation: &str,
        wish: Wish,
    ) -> Line {
        let sums = self
            .orders
            .get(&order.order_id)
            .copied()
            .unwrap_or_default();
        let Money { amount, currency } = order.amount;
        let reason = match (operation, wish) {
            (_, Wish::Decline(reason)) => Some(reason),
            _ if amount <= 0 => Some("invalid_amount"),
            (LedgerOperation::Authorise, Wish::Do | Wish::HoldOnly) => None,
            (LedgerOperation::Capture, _) if authorisation.starts_with(HOLD_ONLY) => {
                Some("capture_refused")
            }
            (LedgerOperation::Capture | LedgerOperation::Void, _) => {
                (amount > sums.held).then_some("not_held")
            }
            (LedgerOperation::Refund, _) => {
                (amount > sums.captured - sums.refunded).then_some("not_captured")
            }
        };
        let hold_only = reason.is_none() && wish == Wish::HoldOnly;
        Line {
            at: order.at,
            key: order.key.clone(),
            operation,
            order_id: order.order_id,
            amount,
            currency,
            outcome: match reason {
                None => LedgerOutcome::Ok,
                Some(_) => LedgerOutcome::Declined,
            },
            reason: reason.map(str::to_owned),
            reference: hold_only.then(|| format!("{HOLD_ONLY}-{}", order.key)),
        }
    }

    /// Enters a line; one whose key is known changes nothing.
    pub fn enter(&mut self, line: Line) {
        if self.lines.contains_key(&line.key) {
            return;
        }
        if line.outcome == LedgerOutcome::Ok {
            let sums = self.orders.entry(line.order_id).or_default();
            match line.operation {
                LedgerOperation::Authorise => sums.held += line.amount,
                LedgerOperation::Capture => {
                    sums.held -= line.amount;
                    sums.captured += line.amount;
                }
                LedgerOperation::Void => sums.held -= line.amount,
                LedgerOperation::Refund => sums.refunded += line.amount,
            }
        }
        self.lines.insert(line.key.clone(), line);
    }
}

impl Line {
    /// What the caller is told.
    pub fn answer(&self) -> Answer {
        match self.outcome {
            LedgerOutcome::Ok => Answer::Done {
                reference: self
                    .reference
                    .clone()
                    .unwrap_or_else(|| format!("sim-{}", self.key)),
            },
            LedgerOutcome::Declined => {
                let reason = self.reason.clone().unwrap_or_else(|| "declined".to_owned());
                let kind = match reason.as_str() {
                    INSUFFICIENT_FUNDS => FailureKind::Soft,
                    _ => FailureKind::Hard,
                };
                Answer::Declined { kind, reason }
            }
        }
    }
}
