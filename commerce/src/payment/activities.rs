//! What the payment service asks of the provider, as activities.
//!
//! Each is planned in the turn that decides it, so it is durable before the provider hears of it.
//! A time-out means *unknown*: the provider is asked what became of the key before anything is
//! tried again, also after a restart.

use std::sync::Arc;

use redeliver::prelude::*;

use super::key::OperationKey;
use super::provider::{Answer, Order, ProviderError};
use super::{CardToken, FailureKind, Payment};
use crate::ids::PaymentId;
use crate::money::Money;
use crate::privacy::{KeyringError, Sealed};

/// Why an attempt is declined whose card is forgotten.
pub const CUSTOMER_DELETED: &str = "customer_deleted";

const DESTINATION: &str = "payment-provider";

/// Hold an amount on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorise {
    /// For which payment.
    pub payment_id: PaymentId,
    /// Our name of it.
    pub key: OperationKey,
    /// How much.
    pub amount: Money,
    /// On which card.
    pub token: Sealed<CardToken>,
}

impl Activity<Payment> for Authorise {
    const NAME: &'static str = "authorise-payment";
    const DESTINATION: &'static str = DESTINATION;
    const IDEMPOTENT: bool = false;
    type Output = Answer;

    async fn run(
        self,
        service: Arc<Payment>,
        cx: ActivityContext,
    ) -> Result<Answer, ActivityError> {
        let order = order(self.key, self.amount, cx.now);
        let token = match service.keyring().open_sealed(&self.token) {
            Ok(token) => token,
            // The provider was not asked, and nobody can ask it any more.
            Err(KeyringError::Forgotten { .. }) => {
                return Ok(Answer::Declined {
                    kind: FailureKind::Hard,
                    reason: CUSTOMER_DELETED.to_owned(),
                });
            }
            Err(error) => return Err(ActivityError::Refused(error.to_string())),
        };
        let answer = service.provider().authorise(order, token).await;
        answer.map_err(unfinished)
    }

    async fn reconcile(
        self,
        service: Arc<Payment>,
        _cx: ActivityContext,
    ) -> Result<Reconciled<Answer>, ActivityError> {
        reconcile(&service, self.key).await
    }

    fn policy(service: &Payment) -> ActivityPolicy {
        policy(service)
    }
}

macro_rules! on_authorisation {
    ($(#[$doc:meta])* $name:ident, $wire:literal, $ask:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// For which payment.
            pub payment_id: PaymentId,
            /// Our name of it.
            pub key: OperationKey,
            /// How much.
            pub amount: Money,
            /// The provider's name of the authorisation.
            pub authorisation: String,
        }

        impl Activity<Payment> for $name {
            const NAME: &'static str = $wire;
            const DESTINATION: &'static str = DESTINATION;
            const IDEMPOTENT: bool = false;
            type Output = Answer;

            async fn run(
                self,
                service: Arc<Payment>,
                cx: ActivityContext,
            ) -> Result<Answer, ActivityError> {
                let order = order(self.key, self.amount, cx.now);
                let answer = service.provider().$ask(order, self.authorisation).await;
                answer.map_err(unfinished)
            }

            async fn reconcile(
                self,
                service: Arc<Payment>,
                _cx: ActivityContext,
            ) -> Result<Reconciled<Answer>, ActivityError> {
                reconcile(&service, self.key).await
            }

            fn policy(service: &Payment) -> ActivityPolicy {
                policy(service)
            }
        }
    };
}

on_authorisation!(
    /// Take an amount that is held.
    CaptureHeld, "capture-payment", capture
);
on_authorisation!(
    /// Free an amount that is held.
    VoidHeld, "void-payment", void
);
on_authorisation!(
    /// Pay back an amount that was taken.
    PayBack, "refund-payment", refund
);

/// Ask what became of an operation of which nobody waits for an answer any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookUp {
    /// For which payment.
    pub payment_id: PaymentId,
    /// Our name of it.
    pub key: OperationKey,
}

impl Activity<Payment> for LookUp {
    const NAME: &'static str = "look-up-payment";
    const DESTINATION: &'static str = DESTINATION;
    // Asking changes nothing.
    const IDEMPOTENT: bool = true;
    type Output = Option<Answer>;

    async fn run(
        self,
        service: Arc<Payment>,
        _cx: ActivityContext,
    ) -> Result<Option<Answer>, ActivityError> {
        let answer = service.provider().look_up(self.key.to_string()).await;
        answer.map_err(|error| ActivityError::Transient(error.to_string()))
    }

    fn policy(service: &Payment) -> ActivityPolicy {
        policy(service)
    }
}

/// One provider serves all orders: its circuit breaker must not open because a few customers in
/// a row have cards that time out.
fn policy(service: &Payment) -> ActivityPolicy {
    ActivityPolicy {
        timeout: service.answer_within,
        concurrency: 256,
        breaker_failures: 50,
        breaker_open_for: seconds(2),
        ..ActivityPolicy::default()
    }
}

fn order(key: OperationKey, amount: Money, at: Timestamp) -> Order {
    Order {
        key: key.to_string(),
        order_id: key.order,
        amount,
        at,
    }
}

fn unfinished(error: ProviderError) -> ActivityError {
    match error {
        ProviderError::Unavailable(_) => ActivityError::Transient(error.to_string()),
        ProviderError::NoAnswer(_) => ActivityError::Unknown(error.to_string()),
    }
}

async fn reconcile(
    service: &Payment,
    key: OperationKey,
) -> Result<Reconciled<Answer>, ActivityError> {
    match service.provider().look_up(key.to_string()).await {
        Ok(Some(answer)) => Ok(Reconciled::Done(answer)),
        Ok(None) => Ok(Reconciled::NotDone),
        Err(_) => Ok(Reconciled::StillUnknown),
    }
}
