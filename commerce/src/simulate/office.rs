//! The office: furnishes the shop, keeps it in stock, changes prices, pays back, decides.

use std::sync::Arc;

use redeliver::Resolve;
use redeliver::prelude::*;
use redeliver::testing::Client;
use uuid::Uuid;

use super::Town;
use super::people::one_of;
use crate::catalog::{Catalog, ChangePrice, CreateCategory, CreateProduct, PublishProduct};
use crate::ids::{CategoryId, OrderId, ProductId};
use crate::inventory::{AdjustStock, AdjustmentReason, Inventory, StockOfProduct};
use crate::money::{Currency, Money};
use crate::order::{OrderById, OrderStatus, Orders, ResolveOrder};
use crate::payment::{Payment, PaymentOfOrder, RefundPayment};

/// A product of the shop.
pub(super) struct Product {
    pub(super) id: ProductId,
    pub(super) name: &'static str,
    pub(super) price: i64,
}

const fn product(number: u128, name: &'static str, price: i64) -> Product {
    Product {
        id: ProductId(Uuid::from_u128(number)),
        name,
        price,
    }
}

/// What the shop sells.
pub(super) const PRODUCTS: [Product; 4] = [
    product(11, "mug", 999),
    product(12, "lamp", 4_950),
    product(13, "chair", 12_900),
    product(14, "spoon", 250),
];
const SHELF: CategoryId = CategoryId(Uuid::from_u128(21));
/// How many of each product there are at first.
const STOCKED: i64 = 30;

/// Opens the shop, then looks after it until the time is over.
pub(super) async fn clerk(client: Client, town: Arc<Town>) {
    furnish(&client, &town).await;
    town.told.acts().open = true;
    while !client.is_over() {
        client.sleep(client.up_to(seconds(40))).await;
        let place = usize::try_from(client.below(PRODUCTS.len() as u64)).unwrap_or(0);
        let product = &PRODUCTS[place];
        match client.below(10) {
            0..=4 => restock(&client, &town, product).await,
            5 => {
                let price = product.price + i64::try_from(client.below(100)).unwrap_or(0);
                let change = ChangePrice {
                    product_id: product.id,
                    if_version: None,
                    price: Money::new(price, Currency::EUR),
                };
                let _ = client.call::<Catalog, _>(change).await;
            }
            6 => pay_back(&client, &town).await,
            _ => decide(&client, &town).await,
        }
    }
}

async fn furnish(client: &Client, town: &Town) {
    let shelf = CreateCategory {
        category_id: Some(SHELF),
        name: "Things".to_owned(),
        description: String::new(),
    };
    sure(client.call::<Catalog, _>(shelf).await);
    for product in &PRODUCTS {
        let create = CreateProduct {
            product_id: Some(product.id),
            sku: product.name.to_uppercase(),
            name: product.name.to_owned(),
            description: String::new(),
            price: Some(Money::new(product.price, Currency::EUR)),
            category_id: Some(SHELF),
        };
        sure(client.call::<Catalog, _>(create).await);
        let publish = PublishProduct {
            product_id: product.id,
            if_version: None,
        };
        sure(client.call::<Catalog, _>(publish).await);
    }
    for product in &PRODUCTS {
        // Inventory hears of the product a moment later than its creator.
        let ask = StockOfProduct {
            product_id: product.id,
        };
        while client.query::<Inventory, _>(ask.clone()).await.is_err() {
            client.sleep(seconds(1)).await;
        }
        adjust(client, town, product, STOCKED, AdjustmentReason::Received).await;
    }
}

fn sure<T>(answer: Result<T, Rejection>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(no) => panic!("the shop cannot be furnished: {no}"),
    }
}

async fn adjust(
    client: &Client,
    town: &Town,
    product: &Product,
    delta: i64,
    reason: AdjustmentReason,
) {
    let adjust = AdjustStock {
        product_id: product.id,
        delta,
        reason,
    };
    if client.call::<Inventory, _>(adjust).await.is_ok() {
        let mut acts = town.told.acts();
        *acts.received.entry(product.id).or_default() += delta;
    }
}

async fn restock(client: &Client, town: &Town, product: &Product) {
    let (delta, reason) = match client.below(6) {
        0 => (-1, AdjustmentReason::Damaged),
        _ => (
            i64::try_from(5 + client.below(20)).unwrap_or(5),
            AdjustmentReason::Received,
        ),
    };
    adjust(client, town, product, delta, reason).await;
}

fn some_order(client: &Client, town: &Town) -> Option<OrderId> {
    let recent: Vec<OrderId> = {
        let acts = town.told.acts();
        let recent = acts.orders.iter().rev().take(100);
        recent.map(|(order, _, _)| *order).collect()
    };
    one_of(client, &recent)
}

/// Pays a part of some order back, if there is anything to pay back.
async fn pay_back(client: &Client, town: &Town) {
    let Some(order_id) = some_order(client, town) else {
        return;
    };
    let Ok(payment) = client
        .query::<Payment, _>(PaymentOfOrder { order_id })
        .await
    else {
        return;
    };
    let left = payment.captured.amount - payment.refunded.amount;
    if left <= 0 {
        return;
    }
    let amount = 1 + i64::try_from(client.below(100)).unwrap_or(0).min(left - 1);
    let refund = RefundPayment {
        payment_id: payment.id,
        amount: Money::new(amount, Currency::EUR),
        reason: "scratched".to_owned(),
    };
    if client.call::<Payment, _>(refund).await.is_ok() {
        *town.told.acts().refunded.entry(order_id).or_default() += amount;
    }
}

/// Decides about some order that waits for a decision.
async fn decide(client: &Client, town: &Town) {
    let orders: Vec<OrderId> = {
        let acts = town.told.acts();
        let recent = acts.orders.iter().rev().take(30);
        recent.map(|(order, _, _)| *order).collect()
    };
    for order_id in orders {
        let ask = OrderById {
            order_id,
            customer_id: None,
        };
        let order = client.query::<Orders, _>(ask).await;
        if !order.is_ok_and(|order| order.status == OrderStatus::ManualReview) {
            continue;
        }
        let resolve = ResolveOrder {
            order_id,
            if_version: None,
            action: Resolve::Cancel,
            reason: "decided by hand".to_owned(),
        };
        let _ = client.call::<Orders, _>(resolve).await;
        return;
    }
}
