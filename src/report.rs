//! What a running system says of itself, as data.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::actors::cell::{CHILDREN, Cell, Life, Status};
use crate::clock::Timestamp;
use crate::parked::{DeadReason, Origin};
use crate::persistence::store::{CellState, Space};

/// The live tree and the streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SystemReport {
    /// Every service.
    pub services: Vec<ServiceReport>,
    /// Every stream on which anything was ever sent.
    pub streams: Vec<StreamReport>,
    /// What the last start recovered.
    pub recovered: RecoveredReport,
    /// The cell's store.
    pub store: StoreReport,
}

/// One service's tree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// `starting`, `running`, `restarting`, `failed` or `stopped`.
    pub state: String,
    /// Why it is not running, if it is not.
    pub reason: Option<String>,
    /// Restarts of any of its actors since the start.
    pub restarts: u64,
    /// The actors of its tree, in start order.
    pub actors: Vec<ActorReport>,
    /// Panics of its handlers since the start.
    pub panics: u64,
    /// What the last panic said.
    pub last_panic: Option<String>,
    /// Turns committed since the start.
    pub turns: u64,
    /// Requests from outside that wait for a turn.
    pub requests_waiting: usize,
    /// Messages of services that wait for a turn.
    pub messages_waiting: usize,
    /// Parked messages.
    pub parked: u64,
    /// Timers set.
    pub timers: u64,
    /// Activities planned whose end has not been handled yet.
    pub activities: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
}

/// One actor of a service's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActorReport {
    /// `service` takes turns, `relay` re-delivers, `activities` works with the outside.
    pub role: String,
    /// `running` or `stopped`.
    pub state: String,
    /// How often it was started again.
    pub restarts: u64,
}

/// One stream. `sent = waiting + accepted` and
/// `accepted = applied + rejected + parked + dead + discarded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// The sender.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// Messages promised.
    pub sent: u64,
    /// Messages that the receiver has consumed.
    pub accepted: u64,
    /// Messages that wait in the outbox.
    pub waiting: u64,
    /// Those of them that wait on disk and not in memory.
    pub spilled: u64,
    /// Turns that succeeded.
    pub applied: u64,
    /// Messages refused, with the sender told.
    pub rejected: u64,
    /// Messages parked for another attempt.
    pub parked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Dead letters thrown away.
    pub discarded: u64,
}

/// What a start recovered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecoveredReport {
    /// Commits replayed from the journal.
    pub commits: u64,
    /// How long that took, in milliseconds.
    pub ms: u64,
    /// Whether the last end was in good order.
    pub clean: bool,
    /// Why the materialised state was rebuilt, if it was.
    pub rebuilt: Option<String>,
}

/// Figures of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// Newest position queued.
    pub queued: u64,
    /// Newest durable position.
    pub durable: u64,
    /// Position of the last checkpoint.
    pub checkpoint: u64,
    /// Bytes not yet checkpointed.
    pub uncheckpointed_bytes: u64,
    /// What messages that wait take in memory, in bytes, about.
    pub outbox_memory_bytes: u64,
    /// Bytes of messages that wait on disk and not in memory, about.
    pub outbox_spilled_bytes: u64,
    /// Bytes written to the journal since the start.
    pub journal_bytes: u64,
    /// Syncs of the journal since the start.
    pub syncs: u64,
    /// Syncs of any file or directory of the data directory, the journal's included; not what the
    /// engine asks the kernel for on its own account.
    pub disk_syncs: u64,
}

/// Whether the system is ready for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// All checks are fine.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check of [`Health`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether it is fine.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// A message given up, with its history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Names it towards [`System::redrive`](crate::System::redrive) and
    /// [`System::discard`](crate::System::discard).
    pub id: String,
    /// The service that could not handle it.
    pub service: String,
    /// Wire name.
    pub message: String,
    /// Why it was given up.
    pub reason: DeadReason,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub died_at: Timestamp,
    /// What the attempts said, oldest first.
    pub history: Vec<String>,
    /// The message it was part of the consequences of.
    pub correlation_id: String,
}

impl DeadLetter {
    pub(crate) fn id_of(origin: &Origin) -> String {
        match origin {
            Origin::Message { sender, sequence } => format!("m-{}-{}", sender.0, sequence.0),
            Origin::Timer(timer) => format!("t-{}-{}", timer.due.0, timer.id.simple()),
            Origin::Activity(id) => format!("a-{}", id.simple()),
        }
    }

    pub(crate) fn origin_of(id: &str) -> Option<Origin> {
        let (kind, rest) = id.split_once('-')?;
        match kind {
            "m" => {
                let (sender, sequence) = rest.split_once('-')?;
                Some(Origin::Message {
                    sender: crate::commit::ServiceId(sender.parse().ok()?),
                    sequence: crate::commit::Sequence(sequence.parse().ok()?),
                })
            }
            "t" => {
                let (due, id) = rest.rsplit_once('-')?;
                let (due, id) = (
                    Timestamp(due.parse().ok()?),
                    uuid::Uuid::parse_str(id).ok()?,
                );
                Some(Origin::Timer(crate::context::TimerId { due, id }))
            }
            "a" => uuid::Uuid::parse_str(rest).ok().map(Origin::Activity),
            _ => None,
        }
    }
}

pub(crate) fn report(cell: &Cell, recovered: &RecoveredReport) -> SystemReport {
    let services = cell.members.iter().map(|member| {
        let status = &member.status;
        let (life, reason) = status.life();
        let (requests_waiting, messages_waiting) = member.port.depths();
        ServiceReport {
            name: member.name().to_owned(),
            state: life.word().to_owned(),
            reason: if life == Life::Running { None } else { reason },
            restarts: status.restarts.load(Ordering::Relaxed),
            actors: actors(status),
            panics: status.panics.load(Ordering::Relaxed),
            last_panic: status.last_panic(),
            turns: status.turns.load(Ordering::Relaxed),
            requests_waiting,
            messages_waiting,
            parked: status.parked.load(Ordering::Relaxed),
            timers: status.timers.load(Ordering::Relaxed),
            activities: status.activities.load(Ordering::Relaxed),
            dead_letters: status.dead_letters.load(Ordering::Relaxed),
        }
    });
    let names = cell.store.services();
    let name = |id| {
        names
            .iter()
            .find(|(known, _, _)| *known == id)
            .map_or_else(|| "?".to_owned(), |(_, name, _)| name.clone())
    };
    let waiting = cell.store.streams();
    let mut streams: Vec<StreamReport> = waiting
        .iter()
        .map(|stream| StreamReport {
            from: name(stream.id.sender),
            to: name(stream.id.receiver),
            sent: stream.sent.0,
            accepted: stream.mark.consumed.0,
            waiting: stream.sent.0.saturating_sub(stream.mark.consumed.0),
            spilled: stream.spilled_entries,
            applied: stream.mark.applied,
            rejected: stream.mark.rejected,
            parked: stream.mark.parked(),
            dead: stream.mark.dead,
            discarded: stream.mark.discarded,
        })
        .collect();
    streams.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    let usage = cell.store.usage();
    SystemReport {
        services: services.collect(),
        streams,
        recovered: recovered.clone(),
        store: StoreReport {
            queued: usage.queued.0,
            durable: usage.durable.0,
            checkpoint: usage.checkpoint.0,
            uncheckpointed_bytes: usage.uncheckpointed_bytes,
            outbox_memory_bytes: waiting.iter().map(|stream| stream.memory_bytes).sum(),
            outbox_spilled_bytes: waiting.iter().map(|stream| stream.spilled_bytes).sum(),
            journal_bytes: usage.journal_bytes,
            syncs: usage.syncs,
            disk_syncs: usage.disk_syncs,
        },
    }
}

fn actors(status: &Status) -> Vec<ActorReport> {
    let children = CHILDREN.iter().zip(&status.children);
    children
        .map(|(role, child)| ActorReport {
            role: (*role).to_owned(),
            state: match child.running.load(Ordering::Relaxed) {
                true => Life::Running.word(),
                false => Life::Stopped.word(),
            }
            .to_owned(),
            restarts: child.starts.load(Ordering::Relaxed).saturating_sub(1),
        })
        .collect()
}

pub(crate) fn health(cell: &Cell, recovered: &RecoveredReport) -> Health {
    let usage = cell.store.usage();
    let check = |name: &str, ok: bool, detail: String| Check {
        name: name.to_owned(),
        ok,
        detail,
    };
    let mut checks = vec![
        match &usage.state {
            CellState::Open => check("store", true, "open".to_owned()),
            CellState::Closed(reason) => check("store", false, reason.clone()),
        },
        check(
            "recovery",
            true,
            format!("{} commits in {} ms", recovered.commits, recovered.ms),
        ),
        check(
            "draining",
            !cell.draining.is_cancelled(),
            if cell.draining.is_cancelled() {
                "shutting down"
            } else {
                "no"
            }
            .to_owned(),
        ),
        match usage.space {
            Space::Ok => check("space", true, "enough".to_owned()),
            Space::Low => check(
                "space",
                false,
                "below the low mark; commands are refused".to_owned(),
            ),
            Space::Exhausted => check("space", false, "used up; turns wait".to_owned()),
        },
    ];
    let dead: u64 = cell
        .members
        .iter()
        .map(|member| member.status.dead_letters.load(Ordering::Relaxed))
        .sum();
    let limit = cell.config.dead_letters_warn;
    checks.push(check(
        "dead_letters",
        dead <= limit,
        format!("{dead} kept, warning above {limit}"),
    ));
    for member in &cell.members {
        let (life, reason) = member.status.life();
        // A restart after a panic takes microseconds and is no reason to send traffic elsewhere.
        let ok = matches!(life, Life::Running | Life::Restarting);
        let detail = match reason.filter(|_| !ok) {
            Some(reason) => format!("{}: {reason}", life.word()),
            None => life.word().to_owned(),
        };
        checks.push(check(&format!("service:{}", member.name()), ok, detail));
    }
    Health {
        ready: checks.iter().all(|check| check.ok),
        checks,
    }
}
