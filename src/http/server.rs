//! The server: accepts connections within limits and answers them until told to stop.
//!
//! Whoever calls [`serve`] owns the listener's address and the trigger of its end. Every limit
//! has a default and none can be switched off: a client that is slow, silent, greedy or gone
//! costs one slot for a bounded time. A panic in a route answers one request with a 500.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use warp::{Filter, Rejection, Reply};

use super::busy::Connections;
use super::connection;
use super::exchange::Routes;
use super::metrics::Traffic;
use super::recover::recover;
use crate::clock::{Clock, SystemClock};
use crate::persistence::open_files::connections_max;

/// Limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// Connections at a time. One more is accepted and waits for a slot; the rest wait in the
    /// kernel's queue. An idle connection gives its slot to who waits.
    ///
    /// Waiting is preferred to answering 503: refusing costs a handshake and an answer per
    /// attempt just when there is no time for either, and a closed socket with an unread
    /// request loses the answer anyway. Time-outs keep the wait bounded.
    ///
    /// Fewer where the process may not open so many files (`ulimit -n`, whose soft limit is
    /// raised as far as needed): the store keeps some for itself.
    pub connections_max: usize,
    /// From the opening of a connection to the end of its first request head, and for every
    /// later head of HTTP/1 including the silence before it.
    pub header_timeout: Duration,
    /// Longest request head; at least 8 KiB.
    pub header_bytes_max: usize,
    /// Longest request body; a longer one is answered with 413.
    pub body_bytes_max: u64,
    /// From the first wait for a request's body to its end.
    pub body_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long a connection may be silent between requests.
    pub idle_timeout: Duration,
    /// How long running requests may take after the server was told to stop. Then they are cut
    /// off.
    pub drain_timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            connections_max: 4_096,
            header_timeout: Duration::from_secs(30),
            header_bytes_max: 32 * 1024,
            body_bytes_max: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// What a server has done by its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Connections taken.
    pub connections: u64,
    /// Requests answered or cut off.
    pub requests: u64,
    /// Connections cut off because they outlived the drain.
    pub cut_off: u64,
}

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) config: ServerConfig,
    pub(super) routes: Routes,
    /// Cancelled when the listener is gone: finish what runs, take no more.
    pub(super) draining: CancellationToken,
    /// Cancelled at the end of the drain: stop.
    pub(super) cut_off: CancellationToken,
    pub(super) connections: Arc<Connections>,
    pub(super) connection_count: AtomicU64,
    pub(super) cut_off_count: AtomicU64,
    pub(super) request_count: AtomicU64,
    pub(super) traffic: Traffic,
    /// What was sent and was no request.
    pub(super) refused_count: AtomicU64,
    /// Tells the request ids of this server from those of others.
    pub(super) id_prefix: String,
}

/// Answers requests on `listener` with `routes` until `shutdown` resolves, then drains: the
/// listener closes, running requests finish, connections close; at the deadline the rest is cut
/// off. Returns when no connection is left.
pub async fn serve<F>(
    listener: TcpListener,
    routes: F,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Served
where
    F: Filter + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Error: Into<Rejection>,
{
    let routes = warp::service(routes.boxed().recover(recover));
    let shared = Arc::new(Shared {
        config,
        routes: Box::new(move |request| {
            let answer = routes.clone().call(request);
            Box::pin(async move {
                answer
                    .await
                    .unwrap_or_else(|never: Infallible| match never {})
            })
        }),
        draining: CancellationToken::new(),
        cut_off: CancellationToken::new(),
        connections: Arc::default(),
        connection_count: AtomicU64::new(0),
        cut_off_count: AtomicU64::new(0),
        request_count: AtomicU64::new(0),
        traffic: Traffic::default(),
        refused_count: AtomicU64::new(0),
        id_prefix: format!("{:016x}", SystemClock.entropy()),
    });
    let running = TaskTracker::new();
    tokio::select! {
        never = accept_all(&listener, &shared, &running) => match never {},
        () = shutdown => {}
    }
    // Close the door before telling those inside: who hears of the drain can rely on it.
    drop(listener);
    drain(&shared, &running).await;
    Served {
        connections: shared.connection_count.load(Ordering::Relaxed),
        requests: shared.request_count.load(Ordering::Relaxed),
        cut_off: shared.cut_off_count.load(Ordering::Relaxed),
    }
}

async fn accept_all(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    running: &TaskTracker,
) -> Infallible {
    let slots = connections_max(shared.config.connections_max);
    if slots < shared.config.connections_max {
        tracing::warn!(
            connections_max = slots,
            "fewer connections than configured: the process may open too few files"
        );
    }
    let slots = Arc::new(Semaphore::new(slots));
    loop {
        let (stream, peer) = accept(listener).await;
        let slot = take_slot(&slots, shared).await;
        let number = shared.connection_count.fetch_add(1, Ordering::Relaxed);
        running.spawn(connection::run(
            stream,
            peer,
            number,
            Arc::clone(shared),
            slot,
        ));
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    const PAUSE_FIRST: Duration = Duration::from_millis(10);
    const PAUSE_MAX: Duration = Duration::from_secs(1);
    let mut pause = PAUSE_FIRST;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Either the client is gone again, or descriptors or memory have run out: then the
            // pause lets running requests give some back.
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn take_slot(slots: &Arc<Semaphore>, shared: &Shared) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        return Some(slot);
    }
    shared.connections.slot_wanted();
    // Never closed, so never `None`.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    shared.connections.slot_taken();
    slot
}

async fn drain(shared: &Shared, running: &TaskTracker) {
    running.close();
    shared.draining.cancel();
    let drained = tokio::time::timeout(shared.config.drain_timeout, running.wait()).await;
    if drained.is_err() {
        shared.cut_off.cancel();
        running.wait().await;
    }
}
