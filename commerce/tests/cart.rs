//! The cart over HTTP: filled, checked out, and told apart by its versions.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Client, Server, order_of, product};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

fn put(client: &mut Client, product: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![JSON];
    all.extend(headers);
    let path = format!("/api/v1/cart/items/{product}");
    client.request("PUT", &path, &all, Some(body.to_string().as_bytes()))
}

fn take(client: &mut Client, product: &str, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/api/v1/cart/items/{product}");
    client.request("DELETE", &path, headers, None)
}

fn two() -> Value {
    json!({ "quantity": 2 })
}

/// How to check out, in the words of an order.
fn how(token: &str) -> Value {
    let mut body = order_of(&product(0), 1, token);
    body.as_object_mut().unwrap().remove("items");
    body
}

#[test]
fn a_cart_is_filled_checked_out_and_empty() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let nothing = json!({ "items": [], "total": { "amount": 0, "currency": "EUR" }, "version": 0 });
    assert_eq!(client.get("/api/v1/cart").expect(200), nothing);
    let empty = client.post("/api/v1/cart/checkout", &how("tok_ok"));
    empty.problem(409, "rejected/cart-empty");

    put(&mut client, &product(0), &[], &two()).expect(200);
    put(&mut client, &product(1), &[], &json!({ "quantity": 1 })).expect(200);
    take(&mut client, &product(1), &[]).expect(200);
    let cart = client.get("/api/v1/cart");
    assert_eq!(cart.header("etag"), Some("\"3\""));
    let cart = cart.expect(200);
    let item = json!([{
        "product_id": product(0), "sku": "MUG-BLUE", "name": "Blue mug", "quantity": 2,
        "unit_price": { "amount": 999, "currency": "EUR" }, "orderable": true
    }]);
    assert_eq!(
        (&cart["items"], &cart["total"]["amount"]),
        (&item, &json!(1998))
    );

    let wait = ("prefer", "wait=20");
    let key = ("idempotency-key", "once");
    let bought = client.post_with("/api/v1/cart/checkout", &[wait, key], &how("tok_ok"));
    let order = bought.expect(200);
    assert_eq!(order["status"], "confirmed", "{order}");
    assert_eq!(order["total"], cart["total"]);
    let location = bought.header("location").unwrap();
    assert_eq!(client.get(location).expect(200)["id"], order["id"]);
    let left = client.get("/api/v1/cart").expect(200);
    assert_eq!((&left["items"], &left["version"]), (&json!([]), &json!(4)));

    // Asked again, it is the same order and not an empty cart.
    let again = client.post_with("/api/v1/cart/checkout", &[wait, key], &how("tok_ok"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(200)["id"], order["id"]);
}

#[test]
fn what_a_cart_does_not_take_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let nobodys = "0190a5b0-0000-7000-8000-000000000001";
    put(&mut client, nobodys, &[], &two()).problem(422, "rejected/unknown-product");
    for quantity in [0, -1, 1_000] {
        put(
            &mut client,
            &product(0),
            &[],
            &json!({ "quantity": quantity }),
        )
        .problem(422, "rejected/invalid-quantity");
    }
    put(&mut client, &product(0), &[], &json!({})).problem(422, "invalid-body");
    let more = json!({ "quantity": 1, "price": 1 });
    put(&mut client, &product(0), &[], &more).problem(422, "invalid-body");
    put(&mut client, "mug", &[], &two()).problem(404, "not-found");
    put(&mut client, &product(0), &[], &two()).expect(200);
    let mut nowhere = how("tok_ok");
    nowhere["shipping_address"]["city"] = json!("");
    let refused = client.post("/api/v1/cart/checkout", &nowhere);
    refused.problem(422, "rejected/invalid-address");
    let mut cheaper = how("tok_ok");
    cheaper["expected_total"] = json!({ "amount": 1, "currency": "EUR" });
    let refused = client.post("/api/v1/cart/checkout", &cheaper);
    refused.problem(409, "rejected/total-changed");
    assert_eq!(client.get("/api/v1/cart").expect(200)["version"], 1);
}

#[test]
fn a_change_is_made_once_and_only_to_the_cart_that_was_seen() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let key = ("idempotency-key", "k");
    let first = put(&mut client, &product(0), &[key], &two());
    assert_eq!(first.header("etag"), Some("\"1\""));
    take(&mut client, &product(0), &[("idempotency-key", "k")]).expect(200);
    let replayed = put(&mut client, &product(0), &[key], &two());
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(client.get("/api/v1/cart").expect(200)["items"], json!([]));
    put(&mut client, &product(0), &[key], &json!({ "quantity": 3 }))
        .problem(422, "idempotency-key-reused");

    let stale = ("if-match", "\"1\"");
    put(&mut client, &product(0), &[stale], &two()).problem(412, "rejected/version-changed");
    take(&mut client, &product(0), &[stale]).problem(412, "rejected/version-changed");
    let late = client.post_with("/api/v1/cart/checkout", &[stale], &how("tok_ok"));
    late.problem(412, "rejected/version-changed");
    put(&mut client, &product(0), &[("if-match", "\"2\"")], &two()).expect(200);
}
