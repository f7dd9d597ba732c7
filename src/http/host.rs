//! The host behind the routes: what the facade asks of a system.
//!
//! The routes know a system only through [`Host`], so they can be tried against a stand-in and
//! put before anything that answers messages by name.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;

use crate::{Rejection, TraceContext};

/// What answers messages by service and wire name and can say how it is.
pub trait Host: Clone + Send + Sync + 'static {
    /// Takes a command or a query as JSON. The answer is durable when it is given.
    fn call(
        &self,
        service: &str,
        message: &str,
        json: &[u8],
        options: CallOptions,
    ) -> impl Future<Output = Result<JsonAnswer, CallError>> + Send;

    /// Whether work can be taken, check by check.
    fn health(&self) -> impl Future<Output = Health> + Send;

    /// The live tree and the stream counters.
    fn report(&self) -> impl Future<Output = serde_json::Value> + Send;

    /// Who sends what to whom.
    fn topology(&self) -> impl Future<Output = serde_json::Value> + Send;
}

/// What accompanies a call from outside.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Makes a repeated command be answered once.
    pub idempotency: Option<IdempotencyKey>,
    /// The caller's trace.
    pub trace: Option<TraceContext>,
}

/// Names one attempt of a caller, so that its repetition gets the stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who asks for what; the same key in another scope is another key.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// Of the body as received; another body under the same key is refused.
    pub fingerprint: u64,
}

/// An answer as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonAnswer {
    /// The reply or the query's answer.
    pub body: Vec<u8>,
    /// Whether it is the stored answer of an earlier call.
    pub replayed: bool,
}

/// A call was not answered with a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service said no.
    #[error("{0}")]
    Rejected(Rejection),
    /// The body is not the message it should be.
    #[error("the message cannot be read: {0}; correct it and send it again")]
    Malformed(String),
    /// Nobody answers that name.
    #[error(
        "service `{service}` has no command or query `{message}`; the topology lists what there is"
    )]
    NoSuchMessage {
        /// The service asked for.
        service: String,
        /// The wire name asked for.
        message: String,
    },
    /// Too much is waiting.
    #[error("{reason}; try again in {} s", retry_after.as_secs().max(1))]
    Overloaded {
        /// Which budget is used up.
        reason: String,
        /// When it may be worth another try.
        retry_after: Duration,
    },
    /// The system is being shut down.
    #[error("the system is shutting down; ask again when it has restarted")]
    Draining,
    /// The service's tree has stopped.
    #[error("service `{service}` has failed ({reason}); it restarts by itself or by an operator")]
    ServiceFailed {
        /// The service.
        service: String,
        /// Why.
        reason: String,
    },
    /// The handler panicked; nothing was accepted.
    #[error("`{service}` panicked on `{message}`, nothing was changed; the bug is in the log")]
    Panicked {
        /// The service.
        service: String,
        /// The message.
        message: String,
    },
    /// The idempotency key has been used for another body.
    #[error("the idempotency key was used with another body; take a new key for a new request")]
    KeyReused,
    /// The cell closed before the answer was durable.
    #[error(
        "the outcome is unknown ({reason}); ask again with the same idempotency key to learn it"
    )]
    OutcomeUnknown {
        /// What closed it.
        reason: String,
    },
}

/// Whether a system can take work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether every check holds.
    pub ready: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
}

/// One aspect of health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What an operator should know about it.
    pub detail: String,
}

/// The fingerprint of a body: FNV-1a, 64 bits. It is stored with answers, so it never changes.
///
/// It tells an honest repetition from an honest mistake; who forges a collision fools only
/// themselves, because keys are scoped by caller.
pub fn fingerprint(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn a_fingerprint_is_the_same_in_every_version() {
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
