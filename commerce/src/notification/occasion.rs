//! Occasions: what users are told of, and what can be said about each.

use redeliver::{KeyReader, TableKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::text::PersonalUse;

/// How a notification reaches its recipient.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// E-mail.
    Email,
    /// Text message to a telephone.
    Sms,
    /// Message to an app.
    Push,
}

/// What a user can switch off.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Orders: accepted, confirmed, cancelled.
    Orders,
    /// Parcels: on their way, arrived.
    Shipping,
    /// Money: taken, declined, paid back.
    Payments,
    /// The account: welcome, locked.
    Account,
}

/// What somebody is told of: the kind of a fact, named as the message that says it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// An order was accepted.
    OrderCreated,
    /// An order is reserved and authorised.
    OrderConfirmed,
    /// An order is on its way.
    OrderShipped,
    /// An order is cancelled.
    OrderCancelled,
    /// A parcel has arrived.
    ShipmentDelivered,
    /// Money was taken.
    PaymentCompleted,
    /// A payment was declined.
    PaymentFailed,
    /// Money was paid back.
    PaymentRefunded,
    /// Somebody became a user.
    UserRegistered,
    /// Too many wrong passwords.
    UserAccountLocked,
    /// A product is running out; told to the shop itself.
    LowStockAlert,
}

/// A fact: what has happened to what. A recipient is told of it once by each template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fact {
    /// What has happened.
    pub occasion: Occasion,
    /// To which order, product or user.
    pub about: Uuid,
    /// Which time: the attempt, the refund, the moment; 0 for what happens once.
    pub nth: u128,
}

impl Channel {
    /// All.
    pub const ALL: [Channel; 3] = [Channel::Email, Channel::Sms, Channel::Push];

    /// Its name outside.
    pub const fn name(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Sms => "sms",
            Channel::Push => "push",
        }
    }
}

impl Occasion {
    /// All, in the order of their numbers.
    pub const ALL: [Occasion; 11] = [
        Occasion::OrderCreated,
        Occasion::OrderConfirmed,
        Occasion::OrderShipped,
        Occasion::OrderCancelled,
        Occasion::ShipmentDelivered,
        Occasion::PaymentCompleted,
        Occasion::PaymentFailed,
        Occasion::PaymentRefunded,
        Occasion::UserRegistered,
        Occasion::UserAccountLocked,
        Occasion::LowStockAlert,
    ];

    /// Its number in keys; stored, so a number never changes its meaning.
    pub const fn number(self) -> u8 {
        match self {
            Occasion::OrderCreated => 0,
            Occasion::OrderConfirmed => 1,
            Occasion::OrderShipped => 2,
            Occasion::OrderCancelled => 3,
            Occasion::ShipmentDelivered => 4,
            Occasion::PaymentCompleted => 5,
            Occasion::PaymentFailed => 6,
            Occasion::PaymentRefunded => 7,
            Occasion::UserRegistered => 8,
            Occasion::UserAccountLocked => 9,
            Occasion::LowStockAlert => 10,
        }
    }

    /// Its name outside.
    pub const fn name(self) -> &'static str {
        match self {
            Occasion::OrderCreated => "order-created",
            Occasion::OrderConfirmed => "order-confirmed",
            Occasion::OrderShipped => "order-shipped",
            Occasion::OrderCancelled => "order-cancelled",
            Occasion::ShipmentDelivered => "shipment-delivered",
            Occasion::PaymentCompleted => "payment-completed",
            Occasion::PaymentFailed => "payment-failed",
            Occasion::PaymentRefunded => "payment-refunded",
            Occasion::UserRegistered => "user-registered",
            Occasion::UserAccountLocked => "user-account-locked",
            Occasion::LowStockAlert => "low-stock-alert",
        }
    }

    /// Under what users switch it off.
    pub const fn topic(self) -> Topic {
        match self {
            Occasion::OrderCreated | Occasion::OrderConfirmed | Occasion::OrderCancelled => {
                Topic::Orders
            }
            Occasion::OrderShipped | Occasion::ShipmentDelivered => Topic::Shipping,
            Occasion::PaymentCompleted | Occasion::PaymentFailed | Occasion::PaymentRefunded => {
                Topic::Payments
            }
            // The last is for the shop itself, which has no switches.
            Occasion::UserRegistered | Occasion::UserAccountLocked | Occasion::LowStockAlert => {
                Topic::Account
            }
        }
    }

    /// The plain variables of its templates, each with a sample for previews.
    pub const fn variables(self) -> &'static [(&'static str, &'static str)] {
        const ORDER: (&str, &str) = ("order_id", "0190a5b0-0000-7000-8000-000000000001");
        const TOTAL: (&str, &str) = ("total", "19.98 EUR");
        const AMOUNT: (&str, &str) = ("amount", "19.98 EUR");
        match self {
            Occasion::OrderCreated => &[
                ORDER,
                TOTAL,
                ("lines", "2 x Blue mug, 9.99 EUR each"),
                ("units", "2"),
            ],
            Occasion::OrderConfirmed => &[ORDER, TOTAL],
            Occasion::OrderShipped => &[
                ORDER,
                ("carrier", "Example Post"),
                ("tracking_number", "RD0001"),
            ],
            Occasion::OrderCancelled => &[ORDER, TOTAL, ("reason", "changed my mind")],
            Occasion::ShipmentDelivered => &[ORDER],
            Occasion::PaymentCompleted | Occasion::PaymentRefunded => &[ORDER, AMOUNT],
            Occasion::PaymentFailed => &[
                ORDER,
                ("attempt", "1"),
                ("reason", "insufficient_funds"),
                ("advice", "You can try again with another card."),
            ],
            Occasion::UserRegistered => &[],
            Occasion::UserAccountLocked => &[("until", "2026-03-01T12:15:00.000000Z")],
            Occasion::LowStockAlert => &[
                ("product_id", "0180a5b0-0000-7000-8000-000000000001"),
                ("sku", "MUG-BLUE"),
                ("product", "Blue mug"),
                ("available", "5"),
                ("reorder_level", "100"),
            ],
        }
    }

    /// Whether its body may name the recipient.
    pub const fn personal(self) -> PersonalUse {
        match self {
            Occasion::LowStockAlert => PersonalUse::NoPerson,
            Occasion::OrderCreated
            | Occasion::OrderConfirmed
            | Occasion::OrderShipped
            | Occasion::OrderCancelled
            | Occasion::ShipmentDelivered
            | Occasion::PaymentCompleted
            | Occasion::PaymentFailed
            | Occasion::PaymentRefunded
            | Occasion::UserRegistered
            | Occasion::UserAccountLocked => PersonalUse::Allowed,
        }
    }
}

impl TableKey for Occasion {
    fn write(&self, out: &mut Vec<u8>) {
        self.number().write(out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        let number = u8::read(from)?;
        Occasion::ALL.get(usize::from(number)).copied()
    }
}

impl TableKey for Fact {
    fn write(&self, out: &mut Vec<u8>) {
        self.occasion.write(out);
        self.about.write(out);
        self.nth.write(out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        Some(Fact {
            occasion: Occasion::read(from)?,
            about: Uuid::read(from)?,
            nth: u128::read(from)?,
        })
    }
}

impl Fact {
    /// A fact that happens once.
    pub const fn once(occasion: Occasion, about: Uuid) -> Fact {
        Fact {
            occasion,
            about,
            nth: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_occasion() {
        for (place, occasion) in Occasion::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(occasion.number()), place);
            let name = serde_json::to_value(occasion).unwrap();
            assert_eq!(name, occasion.name());
            let fact = Fact::once(occasion, Uuid::from_u128(5));
            assert_eq!(Fact::from_bytes(&fact.to_bytes()), Some(fact));
        }
    }
}
