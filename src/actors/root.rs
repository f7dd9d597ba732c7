//! The root of the tree: one supervisor per service, and the watchdog over turns that hang.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use crate::actors::cell::{Cell, Life};
use crate::actors::supervisor::{Order, ServiceSupervisor};

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
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                    look(&cell);
                }
            })?;
        Ok(Watchdog {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn look(cell: &Cell) {
    let now = cell.now();
    for member in &cell.members {
        let status = &member.status;
        let began = status.turn_began.load(Ordering::Relaxed);
        let took = if began == 0 {
            Duration::ZERO
        } else {
            now.since(crate::Timestamp(began))
        };
        if took >= cell.config.turn_abort {
            tracing::error!(
                service = member.name(),
                ?took,
                "a turn hangs; aborting, its message is charged"
            );
            std::process::abort();
        }
        if took >= cell.config.turn_slow {
            if !status.slow_reported.swap(true, Ordering::Relaxed) {
                tracing::warn!(service = member.name(), ?took, "a turn is slow");
            }
        } else {
            status.slow_reported.store(false, Ordering::Relaxed);
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
