//! What the analytics service keeps.

use redeliver::{Index, KeyReader, Table, TableKey, Timestamp};
use serde::{Deserialize, Serialize};

use super::calendar::{Day, Month};
use super::facts::Fact;
use super::figures::{Figures, Revenue, Sales};
use crate::ids::{ProductId, UserId};
use crate::money::Currency;

/// Every fact, by the order in which they came. Kept for ever.
pub const FACTS: Table<u64, Fact> = Table::new("facts");

/// Where the books stand: one row.
pub const BOOKS: Table<(), Books> = Table::new("books");

/// What happened on a day.
pub const DAYS: Table<(Generation, Day), Figures> = Table::new("days");

/// Days on which money moved.
pub const DAYS_WITH_REVENUE: Index<(), (Generation, Day), Figures> =
    Index::new("days_with_revenue", DAYS, |_day, figures| {
        figures.money.is_any().then_some(())
    });

/// What happened in a month: sums of its days, so that long spans are few rows.
pub const MONTHS: Table<(Generation, Month), Figures> = Table::new("months");

/// Months in which money moved.
pub const MONTHS_WITH_REVENUE: Index<(), (Generation, Month), Figures> =
    Index::new("months_with_revenue", MONTHS, |_month, figures| {
        figures.money.is_any().then_some(())
    });

/// What was sold of each product.
pub const SALES: Table<(Generation, ProductId), Sales> = Table::new("sales");

/// Products by how many of them were sold.
pub const SALES_BY_UNITS: Index<(Generation, u64), (Generation, ProductId), Sales> =
    Index::new("sales_by_units", SALES, |(generation, _), sales| {
        Some((*generation, sales.units))
    });

/// Products by what they brought in.
pub const SALES_BY_REVENUE: Index<(Generation, i128), (Generation, ProductId), Sales> =
    Index::new("sales_by_revenue", SALES, |(generation, _), sales| {
        Some((*generation, sales.revenue))
    });

/// What was sold of each product on a day.
pub const SALES_OF_DAYS: Table<(Generation, (Day, ProductId)), Sales> = Table::new("sales_of_days");

/// What was sold of each product in a month: sums of its days, so that long spans are fewer rows.
pub const SALES_OF_MONTHS: Table<(Generation, (Month, ProductId)), Sales> =
    Table::new("sales_of_months");

/// What each customer has paid. Stays when the user is deleted: a financial record under an id
/// that means nothing any more.
pub const ACCOUNTS: Table<(Generation, UserId), Revenue> = Table::new("accounts");

/// How many of each product are on hand.
pub const LEVELS: Table<(Generation, ProductId), i128> = Table::new("levels");

/// Which run over the facts has made a row.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Generation(pub u32);

impl TableKey for Generation {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        u32::read(from).map(Generation)
    }
}

/// Where the books stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// In which all amounts are.
    pub currency: Currency,
    /// The generation that answers.
    pub live: Generation,
    /// The number of the next fact; so many there are.
    pub next: u64,
    /// The rebuild that runs.
    pub rebuild: Option<Rebuilding>,
    /// Whether rows of other generations are left to be removed.
    pub clearing: bool,
    /// The chain of steps that may go on; those of earlier ones have been given up.
    pub chain: u32,
    /// When the last rebuild began and ended.
    pub rebuilt: Option<(Timestamp, Timestamp)>,
}

/// How far a rebuild has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilding {
    /// The generation it makes.
    pub generation: Generation,
    /// The next fact it folds.
    pub cursor: u64,
    /// When it began.
    pub started_at: Timestamp,
}

impl Books {
    /// Books in which nothing is written.
    pub fn empty(currency: Currency) -> Books {
        Books {
            currency,
            live: Generation(0),
            next: 0,
            rebuild: None,
            clearing: false,
            chain: 0,
            rebuilt: None,
        }
    }
}
