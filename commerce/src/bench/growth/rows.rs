//! W1 over many rows, taken at random, beside W1 over a thousand of the same.

use redeliver::Config;
use serde_json::json;

use super::super::counter::{self, COUNTERS, Increment};
use super::super::failed;
use super::{MIB, Object, Run, bytes_below, compared};
use crate::cli::Failure;

pub(super) async fn measure(run: &Run<'_>, rows: u32) -> Result<Object, Failure> {
    let dir = run.data("rows");
    let (system, counter) = counter::start(&dir).await.map_err(failed)?;
    let measured = async {
        let small = run.increments(&system, &counter, COUNTERS).await?;
        let filled = counter.clone();
        let put = move |row: u64| {
            let counter = filled.clone();
            async move {
                let counter_of = row as u32;
                let increment = Increment {
                    counter: counter_of,
                };
                counter.call(increment).await.map(|_| ())
            }
        };
        run.fill("filling", rows.into(), put).await?;
        run.settle().await?;
        let large = run.increments(&system, &counter, rows).await?;
        Ok((small, large))
    };
    let measured = measured.await;
    let (small, large) = run.stop(system, measured).await?;
    let mut object = compared(&small, &large);
    object.insert("rows".to_owned(), json!(rows));
    let config = Config::default();
    let budget = (config.cache_bytes + config.uncheckpointed_bytes_max) / MIB;
    object.insert("memory_budget_mib".to_owned(), json!(budget));
    object.insert("disk_mib".to_owned(), json!(bytes_below(&dir) / MIB));
    Ok(object)
}
