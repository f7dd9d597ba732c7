//! Payment, inventory and shipping in a running system: messages go from service to service, the
//! provider is called, and what crashes in between changes nothing about the end.
//!
//! The order service is stood in for by a desk that says what it is told to say, the catalog by a
//! shelf with one lamp.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use commerce::catalog::{ProductCreated, ProductUpdated};
use commerce::ids::{OrderId, ProductId, RefundId, ShipmentId, UserId};
use commerce::inventory::{
    AdjustStock, AdjustmentReason, Inventory, InventoryReservationConfirmed, StockAdjusted,
    StockOfProduct, StockReleased, Units,
};
use commerce::money::{Currency, Money};
use commerce::order::{
    Address, InventoryReservationReleased, InventoryReservationRequested, OrderCancelled,
    OrderConfirmed, PaymentRefundRequested, PaymentRequested, ShipmentCancellationRequested,
};
use commerce::payment::provider::Answer;
use commerce::payment::simulated::Pace;
use commerce::payment::{
    Payment, PaymentMethod, PaymentOfOrder, PaymentProvider, PaymentStatus, PaymentView,
    SimulatedProvider,
};
use commerce::privacy::Keyring;
use commerce::shipping::{Dispatch, ShipmentOfOrder, Shipping, SimulatedCarrier};
use redeliver::prelude::*;
use redeliver::testing::TestSystem;
use redeliver::{IdempotencyKey, System};
use uuid::Uuid;

/// The same keys every time.
fn keyring() -> Keyring {
    let keyring = Keyring::in_memory(1);
    keyring.create(customer()).unwrap();
    keyring
}

fn address() -> Address {
    Address {
        recipient: "Ada".into(),
        line1: "Street 1".into(),
        line2: None,
        city: "Town".into(),
        region: None,
        postal_code: "12345".into(),
        country: "DE".into(),
    }
}

/// Says what the order service would say.
struct Desk;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Say {
    Reserve,
    Pay(String),
    Confirm,
    CancelShipment,
    Refund,
    Release,
    Cancelled,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    order: OrderId,
    say: Say,
}

impl Message for Told {
    const NAME: &'static str = "told";
}

impl Command for Told {
    type Reply = ();
}

impl Service for Desk {
    const NAME: &'static str = "order";

    fn handlers(on: &mut Handlers<Self>) {
        on.command(Self::told);
        on.publishes::<InventoryReservationRequested>()
            .publishes::<InventoryReservationReleased>()
            .publishes::<PaymentRequested>()
            .publishes::<PaymentRefundRequested>()
            .publishes::<ShipmentCancellationRequested>()
            .publishes::<OrderConfirmed>()
            .publishes::<OrderCancelled>();
    }
}

impl Desk {
    fn told(&self, told: Told, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let (order_id, at, reason) = (told.order, cx.now(), "asked".to_owned());
        let total = Money::new(1_998, Currency::EUR);
        let lines = vec![Units {
            product_id: product(),
            quantity: 2,
        }];
        match told.say {
            Say::Reserve => cx.publish(InventoryReservationRequested {
                order_id,
                lines,
                at,
            }),
            Say::Pay(token) => cx.publish(PaymentRequested {
                order_id,
                customer_id: customer(),
                attempt: 1,
                amount: total,
                method: PaymentMethod::card(token)
                    .seal(customer(), &keyring())
                    .unwrap(),
                at,
            }),
            Say::Confirm => cx.publish(OrderConfirmed {
                order_id,
                customer_id: customer(),
                lines,
                total,
                payment_id: commerce::ids::PaymentId(order_id.0),
                ship_to: keyring().seal(customer(), &address()).unwrap(),
                at,
            }),
            Say::CancelShipment => cx.publish(ShipmentCancellationRequested {
                order_id,
                reason,
                at,
            }),
            Say::Refund => cx.publish(PaymentRefundRequested {
                order_id,
                customer_id: customer(),
                refund_id: RefundId::of_whole_order(order_id),
                amount: None,
                currency: Currency::EUR,
                reason,
                at,
            }),
            Say::Release => cx.publish(InventoryReservationReleased {
                order_id,
                reason,
                at,
            }),
            Say::Cancelled => cx.publish(OrderCancelled {
                order_id,
                customer_id: customer(),
                reason,
                total,
                at,
            }),
        }
        Ok(())
    }
}

/// Says what the catalog service would say, and hears what it would hear.
struct Shelf;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lamp {
    id: ProductId,
}

impl Message for Lamp {
    const NAME: &'static str = "lamp";
}

impl Command for Lamp {
    type Reply = ();
}

impl Service for Shelf {
    const NAME: &'static str = "catalog";

    fn handlers(on: &mut Handlers<Self>) {
        on.command(Self::lamp);
        on.event(Self::ignore::<InventoryReservationConfirmed>)
            .event(Self::ignore::<StockReleased>)
            .event(Self::ignore::<StockAdjusted>);
        on.publishes::<ProductCreated>()
            .publishes::<ProductUpdated>();
    }
}

impl Shelf {
    fn lamp(&self, lamp: Lamp, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.publish(ProductCreated {
            product_id: lamp.id,
            sku: "LAMP".into(),
            name: "Lamp".into(),
            price: None,
            category_id: None,
            at: cx.now(),
        });
        Ok(())
    }

    fn ignore<E: Event>(&self, _: E, _: &mut Context<Self>) -> Result<(), Rejection> {
        Ok(())
    }
}

fn product() -> ProductId {
    ProductId(Uuid::from_u128(1))
}

fn customer() -> UserId {
    UserId(Uuid::from_u128(2))
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(100 + n))
}

async fn shop(seed: u64, provider: &Arc<SimulatedProvider>) -> TestSystem {
    let provider = provider.clone();
    let build = move |system: redeliver::SystemBuilder| {
        system
            .service(Desk)
            .service(Shelf)
            .service(Payment::new(provider.clone(), keyring()))
            .service(Inventory::default())
            .service(Shipping::new(Arc::new(SimulatedCarrier), keyring()))
    };
    TestSystem::start(seed, build).await.unwrap()
}

/// Ten lamps. To be said again after a crash, until it was heard: what is said once, is kept.
async fn stock(test: &TestSystem) {
    let lamp = Lamp { id: product() };
    test.system().service::<Shelf>().call(lamp).await.unwrap();
    test.quiet().await;
    let inventory = test.system().service::<Inventory>();
    let received = AdjustStock {
        product_id: product(),
        delta: 10,
        reason: AdjustmentReason::Received,
    };
    let once = IdempotencyKey::new("test", "stock", b"");
    let received = inventory.command(received).idempotency(Some(once));
    received.send().await.unwrap();
}

async fn say(system: &System, order: OrderId, say: Say) {
    let told = Told { order, say };
    system.service::<Desk>().call(told).await.unwrap();
}

async fn payment(system: &System, order_id: OrderId) -> PaymentView {
    let ask = PaymentOfOrder { order_id };
    system.service::<Payment>().query(ask).await.unwrap()
}

async fn on_hand(system: &System) -> (u64, u64) {
    let ask = StockOfProduct {
        product_id: product(),
    };
    let stock = system.service::<Inventory>().query(ask).await.unwrap();
    (stock.on_hand, stock.reserved)
}

async fn parcel(system: &System, order_id: OrderId) -> ShipmentId {
    let ask = ShipmentOfOrder { order_id };
    system.service::<Shipping>().query(ask).await.unwrap().id
}

async fn provider_did(provider: &SimulatedProvider, key: String) -> bool {
    matches!(provider.look_up(key).await, Ok(Some(Answer::Done { .. })))
}

#[tokio::test(start_paused = true)]
async fn each_mood_of_the_provider_ends_in_its_status_and_undoing_frees_everything() {
    let provider = Arc::new(SimulatedProvider::in_memory(Pace::default()));
    let test = shop(1, &provider).await;
    let system = test.system();
    for (n, (token, status)) in [
        ("tok_ok", PaymentStatus::Authorised),
        ("tok_slow", PaymentStatus::Authorised),
        ("tok_declined", PaymentStatus::Failed),
        ("tok_insufficient_funds", PaymentStatus::Failed),
        ("tok_timeout_charged", PaymentStatus::Authorised),
        ("tok_timeout_lost", PaymentStatus::Authorised),
        ("tok_duplicate_webhook", PaymentStatus::Authorised),
    ]
    .into_iter()
    .enumerate()
    {
        let order = order(n as u128);
        say(system, order, Say::Pay(token.to_owned())).await;
        test.quiet().await;
        assert_eq!(payment(system, order).await.status, status, "{token}");
        say(system, order, Say::Refund).await;
        test.quiet().await;
        let undone = payment(system, order).await;
        assert_eq!(undone.authorised.amount, 0, "{token}");
        let voided = provider_did(&provider, format!("{order}-1-void-1")).await;
        assert_eq!(voided, status == PaymentStatus::Authorised, "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn dispatch_takes_goods_and_money_and_a_parcel_that_left_cannot_be_called_back() {
    let provider = Arc::new(SimulatedProvider::in_memory(Pace::default()));
    let test = shop(2, &provider).await;
    let (system, order) = (test.system(), order(1));
    stock(&test).await;
    for step in [Say::Reserve, Say::Pay("tok_ok".into())] {
        say(system, order, step).await;
    }
    test.quiet().await;
    say(system, order, Say::Confirm).await;
    test.quiet().await;
    assert_eq!(on_hand(system).await, (10, 2));
    let dispatch = Dispatch {
        shipment_id: parcel(system, order).await,
        carrier: None,
        tracking_number: None,
    };
    system.service::<Shipping>().call(dispatch).await.unwrap();
    say(system, order, Say::CancelShipment).await;
    test.quiet().await;
    assert_eq!(on_hand(system).await, (8, 0));
    let paid = payment(system, order).await;
    assert_eq!(
        (paid.status, paid.captured.amount),
        (PaymentStatus::Captured, 1_998)
    );
    say(system, order, Say::Refund).await;
    test.quiet().await;
    assert_eq!(payment(system, order).await.status, PaymentStatus::Refunded);
}

#[tokio::test(start_paused = true)]
async fn undoing_before_and_after_each_request_leaves_nothing_behind() {
    let provider = Arc::new(SimulatedProvider::in_memory(Pace::default()));
    let test = shop(3, &provider).await;
    let system = test.system();
    stock(&test).await;
    let undo = [
        Say::CancelShipment,
        Say::Refund,
        Say::Release,
        Say::Cancelled,
    ];
    let ask = [Say::Reserve, Say::Pay("tok_ok".into()), Say::Confirm];
    for (n, first) in [&undo[..], &ask[..]].into_iter().enumerate() {
        let order = order(n as u128);
        let then = if n == 0 { &ask[..] } else { &undo[..] };
        for step in first.iter().chain(then) {
            say(system, order, step.clone()).await;
        }
        test.quiet().await;
        assert_eq!(on_hand(system).await, (10, 0));
        let held = provider_did(&provider, format!("{order}-1")).await;
        let freed = provider_did(&provider, format!("{order}-1-void-1")).await;
        assert_eq!(held, freed);
    }
}

/// Method: the same conversation once per crash point; the power fails at that disk operation,
/// the system is reopened, and whatever had not been acknowledged is said again.
#[tokio::test(start_paused = true)]
async fn a_crash_anywhere_neither_charges_twice_nor_forgets() {
    let mut crashes = 0;
    // The conversation takes about a dozen disk operations; seeds vary what each crash leaves.
    for (seed, crash) in (1..=10).flat_map(|seed| (1..=14).map(move |crash| (seed, crash))) {
        let provider = Arc::new(SimulatedProvider::in_memory(Pace::default()));
        let mut test = shop(seed, &provider).await;
        stock(&test).await;
        test.disk_crash(crash).await;
        let order = order(1);
        let steps = [
            Say::Reserve,
            Say::Pay("tok_timeout_charged".into()),
            Say::Confirm,
        ];
        for step in steps {
            let told = Told { order, say: step };
            loop {
                let desk = test.system().service::<Desk>();
                if desk.call(told.clone()).await.is_ok() {
                    break;
                }
                crashes += 1;
                test.crash();
                test.reopen().await.unwrap();
            }
        }
        crashes += test.rest().await;
        let system = test.system();
        assert_eq!(on_hand(system).await, (10, 2), "seed {seed}, crash {crash}");
        let shown = payment(system, order).await;
        assert_eq!(
            shown.status,
            PaymentStatus::Authorised,
            "seed {seed}, crash {crash}"
        );
        assert!(provider_did(&provider, format!("{order}-1")).await);
        parcel(system, order).await;
    }
    assert!(crashes >= 100, "only {crashes} of the planned crashes came");
}

/// What the crash test needs of a system.
trait CrashAndRest {
    async fn disk_crash(&self, operation: u64);
    async fn rest(&mut self) -> u32;
}

impl CrashAndRest for TestSystem {
    async fn disk_crash(&self, operation: u64) {
        self.quiet().await;
        self.crash_at(operation);
    }

    /// Runs to the end, over the crash if it has not come yet; answers how many came.
    async fn rest(&mut self) -> u32 {
        for crashes in 0..3 {
            let crashed = tokio::select! {
                biased;
                _ = self.system().closed() => true,
                // Housekeeping writes a little later; a crash may come there too.
                () = async { self.quiet().await; self.advance(seconds(30)).await } => false,
            };
            if !crashed {
                return crashes;
            }
            self.crash();
            self.reopen().await.unwrap();
        }
        panic!("one crash was planned, not three");
    }
}
