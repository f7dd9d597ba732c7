//! The examples run as pasted, and say what they promise.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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

#[test]
fn a_reminder_goes_off_once_though_the_process_was_killed_before() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let mut child = Command::new(example("reminders"))
        .args([dir, "tea", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "reminder 1 in 1 s");
    child.kill().unwrap();
    child.wait().unwrap();
    // It may have gone off between the line and the kill; then it does not again.
    let before: Vec<String> = lines.map(Result::unwrap).collect();
    let after = run("reminders", &[dir]);
    let both = format!("{}{after}", before.concat());
    assert_eq!(both.matches("reminder 1: tea").count(), 1, "{both}");
    assert_eq!(run("reminders", &[dir]), "");
}

#[test]
fn activities_pay_each_transfer_once_though_answers_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let output = run("activities", &[dir.path().to_str().unwrap()]);
    assert!(output.contains("paid 123 cents, each once"), "{output}");
    assert!(output.contains("asked the bank"), "{output}");
}

#[test]
fn http_host_serves_its_own_routes_and_the_facade() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(example("http_host"))
        .args([dir.path().to_str().unwrap(), "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    let address = said.strip_prefix("listening on http://").unwrap();
    let own = ask(address, "GET / HTTP/1.1", "");
    assert!(own.ends_with("an application of its own\n"), "{own}");
    let first = ask(address, "POST /visits/ada HTTP/1.1", "");
    assert!(first.ends_with("visit 1\n"), "{first}");
    let request = "POST /services/guests/visit HTTP/1.1\r\ncontent-type: application/json\r\n\
                   idempotency-key: once";
    for _ in 0..2 {
        let facade = ask(address, request, r#"{"name":"ada"}"#);
        assert!(facade.starts_with("HTTP/1.1 200"), "{facade}");
        assert!(facade.ends_with("\r\n2"), "{facade}");
    }
    let ready = ask(address, "GET /readyz HTTP/1.1", "");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    for path in ["/ui/", "/ui/main.js", "/admin/system"] {
        let shown = ask(address, &format!("GET {path} HTTP/1.1"), "");
        assert!(shown.starts_with("HTTP/1.1 200"), "{shown}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// One request on a connection of its own, and everything that came back.
fn ask(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
