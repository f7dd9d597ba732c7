//! An operation's key: what we call it towards the provider, the same however often we ask.
//!
//! It is derived from what the operation is for, so it can be read back from a webhook:
//!
//! ```text
//! {order}-{attempt}              authorise        {order}-{attempt}-capture-{n}    capture
//! {order}-refund-{refund}-{n}    refund           {order}-{attempt}-void-{n}       void
//! ```
//!
//! `n` counts the tries: the provider remembers a key's refusal, so trying again needs another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, RefundId};

/// Which operation at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperationKey {
    /// For which order.
    pub order: OrderId,
    /// What is done.
    pub operation: Operation,
}

/// What is done at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Hold the amount of an attempt.
    Authorise {
        /// Which attempt.
        attempt: u32,
    },
    /// Take the amount that an attempt holds.
    Capture {
        /// Which attempt.
        attempt: u32,
        /// Which try.
        n: u32,
    },
    /// Free the amount that an attempt holds.
    Void {
        /// Which attempt.
        attempt: u32,
        /// Which try.
        n: u32,
    },
    /// Pay back some of what was taken.
    Refund {
        /// Which return.
        refund: RefundId,
        /// Which try.
        n: u32,
    },
}

/// A text is no key of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this key names no operation of ours; use the key that the operation was started with")]
pub struct NotAKey;

/// Characters of a UUID as text.
const UUID_CHARS: usize = 36;

impl fmt::Display for OperationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = self.order;
        match self.operation {
            Operation::Authorise { attempt } => write!(f, "{order}-{attempt}"),
            Operation::Capture { attempt, n } => write!(f, "{order}-{attempt}-capture-{n}"),
            Operation::Void { attempt, n } => write!(f, "{order}-{attempt}-void-{n}"),
            Operation::Refund { refund, n } => write!(f, "{order}-refund-{refund}-{n}"),
        }
    }
}

impl FromStr for OperationKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<OperationKey, NotAKey> {
        let key = parse(text).ok_or(NotAKey)?;
        // Only the one way of writing it: `+1`, `01` or capitals would be other keys to others.
        (key.to_string() == text).then_some(key).ok_or(NotAKey)
    }
}

fn parse(text: &str) -> Option<OperationKey> {
    let (order, rest) = text.split_at_checked(UUID_CHARS)?;
    let rest = rest.strip_prefix('-')?;
    let operation = match rest.strip_prefix("refund-") {
        Some(rest) => {
            let (refund, n) = rest.split_at_checked(UUID_CHARS)?;
            Operation::Refund {
                refund: refund.parse().ok()?,
                n: n.strip_prefix('-')?.parse().ok()?,
            }
        }
        None => match rest.split_once('-') {
            None => Operation::Authorise {
                attempt: rest.parse().ok()?,
            },
            Some((attempt, rest)) => {
                let attempt = attempt.parse().ok()?;
                let (what, n) = rest.split_once('-')?;
                let n = n.parse().ok()?;
                match what {
                    "capture" => Operation::Capture { attempt, n },
                    "void" => Operation::Void { attempt, n },
                    _ => return None,
                }
            }
        },
    };
    Some(OperationKey {
        order: order.parse().ok()?,
        operation,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn every_key_reads_back_as_itself() {
        let order = OrderId(Uuid::from_u128(7));
        for operation in [
            Operation::Authorise { attempt: 1 },
            Operation::Capture { attempt: 2, n: 1 },
            Operation::Void { attempt: 3, n: 12 },
            Operation::Refund {
                refund: RefundId(Uuid::from_u128(9)),
                n: 1,
            },
        ] {
            let key = OperationKey { order, operation };
            assert_eq!(key.to_string().parse(), Ok(key));
        }
    }

    #[test]
    fn other_texts_are_no_keys() {
        let order = OrderId(Uuid::from_u128(7));
        for text in [
            String::new(),
            order.to_string(),
            format!("{order}-"),
            format!("{order}-+1"),
            format!("{order}-01"),
            format!("{order}-1-capture"),
            format!("{order}-1-seize-1"),
            format!("{order}-refund-1"),
            format!("{order}-1é"),
            "é".repeat(40),
        ] {
            assert_eq!(text.parse::<OperationKey>(), Err(NotAKey), "{text}");
        }
    }
}
