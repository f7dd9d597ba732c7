//! What the catalog says about products.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{CategoryId, ProductId, UserId};
use crate::money::Money;
use crate::time::rfc3339;

/// A product exists; nobody can order it before it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductCreated {
    /// Which.
    pub product_id: ProductId,
    /// Its stock keeping unit, which never changes.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What one costs, if that is known already.
    pub price: Option<Money>,
    /// Where it is found, if that is known already.
    pub category_id: Option<CategoryId>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A product is described otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductUpdated {
    /// Which.
    pub product_id: ProductId,
    /// Its name now.
    pub name: String,
    /// Where it is found now.
    pub category_id: Option<CategoryId>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A product costs something else from now on. Orders that were placed keep their price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductPriceChanged {
    /// Which.
    pub product_id: ProductId,
    /// What one cost before, if it had a price.
    pub before: Option<Money>,
    /// What one costs now.
    pub price: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Somebody looked at a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductViewed {
    /// Which.
    pub product_id: ProductId,
    /// Who, if signed in.
    pub user_id: Option<UserId>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

macro_rules! of_product {
    ($($(#[$doc:meta])* $name:ident, $wire:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// Which.
            pub product_id: ProductId,
            /// When.
            #[serde(with = "rfc3339")]
            pub at: Timestamp,
        }

        event!($name, $wire, product_id);
    )*};
}

of_product! {
    /// A product can be ordered.
    ProductPublished, "product-published";
    /// A product can no longer be ordered.
    ProductUnpublished, "product-unpublished";
}

event!(ProductCreated, "product-created", product_id);
event!(ProductUpdated, "product-updated", product_id);
event!(ProductPriceChanged, "product-price-changed", product_id);
event!(ProductViewed, "product-viewed", product_id);
