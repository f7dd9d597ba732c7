//! The payment service's handlers: they load a record, decide, and carry out what follows.

use std::sync::Arc;
use std::time::Duration;

use redeliver::prelude::*;

use super::SealedMethod;
use super::activities::{Authorise, CaptureHeld, LookUp, PayBack, VoidHeld};
use super::decisions::{Effect, REFUNDS_MAX};
use super::key::{Operation, OperationKey};
use super::learning::Learned;
use super::messages::{
    CapturePayment, FailureKind, PaymentById, PaymentCaptureFailed, PaymentCompleted,
    PaymentConfirmed, PaymentFailed, PaymentOfOrder, PaymentRefundFailed, PaymentRefunded,
    PaymentView, ProviderWebhook, RefundKind, RefundPayment, WebhookKind, WebhookOutcome,
};
use super::provider::{Answer, PaymentProvider};
use super::record::{Capture, PaymentRecord};
use super::tables::{PAYMENTS, PAYMENTS_BY_ORDER, UNDONE_ORDERS, UndoneOrder, WEBHOOKS_SEEN};
use crate::ids::{OrderId, PaymentId, RefundId};
use crate::money::Money;
use crate::order::{PaymentRefundRequested, PaymentRequested, pricing};
use crate::privacy::Keyring;
use crate::shipping::ShipmentDispatched;

/// Longest event id of a webhook.
const WEBHOOK_ID_BYTES_MAX: usize = 256;

/// Attempts, authorisations, captures and refunds of orders.
#[derive(Clone)]
pub struct Payment {
    provider: Arc<dyn PaymentProvider>,
    keyring: Keyring,
    /// How long to wait for an answer of the provider; then its outcome is unknown.
    pub answer_within: Duration,
    /// How long to wait before the provider is asked again about an operation of which it did
    /// not say what became of it.
    pub ask_again_after: Duration,
    /// How long undone orders and event ids of webhooks are remembered.
    pub remember: Duration,
}

/// It is time to ask the provider again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskProviderAgain {
    /// For which payment.
    pub payment_id: PaymentId,
    /// About what.
    pub key: OperationKey,
}

/// An undone order has been remembered long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoneOrderForgotten {
    /// Which.
    pub order_id: OrderId,
}

/// An event id has been remembered long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookForgotten {
    /// Which.
    pub id: String,
}

timer!(AskProviderAgain, "ask-provider-again", payment_id);
timer!(UndoneOrderForgotten, "undone-order-forgotten", order_id);
timer!(WebhookForgotten, "webhook-forgotten", id);

impl Service for Payment {
    const NAME: &'static str = "payment";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(PAYMENTS)
            .table(PAYMENTS_BY_ORDER)
            .table(UNDONE_ORDERS)
            .table(WEBHOOKS_SEEN);
        on.event(Self::requested)
            .event(Self::refund_requested)
            .event(Self::dispatched);
        on.activity::<Authorise>(|payment, done, cx| {
            payment.finished(done.input.payment_id, done.input.key, done.outcome, cx)
        })
        .activity::<CaptureHeld>(|payment, done, cx| {
            payment.finished(done.input.payment_id, done.input.key, done.outcome, cx)
        })
        .activity::<VoidHeld>(|payment, done, cx| {
            payment.finished(done.input.payment_id, done.input.key, done.outcome, cx)
        })
        .activity::<PayBack>(|payment, done, cx| {
            payment.finished(done.input.payment_id, done.input.key, done.outcome, cx)
        })
        .activity::<LookUp>(Self::looked_up);
        on.timer(Self::ask_again)
            .timer(Self::forget_undone_order)
            .timer(Self::forget_webhook);
        on.command(Self::refund)
            .command(Self::capture)
            .command(Self::webhook);
        on.query(Self::by_id).query(Self::of_order);
        on.publishes_outside::<PaymentConfirmed>()
            .publishes_outside::<PaymentFailed>()
            .publishes_outside::<PaymentCompleted>()
            .publishes_outside::<PaymentCaptureFailed>()
            .publishes_outside::<PaymentRefunded>()
            .publishes_outside::<PaymentRefundFailed>();
    }
}

impl Payment {
    /// The service with this provider, and the keys that cards are sealed with.
    pub fn new(provider: Arc<dyn PaymentProvider>, keyring: Keyring) -> Payment {
        Payment {
            provider,
            keyring,
            answer_within: seconds(10),
            ask_again_after: hours(1),
            remember: days(30),
        }
    }

    /// The keys that cards are sealed with.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The provider.
    pub fn provider(&self) -> &dyn PaymentProvider {
        &*self.provider
    }

    fn requested(&self, asked: PaymentRequested, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let order_id = asked.order_id;
        let refuse = |payment_id, reason: &str, cx: &mut Context<Self>| {
            cx.publish(PaymentFailed {
                order_id,
                payment_id,
                customer_id: asked.customer_id,
                attempt: asked.attempt,
                kind: FailureKind::Hard,
                reason: reason.to_owned(),
                at: cx.now(),
            });
        };
        let (payment_id, mut record) = match cx.get(PAYMENTS_BY_ORDER, &order_id)? {
            Some(payment_id) => (payment_id, self.load(payment_id, cx)?),
            None if cx.get(UNDONE_ORDERS, &order_id)?.is_some() => {
                refuse(None, "order_cancelled", cx);
                return Ok(());
            }
            None => {
                let payment_id = PaymentId(cx.new_id());
                cx.put(PAYMENTS_BY_ORDER, &order_id, &payment_id)?;
                let record = PaymentRecord {
                    order_id,
                    customer_id: asked.customer_id,
                    currency: asked.amount.currency,
                    attempts: Vec::new(),
                    capture: Capture::Not,
                    refunds: Vec::new(),
                    undo: None,
                    created_at: cx.now(),
                    updated_at: cx.now(),
                };
                (payment_id, record)
            }
        };
        if record.currency != asked.amount.currency {
            refuse(Some(payment_id), "foreign_currency", cx);
            return Ok(());
        }
        let effects = record.request(asked.attempt, asked.amount.amount);
        let SealedMethod { token, .. } = asked.method;
        self.carry_out(payment_id, record, effects, Some(token), cx)
    }

    fn refund_requested(
        &self,
        asked: PaymentRefundRequested,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = asked.order_id;
        let Some(payment_id) = cx.get(PAYMENTS_BY_ORDER, &order_id)? else {
            // Whatever asks for this order's money from now on comes too late.
            let undone = UndoneOrder {
                customer_id: asked.customer_id,
                at: cx.now(),
            };
            if cx.get(UNDONE_ORDERS, &order_id)?.is_none() {
                cx.put(UNDONE_ORDERS, &order_id, &undone)?;
                cx.after(self.remember, UndoneOrderForgotten { order_id });
            }
            cx.publish(PaymentRefunded {
                order_id,
                payment_id: None,
                customer_id: asked.customer_id,
                refund_id: asked.refund_id,
                kind: RefundKind::Voided,
                amount: Money::zero(asked.currency),
                at: cx.now(),
            });
            return Ok(());
        };
        let mut record = self.load(payment_id, cx)?;
        let effects = match asked.amount {
            Some(part) if part.currency != record.currency => vec![Effect::RefundFailed {
                refund_id: asked.refund_id,
                reason: "foreign_currency".to_owned(),
            }],
            Some(part) => record.refund(asked.refund_id, part.amount),
            None => record.undo(asked.refund_id),
        };
        self.carry_out(payment_id, record, effects, None, cx)
    }

    fn dispatched(
        &self,
        parcel: ShipmentDispatched,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let Some(payment_id) = cx.get(PAYMENTS_BY_ORDER, &parcel.order_id)? else {
            cx.publish(PaymentCaptureFailed {
                order_id: parcel.order_id,
                payment_id: None,
                reason: "no_payment".to_owned(),
                at: cx.now(),
            });
            return Ok(());
        };
        let mut record = self.load(payment_id, cx)?;
        // The goods leave once: a capture that was refused is tried again by a person.
        let effects = match record.capture {
            Capture::Refused(..) => Vec::new(),
            _ => record.capture(),
        };
        self.carry_out(payment_id, record, effects, None, cx)
    }

    fn finished(
        &self,
        payment_id: PaymentId,
        key: OperationKey,
        outcome: Outcome<Answer>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let learned = match outcome {
            Outcome::Done(answer) => learned(answer),
            Outcome::Failed(reason) => Learned::Declined {
                kind: FailureKind::Hard,
                reason,
            },
            Outcome::GaveUp { attempts, reason } => {
                tracing::warn!(%key, attempts, reason, "provider's answer stays unknown");
                Learned::Unknown
            }
        };
        self.learn(payment_id, key.operation, learned, cx)
    }

    fn looked_up(
        &self,
        done: Finished<LookUp, Option<Answer>>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let LookUp { payment_id, key } = done.input;
        match done.outcome {
            Outcome::Done(Some(answer)) => {
                self.learn(payment_id, key.operation, learned(answer), cx)
            }
            Outcome::Done(None) => self.learn(payment_id, key.operation, Learned::NeverArrived, cx),
            Outcome::Failed(_) | Outcome::GaveUp { .. } => {
                cx.after(self.ask_again_after, AskProviderAgain { payment_id, key });
                Ok(())
            }
        }
    }

    fn ask_again(&self, due: AskProviderAgain, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let AskProviderAgain { payment_id, key } = due;
        let record = self.load(payment_id, cx)?;
        if record.awaits(key.operation) {
            cx.plan(LookUp { payment_id, key });
        }
        Ok(())
    }

    fn forget_undone_order(
        &self,
        due: UndoneOrderForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        Ok(cx.remove(UNDONE_ORDERS, &due.order_id)?)
    }

    fn forget_webhook(
        &self,
        due: WebhookForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        Ok(cx.remove(WEBHOOKS_SEEN, &due.id)?)
    }

    fn refund(
        &self,
        asked: RefundPayment,
        cx: &mut Context<Self>,
    ) -> Result<PaymentView, Rejection> {
        let payment_id = asked.payment_id;
        let Some(mut record) = cx.get(PAYMENTS, &payment_id)? else {
            return Err(no_such_payment());
        };
        let reason = pricing::text("reason", &asked.reason)?;
        let refundable = Money::new(record.refundable(), record.currency);
        if asked.amount.currency != record.currency {
            return Err(Rejection::invalid(
                "foreign_currency",
                format!("this payment is in {}; refund in that", record.currency),
            ));
        }
        if asked.amount.amount <= 0 {
            return Err(Rejection::invalid(
                "invalid_amount",
                "a refund needs an amount above 0",
            ));
        }
        if record.captured() == 0 {
            return Err(Rejection::conflict(
                "not_captured",
                "no money was taken yet; cancel the order instead",
            ));
        }
        if asked.amount.amount > refundable.amount {
            return Err(Rejection::conflict(
                "more_than_captured",
                format!("only {refundable} are left to refund"),
            )
            .with("refundable", refundable.amount));
        }
        if record.refunds.len() >= REFUNDS_MAX {
            return Err(Rejection::conflict(
                "too_many_refunds",
                format!("a payment has at most {REFUNDS_MAX} refunds"),
            ));
        }
        let effects = record.refund(RefundId(cx.new_id()), asked.amount.amount);
        if let Some(begun) = record.refunds.last_mut() {
            begun.reason = Some(reason.to_owned());
        }
        let view = record.view(payment_id);
        self.carry_out(payment_id, record, effects, None, cx)?;
        Ok(view)
    }

    fn capture(
        &self,
        asked: CapturePayment,
        cx: &mut Context<Self>,
    ) -> Result<PaymentView, Rejection> {
        let Some(payment_id) = cx.get(PAYMENTS_BY_ORDER, &asked.order_id)? else {
            return Err(no_such_payment());
        };
        let mut record = self.load(payment_id, cx)?;
        match record.capture {
            Capture::Refused(..) => {}
            Capture::Not => {
                return Err(Rejection::conflict(
                    "not_dispatched",
                    "money is taken when the parcel leaves; dispatch it",
                ));
            }
            Capture::Asked(_) | Capture::Unknown(_) | Capture::Taken(_) => {
                return Ok(record.view(payment_id));
            }
        }
        let effects = record.capture();
        let view = record.view(payment_id);
        self.carry_out(payment_id, record, effects, None, cx)?;
        Ok(view)
    }

    fn webhook(
        &self,
        told: ProviderWebhook,
        cx: &mut Context<Self>,
    ) -> Result<WebhookOutcome, Rejection> {
        if told.id.is_empty() || told.id.len() > WEBHOOK_ID_BYTES_MAX {
            return Err(Rejection::invalid(
                "invalid_id",
                format!("a webhook needs an id of 1 to {WEBHOOK_ID_BYTES_MAX} bytes"),
            ));
        }
        if cx.get(WEBHOOKS_SEEN, &told.id)?.is_some() {
            return Ok(WebhookOutcome::Duplicate);
        }
        let Some((payment_id, record, key)) = self.asked_for(&told, cx)? else {
            return Ok(WebhookOutcome::Ignored);
        };
        cx.put(WEBHOOKS_SEEN, &told.id, &cx.now())?;
        cx.after(self.remember, WebhookForgotten { id: told.id });
        if told.kind == WebhookKind::Failed {
            // It does not say whether another card can help: ask.
            cx.plan(LookUp { payment_id, key });
            return Ok(WebhookOutcome::Asked);
        }
        let learned = Learned::Done {
            reference: told.provider_reference,
        };
        self.apply(payment_id, record, key.operation, learned, cx)?;
        Ok(WebhookOutcome::Applied)
    }

    /// The operation that a webhook is about, if it is one that we asked for, for that amount.
    fn asked_for(
        &self,
        told: &ProviderWebhook,
        cx: &Context<Self>,
    ) -> Result<Option<(PaymentId, PaymentRecord, OperationKey)>, Rejection> {
        let Ok(key) = told.idempotency_key.parse::<OperationKey>() else {
            return Ok(None);
        };
        let fits = match (told.kind, key.operation) {
            (WebhookKind::Failed, _)
            | (WebhookKind::Authorised, Operation::Authorise { .. })
            | (WebhookKind::Captured, Operation::Capture { .. })
            | (WebhookKind::Voided, Operation::Void { .. })
            | (WebhookKind::Refunded, Operation::Refund { .. }) => true,
            (
                WebhookKind::Authorised
                | WebhookKind::Captured
                | WebhookKind::Voided
                | WebhookKind::Refunded,
                _,
            ) => false,
        };
        let Some(payment_id) = cx.get(PAYMENTS_BY_ORDER, &key.order)? else {
            return Ok(None);
        };
        let record = self.load(payment_id, cx)?;
        let amount = record.amount_of(key.operation);
        let amount_fits = amount.map(|amount| Money::new(amount, record.currency))
            == Some(told.amount)
            || (amount.is_some() && told.kind == WebhookKind::Failed);
        if !fits || !amount_fits {
            tracing::warn!(id = told.id, %key, "webhook does not fit what was asked for; ignored");
            return Ok(None);
        }
        Ok(Some((payment_id, record, key)))
    }

    fn by_id(&self, ask: PaymentById, view: &View<Self>) -> Result<PaymentView, Rejection> {
        match view.get(PAYMENTS, &ask.payment_id)? {
            Some(record) => Ok(record.view(ask.payment_id)),
            None => Err(no_such_payment()),
        }
    }

    fn of_order(&self, ask: PaymentOfOrder, view: &View<Self>) -> Result<PaymentView, Rejection> {
        let Some(payment_id) = view.get(PAYMENTS_BY_ORDER, &ask.order_id)? else {
            return Err(no_such_payment());
        };
        Ok(self.load(payment_id, view)?.view(payment_id))
    }

    fn learn(
        &self,
        payment_id: PaymentId,
        operation: Operation,
        learned: Learned,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let record = self.load(payment_id, cx)?;
        self.apply(payment_id, record, operation, learned, cx)
    }

    fn apply(
        &self,
        payment_id: PaymentId,
        mut record: PaymentRecord,
        operation: Operation,
        learned: Learned,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let before = record.clone();
        let effects = record.learn(operation, learned);
        if record == before && effects.is_empty() {
            return Ok(());
        }
        self.carry_out(payment_id, record, effects, None, cx)
    }

    fn load(&self, payment_id: PaymentId, view: &View<Self>) -> Result<PaymentRecord, Rejection> {
        view.get(PAYMENTS, &payment_id)?.ok_or_else(no_such_payment)
    }
}

fn learned(answer: Answer) -> Learned {
    match answer {
        Answer::Done { reference } => Learned::Done { reference },
        Answer::Declined { kind, reason } => Learned::Declined { kind, reason },
    }
}

/// The answer to whoever asks for what is not there, or not theirs.
pub(crate) fn no_such_payment() -> Rejection {
    Rejection::not_found("no_such_payment", "there is no such payment; check the id")
}
