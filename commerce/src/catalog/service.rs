//! The catalog service.

use redeliver::prelude::*;

use super::messages::{
    ProductCreated, ProductPriceChanged, ProductPublished, ProductUnpublished, ProductUpdated,
    ProductViewed,
};
use crate::money::Currency;

/// Products and their prices.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The one currency of the shop.
    pub currency: Currency,
}

impl Service for Catalog {
    const NAME: &'static str = "catalog";

    fn handlers(on: &mut Handlers<Self>) {
        on.publishes_outside::<ProductCreated>()
            .publishes_outside::<ProductUpdated>()
            .publishes_outside::<ProductPriceChanged>()
            .publishes_outside::<ProductPublished>()
            .publishes_outside::<ProductUnpublished>()
            .publishes_outside::<ProductViewed>();
    }
}
