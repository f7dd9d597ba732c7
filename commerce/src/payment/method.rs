//! A means of payment: what a customer pays with.
//!
//! Its token is a secret: the gateway seals it before it becomes part of a message, and only the
//! activity that shows it to the provider opens it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::UserId;
use crate::privacy::{Keyring, KeyringError, Personal, Sealed};

/// What a customer pays with, as the customer says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentMethod {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: MethodKind,
    /// The provider's name for it.
    pub token: CardToken,
}

/// What a customer pays with, as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedMethod {
    /// Its kind.
    pub kind: MethodKind,
    /// The provider's name for it, under the key of whose it is.
    pub token: Sealed<CardToken>,
}

/// Kinds of means of payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// A card.
    Card,
}

/// The provider's name for a card. Whoever has it can charge the card, so no log shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct CardToken(String);

impl PaymentMethod {
    /// A card.
    pub fn card(token: impl Into<String>) -> PaymentMethod {
        PaymentMethod {
            kind: MethodKind::Card,
            token: CardToken::new(token),
        }
    }

    /// As it is stored and sent, for the user whose it is.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Forgotten`] if the user has no key.
    pub fn seal(&self, user: UserId, keyring: &Keyring) -> Result<SealedMethod, KeyringError> {
        Ok(SealedMethod {
            kind: self.kind,
            token: keyring.seal(user, &self.token)?,
        })
    }
}

impl CardToken {
    /// The token of this text.
    pub fn new(token: impl Into<String>) -> CardToken {
        CardToken(token.into())
    }

    /// The text, for the provider alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Personal for CardToken {
    const NAME: &'static str = "card-token";
}

impl fmt::Debug for CardToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardToken(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_never_shows_in_debug_output() {
        let method = PaymentMethod::card("tok_secret");
        assert!(!format!("{method:?}").contains("secret"));
    }

    #[test]
    fn a_method_reads_as_its_json_form_and_no_other() {
        let json = r#"{"type":"card","token":"tok_ok"}"#;
        let method: PaymentMethod = serde_json::from_str(json).unwrap();
        assert_eq!(method, PaymentMethod::card("tok_ok"));
        for wrong in [
            r#"{"type":"cash","token":"x"}"#,
            r#"{"type":"card"}"#,
            r#"{"type":"card","token":"x","cvc":"1"}"#,
        ] {
            assert!(serde_json::from_str::<PaymentMethod>(wrong).is_err());
        }
    }
}
