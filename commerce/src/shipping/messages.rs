//! What the shipping service says, is told and is asked.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{OrderId, ProductId, ShipmentId, UserId};
use crate::inventory::Units;
use crate::order::Address;
use crate::page::{Listing, Page};
use crate::privacy::Sealed;
use crate::time::{rfc3339, rfc3339_option};

/// An order has a parcel that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentCreated {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// Whose.
    pub customer_id: UserId,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A parcel has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentDispatched {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// Whose.
    pub customer_id: UserId,
    /// Who carries it.
    pub carrier: String,
    /// How to follow it.
    pub tracking_number: String,
    /// What is in it.
    pub lines: Vec<Units>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A parcel was seen on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentTrackingUpdated {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// Whose.
    pub customer_id: UserId,
    /// What it is doing.
    pub status: ShipmentStatus,
    /// Where.
    pub location: Option<String>,
    /// In words.
    pub description: Option<String>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A parcel has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentDelivered {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// Whose.
    pub customer_id: UserId,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Nobody took the parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentDeliveryFailed {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// Whose.
    pub customer_id: UserId,
    /// How often it was tried by now.
    pub attempt: u32,
    /// Why.
    pub reason: String,
    /// Whether it goes back; then `ShipmentReturned` follows.
    pub going_back: bool,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// The order's parcel will not leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentCancelled {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel; `None` if there was none yet.
    pub shipment_id: Option<ShipmentId>,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// The order's parcel has left already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentCancellationRefused {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// What has become of it.
    pub status: ShipmentStatus,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// So many of a product came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReturnedItem {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// Whether they can be sold again.
    pub restock: bool,
}

/// A parcel came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentReturned {
    /// Of which order.
    pub order_id: OrderId,
    /// Which parcel.
    pub shipment_id: ShipmentId,
    /// Whose.
    pub customer_id: UserId,
    /// What was in it.
    pub items: Vec<ReturnedItem>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Status of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShipmentStatus {
    /// It waits to be sent.
    Pending,
    /// It has left.
    Dispatched,
    /// The carrier has it.
    InTransit,
    /// It is on the last van.
    OutForDelivery,
    /// Nobody took it; it will be tried again.
    DeliveryFailed,
    /// It has arrived.
    Delivered,
    /// It will not be sent.
    Cancelled,
    /// It came back.
    Returned,
}

/// Sends a parcel off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dispatch {
    /// Which.
    pub shipment_id: ShipmentId,
    /// Who carries it; the shop's usual carrier if not said.
    pub carrier: Option<String>,
    /// How to follow it; a new number, announced to the carrier, if not said.
    pub tracking_number: Option<String>,
}

/// What the carrier can see a parcel do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackStatus {
    /// The carrier has it.
    InTransit,
    /// It is on the last van.
    OutForDelivery,
}

/// Records that a parcel was seen on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Track {
    /// Which.
    pub shipment_id: ShipmentId,
    /// What it is doing.
    pub status: TrackStatus,
    /// Where.
    pub location: Option<String>,
    /// In words.
    pub description: Option<String>,
}

/// Records that nobody took a parcel. The third time it goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordDeliveryAttempt {
    /// Which.
    pub shipment_id: ShipmentId,
    /// Why.
    pub reason: String,
}

/// Records that a parcel has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// Which.
    pub shipment_id: ShipmentId,
}

/// Records that a parcel came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnShipment {
    /// Which.
    pub shipment_id: ShipmentId,
    /// What was in it.
    pub items: Vec<ReturnedItem>,
}

/// One line of a parcel's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it became.
    pub status: ShipmentStatus,
    /// Where.
    pub location: Option<String>,
    /// In words.
    pub description: Option<String>,
}

/// A parcel as the outside sees it, but for its address: sealed here, and opened (`A`) by whoever
/// shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShipmentView<A = Sealed<Address>> {
    /// Its id.
    pub id: ShipmentId,
    /// Of which order.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// What it is doing.
    pub status: ShipmentStatus,
    /// What is in it.
    pub items: Vec<Units>,
    /// Where it goes; `None` once its customer is deleted.
    #[schema(value_type = Option<Address>)]
    pub shipping_address: Option<A>,
    /// Who carries it.
    pub carrier: Option<String>,
    /// How to follow it.
    pub tracking_number: Option<String>,
    /// When it should arrive.
    #[serde(with = "rfc3339_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub estimated_delivery: Option<Timestamp>,
    /// What has happened to it, oldest first.
    pub history: Vec<HistoryEntry>,
    /// When it was created.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl<A> ShipmentView<A> {
    /// The parcel with another form of its address.
    pub fn with_address<B>(self, form: impl FnOnce(A) -> Option<B>) -> ShipmentView<B> {
        ShipmentView {
            id: self.id,
            order_id: self.order_id,
            customer_id: self.customer_id,
            status: self.status,
            items: self.items,
            shipping_address: self.shipping_address.and_then(form),
            carrier: self.carrier,
            tracking_number: self.tracking_number,
            estimated_delivery: self.estimated_delivery,
            history: self.history,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Asks for a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShipmentById {
    /// Which.
    pub shipment_id: ShipmentId,
}

/// Asks for the parcel of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShipmentOfOrder {
    /// Which order.
    pub order_id: OrderId,
}

/// Asks for the parcel of a tracking number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShipmentByTracking {
    /// Which number.
    pub tracking_number: String,
}

/// Asks for the parcels that wait to be sent, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingShipments {
    /// Which part.
    pub page: Page,
}

/// Asks for the parcels that should have arrived by now, longest overdue first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayedShipments {
    /// Which part.
    pub page: Page,
}

event!(ShipmentCreated, "shipment-created", order_id);
event!(ShipmentDispatched, "shipment-dispatched", order_id);
event!(
    ShipmentTrackingUpdated,
    "shipment-tracking-updated",
    order_id
);
event!(ShipmentDelivered, "shipment-delivered", order_id);
event!(ShipmentDeliveryFailed, "shipment-delivery-failed", order_id);
event!(ShipmentCancelled, "shipment-cancelled", order_id);
event!(
    ShipmentCancellationRefused,
    "shipment-cancellation-refused",
    order_id
);
event!(ShipmentReturned, "shipment-returned", order_id);
command!(Dispatch, "dispatch-shipment", shipment_id, ShipmentView);
command!(Track, "track-shipment", shipment_id, ShipmentView);
command!(
    RecordDeliveryAttempt,
    "record-delivery-attempt",
    shipment_id,
    ShipmentView
);
command!(Deliver, "deliver-shipment", shipment_id, ShipmentView);
command!(ReturnShipment, "return-shipment", shipment_id, ShipmentView);
query!(ShipmentById, "shipment-by-id", ShipmentView);
query!(ShipmentOfOrder, "shipment-of-order", ShipmentView);
query!(ShipmentByTracking, "shipment-by-tracking", ShipmentView);
query!(PendingShipments, "pending-shipments", Listing<ShipmentView>);
query!(DelayedShipments, "delayed-shipments", Listing<ShipmentView>);
