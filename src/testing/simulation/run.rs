//! One run: the system's lives one after another, and what is checked when all is over.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{hours, minutes};
use crate::persistence::digest::Digest;
use crate::persistence::store::CellState;
use crate::system::System;
use crate::testing::TestSystem;
use crate::testing::simulation::chaos::{Blow, Chaos};
use crate::testing::simulation::client::{Client, Shared};
use crate::testing::simulation::trace::Trace;
use crate::testing::simulation::{Simulated, Simulation, Violation};
use crate::testing::system::SEEDED_PANIC;

/// Openings in a row that may be interrupted by another crash.
const INTERRUPTED_MAX: u32 = 6;
/// Openings in a row before a system is taken for one that cannot be opened.
const OPENINGS_MAX: u32 = 12;
/// How long everything may take to come to rest, once nothing goes wrong any more.
const REST_MAX: Duration = hours(2);
/// Rounds in which dead letters are given another chance.
const REDRIVES_MAX: u32 = 5;

/// One run of a simulation.
pub(super) struct Run<H> {
    test: TestSystem,
    shared: Arc<Shared>,
    chaos: Chaos,
    history: Arc<H>,
    turns: u64,
    crashes: u64,
    violations: Vec<Violation>,
}

/// The run cannot go on; the reason stands among the violations.
struct Stuck;

impl<H: Send + Sync + 'static> Run<H> {
    /// Runs a simulation's seed.
    pub(super) async fn of(simulation: &Simulation<H>, time: Duration) -> Simulated {
        let seed = simulation.seed;
        let history = Arc::new((simulation.history)(seed));
        let build = {
            let (services, config) = (simulation.services.clone(), simulation.config.clone());
            let history = history.clone();
            move |system: crate::system::SystemBuilder| {
                let system = system.config(config.clone());
                services
                    .iter()
                    .fold(system, |system, build| build(system, &history))
            }
        };
        #[cfg_attr(not(feature = "planted"), allow(unused_mut))]
        let mut test = TestSystem::prepare(seed, build);
        #[cfg(feature = "planted")]
        if let Some(bug) = simulation.planted {
            test.plant(bug);
        }
        let trace = Arc::new(Trace::new(test.shared_clock(), simulation.sink.clone()));
        test.trace_with(&trace);
        let shared = Arc::new(Shared::new(seed, test.shared_clock(), trace.clone()));
        let mut run = Run {
            chaos: Chaos::new(seed, simulation.peaceful),
            test,
            shared,
            history,
            turns: 0,
            crashes: 0,
            violations: Vec::new(),
        };
        let stood_still = tokio::select! {
            biased;
            why = trace.stood_still() => Some(why),
            // Whoever is stuck has said why.
            _ = run.live(simulation, time) => None,
        };
        if let Some(why) = stood_still {
            run.violated("ends", why);
        }
        run.end_life();
        run.test.kill();
        trace.number(run.test.disk().digest());
        Simulated {
            seed,
            turns: run.turns,
            calls: run.shared.calls.load(Ordering::Relaxed),
            crashes: run.crashes,
            faults: trace.faults(),
            trace_hash: trace.digest(),
            violations: run.violations,
            last_lines: trace.last(),
        }
    }

    async fn live(&mut self, simulation: &Simulation<H>, time: Duration) -> Result<(), Stuck> {
        self.get_up().await?;
        let mut work = Vec::new();
        for (name, clients, begin) in &simulation.workloads {
            for index in 0..*clients {
                let client = Client::new(self.shared.clone(), name, index);
                let working = tokio::spawn(begin(client, self.history.clone()));
                work.push((format!("{name} {index}"), Ending(working)));
            }
        }
        let reader = {
            let client = Client::new(self.shared.clone(), "reader", 0);
            Ending(tokio::spawn(read_events(client, self.shared.clone())))
        };
        self.suffer(time).await?;
        self.heal().await?;
        self.finish(work).await?;
        self.settle(simulation.settle).await?;
        drop(reader);
        self.judge(simulation).await;
        Ok(())
    }

    // Suffering.

    /// Lives through the time, with everything that goes wrong in it.
    async fn suffer(&mut self, time: Duration) -> Result<(), Stuck> {
        let end = self.test.clock().elapsed() + time;
        let mut next = self.test.clock().elapsed() + self.chaos.pause();
        loop {
            let now = self.test.clock().elapsed();
            if now >= end {
                return Ok(());
            }
            if now >= next {
                self.strike().await?;
                next = self.test.clock().elapsed() + self.chaos.pause();
                continue;
            }
            let relents = self.chaos.relents_at().unwrap_or(end);
            let wake = next.min(end).min(relents.max(now));
            if self.stands_for(wake.saturating_sub(now)).await {
                self.chaos.relent(&self.test);
            } else {
                self.fall(Blow::Kill).await?;
            }
        }
    }

    /// Lets time pass; answers whether the system still stands.
    async fn stands_for(&self, time: Duration) -> bool {
        if !self.test.is_up() {
            return false;
        }
        let system = self.test.system().clone();
        let fallen = async {
            tokio::select! {
                biased;
                _ = system.closed() => {}
                () = self.shared.no_answer.notified() => {}
            }
        };
        tokio::select! {
            biased;
            () = fallen => self.test.is_up() && !is_closed(&system),
            () = tokio::time::sleep(time) => self.test.is_up(),
        }
    }

    async fn strike(&mut self) -> Result<(), Stuck> {
        let trace = self.shared.trace.clone();
        let blow = self
            .chaos
            .strike(&self.test, |kind, what| trace.fault(kind, what));
        match blow {
            Blow::Dealt => Ok(()),
            blow => self.fall(blow).await,
        }
    }

    /// The system goes down, stays down for a while, and gets up.
    async fn fall(&mut self, how: Blow) -> Result<(), Stuck> {
        self.end_life();
        let down = self.test.disk().is_down();
        match how {
            Blow::PowerLoss => {
                self.note("the power fails");
                self.test.crash();
                self.crashes += 1;
            }
            Blow::Kill | Blow::Dealt => {
                self.note(match down {
                    true => "the power has failed",
                    false => "the process is killed",
                });
                self.test.kill();
                self.crashes += 1;
            }
            Blow::Restart => {
                self.note("the process is asked to end");
                self.test.stop().await;
            }
        }
        tokio::time::sleep(self.chaos.down_time()).await;
        self.chaos.relent(&self.test);
        self.get_up().await
    }

    /// Opens what has survived, again and again if it falls again meanwhile.
    async fn get_up(&mut self) -> Result<(), Stuck> {
        for opening in 0..OPENINGS_MAX {
            if opening < INTERRUPTED_MAX && self.crashes > 0 {
                self.chaos.perhaps_again(&self.test);
            }
            if opening == INTERRUPTED_MAX {
                self.chaos.ease(&self.test);
            }
            let digest = self.test.disk().digest();
            self.note(&format!("a process starts; disk {digest:016x}"));
            match self.test.reopen().await {
                Ok(()) => {
                    let system = self.test.system().clone();
                    let recovered = system.report().recovered;
                    let (commits, rebuilt) = (recovered.commits, recovered.rebuilt);
                    let rebuilt = rebuilt.as_deref().unwrap_or("nothing");
                    self.shared.trace.line(format_args!(
                        "the system is up; commits replayed: {commits}; rebuilt: {rebuilt}"
                    ));
                    self.shared.show(Some(system));
                    return Ok(());
                }
                Err(error) if opening < OPENINGS_MAX - 1 => {
                    let trace = &self.shared.trace;
                    trace.line(format_args!("the system does not get up: {error}"));
                    self.test.kill();
                    self.crashes += 1;
                    tokio::time::sleep(self.chaos.down_time()).await;
                    self.chaos.relent(&self.test);
                }
                Err(error) => {
                    self.violated("opening", format!("the system cannot be opened: {error}"));
                }
            }
        }
        Err(Stuck)
    }

    /// Takes leave of a life: nobody may reach it any more, and what it has to say is noted.
    fn end_life(&mut self) {
        self.shared.show(None);
        if !self.test.is_started() {
            return;
        }
        let report = self.test.system().report();
        for service in &report.services {
            self.turns += service.turns;
            let panic = service.last_panic.as_deref();
            if let Some(panic) = panic.filter(|panic| !panic.starts_with(SEEDED_PANIC)) {
                // After an abort nothing runs, and that is how it shows.
                if !panic.starts_with("the process has aborted") {
                    self.violated("panics", format!("{} panics: {panic}", service.name));
                }
            }
        }
    }

    // Healing.

    /// Nothing goes wrong from now on, and the system begins its last life.
    async fn heal(&mut self) -> Result<(), Stuck> {
        self.chaos.heal(&self.test);
        self.note("everything is healed");
        self.fall(Blow::Kill).await
    }

    /// Lets the workloads come to their end.
    async fn finish(&mut self, work: Vec<(String, Ending<()>)>) -> Result<(), Stuck> {
        self.shared.over.store(true, Ordering::Relaxed);
        for (name, mut working) in work {
            let ended = tokio::time::timeout(REST_MAX, &mut working.0).await;
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.violated("workload", format!("{name}: {error}")),
                Err(_) => {
                    let detail = format!("{name} does not end: {}", self.shown());
                    self.violated("rest", detail);
                    return Err(Stuck);
                }
            }
        }
        Ok(())
    }

    /// Everything happens that happens by itself; what was given up gets another chance.
    async fn settle(&mut self, time: Duration) -> Result<(), Stuck> {
        for _ in 0..REDRIVES_MAX {
            self.rest().await?;
            tokio::time::sleep(time).await;
            self.rest().await?;
            if !self.redrive().await {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<(), Stuck> {
        // A failed service would be revived by itself, but later than anybody wants to wait.
        let system = self.test.system();
        for service in system.report().services {
            if service.state == "failed" {
                system.revive(&service.name);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        match self.test.quiet_within(REST_MAX).await {
            Ok(()) => Ok(()),
            Err(report) => {
                self.violated("rest", format!("nothing comes to rest: {report:?}"));
                Err(Stuck)
            }
        }
    }

    /// Gives all dead letters another chance; answers whether there were any.
    async fn redrive(&mut self) -> bool {
        let mut any = false;
        let services = self.test.system().report().services;
        for service in services.iter().filter(|service| service.dead_letters > 0) {
            let letters = self.test.system().dead_letters(&service.name, usize::MAX);
            for letter in letters.unwrap_or_default() {
                any = true;
                let (name, id) = (&service.name, &letter.id);
                self.shared
                    .trace
                    .line(format_args!("dead letter {id} of {name} is tried again"));
                if let Err(error) = self.test.system().redrive(name, id).await {
                    self.violated("rest", format!("letter {id} of {name}: {error}"));
                }
            }
        }
        any
    }

    // Judging.

    async fn judge(&mut self, simulation: &Simulation<H>) {
        self.streams_are_settled();
        for (name, check) in &simulation.checks {
            let client = Client::new(self.shared.clone(), name, 0);
            let checked = self.within(check(client, self.history.clone())).await;
            match checked {
                Ok(Ok(())) => {}
                Ok(Err(detail)) | Err(detail) => self.violated(name, detail),
            }
        }
        self.answers_are_the_same().await;
        for (promise, detail) in self.shared.take_complaints() {
            self.violated(promise, detail);
        }
    }

    /// Waits for something that should not take long; a panic in it is an error.
    async fn within<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let mut working = Ending(tokio::spawn(work));
        match tokio::time::timeout(minutes(30), &mut working.0).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => Err(said(panic.as_ref())),
                Err(error) => Err(error.to_string()),
            },
            Err(_) => Err(format!("it is never done: {}", self.shown())),
        }
    }

    /// Everything said was heard: applied, refused, or thrown away by somebody.
    fn streams_are_settled(&mut self) {
        let report = self.test.system().report();
        for stream in &report.streams {
            let left = (stream.waiting, stream.parked, stream.dead);
            let ended = stream.applied + stream.rejected + stream.discarded;
            if left != (0, 0, 0) || stream.sent != stream.accepted || stream.accepted != ended {
                self.violated("streams", format!("{stream:?}"));
            }
        }
        for service in &report.services {
            let left = (service.parked, service.activities, service.dead_letters);
            if service.state != "running" || left != (0, 0, 0) {
                self.violated("streams", format!("{service:?}"));
            }
        }
    }

    /// Asks everything again that was answered.
    async fn answers_are_the_same(&mut self) {
        let client = Client::new(self.shared.clone(), "again", 0);
        for replay in self.shared.take_replays() {
            let again = self.within((replay.again)(client.clone())).await;
            let now = match again {
                Ok(now) if now == replay.answer => continue,
                Ok(Ok(reply)) => format!("a reply of {} bytes that differs", reply.len()),
                Ok(Err(no)) => format!("a refusal: {no:?}"),
                Err(error) => error,
            };
            let before = match replay.answer {
                Ok(reply) => format!("a reply of {} bytes", reply.len()),
                Err(no) => format!("a refusal: {no:?}"),
            };
            let what = replay.what;
            self.violated("answers", format!("{what} was {before}, then {now}"));
        }
    }

    fn note(&self, what: &str) {
        self.shared.trace.line(format_args!("{what}"));
    }

    fn violated(&mut self, checker: &str, detail: String) {
        let trace = &self.shared.trace;
        trace.line(format_args!("violation of {checker}: {detail}"));
        self.violations.push(Violation {
            checker: checker.to_owned(),
            detail,
        });
    }

    fn shown(&self) -> String {
        match self.test.is_started() {
            true => format!("{:?}", self.test.system().report()),
            false => "the system is down".to_owned(),
        }
    }
}

fn is_closed(system: &System) -> bool {
    matches!(system.cell().store.usage().state, CellState::Closed(_))
}

/// What a panic says.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text").to_owned()
}

/// A task that ends with its owner.
struct Ending<T>(JoinHandle<T>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the event feed as somebody outside would, over all lives of the system: what was shown
/// under a number stays there.
async fn read_events(client: Client, shared: Arc<Shared>) {
    use crate::commit::EventNumber;
    use crate::feed::FeedItem;

    /// So many events back a new life is asked again what it shows.
    const BACK: usize = 200;
    let mut seen: std::collections::VecDeque<(u64, u64)> = std::collections::VecDeque::new();
    loop {
        let feed = client.system().await.events();
        let first = seen.front().map_or(0, |(number, _)| number - 1);
        let mut after = EventNumber(first);
        loop {
            let Ok(page) = feed.read(after, 256).await else {
                break;
            };
            for item in &page.items {
                let event = match item {
                    FeedItem::Event(event) => event,
                    FeedItem::Gap(gap) => {
                        let last = seen.back().map_or(0, |(number, _)| *number);
                        shared.complain("events", format!("{gap:?} after number {last}"));
                        continue;
                    }
                };
                let number = event.number.0;
                let mut digest = Digest::default();
                digest.bytes(event.id.0.as_bytes());
                digest.bytes(event.name.as_bytes());
                digest.bytes(&event.json().unwrap_or_default());
                let digest = digest.value();
                let last = seen.back().map_or(0, |(number, _)| *number);
                if number > last + 1 {
                    let detail = format!("number {number} follows {last}");
                    shared.complain("events", detail);
                }
                if number > last {
                    seen.push_back((number, digest));
                    if seen.len() > BACK {
                        seen.pop_front();
                    }
                } else if !seen.contains(&(number, digest)) {
                    let detail = format!("number {number} is another event than before: {event:?}");
                    shared.complain("events", detail);
                }
            }
            if page.items.is_empty() && feed.news(page.through).await.is_none() {
                break;
            }
            after = page.through;
        }
        drop(feed);
        // The system is on its way down, and somebody will notice.
        client.sleep(Duration::from_millis(500)).await;
    }
}
