//! The walk through the shop in `docs/tour.md` goes as it is written.
//!
//! Its `sh` blocks run in one shell, in order; a `json` block says what the block before it
//! answers, fields left out being of no interest.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Server;
use serde_json::Value;

const PASSWORD: &str = "a good long password";

#[derive(Debug)]
struct Step {
    line: usize,
    script: String,
    answers: Option<Value>,
}

fn steps(tour: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = tour.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        let text = body.join("\n");
        match kind {
            "sh" => steps.push(Step {
                line: number + 1,
                script: text,
                answers: None,
            }),
            "json" => {
                let step = steps.last_mut().unwrap();
                assert!(step.answers.is_none(), "two answers at line {}", number + 1);
                step.answers = Some(serde_json::from_str(&text).unwrap());
            }
            "console" => {}
            other => panic!("line {}: what is `{other}`?", number + 1),
        }
    }
    steps
}

/// Whether `actual` has everything that `expected` names.
fn has(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => expected
            .iter()
            .all(|(name, value)| actual.get(name).is_some_and(|actual| has(actual, value))),
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len()
                && actual
                    .iter()
                    .zip(expected)
                    .all(|(actual, expected)| has(actual, expected))
        }
        (actual, expected) => actual == expected,
    }
}

/// Runs all steps in one shell; what each has answered is in a file of its own.
fn walk(steps: &[Step], server: &Server, out: &Path) {
    let mut script = String::from("set -euo pipefail\n");
    for (number, step) in steps.iter().enumerate() {
        let file = out.join(number.to_string());
        writeln!(
            script,
            "echo 'line {}' >&2\n{{\n{}\n}} > '{}'",
            step.line,
            step.script,
            file.display()
        )
        .unwrap();
    }
    let walked = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .env("SHOP", format!("http://{}", server.address))
        .env("DATA", &server.data)
        .env("ADMIN_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&walked.stderr);
    assert!(
        walked.status.success(),
        "the walk ended after {said}\nthe last answer: {}",
        last_answer(steps.len(), out)
    );
}

fn last_answer(steps: usize, out: &Path) -> String {
    (0..steps)
        .rev()
        .find_map(|number| fs::read_to_string(out.join(number.to_string())).ok())
        .unwrap_or_default()
}

fn missing_tool() -> Option<&'static str> {
    ["bash", "curl", "jq"].into_iter().find(|tool| {
        let tried = Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !tried.is_ok_and(|status| status.success())
    })
}

#[test]
fn the_walk_through_the_shop_goes_as_it_is_written() {
    if let Some(tool) = missing_tool() {
        assert!(
            std::env::var_os("CI").is_none(),
            "`{tool}` is missing; .ci/run installs it"
        );
        eprintln!("SKIPPED: the walk needs `{tool}`; install it to run this test");
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tour.md");
    let steps = steps(&fs::read_to_string(path).unwrap());
    assert!(steps.len() > 10, "only {} steps found", steps.len());
    let data = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let password = [("COMMERCE_ADMIN_PASSWORD", PASSWORD)];
    let server = Server::with(&data.path().join("data"), &[], &password);
    walk(&steps, &server, out.path());
    for (number, step) in steps.iter().enumerate() {
        let answered = fs::read_to_string(out.path().join(number.to_string())).unwrap();
        let Some(expected) = &step.answers else {
            continue;
        };
        let documents = serde_json::Deserializer::from_str(&answered).into_iter::<Value>();
        let last = documents.last();
        let Some(Ok(actual)) = last else {
            panic!("line {}: no JSON but `{answered}`", step.line);
        };
        assert!(
            has(&actual, expected),
            "line {}: {expected} is not in {actual:#}",
            step.line
        );
    }
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn a_wrong_answer_in_the_tour_is_noticed() {
    let actual = serde_json::json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2] });
    for (expected, fits) in [
        (serde_json::json!({ "a": { "b": 1 } }), true),
        (serde_json::json!({ "a": { "b": 2 } }), false),
        (serde_json::json!({ "e": null }), false),
        (serde_json::json!({ "d": [1] }), false),
    ] {
        assert_eq!(has(&actual, &expected), fits, "{expected}");
    }
}
