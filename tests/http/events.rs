//! Event streams over real sockets, and the figures of a server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redeliver::clock::SystemClock;
use redeliver::http::{
    self, EventStreams, EventStreamsConfig, EventView, ServerConfig, Show, Shown,
};
use redeliver::persistence::real_disk::RealDisk;
use redeliver::persistence::restore::restore;
use redeliver::prelude::*;
use redeliver::{Config, EventNumber, FeedItem, PublishedEvent, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use warp::Filter;

use crate::Server;
use crate::client::Client;

/// Only turns a test that would wait for ever into one that fails.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bell;

#[derive(Serialize, Deserialize)]
struct Ring {
    text: String,
}
impl Message for Ring {
    const NAME: &'static str = "ring";
}
impl Command for Ring {
    type Reply = ();
}

#[derive(Serialize, Deserialize)]
struct Rang {
    text: String,
}
impl Message for Rang {
    const NAME: &'static str = "rang";
}
impl Event for Rang {}

#[derive(Serialize, Deserialize)]
struct Echoed {}
impl Message for Echoed {
    const NAME: &'static str = "echoed";
}
impl Event for Echoed {}

impl Service for Bell {
    const NAME: &'static str = "bell";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(Self::ring)
            .publishes_outside::<Rang>()
            .publishes_outside::<Echoed>();
    }
}

impl Bell {
    fn ring(&self, ring: Ring, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.publish(Rang { text: ring.text });
        cx.publish(Echoed {});
        Ok(())
    }
}

/// A system that keeps few events.
async fn start(dir: &Path) -> System {
    start_with(dir, 256 * 1024).await
}

async fn start_with(dir: &Path, events_bytes_max: u64) -> System {
    let config = Config {
        events_bytes_max,
        checkpoint_after_bytes: 64 * 1024,
        journal_segment_bytes: 256 * 1024,
        ..Config::default()
    };
    let system = System::open(dir).config(config).service(Bell);
    system.start().await.unwrap()
}

async fn ring(system: &System, text: &str) {
    let text = text.to_owned();
    system.service::<Bell>().call(Ring { text }).await.unwrap();
}

/// Rings this many times at once.
async fn ring_often(system: &System, times: usize, bytes: usize) {
    let mut ringing = tokio::task::JoinSet::new();
    for _ in 0..times {
        let system = system.clone();
        ringing.spawn(async move { ring(&system, &"x".repeat(bytes)).await });
        if ringing.len() > 200 {
            ringing.join_next().await.unwrap().unwrap();
        }
    }
    ringing.join_all().await;
}

/// A piece of a stream as a browser takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    id: String,
    event: String,
    data: String,
}

/// A reader of server-sent events.
struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What it would come back with.
    last_id: String,
    comments: usize,
}

impl Reader {
    async fn open(address: SocketAddr, query: &str, last_id: Option<&str>) -> Reader {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let id = last_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        // HTTP/1.0: the body comes without chunks.
        let head = format!("GET /events{query} HTTP/1.0\r\nHost: x\r\n{id}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reader = Reader {
            stream,
            buffer: Vec::new(),
            last_id: last_id.unwrap_or_default().to_owned(),
            comments: 0,
        };
        let head = reader.until("\r\n\r\n").await.expect("a head");
        assert!(head.contains(" 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        // The greeting is there when the stream has taken its place.
        let greeting = reader.until("\n\n").await.expect("a greeting");
        assert!(greeting.starts_with("retry: "), "{greeting}");
        reader.take(&greeting);
        reader
    }

    async fn until(&mut self, end: &str) -> Option<String> {
        loop {
            let found = self
                .buffer
                .windows(end.len())
                .position(|w| w == end.as_bytes());
            if let Some(at) = found {
                let text: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                return Some(String::from_utf8(text).unwrap());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            if read.expect("the server goes on").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    fn take(&mut self, text: &str) -> Option<Piece> {
        let mut piece = Piece {
            id: String::new(),
            event: String::new(),
            data: String::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ").unwrap() {
                ("id", id) => piece.id = id.to_owned(),
                ("event", event) => piece.event = event.to_owned(),
                ("data", data) => piece.data.push_str(data),
                ("retry", _) => {}
                ("", _) => self.comments += 1,
                _ => panic!("{text}"),
            }
        }
        if !piece.id.is_empty() {
            self.last_id.clone_from(&piece.id);
        }
        (!piece.data.is_empty()).then_some(piece)
    }

    /// The next event; `None` at the stream's end.
    async fn next(&mut self) -> Option<Piece> {
        let next = async {
            loop {
                let text = self.until("\n\n").await?;
                if let Some(piece) = self.take(&text) {
                    return Some(piece);
                }
            }
        };
        timeout(PATIENCE, next).await.expect("an event comes")
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.next().await.unwrap().id.parse().unwrap());
        }
        numbers
    }
}

fn quick() -> EventStreamsConfig {
    EventStreamsConfig {
        keep_alive: Duration::from_millis(20),
        recheck: Duration::from_millis(20),
        read_timeout: Duration::from_millis(200),
        ..EventStreamsConfig::default()
    }
}

async fn serve(system: &System, config: EventStreamsConfig) -> (Server, EventStreams) {
    let streams = EventStreams::new(system, config);
    let routes = http::events(streams.clone(), http::every_event());
    (
        Server::start(routes, ServerConfig::default()).await,
        streams,
    )
}

/// Waits until so many streams are open.
async fn open(streams: &EventStreams, count: usize) {
    let waiting = async {
        while streams.open() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("streams close");
}

#[tokio::test]
async fn a_reader_sees_each_event_once_in_order_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    ring(&system, "before").await;
    let (server, _) = serve(&system, EventStreamsConfig::default()).await;
    let mut reader = Reader::open(server.address, "", None).await;
    assert_eq!(reader.last_id, "2", "it begins with what comes next");
    ring(&system, "one\r\ntwo").await;
    let piece = reader.next().await.unwrap();
    assert_eq!((piece.id.as_str(), piece.event.as_str()), ("3", "rang"));
    let data: serde_json::Value = serde_json::from_str(&piece.data).unwrap();
    assert_eq!(data["body"]["text"], "one\r\ntwo");
    assert_eq!(
        (&data["service"], &data["message"]),
        (&"bell".into(), &"rang".into())
    );
    drop(reader);
    ring(&system, "while it is away").await;
    let mut back = Reader::open(server.address, "?after=1", Some("3")).await;
    assert_eq!(
        back.numbers(3).await,
        [4, 5, 6],
        "the header is newer than the address"
    );
    let mut all = Reader::open(server.address, "", Some("0")).await;
    assert_eq!(all.numbers(6).await, [1, 2, 3, 4, 5, 6]);
    let mut some = Reader::open(server.address, "?after=0&types=echoed", None).await;
    assert_eq!(some.numbers(3).await, [2, 4, 6]);
}

#[tokio::test]
async fn what_was_trimmed_is_told_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    ring_often(&system, 1_000, 1_000).await;
    let trimmed = async {
        let feed = system.events();
        let first = || feed.read(EventNumber(0), 1);
        while !matches!(first().await.unwrap().items[..], [FeedItem::Gap(_), ..]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, trimmed)
        .await
        .expect("the log is trimmed");
    let (server, _) = serve(&system, EventStreamsConfig::default()).await;
    let mut reader = Reader::open(server.address, "?types=none", Some("0")).await;
    let gap = reader.next().await.unwrap();
    assert_eq!(gap.event, "gap", "filters do not hide a gap");
    let told: serde_json::Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(
        (&told["first"], &told["reason"]),
        (&1.into(), &"trimmed".into())
    );
    assert_eq!(
        told["last"].to_string(),
        gap.id,
        "reading goes on behind it"
    );
}

/// Restores a backup of a system, rings, and serves what there is then.
async fn serve_restored(backup: &Path, dir: &Path, rings: usize) -> (Server, System) {
    restore(Arc::new(RealDisk::default()), &SystemClock, backup, dir).unwrap();
    let system = start(dir).await;
    ring_often(&system, rings, 1).await;
    let (server, _) = serve(&system, EventStreamsConfig::default()).await;
    (server, system)
}

/// What whoever comes back with this id is told up to an event: the gap first, if any, then numbers.
async fn told(server: &Server, id: &str, upto: u64) -> (Option<(u64, u64)>, Vec<u64>) {
    let mut reader = Reader::open(server.address, "", Some(id)).await;
    let (mut gap, mut numbers) = (None, Vec::new());
    while numbers.last() != Some(&upto) {
        let piece = reader.next().await.unwrap();
        let data: serde_json::Value = serde_json::from_str(&piece.data).unwrap();
        if piece.event == "gap" {
            assert_eq!((&data["reason"], gap), (&"unknown".into(), None));
            assert!(numbers.is_empty(), "it is told first");
            gap = Some((
                data["first"].as_u64().unwrap(),
                data["last"].as_u64().unwrap(),
            ));
            continue;
        }
        let number = piece.id.split('-').next().unwrap();
        numbers.push(number.parse().unwrap());
    }
    (gap, numbers)
}

/// A reader had seen event 10; a backup that ended at event 8 was restored, and had published up
/// to 14 when the reader came back. It was shown 11 and what followed, as if nothing had
/// happened: the new 9 and 10 it never learnt of, nor that its own were no more.
#[tokio::test]
async fn whoever_comes_back_after_a_restore_is_told_of_the_gap_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let lost = start(&at("lost")).await;
    ring_often(&lost, 4, 1).await;
    lost.backup(&at("backup-at-8")).await.unwrap();
    ring(&lost, "seen by readers, and lost").await;
    let (server, _) = serve(&lost, EventStreamsConfig::default()).await;
    let mut reader = Reader::open(server.address, "", Some("0")).await;
    assert_eq!(reader.numbers(10).await, (1..=10).collect::<Vec<u64>>());
    assert_eq!(reader.last_id, "10", "a number where nothing was restored");

    let (server, restored) = serve_restored(&at("backup-at-8"), &at("restored"), 3).await;
    let new = || (9..=14).collect::<Vec<u64>>();
    assert_eq!(told(&server, "10", 14).await, (Some((9, 10)), new()));
    assert_eq!(told(&server, "8", 14).await, (None, new()));
    assert_eq!(told(&server, "5", 14).await.1.first(), Some(&6));
    assert_eq!(told(&server, "99", 14).await, (Some((9, 99)), new()));
    let mut begun = Reader::open(server.address, "", None).await;
    ring(&restored, "next").await;
    assert_eq!(begun.next().await.unwrap().event, "rang");
    let of_restored = |number: u64| {
        let (_, incarnation) = begun.last_id.split_once('-').unwrap();
        format!("{number}-{incarnation}")
    };
    let own = told(&server, &of_restored(10), 14).await;
    assert_eq!(own, (None, (11..=14).collect()));

    // Restored once more: events up to 8 are in all three, those up to 16 in the last two.
    restored.backup(&at("backup-at-16")).await.unwrap();
    let (server, _again) = serve_restored(&at("backup-at-16"), &at("again"), 2).await;
    let upto_20 = |first| (first..=20).collect::<Vec<u64>>();
    let from_restored = told(&server, &of_restored(12), 20).await;
    assert_eq!(from_restored, (None, upto_20(13)));
    let from_restored = told(&server, &of_restored(18), 20).await;
    assert_eq!(from_restored, (Some((17, 18)), upto_20(17)));
    assert_eq!(told(&server, "10", 20).await, (Some((9, 10)), upto_20(9)));
    // Nobody knows what it has seen.
    let unknown = told(&server, "12-0123456789abcdef", 20).await;
    assert_eq!(unknown, (Some((1, 12)), upto_20(1)));
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_alive_and_how_far_it_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    let (server, _) = serve(&system, quick()).await;
    let mut reader = Reader::open(server.address, "?types=none", None).await;
    ring(&system, "not for this reader").await;
    while reader.last_id != "2" || reader.comments < 3 {
        let text = reader.until("\n\n").await.unwrap();
        assert_eq!(reader.take(&text), None);
    }
}

#[tokio::test]
async fn there_are_only_so_many_streams_and_one_that_ends_gives_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    let config = EventStreamsConfig {
        streams_max: 2,
        ..quick()
    };
    let (server, streams) = serve(&system, config).await;
    let first = Reader::open(server.address, "", None).await;
    let _second = Reader::open(server.address, "", None).await;
    let mut client = Client::connect(server.address).await;
    let refused = client.get("/events").await;
    refused.problem(503, "overloaded");
    assert!(refused.headers.contains_key("retry-after"));
    drop(first);
    open(&streams, 1).await;
    Reader::open(server.address, "", None).await;
    let bad = client
        .ask("GET", "/events", "Last-Event-ID: x\r\n", "")
        .await;
    bad.problem(400, "bad-request");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_dropped_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    // All of them are kept: a reader may fall behind on a busy machine.
    let system = start_with(dir.path(), 256 * 1024 * 1024).await;
    let (server, streams) = serve(&system, quick()).await;
    let stuck = Reader::open(server.address, "", None).await;
    let mut lively = Reader::open(server.address, "?types=echoed", None).await;
    // More than the kernel takes on its way.
    let ringing = {
        let system = system.clone();
        tokio::spawn(async move { ring_often(&system, 800, 30_000).await })
    };
    assert_eq!(lively.numbers(800).await.len(), 800);
    ringing.await.unwrap();
    open(&streams, 1).await;
    drop(stuck);
}

/// Shows everything for as long as it may.
#[derive(Clone)]
struct While(Arc<AtomicBool>);

impl EventView for While {
    async fn show(&self, event: &PublishedEvent) -> Show {
        Show::This(Shown {
            event: "".into(),
            data: event.json().unwrap(),
        })
    }

    async fn may_go_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_reader_may_no_longer_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    let may = While(Arc::new(AtomicBool::new(true)));
    let streams = EventStreams::new(&system, quick());
    let view = may.clone();
    let views = warp::any().and_then(move || {
        let view = view.clone();
        async move { Ok::<_, warp::Rejection>(view) }
    });
    let routes = http::events(streams.clone(), views);
    let server = Server::start(routes, ServerConfig::default()).await;
    let mut reader = Reader::open(server.address, "", None).await;
    ring(&system, "seen").await;
    assert_eq!(reader.next().await.unwrap().data, r#"{"text":"seen"}"#);
    may.0.store(false, Ordering::Relaxed);
    while reader.next().await.is_some() {}
    open(&streams, 0).await;
}

#[tokio::test]
async fn streams_end_with_the_drain_of_the_server_or_of_the_system() {
    for system_first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let system = start(dir.path()).await;
        let (mut server, _) = serve(&system, EventStreamsConfig::default()).await;
        let mut reader = Reader::open(server.address, "", None).await;
        if system_first {
            system.shutdown(PATIENCE).await.unwrap();
            assert_eq!(reader.next().await, None);
            continue;
        }
        server.stop();
        assert_eq!(reader.next().await, None);
        assert_eq!(server.served.await.unwrap().cut_off, 0);
    }
}

/// Name and kind of each metric in the table of `src/telemetry.rs`.
fn documented() -> BTreeSet<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `redeliver_"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").unwrap();
        let (kind, _) = rest.split_once(" | ").unwrap();
        (format!("redeliver_{name}"), kind.to_owned())
    })
    .collect()
}

#[tokio::test]
async fn a_server_shows_every_documented_metric_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let system = start(dir.path()).await;
    ring(&system, "once").await;
    let server = Server::start(http::metrics(system.clone()), ServerConfig::default()).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/nothing").await.status, 404);
    let answer = client.get("/metrics").await;
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(answer.body).unwrap();
    let shown: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(shown, documented());
    for sample in [
        "redeliver_ready 1",
        "redeliver_service_turns_total{service=\"bell\"} 1",
        "redeliver_service_state{service=\"bell\",state=\"running\"} 1",
        "redeliver_service_state{service=\"bell\",state=\"failed\"} 0",
        "redeliver_events_last 2",
        "redeliver_http_answers_total{status=\"404\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
}
