//! The outside of the shop: a payment provider whose books can be read, and a mail box.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use commerce::ids::{NotificationId, OrderId};
use commerce::notification::{Letter, Sender, SenderFuture};
use commerce::payment::provider::{Answer, Order, ProviderFuture};
use commerce::payment::simulated::{Pace, SignedWebhook, WebhookSink};
use commerce::payment::webhook::WebhookSecret;
use commerce::payment::{
    CardToken, Payment, PaymentProvider, ProviderWebhook, SimulatedProvider, WebhookOutcome,
};
use redeliver::{System, Timestamp};

/// What the provider was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Authorise,
    Capture,
    Void,
    Refund,
}

/// How much the provider holds, has taken, and has paid back for an order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub held: i64,
    pub captured: i64,
    pub refunded: i64,
}

/// The simulated provider, with a list of everything it was ever asked for. What became of it, it
/// says itself.
pub struct Recorded {
    provider: SimulatedProvider,
    asked: Mutex<BTreeMap<String, (Asked, OrderId, i64)>>,
}

impl Recorded {
    pub fn new(pace: Pace, post: Arc<Post>) -> Recorded {
        let secret = post.secret.clone();
        Recorded {
            provider: SimulatedProvider::in_memory(pace).webhooks(post, secret),
            asked: Mutex::default(),
        }
    }

    /// What its books say of every order.
    pub async fn sums(&self) -> BTreeMap<OrderId, Sums> {
        let asked = self.asked.lock().unwrap().clone();
        let mut sums: BTreeMap<OrderId, Sums> = BTreeMap::new();
        for (key, (what, order, amount)) in asked {
            let Ok(Some(Answer::Done { .. })) = self.provider.look_up(key).await else {
                continue;
            };
            let sums = sums.entry(order).or_default();
            match what {
                Asked::Authorise => sums.held += amount,
                Asked::Void => sums.held -= amount,
                Asked::Capture => {
                    sums.held -= amount;
                    sums.captured += amount;
                }
                Asked::Refund => sums.refunded += amount,
            }
        }
        sums
    }

    fn note(&self, what: Asked, order: &Order) {
        let entry = (what, order.order_id, order.amount.amount);
        let mut asked = self.asked.lock().unwrap();
        let before = asked.insert(order.key.clone(), entry);
        assert!(
            before.is_none_or(|before| before == entry),
            "{} names two operations",
            order.key
        );
    }
}

impl PaymentProvider for Recorded {
    fn authorise(&self, order: Order, token: CardToken) -> ProviderFuture<'_, Answer> {
        self.note(Asked::Authorise, &order);
        self.provider.authorise(order, token)
    }

    fn capture(&self, order: Order, held: String) -> ProviderFuture<'_, Answer> {
        self.note(Asked::Capture, &order);
        self.provider.capture(order, held)
    }

    fn void(&self, order: Order, held: String) -> ProviderFuture<'_, Answer> {
        self.note(Asked::Void, &order);
        self.provider.void(order, held)
    }

    fn refund(&self, order: Order, held: String) -> ProviderFuture<'_, Answer> {
        self.note(Asked::Refund, &order);
        self.provider.refund(order, held)
    }

    fn look_up(&self, key: String) -> ProviderFuture<'_, Option<Answer>> {
        self.provider.look_up(key)
    }
}

/// Carries webhooks into the shop as the gateway would: only what is signed gets in. While the
/// shop is down they are lost.
pub struct Post {
    pub secret: WebhookSecret,
    shop: Mutex<Option<System>>,
    outcomes: Mutex<Vec<WebhookOutcome>>,
}

impl Post {
    pub fn new() -> Post {
        Post {
            secret: WebhookSecret::new("whsec_scenarios"),
            shop: Mutex::default(),
            outcomes: Mutex::default(),
        }
    }

    /// Where the webhooks go from now on.
    pub fn lead_to(&self, shop: Option<System>) {
        *self.shop.lock().unwrap() = shop;
    }

    /// What became of the webhooks that the provider has sent by itself.
    pub fn outcomes(&self) -> Vec<WebhookOutcome> {
        self.outcomes.lock().unwrap().clone()
    }
}

impl WebhookSink for Post {
    fn deliver(&self, webhook: SignedWebhook) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let told: ProviderWebhook = serde_json::from_slice(&webhook.body).unwrap();
            let signed_at: Timestamp = told.at;
            self.secret
                .verify(&webhook.signature, &webhook.body, signed_at)
                .unwrap();
            let shop = self.shop.lock().unwrap().clone();
            let Some(shop) = shop else { return };
            if let Ok(outcome) = shop.service::<Payment>().call(told).await {
                self.outcomes.lock().unwrap().push(outcome);
            }
        })
    }
}

/// Takes every letter and keeps which it was, in the order of sending.
#[derive(Default)]
pub struct MailBox {
    letters: Mutex<Vec<NotificationId>>,
}

impl MailBox {
    pub fn letters(&self) -> Vec<NotificationId> {
        self.letters.lock().unwrap().clone()
    }
}

impl Sender for MailBox {
    fn send(&self, letter: Letter) -> SenderFuture<'_> {
        self.letters.lock().unwrap().push(letter.id);
        Box::pin(async { Ok(()) })
    }
}
