//! The catalog: what everybody may see, and what the shop's own people change.

use std::collections::BTreeMap;

use redeliver::http::Problem;
use redeliver::{Answered, Command};
use serde::Deserialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

use super::ask::{Ask, Ignored, MoneyAsked};
use super::table::{Access, Answer, Table};
use super::views::Viewer;
use super::{API, answer};
use crate::catalog::{
    CategoriesList, CategoryView, ChangeAttributes, ChangeImages, ChangePrice, CreateCategory,
    CreateProduct, Image, PriceView, PricesOfProduct, ProductById, ProductBySku, ProductStatus,
    ProductView, ProductsList, PublishProduct, UnpublishProduct, UpdateCategory, UpdateProduct,
};
use crate::identity::Role;
use crate::ids::{CategoryId, ProductId};
use crate::page::Listing;

const WRITER: Access = Access::Only(Role::InventoryManager);

pub(super) fn routes(on: &mut Table) {
    reading(on);
    writing(on);
}

fn reading(on: &mut Table) {
    on.get("/catalog/products", Access::Public, list)
        .about("Finds products by words, category and price, oldest first.")
        .query(
            "q",
            "Words of the name, the description or the sku; the last may be a beginning.",
        )
        .query("category", "Only products of the category with this id.")
        .query(
            "min_price",
            "Only what costs so much or more, in minor units.",
        )
        .query(
            "max_price",
            "Only what costs so much or less, in minor units.",
        )
        .query(
            "status",
            "Only products of this status; buyers see published ones alone.",
        )
        .pages()
        .answers::<Listing<ProductView>>(StatusCode::OK);
    on.get("/catalog/products/sku/{sku}", Access::Public, by_sku)
        .about("Shows the product with this stock keeping unit.")
        .versioned()
        .answers::<ProductView>(StatusCode::OK);
    on.get("/catalog/products/{product_id}", Access::Public, one)
        .about("Shows a product.")
        .versioned()
        .answers::<ProductView>(StatusCode::OK);
    on.get("/catalog/products/{product_id}/prices", WRITER, prices)
        .about("Lists what a product has cost, newest first.")
        .pages()
        .answers::<Listing<PriceView>>(StatusCode::OK);
    on.get("/catalog/categories", Access::Public, categories)
        .about("Lists the categories.")
        .pages()
        .answers::<Listing<CategoryView>>(StatusCode::OK);
}

fn writing(on: &mut Table) {
    on.post("/catalog/products", WRITER, create)
        .about("Makes a product, as a draft.")
        .takes::<NewProduct>()
        .answers::<ProductView>(StatusCode::CREATED);
    on.put("/catalog/products/{product_id}", WRITER, update)
        .about("Describes a product otherwise; what GET shows of it can be changed and sent back.")
        .takes::<ProductDescription>()
        .versioned()
        .answers::<ProductView>(StatusCode::OK);
    on.put("/catalog/products/{product_id}/price", WRITER, price)
        .about("Changes what a product costs from now on; placed orders keep their price.")
        .takes::<NewPrice>()
        .versioned()
        .answers::<ProductView>(StatusCode::OK);
    on.post("/catalog/products/{product_id}/publish", WRITER, publish)
        .about("Lets everybody see and order a product, which needs a price and a category.")
        .may_take::<Empty>()
        .versioned()
        .answers::<ProductView>(StatusCode::OK);
    on.post(
        "/catalog/products/{product_id}/unpublish",
        WRITER,
        unpublish,
    )
    .about("Hides a product, which then cannot be ordered.")
    .may_take::<Empty>()
    .versioned()
    .answers::<ProductView>(StatusCode::OK);
    on.post("/catalog/products/{product_id}/images", WRITER, images)
        .about("Adds an image to a product, or replaces all of them.")
        .takes::<Images>()
        .versioned()
        .answers::<ProductView>(StatusCode::OK);
    on.post(
        "/catalog/products/{product_id}/attributes",
        WRITER,
        attributes,
    )
    .about("Sets attributes of a product; null takes one away.")
    .takes::<Attributes>()
    .versioned()
    .answers::<ProductView>(StatusCode::OK);
    on.post("/catalog/categories", WRITER, create_category)
        .about("Makes a category.")
        .takes::<CategoryAsked>()
        .answers::<CategoryView>(StatusCode::CREATED);
    on.put("/catalog/categories/{category_id}", WRITER, update_category)
        .about("Describes a category otherwise; what GET shows of it can be changed and sent back.")
        .takes::<CategoryDescription>()
        .versioned()
        .answers::<CategoryView>(StatusCode::OK);
}

// What everybody may see.

async fn list(ask: Ask) -> Answer {
    let status = match ask.parameter("status") {
        _ if sees_published_only(&ask) => Some(ProductStatus::Published),
        None => None,
        Some(text) => Some(status_of(&text)?),
    };
    let query = ProductsList {
        text: ask.parameter("q"),
        category_id: category_of(&ask)?,
        price_min: amount_of(&ask, "min_price")?,
        price_max: amount_of(&ask, "max_price")?,
        status,
        page: ask.page()?,
    };
    ask.show_page(ask.query(ask.shop.catalog(), query).await?)
}

async fn one(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let query = ProductById {
        product_id,
        published_only: sees_published_only(&ask),
    };
    let product = ask.query(ask.shop.catalog(), query).await?;
    if !ask.head_only {
        note_view(&ask, product_id);
    }
    show(StatusCode::OK, &product)
}

async fn by_sku(ask: Ask) -> Answer {
    let query = ProductBySku {
        sku: ask.captured().to_owned(),
        published_only: sees_published_only(&ask),
    };
    show(StatusCode::OK, &ask.query(ask.shop.catalog(), query).await?)
}

async fn categories(ask: Ask) -> Answer {
    let page = ask.page()?;
    ask.show_page(
        ask.query(ask.shop.catalog(), CategoriesList { page })
            .await?,
    )
}

/// Somebody looked at a product. Whose address is not known is nobody that could be counted.
fn note_view(ask: &Ask, product: ProductId) {
    let viewer = match (ask.caller.is_known(), ask.peer) {
        (true, _) => Viewer::User(ask.caller.user),
        (false, Some(peer)) => Viewer::Address(peer.ip()),
        (false, None) => return,
    };
    ask.shop.views.note(&ask.shop, viewer, product);
}

fn sees_published_only(ask: &Ask) -> bool {
    !ask.caller.has(Role::InventoryManager)
}

fn status_of(text: &str) -> Result<ProductStatus, Problem> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| {
        Problem::unprocessable(format!("there is no such status of a product: {error}"))
    })
}

fn category_of(ask: &Ask) -> Result<Option<CategoryId>, Problem> {
    let Some(text) = ask.parameter("category") else {
        return Ok(None);
    };
    let id = text.parse().map_err(|_| {
        Problem::unprocessable("category is no id; use the `id` of a category, which is a UUID")
    });
    id.map(Some)
}

fn amount_of(ask: &Ask, name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = ask.parameter(name) else {
        return Ok(None);
    };
    let amount = text.parse().map_err(|_| {
        Problem::unprocessable(format!(
            "{name} is no amount; use a whole number of minor units, such as 1999"
        ))
    });
    amount.map(Some)
}

// What the shop's own people change.

/// A product to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProduct {
    sku: String,
    name: String,
    #[serde(default)]
    description: String,
    price: Option<MoneyAsked>,
    category_id: Option<CategoryId>,
}

async fn create(ask: Ask) -> Answer {
    let new: NewProduct = ask.json()?;
    let command = CreateProduct {
        product_id: None,
        sku: new.sku,
        name: new.name,
        description: new.description,
        price: new.price.map(Into::into),
        category_id: new.category_id,
    };
    let made = ask.send(ask.shop.catalog(), command).await?;
    let response = show(StatusCode::CREATED, &made.reply)?;
    let location = format!("{API}/catalog/products/{}", made.reply.id);
    let response = answer::with(response, "location", &location);
    Ok(answer::replayed(response, made.replayed))
}

/// A product described otherwise, as it was made or as GET shows it. `If-Match` keeps it from
/// undoing a change that came between.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "what is ignored is not read")]
pub(super) struct ProductDescription {
    /// The one it has, which never changes; another is refused.
    sku: Option<String>,
    /// Its name from now on.
    name: String,
    /// Its description from now on; none if left out.
    #[serde(default)]
    description: String,
    /// What one costs from now on. One that differs is a change of price like any other; left out
    /// or null, the price stays.
    price: Option<MoneyAsked>,
    /// Where it is found from now on; nowhere if left out.
    category_id: Option<CategoryId>,
    /// All its pictures from now on; left out, they stay.
    images: Option<Vec<ImageAsked>>,
    /// All its attributes from now on; left out, they stay.
    attributes: Option<BTreeMap<String, String>>,
    #[serde(default)]
    id: Ignored,
    #[serde(default)]
    status: Ignored,
    #[serde(default)]
    available: Ignored,
    #[serde(default)]
    version: Ignored,
    #[serde(default)]
    created_at: Ignored,
    #[serde(default)]
    updated_at: Ignored,
}

async fn update(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let new: ProductDescription = ask.json()?;
    let images = new.images;
    let command = UpdateProduct {
        product_id,
        if_version: ask.if_version()?,
        sku: new.sku,
        name: new.name,
        description: new.description,
        price: new.price.map(Into::into),
        category_id: new.category_id,
        images: images.map(|images| images.into_iter().map(Into::into).collect()),
        attributes: new.attributes,
    };
    change(&ask, command).await
}

/// What a product costs from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPrice {
    price: MoneyAsked,
}

async fn price(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let NewPrice { price } = ask.json()?;
    let command = ChangePrice {
        product_id,
        if_version: ask.if_version()?,
        price: price.into(),
    };
    change(&ask, command).await
}

async fn prices(ask: Ask) -> Answer {
    let query = PricesOfProduct {
        product_id: ask.id()?,
        page: ask.page()?,
    };
    ask.show_page(ask.query(ask.shop.catalog(), query).await?)
}

/// A body that says nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

async fn publish(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let Empty {} = ask.json_or_nothing()?;
    let if_version = ask.if_version()?;
    let command = PublishProduct {
        product_id,
        if_version,
    };
    change(&ask, command).await
}

async fn unpublish(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let Empty {} = ask.json_or_nothing()?;
    let if_version = ask.if_version()?;
    let command = UnpublishProduct {
        product_id,
        if_version,
    };
    change(&ask, command).await
}

/// One image to be added, as `url` and `alt`, or all there are to be, as `images`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Images {
    url: Option<String>,
    alt: Option<String>,
    images: Option<Vec<ImageAsked>>,
}

/// An image.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageAsked {
    url: String,
    #[serde(default)]
    alt: String,
}

impl From<ImageAsked> for Image {
    fn from(asked: ImageAsked) -> Image {
        Image {
            url: asked.url,
            alt: asked.alt,
        }
    }
}

async fn images(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let (images, replace) = match ask.json()? {
        Images {
            url: Some(url),
            alt,
            images: None,
        } => {
            let alt = alt.unwrap_or_default();
            (vec![Image { url, alt }], false)
        }
        Images {
            url: None,
            alt: None,
            images: Some(images),
        } => (images.into_iter().map(Into::into).collect(), true),
        Images { .. } => {
            return Err(Problem::unprocessable(
                "the body is neither one image nor all of them; send `url` and `alt` to add one, \
                 or `images` to replace all",
            ));
        }
    };
    let command = ChangeImages {
        product_id,
        if_version: ask.if_version()?,
        replace,
        images,
    };
    change(&ask, command).await
}

/// Attributes by name; `null` takes one away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Attributes {
    attributes: BTreeMap<String, Option<String>>,
}

async fn attributes(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let Attributes { attributes } = ask.json()?;
    let command = ChangeAttributes {
        product_id,
        if_version: ask.if_version()?,
        attributes,
    };
    change(&ask, command).await
}

/// A category.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CategoryAsked {
    name: String,
    #[serde(default)]
    description: String,
}

async fn create_category(ask: Ask) -> Answer {
    let CategoryAsked { name, description } = ask.json()?;
    let command = CreateCategory {
        category_id: None,
        name,
        description,
    };
    let made = ask.send(ask.shop.catalog(), command).await?;
    show_category(StatusCode::CREATED, &made)
}

/// A category described otherwise, as it was made or as GET shows it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "what is ignored is not read")]
pub(super) struct CategoryDescription {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    id: Ignored,
    #[serde(default)]
    version: Ignored,
    #[serde(default)]
    created_at: Ignored,
    #[serde(default)]
    updated_at: Ignored,
}

async fn update_category(ask: Ask) -> Answer {
    let category_id = ask.id()?;
    let CategoryDescription {
        name, description, ..
    } = ask.json()?;
    let command = UpdateCategory {
        category_id,
        if_version: ask.if_version()?,
        name,
        description,
    };
    let changed = ask.send(ask.shop.catalog(), command).await?;
    show_category(StatusCode::OK, &changed)
}

async fn change<C: Command<Reply = ProductView>>(ask: &Ask, command: C) -> Answer {
    let changed = ask.send(ask.shop.catalog(), command).await?;
    let response = show(StatusCode::OK, &changed.reply)?;
    Ok(answer::replayed(response, changed.replayed))
}

fn show(status: StatusCode, product: &ProductView) -> Answer {
    Ok(tagged(answer::json(status, product)?, product.version))
}

fn show_category(status: StatusCode, made: &Answered<CategoryView>) -> Answer {
    let mut response = tagged(answer::answered(status, made)?, made.reply.version);
    if status == StatusCode::CREATED {
        let location = format!("{API}/catalog/categories/{}", made.reply.id);
        response = answer::with(response, "location", &location);
    }
    Ok(response)
}

/// A version as an entity tag.
fn tagged(response: Response, version: u64) -> Response {
    answer::with(response, "etag", &format!("\"{version}\""))
}
