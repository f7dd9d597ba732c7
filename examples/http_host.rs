//! An application that has routes of its own and takes the runtime in: state, durability and the
//! facade, in the same process and under the same server.
//!
//! ```sh
//! cargo run --example http_host -- ./host-data 127.0.0.1:8080
//! curl http://127.0.0.1:8080/
//! curl http://127.0.0.1:8080/visits/ada -X POST
//! curl http://127.0.0.1:8080/services/guests/visit -H 'content-type: application/json' \
//!   -H 'idempotency-key: 1' -d '{"name":"ada"}'
//! curl http://127.0.0.1:8080/readyz
//! xdg-open http://127.0.0.1:8080/ui/
//! ```

use redeliver::http::{self, Dashboard, EventStreams, EventStreamsConfig, Problem, ServerConfig};
use redeliver::prelude::*;
use redeliver::{ServiceHandle, System};
use warp::{Filter, Reply};

const VISITS: Table<String, u64> = Table::new("visits");

struct Guests;

impl Service for Guests {
    const NAME: &'static str = "guests";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(VISITS).command(Self::visit);
    }
}

impl Guests {
    fn visit(&self, visit: Visit, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        if visit.name.is_empty() {
            return Err(Rejection::invalid("no_name", "say who is visiting"));
        }
        let visits = cx.get(VISITS, &visit.name)?.unwrap_or(0) + 1;
        cx.put(VISITS, &visit.name, &visits)?;
        Ok(visits)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Visit {
    name: String,
}
impl Message for Visit {
    const NAME: &'static str = "visit";
}
impl Command for Visit {
    type Reply = u64;
}

/// The application as it was, with one route that now uses a service.
fn application(
    guests: ServiceHandle<Guests>,
) -> impl Filter<Extract = (impl Reply,), Error = warp::Rejection> + Clone {
    let home = warp::path::end().map(|| "an application of its own\n".into_response());
    let visits = warp::path!("visits" / String)
        .and(warp::post())
        .then(move |name: String| {
            let guests = guests.clone();
            async move {
                match guests.call(Visit { name }).await {
                    Ok(visits) => format!("visit {visits}\n").into_response(),
                    Err(error) => Problem::from(error).into_response(),
                }
            }
        });
    home.or(visits)
}

/// A page for people at `/ui/`, and what it asks. Put a filter of your own before all but the page
/// when strangers can reach the address.
fn operations(
    system: System,
) -> impl Filter<Extract = (impl Reply,), Error = warp::Rejection> + Clone {
    let streams = EventStreams::new(&system, EventStreamsConfig::default());
    http::admin(system)
        .or(http::events(streams, http::every_event()))
        .or(http::dashboard("/ui/", Dashboard::new()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or("./host-data".to_owned());
    let address = arguments.next().unwrap_or("127.0.0.1:8080".to_owned());

    let system = System::open(dir).service(Guests).start().await?;
    let routes = application(system.service())
        .or(http::facade(system.clone()))
        .or(http::health(system.clone()))
        .or(operations(system.clone()));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = async {
        // Without signals it serves until it is killed, which loses nothing either.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    http::serve(listener, routes, ServerConfig::default(), stop).await;
    system.shutdown(seconds(10)).await?;
    Ok(())
}
