//! An entry of the table: a route and everything that is said of it.
//!
//! What follows from the method, the path and whom it lets pass is not said again: the parameters
//! of the path, the idempotency key, most of the problems. A route says what it is for, what it
//! takes and answers, and which of the conventions it follows.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use warp::http::{Method, StatusCode};

use super::ask::Ask;
use super::table::{Access, Answer};
use super::{API, AUTH};

pub(super) type Route =
    Arc<dyn Fn(Ask) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A route and what is known of it.
pub(super) struct Entry {
    pub(super) method: Method,
    /// With a name in braces for each part that it leaves open.
    pub(super) path: String,
    pub(super) access: Access,
    /// What it does, in one line.
    pub(super) about: &'static str,
    /// The body that it takes.
    pub(super) takes: Option<Taken>,
    /// What it answers when all goes well.
    pub(super) answers: Vec<(StatusCode, Body)>,
    /// Parameters beside those of the path, and those that its conventions bring.
    pub(super) parameters: Vec<Parameter>,
    /// It shows or changes something that has a version: `ETag`, `If-Match`.
    pub(super) is_versioned: bool,
    /// It waits for the outcome when asked to: `Prefer: wait`.
    pub(super) may_wait: bool,
    /// Problems that do not follow from what it is.
    pub(super) refuses: Vec<(StatusCode, &'static str)>,
    segments: Vec<String>,
    /// `None` if it is answered before the table is asked.
    pub(super) route: Option<Route>,
}

/// The body of a request.
pub(super) struct Taken {
    pub(super) shape: Shape,
    pub(super) is_required: bool,
}

/// The body of an answer.
pub(super) enum Body {
    /// None.
    Nothing,
    /// JSON of this shape.
    Json(Box<Shape>),
    /// Something else, such as a page or a stream.
    Other(&'static str),
}

/// The shape of a body, and of what it consists of.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) schema: RefOr<Schema>,
    pub(super) parts: Vec<(String, RefOr<Schema>)>,
}

/// A parameter in the query string or in a header. All may be left out.
pub(super) struct Parameter {
    pub(super) place: Place,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Header,
}

/// The parameters of every list.
const PAGING: [&str; 2] = ["limit", "cursor"];

/// What a route says of itself, one statement after the other.
impl Entry {
    /// What the route does, in one line.
    pub(super) fn about(&mut self, text: &'static str) -> &mut Entry {
        self.about = text;
        self
    }

    /// It takes a body of this shape.
    pub(super) fn takes<T: ToSchema>(&mut self) -> &mut Entry {
        self.takes = Some(Taken {
            shape: Shape::of::<T>(),
            is_required: true,
        });
        self
    }

    /// It takes a body of this shape, which may be left out.
    pub(super) fn may_take<T: ToSchema>(&mut self) -> &mut Entry {
        self.takes = Some(Taken {
            shape: Shape::of::<T>(),
            is_required: false,
        });
        self
    }

    /// It answers this with a body of this shape.
    pub(super) fn answers<T: ToSchema>(&mut self, status: StatusCode) -> &mut Entry {
        self.answers
            .push((status, Body::Json(Box::new(Shape::of::<T>()))));
        self
    }

    /// It answers this without a body.
    pub(super) fn answers_nothing(&mut self, status: StatusCode) -> &mut Entry {
        self.answers.push((status, Body::Nothing));
        self
    }

    /// It answers 200 with a body of this media type.
    pub(super) fn answers_as(&mut self, media_type: &'static str) -> &mut Entry {
        let body = Body::Other(media_type);
        self.answers.push((StatusCode::OK, body));
        self
    }

    /// It looks at this parameter of the query string.
    pub(super) fn query(&mut self, name: &'static str, about: &'static str) -> &mut Entry {
        self.parameter(Place::Query, name, about)
    }

    /// It looks at this header.
    pub(super) fn header(&mut self, name: &'static str, about: &'static str) -> &mut Entry {
        self.parameter(Place::Header, name, about)
    }

    /// It is a list that is shown page by page: `limit`, `cursor`.
    pub(super) fn pages(&mut self) -> &mut Entry {
        self.query("limit", "How many, 1 to 200; 50 if left out.");
        self.query("cursor", "`next_cursor` of the page before.")
    }

    /// What it shows or changes has a version: it answers `ETag`, and a change honours `If-Match`.
    pub(super) fn versioned(&mut self) -> &mut Entry {
        self.is_versioned = true;
        self
    }

    /// It waits for the outcome when asked to: `Prefer: wait=N`.
    pub(super) fn waits(&mut self) -> &mut Entry {
        self.may_wait = true;
        self
    }

    /// It may refuse with this, which does not follow from what it is.
    pub(super) fn refuses(&mut self, status: StatusCode, about: &'static str) -> &mut Entry {
        self.refuses.push((status, about));
        self
    }

    fn parameter(&mut self, place: Place, name: &'static str, about: &'static str) -> &mut Entry {
        self.parameters.push(Parameter { place, name, about });
        self
    }
}

/// What follows from what was said.
impl Entry {
    pub(super) fn new(
        method: Method,
        under: &'static str,
        path: &'static str,
        access: Access,
        route: Option<Route>,
    ) -> Entry {
        Entry {
            method,
            path: format!("{under}{path}"),
            access,
            about: "",
            takes: None,
            answers: Vec::new(),
            parameters: Vec::new(),
            is_versioned: false,
            may_wait: false,
            refuses: Vec::new(),
            segments: segments(under)
                .chain(segments(path))
                .map(str::to_owned)
                .collect(),
            route,
        }
    }

    /// Whether it changes something.
    pub(super) fn is_change(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it honours an idempotency key. Answers with tokens are never stored, webhooks have an
    /// id of their own, and what is answered elsewhere knows nothing of it.
    pub(super) fn is_idempotent(&self) -> bool {
        self.route.is_some()
            && self.is_change()
            && self.access != Access::Signed
            && !self.path.starts_with(AUTH)
    }

    /// The parameters that say which list it shows.
    pub(super) fn filters(&self) -> Vec<&'static str> {
        let queries = self.parameters.iter();
        queries
            .filter(|parameter| parameter.place == Place::Query)
            .map(|parameter| parameter.name)
            .filter(|name| !PAGING.contains(name))
            .collect()
    }

    /// The service it belongs to.
    pub(super) fn service(&self) -> &'static str {
        let under = self.path.strip_prefix(API).unwrap_or_default();
        match segments(under).next().unwrap_or_default() {
            "auth" => "identity",
            "users" if under.ends_with("/notification-preferences") => "notification",
            "users" => "identity",
            "catalog" => "catalog",
            "orders" | "cart" => "order",
            "payments" => "payment",
            "inventory" => "inventory",
            "shipments" => "shipping",
            "notifications" | "templates" => "notification",
            "analytics" => "analytics",
            _ if self.access == Access::Signed => "payment",
            _ => "gateway",
        }
    }

    /// Names of the parts that the path leaves open, in their order.
    pub(super) fn open_parts(&self) -> Vec<String> {
        let open = self.segments.iter().filter(|segment| is_open(segment));
        open.enumerate()
            .map(|(place, segment)| match (segment.as_str(), place) {
                ("{}", 0) => "id".to_owned(),
                ("{}", place) => format!("id{}", place + 1),
                (named, _) => named[1..named.len() - 1].to_owned(),
            })
            .collect()
    }

    /// The path with a name for each part that it leaves open.
    pub(super) fn named_path(&self) -> String {
        let mut names = self.open_parts().into_iter();
        let mut path = String::new();
        for segment in &self.segments {
            let name = is_open(segment).then(|| names.next()).flatten();
            match name {
                Some(name) => path.push_str(&format!("/{{{name}}}")),
                None => path.push_str(&format!("/{segment}")),
            }
        }
        path
    }

    /// What the path of a request has in the places that this one leaves open; `None` if it is
    /// another path.
    pub(super) fn matches(&self, asked: &[&str]) -> Option<Vec<String>> {
        if asked.len() != self.segments.len() {
            return None;
        }
        let mut captured = Vec::new();
        for (wanted, asked) in self.segments.iter().zip(asked) {
            if is_open(wanted) && !asked.is_empty() {
                // What is no text matches nothing we know, as any other unknown id.
                captured.push(percent_decode_str(asked).decode_utf8_lossy().into_owned());
            } else if wanted != asked {
                return None;
            }
        }
        Some(captured)
    }
}

impl Shape {
    fn of<T: ToSchema>() -> Shape {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        Shape {
            name: T::name().into_owned(),
            schema: T::schema(),
            parts,
        }
    }
}

/// The parts of a path between its slashes.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/')
        .into_iter()
        .flat_map(|path| path.split('/'))
}

fn is_open(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}
