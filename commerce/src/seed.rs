//! The seed: what an empty shop begins with.
//!
//! A first start on an empty data directory puts a dozen products on the price list, with stock.
//! The ids are fixed and each step may be repeated, so a start that died in the middle is
//! completed by the next: the file `seed.pending` says so from before the first step until after
//! the last.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redeliver::CallError;
use uuid::Uuid;

use crate::app::Shop;
use crate::ids::ProductId;
use crate::inventory::SeedProduct;
use crate::money::{Currency, Money};
use crate::order::requests::ListProduct;

/// Of each product.
pub const UNITS: u64 = 10_000;
/// At how many available ones it is time to reorder.
pub const REORDER_LEVEL: u64 = 100;

const PENDING: &str = "seed.pending";

/// A product of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedEntry {
    /// Stock keeping unit.
    pub sku: &'static str,
    /// Name.
    pub name: &'static str,
    /// Price in minor units.
    pub price: i64,
}

/// The products of the seed, in the order of their ids.
pub const PRODUCTS: [SeedEntry; 14] = [
    entry("MUG-BLUE", "Blue mug", 999),
    entry("MUG-WHITE", "White mug", 899),
    entry("TEAPOT-1L", "Teapot, 1 l", 3_490),
    entry("KETTLE-STEEL", "Steel kettle", 4_990),
    entry("TEA-ASSAM-250", "Assam tea, 250 g", 1_290),
    entry("TEA-SENCHA-100", "Sencha tea, 100 g", 1_190),
    entry("COFFEE-HOUSE-500", "House blend coffee, 500 g", 1_450),
    entry("FILTER-PAPER-100", "Paper filters, 100 pieces", 390),
    entry("GRINDER-HAND", "Hand grinder", 5_900),
    entry("SCALE-1G", "Kitchen scale", 2_490),
    entry("SPOON-SET-6", "Teaspoons, set of 6", 1_690),
    entry("TRAY-OAK", "Oak tray", 2_990),
    entry("TOWEL-LINEN", "Linen tea towel", 1_250),
    entry("HONEY-FOREST-500", "Forest honey, 500 g", 850),
];

const fn entry(sku: &'static str, name: &'static str, price: i64) -> SeedEntry {
    SeedEntry { sku, name, price }
}

/// The id of the product at this place of [`PRODUCTS`].
pub fn product_id(place: usize) -> ProductId {
    // A version 7 of a time long past, so that products of the seed sort before all others.
    let fixed = 0x0180_0000_0000_7000_8000_0000_0000_0000_u128;
    ProductId(Uuid::from_u128(fixed + 1 + place as u128))
}

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
    /// A service refused a product.
    #[error("product {sku} could not be seeded: {error}; start again to complete the seed")]
    Refused {
        /// Which product.
        sku: &'static str,
        /// What the service said.
        error: Box<CallError>,
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
        sow(shop, currency).await?;
        fs::remove_file(&path).map_err(|error| SeedError::Marker { path, error })
    }
}

/// Puts every product of the seed there. What is there already stays as it is.
pub async fn sow(shop: &Shop, currency: Currency) -> Result<(), SeedError> {
    for (place, entry) in PRODUCTS.iter().enumerate() {
        let refused = |error| SeedError::Refused {
            sku: entry.sku,
            error: Box::new(error),
        };
        let product_id = product_id(place);
        let stock = SeedProduct {
            product_id,
            sku: entry.sku.to_owned(),
            name: entry.name.to_owned(),
            on_hand: UNITS,
            reorder_level: REORDER_LEVEL,
        };
        let price = ListProduct {
            product_id,
            sku: entry.sku.to_owned(),
            name: entry.name.to_owned(),
            price: Money::new(entry.price, currency),
            published: true,
        };
        // Stock first: what can be ordered can be delivered.
        shop.inventory().call(stock).await.map_err(refused)?;
        shop.order().call(price).await.map_err(refused)?;
    }
    tracing::info!(products = PRODUCTS.len(), units = UNITS, "shop seeded");
    Ok(())
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
        assert_ne!(product_id(0), product_id(1));
    }
}
