//! What each event says to whom: from the event to the fact and the values of its variables.
//!
//! Pure functions; whether anybody is told is decided elsewhere.

use redeliver::Timestamp;

use super::occasion::{Fact, Occasion};
use super::text::{self, Values, in_words};
use crate::identity::{UserAccountLocked, UserRegistered};
use crate::ids::UserId;
use crate::inventory::LowStockAlert;
use crate::order::{OrderCancelled, OrderConfirmed, OrderCreated, OrderShipped};
use crate::payment::{FailureKind, PaymentCompleted, PaymentFailed, PaymentRefunded};
use crate::shipping::ShipmentDelivered;
use crate::time::to_rfc3339;

/// Lines of an order that are listed one by one.
const LINES_MAX: usize = 20;
/// Longest value of a variable in characters.
const VALUE_CHARS_MAX: usize = 300;

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// To whom; `None` is the shop itself.
    pub to: Option<UserId>,
    /// The fact.
    pub fact: Fact,
    /// What can be said about it.
    pub values: Values,
    /// When it happened.
    pub at: Timestamp,
}

impl Said {
    fn new(to: Option<UserId>, fact: Fact, at: Timestamp, values: &[(&str, String)]) -> Said {
        let value = |text: &String| text.chars().take(VALUE_CHARS_MAX).collect();
        let values = values
            .iter()
            .map(|(name, text)| ((*name).to_owned(), value(text)));
        Said {
            to,
            fact,
            values: values.collect(),
            at,
        }
    }

    /// An order was accepted.
    pub fn created(order: &OrderCreated) -> Said {
        let line = |line: &crate::order::OrderLine| {
            let (name, each) = (text::one_line(&line.name), in_words(line.unit_price));
            format!("{} x {name}, {each} each", line.quantity)
        };
        let mut lines: Vec<String> = order.lines.iter().take(LINES_MAX).map(line).collect();
        if let Some(more) = order
            .lines
            .len()
            .checked_sub(LINES_MAX)
            .filter(|more| *more > 0)
        {
            lines.push(format!("and {more} more"));
        }
        let units: u64 = order
            .lines
            .iter()
            .map(|line| u64::from(line.quantity))
            .sum();
        let fact = Fact::once(Occasion::OrderCreated, order.order_id.0);
        let values = [
            ("order_id", order.order_id.to_string()),
            ("total", in_words(order.total)),
            ("units", units.to_string()),
        ];
        let mut said = Said::new(Some(order.customer_id), fact, order.at, &values);
        // Cut by lines already.
        said.values.push(("lines".to_owned(), lines.join("\n")));
        said
    }

    /// An order is confirmed.
    pub fn confirmed(order: &OrderConfirmed) -> Said {
        let fact = Fact::once(Occasion::OrderConfirmed, order.order_id.0);
        let values = [
            ("order_id", order.order_id.to_string()),
            ("total", in_words(order.total)),
        ];
        Said::new(Some(order.customer_id), fact, order.at, &values)
    }

    /// An order is on its way.
    pub fn shipped(order: &OrderShipped) -> Said {
        let fact = Fact::once(Occasion::OrderShipped, order.order_id.0);
        let values = [
            ("order_id", order.order_id.to_string()),
            ("carrier", text::one_line(&order.carrier)),
            ("tracking_number", text::one_line(&order.tracking_number)),
        ];
        Said::new(Some(order.customer_id), fact, order.at, &values)
    }

    /// An order is cancelled.
    pub fn cancelled(order: &OrderCancelled) -> Said {
        let fact = Fact::once(Occasion::OrderCancelled, order.order_id.0);
        let values = [
            ("order_id", order.order_id.to_string()),
            ("total", in_words(order.total)),
            ("reason", text::one_line(&order.reason)),
        ];
        Said::new(Some(order.customer_id), fact, order.at, &values)
    }

    /// A parcel has arrived.
    pub fn delivered(parcel: &ShipmentDelivered) -> Said {
        let fact = Fact::once(Occasion::ShipmentDelivered, parcel.order_id.0);
        let values = [("order_id", parcel.order_id.to_string())];
        Said::new(Some(parcel.customer_id), fact, parcel.at, &values)
    }

    /// Money was taken.
    pub fn completed(payment: &PaymentCompleted) -> Said {
        let fact = Fact::once(Occasion::PaymentCompleted, payment.order_id.0);
        let values = [
            ("order_id", payment.order_id.to_string()),
            ("amount", in_words(payment.captured)),
        ];
        Said::new(Some(payment.customer_id), fact, payment.at, &values)
    }

    /// A payment was declined. `None` if it was refused because its order is cancelled, of which
    /// the customer is told as such.
    pub fn declined(payment: &PaymentFailed) -> Option<Said> {
        if payment.reason == "order_cancelled" {
            return None;
        }
        let fact = Fact {
            nth: u128::from(payment.attempt),
            ..Fact::once(Occasion::PaymentFailed, payment.order_id.0)
        };
        let advice = match payment.kind {
            FailureKind::Hard => "The order is cancelled; nothing is charged.",
            FailureKind::Soft => "You can try again with another card.",
        };
        let values = [
            ("order_id", payment.order_id.to_string()),
            ("attempt", payment.attempt.to_string()),
            ("reason", text::one_line(&payment.reason)),
            ("advice", advice.to_owned()),
        ];
        Some(Said::new(
            Some(payment.customer_id),
            fact,
            payment.at,
            &values,
        ))
    }

    /// Money was paid back. `None` if none was: what is only held no longer, and what an earlier
    /// message has said already.
    pub fn refunded(payment: &PaymentRefunded) -> Option<Said> {
        if payment.amount.amount <= 0 {
            return None;
        }
        let fact = Fact {
            nth: payment.refund_id.0.as_u128(),
            ..Fact::once(Occasion::PaymentRefunded, payment.order_id.0)
        };
        let values = [
            ("order_id", payment.order_id.to_string()),
            ("amount", in_words(payment.amount)),
        ];
        Some(Said::new(
            Some(payment.customer_id),
            fact,
            payment.at,
            &values,
        ))
    }

    /// Somebody became a user.
    pub fn registered(user: &UserRegistered) -> Said {
        let fact = Fact::once(Occasion::UserRegistered, user.user_id.0);
        Said::new(Some(user.user_id), fact, user.at, &[])
    }

    /// An account is locked.
    pub fn locked(user: &UserAccountLocked) -> Said {
        let fact = Fact {
            nth: moment(user.at),
            ..Fact::once(Occasion::UserAccountLocked, user.user_id.0)
        };
        let values = [("until", to_rfc3339(user.until))];
        Said::new(Some(user.user_id), fact, user.at, &values)
    }

    /// A product is running out.
    pub fn low_stock(stock: &LowStockAlert) -> Said {
        let fact = Fact {
            nth: moment(stock.at),
            ..Fact::once(Occasion::LowStockAlert, stock.product_id.0)
        };
        let values = [
            ("product_id", stock.product_id.to_string()),
            ("sku", text::one_line(&stock.sku)),
            ("product", text::one_line(&stock.name)),
            ("available", stock.available.to_string()),
            ("reorder_level", stock.reorder_level.to_string()),
        ];
        Said::new(None, fact, stock.at, &values)
    }
}

fn moment(at: Timestamp) -> u128 {
    u128::try_from(at.0).unwrap_or(0)
}
