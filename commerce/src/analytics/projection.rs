//! The projection: which rows a fact changes.

use redeliver::{Context, Rejection, Table, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::calendar::Day;
use super::facts::{Fact, What};
use super::figures::{Figures, Revenue, Sales, TooLarge, sum};
use super::service::Analytics;
use super::tables::{
    ACCOUNTS, DAYS, Generation, LEVELS, MONTHS, SALES, SALES_OF_DAYS, SALES_OF_MONTHS,
};
use crate::ids::{ProductId, UserId};

/// Folds a fact into a generation.
pub(super) fn fold(
    generation: Generation,
    fact: &Fact,
    cx: &mut Context<Analytics>,
) -> Result<(), Rejection> {
    let what = &fact.what;
    if is_of_a_day(what) {
        let day = Day::of(fact.at);
        let count = |figures: &mut Figures| figures.count(what);
        change(DAYS, (generation, day), Figures::default, count, cx)?;
        let month = (generation, day.month());
        change(MONTHS, month, Figures::default, count, cx)?;
    }
    if let Some(customer) = payer(what) {
        let count = |account: &mut Revenue| account.count(what);
        change(
            ACCOUNTS,
            (generation, customer),
            Revenue::default,
            count,
            cx,
        )?;
    }
    if let Some(product) = sold(what) {
        let count = |sales: &mut Sales| sales.count(fact);
        change(SALES, (generation, product), Sales::none, count, cx)?;
        let day = Day::of(fact.at);
        let of_day = (generation, (day, product));
        change(SALES_OF_DAYS, of_day, Sales::none, count, cx)?;
        let of_month = (generation, (day.month(), product));
        change(SALES_OF_MONTHS, of_month, Sales::none, count, cx)?;
    }
    if let What::Stock { product, delta } = what {
        let count = |level: &mut i128| sum("stock", level, i128::from(*delta));
        change(LEVELS, (generation, *product), || 0, count, cx)?;
    }
    Ok(())
}

/// Whether a day's figures know of it.
fn is_of_a_day(what: &What) -> bool {
    match what {
        What::Created { .. }
        | What::Confirmed { .. }
        | What::Cancelled { .. }
        | What::Delivered { .. }
        | What::Captured { .. }
        | What::Refunded { .. }
        | What::Viewed { .. }
        | What::AddedToCart { .. }
        | What::Purchased { .. } => true,
        What::Voided { .. } | What::Stock { .. } => false,
    }
}

/// Whose account it moves.
fn payer(what: &What) -> Option<UserId> {
    match what {
        What::Captured { customer, .. } | What::Refunded { customer, .. } => Some(*customer),
        What::Created { .. }
        | What::Confirmed { .. }
        | What::Cancelled { .. }
        | What::Delivered { .. }
        | What::Voided { .. }
        | What::Viewed { .. }
        | What::AddedToCart { .. }
        | What::Purchased { .. }
        | What::Stock { .. } => None,
    }
}

/// Which product it sells.
fn sold(what: &What) -> Option<ProductId> {
    match what {
        What::Purchased { product, .. } => Some(*product),
        What::Created { .. }
        | What::Confirmed { .. }
        | What::Cancelled { .. }
        | What::Delivered { .. }
        | What::Captured { .. }
        | What::Refunded { .. }
        | What::Voided { .. }
        | What::Viewed { .. }
        | What::AddedToCart { .. }
        | What::Stock { .. } => None,
    }
}

fn change<K, V>(
    table: Table<K, V>,
    key: K,
    none: impl FnOnce() -> V,
    count: impl FnOnce(&mut V) -> Result<(), TooLarge>,
    cx: &mut Context<Analytics>,
) -> Result<(), Rejection>
where
    K: TableKey + 'static,
    V: Serialize + DeserializeOwned + 'static,
{
    let mut row = cx.get(table, &key)?.unwrap_or_else(none);
    count(&mut row)?;
    cx.put(table, &key, &row)?;
    Ok(())
}
