//! Parked messages: durable second chances, and who waits behind them.
//!
//! A message whose turn panicked is parked until its next attempt; the messages of the same
//! stream and ordering key are parked behind it, so their order holds while other keys go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::codec::{self, CodecError, Subject};
use crate::commit::{Sequence, ServiceId};
use crate::context::TimerId;
use crate::key::{KeyReader, TableKey};

/// What set a turn off, as far as it must be found again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// A message of a stream.
    Message {
        sender: ServiceId,
        sequence: Sequence,
    },
    /// A timer of the service.
    Timer(TimerId),
    /// The end of an activity of the service.
    Activity(uuid::Uuid),
}

impl TableKey for Origin {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Origin::Message { sender, sequence } => (0u8, sender.0, sequence.0).write(out),
            Origin::Timer(timer) => (1u8, timer.due, timer.id).write(out),
            Origin::Activity(id) => (2u8, *id).write(out),
        }
    }

    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        match u8::read(from)? {
            0 => Some(Origin::Message {
                sender: ServiceId(u32::read(from)?),
                sequence: Sequence(u64::read(from)?),
            }),
            1 => TimerId::from_key(from.take(24)?).map(Origin::Timer),
            2 => uuid::Uuid::read(from).map(Origin::Activity),
            _ => None,
        }
    }
}

/// Why a message is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// Its turn panicked, or took the process with it.
    Failed,
    /// It waits behind another with the same ordering key.
    Behind,
    /// It could not be decoded; tried again at the next start.
    Unreadable,
    /// It has become a dead letter and holds its followers back until an operator decides. Counted
    /// as dead, not as parked.
    Held,
}

/// One failure of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) at: Timestamp,
    pub(crate) reason: String,
}

/// A parked message as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParkedRow {
    pub(crate) why: Why,
    pub(crate) attempts: u32,
    pub(crate) next_at: Timestamp,
    pub(crate) history: Vec<Failure>,
    /// The encoded envelope.
    pub(crate) envelope: Vec<u8>,
    /// The sealed end of an activity, for one that was to be delivered.
    pub(crate) result: Option<Vec<u8>>,
}

/// Why a message was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadReason {
    /// Its handler failed at every attempt.
    Exhausted,
    /// Its handler refused it and nobody could be told.
    Rejected,
    /// The service no longer handles it (`retired`).
    Retired,
}

/// A dead letter as stored: the message whole, with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadRow {
    pub(crate) reason: DeadReason,
    pub(crate) died_at: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) history: Vec<Failure>,
    pub(crate) envelope: Vec<u8>,
    pub(crate) result: Option<Vec<u8>>,
}

pub(crate) const PARKED: &str = "~parked";
pub(crate) const DEAD: &str = "~dead";
/// Longest reason kept.
const REASON_BYTES_MAX: usize = 4_096;
/// Failures kept in a row's history; the first and the newest tell the story.
const HISTORY_MAX: usize = 8;

pub(crate) fn seal_parked(origin: &Origin, row: &ParkedRow) -> Result<Bytes, CodecError> {
    codec::seal(Subject::row(PARKED, &origin.to_bytes()), 1, row).map(Bytes::from)
}

pub(crate) fn open_parked(key: &[u8], sealed: &[u8]) -> Result<ParkedRow, CodecError> {
    codec::open(Subject::row(PARKED, key), 1, sealed, codec::no_older)
}

pub(crate) fn seal_dead(origin: &Origin, row: &DeadRow) -> Result<Bytes, CodecError> {
    codec::seal(Subject::row(DEAD, &origin.to_bytes()), 1, row).map(Bytes::from)
}

pub(crate) fn open_dead(key: &[u8], sealed: &[u8]) -> Result<DeadRow, CodecError> {
    codec::open(Subject::row(DEAD, key), 1, sealed, codec::no_older)
}

/// Adds a failure, dropping from the middle what is too many.
pub(crate) fn remember(history: &mut Vec<Failure>, mut failure: Failure) {
    // What a panic says may be anything; the row must stay small enough to be stored.
    let cut = failure.reason.floor_char_boundary(REASON_BYTES_MAX);
    failure.reason.truncate(cut);
    if history.len() >= HISTORY_MAX {
        history.remove(1);
    }
    history.push(failure);
}

/// Messages of one stream with one ordering key.
type Group = (ServiceId, Bytes);

#[derive(Debug, Clone)]
struct Entry {
    next_at: Timestamp,
    why: Why,
    group: Option<Group>,
}

/// The parked messages of a service in memory: who is due, who waits behind whom. The messages
/// themselves stay in their rows.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    entries: BTreeMap<Origin, Entry>,
    groups: HashMap<Group, BTreeSet<Origin>>,
    due: BTreeSet<(Timestamp, Origin)>,
    by_sender: HashMap<ServiceId, usize>,
}

impl Parked {
    /// Adds or replaces a message. `key` is its ordering key, if it has one and came by a stream.
    pub(crate) fn insert(&mut self, origin: Origin, row: &ParkedRow, key: Option<Bytes>) {
        self.remove(&origin);
        let group = match (origin, key) {
            (Origin::Message { sender, .. }, Some(key)) => Some((sender, key)),
            _ => None,
        };
        if let Origin::Message { sender, .. } = origin {
            *self.by_sender.entry(sender).or_default() += 1;
        }
        self.entries.insert(
            origin,
            Entry {
                next_at: row.next_at,
                why: row.why,
                group: group.clone(),
            },
        );
        match group {
            Some(group) => {
                self.groups.entry(group.clone()).or_default().insert(origin);
                self.refresh(&group);
            }
            None => self.schedule(origin),
        }
    }

    /// Removes a message; whoever waited behind it is next.
    pub(crate) fn remove(&mut self, origin: &Origin) {
        let Some(entry) = self.entries.remove(origin) else {
            return;
        };
        if let Some(at) = entry.due_at() {
            self.due.remove(&(at, *origin));
        }
        if let Origin::Message { sender, .. } = origin
            && let Some(count) = self.by_sender.get_mut(sender)
        {
            *count = count.saturating_sub(1);
        }
        if let Some(group) = entry.group {
            if let Some(members) = self.groups.get_mut(&group) {
                members.remove(origin);
                if members.is_empty() {
                    self.groups.remove(&group);
                }
            }
            self.refresh(&group);
        }
    }

    /// Whether a message of this stream and key must wait behind a parked one.
    pub(crate) fn blocks(&self, sender: ServiceId, key: &Bytes) -> bool {
        !self.groups.is_empty() && self.groups.contains_key(&(sender, key.clone()))
    }

    /// The next message that is due.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Origin> {
        self.due
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, origin)| *origin)
    }

    /// When the next message will be due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How many messages of this stream are parked.
    pub(crate) fn of_sender(&self, sender: ServiceId) -> usize {
        self.by_sender.get(&sender).copied().unwrap_or(0)
    }

    /// How many messages are parked; those that only hold others back are dead letters.
    pub(crate) fn len(&self) -> usize {
        let held = |entry: &&Entry| entry.why == Why::Held;
        self.entries.len() - self.entries.values().filter(held).count()
    }

    /// Only the first of a group may become due.
    fn refresh(&mut self, group: &Group) {
        let mut members = self.groups.get(group).into_iter().flatten().copied();
        let (first, second) = (members.next(), members.next());
        if let Some(first) = first {
            self.schedule(first);
        }
        if let Some(second) = second
            && let Some(at) = self.entries.get(&second).and_then(Entry::due_at)
        {
            self.due.remove(&(at, second));
        }
    }

    fn schedule(&mut self, origin: Origin) {
        if let Some(at) = self.entries.get(&origin).and_then(Entry::due_at) {
            self.due.insert((at, origin));
        }
    }
}

impl Entry {
    fn due_at(&self) -> Option<Timestamp> {
        match self.why {
            Why::Failed => Some(self.next_at),
            Why::Behind => Some(Timestamp(i64::MIN)),
            // Not before the next start: this program has shown that it cannot read it.
            Why::Unreadable => None,
            // An operator decides.
            Why::Held => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: ServiceId = ServiceId(7);

    fn origin(n: u64) -> Origin {
        Origin::Message {
            sender: SENDER,
            sequence: Sequence(n),
        }
    }

    fn row(why: Why, next_at: i64) -> ParkedRow {
        ParkedRow {
            why,
            attempts: 1,
            next_at: Timestamp(next_at),
            history: Vec::new(),
            envelope: Vec::new(),
            result: None,
        }
    }

    fn key(text: &'static str) -> Option<Bytes> {
        Some(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn followers_become_due_only_when_all_before_them_are_gone() {
        let mut parked = Parked::default();
        parked.insert(origin(5), &row(Why::Failed, 100), key("a"));
        parked.insert(origin(6), &row(Why::Behind, 0), key("a"));
        parked.insert(origin(7), &row(Why::Behind, 0), key("a"));
        parked.insert(origin(8), &row(Why::Failed, 50), key("b"));
        assert_eq!(parked.due(Timestamp(60)), Some(origin(8)));
        parked.remove(&origin(8));
        assert_eq!(parked.due(Timestamp(60)), None);
        assert_eq!(parked.next_at(), Some(Timestamp(100)));
        parked.remove(&origin(5));
        assert_eq!(parked.due(Timestamp(60)), Some(origin(6)));
        assert!(parked.blocks(SENDER, &Bytes::from_static(b"a")));
        parked.remove(&origin(6));
        parked.remove(&origin(7));
        assert!(!parked.blocks(SENDER, &Bytes::from_static(b"a")));
        assert_eq!(parked.of_sender(SENDER), 0);
    }

    #[test]
    fn an_unreadable_message_waits_and_holds_its_key() {
        let mut parked = Parked::default();
        parked.insert(origin(1), &row(Why::Unreadable, 0), key("a"));
        assert_eq!(parked.due(Timestamp(i64::MAX)), None);
        assert!(parked.blocks(SENDER, &Bytes::from_static(b"a")));
    }

    #[test]
    fn origins_survive_as_keys() {
        let timer = TimerId {
            due: Timestamp(-5),
            id: uuid::Uuid::from_u128(9),
        };
        for origin in [
            origin(3),
            Origin::Timer(timer),
            Origin::Activity(uuid::Uuid::from_u128(4)),
        ] {
            assert_eq!(Origin::from_bytes(&origin.to_bytes()), Some(origin));
        }
    }

    #[test]
    fn golden_bytes_of_stored_rows_stay_readable() {
        let failure = Failure {
            at: Timestamp(5),
            reason: "boom".into(),
        };
        let parked = ParkedRow {
            why: Why::Failed,
            attempts: 2,
            next_at: Timestamp(9),
            history: vec![failure.clone()],
            envelope: vec![1, 2],
            result: Some(vec![3]),
        };
        let dead = DeadRow {
            reason: DeadReason::Exhausted,
            died_at: Timestamp(7),
            attempts: 5,
            history: vec![failure],
            envelope: vec![1, 2],
            result: None,
        };
        let changed = "the stored format changed: give it a new version and keep reading this one";
        let golden = include_bytes!("../tests/golden/parked-row-1.bin");
        assert_eq!(
            seal_parked(&origin(3), &parked).as_deref(),
            Ok(&golden[..]),
            "{changed}"
        );
        assert_eq!(open_parked(&origin(3).to_bytes(), golden), Ok(parked));
        let golden = include_bytes!("../tests/golden/dead-row-1.bin");
        assert_eq!(
            seal_dead(&origin(3), &dead).as_deref(),
            Ok(&golden[..]),
            "{changed}"
        );
        assert_eq!(open_dead(&origin(3).to_bytes(), golden), Ok(dead));
    }
}
