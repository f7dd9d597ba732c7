//! The command `simulate`: what it prints, and how it exits.
#![cfg(feature = "simulate")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output};

use serde_json::Value;

fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commerce"));
    command.arg("simulate").args(arguments).output().unwrap()
}

fn outcome(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn seeds_without_a_planted_bug_keep_every_rule_and_exit_with_zero() {
    let output = simulate(&["--seeds", "3..5", "--hours", "0.15", "--json"]);
    let outcome = outcome(&output);
    assert_eq!(output.status.code(), Some(0), "{outcome}");
    assert_eq!(outcome["seeds"], 2);
    assert_eq!(outcome["violations"], Value::Array(Vec::new()));
    for figure in ["turns", "crashes", "faults"] {
        assert!(outcome[figure].is_u64(), "{figure}: {outcome}");
    }
}

#[test]
fn a_planted_bug_is_a_violation_with_seed_checker_and_detail_and_exits_with_one() {
    let plant = ["--plant", "compensation-skipped", "--seeds", "0..2"];
    let output = simulate(&[&plant[..], &["--hours", "0.5", "--json"]].concat());
    let outcome = outcome(&output);
    assert_eq!(output.status.code(), Some(1), "{outcome}");
    let violation = &outcome["violations"][0];
    assert!(violation["seed"].is_u64(), "{outcome}");
    assert!(violation["checker"].is_string(), "{outcome}");
    assert!(violation["detail"].is_string(), "{outcome}");
}

#[test]
fn the_list_of_planted_bugs_is_one_name_a_line_and_nothing_else() {
    let output = simulate(&["--plant", "list"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = text.lines().collect();
    assert!(names.len() >= 15, "{text}");
    for name in names {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(!name.is_empty() && name.bytes().all(fits), "{name:?}");
    }
}

#[test]
fn what_cannot_be_meant_exits_with_two_and_says_how_to_write_it() {
    for wrong in [
        &["--seeds", "5..5"][..],
        &["--seeds", "5"],
        &["--hours", "0"],
        &["--plant", "no-such-bug"],
    ] {
        let output = simulate(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
}
