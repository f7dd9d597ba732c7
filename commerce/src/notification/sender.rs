//! Sending: the outside systems that carry notifications, and the activities that use them.
//!
//! A notification's activity holds the recipient's contact sealed; it is opened for one attempt
//! and given to the sender alone. Sending the same notification twice is harmless: a sender that
//! keeps files writes the same file, and mail carries the notification's id as its message id.
//!
//! What a sender says about a failure is stored and shown, so it names no recipient: it is a
//! stable word and at most a number.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use redeliver::prelude::*;

use super::occasion::Channel;
use super::service::Notifications;
use super::text::{self, Piece};
use crate::identity::Contact;
use crate::ids::{NotificationId, UserId};
use crate::privacy::{KeyringError, Sealed};

/// The reason of a notification whose recipient was deleted meanwhile.
pub const FORGOTTEN: &str = "recipient_deleted";

/// A sender's answer, when it comes.
pub type SenderFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + 'a>>;

/// An outside system that carries notifications.
pub trait Sender: Send + Sync + 'static {
    /// Hands a letter over. Doing so again with the same id is harmless.
    fn send(&self, letter: Letter) -> SenderFuture<'_>;

    /// Removes the copies that are kept here of everything that was sent to this user.
    fn forget(&self, user: UserId) -> SenderFuture<'_> {
        let _ = user;
        Box::pin(async { Ok(()) })
    }

    /// Removes the copies that are kept here of these letters.
    fn discard(&self, letters: Vec<(Option<UserId>, NotificationId)>) -> SenderFuture<'_> {
        let _ = letters;
        Box::pin(async { Ok(()) })
    }
}

/// What is to be sent: personal, in the open, for one attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// The notification that it is; the same for every attempt.
    pub id: NotificationId,
    /// To whom; `None` is the shop itself.
    pub user_id: Option<UserId>,
    /// The recipient's name, if it has one.
    pub name: Option<String>,
    /// The recipient's e-mail address.
    pub address: String,
    /// By which channel.
    pub channel: Channel,
    /// The subject.
    pub subject: String,
    /// The body.
    pub body: String,
    /// When it was queued.
    pub at: Timestamp,
}

/// A sender did not take a letter. Never names the recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may later; nothing was sent, or sending it again is harmless.
    #[error("{0}")]
    Unavailable(String),
    /// It never will.
    #[error("{0}")]
    Refused(String),
}

/// A notification on its way to the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Which.
    pub notification_id: NotificationId,
    /// To whom; `None` is the shop itself.
    pub to: Option<Sealed<Contact>>,
    /// The subject.
    pub subject: String,
    /// The body without what is personal.
    pub body: Vec<Piece>,
    /// When it was queued.
    pub at: Timestamp,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, channel) = (self.id, self.channel);
        write!(f, "Letter({id} by {}, redacted)", channel.name())
    }
}

macro_rules! by_channel {
    ($(#[$doc:meta])* $name:ident, $wire:literal, $destination:literal, $channel:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name(pub Dispatch);

        impl Activity<Notifications> for $name {
            const NAME: &'static str = $wire;
            const DESTINATION: &'static str = $destination;
            const IDEMPOTENT: bool = true;
            type Output = ();

            async fn run(
                self,
                service: Arc<Notifications>,
                _cx: ActivityContext,
            ) -> Result<(), ActivityError> {
                send(&service, self.0, Channel::$channel).await
            }

            fn policy(service: &Notifications) -> ActivityPolicy {
                service.round.clone()
            }
        }
    };
}

by_channel!(
    /// Send an e-mail.
    SendEmail, "send-email", "notification-email", Email
);
by_channel!(
    /// Send a text message.
    SendSms, "send-sms", "notification-sms", Sms
);
by_channel!(
    /// Send a push message.
    SendPush, "send-push", "notification-push", Push
);

async fn send(
    service: &Notifications,
    dispatch: Dispatch,
    channel: Channel,
) -> Result<(), ActivityError> {
    let letter = opened(service, dispatch, channel)?;
    service.sender().send(letter).await.map_err(failed)
}

fn opened(
    service: &Notifications,
    dispatch: Dispatch,
    channel: Channel,
) -> Result<Letter, ActivityError> {
    let contact = match &dispatch.to {
        Some(sealed) => Some(service.keyring().open_sealed(sealed).map_err(unopened)?),
        None => None,
    };
    let name = contact.as_ref().map(|contact| {
        let Contact {
            first_name,
            last_name,
            ..
        } = contact;
        text::one_line(&format!("{first_name} {last_name}"))
    });
    Ok(Letter {
        id: dispatch.notification_id,
        user_id: dispatch.to.as_ref().map(|sealed| sealed.user),
        name,
        body: text::body(&dispatch.body, contact.as_ref()),
        address: contact.map_or_else(|| service.shop.clone(), |contact| contact.email),
        channel,
        subject: dispatch.subject,
        at: dispatch.at,
    })
}

fn unopened(error: KeyringError) -> ActivityError {
    let reason = match error {
        KeyringError::Forgotten { .. } => FORGOTTEN,
        _ => "recipient_unreadable",
    };
    ActivityError::Refused(reason.to_owned())
}

fn failed(error: SendError) -> ActivityError {
    match error {
        SendError::Unavailable(reason) => ActivityError::Transient(reason),
        SendError::Refused(reason) => ActivityError::Refused(reason),
    }
}

/// Remove the copies that the sender keeps of a deleted user's letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetLetters {
    /// Whose.
    pub user_id: UserId,
}

impl Activity<Notifications> for ForgetLetters {
    const NAME: &'static str = "forget-letters";
    const DESTINATION: &'static str = "notification-copies";
    const IDEMPOTENT: bool = true;
    type Output = ();

    async fn run(
        self,
        service: Arc<Notifications>,
        _cx: ActivityContext,
    ) -> Result<(), ActivityError> {
        service.sender().forget(self.user_id).await.map_err(failed)
    }
}

/// Remove the copies that the sender keeps of old letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardLetters {
    /// Recipient and id of each.
    pub letters: Vec<(Option<UserId>, NotificationId)>,
}

impl Activity<Notifications> for DiscardLetters {
    const NAME: &'static str = "discard-letters";
    const DESTINATION: &'static str = "notification-copies";
    const IDEMPOTENT: bool = true;
    type Output = ();

    async fn run(
        self,
        service: Arc<Notifications>,
        _cx: ActivityContext,
    ) -> Result<(), ActivityError> {
        service.sender().discard(self.letters).await.map_err(failed)
    }
}
