//! A server that is told to stop finishes what runs and takes no more.

use std::sync::Arc;
use std::time::Duration;

use redeliver::http::{self, Draining, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use warp::Filter;

use crate::Server;
use crate::client::Client;

#[tokio::test]
async fn a_running_request_is_finished_and_no_new_one_is_taken() {
    let inside = Arc::new(Notify::new());
    let drains = Arc::new(Notify::new());
    let gate = Arc::new(Notify::new());
    let routes = {
        let (inside, drains, gate) = (inside.clone(), drains.clone(), gate.clone());
        http::draining().then(move |Draining(token): Draining| {
            let (inside, drains, gate) = (inside.clone(), drains.clone(), gate.clone());
            async move {
                inside.notify_one();
                token.cancelled().await;
                drains.notify_one();
                gate.notified().await;
                "finished"
            }
        })
    };
    let mut server = Server::start(routes, ServerConfig::default()).await;
    let mut idle = Client::connect(server.address).await;
    idle.send("GET / HT").await;
    let mut client = Client::connect(server.address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    inside.notified().await;
    server.stop();
    // The request hears of the drain only when the listener is gone.
    drains.notified().await;
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(idle);
    gate.notify_one();
    let answer = client.answer().await;
    assert_eq!(answer.body, b"finished");
    assert_eq!(answer.headers["connection"], "close");
    assert_eq!(client.closed().await, b"");
    let served = server.served().await;
    assert_eq!((served.requests, served.cut_off), (1, 0));
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_is_cut_off() {
    let inside = Arc::new(Notify::new());
    let routes = {
        let inside = inside.clone();
        warp::any().then(move || {
            inside.notify_one();
            std::future::pending::<&'static str>()
        })
    };
    let config = ServerConfig {
        drain_timeout: Duration::from_millis(50),
        ..ServerConfig::default()
    };
    let server = Server::start(routes, config).await;
    let mut client = Client::connect(server.address).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    inside.notified().await;
    assert_eq!(server.served().await.cut_off, 1);
    assert_eq!(client.closed().await, b"");
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let config = ServerConfig {
        drain_timeout: Duration::from_secs(3_600),
        ..ServerConfig::default()
    };
    let server = Server::start(warp::any().map(|| "done"), config).await;
    let mut idle = Client::connect(server.address).await;
    idle.get("/").await;
    let silent = Client::connect(server.address).await;
    assert_eq!(server.served().await.cut_off, 0);
    assert_eq!(idle.closed().await, b"");
    assert_eq!(silent.closed().await, b"");
}
