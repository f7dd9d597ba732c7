//! The service actor: takes the turns of one service, one after the other.
//!
//! It takes a batch, queues each turn's commit as soon as its handler has returned, and goes on
//! while the group is on its way to disk. It never awaits the disk: answers and activities are
//! outputs of their commits.

mod alarm;
mod inputs;
mod load;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::alarm::Alarm;
use crate::actors::cell::{Cell, Member, Suspects};
use crate::actors::port::{Input, Stop, Waker};
use crate::commit::{Epoch, Mark, Position, Sequence, ServiceId, StreamId};
use crate::context::TimerId;
use crate::parked::Parked;
use crate::persistence::running::RunningSlot;
use crate::planted::PlantedBug;

pub(crate) use load::{ordering_key, read_parked};
pub(crate) use turns::{low_half, queue};

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
    /// The position of its newest commit: the newest that a handler can see anything of.
    newest: Position,
    parked: Parked,
    timers: BTreeSet<TimerId>,
    marks: BTreeMap<ServiceId, Mark>,
    running: RunningSlot,
    /// Handler calls so far, for the watchdog to tell one from the next.
    calls: u64,
    random: fastrand::Rng,
    /// Streams that took a message in this batch, with what to acknowledge.
    acks: BTreeMap<ServiceId, Sequence>,
    /// Expired idempotency answers that this turn may remove; two at a time keep pace.
    alarm: Alarm,
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
            self.member.port.pause();
            self.alarm
                .set(self.cell.now().plus(Duration::from_millis(200)));
            return false;
        }
        let suspects = self.suspended();
        let parked_max = self.cell.config.parked_max;
        let parked = &self.parked;
        let paused = |sender: ServiceId| {
            suspects.senders.contains(&sender) || parked.of_sender(sender) >= parked_max
        };
        let more = self.member.port.rest(paused, !suspects.edge);
        if suspects.any() {
            // Only now that the port takes the actor for asleep can a wake-up not be lost.
            let member = self.member.clone();
            self.cell.store.gate(Box::new(move |_| member.port.wake()));
        }
        let timer = self.timers.first().filter(|_| !suspects.timers);
        let due = [timer.map(|timer| timer.due), self.parked.next_at()]
            .into_iter()
            .flatten()
            .min();
        // The clock is read after the port has gone to rest: what came due before that has rung
        // in vain, what comes due later will ring.
        let now = self.cell.now();
        if due.is_some_and(|at| at <= now) {
            if !more {
                self.member.port.wake();
            }
            return more;
        }
        if let Some(due) = due {
            self.alarm.set(due);
        }
        more
    }

    /// The streams (and the edge, and timers) of which nothing may be taken now, because what they
    /// have handed on is not durable yet and one of their messages has taken the process down.
    fn suspended(&self) -> Suspects {
        let suspects = self.member.suspects(|| self.cell.store.usage().checkpoint);
        if suspects.any() && self.all_durable() {
            return Suspects::default();
        }
        suspects
    }

    fn all_durable(&self) -> bool {
        self.cell.store.durable() >= self.cell.store.queued()
    }

    /// Takes one turn; false if there is nothing to do.
    fn step(&mut self) -> Result<bool, Stop> {
        if self.cell.exhausted() {
            return Ok(false);
        }
        let now = self.cell.now();
        if let Some(origin) = self.parked.due(now) {
            return self.attempt_parked(origin, now).map(|()| true);
        }
        let suspects = self.suspended();
        let due = match self.planted(PlantedBug::TimerEarly) {
            true => now.plus(Duration::from_secs(2)),
            false => now,
        };
        if let Some(timer) = self
            .timers
            .first()
            .copied()
            .filter(|timer| timer.due <= due && !suspects.timers)
        {
            return self.timer(timer, now).map(|()| true);
        }
        let parked_max = self.cell.config.parked_max;
        let parked = &self.parked;
        let paused = |sender: ServiceId| {
            suspects.senders.contains(&sender) || parked.of_sender(sender) >= parked_max
        };
        let Some(input) = self.member.port.next(paused, !suspects.edge) else {
            return Ok(false);
        };
        // It may have come in after the suspects were looked at; what is durable by now includes it.
        let known = self.member.suspects(|| self.cell.store.usage().checkpoint);
        let doubtful = match &input {
            Input::Message { sender, .. } => known.senders.contains(sender),
            Input::Request(request) => known.edge && !request.query,
            Input::Act(..) | Input::Result(..) => false,
        };
        if doubtful && !self.all_durable() {
            self.member.port.put_back(input);
            return Ok(false);
        }
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
}
