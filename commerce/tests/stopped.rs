//! The process is stopped for seconds in the middle of its work, as by a machine that is moved or a
//! terminal, and goes on: nothing is lost, nothing is given up, and no time that it did not see is
//! held against anybody.
//!
//! `STOP_ROUNDS` says how often (1 unless told), `STOP_S` for how many seconds at most (2 unless told)
//! and `STOP_SEED` repeats a campaign's choices.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod campaign;
mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use campaign::chance::Chance;
use campaign::checks::{check, check_replays};
use campaign::patient::Patient;
use campaign::process::{Place, Process};
use campaign::rounds::verdict;
use campaign::shopper::{EVERYTHING, Shopper};
use campaign::told::Doors;
use campaign::world::{World, wait_until_quiet};

const SHOPPERS: u64 = 8;

#[test]
fn a_process_that_is_stopped_and_goes_on_has_lost_and_given_up_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("STOP_ROUNDS").unwrap_or(1);
    let seconds: u64 = number("STOP_S").unwrap_or(2);
    let seed: u64 = number("STOP_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!(
        "seed {seed}; replay with: STOP_SEED={seed} STOP_ROUNDS={rounds} STOP_S={seconds} cargo test \
         -p commerce --test stopped -- --nocapture"
    );
    let began = Instant::now();
    let mut chance = Chance::new(seed, 0);
    let directory = tempfile::tempdir().unwrap();
    let place = Place::below(directory.path(), &[]);
    let mut process = Process::spawn(&place);
    let (mut address, _) = process.ready().unwrap();
    let doors = Arc::new(Doors::default());
    doors.open(&address);
    let shoppers: Vec<_> = (0..SHOPPERS)
        .map(|number| {
            let shopper = Shopper::new(seed, 0, number, EVERYTHING, doors.clone());
            std::thread::spawn(move || shopper.shop())
        })
        .collect();
    let mut killed = 0;
    for _ in 0..rounds {
        // The moments are the variable of the whole campaign; nothing is waited for.
        std::thread::sleep(Duration::from_millis(100 + chance.below(400)));
        process.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(500 + chance.below(seconds * 1_000)));
        if chance.below(4) == 0 {
            // It never goes on.
            doors.shut();
            process.kill().unwrap();
            killed += 1;
            process = Process::spawn(&place);
            address = process.ready().unwrap().0;
            doors.open(&address);
        } else {
            process.signal(Signal::CONT);
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    doors.close_for_good();
    let mut told = Vec::new();
    let mut interrupted = 0;
    for shopper in shoppers {
        let account = shopper.join().unwrap();
        assert!(account.violations.is_empty(), "{:#?}", account.violations);
        assert_eq!(account.failed, 0, "requests were answered 500");
        interrupted += account.interrupted;
        told.extend(account.told);
    }
    assert_eq!(process.ended(), None, "it has ended by itself");
    if killed == 0 {
        assert_eq!(interrupted, 0, "requests were not answered");
    }
    let mut client = Patient::new(&address);
    let quiet = wait_until_quiet(&mut client);
    let world = World::look(&mut client, &place.data);
    let checked = verdict(&check(&world, &told), &mut client, &world);
    quiet.and(checked).unwrap_or_else(|what| panic!("{what}"));
    let replayed = verdict(&check_replays(&mut client, &told), &mut client, &world);
    replayed.unwrap_or_else(|what| panic!("{what}"));
    println!(
        "{}",
        json!({
            "campaign": "stopped", "seed": seed, "rounds": rounds, "seconds_max": seconds,
            "killed": killed, "clients": SHOPPERS, "orders": world.orders.len(),
            "acknowledged": told.len(), "seconds": began.elapsed().as_secs()
        })
    );
}
