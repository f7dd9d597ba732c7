//! The shipping service: the parcel of each order, from its creation to its delivery or return.
//!
//! A confirmed order gets one parcel, and a person sends it off. Until then it can be cancelled;
//! from then on a cancellation is refused, and exactly one of the two is true of every order.
//!
//! Of persons it keeps the customer's id and, sealed, where the parcel goes. A deletion destroys
//! the key of that, so this service does not have to hear of it: the parcel shows no address any
//! more, and goes on.

pub mod carrier;
pub mod messages;
pub mod orders;
pub mod queries;
pub mod service;
pub mod status;
pub mod tables;

pub use carrier::{Carrier, SimulatedCarrier};
pub use messages::{
    DelayedShipments, Deliver, Dispatch, HistoryEntry, PendingShipments, RecordDeliveryAttempt,
    ReturnShipment, ReturnedItem, ShipmentById, ShipmentByTracking, ShipmentCancellationRefused,
    ShipmentCancelled, ShipmentCreated, ShipmentDelivered, ShipmentDeliveryFailed,
    ShipmentDispatched, ShipmentOfOrder, ShipmentReturned, ShipmentStatus, ShipmentTrackingUpdated,
    ShipmentView, Track, TrackStatus,
};
pub use service::Shipping;

use crate::inventory::Units;

#[cfg(test)]
mod tests;
