//! W1 while checkpoints follow each other, beside W1 while there are none.

use std::path::Path;

use redeliver::{Config, System};
use serde_json::json;

use super::super::counter::Counter;
use super::super::failed;
use super::super::measured::Driven;
use super::{MIB, Object, Run, compared};
use crate::cli::Failure;

/// So many rows that a checkpoint has something to write.
const ROWS: u32 = 100_000;

pub(super) async fn measure(run: &Run<'_>) -> Result<Object, Failure> {
    let without = u64::MAX / 2;
    let (small, _) = with(run, without, &run.data("without")).await?;
    let (large, checkpoint) = with(run, 8 * MIB, &run.data("with")).await?;
    let mut object = compared(&small, &large);
    object.insert("last_checkpoint".to_owned(), json!(checkpoint));
    Ok(object)
}

/// W1 with a checkpoint after so many bytes; the position of the last one.
async fn with(run: &Run<'_>, after: u64, dir: &Path) -> Result<(Driven, u64), Failure> {
    let config = Config {
        checkpoint_after_bytes: after,
        uncheckpointed_bytes_max: after.max(256 * MIB),
        ..Config::default()
    };
    let builder = System::open(dir).config(config).service(Counter);
    let system = builder.start().await.map_err(failed)?;
    let driven = run.increments(&system, &system.service(), ROWS).await;
    let checkpoint = system.report().store.checkpoint;
    Ok((run.stop(system, driven).await?, checkpoint))
}
