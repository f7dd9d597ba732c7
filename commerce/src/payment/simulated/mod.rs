//! The simulated provider: stands in for a payment company, with its own ledger and its own moods.
//!
//! The card's token chooses the mood: `tok_ok` authorises; `tok_declined` and
//! `tok_insufficient_funds` decline, hard and soft; `tok_timeout_charged` gives no answer although
//! it authorised; `tok_timeout_lost` gives no answer and did nothing the first time;
//! `tok_slow` answers after 3 s; `tok_duplicate_webhook` authorises and sends its webhook twice,
//! once before it answers; `tok_capture_fails` authorises and refuses to capture. Other tokens
//! are unknown cards and are declined.

pub mod books;
pub mod ledger;

use std::collections::HashSet;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redeliver::Timestamp;

use super::CardToken;
use super::messages::{ProviderWebhook, WebhookKind};
use super::provider::{Answer, Order, PaymentProvider, ProviderError, ProviderFuture};
use super::webhook::WebhookSecret;
use crate::syncs::Syncs;
use books::{INSUFFICIENT_FUNDS, LedgerOperation, Wish};
use ledger::{Ledger, LedgerError};

/// The ledger's place under the shop's data directory.
pub const LEDGER_FILE: &str = "provider/ledger.jsonl";

/// How long the provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For an answer.
    pub answer: Duration,
    /// For an answer to `tok_slow`.
    pub slow: Duration,
    /// Until a caller gives up on an answer that does not come.
    pub no_answer: Duration,
}

impl Pace {
    /// Answers at once, for benches and tests.
    pub const INSTANT: Pace = Pace {
        answer: Duration::ZERO,
        slow: Duration::ZERO,
        no_answer: Duration::ZERO,
    };
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            answer: Duration::from_millis(3),
            slow: Duration::from_secs(3),
            no_answer: Duration::from_secs(1),
        }
    }
}

/// A webhook on its way, with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedWebhook {
    /// Value of the header [`SIGNATURE_HEADER`](super::webhook::SIGNATURE_HEADER).
    pub signature: String,
    /// The body: JSON of a [`ProviderWebhook`].
    pub body: Vec<u8>,
}

/// Takes webhooks to the shop.
pub trait WebhookSink: Send + Sync + 'static {
    /// Delivers one; what becomes of it is not the provider's business.
    fn deliver(&self, webhook: SignedWebhook) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A payment provider in this process.
pub struct SimulatedProvider {
    ledger: Ledger,
    pace: Pace,
    webhooks: Option<(Arc<dyn WebhookSink>, WebhookSecret)>,
    /// Keys whose first request was lost.
    lost: Mutex<HashSet<String>>,
}

impl SimulatedProvider {
    /// The provider whose ledger is this file.
    pub fn open(
        ledger: &Path,
        pace: Pace,
        syncs: &Syncs,
    ) -> Result<SimulatedProvider, LedgerError> {
        Ok(SimulatedProvider::with(Ledger::open(ledger, syncs)?, pace))
    }

    /// The provider that answers at once and writes this file without waiting for the disk.
    pub fn unsynced(ledger: &Path) -> Result<SimulatedProvider, LedgerError> {
        let ledger = Ledger::unsynced(ledger)?;
        Ok(SimulatedProvider::with(ledger, Pace::INSTANT))
    }

    /// A provider that forgets everything when it is dropped.
    pub fn in_memory(pace: Pace) -> SimulatedProvider {
        SimulatedProvider::with(Ledger::in_memory(), pace)
    }

    fn with(ledger: Ledger, pace: Pace) -> SimulatedProvider {
        SimulatedProvider {
            ledger,
            pace,
            webhooks: None,
            lost: Mutex::default(),
        }
    }

    /// Sends webhooks there, signed with this secret.
    #[must_use]
    pub fn webhooks(
        mut self,
        to: Arc<dyn WebhookSink>,
        secret: WebhookSecret,
    ) -> SimulatedProvider {
        self.webhooks = Some((to, secret));
        self
    }

    /// How much is held, was taken, and was paid back for an order, by the books of a provider
    /// in memory.
    #[cfg(test)]
    pub(super) fn sums(&self, order: crate::ids::OrderId) -> (i64, i64, i64) {
        self.ledger.books(|books| books.sums(order))
    }

    async fn answer(
        &self,
        operation: LedgerOperation,
        order: Order,
        authorisation: String,
        wish: Wish,
    ) -> Result<Answer, ProviderError> {
        pause(self.pace.answer).await;
        self.enter(operation, order, authorisation, wish).await
    }

    async fn enter(
        &self,
        operation: LedgerOperation,
        order: Order,
        authorisation: String,
        wish: Wish,
    ) -> Result<Answer, ProviderError> {
        let line = self
            .ledger
            .enter(operation, order, authorisation, wish)
            .await;
        match line {
            Ok(line) => Ok(line.answer()),
            // The line may have reached the disk all the same.
            Err(error) => Err(ProviderError::NoAnswer(error.to_string())),
        }
    }

    async fn authorise_on(&self, order: Order, token: CardToken) -> Result<Answer, ProviderError> {
        let authorise = LedgerOperation::Authorise;
        let none = String::new();
        match token.reveal() {
            "tok_ok" => self.answer(authorise, order, none, Wish::Do).await,
            "tok_declined" => {
                let wish = Wish::Decline("card_declined");
                self.answer(authorise, order, none, wish).await
            }
            "tok_insufficient_funds" => {
                let wish = Wish::Decline(INSUFFICIENT_FUNDS);
                self.answer(authorise, order, none, wish).await
            }
            "tok_capture_fails" => self.answer(authorise, order, none, Wish::HoldOnly).await,
            "tok_slow" => {
                pause(self.pace.slow).await;
                self.enter(authorise, order, none, Wish::Do).await
            }
            "tok_timeout_charged" => {
                self.enter(authorise, order, none, Wish::Do).await?;
                self.no_answer().await
            }
            "tok_timeout_lost" => {
                let first = self.lost().insert(order.key.clone());
                if first {
                    return self.no_answer().await;
                }
                self.lost().remove(&order.key);
                self.answer(authorise, order, none, Wish::Do).await
            }
            "tok_duplicate_webhook" => {
                let (at, told) = (order.at, order.clone());
                let answer = self.enter(authorise, order, none, Wish::Do).await?;
                if let Answer::Done { reference } = &answer {
                    // Once in time to overtake the answer, and once more.
                    self.tell(&told, reference, at).await;
                    pause(self.pace.answer).await;
                    self.tell_later(&told, reference, at);
                }
                Ok(answer)
            }
            _ => {
                let wish = Wish::Decline("invalid_token");
                self.answer(authorise, order, none, wish).await
            }
        }
    }

    async fn no_answer(&self) -> Result<Answer, ProviderError> {
        pause(self.pace.no_answer).await;
        Err(ProviderError::NoAnswer("it took too long".to_owned()))
    }

    async fn tell(&self, order: &Order, reference: &str, at: Timestamp) {
        if let Some((sink, secret)) = &self.webhooks
            && let Some(webhook) = authorised(order, reference, at, secret)
        {
            sink.deliver(webhook).await;
        }
    }

    fn tell_later(&self, order: &Order, reference: &str, at: Timestamp) {
        if let Some((sink, secret)) = &self.webhooks
            && let Some(webhook) = authorised(order, reference, at, secret)
        {
            let sink = sink.clone();
            tokio::spawn(async move { sink.deliver(webhook).await });
        }
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PaymentProvider for SimulatedProvider {
    fn authorise(&self, order: Order, token: CardToken) -> ProviderFuture<'_, Answer> {
        Box::pin(self.authorise_on(order, token))
    }

    fn capture(&self, order: Order, authorisation: String) -> ProviderFuture<'_, Answer> {
        Box::pin(self.answer(LedgerOperation::Capture, order, authorisation, Wish::Do))
    }

    fn void(&self, order: Order, authorisation: String) -> ProviderFuture<'_, Answer> {
        Box::pin(self.answer(LedgerOperation::Void, order, authorisation, Wish::Do))
    }

    fn refund(&self, order: Order, authorisation: String) -> ProviderFuture<'_, Answer> {
        Box::pin(self.answer(LedgerOperation::Refund, order, authorisation, Wish::Do))
    }

    fn look_up(&self, key: String) -> ProviderFuture<'_, Option<Answer>> {
        Box::pin(async move {
            match self.ledger.look_up(key).await {
                Ok(line) => Ok(line.map(|line| line.answer())),
                Err(error) => Err(ProviderError::Unavailable(error.to_string())),
            }
        })
    }
}

/// Sleeping for no time at all would still wait for the timer's next tick.
async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

fn authorised(
    order: &Order,
    reference: &str,
    at: Timestamp,
    secret: &WebhookSecret,
) -> Option<SignedWebhook> {
    let webhook = ProviderWebhook {
        id: format!("evt-{}", order.key),
        kind: WebhookKind::Authorised,
        idempotency_key: order.key.clone(),
        provider_reference: reference.to_owned(),
        amount: order.amount,
        at,
    };
    let body = serde_json::to_vec(&webhook).ok()?;
    Some(SignedWebhook {
        signature: secret.sign(&body, at),
        body,
    })
}

#[cfg(test)]
mod tests;
