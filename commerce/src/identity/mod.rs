//! The identity service: who the users are, what they may do, and how they prove it.
//!
//! Turns decide; they never see a password or a token. [`Accounts`] stands at the edge between
//! the two: it compares passwords on threads of their own, makes and reads tokens, seals what is
//! personal, and then tells the service what it found.
//!
//! ```text
//! e-mail, password ─▶ Accounts ── CredentialOf ──▶ identity
//!                        │  compare (argon2id, bounded, one at a time for an address)
//!                        ╰── FinishLogin ────────▶ decides: in, wrong, locked
//! ```
//!
//! An e-mail address that nobody has takes the same path, at the same cost, to the same answers:
//! it is compared with a hash of nothing, and wrong passwords are counted for it too.

pub mod accounts;
mod argon;
pub mod credential;
pub mod email;
pub mod failed_logins;
pub mod guesses;
pub mod key_destruction;
pub mod lockout;
pub mod messages;
pub mod password_pool;
pub mod requests;
pub mod role;
pub mod service;
mod sessions;
pub mod tables;
pub mod token;
mod users;

pub use accounts::Accounts;
pub use credential::Password;
pub use failed_logins::FailedLogins;
pub use messages::{
    Contact, PasswordChanged, UserAccountLocked, UserAccountUnlocked, UserDeleted, UserLoggedIn,
    UserProfileUpdated, UserRegistered,
};
pub use role::Role;
pub use service::{Identity, Limits};

#[cfg(test)]
mod tests;
