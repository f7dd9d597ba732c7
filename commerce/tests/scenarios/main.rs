//! Scenarios: the whole shop, all eight services, through everything that a shop lives through.
//!
//! Each is played in peace and under faults (see `play`), and at every quiet point of it all laws
//! of conservation are checked (see `checks`).
#![allow(clippy::unwrap_used, unreachable_pub)]

#[allow(dead_code, reason = "shared with campaigns, which need more of it")]
#[path = "../campaign/chance.rs"]
mod chance;
mod checks;
mod play;
mod provider;
mod world;

mod every_step;
mod parcels;
mod payments;
mod rush;
mod surroundings;
