//! The command `simulate`: many seeds on all cores, one table or one JSON object.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use redeliver::cli::{Exit, Failure};
use redeliver::testing::{PlantedBug, Simulated, Violation};
use serde::Serialize;

use super::outside::locked;
use super::shop;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether a seed is stuck.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a run may take in real time, and each virtual hour of it: a hundred times what it does.
const END_WITHIN: Duration = Duration::from_secs(60);

/// What is to be simulated.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Seeds to run; the end is not one of them
    #[arg(long, value_name = "FROM..TO", value_parser = seeds, default_value = "0..20")]
    seeds: Range<u64>,
    /// Virtual hours that each seed runs
    #[arg(long, value_name = "HOURS", value_parser = hours, default_value = "1")]
    hours: f64,
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Run this seed alone and print its trace
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,
    /// Have the library make this mistake, to see whether it is noticed; `list` names all
    #[arg(long, value_name = "NAME", value_parser = plant)]
    plant: Option<Plant>,
    /// Run every seed twice and compare the hashes of the two traces
    #[arg(long)]
    twice: bool,
    /// Also print the hash of each seed's trace
    #[arg(long)]
    hashes: bool,
}

#[derive(Debug, Clone, Copy)]
enum Plant {
    List,
    Bug(PlantedBug),
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..");
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    match range {
        Some(range) if range.start < range.end => Ok(range),
        _ => Err("write it as 1000..1500".to_owned()),
    }
}

fn hours(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(hours) if (0.01..=1_000.0).contains(&hours) => Ok(hours),
        _ => Err("a number of hours, 0.01 to 1000".to_owned()),
    }
}

fn plant(text: &str) -> Result<Plant, String> {
    if text == "list" {
        return Ok(Plant::List);
    }
    text.parse()
        .map(Plant::Bug)
        .map_err(|error: redeliver::testing::UnknownBug| error.to_string())
}

/// What all seeds have come to.
#[derive(Debug, Serialize)]
struct Outcome {
    seeds: u64,
    turns: u64,
    crashes: u64,
    faults: u64,
    violations: Vec<Violated>,
    /// Commands that people had done.
    acts: u64,
    hours: f64,
    seconds: f64,
    /// What one virtual hour of the shop takes on one core.
    seconds_per_hour: f64,
    /// Faults by kind.
    by_kind: BTreeMap<&'static str, u64>,
    /// The hash of each seed's trace, if that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    hashes: Option<BTreeMap<u64, String>>,
}

#[derive(Debug, Serialize)]
struct Violated {
    seed: u64,
    checker: String,
    detail: String,
}

/// Runs the command.
pub fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let bug = match args.plant {
        Some(Plant::List) => {
            let names: Vec<&str> = PlantedBug::ALL.iter().map(|bug| bug.name()).collect();
            print(&names.join("\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Plant::Bug(bug)) => Some(bug),
        None => None,
    };
    let time = Duration::from_secs_f64(args.hours * 3_600.0);
    if let Some(seed) = args.replay {
        let limit = limit(args);
        let Some(simulated) = within(limit, move || once(seed, time, bug, true)) else {
            eprintln!("seed {seed}: ends: {}", no_end(limit));
            return Ok(ExitCode::FAILURE);
        };
        for violation in &simulated.violations {
            eprintln!("seed {seed}: {violation}");
        }
        return Ok(exit(simulated.violations.is_empty()));
    }
    let outcome = all(args, time, bug);
    print(&match args.json {
        true => serde_json::to_string(&outcome)
            .map_err(|error| Failure::new(Exit::Failure, error.to_string()))?,
        false => table(&outcome, bug),
    })?;
    Ok(exit(outcome.violations.is_empty()))
}

fn exit(kept: bool) -> ExitCode {
    match kept {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// How long a run may take in real time.
fn limit(args: &SimulateArgs) -> Duration {
    let times = if args.twice { 2.0 } else { 1.0 };
    END_WITHIN + END_WITHIN.mul_f64(args.hours * times)
}

fn no_end(limit: Duration) -> String {
    format!(
        "no end after {} s; virtual time stands still",
        limit.as_secs()
    )
}

/// What the work comes to; `None` if it has no end within the limit: then it is left to itself.
/// A panic of it is ours.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let working = thread::spawn(move || tell.send(work()));
    match told.recv_timeout(limit) {
        Ok(done) => Some(done),
        Err(mpsc::RecvTimeoutError::Timeout) => None,
        Err(mpsc::RecvTimeoutError::Disconnected) => match working.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => None,
        },
    }
}

fn once(seed: u64, time: Duration, bug: Option<PlantedBug>, traced: bool) -> Simulated {
    let mut shop = shop(seed);
    if let Some(bug) = bug {
        shop = shop.plant(bug);
    }
    if traced {
        shop = shop.trace_to(std::io::stdout());
    }
    shop.once(time)
}

/// A seed that has ended, with the processor time that it took.
type Ended = (u64, Simulated, Duration);

/// What the threads share.
struct Shift {
    time: Duration,
    bug: Option<PlantedBug>,
    twice: bool,
    next: AtomicU64,
    end: u64,
    /// Seeds that run, since when.
    running: Mutex<BTreeMap<u64, Instant>>,
}

impl Shift {
    /// Runs one seed after another until none is left.
    fn work(&self, ended: &mpsc::Sender<Ended>) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return;
            }
            locked(&self.running).insert(seed, Instant::now());
            let began = cpu_time();
            let mut simulated = once(seed, self.time, self.bug, false);
            let worked = cpu_time().saturating_sub(began);
            if self.twice {
                let (first, again) = (
                    simulated.trace_hash,
                    once(seed, self.time, self.bug, false).trace_hash,
                );
                if first != again {
                    simulated.violations.push(Violation {
                        checker: "repeatable".to_owned(),
                        detail: format!("{first:016x}, then {again:016x}"),
                    });
                }
            }
            locked(&self.running).remove(&seed);
            // Kept for nothing, and too much for thousands of seeds.
            simulated.last_lines = Vec::new();
            if ended.send((seed, simulated, worked)).is_err() {
                return;
            }
        }
    }

    /// Seeds that have run for longer than this.
    fn stuck(&self, limit: Duration) -> Vec<u64> {
        let running = locked(&self.running);
        let late = running.iter().filter(|(_, since)| since.elapsed() > limit);
        late.map(|(seed, _)| *seed).collect()
    }
}

/// Runs all seeds, one thread to a core, each seed in a runtime of its own.
fn all(args: &SimulateArgs, time: Duration, bug: Option<PlantedBug>) -> Outcome {
    let began = Instant::now();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let shift = Arc::new(Shift {
        time,
        bug,
        twice: args.twice,
        next: AtomicU64::new(args.seeds.start),
        end: args.seeds.end,
        running: Mutex::default(),
    });
    let (ended, endings) = mpsc::channel();
    for _ in 0..threads {
        let (shift, ended) = (shift.clone(), ended.clone());
        // Never joined: a run in which virtual time stands still has no end.
        thread::spawn(move || shift.work(&ended));
    }
    drop(ended);
    let limit = limit(args);
    let total = args.seeds.end - args.seeds.start;
    let mut done: BTreeMap<u64, Simulated> = BTreeMap::new();
    let mut worked = Duration::ZERO;
    let mut shown = Instant::now();
    let stuck = loop {
        match endings.recv_timeout(LOOK_EVERY) {
            Ok((seed, simulated, took)) => {
                worked += took;
                done.insert(seed, simulated);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break Vec::new(),
        }
        let stuck = shift.stuck(limit);
        if !stuck.is_empty() {
            break stuck;
        }
        if shown.elapsed() >= PROGRESS_EVERY {
            shown = Instant::now();
            eprintln!("{} of {total} seeds", done.len());
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let mut outcome = sum(args, done, seconds, worked.as_secs_f64());
    // The others are given up with it: each holds a core for good.
    outcome
        .violations
        .extend(stuck.into_iter().map(|seed| Violated {
            seed,
            checker: "ends".to_owned(),
            detail: no_end(limit),
        }));
    outcome
}

/// What this thread has worked, however many others share its core.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn sum(args: &SimulateArgs, done: BTreeMap<u64, Simulated>, seconds: f64, worked: f64) -> Outcome {
    let seeds = done.len() as u64;
    let mut outcome = Outcome {
        seeds,
        turns: 0,
        crashes: 0,
        faults: 0,
        violations: Vec::new(),
        acts: 0,
        hours: args.hours,
        seconds: rounded(seconds),
        seconds_per_hour: rounded(worked / (seeds.max(1) as f64 * args.hours)),
        by_kind: BTreeMap::new(),
        hashes: args.hashes.then(BTreeMap::new),
    };
    for (seed, simulated) in done {
        outcome.turns += simulated.turns;
        outcome.crashes += simulated.crashes;
        outcome.acts += simulated.calls;
        for (kind, times) in simulated.faults {
            outcome.faults += times;
            *outcome.by_kind.entry(kind).or_default() += times;
        }
        let violations = simulated.violations.into_iter();
        outcome
            .violations
            .extend(violations.map(|violation| Violated {
                seed,
                checker: violation.checker,
                detail: violation.detail,
            }));
        if let Some(hashes) = &mut outcome.hashes {
            hashes.insert(seed, format!("{:016x}", simulated.trace_hash));
        }
    }
    outcome
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1_000.0).round() / 1_000.0
}

fn table(outcome: &Outcome, bug: Option<PlantedBug>) -> String {
    let mut lines = vec![
        format!("seeds        {}, {} h each", outcome.seeds, outcome.hours),
        format!("acts         {}", outcome.acts),
        format!("turns        {}", outcome.turns),
        format!("crashes      {}", outcome.crashes),
        format!("faults       {}", outcome.faults),
        format!(
            "seconds      {}, {} per virtual hour and core",
            outcome.seconds, outcome.seconds_per_hour
        ),
        format!("violations   {}", outcome.violations.len()),
    ];
    for violated in outcome.violations.iter().take(20) {
        let detail: String = violated.detail.chars().take(400).collect();
        lines.push(format!(
            "  seed {} {}: {detail}",
            violated.seed, violated.checker
        ));
    }
    if let Some(first) = outcome.violations.first() {
        let plant = bug.map_or_else(String::new, |bug| format!(" --plant {bug}"));
        lines.push(format!(
            "read it: commerce simulate --hours {} --replay {}{plant}",
            outcome.hours, first.seed
        ));
    }
    lines.extend(
        outcome
            .hashes
            .iter()
            .flatten()
            .map(|(seed, hash)| format!("{seed} {hash}")),
    );
    lines.join("\n")
}

fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failure,
            format!("standard output cannot be written: {error}"),
        )),
        // Whoever read it has read enough.
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_an_end_is_given_up() {
        let (_never, told) = mpsc::channel::<()>();
        let endless = move || told.recv().is_ok();
        assert_eq!(within(Duration::from_millis(1), endless), None);
        assert_eq!(within(Duration::MAX, || 7), Some(7));
    }
}
