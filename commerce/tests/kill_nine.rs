//! The shop is killed again and again while sixteen clients shop, and nothing that was
//! acknowledged is lost, done twice or half done.
//!
//! `KILL_ROUNDS` says how often (5 unless told) and `KILL_SEED` repeats a campaign's choices; the
//! moments at which threads meet are chance all the same. `KILL_PROGRAM` names another build of
//! the program.

#![allow(clippy::unwrap_used)]

mod campaign;
mod common;

use campaign::chance::Chance;
use campaign::checks::check;
use campaign::patient::Patient;
use campaign::process::{Place, Process};
use campaign::rounds::Campaign;
use campaign::told::Told;
use campaign::world::{World, wait_until_quiet};
use common::{order_of, product};
use serde_json::json;

#[test]
fn what_was_acknowledged_survives_any_number_of_kills() {
    Campaign {
        name: "kill9",
        test: "what_was_acknowledged",
        failpoints: "",
        panics: false,
        aborts: false,
        small: false,
    }
    .run();
}

/// With everything so small that there is always a checkpoint or a snapshot to interrupt, and every
/// second kill while it starts.
#[test]
fn kills_in_recovery_checkpoints_and_snapshots_lose_nothing() {
    Campaign {
        name: "kill9-small",
        test: "kills_in_recovery",
        failpoints: "",
        panics: false,
        aborts: false,
        small: true,
    }
    .run();
}

#[test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs the feature failpoints")]
fn panics_in_any_handler_and_kills_at_any_moment_lose_nothing() {
    Campaign {
        name: "panics",
        test: "panics_in_any_handler",
        failpoints: "*/*:panic:0.02",
        panics: true,
        aborts: false,
        small: false,
    }
    .run();
}

/// So rarely that no message meets it five times: none may be given up.
#[test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs the feature failpoints")]
fn handlers_that_abort_the_process_at_random_lose_nothing() {
    Campaign {
        name: "aborts",
        test: "handlers_that_abort",
        failpoints: "*/*:abort:0.001",
        panics: false,
        aborts: true,
        small: false,
    }
    .run();
}

/// A check that cannot fail shows nothing: each of these harms must be noticed.
#[test]
fn the_checks_notice_what_they_are_for() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::below(directory.path(), &[]);
    let mut process = Process::spawn(&place);
    let mut client = Patient::new(&process.ready().unwrap().0);
    let mut told = Vec::new();
    for (number, token) in ["tok_ok", "tok_declined", "tok_ok"].into_iter().enumerate() {
        let (path, key) = ("/api/v1/orders".to_owned(), format!("key-{number}"));
        let body = order_of(&product(number), 2, token);
        let answer = client.post_with(&path, &[("idempotency-key", &key)], &body);
        let (status, answer) = (answer.status, answer.json());
        told.push(Told {
            path,
            key,
            body,
            waited: false,
            status,
            answer,
        });
    }
    wait_until_quiet(&mut client).unwrap();
    let look = |client: &mut Patient| World::look(client, &place.data);
    assert_eq!(check(&look(&mut client), &told).0.len(), 0);
    let confirmed = told[0].answer["id"].as_str().unwrap().to_owned();
    let cancelled = told[1].answer["id"].as_str().unwrap().to_owned();

    type Harm = Box<dyn Fn(&mut World, &mut Vec<Told>)>;
    let of = |id: &str| id.to_owned();
    let (a, b, c, d, e, f) = (
        of(&confirmed),
        of(&confirmed),
        of(&cancelled),
        of(&confirmed),
        of(&cancelled),
        of(&confirmed),
    );
    let harms: Vec<(&str, Harm)> = vec![
        (
            "an acknowledged order is lost",
            Box::new(move |world, _| drop(world.orders.remove(&a))),
        ),
        (
            "an order was placed twice",
            Box::new(|_, told| drop(told.pop())),
        ),
        (
            "two keys have one order",
            Box::new(|_, told| told.push(told[0].clone())),
        ),
        (
            "an order hangs",
            Box::new(move |world, _| {
                world.orders.get_mut(&b).unwrap()["status"] = json!("paid");
            }),
        ),
        (
            "stock has vanished",
            Box::new(|world, _| {
                let on_hand = world.products[5]["on_hand"].as_u64().unwrap();
                world.products[5]["on_hand"] = json!(on_hand - 1);
                world.products[5]["available"] = json!(on_hand - 1);
            }),
        ),
        (
            "a reservation is left over",
            Box::new(move |world, _| {
                let left = world
                    .reservations
                    .iter_mut()
                    .find(|held| held["order_id"] == *c);
                left.unwrap()["status"] = json!("active");
            }),
        ),
        (
            "a cancelled order was charged",
            Box::new(move |world, _| {
                world.ledger.push(json!({
                    "key": "x", "operation": "capture", "order_id": e, "amount": 5,
                    "currency": "EUR", "outcome": "ok"
                }));
            }),
        ),
        (
            "an authorisation was made twice",
            // Of an order that was authorised: the ledger may begin with the one that was declined,
            // and to be declined twice charges nobody.
            Box::new(move |world, _| {
                let mut made = world.ledger.iter().filter(|line| {
                    line["order_id"] == *f
                        && line["operation"] == "authorise"
                        && line["outcome"] == "ok"
                });
                let mut line = made.next().unwrap().clone();
                line["key"] = json!("another");
                world.ledger.push(line);
            }),
        ),
        (
            "a cancellation had no effect",
            Box::new(move |_, told| {
                told.push(Told {
                    path: format!("/api/v1/orders/{d}/cancel"),
                    key: "k".into(),
                    body: json!({}),
                    waited: false,
                    status: 202,
                    answer: json!({}),
                });
            }),
        ),
        (
            "a message is lost",
            Box::new(|world, _| world.system["streams"][0]["sent"] = json!(999)),
        ),
        (
            "a message is dead",
            Box::new(|world, _| world.system["streams"][0]["dead"] = json!(1)),
        ),
    ];
    for (what, harm) in harms {
        let (mut world, mut told) = (look(&mut client), told.clone());
        harm(&mut world, &mut told);
        assert!(!check(&world, &told).0.is_empty(), "not noticed: {what}");
    }
}

#[test]
fn a_seed_repeats_its_choices() {
    let draw = |seed, party| {
        let mut chance = Chance::new(seed, party);
        (0..8).map(|_| chance.below(1_000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(1, 2), draw(1, 2));
    assert_ne!(draw(1, 2), draw(1, 3));
    assert_ne!(draw(1, 2), draw(2, 2));
}
