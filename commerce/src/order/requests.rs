//! What the order service is told and asked.
//!
//! A request that a customer makes carries the customer's id as `customer_id`: it then finds only
//! that customer's orders, and others look as if they did not exist. `None` is for the shop's own
//! people.

use redeliver::{Resolve, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{OrderId, PaymentId, ProductId, ShipmentId, UserId};
use crate::money::Money;
use crate::order::status::OrderStatus;
use crate::order::{Address, OrderLine};
use crate::page::{Listing, Page};
use crate::payment::SealedMethod;
use crate::privacy::Sealed;
use crate::time::rfc3339;

/// Orders goods. Accepted, the order is `pending` and everything else follows by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// Who orders.
    pub customer_id: UserId,
    /// What: 1 to 100 products, each once.
    pub items: Vec<OrderItem>,
    /// Where it goes.
    pub shipping_address: Sealed<Address>,
    /// What pays for it.
    pub payment_method: SealedMethod,
    /// What the customer thinks that it costs; if said, the order is refused when it is not so.
    pub expected_total: Option<Money>,
}

/// So many of a product, as they are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderItem {
    /// What.
    pub product_id: ProductId,
    /// How many: 1 to 999. Wider than that, so that the answer to a wrong one names the rule.
    pub quantity: i64,
}

/// Cancels an order. What has been done for it is undone step by step; the order is `cancelling`
/// until that is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// Which.
    pub order_id: OrderId,
    /// Whose it must be.
    pub customer_id: Option<UserId>,
    /// The versions of which it must have one, if said; an empty list fits no order.
    pub if_version: Option<Vec<u64>>,
    /// Why.
    pub reason: String,
}

/// Tries again to pay for an order whose payment has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPayment {
    /// Which order.
    pub order_id: OrderId,
    /// Whose it must be.
    pub customer_id: Option<UserId>,
    /// The versions of which it must have one, if said; an empty list fits no order.
    pub if_version: Option<Vec<u64>>,
    /// With what.
    pub payment_method: SealedMethod,
}

/// Ends the review of an order as a person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveOrder {
    /// Which order.
    pub order_id: OrderId,
    /// The versions of which it must have one, if said; an empty list fits no order.
    pub if_version: Option<Vec<u64>>,
    /// What is to be done.
    pub action: Resolve,
    /// Why.
    pub reason: String,
}

/// A product's entry on the price list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedProduct {
    /// Which product.
    pub product_id: ProductId,
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What one costs now.
    pub price: Money,
    /// Whether it can be ordered.
    pub published: bool,
}

/// An order as the outside sees it, but for its address: sealed here, and opened (`A`) by whoever
/// shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderView<A = Sealed<Address>> {
    /// Its id.
    pub id: OrderId,
    /// Whose it is.
    pub customer_id: UserId,
    /// What has become of it.
    pub status: OrderStatus,
    /// What was ordered, at the prices of that time.
    pub items: Vec<OrderLine>,
    /// What it costs.
    pub total: Money,
    /// Where it goes; `None` once its customer is deleted.
    #[schema(value_type = Option<Address>)]
    pub shipping_address: Option<A>,
    /// What pays for it.
    pub payment_id: Option<PaymentId>,
    /// How often its payment was tried.
    pub payment_attempts: u32,
    /// Why the last try failed, if it did.
    pub payment_failure: Option<String>,
    /// In which parcel it goes.
    pub shipment_id: Option<ShipmentId>,
    /// Why it is or was cancelled.
    pub cancel_reason: Option<String>,
    /// Why a person must look at it, while one must.
    pub review_reason: Option<String>,
    /// 1 for a new order, one more with each change.
    pub version: u64,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl<A> OrderView<A> {
    /// The order with another form of its address.
    pub fn with_address<B>(self, form: impl FnOnce(A) -> Option<B>) -> OrderView<B> {
        OrderView {
            id: self.id,
            customer_id: self.customer_id,
            status: self.status,
            items: self.items,
            total: self.total,
            shipping_address: self.shipping_address.and_then(form),
            payment_id: self.payment_id,
            payment_attempts: self.payment_attempts,
            payment_failure: self.payment_failure,
            shipment_id: self.shipment_id,
            cancel_reason: self.cancel_reason,
            review_reason: self.review_reason,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// Asks for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderById {
    /// Which.
    pub order_id: OrderId,
    /// Whose it must be.
    pub customer_id: Option<UserId>,
}

/// Asks for a product's entry on the price list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceOfProduct {
    /// Which product.
    pub product_id: ProductId,
}

/// Asks for orders, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersList {
    /// Whose; everybody's if not said.
    pub customer_id: Option<UserId>,
    /// Only these.
    pub status: Option<OrderStatus>,
    /// Which part.
    pub page: Page,
}

/// Asks what has happened to an order, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineOfOrder {
    /// Which order.
    pub order_id: OrderId,
    /// Whose it must be.
    pub customer_id: Option<UserId>,
    /// Which part.
    pub page: Page,
}

/// One thing that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// When.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Which service it came from.
    pub service: String,
    /// Wire name of the message that said it; `deadline` when time was up.
    pub message: String,
    /// Status before; `None` if the order began with it.
    pub from: Option<OrderStatus>,
    /// Status after.
    pub to: OrderStatus,
    /// In words.
    pub detail: Option<String>,
}

command!(PlaceOrder, "place-order", customer_id, OrderView);
command!(CancelOrder, "cancel-order", order_id, OrderView);
command!(RetryPayment, "retry-payment", order_id, OrderView);
command!(ResolveOrder, "resolve-order", order_id, OrderView);
query!(OrderById, "order-by-id", OrderView);
query!(OrdersList, "orders-list", Listing<OrderView>);
query!(PriceOfProduct, "price-of-product", ListedProduct);
query!(TimelineOfOrder, "timeline-of-order", Listing<TimelineEntry>);
