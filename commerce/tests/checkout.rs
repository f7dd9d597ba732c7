//! Orders from outside, as the README walks through them: placed, refused, paid again, cancelled,
//! sent off, returned.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Client, Server, order_of, product, stock};
use serde_json::{Value, json};

const WAIT: (&str, &str) = ("prefer", "wait=20");

fn place(client: &mut Client, product: &str, quantity: i64, token: &str) -> Answer {
    let order = order_of(product, quantity, token);
    client.post_with("/api/v1/orders", &[WAIT], &order)
}

fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}

/// What the provider has done, in order.
fn operations(server: &Server) -> Vec<String> {
    server
        .ledger()
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["operation"].as_str().unwrap(),
                line["outcome"].as_str().unwrap()
            )
        })
        .collect()
}

/// Looks until it is so; the shop goes on by itself and says when to look only for orders.
#[track_caller]
fn until(client: &mut Client, path: &str, so: impl Fn(&Value) -> bool) -> Value {
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let seen = client.get(path);
        if seen.status == 200 && so(&seen.json()) {
            return seen.json();
        }
        let said = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(std::time::Instant::now() < give_up, "{path}: {said}");
        std::thread::yield_now();
    }
}

#[track_caller]
fn until_order(client: &mut Client, id: &str, status: &str) -> Value {
    until(client, &format!("/api/v1/orders/{id}"), |order| {
        order["status"] == status
    })
}

#[test]
fn a_good_order_is_confirmed_while_its_customer_waits() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let answer = place(&mut client, &product(0), 2, "tok_ok");
    let order = answer.expect(200);
    assert_eq!(order["status"], "confirmed", "{order}");
    let path = format!("/api/v1/orders/{}", id(&order));
    assert_eq!(answer.header("location"), Some(path.as_str()));
    assert_eq!(answer.header("preference-applied"), Some("wait=20"));
    assert_eq!(answer.header("idempotency-replayed"), None);
    assert_eq!(order["total"], json!({ "amount": 1998, "currency": "EUR" }));
    let line = json!([{
        "product_id": product(0), "sku": "MUG-BLUE", "name": "Blue mug", "quantity": 2,
        "unit_price": { "amount": 999, "currency": "EUR" }
    }]);
    assert_eq!(order["items"], line);
    assert!(order["payment_id"].is_string() && order["cancel_reason"].is_null());
    assert!(order["customer_id"].is_string() && order["version"].is_u64());
    let shown = client.get(&path);
    let tag = format!("\"{}\"", shown.expect(200)["version"]);
    assert_eq!(shown.header("etag"), Some(tag.as_str()));

    assert_eq!(stock(&mut client, &product(0)), (10_000, 2, 9_998));
    let payment = client.get(&format!("/api/v1/payments/order/{}", id(&order)));
    let payment = payment.expect(200);
    assert_eq!(payment["status"], "authorised");
    assert_eq!(
        payment["authorised"],
        json!({ "amount": 1998, "currency": "EUR" })
    );
    assert_eq!(operations(&server), ["authorise ok"]);
    let line = &server.ledger()[0];
    for name in [
        "at",
        "key",
        "operation",
        "order_id",
        "amount",
        "currency",
        "outcome",
    ] {
        assert!(!line[name].is_null(), "{name}: {line}");
    }
    let timeline = client.get(&format!("{path}/timeline")).expect(200);
    let steps = timeline["items"].as_array().unwrap();
    let to: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["to"].as_str())
        .collect();
    for status in ["pending", "reserved", "paid", "confirmed"] {
        assert!(to.contains(&status), "{timeline}");
    }
    assert!(timeline["next_cursor"].is_null(), "{timeline}");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client
            .get(&format!("{path}/timeline?limit=1{cursor}"))
            .expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, *steps);
    for wrong in ["limit=0", "limit=201", "cursor=zz"] {
        client.get(&format!("{path}/timeline?{wrong}")).expect(422);
    }
    let listed = client.get("/api/v1/orders?status=confirmed").expect(200);
    assert_eq!(listed["items"][0]["id"], order["id"]);
    let none = client.get("/api/v1/orders?status=cancelled").expect(200);
    assert_eq!(none, json!({ "items": [], "next_cursor": null }));
}

#[test]
fn without_a_wait_an_order_is_accepted_as_soon_as_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = order_of(&product(1), 1, "tok_slow");
    let answer = client.post("/api/v1/orders", &order);
    let accepted = answer.expect(202);
    assert_eq!(accepted["status"], "pending");
    assert_eq!(answer.header("preference-applied"), None);
    // The provider takes 3 s, so a wait of none runs out.
    let answer = client.post_with("/api/v1/orders", &[("prefer", "wait=0")], &order);
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("preference-applied"), Some("wait=0"));
    let placed = id(&accepted);
    server.kill();
    let server = Server::start(dir.path());
    until_order(&mut server.client(), &placed, "confirmed");
}

#[test]
fn a_hard_decline_cancels_and_leaves_stock_and_money_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = stock(&mut client, &product(0));
    let order = place(&mut client, &product(0), 3, "tok_declined").expect(200);
    assert_eq!(order["status"], "cancelled", "{order}");
    assert!(!order["cancel_reason"].as_str().unwrap().is_empty());
    assert_eq!(stock(&mut client, &product(0)), before);
    assert_eq!(operations(&server), ["authorise declined"]);
    let path = format!("/api/v1/payments/order/{}", id(&order));
    let payment = client.get(&path).expect(200);
    assert_eq!(payment["status"], "failed");
    assert_eq!(payment["authorised"]["amount"], 0);
}

#[test]
fn a_shortfall_cancels_before_anything_is_paid() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let path = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    let adjusted = client.post(&path, &json!({ "delta": -9_999, "reason": "damaged" }));
    assert_eq!(adjusted.expect(200)["on_hand"], 1);
    let order = place(&mut client, &product(0), 2, "tok_ok").expect(200);
    assert_eq!(order["status"], "cancelled", "{order}");
    assert_eq!(stock(&mut client, &product(0)), (1, 0, 1));
    assert!(server.ledger().is_empty());
    let low = client
        .get("/api/v1/inventory/products/low-stock")
        .expect(200);
    assert_eq!(low["items"][0]["product_id"], product(0));
}

#[test]
fn a_soft_decline_can_be_paid_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = place(&mut client, &product(0), 1, "tok_insufficient_funds").expect(200);
    assert_eq!(order["status"], "payment_failed", "{order}");
    assert_eq!(stock(&mut client, &product(0)), (10_000, 1, 9_999));
    let retry = format!("/api/v1/orders/{}/payment/retry", id(&order));
    let method = json!({ "payment_method": { "type": "card", "token": "tok_ok" } });
    let paid = client.post_with(&retry, &[WAIT], &method).expect(200);
    assert_eq!(paid["status"], "confirmed", "{paid}");
    assert_eq!(operations(&server), ["authorise declined", "authorise ok"]);
    assert_eq!(client.post(&retry, &method).status, 409);
}

#[test]
fn a_provider_that_does_not_answer_is_asked_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    for (token, place_of) in [("tok_timeout_charged", 0), ("tok_timeout_lost", 1)] {
        let order = place(&mut client, &product(place_of), 1, token).expect(200);
        assert_eq!(order["status"], "confirmed", "{token}: {order}");
    }
    assert_eq!(operations(&server), ["authorise ok", "authorise ok"]);
}

#[test]
fn a_webhook_sent_twice_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = place(&mut client, &product(0), 1, "tok_duplicate_webhook").expect(200);
    assert_eq!(order["status"], "confirmed", "{order}");
    assert_eq!(operations(&server), ["authorise ok"]);
}

#[test]
fn a_confirmed_order_can_be_cancelled_until_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = place(&mut client, &product(0), 1, "tok_ok").expect(200);
    let cancel = format!("/api/v1/orders/{}/cancel", id(&order));
    let reason = json!({ "reason": "changed my mind" });
    let cancelled = client.post_with(&cancel, &[WAIT], &reason).expect(200);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    assert_eq!(cancelled["cancel_reason"], "changed my mind");
    assert_eq!(stock(&mut client, &product(0)), (10_000, 0, 10_000));
    assert_eq!(operations(&server), ["authorise ok", "void ok"]);
}

#[test]
fn an_order_that_is_sent_while_it_is_cancelled_is_one_or_the_other_and_both_callers_know() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let reason = json!({ "reason": "changed my mind" });
    for _ in 0..20 {
        let order_id = id(&place(&mut client, &product(0), 1, "tok_ok").expect(200));
        let path = format!("/api/v1/shipments/order/{order_id}");
        let shipment = until(&mut client, &path, |shipment| {
            shipment["status"] == "pending"
        });
        let dispatch = format!("/api/v1/shipments/{}/dispatch", id(&shipment));
        let mut warehouse = server.client();
        let together = std::sync::Barrier::new(2);
        let (sent, cancelled) = std::thread::scope(|scope| {
            let sent = scope.spawn(|| {
                together.wait();
                warehouse.request("POST", &dispatch, &[], None)
            });
            together.wait();
            let cancel = format!("/api/v1/orders/{order_id}/cancel");
            let cancelled = client.post_with(&cancel, &[WAIT], &reason);
            (sent.join().unwrap(), cancelled)
        });
        if sent.status == 200 {
            cancelled.problem(409, "rejected/already-shipped");
        } else {
            assert_eq!(sent.status, 409);
            assert_eq!(cancelled.expect(200)["status"], "cancelled");
        }
    }
}

#[test]
fn a_parcel_goes_out_is_charged_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = place(&mut client, &product(0), 2, "tok_ok").expect(200);
    let order_id = id(&order);
    let path = format!("/api/v1/shipments/order/{order_id}");
    let shipment = until(&mut client, &path, |shipment| {
        shipment["status"] == "pending"
    });
    let at = |what: &str| format!("/api/v1/shipments/{}{what}", id(&shipment));
    let pending = client.get("/api/v1/shipments/pending").expect(200);
    assert_eq!(pending["items"][0]["id"], shipment["id"]);

    let sent = json!({ "carrier": "DHL", "tracking_number": "T 1/2" });
    let dispatched = client.post(&at("/dispatch"), &sent).expect(200);
    assert_eq!(dispatched["status"], "dispatched", "{dispatched}");
    until_order(&mut client, &order_id, "shipped");
    let followed = client
        .get("/api/v1/shipments/tracking/T%201%2F2")
        .expect(200);
    assert_eq!(followed["id"], shipment["id"]);
    let payment_path = format!("/api/v1/payments/order/{order_id}");
    let payment = until(&mut client, &payment_path, |payment| {
        payment["status"] == "captured"
    });
    assert_eq!(payment["captured"]["amount"], 1998);
    let stocked = format!("/api/v1/inventory/products/{}", product(0));
    until(&mut client, &stocked, |stock| stock["on_hand"] == 9_998);
    assert_eq!(stock(&mut client, &product(0)), (9_998, 0, 9_998));

    let cancel = format!("/api/v1/orders/{order_id}/cancel");
    assert_eq!(
        client.post(&cancel, &json!({ "reason": "late" })).status,
        409
    );
    let seen = json!({ "status": "in_transit", "location": "Hamburg", "description": null });
    client.post(&at("/tracking"), &seen).expect(200);
    let delivered = client.request("POST", &at("/delivered"), &[], None);
    assert_eq!(delivered.expect(200)["status"], "delivered");
    until_order(&mut client, &order_id, "delivered");

    let refund = format!("/api/v1/payments/{}/refund", id(&payment));
    let part = |amount: i64, currency: &str| json!({ "amount": { "amount": amount, "currency": currency }, "reason": "scratched" });
    assert_eq!(client.post(&refund, &part(1, "USD")).status, 422);
    assert_eq!(client.post(&refund, &part(0, "EUR")).status, 422);
    assert!([409, 422].contains(&client.post(&refund, &part(1_999, "EUR")).status));
    assert_eq!(client.post(&refund, &part(500, "EUR")).status, 202);
    let refunded = |payment: &Value| payment["refunded"]["amount"] == 500;
    let payment = until(&mut client, &payment_path, refunded);
    assert_eq!(payment["status"], "partially_refunded");
    assert_eq!(
        client.get(&format!("/api/v1/orders/{order_id}")).json()["status"],
        "delivered"
    );

    let items = json!({ "items": [{ "product_id": product(0), "quantity": 2, "restock": true }] });
    assert_eq!(
        client.post(&at("/returned"), &items).expect(200)["status"],
        "returned"
    );
    until_order(&mut client, &order_id, "returned");
    let payment = until(&mut client, &payment_path, |payment| {
        payment["status"] == "refunded"
    });
    assert_eq!(payment["refunded"]["amount"], 1998);
    until(&mut client, &stocked, |stock| stock["on_hand"] == 10_000);
    let done = ["authorise ok", "capture ok", "refund ok", "refund ok"];
    assert_eq!(operations(&server), done);
}

#[test]
fn a_refused_capture_is_put_before_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = place(&mut client, &product(0), 1, "tok_capture_fails").expect(200);
    let order_id = id(&order);
    let path = format!("/api/v1/shipments/order/{order_id}");
    let shipment = until(&mut client, &path, |shipment| {
        shipment["status"] == "pending"
    });
    let dispatch = format!("/api/v1/shipments/{}/dispatch", id(&shipment));
    client.request("POST", &dispatch, &[], None).expect(200);
    let order = until_order(&mut client, &order_id, "manual_review");
    assert!(
        order["review_reason"]
            .as_str()
            .unwrap()
            .contains("capture_failed"),
        "{order}"
    );
    let shipment = client.get(&path).expect(200);
    assert_eq!(shipment["status"], "dispatched", "{shipment}");
    let resolve = format!("/api/v1/orders/{order_id}/resolve");
    let accept = json!({ "action": "accept", "reason": "written off" });
    let resolved = client.post_with(&resolve, &[WAIT], &accept).expect(200);
    assert_eq!(resolved["status"], "shipped", "{resolved}");
}

#[test]
fn a_change_to_a_version_that_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let order = place(&mut client, &product(0), 1, "tok_ok").expect(200);
    let path = format!("/api/v1/orders/{}", id(&order));
    let cancel = format!("{path}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    for (tag, status) in [
        ("\"1\"", 412),
        ("\"theirs\"", 412),
        ("1", 400),
        ("W/\"1\"", 412),
        ("\"1\", \"2\"", 412),
        ("*, \"1\"", 400),
    ] {
        let answer = client.post_with(&cancel, &[("if-match", tag)], &reason);
        assert_eq!(answer.status, status, "{tag}");
    }
    // The parcel changes the order once more; then it waits for a person.
    until(&mut client, &path, |order| !order["shipment_id"].is_null());
    let tag = client.get(&path).header("etag").unwrap().to_owned();
    let weak = format!("W/{tag}");
    let answer = client.post_with(&cancel, &[("if-match", &weak)], &reason);
    answer.problem(412, "rejected/version-changed");
    let either = format!("\"1\", {tag}");
    let present = [("if-match", either.as_str()), WAIT];
    let cancelled = client.post_with(&cancel, &present, &reason).expect(200);
    assert_eq!(cancelled["status"], "cancelled");
}
