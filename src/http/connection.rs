//! One connection: its protocol, its silence and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::busy::Busy;
use super::exchange;
use super::refusal::Refusing;
use super::server::{ServerConfig, Shared};
use super::stall::Stalling;

/// hyper refuses smaller buffers.
const HEADER_BYTES_MIN: usize = 8 * 1024;

/// Why a connection should end before its client ends it.
enum Ending {
    /// The head of a request has not come in time.
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
    number: u64,
    shared: Arc<Shared>,
    _slot: Option<OwnedSemaphorePermit>,
) {
    // Answers are written whole; waiting to fill a packet would only delay them. A socket that
    // refuses is already gone and will say so when it is read.
    let _ = stream.set_nodelay(true);
    let config = shared.config;
    let busy = Arc::new(Busy::open(number, &shared.connections));
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, running) = (Arc::clone(&shared), busy.begin(request.version()));
        async move { Ok::<_, Infallible>(exchange::answer(request, peer, &shared, running).await) }
    });
    let builder = protocol(&config);
    let stream = Stalling::new(stream, config.write_timeout);
    let io = TokioIo::new(Refusing::new(stream, Arc::clone(&shared)));
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));

    // In a task of its own: here it would be asked again whenever the connection has something to do.
    let (tell, told) = oneshot::channel();
    let minding = tokio::spawn(mind(Arc::clone(&busy), Arc::clone(&shared), tell));
    let _minding = AbortOnDropHandle::new(minding);
    let ending = tokio::select! {
        biased;
        ended = connection.as_mut() => return note(peer, ended),
        ending = told => ending.unwrap_or(Ending::Draining),
    };
    match ending {
        // A client that says nothing is owed nothing.
        Ending::Silent => return,
        Ending::Idle | Ending::Draining => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection.as_mut() => note(peer, ended),
        () = busy.idle_for(config.header_timeout), if matches!(ending, Ending::Idle) => {}
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
        // hyper would set a timer for each head, and take it back; `mind` looks at the clock.
        .header_read_timeout(None)
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

/// Tells when the connection should end: it has been silent for too long, somebody waits for its slot
/// while it is idle, or the server is draining.
///
/// hyper's own header time-out costs a timer for each request, and begins only when it knows the
/// protocol, which a client can put off for ever by sending nothing; and HTTP/2 has none.
async fn mind(busy: Arc<Busy>, shared: Arc<Shared>, tell: oneshot::Sender<Ending>) {
    let config = &shared.config;
    let ending = tokio::select! {
        () = shared.draining.cancelled() => Ending::Draining,
        () = busy.silent_for(config.header_timeout) => Ending::Silent,
        () = busy.idle_for(config.idle_timeout) => Ending::Idle,
        () = busy.slot_wanted() => Ending::Idle,
    };
    // Nobody hears it when the connection has ended by itself.
    let _ = tell.send(ending);
}

fn note<E: std::fmt::Debug>(peer: SocketAddr, ended: Result<(), E>) {
    // Clients hang up, time out and talk nonsense all day: nothing an operator should act on.
    if let Err(error) = ended {
        tracing::debug!(%peer, ?error, "connection ended early");
    }
}
