//! The gateway: the shop's HTTP routes.
//!
//! A route turns a request into one command or query of one service and its answer into JSON.
//! What is true of every route is done once, in `Ask`: who asks, the idempotency key, the body
//! and its limits, pages, ids. Rules of the business are the services' own.
//!
//! ```text
//! table ─ caller ─ route ── command or query ─▶ service
//!  404     401      400 413 415 422              404 409 412 422
//!  405                                           503
//! ```
//!
//! Two kinds of bad bodies are told apart: what is no JSON is 400; JSON that is not what the
//! route takes (a type, a name, a rule) is 422. An id that cannot be one is 404, as one that
//! nobody has.

mod answer;
mod ask;
mod caller;
mod inventory;
mod notifications;
mod orders;
mod payments;
mod preference;
mod shipments;
mod table;
mod webhooks;

use std::sync::Arc;

use bytes::Bytes;
use redeliver::http::{self as server, Draining, Problem};
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::{Filter, Rejection, Reply};

use crate::app::Shop;
use ask::Ask;
use caller::Caller;
use table::{Found, Table};

pub(crate) use webhooks::receive as receive_webhook;

/// Where the routes of the services are.
pub const API: &str = "/api/v1";

/// Every route of the shop, with health and administration.
pub fn routes(shop: Shop) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let system = shop.system.clone();
    let administration = caller::operator(shop.clone()).and(server::admin(system.clone()));
    let table = Arc::new(table());
    let services = warp::path::full()
        .and(warp::method())
        .and_then(move |path: FullPath, method: Method| {
            let found = table.find(&method, path.as_str());
            async move {
                match found {
                    Ok(Some(found)) => Ok(found),
                    // Another route may know the path.
                    Ok(None) => Err(warp::reject::not_found()),
                    Err(problem) => Err(warp::reject::custom(problem)),
                }
            }
        })
        .and(warp::path::full())
        .and(warp::method())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(server::draining())
        .and(warp::body::bytes())
        .then(
            move |found: Found,
                  path: FullPath,
                  method: Method,
                  query: String,
                  headers: HeaderMap,
                  draining: Draining,
                  body: Bytes| {
                let shop = shop.clone();
                async move {
                    let caller = match Caller::admitted(&shop, &headers, found.access).await {
                        Ok(caller) => caller,
                        Err(problem) => return problem.into_response(),
                    };
                    let ask = Ask {
                        shop,
                        caller,
                        method,
                        path: path.as_str().to_owned(),
                        captured: found.captured,
                        query,
                        headers,
                        draining,
                        body,
                    };
                    (found.route)(ask)
                        .await
                        .unwrap_or_else(Problem::into_response)
                }
            },
        );
    server::health(system).or(administration).or(services)
}

fn table() -> Table {
    let mut on = Table::default();
    orders::routes(&mut on);
    payments::routes(&mut on);
    inventory::routes(&mut on);
    shipments::routes(&mut on);
    notifications::routes(&mut on);
    webhooks::routes(&mut on);
    on
}
