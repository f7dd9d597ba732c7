//! The notification service's handlers: what is heard becomes what is said.

use std::sync::Arc;
use std::time::Duration;

use redeliver::prelude::*;

use super::messages::{NotificationFailed, NotificationSent};
use super::occasion::Occasion;
use super::said::Said;
use super::sender::{DiscardLetters, ForgetLetters, SendEmail, SendPush, SendSms, Sender};
use super::tables::{
    CANCELLED_ORDERS, CONTACTS, ContactOf, NOTIFICATIONS, NOTIFICATIONS_BY_FACT,
    NOTIFICATIONS_BY_RECIPIENT, NOTIFICATIONS_QUEUED, PREFERENCES, SWEEP, TEMPLATES,
    TEMPLATES_BY_OCCASION,
};
use crate::identity::{
    Contact, UserAccountLocked, UserDeleted, UserProfileUpdated, UserRegistered,
};
use crate::ids::{OrderId, UserId};
use crate::inventory::LowStockAlert;
use crate::order::{OrderCancelled, OrderConfirmed, OrderCreated, OrderShipped};
use crate::payment::{PaymentCompleted, PaymentFailed, PaymentRefunded};
use crate::privacy::{Keyring, Sealed};
use crate::shipping::ShipmentDelivered;

use super::messages::{CancelledOrderForgotten, DeletedUserForgotten};

/// What users and the shop itself are told.
#[derive(Clone)]
pub struct Notifications {
    sender: Arc<dyn Sender>,
    keyring: Keyring,
    /// Where the shop itself is told: an e-mail address.
    pub shop: String,
    /// How long a notification waits for its recipient to become known.
    pub contact_wait: Duration,
    /// A round of attempts.
    pub round: ActivityPolicy,
    /// The first rest between two rounds; doubles.
    pub rest: Duration,
    /// The longest rest.
    pub rest_max: Duration,
    /// How long a notification is tried before it fails.
    pub retry_for: Duration,
    /// How long notifications are kept, and deleted users remembered.
    pub retention: Duration,
    /// How often old notifications are looked for.
    pub sweep_every: Duration,
    /// How long cancelled orders are remembered.
    pub remember: Duration,
}

impl Service for Notifications {
    const NAME: &'static str = "notification";

    fn handlers(on: &mut Handlers<Self>) {
        on.in_background()
            .table(CONTACTS)
            .table(TEMPLATES)
            .index(TEMPLATES_BY_OCCASION)
            .table(PREFERENCES)
            .table(NOTIFICATIONS)
            .index(NOTIFICATIONS_BY_RECIPIENT)
            .index(NOTIFICATIONS_BY_FACT)
            .index(NOTIFICATIONS_QUEUED)
            .table(CANCELLED_ORDERS)
            .table(SWEEP);
        on.event(Self::order_created)
            .event(Self::order_confirmed)
            .event(Self::order_shipped)
            .event(Self::order_cancelled)
            .event(Self::shipment_delivered)
            .event(Self::payment_completed)
            .event(Self::payment_failed)
            .event(Self::payment_refunded)
            .event(Self::user_registered)
            .event(Self::user_profile_updated)
            .event(Self::user_account_locked)
            .event(Self::user_deleted)
            .event(Self::low_stock);
        on.activity::<SendEmail>(|service, done, cx| {
            service.attempted(done.input.0.notification_id, done.outcome, cx)
        })
        .activity::<SendSms>(|service, done, cx| {
            service.attempted(done.input.0.notification_id, done.outcome, cx)
        })
        .activity::<SendPush>(|service, done, cx| {
            service.attempted(done.input.0.notification_id, done.outcome, cx)
        })
        .activity::<ForgetLetters>(Self::letters_forgotten)
        .activity::<DiscardLetters>(Self::letters_discarded);
        on.timer(Self::contact_wait_over)
            .timer(Self::next_round)
            .timer(Self::more_queued)
            .timer(Self::sweep)
            .timer(Self::forget_cancelled_order)
            .timer(Self::forget_deleted_user);
        on.command(Self::write_template)
            .command(Self::rewrite_template)
            .command(Self::switch_template)
            .command(Self::set_preferences);
        on.query(Self::by_id)
            .query(Self::of_recipient)
            .query(Self::template_by_id)
            .query(Self::templates)
            .query(Self::preview)
            .query(Self::preferences_of);
        on.publishes_outside::<NotificationSent>()
            .publishes_outside::<NotificationFailed>();
    }
}

impl Notifications {
    /// The service with this sender, which opens contacts with this keyring.
    pub fn new(sender: Arc<dyn Sender>, keyring: Keyring) -> Notifications {
        Notifications {
            sender,
            keyring,
            shop: "admin@example.com".to_owned(),
            contact_wait: minutes(10),
            round: ActivityPolicy {
                timeout: seconds(30),
                attempts_max: 4,
                give_up_after: minutes(2),
                backoff: seconds(1),
                backoff_max: seconds(10),
                concurrency: 8,
                breaker_failures: 20,
                breaker_open_for: seconds(5),
            },
            rest: minutes(1),
            rest_max: hours(2),
            retry_for: hours(24),
            retention: days(90),
            sweep_every: hours(1),
            remember: days(30),
        }
    }

    /// The sender.
    pub fn sender(&self) -> &dyn Sender {
        &*self.sender
    }

    /// What opens contacts.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    fn order_created(&self, order: OrderCreated, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.say(Said::created(&order), cx)
    }

    fn order_confirmed(
        &self,
        order: OrderConfirmed,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.say(Said::confirmed(&order), cx)
    }

    fn order_shipped(&self, order: OrderShipped, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.say(Said::shipped(&order), cx)
    }

    fn order_cancelled(
        &self,
        order: OrderCancelled,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = order.order_id;
        // Against a "confirmed" that comes later.
        if cx.get(CANCELLED_ORDERS, &order_id)?.is_none() {
            cx.put(CANCELLED_ORDERS, &order_id, &order.at)?;
            cx.after(self.remember, CancelledOrderForgotten { order_id });
        }
        self.withdraw_confirmed(order.customer_id, order_id, cx)?;
        self.say(Said::cancelled(&order), cx)
    }

    fn shipment_delivered(
        &self,
        parcel: ShipmentDelivered,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.say(Said::delivered(&parcel), cx)
    }

    fn payment_completed(
        &self,
        payment: PaymentCompleted,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.say(Said::completed(&payment), cx)
    }

    fn payment_failed(
        &self,
        payment: PaymentFailed,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match Said::declined(&payment) {
            Some(said) => self.say(said, cx),
            None => Ok(()),
        }
    }

    fn payment_refunded(
        &self,
        payment: PaymentRefunded,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match Said::refunded(&payment) {
            Some(said) => self.say(said, cx),
            None => Ok(()),
        }
    }

    fn low_stock(&self, stock: LowStockAlert, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.say(Said::low_stock(&stock), cx)
    }

    fn user_registered(
        &self,
        user: UserRegistered,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.reach(user.user_id, user.contact.clone(), cx)?;
        self.say(Said::registered(&user), cx)
    }

    fn user_profile_updated(
        &self,
        user: UserProfileUpdated,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.reach(user.user_id, user.contact, cx)
    }

    fn user_account_locked(
        &self,
        user: UserAccountLocked,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.say(Said::locked(&user), cx)
    }

    fn user_deleted(&self, user: UserDeleted, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let user_id = user.user_id;
        if let Some(ContactOf::Gone { .. }) = cx.get(CONTACTS, &user_id)? {
            return Ok(());
        }
        cx.put(CONTACTS, &user_id, &ContactOf::Gone { at: user.at })?;
        cx.after(self.retention, DeletedUserForgotten { user_id });
        cx.remove(PREFERENCES, &user_id)?;
        cx.plan(ForgetLetters { user_id });
        self.look_through(user_id, None, cx)
    }

    /// Notes how a user is reached from now on, and sends what has waited for it.
    fn reach(
        &self,
        user: UserId,
        contact: Sealed<Contact>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match cx.get(CONTACTS, &user)? {
            // Said before the deletion and heard after it.
            Some(ContactOf::Gone { .. }) => Ok(()),
            Some(ContactOf::Known(_)) => Ok(cx.put(CONTACTS, &user, &ContactOf::Known(contact))?),
            None => {
                cx.put(CONTACTS, &user, &ContactOf::Known(contact))?;
                self.look_through(user, None, cx)
            }
        }
    }

    /// Whether it is too late to say this of its order.
    pub(super) fn is_outdated(&self, said: &Said, cx: &Context<Self>) -> Result<bool, Rejection> {
        let order = OrderId(said.fact.about);
        Ok(said.fact.occasion == Occasion::OrderConfirmed
            && cx.get(CANCELLED_ORDERS, &order)?.is_some())
    }

    fn forget_cancelled_order(
        &self,
        due: CancelledOrderForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        Ok(cx.remove(CANCELLED_ORDERS, &due.order_id)?)
    }

    fn forget_deleted_user(
        &self,
        due: DeletedUserForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        if let Some(ContactOf::Gone { .. }) = cx.get(CONTACTS, &due.user_id)? {
            cx.remove(CONTACTS, &due.user_id)?;
        }
        Ok(())
    }
}
