//! The dashboard: the page and all it loads, as a browser would ask for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use redeliver::http::{self, Dashboard, ServerConfig};
use warp::Filter;
use warp::http::Method;

use crate::Server;
use crate::client::{Answer, Client};

async fn served(dashboard: Dashboard) -> (Server, Client) {
    let other = warp::path!("orders")
        .and(http::method(Method::POST))
        .map(|| "ordered");
    let routes = http::dashboard("/ops/ui", dashboard).or(other);
    let server = Server::start(routes, ServerConfig::default()).await;
    let client = Client::connect(server.address).await;
    (server, client)
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// What a file says it loads, as it says it.
fn loads(text: &str) -> Vec<String> {
    let after = |mark: &str| -> Vec<String> {
        text.split(mark)
            .skip(1)
            .filter_map(|rest| rest.split('"').next().map(str::to_owned))
            .collect()
    };
    [
        " src=\"",
        " href=\"",
        " from \"",
        "import \"",
        "import(\"",
        "url(\"",
    ]
    .iter()
    .flat_map(|mark| after(mark))
    // The empty icon, which spares a request.
    .filter(|name| name != "data:,")
    .collect()
}

/// The page and everything that it loads: names and answers.
async fn walked(client: &mut Client) -> Vec<(String, Answer)> {
    let mut found: Vec<(String, Answer)> = Vec::new();
    let mut wanted = vec![String::new()];
    while let Some(name) = wanted.pop() {
        if found.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let answer = client.get(&format!("/ops/ui/{name}")).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        for loaded in loads(&text(&answer)) {
            let inner = loaded.strip_prefix("./").unwrap_or(&loaded);
            assert!(!inner.contains('/'), "{name} loads {loaded}");
            wanted.push(inner.to_owned());
        }
        found.push((name, answer));
    }
    found
}

#[tokio::test]
async fn the_page_and_all_it_loads_come_with_their_types_and_a_strict_policy() {
    let (_server, mut client) = served(Dashboard::new()).await;
    let files = walked(&mut client).await;
    for (name, answer) in &files {
        let wanted = match name.rsplit_once('.') {
            None => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, ending)) => panic!("nobody has said what {ending} is"),
        };
        let header = |name: &str| answer.headers[name].as_str();
        assert_eq!(header("content-type"), wanted, "{name}");
        assert_eq!(header("cache-control"), "no-cache", "{name}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{name}");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        for lax in ["unsafe", "http", "*"] {
            assert!(!policy.contains(lax), "{policy}");
        }
    }
    let loaded: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let there: BTreeSet<&str> = Dashboard::new()
        .names()
        .map(|name| if name == "index.html" { "" } else { name })
        .collect();
    assert_eq!(loaded, there, "every file is loaded, and no other");
}

#[tokio::test]
async fn no_file_names_another_host_or_makes_markup_of_text() {
    let (_server, mut client) = served(Dashboard::new()).await;
    for (name, answer) in walked(&mut client).await {
        let text = text(&answer);
        for forbidden in [
            "://",
            "\"//",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "style=",
            "onclick",
            "<script>",
            "localStorage",
        ] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}");
        }
    }
}

#[tokio::test]
async fn who_has_a_file_is_not_sent_it_again() {
    let (_server, mut client) = served(Dashboard::new()).await;
    let first = client.get("/ops/ui/style.css").await;
    let tag = &first.headers["etag"];
    for (known, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"other\", {tag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
    ] {
        let asks = format!("If-None-Match: {known}\r\n");
        let again = client.ask("GET", "/ops/ui/style.css", &asks, "").await;
        assert_eq!(again.status, status, "{known}");
        assert_eq!(again.body.is_empty(), status == 304, "{known}");
        assert_eq!(again.headers["etag"], *tag);
        assert_eq!(again.headers["cache-control"], "no-cache");
    }
}

#[tokio::test]
async fn a_head_tells_of_a_file_what_a_get_does() {
    let (_server, mut client) = served(Dashboard::new()).await;
    let whole = client.get("/ops/ui/").await;
    let head = client.ask("HEAD", "/ops/ui/", "", "").await;
    assert_eq!(head.status, 200);
    for name in [
        "content-type",
        "content-length",
        "etag",
        "content-security-policy",
    ] {
        assert_eq!(head.headers[name], whole.headers[name], "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_and_other_routes_are_left_alone() {
    let (_server, mut client) = served(Dashboard::new()).await;
    for path in [
        "/ops/ui/gone.js",
        "/ops/ui/a/b.js",
        "/ops/ui/../ui/page.js",
        "/ops/ui/%2e%2e/page.js",
        "/ops/uix",
        "/ui/",
    ] {
        client.get(path).await.problem(404, "not-found");
    }
    let slash = client.get("/ops/ui").await;
    assert_eq!(slash.status, 308);
    assert_eq!(slash.headers["location"], "/ops/ui/");
    let refused = client.ask("POST", "/ops/ui/", "", "{}").await;
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.headers["allow"], "GET, HEAD, OPTIONS");
    let refused = client.get("/orders").await;
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.headers["allow"], "POST, OPTIONS");
}

#[tokio::test]
async fn a_host_puts_its_own_file_in_the_place_of_the_librarys() {
    let own = Dashboard::new().file("main.js", b"import \"./shop.js\";");
    let own = own.file("shop.js", b"// ours");
    let (_server, mut client) = served(own).await;
    let main = client.get("/ops/ui/main.js").await;
    assert_eq!(main.body, b"import \"./shop.js\";");
    assert_eq!(client.get("/ops/ui/shop.js").await.body, b"// ours");
    assert_eq!(client.get("/ops/ui/page.js").await.status, 200);
}

/// Method: the files as they are served, laid beside the tests, and all given to `node`.
#[tokio::test]
async fn the_modules_parse_and_their_own_tests_pass() {
    let (_server, mut client) = served(Dashboard::new()).await;
    let dir = tempfile::tempdir().unwrap();
    for (name, answer) in walked(&mut client).await {
        if name.ends_with(".js") {
            fs::write(dir.path().join(name), answer.body).unwrap();
        }
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dashboard");
    node(dir.path(), &tests);
}

fn node(dir: &Path, tests: &Path) {
    let version = Command::new("node").arg("--version").output();
    let version = version.map_or_else(
        |_| String::new(),
        |told| String::from_utf8_lossy(&told.stdout).into_owned(),
    );
    let major = version.trim_start_matches('v').split('.').next();
    let major = major.and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 20) {
        // Past the capture of tests that pass.
        let said = b"SKIPPED: the dashboard's modules need `node` 20; install it to test them\n";
        std::io::stderr().write_all(said).unwrap();
        return;
    }
    fs::write(dir.join("package.json"), r#"{"type":"module"}"#).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "js") {
            let checked = Command::new("node").arg("--check").arg(&path).output();
            let checked = checked.unwrap();
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{}: {said}", path.display());
        }
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(tests).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        fs::copy(&path, dir.join(&name)).unwrap();
        if name.to_string_lossy().ends_with(".test.mjs") {
            names.push(name);
        }
    }
    assert!(!names.is_empty(), "no tests in {}", tests.display());
    let ran = Command::new("node")
        .arg("--test")
        .args(&names)
        .current_dir(dir)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}");
    assert!(
        said.contains("# fail 0") || said.contains("fail 0"),
        "{said}"
    );
}
