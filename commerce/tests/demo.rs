//! `serve --demo` and `demo-report`, with the real program: everything of the mix happens, money
//! and stock add up, and the report says so, from the server and from the data directory.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use commerce::demo::mix::{FATES, STORIES};
use common::{Client, Ended, Server, commerce, ended};
use serde_json::Value;

const GIVE_UP: Duration = Duration::from_secs(120);

/// The provider as it is, only faster.
const FAST: [(&str, &str); 3] = [
    ("COMMERCE_PROVIDER_SLOW_MS", "200"),
    ("COMMERCE_PROVIDER_NO_ANSWER_MS", "50"),
    ("COMMERCE_DEMO_SEED", "7"),
];

#[track_caller]
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + GIVE_UP;
    while !so() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn report(data: &Path, args: &[&str]) -> Ended {
    let data = data.display().to_string();
    let mut all = vec!["demo-report", "--data", &data];
    all.extend(args);
    ended(commerce(&all))
}

#[track_caller]
fn report_json(data: &Path, url: &str) -> Value {
    let ended = report(data, &["--url", url, "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Whether nothing moves any more by itself.
fn is_quiet(client: &mut Client) -> bool {
    let system = client.get("/admin/system").expect(200);
    let streams = system["streams"].as_array().unwrap();
    let services = system["services"].as_array().unwrap();
    let zero = |of: &Value, name: &str| of[name] == 0;
    streams
        .iter()
        .all(|stream| zero(stream, "waiting") && zero(stream, "parked"))
        && services
            .iter()
            .all(|service| zero(service, "activities") && zero(service, "messages_waiting"))
}

#[test]
fn everything_of_the_mix_happens_and_the_report_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--demo",
        "--demo-rate",
        "600",
        "--log",
        "warn,commerce::demo=debug",
    ];
    let server = Server::with(dir.path(), &args, &FAST);
    for (_, story) in STORIES {
        let told = format!("demo story told story={story:?}\n");
        until(&told, || server.has_said(&told));
    }
    for act in FATES.iter().flat_map(|(_, acts)| acts.iter()) {
        let handled = format!("demo parcel handled act={act:?} ");
        until(&handled, || server.has_said(&handled));
    }
    let filled = "demo shelf filled";
    until(filled, || server.has_said(filled));
    // While it runs, too.
    let url = format!("http://{}", server.address);
    let live = report_json(dir.path(), &url);
    assert!(live["orders"]["delivered"].as_u64().unwrap() > 0, "{live}");
    let began = Instant::now();
    let stopped = server.terminate();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "the demo holds the drain up"
    );
    assert!(!stopped.stderr.contains("panicked"), "{}", stopped.stderr);
    for personal in ["demo-1@example.com", "Harbour Street", "tok_ok"] {
        assert!(!stopped.stderr.contains(personal), "{personal}");
    }

    // Without the demo it comes to rest.
    let server = Server::with(dir.path(), &[], &FAST);
    let mut client = server.client();
    until("quiet", || is_quiet(&mut client));
    let url = format!("http://{}", server.address);
    let told = report_json(dir.path(), &url);
    adds_up(&told, &server);
    let shown = report(dir.path(), &["--url", &url]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let net = told["revenue"]["net"].as_i64().unwrap();
    let net = format!("{}.{:02}", net / 100, net % 100);
    for text in [
        "ledger agree",
        &net,
        "DEMO-LIMITED",
        "order-confirmed",
        "purchased",
        "delivered",
    ] {
        assert!(shown.stdout.contains(text), "{text}: {}", shown.stdout);
    }

    // Its data directory is in use, and then it is not.
    let nowhere = "http://127.0.0.1:1";
    let refused = report(dir.path(), &["--url", nowhere]);
    assert_eq!(refused.code, Some(75), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    assert_eq!(server.terminate().code, Some(0));
    let opened = report_json(dir.path(), nowhere);
    for part in [
        "orders",
        "revenue",
        "payments",
        "shipments",
        "stock",
        "funnel",
    ] {
        assert_eq!(opened[part], told[part], "{part}");
    }
}

fn adds_up(told: &Value, server: &Server) {
    let revenue = &told["revenue"];
    assert_eq!(revenue["agrees"], true, "{revenue}");
    for (operation, name) in [("capture", "captured"), ("refund", "refunded")] {
        let ledger = server.ledger();
        let done = ledger.iter().filter(|line| line["operation"] == operation);
        let done = done.filter(|line| line["outcome"] == "ok");
        let sum: i64 = done.map(|line| line["amount"].as_i64().unwrap()).sum();
        assert!(sum > 0, "{operation}");
        assert_eq!(revenue[name], sum, "{operation}");
        let payments = told["payments"].as_object().unwrap().values();
        let paid: i64 = payments.map(|paid| paid[name].as_i64().unwrap()).sum();
        assert_eq!(paid, sum, "{operation}");
    }
    for stock in told["stock"].as_array().unwrap() {
        let number = |name: &str| stock[name].as_i64().unwrap();
        assert_eq!(number("on_hand"), number("moved"), "{stock}");
        assert_eq!(
            number("on_hand"),
            number("reserved") + number("available"),
            "{stock}"
        );
        assert!(
            number("reserved") >= 0 && number("available") >= 0,
            "{stock}"
        );
    }
    for status in ["delivered", "cancelled", "returned"] {
        assert!(
            told["orders"][status].as_u64().unwrap() > 0,
            "{status}: {}",
            told["orders"]
        );
    }
    for stream in told["streams"].as_array().unwrap() {
        assert_eq!(stream["dead"], 0, "{stream}");
    }
    for status in [
        "captured",
        "partially_refunded",
        "refunded",
        "voided",
        "failed",
    ] {
        assert!(
            !told["payments"][status].is_null(),
            "{status}: {}",
            told["payments"]
        );
    }
    assert_eq!(told["services"].as_array().unwrap().len(), 8);
}

#[test]
fn a_report_of_nothing_says_so_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = report(&data, &["--url", "http://127.0.0.1:1"]);
    assert_eq!(refused.code, Some(69), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    assert!(!data.exists());
    for args in [&["--url", "nowhere"][..], &["--nope"]] {
        assert_eq!(report(&data, args).code, Some(2), "{args:?}");
    }
}

#[test]
fn a_report_needs_the_password_of_the_administrator() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let url = format!("http://{}", server.address);
    let wrong = report(dir.path(), &["--url", &url, "--password", "another"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(!wrong.stderr.contains("another"), "{wrong:?}");
    let mut without = commerce(&["demo-report", "--url", &url]);
    without.env_remove("COMMERCE_ADMIN_PASSWORD");
    let without = ended(without);
    assert_eq!(without.code, Some(78), "{without:?}");
    assert!(
        without.stderr.contains("COMMERCE_ADMIN_PASSWORD"),
        "{without:?}"
    );
}
