//! What the catalog service is told and asked.
//!
//! Commands that change something carry `if_version`: the versions of which it must have one, if
//! said; an empty list fits nothing. Questions carry whether only published products may be seen:
//! buyers ask like that, and everything else looks to them as if it did not exist.

use std::collections::BTreeMap;

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::product::ProductStatus;
use crate::ids::{CategoryId, ProductId, UserId};
use crate::money::Money;
use crate::page::{Listing, Page};
use crate::time::rfc3339;

/// Makes a product, as a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateProduct {
    /// Under this id, or a new one. Asked for again under the same id and with the same stock
    /// keeping unit, nothing changes.
    pub product_id: Option<ProductId>,
    /// Its stock keeping unit, which no other product has and which never changes.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What there is to say about it.
    pub description: String,
    /// What one costs, if that is known already.
    pub price: Option<Money>,
    /// Where it is found, if that is known already.
    pub category_id: Option<CategoryId>,
}

/// Describes a product otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateProduct {
    /// Which.
    pub product_id: ProductId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
    /// The stock keeping unit that it must have, if said.
    pub sku: Option<String>,
    /// Its name from now on.
    pub name: String,
    /// Its description from now on.
    pub description: String,
    /// What one costs from now on; as before if not said.
    pub price: Option<Money>,
    /// Where it is found from now on.
    pub category_id: Option<CategoryId>,
    /// All its pictures from now on; as before if not said.
    pub images: Option<Vec<Image>>,
    /// All its attributes from now on; as before if not said.
    pub attributes: Option<BTreeMap<String, String>>,
}

/// Changes what a product costs. Orders that were placed keep their price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangePrice {
    /// Of which.
    pub product_id: ProductId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
    /// What one costs from now on.
    pub price: Money,
}

/// Lets everybody see and order a product. It needs a price and a category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishProduct {
    /// Which.
    pub product_id: ProductId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
}

/// Hides a product; nobody can order it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnpublishProduct {
    /// Which.
    pub product_id: ProductId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
}

/// Changes the pictures of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeImages {
    /// Of which.
    pub product_id: ProductId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
    /// Whether what was there goes. If not, an image of the same address is replaced and the
    /// others stay.
    pub replace: bool,
    /// Which there are from now on, or which are added.
    pub images: Vec<Image>,
}

/// Changes attributes of a product; those that are not named stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeAttributes {
    /// Of which.
    pub product_id: ProductId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
    /// What each is from now on; `None` takes it away.
    pub attributes: BTreeMap<String, Option<String>>,
}

/// Makes a category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCategory {
    /// Under this id, or a new one. Asked for again under the same id, nothing changes.
    pub category_id: Option<CategoryId>,
    /// Its name.
    pub name: String,
    /// What is found in it.
    pub description: String,
}

/// Describes a category otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateCategory {
    /// Which.
    pub category_id: CategoryId,
    /// The versions of which it must have one, if said.
    pub if_version: Option<Vec<u64>>,
    /// Its name from now on.
    pub name: String,
    /// Its description from now on.
    pub description: String,
}

/// Somebody looks at a product. Who asks sees to it that nobody counts too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoteView {
    /// At which.
    pub product_id: ProductId,
    /// Who, if signed in.
    pub user_id: Option<UserId>,
}

/// A picture of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Where it is.
    pub url: String,
    /// What it shows, for who does not see it.
    pub alt: String,
}

/// A product as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProductView {
    /// Its id.
    pub id: ProductId,
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// What there is to say about it.
    pub description: String,
    /// What one costs.
    pub price: Option<Money>,
    /// Where it is found.
    pub category_id: Option<CategoryId>,
    /// Whether it can be ordered.
    pub status: ProductStatus,
    /// How many nobody has reserved, as far as is known here.
    pub available: u64,
    /// Its pictures.
    pub images: Vec<Image>,
    /// What else is to be known of it, by name.
    pub attributes: BTreeMap<String, String>,
    /// 1 for a new product, one more with each change.
    pub version: u64,
    /// When it was made.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A category as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CategoryView {
    /// Its id.
    pub id: CategoryId,
    /// Its name.
    pub name: String,
    /// What is found in it.
    pub description: String,
    /// 1 for a new category, one more with each change.
    pub version: u64,
    /// When it was made.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// A price that a product had, or has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    /// What one cost.
    pub price: Money,
    /// From when on.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// Asks for a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductById {
    /// Which.
    pub product_id: ProductId,
    /// Whether it must be published.
    pub published_only: bool,
}

/// Asks for a product by its stock keeping unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductBySku {
    /// Which.
    pub sku: String,
    /// Whether it must be published.
    pub published_only: bool,
}

/// Asks for products, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductsList {
    /// Words that are all in its name, its description or its stock keeping unit; the last one
    /// may be the beginning of one.
    pub text: Option<String>,
    /// Only of this category.
    pub category_id: Option<CategoryId>,
    /// Only those that cost so much or more, in minor units.
    pub price_min: Option<i64>,
    /// Only those that cost so much or less, in minor units.
    pub price_max: Option<i64>,
    /// Only of this status.
    pub status: Option<ProductStatus>,
    /// Which part. With a search for text a page may have fewer rows than asked for although
    /// there is a next one.
    pub page: Page,
}

/// Asks what a product has cost, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricesOfProduct {
    /// Which.
    pub product_id: ProductId,
    /// Which part.
    pub page: Page,
}

/// Asks for the categories, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoriesList {
    /// Which part.
    pub page: Page,
}

command!(CreateProduct, "create-product", sku, ProductView);
command!(UpdateProduct, "update-product", product_id, ProductView);
command!(ChangePrice, "change-price", product_id, ProductView);
command!(PublishProduct, "publish-product", product_id, ProductView);
command!(
    UnpublishProduct,
    "unpublish-product",
    product_id,
    ProductView
);
command!(ChangeImages, "change-images", product_id, ProductView);
command!(
    ChangeAttributes,
    "change-attributes",
    product_id,
    ProductView
);
command!(CreateCategory, "create-category", name, CategoryView);
command!(UpdateCategory, "update-category", category_id, CategoryView);
command!(NoteView, "note-view", product_id, ());
query!(ProductById, "product-by-id", ProductView);
query!(ProductBySku, "product-by-sku", ProductView);
query!(ProductsList, "products-list", Listing<ProductView>);
query!(PricesOfProduct, "prices-of-product", Listing<PriceView>);
query!(CategoriesList, "categories-list", Listing<CategoryView>);
