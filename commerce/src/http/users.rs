//! Users: what is known of them, what they may do, and their end.

use redeliver::http::Problem;
use redeliver::{Answered, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

use super::answer;
use super::ask::{Ask, Ignored, Nothing};
use super::auth::{locked, problem};
use super::table::{Access, Answer, Table};
use crate::identity::accounts::{ContactChange, Profile};
use crate::identity::requests::{
    DeleteUser, PasswordOutcome, SetRoles, UnlockAccount, UserById, UserView,
};
use crate::identity::{Password, Role};
use crate::ids::UserId;
use crate::time::{rfc3339, rfc3339_option};

pub(super) fn routes(on: &mut Table) {
    on.get("/users/{user_id}", Access::SignedIn, one)
        .about("Shows a user, to that user or an administrator.")
        .versioned()
        .answers::<User>(StatusCode::OK);
    on.patch("/users/{user_id}", Access::SignedIn, update)
        .about("Changes how a user is called or reached.")
        .takes::<ProfileChange>()
        .versioned()
        .answers::<User>(StatusCode::OK);
    on.delete("/users/{user_id}", Access::SignedIn, delete)
        .about("Deletes a user and makes everything personal of theirs unreadable.")
        .versioned()
        .answers_nothing(StatusCode::NO_CONTENT);
    on.post(
        "/users/{user_id}/password",
        Access::SignedIn,
        change_password,
    )
    .about("Gives the caller another password and ends all their sessions.")
    .takes::<PasswordChange>()
    .versioned()
    .answers_nothing(StatusCode::NO_CONTENT)
    .refuses(
        StatusCode::FORBIDDEN,
        "The present password is another one, or the account is locked.",
    );
    on.post("/users/{user_id}/unlock", Access::Only(Role::Admin), unlock)
        .about("Lets a user sign in again who was locked out.")
        .may_take::<Nothing>()
        .versioned()
        .answers::<User>(StatusCode::OK);
    on.put(
        "/users/{user_id}/roles",
        Access::Only(Role::Admin),
        set_roles,
    )
    .about("Says what a user may do.")
    .takes::<Roles>()
    .versioned()
    .answers::<User>(StatusCode::OK);
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    /// Which.
    #[schema(value_type = String, format = Uuid)]
    pub(super) id: UserId,
    /// E-mail address.
    email: String,
    /// First name.
    first_name: String,
    /// Last name.
    last_name: String,
    /// What the user may do.
    roles: Vec<Role>,
    /// Until when nobody signs in as this user, if that is so.
    #[serde(with = "rfc3339_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    locked_until: Option<Timestamp>,
    /// Counts changes.
    version: u64,
    /// Since when.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl User {
    pub(super) fn of(profile: Profile) -> User {
        User {
            id: profile.id,
            email: profile.contact.email,
            first_name: profile.contact.first_name,
            last_name: profile.contact.last_name,
            roles: profile.roles,
            locked_until: profile.locked_until,
            version: profile.version,
            created_at: profile.created_at,
        }
    }

    /// The user with the version as an entity tag.
    pub(super) fn tagged(&self, status: StatusCode) -> Result<Response, Problem> {
        let response = answer::json(status, self)?;
        Ok(answer::with(
            response,
            "etag",
            &format!("\"{}\"", self.version),
        ))
    }
}

async fn one(ask: Ask) -> Answer {
    let user_id = own_or_any(&ask)?;
    let view = look(&ask, user_id).await?;
    show(&ask, view)
}

/// What changes of how a user is called or reached. What GET shows can be changed and sent back;
/// roles have a route of their own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "what is ignored is not read")]
pub(super) struct ProfileChange {
    /// Another e-mail address.
    email: Option<String>,
    /// Another first name.
    first_name: Option<String>,
    /// Another last name.
    last_name: Option<String>,
    #[serde(default)]
    id: Ignored,
    #[serde(default)]
    roles: Ignored,
    #[serde(default)]
    locked_until: Ignored,
    #[serde(default)]
    version: Ignored,
    #[serde(default)]
    created_at: Ignored,
}

async fn update(ask: Ask) -> Answer {
    let user_id = own_or_any(&ask)?;
    let ProfileChange {
        email,
        first_name,
        last_name,
        ..
    } = ask.json()?;
    let change = ContactChange {
        email,
        first_name,
        last_name,
    };
    let if_version = ask.if_version()?;
    let present = look(&ask, user_id).await?;
    let accounts = &ask.shop.accounts;
    let command = accounts.profile_change(present, change, if_version);
    let answered = ask.send(ask.shop.identity(), command.map_err(problem)?);
    show_answered(&ask, answered.await?)
}

async fn delete(ask: Ask) -> Answer {
    let command = DeleteUser {
        user_id: own_or_any(&ask)?,
        if_version: ask.if_version()?,
    };
    let answered = ask.send(ask.shop.identity(), command).await?;
    Ok(answer::replayed(answer::nothing(), answered.replayed))
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    /// The present one.
    #[schema(value_type = String)]
    current_password: Password,
    /// The next: 12 to 128 characters of any kind.
    #[schema(value_type = String)]
    new_password: Password,
}

async fn change_password(ask: Ask) -> Answer {
    let user_id = ask.id()?;
    if user_id != ask.caller.user {
        return Err(no_such_user());
    }
    let PasswordChange {
        current_password,
        new_password,
    } = ask.json()?;
    let if_version = ask.if_version()?;
    let accounts = &ask.shop.accounts;
    let command = accounts.password_change(user_id, if_version, current_password, new_password);
    let (command, turn) = command.await.map_err(problem)?;
    let answered = ask.send(ask.shop.identity(), command).await?;
    drop(turn);
    match answered.reply {
        PasswordOutcome::Changed => Ok(answer::replayed(answer::nothing(), answered.replayed)),
        PasswordOutcome::Wrong => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "wrong-password",
            "The present password is another one",
        )
        .detail("current_password is not the present password; check it and try again")),
        PasswordOutcome::Locked { until } => Err(locked(until)),
    }
}

async fn unlock(ask: Ask) -> Answer {
    let user_id = ask.id()?;
    let Nothing {} = ask.json_or_nothing()?;
    let command = UnlockAccount {
        user_id,
        if_version: ask.if_version()?,
    };
    let answered = ask.send(ask.shop.identity(), command).await?;
    show_answered(&ask, answered)
}

/// What a user may do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Roles {
    /// All of it; `customer` goes without saying.
    roles: Vec<Role>,
}

async fn set_roles(ask: Ask) -> Answer {
    let user_id = ask.id()?;
    let Roles { roles } = ask.json()?;
    let command = SetRoles {
        user_id,
        if_version: ask.if_version()?,
        roles,
    };
    let answered = ask.send(ask.shop.identity(), command).await?;
    show_answered(&ask, answered)
}

/// The user in the path, if the caller may know of that one.
fn own_or_any(ask: &Ask) -> Result<UserId, Problem> {
    let user_id = ask.id()?;
    if ask.caller.may_see(user_id, Role::Admin) {
        Ok(user_id)
    } else {
        Err(no_such_user())
    }
}

fn no_such_user() -> Problem {
    Problem::not_found("there is no such user; check the id")
}

async fn look(ask: &Ask, user_id: UserId) -> Result<UserView, Problem> {
    ask.query(ask.shop.identity(), UserById { user_id }).await
}

fn show(ask: &Ask, view: UserView) -> Answer {
    let profile = ask.shop.accounts.show(view);
    let profile = profile.map_err(|error| problem(error.into()))?;
    User::of(profile).tagged(StatusCode::OK)
}

fn show_answered(ask: &Ask, answered: Answered<UserView>) -> Answer {
    let response = show(ask, answered.reply)?;
    Ok(answer::replayed(response, answered.replayed))
}
