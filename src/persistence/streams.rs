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

use super::format::{Decoder, Malformed, put_varint};
use super::journal::body;
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
    /// Entries behind the mark, ascending and, outside of recovery, without gaps.
    entries: VecDeque<(Sequence, Bytes)>,
    pub(crate) bytes: u64,
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
    pub(crate) added: Vec<(Sequence, Bytes)>,
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
    /// How many bytes they take.
    pub backlog_bytes: u64,
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
            .map(|id| {
                self.with(id, |stream| StreamState {
                    id,
                    sent: stream.sent,
                    mark: stream.mark,
                    backlog_entries: stream.entries.len() as u64,
                    backlog_bytes: stream.bytes,
                })
            })
            .collect()
    }

    /// What a checkpoint at this instant has to write. Called under the cell's lock.
    pub(crate) fn freeze(&self) -> Vec<FrozenStream> {
        self.ids()
            .into_iter()
            .filter_map(|id| self.with(id, |stream| stream.freeze(id)))
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
        let newest = self.entries.back().map_or(Sequence(0), |(last, _)| *last);
        self.sent = self.sent.max(sequence);
        if sequence > newest {
            self.bytes += envelope.len() as u64;
            self.entries.push_back((sequence, envelope));
            return;
        }
        let at = self.entries.partition_point(|(held, _)| *held < sequence);
        if self
            .entries
            .get(at)
            .is_none_or(|(held, _)| *held != sequence)
        {
            self.bytes += envelope.len() as u64;
            self.entries.insert(at, (sequence, envelope));
        }
    }

    /// Moves the mark and drops what it has passed.
    pub(crate) fn advance(&mut self, mark: Mark) {
        self.changed = true;
        self.mark = mark;
        while let Some((sequence, envelope)) = self.entries.front()
            && *sequence <= mark.consumed
        {
            self.bytes -= envelope.len() as u64;
            self.entries.pop_front();
        }
    }

    /// Entries behind `after`.
    pub(crate) fn entries(
        &self,
        after: Sequence,
        max_entries: usize,
        max_bytes: usize,
    ) -> Vec<(Sequence, Bytes)> {
        let from = self.entries.partition_point(|(held, _)| *held <= after);
        let mut bytes = 0;
        self.entries
            .range(from..)
            .take(max_entries)
            .take_while(|(_, envelope)| {
                // The first always goes, or an envelope above the limit would never go.
                let first = bytes == 0;
                bytes += envelope.len().max(1);
                first || bytes <= max_bytes
            })
            .cloned()
            .collect()
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
        if sequence > self.mark.consumed {
            self.bytes += envelope.len() as u64;
            self.entries.push_back((sequence, envelope));
        }
    }

    /// Says that the engine may hold any part of what an interrupted checkpoint was writing.
    pub(crate) fn doubt(&mut self) {
        self.doubtful = true;
        self.changed = true;
    }

    /// Whether every number behind the mark has its message, as it must after recovery.
    pub(crate) fn is_whole(&self) -> bool {
        let kept = self.sent.0.saturating_sub(self.mark.consumed.0);
        self.mark.consumed <= self.sent
            && self.entries.len() as u64 == kept
            && self
                .entries
                .front()
                .is_none_or(|(first, _)| first.0 == self.mark.consumed.0 + 1)
            && self
                .entries
                .back()
                .is_none_or(|(last, _)| *last == self.sent)
    }

    fn freeze(&mut self, id: StreamId) -> Option<FrozenStream> {
        if !self.changed {
            return None;
        }
        self.changed = false;
        let mark = self.mark;
        let stored = self.stored_first > Sequence(0) && self.stored_first <= self.stored_last;
        let removed_last = mark.consumed.min(self.stored_last);
        let removed = (stored && self.stored_first <= removed_last)
            .then_some((self.stored_first, removed_last));
        let held = stored && !self.doubtful;
        let after = if held { self.stored_last } else { Sequence(0) };
        let added = self.entries(after, usize::MAX, usize::MAX);
        self.doubtful = false;
        self.stored_first = Sequence(mark.consumed.0 + 1);
        self.stored_last = self.sent;
        Some(FrozenStream {
            id,
            sent: self.sent,
            mark,
            added,
            removed,
        })
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
        let frozen = stream.freeze(id).unwrap();
        assert_eq!(frozen.added, [envelope(2), envelope(3), envelope(4)]);
        assert_eq!(frozen.removed, None);
        assert!(stream.freeze(id).is_none());
        stream.push(Sequence(5), envelope(5).1);
        stream.advance(consumed(3));
        let frozen = stream.freeze(id).unwrap();
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
        let frozen = stream.freeze(id).unwrap();
        let all = [envelope(1), envelope(2), envelope(3), envelope(4)];
        assert_eq!(frozen.added, all);
    }
}
