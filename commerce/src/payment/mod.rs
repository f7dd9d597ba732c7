//! The payment service: attempts, authorisations, captures and refunds of orders.
//!
//! Money is held when an order asks for it, taken when its parcel leaves, and given back when the
//! order is undone. The provider does each of these as an activity; what it answers, says by
//! webhook, or says when asked later are three ways to learn the same thing, and the first one
//! counts. An order that was undone is never charged, whatever arrives after that.
//!
//! Of persons it keeps the customer's id, which means nothing once the user is deleted; a card is
//! kept sealed, and only for as long as its authorisation is on its way. So a deletion is nothing
//! that this service has to hear of: the records are the books, and stay.

pub mod activities;
pub mod decisions;
mod effects;
pub mod key;
pub mod learning;
pub mod messages;
pub mod method;
pub mod provider;
pub mod record;
pub mod service;
pub mod simulated;
pub mod tables;
pub mod webhook;

pub use messages::{
    CapturePayment, FailureKind, PaymentById, PaymentCaptureFailed, PaymentCompleted,
    PaymentConfirmed, PaymentFailed, PaymentOfOrder, PaymentRefundFailed, PaymentRefunded,
    PaymentStatus, PaymentView, ProviderWebhook, RefundKind, RefundPayment, WebhookKind,
    WebhookOutcome,
};
pub use method::{CardToken, MethodKind, PaymentMethod, SealedMethod};
pub use provider::PaymentProvider;
pub use service::Payment;
pub use simulated::SimulatedProvider;

#[cfg(test)]
mod conservation;
#[cfg(test)]
mod tests;
