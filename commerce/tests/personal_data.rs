//! Personal data over HTTP: shown to whose it is, and found nowhere else.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Client, Server, order_of, product};
use serde_json::{Value, json};

const WAIT: (&str, &str) = ("prefer", "wait=20");

/// Every file below `dir`, with its bytes but for the zeros at its end: journals are made longer
/// than they are.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => {
                let mut bytes = fs::read(&path).unwrap();
                let used = bytes.iter().rposition(|byte| *byte != 0);
                bytes.truncate(used.map_or(0, |last| last + 1));
                all.push((path.display().to_string(), bytes));
            }
        }
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Neither service hears of the deletion; the key is gone all the same.
#[test]
fn a_deleted_customers_payment_and_parcel_stay_without_the_person() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (customer, mut client) = server.customer("xanthippe@example.com");
    let order = order_of(&product(0), 1, "tok_ok");
    let placed = client.post_with("/api/v1/orders", &[WAIT], &order);
    let id = placed.expect(200)["id"].as_str().unwrap().to_owned();
    let mut admin = server.client();
    let of_order = |what: &str| format!("/api/v1/{what}/order/{id}");
    let until = |admin: &mut Client, path: &str, done: &dyn Fn(&Value) -> bool| {
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = admin.get(path);
            if answer.status == 200 && done(&answer.json()) {
                return answer.json();
            }
            assert!(Instant::now() < give_up, "{path}: {}", answer.json());
            std::thread::yield_now();
        }
    };
    let parcel = until(&mut admin, &of_order("shipments"), &|_| true);
    assert_eq!(parcel["shipping_address"], order["shipping_address"]);
    let dispatch = format!(
        "/api/v1/shipments/{}/dispatch",
        parcel["id"].as_str().unwrap()
    );
    admin.post(&dispatch, &json!({})).expect(200);
    let paid = until(&mut admin, &of_order("payments"), &|payment| {
        payment["status"] == "captured"
    });

    let path = format!("/api/v1/users/{customer}");
    assert_eq!(client.request("DELETE", &path, &[], None).status, 204);
    let parcel = until(&mut admin, &of_order("shipments"), &|parcel| {
        parcel["shipping_address"].is_null()
    });
    assert_eq!(parcel["customer_id"], customer);
    assert_eq!(admin.get(&of_order("payments")).expect(200), paid);
}

#[test]
fn neither_the_data_directory_nor_the_log_knows_an_address_or_a_card() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--log", "debug"], &[]);
    let mut client = server.client();
    let mut order = order_of(&product(0), 1, "tok_insufficient_funds");
    order["shipping_address"]["recipient"] = json!("Xanthippe Quux");
    let key = ("idempotency-key", "once");
    let answer = client.post_with("/api/v1/orders", &[WAIT, key], &order);
    let placed = answer.expect(200);
    assert_eq!(placed["status"], "payment_failed");
    assert_eq!(placed["shipping_address"], order["shipping_address"]);

    let path = format!("/api/v1/orders/{}", placed["id"].as_str().unwrap());
    let card = json!({ "payment_method": { "type": "card", "token": "tok_duplicate_webhook" } });
    let retried = client.post_with(&format!("{path}/payment/retry"), &[WAIT, key], &card);
    let order_now = retried.expect(200);
    assert_eq!(order_now["status"], "confirmed", "{order_now}");

    // What the provider refuses, and what the gateway does.
    let mut bad = order_of(&product(0), 1, "tok_timeout_lost");
    bad["shipping_address"]["city"] = json!("");
    bad["shipping_address"]["line1"] = json!("7 Obscure Close");
    let refused = client.post("/api/v1/orders", &bad);
    refused.problem(422, "rejected/invalid-address");
    let mut alien = order_of(&product(0), 1, "tok_timeout_lost");
    alien["payment_method"]["cvc"] = json!("7 Obscure Close");
    client
        .post("/api/v1/orders", &alien)
        .problem(422, "invalid-body");

    let shipments = client.get("/api/v1/shipments/pending").expect(200);
    let shipment = &shipments["items"][0];
    assert_eq!(shipment["shipping_address"], order["shipping_address"]);
    let shipment = format!("/api/v1/shipments/{}", shipment["id"].as_str().unwrap());
    let sent = client.post(&format!("{shipment}/dispatch"), &json!({}));
    let sent = sent.expect(200);
    assert_eq!(sent["shipping_address"], order["shipping_address"]);
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let history = client.get(&shipment).expect(200)["history"].to_string();
        if history.contains("announced to the carrier") {
            assert!(!history.contains("not announced"), "{history}");
            break;
        }
        assert!(Instant::now() < give_up, "{history}");
        std::thread::yield_now();
    }

    let before = files(dir.path());
    let ended = server.terminate();
    let after = files(dir.path());
    assert!(ended.stderr.contains("DEBUG"), "{}", ended.stderr);
    let log = ("the log".to_owned(), ended.stderr.into_bytes());
    let secrets = [
        "Xanthippe Quux",
        "1 Analytical Way",
        "Berlin",
        "7 Obscure Close",
        "tok_insufficient_funds",
        "tok_duplicate_webhook",
        "tok_timeout_lost",
    ];
    let mut searched = 0;
    for (name, bytes) in before.iter().chain(&after).chain([&log]) {
        for secret in secrets {
            assert!(!contains(bytes, secret), "{secret} is in {name}");
        }
        searched += bytes.len();
    }
    assert!(searched > 10_000, "{searched} bytes are no test");
    // The search would have found it: what is no secret is there.
    let journal = before.iter().chain(&after);
    assert!(
        journal
            .into_iter()
            .any(|(_, bytes)| contains(bytes, "MUG-BLUE"))
    );
}
