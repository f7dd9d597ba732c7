//! Clocks that jump and disks that are slow: what a system makes of them.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::time::Duration;

use redeliver::SystemBuilder;
use redeliver::prelude::*;
use redeliver::testing::TestSystem;

messages! {
    SetAlarm = "set-alarm" { n: u64, after_s: u64 }
    Alarm = "alarm" { n: u64, due: i64 }
    Alarms = "alarms" {}
}
impl Command for SetAlarm {
    type Reply = i64;
}
impl Query for Alarms {
    type Answer = Vec<(u64, i64, i64)>;
}

/// By number of going off: which, when it was due, when it went off.
const RUNG: Table<u64, (u64, i64, i64)> = Table::new("rung");

/// Alarms, and what time it was when each went off.
struct Clocks;
impl Service for Clocks {
    const NAME: &'static str = "clocks";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(RUNG)
            .command(|_, set: SetAlarm, cx| {
                let due = cx.now().plus(seconds(set.after_s));
                cx.at(
                    due,
                    Alarm {
                        n: set.n,
                        due: due.0,
                    },
                );
                Ok(cx.now().0)
            })
            .timer(|_, alarm: Alarm, cx| {
                let place = cx.scan(RUNG, &Span::all().limit(1_000))?.len() as u64;
                let now = cx.now().0;
                Ok(cx.put(RUNG, &place, &(alarm.n, alarm.due, now))?)
            })
            .query(|_, _: Alarms, view| {
                let rows = view.scan(RUNG, &Span::all().limit(1_000))?;
                Ok(rows.into_iter().map(|(_, rung)| rung).collect())
            });
    }
}

fn clocks(system: SystemBuilder) -> SystemBuilder {
    system.config(common::small()).service(Clocks)
}

async fn set(test: &TestSystem, n: u64, after_s: u64) -> i64 {
    let clocks = test.system().service::<Clocks>();
    clocks.call(SetAlarm { n, after_s }).await.unwrap()
}

async fn rung(test: &TestSystem) -> Vec<(u64, i64, i64)> {
    test.quiet().await;
    let clocks = test.system().service::<Clocks>();
    clocks.query(Alarms {}).await.unwrap()
}

const HOUR: u64 = 3_600;
const DAY_MICROS: i64 = 86_400_000_000;

#[tokio::test(start_paused = true)]
async fn however_often_the_clock_jumps_by_a_day_each_timer_goes_off_once_and_not_early() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut test = TestSystem::start(seed, clocks).await.unwrap();
        let (mut ahead, mut ahead_max) = (0, 0);
        let mut shown = 0;
        for n in 0..40 {
            let after_s = [0, 1, HOUR, 10 * HOUR][random.usize(..4)];
            let now = set(&test, n, after_s).await;
            assert!(now >= shown, "seed {seed}: time went from {shown} to {now}");
            shown = now;
            match random.u8(..6) {
                0 => test.crash(),
                1 => test.kill(),
                _ => {}
            }
            // Also while nobody is there to see it.
            let jump = match random.u8(..6) {
                0 => DAY_MICROS,
                1 => -DAY_MICROS,
                2 => random.i64(-DAY_MICROS..DAY_MICROS),
                _ => 0,
            };
            test.clock().jump(jump);
            ahead += jump;
            ahead_max = ahead.max(ahead_max);
            test.advance(minutes(random.u64(..10))).await;
            test.reopen().await.unwrap();
        }
        // Somebody puts it right, and what is left comes due.
        test.clock().jump(ahead_max - ahead);
        test.advance(hours(11)).await;
        let rung = rung(&test).await;
        let mut numbers: Vec<u64> = rung.iter().map(|(n, _, _)| *n).collect();
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            (0..40).collect::<Vec<_>>(),
            "seed {seed}: {rung:?}"
        );
        let early = rung.iter().find(|(_, due, at)| at < due);
        assert_eq!(early, None, "seed {seed}");
        assert!(
            rung.is_sorted_by_key(|(_, _, at)| *at),
            "seed {seed}: {rung:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_jump_forward_skips_is_due_at_once_also_when_nobody_was_there() {
    let mut test = TestSystem::start(1, clocks).await.unwrap();
    set(&test, 1, HOUR).await;
    set(&test, 2, 30 * HOUR).await;
    test.crash();
    test.clock().jump(DAY_MICROS);
    test.reopen().await.unwrap();
    test.advance(seconds(2)).await;
    let found: Vec<u64> = rung(&test).await.into_iter().map(|(n, _, _)| n).collect();
    assert_eq!(found, [1]);
    // Put back, the clock stands still for a day; then the rest of the time passes.
    test.clock().jump(-DAY_MICROS);
    test.advance(hours(29)).await;
    assert_eq!(rung(&test).await.len(), 1);
    test.advance(hours(1)).await;
    assert_eq!(rung(&test).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_wait_for_a_slow_disk_in_virtual_time_and_the_same_for_a_seed() {
    let run = |latency_max: Duration| async move {
        let test = TestSystem::start(3, clocks).await.unwrap();
        test.disk().slow_down(latency_max);
        let began = tokio::time::Instant::now();
        for n in 0..50 {
            set(&test, n, HOUR).await;
        }
        (began.elapsed(), test.disk().operations())
    };
    let (fast, operations) = run(Duration::ZERO).await;
    let (slow, same) = run(Duration::from_millis(20)).await;
    assert!(fast < Duration::from_millis(100), "{fast:?}");
    // Two operations a group, of ten milliseconds on average.
    assert!(slow > Duration::from_millis(500), "{slow:?}");
    assert_eq!(operations, same);
    assert_eq!(run(Duration::from_millis(20)).await, (slow, same));
}
