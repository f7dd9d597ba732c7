//! The real stack against a model in memory: whatever is asked, in whatever order, and however often
//! the system is restarted, killed or loses power in between, every answer is the model's.
//!
//! A run is a list of operations that proptest makes up and, when an answer differs, shortens. Each
//! runs against a [`Stack`]: the whole system in virtual time on a simulated disk, or on sled in a
//! directory. `PROPTEST_CASES` says how many runs (default 48, and a quarter of it on a real disk).
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;
mod model;
mod operations;
mod services;
mod stack;

use std::time::Duration;

use model::{Deed, Model};
use operations::{Op, operations};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use stack::{Real, Simulated, Stack};

fn config(cases: u32, max_shrink_iters: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES");
    let cases_asked = asked.ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases_asked.unwrap_or(cases),
        max_shrink_iters,
        // What fails is printed; the operations are the test to keep.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Runs operations against a stack and the model beside it.
async fn run(mut stack: impl Stack, operations: Vec<Op>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for (n, op) in operations.into_iter().enumerate() {
        let what = format!("operation {n}, {op:?}");
        if let Err(different) = op.run(&mut stack, &mut model).await {
            return Err(TestCaseError::fail(format!("{what}: {different}")));
        }
    }
    stack.end().await;
    Ok(())
}

proptest! {
    #![proptest_config(config(48, 2_000))]

    #[test]
    fn a_simulated_stack_answers_as_the_model_does_through_restarts_kills_and_power_losses(
        seed: u64,
        operations in operations(60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async { run(Simulated::start(seed).await, operations).await })?;
    }
}

proptest! {
    #![proptest_config(config(12, 100))]

    #[test]
    fn a_stack_on_sled_answers_as_the_model_does_through_restarts(operations in operations(40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let ended = runtime.block_on(async {
            let all = async { run(Real::start().await, operations).await };
            tokio::time::timeout(Duration::from_secs(60), all).await
        });
        ended.map_err(|_| TestCaseError::fail("it hangs"))??;
    }
}

/// A model that is wrong in one thing stands for a stack that is.
#[tokio::test(start_paused = true)]
async fn a_difference_in_anything_is_seen() {
    let wrong: [fn(&mut Model); 6] = [
        |model| model.items.clear(),
        |model| model.items.values_mut().for_each(|item| item.tag.clear()),
        |model| model.published.reverse(),
        |model| drop(model.published.pop()),
        |model| model.reminders.clear(),
        |model| model.go_off(1),
    ];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let mut stack = Simulated::start(n as u64).await;
        let mut model = Model::default();
        let put = |place| Deed::Put {
            shelf: "a".to_owned(),
            place,
            amount: 1,
            tag: "t".to_owned(),
        };
        let operations = [
            Op::Do(put(1), Some(1)),
            Op::Do(put(2), None),
            Op::Remind(0, 3_600_000),
            Op::Restart,
        ];
        for op in operations {
            op.run(&mut stack, &mut model).await.unwrap();
        }
        wrong(&mut model);
        let seen = Op::Restart.run(&mut stack, &mut model).await;
        assert!(seen.is_err(), "difference {n} is not seen");
        model = Model::default();
        let seen = Op::Do(put(1), Some(1)).run(&mut stack, &mut model).await;
        assert!(seen.is_ok(), "a stored answer is the first one's: {seen:?}");
        let seen = Op::Do(put(1), None).run(&mut stack, &mut model).await;
        assert!(
            seen.is_ok(),
            "and what is done again finds the first: {seen:?}"
        );
        model.answers.clear();
        let seen = Op::Do(put(3), Some(1)).run(&mut stack, &mut model).await;
        assert!(seen.is_err(), "a key that was used is not used again");
    }
}
