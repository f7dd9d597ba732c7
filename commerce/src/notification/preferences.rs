//! Preferences: what a user is told of, and how.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::occasion::{Channel, Topic};

/// What a user is told of by each channel. A channel or topic that is left out is as it is for
/// everybody: e-mail on, text and push messages off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preferences {
    /// By e-mail.
    pub email: Switches,
    /// By text message.
    pub sms: Switches,
    /// By push message.
    pub push: Switches,
}

/// What a user is told of by one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Switches {
    /// Orders: accepted, confirmed, cancelled.
    pub orders: bool,
    /// Parcels: on their way, arrived.
    pub shipping: bool,
    /// Money: taken, declined, paid back.
    pub payments: bool,
    /// The account: welcome, locked.
    pub account: bool,
}

impl Switches {
    /// All alike.
    pub const fn all(on: bool) -> Switches {
        Switches {
            orders: on,
            shipping: on,
            payments: on,
            account: on,
        }
    }

    /// Whether this topic is on.
    pub const fn allows(&self, topic: Topic) -> bool {
        match topic {
            Topic::Orders => self.orders,
            Topic::Shipping => self.shipping,
            Topic::Payments => self.payments,
            Topic::Account => self.account,
        }
    }
}

impl Default for Preferences {
    fn default() -> Preferences {
        Preferences {
            email: Switches::all(true),
            sms: Switches::all(false),
            push: Switches::all(false),
        }
    }
}

impl Preferences {
    /// Whether the user wants to hear of this topic by this channel.
    pub const fn allow(&self, channel: Channel, topic: Topic) -> bool {
        match channel {
            Channel::Email => self.email.allows(topic),
            Channel::Sms => self.sms.allows(topic),
            Channel::Push => self.push.allows(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_mail_is_on_and_the_rest_off_until_the_user_says_otherwise() {
        let mut preferences = Preferences::default();
        assert!(preferences.allow(Channel::Email, Topic::Account));
        assert!(!preferences.allow(Channel::Sms, Topic::Orders));
        preferences.sms.shipping = true;
        assert!(preferences.allow(Channel::Sms, Topic::Shipping));
        assert!(!preferences.allow(Channel::Sms, Topic::Orders));
    }
}
