//! Administration: the system as data.

use warp::http::{Method, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::extract::method;
use super::health::json;
use super::host::Host;

/// `GET /admin/system` (the live tree, the stream counters, what was recovered) and
/// `GET /admin/topology` (who sends what to whom).
///
/// Who may ask is the host's decision: it puts its own filter in front, as in
/// `operators_only.and(http::admin(system))`.
pub fn admin(host: impl Host) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let for_topology = host.clone();
    let system = warp::path!("admin" / "system")
        .and(method(Method::GET))
        .map(move || json(StatusCode::OK, &host.report()));
    let topology = warp::path!("admin" / "topology")
        .and(method(Method::GET))
        .map(move || json(StatusCode::OK, &for_topology.topology()));
    system.or(topology).unify()
}
