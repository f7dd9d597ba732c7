//! The currency note: which currency what is in a data directory is in.
//!
//! A shop has one currency for good: prices, payments and figures of another cannot be added to
//! them. A start with another one is refused before anything is opened. A directory without a
//! note, which is of an earlier version or restored from a backup, is known by its prices.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redeliver::{CallError, ServiceHandle};

use crate::catalog::{Catalog, ProductsList};
use crate::money::Currency;
use crate::page::{PAGE_ROWS_MAX, Page};
use crate::syncs::Syncs;

/// Name of the file.
const NOTE: &str = "currency";

/// The shop cannot be opened in the configured currency.
#[derive(Debug, thiserror::Error)]
pub enum CurrencyError {
    /// What is there is in another one.
    #[error(
        "data directory {data} is in {kept} and the shop is configured for {configured}; configure \
         {kept}, or choose another data directory for a shop in {configured}"
    )]
    Other {
        /// Which directory.
        data: PathBuf,
        /// What its prices are in.
        kept: Currency,
        /// What they were to be in.
        configured: Currency,
    },
    /// The note says nothing.
    #[error(
        "{path} names no currency; write the one of the shop's prices into it, such as EUR, or \
         remove it and the prices are looked at"
    )]
    Garbled {
        /// Which file.
        path: PathBuf,
    },
    /// The note cannot be read or written.
    #[error("{path} cannot be read and written ({error}); give this user access to it")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What is known of the currency of a data directory before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It is the configured one.
    Noted,
    /// Only its prices can tell.
    ByPrices,
}

/// Compares the configured currency with the note of a data directory; a new one gets its note.
pub fn check(data: &Path, configured: Currency, syncs: &Syncs) -> Result<Known, CurrencyError> {
    let path = data.join(NOTE);
    // Nothing is there yet that could be in any currency, whatever an interrupted start noted.
    if !data.join("cells").exists() {
        return note(data, configured, syncs).map(|()| Known::Noted);
    }
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Known::ByPrices),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(CurrencyError::Garbled { path });
        }
        Err(error) => return Err(CurrencyError::Io { path, error }),
    };
    match text.trim().parse() {
        Ok(kept) => same(data, kept, configured).map(|()| Known::Noted),
        Err(_) => Err(CurrencyError::Garbled { path }),
    }
}

/// Compares the configured currency with the prices of a shop whose directory has no note, and
/// notes it.
pub async fn check_prices(
    data: &Path,
    catalog: &ServiceHandle<Catalog>,
    configured: Currency,
    syncs: &Syncs,
) -> Result<(), CurrencyError> {
    match of_prices(catalog).await {
        Ok(Some(kept)) => same(data, kept, configured)?,
        Ok(None) => {}
        Err(error) => {
            // The next start looks again.
            tracing::warn!(%error, "the currency of the prices is not known");
            return Ok(());
        }
    }
    note(data, configured, syncs)
}

/// What the first price there is is in: all are in one currency.
async fn of_prices(catalog: &ServiceHandle<Catalog>) -> Result<Option<Currency>, CallError> {
    let mut cursor = None;
    loop {
        let products = catalog.query(ProductsList {
            text: None,
            category_id: None,
            price_min: None,
            price_max: None,
            status: None,
            page: Page {
                limit: Some(PAGE_ROWS_MAX),
                cursor,
            },
        });
        let products = products.await?;
        let mut prices = products.items.iter().filter_map(|product| product.price);
        if let Some(price) = prices.next() {
            return Ok(Some(price.currency));
        }
        cursor = products.next_cursor;
        if cursor.is_none() {
            return Ok(None);
        }
    }
}

fn same(data: &Path, kept: Currency, configured: Currency) -> Result<(), CurrencyError> {
    if kept == configured {
        return Ok(());
    }
    Err(CurrencyError::Other {
        data: data.to_owned(),
        kept,
        configured,
    })
}

fn note(data: &Path, currency: Currency, syncs: &Syncs) -> Result<(), CurrencyError> {
    let path = data.join(NOTE);
    fs::create_dir_all(data)
        .and_then(|()| syncs.put(&path, format!("{currency}\n").as_bytes()))
        .map_err(|error| CurrencyError::Io { path, error })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn usd() -> Currency {
        "USD".parse().unwrap()
    }

    #[test]
    fn a_directory_stays_in_the_currency_that_it_was_made_in() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let syncs = Syncs::default();
        assert_eq!(check(&data, usd(), &syncs).unwrap(), Known::Noted);
        // The first start died before anything was there.
        assert_eq!(check(&data, Currency::EUR, &syncs).unwrap(), Known::Noted);
        fs::create_dir(data.join("cells")).unwrap();
        assert_eq!(check(&data, Currency::EUR, &syncs).unwrap(), Known::Noted);
        let refused = check(&data, usd(), &syncs).unwrap_err().to_string();
        assert!(refused.contains("is in EUR") && refused.contains("configured for USD"));
        fs::write(data.join(NOTE), "euros").unwrap();
        let refused = check(&data, Currency::EUR, &syncs).unwrap_err();
        assert!(matches!(refused, CurrencyError::Garbled { .. }));
        fs::remove_file(data.join(NOTE)).unwrap();
        assert_eq!(check(&data, usd(), &syncs).unwrap(), Known::ByPrices);
    }
}
