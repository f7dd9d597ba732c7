//! The world of a scenario: the whole shop, its people and products, and what goes wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use commerce::app;
use commerce::catalog::{Catalog, ChangePrice, CreateCategory, CreateProduct, PublishProduct};
use commerce::config::Config;
use commerce::identity::requests::{DeleteUser, Register};
use commerce::identity::{Contact, Identity};
use commerce::ids::{CategoryId, OrderId, ProductId, ShipmentId, UserId};
use commerce::inventory::{AdjustStock, AdjustmentReason, Inventory, ProductStock, StockOfProduct};
use commerce::money::{Currency, Money};
use commerce::order::{
    Address, CancelOrder, OrderById, OrderItem, OrderStatus, OrderView, Orders, PlaceOrder,
    ResolveOrder, RetryPayment,
};
use commerce::payment::simulated::Pace;
use commerce::payment::{
    Payment, PaymentMethod, PaymentOfOrder, PaymentView, ProviderWebhook, RefundPayment,
    SealedMethod, WebhookOutcome,
};
use commerce::privacy::Keyring;
use commerce::shipping::{
    Deliver, Dispatch, RecordDeliveryAttempt, ReturnShipment, ReturnedItem, Shipping,
};
use redeliver::prelude::*;
use redeliver::testing::{TestSystem, TransportFaults};
use redeliver::{CallError, IdempotencyKey, Resolve};
use uuid::Uuid;

use super::chance::Chance;
use super::checks;
use super::provider::{MailBox, Post, Recorded};

pub const ADA: UserId = UserId(Uuid::from_u128(1));
pub const BOB: UserId = UserId(Uuid::from_u128(2));
pub const MUG: ProductId = ProductId(Uuid::from_u128(11));
pub const LAMP: ProductId = ProductId(Uuid::from_u128(12));
const KITCHEN: CategoryId = CategoryId(Uuid::from_u128(21));
/// How many of each product there are at the beginning.
pub const STOCKED: i64 = 20;
/// The price of a mug, and that of a lamp.
pub const PRICES: [(ProductId, i64); 2] = [(MUG, 999), (LAMP, 4_950)];

/// How often each task is polled without anything happening before all are taken to wait.
const POLLS_MAX: usize = 24;

/// What goes wrong, and how often.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    /// Probability of a panic in each handler call.
    panics: f64,
    /// Probability, in percent, that an act is followed by a power loss or a killing soon.
    crashes: u64,
    transport: TransportFaults,
}

impl Trouble {
    /// None with seed 0; else all kinds or one of them.
    fn of(seed: u64) -> Trouble {
        let transport = TransportFaults {
            loss: 0.1,
            duplication: 0.2,
            delay_max: Duration::from_millis(20),
        };
        let all = Trouble {
            panics: 0.02,
            crashes: 40,
            transport,
        };
        match (seed, seed % 4) {
            (0, _) => Trouble::default(),
            (_, 1) => all,
            (_, 2) => Trouble {
                crashes: 60,
                ..Trouble::default()
            },
            (_, 3) => Trouble {
                panics: 0.04,
                ..Trouble::default()
            },
            (_, _) => Trouble {
                transport,
                ..Trouble::default()
            },
        }
    }
}

pub struct World {
    pub test: TestSystem,
    pub keyring: Keyring,
    pub provider: Arc<Recorded>,
    pub post: Arc<Post>,
    pub mail: Arc<MailBox>,
    pub seed: u64,
    /// Users that exist.
    pub users: Vec<UserId>,
    /// Orders that were acknowledged.
    pub orders: Vec<OrderId>,
    /// Units that came in, broke or were counted by a person, by product.
    pub received: BTreeMap<ProductId, i64>,
    trouble: Trouble,
    chance: Chance,
    acts: u64,
    /// How often the system went down.
    pub falls: u64,
}

impl World {
    pub async fn open(seed: u64) -> World {
        World::open_with(seed, Pace::default(), |_| {}).await
    }

    /// A shop with two customers, two published products and twenty of each. Peace ends when all
    /// of that is there.
    pub async fn open_with(seed: u64, pace: Pace, change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::default();
        change(&mut config);
        let keyring = Keyring::in_memory(seed);
        let post = Arc::new(Post::new());
        let provider = Arc::new(Recorded::new(pace, post.clone()));
        let mail = Arc::new(MailBox::default());
        let build = {
            let (keyring, provider, mail) = (keyring.clone(), provider.clone(), mail.clone());
            move |onto| {
                app::services(
                    onto,
                    &config,
                    provider.clone(),
                    keyring.clone(),
                    mail.clone(),
                )
            }
        };
        let test = TestSystem::start(seed, build).await.unwrap();
        post.lead_to(Some(test.system().clone()));
        let mut world = World {
            test,
            keyring,
            provider,
            post,
            mail,
            seed,
            users: Vec::new(),
            orders: Vec::new(),
            received: BTreeMap::new(),
            trouble: Trouble::default(),
            chance: Chance::new(seed, 1),
            acts: 0,
            falls: 0,
        };
        world.furnish().await;
        world.trouble = Trouble::of(seed);
        world.trouble_begins();
        world
    }

    async fn furnish(&mut self) {
        for (user, name) in [(ADA, "ada"), (BOB, "bob")] {
            self.register(user, name).await;
        }
        let shelf = CreateCategory {
            category_id: Some(KITCHEN),
            name: "Kitchen".to_owned(),
            description: String::new(),
        };
        self.act::<Catalog, _>(shelf).await.unwrap();
        for ((product, price), name) in PRICES.into_iter().zip(["mug", "lamp"]) {
            let create = CreateProduct {
                product_id: Some(product),
                sku: name.to_uppercase(),
                name: name.to_owned(),
                description: String::new(),
                price: Some(Money::new(price, Currency::EUR)),
                category_id: Some(KITCHEN),
            };
            self.act::<Catalog, _>(create).await.unwrap();
            let publish = PublishProduct {
                product_id: product,
                if_version: None,
            };
            self.act::<Catalog, _>(publish).await.unwrap();
        }
        self.rest().await;
        for (product, _) in PRICES {
            self.adjust(product, STOCKED, AdjustmentReason::Received)
                .await;
        }
        self.rest().await;
    }

    // People.

    pub async fn register(&mut self, user: UserId, name: &str) {
        self.keyring.create(user).unwrap();
        let contact = Contact {
            email: format!("{name}@example.com"),
            first_name: name.to_owned(),
            last_name: "Buyer".to_owned(),
        };
        let credential = serde_json::from_str("\"$argon2id$none\"").unwrap();
        let register = Register {
            user_id: user,
            email: self.keyring.fingerprint("email", &contact.email),
            contact: self.keyring.seal(user, &contact).unwrap(),
            credential: self
                .keyring
                .seal::<commerce::identity::credential::Credential>(user, &credential)
                .unwrap(),
        };
        self.act::<Identity, _>(register).await.unwrap();
        self.users.push(user);
    }

    pub async fn delete_user(&mut self, user: UserId) {
        let delete = DeleteUser {
            user_id: user,
            if_version: None,
        };
        self.act::<Identity, _>(delete).await.unwrap();
        self.users.retain(|other| *other != user);
    }

    // Customers.

    pub fn card(&self, user: UserId, token: &str) -> SealedMethod {
        PaymentMethod::card(token)
            .seal(user, &self.keyring)
            .unwrap()
    }

    pub fn wish(&self, user: UserId, token: &str, items: &[(ProductId, i64)]) -> PlaceOrder {
        let address = Address {
            recipient: "A. Buyer".to_owned(),
            line1: "Street 1".to_owned(),
            line2: None,
            city: "Berlin".to_owned(),
            region: None,
            postal_code: "10115".to_owned(),
            country: "DE".to_owned(),
        };
        let items = items.iter().map(|(product_id, quantity)| OrderItem {
            product_id: *product_id,
            quantity: *quantity,
        });
        PlaceOrder {
            customer_id: user,
            items: items.collect(),
            shipping_address: self.keyring.seal(user, &address).unwrap(),
            payment_method: self.card(user, token),
            expected_total: None,
        }
    }

    /// Ada orders two mugs and a lamp.
    pub async fn place(&mut self, token: &str) -> OrderId {
        self.place_for(ADA, token, &[(MUG, 2), (LAMP, 1)]).await
    }

    pub async fn place_for(
        &mut self,
        user: UserId,
        token: &str,
        items: &[(ProductId, i64)],
    ) -> OrderId {
        let wish = self.wish(user, token, items);
        let id = self.act::<Orders, _>(wish).await.unwrap().id;
        self.orders.push(id);
        id
    }

    pub async fn cancel(&mut self, order_id: OrderId) -> Result<OrderView, Rejection> {
        let cancel = CancelOrder {
            order_id,
            customer_id: None,
            if_version: None,
            reason: "changed my mind".to_owned(),
        };
        self.act::<Orders, _>(cancel).await
    }

    pub async fn retry(&mut self, order_id: OrderId, token: &str) -> Result<OrderView, Rejection> {
        let customer = self.order(order_id).await.customer_id;
        let retry = RetryPayment {
            order_id,
            customer_id: None,
            if_version: None,
            payment_method: self.card(customer, token),
        };
        self.act::<Orders, _>(retry).await
    }

    // The shop's people.

    pub async fn adjust(&mut self, product_id: ProductId, delta: i64, reason: AdjustmentReason) {
        let adjust = AdjustStock {
            product_id,
            delta,
            reason,
        };
        self.act::<Inventory, _>(adjust).await.unwrap();
        *self.received.entry(product_id).or_default() += delta;
    }

    pub async fn change_price(&mut self, product_id: ProductId, amount: i64) {
        let change = ChangePrice {
            product_id,
            if_version: None,
            price: Money::new(amount, Currency::EUR),
        };
        self.act::<Catalog, _>(change).await.unwrap();
    }

    pub async fn dispatch(&mut self, order: OrderId) -> Result<(), Rejection> {
        let dispatch = Dispatch {
            shipment_id: self.shipment(order).await,
            carrier: None,
            tracking_number: None,
        };
        self.act::<Shipping, _>(dispatch).await.map(drop)
    }

    pub async fn deliver(&mut self, order: OrderId) {
        let shipment_id = self.shipment(order).await;
        self.act::<Shipping, _>(Deliver { shipment_id })
            .await
            .unwrap();
    }

    pub async fn fail_delivery(&mut self, order: OrderId) {
        let attempt = RecordDeliveryAttempt {
            shipment_id: self.shipment(order).await,
            reason: "nobody there".to_owned(),
        };
        self.act::<Shipping, _>(attempt).await.unwrap();
    }

    /// All of the order's goods come back and can be sold again.
    pub async fn send_back(&mut self, order: OrderId) {
        let items = self.order(order).await.items;
        let items = items.iter().map(|line| ReturnedItem {
            product_id: line.product_id,
            quantity: line.quantity,
            restock: true,
        });
        let back = ReturnShipment {
            shipment_id: self.shipment(order).await,
            items: items.collect(),
        };
        self.act::<Shipping, _>(back).await.unwrap();
    }

    pub async fn refund(&mut self, order: OrderId, amount: i64) -> Result<PaymentView, Rejection> {
        let payment = self.payment(order).await.unwrap();
        let refund = RefundPayment {
            payment_id: payment.id,
            amount: Money::new(amount, Currency::EUR),
            reason: "scratched".to_owned(),
        };
        self.act::<Payment, _>(refund).await
    }

    pub async fn resolve(&mut self, order_id: OrderId, action: Resolve) {
        let resolve = ResolveOrder {
            order_id,
            if_version: None,
            action,
            reason: "decided by hand".to_owned(),
        };
        self.act::<Orders, _>(resolve).await.unwrap();
    }

    /// A webhook that the gateway has let in.
    pub async fn webhook(&mut self, webhook: ProviderWebhook) -> WebhookOutcome {
        self.act::<Payment, _>(webhook).await.unwrap()
    }

    // What there is.

    pub async fn order(&mut self, order_id: OrderId) -> OrderView {
        let ask = OrderById {
            order_id,
            customer_id: None,
        };
        self.ask::<Orders, _>(ask).await.unwrap()
    }

    pub async fn status(&mut self, order: OrderId) -> OrderStatus {
        self.order(order).await.status
    }

    /// The order's payment, if it ever had one.
    pub async fn payment(&mut self, order_id: OrderId) -> Option<PaymentView> {
        self.ask::<Payment, _>(PaymentOfOrder { order_id })
            .await
            .ok()
    }

    pub async fn stock(&mut self, product_id: ProductId) -> ProductStock {
        self.ask::<Inventory, _>(StockOfProduct { product_id })
            .await
            .unwrap()
    }

    async fn shipment(&mut self, order: OrderId) -> ShipmentId {
        let order = self.order(order).await;
        match order.shipment_id {
            Some(shipment) => shipment,
            None => panic!("there is no parcel: {order:?}"),
        }
    }

    // Acting and asking, over everything that goes wrong.

    /// Has a command done, asking with the same key until it is answered.
    pub async fn act<S, C>(&mut self, command: C) -> Result<C::Reply, Rejection>
    where
        S: Service,
        C: Command + Clone,
    {
        self.acts += 1;
        let key = IdempotencyKey::new("scenario", self.acts.to_string(), b"");
        self.plan_a_fall();
        for _ in 0..200 {
            let service = self.test.system().service::<S>();
            let call = service
                .command(command.clone())
                .idempotency(Some(key.clone()));
            match call.send().await {
                Ok(answered) => return Ok(answered.reply),
                Err(CallError::Rejected(no) | CallError::RejectedBefore(no)) => return Err(no),
                Err(error) => self.get_over(error).await,
            }
        }
        panic!("{} is never answered", C::NAME);
    }

    pub async fn ask<S, Q>(&mut self, query: Q) -> Result<Q::Answer, Rejection>
    where
        S: Service,
        Q: Query + Clone,
    {
        let mut last = String::new();
        for _ in 0..200 {
            match self.test.system().service::<S>().query(query.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Rejected(no) | CallError::RejectedBefore(no)) => return Err(no),
                Err(error) => {
                    last = error.to_string();
                    self.get_over(error).await;
                }
            }
        }
        let report = self.test.system().report();
        panic!("{} is never answered: {last}; {report:#?}", Q::NAME);
    }

    async fn get_over(&mut self, error: CallError) {
        // Whatever it says: nobody is left to answer.
        if self.test.disk().is_down() {
            return self.get_up().await;
        }
        match error {
            CallError::Panicked { .. } | CallError::Overloaded { .. } => {
                self.test.advance(Duration::from_millis(10)).await;
            }
            CallError::ServiceFailed { service, .. } => {
                self.test.system().revive(&service);
                self.test.advance(Duration::from_millis(10)).await;
            }
            CallError::OutcomeUnknown { .. } | CallError::Draining => self.get_up().await,
            error => panic!("{error}"),
        }
    }

    // Falling and getting up.

    fn plan_a_fall(&mut self) {
        if self.chance.below(100) < self.trouble.crashes {
            let operation = 1 + self.chance.below(30);
            self.test.crash_at(operation);
        }
    }

    /// After a fall: opens what has survived.
    pub async fn get_up(&mut self) {
        self.falls += 1;
        self.post.lead_to(None);
        match self.chance.below(2) {
            0 => self.test.crash(),
            _ => self.test.kill(),
        }
        self.reopen().await;
    }

    async fn reopen(&mut self) {
        self.post.lead_to(None);
        for _ in 0..20 {
            match self.test.reopen().await {
                Ok(()) => {
                    self.post.lead_to(Some(self.test.system().clone()));
                    return;
                }
                // It fell again while it got up.
                Err(error) => {
                    assert!(
                        self.test.disk().is_down(),
                        "cannot be opened again: {error}"
                    );
                    self.test.kill();
                }
            }
        }
        panic!("the system does not get up again");
    }

    /// Ends the system's life in one of three ways, and begins the next.
    pub async fn restart(&mut self, how: u64) {
        self.falls += 1;
        self.post.lead_to(None);
        match how % 3 {
            0 => self.test.crash(),
            1 => self.test.kill(),
            _ => {}
        }
        self.reopen().await;
    }

    /// Everything happens that happens by itself.
    pub async fn rest(&mut self) {
        for _ in 0..20 {
            let system = self.test.system().clone();
            let fallen = tokio::select! {
                biased;
                _ = system.closed() => true,
                () = self.test.quiet() => false,
            };
            if fallen {
                self.get_up().await;
                continue;
            }
            let failed: Vec<String> = system
                .report()
                .services
                .into_iter()
                .filter(|service| service.state != "running")
                .map(|service| service.name)
                .collect();
            if failed.is_empty() {
                return;
            }
            for service in failed {
                system.revive(&service);
            }
            self.test.advance(Duration::from_millis(10)).await;
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, over a fall if one is planned.
    pub async fn advance(&mut self, time: Duration) {
        let system = self.test.system().clone();
        let fallen = tokio::select! {
            biased;
            _ = system.closed() => true,
            () = self.test.advance(time) => false,
        };
        if fallen {
            self.get_up().await;
            self.test.advance(time).await;
        }
    }

    /// Nothing goes wrong from now on.
    pub fn trouble_ends(&mut self) {
        self.test.disk().clear_faults();
        self.test.panic_with(0.0);
        self.test.transport_with(TransportFaults::default());
    }

    /// What the seed has in store goes wrong from now on.
    pub fn trouble_begins(&mut self) {
        self.test.panic_with(self.trouble.panics);
        self.test.transport_with(self.trouble.transport);
    }

    /// Nothing goes wrong any more, not even what the seed has in store.
    pub fn peace(&mut self) {
        self.trouble = Trouble::default();
        self.trouble_ends();
    }

    /// A quiet point: everything happens that happens by itself, and then everything must be true
    /// that is always true of a quiet shop.
    pub async fn check(&mut self) {
        self.rest().await;
        // What was on its way to fail has failed, or does not any more.
        self.trouble_ends();
        self.rest().await;
        checks::all(self).await;
        self.trouble_begins();
    }

    // Stepping.

    /// What is said arrives one by one from now on, not all at the same instant.
    pub fn slow_down(&self) {
        let transport = TransportFaults {
            delay_max: Duration::from_millis(30),
            ..self.trouble.transport
        };
        self.test.transport_with(transport);
    }

    /// Lets the next thing happen: a turn, an operation of the disk, a commit. Answers whether
    /// there was one before `patience` virtual milliseconds were over.
    pub async fn step(&self, patience: u64) -> bool {
        let before = self.mark();
        for passed in 0..=patience {
            // Once it waits for time to pass, what that leads to shows soon.
            let polls = if passed == 0 {
                POLLS_MAX
            } else {
                POLLS_MAX / 3
            };
            for _ in 0..polls {
                if self.mark() != before {
                    return true;
                }
                others_go_first().await;
            }
            // Everything waits for a time to come.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.mark() != before
    }

    fn mark(&self) -> (u64, u64, u64, u64) {
        let report = self.test.system().report();
        let turns = report.services.iter().map(|service| service.turns).sum();
        let (queued, durable) = (report.store.queued, report.store.durable);
        (turns, self.test.disk().operations(), queued, durable)
    }
}

/// Lets one more task be polled. (`yield_now` lets all run until none is ready.)
async fn others_go_first() {
    let mut polled = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
