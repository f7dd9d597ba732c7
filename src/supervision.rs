//! How a service's tree is supervised: the declaration; the decisions are in `actors/restart.rs`.

use std::time::Duration;

/// Which children of a service's supervisor restart when one of them fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Only the failed one.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
}

/// How a service's supervisor answers failures. A handler's panic is charged to its message, not
/// counted here; what counts are panics outside of handlers, failed loads, and 20 different
/// messages in a row with no turn succeeding. A request from outside that panics is answered so,
/// and never counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Supervision {
    /// Who restarts.
    pub strategy: Strategy,
    /// More restarts than this within `period` make the service *failed*.
    pub restarts_max: u32,
    /// See `restarts_max`.
    pub period: Duration,
    /// Delay before the second restart within a period (the first is immediate); doubles.
    pub backoff: Duration,
    /// The longest delay before a restart.
    pub backoff_max: Duration,
    /// How long a failed service stays failed before it is tried again by itself; `None` leaves
    /// that to an operator.
    pub revive_after: Option<Duration>,
    /// How often a message may panic before it becomes a dead letter.
    pub attempts_max: u32,
    /// Delay before the second attempt of a message; doubles, with jitter.
    pub attempt_backoff: Duration,
    /// The longest delay between attempts.
    pub attempt_backoff_max: Duration,
}

impl Default for Supervision {
    fn default() -> Supervision {
        Supervision {
            strategy: Strategy::OneForOne,
            restarts_max: 5,
            period: Duration::from_secs(10),
            backoff: Duration::from_millis(50),
            backoff_max: Duration::from_secs(10),
            revive_after: Some(Duration::from_secs(60)),
            attempts_max: 5,
            attempt_backoff: Duration::from_millis(100),
            attempt_backoff_max: Duration::from_secs(30),
        }
    }
}
