//! Determinism: the same seed yields the same run, to the byte on the disk.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use common::{Copies, Log, Noted, Notes, note, small};
use redeliver::prelude::*;
use redeliver::testing::{Child, TestSystem, TransportFaults};
use redeliver::{ActivityError, SystemBuilder};

messages! {
    Nudge = "nudge" { n: u64 }
}

/// Hears notes, sets timers, plans activities, all under random names and times.
struct Busy(Log);

const SEEN: Table<u64, (i64, String)> = Table::new("seen");

impl Service for Busy {
    const NAME: &'static str = "busy";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SEEN)
            .event(|_: &Self, noted: Noted, cx: &mut Context<Self>| {
                let wait = Duration::from_millis(cx.random() % 50);
                cx.after(wait, Nudge { n: noted.n });
                cx.plan(Errand { n: noted.n });
                Ok(())
            })
            .timer(|busy: &Self, nudge: Nudge, cx: &mut Context<Self>| {
                busy.0.add(format!("nudge {} at {}", nudge.n, cx.now()));
                let (key, now, id) = (cx.random(), cx.now().0, cx.new_id().to_string());
                cx.put(SEEN, &key, &(now, id))?;
                Ok(())
            })
            .activity::<Errand>(|busy: &Self, ended, cx: &mut Context<Self>| {
                busy.0.add(format!(
                    "{} {:?} at {}",
                    ended.input.n,
                    ended.outcome,
                    cx.now()
                ));
                Ok(())
            });
    }
}

#[derive(Serialize, Deserialize)]
struct Errand {
    n: u64,
}
impl Activity<Busy> for Errand {
    const NAME: &'static str = "errand";
    const DESTINATION: &'static str = "town";
    const IDEMPOTENT: bool = true;
    type Output = u64;
    async fn run(self, _: Arc<Busy>, cx: ActivityContext) -> Result<u64, ActivityError> {
        tokio::time::sleep(Duration::from_millis(self.n % 7)).await;
        if self.n.is_multiple_of(5) && cx.attempt < 3 {
            return Err(ActivityError::Transient("busy".into()));
        }
        Ok(self.n)
    }
}

/// Everything a run leaves behind: every file of the disk, and what its handlers saw in order.
async fn trace(seed: u64) -> (u64, Vec<String>, u64) {
    let log = Log::default();
    let busy = log.clone();
    let build = move |system: SystemBuilder| {
        system
            .config(small())
            .service(Notes)
            .service(Copies::default())
            .service(Busy(busy.clone()))
    };
    let mut test = TestSystem::start(seed, build).await.unwrap();
    test.panic_with(0.05);
    test.transport_with(TransportFaults {
        loss: 0.1,
        duplication: 0.1,
        delay_max: Duration::from_millis(4),
    });
    for n in 1..=60u64 {
        let notes = test.system().service::<Notes>();
        let calls: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|key| {
                let notes = notes.clone();
                tokio::spawn(async move { notes.call(note(key, n)).await })
            })
            .collect();
        for call in calls {
            let answer = call.await.unwrap();
            log.add(format!("{answer:?}"));
        }
        match n {
            20 => {
                test.crash();
                test.reopen().await.unwrap();
            }
            30 => drop(test.break_child("busy", Child::Pool)),
            40 => {
                test.kill();
                test.reopen().await.unwrap();
            }
            50 => drop(test.break_child("copies", Child::Service)),
            _ => {}
        }
    }
    test.panic_with(0.0);
    test.quiet().await;
    let mut hasher = DefaultHasher::new();
    for (path, _) in test.disk().files() {
        path.hash(&mut hasher);
        test.disk().content(&path).hash(&mut hasher);
    }
    (hasher.finish(), log.lines(), test.disk().operations())
}

fn in_new_runtime<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

#[test]
fn the_same_seed_writes_the_same_bytes_and_another_seed_does_not() {
    for seed in 0..2 {
        let first = in_new_runtime(trace(seed));
        let second = in_new_runtime(trace(seed));
        let differs = first.1.iter().zip(&second.1).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!(
                "seed {seed}: line {at} is {:?}, then {:?}",
                first.1[at], second.1[at]
            );
        }
        assert_eq!(first.2, second.2, "seed {seed}: operations of the disk");
        assert_eq!(first.0, second.0, "seed {seed}: bytes on the disk");
        let other = in_new_runtime(trace(seed + 100));
        assert_ne!(first.0, other.0, "seed {seed}");
    }
}
