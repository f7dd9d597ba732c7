//! A turn: one message in, one commit out, once.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Copies, Log, Noted, Notes, NotesOf, TOO_LARGE, both, copies_of, note};
use redeliver::prelude::*;
use redeliver::testing::TestSystem;
use redeliver::{CallError, DeadReason, IdempotencyKey};

#[tokio::test(start_paused = true)]
async fn what_was_answered_survives_a_power_loss_and_is_told_to_others_once() {
    let mut test = TestSystem::start(1, both(&Copies::default()))
        .await
        .unwrap();
    for n in 1..=50 {
        assert_eq!(
            test.system()
                .service::<Notes>()
                .call(note("a", n))
                .await
                .unwrap(),
            n
        );
        if n % 10 == 0 {
            test.crash();
            test.reopen().await.unwrap();
        }
    }
    test.quiet().await;
    let all: Vec<u64> = (1..=50).collect();
    assert_eq!(copies_of(test.system(), "a").await, all);
    let notes = test
        .system()
        .service::<Notes>()
        .query(NotesOf { key: "a".into() })
        .await
        .unwrap();
    assert_eq!(notes, all);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_discards_what_the_turn_had_planned() {
    let test = TestSystem::start(2, both(&Copies::default()))
        .await
        .unwrap();
    let error = test
        .system()
        .service::<Notes>()
        .call(note("a", 0))
        .await
        .unwrap_err();
    let CallError::Rejected(rejection) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (rejection.code.as_str(), rejection.details.len()),
        ("zero", 1)
    );
    test.quiet().await;
    assert_eq!(copies_of(test.system(), "a").await, [0u64; 0]);
    assert!(test.system().report().streams.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_idempotency_key_yields_the_stored_answer_also_after_a_restart() {
    let mut test = TestSystem::start(3, both(&Copies::default()))
        .await
        .unwrap();
    let key = |body: &[u8]| Some(IdempotencyKey::new("user-7 note", "k1", body));
    let call = |test: &TestSystem, n: u64, body: &'static [u8]| {
        let call = test
            .system()
            .service::<Notes>()
            .command(note("a", n))
            .idempotency(key(body));
        async move { call.send().await }
    };
    let first = call(&test, 5, b"five").await.unwrap();
    assert!(!first.replayed);
    let again = call(&test, 5, b"five").await.unwrap();
    assert_eq!((again.reply, again.replayed), (first.reply, true));
    assert_eq!(call(&test, 6, b"six").await, Err(CallError::KeyReused));
    test.crash();
    test.reopen().await.unwrap();
    assert!(call(&test, 5, b"five").await.unwrap().replayed);
    test.quiet().await;
    assert_eq!(copies_of(test.system(), "a").await, [5]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_rejection_is_given_again_and_says_so() {
    let test = TestSystem::start(10, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    let call = || {
        notes
            .command(note("a", 0))
            .idempotency(Some(IdempotencyKey::new("s", "k", b"zero")))
            .send()
    };
    assert!(matches!(call().await, Err(CallError::Rejected(_))));
    assert!(
        matches!(call().await, Err(CallError::RejectedBefore(rejection)) if rejection.code == "zero")
    );
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_is_forgotten_after_its_time() {
    let test = TestSystem::start(4, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    let key = || Some(IdempotencyKey::new("s", "k", b"b"));
    notes
        .command(note("a", 5))
        .idempotency(key())
        .send()
        .await
        .unwrap();
    test.advance(redeliver::days(8)).await;
    let again = || notes.command(note("a", 5)).idempotency(key()).send();
    assert!(!again().await.unwrap().replayed);
    assert!(again().await.unwrap().replayed, "and kept anew");
}

#[tokio::test(start_paused = true)]
async fn an_answer_stored_anew_is_not_swept_with_the_expired_one() {
    let test = TestSystem::start(12, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    let send = |key: &str| {
        let key = Some(IdempotencyKey::new("s", key, b"b"));
        notes.command(note("a", 5)).idempotency(key).send()
    };
    for key in ["a", "b", "c"] {
        send(key).await.unwrap();
    }
    test.advance(redeliver::days(8)).await;
    // Takes the place of an expired answer, and then two others come and sweep.
    assert!(!send("c").await.unwrap().replayed);
    for key in ["d", "e"] {
        send(key).await.unwrap();
    }
    assert!(send("c").await.unwrap().replayed);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_through_a_handle_hears_of_the_systems_end() {
    let mut test = TestSystem::start(13, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    test.kill();
    assert_eq!(notes.call(note("a", 1)).await, Err(CallError::Draining));
}

#[tokio::test(start_paused = true)]
async fn an_outside_command_that_panics_is_not_accepted_and_not_parked() {
    let test = TestSystem::start(5, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    let key = || Some(IdempotencyKey::new("s", "k", b"b"));
    for _ in 0..3 {
        let error = notes
            .command(note("a", 666))
            .idempotency(key())
            .send()
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Panicked { .. }), "{error}");
    }
    // The service is back and nothing is stored under the key.
    assert_eq!(notes.call(note("a", 1)).await.unwrap(), 1);
    let report = test.system().report();
    assert_eq!(
        (report.services[0].restarts, report.services[0].parked),
        (3, 0)
    );
    let actors = &report.services[0].actors;
    let seen = |place: usize| {
        (
            actors[place].role.as_str(),
            actors[place].state.as_str(),
            actors[place].restarts,
        )
    };
    assert_eq!(seen(0), ("service", "running", 3));
    assert_eq!(seen(1), ("relay", "running", 0));
    assert_eq!(seen(2), ("activities", "running", 0));
}

#[tokio::test(start_paused = true)]
async fn a_poison_message_becomes_a_dead_letter_after_its_attempts_and_holds_up_only_its_key() {
    let copies = Copies::default();
    copies.poison.lock().unwrap().insert(13);
    let test = TestSystem::start(6, both(&copies)).await.unwrap();
    let notes = test.system().service::<Notes>();
    notes.call(note("a", 13)).await.unwrap();
    for n in [1, 2] {
        notes.call(note("a", n)).await.unwrap();
        notes.call(note("b", n)).await.unwrap();
    }
    test.advance(std::time::Duration::from_millis(5)).await;
    assert_eq!(
        copies_of(test.system(), "b").await,
        [1, 2],
        "other keys go on"
    );
    assert_eq!(
        copies_of(test.system(), "a").await,
        [0u64; 0],
        "followers of the same key wait"
    );
    test.quiet().await;
    assert_eq!(
        copies_of(test.system(), "a").await,
        [1, 2],
        "and are released in order"
    );
    assert_eq!(
        copies
            .calls
            .lock()
            .unwrap()
            .iter()
            .filter(|n| **n == 13)
            .count(),
        5
    );

    let letters = test.system().dead_letters("copies", 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].reason, letters[0].attempts),
        (DeadReason::Exhausted, 5)
    );
    assert!(
        letters[0]
            .history
            .iter()
            .all(|reason| reason.contains("13 is poison"))
    );
    let stream = &test.system().report().streams[0];
    assert_eq!(
        (
            stream.sent,
            stream.accepted,
            stream.applied,
            stream.dead,
            stream.parked
        ),
        (5, 5, 4, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_value_too_large_to_store_is_charged_to_its_message_and_fails_no_service() {
    let test = TestSystem::start(11, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    notes.call(note("a", TOO_LARGE)).await.unwrap();
    notes.call(note("b", 1)).await.unwrap();
    test.quiet().await;
    assert_eq!(copies_of(test.system(), "b").await, [1]);
    let letters = test.system().dead_letters("copies", 10).unwrap();
    assert_eq!(
        (letters[0].reason, letters[0].attempts),
        (DeadReason::Exhausted, 5)
    );
    assert!(test.system().health().ready);
}

#[tokio::test(start_paused = true)]
async fn a_redriven_dead_letter_is_handled_and_a_discarded_one_is_counted() {
    let copies = Copies::default();
    copies.poison.lock().unwrap().extend([13, 14]);
    let mut test = TestSystem::start(7, both(&copies)).await.unwrap();
    test.system()
        .service::<Notes>()
        .call(note("a", 13))
        .await
        .unwrap();
    test.system()
        .service::<Notes>()
        .call(note("b", 14))
        .await
        .unwrap();
    test.quiet().await;
    test.crash();
    test.reopen().await.unwrap();
    let letters = test.system().dead_letters("copies", 10).unwrap();
    assert_eq!(letters.len(), 2, "dead letters survive");
    copies.poison.lock().unwrap().clear();
    assert!(
        test.system()
            .redrive("copies", &letters[0].id)
            .await
            .unwrap()
    );
    assert!(
        test.system()
            .discard("copies", &letters[1].id)
            .await
            .unwrap()
    );
    assert!(
        !test
            .system()
            .discard("copies", &letters[1].id)
            .await
            .unwrap()
    );
    test.quiet().await;
    assert_eq!(copies_of(test.system(), "a").await, [13]);
    let stream = &test.system().report().streams[0];
    assert_eq!(
        (
            stream.accepted,
            stream.applied,
            stream.dead,
            stream.discarded
        ),
        (2, 1, 0, 1)
    );
    assert!(test.system().dead_letters("copies", 10).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_is_a_dead_letter_because_nobody_can_hear_it() {
    let test = TestSystem::start(8, both(&Copies::default()))
        .await
        .unwrap();
    test.system()
        .service::<Notes>()
        .call(note("a", 404))
        .await
        .unwrap();
    test.quiet().await;
    let letters = test.system().dead_letters("copies", 10).unwrap();
    assert_eq!(
        (letters[0].reason, letters[0].attempts),
        (DeadReason::Rejected, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn random_panics_lose_and_double_nothing() {
    for seed in 0..10 {
        let copies = Copies::default();
        let mut test = TestSystem::start(seed, both(&copies)).await.unwrap();
        test.panic_with(0.1);
        let mut accepted = Vec::new();
        for n in 1..=60u64 {
            if n % 20 == 0 {
                test.crash();
                test.reopen().await.unwrap();
            }
            if test
                .system()
                .service::<Notes>()
                .call(note("a", n))
                .await
                .is_ok()
            {
                accepted.push(n);
            }
        }
        test.panic_with(0.0);
        test.quiet().await;
        assert_eq!(copies_of(test.system(), "a").await, accepted, "seed {seed}");
        let stream = &test.system().report().streams[0];
        assert_eq!(stream.sent, stream.applied, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_system_has_answered_what_it_accepted_and_refuses_the_rest() {
    let test = TestSystem::start(9, both(&Copies::default()))
        .await
        .unwrap();
    let notes = test.system().service::<Notes>();
    let calls: Vec<_> = (1..=20)
        .map(|n| {
            let notes = notes.clone();
            tokio::spawn(async move { notes.call(note("a", n)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    test.system().shutdown(seconds(5)).await.unwrap();
    for call in calls {
        assert!(matches!(
            call.await.unwrap(),
            Ok(_) | Err(CallError::Draining)
        ));
    }
    assert_eq!(notes.call(note("a", 99)).await, Err(CallError::Draining));
}

/// Takes notes in strict order: a dead letter holds its followers.
#[derive(Default, Clone)]
struct Strict {
    poisoned: Arc<AtomicBool>,
    log: Log,
}

impl Service for Strict {
    const NAME: &'static str = "strict";
    fn handlers(on: &mut Handlers<Self>) {
        on.event(Self::noted).hold_after_dead_letter::<Noted>();
    }
}

impl Strict {
    fn noted(&self, noted: Noted, _: &mut Context<Self>) -> Result<(), Rejection> {
        let poisoned = self.poisoned.load(Ordering::Relaxed);
        assert!(!poisoned || noted.n != 13, "13 is poison");
        self.log.add(format!("{} {}", noted.key, noted.n));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_may_hold_its_followers_until_an_operator_decides() {
    for discard in [false, true] {
        let strict = Strict::default();
        strict.poisoned.store(true, Ordering::Relaxed);
        let build = strict.clone();
        let mut test = TestSystem::start(10, move |system| {
            system.service(Notes).service(build.clone())
        })
        .await
        .unwrap();
        let notes = test.system().service::<Notes>();
        for (key, n) in [("a", 13), ("a", 1), ("b", 2), ("a", 3)] {
            notes.call(note(key, n)).await.unwrap();
        }
        test.quiet().await;
        assert_eq!(strict.log.lines(), ["b 2"]);
        test.crash();
        test.reopen().await.unwrap();
        test.quiet().await;
        assert_eq!(strict.log.lines(), ["b 2"]);
        let report = common::stream(test.system(), "notes", "strict");
        assert_eq!((report.dead, report.parked), (1, 2));
        assert_eq!(common::service(test.system(), "strict").parked, 2);
        strict.poisoned.store(false, Ordering::Relaxed);
        let letters = test.system().dead_letters("strict", 10).unwrap();
        let id = &letters[0].id;
        let expected: &[&str] = if discard {
            assert!(test.system().discard("strict", id).await.unwrap());
            &["b 2", "a 1", "a 3"]
        } else {
            assert!(test.system().redrive("strict", id).await.unwrap());
            &["b 2", "a 13", "a 1", "a 3"]
        };
        test.quiet().await;
        assert_eq!(strict.log.lines(), expected);
    }
}
