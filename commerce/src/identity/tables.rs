//! What the identity service keeps.

use redeliver::{Index, Table, TimerId, Timestamp};
use serde::{Deserialize, Serialize};

use super::credential::Credential;
use super::messages::Contact;
use super::role::Role;
use super::token::TokenHash;
use crate::ids::{SessionId, UserId};
use crate::privacy::{Fingerprint, Sealed};

/// Users.
pub const USERS: Table<UserId, User> = Table::new("users");

/// Users by the fingerprint of their e-mail address; one each.
pub const USERS_BY_EMAIL: Index<Fingerprint, UserId, User> =
    Index::new("users_by_email", USERS, |_id, user| Some(user.email));

/// Users who may do everything.
pub const ADMINS: Index<(), UserId, User> = Index::new("users_admins", USERS, |_id, user| {
    user.roles.contains(&Role::Admin).then_some(())
});

/// When users were deleted. Their ids are never given to anybody else.
pub const DELETED_USERS: Table<UserId, Timestamp> = Table::new("users_deleted");

/// Who was made the first administrator, at the first start. Never again, whatever became of
/// that user.
pub const FIRST_ADMIN: Table<(), UserId> = Table::new("first_admin");

/// Sessions that have not ended. One that is over is removed.
pub const SESSIONS: Table<SessionId, Session> = Table::new("sessions");

/// Sessions by their user, oldest first.
pub const SESSIONS_OF_USER: Index<UserId, SessionId, Session> =
    Index::new("sessions_of_user", SESSIONS, |_id, session| {
        Some(session.user_id)
    });

/// Sessions by when they end if nobody uses them.
pub const SESSIONS_BY_END: Index<Timestamp, SessionId, Session> =
    Index::new("sessions_by_end", SESSIONS, |_id, session| {
        Some(session.expires_at)
    });

/// Wrong passwords by the fingerprint of the e-mail address, also of addresses that nobody has:
/// who asks cannot tell the two apart.
pub const LOCKOUTS: Table<Fingerprint, Lockout> = Table::new("lockouts");

/// Wrong passwords by when they are forgotten.
pub const LOCKOUTS_BY_END: Index<Timestamp, Fingerprint, Lockout> =
    Index::new("lockouts_by_end", LOCKOUTS, |_email, lockout| {
        Some(lockout.until)
    });

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// By what the user is looked up.
    pub email: Fingerprint,
    /// How the user is called and reached.
    pub contact: Sealed<Contact>,
    /// What a password is compared with.
    pub credential: Sealed<Credential>,
    /// Counts passwords. Who was compared with an older one is not let in.
    pub credential_version: u64,
    /// What the user may do, in order, each once; `customer` always.
    pub roles: Vec<Role>,
    /// Counts changes of what the outside sees.
    pub version: u64,
    /// Since when.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// One sign-in and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub user_id: UserId,
    /// The one refresh token that is good. Any other of this session was used before.
    pub refresh: TokenHash,
    /// Since when.
    pub created_at: Timestamp,
    /// When it ends, unless it is refreshed before.
    pub expires_at: Timestamp,
}

/// Wrong passwords for one e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockout {
    /// How many in a row.
    pub failures: u32,
    /// Until when they count, or nobody is let in.
    pub until: Timestamp,
    /// Ends the lockout; `None` while there is none.
    pub locked: Option<TimerId>,
    /// Whose address it was when it was locked, if anybody's.
    pub user_id: Option<UserId>,
}

impl Lockout {
    /// Until when nobody is let in, if that is so now.
    pub fn locked_until(&self, now: Timestamp) -> Option<Timestamp> {
        (self.locked.is_some() && now < self.until).then_some(self.until)
    }
}
