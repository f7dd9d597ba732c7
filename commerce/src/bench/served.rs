//! A server for the clients over HTTP, in the process that is measured.

use std::net::SocketAddr;

use redeliver::http::{self, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use warp::{Filter, Rejection, Reply};

use super::failed;
use crate::cli::Failure;

/// A running server on a free port of the loopback address.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<http::Served>,
}

impl Served {
    pub(super) async fn start<F>(routes: F) -> Result<Served, Failure>
    where
        F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
        F::Extract: Reply,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(|error| failed(format!("no free port: {error}")))?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let config = ServerConfig::default();
        let serving = tokio::spawn(http::serve(listener, routes, config, stopped));
        Ok(Served {
            address,
            stop,
            serving,
        })
    }

    /// Stops the server; its clients must have gone.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.serving.await.map(|_| ()).map_err(failed)
    }
}
