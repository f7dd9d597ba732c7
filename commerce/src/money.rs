//! Money: an integer of minor units and its currency; never a float.
//!
//! Arithmetic is checked: an overflow or a mix of currencies is an error that names both sides.

use std::fmt;
use std::str::FromStr;

use redeliver::Rejection;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// An ISO 4217 currency code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// An amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Money {
    /// Minor units: cents of a euro.
    pub amount: i64,
    /// Of what.
    pub currency: Currency,
}

/// Two amounts could not be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result does not fit.
    #[error("{left} and {right} make more than can be counted; use smaller amounts")]
    Overflow {
        /// One side.
        left: i64,
        /// The other.
        right: i64,
    },
    /// They are of different currencies.
    #[error("{left} and {right} are different currencies; the shop has one, use that")]
    CurrencyMismatch {
        /// One side.
        left: Currency,
        /// The other.
        right: Currency,
    },
    /// It is no currency code.
    #[error("`{0}` is no currency code; use three capital letters, such as EUR")]
    NotACurrency(NotACode),
}

/// The beginning of a text that was to be a currency code; short, since it ends up in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotACode([char; 8], usize);

impl Money {
    /// `amount` minor units of `currency`.
    pub const fn new(amount: i64, currency: Currency) -> Money {
        Money { amount, currency }
    }

    /// Nothing, in this currency.
    pub const fn zero(currency: Currency) -> Money {
        Money::new(0, currency)
    }

    /// The sum.
    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        self.with(other, i64::checked_add)
    }

    /// The difference; may be negative.
    pub fn minus(self, other: Money) -> Result<Money, MoneyError> {
        self.with(other, i64::checked_sub)
    }

    /// This amount `quantity` times.
    pub fn times(self, quantity: u32) -> Result<Money, MoneyError> {
        let right = i64::from(quantity);
        match self.amount.checked_mul(right) {
            Some(amount) => Ok(Money::new(amount, self.currency)),
            None => Err(MoneyError::Overflow {
                left: self.amount,
                right,
            }),
        }
    }

    /// The sum of all; nothing in `currency` if there are none.
    pub fn sum(
        currency: Currency,
        amounts: impl IntoIterator<Item = Money>,
    ) -> Result<Money, MoneyError> {
        amounts
            .into_iter()
            .try_fold(Money::zero(currency), Money::plus)
    }

    fn with(self, other: Money, op: fn(i64, i64) -> Option<i64>) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch {
                left: self.currency,
                right: other.currency,
            });
        }
        match op(self.amount, other.amount) {
            Some(amount) => Ok(Money::new(amount, self.currency)),
            None => Err(MoneyError::Overflow {
                left: self.amount,
                right: other.amount,
            }),
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

impl From<MoneyError> for Rejection {
    fn from(error: MoneyError) -> Rejection {
        let code = match error {
            MoneyError::Overflow { .. } => "amount_too_large",
            MoneyError::CurrencyMismatch { .. } => "foreign_currency",
            MoneyError::NotACurrency(_) => "invalid_currency",
        };
        Rejection::invalid(code, error.to_string())
    }
}

impl Currency {
    /// The euro.
    pub const EUR: Currency = Currency(*b"EUR");

    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Currency, MoneyError> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_uppercase()) => {
                Ok(Currency([*a, *b, *c]))
            }
            _ => Err(MoneyError::NotACurrency(NotACode::of(text))),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let code = text.pattern(Some("^[A-Z]{3}$"));
        code.description(Some("An ISO 4217 currency code.")).into()
    }
}

impl ToSchema for Currency {}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Currency, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl NotACode {
    fn of(text: &str) -> NotACode {
        let mut code = NotACode([' '; 8], 0);
        for (slot, letter) in code.0.iter_mut().zip(text.chars()) {
            *slot = letter;
            code.1 += 1;
        }
        code
    }
}

impl fmt::Display for NotACode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..self.1]
            .iter()
            .try_for_each(|letter| write!(f, "{}", letter.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const fn eur(amount: i64) -> Money {
        Money::new(amount, Currency::EUR)
    }

    #[test]
    fn an_overflow_is_an_error_and_never_wraps() {
        assert!(matches!(
            eur(i64::MAX).plus(eur(1)),
            Err(MoneyError::Overflow { .. })
        ));
        assert!(matches!(
            eur(i64::MIN).minus(eur(1)),
            Err(MoneyError::Overflow { .. })
        ));
        assert!(matches!(
            eur(i64::MAX / 2).times(3),
            Err(MoneyError::Overflow { .. })
        ));
        assert_eq!(eur(999).times(2).unwrap(), eur(1_998));
    }

    #[test]
    fn currencies_do_not_mix() {
        let pounds = Money::new(1, "GBP".parse().unwrap());
        let error = eur(1).plus(pounds).unwrap_err();
        assert_eq!(Rejection::from(error).code, "foreign_currency");
    }

    #[test]
    fn only_three_capital_letters_are_a_currency() {
        for text in ["eur", "EU", "EURO", "", "E R", "€€€", "\u{7}"] {
            assert!(text.parse::<Currency>().is_err(), "{text:?}");
        }
        assert_eq!(
            serde_json::to_string(&eur(1_998)).unwrap(),
            r#"{"amount":1998,"currency":"EUR"}"#
        );
        assert!(serde_json::from_str::<Money>(r#"{"amount":1,"currency":"eur"}"#).is_err());
        assert!(serde_json::from_str::<Money>(r#"{"amount":1.5,"currency":"EUR"}"#).is_err());
    }
}
