//! Privacy: personal data is stored and sent under a key of its user's own, and is gone with it.
//!
//! Whoever takes personal data in from outside (the gateway) seals it before it becomes part of
//! a message; whoever gives it to the outside (the gateway, an activity) opens it there. Between
//! the two, in turns, tables, journal, snapshots and dead letters, it is [`Sealed`]. Keys are
//! kept beside the journal ([`keyring`]) and never in it: destroying one makes every copy of what
//! it sealed unreadable, wherever that copy is.
//!
//! ```text
//! outside ──▶ gateway: seal ──▶ Sealed<T> in messages and rows ──▶ gateway, activity: open ──▶
//!                    ╲                                             ╱
//!                     ╰────────── keyring: one key a user ────────╯
//! ```

pub mod keyring;
mod sealed;

pub use keyring::{Fingerprint, Keyring, KeyringError};
pub use sealed::{Personal, Sealed};
