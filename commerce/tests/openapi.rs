//! The document tells of every route there is, and of no other.
//!
//! What should be there is written out by hand in `common/routes.rs`, from the page that other
//! software relies on; what is there is asked of the real program.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::Server;
use common::document::Document;
use common::routes::Told::{self, Everybody, Only, SignedIn, Signs};
use common::routes::{ROUTES, shape, whole};
use serde_json::{Value, json};

fn document() -> (Server, Value, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--no-seed"], &[]);
    let answer = server.client().get("/openapi.json");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.expect(200);
    (server, document, dir)
}

/// Method and path of each operation.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter()
            .map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

fn who(operation: &Value) -> Told {
    let described = operation["description"].as_str().unwrap_or_default();
    let role = described
        .strip_prefix("Needs the role `")
        .and_then(|rest| rest.strip_suffix("`."));
    let role = role.map(|role| Only(role.to_owned().leak()));
    match (role, operation["security"].as_array().unwrap().as_slice()) {
        (Some(role), [_]) => role,
        (None, []) => Signs,
        (None, [one]) if *one == json!({ "bearer": [] }) => SignedIn,
        (None, [nothing]) if *nothing == json!({}) => Everybody,
        (None, [nothing, _]) if *nothing == json!({}) => Everybody,
        other => panic!("nobody knows who may ask: {other:?}"),
    }
}

#[test]
fn every_route_that_was_promised_is_there_and_lets_pass_whom_it_should() {
    let (_server, document, _dir) = document();
    let there: BTreeMap<(String, String), Told> = operations(&document)
        .map(|(method, path, operation)| ((method.to_uppercase(), shape(path)), who(operation)))
        .collect();
    let mut wrong = Vec::new();
    for (method, path, _, wanted) in ROUTES {
        match there.get(&((*method).to_owned(), shape(&whole(path)))) {
            Some(found) if *found == wanted.told => {}
            Some(found) => wrong.push(format!("{method} {path} lets {found:?} pass")),
            None => wrong.push(format!("{method} {path} is missing")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_route_that_is_there_was_promised() {
    let (_server, document, _dir) = document();
    let promised: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), shape(&whole(path))))
        .collect();
    let more: Vec<_> = operations(&document)
        .map(|(method, path, _)| (method.to_uppercase(), shape(path)))
        .filter(|route| !promised.contains(route))
        .collect();
    assert!(more.is_empty(), "{more:#?}");
}

#[test]
fn every_route_of_the_document_is_answered_by_the_server() {
    let (server, document, _dir) = document();
    let mut client = server.client();
    let id = "01900000-0000-7000-8000-00000000ffff";
    for (method, path, operation) in operations(&document) {
        let target: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { id } else { part })
            .collect();
        // A stream would not end.
        let streams = operation["responses"]["200"]["content"].get("text/event-stream");
        if streams.is_some() {
            continue;
        }
        let upper = method.to_ascii_uppercase();
        let answer = client.request(&upper, &target.join("/"), &[], Some(b""));
        assert_ne!(answer.status, 405, "{method} {path}");
        if answer.status == 404 {
            // It knows the path, but nothing of that id.
            let problem = answer.json();
            assert_ne!(problem["detail"], "there is nothing at this path", "{path}");
        }
        let options = client.request("OPTIONS", &target.join("/"), &[], None);
        let allow = options.header("allow").unwrap_or_default().to_owned();
        assert!(allow.contains(&upper), "OPTIONS {path}: `{allow}`");
    }
}

#[test]
fn the_document_is_well_formed() {
    let (_server, document, _dir) = document();
    assert_eq!(document["openapi"], "3.1.0");
    for name in ["title", "version"] {
        assert!(document["info"][name].is_string(), "{name}");
    }
    assert_references(&document, &document);
    let mut ids = BTreeSet::new();
    let tags: BTreeSet<&str> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].as_str().unwrap())
        .collect();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{what}: operationId {id} twice");
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(tags.contains(tag), "{what}: {tag}");
        assert!(
            !operation["responses"].as_object().unwrap().is_empty(),
            "{what}"
        );
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = Document::new(document.clone()).resolved(response).clone();
            assert!(response["description"].is_string(), "{what} {status}");
        }
        assert_parameters(&what, path, operation);
    }
}

fn assert_parameters(what: &str, path: &str, operation: &Value) {
    let open: BTreeSet<&str> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect();
    let mut declared = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let parameters = operation["parameters"].as_array();
    for parameter in parameters.into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let place = parameter["in"].as_str().unwrap();
        assert!(seen.insert((place, name)), "{what}: {name} twice");
        assert!(parameter["schema"].is_object(), "{what}: {name}");
        if place == "path" {
            assert_eq!(parameter["required"], true, "{what}: {name}");
            declared.insert(name);
        }
    }
    assert_eq!(declared, open, "{what}");
}

fn assert_references(document: &Value, within: &Value) {
    match within {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref") {
                let reference = reference.as_str().unwrap();
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            for value in members.values() {
                assert_references(document, value);
            }
        }
        Value::Array(items) => {
            for item in items {
                assert_references(document, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// So that what is answered can be held against the document.
#[test]
fn every_route_says_what_it_is_for_takes_and_answers() {
    let (_server, document, _dir) = document();
    let mut silent = Vec::new();
    for (method, path, operation) in operations(&document) {
        let says = !operation["summary"].as_str().unwrap().is_empty();
        let answers = operation["responses"].get("2XX").is_none();
        let body = operation.get("requestBody").is_some();
        let takes = body || !matches!(method, "put" | "patch");
        if !says || !answers || !takes {
            silent.push(format!("{method} {path}"));
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Those that a caller meets and that nothing else of the route lets them expect.
#[test]
fn refusals_that_follow_from_no_convention_are_told_too() {
    let (_server, document, _dir) = document();
    let mut untold = Vec::new();
    for (method, path, status) in [
        ("post", "/api/v1/auth/login", "403"),
        ("post", "/api/v1/auth/refresh", "403"),
        ("post", "/api/v1/users/{user_id}/password", "403"),
        ("post", "/api/v1/users/{user_id}/password", "412"),
        ("post", "/api/v1/users/{user_id}/unlock", "412"),
        ("post", "/api/v1/users/{user_id}/unlock", "413"),
        ("get", "/api/v1/notifications", "404"),
        ("get", "/api/v1/analytics/dashboard", "422"),
        (
            "get",
            "/api/v1/analytics/customers/{customer_id}/lifetime-value",
            "422",
        ),
        ("get", "/ui/{file}", "404"),
        ("post", "/admin/backup", "412"),
        ("post", "/webhooks/payments", "412"),
    ] {
        let operation = &document["paths"][path][method];
        assert!(operation.is_object(), "{method} {path}");
        if !operation["responses"][status].is_object() {
            untold.push(format!("{method} {path} {status}"));
        }
    }
    assert!(untold.is_empty(), "{untold:#?}");
}

#[test]
fn the_document_objects_to_an_answer_that_is_not_as_it_says() {
    let (_server, document, _dir) = document();
    let document = Document::new(document);
    let stock = json!({
        "product_id": "01900000-0000-7000-8000-00000000ffff", "sku": "A", "name": "A",
        "on_hand": 1, "reserved": 0, "available": 1, "reorder_level": 0,
    });
    let path = "/api/v1/inventory/products/x";
    let objections = |status: u16, content_type: &str, body: &Value| {
        let body = body.to_string();
        document.objections("GET", path, status, Some(content_type), body.as_bytes())
    };
    let good = objections(200, "application/json", &stock);
    assert!(good.is_empty(), "{good:?}");
    let changed = |name: &str, value: Value| {
        let mut stock = stock.clone();
        stock[name] = value;
        objections(200, "application/json", &stock)
    };
    assert!(!changed("on_hand", json!("1")).is_empty());
    assert!(!changed("on_hand", Value::Null).is_empty());
    assert!(!changed("product_id", json!("x")).is_empty());
    assert!(!changed("colour", json!("red")).is_empty());
    assert!(!objections(200, "application/json", &json!({})).is_empty());
    assert!(!objections(200, "text/html", &stock).is_empty());
    assert!(!objections(201, "application/json", &stock).is_empty());
    assert!(!objections(404, "application/problem+json", &json!({})).is_empty());
}

#[test]
fn people_are_shown_a_page_that_asks_no_other_host() {
    let (server, _document, _dir) = document();
    let mut client = server.client();
    let page = client.get("/docs");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(
        !policy.contains("http") && !policy.contains("unsafe-eval"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let html = String::from_utf8(page.body).unwrap();
    assert!(!html.contains("//"), "{html}");
    let from = html.find("src=\"").unwrap() + 5;
    let script = &html[from..from + html[from..].find('"').unwrap()];
    let viewer = client.get(script);
    assert_eq!(viewer.status, 200);
    assert!(
        viewer
            .header("content-type")
            .unwrap()
            .starts_with("text/javascript")
    );
    assert!(
        viewer
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
    assert_eq!(viewer.header("content-encoding"), Some("gzip"));
    assert_eq!(viewer.body[..2], [0x1f, 0x8b]);
}
