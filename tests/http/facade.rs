//! Commands and queries by wire name, health and administration.

use redeliver::http::{self, Principal, Problem, ServerConfig};
use redeliver::{CallError, IdempotencyKey, JsonAnswer, Rejection as Refusal, TraceContext};
use serde_json::json;
use warp::{Filter, Rejection};

use crate::Server;
use crate::client::Client;
use crate::stand_in::{Call, StandIn};

const JSON: &str = "Content-Type: application/json\r\n";

async fn client(system: &StandIn) -> Client {
    let routes = http::facade(system.clone())
        .or(http::health(system.clone()))
        .or(http::admin(system.clone()));
    let server = Server::start(routes, ServerConfig::default()).await;
    Client::connect(server.address).await
}

fn echo(call: &Call) -> Result<JsonAnswer, CallError> {
    Ok(JsonAnswer {
        body: call.json.clone().into_bytes(),
        replayed: call.options.idempotency.is_some(),
    })
}

#[tokio::test]
async fn a_command_goes_in_and_comes_out_as_json() {
    let system = StandIn::new(echo);
    let mut client = client(&system).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = client
        .ask(
            "POST",
            "/services/counter/add-one",
            &format!("Content-Type: Application/JSON; charset=utf-8\r\ntraceparent: {trace}\r\n"),
            r#"{"by":1}"#,
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(!answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(answer.json(), json!({ "by": 1 }));
    let call = system.last();
    assert_eq!(
        (call.service.as_str(), call.message.as_str()),
        ("counter", "add-one")
    );
    assert_eq!(call.options.trace, TraceContext::from_traceparent(trace));
    assert!(call.options.idempotency.is_none());
}

#[tokio::test]
async fn a_replayed_answer_says_so_and_its_key_is_scoped() {
    let system = StandIn::new(echo);
    let mut client = client(&system).await;
    let headers = format!("{JSON}Idempotency-Key: k-1\r\n");
    let first = client.ask("POST", "/services/a/x", &headers, "1").await;
    assert_eq!(first.headers["idempotency-replayed"], "true");
    let key = system.last().options.idempotency.unwrap();
    let scope = "0: POST /services/a/x";
    assert_eq!(key, IdempotencyKey::new(scope, "k-1", b"1"));

    client.ask("POST", "/services/a/x", &headers, "2").await;
    let other_body = system.last().options.idempotency.unwrap();
    assert_eq!(other_body, IdempotencyKey::new(scope, "k-1", b"2"));
    assert_ne!(other_body, key);

    client.ask("POST", "/services/a/y", &headers, "1").await;
    let other_path = system.last().options.idempotency.unwrap();
    assert_ne!(other_path.scope, scope);
}

#[tokio::test]
async fn an_idempotency_key_that_cannot_be_stored_is_refused_and_nothing_is_called() {
    let system = StandIn::new(echo);
    let mut client = client(&system).await;
    let long = "k".repeat(256);
    for key in ["", "a b", "ä", long.as_str(), "a\r\nIdempotency-Key: b"] {
        let headers = format!("{JSON}Idempotency-Key: {key}\r\n");
        let answer = client.ask("POST", "/services/a/x", &headers, "1").await;
        answer.problem(400, "idempotency-key-invalid");
    }
    assert!(system.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_json_is_read_and_only_posts_are_taken() {
    let system = StandIn::new(echo);
    let mut client = client(&system).await;
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jsonp\r\n",
    ] {
        let answer = client.ask("POST", "/services/a/x", headers, "{}").await;
        answer.problem(415, "unsupported-media-type");
        assert_eq!(answer.headers["accept"], "application/json");
    }
    let get = client.get("/services/a/x").await;
    get.problem(405, "method-not-allowed");
    assert_eq!(get.headers["allow"], "POST, OPTIONS");
    client.get("/services/a").await.problem(404, "not-found");
    assert!(system.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_message_without_fields_needs_no_body() {
    let unit = StandIn::new(|call| match call.json.as_str() {
        "null" => echo(call),
        _ => Err(CallError::Malformed("expected unit".to_owned())),
    });
    let answer = client(&unit)
        .await
        .ask("POST", "/services/a/x", "", "")
        .await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"null"[..]));

    let empty = StandIn::new(|call| match call.json.as_str() {
        "{}" => echo(call),
        _ => Err(CallError::Malformed("missing field `by`".to_owned())),
    });
    let answer = client(&empty)
        .await
        .ask("POST", "/services/a/x", "", "")
        .await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));

    let full = StandIn::new(|_| Err(CallError::Malformed("missing field `by`".to_owned())));
    let answer = client(&full)
        .await
        .ask("POST", "/services/a/x", "", "")
        .await;
    answer.problem(400, "malformed-body");
}

#[tokio::test]
async fn an_error_of_the_call_is_a_problem_with_its_request_id() {
    let system = StandIn::new(|call| {
        Err(match call.message.as_str() {
            "refuse" => {
                CallError::Rejected(Refusal::conflict("out_of_stock", "none left").with("left", 0))
            }
            "reuse" => CallError::KeyReused,
            "drain" => CallError::Draining,
            _ => CallError::NoSuchMessage {
                service: call.service.clone(),
                message: call.message.clone(),
            },
        })
    });
    let mut client = client(&system).await;
    let cases = [
        ("refuse", 409, "rejected/out-of-stock"),
        ("reuse", 422, "idempotency-key-reused"),
        ("drain", 503, "draining"),
        ("other", 404, "no-such-message"),
    ];
    for (message, status, kind) in cases {
        let answer = client
            .ask("POST", &format!("/services/a/{message}"), JSON, "1")
            .await;
        answer.problem(status, kind);
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
}

#[tokio::test]
async fn the_host_says_who_asks_and_may_refuse() {
    let system = StandIn::new(echo);
    let principal = warp::header::optional::<String>("authorization").and_then(
        |who: Option<String>| async move {
            who.map(Principal)
                .ok_or_else(|| Rejection::from(Problem::unauthorized("sign in first")))
        },
    );
    let routes = http::facade_for(system.clone(), principal);
    let server = Server::start(routes, ServerConfig::default()).await;
    let mut client = Client::connect(server.address).await;
    let nobody = client.ask("POST", "/services/a/x", JSON, "1").await;
    nobody.problem(401, "unauthorized");
    assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    assert!(system.calls.lock().unwrap().is_empty());
    let headers = format!("{JSON}Authorization: ann\r\nIdempotency-Key: k\r\n");
    client.ask("POST", "/services/a/x", &headers, "1").await;
    let key = system.last().options.idempotency.unwrap();
    assert_eq!(key.scope, "3:ann POST /services/a/x");
}

#[tokio::test]
async fn health_and_administration_are_answered() {
    let mut system = StandIn::new(echo);
    let mut ready = client(&system).await;
    assert_eq!(ready.get("/livez").await.status, 200);
    let answer = ready.get("/readyz").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["checks"][0]["name"], "store");
    assert_eq!(
        ready.get("/admin/system").await.json()["services"][0]["name"],
        "counter"
    );
    assert_eq!(ready.get("/admin/topology").await.status, 200);
    assert_eq!(ready.ask("HEAD", "/livez", "", "").await.status, 200);

    system.ready = false;
    let mut unready = client(&system).await;
    let answer = unready.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["ready"], false);
    assert_eq!(unready.get("/livez").await.status, 200);
}
