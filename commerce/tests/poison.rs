//! A poison message ends as a dead letter after its limit, and costs nobody else anything.
//!
//! The poison is a message that only orders with a declined card touch: inventory is told to
//! release what they held. Everything else goes on meanwhile.

#![allow(clippy::unwrap_used)]

mod campaign;
mod common;

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use campaign::patient::Patient;
use campaign::process::{Place, Process};
use campaign::shopper::{Account, GOOD_ORDERS, Shopper};
use campaign::told::Doors;
use campaign::world::all;
use common::{order_of, product};
use serde_json::{Value, json};

/// Attempts of a message, as services have them unless they say otherwise.
const ATTEMPTS_MAX: u64 = 5;
/// Longer than all back-offs of a message together.
const LOOKS_MAX: u32 = 2_000;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs the feature failpoints")]
fn a_message_that_always_panics_becomes_a_dead_letter_while_others_flow() {
    let directory = tempfile::tempdir().unwrap();
    let poison = "inventory/inventory-reservation-released:panic:1";
    let place = Place::below(directory.path(), &[("REDELIVER_FAIL", poison)]);
    let mut process = Process::spawn(&place);
    let address = process.ready().unwrap().0;
    let (doors, shoppers) = good_shoppers();
    doors.open(&address);
    let mut client = Patient::new(&address);
    let declined = order(&mut client, "declined", "tok_declined");
    let mut looks = 0;
    while dead(&system(&mut client)) == 0 {
        looks += 1;
        assert!(looks < LOOKS_MAX, "{}", system(&mut client));
        std::thread::sleep(LOOK_AGAIN);
    }
    let inventory = service(&system(&mut client), "inventory");
    assert_eq!(inventory["panics"], ATTEMPTS_MAX, "{inventory}");
    all_good_orders_are_confirmed(&mut client, &doors, shoppers);
    only_the_poison_is_dead(&mut client, &declined);
}

/// The first time, the message is delivered before the turn that sent it is durable: after the
/// crash nobody knows it. It must be found out all the same, and its cause must not pay.
#[test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs the feature failpoints")]
fn a_message_that_aborts_the_process_becomes_a_dead_letter_while_others_flow() {
    let directory = tempfile::tempdir().unwrap();
    let poison = "inventory/inventory-reservation-released:abort:1";
    let place = Place::below(directory.path(), &[("REDELIVER_FAIL", poison)]);
    let (doors, shoppers) = good_shoppers();
    let mut aborts = 0;
    let mut declined = None;
    let (mut process, address) = loop {
        let mut process = Process::spawn(&place);
        let ended = match process.ready() {
            Ok((address, _)) => {
                doors.open(&address);
                // Sent until it is answered, as any client would.
                declined = declined.or_else(|| try_order(&address, "declined", "tok_declined"));
                match until_dead_or_ended(&mut process, &address) {
                    None => break (process, address),
                    Some(ended) => ended,
                }
            }
            Err(ended) => ended,
        };
        doors.shut();
        aborts += 1;
        assert_eq!(ended.signal(), Some(6), "{ended}: {}", place.last_words());
        // One more than its attempts, and one for the time when nobody knew it yet.
        assert!(
            aborts <= ATTEMPTS_MAX + 1,
            "{aborts} aborts: {}",
            place.last_words()
        );
    };
    println!("{aborts} aborts until the dead letter");
    assert!(aborts >= ATTEMPTS_MAX, "given up after {aborts} aborts");
    let mut client = Patient::new(&address);
    let declined = declined.unwrap_or_else(|| order(&mut client, "declined", "tok_declined"));
    all_good_orders_are_confirmed(&mut client, &doors, shoppers);
    only_the_poison_is_dead(&mut client, &declined);
    assert_eq!(process.ended(), None);
}

/// Shoppers whose orders do not touch the poison.
fn good_shoppers() -> (Arc<Doors>, Vec<std::thread::JoinHandle<Account>>) {
    let doors = Arc::new(Doors::default());
    let shoppers = (0..4).map(|number| {
        let shopper = Shopper::new(1, 0, number, GOOD_ORDERS, doors.clone());
        std::thread::spawn(move || shopper.shop())
    });
    let shoppers = shoppers.collect();
    (doors, shoppers)
}

fn until_dead_or_ended(process: &mut Process, address: &str) -> Option<std::process::ExitStatus> {
    let mut client = common::Client::new(address);
    for _ in 0..LOOKS_MAX {
        if let Some(ended) = process.ended() {
            return Some(ended);
        }
        let answer = client.try_request("GET", "/admin/system", &[], None);
        if answer.is_ok_and(|answer| answer.status == 200 && dead(&answer.json()) > 0) {
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    panic!("neither an end nor a dead letter")
}

fn order(client: &mut Patient, key: &str, token: &str) -> Value {
    let headers = [("idempotency-key", key)];
    let body = order_of(&product(0), 1, token);
    client
        .post_with("/api/v1/orders", &headers, &body)
        .expect(202)
}

fn try_order(address: &str, key: &str, token: &str) -> Option<Value> {
    let body = order_of(&product(0), 1, token).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let mut client = common::Client::new(address);
    let answer = client.try_request("POST", "/api/v1/orders", &headers, Some(body.as_bytes()));
    answer.ok().map(|answer| answer.expect(202))
}

fn system(client: &mut Patient) -> Value {
    client.get("/admin/system").expect(200)
}

fn service(system: &Value, name: &str) -> Value {
    let services = system["services"].as_array().unwrap();
    services
        .iter()
        .find(|service| service["name"] == name)
        .unwrap()
        .clone()
}

/// Dead letters of all streams.
fn dead(system: &Value) -> u64 {
    let streams = system["streams"].as_array().unwrap();
    streams
        .iter()
        .map(|stream| stream["dead"].as_u64().unwrap())
        .sum()
}

/// They have shopped all the while; now they go home, and every order is confirmed.
fn all_good_orders_are_confirmed(
    client: &mut Patient,
    doors: &Doors,
    shoppers: Vec<std::thread::JoinHandle<Account>>,
) {
    // A moment after the dead letter, so that its followers are seen to go on.
    std::thread::sleep(Duration::from_millis(200));
    doors.close_for_good();
    let mut placed = 0;
    for shopper in shoppers {
        let account = shopper.join().unwrap();
        assert_eq!(account.violations, [""; 0]);
        for told in account.told.iter().filter(|told| told.is_order()) {
            placed += 1;
            let id = told.answer["id"].as_str().unwrap();
            let mut looks = 0;
            loop {
                let now = client.get(&format!("/api/v1/orders/{id}")).expect(200);
                if now["status"] == "confirmed" {
                    break;
                }
                looks += 1;
                assert!(looks < LOOKS_MAX, "{now}\n{}", system(client));
                std::thread::sleep(LOOK_AGAIN);
            }
        }
    }
    println!("{placed} good orders confirmed meanwhile");
    assert!(placed >= 20, "only {placed} orders were placed meanwhile");
}

/// Of all streams one has one dead letter; nothing else was ever parked for good.
fn only_the_poison_is_dead(client: &mut Patient, declined: &Value) {
    let system = system(client);
    for stream in system["streams"].as_array().unwrap() {
        let poisoned = stream["from"] == "order" && stream["to"] == "inventory";
        assert_eq!(stream["dead"], u64::from(poisoned), "{stream}");
        assert_eq!(
            (&stream["parked"], &stream["waiting"]),
            (&json!(0), &json!(0)),
            "{stream}"
        );
    }
    for service in system["services"].as_array().unwrap() {
        assert_eq!(service["state"], "running", "{service}");
        assert_eq!(
            service["dead_letters"],
            u64::from(service["name"] == "inventory"),
            "{service}"
        );
    }
    // What it was to undo is not undone, and says so.
    let id = declined["id"].as_str().unwrap();
    let order = client.get(&format!("/api/v1/orders/{id}")).expect(200);
    assert_eq!(order["status"], "cancelling", "{order}");
    let reservations = format!("/api/v1/inventory/products/{}/reservations", product(0));
    let held = all(client, &reservations);
    let held = held.iter().find(|held| held["order_id"] == *id).unwrap();
    assert_eq!(held["status"], "active", "{held}");
}
