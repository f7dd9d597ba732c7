//! Backups of a system that works: what is restored is the system at one moment, whole, and it
//! goes on from there as after any other end.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{small, stream};
use redeliver::clock::SystemClock;
use redeliver::persistence::real_disk::RealDisk;
use redeliver::persistence::restore::restore;
use redeliver::persistence::verify::{VerifyError, verify};
use redeliver::prelude::*;
use redeliver::{
    ActivityError, BackupError, BackupInfo, EventNumber, FeedItem, OpenError, StartError, System,
};

messages! {
    Order = "order" { n: u64 }
    Ordered = "ordered" { n: u64 }
    Due = "due" { n: u64 }
    All = "all" {}
}
impl Command for Order {
    type Reply = ();
}
impl Event for Ordered {}
impl Query for All {
    type Answer = Vec<(u64, u64)>;
}

/// How often each number has been seen.
const ORDERS: Table<u64, u64> = Table::new("orders");
const DUE: Table<u64, u64> = Table::new("due");
const CHARGED: Table<u64, u64> = Table::new("charged");

fn count<S: Service>(cx: &mut Context<S>, table: Table<u64, u64>, n: u64) -> Result<(), Rejection> {
    let before = cx.get(table, &n)?.unwrap_or(0);
    cx.put(table, &n, &(before + 1))?;
    Ok(())
}

/// The bank: outside of every data directory and every backup.
#[derive(Clone, Default)]
struct Bank {
    charges: Arc<Mutex<Vec<u64>>>,
    reconciled: Arc<AtomicU64>,
}

struct Front(Bank);
struct Ledger;

impl Service for Front {
    const NAME: &'static str = "front";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ORDERS)
            .table(DUE)
            .table(CHARGED)
            .command(|_: &Self, order: Order, cx: &mut Context<Self>| {
                count(cx, ORDERS, order.n)?;
                cx.publish(Ordered { n: order.n });
                cx.after(Duration::from_millis(order.n % 20), Due { n: order.n });
                cx.plan(Charge { n: order.n });
                Ok(())
            })
            .timer(|_: &Self, due: Due, cx: &mut Context<Self>| count(cx, DUE, due.n))
            .activity::<Charge>(|_: &Self, ended, cx| count(cx, CHARGED, ended.input.n))
            .query(|_: &Self, _: All, view: &View<Self>| {
                let all = Span::all().limit(100_000);
                // All three tables must hold each number once, in the end.
                let mut rows = view.scan(ORDERS, &all)?;
                for (table, at) in [(DUE, 1_000_000), (CHARGED, 2_000_000)] {
                    let more = view.scan(table, &all)?;
                    rows.extend(more.into_iter().map(|(n, times)| (at + n, times)));
                }
                Ok(rows)
            })
            .publishes::<Ordered>();
    }
}

impl Service for Ledger {
    const NAME: &'static str = "ledger";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ORDERS)
            .event(|_: &Self, ordered: Ordered, cx: &mut Context<Self>| {
                count(cx, ORDERS, ordered.n)
            })
            .query(|_: &Self, _: All, view: &View<Self>| {
                Ok(view.scan(ORDERS, &Span::all().limit(100_000))?)
            });
    }
}

/// Not idempotent: a second attempt would charge twice.
#[derive(Serialize, Deserialize)]
struct Charge {
    n: u64,
}
impl Activity<Front> for Charge {
    const NAME: &'static str = "charge";
    const DESTINATION: &'static str = "bank";
    const IDEMPOTENT: bool = false;
    type Output = ();
    async fn run(self, front: Arc<Front>, _: ActivityContext) -> Result<(), ActivityError> {
        // Nothing waits for this; it only keeps some of them under way.
        tokio::time::sleep(Duration::from_millis(self.n % 7)).await;
        front.0.charges.lock().unwrap().push(self.n);
        Ok(())
    }
    async fn reconcile(
        self,
        front: Arc<Front>,
        _: ActivityContext,
    ) -> Result<Reconciled<()>, ActivityError> {
        front.0.reconciled.fetch_add(1, Ordering::Relaxed);
        let done = front.0.charges.lock().unwrap().contains(&self.n);
        Ok(match done {
            true => Reconciled::Done(()),
            false => Reconciled::NotDone,
        })
    }
}

async fn open(dir: &Path, bank: &Bank) -> System {
    loop {
        let system = System::open(dir).config(small());
        let system = system.service(Front(bank.clone())).service(Ledger);
        match system.start().await {
            Ok(system) => return system,
            // A system that was dropped ends in its own time.
            Err(StartError::Open(OpenError::InUse { .. })) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until a dropped system has let its directory go, and with it all that it was doing.
async fn ended(dir: &Path) {
    while let Err(error) = verify(Arc::new(RealDisk::default()), dir) {
        assert!(
            matches!(error, VerifyError::Open(OpenError::InUse { .. })),
            "{error}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Orders one after the other, until told to stop; answers what was acknowledged.
async fn shop(system: System, client: u64, acknowledged: Arc<Mutex<BTreeSet<u64>>>) {
    for nth in 0.. {
        let n = nth * 8 + client;
        match system.service::<Front>().call(Order { n }).await {
            Ok(()) => acknowledged.lock().unwrap().insert(n),
            // The system has ended.
            Err(_) => return,
        };
        // Every one of them will be restored many times.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A backup, what must be in it, and what may be.
struct Taken {
    info: BackupInfo,
    before: BTreeSet<u64>,
    after: BTreeSet<u64>,
}

async fn events(system: &System) -> Vec<u64> {
    let feed = system.events();
    let mut found = Vec::new();
    let mut after = EventNumber(0);
    loop {
        let page = feed.read(after, 1_000).await.unwrap();
        if page.items.is_empty() {
            return found;
        }
        after = page.through;
        for item in page.items {
            let FeedItem::Event(event) = item else {
                panic!("the event log has a gap");
            };
            let body: serde_json::Value = serde_json::from_slice(&event.json().unwrap()).unwrap();
            found.push(body["n"].as_u64().unwrap());
        }
    }
}

/// Restores into a new directory, starts, lets it come to rest, and checks every rule.
async fn check(dir: &Path, taken: &Taken, bank: &Bank) {
    let data = dir.join("restored");
    let disk = Arc::new(RealDisk::default());
    let restored = restore(disk, &SystemClock, &taken.info.path, &data).unwrap();
    assert_ne!(restored.incarnation, taken.info.incarnation);
    let system = open(&data, bank).await;
    let (front, ledger) = loop {
        let front = system.service::<Front>().query(All {}).await.unwrap();
        let ledger = system.service::<Ledger>().query(All {}).await.unwrap();
        let orders = front.iter().filter(|(n, _)| *n < 1_000_000).count();
        if front.len() == 3 * orders && ledger.len() == orders {
            break (front, ledger);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert!(front.iter().chain(&ledger).all(|(_, times)| *times == 1));
    let orders: BTreeSet<u64> = ledger.iter().map(|(n, _)| *n).collect();
    assert!(
        taken.before.is_subset(&orders),
        "something acknowledged is missing"
    );
    assert!(orders.is_subset(&taken.after), "something later is there");
    let published: Vec<u64> = events(&system).await;
    assert_eq!(published.len(), orders.len());
    assert_eq!(published.into_iter().collect::<BTreeSet<_>>(), orders);
    let report = stream(&system, "front", "ledger");
    let all = orders.len() as u64;
    assert_eq!((report.sent, report.applied, report.dead), (all, all, 0));
    // It takes new work.
    system
        .service::<Front>()
        .call(Order { n: 999_999 })
        .await
        .unwrap();
    system.shutdown(seconds(10)).await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    bank.charges.lock().unwrap().retain(|n| *n != 999_999);
}

async fn run(count: u64) {
    const CLIENTS: u64 = 8;
    let dir = tempfile::tempdir().unwrap();
    let bank = Bank::default();
    let system = open(&dir.path().join("data"), &bank).await;
    let acknowledged: Arc<Mutex<BTreeSet<u64>>> = Arc::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(shop(system.clone(), client, acknowledged.clone())))
        .collect();
    let mut random = fastrand::Rng::with_seed(20);
    let mut backups = Vec::new();
    for nth in 0..count {
        let wanted = acknowledged.lock().unwrap().len() + random.usize(1..40);
        while acknowledged.lock().unwrap().len() < wanted {
            tokio::task::yield_now().await;
        }
        let before = acknowledged.lock().unwrap().clone();
        let to = dir.path().join(format!("backup-{nth}"));
        let info = system.backup(&to).await.unwrap();
        let mut after = acknowledged.lock().unwrap().clone();
        // Each client may have one more under way.
        for client in 0..CLIENTS {
            let last = after.iter().filter(|n| *n % CLIENTS == client).max();
            let next = last.map_or(client, |n| n + CLIENTS);
            after.insert(next);
        }
        backups.push(Taken {
            info,
            before,
            after,
        });
    }
    let again = system.backup(&backups[0].info.path).await.unwrap_err();
    assert!(matches!(again, BackupError::Exists { .. }), "{again}");
    // With activities under way, which the bank has or has not done.
    drop(system);
    for client in clients {
        client.abort();
        let _ = client.await;
    }
    ended(&dir.path().join("data")).await;
    for taken in &backups {
        check(dir.path(), taken, &bank).await;
    }
    let under_way = backups.iter().map(|taken| taken.info.content.activities);
    assert!(
        under_way.sum::<u64>() > 0,
        "no backup had an activity under way"
    );
    assert!(bank.reconciled.load(Ordering::Relaxed) > 0);
    let mut charges = bank.charges.lock().unwrap().clone();
    let all = charges.len();
    charges.sort_unstable();
    charges.dedup();
    assert_eq!(charges.len(), all, "somebody was charged twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_backups_under_load_are_each_restored_whole() {
    // For a campaign: REDELIVER_RESTORES=100 cargo test --test backup
    let count = std::env::var("REDELIVER_RESTORES").ok();
    let count = count.map_or(20, |count| count.parse().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(30 + 5 * count), run(count)).await;
    assert!(ended.is_ok(), "it hangs");
}
