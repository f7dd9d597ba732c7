//! The program `redeliver`: what it says, its exit codes, and that looking changes nothing.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Copies, Note, Notes, small};
use redeliver::System;
use redeliver::prelude::*;

fn redeliver(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redeliver"));
    command.args(arguments).current_dir(dir).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn shown(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything below a directory but the lock file.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name() != Some("LOCK".as_ref()) {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

async fn start(dir: &Path) -> System {
    let builder = System::open(dir.join("data")).config(small());
    let builder = builder.service(Notes).service(Copies::default());
    builder.start().await.unwrap()
}

async fn note(system: &System, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let key = "k".to_owned();
        system
            .service::<Notes>()
            .call(Note { key, n })
            .await
            .unwrap();
    }
}

async fn stop(system: System) {
    system.shutdown(seconds(10)).await.unwrap();
}

#[tokio::test]
async fn a_healthy_directory_is_verified_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    note(&system, 1..21).await;
    stop(system).await;
    fs::write(dir.path().join("data/keyring"), "the host's").unwrap();
    let before = contents(dir.path());
    let output = redeliver(&["verify", "data"], dir.path());
    assert_eq!((code(&output), said(&output).as_str()), (0, ""));
    let text = shown(&output);
    for line in [
        "data directory data: ok",
        "cell main",
        "ended in good order",
        "keyring",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let output = redeliver(&["verify", "data", "--json"], dir.path());
    let report = json(&output);
    assert_eq!(report["ok"], true);
    assert_eq!(report["kind"], "data_directory");
    assert_eq!(report["cells"][0]["rebuild"]["possible"], true);
    assert_eq!(report["others"], serde_json::json!(["keyring"]));
    assert!(contents(dir.path()) == before);
    // The materialised state alone is no loss.
    fs::remove_dir_all(dir.path().join("data/cells/main/sled")).unwrap();
    let output = redeliver(&["verify", "data"], dir.path());
    assert_eq!(code(&output), 0);
    assert!(shown(&output).contains("the next start makes it from"));
}

#[tokio::test]
async fn damage_is_told_in_one_sentence_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    note(&system, 1..21).await;
    stop(system).await;
    let journal = dir.path().join("data/cells/main/journal");
    let segment = fs::read_dir(journal).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(segment.path()).unwrap();
    bytes[4096 + 50] ^= 4;
    fs::write(segment.path(), &bytes).unwrap();
    let before = contents(dir.path());
    for arguments in [&["verify", "data"][..], &["verify", "data", "--json"]] {
        let output = redeliver(arguments, dir.path());
        assert_eq!(code(&output), 74);
        let sentence = said(&output);
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
        for part in [".seg", "damaged", "restore the newest backup"] {
            assert!(sentence.contains(part), "{part} in {sentence}");
        }
    }
    assert!(contents(dir.path()) == before);
}

#[tokio::test]
async fn whoever_has_the_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    let pid = format!("pid {}", std::process::id());
    for arguments in [&["verify", "data"][..], &["backup", "data", "b"]] {
        let output = redeliver(arguments, dir.path());
        assert_eq!(code(&output), 75, "{}", said(&output));
        assert!(said(&output).contains(&pid), "{}", said(&output));
    }
    stop(system).await;
    assert!(!dir.path().join("b").exists());
}

#[test]
fn where_there_is_nothing_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    for (arguments, expected) in [
        (&["verify", "data"][..], 69),
        (&["verify", "empty"], 69),
        (&["backup", "data", "b"], 69),
        (&["backup", "empty", "b"], 69),
        (&["restore", "b", "data"], 69),
        (&["verify"], 2),
        (&["verify", "data", "--fast"], 2),
        (&[], 2),
    ] {
        let output = redeliver(arguments, dir.path());
        assert_eq!(code(&output), expected, "{arguments:?}: {}", said(&output));
    }
    assert!(contents(dir.path()).is_empty());
    assert!(!dir.path().join("data").exists());
}

#[tokio::test]
async fn a_backup_at_rest_is_restored_under_another_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    note(&system, 1..21).await;
    stop(system).await;
    let output = redeliver(&["backup", "data", "b", "--json"], dir.path());
    assert_eq!(code(&output), 0, "{}", said(&output));
    let taken = json(&output);
    let left = redeliver(&["verify", "data"], dir.path());
    assert!(
        shown(&left).contains("ended in good order"),
        "{}",
        shown(&left)
    );
    let output = redeliver(&["verify", "b"], dir.path());
    assert_eq!(code(&output), 0);
    assert!(
        shown(&output).contains("backup b: ok"),
        "{}",
        shown(&output)
    );

    // Neither over what is there, nor into it.
    let output = redeliver(&["backup", "data", "b"], dir.path());
    assert_eq!(code(&output), 1);
    assert!(
        said(&output).contains("exists already"),
        "{}",
        said(&output)
    );
    let output = redeliver(&["restore", "b", "data"], dir.path());
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("is not empty"), "{}", said(&output));

    fs::remove_dir_all(dir.path().join("data")).unwrap();
    let output = redeliver(&["restore", "b", "data"], dir.path());
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert!(
        shown(&output).contains("notes  20 rows"),
        "{}",
        shown(&output)
    );
    let report = json(&redeliver(&["verify", "data", "--json"], dir.path()));
    let cell = &report["cells"][0];
    assert_eq!(report["ok"], true);
    assert_eq!(cell["restored"]["predecessor"], taken["incarnation"]);
    assert_eq!(cell["restored"]["position"], taken["position"]);
    assert_ne!(cell["incarnation"], taken["incarnation"]);

    let system = start(dir.path()).await;
    note(&system, 21..26).await;
    let keys = common::NotesOf {
        key: "k".to_owned(),
    };
    let notes = system.service::<Notes>().query(keys).await.unwrap();
    assert_eq!(notes, (1..26).collect::<Vec<_>>());
    stop(system).await;

    // What a backup that died half way leaves is not restored.
    let whole = fs::read(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("half"), &whole[..whole.len() / 2]).unwrap();
    for arguments in [&["restore", "half", "other"][..], &["verify", "half"]] {
        let output = redeliver(arguments, dir.path());
        assert_eq!(code(&output), 74);
        assert!(
            said(&output).contains("not a whole backup"),
            "{}",
            said(&output)
        );
    }
    assert!(!dir.path().join("other").exists());
}
