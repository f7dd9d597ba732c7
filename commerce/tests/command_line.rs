//! The command line: what it prints where, and how the process ends.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Write;

use common::{Client, Server, commerce, ended, run};
use serde_json::Value;

#[test]
fn standard_output_carries_the_ready_line_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--log", "debug"], &[]);
    assert!(server.address.starts_with("127.0.0.1:"));
    server.client().get("/livez").expect(200);
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.is_empty());
}

#[test]
fn a_second_start_says_what_was_recovered_and_how_fast() {
    let dir = tempfile::tempdir().unwrap();
    let first = Server::start(dir.path());
    first.kill();
    let second = Server::start(dir.path());
    let recovered = second.client().get("/admin/system").expect(200)["recovered"].clone();
    assert!(recovered["commits"].as_u64().unwrap() > 0, "{recovered}");
    assert!(recovered["ms"].is_u64());
    let said = second.terminate().stderr;
    let commits = format!("recovered {} commits from", recovered["commits"]);
    assert!(said.contains(&commits), "{said}");
    assert!(said.contains("after an unclean end"), "{said}");
}

#[test]
fn both_signals_drain_and_end_in_success() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path());
        server.signal(signal);
        let ended = server.wait();
        assert_eq!(ended.code, Some(0), "{signal}: {ended:?}");
    }
}

#[test]
fn a_data_directory_is_opened_by_one_process_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let refused = Server::try_start(dir.path(), &[], &[]).err().unwrap();
    assert_eq!(refused.code, Some(75), "{refused:?}");
    assert!(
        refused.stderr.contains(&server.pid().to_string()),
        "{refused:?}"
    );
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    server.client().get("/readyz").expect(200);
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn an_address_in_use_is_named_and_nothing_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let data = dir.path().join("data");
    let args = ["--listen", &address.to_string()];
    let refused = Server::try_start(&data, &args, &[]).err().unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains(&address.port().to_string()),
        "{refused:?}"
    );
    assert!(!data.exists());
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("commerce.toml");
    fs::write(&file, "lsten = '127.0.0.1:0'").unwrap();
    let data = dir.path().join("data").display().to_string();
    let file = file.display().to_string();
    for file in [file.as_str(), "/nonexistent/commerce.toml"] {
        let refused = run(&["--data", &data, "--config", file]);
        assert_eq!(refused.code, Some(78), "{file}: {refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{file}: {refused:?}");
        assert_eq!(refused.stdout, "");
    }
    for (name, value) in [
        ("COMMERCE_HTTP_DRAIN_S", "soon"),
        ("COMMERCE_LISTEN", "nowhere"),
        ("COMMERCE_LOG", "a=b=c"),
        ("COMMERCE_DATA", ""),
        ("COMMERCE_DEMO_ORDERS_PER_MINUTE", "0"),
    ] {
        let mut command = commerce(&[]);
        command.current_dir(dir.path()).env("COMMERCE_DATA", &data);
        command.env(name, value);
        let refused = ended(command);
        assert_eq!(refused.code, Some(78), "{name}={value}: {refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{name}: {refused:?}");
    }
    assert!(!std::path::Path::new(&data).exists());
}

#[test]
fn arguments_that_do_not_exist_are_a_usage_error() {
    for args in [
        &["--nope"][..],
        &["sell"],
        &["topology", "--xml"],
        &["--data"],
    ] {
        assert_eq!(run(args).code, Some(2), "{args:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for name in ["--data", "--listen", "--no-seed", "topology", "bench"] {
        assert!(help.stdout.contains(name), "{name}");
    }
}

#[test]
fn a_bad_value_of_an_argument_is_a_usage_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["--listen", "0.0.0.0"][..],
        &["--listen", "nowhere"],
        &["--listen", ""],
        &["--log", "a=b=c"],
        &["--data", ""],
        &["--demo-rate", "0"],
        &["--demo-rate", "1201"],
        &["--demo-rate", "many"],
        &["serve", "--listen", "nowhere"],
        &["demo-report", "--data", ""],
        &["demo-report", "--url", "nowhere"],
        &["bench", "--seconds", "0"],
    ] {
        let mut command = commerce(args);
        command.current_dir(dir.path());
        let refused = ended(command);
        assert_eq!(refused.code, Some(2), "{args:?}: {refused:?}");
        let named = args.iter().find(|arg| arg.starts_with("--")).unwrap();
        assert!(refused.stderr.contains(named), "{args:?}: {refused:?}");
        assert_eq!(refused.stdout, "");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn damaged_data_is_refused_with_one_sentence_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    Server::start(dir.path()).kill();
    let format = dir.path().join("FORMAT");
    let intact = fs::read(&format).unwrap();
    fs::write(&format, vec![0xff; intact.len()]).unwrap();
    let refused = Server::try_start(dir.path(), &[], &[]).err().unwrap();
    assert_eq!(refused.code, Some(74), "{refused:?}");
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    fs::write(&format, intact).unwrap();
    Server::start(dir.path());
}

#[test]
fn the_environment_configures_what_flags_do() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [
        ("COMMERCE_NO_SEED", "true"),
        ("COMMERCE_HTTP_BODY_BYTES_MAX", "64"),
    ];
    let server = Server::with(dir.path(), &[], &variables);
    let mut client = server.client();
    let products = client.get("/api/v1/inventory/products").expect(200);
    assert_eq!(products["items"].as_array().unwrap().len(), 0);
    let long = vec![b' '; 65];
    let json = [("content-type", "application/json")];
    let answer = client.request("POST", "/api/v1/orders", &json, Some(&long));
    answer.problem(413, "body-too-large");
}

#[test]
fn the_topology_is_told_without_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = commerce(&["topology", "--json"]);
    command.current_dir(dir.path());
    let told = ended(command);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let topology: Value = serde_json::from_str(&told.stdout).unwrap();
    let services = topology["services"].as_array().unwrap();
    let names: Vec<&str> = services
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    for name in [
        "identity",
        "catalog",
        "order",
        "payment",
        "inventory",
        "shipping",
    ] {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    for service in services {
        let keys: Vec<&String> = service.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["handles", "name", "publishes", "tables"]);
        for handled in service["handles"].as_array().unwrap() {
            assert!(handled["message"].is_string() && handled["version"].is_u64());
            assert!(!handled["from"].as_array().unwrap().is_empty(), "{handled}");
        }
        for published in service["publishes"].as_array().unwrap() {
            assert!(published["message"].is_string() && published["version"].is_u64());
        }
    }
}

/// A shop of yen was started again for euros: it said nothing, sold nothing, and its figures ended
/// as dead letters.
#[test]
fn a_shop_is_not_opened_in_another_currency_than_its_prices_are_in() {
    let dir = tempfile::tempdir().unwrap();
    let (data, note) = (dir.path().join("data"), dir.path().join("data/currency"));
    let (yen, euros) = (("COMMERCE_CURRENCY", "JPY"), ("COMMERCE_CURRENCY", "EUR"));
    let refused = || {
        let refused = Server::try_start(&data, &[], &[euros]).err().unwrap();
        assert_eq!(refused.code, Some(78), "{refused:?}");
        let said = &refused.stderr;
        assert!(said.contains("is in JPY") && said.contains("configured for EUR"));
        assert!(said.contains("configure JPY"), "{said}");
    };
    Server::with(&data, &[], &[yen]).terminate();
    let commits = |server: Server| {
        let system = server.client().get("/admin/system").expect(200);
        server.terminate();
        system["recovered"]["commits"].as_u64().unwrap()
    };
    let before = commits(Server::with(&data, &[], &[yen]));
    refused();
    let after = commits(Server::with(&data, &[], &[yen]));
    // Only a sign-in lies between, with what follows from it.
    assert!(after - before < 20, "{before} commits, then {after}");
    // As a version left it that kept no note: its prices tell.
    std::fs::remove_file(&note).unwrap();
    refused();
    assert!(!note.exists());
    Server::with(&data, &[], &[yen]).terminate();
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "JPY\n");
    refused();
    // Without prices, it may be any.
    let empty = dir.path().join("empty");
    Server::with(&empty, &["--no-seed"], &[yen]).terminate();
    std::fs::remove_file(empty.join("currency")).unwrap();
    Server::with(&empty, &["--no-seed"], &[euros]).terminate();
}

#[test]
fn a_seed_that_was_interrupted_is_completed_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    // As a start leaves it that died before its first product.
    Server::with(dir.path(), &["--no-seed"], &[]).kill();
    fs::write(dir.path().join("seed.pending"), "").unwrap();
    let server = Server::start(dir.path());
    assert_seeded(&mut server.client());
    server.kill();
    // Complete: it stays as people have changed it since.
    let server = Server::start(dir.path());
    assert!(!dir.path().join("seed.pending").exists());
    assert_seeded(&mut server.client());
}

#[test]
fn a_first_start_that_is_killed_anywhere_ends_in_one_whole_seed() {
    let dir = tempfile::tempdir().unwrap();
    for millis in [0, 20, 60, 120, 200, 280] {
        let starting = Server::spawn(dir.path(), &[], &[]);
        // Not a wait for a condition: the moment of death is the variable here.
        std::thread::sleep(std::time::Duration::from_millis(millis));
        starting.kill();
    }
    let server = Server::start(dir.path());
    assert_seeded(&mut server.client());
}

#[track_caller]
fn assert_seeded(client: &mut Client) {
    let list = client.get("/api/v1/inventory/products").expect(200);
    let items = list["items"].as_array().unwrap();
    assert!(items.len() >= 12);
    assert_eq!(items.len(), commerce::seed::PRODUCTS.len());
    for item in items {
        assert_eq!(item["on_hand"], commerce::seed::UNITS, "{item}");
        assert_eq!(item["available"], commerce::seed::UNITS, "{item}");
    }
}

#[test]
fn who_waits_for_an_order_is_answered_before_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (mut waiting, mut looking) = (server.client(), server.client());
    let waits = std::thread::spawn(move || {
        let order = common::order_of(&common::product(0), 1, "tok_slow");
        waiting.post_with("/api/v1/orders", &[("prefer", "wait=30")], &order)
    });
    let none = serde_json::json!([]);
    while looking.get("/api/v1/orders").expect(200)["items"] == none {}
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let answer = waits.join().unwrap();
    let placed = answer.expect(202)["id"].as_str().unwrap().to_owned();
    let server = Server::start(dir.path());
    let path = format!("/api/v1/orders/{placed}");
    server.client().get(&path).expect(200);
}

#[test]
fn a_second_signal_ends_a_stop_that_takes_long() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // A request whose body does not come holds the drain up.
    let mut slow = std::net::TcpStream::connect(&server.address).unwrap();
    let head = "POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    // Its connection is served once another one, opened later, is answered.
    server.client().get("/livez").expect(200);
    server.signal("TERM");
    while !server.has_said("stopping") {
        std::thread::yield_now();
    }
    server.signal("TERM");
    let ended = server.wait();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    Server::start(dir.path());
}
