//! A receiver that is down while messages for it pile up: what the others do meanwhile, and how
//! fast it takes what has waited once it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redeliver::prelude::*;
use redeliver::{Config, ServiceHandle, System};
use serde_json::json;

use super::super::counter::{COUNTERS, Counter};
use super::super::measured::rounded;
use super::super::{driver, failed, machine};
use super::{MIB, Object, Run, bytes_below, compared};
use crate::cli::Failure;

/// Messages that one turn sends.
const BURST: u64 = 1_000;
/// How often somebody looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Serialize, Deserialize)]
struct Noted {
    number: u64,
    text: String,
}

impl Message for Noted {
    const NAME: &'static str = "noted";
}

impl Event for Noted {}

#[derive(Serialize, Deserialize)]
struct Note {
    first: u64,
    count: u64,
}

impl Message for Note {
    const NAME: &'static str = "note";
}

impl Command for Note {
    type Reply = ();
}

struct Writer;

impl Service for Writer {
    const NAME: &'static str = "writer";

    fn handlers(on: &mut Handlers<Self>) {
        on.publishes::<Noted>();
        on.command(|_, Note { first, count }, cx| {
            for number in first..first + count {
                let text = "what is to be read when the reader is back".to_owned();
                cx.publish(Noted { number, text });
            }
            Ok(())
        });
    }
}

const READ: Table<u64, u64> = Table::new("read");

/// Panics with every message while it is away, so that its supervisor gives it up, and stays
/// down until somebody revives it.
struct Reader {
    away: Arc<AtomicBool>,
}

impl Service for Reader {
    const NAME: &'static str = "reader";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(READ).event(|reader: &Reader, noted: Noted, cx| {
            assert!(
                !reader.away.load(Ordering::Acquire),
                "away, as the measurement wants it"
            );
            let shelf = noted.number % 1_000;
            let bytes = cx.get(READ, &shelf)?.unwrap_or(0) + noted.text.len() as u64;
            Ok(cx.put(READ, &shelf, &bytes)?)
        });
        on.supervision(Supervision {
            revive_after: None,
            attempts_max: 100,
            ..Supervision::default()
        });
    }
}

pub(super) async fn measure(run: &Run<'_>, messages: u64) -> Result<Object, Failure> {
    let dir = run.data("backlog");
    let away = Arc::new(AtomicBool::new(false));
    let config = Config {
        // It is the backlog that is wanted; nobody is to be refused because of it.
        stream_backlog_bytes_max: u64::MAX / 2,
        ..Config::default()
    };
    let system = System::open(&dir)
        .config(config)
        .service(Counter)
        .service(Writer)
        .service(Reader { away: away.clone() })
        .start()
        .await
        .map_err(failed)?;
    let measured = piled_up(run, &system, &away, messages).await;
    let disk_mib = bytes_below(&dir) / MIB;
    let mut object = run.stop(system, measured).await?;
    object.insert("messages".to_owned(), json!(messages));
    object.insert("disk_mib".to_owned(), json!(disk_mib));
    Ok(object)
}

async fn piled_up(
    run: &Run<'_>,
    system: &System,
    away: &AtomicBool,
    messages: u64,
) -> Result<Object, Failure> {
    let (counter, writer) = (system.service(), system.service::<Writer>());
    let small = run.increments(system, &counter, COUNTERS).await?;
    away.store(true, Ordering::Release);
    let began = Instant::now();
    let bursts = messages.div_ceil(BURST);
    let write = writer.clone();
    run.fill("piling up", bursts, move |nth| burst(write.clone(), nth))
        .await?;
    let piled_up_in = began.elapsed();
    wait(run, || state(system) == "failed").await?;
    let rss_piled_mib = machine::usage(machine::SELF).1 as f64 / 1024.0;
    let large = run.increments(system, &counter, COUNTERS).await?;
    let left = waiting(system);
    run.progress.say("draining");
    away.store(false, Ordering::Release);
    let began = Instant::now();
    system.revive(Reader::NAME);
    wait(run, || waiting(system) == 0).await?;
    let drained_in = began.elapsed();
    let mut object = compared(&small, &large);
    for (name, number) in [
        ("rss_piled_mib", rss_piled_mib),
        (
            "piled_messages_s",
            messages as f64 / piled_up_in.as_secs_f64(),
        ),
        ("drained_messages_s", left as f64 / drained_in.as_secs_f64()),
    ] {
        object.insert(name.to_owned(), json!(rounded(number)));
    }
    Ok(object)
}

async fn burst(writer: ServiceHandle<Writer>, nth: u64) -> Result<(), redeliver::CallError> {
    let note = Note {
        first: nth * BURST,
        count: BURST,
    };
    writer.call(note).await
}

async fn wait(run: &Run<'_>, mut over: impl FnMut() -> bool) -> Result<(), Failure> {
    while !over() {
        driver::unless_stopped(run.setting.stopped)?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn state(system: &System) -> String {
    let services = system.report().services;
    let reader = services
        .into_iter()
        .find(|known| known.name == Reader::NAME);
    reader.map(|reader| reader.state).unwrap_or_default()
}

fn waiting(system: &System) -> u64 {
    let report = system.report();
    let streams = report
        .streams
        .iter()
        .filter(|stream| stream.to == Reader::NAME);
    streams.map(|stream| stream.waiting + stream.parked).sum()
}
