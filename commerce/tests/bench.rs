//! `commerce bench`: what it prints where, and what it leaves behind.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ended, Server, commerce, ended};
use serde_json::Value;

/// What other programs read, in every measurement.
const NAMES: [&str; 11] = [
    "ops_s",
    "p50_us",
    "p99_us",
    "p999_us",
    "ops",
    "fsyncs",
    "bytes_written",
    "rss_mib",
    "fdatasync_p50_us",
    "journal_ceiling_ops_s",
    "mpsc_ceiling_ops_s",
];

fn bench(cwd: &Path, args: &[&str]) -> Command {
    for_seconds("1", cwd, args)
}

fn for_seconds(seconds: &str, cwd: &Path, args: &[&str]) -> Command {
    let mut command = commerce(&["bench", "--seconds", seconds, "--json"]);
    command.args(args).current_dir(cwd);
    command
}

fn measured(cwd: &Path, args: &[&str]) -> Value {
    let ended: Ended = ended(bench(cwd, args));
    assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
    assert!(!ended.stderr.is_empty(), "{args:?}: no progress");
    // Refuses anything before or behind the one object.
    let object: Value = serde_json::from_str(&ended.stdout).unwrap();
    for name in NAMES {
        assert!(object[name].is_number(), "{args:?}: {name} in {object}");
    }
    assert!(object["ops"].as_u64().unwrap() > 0, "{args:?}: {object}");
    object
}

fn files(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_workload_prints_one_object_and_leaves_nothing() {
    let cwd = tempfile::tempdir().unwrap();
    for workload in ["w1", "w2", "w3"] {
        for over in ["process", "http"] {
            let args = ["--workload", workload, "--clients", "4", "--over", over];
            let object = measured(cwd.path(), &args);
            assert!(object["fsyncs"].as_u64().unwrap() > 0, "{object}");
            assert_eq!(object["http_ceiling_ops_s"].is_number(), over == "http");
            assert!(files(cwd.path()).is_empty(), "{:?}", files(cwd.path()));
        }
    }
}

#[test]
fn a_thousand_and_twenty_four_clients_are_served_in_both_ways() {
    let cwd = tempfile::tempdir().unwrap();
    for over in ["process", "http"] {
        let args = ["--workload", "w1", "--clients", "1024", "--over", over];
        measured(cwd.path(), &args);
    }
}

#[test]
fn kept_data_is_a_shop_that_opens_with_the_orders_that_were_counted() {
    let cwd = tempfile::tempdir().unwrap();
    let keep = cwd.path().join("kept");
    let at = keep.to_str().unwrap();
    let args = ["--workload", "w3", "--clients", "2", "--over", "http"];
    let object = measured(cwd.path(), &[&args[..], &["--keep", at]].concat());
    let ops = object["ops"].as_u64().unwrap();
    let ledger = fs::read_to_string(keep.join("provider").join("ledger.jsonl")).unwrap();
    assert!(ledger.lines().count() as u64 >= ops, "{ops}: {ledger}");

    let server = Server::with(&keep, &[], &[]);
    server.client().get("/livez").expect(200);
    assert_eq!(server.terminate().code, Some(0));

    let refused = ended(bench(cwd.path(), &["--workload", "w1", "--keep", at]));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(refused.stdout, "");
    assert!(refused.stderr.contains("is not empty"), "{refused:?}");
}

#[test]
fn an_interrupted_measurement_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let cwd = tempfile::tempdir().unwrap();
        let args = ["--workload", "w1", "--clients", "4"];
        let mut command = for_seconds("600", cwd.path(), &args);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_for(&mut child, || {
            files(cwd.path())
                .iter()
                .any(|dir| cwd.path().join(dir).join("data/cells").exists())
        });
        let killed = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}");
        assert!(output.stdout.is_empty(), "{signal}");
        assert!(files(cwd.path()).is_empty(), "{:?}", files(cwd.path()));
    }
}

#[test]
fn every_mark_of_growth_shows_its_figure_beside_its_comparison() {
    let cwd = tempfile::tempdir().unwrap();
    for (args, names) in [
        (
            &["rows", "--rows", "5000"][..],
            &["ratio_to_small", "memory_budget_mib"][..],
        ),
        (&["services", "--services", "5"], &["ratio_to_small"]),
        (
            &["backlog", "--messages", "3000"],
            &["ratio_to_small", "rss_piled_mib", "drained_messages_s"],
        ),
        (&["timers", "--timers", "1000"], &["ratio_to_small"]),
        (&["sagas", "--sagas", "1000"], &["ratio_to_small"]),
        (
            &["recovery", "--turns", "2000"],
            &["replayed_turns_s", "ready_ms"],
        ),
        (&["idle"], &["ready_ms", "rss_mib", "cpu_ms", "fsyncs"]),
        (&["checkpoint"], &["ratio_to_small", "p999_us"]),
    ] {
        let args = [&["--clients", "16", "--workload"], args].concat();
        let ended = ended(bench(cwd.path(), &args));
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        let object: Value = serde_json::from_str(&ended.stdout).unwrap();
        for name in names {
            assert!(object[*name].is_number(), "{args:?}: {name} in {object}");
        }
        assert!(files(cwd.path()).is_empty(), "{:?}", files(cwd.path()));
        println!("{object}");
    }
}

fn wait_for(child: &mut Child, mut what: impl FnMut() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        assert!(began.elapsed() < Duration::from_secs(60), "nothing came");
        std::thread::yield_now();
    }
}
