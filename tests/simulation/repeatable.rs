//! The same seed is the same run.

use std::process::Command;
use std::sync::{Arc, Mutex};

use redeliver::prelude::*;
use redeliver::testing::Simulated;

use super::bank::bank;

const SEEDS: u64 = 4;

fn run(seed: u64) -> Simulated {
    let simulated = bank(seed).once(minutes(10));
    assert_eq!(simulated.violations, [], "seed {seed}");
    simulated
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    for seed in 0..SEEDS {
        let first = run(seed);
        assert_eq!(first, run(seed));
        assert_ne!(first.trace_hash, run(seed + 100).trace_hash);
    }
}

/// Prints the hashes of some runs, for the test below.
#[test]
fn hashes() {
    for seed in 0..SEEDS {
        println!("hash {seed} {:016x}", run(seed).trace_hash);
    }
}

/// Method: this very program is run as another process, with the test above alone.
#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["repeatable::hashes", "--exact", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8(other.stdout).unwrap();
    for seed in 0..SEEDS {
        let line = format!("hash {seed} {:016x}", run(seed).trace_hash);
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

/// Takes the lines of a trace.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_trace_says_when_what_happened_and_whether_it_is_read_changes_nothing() {
    let lines = Lines::default();
    let read = bank(3).trace_to(lines.clone()).once(minutes(5));
    assert_eq!(read, bank(3).once(minutes(5)));
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for part in [
        "the system is up",
        "till takes pay",
        "books takes paid",
        "everything is healed",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.lines().all(|line| line.as_bytes()[2] == b':'),
        "{text}"
    );
}
