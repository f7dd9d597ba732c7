//! Changes of an order: the one way in which its row and its timeline are written.
//!
//! What happens to an order within one turn is one change: one entry, one version, one wake-up of
//! those who wait for it.

use redeliver::prelude::*;

use super::requests::TimelineEntry;
use super::service::Orders;
use super::tables::{Entry, ORDERS, Order, TIMELINE};
use crate::ids::OrderId;

/// Entries of a timeline that are kept; older ones go.
pub const ENTRIES_MAX: u32 = 1_000;

/// What a timeline says of a change.
#[derive(Debug, Clone)]
pub struct Note {
    service: &'static str,
    message: &'static str,
    detail: Option<String>,
}

impl Note {
    /// About this message of this service.
    pub fn new(service: &'static str, message: &'static str) -> Note {
        Note {
            service,
            message,
            detail: None,
        }
    }

    /// About something that the order service did by itself or was told.
    pub fn of_order(message: &'static str) -> Note {
        Note::new(Orders::NAME, message)
    }

    /// In words.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Note {
        self.maybe(Some(detail.into()))
    }

    /// In words, if there are any.
    #[must_use]
    pub fn maybe(mut self, detail: Option<String>) -> Note {
        self.detail = detail;
        self
    }
}

/// Writes a new order and the beginning of its timeline.
pub fn begin(
    id: &OrderId,
    mut order: Order,
    note: Note,
    cx: &mut Context<Orders>,
) -> Result<(), Rejection> {
    order.version = 1;
    order.entries = 1;
    let shown = TimelineEntry {
        at: cx.now(),
        service: note.service.to_owned(),
        message: note.message.to_owned(),
        from: None,
        to: order.status(),
        detail: note.detail,
    };
    let turn = cx.message_id().0;
    cx.put(TIMELINE, &(*id, 1), &Entry { shown, turn })?;
    cx.put(ORDERS, id, &order)?;
    cx.notify(id);
    Ok(())
}

/// Changes an order and notes it. Answers the order as it is then; `None` if there is none, which
/// is logged: whoever told us thinks that there is.
pub fn apply(
    id: &OrderId,
    note: Note,
    cx: &mut Context<Orders>,
    change: impl FnOnce(&mut Order),
) -> Result<Option<Order>, Rejection> {
    let Some(mut order) = cx.get(ORDERS, id)? else {
        tracing::warn!(order = %id, message = note.message, "message about an unknown order");
        return Ok(None);
    };
    let before = order.status();
    change(&mut order);
    let after = order.status();
    let turn = cx.message_id().0;
    // What this turn has written bears its time; anything else need not be looked up.
    let last = match order.updated_at == cx.now() {
        true => cx.get(TIMELINE, &(*id, order.entries))?,
        false => None,
    };
    let (number, shown) = match last {
        Some(last) if last.turn == turn => {
            let shown = TimelineEntry {
                to: after,
                // The first to speak knows what happened; the others only what it led to.
                detail: last.shown.detail.or(note.detail),
                ..last.shown
            };
            (order.entries, shown)
        }
        Some(_) | None => {
            order.version += 1;
            order.entries += 1;
            let shown = TimelineEntry {
                at: cx.now(),
                service: note.service.to_owned(),
                message: note.message.to_owned(),
                from: Some(before),
                to: after,
                detail: note.detail,
            };
            (order.entries, shown)
        }
    };
    cx.put(TIMELINE, &(*id, number), &Entry { shown, turn })?;
    if let Some(oldest) = number.checked_sub(ENTRIES_MAX) {
        cx.remove(TIMELINE, &(*id, oldest))?;
    }
    order.updated_at = cx.now();
    cx.put(ORDERS, id, &order)?;
    if before != after {
        cx.notify(id);
    }
    Ok(Some(order))
}
