//! The root of the tree: one supervisor per service, and the watchdog over turns that hang.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use crate::actors::cell::{Cell, Life};
use crate::actors::supervisor::{Order, ServiceSupervisor};
use crate::clock::JumpDetector;

/// The running tree.
pub(crate) struct Root {
    actor: ActorRef<RootOrder>,
    join: Mutex<Option<JoinHandle<()>>>,
}

/// What the root is told.
pub(crate) enum RootOrder {
    /// Try a failed service again, by an operator's word.
    Revive(usize),
    /// Kill a child of a service's supervisor, to see it restarted.
    #[cfg(any(test, feature = "testing"))]
    Break(usize, usize),
}

struct RootActor;

struct RootState {
    cell: Arc<Cell>,
    supervisors: Vec<ActorRef<Order>>,
}

impl Root {
    /// Starts the tree.
    pub(crate) async fn start(cell: Arc<Cell>) -> Result<Root, SpawnErr> {
        let (actor, join) = Actor::spawn(None, RootActor, cell).await?;
        Ok(Root {
            actor,
            join: Mutex::new(Some(join)),
        })
    }

    /// Revives a failed service.
    pub(crate) fn revive(&self, place: usize) {
        let _ = self.actor.cast(RootOrder::Revive(place));
    }

    /// Kills a child of a service's supervisor.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn break_child(&self, place: usize, child: usize) {
        let _ = self.actor.cast(RootOrder::Break(place, child));
    }

    /// Stops the tree, leaves first, and waits for its end.
    pub(crate) async fn stop(&self) {
        self.actor.stop(None);
        let join = self
            .join
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(join) = join {
            let _ = join.await;
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // A system dropped without a shutdown ends like a crash: at once, children included.
        self.actor.kill();
    }
}

impl Actor for RootActor {
    type Msg = RootOrder;
    type State = RootState;
    type Arguments = Arc<Cell>;

    async fn pre_start(
        &self,
        myself: ActorRef<RootOrder>,
        cell: Arc<Cell>,
    ) -> Result<RootState, ActorProcessingErr> {
        let mut supervisors = Vec::new();
        for member in &cell.members {
            let arguments = (cell.clone(), member.clone());
            let (actor, _) =
                Actor::spawn_linked(None, ServiceSupervisor, arguments, myself.get_cell()).await?;
            supervisors.push(actor);
        }
        Ok(RootState { cell, supervisors })
    }

    async fn handle(
        &self,
        _myself: ActorRef<RootOrder>,
        order: RootOrder,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let (place, order) = match order {
            RootOrder::Revive(place) => (place, Order::Revive),
            #[cfg(any(test, feature = "testing"))]
            RootOrder::Break(place, child) => (place, Order::Break(child)),
        };
        if let Some(supervisor) = state.supervisors.get(place) {
            let _ = supervisor.cast(order);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootOrder>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let SupervisionEvent::ActorFailed(actor, error) = event else {
            return Ok(());
        };
        // A supervisor has no business failing; its service is started anew all the same.
        let place = state
            .supervisors
            .iter()
            .position(|supervisor| supervisor.get_id() == actor.get_id());
        if let Some(place) = place {
            let member = state.cell.members[place].clone();
            tracing::error!(service = member.name(), %error, "a supervisor failed");
            member.status.restarts.fetch_add(1, Ordering::Relaxed);
            member
                .status
                .set_life(Life::Restarting, Some(error.to_string()));
            let arguments = (state.cell.clone(), member);
            let (actor, _) =
                Actor::spawn_linked(None, ServiceSupervisor, arguments, myself.get_cell()).await?;
            state.supervisors[place] = actor;
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<RootOrder>,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        for supervisor in state.supervisors.drain(..) {
            let _ = supervisor
                .stop_and_wait(None, Some(Duration::from_secs(60)))
                .await;
        }
        Ok(())
    }
}

/// Looks after turns that take too long: reports them, and in the end aborts the process, which
/// charges their message. Only for real time: in a simulation nothing can hang.
pub(crate) struct Watchdog {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watchdog {
    /// Starts the watchdog.
    pub(crate) fn start(cell: Arc<Cell>) -> std::io::Result<Watchdog> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                let mut watched = vec![Watched::default(); cell.members.len()];
                let mut jumps = JumpDetector::new(cell.clock.wall());
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    look(&cell, &mut watched);
                    if let Some(micros) = jumps.look(cell.clock.wall()) {
                        tracing::warn!(
                            micros,
                            "the wall clock has jumped; forward is followed, backward is waited out"
                        );
                    }
                }
            })?;
        Ok(Watchdog {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A handler call as the watchdog has seen it.
///
/// It counts its own looks rather than reading a clock: a wall clock that jumps, or a process that
/// was stopped and goes on, must not pass for a turn that hangs.
#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    call: u64,
    looks: u32,
}

impl Watched {
    /// For how long at least the call that runs now has been seen to run.
    fn look(&mut self, call: u64) -> Duration {
        self.looks = match call {
            0 => 0,
            same if same == self.call => self.looks + 1,
            _ => 0,
        };
        self.call = call;
        LOOK_EVERY * self.looks
    }
}

fn look(cell: &Cell, watched: &mut [Watched]) {
    for (member, watched) in cell.members.iter().zip(watched) {
        let took = watched.look(member.status.in_call.load(Ordering::Relaxed));
        if took >= cell.config.turn_abort {
            tracing::error!(
                service = member.name(),
                ?took,
                "a turn hangs; aborting, its message is charged"
            );
            std::process::abort();
        }
        // Once per turn: at the look that first finds it slow.
        if took >= cell.config.turn_slow && took < cell.config.turn_slow + LOOK_EVERY {
            tracing::warn!(service = member.name(), ?took, "a turn is slow");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_and_the_same_call_seen_again_and_again_takes_time() {
        let mut watched = Watched::default();
        assert_eq!(watched.look(7), Duration::ZERO);
        assert_eq!(watched.look(7), LOOK_EVERY);
        assert_eq!(watched.look(7), LOOK_EVERY * 2);
        assert_eq!(watched.look(8), Duration::ZERO, "another call");
        assert_eq!(watched.look(0), Duration::ZERO, "none");
        assert_eq!(watched.look(9), Duration::ZERO);
    }
}
