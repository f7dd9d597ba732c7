//! Marks of growth and of rest: what W1 does beside much data, many services, a backlog, many
//! timers or sagas, checkpoints; how fast a start recovers; what an idle shop takes.
//!
//! Each tells its figure and, from the same run, what it has to be compared with: for growth
//! `small`, the same W1 before or without it, and `ratio_to_small`.

mod backlog;
mod checkpoint;
mod idle;
mod pending;
mod recovery;
mod rows;
mod second;
mod services;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use redeliver::{CallError, ServiceHandle, System};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Direct};
use super::counter::{Counter, Increment};
use super::driver::{self, Setting};
use super::figures::{Counted, Figures};
use super::measured::{Driven, rounded};
use super::progress::Progress;
use super::{failed, machine};
use crate::cli::Failure;

pub(super) use recovery::fill as fill_until_killed;

/// How long the services may take to end.
const DRAIN: Duration = Duration::from_secs(30);
/// Calls under way while something is filled.
const FILLING: u64 = 256;
const MIB: u64 = 1 << 20;
/// How often it is looked whether anything is still written, how often nothing has to be, and how
/// long that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const QUIET_LOOKS: u32 = 6;
const SETTLING_MAX: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Rows,
    Services,
    Backlog,
    Timers,
    Sagas,
    Recovery,
    Idle,
    Checkpoint,
}

/// How much of everything there is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Amounts {
    /// Rows, for `rows`
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(super) rows: u32,
    /// Services, 5 or 200, for `services`
    #[arg(long, value_name = "N", default_value = "200")]
    pub(super) services: Services,
    /// Messages that wait for a receiver that is down, for `backlog`
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(super) messages: u64,
    /// Timers that are set, for `timers`
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(super) timers: u64,
    /// Sagas that are open, for `sagas`
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(super) sagas: u64,
    /// Turns that are in the journal when the process is killed, for `recovery`
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub(super) turns: u64,
}

/// How many services share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Services {
    /// A few
    #[value(name = "5")]
    Few,
    /// Many, and a few before for comparison
    #[value(name = "200")]
    Many,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Growth::Rows => "rows",
            Growth::Services => "services",
            Growth::Backlog => "backlog",
            Growth::Timers => "timers",
            Growth::Sagas => "sagas",
            Growth::Recovery => "recovery",
            Growth::Idle => "idle",
            Growth::Checkpoint => "checkpoint",
        })
    }
}

/// Measures it, and says how it came out as one object.
pub(super) async fn measure(
    setting: &Setting<'_>,
    growth: Growth,
    clients: usize,
    amounts: &Amounts,
) -> Result<Value, Failure> {
    let progress = Progress::of(growth, setting.measured_for);
    let run = Run {
        setting,
        progress: &progress,
        clients,
    };
    let measured = match growth {
        Growth::Rows => rows::measure(&run, amounts.rows).await,
        Growth::Services => services::measure(&run, amounts.services).await,
        Growth::Backlog => backlog::measure(&run, amounts.messages).await,
        Growth::Timers => pending::timers(&run, amounts.timers).await,
        Growth::Sagas => pending::sagas(&run, amounts.sagas).await,
        Growth::Recovery => recovery::measure(&run, amounts.turns).await,
        Growth::Idle => idle::measure(&run).await,
        Growth::Checkpoint => checkpoint::measure(&run).await,
    };
    progress.end();
    let mut object = Map::from_iter([
        ("workload".to_owned(), json!(growth.to_string())),
        ("clients".to_owned(), json!(clients)),
    ]);
    object.extend(measured?);
    driver::unless_stopped(setting.stopped)?;
    Ok(Value::Object(object))
}

/// One measurement.
struct Run<'a> {
    setting: &'a Setting<'a>,
    progress: &'a Progress,
    clients: usize,
}

/// What is said of it.
type Object = Map<String, Value>;

impl Run<'_> {
    /// W1: each client increments one of `rows` counters, at random.
    async fn increments(
        &self,
        system: &System,
        counter: &ServiceHandle<Counter>,
        rows: u32,
    ) -> Result<Driven, Failure> {
        let clients = (0..self.clients as u64).map(|client| {
            let counter = counter.clone();
            let operate = move |nth| {
                let counter = counter.clone();
                let increment = Increment {
                    counter: (mixed(nth) % u64::from(rows)) as u32,
                };
                async move { Ok(counter.call(increment).await.map(|_| ())?) }
            };
            let nth = client << 40;
            Box::new(Direct { nth, operate }) as Box<dyn Client>
        });
        self.drive(system, clients.collect()).await
    }

    async fn drive(
        &self,
        system: &System,
        clients: Vec<Box<dyn Client>>,
    ) -> Result<Driven, Failure> {
        let counted = Counted {
            engine: self.setting.engine.clone(),
            ..Counted::default()
        };
        let figures = || Figures::of(system, &counted);
        driver::drive(clients, figures, self.setting, self.progress).await
    }

    /// Calls `each` with every number below `times`, many at a time.
    async fn fill<F, C>(&self, what: &str, times: u64, each: F) -> Result<(), Failure>
    where
        F: Fn(u64) -> C + Clone + Send + 'static,
        C: Future<Output = Result<(), CallError>> + Send,
    {
        self.progress.say(what);
        fill(self.setting.stopped, times, each).await
    }

    /// Lets time pass, unless the measurement is stopped.
    async fn wait(&self, time: Duration) -> Result<(), Failure> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.setting.stopped.cancelled() => Err(failed("the measurement was stopped")),
        }
    }

    /// Waits until the disk is left alone: what was filled in is checkpointed as far as it is going to
    /// be.
    async fn settle(&self) -> Result<(), Failure> {
        self.progress.say("coming to rest");
        let began = std::time::Instant::now();
        let (mut written, mut quiet) = (0, 0);
        while quiet < QUIET_LOOKS && began.elapsed() < SETTLING_MAX {
            self.wait(LOOK_EVERY).await?;
            let now = machine::usage("self").0;
            quiet = if now == written { quiet + 1 } else { 0 };
            written = now;
        }
        Ok(())
    }

    /// Stops a system that was measured, whatever came of it.
    async fn stop<T>(&self, system: System, measured: Result<T, Failure>) -> Result<T, Failure> {
        self.progress.say("stopping");
        let ended = system.shutdown(DRAIN).await;
        let measured = measured?;
        ended.map_err(failed)?;
        Ok(measured)
    }

    fn data(&self, name: &str) -> std::path::PathBuf {
        self.setting.directory.data().join(name)
    }
}

async fn fill<F, C>(stopped: &CancellationToken, times: u64, each: F) -> Result<(), Failure>
where
    F: Fn(u64) -> C + Clone + Send + 'static,
    C: Future<Output = Result<(), CallError>> + Send,
{
    let next = Arc::new(AtomicU64::new(0));
    let mut filling = JoinSet::new();
    for _ in 0..FILLING.min(times) {
        let (next, each, stopped) = (next.clone(), each.clone(), stopped.clone());
        filling.spawn(async move {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= times || stopped.is_cancelled() {
                    return Ok(());
                }
                loop {
                    match each(nth).await {
                        Ok(()) => break,
                        Err(CallError::Overloaded { retry_after, .. }) => {
                            tokio::time::sleep(retry_after).await;
                        }
                        Err(error) => return Err(failed(error)),
                    }
                }
            }
        });
    }
    while let Some(ended) = filling.join_next().await {
        ended.map_err(failed)??;
    }
    driver::unless_stopped(stopped)
}

/// What came out of a closed loop.
fn object(driven: &Driven) -> Object {
    let (used, seconds) = (&driven.used, driven.took.as_secs_f64());
    let at = |quantile| json!(driven.latencies.value_at_quantile(quantile));
    let named = [
        ("seconds", json!(rounded(seconds))),
        ("ops_s", json!(ops_s(driven))),
        ("p50_us", at(0.5)),
        ("p99_us", at(0.99)),
        ("p999_us", at(0.999)),
        ("ops", json!(driven.latencies.len())),
        ("overloaded", json!(driven.overloaded)),
        ("fsyncs", json!(used.syncs)),
        ("bytes_written", json!(used.written_bytes)),
        ("journal_bytes", json!(used.journal_bytes)),
        ("rss_mib", json!(rounded(used.rss_kib as f64 / 1024.0))),
    ];
    let named = named.map(|(name, value)| (name.to_owned(), value));
    Object::from_iter(named)
}

/// The same beside what it is compared with.
fn compared(small: &Driven, large: &Driven) -> Object {
    let mut object = object(large);
    object.insert("small".to_owned(), Value::Object(self::object(small)));
    let ratio = ops_s(large) / ops_s(small).max(f64::MIN_POSITIVE);
    object.insert("ratio_to_small".to_owned(), json!(hundredths(ratio)));
    object
}

fn ops_s(driven: &Driven) -> f64 {
    rounded(driven.latencies.len() as f64 / driven.took.as_secs_f64())
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Numbers in no helpful order: splitmix64.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bytes of all files below a directory; what goes in between does not count.
fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(of) if of.is_dir() => bytes_below(&entry.path()),
            Ok(of) => of.len(),
            Err(_) => 0,
        })
        .sum()
}
