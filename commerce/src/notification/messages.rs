//! What the notification service says, is told and is asked.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::occasion::{Channel, Occasion};
use super::preferences::Preferences;
use crate::ids::{NotificationId, OrderId, TemplateId, UserId};
use crate::page::{Listing, Page};
use crate::time::{rfc3339, rfc3339_option};

/// A notification has gone out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationSent {
    /// Which.
    pub notification_id: NotificationId,
    /// To whom; `None` is the shop itself.
    pub user_id: Option<UserId>,
    /// About which order, if about one.
    pub order_id: Option<OrderId>,
    /// By which channel.
    pub channel: Channel,
    /// By which template.
    pub template: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A notification could not be sent and is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationFailed {
    /// Which.
    pub notification_id: NotificationId,
    /// To whom; `None` is the shop itself.
    pub user_id: Option<UserId>,
    /// About which order, if about one.
    pub order_id: Option<OrderId>,
    /// By which channel.
    pub channel: Channel,
    /// By which template.
    pub template: String,
    /// Stable name of the reason, and what the channel said.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// What somebody writes as a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateText {
    /// What people call it.
    pub name: String,
    /// What it tells of.
    pub event: Option<Occasion>,
    /// How it goes out.
    pub channel: Channel,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub body: String,
    /// Whether it is sent; if not said, a new one is not and an old one as before.
    pub active: Option<bool>,
}

/// Writes a new template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteTemplate {
    /// What it says.
    pub text: TemplateText,
}

/// Writes a template anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewriteTemplate {
    /// Which.
    pub template_id: TemplateId,
    /// The versions for which this was decided; `None` is any.
    pub if_version: Option<Vec<u64>>,
    /// What it says from now on.
    pub text: TemplateText,
}

/// Has a template sent, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchTemplate {
    /// Which.
    pub template_id: TemplateId,
    /// The versions for which this was decided; `None` is any.
    pub if_version: Option<Vec<u64>>,
    /// Whether it is sent from now on.
    pub active: bool,
}

/// Says what a user is told of from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPreferences {
    /// Who.
    pub user_id: UserId,
    /// The versions for which this was decided; `None` is any.
    pub if_version: Option<Vec<u64>>,
    /// What is on.
    pub preferences: Preferences,
}

/// A template as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateView {
    /// Its id.
    pub id: TemplateId,
    /// What people call it.
    pub name: String,
    /// What it tells of; `null` is a draft.
    pub event: Option<Occasion>,
    /// How it goes out.
    pub channel: Channel,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub body: String,
    /// Whether it is sent.
    pub active: bool,
    /// Counts its changes, from 1.
    pub version: u64,
    /// What it may use between double braces.
    pub variables: Vec<String>,
}

/// What a template would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewView {
    /// The subject.
    pub subject: String,
    /// The body.
    pub body: String,
}

/// What a user is told of, as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferencesView {
    /// Who.
    pub user_id: UserId,
    /// What is on.
    pub preferences: Preferences,
    /// Counts the changes; 0 if there was none.
    pub version: u64,
}

/// What has become of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotificationStatus {
    /// It is to be sent.
    Queued,
    /// The channel has taken it.
    Sent,
    /// It could not be sent.
    Failed,
    /// It was not to be sent.
    Suppressed,
}

/// A notification as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationView {
    /// Its id.
    pub id: NotificationId,
    /// Who is told; `null` is the shop itself.
    pub user_id: Option<UserId>,
    /// The order it is about, if it is about one.
    pub order_id: Option<OrderId>,
    /// By which channel.
    pub channel: Channel,
    /// By which template: its name at that time.
    pub template: String,
    /// By which template.
    pub template_id: TemplateId,
    /// The template's version at that time.
    pub template_version: u64,
    /// The subject.
    pub subject: String,
    /// What has become of it.
    pub status: NotificationStatus,
    /// Why it was not sent, or not yet.
    pub reason: Option<String>,
    /// When it was queued.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was sent.
    #[serde(with = "rfc3339_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub sent_at: Option<Timestamp>,
}

/// Asks for a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationById {
    /// Which.
    pub notification_id: NotificationId,
}

/// Asks for the notifications of a recipient, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationsOf {
    /// Whose; `None` is the shop itself.
    pub user_id: Option<UserId>,
    /// Which part.
    pub page: Page,
}

/// Asks for a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateById {
    /// Which.
    pub template_id: TemplateId,
}

/// Asks for all templates, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplatesList {
    /// Which part.
    pub page: Page,
}

/// Asks what a template would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewTemplate {
    /// Which.
    pub template_id: TemplateId,
    /// Values by variable; samples stand for the rest.
    pub variables: Vec<(String, String)>,
}

/// Asks what a user is told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferencesOf {
    /// Who.
    pub user_id: UserId,
}

/// A recipient's contact should be known by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactWaitOver {
    /// Of which notification.
    pub notification_id: NotificationId,
}

/// The next round of attempts begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRound {
    /// Of which notification.
    pub notification_id: NotificationId,
}

/// More of a user's queued notifications are to be looked at than one turn takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoreQueued {
    /// Whose.
    pub user_id: UserId,
    /// From which one on: what it is about, and its id.
    pub after: (Uuid, NotificationId),
}

/// Old notifications go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepDue {}

/// A cancelled order has been remembered long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledOrderForgotten {
    /// Which.
    pub order_id: OrderId,
}

/// A deleted user has been remembered long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedUserForgotten {
    /// Who.
    pub user_id: UserId,
}

impl redeliver::Message for SweepDue {
    const NAME: &'static str = "notification-sweep-due";
}

event!(NotificationSent, "notification-sent", notification_id);
event!(NotificationFailed, "notification-failed", notification_id);
command!(
    RewriteTemplate,
    "rewrite-template",
    template_id,
    TemplateView
);
command!(SwitchTemplate, "switch-template", template_id, TemplateView);
command!(
    SetPreferences,
    "set-notification-preferences",
    user_id,
    PreferencesView
);
query!(NotificationById, "notification-by-id", NotificationView);
query!(
    NotificationsOf,
    "notifications-of",
    Listing<NotificationView>
);
query!(TemplateById, "template-by-id", TemplateView);
query!(TemplatesList, "templates-list", Listing<TemplateView>);
query!(PreviewTemplate, "preview-template", PreviewView);
query!(
    PreferencesOf,
    "notification-preferences-of",
    PreferencesView
);
timer!(ContactWaitOver, "contact-wait-over", notification_id);
timer!(NextRound, "notification-next-round", notification_id);
timer!(MoreQueued, "more-queued-notifications", user_id);
timer!(
    CancelledOrderForgotten,
    "cancelled-order-forgotten",
    order_id
);
timer!(DeletedUserForgotten, "deleted-user-forgotten", user_id);

impl redeliver::Message for WriteTemplate {
    const NAME: &'static str = "write-template";
}

impl redeliver::Command for WriteTemplate {
    type Reply = TemplateView;
}
