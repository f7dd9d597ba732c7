//! The price list: what can be ordered and for how much, as the catalog says.
//!
//! A handler cannot ask another service, so the order service keeps what it needs of the catalog.
//! What was placed is not touched by what changes here: an order has its prices in its own facts.

use redeliver::prelude::*;

use super::Orders;
use super::requests::{ListedProduct, PriceOfProduct};
use super::tables::{PRICES, Price};
use crate::catalog::{
    ProductCreated, ProductPriceChanged, ProductPublished, ProductUnpublished, ProductUpdated,
};
use crate::ids::ProductId;
use crate::money::Money;

impl Orders {
    pub(super) fn product_created(
        &self,
        product: ProductCreated,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let entry = Price {
            sku: product.sku,
            name: product.name,
            // Nothing is published without a price, so nobody orders for nothing.
            price: product.price.unwrap_or(Money::zero(self.currency)),
            published: false,
        };
        cx.put(PRICES, &product.product_id, &entry)?;
        cx.notify(&product.product_id);
        Ok(())
    }

    pub(super) fn product_updated(
        &self,
        product: ProductUpdated,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        enter(product.product_id, cx, |entry| entry.name = product.name)
    }

    pub(super) fn product_price_changed(
        &self,
        change: ProductPriceChanged,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        enter(change.product_id, cx, |entry| entry.price = change.price)
    }

    pub(super) fn product_published(
        &self,
        published: ProductPublished,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        enter(published.product_id, cx, |entry| {
            entry.published = entry.price.amount > 0;
        })
    }

    pub(super) fn product_unpublished(
        &self,
        hidden: ProductUnpublished,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        enter(hidden.product_id, cx, |entry| entry.published = false)
    }

    pub(super) fn price_of(
        &self,
        ask: PriceOfProduct,
        view: &View<Self>,
    ) -> Result<ListedProduct, Rejection> {
        let id = ask.product_id;
        match view.get(PRICES, &id)? {
            Some(entry) => Ok(entry.view(id)),
            None => Err(Rejection::not_found(
                "no_such_product",
                format!("product {id} is not on the price list; check the id"),
            )),
        }
    }
}

fn enter(
    product: ProductId,
    cx: &mut Context<Orders>,
    change: impl FnOnce(&mut Price),
) -> Result<(), Rejection> {
    if cx.update(PRICES, &product, change)? {
        cx.notify(&product);
    } else {
        // Events about one product come in the order of sending, its creation first.
        tracing::warn!(%product, "product is not on the price list; its change is not noted");
    }
    Ok(())
}
