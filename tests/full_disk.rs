//! A disk that fills up: services wait for space, whatever else is short.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::time::Duration;

use common::{Log, service, small};
use redeliver::prelude::*;
use redeliver::testing::TestSystem;
use redeliver::{CallError, Config};

messages! {
    Keep = "keep" { n: u64 }
}
impl Command for Keep {
    type Reply = ();
}

const KEPT: Table<u64, String> = Table::new("kept");
/// Two fit into a segment of the journal, three do not.
const ROW_BYTES: usize = 100 * 1024;

struct Clerk {
    log: Log,
}

impl Service for Clerk {
    const NAME: &'static str = "clerk";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(KEPT)
            .command(|clerk: &Self, keep: Keep, cx: &mut Context<Self>| {
                clerk.log.add(format!("kept {}", keep.n));
                cx.put(KEPT, &keep.n, &"x".repeat(ROW_BYTES))?;
                Ok(())
            });
    }
}

/// Found by reading: when the journal found the disk full while more waited for a checkpoint than
/// is allowed, the next turn of every busy service was refused after its handler had run. The
/// services failed, whoever waited for them was turned away, and they came back a minute after
/// there was space.
#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_while_a_checkpoint_is_overdue_fails_no_service_and_repeats_no_turn() {
    let log = Log::default();
    let clerk = log.clone();
    let config = Config {
        checkpoint_after_bytes: 1 << 30,
        uncheckpointed_bytes_max: ROW_BYTES as u64,
        space_reserve_bytes: 0,
        ..small()
    };
    let test = TestSystem::start(1, move |system| {
        let log = clerk.clone();
        system.config(config.clone()).service(Clerk { log })
    })
    .await
    .unwrap();
    test.quiet().await;
    test.advance(Duration::from_secs(1)).await;
    test.disk().set_capacity(Some(test.disk().used()));
    // One group of the journal to each, and all within the few milliseconds for which the store's
    // figures are not read again, so that nobody is refused at the door.
    let mut waiting = Vec::new();
    for n in 1..=5 {
        let clerk = test.system().service::<Clerk>();
        waiting.push(tokio::spawn(async move { clerk.call(Keep { n }).await }));
        tokio::task::yield_now().await;
        test.advance(Duration::from_millis(1)).await;
    }
    test.advance(Duration::from_secs(5)).await;
    let clerk = service(test.system(), "clerk");
    assert_eq!(
        (clerk.state.as_str(), clerk.restarts),
        ("running", 0),
        "{clerk:?}"
    );
    let unanswered = waiting.iter().filter(|call| !call.is_finished()).count();
    assert!(unanswered > 0, "the disk has not filled up");
    assert!(clerk.requests_waiting > 0, "turns go on: {clerk:?}");
    let refused = test.system().service::<Clerk>().call(Keep { n: 6 }).await;
    let reason = "the disk is almost full; free some space";
    assert!(
        matches!(&refused, Err(CallError::Overloaded { reason: why, .. }) if why == reason),
        "{refused:?}"
    );

    test.disk().set_capacity(None);
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    let kept: Vec<_> = (1..=5).map(|n| format!("kept {n}")).collect();
    assert_eq!(log.lines(), kept);
}
