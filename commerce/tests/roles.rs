//! Who may do what: every route, asked by everybody.
//!
//! Method: one shop with one order of a customer's; each row of the table is asked by a caller of
//! each kind, with a body that is good enough to get as far as the question whose it is. What
//! counts is whether the door opens: `+` is any answer but 401, 403 and 404.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::routes::{CALLERS, ROUTES, whole};
use common::{ADMIN, CUSTOMER_PASSWORD, Client, Server, order_of, product};
use serde_json::{Value, json};

/// The status of one request; what follows the status line does not matter, and may never end.
fn status(address: &str, method: &str, path: &str, token: Option<&str>, body: &str) -> u16 {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    if method != "GET" && !body.is_empty() {
        head.push_str("content-type: application/json\r\n");
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).unwrap();
    String::from_utf8_lossy(&line[9..]).parse().unwrap()
}

fn token(server: &Server, email: &str, password: &str) -> String {
    let signed_in = server.stranger().log_in(email, password).expect(200);
    signed_in["access_token"].as_str().unwrap().to_owned()
}

/// What the paths leave open.
fn world(server: &Server, admin: &mut Client) -> BTreeMap<&'static str, String> {
    for caller in &CALLERS[1..7] {
        let id = server
            .stranger()
            .register(&format!("{caller}@example.com"), CUSTOMER_PASSWORD);
        if !["other", "owner"].contains(caller) {
            let roles = json!({ "roles": ["customer", caller] });
            let roles = roles.to_string();
            let path = format!("/api/v1/users/{id}/roles");
            let json = [("content-type", "application/json")];
            admin
                .request("PUT", &path, &json, Some(roles.as_bytes()))
                .expect(200);
        }
    }
    let mut owner = server.client_of("owner@example.com", CUSTOMER_PASSWORD);
    let wait = [("prefer", "wait=30")];
    let order = owner
        .post_with("/api/v1/orders", &wait, &order_of(&product(0), 1, "tok_ok"))
        .expect(200);
    let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
    let order_id = id(&order);
    let shipment = eventually(
        admin,
        &format!("/api/v1/shipments/order/{order_id}"),
        |_| true,
    );
    let told = eventually(&mut owner, "/api/v1/notifications", |told| {
        !told["items"].as_array().unwrap().is_empty()
    });
    let templates = admin.get("/api/v1/templates").expect(200);
    let payment = owner
        .get(&format!("/api/v1/payments/order/{order_id}"))
        .expect(200);
    BTreeMap::from([
        ("owner", order["customer_id"].as_str().unwrap().to_owned()),
        ("product", product(0)),
        ("order", order_id),
        ("payment", id(&payment)),
        ("shipment", id(&shipment)),
        ("notification", id(&told["items"][0])),
        ("template", id(&templates["items"][0])),
        ("tracking", String::new()),
        ("file", "style.css".to_owned()),
        (
            "retry",
            r#"{"payment_method":{"type":"card","token":"tok_ok"}}"#.to_owned(),
        ),
    ])
}

/// The answer once it is there and as it should be; other services follow a little later.
fn eventually(client: &mut Client, path: &str, done: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..2_000 {
        let answer = client.get(path);
        if answer.status == 200 && done(&answer.json()) {
            return answer.json();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{path} is not as expected");
}

fn filled(text: &str, world: &BTreeMap<&'static str, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in world {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

#[test]
fn every_route_opens_for_whom_it_is_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(&dir.path().join("data"), &[], &[]);
    let mut admin = server.client();
    let mut world = world(&server, &mut admin);
    let mut tokens: BTreeMap<&str, String> = CALLERS[1..7]
        .iter()
        .map(|caller| {
            let email = format!("{caller}@example.com");
            (*caller, token(&server, &email, CUSTOMER_PASSWORD))
        })
        .collect();
    tokens.insert("admin", token(&server, ADMIN.0, ADMIN.1));
    let mut wrong = Vec::new();
    for (method, path, body, who) in ROUTES {
        if path.contains("{tracking}") {
            let shipment = admin
                .get(&format!("/api/v1/shipments/{}", world["shipment"]))
                .expect(200);
            world.insert(
                "tracking",
                shipment["tracking_number"].as_str().unwrap().to_owned(),
            );
        }
        let url = whole(&filled(path, &world));
        let body = filled(body, &world);
        for (caller, expected) in CALLERS.iter().zip(who.doors.split(' ')) {
            // The owner has just deleted themselves; an administrator deletes somebody else.
            let url = match (*method, *path, *caller) {
                ("DELETE", "/users/{owner}", "admin") => {
                    let (id, _) = server.customer("late@example.com");
                    format!("/api/v1/users/{id}")
                }
                _ => url.clone(),
            };
            let token = tokens.get(caller).map(String::as_str);
            let status = status(&server.address, method, &url, token, &body);
            let seen = match status {
                401 => "1",
                403 => "3",
                404 => "4",
                _ => "+",
            };
            if seen != expected {
                wrong.push(format!(
                    "{method} {path} as {caller}: {status}, not {expected}"
                ));
            }
            // That has ended the session.
            let ended = ["/logout", "/password"]
                .iter()
                .any(|end| path.ends_with(end));
            if ended && *caller != "nobody" {
                let (email, password) = match *caller {
                    "admin" => (ADMIN.0.to_owned(), ADMIN.1),
                    caller => (format!("{caller}@example.com"), CUSTOMER_PASSWORD),
                };
                tokens.insert(caller, self::token(&server, &email, password));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
