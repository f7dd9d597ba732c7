//! An order goes through the four services as they run: in virtual time, on a simulated disk.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use commerce::analytics::Analytics;
use commerce::catalog::{Catalog, CreateCategory, CreateProduct, PublishProduct};
use commerce::identity::UserDeleted;
use commerce::ids::{OrderId, ProductId, UserId};
use commerce::inventory::{AdjustStock, AdjustmentReason, Inventory, ProductStock, StockOfProduct};
use commerce::money::{Currency, Money};
use commerce::order::{
    Address, CancelOrder, OrderById, OrderItem, OrderStatus, OrderView, Orders, PlaceOrder,
    RetryPayment,
};
use commerce::payment::simulated::{Pace, SimulatedProvider};
use commerce::payment::{
    Payment, PaymentMethod, PaymentOfOrder, PaymentStatus, PaymentView, SealedMethod,
};
use commerce::privacy::Keyring;
use commerce::shipping::carrier::SimulatedCarrier;
use commerce::shipping::{
    Deliver, Dispatch, ReturnShipment, ReturnedItem, ShipmentOfOrder, ShipmentStatus, Shipping,
};
use redeliver::prelude::*;
use redeliver::testing::{Operation, TestSystem};
use redeliver::{CallError, Config};
use uuid::Uuid;

const SHOPPER: UserId = UserId(Uuid::from_u128(1));
const MUG: ProductId = ProductId(Uuid::from_u128(2));

fn address() -> Address {
    Address {
        recipient: "A. Shopper".to_owned(),
        line1: "Street 1".to_owned(),
        line2: None,
        city: "Berlin".to_owned(),
        region: None,
        postal_code: "10115".to_owned(),
        country: "DE".to_owned(),
    }
}

/// Says what the identity service would say.
struct Registry;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Delete(UserId);

impl Message for Delete {
    const NAME: &'static str = "delete";
}

impl Command for Delete {
    type Reply = ();
}

impl Service for Registry {
    const NAME: &'static str = "identity";

    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, Delete(user_id), cx: &mut Context<Self>| {
            let at = cx.now();
            cx.publish(UserDeleted { user_id, at });
            Ok(())
        });
        on.publishes::<UserDeleted>();
    }
}

struct Shop {
    test: TestSystem,
    keyring: Keyring,
}

impl Shop {
    async fn open(on_hand: u64) -> Shop {
        Shop::open_with(on_hand, Config::default()).await
    }

    async fn open_with(on_hand: u64, config: Config) -> Shop {
        let provider = Arc::new(SimulatedProvider::in_memory(Pace::INSTANT));
        let keyring = Keyring::in_memory(11);
        keyring.create(SHOPPER).unwrap();
        let keys = keyring.clone();
        let mut test = TestSystem::prepare(11, move |system| {
            system
                .config(config.clone())
                .service(Analytics::default())
                .service(Catalog::default())
                .service(Registry)
                .service(Orders::default())
                .service(Payment::new(provider.clone(), keys.clone()))
                .service(Inventory::default())
                .service(Shipping::new(Arc::new(SimulatedCarrier), keys.clone()))
        });
        test.snapshot_after(12 * 1024);
        test.reopen().await.unwrap();
        let catalog = test.system().service::<Catalog>();
        let shelf = CreateCategory {
            category_id: None,
            name: "Kitchen".to_owned(),
            description: String::new(),
        };
        let shelf = catalog.call(shelf).await.unwrap();
        let created = catalog.call(CreateProduct {
            product_id: Some(MUG),
            sku: "MUG".to_owned(),
            name: "mug".to_owned(),
            description: String::new(),
            price: Some(Money::new(999, Currency::EUR)),
            category_id: Some(shelf.id),
        });
        created.await.unwrap();
        let published = catalog.call(PublishProduct {
            product_id: MUG,
            if_version: None,
        });
        published.await.unwrap();
        test.quiet().await;
        if on_hand > 0 {
            let inventory = test.system().service::<Inventory>();
            let received = inventory.call(AdjustStock {
                product_id: MUG,
                delta: i64::try_from(on_hand).unwrap(),
                reason: AdjustmentReason::Received,
            });
            received.await.unwrap();
        }
        Shop { test, keyring }
    }

    fn card(&self, token: &str) -> SealedMethod {
        PaymentMethod::card(token)
            .seal(SHOPPER, &self.keyring)
            .unwrap()
    }

    async fn place(&self, token: &str) -> OrderId {
        self.try_place(token).await.unwrap()
    }

    async fn try_place(&self, token: &str) -> Result<OrderId, CallError> {
        self.try_place_once(token, None).await
    }

    async fn try_place_once(
        &self,
        token: &str,
        key: Option<redeliver::IdempotencyKey>,
    ) -> Result<OrderId, CallError> {
        let orders = self.test.system().service::<Orders>();
        let place = self.wish(token);
        let placed = orders.command(place).idempotency(key).send().await?;
        Ok(placed.reply.id)
    }

    fn wish(&self, token: &str) -> PlaceOrder {
        PlaceOrder {
            customer_id: SHOPPER,
            items: vec![OrderItem {
                product_id: MUG,
                quantity: 2,
            }],
            shipping_address: self.keyring.seal(SHOPPER, &address()).unwrap(),
            payment_method: self.card(token),
            expected_total: None,
        }
    }

    /// Places an order and lets everything happen that happens by itself.
    async fn settled(&self, token: &str) -> OrderView {
        let id = self.place(token).await;
        self.test.quiet().await;
        self.order(id).await
    }

    async fn order(&self, order_id: OrderId) -> OrderView {
        let ask = OrderById {
            order_id,
            customer_id: None,
        };
        let orders = self.test.system().service::<Orders>();
        orders.query(ask).await.unwrap()
    }

    async fn cancel(&self, order_id: OrderId) {
        let orders = self.test.system().service::<Orders>();
        let cancelled = orders.call(CancelOrder {
            if_version: None,
            order_id,
            customer_id: None,
            reason: "changed my mind".to_owned(),
        });
        cancelled.await.unwrap();
        self.test.quiet().await;
    }

    /// The shopper is deleted: the key goes, and everybody is told.
    async fn forget_shopper(&self) {
        self.keyring.destroy(SHOPPER).unwrap();
        let registry = self.test.system().service::<Registry>();
        registry.call(Delete(SHOPPER)).await.unwrap();
        self.test.quiet().await;
    }

    async fn payment(&self, order_id: OrderId) -> PaymentView {
        let payment = self.test.system().service::<Payment>();
        payment.query(PaymentOfOrder { order_id }).await.unwrap()
    }

    async fn stock(&self) -> ProductStock {
        let inventory = self.test.system().service::<Inventory>();
        let ask = StockOfProduct { product_id: MUG };
        inventory.query(ask).await.unwrap()
    }

    async fn dispatch(&self, order: &OrderView) {
        let shipping = self.test.system().service::<Shipping>();
        let dispatched = shipping.call(Dispatch {
            shipment_id: order.shipment_id.unwrap(),
            carrier: None,
            tracking_number: None,
        });
        dispatched.await.unwrap();
        self.test.quiet().await;
    }

    async fn deliver(&self, order: &OrderView) {
        let shipping = self.test.system().service::<Shipping>();
        let shipment_id = order.shipment_id.unwrap();
        shipping.call(Deliver { shipment_id }).await.unwrap();
        self.test.quiet().await;
    }

    fn nothing_is_left_over(&self) {
        let report = self.test.system().report();
        for stream in &report.streams {
            assert_eq!((stream.parked, stream.dead), (0, 0), "{stream:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_is_confirmed_sent_charged_and_delivered() {
    let shop = Shop::open(10).await;
    let order = shop.settled("tok_ok").await;
    assert_eq!(order.status, OrderStatus::Confirmed);
    assert_eq!(shop.stock().await.reserved, 2);
    shop.dispatch(&order).await;
    assert_eq!(shop.order(order.id).await.status, OrderStatus::Shipped);
    assert_eq!(shop.payment(order.id).await.status, PaymentStatus::Captured);
    let stock = shop.stock().await;
    assert_eq!((stock.on_hand, stock.reserved), (8, 0));
    shop.deliver(&order).await;
    assert_eq!(shop.order(order.id).await.status, OrderStatus::Delivered);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn a_declined_order_is_cancelled_with_stock_and_money_as_before() {
    let shop = Shop::open(10).await;
    let order = shop.settled("tok_declined").await;
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert!(order.cancel_reason.is_some());
    let stock = shop.stock().await;
    assert_eq!((stock.on_hand, stock.reserved), (10, 0));
    assert_eq!(shop.payment(order.id).await.authorised.amount, 0);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_short_is_cancelled() {
    let shop = Shop::open(1).await;
    let order = shop.settled("tok_ok").await;
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert!(order.cancel_reason.unwrap().starts_with("out_of_stock"));
    assert_eq!(shop.stock().await.reserved, 0);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_order_that_is_cancelled_leaves_nothing_behind() {
    let shop = Shop::open(10).await;
    let order = shop.settled("tok_ok").await;
    shop.cancel(order.id).await;
    let order = shop.order(order.id).await;
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(shop.stock().await.reserved, 0);
    assert_eq!(shop.payment(order.id).await.status, PaymentStatus::Voided);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn a_soft_decline_waits_for_another_card_or_the_end_of_the_reservation() {
    let shop = Shop::open(10).await;
    let paid = shop.settled("tok_insufficient_funds").await;
    let left = shop.settled("tok_insufficient_funds").await;
    assert_eq!(paid.status, OrderStatus::PaymentFailed);
    assert_eq!(shop.stock().await.reserved, 4);
    let orders = shop.test.system().service::<Orders>();
    let retried = orders.call(RetryPayment {
        if_version: None,
        order_id: paid.id,
        customer_id: None,
        payment_method: shop.card("tok_ok"),
    });
    retried.await.unwrap();
    shop.test.quiet().await;
    assert_eq!(shop.order(paid.id).await.status, OrderStatus::Confirmed);
    shop.test.advance(minutes(16)).await;
    shop.test.quiet().await;
    assert_eq!(shop.order(paid.id).await.status, OrderStatus::Confirmed);
    let left = shop.order(left.id).await;
    assert_eq!(left.status, OrderStatus::Cancelled);
    assert_eq!(left.cancel_reason.as_deref(), Some("reservation_expired"));
    assert_eq!(shop.stock().await.reserved, 2);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_is_refused_calls_a_person() {
    let shop = Shop::open(10).await;
    let order = shop.settled("tok_capture_fails").await;
    assert_eq!(order.status, OrderStatus::Confirmed);
    shop.dispatch(&order).await;
    let order = shop.order(order.id).await;
    assert_eq!(order.status, OrderStatus::ManualReview);
    assert!(order.review_reason.unwrap().starts_with("capture_failed"));
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn a_returned_parcel_is_paid_back() {
    let shop = Shop::open(10).await;
    let order = shop.settled("tok_ok").await;
    shop.dispatch(&order).await;
    shop.deliver(&order).await;
    let shipping = shop.test.system().service::<Shipping>();
    let returned = shipping.call(ReturnShipment {
        shipment_id: order.shipment_id.unwrap(),
        items: vec![ReturnedItem {
            product_id: MUG,
            quantity: 2,
            restock: true,
        }],
    });
    returned.await.unwrap();
    shop.test.quiet().await;
    assert_eq!(shop.order(order.id).await.status, OrderStatus::Returned);
    assert_eq!(shop.payment(order.id).await.status, PaymentStatus::Refunded);
    assert_eq!(shop.stock().await.on_hand, 10);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn cancelling_at_any_moment_ends_in_one_consistent_outcome() {
    for micros in [0, 1, 200, 500, 1_000, 2_000, 5_000, 20_000] {
        let shop = Shop::open(10).await;
        let id = shop.place("tok_ok").await;
        shop.test
            .advance(std::time::Duration::from_micros(micros))
            .await;
        shop.cancel(id).await;
        assert_eq!(shop.order(id).await.status, OrderStatus::Cancelled);
        let stock = shop.stock().await;
        assert_eq!((stock.on_hand, stock.reserved), (10, 0), "{micros}");
        shop.nothing_is_left_over();
    }
}

#[tokio::test(start_paused = true)]
async fn cards_of_every_mood_end_in_an_order_that_is_over_or_confirmed() {
    let shop = Shop::open(100).await;
    for (token, status) in [
        ("tok_timeout_charged", OrderStatus::Confirmed),
        ("tok_timeout_lost", OrderStatus::Confirmed),
        ("tok_slow", OrderStatus::Confirmed),
        ("tok_duplicate_webhook", OrderStatus::Confirmed),
        ("tok_unheard_of", OrderStatus::Cancelled),
    ] {
        let order = shop.settled(token).await;
        assert_eq!(order.status, status, "{token}: {order:?}");
    }
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn panics_and_power_losses_leave_every_accepted_order_and_the_stock_consistent() {
    let mut shop = Shop::open(100).await;
    let tokens = ["tok_ok", "tok_declined", "tok_ok", "tok_timeout_charged"];
    let mut placed = Vec::new();
    shop.test.panic_with(0.05);
    for round in 0..12u64 {
        for token in tokens {
            // One whose handler panics is not accepted.
            if let Ok(id) = shop.try_place(token).await {
                placed.push(id);
            }
        }
        let pause = std::time::Duration::from_micros(300 * round);
        shop.test.advance(pause).await;
        match round % 3 {
            0 => shop.test.crash(),
            1 => shop.test.kill(),
            _ => {}
        }
        shop.test.reopen().await.unwrap();
    }
    shop.test.panic_with(0.0);
    shop.test.advance(hours(1)).await;
    shop.test.quiet().await;
    assert!(placed.len() > 20, "{}", placed.len());
    let mut confirmed = 0;
    for id in placed {
        let order = shop.order(id).await;
        match order.status {
            OrderStatus::Confirmed => {
                confirmed += 1;
                let payment = shop.payment(id).await;
                assert_eq!(payment.status, PaymentStatus::Authorised, "{order:?}");
            }
            OrderStatus::Cancelled => {
                assert!(order.cancel_reason.is_some());
            }
            other => panic!("{other} after the system is quiet: {order:?}"),
        }
    }
    assert!(confirmed > 5, "{confirmed}");
    let stock = shop.stock().await;
    // More, if an order was accepted whose answer was lost.
    assert!(stock.reserved >= 2 * confirmed, "{stock:?}");
    assert_eq!(
        (stock.on_hand, stock.available + stock.reserved),
        (100, 100)
    );
    shop.nothing_is_left_over();
}

impl Shop {
    /// Takes the order one step further under an idempotency key; the step may be taken again
    /// after a power loss.
    async fn walk(&self, order: OrderId) -> Result<(), CallError> {
        let key = |step: &str| Some(redeliver::IdempotencyKey::new("walk", step, b""));
        let shipping = self.test.system().service::<Shipping>();
        let orders = self.test.system().service::<Orders>();
        let ask = OrderById {
            order_id: order,
            customer_id: None,
        };
        loop {
            let watch = orders.watch(&order);
            let changed = watch.changed();
            let view = orders.query(ask.clone()).await?;
            match (view.status, view.shipment_id) {
                (OrderStatus::Delivered, _) => return Ok(()),
                (OrderStatus::Confirmed, Some(shipment_id)) => {
                    let dispatch = Dispatch {
                        shipment_id,
                        carrier: None,
                        tracking_number: None,
                    };
                    let call = shipping.command(dispatch).idempotency(key("dispatch"));
                    call.send().await?;
                }
                (OrderStatus::Shipped, Some(shipment_id)) => {
                    let call = shipping
                        .command(Deliver { shipment_id })
                        .idempotency(key("deliver"));
                    call.send().await?;
                }
                _ => {}
            }
            // A power loss wakes nobody: look again in any case.
            let _ = tokio::time::timeout(seconds(1), changed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_card_that_is_forgotten_before_the_provider_is_asked_is_declined_for_good() {
    let shop = Shop::open(10).await;
    // The command was sealed just before; its key is gone when the activity comes to it.
    let orders = shop.test.system().service::<Orders>();
    let place = shop.wish("tok_ok");
    shop.keyring.destroy(SHOPPER).unwrap();
    let id = orders.call(place).await.unwrap().id;
    shop.test.quiet().await;
    let order = shop.order(id).await;
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.cancel_reason.as_deref(), Some("customer_deleted"));
    let payment = shop.payment(id).await;
    assert_eq!(payment.status, PaymentStatus::Failed);
    assert_eq!(payment.failure_reason.as_deref(), Some("customer_deleted"));
    assert_eq!(shop.stock().await.reserved, 0);
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn a_parcel_whose_address_is_forgotten_goes_on_and_says_so_in_its_history() {
    let shop = Shop::open(10).await;
    let order = shop.settled("tok_ok").await;
    shop.keyring.destroy(SHOPPER).unwrap();
    shop.dispatch(&order).await;
    let shipping = shop.test.system().service::<Shipping>();
    let ask = ShipmentOfOrder { order_id: order.id };
    let parcel = shipping.query(ask).await.unwrap();
    assert_eq!(parcel.status, ShipmentStatus::Dispatched);
    let said = parcel.history.last().unwrap().description.clone().unwrap();
    assert!(said.starts_with("not announced to the carrier"), "{said}");
    shop.nothing_is_left_over();
}

#[tokio::test(start_paused = true)]
async fn deleting_a_user_in_mid_order_undoes_what_has_not_left_and_lets_go_what_has() {
    let shop = Shop::open(10).await;
    let failed = shop.settled("tok_insufficient_funds").await;
    let confirmed = shop.settled("tok_ok").await;
    let left = shop.settled("tok_ok").await;
    shop.dispatch(&left).await;
    let under_way = shop.place("tok_ok").await;
    shop.forget_shopper().await;
    for id in [failed.id, confirmed.id, under_way] {
        let order = shop.order(id).await;
        assert_eq!(order.status, OrderStatus::Cancelled);
        assert_eq!(order.cancel_reason.as_deref(), Some("customer_deleted"));
        let payment = shop.payment(id).await;
        assert_eq!((payment.captured.amount, payment.refunded.amount), (0, 0));
    }
    let left = shop.order(left.id).await;
    assert_eq!(left.status, OrderStatus::Shipped);
    shop.deliver(&left).await;
    let payment = shop.payment(left.id).await;
    assert_eq!(payment.status, PaymentStatus::Captured);
    let stock = shop.stock().await;
    assert_eq!((stock.on_hand, stock.reserved), (8, 0));
    shop.nothing_is_left_over();
}

/// Walks the way of one order, with a power loss at an operation of each life: the first counted
/// from the shop's opening, each other from the power loss before it. Answers how many operations
/// there were, and how many power losses.
async fn walk_through(losses: &[u64]) -> (u64, usize) {
    let (operations, lost) = walk(losses).await;
    (operations.len() as u64, lost)
}

async fn walk(losses: &[u64]) -> (Vec<(Operation, PathBuf)>, usize) {
    let mut left = losses.iter();
    // Everything that a disk is used for happens on the way.
    let config = Config {
        journal_segment_bytes: 16 * 1024,
        checkpoint_after_bytes: 4 * 1024,
        ..Config::default()
    };
    let mut shop = Shop::open_with(10, config).await;
    shop.test.quiet().await;
    shop.test.disk().record();
    if let Some(operation) = left.next() {
        shop.test.crash_at(*operation);
    }
    let mut order = None;
    let mut lost = 0;
    loop {
        let walked = shop.place_and_walk(&mut order).await;
        // What follows from the last answer.
        shop.test.advance(seconds(2)).await;
        if !shop.test.disk().is_down() {
            walked.unwrap();
            break;
        }
        while shop.test.disk().is_down() {
            lost += 1;
            if let Some(operation) = left.next() {
                shop.test.crash_at(*operation);
            }
            let opened = shop.test.reopen().await;
            assert!(opened.is_ok() || shop.test.disk().is_down(), "{opened:?}");
        }
    }
    let operations = shop.test.disk().recorded();
    shop.test.disk().clear_faults();
    shop.test.quiet().await;
    let order = shop.order(order.unwrap()).await;
    assert_eq!(order.status, OrderStatus::Delivered, "{losses:?}");
    let payment = shop.payment(order.id).await;
    assert_eq!(payment.status, PaymentStatus::Captured, "{losses:?}");
    let stock = shop.stock().await;
    assert_eq!((stock.on_hand, stock.reserved), (8, 0), "{losses:?}");
    for stream in &shop.test.system().report().streams {
        assert_eq!(stream.sent, stream.applied, "{losses:?} {stream:?}");
    }
    (operations, lost)
}

/// A number that looks like chance (splitmix64).
fn scattered(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The way of one order is walked once to count its disk operations, and then once for each, with
/// a power loss there.
#[tokio::test(start_paused = true)]
async fn an_order_ends_the_same_whichever_disk_operation_the_power_fails_at() {
    let (operations, _) = walk(&[]).await;
    for name in ["CHECKPOINT", ".snap", ".seg"] {
        let made = |(operation, path): &(Operation, PathBuf)| {
            *operation == Operation::Rename && path.to_string_lossy().ends_with(name)
        };
        assert!(operations.iter().any(made), "no {name}: {operations:#?}");
    }
    for operation in 1..=operations.len() as u64 {
        walk_through(&[operation]).await;
    }
}

/// The same with a second power loss in the life after the first, often while that begins.
/// `REDELIVER_CRASH_PAIRS` says how many pairs are tried.
#[tokio::test(start_paused = true)]
async fn an_order_ends_the_same_when_the_power_fails_again_in_the_life_that_follows() {
    let asked = std::env::var("REDELIVER_CRASH_PAIRS").ok();
    let pairs: u64 = asked.map_or(20, |text| text.parse().unwrap());
    let (operations, _) = walk_through(&[]).await;
    let (mut tried, mut both) = (0, 0);
    while both < pairs {
        // A failing pair names its two operations.
        let soon = tried % 2 == 0;
        let first = 1 + scattered(2 * tried) % operations;
        let second = 1 + scattered(2 * tried + 1) % if soon { 30 } else { operations };
        let (_, lost) = walk_through(&[first, second]).await;
        both += u64::from(lost == 2);
        tried += 1;
        assert!(tried < 10 * pairs + 10, "{both} of {tried}");
    }
    println!("{both} pairs of {tried} tried, {operations} operations");
}

impl Shop {
    async fn place_and_walk(&self, order: &mut Option<OrderId>) -> Result<(), CallError> {
        let id = match *order {
            Some(id) => id,
            None => {
                let key = redeliver::IdempotencyKey::new("walk", "place", b"");
                *order.insert(self.try_place_once("tok_ok", Some(key)).await?)
            }
        };
        self.walk(id).await
    }
}
