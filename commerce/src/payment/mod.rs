//! The payment service: attempts, authorisations, captures and refunds of orders.

pub mod messages;
pub mod method;

pub use messages::{
    FailureKind, PaymentById, PaymentCaptureFailed, PaymentCompleted, PaymentConfirmed,
    PaymentFailed, PaymentOfOrder, PaymentRefundFailed, PaymentRefunded, PaymentStatus,
    PaymentView, ProviderWebhook, RefundKind, RefundPayment, WebhookKind, WebhookOutcome,
};
pub use method::{CardToken, MethodKind, PaymentMethod};
