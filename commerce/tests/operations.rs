//! What `docs/operations.md` says is done as it is written: its `sh` blocks run in one shell, in
//! order, and the shop that is restored is the shop that was backed up.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Server, commerce, ended, order_of, product};
use serde_json::json;

const WAIT: (&str, &str) = ("prefer", "wait=20");

fn script(page: &str) -> String {
    let mut script = String::from("set -euo pipefail\n");
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

#[test]
fn the_shop_that_is_restored_is_the_shop_that_was_backed_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let backups = dir.path().join("backups");
    let server = Server::start(&data);
    let mut client = server.client();
    let mut body = order_of(&product(0), 2, "tok_ok");
    body["shipping_address"]["recipient"] = json!("Xanthippe Quux");
    let once = ("idempotency-key", "once");
    let placed = client.post_with("/api/v1/orders", &[WAIT, once], &body);
    let placed = placed.expect(200);
    assert_eq!(server.terminate().code, Some(0));

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let script = script(&fs::read_to_string(page).unwrap());
    assert!(script.matches("commerce ").count() >= 6, "{script}");
    let program = Path::new(env!("CARGO_BIN_EXE_commerce")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .env("PATH", format!("{}:{path}", program.display()))
        .env("DATA", &data)
        .env("BACKUPS", &backups)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let shown = String::from_utf8_lossy(&done.stdout);
    for part in ["restored from", "predecessor", "order  ", "asks before"] {
        let none_under_way = part == "asks before" && shown.contains("none was under way");
        assert!(none_under_way || shown.contains(part), "{part} in {shown}");
    }

    // Everything is there, and personal data can be read; the same command is not done twice.
    let server = Server::start(&data);
    let mut client = server.client();
    let path = format!("/api/v1/orders/{}", placed["id"].as_str().unwrap());
    let now = client.get(&path).expect(200);
    assert_eq!(now["shipping_address"], body["shipping_address"]);
    assert_eq!(
        (&now["status"], &now["total"]),
        (&placed["status"], &placed["total"])
    );
    let again = client.post_with("/api/v1/orders", &[WAIT, once], &body);
    assert_eq!(again.expect(200)["id"], placed["id"]);
    let more = client.post_with(
        "/api/v1/orders",
        &[WAIT],
        &order_of(&product(0), 1, "tok_ok"),
    );
    assert_eq!(more.expect(200)["status"], "confirmed");
    assert_eq!(server.terminate().code, Some(0));

    // No key is in the backup, and without the keyring nothing starts.
    let backup = fs::read(backups.join("shop-1.backup")).unwrap();
    let keyring = fs::read(backups.join("keyring")).unwrap();
    let mut keys = 0;
    for key in keyring.chunks(64).skip(1).map(|slot| &slot[16..48]) {
        if key.iter().any(|byte| *byte != 0) {
            keys += 1;
            assert!(!backup.windows(32).any(|window| window == key));
        }
    }
    assert!(keys >= 2, "the keyring has {keys} keys");
    fs::remove_file(data.join("keys/keyring")).unwrap();
    let refused = Server::try_start(&data, &[], &[]).err().unwrap();
    assert_eq!(refused.code, Some(74), "{refused:?}");
    assert!(
        refused.stderr.contains("restore it from a copy"),
        "{refused:?}"
    );
}

#[test]
fn a_shop_at_work_is_backed_up_by_its_operators_where_it_was_told() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody has made it.
    let to = dir.path().join("of-the-shop").join("backups");
    let variable = ("COMMERCE_HTTP_BACKUP_DIR", to.to_str().unwrap());
    let server = Server::with(&dir.path().join("data"), &[], &[variable]);
    let mut client = server.client();
    let order = order_of(&product(0), 1, "tok_ok");
    let placed = client
        .post_with("/api/v1/orders", &[WAIT], &order)
        .expect(200);
    let taken = client
        .post("/admin/backup", &json!({ "to": "live-1" }))
        .expect(201);
    assert_eq!(taken["path"], to.join("live-1").to_str().unwrap());
    // Refused, and nothing is written.
    let again = client.post("/admin/backup", &json!({ "to": "live-1" }));
    again.problem(409, "conflict");
    let outside = client.post("/admin/backup", &json!({ "to": "../live-2" }));
    outside.problem(422, "unprocessable");
    let (_, mut customer) = server.customer("somebody@example.com");
    let refused = customer.post("/admin/backup", &json!({ "to": "live-3" }));
    refused.problem(403, "forbidden");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);

    // It goes on; the backup is the shop as it was, once it has its keys.
    client
        .post_with("/api/v1/orders", &[WAIT], &order)
        .expect(200);
    assert_eq!(server.terminate().code, Some(0));
    let restored = dir.path().join("restored");
    let live = to.join("live-1").display().to_string();
    let done = common::run(&["restore", &live, restored.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for folder in ["keys", "provider"] {
        fs::create_dir(restored.join(folder)).unwrap();
        for file in fs::read_dir(dir.path().join("data").join(folder)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), restored.join(folder).join(file.file_name())).unwrap();
        }
    }
    let server = Server::start(&restored);
    let mut client = server.client();
    let path = format!("/api/v1/orders/{}", placed["id"].as_str().unwrap());
    assert_eq!(client.get(&path).expect(200)["status"], "confirmed");
    assert_eq!(
        client.get("/api/v1/orders").expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Without a directory none is taken.
    let refused = client.post("/admin/backup", &json!({ "to": "live-4" }));
    refused.problem(409, "conflict");
}

#[test]
fn the_shop_has_the_commands_of_redeliver_with_its_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let asked = |args: &[&str]| {
        let mut command = commerce(args);
        command.current_dir(dir.path());
        ended(command)
    };
    for (args, code) in [
        (&["verify", "data"][..], 69),
        (&["backup", "data", "b"], 69),
        (&["restore", "b", "data"], 69),
        (&["verify"], 2),
    ] {
        assert_eq!(asked(args).code, Some(code), "{args:?}");
    }
    assert!(!data.exists());
    let server = Server::start(&data);
    let refused = asked(&["verify", "data"]);
    assert_eq!(refused.code, Some(75), "{refused:?}");
    assert!(
        refused.stderr.contains(&server.pid().to_string()),
        "{refused:?}"
    );
    server.kill();
    let verified = asked(&["verify", "data", "--json"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let report: serde_json::Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(report["ok"], true);
    assert!(
        report["others"]
            .as_array()
            .unwrap()
            .contains(&json!("keys"))
    );
}

#[test]
fn a_directory_for_backups_that_cannot_be_made_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let to = file.join("backups");
    let variable = ("COMMERCE_HTTP_BACKUP_DIR", to.to_str().unwrap());
    let server = Server::with(&dir.path().join("data"), &["--no-seed"], &[variable]);
    let refused = server
        .client()
        .post("/admin/backup", &json!({ "to": "live-1" }));
    let refused = refused.problem(500, "no-backup-directory");
    let said = refused["detail"].as_str().unwrap();
    assert!(said.contains(to.to_str().unwrap()), "{said}");
    assert!(said.contains("http.backup_dir"), "{said}");
}
