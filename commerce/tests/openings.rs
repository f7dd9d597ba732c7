//! Opening a data directory that is not as it should be: one clear sentence and the right exit
//! code, or a repair that loses nothing; and never any damage.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::mount::Mount;
use common::{Client, Ended, Server, commerce, order_of, product};
use serde_json::Value;

#[test]
fn a_second_process_is_refused_and_the_first_does_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let before = place(&mut server.client(), 3);
    let pid = server.pid().to_string();
    refused(dir.path(), 75, &[&pid, "open in another process"]);
    place(&mut server.client(), 3);
    let server = restarted(server);
    assert_orders(&mut server.client(), &before);
}

#[test]
fn a_flipped_byte_below_the_durable_end_is_damage_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let orders = place(&mut server.client(), 20);
    server.kill();
    let segment = segments(dir.path()).pop().unwrap();
    let intact = fs::read(&segment).unwrap();
    let end = intact.iter().rposition(|byte| *byte != 0).unwrap();
    for place in [end / 4, end / 2, end / 4 * 3] {
        let mut flipped = intact.clone();
        flipped[place] ^= 0x40;
        fs::write(&segment, &flipped).unwrap();
        let before = contents(dir.path());
        let name = segment.file_name().unwrap().to_str().unwrap();
        refused(
            dir.path(),
            74,
            &[name, "damaged", "restore the newest backup"],
        );
        assert_eq!(
            contents(dir.path()),
            before,
            "a refused start has changed something"
        );
    }
    fs::write(&segment, &intact).unwrap();
    assert_orders(&mut Server::start(dir.path()).client(), &orders);
}

#[test]
fn a_segment_that_is_missing_in_the_middle_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut orders = Vec::new();
    // Every start begins a segment.
    for _ in 0..3 {
        let server = Server::start(dir.path());
        orders.extend(place(&mut server.client(), 3));
        server.kill();
    }
    let segments = segments(dir.path());
    assert!(segments.len() >= 3, "{segments:?}");
    let away = dir.path().join("away");
    fs::rename(&segments[1], &away).unwrap();
    let before = contents(dir.path());
    refused(dir.path(), 74, &[]);
    assert_eq!(
        contents(dir.path()),
        before,
        "a refused start has changed something"
    );
    fs::rename(&away, &segments[1]).unwrap();
    assert_orders(&mut Server::start(dir.path()).client(), &orders);
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let orders = place(&mut server.client(), 3);
    server.kill();
    let path = dir.path().join("FORMAT");
    let intact = fs::read(&path).unwrap();
    let mut newer = intact.clone();
    newer[8..12].copy_from_slice(&7_u32.to_le_bytes());
    let checksum = crc32c(&newer[..16], &newer[20..]);
    newer[16..20].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    let before = contents(dir.path());
    refused(dir.path(), 74, &["format 7", "up to 1"]);
    assert_eq!(contents(dir.path()), before);
    fs::write(&path, &intact).unwrap();
    assert_orders(&mut Server::start(dir.path()).client(), &orders);
}

#[test]
fn a_file_in_place_of_the_directory_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::write(&path, "not a directory").unwrap();
    refused(&path, 74, &["data"]);
    refused(&path.join("below"), 74, &["data"]);
    assert_eq!(fs::read(&path).unwrap(), b"not a directory");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_and_left_alone() {
    let Some(mount) = Mount::of_megabytes(400) else {
        return;
    };
    let data = mount.path().join("data");
    let server = Server::start(&data);
    let orders = place(&mut server.client(), 3);
    server.kill();
    let before = contents(&data);
    mount.again("remount,ro");
    refused(&data, 74, &["data", "write access"]);
    refused(&mount.path().join("new"), 74, &["new", "write access"]);
    mount.again("remount,rw");
    assert_eq!(contents(&data), before);
    assert_orders(&mut Server::start(&data).client(), &orders);
}

#[test]
fn a_materialised_state_that_is_gone_or_garbled_is_rebuilt_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut orders = place(&mut server.client(), 20);
    // In good order: everything is in the materialised state.
    assert_eq!(server.terminate().code, Some(0));
    let sled = dir.path().join("cells").join("main").join("sled");
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("directory removed", |sled| {
            fs::remove_dir_all(sled).unwrap()
        }),
        ("files removed", |sled| {
            every_file(sled, |path, _| fs::remove_file(path).unwrap())
        }),
        ("files emptied", |sled| {
            every_file(sled, |path, _| fs::write(path, b"").unwrap())
        }),
        ("files overwritten", |sled| {
            every_file(sled, |path, bytes| {
                let noise = (0..bytes.len()).map(|place| (place * 31 + 7) as u8);
                fs::write(path, noise.collect::<Vec<u8>>()).unwrap();
            });
        }),
        ("files cut in half", |sled| {
            every_file(sled, |path, bytes| {
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap()
            });
        }),
        ("a file in its place", |sled| {
            fs::remove_dir_all(sled).unwrap();
            fs::write(sled, "no directory").unwrap();
        }),
    ];
    for (what, harm) in harms {
        harm(&sled);
        let server = Server::try_start(dir.path(), &[], &[]);
        let server = server.unwrap_or_else(|ended| panic!("{what}: {ended:?}"));
        let mut client = server.client();
        assert_orders(&mut client, &orders);
        orders.extend(place(&mut client, 2));
        let ended = server.terminate();
        assert_eq!(ended.code, Some(0), "{what}: {ended:?}");
        assert!(ended.stderr.contains("rebuilt"), "{what}: {ended:?}");
        // The rebuilt one is whole.
        let server = Server::start(dir.path());
        assert_orders(&mut server.client(), &orders);
        let ended = server.terminate();
        assert!(
            !ended.stderr.contains("rebuilt"),
            "{what}, once more: {ended:?}"
        );
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_refused_with_one_sentence() {
    let Some(mount) = Mount::of_megabytes(1) else {
        return;
    };
    let data = mount.path().join("data");
    refused(&data, 74, &["space"]);
}

#[test]
fn a_disk_that_fills_up_refuses_orders_and_goes_on_when_there_is_room() {
    let Some(mount) = Mount::of_megabytes(800) else {
        return;
    };
    let data = mount.path().join("data");
    let server = Server::start(&data);
    let mut client = server.client();
    let mut orders = place(&mut client, 5);
    let filler = mount.fill();
    let refusal = (0..5_000).find_map(|attempt| {
        let answer = post(&mut client, &format!("filling-{attempt}"));
        if answer.status == 202 {
            orders.push(answer.json());
            return None;
        }
        Some((attempt, answer))
    });
    let (attempt, refusal) = refusal.expect("a full disk takes no orders");
    assert_eq!(refusal.status, 503, "{}", refusal.json());
    assert!(refusal.header("retry-after").is_some());
    assert!(
        refusal.json()["detail"].as_str().unwrap().contains("space"),
        "{}",
        refusal.json()
    );
    // What is there can still be seen.
    assert_orders(&mut client, &orders);
    fs::remove_file(&filler).unwrap();
    let mut answer = refusal;
    for _ in 0..5_000 {
        answer = post(&mut client, &format!("filling-{attempt}"));
        if answer.status != 503 {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    orders.push(answer.expect(202));
    // Killed on a full disk, it starts again there or says what it lacks.
    mount.fill();
    server.kill();
    match Server::try_start(&data, &[], &[]) {
        Ok(server) => {
            // Nobody new gets in: a session that is not durable is none. Who is in can look.
            client.move_to(&server.address);
            assert_orders(&mut client, &orders);
            server.kill();
        }
        Err(ended) => assert_sentence(&ended, 74, &["space"]),
    }
    fs::remove_file(&filler).unwrap();
    assert_orders(&mut Server::start(&data).client(), &orders);
}

/// Strangers' idle connections must not take the files that the journal's next segment needs.
#[test]
fn connections_leave_the_journal_its_files() {
    const FILES_MAX: u32 = 160;
    const ORDERS_MAX: usize = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let mut server = Limited::start(dir.path(), FILES_MAX);
    let files = format!("/proc/{}/fd", server.child.id());
    if !Path::new(&files).exists() {
        eprintln!("SKIPPED: this system does not show which files a process has open");
        return;
    }
    let strangers: Vec<TcpStream> = (0..FILES_MAX)
        .map_while(|_| {
            let address = server.address.parse().unwrap();
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()
        })
        .collect();
    let count = || {
        // Not a wait for a condition: what must not happen gets time to happen.
        std::thread::sleep(Duration::from_millis(10));
        fs::read_dir(&files).unwrap().count()
    };
    let open = (0..50).map(|_| count()).max().unwrap();
    assert!(
        open > 50,
        "of {} connections, {open} files are open",
        strangers.len()
    );
    assert!(
        open + 50 < FILES_MAX as usize,
        "{open} of {FILES_MAX} files are open"
    );
    drop(strangers);
    let mut client = Client::new(&server.address);
    let mut orders = Vec::new();
    let first = segments(dir.path()).len();
    while segments(dir.path()).len() == first {
        let key = format!("order-{}", orders.len());
        orders.push(post_again(&mut client, &key).expect(202));
        assert!(
            orders.len() < ORDERS_MAX,
            "no new segment after {} orders",
            orders.len()
        );
    }
    assert_orders(&mut client, &orders);
    assert_eq!(server.child.try_wait().unwrap(), None);
}

/// Until it is answered: an idle connection, ours too, gives its slot to who waits for one.
fn post_again(client: &mut Client, key: &str) -> common::Answer {
    let body = order_of(&product(0), 1, "tok_ok").to_string();
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let mut again =
        || client.try_request("POST", "/api/v1/orders", &headers, Some(body.as_bytes()));
    (0..200).find_map(|_| again().ok()).unwrap()
}

/// A server that may open so many files and no more.
struct Limited {
    child: Child,
    address: String,
}

impl Limited {
    fn start(data: &Path, files_max: u32) -> Limited {
        let data = data.display().to_string();
        let program = commerce(&["--data", &data, "--listen", "127.0.0.1:0", "--log", "warn"]);
        let variables = program.get_envs();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -n {files_max}; exec \"$0\" \"$@\""))
            .arg(program.get_program())
            .args(program.get_args())
            .envs(variables.filter_map(|(name, value)| Some((name, value?))))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim_end()
            .strip_prefix("ready http://")
            .unwrap()
            .to_owned();
        Limited { child, address }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Places orders; the answers.
fn place(client: &mut Client, count: usize) -> Vec<Value> {
    (0..count)
        .map(|_| {
            client
                .post("/api/v1/orders", &order_of(&product(0), 1, "tok_ok"))
                .expect(202)
        })
        .collect()
}

fn post(client: &mut Client, key: &str) -> common::Answer {
    let body = order_of(&product(0), 1, "tok_ok");
    client.post_with("/api/v1/orders", &[("idempotency-key", key)], &body)
}

/// Every order is there as it was acknowledged.
#[track_caller]
fn assert_orders(client: &mut Client, orders: &[Value]) {
    for order in orders {
        let path = format!("/api/v1/orders/{}", order["id"].as_str().unwrap());
        let now = client.get(&path).expect(200);
        assert_eq!(
            (&now["items"], &now["total"]),
            (&order["items"], &order["total"])
        );
    }
}

fn restarted(server: Server) -> Server {
    let data = server.data.clone();
    assert_eq!(server.terminate().code, Some(0));
    Server::start(&data)
}

#[track_caller]
fn refused(data: &Path, code: i32, words: &[&str]) {
    match Server::try_start(data, &[], &[]) {
        Ok(_) => panic!("{} was opened", data.display()),
        Err(ended) => assert_sentence(&ended, code, words),
    }
}

/// One sentence with these words on standard error, nothing on standard output.
#[track_caller]
fn assert_sentence(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("commerce: "), "{ended:?}");
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "`{word}` is missing: {ended:?}"
        );
    }
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let journal = data.join("cells").join("main").join("journal");
    let mut paths: Vec<PathBuf> = fs::read_dir(journal)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

/// Every file with its bytes; but for the lock, which is anybody's who tries.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if !path.ends_with("LOCK") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn every_file(directory: &Path, harm: impl Fn(&Path, Vec<u8>)) {
    for (path, bytes) in contents(directory) {
        harm(&path, bytes);
    }
}

/// CRC32C, bit by bit.
fn crc32c(head: &[u8], body: &[u8]) -> u32 {
    let bits = head.iter().chain(body).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    });
    !bits
}
