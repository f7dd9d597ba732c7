//! What the analytics service is told and asked. It says nothing itself.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::calendar::Range;
use crate::ids::{ProductId, UserId};
use crate::money::Money;
use crate::page::{Listing, Page};
use crate::time::rfc3339_option;

/// What became of the orders of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SummaryView {
    /// Orders accepted.
    pub created: u64,
    /// Orders that could be sent.
    pub confirmed: u64,
    /// Orders cancelled.
    pub cancelled: u64,
    /// Orders that arrived.
    pub delivered: u64,
    /// What was taken for orders. What was paid back is not taken off.
    pub revenue: Money,
    /// What was paid back.
    pub refunded: Money,
    /// Revenue by orders paid for, without fractions of the minor unit (they are cut off); 0 while
    /// none has been paid for.
    pub average_order_value: Money,
}

/// Money of a day or of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevenueView {
    /// The day as `2026-03-01`, or the month as `2026-03`, in UTC.
    pub period: String,
    /// Orders paid for.
    pub orders: u64,
    /// What was taken.
    pub captured: Money,
    /// What was paid back, whenever it had been taken.
    pub refunded: Money,
    /// What is left; negative when more was paid back than taken.
    pub net: Money,
}

/// What was sold of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SalesView {
    /// What.
    pub product_id: ProductId,
    /// Its name in the latest order that was paid for.
    pub name: String,
    /// How many.
    pub units: u64,
    /// For how much. What was paid back is not taken off.
    pub revenue: Money,
}

/// What a customer has brought in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LifetimeValueView {
    /// Whose.
    pub customer_id: UserId,
    /// Orders paid for.
    pub orders: u64,
    /// What was taken.
    pub captured: Money,
    /// What was paid back.
    pub refunded: Money,
    /// What is left.
    pub net: Money,
}

/// How far products come on their way from the shelf to a buyer. All four count products, so that
/// they can be compared: an order of three lines is three products ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunnelView {
    /// Looked at.
    pub viewed: u64,
    /// Put into a cart.
    pub added_to_cart: u64,
    /// Ordered.
    pub ordered: u64,
    /// Paid for.
    pub purchased: u64,
}

/// How many of a product are on hand, by what was said about its changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockLevelView {
    /// Of what.
    pub product_id: ProductId,
    /// How many.
    pub on_hand: i64,
}

/// The figures that one looks at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DashboardView {
    /// Which day it is, in UTC.
    pub date: String,
    /// Orders of that day.
    pub today: SummaryView,
    /// The funnel of that day.
    pub funnel_today: FunnelView,
    /// All orders.
    pub totals: SummaryView,
    /// The funnel of all days.
    pub funnel: FunnelView,
    /// What was sold most, by units.
    pub top_products: Vec<SalesView>,
}

/// How far a rebuild has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebuildView {
    /// Whether one runs.
    pub running: bool,
    /// Which generation of figures answers.
    pub generation: u32,
    /// Facts there are.
    pub facts: u64,
    /// Facts that the running rebuild has folded.
    pub folded: u64,
    /// Whether rows of earlier generations are still being removed.
    pub clearing: bool,
    /// When the running one began, or else the last.
    #[serde(with = "rfc3339_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the last one ended; `null` while one runs.
    #[serde(with = "rfc3339_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
}

/// What the best-selling products are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SalesOrder {
    /// How many were sold.
    #[default]
    Units,
    /// What they brought in.
    Revenue,
}

/// Folds all facts again. While a rebuild runs it answers how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// Gives a running one up and starts again.
    pub restart: bool,
}

/// Asks how far a rebuild has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildProgress {}

/// Asks what became of the orders of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersSummary {
    /// Which days.
    pub range: Range,
}

/// Asks for the days on which money moved, earliest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevenueByDay {
    /// Which days.
    pub range: Range,
    /// Which part.
    pub page: Page,
}

/// Asks for the months in which money moved, earliest first. A month is whole: a range that begins
/// or ends inside of one includes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevenueByMonth {
    /// Which days.
    pub range: Range,
    /// Which part.
    pub page: Page,
}

/// Asks for the products that sold best, best first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopSelling {
    /// On which days.
    pub range: Range,
    /// By what.
    pub by: SalesOrder,
    /// Which part.
    pub page: Page,
}

/// Asks for what a customer has brought in. Somebody unknown has brought in nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifetimeValue {
    /// Who.
    pub customer_id: UserId,
}

/// Asks for the funnel of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConversionFunnel {
    /// Which days.
    pub range: Range,
}

/// Asks for the stock of all products, as far as its changes were told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockLevels {
    /// Which part.
    pub page: Page,
}

/// Asks for the figures that one looks at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {}

command!(Rebuild, "rebuild-analytics", restart, RebuildView);
query!(RebuildProgress, "analytics-rebuild-progress", RebuildView);
query!(OrdersSummary, "orders-summary", SummaryView);
query!(RevenueByDay, "revenue-by-day", Listing<RevenueView>);
query!(RevenueByMonth, "revenue-by-month", Listing<RevenueView>);
query!(TopSelling, "top-selling", Listing<SalesView>);
query!(LifetimeValue, "lifetime-value", LifetimeValueView);
query!(ConversionFunnel, "conversion-funnel", FunnelView);
query!(StockLevels, "stock-levels", Listing<StockLevelView>);
query!(Dashboard, "analytics-dashboard", DashboardView);
