//! Rounds: start, let them shop, kill; and in the end wait until it is quiet and check.
//!
//! A campaign goes in legs over one data directory. Each ends with the checks, so that a failure
//! is found near its cause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chance::Chance;
use super::checks::{Complaints, check, check_replays};
use super::patient::Patient;
use super::process::{Place, Process};
use super::shopper::{Account, EVERYTHING, Shopper};
use super::told::{Doors, Told};
use super::world::{World, wait_until_quiet};

const SHOPPERS: u64 = 16;
/// Kills between two checks.
const LEG_ROUNDS_MAX: u64 = 50;

/// A campaign to run.
pub struct Campaign {
    /// What it is called in figures.
    pub name: &'static str,
    /// The test that replays it.
    pub test: &'static str,
    /// Set for every start of the program.
    pub variables: Vec<(&'static str, String)>,
    /// Whether handlers panic on purpose, so that requests may answer 500.
    pub panics: bool,
}

/// Figures of a campaign.
#[derive(Default)]
struct Figures {
    rounds: u64,
    killed_while_starting: u64,
    recovered_commits: u64,
    recovered_ms_max: u64,
    start_ms_max: u128,
    quiet_ms_max: u128,
    interrupted: u64,
    unavailable: u64,
    failed: u64,
    panics: u64,
}

/// How a round ends.
enum End {
    /// After so many thousandths of the time a start takes.
    WhileStarting(u64),
    /// So long after it was ready.
    AtWork(Duration),
}

impl Campaign {
    /// Runs it as `KILL_ROUNDS` and `KILL_SEED` say, and prints its figures as a line of JSON.
    pub fn run(&self) {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let rounds: u64 = number("KILL_ROUNDS").unwrap_or(5);
        let seed: u64 = number("KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        println!(
            "seed {seed}; replay with: KILL_SEED={seed} KILL_ROUNDS={rounds} cargo test {}-p commerce --test {} -- --nocapture",
            if self.panics {
                "--features failpoints "
            } else {
                ""
            },
            self.test
        );
        let directory = tempfile::tempdir().unwrap();
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let place = Place::below(directory.path(), &variables);
        if let Err(what) = self.all_legs(&place, seed, rounds) {
            // Kept for whoever looks into it.
            let kept = directory.keep();
            panic!(
                "seed {seed}, data kept in {}\n{what}\nlast words of the program:\n{}",
                kept.display(),
                place.last_words()
            );
        }
    }

    fn all_legs(&self, place: &Place, seed: u64, rounds: u64) -> Result<(), String> {
        let began = Instant::now();
        let mut figures = Figures::default();
        let mut told = Vec::new();
        let mut chance = Chance::new(seed, 0);
        let mut leg = 0;
        // The seed is put in undisturbed; a product that cannot be seeded ends the first start.
        let calm = Place {
            variables: place
                .variables
                .iter()
                .filter(|(name, _)| name != "REDELIVER_FAIL")
                .cloned()
                .collect(),
            ..place.clone()
        };
        let mut first = Process::spawn(&calm);
        started(&mut first, &calm, &mut figures)?;
        first
            .kill()
            .map_err(|ended| format!("the first start ended by itself: {ended}"))?;
        let by_status = loop {
            let left = rounds - figures.rounds;
            let world = self.leg(
                place,
                seed,
                leg,
                left.min(LEG_ROUNDS_MAX),
                &mut chance,
                &mut figures,
                &mut told,
            )?;
            if figures.rounds >= rounds {
                break world.by_status();
            }
            leg += 1;
        };
        let orders: u64 = by_status.values().sum();
        let line = json!({
            "campaign": self.name, "seed": seed, "rounds": figures.rounds, "clients": SHOPPERS,
            "killed_while_starting": figures.killed_while_starting, "orders": orders,
            "acknowledged": told.len(), "by_status": by_status,
            "interrupted_requests": figures.interrupted, "answers_503": figures.unavailable,
            "answers_500": figures.failed, "panics": figures.panics,
            "recovered_commits": figures.recovered_commits,
            "recovered_ms_max": figures.recovered_ms_max,
            "start_ms_max": figures.start_ms_max, "quiet_ms_max": figures.quiet_ms_max,
            "seconds": began.elapsed().as_secs()
        });
        println!("{line}");
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn leg(
        &self,
        place: &Place,
        seed: u64,
        leg: u64,
        rounds: u64,
        chance: &mut Chance,
        figures: &mut Figures,
        told: &mut Vec<Told>,
    ) -> Result<World, String> {
        let doors = Arc::new(Doors::default());
        let shoppers: Vec<_> = (0..SHOPPERS)
            .map(|number| {
                let shopper = Shopper::new(seed, leg, number, EVERYTHING, doors.clone());
                std::thread::spawn(move || shopper.shop())
            })
            .collect();
        let mut start_ms = 100;
        for _ in 0..rounds {
            start_ms = round(place, &doors, end(chance), start_ms, figures)?;
        }
        let mut last = Process::spawn(place);
        let address = started(&mut last, place, figures)?.0;
        doors.open(&address);
        // They work on an undisturbed shop for a moment, then go home.
        std::thread::sleep(Duration::from_millis(100));
        doors.close_for_good();
        let before = told.len();
        let mut complaints = Vec::new();
        for shopper in shoppers {
            let account: Account = shopper.join().map_err(|_| "a shopper died".to_owned())?;
            figures.interrupted += account.interrupted;
            figures.unavailable += account.unavailable;
            figures.failed += account.failed;
            complaints.extend(account.violations);
            told.extend(account.told);
        }
        if figures.failed > 0 && !self.panics {
            complaints.push(format!("{} requests were answered 500", figures.failed));
        }
        let mut client = Patient::new(&address);
        let quiet = wait_until_quiet(&mut client);
        let world = World::look(&mut client, &place.data);
        let verdict = |found: Complaints, client: &mut Patient| {
            if found.0.is_empty() {
                Ok(())
            } else {
                Err(found.show(client, &world))
            }
        };
        let checked = verdict(check(&world, told), &mut client);
        match (quiet, checked) {
            (Ok(took), Ok(())) if complaints.is_empty() => {
                figures.quiet_ms_max = figures.quiet_ms_max.max(took.as_millis());
            }
            (quiet, checked) => {
                let quiet = quiet.err().unwrap_or_default();
                let checked = checked.err().unwrap_or_default();
                return Err(format!(
                    "leg {leg}: {quiet}\n{}\n{checked}",
                    complaints.join("\n")
                ));
            }
        }
        let panics = world.system["services"].as_array().unwrap().iter();
        figures.panics += panics
            .map(|service| service["panics"].as_u64().unwrap())
            .sum::<u64>();
        // Those of earlier legs were asked again then; a few are once more, over all kills since.
        let old = before.saturating_sub(200);
        verdict(check_replays(&mut client, &told[old..]), &mut client)?;
        let after = World::look(&mut client, &place.data);
        if after.orders != world.orders
            || after.products != world.products
            || after.ledger != world.ledger
        {
            return Err(format!(
                "leg {leg}: repeating commands under their keys has changed something"
            ));
        }
        last.kill()
            .map_err(|ended| format!("the program ended by itself: {ended}"))?;
        Ok(world)
    }
}

fn end(chance: &mut Chance) -> End {
    let millis = Duration::from_millis;
    match chance.below(100) {
        0..12 => End::WhileStarting(chance.below(1_100)),
        12..32 => End::AtWork(millis(chance.below(30))),
        32..88 => End::AtWork(millis(30 + chance.below(370))),
        _ => End::AtWork(millis(400 + chance.below(800))),
    }
}

/// One round; answers how long the start took, or last took.
fn round(
    place: &Place,
    doors: &Doors,
    end: End,
    start_ms: u64,
    figures: &mut Figures,
) -> Result<u64, String> {
    figures.rounds += 1;
    let mut process = Process::spawn(place);
    let (kill_after, start_ms) = match end {
        // The moment of death is the variable of the whole campaign; nothing is waited for.
        End::WhileStarting(thousandths) => {
            figures.killed_while_starting += 1;
            (Duration::from_micros(start_ms * thousandths), start_ms)
        }
        End::AtWork(after) => {
            let (address, took) = started(&mut process, place, figures)?;
            doors.open(&address);
            (after, u64::try_from(took.as_millis()).unwrap().max(1))
        }
    };
    std::thread::sleep(kill_after);
    doors.shut();
    process.kill().map_err(|ended| {
        format!(
            "round {}: the program ended by itself: {ended}",
            figures.rounds
        )
    })?;
    Ok(start_ms)
}

/// Waits until it answers, and notes what it recovered.
fn started(
    process: &mut Process,
    place: &Place,
    figures: &mut Figures,
) -> Result<(String, Duration), String> {
    let (address, took) = process.ready().map_err(|ended| {
        format!(
            "round {}: the program did not start: {ended}\n{}",
            figures.rounds,
            place.last_words()
        )
    })?;
    figures.start_ms_max = figures.start_ms_max.max(took.as_millis());
    let system = Patient::new(&address).get("/admin/system").expect(200);
    let number = |name: &str| Value::as_u64(&system["recovered"][name]).unwrap();
    figures.recovered_commits += number("commits");
    figures.recovered_ms_max = figures.recovered_ms_max.max(number("ms"));
    Ok((address, took))
}
