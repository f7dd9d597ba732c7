//! The catalog service under test: a shelf, a mug, and what inventory says about it.
#![allow(clippy::unwrap_used)]

mod availability;
mod changing;
mod finding;

use redeliver::prelude::*;
use redeliver::testing::{Decided, ServiceKit};
use uuid::Uuid;

use super::*;
use crate::ids::{CategoryId, ProductId};
use crate::money::{Currency, Money};
use crate::page::Page;

const MUG: ProductId = ProductId(Uuid::from_u128(10));
const SHELF: CategoryId = CategoryId(Uuid::from_u128(20));

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn product(n: u128, name: &str) -> CreateProduct {
    CreateProduct {
        product_id: Some(ProductId(Uuid::from_u128(n))),
        sku: format!("SKU-{n}"),
        name: name.to_owned(),
        description: String::new(),
        price: Some(eur(999)),
        category_id: Some(SHELF),
    }
}

fn mug() -> CreateProduct {
    CreateProduct {
        sku: "MUG".to_owned(),
        ..product(10, "Blue mug")
    }
}

fn publish(product_id: ProductId) -> PublishProduct {
    PublishProduct {
        product_id,
        if_version: None,
    }
}

fn unpublish(product_id: ProductId) -> UnpublishProduct {
    UnpublishProduct {
        product_id,
        if_version: None,
    }
}

fn price(amount: i64) -> ChangePrice {
    ChangePrice {
        product_id: MUG,
        if_version: None,
        price: eur(amount),
    }
}

fn update(name: &str, category_id: Option<CategoryId>) -> UpdateProduct {
    UpdateProduct {
        product_id: MUG,
        if_version: None,
        sku: None,
        name: name.to_owned(),
        description: String::new(),
        price: None,
        category_id,
        images: None,
        attributes: None,
    }
}

/// With one category.
fn empty() -> ServiceKit<Catalog> {
    let mut kit = ServiceKit::of(Catalog::default());
    let shelf = CreateCategory {
        category_id: Some(SHELF),
        name: "Shelf".to_owned(),
        description: String::new(),
    };
    kit.command(shelf).reply();
    kit
}

/// With the mug, as a draft.
fn drafted() -> ServiceKit<Catalog> {
    let mut kit = empty();
    kit.command(mug()).reply();
    kit
}

/// With the mug, published.
fn published() -> ServiceKit<Catalog> {
    let mut kit = drafted();
    kit.command(publish(MUG)).reply();
    kit
}

fn shown(kit: &mut ServiceKit<Catalog>) -> ProductView {
    let ask = ProductById {
        product_id: MUG,
        published_only: false,
    };
    kit.query(ask).unwrap()
}
