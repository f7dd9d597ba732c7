//! Pricing: what an order costs by the price list, and whether it can be accepted at all.
//!
//! Pure functions over values; the price list comes in as a function.

use redeliver::{Rejection, RejectionKind};

use super::tables::Price;
use super::{Address, OrderItem, OrderLine};
use crate::ids::ProductId;
use crate::money::{Currency, Money, MoneyError};
use crate::payment::PaymentMethod;

/// Lines of an order at most.
pub const LINES_MAX: usize = 100;
/// Units of a line at most.
pub const QUANTITY_MAX: i64 = 999;
/// Bytes of a name, a reason or a part of an address at most.
pub const TEXT_BYTES_MAX: usize = 500;

/// The lines at the prices of now, and their total.
pub fn priced(
    items: &[OrderItem],
    currency: Currency,
    mut price_of: impl FnMut(ProductId) -> Result<Option<Price>, Rejection>,
) -> Result<(Vec<OrderLine>, Money), Rejection> {
    if items.is_empty() || items.len() > LINES_MAX {
        return Err(Rejection::invalid(
            "invalid_items",
            format!(
                "an order has 1 to {LINES_MAX} lines, not {}; order more often or less at once",
                items.len()
            ),
        ));
    }
    let mut lines: Vec<OrderLine> = Vec::with_capacity(items.len());
    for item in items {
        let product_id = item.product_id;
        if lines.iter().any(|line| line.product_id == product_id) {
            return Err(Rejection::invalid(
                "duplicate_product",
                format!("product {product_id} is on two lines; put all of it on one"),
            )
            .with("product_id", product_id));
        }
        let quantity = quantity(product_id, item.quantity)?;
        let Some(price) = price_of(product_id)?.filter(|price| price.published) else {
            return Err(unknown_product(product_id));
        };
        if price.price.currency != currency {
            return Err(MoneyError::CurrencyMismatch {
                left: price.price.currency,
                right: currency,
            }
            .into());
        }
        lines.push(OrderLine {
            product_id,
            sku: price.sku,
            name: price.name,
            quantity,
            unit_price: price.price,
        });
    }
    let mut total = Money::zero(currency);
    for line in &lines {
        total = total.plus(line.unit_price.times(line.quantity)?)?;
    }
    Ok((lines, total))
}

/// How many of a product are on a line.
pub fn quantity(product_id: ProductId, asked: i64) -> Result<u32, Rejection> {
    match u32::try_from(asked) {
        Ok(quantity) if (1..=QUANTITY_MAX).contains(&asked) => Ok(quantity),
        Ok(_) | Err(_) => Err(Rejection::invalid(
            "invalid_quantity",
            format!(
                "quantity {asked} of product {product_id} is out of range; use 1 to {QUANTITY_MAX}"
            ),
        )
        .with("product_id", product_id)),
    }
}

/// Why a line is refused whose product is not on the price list, or not to be ordered.
pub fn unknown_product(product_id: ProductId) -> Rejection {
    Rejection::invalid(
        "unknown_product",
        format!("product {product_id} cannot be ordered; leave it out"),
    )
    .with("product_id", product_id)
}

/// Whether the customer and the price list agree on what the order costs.
pub fn agreed(total: Money, expected: Option<Money>) -> Result<(), Rejection> {
    let Some(expected) = expected else {
        return Ok(());
    };
    if expected.currency != total.currency {
        return Err(MoneyError::CurrencyMismatch {
            left: expected.currency,
            right: total.currency,
        }
        .into());
    }
    if expected != total {
        return Err(Rejection::new(
            RejectionKind::Conflict,
            "total_changed",
            format!("the order costs {total}, not {expected}; look at the prices and order again"),
        )
        .with("total", total.amount)
        .with("currency", total.currency));
    }
    Ok(())
}

/// Whether a parcel could find its way there.
pub fn deliverable(address: &Address) -> Result<(), Rejection> {
    let refuse = |field: &str, why: &str| {
        Rejection::invalid(
            "invalid_address",
            format!("`{field}` of the shipping address {why}"),
        )
        .with("field", field)
    };
    let needed = [
        ("recipient", &address.recipient),
        ("line1", &address.line1),
        ("city", &address.city),
        ("postal_code", &address.postal_code),
    ];
    for (field, text) in needed {
        if text.trim().is_empty() {
            return Err(refuse(field, "is empty; fill it in"));
        }
    }
    let optional = [("line2", &address.line2), ("region", &address.region)]
        .into_iter()
        .filter_map(|(field, text)| Some((field, text.as_ref()?)));
    for (field, text) in needed.into_iter().chain(optional) {
        if text.len() > TEXT_BYTES_MAX {
            return Err(refuse(field, "is too long; use at most 500 bytes"));
        }
    }
    let country = address.country.as_bytes();
    if country.len() != 2 || !country.iter().all(u8::is_ascii_uppercase) {
        return Err(refuse(
            "country",
            "is no country code; use two capital letters, such as DE",
        ));
    }
    Ok(())
}

/// Whether the provider can be asked with this.
pub fn chargeable(method: &PaymentMethod) -> Result<(), Rejection> {
    let token = method.token.reveal();
    if token.trim().is_empty() || token.len() > TEXT_BYTES_MAX {
        return Err(Rejection::invalid(
            "invalid_payment_method",
            "the token of the payment method is empty or too long; use the one that the provider gave",
        ));
    }
    Ok(())
}

/// A text that a person wrote, without the blanks around it.
pub fn text<'a>(field: &str, text: &'a str) -> Result<&'a str, Rejection> {
    let text = text.trim();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(Rejection::invalid(
            "invalid_text",
            format!("`{field}` is empty or too long; use 1 to {TEXT_BYTES_MAX} bytes"),
        )
        .with("field", field));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn item(product: u128, quantity: i64) -> OrderItem {
        OrderItem {
            product_id: ProductId(Uuid::from_u128(product)),
            quantity,
        }
    }

    fn listed(amount: i64) -> Price {
        Price {
            sku: "SKU".to_owned(),
            name: "Mug".to_owned(),
            price: Money::new(amount, Currency::EUR),
            published: true,
        }
    }

    fn code(items: &[OrderItem], price: Option<Price>) -> String {
        priced(items, Currency::EUR, |_| Ok(price.clone()))
            .unwrap_err()
            .code
    }

    #[test]
    fn an_order_that_breaks_a_rule_is_refused_by_the_name_of_the_rule() {
        let mug = Some(listed(999));
        assert_eq!(code(&[], mug.clone()), "invalid_items");
        let many: Vec<OrderItem> = (0..101).map(|n| item(n, 1)).collect();
        assert_eq!(code(&many, mug.clone()), "invalid_items");
        assert_eq!(
            code(&[item(1, 1), item(1, 2)], mug.clone()),
            "duplicate_product"
        );
        for quantity in [0, -1, 1_000, i64::MIN, i64::MAX, 1 << 32] {
            assert_eq!(code(&[item(1, quantity)], mug.clone()), "invalid_quantity");
        }
        assert_eq!(code(&[item(1, 1)], None), "unknown_product");
        let hidden = Price {
            published: false,
            ..listed(999)
        };
        assert_eq!(code(&[item(1, 1)], Some(hidden)), "unknown_product");
        let pounds = Price {
            price: Money::new(1, "GBP".parse().unwrap()),
            ..listed(1)
        };
        assert_eq!(code(&[item(1, 1)], Some(pounds)), "foreign_currency");
        assert_eq!(
            code(&[item(1, 2)], Some(listed(i64::MAX))),
            "amount_too_large"
        );
        assert_eq!(
            code(&[item(1, 1), item(2, 1)], Some(listed(i64::MAX))),
            "amount_too_large"
        );
    }

    #[test]
    fn another_total_than_expected_is_a_conflict_and_another_currency_is_invalid() {
        let total = Money::new(1_998, Currency::EUR);
        assert!(agreed(total, None).is_ok());
        assert!(agreed(total, Some(total)).is_ok());
        let other = agreed(total, Some(Money::new(1, Currency::EUR))).unwrap_err();
        assert_eq!(
            (other.kind, other.code.as_str()),
            (RejectionKind::Conflict, "total_changed")
        );
        let pounds = Money::new(1_998, "GBP".parse().unwrap());
        let other = agreed(total, Some(pounds)).unwrap_err();
        assert_eq!(other.kind, RejectionKind::Invalid);
    }

    #[test]
    fn an_address_without_a_town_or_a_country_is_refused() {
        let address = Address {
            recipient: "A. Shopper".to_owned(),
            line1: "Street 1".to_owned(),
            line2: None,
            city: "Berlin".to_owned(),
            region: None,
            postal_code: "10115".to_owned(),
            country: "DE".to_owned(),
        };
        assert!(deliverable(&address).is_ok());
        let mut townless = address.clone();
        townless.city = " ".to_owned();
        assert!(deliverable(&townless).is_err());
        for country in ["", "de", "DEU", "D1"] {
            let mut elsewhere = address.clone();
            elsewhere.country = country.to_owned();
            assert!(deliverable(&elsewhere).is_err(), "{country}");
        }
        let mut long = address.clone();
        long.line2 = Some("x".repeat(501));
        assert!(deliverable(&long).is_err());
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_price_times_quantity(
            lines in proptest::collection::vec((1i64..1_000_000, 1i64..=999), 1..100)
        ) {
            let items: Vec<OrderItem> = (0..).zip(&lines).map(|(n, (_, q))| item(n, *q)).collect();
            let mut prices = lines.iter().map(|(price, _)| listed(*price));
            let (priced, total) = priced(&items, Currency::EUR, |_| Ok(prices.next())).unwrap();
            prop_assert_eq!(priced.len(), lines.len());
            let sum: i64 = lines.iter().map(|(price, quantity)| price * quantity).sum();
            prop_assert_eq!(total.amount, sum);
        }
    }
}
