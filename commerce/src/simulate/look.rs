//! What there is in a quiet shop: everything that its laws are about, asked of its services and of
//! the world outside.

use std::collections::{BTreeMap, BTreeSet};

use redeliver::prelude::*;
use redeliver::testing::Client;

use super::Town;
use super::office::PRODUCTS;
use super::outside::Sums;
use super::told::Acts;
use crate::analytics::{
    Analytics, ConversionFunnel, LifetimeValue, OrdersSummary, Range, StockLevels, SummaryView,
};
use crate::catalog::{Catalog, ProductById};
use crate::ids::{NotificationId, OrderId, ProductId, UserId};
use crate::inventory::{
    Inventory, ProductStock, ReservationView, ReservationsOfProduct, StockOfProduct,
};
use crate::notification::{NotificationView, Notifications, NotificationsOf};
use crate::order::{
    CartOf, OrderStatus, OrderView, Orders, OrdersList, TimelineEntry, TimelineOfOrder,
};
use crate::page::{Listing, PAGE_ROWS_MAX, Page};
use crate::payment::{Payment, PaymentOfOrder, PaymentView};
use crate::shipping::ShipmentDelivered;

/// An order with all that is known of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) order: OrderView,
    pub(super) timeline: Vec<TimelineEntry>,
    pub(super) payment: Option<PaymentView>,
    pub(super) provider: Sums,
}

impl Known {
    /// Whether it ever had this status.
    pub(super) fn was(&self, status: OrderStatus) -> bool {
        self.timeline.iter().any(|entry| entry.to == status)
    }

    /// Whether its parcel was delivered as a part of its course. While it was reviewed because the
    /// money could not be captured, its status does not show it.
    pub(super) fn was_delivered(&self) -> bool {
        let unseen = |entry: &TimelineEntry| {
            entry.message == ShipmentDelivered::NAME
                && entry.from == Some(OrderStatus::ManualReview)
                && entry.to == OrderStatus::ManualReview
        };
        self.was(OrderStatus::Delivered) || self.timeline.iter().any(unseen)
    }

    /// Whether it ever heard this message.
    pub(super) fn heard(&self, message: &str) -> bool {
        self.timeline.iter().any(|entry| entry.message == message)
    }

    /// Everything of it, for a complaint.
    pub(super) fn shown(&self) -> String {
        let entries = self.timeline.iter().map(|entry| {
            format!(
                "{} {} {:?} -> {:?} {}",
                entry.at.rfc3339(),
                entry.message,
                entry.from,
                entry.to,
                entry.detail.as_deref().unwrap_or("")
            )
        });
        let payment = self.payment.as_ref().map(|payment| {
            (
                payment.status,
                payment.authorised.amount,
                payment.captured.amount,
                payment.refunded.amount,
            )
        });
        format!(
            "order {} is {:?} ({:?}) of {} with payment {payment:?} and {:?}: {}",
            self.order.id,
            self.order.status,
            self.order.review_reason,
            self.order.total.amount,
            self.provider,
            entries.collect::<Vec<_>>().join("; ")
        )
    }
}

/// A product as the services see it that have an opinion on how many there are.
#[derive(Debug, Clone)]
pub(super) struct Goods {
    pub(super) stock: ProductStock,
    pub(super) reservations: Vec<ReservationView>,
    /// Available ones that buyers are shown.
    pub(super) shown_available: u64,
    /// On hand, as analytics counts.
    pub(super) counted: Option<i64>,
}

/// Everything there is.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) acts: Acts,
    pub(super) orders: BTreeMap<OrderId, Known>,
    /// Orders that the provider knows and the shop does not.
    pub(super) strangers: Vec<OrderId>,
    /// Keys under which the provider was asked for two different things.
    pub(super) mixed_up: Vec<String>,
    pub(super) goods: BTreeMap<ProductId, Goods>,
    pub(super) summary: SummaryView,
    pub(super) viewed: u64,
    /// What analytics says was taken from and paid back to a customer.
    pub(super) customers: BTreeMap<UserId, (i64, i64)>,
    pub(super) notifications: Vec<NotificationView>,
    pub(super) letters: Vec<NotificationId>,
    /// What is in whose cart.
    pub(super) carts: BTreeMap<UserId, BTreeMap<ProductId, i64>>,
}

type Looked<T> = Result<T, String>;

fn no(refusal: Rejection) -> String {
    format!("the shop does not say: {refusal}")
}

/// All rows of a list.
async fn every<S, Q, T>(client: &Client, ask: impl Fn(Page) -> Q) -> Looked<Vec<T>>
where
    S: Service,
    Q: Query<Answer = Listing<T>> + Clone,
{
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = Page {
            limit: Some(PAGE_ROWS_MAX),
            cursor,
        };
        let listing = client.query::<S, _>(ask(page)).await.map_err(no)?;
        rows.extend(listing.items);
        cursor = listing.next_cursor;
        if cursor.is_none() {
            return Ok(rows);
        }
    }
}

/// Looks at everything.
pub(super) async fn around(client: &Client, town: &Town) -> Looked<Seen> {
    let acts = town.told.acts().clone();
    let (orders, strangers) = orders(client, town).await?;
    let range = Range::ALL;
    let customers: BTreeSet<UserId> = acts.orders.iter().map(|(_, user, _)| *user).collect();
    let mut values = BTreeMap::new();
    for customer_id in customers {
        let ask = LifetimeValue { customer_id };
        let value = client.query::<Analytics, _>(ask).await.map_err(no)?;
        values.insert(customer_id, (value.captured.amount, value.refunded.amount));
    }
    let mut carts = BTreeMap::new();
    for customer_id in acts.users.iter().copied() {
        if acts.left.contains(&customer_id) {
            continue;
        }
        let cart = client
            .query::<Orders, _>(CartOf { customer_id })
            .await
            .map_err(no)?;
        let items = cart.items.into_iter();
        let items = items.map(|item| (item.product_id, i64::from(item.quantity)));
        carts.insert(customer_id, items.collect());
    }
    let mut notifications = Vec::new();
    let told = acts.users.iter().copied().map(Some).chain([None]);
    for user_id in told {
        let of_user = |page| NotificationsOf { user_id, page };
        notifications.extend(every::<Notifications, _, _>(client, of_user).await?);
    }
    Ok(Seen {
        orders,
        strangers,
        mixed_up: town.outside.provider.mixed_up(),
        goods: goods(client).await?,
        summary: client
            .query::<Analytics, _>(OrdersSummary { range })
            .await
            .map_err(no)?,
        viewed: client
            .query::<Analytics, _>(ConversionFunnel { range })
            .await
            .map_err(no)?
            .viewed,
        customers: values,
        notifications,
        letters: town.outside.mail.letters(),
        carts,
        acts,
    })
}

async fn orders(client: &Client, town: &Town) -> Looked<(BTreeMap<OrderId, Known>, Vec<OrderId>)> {
    let provider = town.outside.provider.sums().await;
    let list = |page| OrdersList {
        customer_id: None,
        status: None,
        page,
    };
    let mut known = BTreeMap::new();
    for order in every::<Orders, _, _>(client, list).await? {
        let order_id = order.id;
        let timeline = |page| TimelineOfOrder {
            order_id,
            customer_id: None,
            page,
        };
        let all = Known {
            timeline: every::<Orders, _, _>(client, timeline).await?,
            // One that never came that far has none.
            payment: client
                .query::<Payment, _>(PaymentOfOrder { order_id })
                .await
                .ok(),
            provider: provider.get(&order_id).copied().unwrap_or_default(),
            order,
        };
        known.insert(order_id, all);
    }
    let strangers = provider
        .into_keys()
        .filter(|order| !known.contains_key(order));
    let strangers = strangers.collect();
    Ok((known, strangers))
}

async fn goods(client: &Client) -> Looked<BTreeMap<ProductId, Goods>> {
    let levels = every::<Analytics, _, _>(client, |page| StockLevels { page }).await?;
    let mut goods = BTreeMap::new();
    for product in &PRODUCTS {
        let product_id = product.id;
        let of_product = |page| ReservationsOfProduct { product_id, page };
        let ask = ProductById {
            product_id,
            published_only: false,
        };
        let counted = levels.iter().find(|level| level.product_id == product_id);
        let all = Goods {
            stock: client
                .query::<Inventory, _>(StockOfProduct { product_id })
                .await
                .map_err(no)?,
            reservations: every::<Inventory, _, _>(client, of_product).await?,
            shown_available: client.query::<Catalog, _>(ask).await.map_err(no)?.available,
            counted: counted.map(|level| level.on_hand),
        };
        goods.insert(product_id, all);
    }
    Ok(goods)
}
