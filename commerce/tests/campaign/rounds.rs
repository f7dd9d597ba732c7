//! Rounds: start, let them shop, kill; and in the end wait until it is quiet and check.
//!
//! A campaign goes in legs over one data directory. Each ends with the checks, so that a failure
//! is found near its cause.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chance::Chance;
use super::checks::{Complaints, check, check_replays};
use super::directory::{SMALL, files};
use super::patient::Patient;
use super::process::{Place, Process};
use super::shopper::{Account, EVERYTHING, Shopper};
use super::told::{Doors, Told};
use super::world::{World, wait_until_quiet};
use crate::common::Client;

const SHOPPERS: u64 = 16;
/// Kills between two checks.
const LEG_ROUNDS_MAX: u64 = 50;
/// Commands of earlier legs that are repeated once more at the end of each.
const OLD_REPLAYS: usize = 200;
const SIGABRT: i32 = 6;

/// A campaign to run.
pub struct Campaign {
    /// What it is called in figures.
    pub name: &'static str,
    /// The test that replays it.
    pub test: &'static str,
    /// What fails on purpose, as in `REDELIVER_FAIL`; nothing if empty.
    pub failpoints: &'static str,
    /// Whether handlers panic on purpose, so that requests may be answered 500.
    pub panics: bool,
    /// Whether handlers abort the process on purpose, so that rounds may end early.
    pub aborts: bool,
    /// Whether everything kept is so small that checkpoints and snapshots happen all the time. Then
    /// it is also killed while it starts more often than at work.
    pub small: bool,
}

/// Figures of a campaign.
#[derive(Default)]
struct Figures {
    rounds: u64,
    killed_while_starting: u64,
    aborted: u64,
    /// Kills that left an unfinished file of this kind.
    unfinished: BTreeMap<&'static str, u64>,
    engines_rebuilt: u64,
    recovered_commits: u64,
    recovered_ms_max: u64,
    start_ms_max: u128,
    quiet_ms_max: u128,
    interrupted: u64,
    unavailable: u64,
    failed: u64,
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
        let feature = if self.failpoints.is_empty() {
            ""
        } else {
            "--features failpoints "
        };
        println!(
            "seed {seed}; replay with: KILL_SEED={seed} KILL_ROUNDS={rounds} cargo test {feature}-p commerce \
             --test kill_nine {} -- --nocapture",
            self.test
        );
        let directory = tempfile::tempdir().unwrap();
        let mut variables = match self.small {
            true => SMALL.to_vec(),
            false => Vec::new(),
        };
        let calm = Place::below(directory.path(), &variables);
        variables.push(("REDELIVER_FAIL", self.failpoints));
        let place = Place::below(directory.path(), &variables);
        let mut run = Run {
            campaign: self,
            place,
            calm,
            seed,
            chance: Chance::new(seed, 0),
            start_ms: 100,
            figures: Figures::default(),
            told: Vec::new(),
            client: Client::new(""),
        };
        match run.all_legs(rounds) {
            Ok(line) => println!("{line}"),
            Err(what) => {
                // Kept for whoever looks into it.
                let kept = directory.keep();
                let last_words = run.calm.last_words();
                panic!(
                    "seed {seed}, data kept in {}\n{what}\nlast words of the program:\n{last_words}",
                    kept.display()
                );
            }
        }
    }
}

/// A campaign under way.
struct Run<'a> {
    campaign: &'a Campaign,
    place: Place,
    /// The same without failures on purpose.
    calm: Place,
    seed: u64,
    chance: Chance,
    /// How long a start took last.
    start_ms: u64,
    figures: Figures,
    told: Vec<Told>,
    client: Client,
}

impl Run<'_> {
    fn all_legs(&mut self, rounds: u64) -> Result<Value, String> {
        let began = Instant::now();
        // The seed is put in undisturbed: a product that cannot be seeded ends the first start.
        let mut first = Process::spawn(&self.calm);
        self.ready(&mut first)?;
        first
            .kill()
            .map_err(|ended| format!("the first start ended by itself: {ended}"))?;
        let mut leg = 0;
        let mut world = None;
        while self.figures.rounds < rounds {
            let left = rounds - self.figures.rounds;
            world = Some(self.leg(leg, left.min(LEG_ROUNDS_MAX))?);
            leg += 1;
        }
        let by_status = world.map(|world| world.by_status()).unwrap_or_default();
        let figures = &self.figures;
        Ok(json!({
            "campaign": self.campaign.name, "seed": self.seed, "rounds": figures.rounds,
            "clients": SHOPPERS, "failpoints": self.campaign.failpoints,
            "killed_while_starting": figures.killed_while_starting, "aborted": figures.aborted,
            "orders": by_status.values().sum::<u64>(), "by_status": by_status,
            "acknowledged": self.told.len(), "interrupted_requests": figures.interrupted,
            "answers_500": figures.failed, "answers_503": figures.unavailable,
            "unfinished": figures.unfinished, "engines_rebuilt": figures.engines_rebuilt,
            "recovered_commits": figures.recovered_commits,
            "recovered_ms_max": figures.recovered_ms_max, "start_ms_max": figures.start_ms_max,
            "quiet_ms_max": figures.quiet_ms_max, "seconds": began.elapsed().as_secs()
        }))
    }

    fn leg(&mut self, leg: u64, rounds: u64) -> Result<World, String> {
        let doors = Arc::new(Doors::default());
        let shoppers: Vec<JoinHandle<Account>> = (0..SHOPPERS)
            .map(|number| {
                let shopper = Shopper::new(self.seed, leg, number, EVERYTHING, doors.clone());
                std::thread::spawn(move || shopper.shop())
            })
            .collect();
        for _ in 0..rounds {
            self.round(&doors)?;
        }
        // What aborts would end this start too, which is to be looked at.
        let last = if self.campaign.aborts {
            &self.calm
        } else {
            &self.place
        };
        let mut last = Process::spawn(last);
        let address = self
            .ready(&mut last)?
            .ok_or("the last start ended by itself")?;
        doors.open(&address);
        // They work on an undisturbed shop for a moment, then go home.
        std::thread::sleep(Duration::from_millis(100));
        doors.close_for_good();
        let told_before = self.told.len();
        let seen = self.hear(shoppers)?;
        let mut client = Patient::new(&address);
        let world = self
            .rested(&mut client, seen)
            .map_err(|what| format!("leg {leg}: {what}"))?;
        // Those of earlier legs were asked again then; a few are once more, over all kills since.
        let replayed = &self.told[told_before.saturating_sub(OLD_REPLAYS)..];
        verdict(&check_replays(&mut client, replayed), &mut client, &world)?;
        let after = World::look(&mut client, &self.place.data);
        if (&after.orders, &after.products, &after.ledger)
            != (&world.orders, &world.products, &world.ledger)
        {
            return Err(format!(
                "leg {leg}: commands repeated under their keys have changed something"
            ));
        }
        last.kill()
            .map_err(|ended| format!("the program ended by itself: {ended}"))?;
        Ok(world)
    }

    /// One start and its end.
    fn round(&mut self, doors: &Doors) -> Result<(), String> {
        self.figures.rounds += 1;
        let end = self.end();
        let mut process = Process::spawn(&self.place);
        let kill_after = match end {
            // The moment of death is the variable of the whole campaign; nothing is waited for.
            End::WhileStarting(thousandths) => {
                self.figures.killed_while_starting += 1;
                Duration::from_micros(self.start_ms * thousandths)
            }
            End::AtWork(after) => {
                let Some(address) = self.ready(&mut process)? else {
                    return Ok(());
                };
                doors.open(&address);
                after
            }
        };
        std::thread::sleep(kill_after);
        doors.shut();
        let killed = process.kill().or_else(|ended| self.ended(ended));
        self.note_unfinished();
        killed
    }

    /// Notes what the kill has interrupted, as far as files show it.
    fn note_unfinished(&mut self) {
        for path in files(&self.place.data).keys() {
            let name = path.to_string_lossy();
            let kind = match &*name {
                _ if name.ends_with("CHECKPOINT.tmp") => "checkpoint",
                _ if name.contains(".snap.") => "snapshot",
                _ if name.ends_with("next.tmp") => "segment",
                _ if name.contains("/spill/") && name.ends_with(".tmp") => "spill",
                _ => continue,
            };
            *self.figures.unfinished.entry(kind).or_default() += 1;
        }
    }

    fn end(&mut self) -> End {
        let millis = Duration::from_millis;
        if self.campaign.small && self.chance.below(2) == 0 {
            return End::WhileStarting(self.chance.below(1_100));
        }
        match self.chance.below(100) {
            0..12 => End::WhileStarting(self.chance.below(1_100)),
            12..32 => End::AtWork(millis(self.chance.below(30))),
            32..88 => End::AtWork(millis(30 + self.chance.below(370))),
            _ => End::AtWork(millis(400 + self.chance.below(800))),
        }
    }

    /// Waits until it answers, and notes what it recovered; `None` if it ended as it may.
    fn ready(&mut self, process: &mut Process) -> Result<Option<String>, String> {
        let (address, took) = match process.ready() {
            Ok(ready) => ready,
            Err(ended) => return self.ended(ended).map(|()| None),
        };
        self.start_ms = u64::try_from(took.as_millis()).unwrap().max(1);
        self.figures.start_ms_max = self.figures.start_ms_max.max(took.as_millis());
        self.client.move_to(&address);
        let answer = self.client.try_request("GET", "/admin/system", &[], None);
        // Where handlers panic on purpose, signing in may fail too.
        if let Some(answer) = answer.ok().filter(|answer| answer.status < 500) {
            let system = answer.expect(200);
            let number = |name: &str| system["recovered"][name].as_u64().unwrap();
            self.figures.recovered_commits += number("commits");
            self.figures.engines_rebuilt += u64::from(!system["recovered"]["rebuilt"].is_null());
            self.figures.recovered_ms_max = self.figures.recovered_ms_max.max(number("ms"));
        }
        Ok(Some(address))
    }

    /// The program ended by itself, which it may only where it aborts on purpose.
    fn ended(&mut self, ended: ExitStatus) -> Result<(), String> {
        if self.campaign.aborts && ended.signal() == Some(SIGABRT) {
            self.figures.aborted += 1;
            return Ok(());
        }
        let round = self.figures.rounds;
        Err(format!(
            "round {round}: the program ended by itself: {ended}"
        ))
    }

    /// What the shoppers tell when they come home; what they saw and should not have.
    fn hear(&mut self, shoppers: Vec<JoinHandle<Account>>) -> Result<Vec<String>, String> {
        let mut seen = Vec::new();
        for shopper in shoppers {
            let account = shopper.join().map_err(|_| "a shopper died".to_owned())?;
            self.figures.interrupted += account.interrupted;
            self.figures.unavailable += account.unavailable;
            self.figures.failed += account.failed;
            seen.extend(account.violations);
            self.told.extend(account.told);
        }
        if self.figures.failed > 0 && !self.campaign.panics {
            seen.push(format!(
                "{} requests were answered 500",
                self.figures.failed
            ));
        }
        Ok(seen)
    }

    /// Waits until all is quiet and checks it.
    fn rested(&mut self, client: &mut Patient, seen: Vec<String>) -> Result<World, String> {
        let quiet = wait_until_quiet(client);
        let world = World::look(client, &self.place.data);
        let checked = verdict(&check(&world, &self.told), client, &world);
        match (quiet, checked) {
            (Ok(took), Ok(())) if seen.is_empty() => {
                self.figures.quiet_ms_max = self.figures.quiet_ms_max.max(took.as_millis());
                Ok(world)
            }
            (quiet, checked) => {
                let quiet = quiet.err().unwrap_or_default();
                let checked = checked.err().unwrap_or_default();
                Err(format!("{quiet}\n{}\n{checked}", seen.join("\n")))
            }
        }
    }
}

/// The complaints as an error, with what helps to understand them.
pub fn verdict(found: &Complaints, client: &mut Patient, world: &World) -> Result<(), String> {
    if found.0.is_empty() {
        Ok(())
    } else {
        Err(found.show(client, world))
    }
}
