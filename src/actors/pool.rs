//! The activity pool of a service: runs what turns have planned, once those turns are durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::activity::{
    ActivityContext, ActivityError, ActivityId, ActivityPolicy, Outcome, Reconciled,
};
use crate::actors::cell::{AttemptFault, Cell, Member};
use crate::codec::CodecError;
use crate::draft::for_each_row;
use crate::envelope::Envelope;
use crate::handlers::ActivityFuture;
use crate::messaging::retry::{Attempts, Breaker, Next};
use crate::planted::PlantedBug;

/// Reaches the pool's actor while there is one.
#[derive(Default)]
pub(crate) struct PoolHandle {
    actor: Mutex<Option<ActorRef<PoolMessage>>>,
}

impl PoolHandle {
    /// Starts activities whose turn is durable. Without an actor nothing happens: its successor
    /// finds them in their rows.
    pub(crate) fn start(&self, activities: Vec<Envelope>) {
        let actor = self
            .actor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(actor) = actor {
            let _ = actor.cast(PoolMessage::Start(activities));
        }
    }
}

/// What the pool is told.
pub(crate) enum PoolMessage {
    /// Newly planned.
    Start(Vec<Envelope>),
    /// Found in their rows at start.
    Found(Vec<Envelope>),
    /// An activity's back-off is over.
    Again(Uuid),
    /// An attempt has ended.
    Ran(Uuid, Result<Bytes, ActivityError>),
    /// The destination has spoken.
    Asked(Uuid, Result<Reconciled<Bytes>, ActivityError>),
    /// A destination's breaker may admit a trial.
    Retry(&'static str),
}

/// The actor.
pub(crate) struct PoolActor;

pub(crate) struct PoolState {
    cell: Arc<Cell>,
    member: Arc<Member>,
    activities: BTreeMap<Uuid, Running>,
    destinations: BTreeMap<&'static str, Destination>,
}

struct Running {
    envelope: Envelope,
    attempts: Attempts,
    policy: ActivityPolicy,
    destination: &'static str,
    step: Step,
    task: Option<AbortOnDropHandle<()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Run,
    Reconcile,
}

#[derive(Default)]
struct Destination {
    breaker: Breaker,
    at_work: usize,
    waiting: VecDeque<Uuid>,
}

impl Actor for PoolActor {
    type Msg = PoolMessage;
    type State = PoolState;
    type Arguments = (Arc<Cell>, Arc<Member>);

    async fn pre_start(
        &self,
        myself: ActorRef<PoolMessage>,
        (cell, member): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        // First be reachable, then look: what is planned in between is seen twice rather than not.
        *member
            .pool
            .actor
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(myself.clone());
        let found = planned(&cell, &member)?;
        if !found.is_empty() {
            // Their turns may be queued but not durable yet.
            cell.store.gate(Box::new(move |durable| {
                if durable.is_ok() {
                    let _ = myself.cast(PoolMessage::Found(found));
                }
            }));
        }
        Ok(PoolState {
            cell,
            member,
            activities: BTreeMap::new(),
            destinations: BTreeMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<PoolMessage>,
        message: PoolMessage,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PoolMessage::Start(envelopes) => {
                for envelope in envelopes {
                    state.take(&myself, envelope, Attempts::planned);
                }
            }
            PoolMessage::Found(envelopes) => {
                let blindly = state
                    .cell
                    .store
                    .planted()
                    .is(PlantedBug::ActivityRunBlindly);
                let attempts = if blindly {
                    Attempts::planned
                } else {
                    Attempts::found
                };
                for envelope in envelopes {
                    state.take(&myself, envelope, attempts);
                }
            }
            PoolMessage::Again(id) => state.enqueue(&myself, id),
            PoolMessage::Retry(destination) => state.work(&myself, destination),
            PoolMessage::Ran(id, result) => {
                let answered = !matches!(
                    result,
                    Err(ActivityError::Transient(_) | ActivityError::Unknown(_))
                );
                let (now, random) = (state.cell.now(), state.cell.clock.entropy());
                let next = state.ended(id, answered, |running| {
                    running
                        .attempts
                        .after_run(result, &running.policy, now, random)
                });
                state.follow(&myself, id, next);
            }
            PoolMessage::Asked(id, result) => {
                let answered = result.is_ok();
                let (now, random) = (state.cell.now(), state.cell.clock.entropy());
                let next = state.ended(id, answered, |running| {
                    running
                        .attempts
                        .after_reconcile(result, &running.policy, now, random)
                });
                state.follow(&myself, id, next);
            }
        }
        Ok(())
    }
}

/// The activities in their rows.
fn planned(cell: &Cell, member: &Member) -> Result<Vec<Envelope>, ActorProcessingErr> {
    let mut found = Vec::new();
    for_each_row::<ActorProcessingErr>(&cell.store, member.own.plans, |_, bytes| {
        found.push(Envelope::decode(&bytes)?);
        Ok(())
    })?;
    Ok(found)
}

impl PoolState {
    fn take(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        envelope: Envelope,
        attempts: fn(crate::Timestamp, bool) -> Attempts,
    ) {
        let id = envelope.id.0;
        if self.activities.contains_key(&id) {
            return;
        }
        let Some((policy, destination, idempotent)) =
            self.member.hosted.activity_policy(envelope.name())
        else {
            // The start-up check refuses unknown activities unless they are retired; retired ones
            // end here.
            let reason = format!("the service has retired activity `{}`", envelope.name());
            self.member.port.result(id, Outcome::Failed(reason));
            return;
        };
        let attempts = attempts(envelope.at, idempotent);
        let next = attempts.first();
        self.activities.insert(
            id,
            Running {
                envelope,
                attempts,
                policy,
                destination,
                step: Step::Run,
                task: None,
            },
        );
        self.follow(myself, id, Some(next));
    }

    /// Notes the end of an attempt and decides what is next.
    fn ended(
        &mut self,
        id: Uuid,
        answered: bool,
        decide: impl FnOnce(&mut Running) -> Next,
    ) -> Option<Next> {
        let running = self.activities.get_mut(&id)?;
        running.task = None;
        if let Some(destination) = self.destinations.get_mut(running.destination) {
            destination.at_work = destination.at_work.saturating_sub(1);
            destination
                .breaker
                .ended(answered, &running.policy, self.cell.now());
        }
        Some(decide(running))
    }

    fn follow(&mut self, myself: &ActorRef<PoolMessage>, id: Uuid, next: Option<Next>) {
        let Some(next) = next else { return };
        let Some(running) = self.activities.get_mut(&id) else {
            return;
        };
        let destination = running.destination;
        let delay = match next {
            Next::Run(delay) => {
                running.step = Step::Run;
                delay
            }
            Next::Reconcile(delay) => {
                running.step = Step::Reconcile;
                delay
            }
            Next::End(outcome) => {
                self.activities.remove(&id);
                self.member.port.result(id, outcome);
                self.work(myself, destination);
                return;
            }
        };
        if delay.is_zero() {
            self.enqueue(myself, id);
        } else {
            drop(myself.send_after(delay, move || PoolMessage::Again(id)));
            self.work(myself, destination);
        }
    }

    fn enqueue(&mut self, myself: &ActorRef<PoolMessage>, id: Uuid) {
        if let Some(running) = self.activities.get(&id) {
            let destination = running.destination;
            self.destinations
                .entry(destination)
                .or_default()
                .waiting
                .push_back(id);
            self.work(myself, destination);
        }
    }

    /// Starts as many attempts towards a destination as its limits allow.
    fn work(&mut self, myself: &ActorRef<PoolMessage>, name: &'static str) {
        let now = self.cell.now();
        let Some(destination) = self.destinations.get_mut(name) else {
            return;
        };
        while let Some(id) = destination.waiting.front().copied() {
            let Some(running) = self.activities.get_mut(&id) else {
                destination.waiting.pop_front();
                continue;
            };
            if destination.at_work >= running.policy.concurrency {
                return;
            }
            match destination.breaker.admit(now) {
                Ok(()) => {}
                Err(Some(until)) => {
                    drop(myself.send_after(until.since(now), move || PoolMessage::Retry(name)));
                    return;
                }
                // The trial's end brings us back.
                Err(None) => return,
            }
            destination.waiting.pop_front();
            destination.at_work += 1;
            let name = running.envelope.name();
            let fault = self.cell.faults.attempt(self.member.name(), name);
            running.task = Some(start(&self.member, running, myself.clone(), now, fault));
        }
    }
}

/// Starts one attempt (or one question) as a task that reports back.
fn start(
    member: &Member,
    running: &Running,
    myself: ActorRef<PoolMessage>,
    now: crate::Timestamp,
    fault: Option<AttemptFault>,
) -> AbortOnDropHandle<()> {
    let id = running.envelope.id.0;
    let cx = ActivityContext {
        key: ActivityId(id),
        attempt: running.attempts.runs + 1,
        planned_at: running.attempts.planned_at,
        now,
    };
    let timeout = running.policy.timeout;
    let task = match running.step {
        Step::Run => {
            let future = member.hosted.run_activity(&running.envelope, cx);
            tokio::spawn(async move {
                let result = bounded(future, timeout, fault).await;
                let _ = myself.cast(PoolMessage::Ran(id, result));
            })
        }
        Step::Reconcile => {
            let future = member.hosted.reconcile_activity(&running.envelope, cx);
            tokio::spawn(async move {
                let result = bounded(future, timeout, fault).await;
                let _ = myself.cast(PoolMessage::Asked(id, result));
            })
        }
    };
    AbortOnDropHandle::new(task)
}

/// Runs an attempt within its time; a panic or a time-out leaves its outcome unknown.
async fn bounded<T: Send + 'static>(
    future: Option<Result<ActivityFuture<T>, CodecError>>,
    timeout: Duration,
    fault: Option<AttemptFault>,
) -> Result<T, ActivityError> {
    let future = match future {
        Some(Ok(future)) => future,
        Some(Err(error)) => return Err(ActivityError::Refused(error.to_string())),
        None => {
            return Err(ActivityError::Refused(
                "the service no longer has this activity".to_owned(),
            ));
        }
    };
    let no_answer = || ActivityError::Unknown(format!("no answer within {timeout:?}"));
    match fault {
        None | Some(AttemptFault::AnswerLost) => {}
        Some(AttemptFault::Fails) => {
            return Err(ActivityError::Transient("the test lets it fail".to_owned()));
        }
        Some(AttemptFault::NeverArrives) => {
            tokio::time::sleep(timeout).await;
            return Err(no_answer());
        }
    }
    // A task of its own, so that a panic of the host's code is an error value here.
    let attempt = AbortOnDropHandle::new(tokio::spawn(future));
    let ended = tokio::time::timeout(timeout, async {
        let ended = attempt.await;
        if fault == Some(AttemptFault::AnswerLost) {
            // Longer than anybody waits.
            std::future::pending::<()>().await;
        }
        ended
    });
    match ended.await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(ActivityError::Unknown(format!(
            "the attempt panicked: {panic}"
        ))),
        Err(_) => Err(no_answer()),
    }
}
