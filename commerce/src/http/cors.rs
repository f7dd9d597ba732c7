//! Cross-origin requests: which web pages from elsewhere may ask.
//!
//! None, unless their origin is configured. A page that may not is told nothing: without these
//! headers its browser keeps the answer from it. Tokens travel in a header that a page must set
//! itself, so cookies and the like (`Access-Control-Allow-Credentials`) play no part.

use std::sync::Arc;

use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    HeaderValue, ORIGIN, VARY,
};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::table::Table;

/// What a page may send.
const SENT: &str = "accept, authorization, content-type, idempotency-key, if-match, \
    if-none-match, last-event-id, prefer, traceparent, x-request-id";
/// What a page may look at.
const SHOWN: &str = "etag, idempotency-replayed, location, preference-applied, \
    ratelimit-limit, ratelimit-policy, ratelimit-remaining, ratelimit-reset, retry-after, \
    www-authenticate, x-request-id";
/// How long a browser need not ask again, in seconds.
const KEPT_S: &str = "600";

/// The origins whose pages may ask. Cheap to clone.
#[derive(Clone)]
pub(super) struct Origins(Arc<[String]>);

impl Origins {
    pub(super) fn new(origins: &[String]) -> Origins {
        Origins(origins.into())
    }

    /// The origin that the headers name, if its pages may ask.
    fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let known = |known: &String| known.as_bytes() == origin.as_bytes();
        self.0.iter().any(known).then_some(origin)
    }

    /// Answers the question that a browser asks before it sends a page's request.
    pub(super) fn preflight(
        &self,
        table: Arc<Table>,
    ) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
        let origins = self.clone();
        warp::method()
            .and(warp::path::full())
            .and(warp::header::headers_cloned())
            .and_then(move |method: Method, path: FullPath, headers: HeaderMap| {
                let answer = origins.permission(&method, &path, &headers, &table);
                async move { answer.ok_or_else(warp::reject::not_found) }
            })
    }

    fn permission(
        &self,
        method: &Method,
        path: &FullPath,
        headers: &HeaderMap,
        table: &Table,
    ) -> Option<Response> {
        if *method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        self.of(headers)?;
        let methods = table.methods(path.as_str());
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        // No such path: 404, as everybody is told.
        let names = HeaderValue::from_str(&names.join(", ")).ok();
        let names = names.filter(|names| !names.is_empty())?;
        let mut answer = StatusCode::NO_CONTENT.into_response();
        let to = answer.headers_mut();
        to.insert(ALLOW, names.clone());
        to.insert(ACCESS_CONTROL_ALLOW_METHODS, names);
        to.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SENT));
        to.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(KEPT_S));
        Some(answer)
    }

    /// Lets pages of the origin that asked look at the answer, if they may.
    pub(super) fn around<F, R>(
        &self,
        routes: F,
    ) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<F, R>
    where
        F: Filter<Extract = (R,), Error = Rejection> + Clone + Send + Sync + 'static,
        R: Reply + 'static,
    {
        let origins = self.clone();
        warp::header::headers_cloned()
            .and(routes)
            .map(move |asked: HeaderMap, reply: R| origins.marked(&asked, reply))
    }

    fn marked(&self, asked: &HeaderMap, reply: impl Reply) -> Response {
        let mut answer = reply.into_response();
        if self.0.is_empty() {
            return answer;
        }
        let to = answer.headers_mut();
        // Also when there is no origin: a cache must not show the one's answer to the other.
        to.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.of(asked) {
            to.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            to.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(SHOWN),
            );
        }
        answer
    }
}
