//! The world outside of the shop: a payment provider whose books can be read, a mail box, and the
//! post that brings the provider's webhooks.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redeliver::prelude::*;
use redeliver::testing::Client;

use super::Town;
use crate::ids::{NotificationId, OrderId};
use crate::notification::{Letter, Sender, SenderFuture};
use crate::payment::provider::{Answer, Order, ProviderFuture};
use crate::payment::simulated::{Pace, SignedWebhook, WebhookSink};
use crate::payment::webhook::WebhookSecret;
use crate::payment::{CardToken, Payment, PaymentProvider, ProviderWebhook, SimulatedProvider};
use crate::privacy::Keyring;

/// Webhooks that may wait for the post; later ones are lost, as over a real network.
const WEBHOOKS_MAX: usize = 10_000;

pub(super) fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything outside of the shop; it outlives every crash of it.
pub(super) struct Outside {
    pub(super) keyring: Keyring,
    pub(super) provider: Arc<Recorded>,
    pub(super) mail: Arc<MailBox>,
    post: Arc<Post>,
}

impl Outside {
    pub(super) fn new(seed: u64) -> Outside {
        let post = Arc::new(Post::default());
        Outside {
            keyring: Keyring::in_memory(seed),
            provider: Arc::new(Recorded::new(post.clone())),
            mail: Arc::new(MailBox::default()),
            post,
        }
    }
}

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
pub(super) struct Sums {
    pub(super) held: i64,
    pub(super) captured: i64,
    pub(super) refunded: i64,
}

/// The simulated provider, with a list of everything it was ever asked for. What became of it, it
/// says itself.
pub(super) struct Recorded {
    provider: SimulatedProvider,
    asked: Mutex<BTreeMap<String, (Asked, OrderId, i64)>>,
    /// Keys under which two different things were asked.
    mixed_up: Mutex<Vec<String>>,
}

impl Recorded {
    fn new(post: Arc<Post>) -> Recorded {
        let secret = WebhookSecret::new("whsec_simulated");
        Recorded {
            provider: SimulatedProvider::in_memory(Pace::default()).webhooks(post, secret),
            asked: Mutex::default(),
            mixed_up: Mutex::default(),
        }
    }

    /// What its books say of every order.
    pub(super) async fn sums(&self) -> BTreeMap<OrderId, Sums> {
        let asked = locked(&self.asked).clone();
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

    /// Keys that name two operations.
    pub(super) fn mixed_up(&self) -> Vec<String> {
        locked(&self.mixed_up).clone()
    }

    fn note(&self, what: Asked, order: &Order) {
        let entry = (what, order.order_id, order.amount.amount);
        let before = locked(&self.asked).insert(order.key.clone(), entry);
        if before.is_some_and(|before| before != entry) {
            locked(&self.mixed_up).push(order.key.clone());
        }
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

/// Webhooks that the provider has sent.
#[derive(Default)]
struct Post {
    waiting: Mutex<VecDeque<ProviderWebhook>>,
}

impl WebhookSink for Post {
    fn deliver(&self, webhook: SignedWebhook) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if let Ok(told) = serde_json::from_slice(&webhook.body) {
                let mut waiting = locked(&self.waiting);
                if waiting.len() < WEBHOOKS_MAX {
                    waiting.push_back(told);
                }
            }
        })
    }
}

/// Brings webhooks to the shop, each once; while the shop is down they are lost.
pub(super) async fn postman(client: Client, town: Arc<Town>) {
    while !client.is_over() {
        client.sleep(client.up_to(seconds(2))).await;
        loop {
            let next = locked(&town.outside.post.waiting).pop_front();
            let Some(webhook) = next else { break };
            let payment = client.system().await.service::<Payment>();
            let outcome = payment.call(webhook).await;
            client.note(format_args!("brought a webhook: {}", outcome.is_ok()));
        }
    }
}

/// Takes every letter and keeps which it was, in the order of sending.
#[derive(Default)]
pub(super) struct MailBox {
    letters: Mutex<Vec<NotificationId>>,
}

impl MailBox {
    pub(super) fn letters(&self) -> Vec<NotificationId> {
        locked(&self.letters).clone()
    }
}

impl Sender for MailBox {
    fn send(&self, letter: Letter) -> SenderFuture<'_> {
        locked(&self.letters).push(letter.id);
        Box::pin(async { Ok(()) })
    }
}
