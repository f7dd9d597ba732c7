//! The templates every shop begins with: one per occasion and channel.
//!
//! They are part of the program, not seeded: they exist at the first start with or without a
//! seed, a start that dies leaves none out, and a better text in a later version reaches every
//! shop that has not written its own. Whoever changes one has a row from then on, and the row
//! counts. E-mail is active; text and push messages are written and wait to be activated, since a
//! shop needs somebody who carries them.

use uuid::Uuid;

use super::occasion::{Channel, Occasion};
use super::templates::Template;
use crate::ids::TemplateId;

/// Version of a template that nobody has changed.
pub const DEFAULT_VERSION: u64 = 1;

/// The default template of this occasion and channel.
pub fn template(occasion: Occasion, channel: Channel) -> Template {
    let (subject, email, short) = texts(occasion);
    let body = match channel {
        Channel::Email => email,
        Channel::Sms | Channel::Push => short,
    };
    Template {
        name: occasion.name().to_owned(),
        occasion: Some(occasion),
        channel,
        subject: subject.to_owned(),
        body: body.to_owned(),
        active: channel == Channel::Email,
        version: DEFAULT_VERSION,
    }
}

/// All, by id.
pub fn all() -> impl Iterator<Item = (TemplateId, Template)> {
    let of = |occasion| Channel::ALL.map(|channel| (occasion, channel));
    let all = Occasion::ALL.into_iter().flat_map(of);
    all.map(|(occasion, channel)| (id(occasion, channel), template(occasion, channel)))
}

/// The default template of this id, if it is one's.
pub fn find(id: TemplateId) -> Option<Template> {
    all()
        .find(|(known, _)| *known == id)
        .map(|(_, found)| found)
}

/// The id of the default template of this occasion and channel.
pub fn id(occasion: Occasion, channel: Channel) -> TemplateId {
    // A version 7 of a time long past, so that these sort before all others.
    let fixed = 0x0180_0000_0000_7000_8000_0000_0001_0000_u128;
    let place = u128::from(occasion.number()) * 16 + channel as u128;
    TemplateId(Uuid::from_u128(fixed + place))
}

/// Subject, e-mail, short message.
const fn texts(occasion: Occasion) -> (&'static str, &'static str, &'static str) {
    match occasion {
        Occasion::OrderCreated => (
            "We have received your order {{order_id}}",
            "Dear {{first_name}} {{last_name}},\n\nthank you for your order {{order_id}}:\n\n{{lines}}\n\nTotal: {{total}}\n\nWe tell you as soon as it is confirmed.\n",
            "We have received your order {{order_id}} over {{total}}.",
        ),
        Occasion::OrderConfirmed => (
            "Your order {{order_id}} is confirmed",
            "Dear {{first_name}} {{last_name}},\n\nyour order {{order_id}} over {{total}} is confirmed. The money is taken when your parcel leaves.\n",
            "Your order {{order_id}} is confirmed.",
        ),
        Occasion::OrderShipped => (
            "Your order {{order_id}} is on its way",
            "Dear {{first_name}} {{last_name}},\n\nyour order {{order_id}} has left with {{carrier}}. Its tracking number is {{tracking_number}}.\n",
            "Your order {{order_id}} has left with {{carrier}}: {{tracking_number}}.",
        ),
        Occasion::OrderCancelled => (
            "Your order {{order_id}} is cancelled",
            "Dear {{first_name}} {{last_name}},\n\nyour order {{order_id}} over {{total}} is cancelled: {{reason}}.\n\nNothing is charged for it; what had been paid comes back.\n",
            "Your order {{order_id}} is cancelled: {{reason}}.",
        ),
        Occasion::ShipmentDelivered => (
            "Your order {{order_id}} has arrived",
            "Dear {{first_name}} {{last_name}},\n\nyour order {{order_id}} has been delivered. You can send it back within 30 days.\n",
            "Your order {{order_id}} has been delivered.",
        ),
        Occasion::PaymentCompleted => (
            "Payment for your order {{order_id}}",
            "Dear {{first_name}} {{last_name}},\n\nwe have taken {{amount}} for your order {{order_id}}. Thank you.\n",
            "We have taken {{amount}} for your order {{order_id}}.",
        ),
        Occasion::PaymentFailed => (
            "The payment for your order {{order_id}} did not succeed",
            "Dear {{first_name}} {{last_name}},\n\nattempt {{attempt}} to pay for your order {{order_id}} did not succeed ({{reason}}). {{advice}}\n",
            "The payment for your order {{order_id}} did not succeed. {{advice}}",
        ),
        Occasion::PaymentRefunded => (
            "Your money for order {{order_id}} is on its way back",
            "Dear {{first_name}} {{last_name}},\n\nwe have paid back {{amount}} for your order {{order_id}}.\n",
            "We have paid back {{amount}} for your order {{order_id}}.",
        ),
        Occasion::UserRegistered => (
            "Welcome",
            "Dear {{first_name}} {{last_name}},\n\nwelcome to our shop. You sign in with {{email}}.\n",
            "Welcome to our shop.",
        ),
        Occasion::UserAccountLocked => (
            "Your account is locked",
            "Dear {{first_name}} {{last_name}},\n\nsomebody has tried too many wrong passwords for {{email}}. Nobody can sign in until {{until}}. If that was not you, choose a new password after that.\n",
            "Your account is locked until {{until}}.",
        ),
        Occasion::LowStockAlert => (
            "Running out: {{product}} ({{sku}})",
            "{{product}} ({{sku}}) is running out: {{available}} are available, the reorder level is {{reorder_level}}.\n\nProduct: {{product_id}}\n",
            "{{product}} ({{sku}}) is running out: {{available}} left.",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_is_a_valid_default_for_every_occasion_and_channel() {
        let mut ids = BTreeSet::new();
        for (id, template) in all() {
            template
                .check()
                .unwrap_or_else(|fault| panic!("{}: {fault}", template.name));
            assert_eq!(find(id), Some(template));
            assert!(ids.insert(id));
        }
        assert_eq!(ids.len(), 33);
    }

    #[test]
    fn only_e_mail_is_active_to_begin_with() {
        let active = all().filter(|(_, template)| template.active);
        let channels: Vec<Channel> = active.map(|(_, template)| template.channel).collect();
        assert_eq!(channels, [Channel::Email; 11]);
    }
}
