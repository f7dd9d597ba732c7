//! The shop at rest: how soon it is ready on an empty directory, and what it takes when nobody
//! asks for anything.

use std::ffi::OsString;
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::measured::rounded;
use super::super::{failed, machine};
use super::second::Second;
use super::{Object, Run};
use crate::cli::Failure;

/// The metric that counts the store's syncs.
const SYNCS: &str = "redeliver_store_disk_syncs_total ";

pub(super) async fn measure(run: &Run<'_>) -> Result<Object, Failure> {
    run.progress.say("starting the shop in a second process");
    let began = Instant::now();
    let arguments = "serve --listen 127.0.0.1:0 --log warn --data".split(' ');
    let arguments = arguments
        .map(OsString::from)
        .chain([run.data("idle").into()]);
    let shop = Second::start(arguments, run.setting.stopped).await?;
    let ready_in = began.elapsed();
    let (Some(address), Some(pid)) = (shop.said.strip_prefix("ready http://"), shop.id()) else {
        return Err(failed("the shop could not start"));
    };
    let process = pid.to_string();
    // What a start has left to do is done by then.
    let rest = run.setting.measured_for;
    run.wait(rest / 5).await?;
    let before = (syncs(address).await?, machine::cpu_micros(&process));
    run.progress.say("resting");
    run.wait(rest).await?;
    let after = (syncs(address).await?, machine::cpu_micros(&process));
    let (written, rss_kib) = machine::usage(&process);
    shop.kill().await?;
    Ok(Object::from_iter([
        (
            "ready_ms".to_owned(),
            json!(rounded(ready_in.as_secs_f64() * 1_000.0)),
        ),
        ("seconds".to_owned(), json!(rest.as_secs())),
        (
            "rss_mib".to_owned(),
            json!(rounded(rss_kib as f64 / 1024.0)),
        ),
        ("fsyncs".to_owned(), json!(after.0.saturating_sub(before.0))),
        (
            "cpu_ms".to_owned(),
            json!(after.1.saturating_sub(before.1) / 1_000),
        ),
        ("bytes_written_since_start".to_owned(), json!(written)),
    ]))
}

async fn syncs(address: &str) -> Result<u64, Failure> {
    let unanswered = |error: std::io::Error| failed(format!("the shop's metrics: {error}"));
    let mut stream = TcpStream::connect(address).await.map_err(unanswered)?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(unanswered)?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .map_err(unanswered)?;
    let found = answer.lines().find_map(|line| line.strip_prefix(SYNCS));
    let number = found.and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| failed("the shop's metrics say nothing of syncs"))
}
