//! What only shows from inside: an actor that another has superseded.
#![allow(clippy::unwrap_used)]

use crate::call::CallError;
use crate::commit::{Cause, Commit};
use crate::error::StoreError;
use crate::prelude::*;
use crate::testing::TestSystem;

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
