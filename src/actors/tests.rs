//! What only shows from inside: actors that others have superseded, and how actors end.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::actors::cell::{Cell, Life};
use crate::actors::supervisor::charge;
use crate::call::CallError;
use crate::commit::{Cause, Commit};
use crate::context::TimerId;
use crate::draft::Reads;
use crate::envelope::Envelope;
use crate::error::StoreError;
use crate::prelude::*;
use crate::supervision::Strategy;
use crate::testing::{Child, TestSystem};
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

#[derive(Serialize, Deserialize)]
struct Added {}
impl Message for Added {
    const NAME: &'static str = "added";
}
impl Event for Added {}

struct Counter;
impl Service for Counter {
    const NAME: &'static str = "counter";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNT)
            .command(|_: &Self, _: Add, cx: &mut Context<Self>| {
                let count = cx.get(COUNT, &0)?.unwrap_or(0) + 1;
                cx.put(COUNT, &0, &count)?;
                cx.publish(Added {});
                Ok(count)
            })
            .publishes::<Added>();
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_another_has_superseded_commits_nothing_and_is_replaced() {
    let test = TestSystem::start(1, |system| system.service(Counter).service(Clumsy))
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
        .event(|_: &Self, _: Added, _: &mut Context<Self>| Ok(()))
        .supervision(Supervision {
            attempts_max: 1,
            ..Supervision::default()
        });
    }
}

async fn clumsy() -> TestSystem {
    let test = TestSystem::start(1, |system| system.service(Clumsy).service(Counter))
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

/// Found by reading: an actor that was at rest when its service failed for another's sake was still
/// taken for one that can be woken. With the next message for it, it counted as at work until its
/// revival, and all that anybody waited for in any service was written later.
#[tokio::test(start_paused = true)]
async fn what_comes_in_for_a_failed_service_does_not_pass_for_work() {
    let test = TestSystem::start(1, |system| system.service(Counter).service(Clumsy))
        .await
        .unwrap();
    test.quiet().await;
    let cell = test.system().cell();
    let clumsy = &cell.members[1];
    while clumsy.status.life().0 != Life::Failed {
        assert!(test.break_child("clumsy", Child::Pool));
        test.advance(Duration::from_millis(10)).await;
    }
    assert!(!cell.store.is_at_work());
    let counter = test.system().service::<Counter>();
    assert_eq!(counter.call(Add {}).await.unwrap(), 1);
    test.quiet().await;
    assert_eq!(clumsy.port.depths(), (0, 1));
    assert!(!cell.store.is_at_work());
    test.system().revive("clumsy");
    test.advance(Duration::from_millis(10)).await;
    test.quiet().await;
    assert_eq!(clumsy.port.depths(), (0, 0));
}

/// Panics over its first timer, when it is told to.
struct Hesitant {
    began: mpsc::UnboundedSender<()>,
    go: Mutex<std::sync::mpsc::Receiver<()>>,
}
impl Service for Hesitant {
    const NAME: &'static str = "hesitant";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, _: Stumble, cx: &mut Context<Self>| {
            cx.after(Duration::ZERO, Fall {});
            Ok(())
        })
        .timer(|hesitant: &Self, _: Fall, _: &mut Context<Self>| {
            hesitant.began.send(()).unwrap();
            // What its thread was to run next is run by another.
            let wait = || hesitant.go.lock().unwrap().recv();
            let told = tokio::task::block_in_place(wait);
            assert!(told.is_err(), "it fell");
            Ok(())
        })
        .supervision(Supervision {
            strategy: Strategy::OneForAll,
            attempts_max: 1,
            ..Supervision::default()
        });
    }
}

/// Found by reading: what a handler did while its actor was being stopped for another's sake was
/// not looked at. Its message was handed on again and had an attempt too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_panics_while_its_actor_is_stopped_is_charged_to_its_message() {
    let (began, mut begins) = mpsc::unbounded_channel();
    let (go, told) = std::sync::mpsc::channel();
    let service = Mutex::new(Some(Hesitant {
        began,
        go: Mutex::new(told),
    }));
    let test = TestSystem::start(1, move |system| {
        system.service(service.lock().unwrap().take().unwrap())
    })
    .await
    .unwrap();
    let system = test.system();
    let hesitant = system.service::<Hesitant>();
    hesitant.call(Stumble {}).await.unwrap();
    begins.recv().await.unwrap();
    let status = &system.cell().members[0].status;
    assert!(test.break_child("hesitant", Child::Pool));
    while status.children[0].running.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    // Its supervisor waits for its end.
    go.send(()).unwrap();
    drop(go);
    test.quiet().await;
    let letters = system.dead_letters("hesitant", 2).unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].history, ["it fell"]);
    assert_eq!(status.panics.load(Ordering::Relaxed), 1);
    assert!(begins.is_empty(), "it was handled once more");
}
