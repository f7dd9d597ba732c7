//! Callers: who asks, and what they may.
//!
//! A caller shows an access token with every request. Whether its session goes on, and what its
//! user may do, is asked of the identity service every time: a lock, a deletion, a logout and
//! another role count from the next request on.

use redeliver::http::Problem;
use uuid::Uuid;
use warp::http::header::AUTHORIZATION;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::{Filter, Rejection};

use super::conditions;
use super::table::Access;
use crate::app::Shop;
use crate::identity::Role;
use crate::identity::accounts::{Known, Unknown};
use crate::ids::{SessionId, UserId};
use crate::time::to_rfc3339;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Names the caller in the scope of idempotency keys.
    pub(super) name: String,
    /// Who it is.
    pub(super) user: UserId,
    /// How the caller signed in; `None` for nobody.
    pub(super) session: Option<SessionId>,
    roles: Vec<Role>,
}

impl Caller {
    /// Who sends these headers; `None` if they show no credentials.
    pub(super) async fn of(shop: &Shop, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        let Some(token) = bearer(headers)? else {
            return Ok(None);
        };
        match shop.accounts.who(token).await {
            Ok(known) => Ok(Some(Caller::known(known))),
            Err(Unknown::Call(error)) => Err(error.into()),
            Err(unknown @ (Unknown::Token(_) | Unknown::Over)) => Err(Problem::unauthorized(
                format!("{unknown}; refresh it with POST /api/v1/auth/refresh or sign in again"),
            )),
            Err(unknown @ Unknown::Locked { until }) => Err(Problem::unauthorized(format!(
                "{unknown} until {}; wait or ask an administrator to unlock it",
                to_rfc3339(until)
            ))),
        }
    }

    /// Who sends these headers, if that one may pass.
    pub(super) async fn admitted(
        shop: &Shop,
        headers: &HeaderMap,
        access: Access,
    ) -> Result<Caller, Problem> {
        match access {
            Access::Anyone | Access::Signed => Ok(Caller::nobody()),
            Access::Public => Ok(Caller::of(shop, headers)
                .await?
                .unwrap_or_else(Caller::nobody)),
            Access::Leaving => match Caller::of(shop, headers).await {
                Ok(caller) => Ok(caller.unwrap_or_else(Caller::nobody)),
                Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
                    Ok(Caller::nobody())
                }
                Err(problem) => Err(problem),
            },
            Access::SignedIn => Caller::signed_in(shop, headers).await,
            Access::Only(role) => {
                let caller = Caller::signed_in(shop, headers).await?;
                caller.must_have(role)?;
                Ok(caller)
            }
        }
    }

    async fn signed_in(shop: &Shop, headers: &HeaderMap) -> Result<Caller, Problem> {
        let caller = Caller::of(shop, headers).await?;
        caller.ok_or_else(|| {
            Problem::unauthorized(
                "sign in with POST /api/v1/auth/login and send the access token as \
                 `Authorization: Bearer …`",
            )
        })
    }

    fn known(known: Known) -> Caller {
        Caller {
            name: known.user_id.to_string(),
            user: known.user_id,
            session: Some(known.session_id),
            roles: known.roles,
        }
    }

    /// Somebody who may nothing.
    pub(super) fn nobody() -> Caller {
        Caller {
            name: String::new(),
            user: UserId(Uuid::nil()),
            session: None,
            roles: Vec::new(),
        }
    }

    /// Whether the caller is somebody.
    pub(super) fn is_known(&self) -> bool {
        !self.user.0.is_nil()
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

/// The token that the headers show (RFC 6750).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim_matches(' '))
    });
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Problem::unauthorized(
            "send one authorization header of the form `Authorization: Bearer …`",
        )),
    }
}

/// Lets only operators pass to what is below `/admin`, with nothing that would be overlooked there.
pub(super) fn operator(shop: Shop) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::path::full()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and_then(move |path: FullPath, method: Method, headers: HeaderMap| {
            let shop = shop.clone();
            async move {
                if !path.as_str().starts_with("/admin/") {
                    return Err(warp::reject::not_found());
                }
                let admitted =
                    Caller::admitted(&shop, &headers, Access::Only(Role::Operator)).await;
                let checked = match admitted {
                    Err(problem) => Err(problem),
                    Ok(_) if method == Method::GET => Ok(()),
                    Ok(_) => conditions::not_coded(&headers)
                        .and_then(|()| conditions::no_versions(&headers)),
                };
                checked.map_err(warp::reject::custom)
            }
        })
        .untuple_one()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        for value in ["Bearer a.b", "bearer a.b", "BEARER   a.b"] {
            assert_eq!(bearer(&headers(&[value])).unwrap(), Some("a.b"), "{value}");
        }
    }

    #[test]
    fn other_credentials_are_refused_and_not_ignored() {
        for values in [
            &["Basic YTpi"][..],
            &["Bearer"],
            &["a.b"],
            &[""],
            &["Bearer a", "Bearer b"],
        ] {
            let problem = bearer(&headers(values)).unwrap_err();
            assert_eq!(problem.status(), 401, "{values:?}");
        }
    }

    #[test]
    fn nobody_may_see_what_is_not_theirs() {
        let nobody = Caller::nobody();
        let somebody = UserId(Uuid::from_u128(1));
        assert!(!nobody.may_see(somebody, Role::Warehouse));
        assert_eq!(nobody.must_have(Role::Operator).unwrap_err().status(), 403);
    }
}
