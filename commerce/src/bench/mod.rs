//! `commerce bench`: drives services and measures what comes out.
//!
//! Every measurement has a data directory of its own, which goes again with it, and shows the
//! speed of the disk and of the bare journal beside its own, from the same run.
//!
//! ```text
//! disk idle ─ start ─ warm up ─ measure ─ stop ─ disk idle ─ bare journal ─ channels ─ warp alone
//!                               closed loop: a client asks again when it is answered
//! ```

mod ceilings;
mod client;
mod driver;
mod engine_syncs;
mod figures;
mod growth;
mod machine;
mod measured;
mod progress;
mod served;
mod subject;

/// What the criterion benches of the library measure too.
#[path = "../../../benches/workloads/chain.rs"]
pub mod chain;
#[path = "../../../benches/workloads/counter.rs"]
pub mod counter;
#[path = "../../../benches/workloads/fdatasync.rs"]
pub mod fdatasync;
#[path = "../../../benches/workloads/journal.rs"]
pub mod journal;

use std::fmt;
use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::{Exit, Failure};
use crate::config::Config;
use engine_syncs::EngineSyncs;
use growth::{Amounts, Growth};
use measured::Measured;
use tokio_util::sync::CancellationToken;

/// How many clients there are when nobody says how many.
const CLIENTS: [usize; 3] = [1, 16, 128];
const CLIENTS_BESIDE_GROWTH: usize = 128;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// What to drive [default: w1, w2 and w3, one after the other]
    #[arg(long, value_enum)]
    workload: Option<Wanted>,
    /// Clients at a time, each of which waits for its answer [default: 1, then 16, then 128]
    #[arg(long, value_name = "N")]
    clients: Option<NonZeroUsize>,
    /// How long to measure, after a fifth of that to warm up
    #[arg(long, value_name = "S", default_value = "5")]
    seconds: NonZeroU64,
    /// How the clients ask [default: process with --clients, otherwise both]
    #[arg(long, value_enum)]
    over: Option<Over>,
    /// Print JSON: one object, or a list of them if there is more than one measurement
    #[arg(long)]
    json: bool,
    /// Keep the data in this directory, which must be empty or missing
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Growth")]
    amounts: Amounts,
    /// Fill the journal of this directory and go on until killed; what `recovery` starts
    #[arg(long, value_name = "DIR", hide = true)]
    fill: Option<PathBuf>,
}

/// What may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Counters: one durable increment of one of 1,000
    W1,
    /// A chain: five durable steps of an order over four services, without activities
    W2,
    /// The shop: an order from placing until it is confirmed, with a provider that answers at once
    W3,
    /// W1 over many rows, beside W1 over 1,000
    Rows,
    /// W1 over many services, beside W1 over 5
    Services,
    /// W1 beside a receiver that is down and messages that wait for it; and how fast they drain
    Backlog,
    /// W1 beside many timers
    Timers,
    /// W1 beside many open sagas
    Sagas,
    /// The start after kill -9 under full load
    Recovery,
    /// The shop at rest, and its start on an empty directory
    Idle,
    /// W1 while checkpoints follow each other, beside W1 without any
    Checkpoint,
}

impl Wanted {
    /// One of the workloads that are driven, or one of the marks around them.
    fn kind(self) -> Result<Workload, Growth> {
        match self {
            Wanted::W1 => Ok(Workload::W1),
            Wanted::W2 => Ok(Workload::W2),
            Wanted::W3 => Ok(Workload::W3),
            Wanted::Rows => Err(Growth::Rows),
            Wanted::Services => Err(Growth::Services),
            Wanted::Backlog => Err(Growth::Backlog),
            Wanted::Timers => Err(Growth::Timers),
            Wanted::Sagas => Err(Growth::Sagas),
            Wanted::Recovery => Err(Growth::Recovery),
            Wanted::Idle => Err(Growth::Idle),
            Wanted::Checkpoint => Err(Growth::Checkpoint),
        }
    }
}

/// What is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workload {
    W1,
    W2,
    W3,
}

/// How the clients ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Over {
    /// Over HTTP/1.1, each with a connection of its own
    Http,
    /// In the process of the services
    Process,
}

/// One measurement to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    workload: Workload,
    over: Over,
    clients: usize,
}

impl BenchArgs {
    /// The mark that is asked for, if it is one of growth.
    fn growth(&self) -> Option<Growth> {
        self.workload.and_then(|wanted| wanted.kind().err())
    }

    fn cases(&self) -> Vec<Case> {
        let workloads = match self.workload.and_then(|wanted| wanted.kind().ok()) {
            Some(one) => vec![one],
            None => vec![Workload::W1, Workload::W2, Workload::W3],
        };
        let ways = match (self.over, self.clients) {
            (Some(one), _) => vec![one],
            (None, Some(_)) => vec![Over::Process],
            (None, None) => vec![Over::Process, Over::Http],
        };
        let clients = match self.clients {
            Some(one) => vec![one.get()],
            None => CLIENTS.to_vec(),
        };
        let mut cases = Vec::new();
        for workload in workloads {
            for over in &ways {
                for clients in &clients {
                    cases.push(Case {
                        workload,
                        over: *over,
                        clients: *clients,
                    });
                }
            }
        }
        cases
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::W1 => "w1",
            Workload::W2 => "w2",
            Workload::W3 => "w3",
        })
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Over::Http => "http",
            Over::Process => "process",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.workload, self.over, self.clients)
    }
}

/// Measures. The configured data directory is not touched.
pub async fn run(config: &Config, args: &BenchArgs) -> Result<(), Failure> {
    if let Some(dir) = &args.fill {
        return growth::fill_until_killed(dir, args.amounts.turns).await;
    }
    let engine = EngineSyncs::listen()?;
    let stopped = stopped();
    if let Some(growth) = args.growth() {
        return grown(config, args, growth, &engine, &stopped).await;
    }
    let measured = all(config, args, &engine, &stopped).await?;
    if args.json {
        say(&measured::json(&measured)?)?;
    }
    Ok(())
}

/// One of the marks around the workloads; always as JSON.
async fn grown(
    config: &Config,
    args: &BenchArgs,
    growth: Growth,
    engine: &EngineSyncs,
    stopped: &CancellationToken,
) -> Result<(), Failure> {
    let directory = machine::Directory::fresh(args.keep.as_deref(), growth, true)?;
    let setting = driver::Setting {
        config,
        directory: &directory,
        engine,
        stopped,
        measured_for: Duration::from_secs(args.seconds.get()),
    };
    let clients = args
        .clients
        .map_or(CLIENTS_BESIDE_GROWTH, NonZeroUsize::get);
    let measured = growth::measure(&setting, growth, clients, &args.amounts).await;
    directory.close()?;
    say(&measured?.to_string())
}

async fn all(
    config: &Config,
    args: &BenchArgs,
    engine: &EngineSyncs,
    stopped: &CancellationToken,
) -> Result<Vec<Measured>, Failure> {
    let cases = args.cases();
    if let Some(keep) = &args.keep {
        machine::empty(keep)?;
    }
    if !args.json {
        say(Measured::HEADING)?;
    }
    let mut all = Vec::new();
    for case in &cases {
        let directory = machine::Directory::fresh(args.keep.as_deref(), *case, cases.len() == 1)?;
        let setting = driver::Setting {
            config,
            directory: &directory,
            engine,
            stopped,
            measured_for: Duration::from_secs(args.seconds.get()),
        };
        let measured = driver::measure(&setting, *case).await;
        // Also after a failure: what was measured has stopped by now.
        directory.close()?;
        let measured = measured?;
        if !args.json {
            say(&measured.to_string())?;
        }
        all.push(measured);
    }
    Ok(all)
}

/// Cancelled by the first signal to end: what is measured then stops in order, and its data goes.
/// The second one ends the process.
fn stopped() -> CancellationToken {
    let stopped = CancellationToken::new();
    let stop = stopped.clone();
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        // Without the signals there is nothing to wait for but the end.
        let (Ok(mut interrupt), Ok(mut terminate)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) else {
            return;
        };
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(Exit::Failure.code().into());
            }
            stop.cancel();
        }
    });
    stopped
}

/// To standard output, which carries nothing but results.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Ok(()),
        // Whoever read it has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(failed(format!(
            "standard output cannot be written: {error}"
        ))),
    }
}

/// A failure that says what could not be done.
fn failed(what: impl fmt::Display) -> Failure {
    Failure::new(Exit::Failure, format!("bench: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn cases(line: &[&str]) -> Vec<String> {
        let line = ["bench"].iter().chain(line);
        let cases = Line::try_parse_from(line).unwrap().args.cases();
        cases.iter().map(Case::to_string).collect()
    }

    #[test]
    fn what_is_left_out_is_measured_in_every_way() {
        assert_eq!(
            cases(&["--workload", "w2", "--clients", "16"]),
            ["w2-process-16"]
        );
        assert_eq!(
            cases(&["--workload", "w1", "--over", "http"]),
            ["w1-http-1", "w1-http-16", "w1-http-128"]
        );
        assert_eq!(cases(&[]).len(), 18);
    }

    #[test]
    fn nobody_can_ask_for_no_clients_or_no_time() {
        for line in [["bench", "--clients", "0"], ["bench", "--seconds", "0"]] {
            assert!(Line::try_parse_from(line).is_err());
        }
    }
}
