//! The dashboard of the shop, as a browser would load it from the real program.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use common::{Answer, Client, Server};

fn server() -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--no-seed"], &[]);
    (server, dir)
}

/// What a file says it loads.
fn loads(text: &str) -> Vec<String> {
    [" src=\"", " href=\"", " from \"", "import \""]
        .iter()
        .flat_map(|mark| text.split(mark).skip(1))
        .filter_map(|rest| rest.split('"').next())
        // The empty icon, which spares a request.
        .filter(|name| *name != "data:,")
        .map(|name| name.strip_prefix("./").unwrap_or(name).to_owned())
        .collect()
}

/// The page and everything that it loads.
fn walked(client: &mut Client) -> BTreeMap<String, Answer> {
    let mut found = BTreeMap::new();
    let mut wanted = vec![String::new()];
    while let Some(name) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        assert!(!name.contains('/'), "{name} is not beside the page");
        let answer = client.get(&format!("/ui/{name}"));
        assert_eq!(answer.status, 200, "{name}");
        let text = String::from_utf8(answer.body.clone()).unwrap();
        wanted.extend(loads(&text));
        found.insert(name, answer);
    }
    found
}

#[test]
fn everybody_gets_the_page_and_all_it_loads_and_no_browser_asks_another_host() {
    let (server, _dir) = server();
    let files = walked(&mut server.stranger());
    for name in ["", "main.js", "session.js", "shop.js", "system.js"] {
        assert!(files.contains_key(name), "{name} is not loaded");
    }
    for (name, answer) in &files {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        let wanted = match ending {
            None => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some(other) => panic!("nobody has said what {other} is"),
        };
        assert_eq!(answer.header("content-type"), Some(wanted), "{name}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{name}");
        assert!(answer.header("etag").is_some(), "{name}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
        assert!(policy.contains("connect-src 'self'") && !policy.contains("unsafe"));
        let text = String::from_utf8_lossy(&answer.body);
        for forbidden in [
            "://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "localStorage",
            "access_token=",
            "token=",
        ] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}");
        }
    }
}

#[test]
fn the_page_is_told_of_revalidated_and_missed_like_any_other() {
    let (server, _dir) = server();
    let mut client = server.stranger();
    let slash = client.get("/ui");
    assert_eq!(
        (slash.status, slash.header("location")),
        (308, Some("/ui/"))
    );
    let page = client.get("/ui/");
    let tag = page.header("etag").unwrap();
    let known = client.request("GET", "/ui/", &[("if-none-match", tag)], None);
    assert_eq!((known.status, known.body.len()), (304, 0));
    let head = client.request("HEAD", "/ui/", &[], None);
    assert_eq!((head.status, head.header("etag")), (200, Some(tag)));
    client.get("/ui/gone.js").problem(404, "not-found");
    let refused = client.request("DELETE", "/ui/main.js", &[], None);
    refused.problem(405, "method-not-allowed");
    // Who shows credentials that are no good any more gets it too: to sign in anew.
    let stale = client.get_with_token("/ui/", "stale");
    assert_eq!(stale.status, 200);
}

/// A panel that asks a route that is not there would be empty for ever.
#[test]
fn every_route_that_the_page_asks_is_in_the_document() {
    let (server, _dir) = server();
    let document = server.stranger().get("/openapi.json").expect(200);
    let mut asked = 0;
    for (name, answer) in walked(&mut server.stranger()) {
        let text = String::from_utf8(answer.body).unwrap();
        for quote in ['"', '`'] {
            for literal in text.split(quote).filter(|text| {
                let begins = |with: &str| text.starts_with(with);
                begins("/api/") || begins("/admin/") || begins("/readyz")
            }) {
                let path = literal.split('?').next().unwrap();
                // What signs in puts the last part to it.
                let there = document["paths"].as_object().unwrap().keys();
                let there = there.into_iter().any(|known| {
                    known == path || (path.ends_with("/auth/") && known.starts_with(path))
                });
                assert!(there, "{name} asks {path}");
                asked += 1;
            }
        }
    }
    assert!(asked >= 7, "found only {asked}");
}

#[test]
fn people_are_told_where_the_page_is() {
    let (server, _dir) = server();
    let place = format!("dashboard http://{}/ui/", server.address);
    assert!(server.terminate().stderr.contains(&place));
}

/// Method: the files as they are served, laid beside the tests, and all given to `node`.
#[test]
fn the_modules_parse_and_their_own_tests_pass() {
    let (server, _dir) = server();
    let dir = tempfile::tempdir().unwrap();
    for (name, answer) in walked(&mut server.stranger()) {
        if name.ends_with(".js") {
            fs::write(dir.path().join(name), answer.body).unwrap();
        }
    }
    if !has_node() {
        // Past the capture of tests that pass.
        let said = b"SKIPPED: the dashboard's modules need `node` 20; install it to test them\n";
        std::io::stderr().write_all(said).unwrap();
        return;
    }
    fs::write(dir.path().join("package.json"), r#"{"type":"module"}"#).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "js") {
            node(dir.path(), &["--check", path.to_str().unwrap()]);
        }
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard");
    let mut names = Vec::new();
    for entry in fs::read_dir(tests).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(&path, dir.path().join(&name)).unwrap();
        names.push(name);
    }
    assert!(!names.is_empty());
    let mut arguments = vec!["--test"];
    arguments.extend(names.iter().map(String::as_str));
    let said = node(dir.path(), &arguments);
    assert!(said.contains("fail 0"), "{said}");
}

fn has_node() -> bool {
    let told = Command::new("node").arg("--version").output();
    let version = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
    let version = version.unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next();
    major.is_some_and(|major| major.parse().is_ok_and(|major: u32| major >= 20))
}

/// What it said, if it succeeded.
#[track_caller]
fn node(dir: &Path, arguments: &[&str]) -> String {
    let ran = Command::new("node")
        .args(arguments)
        .current_dir(dir)
        .output();
    let ran = ran.unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ran.status.success(), "node {arguments:?}: {said}");
    said
}
