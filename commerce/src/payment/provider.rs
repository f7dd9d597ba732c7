//! The payment provider: the outside company that holds, takes and pays back money.
//!
//! What it promises: an operation repeated under the same key is the same operation and gets the
//! same answer, and it can say later what became of a key.

use std::future::Future;
use std::pin::Pin;

use redeliver::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CardToken, FailureKind};
use crate::ids::OrderId;
use crate::money::Money;

/// An answer of the provider, when it comes.
pub type ProviderFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// An outside company that holds, takes and pays back money.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Holds an amount on a card.
    fn authorise(&self, order: Order, token: CardToken) -> ProviderFuture<'_, Answer>;
    /// Takes an amount that is held.
    fn capture(&self, order: Order, authorisation: String) -> ProviderFuture<'_, Answer>;
    /// Frees an amount that is held.
    fn void(&self, order: Order, authorisation: String) -> ProviderFuture<'_, Answer>;
    /// Pays back an amount that was taken.
    fn refund(&self, order: Order, authorisation: String) -> ProviderFuture<'_, Answer>;
    /// What became of the operation of this key; `None` if the provider has never heard of it.
    fn look_up(&self, key: String) -> ProviderFuture<'_, Option<Answer>>;
}

/// What an operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Names the operation, however often it is asked for.
    pub key: String,
    /// For which order.
    pub order_id: OrderId,
    /// How much.
    pub amount: Money,
    /// When it is asked for.
    pub at: Timestamp,
}

/// What the provider says about an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done {
        /// The provider's name of it.
        reference: String,
    },
    /// It is refused for good.
    Declined {
        /// Whether another attempt can help.
        kind: FailureKind,
        /// Stable name of the reason.
        reason: String,
    },
}

/// The provider gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It certainly did nothing.
    #[error("payment provider is unavailable ({0}); nothing was done, it is tried again")]
    Unavailable(String),
    /// Nobody knows whether it did something.
    #[error("payment provider did not answer ({0}); it is asked what became of it")]
    NoAnswer(String),
}
