//! The HTTP server and its routes, tried over real sockets on the loopback address.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used)]

mod client;
mod dashboard;
mod drain;
mod events;
mod facade;
mod limits;
mod problems;
mod stand_in;
mod system;

use std::net::SocketAddr;

use redeliver::http::{Served, ServerConfig, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use warp::{Filter, Rejection, Reply};

/// A server on a port of its own.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Served>,
}

impl Server {
    async fn start<F>(routes: F, config: ServerConfig) -> Server
    where
        F: Filter + Clone + Send + Sync + 'static,
        F::Extract: Reply,
        F::Error: Into<Rejection>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            serve(listener, routes, config, async {
                // A test that does not care drops the server, which then ends with its runtime.
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            })
            .await
        });
        Server {
            address,
            stop: Some(stop),
            served,
        }
    }

    /// Pulls the trigger; the drain begins.
    fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    async fn served(mut self) -> Served {
        if self.stop.is_some() {
            self.stop();
        }
        self.served.await.unwrap()
    }
}
