//! A whole system in virtual time, on a simulated disk.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::actors::cell::{Cell, Faults};
use crate::clock::{Timestamp, VirtualClock};
use crate::persistence::sim_disk::SimDisk;
use crate::persistence::sim_engine::SimEngine;
use crate::system::{StartError, System, SystemBuilder};

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
    panics: Arc<SeededPanics>,
    build: Build,
    system: Option<System>,
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
        TestSystem {
            seed,
            lives: 0,
            disk: SimDisk::new(seed),
            engine: SimEngine::new(seed),
            clock: Arc::new(VirtualClock::new(TEST_EPOCH, seed)),
            panics: Arc::new(SeededPanics::new(seed)),
            build: Box::new(build),
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

    /// Makes each handler call panic with this probability, by the seed.
    pub fn panic_with(&self, probability: f64) {
        self.panics.state().probability = probability;
    }

    /// The power fails: the system is gone, and with it a random legal part of what was not
    /// synced.
    pub fn crash(&mut self) {
        self.disk.crash();
        self.engine.crash();
        self.system = None;
    }

    /// The process is killed: everything it wrote to files is there, nothing else.
    pub fn kill(&mut self) {
        self.disk.abort();
        self.engine.crash();
        self.system = None;
    }

    /// Makes the disk fail like in a power loss at this operation from now.
    pub fn crash_at(&self, operation: u64) {
        let at = self.disk.operations() + operation;
        self.disk
            .fail_at(at, crate::persistence::sim_disk::Fault::Crash);
    }

    /// Opens what has survived, as a new process would; shuts down first if the system runs.
    pub async fn reopen(&mut self) -> Result<(), StartError> {
        if let Some(system) = self.system.take() {
            // Whatever goes wrong here, the reopening will find.
            let _ = system.shutdown(Duration::from_secs(60)).await;
        }
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
        let builder = (self.build)(System::open("/data"))
            .simulated(
                Arc::new(self.disk.clone()),
                Arc::new(self.engine.factory()),
                self.clock.clone(),
            )
            .faults(self.panics.clone());
        self.system = Some(builder.start().await?);
        Ok(())
    }

    /// Lets virtual time pass, with everything that is due in it.
    pub async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Runs until nothing is left to do by itself: no message waits, no activity is on its way,
    /// everything queued is durable. Timers that are not due yet may wait.
    ///
    /// # Panics
    ///
    /// If that does not happen within ten virtual hours; the message shows the system.
    pub async fn quiet(&self) {
        const STEP: Duration = Duration::from_millis(1);
        let system = self.system();
        let mut step = STEP;
        let mut passed = Duration::ZERO;
        while !is_quiet(system.cell()) {
            assert!(
                passed < Duration::from_secs(36_000),
                "the system does not come to rest: {:#?}",
                system.report()
            );
            tokio::time::sleep(step).await;
            passed += step;
            step = (step * 2).min(Duration::from_secs(1));
        }
    }
}

fn is_quiet(cell: &Cell) -> bool {
    let at_rest = cell.members.iter().all(|member| {
        member.port.is_idle()
            && !member.status.unsettled.load(Ordering::Relaxed)
            && member.status.activities.load(Ordering::Relaxed) == 0
    });
    let usage = cell.store.usage();
    at_rest
        && usage.durable >= usage.queued
        && cell.store.streams().iter().all(|stream| {
            let failed = cell
                .member(stream.id.receiver)
                .is_none_or(|member| member.status.life().0 == crate::actors::cell::Life::Failed);
            failed || stream.sent == stream.mark.consumed
        })
}

/// Panics in handlers, by a seed.
struct SeededPanics {
    state: Mutex<PanicState>,
}

struct PanicState {
    random: fastrand::Rng,
    probability: f64,
}

impl SeededPanics {
    fn new(seed: u64) -> SeededPanics {
        SeededPanics {
            state: Mutex::new(PanicState {
                random: fastrand::Rng::with_seed(!seed),
                probability: 0.0,
            }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, PanicState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults for SeededPanics {
    fn before_handler(&self, service: &str, message: &str) {
        let draw = {
            let mut state = self.state();
            let probability = state.probability;
            probability > 0.0 && state.random.f64() < probability
        };
        assert!(!draw, "a seeded panic in {service}/{message}");
    }
}
