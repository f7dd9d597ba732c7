//! Running a handler, and queueing the commit that follows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::ServiceState;
use crate::actors::cell::Cell;
use crate::actors::port::Stop;
use crate::call::{Answered, CallError, RawAnswer};
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::commit::{Commit, Epoch, Haste, Mark, Output, Position, ServiceId, Write};
use crate::context::ContextError;
use crate::draft::{Facts, Turn};
use crate::envelope::Kind;
use crate::error::StoreError;
use crate::handlers::Handled;
use crate::parked::{Origin, Why};
use crate::persistence::running::InHand;
use crate::planted::PlantedBug;
use crate::turn::{self, Arrived, Concluded, From, ParkedChange, Setting};

impl ServiceState {
    /// Runs the handler of a message and commits what follows.
    pub(super) fn run(
        &mut self,
        arrived: Arrived,
        now: Timestamp,
        outside: Option<Outside>,
    ) -> Result<(), Stop> {
        let seed = self.random.u64(..);
        let declared = self.member.hosted.declaration();
        let kind = arrived.envelope.kind;
        let name = match kind {
            Kind::Activity => None,
            Kind::Event | Kind::Command | Kind::Reply | Kind::Timer => {
                match self
                    .member
                    .hosted
                    .current_name(kind, arrived.envelope.name())
                {
                    Some(name) => Some(name),
                    None if declared.retired.contains(&arrived.envelope.name()) => {
                        let setting = self.setting(&arrived, now, seed);
                        let concluded = turn::retire(&setting, &arrived).map_err(Stop::Tainted)?;
                        return self.commit(concluded, None);
                    }
                    // The registry says that it cannot be read, which parks it.
                    None => Some("?"),
                }
            }
        };
        let facts = Facts {
            now,
            seed,
            message: arrived.envelope.id,
            correlation: arrived.envelope.correlation,
            trace: arrived.envelope.trace,
            attempt: arrived.attempt(),
        };
        let turn = Turn::new(self.member.shape.clone(), self.cell.reads.clone(), facts);
        self.running.set(in_hand(&arrived));
        self.begin();
        let handled = catch_unwind(AssertUnwindSafe(|| {
            self.cell
                .faults
                .before_handler(self.member.name(), arrived.envelope.name());
            self.hand_over(name, &arrived, turn)
        }));
        self.end();
        self.running.clear();
        match handled {
            Ok(Ok((Some(handled), turn))) => {
                self.conclude(arrived, handled, turn, now, seed, outside)
            }
            Ok(Ok((None, _))) => {
                let setting = self.setting(&arrived, now, seed);
                let concluded = turn::retire(&setting, &arrived).map_err(Stop::Tainted)?;
                self.commit(concluded, None)
            }
            Ok(Err(stop)) => Err(stop),
            Err(payload) => Err(self.blame(arrived, outside, panic_text(payload.as_ref()))),
        }
    }

    /// The message is at fault: a caller from outside is told, any other message will be charged.
    pub(super) fn blame(&self, arrived: Arrived, outside: Option<Outside>, reason: String) -> Stop {
        let Some(outside) = outside else {
            let arrived = Some(Box::new(arrived));
            return Stop::Panicked { arrived, reason };
        };
        let _ = outside.reply.send(Err(CallError::Panicked {
            service: self.member.name().to_owned(),
            message: arrived.envelope.name().to_owned(),
        }));
        Stop::Panicked {
            arrived: None,
            reason,
        }
    }

    pub(super) fn hand_over(
        &self,
        name: Option<&'static str>,
        arrived: &Arrived,
        turn: Turn,
    ) -> Result<(Option<Handled>, Turn), Stop> {
        let hosted = &self.member.hosted;
        let Some(name) = name else {
            return match &arrived.from {
                From::Activity { result, .. } => Ok(hosted.finish(&arrived.envelope, result, turn)),
                From::Parked { row, .. } => {
                    let result = turn::open_result(row.result.as_deref().unwrap_or_default());
                    let result = result.map_err(|error| Stop::Tainted(error.into()))?;
                    Ok(hosted.finish(&arrived.envelope, &result, turn))
                }
                From::Stream { .. } | From::Timer(_) | From::Outside(_) => Ok((None, turn)),
            };
        };
        let (handled, turn) = hosted.handle(name, &arrived.envelope, turn);
        Ok((Some(handled), turn))
    }

    pub(super) fn conclude(
        &mut self,
        arrived: Arrived,
        handled: Handled,
        turn: Turn,
        now: Timestamp,
        seed: u64,
        outside: Option<Outside>,
    ) -> Result<(), Stop> {
        // A refusal is an answer like any other: the service works.
        let returned = !matches!(handled, Handled::Unreadable(_));
        let concluded =
            match turn::conclude(&self.setting(&arrived, now, seed), &arrived, handled, turn) {
                Ok(concluded) => concluded,
                // A value that cannot be written is the handler's doing, not damage.
                Err(ContextError::Codec(error @ CodecError::Encode { .. })) => {
                    return Err(self.blame(arrived, outside, error.to_string()));
                }
                Err(taint) => {
                    if let Some(outside) = outside {
                        let _ = outside.reply.send(Err(CallError::ServiceFailed {
                            service: self.member.name().to_owned(),
                            reason: taint.to_string(),
                        }));
                    }
                    return Err(Stop::Tainted(taint));
                }
            };
        let mut concluded = concluded;
        let output = outside.map(|outside| {
            // Before the new answer, which may be stored under a key that has expired.
            concluded.commit.writes.splice(0..0, outside.expired);
            let answer = match concluded.answer.take() {
                Some(Ok(reply)) => Ok(Answered {
                    reply,
                    replayed: false,
                }),
                Some(Err(rejection)) => Err(CallError::Rejected(rejection)),
                None => Err(CallError::OutcomeUnknown {
                    reason: "the turn gave no answer".to_owned(),
                }),
            };
            release(outside.reply, answer)
        });
        let committed = self.commit(concluded, output);
        if returned && committed.is_ok() {
            self.member.status.in_a_row.store(0, Ordering::Relaxed);
        }
        match committed {
            // It would be too large again and again: its handler's fault, like a panic.
            Err(Stop::Store(error @ StoreError::TooLarge { .. })) => Err(Stop::Panicked {
                reason: error.to_string(),
                arrived: match arrived.from {
                    From::Outside(_) => None,
                    From::Stream { .. }
                    | From::Parked { .. }
                    | From::Timer(_)
                    | From::Activity { .. } => Some(Box::new(arrived)),
                },
            }),
            committed => committed,
        }
    }

    /// Queues a commit and does what must follow it.
    pub(super) fn commit(
        &mut self,
        concluded: Concluded,
        output: Option<Output>,
    ) -> Result<(), Stop> {
        let Concluded {
            commit,
            parked,
            timers_set,
            timers_gone,
            activities,
            activity_ended,
            notices,
            died,
            applied,
            answer: _,
        } = concluded;
        let background = self.member.hosted.declaration().in_background;
        let haste = match output {
            None if background => Haste::Unhurried,
            Some(_) | None => Haste::Awaited,
        };
        let mut outputs: Vec<Output> = output.into_iter().collect();
        let planned = activities.len() as u64;
        if !activities.is_empty() {
            let member = self.member.clone();
            outputs.push(Box::new(move |durable| {
                if durable.is_ok() {
                    member.pool.start(activities);
                }
            }));
        }
        if !notices.is_empty() && self.member.port.is_watched() {
            let member = self.member.clone();
            outputs.push(Box::new(move |durable| {
                if durable.is_ok() {
                    member.port.notify(&notices);
                }
            }));
        }
        let mut commit = commit;
        let moved = commit.mark;
        let envelopes: Vec<Bytes> = commit
            .sends
            .iter()
            .map(|send| send.envelope.clone())
            .collect();
        if self.planted(PlantedBug::MarkBeforeApply) {
            let mark = Commit {
                mark: commit.mark.take(),
                cause: commit.cause.clone(),
                writes: Vec::new(),
                sends: Vec::new(),
                ..commit
            };
            queue(&self.cell, haste, self.epoch, mark, Vec::new())?;
        }
        let queued = queue(&self.cell, haste, self.epoch, commit, outputs)?;
        self.newest = queued.position;
        if let Some(moved) = moved {
            self.marks.insert(moved.sender, moved.mark);
            self.acks.insert(moved.sender, moved.mark.consumed);
        }
        for change in parked {
            match change {
                ParkedChange::Insert { origin, row, key } if row.why == Why::Unreadable => {
                    self.member.could_not_read(origin);
                    self.parked.insert(origin, &row, key);
                }
                ParkedChange::Insert { origin, row, key } => self.parked.insert(origin, &row, key),
                ParkedChange::Remove(origin) => self.parked.remove(&origin),
            }
        }
        for timer in timers_gone {
            self.timers.remove(&timer);
        }
        self.timers.extend(timers_set);
        let status = &self.member.status;
        status.activities.fetch_add(planned, Ordering::Relaxed);
        if activity_ended {
            status.activities.fetch_sub(1, Ordering::Relaxed);
        }
        status.turns.fetch_add(1, Ordering::Relaxed);
        if !applied {
            status.rejections.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(reason) = died {
            status.dead_letters.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                service = self.member.name(),
                ?reason,
                "a message became a dead letter"
            );
        }
        // Only now may its messages go on: the commit is final.
        for (envelope, receivers) in envelopes.iter().zip(queued.sequences) {
            for (receiver, sequence) in receivers {
                self.member
                    .relay
                    .offer(&self.cell, receiver, sequence, envelope);
            }
        }
        Ok(())
    }

    pub(super) fn setting(&self, arrived: &Arrived, now: Timestamp, seed: u64) -> Setting<'_> {
        let mark = match arrived.origin() {
            Some(Origin::Message { sender, .. }) => self.mark(sender),
            Some(Origin::Timer(_) | Origin::Activity(_)) | None => Mark::default(),
        };
        Setting {
            shape: &self.member.shape,
            own: &self.member.own,
            mark,
            now,
            seed,
            after_dead_letter: self.member.after_dead_letter(arrived.envelope.name()),
        }
    }

    /// Whether a mistake is to be made on purpose.
    pub(super) fn planted(&self, bug: PlantedBug) -> bool {
        self.member.shape.planted.is(bug)
    }

    pub(super) fn mark(&self, sender: ServiceId) -> Mark {
        self.marks.get(&sender).copied().unwrap_or_default()
    }

    pub(super) fn begin(&mut self) {
        self.calls += 1;
        let status = &self.member.status;
        status.in_call.store(self.calls, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.member.status.in_call.store(0, Ordering::Relaxed);
    }
}

/// What a command from outside leaves to do after its turn.
pub(super) struct Outside {
    pub(super) reply: oneshot::Sender<RawAnswer>,
    pub(super) expired: Vec<Write>,
}

/// Queues a commit; an error says why the actor must stop.
pub(crate) fn queue(
    cell: &Cell,
    haste: Haste,
    epoch: Epoch,
    commit: Commit,
    outputs: Vec<Output>,
) -> Result<crate::commit::Queued, Stop> {
    cell.store
        .queue_with(haste, epoch, commit, outputs)
        .map_err(|error| match error {
            StoreError::Superseded => Stop::Superseded,
            other => Stop::Store(other),
        })
}

pub(super) fn release(reply: oneshot::Sender<RawAnswer>, answer: RawAnswer) -> Output {
    Box::new(move |durable: Result<Position, StoreError>| {
        // A caller that has gone away does not mind.
        let _ = reply.send(match durable {
            Ok(_) => answer,
            // Nothing was queued, so nothing was done.
            Err(error @ StoreError::TooLarge { .. }) => {
                Err(CallError::Malformed(error.to_string()))
            }
            Err(error) => Err(CallError::OutcomeUnknown {
                reason: error.to_string(),
            }),
        });
    })
}

fn in_hand(arrived: &Arrived) -> InHand {
    match arrived.origin() {
        Some(Origin::Message { sender, sequence }) => InHand::Message { sender, sequence },
        Some(Origin::Timer(timer)) => InHand::Timer {
            hash: low_half(timer.id),
        },
        Some(Origin::Activity(id)) => InHand::Activity { hash: low_half(id) },
        None => InHand::Command {
            hash: low_half(arrived.envelope.id.0),
        },
    }
}

/// The random half of a UUIDv7: enough to find it again among a service's own.
pub(crate) fn low_half(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
