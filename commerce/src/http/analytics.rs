//! Figures: what was ordered, earned and looked at.

use redeliver::http::Problem;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NotOne, StrDeserializer};
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::Ask;
use super::entry::Entry;
use super::table::{Access, Answer, Table};
use crate::analytics::{
    ConversionFunnel, Dashboard, DashboardView, Day, FunnelView, LifetimeValue, LifetimeValueView,
    OrdersSummary, Range, Rebuild, RebuildProgress, RebuildView, RevenueByDay, RevenueByMonth,
    RevenueView, SalesOrder, SalesView, StockLevelView, StockLevels, SummaryView, TopSelling,
};
use crate::identity::Role;
use crate::page::Listing;

const ANALYST: Access = Access::Only(Role::Analyst);
const OPERATOR: Access = Access::Only(Role::Operator);

pub(super) fn routes(on: &mut Table) {
    ranged(on.get("/analytics/orders/summary", ANALYST, summary))
        .about("Shows what became of the orders of some days.")
        .answers::<SummaryView>(StatusCode::OK);
    ranged(on.get("/analytics/revenue/daily", ANALYST, daily))
        .about("Lists the days on which money moved, earliest first.")
        .pages()
        .answers::<Listing<RevenueView>>(StatusCode::OK);
    ranged(on.get("/analytics/revenue/monthly", ANALYST, monthly))
        .about("Lists the months in which money moved, earliest first; months are whole.")
        .pages()
        .answers::<Listing<RevenueView>>(StatusCode::OK);
    let top = "/analytics/products/top-selling";
    ranged(on.get(top, ANALYST, top_selling))
        .about("Lists the products that sold best, by the days on which they were paid for.")
        .query("by", "`units` or `revenue`; units if left out.")
        .pages()
        .answers::<Listing<SalesView>>(StatusCode::OK);
    let value = "/analytics/customers/{customer_id}/lifetime-value";
    on.get(value, ANALYST, lifetime_value)
        .about("Shows what a customer has brought in.")
        .answers::<LifetimeValueView>(StatusCode::OK)
        .refuses(
            StatusCode::UNPROCESSABLE_ENTITY,
            "A sum is too large to show.",
        );
    ranged(on.get("/analytics/conversion-funnel", ANALYST, funnel))
        .about("Shows how many products were viewed, put into carts, ordered and paid for.")
        .answers::<FunnelView>(StatusCode::OK);
    on.get("/analytics/stock", ANALYST, stock)
        .about("Lists the stock of all products, as far as its changes were told.")
        .pages()
        .answers::<Listing<StockLevelView>>(StatusCode::OK);
    on.get("/analytics/dashboard", ANALYST, dashboard)
        .about("Shows the figures of today, all figures, and what sold best.")
        .answers::<DashboardView>(StatusCode::OK)
        .refuses(
            StatusCode::UNPROCESSABLE_ENTITY,
            "A sum is too large to show.",
        );
    on.get("/analytics/rebuild", OPERATOR, progress)
        .about("Shows how far a rebuild of the figures has come.")
        .answers::<RebuildView>(StatusCode::OK);
    on.post("/analytics/rebuild", OPERATOR, rebuild)
        .about("Counts all figures again from their facts, while those that are there answer.")
        .may_take::<RebuildAsked>()
        .answers::<RebuildView>(StatusCode::ACCEPTED);
}

fn ranged(entry: &mut Entry) -> &mut Entry {
    entry
        .query(
            "from",
            "The first day, as `2026-03-01` or as a time in it; all if left out.",
        )
        .query("to", "The last day, which is included; all if left out.")
}

async fn summary(ask: Ask) -> Answer {
    let range = range(&ask)?;
    answer::ok(
        &ask.query(ask.shop.analytics(), OrdersSummary { range })
            .await?,
    )
}

async fn daily(ask: Ask) -> Answer {
    let (range, page) = (range(&ask)?, ask.page()?);
    let query = RevenueByDay { range, page };
    ask.show_page(ask.query(ask.shop.analytics(), query).await?)
}

async fn monthly(ask: Ask) -> Answer {
    let (range, page) = (range(&ask)?, ask.page()?);
    let query = RevenueByMonth { range, page };
    ask.show_page(ask.query(ask.shop.analytics(), query).await?)
}

async fn top_selling(ask: Ask) -> Answer {
    let by = match ask.parameter("by") {
        None => SalesOrder::default(),
        Some(text) => {
            let by: StrDeserializer<'_, NotOne> = text.as_str().into_deserializer();
            SalesOrder::deserialize(by).map_err(|_| {
                Problem::unprocessable("by is none of ours; use `units` or `revenue`")
            })?
        }
    };
    let (range, page) = (range(&ask)?, ask.page()?);
    let query = TopSelling { range, by, page };
    ask.show_page(ask.query(ask.shop.analytics(), query).await?)
}

async fn lifetime_value(ask: Ask) -> Answer {
    let customer_id = ask.id()?;
    let query = LifetimeValue { customer_id };
    answer::ok(&ask.query(ask.shop.analytics(), query).await?)
}

async fn funnel(ask: Ask) -> Answer {
    let range = range(&ask)?;
    let query = ConversionFunnel { range };
    answer::ok(&ask.query(ask.shop.analytics(), query).await?)
}

async fn stock(ask: Ask) -> Answer {
    let page = ask.page()?;
    ask.show_page(
        ask.query(ask.shop.analytics(), StockLevels { page })
            .await?,
    )
}

async fn dashboard(ask: Ask) -> Answer {
    answer::ok(&ask.query(ask.shop.analytics(), Dashboard {}).await?)
}

async fn progress(ask: Ask) -> Answer {
    answer::ok(&ask.query(ask.shop.analytics(), RebuildProgress {}).await?)
}

/// How to rebuild.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RebuildAsked {
    /// Gives a running one up and starts again.
    restart: Option<bool>,
}

async fn rebuild(ask: Ask) -> Answer {
    let RebuildAsked { restart } = ask.json_or_nothing()?;
    let command = Rebuild {
        restart: restart.unwrap_or(false),
    };
    let answered = ask.send(ask.shop.analytics(), command).await?;
    // It goes on after this answer.
    answer::answered(StatusCode::ACCEPTED, &answered)
}

/// The days from `from` to `to`, both included; a time stands for its day in UTC.
fn range(ask: &Ask) -> Result<Range, Problem> {
    let day = |name: &str| -> Result<Option<Day>, Problem> {
        let Some(text) = ask.parameter(name) else {
            return Ok(None);
        };
        // A plus sign in a query string is a space; times may have offsets.
        let text = text.replace(' ', "+");
        let day = text
            .parse()
            .map_err(|error| Problem::unprocessable(format!("{name} cannot be read: {error}")))?;
        Ok(Some(day))
    };
    Ok(Range {
        from: day("from")?,
        to: day("to")?,
    })
}
