//! Recovery: what warp's rejections say, as problems.

use std::convert::Infallible;

use warp::Rejection;
use warp::reject::{
    InvalidHeader, InvalidQuery, LengthRequired, MethodNotAllowed, MissingCookie, MissingHeader,
    PayloadTooLarge, UnsupportedMediaType,
};

use super::extract::OtherMethod;
use super::problem::Problem;
use warp::http::StatusCode;

/// Turns any rejection into a problem. [`serve`](super::serve) applies it to all routes; a host
/// that runs them elsewhere writes `routes.recover(http::recover)`.
///
/// When several routes rejected a request, the one that came furthest speaks: its own problem
/// before a bad body, a bad body before a wrong method, a wrong method before "not found".
pub async fn recover(rejection: Rejection) -> Result<Problem, Infallible> {
    Ok(problem_of(&rejection))
}

fn problem_of(rejection: &Rejection) -> Problem {
    if let Some(problem) = rejection.find::<Problem>() {
        return problem.clone();
    }
    if let Some(error) = rejection.find::<warp::body::BodyDeserializeError>() {
        // warp's own words say no more than its cause.
        let cause = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
        return Problem::malformed(cause);
    }
    if rejection.find::<UnsupportedMediaType>().is_some() {
        return Problem::unsupported_media_type("application/json");
    }
    if rejection.find::<PayloadTooLarge>().is_some() {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
        )
        .detail("this route takes only shorter bodies");
    }
    if rejection.find::<LengthRequired>().is_some() {
        return Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "length-required",
            "Content-Length needed",
        )
        .detail("this route takes only bodies whose length is told in advance");
    }
    if let Some(error) = rejection.find::<MissingHeader>() {
        return Problem::bad_request(format!("the header `{}` is missing", error.name()));
    }
    if let Some(error) = rejection.find::<InvalidHeader>() {
        return Problem::bad_request(format!("the header `{}` cannot be read", error.name()));
    }
    if let Some(error) = rejection.find::<MissingCookie>() {
        return Problem::bad_request(format!("the cookie `{}` is missing", error.name()));
    }
    if rejection.find::<InvalidQuery>().is_some() {
        return Problem::bad_request("the query string has a parameter that cannot be read");
    }
    if rejection.find::<warp::cors::CorsForbidden>().is_some() {
        return Problem::forbidden("this origin may not ask from a browser");
    }
    if rejection.find::<OtherMethod>().is_some() || rejection.find::<MethodNotAllowed>().is_some() {
        // The server knows which methods the routes of this path would have taken.
        return Problem::method_not_allowed(&[]);
    }
    if rejection.is_not_found() {
        return Problem::not_found("there is nothing at this path");
    }
    // warp keeps this type to itself. The server, which knows why the body failed, says it
    // better; a client that hangs up is no error of ours.
    if format!("{rejection:?}").contains("BodyReadError") {
        return Problem::bad_request("the body could not be read to its end");
    }
    tracing::error!(?rejection, "request failed");
    Problem::internal()
}
