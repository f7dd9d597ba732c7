//! What the order service keeps.
//!
//! What never changes of an order (its lines, its total, its address) has a table of its own:
//! the rows that change with every step stay small.

use redeliver::{Index, Table, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{OrderId, PaymentId, ProductId, ShipmentId, UserId};
use crate::money::Money;
use crate::order::cart::Cart;
use crate::order::requests::{ListedProduct, OrderView, TimelineEntry};
use crate::order::{Address, OrderLine, OrderStatus};
use crate::privacy::Sealed;

/// Orders: what changes of them.
pub const ORDERS: Table<OrderId, Order> = Table::new("orders");

/// Orders of a customer.
pub const ORDERS_BY_CUSTOMER: Index<UserId, OrderId, Order> =
    Index::new("orders_by_customer", ORDERS, |_, order| {
        Some(order.customer_id)
    });

/// Orders of a status.
pub const ORDERS_BY_STATUS: Index<OrderStatus, OrderId, Order> =
    Index::new("orders_by_status", ORDERS, |_, order| Some(order.status()));

/// Orders of a customer and a status.
pub const ORDERS_BY_CUSTOMER_AND_STATUS: Index<(UserId, OrderStatus), OrderId, Order> =
    Index::new("orders_by_customer_and_status", ORDERS, |_, order| {
        Some((order.customer_id, order.status()))
    });

/// Orders: what was fixed when they were accepted.
pub const ORDER_FACTS: Table<OrderId, OrderFacts> = Table::new("order_facts");

/// What has happened to each order, by order and number.
pub const TIMELINE: Table<(OrderId, u32), Entry> = Table::new("order_timeline");

/// What users mean to order. One row a user, kept as long as the user: its version must not begin
/// again.
pub const CARTS: Table<UserId, Cart> = Table::new("carts");

/// Users who are deleted: nothing is ordered for them any more, however late it is asked.
pub const DELETED_CUSTOMERS: Table<UserId, Timestamp> = Table::new("deleted_customers");

/// The price list.
pub const PRICES: Table<ProductId, Price> = Table::new("prices");

/// What changes of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whose it is.
    pub customer_id: UserId,
    /// How far it is; hidden while a person must look.
    pub progress: OrderStatus,
    /// Why a person must look.
    pub reviews: Reviews,
    /// What pays for it.
    pub payment_id: Option<PaymentId>,
    /// How often its payment was asked for.
    pub payment_attempts: u32,
    /// Why the last attempt failed.
    pub payment_failure: Option<String>,
    /// In which parcel it goes.
    pub shipment_id: Option<ShipmentId>,
    /// Why it is being cancelled, or was.
    pub cancel_reason: Option<String>,
    /// Its parcel has left: it cannot be cancelled any more.
    pub dispatched: bool,
    /// That it is on its way was published.
    pub shipped: bool,
    /// Its money was taken, and its lines were published as purchased.
    pub charged: bool,
    /// Its money goes back after its parcel had left.
    pub take_back: Option<TakeBack>,
    /// Entries of its timeline, those included that are gone.
    pub entries: u32,
    /// One more with each change.
    pub version: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// Why a person must look at an order. Each has its own way out; they are resolved in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reviews {
    /// A step could not be undone.
    pub undo: Option<String>,
    /// The money did not go back after the parcel had left.
    pub refund: Option<String>,
    /// The money could not be taken although the parcel had left.
    pub capture: Option<String>,
}

/// Money that goes back after the parcel had left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeBack {
    /// What for.
    pub purpose: TakeBackFor,
    /// How often it was asked for since `since`.
    pub sends: u32,
    /// When it was asked for first, or first again after a review.
    pub since: Timestamp,
    /// Whether the money is back.
    pub settled: bool,
}

/// Why money goes back after the parcel had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TakeBackFor {
    /// The parcel came back.
    Return,
    /// It could not be charged, and a person gave it up.
    WriteOff,
}

/// What was fixed when an order was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderFacts {
    /// What was ordered, at the prices of that time.
    pub lines: Vec<OrderLine>,
    /// What it costs.
    pub total: Money,
    /// Where it goes.
    pub ship_to: Sealed<Address>,
}

/// One thing that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is shown of it.
    pub shown: TimelineEntry,
    /// The message whose turn wrote it.
    pub turn: Uuid,
}

/// A product's entry on the price list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What one costs now.
    pub price: Money,
    /// Whether it can be ordered.
    pub published: bool,
}

impl Order {
    /// An order that was just accepted.
    pub fn new(customer_id: UserId, now: Timestamp) -> Order {
        Order {
            customer_id,
            progress: OrderStatus::Pending,
            reviews: Reviews::default(),
            payment_id: None,
            payment_attempts: 0,
            payment_failure: None,
            shipment_id: None,
            cancel_reason: None,
            dispatched: false,
            shipped: false,
            charged: false,
            take_back: None,
            entries: 0,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// Its status.
    pub fn status(&self) -> OrderStatus {
        match self.reviews.first() {
            Some(_) => OrderStatus::ManualReview,
            None => self.progress,
        }
    }

    /// Whether it is cancelled, or will be by somebody's decision although its parcel has left.
    pub fn is_given_up(&self) -> bool {
        let written_off = |back: &TakeBack| back.purpose == TakeBackFor::WriteOff;
        self.progress == OrderStatus::Cancelled || self.take_back.as_ref().is_some_and(written_off)
    }

    /// As the outside sees it.
    pub fn view(self, id: OrderId, facts: OrderFacts) -> OrderView {
        OrderView {
            id,
            customer_id: self.customer_id,
            status: self.status(),
            items: facts.lines,
            total: facts.total,
            shipping_address: Some(facts.ship_to),
            payment_id: self.payment_id,
            payment_attempts: self.payment_attempts,
            payment_failure: self.payment_failure,
            shipment_id: self.shipment_id,
            cancel_reason: self.cancel_reason,
            review_reason: self.reviews.first().map(|(_, reason)| reason.to_owned()),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// What a review is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewOf {
    /// A step could not be undone.
    Undo,
    /// The money did not go back after the parcel had left.
    Refund,
    /// The money could not be taken although the parcel had left.
    Capture,
}

impl Reviews {
    /// The one that is resolved next, and its reason.
    pub fn first(&self) -> Option<(ReviewOf, &str)> {
        let undo = self.undo.as_deref().map(|why| (ReviewOf::Undo, why));
        let refund = || self.refund.as_deref().map(|why| (ReviewOf::Refund, why));
        let capture = || self.capture.as_deref().map(|why| (ReviewOf::Capture, why));
        undo.or_else(refund).or_else(capture)
    }
}

impl TakeBack {
    /// Whether the money is still on its way back.
    pub fn is_open(&self) -> bool {
        !self.settled
    }
}

impl Price {
    /// As the outside sees it.
    pub fn view(self, product_id: ProductId) -> ListedProduct {
        ListedProduct {
            product_id,
            sku: self.sku,
            name: self.name,
            price: self.price,
            published: self.published,
        }
    }
}
