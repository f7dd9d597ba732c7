//! The disk fills up while shoppers work, to the last byte: they are refused and told to come back,
//! what is there can be seen, and when there is room the shop goes on by itself. Nothing that was
//! acknowledged is lost.
//!
//! The disk is a small one of its own, which root may mount. Some of the times the program is killed
//! on the full disk, and starts there again or says what it lacks.
//!
//! `DISK_ROUNDS` says how often (1 unless told) and `DISK_SEED` repeats a campaign's choices.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod campaign;
mod common;

use std::fs;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use campaign::chance::Chance;
use campaign::checks::{check, check_replays};
use campaign::patient::Patient;
use campaign::process::{Place, Process};
use campaign::rounds::verdict;
use campaign::shopper::{EVERYTHING, Shopper};
use campaign::told::Doors;
use campaign::world::{World, wait_until_quiet};
use common::mount::Mount;
use common::{Client, order_of, product};

const SHOPPERS: u64 = 8;
const DISK_MEGABYTES: u32 = 150;
/// More than what a round leaves behind: a disk that is full of orders takes no more of them.
const MEGABYTES_PER_ROUND: u32 = 10;
/// How long it may take until it takes orders again.
const RECOVERY_MAX: Duration = Duration::from_secs(30);

/// What fits a small disk.
const SMALL: [(&str, &str); 5] = [
    ("COMMERCE_STORAGE_SEGMENT_BYTES", "1048576"),
    ("COMMERCE_STORAGE_CHECKPOINT_AFTER_BYTES", "1048576"),
    ("COMMERCE_STORAGE_SNAPSHOT_AFTER_BYTES", "4194304"),
    ("COMMERCE_STORAGE_SPACE_LOW_BYTES", "8388608"),
    ("COMMERCE_STORAGE_SPACE_RESERVE_BYTES", "16777216"),
];

#[test]
fn a_disk_that_fills_up_again_and_again_costs_nothing_that_was_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let wanted: Option<u64> = number("DISK_ROUNDS");
    let rounds = wanted.unwrap_or(1);
    let seed: u64 = number("DISK_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let megabytes = DISK_MEGABYTES + MEGABYTES_PER_ROUND * u32::try_from(rounds).unwrap();
    let Some(mount) = Mount::of_megabytes(megabytes) else {
        return;
    };
    println!(
        "seed {seed}; replay with: DISK_SEED={seed} DISK_ROUNDS={rounds} cargo test -p commerce \
         --test full_disk -- --nocapture"
    );
    let home = tempfile::tempdir().unwrap();
    let place = Place {
        data: mount.path().join("data"),
        ..Place::below(home.path(), &SMALL)
    };
    let campaign = Campaign {
        chance: Chance::new(seed, 0),
        seed,
        mount,
        place,
        figures: Figures::default(),
    };
    let last_words = campaign.place.clone();
    if let Err(what) = campaign.run(rounds) {
        panic!(
            "seed {seed}\n{what}\nlast words of the program:\n{}",
            last_words.last_words()
        );
    }
}

struct Campaign {
    chance: Chance,
    seed: u64,
    mount: Mount,
    place: Place,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    killed: u64,
    refused_to_start: u64,
    ended_by_itself: u64,
    refusals: u64,
    recovery_ms_max: u128,
}

impl Campaign {
    fn run(mut self, rounds: u64) -> Result<(), String> {
        let began = Instant::now();
        let mut process = Process::spawn(&self.place);
        let mut address = ready(&mut process)?;
        let doors = Arc::new(Doors::default());
        doors.open(&address);
        let shoppers: Vec<_> = (0..SHOPPERS)
            .map(|number| {
                let shopper = Shopper::new(self.seed, 0, number, EVERYTHING, doors.clone());
                std::thread::spawn(move || shopper.shop())
            })
            .collect();
        for round in 0..rounds {
            let told = |what: String| format!("round {round}: {what}");
            // How far they come is the variable of the campaign; nothing is waited for.
            std::thread::sleep(Duration::from_millis(100 + self.chance.below(600)));
            let filler = self.mount.fill();
            let mut probe = Client::new(&address);
            self.probe(&mut probe, round).map_err(told)?;
            std::thread::sleep(Duration::from_millis(self.chance.below(1_500)));
            if self.chance.below(3) == 0 {
                doors.shut();
                self.figures.killed += 1;
                if let Err(ended) = process.kill() {
                    self.ended(ended).map_err(told)?;
                }
                // On the full disk.
                process = Process::spawn(&self.place);
                match process.ready() {
                    Ok((at, _)) => {
                        address = at;
                        doors.open(&address);
                    }
                    Err(ended) => {
                        self.figures.refused_to_start += 1;
                        self.lacks_space(ended).map_err(told)?;
                    }
                }
            }
            fs::remove_file(&filler).unwrap();
            let began = Instant::now();
            while !self.goes_on(&address, round, began).map_err(told)? {
                let Some(ended) = process.ended() else {
                    // On its way out, or not yet listening again.
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                // Whoever runs it starts it again.
                self.ended(ended).map_err(told)?;
                doors.shut();
                process = Process::spawn(&self.place);
                address = ready(&mut process).map_err(told)?;
                doors.open(&address);
            }
            let took = began.elapsed().as_millis();
            self.figures.recovery_ms_max = self.figures.recovery_ms_max.max(took);
        }
        doors.close_for_good();
        let (mut told, mut unavailable) = (Vec::new(), 0);
        let mut seen = Vec::new();
        for shopper in shoppers {
            let account = shopper.join().map_err(|_| "a shopper died")?;
            seen.extend(account.violations);
            if account.failed > 0 {
                seen.push(format!("{} requests were answered 500", account.failed));
            }
            unavailable += account.unavailable;
            told.extend(account.told);
        }
        let mut client = Patient::new(&address);
        let quiet = wait_until_quiet(&mut client);
        let world = World::look(&mut client, &self.place.data);
        // Those of the probes are nobody's.
        let probes = self.probes(&mut client, rounds);
        told.extend(probes);
        let checked = verdict(&check(&world, &told), &mut client, &world);
        quiet.and(checked)?;
        verdict(&check_replays(&mut client, &told), &mut client, &world)?;
        if !seen.is_empty() {
            return Err(seen.join("\n"));
        }
        let figures = &self.figures;
        println!(
            "{}",
            json!({
                "campaign": "disk", "seed": self.seed, "rounds": rounds, "clients": SHOPPERS,
                "acknowledged": told.len(), "answers_503": unavailable + figures.refusals,
                "killed": figures.killed, "refused_to_start": figures.refused_to_start,
                "ended_by_itself": figures.ended_by_itself,
                "recovery_ms_max": figures.recovery_ms_max, "seconds": began.elapsed().as_secs()
            })
        );
        Ok(())
    }

    /// On a full disk a command is refused as documented, sooner or later; nothing else happens.
    fn probe(&mut self, client: &mut Client, round: u64) -> Result<(), String> {
        for _ in 0..2_000 {
            let Ok(answer) = order(client, round) else {
                return Ok(());
            };
            match answer.status {
                202 => {}
                503 if answer.header("retry-after").is_some() => {
                    self.figures.refusals += 1;
                    return Ok(());
                }
                status => {
                    let said = String::from_utf8_lossy(&answer.body);
                    return Err(format!("answered {status} on a full disk: {said}"));
                }
            }
        }
        // Repeated under its key it needs no space, so it may have been taken before.
        Ok(())
    }

    /// Whether it takes orders, with room again: by itself, if it runs.
    fn goes_on(&mut self, address: &str, round: u64, began: Instant) -> Result<bool, String> {
        let mut client = Client::new(address);
        loop {
            let said = match order(&mut client, round) {
                Ok(answer) if answer.status == 202 => return Ok(true),
                Ok(answer) if answer.status == 503 => answer.json().to_string(),
                Ok(answer) => return Err(format!("answered {}: {}", answer.status, answer.json())),
                Err(error) => error.to_string(),
            };
            if began.elapsed() > RECOVERY_MAX {
                return Err(format!("it does not go on with room again: {said}"));
            }
            if said.contains("refused (os error") || said.contains("reset") {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn probes(&self, client: &mut Patient, rounds: u64) -> Vec<campaign::told::Told> {
        (0..rounds)
            .map(|round| {
                let (path, key) = ("/api/v1/orders".to_owned(), format!("probe-{round}"));
                let body = order_of(&product(0), 1, "tok_ok");
                let answer = client.post_with(&path, &[("idempotency-key", &key)], &body);
                campaign::told::Told {
                    path,
                    key,
                    body,
                    waited: false,
                    status: answer.status,
                    answer: answer.json(),
                }
            })
            .collect()
    }

    /// It may end by itself on a full disk, if it says why.
    fn ended(&mut self, ended: ExitStatus) -> Result<(), String> {
        self.figures.ended_by_itself += 1;
        match ended.code() {
            Some(74) => Ok(()),
            _ => Err(format!("it ended by itself: {ended}")),
        }
    }

    fn lacks_space(&self, ended: ExitStatus) -> Result<(), String> {
        let said = self.place.last_words();
        match ended.code() {
            Some(74) if said.contains("space") => Ok(()),
            _ => Err(format!("it does not start on a full disk: {ended}: {said}")),
        }
    }
}

fn order(client: &mut Client, round: u64) -> std::io::Result<common::Answer> {
    let key = format!("probe-{round}");
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", &*key),
    ];
    let body = order_of(&product(0), 1, "tok_ok").to_string();
    client.try_request("POST", "/api/v1/orders", &headers, Some(body.as_bytes()))
}

fn ready(process: &mut Process) -> Result<String, String> {
    match process.ready() {
        Ok((address, _)) => Ok(address),
        Err(ended) => Err(format!("it does not start: {ended}")),
    }
}
