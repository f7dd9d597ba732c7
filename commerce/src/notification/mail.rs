//! Mail: a letter as a message of RFC 5322.
//!
//! `lettre` is known here and in [`smtp`](super::smtp): it writes headers and encodings by the
//! book and speaks SMTP over TLS. To leave it, replace these two files.

use std::time::{Duration, UNIX_EPOCH};

/// A name and a mail address, such as `Shop <shop@example.com>`.
pub use lettre::message::Mailbox;
use lettre::message::Message;
use lettre::message::header::ContentType;

use super::sender::{Letter, SendError};

/// The letter as mail. Its message id is the notification's, so that a second copy is known as one.
///
/// # Errors
///
/// An address that is none, for good.
pub(super) fn message(letter: &Letter, from: &Mailbox) -> Result<Message, SendError> {
    let refused = |reason: &str| SendError::Refused(reason.to_owned());
    let address = letter.address.parse().map_err(|_| refused("bad_address"))?;
    let micros = u64::try_from(letter.at.0).unwrap_or(0);
    let host = from.email.domain();
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(letter.name.clone(), address))
        .subject(letter.subject.clone())
        .date(UNIX_EPOCH + Duration::from_micros(micros))
        .message_id(Some(format!("<{}@{host}>", letter.id)))
        .header(ContentType::TEXT_PLAIN)
        .body(letter.body.clone())
        .map_err(|_| refused("bad_letter"))
}
