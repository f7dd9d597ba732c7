//! One connection: its protocol, its silence and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::exchange;
use super::refusal::Refusing;
use super::server::{ServerConfig, Shared};
use super::stall::Stalling;

/// hyper refuses smaller buffers.
const HEADER_BYTES_MIN: usize = 8 * 1024;

/// How busy a connection is.
#[derive(Debug, Clone, Copy, Default)]
struct Activity {
    asked: u64,
    running: u64,
}

/// The busy side of a connection's activity.
#[derive(Debug, Clone)]
pub(super) struct Busy(Arc<watch::Sender<Activity>>);

/// Keeps the connection busy until the answer's last byte has been handed over.
#[derive(Debug)]
pub(super) struct Running(Busy);

impl Busy {
    /// A request has come.
    pub(super) fn begin(&self) -> Running {
        self.0.send_modify(|activity| {
            activity.asked += 1;
            activity.running += 1;
        });
        Running(self.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_modify(|activity| activity.running -= 1);
    }
}

/// Why a connection should end before its client ends it.
enum Ending {
    /// It has not come to its first request.
    Silent,
    /// Nothing runs on it, and it was idle for too long or somebody waits for its slot.
    Idle,
    /// The server is draining.
    Draining,
}

/// Answers the requests of one connection until either side ends it.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    _slot: Option<OwnedSemaphorePermit>,
) {
    // Answers are written whole; waiting to fill a packet would only delay them. A socket that
    // refuses is already gone and will say so when it is read.
    let _ = stream.set_nodelay(true);
    let config = shared.config;
    let (sender, activity) = watch::channel(Activity::default());
    let busy = Busy(Arc::new(sender));
    let for_requests = Arc::clone(&shared);
    let service = service_fn(move |request| {
        let (shared, busy) = (Arc::clone(&for_requests), busy.clone());
        async move { Ok::<_, Infallible>(exchange::answer(request, peer, &shared, &busy).await) }
    });
    let builder = protocol(&config);
    let stream = Stalling::new(stream, config.write_timeout);
    let io = TokioIo::new(Refusing::new(stream, Arc::clone(&shared)));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));

    let ending = tokio::select! {
        ended = connection.as_mut() => return note(peer, ended),
        ending = silence(activity.clone(), &shared) => ending,
        () = shared.draining.cancelled() => Ending::Draining,
    };
    match ending {
        // A client that says nothing is owed nothing.
        Ending::Silent => return,
        Ending::Idle | Ending::Draining => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection.as_mut() => note(peer, ended),
        () = gone(activity, &config), if matches!(ending, Ending::Idle) => {}
        () = shared.cut_off.cancelled() => {
            tracing::warn!(%peer, "connection cut off at the end of the drain");
            shared.cut_off_count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn protocol(config: &ServerConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(config.header_bytes_max.max(HEADER_BYTES_MIN));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        // A peer that vanished without a word answers no ping.
        .keep_alive_interval(config.idle_timeout)
        .keep_alive_timeout(config.header_timeout);
    builder
}

/// Resolves when the connection has been silent for too long, or is silent while somebody waits
/// for its slot.
///
/// hyper's own header time-out begins only when it knows the protocol, which a client can put off
/// for ever by sending nothing; and HTTP/2 has none.
async fn silence(mut activity: watch::Receiver<Activity>, shared: &Shared) -> Ending {
    let config = &shared.config;
    let first = timeout(
        config.header_timeout,
        activity.wait_for(|activity| activity.asked > 0),
    );
    // The sender lives as long as the connection, so waiting never fails.
    if first.await.is_err() {
        return Ending::Silent;
    }
    loop {
        let asked = match activity.wait_for(|activity| activity.running == 0).await {
            Ok(activity) => activity.asked,
            Err(_) => return Ending::Idle,
        };
        tokio::select! {
            _ = activity.wait_for(|activity| activity.asked > asked) => {}
            () = sleep(config.idle_timeout) => return Ending::Idle,
            () = shared.slot_wanted.notified() => return Ending::Idle,
        }
    }
}

/// Resolves when nothing has run for a while on a connection that was asked to end: its client
/// does not let go.
async fn gone(mut activity: watch::Receiver<Activity>, config: &ServerConfig) {
    loop {
        // An error says that no request can come any more; the time still counts.
        let _ = activity.wait_for(|activity| activity.running == 0).await;
        let asked = activity.borrow().asked;
        let more = activity.wait_for(|activity| activity.asked > asked);
        if timeout(config.header_timeout, more).await.is_err() {
            return;
        }
    }
}

fn note<E: std::fmt::Debug>(peer: SocketAddr, ended: Result<(), E>) {
    // Clients hang up, time out and talk nonsense all day: nothing an operator should act on.
    if let Err(error) = ended {
        tracing::debug!(%peer, ?error, "connection ended early");
    }
}
