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

#[test]
fn a_promise_without_its_test_is_found() {
    let table = "| x | `tests/gone.rs::a_thing_holds`, `src/lib.rs`, `turns::a_thing_that_…` |";
    let found = unkept(table, &[], |path| path == "src/lib.rs");
    assert_eq!(found.len(), 3, "{found:?}");
}
