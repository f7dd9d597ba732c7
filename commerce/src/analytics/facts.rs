//! Facts: what is kept of an event, for as long as the shop exists.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{OrderId, ProductId, UserId};

/// What is kept of one event. The order of the variants is stored: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The event's own time.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// What happened. Amounts are minor units of the currency of the [`Books`](super::tables::Books).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// An order was accepted.
    Created {
        /// Which.
        order: OrderId,
        /// Whose.
        customer: UserId,
        /// How many different products.
        lines: u32,
        /// What it costs.
        total: i64,
    },
    /// An order can be sent.
    Confirmed {
        /// Which.
        order: OrderId,
    },
    /// An order is cancelled.
    Cancelled {
        /// Which.
        order: OrderId,
    },
    /// An order has arrived.
    Delivered {
        /// Which.
        order: OrderId,
    },
    /// Money was taken.
    Captured {
        /// For which order.
        order: OrderId,
        /// Whose.
        customer: UserId,
        /// How much.
        amount: i64,
    },
    /// Money was paid back.
    Refunded {
        /// Of which order.
        order: OrderId,
        /// To whom.
        customer: UserId,
        /// How much.
        amount: i64,
    },
    /// Money that was held is free again: no revenue either way.
    Voided {
        /// Of which order.
        order: OrderId,
    },
    /// Somebody looked at a product.
    Viewed {
        /// Which.
        product: ProductId,
        /// Who, if signed in.
        user: Option<UserId>,
    },
    /// A product was put into a cart.
    AddedToCart {
        /// Which.
        product: ProductId,
        /// Whose.
        customer: UserId,
        /// How many are in it now.
        quantity: u32,
    },
    /// A line of an order was paid for.
    Purchased {
        /// Of which order.
        order: OrderId,
        /// What.
        product: ProductId,
        /// Its name when it was ordered.
        name: String,
        /// How many.
        quantity: u32,
        /// The price of one.
        unit_price: i64,
    },
    /// The number on hand changed.
    Stock {
        /// Of what.
        product: ProductId,
        /// By how many.
        delta: i64,
    },
}
