//! The system: wires services together, starts them, and drains them.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::cell::{Cell, CellParts, Faults, NoFaults};
use crate::actors::port::Act;
use crate::actors::root::{Root, Watchdog};
use crate::call::{Answered, CallError, IdempotencyKey};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::draft::Reads;
use crate::envelope::{Envelope, TraceContext};
use crate::error::{OpenError, StoreError};
use crate::feed::EventFeed;
use crate::handle::{Question, ServiceHandle, ask};
use crate::hosted::{Hosted, Registered};
use crate::key::TableKey;
use crate::messaging::local::{Exchange, LocalTransport};
use crate::messaging::transport::Transport;
use crate::parked::{self, Origin};
use crate::persistence::backup::{BackupError, BackupInfo};
use crate::persistence::disk::Disk;
use crate::persistence::engine::EngineFactory;
use crate::persistence::events::EventLimits;
use crate::persistence::open::Recovered;
use crate::persistence::options::{Driving, StoreOptions};
use crate::persistence::real_disk::RealDisk;
use crate::persistence::sled::SledFactory;
use crate::persistence::store::{CellState, Store};
use crate::planted::Planted;
use crate::report::{self, DeadLetter, Health, RecoveredReport, SystemReport};
use crate::saga::{Orchestrator, Saga};
use crate::service::Service;
use crate::span::Span;
use crate::startup;
use crate::topology::{Topology, TopologyError};

/// A system could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The services do not fit together.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The data directory could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed while starting.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Stored messages would be handled by nobody.
    #[error(
        "stored messages `{message}` of service `{service}` have no handler any more; handle them, name them in `FORMERLY`, or drop them with `retired`"
    )]
    Orphaned {
        /// The service.
        service: String,
        /// The wire name.
        message: String,
    },
    /// Recovery could not be finished.
    #[error("recovery failed: {detail}")]
    Recovery {
        /// What happened.
        detail: String,
    },
    /// The supervision tree could not start.
    #[error("the supervision tree could not start: {detail}")]
    Tree {
        /// What happened.
        detail: String,
    },
}

/// A shutdown was not in good order. Nothing acknowledged is lost; the next start recovers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The time ran out with requests still waiting; they got the answer "shutting down".
    #[error("{waiting} requests were still waiting when the time ran out; they were refused")]
    TimedOut {
        /// How many.
        waiting: usize,
    },
    /// The store could not be closed in good order.
    #[error("the store could not be closed in good order: {0}")]
    Store(#[from] StoreError),
}

/// Options of a call by wire name.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Makes a command exactly once.
    pub idempotency: Option<IdempotencyKey>,
    /// Makes the call part of a trace.
    pub trace: Option<TraceContext>,
}

/// The answer to a call by wire name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonAnswer {
    /// The reply as JSON.
    pub body: Vec<u8>,
    /// Whether it was stored by an earlier call with the same idempotency key.
    pub replayed: bool,
}

/// Lists the services of a system before it starts. See [`System::open`].
#[must_use = "a system does nothing before `start`"]
pub struct SystemBuilder {
    dir: PathBuf,
    config: Config,
    services: Vec<Arc<dyn Hosted>>,
    clock: Arc<dyn Clock>,
    stage: Stage,
    faults: Arc<dyn Faults>,
    transport: Option<WrapTransport>,
}

/// Puts another transport in front of the local one.
type WrapTransport = Box<dyn FnOnce(Arc<LocalTransport>) -> Arc<dyn Transport> + Send>;

/// Where a system runs.
pub(crate) enum Stage {
    /// On a real disk, driven by threads.
    Real,
    /// On a simulated disk and engine, driven by tasks of the current runtime.
    #[cfg_attr(not(any(test, feature = "testing")), allow(dead_code))]
    Simulated(Simulated),
}

/// What a simulated system runs on, and what is special about it.
#[cfg_attr(not(any(test, feature = "testing")), allow(dead_code))]
pub(crate) struct Simulated {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) engines: Arc<dyn EngineFactory>,
    /// How long the disk's operations since the last question take.
    pub(crate) delay: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// See [`StoreOptions::snapshot_bytes`]; `None` for its default.
    pub(crate) snapshot_bytes: Option<u64>,
    pub(crate) planted: Planted,
}

impl SystemBuilder {
    /// Sets limits and sizes.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Hosts a service.
    pub fn service<S: Service>(mut self, service: S) -> Self {
        self.services
            .push(Arc::new(Registered::new(Arc::new(service))));
        self
    }

    /// Hosts a saga as a service of its own, named like the saga. A saga of another service is
    /// attached there, with [`Handlers::saga`](crate::Handlers::saga).
    pub fn saga<G>(self) -> Self
    where
        G: Saga<Service = Orchestrator<G>>,
    {
        self.service(Orchestrator::<G>::new())
    }

    /// The topology, without opening the data directory.
    pub fn topology(&self) -> Result<Topology, TopologyError> {
        let services: Vec<_> = self
            .services
            .iter()
            .map(|service| (service.declaration(), service.twice()))
            .collect();
        Topology::check(&services)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn simulated(mut self, on: Simulated, clock: Arc<dyn Clock>) -> Self {
        self.stage = Stage::Simulated(on);
        self.clock = clock;
        self
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = faults;
        self
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn transport(
        mut self,
        wrap: impl FnOnce(Arc<LocalTransport>) -> Arc<dyn Transport> + Send + 'static,
    ) -> Self {
        self.transport = Some(Box::new(wrap));
        self
    }

    /// Opens the data directory, recovers, and starts every service.
    ///
    /// # Errors
    ///
    /// [`StartError`] names what does not fit or cannot be read; nothing is changed then.
    pub async fn start(self) -> Result<System, StartError> {
        let topology = self.topology()?;
        let (store, recovered, drivers) =
            open(self.dir, &self.config, self.clock.clone(), self.stage).await?;
        startup::check_orphans(&store, &self.services)?;
        let members = startup::resolve(&store, &self.services, &self.config)?;
        let local = Arc::new(LocalTransport::default());
        let transport = match self.transport {
            Some(wrap) => wrap(local.clone()),
            None => local.clone() as Arc<dyn Transport>,
        };
        let cell = Arc::new(Cell::new(CellParts {
            store: store.clone(),
            config: self.config,
            clock: self.clock,
            transport,
            members,
            newest: recovered.newest,
            faults: self.faults,
        }));
        local.connect(Arc::downgrade(&(cell.clone() as Arc<dyn Exchange>)));
        startup::charge_interrupted(&cell, &recovered.interrupted)?;
        startup::count_dead_letters(&cell)?;
        durable(&store).await?;
        store.interrupted_charged();
        let root = Root::start(cell.clone())
            .await
            .map_err(|error| StartError::Tree {
                detail: error.to_string(),
            })?;
        let watchdog = if drivers.is_empty() {
            Some(
                Watchdog::start(cell.clone()).map_err(|error| StartError::Tree {
                    detail: error.to_string(),
                })?,
            )
        } else {
            None
        };
        let recovered = RecoveredReport {
            commits: recovered.commits,
            ms: u64::try_from(recovered.took.as_millis()).unwrap_or(u64::MAX),
            clean: recovered.clean,
            rebuilt: recovered.rebuilt,
        };
        tracing::info!(
            commits = recovered.commits,
            ms = recovered.ms,
            clean = recovered.clean,
            "recovered"
        );
        Ok(System {
            inner: Arc::new(Inner {
                cell,
                topology,
                recovered,
                root,
                simulated: !drivers.is_empty(),
                drivers: Mutex::new(drivers),
                watchdog: Mutex::new(watchdog),
            }),
        })
    }
}

impl fmt::Debug for SystemBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self
            .services
            .iter()
            .map(|service| service.declaration().name)
            .collect();
        f.debug_struct("SystemBuilder")
            .field("dir", &self.dir)
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

type Drivers = Vec<AbortOnDropHandle<()>>;

/// Opens the store; in a simulation also starts the tasks that take its steps.
async fn open(
    dir: PathBuf,
    config: &Config,
    clock: Arc<dyn Clock>,
    stage: Stage,
) -> Result<(Store, Recovered, Drivers), StartError> {
    let defaults = StoreOptions::new(dir);
    let mut options = StoreOptions {
        segment_bytes: config.journal_segment_bytes,
        first_segment_bytes: defaults
            .first_segment_bytes
            .min(config.journal_segment_bytes),
        checkpoint_start_bytes: config.checkpoint_after_bytes,
        checkpoint_bytes_max: config.uncheckpointed_bytes_max,
        stream_backlog_bytes: config.stream_backlog_bytes_max,
        outbox_memory_bytes: config.outbox_memory_bytes_max,
        low_space_bytes: config.space_low_bytes,
        cache_bytes: config.cache_bytes,
        events: EventLimits::of(config.events_kept, config.events_bytes_max),
        ..defaults
    };
    match stage {
        Stage::Real => {
            let opened = tokio::task::spawn_blocking(move || {
                let engines = Arc::new(SledFactory {
                    dir: options.cell_dir().join("sled"),
                    cache_bytes: options.cache_bytes,
                });
                Store::open(
                    options,
                    Arc::new(RealDisk::default()),
                    engines,
                    clock,
                    Driving::Threads,
                )
            });
            let (store, recovered) = opened.await.map_err(|error| StartError::Recovery {
                detail: error.to_string(),
            })??;
            Ok((store, recovered, Vec::new()))
        }
        Stage::Simulated(on) => {
            options.planted = on.planted;
            options.snapshot_bytes = on.snapshot_bytes.unwrap_or(options.snapshot_bytes);
            let work = Arc::new(tokio::sync::Notify::new());
            let notify = work.clone();
            let driving = Driving::Manual(Arc::new(move || notify.notify_one()));
            let (store, recovered) = Store::open(options, on.disk, on.engines, clock, driving)?;
            let driver = drive(store.clone(), work, on.delay);
            let driver = AbortOnDropHandle::new(tokio::spawn(driver));
            Ok((store, recovered, vec![driver]))
        }
    }
}

/// Takes the store's steps in virtual time: a sync takes as long as a good disk's, and what a slow
/// disk takes longer is waited for before its next step.
async fn drive(
    store: Store,
    work: Arc<tokio::sync::Notify>,
    delay: Arc<dyn Fn() -> Duration + Send + Sync>,
) {
    const SYNC: Duration = Duration::from_micros(150);
    // The space on the disk changes without anybody queueing anything.
    const LOOK_EVERY: Duration = Duration::from_secs(30);
    loop {
        let _ = tokio::time::timeout(LOOK_EVERY, work.notified()).await;
        loop {
            tokio::time::sleep(SYNC + delay()).await;
            // As its threads do: what maintenance could not do is tried again later, and only a
            // closed store is left alone.
            let (wrote, maintained) = (store.write_group(), store.maintain());
            if wrote.is_err() || matches!(maintained, Err(StoreError::Closed { .. })) {
                return;
            }
            if !wrote.unwrap_or(false) && !maintained.unwrap_or(false) {
                break;
            }
        }
    }
}

/// Waits until everything queued so far is durable.
async fn durable(store: &Store) -> Result<(), StoreError> {
    let (sender, receiver) = oneshot::channel();
    store.gate(Box::new(move |durable| {
        let _ = sender.send(durable);
    }));
    match receiver.await {
        Ok(durable) => durable.map(|_| ()),
        Err(_) => Err(StoreError::Closed {
            reason: "it stopped while starting".to_owned(),
        }),
    }
}

/// A running system. Cheap to clone; ends with [`System::shutdown`], or when the last clone is
/// dropped, which is like a crash: nothing acknowledged is lost.
#[derive(Clone)]
pub struct System {
    inner: Arc<Inner>,
}

struct Inner {
    cell: Arc<Cell>,
    topology: Topology,
    recovered: RecoveredReport,
    root: Root,
    simulated: bool,
    drivers: Mutex<Drivers>,
    watchdog: Mutex<Option<Watchdog>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Handles may outlive the system; whoever waits through one must hear of its end.
        self.cell.draining.cancel();
        for member in &self.cell.members {
            member.port.refuse(CallError::Draining, true);
        }
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self
            .inner
            .cell
            .members
            .iter()
            .map(|member| member.name())
            .collect();
        f.debug_struct("System")
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

impl System {
    /// Begins a system over a data directory, which is created at the first start.
    ///
    /// ```no_run
    /// # use redeliver::prelude::*;
    /// # struct Inventory;
    /// # impl Service for Inventory {
    /// #     const NAME: &'static str = "inventory";
    /// #     fn handlers(_: &mut Handlers<Self>) {}
    /// # }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = redeliver::System::open("./data").service(Inventory).start().await?;
    /// system.shutdown(seconds(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(dir: impl Into<PathBuf>) -> SystemBuilder {
        SystemBuilder {
            dir: dir.into(),
            config: Config::default(),
            services: Vec::new(),
            clock: Arc::new(SystemClock),
            stage: Stage::Real,
            faults: default_faults(),
            transport: None,
        }
    }

    /// A handle to a service.
    ///
    /// # Panics
    ///
    /// If the system was built without this service.
    pub fn service<S: Service>(&self) -> ServiceHandle<S> {
        let member = self.inner.cell.member_named(S::NAME);
        let Some(member) = member else {
            panic!("this system was built without service `{}`", S::NAME);
        };
        ServiceHandle::new(self.inner.cell.clone(), member.clone())
    }

    /// Sends a command or asks a query by wire name, JSON in and JSON out.
    pub async fn call_json(
        &self,
        service: &str,
        message: &str,
        json: &[u8],
        options: CallOptions,
    ) -> Result<JsonAnswer, CallError> {
        let cell = &self.inner.cell;
        let unknown = || CallError::NoSuchMessage {
            service: service.to_owned(),
            message: message.to_owned(),
        };
        let member = cell.member_named(service).ok_or_else(unknown)?;
        let door = member.hosted.door(message).ok_or_else(unknown)?;
        let (key, body) = (door.read)(json).map_err(CallError::Malformed)?;
        let question = Question {
            query: member.hosted.is_query(message),
            name: bytes::Bytes::from_static(door.name.as_bytes()),
            version: door.version,
            key,
            body: body.into(),
            idempotency: options.idempotency,
            trace: options.trace,
        };
        let Answered { reply, replayed } = ask(cell, member, question).await?;
        let body = (door.write)(&reply).map_err(CallError::Malformed)?;
        Ok(JsonAnswer { body, replayed })
    }

    /// The published events, as those outside of the system may read them.
    pub fn events(&self) -> EventFeed {
        EventFeed::new(self.inner.cell.clone(), self.inner.simulated)
    }

    /// The services and the ways between them.
    pub fn topology(&self) -> &Topology {
        &self.inner.topology
    }

    /// The live tree and the streams, as data.
    pub fn report(&self) -> SystemReport {
        report::report(&self.inner.cell, &self.inner.recovered)
    }

    /// Whether the system is ready for work.
    pub fn health(&self) -> Health {
        report::health(&self.inner.cell, &self.inner.recovered)
    }

    /// The dead letters of a service, oldest stream position first: a figure like those of
    /// [`System::report`], of the newest state, which may not be durable yet.
    pub fn dead_letters(&self, service: &str, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let cell = &self.inner.cell;
        let Some(member) = cell.member_named(service) else {
            return Ok(Vec::new());
        };
        let rows = Reads::scan(&cell.store, member.own.dead, &Span::all(), limit)?;
        let damaged = |detail: String| StoreError::Damaged {
            what: format!("a dead letter of {service}"),
            detail,
        };
        rows.into_iter()
            .map(|(key, value)| {
                let origin = Origin::from_bytes(&key)
                    .ok_or_else(|| damaged("its key is unreadable".to_owned()))?;
                let row =
                    parked::open_dead(&key, &value).map_err(|error| damaged(error.to_string()))?;
                let envelope = Envelope::decode(&row.envelope.into())
                    .map_err(|error| damaged(error.to_string()))?;
                Ok(DeadLetter {
                    id: DeadLetter::id_of(&origin),
                    service: service.to_owned(),
                    message: envelope.name().to_owned(),
                    reason: row.reason,
                    attempts: row.attempts,
                    died_at: row.died_at,
                    history: row
                        .history
                        .into_iter()
                        .map(|failure| failure.reason)
                        .collect(),
                    correlation_id: envelope.correlation.to_string(),
                })
            })
            .collect()
    }

    /// Gives a dead letter a fresh set of attempts. Answers whether there was such a letter.
    pub async fn redrive(&self, service: &str, id: &str) -> Result<bool, CallError> {
        self.act(service, id, Act::Redrive).await
    }

    /// Throws a dead letter away. Answers whether there was such a letter.
    pub async fn discard(&self, service: &str, id: &str) -> Result<bool, CallError> {
        self.act(service, id, Act::Discard).await
    }

    async fn act(
        &self,
        service: &str,
        id: &str,
        act: fn(Origin) -> Act,
    ) -> Result<bool, CallError> {
        let Some(member) = self.inner.cell.member_named(service) else {
            return Ok(false);
        };
        let Some(origin) = DeadLetter::origin_of(id) else {
            return Ok(false);
        };
        let (done, answer) = oneshot::channel();
        member.port.act(act(origin), done)?;
        answer.await.unwrap_or_else(|_| {
            Err(CallError::OutcomeUnknown {
                reason: "the service stopped before it answered".to_owned(),
            })
        })
    }

    /// Writes a backup of the present to the file `to`, beside whatever else goes on: everything
    /// of all services at one position, with the messages on their way, timers, planned
    /// activities and the event log. Under that name there is a whole backup or nothing.
    ///
    /// What the host keeps in files of its own is not in it.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<BackupInfo, BackupError> {
        let store = self.inner.cell.store.clone();
        let to = to.into();
        if self.inner.simulated {
            return store.backup(&to);
        }
        tokio::task::spawn_blocking(move || store.backup(&to))
            .await
            .unwrap_or_else(|error| {
                Err(BackupError::Store(StoreError::Closed {
                    reason: error.to_string(),
                }))
            })
    }

    /// Tries a failed service again now. Answers whether there is such a service.
    pub fn revive(&self, service: &str) -> bool {
        let place = self
            .inner
            .cell
            .members
            .iter()
            .position(|member| member.name() == service);
        if let Some(place) = place {
            self.inner.root.revive(place);
        }
        place.is_some()
    }

    /// Completes when the cell had to stop after an error of its disk. What to do then is up to
    /// the host: usually to end the process and start it anew, which recovers.
    pub async fn closed(&self) -> StoreError {
        const LOOK_EVERY: Duration = Duration::from_millis(500);
        loop {
            if let CellState::Closed(reason) = self.inner.cell.store.usage().state {
                return StoreError::Closed { reason };
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Completes when the system begins to drain.
    pub async fn draining(&self) {
        self.inner.cell.draining.cancelled().await;
    }

    /// Drains and stops the system: refuses new requests, finishes those that wait (for at most
    /// `within`), stops the tree leaf to root, and closes the data directory in good order.
    pub async fn shutdown(&self, within: Duration) -> Result<(), ShutdownError> {
        let cell = &self.inner.cell;
        cell.draining.cancel();
        for member in &cell.members {
            member.port.refuse(CallError::Draining, false);
        }
        let drained = tokio::time::timeout(within, async {
            for member in &cell.members {
                loop {
                    let idle = member.port.idle.notified();
                    if member.port.depths().0 == 0 {
                        break;
                    }
                    idle.await;
                }
            }
            durable(&cell.store).await
        })
        .await;
        let waiting: usize = cell
            .members
            .iter()
            .map(|member| member.port.depths().0)
            .sum();
        for member in &cell.members {
            member.port.refuse(CallError::Draining, true);
        }
        self.inner.root.stop().await;
        drop(
            self.inner
                .watchdog
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.drivers().clear();
        let store = cell.store.clone();
        let closed = if self.inner.simulated {
            store.close()
        } else {
            tokio::task::spawn_blocking(move || store.close())
                .await
                .unwrap_or_else(|error| {
                    Err(StoreError::Closed {
                        reason: error.to_string(),
                    })
                })
        };
        closed?;
        match drained {
            Ok(durable) => Ok(durable?),
            Err(_) => Err(ShutdownError::TimedOut { waiting }),
        }
    }

    fn drivers(&self) -> std::sync::MutexGuard<'_, Drivers> {
        self.inner
            .drivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn break_child(&self, service: &str, child: usize) -> bool {
        let members = &self.inner.cell.members;
        let place = members.iter().position(|member| member.name() == service);
        if let Some(place) = place {
            self.inner.root.break_child(place, child);
        }
        place.is_some()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn cell(&self) -> &Arc<Cell> {
        &self.inner.cell
    }
}

fn default_faults() -> Arc<dyn Faults> {
    #[cfg(feature = "failpoints")]
    if let Some(faults) = crate::failpoints::from_environment() {
        return faults;
    }
    Arc::new(NoFaults)
}
