//! How a scenario is played: once in peace, then under faults, by seed.
//!
//! Method: a scenario is played in virtual time on a simulated disk, in peace with seed 0 and then
//! with each further seed under faults that follow from the seed. `SCENARIO_SEEDS` says how many
//! seeds have faults; `SCENARIO_SEED` plays one seed alone.

use std::ops::RangeInclusive;

use super::world::World;

/// Seeds with faults that are played if nothing is said.
const SEEDS_DEFAULT: u64 = 4;

/// Plays a scenario; the name is that of its test.
pub fn play(name: &str, scenario: impl AsyncFn(u64)) {
    play_all(name, seeds(), scenario);
}

/// As [`play`], with one world that is opened by the seed and checked at the end.
pub fn play_in(name: &str, scenario: impl AsyncFn(&mut World)) {
    play(name, async |seed| {
        let mut world = World::open(seed).await;
        scenario(&mut world).await;
        world.check().await;
    });
}

fn play_all(name: &str, seeds: RangeInclusive<u64>, scenario: impl AsyncFn(u64)) {
    for seed in seeds {
        let _shown = Shown { name, seed };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            // The scenario sees the world after each poll of a task, not after each sixty.
            .event_interval(1)
            .build()
            .unwrap()
            .block_on(scenario(seed));
    }
}

/// The seeds to be played.
pub fn seeds() -> RangeInclusive<u64> {
    match (number("SCENARIO_SEED"), number("SCENARIO_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, seeds) => 0..=seeds.unwrap_or(SEEDS_DEFAULT),
    }
}

/// A number from the environment.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

/// Says how a failure is repeated.
struct Shown<'a> {
    name: &'a str,
    seed: u64,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Shown { name, seed } = self;
            eprintln!(
                "seed {seed} fails; repeat it with\n  SCENARIO_SEED={seed} cargo test -p commerce --test scenarios {name} -- --exact --nocapture"
            );
        }
    }
}
