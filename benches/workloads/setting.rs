//! What both benches are set in: a directory on the disk of the build, the ceilings, and the
//! closed loop that measures.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use redeliver::{CallError, SystemReport};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::fdatasync::Fdatasync;
use crate::journal::{BareJournal, Footprint};

/// How many operations are under way at a time.
pub const OUTSTANDING: [usize; 3] = [1, 16, 128];

/// How long a system may take to end.
pub const DRAIN: Duration = Duration::from_secs(30);

/// What comes of setting up.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A directory on the disk of the build, removed with the value.
pub fn data_directory() -> Outcome<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// A runtime as hosts have it.
pub fn runtime() -> Outcome<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.enable_all().build()?)
}

/// A group whose throughput is operations per second.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .throughput(Throughput::Elements(1));
    group
}

/// Measures one durable 4 KiB overwrite.
pub fn disk(criterion: &mut Criterion, dir: &Path) -> Outcome<()> {
    let mut disk = Fdatasync::prepare(dir)?;
    let mut group = group(criterion, "disk");
    group.bench_function("fdatasync of 4 KiB", |bencher| {
        bencher.iter_custom(|times| {
            let taken = (0..times).map(|_| disk.once()).sum::<std::io::Result<_>>();
            taken.unwrap_or_else(|error| panic!("the disk failed: {error}"))
        });
    });
    group.finish();
    Ok(())
}

/// Measures the journal alone, with the bytes of a workload.
pub fn ceiling(
    criterion: &mut Criterion,
    dir: &Path,
    workload: &str,
    footprint: Footprint,
) -> Outcome<()> {
    let journal = BareJournal::open(&dir.join("ceiling"))?;
    let mut group = group(criterion, &format!("{workload} bare journal"));
    for outstanding in OUTSTANDING {
        group.bench_function(BenchmarkId::from_parameter(outstanding), |bencher| {
            bencher.iter_custom(|times| {
                let taken = journal.run(times, outstanding, footprint);
                taken.unwrap_or_else(|error| panic!("the journal failed: {error}"))
            });
        });
    }
    group.finish();
    eprintln!("bare journal: commits of {} bytes", journal.record_bytes());
    journal.close()?;
    Ok(())
}

/// Measures a closed loop: each of `outstanding` clients begins its next operation when its last
/// one has ended.
pub fn measure<F>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    outstanding: usize,
    operate: impl Fn(u64, u64) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<(), CallError>> + Send,
{
    group.bench_function(BenchmarkId::from_parameter(outstanding), |bencher| {
        bencher.iter_custom(|times| {
            let taken = runtime.block_on(run(times, outstanding as u64, operate.clone()));
            taken.unwrap_or_else(|error| panic!("an operation failed: {error}"))
        });
    });
}

async fn run<F>(
    times: u64,
    clients: u64,
    operate: impl Fn(u64, u64) -> F + Clone + Send + 'static,
) -> Outcome<Duration>
where
    F: Future<Output = Result<(), CallError>> + Send,
{
    let began = Instant::now();
    let clients: Vec<_> = (0..clients.min(times))
        .map(|client| {
            let operate = operate.clone();
            let share = times / clients + u64::from(client < times % clients);
            tokio::spawn(async move {
                for nth in 0..share {
                    operate(client, nth).await?;
                }
                Ok::<(), CallError>(())
            })
        })
        .collect();
    for client in clients {
        client.await??;
    }
    Ok(began.elapsed())
}

/// Says what a turn has left in the journal, so that the ceiling can be given the same.
pub fn say_footprint(report: &SystemReport) {
    let store = &report.store;
    eprintln!(
        "{} commits of {} bytes in {} syncs of the journal, {} of all",
        store.queued,
        store.journal_bytes / store.queued.max(1),
        store.syncs,
        store.disk_syncs
    );
}
