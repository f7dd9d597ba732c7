//! A request with an idempotency key happens once, whatever becomes of the connection and the
//! process in between.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Server, order_of, product, stock};
use serde_json::json;

const ORDERS: &str = "/api/v1/orders";

fn key(key: &str) -> (&str, &str) {
    ("idempotency-key", key)
}

#[test]
fn the_same_request_gets_the_stored_answer_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = order_of(&product(0), 1, "tok_ok");
    let first = client.post_with(ORDERS, &[key("k1")], &order);
    let placed = first.expect(202);
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = client.post_with(ORDERS, &[key("k1")], &order);
    assert_eq!(again.expect(202), placed);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));

    server.kill();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let waiting = [key("k1"), ("prefer", "wait=20")];
    let later = client.post_with(ORDERS, &waiting, &order);
    let present = later.expect(200);
    assert_eq!(later.header("idempotency-replayed"), Some("true"));
    assert_eq!(later.header("preference-applied"), Some("wait=20"));
    assert_eq!(present["id"], placed["id"]);
    assert_eq!(present["status"], "confirmed");
    let all = client.get(ORDERS).expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    assert_eq!(stock(&mut client, &product(0)), (10_000, 1, 9_999));
}

#[test]
fn another_body_under_the_key_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let first = order_of(&product(0), 1, "tok_ok");
    client.post_with(ORDERS, &[key("k1")], &first).expect(202);
    let other = order_of(&product(0), 2, "tok_ok");
    let refused = client.post_with(ORDERS, &[key("k1")], &other);
    refused.problem(422, "idempotency-key-reused");
    let all = client.get(ORDERS).expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    client.post_with(ORDERS, &[key("k2")], &other).expect(202);
}

#[test]
fn a_refusal_is_stored_too() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = order_of(&product(0), 0, "tok_ok");
    let first = client.post_with(ORDERS, &[key("k1")], &order);
    first.problem(422, "rejected/invalid-quantity");
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = client.post_with(ORDERS, &[key("k1")], &order);
    again.problem(422, "rejected/invalid-quantity");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[test]
fn a_key_counts_for_its_path_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let received = json!({ "delta": 1, "reason": "received" });
    for place in [0, 1] {
        let path = format!("/api/v1/inventory/products/{}/adjust-stock", product(place));
        for replayed in [None, Some("true")] {
            let answer = client.post_with(&path, &[key("k1")], &received);
            assert_eq!(answer.expect(200)["on_hand"], 10_001);
            assert_eq!(answer.header("idempotency-replayed"), replayed);
        }
    }
    let path = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    assert_eq!(client.post(&path, &received).expect(200)["on_hand"], 10_002);
}

#[test]
fn a_key_that_cannot_be_stored_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = order_of(&product(0), 1, "tok_ok");
    let long = "k".repeat(256);
    for bad in ["", "a b", &long] {
        let answer = client.post_with(ORDERS, &[key(bad)], &order);
        answer.problem(400, "idempotency-key-invalid");
    }
    let two = client.post_with(ORDERS, &[key("a"), key("b")], &order);
    two.problem(400, "idempotency-key-invalid");
    assert_eq!(client.get(ORDERS).expect(200)["items"], json!([]));
}

#[test]
fn the_same_request_sent_at_once_from_many_sides_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let order = order_of(&product(0), 1, "tok_ok");
    let ids: Vec<String> = std::thread::scope(|scope| {
        let sides: Vec<_> = (0..16)
            .map(|_| {
                let (mut client, order) = (server.client(), &order);
                scope.spawn(move || {
                    let headers = [key("k1"), ("prefer", "wait=20")];
                    let order = client.post_with(ORDERS, &headers, order).expect(200);
                    order["id"].as_str().unwrap().to_owned()
                })
            })
            .collect();
        sides.into_iter().map(|side| side.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(stock(&mut server.client(), &product(0)).1, 1);
}
