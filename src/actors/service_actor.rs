//! The service actor: takes the turns of one service, one after the other.
//!
//! It takes a batch, queues each turn's commit as soon as its handler has returned, and goes on
//! while the group is on its way to disk. It never awaits the disk: answers and activities are
//! outputs of their commits.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::actors::cell::{Cell, Member};
use crate::actors::port::{Act, Input, Request, Stop, Waker};
use crate::call::{Answered, CallError, RawAnswer};
use crate::clock::{Timestamp, new_message_id};
use crate::commit::{
    Commit, Epoch, Mark, Output, Position, Sequence, ServiceId, StreamId, TableId, Write,
};
use crate::context::{Facts, Reads, Span, TimerId, Turn};
use crate::envelope::{Envelope, Key, Kind};
use crate::error::StoreError;
use crate::handlers::{ActivityResult, Handled};
use crate::key::TableKey;
use crate::parked::{self, Origin, Parked, ParkedRow, Why};
use crate::persistence::running::{InHand, RunningSlot};
use crate::turn::{self, AnswerKey, Arrived, Concluded, From, ParkedChange, Setting};

/// There is work.
pub(crate) struct Wake;

struct ActorWaker(ActorRef<Wake>);

impl Waker for ActorWaker {
    fn wake(&self) {
        let _ = self.0.cast(Wake);
    }
}

/// The actor.
pub(crate) struct ServiceActor;

/// What the actor holds; all of it can be loaded again.
pub(crate) struct ServiceState {
    cell: Arc<Cell>,
    member: Arc<Member>,
    epoch: Epoch,
    parked: Parked,
    timers: BTreeSet<TimerId>,
    marks: BTreeMap<ServiceId, Mark>,
    running: RunningSlot,
    random: fastrand::Rng,
    /// Streams that took a message in this batch, with what to acknowledge.
    acks: BTreeMap<ServiceId, Sequence>,
    /// Expired idempotency answers that this turn may remove; two at a time keep pace.
    alarm: watch::Sender<Option<Timestamp>>,
    _alarm_task: AbortOnDropHandle<()>,
}

impl Actor for ServiceActor {
    type Msg = Wake;
    type State = ServiceState;
    type Arguments = (Arc<Cell>, Arc<Member>);

    async fn pre_start(
        &self,
        myself: ActorRef<Wake>,
        (cell, member): Self::Arguments,
    ) -> Result<ServiceState, ActorProcessingErr> {
        let state = ServiceState::load(cell, member)?;
        let (cell, member) = (&state.cell, &state.member);
        let marks: Vec<(ServiceId, Mark)> = state
            .marks
            .iter()
            .map(|(sender, mark)| (*sender, *mark))
            .collect();
        member.port.serve(Arc::new(ActorWaker(myself)), &marks);
        for (sender, mark) in marks {
            cell.transport.resume(
                StreamId {
                    sender,
                    receiver: member.id(),
                },
                mark.consumed,
            );
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Wake>,
        _wake: Wake,
        state: &mut ServiceState,
    ) -> Result<(), ActorProcessingErr> {
        match state.batch() {
            Ok(true) => {
                let _ = myself.cast(Wake);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(stop) => {
                let reason = stop.to_string();
                state.member.port.stopped(stop);
                Err(reason.into())
            }
        }
    }
}

impl ServiceState {
    fn load(cell: Arc<Cell>, member: Arc<Member>) -> Result<ServiceState, ActorProcessingErr> {
        let epoch = cell.store.take_over(member.id());
        let mut parked = Parked::default();
        let first_start = member.status.restarts.load(Ordering::Relaxed) == 0;
        for_each_row(&cell, member.own.parked, |key, value| {
            let (Some(origin), mut row) =
                (Origin::from_bytes(&key), parked::open_parked(&key, &value)?)
            else {
                return Err(
                    format!("parked message of {} has an unreadable key", member.name()).into(),
                );
            };
            if row.why == Why::Unreadable && first_start {
                // A new start may be a new program that can read it.
                row.why = Why::Failed;
                row.next_at = Timestamp::default();
            }
            let key = ordering_key(&row.envelope);
            parked.insert(origin, &row, key);
            Ok(())
        })?;
        let mut timers = BTreeSet::new();
        for_each_row(&cell, member.own.timers, |key, _| {
            timers.insert(TimerId::from_key(&key).ok_or("a timer has an unreadable key")?);
            Ok(())
        })?;
        let mut planned = 0;
        for_each_row(&cell, member.own.plans, |_, _| {
            planned += 1;
            Ok(())
        })?;
        member.status.activities.store(planned, Ordering::Relaxed);
        let incoming = cell.store.incoming(member.id());
        let marks = incoming
            .into_iter()
            .map(|stream| (stream.sender, cell.store.mark(stream)))
            .collect();
        let (alarm, rings) = watch::channel(None);
        let alarm_task =
            AbortOnDropHandle::new(tokio::spawn(ring(rings, cell.clone(), member.clone())));
        member
            .status
            .parked
            .store(parked.len() as u64, Ordering::Relaxed);
        member
            .status
            .timers
            .store(timers.len() as u64, Ordering::Relaxed);
        Ok(ServiceState {
            epoch,
            parked,
            timers,
            marks,
            running: cell.store.running(member.id()),
            random: fastrand::Rng::with_seed(cell.clock.entropy()),
            acks: BTreeMap::new(),
            alarm,
            _alarm_task: alarm_task,
            cell,
            member,
        })
    }

    /// Takes turns until nothing is ready or the share is used up; whether there is more to do.
    fn batch(&mut self) -> Result<bool, Stop> {
        let mut result = Ok(());
        for _ in 0..self.cell.config.turns_per_batch {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(stop) => {
                    result = Err(stop);
                    break;
                }
            }
        }
        for (sender, consumed) in std::mem::take(&mut self.acks) {
            self.cell.transport.acknowledge(
                StreamId {
                    sender,
                    receiver: self.member.id(),
                },
                consumed,
            );
        }
        self.member
            .status
            .parked
            .store(self.parked.len() as u64, Ordering::Relaxed);
        self.member
            .status
            .unsettled
            .store(self.parked.next_at().is_some(), Ordering::Relaxed);
        self.member
            .status
            .timers
            .store(self.timers.len() as u64, Ordering::Relaxed);
        result?;
        Ok(self.rest())
    }

    /// Whether to go on at once; otherwise the alarm or the port will wake the actor.
    fn rest(&mut self) -> bool {
        if self.cell.exhausted() {
            // Queued commits wait for space; new turns would only queue behind them.
            self.member.port.rest(|_| true, false);
            self.alarm
                .send_replace(Some(self.cell.now().plus(Duration::from_millis(200))));
            return false;
        }
        let now = self.cell.now();
        let suspects = self.suspended();
        let parked_max = self.cell.config.parked_max;
        let parked = &self.parked;
        let paused = |sender: ServiceId| {
            suspects.senders.contains(&sender) || parked.of_sender(sender) >= parked_max
        };
        let more = self.member.port.rest(paused, !suspects.edge);
        let due = [
            self.timers.first().map(|timer| timer.due),
            self.parked.next_at(),
        ]
        .into_iter()
        .flatten()
        .min();
        if due.is_some_and(|at| at <= now) {
            if !more {
                self.member.port.wake();
            }
            return more;
        }
        if *self.alarm.borrow() != due {
            self.alarm.send_replace(due);
        }
        more
    }

    /// The streams (and the edge) of which nothing may be taken now, because what they have handed
    /// on is not durable yet and one of their messages has taken the process down before.
    fn suspended(&self) -> crate::actors::cell::Suspects {
        let suspects = self.member.suspects(|| self.cell.store.usage().checkpoint);
        if suspects.senders.is_empty() && !suspects.edge {
            return suspects;
        }
        if self.cell.store.durable() >= self.cell.store.queued() {
            return crate::actors::cell::Suspects::default();
        }
        let member = self.member.clone();
        self.cell.store.gate(Box::new(move |_| member.port.wake()));
        suspects
    }

    /// Takes one turn; false if there is nothing to do.
    fn step(&mut self) -> Result<bool, Stop> {
        if self.cell.exhausted_when_last_seen() {
            return Ok(false);
        }
        let now = self.cell.now();
        if let Some(origin) = self.parked.due(now) {
            return self.attempt_parked(origin, now).map(|()| true);
        }
        if let Some(timer) = self
            .timers
            .first()
            .copied()
            .filter(|timer| timer.due <= now)
        {
            return self.timer(timer, now).map(|()| true);
        }
        let suspects = self.suspended();
        let parked_max = self.cell.config.parked_max;
        let parked = &self.parked;
        let paused = |sender: ServiceId| {
            suspects.senders.contains(&sender) || parked.of_sender(sender) >= parked_max
        };
        let Some(input) = self.member.port.next(paused, !suspects.edge) else {
            return Ok(false);
        };
        match input {
            Input::Act(act, done) => self.act(act, done, now)?,
            Input::Result(id, result) => self.finished(id, result, now)?,
            Input::Message {
                sender,
                sequence,
                entry,
            } => self.message(sender, sequence, entry, now)?,
            Input::Request(request) if request.query => self.query(request, now)?,
            Input::Request(request) => self.command(request, now)?,
        }
        Ok(true)
    }

    fn message(
        &mut self,
        sender: ServiceId,
        sequence: Sequence,
        entry: Bytes,
        now: Timestamp,
    ) -> Result<(), Stop> {
        let mark = self.mark(sender);
        if sequence.0 != mark.consumed.0 + 1 {
            // A copy of what was consumed already; the port never runs ahead.
            return Ok(());
        }
        let envelope = match Envelope::decode(&entry) {
            Ok(envelope) => envelope,
            Err(error) => return Err(Stop::Tainted(error.into())),
        };
        let blocked = matches!(&envelope.key, Key::Of(key) if self.parked.blocks(sender, key));
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

    fn attempt_parked(&mut self, origin: Origin, now: Timestamp) -> Result<(), Stop> {
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

    fn timer(&mut self, timer: TimerId, now: Timestamp) -> Result<(), Stop> {
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

    fn finished(&mut self, id: Uuid, result: ActivityResult, now: Timestamp) -> Result<(), Stop> {
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
        let arrived = Arrived {
            envelope,
            bytes,
            from: From::Activity { result, charged },
        };
        if charged >= self.member.supervision.attempts_max {
            let reason = "handling its end took the process down at every attempt".to_owned();
            let setting = self.setting(&arrived, now, 0);
            let concluded = turn::charge(&setting, &arrived, &self.member.supervision, reason)
                .map_err(Stop::Tainted)?;
            return self.commit(concluded, None);
        }
        self.run(arrived, now, None)
    }

    fn command(&mut self, request: Request, now: Timestamp) -> Result<(), Stop> {
        let key = request.idempotency.map(|key| AnswerKey {
            fingerprint: key.fingerprint(),
            scope: key.scope,
            key: key.key,
        });
        let mut expired = Vec::new();
        if let Some(key) = &key {
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
            }
            expired = self.expired_answers(now)?;
        }
        let id = new_message_id(now, &mut self.random);
        let envelope = Envelope {
            id,
            kind: Kind::Command,
            name: request.name,
            version: request.version,
            key: request.key,
            correlation: id,
            causation: id,
            trace: request.trace,
            at: now,
            wants_reply: false,
            body: request.body,
        };
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
    fn expired_answers(&self, now: Timestamp) -> Result<Vec<Write>, Stop> {
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

    fn query(&mut self, request: Request, now: Timestamp) -> Result<(), Stop> {
        let id = new_message_id(now, &mut self.random);
        let envelope = Envelope {
            id,
            kind: Kind::Command,
            name: request.name,
            version: request.version,
            key: request.key,
            correlation: id,
            causation: id,
            trace: request.trace,
            at: now,
            wants_reply: false,
            body: request.body,
        };
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
        self.begin(now);
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
        self.gate(request.reply, answer);
        Ok(())
    }

    /// Gives an answer once the state it has seen is durable.
    fn gate(&self, reply: oneshot::Sender<RawAnswer>, answer: RawAnswer) {
        self.cell.store.gate(release(reply, answer));
    }

    fn act(
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
            let _ = done.send(Ok(false));
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
        self.member
            .status
            .dead_letters
            .fetch_sub(1, Ordering::Relaxed);
        let output: Output = Box::new(move |durable| {
            let _ = done.send(match durable {
                Ok(_) => Ok(true),
                Err(error) => Err(CallError::OutcomeUnknown {
                    reason: error.to_string(),
                }),
            });
        });
        self.commit(concluded, Some(output))
    }

    /// Runs the handler of a message and commits what follows.
    fn run(
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
        self.begin(now);
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
            Err(payload) => {
                let reason = panic_text(payload.as_ref());
                if let Some(outside) = outside {
                    let _ = outside.reply.send(Err(CallError::Panicked {
                        service: self.member.name().to_owned(),
                        message: arrived.envelope.name().to_owned(),
                    }));
                    return Err(Stop::Panicked {
                        arrived: None,
                        reason,
                    });
                }
                Err(Stop::Panicked {
                    arrived: Some(Box::new(arrived)),
                    reason,
                })
            }
        }
    }

    fn hand_over(
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

    fn conclude(
        &mut self,
        arrived: Arrived,
        handled: Handled,
        turn: Turn,
        now: Timestamp,
        seed: u64,
        outside: Option<Outside>,
    ) -> Result<(), Stop> {
        let concluded =
            match turn::conclude(&self.setting(&arrived, now, seed), &arrived, handled, turn) {
                Ok(concluded) => concluded,
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
            concluded.commit.writes.extend(outside.expired);
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
        self.commit(concluded, output)
    }

    /// Queues a commit and does what must follow it.
    fn commit(&mut self, concluded: Concluded, output: Option<Output>) -> Result<(), Stop> {
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
        let moved = commit.mark;
        let envelopes: Vec<Bytes> = commit
            .sends
            .iter()
            .map(|send| send.envelope.clone())
            .collect();
        let queued = queue(&self.cell, self.epoch, commit, outputs)?;
        if let Some(moved) = moved {
            self.marks.insert(moved.sender, moved.mark);
            self.acks.insert(moved.sender, moved.mark.consumed);
        }
        for change in parked {
            match change {
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
        if applied {
            status.in_a_row.store(0, Ordering::Relaxed);
        } else {
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

    fn setting(&self, arrived: &Arrived, now: Timestamp, seed: u64) -> Setting<'_> {
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

    fn mark(&self, sender: ServiceId) -> Mark {
        self.marks.get(&sender).copied().unwrap_or_default()
    }

    fn begin(&self, now: Timestamp) {
        self.member
            .status
            .turn_began
            .store(now.0, Ordering::Relaxed);
    }

    fn end(&self) {
        self.member.status.turn_began.store(0, Ordering::Relaxed);
    }
}

/// What a command from outside leaves to do after its turn.
struct Outside {
    reply: oneshot::Sender<RawAnswer>,
    expired: Vec<Write>,
}

/// Queues a commit; an error says why the actor must stop.
pub(crate) fn queue(
    cell: &Cell,
    epoch: Epoch,
    commit: Commit,
    outputs: Vec<Output>,
) -> Result<crate::commit::Queued, Stop> {
    cell.store
        .queue(epoch, commit, outputs)
        .map_err(|error| match error {
            StoreError::Superseded => Stop::Superseded,
            other => Stop::Store(other),
        })
}

fn release(reply: oneshot::Sender<RawAnswer>, answer: RawAnswer) -> Output {
    Box::new(move |durable: Result<Position, StoreError>| {
        // A caller that has gone away does not mind.
        let _ = reply.send(match durable {
            Ok(_) => answer,
            Err(error) => Err(CallError::OutcomeUnknown {
                reason: error.to_string(),
            }),
        });
    })
}

/// Rings the port when the alarm is due. The clock is looked at every second, so that a jump of
/// the wall clock is followed.
async fn ring(mut rings: watch::Receiver<Option<Timestamp>>, cell: Arc<Cell>, member: Arc<Member>) {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    loop {
        let due = *rings.borrow_and_update();
        let Some(due) = due else {
            if rings.changed().await.is_err() {
                return;
            }
            continue;
        };
        let left = due.since(cell.now());
        if left.is_zero() {
            member.port.wake();
            if rings.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            biased;
            changed = rings.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
        }
    }
}

/// Reads a whole table, page by page.
pub(crate) fn for_each_row(
    cell: &Cell,
    table: TableId,
    mut each: impl FnMut(Bytes, Bytes) -> Result<(), ActorProcessingErr>,
) -> Result<(), ActorProcessingErr> {
    const PAGE: usize = 1_000;
    let mut span = Span::all();
    loop {
        let rows = Reads::scan(&cell.store, table, &span, PAGE)?;
        let full = rows.len() == PAGE;
        let last = rows.last().map(|(key, _)| key.clone());
        for (key, value) in rows {
            each(key, value)?;
        }
        match last {
            Some(last) if full => span = Span::all().after_bytes(last),
            _ => return Ok(()),
        }
    }
}

/// The ordering key of an encoded envelope.
pub(crate) fn ordering_key(envelope: &[u8]) -> Option<Bytes> {
    match Envelope::decode(&Bytes::copy_from_slice(envelope))
        .ok()?
        .key
    {
        Key::None => None,
        Key::Of(key) => Some(key),
    }
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

/// A parked row, for those that only need it whole.
pub(crate) fn read_parked(
    cell: &Cell,
    table: TableId,
    origin: &Origin,
) -> Result<Option<ParkedRow>, ActorProcessingErr> {
    let key = origin.to_bytes();
    match Reads::get(&cell.store, table, &key)? {
        Some(stored) => Ok(Some(parked::open_parked(&key, &stored)?)),
        None => Ok(None),
    }
}
