//! Listing: which products a buyer or the shop's own people find, page by page.
//!
//! A search walks through the products that the most telling of its conditions leads to, in the
//! order of their ids, and looks at each whether the others hold. One page looks at no more than
//! so many: then it ends early, and the next goes on from there.

use std::collections::BTreeSet;

use bytes::Bytes;
use redeliver::prelude::*;

use super::product::{Product, ProductStatus};
use super::requests::{
    CategoriesList, CategoryView, PriceView, PricesOfProduct, ProductById, ProductBySku,
    ProductView, ProductsList,
};
use super::service::{find, label, no_such_product, show};
use super::tables::{
    CATEGORIES, PRICE_HISTORY, PRODUCTS, PRODUCTS_BY_CATEGORY, PRODUCTS_BY_STATUS, SKUS, WORDS,
};
use super::words::{self, Sought};
use super::{Catalog, product};
use crate::ids::{CategoryId, ProductId};
use crate::page::Listing;

/// Products that one page looks at.
const LOOKED_AT_MAX: usize = 2_000;
/// Products that are read at once.
const BATCH: usize = 200;
/// Entries of the search index that a beginning may lead to; past that it tells too little.
const BEGINNINGS_MAX: usize = 2_000;

impl Catalog {
    pub(super) fn by_id(
        &self,
        ask: ProductById,
        view: &View<Self>,
    ) -> Result<ProductView, Rejection> {
        let id = ask.product_id;
        let product = find(&id, view)?;
        if ask.published_only && product.status != ProductStatus::Published {
            return Err(no_such_product(&id));
        }
        show(id, product, view)
    }

    pub(super) fn by_sku(
        &self,
        ask: ProductBySku,
        view: &View<Self>,
    ) -> Result<ProductView, Rejection> {
        let nobody = || {
            Rejection::not_found(
                "no_such_product",
                "no product has this stock keeping unit; check it",
            )
        };
        // What cannot be one belongs to none.
        let sku = product::sku(&ask.sku).map_err(|_| nobody())?;
        let id = view.get(SKUS, &label(&sku))?.ok_or_else(nobody)?;
        let product = find(&id, view)?;
        if ask.published_only && product.status != ProductStatus::Published {
            return Err(nobody());
        }
        show(id, product, view)
    }

    pub(super) fn list(
        &self,
        ask: ProductsList,
        view: &View<Self>,
    ) -> Result<Listing<ProductView>, Rejection> {
        let rows = ask.page.rows()?;
        let mut after = ask.page.after::<ProductId>()?;
        let wanted = Wanted::of(ask)?;
        let way = Way::to(&wanted, view)?;
        let mut found: Vec<(ProductId, Product)> = Vec::new();
        let mut looked_at = 0;
        loop {
            let batch = way.next(after, view)?;
            let is_last = batch.len() < BATCH;
            for (id, product) in batch {
                if wanted.fits(&product) {
                    if found.len() == rows {
                        return page(found, after, view);
                    }
                    found.push((id, product));
                }
                after = Some(id);
                looked_at += 1;
            }
            if is_last {
                return page(found, None, view);
            }
            if looked_at >= LOOKED_AT_MAX {
                return page(found, after, view);
            }
        }
    }

    pub(super) fn prices(
        &self,
        ask: PricesOfProduct,
        view: &View<Self>,
    ) -> Result<Listing<PriceView>, Rejection> {
        find(&ask.product_id, view)?;
        let span = Span::prefix(&ask.product_id).descending();
        let rows = view.scan(PRICE_HISTORY, &ask.page.of::<(ProductId, u64)>(span)?)?;
        ask.page.listing(
            rows,
            |(key, _)| *key,
            |(_, row)| PriceView {
                price: row.price,
                since: row.at,
            },
        )
    }

    pub(super) fn categories(
        &self,
        ask: CategoriesList,
        view: &View<Self>,
    ) -> Result<Listing<CategoryView>, Rejection> {
        let rows = view.scan(CATEGORIES, &ask.page.of::<CategoryId>(Span::all())?)?;
        ask.page
            .listing(rows, |(id, _)| *id, |(id, category)| category.view(id))
    }
}

/// A page of what was found; `last` is the last product that was looked at, if there are more.
fn page(
    found: Vec<(ProductId, Product)>,
    last: Option<ProductId>,
    view: &View<Catalog>,
) -> Result<Listing<ProductView>, Rejection> {
    let shown = found
        .into_iter()
        .map(|(id, product)| show(id, product, view));
    Ok(Listing {
        items: shown.collect::<Result<_, _>>()?,
        next_cursor: last.map(|id| crate::page::cursor(&id)),
    })
}

/// What a product must be.
struct Wanted {
    status: Option<ProductStatus>,
    category: Option<CategoryId>,
    price_min: i64,
    price_max: i64,
    any_price: bool,
    sought: Option<Sought>,
}

impl Wanted {
    fn of(ask: ProductsList) -> Result<Wanted, Rejection> {
        let sought = match &ask.text {
            Some(text) => Sought::in_text(text)?,
            None => None,
        };
        let wanted = Wanted {
            status: ask.status,
            category: ask.category_id,
            price_min: ask.price_min.unwrap_or(i64::MIN),
            price_max: ask.price_max.unwrap_or(i64::MAX),
            any_price: ask.price_min.is_none() && ask.price_max.is_none(),
            sought,
        };
        if wanted.price_min > wanted.price_max {
            return Err(Rejection::invalid(
                "invalid_price_range",
                format!(
                    "no price is {} or more and {} or less; swap them",
                    wanted.price_min, wanted.price_max
                ),
            ));
        }
        Ok(wanted)
    }

    fn fits(&self, product: &Product) -> bool {
        let price = match product.price {
            Some(price) => (self.price_min..=self.price_max).contains(&price.amount),
            None => self.any_price,
        };
        let sought = |sought: &Sought| sought.finds(&words::of_product(product));
        price
            && self.status.is_none_or(|status| product.status == status)
            && self
                .category
                .is_none_or(|id| product.category_id == Some(id))
            && self.sought.as_ref().is_none_or(sought)
    }
}

/// Where products are looked for: what leads there, from the most telling to the least.
enum Way {
    Word(String),
    These(Vec<ProductId>),
    Category(CategoryId),
    Status(ProductStatus),
    All,
}

impl Way {
    fn to(wanted: &Wanted, view: &View<Catalog>) -> Result<Way, Rejection> {
        if let Some(sought) = &wanted.sought {
            // The longest word is as a rule the rarest.
            let longest = sought.whole.iter().max_by_key(|word| word.len());
            if let Some(word) = longest {
                return Ok(Way::Word(word.clone()));
            }
            if let Some(beginning) = &sought.beginning {
                // No letter and no digit comes after this character.
                let end = format!("{beginning}\u{10FFFF}");
                let span = Span::all()
                    .from(beginning)
                    .below(&end)
                    .limit(BEGINNINGS_MAX + 1);
                let entries = view.scan(WORDS, &span)?;
                if entries.len() <= BEGINNINGS_MAX {
                    let ids: BTreeSet<ProductId> =
                        entries.into_iter().map(|((_, id), ())| id).collect();
                    return Ok(Way::These(ids.into_iter().collect()));
                }
            }
        }
        Ok(match (wanted.category, wanted.status) {
            (Some(category), _) => Way::Category(category),
            (None, Some(status)) => Way::Status(status),
            (None, None) => Way::All,
        })
    }

    /// The next products after this one, in the order of their ids; fewer than [`BATCH`] at the
    /// end of the way.
    fn next(
        &self,
        after: Option<ProductId>,
        view: &View<Catalog>,
    ) -> Result<Vec<(ProductId, Product)>, Rejection> {
        let from = |span: Span, key: Option<Bytes>| match key {
            Some(key) => span.limit(BATCH).after_bytes(key),
            None => span.limit(BATCH),
        };
        let ids: Vec<ProductId> = match self {
            Way::All => {
                let span = from(Span::all(), after.map(|id| id.to_bytes()));
                return Ok(view.scan(PRODUCTS, &span)?);
            }
            Way::Status(status) => {
                let key = after.map(|id| (*status, id).to_bytes());
                let rows = view.rows_by(PRODUCTS_BY_STATUS, &from(Span::prefix(status), key))?;
                return Ok(rows.into_iter().map(|(_, id, row)| (id, row)).collect());
            }
            Way::Category(category) => {
                let key = after.map(|id| (*category, id).to_bytes());
                let span = from(Span::prefix(category), key);
                let rows = view.rows_by(PRODUCTS_BY_CATEGORY, &span)?;
                return Ok(rows.into_iter().map(|(_, id, row)| (id, row)).collect());
            }
            Way::Word(word) => {
                let key = after.map(|id| (word.clone(), id).to_bytes());
                let entries = view.scan(WORDS, &from(Span::prefix(word), key))?;
                entries.into_iter().map(|((_, id), ())| id).collect()
            }
            Way::These(ids) => {
                let first = ids.partition_point(|id| Some(*id) <= after);
                ids[first..].iter().take(BATCH).copied().collect()
            }
        };
        let mut products = Vec::with_capacity(ids.len());
        for id in ids {
            products.push((id, find(&id, view)?));
        }
        Ok(products)
    }
}
