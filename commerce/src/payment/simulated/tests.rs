//! Each mood of the simulated provider, and that it lives through restarts.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use uuid::Uuid;

use super::books::LedgerOutcome;
use super::*;
use crate::ids::OrderId;
use crate::money::{Currency, Money};
use crate::payment::FailureKind;
use crate::payment::messages::ProviderWebhook;

const AT: Timestamp = Timestamp(1_772_366_400_000_000);

fn order(key: &str) -> Order {
    Order {
        key: key.to_owned(),
        order_id: OrderId(Uuid::from_u128(1)),
        amount: Money::new(1_998, Currency::EUR),
        at: AT,
    }
}

fn token(token: &str) -> CardToken {
    CardToken::new(token)
}

async fn authorise(provider: &SimulatedProvider, with: &str) -> Result<Answer, ProviderError> {
    provider.authorise(order("k"), token(with)).await
}

fn declined(kind: FailureKind, reason: &str) -> Answer {
    Answer::Declined {
        kind,
        reason: reason.to_owned(),
    }
}

fn done() -> Answer {
    Answer::Done {
        reference: "sim-k".to_owned(),
    }
}

async fn known(provider: &SimulatedProvider) -> Option<Answer> {
    provider.look_up("k".to_owned()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_token_gets_its_answer_and_look_up_repeats_it() {
    for (with, answer) in [
        ("tok_ok", done()),
        ("tok_slow", done()),
        ("tok_duplicate_webhook", done()),
        ("tok_declined", declined(FailureKind::Hard, "card_declined")),
        (
            "tok_insufficient_funds",
            declined(FailureKind::Soft, "insufficient_funds"),
        ),
        ("tok_else", declined(FailureKind::Hard, "invalid_token")),
    ] {
        let provider = SimulatedProvider::in_memory(Pace::default());
        assert_eq!(
            authorise(&provider, with).await,
            Ok(answer.clone()),
            "{with}"
        );
        assert_eq!(known(&provider).await, Some(answer), "{with}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_charged_is_known_when_asked() {
    let provider = SimulatedProvider::in_memory(Pace::default());
    let answer = authorise(&provider, "tok_timeout_charged").await;
    assert!(matches!(answer, Err(ProviderError::NoAnswer(_))));
    assert_eq!(known(&provider).await, Some(done()));
}

#[tokio::test(start_paused = true)]
async fn a_time_out_that_was_lost_is_unheard_of_and_can_be_tried_again() {
    let provider = SimulatedProvider::in_memory(Pace::default());
    let answer = authorise(&provider, "tok_timeout_lost").await;
    assert!(matches!(answer, Err(ProviderError::NoAnswer(_))));
    assert_eq!(known(&provider).await, None);
    assert_eq!(authorise(&provider, "tok_timeout_lost").await, Ok(done()));
}

#[tokio::test]
async fn a_restarted_provider_gives_the_same_answers_and_writes_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("provider/ledger.jsonl");
    let moods = [
        "tok_ok",
        "tok_declined",
        "tok_insufficient_funds",
        "tok_capture_fails",
    ];
    let round = async || {
        let provider =
            SimulatedProvider::open(&path, Pace::INSTANT, &crate::syncs::Syncs::default()).unwrap();
        let mut answers = Vec::new();
        for mood in moods {
            let asked = order(&format!("key-{mood}"));
            answers.push(provider.authorise(asked, token(mood)).await.unwrap());
        }
        let Answer::Done { reference } = answers[3].clone() else {
            panic!("tok_capture_fails authorises");
        };
        let capture = provider.capture(order("capture"), reference).await.unwrap();
        answers.push(capture);
        answers
    };
    let first = round().await;
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(first[4], declined(FailureKind::Hard, "capture_refused"));
    assert_eq!(round().await, first);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let outcomes: Vec<LedgerOutcome> = String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<books::Line>(line).unwrap().outcome)
        .collect();
    use LedgerOutcome::{Declined, Ok};
    assert_eq!(outcomes, [Ok, Declined, Declined, Ok, Declined]);
}

#[derive(Default)]
struct Mailbox {
    webhooks: Mutex<Vec<SignedWebhook>>,
    arrived: Notify,
}

impl WebhookSink for Mailbox {
    fn deliver(&self, webhook: SignedWebhook) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.webhooks.lock().unwrap().push(webhook);
            self.arrived.notify_one();
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_webhook_comes_once_before_the_answer_and_once_after_it() {
    let mailbox = Arc::new(Mailbox::default());
    let secret = WebhookSecret::new("whsec");
    let provider =
        SimulatedProvider::in_memory(Pace::default()).webhooks(mailbox.clone(), secret.clone());
    authorise(&provider, "tok_duplicate_webhook").await.unwrap();
    assert_eq!(mailbox.webhooks.lock().unwrap().len(), 1, "overtakes");
    while mailbox.webhooks.lock().unwrap().len() < 2 {
        mailbox.arrived.notified().await;
    }
    let webhooks = mailbox.webhooks.lock().unwrap();
    assert_eq!(webhooks[0], webhooks[1]);
    let SignedWebhook { signature, body } = &webhooks[0];
    assert_eq!(secret.verify(signature, body, AT), Ok(()));
    let told: ProviderWebhook = serde_json::from_slice(body).unwrap();
    assert_eq!(
        (told.idempotency_key.as_str(), told.amount.amount),
        ("k", 1_998)
    );
    assert_eq!(told.kind, WebhookKind::Authorised);
}
