//! The table of routes: which function answers a method and a path.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use redeliver::http::Problem;
use warp::http::Method;
use warp::reply::Response;

use super::API;
use super::ask::Ask;
use crate::identity::Role;

/// What a route answers.
pub(super) type Answer = Result<Response, Problem>;

type Route = Arc<dyn Fn(Ask) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Whom a route lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody. Who shows credentials is known by them; bad ones are refused.
    Public,
    /// Whoever is signed in. The route itself tells what is the caller's own.
    SignedIn,
    /// Who has this role, or every role.
    Only(Role),
    /// Everybody, whatever credentials they show: who signs in anew may hold old ones.
    Anyone,
    /// Other companies' systems, which sign what they send.
    Signed,
}

/// All routes, in the order in which they are tried: literal paths before those that capture.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

/// A route and what is known of it.
pub(super) struct Entry {
    pub(super) method: Method,
    /// With `{}` for what it leaves open.
    pub(super) path: String,
    pub(super) access: Access,
    /// What it does, in one line.
    pub(super) about: &'static str,
    segments: Vec<&'static str>,
    route: Route,
}

/// A route that answers a request.
pub(super) struct Found {
    /// What answers it.
    pub(super) route: Route,
    /// The parts of the path that the route left open.
    pub(super) captured: Vec<String>,
    /// Whom it lets pass.
    pub(super) access: Access,
}

impl Entry {
    /// Says what the route does, in one line.
    pub(super) fn about(&mut self, text: &'static str) -> &mut Entry {
        self.about = text;
        self
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident, $method:ident;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name<F>(
            &mut self,
            path: &'static str,
            access: Access,
            route: fn(Ask) -> F,
        ) -> &mut Entry
        where
            F: Future<Output = Answer> + Send + 'static,
        {
            self.add(Method::$method, API, path, access, route)
        }
    )*};
}

impl Table {
    methods! {
        /// A route to read something. `path` is below [`API`]; `{}` captures a segment.
        get, GET;
        /// A route to do something or to make something new.
        post, POST;
        /// A route to put something in the place of what is there.
        put, PUT;
        /// A route to change a part of something.
        patch, PATCH;
        /// A route to remove something.
        delete, DELETE;
    }

    /// A route outside [`API`] for other companies' systems.
    pub(super) fn signed_post<F>(&mut self, path: &'static str, route: fn(Ask) -> F) -> &mut Entry
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.add(Method::POST, "", path, Access::Signed, route)
    }

    fn add<F>(
        &mut self,
        method: Method,
        under: &'static str,
        path: &'static str,
        access: Access,
        route: fn(Ask) -> F,
    ) -> &mut Entry
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.entries.push(Entry {
            method,
            path: format!("{under}{path}"),
            access,
            about: "",
            segments: segments(under).chain(segments(path)).collect(),
            route: Arc::new(move |ask| Box::pin(route(ask))),
        });
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }

    /// The route for this request; `None` if the path has none, a problem if the method is wrong.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Option<Found>, Problem> {
        let asked: Vec<&str> = segments(path).collect();
        let mut others: Vec<Method> = Vec::new();
        for entry in &self.entries {
            let Some(captured) = entry.matches(&asked) else {
                continue;
            };
            if entry.method == *method {
                return Ok(Some(Found {
                    route: entry.route.clone(),
                    captured,
                    access: entry.access,
                }));
            }
            if !others.contains(&entry.method) {
                others.push(entry.method.clone());
            }
        }
        if others.is_empty() {
            return Ok(None);
        }
        if others.contains(&Method::GET) {
            others.push(Method::HEAD);
        }
        others.push(Method::OPTIONS);
        Err(Problem::method_not_allowed(&others))
    }
}

impl Entry {
    fn matches(&self, asked: &[&str]) -> Option<Vec<String>> {
        if asked.len() != self.segments.len() {
            return None;
        }
        let mut captured = Vec::new();
        for (wanted, asked) in self.segments.iter().zip(asked) {
            if *wanted == "{}" && !asked.is_empty() {
                // What is no text matches nothing we know, as any other unknown id.
                captured.push(percent_decode_str(asked).decode_utf8_lossy().into_owned());
            } else if wanted != asked {
                return None;
            }
        }
        Some(captured)
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/')
        .into_iter()
        .flat_map(|path| path.split('/'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn nothing(_: Ask) -> Answer {
        Err(Problem::not_found("nothing"))
    }

    fn table() -> Table {
        let mut on = Table::default();
        on.get("/things/new", Access::Public, nothing);
        on.get("/things/{}", Access::Public, nothing);
        on.post("/things", Access::Public, nothing);
        on.get("/things", Access::Public, nothing);
        on
    }

    fn status(method: Method, path: &str) -> u16 {
        match table().find(&method, path) {
            Ok(Some(_)) => 200,
            Ok(None) => 404,
            Err(problem) => problem.status().as_u16(),
        }
    }

    #[test]
    fn a_literal_path_goes_before_one_that_captures() {
        let table = table();
        let captured = |path| table.find(&Method::GET, path).unwrap().unwrap().captured;
        assert!(captured("/api/v1/things/new").is_empty());
        assert_eq!(captured("/api/v1/things/a%20b"), ["a b"]);
    }

    #[test]
    fn an_unknown_path_is_404_and_another_method_is_405() {
        assert_eq!(status(Method::GET, "/api/v1/things"), 200);
        assert_eq!(status(Method::PUT, "/api/v1/things"), 405);
        for path in ["/", "/things", "/api/v1/things/", "/api/v1/things/a/b"] {
            assert_eq!(status(Method::GET, path), 404, "{path}");
        }
    }
}
