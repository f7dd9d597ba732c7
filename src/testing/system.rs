//! A whole system in virtual time, on a simulated disk.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::actors::cell::{AttemptFault, Cell, Faults, Life, Member};
use crate::clock::{Timestamp, VirtualClock};
use crate::persistence::sim_disk::SimDisk;
use crate::persistence::sim_engine::SimEngine;
use crate::planted::Planted;
#[cfg(feature = "planted")]
use crate::planted::PlantedBug;
use crate::report::SystemReport;
use crate::system::{Simulated, StartError, System, SystemBuilder};
use crate::testing::simulation::trace::Trace;
use crate::testing::transport::{FaultState, FaultyTransport, TransportFaults};

/// When a test system's time begins: 2026-01-01T00:00:00Z.
pub const TEST_EPOCH: Timestamp = Timestamp(1_767_225_600_000_000);

type Build = Box<dyn Fn(SystemBuilder) -> SystemBuilder + Send + Sync>;

/// A whole system in virtual time, on a simulated disk: run it until it is quiet, let time pass,
/// crash it at any disk operation, and open what has survived.
///
/// Use it in a test with a paused clock; time then passes only while everything waits:
///
/// ```
/// use redeliver::prelude::*;
/// use redeliver::testing::TestSystem;
/// # const COUNTS: Table<String, u64> = Table::new("counts");
/// # struct Counter;
/// # impl Service for Counter {
/// #     const NAME: &'static str = "counter";
/// #     fn handlers(on: &mut Handlers<Self>) { on.table(COUNTS).command(Self::add); }
/// # }
/// # impl Counter {
/// #     fn add(&self, _: Add, cx: &mut Context<Self>) -> Result<u64, Rejection> {
/// #         let n = cx.get(COUNTS, &"n".to_owned())?.unwrap_or(0) + 1;
/// #         cx.put(COUNTS, &"n".to_owned(), &n)?;
/// #         Ok(n)
/// #     }
/// # }
/// # #[derive(Serialize, Deserialize)]
/// # struct Add {}
/// # impl Message for Add { const NAME: &'static str = "add"; }
/// # impl Command for Add { type Reply = u64; }
///
/// // In a test file: #[tokio::test(start_paused = true)]
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let mut test = TestSystem::start(7, |system| system.service(Counter)).await.unwrap();
/// assert_eq!(test.system().service::<Counter>().call(Add {}).await.unwrap(), 1);
/// test.crash();
/// test.reopen().await.unwrap();
/// assert_eq!(test.system().service::<Counter>().call(Add {}).await.unwrap(), 2);
/// # });
/// ```
pub struct TestSystem {
    seed: u64,
    lives: u64,
    disk: SimDisk,
    engine: SimEngine,
    clock: Arc<VirtualClock>,
    faults: Arc<SeededFaults>,
    transport: Arc<FaultState>,
    build: Build,
    snapshot_bytes: Option<u64>,
    planted: Planted,
    system: Option<System>,
}

/// An actor under a service's supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Child {
    /// The service actor, which takes the turns.
    Service,
    /// The relay, which hands messages on.
    Relay,
    /// The pool, which runs activities.
    Pool,
}

impl fmt::Debug for TestSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestSystem")
            .field("seed", &self.seed)
            .field("lives", &self.lives)
            .finish_non_exhaustive()
    }
}

impl TestSystem {
    /// Starts a system on an empty disk. `build` lists its services, at this start and at every
    /// [`TestSystem::reopen`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start(
        seed: u64,
        build: impl Fn(SystemBuilder) -> SystemBuilder + Send + Sync + 'static,
    ) -> Result<TestSystem, StartError> {
        let mut test = TestSystem::prepare(seed, build);
        test.open().await?;
        Ok(test)
    }

    /// As [`TestSystem::start`], without starting: for faults during the first start. Go on with
    /// [`TestSystem::reopen`].
    pub fn prepare(
        seed: u64,
        build: impl Fn(SystemBuilder) -> SystemBuilder + Send + Sync + 'static,
    ) -> TestSystem {
        let disk = SimDisk::new(seed);
        TestSystem {
            seed,
            lives: 0,
            engine: SimEngine::new(seed),
            clock: Arc::new(VirtualClock::new(TEST_EPOCH, seed)),
            faults: Arc::new(SeededFaults::new(seed, disk.clone())),
            transport: Arc::new(FaultState::new(seed)),
            disk,
            build: Box::new(build),
            snapshot_bytes: None,
            planted: Planted::default(),
            system: None,
        }
    }

    /// The running system.
    ///
    /// # Panics
    ///
    /// If it is not running: after [`TestSystem::crash`] or a failed [`TestSystem::reopen`].
    pub fn system(&self) -> &System {
        match &self.system {
            Some(system) => system,
            None => panic!("the system is not running; call `reopen` first"),
        }
    }

    /// The simulated disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The simulated engine.
    pub fn engine(&self) -> &SimEngine {
        &self.engine
    }

    /// The virtual clock.
    pub fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Makes the system take a snapshot whenever this much has been journaled since the last one
    /// (or twice the size of that one, if it is more), from the next opening on. The default is as
    /// in production: more than most tests ever write.
    pub fn snapshot_after(&mut self, bytes: u64) {
        self.snapshot_bytes = Some(bytes);
    }

    /// Makes the system make a mistake, from the next opening on: for trying whether a checker
    /// would notice.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: PlantedBug) {
        self.planted = Planted::this(bug);
    }

    /// Makes each handler call panic with this probability, by the seed.
    pub fn panic_with(&self, probability: f64) {
        self.faults.state().probability = probability;
    }

    /// Makes each attempt of an activity go wrong with this probability, by the seed: it fails at
    /// once, is never heard of again, or takes place without its answer arriving.
    pub fn fail_activities_with(&self, probability: f64) {
        self.faults.state().attempts = probability;
    }

    /// Aborts the process whenever this message is about to be handled: everything written to
    /// files stays, everything else is gone. Wait for it with [`TestSystem::aborted`].
    pub fn abort_before(&self, service: &str, message: &str) {
        let point = (service.to_owned(), message.to_owned());
        self.faults.state().aborts.push(point);
    }

    /// Handles again what [`TestSystem::abort_before`] has named.
    pub fn abort_no_more(&self) {
        self.faults.state().aborts.clear();
    }

    /// Lets time pass until the process has aborted; then the system is gone, as after
    /// [`TestSystem::kill`].
    ///
    /// # Panics
    ///
    /// If that does not happen within a virtual hour.
    pub async fn aborted(&mut self) {
        for _ in 0..360_000 {
            if self.faults.state().aborted {
                self.kill();
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the process does not abort: {:#?}", self.system().report());
    }

    /// Makes the next `times` loads of a service's state panic.
    pub fn fail_loads(&self, service: &str, times: u32) {
        self.faults.state().loads = Some((service.to_owned(), times));
    }

    /// Sets what goes wrong between services from now on.
    pub fn transport_with(&self, faults: TransportFaults) {
        self.transport.set(faults);
    }

    /// Notes in `trace` every turn and everything that goes wrong.
    pub(crate) fn trace_with(&self, trace: &Arc<Trace>) {
        self.faults.state().trace = Some(trace.clone());
        self.transport.trace_with(trace.clone());
    }

    /// Whether a system runs that has not aborted.
    pub(crate) fn is_up(&self) -> bool {
        self.system.is_some() && !self.faults.state().aborted && !self.disk.is_down()
    }

    /// Whether there is a system, in whatever state.
    pub(crate) fn is_started(&self) -> bool {
        self.system.is_some()
    }

    /// Shuts the system down in good order, if it can.
    pub(crate) async fn stop(&mut self) {
        if let Some(system) = self.system.take() {
            // Whatever goes wrong here, the next opening will find.
            let _ = system.shutdown(Duration::from_secs(60)).await;
        }
    }

    /// The virtual clock, to share.
    pub(crate) fn shared_clock(&self) -> Arc<VirtualClock> {
        self.clock.clone()
    }

    /// Kills an actor, as a bug of the library would. Answers whether there is such a service.
    pub fn break_child(&self, service: &str, child: Child) -> bool {
        self.system().break_child(service, child as usize)
    }

    /// The power fails: the system is gone, and with it a random legal part of what was not
    /// synced.
    pub fn crash(&mut self) {
        self.disk.crash();
        self.engine.crash();
        self.let_go();
    }

    /// The process is killed: everything it wrote to files is there, nothing else.
    pub fn kill(&mut self) {
        if !std::mem::take(&mut self.faults.state().aborted) {
            self.disk.abort();
        }
        self.engine.crash();
        self.let_go();
    }

    /// Lets go of a system whose disk is gone. A caller whose answer waits for a sync keeps the store
    /// alive that would answer it; only a write that fails tells the caller.
    fn let_go(&mut self) {
        if let Some(system) = self.system.take() {
            let store = system.cell().store.clone();
            drop(system);
            let _ = store.write_group();
        }
    }

    /// Makes the disk fail like in a power loss at this operation from now.
    pub fn crash_at(&self, operation: u64) {
        let at = self.disk.operations() + operation;
        self.disk
            .fail_at(at, crate::persistence::sim_disk::Fault::Crash);
    }

    /// Opens what has survived, as a new process would; shuts down first if the system runs.
    pub async fn reopen(&mut self) -> Result<(), StartError> {
        if self.faults.state().aborted {
            self.kill();
        }
        self.stop().await;
        self.open().await
    }

    async fn open(&mut self) -> Result<(), StartError> {
        // Let the actors of an earlier life end before their successor begins.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.disk.is_down() {
            self.engine.crash();
            self.disk.restart();
        }
        self.lives += 1;
        let slow = self.disk.clone();
        let on = Simulated {
            disk: Arc::new(self.disk.clone()),
            engines: Arc::new(self.engine.factory()),
            delay: Arc::new(move || slow.take_delay()),
            snapshot_bytes: self.snapshot_bytes,
            planted: self.planted,
        };
        let builder = (self.build)(System::open("/data"))
            .simulated(on, self.clock.clone())
            .faults(self.faults.clone());
        let faults = self.transport.clone();
        let builder = builder.transport(move |local| Arc::new(FaultyTransport::new(local, faults)));
        self.system = Some(builder.start().await?);
        Ok(())
    }

    /// Lets virtual time pass, with everything that is due in it.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Runs until nothing is left to do by itself: no message waits, no activity is on its way,
    /// everything queued is durable. Timers that are not due yet may wait, and so may all that is
    /// for a failed service.
    ///
    /// # Panics
    ///
    /// If that does not happen within ten virtual hours; the message shows the system.
    pub async fn quiet(&self) {
        if let Err(report) = self.quiet_within(Duration::from_secs(36_000)).await {
            panic!("the system does not come to rest: {report:#?}");
        }
    }

    /// As [`TestSystem::quiet`]; what the system looks like if it takes longer.
    pub(crate) async fn quiet_within(&self, most: Duration) -> Result<(), Box<SystemReport>> {
        const STEP: Duration = Duration::from_millis(1);
        let system = self.system();
        let mut step = STEP;
        let mut passed = Duration::ZERO;
        while !is_quiet(system.cell()) {
            if passed >= most {
                return Err(Box::new(system.report()));
            }
            tokio::time::sleep(step).await;
            passed += step;
            step = (step * 2).min(Duration::from_secs(1));
        }
        Ok(())
    }
}

fn is_quiet(cell: &Cell) -> bool {
    // A failed service waits for its revival, and so does everything for it.
    let failed = |member: &Member| member.status.life().0 == Life::Failed;
    let at_rest = cell.members.iter().all(|member| {
        // One that starts has not looked yet whether there is anything to do.
        failed(member)
            || member.status.life().0 == Life::Running
                && member.port.is_idle()
                && !member.status.unsettled.load(Ordering::Relaxed)
                && member.status.activities.load(Ordering::Relaxed) == 0
    });
    let usage = cell.store.usage();
    at_rest
        && usage.durable >= usage.queued
        && cell.store.streams().iter().all(|stream| {
            let failed = cell
                .member(stream.id.receiver)
                .is_none_or(|member| failed(member));
            failed || stream.sent == stream.mark.consumed
        })
}

/// How the reason of a panic begins that a test has asked for.
pub(crate) const SEEDED_PANIC: &str = "a seeded panic";

/// Panics in handlers by a seed, and failures on demand.
struct SeededFaults {
    disk: SimDisk,
    state: Mutex<FaultPlan>,
}

struct FaultPlan {
    random: fastrand::Rng,
    probability: f64,
    /// Probability that an attempt of an activity goes wrong.
    attempts: f64,
    /// Where to note what happens.
    trace: Option<Arc<Trace>>,
    /// Service and message before whose handling the process aborts.
    aborts: Vec<(String, String)>,
    /// Whether it has.
    aborted: bool,
    /// A service whose next loads fail.
    loads: Option<(String, u32)>,
}

impl SeededFaults {
    fn new(seed: u64, disk: SimDisk) -> SeededFaults {
        SeededFaults {
            disk,
            state: Mutex::new(FaultPlan {
                random: fastrand::Rng::with_seed(!seed),
                probability: 0.0,
                attempts: 0.0,
                trace: None,
                aborts: Vec::new(),
                aborted: false,
                loads: None,
            }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FaultPlan> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults for SeededFaults {
    fn before_handler(&self, service: &str, message: &str) {
        let (aborts, panics, trace) = {
            let mut state = self.state();
            let here = |(at, name): &(String, String)| at == service && name == message;
            let aborts = state.aborted || state.aborts.iter().any(here);
            if aborts && !std::mem::replace(&mut state.aborted, true) {
                self.disk.abort();
            }
            let probability = state.probability;
            let panics = !aborts && probability > 0.0 && state.random.f64() < probability;
            (aborts, panics, state.trace.clone())
        };
        if let Some(trace) = trace {
            match panics {
                true => trace.fault("panic", format_args!("in {service}/{message}")),
                false => trace.line(format_args!("{service} takes {message}")),
            }
        }
        // After an abort nothing runs; a panic is as near to that as one can get in here.
        assert!(!aborts, "the process has aborted at {service}/{message}");
        if panics {
            // Without the panic hook: it would say at length what the test has asked for.
            let reason = format!("{SEEDED_PANIC} in {service}/{message}");
            std::panic::resume_unwind(Box::new(reason));
        }
    }

    fn attempt(&self, service: &str, activity: &str) -> Option<AttemptFault> {
        let mut state = self.state();
        let probability = state.attempts;
        if probability <= 0.0 || state.random.f64() >= probability {
            return None;
        }
        let (fault, kind) = match state.random.u8(..3) {
            0 => (AttemptFault::Fails, "activity fails"),
            1 => (AttemptFault::NeverArrives, "activity never arrives"),
            _ => (AttemptFault::AnswerLost, "activity's answer is lost"),
        };
        if let Some(trace) = &state.trace {
            trace.fault(kind, format_args!("in {service}/{activity}"));
        }
        Some(fault)
    }

    fn before_load(&self, service: &str) {
        let fails = match &mut self.state().loads {
            Some((at, times)) if at == service && *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        };
        assert!(!fails, "the state of {service} could not be loaded");
    }
}
