//! The supervisor of one service: starts its actor, its relay and its activity pool, and restarts
//! what fails.
//!
//! A handler's panic is charged to its message: the message is parked (or given up after its last
//! attempt) under a new epoch before the successor starts. Anything else counts towards the
//! restart intensity; past it the service is *failed*: its tree stops, the others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use crate::actors::cell::{Cell, Life, Member};
use crate::actors::pool::PoolActor;
use crate::actors::port::Stop;
use crate::actors::relay::RelayActor;
use crate::actors::restart::{Decision, History, MESSAGES_IN_A_ROW_MAX};
use crate::actors::service_actor::{ServiceActor, queue};
use crate::call::CallError;
use crate::commit::{Haste, Mark, StreamId};
use crate::parked::Origin;
use crate::turn::{self, Arrived, Setting};

/// What the supervisor is told.
pub(crate) enum Order {
    /// Start the tree.
    Start,
    /// Restart these children now, unless the service has failed since this was decided.
    Restart(Trial, Vec<usize>),
    /// Try a failed service again, by an operator's word.
    Revive,
    /// Try a failed service again, unless that has been done since this was decided.
    ReviveByItself(Trial),
    /// Kill a child, to see it restarted.
    #[cfg(any(test, feature = "testing"))]
    Break(usize),
}

/// Counts how often a service was tried again after it had failed.
type Trial = u64;

/// The children in start order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Service,
    Relay,
    Pool,
}

const ROLES: [Role; 3] = [Role::Service, Role::Relay, Role::Pool];

/// The actor.
pub(crate) struct ServiceSupervisor;

pub(crate) struct Tree {
    cell: Arc<Cell>,
    member: Arc<Member>,
    history: History,
    trial: Trial,
    children: [Option<Child>; ROLES.len()],
}

struct Child {
    actor: ActorCell,
    join: JoinHandle<()>,
}

impl Actor for ServiceSupervisor {
    type Msg = Order;
    type State = Tree;
    type Arguments = (Arc<Cell>, Arc<Member>);

    async fn pre_start(
        &self,
        myself: ActorRef<Order>,
        (cell, member): Self::Arguments,
    ) -> Result<Tree, ActorProcessingErr> {
        let _ = myself.cast(Order::Start);
        Ok(Tree {
            cell,
            member,
            history: History::default(),
            trial: 0,
            children: [const { None }; ROLES.len()],
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Start => tree.start(&myself, &[0, 1, 2]).await,
            Order::Restart(trial, children) => {
                if trial == tree.trial && tree.member.status.life().0 != Life::Failed {
                    tree.start(&myself, &children).await;
                }
            }
            #[cfg(any(test, feature = "testing"))]
            Order::Break(place) => {
                if let Some(Some(child)) = tree.children.get(place) {
                    child.actor.kill();
                }
            }
            Order::Revive => tree.revive(&myself).await,
            Order::ReviveByItself(trial) => {
                if trial == tree.trial {
                    tree.revive(&myself).await;
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Order>,
        event: SupervisionEvent,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, cause) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                (actor, reason.unwrap_or_default())
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        // Children that this supervisor has stopped itself are no longer in the list.
        let place = tree.children.iter().position(|child| {
            child
                .as_ref()
                .is_some_and(|child| child.actor.get_id() == actor.get_id())
        });
        let Some(place) = place else { return Ok(()) };
        tree.failed(&myself, place, cause).await;
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<Order>,
        tree: &mut Tree,
    ) -> Result<(), ActorProcessingErr> {
        tree.stop(&[2, 1, 0]).await;
        tree.member.status.set_life(Life::Stopped, None);
        Ok(())
    }
}

impl Tree {
    /// Tries a failed service again.
    async fn revive(&mut self, myself: &ActorRef<Order>) {
        if self.member.status.life().0 != Life::Failed {
            return;
        }
        tracing::info!(
            service = self.member.name(),
            "a failed service is tried again"
        );
        self.trial += 1;
        self.history = History::default();
        let status = &self.member.status;
        status.in_a_row.store(0, Ordering::Relaxed);
        status.set_life(Life::Restarting, None);
        self.member.port.welcome();
        self.start(myself, &[0, 1, 2]).await;
    }

    /// Starts children that do not run; failing that, decides what to do about it.
    async fn start(&mut self, myself: &ActorRef<Order>, places: &[usize]) {
        for (nth, place) in places.iter().enumerate() {
            if self.children[*place].is_some() {
                continue;
            }
            if let Err(error) = self.spawn(myself, *place).await {
                // A child whose start fails sends no event. Those that were to start after it do
                // so with it, whatever the strategy says of them.
                let cause = format!("its start failed: {error}");
                self.decide(myself, *place, &places[nth..], cause).await;
                return;
            }
        }
        if self.children.iter().all(Option::is_some) {
            self.member.status.set_life(Life::Running, None);
        }
    }

    /// Takes a child that has ended or is to end out of the tree.
    fn take(&mut self, place: usize) -> Option<Child> {
        let status = &self.member.status.children[place];
        status.running.store(false, Ordering::Relaxed);
        self.children[place].take()
    }

    async fn spawn(&mut self, myself: &ActorRef<Order>, place: usize) -> Result<(), SpawnErr> {
        let arguments = (self.cell.clone(), self.member.clone());
        let supervisor = myself.get_cell();
        let (actor, join) = match ROLES[place] {
            Role::Service => {
                let (actor, join) =
                    Actor::spawn_linked(None, ServiceActor, arguments, supervisor).await?;
                (actor.get_cell(), join)
            }
            Role::Relay => {
                let (actor, join) =
                    Actor::spawn_linked(None, RelayActor, arguments, supervisor).await?;
                (actor.get_cell(), join)
            }
            Role::Pool => {
                let (actor, join) =
                    Actor::spawn_linked(None, PoolActor, arguments, supervisor).await?;
                (actor.get_cell(), join)
            }
        };
        self.children[place] = Some(Child { actor, join });
        let child = &self.member.status.children[place];
        child.running.store(true, Ordering::Relaxed);
        child.starts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn failed(&mut self, myself: &ActorRef<Order>, place: usize, cause: String) {
        self.member
            .status
            .set_life(Life::Restarting, Some(cause.clone()));
        self.member.status.restarts.fetch_add(1, Ordering::Relaxed);
        if let Some(child) = self.take(place) {
            // The event arrives while the old state is still alive; its successor must not meet it.
            let _ = child.join.await;
        }
        let stop = if ROLES[place] == Role::Service {
            self.member.port.take_stop()
        } else {
            None
        };
        match stop {
            Some(Stop::Panicked { arrived, reason }) => {
                self.panicked(myself, place, arrived, reason).await
            }
            Some(Stop::Tainted(taint)) => {
                // Trying again would read the same damage.
                self.fail(
                    myself,
                    format!("a turn needed what cannot be read: {taint}"),
                )
                .await;
            }
            Some(Stop::Store(error)) => {
                self.fail(myself, error.to_string()).await;
            }
            Some(Stop::Superseded) | None => self.decide(myself, place, &[], cause).await,
        }
    }

    /// A handler panicked: its message pays, unless message after message does.
    async fn panicked(
        &mut self,
        myself: &ActorRef<Order>,
        place: usize,
        arrived: Option<Box<Arrived>>,
        reason: String,
    ) {
        match self.pay(arrived.as_deref(), &reason) {
            Err(error) => {
                self.fail(
                    myself,
                    format!("a message that panicked could not be parked: {error}"),
                )
                .await;
            }
            Ok(in_a_row) if in_a_row >= MESSAGES_IN_A_ROW_MAX => {
                let reason =
                    format!("{in_a_row} different messages in a row panicked; the last: {reason}");
                self.fail(myself, reason).await;
            }
            Ok(_) => self.start(myself, &[place]).await,
        }
    }

    /// Makes a message pay for a panic of its handler. Answers how many different messages have
    /// panicked in a row, with this one, if it is a new one.
    fn pay(&self, arrived: Option<&Arrived>, reason: &str) -> Result<u32, Stop> {
        let status = &self.member.status;
        status.panicked(reason);
        // Requests from outside are answered and nothing is parked for them: however often somebody
        // repeats one that panics, the service is none the worse for it.
        let in_a_row = if arrived.is_some_and(|arrived| arrived.attempt() == 1) {
            status.in_a_row.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            0
        };
        let message = arrived.map_or("", |arrived| arrived.envelope.name());
        tracing::error!(
            service = self.member.name(),
            message,
            reason,
            "a handler panicked"
        );
        if let Some(arrived) = arrived {
            charge(&self.cell, &self.member, arrived, reason.to_owned())?;
        }
        Ok(in_a_row)
    }

    /// Decides about a failed child. `also` names others that do not run and should.
    async fn decide(
        &mut self,
        myself: &ActorRef<Order>,
        place: usize,
        also: &[usize],
        cause: String,
    ) {
        let (now, random) = (self.cell.now(), self.cell.clock.entropy());
        let decision = self.history.decide(
            &self.member.supervision,
            ROLES.len(),
            place,
            &cause,
            now,
            random,
        );
        match decision {
            Decision::Restart {
                mut children,
                after,
            } => {
                children.extend(also);
                children.sort_unstable();
                children.dedup();
                tracing::warn!(service = self.member.name(), cause, ?after, "restarting");
                let mut running: Vec<usize> = children.clone();
                running.retain(|child| self.children[*child].is_some());
                running.reverse();
                self.stop(&running).await;
                if after.is_zero() {
                    Box::pin(self.start(myself, &children)).await;
                } else {
                    let trial = self.trial;
                    drop(myself.send_after(after, move || Order::Restart(trial, children)));
                }
            }
            Decision::Fail { reason } => self.fail(myself, reason).await,
        }
    }

    /// Stops the tree; the service is failed until it is revived.
    async fn fail(&mut self, myself: &ActorRef<Order>, reason: String) {
        tracing::error!(
            service = self.member.name(),
            reason,
            "the service has failed"
        );
        self.stop(&[2, 1, 0]).await;
        self.member
            .status
            .set_life(Life::Failed, Some(reason.clone()));
        let service = self.member.name().to_owned();
        self.member
            .port
            .refuse(CallError::ServiceFailed { service, reason }, true);
        if let Some(after) = self.member.supervision.revive_after {
            let trial = self.trial;
            drop(myself.send_after(after, move || Order::ReviveByItself(trial)));
        }
    }

    /// Stops children and waits for their ends.
    async fn stop(&mut self, places: &[usize]) {
        for place in places {
            if let Some(child) = self.take(*place) {
                let _ = child
                    .actor
                    .stop_and_wait(None, Some(Duration::from_secs(40)))
                    .await;
                let _ = child.join.await;
                if ROLES[*place] == Role::Service {
                    self.part();
                }
            }
        }
    }

    /// Parts with a service actor that this supervisor has stopped: nobody wakes it any more, and a
    /// handler that panicked meanwhile has been no less at fault.
    fn part(&self) {
        match self.member.port.take_stop() {
            Some(Stop::Panicked { arrived, reason }) => {
                if let Err(error) = self.pay(arrived.as_deref(), &reason) {
                    // It is handed on again and will have its attempts all the same.
                    tracing::error!(
                        service = self.member.name(),
                        %error,
                        "a message that panicked could not be charged"
                    );
                }
            }
            // A successor will come to the same end again, if it does not mend it.
            Some(Stop::Tainted(_) | Stop::Superseded | Stop::Store(_)) | None => {}
        }
    }
}

/// Charges a message with a failed attempt, in a commit of its own under a new epoch.
pub(crate) fn charge(
    cell: &Cell,
    member: &Member,
    arrived: &Arrived,
    reason: String,
) -> Result<(), Stop> {
    let now = cell.now();
    let mark = match arrived.origin() {
        Some(Origin::Message { sender, .. }) => cell.store.mark(StreamId {
            sender,
            receiver: member.id(),
        }),
        Some(Origin::Timer(_) | Origin::Activity(_)) | None => Mark::default(),
    };
    let setting = Setting {
        shape: &member.shape,
        own: &member.own,
        mark,
        now,
        seed: cell.clock.entropy(),
        after_dead_letter: member.after_dead_letter(arrived.envelope.name()),
    };
    let concluded =
        turn::charge(&setting, arrived, &member.supervision, reason).map_err(Stop::Tainted)?;
    let epoch = cell.store.take_over(member.id());
    queue(cell, Haste::Awaited, epoch, concluded.commit, Vec::new())?;
    if let Some(reason) = concluded.died {
        member.status.dead_letters.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            service = member.name(),
            ?reason,
            "a message became a dead letter"
        );
    }
    Ok(())
}
