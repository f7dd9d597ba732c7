//! The `running` file: which message each service has in hand, so that a message that kills the
//! process is found out; and up to where the journal is durable, so that a tail that was lost is
//! told from one that was torn.
//!
//! Before a handler runs, its service's slot names the message; after it, the slot is cleared.
//! The slots are shared memory: no system call, no sync. They survive the death of the process,
//! which is the only death that a message can cause; after a power loss they mean nothing and are
//! ignored.
//!
//! What they name stands until an attempt has been charged for it: an opening that dies before its
//! charges are durable leaves it to the next, which charges for the slots of any earlier opening.
//!
//! ```text
//! slot (64 bytes): opening id | kind | sender | sequence or hash of key | unused
//! of slot 0, the library's own: the same | position | check | position | check
//! ```
//!
//! A position is noted after its sync, twice by turns, each with a check. So whatever of it is found
//! later was durable, also after a power loss; it may only be too old.
//!
//! This is the one module with `unsafe` code: it views a shared mapping as atomic words.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use crate::commit::{Incarnation, Position, Sequence, ServiceId};

/// How many services have a slot. A process that is killed by a message of a service beyond them
/// cannot name the message.
pub const SLOTS: usize = 4096;

const SLOT_WORDS: usize = 8;
const SLOT_BYTES: usize = SLOT_WORDS * 8;

/// Size of the `running` file in bytes.
pub const RUNNING_BYTES: usize = SLOTS * SLOT_BYTES;

/// Memory that outlives the process: a mapped file, or a simulation of one.
#[derive(Clone)]
pub enum SharedMemory {
    /// A shared mapping of a file.
    Mapped(Arc<MmapRaw>),
    /// Memory that a simulated disk keeps.
    Simulated(Arc<[AtomicU64]>),
}

impl SharedMemory {
    /// Maps the whole of a file whose size is a multiple of eight bytes.
    pub fn mapped(file: &File) -> io::Result<SharedMemory> {
        Ok(SharedMemory::Mapped(Arc::new(
            MmapOptions::new().map_raw(file)?,
        )))
    }

    /// Zeroed memory of `bytes` bytes for a simulated disk.
    pub fn simulated(bytes: usize) -> SharedMemory {
        SharedMemory::Simulated((0..bytes / 8).map(|_| AtomicU64::new(0)).collect())
    }

    /// A copy that goes its own way: what a process leaves behind when it is killed. A mapped file
    /// is its own copy.
    pub(crate) fn left_behind(&self) -> SharedMemory {
        match self {
            SharedMemory::Simulated(words) => SharedMemory::Simulated(
                words
                    .iter()
                    .map(|word| AtomicU64::new(word.load(Ordering::Acquire)))
                    .collect(),
            ),
            SharedMemory::Mapped(map) => SharedMemory::Mapped(map.clone()),
        }
    }

    /// Its bytes, as the file has them.
    pub(crate) fn content(&self) -> Vec<u8> {
        (0..)
            .map_while(|index| self.word(index))
            .flat_map(|word| word.load(Ordering::Acquire).to_ne_bytes())
            .collect()
    }

    /// Writes a mapped file back, so that a power loss does not bring back what was cleared. If
    /// that fails, no more than an attempt too many would be charged.
    fn flush(&self) {
        if let SharedMemory::Mapped(map) = self
            && let Err(error) = map.flush()
        {
            tracing::warn!(%error, "the running file cannot be written back");
        }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        match self {
            SharedMemory::Simulated(words) => words.get(index),
            SharedMemory::Mapped(map) => {
                if index >= map.len() / 8 {
                    return None;
                }
                let first = map.as_mut_ptr().cast::<u64>();
                // SAFETY: the mapping is page-aligned, `index` was checked against its length, it
                // lives as long as `self`, it is writable, and everyone in this process goes
                // through atomics. The lock file keeps other processes of ours away; what a
                // stranger writes into it can only be read as a wrong number.
                Some(unsafe { AtomicU64::from_ptr(first.add(index)) })
            }
        }
    }
}

/// What a service has in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InHand {
    /// A message of a stream.
    Message {
        /// The stream's sender.
        sender: ServiceId,
        /// Its number.
        sequence: Sequence,
    },
    /// A command from outside, by the hash of its identity.
    Command {
        /// Hash of the edge and idempotency key.
        hash: u64,
    },
    /// A timer, by the hash of its key.
    Timer {
        /// Hash of the row's key.
        hash: u64,
    },
    /// The result of an activity, by the hash of its key.
    Activity {
        /// Hash of the row's key.
        hash: u64,
    },
}

/// A message that was in hand when the process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted {
    /// The service whose handler was running.
    pub service: ServiceId,
    /// What it had in hand.
    pub what: InHand,
}

/// Where slot 0 notes what is durable: a position, and its check behind it.
const NOTES: [usize; 2] = [4, 6];

/// What stands behind a noted position.
fn check(position: Position, incarnation: Incarnation) -> u64 {
    // Not what zeroed memory says of position 0.
    let of = incarnation.0 ^ 0x9e37_79b9_7f4a_7c15;
    position.0.rotate_left(29) ^ of
}

/// The newest position that a `running` file notes as durable in this incarnation.
pub fn noted(file: &[u8], incarnation: Incarnation) -> Option<Position> {
    let word = |index: usize| {
        let at: Range<usize> = index * 8..index * 8 + 8;
        let bytes = file.get(at)?.try_into().ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    let whole = |index: &usize| {
        let position = Position(word(*index)?);
        (word(*index + 1)? == check(position, incarnation)).then_some(position)
    };
    NOTES.iter().filter_map(whole).max()
}

/// All slots of a cell.
#[derive(Clone)]
pub(crate) struct Running {
    memory: SharedMemory,
    opening: u64,
    incarnation: Incarnation,
}

impl Running {
    pub(crate) fn new(memory: SharedMemory, opening: u64, incarnation: Incarnation) -> Running {
        Running {
            memory,
            opening,
            incarnation,
        }
    }

    /// Notes up to where the journal is durable. For the journal's writer alone.
    pub(crate) fn note_durable(&self, position: Position) {
        let [first, second] = NOTES.map(|note| {
            let word = |index| self.memory.word(index);
            word(note).zip(word(note + 1))
        });
        let (Some(first), Some(second)) = (first, second) else {
            return;
        };
        // The older one, so that a death in between leaves the newer one whole.
        let older = match first.0.load(Ordering::Acquire) <= second.0.load(Ordering::Acquire) {
            true => first,
            false => second,
        };
        older.0.store(position.0, Ordering::Release);
        older
            .1
            .store(check(position, self.incarnation), Ordering::Release);
    }

    /// What the slots of earlier openings name.
    pub(crate) fn interrupted(&self) -> Vec<Interrupted> {
        (0..SLOTS)
            .filter_map(|slot| {
                let word = |n| self.memory.word(slot * SLOT_WORDS + n);
                let load = |n| word(n).map_or(0, |word| word.load(Ordering::Acquire));
                if load(0) == 0 || load(0) == self.opening {
                    return None;
                }
                let what = match load(1) >> 32 {
                    1 => InHand::Message {
                        sender: ServiceId((load(1) & u64::from(u32::MAX)) as u32),
                        sequence: Sequence(load(2)),
                    },
                    2 => InHand::Command { hash: load(2) },
                    3 => InHand::Timer { hash: load(2) },
                    4 => InHand::Activity { hash: load(2) },
                    _ => return None,
                };
                Some(Interrupted {
                    service: ServiceId(slot as u32),
                    what,
                })
            })
            .collect()
    }

    /// Clears the slots of earlier openings: no later one is to charge for them.
    pub(crate) fn forget(&self) {
        for slot in 0..SLOTS {
            if let Some(word) = self.memory.word(slot * SLOT_WORDS) {
                let found = word.load(Ordering::Acquire);
                if found != self.opening {
                    word.store(0, Ordering::Release);
                }
            }
        }
        self.memory.flush();
    }

    /// Clears all slots, at an orderly end.
    pub(crate) fn finish(&self) {
        for slot in 0..SLOTS {
            self.slot(ServiceId(slot as u32)).clear();
        }
    }

    pub(crate) fn slot(&self, service: ServiceId) -> RunningSlot {
        RunningSlot {
            memory: self.memory.clone(),
            opening: self.opening,
            base: service.0 as usize * SLOT_WORDS,
        }
    }
}

/// The slot of one service; for its actor alone.
#[derive(Clone)]
pub struct RunningSlot {
    memory: SharedMemory,
    opening: u64,
    base: usize,
}

impl RunningSlot {
    /// Names what the next handler call has in hand.
    pub fn set(&self, what: InHand) {
        let (kind, number) = match what {
            InHand::Message { sender, sequence } => (1 << 32 | u64::from(sender.0), sequence.0),
            InHand::Command { hash } => (2 << 32, hash),
            InHand::Timer { hash } => (3 << 32, hash),
            InHand::Activity { hash } => (4 << 32, hash),
        };
        // The opening id goes last: a slot counts only with it, and never half-written.
        self.store(1, kind);
        self.store(2, number);
        self.store(0, self.opening);
    }

    /// Says that the handler has returned.
    pub fn clear(&self) {
        self.store(0, 0);
    }

    fn store(&self, word: usize, value: u64) {
        if let Some(word) = self.memory.word(self.base + word) {
            word.store(value, Ordering::Release);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const INCARNATION: Incarnation = Incarnation(77);

    #[test]
    fn the_newest_durable_position_is_noted_for_its_incarnation_and_half_a_note_is_none() {
        let memory = SharedMemory::simulated(RUNNING_BYTES);
        let content = || memory.content();
        assert_eq!(noted(&content(), INCARNATION), None);
        assert_eq!(noted(&[], INCARNATION), None);
        let running = Running::new(memory.clone(), 7, INCARNATION);
        for position in [3, 8, 9, 200] {
            running.note_durable(Position(position));
            assert_eq!(noted(&content(), INCARNATION), Some(Position(position)));
        }
        assert_eq!(noted(&content(), Incarnation(78)), None);
        running.slot(ServiceId(0)).set(InHand::Timer { hash: 4 });
        running.finish();
        assert_eq!(noted(&content(), INCARNATION), Some(Position(200)));
        // Died between the position and its check.
        let older = NOTES[0];
        memory.word(older).unwrap().store(300, Ordering::Release);
        let newest = noted(&content(), INCARNATION);
        assert!(
            newest == Some(Position(200)) || newest == Some(Position(9)),
            "{newest:?}"
        );
    }

    #[test]
    fn a_set_slot_is_found_by_the_next_opening_and_a_cleared_one_is_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(RUNNING_BYTES as u64).unwrap();
        let memory = SharedMemory::mapped(&file).unwrap();
        let running = Running::new(memory.clone(), 7, INCARNATION);
        let what = InHand::Message {
            sender: ServiceId(3),
            sequence: Sequence(9),
        };
        running.slot(ServiceId(1)).set(what);
        running.slot(ServiceId(2)).set(InHand::Timer { hash: 4 });
        running.slot(ServiceId(2)).clear();
        // Beyond the table: no slot, and no harm.
        running.slot(ServiceId(1_000_000)).set(what);
        let again = SharedMemory::mapped(&file).unwrap();
        let next = Running::new(again.clone(), 8, INCARNATION);
        let expected = [Interrupted {
            service: ServiceId(1),
            what,
        }];
        assert_eq!(next.interrupted(), expected);
        assert!(running.interrupted().is_empty());
        // An opening that died early takes nothing away from the one after it.
        let after = Running::new(again, 9, INCARNATION);
        assert_eq!(after.interrupted(), expected);
        after.slot(ServiceId(2)).set(what);
        after.forget();
        assert!(after.interrupted().is_empty());
        // What is in hand now stays.
        assert_eq!(next.interrupted()[0].service, ServiceId(2));
        after.finish();
        assert!(next.interrupted().is_empty());
    }
}
