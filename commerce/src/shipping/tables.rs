//! What the shipping service keeps.

use redeliver::{Index, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::{HistoryEntry, ShipmentStatus, Units};
use crate::ids::{OrderId, ShipmentId, UserId};
use crate::order::Address;
use crate::privacy::Sealed;

/// Parcels.
pub const SHIPMENTS: Table<ShipmentId, Shipment> = Table::new("shipments");

/// Parcels by what they are doing, oldest first.
pub const SHIPMENTS_BY_STATUS: Index<(u8, Timestamp), ShipmentId, Shipment> =
    Index::new("shipments_by_status", SHIPMENTS, |_id, shipment| {
        Some((status_number(shipment.status), shipment.created_at))
    });

/// Parcels by tracking number.
pub const SHIPMENTS_BY_TRACKING: Index<String, ShipmentId, Shipment> =
    Index::new("shipments_by_tracking", SHIPMENTS, |_id, shipment| {
        shipment.tracking_number.clone()
    });

/// Parcels on their way by when they should arrive.
pub const SHIPMENTS_BY_ARRIVAL: Index<Timestamp, ShipmentId, Shipment> =
    Index::new("shipments_by_arrival", SHIPMENTS, |_id, shipment| {
        shipment
            .estimated_delivery
            .filter(|_| shipment.is_under_way())
    });

/// The parcel of an order, or that there will be none.
pub const SHIPMENTS_BY_ORDER: Table<OrderId, ParcelOfOrder> = Table::new("shipments_by_order");

/// What has happened to a parcel, by parcel and number.
pub const SHIPMENT_HISTORY: Table<(ShipmentId, u32), HistoryEntry> = Table::new("shipment_history");

/// A parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// Of which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// What is in it.
    pub lines: Vec<Units>,
    /// Where it goes.
    pub ship_to: Sealed<Address>,
    /// What it is doing.
    pub status: ShipmentStatus,
    /// Who carries it.
    pub carrier: Option<String>,
    /// How to follow it.
    pub tracking_number: Option<String>,
    /// When it should arrive.
    pub estimated_delivery: Option<Timestamp>,
    /// How often nobody took it.
    pub delivery_failures: u32,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
    /// Entries of its history.
    pub history: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// The parcel of an order, or that there will be none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParcelOfOrder {
    /// This one.
    Parcel(ShipmentId),
    /// None, ever: the order was cancelled before it was confirmed here. Kept 30 days.
    None {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: String,
    },
}

impl Shipment {
    /// Whether it has left and not arrived.
    pub fn is_under_way(&self) -> bool {
        match self.status {
            ShipmentStatus::Dispatched
            | ShipmentStatus::InTransit
            | ShipmentStatus::OutForDelivery
            | ShipmentStatus::DeliveryFailed => true,
            ShipmentStatus::Pending
            | ShipmentStatus::Delivered
            | ShipmentStatus::Cancelled
            | ShipmentStatus::Returned => false,
        }
    }
}

/// A status in the index; stored, so a number never changes its meaning.
pub const fn status_number(status: ShipmentStatus) -> u8 {
    match status {
        ShipmentStatus::Pending => 0,
        ShipmentStatus::Dispatched => 1,
        ShipmentStatus::InTransit => 2,
        ShipmentStatus::OutForDelivery => 3,
        ShipmentStatus::DeliveryFailed => 4,
        ShipmentStatus::Delivered => 5,
        ShipmentStatus::Cancelled => 6,
        ShipmentStatus::Returned => 7,
    }
}
