//! E-mail addresses: what passes for one, and when two are the same.

use std::fmt;

/// Longer than any address that mail is delivered to (RFC 5321).
const BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;

/// An e-mail address that mail could be sent to. Personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

/// What was given is no e-mail address. It is not repeated: it may well be personal all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the e-mail address cannot be one; write it as name@example.com")]
pub struct NoEmailAddress;

impl EmailAddress {
    /// Reads an address. Only mail that arrives proves that it exists; this finds what never
    /// could.
    pub fn parse(text: &str) -> Result<EmailAddress, NoEmailAddress> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@').ok_or(NoEmailAddress)?;
        let sane = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[],;:\\\"".contains(c);
        let local_is_sane = !local.is_empty()
            && local.len() <= LOCAL_BYTES_MAX
            && local.chars().all(|c| sane(c) && c != '@')
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..");
        let label_is_sane = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        };
        let domain_is_sane = domain.contains('.') && domain.split('.').all(label_is_sane);
        if local_is_sane && domain_is_sane && text.len() <= BYTES_MAX {
            Ok(EmailAddress(text.to_owned()))
        } else {
            Err(NoEmailAddress)
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What two ways to write one address have in common. What is no address has it too, so that
/// whoever tries to sign in with one is answered like anybody else.
pub fn normal(text: &str) -> String {
    text.trim().to_lowercase()
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_mail_could_be_sent_to_is_an_address() {
        for text in [
            "ada@example.com",
            " Ada.Lovelace+shop@mail.example.co.uk ",
            "o'brien@example.com",
            "jürgen@bücher.example",
        ] {
            assert_eq!(EmailAddress::parse(text).unwrap().as_str(), text.trim());
        }
    }

    #[test]
    fn what_it_could_not_be_sent_to_is_none() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "ada@.com",
            "ada@example.",
            "a b@example.com",
            "a@b@example.com",
            "ada@exa mple.com",
            "ada@-x.com",
            ".a@example.com",
            "a..b@example.com",
            "ada@example.com\r\nbcc: x",
            "<ada@example.com>",
            &long,
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn case_and_surrounding_space_make_no_other_address() {
        assert_eq!(normal(" Ada@Example.COM\n"), "ada@example.com");
    }
}
