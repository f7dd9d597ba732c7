//! Answers: JSON with the headers that go with it.

use redeliver::Answered;
use redeliver::http::Problem;
use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::reply::Response;

use super::table::Answer;

/// A JSON answer, which belongs to its caller alone.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "answer has no json form");
        Problem::internal()
    })?;
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The answer to a query.
pub(super) fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// The answer to a command, which says whether it was stored before.
pub(super) fn answered<R: Serialize>(status: StatusCode, answer: &Answered<R>) -> Answer {
    Ok(replayed(json(status, &answer.reply)?, answer.replayed))
}

/// An answer without a body.
pub(super) fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Says that an answer was stored before, if it was.
pub(super) fn replayed(response: Response, replayed: bool) -> Response {
    if replayed {
        with(response, "idempotency-replayed", "true")
    } else {
        response
    }
}

/// Adds a header; a value that no header can carry is left out.
pub(super) fn with(mut response: Response, name: &'static str, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    response
}
