//! What the inventory service keeps.

use redeliver::{Index, Table, TimerId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, ProductId};
use crate::inventory::stock::Stock;
use crate::inventory::{AdjustmentReason, ReservationStatus, Units};

/// Stock by product.
pub const STOCK: Table<ProductId, Stock> = Table::new("stock");

/// Products whose stock is at or below its reorder level.
pub const LOW_STOCK: Index<(), ProductId, Stock> =
    Index::new("stock_low", STOCK, |_product, stock| {
        stock.low.then_some(())
    });

/// Reservations by order. One that is over stays for 30 days: one that was given up refuses a
/// request that comes late.
pub const RESERVATIONS: Table<OrderId, Reservation> = Table::new("reservations");

/// What is reserved of a product, by product and order; its status is the reservation's.
pub const RESERVED_OF_PRODUCT: Table<(ProductId, OrderId), u32> = Table::new("reserved_of_product");

/// Every change of the number on hand, by product and number of the change.
pub const STOCK_LEDGER: Table<(ProductId, u64), LedgerEntry> = Table::new("stock_ledger");

/// What an order holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// What, each product once.
    pub lines: Vec<Units>,
    /// Whether it still holds it.
    pub status: ReservationStatus,
    /// Whether its order has given it up, also after it had expired: nothing is reserved for that
    /// order any more.
    pub given_up: bool,
    /// Until when, while it is active.
    pub expires_at: Option<Timestamp>,
    /// Wakes the service at that time.
    pub timer: Option<TimerId>,
    /// Last change.
    pub updated_at: Timestamp,
}

impl Reservation {
    /// Whether its units count as reserved.
    pub fn holds(&self) -> bool {
        match self.status {
            ReservationStatus::Active | ReservationStatus::Committed => true,
            ReservationStatus::Deducted
            | ReservationStatus::Released
            | ReservationStatus::Expired => false,
        }
    }
}

/// One change of the number on hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// By how many.
    pub delta: i64,
    /// To how many.
    pub on_hand: u64,
    /// Why.
    pub reason: AdjustmentReason,
    /// For which order, if for one.
    pub order_id: Option<OrderId>,
    /// When.
    pub at: Timestamp,
}
