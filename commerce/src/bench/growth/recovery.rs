//! A start after `kill -9`: how many turns it replays in a second, and when it is ready.
//!
//! A second process fills the journal and goes on under full load until it is killed; this one
//! opens what is left.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use redeliver::{Config, System};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::counter::{COUNTERS, Counter, Increment};
use super::super::measured::rounded;
use super::super::{failed, machine};
use super::second::Second;
use super::{Object, Run, mixed};
use crate::cli::Failure;

const FILLED: &str = "filled";
/// How long the load goes on after that.
const UNDER_LOAD: Duration = Duration::from_millis(200);

pub(super) async fn measure(run: &Run<'_>, turns: u64) -> Result<Object, Failure> {
    let dir = run.data("recovery");
    run.progress.say("filling the journal in a second process");
    killed(&dir, turns, run.setting.stopped).await?;
    run.progress.say("starting");
    let began = Instant::now();
    let system = System::open(&dir).service(Counter).start().await;
    let system = system.map_err(failed)?;
    let one = Increment { counter: 0 };
    let answered = system.service::<Counter>().call(one).await;
    let ready_in = began.elapsed();
    let recovered = system.report().recovered;
    let rss_kib = machine::usage(machine::SELF).1;
    run.stop(system, answered.map_err(failed)).await?;
    let replay_s = recovered.ms as f64 / 1_000.0;
    let turns_s = recovered.commits as f64 / replay_s.max(0.001);
    Ok(Object::from_iter([
        ("replayed_commits".to_owned(), json!(recovered.commits)),
        ("replay_ms".to_owned(), json!(recovered.ms)),
        ("replayed_turns_s".to_owned(), json!(rounded(turns_s))),
        (
            "ready_ms".to_owned(),
            json!(rounded(ready_in.as_secs_f64() * 1_000.0)),
        ),
        (
            "rss_mib".to_owned(),
            json!(rounded(rss_kib as f64 / 1024.0)),
        ),
    ]))
}

/// Lets a second process fill a journal and kills it under load.
async fn killed(dir: &Path, turns: u64, stopped: &CancellationToken) -> Result<(), Failure> {
    let turns = turns.to_string();
    let arguments = ["bench", "--turns", &turns, "--fill"].map(OsString::from);
    let second = Second::start(arguments.into_iter().chain([dir.into()]), stopped).await?;
    if second.said != FILLED {
        return Err(failed(
            "the second process ended before its journal was filled",
        ));
    }
    tokio::time::sleep(UNDER_LOAD).await;
    second.kill().await
}

/// The second process: puts so many turns into the journal, says so, and goes on until it is
/// killed.
pub(in crate::bench) async fn fill(dir: &Path, turns: u64) -> Result<(), Failure> {
    let config = Config {
        // All of it is to be replayed, so nothing is checkpointed.
        checkpoint_after_bytes: u64::MAX / 2,
        uncheckpointed_bytes_max: u64::MAX / 2,
        ..Config::default()
    };
    let builder = System::open(dir).config(config).service(Counter);
    let system = builder.start().await.map_err(failed)?;
    let counter = system.service::<Counter>();
    let increment = move |nth| {
        let counter = counter.clone();
        async move {
            let increment = Increment {
                counter: (mixed(nth) % u64::from(COUNTERS)) as u32,
            };
            counter.call(increment).await.map(|_| ())
        }
    };
    let never = CancellationToken::new();
    super::fill(&never, turns, increment.clone()).await?;
    super::super::say(FILLED)?;
    super::fill(&never, u64::MAX, increment).await
}
