//! The figures of a report, gathered from their services.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::failed;
use super::ledger::{self, Charged};
use super::part::Part;
use super::source::Source;
use crate::cli::Failure;
use crate::config::Config;
use crate::ids::{OrderId, UserId};
use crate::order::OrderStatus;

/// Orders that are looked at one by one, newest first.
const ORDERS_MAX: usize = 10_000;
/// Rows of any other list.
const ROWS_MAX: usize = 10_000;

/// What has happened in the shop.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    /// The server or the data directory.
    pub(super) source: String,
    /// Whether there are older orders than those counted by status below.
    pub(super) orders_cut: bool,
    pub(super) orders: BTreeMap<String, u64>,
    pub(super) revenue: Revenue,
    pub(super) payments: BTreeMap<String, Paid>,
    pub(super) shipments: BTreeMap<String, u64>,
    pub(super) stock: Vec<Stock>,
    /// By template and status.
    pub(super) notifications: BTreeMap<String, BTreeMap<String, u64>>,
    pub(super) funnel: Funnel,
    pub(super) streams: Vec<Stream>,
    pub(super) services: Vec<ServiceLine>,
    pub(super) recovered: Recovered,
}

/// Money in minor units, as analytics has it and as the provider's ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Revenue {
    pub(super) currency: String,
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) net: i64,
    pub(super) ledger: Option<Charged>,
    /// Whether both say the same; not while something is under way.
    pub(super) agrees: Option<bool>,
}

/// Payments of one status, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Paid {
    pub(super) payments: u64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
}

/// One product's stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stock {
    pub(super) sku: String,
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) available: i64,
    /// What all changes that were told add up to.
    pub(super) moved: i64,
    /// Units in parcels that have left.
    pub(super) sent: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Funnel {
    pub(super) viewed: i64,
    pub(super) added_to_cart: i64,
    pub(super) ordered: i64,
    pub(super) purchased: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stream {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) sent: i64,
    pub(super) accepted: i64,
    pub(super) applied: i64,
    pub(super) parked: i64,
    pub(super) dead: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ServiceLine {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) restarts: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Recovered {
    pub(super) commits: i64,
    pub(super) ms: i64,
}

impl Report {
    /// Asks for everything.
    pub(super) async fn gather(source: &mut Source, config: &Config) -> Result<Report, Failure> {
        let mut rows = source.list(Part::Orders, ORDERS_MAX + 1).await?;
        let orders_cut = rows.len() > ORDERS_MAX;
        rows.truncate(ORDERS_MAX);
        // Statuses that no order has are told too.
        let mut orders: BTreeMap<String, u64> = OrderStatus::ALL
            .map(|status| (status.as_str().to_owned(), 0))
            .into();
        let mut payments: BTreeMap<String, Paid> = BTreeMap::new();
        let mut shipments = BTreeMap::new();
        let mut sent: BTreeMap<String, i64> = BTreeMap::new();
        let mut customers = BTreeSet::new();
        for order in &rows {
            *orders.entry(text(order, "status")).or_default() += 1;
            let id: OrderId = text(order, "id").parse().map_err(failed)?;
            customers.insert(text(order, "customer_id"));
            if number(order, "payment_attempts") > 0
                && let Some(payment) = source.look(Part::Payment(id)).await?
            {
                let of = payments.entry(text(&payment, "status")).or_default();
                of.payments += 1;
                of.captured += number(&payment["captured"], "amount");
                of.refunded += number(&payment["refunded"], "amount");
            }
            if order["shipment_id"].is_string()
                && let Some(shipment) = source.look(Part::Shipment(id)).await?
            {
                let status = text(&shipment, "status");
                let has_left = !matches!(status.as_str(), "pending" | "cancelled");
                *shipments.entry(status).or_default() += 1;
                for units in shipment["items"].as_array().into_iter().flatten() {
                    if has_left {
                        let of = sent.entry(text(units, "product_id")).or_default();
                        *of += number(units, "quantity");
                    }
                }
            }
        }
        Ok(Report {
            source: source.name().to_owned(),
            orders_cut,
            orders,
            payments,
            shipments,
            stock: stock(source, &sent).await?,
            notifications: notifications(source, &customers).await?,
            funnel: funnel(&source.get(Part::Funnel).await?),
            revenue: revenue(source, config).await?,
            streams: Vec::new(),
            services: Vec::new(),
            recovered: Recovered { commits: 0, ms: 0 },
        }
        .with_system(&source.get(Part::System).await?))
    }

    fn with_system(mut self, system: &Value) -> Report {
        let rows = |name: &str| system[name].as_array().into_iter().flatten();
        self.streams = rows("streams")
            .map(|stream| Stream {
                from: text(stream, "from"),
                to: text(stream, "to"),
                sent: number(stream, "sent"),
                accepted: number(stream, "accepted"),
                applied: number(stream, "applied"),
                parked: number(stream, "parked"),
                dead: number(stream, "dead"),
            })
            .collect();
        self.services = rows("services")
            .map(|service| ServiceLine {
                name: text(service, "name"),
                state: text(service, "state"),
                restarts: number(service, "restarts"),
            })
            .collect();
        let recovered = &system["recovered"];
        self.recovered = Recovered {
            commits: number(recovered, "commits"),
            ms: number(recovered, "ms"),
        };
        self
    }
}

/// Last, so that money which moves meanwhile is least likely to be seen by one side alone.
async fn revenue(source: &mut Source, config: &Config) -> Result<Revenue, Failure> {
    let summary = source.get(Part::Summary).await?;
    let path = config.data.join("provider").join("ledger.jsonl");
    let ledger = ledger::read(&path).unwrap_or_else(|error| {
        tracing::warn!(%error, path = %path.display(), "ledger not compared");
        None
    });
    let captured = number(&summary["revenue"], "amount");
    let refunded = number(&summary["refunded"], "amount");
    Ok(Revenue {
        currency: text(&summary["revenue"], "currency"),
        captured,
        refunded,
        net: captured - refunded,
        ledger,
        agrees: ledger.map(|of| (of.captured, of.refunded) == (captured, refunded)),
    })
}

async fn stock(source: &mut Source, sent: &BTreeMap<String, i64>) -> Result<Vec<Stock>, Failure> {
    let levels = source.list(Part::StockLevels, ROWS_MAX).await?;
    let moved: BTreeMap<String, i64> = levels
        .iter()
        .map(|level| (text(level, "product_id"), number(level, "on_hand")))
        .collect();
    let products = source.list(Part::Stock, ROWS_MAX).await?;
    let shown = products.iter().map(|product| {
        let id = text(product, "product_id");
        Stock {
            sku: text(product, "sku"),
            on_hand: number(product, "on_hand"),
            reserved: number(product, "reserved"),
            available: number(product, "available"),
            moved: moved.get(&id).copied().unwrap_or_default(),
            sent: sent.get(&id).copied().unwrap_or_default(),
        }
    });
    Ok(shown.collect())
}

async fn notifications(
    source: &mut Source,
    customers: &BTreeSet<String>,
) -> Result<BTreeMap<String, BTreeMap<String, u64>>, Failure> {
    let mut told: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let users = customers
        .iter()
        .map(|user| user.parse::<UserId>().map(Some));
    for user in users.chain([Ok(None)]) {
        let user = user.map_err(failed)?;
        let rows = source.list(Part::Notifications(user), ROWS_MAX).await?;
        for row in rows {
            let of = told.entry(text(&row, "template")).or_default();
            *of.entry(text(&row, "status")).or_default() += 1;
        }
    }
    Ok(told)
}

fn funnel(funnel: &Value) -> Funnel {
    Funnel {
        viewed: number(funnel, "viewed"),
        added_to_cart: number(funnel, "added_to_cart"),
        ordered: number(funnel, "ordered"),
        purchased: number(funnel, "purchased"),
    }
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn number(of: &Value, name: &str) -> i64 {
    of[name].as_i64().unwrap_or_default()
}
