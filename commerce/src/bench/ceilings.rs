//! Ceilings: what the same clients, threads and processors can do when nothing is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::HeaderValue;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use warp::Filter;

use super::client::{Client, OverHttp, Post, Refused};
use super::failed;
use crate::cli::Failure;

/// How long each ceiling is measured.
const MEASURED_FOR: Duration = Duration::from_millis(500);
/// What waits in the channel of the one task that answers.
const WAITING_MAX: usize = 1_024;

/// Round trips per second of `clients` tasks with one task that answers, over tokio's channels.
pub(super) async fn mpsc(clients: usize) -> Result<f64, Failure> {
    let (ask, mut asked) = mpsc::channel::<(u64, mpsc::Sender<u64>)>(WAITING_MAX);
    let answering = tokio::spawn(async move {
        while let Some((number, answer)) = asked.recv().await {
            // Whoever stopped in between needs no answer.
            let _ = answer.send(number).await;
        }
    });
    let clients = (0..clients).map(|_| {
        let ask = ask.clone();
        let (answer, mut answered) = mpsc::channel(1);
        move |over: Arc<AtomicBool>| async move {
            let mut trips = 0;
            while !over.load(Ordering::Relaxed) {
                ask.send((trips, answer.clone())).await.map_err(failed)?;
                answered.recv().await;
                trips += 1;
            }
            Ok(trips)
        }
    });
    let rate = rate(clients).await;
    drop(ask);
    answering.await.map_err(failed)?;
    rate
}

/// Answers per second of `warp` alone, which says the same to everybody, to clients that ask as
/// those of the measurement do.
pub(super) async fn http(
    clients: usize,
    bearer: Option<HeaderValue>,
    body: Bytes,
) -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let stop = CancellationToken::new();
    let routes = warp::any().map(|| "a constant");
    let serving = tokio::spawn(
        warp::serve(routes)
            .incoming(listener)
            .graceful(stop.clone().cancelled_owned())
            .run(),
    );
    let mut connected = Vec::with_capacity(clients);
    for client in 0..clients as u64 {
        let body = body.clone();
        let post = move |_| Post {
            path: "/",
            body: body.clone(),
            expected: b"",
        };
        let client = OverHttp::connect(address, client << 40, bearer.clone(), post).await;
        connected.push(client.map_err(|refused| failed(format!("no connection: {refused:?}")))?);
    }
    let clients = connected.into_iter().map(|mut client| {
        move |over: Arc<AtomicBool>| async move {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                match client.operate().await {
                    Ok(()) => answers += 1,
                    Err(Refused::Overloaded(_)) => {}
                    Err(Refused::Failed(reason)) => return Err(failed(reason)),
                }
            }
            Ok(answers)
        }
    });
    let rate = rate(clients).await;
    stop.cancel();
    serving.await.map_err(failed)?;
    rate
}

/// Lets all of them work for a while; what they did together in a second.
async fn rate<C, W>(clients: impl Iterator<Item = C>) -> Result<f64, Failure>
where
    C: FnOnce(Arc<AtomicBool>) -> W,
    W: Future<Output = Result<u64, Failure>> + Send + 'static,
{
    let over = Arc::new(AtomicBool::new(false));
    let mut working = JoinSet::new();
    let began = Instant::now();
    for client in clients {
        working.spawn(client(over.clone()));
    }
    tokio::time::sleep(MEASURED_FOR).await;
    over.store(true, Ordering::Relaxed);
    let mut done = 0;
    while let Some(ended) = working.join_next().await {
        done += ended.map_err(failed)??;
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn there_is_a_ceiling_for_one_client_and_for_many() {
        for clients in [1, 16] {
            assert!(mpsc(clients).await.unwrap() > 0.0);
            let body = Bytes::from_static(b"{}");
            assert!(http(clients, None, body).await.unwrap() > 0.0);
        }
    }
}
