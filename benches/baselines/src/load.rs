//! The load: clients in a closed loop, and the thread that owns the engine.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::Workload;
use crate::engine::{Ask, Engine, Failure};

/// Clients that one group takes at most.
const GROUP_MAX: usize = 1_024;
const COUNTERS: u64 = 1_000;

/// What was seen.
pub struct Driven {
    pub latencies: Histogram<u64>,
    pub took: Duration,
    pub used: Used,
}

/// What was used in the measured time.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Groups committed: each is one sync of the engine's log at least.
    pub commits: u64,
    pub written_bytes: u64,
    pub rss_kib: u64,
}

type Asked = (Ask, oneshot::Sender<()>);

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Drives an engine with clients that wait for their answers.
pub fn drive(
    engine: Box<dyn Engine>,
    workload: Workload,
    clients: usize,
    measured_for: Duration,
) -> Result<Driven, Failure> {
    let (ask, asked) = mpsc::channel::<Asked>(4_096);
    let commits = Arc::new(AtomicU64::new(0));
    let counted = commits.clone();
    let writer = std::thread::spawn(move || write(engine, asked, &counted));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let driven = runtime.block_on(load(ask, workload, clients, measured_for, &commits));
    writer.join().map_err(|_| "the writer panicked")??;
    driven
}

/// The thread that owns the engine: the next group is whatever has come during the last one.
fn write(
    mut engine: Box<dyn Engine>,
    mut asked: mpsc::Receiver<Asked>,
    commits: &AtomicU64,
) -> Result<(), Failure> {
    let mut waiting: HashMap<u64, oneshot::Sender<()>> = HashMap::new();
    let mut group = Vec::with_capacity(GROUP_MAX);
    loop {
        if !engine.under_way() {
            match asked.blocking_recv() {
                Some(first) => group.push(first),
                None => return Ok(()),
            }
        }
        while group.len() < GROUP_MAX {
            match asked.try_recv() {
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        let mut asks = Vec::with_capacity(group.len());
        for (ask, answer) in group.drain(..) {
            let (Ask::Increment { ticket, .. } | Ask::Place { ticket }) = ask;
            waiting.insert(ticket, answer);
            asks.push(ask);
        }
        let done = engine.group(&asks)?;
        commits.fetch_add(1, Ordering::Relaxed);
        for ticket in done {
            if let Some(answer) = waiting.remove(&ticket) {
                // The client may have gone at the end.
                let _ = answer.send(());
            }
        }
    }
}

async fn load(
    ask: mpsc::Sender<Asked>,
    workload: Workload,
    clients: usize,
    measured_for: Duration,
    commits: &AtomicU64,
) -> Result<Driven, Failure> {
    let phase = Arc::new(AtomicU8::new(WARMING_UP));
    let mut asking = JoinSet::new();
    for client in 0..clients as u64 {
        asking.spawn(client_of(client, workload, ask.clone(), phase.clone()));
    }
    drop(ask);
    tokio::time::sleep(measured_for / 5).await;
    let before = used(commits);
    let began = Instant::now();
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(measured_for).await;
    phase.store(OVER, Ordering::Relaxed);
    let took = began.elapsed();
    let after = used(commits);
    let mut latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    while let Some(ended) = asking.join_next().await {
        latencies.add(ended??)?;
    }
    Ok(Driven {
        latencies,
        took,
        used: Used {
            commits: after.commits - before.commits,
            written_bytes: after.written_bytes - before.written_bytes,
            rss_kib: after.rss_kib,
        },
    })
}

async fn client_of(
    client: u64,
    workload: Workload,
    ask: mpsc::Sender<Asked>,
    phase: Arc<AtomicU8>,
) -> Result<Histogram<u64>, Failure> {
    let mut latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    for nth in 1.. {
        let ticket = client << 40 | nth;
        let next = match workload {
            Workload::W1 => Ask::Increment {
                ticket,
                counter: (ticket.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u32
                    % COUNTERS as u32,
            },
            Workload::W2 => Ask::Place { ticket },
        };
        let (answer, answered) = oneshot::channel();
        let began = Instant::now();
        ask.send((next, answer))
            .await
            .map_err(|_| "the writer has ended")?;
        answered.await.map_err(|_| "the writer has ended")?;
        match phase.load(Ordering::Relaxed) {
            WARMING_UP => {}
            MEASURING => latencies.saturating_record((began.elapsed().as_micros() as u64).max(1)),
            _ => break,
        }
    }
    Ok(latencies)
}

fn used(commits: &AtomicU64) -> Used {
    Used {
        commits: commits.load(Ordering::Relaxed),
        written_bytes: number("/proc/self/io", "write_bytes:"),
        rss_kib: number("/proc/self/status", "VmRSS:"),
    }
}

fn number(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
