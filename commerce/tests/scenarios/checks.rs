//! The checks: what must be true of a quiet shop, whatever has happened to it.
//!
//! Each compares sources that do not know each other: what was acknowledged with what is there,
//! orders with stock, payments with the provider's books, analytics with all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use commerce::analytics::{
    Analytics, LifetimeValue, OrdersSummary, Range, StockLevels, SummaryView,
};
use commerce::catalog::{Catalog, ProductById};
use commerce::ids::{NotificationId, OrderId, ProductId, UserId};
use commerce::inventory::{Inventory, ReservationStatus, ReservationView, ReservationsOfProduct};
use commerce::notification::{
    NotificationStatus, NotificationView, Notifications, NotificationsOf,
};
use commerce::order::{OrderStatus, OrderView, Orders, OrdersList, TimelineEntry, TimelineOfOrder};
use commerce::page::{Listing, PAGE_ROWS_MAX, Page};
use commerce::payment::PaymentView;
use redeliver::prelude::*;

use super::provider::Sums;
use super::world::{PRICES, World};

/// An order with all that is known of it.
pub struct Known {
    pub order: OrderView,
    pub timeline: Vec<TimelineEntry>,
    pub payment: Option<PaymentView>,
    pub provider: Sums,
}

impl Known {
    fn was(&self, status: OrderStatus) -> bool {
        self.timeline.iter().any(|entry| entry.to == status)
    }

    fn said(&self, message: &str) -> bool {
        self.timeline.iter().any(|entry| entry.message == message)
    }

    /// Everything of it, for a complaint.
    fn shown(&self) -> String {
        let mut text = format!(
            "{:#?}\n{:#?}\n{:?}\n",
            self.order, self.payment, self.provider
        );
        for entry in &self.timeline {
            text.push_str(&format!("{entry:?}\n"));
        }
        text
    }
}

/// Everything that must be true of a quiet world in which nothing was given up.
pub async fn all(world: &mut World) {
    streams_are_settled(world);
    business(world).await;
}

/// What must be true even if a message was given up by a service that only looks on.
pub async fn business(world: &mut World) {
    let orders = known(world).await;
    orders_are_those_acknowledged_and_at_rest(world, &orders);
    stock_is_conserved(world, &orders).await;
    money_is_conserved(&orders);
    analytics_agree(world, &orders).await;
    people_are_told_once(world, &orders).await;
}

/// All rows of a list.
async fn every<S, Q, T>(world: &mut World, ask: impl Fn(Page) -> Q) -> Vec<T>
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
        let listing = world.ask::<S, _>(ask(page)).await.unwrap();
        rows.extend(listing.items);
        cursor = listing.next_cursor;
        if cursor.is_none() {
            return rows;
        }
    }
}

pub async fn every_order(world: &mut World) -> Vec<OrderView> {
    let list = |page| OrdersList {
        customer_id: None,
        status: None,
        page,
    };
    every::<Orders, _, _>(world, list).await
}

async fn whole_timeline(world: &mut World, order_id: OrderId) -> Vec<TimelineEntry> {
    let mut page = Page::default();
    let mut entries = Vec::new();
    loop {
        let ask = TimelineOfOrder {
            order_id,
            customer_id: None,
            page: page.clone(),
        };
        let part = world.ask::<Orders, _>(ask).await.unwrap();
        entries.extend(part.items);
        page.cursor = match part.next_cursor {
            Some(cursor) => Some(cursor),
            None => return entries,
        };
    }
}

async fn known(world: &mut World) -> BTreeMap<OrderId, Known> {
    let provider = world.provider.sums().await;
    let mut known = BTreeMap::new();
    for order in every_order(world).await {
        let order_id = order.id;
        let timeline = whole_timeline(world, order_id).await;
        let payment = world.payment(order_id).await;
        let provider = provider.get(&order_id).copied().unwrap_or_default();
        let all = Known {
            order,
            timeline,
            payment,
            provider,
        };
        known.insert(order_id, all);
    }
    let strangers = provider.keys().find(|order| !known.contains_key(order));
    assert_eq!(
        strangers, None,
        "the provider was asked for an order that nobody placed"
    );
    known
}

fn orders_are_those_acknowledged_and_at_rest(world: &World, orders: &BTreeMap<OrderId, Known>) {
    let told: BTreeSet<OrderId> = world.orders.iter().copied().collect();
    assert_eq!(told.len(), world.orders.len(), "an order answers two acts");
    let there: BTreeSet<OrderId> = orders.keys().copied().collect();
    assert_eq!(told, there, "orders acknowledged and orders there");
    for known in orders.values() {
        match known.order.status {
            // Over.
            OrderStatus::Delivered | OrderStatus::Cancelled | OrderStatus::Returned => {}
            // Waits for a person: the warehouse, the carrier, the customer, an administrator.
            OrderStatus::Confirmed
            | OrderStatus::Shipped
            | OrderStatus::PaymentFailed
            | OrderStatus::ManualReview => {}
            OrderStatus::Pending
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Cancelling => panic!("waits for nobody: {}", known.shown()),
        }
        let total: i64 = known
            .order
            .items
            .iter()
            .map(|line| line.unit_price.amount * i64::from(line.quantity))
            .sum();
        assert_eq!(known.order.total.amount, total, "{}", known.shown());
        let cancelled = known.order.status == OrderStatus::Cancelled;
        assert!(
            !cancelled || known.order.cancel_reason.is_some(),
            "cancelled for no reason: {}",
            known.shown()
        );
    }
}

async fn stock_is_conserved(world: &mut World, orders: &BTreeMap<OrderId, Known>) {
    let levels: HashMap<ProductId, i64> =
        every::<Analytics, _, _>(world, |page| StockLevels { page })
            .await
            .into_iter()
            .map(|level| (level.product_id, level.on_hand))
            .collect();
    for (product_id, _) in PRICES {
        let stock = world.stock(product_id).await;
        assert_eq!(stock.on_hand, stock.available + stock.reserved, "{stock:?}");
        let units = |known: &Known| -> u64 {
            let lines = known.order.items.iter();
            lines
                .filter(|line| line.product_id == product_id)
                .map(|line| u64::from(line.quantity))
                .sum()
        };
        let total = |which: &dyn Fn(&Known) -> bool| -> u64 {
            orders
                .values()
                .filter(|known| which(known))
                .map(units)
                .sum()
        };
        // All that left and all that came back; scenarios send whole parcels back.
        let left = total(&|known| known.said("shipment-dispatched"));
        let back = total(&|known| known.said("shipment-returned"));
        let received = world.received.get(&product_id).copied().unwrap_or_default();
        let on_hand = received - i64::try_from(left).unwrap() + i64::try_from(back).unwrap();
        assert_eq!(i64::try_from(stock.on_hand).unwrap(), on_hand, "{stock:?}");
        // What is said about its changes adds up to the same.
        assert_eq!(
            levels.get(&product_id),
            Some(&on_hand),
            "analytics, {stock:?}"
        );
        let held = total(&|known| {
            !known.said("shipment-dispatched")
                && matches!(
                    known.order.status,
                    OrderStatus::Confirmed | OrderStatus::PaymentFailed
                )
        });
        assert_eq!(stock.reserved, held, "held for orders, {stock:?}");
        let of_product = |page| ReservationsOfProduct { product_id, page };
        let reservations: Vec<ReservationView> = every::<Inventory, _, _>(world, of_product).await;
        let reserved: u64 = reservations
            .iter()
            .filter(|held| {
                matches!(
                    held.status,
                    ReservationStatus::Active | ReservationStatus::Committed
                )
            })
            .map(|held| u64::from(held.quantity))
            .sum();
        assert_eq!(stock.reserved, reserved, "{stock:?} {reservations:#?}");
        let ask = ProductById {
            product_id,
            published_only: false,
        };
        let shown = world.ask::<Catalog, _>(ask).await.unwrap();
        assert_eq!(
            shown.available, stock.available,
            "what buyers see, {stock:?}"
        );
    }
}

fn money_is_conserved(orders: &BTreeMap<OrderId, Known>) {
    for known in orders.values() {
        let (provider, order) = (known.provider, &known.order);
        let of = |amount: fn(&PaymentView) -> i64| known.payment.as_ref().map_or(0, amount);
        let authorised = of(|payment| payment.authorised.amount);
        let captured = of(|payment| payment.captured.amount);
        let refunded = of(|payment| payment.refunded.amount);
        let shown = || known.shown();
        assert!(
            0 <= refunded && refunded <= captured && captured <= authorised,
            "{}",
            shown()
        );
        assert_eq!(
            (captured, refunded),
            (provider.captured, provider.refunded),
            "payment and provider disagree: {}",
            shown()
        );
        // What is neither taken nor free is held, once.
        assert_eq!(authorised - captured, provider.held, "{}", shown());
        let owed = match order.status {
            OrderStatus::Cancelled | OrderStatus::Returned | OrderStatus::PaymentFailed => 0,
            OrderStatus::Confirmed => {
                assert_eq!(authorised, order.total.amount, "{}", shown());
                0
            }
            OrderStatus::Shipped | OrderStatus::Delivered => order.total.amount,
            // A person looks at it.
            _ => continue,
        };
        if owed == 0 {
            assert_eq!(captured, refunded, "charged for nothing: {}", shown());
        } else {
            // A person may have given some of it back.
            assert_eq!(captured, owed, "{}", shown());
        }
        if order.status.is_over() {
            assert_eq!(
                provider.held,
                0,
                "held for an order that is over: {}",
                shown()
            );
        }
    }
}

async fn summary(world: &mut World) -> SummaryView {
    let ask = OrdersSummary { range: Range::ALL };
    world.ask::<Analytics, _>(ask).await.unwrap()
}

async fn analytics_agree(world: &mut World, orders: &BTreeMap<OrderId, Known>) {
    let counted = summary(world).await;
    let count = |which: &dyn Fn(&Known) -> bool| -> u64 {
        orders.values().filter(|known| which(known)).count() as u64
    };
    assert_eq!(counted.created, orders.len() as u64, "{counted:?}");
    let confirmed = count(&|known| known.was(OrderStatus::Paid));
    assert_eq!(counted.confirmed, confirmed, "{counted:?}");
    let cancelled = count(&|known| known.order.status == OrderStatus::Cancelled);
    assert_eq!(counted.cancelled, cancelled, "{counted:?}");
    let delivered = count(&|known| known.was(OrderStatus::Delivered));
    assert_eq!(counted.delivered, delivered, "{counted:?}");
    let sum = |amount: fn(&Sums) -> i64| -> i64 {
        orders.values().map(|known| amount(&known.provider)).sum()
    };
    let (captured, refunded) = (sum(|of| of.captured), sum(|of| of.refunded));
    assert_eq!(
        (counted.revenue.amount, counted.refunded.amount),
        (captured, refunded),
        "analytics and provider disagree"
    );
    let mut customers: BTreeMap<UserId, (i64, i64)> = BTreeMap::new();
    for known in orders.values() {
        let sums = customers.entry(known.order.customer_id).or_default();
        sums.0 += known.provider.captured;
        sums.1 += known.provider.refunded;
    }
    for (customer_id, sums) in customers {
        let ask = LifetimeValue { customer_id };
        let value = world.ask::<Analytics, _>(ask).await.unwrap();
        assert_eq!(
            (value.captured.amount, value.refunded.amount),
            sums,
            "{value:?}"
        );
    }
}

async fn people_are_told_once(world: &mut World, orders: &BTreeMap<OrderId, Known>) {
    let mut sent: HashMap<NotificationId, Vec<usize>> = HashMap::new();
    for (place, id) in world.mail.letters().into_iter().enumerate() {
        sent.entry(id).or_default().push(place);
    }
    for user in world.users.clone() {
        let of_user = |page| NotificationsOf {
            user_id: Some(user),
            page,
        };
        let told: Vec<NotificationView> = every::<Notifications, _, _>(world, of_user).await;
        let mut times: BTreeMap<(Option<OrderId>, &str), usize> = BTreeMap::new();
        for notification in &told {
            let fact = (notification.order_id, notification.template.as_str());
            *times.entry(fact).or_default() += 1;
            assert!(
                matches!(
                    notification.status,
                    NotificationStatus::Sent | NotificationStatus::Suppressed
                ),
                "{notification:?}"
            );
            let arrived = sent.contains_key(&notification.id);
            let says_so = notification.status == NotificationStatus::Sent;
            assert!(arrived || !says_so, "never sent: {notification:?}");
        }
        for ((order, template), times) in &times {
            let known = order.and_then(|order| orders.get(&order));
            let facts = match (*template, known) {
                ("payment-failed", Some(known)) => known.order.payment_attempts.max(1) as usize,
                // A person may pay a part back, as often as there is something left.
                ("payment-refunded", Some(_)) => usize::MAX,
                _ => 1,
            };
            assert!(
                *times <= facts,
                "{template} of {order:?} was told {times} times: {told:#?}"
            );
        }
        let mut letters: HashMap<(OrderId, &str), Vec<usize>> = HashMap::new();
        for notification in &told {
            if let (Some(order), Some(places)) = (notification.order_id, sent.get(&notification.id))
            {
                let fact = (order, notification.template.as_str());
                letters.entry(fact).or_default().extend(places);
            }
        }
        for (id, known) in orders
            .iter()
            .filter(|(_, known)| known.order.customer_id == user)
        {
            let places = |template: &str| -> Vec<usize> {
                let places = letters.get(&(*id, template));
                places.cloned().unwrap_or_default()
            };
            let (confirmed, cancelled) = (places("order-confirmed"), places("order-cancelled"));
            assert!(
                !places("order-created").is_empty(),
                "not told of {}",
                known.shown()
            );
            if let (Some(last), Some(first)) = (confirmed.iter().max(), cancelled.iter().min()) {
                assert!(last < first, "confirmed after cancelled: {}", known.shown());
            }
            let over = known.order.status == OrderStatus::Cancelled;
            assert_eq!(over, !cancelled.is_empty(), "{}", known.shown());
        }
    }
}

/// Everything said was heard, and nothing is left of it.
pub fn streams_are_settled(world: &World) {
    let report = world.test.system().report();
    for stream in &report.streams {
        let left = (stream.waiting, stream.parked, stream.dead, stream.discarded);
        assert_eq!(left, (0, 0, 0, 0), "{stream:?}");
        assert_eq!(stream.sent, stream.accepted, "{stream:?}");
        assert_eq!(
            (stream.accepted, stream.rejected),
            (stream.applied, 0),
            "{stream:?}"
        );
    }
    for service in &report.services {
        assert_eq!(service.state, "running", "{service:?}");
        let left = (service.parked, service.activities, service.dead_letters);
        assert_eq!(left, (0, 0, 0), "{service:?}");
    }
}

/// Once every order is over, nothing is waited for: each is remembered for some time, and that is
/// the one timer that is left of it.
pub async fn orders_that_are_over_wait_for_nothing(world: &mut World) {
    let orders = every_order(world).await;
    if orders.iter().all(|order| order.status.is_over()) {
        let report = world.test.system().report();
        let of = report.services.iter().find(|of| of.name == Orders::NAME);
        let timers = of.unwrap().timers;
        assert!(
            timers <= orders.len() as u64,
            "{timers} timers for {orders:#?}"
        );
    }
}
