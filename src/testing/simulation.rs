//! Simulation: a host's whole system in one thread, in virtual time, under faults by a seed.
//!
//! What is simulated is the real library, with the host's real services, over a simulated disk and
//! a transport that loses and doubles. The same seed is the same run, to the byte.
//!
//! ```text
//! workloads ──Client──▶ system ◀── chaos: power loss, kill, panics, disk errors, clock jumps, …
//!     │                   │
//!     └── history         └── turns, faults, disk ──▶ trace, and its hash
//!            └──▶ checks, once all is healed and quiet
//! ```

mod chaos;
mod client;
mod environment;
mod run;
pub(crate) mod trace;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use client::Client;

use crate::clock::minutes;
use crate::config::Config;
use crate::service::Service;
use crate::system::SystemBuilder;
use environment::Environment;
use run::Run;
use trace::Sink;

/// The whole system of a host in virtual time, under faults that follow from a seed.
///
/// A host gives its services, workloads that use them, and checks of what must be true in the end.
/// The run lasts some virtual time, in which the power fails, processes are killed, handlers panic,
/// disks fill up and fail, clocks jump, messages get lost. Then everything is healed and restarted,
/// and once the system is quiet, the checks are made.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use redeliver::prelude::*;
/// use redeliver::testing::{Client, Simulation};
///
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # struct Pay { account: u64, amount: u64 }
/// # impl Message for Pay { const NAME: &'static str = "pay"; }
/// # impl Command for Pay { type Reply = u64; }
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # struct BalanceOf { account: u64 }
/// # impl Message for BalanceOf { const NAME: &'static str = "balance-of"; }
/// # impl Query for BalanceOf { type Answer = u64; }
/// # const BALANCES: Table<u64, u64> = Table::new("balances");
/// #[derive(Clone)]
/// struct Bank;
/// # impl Service for Bank {
/// #     const NAME: &'static str = "bank";
/// #     fn handlers(on: &mut Handlers<Self>) {
/// #         on.table(BALANCES).command(Self::pay).query(Self::balance);
/// #     }
/// # }
/// # impl Bank {
/// #     fn pay(&self, pay: Pay, cx: &mut Context<Self>) -> Result<u64, Rejection> {
/// #         let balance = cx.get(BALANCES, &pay.account)?.unwrap_or(0) + pay.amount;
/// #         cx.put(BALANCES, &pay.account, &balance)?;
/// #         Ok(balance)
/// #     }
/// #     fn balance(&self, of: BalanceOf, view: &View<Self>) -> Result<u64, Rejection> {
/// #         Ok(view.get(BALANCES, &of.account)?.unwrap_or(0))
/// #     }
/// # }
///
/// /// What customers were told was paid in.
/// type Paid = Mutex<BTreeMap<u64, u64>>;
///
/// async fn customer(client: Client, paid: Arc<Paid>) {
///     while !client.is_over() {
///         client.sleep(client.up_to(seconds(10))).await;
///         let pay = Pay { account: client.below(3), amount: 1 + client.below(100) };
///         client.call::<Bank, _>(pay.clone()).await.unwrap();
///         *paid.lock().unwrap().entry(pay.account).or_default() += pay.amount;
///     }
/// }
///
/// async fn nothing_is_lost_or_paid_twice(client: Client, paid: Arc<Paid>) -> Result<(), String> {
///     let paid = paid.lock().unwrap().clone();
///     for (account, told) in paid {
///         let balance = client.query::<Bank, _>(BalanceOf { account }).await.unwrap();
///         if balance != told {
///             return Err(format!("account {account} has {balance}, and {told} was paid in"));
///         }
///     }
///     Ok(())
/// }
///
/// // In a test: #[test], not #[tokio::test]; it has a runtime of its own.
/// Simulation::new(7)
///     .history(|_| Paid::default())
///     .service(Bank)
///     .workload("customer", 3, customer)
///     .check("nothing_is_lost_or_paid_twice", nothing_is_lost_or_paid_twice)
///     .run(minutes(10));
/// ```
///
/// Some laws of the library itself are checked in every run, whatever the host checks: each stream's
/// account balances and nothing is left on its way (`streams`), an answered idempotency key is
/// answered the same ever after (`answers`), an event once shown outside keeps its number (`events`),
/// no handler panics but for a fault (`panics`), what was stopped can be opened again (`opening`),
/// and everything comes to rest (`rest`).
#[must_use = "a simulation does nothing before `run`"]
pub struct Simulation<H = ()> {
    seed: u64,
    config: Config,
    services: Vec<BuildFn<H>>,
    history: Arc<dyn Fn(u64) -> H + Send + Sync>,
    workloads: Vec<(String, u64, WorkFn<H>)>,
    checks: Vec<(String, CheckFn<H>)>,
    settle: Duration,
    peaceful: bool,
    sink: Option<Sink>,
    #[cfg(feature = "planted")]
    planted: Option<crate::planted::PlantedBug>,
}

type BuildFn<H> = Arc<dyn Fn(SystemBuilder, &Arc<H>) -> SystemBuilder + Send + Sync>;
type WorkFn<H> =
    Arc<dyn Fn(Client, Arc<H>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
type CheckFn<H> = Arc<
    dyn Fn(Client, Arc<H>) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        + Send
        + Sync,
>;

/// What a run has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulated {
    /// Its seed.
    pub seed: u64,
    /// Turns committed, those included that a power loss took.
    pub turns: u64,
    /// Commands that workloads had done.
    pub calls: u64,
    /// How often the process ended without having been asked to, and was started again.
    pub crashes: u64,
    /// What went wrong otherwise, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// A digest of the trace and of all bytes written to the disk: equal for equal runs.
    pub trace_hash: u64,
    /// What was not as it must be.
    pub violations: Vec<Violation>,
    /// The end of the trace.
    pub last_lines: Vec<String>,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The check that has seen it.
    pub checker: String,
    /// What it has seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.detail)
    }
}

impl Simulation {
    /// A simulation whose every choice follows from `seed`.
    pub fn new(seed: u64) -> Simulation {
        Simulation {
            seed,
            // Small, so that segments, checkpoints and snapshots come and go within minutes.
            config: Config {
                journal_segment_bytes: 256 * 1024,
                checkpoint_after_bytes: 128 * 1024,
                snapshot_after_bytes: 512 * 1024,
                ..Config::default()
            },
            services: Vec::new(),
            history: Arc::new(|_| ()),
            workloads: Vec::new(),
            checks: Vec::new(),
            settle: minutes(1),
            peaceful: false,
            sink: None,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Gives each run something that its workloads, checks and services share, made by the run's
    /// seed: what was asked and answered, an outside world. Say this before anything that uses it.
    ///
    /// # Panics
    ///
    /// If there are services, workloads or checks already.
    pub fn history<H>(self, make: impl Fn(u64) -> H + Send + Sync + 'static) -> Simulation<H> {
        assert!(
            self.services.is_empty() && self.workloads.is_empty() && self.checks.is_empty(),
            "call `history` before `service`, `workload` and `check`"
        );
        Simulation {
            seed: self.seed,
            config: self.config,
            services: Vec::new(),
            history: Arc::new(make),
            workloads: Vec::new(),
            checks: Vec::new(),
            settle: self.settle,
            peaceful: self.peaceful,
            sink: self.sink,
            #[cfg(feature = "planted")]
            planted: self.planted,
        }
    }
}

impl<H: Send + Sync + 'static> Simulation<H> {
    /// Sets limits and sizes of the system.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Hosts a service. Every life of the system has a clone of its own.
    pub fn service<S: Service + Clone>(self, service: S) -> Self {
        self.services(move |system, _| system.service(service.clone()))
    }

    /// Hosts services, put onto the builder at every start of the system.
    pub fn services(
        mut self,
        build: impl Fn(SystemBuilder, &Arc<H>) -> SystemBuilder + Send + Sync + 'static,
    ) -> Self {
        self.services.push(Arc::new(build));
        self
    }

    /// Has `clients` clients work until the time is over.
    pub fn workload<F>(
        mut self,
        name: impl Into<String>,
        clients: u64,
        work: impl Fn(Client, Arc<H>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work: WorkFn<H> = Arc::new(move |client, history| Box::pin(work(client, history)));
        self.workloads.push((name.into(), clients, work));
        self
    }

    /// Checks in the end, when all is healed and quiet, what must be true.
    pub fn check<F>(
        mut self,
        name: impl Into<String>,
        check: impl Fn(Client, Arc<H>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: CheckFn<H> = Arc::new(move |client, history| Box::pin(check(client, history)));
        self.checks.push((name.into(), check));
        self
    }

    /// How long the healed system is left alone before it is checked: as long as its longest timer
    /// that matters. A minute if nothing is said.
    pub fn settle(mut self, time: Duration) -> Self {
        self.settle = time;
        self
    }

    /// Lets nothing go wrong, to see what a workload comes to in peace.
    pub fn without_faults(mut self) -> Self {
        self.peaceful = true;
        self
    }

    /// Has the library make a mistake, to see whether the checks notice.
    #[cfg(feature = "planted")]
    pub fn plant(mut self, bug: crate::planted::PlantedBug) -> Self {
        self.planted = Some(bug);
        self
    }

    /// Writes every line of the trace here.
    pub fn trace_to(mut self, lines: impl Write + Send + 'static) -> Self {
        self.sink = Some(Arc::new(Mutex::new(lines)));
        self
    }

    /// Runs for this long in virtual time, and answers what the last seed has come to.
    ///
    /// The environment may want something else: `REDELIVER_SIM_SEED` runs that seed alone and prints
    /// its trace, `REDELIVER_SIM_SEEDS=from..to` runs several (`to` is not one of them), and
    /// `REDELIVER_SIM_HOURS` says for how many hours (`0.25` is a quarter of one).
    ///
    /// # Panics
    ///
    /// If a check fails, with the command that repeats the run; within a tokio runtime, because a
    /// simulation has its own; and on an environment that cannot be read.
    pub fn run(mut self, time: Duration) -> Simulated {
        let wanted = match Environment::read(|name| std::env::var(name).ok()) {
            Ok(wanted) => wanted,
            Err(error) => panic!("{error}"),
        };
        let time = wanted.time.unwrap_or(time);
        if wanted.print {
            self.sink = Some(Arc::new(Mutex::new(std::io::stderr())));
        }
        let mut last = None;
        for seed in wanted
            .seeds
            .unwrap_or(self.seed..self.seed.saturating_add(1))
        {
            self.seed = seed;
            let simulated = self.once(time);
            if !simulated.violations.is_empty() {
                panic!("{}", simulated.complaint());
            }
            last = Some(simulated);
        }
        match last {
            Some(simulated) => simulated,
            None => panic!("{} has no seeds", environment::SEEDS),
        }
    }

    /// Runs its seed once, for this long in virtual time, whatever the environment says.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn once(&self, time: Duration) -> Simulated {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(Run::of(self, time)),
            Err(error) => panic!("the simulation's runtime could not start: {error}"),
        }
    }
}

impl<H> fmt::Debug for Simulation<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Simulated {
    /// What went wrong, the end of the trace, and the command that repeats the run.
    fn complaint(&self) -> String {
        use std::fmt::Write as _;
        let mut text = format!("seed {} breaks its promises:\n", self.seed);
        for violation in &self.violations {
            let _ = writeln!(text, "- {violation}");
        }
        let _ = writeln!(text, "the end of the trace:");
        for line in &self.last_lines {
            let _ = writeln!(text, "  {line}");
        }
        let thread = std::thread::current();
        // A test's thread has the test's name.
        let test = thread.name().filter(|name| *name != "main").unwrap_or("");
        let _ = write!(
            text,
            "repeat it, with the whole trace:\n  {}={} cargo test {test} -- --exact --nocapture",
            environment::SEED,
            self.seed
        );
        text
    }
}
