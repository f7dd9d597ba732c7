//! What the inventory service says, is told and is asked.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{OrderId, ProductId};
use crate::page::{Listing, Page};
use crate::time::{rfc3339, rfc3339_option};

/// So many of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Units {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
}

/// All lines of an order are reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReservationConfirmed {
    /// For which order.
    pub order_id: OrderId,
    /// What.
    pub lines: Vec<Units>,
    /// Until when, unless the order is confirmed before; `None` once it does not expire.
    #[serde(with = "rfc3339_option")]
    pub expires_at: Option<Timestamp>,
    /// Whether a confirmed order got its expired reservation back. No answer to a request.
    pub renewed: bool,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Why an order could not be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationFailure {
    /// There is not enough.
    Short,
    /// The order had been released before.
    Released,
    /// The request has no lines, or quantities that cannot be added up.
    Invalid,
}

/// A line that is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// What.
    pub product_id: ProductId,
    /// How many were asked for.
    pub requested: u64,
    /// How many there are.
    pub available: u64,
}

/// Nothing of an order is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReservationFailed {
    /// For which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: ReservationFailure,
    /// Every line that is short.
    pub short: Vec<Shortfall>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A reservation was not confirmed in time; its stock is free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReservationExpired {
    /// For which order.
    pub order_id: OrderId,
    /// What.
    pub lines: Vec<Units>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Why the number on hand changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentReason {
    /// Goods came in.
    Received,
    /// Somebody counted.
    Corrected,
    /// Goods broke.
    Damaged,
    /// A customer sent goods back.
    Returned,
    /// Goods left for an order.
    Deducted,
}

/// The number on hand changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    /// Of what.
    pub product_id: ProductId,
    /// By how many.
    pub delta: i64,
    /// To how many.
    pub on_hand: u64,
    /// How many of them nobody has reserved.
    pub available: u64,
    /// Why.
    pub reason: AdjustmentReason,
    /// For which order, if for one.
    pub order_id: Option<OrderId>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// The goods of an order have left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockDeducted {
    /// For which order.
    pub order_id: OrderId,
    /// What.
    pub lines: Vec<Units>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Why reserved stock became free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// The order service asked; this is its answer, also when nothing was reserved.
    Requested,
    /// The reservation's time ran out.
    Expired,
}

/// Reserved stock is free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    /// Of which order.
    pub order_id: OrderId,
    /// What; empty if nothing was reserved.
    pub lines: Vec<Units>,
    /// Why.
    pub cause: ReleaseCause,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// What is available of a product has come down to its reorder level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LowStockAlert {
    /// Of what.
    pub product_id: ProductId,
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// How many are available.
    pub available: u64,
    /// The level it has reached.
    pub reorder_level: u64,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Says at how many available ones it is time to reorder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetReorderLevel {
    /// Of what.
    pub product_id: ProductId,
    /// At how many.
    pub reorder_level: u64,
}

/// Changes the number on hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    /// Of what.
    pub product_id: ProductId,
    /// By how many.
    pub delta: i64,
    /// Why; `deducted` is for dispatches alone.
    pub reason: AdjustmentReason,
}

/// A product's stock as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductStock {
    /// Of what.
    pub product_id: ProductId,
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// How many there are.
    pub on_hand: u64,
    /// How many of them are reserved.
    pub reserved: u64,
    /// How many are not.
    pub available: u64,
    /// At how many available ones it is time to reorder.
    pub reorder_level: u64,
}

/// Status of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// Held until it expires.
    Active,
    /// The order is confirmed: held until it leaves.
    Committed,
    /// It has left.
    Deducted,
    /// Free again on request.
    Released,
    /// Free again because time ran out.
    Expired,
}

/// What is reserved of one product for one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReservationView {
    /// For which order.
    pub order_id: OrderId,
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
    /// What has become of it.
    pub status: ReservationStatus,
    /// Until when it is held; `None` if it does not expire.
    #[serde(with = "rfc3339_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// Asks for the stock of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockOfProduct {
    /// Which.
    pub product_id: ProductId,
}

/// Asks for the stock of all products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockList {
    /// Which part.
    pub page: Page,
}

/// Asks for the products at or below their reorder level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LowStock {
    /// Which part.
    pub page: Page,
}

/// Asks for what is reserved of a product, and was in the last 30 days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationsOfProduct {
    /// Which product.
    pub product_id: ProductId,
    /// Which part.
    pub page: Page,
}

event!(
    InventoryReservationConfirmed,
    "inventory-reservation-confirmed",
    order_id
);
event!(
    InventoryReservationFailed,
    "inventory-reservation-failed",
    order_id
);
event!(
    InventoryReservationExpired,
    "inventory-reservation-expired",
    order_id
);
event!(StockAdjusted, "stock-adjusted", product_id);
event!(StockDeducted, "stock-deducted", order_id);
event!(StockReleased, "stock-released", order_id);
event!(LowStockAlert, "low-stock-alert", product_id);
command!(
    SetReorderLevel,
    "set-reorder-level",
    product_id,
    ProductStock
);
command!(AdjustStock, "adjust-stock", product_id, ProductStock);
query!(StockOfProduct, "stock-of-product", ProductStock);
query!(StockList, "stock-list", Listing<ProductStock>);
query!(LowStock, "low-stock", Listing<ProductStock>);
query!(
    ReservationsOfProduct,
    "reservations-of-product",
    Listing<ReservationView>
);
