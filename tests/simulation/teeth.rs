//! Simulations have teeth: things go wrong in them, and what is wrong is seen.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redeliver::CallError;
use redeliver::prelude::*;
use redeliver::testing::{Client, Simulation, TestSystem};

use super::bank::{Till, bank, with};

#[test]
fn every_kind_of_fault_comes_within_some_seeds_and_nothing_is_lost() {
    let mut kinds = BTreeSet::new();
    let mut crashes = 0;
    for seed in 0..30 {
        let simulated = bank(seed).once(minutes(10));
        assert_eq!(simulated.violations, [], "seed {seed}");
        crashes += simulated.crashes;
        kinds.extend(simulated.faults.into_keys());
    }
    assert!(crashes > 60, "{crashes}");
    for kind in [
        "activities go wrong",
        "activity fails",
        "activity never arrives",
        "activity's answer is lost",
        "actor killed",
        "clock jump",
        "disk error planned",
        "disk full",
        "engine damaged",
        "message delayed",
        "message doubled",
        "message lost",
        "panic",
        "power loss planned",
        "slow disk",
    ] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
}

#[test]
fn without_faults_nothing_goes_wrong() {
    let simulated = bank(1).without_faults().once(minutes(20));
    assert_eq!(simulated.violations, []);
    // The one at the end of every run, which is no accident.
    assert_eq!((simulated.crashes, simulated.faults.len()), (1, 0));
    assert!(simulated.calls > 1_000, "{simulated:?}");
}

#[test]
fn a_bug_of_the_host_is_seen_by_its_check_and_the_failure_says_how_to_repeat_it() {
    let bug = Till {
        forgets_every: Some(50),
    };
    let failed = catch_unwind(AssertUnwindSafe(|| with(5, bug).run(minutes(10))));
    let said = failed.unwrap_err().downcast::<String>().unwrap();
    for part in [
        "seed 5",
        "the_books_are_right: account",
        "REDELIVER_SIM_SEED=5 cargo test",
        "a_bug_of_the_host_is_seen_by_its_check",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[derive(Clone)]
struct Fragile;
impl Service for Fragile {
    const NAME: &'static str = "fragile";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, touch: Touch, _: &mut Context<Self>| {
            assert!(touch.n != 3, "three is too much");
            Ok(())
        });
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Touch {
    n: u64,
}
impl Message for Touch {
    const NAME: &'static str = "touch";
}
impl Command for Touch {
    type Reply = ();
}

#[test]
fn a_handler_that_panics_by_itself_is_seen() {
    let simulated = Simulation::new(1)
        .service(Fragile)
        .workload("finger", 1, async |client: Client, _| {
            for n in 0..3 {
                client.call::<Fragile, _>(Touch { n }).await.unwrap();
            }
            let last = client.system().await.service::<Fragile>();
            let _ = last.call(Touch { n: 3 }).await;
        })
        .once(minutes(1));
    let [violation] = &simulated.violations[..] else {
        panic!("{:?}", simulated.violations);
    };
    assert_eq!(violation.checker, "panics");
    assert!(
        violation.detail.contains("three is too much"),
        "{violation}"
    );
}

#[test]
fn a_workload_that_never_ends_and_one_that_panics_are_seen() {
    let checkers = |work: fn(u64)| {
        let simulated = Simulation::new(1)
            .service(Fragile)
            .workload("worker", 1, move |client: Client, _| async move {
                work(client.index());
                std::future::pending::<()>().await;
            })
            .once(minutes(1));
        let named = simulated.violations.into_iter();
        named.map(|violation| violation.checker).collect::<Vec<_>>()
    };
    assert_eq!(checkers(|_| {}), ["rest"]);
    assert_eq!(checkers(|_| panic!("out of order")), ["workload"]);
}

#[derive(Clone)]
struct Echo;
impl Service for Echo {
    const NAME: &'static str = "echo";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, touch: Touch, cx: &mut Context<Self>| {
            cx.publish(Echoed { n: touch.n });
            Ok(())
        });
        on.event(|_: &Self, echoed: Echoed, cx: &mut Context<Self>| {
            cx.publish(Echoed { n: echoed.n + 1 });
            Ok(())
        })
        .publishes::<Echoed>();
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Echoed {
    n: u64,
}
impl Message for Echoed {
    const NAME: &'static str = "echoed";
}
impl Event for Echoed {}

/// The story: a timer that fired for ever at one moment took all memory of the machine before the
/// minute was over after which a run counts as one without an end.
#[test]
fn a_run_in_which_virtual_time_stands_still_ends_and_says_so() {
    let simulated = Simulation::new(1)
        .without_faults()
        .service(Echo)
        .workload("caller", 1, async |client: Client, _| {
            client.call::<Echo, _>(Touch { n: 1 }).await.unwrap();
        })
        .once(minutes(1));
    let [violation] = &simulated.violations[..] else {
        panic!("{:?}", simulated.violations);
    };
    assert_eq!(violation.checker, "ends", "{violation}");
    let says = |part: &str| assert!(violation.detail.contains(part), "{violation}");
    says("virtual time stands still");
    says("echo takes echoed");
}

/// The story: a caller of a process that was killed between a commit and its sync waited for ever, as
/// its own handle kept the store alive that owed it the answer.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_sync_when_the_process_is_killed_hears_of_it() {
    for power_loss in [false, true] {
        let mut test = TestSystem::start(1, |system| system.service(Fragile))
            .await
            .unwrap();
        let service = test.system().service::<Fragile>();
        let waiting = tokio::spawn(async move { service.call(Touch { n: 1 }).await });
        while test.system().report().store.queued == test.system().report().store.durable {
            tokio::task::yield_now().await;
        }
        match power_loss {
            true => test.crash(),
            false => test.kill(),
        }
        let answer = tokio::time::timeout(minutes(1), waiting).await.unwrap();
        let unknown = matches!(answer, Ok(Err(CallError::OutcomeUnknown { .. })));
        assert!(unknown, "{answer:?}");
    }
}
