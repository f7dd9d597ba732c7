//! Extractors: what the server knows about a request, as filters for a host's routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use warp::http::Method;
use warp::{Filter, Rejection};

use super::metrics::Traffic;

/// The id of a request: the caller's `X-Request-Id` if it is sane, else the server's own. It
/// stands on the answer, in problems and in the request's span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// Tells long-lived answers that the server is draining, so that they end by themselves instead
/// of being cut off at the deadline.
#[derive(Debug, Clone, Default)]
pub struct Draining(pub CancellationToken);

/// What the server tells its routes of a request.
#[derive(Debug)]
pub(super) struct Told {
    /// Where it comes from. Behind a proxy this is the proxy.
    pub(super) peer: SocketAddr,
    /// Whether it was `HEAD`, which routes see as `GET`.
    pub(super) head_only: bool,
    pub(super) id: RequestId,
    pub(super) draining: Draining,
    pub(super) allowed: Allowed,
    pub(super) traffic: Traffic,
}

/// What the server tells; `None` when the routes run in another server.
pub(super) fn told<T: Send>(
    what: impl Fn(&Told) -> T + Copy + Send,
) -> impl Filter<Extract = (Option<T>,), Error = Infallible> + Copy {
    warp::ext::optional::<Arc<Told>>().map(move |told: Option<Arc<Told>>| told.as_deref().map(what))
}

/// The methods that the routes of this request's path would have taken, as they were tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed(Arc<Mutex<Vec<Method>>>);

impl Allowed {
    fn add(&self, method: &Method) {
        let mut methods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for method in [
            Some(method),
            (method == Method::GET).then_some(&Method::HEAD),
        ] {
            if let Some(method) = method.filter(|method| !methods.contains(method)) {
                methods.push(method.clone());
            }
        }
    }

    /// All of them, with `OPTIONS`, which the server answers; empty if no route said anything.
    pub(super) fn methods(&self) -> Vec<Method> {
        let mut methods = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if !methods.is_empty() {
            methods.push(Method::OPTIONS);
        }
        methods
    }
}

/// A route of this path takes another method.
#[derive(Debug)]
pub(super) struct OtherMethod;

impl warp::reject::Reject for OtherMethod {}

/// Matches one method, as `warp::get()` and its like do, and lets the server tell the others
/// which methods there are: `Allow` on a 405 and on `OPTIONS`. Put it behind the path.
///
/// ```
/// use redeliver::http;
/// use warp::{Filter, http::Method};
///
/// let read = warp::path!("orders").and(http::method(Method::GET)).map(|| "orders");
/// let write = warp::path!("orders").and(http::method(Method::POST)).map(|| "ordered");
/// let routes = read.or(write); // PUT /orders: 405, Allow: GET, HEAD, POST, OPTIONS
/// # let _ = routes;
/// ```
pub fn method(wanted: Method) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and(told(|told| told.allowed.clone()))
        .and_then(move |method: Method, allowed: Option<Allowed>| {
            let matches = method == wanted;
            if let (false, Some(allowed)) = (matches, allowed) {
                allowed.add(&wanted);
            }
            async move {
                if matches {
                    Ok(())
                } else {
                    Err(warp::reject::custom(OtherMethod))
                }
            }
        })
        .untuple_one()
}

/// The address of the other end of the connection; `None` when the routes run in another server.
pub fn peer() -> impl Filter<Extract = (Option<SocketAddr>,), Error = Infallible> + Copy {
    told(|told| told.peer)
}

/// Whether the caller asked with `HEAD`, which routes see as `GET`: it wants to know what an answer
/// would be and not what it says. `false` when the routes run in another server.
pub fn head_only() -> impl Filter<Extract = (bool,), Error = Infallible> + Copy {
    told(|told| told.head_only).map(|head_only: Option<bool>| head_only.unwrap_or_default())
}

/// The id of the request; empty when the routes run in another server.
pub fn request_id() -> impl Filter<Extract = (RequestId,), Error = Infallible> + Copy {
    told(|told| told.id.clone())
        .map(|id: Option<RequestId>| id.unwrap_or_else(|| RequestId("".into())))
}

/// The server's notice that it is draining; never given when the routes run in another server.
pub fn draining() -> impl Filter<Extract = (Draining,), Error = Infallible> + Copy {
    told(|told| told.draining.clone()).map(|token: Option<Draining>| token.unwrap_or_default())
}
