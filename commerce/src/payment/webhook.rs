//! Webhook signatures: how we know that it was the provider who called.
//!
//! Header `Webhook-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`. The time is part
//! of what is signed, so a copy is worthless once the tolerance is over.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use redeliver::Timestamp;
use sha2::Sha256;

use crate::page::{from_hex, to_hex};

/// Name of the header.
pub const SIGNATURE_HEADER: &str = "Webhook-Signature";
/// How far the signature's time may be from ours.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// Signatures read from one header: during a change of secrets there are two.
const SIGNATURES_MAX: usize = 4;

/// A webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header does not have its form.
    #[error("webhook signature is malformed; send `t=<unix seconds>,v1=<hex HMAC-SHA256>`")]
    Malformed,
    /// Its time is too far from ours.
    #[error("webhook signature is out of date; sign again with the present time")]
    OutOfDate,
    /// It was made with another secret or over another body.
    #[error("webhook signature does not match; check the shared secret")]
    Forged,
}

/// The shared secret. Never shown.
#[derive(Clone)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// The secret of these bytes.
    pub fn new(secret: impl Into<Vec<u8>>) -> WebhookSecret {
        WebhookSecret(secret.into())
    }

    /// The header for a body that is sent now.
    pub fn sign(&self, body: &[u8], now: Timestamp) -> String {
        let seconds = now.0.div_euclid(1_000_000);
        let signature = self.mac(&seconds.to_string(), body).finalize();
        format!("t={seconds},v1={}", to_hex(&signature.into_bytes()))
    }

    /// Whether the body comes from somebody who has the secret, and lately.
    pub fn verify(&self, header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
        let mut time = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            match part.trim().split_once('=') {
                Some(("t", value)) if time.is_none() => time = Some(value),
                Some(("v1", value)) if signatures.len() < SIGNATURES_MAX => signatures.push(value),
                // Newer schemes may stand beside ours.
                Some((scheme, _)) if scheme != "t" && scheme != "v1" => {}
                Some(_) | None => return Err(SignatureError::Malformed),
            }
        }
        let time = time.ok_or(SignatureError::Malformed)?;
        let canonical = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = match time.parse() {
            Ok(seconds) if canonical => seconds,
            _ => return Err(SignatureError::Malformed),
        };
        if signatures.is_empty() {
            return Err(SignatureError::Malformed);
        }
        // The signature first: whoever cannot sign learns nothing about our clock.
        let genuine = signatures.iter().any(|signature| {
            // Compares in constant time.
            from_hex(signature)
                .is_some_and(|bytes| self.mac(time, body).verify_slice(&bytes).is_ok())
        });
        if !genuine {
            return Err(SignatureError::Forged);
        }
        let apart = now.0.div_euclid(1_000_000).abs_diff(seconds);
        if apart > TOLERANCE.as_secs() {
            return Err(SignatureError::OutOfDate);
        }
        Ok(())
    }

    fn mac(&self, time: &str, body: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of any length, so this cannot fail; an empty key would at worst verify
        // nothing that we signed.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp(1_772_366_400_000_000);
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn secret() -> WebhookSecret {
        WebhookSecret::new("whsec")
    }

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        // python: hmac.new(b"whsec", b"1772366400." + body, hashlib.sha256).hexdigest()
        assert_eq!(
            secret().sign(BODY, NOW),
            "t=1772366400,v1=3438d9a0ba1bb23a95a3cd96f6c759501f9db0b4c7282d9ecaf050ec0bfb0545"
        );
        assert_eq!(
            secret().verify(&secret().sign(BODY, NOW), BODY, NOW),
            Ok(())
        );
    }

    #[test]
    fn another_secret_body_or_time_is_forged() {
        let header = secret().sign(BODY, NOW);
        let other = WebhookSecret::new("other").sign(BODY, NOW);
        let moved = header.replace("t=1772366400", "t=1772366401");
        assert_eq!(
            secret().verify(&other, BODY, NOW),
            Err(SignatureError::Forged)
        );
        assert_eq!(
            secret().verify(&header, b"{}", NOW),
            Err(SignatureError::Forged)
        );
        assert_eq!(
            secret().verify(&moved, BODY, NOW),
            Err(SignatureError::Forged)
        );
        assert_eq!(
            secret().verify("t=1772366400,v1=", BODY, NOW),
            Err(SignatureError::Forged)
        );
    }

    #[test]
    fn a_signature_expires_on_either_side() {
        let header = secret().sign(BODY, NOW);
        let at = |seconds: i64| Timestamp(NOW.0 + seconds * 1_000_000);
        assert_eq!(secret().verify(&header, BODY, at(300)), Ok(()));
        assert_eq!(secret().verify(&header, BODY, at(-300)), Ok(()));
        assert_eq!(
            secret().verify(&header, BODY, at(301)),
            Err(SignatureError::OutOfDate)
        );
        assert_eq!(
            secret().verify(&header, BODY, at(-301)),
            Err(SignatureError::OutOfDate)
        );
    }

    #[test]
    fn a_second_signature_lets_secrets_change() {
        let (old, new) = (
            secret().sign(BODY, NOW),
            WebhookSecret::new("new").sign(BODY, NOW),
        );
        let (_, signature) = new.split_once(',').unwrap();
        let both = format!("{old},{signature},v2=later");
        assert_eq!(secret().verify(&both, BODY, NOW), Ok(()));
        assert_eq!(WebhookSecret::new("new").verify(&both, BODY, NOW), Ok(()));
    }

    #[test]
    fn malformed_headers_are_named_so() {
        for header in [
            "",
            "t=1",
            "v1=00",
            "t=,v1=00",
            "t=+1,v1=00",
            "t=1,t=2,v1=00",
            "nonsense",
        ] {
            assert_eq!(
                secret().verify(header, BODY, NOW),
                Err(SignatureError::Malformed),
                "{header:?}"
            );
        }
    }
}
