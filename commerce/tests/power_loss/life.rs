//! Lives: the program works on record until it is killed, and then the power is lost at moments of
//! that record.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use commerce::seed::PRODUCTS;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::campaign::chance::Chance;
use crate::campaign::checks::{check, check_replays};
use crate::campaign::directory::{SMALL, another_boot, copy_all};
use crate::campaign::patient::Patient;
use crate::campaign::process::{Place, Process};
use crate::campaign::rounds::verdict;
use crate::campaign::shopper::{EVERYTHING, Shopper};
use crate::campaign::told::{Doors, Told};
use crate::campaign::world::{World, wait_until_quiet};
use crate::common::product;
use crate::machine::{Machine, Remains};
use crate::recorder::{Moment, Record, recording};
use crate::watch::{Look, Watch};

const SHOPPERS: u64 = 6;
/// Power losses in one life.
const CUTS_PER_LIFE: u64 = 12;
/// Lives over one data directory, so that it does not become long to check.
const LIVES_PER_DIRECTORY: u64 = 4;

/// A campaign under way.
pub struct Campaign<'a> {
    seed: u64,
    top: &'a Path,
    chance: Chance,
    lives: u64,
    /// What the last power loss has left, for the next life.
    left: Option<Left>,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    cuts: u64,
    moments: usize,
    checkpoints: usize,
    snapshots: usize,
    acknowledged: u64,
    repeated: u64,
    recovered_commits: u64,
    rebuilt: u64,
    remains: Remains,
}

/// What a power loss has left, and what was known to the shoppers.
#[derive(Clone)]
struct Left {
    world: PathBuf,
    /// Commands that were answered.
    told: Vec<Told>,
    /// One of each shopper at most, which was on its way; its answer is of no account.
    on_their_way: Vec<Told>,
}

impl Campaign<'_> {
    pub fn new(seed: u64, top: &Path) -> Campaign<'_> {
        Campaign {
            seed,
            top,
            chance: Chance::new(seed, 0),
            lives: 0,
            left: None,
            figures: Figures::default(),
        }
    }

    /// Loses power so often; the figures.
    pub fn run(&mut self, cuts: u64) -> Result<Value, String> {
        let began = Instant::now();
        while self.figures.cuts < cuts {
            let left = cuts - self.figures.cuts;
            let life = self.lives;
            self.life(left.min(CUTS_PER_LIFE), left <= CUTS_PER_LIFE)
                .map_err(|what| format!("life {life}: {what}"))?;
            self.lives += 1;
        }
        let figures = &self.figures;
        Ok(json!({
            "campaign": "power", "seed": self.seed, "cuts": figures.cuts, "lives": self.lives,
            "moments": figures.moments, "checkpoints": figures.checkpoints,
            "snapshots": figures.snapshots, "acknowledged": figures.acknowledged,
            "repeated": figures.repeated, "recovered_commits": figures.recovered_commits,
            "engines_rebuilt": figures.rebuilt,
            "blocks_kept": figures.remains.kept, "blocks_lost": figures.remains.lost,
            "names_kept": figures.remains.names_kept, "names_lost": figures.remains.names_lost,
            "seconds": began.elapsed().as_secs()
        }))
    }

    fn life(&mut self, cuts: u64, is_last: bool) -> Result<(), String> {
        let home = self.top.join(format!("life-{}", self.lives));
        let world = home.join("world");
        fs::create_dir_all(&home).unwrap();
        let began = self.left.take();
        match &began {
            Some(left) => fs::rename(&left.world, &world).unwrap(),
            None => fs::create_dir(&world).unwrap(),
        }
        let mut machine = Machine::with(&world);
        let trace = home.join("trace");
        let place = Place {
            under: recording(&trace),
            ..place(&home, &world)
        };
        let watch = Watch::over(place.data.join("cells/main/running"));
        let shopped = self.live(&place, began).map_err(|what| {
            let last_words = place.last_words();
            format!("{what}\nlast words of the program:\n{last_words}")
        })?;
        let looks = watch.looks();
        let record = Record::read(&trace);
        let answers = answers(&record);
        self.note(&record);
        let mut at = 0;
        for (number, cut) in (1..).zip(self.moments(cuts, &record, &answers)) {
            for moment in &record.moments[at..cut] {
                machine.pass(&record, *moment);
            }
            at = cut;
            self.figures.cuts += 1;
            let goes_on =
                number == cuts && !is_last && !(self.lives + 1).is_multiple_of(LIVES_PER_DIRECTORY);
            let left = Left {
                world: match goes_on {
                    true => self.top.join("left"),
                    false => home.join("left"),
                },
                ..shopped.until(cut, &answers)?
            };
            let mapped = mapped(&mut self.chance, &machine, &record, cut, &looks);
            let remains = machine.lose_power(&mut self.chance, &mapped, &left.world);
            self.figures.remains.add(&remains);
            another_boot(&left.world.join("data/cells/main/CHECKPOINT"));
            if goes_on {
                self.left = Some(left);
                continue;
            }
            let copy = home.join("as-it-was-left");
            copy_all(&left.world, &copy);
            self.check(&home, &left).map_err(|what| {
                format!(
                    "power lost at moment {cut} of {}, {remains:?}; what was left is in {}\n{what}",
                    record.moments.len(),
                    copy.display()
                )
            })?;
            fs::remove_dir_all(&left.world).unwrap();
            fs::remove_dir_all(&copy).unwrap();
        }
        for moment in &record.moments[at..] {
            machine.pass(&record, *moment);
        }
        let differences = machine.differences();
        if !differences.is_empty() {
            return Err(format!(
                "the recorder has missed something: {differences:#?}"
            ));
        }
        fs::remove_dir_all(&home).unwrap();
        Ok(())
    }

    /// Lets the program work on record: what the shoppers were told.
    fn live(&mut self, place: &Place, began: Option<Left>) -> Result<Shopped, String> {
        let mut process = Process::spawn(place);
        let (address, _) = process
            .ready()
            .map_err(|ended| format!("it did not start: {ended}"))?;
        let mut shopped = Shopped::default();
        let mut client = Patient::new(&address);
        if let Some(left) = began {
            shopped.before = left.told.clone();
            shopped.repeated = self.settle(&mut client, place, &left)?;
        }
        let doors = Arc::new(Doors::default());
        let shoppers: Vec<_> = (0..SHOPPERS)
            .map(|number| {
                let shopper =
                    Shopper::new(self.seed, self.lives, number, EVERYTHING, doors.clone());
                std::thread::spawn(move || shopper.shop())
            })
            .collect();
        doors.open(&address);
        // Not a wait for a condition: how much they do is chance.
        std::thread::sleep(Duration::from_millis(300 + self.chance.below(1_700)));
        doors.close_for_good();
        for shopper in shoppers {
            let account = shopper.join().map_err(|_| "a shopper died".to_owned())?;
            if !account.violations.is_empty() || account.failed > 0 {
                return Err(account.violations.join("\n"));
            }
            self.figures.acknowledged += account.told.len() as u64;
            shopped.shoppers.push(account.told);
        }
        // An orderly end is a part of life too.
        if self.chance.below(3) == 0 {
            let ended = process.terminate();
            if !ended.success() {
                return Err(format!("told to stop, it ended with {ended}"));
            }
        } else {
            process
                .kill()
                .map_err(|ended| format!("it ended by itself: {ended}"))?;
        }
        Ok(shopped)
    }

    /// Starts on what is left and checks it.
    fn check(&mut self, home: &Path, left: &Left) -> Result<(), String> {
        let place = place(home, &left.world);
        let _ = fs::remove_file(&place.log);
        let mut process = Process::spawn(&place);
        let checked = match process.ready() {
            Ok((address, _)) => self.settle(&mut Patient::new(&address), &place, left),
            Err(ended) => Err(format!("it does not start any more: {ended}")),
        };
        checked.map(drop).map_err(|what| {
            let last_words = place.last_words();
            format!("{what}\nlast words of the program:\n{last_words}")
        })?;
        process.signal(Signal::KILL);
        Ok(())
    }

    /// Repeats what was on its way, waits until all is quiet and checks it. What was answered.
    fn settle(
        &mut self,
        client: &mut Patient,
        place: &Place,
        left: &Left,
    ) -> Result<Vec<Told>, String> {
        let system = client.get("/admin/system").expect(200);
        let recovered = &system["recovered"];
        self.figures.recovered_commits += recovered["commits"].as_u64().unwrap();
        self.figures.rebuilt += u64::from(!recovered["rebuilt"].is_null());
        let repeated: Vec<Told> = left
            .on_their_way
            .iter()
            .map(|command| told_again(client, command))
            .collect();
        self.figures.repeated += repeated.len() as u64;
        let told: Vec<Told> = left.told.iter().chain(&repeated).cloned().collect();
        let quiet = wait_until_quiet(client);
        let world = World::look(client, &place.data);
        let checked = verdict(&check(&world, &told), client, &world);
        if let (Err(what), _) | (Ok(_), Err(what)) = (quiet, checked) {
            return Err(what);
        }
        verdict(&check_replays(client, &told), client, &world)?;
        let after = World::look(client, &place.data);
        if (&after.orders, &after.products, &after.ledger)
            != (&world.orders, &world.products, &world.ledger)
        {
            return Err("commands repeated under their keys have changed something".to_owned());
        }
        Ok(repeated)
    }

    /// When the power is lost: anywhere, and often just when somebody has been answered.
    fn moments(&mut self, cuts: u64, record: &Record, answers: &Answers) -> Vec<usize> {
        let answered: Vec<usize> = answers.sent.values().copied().collect();
        let mut moments: Vec<usize> = (0..cuts)
            .map(|_| match self.chance.below(3) {
                0 if !answered.is_empty() => self.chance.one_of(&answered) + 1,
                _ => self.chance.below(record.moments.len() as u64 + 1) as usize,
            })
            .collect();
        moments.sort_unstable();
        moments
    }

    fn note(&mut self, record: &Record) {
        self.figures.moments += record.moments.len();
        let renamed = |ending: &str| {
            let to = |call: &&crate::recorder::Call| {
                call.name.starts_with("rename") && call.path(1).to_str().unwrap().ends_with(ending)
            };
            record.calls.iter().filter(to).count()
        };
        self.figures.checkpoints += renamed("/CHECKPOINT");
        self.figures.snapshots += renamed(".snap");
    }
}

/// What the shoppers of one life were told.
#[derive(Default)]
struct Shopped {
    /// In earlier lives.
    before: Vec<Told>,
    /// What was on its way when the power was lost, and has been repeated.
    repeated: Vec<Told>,
    /// In this life, each in order.
    shoppers: Vec<Vec<Told>>,
}

impl Shopped {
    /// What was answered before this moment, and what was on its way.
    fn until(&self, cut: usize, answers: &Answers) -> Result<Left, String> {
        let mut left = Left {
            world: PathBuf::new(),
            told: self.before.clone(),
            on_their_way: Vec::new(),
        };
        let repeated = self.repeated.iter().map(std::slice::from_ref);
        for parties in repeated.chain(self.shoppers.iter().map(Vec::as_slice)) {
            for command in parties {
                let Some(answered) = answers.sent.get(&command.key) else {
                    return Err(format!("no answer to {} is on record", command.key));
                };
                if *answered >= cut {
                    // Those after it were not sent; nor was it, if it is about what its client
                    // has learnt of later.
                    if answers.knew(&command.path, cut) {
                        left.on_their_way.push(command.clone());
                    }
                    break;
                }
                left.told.push(command.clone());
            }
        }
        Ok(left)
    }
}

impl Remains {
    fn add(&mut self, more: &Remains) {
        self.kept += more.kept;
        self.lost += more.lost;
        self.names_kept += more.names_kept;
        self.names_lost += more.names_lost;
    }
}

/// When clients were told something: the moments at which those calls were entered.
#[derive(Default)]
struct Answers {
    /// When the answer to each key was sent.
    sent: HashMap<String, usize>,
    /// When each id was first told to anybody.
    told: HashMap<String, usize>,
}

impl Answers {
    /// Whether nothing that this path names was first told at this moment or later. The products
    /// of the seed are known to every shopper before anybody is told of them.
    fn knew(&self, path: &str, moment: usize) -> bool {
        let seeded: Vec<String> = (0..PRODUCTS.len()).map(product).collect();
        ids(path)
            .filter(|id| !seeded.iter().any(|product| product == id))
            .all(|id| self.told.get(id).is_none_or(|told| *told < moment))
    }
}

/// The UUIDs in a text.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    const LENGTH: usize = 36;
    let words = text.split(|char: char| !char.is_ascii_hexdigit() && char != '-');
    words.filter(|word| word.len() == LENGTH && word.matches('-').count() == 4)
}

fn answers(record: &Record) -> Answers {
    const ID: &str = "x-request-id: ";
    let mut answers = Answers::default();
    for (at, moment) in record.moments.iter().enumerate() {
        let Moment::Entered(call) = moment else {
            continue;
        };
        let call = &record.calls[*call];
        if !matches!(
            call.name.as_str(),
            "write" | "writev" | "sendto" | "sendmsg"
        ) {
            continue;
        }
        let sent = call.strings.concat();
        if !sent.starts_with(b"HTTP/1.1") {
            continue;
        }
        let text = String::from_utf8_lossy(&sent);
        if let Some(id) = text.split(ID).nth(1) {
            // A command that was refused first is answered last.
            let id = id.split('\r').next().unwrap().to_owned();
            answers.sent.insert(id, at);
        }
        for id in ids(&text) {
            answers.told.entry(id.to_owned()).or_insert(at);
        }
    }
    answers
}

fn told_again(client: &mut Patient, command: &Told) -> Told {
    let mut headers = vec![
        ("idempotency-key", command.key.as_str()),
        ("x-request-id", command.key.as_str()),
    ];
    if command.waited {
        headers.push(("prefer", "wait=2"));
    }
    let answer = client.post_with(&command.path, &headers, &command.body);
    Told {
        status: answer.status,
        answer: serde_json::from_slice(&answer.body).unwrap_or_default(),
        ..command.clone()
    }
}

fn place(home: &Path, world: &Path) -> Place {
    Place {
        data: world.join("data"),
        ..Place::below(home, &SMALL)
    }
}

/// What the mapped file may have when the power is lost: what it had at some time since it was last
/// made durable, or zeros if nobody has looked since.
fn mapped(
    chance: &mut Chance,
    machine: &Machine,
    record: &Record,
    cut: usize,
    looks: &[Look],
) -> Vec<u8> {
    let since = machine
        .mapped_durable
        .map_or(0.0, |call| record.times[call]);
    let entered = |moment: &Moment| match moment {
        Moment::Entered(call) => Some(record.times[*call]),
        Moment::Returned(_) => None,
    };
    let until = record.moments[..cut].iter().rev().find_map(entered);
    let until = until.unwrap_or_default();
    let possible: Vec<&Look> = looks
        .iter()
        .filter(|look| since < look.at && look.at < until)
        .collect();
    match possible.is_empty() {
        true => Vec::new(),
        false => chance.one_of(&possible).content.clone(),
    }
}

#[test]
fn a_command_about_what_nobody_had_been_told_of_was_not_on_its_way() {
    let id = "01a20733-1ddf-7146-bda1-34d746e00877";
    let answers = Answers {
        told: HashMap::from([(id.to_owned(), 7)]),
        ..Answers::default()
    };
    let path = format!("/api/v1/orders/{id}/payment/retry");
    assert!(!answers.knew(&path, 7));
    assert!(answers.knew(&path, 8));
    assert!(answers.knew("/api/v1/orders", 0));
}

#[test]
fn a_command_about_a_product_of_the_seed_was_on_its_way_even_if_its_answer_is_the_first_to_name_it()
{
    let id = product(8);
    let answers = Answers {
        told: HashMap::from([(id.clone(), 7)]),
        ..Answers::default()
    };
    let path = format!("/api/v1/inventory/products/{id}/adjust-stock");
    assert!(answers.knew(&path, 7));
}
