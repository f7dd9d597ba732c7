//! Timers: durable wake-ups that go off once, in order, and never early.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use common::small;
use redeliver::clock::Clock;
use redeliver::prelude::*;
use redeliver::testing::TestSystem;
use redeliver::{CallError, DeadReason, SystemBuilder, TimerId};

use crate::common::Log;

messages! {
    Remind = "remind" { n: u64, after_ms: u64 }
    Forget = "forget" { timer: TimerId }
    RemindMany = "remind-many" { times: u64, after_ms: u64 }
    Due = "due" { n: u64 }
    Stray = "stray" {}
    SetStray = "set-stray" {}
    Fired = "fired" {}
}
impl Command for Remind {
    type Reply = TimerId;
}
impl Command for Forget {
    type Reply = ();
}
impl Command for RemindMany {
    type Reply = ();
}
impl Command for SetStray {
    type Reply = ();
}
impl Query for Fired {
    type Answer = Vec<(u64, i64)>;
}

const FIRED: Table<u64, (u64, i64)> = Table::new("fired");

/// Notes what was due and when it went off. Number 13 panics.
struct Reminders(Log);

impl Service for Reminders {
    const NAME: &'static str = "reminders";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(FIRED)
            .command(Self::remind)
            .command(Self::remind_many)
            .command(Self::forget)
            .command(Self::set_stray)
            .timer(Self::due)
            .query(Self::fired);
    }
}

impl Reminders {
    fn remind(&self, remind: Remind, cx: &mut Context<Self>) -> Result<TimerId, Rejection> {
        let after = std::time::Duration::from_millis(remind.after_ms);
        Ok(cx.after(after, Due { n: remind.n }))
    }
    fn remind_many(&self, many: RemindMany, cx: &mut Context<Self>) -> Result<(), Rejection> {
        for n in 0..many.times {
            let after = std::time::Duration::from_millis(many.after_ms);
            cx.after(after, Due { n: 1_000 + n });
        }
        Ok(())
    }
    fn forget(&self, forget: Forget, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.cancel(forget.timer);
        Ok(())
    }
    fn set_stray(&self, _: SetStray, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.after(seconds(1), Stray {});
        Ok(())
    }
    fn due(&self, due: Due, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.0.add(format!("due {}", due.n));
        assert!(due.n != 13, "thirteen");
        let place = cx.scan(FIRED, &Span::all().limit(10_000))?.len() as u64;
        let now = cx.now().0;
        cx.put(FIRED, &place, &(due.n, now))?;
        Ok(())
    }
    fn fired(&self, _: Fired, view: &View<Self>) -> Result<Vec<(u64, i64)>, Rejection> {
        let rows = view.scan(FIRED, &Span::all().limit(10_000))?;
        Ok(rows.into_iter().map(|(_, fired)| fired).collect())
    }
}

fn reminders(log: &Log) -> impl Fn(SystemBuilder) -> SystemBuilder + Send + Sync + 'static {
    let log = log.clone();
    move |system| system.config(small()).service(Reminders(log.clone()))
}

async fn remind(test: &TestSystem, n: u64, after_ms: u64) -> TimerId {
    let service = test.system().service::<Reminders>();
    service.call(Remind { n, after_ms }).await.unwrap()
}

async fn fired(test: &TestSystem) -> Vec<(u64, i64)> {
    let service = test.system().service::<Reminders>();
    service.query(Fired {}).await.unwrap()
}

async fn numbers(test: &TestSystem) -> Vec<u64> {
    fired(test).await.into_iter().map(|(n, _)| n).collect()
}

fn timers(test: &TestSystem) -> u64 {
    test.system().report().services[0].timers
}

#[tokio::test(start_paused = true)]
async fn timers_survive_power_loss_kill_and_restart_and_go_off_once_and_not_early() {
    let log = Log::default();
    let mut test = TestSystem::start(1, reminders(&log)).await.unwrap();
    let set_at = test.clock().wall();
    for n in 1..=5 {
        remind(&test, n, n * 1_000).await;
    }
    test.advance(seconds(1) / 2).await;
    test.crash();
    test.reopen().await.unwrap();
    test.quiet().await;
    assert_eq!(timers(&test), 5);
    test.advance(seconds(1)).await;
    assert_eq!(numbers(&test).await, [1]);
    test.kill();
    test.reopen().await.unwrap();
    test.advance(seconds(1)).await;
    assert_eq!(numbers(&test).await, [1, 2]);
    // What falls due while nobody runs goes off at the next start.
    test.system().shutdown(seconds(1)).await.unwrap();
    test.advance(seconds(10)).await;
    test.reopen().await.unwrap();
    test.advance(seconds(1)).await;
    assert_eq!(numbers(&test).await, [1, 2, 3, 4, 5]);
    for (n, at) in fired(&test).await {
        assert!(at >= set_at.0 + n as i64 * 1_000_000, "{n} went off early");
    }
    test.advance(hours(1)).await;
    assert_eq!(log.lines().len(), 5, "{:?}", log.lines());
    assert_eq!(timers(&test), 0);
}

#[tokio::test(start_paused = true)]
async fn timers_go_off_in_the_order_of_their_times() {
    let test = TestSystem::start(2, reminders(&Log::default()))
        .await
        .unwrap();
    for (n, after_ms) in [(1, 500), (2, 100), (3, 300), (4, 0), (5, 200)] {
        remind(&test, n, after_ms).await;
    }
    test.advance(seconds(1)).await;
    assert_eq!(numbers(&test).await, [4, 2, 5, 3, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_timer_does_not_go_off_and_cancelling_twice_is_harmless() {
    let log = Log::default();
    let mut test = TestSystem::start(3, reminders(&log)).await.unwrap();
    let first = remind(&test, 1, 1_000).await;
    let second = remind(&test, 2, 1_000).await;
    let service = test.system().service::<Reminders>();
    service.call(Forget { timer: first }).await.unwrap();
    service.call(Forget { timer: first }).await.unwrap();
    test.crash();
    test.reopen().await.unwrap();
    test.advance(seconds(2)).await;
    assert_eq!(log.lines(), ["due 2"]);
    let service = test.system().service::<Reminders>();
    service.call(Forget { timer: second }).await.unwrap();
    test.advance(seconds(2)).await;
    assert_eq!(log.lines(), ["due 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_on_time_whatever_was_set_and_cancelled_before_it() {
    let test = TestSystem::start(9, reminders(&Log::default()))
        .await
        .unwrap();
    let began = test.clock().wall().0;
    let cancelled = remind(&test, 1, 1_000).await;
    let service = test.system().service::<Reminders>();
    let forget = Forget { timer: cancelled };
    service.call(forget).await.unwrap();
    remind(&test, 2, 3_000).await;
    remind(&test, 3, 500).await;
    test.advance(seconds(2)).await;
    remind(&test, 4, 500).await;
    test.advance(seconds(2)).await;
    let fired = fired(&test).await;
    let after_ms: Vec<(u64, i64)> = fired
        .iter()
        .map(|(n, at)| (*n, (at - began) / 1_000))
        .collect();
    let on_time = [(3, 500), (4, 2_500), (2, 3_000)];
    for ((n, at), (expected, due)) in after_ms.iter().zip(on_time) {
        assert_eq!(*n, expected, "{after_ms:?}");
        assert!((due..due + 50).contains(at), "{after_ms:?}");
    }
    assert_eq!(after_ms.len(), 3, "{after_ms:?}");
}

#[tokio::test(start_paused = true)]
async fn many_timers_due_at_once_all_go_off_and_requests_are_answered_meanwhile() {
    let log = Log::default();
    let mut test = TestSystem::start(4, reminders(&log)).await.unwrap();
    let service = test.system().service::<Reminders>();
    service
        .call(RemindMany {
            times: 500,
            after_ms: 1_000,
        })
        .await
        .unwrap();
    assert_eq!(timers(&test), 500);
    test.advance(seconds(1)).await;
    service
        .call(Remind {
            n: 1,
            after_ms: 3_600_000,
        })
        .await
        .unwrap();
    test.crash();
    test.reopen().await.unwrap();
    test.advance(seconds(2)).await;
    let mut all = numbers(&test).await;
    all.sort_unstable();
    assert_eq!(all, (1_000..1_500).collect::<Vec<_>>());
    assert_eq!(timers(&test), 1);
}

#[tokio::test(start_paused = true)]
async fn a_timer_whose_handler_panics_is_tried_again_and_finally_a_dead_letter() {
    let log = Log::default();
    let mut test = TestSystem::start(5, reminders(&log)).await.unwrap();
    remind(&test, 13, 100).await;
    remind(&test, 1, 150).await;
    test.advance(std::time::Duration::from_millis(160)).await;
    assert_eq!(log.lines(), ["due 13", "due 1"], "other timers go on");
    test.crash();
    test.reopen().await.unwrap();
    test.quiet().await;
    assert_eq!(log.count("due 13"), 5);
    let letters = test.system().dead_letters("reminders", 10).unwrap();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (letter.message.as_str(), letter.reason, letter.attempts),
        ("due", DeadReason::Exhausted, 5)
    );
    assert!(
        test.system()
            .discard("reminders", &letter.id)
            .await
            .unwrap()
    );
    test.advance(hours(1)).await;
    assert_eq!(log.count("due 13"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_timer_nobody_handles_cannot_be_set() {
    let mut test = TestSystem::start(6, reminders(&Log::default()))
        .await
        .unwrap();
    let service = test.system().service::<Reminders>();
    let error = service.call(SetStray {}).await.unwrap_err();
    assert!(
        matches!(&error, CallError::ServiceFailed { reason, .. }
        if reason.contains("timer `stray`")),
        "{error}"
    );
    test.reopen().await.unwrap();
}

const DAY: i64 = 86_400_000_000;

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_forward_is_followed_within_a_second() {
    let log = Log::default();
    let test = TestSystem::start(7, reminders(&log)).await.unwrap();
    remind(&test, 1, 23 * 3_600_000).await;
    remind(&test, 2, 25 * 3_600_000).await;
    test.advance(seconds(5)).await;
    test.clock().jump(DAY);
    test.advance(seconds(2)).await;
    assert_eq!(log.lines(), ["due 1"]);
    test.advance(hours(1)).await;
    assert_eq!(log.lines(), ["due 1", "due 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_back_is_waited_out_and_time_never_goes_back() {
    let log = Log::default();
    let mut test = TestSystem::start(8, reminders(&log)).await.unwrap();
    remind(&test, 1, 0).await;
    test.advance(seconds(1)).await;
    test.clock().jump(-DAY);
    remind(&test, 2, 0).await;
    remind(&test, 3, 3_600_000).await;
    // Neither does a restart bring the earlier time back.
    test.crash();
    test.reopen().await.unwrap();
    remind(&test, 4, 0).await;
    test.advance(hours(24)).await;
    assert_eq!(log.count("due 3"), 0);
    test.advance(hours(1) + minutes(1)).await;
    let fired = fired(&test).await;
    let times: Vec<i64> = fired.iter().map(|(_, at)| *at).collect();
    assert!(times.is_sorted(), "{fired:?}");
    let mut numbers = numbers(&test).await;
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
}
