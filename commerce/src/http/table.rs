//! The table of routes: which function answers a method and a path.

use std::future::Future;
use std::sync::Arc;

use redeliver::http::Problem;
use warp::http::Method;
use warp::reply::Response;

use super::API;
use super::ask::Ask;
use super::entry::{Entry, Route, segments};
use crate::identity::Role;

/// What a route answers.
pub(super) type Answer = Result<Response, Problem>;

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
    /// Everybody. Who shows good credentials is known by them; bad ones are none: who leaves has
    /// often stayed too long.
    Leaving,
    /// Other companies' systems, which sign what they send.
    Signed,
}

/// All routes, in the order in which they are tried: literal paths before those that capture.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
}

/// A route that answers a request.
pub(super) struct Found {
    /// What answers it.
    pub(super) route: Route,
    /// The parts of the path that the route left open.
    pub(super) captured: Vec<String>,
    /// Whom it lets pass.
    pub(super) access: Access,
    /// Whether it honours an idempotency key.
    pub(super) is_idempotent: bool,
    /// Whether it compares versions with `If-Match`.
    pub(super) has_versions: bool,
    /// The parameters that say which list it shows.
    pub(super) filters: Vec<&'static str>,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident, $method:ident;)*) => {$(
        $(#[$doc])*
        pub(super) fn $name<F>(
            &mut self,
            path: &'static str,
            access: Access,
            route: impl Fn(Ask) -> F + Send + Sync + 'static,
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
        /// A route to read something. `path` is below [`API`]; a segment in braces, such as
        /// `{order_id}`, captures what stands there.
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

    /// A route outside [`API`] for whoever comes along.
    pub(super) fn outside<F>(
        &mut self,
        path: &'static str,
        route: impl Fn(Ask) -> F + Send + Sync + 'static,
    ) -> &mut Entry
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.add(Method::GET, "", path, Access::Public, route)
    }

    /// A route outside [`API`] that is answered before this table is asked: only to be told of.
    pub(super) fn elsewhere(&mut self, path: &'static str, access: Access) -> &mut Entry {
        self.push(Entry::new(Method::GET, "", path, access, None))
    }

    /// The same for one that changes something.
    pub(super) fn elsewhere_post(&mut self, path: &'static str, access: Access) -> &mut Entry {
        self.push(Entry::new(Method::POST, "", path, access, None))
    }

    fn add<F>(
        &mut self,
        method: Method,
        under: &'static str,
        path: &'static str,
        access: Access,
        route: impl Fn(Ask) -> F + Send + Sync + 'static,
    ) -> &mut Entry
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let route: Route = Arc::new(move |ask| Box::pin(route(ask)));
        self.push(Entry::new(method, under, path, access, Some(route)))
    }

    fn push(&mut self, entry: Entry) -> &mut Entry {
        self.entries.push(entry);
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }

    /// All routes.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The route for this request; `None` if the path has none, a problem if the method is wrong.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Option<Found>, Problem> {
        let asked: Vec<&str> = segments(path).collect();
        for entry in &self.entries {
            if entry.method != *method {
                continue;
            }
            if let (Some(route), Some(captured)) = (&entry.route, entry.matches(&asked)) {
                return Ok(Some(Found {
                    route: route.clone(),
                    captured,
                    access: entry.access,
                    is_idempotent: entry.is_idempotent(),
                    has_versions: entry.is_versioned,
                    filters: entry.filters(),
                }));
            }
        }
        let is_ours = |entry: &Entry| entry.route.is_some() && entry.matches(&asked).is_some();
        if self.entries.iter().any(is_ours) {
            Err(Problem::method_not_allowed(&self.methods(path)))
        } else {
            Ok(None)
        }
    }

    /// The methods of a path; empty if there is no such path.
    pub(super) fn methods(&self, path: &str) -> Vec<Method> {
        let asked: Vec<&str> = segments(path).collect();
        let mut methods: Vec<Method> = Vec::new();
        for entry in &self.entries {
            if !methods.contains(&entry.method) && entry.matches(&asked).is_some() {
                methods.push(entry.method.clone());
            }
        }
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        if !methods.is_empty() {
            methods.push(Method::OPTIONS);
        }
        methods
    }
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
