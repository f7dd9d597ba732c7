//! The facade: a system's commands and queries as routes, by their wire names.
//!
//! `POST /services/{service}/{message}` takes the message as JSON and answers with the reply as
//! JSON. With `Idempotency-Key`, a repeated command gets the stored answer, marked
//! `Idempotency-Replayed: true`. The answer is durable when it is given.

use bytes::Bytes;
use warp::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::extract::method;
use super::health::json_bytes;
use super::host::Host;
use super::idempotency::idempotency_key;
use super::problem::Problem;
use crate::{CallError, CallOptions, IdempotencyKey, JsonAnswer, TraceContext};

pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Who asks, as the host knows them: one caller's idempotency keys are not another's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Principal(pub String);

/// The facade without a notion of callers: all share one scope of idempotency keys. Put nothing
/// but trusted callers before it.
pub fn facade(host: impl Host) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let nobody = warp::any().and_then(|| async { Ok::<_, Rejection>(Principal::default()) });
    facade_for(host, nobody)
}

/// The facade with the host's own notion of callers: `principal` says who asks, or rejects (with
/// a [`Problem`]) who may not.
pub fn facade_for<H, P>(
    host: H,
    principal: P,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone
where
    H: Host,
    P: Filter<Extract = (Principal,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    warp::path!("services" / String / String)
        .and(method(Method::POST))
        .and(principal)
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .then(
            move |service: String, message: String, principal: Principal, headers, body| {
                let host = host.clone();
                async move {
                    let call = Call {
                        service,
                        message,
                        principal,
                        headers,
                        body,
                    };
                    match call.answer(&host).await {
                        Ok(answer) => answered(answer),
                        Err(problem) => problem.into_response(),
                    }
                }
            },
        )
}

struct Call {
    service: String,
    message: String,
    principal: Principal,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    async fn answer(&self, host: &impl Host) -> Result<JsonAnswer, Problem> {
        check_media_type(&self.headers, &self.body)?;
        let options = CallOptions {
            idempotency: self.idempotency_key()?,
            // W3C: a malformed one is ignored.
            trace: self
                .headers
                .get(TRACEPARENT)
                .and_then(|value| value.to_str().ok())
                .and_then(TraceContext::from_traceparent),
        };
        if !self.body.is_empty() {
            return Ok(self.call(host, &self.body, options).await?);
        }
        // A message without fields needs no body. `null` is a unit struct, `{}` a struct with
        // nothing in it; only one can be read, and what cannot be read has changed nothing.
        match self.call(host, b"null", options.clone()).await {
            Err(CallError::Malformed(_)) => Ok(self.call(host, b"{}", options).await?),
            answer => Ok(answer?),
        }
    }

    async fn call(
        &self,
        host: &impl Host,
        json: &[u8],
        options: CallOptions,
    ) -> Result<JsonAnswer, CallError> {
        host.call(&self.service, &self.message, json, options).await
    }

    fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, Problem> {
        let Principal(caller) = &self.principal;
        let path = format!("/services/{}/{}", self.service, self.message);
        idempotency_key(&self.headers, caller, &Method::POST, &path, &self.body)
    }
}

/// A body is JSON and says so; none says nothing.
pub(super) fn check_media_type(headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let is_json = match headers.get(CONTENT_TYPE) {
        None => body.is_empty(),
        Some(value) => value.to_str().is_ok_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        }),
    };
    if is_json {
        Ok(())
    } else {
        Err(Problem::unsupported_media_type("application/json"))
    }
}

fn answered(answer: JsonAnswer) -> warp::reply::Response {
    let mut response = json_bytes(StatusCode::OK, answer.body);
    if answer.replayed {
        response
            .headers_mut()
            .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
