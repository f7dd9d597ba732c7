//! The power fails at any moment of the shop's life, on a disk that keeps no more than it must, and
//! nothing that was acknowledged is lost, done twice or half done.
//!
//! The real program runs under `strace`, so every call that changes a file or a name of its data
//! directory is on record: those of the journal, the checkpoints, the snapshots and the event log,
//! and those of sled, of the keyring, the provider's ledger and the letters, which no layer of ours
//! would see. `LD_PRELOAD` would not do: rustix makes system calls of its own. From the record
//! (`recorder`) the files and what of them is durable follow at any moment (`machine`), and so what a
//! power loss may leave of them. The real program then starts on that, every shopper repeats what was
//! not answered, and all laws are checked from outside, as after a kill.
//!
//! ```text
//! life ─ strace ─▶ record ─▶ machine at a random moment ─▶ what the power loss leaves ─▶ start, check
//!   ▲                └─▶ who was answered before that moment                               │
//!   └──────────────────────── the last of them is the next life's beginning ◀──────────────┘
//! ```
//!
//! An answer counts as given as soon as the program has entered the call that sends it. A life that
//! begins with what a power loss has left is itself on record, so power is lost in recovery too.
//!
//! That nothing escapes the recorder is checked: played to its end, every record must give the very
//! files that are there. Limits:
//!
//! - `running` is mapped into memory, which no call shows. It is looked at every few milliseconds; a
//!   power loss leaves some state of it between its last `msync` and now.
//! - The machine is taken to restart: the run of it that `CHECKPOINT` names is made another one.
//! - What a power loss keeps of one file does not depend on another one, and a rename is one step.
//!
//! `POWER_CUTS` says how many power losses (4 unless told) and `POWER_SEED` repeats a campaign's
//! choices; the moments at which threads meet are chance all the same. `KILL_PROGRAM` names another
//! build of the program.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../campaign/mod.rs"]
mod campaign;
#[path = "../common/mod.rs"]
mod common;
mod life;
mod machine;
mod recorder;
mod watch;

use std::process::Command;

use life::Campaign;

#[test]
fn what_was_acknowledged_survives_any_loss_of_power() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let wanted: Option<u64> = number("POWER_CUTS");
    let cuts = wanted.unwrap_or(4);
    let seed: u64 = number("POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let traced = Command::new("strace").args(["-f", "true"]).output();
    if !traced.is_ok_and(|output| output.status.success()) {
        assert_eq!(wanted, None, "strace cannot be run here; install it");
        eprintln!("SKIPPED: strace cannot be run here; install it, and allow tracing");
        return;
    }
    println!(
        "seed {seed}; replay with: POWER_SEED={seed} POWER_CUTS={cuts} cargo test -p commerce \
         --test power_loss -- --nocapture"
    );
    let directory = tempfile::tempdir().unwrap();
    match Campaign::new(seed, directory.path()).run(cuts) {
        Ok(line) => println!("{line}"),
        Err(what) => {
            // Kept for whoever looks into it.
            let kept = directory.keep();
            panic!("seed {seed}, data kept in {}\n{what}", kept.display());
        }
    }
}
