//! A receiver that is down: what the others notice of it, what waiting messages take, and how fast
//! they are delivered when it is back.
//!
//! ```text
//! cargo bench --bench backlog              ten million messages
//! cargo bench --bench backlog -- 1000000   fewer
//! ```

#[path = "workloads/counter.rs"]
pub mod counter;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use counter::{Counter, Increment};
use redeliver::prelude::*;
use redeliver::{CallError, Config, ServiceHandle, StreamReport, System};

/// The commerce binary has this allocator too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Messages that one turn sends.
const PER_TURN: u64 = 500;
/// Makes a message of 250 bytes, envelope and seal included.
const PAYLOAD_BYTES: usize = 169;
/// Turns of the others that are under way at a time.
const OUTSTANDING: u64 = 128;

#[derive(Debug, Serialize, Deserialize)]
struct Emit {
    count: u64,
}

impl Message for Emit {
    const NAME: &'static str = "emit";
}

impl Command for Emit {
    type Reply = ();
}

#[derive(Debug, Serialize, Deserialize)]
struct Work {
    payload: Vec<u8>,
}

impl Message for Work {
    const NAME: &'static str = "work";
}

impl Command for Work {
    type Reply = ();
}

struct Source;

impl Service for Source {
    const NAME: &'static str = "source";

    fn handlers(on: &mut Handlers<Self>) {
        on.sends::<Sink, Work>();
        on.command(|_, emit: Emit, cx| {
            for _ in 0..emit.count {
                cx.send::<Sink, _>(Work {
                    payload: vec![7; PAYLOAD_BYTES],
                });
            }
            Ok(())
        });
    }
}

#[derive(Clone, Default)]
struct Sink {
    down: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
}

impl Service for Sink {
    const NAME: &'static str = "sink";

    fn handlers(on: &mut Handlers<Self>) {
        on.command(|sink: &Sink, _: Work, _| {
            // A failed service is what a receiver that is down comes to.
            assert!(!sink.down.load(Ordering::Relaxed), "down");
            sink.received.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
    }
}

fn main() -> Outcome<()> {
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    // Without `--bench` this is only a check that it runs.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let messages: u64 = asked.unwrap_or(if is_bench { 10_000_000 } else { 20_000 });
    let seconds = Duration::from_secs(if is_bench { 10 } else { 1 });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(messages, seconds))
}

async fn run(messages: u64, measured: Duration) -> Outcome<()> {
    std::panic::set_hook(Box::new(|_| {}));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let sink = Sink::default();
    let start = || {
        System::open(dir.path())
            .config(Config {
                stream_backlog_bytes_max: u64::MAX,
                ..Config::default()
            })
            .service(Source)
            .service(sink.clone())
            .service(Counter)
            .start()
    };
    let system = start().await?;

    let began = Instant::now();
    emit(&system, messages / 20).await?;
    until(&system, |stream| stream.waiting == 0).await;
    let up = rate(messages / 20, began.elapsed());
    println!("receiver up: {up} messages/s sent and handled");
    let before = turns(&system.service::<Counter>(), measured).await?;
    println!("the others before: {before} turns/s, {} MiB", memory_mib());

    sink.down.store(true, Ordering::Relaxed);
    let began = Instant::now();
    emit(&system, messages).await?;
    println!(
        "{messages} sent while it is down: {} messages/s, {} MiB",
        rate(messages, began.elapsed()),
        memory_mib()
    );
    let report = stream(&system);
    println!(
        "{} wait, {} of them on disk with {} bytes each, {} MiB of messages in memory",
        report.waiting,
        report.spilled,
        system.report().store.outbox_spilled_bytes / report.spilled.max(1),
        system.report().store.outbox_memory_bytes >> 20
    );
    let waiting = turns(&system.service::<Counter>(), measured).await?;
    println!(
        "the others while they wait: {waiting} turns/s ({} %), {} MiB",
        100 * waiting / before.max(1),
        memory_mib()
    );

    system.shutdown(Duration::from_secs(60)).await?;
    drop(system);
    sink.down.store(false, Ordering::Relaxed);
    let received = sink.received.load(Ordering::Relaxed);
    let began = Instant::now();
    let system = start().await?;
    println!(
        "started again in {:?}, {} MiB",
        began.elapsed(),
        memory_mib()
    );
    let began = Instant::now();
    until(&system, |stream| stream.waiting == 0).await;
    let handled = sink.received.load(Ordering::Relaxed) - received;
    let back = rate(handled, began.elapsed());
    println!(
        "receiver back: {back} messages/s handled ({} % of those when it was up), {} MiB",
        100 * back / up.max(1),
        memory_mib()
    );
    let report = stream(&system);
    println!("{} parked, {} dead letters", report.parked, report.dead);
    system.shutdown(Duration::from_secs(60)).await?;
    Ok(())
}

/// Sends messages, told to come back later as often as it takes.
async fn emit(system: &System, messages: u64) -> Outcome<()> {
    let source = system.service::<Source>();
    let mut left = messages;
    while left > 0 {
        let count = left.min(PER_TURN);
        match source.call(Emit { count }).await {
            Ok(()) => left -= count,
            Err(CallError::Overloaded { .. }) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Durable turns a second of a service that has nothing to do with it.
async fn turns(counter: &ServiceHandle<Counter>, measured: Duration) -> Outcome<u64> {
    let began = Instant::now();
    let clients: Vec<_> = (0..OUTSTANDING)
        .map(|client| {
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < measured {
                    let counted = Increment {
                        counter: counter::pick(client, done),
                    };
                    match counter.call(counted).await {
                        Ok(_) => done += 1,
                        Err(CallError::Overloaded { .. }) => tokio::task::yield_now().await,
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            })
        })
        .collect();
    let mut done = 0;
    for client in clients {
        done += client.await??;
    }
    Ok(rate(done, began.elapsed()))
}

async fn until(system: &System, reached: impl Fn(&StreamReport) -> bool) {
    while !reached(&stream(system)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn stream(system: &System) -> StreamReport {
    let mut streams = system.report().streams.into_iter();
    let Some(stream) = streams.find(|stream| stream.from == "source" && stream.to == "sink") else {
        panic!("nothing was sent to the sink");
    };
    stream
}

fn rate(count: u64, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64().max(1e-9)) as u64
}

/// What the process has in memory.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
