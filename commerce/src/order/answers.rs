//! Answers: what the order service makes of what the others say.
//!
//! Most answers belong to a step, and the saga, which hears them in the same turn after these
//! handlers, moves the order. Here each is noted on the timeline, and decided where it means
//! different things at different times.

use redeliver::prelude::*;

use super::change::{self, Note};
use super::fulfilment::{Fulfilment, is_whole, step};
use super::service::Orders;
use super::tables::{ORDER_FACTS, ORDERS, OrderFacts, TakeBackFor};
use super::{OrderCancelled, OrderConfirmed, OrderStatus, ProductPurchased};
use crate::ids::OrderId;
use crate::inventory::{
    InventoryReservationConfirmed, InventoryReservationExpired, InventoryReservationFailed,
    ReleaseCause, ReservationFailure, StockReleased,
};
use crate::payment::{
    CapturePayment, FailureKind, PaymentCaptureFailed, PaymentCompleted, PaymentConfirmed,
    PaymentFailed, PaymentRefundFailed, PaymentRefunded, RefundKind,
};
use crate::shipping::{
    ShipmentCancellationRefused, ShipmentCancelled, ShipmentCreated, ShipmentDelivered,
    ShipmentDeliveryFailed, ShipmentDispatched, ShipmentReturned,
};

const INVENTORY: &str = "inventory";
const PAYMENT: &str = "payment";
const SHIPPING: &str = "shipping";

fn note<M: Message>(service: &'static str) -> Note {
    Note::new(service, M::NAME)
}

type Cx = Context<Orders>;
type Done = Result<(), Rejection>;

// Inventory.

impl Orders {
    pub(super) fn reserved(&self, held: InventoryReservationConfirmed, cx: &mut Cx) -> Done {
        let note = note::<InventoryReservationConfirmed>(INVENTORY);
        let note = match held.renewed {
            true => note.detail("the reservation had expired and was renewed"),
            false => note,
        };
        change::apply(&held.order_id, note, cx, |_| {})?;
        Ok(())
    }

    /// The answer to the request; or to the confirmation, if the reservation had expired by then.
    pub(super) fn not_reserved(&self, no: InventoryReservationFailed, cx: &mut Cx) -> Done {
        let id = no.order_id;
        let facts = cx.get(ORDER_FACTS, &id)?;
        let reason = shortage(&no, facts.as_ref());
        let note = note::<InventoryReservationFailed>(INVENTORY).detail(reason.clone());
        change::apply(&id, note, cx, |_| {})?;
        match Fulfilment::state(&id, cx)? {
            Some(SagaState::Running {
                step: step::RESERVE,
            }) => {
                Fulfilment::fail(&id, step::RESERVE, Failure::last(reason), cx)?;
            }
            // Cancelled rather than failed: should shipping refuse, the order goes on as it was.
            Some(SagaState::Running {
                step: step::AUTHORISE | step::CONFIRM | step::SHIP,
            })
            | Some(SagaState::Held { .. }) => {
                Fulfilment::cancel(&id, reason, cx)?;
            }
            // The goods have left, or the order is given up already.
            Some(
                SagaState::Running { .. }
                | SagaState::Undoing { .. }
                | SagaState::Completed
                | SagaState::Undone { .. }
                | SagaState::Review { .. },
            )
            | None => {}
        }
        Ok(())
    }

    /// An order that is not paid yet ends with its reservation. One that is paid gets it back, or
    /// is told that it does not, when inventory hears of the confirmation.
    pub(super) fn expired(&self, gone: InventoryReservationExpired, cx: &mut Cx) -> Done {
        let id = gone.order_id;
        let note = note::<InventoryReservationExpired>(INVENTORY);
        change::apply(&id, note, cx, |_| {})?;
        match Fulfilment::state(&id, cx)? {
            Some(SagaState::Running {
                step: step::RESERVE | step::AUTHORISE,
            })
            | Some(SagaState::Held { .. }) => {
                Fulfilment::cancel(&id, "reservation_expired", cx)?;
            }
            Some(
                SagaState::Running { .. }
                | SagaState::Undoing { .. }
                | SagaState::Completed
                | SagaState::Undone { .. }
                | SagaState::Review { .. },
            )
            | None => {}
        }
        Ok(())
    }

    pub(super) fn released(&self, free: StockReleased, cx: &mut Cx) -> Done {
        // An expiry is told by InventoryReservationExpired as well; once is enough.
        if free.cause == ReleaseCause::Requested {
            let note = note::<StockReleased>(INVENTORY);
            change::apply(&free.order_id, note, cx, |_| {})?;
        }
        Ok(())
    }
}

/// Why an order could not be reserved, with each line that is short.
fn shortage(no: &InventoryReservationFailed, facts: Option<&OrderFacts>) -> String {
    match no.reason {
        ReservationFailure::Released => return "reservation_released".to_owned(),
        ReservationFailure::Invalid => return "reservation_refused".to_owned(),
        ReservationFailure::Short => {}
    }
    let lines = no.short.iter().map(|short| {
        let ordered = facts.and_then(|facts| {
            let mut lines = facts.lines.iter();
            lines.find(|line| line.product_id == short.product_id)
        });
        let name = match ordered {
            Some(line) => line.name.clone(),
            None => short.product_id.to_string(),
        };
        format!(
            "{} of {name} wanted, {} there",
            short.requested, short.available
        )
    });
    let lines: Vec<String> = lines.collect();
    match lines.is_empty() {
        true => "out_of_stock".to_owned(),
        false => format!("out_of_stock: {}", lines.join("; ")),
    }
}

// Payment.

impl Orders {
    pub(super) fn authorised(&self, paid: PaymentConfirmed, cx: &mut Cx) -> Done {
        let current = payment_attempts(&paid.order_id, cx)? == paid.attempt;
        let note = note::<PaymentConfirmed>(PAYMENT);
        let note = match current {
            true => note.detail(format!("attempt {}", paid.attempt)),
            false => note.detail(format!("attempt {} was replaced", paid.attempt)),
        };
        change::apply(&paid.order_id, note, cx, |order| {
            if current {
                order.payment_id = Some(paid.payment_id);
                order.payment_failure = None;
            }
        })?;
        Ok(())
    }

    pub(super) fn declined(&self, no: PaymentFailed, cx: &mut Cx) -> Done {
        let current = payment_attempts(&no.order_id, cx)? == no.attempt;
        let kind = match no.kind {
            FailureKind::Hard => "for good",
            FailureKind::Soft => "may be tried again",
        };
        let detail = format!("attempt {}: {}, {kind}", no.attempt, no.reason);
        let note = note::<PaymentFailed>(PAYMENT).detail(detail);
        change::apply(&no.order_id, note, cx, |order| {
            if current {
                order.payment_id = no.payment_id.or(order.payment_id);
                order.payment_failure = Some(no.reason);
            }
        })?;
        Ok(())
    }

    pub(super) fn charged(&self, taken: PaymentCompleted, cx: &mut Cx) -> Done {
        let note = note::<PaymentCompleted>(PAYMENT).detail(taken.captured.to_string());
        let mut first = false;
        change::apply(&taken.order_id, note, cx, |order| {
            first = !std::mem::replace(&mut order.charged, true);
            order.payment_id = Some(taken.payment_id);
            order.reviews.capture = None;
        })?;
        let Some(facts) = cx.get(ORDER_FACTS, &taken.order_id)?.filter(|_| first) else {
            return Ok(());
        };
        for line in facts.lines {
            cx.publish(ProductPurchased {
                order_id: taken.order_id,
                customer_id: taken.customer_id,
                product_id: line.product_id,
                name: line.name,
                quantity: line.quantity,
                unit_price: line.unit_price,
                at: cx.now(),
            });
        }
        Ok(())
    }

    /// The goods have left and the money does not come: a person must look, but the parcel goes
    /// on.
    pub(super) fn not_charged(&self, no: PaymentCaptureFailed, cx: &mut Cx) -> Done {
        let reason = format!("capture_failed: {}", no.reason);
        let note = note::<PaymentCaptureFailed>(PAYMENT).detail(reason.clone());
        change::apply(&no.order_id, note, cx, |order| {
            let over = order.progress == OrderStatus::Cancelled || order.take_back.is_some();
            if !over && !order.charged {
                order.reviews.capture = Some(reason);
            }
        })?;
        Ok(())
    }

    pub(super) fn refunded(&self, back: PaymentRefunded, cx: &mut Cx) -> Done {
        let kind = match back.kind {
            RefundKind::Voided => "what was held is free again".to_owned(),
            RefundKind::Refunded => format!("{} paid back", back.amount),
        };
        let note = note::<PaymentRefunded>(PAYMENT).detail(kind);
        match is_whole(&back) {
            true => self.settle_take_back(&back.order_id, back.payment_id, note, cx),
            // A person's partial refund leaves the order where it stands.
            false => change::apply(&back.order_id, note, cx, |_| {}).map(drop),
        }
    }

    /// Noted only: it is asked for again until its deadline.
    pub(super) fn not_refunded(&self, no: PaymentRefundFailed, cx: &mut Cx) -> Done {
        let note = note::<PaymentRefundFailed>(PAYMENT).detail(no.reason.clone());
        change::apply(&no.order_id, note, cx, |order| {
            order.payment_failure = Some(no.reason);
        })?;
        Ok(())
    }

    /// What payment makes of a capture that a person wants tried again. Whether it works comes as
    /// an event; a refusal leaves the order in review, as it was.
    pub(super) fn capture_asked(&self, said: Replied<CapturePayment>, _: &mut Cx) -> Done {
        if let Err(refusal) = said.result {
            tracing::warn!(code = %refusal.code, "payment refused to capture again");
        }
        Ok(())
    }
}

fn payment_attempts(id: &OrderId, cx: &mut Cx) -> Result<u32, Rejection> {
    let order = cx.get(ORDERS, id)?;
    Ok(order.map_or(0, |order| order.payment_attempts))
}

// The order service itself.

impl Orders {
    pub(super) fn confirmed(&self, own: OrderConfirmed, cx: &mut Cx) -> Done {
        let note = Note::of_order(OrderConfirmed::NAME);
        change::apply(&own.order_id, note, cx, |_| {})?;
        Ok(())
    }

    pub(super) fn cancelled(&self, own: OrderCancelled, cx: &mut Cx) -> Done {
        let note = Note::of_order(OrderCancelled::NAME).detail(own.reason.clone());
        change::apply(&own.order_id, note, cx, |order| {
            order.progress = OrderStatus::Cancelled;
            order.cancel_reason = Some(own.reason);
        })?;
        Ok(())
    }
}

// Shipping.

impl Orders {
    pub(super) fn packed(&self, new: ShipmentCreated, cx: &mut Cx) -> Done {
        let note = note::<ShipmentCreated>(SHIPPING);
        change::apply(&new.order_id, note, cx, |order| {
            order.shipment_id = Some(new.shipment_id);
        })?;
        Ok(())
    }

    pub(super) fn dispatched(&self, left: ShipmentDispatched, cx: &mut Cx) -> Done {
        let detail = format!("{} {}", left.carrier, left.tracking_number);
        let note = note::<ShipmentDispatched>(SHIPPING).detail(detail);
        change::apply(&left.order_id, note, cx, |order| {
            order.dispatched = true;
            order.shipment_id = Some(left.shipment_id);
        })?;
        Ok(())
    }

    pub(super) fn delivered(&self, there: ShipmentDelivered, cx: &mut Cx) -> Done {
        let note = note::<ShipmentDelivered>(SHIPPING);
        change::apply(&there.order_id, note, cx, |_| {})?;
        Ok(())
    }

    /// Noted only: shipping counts, and sends the parcel back after the third time.
    pub(super) fn not_delivered(&self, no: ShipmentDeliveryFailed, cx: &mut Cx) -> Done {
        let back = match no.going_back {
            true => "; it goes back",
            false => "",
        };
        let detail = format!("attempt {}: {}{back}", no.attempt, no.reason);
        let note = note::<ShipmentDeliveryFailed>(SHIPPING).detail(detail);
        change::apply(&no.order_id, note, cx, |_| {})?;
        Ok(())
    }

    pub(super) fn came_back(&self, back: ShipmentReturned, cx: &mut Cx) -> Done {
        let id = &back.order_id;
        let note = note::<ShipmentReturned>(SHIPPING);
        let over = cx
            .get(ORDERS, id)?
            .is_some_and(|order| order.progress.is_undone());
        match over {
            // The money is back already.
            true => change::apply(id, note, cx, |_| {}).map(drop),
            false => self.begin_take_back(id, TakeBackFor::Return, note, cx),
        }
    }

    pub(super) fn kept_back(&self, kept: ShipmentCancelled, cx: &mut Cx) -> Done {
        let note = note::<ShipmentCancelled>(SHIPPING);
        change::apply(&kept.order_id, note, cx, |_| {})?;
        Ok(())
    }

    pub(super) fn not_kept_back(&self, left: ShipmentCancellationRefused, cx: &mut Cx) -> Done {
        let note = note::<ShipmentCancellationRefused>(SHIPPING)
            .detail("the parcel has left already; the order goes on");
        change::apply(&left.order_id, note, cx, |order| {
            order.dispatched = true;
            order.shipment_id = Some(left.shipment_id);
        })?;
        Ok(())
    }
}
