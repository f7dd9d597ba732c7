//! The table of promises names tests that exist.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// What stands between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Every Rust source below these folders.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut found);
    }
    found
}

/// What is named without being there.
fn unkept(
    table: &str,
    sources: &[(PathBuf, String)],
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut unkept = Vec::new();
    for name in table
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(quoted)
    {
        let (path, test) = name.split_once("::").unwrap_or((name, ""));
        if path.contains('/') && !path.starts_with('/') && !path.contains(' ') && !exists(path) {
            unkept.push(format!("{name}: there is no {path}"));
        }
        let test = test.rsplit("::").next().unwrap_or(test);
        // Names of tests read as sentences; `…` stands for their end.
        if !test.contains('_') && !name.starts_with('…') {
            continue;
        }
        let begin = test.trim_end_matches('…').trim_start_matches('…');
        let wanted = format!("fn {begin}");
        if !begin.is_empty() && !sources.iter().any(|(_, text)| text.contains(&wanted)) {
            unkept.push(format!("{name}: no test begins with {begin}"));
        }
    }
    unkept
}

#[test]
fn every_test_that_the_table_of_promises_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/promises.md")).unwrap();
    let sources = sources(&["src", "tests", "commerce/src", "commerce/tests"]);
    let unkept = unkept(&table, &sources, |path| root.join(path).exists());
    assert!(unkept.is_empty(), "\n{}", unkept.join("\n"));
}

/// What the rows of campaigns in `page` say was run, where the lines in `log` do not add up to it.
/// A row says what is added up as `campaign.field since commit`.
fn miscounted(page: &str, log: &str) -> Vec<String> {
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut miscounted = Vec::new();
    for row in page
        .lines()
        .filter(|line| line.starts_with('|') && line.contains(" since "))
    {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, _, _, said, counted, ..] = cells[..] else {
            miscounted.push(format!("{row}: too few columns"));
            continue;
        };
        let words: Vec<&str> = counted.trim_matches('`').split([' ', '.']).collect();
        let [campaign, field, "since", commit] = words[..] else {
            miscounted.push(format!(
                "{row}: `{counted}` is not `campaign.field since commit`"
            ));
            continue;
        };
        let sum: u64 = lines
            .iter()
            .skip_while(|line| line["commit"] != commit)
            .filter(|line| line["campaign"] == campaign)
            .map(|line| line[field].as_u64().unwrap_or(0))
            .sum();
        let digits: String = said.chars().filter(char::is_ascii_digit).collect();
        if digits != sum.to_string() {
            miscounted.push(format!("{row}: the lines add up to {sum}"));
        }
    }
    miscounted
}

#[test]
fn the_campaigns_of_the_page_of_guarantees_add_up() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let page = fs::read_to_string(docs.join("guarantees.md")).unwrap();
    let log = fs::read_to_string(docs.join("campaigns.jsonl")).unwrap();
    let miscounted = miscounted(&page, &log);
    assert!(miscounted.is_empty(), "\n{}", miscounted.join("\n"));
}

#[test]
fn a_campaign_that_does_not_add_up_is_found() {
    let log = r#"{"commit":"a","campaign":"kill","rounds":5}
{"commit":"b","campaign":"kill","rounds":7}
{"commit":"c","campaign":"power","rounds":9}
{"commit":"c","campaign":"kill","rounds":1000}"#;
    let row = |run: &str| format!("| kill | 5,000 | {run} | `kill.rounds since b` | `x` |");
    assert_eq!(miscounted(&row("1,007"), log), [] as [String; 0]);
    assert_eq!(miscounted(&row("1,012"), log).len(), 1);
    assert_eq!(miscounted("| kill | `kill since b` |", log).len(), 1);
}

#[test]
fn a_promise_without_its_test_is_found() {
    let table = "| x | `tests/gone.rs::a_thing_holds`, `src/lib.rs`, `turns::a_thing_that_…` |";
    let found = unkept(table, &[], |path| path == "src/lib.rs");
    assert_eq!(found.len(), 3, "{found:?}");
}
