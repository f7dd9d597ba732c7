//! The gateway: the shop's HTTP routes.
//!
//! A route turns a request into one command or query of one service and its answer into JSON.
//! What is true of every route is done once, in `Ask`: who asks, the idempotency key, the body
//! and its limits, pages, ids. Rules of the business are the services' own.
//!
//! ```text
//! table ─ caller ─ route ── command or query ─▶ service
//!  404     401      400 413 415 422              404 409 412 422
//!  405     403 429                               503
//! ```
//!
//! Two kinds of bad bodies are told apart: what is no JSON is 400; JSON that is not what the
//! route takes (a type, a name, a rule) is 422. An id that cannot be one is 404, as one that
//! nobody has.

mod analytics;
mod answer;
mod ask;
mod auth;
mod backup;
mod caller;
mod cart;
mod catalog;
mod conditions;
mod cors;
mod docs;
mod entry;
mod events;
mod inventory;
mod limits;
mod notifications;
mod openapi;
mod orders;
mod payments;
mod personal;
mod preference;
mod shipments;
mod table;
mod ui;
mod users;
mod views;
mod webhooks;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use redeliver::http::{self as server, Draining, Problem};
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::app::Shop;
use crate::config::HttpConfig;
use ask::Ask;
use caller::Caller;
use cors::Origins;
use limits::{Counted, Limits};
use table::{Found, Table};

pub(crate) use ui::UI;
pub use views::Views;
pub(crate) use webhooks::receive as receive_webhook;

/// Where the routes of the services are.
pub const API: &str = "/api/v1";
/// Where one signs in. Answers have tokens in them and are never stored.
const AUTH: &str = "/api/v1/auth/";

/// Every route of the shop, with health and administration.
pub fn routes(
    shop: Shop,
    config: &HttpConfig,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let system = shop.system.clone();
    let table = Arc::new(table());
    let origins = Origins::new(&config.cors_origins);
    let limits = Limits::new(config.requests_per_s);
    let backups = Some(config.backup_dir.clone()).filter(|dir| !dir.as_os_str().is_empty());
    let answered = origins
        .preflight(table.clone())
        .or(server::health(system.clone()))
        .or(server::metrics(system.clone()))
        .or(caller::operator(shop.clone())
            .and(server::admin(system.clone()).or(backup::into(system, backups))))
        .or(ui::dashboard())
        .or(services(shop, table, limits));
    // Refusals too are answers that a page may look at.
    let answered = answered
        .recover(server::recover)
        .and_then(|answer| async { Ok::<_, Rejection>(answer) });
    origins.around(answered)
}

/// The routes of the table.
fn services(
    shop: Shop,
    table: Arc<Table>,
    limits: Limits,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path::full()
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
        .and(server::peer())
        .and(server::head_only())
        .and(server::draining())
        .and(warp::body::bytes())
        .then(
            move |found: Found,
                  path: FullPath,
                  method: Method,
                  query: String,
                  headers: HeaderMap,
                  peer: Option<SocketAddr>,
                  head_only: bool,
                  draining: Draining,
                  body: Bytes| {
                let (shop, limits) = (shop.clone(), limits.clone());
                async move {
                    let caller = Caller::admitted(&shop, &headers, found.access).await;
                    // Who is refused counts too: by where they come from.
                    let counted = Counted::of(caller.as_ref().ok(), peer);
                    let standing = match limits.take(counted) {
                        Ok(standing) => standing,
                        Err(problem) => return problem.into_response(),
                    };
                    let answer = match caller {
                        Err(problem) => Err(problem),
                        Ok(caller) => {
                            let ask = Ask {
                                shop,
                                caller,
                                method,
                                path: path.as_str().to_owned(),
                                captured: found.captured,
                                is_idempotent: found.is_idempotent,
                                filters: found.filters,
                                query,
                                headers,
                                draining,
                                peer,
                                head_only,
                                body,
                            };
                            match ask.check_conditions(found.has_versions) {
                                Ok(()) => (found.route)(ask).await,
                                Err(problem) => Err(problem),
                            }
                        }
                    };
                    let mut response = answer.unwrap_or_else(Problem::into_response);
                    if let Some(standing) = standing {
                        standing.show(response.headers_mut());
                    }
                    response
                }
            },
        )
}

fn table() -> Table {
    let mut on = Table::default();
    auth::routes(&mut on);
    users::routes(&mut on);
    catalog::routes(&mut on);
    orders::routes(&mut on);
    cart::routes(&mut on);
    payments::routes(&mut on);
    inventory::routes(&mut on);
    shipments::routes(&mut on);
    analytics::routes(&mut on);
    notifications::routes(&mut on);
    webhooks::routes(&mut on);
    events::routes(&mut on);
    docs::tell_of_the_rest(&mut on);
    backup::tell_of_it(&mut on);
    ui::tell_of_it(&mut on);
    // Last: the document tells of what stands above.
    docs::routes(&mut on);
    on
}
