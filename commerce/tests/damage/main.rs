//! Any file of a data directory is damaged, and what opens it finds everything that was
//! acknowledged, or refuses in one sentence that says what to do: never silent loss, a panic, or a
//! hang.
//!
//! Shoppers work on the real program, which makes checkpoints, snapshots and spilled messages all
//! the time, until it is killed or told to stop. Copies of what it leaves are damaged: flipped bits,
//! garbage, zeroed blocks, cut and deleted files, in journal, `CHECKPOINT`, snapshots, spilled messages,
//! event log, sled and the rest. Most copies are opened by the store in this process, which takes
//! milliseconds: every row, stream, waiting message and event must be what an intact copy has, or be
//! refused when it is read. Every twentieth is opened by the real program, with the shoppers' checks;
//! its keyring and its letters are damaged as well. Damage that it finds when it reads on, not when
//! it starts, ends it in the same way: with 74, and a last sentence that says what to do.
//!
//! What cannot be told, and is counted as `tails` instead: damage to the last group of the newest
//! journal segment, of a program that was killed before it had noted in `running` that it is durable.
//! Nothing but that last group, of which nobody was told, may be missing then. Events may be missing
//! if they are told as a gap.
//! The simulated provider's books are the outside world's, and not damaged.
//!
//! `DAMAGES` says how many (60 unless told) and `DAMAGE_SEED` repeats a campaign's choices; the moments
//! at which threads meet are chance all the same. `KILL_PROGRAM` names another build of the program.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../campaign/mod.rs"]
mod campaign;
#[path = "../common/mod.rs"]
mod common;
mod content;
mod harm;
mod original;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use campaign::chance::Chance;
use campaign::directory::{another_boot, files};
use content::{Found, look};
use harm::Harm;
use original::{Original, Verdict};
use serde_json::json;

/// Originals of one campaign, so many damages to each.
const DAMAGES_PER_ORIGINAL: u64 = 250;
/// Of so many damages one is shown to the real program.
const PROGRAM_EVERY: u64 = 20;
/// Longer than any opening takes.
const OPENING_MAX: Duration = Duration::from_secs(120);

#[test]
fn a_damaged_file_is_made_good_or_refused_and_never_costs_anything_silently() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let damages: u64 = number("DAMAGES").unwrap_or(60);
    let seed: u64 = number("DAMAGE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!(
        "seed {seed}; replay with: DAMAGE_SEED={seed} DAMAGES={damages} cargo test -p commerce \
         --test damage -- --nocapture"
    );
    let directory = tempfile::tempdir().unwrap();
    let mut campaign = Campaign {
        chance: Chance::new(seed, 0),
        figures: BTreeMap::new(),
    };
    let began = Instant::now();
    match campaign.run(seed, damages, directory.path()) {
        Ok(()) => println!(
            "{}",
            json!({
                "campaign": "damage", "seed": seed, "damages": damages,
                "outcomes": campaign.figures, "seconds": began.elapsed().as_secs()
            })
        ),
        Err(what) => {
            // Kept for whoever looks into it.
            let kept = directory.keep();
            panic!("seed {seed}, data kept in {}\n{what}", kept.display());
        }
    }
}

struct Campaign {
    chance: Chance,
    /// How often what was damaged ended how.
    figures: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

impl Campaign {
    fn run(&mut self, seed: u64, damages: u64, top: &Path) -> Result<(), String> {
        let mut original = None;
        for number in 0..damages {
            if number.is_multiple_of(DAMAGES_PER_ORIGINAL) {
                let home = top.join(format!("original-{number}"));
                // Both ends of a life come in a short campaign too.
                let in_good_order = (number / DAMAGES_PER_ORIGINAL) % 2 == 1;
                original = Some(Original::make(&home, seed + number, in_good_order)?);
            } else if damages <= DAMAGES_PER_ORIGINAL && number == damages / 2 {
                let home = top.join("original-in-good-order");
                original = Some(Original::make(&home, seed + number, true)?);
            }
            let original = original.as_ref().unwrap();
            let copy = top.join("copy");
            let _ = fs::remove_dir_all(&copy);
            original.copy(&copy);
            let by_program = number.is_multiple_of(PROGRAM_EVERY);
            let harm = Harm::any(&mut self.chance, &copy, by_program);
            harm.apply(&copy);
            if self.chance.below(3) == 0 {
                another_boot(&copy.join("cells/main/CHECKPOINT"));
            }
            let told = |what: String| format!("damage {number}: {harm:?}\n{what}");
            let outcome = match by_program {
                true => original.judge_program(&copy, &harm).map_err(told)?,
                false => {
                    let damaged = files(&copy);
                    let found = opened(&copy).map_err(told)?;
                    if let Found::Refused(_) = found {
                        original::unchanged(&damaged, &copy).map_err(told)?;
                    }
                    original.judge(&found, &harm).map_err(told)?
                }
            };
            let outcome = match outcome {
                Verdict::Whole => "whole",
                Verdict::Refused => "refused",
                Verdict::Gap => "gap told",
                Verdict::Tail => "tails",
            };
            let of = self.figures.entry(harm.kind.clone()).or_default();
            *of.entry(outcome).or_default() += 1;
        }
        Ok(())
    }
}

/// What the store finds in a copy; a panic or a hang is told as such.
fn opened(copy: &Path) -> Result<Found, String> {
    let (tell, told) = channel();
    let copy = copy.to_owned();
    let opening = std::thread::spawn(move || {
        let found = look(&copy);
        let _ = tell.send(());
        found
    });
    if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = told.recv_timeout(OPENING_MAX) {
        return Err(format!("it is not opened within {OPENING_MAX:?}"));
    }
    opening.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        format!("opening it panics: {}", text.unwrap_or_default())
    })
}
