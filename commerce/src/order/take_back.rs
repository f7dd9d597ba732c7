//! Taking back: money that returns to the customer after the parcel had left.
//!
//! The saga undoes what has not left yet. A parcel that came back, or one that could never be
//! charged and is given up, needs only the money to go back: asked for until it is answered, and
//! past the compensation's deadline a person must look.

use redeliver::prelude::*;

use super::change::{self, Note};
use super::fulfilment::{ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_MAX, refund_request};
use super::service::Orders;
use super::tables::{ORDER_FACTS, ORDERS, Order, TakeBack, TakeBackFor};
use super::{OrderCancelled, OrderStatus};
use crate::ids::{OrderId, PaymentId};

/// The return of an order's money had no answer yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundDue {
    /// Which order.
    pub order_id: OrderId,
    /// How often it had been asked for.
    pub sends: u32,
    /// Since when.
    pub since: Timestamp,
}

timer!(RefundDue, "refund-due", order_id);

impl Orders {
    /// Asks for the money for the first time; not again if that was done.
    pub(super) fn begin_take_back(
        &self,
        id: &OrderId,
        purpose: TakeBackFor,
        note: Note,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let since = cx.now();
        let mut begun = false;
        change::apply(id, note, cx, |order| {
            if order.take_back.is_none() {
                begun = true;
                order.take_back = Some(TakeBack {
                    purpose,
                    sends: 0,
                    since,
                    settled: false,
                });
            }
        })?;
        match begun {
            true => self.ask_for_money(id, cx),
            false => Ok(()),
        }
    }

    /// Asks for the money again, as if for the first time: a person wants it.
    pub(super) fn restart_take_back(
        &self,
        id: &OrderId,
        note: Note,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let now = cx.now();
        change::apply(id, note, cx, |order| {
            order.reviews.refund = None;
            if let Some(back) = &mut order.take_back {
                (back.sends, back.since) = (0, now);
            }
        })?;
        self.ask_for_money(id, cx)
    }

    /// The money is back, or a person says so. An order that was given up before its payment was
    /// heard of learns here what its payment is.
    pub(super) fn settle_take_back(
        &self,
        id: &OrderId,
        payment_id: Option<PaymentId>,
        note: Note,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let mut settled = None;
        let order = change::apply(id, note, cx, |order| {
            order.payment_id = payment_id.or(order.payment_id);
            let Some(back) = order.take_back.as_mut().filter(|back| back.is_open()) else {
                return;
            };
            back.settled = true;
            settled = Some(back.purpose);
            order.reviews.refund = None;
            // Whatever could not be taken is not owed any more.
            order.reviews.capture = None;
            if back.purpose == TakeBackFor::Return {
                order.progress = OrderStatus::Returned;
            }
        })?;
        if let (Some(TakeBackFor::WriteOff), Some(order)) = (settled, order) {
            self.publish_written_off(id, order, cx)?;
        }
        Ok(())
    }

    pub(super) fn refund_due(
        &self,
        due: RefundDue,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let id = &due.order_id;
        let order = cx.get(ORDERS, id)?;
        let waiting = order
            .and_then(|order| order.take_back)
            .filter(|back| back.is_open() && (back.sends, back.since) == (due.sends, due.since));
        let Some(back) = waiting else {
            return Ok(());
        };
        let limit = self.deadlines.compensation;
        if cx.now().since(back.since) < limit {
            return self.ask_for_money(id, cx);
        }
        let reason = format!(
            "refund_failed: the money did not go back within {} s; settle it by hand, then resolve the review",
            limit.as_secs()
        );
        let note = Note::of_order("deadline").detail(reason.clone());
        change::apply(id, note, cx, |order| order.reviews.refund = Some(reason))?;
        Ok(())
    }

    fn ask_for_money(&self, id: &OrderId, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let (Some(mut order), Some(facts)) = (cx.get(ORDERS, id)?, cx.get(ORDER_FACTS, id)?) else {
            return Ok(());
        };
        let Some(back) = &mut order.take_back else {
            return Ok(());
        };
        let reason = match back.purpose {
            TakeBackFor::Return => "returned",
            TakeBackFor::WriteOff => "written_off",
        };
        back.sends += 1;
        let (sends, since) = (back.sends, back.since);
        let (customer, currency) = (order.customer_id, facts.total.currency);
        cx.put(ORDERS, id, &order)?;
        let request = refund_request(*id, customer, currency, reason.to_owned(), cx.now());
        cx.publish(request);
        let doubled = ASK_AGAIN_AFTER.saturating_mul(1 << sends.saturating_sub(1).min(16));
        let left = self
            .deadlines
            .compensation
            .saturating_sub(cx.now().since(since));
        // Not at once, even when hardly any time is left: a timer of zero would fire for ever.
        let after = doubled.min(ASK_AGAIN_AFTER_MAX).min(left).max(seconds(1));
        let order_id = *id;
        cx.after(
            after,
            RefundDue {
                order_id,
                sends,
                since,
            },
        );
        Ok(())
    }

    fn publish_written_off(
        &self,
        id: &OrderId,
        order: Order,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let Some(facts) = cx.get(ORDER_FACTS, id)? else {
            return Ok(());
        };
        cx.publish(OrderCancelled {
            order_id: *id,
            customer_id: order.customer_id,
            reason: order
                .cancel_reason
                .unwrap_or_else(|| "written_off".to_owned()),
            total: facts.total,
            at: cx.now(),
        });
        Ok(())
    }
}
