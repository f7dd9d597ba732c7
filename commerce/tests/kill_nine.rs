//! The shop is killed again and again while sixteen clients shop, and nothing that was
//! acknowledged is lost, done twice or half done.
//!
//! `KILL_ROUNDS` says how often (5 unless told) and `KILL_SEED` repeats a campaign's choices; the
//! moments at which threads meet are chance all the same.

#![allow(clippy::unwrap_used)]

mod campaign;
mod common;

use campaign::rounds::Campaign;

#[test]
fn what_was_acknowledged_survives_any_number_of_kills() {
    Campaign {
        name: "kill9",
        test: "kill_nine",
        variables: Vec::new(),
        panics: false,
    }
    .run();
}

#[test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs the feature failpoints")]
fn panics_in_any_handler_and_kills_at_any_moment_lose_nothing() {
    Campaign {
        name: "panics",
        test: "kill_nine",
        variables: vec![("REDELIVER_FAIL", "*/*:panic:0.02".to_owned())],
        panics: true,
    }
    .run();
}
