//! The seed: what an empty shop begins with.
//!
//! A first start on an empty data directory puts a dozen products into the catalog, publishes them,
//! and receives some of each. The ids are fixed and each step may be repeated, so a start that died
//! in the middle is completed by the next: the file `seed.pending` says so from before the first
//! step until after the last.
//!
//! Everything is said to the catalog; inventory and order hear of it. The shop is open once they
//! have: whoever sees a product can order it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redeliver::{CallError, IdempotencyKey, Query, Service, ServiceHandle, Watch};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::app::Shop;
use crate::catalog::{CreateCategory, CreateProduct, ProductById, PublishProduct};
use crate::ids::{CategoryId, ProductId};
use crate::inventory::{AdjustStock, AdjustmentReason, SetReorderLevel, StockOfProduct};
use crate::money::{Currency, Money};
use crate::order::PriceOfProduct;

/// Of each product.
pub const UNITS: u64 = 10_000;
/// At how many available ones it is time to reorder.
pub const REORDER_LEVEL: u64 = 100;

/// How long the services may take to hear of what was put into the catalog.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

const PENDING: &str = "seed.pending";

/// A product of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedEntry {
    /// Stock keeping unit.
    pub sku: &'static str,
    /// Name.
    pub name: &'static str,
    /// What there is to say about it.
    pub description: &'static str,
    /// Price in minor units.
    pub price: i64,
    /// Place of its category in [`CATEGORIES`].
    pub category: usize,
}

/// The categories of the seed, in the order of their ids.
pub const CATEGORIES: [&str; 3] = ["Tea and coffee", "Kitchen", "Table"];

/// The products of the seed, in the order of their ids.
pub const PRODUCTS: [SeedEntry; 14] = [
    entry(
        "MUG-BLUE",
        "Blue mug",
        999,
        2,
        "Stoneware, 0.3 l, glazed by hand.",
    ),
    entry(
        "MUG-WHITE",
        "White mug",
        899,
        2,
        "Porcelain, 0.3 l, safe in the dishwasher.",
    ),
    entry(
        "TEAPOT-1L",
        "Teapot, 1 l",
        3_490,
        2,
        "Cast iron with a strainer of steel.",
    ),
    entry(
        "KETTLE-STEEL",
        "Steel kettle",
        4_990,
        1,
        "1.7 l, for every kind of stove.",
    ),
    entry(
        "TEA-ASSAM-250",
        "Assam tea, 250 g",
        1_290,
        0,
        "Black tea, strong and malty.",
    ),
    entry(
        "TEA-SENCHA-100",
        "Sencha tea, 100 g",
        1_190,
        0,
        "Green tea of the first harvest.",
    ),
    entry(
        "COFFEE-HOUSE-500",
        "House blend coffee, 500 g",
        1_450,
        0,
        "Whole beans, medium roast.",
    ),
    entry(
        "FILTER-PAPER-100",
        "Paper filters, 100 pieces",
        390,
        0,
        "Size 4, unbleached.",
    ),
    entry(
        "GRINDER-HAND",
        "Hand grinder",
        5_900,
        1,
        "Ceramic burrs, from espresso to press.",
    ),
    entry(
        "SCALE-1G",
        "Kitchen scale",
        2_490,
        1,
        "Up to 5 kg, to the gram.",
    ),
    entry(
        "SPOON-SET-6",
        "Teaspoons, set of 6",
        1_690,
        2,
        "Polished steel.",
    ),
    entry("TRAY-OAK", "Oak tray", 2_990, 2, "Oiled oak, 40 by 30 cm."),
    entry(
        "TOWEL-LINEN",
        "Linen tea towel",
        1_250,
        1,
        "Washed linen, 50 by 70 cm.",
    ),
    entry(
        "HONEY-FOREST-500",
        "Forest honey, 500 g",
        850,
        0,
        "Dark honey from local bees.",
    ),
];

const fn entry(
    sku: &'static str,
    name: &'static str,
    price: i64,
    category: usize,
    description: &'static str,
) -> SeedEntry {
    SeedEntry {
        sku,
        name,
        description,
        price,
        category,
    }
}

/// The id of the product at this place of [`PRODUCTS`].
pub fn product_id(place: usize) -> ProductId {
    ProductId(Uuid::from_u128(FIXED + 1 + place as u128))
}

/// The id of the category at this place of [`CATEGORIES`].
pub fn category_id(place: usize) -> CategoryId {
    CategoryId(Uuid::from_u128(FIXED + 0x1_0000 + place as u128))
}

/// A version 7 of a time long past, so that what is of the seed sorts before everything else.
const FIXED: u128 = 0x0180_0000_0000_7000_8000_0000_0000_0000;

/// The shop could not be seeded.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The marker could not be written or removed.
    #[error(
        "{path} cannot be written ({error}); give this user write access or choose another data directory"
    )]
    Marker {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A service refused something.
    #[error("{what} could not be seeded: {error}; start again to complete the seed")]
    Refused {
        /// A product's stock keeping unit, or a category's name.
        what: &'static str,
        /// What the service said.
        error: Box<CallError>,
    },
    /// A service has not heard of a product.
    #[error(
        "service {service} has not heard of product {what} within {HEARD_WITHIN:?}; see whether it has failed, and start again to complete the seed"
    )]
    Unheard {
        /// The product's stock keeping unit.
        what: &'static str,
        /// The service's name.
        service: &'static str,
    },
}

/// Whether the shop is to be seeded, found out before the data directory is opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Seeding {
    marker: Option<PathBuf>,
    /// Whether nothing was there before.
    pub first_start: bool,
}

impl Seeding {
    /// Looks at the data directory, and marks it if it is to be seeded.
    pub fn plan(data: &Path, wanted: bool) -> Result<Seeding, SeedError> {
        let path = data.join(PENDING);
        let marked = |error| SeedError::Marker {
            path: path.clone(),
            error,
        };
        let first_start = is_empty(data).map_err(marked)?;
        if !wanted {
            return Ok(Seeding {
                marker: None,
                first_start,
            });
        }
        if first_start {
            mark(data, &path).map_err(marked)?;
        }
        let marker = path.exists().then_some(path);
        Ok(Seeding {
            marker,
            first_start,
        })
    }

    /// Puts every product there, if that is to be done.
    pub async fn complete(self, shop: &Shop, currency: Currency) -> Result<(), SeedError> {
        let Some(path) = self.marker else {
            return Ok(());
        };
        sow(shop, currency, UNITS, REORDER_LEVEL).await?;
        fs::remove_file(&path).map_err(|error| SeedError::Marker { path, error })
    }
}

/// Puts every product of the seed there, and receives so many of each. What is there already stays
/// as it is.
pub async fn sow(
    shop: &Shop,
    currency: Currency,
    units: u64,
    reorder_level: u64,
) -> Result<(), SeedError> {
    for (place, name) in CATEGORIES.into_iter().enumerate() {
        let category = CreateCategory {
            category_id: Some(category_id(place)),
            name: name.to_owned(),
            description: String::new(),
        };
        let made = shop.catalog().call(category).await;
        made.map_err(|error| refused(name, error))?;
    }
    // All of them first: the services hear of one while the next is put there.
    for (place, entry) in PRODUCTS.iter().enumerate() {
        let product_id = product_id(place);
        let product = CreateProduct {
            product_id: Some(product_id),
            sku: entry.sku.to_owned(),
            name: entry.name.to_owned(),
            description: entry.description.to_owned(),
            price: Some(Money::new(entry.price, currency)),
            category_id: Some(category_id(entry.category)),
        };
        let publish = PublishProduct {
            product_id,
            if_version: None,
        };
        let failed = |error| refused(entry.sku, error);
        shop.catalog().call(product).await.map_err(failed)?;
        shop.catalog().call(publish).await.map_err(failed)?;
    }
    let deadline = Instant::now() + HEARD_WITHIN;
    for (place, entry) in PRODUCTS.iter().enumerate() {
        let heard = Heard {
            sku: entry.sku,
            product_id: product_id(place),
            deadline,
        };
        stock(shop, &heard, units, reorder_level).await?;
        heard.priced(shop).await?;
        heard.shown(shop).await?;
    }
    tracing::info!(products = PRODUCTS.len(), units, "shop seeded");
    Ok(())
}

/// Receives so many of a product, once.
async fn stock(
    shop: &Shop,
    heard: &Heard,
    units: u64,
    reorder_level: u64,
) -> Result<(), SeedError> {
    let failed = |error| refused(heard.sku, error);
    let product_id = heard.product_id;
    let record = heard.opened(shop).await?;
    // Nobody can order before the seed is complete: what is there was received by an earlier start.
    if record.on_hand == 0 && units > 0 {
        let receive = AdjustStock {
            product_id,
            delta: i64::try_from(units).unwrap_or(i64::MAX),
            reason: AdjustmentReason::Received,
        };
        let once = IdempotencyKey::new("seed", product_id.to_string(), b"received");
        let call = shop.inventory().command(receive).idempotency(Some(once));
        call.send().await.map_err(failed)?;
    }
    let level = SetReorderLevel {
        product_id,
        reorder_level,
    };
    shop.inventory().call(level).await.map_err(failed)?;
    Ok(())
}

/// A product that the services hear of by and by.
struct Heard {
    sku: &'static str,
    product_id: ProductId,
    deadline: Instant,
}

impl Heard {
    /// Its stock record.
    async fn opened(&self, shop: &Shop) -> Result<crate::inventory::ProductStock, SeedError> {
        let product_id = self.product_id;
        let ask = || StockOfProduct { product_id };
        self.wait(shop.inventory(), ask, |_| true).await
    }

    /// Until it can be ordered.
    async fn priced(&self, shop: &Shop) -> Result<(), SeedError> {
        let product_id = self.product_id;
        let ask = || PriceOfProduct { product_id };
        let entry = self.wait(shop.order(), ask, |entry| entry.published);
        entry.await.map(drop)
    }

    /// Until buyers see that there is some of it.
    async fn shown(&self, shop: &Shop) -> Result<(), SeedError> {
        let stock = self.opened(shop).await?;
        let ask = || ProductById {
            product_id: self.product_id,
            published_only: false,
        };
        let product = self.wait(shop.catalog(), ask, |product| {
            product.available == stock.available
        });
        product.await.map(drop)
    }

    /// Asks again whenever something has changed, until the answer is as it should be.
    async fn wait<S: Service, Q: Query>(
        &self,
        service: ServiceHandle<S>,
        ask: impl Fn() -> Q,
        there: impl Fn(&Q::Answer) -> bool,
    ) -> Result<Q::Answer, SeedError> {
        // Watching begins before the first look, so no change falls between.
        let watch: Watch = service.watch(&self.product_id);
        loop {
            let changed = watch.changed();
            match service.query(ask()).await {
                Ok(answer) if there(&answer) => return Ok(answer),
                // Not there yet, or not as it should be.
                Ok(_) | Err(CallError::Rejected(_)) => {}
                Err(error) => return Err(refused(self.sku, error)),
            }
            if timeout_at(self.deadline, changed).await.is_err() {
                return Err(SeedError::Unheard {
                    what: self.sku,
                    service: S::NAME,
                });
            }
        }
    }
}

fn refused(what: &'static str, error: CallError) -> SeedError {
    SeedError::Refused {
        what,
        error: Box::new(error),
    }
}

fn is_empty(data: &Path) -> io::Result<bool> {
    match fs::read_dir(data) {
        Ok(entries) => {
            for entry in entries {
                // A file system of its own is not empty either.
                if entry?.file_name() != "lost+found" {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Durable before anything else is in the directory, so that no crash leaves half a seed that
/// looks like a shop somebody has emptied.
fn mark(data: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(data)?;
    File::create(path)?.sync_all()?;
    File::open(data)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_seed_is_planned_for_an_empty_directory_and_until_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = Seeding::plan(&data, true).unwrap();
        assert!(first.first_start && first.marker.is_some());
        // The process dies here.
        let second = Seeding::plan(&data, true).unwrap();
        assert!(!second.first_start && second.marker.is_some());
        fs::remove_file(second.marker.unwrap()).unwrap();
        fs::write(data.join("something"), "").unwrap();
        assert_eq!(Seeding::plan(&data, true).unwrap().marker, None);
    }

    #[test]
    fn nothing_is_written_when_no_seed_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        assert_eq!(Seeding::plan(&data, false).unwrap().marker, None);
        assert!(!data.exists());
    }

    #[test]
    fn products_of_the_seed_are_distinct_and_worth_something() {
        let skus: HashSet<_> = PRODUCTS.iter().map(|entry| entry.sku).collect();
        assert_eq!(skus.len(), PRODUCTS.len());
        assert!(PRODUCTS.iter().all(|entry| entry.price > 0));
        assert!(
            PRODUCTS
                .iter()
                .all(|entry| entry.category < CATEGORIES.len())
        );
        assert_ne!(product_id(0), product_id(1));
    }
}
