//! Planted bugs: mistakes that a system can be told to make, so that its checkers can be checked.
//!
//! A mistake stands where the real one would, as a line or two that ask [`Planted::is`]. Each
//! system is told for itself, through its store's options and its services' shapes; there is no
//! global switch. Without the feature `planted`, which no default build has, [`Planted`] is empty
//! and every such question is answered `false` by the compiler.
#![cfg_attr(
    not(feature = "planted"),
    allow(dead_code, unreachable_pub),
    doc = "Nobody can plant anything in this build."
)]

use std::fmt;
use std::str::FromStr;

/// A mistake that a [`TestSystem`](crate::testing::TestSystem) can be told to make.
///
/// ```
/// # #[cfg(feature = "planted")] {
/// use redeliver::testing::PlantedBug;
///
/// let bug: PlantedBug = "timer-early".parse().unwrap();
/// assert_eq!(bug.to_string(), "timer-early");
/// assert!(PlantedBug::ALL.contains(&bug));
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PlantedBug {
    /// Acknowledgements between services are dropped: a sender never learns what was consumed, and
    /// its stream stands still once its window (`Config::stream_window`) is used up.
    AckDropped,
    /// A second copy of a message is taken for a new message.
    DedupeSkipped,
    /// The mark of a message becomes durable in a commit before the one with its effects: a crash
    /// between the two loses them.
    MarkBeforeApply,
    /// Replies are given and activities started when a commit is queued, not when it is durable.
    OutputsBeforeSync,
    /// Queries and stored answers are answered from state that is not durable.
    QueryBeforeSync,
    /// Recovery trims one message too many from each outbox: the first that waits.
    OutboxTrimmedTooFar,
    /// A message that is parked gets no row: its mark has moved, and nothing is left of it.
    ParkedLost,
    /// A message does not wait behind an earlier parked one of its stream and key.
    KeyOrderBroken,
    /// A timer's row stays when it goes off; after a restart it goes off again.
    TimerTwice,
    /// Timers go off up to two seconds early.
    TimerEarly,
    /// A service that starts forgets the timer that is due first, a saga's deadline included.
    TimerDroppedOnRestart,
    /// A saga that is undone leaves its first completed step as it is.
    CompensationSkipped,
    /// A checkpoint says that it has one commit more than it has.
    CheckpointTooHigh,
    /// Segments of the journal go when a checkpoint begins that covers them, not when a snapshot
    /// that does has been verified.
    SegmentDeletedEarly,
    /// A checkpoint misses the first waiting message of each outbox.
    OutboxNotCheckpointed,
    /// Recovery forgets the answers that were stored under idempotency keys since the checkpoint.
    AnswerForgotten,
    /// An activity's plan stays when its end is handled; after a restart it is handled again.
    ActivityEndedTwice,
    /// An activity without a result is run again after a restart without asking its destination.
    ActivityRunBlindly,
    /// A snapshot lacks the rows of the largest table of all services.
    SnapshotMissesTable,
    /// An event with several subscribers is not promised to the last of them.
    SubscriberSkipped,
    /// The index entries of a removed row stay.
    IndexEntryLeft,
    /// A rejected turn keeps what its handler had written and promised.
    RejectionLeavesWrites,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: &'static [PlantedBug] = &[
        PlantedBug::AckDropped,
        PlantedBug::DedupeSkipped,
        PlantedBug::MarkBeforeApply,
        PlantedBug::OutputsBeforeSync,
        PlantedBug::QueryBeforeSync,
        PlantedBug::OutboxTrimmedTooFar,
        PlantedBug::ParkedLost,
        PlantedBug::KeyOrderBroken,
        PlantedBug::TimerTwice,
        PlantedBug::TimerEarly,
        PlantedBug::TimerDroppedOnRestart,
        PlantedBug::CompensationSkipped,
        PlantedBug::CheckpointTooHigh,
        PlantedBug::SegmentDeletedEarly,
        PlantedBug::OutboxNotCheckpointed,
        PlantedBug::AnswerForgotten,
        PlantedBug::ActivityEndedTwice,
        PlantedBug::ActivityRunBlindly,
        PlantedBug::SnapshotMissesTable,
        PlantedBug::SubscriberSkipped,
        PlantedBug::IndexEntryLeft,
        PlantedBug::RejectionLeavesWrites,
    ];

    /// Its name, in words joined by hyphens; [`FromStr`] reads it back.
    pub fn name(self) -> &'static str {
        match self {
            PlantedBug::AckDropped => "ack-dropped",
            PlantedBug::DedupeSkipped => "dedupe-skipped",
            PlantedBug::MarkBeforeApply => "mark-before-apply",
            PlantedBug::OutputsBeforeSync => "outputs-before-sync",
            PlantedBug::QueryBeforeSync => "query-before-sync",
            PlantedBug::OutboxTrimmedTooFar => "outbox-trimmed-too-far",
            PlantedBug::ParkedLost => "parked-lost",
            PlantedBug::KeyOrderBroken => "key-order-broken",
            PlantedBug::TimerTwice => "timer-twice",
            PlantedBug::TimerEarly => "timer-early",
            PlantedBug::TimerDroppedOnRestart => "timer-dropped-on-restart",
            PlantedBug::CompensationSkipped => "compensation-skipped",
            PlantedBug::CheckpointTooHigh => "checkpoint-too-high",
            PlantedBug::SegmentDeletedEarly => "segment-deleted-early",
            PlantedBug::OutboxNotCheckpointed => "outbox-not-checkpointed",
            PlantedBug::AnswerForgotten => "answer-forgotten",
            PlantedBug::ActivityEndedTwice => "activity-ended-twice",
            PlantedBug::ActivityRunBlindly => "activity-run-blindly",
            PlantedBug::SnapshotMissesTable => "snapshot-misses-table",
            PlantedBug::SubscriberSkipped => "subscriber-skipped",
            PlantedBug::IndexEntryLeft => "index-entry-left",
            PlantedBug::RejectionLeavesWrites => "rejection-leaves-writes",
        }
    }
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no planted bug of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no planted bug is named `{0}`; list them with `PlantedBug::ALL`")]
pub struct UnknownBug(pub String);

impl FromStr for PlantedBug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<PlantedBug, UnknownBug> {
        let known = PlantedBug::ALL.iter().find(|bug| bug.name() == name);
        known.copied().ok_or_else(|| UnknownBug(name.to_owned()))
    }
}

/// Which mistake a system makes, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<PlantedBug>,
}

#[cfg(feature = "planted")]
impl Planted {
    pub(crate) fn this(bug: PlantedBug) -> Planted {
        Planted { bug: Some(bug) }
    }

    /// Whether this mistake is to be made.
    #[inline]
    pub(crate) fn is(self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }
}

#[cfg(not(feature = "planted"))]
impl Planted {
    /// No mistake is made in this build.
    #[inline(always)]
    pub(crate) const fn is(self, _bug: PlantedBug) -> bool {
        false
    }
}

// A default build has nothing to ask.
#[cfg(not(feature = "planted"))]
const _: () = assert!(size_of::<Planted>() == 0);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_planted_bug_is_listed_once_and_found_by_its_name() {
        let names: BTreeSet<&str> = PlantedBug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), PlantedBug::ALL.len());
        for bug in PlantedBug::ALL {
            assert_eq!(bug.to_string().parse(), Ok(*bug));
            let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(bug.name().chars().all(kebab), "{bug}");
        }
        let last = PlantedBug::ALL.last().unwrap();
        assert_eq!(*last as usize + 1, PlantedBug::ALL.len());
        assert_eq!(
            "none".parse::<PlantedBug>().unwrap_err().to_string(),
            "no planted bug is named `none`; list them with `PlantedBug::ALL`"
        );
    }
}
