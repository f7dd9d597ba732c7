//! Notifications of the real program: letters in its data directory, templates and preferences
//! over HTTP.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Answer, Client, Server, product};
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
