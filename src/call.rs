//! Calls from outside: how to ask a service, and what can come back instead of an answer.

use std::time::Duration;

use uuid::Uuid;

use crate::rejection::Rejection;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service decided against it. A business answer, durable like any other.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The service decided against it at an earlier call with the same idempotency key.
    #[error(transparent)]
    RejectedBefore(Rejection),
    /// The request is not what the message's type says.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// There is no such service, or it has no such command or query.
    #[error(
        "service `{service}` has no command or query `{message}`; see the topology for what there is"
    )]
    NoSuchMessage {
        /// The service.
        service: String,
        /// The wire name.
        message: String,
    },
    /// Too much is waiting. Nothing was done.
    #[error("overloaded: {reason}; try again in {retry_after:?}")]
    Overloaded {
        /// What is too much.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The system is shutting down. Nothing was done.
    #[error("the system is shutting down; try again after its restart")]
    Draining,
    /// The service is failed. Nothing was done.
    #[error(
        "service `{service}` has failed ({reason}); it is tried again by itself or by an operator"
    )]
    ServiceFailed {
        /// The service.
        service: String,
        /// What failed it.
        reason: String,
    },
    /// The handler panicked. Nothing was done and nothing is stored; a retry is safe.
    #[error(
        "service `{service}` failed while handling `{message}`; nothing was done, this is a bug in its handler"
    )]
    Panicked {
        /// The service.
        service: String,
        /// The wire name.
        message: String,
    },
    /// The idempotency key was used before, for a request with another body.
    #[error("this idempotency key was used for another request; use a new key for a new request")]
    KeyReused,
    /// The cell stopped before the answer was durable: it may or may not have been done.
    #[error(
        "the outcome is unknown ({reason}); ask again with the same idempotency key after the restart"
    )]
    OutcomeUnknown {
        /// What stopped it.
        reason: String,
    },
}

/// Makes an outside command exactly once: the same key in the same scope yields the stored answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// Who asks for what; keys of different scopes have nothing to do with each other.
    pub scope: String,
    /// The key the caller chose.
    pub key: String,
    fingerprint: [u8; 16],
}

impl IdempotencyKey {
    /// A key for a request with this body, as received.
    pub fn new(scope: impl Into<String>, key: impl Into<String>, body: &[u8]) -> IdempotencyKey {
        // SHA-1 through UUIDv5: a fingerprint against mistakes, not against attackers, who could
        // only confuse their own keys.
        let fingerprint = Uuid::new_v5(&Uuid::NAMESPACE_OID, body).into_bytes();
        IdempotencyKey {
            scope: scope.into(),
            key: key.into(),
            fingerprint,
        }
    }

    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }
}

/// An answer, and whether it was stored by an earlier call with the same idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<R> {
    /// The service's reply.
    pub reply: R,
    /// Whether this is the stored answer of an earlier call.
    pub replayed: bool,
}

/// A rejection that was stored by an earlier call keeps this detail, so that a facade can say so.
pub(crate) type RawAnswer = Result<Answered<Vec<u8>>, CallError>;
