//! The fulfilment of an order: the saga that leads it through the services.
//!
//! ```text
//! step       asks                            until it hears            undone by
//! reserve    InventoryReservationRequested   …Confirmed, …Failed       InventoryReservationReleased
//! authorise  PaymentRequested                PaymentConfirmed, …Failed PaymentRefundRequested
//! confirm    OrderConfirmed                  its own OrderConfirmed    ShipmentCancellationRequested
//! ship       (a person)                      ShipmentDispatched
//! deliver    (the carrier)                   ShipmentDelivered
//! ```
//!
//! It is the confirmation that makes a parcel exist, so undoing it is what keeps the parcel from
//! leaving; refused, the order goes on to be shipped. The money is taken by payment when the
//! parcel leaves. What comes after that (a capture that fails, a parcel that comes back) is not a
//! step: see [`take_back`](super::take_back) and [`answers`](super::answers).

use std::time::Duration;

use redeliver::prelude::*;

use super::change::{self, Note};
use super::service::Orders;
use super::tables::ORDERS;
use super::{
    Address, InventoryReservationReleased, InventoryReservationRequested, OrderCancelled,
    OrderConfirmed, OrderDelivered, OrderLine, OrderShipped, OrderStatus, PaymentRefundRequested,
    PaymentRequested, ShipmentCancellationRequested,
};
use crate::ids::{OrderId, PaymentId, RefundId, ShipmentId, UserId};
use crate::inventory::{InventoryReservationConfirmed, ReleaseCause, StockReleased, Units};
use crate::money::{Currency, Money};
use crate::payment::{FailureKind, PaymentConfirmed, PaymentFailed, PaymentRefunded, SealedMethod};
use crate::privacy::Sealed;
use crate::shipping::{
    ShipmentCancellationRefused, ShipmentCancelled, ShipmentDelivered, ShipmentDispatched,
    ShipmentReturned,
};

/// Attempts to pay for one order.
pub const PAYMENT_ATTEMPTS_MAX: u32 = 3;

/// Delay before an unanswered compensation is asked for again; doubles up to the longest.
pub const ASK_AGAIN_AFTER: Duration = seconds(30);
/// The longest such delay.
pub const ASK_AGAIN_AFTER_MAX: Duration = hours(1);

/// The steps' names.
pub mod step {
    /// Inventory holds the goods.
    pub const RESERVE: &str = "reserve";
    /// Payment holds the money.
    pub const AUTHORISE: &str = "authorise";
    /// Everybody is told that the order can be sent.
    pub const CONFIRM: &str = "confirm";
    /// The parcel leaves.
    pub const SHIP: &str = "ship";
    /// The parcel arrives.
    pub const DELIVER: &str = "deliver";
}

/// How long an order waits for its answers. Fixed when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadlines {
    /// For the reservation.
    pub reservation: Duration,
    /// For the authorisation.
    pub authorisation: Duration,
    /// For a compensation, before a person must look.
    pub compensation: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            reservation: seconds(30),
            authorisation: minutes(2),
            compensation: hours(24),
        }
    }
}

/// Leads an order from its acceptance to its delivery, or back to where nothing has happened.
pub struct Fulfilment;

/// What the saga knows of its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// Whose it is.
    pub customer_id: UserId,
    /// What was ordered.
    pub lines: Vec<OrderLine>,
    /// What it costs.
    pub total: Money,
    /// Where it goes.
    pub ship_to: Sealed<Address>,
    /// What pays for the current attempt.
    pub method: SealedMethod,
    /// How long to wait.
    pub deadlines: Deadlines,
    /// What has authorised it.
    pub payment_id: Option<PaymentId>,
    /// What has left.
    pub parcel: Option<Parcel>,
    /// Its parcel came back before it arrived.
    pub returned: bool,
}

/// A parcel on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Which.
    pub shipment_id: ShipmentId,
    /// Who carries it.
    pub carrier: String,
    /// How to follow it.
    pub tracking_number: String,
    /// When it left.
    pub at: Timestamp,
}

impl Course {
    fn units(&self) -> Vec<Units> {
        self.lines.iter().map(OrderLine::units).collect()
    }
}

impl Saga for Fulfilment {
    const NAME: &'static str = "fulfilment";
    type Service = Orders;
    type Id = OrderId;
    type Data = Course;

    fn steps(steps: &mut Steps<Self>) {
        steps
            .step(step::RESERVE)
            .publishes(|order| InventoryReservationRequested {
                order_id: *order.id,
                lines: order.data.units(),
                at: order.now,
            })
            // Failure and expiry mean different things at different times: see `answers`. One
            // that was renewed is no answer to us.
            .succeeds_on(|held: &InventoryReservationConfirmed| {
                (!held.renewed).then_some(held.order_id)
            })
            .deadline_of(|order| order.deadlines.reservation)
            .undo_publishes(|order| InventoryReservationReleased {
                order_id: *order.id,
                reason: reason(order.reason),
                at: order.now,
            })
            .undone_on(|free: &StockReleased| match free.cause {
                ReleaseCause::Requested => Some(free.order_id),
                ReleaseCause::Expired => None,
            })
            .undo_deadline_of(|order| order.deadlines.compensation)
            .undo_again_after(ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_MAX);
        steps
            .step(step::AUTHORISE)
            .publishes(|order| PaymentRequested {
                order_id: *order.id,
                customer_id: order.data.customer_id,
                attempt: order.attempt,
                amount: order.data.total,
                method: order.data.method.clone(),
                at: order.now,
            })
            .succeeds_with(
                |paid: &PaymentConfirmed| (paid.order_id, paid.attempt),
                |order, paid| order.payment_id = Some(paid.payment_id),
            )
            .fails_on(
                |no: &PaymentFailed| (no.order_id, no.attempt),
                |no| match no.kind {
                    FailureKind::Hard => Failure::last(no.reason.clone()),
                    FailureKind::Soft => Failure::hold(no.reason.clone()),
                },
            )
            .deadline_of(|order| order.deadlines.authorisation)
            .attempts_max(PAYMENT_ATTEMPTS_MAX)
            // Payment frees what an earlier attempt holds when it is asked for the next one.
            .next_attempt_replaces()
            .undo_publishes(|order| {
                let (customer, currency) = (order.data.customer_id, order.data.total.currency);
                refund_request(
                    *order.id,
                    customer,
                    currency,
                    reason(order.reason),
                    order.now,
                )
            })
            // One that failed is asked for again until its deadline: only success is an answer.
            .undone_on(|back: &PaymentRefunded| is_whole(back).then_some(back.order_id))
            .undo_deadline_of(|order| order.deadlines.compensation)
            .undo_again_after(ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_MAX);
        steps
            .step(step::CONFIRM)
            .publishes(|order| OrderConfirmed {
                order_id: *order.id,
                customer_id: order.data.customer_id,
                lines: order.data.units(),
                total: order.data.total,
                // Set by the success of the step before.
                payment_id: order.data.payment_id.unwrap_or(PaymentId(order.id.0)),
                ship_to: order.data.ship_to.clone(),
                at: order.now,
            })
            .succeeds_on(|own: &OrderConfirmed| own.order_id)
            .undo_publishes(|order| ShipmentCancellationRequested {
                order_id: *order.id,
                reason: reason(order.reason),
                at: order.now,
            })
            .undone_on(|kept: &ShipmentCancelled| kept.order_id)
            .undo_refused_on(|left: &ShipmentCancellationRefused| left.order_id)
            .undo_deadline_of(|order| order.deadlines.compensation)
            .undo_again_after(ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_MAX);
        steps.step(step::SHIP).succeeds_with(
            |left: &ShipmentDispatched| left.order_id,
            |order, left| {
                order.parcel = Some(Parcel {
                    shipment_id: left.shipment_id,
                    carrier: left.carrier.clone(),
                    tracking_number: left.tracking_number.clone(),
                    at: left.at,
                });
            },
        );
        // A parcel that comes back has ended its way, too.
        steps
            .step(step::DELIVER)
            .succeeds_on(|there: &ShipmentDelivered| there.order_id)
            .succeeds_with(
                |back: &ShipmentReturned| back.order_id,
                |order, _| order.returned = true,
            );
    }

    fn moved(
        id: &OrderId,
        order: &Course,
        state: &SagaState,
        cx: &mut Context<Orders>,
    ) -> Result<(), Rejection> {
        let note = Note::of_order("deadline").maybe(match state {
            SagaState::Undoing { reason, .. }
            | SagaState::Held { reason, .. }
            | SagaState::Review { reason, .. } => Some(reason.clone()),
            SagaState::Running { .. } | SagaState::Completed | SagaState::Undone { .. } => None,
        });
        let under_way = match state {
            SagaState::Running { step: at } => *at == step::DELIVER,
            SagaState::Completed => true,
            _ => false,
        };
        let mut leaves = None;
        change::apply(id, note, cx, |row| {
            row.reviews.undo = match state {
                SagaState::Review { reason, .. } => Some(reason.clone()),
                _ => None,
            };
            // Nobody is told that an order is on its way after it was given up.
            if under_way && !row.shipped && !row.is_given_up() {
                leaves = order.parcel.as_ref();
                row.shipped = leaves.is_some();
            }
            // Money that goes back after the parcel had left decides where the order stands.
            if row.take_back.is_some() || row.progress == OrderStatus::Cancelled {
                return;
            }
            if let Some(progress) = progress(state) {
                row.progress = progress;
            }
            if row.progress == OrderStatus::Reserved {
                row.payment_attempts = row.payment_attempts.max(1);
            }
            match state {
                SagaState::Undoing { reason, .. } | SagaState::Undone { reason } => {
                    row.cancel_reason = Some(reason.clone());
                }
                SagaState::Running { .. } | SagaState::Completed => row.cancel_reason = None,
                SagaState::Held { .. } | SagaState::Review { .. } => {}
            }
        })?;
        if let Some(parcel) = leaves {
            cx.publish(OrderShipped {
                order_id: *id,
                customer_id: order.customer_id,
                shipment_id: parcel.shipment_id,
                carrier: parcel.carrier.clone(),
                tracking_number: parcel.tracking_number.clone(),
                at: cx.now(),
            });
        }
        Ok(())
    }

    fn finished(
        id: &OrderId,
        order: &Course,
        outcome: &SagaOutcome,
        cx: &mut Context<Orders>,
    ) -> Result<(), Rejection> {
        if cx
            .get(ORDERS, id)?
            .is_some_and(|row| row.take_back.is_some())
        {
            return Ok(());
        }
        match (outcome, &order.parcel) {
            (SagaOutcome::Completed, Some(parcel)) if !order.returned => {
                cx.publish(OrderDelivered {
                    order_id: *id,
                    customer_id: order.customer_id,
                    shipment_id: parcel.shipment_id,
                    at: cx.now(),
                });
            }
            (SagaOutcome::Completed, _) => {}
            (SagaOutcome::Undone { reason }, _) => cx.publish(OrderCancelled {
                order_id: *id,
                customer_id: order.customer_id,
                reason: reason.clone(),
                total: order.total,
                at: cx.now(),
            }),
        }
        Ok(())
    }
}

/// The status that a saga's state stands for; `None` leaves it as it is.
fn progress(state: &SagaState) -> Option<OrderStatus> {
    Some(match state {
        SagaState::Running { step: at } => match *at {
            step::RESERVE => OrderStatus::Pending,
            step::AUTHORISE => OrderStatus::Reserved,
            step::CONFIRM => OrderStatus::Paid,
            step::SHIP => OrderStatus::Confirmed,
            _ => OrderStatus::Shipped,
        },
        SagaState::Held { .. } => OrderStatus::PaymentFailed,
        // Its own OrderCancelled makes it cancelled.
        SagaState::Undoing { .. } | SagaState::Undone { .. } => OrderStatus::Cancelling,
        SagaState::Completed => OrderStatus::Delivered,
        SagaState::Review { .. } => return None,
    })
}

/// Asks payment to give back all that the order has cost.
pub(super) fn refund_request(
    order_id: OrderId,
    customer_id: UserId,
    currency: Currency,
    reason: String,
    at: Timestamp,
) -> PaymentRefundRequested {
    PaymentRefundRequested {
        order_id,
        customer_id,
        refund_id: RefundId::of_whole_order(order_id),
        amount: None,
        currency,
        reason,
        at,
    }
}

/// Whether it answers [`refund_request`]; others are partial refunds of a person.
pub(super) fn is_whole(back: &PaymentRefunded) -> bool {
    back.refund_id == RefundId::of_whole_order(back.order_id)
}

fn reason(reason: Option<&str>) -> String {
    reason.unwrap_or("cancelled").to_owned()
}
