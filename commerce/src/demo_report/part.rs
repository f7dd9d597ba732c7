//! A part of the shop that can be asked for, over HTTP and of the services themselves.

use redeliver::{CallError, Query, RejectionKind, Service, ServiceHandle};
use serde::Serialize;
use serde_json::Value;

use super::failed;
use crate::analytics::{ConversionFunnel, OrdersSummary, Range, StockLevels};
use crate::app::Shop;
use crate::cli::Failure;
use crate::http::API;
use crate::ids::{OrderId, UserId};
use crate::inventory::StockList;
use crate::notification::NotificationsOf;
use crate::order::OrdersList;
use crate::page::{PAGE_ROWS_MAX, Page};
use crate::payment::PaymentOfOrder;
use crate::shipping::ShipmentOfOrder;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Orders, newest first.
    Orders,
    /// The payment of an order.
    Payment(OrderId),
    /// The parcel of an order.
    Shipment(OrderId),
    /// What there is of each product.
    Stock,
    /// What changes of stock add up to.
    StockLevels,
    /// What a user, or the shop itself, was told.
    Notifications(Option<UserId>),
    /// Figures of orders and revenue.
    Summary,
    /// From looking to buying.
    Funnel,
    /// Services, streams and what was recovered.
    System,
}

impl Part {
    /// Where it stands, of a list the page after this cursor.
    pub(super) fn path(self, cursor: Option<&str>) -> String {
        let page = match cursor {
            None => format!("limit={PAGE_ROWS_MAX}"),
            Some(cursor) => format!("limit={PAGE_ROWS_MAX}&cursor={cursor}"),
        };
        match self {
            Part::Orders => format!("{API}/orders?{page}"),
            Part::Payment(order) => format!("{API}/payments/order/{order}"),
            Part::Shipment(order) => format!("{API}/shipments/order/{order}"),
            Part::Stock => format!("{API}/inventory/products?{page}"),
            Part::StockLevels => format!("{API}/analytics/stock?{page}"),
            Part::Notifications(None) => format!("{API}/notifications?user_id=shop&{page}"),
            Part::Notifications(Some(user)) => {
                format!("{API}/notifications?user_id={user}&{page}")
            }
            Part::Summary => format!("{API}/analytics/orders/summary"),
            Part::Funnel => format!("{API}/analytics/conversion-funnel"),
            Part::System => "/admin/system".to_owned(),
        }
    }

    /// The same of the services themselves; `None` if there is nothing.
    pub(super) async fn of(
        self,
        shop: &Shop,
        cursor: Option<&str>,
    ) -> Result<Option<Value>, Failure> {
        let page = Page {
            limit: Some(PAGE_ROWS_MAX),
            cursor: cursor.map(str::to_owned),
        };
        let range = Range::default();
        match self {
            Part::Orders => {
                let list = OrdersList {
                    customer_id: None,
                    status: None,
                    page,
                };
                ask(shop.order(), list).await
            }
            Part::Payment(order_id) => ask(shop.payment(), PaymentOfOrder { order_id }).await,
            Part::Shipment(order_id) => ask(shop.shipping(), ShipmentOfOrder { order_id }).await,
            Part::Stock => ask(shop.inventory(), StockList { page }).await,
            Part::StockLevels => ask(shop.analytics(), StockLevels { page }).await,
            Part::Notifications(user_id) => {
                ask(shop.notification(), NotificationsOf { user_id, page }).await
            }
            Part::Summary => ask(shop.analytics(), OrdersSummary { range }).await,
            Part::Funnel => ask(shop.analytics(), ConversionFunnel { range }).await,
            Part::System => shown(&shop.system.report()).map(Some),
        }
    }
}

async fn ask<S: Service, Q: Query>(
    service: ServiceHandle<S>,
    query: Q,
) -> Result<Option<Value>, Failure>
where
    Q::Answer: Serialize,
{
    match service.query(query).await {
        Ok(answer) => shown(&answer).map(Some),
        Err(CallError::Rejected(refused)) if refused.kind == RejectionKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn shown(answer: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(answer).map_err(failed)
}
