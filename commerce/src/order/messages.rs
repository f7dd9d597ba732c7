//! What the order service says: facts about orders, and requests to the services that carry
//! them out.
//!
//! Requests are events with one reader: the order service does not wait for them, their answers
//! come back as events. Asking again is harmless; each answer says which question it is for.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{OrderId, PaymentId, ProductId, RefundId, ShipmentId, UserId};
use crate::inventory::Units;
use crate::money::{Currency, Money};
use crate::order::Address;
use crate::payment::SealedMethod;
use crate::privacy::Sealed;
use crate::time::rfc3339;

/// A line of an order, as it was when the order was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    /// What.
    pub product_id: ProductId,
    /// The product's stock keeping unit.
    pub sku: String,
    /// The product's name.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Money,
}

impl OrderLine {
    /// The line without its price.
    pub fn units(&self) -> Units {
        Units {
            product_id: self.product_id,
            quantity: self.quantity,
        }
    }
}

/// An order was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// Which.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// What was ordered.
    pub lines: Vec<OrderLine>,
    /// What it costs.
    pub total: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// An order is reserved and its payment authorised: it can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// Which.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// What is to be sent.
    pub lines: Vec<Units>,
    /// What it costs.
    pub total: Money,
    /// What pays for it.
    pub payment_id: PaymentId,
    /// Where it goes.
    pub ship_to: Sealed<Address>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// An order is cancelled and everything done for it is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    /// Which.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// Why.
    pub reason: String,
    /// What it would have cost.
    pub total: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// An order is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    /// Which.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// In which parcel.
    pub shipment_id: ShipmentId,
    /// Who carries it.
    pub carrier: String,
    /// How to follow it.
    pub tracking_number: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// An order has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDelivered {
    /// Which.
    pub order_id: OrderId,
    /// Whose.
    pub customer_id: UserId,
    /// In which parcel.
    pub shipment_id: ShipmentId,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A product was put into a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductAddedToCart {
    /// Whose cart.
    pub customer_id: UserId,
    /// What.
    pub product_id: ProductId,
    /// How many are in the cart now.
    pub quantity: u32,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A line of an order was paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductPurchased {
    /// In which order.
    pub order_id: OrderId,
    /// By whom.
    pub customer_id: UserId,
    /// What.
    pub product_id: ProductId,
    /// Its name when it was ordered.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Inventory is to reserve all lines of an order or none. Answered by
/// `InventoryReservationConfirmed` or `InventoryReservationFailed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReservationRequested {
    /// For which order.
    pub order_id: OrderId,
    /// What.
    pub lines: Vec<Units>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Inventory is to release what it holds for an order, now and later. Always answered by
/// `StockReleased` with cause `requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReservationReleased {
    /// For which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Payment is to authorise the order's total. Answered by `PaymentConfirmed` or `PaymentFailed`
/// with the same attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequested {
    /// For which order.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: UserId,
    /// 1 for the first attempt. A higher one replaces those before it.
    pub attempt: u32,
    /// How much.
    pub amount: Money,
    /// With what.
    pub method: SealedMethod,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Payment is to give back what the order has cost, whatever has become of it by now. Answered by
/// `PaymentRefunded` with the same `refund_id`, or by `PaymentRefundFailed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundRequested {
    /// For which order.
    pub order_id: OrderId,
    /// Who had paid.
    pub customer_id: UserId,
    /// Which return; see [`RefundId::of_whole_order`].
    pub refund_id: RefundId,
    /// How much of what was captured. `None`: all that is left, and nothing may be authorised or
    /// captured for this order from now on.
    pub amount: Option<Money>,
    /// The currency of the order.
    pub currency: Currency,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Shipping is to keep an order from leaving. Answered by `ShipmentCancelled` or
/// `ShipmentCancellationRefused`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShipmentCancellationRequested {
    /// Which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

event!(OrderCreated, "order-created", order_id);
event!(OrderConfirmed, "order-confirmed", order_id);
event!(OrderCancelled, "order-cancelled", order_id);
event!(OrderShipped, "order-shipped", order_id);
event!(OrderDelivered, "order-delivered", order_id);
event!(ProductAddedToCart, "product-added-to-cart", customer_id);
event!(ProductPurchased, "product-purchased", order_id);
event!(
    InventoryReservationRequested,
    "inventory-reservation-requested",
    order_id
);
event!(
    InventoryReservationReleased,
    "inventory-reservation-released",
    order_id
);
event!(PaymentRequested, "payment-requested", order_id);
event!(PaymentRefundRequested, "payment-refund-requested", order_id);
event!(
    ShipmentCancellationRequested,
    "shipment-cancellation-requested",
    order_id
);
