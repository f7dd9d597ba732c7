//! One exchange: what the server does around the routes for every request.

use std::any::Any;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use hyper::body::{Body, Incoming};
use tracing::Instrument;
use warp::Reply;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::http::{Method, Request, Response, StatusCode};
use warp::reply::Response as RoutesAnswer;

use super::body::{AnswerBody, Fate, RequestBody};
use super::busy::Running;
use super::extract::{Allowed, Draining, RequestId, Told};
use super::problem::Problem;
use super::server::Shared;

/// The host's routes, whatever their type.
pub(super) type Routes = Box<dyn Fn(Request<RequestBody>) -> Answering + Send + Sync>;

type Answering = Pin<Box<dyn Future<Output = RoutesAnswer> + Send>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Takes a request through the routes. There is always an answer.
pub(super) async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Shared,
    running: Running,
) -> Response<impl Body<Data = bytes::Bytes, Error = warp::Error> + use<>> {
    let count = shared.request_count.fetch_add(1, Ordering::Relaxed);
    let id = request_id(&request).unwrap_or_else(|| own_id(&shared.id_prefix, count));
    let span = tracing::info_span!(
        "request",
        request_id = %id.0,
        method = %request.method(),
        path = request.uri().path(),
        %peer,
    );
    let answer = routed(request, peer, &id, shared).instrument(span).await;
    shared.traffic.count(answer.status());
    guarded(answer, &id, running)
}

async fn routed(
    mut request: Request<Incoming>,
    peer: SocketAddr,
    id: &RequestId,
    shared: &Shared,
) -> RoutesAnswer {
    let config = &shared.config;
    let options = request.method() == Method::OPTIONS;
    if options && request.uri().path() == "*" {
        return no_content();
    }
    if request.body().size_hint().lower() > config.body_bytes_max {
        let problem = Problem::body_too_large(config.body_bytes_max);
        return problem.of_request(&id.0).into_response();
    }
    // HEAD is GET without the body, and it is hyper that leaves the body out: routes need not
    // know of it.
    let head_only = request.method() == Method::HEAD;
    if head_only {
        *request.method_mut() = Method::GET;
    }
    let allowed = Allowed::default();
    request.extensions_mut().insert(Arc::new(Told {
        peer,
        head_only,
        id: id.clone(),
        draining: Draining(shared.draining.clone()),
        allowed: allowed.clone(),
        traffic: shared.traffic.clone(),
    }));
    let request =
        request.map(|body| RequestBody::new(body, config.body_bytes_max, config.body_timeout));
    let fate = request.body().fate();
    let answer = match unpanicked(&shared.routes, request).await {
        Ok(answer) => answer,
        Err(panic) => {
            tracing::error!(panic = panic_text(&*panic), "route panicked");
            Problem::internal().into_response()
        }
    };
    let answer = finished(answer, id, options, &fate, &allowed, config.body_bytes_max);
    tracing::debug!(status = answer.status().as_u16(), "request answered");
    answer
}

/// Adds what the routes could not know.
fn finished(
    mut answer: RoutesAnswer,
    id: &RequestId,
    options: bool,
    fate: &Fate,
    allowed: &Allowed,
    body_bytes_max: u64,
) -> RoutesAnswer {
    let status = answer.status();
    if status.is_success() || status.is_redirection() || status.is_informational() {
        return answer;
    }
    if let Some(problem) = fate.problem(body_bytes_max) {
        return problem.of_request(&id.0).into_response();
    }
    let Some(mut problem) = answer.extensions_mut().remove::<Problem>() else {
        return answer;
    };
    if status == StatusCode::METHOD_NOT_ALLOWED && !answer.headers().contains_key(ALLOW) {
        problem = Problem::method_not_allowed(&allowed.methods());
    }
    let mut rendered = problem.of_request(&id.0).into_response();
    if options && status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = rendered.headers_mut().remove(ALLOW);
        let mut empty = no_content();
        let headers = empty.headers_mut();
        // What a filter put around the problem stays; what describes its body goes with it.
        *headers = std::mem::take(answer.headers_mut());
        headers.remove(CONTENT_TYPE);
        headers.extend(allow.map(|allow| (ALLOW, allow)));
        return empty;
    }
    // Headers that a filter put around the problem stay.
    for (name, value) in rendered.headers() {
        answer.headers_mut().insert(name, value.clone());
    }
    *rendered.headers_mut() = std::mem::take(answer.headers_mut());
    rendered
}

fn no_content() -> RoutesAnswer {
    StatusCode::NO_CONTENT.into_response()
}

fn guarded<B: Body + Unpin>(
    mut answer: Response<B>,
    id: &RequestId,
    running: Running,
) -> Response<AnswerBody<B, Running>> {
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer.map(|body| AnswerBody::new(body, running))
}

/// The caller's id, unless it could garble a log or a header.
fn request_id<B>(request: &Request<B>) -> Option<RequestId> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let sane = !id.is_empty()
        && id.len() <= REQUEST_ID_BYTES_MAX
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte));
    sane.then(|| RequestId(id.into()))
}

/// By hand: formatting it costs as much as reading the request's head.
fn own_id(prefix: &str, count: u64) -> RequestId {
    let mut id = String::with_capacity(prefix.len() + 17);
    id.push_str(prefix);
    id.push('-');
    let digits = (u64::BITS - count.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        let digit = (count >> (4 * place)) & 0xf;
        id.push(char::from(b"0123456789abcdef"[digit as usize]));
    }
    RequestId(Arc::from(id))
}

/// Asks the routes so that a panic in them ends one request instead of the connection, which may
/// carry others.
async fn unpanicked(
    routes: &Routes,
    request: Request<RequestBody>,
) -> Result<RoutesAnswer, Box<dyn Any + Send>> {
    let mut answering = catch_unwind(AssertUnwindSafe(|| routes(request)))?;
    std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_in_hexadecimal() {
        for count in [0, 1, 0xf, 0x10, 0xabc, u64::MAX] {
            assert_eq!(*own_id("p", count).0, *format!("p-{count:x}"));
        }
    }
}
