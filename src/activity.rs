//! Activities: async work with the outside world, planned by a turn.
//!
//! A turn plans an activity; once that turn is durable the activity runs, is retried, and its end
//! arrives as another turn. It runs at least once, under an idempotency key that stays the same
//! for all attempts. When nobody can know whether an attempt took effect (a time-out, a crash),
//! the attempt is *unknown*, and the destination is asked before anything is tried again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::service::Service;

/// Work with the outside world. The value is its input and is stored with the plan.
///
/// ```
/// use redeliver::prelude::*;
/// use std::sync::Arc;
///
/// struct Mail;
/// # impl Service for Mail {
/// #     const NAME: &'static str = "mail";
/// #     fn handlers(_: &mut Handlers<Self>) {}
/// # }
///
/// #[derive(Serialize, Deserialize)]
/// struct SendLetter {
///     to: String,
/// }
///
/// impl Activity<Mail> for SendLetter {
///     const NAME: &'static str = "send-letter";
///     const DESTINATION: &'static str = "post";
///     // Posting the same letter twice under one key is harmless.
///     const IDEMPOTENT: bool = true;
///     type Output = ();
///
///     async fn run(self, _mail: Arc<Mail>, cx: ActivityContext) -> Result<(), ActivityError> {
///         println!("letter {} to {}", cx.key, self.to);
///         Ok(())
///     }
/// }
/// ```
pub trait Activity<S: Service>: Serialize + DeserializeOwned + Send + 'static {
    /// Identity in stored data and metrics.
    const NAME: &'static str;
    /// What it talks to. Activities of one destination share a circuit breaker and a limit of
    /// concurrency.
    const DESTINATION: &'static str;
    /// Whether running it again with the same key is harmless. Where it is not, `reconcile` must
    /// be implemented: it is asked before an attempt whose predecessor is unknown.
    const IDEMPOTENT: bool;
    /// What a successful run yields.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// One attempt.
    fn run(
        self,
        service: Arc<S>,
        cx: ActivityContext,
    ) -> impl Future<Output = Result<Self::Output, ActivityError>> + Send;

    /// Asks the destination what became of earlier attempts with this key.
    fn reconcile(
        self,
        service: Arc<S>,
        cx: ActivityContext,
    ) -> impl Future<Output = Result<Reconciled<Self::Output>, ActivityError>> + Send {
        let _ = (service, cx);
        async { Ok(Reconciled::StillUnknown) }
    }

    /// Time-outs, retries and limits; may come from the service's configuration.
    fn policy(service: &S) -> ActivityPolicy {
        let _ = service;
        ActivityPolicy::default()
    }
}

/// Identifies one planned activity; also its idempotency key towards the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId(pub Uuid);

impl std::fmt::Display for ActivityId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What an attempt is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActivityContext {
    /// The idempotency key: the same for every attempt, also after a restart.
    pub key: ActivityId,
    /// 1 for the first attempt since the process started.
    pub attempt: u32,
    /// When the turn planned it.
    pub planned_at: Timestamp,
    /// The present.
    pub now: Timestamp,
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActivityError {
    /// It certainly had no effect and may succeed later; tried again after a back-off.
    #[error("not done, worth another try: {0}")]
    Transient(String),
    /// The destination refused it for good; the activity ends as [`Outcome::Failed`].
    #[error("refused: {0}")]
    Refused(String),
    /// Nobody knows whether it took effect; reconciled before it is tried again.
    #[error("unknown: {0}")]
    Unknown(String),
}

/// What the destination says of earlier attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconciled<T> {
    /// It took effect; this is its output.
    Done(T),
    /// It was refused for good.
    Failed(String),
    /// It certainly did not take effect; it may be run again.
    NotDone,
    /// The destination cannot say yet; asked again after a back-off.
    StillUnknown,
}

/// How an activity ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It succeeded.
    Done(T),
    /// The destination refused it for good.
    Failed(String),
    /// Its limit of attempts or time is used up. Its effect may be unknown.
    GaveUp {
        /// How often it was tried since the process started.
        attempts: u32,
        /// What the last attempt said.
        reason: String,
    },
}

/// The end of an activity, as its service's handler gets it.
#[derive(Debug, Clone)]
pub struct Finished<A, T> {
    /// The input as planned.
    pub input: A,
    /// How it ended.
    pub outcome: Outcome<T>,
}

/// Time-outs, retries and limits of an activity.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityPolicy {
    /// An attempt that takes longer is abandoned and *unknown*.
    pub timeout: Duration,
    /// Attempts (and, separately, reconciliations) before giving up.
    pub attempts_max: u32,
    /// Gives up this long after it was planned, whatever the attempts.
    pub give_up_after: Duration,
    /// Delay before the second attempt; doubles, with jitter.
    pub backoff: Duration,
    /// The longest delay between attempts.
    pub backoff_max: Duration,
    /// Attempts to the destination at the same time; further ones wait.
    pub concurrency: usize,
    /// Failures in a row that open the destination's circuit breaker.
    pub breaker_failures: u32,
    /// How long an open breaker lets nothing through before it tries one.
    pub breaker_open_for: Duration,
}

impl Default for ActivityPolicy {
    fn default() -> ActivityPolicy {
        ActivityPolicy {
            timeout: Duration::from_secs(10),
            attempts_max: 20,
            give_up_after: Duration::from_secs(24 * 3_600),
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(60),
            concurrency: 64,
            breaker_failures: 10,
            breaker_open_for: Duration::from_secs(5),
        }
    }
}
