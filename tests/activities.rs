//! Activities: after their turn is durable, retried, never run blindly when their outcome is
//! unknown, and ended once.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Log, service, small};
use redeliver::prelude::*;
use redeliver::testing::{Child, TestSystem};
use redeliver::{ActivityError, DeadReason, SystemBuilder};

messages! {
    Pay = "pay" { n: u64 }
    Call = "call" { n: u64 }
    Ended = "ended" {}
}
impl Command for Pay {
    type Reply = ();
}
impl Command for Call {
    type Reply = ();
}
impl Query for Ended {
    type Answer = Vec<(u64, String)>;
}

const ENDED: Table<u64, (u64, String)> = Table::new("ended");

/// The world outside: survives every crash, and does what it is told to per number.
#[derive(Default, Clone)]
struct World {
    log: Log,
    /// What the attempts at a number come to, in order; then they succeed.
    plan: Arc<Mutex<BTreeMap<u64, Vec<Act>>>>,
    /// What was really done, by number and idempotency key.
    done: Arc<Mutex<Vec<(u64, String)>>>,
    running: Arc<Mutex<usize>>,
    running_max: Arc<Mutex<usize>>,
    starts: Arc<Mutex<Vec<(u64, Duration)>>>,
    /// How often the handler of the end of a number shall panic.
    panics: Arc<Mutex<BTreeMap<u64, u32>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Transient,
    Refuse,
    Hang,
    /// Takes effect, but nobody hears of it.
    DoneUnheard,
    Panic,
    Slow,
    /// In reconciliation: cannot say.
    Unsure,
}

impl World {
    fn plan(&self, n: u64, acts: &[Act]) {
        self.plan.lock().unwrap().insert(n, acts.to_vec());
    }
    fn next(&self, n: u64) -> Option<Act> {
        let mut plan = self.plan.lock().unwrap();
        let acts = plan.get_mut(&n)?;
        (!acts.is_empty()).then(|| acts.remove(0))
    }
    async fn perform(&self, n: u64, cx: &ActivityContext) -> Result<u64, ActivityError> {
        self.log.add(format!("run {n}"));
        self.starts
            .lock()
            .unwrap()
            .push((n, cx.now.since(redeliver::testing::TEST_EPOCH)));
        let _running = Running::begin(self);
        let done = || self.done.lock().unwrap().push((n, cx.key.to_string()));
        match self.next(n) {
            Some(Act::Transient) => return Err(ActivityError::Transient("busy".into())),
            Some(Act::Refuse) => return Err(ActivityError::Refused("no such account".into())),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::DoneUnheard) => {
                done();
                return Err(ActivityError::Unknown("the line went dead".into()));
            }
            Some(Act::Panic) => panic!("the attempt panics"),
            Some(Act::Slow) => tokio::time::sleep(seconds(1)).await,
            Some(Act::Unsure) | None => {}
        }
        done();
        Ok(n)
    }
    fn done(&self, n: u64) -> usize {
        self.done
            .lock()
            .unwrap()
            .iter()
            .filter(|(done, _)| *done == n)
            .count()
    }
}

/// Counts attempts under way, also those that are aborted.
struct Running(World);
impl Running {
    fn begin(world: &World) -> Running {
        let mut running = world.running.lock().unwrap();
        *running += 1;
        let mut max = world.running_max.lock().unwrap();
        *max = (*max).max(*running);
        Running(world.clone())
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap() -= 1;
    }
}

/// Pays (not idempotent: must be reconciled) and calls (idempotent).
struct Payer(World);

impl Service for Payer {
    const NAME: &'static str = "payer";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ENDED)
            .command(|_: &Self, pay: Pay, cx: &mut Context<Self>| {
                cx.plan(Transfer { n: pay.n });
                Ok(())
            })
            .command(|_: &Self, call: Call, cx: &mut Context<Self>| {
                cx.plan(Ring { n: call.n });
                Ok(())
            })
            .activity::<Transfer>(|payer: &Self, ended, cx| {
                payer.ended(ended.input.n, ended.outcome, cx)
            })
            .activity::<Ring>(|payer: &Self, ended, cx| {
                payer.ended(ended.input.n, ended.outcome, cx)
            })
            .query(|_: &Self, _: Ended, view: &View<Self>| {
                Ok(view
                    .scan(ENDED, &Span::all())?
                    .into_iter()
                    .map(|(_, ended)| ended)
                    .collect())
            });
    }
}

impl Payer {
    fn ended(
        &self,
        n: u64,
        outcome: Outcome<u64>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.0.log.add(format!("ended {n}"));
        let panics = match self.0.panics.lock().unwrap().get_mut(&n) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        };
        assert!(!panics, "the end of {n} panics");
        let place = cx.scan(ENDED, &Span::all())?.len() as u64;
        let word = match outcome {
            Outcome::Done(output) => format!("done {output}"),
            Outcome::Failed(reason) => format!("failed: {reason}"),
            Outcome::GaveUp { attempts, .. } => format!("gave up after {attempts}"),
        };
        cx.put(ENDED, &place, &(n, word))?;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    n: u64,
}
impl Activity<Payer> for Transfer {
    const NAME: &'static str = "transfer";
    const DESTINATION: &'static str = "bank";
    const IDEMPOTENT: bool = false;
    type Output = u64;
    async fn run(self, payer: Arc<Payer>, cx: ActivityContext) -> Result<u64, ActivityError> {
        payer.0.perform(self.n, &cx).await
    }
    async fn reconcile(
        self,
        payer: Arc<Payer>,
        cx: ActivityContext,
    ) -> Result<Reconciled<u64>, ActivityError> {
        payer.0.log.add(format!("reconcile {}", self.n));
        if payer
            .0
            .plan
            .lock()
            .unwrap()
            .get(&self.n)
            .and_then(|acts| acts.first())
            == Some(&Act::Unsure)
        {
            payer.0.next(self.n);
            return Ok(Reconciled::StillUnknown);
        }
        let key = cx.key.to_string();
        let done = payer.0.done.lock().unwrap().contains(&(self.n, key));
        Ok(if done {
            Reconciled::Done(self.n)
        } else {
            Reconciled::NotDone
        })
    }
    fn policy(_: &Payer) -> ActivityPolicy {
        ActivityPolicy {
            attempts_max: 4,
            timeout: seconds(5),
            concurrency: 3,
            ..ActivityPolicy::default()
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Ring {
    n: u64,
}
impl Activity<Payer> for Ring {
    const NAME: &'static str = "ring";
    const DESTINATION: &'static str = "exchange";
    const IDEMPOTENT: bool = true;
    type Output = u64;
    async fn run(self, payer: Arc<Payer>, cx: ActivityContext) -> Result<u64, ActivityError> {
        payer.0.perform(self.n, &cx).await
    }
    fn policy(_: &Payer) -> ActivityPolicy {
        ActivityPolicy {
            breaker_failures: 3,
            breaker_open_for: seconds(30),
            backoff: seconds(1),
            ..ActivityPolicy::default()
        }
    }
}

async fn start(seed: u64) -> (TestSystem, World) {
    let world = World::default();
    let build = world.clone();
    let system = move |system: SystemBuilder| system.config(small()).service(Payer(build.clone()));
    let test = TestSystem::start(seed, system).await.unwrap();
    test.quiet().await;
    (test, world)
}

async fn pay(test: &TestSystem, n: u64) {
    test.system()
        .service::<Payer>()
        .call(Pay { n })
        .await
        .unwrap();
}

async fn ended(test: &TestSystem) -> Vec<(u64, String)> {
    test.system()
        .service::<Payer>()
        .query(Ended {})
        .await
        .unwrap()
}

fn done(n: u64) -> (u64, String) {
    (n, format!("done {n}"))
}

#[tokio::test(start_paused = true)]
async fn an_activity_whose_turn_is_lost_has_never_run() {
    let mut lost = 0;
    for seed in 0..20 {
        let (mut test, world) = start(seed).await;
        // The power fails in the very write or sync that would have made the plan durable.
        test.crash_at(1 + seed % 4);
        let payer = test.system().service::<Payer>();
        let call = tokio::spawn(async move { payer.call(Pay { n: 1 }).await });
        test.advance(Duration::from_millis(5)).await;
        let ran = world.log.count("run 1");
        test.crash();
        test.reopen().await.unwrap();
        test.quiet().await;
        let answered = call.await.unwrap().is_ok();
        let planned = ended(&test).await.len();
        assert!(
            planned == 1 || ran == 0,
            "seed {seed}: it ran without its turn"
        );
        assert!(
            planned == 1 || !answered,
            "seed {seed}: it was answered and forgotten"
        );
        lost += usize::from(planned == 0);
    }
    assert!(
        (1..20).contains(&lost),
        "{lost} of 20 lost: nothing was tried"
    );
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_with_back_off_and_refusals_are_final() {
    let (test, world) = start(1).await;
    world.plan(1, &[Act::Transient, Act::Transient, Act::Transient]);
    world.plan(2, &[Act::Refuse]);
    pay(&test, 1).await;
    pay(&test, 2).await;
    test.quiet().await;
    assert_eq!(
        ended(&test).await,
        [(2, "failed: no such account".to_owned()), done(1)]
    );
    assert_eq!((world.log.count("run 1"), world.log.count("run 2")), (4, 1));
    assert_eq!(
        world.log.count("reconcile 1"),
        0,
        "certainly not done: nothing to ask"
    );
    let starts: Vec<Duration> = world
        .starts
        .lock()
        .unwrap()
        .iter()
        .filter(|(n, _)| *n == 1)
        .map(|(_, at)| *at)
        .collect();
    let waits: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waits[0] >= Duration::from_millis(150) && waits[0] <= Duration::from_millis(210),
        "{waits:?}"
    );
    assert!(waits[1] > waits[0] && waits[2] > waits[1], "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn an_activity_gives_up_after_its_attempts() {
    let (test, world) = start(2).await;
    world.plan(1, &[Act::Transient; 10]);
    pay(&test, 1).await;
    test.quiet().await;
    assert_eq!(ended(&test).await, [(1, "gave up after 4".to_owned())]);
    assert_eq!(world.log.count("run 1"), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_is_reconciled_before_it_runs_again() {
    let (test, world) = start(3).await;
    world.plan(1, &[Act::Hang]);
    world.plan(2, &[Act::DoneUnheard]);
    world.plan(3, &[Act::Panic, Act::Unsure]);
    for n in 1..=3 {
        pay(&test, n).await;
    }
    test.quiet().await;
    for n in 1..=3 {
        assert_eq!(world.done(n), 1, "{n}");
        assert!(ended(&test).await.contains(&done(n)), "{n}");
        let order: Vec<String> = world
            .log
            .lines()
            .into_iter()
            .filter(|line| line.ends_with(&format!(" {n}")))
            .collect();
        let expected: &[&str] = match n {
            1 => &["run 1", "reconcile 1", "run 1", "ended 1"],
            2 => &["run 2", "reconcile 2", "ended 2"],
            _ => &["run 3", "reconcile 3", "reconcile 3", "run 3", "ended 3"],
        };
        assert_eq!(order, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_every_unfinished_activity_is_reconciled_first_and_ends_once() {
    for seed in 0..12u64 {
        let (mut test, world) = start(seed).await;
        for n in 1..=6 {
            let acts: &[Act] = if n % 2 == 0 {
                &[Act::Slow]
            } else {
                &[Act::DoneUnheard, Act::Unsure]
            };
            world.plan(n, acts);
            pay(&test, n).await;
        }
        test.advance(Duration::from_millis(100 * (seed % 4))).await;
        let unfinished: Vec<u64> = {
            let ended = ended(&test).await;
            (1..=6).filter(|n| !ended.contains(&done(*n))).collect()
        };
        let before = world.log.lines().len();
        if seed % 2 == 0 {
            test.crash()
        } else {
            test.kill()
        }
        test.reopen().await.unwrap();
        test.quiet().await;
        let after = world.log.lines().split_off(before);
        for n in unfinished {
            let first = after.iter().find(|line| line.ends_with(&format!(" {n}")));
            assert!(
                first
                    .is_some_and(|line| line.starts_with("reconcile") || line.starts_with("ended")),
                "seed {seed}, {n}: {after:?}"
            );
        }
        let mut all = ended(&test).await;
        all.sort();
        assert_eq!(all, (1..=6).map(done).collect::<Vec<_>>(), "seed {seed}");
        for n in [1, 3, 5] {
            assert_eq!(world.done(n), 1, "seed {seed}: {n} was done twice");
        }
        assert_eq!(service(test.system(), "payer").activities, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_one_trial_through_and_then_the_rest() {
    let (test, world) = start(4).await;
    let payer = test.system().service::<Payer>();
    for n in 1..=3 {
        world.plan(n, &[Act::Transient]);
    }
    for n in 1..=3 {
        payer.call(Call { n }).await.unwrap();
    }
    // Three failures in a row have opened the breaker.
    test.advance(Duration::from_millis(100)).await;
    world.log.clear();
    for n in 4..=6 {
        world.plan(n, &[Act::Slow]);
        payer.call(Call { n }).await.unwrap();
    }
    test.advance(seconds(29)).await;
    assert_eq!(world.log.lines(), [""; 0], "nothing goes through");
    // Another destination is not concerned.
    pay(&test, 100).await;
    test.advance(Duration::from_millis(10)).await;
    assert_eq!(world.done(100), 1);
    world.log.clear();
    while world.log.lines().is_empty() {
        test.advance(Duration::from_millis(10)).await;
    }
    assert_eq!(
        world.log.lines().len(),
        1,
        "one trial: {:?}",
        world.log.lines()
    );
    test.quiet().await;
    assert_eq!(
        world
            .log
            .lines()
            .iter()
            .filter(|line| line.starts_with("ended"))
            .count(),
        6
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_attempts_run_at_once_than_their_destination_allows() {
    let (test, world) = start(5).await;
    for n in 1..=10 {
        world.plan(n, &[Act::Slow]);
        pay(&test, n).await;
    }
    test.quiet().await;
    assert_eq!(*world.running_max.lock().unwrap(), 3);
    assert_eq!(ended(&test).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_handler_panics_is_parked_and_handled_again_with_the_same_result() {
    let (mut test, world) = start(6).await;
    world.panics.lock().unwrap().extend([(1, 2), (2, 100)]);
    world.plan(1, &[Act::Refuse]);
    pay(&test, 1).await;
    pay(&test, 2).await;
    pay(&test, 3).await;
    test.advance(Duration::from_millis(20)).await;
    assert_eq!(ended(&test).await, [done(3)], "others are not held up");
    assert_eq!(service(test.system(), "payer").parked, 2);
    test.crash();
    test.reopen().await.unwrap();
    test.quiet().await;
    assert_eq!(
        ended(&test).await,
        [done(3), (1, "failed: no such account".to_owned())]
    );
    assert_eq!((world.log.count("run 1"), world.log.count("run 2")), (1, 1));
    assert_eq!(
        (world.log.count("ended 1"), world.log.count("ended 2")),
        (3, 5)
    );
    let letters = test.system().dead_letters("payer", 10).unwrap();
    assert_eq!(
        (
            letters.len(),
            letters[0].reason,
            letters[0].message.as_str()
        ),
        (1, DeadReason::Exhausted, "transfer")
    );
    world.panics.lock().unwrap().clear();
    assert!(
        test.system()
            .redrive("payer", &letters[0].id)
            .await
            .unwrap()
    );
    test.quiet().await;
    assert_eq!(ended(&test).await[2], done(2));
    assert_eq!(world.log.count("run 2"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_arrives_twice_counts_once() {
    for seed in 0..10u64 {
        let (test, world) = start(seed).await;
        for n in 1..=20 {
            world.plan(n, if n % 3 == 0 { &[Act::Slow] } else { &[] });
            pay(&test, n).await;
            // A new pool finds what the old one had under way, or what had ended just now.
            if (n + seed) % 4 == 0 {
                test.break_child(
                    "payer",
                    if n % 8 < 4 {
                        Child::Pool
                    } else {
                        Child::Service
                    },
                );
                test.advance(seconds(3)).await;
            }
        }
        test.quiet().await;
        let mut all = ended(&test).await;
        all.sort();
        let mut expected: Vec<_> = (1..=20).map(done).collect();
        expected.sort();
        assert_eq!(all, expected, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn panics_anywhere_and_crashes_end_every_activity_once() {
    for seed in 0..6u64 {
        let (mut test, world) = start(seed).await;
        test.panic_with(0.15);
        let mut paid = Vec::new();
        for n in 1..=20 {
            world.plan(
                n,
                match n % 4 {
                    0 => &[Act::Panic],
                    1 => &[Act::Transient],
                    2 => &[Act::DoneUnheard],
                    _ => &[],
                },
            );
            if test
                .system()
                .service::<Payer>()
                .call(Pay { n })
                .await
                .is_ok()
            {
                paid.push(done(n));
            }
            if n % 7 == 0 {
                if seed % 2 == 0 {
                    test.crash()
                } else {
                    test.kill()
                }
                test.reopen().await.unwrap();
            }
        }
        test.panic_with(0.0);
        test.quiet().await;
        let mut all = ended(&test).await;
        all.sort();
        paid.sort();
        assert_eq!(all, paid, "seed {seed}");
    }
}
