//! The dashboard: the library's page with a sign-in and the shop's own panels.
//!
//! The page is for everybody, for there is nothing in it. It signs in and asks as any other
//! client, so it shows its reader what that reader may see.

use redeliver::http::{self as server, Dashboard};
use warp::http::StatusCode;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::table::{Access, Table};

/// Where the page is.
pub(crate) const UI: &str = "/ui/";

/// The page and its files.
pub(super) fn dashboard() -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    server::dashboard(UI, files())
}

fn files() -> Dashboard {
    macro_rules! with {
        ($files:expr, $($name:literal),*) => {
            $files$(.file($name, include_bytes!(concat!("../../assets/dashboard/", $name))))*
        };
    }
    with!(
        Dashboard::new(),
        "main.js",
        "session.js",
        "sign_in.js",
        "shop.js",
        "money.js"
    )
}

/// Tells of its routes, which are answered before the table is asked.
pub(super) fn tell_of_it(on: &mut Table) {
    on.elsewhere(UI, Access::Public)
        .about("Shows people the shop and the system it runs on, as they are now.")
        .answers_as("text/html; charset=utf-8")
        .answers_nothing(StatusCode::NOT_MODIFIED);
    on.elsewhere("/ui/{file}", Access::Public)
        .about("What the dashboard's page consists of.")
        .answers_as("text/css; charset=utf-8")
        .answers_as("text/javascript; charset=utf-8")
        .answers_as("text/html; charset=utf-8")
        .answers_nothing(StatusCode::NOT_MODIFIED)
        .refuses(StatusCode::NOT_FOUND, "The page has no such file.");
}
