//! The examples run as pasted, and say what they promise.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The built example; `cargo test` builds examples before it runs tests.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("examples").join(name)
}

fn run(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(example(name))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hello_greets_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    assert_eq!(run("hello", &["Ada", dir]), "Hello Ada, for the 1. time\n");
    assert_eq!(run("hello", &["Ada", dir]), "Hello Ada, for the 2. time\n");
}

#[test]
fn checkout_completes_one_order_and_undoes_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let output = run("checkout", &[dir.path().to_str().unwrap()]);
    assert!(output.contains("order 1: Completed"), "{output}");
    assert!(output.contains("order 2: Undone"), "{output}");
    let again = run("checkout", &[dir.path().to_str().unwrap()]);
    assert!(again.contains("has started already"), "{again}");
}

/// Kills the process while it counts; every number it has printed must have been remembered.
#[test]
fn counter_never_forgets_a_number_it_has_printed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let mut printed = 0;
    for round in 0..5u64 {
        let mut child = Command::new(example("counter"))
            .args([dir, "100000000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before: u64 = lines
            .next()
            .unwrap()
            .unwrap()
            .strip_prefix("before: ")
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            before >= printed,
            "round {round}: {before} remembered, {printed} printed"
        );
        for line in lines
            .by_ref()
            .take(20 + 37 * usize::try_from(round).unwrap())
        {
            printed = line
                .unwrap()
                .strip_prefix("count: ")
                .unwrap()
                .parse()
                .unwrap();
        }
        child.kill().unwrap();
        // What was printed before the kill is still in the pipe.
        for line in lines.map_while(Result::ok) {
            if let Some(count) = line
                .strip_prefix("count: ")
                .and_then(|count| count.parse().ok())
            {
                printed = count;
            }
        }
        child.wait().unwrap();
    }
    let output = run("counter", &[dir, "1"]);
    let before: u64 = output
        .lines()
        .next()
        .unwrap()
        .strip_prefix("before: ")
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        before >= printed && printed > 0,
        "{before} remembered, {printed} printed"
    );
}
