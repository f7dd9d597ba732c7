//! Notifications of the real program: letters in its data directory, templates and preferences
//! over HTTP.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Answer, Client, Server, order_of, product};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until there is something to see.
#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The letters in a directory below `mail`, as they are on disk.
fn letters(data: &Path, whose: &str) -> Vec<(PathBuf, String)> {
    let Ok(files) = fs::read_dir(data.join("mail").join(whose)) else {
        return Vec::new();
    };
    let paths = files.map(|file| file.unwrap().path());
    let whole = paths.filter(|path| path.extension().is_some_and(|kind| kind != "new"));
    whole
        .filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)))
        // Long lines are folded in mail.
        .map(|(path, letter)| (path, letter.replace("=\r\n", "")))
        .collect()
}

#[track_caller]
fn letter_with(data: &Path, whose: &str, text: &str) -> (PathBuf, String) {
    eventually(&format!("a letter with `{text}`"), || {
        letters(data, whose)
            .into_iter()
            .find(|(_, letter)| letter.contains(text))
    })
}

fn put(client: &mut Client, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    client.request("PUT", path, &all, Some(body.to_string().as_bytes()))
}

/// The notifications of a list, oldest first: template, status, reason.
fn told(client: &mut Client, query: &str) -> Vec<(String, String, Value)> {
    let list = client
        .get(&format!("/api/v1/notifications{query}"))
        .expect(200);
    let mut items = list["items"].as_array().unwrap().clone();
    items.reverse();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items
        .iter()
        .map(|one| {
            (
                text(&one["template"]),
                text(&one["status"]),
                one["reason"].clone(),
            )
        })
        .collect()
}

#[test]
fn the_shop_is_told_in_its_own_directory_what_is_running_out() {
    let dir = tempfile::tempdir().unwrap();
    let variables = [("COMMERCE_NOTIFICATION_SHOP_RECIPIENT", "buyers@example.com")];
    let server = Server::with(dir.path(), &[], &variables);
    let mut client = server.client();
    let low = json!({ "delta": -9_950, "reason": "damaged" });
    let path = format!("/api/v1/inventory/products/{}/adjust-stock", product(0));
    client.post(&path, &low).expect(200);
    let (_, letter) = letter_with(dir.path(), "shop", "Subject: Running out: Blue mug");
    assert!(letter.contains("buyers@example.com"), "{letter}");
    assert!(letter.contains("50 are available"), "{letter}");
    let sent = ("low-stock-alert".to_owned(), "sent".to_owned(), Value::Null);
    eventually("the alert counts as sent", || {
        (told(&mut client, "?user_id=shop") == [sent.clone()]).then_some(())
    });
}

/// An order of the customer's, waited for; its id.
#[track_caller]
fn place(client: &mut Client, token: &str) -> String {
    let body = order_of(&product(0), 2, token);
    let answer = client.post_with("/api/v1/orders", &[("prefer", "wait=30")], &body);
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Waits until the customer was told exactly this, in any order: template and status.
#[track_caller]
fn told_in_the_end(client: &mut Client, expected: &[(&str, &str)]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    eventually(&format!("{expected:?}"), || {
        let told = told(client, "");
        let mut told: Vec<(&str, &str)> = told
            .iter()
            .map(|(template, status, _)| (template.as_str(), status.as_str()))
            .collect();
        told.sort_unstable();
        (told == expected).then_some(())
    });
}

#[test]
fn a_customer_reads_what_becomes_of_an_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (ada, mut client) = server.customer("ada@example.com");
    let (_, welcome) = letter_with(dir.path(), &ada, "Subject: Welcome");
    assert!(welcome.contains("Ada Lovelace"), "{welcome}");
    assert!(
        welcome.contains("To: \"Ada Lovelace\" <ada@example.com>"),
        "{welcome}"
    );

    let order = place(&mut client, "tok_ok");
    let subject = "Subject: We have received your order";
    let (path, letter) = letter_with(dir.path(), &ada, subject);
    assert!(letter.contains("2 x Blue mug, 9.99 EUR each"), "{letter}");
    assert!(letter.contains("Total: 19.98 EUR"), "{letter}");
    letter_with(
        dir.path(),
        &ada,
        &format!("Your order {order} is confirmed"),
    );
    let mut admin = server.client();
    let shipment = eventually("a shipment", || {
        let answer = admin.get(&format!("/api/v1/shipments/order/{order}"));
        (answer.status == 200).then(|| answer.json()["id"].as_str().unwrap().to_owned())
    });
    admin
        .post(
            &format!("/api/v1/shipments/{shipment}/dispatch"),
            &json!({}),
        )
        .expect(200);
    letter_with(dir.path(), &ada, "has left with");
    letter_with(dir.path(), &ada, "we have taken 19.98 EUR");
    admin
        .post(
            &format!("/api/v1/shipments/{shipment}/delivered"),
            &json!({}),
        )
        .expect(200);
    letter_with(dir.path(), &ada, "has been delivered");
    told_in_the_end(
        &mut client,
        &[
            ("user-registered", "sent"),
            ("order-created", "sent"),
            ("order-confirmed", "sent"),
            ("order-shipped", "sent"),
            ("payment-completed", "sent"),
            ("shipment-delivered", "sent"),
        ],
    );

    // Its name is the notification's, which nobody else may see.
    let id = path.file_stem().unwrap().to_str().unwrap();
    let one = format!("/api/v1/notifications/{id}");
    let shown = client.get(&one).expect(200);
    assert_eq!(shown["template"], "order-created");
    assert_eq!(shown["order_id"], order.as_str());
    assert_eq!(shown["channel"], "email");
    assert!(shown["sent_at"].is_string());
    assert!(!shown.to_string().contains("Ada"), "{shown}");
    let (bob, mut other) = server.customer("bob@example.com");
    other.get(&one).expect(404);
    other
        .get(&format!("/api/v1/notifications?user_id={ada}"))
        .expect(404);
    other.get("/api/v1/notifications?user_id=shop").expect(404);
    admin.get(&one).expect(200);
    assert_eq!(told(&mut admin, &format!("?user_id={ada}")).len(), 6);

    // Nothing is sent twice by another start.
    let before = letters(dir.path(), &ada).len();
    assert_eq!(before, 6);
    assert_eq!(server.terminate().code, Some(0));
    let server = Server::start(dir.path());
    let mut client = server.client_of("ada@example.com", common::CUSTOMER_PASSWORD);
    place(&mut client, "tok_ok");
    eventually("two more letters", || {
        (letters(dir.path(), &ada).len() == before + 2).then_some(())
    });
    assert!(letters(dir.path(), &bob).len() <= 1);
}

#[test]
fn a_declined_card_is_told_and_nobody_reads_confirmed_after_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (ada, mut client) = server.customer("ada@example.com");
    place(&mut client, "tok_declined");
    letter_with(dir.path(), &ada, "did not succeed (card_declined)");
    letter_with(dir.path(), &ada, "is cancelled");
    told_in_the_end(
        &mut client,
        &[
            ("user-registered", "sent"),
            ("order-created", "sent"),
            ("payment-failed", "sent"),
            ("order-cancelled", "sent"),
        ],
    );
}

#[test]
fn a_user_who_switches_a_topic_off_is_not_told_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (ada, mut client) = server.customer("ada@example.com");
    let path = format!("/api/v1/users/{ada}/notification-preferences");
    let usual = client.get(&path);
    assert_eq!(usual.header("etag"), Some("\"0\""));
    let usual = usual.expect(200);
    assert_eq!(
        (&usual["email"]["orders"], &usual["sms"]["orders"]),
        (&json!(true), &json!(false))
    );

    let quiet = json!({ "email": { "orders": false } });
    put(&mut client, &path, &[("if-match", "\"5\"")], &quiet).expect(412);
    let set = put(&mut client, &path, &[("if-match", "\"0\"")], &quiet);
    assert_eq!(set.header("etag"), Some("\"1\""));
    assert_eq!(set.expect(200)["email"]["shipping"], true);
    let mut shown = client.get(&path).expect(200);
    shown["email"]["account"] = json!(false);
    let put_back = put(&mut client, &path, &[], &shown).expect(200);
    shown["version"] = json!(2);
    assert_eq!(put_back, shown);
    put(&mut client, &path, &[], &quiet).expect(200);
    put(
        &mut client,
        &path,
        &[],
        &json!({ "email": { "gossip": true } }),
    )
    .problem(422, "invalid-body");
    let (_, mut other) = server.customer("bob@example.com");
    other.get(&path).expect(404);
    put(&mut other, &path, &[], &quiet).expect(404);
    let nobody = "01900000-0000-7000-8000-00000000ffff";
    let nobodys = format!("/api/v1/users/{nobody}/notification-preferences");
    put(&mut server.client(), &nobodys, &[], &quiet).expect(404);
    server.client().get(&nobodys).expect(404);
    assert_eq!(server.client().get(&path).expect(200)["version"], 3);

    place(&mut client, "tok_ok");
    told_in_the_end(
        &mut client,
        &[
            ("user-registered", "sent"),
            ("order-created", "suppressed"),
            ("order-confirmed", "suppressed"),
        ],
    );
    let reason = told(&mut client, "").pop().unwrap().2;
    assert_eq!(reason, "switched_off");
    assert_eq!(letters(dir.path(), &ada).len(), 1);
}

#[test]
fn a_deleted_users_letters_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (ada, mut client) = server.customer("ada@example.com");
    let (bob, _) = server.customer("bob@example.com");
    place(&mut client, "tok_ok");
    letter_with(dir.path(), &ada, "is confirmed");
    letter_with(dir.path(), &bob, "Subject: Welcome");
    let gone = client.request("DELETE", &format!("/api/v1/users/{ada}"), &[], None);
    assert!(matches!(gone.status, 200 | 202 | 204), "{gone:?}");
    let directory = dir.path().join("mail").join(&ada);
    eventually("the letters' end", || (!directory.exists()).then_some(()));
    assert_eq!(letters(dir.path(), &bob).len(), 1);
    let mut admin = server.client();
    let path = format!("/api/v1/users/{ada}/notification-preferences");
    admin.get(&path).expect(404);
    // What the user was told is still known, without a name.
    assert_eq!(told(&mut admin, &format!("?user_id={ada}")).len(), 3);
}

#[test]
fn templates_are_written_checked_previewed_and_switched() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--no-seed"], &[]);
    let mut client = server.client();
    let first = client.get("/api/v1/templates?limit=1").expect(200);
    assert_eq!(first["items"][0]["name"], "order-created");
    assert!(first["next_cursor"].is_string());

    let mut text = json!({
        "name": "On its way", "event": "order-shipped", "channel": "email",
        "subject": "Order {{order_id}}", "body": "Dear {{first_name}}, {{carrier}} has it."
    });
    let written = client.post("/api/v1/templates", &text);
    let template = written.expect(201);
    let path = format!("/api/v1/templates/{}", template["id"].as_str().unwrap());
    assert_eq!(written.header("location"), Some(path.as_str()));
    assert_eq!(written.header("etag"), Some("\"1\""));
    assert_eq!(template["active"], false);
    client
        .post("/api/v1/templates", &text)
        .problem(409, "rejected/template-exists");

    let given = json!({ "variables": { "carrier": "Bob" } });
    let preview = client.post(&format!("{path}/preview"), &given).expect(200);
    assert_eq!(preview["body"], "Dear Ada, Bob has it.");
    let unknown = json!({ "variables": { "total": "1" } });
    client
        .post(&format!("{path}/preview"), &unknown)
        .problem(422, "rejected/unknown-variable");

    text["body"] = json!("Dear {{first_name}},\n{{total}}");
    let refused = put(&mut client, &path, &[], &text).problem(422, "rejected/invalid-template");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("body, line 2, column 1: `total`"),
        "{detail}"
    );
    text["body"] = json!("Dear {{first_name}}.");
    put(&mut client, &path, &[("if-match", "\"7\"")], &text)
        .problem(412, "rejected/version-changed");
    let rewritten = put(&mut client, &path, &[("if-match", "\"1\"")], &text);
    assert_eq!(rewritten.expect(200)["version"], 2);

    let activated = client.post(&format!("{path}/activate"), &json!({}));
    assert_eq!(activated.expect(200)["active"], true);
    assert_eq!(activated.header("etag"), Some("\"3\""));
    let off = client.request("POST", &format!("{path}/deactivate"), &[], Some(b""));
    assert_eq!(off.expect(200)["active"], false);
    assert_eq!(client.get(&path).expect(200)["version"], 4);
    let mut shown = client.get(&path).expect(200);
    shown["subject"] = json!("Your order {{order_id}}");
    let put_back = put(&mut client, &path, &[], &shown).expect(200);
    shown["version"] = json!(5);
    assert_eq!(put_back, shown);
    client
        .post("/api/v1/templates", &shown)
        .problem(422, "invalid-body");
    text["colour"] = json!("red");
    put(&mut client, &path, &[], &text).problem(422, "invalid-body");
    let nobody = "/api/v1/templates/01900000-0000-7000-8000-00000000ffff";
    client.get(nobody).expect(404);
}

#[test]
fn a_shop_whose_sender_cannot_be_used_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    for (variables, said) in [
        (
            &[("COMMERCE_NOTIFICATION_SENDER", "smtp")][..],
            "notification.smtp.host is empty",
        ),
        (
            &[("COMMERCE_NOTIFICATION_FROM", "nobody")],
            "notification.from `nobody` is no mail address",
        ),
    ] {
        let Err(ended) = Server::try_start(dir.path(), &["--no-seed"], variables) else {
            panic!("it starts although {said}");
        };
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
}
