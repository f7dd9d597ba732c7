//! The routes before a real system.

use std::time::Duration;

use redeliver::http::{self, ServerConfig};
use redeliver::prelude::*;
use redeliver::{RejectionKind, System};
use serde_json::json;
use warp::Filter;

use crate::Server;
use crate::client::Client;

const COUNTS: Table<String, u64> = Table::new("counts");
const JSON: &str = "Content-Type: application/json\r\n";

struct Counter;

impl Service for Counter {
    const NAME: &'static str = "counter";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNTS).command(Self::add).query(Self::count);
    }
}

impl Counter {
    fn add(&self, add: Add, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        match add.by {
            0 => return Err(Rejection::invalid("nothing_added", "add at least 1")),
            13 => panic!("planted"),
            14 => return Err(Rejection::new(RejectionKind::NotFound, "no_such", "none")),
            _ => {}
        }
        let count = cx.get(COUNTS, &add.name)?.unwrap_or(0) + add.by;
        cx.put(COUNTS, &add.name, &count)?;
        Ok(count)
    }

    fn count(&self, _: Count, view: &View<Self>) -> Result<u64, Rejection> {
        Ok(view.get(COUNTS, &"a".to_owned())?.unwrap_or(0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    name: String,
    by: u64,
}

impl Message for Add {
    const NAME: &'static str = "add";
}

impl Command for Add {
    type Reply = u64;
}

#[derive(Serialize, Deserialize)]
struct Count;

impl Message for Count {
    const NAME: &'static str = "count";
}

impl Query for Count {
    type Answer = u64;
}

#[tokio::test]
async fn a_system_is_used_over_http_alone() {
    let dir = tempfile::tempdir().unwrap();
    let system = System::open(dir.path())
        .service(Counter)
        .start()
        .await
        .unwrap();
    let backups = tempfile::tempdir().unwrap();
    let routes = http::facade(system.clone())
        .or(http::health(system.clone()))
        .or(http::admin(system.clone()))
        .or(http::backups(
            system.clone(),
            Some(backups.path().to_owned()),
        ));
    let server = Server::start(routes, ServerConfig::default()).await;
    let mut client = Client::connect(server.address).await;
    let add = "/services/counter/add";
    let one = r#"{"name":"a","by":1}"#;

    let keyed = format!("{JSON}Idempotency-Key: k-1\r\n");
    let first = client.ask("POST", add, &keyed, one).await;
    assert_eq!((first.status, first.json()), (200, json!(1)));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let again = client.ask("POST", add, &keyed, one).await;
    assert_eq!((again.status, again.json()), (200, json!(1)));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = client
        .ask("POST", add, &keyed, r#"{"name":"a","by":2}"#)
        .await;
    other.problem(422, "idempotency-key-reused");

    let refusals = [
        (r#"{"name":"a","by":0}"#, 422, "rejected/nothing-added"),
        (r#"{"name":"a","by":14}"#, 404, "rejected/no-such"),
        (r#"{"name":"a","by":13}"#, 500, "panicked"),
        (r#"{"name":"a","by":-1}"#, 400, "malformed-body"),
        (r#"{"name":"a","by":1,"x":1}"#, 400, "malformed-body"),
        (r#"{"name":"a""#, 400, "malformed-body"),
    ];
    for (body, status, kind) in refusals {
        let answer = client.ask("POST", add, JSON, body).await;
        answer.problem(status, kind);
    }
    let nobody = client.ask("POST", "/services/nobody/add", JSON, one).await;
    nobody.problem(404, "no-such-message");
    // None of the refusals has changed anything; a query without fields needs no body.
    let count = client.ask("POST", "/services/counter/count", "", "").await;
    assert_eq!((count.status, count.json()), (200, json!(1)));

    let ready = client.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.json());
    let tree = client.get("/admin/system").await.json();
    assert_eq!(tree["services"][0]["name"], "counter");
    assert_eq!(tree["services"][0]["panics"], 1);
    assert_eq!(client.get("/admin/topology").await.status, 200);

    // A backup of the running system: whole when it is answered, under a name of its own.
    let named = r#"{"to":"b-1"}"#;
    let taken = client.ask("POST", "/admin/backup", JSON, named).await;
    assert_eq!(taken.status, 201, "{}", taken.json());
    let disk = redeliver::persistence::real_disk::RealDisk::default();
    let path = backups.path().join("b-1");
    let found = redeliver::persistence::backup::inspect_backup(&disk, &path).unwrap();
    assert_eq!(taken.json()["position"], found.position);
    assert_eq!(found.content.services[0].rows, 1);
    let again = client.ask("POST", "/admin/backup", JSON, named).await;
    again.problem(409, "conflict");
    let outside = r#"{"to":"../b-2"}"#;
    let outside = client.ask("POST", "/admin/backup", JSON, outside).await;
    assert_eq!(outside.status, 422);

    system.shutdown(Duration::from_secs(30)).await.unwrap();
    let late = client.ask("POST", add, JSON, one).await;
    late.problem(503, "draining");
    assert_eq!(late.headers["retry-after"], "1");
    assert_eq!(client.get("/readyz").await.status, 503);
    assert_eq!(client.get("/livez").await.status, 200);
}
