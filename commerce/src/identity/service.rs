//! The identity service.

use redeliver::prelude::*;

use super::messages::{
    PasswordChanged, UserAccountLocked, UserAccountUnlocked, UserDeleted, UserLoggedIn,
    UserProfileUpdated, UserRegistered,
};
use crate::privacy::Keyring;

/// Users.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The keys of personal data.
    pub keyring: Keyring,
}

impl Service for Identity {
    const NAME: &'static str = "identity";

    fn handlers(on: &mut Handlers<Self>) {
        on.publishes_outside::<UserRegistered>()
            .publishes_outside::<UserProfileUpdated>()
            .publishes_outside::<UserLoggedIn>()
            .publishes_outside::<PasswordChanged>()
            .publishes_outside::<UserAccountLocked>()
            .publishes_outside::<UserAccountUnlocked>()
            .publishes::<UserDeleted>();
    }
}
