//! Reservations: what the inventory service decides when an order asks, is confirmed, leaves, or
//! is given up.

use redeliver::prelude::*;

use super::stock::{Stock, merged, shortfalls};
use super::tables::{RESERVATIONS, RESERVED_OF_PRODUCT, Reservation, STOCK};
use super::{
    AdjustmentReason, Inventory, InventoryReservationConfirmed, InventoryReservationExpired,
    InventoryReservationFailed, ReleaseCause, ReservationFailure, ReservationStatus, Shortfall,
    StockDeducted, StockReleased, Units,
};
use crate::ids::OrderId;
use crate::order::{InventoryReservationReleased, InventoryReservationRequested, OrderConfirmed};
use crate::shipping::ShipmentDispatched;

/// A reservation's time is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationTimeUp {
    /// Whose.
    pub order_id: OrderId,
    /// Which of its reservations: the one that was to expire then.
    pub expires_at: Timestamp,
}

/// A reservation that is over has been remembered long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationForgotten {
    /// Whose.
    pub order_id: OrderId,
}

timer!(ReservationTimeUp, "reservation-time-up", order_id);
timer!(ReservationForgotten, "reservation-forgotten", order_id);

impl Inventory {
    pub(super) fn reserve(
        &self,
        asked: InventoryReservationRequested,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = asked.order_id;
        match cx.get(RESERVATIONS, &order_id)? {
            Some(held) if held.holds() || held.status == ReservationStatus::Deducted => {
                confirm(order_id, held.lines, held.expires_at, false, cx);
                return Ok(());
            }
            Some(over) if over.given_up => {
                fail(order_id, ReservationFailure::Released, Vec::new(), cx);
                return Ok(());
            }
            // An expired reservation is over; asking again starts another.
            Some(over) => {
                for line in &over.lines {
                    cx.remove(RESERVED_OF_PRODUCT, &(line.product_id, order_id))?;
                }
                cx.remove(RESERVATIONS, &order_id)?;
            }
            None => {}
        }
        let Some(lines) = merged(&asked.lines) else {
            fail(order_id, ReservationFailure::Invalid, Vec::new(), cx);
            return Ok(());
        };
        let short = self.hold(order_id, &lines, cx)?;
        if !short.is_empty() {
            fail(order_id, ReservationFailure::Short, short, cx);
            return Ok(());
        }
        let expires_at = cx.now().plus(self.reservation_ttl);
        let timer = cx.at(
            expires_at,
            ReservationTimeUp {
                order_id,
                expires_at,
            },
        );
        let reservation = Reservation {
            lines: lines.clone(),
            status: ReservationStatus::Active,
            given_up: false,
            expires_at: Some(expires_at),
            timer: Some(timer),
            updated_at: cx.now(),
        };
        cx.put(RESERVATIONS, &order_id, &reservation)?;
        confirm(order_id, lines, Some(expires_at), false, cx);
        Ok(())
    }

    pub(super) fn release(
        &self,
        asked: InventoryReservationReleased,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = asked.order_id;
        let held = cx.get(RESERVATIONS, &order_id)?;
        let lines = match held {
            Some(held) if held.holds() => self.free(held.lines, cx)?,
            // What has left, is free already, or never was: nothing becomes free by this.
            Some(_) | None => Vec::new(),
        };
        match cx.get(RESERVATIONS, &order_id)? {
            Some(over) if over.given_up => {}
            // Goods that have left come back as a return, not as a release.
            Some(left) if left.status == ReservationStatus::Deducted => {}
            // It shows what became of it, and is given up all the same.
            Some(over) if over.status == ReservationStatus::Expired => {
                self.end(order_id, ReservationStatus::Expired, true, cx)?;
            }
            Some(_) | None => self.end(order_id, ReservationStatus::Released, true, cx)?,
        }
        cx.publish(StockReleased {
            order_id,
            lines,
            cause: ReleaseCause::Requested,
            at: cx.now(),
        });
        Ok(())
    }

    /// A confirmed order's reservation no longer expires. Had it expired by now, the goods are
    /// reserved again if they are still there.
    pub(super) fn commit(
        &self,
        order: OrderConfirmed,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = order.order_id;
        let held = cx.get(RESERVATIONS, &order_id)?;
        let lines = match held {
            Some(held) => match held.status {
                ReservationStatus::Active => {
                    self.committed(order_id, held.lines, cx)?;
                    return Ok(());
                }
                // Dispatch may be known here before the confirmation it followed.
                ReservationStatus::Committed | ReservationStatus::Deducted => return Ok(()),
                ReservationStatus::Released | ReservationStatus::Expired if held.given_up => {
                    fail(order_id, ReservationFailure::Released, Vec::new(), cx);
                    return Ok(());
                }
                ReservationStatus::Released | ReservationStatus::Expired => held.lines,
            },
            None => order.lines,
        };
        let Some(lines) = merged(&lines) else {
            fail(order_id, ReservationFailure::Invalid, Vec::new(), cx);
            return Ok(());
        };
        let short = self.hold(order_id, &lines, cx)?;
        if !short.is_empty() {
            fail(order_id, ReservationFailure::Short, short, cx);
            return Ok(());
        }
        self.committed(order_id, lines.clone(), cx)?;
        confirm(order_id, lines, None, true, cx);
        Ok(())
    }

    /// The goods have left, whatever we thought of them.
    pub(super) fn deduct(
        &self,
        parcel: ShipmentDispatched,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = parcel.order_id;
        let held = cx.get(RESERVATIONS, &order_id)?;
        let (lines, reserved) = match held {
            Some(held) if held.status == ReservationStatus::Deducted => return Ok(()),
            Some(held) if held.holds() => (held.lines, true),
            Some(_) | None => (merged(&parcel.lines).unwrap_or_default(), false),
        };
        let mut deducted = Vec::with_capacity(lines.len());
        for line in &lines {
            let Some(mut stock) = cx.get(STOCK, &line.product_id)? else {
                tracing::warn!(product = %line.product_id, order = %order_id, "dispatched product has no stock record");
                continue;
            };
            let mut quantity = u64::from(line.quantity);
            if reserved {
                stock.deduct(quantity);
            } else {
                // Others' reservations stay whole: what is missing to this order was counted
                // wrongly before, and a person has to correct it.
                let taken = quantity.min(stock.available());
                if taken < quantity {
                    tracing::warn!(product = %line.product_id, order = %order_id, missing = quantity - taken, "dispatched more than was available; count this product");
                }
                quantity = taken;
                if quantity == 0 || !stock.reserve(quantity) {
                    continue;
                }
                stock.deduct(quantity);
            }
            // Quantities are of lines, which are u32.
            let units = u32::try_from(quantity).unwrap_or(line.quantity);
            let (delta, reason) = (-i64::from(units), AdjustmentReason::Deducted);
            self.record(
                line.product_id,
                &mut stock,
                delta,
                reason,
                Some(order_id),
                cx,
            )?;
            self.save(line.product_id, &mut stock, cx)?;
            deducted.push(Units {
                product_id: line.product_id,
                quantity: units,
            });
        }
        self.end(order_id, ReservationStatus::Deducted, false, cx)?;
        cx.publish(StockDeducted {
            order_id,
            lines: deducted,
            at: cx.now(),
        });
        Ok(())
    }

    pub(super) fn expire(
        &self,
        due: ReservationTimeUp,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = due.order_id;
        let Some(held) = cx.get(RESERVATIONS, &order_id)? else {
            return Ok(());
        };
        if held.status != ReservationStatus::Active || held.expires_at != Some(due.expires_at) {
            return Ok(());
        }
        let lines = self.free(held.lines, cx)?;
        self.end(order_id, ReservationStatus::Expired, false, cx)?;
        let at = cx.now();
        cx.publish(StockReleased {
            order_id,
            lines: lines.clone(),
            cause: ReleaseCause::Expired,
            at,
        });
        cx.publish(InventoryReservationExpired {
            order_id,
            lines,
            at,
        });
        Ok(())
    }

    pub(super) fn forget(
        &self,
        due: ReservationForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let Some(over) = cx.get(RESERVATIONS, &due.order_id)? else {
            return Ok(());
        };
        // Each end sets its own timer; only the one of the last end counts.
        if over.holds() || cx.now() < over.updated_at.plus(self.remember) {
            return Ok(());
        }
        for line in &over.lines {
            cx.remove(RESERVED_OF_PRODUCT, &(line.product_id, due.order_id))?;
        }
        cx.remove(RESERVATIONS, &due.order_id)?;
        Ok(())
    }

    /// Reserves all lines, or none and answers which are short.
    fn hold(
        &self,
        order_id: OrderId,
        lines: &[Units],
        cx: &mut Context<Self>,
    ) -> Result<Vec<Shortfall>, Rejection> {
        let mut stock: Vec<Option<Stock>> = Vec::with_capacity(lines.len());
        for line in lines {
            stock.push(cx.get(STOCK, &line.product_id)?);
        }
        let short = shortfalls(lines, &stock);
        if !short.is_empty() {
            return Ok(short);
        }
        for (line, stock) in lines.iter().zip(stock) {
            let Some(mut stock) = stock else { continue };
            let enough = stock.reserve(u64::from(line.quantity));
            debug_assert!(enough, "shortfalls() looked at the same stock");
            self.save(line.product_id, &mut stock, cx)?;
            let row = (line.product_id, order_id);
            cx.put(RESERVED_OF_PRODUCT, &row, &line.quantity)?;
        }
        Ok(short)
    }

    fn free(&self, lines: Vec<Units>, cx: &mut Context<Self>) -> Result<Vec<Units>, Rejection> {
        for line in &lines {
            if let Some(mut stock) = cx.get(STOCK, &line.product_id)? {
                stock.release(u64::from(line.quantity));
                self.save(line.product_id, &mut stock, cx)?;
            }
        }
        Ok(lines)
    }

    fn committed(
        &self,
        order_id: OrderId,
        lines: Vec<Units>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let before = cx.get(RESERVATIONS, &order_id)?;
        if let Some(timer) = before.and_then(|held| held.timer) {
            cx.cancel(timer);
        }
        let reservation = Reservation {
            lines,
            status: ReservationStatus::Committed,
            given_up: false,
            expires_at: None,
            timer: None,
            updated_at: cx.now(),
        };
        cx.put(RESERVATIONS, &order_id, &reservation)?;
        Ok(())
    }

    /// The reservation no longer holds anything, and is forgotten later.
    fn end(
        &self,
        order_id: OrderId,
        status: ReservationStatus,
        given_up: bool,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let held = cx.get(RESERVATIONS, &order_id)?;
        if let Some(timer) = held.as_ref().and_then(|held| held.timer) {
            cx.cancel(timer);
        }
        let reservation = Reservation {
            lines: held.map(|held| held.lines).unwrap_or_default(),
            status,
            given_up,
            expires_at: None,
            timer: None,
            updated_at: cx.now(),
        };
        cx.put(RESERVATIONS, &order_id, &reservation)?;
        cx.after(self.remember, ReservationForgotten { order_id });
        Ok(())
    }
}

fn confirm(
    order_id: OrderId,
    lines: Vec<Units>,
    expires_at: Option<Timestamp>,
    renewed: bool,
    cx: &mut Context<Inventory>,
) {
    cx.publish(InventoryReservationConfirmed {
        order_id,
        lines,
        expires_at,
        renewed,
        at: cx.now(),
    });
}

fn fail(
    order_id: OrderId,
    reason: ReservationFailure,
    short: Vec<Shortfall>,
    cx: &mut Context<Inventory>,
) {
    cx.publish(InventoryReservationFailed {
        order_id,
        reason,
        short,
        at: cx.now(),
    });
}
