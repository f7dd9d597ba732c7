//! The status of an order: how far it is.
//!
//! ```text
//! pending ─▶ reserved ─▶ paid ─▶ confirmed ─▶ shipped ─▶ delivered ─▶ returned
//!    │        │   ▲       │          │  ▲        ╰──────────────────────▲
//!    │        ▼   │       │          │  │ shipping refuses: it has left
//!    │  payment_failed    ▼          ▼  │
//!    ╰────────────┴──▶ cancelling ──────╯─▶ cancelled      manual_review: a person decides
//! ```

use std::fmt;
use std::str::FromStr;

use redeliver::{KeyReader, TableKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Its goods are being reserved.
    Pending,
    /// Its goods are reserved, its payment is being authorised.
    Reserved,
    /// Its payment is authorised.
    Paid,
    /// It can be sent.
    Confirmed,
    /// It has left.
    Shipped,
    /// It has arrived.
    Delivered,
    /// Its payment was declined; another try may help.
    PaymentFailed,
    /// What was done for it is being undone.
    Cancelling,
    /// All that was done for it is undone.
    Cancelled,
    /// It came back, and so did the money.
    Returned,
    /// A person must decide.
    ManualReview,
}

impl OrderStatus {
    /// All, in the order of their stored numbers.
    pub const ALL: [OrderStatus; 11] = [
        OrderStatus::Pending,
        OrderStatus::Reserved,
        OrderStatus::Paid,
        OrderStatus::Confirmed,
        OrderStatus::Shipped,
        OrderStatus::Delivered,
        OrderStatus::PaymentFailed,
        OrderStatus::Cancelling,
        OrderStatus::Cancelled,
        OrderStatus::Returned,
        OrderStatus::ManualReview,
    ];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            OrderStatus::Pending => "pending",
            OrderStatus::Reserved => "reserved",
            OrderStatus::Paid => "paid",
            OrderStatus::Confirmed => "confirmed",
            OrderStatus::Shipped => "shipped",
            OrderStatus::Delivered => "delivered",
            OrderStatus::PaymentFailed => "payment_failed",
            OrderStatus::Cancelling => "cancelling",
            OrderStatus::Cancelled => "cancelled",
            OrderStatus::Returned => "returned",
            OrderStatus::ManualReview => "manual_review",
        }
    }

    /// Whether `Prefer: wait` has waited long enough: the order is confirmed or further, or needs
    /// somebody.
    pub const fn answers_a_wait(self) -> bool {
        match self {
            OrderStatus::Pending
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Cancelling => false,
            OrderStatus::Confirmed
            | OrderStatus::Shipped
            | OrderStatus::Delivered
            | OrderStatus::PaymentFailed
            | OrderStatus::Cancelled
            | OrderStatus::Returned
            | OrderStatus::ManualReview => true,
        }
    }

    /// Whether all that was done for the order is undone.
    pub const fn is_undone(self) -> bool {
        matches!(self, OrderStatus::Cancelled | OrderStatus::Returned)
    }

    /// Whether nothing more happens to the order by itself.
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            OrderStatus::Delivered | OrderStatus::Cancelled | OrderStatus::Returned
        )
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// It is the name of no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such status; use one of pending, reserved, paid, confirmed, shipped, delivered, payment_failed, cancelling, cancelled, returned, manual_review"
)]
pub struct NoSuchStatus;

impl FromStr for OrderStatus {
    type Err = NoSuchStatus;

    fn from_str(text: &str) -> Result<OrderStatus, NoSuchStatus> {
        let all = OrderStatus::ALL.into_iter();
        all.clone()
            .find(|status| status.as_str() == text)
            .ok_or(NoSuchStatus)
    }
}

impl TableKey for OrderStatus {
    fn write(&self, out: &mut Vec<u8>) {
        let place = OrderStatus::ALL.iter().position(|status| status == self);
        u8::try_from(place.unwrap_or_default())
            .unwrap_or_default()
            .write(out);
    }

    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        let place = u8::read(from)?;
        OrderStatus::ALL.get(usize::from(place)).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_status_has_one_name_in_json_text_and_keys() {
        for status in OrderStatus::ALL {
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{status}\""));
            assert_eq!(status.as_str().parse(), Ok(status));
            assert_eq!(OrderStatus::from_bytes(&status.to_bytes()), Some(status));
        }
        assert_eq!("lost".parse::<OrderStatus>(), Err(NoSuchStatus));
    }
}
