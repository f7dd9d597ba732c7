//! The catalog service: what it is told by people, and what it then says.

use redeliver::prelude::*;

use super::category::Category;
use super::product::{self, Product, ProductStatus};
use super::requests::{
    CategoryView, ChangeAttributes, ChangeImages, ChangePrice, CreateCategory, CreateProduct,
    NoteView, ProductView, PublishProduct, UnpublishProduct, UpdateCategory, UpdateProduct,
};
use super::tables::{
    AVAILABILITY, CATEGORIES, HELD, PRICE_HISTORY, PRODUCTS, PRODUCTS_BY_CATEGORY,
    PRODUCTS_BY_STATUS, PriceSince, SKUS, WORDS,
};
use super::words;
use super::{
    ProductCreated, ProductPriceChanged, ProductPublished, ProductUnpublished, ProductUpdated,
    ProductViewed,
};
use crate::ids::{CategoryId, ProductId};
use crate::money::Currency;
use crate::version::unchanged;

/// Prices of one product that are kept; older ones go.
pub const PRICES_MAX: u64 = 1_000;

/// Products and their prices.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The one currency of the shop.
    pub currency: Currency,
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog {
            currency: Currency::EUR,
        }
    }
}

impl Service for Catalog {
    const NAME: &'static str = "catalog";

    fn handlers(on: &mut Handlers<Self>) {
        on.in_background()
            .table(PRODUCTS)
            .index(PRODUCTS_BY_CATEGORY)
            .index(PRODUCTS_BY_STATUS)
            .table(SKUS)
            .table(WORDS)
            .table(PRICE_HISTORY)
            .table(CATEGORIES)
            .table(AVAILABILITY)
            .table(HELD);
        on.command(Self::create)
            .command(Self::update)
            .command(Self::change_price)
            .command(Self::publish)
            .command(Self::unpublish)
            .command(Self::change_images)
            .command(Self::change_attributes)
            .command(Self::create_category)
            .command(Self::update_category)
            .command(Self::note_view);
        on.query(Self::by_id)
            .query(Self::by_sku)
            .query(Self::list)
            .query(Self::prices)
            .query(Self::categories);
        on.event(Self::reserved)
            .event(Self::released)
            .event(Self::adjusted)
            .timer(Self::forget_unreserved);
        on.publishes::<ProductCreated>()
            .publishes::<ProductUpdated>()
            .publishes::<ProductPriceChanged>()
            .publishes::<ProductPublished>()
            .publishes::<ProductUnpublished>()
            .publishes_outside::<ProductViewed>();
    }
}

// Products.

impl Catalog {
    fn create(&self, new: CreateProduct, cx: &mut Context<Self>) -> Result<ProductView, Rejection> {
        let sku = product::sku(&new.sku)?;
        let name = product::name(&new.name)?;
        let description = product::description(&new.description)?;
        let price = match new.price {
            Some(price) => Some(product::price(price, self.currency)?),
            None => None,
        };
        known_category(new.category_id, cx)?;
        let id = match new.product_id {
            Some(id) => {
                if let Some(same) = cx.get(PRODUCTS, &id)? {
                    return if same.sku == sku {
                        show(id, same, cx)
                    } else {
                        Err(id_taken(&id))
                    };
                }
                id
            }
            None => ProductId(cx.new_id()),
        };
        let label = label(&sku);
        if cx.get(SKUS, &label)?.is_some() {
            return Err(Rejection::conflict(
                "sku_taken",
                format!(
                    "another product has the stock keeping unit {sku}; choose another or change \
                     that product"
                ),
            )
            .with("sku", sku));
        }
        cx.put(SKUS, &label, &id)?;
        let at = cx.now();
        let mut product = Product::new(sku.clone(), name.clone(), description, at);
        product.price = price;
        product.category_id = new.category_id;
        for word in words::of_product(&product) {
            cx.put(WORDS, &(word, id), &())?;
        }
        if let Some(price) = price {
            note_price(id, &mut product, PriceSince { price, at }, cx)?;
        }
        cx.put(PRODUCTS, &id, &product)?;
        cx.publish(ProductCreated {
            product_id: id,
            sku,
            name,
            price,
            category_id: product.category_id,
            at,
        });
        show(id, product, cx)
    }

    fn update(&self, new: UpdateProduct, cx: &mut Context<Self>) -> Result<ProductView, Rejection> {
        let name = product::name(&new.name)?;
        let description = product::description(&new.description)?;
        let price = match new.price {
            Some(price) => Some(product::price(price, self.currency)?),
            None => None,
        };
        let known = known_category(new.category_id, cx);
        change(new.product_id, new.if_version, cx, |product| {
            known?;
            product.check_sku(new.sku.as_deref())?;
            product.categorise(new.category_id)?;
            product.name = name;
            product.description = description;
            product.price = price.or(product.price);
            if let Some(images) = new.images {
                product.picture(images, true)?;
            }
            if let Some(attributes) = new.attributes {
                product.attributes.clear();
                let all = attributes.into_iter();
                product.attribute(all.map(|(name, value)| (name, Some(value))).collect())?;
            }
            Ok(())
        })
    }

    fn change_price(
        &self,
        new: ChangePrice,
        cx: &mut Context<Self>,
    ) -> Result<ProductView, Rejection> {
        let price = product::price(new.price, self.currency)?;
        change(new.product_id, new.if_version, cx, |product| {
            product.price = Some(price);
            Ok(())
        })
    }

    fn publish(
        &self,
        ask: PublishProduct,
        cx: &mut Context<Self>,
    ) -> Result<ProductView, Rejection> {
        let id = ask.product_id;
        change(id, ask.if_version, cx, |product| product.publish(id))
    }

    fn unpublish(
        &self,
        ask: UnpublishProduct,
        cx: &mut Context<Self>,
    ) -> Result<ProductView, Rejection> {
        change(ask.product_id, ask.if_version, cx, |product| {
            product.unpublish();
            Ok(())
        })
    }

    fn change_images(
        &self,
        new: ChangeImages,
        cx: &mut Context<Self>,
    ) -> Result<ProductView, Rejection> {
        change(new.product_id, new.if_version, cx, |product| {
            product.picture(new.images, new.replace)
        })
    }

    fn change_attributes(
        &self,
        new: ChangeAttributes,
        cx: &mut Context<Self>,
    ) -> Result<ProductView, Rejection> {
        change(new.product_id, new.if_version, cx, |product| {
            product.attribute(new.attributes)
        })
    }

    fn note_view(&self, seen: NoteView, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let id = seen.product_id;
        let product = find(&id, cx)?;
        // Who looks at what is not shown works here.
        if product.status == ProductStatus::Published {
            cx.publish(ProductViewed {
                product_id: id,
                user_id: seen.user_id,
                at: cx.now(),
            });
        }
        Ok(())
    }
}

// Categories.

impl Catalog {
    fn create_category(
        &self,
        new: CreateCategory,
        cx: &mut Context<Self>,
    ) -> Result<CategoryView, Rejection> {
        let category = Category::new(&new.name, &new.description, cx.now())?;
        let id = match new.category_id {
            Some(id) => id,
            None => CategoryId(cx.new_id()),
        };
        if let Some(same) = cx.get(CATEGORIES, &id)? {
            return Ok(same.view(id));
        }
        cx.put(CATEGORIES, &id, &category)?;
        Ok(category.view(id))
    }

    fn update_category(
        &self,
        new: UpdateCategory,
        cx: &mut Context<Self>,
    ) -> Result<CategoryView, Rejection> {
        let id = new.category_id;
        let Some(before) = cx.get(CATEGORIES, &id)? else {
            return Err(Rejection::not_found(
                "no_such_category",
                format!("there is no category {id}; check the id"),
            ));
        };
        unchanged("category", before.version, new.if_version.as_deref())?;
        let after = before
            .clone()
            .described(&new.name, &new.description, cx.now())?;
        if after != before {
            cx.put(CATEGORIES, &id, &after)?;
        }
        Ok(after.view(id))
    }
}

/// Changes a product as `decide` says, and says what has changed. A change that changes nothing is
/// none: the version stays.
fn change(
    id: ProductId,
    if_version: Option<Vec<u64>>,
    cx: &mut Context<Catalog>,
    decide: impl FnOnce(&mut Product) -> Result<(), Rejection>,
) -> Result<ProductView, Rejection> {
    let before = find(&id, cx)?;
    unchanged("product", before.version, if_version.as_deref())?;
    let mut after = before.clone();
    decide(&mut after)?;
    if after == before {
        return show(id, after, cx);
    }
    let at = cx.now();
    after.version += 1;
    after.updated_at = at;

    let (old, new) = (words::of_product(&before), words::of_product(&after));
    for word in old.difference(&new) {
        cx.remove(WORDS, &(word.clone(), id))?;
    }
    for word in new.difference(&old) {
        cx.put(WORDS, &(word.clone(), id), &())?;
    }
    if let Some(price) = after.price.filter(|_| after.price != before.price) {
        note_price(id, &mut after, PriceSince { price, at }, cx)?;
        cx.publish(ProductPriceChanged {
            product_id: id,
            before: before.price,
            price,
            at,
        });
    }
    if is_described_otherwise(&before, &after) {
        cx.publish(ProductUpdated {
            product_id: id,
            name: after.name.clone(),
            category_id: after.category_id,
            at,
        });
    }
    if after.status != before.status {
        match after.status {
            ProductStatus::Published => cx.publish(ProductPublished { product_id: id, at }),
            ProductStatus::Draft | ProductStatus::Unpublished => {
                cx.publish(ProductUnpublished { product_id: id, at });
            }
        }
    }
    cx.put(PRODUCTS, &id, &after)?;
    show(id, after, cx)
}

fn is_described_otherwise(before: &Product, after: &Product) -> bool {
    before.name != after.name
        || before.description != after.description
        || before.category_id != after.category_id
        || before.images != after.images
        || before.attributes != after.attributes
}

fn note_price(
    id: ProductId,
    product: &mut Product,
    price: PriceSince,
    cx: &mut Context<Catalog>,
) -> Result<(), Rejection> {
    product.prices += 1;
    cx.put(PRICE_HISTORY, &(id, product.prices), &price)?;
    if let Some(oldest) = product.prices.checked_sub(PRICES_MAX) {
        cx.remove(PRICE_HISTORY, &(id, oldest))?;
    }
    Ok(())
}

pub(super) fn find(id: &ProductId, view: &View<Catalog>) -> Result<Product, Rejection> {
    view.get(PRODUCTS, id)?.ok_or_else(|| no_such_product(id))
}

pub(super) fn show(
    id: ProductId,
    product: Product,
    view: &View<Catalog>,
) -> Result<ProductView, Rejection> {
    Ok(product.view(id, Catalog::available(&id, view)?))
}

pub(super) fn no_such_product(id: &ProductId) -> Rejection {
    Rejection::not_found(
        "no_such_product",
        format!("there is no product {id}; check the id"),
    )
}

/// How a stock keeping unit is found: two that differ in capitals alone are one.
pub(super) fn label(sku: &str) -> String {
    sku.to_ascii_uppercase()
}

fn known_category(id: Option<CategoryId>, view: &View<Catalog>) -> Result<(), Rejection> {
    let Some(id) = id else {
        return Ok(());
    };
    match view.get(CATEGORIES, &id)? {
        Some(_) => Ok(()),
        None => Err(Rejection::invalid(
            "unknown_category",
            format!("there is no category {id}; make it first or choose another"),
        )
        .with("category_id", id)),
    }
}

fn id_taken(id: &ProductId) -> Rejection {
    Rejection::conflict(
        "id_taken",
        format!("the id {id} is that of a product with another stock keeping unit; use another id"),
    )
}
