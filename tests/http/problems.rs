//! Whatever goes wrong is said as a problem, under the id of its request.

use redeliver::http::{self, Problem, RequestId, ServerConfig};
use serde::Deserialize;
use warp::http::Method;
use warp::{Filter, Rejection, Reply};

use crate::Server;
use crate::client::Client;

#[derive(Deserialize)]
struct Page {
    page: u32,
}

fn routes() -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let read = warp::path!("orders")
        .and(http::method(Method::GET))
        .map(|| "orders");
    let write = warp::path!("orders")
        .and(http::method(Method::POST))
        .and(warp::body::json())
        .map(|page: Page| page.page.to_string());
    let query = warp::path!("pages")
        .and(warp::query())
        .map(|page: Page| page.page.to_string());
    let plain = warp::path!("plain").and(warp::get()).map(|| "plain");
    let refused = warp::path!("refused")
        .and_then(|| async { Err::<&str, Rejection>(Problem::forbidden("not you").into()) });
    let id = warp::path!("id")
        .and(http::request_id())
        .map(|RequestId(id): RequestId| id.to_string());
    read.or(write).or(query).or(plain).or(refused).or(id)
}

async fn client() -> Client {
    let server = Server::start(routes(), ServerConfig::default()).await;
    Client::connect(server.address).await
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let mut client = client().await;
    let json = "Content-Type: application/json\r\n";
    let text = "Content-Type: text/plain\r\n";
    let cases = [
        ("GET", "/nowhere", "", "", 404, "not-found"),
        ("PUT", "/orders", "", "", 405, "method-not-allowed"),
        ("POST", "/plain", "", "", 405, "method-not-allowed"),
        ("POST", "/orders", json, "{", 400, "malformed-body"),
        ("POST", "/orders", json, "{}", 400, "malformed-body"),
        ("POST", "/orders", text, "{}", 415, "unsupported-media-type"),
        ("GET", "/pages?page=x", "", "", 400, "bad-request"),
        ("GET", "/refused", "", "", 403, "forbidden"),
    ];
    for (method, path, headers, body, status, kind) in cases {
        let answer = client.ask(method, path, headers, body).await;
        let problem = answer.problem(status, kind);
        assert_ne!(problem["detail"], "", "{method} {path}");
    }
    assert_eq!(
        client
            .ask("POST", "/orders", json, r#"{"page":1}"#)
            .await
            .body,
        b"1"
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let mut client = client().await;
    let wrong = client.ask("DELETE", "/orders", "", "").await;
    assert_eq!(wrong.headers["allow"], "GET, HEAD, POST, OPTIONS");
    let asked = client.ask("OPTIONS", "/orders", "", "").await;
    assert_eq!((asked.status, asked.body.len()), (204, 0));
    assert_eq!(asked.headers["allow"], "GET, HEAD, POST, OPTIONS");
    assert_eq!(client.ask("OPTIONS", "*", "", "").await.status, 204);
    client
        .ask("OPTIONS", "/nowhere", "", "")
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let mut client = client().await;
    let head = client.ask("HEAD", "/orders", "", "").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-length"], "6");
    // Had a body followed, this answer would begin with it.
    assert_eq!(client.get("/orders").await.body, b"orders");
}

#[tokio::test]
async fn a_sane_request_id_is_echoed_and_any_other_replaced() {
    let mut client = client().await;
    for (path, status) in [("/id", 200), ("/nowhere", 404)] {
        let answer = client
            .ask("GET", path, "X-Request-Id: abc-1.2_3\r\n", "")
            .await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["x-request-id"], "abc-1.2_3");
    }
    let long = "x".repeat(129);
    let mut seen = Vec::new();
    for sent in ["", "a b", "<script>", "a\"b", long.as_str()] {
        let answer = client
            .ask("GET", "/id", &format!("X-Request-Id: {sent}\r\n"), "")
            .await;
        let id = answer.headers["x-request-id"].clone();
        assert_ne!(id, sent);
        assert_eq!(answer.body, id.as_bytes());
        assert!(!seen.contains(&id), "{id} was given twice");
        seen.push(id);
    }
}

/// hyper answers these by itself; in our words all the same.
#[tokio::test]
async fn what_is_no_request_at_all_is_refused_as_everything_else_is() {
    let config = ServerConfig {
        header_bytes_max: 128 * 1024,
        ..ServerConfig::default()
    };
    let server = Server::start(routes(), config).await;
    let long = "a".repeat(70_000);
    let longer = "a".repeat(300_000);
    for (request, status, kind) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "bad-request"),
        (
            "GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(),
            400,
            "bad-request",
        ),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 414, "uri-too-long"),
        (
            format!("GET / HTTP/1.1\r\nx: {longer}\r\n\r\n"),
            431,
            "head-too-large",
        ),
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(&request).await;
        let answer = client.answer().await;
        let problem = answer.problem(status, kind);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert_eq!(answer.headers["connection"], "close");
        assert_eq!(client.closed().await, b"");
    }
    // Also after one that was in order.
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.get("/nowhere").await.status, 404);
    client.send("nonsense\r\n\r\n").await;
    client.answer().await.problem(400, "bad-request");
}
