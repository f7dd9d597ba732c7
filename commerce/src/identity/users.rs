//! What becomes of users: they register, change, get roles, and are deleted.

use redeliver::prelude::*;

use super::key_destruction::DestroyKey;
use super::messages::{UserDeleted, UserProfileUpdated, UserRegistered};
use super::requests::{
    AppointFirstAdmin, DeleteUser, HasFirstAdmin, Register, SetRoles, UpdateProfile, UserById,
    UserView,
};
use super::role::Role;
use super::service::Identity;
use super::tables::{ADMINS, DELETED_USERS, FIRST_ADMIN, LOCKOUTS, USERS, USERS_BY_EMAIL, User};
use crate::ids::UserId;
use crate::privacy::Fingerprint;
use crate::version::unchanged;

impl Identity {
    pub(super) fn register(
        &self,
        new: Register,
        cx: &mut Context<Self>,
    ) -> Result<UserView, Rejection> {
        self.admit(new, vec![Role::Customer], cx)
    }

    pub(super) fn appoint_first_admin(
        &self,
        AppointFirstAdmin(new): AppointFirstAdmin,
        cx: &mut Context<Self>,
    ) -> Result<bool, Rejection> {
        if cx.get(FIRST_ADMIN, &())?.is_some() {
            return Ok(false);
        }
        cx.put(FIRST_ADMIN, &(), &new.user_id)?;
        self.admit(new, vec![Role::Customer, Role::Admin], cx)?;
        Ok(true)
    }

    fn admit(
        &self,
        new: Register,
        roles: Vec<Role>,
        cx: &mut Context<Self>,
    ) -> Result<UserView, Rejection> {
        let (id, at) = (new.user_id, cx.now());
        if cx.get(USERS, &id)?.is_some() || cx.get(DELETED_USERS, &id)?.is_some() {
            return Err(Rejection::conflict(
                "user_exists",
                format!("there is or was a user {id}; use another id"),
            ));
        }
        if user_of(new.email, cx)?.is_some() {
            return Err(email_taken());
        }
        // What strangers guessed before there was anybody is not held against whoever comes.
        self.forget_failures(new.email, cx)?;
        let user = User {
            email: new.email,
            contact: new.contact.clone(),
            credential: new.credential,
            credential_version: 1,
            roles,
            version: 1,
            created_at: at,
            updated_at: at,
        };
        cx.put(USERS, &id, &user)?;
        cx.publish(UserRegistered {
            user_id: id,
            contact: new.contact,
            at,
        });
        view(id, user, cx)
    }

    pub(super) fn update_profile(
        &self,
        update: UpdateProfile,
        cx: &mut Context<Self>,
    ) -> Result<UserView, Rejection> {
        let id = update.user_id;
        let mut user = find_unchanged(id, update.if_version.as_deref(), cx)?;
        if user.version != update.made_from {
            return Err(Rejection::conflict(
                "changed_meanwhile",
                format!(
                    "user {id} was changed at the same moment; look at it and send the change again"
                ),
            ));
        }
        if user_of(update.email, cx)?.is_some_and(|other| other != id) {
            return Err(email_taken());
        }
        if user.email != update.email {
            self.move_failures(user.email, update.email, id, cx)?;
        }
        user.email = update.email;
        user.contact = update.contact.clone();
        changed(&mut user, cx);
        cx.put(USERS, &id, &user)?;
        cx.publish(UserProfileUpdated {
            user_id: id,
            contact: update.contact,
            at: cx.now(),
        });
        view(id, user, cx)
    }

    pub(super) fn set_roles(
        &self,
        set: SetRoles,
        cx: &mut Context<Self>,
    ) -> Result<UserView, Rejection> {
        let id = set.user_id;
        let mut user = find_unchanged(id, set.if_version.as_deref(), cx)?;
        let roles = in_order(set.roles);
        if user.roles.contains(&Role::Admin) && !roles.contains(&Role::Admin) {
            not_the_last_admin(cx)?;
        }
        if user.roles != roles {
            user.roles = roles;
            changed(&mut user, cx);
            cx.put(USERS, &id, &user)?;
        }
        view(id, user, cx)
    }

    pub(super) fn delete(
        &self,
        delete: DeleteUser,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let (id, at) = (delete.user_id, cx.now());
        let user = find_unchanged(id, delete.if_version.as_deref(), cx)?;
        if user.roles.contains(&Role::Admin) {
            not_the_last_admin(cx)?;
        }
        self.end_sessions_of(id, cx)?;
        // Whoever gets the address next does not inherit the lockout, nor its end.
        if let Some(lockout) = cx.get(LOCKOUTS, &user.email)? {
            if let Some(timer) = lockout.locked {
                cx.cancel(timer);
            }
            cx.remove(LOCKOUTS, &user.email)?;
        }
        cx.remove(USERS, &id)?;
        cx.put(DELETED_USERS, &id, &at)?;
        cx.publish(UserDeleted { user_id: id, at });
        cx.plan(DestroyKey { user_id: id });
        Ok(())
    }

    pub(super) fn user_by_id(
        &self,
        ask: UserById,
        view: &View<Self>,
    ) -> Result<UserView, Rejection> {
        let user = find(ask.user_id, view)?;
        self::view(ask.user_id, user, view)
    }

    pub(super) fn has_first_admin(
        &self,
        _ask: HasFirstAdmin,
        view: &View<Self>,
    ) -> Result<bool, Rejection> {
        Ok(view.get(FIRST_ADMIN, &())?.is_some())
    }
}

/// Roles in order, each once.
fn in_order(mut roles: Vec<Role>) -> Vec<Role> {
    roles.sort_unstable();
    roles.dedup();
    roles
}

pub(super) fn find(id: UserId, view: &View<Identity>) -> Result<User, Rejection> {
    view.get(USERS, &id)?.ok_or_else(|| {
        Rejection::not_found(
            "no_such_user",
            format!("there is no user {id}; check the id"),
        )
    })
}

/// The user, if it is still of a version that the caller means.
pub(super) fn find_unchanged(
    id: UserId,
    if_version: Option<&[u64]>,
    view: &View<Identity>,
) -> Result<User, Rejection> {
    let user = find(id, view)?;
    unchanged(&format!("user {id}"), user.version, if_version)?;
    Ok(user)
}

/// Who has this address.
pub(super) fn user_of(
    email: Fingerprint,
    view: &View<Identity>,
) -> Result<Option<UserId>, Rejection> {
    let found = view.index(USERS_BY_EMAIL, &Span::prefix(&email).limit(1))?;
    Ok(found.first().map(|(_, id)| *id))
}

pub(super) fn view(id: UserId, user: User, view: &View<Identity>) -> Result<UserView, Rejection> {
    let lockout = view.get(LOCKOUTS, &user.email)?;
    Ok(UserView {
        id,
        contact: user.contact,
        roles: user.roles,
        locked_until: lockout.and_then(|lockout| lockout.locked_until(view.now())),
        version: user.version,
        created_at: user.created_at,
    })
}

fn changed(user: &mut User, cx: &Context<Identity>) {
    user.version += 1;
    user.updated_at = cx.now();
}

/// Somebody must be able to give the role away again.
fn not_the_last_admin(cx: &Context<Identity>) -> Result<(), Rejection> {
    let admins = cx.index(ADMINS, &Span::all().limit(2))?;
    if admins.len() > 1 {
        return Ok(());
    }
    Err(Rejection::conflict(
        "last_admin",
        "this is the last administrator; give the role `admin` to somebody else first",
    ))
}

fn email_taken() -> Rejection {
    Rejection::conflict(
        "email_taken",
        "another user has this e-mail address; sign in as that user or use another address",
    )
}
