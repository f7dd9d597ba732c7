//! Supervision: what fails is restarted; what keeps failing is a failed service, alone.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Log, service, small, stream};
use redeliver::prelude::*;
use redeliver::testing::{Child, TestSystem, TransportFaults};
use redeliver::{CallError, Strategy, SystemBuilder};

messages! {
    Work = "work" { n: u64 }
    Worked = "worked" { n: u64 }
    Misuse = "misuse" { how: String }
    Count = "count" {}
}
impl Command for Work {
    type Reply = ();
}
impl Command for Misuse {
    type Reply = ();
}
impl Event for Worked {}
impl Query for Count {
    type Answer = u64;
}

const DONE: Table<u64, u64> = Table::new("done");
/// The same rows, read as something else.
const MISREAD: Table<u64, String> = Table::new("done");
const LARGE: Table<u64, String> = Table::new("large");
const FOREIGN: Table<u64, u64> = Table::new("foreign");

/// Publishes what it is asked to.
struct Source;

impl Service for Source {
    const NAME: &'static str = "source";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, work: Work, cx: &mut Context<Self>| {
            cx.publish(Worked { n: work.n });
            Ok(())
        })
        .publishes::<Worked>();
    }
}

trait Kind: Send + Sync + 'static {
    fn supervision() -> Supervision;
}

/// Counts what it hears; panics while `broken`, over everything or over odd numbers.
struct Worker<K> {
    log: Log,
    broken: Arc<AtomicBool>,
    kind: std::marker::PhantomData<K>,
}

impl<K> Clone for Worker<K> {
    fn clone(&self) -> Self {
        Worker {
            log: self.log.clone(),
            broken: self.broken.clone(),
            kind: self.kind,
        }
    }
}

impl<K> Default for Worker<K> {
    fn default() -> Self {
        Worker {
            log: Log::default(),
            broken: Arc::default(),
            kind: std::marker::PhantomData,
        }
    }
}

impl<K: Kind> Service for Worker<K> {
    const NAME: &'static str = "worker";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(DONE)
            .table(LARGE)
            .event(Self::worked)
            .command(Self::misuse)
            .activity::<Errand>(|worker: &Self, _, _| {
                worker.log.add("errand done");
                Ok(())
            })
            .query(Self::count)
            .supervision(K::supervision());
    }
}

impl<K: Kind> Worker<K> {
    fn worked(&self, worked: Worked, cx: &mut Context<Self>) -> Result<(), Rejection> {
        assert!(
            !self.broken.load(Ordering::Relaxed),
            "broken at {}",
            worked.n
        );
        self.log.add(format!("worked {}", worked.n));
        if worked.n == 5_000 {
            // The handler swallows the error; the turn must not commit all the same.
            let _ = cx.get(MISREAD, &1);
        }
        if worked.n == 7_000 {
            cx.plan(Errand {});
        }
        if worked.n == 9_000 {
            too_much(cx)?;
        }
        cx.put(DONE, &worked.n, &worked.n)?;
        Ok(())
    }
    fn misuse(&self, misuse: Misuse, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.put(DONE, &99, &99)?;
        match misuse.how.as_str() {
            "undeclared" => drop(cx.get(FOREIGN, &1)),
            "large" => too_much(cx)?,
            "misread" => drop(cx.get(MISREAD, &1)),
            _ => panic!("misused"),
        }
        Ok(())
    }
    fn count(&self, _: Count, view: &View<Self>) -> Result<u64, Rejection> {
        Ok(view.scan(DONE, &Span::all())?.len() as u64)
    }
}

/// Each row is fine, all together are too much for one commit.
fn too_much<S: Service>(cx: &mut Context<S>) -> Result<(), Rejection> {
    let row = "x".repeat(8 << 20);
    for n in 0..5 {
        cx.put(LARGE, &n, &row)?;
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Errand {}

impl<K: Kind> Activity<Worker<K>> for Errand {
    const NAME: &'static str = "errand";
    const DESTINATION: &'static str = "town";
    const IDEMPOTENT: bool = true;
    type Output = ();
    async fn run(
        self,
        worker: Arc<Worker<K>>,
        _: ActivityContext,
    ) -> Result<(), redeliver::ActivityError> {
        worker.log.add("errand begun");
        tokio::time::sleep(seconds(1)).await;
        Ok(())
    }
}

macro_rules! kinds {
    ($($name:ident $supervision:expr;)*) => {$(
        struct $name;
        impl Kind for $name {
            fn supervision() -> Supervision { $supervision }
        }
    )*};
}
kinds! {
    OneForOne Supervision { restarts_max: 3, ..Supervision::default() };
    OneForAll Supervision { strategy: Strategy::OneForAll, restarts_max: 3, ..Supervision::default() };
    RestForOne Supervision { strategy: Strategy::RestForOne, restarts_max: 3, ..Supervision::default() };
    Alone Supervision { restarts_max: 1, revive_after: None, ..Supervision::default() };
}

async fn start<K: Kind>(seed: u64) -> (TestSystem, Worker<K>) {
    let worker = Worker::<K>::default();
    let build = worker.clone();
    let system = move |system: SystemBuilder| {
        system
            .config(small())
            .service(Source)
            .service(build.clone())
    };
    let test = TestSystem::start(seed, system).await.unwrap();
    test.quiet().await;
    (test, worker)
}

async fn work(test: &TestSystem, n: u64) {
    test.system()
        .service::<Source>()
        .call(Work { n })
        .await
        .unwrap();
}

async fn count<K: Kind>(test: &TestSystem) -> Result<u64, CallError> {
    test.system().service::<Worker<K>>().query(Count {}).await
}

fn state(test: &TestSystem, name: &str) -> String {
    service(test.system(), name).state
}

fn unhealthy(test: &TestSystem) -> Vec<String> {
    let health = test.system().health();
    let bad: Vec<_> = health
        .checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.name.clone())
        .collect();
    assert_eq!(health.ready, bad.is_empty());
    bad
}

/// Waits until a service is failed.
async fn until_failed(test: &TestSystem, name: &str) {
    for _ in 0..100_000 {
        if state(test, name) == "failed" {
            return;
        }
        test.advance(Duration::from_millis(1)).await;
    }
    panic!("{name} does not fail: {:?}", service(test.system(), name));
}

#[tokio::test(start_paused = true)]
async fn any_child_that_dies_is_restarted_under_every_strategy_and_nothing_is_lost() {
    async fn check<K: Kind>() {
        for child in [Child::Service, Child::Relay, Child::Pool] {
            let (test, worker) = start::<K>(1).await;
            work(&test, 1).await;
            work(&test, 7_000).await;
            for _ in 0..3 {
                assert!(test.break_child("worker", child));
                assert!(test.break_child("source", child));
                test.advance(Duration::from_millis(300)).await;
                assert_eq!(state(&test, "worker"), "running");
            }
            assert_eq!(service(test.system(), "worker").restarts, 3, "{child:?}");
            work(&test, 2).await;
            test.quiet().await;
            assert_eq!(count::<K>(&test).await.unwrap(), 3, "{child:?}");
            assert_eq!(
                worker.log.count("errand done"),
                1,
                "{child:?}: {:?}",
                worker.log.lines()
            );
        }
    }
    check::<OneForOne>().await;
    check::<OneForAll>().await;
    check::<RestForOne>().await;
}

#[tokio::test(start_paused = true)]
async fn a_strategy_restarts_the_pool_with_its_siblings_or_leaves_it() {
    // An errand that is under way begins anew exactly when its pool does.
    async fn begun<K: Kind>(child: Child) -> usize {
        let (test, worker) = start::<K>(2).await;
        work(&test, 7_000).await;
        test.advance(Duration::from_millis(100)).await;
        test.break_child("worker", child);
        test.quiet().await;
        assert_eq!(worker.log.count("errand done"), 1);
        worker.log.count("errand begun")
    }
    assert_eq!(begun::<OneForOne>(Child::Relay).await, 1);
    assert_eq!(begun::<OneForOne>(Child::Pool).await, 2);
    assert_eq!(begun::<OneForAll>(Child::Service).await, 2);
    assert_eq!(begun::<OneForAll>(Child::Relay).await, 2);
    assert_eq!(begun::<RestForOne>(Child::Relay).await, 2);
    assert_eq!(begun::<RestForOne>(Child::Service).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_is_tried_again_and_the_whole_tree_runs_afterwards() {
    async fn check<K: Kind>() {
        let worker = Worker::<K>::default();
        let build = worker.clone();
        let mut test = TestSystem::prepare(3, move |system| {
            system
                .config(small())
                .service(Source)
                .service(build.clone())
        });
        test.fail_loads("worker", 2);
        test.reopen().await.unwrap();
        test.quiet().await;
        assert_eq!(state(&test, "worker"), "running");
        work(&test, 7_000).await;
        test.quiet().await;
        assert_eq!(worker.log.count("errand done"), 1);
    }
    check::<OneForOne>().await;
    check::<OneForAll>().await;
    check::<RestForOne>().await;
}

#[tokio::test(start_paused = true)]
async fn restarts_beyond_the_intensity_fail_the_service_and_only_it() {
    let (test, _) = start::<Alone>(4).await;
    test.break_child("worker", Child::Relay);
    test.advance(Duration::from_millis(10)).await;
    assert_eq!(state(&test, "worker"), "running");
    test.break_child("worker", Child::Pool);
    until_failed(&test, "worker").await;
    assert_eq!(unhealthy(&test), ["service:worker"]);
    let error = count::<Alone>(&test).await.unwrap_err();
    assert!(
        matches!(&error, CallError::ServiceFailed { service, .. } if service == "worker"),
        "{error}"
    );
    // The other goes on, and what it sends waits.
    work(&test, 1).await;
    work(&test, 2).await;
    assert_eq!(state(&test, "source"), "running");
    test.advance(hours(10)).await;
    assert_eq!(state(&test, "worker"), "failed", "nobody has revived it");
    assert_eq!(stream(test.system(), "source", "worker").waiting, 2);
    assert!(test.system().revive("worker"));
    test.advance(Duration::from_millis(10)).await;
    assert_eq!(unhealthy(&test), [""; 0]);
    assert_eq!(count::<Alone>(&test).await.unwrap(), 2);
    assert!(!test.system().revive("nobody"));
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_was_due_does_not_start_a_service_that_has_failed_meanwhile() {
    let (test, _) = start::<OneForOne>(5).await;
    // One restart at once, the others after a back-off in which the rest of the tree dies.
    for child in [Child::Relay, Child::Service, Child::Pool, Child::Relay] {
        test.break_child("worker", child);
        test.advance(Duration::from_millis(1)).await;
    }
    until_failed(&test, "worker").await;
    test.advance(seconds(1)).await;
    assert_eq!(state(&test, "worker"), "failed");
    work(&test, 1).await;
    test.advance(seconds(1)).await;
    assert_eq!(
        stream(test.system(), "source", "worker").waiting,
        1,
        "nothing of it runs"
    );
}

#[tokio::test(start_paused = true)]
async fn twenty_different_messages_in_a_row_fail_the_service_which_revives_by_itself() {
    let (test, worker) = start::<OneForAll>(6).await;
    worker.broken.store(true, Ordering::Relaxed);
    for n in 1..=25 {
        work(&test, n).await;
    }
    until_failed(&test, "worker").await;
    let report = stream(test.system(), "source", "worker");
    assert_eq!((report.parked, report.waiting), (20, 5));
    worker.broken.store(false, Ordering::Relaxed);
    test.advance(seconds(59)).await;
    assert_eq!(state(&test, "worker"), "failed");
    test.advance(seconds(2)).await;
    test.quiet().await;
    assert_eq!(count::<OneForAll>(&test).await.unwrap(), 25);
    assert_eq!(stream(test.system(), "source", "worker").dead, 0);
    assert_eq!(unhealthy(&test), [""; 0]);
}

/// Nothing succeeds in between, as when one caller repeats its request through a quiet night.
#[tokio::test(start_paused = true)]
async fn a_request_that_panics_may_be_repeated_at_will_without_failing_the_service() {
    let (test, _) = start::<OneForAll>(10).await;
    let handle = test.system().service::<Worker<OneForAll>>();
    for _ in 0..50 {
        let error = handle
            .call(Misuse {
                how: "panic".into(),
            })
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Panicked { .. }), "{error}");
    }
    assert_eq!(state(&test, "worker"), "running");
    assert_eq!(service(test.system(), "worker").panics, 50);
    work(&test, 1).await;
    test.quiet().await;
    assert_eq!(count::<OneForAll>(&test).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_early_revival_is_not_followed_by_another_one_that_was_due() {
    let (test, worker) = start::<OneForAll>(7).await;
    worker.broken.store(true, Ordering::Relaxed);
    for n in 1..=20 {
        work(&test, n).await;
    }
    until_failed(&test, "worker").await;
    test.advance(seconds(50)).await;
    // Revived by an operator, it fails again at once over twenty new messages.
    assert!(test.system().revive("worker"));
    for n in 21..=60 {
        work(&test, n).await;
    }
    until_failed(&test, "worker").await;
    worker.broken.store(false, Ordering::Relaxed);
    test.advance(seconds(30)).await;
    assert_eq!(
        state(&test, "worker"),
        "failed",
        "its own minute has not passed"
    );
    test.advance(seconds(60)).await;
    test.quiet().await;
    assert_eq!(count::<OneForAll>(&test).await.unwrap(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_tainted_turn_fails_its_service_and_commits_nothing_and_costs_no_attempt() {
    for how in ["undeclared", "misread"] {
        let (mut test, _) = start::<OneForOne>(8).await;
        work(&test, 1).await;
        test.quiet().await;
        let handle = test.system().service::<Worker<OneForOne>>();
        let error = handle.call(Misuse { how: how.into() }).await.unwrap_err();
        assert!(
            matches!(error, CallError::ServiceFailed { .. }),
            "{how}: {error}"
        );
        until_failed(&test, "worker").await;
        test.system().revive("worker");
        test.advance(Duration::from_millis(10)).await;
        assert_eq!(count::<OneForOne>(&test).await.unwrap(), 1, "{how}");
        // The same for a message of another service: it stays where it was.
        work(&test, 5_000).await;
        until_failed(&test, "worker").await;
        let report = stream(test.system(), "source", "worker");
        assert_eq!(
            (report.accepted, report.waiting, report.parked, report.dead),
            (1, 1, 0, 0)
        );
        assert_eq!(service(test.system(), "worker").panics, 0);
        test.crash();
        test.reopen().await.unwrap();
        until_failed(&test, "worker").await;
        assert_eq!(stream(test.system(), "source", "worker").waiting, 1);
        assert_eq!(state(&test, "source"), "running");
    }
}

#[tokio::test(start_paused = true)]
async fn panics_between_which_the_service_answers_are_not_in_a_row() {
    let (test, worker) = start::<OneForAll>(11).await;
    worker.broken.store(true, Ordering::Relaxed);
    for n in 1..=60 {
        work(&test, n).await;
        test.advance(Duration::from_millis(1)).await;
        assert_eq!(count::<OneForAll>(&test).await.unwrap(), 0);
    }
    assert_eq!(state(&test, "worker"), "running");
    worker.broken.store(false, Ordering::Relaxed);
    test.quiet().await;
    assert_eq!(count::<OneForAll>(&test).await.unwrap(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_failed_service_does_not_keep_the_system_from_draining() {
    let (mut test, worker) = start::<OneForAll>(9).await;
    worker.broken.store(true, Ordering::Relaxed);
    for n in 1..=25 {
        work(&test, n).await;
    }
    until_failed(&test, "worker").await;
    test.system().shutdown(seconds(5)).await.unwrap();
    worker.broken.store(false, Ordering::Relaxed);
    test.reopen().await.unwrap();
    test.quiet().await;
    assert!(test.system().report().recovered.clean);
    assert_eq!(count::<OneForAll>(&test).await.unwrap(), 25);
}

#[tokio::test(start_paused = true)]
async fn children_that_die_over_a_faulty_transport_lose_nothing() {
    for seed in 0..5 {
        let (test, _) = start::<Sturdy>(seed).await;
        test.transport_with(TransportFaults {
            loss: 0.2,
            duplication: 0.2,
            delay_max: Duration::from_millis(3),
        });
        let children = [Child::Service, Child::Relay, Child::Pool];
        for n in 1..=40u64 {
            work(&test, n).await;
            if n % 4 == 0 {
                test.break_child("worker", children[n as usize / 4 % 3]);
            }
            if n % 5 == 0 {
                // The source itself has the default limit of five restarts within ten seconds.
                test.advance(seconds(10)).await;
                test.break_child("source", children[n as usize / 5 % 3]);
            }
            test.advance(Duration::from_millis(2)).await;
        }
        test.quiet().await;
        assert_eq!(count::<Sturdy>(&test).await.unwrap(), 40, "seed {seed}");
        let report = stream(test.system(), "source", "worker");
        assert_eq!((report.sent, report.applied), (40, 40), "seed {seed}");
    }
}
#[tokio::test(start_paused = true)]
async fn a_turn_too_large_to_commit_is_charged_to_its_message_and_not_to_the_service() {
    let (test, _) = start::<Impatient>(10).await;
    let handle = test.system().service::<Worker<Impatient>>();
    let error = handle
        .call(Misuse {
            how: "large".into(),
        })
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::Malformed(why) if why.contains("split the turn")),
        "{error}"
    );
    work(&test, 9_000).await;
    work(&test, 1).await;
    test.quiet().await;
    assert_eq!(state(&test, "worker"), "running");
    assert_eq!(count::<Impatient>(&test).await.unwrap(), 1);
    let letters = test.system().dead_letters("worker", 10).unwrap();
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
}

kinds! {
    Impatient Supervision { attempts_max: 2, ..Supervision::default() };
    Sturdy Supervision { restarts_max: 1_000, ..Supervision::default() };
}
