//! What is counted, by which handler, and that counting again changes nothing.
#![allow(clippy::unwrap_used)]

mod answers;
mod folding;
mod handlers;
mod rebuilding;
mod running;

use redeliver::Timestamp;
use redeliver::testing::ServiceKit;
use uuid::Uuid;

use super::figures::{Figures, Revenue};
use super::tables::{ACCOUNTS, BOOKS, Books, DAYS, MONTHS};
use super::{Analytics, Day};
use crate::catalog::ProductViewed;
use crate::ids::{OrderId, PaymentId, ProductId, RefundId, ShipmentId, UserId};
use crate::inventory::{AdjustmentReason, StockAdjusted, Units};
use crate::money::{Currency, Money};
use crate::order::{
    Address, OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered, OrderLine,
    ProductAddedToCart, ProductPurchased,
};
use crate::payment::{PaymentCompleted, PaymentRefunded, RefundKind};
use crate::privacy::{Keyring, Sealed};
use crate::time::from_rfc3339;

type Kit = ServiceKit<Analytics>;

fn kit() -> Kit {
    ServiceKit::of(Analytics::default())
}

fn at(text: &str) -> Timestamp {
    from_rfc3339(text).unwrap()
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

const NOON: &str = "2026-03-01T12:00:00Z";

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(1_000 + n))
}

fn product(n: u128) -> ProductId {
    ProductId(Uuid::from_u128(2_000 + n))
}

fn customer(n: u128) -> UserId {
    UserId(Uuid::from_u128(3_000 + n))
}

const fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn pounds(amount: i64) -> Money {
    Money::new(amount, "GBP".parse().unwrap())
}

fn created(lines: u128, when: &str) -> OrderCreated {
    let line = |n| OrderLine {
        product_id: product(n),
        sku: format!("SKU-{n}"),
        name: format!("Product {n}"),
        quantity: 2,
        unit_price: eur(50),
    };
    OrderCreated {
        order_id: order(1),
        customer_id: customer(1),
        lines: (1..=lines).map(line).collect(),
        total: eur(100),
        at: at(when),
    }
}

fn sealed_address() -> Sealed<Address> {
    let keyring = Keyring::in_memory(1);
    keyring.create(customer(1)).unwrap();
    let address = Address {
        recipient: "A".into(),
        line1: "B".into(),
        line2: None,
        city: "C".into(),
        region: None,
        postal_code: "1".into(),
        country: "DE".into(),
    };
    keyring.seal(customer(1), &address).unwrap()
}

fn confirmed(when: &str) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order(1),
        customer_id: customer(1),
        lines: vec![Units {
            product_id: product(1),
            quantity: 2,
        }],
        total: eur(100),
        payment_id: PaymentId(Uuid::from_u128(8)),
        ship_to: sealed_address(),
        at: at(when),
    }
}

fn cancelled(when: &str) -> OrderCancelled {
    OrderCancelled {
        order_id: order(1),
        customer_id: customer(1),
        reason: "changed my mind".into(),
        total: eur(100),
        at: at(when),
    }
}

fn delivered(when: &str) -> OrderDelivered {
    OrderDelivered {
        order_id: order(1),
        customer_id: customer(1),
        shipment_id: ShipmentId(Uuid::from_u128(9)),
        at: at(when),
    }
}

fn captured(of: u128, money: Money, when: &str) -> PaymentCompleted {
    PaymentCompleted {
        order_id: order(1),
        payment_id: PaymentId(Uuid::from_u128(8)),
        customer_id: customer(of),
        captured: money,
        at: at(when),
    }
}

fn refunded(kind: RefundKind, money: Money, when: &str) -> PaymentRefunded {
    PaymentRefunded {
        order_id: order(1),
        payment_id: Some(PaymentId(Uuid::from_u128(8))),
        customer_id: customer(1),
        refund_id: RefundId::of_whole_order(order(1)),
        kind,
        amount: money,
        at: at(when),
    }
}

fn viewed(n: u128, when: &str) -> ProductViewed {
    ProductViewed {
        product_id: product(n),
        user_id: None,
        at: at(when),
    }
}

fn added(n: u128, when: &str) -> ProductAddedToCart {
    ProductAddedToCart {
        customer_id: customer(1),
        product_id: product(n),
        quantity: 3,
        at: at(when),
    }
}

fn purchased(n: u128, quantity: u32, price: Money, when: &str) -> ProductPurchased {
    ProductPurchased {
        order_id: order(1),
        customer_id: customer(1),
        product_id: product(n),
        name: format!("Product {n}"),
        quantity,
        unit_price: price,
        at: at(when),
    }
}

fn adjusted(n: u128, delta: i64, when: &str) -> StockAdjusted {
    StockAdjusted {
        product_id: product(n),
        delta,
        on_hand: 0,
        available: 0,
        reason: AdjustmentReason::Corrected,
        order_id: None,
        at: at(when),
    }
}

fn books(kit: &mut Kit) -> Books {
    let none = Books::empty(Currency::EUR);
    kit.get(BOOKS, &()).unwrap_or(none)
}

/// What the live generation says of a day.
fn figures(kit: &mut Kit, text: &str) -> Figures {
    let live = books(kit).live;
    kit.get(DAYS, &(live, day(text))).unwrap_or_default()
}

/// What it says of the month of a day.
fn month(kit: &mut Kit, text: &str) -> Figures {
    let live = books(kit).live;
    kit.get(MONTHS, &(live, day(text).month()))
        .unwrap_or_default()
}

fn account(kit: &mut Kit, n: u128) -> Revenue {
    let live = books(kit).live;
    kit.get(ACCOUNTS, &(live, customer(n))).unwrap_or_default()
}
