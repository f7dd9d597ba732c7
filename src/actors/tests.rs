//! What only shows from inside: actors that others have superseded, and how actors end.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use crate::actors::cell::Cell;
use crate::actors::supervisor::charge;
use crate::call::CallError;
use crate::commit::{Cause, Commit};
use crate::context::TimerId;
use crate::draft::Reads;
use crate::envelope::Envelope;
use crate::error::StoreError;
use crate::prelude::*;
use crate::testing::TestSystem;
use crate::turn::{Arrived, From};

const COUNT: Table<u64, u64> = Table::new("count");

#[derive(Serialize, Deserialize)]
struct Add {}
impl Message for Add {
    const NAME: &'static str = "add";
}
impl Command for Add {
    type Reply = u64;
}

struct Counter;
impl Service for Counter {
    const NAME: &'static str = "counter";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNT)
            .command(|_: &Self, _: Add, cx: &mut Context<Self>| {
                let count = cx.get(COUNT, &0)?.unwrap_or(0) + 1;
                cx.put(COUNT, &0, &count)?;
                Ok(count)
            });
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_another_has_superseded_commits_nothing_and_is_replaced() {
    let test = TestSystem::start(1, |system| system.service(Counter))
        .await
        .unwrap();
    let counter = test.system().service::<Counter>();
    assert_eq!(counter.call(Add {}).await.unwrap(), 1);
    let cell = test.system().cell();
    let id = cell.members[0].id();
    let newer = cell.store.take_over(id);
    let error = counter.call(Add {}).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error}");
    // Its successor has taken over in its turn, and what came between is refused as well.
    assert_eq!(counter.call(Add {}).await.unwrap(), 2);
    assert_eq!(test.system().report().services[0].restarts, 1);
    let commit = Commit {
        service: id,
        at: cell.now(),
        seed: 0,
        cause: Cause::System {
            note: "too late".to_owned(),
        },
        mark: None,
        writes: Vec::new(),
        sends: Vec::new(),
    };
    let refused = cell.store.queue(newer, commit, Vec::new());
    assert_eq!(refused.unwrap_err(), StoreError::Superseded);
}

#[derive(Serialize, Deserialize)]
struct Stumble {}
impl Message for Stumble {
    const NAME: &'static str = "stumble";
}
impl Command for Stumble {
    type Reply = ();
}

#[derive(Serialize, Deserialize)]
struct Fall {}
impl Message for Fall {
    const NAME: &'static str = "fall";
}

/// Panics when its timer goes off, which gets one attempt.
struct Clumsy;
impl Service for Clumsy {
    const NAME: &'static str = "clumsy";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, _: Stumble, cx: &mut Context<Self>| {
            cx.after(seconds(1), Fall {});
            Ok(())
        })
        .timer(|_: &Self, _: Fall, _: &mut Context<Self>| panic!("it fell"))
        .supervision(Supervision {
            attempts_max: 1,
            ..Supervision::default()
        });
    }
}

async fn clumsy() -> TestSystem {
    let test = TestSystem::start(1, |system| system.service(Clumsy))
        .await
        .unwrap();
    test.system()
        .service::<Clumsy>()
        .call(Stumble {})
        .await
        .unwrap();
    test
}

fn counted(cell: &Cell) -> u64 {
    cell.members[0].status.dead_letters.load(Ordering::Relaxed)
}

/// Found by reading: a dead letter was no longer counted before the commit was queued that would
/// remove it. When that failed and the operator tried again, the count went below nothing, and with
/// so many dead letters the system was not ready any more.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_counted_until_it_is_gone_however_often_its_removal_fails() {
    let test = clumsy().await;
    test.advance(seconds(2)).await;
    test.quiet().await;
    let system = test.system();
    let cell = system.cell();
    let letter = system.dead_letters("clumsy", 2).unwrap().remove(0);
    for _ in 0..2 {
        cell.store.take_over(cell.members[0].id());
        system.redrive("clumsy", &letter.id).await.unwrap_err();
        test.quiet().await;
        assert_eq!(counted(cell), 1);
    }
    assert!(system.health().ready);
    assert!(system.discard("clumsy", &letter.id).await.unwrap());
    assert_eq!(counted(cell), 0);
}

/// The other way round: a message was counted as a dead letter before it was one.
#[tokio::test(start_paused = true)]
async fn a_message_that_could_not_be_buried_is_not_counted_as_dead() {
    let mut test = clumsy().await;
    let cell = test.system().cell().clone();
    let member = &cell.members[0];
    let timers = Reads::scan(&cell.store, member.own.timers, &Span::all(), 2).unwrap();
    let (key, bytes) = timers[0].clone();
    let arrived = Arrived {
        envelope: Envelope::decode(&bytes).unwrap(),
        bytes,
        from: From::Timer(TimerId::from_key(&key).unwrap()),
    };
    test.stop().await;
    charge(&cell, member, &arrived, "it fell".to_owned()).unwrap_err();
    assert_eq!(counted(&cell), 0);
}
