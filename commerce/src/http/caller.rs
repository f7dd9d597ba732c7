//! Callers: who asks, and what they may.
//!
//! Until there is authentication, whoever can reach the loopback address and shows no credentials
//! is the user `development`, who has every role. Credentials are refused, not ignored: whoever
//! sends some believes that they count.
//!
//! Web pages that a browser on this machine shows can reach the loopback address too. They are
//! told by the name under which they reach it, or by the origin that the browser adds.

use std::net::IpAddr;

use redeliver::http::Problem;
use uuid::Uuid;
use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, HOST, ORIGIN};
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::table::Access;
use crate::app::Shop;
use crate::identity::Role;
use crate::ids::UserId;

/// The customer that `development` orders as.
pub(crate) const DEVELOPMENT: UserId =
    UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0de5));

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Names the caller in the scope of idempotency keys.
    pub(super) name: String,
    /// Who it is.
    pub(super) user: UserId,
    roles: Vec<Role>,
}

impl Caller {
    /// Who sends these headers; `None` if they show no credentials.
    pub(super) async fn of(_shop: &Shop, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        Caller::development(headers).map(Some)
    }

    fn development(headers: &HeaderMap) -> Result<Caller, Problem> {
        if !is_local(headers) {
            return Err(Problem::forbidden(
                "this server acts for whoever is on its machine and so takes no requests of \
                 web pages from elsewhere; use 127.0.0.1 or localhost as its address",
            ));
        }
        if headers.contains_key(AUTHORIZATION) {
            return Err(Problem::unauthorized(
                "this server has no users yet and cannot check the token; send the request \
                 without an authorization header to act as `development`",
            ));
        }
        Ok(Caller {
            name: "development".to_owned(),
            user: DEVELOPMENT,
            roles: vec![Role::Admin],
        })
    }

    /// Who sends these headers, if that one may pass.
    pub(super) async fn admitted(
        shop: &Shop,
        headers: &HeaderMap,
        access: Access,
    ) -> Result<Caller, Problem> {
        if access == Access::Signed {
            return Ok(Caller::nobody());
        }
        let caller = Caller::of(shop, headers).await?;
        match (access, caller) {
            (Access::Public | Access::Signed, caller) => Ok(caller.unwrap_or_else(Caller::nobody)),
            (Access::SignedIn | Access::Only(_), None) => Err(Problem::unauthorized(
                "sign in with POST /api/v1/auth/login and send the access token as \
                 `Authorization: Bearer …`",
            )),
            (Access::SignedIn, Some(caller)) => Ok(caller),
            (Access::Only(role), Some(caller)) => {
                caller.must_have(role)?;
                Ok(caller)
            }
        }
    }

    /// Somebody who may nothing.
    pub(super) fn nobody() -> Caller {
        Caller {
            name: String::new(),
            user: UserId(Uuid::nil()),
            roles: Vec::new(),
        }
    }

    /// Whether the caller has the role, or every role.
    pub(super) fn has(&self, role: Role) -> bool {
        self.roles
            .iter()
            .any(|has| *has == role || *has == Role::Admin)
    }

    /// Lets only callers with this role pass.
    pub(super) fn must_have(&self, role: Role) -> Result<(), Problem> {
        if self.has(role) {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "this needs the role `{role}`; ask an administrator for it"
        )))
    }

    /// Whether the caller may know of something of this user's.
    pub(super) fn may_see(&self, user: UserId, role: Role) -> bool {
        self.user == user || self.has(role)
    }
}

/// Whether the request names this machine, as everything but a foreign web page does.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(HOST).is_none_or(is_local_host);
    let origin = text(ORIGIN).is_none_or(|origin| {
        origin
            .split_once("://")
            .is_some_and(|(_, host)| is_local_host(host))
    });
    host && origin
}

/// A loopback address or `localhost`, with any port. A name without dots is nobody's domain, so
/// no page from elsewhere has it.
fn is_local_host(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => !host.contains('.') || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

/// Lets only operators pass to what is below `/admin`.
pub(super) fn operator(shop: Shop) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::path::full()
        .and(warp::header::headers_cloned())
        .and_then(move |path: FullPath, headers: HeaderMap| {
            let shop = shop.clone();
            async move {
                if !path.as_str().starts_with("/admin/") {
                    return Err(warp::reject::not_found());
                }
                Caller::admitted(&shop, &headers, Access::Only(Role::Operator))
                    .await
                    .map(|_| ())
                    .map_err(warp::reject::custom)
            }
        })
        .untuple_one()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn without_credentials_one_is_development_and_with_some_nobody() {
        let caller = Caller::development(&HeaderMap::new()).unwrap();
        assert!(caller.has(Role::Warehouse) && caller.has(Role::Admin));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(Caller::development(&headers).unwrap_err().status(), 401);
    }

    #[test]
    fn web_pages_from_elsewhere_are_nobody() {
        let of = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            Caller::development(&headers).map_err(|problem| problem.status().as_u16())
        };
        for host in [
            "127.0.0.1:8080",
            "localhost:1",
            "[::1]:80",
            "[::1]",
            "a.localhost",
            "x",
        ] {
            assert!(of(HOST, host).is_ok(), "{host}");
        }
        for host in [
            "shop.example:8080",
            "127.0.0.1.example",
            "192.0.2.1",
            "[2001:db8::1]:1",
        ] {
            assert_eq!(of(HOST, host), Err(403), "{host}");
        }
        assert!(of(ORIGIN, "http://localhost:8080").is_ok());
        for origin in [
            "https://shop.example",
            "null",
            "http://127.0.0.1.example:8080",
        ] {
            assert_eq!(of(ORIGIN, origin), Err(403), "{origin}");
        }
    }

    #[test]
    fn nobody_may_see_what_is_not_theirs() {
        let nobody = Caller::nobody();
        assert!(!nobody.may_see(DEVELOPMENT, Role::Warehouse));
        assert_eq!(nobody.must_have(Role::Operator).unwrap_err().status(), 403);
    }
}
