//! Every crash point: a scenario over three services is run once to count what it does to the
//! disk, then once per operation with the power failing there, and for sampled pairs of operations
//! with the power failing again in the life that follows. The same for errors of the disk. The end
//! is the same each time.
//!
//! `REDELIVER_CRASH_PAIRS` says how many pairs are tried; a failure names its pair.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redeliver::prelude::*;
use redeliver::testing::{Corruption, Fault, Operation, TestSystem, TransportFaults};
use redeliver::{ActivityError, CallError, Config, IdempotencyKey, SystemBuilder};

messages! {
    Buy = "buy" { order: u64 }
    Bought = "bought" { order: u64 }
    Reserve = "reserve" { order: u64 }
    Expire = "expire" { order: u64 }
    Paid = "paid" { order: u64 }
    Rows = "rows" {}
}
impl Command for Buy {
    type Reply = u64;
}
impl Command for Reserve {
    type Reply = u64;
}
impl Event for Bought {}
impl Event for Paid {}
impl Query for Rows {
    type Answer = Listed;
}

const ORDERS: Table<u64, String> = Table::new("orders");
const RESERVED: Table<u64, String> = Table::new("reserved");
const BILLS: Table<u64, String> = Table::new("bills");

/// Rows as a query lists them.
type Listed = Vec<(u64, String)>;

/// The account outside: which keys have been charged, and how often one was charged.
type Account = Arc<Mutex<Vec<String>>>;

struct Shop;
struct Stock;
struct Bill(Account);

fn append<S: Service>(
    cx: &mut Context<S>,
    table: Table<u64, String>,
    order: u64,
    what: &str,
) -> Result<(), Rejection> {
    let mut row = cx.get(table, &order)?.unwrap_or_default();
    row.push_str(what);
    row.push(' ');
    cx.put(table, &order, &row)?;
    Ok(())
}

fn rows<S: Service>(
    table: Table<u64, String>,
) -> impl Fn(&S, Rows, &View<S>) -> Result<Listed, Rejection> {
    move |_, _, view| Ok(view.scan(table, &Span::all())?)
}

impl Service for Shop {
    const NAME: &'static str = "shop";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ORDERS)
            .command(|_: &Self, buy: Buy, cx: &mut Context<Self>| {
                append(cx, ORDERS, buy.order, "bought")?;
                cx.publish(Bought { order: buy.order });
                cx.send::<Stock, _>(Reserve { order: buy.order });
                Ok(buy.order)
            })
            .reply::<Reserve>(|_: &Self, replied, cx| match replied.result {
                Ok(order) => append(cx, ORDERS, order, "reserved"),
                Err(rejection) => {
                    let order = rejection.details[0].1.parse().unwrap();
                    append(cx, ORDERS, order, &rejection.code)
                }
            })
            .event(|_: &Self, paid: Paid, cx: &mut Context<Self>| {
                append(cx, ORDERS, paid.order, "paid")
            })
            .query(rows(ORDERS))
            .sends::<Stock, Reserve>()
            .publishes::<Bought>();
    }
}

impl Service for Stock {
    const NAME: &'static str = "stock";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(RESERVED)
            .command(|_: &Self, reserve: Reserve, cx: &mut Context<Self>| {
                if reserve.order == 3 {
                    return Err(Rejection::conflict("out", "out of stock").with("order", 3));
                }
                append(cx, RESERVED, reserve.order, "reserved")?;
                cx.after(
                    seconds(5),
                    Expire {
                        order: reserve.order,
                    },
                );
                Ok(reserve.order)
            })
            .timer(|_: &Self, expire: Expire, cx: &mut Context<Self>| {
                append(cx, RESERVED, expire.order, "expired")
            })
            .query(rows(RESERVED));
    }
}

impl Service for Bill {
    const NAME: &'static str = "bill";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(BILLS)
            .event(|_: &Self, bought: Bought, cx: &mut Context<Self>| {
                // The second order's bill is parked twice, the fourth's for good.
                assert!(bought.order != 2 || cx.attempt() > 2, "not yet");
                assert!(bought.order != 4, "never");
                append(cx, BILLS, bought.order, "billed")?;
                cx.plan(Charge {
                    order: bought.order,
                });
                Ok(())
            })
            .activity::<Charge>(|_: &Self, ended, cx| {
                let order = ended.input.order;
                append(cx, BILLS, order, &format!("{:?}", ended.outcome))?;
                cx.publish(Paid { order });
                Ok(())
            })
            .query(rows(BILLS))
            .publishes::<Paid>();
    }
}

#[derive(Serialize, Deserialize)]
struct Charge {
    order: u64,
}
impl Activity<Bill> for Charge {
    const NAME: &'static str = "charge";
    const DESTINATION: &'static str = "account";
    const IDEMPOTENT: bool = false;
    type Output = ();
    async fn run(self, bill: Arc<Bill>, cx: ActivityContext) -> Result<(), ActivityError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        bill.0
            .lock()
            .unwrap()
            .push(format!("{} {}", self.order, cx.key));
        Ok(())
    }
    async fn reconcile(
        self,
        bill: Arc<Bill>,
        cx: ActivityContext,
    ) -> Result<Reconciled<()>, ActivityError> {
        let line = format!("{} {}", self.order, cx.key);
        let done = bill.0.lock().unwrap().contains(&line);
        Ok(if done {
            Reconciled::Done(())
        } else {
            Reconciled::NotDone
        })
    }
}

#[derive(Debug, PartialEq)]
struct End {
    rows: Vec<Listed>,
    streams: Vec<(String, String, u64, u64, u64, u64)>,
    dead: usize,
    charged: Vec<u64>,
    timers: u64,
}

/// What goes wrong at an operation of a life, counted from that life's beginning.
#[derive(Debug, Clone, Copy)]
struct Crash {
    operation: u64,
    fault: Fault,
    /// Whether the engine is lost with it, so that the next opening must make another.
    engine_lost: bool,
}

/// A crash that loses nothing but what it must.
fn crash(operation: u64) -> Crash {
    Crash {
        operation,
        fault: Fault::Crash,
        engine_lost: false,
    }
}

/// Operations of the disk: what, and on which file.
type Operations = Vec<(Operation, PathBuf)>;

/// A system that does all of its work on the disk every few commits.
fn prepare(seed: u64, account: &Account) -> TestSystem {
    let outside = account.clone();
    let mut test = TestSystem::prepare(seed, move |system: SystemBuilder| {
        let config = Config {
            journal_segment_bytes: 8 * 1024,
            checkpoint_after_bytes: 2 * 1024,
            // What waits at a checkpoint goes to files.
            outbox_memory_bytes_max: 1,
            ..Config::default()
        };
        system
            .config(config)
            .service(Shop)
            .service(Stock)
            .service(Bill(outside.clone()))
    });
    test.snapshot_after(5 * 1024);
    test.disk().record();
    // Something always waits for somebody.
    test.transport_with(TransportFaults {
        delay_max: Duration::from_millis(3),
        ..TransportFaults::default()
    });
    test
}

/// Buys five times, as a client that tries again under the same key until it has an answer, and
/// runs until the end. The power fails at each of `crashes`, one a life.
async fn run(seed: u64, crashes: &[Crash]) -> (End, Operations) {
    let (end, operations, _) = run_through(seed, crashes).await;
    (end, operations)
}

/// The same; also whether each of the crashes has come.
async fn run_through(seed: u64, crashes: &[Crash]) -> (End, Operations, bool) {
    let account = Account::default();
    let mut test = prepare(seed, &account);
    let mut power = Power {
        left: crashes.to_vec(),
        engine_lost: false,
    };
    power.arm(&test);
    power.start(&mut test).await;
    let mut answered = BTreeSet::new();
    for order in 1..=5 {
        loop {
            let key = IdempotencyKey::new("client", order.to_string(), b"buy");
            let call = test
                .system()
                .service::<Shop>()
                .command(Buy { order })
                .idempotency(Some(key));
            match call.send().await {
                Ok(answer) => {
                    assert_eq!(answer.reply, order);
                    answered.insert(order);
                    break;
                }
                Err(CallError::OutcomeUnknown { .. } | CallError::ServiceFailed { .. }) => {
                    power.start(&mut test).await;
                    // Every answer given before the crash is still there.
                    let rows = test
                        .system()
                        .service::<Shop>()
                        .query(Rows {})
                        .await
                        .unwrap();
                    for order in &answered {
                        assert!(
                            rows.iter().any(|(known, _)| known == order),
                            "{order} is lost"
                        );
                    }
                }
                // It has no space for the moment.
                Err(CallError::Overloaded { .. }) => test.advance(seconds(1)).await,
                Err(error) => panic!("{crashes:?}: {error}"),
            }
        }
    }
    for _ in 0..60 {
        if test.disk().is_down() || is_closed(&test).await {
            power.start(&mut test).await;
        }
        test.advance(seconds(1)).await;
    }
    test.quiet().await;
    test.system().shutdown(seconds(5)).await.ok();
    if test.disk().is_down() {
        power.start(&mut test).await;
        test.quiet().await;
        test.system().shutdown(seconds(5)).await.ok();
    }
    let operations = test.disk().recorded();
    let all_came = power.left.is_empty() && !test.disk().has_faults();
    test.disk().clear_faults();
    test.reopen().await.unwrap();
    test.quiet().await;
    let system = test.system();
    let rows = vec![
        sorted(system.service::<Shop>().query(Rows {}).await.unwrap()),
        sorted(system.service::<Stock>().query(Rows {}).await.unwrap()),
        sorted(system.service::<Bill>().query(Rows {}).await.unwrap()),
    ];
    let report = system.report();
    let streams = report
        .streams
        .iter()
        .map(|s| {
            assert_eq!(
                (s.sent, s.waiting, s.parked),
                (s.applied + s.rejected + s.dead, 0, 0)
            );
            (
                s.from.clone(),
                s.to.clone(),
                s.sent,
                s.applied,
                s.rejected,
                s.dead,
            )
        })
        .collect();
    let charged = account.lock().unwrap().clone();
    let mut charged: Vec<u64> = charged
        .iter()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect();
    charged.sort_unstable();
    let end = End {
        rows,
        streams,
        dead: system.dead_letters("bill", 10).unwrap().len(),
        charged,
        timers: report.services.iter().map(|service| service.timers).sum(),
    };
    (end, operations, all_came)
}

/// Whether an error of the disk has stopped the cell.
async fn is_closed(test: &TestSystem) -> bool {
    let closed = test.system().closed();
    tokio::time::timeout(Duration::ZERO, closed).await.is_ok()
}

/// The words of a row in a fixed order: what different services do at the same time may happen in
/// either order.
fn sorted(rows: Listed) -> Listed {
    let words = |row: String| {
        let mut words: Vec<&str> = row.split_whitespace().collect();
        words.sort_unstable();
        words.join(" ")
    };
    rows.into_iter()
        .map(|(order, row)| (order, words(row)))
        .collect()
}

/// The power failures that are still to come.
struct Power {
    left: Vec<Crash>,
    /// Whether the engine goes with the one that is next.
    engine_lost: bool,
}

impl Power {
    fn arm(&mut self, test: &TestSystem) {
        if !self.left.is_empty() {
            let crash = self.left.remove(0);
            self.engine_lost = crash.engine_lost;
            let at = test.disk().operations() + crash.operation;
            test.disk().fail_at(at, crash.fault);
        }
    }

    /// Opens until it works: the power may fail during the opening.
    async fn start(&mut self, test: &mut TestSystem) {
        for _ in 0..4 {
            let faulty = test.disk().has_faults();
            if test.disk().is_down() {
                if std::mem::take(&mut self.engine_lost) {
                    test.engine().corrupt(Corruption::OpensEmpty);
                }
                self.arm(test);
            }
            match test.reopen().await {
                Ok(()) => return,
                Err(error) => assert!(faulty || test.disk().is_down(), "{error}"),
            }
        }
        panic!("it does not open");
    }
}

/// The number of pairs to try.
fn pairs() -> u64 {
    let asked = std::env::var("REDELIVER_CRASH_PAIRS").ok();
    asked.map_or(100, |text| text.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_operation_of_the_disk_ends_like_no_crash_at_all() {
    let (expected, operations) = run(1, &[]).await;
    assert_eq!(expected.charged, [1, 2, 3, 5]);
    assert_eq!((expected.dead, expected.timers), (1, 0));
    assert_eq!(expected.rows[0][1], (2, "bought paid reserved".to_owned()));
    assert_eq!(expected.rows[0][2], (3, "bought out paid".to_owned()));
    assert_eq!(expected.rows[1][0], (1, "expired reserved".to_owned()));
    for operation in 1..=operations.len() as u64 {
        let (end, _) = run(1, &[crash(operation)]).await;
        let what = &operations[operation as usize - 1];
        assert_eq!(end, expected, "crash at operation {operation}: {what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_disk_at_any_operation_ends_like_none() {
    let (expected, operations) = run(1, &[]).await;
    // Each operation fails in one way, and its neighbours in the others.
    for (nth, fault) in (1..).zip([Fault::Eio, Fault::Enospc, Fault::FailedSync]) {
        for operation in (nth..=operations.len() as u64).step_by(3) {
            let error = Crash {
                fault,
                ..crash(operation)
            };
            let (end, _) = run(1, &[error]).await;
            let what = &operations[operation as usize - 1];
            assert_eq!(
                end, expected,
                "{fault:?} at operation {operation}: {what:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_scenario_comes_by_every_kind_of_operation() {
    let (_, operations) = run(1, &[]).await;
    let made = |operation: Operation, part: &str| {
        let is_it = |(kind, path): &&(Operation, PathBuf)| {
            *kind == operation && path.to_string_lossy().contains(part)
        };
        operations.iter().filter(is_it).count()
    };
    use Operation::*;
    for (operation, part, least) in [
        (MakeDir, "cells/main", 1),
        (SyncDir, "/data", 1),
        (Write, "journal/next.tmp", 3),
        (Rename, ".seg", 3),
        (Write, ".seg", 20),
        (Sync, ".seg", 20),
        (SyncDir, "/journal", 3),
        // Trimming.
        (Remove, ".seg", 1),
        (Rename, "CHECKPOINT", 3),
        (Rename, ".snap", 2),
        (Remove, ".snap", 1),
        (SyncDir, "/snapshots", 2),
        (Write, "/events/", 2),
        (Sync, "/events/", 2),
        (Write, "/spill/", 1),
        (Sync, "/spill/", 1),
        (Remove, "/spill/", 1),
        (Rename, "FORMAT", 1),
    ] {
        let times = made(operation, part);
        assert!(
            times >= least,
            "{operation:?} {part}: {times} times\n{operations:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_with_other_disks_at_some_of_the_operations() {
    for seed in 2..8 {
        let (expected, operations) = run(seed, &[]).await;
        for operation in (seed..=operations.len() as u64).step_by(41) {
            let (end, _) = run(seed, &[crash(operation)]).await;
            assert_eq!(end, expected, "seed {seed}, crash at operation {operation}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_crash_in_the_life_after_a_crash_ends_the_same() {
    let (mut tried, mut came, mut rebuilt) = (0, 0, 0);
    let mut without = BTreeMap::new();
    while came < pairs() {
        tried += 1;
        let seed = 100 + tried % 10;
        let mut random = fastrand::Rng::with_seed(tried);
        if let Entry::Vacant(vacant) = without.entry(seed) {
            vacant.insert(run(seed, &[]).await);
        }
        let (expected, operations) = &without[&seed];
        let all = operations.len() as u64;
        let first = Crash {
            operation: random.u64(1..=all),
            fault: Fault::Crash,
            engine_lost: tried % 3 == 0,
        };
        // Every other one during the opening, or soon after.
        let second = match random.bool() {
            true => crash(random.u64(1..=25)),
            false => crash(random.u64(1..=all)),
        };
        let (end, _, both) = run_through(seed, &[first, second]).await;
        assert_eq!(
            &end, expected,
            "pair {tried}: seed {seed}, {first:?}, {second:?}"
        );
        came += u64::from(both);
        rebuilt += u64::from(both && first.engine_lost);
        assert!(tried < 10 * pairs() + 10, "{came} of {tried}");
    }
    println!("{came} pairs of {tried} tried, {rebuilt} with a lost engine");
}
