//! What is true of every route: refusals, request ids, lists, waiting, keys, versions, limits and
//! pages from elsewhere.
//!
//! Where it can, a test asks the document which routes there are and tries each of them, so that
//! a new route is held to the conventions without a new test.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Answer, Client, Server, order_of, product};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const ORDERS: &str = "/api/v1/orders";
const NOBODY: &str = "01900000-0000-7000-8000-00000000ffff";

struct Started {
    server: Server,
    _dir: tempfile::TempDir,
}

fn start(variables: &[(&str, &str)]) -> Started {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &[], variables);
    Started { server, _dir: dir }
}

/// Every operation that is answered by the table: method, path with an unknown id in each open
/// part, and what the document says of it.
fn operations(client: &mut Client) -> Vec<(String, String, Value)> {
    let document = client.get("/openapi.json").expect(200);
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let parts = path.split('/');
        let parts = parts.map(|part| if part.starts_with('{') { NOBODY } else { part });
        let target = parts.collect::<Vec<_>>().join("/");
        for (method, operation) in item.as_object().unwrap() {
            operations.push((
                method.to_ascii_uppercase(),
                target.clone(),
                operation.clone(),
            ));
        }
    }
    operations
}

fn has_parameter(operation: &Value, name: &str) -> bool {
    let parameters = operation["parameters"].as_array();
    let mut parameters = parameters.into_iter().flatten();
    parameters.any(|parameter| parameter["name"] == name)
}

fn streams(operation: &Value) -> bool {
    let content = &operation["responses"]["200"]["content"];
    content.get("text/event-stream").is_some()
}

/// An answer that the program gives below HTTP, byte for byte.
fn raw(server: &Server, request: &str) -> Answer {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    Answer {
        status: status.parse().unwrap(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

#[test]
fn every_refusal_is_a_problem_down_to_what_is_no_request() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    client.get("/nowhere").problem(404, "not-found");
    let lost = client.get(&format!("{ORDERS}/{NOBODY}"));
    assert_eq!(
        lost.header("content-type"),
        Some("application/problem+json")
    );
    let wrong = client.request("PUT", ORDERS, &[], None);
    wrong.problem(405, "method-not-allowed");
    assert!(wrong.header("allow").unwrap().contains("POST"));
    client.get("/openapi.json?x=%ff").expect(200);
    raw(&server, "nonsense\r\n\r\n").problem(400, "bad-request");
    let long = "x".repeat(100_000);
    let head = format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n");
    raw(&server, &head).problem(431, "head-too-large");
    let body =
        format!("POST {ORDERS} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 999999999\r\n\r\n");
    raw(&server, &format!("{body}{{")).problem(413, "body-too-large");
}

#[test]
fn every_answer_names_its_request_and_a_problem_names_it_too() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    for path in [ORDERS, "/livez", "/openapi.json", "/nowhere"] {
        let own = client.get(path);
        let own = own.header("x-request-id").unwrap();
        assert!(!own.is_empty());
        let given = [("x-request-id", "theirs-1")];
        let answer = client.request("GET", path, &given, None);
        assert_eq!(answer.header("x-request-id"), Some("theirs-1"));
        if answer.status == 404 {
            assert_eq!(answer.json()["request_id"], "theirs-1");
        }
        let bad = [("x-request-id", "a b<c>")];
        let answer = client.request("GET", path, &bad, None);
        assert_ne!(answer.header("x-request-id"), Some("a b<c>"));
    }
}

#[test]
fn every_body_that_is_asked_for_is_refused_alike_when_it_is_none() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let mut tried = 0;
    for (method, path, operation) in operations(&mut client) {
        let Some(body) = operation.get("requestBody") else {
            // A body that nobody looks at would be done without.
            assert!(
                ["GET", "DELETE"].contains(&method.as_str()),
                "{method} {path}"
            );
            continue;
        };
        // Who cannot sign learns nothing about what would be read.
        if operation["security"] == json!([]) {
            continue;
        }
        tried += 1;
        let takes_none = body["required"] == false;
        for (content_type, sent, status) in [
            ("text/plain", "{}", 415),
            ("application/json", "{", 400),
            ("application/json", "[]", 422),
            ("application/json", r#"{"there_is_no_such_field":1}"#, 422),
            ("application/json", "", 400),
        ] {
            if sent.is_empty() && takes_none {
                continue;
            }
            let headers = [("content-type", content_type)];
            let answer = client.request(&method, &path, &headers, Some(sent.as_bytes()));
            // What is not there has no body to be wrong.
            let hidden = path.contains(NOBODY) && answer.status == 404;
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                answer.status == status || hidden,
                "{method} {path} with `{sent}`: {said}"
            );
        }
    }
    assert!(tried > 5);
}

#[test]
fn nobody_gets_in_without_a_token_and_no_customer_without_the_role() {
    let Started { server, _dir } = start(&[]);
    let mut nobody = server.stranger();
    let (_, mut customer) = server.customer("ada@example.com");
    let mut tried = 0;
    for (method, path, operation) in operations(&mut nobody) {
        if operation["security"] != json!([{ "bearer": [] }]) {
            continue;
        }
        tried += 1;
        let none = nobody.request(&method, &path, &[JSON], Some(b"{}"));
        none.problem(401, "unauthorized");
        assert_eq!(none.header("www-authenticate"), Some("Bearer"), "{path}");
        let bad = [("authorization", "Bearer x"), JSON];
        let refused = nobody.request(&method, &path, &bad, Some(b"{}"));
        refused.problem(401, "unauthorized");
        if operation["description"].is_string() {
            let refused = customer.request(&method, &path, &[JSON], Some(b"{}"));
            refused.problem(403, "forbidden");
        }
    }
    assert!(tried > 20);
}

#[test]
fn callers_have_their_own_keys_and_see_their_own_orders_alone() {
    let Started { server, _dir } = start(&[]);
    let (_, mut ada) = server.customer("ada@example.com");
    let (_, mut bob) = server.customer("bob@example.com");
    let order = order_of(&product(0), 1, "tok_ok");
    let key = ("idempotency-key", "the-same");
    let first = ada.post_with(ORDERS, &[key], &order);
    let second = bob.post_with(ORDERS, &[key], &order);
    assert_ne!(first.expect(202)["id"], second.expect(202)["id"]);
    assert_eq!(second.header("idempotency-replayed"), None);
    let lost = format!("{ORDERS}/{}", first.json()["id"].as_str().unwrap());
    assert_eq!(bob.get(&lost).status, 404);
}

#[test]
fn every_list_is_asked_for_in_bounds_and_by_our_cursors() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let mut tried = 0;
    for (method, path, operation) in operations(&mut client) {
        if !has_parameter(&operation, "limit") || path.contains(NOBODY) {
            continue;
        }
        tried += 1;
        assert!(has_parameter(&operation, "cursor"), "{path}");
        assert_eq!(method, "GET");
        for bad in [
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=ten",
            "limit=",
            "cursor=!",
            "cursor=zz",
            "cursor=%00",
        ] {
            let answer = client.get(&format!("{path}?{bad}"));
            assert_eq!(answer.status, 422, "{path}?{bad}");
        }
        let page = client.get(&format!("{path}?limit=200")).expect(200);
        assert!(
            page["items"].is_array() && page["next_cursor"].is_null(),
            "{path}"
        );
        let page = client.get(&format!("{path}?limit=1")).expect(200);
        assert!(page["items"].as_array().unwrap().len() <= 1, "{path}");
        if let Some(cursor) = page["next_cursor"].as_str() {
            let next = client
                .get(&format!("{path}?limit=1&cursor={cursor}"))
                .expect(200);
            assert_ne!(next["items"], page["items"], "{path}");
        }
    }
    assert!(tried > 3);
}

#[test]
fn head_is_get_without_the_body_wherever_get_is() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    for (method, path, operation) in operations(&mut client) {
        if method != "GET" || streams(&operation) {
            continue;
        }
        let get = client.get(&path);
        let head = client.request("HEAD", &path, &[], None);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{path}"
        );
        assert!(head.body.is_empty(), "{path}");
    }
}

#[test]
fn answers_of_the_api_are_kept_by_nobody() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    for (method, path, operation) in operations(&mut client) {
        if method != "GET" || streams(&operation) || !path.starts_with("/api/") {
            continue;
        }
        let answer = client.get(&path);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn a_wait_is_granted_up_to_half_a_minute() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let order = order_of(&product(0), 1, "tok_ok");
    for (asked, granted) in [("wait=4000", "wait=30"), ("wait=20", "wait=20")] {
        let answer = client.post_with(ORDERS, &[("prefer", asked)], &order);
        assert_eq!(answer.expect(200)["status"], "confirmed");
        assert_eq!(answer.header("preference-applied"), Some(granted));
    }
    let slow = order_of(&product(0), 1, "tok_slow");
    let answer = client.post_with(ORDERS, &[("prefer", "wait=0")], &slow);
    answer.expect(202);
    assert!(answer.header("location").unwrap().starts_with(ORDERS));
}

#[test]
fn a_key_counts_for_its_method_and_path_and_not_where_it_is_not_looked_at() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let key = ("idempotency-key", "one");
    let order = order_of(&product(0), 1, "tok_ok");
    let placed = client.post_with(ORDERS, &[key], &order).expect(202);
    let cancel = format!("{ORDERS}/{}/cancel", placed["id"].as_str().unwrap());
    let reason = json!({ "reason": "changed my mind" });
    let headers = [key, ("prefer", "wait=20")];
    let cancelled = client.post_with(&cancel, &headers, &reason);
    assert_eq!(cancelled.header("idempotency-replayed"), None);
    assert_eq!(cancelled.expect(200)["status"], "cancelled");
    let again = client.post_with(ORDERS, &[key], &order);
    assert_eq!(again.expect(202)["id"], placed["id"]);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let other = order_of(&product(0), 2, "tok_ok");
    let reused = client.post_with(ORDERS, &[key], &other);
    reused.problem(422, "idempotency-key-reused");
    // A key that would be refused elsewhere is not even looked at.
    let bad = ("idempotency-key", "no key at all");
    client
        .post_with(ORDERS, &[bad], &order)
        .problem(400, "idempotency-key-invalid");
    for (method, path, operation) in operations(&mut client) {
        if method == "GET" {
            continue;
        }
        let looked_at = has_parameter(&operation, "Idempotency-Key");
        // A backup is made once under its name, whatever the key.
        let exempt = ["/api/v1/auth/", "/webhooks/", "/admin/"]
            .iter()
            .any(|under| path.starts_with(under));
        assert_ne!(looked_at, exempt, "{method} {path}");
        if exempt {
            let answer = client.request(&method, &path, &[bad, JSON], Some(b"{}"));
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!said.contains("idempotency-key-invalid"), "{path}: {said}");
        }
    }
}

#[test]
fn a_change_is_for_the_version_that_it_names() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let order = order_of(&product(0), 1, "tok_ok");
    let placed = client.post_with(ORDERS, &[("prefer", "wait=20")], &order);
    let path = format!("{ORDERS}/{}", placed.expect(200)["id"].as_str().unwrap());
    let shown = client.get(&path);
    let version = shown.expect(200)["version"].as_u64().unwrap();
    let tag = format!("\"{version}\"");
    assert_eq!(shown.header("etag"), Some(tag.as_str()));
    let reason = json!({ "reason": "test" });
    let cancel = format!("{path}/cancel");
    let stale = format!("\"{}\"", version + 7);
    let refused = client.post_with(&cancel, &[("if-match", &stale)], &reason);
    assert_eq!(refused.status, 412);
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    client
        .post_with(&cancel, &[("if-match", "5")], &reason)
        .problem(400, "bad-request");
    let matching = [("if-match", tag.as_str())];
    assert_eq!(client.post_with(&cancel, &matching, &reason).status, 202);
}

/// Every route that changes something, also those whose things have no versions: a condition that
/// is overlooked is a parcel sent, or money given back, that somebody wanted left alone.
#[test]
fn no_change_is_made_with_its_condition_overlooked() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let order = order_of(&product(0), 1, "tok_ok");
    let placed = client.post_with(ORDERS, &[("prefer", "wait=20")], &order);
    let order_id = placed.expect(200)["id"].as_str().unwrap().to_owned();
    let shipment = format!("/api/v1/shipments/order/{order_id}");
    let shipment = client.get(&shipment).expect(200)["id"].clone();
    let dispatch = format!("/api/v1/shipments/{}/dispatch", shipment.as_str().unwrap());
    let stock = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    let received = json!({ "delta": 1, "reason": "received" });
    for (path, body) in [(&dispatch, json!({})), (&stock, received)] {
        let seven = [("if-match", "\"7\"")];
        let refused = client.post_with(path, &seven, &body).expect(412);
        assert!(refused["detail"].as_str().unwrap().contains("no versions"));
        let unreadable = [("if-match", "7")];
        client.post_with(path, &unreadable, &body).expect(400);
        // It is there, and no version of it is named.
        client
            .post_with(path, &[("if-match", "*")], &body)
            .expect(200);
    }
    let mut tried = 0;
    for (method, path, operation) in operations(&mut client) {
        if method == "GET" || has_parameter(&operation, "If-Match") {
            continue;
        }
        tried += 1;
        let headers = [JSON, ("if-match", "\"7\"")];
        let answer = client.request(&method, &path, &headers, Some(b"{}"));
        assert_eq!(answer.status, 412, "{method} {path}");
        let said = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(said.contains("without If-Match"), "{method} {path}: {said}");
        assert!(operation["responses"]["412"].is_object(), "{method} {path}");
    }
    assert!(tried > 15, "{tried}");
}

/// A coded body was read as if it were plain: what a proxy had compressed was called no JSON, and
/// what only said so was done.
#[test]
fn a_body_in_a_coding_is_refused_as_one() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let mut tried = 0;
    for (method, path, operation) in operations(&mut client) {
        if operation.get("requestBody").is_none() {
            continue;
        }
        tried += 1;
        for coding in ["gzip", "identity, br", "x-of-ours"] {
            let headers = [JSON, ("content-encoding", coding)];
            let answer = client.request(&method, &path, &headers, Some(b"{}"));
            let refused = answer.problem(415, "unsupported-media-type");
            let said = refused["detail"].as_str().unwrap();
            assert!(said.contains("Content-Encoding"), "{method} {path}: {said}");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    assert!(tried > 15, "{tried}");
    let plain = [("content-encoding", "identity")];
    let order = order_of(&product(0), 1, "tok_ok");
    client.post_with(ORDERS, &plain, &order).expect(202);
}

/// A page of one list was asked for with the cursor of another, and was empty: whoever reads on
/// took it for the end.
#[test]
fn a_cursor_goes_on_in_its_own_list_alone() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let wait = [("prefer", "wait=20")];
    for _ in 0..2 {
        let order = order_of(&product(0), 1, "tok_ok");
        client.post_with(ORDERS, &wait, &order).expect(200);
    }
    for (list, others) in [
        (
            "/api/v1/orders?status=confirmed",
            &["/api/v1/orders?status=cancelled", "/api/v1/orders?status="][..],
        ),
        (
            "/api/v1/catalog/products?q=mug",
            &[
                "/api/v1/catalog/products?q=tea",
                "/api/v1/catalog/products?min_price=1&q=mug",
                "/api/v1/inventory/products?q=mug",
            ],
        ),
        (
            "/api/v1/analytics/products/top-selling?by=units",
            &["/api/v1/analytics/products/top-selling?by=revenue"],
        ),
    ] {
        // Sold is only what left; that list may have no second page.
        let page = client.get(&format!("{list}&limit=1")).expect(200);
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert!(list.contains("top-selling"), "{list}");
            continue;
        };
        let next = client.get(&format!("{list}&limit=2&cursor={cursor}"));
        assert_ne!(next.expect(200)["items"][0], page["items"][0], "{list}");
        for other in others {
            let answer = client.get(&format!("{other}&limit=1&cursor={cursor}"));
            let refused = answer.expect(422);
            assert_eq!(refused["code"], "invalid_cursor", "{other}");
        }
    }
    // What is said beside the filters makes no other list, nor does their order.
    let page = client
        .get("/api/v1/catalog/products?limit=1&q=mug&min_price=1&x=1")
        .expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = format!("/api/v1/catalog/products?cursor={cursor}&min_price=1&q=mug&category=");
    client.get(&next).expect(200);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let Started { server, _dir } = start(&[("COMMERCE_HTTP_REQUESTS_PER_S", "3")]);
    let mut client = server.client();
    let mut refused = None;
    // More than come back in the time that they take.
    for _ in 0..1_000 {
        let answer = client.get(ORDERS);
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-policy"), Some("3;w=1"));
        let number = |name| answer.header(name).unwrap().parse::<u64>().unwrap();
        assert!(number("ratelimit-remaining") < 3 && number("ratelimit-reset") <= 1);
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.expect(200);
    }
    let refused = refused.expect("nobody was refused");
    refused.problem(429, "too-many-requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratelimit-remaining"), Some("0"));
    for _ in 0..20 {
        let health = client.get("/livez");
        health.expect(200);
        assert_eq!(health.header("ratelimit-limit"), None);
    }
}

#[test]
fn a_limit_of_zero_is_none() {
    let Started { server, _dir } = start(&[("COMMERCE_HTTP_REQUESTS_PER_S", "0")]);
    let mut client = server.client();
    let answer = client.get(ORDERS);
    answer.expect(200);
    assert_eq!(answer.header("ratelimit-limit"), None);
}

const PAGE: (&str, &str) = ("origin", "http://localhost:3000");
const STRANGER: (&str, &str) = ("origin", "http://localhost:4000");

#[test]
fn pages_of_a_configured_origin_may_ask_and_others_may_not() {
    let origins = "https://shop.example, http://localhost:3000";
    let Started { server, _dir } = start(&[("COMMERCE_HTTP_CORS_ORIGINS", origins)]);
    let mut client = server.client();
    let asks = ("access-control-request-method", "POST");
    let allowed = client.request("OPTIONS", ORDERS, &[PAGE, asks], None);
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(PAGE.1));
    let methods = allowed.header("access-control-allow-methods").unwrap();
    assert!(methods.contains("POST") && methods.contains("GET") && !methods.contains("PUT"));
    let headers = allowed.header("access-control-allow-headers").unwrap();
    for name in [
        "authorization",
        "idempotency-key",
        "if-match",
        "prefer",
        "last-event-id",
    ] {
        assert!(headers.contains(name), "{headers}");
    }
    assert_eq!(allowed.header("vary"), Some("Origin"));
    for path in [ORDERS, "/api/v1/orders/lost", "/nowhere"] {
        let shown = client.request("GET", path, &[PAGE], None);
        assert_eq!(
            shown.header("access-control-allow-origin"),
            Some(PAGE.1),
            "{path}"
        );
        let exposed = shown.header("access-control-expose-headers").unwrap();
        for name in [
            "etag",
            "location",
            "ratelimit-limit",
            "idempotency-replayed",
            "retry-after",
        ] {
            assert!(exposed.contains(name), "{exposed}");
        }
        for headers in [&[STRANGER][..], &[]] {
            let hidden = client.request("GET", path, headers, None);
            assert_eq!(hidden.header("access-control-allow-origin"), None, "{path}");
            assert_eq!(hidden.header("vary"), Some("Origin"), "{path}");
        }
    }
    let refused = client.request("OPTIONS", ORDERS, &[STRANGER, asks], None);
    assert_eq!(refused.status, 204);
    assert_eq!(refused.header("access-control-allow-methods"), None);
    assert!(refused.header("allow").unwrap().contains("POST"));
    assert_eq!(refused.header("vary"), Some("Origin"));
    let nowhere = client.request("OPTIONS", "/nowhere", &[PAGE, asks], None);
    nowhere.problem(404, "not-found");
}

#[test]
fn without_configured_origins_no_page_may_ask() {
    let Started { server, _dir } = start(&[]);
    let mut client = server.client();
    let asks = ("access-control-request-method", "POST");
    for (method, headers) in [("GET", &[PAGE][..]), ("OPTIONS", &[PAGE, asks])] {
        let answer = client.request(method, ORDERS, headers, None);
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("access-control-allow-methods"), None);
    }
}
