//! Figures of the real program: they agree with the provider's ledger to the minor unit and with
//! the stock to the piece, also after they were counted again and after a restart.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Client, Server, order_of, product, stock};
use serde_json::{Value, json};

const WAIT: (&str, &str) = ("prefer", "wait=20");
const GIVE_UP: Duration = Duration::from_secs(30);

/// Every route whose answer is a figure.
const FIGURES: [&str; 9] = [
    "/orders/summary",
    "/revenue/daily",
    "/revenue/monthly",
    "/products/top-selling",
    "/products/top-selling?by=revenue",
    "/products/top-selling?from=2020-01-01",
    "/conversion-funnel",
    "/stock",
    "/dashboard",
];

#[track_caller]
fn until(client: &mut Client, path: &str, so: impl Fn(&Value) -> bool) -> Value {
    let give_up = Instant::now() + GIVE_UP;
    loop {
        let seen = client.get(path);
        if seen.status == 200 && so(&seen.json()) {
            return seen.json();
        }
        let said = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(Instant::now() < give_up, "{path}: {said}");
        std::thread::yield_now();
    }
}

fn analytics(client: &mut Client, path: &str) -> Value {
    client.get(&format!("/api/v1/analytics{path}")).expect(200)
}

fn place(client: &mut Client, items: &[(usize, u32)], token: &str) -> Value {
    let mut order = order_of(&product(0), 1, token);
    let items: Vec<Value> = items
        .iter()
        .map(|(place, quantity)| json!({ "product_id": product(*place), "quantity": quantity }))
        .collect();
    order["items"] = json!(items);
    let placed = client.post_with("/api/v1/orders", &[WAIT], &order);
    placed.expect(200)
}

fn shipment(client: &mut Client, order: &Value) -> String {
    let path = format!("/api/v1/shipments/order/{}", order["id"].as_str().unwrap());
    let shipment = until(client, &path, |shipment| shipment["status"] == "pending");
    format!("/api/v1/shipments/{}", shipment["id"].as_str().unwrap())
}

fn dispatch(client: &mut Client, order: &Value) -> String {
    let shipment = shipment(client, order);
    let path = format!("{shipment}/dispatch");
    client.request("POST", &path, &[], None).expect(200);
    shipment
}

fn deliver(client: &mut Client, shipment: &str) {
    let path = format!("{shipment}/delivered");
    client.request("POST", &path, &[], None).expect(200);
}

#[track_caller]
fn until_order(client: &mut Client, order: &Value, status: &str) {
    let path = format!("/api/v1/orders/{}", order["id"].as_str().unwrap());
    until(client, &path, |order| order["status"] == status);
}

/// Sum of what the provider did, in minor units.
fn ledger(server: &Server, operation: &str) -> i64 {
    let lines = server.ledger();
    let done = lines
        .iter()
        .filter(|line| line["operation"] == operation && line["outcome"] == "ok");
    done.map(|line| line["amount"].as_i64().unwrap()).sum()
}

fn all_figures(client: &mut Client, customer: &str) -> Vec<Value> {
    let mut paths: Vec<String> = FIGURES.map(str::to_owned).into();
    paths.push(format!("/customers/{customer}/lifetime-value"));
    paths.iter().map(|path| analytics(client, path)).collect()
}

/// Orders of every fate; the customer of them all.
fn trade(client: &mut Client) -> String {
    // Sent and delivered.
    let order = place(client, &[(0, 2), (1, 1)], "tok_ok");
    let parcel = dispatch(client, &order);
    deliver(client, &parcel);
    until_order(client, &order, "delivered");
    // Sent, and a part paid back by a person.
    let partly = place(client, &[(1, 3)], "tok_ok");
    dispatch(client, &partly);
    let path = format!("/api/v1/payments/order/{}", partly["id"].as_str().unwrap());
    let payment = until(client, &path, |payment| payment["status"] == "captured");
    let refund = format!(
        "/api/v1/payments/{}/refund",
        payment["id"].as_str().unwrap()
    );
    let part = json!({ "amount": { "amount": 99, "currency": "EUR" }, "reason": "a scratch" });
    client.post(&refund, &part).expect(202);
    // Sent, delivered and sent back; one of the two products can be sold again.
    let back = place(client, &[(2, 1), (6, 1)], "tok_ok");
    let parcel = dispatch(client, &back);
    deliver(client, &parcel);
    let items = json!({ "items": [
        { "product_id": product(2), "quantity": 1, "restock": true },
        { "product_id": product(6), "quantity": 1, "restock": false },
    ] });
    client
        .post(&format!("{parcel}/returned"), &items)
        .expect(200);
    until_order(client, &back, "returned");
    // Refused, called off in time (a void), and confirmed only.
    place(client, &[(3, 1)], "tok_declined");
    let off = place(client, &[(3, 1)], "tok_ok");
    let cancel = format!("/api/v1/orders/{}/cancel", off["id"].as_str().unwrap());
    let reason = json!({ "reason": "changed my mind" });
    client.post_with(&cancel, &[WAIT], &reason).expect(200);
    until_order(client, &off, "cancelled");
    place(client, &[(4, 1)], "tok_ok");
    // Goods that came in.
    let adjust = format!("/api/v1/inventory/products/{}/adjust-stock", product(5));
    let received = json!({ "delta": 17, "reason": "received" });
    client.post(&adjust, &received).expect(200);
    order["customer_id"].as_str().unwrap().to_owned()
}

/// Waits until everything of `trade` has been counted.
fn settled(client: &mut Client) -> Value {
    let path = "/api/v1/analytics/orders/summary";
    let summary = until(client, path, |summary| {
        summary["confirmed"] == 5
            && summary["delivered"] == 2
            && summary["cancelled"] == 2
            && summary["revenue"]["amount"] == 2_897 + 2_697 + 4_940
            && summary["refunded"]["amount"] == 99 + 4_940
    });
    until(client, "/api/v1/analytics/conversion-funnel", |funnel| {
        funnel["purchased"] == 5
    });
    summary
}

#[test]
fn figures_agree_with_the_ledger_and_the_stock_also_when_they_are_counted_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let customer = trade(&mut client);
    let summary = settled(&mut client);

    let (taken, paid_back) = (ledger(&server, "capture"), ledger(&server, "refund"));
    assert_eq!(summary["created"], 6, "{summary}");
    assert_eq!(
        summary["revenue"],
        json!({ "amount": taken, "currency": "EUR" })
    );
    assert_eq!(summary["refunded"]["amount"], paid_back);
    assert_eq!(summary["average_order_value"]["amount"], taken / 3);
    for path in ["/revenue/daily", "/revenue/monthly"] {
        let listed = analytics(&mut client, path);
        let sum = |name: &str| -> i64 {
            let items = listed["items"].as_array().unwrap().iter();
            items
                .map(|item| item[name]["amount"].as_i64().unwrap())
                .sum()
        };
        assert_eq!(
            (sum("captured"), sum("refunded")),
            (taken, paid_back),
            "{listed}"
        );
        assert_eq!(sum("net"), taken - paid_back);
    }
    let value = analytics(
        &mut client,
        &format!("/customers/{customer}/lifetime-value"),
    );
    assert_eq!(value["customer_id"], customer);
    assert_eq!(
        (&value["orders"], &value["net"]["amount"]),
        (&json!(3), &json!(taken - paid_back))
    );
    let top = analytics(&mut client, "/products/top-selling?limit=2");
    assert_eq!(top["items"][0]["product_id"], product(1), "{top}");
    assert_eq!(
        (&top["items"][0]["units"], &top["items"][0]["name"]),
        (&json!(4), &json!("White mug"))
    );
    assert!(top["next_cursor"].is_string());
    let ever = analytics(&mut client, "/products/top-selling?from=2020-01-01&limit=2");
    // The cursors are of two lists.
    assert_eq!(ever["items"], top["items"]);
    assert!(ever["next_cursor"].is_string());
    let before = analytics(&mut client, "/products/top-selling?to=2020-01-01");
    assert_eq!(before, json!({ "items": [], "next_cursor": null }));
    let funnel = analytics(&mut client, "/conversion-funnel");
    assert_eq!(
        (&funnel["ordered"], &funnel["purchased"]),
        (&json!(8), &json!(5))
    );
    stock_agrees(&mut client);

    let before = all_figures(&mut client, &customer);
    let begun = client.request("POST", "/api/v1/analytics/rebuild", &[], None);
    begun.expect(202);
    let path = "/api/v1/analytics/rebuild";
    let rebuilt = until(&mut client, path, |rebuild| {
        rebuild["running"] == false && rebuild["clearing"] == false
    });
    assert_eq!(rebuilt["generation"], 1, "{rebuilt}");
    assert_eq!(all_figures(&mut client, &customer), before);
    server.kill();
    let server = Server::start(dir.path());
    assert_eq!(all_figures(&mut server.client(), &customer), before);
}

/// Of every product: seed, dispatches, returns and corrections.
fn stock_agrees(client: &mut Client) {
    let counted = |levels: &Value, id: &str| {
        let items = levels["items"].as_array().unwrap().iter();
        let level = items.into_iter().find(|item| item["product_id"] == id);
        level.and_then(|level| level["on_hand"].as_u64())
    };
    for place in 0..commerce::seed::PRODUCTS.len() {
        let id = product(place);
        let (on_hand, _, _) = stock(client, &id);
        until(client, "/api/v1/analytics/stock", |levels| {
            counted(levels, &id) == Some(on_hand)
        });
    }
    assert_eq!(stock(client, &product(5)).0, commerce::seed::UNITS + 17);
    assert_eq!(stock(client, &product(6)).0, commerce::seed::UNITS - 1);
}

#[test]
fn what_is_asked_wrongly_is_refused_and_what_is_unknown_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    for query in [
        "/orders/summary?from=yesterday",
        "/orders/summary?from=2026-02-30",
        "/orders/summary?from=2026-03-02&to=2026-03-01",
        "/revenue/daily?to=2026",
        "/revenue/daily?limit=0",
        "/revenue/monthly?from=2026-03-02&to=2026-03-01",
        "/revenue/monthly?cursor=zz",
        "/products/top-selling?by=luck",
        "/products/top-selling?from=2026-03-02&to=2026-03-01",
        "/products/top-selling?to=2026",
        "/products/top-selling?cursor=00",
        "/conversion-funnel?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
        "/stock?limit=201",
    ] {
        let answer = client.get(&format!("/api/v1/analytics{query}"));
        assert_eq!(answer.status, 422, "{query}");
    }
    let nobody = "01900000-0000-7000-8000-00000000ffff";
    let value = analytics(&mut client, &format!("/customers/{nobody}/lifetime-value"));
    let zero = json!({ "amount": 0, "currency": "EUR" });
    assert_eq!(
        value,
        json!({ "customer_id": nobody, "orders": 0, "captured": zero, "refunded": zero, "net": zero })
    );
    let no_id = client.get("/api/v1/analytics/customers/me/lifetime-value");
    assert_eq!(no_id.status, 404);
    let days = "from=2026-03-01T01:00:00%2B02:00&to=2026-03-01";
    analytics(&mut client, &format!("/orders/summary?{days}"));
    analytics(
        &mut client,
        "/orders/summary?from=2026-03-01T01:00:00+02:00",
    );
    let unknown = json!({ "again": true });
    let rebuild = client.post("/api/v1/analytics/rebuild", &unknown);
    assert_eq!(rebuild.status, 422);
}

/// Who asks for a head sees no product. The heads are asked for first, so that had they counted,
/// they would have been counted by the time that the others are.
#[test]
fn head_is_no_view_of_a_product() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let path = |place| format!("/api/v1/catalog/products/{}", product(place));
    for place in 0..5 {
        let head = client.request("HEAD", &path(place), &[], None);
        assert_eq!(head.status, 200);
    }
    let funnel = "/api/v1/analytics/conversion-funnel";
    for (views, place) in [(1, 5), (2, 6)] {
        client.get(&path(place)).expect(200);
        let seen = until(&mut client, funnel, |funnel| {
            funnel["viewed"].as_u64().unwrap() >= views
        });
        assert_eq!(seen["viewed"], views);
    }
}
