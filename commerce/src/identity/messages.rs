//! What the identity service says about users.

use std::fmt;

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::privacy::{Personal, Sealed};
use crate::time::rfc3339;

/// How a user is called and reached. Personal data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// E-mail address, as the user wrote it.
    pub email: String,
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
}

impl Personal for Contact {
    const NAME: &'static str = "contact";
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contact(redacted)")
    }
}

/// Somebody became a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRegistered {
    /// Who.
    pub user_id: UserId,
    /// How to reach them.
    pub contact: Sealed<Contact>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A user is called or reached otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserProfileUpdated {
    /// Who.
    pub user_id: UserId,
    /// How to reach them now.
    pub contact: Sealed<Contact>,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Too many wrong passwords: nobody signs in as this user for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAccountLocked {
    /// Who.
    pub user_id: UserId,
    /// Until when, unless an administrator unlocks it before.
    #[serde(with = "rfc3339")]
    pub until: Timestamp,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

macro_rules! of_user {
    ($($(#[$doc:meta])* $name:ident, $wire:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// Who.
            pub user_id: UserId,
            /// When.
            #[serde(with = "rfc3339")]
            pub at: Timestamp,
        }

        event!($name, $wire, user_id);
    )*};
}

of_user! {
    /// A user signed in.
    UserLoggedIn, "user-logged-in";
    /// A user has another password.
    PasswordChanged, "password-changed";
    /// A user may sign in again.
    UserAccountUnlocked, "user-account-unlocked";
    /// A user is deleted, and the key of everything personal with them: whoever keeps something
    /// of theirs that is not needed for the books removes it.
    UserDeleted, "user-deleted";
}

event!(UserRegistered, "user-registered", user_id);
event!(UserProfileUpdated, "user-profile-updated", user_id);
event!(UserAccountLocked, "user-account-locked", user_id);
