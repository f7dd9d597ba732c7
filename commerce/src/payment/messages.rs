//! What the payment service says, is told and is asked.

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{OrderId, PaymentId, RefundId, UserId};
use crate::money::Money;
use crate::time::rfc3339;

/// The current attempt of an order is authorised: the money is held, not yet taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentConfirmed {
    /// For which order.
    pub order_id: OrderId,
    /// By what.
    pub payment_id: PaymentId,
    /// Who pays.
    pub customer_id: UserId,
    /// Which attempt.
    pub attempt: u32,
    /// How much is held.
    pub authorised: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No: the card or the order is refused for good.
    Hard,
    /// Yes: another card, or the same one later.
    Soft,
}

/// An attempt was declined; nothing is held for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// For which order.
    pub order_id: OrderId,
    /// By what; `None` if the order was refused before there was a payment.
    pub payment_id: Option<PaymentId>,
    /// Who was to pay.
    pub customer_id: UserId,
    /// Which attempt.
    pub attempt: u32,
    /// Whether another attempt can help.
    pub kind: FailureKind,
    /// Stable name of the reason, such as `card_declined`.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// The money is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCompleted {
    /// For which order.
    pub order_id: OrderId,
    /// By what.
    pub payment_id: PaymentId,
    /// Who paid.
    pub customer_id: UserId,
    /// How much.
    pub captured: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// The money could not be taken although the goods have left: a person must look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptureFailed {
    /// For which order.
    pub order_id: OrderId,
    /// By what, if there is a payment at all.
    pub payment_id: Option<PaymentId>,
    /// Stable name of the reason.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// How money came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundKind {
    /// It was never taken; what was held is free again. Amount 0, not revenue.
    Voided,
    /// It had been taken and was paid back.
    Refunded,
}

/// Money is back with the customer, or was never taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// For which order.
    pub order_id: OrderId,
    /// By what; `None` if there never was a payment.
    pub payment_id: Option<PaymentId>,
    /// Whose money.
    pub customer_id: UserId,
    /// The return that was asked for.
    pub refund_id: RefundId,
    /// How.
    pub kind: RefundKind,
    /// How much was paid back that no earlier message has said; 0 if voided.
    pub amount: Money,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// A return of money did not succeed; asking again tries again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundFailed {
    /// For which order.
    pub order_id: OrderId,
    /// By what.
    pub payment_id: PaymentId,
    /// The return that was asked for.
    pub refund_id: RefundId,
    /// What the provider said.
    pub reason: String,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: Timestamp,
}

/// Pays back a part of what was captured. The order's status stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundPayment {
    /// Of which payment.
    pub payment_id: PaymentId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
}

/// Takes the money of an order again after that had failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapturePayment {
    /// Of which order.
    pub order_id: OrderId,
}

/// What the provider tells us by itself. It may tell more than we read: whose system this is may
/// add fields at any time, and the signature covers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProviderWebhook {
    /// The provider's id of the event; told twice, it counts once.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: WebhookKind,
    /// Our key of the operation it is about.
    pub idempotency_key: String,
    /// The provider's name of the operation.
    pub provider_reference: String,
    /// How much.
    pub amount: Money,
    /// When.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// What a webhook is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum WebhookKind {
    /// The amount is held.
    #[serde(rename = "payment.authorised")]
    Authorised,
    /// The operation was declined.
    #[serde(rename = "payment.failed")]
    Failed,
    /// The amount is taken.
    #[serde(rename = "payment.captured")]
    Captured,
    /// The amount is free again.
    #[serde(rename = "payment.voided")]
    Voided,
    /// The amount is paid back.
    #[serde(rename = "payment.refunded")]
    Refunded,
}

/// What became of a webhook. All are answered with 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookOutcome {
    /// It was news or agreed with what was known.
    Applied,
    /// This event id was seen before.
    Duplicate,
    /// It is about nothing we asked for.
    Ignored,
    /// It tells of a failure, and the provider is asked about it: what its books say is applied, and
    /// nothing where they have nothing.
    Asked,
}

/// Status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The provider is being asked.
    Pending,
    /// The amount is held.
    Authorised,
    /// The amount is taken.
    Captured,
    /// A part is paid back.
    PartiallyRefunded,
    /// All is paid back.
    Refunded,
    /// What was held is free again.
    Voided,
    /// The last attempt was declined.
    Failed,
    /// The provider does not say; it is asked again.
    Unknown,
}

/// A payment as the outside sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentView {
    /// Its id.
    pub id: PaymentId,
    /// For which order.
    pub order_id: OrderId,
    /// Who pays.
    pub customer_id: UserId,
    /// What has become of it.
    pub status: PaymentStatus,
    /// How many attempts there were.
    pub attempts: u32,
    /// How much is or was held for the capture.
    pub authorised: Money,
    /// How much was taken.
    pub captured: Money,
    /// How much of it was paid back.
    pub refunded: Money,
    /// Why it failed, if it did.
    pub failure_reason: Option<String>,
    /// First request.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// Asks for a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentById {
    /// Which.
    pub payment_id: PaymentId,
}

/// Asks for the payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentOfOrder {
    /// Which order.
    pub order_id: OrderId,
}

event!(PaymentConfirmed, "payment-confirmed", order_id);
event!(PaymentFailed, "payment-failed", order_id);
event!(PaymentCompleted, "payment-completed", order_id);
event!(PaymentCaptureFailed, "payment-capture-failed", order_id);
event!(PaymentRefunded, "payment-refunded", order_id);
event!(PaymentRefundFailed, "payment-refund-failed", order_id);
command!(RefundPayment, "refund-payment", payment_id, PaymentView);
command!(CapturePayment, "capture-payment", order_id, PaymentView);
command!(ProviderWebhook, "provider-webhook", id, WebhookOutcome);
query!(PaymentById, "payment-by-id", PaymentView);
query!(PaymentOfOrder, "payment-of-order", PaymentView);
