//! Problems: every refusal as `application/problem+json` (RFC 9457).
//!
//! A problem has a stable `type` for programs, a `detail` that a person can act on, and the id of
//! its request. Routes return one as a reply or reject with it; the server adds the request id.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use warp::Reply;
use warp::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use crate::http::facade::IDEMPOTENCY_REPLAYED;
use crate::{CallError, Rejection, RejectionKind};

/// What the `type` of every problem of this library begins with.
pub const PROBLEMS: &str = "https://redeliver.dev/problems/";

/// The members RFC 9457 and this library give a meaning; extensions cannot replace them.
const RESERVED: [&str; 6] = [
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "request_id",
];

/// One refusal.
///
/// ```
/// use redeliver::http::Problem;
/// use warp::http::StatusCode;
///
/// let problem = Problem::new(StatusCode::CONFLICT, "order-shipped", "Order already shipped")
///     .detail("order 17 left the warehouse; start a return instead")
///     .with("order_id", 17);
/// assert_eq!(problem.status(), StatusCode::CONFLICT);
/// assert_eq!(problem.type_uri(), "https://redeliver.dev/problems/order-shipped");
/// ```
#[derive(Debug, Clone)]
pub struct Problem {
    // Behind a pointer because problems travel in `Err`, whose size every success pays for.
    parts: Box<Parts>,
}

#[derive(Debug, Clone, Serialize)]
struct Parts {
    #[serde(rename = "type")]
    type_uri: String,
    title: String,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(flatten)]
    extensions: Map<String, Value>,
    #[serde(skip)]
    headers: HeaderMap,
}

impl Problem {
    /// A problem of this status. `kind` is its stable name: a slug, which [`PROBLEMS`] is put
    /// before, or a whole URI (anything with a `:`).
    pub fn new(status: StatusCode, kind: &str, title: impl Into<String>) -> Problem {
        let type_uri = if kind.contains(':') {
            kind.to_owned()
        } else {
            format!("{PROBLEMS}{kind}")
        };
        Problem {
            parts: Box::new(Parts {
                type_uri,
                title: title.into(),
                status,
                detail: String::new(),
                instance: None,
                request_id: None,
                extensions: Map::new(),
                headers: HeaderMap::new(),
            }),
        }
    }

    /// Says what happened here and what to do next.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.parts.detail = detail.into();
        self
    }

    /// Names the occurrence by a URI reference.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<String>) -> Problem {
        self.parts.instance = Some(instance.into());
        self
    }

    /// Adds a member. The members of RFC 9457 and `request_id` cannot be replaced, nor can a
    /// value that has no JSON form be added; both are left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Problem {
        if let (false, Ok(value)) = (RESERVED.contains(&name), serde_json::to_value(value)) {
            self.parts.extensions.insert(name.to_owned(), value);
        }
        self
    }

    /// Adds a header to the answer; a value that no header can carry is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Problem {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.parts.headers.insert(name, value);
        }
        self
    }

    /// Says when another try may be worth it; whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Problem {
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(RETRY_AFTER, &whole.max(1).to_string())
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The stable name.
    pub fn type_uri(&self) -> &str {
        &self.parts.type_uri
    }

    /// Gives the problem the id of the request it answers.
    pub(super) fn of_request(mut self, request_id: &str) -> Problem {
        self.parts.request_id = Some(request_id.to_owned());
        self
    }

    /// The body of the answer.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and JSON values have a JSON form; were that ever untrue, the status
        // still tells the truth.
        serde_json::to_vec(&self.parts).unwrap_or_default()
    }
}

/// The usual ones.
impl Problem {
    /// 400: the request is not what HTTP or the route asks for.
    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request").detail(detail)
    }

    /// 400: the body is not the JSON it should be.
    pub fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-body",
            "The body cannot be read",
        )
        .detail(detail)
    }

    /// 401: the caller is not known.
    pub fn unauthorized(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Authentication needed",
        )
        .detail(detail)
        .header(WWW_AUTHENTICATE, "Bearer")
    }

    /// 403: the caller may not.
    pub fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed").detail(detail)
    }

    /// 404: there is no such thing, or the caller may not know of it.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found").detail(detail)
    }

    /// 405, with the methods there are. Nothing known is an answer without `Allow`.
    pub fn method_not_allowed(allowed: &[Method]) -> Problem {
        let problem = Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
        );
        if allowed.is_empty() {
            return problem.detail("this path does not answer this method");
        }
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let names = names.join(", ");
        problem
            .detail(format!("this path answers {names}"))
            .header(ALLOW, &names)
    }

    /// 408: the body took too long.
    pub fn request_timeout() -> Problem {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request-timeout",
            "The request came too slowly",
        )
        .detail("the body did not come in time; send the request again")
    }

    /// 409: the state does not allow it now.
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", "Conflict").detail(detail)
    }

    /// 412: the caller's precondition does not hold.
    pub fn precondition_failed(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "precondition-failed",
            "The precondition does not hold",
        )
        .detail(detail)
    }

    /// 413: the body is longer than the server takes.
    pub fn body_too_large(limit_bytes: u64) -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
        )
        .detail(format!(
            "this server takes bodies of up to {limit_bytes} bytes"
        ))
        .with("limit_bytes", limit_bytes)
    }

    /// 415: the body is not of a type the route reads.
    pub fn unsupported_media_type(wanted: &str) -> Problem {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
        )
        .detail(format!("send the body as {wanted}"))
        .header(ACCEPT, wanted)
    }

    /// 422: well-formed, but it breaks a rule.
    pub fn unprocessable(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unprocessable",
            "The request breaks a rule",
        )
        .detail(detail)
    }

    /// 429: this caller asks too often.
    pub fn too_many_requests(retry_after: Duration) -> Problem {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests",
        )
        .detail("this caller has used up its share; wait before the next request")
        .retry_after(retry_after)
    }

    /// 500: a bug. What it was stands in the log, under the request id.
    pub fn internal() -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
        )
        .detail("the request could not be answered; the log has the cause under this request id")
    }

    /// 503: too much is waiting.
    pub fn overloaded(reason: impl Into<String>, retry_after: Duration) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded")
            .detail(reason)
            .retry_after(retry_after)
    }

    /// 503: the process is being stopped.
    pub fn draining() -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "Shutting down")
            .detail("the system is shutting down; ask again when it has restarted")
            .retry_after(Duration::from_secs(1))
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        let (status, title) = match rejection.kind {
            RejectionKind::Invalid => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "The request breaks a rule",
            ),
            RejectionKind::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            RejectionKind::Conflict => (StatusCode::CONFLICT, "Conflict"),
            RejectionKind::Precondition => (
                StatusCode::PRECONDITION_FAILED,
                "The precondition does not hold",
            ),
            RejectionKind::Forbidden => (StatusCode::FORBIDDEN, "Not allowed"),
            // Not a business answer: its text is for the log, not for the caller.
            RejectionKind::Failed => {
                tracing::error!(code = %rejection.code, error = %rejection.message, "turn failed");
                return Problem::internal();
            }
        };
        let kind = format!("rejected/{}", rejection.code.replace('_', "-"));
        let problem = Problem::new(status, &kind, title)
            .detail(rejection.message)
            .with("code", rejection.code);
        if rejection.details.is_empty() {
            return problem;
        }
        let details: Map<String, Value> = rejection
            .details
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        problem.with("details", details)
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Problem {
        let said = error.to_string();
        let unavailable = |kind, title| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, title)
                .retry_after(Duration::from_secs(1))
        };
        match error {
            CallError::Rejected(rejection) => rejection.into(),
            CallError::RejectedBefore(rejection) => {
                Problem::from(rejection).header(IDEMPOTENCY_REPLAYED, "true")
            }
            CallError::Malformed(_) => Problem::malformed(said),
            CallError::NoSuchMessage { .. } => {
                Problem::new(StatusCode::NOT_FOUND, "no-such-message", "No such message")
                    .detail(said)
            }
            CallError::Overloaded {
                reason,
                retry_after,
            } => Problem::overloaded(reason, retry_after),
            CallError::Draining => Problem::draining(),
            // The reasons of the next two are for operators: they may name files and rows.
            CallError::ServiceFailed { service, reason } => {
                tracing::warn!(service, reason, "call refused by a failed service");
                unavailable("service-failed", "The service has failed")
                    .detail(format!(
                        "service `{service}` has failed; try again when it has been restarted"
                    ))
                    .with("service", service)
            }
            CallError::OutcomeUnknown { reason } => {
                tracing::error!(reason, "outcome of a call unknown");
                unavailable("outcome-unknown", "The outcome is unknown").detail(
                    "the system stopped before the answer was durable; ask again with the same \
                     idempotency key to learn the outcome",
                )
            }
            CallError::Panicked { service, .. } => Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "panicked",
                "The service panicked",
            )
            .detail(said)
            .with("service", service),
            CallError::KeyReused => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key was used for another request",
            )
            .detail(said),
        }
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.to_json().into());
        *response.status_mut() = self.parts.status;
        let headers = response.headers_mut();
        headers.extend(self.parts.headers.clone());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // For the server, which renders it again with what only it knows.
        response.extensions_mut().insert(self);
        response
    }
}

impl warp::reject::Reject for Problem {}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn json(problem: Problem) -> Value {
        serde_json::to_value(&problem.parts).unwrap()
    }

    #[test]
    fn every_call_error_has_its_status_and_a_stable_type() {
        let rejected = |kind| CallError::Rejected(Rejection::new(kind, "some_code", "no"));
        let cases = [
            (rejected(RejectionKind::Invalid), 422, "rejected/some-code"),
            (rejected(RejectionKind::NotFound), 404, "rejected/some-code"),
            (rejected(RejectionKind::Conflict), 409, "rejected/some-code"),
            (
                rejected(RejectionKind::Precondition),
                412,
                "rejected/some-code",
            ),
            (
                rejected(RejectionKind::Forbidden),
                403,
                "rejected/some-code",
            ),
            (rejected(RejectionKind::Failed), 500, "internal"),
            (CallError::Malformed("x".into()), 400, "malformed-body"),
            (
                CallError::NoSuchMessage {
                    service: "a".into(),
                    message: "b".into(),
                },
                404,
                "no-such-message",
            ),
            (
                CallError::Overloaded {
                    reason: "too much waits".into(),
                    retry_after: Duration::from_millis(1500),
                },
                503,
                "overloaded",
            ),
            (CallError::Draining, 503, "draining"),
            (
                CallError::ServiceFailed {
                    service: "a".into(),
                    reason: "secret".into(),
                },
                503,
                "service-failed",
            ),
            (
                CallError::Panicked {
                    service: "a".into(),
                    message: "b".into(),
                },
                500,
                "panicked",
            ),
            (CallError::KeyReused, 422, "idempotency-key-reused"),
            (
                CallError::OutcomeUnknown {
                    reason: "secret".into(),
                },
                503,
                "outcome-unknown",
            ),
        ];
        for (error, status, kind) in cases {
            let problem = json(Problem::from(error.clone()));
            assert_eq!(problem["status"], status, "{error:?}");
            assert_eq!(problem["type"], format!("{PROBLEMS}{kind}"), "{error:?}");
            assert!(!problem["detail"].as_str().unwrap().is_empty(), "{error:?}");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }

    #[test]
    fn an_unavailable_service_says_when_to_come_back() {
        let waits = [
            (
                CallError::Overloaded {
                    reason: "full".into(),
                    retry_after: Duration::from_millis(1500),
                },
                "2",
            ),
            (
                CallError::Overloaded {
                    reason: "full".into(),
                    retry_after: Duration::ZERO,
                },
                "1",
            ),
            (CallError::Draining, "1"),
        ];
        for (error, seconds) in waits {
            let response = Problem::from(error).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
    }

    #[test]
    fn a_rejection_carries_its_code_and_facts() {
        let rejection = Rejection::conflict("out_of_stock", "only 2 left").with("left", 2);
        let problem = json(rejection.into());
        assert_eq!(problem["code"], "out_of_stock");
        assert_eq!(problem["details"]["left"], "2");
        assert_eq!(problem["detail"], "only 2 left");
    }

    #[test]
    fn an_extension_cannot_replace_a_member() {
        let problem = json(
            Problem::not_found("x")
                .with("status", 200)
                .with("hint", "y"),
        );
        assert_eq!(problem["status"], 404);
        assert_eq!(problem["hint"], "y");
    }
}
