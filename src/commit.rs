//! The commit: everything one turn changes, as one value.
//!
//! A turn produces a [`Commit`]; the store queues it, which fixes its [`Position`] and the
//! sequence numbers of its messages; the journal makes it durable. Whoever needs to act on a
//! commit (reply, run an activity, show an event) does so in an [`Output`], which runs only after
//! the commit is durable.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::StoreError;

/// Place of a commit in its cell's journal. Dense, starting at 1; 0 is "before the first commit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// Number of a message within its stream. Dense, starting at 1; 0 is "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

/// Number of a published event in its cell's event log. Dense, starting at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventNumber(pub u64);

/// Durable number of one slot of one service. The store gives it out once and keeps the name
/// beside it, so that records need not carry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// Durable number of one table of one service slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// Counts the actors that have owned a service since the store was opened. The store refuses a
/// commit from any but the newest, so a dying actor cannot write after its successor has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A random number that names one continuous history of a cell's sequence numbers: new at
/// creation, at restore, and at any fail-over that may have lost commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// The way from one service slot to another; messages on it are numbered densely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Whose outbox the messages wait in.
    pub sender: ServiceId,
    /// Whose inbox keeps the mark.
    pub receiver: ServiceId,
}

/// What a receiver has done with one stream. All counts are totals since the stream began, so
/// writing a mark twice changes nothing.
///
/// `consumed = applied + rejected + parked + dead + discarded`; `parked` is counted from the rows
/// of parked messages and is therefore not a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The highest sequence number taken from the stream. All below it are taken too.
    pub consumed: Sequence,
    /// Turns that committed `Ok`.
    pub applied: u64,
    /// Turns that committed a rejection its sender was told of.
    pub rejected: u64,
    /// Messages given up and kept as dead letters.
    pub dead: u64,
    /// Dead letters that an operator threw away.
    pub discarded: u64,
}

impl Mark {
    /// How many consumed messages are waiting as parked messages.
    pub fn parked(&self) -> u64 {
        self.consumed
            .0
            .saturating_sub(self.applied + self.rejected + self.dead + self.discarded)
    }
}

/// One row put (`Some`) or removed (`None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The table.
    pub table: TableId,
    /// The row's key, in its order-preserving form.
    pub key: Bytes,
    /// The row's value as stored, or `None` to remove the row.
    pub value: Option<Bytes>,
}

/// One message and all its receivers. The body stands once in the journal and once in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The encoded envelope; the same for every receiver.
    pub envelope: Bytes,
    /// Who gets it; the store gives each the next sequence number of its stream. May be empty for
    /// an event that only outside listeners hear.
    pub to: Vec<ServiceId>,
    /// Whether the message also enters the event log.
    pub event: bool,
}

/// What set a commit off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A message of a stream, whose body this journal already has in its sender's commit.
    Message {
        /// Its sender.
        sender: ServiceId,
        /// Its number in the stream.
        sequence: Sequence,
    },
    /// A command from outside; its body stands here because no other record has it.
    Command {
        /// The encoded envelope.
        envelope: Bytes,
    },
    /// A timer of this service.
    Timer {
        /// Key of its row.
        key: Bytes,
    },
    /// The result of an activity of this service.
    Activity {
        /// Key of its row.
        key: Bytes,
        /// The encoded result.
        result: Bytes,
    },
    /// The library's own housekeeping: parking, expiry, start-up, an operator's act.
    System {
        /// What was done, for readers of the journal.
        note: String,
    },
}

/// A change of a receiver's mark for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkMove {
    /// The stream's sender; the receiver is the committing service.
    pub sender: ServiceId,
    /// The mark as it is after the commit.
    pub mark: Mark,
}

/// Everything one turn changes. Queued and made durable whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The service slot whose turn it was.
    pub service: ServiceId,
    /// The turn's time ([`Context::now`](crate::View::now)).
    pub at: Timestamp,
    /// The seed of the turn's random numbers.
    pub seed: u64,
    /// What set it off.
    pub cause: Cause,
    /// The stream position that it consumed, if a stream's message set it off.
    pub mark: Option<MarkMove>,
    /// Rows put and removed, in order; a later write of the same key wins.
    pub writes: Vec<Write>,
    /// Messages promised, in order.
    pub sends: Vec<Send>,
}

/// What the store fixed when it queued a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The commit's place in the journal.
    pub position: Position,
    /// For each entry of `sends`, in order, the number given for each of its receivers.
    pub sequences: Vec<Vec<(ServiceId, Sequence)>>,
}

/// Whether somebody waits for the outputs of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Somebody does: the journal's writer begins a group for them as soon as that pays.
    Awaited,
    /// Nobody does: they run when something else has made the journal durable, or after a
    /// millisecond.
    Unhurried,
}

/// Runs once the journal is durable up to the position it was queued with, or with the error
/// that keeps it from ever becoming so. Runs on the journal's thread: it must be short and must
/// not block.
pub type Output = Box<dyn FnOnce(Result<Position, StoreError>) + std::marker::Send>;
