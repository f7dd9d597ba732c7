//! Users sign in, stay in, are locked out and deleted: asked of the real program.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use commerce::app::{Outsiders, Shop};
use commerce::config::Config;
use commerce::identity::accounts::Entry;
use commerce::identity::requests::{PasswordOutcome, UnlockAccount};
use commerce::identity::{Contact, Password};
use common::{ADMIN, Answer, CUSTOMER_PASSWORD, Client, Server, order_of, product};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const EMAIL: &str = "grace.hopper@example.com";
const WRONG: &str = "not the password at all";

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{value}"))
}

/// Tokens of somebody who signs in.
#[track_caller]
fn tokens(client: &mut Client, email: &str, password: &str) -> (String, String) {
    pair(&client.log_in(email, password).expect(200))
}

fn pair(tokens: &Value) -> (String, String) {
    (
        text(tokens, "access_token").to_owned(),
        text(tokens, "refresh_token").to_owned(),
    )
}

#[track_caller]
fn refresh(client: &mut Client, token: &str) -> Answer {
    client.post("/api/v1/auth/refresh", &json!({ "refresh_token": token }))
}

fn send(client: &mut Client, method: &str, path: &str, body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    client.request(method, path, &json, Some(body.to_string().as_bytes()))
}

fn user_path(id: &str) -> String {
    format!("/api/v1/users/{id}")
}

#[test]
fn who_registers_can_sign_in_and_sees_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.stranger();
    let registration = json!({
        "email": EMAIL, "password": CUSTOMER_PASSWORD, "first_name": "Grace", "last_name": "Hopper"
    });
    let registered = client.post("/api/v1/auth/register", &registration);
    let user = registered.expect(201);
    let id = text(&user, "id").to_owned();
    assert_eq!(registered.header("location"), Some(user_path(&id).as_str()));
    assert_eq!(registered.header("etag"), Some("\"1\""));
    for (name, value) in [
        ("email", json!(EMAIL)),
        ("first_name", json!("Grace")),
        ("last_name", json!("Hopper")),
        ("roles", json!(["customer"])),
        ("version", json!(1)),
    ] {
        assert_eq!(user[name], value, "{user}");
    }
    assert!(user["created_at"].is_string());

    let login = client.log_in(&EMAIL.to_uppercase(), CUSTOMER_PASSWORD);
    assert_eq!(login.header("cache-control"), Some("no-store"));
    let login = login.expect(200);
    assert_eq!(login["token_type"], "Bearer");
    assert_eq!(login["expires_in"], 900);
    let who = json!({ "id": id, "email": EMAIL, "roles": ["customer"] });
    assert_eq!(login["user"], who);
    let path = user_path(&id);
    let seen = client.get_with_token(&path, text(&login, "access_token"));
    assert_eq!(seen.expect(200), user);
    assert_eq!(seen.header("etag"), Some("\"1\""));

    // The address is taken, however it is written.
    let mut again = registration.clone();
    again["email"] = json!(format!(" {} ", EMAIL.to_uppercase()));
    let answer = client.post("/api/v1/auth/register", &again);
    answer.problem(409, "rejected/email-taken");
}

#[test]
fn what_cannot_be_registered_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.stranger();
    let good = json!({
        "email": EMAIL, "password": CUSTOMER_PASSWORD, "first_name": "Grace", "last_name": "Hopper"
    });
    for (name, value, kind) in [
        (
            "password",
            json!("eleven char"),
            "rejected/invalid-password",
        ),
        (
            "password",
            json!("x".repeat(129)),
            "rejected/invalid-password",
        ),
        ("email", json!("grace"), "rejected/invalid-email"),
        ("email", json!(""), "rejected/invalid-email"),
        ("first_name", json!("  "), "rejected/invalid-name"),
        ("last_name", json!("x".repeat(101)), "rejected/invalid-name"),
        ("first_name", json!(7), "invalid-body"),
        ("roles", json!(["admin"]), "invalid-body"),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let answer = client.post("/api/v1/auth/register", &bad);
        answer.problem(422, kind);
    }
    for name in ["email", "password", "first_name", "last_name"] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(name);
        let answer = client.post("/api/v1/auth/register", &bad);
        answer.problem(422, "invalid-body");
    }
    client.post("/api/v1/auth/register", &good).expect(201);
}

#[test]
fn an_unknown_address_and_a_wrong_password_are_answered_alike() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (_, mut client) = server.customer(EMAIL);
    let mut without_id = |email: &str| {
        let mut problem = client.log_in(email, WRONG).expect(401);
        problem.as_object_mut().unwrap().remove("request_id");
        problem
    };
    let mut known: Vec<Value> = Vec::new();
    for (email, said) in [
        (EMAIL, None),
        ("nobody@example.com", Some(())),
        ("no address", Some(())),
    ] {
        let answer = without_id(email);
        match said {
            None => known.push(answer),
            Some(()) => assert_eq!(answer, known[0], "{email}"),
        }
    }
}

#[test]
fn a_refresh_token_is_good_once_and_its_reuse_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, _) = server.customer(EMAIL);
    let path = user_path(&id);
    let mut client = server.stranger();
    let (first_access, first) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    let refreshed = refresh(&mut client, &first).expect(200);
    assert_eq!(text(&refreshed["user"], "email"), EMAIL);
    let (second_access, second) = pair(&refreshed);
    assert_ne!(first, second);
    client.get_with_token(&path, &first_access).expect(200);
    client.get_with_token(&path, &second_access).expect(200);
    // Somebody shows the first one again: one of the two is a thief.
    refresh(&mut client, &first).problem(401, "unauthorized");
    for access in [&first_access, &second_access] {
        let answer = client.get_with_token(&path, access);
        answer.problem(401, "unauthorized");
    }
    refresh(&mut client, &second).problem(401, "unauthorized");
    for made_up in ["", "x", &"0".repeat(96)] {
        refresh(&mut client, made_up).problem(401, "unauthorized");
    }
}

#[test]
fn a_session_ends_with_logout_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, _) = server.customer(EMAIL);
    let path = user_path(&id);
    let mut client = server.stranger();
    let (access, token) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    let (other, other_token) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    let bearer = format!("Bearer {access}");
    let with = [("authorization", bearer.as_str())];
    let out = client.request("POST", "/api/v1/auth/logout", &with, None);
    assert_eq!((out.status, out.body.len()), (204, 0));
    client
        .get_with_token(&path, &access)
        .problem(401, "unauthorized");
    refresh(&mut client, &token).problem(401, "unauthorized");
    client.get_with_token(&path, &other).expect(200);
    // A refresh token alone will do, and a second time is no harm.
    for _ in 0..2 {
        let body = json!({ "refresh_token": other_token });
        let out = client.post("/api/v1/auth/logout", &body);
        assert_eq!(out.status, 204);
    }
    client
        .get_with_token(&path, &other)
        .problem(401, "unauthorized");
    let out = client.request("POST", "/api/v1/auth/logout", &[], None);
    out.problem(401, "unauthorized");
}

#[test]
fn who_has_stayed_too_long_can_still_leave() {
    let dir = tempfile::tempdir().unwrap();
    let none = [("COMMERCE_IDENTITY_ACCESS_TOKEN_S", "0")];
    let server = Server::with(dir.path(), &[], &none);
    let mut client = server.stranger();
    client.register(EMAIL, CUSTOMER_PASSWORD);
    for spoiled in [false, true] {
        let (mut access, token) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
        if spoiled {
            access = "v4.local.AAAA".to_owned();
        }
        let bearer = format!("Bearer {access}");
        let with = [("authorization", bearer.as_str())];
        // Alone it proves nothing any more.
        let out = client.request("POST", "/api/v1/auth/logout", &with, None);
        out.problem(401, "unauthorized");
        let body = json!({ "refresh_token": token });
        let out = client.post_with("/api/v1/auth/logout", &with, &body);
        assert_eq!(out.status, 204);
        refresh(&mut client, &token).problem(401, "unauthorized");
    }
}

#[test]
fn five_wrong_passwords_lock_until_an_administrator_unlocks() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, _) = server.customer(EMAIL);
    let path = user_path(&id);
    let mut client = server.stranger();
    let (access, token) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    for _ in 0..5 {
        let answer = client.log_in(EMAIL, WRONG);
        answer.problem(401, "wrong-credentials");
    }
    let answer = client.log_in(EMAIL, CUSTOMER_PASSWORD);
    let locked = answer.problem(403, "account-locked");
    assert!(text(&locked, "locked_until").ends_with('Z'));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((800..=900).contains(&wait), "{wait}");
    // Who is in already is out, too.
    client
        .get_with_token(&path, &access)
        .problem(401, "unauthorized");
    refresh(&mut client, &token).problem(403, "account-locked");
    let mut admin = server.client();
    assert!(admin.get(&path).expect(200)["locked_until"].is_string());
    let unlock = format!("{path}/unlock");
    let user = admin.post(&unlock, &json!({})).expect(200);
    assert_eq!(user["locked_until"], Value::Null);
    client.get_with_token(&path, &access).expect(200);
    client.log_in(EMAIL, CUSTOMER_PASSWORD).expect(200);
}

/// Asked of the shop in this process, where it is seen how many passwords are compared.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_the_same_time_are_no_more_than_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config {
        data: dir.path().join("data"),
        ..Config::default()
    };
    config.identity.argon2_memory_kib = 8;
    config.identity.argon2_passes = 1;
    config.identity.password_workers = 8;
    let shop = Shop::open(&config, Outsiders::AtOnce).await.unwrap();
    let contact = Contact {
        email: EMAIL.to_owned(),
        first_name: "Grace".to_owned(),
        last_name: "Hopper".to_owned(),
    };
    let password = Password::new(CUSTOMER_PASSWORD);
    let grace = shop.accounts.register(contact, password).await.unwrap();
    // As many good ones as come.
    for entry in all_at_once(&shop, EMAIL, CUSTOMER_PASSWORD).await {
        assert!(matches!(entry, Entry::Admitted(_)));
    }
    for email in [EMAIL, "nobody@example.com"] {
        let before = shop.accounts.passwords.compared();
        let entries = all_at_once(&shop, email, WRONG).await;
        let refused = entries.iter().filter(|e| matches!(e, Entry::Refused));
        assert_eq!(refused.count(), 5, "{email}");
        let locked = entries.iter().filter(|e| matches!(e, Entry::Locked { .. }));
        assert_eq!(locked.count(), 15, "{email}");
        assert_eq!(shop.accounts.passwords.compared() - before, 5, "{email}");
    }

    // Who has found a session open does not get more guesses either.
    let user_id = grace.id;
    let identity = shop.identity();
    identity
        .call(UnlockAccount {
            user_id,
            if_version: None,
        })
        .await
        .unwrap();
    let before = shop.accounts.passwords.compared();
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let shop = shop.clone();
        tasks.spawn(async move {
            let new = Password::new("another good password");
            let change = shop
                .accounts
                .password_change(user_id, None, Password::new(WRONG), new);
            let (command, _turn) = change.await.unwrap();
            shop.identity().call(command).await.unwrap()
        });
    }
    let outcomes = tasks.join_all().await;
    let wrong = outcomes
        .iter()
        .filter(|outcome| **outcome == PasswordOutcome::Wrong);
    assert_eq!(wrong.count(), 5);
    assert_eq!(shop.accounts.passwords.compared() - before, 5);
    shop.shutdown(Duration::from_secs(10)).await.unwrap();
}

async fn all_at_once(shop: &Shop, email: &'static str, password: &'static str) -> Vec<Entry> {
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let shop = shop.clone();
        tasks.spawn(async move {
            let entry = shop.accounts.log_in(email, Password::new(password)).await;
            entry.unwrap()
        });
    }
    tasks.join_all().await
}

#[test]
fn an_address_that_nobody_has_is_locked_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.stranger();
    for _ in 0..5 {
        let answer = client.log_in("nobody@example.com", WRONG);
        answer.problem(401, "wrong-credentials");
    }
    let answer = client.log_in("nobody@example.com", WRONG);
    answer.problem(403, "account-locked");
}

#[test]
fn a_lockout_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let short = [
        ("COMMERCE_IDENTITY_LOCKOUT_S", "1"),
        ("COMMERCE_IDENTITY_FAILED_LOGINS_PER_MINUTE", "0"),
    ];
    let server = Server::with(dir.path(), &[], &short);
    server.customer(EMAIL);
    let mut client = server.stranger();
    for _ in 0..5 {
        client.log_in(EMAIL, WRONG).expect(401);
    }
    let mut looks = 0;
    while client.log_in(EMAIL, CUSTOMER_PASSWORD).status == 403 {
        looks += 1;
        assert!(looks < 1_000);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    client.log_in(EMAIL, CUSTOMER_PASSWORD).expect(200);
}

#[test]
fn only_failed_logins_of_an_address_are_throttled() {
    let dir = tempfile::tempdir().unwrap();
    let few = [("COMMERCE_IDENTITY_FAILED_LOGINS_PER_MINUTE", "3")];
    let server = Server::with(dir.path(), &[], &few);
    let mut client = server.stranger();
    for _ in 0..10 {
        client.log_in(ADMIN.0, ADMIN.1).expect(200);
    }
    for n in 0..3 {
        let answer = client.log_in(&format!("user-{n}@example.com"), WRONG);
        answer.problem(401, "wrong-credentials");
    }
    let answer = client.log_in("user-4@example.com", WRONG);
    answer.problem(429, "too-many-failed-logins");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
}

#[test]
fn a_role_counts_from_the_next_request_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, mut grace) = server.customer(EMAIL);
    let mut admin = server.client();
    let stock = "/api/v1/inventory/products";
    let roles = format!("{}/roles", user_path(&id));
    grace.get(stock).problem(403, "forbidden");
    let set = send(
        &mut admin,
        "PUT",
        &roles,
        &json!({ "roles": ["inventory-manager"] }),
    );
    let user = set.expect(200);
    assert_eq!(user["roles"], json!(["inventory-manager"]));
    assert_eq!(set.header("etag"), Some("\"2\""));
    grace.get(stock).expect(200);
    send(&mut admin, "PUT", &roles, &json!({ "roles": [] })).expect(200);
    grace.get(stock).problem(403, "forbidden");
    // Nobody gives themselves anything.
    let all = json!({ "roles": ["admin"] });
    send(&mut grace, "PUT", &roles, &all).problem(403, "forbidden");
    let made_up = json!({ "roles": ["king"] });
    send(&mut admin, "PUT", &roles, &made_up).problem(422, "invalid-body");
    let json = ("content-type", "application/json");
    let seen = [json, ("if-match", "\"1\"")];
    let stale = admin.request("PUT", &roles, &seen, Some(all.to_string().as_bytes()));
    stale.problem(412, "rejected/version-changed");
}

#[test]
fn the_last_administrator_can_be_neither_deleted_nor_demoted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut admin = server.client();
    let login = admin.log_in(ADMIN.0, ADMIN.1).expect(200);
    assert_eq!(login["user"]["roles"], json!(["customer", "admin"]));
    let path = user_path(text(&login["user"], "id"));
    let roles = format!("{path}/roles");
    let none = json!({ "roles": ["customer"] });
    send(&mut admin, "PUT", &roles, &none).problem(409, "rejected/last-admin");
    let deleted = admin.request("DELETE", &path, &[], None);
    deleted.problem(409, "rejected/last-admin");
}

#[test]
fn other_peoples_accounts_do_not_exist() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (_, mut eve) = server.customer("eve@example.com");
    let (id, _) = server.customer(EMAIL);
    let path = user_path(&id);
    let nobody = user_path("01900000-0000-7000-8000-00000000ffff");
    for path in [&path, &nobody] {
        eve.get(path).expect(404);
        eve.request("DELETE", path, &[], None).expect(404);
        let change = json!({ "first_name": "Eve" });
        send(&mut eve, "PATCH", path, &change).expect(404);
        let password = json!({
            "current_password": CUSTOMER_PASSWORD, "new_password": "another password"
        });
        eve.post(&format!("{path}/password"), &password).expect(404);
        let unlock = format!("{path}/unlock");
        eve.post(&unlock, &json!({})).problem(403, "forbidden");
    }
    // An administrator sees them, and still does not set their password.
    let mut admin = server.client();
    admin.get(&path).expect(200);
    admin.get(&nobody).expect(404);
    let password = json!({ "current_password": ADMIN.1, "new_password": "another password" });
    admin
        .post(&format!("{path}/password"), &password)
        .expect(404);
}

#[test]
fn a_profile_changes_for_who_has_seen_it_last() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    server.customer("eve@example.com");
    let (id, mut grace) = server.customer(EMAIL);
    let path = user_path(&id);
    let change = json!({ "first_name": "Amazing", "email": "amazing@example.com" });
    let text = change.to_string();
    let headers = |version: &'static str| {
        [
            ("content-type", "application/json"),
            ("if-match", version),
            ("idempotency-key", "k1"),
        ]
    };
    let first = grace.request("PATCH", &path, &headers("\"1\""), Some(text.as_bytes()));
    let user = first.expect(200);
    assert_eq!(user["first_name"], "Amazing");
    assert_eq!(user["last_name"], "Lovelace");
    assert_eq!(first.header("etag"), Some("\"2\""));
    let again = grace.request("PATCH", &path, &headers("\"1\""), Some(text.as_bytes()));
    assert_eq!(again.expect(200), user);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let stale = [("content-type", "application/json"), ("if-match", "\"1\"")];
    let stale = grace.request("PATCH", &path, &stale, Some(text.as_bytes()));
    stale.problem(412, "rejected/version-changed");
    let mut shown = grace.get(&path).expect(200);
    shown["first_name"] = json!("Admiral");
    let patched = send(&mut grace, "PATCH", &path, &shown).expect(200);
    shown["version"] = json!(3);
    assert_eq!(patched, shown);
    shown["roles"] = json!(["customer", "admin"]);
    let patched = send(&mut grace, "PATCH", &path, &shown).expect(200);
    assert_eq!(patched["roles"], json!(["customer"]));
    shown["colour"] = json!("red");
    send(&mut grace, "PATCH", &path, &shown).problem(422, "invalid-body");
    let taken = json!({ "email": "EVE@example.com" });
    send(&mut grace, "PATCH", &path, &taken).problem(409, "rejected/email-taken");
    let mut client = server.stranger();
    client.log_in(EMAIL, CUSTOMER_PASSWORD).expect(401);
    client
        .log_in("amazing@example.com", CUSTOMER_PASSWORD)
        .expect(200);
}

/// A user has a version, so a password and a lockout are for the one that was seen. A change that
/// is refused for that counts as no guess.
#[test]
fn a_password_and_an_unlocking_are_for_the_version_of_the_user_that_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, mut grace) = server.customer(EMAIL);
    let mut admin = server.client();
    let user = user_path(&id);
    let stale = [("if-match", "\"7\"")];
    let (unlock, password) = (format!("{user}/unlock"), format!("{user}/password"));
    let body = |current: &str| json!({ "current_password": current, "new_password": "quite another password" });
    for _ in 0..10 {
        grace
            .post_with(&password, &stale, &body(WRONG))
            .problem(412, "rejected/version-changed");
    }
    grace
        .post_with(&password, &stale, &body(CUSTOMER_PASSWORD))
        .expect(412);
    admin.post_with(&unlock, &stale, &json!({})).expect(412);
    let tag = admin.get(&user).header("etag").unwrap().to_owned();
    let present = [("if-match", tag.as_str())];
    for unreadable in [b"{".as_slice(), b"[]", b"{\"bogus\":1}"] {
        let json = [("content-type", "application/json")];
        let answer = admin.request("POST", &unlock, &json, Some(unreadable));
        assert!([400, 422].contains(&answer.status), "{}", answer.status);
    }
    admin.request("POST", &unlock, &present, None).expect(200);
    let any = [("if-match", "*")];
    admin.post_with(&unlock, &any, &json!({})).expect(200);
    let changed = grace.post_with(&password, &present, &body(CUSTOMER_PASSWORD));
    assert_eq!(changed.status, 204);
}

#[test]
fn another_password_ends_every_session() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, _) = server.customer(EMAIL);
    let mut client = server.stranger();
    let (access, token) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    let (other, _) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    let path = format!("{}/password", user_path(&id));
    let bearer = format!("Bearer {access}");
    let mut change = |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        let with = [("authorization", bearer.as_str())];
        client.post_with(&path, &with, &body)
    };
    change(WRONG, "quite another password").problem(403, "wrong-password");
    change(CUSTOMER_PASSWORD, "short").problem(422, "rejected/invalid-password");
    let changed = change(CUSTOMER_PASSWORD, "quite another password");
    assert_eq!((changed.status, changed.body.len()), (204, 0));
    let user = user_path(&id);
    for access in [&access, &other] {
        client
            .get_with_token(&user, access)
            .problem(401, "unauthorized");
    }
    refresh(&mut client, &token).problem(401, "unauthorized");
    client.log_in(EMAIL, CUSTOMER_PASSWORD).expect(401);
    client.log_in(EMAIL, "quite another password").expect(200);
}

#[test]
fn a_deleted_user_is_unknown_and_what_the_user_bought_stays() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, mut grace) = server.customer(EMAIL);
    let wait = ("prefer", "wait=20");
    let order = order_of(&product(0), 1, "tok_ok");
    let order = grace.post_with("/api/v1/orders", &[wait], &order);
    let order = order.expect(200);
    let (access, token) = tokens(&mut grace, EMAIL, CUSTOMER_PASSWORD);
    let path = user_path(&id);
    let deleted = grace.request("DELETE", &path, &[], None);
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    let mut client = server.stranger();
    client
        .get_with_token(&path, &access)
        .problem(401, "unauthorized");
    refresh(&mut client, &token).problem(401, "unauthorized");
    let answer = client.log_in(EMAIL, CUSTOMER_PASSWORD);
    answer.problem(401, "wrong-credentials");
    let mut admin = server.client();
    admin.get(&path).expect(404);
    admin.request("DELETE", &path, &[], None).expect(404);
    let order_path = format!("/api/v1/orders/{}", text(&order, "id"));
    assert_eq!(admin.get(&order_path).expect(200)["customer_id"], id);
    // Whoever registers with the address is somebody else.
    let (other, mut client) = server.customer(EMAIL);
    assert_ne!(other, id);
    client.get(&order_path).expect(404);
}

#[test]
fn sessions_and_lockouts_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let (id, _) = server.customer(EMAIL);
    let mut client = server.stranger();
    let (access, token) = tokens(&mut client, EMAIL, CUSTOMER_PASSWORD);
    for _ in 0..5 {
        client.log_in("locked@example.com", WRONG).expect(401);
    }
    server.kill();
    let server = Server::start(dir.path());
    let mut client = server.stranger();
    client.get_with_token(&user_path(&id), &access).expect(200);
    refresh(&mut client, &token).expect(200);
    let answer = client.log_in("locked@example.com", WRONG);
    answer.problem(403, "account-locked");
    refresh(&mut client, &token).problem(401, "unauthorized");
}

#[test]
fn an_access_token_expires() {
    let dir = tempfile::tempdir().unwrap();
    let none = [("COMMERCE_IDENTITY_ACCESS_TOKEN_S", "0")];
    let server = Server::with(dir.path(), &[], &none);
    let mut client = server.stranger();
    let (access, _) = tokens(&mut client, ADMIN.0, ADMIN.1);
    let answer = client.get_with_token("/api/v1/orders", &access);
    let problem = answer.problem(401, "unauthorized");
    assert!(text(&problem, "detail").contains("expired"), "{problem}");
}

#[test]
fn the_first_administrators_password_is_read_once_or_made_up_once() {
    let dir = tempfile::tempdir().unwrap();
    let none = [("COMMERCE_ADMIN_PASSWORD", "")];
    let server = Server::with(dir.path(), &["--no-seed"], &none);
    let said = server.terminate().stderr;
    let line = said.lines().find(|line| line.contains(ADMIN.0)).unwrap();
    let made_up = line.split(' ').find(|word| word.len() == 24).unwrap();
    // Whatever is configured later, it stays.
    let server = Server::with(dir.path(), &["--no-seed"], &[]);
    server.stranger().log_in(ADMIN.0, made_up).expect(200);
    server.stranger().log_in(ADMIN.0, ADMIN.1).expect(401);
    assert!(!server.terminate().stderr.contains(ADMIN.0));
}

#[test]
fn a_first_start_that_was_killed_anywhere_ends_with_one_administrator() {
    let dir = tempfile::tempdir().unwrap();
    for millis in [0, 30, 60, 90, 120, 150, 180, 250] {
        let starting = Server::spawn(dir.path(), &[], &[]);
        // Not a wait for a condition: the moment of death is the variable here.
        std::thread::sleep(std::time::Duration::from_millis(millis));
        starting.kill();
    }
    let server = Server::start(dir.path());
    server.stranger().log_in(ADMIN.0, ADMIN.1).expect(200);
}

#[test]
fn nothing_personal_and_no_password_or_token_is_written_in_plain() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--log", "trace"], &[]);
    let mut client = server.stranger();
    let registration = json!({
        "email": EMAIL, "password": "Zanzibar-Password-1", "first_name": "Qwyneth",
        "last_name": "Xylophon"
    });
    let user = client
        .post("/api/v1/auth/register", &registration)
        .expect(201);
    let id = text(&user, "id").to_owned();
    let (access, token) = tokens(&mut client, EMAIL, "Zanzibar-Password-1");
    client.log_in(EMAIL, "Zanzibar-Wrong-2").expect(401);
    client.get_with_token(&user_path(&id), &access).expect(200);
    let (_, last) = pair(&refresh(&mut client, &token).expect(200));
    let bearer = format!("Bearer {access}");
    let with = [("authorization", bearer.as_str())];
    let body = json!({
        "current_password": "Zanzibar-Password-1", "new_password": "Zanzibar-Password-3"
    });
    let path = format!("{}/password", user_path(&id));
    assert_eq!(client.post_with(&path, &with, &body).status, 204);
    let mut admin = server.client();
    admin.get(&user_path(&id)).expect(200);
    assert_eq!(
        admin.request("DELETE", &user_path(&id), &[], None).status,
        204
    );
    let logs = server.terminate().stderr;
    assert!(logs.len() > 1_000, "there are logs to look at");
    let mut secrets = vec![
        "grace.hopper",
        "Zanzibar",
        "Qwyneth",
        "Xylophon",
        "$argon2id",
        ADMIN.1,
        &access,
        &token,
        &last,
    ];
    // The secret part of tokens, however they were cut.
    secrets.extend([&access[20..60], &token[40..80], &last[40..80]]);
    for secret in &secrets {
        assert!(!logs.contains(secret), "{secret} is in the log");
    }
    let mut files = Vec::new();
    all_files(dir.path(), &mut files);
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        // What is looked for is ASCII, which this leaves as it is.
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        for secret in &secrets {
            let found = text.contains(&secret.to_ascii_lowercase());
            assert!(!found, "{secret} is in {}", file.display());
        }
    }
}

fn all_files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, into);
        } else {
            into.push(path);
        }
    }
}

#[test]
fn the_shop_can_listen_on_any_address() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--listen", "0.0.0.0:0"], &[]);
    let port = server.address.rsplit(':').next().unwrap();
    let mut client = Client::new(&format!("127.0.0.1:{port}"));
    client.get("/api/v1/orders").expect(200);
}
