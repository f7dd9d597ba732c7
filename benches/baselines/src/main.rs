//! The bench's workloads W1 and W2 on other engines, as a good engineer would write them there.
//!
//! One thread owns the database. It takes all clients that wait and a batch of what is on its
//! way between the services, and commits both together, so that everybody shares a sync.
//!
//! ```text
//! clients ─▶ channel ─▶ writer: begin ─ place ─ relay a batch ─ commit (synced) ─▶ answers
//! ```

mod engine;
#[path = "../../workloads/fdatasync.rs"]
mod fdatasync;
mod load;
mod order;
mod postgres;
mod sled_alone;
mod sqlite;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::json;

use engine::{Engine, Failure};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Drives one engine and measures it.
#[derive(Debug, Parser)]
struct Args {
    /// What to drive
    #[arg(long, value_enum)]
    workload: Workload,
    /// What keeps the data
    #[arg(long, value_enum)]
    engine: Kind,
    /// Clients at a time, each of which waits for its answer
    #[arg(long, default_value = "128")]
    clients: usize,
    /// How long to measure, after a fifth of that to warm up
    #[arg(long, default_value = "5")]
    seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One durable increment of one of 1,000 counters
    W1,
    /// An order in five durable steps over four services
    W2,
}

/// What keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// SQLite: WAL, synchronous=FULL, outbox and inbox in tables
    Sqlite,
    /// sled alone: one batch and one flush for a group
    Sled,
    /// PostgreSQL: of DATABASE_URL, or a server started for this run where there is one
    Postgres,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("baselines: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("baseline-")
        .tempdir_in(".")?;
    let dir = directory.path();
    let name = |kind: &dyn ToString| kind.to_string();
    let workload = args
        .workload
        .to_possible_value()
        .map(|value| name(&value.get_name()))
        .unwrap_or_default();
    let kind = args
        .engine
        .to_possible_value()
        .map(|value| name(&value.get_name()))
        .unwrap_or_default();
    eprintln!("{workload}-{kind}-{}: the disk by itself", args.clients);
    let mut disk = disk(dir)?;
    let engine: Box<dyn Engine> = match args.engine {
        Kind::Sqlite => Box::new(sqlite::Sqlite::open(dir)?),
        Kind::Sled => Box::new(sled_alone::SledAlone::open(dir)?),
        Kind::Postgres => match postgres::Postgres::open(dir)? {
            Some(postgres) => Box::new(postgres),
            None => {
                eprintln!("skipped: no DATABASE_URL, and no pg_ctl and initdb on the path");
                if args.json {
                    let skipped = "no PostgreSQL server";
                    println!(
                        "{}",
                        json!({ "workload": workload, "engine": kind, "skipped": skipped })
                    );
                }
                return Ok(());
            }
        },
    };
    eprintln!("{workload}-{kind}-{}: measuring", args.clients);
    let measured_for = Duration::from_secs(args.seconds);
    let driven = load::drive(engine, args.workload, args.clients, measured_for)?;
    disk.extend(self::disk(dir)?);
    disk.sort();
    let fdatasync = disk[disk.len() / 2].as_micros() as u64;
    let seconds = driven.took.as_secs_f64();
    let at = |quantile| driven.latencies.value_at_quantile(quantile);
    let ops = driven.latencies.len();
    let rounded = |number: f64| (number * 10.0).round() / 10.0;
    let measured = json!({
        "workload": workload,
        "engine": kind,
        "over": "process",
        "clients": args.clients,
        "seconds": rounded(seconds),
        "ops_s": rounded(ops as f64 / seconds),
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
        "ops": ops,
        "fsyncs": driven.used.commits,
        "bytes_written": driven.used.written_bytes,
        "rss_mib": rounded(driven.used.rss_kib as f64 / 1024.0),
        "fdatasync_p50_us": fdatasync,
        "journal_ceiling_ops_s": null,
    });
    if args.json {
        println!("{measured}");
    } else {
        println!(
            "{workload} {kind:<9} {:>5} clients {:>10.0} ops/s  p50 {:>6} us  p99 {:>7} us  {:.2} commits/op  fdatasync {fdatasync} us",
            args.clients,
            ops as f64 / seconds,
            at(0.5),
            at(0.99),
            driven.used.commits as f64 / ops.max(1) as f64,
        );
    }
    directory.close()?;
    Ok(())
}

fn disk(dir: &Path) -> Result<Vec<Duration>, Failure> {
    let mut disk = fdatasync::Fdatasync::prepare(dir)?;
    let samples = (0..200).map(|_| disk.once());
    Ok(samples.collect::<std::io::Result<_>>()?)
}
