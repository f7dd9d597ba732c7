//! Tokens: what a signed-in user shows with every request, and what is exchanged for the next.
//!
//! An access token is a PASETO `v4.local`: who it is for and until when, encrypted under a secret
//! of the shop, so it is checked without looking anything up and says nothing to whoever sees it.
//! It does not say what its user may do; that is asked at every request, so that it is never out
//! of date.
//!
//! A refresh token is the id of its session and 256 random bits. The shop keeps only a hash of
//! it: who reads the shop's data cannot sign in with it.

use std::fmt;
use std::time::Duration;

use pasetors::Local;
use pasetors::keys::SymmetricKey;
use pasetors::token::UntrustedToken;
use pasetors::version4::{LocalToken, V4};
use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::ids::{SessionId, UserId};
use crate::page::{from_hex, to_hex};

/// Longer than any access token of ours; longer ones are not even decoded.
const ACCESS_TOKEN_BYTES_MAX: usize = 1_024;
const SECRET_BYTES: usize = 32;
const SESSION_BYTES: usize = 16;
/// Tells tokens of this purpose from any others made with the same secret.
const PURPOSE: &[u8] = b"commerce access token";

/// Makes and reads access tokens.
#[derive(Clone)]
pub struct AccessTokens {
    key: SymmetricKey<V4>,
    /// How long a token is good.
    pub lifetime: Duration,
}

/// What an access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who showed a password for it.
    #[serde(rename = "sub")]
    pub user_id: UserId,
    /// In which session.
    #[serde(rename = "sid")]
    pub session_id: SessionId,
    /// Until when it is good, in microseconds since 1970.
    #[serde(rename = "exp")]
    pub expires_at: Timestamp,
}

/// An access token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none of ours, or was changed.
    #[error("the access token is not one of ours")]
    Foreign,
    /// Its time is over.
    #[error("the access token has expired")]
    Expired,
}

/// A token cannot be made: the system has no randomness, or the secret is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no token can be made: {0}")]
pub struct CannotIssue(String);

/// A token for its holder. Never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A refresh token that somebody shows, or that is new.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshSecret([u8; SECRET_BYTES]);

/// What is kept of a refresh token.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHash([u8; 32]);

impl AccessTokens {
    /// Tokens under this secret.
    pub fn new(secret: &[u8; 32], lifetime: Duration) -> Result<AccessTokens, CannotIssue> {
        let key = SymmetricKey::from(secret).map_err(not_encrypted)?;
        Ok(AccessTokens { key, lifetime })
    }

    /// A token that is good from now on.
    pub fn issue(
        &self,
        user_id: UserId,
        session_id: SessionId,
        now: Timestamp,
    ) -> Result<Token, CannotIssue> {
        let claims = Claims {
            user_id,
            session_id,
            expires_at: now.plus(self.lifetime),
        };
        let text = serde_json::to_vec(&claims).map_err(cannot_issue)?;
        let token = LocalToken::encrypt(&self.key, &text, None, Some(PURPOSE));
        token.map(Token).map_err(not_encrypted)
    }

    /// What a token says, if it is good.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > ACCESS_TOKEN_BYTES_MAX {
            return Err(TokenError::Foreign);
        }
        let token = UntrustedToken::<Local, V4>::try_from(token);
        let token = token.map_err(|_| TokenError::Foreign)?;
        let opened = LocalToken::decrypt(&self.key, &token, None, Some(PURPOSE));
        let opened = opened.map_err(|_| TokenError::Foreign)?;
        let claims: Claims =
            serde_json::from_str(opened.payload()).map_err(|_| TokenError::Foreign)?;
        if now < claims.expires_at {
            Ok(claims)
        } else {
            Err(TokenError::Expired)
        }
    }
}

impl Token {
    /// Shows it, to its holder.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl RefreshSecret {
    /// A new one, from the system's randomness.
    pub fn random() -> Result<RefreshSecret, CannotIssue> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(cannot_issue)?;
        Ok(RefreshSecret(bytes))
    }

    /// The token for its holder.
    pub fn token(&self, session: SessionId) -> Token {
        Token(to_hex(&[session.0.as_bytes(), &self.0[..]].concat()))
    }

    /// The session and secret of a token; `None` if it cannot be one of ours.
    pub fn read(token: &str) -> Option<(SessionId, RefreshSecret)> {
        if token.len() != 2 * (SESSION_BYTES + SECRET_BYTES) {
            return None;
        }
        let bytes = from_hex(token)?;
        let (session, secret) = bytes.split_at_checked(SESSION_BYTES)?;
        let session = SessionId(Uuid::from_slice(session).ok()?);
        Some((session, RefreshSecret(secret.try_into().ok()?)))
    }

    /// What is kept of it. A fast hash is enough for what nobody can guess.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0).into())
    }
}

fn not_encrypted(error: pasetors::errors::Error) -> CannotIssue {
    CannotIssue(format!("{error:?}"))
}

fn cannot_issue(error: impl fmt::Display) -> CannotIssue {
    CannotIssue(error.to_string())
}

macro_rules! redacted {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )*};
}

redacted!(AccessTokens Token RefreshSecret TokenHash);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use redeliver::minutes;

    const NOW: Timestamp = Timestamp(1_767_268_800_000_000);

    fn tokens(secret: u8) -> AccessTokens {
        AccessTokens::new(&[secret; 32], minutes(15)).unwrap()
    }

    fn issued() -> Token {
        let (user, session) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let tokens = tokens(7);
        tokens.issue(UserId(user), SessionId(session), NOW).unwrap()
    }

    #[test]
    fn an_access_token_is_good_for_its_time_and_no_longer() {
        let token = issued();
        let read = |at| tokens(7).read(token.reveal(), at);
        let claims = read(NOW).unwrap();
        assert_eq!(claims.user_id, UserId(Uuid::from_u128(1)));
        assert_eq!(claims.session_id, SessionId(Uuid::from_u128(2)));
        assert!(read(Timestamp(NOW.plus(minutes(15)).0 - 1)).is_ok());
        assert_eq!(read(NOW.plus(minutes(15))), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_was_changed_or_made_elsewhere_is_foreign() {
        let token = issued();
        let token = token.reveal();
        assert_eq!(tokens(8).read(token, NOW), Err(TokenError::Foreign));
        for place in 0..token.len() {
            let mut changed = token.to_owned().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character's spare bits may mean the same.
            if place + 1 < token.len() {
                let read = tokens(7).read(&changed, NOW);
                assert_eq!(read, Err(TokenError::Foreign), "{place}");
            }
        }
        for text in ["", "v4.local.", "v4.local.AAAA", "é", &"A".repeat(100_000)] {
            assert_eq!(tokens(7).read(text, NOW), Err(TokenError::Foreign));
        }
    }

    #[test]
    fn a_refresh_token_names_its_session_and_only_its_hash_is_kept() {
        let session = SessionId(Uuid::from_u128(3));
        let secret = RefreshSecret::random().unwrap();
        let token = secret.token(session);
        let (read_session, read) = RefreshSecret::read(token.reveal()).unwrap();
        assert_eq!((read_session, &read), (session, &secret));
        assert_eq!(read.hash(), secret.hash());
        assert_ne!(RefreshSecret::random().unwrap().hash(), secret.hash());
        for text in ["", "00", &"g".repeat(96), &"0".repeat(98), &"é".repeat(48)] {
            assert!(RefreshSecret::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_token_shows() {
        let secret = RefreshSecret::random().unwrap();
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            issued(),
            tokens(7),
            secret,
            secret.hash()
        );
        assert_eq!(
            shown,
            "Token(redacted) AccessTokens(redacted) RefreshSecret(redacted) TokenHash(redacted)"
        );
    }
}
