//! The notification service: tells users what has happened to their orders, money and account.
//!
//! A fact that the shop publishes becomes one notification for each active template of its
//! occasion, queued in the turn that hears of it. Nobody waits for it: a channel that fails holds
//! up neither an order nor another recipient.
//!
//! ```text
//!            ╭▶ waits for contact ─╮          ╭─▶ sent
//! fact ─▶ said ─────────────────▶ sending ───┼─▶ failed
//!            ╰▶ waits its turn ────╯  │  ▲     ╰─▶ suppressed
//!            ╰▶ suppressed            ▼  │
//!                                    rests
//! ```
//!
//! - One notification for each recipient, template and fact, however often the fact is heard.
//! - Events of different services are not ordered among each other: a notification whose
//!   recipient is not known yet waits for the contact, and an order that is cancelled is
//!   remembered against a late `OrderConfirmed`. Nobody reads "confirmed" after "cancelled".
//! - A round of attempts is short; between rounds the notification rests and can be withdrawn.
//!   After [`Notifications::retry_for`] it fails, visibly.
//! - Nothing personal is stored in the open. A body keeps its gaps until a sender fills them from
//!   the recipient's sealed contact; what a sender says about a failure names nobody.

pub(crate) mod administration;
pub mod at_once;
pub mod defaults;
mod delivery;
pub mod local;
pub mod mail;
pub mod messages;
pub mod occasion;
pub mod preferences;
pub mod said;
pub mod sender;
pub mod service;
pub mod smtp;
pub mod tables;
pub mod templates;
pub mod text;

pub use at_once::SentAtOnce;
pub use local::LocalSender;
pub use messages::{
    NotificationById, NotificationFailed, NotificationSent, NotificationStatus, NotificationView,
    NotificationsOf, PreferencesOf, PreferencesView, PreviewTemplate, PreviewView, RewriteTemplate,
    SetPreferences, SwitchTemplate, TemplateById, TemplateText, TemplateView, TemplatesList,
    WriteTemplate,
};
pub use occasion::{Channel, Occasion, Topic};
pub use preferences::{Preferences, Switches};
pub use sender::{Letter, SendError, Sender, SenderFuture};
pub use service::Notifications;
pub use smtp::SmtpSender;

#[cfg(test)]
mod tests;
