//! What the catalog service keeps.
//!
//! How many of a product are available has a table of its own: it changes with every order, and
//! everything else of a product hardly ever.

use redeliver::{Index, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::availability::Held;
use super::category::Category;
use super::product::{Product, ProductStatus};
use crate::ids::{CategoryId, OrderId, ProductId};
use crate::money::Money;

/// Products.
pub const PRODUCTS: Table<ProductId, Product> = Table::new("products");

/// Products of a category.
pub const PRODUCTS_BY_CATEGORY: Index<CategoryId, ProductId, Product> =
    Index::new("products_by_category", PRODUCTS, |_, product| {
        product.category_id
    });

/// Products of a status.
pub const PRODUCTS_BY_STATUS: Index<ProductStatus, ProductId, Product> =
    Index::new("products_by_status", PRODUCTS, |_, product| {
        Some(product.status)
    });

/// Products by stock keeping unit, in capital letters.
pub const SKUS: Table<String, ProductId> = Table::new("skus");

/// The search index: every word of a product, and the product.
pub const WORDS: Table<(String, ProductId), ()> = Table::new("words");

/// What each product has cost, by product and number of the change.
pub const PRICE_HISTORY: Table<(ProductId, u64), PriceSince> = Table::new("price_history");

/// Categories.
pub const CATEGORIES: Table<CategoryId, Category> = Table::new("categories");

/// How many of each product nobody has reserved, as inventory's events add up. Between two
/// events of one order that come in the wrong order it can be below zero.
pub const AVAILABILITY: Table<ProductId, i64> = Table::new("availability");

/// What orders hold of it, until their parcel has left or the reservation is over.
pub const HELD: Table<OrderId, Vec<Held>> = Table::new("held");

/// A price, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceSince {
    /// What one costs.
    pub price: Money,
    /// From when on.
    pub at: Timestamp,
}
