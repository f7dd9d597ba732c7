//! Stock: how many of a product there are, and how many of them are spoken for.
//!
//! `on_hand = available + reserved`, none below zero, after every operation: an operation that
//! would break this is refused and changes nothing.

use serde::{Deserialize, Serialize};

use crate::ids::ProductId;
use crate::inventory::{ProductStock, Shortfall, Units};

/// More units of one product than any shop has; keeps sums far from overflow.
pub const UNITS_MAX: u64 = 1_000_000_000_000;

/// The stock of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Its stock keeping unit.
    pub sku: String,
    /// Its name.
    pub name: String,
    /// How many there are.
    pub on_hand: u64,
    /// How many of them are reserved.
    pub reserved: u64,
    /// At how many available ones it is time to reorder.
    pub reorder_level: u64,
    /// Whether it has been said that it is time to reorder.
    pub low: bool,
    /// How often the number on hand has changed.
    pub changes: u64,
}

/// Why the number on hand cannot change like that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CannotAdjust {
    /// There would be fewer than are reserved.
    Reserved,
    /// There would be more than [`UNITS_MAX`].
    TooMany,
}

impl Stock {
    /// How many nobody has reserved.
    pub fn available(&self) -> u64 {
        self.on_hand.saturating_sub(self.reserved)
    }

    /// Reserves `quantity`; whether there were enough.
    #[must_use]
    pub fn reserve(&mut self, quantity: u64) -> bool {
        let enough = quantity <= self.available();
        if enough {
            self.reserved += quantity;
        }
        enough
    }

    /// Frees reserved units.
    pub fn release(&mut self, quantity: u64) {
        self.reserved = self.reserved.saturating_sub(quantity);
    }

    /// Takes reserved units away.
    pub fn deduct(&mut self, quantity: u64) {
        let quantity = quantity.min(self.reserved);
        self.reserved -= quantity;
        self.on_hand = self.on_hand.saturating_sub(quantity);
    }

    /// Changes the number on hand; what is reserved stays.
    pub fn adjust(&mut self, delta: i64) -> Result<(), CannotAdjust> {
        let on_hand = self.on_hand.checked_add_signed(delta).ok_or(if delta < 0 {
            CannotAdjust::Reserved
        } else {
            CannotAdjust::TooMany
        })?;
        if on_hand < self.reserved {
            return Err(CannotAdjust::Reserved);
        }
        if on_hand > UNITS_MAX {
            return Err(CannotAdjust::TooMany);
        }
        self.on_hand = on_hand;
        Ok(())
    }

    /// Notes on which side of the reorder level it is; whether it has just come down to it.
    #[must_use]
    pub fn crosses_reorder_level(&mut self) -> bool {
        let low = self.available() <= self.reorder_level;
        let crosses = low && !self.low;
        self.low = low;
        crosses
    }

    /// As the outside sees it.
    pub fn view(&self, product_id: ProductId) -> ProductStock {
        ProductStock {
            product_id,
            sku: self.sku.clone(),
            name: self.name.clone(),
            on_hand: self.on_hand,
            reserved: self.reserved,
            available: self.available(),
            reorder_level: self.reorder_level,
        }
    }
}

/// The lines of an order with each product once and none empty; `None` if that is no order.
pub fn merged(lines: &[Units]) -> Option<Vec<Units>> {
    let mut merged: Vec<Units> = Vec::with_capacity(lines.len());
    for line in lines {
        let same = merged
            .iter_mut()
            .find(|other| other.product_id == line.product_id);
        match same {
            _ if line.quantity == 0 => return None,
            Some(other) => other.quantity = other.quantity.checked_add(line.quantity)?,
            None => merged.push(*line),
        }
    }
    (!merged.is_empty()).then_some(merged)
}

/// Every line that is short. `stock` holds the stock of each line's product, in the same order.
pub fn shortfalls(lines: &[Units], stock: &[Option<Stock>]) -> Vec<Shortfall> {
    let short = |(line, stock): (&Units, &Option<Stock>)| {
        let requested = u64::from(line.quantity);
        let available = stock.as_ref().map_or(0, Stock::available);
        (requested > available).then_some(Shortfall {
            product_id: line.product_id,
            requested,
            available,
        })
    };
    lines.iter().zip(stock).filter_map(short).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    fn stock(on_hand: u64, reserved: u64) -> Stock {
        Stock {
            sku: "LAMP".into(),
            name: "Lamp".into(),
            on_hand,
            reserved,
            reorder_level: 5,
            low: false,
            changes: 0,
        }
    }

    fn line(product: u128, quantity: u32) -> Units {
        Units {
            product_id: ProductId(Uuid::from_u128(product)),
            quantity,
        }
    }

    #[test]
    fn reserved_stock_cannot_be_reserved_again_or_adjusted_away() {
        let mut lamp = stock(10, 8);
        assert!(!lamp.reserve(3));
        assert!(lamp.reserve(2));
        assert_eq!(lamp.adjust(-1), Err(CannotAdjust::Reserved));
        assert_eq!(lamp.adjust(i64::MIN), Err(CannotAdjust::Reserved));
        assert_eq!(lamp.adjust(i64::MAX), Err(CannotAdjust::TooMany));
        assert_eq!((lamp.on_hand, lamp.reserved, lamp.available()), (10, 10, 0));
    }

    #[test]
    fn coming_down_to_the_reorder_level_counts_once_until_it_is_left_again() {
        let mut lamp = stock(6, 0);
        assert!(!lamp.crosses_reorder_level());
        assert!(lamp.reserve(1));
        assert!(lamp.crosses_reorder_level());
        assert!(lamp.reserve(1));
        assert!(!lamp.crosses_reorder_level(), "still low");
        lamp.release(2);
        assert!(!lamp.crosses_reorder_level());
        assert!(lamp.reserve(2));
        assert!(lamp.crosses_reorder_level(), "low again");
    }

    #[test]
    fn lines_of_one_product_count_together() {
        assert_eq!(
            merged(&[line(1, 2), line(2, 1), line(1, 3)]),
            Some(vec![line(1, 5), line(2, 1)])
        );
        assert_eq!(merged(&[]), None);
        assert_eq!(merged(&[line(1, 0)]), None);
        assert_eq!(merged(&[line(1, u32::MAX), line(1, 1)]), None);
    }

    #[test]
    fn every_short_line_is_named() {
        let short = shortfalls(
            &[line(1, 2), line(2, 7), line(3, 1)],
            &[Some(stock(2, 0)), Some(stock(9, 3)), None],
        );
        let numbers: Vec<_> = short
            .iter()
            .map(|short| (short.requested, short.available))
            .collect();
        assert_eq!(numbers, [(7, 6), (1, 0)]);
    }
}
