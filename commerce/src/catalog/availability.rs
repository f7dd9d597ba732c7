//! Availability: how many of each product a buyer can have, as inventory's events add up.
//!
//! Only inventory knows; the catalog follows, and agrees as soon as everything is quiet. Changes
//! on hand come in the order of their product, reservations in the order of their order, and the
//! two in no order that is promised. So nothing here depends on that: of each line of an order is
//! kept what was reserved and what has left, and it takes the larger of the two. (An order asks
//! for its goods once; a confirmation that is repeated is known by what the order holds.)
//!
//! | event | reserved | left | on hand |
//! |---|---|---|---|
//! | `InventoryReservationConfirmed` of something new | + | | |
//! | `StockReleased`, also when it expired | − | | |
//! | `StockAdjusted` with reason `deducted` | | + | |
//! | `StockAdjusted` otherwise | | | ± |
//!
//! What an order holds is forgotten when as much has left as was reserved. Goods that have left
//! without a reservation wait for one that may only have been overtaken, but not for ever.

use std::time::Duration;

use redeliver::prelude::*;

use super::Catalog;
use super::tables::{AVAILABILITY, HELD};
use crate::ids::{OrderId, ProductId};
use crate::inventory::{
    AdjustmentReason, InventoryReservationConfirmed, StockAdjusted, StockReleased, Units,
};

/// How long goods that have left wait for their reservation to be heard of: longer than inventory
/// remembers it.
const OVERTAKEN_FOR: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// No reservation is to be heard of any more for what has left for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreservedForgotten {
    /// For which.
    pub order_id: OrderId,
}

timer!(UnreservedForgotten, "unreserved-forgotten", order_id);

/// What an order holds of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Of which.
    pub product_id: ProductId,
    /// How many are reserved for it, those included that have left.
    pub reserved: i64,
    /// How many have left for it.
    pub left: i64,
}

impl Held {
    /// How many others cannot have.
    fn taken(self) -> i64 {
        self.reserved.max(self.left)
    }

    /// Whether all that was reserved has left, or nothing ever was: nothing more is to come.
    fn is_over(self) -> bool {
        self.reserved == self.left
    }

    /// Whether nothing is reserved any more, as far as is known, and yet it does not add up:
    /// goods have left without a reservation, or once theirs was over.
    fn is_unreserved(self) -> bool {
        self.reserved <= 0 && !self.is_over()
    }
}

impl Catalog {
    pub(super) fn reserved(
        &self,
        confirmed: InventoryReservationConfirmed,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        // What does not expire and is not renewed repeats what was said before.
        let repeated = confirmed.expires_at.is_none() && !confirmed.renewed;
        let order = confirmed.order_id;
        let known = cx.get(HELD, &order)?.unwrap_or_default();
        let holds = known.iter().any(|line| line.reserved > 0);
        if repeated || holds {
            return Ok(());
        }
        let changes = confirmed.lines.iter();
        let changes = changes.map(|line| (line.product_id, units(line), 0));
        self.hold(order, changes, cx)
    }

    pub(super) fn released(
        &self,
        released: StockReleased,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let changes = released.lines.iter();
        let changes = changes.map(|line| (line.product_id, -units(line), 0));
        self.hold(released.order_id, changes, cx)
    }

    pub(super) fn adjusted(
        &self,
        change: StockAdjusted,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match (change.reason, change.order_id) {
            (AdjustmentReason::Deducted, Some(order)) => {
                let left = [(change.product_id, 0, change.delta.saturating_neg())];
                self.hold(order, left, cx)
            }
            (
                AdjustmentReason::Received
                | AdjustmentReason::Corrected
                | AdjustmentReason::Damaged
                | AdjustmentReason::Returned
                | AdjustmentReason::Deducted,
                _,
            ) => self.add(change.product_id, change.delta, cx),
        }
    }

    /// Takes from what an order holds the goods that left without a reservation. They are gone
    /// either way; only the row goes.
    pub(super) fn forget_unreserved(
        &self,
        due: UnreservedForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let Some(mut lines) = cx.get(HELD, &due.order_id)? else {
            return Ok(());
        };
        lines.retain(|line| !line.is_unreserved());
        if lines.is_empty() {
            cx.remove(HELD, &due.order_id)?;
        } else {
            cx.put(HELD, &due.order_id, &lines)?;
        }
        Ok(())
    }

    /// How many of a product a buyer can have.
    pub(super) fn available(product: &ProductId, view: &View<Self>) -> Result<u64, Rejection> {
        let sum = view.get(AVAILABILITY, product)?.unwrap_or(0);
        Ok(u64::try_from(sum).unwrap_or(0))
    }

    /// Notes for each product how many more are reserved for an order, and how many more left.
    fn hold(
        &self,
        order: OrderId,
        changes: impl IntoIterator<Item = (ProductId, i64, i64)>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let before = cx.get(HELD, &order)?;
        let mut lines = before.clone().unwrap_or_default();
        for (product_id, reserved, left) in changes {
            let place = lines.iter().position(|line| line.product_id == product_id);
            let mut line = match place {
                Some(place) => lines.swap_remove(place),
                None => Held {
                    product_id,
                    reserved: 0,
                    left: 0,
                },
            };
            let taken = line.taken();
            line.reserved += reserved;
            line.left += left;
            self.add(product_id, taken - line.taken(), cx)?;
            if !line.is_over() {
                lines.push(line);
            }
            if line.is_unreserved() {
                cx.after(OVERTAKEN_FOR, UnreservedForgotten { order_id: order });
            }
        }
        match (before, lines.is_empty()) {
            (None, true) => {}
            (Some(_), true) => cx.remove(HELD, &order)?,
            (_, false) => cx.put(HELD, &order, &lines)?,
        }
        Ok(())
    }

    fn add(&self, product: ProductId, delta: i64, cx: &mut Context<Self>) -> Result<(), Rejection> {
        if delta == 0 {
            return Ok(());
        }
        let before = cx.get(AVAILABILITY, &product)?.unwrap_or(0);
        cx.put(AVAILABILITY, &product, &before.saturating_add(delta))?;
        cx.notify(&product);
        Ok(())
    }
}

fn units(line: &Units) -> i64 {
    i64::from(line.quantity)
}
