//! The turn: from what a handler came to, to the one commit that follows. Pure.
//!
//! ```text
//! message ─▶ handler ─▶ Ok        writes + messages + mark (+ reply)
//!                       rejection  mark + answer, or a dead letter if nobody can hear it
//!                       unreadable parked until the next start
//!            panic                 parked for another attempt, or a dead letter after the last
//!            taint                 nothing: the turn has not happened
//! ```

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, new_message_id};
use crate::codec::{self, CodecError, Subject};
use crate::commit::{Cause, Commit, Mark, MarkMove, Send, Sequence, ServiceId, TableId, Write};
use crate::context::{ContextError, TimerId};
use crate::declaration::AfterDeadLetter;
use crate::draft::{Shape, Turn};
use crate::envelope::{Envelope, Key, Kind};
use crate::handlers::{ActivityResult, Handled, seal_rejection};
use crate::key::TableKey;
use crate::messaging::retry::backoff;
use crate::parked::{self, DeadReason, DeadRow, Failure, Origin, ParkedRow, Why};
use crate::planted::PlantedBug;
use crate::rejection::Rejection;
use crate::supervision::Supervision;

/// The library's own tables of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnTables {
    pub(crate) timers: TableId,
    pub(crate) plans: TableId,
    pub(crate) parked: TableId,
    pub(crate) dead: TableId,
    /// Attempts at handling the end of an activity that took the process down.
    pub(crate) charges: TableId,
    pub(crate) answers: TableId,
    pub(crate) answers_by_time: TableId,
}

pub(crate) const TIMERS: &str = "~timers";
pub(crate) const PLANS: &str = "~activities";
pub(crate) const CHARGES: &str = "~charges";
pub(crate) const ANSWERS: &str = "~answers";
pub(crate) const ANSWERS_BY_TIME: &str = "~answers_by_time";

/// What set a turn off.
pub(crate) struct Arrived {
    pub(crate) envelope: Envelope,
    /// The envelope as stored.
    pub(crate) bytes: Bytes,
    pub(crate) from: From,
}

/// Where a turn's message came from.
pub(crate) enum From {
    /// The next message of a stream.
    Stream {
        sender: ServiceId,
        sequence: Sequence,
    },
    /// A parked message, for another attempt.
    Parked { origin: Origin, row: ParkedRow },
    /// A timer that is due.
    Timer(TimerId),
    /// An activity that has ended; `charged` attempts at handling its end took the process down.
    Activity {
        result: ActivityResult,
        charged: u32,
    },
    /// A command from outside.
    Outside(Option<AnswerKey>),
}

impl Arrived {
    /// What the message is found by after a failure; none for commands from outside.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match &self.from {
            From::Stream { sender, sequence } => Some(Origin::Message {
                sender: *sender,
                sequence: *sequence,
            }),
            From::Parked { origin, .. } => Some(*origin),
            From::Timer(timer) => Some(Origin::Timer(*timer)),
            From::Activity { .. } => Some(Origin::Activity(self.envelope.id.0)),
            From::Outside(_) => None,
        }
    }

    /// 1 for the first attempt.
    pub(crate) fn attempt(&self) -> u32 {
        match &self.from {
            From::Parked { row, .. } => row.attempts + 1,
            From::Activity { charged, .. } => charged + 1,
            From::Stream { .. } | From::Timer(_) | From::Outside(_) => 1,
        }
    }

    fn sender(&self) -> Option<ServiceId> {
        match self.origin() {
            Some(Origin::Message { sender, .. }) => Some(sender),
            Some(Origin::Timer(_) | Origin::Activity(_)) | None => None,
        }
    }

    fn cause(&self) -> Cause {
        match (self.origin(), &self.from) {
            (Some(Origin::Message { sender, sequence }), _) => Cause::Message { sender, sequence },
            (Some(Origin::Timer(timer)), _) => Cause::Timer { key: timer.key() },
            (Some(Origin::Activity(id)), from) => Cause::Activity {
                key: id.to_bytes(),
                result: match from {
                    From::Activity { result, .. } => {
                        seal_result(result).map(Bytes::from).unwrap_or_default()
                    }
                    From::Parked { row, .. } => {
                        row.result.clone().map(Bytes::from).unwrap_or_default()
                    }
                    From::Stream { .. } | From::Timer(_) | From::Outside(_) => Bytes::new(),
                },
            },
            (None, _) => Cause::Command {
                envelope: self.bytes.clone(),
            },
        }
    }
}

/// Names a stored answer: who asked for what, under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerKey {
    pub(crate) scope: String,
    pub(crate) key: String,
    pub(crate) fingerprint: [u8; 16],
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerRow {
    pub(crate) fingerprint: [u8; 16],
    pub(crate) at: Timestamp,
    pub(crate) answer: Result<Vec<u8>, Rejection>,
}

impl AnswerKey {
    pub(crate) fn row_key(&self) -> Bytes {
        (self.scope.clone(), self.key.clone()).to_bytes()
    }
}

pub(crate) fn open_answer(key: &[u8], sealed: &[u8]) -> Result<AnswerRow, CodecError> {
    codec::open(Subject::row(ANSWERS, key), 1, sealed, codec::no_older)
}

/// The journal's form of an activity's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum StoredResult {
    Done(#[serde(with = "crate::codec::blob")] Vec<u8>),
    Failed(String),
    GaveUp { attempts: u32, reason: String },
}

pub(crate) const RESULT: &str = "redeliver.activity-result";

pub(crate) fn seal_result(result: &ActivityResult) -> Result<Vec<u8>, CodecError> {
    use crate::activity::Outcome;
    let stored = match result {
        Outcome::Done(output) => StoredResult::Done(output.to_vec()),
        Outcome::Failed(reason) => StoredResult::Failed(reason.clone()),
        Outcome::GaveUp { attempts, reason } => StoredResult::GaveUp {
            attempts: *attempts,
            reason: reason.clone(),
        },
    };
    codec::seal(Subject::row(RESULT, &[]), 1, &stored)
}

pub(crate) fn open_result(sealed: &[u8]) -> Result<ActivityResult, CodecError> {
    use crate::activity::Outcome;
    Ok(
        match codec::open(Subject::row(RESULT, &[]), 1, sealed, codec::no_older)? {
            StoredResult::Done(output) => Outcome::Done(Bytes::from(output)),
            StoredResult::Failed(reason) => Outcome::Failed(reason),
            StoredResult::GaveUp { attempts, reason } => Outcome::GaveUp { attempts, reason },
        },
    )
}

/// A change of the parked messages in memory that goes with a commit.
#[derive(Debug)]
pub(crate) enum ParkedChange {
    Insert {
        origin: Origin,
        row: ParkedRow,
        key: Option<Bytes>,
    },
    Remove(Origin),
}

/// A commit and everything that must follow once it is queued or durable.
pub(crate) struct Concluded {
    pub(crate) commit: Commit,
    pub(crate) parked: Vec<ParkedChange>,
    pub(crate) timers_set: Vec<TimerId>,
    pub(crate) timers_gone: Vec<TimerId>,
    /// To run once the commit is durable.
    pub(crate) activities: Vec<Envelope>,
    /// Whether an activity's end was consumed.
    pub(crate) activity_ended: bool,
    /// Watched keys to wake once the commit is durable.
    pub(crate) notices: Vec<Bytes>,
    /// For a command from outside: its answer, to give once the commit is durable.
    pub(crate) answer: Option<Result<Vec<u8>, Rejection>>,
    /// Whether the message became a dead letter.
    pub(crate) died: Option<DeadReason>,
    /// Whether the handler succeeded.
    pub(crate) applied: bool,
}

/// What every conclusion needs to know of its service.
pub(crate) struct Setting<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) own: &'a OwnTables,
    /// The mark of the message's stream before the turn.
    pub(crate) mark: Mark,
    pub(crate) now: Timestamp,
    pub(crate) seed: u64,
    pub(crate) after_dead_letter: AfterDeadLetter,
}

impl Setting<'_> {
    fn commit(&self, cause: Cause) -> Concluded {
        Concluded {
            commit: Commit {
                service: self.shape.id,
                at: self.now,
                seed: self.seed,
                cause,
                mark: None,
                writes: Vec::new(),
                sends: Vec::new(),
            },
            parked: Vec::new(),
            timers_set: Vec::new(),
            timers_gone: Vec::new(),
            activities: Vec::new(),
            activity_ended: false,
            notices: Vec::new(),
            answer: None,
            died: None,
            applied: false,
        }
    }
}

/// Concludes a turn whose handler returned. An error means that the turn was tainted and has not
/// happened.
pub(crate) fn conclude(
    setting: &Setting<'_>,
    arrived: &Arrived,
    handled: Handled,
    mut turn: Turn,
) -> Result<Concluded, ContextError> {
    if let Some(taint) = turn.take_taint() {
        return Err(taint);
    }
    let mut concluded = setting.commit(arrived.cause());
    match handled {
        Handled::Replied(reply) => {
            take_effects(&mut concluded, turn);
            concluded.applied = true;
            consume(setting, arrived, &mut concluded, Fate::Applied);
            answer(setting, arrived, &mut concluded, Ok(reply))?;
        }
        Handled::Rejected(rejection) => {
            let heard = match &arrived.from {
                From::Outside(_) => true,
                From::Stream { .. }
                | From::Parked { .. }
                | From::Timer(_)
                | From::Activity { .. } => {
                    arrived.envelope.kind == Kind::Command && arrived.envelope.wants_reply
                }
            };
            if heard && setting.shape.planted.is(PlantedBug::RejectionLeavesWrites) {
                take_effects(&mut concluded, turn);
            }
            if heard {
                consume(setting, arrived, &mut concluded, Fate::Rejected);
                answer(setting, arrived, &mut concluded, Err(rejection))?;
            } else {
                let reason = rejection.to_string();
                bury(
                    setting,
                    arrived,
                    &mut concluded,
                    DeadReason::Rejected,
                    reason,
                )?;
            }
        }
        Handled::Unreadable(error) => match &arrived.from {
            From::Outside(_) => {
                let rejection = Rejection::invalid("unreadable_command", error.to_string());
                answer(setting, arrived, &mut concluded, Err(rejection))?;
            }
            From::Stream { .. } | From::Parked { .. } | From::Timer(_) | From::Activity { .. } => {
                park(
                    setting,
                    arrived,
                    &mut concluded,
                    Why::Unreadable,
                    Some(error.to_string()),
                    setting.now,
                )?;
            }
        },
    }
    Ok(concluded)
}

/// Parks a message behind another of its stream and ordering key.
pub(crate) fn park_behind(
    setting: &Setting<'_>,
    arrived: &Arrived,
) -> Result<Concluded, ContextError> {
    let mut concluded = setting.commit(arrived.cause());
    park(
        setting,
        arrived,
        &mut concluded,
        Why::Behind,
        None,
        setting.now,
    )?;
    Ok(concluded)
}

/// Gives up a message whose handler the service has retired.
pub(crate) fn retire(setting: &Setting<'_>, arrived: &Arrived) -> Result<Concluded, ContextError> {
    let mut concluded = setting.commit(arrived.cause());
    let reason = format!("the service has retired `{}`", arrived.envelope.name());
    bury(
        setting,
        arrived,
        &mut concluded,
        DeadReason::Retired,
        reason,
    )?;
    Ok(concluded)
}

/// Charges a message with an attempt that ended in a panic or took the process with it: parks it
/// for the next one, or gives it up after the last.
pub(crate) fn charge(
    setting: &Setting<'_>,
    arrived: &Arrived,
    supervision: &Supervision,
    reason: String,
) -> Result<Concluded, ContextError> {
    let attempts = arrived.attempt();
    let mut concluded = setting.commit(arrived.cause());
    if attempts >= supervision.attempts_max {
        bury(
            setting,
            arrived,
            &mut concluded,
            DeadReason::Exhausted,
            reason,
        )?;
    } else {
        let delay: Duration = backoff(
            supervision.attempt_backoff,
            supervision.attempt_backoff_max,
            attempts,
            setting.seed,
        );
        park(
            setting,
            arrived,
            &mut concluded,
            Why::Failed,
            Some(reason),
            setting.now.plus(delay),
        )?;
    }
    Ok(concluded)
}

/// Brings a dead letter back for a fresh set of attempts.
pub(crate) fn redrive(
    setting: &Setting<'_>,
    origin: Origin,
    dead: DeadRow,
    key: Option<Bytes>,
) -> Result<Concluded, ContextError> {
    let mut concluded = setting.commit(Cause::System {
        note: "redrive of a dead letter".to_owned(),
    });
    let row = ParkedRow {
        why: Why::Failed,
        attempts: 0,
        next_at: setting.now,
        history: dead.history,
        envelope: dead.envelope,
        result: dead.result,
    };
    let origin_key = origin.to_bytes();
    concluded.commit.writes.push(Write {
        table: setting.own.dead,
        key: origin_key.clone(),
        value: None,
    });
    let sealed = parked::seal_parked(&origin, &row)?;
    concluded.commit.writes.push(Write {
        table: setting.own.parked,
        key: origin_key,
        value: Some(sealed),
    });
    if let Origin::Message { sender, .. } = origin {
        let mark = Mark {
            dead: setting.mark.dead.saturating_sub(1),
            ..setting.mark
        };
        concluded.commit.mark = Some(MarkMove { sender, mark });
    }
    concluded
        .parked
        .push(ParkedChange::Insert { origin, row, key });
    Ok(concluded)
}

/// Throws a dead letter away.
pub(crate) fn discard(setting: &Setting<'_>, origin: Origin) -> Concluded {
    let mut concluded = setting.commit(Cause::System {
        note: "discard of a dead letter".to_owned(),
    });
    let key = origin.to_bytes();
    concluded.commit.writes.push(Write {
        table: setting.own.dead,
        key: key.clone(),
        value: None,
    });
    // The marker that held its followers back, if there is one.
    concluded.commit.writes.push(Write {
        table: setting.own.parked,
        key,
        value: None,
    });
    concluded.parked.push(ParkedChange::Remove(origin));
    if let Origin::Message { sender, .. } = origin {
        let mark = Mark {
            dead: setting.mark.dead.saturating_sub(1),
            discarded: setting.mark.discarded + 1,
            ..setting.mark
        };
        concluded.commit.mark = Some(MarkMove { sender, mark });
    }
    concluded
}

#[derive(Clone, Copy)]
enum Fate {
    Applied,
    Rejected,
    Dead,
    Parked,
}

fn take_effects(concluded: &mut Concluded, turn: Turn) {
    let (writes, plan) = turn.into_effects();
    concluded.commit.writes = writes;
    concluded.commit.sends = plan.sends;
    concluded.timers_set = plan
        .timers_set
        .into_iter()
        .map(|(timer, _)| timer)
        .collect();
    concluded.timers_gone = plan.timers_cancelled;
    concluded.activities = plan.activities;
    concluded.notices = plan.notices;
}

/// Removes the message from where it waited and moves the mark.
fn consume(setting: &Setting<'_>, arrived: &Arrived, concluded: &mut Concluded, fate: Fate) {
    let gone = |table: TableId, key: Bytes| Write {
        table,
        key,
        value: None,
    };
    match &arrived.from {
        From::Stream { .. } | From::Outside(_) => {}
        From::Parked { origin, .. } => {
            concluded
                .commit
                .writes
                .push(gone(setting.own.parked, origin.to_bytes()));
            concluded.parked.push(ParkedChange::Remove(*origin));
        }
        From::Timer(timer) => {
            if !setting.shape.planted.is(PlantedBug::TimerTwice) {
                let row = gone(setting.own.timers, timer.key());
                concluded.commit.writes.push(row);
            }
            concluded.timers_gone.push(*timer);
        }
        From::Activity { .. } => {
            let id = arrived.envelope.id.0;
            concluded.activity_ended = true;
            if !setting.shape.planted.is(PlantedBug::ActivityEndedTwice) {
                let row = gone(setting.own.plans, id.to_bytes());
                concluded.commit.writes.push(row);
            }
            concluded
                .commit
                .writes
                .push(gone(setting.own.charges, Origin::Activity(id).to_bytes()));
        }
    }
    let Some(Origin::Message { sender, sequence }) = arrived.origin() else {
        return;
    };
    let mut mark = setting.mark;
    mark.consumed = mark.consumed.max(sequence);
    match fate {
        Fate::Applied => mark.applied += 1,
        Fate::Rejected => mark.rejected += 1,
        Fate::Dead => mark.dead += 1,
        Fate::Parked => {}
    }
    concluded.commit.mark = Some(MarkMove { sender, mark });
}

/// Tells the sender, or stores and gives the answer to a command from outside.
fn answer(
    setting: &Setting<'_>,
    arrived: &Arrived,
    concluded: &mut Concluded,
    result: Result<Vec<u8>, Rejection>,
) -> Result<(), ContextError> {
    if let From::Outside(key) = &arrived.from {
        if let Some(key) = key {
            let row_key = key.row_key();
            let row = AnswerRow {
                fingerprint: key.fingerprint,
                at: setting.now,
                answer: result.clone(),
            };
            let sealed = codec::seal(Subject::row(ANSWERS, &row_key), 1, &row)?;
            let by_time = (setting.now, key.scope.clone(), key.key.clone()).to_bytes();
            let writes = &mut concluded.commit.writes;
            writes.push(Write {
                table: setting.own.answers,
                key: row_key,
                value: Some(Bytes::from(sealed)),
            });
            writes.push(Write {
                table: setting.own.answers_by_time,
                key: by_time,
                value: Some(Bytes::new()),
            });
        }
        concluded.answer = Some(result);
        return Ok(());
    }
    let (true, Kind::Command, Some(sender)) = (
        arrived.envelope.wants_reply,
        arrived.envelope.kind,
        arrived.sender(),
    ) else {
        return Ok(());
    };
    let body = match result {
        Ok(reply) => reply,
        Err(rejection) => seal_rejection(&rejection)?,
    };
    let envelope = Envelope {
        // Not the handler's own sequence: its first message would get the same id.
        id: new_message_id(setting.now, &mut fastrand::Rng::with_seed(!setting.seed)),
        kind: Kind::Reply,
        name: arrived.envelope.name.clone(),
        version: 1,
        key: arrived.envelope.key.clone(),
        correlation: arrived.envelope.correlation,
        causation: arrived.envelope.id,
        trace: arrived.envelope.trace,
        at: setting.now,
        wants_reply: false,
        body: Bytes::from(body),
    };
    concluded.commit.sends.push(Send {
        envelope: envelope.encode()?,
        to: vec![sender],
        event: false,
    });
    Ok(())
}

fn ordering_key(arrived: &Arrived) -> Option<Bytes> {
    match &arrived.envelope.key {
        Key::None => None,
        Key::Of(bytes) => Some(bytes.clone()),
    }
}

fn park(
    setting: &Setting<'_>,
    arrived: &Arrived,
    concluded: &mut Concluded,
    why: Why,
    reason: Option<String>,
    next_at: Timestamp,
) -> Result<(), ContextError> {
    let Some(origin) = arrived.origin() else {
        return Ok(());
    };
    consume(setting, arrived, concluded, Fate::Parked);
    // Consuming a parked message removes its row; parking it again puts the row back, later in the
    // same commit, where the later write wins.
    let (mut history, result) = match &arrived.from {
        From::Parked { row, .. } => (row.history.clone(), row.result.clone()),
        From::Activity { result, .. } => (Vec::new(), Some(seal_result(result)?)),
        From::Stream { .. } | From::Timer(_) | From::Outside(_) => (Vec::new(), None),
    };
    let attempts = match (why, &arrived.from) {
        (Why::Failed, _) => arrived.attempt(),
        (_, From::Parked { row, .. }) => row.attempts,
        (_, _) => 0,
    };
    if let Some(reason) = reason {
        parked::remember(
            &mut history,
            Failure {
                at: setting.now,
                reason,
            },
        );
    }
    let row = ParkedRow {
        why,
        attempts,
        next_at,
        history,
        envelope: arrived.bytes.to_vec(),
        result,
    };
    let sealed = parked::seal_parked(&origin, &row)?;
    if !setting.shape.planted.is(PlantedBug::ParkedLost) {
        concluded.commit.writes.push(Write {
            table: setting.own.parked,
            key: origin.to_bytes(),
            value: Some(sealed),
        });
    }
    concluded.parked.push(ParkedChange::Insert {
        origin,
        row,
        key: ordering_key(arrived),
    });
    Ok(())
}

fn bury(
    setting: &Setting<'_>,
    arrived: &Arrived,
    concluded: &mut Concluded,
    reason: DeadReason,
    detail: String,
) -> Result<(), ContextError> {
    let Some(origin) = arrived.origin() else {
        return Ok(());
    };
    consume(setting, arrived, concluded, Fate::Dead);
    let (mut history, result) = match &arrived.from {
        From::Parked { row, .. } => (row.history.clone(), row.result.clone()),
        From::Activity { result, .. } => (Vec::new(), Some(seal_result(result)?)),
        From::Stream { .. } | From::Timer(_) | From::Outside(_) => (Vec::new(), None),
    };
    parked::remember(
        &mut history,
        Failure {
            at: setting.now,
            reason: detail,
        },
    );
    let row = DeadRow {
        reason,
        died_at: setting.now,
        attempts: arrived.attempt(),
        history: history.clone(),
        envelope: arrived.bytes.to_vec(),
        result: result.clone(),
    };
    let key = origin.to_bytes();
    let sealed = parked::seal_dead(&origin, &row)?;
    concluded.commit.writes.push(Write {
        table: setting.own.dead,
        key: key.clone(),
        value: Some(sealed),
    });
    concluded.died = Some(reason);
    if setting.after_dead_letter == AfterDeadLetter::Hold && ordering_key(arrived).is_some() {
        let held = ParkedRow {
            why: Why::Held,
            attempts: row.attempts,
            next_at: setting.now,
            history: Vec::new(),
            // Its key is what holds the followers, also after the next load.
            envelope: arrived.bytes.to_vec(),
            result: None,
        };
        let sealed = parked::seal_parked(&origin, &held)?;
        concluded.commit.writes.push(Write {
            table: setting.own.parked,
            key,
            value: Some(sealed),
        });
        concluded.parked.push(ParkedChange::Insert {
            origin,
            row: held,
            key: ordering_key(arrived),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::activity::Outcome;

    #[test]
    fn golden_bytes_of_stored_answers_and_results_stay_readable() {
        let changed = "the stored format changed: give it a new version and keep reading this one";
        let row = AnswerRow {
            fingerprint: [7; 16],
            at: Timestamp(5),
            answer: Err(Rejection::conflict("out_of_stock", "none left").with("units", 2)),
        };
        let golden = include_bytes!("../tests/golden/answer-row-1.bin");
        let sealed = codec::seal(Subject::row(ANSWERS, b"k"), 1, &row).unwrap();
        assert_eq!(sealed, golden, "{changed}");
        assert_eq!(open_answer(b"k", golden), Ok(row));
        let result = Outcome::GaveUp {
            attempts: 3,
            reason: "busy".into(),
        };
        let golden = include_bytes!("../tests/golden/activity-result-1.bin");
        assert_eq!(seal_result(&result).unwrap(), golden, "{changed}");
        assert_eq!(open_result(golden), Ok(result));
    }
}
