//! The dashboard: a page that shows a running system, and the files it loads.
//!
//! The page asks what [`admin`](super::admin), [`health`](super::health) and
//! [`events`](super::events) answer, as anybody could; it knows nothing more. It is plain ES
//! modules, served as they were written: no build step, and its policy lets it ask no other host,
//! run no script but its own files and make no markup of text.
//!
//! `main.js` says what is shown and where it is asked for. The one here shows a system whose
//! routes are at the root and open to whoever reaches the page. A host with a sign-in or with
//! panels of its own puts its own `main.js` in that one's place and uses the other modules as
//! they are:
//!
//! ```text
//! index.html ─▶ main.js ─▶ page.js ─▶ panel.js ─▶ views.js ─▶ element.js
//!               the host's │ system.js, events.js: panels of any system
//!                          └ source.js, feed.js ─▶ ask.js, sse.js, wait.js
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION,
};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::extract::method;
use super::problem::Problem;

/// What is asked for by the path alone.
const PAGE: &str = "index.html";

/// Styles and scripts from this host's files alone, requests to this host alone, and no text that
/// is taken for markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../assets/dashboard/", $name)) as &[u8])),*]
    };
}

/// The page's files.
///
/// ```
/// use redeliver::http::Dashboard;
///
/// let plain = Dashboard::new();
/// assert!(plain.names().any(|name| name == "index.html"));
/// let own = plain.file("main.js", b"import { Page } from './page.js';");
/// assert_eq!(own.names().count(), Dashboard::new().names().count());
/// ```
#[derive(Debug, Clone)]
pub struct Dashboard {
    files: BTreeMap<&'static str, File>,
}

#[derive(Debug, Clone)]
struct File {
    content: Bytes,
    media_type: &'static str,
    etag: HeaderValue,
}

impl Default for Dashboard {
    fn default() -> Dashboard {
        Dashboard::new()
    }
}

impl Dashboard {
    /// The page for any system, without a sign-in.
    pub fn new() -> Dashboard {
        let files = files![
            "index.html",
            "style.css",
            "main.js",
            "page.js",
            "panel.js",
            "views.js",
            "element.js",
            "format.js",
            "system.js",
            "events.js",
            "source.js",
            "feed.js",
            "sse.js",
            "ask.js",
            "wait.js",
        ];
        let none = Dashboard {
            files: BTreeMap::new(),
        };
        files
            .into_iter()
            .fold(none, |page, (name, content)| page.file(name, content))
    }

    /// Adds a file, or puts it in the place of the one with that name. The ending says what it
    /// is: `html`, `css`, `js` or `svg`; anything else is bytes to a browser.
    #[must_use]
    pub fn file(mut self, name: &'static str, content: &'static [u8]) -> Dashboard {
        self.files.insert(name, File::new(name, content));
        self
    }

    /// The names of all files.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.files.keys().copied()
    }
}

impl File {
    fn new(name: &str, content: &'static [u8]) -> File {
        // From the content alone, so that every process that serves this file has the same one.
        let tag = Uuid::new_v5(&Uuid::NAMESPACE_OID, content).simple();
        let tag = HeaderValue::from_str(&format!("\"{tag}\""));
        File {
            content: Bytes::from_static(content),
            media_type: media_type(name),
            // Quotes and hexadecimal digits can stand in any header.
            etag: tag.unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let mut response = if self.is_known(asked) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Response::new(self.content.clone().into());
            let kind = HeaderValue::from_static(self.media_type);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        // Another version of the program has other files under the same names.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for (name, value) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            let name = HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Whether whoever asks has this very content already.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let values = asked.get_all(IF_NONE_MATCH).iter();
        let mut tags = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(str::trim);
        // A proxy that compresses may have made the tag weak; the comparison is weak (RFC 9110).
        tags.any(|tag| tag == "*" || self.etag == tag.strip_prefix("W/").unwrap_or(tag))
    }
}

/// The page at `path`, with its files below; without the last slash one is sent to where it is.
///
/// Everybody may have the files, for there is nothing in them. Who may see what they show is
/// decided where they ask.
///
/// ```
/// use redeliver::System;
/// use redeliver::http::{self, Dashboard, EventStreams, EventStreamsConfig};
/// use warp::Filter;
///
/// # fn mount(system: System) {
/// let streams = EventStreams::new(&system, EventStreamsConfig::default());
/// let routes = http::health(system.clone())
///     .or(http::admin(system))
///     .or(http::events(streams, http::every_event()))
///     .or(http::dashboard("/ui/", Dashboard::new()));
/// # let _ = routes;
/// # }
/// ```
pub fn dashboard(
    path: &str,
    files: Dashboard,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> {
    let mount = Arc::new(Mount::new(path, files));
    warp::path::full()
        .and_then(move |asked: FullPath| {
            let found = mount.find(asked.as_str());
            async move { found }
        })
        .and(method(Method::GET))
        .and(warp::header::headers_cloned())
        .and_then(|found: Found, asked: HeaderMap| {
            let answer = match found {
                Found::File(file) => Ok(file.answer(&asked)),
                Found::Elsewhere(place) => Ok(sent_to(&place)),
                // Another route may know the path.
                Found::Nothing(problem) => Err(warp::reject::custom(problem)),
            };
            async move { answer }
        })
}

/// The files and where they are.
struct Mount {
    /// Without the last slash.
    root: String,
    files: BTreeMap<&'static str, File>,
}

/// What is at a path.
#[derive(Debug)]
enum Found {
    /// A file.
    File(File),
    /// The page, at a path from which its files would not be found; it is at this one.
    Elsewhere(String),
    /// Nothing that there is.
    Nothing(Problem),
}

impl Mount {
    fn new(path: &str, dashboard: Dashboard) -> Mount {
        let root = match path.trim_matches('/') {
            "" => String::new(),
            inner => format!("/{inner}"),
        };
        Mount {
            root,
            files: dashboard.files,
        }
    }

    fn find(&self, path: &str) -> Result<Found, Rejection> {
        let below = path
            .strip_prefix(&self.root)
            .ok_or_else(warp::reject::not_found)?;
        if below.is_empty() {
            return Ok(Found::Elsewhere(format!("{}/", self.root)));
        }
        let name = below
            .strip_prefix('/')
            .ok_or_else(warp::reject::not_found)?;
        let name = if name.is_empty() { PAGE } else { name };
        match self.files.get(name) {
            Some(file) => Ok(Found::File(file.clone())),
            // At the root of everything, most paths are somebody else's.
            None if self.root.is_empty() => Err(warp::reject::not_found()),
            None => Ok(Found::Nothing(Problem::not_found(format!(
                "the dashboard has no file of this name; its page is at {}/",
                self.root
            )))),
        }
    }
}

fn sent_to(place: &str) -> Response {
    let mut response = StatusCode::PERMANENT_REDIRECT.into_response();
    // What no header can carry could not have been asked for.
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_below_its_path_is_the_dashboards() {
        let found = |root: &str, path: &str| match Mount::new(root, Dashboard::new()).find(path) {
            Ok(Found::File(file)) => file.media_type.to_owned(),
            Ok(Found::Elsewhere(place)) => place,
            Ok(Found::Nothing(_)) => "no such file".to_owned(),
            Err(_) => "not ours".to_owned(),
        };
        for root in ["a/ui", "/a/ui", "/a/ui/"] {
            for (path, wanted) in [
                ("/a/ui/", "text/html; charset=utf-8"),
                ("/a/ui/page.js", "text/javascript; charset=utf-8"),
                ("/a/ui", "/a/ui/"),
                ("/a/ui/gone.js", "no such file"),
                ("/a/ui//", "no such file"),
                ("/a/ui/../page.js", "no such file"),
                ("/a/uix", "not ours"),
                ("/a/", "not ours"),
                ("/ui/", "not ours"),
            ] {
                assert_eq!(found(root, path), wanted, "{path} below {root}");
            }
        }
        // At the root of everything there is nowhere else to send anybody.
        assert_eq!(found("/", "/"), "text/html; charset=utf-8");
        assert_eq!(found("/", "/style.css"), "text/css; charset=utf-8");
        assert_eq!(found("/", "/orders"), "not ours");
    }

    #[test]
    fn a_tag_is_of_the_content_and_of_nothing_else() {
        let tag = |name, content| File::new(name, content).etag;
        assert_eq!(tag("a.js", b"one"), tag("b.css", b"one"));
        assert_ne!(tag("a.js", b"one"), tag("a.js", b"two"));
    }
}
