//! What is logged stands in the table of `src/telemetry.rs`, and the other way round.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Level and message of every call of a tracing macro below `dir`.
fn logged(dir: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            logged(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            calls(&fs::read_to_string(&path).unwrap(), found);
        }
    }
}

fn calls(text: &str, found: &mut BTreeSet<(String, String)>) {
    for level in ["info", "warn", "error", "debug", "trace"] {
        for call in text.split(&format!("tracing::{level}!(")).skip(1) {
            let end = call.find(");").unwrap_or(call.len());
            // The message is the last string of the call.
            if let Some(message) = call[..end].rsplit('"').nth(1) {
                found.insert((level.to_owned(), message.to_owned()));
            }
        }
    }
}

fn table(text: &str) -> BTreeSet<(String, String)> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | "));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        let (level, message) = (cells.next()?, cells.next()?);
        let message = message.strip_prefix('`')?.strip_suffix('`')?;
        Some((level.to_owned(), message.to_owned()))
    })
    .collect()
}

#[test]
fn every_log_message_stands_in_the_table_and_every_row_is_logged() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    logged(&src, &mut found);
    let table = table(&fs::read_to_string(src.join("telemetry.rs")).unwrap());
    assert!(found.len() > 20, "{found:?}");
    assert_eq!(found, table);
}

#[test]
fn a_message_is_found_whatever_its_fields() {
    let mut found = BTreeSet::new();
    calls(
        "x; tracing::warn!(a = \"b\", %c, \"what happened\"); y",
        &mut found,
    );
    assert_eq!(
        found,
        BTreeSet::from([("warn".to_owned(), "what happened".to_owned())])
    );
}
