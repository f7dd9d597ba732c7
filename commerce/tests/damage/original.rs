//! The original: a data directory that shoppers have worked on, with what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::campaign::checks::check;
use crate::campaign::directory::{SMALL, copy_all, files};
use crate::campaign::patient::Patient;
use crate::campaign::process::{Place, Process};
use crate::campaign::rounds::verdict;
use crate::campaign::shopper::{EVERYTHING, Shopper};
use crate::campaign::told::{Doors, Told};
use crate::campaign::world::{World, wait_until_quiet};
use crate::content::{Content, Found, look};
use crate::harm::Harm;

const SHOPPERS: u64 = 8;
const WORK: Duration = Duration::from_millis(1_500);
/// Kinds of files of which a part is read when it is needed.
const READ_LATE: [&str; 2] = ["sled", "spill"];
/// A program whose cell has closed has ended by then.
const CLOSING_MAX: Duration = Duration::from_secs(20);

/// How a damaged copy ended.
pub enum Verdict {
    /// Nothing is missing.
    Whole,
    /// Refused, with a way out.
    Refused,
    /// Events are missing and told as a gap.
    Gap,
    /// The newest commits are missing, of which nobody had noted yet that they were durable.
    Tail,
}

/// How the program ended on a copy.
enum Run {
    /// Every check holds.
    Whole,
    /// It answers, and this is wrong with it.
    Lacking(String),
    /// It did not start.
    Refused,
    /// It came to the damage later, and ended by itself.
    ClosedLate,
}

pub struct Original {
    place: Place,
    told: Vec<Told>,
    content: Content,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Original {
    /// Lets shoppers work until the program is killed in the middle of it, or told to stop.
    pub fn make(home: &Path, seed: u64, in_good_order: bool) -> Result<Original, String> {
        fs::create_dir_all(home).unwrap();
        let place = Place::below(home, &SMALL);
        let mut process = Process::spawn(&place);
        let (address, _) = process
            .ready()
            .map_err(|ended| format!("it does not start: {ended}"))?;
        let doors = Arc::new(Doors::default());
        let shoppers: Vec<_> = (0..SHOPPERS)
            .map(|number| {
                let shopper = Shopper::new(seed, 0, number, EVERYTHING, doors.clone());
                std::thread::spawn(move || shopper.shop())
            })
            .collect();
        doors.open(&address);
        // Not a wait for a condition: they work for a while.
        std::thread::sleep(WORK);
        doors.close_for_good();
        let mut told = Vec::new();
        for shopper in shoppers {
            told.extend(shopper.join().map_err(|_| "a shopper died")?.told);
        }
        if in_good_order {
            let ended = process.terminate();
            assert!(ended.success(), "{ended}");
        } else {
            process.kill().map_err(|ended| format!("{ended}"))?;
        }
        let files = files(&place.data);
        let intact = home.join("intact");
        copy_all(&place.data, &intact);
        match look(&intact) {
            Found::Content(content) if content.gaps.is_empty() => Ok(Original {
                place,
                told,
                content,
                files,
            }),
            Found::Content(content) => Err(format!("events are missing: {:?}", content.gaps)),
            Found::Refused(what) | Found::Unreadable(what) => Err(what),
        }
    }

    pub fn copy(&self, to: &Path) {
        copy_all(&self.place.data, to);
    }

    /// How a copy that was harmed like this has ended, as the store found it.
    pub fn judge(&self, found: &Found, harm: &Harm) -> Result<Verdict, String> {
        let content = match found {
            Found::Refused(sentence) | Found::Unreadable(sentence) if harm.kind == "sled" => {
                return Err(format!("sled can be made anew, and: {sentence}"));
            }
            Found::Refused(sentence) | Found::Unreadable(sentence) => {
                is_way_out(sentence)?;
                return Ok(Verdict::Refused);
            }
            Found::Content(content) => content,
        };
        let differences = content.differences(&self.content);
        match differences.is_empty() {
            true if content.gaps.is_empty() => Ok(Verdict::Whole),
            true if harm.kind == "events" => Ok(Verdict::Gap),
            true => Err(format!("events are missing: {:?}", content.gaps)),
            false if self.has_lost_its_tail_alone(content, harm) => Ok(Verdict::Tail),
            false => Err(format!(
                "it opens and is not the same, {} differences:\n{}",
                differences.len(),
                differences[..differences.len().min(20)].join("\n")
            )),
        }
    }

    /// Whether the newest segment has lost nothing but commits of which nobody had noted that they
    /// were durable: any harm to these looks like a write that a crash tore.
    fn has_lost_its_tail_alone(&self, found: &Content, harm: &Harm) -> bool {
        let newest = self
            .files
            .keys()
            .rfind(|path| path.starts_with("cells/main/journal"));
        newest == Some(&harm.file)
            && (self.content.noted..self.content.position).contains(&found.position)
    }

    /// The same, of a copy that is harmed like this once more: the program has gone on with the first.
    fn would_lose_its_tail_alone(&self, beside: &Path, harm: &Harm) -> bool {
        let again = beside.with_extension("again");
        let _ = fs::remove_dir_all(&again);
        self.copy(&again);
        harm.apply(&again);
        match look(&again) {
            Found::Content(found) => self.has_lost_its_tail_alone(&found, harm),
            Found::Refused(_) | Found::Unreadable(_) => false,
        }
    }

    /// How a copy that was harmed like this ends when the program starts on it.
    ///
    /// Some damage is found when it is read, which may be long after the start: it closes the cell,
    /// and the next start makes anew what can be, or ends the same way.
    pub fn judge_program(&self, copy: &Path, harm: &Harm) -> Result<Verdict, String> {
        let run = match self.run(copy, harm)? {
            Run::ClosedLate => self.run(copy, harm)?,
            first => first,
        };
        match run {
            Run::Refused | Run::ClosedLate if harm.kind == "sled" => {
                Err("sled can be made anew, and it was not".to_owned())
            }
            Run::Refused | Run::ClosedLate => Ok(Verdict::Refused),
            Run::Whole => Ok(Verdict::Whole),
            Run::Lacking(_) if self.would_lose_its_tail_alone(copy, harm) => Ok(Verdict::Tail),
            Run::Lacking(what) => Err(what),
        }
    }

    fn run(&self, copy: &Path, harm: &Harm) -> Result<Run, String> {
        let log = copy.with_extension("log");
        let _ = fs::remove_file(&log);
        let place = Place {
            data: copy.to_owned(),
            log,
            ..self.place.clone()
        };
        let mut process = Process::spawn(&place);
        let (ended, what) = match process.ready() {
            Err(ended) => (ended, String::new()),
            Ok((address, _)) => {
                // What a client asserts of answers ends in a panic; so it does if there are none.
                let checked = catch_unwind(AssertUnwindSafe(|| self.check(&address, &place)));
                let checked = checked.unwrap_or_else(|_| Err("an answer is wrong".to_owned()));
                let Err(what) = checked else {
                    return Ok(Run::Whole);
                };
                let what = format!("{what}\n{}", place.last_words());
                match process.ends_within(CLOSING_MAX) {
                    None => return Ok(Run::Lacking(what)),
                    Some(ended) => (ended, what),
                }
            }
        };
        let said = fs::read_to_string(&place.log).unwrap();
        let wrong = || {
            Err(format!(
                "{what}\nit ended with {ended} and these words:\n{said}"
            ))
        };
        // A flipped letter makes the note one of another currency.
        let codes: &[i32] = match harm.kind.as_str() {
            "currency" => &[74, 78],
            _ => &[74],
        };
        if !ended.code().is_some_and(|code| codes.contains(&code)) || said.contains("panicked") {
            return wrong();
        }
        let sentence = said.lines().last().unwrap_or_default();
        is_way_out(sentence)?;
        match said.lines().count() {
            1 => Ok(Run::Refused),
            _ if READ_LATE.contains(&harm.kind.as_str()) => Ok(Run::ClosedLate),
            _ => wrong(),
        }
    }

    /// Waits until all is quiet and checks it.
    fn check(&self, address: &str, place: &Place) -> Result<(), String> {
        let mut client = Patient::new(address);
        let quiet = wait_until_quiet(&mut client);
        let world = World::look(&mut client, &place.data);
        let checked = verdict(&check(&world, &self.told), &mut client, &world);
        quiet.and(checked)
    }
}

/// A refusal is one sentence that ends with what to do.
fn is_way_out(sentence: &str) -> Result<(), String> {
    let advice = [
        "restore",
        "run the version",
        "free some space",
        "give this",
        "restart",
        "remove",
        "put",
        "configure",
    ];
    let says = advice.iter().any(|words| sentence.contains(words));
    match says && !sentence.contains('\n') && !sentence.contains("panicked") {
        true => Ok(()),
        false => Err(format!("no way out: {sentence}")),
    }
}

/// Who refuses has changed nothing, but for the lock and the engine, which may be lost.
pub fn unchanged(before: &BTreeMap<PathBuf, Vec<u8>>, data: &Path) -> Result<(), String> {
    let after = files(data);
    let matters = |path: &&PathBuf| !path.starts_with("cells/main/sled") && !path.ends_with("LOCK");
    for path in before.keys().chain(after.keys()).filter(matters) {
        if before.get(path) != after.get(path) {
            return Err(format!("who refused it has changed {}", path.display()));
        }
    }
    Ok(())
}
