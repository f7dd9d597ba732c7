//! What the identity service is told and asked.
//!
//! Passwords and tokens do not come here: who tells has compared the one and sends only the hash
//! of the other. What depends on the present state is decided here, in one turn.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use super::credential::Credential;
use super::messages::Contact;
use super::role::Role;
use super::token::TokenHash;
use crate::ids::{SessionId, UserId};
use crate::privacy::{Fingerprint, Sealed};

/// A user as other parts of the shop see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Which.
    pub id: UserId,
    /// How the user is called and reached.
    pub contact: Sealed<Contact>,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// Until when nobody signs in as this user, if that is so.
    pub locked_until: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// Since when.
    pub created_at: Timestamp,
}

/// Makes somebody a customer. The key of the user exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Under which id.
    pub user_id: UserId,
    /// By what the user is looked up.
    pub email: Fingerprint,
    /// How the user is called and reached.
    pub contact: Sealed<Contact>,
    /// What passwords are compared with.
    pub credential: Sealed<Credential>,
}

/// Makes the first administrator, if there never was one. Whether this did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppointFirstAdmin(pub Register);

/// A password was compared: lets the user in or counts the failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishLogin {
    /// Whom somebody said to be.
    pub email: Fingerprint,
    /// Who it is; `None` if the password was wrong or nobody has the address.
    pub proof: Option<Proof>,
    /// The first refresh token of the session.
    pub refresh: TokenHash,
}

/// Somebody has shown a user's password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Whose.
    pub user_id: UserId,
    /// Which of the user's passwords.
    pub credential_version: u64,
}

/// A user is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    /// By which session.
    pub session_id: SessionId,
    /// Who.
    pub user: UserView,
}

/// What comes of showing a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginOutcome {
    /// The user is in.
    SignedIn(SignedIn),
    /// It is not the password, or nobody has the address.
    Wrong,
    /// There were too many wrong ones.
    Locked {
        /// Until when.
        until: Timestamp,
    },
}

/// Exchanges a session's refresh token for the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshSession {
    /// Which session.
    pub session_id: SessionId,
    /// The token that was shown.
    pub shown: TokenHash,
    /// The one that is good from now on.
    pub next: TokenHash,
}

/// What comes of showing a refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshOutcome {
    /// The session goes on.
    Refreshed(SignedIn),
    /// There is no such session any more.
    Over,
    /// The token was used before: somebody else has it too, so the session has ended by this.
    Reused(UserId),
    /// Nobody is let in as this user.
    Locked {
        /// Until when.
        until: Timestamp,
    },
}

/// Ends a session; nothing happens if it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    /// Which.
    pub session_id: SessionId,
}

/// Gives a user another password, if the present one was shown. Ends all sessions of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePassword {
    /// Whose.
    pub user_id: UserId,
    /// The versions the caller means, if it matters.
    pub if_version: Option<Vec<u64>>,
    /// Which password was shown; `None` if it was a wrong one.
    pub shown: Option<u64>,
    /// What passwords are compared with from now on.
    pub credential: Sealed<Credential>,
}

/// What comes of wishing for another password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordOutcome {
    /// It is the password now.
    Changed,
    /// The one shown is not the present one.
    Wrong,
    /// There were too many wrong ones.
    Locked {
        /// Until when.
        until: Timestamp,
    },
}

/// Calls a user otherwise, or says how else to reach them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateProfile {
    /// Whom.
    pub user_id: UserId,
    /// The versions the caller means, if it matters.
    pub if_version: Option<Vec<u64>>,
    /// The version that `contact` was made from.
    pub made_from: u64,
    /// By what the user is looked up from now on.
    pub email: Fingerprint,
    /// How the user is called and reached from now on.
    pub contact: Sealed<Contact>,
}

/// Lets a user in again who was locked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlockAccount {
    /// Whom.
    pub user_id: UserId,
    /// The versions the caller means, if it matters.
    pub if_version: Option<Vec<u64>>,
}

/// Says what a user may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRoles {
    /// Who.
    pub user_id: UserId,
    /// The versions the caller means, if it matters.
    pub if_version: Option<Vec<u64>>,
    /// All of it; `customer` goes without saying.
    pub roles: Vec<Role>,
}

/// Forgets a user: the key of everything personal is destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteUser {
    /// Whom.
    pub user_id: UserId,
    /// The versions the caller means, if it matters.
    pub if_version: Option<Vec<u64>>,
}

/// Asks for a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserById {
    /// Which.
    pub user_id: UserId,
}

/// Asks what a password for this address is to be compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialOf {
    /// Which address.
    pub email: Fingerprint,
}

/// Asks what this user's password is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialOfUser {
    /// Which user.
    pub user_id: UserId,
}

/// What a password is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// For which address wrong ones count.
    pub email: Fingerprint,
    /// The user's hash and what it proves; `None` if nobody has the address.
    pub known: Option<(Proof, Sealed<Credential>)>,
    /// Until when nothing needs to be compared, as nobody is let in.
    pub locked_until: Option<Timestamp>,
}

/// Asks whether a session goes on, and what its user may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionById {
    /// Which.
    pub session_id: SessionId,
}

/// A session as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionState {
    /// It goes on.
    Open {
        /// Whose it is.
        user_id: UserId,
        /// What the user may do.
        roles: Vec<Role>,
    },
    /// Nobody is let in as its user.
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// It has ended.
    Over,
}

/// Asks whether there ever was an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HasFirstAdmin {}

command!(Register, "register-user", user_id, UserView);
impl redeliver::Message for AppointFirstAdmin {
    const NAME: &'static str = "appoint-first-admin";
}
impl redeliver::Command for AppointFirstAdmin {
    type Reply = bool;
}
command!(FinishLogin, "finish-login", email, LoginOutcome);
command!(
    RefreshSession,
    "refresh-session",
    session_id,
    RefreshOutcome
);
command!(EndSession, "end-session", session_id, ());
command!(ChangePassword, "change-password", user_id, PasswordOutcome);
command!(UpdateProfile, "update-profile", user_id, UserView);
command!(UnlockAccount, "unlock-account", user_id, UserView);
command!(SetRoles, "set-roles", user_id, UserView);
command!(DeleteUser, "delete-user", user_id, ());
query!(UserById, "user-by-id", UserView);
query!(CredentialOf, "credential-of", Compared);
query!(CredentialOfUser, "credential-of-user", Compared);
query!(SessionById, "session-by-id", SessionState);
query!(HasFirstAdmin, "has-first-admin", bool);
