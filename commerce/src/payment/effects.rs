//! Carrying out what was decided about a payment, all in the turn that decided it.

use redeliver::prelude::*;

use super::activities::{Authorise, CaptureHeld, LookUp, PayBack, VoidHeld};
use super::decisions::Effect;
use super::key::{Operation, OperationKey};
use super::messages::{
    PaymentCaptureFailed, PaymentCompleted, PaymentConfirmed, PaymentFailed, PaymentRefundFailed,
    PaymentRefunded,
};
use super::record::PaymentRecord;
use super::service::AskProviderAgain;
use super::tables::PAYMENTS;
use super::{CardToken, Payment};
use crate::ids::PaymentId;
use crate::money::Money;
use crate::privacy::Sealed;

impl Payment {
    /// Stores a payment and carries out what follows. `token` is the card of an attempt that was
    /// just requested; it is not stored.
    pub(super) fn carry_out(
        &self,
        payment_id: PaymentId,
        mut record: PaymentRecord,
        effects: Vec<Effect>,
        token: Option<Sealed<CardToken>>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let at = cx.now();
        record.updated_at = at;
        cx.put(PAYMENTS, &payment_id, &record)?;
        cx.notify(&payment_id);
        let (order_id, customer_id) = (record.order_id, record.customer_id);
        let money = |amount| Money::new(amount, record.currency);
        let mut token = token;
        for effect in effects {
            match effect {
                Effect::Operate { operation, amount } => {
                    let (key, amount) = (record.key(operation), money(amount));
                    self.operate(payment_id, &record, key, amount, token.take(), cx);
                }
                Effect::Ask(operation) => {
                    let key = record.key(operation);
                    cx.plan(LookUp { payment_id, key });
                }
                Effect::AskLater(operation) => {
                    let key = record.key(operation);
                    cx.after(self.ask_again_after, AskProviderAgain { payment_id, key });
                }
                Effect::Confirmed { attempt } => cx.publish(PaymentConfirmed {
                    order_id,
                    payment_id,
                    customer_id,
                    attempt,
                    authorised: money(record.authorised()),
                    at,
                }),
                Effect::Failed {
                    attempt,
                    kind,
                    reason,
                } => cx.publish(PaymentFailed {
                    order_id,
                    payment_id: Some(payment_id),
                    customer_id,
                    attempt,
                    kind,
                    reason,
                    at,
                }),
                Effect::Completed => cx.publish(PaymentCompleted {
                    order_id,
                    payment_id,
                    customer_id,
                    captured: money(record.captured()),
                    at,
                }),
                Effect::CaptureFailed { reason } => cx.publish(PaymentCaptureFailed {
                    order_id,
                    payment_id: Some(payment_id),
                    reason,
                    at,
                }),
                Effect::Refunded {
                    refund_id,
                    kind,
                    amount,
                } => cx.publish(PaymentRefunded {
                    order_id,
                    payment_id: Some(payment_id),
                    customer_id,
                    refund_id,
                    kind,
                    amount: money(amount),
                    at,
                }),
                Effect::RefundFailed { refund_id, reason } => cx.publish(PaymentRefundFailed {
                    order_id,
                    payment_id,
                    refund_id,
                    reason,
                    at,
                }),
            }
        }
        Ok(())
    }

    fn operate(
        &self,
        payment_id: PaymentId,
        record: &PaymentRecord,
        key: OperationKey,
        amount: Money,
        token: Option<Sealed<CardToken>>,
        cx: &mut Context<Self>,
    ) {
        let authorisation = record.reference(key.operation);
        match key.operation {
            Operation::Authorise { .. } => {
                // Decided only by a request, which brings its card.
                if let Some(token) = token {
                    cx.plan(Authorise {
                        payment_id,
                        key,
                        amount,
                        token,
                    });
                }
            }
            Operation::Capture { .. } => {
                cx.plan(CaptureHeld {
                    payment_id,
                    key,
                    amount,
                    authorisation,
                });
            }
            Operation::Void { .. } => {
                cx.plan(VoidHeld {
                    payment_id,
                    key,
                    amount,
                    authorisation,
                });
            }
            Operation::Refund { .. } => {
                cx.plan(PayBack {
                    payment_id,
                    key,
                    amount,
                    authorisation,
                });
            }
        }
    }
}
