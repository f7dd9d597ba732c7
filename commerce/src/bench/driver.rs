//! The driver: lets the clients ask for a while, and measures.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Refused};
use super::engine_syncs::EngineSyncs;
use super::figures::Figures;
use super::journal::{BareJournal, Footprint};
use super::machine::Directory;
use super::measured::{Ceilings, Driven, Measured};
use super::progress::Progress;
use super::subject::Subject;
use super::{Case, Over, ceilings, failed, machine};
use crate::cli::Failure;

/// The longest operation that is told from longer ones.
const LATENCY_MICROS_MAX: u64 = 600_000_000;
/// How long the bare journal is measured, about.
const CEILING_TIME: Duration = Duration::from_millis(1_000);

/// What a measurement is set in.
pub(super) struct Setting<'a> {
    pub(super) config: &'a crate::config::Config,
    pub(super) directory: &'a Directory,
    pub(super) engine: &'a EngineSyncs,
    /// Somebody wants it to end.
    pub(super) stopped: &'a CancellationToken,
    pub(super) measured_for: Duration,
}

/// Makes one measurement in a fresh directory. Nothing is under way any more when it returns.
pub(super) async fn measure(setting: &Setting<'_>, case: Case) -> Result<Measured, Failure> {
    machine::open_files(case)?;
    let beside = setting.directory.beside();
    let progress = Progress::of(case, setting.measured_for);
    progress.say("the disk by itself");
    let mut disk = disk(beside).await?;
    progress.say("starting");
    let subject = Subject::start(setting.config, case, &setting.directory.data()).await?;
    let said = subject.said().await;
    let driven = driven(setting, case, &subject, &progress).await;
    progress.say("stopping");
    let ended = subject.stop().await;
    let (driven, ()) = (driven?, ended?);
    progress.say("the disk by itself");
    disk.extend(self::disk(beside).await?);
    disk.sort();
    progress.say("the bare journal");
    let journal = journal(case, &driven, beside).await?;
    progress.say("channels");
    let mpsc = ceilings::mpsc(case.clients).await?;
    let http = match case.over {
        Over::Process => None,
        Over::Http => {
            progress.say("warp alone");
            let (bearer, body) = said?;
            Some(ceilings::http(case.clients, bearer, body).await?)
        }
    };
    progress.end();
    unless_stopped(setting.stopped)?;
    let ceilings = Ceilings {
        fdatasync: disk.get(disk.len() / 2).copied().unwrap_or_default(),
        journal,
        mpsc,
        http,
    };
    Ok(Measured::new(case, &driven, ceilings))
}

async fn driven(
    setting: &Setting<'_>,
    case: Case,
    subject: &Subject,
    progress: &Progress,
) -> Result<Driven, Failure> {
    let counted = subject.counted(setting.engine.clone());
    let clients = subject.clients(case.clients).await?;
    let figures = || Figures::of(&subject.system, &counted);
    drive(clients, figures, setting, progress).await
}

pub(super) fn unless_stopped(stopped: &CancellationToken) -> Result<(), Failure> {
    match stopped.is_cancelled() {
        true => Err(failed("the measurement was stopped")),
        false => Ok(()),
    }
}

async fn disk(dir: &Path) -> Result<Vec<Duration>, Failure> {
    let dir = dir.to_owned();
    blocking(move || machine::disk(&dir)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// How far a measurement has come.
const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What all clients share.
#[derive(Default)]
struct Shared {
    phase: AtomicU8,
    ops: AtomicU64,
    overloaded: AtomicU64,
}

pub(super) async fn drive(
    clients: Vec<Box<dyn Client>>,
    figures: impl Fn() -> Figures,
    setting: &Setting<'_>,
    progress: &Progress,
) -> Result<Driven, Failure> {
    let (measured_for, stopped) = (setting.measured_for, setting.stopped);
    let shared = Arc::new(Shared::default());
    let mut asking = JoinSet::new();
    for client in clients {
        asking.spawn(ask(client, shared.clone()));
    }
    progress.say("warming up");
    wait(&mut asking, measured_for / 5, stopped, |_| {}).await?;
    let before = figures();
    let overloaded_before = shared.overloaded.load(Ordering::Relaxed);
    let began = Instant::now();
    shared.phase.store(MEASURING, Ordering::Relaxed);
    progress.say("measuring");
    wait(&mut asking, measured_for, stopped, |elapsed| {
        let ops = shared.ops.load(Ordering::Relaxed) as f64;
        progress.at(elapsed, ops / elapsed.as_secs_f64());
    })
    .await?;
    shared.phase.store(OVER, Ordering::Relaxed);
    let took = began.elapsed();
    let used = figures().since(before);
    let mut latencies = latencies()?;
    while let Some(ended) = asking.join_next().await {
        let own = ended.map_err(failed)??;
        latencies.add(own).map_err(failed)?;
    }
    Ok(Driven {
        latencies,
        took,
        overloaded: shared.overloaded.load(Ordering::Relaxed) - overloaded_before,
        used,
    })
}

/// Waits, unless a client fails before.
async fn wait(
    asking: &mut JoinSet<Result<Histogram<u64>, Failure>>,
    time: Duration,
    stopped: &CancellationToken,
    mut tell: impl FnMut(Duration),
) -> Result<(), Failure> {
    const TELL_EVERY: Duration = Duration::from_millis(250);
    let began = Instant::now();
    loop {
        let left = time.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        tokio::select! {
            Some(ended) = asking.join_next() => {
                ended.map_err(failed)??;
                return Err(failed("a client has ended before its time"));
            }
            () = stopped.cancelled() => return unless_stopped(stopped),
            () = tokio::time::sleep(left.min(TELL_EVERY)) => tell(began.elapsed()),
        }
    }
}

fn latencies() -> Result<Histogram<u64>, Failure> {
    Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).map_err(failed)
}

async fn ask(mut client: Box<dyn Client>, shared: Arc<Shared>) -> Result<Histogram<u64>, Failure> {
    let mut latencies = latencies()?;
    loop {
        let began = Instant::now();
        let done = client.operate().await;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        match shared.phase.load(Ordering::Relaxed) {
            WARMING_UP => {}
            MEASURING if done.is_ok() => {
                latencies.saturating_record(micros.max(1));
                shared.ops.fetch_add(1, Ordering::Relaxed);
            }
            MEASURING => {}
            _ => return Ok(latencies),
        }
        match done {
            Ok(()) => {}
            Err(Refused::Overloaded(stay_away)) => {
                shared.overloaded.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(stay_away).await;
            }
            Err(Refused::Failed(reason)) => return Err(failed(reason)),
        }
    }
}

/// Operations per second of the journal alone, with as many bytes per commit, commits per
/// operation and operations under way as the measurement had.
async fn journal(case: Case, driven: &Driven, dir: &Path) -> Result<f64, Failure> {
    let ops = driven.latencies.len().max(1);
    let footprint = Footprint {
        commits: usize::try_from((driven.used.commits + ops / 2) / ops)
            .unwrap_or(1)
            .max(1),
        bytes: usize::try_from(driven.used.journal_bytes / driven.used.commits.max(1))
            .unwrap_or(usize::MAX),
    };
    let dir = dir.join("ceiling");
    blocking(move || {
        let journal = BareJournal::open(&dir).map_err(failed)?;
        let mut ops = 64.max(case.clients as u64 * 8);
        let rate = loop {
            let took = journal.run(ops, case.clients, footprint).map_err(failed)?;
            if took >= CEILING_TIME {
                break ops as f64 / took.as_secs_f64();
            }
            ops = ops.saturating_mul(2);
        };
        journal.close().map_err(failed)?;
        std::fs::remove_dir_all(&dir).map_err(failed)?;
        Ok(rate)
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bench::{Over, Workload};

    /// Not for its figures: that every workload runs in both ways, and leaves its directory to
    /// its owner.
    #[tokio::test(flavor = "multi_thread")]
    async fn every_workload_is_done_in_both_ways() {
        for workload in [Workload::W1, Workload::W2, Workload::W3] {
            for over in [Over::Process, Over::Http] {
                let case = Case {
                    workload,
                    over,
                    clients: 2,
                };
                let dir = tempfile::tempdir().unwrap();
                let subject = Subject::start(&Default::default(), case, dir.path())
                    .await
                    .unwrap();
                let mut clients = subject.clients(case.clients).await.unwrap();
                for client in &mut clients {
                    for _ in 0..2 {
                        client.operate().await.unwrap();
                    }
                }
                drop(clients);
                let counted = subject.counted(EngineSyncs::default());
                let figures = Figures::of(&subject.system, &counted);
                assert!(
                    figures.turns >= 4 && figures.syncs > 0,
                    "{case}: {figures:?}"
                );
                subject.stop().await.unwrap();
            }
        }
    }
}
