//! What the analytics service answers. Every answer reads a bounded number of rows of the live
//! generation: a span of days is its whole months and the days at its two ends.

use std::collections::BTreeMap;

use redeliver::prelude::*;
use serde::de::DeserializeOwned;

use super::calendar::{Day, Month, Range};
use super::figures::{Figures, Revenue, Sales};
use super::messages::{
    ConversionFunnel, Dashboard, DashboardView, FunnelView, LifetimeValue, LifetimeValueView,
    OrdersSummary, RevenueByDay, RevenueByMonth, RevenueView, SalesOrder, SalesView,
    StockLevelView, StockLevels, SummaryView, TopSelling,
};
use super::service::Analytics;
use super::tables::{
    ACCOUNTS, DAYS, DAYS_WITH_REVENUE, Generation, LEVELS, MONTHS, MONTHS_WITH_REVENUE,
    SALES_BY_REVENUE, SALES_BY_UNITS, SALES_OF_DAYS, SALES_OF_MONTHS,
};
use crate::ids::ProductId;
use crate::money::{Currency, Money};
use crate::page::{Listing, Page};

/// Products on the dashboard.
const TOP_PRODUCTS: u16 = 10;

/// Rows that are summed up to rank the products of some days: of a thousand products some eight
/// years, as months that are whole are one row a product.
const RANKED_ROWS_MAX: usize = 100_000;

type Seen = View<Analytics>;

impl Analytics {
    pub(super) fn orders_summary(
        &self,
        ask: OrdersSummary,
        view: &Seen,
    ) -> Result<SummaryView, Rejection> {
        let books = self.books(view)?;
        let range = forwards(ask.range)?;
        summary(&total(books.live, range, view)?, books.currency)
    }

    pub(super) fn conversion_funnel(
        &self,
        ask: ConversionFunnel,
        view: &Seen,
    ) -> Result<FunnelView, Rejection> {
        let range = forwards(ask.range)?;
        Ok(funnel(&total(self.books(view)?.live, range, view)?))
    }

    pub(super) fn revenue_by_day(
        &self,
        ask: RevenueByDay,
        view: &Seen,
    ) -> Result<Listing<RevenueView>, Rejection> {
        let range = forwards(ask.range)?;
        self.revenue(DAYS_WITH_REVENUE, range.from, range.to, &ask.page, view)
    }

    pub(super) fn revenue_by_month(
        &self,
        ask: RevenueByMonth,
        view: &Seen,
    ) -> Result<Listing<RevenueView>, Rejection> {
        let range = forwards(ask.range)?;
        let (from, to) = (range.from.map(Day::month), range.to.map(Day::month));
        self.revenue(MONTHS_WITH_REVENUE, from, to, &ask.page, view)
    }

    fn revenue<P: TableKey + Copy + ToString>(
        &self,
        periods: Index<(), (Generation, P), Figures>,
        from: Option<P>,
        to: Option<P>,
        page: &Page,
        view: &Seen,
    ) -> Result<Listing<RevenueView>, Rejection> {
        let books = self.books(view)?;
        let mut span = within(books.live, from, to).limit(page.rows()? + 1);
        if let Some(last) = page.after::<P>()? {
            span = span.after(&(books.live, last));
        }
        let mut items = Vec::new();
        for ((), (_, period), figures) in view.rows_by(periods, &span)? {
            items.push((period, revenue(&period, &figures.money, books.currency)?));
        }
        page.listing(items, |(period, _)| *period, |(_, item)| item)
    }

    pub(super) fn top_selling(
        &self,
        ask: TopSelling,
        view: &Seen,
    ) -> Result<Listing<SalesView>, Rejection> {
        let range = forwards(ask.range)?;
        match (ask.by, range == Range::ALL) {
            (SalesOrder::Units, true) => self.top(SALES_BY_UNITS, &ask.page, view),
            (SalesOrder::Revenue, true) => self.top(SALES_BY_REVENUE, &ask.page, view),
            (SalesOrder::Units, false) => {
                self.top_within(range, |sales| sales.units, &ask.page, view)
            }
            (SalesOrder::Revenue, false) => {
                self.top_within(range, |sales| sales.revenue, &ask.page, view)
            }
        }
    }

    /// The products that sold best in a range of days, which no index has in their order.
    fn top_within<I: TableKey + Ord + Copy>(
        &self,
        range: Range,
        by: fn(&Sales) -> I,
        page: &Page,
        view: &Seen,
    ) -> Result<Listing<SalesView>, Rejection> {
        let books = self.books(view)?;
        let (rows, shown) = (page.rows()?, page.after::<(I, ProductId)>()?);
        let sums = sold_within(books.live, range, view)?.into_iter();
        let mut ranked: Vec<_> = sums
            .map(|(product, sales)| ((by(&sales), product), sales))
            .filter(|(place, _)| shown.is_none_or(|last| *place < last))
            .collect();
        ranked.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        ranked.truncate(rows + 1);
        let mut items = Vec::new();
        for (place, sales) in ranked {
            items.push((place, sold(place.1, sales, books.currency)?));
        }
        page.listing(items, |(key, _)| *key, |(_, item)| item)
    }

    fn top<I: TableKey + Copy>(
        &self,
        index: Index<(Generation, I), (Generation, ProductId), Sales>,
        page: &Page,
        view: &Seen,
    ) -> Result<Listing<SalesView>, Rejection> {
        let books = self.books(view)?;
        let live = books.live;
        let mut span = Span::prefix(&live).descending().limit(page.rows()? + 1);
        // Without the generation, a list that is being read goes on after a rebuild.
        if let Some((entry, product)) = page.after::<(I, ProductId)>()? {
            span = span.after(&((live, entry), (live, product)));
        }
        let mut items = Vec::new();
        for ((_, entry), (_, product), sales) in view.rows_by(index, &span)? {
            items.push(((entry, product), sold(product, sales, books.currency)?));
        }
        page.listing(items, |(key, _)| *key, |(_, item)| item)
    }

    pub(super) fn lifetime_value(
        &self,
        ask: LifetimeValue,
        view: &Seen,
    ) -> Result<LifetimeValueView, Rejection> {
        let books = self.books(view)?;
        let customer_id = ask.customer_id;
        let account = view.get(ACCOUNTS, &(books.live, customer_id))?;
        let account = account.unwrap_or_default();
        Ok(LifetimeValueView {
            customer_id,
            orders: account.orders,
            captured: money(account.captured, books.currency)?,
            refunded: money(account.refunded, books.currency)?,
            net: money(account.net()?, books.currency)?,
        })
    }

    pub(super) fn stock_levels(
        &self,
        ask: StockLevels,
        view: &Seen,
    ) -> Result<Listing<StockLevelView>, Rejection> {
        let live = self.books(view)?.live;
        let mut span = Span::prefix(&live).limit(ask.page.rows()? + 1);
        if let Some(last) = ask.page.after::<ProductId>()? {
            span = span.after(&(live, last));
        }
        let mut items = Vec::new();
        for ((_, product_id), level) in view.scan(LEVELS, &span)? {
            let on_hand = i64::try_from(level).map_err(|_| too_large(level))?;
            items.push(StockLevelView {
                product_id,
                on_hand,
            });
        }
        ask.page.listing(items, |item| item.product_id, |item| item)
    }

    pub(super) fn dashboard(&self, _: Dashboard, view: &Seen) -> Result<DashboardView, Rejection> {
        let books = self.books(view)?;
        let day = Day::of(view.now());
        let today = total(books.live, Range::of(day), view)?;
        let all = total(books.live, Range::ALL, view)?;
        let page = Page {
            limit: Some(TOP_PRODUCTS),
            cursor: None,
        };
        Ok(DashboardView {
            date: day.to_string(),
            today: summary(&today, books.currency)?,
            funnel_today: funnel(&today),
            totals: summary(&all, books.currency)?,
            funnel: funnel(&all),
            top_products: self.top(SALES_BY_UNITS, &page, view)?.items,
        })
    }
}

fn forwards(range: Range) -> Result<Range, Rejection> {
    if range.is_backwards() {
        return Err(Rejection::invalid(
            "invalid_range",
            "from is after to; exchange them",
        ));
    }
    Ok(range)
}

/// What happened in a range of days.
fn total(live: Generation, range: Range, view: &Seen) -> Result<Figures, Rejection> {
    let mut sum = Figures::default();
    let months = within(live, range.from.map(Day::month), range.to.map(Day::month));
    each(MONTHS, months, view, |(_, month): (_, Month), figures| {
        if range.covers(month) {
            return Ok(sum.add(&figures)?);
        }
        let part = range.within(month);
        let days = within(live, part.from, part.to);
        each(DAYS, days, view, |_, figures| Ok(sum.add(&figures)?))
    })?;
    Ok(sum)
}

/// What was sold of each product in a range of days.
fn sold_within(
    live: Generation,
    range: Range,
    view: &Seen,
) -> Result<BTreeMap<ProductId, Sales>, Rejection> {
    let mut sums: BTreeMap<ProductId, Sales> = BTreeMap::new();
    let mut rows = 0;
    let mut add = |product: ProductId, sales: &Sales| {
        rows += 1;
        if rows > RANKED_ROWS_MAX {
            return Err(Rejection::invalid(
                "too_many_sales",
                "more products were sold on these days than can be ranked at once; ask for fewer \
                 days, or for all by leaving from and to out",
            ));
        }
        Ok(sums.entry(product).or_insert_with(Sales::none).add(sales)?)
    };
    let months = within(live, range.from.map(Day::month), range.to.map(Day::month));
    each(MONTHS, months, view, |(_, month): (_, Month), figures| {
        if figures.purchased == 0 {
            return Ok(());
        }
        if range.covers(month) {
            let of_month = Span::prefix(&(live, month));
            return each(
                SALES_OF_MONTHS,
                of_month,
                view,
                |(_, (_, product)), sales| add(product, &sales),
            );
        }
        let part = range.within(month);
        let days = within(live, part.from, part.to);
        each(DAYS, days, view, |(_, day): (_, Day), figures| {
            if figures.purchased == 0 {
                return Ok(());
            }
            let of_day = Span::prefix(&(live, day));
            each(SALES_OF_DAYS, of_day, view, |(_, (_, product)), sales| {
                add(product, &sales)
            })
        })
    })?;
    Ok(sums)
}

/// The rows of a generation from one period to another, both included.
fn within<P: TableKey>(live: Generation, from: Option<P>, to: Option<P>) -> Span {
    let mut span = Span::prefix(&live);
    if let Some(from) = from {
        span = span.from(&(live, from));
    }
    match to {
        // One more byte than the last key, and so the first that is greater.
        Some(to) => span.below(&((live, to), false)),
        None => span,
    }
}

/// Every row of a span, read piece by piece.
fn each<K, V>(
    table: Table<K, V>,
    span: Span,
    view: &Seen,
    mut act: impl FnMut(K, V) -> Result<(), Rejection>,
) -> Result<(), Rejection>
where
    K: TableKey,
    V: Serialize + DeserializeOwned,
{
    const ROWS: usize = 512;
    let mut span = span.limit(ROWS);
    loop {
        let rows = view.scan(table, &span)?;
        let more = rows.len() == ROWS;
        if let Some((last, _)) = rows.last() {
            span = span.after(last);
        }
        for (key, row) in rows {
            act(key, row)?;
        }
        if !more {
            return Ok(());
        }
    }
}

fn summary(figures: &Figures, currency: Currency) -> Result<SummaryView, Rejection> {
    Ok(SummaryView {
        created: figures.created,
        confirmed: figures.confirmed,
        cancelled: figures.cancelled,
        delivered: figures.delivered,
        revenue: money(figures.money.captured, currency)?,
        refunded: money(figures.money.refunded, currency)?,
        average_order_value: money(figures.money.average(), currency)?,
    })
}

fn funnel(figures: &Figures) -> FunnelView {
    FunnelView {
        viewed: figures.viewed,
        added_to_cart: figures.added_to_cart,
        ordered: figures.ordered,
        purchased: figures.purchased,
    }
}

fn revenue(
    period: &impl ToString,
    money_of: &Revenue,
    currency: Currency,
) -> Result<RevenueView, Rejection> {
    Ok(RevenueView {
        period: period.to_string(),
        orders: money_of.orders,
        captured: money(money_of.captured, currency)?,
        refunded: money(money_of.refunded, currency)?,
        net: money(money_of.net()?, currency)?,
    })
}

fn sold(product_id: ProductId, sales: Sales, currency: Currency) -> Result<SalesView, Rejection> {
    Ok(SalesView {
        product_id,
        name: sales.name,
        units: sales.units,
        revenue: money(sales.revenue, currency)?,
    })
}

/// Money as it is shown. The books count further than an amount can say.
fn money(minor_units: i128, currency: Currency) -> Result<Money, Rejection> {
    match i64::try_from(minor_units) {
        Ok(amount) => Ok(Money::new(amount, currency)),
        Err(_) => Err(too_large(minor_units)),
    }
}

fn too_large(number: i128) -> Rejection {
    Rejection::invalid(
        "figure_too_large",
        format!("{number} is more than an answer can hold; ask for fewer days"),
    )
}
