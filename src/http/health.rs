//! Health: whether the process lives and whether it can take work.

use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use warp::http::{Method, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::extract::method;
use super::host::Host;

/// `GET /livez` and `GET /readyz`.
///
/// `/livez` is 200 for as long as the process answers at all: restarting it would help only if it
/// did not. `/readyz` lists every check, and is 503 while one of them does not hold: send the
/// work elsewhere, look at the checks.
pub fn health(host: impl Host) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let live = warp::path!("livez")
        .and(method(Method::GET))
        .map(|| json(StatusCode::OK, &serde_json::json!({ "status": "ok" })));
    let ready = warp::path!("readyz").and(method(Method::GET)).map(move || {
        let health = host.health();
        let status = if health.ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let mut response = json(status, &health);
        if !health.ready {
            let soon = warp::http::HeaderValue::from_static("1");
            response
                .headers_mut()
                .insert(warp::http::header::RETRY_AFTER, soon);
        }
        response
    });
    live.or(ready).unify()
}

/// A JSON answer that nobody keeps.
pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> warp::reply::Response {
    match serde_json::to_vec(value) {
        Ok(body) => json_bytes(status, body),
        Err(error) => {
            tracing::error!(%error, "answer has no json form");
            super::Problem::internal().into_response()
        }
    }
}

/// The same for JSON that is already written down.
pub(super) fn json_bytes(status: StatusCode, body: Vec<u8>) -> warp::reply::Response {
    let mut response = warp::reply::Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        warp::http::HeaderValue::from_static("application/json"),
    );
    headers.insert(
        CACHE_CONTROL,
        warp::http::HeaderValue::from_static("no-store"),
    );
    response
}
