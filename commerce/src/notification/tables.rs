//! What the notification service keeps. Nothing personal is in the open here.

use redeliver::{Index, Table, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::messages::{NotificationStatus, NotificationView};
use super::occasion::{Channel, Fact, Occasion};
use super::preferences::Preferences;
use super::templates::Template;
use super::text::Piece;
use crate::identity::Contact;
use crate::ids::{NotificationId, OrderId, TemplateId, UserId};
use crate::privacy::Sealed;

/// How users are reached.
pub const CONTACTS: Table<UserId, ContactOf> = Table::new("contacts");

/// Templates that somebody has written or changed; the rest are the program's own.
pub const TEMPLATES: Table<TemplateId, Template> = Table::new("templates");

/// Written templates by what they tell of.
pub const TEMPLATES_BY_OCCASION: Index<Occasion, TemplateId, Template> =
    Index::new("templates_by_occasion", TEMPLATES, |_, template| {
        template.occasion
    });

/// What users have switched on and off.
pub const PREFERENCES: Table<UserId, Preferred> = Table::new("preferences");

/// What users and the shop itself were told, or will be. Ids sort by time.
pub const NOTIFICATIONS: Table<NotificationId, Notification> = Table::new("notifications");

/// Notifications of a recipient.
pub const NOTIFICATIONS_BY_RECIPIENT: Index<Uuid, NotificationId, Notification> =
    Index::new("notifications_by_recipient", NOTIFICATIONS, |_, told| {
        Some(told.recipient())
    });

/// Notifications by recipient, template and fact: no two have the same.
pub const NOTIFICATIONS_BY_FACT: Index<(Uuid, TemplateId, Fact), NotificationId, Notification> =
    Index::new("notifications_by_fact", NOTIFICATIONS, |_, told| {
        Some((told.recipient(), told.template_id, told.fact))
    });

/// Notifications that are not over, by recipient and what they are about.
pub const NOTIFICATIONS_QUEUED: Index<(Uuid, Uuid), NotificationId, Notification> =
    Index::new("notifications_queued", NOTIFICATIONS, |_, told| {
        told.progress
            .is_queued()
            .then(|| (told.recipient(), told.fact.about))
    });

/// Orders that are cancelled: nobody is told any more that they are confirmed. Kept 30 days.
pub const CANCELLED_ORDERS: Table<OrderId, Timestamp> = Table::new("cancelled_orders");

/// When old notifications are looked for next, while there are any.
pub const SWEEP: Table<(), Timestamp> = Table::new("sweep");

/// How a user is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContactOf {
    /// Like this.
    Known(Sealed<Contact>),
    /// Not at all: the user is deleted. Kept as long as old notifications.
    Gone {
        /// Since when.
        at: Timestamp,
    },
}

/// What a user has switched on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preferred {
    /// What is on.
    pub preferences: Preferences,
    /// Counts the changes; 0 if there was none.
    pub version: u64,
}

/// What one recipient is told of one fact by one template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Who is told; `None` is the shop itself.
    pub user_id: Option<UserId>,
    /// Of what.
    pub fact: Fact,
    /// By which channel.
    pub channel: Channel,
    /// By which template.
    pub template_id: TemplateId,
    /// Its name at that time.
    pub template: String,
    /// Its version at that time.
    pub template_version: u64,
    /// The subject.
    pub subject: String,
    /// The body without what is personal; empty once it is over.
    pub body: Vec<Piece>,
    /// How far it is.
    pub progress: Progress,
    /// Why it must not go out any more, although an attempt is under way.
    pub withdrawn: Option<String>,
    /// Why it was not sent, or not yet.
    pub reason: Option<String>,
    /// Rounds of attempts by now.
    pub rounds: u32,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it was sent, failed or was suppressed.
    pub over_at: Option<Timestamp>,
}

/// How far a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Progress {
    /// Its recipient's contact is not known yet.
    WaitsForContact,
    /// Something that was said before is still under way.
    WaitsItsTurn,
    /// An activity has it.
    Sending,
    /// A round of attempts has failed; the next comes later.
    Rests,
    /// The channel has taken it.
    Sent,
    /// It could not be sent.
    Failed,
    /// It was not to be sent.
    Suppressed,
}

impl Progress {
    /// Whether it may still be sent.
    pub const fn is_queued(self) -> bool {
        match self {
            Progress::WaitsForContact
            | Progress::WaitsItsTurn
            | Progress::Sending
            | Progress::Rests => true,
            Progress::Sent | Progress::Failed | Progress::Suppressed => false,
        }
    }
}

impl Notification {
    /// The recipient in keys: the user, or nil for the shop itself.
    pub fn recipient(&self) -> Uuid {
        recipient(self.user_id)
    }

    /// The order it is about, if it is about one.
    pub fn order_id(&self) -> Option<OrderId> {
        match self.fact.occasion {
            Occasion::OrderCreated
            | Occasion::OrderConfirmed
            | Occasion::OrderShipped
            | Occasion::OrderCancelled
            | Occasion::ShipmentDelivered
            | Occasion::PaymentCompleted
            | Occasion::PaymentFailed
            | Occasion::PaymentRefunded => Some(OrderId(self.fact.about)),
            Occasion::UserRegistered | Occasion::UserAccountLocked | Occasion::LowStockAlert => {
                None
            }
        }
    }

    /// As the outside sees it.
    pub fn view(self, id: NotificationId) -> NotificationView {
        let status = match self.progress {
            Progress::WaitsForContact
            | Progress::WaitsItsTurn
            | Progress::Sending
            | Progress::Rests => NotificationStatus::Queued,
            Progress::Sent => NotificationStatus::Sent,
            Progress::Failed => NotificationStatus::Failed,
            Progress::Suppressed => NotificationStatus::Suppressed,
        };
        let sent_at = self.over_at.filter(|_| self.progress == Progress::Sent);
        NotificationView {
            id,
            user_id: self.user_id,
            order_id: self.order_id(),
            channel: self.channel,
            template: self.template,
            template_id: self.template_id,
            template_version: self.template_version,
            subject: self.subject,
            status,
            reason: self.reason,
            created_at: self.created_at,
            sent_at,
        }
    }
}

/// A recipient in keys: the user, or nil for the shop itself.
pub fn recipient(user: Option<UserId>) -> Uuid {
    user.map_or(Uuid::nil(), |user| user.0)
}
