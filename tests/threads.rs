//! Real threads, a real disk and the real clock: what the simulation cannot interleave.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{small, stream};
use redeliver::prelude::*;
use redeliver::{CallError, Config, OpenError, StartError, System};

messages! {
    Order = "order" { n: u64 }
    Pick = "pick" { n: u64 }
    Picked = "picked" { n: u64 }
    Sum = "sum" {}
}
impl Command for Order {
    type Reply = ();
}
impl Command for Pick {
    type Reply = u64;
}
impl Event for Picked {}
impl Query for Sum {
    type Answer = (u64, u64);
}

const SUM: Table<u64, (u64, u64)> = Table::new("sum");

fn add<S: Service>(cx: &mut Context<S>, n: u64) -> Result<(), Rejection> {
    let (count, sum) = cx.get(SUM, &0)?.unwrap_or_default();
    cx.put(SUM, &0, &(count + 1, sum + n))?;
    Ok(())
}

fn sum<S: Service>(_: &S, _: Sum, view: &View<S>) -> Result<(u64, u64), Rejection> {
    Ok(view.get(SUM, &0)?.unwrap_or_default())
}

/// Panics at every so manieth handler call.
#[derive(Clone)]
struct Flaky {
    calls: Arc<AtomicU64>,
    every: u64,
}

impl Flaky {
    fn pass(&self) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(!call.is_multiple_of(self.every), "call {call} panics");
    }
}

struct Front(Flaky);
struct Store(Flaky);
struct Ledger(Flaky);

impl Service for Front {
    const NAME: &'static str = "front";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SUM)
            .command(|_: &Self, order: Order, cx: &mut Context<Self>| {
                cx.send::<Store, _>(Pick { n: order.n });
                Ok(())
            })
            .reply::<Pick>(|front: &Self, replied, cx| {
                front.0.pass();
                add(cx, replied.result.unwrap())
            })
            .query(sum)
            .sends::<Store, Pick>();
    }
}

impl Service for Store {
    const NAME: &'static str = "store";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SUM)
            .command(|store: &Self, pick: Pick, cx: &mut Context<Self>| {
                store.0.pass();
                cx.publish(Picked { n: pick.n });
                cx.after(Duration::from_millis(pick.n % 3), Picked { n: pick.n });
                Ok(pick.n)
            })
            .timer(|store: &Self, picked: Picked, cx: &mut Context<Self>| {
                store.0.pass();
                add(cx, picked.n)
            })
            .query(sum)
            .publishes::<Picked>();
    }
}

impl Service for Ledger {
    const NAME: &'static str = "ledger";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SUM)
            .event(|ledger: &Self, picked: Picked, cx: &mut Context<Self>| {
                ledger.0.pass();
                add(cx, picked.n)
            })
            .query(sum);
    }
}

async fn open(dir: &std::path::Path, every: u64, window: u64) -> System {
    let flaky = || Flaky {
        calls: Arc::default(),
        every,
    };
    loop {
        let config = Config {
            stream_window: window,
            ..small()
        };
        let system = System::open(dir)
            .config(config)
            .service(Front(flaky()))
            .service(Store(flaky()))
            .service(Ledger(flaky()));
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

/// Many clients at once, panics all the time, restarts in between; a minute is for ever.
async fn run(every: u64, window: u64) {
    const CLIENTS: u64 = 16;
    const ORDERS: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let system = open(dir.path(), every, window).await;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let front = system.service::<Front>();
                tokio::spawn(async move {
                    for order in 0..ORDERS {
                        let n = client * ORDERS + order;
                        loop {
                            match front.call(Order { n }).await {
                                Ok(()) => break,
                                Err(CallError::Overloaded { .. }) => tokio::task::yield_now().await,
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        if round == 2 {
            let orders = 3 * CLIENTS * ORDERS;
            let total = 3 * (0..CLIENTS * ORDERS).sum::<u64>();
            loop {
                let front = system.service::<Front>().query(Sum {}).await.unwrap();
                let store = system.service::<Store>().query(Sum {}).await.unwrap();
                let ledger = system.service::<Ledger>().query(Sum {}).await.unwrap();
                if (front.0, store.0, ledger.0) == (orders, orders, orders) {
                    assert_eq!((front.1, store.1, ledger.1), (total, total, total));
                    break;
                }
                assert!(
                    front.0.max(store.0).max(ledger.0) <= orders,
                    "something happened twice"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for (from, to) in [("front", "store"), ("store", "front"), ("store", "ledger")] {
                let report = stream(&system, from, to);
                assert_eq!(
                    (report.sent, report.applied),
                    (orders, orders),
                    "{from} to {to}"
                );
            }
        }
        if round == 0 {
            drop(system);
        } else {
            system.shutdown(seconds(20)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_race_panic_and_restart_lose_and_double_nothing() {
    let all = async {
        run(u64::MAX, 1_024).await;
        run(61, 1_024).await;
        run(37, 4).await;
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
    assert!(ended.is_ok(), "it hangs");
}
