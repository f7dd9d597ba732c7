//! Clients that are slow, silent, greedy or many cost one slot for a bounded time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redeliver::http::{self, ServerConfig};
use tokio::sync::{Notify, Semaphore};
use warp::Filter;

use crate::Server;
use crate::client::Client;

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(3_600);

/// Time-outs so long that a test in which one matters never ends.
fn patient() -> ServerConfig {
    ServerConfig {
        header_timeout: LONG,
        body_timeout: LONG,
        write_timeout: LONG,
        idle_timeout: LONG,
        drain_timeout: LONG,
        ..ServerConfig::default()
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let config = ServerConfig {
        header_timeout: SHORT,
        ..patient()
    };
    let server = Server::start(warp::any().map(warp::reply), config).await;
    let silent = Client::connect(server.address).await;
    assert_eq!(silent.closed().await, b"");
    assert_eq!(server.served().await.requests, 0);
}

#[tokio::test]
async fn a_client_that_never_ends_its_header_is_dropped() {
    let config = ServerConfig {
        header_timeout: SHORT,
        ..patient()
    };
    let server = Server::start(warp::any().map(warp::reply), config).await;
    let mut slow = Client::connect(server.address).await;
    slow.send("GET / HTTP/1.1\r\nX-Slow: ").await;
    assert_eq!(slow.closed().await, b"");
    // The same after a first request that was in order.
    let mut slow = Client::connect(server.address).await;
    assert_eq!(slow.get("/").await.status, 200);
    slow.send("GET / HTTP/1.1\r\nX-Slow: ").await;
    slow.closed().await;
    assert_eq!(server.served().await.requests, 1);
}

#[tokio::test]
async fn a_connection_that_stays_idle_is_closed() {
    let config = ServerConfig {
        idle_timeout: SHORT,
        ..patient()
    };
    let server = Server::start(warp::any().map(warp::reply), config).await;
    let mut idle = Client::connect(server.address).await;
    assert_eq!(idle.get("/").await.status, 200);
    assert_eq!(idle.closed().await, b"");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let config = ServerConfig {
        body_timeout: SHORT,
        ..patient()
    };
    let routes = warp::body::bytes().map(|_| "read");
    let server = Server::start(routes, config).await;
    let mut slow = Client::connect(server.address).await;
    slow.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    slow.answer().await.problem(408, "request-timeout");
}

#[tokio::test]
async fn a_header_that_is_too_long_is_refused() {
    let config = ServerConfig {
        header_bytes_max: 8 * 1024,
        ..patient()
    };
    let server = Server::start(warp::any().map(warp::reply), config).await;
    let mut greedy = Client::connect(server.address).await;
    let long = "x".repeat(16 * 1024);
    greedy
        .send(format!("GET / HTTP/1.1\r\nX-Long: {long}"))
        .await;
    let said = greedy.closed().await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431"));
    assert_eq!(server.served().await.requests, 0);
}

#[tokio::test]
async fn a_body_over_the_cap_is_answered_with_413_whether_its_length_is_told_or_not() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let routes = warp::body::bytes().map(move |body: bytes::Bytes| {
        count.fetch_add(1, Ordering::SeqCst);
        body.len().to_string()
    });
    let config = ServerConfig {
        body_bytes_max: 8,
        ..patient()
    };
    let server = Server::start(routes, config).await;

    let mut told = Client::connect(server.address).await;
    let problem = told.ask("POST", "/", "", "123456789").await;
    assert_eq!(problem.problem(413, "body-too-large")["limit_bytes"], 8);

    let mut chunked = Client::connect(server.address).await;
    chunked
        .send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    chunked.send("5\r\n12345\r\n4\r\n6789\r\n0\r\n\r\n").await;
    chunked.answer().await.problem(413, "body-too-large");
    assert_eq!(reached.load(Ordering::SeqCst), 0);

    let mut fits = Client::connect(server.address).await;
    assert_eq!(fits.ask("POST", "/", "", "12345678").await.body, b"8");
}

#[tokio::test]
async fn no_more_connections_run_than_there_are_slots() {
    const SLOTS: usize = 2;
    let gate = Arc::new(Semaphore::new(0));
    let inside = Arc::new(AtomicUsize::new(0));
    let peak = Arc::new(AtomicUsize::new(0));
    let full = Arc::new(Notify::new());
    let routes = {
        let (gate, inside, peak, full) = (gate.clone(), inside, peak.clone(), full.clone());
        warp::any().then(move || {
            let (gate, inside, peak, full) =
                (gate.clone(), inside.clone(), peak.clone(), full.clone());
            async move {
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                peak.fetch_max(now, Ordering::SeqCst);
                if now == SLOTS {
                    full.notify_one();
                }
                gate.acquire().await.unwrap().forget();
                inside.fetch_sub(1, Ordering::SeqCst);
                "done"
            }
        })
    };
    let config = ServerConfig {
        connections_max: SLOTS,
        ..patient()
    };
    let server = Server::start(routes, config).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(server.address).await;
        client
            .send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
        clients.push(client);
    }
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, full.notified())
        .await
        .unwrap();
    gate.add_permits(clients.len());
    for client in &mut clients {
        assert_eq!(client.answer().await.body, b"done");
    }
    assert_eq!(peak.load(Ordering::SeqCst), SLOTS);
    assert_eq!(server.served().await.connections, 5);
}

#[tokio::test]
async fn an_idle_connection_gives_its_slot_to_who_waits() {
    let config = ServerConfig {
        connections_max: 1,
        ..patient()
    };
    let server = Server::start(warp::any().map(|| "done"), config).await;
    let mut idle = Client::connect(server.address).await;
    assert_eq!(idle.get("/").await.body, b"done");
    // No time-out helps this one: they are all an hour long.
    let mut waiting = Client::connect(server.address).await;
    assert_eq!(waiting.get("/").await.body, b"done");
    assert_eq!(idle.closed().await, b"");
}

#[tokio::test]
async fn a_panicking_route_answers_500_and_the_connection_goes_on() {
    let routes = warp::path!("panic")
        .map(|| -> &'static str { panic!("planted") })
        .or(warp::path!("fine").map(|| "fine"));
    let server = Server::start(routes, patient()).await;
    let mut client = Client::connect(server.address).await;
    let problem = client.get("/panic").await.problem(500, "internal");
    assert!(!problem.to_string().contains("planted"));
    assert_eq!(client.get("/fine").await.body, b"fine");
}

#[tokio::test]
async fn a_route_learns_the_address_of_its_client() {
    let routes = http::peer().map(|peer: Option<std::net::SocketAddr>| peer.unwrap().to_string());
    let server = Server::start(routes, patient()).await;
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let ours = stream.local_addr().unwrap().to_string();
    let mut client = Client::on(stream);
    assert_eq!(client.get("/").await.body, ours.as_bytes());
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let routes = warp::path!("echo")
        .and(warp::body::bytes())
        .map(|body: bytes::Bytes| body.to_vec())
        .or(warp::path!("panic").map(|| -> &'static str { panic!("planted") }));
    let config = ServerConfig {
        body_bytes_max: 8,
        ..patient()
    };
    let server = Server::start(routes, config).await;
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = async |path: &str, body: &'static str| {
        let request = hyper::Request::post(format!("http://x{path}"))
            .body(Full::new(bytes::Bytes::from(body)))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            answer.into_body().collect().await.unwrap().to_bytes(),
        )
    };
    assert_eq!(ask("/echo", "hello").await, (200, "hello".into()));
    assert_eq!(ask("/echo", "too long for it").await.0, 413);
    assert_eq!(ask("/panic", "").await.0, 500);
    assert_eq!(ask("/echo", "again").await, (200, "again".into()));
    drop(sender);
    connection.await.unwrap().unwrap();
    let served = server.served().await;
    assert_eq!((served.connections, served.requests), (1, 4));
}
