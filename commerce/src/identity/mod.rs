//! The identity service: who the users are, what they may do, and how they prove it.

pub mod messages;
pub mod role;
pub mod service;

pub use messages::{
    Contact, PasswordChanged, UserAccountLocked, UserAccountUnlocked, UserDeleted, UserLoggedIn,
    UserProfileUpdated, UserRegistered,
};
pub use role::Role;
pub use service::Identity;
