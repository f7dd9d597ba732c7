//! Webhooks: only the provider is believed, and each event counts once.

#![allow(clippy::unwrap_used)]

mod common;

use commerce::payment::webhook::WebhookSecret;
use common::{Server, order_of, product};
use redeliver::clock::{Clock, SystemClock};
use serde_json::{Value, json};

const SECRET: &str = "whsec_test";
const PATH: &str = "/webhooks/payments";

fn server(data: &std::path::Path) -> Server {
    Server::with(data, &[], &[("COMMERCE_WEBHOOK_SECRET", SECRET)])
}

fn event(key: &str) -> Value {
    json!({
        "id": "evt_1", "type": "payment.authorised", "idempotency_key": key,
        "provider_reference": "ref_1", "amount": { "amount": 999, "currency": "EUR" },
        "at": "2026-03-01T12:00:00Z"
    })
}

#[test]
fn a_signed_event_is_taken_and_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut client = server.client();
    let wait = ("prefer", "wait=20");
    let order = order_of(&product(0), 1, "tok_ok");
    let order = client
        .post_with("/api/v1/orders", &[wait], &order)
        .expect(200);
    let key = server.ledger()[0]["key"].as_str().unwrap().to_owned();
    let body = event(&key).to_string();
    let signature = WebhookSecret::new(SECRET).sign(body.as_bytes(), SystemClock.wall());
    let headers = [("webhook-signature", signature.as_str())];
    let first = client.request("POST", PATH, &headers, Some(body.as_bytes()));
    first.expect(200);
    let second = client.request("POST", PATH, &headers, Some(body.as_bytes()));
    assert_eq!(second.expect(200)["outcome"], "duplicate");
    let path = format!("/api/v1/orders/{}", order["id"].as_str().unwrap());
    assert_eq!(client.get(&path).expect(200)["status"], "confirmed");
    assert_eq!(server.ledger().len(), 1);
}

#[test]
fn an_event_may_tell_its_amount_in_bare_minor_units() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut client = server.client();
    let wait = ("prefer", "wait=20");
    let order = order_of(&product(0), 1, "tok_ok");
    let order = client.post_with("/api/v1/orders", &[wait], &order);
    assert_eq!(order.expect(200)["total"]["amount"], 999);
    let mut about = event(server.ledger()[0]["key"].as_str().unwrap());
    for (id, amount, outcome) in [("evt_1", 998, "ignored"), ("evt_2", 999, "applied")] {
        (about["id"], about["amount"]) = (json!(id), json!(amount));
        let body = about.to_string();
        let signature = WebhookSecret::new(SECRET).sign(body.as_bytes(), SystemClock.wall());
        let headers = [("webhook-signature", signature.as_str())];
        let answer = client.request("POST", PATH, &headers, Some(body.as_bytes()));
        assert_eq!(answer.expect(200)["outcome"], outcome, "{amount}");
    }
}

#[test]
fn what_failed_needs_no_name_at_the_provider() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut body = event("nobodys");
    body["type"] = json!("payment.failed");
    body["provider_reference"] = Value::Null;
    let body = body.to_string();
    let signature = WebhookSecret::new(SECRET).sign(body.as_bytes(), SystemClock.wall());
    let headers = [("webhook-signature", signature.as_str())];
    let mut client = server.client();
    let answer = client.request("POST", PATH, &headers, Some(body.as_bytes()));
    assert_eq!(answer.expect(200)["outcome"], "ignored");
}

#[test]
fn what_the_provider_adds_to_an_event_is_no_reason_to_refuse_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut body = event("nobodys");
    body["api_version"] = json!("2027-01-01");
    body["risk"] = json!({ "score": 3 });
    body["amount"]["exponent"] = json!(2);
    let body = body.to_string();
    let signature = WebhookSecret::new(SECRET).sign(body.as_bytes(), SystemClock.wall());
    let headers = [("webhook-signature", signature.as_str())];
    let mut client = server.client();
    let answer = client.request("POST", PATH, &headers, Some(body.as_bytes()));
    assert!(answer.expect(200)["outcome"].is_string());
}

#[test]
fn an_event_that_is_not_signed_by_the_provider_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut client = server.client();
    let body = event("key").to_string();
    let now = SystemClock.wall();
    let old = redeliver::Timestamp(now.0 - 301_000_000);
    let forged = WebhookSecret::new("other").sign(body.as_bytes(), now);
    let late = WebhookSecret::new(SECRET).sign(body.as_bytes(), old);
    let of_another = WebhookSecret::new(SECRET).sign(b"{}", now);
    for signature in [forged.as_str(), &late, &of_another, "", "t=1", "nonsense"] {
        let headers = [("webhook-signature", signature)];
        let answer = client.request("POST", PATH, &headers, Some(body.as_bytes()));
        answer.problem(401, "unauthorized");
    }
    let none = client.request("POST", PATH, &[], Some(body.as_bytes()));
    none.problem(401, "unauthorized");
}

#[test]
fn a_signed_event_that_cannot_be_read_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path());
    let mut client = server.client();
    for (body, status) in [("{", 400), (r#"{"id":1}"#, 422)] {
        let signature = WebhookSecret::new(SECRET).sign(body.as_bytes(), SystemClock.wall());
        let headers = [("webhook-signature", signature.as_str())];
        let answer = client.request("POST", PATH, &headers, Some(body.as_bytes()));
        assert_eq!(answer.status, status);
    }
}
