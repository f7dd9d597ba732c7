//! The identity service: its settings, and which function handles what.

use std::time::Duration;

use redeliver::prelude::*;

use super::key_destruction::DestroyKey;
use super::messages::{
    PasswordChanged, UserAccountLocked, UserAccountUnlocked, UserDeleted, UserLoggedIn,
    UserProfileUpdated, UserRegistered,
};
use super::tables::{
    ADMINS, DELETED_USERS, FIRST_ADMIN, LOCKOUTS, LOCKOUTS_BY_END, SESSIONS, SESSIONS_BY_END,
    SESSIONS_OF_USER, USERS, USERS_BY_EMAIL,
};
use crate::privacy::Keyring;

/// Users.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The keys of personal data.
    pub keyring: Keyring,
    /// Limits of sessions and failures.
    pub limits: Limits,
}

/// Limits of sessions and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Wrong passwords in a row after which nobody is let in.
    pub failures_max: u32,
    /// For how long; wrong passwords are forgotten after the same time.
    pub lockout: Duration,
    /// How long a session lasts that nobody uses.
    pub session: Duration,
    /// Sessions of one user at a time. One more ends the oldest.
    pub sessions_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            failures_max: 5,
            lockout: minutes(15),
            session: days(30),
            sessions_max: 1_000,
        }
    }
}

impl Service for Identity {
    const NAME: &'static str = "identity";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(USERS)
            .index(USERS_BY_EMAIL)
            .index(ADMINS)
            .table(DELETED_USERS)
            .table(FIRST_ADMIN)
            .table(SESSIONS)
            .index(SESSIONS_OF_USER)
            .index(SESSIONS_BY_END)
            .table(LOCKOUTS)
            .index(LOCKOUTS_BY_END);
        on.command(Self::register)
            .command(Self::appoint_first_admin)
            .command(Self::update_profile)
            .command(Self::set_roles)
            .command(Self::delete)
            .command(Self::finish_login)
            .command(Self::refresh)
            .command(Self::end_session)
            .command(Self::change_password)
            .command(Self::unlock);
        on.timer(Self::lockout_over)
            .activity::<DestroyKey>(Self::key_destroyed);
        on.query(Self::user_by_id)
            .query(Self::credential_of)
            .query(Self::credential_of_user)
            .query(Self::session_by_id)
            .query(Self::has_first_admin);
        on.publishes_outside::<UserRegistered>()
            .publishes_outside::<UserProfileUpdated>()
            .publishes_outside::<UserLoggedIn>()
            .publishes_outside::<PasswordChanged>()
            .publishes_outside::<UserAccountLocked>()
            .publishes_outside::<UserAccountUnlocked>()
            .publishes::<UserDeleted>();
    }
}
