//! Limits and sizes of a system: one struct, everything with a default.

use std::time::Duration;

/// Limits and sizes of a system. Everything kept has a limit.
///
/// ```
/// use redeliver::Config;
///
/// let config = Config { requests_waiting_max: 10_000, ..Config::default() };
/// # let _ = config;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Commands and queries from outside that may wait for one service; further ones are refused
    /// with "overloaded".
    pub requests_waiting_max: usize,
    /// Unconsumed messages of one stream that may be on their way to their receiver (its credit).
    pub stream_window: u64,
    /// Turns a service takes before it lets others run.
    pub turns_per_batch: usize,
    /// Parked messages of one stream beyond which the stream pauses.
    pub parked_max: usize,
    /// How long answers are kept for idempotency keys.
    pub answers_kept: Duration,
    /// Dead letters of the whole system beyond which readiness warns; none is dropped.
    pub dead_letters_warn: u64,
    /// A turn that takes longer is reported.
    pub turn_slow: Duration,
    /// A turn that takes longer aborts the process, charging its message. A handler that blocks
    /// this long is a bug that would hold up its service for ever.
    pub turn_abort: Duration,
    /// Size of a journal segment in bytes.
    pub journal_segment_bytes: u64,
    /// Data not yet checkpointed, in bytes, at which a checkpoint begins.
    pub checkpoint_after_bytes: u64,
    /// Data not yet checkpointed, in bytes, beyond which commands from outside are refused.
    pub uncheckpointed_bytes_max: u64,
    /// Bytes of the journal since the last snapshot at which the next one begins, or twice the
    /// size of that snapshot, if this is more. Only a snapshot lets segments of the journal go.
    pub snapshot_after_bytes: u64,
    /// Unconsumed messages of one stream, in bytes, beyond which commands to its sender are
    /// refused.
    pub stream_backlog_bytes_max: u64,
    /// Unconsumed messages of all streams together, in bytes, that are kept in memory, about; those
    /// beyond it wait on disk. Beside them there is what came since the last checkpoint.
    pub outbox_memory_bytes_max: u64,
    /// Memory for the cache of the materialised state, in bytes, about: up to twice as much with
    /// very small rows.
    pub cache_bytes: u64,
    /// Free space on the disk, in bytes, below which commands from outside are refused.
    pub space_low_bytes: u64,
    /// Space kept aside on the disk, in bytes, to make room with when it is full: at least one
    /// segment and one checkpoint; 0 for none.
    pub space_reserve_bytes: u64,
    /// How long published events stay readable.
    pub events_kept: Duration,
    /// Size of the event log, in bytes, beyond which the oldest events go.
    pub events_bytes_max: u64,
}

impl Default for Config {
    fn default() -> Config {
        const MIB: u64 = 1024 * 1024;
        Config {
            requests_waiting_max: 4_096,
            stream_window: 1_024,
            turns_per_batch: 128,
            parked_max: 10_000,
            answers_kept: Duration::from_secs(7 * 86_400),
            dead_letters_warn: 1_000_000,
            turn_slow: Duration::from_secs(1),
            turn_abort: Duration::from_secs(30),
            journal_segment_bytes: 64 * MIB,
            checkpoint_after_bytes: 64 * MIB,
            uncheckpointed_bytes_max: 256 * MIB,
            snapshot_after_bytes: 256 * MIB,
            stream_backlog_bytes_max: 1024 * MIB,
            outbox_memory_bytes_max: 64 * MIB,
            cache_bytes: 64 * MIB,
            space_low_bytes: 256 * MIB,
            space_reserve_bytes: 128 * MIB,
            events_kept: Duration::from_secs(7 * 86_400),
            events_bytes_max: 1024 * MIB,
        }
    }
}
