//! What the payment service keeps.

use redeliver::{Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::record::PaymentRecord;
use crate::ids::{OrderId, PaymentId, UserId};

/// Payments with all their attempts, captures and refunds. Financial records: they stay.
pub const PAYMENTS: Table<PaymentId, PaymentRecord> = Table::new("payments");

/// The payment of an order.
pub const PAYMENTS_BY_ORDER: Table<OrderId, PaymentId> = Table::new("payments_by_order");

/// Orders that were undone before a payment was asked for; kept 30 days against a request that
/// comes late.
pub const UNDONE_ORDERS: Table<OrderId, UndoneOrder> = Table::new("payment_undone_orders");

/// Provider's event ids that were applied, with when; kept 30 days.
pub const WEBHOOKS_SEEN: Table<String, Timestamp> = Table::new("payment_webhooks_seen");

/// An order that was undone before a payment was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneOrder {
    /// Whose.
    pub customer_id: UserId,
    /// When.
    pub at: Timestamp,
}
