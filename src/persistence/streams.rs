//! The streams of a cell: what each outbox still keeps and how far each inbox has come.
//!
//! ```text
//! 1 … mark.consumed │ mark + 1 … sent
//!     gone          │ kept: the outbox
//! ```
//!
//! Both ends live in the same cell, so an entry is dropped as soon as its receiver's turn is
//! queued: recovery yields a prefix, and the entry is in it if the turn that took it is not.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::backlog::{Backlog, Entry, Held, Page, choose};
use super::format::{Decoder, Malformed, put_varint};
use super::journal::body;
use super::spill::{SpillCursor, SpillFile};
use crate::commit::{Mark, Sequence, ServiceId, StreamId};

/// All streams of a cell.
#[derive(Default)]
pub(crate) struct Streams {
    map: RwLock<HashMap<StreamId, Arc<Mutex<Stream>>>>,
}

/// What is known about one stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) sent: Sequence,
    pub(crate) mark: Mark,
    /// What lies behind the mark.
    pub(crate) backlog: Backlog,
    /// Reads what of that is in files.
    pub(crate) cursor: Arc<SpillCursor>,
    /// Whether it has changed since the last checkpoint.
    changed: bool,
    /// The entries that the engine holds: from here …
    stored_first: Sequence,
    /// … up to here; none if `stored_last < stored_first`.
    stored_last: Sequence,
    /// Whether some between may be missing there, as after an interrupted checkpoint.
    doubtful: bool,
}

/// What a checkpoint has to write about one stream.
#[derive(Debug)]
pub(crate) struct FrozenStream {
    pub(crate) id: StreamId,
    pub(crate) sent: Sequence,
    pub(crate) mark: Mark,
    /// Entries the engine lacks.
    pub(crate) added: Vec<Entry>,
    /// Entries that go into files instead.
    pub(crate) spilling: Option<Arc<VecDeque<Entry>>>,
    /// Entries the engine has and no longer needs: from, to.
    pub(crate) removed: Option<(Sequence, Sequence)>,
}

/// One stream for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// The stream.
    pub id: StreamId,
    /// The last number given.
    pub sent: Sequence,
    /// What its receiver has done with it.
    pub mark: Mark,
    /// How many messages its outbox keeps.
    pub backlog_entries: u64,
    /// How many bytes they take; of those on disk, about.
    pub backlog_bytes: u64,
    /// How many of them are on disk and not in memory.
    pub spilled_entries: u64,
    /// How many bytes those take, about.
    pub spilled_bytes: u64,
    /// How much memory the others take, about.
    pub memory_bytes: u64,
}

impl Streams {
    pub(crate) fn find(&self, id: StreamId) -> Option<Arc<Mutex<Stream>>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.get(&id).cloned()
    }

    /// The stream, begun if need be.
    pub(crate) fn with<R>(&self, id: StreamId, act: impl FnOnce(&mut Stream) -> R) -> R {
        {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(stream) = map.get(&id) {
                return act(&mut lock(stream));
            }
        }
        let stream = {
            let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
            map.entry(id).or_default().clone()
        };
        act(&mut lock(&stream))
    }

    pub(crate) fn ids(&self) -> Vec<StreamId> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<StreamId> = map.keys().copied().collect();
        ids.sort();
        ids
    }

    pub(crate) fn states(&self) -> Vec<StreamState> {
        self.ids()
            .into_iter()
            .map(|id| self.with(id, |stream| stream.state(id)))
            .collect()
    }

    /// The streams with more than `bytes` waiting, in order.
    pub(crate) fn over_budget(&self, bytes: u64) -> Vec<StreamId> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<StreamId> = map
            .iter()
            .filter(|(id, stream)| lock(stream).state(**id).backlog_bytes > bytes)
            .map(|(id, _)| *id)
            .collect();
        ids.sort();
        ids
    }

    /// What a checkpoint at this instant has to write. Beyond about `memory_bytes` in memory, whole
    /// streams go to files. Called under the cell's lock.
    pub(crate) fn freeze(&self, memory_bytes: u64) -> Vec<FrozenStream> {
        let ids = self.ids();
        let held: Vec<Held<StreamId>> = ids
            .iter()
            .map(|id| self.with(*id, |stream| stream.held(*id)))
            .collect();
        let spilling = choose(&held, memory_bytes);
        ids.into_iter()
            .filter_map(|id| self.with(id, |stream| stream.freeze(id, spilling.contains(&id))))
            .collect()
    }
}

pub(crate) fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// The number of the next message.
    pub(crate) fn next(&self) -> Sequence {
        Sequence(self.sent.0 + 1)
    }

    /// Adds a message. In recovery it may be one that the engine already gave us, or one that a
    /// mark the engine already gave us has taken; both change nothing.
    pub(crate) fn push(&mut self, sequence: Sequence, envelope: Bytes) {
        self.changed = true;
        self.sent = self.sent.max(sequence);
        self.backlog.push(sequence, envelope);
    }

    /// Moves the mark and drops what it has passed.
    pub(crate) fn advance(&mut self, mark: Mark) {
        self.changed = true;
        self.mark = mark;
        self.backlog.advance(mark.consumed);
    }

    /// Drops the first message that waits, as if it had been consumed. Only a planted bug does.
    pub(crate) fn trim_one_more(&mut self) {
        if self.mark.consumed < self.sent {
            self.mark.consumed.0 += 1;
            self.backlog.advance(self.mark.consumed);
        }
    }

    fn held(&self, id: StreamId) -> Held<StreamId> {
        Held {
            stream: id,
            memory_bytes: self.backlog.in_memory().memory_bytes(),
            behind_files: self.backlog.files().next().is_some(),
        }
    }

    fn state(&self, id: StreamId) -> StreamState {
        let in_memory = self.backlog.in_memory();
        let on_disk = self.backlog.on_disk(self.mark.consumed);
        StreamState {
            id,
            sent: self.sent,
            mark: self.mark,
            backlog_entries: in_memory.entries + on_disk.entries,
            backlog_bytes: in_memory.bytes + on_disk.bytes,
            spilled_entries: on_disk.entries,
            spilled_bytes: on_disk.bytes,
            memory_bytes: in_memory.memory_bytes(),
        }
    }

    /// What the engine says the stream was at the last checkpoint.
    pub(crate) fn restore(&mut self, sent: Sequence, mark: Mark) {
        self.sent = sent;
        self.mark = mark;
    }

    /// An entry that the engine holds.
    pub(crate) fn restore_entry(&mut self, sequence: Sequence, envelope: Bytes) {
        if self.stored_last < self.stored_first || self.stored_first == Sequence(0) {
            self.stored_first = sequence;
        }
        self.stored_last = sequence;
        // What is in a file by now is here only to be removed.
        if sequence > self.mark.consumed {
            self.backlog.push(sequence, envelope);
        }
    }

    /// A file that `CHECKPOINT` names; they come in order, and before the entries.
    pub(crate) fn restore_file(&mut self, file: SpillFile) {
        self.backlog.restore_file(file);
    }

    /// Says that the engine may hold any part of what an interrupted checkpoint was writing.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
        self.changed = true;
    }

    /// Whether every number behind the mark has its message, as it must after recovery.
    pub(crate) fn is_whole(&self) -> bool {
        self.backlog.is_whole(self.mark.consumed, self.sent)
    }

    fn freeze(&mut self, id: StreamId, spills: bool) -> Option<FrozenStream> {
        if !self.changed && !spills {
            return None;
        }
        self.changed = false;
        // The engine's rows go when the mark has passed them, or when a file has them that
        // `CHECKPOINT` names already: should this checkpoint be interrupted, the one before counts,
        // with its files.
        let floor = self.mark.consumed.max(self.backlog.spilled_last());
        let stored = self.stored_first > Sequence(0) && self.stored_first <= self.stored_last;
        let removed_last = floor.min(self.stored_last);
        let removed = (stored && self.stored_first <= removed_last)
            .then_some((self.stored_first, removed_last));
        let spilling = spills.then(|| self.backlog.spill()).flatten();
        let mut added = Vec::new();
        if spilling.is_some() {
            self.stored_first = self.stored_first.max(Sequence(floor.0 + 1));
        } else {
            let held = stored && !self.doubtful;
            let after = if held { self.stored_last } else { Sequence(0) };
            let mut page = Page::new(usize::MAX, usize::MAX);
            self.backlog.read(after, &mut page);
            added = page.entries;
            self.stored_first = Sequence(floor.0 + 1);
            self.stored_last = self.sent;
        }
        self.doubtful = false;
        Some(FrozenStream {
            id,
            sent: self.sent,
            mark: self.mark,
            added,
            spilling,
            removed,
        })
    }

    /// Lets go of what is in files now.
    pub(crate) fn spilled(&mut self, files: &[SpillFile]) {
        self.backlog.spilled(files, self.mark.consumed);
        // The engine may hold some of it, to be removed by the next checkpoint.
        self.changed = true;
    }
}

/// Key of a stream's row.
pub(crate) fn stream_key(id: StreamId) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&id.sender.0.to_be_bytes());
    key[4..].copy_from_slice(&id.receiver.0.to_be_bytes());
    key
}

/// Key of an outbox entry's row.
pub(crate) fn entry_key(id: StreamId, sequence: Sequence) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&stream_key(id));
    key[8..].copy_from_slice(&sequence.0.to_be_bytes());
    key
}

/// Value of a stream's row.
pub(crate) fn stream_row(sent: Sequence, mark: &Mark) -> Vec<u8> {
    let mut row = vec![1];
    put_varint(&mut row, sent.0);
    body::put_mark(&mut row, mark);
    row
}

pub(crate) fn read_stream_key(key: &[u8]) -> Result<StreamId, Malformed> {
    let number = |at: usize| {
        let bytes = key.get(at..at + 4).ok_or(Malformed("its key is cut"))?;
        Ok(ServiceId(u32::from_be_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3],
        ])))
    };
    Ok(StreamId {
        sender: number(0)?,
        receiver: number(4)?,
    })
}

pub(crate) fn read_entry_key(key: &[u8]) -> Result<(StreamId, Sequence), Malformed> {
    let id = read_stream_key(key)?;
    let number: [u8; 8] = key
        .get(8..)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Malformed("its key has the wrong length"))?;
    Ok((id, Sequence(u64::from_be_bytes(number))))
}

pub(crate) fn read_stream_row(row: &[u8]) -> Result<(Sequence, Mark), Malformed> {
    let mut from = Decoder::new(row);
    if from.u8()? != 1 {
        return Err(Malformed("its format is unknown"));
    }
    let sent = Sequence(from.varint()?);
    let mark = body::mark(&mut from)?;
    from.finish()?;
    Ok((sent, mark))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn envelope(sequence: u64) -> (Sequence, Bytes) {
        (Sequence(sequence), Bytes::from(vec![sequence as u8]))
    }

    fn stream() -> (StreamId, Stream) {
        let id = StreamId {
            sender: ServiceId(1),
            receiver: ServiceId(2),
        };
        (id, Stream::default())
    }

    #[test]
    fn a_checkpoint_writes_only_what_came_and_removes_only_what_went() {
        let (id, mut stream) = stream();
        for sequence in 1..=4 {
            stream.push(Sequence(sequence), envelope(sequence).1);
        }
        let consumed = |sequence| Mark {
            consumed: Sequence(sequence),
            ..Mark::default()
        };
        // The first came and went: the engine never sees it.
        stream.advance(consumed(1));
        let frozen = stream.freeze(id, false).unwrap();
        assert_eq!(frozen.added, [envelope(2), envelope(3), envelope(4)]);
        assert_eq!(frozen.removed, None);
        assert!(stream.freeze(id, false).is_none());
        stream.push(Sequence(5), envelope(5).1);
        stream.advance(consumed(3));
        let frozen = stream.freeze(id, false).unwrap();
        assert_eq!(frozen.added, [envelope(5)]);
        assert_eq!(frozen.removed, Some((Sequence(2), Sequence(3))));
    }

    #[test]
    fn after_an_interrupted_checkpoint_every_entry_is_written_again() {
        let (id, mut stream) = stream();
        // The checkpoint was writing 2, 3 and 4; only 3 got there.
        stream.restore(Sequence(4), Mark::default());
        stream.restore_entry(Sequence(3), envelope(3).1);
        stream.doubt();
        for sequence in [1, 2, 3, 4] {
            stream.push(Sequence(sequence), envelope(sequence).1);
        }
        assert!(stream.is_whole());
        let frozen = stream.freeze(id, false).unwrap();
        let all = [envelope(1), envelope(2), envelope(3), envelope(4)];
        assert_eq!(frozen.added, all);
    }
}
