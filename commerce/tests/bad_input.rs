//! Bad input gets the problem answer that fits and changes nothing.
//!
//! Each case is sent to the real program; before and after it, everything that could have changed
//! is looked at: orders, stock, the provider's ledger, and how much every stream has carried.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, Client, Server, order_of, product};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const NOBODY: &str = "01900000-0000-7000-8000-00000000ffff";

/// Everything that a request could have changed.
fn world(server: &Server, client: &mut Client) -> Value {
    json!({
        "orders": client.get("/api/v1/orders?limit=200").expect(200),
        "stock": client.get("/api/v1/inventory/products?limit=200").expect(200),
        "ledger": server.ledger(),
        "streams": client.get("/admin/system").expect(200)["streams"],
    })
}

/// A change to an order that is good otherwise.
fn order_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut order = order_of(&product(0), 1, "tok_ok");
    change(&mut order);
    order
}

fn set(pointer: &str, value: Value) -> Value {
    order_with(|order| *order.pointer_mut(pointer).unwrap() = value)
}

fn add(pointer: &str, name: &str, value: Value) -> Value {
    order_with(|order| {
        let object = order.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert(name.to_owned(), value);
    })
}

fn without(pointer: &str, name: &str) -> Value {
    order_with(|order| {
        let object = order.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.remove(name).unwrap();
    })
}

/// serde would take an array for an object, field by field.
#[test]
fn an_array_in_the_place_of_an_object_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = world(&server, &mut client);
    let item = json!({ "product_id": product(0), "quantity": 1 });
    let address = json!(["Ada", "1 Main St", null, "Berlin", "BE", "10115", "DE"]);
    let card = json!({ "type": "card", "token": "tok_ok" });
    let orders = "/api/v1/orders".to_owned();
    let stock = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    for (path, body) in [
        (&orders, json!([[item], address, card, null])),
        (&orders, set("/items", json!([[product(0), 1]]))),
        (&orders, set("/shipping_address", address)),
        (&stock, json!([7, "received"])),
    ] {
        client.post(path, &body).problem(422, "invalid-body");
    }
    assert_eq!(world(&server, &mut client), before);
}

/// Where one of a few words is due, serde_json calls what is no text bad syntax; it is JSON all the
/// same, and its caller is to look at the rule and not at the commas.
#[test]
fn what_is_no_text_in_the_place_of_one_of_a_few_words_is_a_wrong_body_and_no_bad_json() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = world(&server, &mut client);
    let orders = "/api/v1/orders".to_owned();
    let stock = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    let resolve = format!("/api/v1/orders/{NOBODY}/resolve");
    let tracking = format!("/api/v1/shipments/{NOBODY}/tracking");
    let roles = format!("/api/v1/users/{NOBODY}/roles");
    for wrong in [
        json!(null),
        json!(7),
        json!(-7.5),
        json!(true),
        json!([]),
        json!({}),
        json!({ "received": null, "x": 1 }),
    ] {
        let word = |name: &str, other: &str| json!({ name: wrong, other: "x" });
        let adjustment = json!({ "delta": 1, "reason": wrong });
        for (method, path, body) in [
            ("POST", &stock, adjustment),
            ("POST", &orders, set("/payment_method/type", wrong.clone())),
            ("POST", &resolve, word("action", "reason")),
            ("POST", &tracking, word("status", "location")),
            ("PUT", &roles, json!({ "roles": [wrong] })),
        ] {
            let body = body.to_string();
            let answer = client.request(method, path, &[JSON], Some(body.as_bytes()));
            let refused = answer.problem(422, "invalid-body");
            let said = refused["detail"].as_str().unwrap();
            assert!(
                !said.contains("expected value"),
                "{path} with {body}: {said}"
            );
        }
    }
    // Neither of these is JSON, wherever it stops being it.
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for reason in ["nul", "\"x", "\"\\ud800\"", deep.as_str()] {
        let body = format!("{{\"delta\":1,\"reason\":{reason}}}");
        let answer = client.request("POST", &stock, &[JSON], Some(body.as_bytes()));
        assert!(
            matches!(answer.status, 400 | 422),
            "{body}: {}",
            answer.status
        );
        if !body.contains("[[") {
            answer.problem(400, "malformed-body");
        }
    }
    assert_eq!(world(&server, &mut client), before);
}

#[test]
fn an_order_that_cannot_be_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let line =
        |product: String, quantity: Value| json!({ "product_id": product, "quantity": quantity });
    let many: Vec<Value> = (0..101)
        .map(|n| line(format!("01900000-0000-7000-8000-{n:012}"), json!(1)))
        .collect();
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        (
            "unknown field",
            add("", "coupon", json!("x")),
            422,
            "invalid-body",
        ),
        (
            "unknown field of a line",
            add("/items/0", "price", json!(1)),
            422,
            "invalid-body",
        ),
        (
            "unknown field of the address",
            add("/shipping_address", "planet", json!("x")),
            422,
            "invalid-body",
        ),
        (
            "unknown field of the method",
            add("/payment_method", "cvc", json!("1")),
            422,
            "invalid-body",
        ),
        (
            "unknown kind of method",
            set("/payment_method/type", json!("cash")),
            422,
            "invalid-body",
        ),
        ("no items", without("", "items"), 422, "invalid-body"),
        (
            "no method",
            without("", "payment_method"),
            422,
            "invalid-body",
        ),
        (
            "no recipient",
            without("/shipping_address", "recipient"),
            422,
            "invalid-body",
        ),
        (
            "items of the wrong type",
            set("/items", json!("mugs")),
            422,
            "invalid-body",
        ),
        (
            "quantity as text",
            set("/items/0/quantity", json!("2")),
            422,
            "invalid-body",
        ),
        (
            "quantity as a fraction",
            set("/items/0/quantity", json!(1.5)),
            422,
            "invalid-body",
        ),
        (
            "quantity beyond 64 bits",
            set("/items/0/quantity", json!(1e300)),
            422,
            "invalid-body",
        ),
        (
            "product as a number",
            set("/items/0/product_id", json!(7)),
            422,
            "invalid-body",
        ),
        (
            "product that is no id",
            set("/items/0/product_id", json!("mug")),
            422,
            "invalid-body",
        ),
        ("an array", json!([]), 422, "invalid-body"),
        ("null", Value::Null, 422, "invalid-body"),
        (
            "empty items",
            set("/items", json!([])),
            422,
            "rejected/invalid-items",
        ),
        (
            "too many items",
            set("/items", json!(many)),
            422,
            "rejected/invalid-items",
        ),
        (
            "zero",
            set("/items/0/quantity", json!(0)),
            422,
            "rejected/invalid-quantity",
        ),
        (
            "negative",
            set("/items/0/quantity", json!(-1)),
            422,
            "rejected/invalid-quantity",
        ),
        (
            "too many",
            set("/items/0/quantity", json!(1000)),
            422,
            "rejected/invalid-quantity",
        ),
        (
            "a great many",
            set("/items/0/quantity", json!(i64::MAX)),
            422,
            "rejected/invalid-quantity",
        ),
        (
            "unknown product",
            set("/items/0/product_id", json!(NOBODY)),
            422,
            "rejected/unknown-product",
        ),
        (
            "a product twice",
            set(
                "/items",
                json!([line(product(0), json!(1)), line(product(0), json!(2))]),
            ),
            422,
            "rejected/duplicate-product",
        ),
        (
            "empty city",
            set("/shipping_address/city", json!(" ")),
            422,
            "rejected/invalid-address",
        ),
        (
            "no country",
            set("/shipping_address/country", json!("Germany")),
            422,
            "rejected/invalid-address",
        ),
        (
            "empty token",
            set("/payment_method/token", json!("")),
            422,
            "rejected/invalid-payment-method",
        ),
        (
            "foreign currency",
            set(
                "/expected_total",
                json!({ "amount": 999, "currency": "USD" }),
            ),
            422,
            "rejected/foreign-currency",
        ),
        (
            "no currency",
            set(
                "/expected_total",
                json!({ "amount": 999, "currency": "eur" }),
            ),
            422,
            "invalid-body",
        ),
        (
            "money as a fraction",
            set(
                "/expected_total",
                json!({ "amount": 9.99, "currency": "EUR" }),
            ),
            422,
            "invalid-body",
        ),
        (
            "money beyond 64 bits",
            set(
                "/expected_total",
                json!({ "amount": u64::MAX, "currency": "EUR" }),
            ),
            422,
            "invalid-body",
        ),
        (
            "money with an unknown field",
            set(
                "/expected_total",
                json!({ "amount": 999, "currency": "EUR", "scale": 2 }),
            ),
            422,
            "invalid-body",
        ),
        (
            "another total",
            set("/expected_total", json!({ "amount": 1, "currency": "EUR" })),
            409,
            "rejected/total-changed",
        ),
    ];
    let before = world(&server, &mut client);
    for (what, body, status, kind) in cases {
        eprintln!("{what}");
        client.post("/api/v1/orders", &body).problem(status, kind);
    }
    assert_eq!(world(&server, &mut client), before);
}

#[test]
fn a_body_that_is_no_json_of_ours_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = world(&server, &mut client);
    let good = order_of(&product(0), 1, "tok_ok").to_string();
    let twice = good.replacen('{', r#"{"expected_total":null,"#, 1);
    let deep = "[".repeat(100_000);
    let orders = |client: &mut Client, headers: &[(&str, &str)], body: &[u8]| -> Answer {
        client.request("POST", "/api/v1/orders", headers, Some(body))
    };
    for body in ["", "{", "nonsense", "{}{}", "\u{feff}{}", "{'a':1}", &deep] {
        let answer = orders(&mut client, &[JSON], body.as_bytes());
        answer.problem(400, "malformed-body");
    }
    orders(&mut client, &[JSON], b"{\"items\":\"\xff\"}").problem(400, "malformed-body");
    orders(&mut client, &[JSON], twice.as_bytes()).problem(422, "invalid-body");
    for content_type in ["text/plain", "application/xml", "application/jsonp", ""] {
        let headers = [("content-type", content_type)];
        orders(&mut client, &headers, good.as_bytes()).problem(415, "unsupported-media-type");
    }
    orders(&mut client, &[], good.as_bytes()).problem(415, "unsupported-media-type");
    let long = format!("{}{good}", " ".repeat(256 * 1024));
    orders(&mut client, &[JSON], long.as_bytes()).problem(413, "body-too-large");
    // Its body was not read, so its connection is of no more use.
    let mut client = server.client();
    assert_eq!(world(&server, &mut client), before);
}

#[test]
fn what_is_not_there_is_not_found_and_what_cannot_be_done_is_not_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = world(&server, &mut client);
    for id in [
        NOBODY,
        "7",
        "..%2f",
        "%ff",
        "0190-",
        "00000000-0000-0000-0000-000000000000",
    ] {
        let gets = [
            "/orders/{}",
            "/orders/{}/timeline",
            "/payments/{}",
            "/payments/order/{}",
            "/inventory/products/{}",
            "/inventory/products/{}/reservations",
            "/shipments/{}",
            "/shipments/order/{}",
            "/shipments/tracking/{}",
        ];
        for path in gets {
            let path = format!("/api/v1{}", path.replace("{}", id));
            let answer = client.get(&path);
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json")
            );
        }
        let reason = json!({ "reason": "test" });
        let method = json!({ "payment_method": { "type": "card", "token": "tok_ok" } });
        let posts = [
            ("/orders/{}/cancel", reason.clone()),
            ("/orders/{}/payment/retry", method),
            (
                "/orders/{}/resolve",
                json!({ "action": "retry", "reason": "test" }),
            ),
            (
                "/payments/{}/refund",
                json!({ "amount": { "amount": 1, "currency": "EUR" }, "reason": "test" }),
            ),
            (
                "/inventory/products/{}/adjust-stock",
                json!({ "delta": 1, "reason": "received" }),
            ),
            ("/shipments/{}/dispatch", json!({})),
            (
                "/shipments/{}/tracking",
                json!({ "status": "in_transit", "location": null, "description": null }),
            ),
            ("/shipments/{}/delivery-attempt", reason),
            ("/shipments/{}/delivered", json!({})),
            ("/shipments/{}/returned", json!({ "items": [] })),
        ];
        for (path, body) in posts {
            let path = format!("/api/v1{}", path.replace("{}", id));
            let answer = client.post(&path, &body);
            assert_eq!(
                answer.status,
                404,
                "{path}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
    for path in [
        "/",
        "/api",
        "/api/v2/orders",
        "/api/v1/orders/",
        "/orders",
        "/api/v1//orders",
    ] {
        client.get(path).problem(404, "not-found");
    }
    for (method, path, allow) in [
        ("DELETE", "/api/v1/orders", "POST"),
        ("PUT", "/api/v1/orders/1", "GET"),
        ("GET", "/api/v1/orders/1/cancel", "POST"),
        ("GET", "/webhooks/payments", "POST"),
        ("POST", "/livez", "GET"),
        ("POST", "/admin/system", "GET"),
    ] {
        let answer = client.request(method, path, &[], None);
        answer.problem(405, "method-not-allowed");
        assert!(
            answer.header("allow").unwrap().contains(allow),
            "{method} {path}"
        );
    }
    let options = client.request("OPTIONS", "/api/v1/orders", &[], None);
    assert_eq!(options.status, 204);
    let allow = options.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let head = client.request("HEAD", "/api/v1/orders", &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(world(&server, &mut client), before);
}

#[test]
fn credentials_that_are_not_good_are_refused_and_not_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = world(&server, &mut client);
    let token = [JSON, ("authorization", "Bearer x")];
    let order = order_of(&product(0), 1, "tok_ok").to_string();
    for path in [
        "/api/v1/orders",
        "/api/v1/inventory/products",
        "/admin/system",
    ] {
        let answer = client.request("GET", path, &token, None);
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let answer = client.request("POST", "/api/v1/orders", &token, Some(order.as_bytes()));
    answer.problem(401, "unauthorized");
    client.request("GET", "/livez", &token, None).expect(200);
    let mut stranger = server.stranger();
    for path in [
        "/api/v1/orders",
        "/api/v1/inventory/products",
        "/admin/system",
    ] {
        let answer = stranger.get(path);
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(world(&server, &mut client), before);
}

#[test]
fn stock_is_corrected_within_reason_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let before = world(&server, &mut client);
    let path = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    for (delta, reason, status) in [
        (json!(0), "corrected", 422),
        (json!(-1), "received", 422),
        (json!(1), "damaged", 422),
        (json!(-1), "deducted", 422),
        (json!(1), "stolen", 422),
        (json!(1.5), "corrected", 422),
        (json!("1"), "corrected", 422),
        (json!(u64::MAX), "corrected", 422),
        (json!(i64::MAX), "corrected", 422),
        (json!(i64::MIN), "corrected", 409),
        (json!(-10_001), "corrected", 409),
    ] {
        let body = json!({ "delta": delta, "reason": reason });
        let answer = client.post(&path, &body);
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{body}: {said}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    let unknown = json!({ "delta": 1, "reason": "received", "note": "x" });
    client.post(&path, &unknown).problem(422, "invalid-body");
    assert_eq!(world(&server, &mut client), before);
}

#[test]
fn pages_are_asked_for_in_bounds_and_by_our_cursors() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    for path in [
        "/api/v1/inventory/products",
        "/api/v1/orders",
        "/api/v1/shipments/pending",
    ] {
        for limit in ["0", "201", "-1", "ten", "1.5", "", "99999999999999999999"] {
            client
                .get(&format!("{path}?limit={limit}"))
                .problem(422, "unprocessable");
        }
        for cursor in ["!", "zz", "abc", "%00"] {
            let answer = client.get(&format!("{path}?cursor={cursor}"));
            answer.problem(422, "rejected/invalid-cursor");
        }
    }
    client
        .get("/api/v1/orders?status=lost")
        .problem(422, "unprocessable");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/inventory/products?limit=5{cursor}");
        let page = client.get(&path).expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 5);
        seen.extend(
            items
                .iter()
                .map(|item| item["product_id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            assert!(page["next_cursor"].is_null());
            break;
        };
        let opaque = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        assert!(next.bytes().all(opaque), "{next}");
        cursor = format!("&cursor={next}");
    }
    let all: Vec<String> = (0..commerce::seed::PRODUCTS.len()).map(product).collect();
    assert_eq!(seen, all);
}
