//! Signing in and out: accounts, passwords and tokens.
//!
//! Idempotency keys are ignored here: an answer with tokens is never stored.

use std::time::Instant;

use redeliver::clock::{Clock, SystemClock};
use redeliver::http::Problem;
use redeliver::{CallError, Rejection, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::http::header::WWW_AUTHENTICATE;

use super::ask::Ask;
use super::table::{Access, Answer, Table};
use super::users::User;
use super::{API, answer};
use crate::identity::accounts::{AccountError, Admission, Entry};
use crate::identity::password_pool::PoolError;
use crate::identity::token::RefreshSecret;
use crate::identity::{Contact, Password, Role};
use crate::ids::UserId;
use crate::privacy::KeyringError;
use crate::time::to_rfc3339;

pub(super) fn routes(on: &mut Table) {
    on.post("/auth/register", Access::Anyone, register)
        .about("Makes a customer's account.")
        .takes::<Registration>()
        .answers::<User>(StatusCode::CREATED);
    on.post("/auth/login", Access::Anyone, login)
        .about("Exchanges an e-mail address and its password for tokens.")
        .takes::<Login>()
        .answers::<Tokens>(StatusCode::OK)
        .refuses(StatusCode::FORBIDDEN, "The account is locked.");
    on.post("/auth/refresh", Access::Anyone, refresh)
        .about("Exchanges a refresh token, once, for the next tokens.")
        .takes::<Refresh>()
        .answers::<Tokens>(StatusCode::OK)
        .refuses(StatusCode::FORBIDDEN, "The account is locked.");
    on.post("/auth/logout", Access::Leaving, logout)
        .about("Ends the session of the access token if it is good, and that of a refresh token.")
        .may_take::<Logout>()
        .answers_nothing(StatusCode::NO_CONTENT);
}

/// Somebody who wants an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    /// E-mail address; needs no confirmation.
    email: String,
    /// 12 to 128 characters of any kind.
    #[schema(value_type = String)]
    password: Password,
    /// First name.
    first_name: String,
    /// Last name.
    last_name: String,
}

async fn register(ask: Ask) -> Answer {
    let Registration {
        email,
        password,
        first_name,
        last_name,
    } = ask.json()?;
    let contact = Contact {
        email,
        first_name,
        last_name,
    };
    let profile = ask.shop.accounts.register(contact, password).await;
    let user = User::of(profile.map_err(problem)?);
    let response = user.tagged(StatusCode::CREATED)?;
    let location = format!("{API}/users/{}", user.id);
    Ok(answer::with(response, "location", &location))
}

/// Somebody who wants in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// E-mail address.
    email: String,
    /// Password.
    #[schema(value_type = String)]
    password: Password,
}

async fn login(ask: Ask) -> Answer {
    let Login { email, password } = ask.json()?;
    let (failed, address) = (&ask.shop.failed_logins, ask.peer.map(|peer| peer.ip()));
    if let Some(wait) = failed.wait(address, Instant::now()) {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failed-logins",
            "Too many failed logins",
        )
        .detail("too many logins from this address have failed; wait a little and try again")
        .retry_after(wait));
    }
    let entry = ask.shop.accounts.log_in(&email, password).await;
    let entry = entry.map_err(problem)?;
    match &entry {
        Entry::Admitted(_) => {}
        Entry::Refused | Entry::Locked { .. } => failed.count(address, Instant::now()),
    }
    admission(entry, || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "wrong-credentials",
            "E-mail address or password is wrong",
        )
        .detail("nobody has this e-mail address with this password; check both")
        .header(WWW_AUTHENTICATE, "Bearer")
    })
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// As it came with the last login or refresh.
    refresh_token: String,
}

async fn refresh(ask: Ask) -> Answer {
    let Refresh { refresh_token } = ask.json()?;
    let entry = ask.shop.accounts.refresh(&refresh_token).await;
    admission(entry.map_err(problem)?, || {
        Problem::unauthorized(
            "the refresh token is not good any more; sign in with POST /api/v1/auth/login",
        )
    })
}

/// What ends, beside the session of the access token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Logout {
    /// A refresh token whose session ends too.
    refresh_token: Option<String>,
}

async fn logout(ask: Ask) -> Answer {
    let Logout { refresh_token } = ask.json_or_nothing()?;
    let shown = refresh_token.as_deref().map(RefreshSecret::read);
    if ask.caller.session.is_none() && shown.is_none() {
        return Err(Problem::unauthorized(
            "send the refresh_token in the body, or an access token that is still good as \
             `Authorization: Bearer …`",
        ));
    }
    // The refresh token is enough, whatever became of the access token.
    // A token that is none of ours, or whose session has ended, has nothing left to end.
    let of_refresh_token = shown.flatten().map(|(session, _)| session);
    for session in ask.caller.session.into_iter().chain(of_refresh_token) {
        let ended = ask.shop.accounts.log_out(session).await;
        ended.map_err(problem)?;
    }
    Ok(answer::nothing())
}

/// What somebody gets who is in.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// Shown with every request as `Authorization: Bearer …`.
    access_token: String,
    /// Exchanged once for the next tokens.
    refresh_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds until the access token is no longer good.
    expires_in: u64,
    /// Who signed in.
    user: SignedInUser,
}

/// Who signed in.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedInUser {
    /// Which user.
    #[schema(value_type = String, format = Uuid)]
    id: UserId,
    /// E-mail address.
    email: String,
    /// What the user may do.
    roles: Vec<Role>,
}

fn admission(entry: Entry, refused: impl FnOnce() -> Problem) -> Answer {
    let admission = match entry {
        Entry::Admitted(admission) => *admission,
        Entry::Refused => return Err(refused()),
        Entry::Locked { until } => return Err(locked(until)),
    };
    let Admission {
        access,
        expires_in,
        refresh,
        user,
    } = admission;
    answer::ok(&Tokens {
        access_token: access.reveal().to_owned(),
        refresh_token: refresh.reveal().to_owned(),
        token_type: "Bearer",
        expires_in: expires_in.as_secs(),
        user: SignedInUser {
            id: user.id,
            email: user.contact.email,
            roles: user.roles,
        },
    })
}

/// Nobody is let in as this user for now.
pub(super) fn locked(until: Timestamp) -> Problem {
    let at = to_rfc3339(until);
    Problem::new(
        StatusCode::FORBIDDEN,
        "account-locked",
        "The account is locked",
    )
    .detail(format!(
        "there were too many wrong passwords; try again after {at}, or ask an administrator to \
         unlock the account"
    ))
    .with("locked_until", at)
    .retry_after(until.since(SystemClock.wall()))
}

/// Why something could not be done with an account.
pub(super) fn problem(error: AccountError) -> Problem {
    let invalid = |code: &str, said: String| Problem::from(Rejection::invalid(code, said));
    match error {
        AccountError::Call(error) => error.into(),
        AccountError::Length(error) => invalid("invalid_password", error.to_string()),
        AccountError::Email(error) => invalid("invalid_email", error.to_string()),
        AccountError::Name { .. } => invalid("invalid_name", error.to_string()),
        AccountError::Pool(PoolError::Busy { retry_after }) => CallError::Overloaded {
            reason: "too many passwords are being compared".to_owned(),
            retry_after,
        }
        .into(),
        AccountError::Keyring(KeyringError::Forgotten { .. }) => {
            Problem::not_found("there is no such user any more")
        }
        AccountError::Pool(_) | AccountError::Keyring(_) | AccountError::Token(_) => {
            tracing::error!(%error, "account not served");
            Problem::internal()
        }
    }
}
