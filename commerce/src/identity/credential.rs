//! Passwords: the rule for new ones, and the hash that is kept instead of one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::privacy::Personal;

/// Characters of a password at least.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Characters of a password at most.
pub const PASSWORD_CHARS_MAX: usize = 128;

/// A password as somebody typed it. Never shown, stored or sent on.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

/// A password cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the password has {chars} characters; use {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} of any kind"
)]
pub struct PasswordLength {
    /// How long it is.
    pub chars: usize,
}

/// What a password is compared with: its argon2id hash with salt and parameters, as a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential(pub(super) String);

impl Password {
    /// A password as given.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// Whether a user may choose it. What kinds of characters it has is the user's affair.
    pub fn check(&self) -> Result<(), PasswordLength> {
        let chars = self.0.chars().count();
        if (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
            Ok(())
        } else {
            Err(PasswordLength { chars })
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Personal for Credential {
    const NAME: &'static str = "credential";
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_the_only_rule_and_counts_characters() {
        let check = |text: &str| Password::new(text).check().is_ok();
        assert!(!check("eleven char"));
        assert!(check("twelve chars"));
        assert!(check("            "));
        assert!(check(&"ü".repeat(PASSWORD_CHARS_MAX)));
        assert!(!check(&"ü".repeat(PASSWORD_CHARS_MAX + 1)));
    }

    #[test]
    fn neither_a_password_nor_its_hash_shows() {
        let password = Password::new("correct horse");
        let credential = Credential("$argon2id$".to_owned());
        assert_eq!(
            format!("{password:?} {credential:?}"),
            "Password(redacted) Credential(redacted)"
        );
    }
}
