//! The shipping service: the parcel of each order, from its creation to its delivery or return.

pub mod messages;

pub use messages::{
    DelayedShipments, Deliver, Dispatch, HistoryEntry, PendingShipments, RecordDeliveryAttempt,
    ReturnShipment, ReturnedItem, ShipmentById, ShipmentByTracking, ShipmentCancellationRefused,
    ShipmentCancelled, ShipmentCreated, ShipmentDelivered, ShipmentDeliveryFailed,
    ShipmentDispatched, ShipmentOfOrder, ShipmentReturned, ShipmentStatus, ShipmentTrackingUpdated,
    ShipmentView, Track, TrackStatus,
};
