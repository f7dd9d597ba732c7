//! What can set a turn off, and what must be looked up before its handler runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::turns::{Outside, panic_text, release};
use super::{ServiceState, ordering_key};
use crate::actors::port::{Act, Request, Stop};
use crate::call::{Answered, CallError, RawAnswer};
use crate::clock::{Timestamp, new_message_id};
use crate::commit::{Mark, Output, Sequence, ServiceId, Write};
use crate::context::TimerId;
use crate::draft::{Facts, Reads, Turn};
use crate::envelope::{Envelope, Key, Kind, MessageId};
use crate::handlers::{ActivityResult, Handled};
use crate::key::TableKey;
use crate::parked::{self, Origin};
use crate::planted::PlantedBug;
use crate::span::Span;
use crate::turn::{self, AnswerKey, Arrived, From, Setting};

impl ServiceState {
    pub(super) fn message(
        &mut self,
        sender: ServiceId,
        sequence: Sequence,
        entry: Bytes,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let mark = self.mark(sender);
        let again = sequence <= mark.consumed && self.planted(PlantedBug::DedupeSkipped);
        if sequence.0 != mark.consumed.0 + 1 && !again {
            // A copy of what was consumed already; the port never runs ahead.
            return Ok(());
        }
        let envelope = match Envelope::decode(&entry) {
            Ok(envelope) => envelope,
            Err(error) => return Err(Stop::Tainted(error.into())),
        };
        let blocked = matches!(&envelope.key, Key::Of(key) if self.parked.blocks(sender, key))
            && !self.planted(PlantedBug::KeyOrderBroken);
        let arrived = Arrived {
            envelope,
            bytes: entry,
            from: From::Stream { sender, sequence },
        };
        if blocked {
            let concluded = turn::park_behind(&self.setting(&arrived, now, 0), &arrived)
                .map_err(Stop::Tainted)?;
            return self.commit(concluded, None);
        }
        self.run(arrived, now, None)
    }

    pub(super) fn attempt_parked(&mut self, origin: Origin, now: Timestamp) -> Result<(), Stop> {
        let key = origin.to_bytes();
        let stored =
            Reads::get(&self.cell.store, self.member.own.parked, &key).map_err(Stop::Store)?;
        let Some(stored) = stored else {
            self.parked.remove(&origin);
            return Ok(());
        };
        let row =
            parked::open_parked(&key, &stored).map_err(|error| Stop::Tainted(error.into()))?;
        let bytes = Bytes::from(row.envelope.clone());
        let envelope = Envelope::decode(&bytes).map_err(|error| Stop::Tainted(error.into()))?;
        self.run(
            Arrived {
                envelope,
                bytes,
                from: From::Parked { origin, row },
            },
            now,
            None,
        )
    }

    pub(super) fn timer(&mut self, timer: TimerId, now: Timestamp) -> Result<(), Stop> {
        let stored = Reads::get(&self.cell.store, self.member.own.timers, &timer.key())
            .map_err(Stop::Store)?;
        let Some(bytes) = stored else {
            self.timers.remove(&timer);
            return Ok(());
        };
        let envelope = Envelope::decode(&bytes).map_err(|error| Stop::Tainted(error.into()))?;
        self.run(
            Arrived {
                envelope,
                bytes,
                from: From::Timer(timer),
            },
            now,
            None,
        )
    }

    pub(super) fn finished(
        &mut self,
        id: Uuid,
        result: ActivityResult,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let stored = Reads::get(&self.cell.store, self.member.own.plans, &id.to_bytes())
            .map_err(Stop::Store)?;
        // Without its row the end has been handled before.
        let Some(bytes) = stored else { return Ok(()) };
        let envelope = Envelope::decode(&bytes).map_err(|error| Stop::Tainted(error.into()))?;
        let key = Origin::Activity(id).to_bytes();
        let charged =
            Reads::get(&self.cell.store, self.member.own.charges, &key).map_err(Stop::Store)?;
        let charged = charged
            .and_then(|bytes| u32::from_bytes(&bytes))
            .unwrap_or(0);
        let exhausted = charged >= self.member.supervision.attempts_max;
        let arrived = Arrived {
            envelope,
            bytes,
            from: From::Activity {
                result,
                // It is given up for the attempts it had, not for one it did not get.
                charged: if exhausted { charged - 1 } else { charged },
            },
        };
        if exhausted {
            let reason = "handling its end took the process down at every attempt".to_owned();
            let setting = self.setting(&arrived, now, 0);
            let concluded = turn::charge(&setting, &arrived, &self.member.supervision, reason)
                .map_err(Stop::Tainted)?;
            return self.commit(concluded, None);
        }
        self.run(arrived, now, None)
    }

    pub(super) fn command(&mut self, mut request: Request, now: Timestamp) -> Result<(), Stop> {
        let key = request.idempotency.take().map(|key| AnswerKey {
            fingerprint: key.fingerprint(),
            scope: key.scope,
            key: key.key,
        });
        let mut expired = Vec::new();
        if let Some(key) = &key {
            let mut replaced = None;
            let row_key = key.row_key();
            let stored = Reads::get(&self.cell.store, self.member.own.answers, &row_key)
                .map_err(Stop::Store)?;
            if let Some(stored) = stored {
                let row = turn::open_answer(&row_key, &stored)
                    .map_err(|error| Stop::Tainted(error.into()))?;
                if now.since(row.at) < self.cell.config.answers_kept {
                    let answer = if row.fingerprint == key.fingerprint {
                        row.answer
                            .map(|reply| Answered {
                                reply,
                                replayed: true,
                            })
                            .map_err(CallError::RejectedBefore)
                    } else {
                        Err(CallError::KeyReused)
                    };
                    self.gate(request.reply, answer);
                    return Ok(());
                }
                // Its entry by time would take the new answer for the old one.
                let by_time = (row.at, key.scope.clone(), key.key.clone()).to_bytes();
                replaced = Some(by_time);
            }
            expired = self.expired_answers(now)?;
            expired.extend(replaced.map(|by_time| Write {
                table: self.member.own.answers_by_time,
                key: by_time,
                value: None,
            }));
        }
        let id = new_message_id(now, &mut self.random);
        let envelope = from_outside(&request, id, now);
        let bytes = match envelope.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                let _ = request
                    .reply
                    .send(Err(CallError::Malformed(error.to_string())));
                return Ok(());
            }
        };
        let arrived = Arrived {
            envelope,
            bytes,
            from: From::Outside(key),
        };
        self.run(
            arrived,
            now,
            Some(Outside {
                reply: request.reply,
                expired,
            }),
        )
    }

    /// Two expired answers to remove with the next one stored: twice as many go as come.
    pub(super) fn expired_answers(&self, now: Timestamp) -> Result<Vec<Write>, Stop> {
        let own = &self.member.own;
        let oldest = Reads::scan(&self.cell.store, own.answers_by_time, &Span::all(), 2)
            .map_err(Stop::Store)?;
        let mut writes = Vec::new();
        for (by_time, _) in oldest {
            let Some((at, scope, key)) = <(Timestamp, String, String)>::from_bytes(&by_time) else {
                continue;
            };
            if now.since(at) < self.cell.config.answers_kept {
                break;
            }
            writes.push(Write {
                table: own.answers,
                key: (scope, key).to_bytes(),
                value: None,
            });
            writes.push(Write {
                table: own.answers_by_time,
                key: by_time,
                value: None,
            });
        }
        Ok(writes)
    }

    pub(super) fn query(&mut self, request: Request, now: Timestamp) -> Result<(), Stop> {
        let id = new_message_id(now, &mut self.random);
        let envelope = from_outside(&request, id, now);
        let name = envelope.name().to_owned();
        let facts = Facts {
            now,
            seed: self.random.u64(..),
            message: id,
            correlation: id,
            trace: envelope.trace,
            attempt: 1,
        };
        let turn = Turn::new(self.member.shape.clone(), self.cell.reads.clone(), facts);
        self.begin();
        let answered = catch_unwind(AssertUnwindSafe(|| {
            self.cell.faults.before_handler(self.member.name(), &name);
            self.member.hosted.answer(&envelope, turn)
        }));
        self.end();
        let (handled, mut turn) = match answered {
            Ok(answered) => answered,
            Err(payload) => {
                let service = self.member.name().to_owned();
                let _ = request.reply.send(Err(CallError::Panicked {
                    service,
                    message: name,
                }));
                return Err(Stop::Panicked {
                    arrived: None,
                    reason: panic_text(payload.as_ref()),
                });
            }
        };
        if let Some(taint) = turn.take_taint() {
            let _ = request.reply.send(Err(CallError::ServiceFailed {
                service: self.member.name().to_owned(),
                reason: taint.to_string(),
            }));
            return Err(Stop::Tainted(taint));
        }
        let answer = match handled {
            Some(Handled::Replied(reply)) => Ok(Answered {
                reply,
                replayed: false,
            }),
            Some(Handled::Rejected(rejection)) => Err(CallError::Rejected(rejection)),
            Some(Handled::Unreadable(error)) => Err(CallError::Malformed(error.to_string())),
            None => Err(CallError::NoSuchMessage {
                service: self.member.name().to_owned(),
                message: name,
            }),
        };
        if answer.is_ok() {
            self.member.status.in_a_row.store(0, Ordering::Relaxed);
        }
        self.gate(request.reply, answer);
        Ok(())
    }

    /// Gives an answer once the state it has seen is durable: that of this service, whatever else
    /// the cell has queued.
    pub(super) fn gate(&self, reply: oneshot::Sender<RawAnswer>, answer: RawAnswer) {
        self.cell.store.gate_at(self.newest, release(reply, answer));
    }

    pub(super) fn act(
        &mut self,
        act: Act,
        done: oneshot::Sender<Result<bool, CallError>>,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let (Act::Redrive(origin) | Act::Discard(origin)) = act;
        let key = origin.to_bytes();
        let stored =
            Reads::get(&self.cell.store, self.member.own.dead, &key).map_err(Stop::Store)?;
        let Some(stored) = stored else {
            let output: Output = Box::new(move |durable| {
                let _ = done.send(match durable {
                    Ok(_) => Ok(false),
                    Err(error) => Err(CallError::OutcomeUnknown {
                        reason: error.to_string(),
                    }),
                });
            });
            self.cell.store.gate_at(self.newest, output);
            return Ok(());
        };
        let dead = parked::open_dead(&key, &stored).map_err(|error| Stop::Tainted(error.into()))?;
        let mark = match origin {
            Origin::Message { sender, .. } => self.mark(sender),
            Origin::Timer(_) | Origin::Activity(_) => Mark::default(),
        };
        let own = self.member.own;
        let setting = Setting {
            shape: &self.member.shape,
            own: &own,
            mark,
            now,
            seed: 0,
            after_dead_letter: crate::declaration::AfterDeadLetter::Release,
        };
        let concluded = match act {
            Act::Redrive(_) => {
                let ordering = ordering_key(&dead.envelope);
                turn::redrive(&setting, origin, dead, ordering).map_err(Stop::Tainted)?
            }
            Act::Discard(_) => turn::discard(&setting, origin),
        };
        let member = self.member.clone();
        let output: Output = Box::new(move |durable| {
            let _ = done.send(match durable {
                Ok(_) => {
                    // Not before: a commit that comes to nothing leaves the letter, to be acted on
                    // again. Whoever has the answer finds it counted.
                    member.status.dead_letters.fetch_sub(1, Ordering::Relaxed);
                    Ok(true)
                }
                Err(error) => Err(CallError::OutcomeUnknown {
                    reason: error.to_string(),
                }),
            });
        });
        self.commit(concluded, Some(output))
    }
}

/// What came from outside begins a conversation of its own.
fn from_outside(request: &Request, id: MessageId, now: Timestamp) -> Envelope {
    Envelope {
        id,
        kind: Kind::Command,
        name: request.name.clone(),
        version: request.version,
        key: request.key.clone(),
        correlation: id,
        causation: id,
        trace: request.trace,
        at: now,
        wants_reply: false,
        body: request.body.clone(),
    }
}
