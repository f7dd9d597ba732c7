//! What the shop says of itself: the document for programs and a page for people.
//!
//! The page is [RapiDoc](https://rapidocweb.com), kept in `assets/` and served from here: it asks
//! no other host for anything, and its policy lets it ask none.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redeliver::http::Problem;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use warp::reply::Response;

use super::openapi;
use super::table::{Access, Answer, Table};

const PAGE: &[u8] = include_bytes!("../../assets/docs.html");
/// Compressed as it comes from its registry; every browser reads that.
const VIEWER: &[u8] = include_bytes!("../../assets/rapidoc-9.3.8/rapidoc-min.js.gz");
/// The page styles itself from its script, and asks this host alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; font-src 'self' data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// Adds the routes of the document and its page. Last, for the document tells of all routes that
/// are there by then.
pub(super) fn routes(on: &mut Table) {
    let document = Arc::new(OnceLock::<Bytes>::new());
    let told = document.clone();
    on.outside("/openapi.json", move |_| {
        let told = told.get().cloned();
        async move { told.map(shown).ok_or_else(Problem::internal) }
    })
    .about("Tells of all routes in the words of OpenAPI 3.1.")
    .answers_as("application/json");
    on.outside("/docs", |_| async { page() })
        .about("Shows all routes to people, to look at and to try.")
        .answers_as("text/html; charset=utf-8");
    on.outside("/docs/rapidoc-9.3.8.js", |_| async { viewer() })
        .about("The script of the page that shows all routes.")
        .answers_as("text/javascript; charset=utf-8");
    // A JSON value always has a text.
    let text = serde_json::to_vec(&openapi::document(on)).unwrap_or_default();
    document.get_or_init(|| text.into());
}

/// Tells of the routes that are answered elsewhere.
pub(super) fn tell_of_the_rest(on: &mut Table) {
    use crate::identity::Role;
    on.elsewhere("/livez", Access::Public)
        .about("Whether the process lives.")
        .answers_as("application/json");
    on.elsewhere("/readyz", Access::Public)
        .about("Whether the shop can take work; 503 with every check if not.")
        .answers_as("application/json");
    on.elsewhere("/metrics", Access::Public)
        .about("The shop's figures, as Prometheus reads them.")
        .answers_as("text/plain; version=0.0.4; charset=utf-8");
    on.elsewhere("/admin/system", Access::Only(Role::Operator))
        .about("The running system: its services, its streams, what was recovered.")
        .answers_as("application/json");
    on.elsewhere("/admin/topology", Access::Only(Role::Operator))
        .about("Who sends what to whom.")
        .answers_as("application/json");
}

fn shown(document: Bytes) -> Response {
    // Another version of the shop has another document at the same place.
    with_type(document, "application/json", "no-cache")
}

fn page() -> Answer {
    let page = Bytes::from_static(PAGE);
    let mut response = with_type(page, "text/html; charset=utf-8", "no-cache");
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn viewer() -> Answer {
    let script = Bytes::from_static(VIEWER);
    // Its address names its version.
    let kept = "public, max-age=31536000, immutable";
    let mut response = with_type(script, "text/javascript; charset=utf-8", kept);
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(response)
}

fn with_type(body: Bytes, media_type: &'static str, kept: &'static str) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    response
}
