//! The checkers are checked: each planted mistake is noticed within two hundred seeds, and without
//! one nothing is.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod check;
mod host;
mod run;

use check::Violation;
use redeliver::testing::PlantedBug;

/// Seeds within which a mistake must be noticed.
const SEEDS: u64 = 200;

/// Seeds that must show nothing: those, or as many as `REDELIVER_CHECKER_SEEDS` says.
fn seeds() -> u64 {
    let asked = std::env::var("REDELIVER_CHECKER_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().unwrap())
}

/// Panics that were asked for are not shown: there are thousands.
fn hide_seeded_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.starts_with("a seeded panic")) {
                show(panic);
            }
        }));
    });
}

fn try_seed(seed: u64, bug: Option<PlantedBug>) -> Result<(), Violation> {
    hide_seeded_panics();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run::run(seed, bug))
}

#[test]
fn every_planted_bug_is_caught_within_two_hundred_seeds() {
    let mut missed = Vec::new();
    for bug in PlantedBug::ALL {
        let caught = (0..SEEDS).find_map(|seed| Some((seed, try_seed(seed, Some(*bug)).err()?)));
        match caught {
            Some((seed, violation)) => {
                println!(
                    "{bug:26} seed {seed:3}  {}: {}",
                    violation.checker, violation.detail
                );
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn without_a_planted_bug_the_same_seeds_show_nothing() {
    for seed in 0..seeds() {
        if let Err(violation) = try_seed(seed, None) {
            panic!("seed {seed}: {violation:?}");
        }
    }
}

#[test]
fn no_default_build_can_be_planted_with_anything() {
    for manifest in [
        include_str!("../../Cargo.toml"),
        include_str!("../../commerce/Cargo.toml"),
    ] {
        let (_, features) = manifest.split_once("[features]").unwrap();
        let default = features.lines().find(|line| line.starts_with("default"));
        assert!(default.is_none_or(|line| line == r#"default = ["http"]"#));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        assert!(!dependencies.contains("planted"), "{dependencies}");
    }
}
