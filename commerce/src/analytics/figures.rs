//! Figures: what facts add up to. Pure.
//!
//! Every figure is a sum, and the name of a product is its latest: facts may come in any order.

use redeliver::{Rejection, Timestamp};
use serde::{Deserialize, Serialize};

use super::facts::{Fact, What};

/// What happened in a day, in a month or altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Orders accepted.
    pub created: u64,
    /// Orders that could be sent.
    pub confirmed: u64,
    /// Orders cancelled.
    pub cancelled: u64,
    /// Orders that arrived.
    pub delivered: u64,
    /// Orders paid for and what was paid.
    pub money: Revenue,
    /// Views of products.
    pub viewed: u64,
    /// Times that a product was put into a cart.
    pub added_to_cart: u64,
    /// Products ordered: lines of orders.
    pub ordered: u64,
    /// Products paid for: lines of orders.
    pub purchased: u64,
}

/// Money that came in and went back, in minor units. 128 bits hold more sums of 64 bits than can
/// ever be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Revenue {
    /// Orders whose money was taken.
    pub orders: u64,
    /// What was taken.
    pub captured: i128,
    /// What was paid back.
    pub refunded: i128,
}

/// What was sold of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sales {
    /// Its name in the latest order that was paid for.
    pub name: String,
    /// When that was.
    pub named_at: Timestamp,
    /// How many.
    pub units: u64,
    /// For how much, in minor units; what was paid back is not taken off.
    pub revenue: i128,
}

/// A sum that cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{figure} grows beyond what can be counted; look for what counts so fast")]
pub struct TooLarge {
    /// Which.
    pub figure: &'static str,
}

impl From<TooLarge> for Rejection {
    fn from(error: TooLarge) -> Rejection {
        Rejection::invalid("figure_too_large", error.to_string())
    }
}

impl Figures {
    /// Counts a fact.
    pub fn count(&mut self, what: &What) -> Result<(), TooLarge> {
        match what {
            What::Created { lines, .. } => {
                more("created", &mut self.created, 1)?;
                more("ordered", &mut self.ordered, u64::from(*lines))
            }
            What::Confirmed { .. } => more("confirmed", &mut self.confirmed, 1),
            What::Cancelled { .. } => more("cancelled", &mut self.cancelled, 1),
            What::Delivered { .. } => more("delivered", &mut self.delivered, 1),
            What::Captured { .. } | What::Refunded { .. } => self.money.count(what),
            What::Viewed { .. } => more("viewed", &mut self.viewed, 1),
            What::AddedToCart { .. } => more("added_to_cart", &mut self.added_to_cart, 1),
            What::Purchased { .. } => more("purchased", &mut self.purchased, 1),
            What::Voided { .. } | What::Stock { .. } => Ok(()),
        }
    }

    /// Adds those of another time.
    pub fn add(&mut self, other: &Figures) -> Result<(), TooLarge> {
        more("created", &mut self.created, other.created)?;
        more("confirmed", &mut self.confirmed, other.confirmed)?;
        more("cancelled", &mut self.cancelled, other.cancelled)?;
        more("delivered", &mut self.delivered, other.delivered)?;
        more("orders", &mut self.money.orders, other.money.orders)?;
        sum("captured", &mut self.money.captured, other.money.captured)?;
        sum("refunded", &mut self.money.refunded, other.money.refunded)?;
        more("viewed", &mut self.viewed, other.viewed)?;
        more(
            "added_to_cart",
            &mut self.added_to_cart,
            other.added_to_cart,
        )?;
        more("ordered", &mut self.ordered, other.ordered)?;
        more("purchased", &mut self.purchased, other.purchased)
    }
}

impl Revenue {
    /// Counts money that came in or went back; nothing else is revenue.
    pub fn count(&mut self, what: &What) -> Result<(), TooLarge> {
        match what {
            What::Captured { amount, .. } => {
                more("orders", &mut self.orders, 1)?;
                sum("captured", &mut self.captured, i128::from(*amount))
            }
            What::Refunded { amount, .. } => {
                sum("refunded", &mut self.refunded, i128::from(*amount))
            }
            What::Created { .. }
            | What::Confirmed { .. }
            | What::Cancelled { .. }
            | What::Delivered { .. }
            | What::Voided { .. }
            | What::Viewed { .. }
            | What::AddedToCart { .. }
            | What::Purchased { .. }
            | What::Stock { .. } => Ok(()),
        }
    }

    /// Whether there was any.
    pub fn is_any(&self) -> bool {
        *self != Revenue::default()
    }

    /// What is left.
    pub fn net(&self) -> Result<i128, TooLarge> {
        let figure = "net";
        self.captured
            .checked_sub(self.refunded)
            .ok_or(TooLarge { figure })
    }

    /// What an order brought in, without fractions of the minor unit (they are cut off); 0 while
    /// none has been paid for.
    pub fn average(&self) -> i128 {
        self.captured
            .checked_div(i128::from(self.orders))
            .unwrap_or(0)
    }
}

impl Sales {
    /// Of a product of which nothing has been sold.
    pub fn none() -> Sales {
        Sales {
            name: String::new(),
            named_at: Timestamp(i64::MIN),
            units: 0,
            revenue: 0,
        }
    }

    /// Counts a purchase; nothing else is one.
    pub fn count(&mut self, fact: &Fact) -> Result<(), TooLarge> {
        let What::Purchased {
            name,
            quantity,
            unit_price,
            ..
        } = &fact.what
        else {
            return Ok(());
        };
        more("units", &mut self.units, u64::from(*quantity))?;
        let paid = i128::from(*unit_price) * i128::from(*quantity);
        sum("revenue", &mut self.revenue, paid)?;
        self.call(fact.at, name);
        Ok(())
    }

    /// Adds those of another time.
    pub fn add(&mut self, other: &Sales) -> Result<(), TooLarge> {
        more("units", &mut self.units, other.units)?;
        sum("revenue", &mut self.revenue, other.revenue)?;
        self.call(other.named_at, &other.name);
        Ok(())
    }

    /// Of two names of one instant the greater one wins, so that their order does not matter.
    fn call(&mut self, at: Timestamp, name: &String) {
        if (at, name) > (self.named_at, &self.name) {
            (self.named_at, self.name) = (at, name.clone());
        }
    }
}

fn more(figure: &'static str, count: &mut u64, by: u64) -> Result<(), TooLarge> {
    *count = count.checked_add(by).ok_or(TooLarge { figure })?;
    Ok(())
}

pub(super) fn sum(figure: &'static str, total: &mut i128, by: i128) -> Result<(), TooLarge> {
    *total = total.checked_add(by).ok_or(TooLarge { figure })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use uuid::Uuid;

    use super::*;
    use crate::ids::{OrderId, ProductId, UserId};

    fn captured(amount: i64) -> What {
        What::Captured {
            order: OrderId(Uuid::nil()),
            customer: UserId(Uuid::nil()),
            amount,
        }
    }

    #[test]
    fn amounts_that_no_i64_holds_together_are_still_summed() {
        let mut revenue = Revenue::default();
        for _ in 0..3 {
            revenue.count(&captured(i64::MAX)).unwrap();
        }
        assert_eq!(revenue.captured, 3 * i128::from(i64::MAX));
        assert_eq!(revenue.average(), i128::from(i64::MAX));
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error_and_never_wraps() {
        let mut revenue = Revenue {
            orders: 1,
            captured: i128::MAX,
            refunded: 0,
        };
        let error = revenue.count(&captured(1)).unwrap_err();
        assert_eq!(error.figure, "captured");
        let mut figures = Figures {
            ordered: u64::MAX,
            ..Figures::default()
        };
        assert!(figures.add(&figures.clone()).is_err());
    }

    #[test]
    fn an_average_cuts_off_fractions_and_is_nothing_without_orders() {
        let mut revenue = Revenue::default();
        assert_eq!(revenue.average(), 0);
        revenue.count(&captured(100)).unwrap();
        revenue.count(&captured(101)).unwrap();
        assert_eq!(revenue.average(), 100);
    }

    #[test]
    fn the_latest_name_of_a_product_stands_whichever_comes_first() {
        let named = |name: &str, at| Fact {
            at: Timestamp(at),
            what: What::Purchased {
                order: OrderId(Uuid::nil()),
                product: ProductId(Uuid::nil()),
                name: name.to_owned(),
                quantity: 1,
                unit_price: 5,
            },
        };
        let facts = [named("a", 1), named("b", 2), named("a", 2)];
        let mut forwards = Sales::none();
        let mut backwards = Sales::none();
        facts.iter().for_each(|fact| forwards.count(fact).unwrap());
        facts
            .iter()
            .rev()
            .for_each(|fact| backwards.count(fact).unwrap());
        assert_eq!(forwards, backwards);
        assert_eq!((forwards.name.as_str(), forwards.units), ("b", 3));
    }
}
