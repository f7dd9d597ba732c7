//! The backlog: the messages that an outbox keeps, the oldest on disk, the newest in memory.
//!
//! ```text
//! mark + 1 ──► spilled to files ──► being spilled ──► in memory ──► sent       read from the left
//!              (CHECKPOINT has it)  (a checkpoint is writing it)
//! ```
//!
//! It is without gaps, outside of recovery. Messages move to the left as a whole: what a checkpoint
//! takes out of memory is all that the stream has there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::spill::SpillFile;
use crate::commit::Sequence;

/// A message and its number.
pub(crate) type Entry = (Sequence, Bytes);

/// What a message in memory takes beside its bytes, about.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backlog {
    /// Ascending.
    spilled: VecDeque<SpillFile>,
    spilling: Option<Spilling>,
    entries: VecDeque<Entry>,
    /// Of the envelopes in `entries`.
    bytes: u64,
}

/// Messages that a checkpoint is writing to files. It needs all of them, also those that have been
/// consumed meanwhile: the turns that took them may be lost in a crash, the checkpoint not.
#[derive(Debug, Clone)]
struct Spilling {
    entries: Arc<VecDeque<Entry>>,
    /// How many have been consumed.
    gone: usize,
    /// Of the envelopes that have not.
    bytes: u64,
}

/// How much a backlog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Backlog {
    /// Adds a message. In recovery it may be one that is there already.
    pub(crate) fn push(&mut self, sequence: Sequence, envelope: Bytes) {
        if sequence <= self.spilled_last() {
            return;
        }
        let newest = self.entries.back().map_or(Sequence(0), |(last, _)| *last);
        let at = match sequence > newest {
            true => self.entries.len(),
            false => self.entries.partition_point(|(held, _)| *held < sequence),
        };
        if self
            .entries
            .get(at)
            .is_none_or(|(held, _)| *held != sequence)
        {
            self.bytes += envelope.len() as u64;
            self.entries.insert(at, (sequence, envelope));
        }
    }

    /// Drops what a mark has passed.
    pub(crate) fn advance(&mut self, consumed: Sequence) {
        while self
            .spilled
            .front()
            .is_some_and(|file| file.last <= consumed)
        {
            self.spilled.pop_front();
        }
        if let Some(spilling) = &mut self.spilling {
            while let Some((sequence, envelope)) = spilling.entries.get(spilling.gone)
                && *sequence <= consumed
            {
                spilling.bytes -= envelope.len() as u64;
                spilling.gone += 1;
            }
        }
        while let Some((sequence, envelope)) = self.entries.front()
            && *sequence <= consumed
        {
            self.bytes -= envelope.len() as u64;
            self.entries.pop_front();
        }
    }

    /// The file that has the message behind `after`, if it is not in memory.
    pub(crate) fn file_behind(&self, after: Sequence) -> Option<SpillFile> {
        let at = self.spilled.partition_point(|file| file.last <= after);
        self.spilled.get(at).copied()
    }

    /// Adds messages behind `after`, which are in memory, to a page.
    pub(crate) fn read(&self, after: Sequence, page: &mut Page) {
        let spilling = self.spilling.as_ref().map(|spilling| {
            let from = spilling.entries.partition_point(|(held, _)| *held <= after);
            spilling.entries.range(from.max(spilling.gone)..)
        });
        let from = self.entries.partition_point(|(held, _)| *held <= after);
        let entries = self.entries.range(from..);
        for (sequence, envelope) in spilling.into_iter().flatten().chain(entries) {
            if !page.offer(*sequence, envelope) {
                return;
            }
        }
    }

    /// The newest message on disk; 0 if none is.
    pub(crate) fn spilled_last(&self) -> Sequence {
        self.spilled.back().map_or(Sequence(0), |file| file.last)
    }

    /// The files that still have messages behind the mark, ascending.
    pub(crate) fn files(&self) -> impl Iterator<Item = SpillFile> + '_ {
        self.spilled.iter().copied()
    }

    /// A file that `CHECKPOINT` names.
    pub(crate) fn restore_file(&mut self, file: SpillFile) {
        self.spilled.push_back(file);
    }

    /// Takes everything in memory, to be written to files.
    pub(crate) fn spill(&mut self) -> Option<Arc<VecDeque<Entry>>> {
        // A checkpoint that is still waiting for space comes first.
        if self.entries.is_empty() || self.spilling.is_some() {
            return None;
        }
        let entries = Arc::new(std::mem::take(&mut self.entries));
        self.spilling = Some(Spilling {
            entries: entries.clone(),
            gone: 0,
            bytes: std::mem::take(&mut self.bytes),
        });
        Some(entries)
    }

    /// Lets go of what is in files now. Those that the mark has passed meanwhile are of no use.
    pub(crate) fn spilled(&mut self, files: &[SpillFile], consumed: Sequence) {
        self.spilling = None;
        let left = files.iter().filter(|file| file.last > consumed);
        self.spilled.extend(left.copied());
    }

    /// What is in memory.
    pub(crate) fn in_memory(&self) -> Extent {
        let mut extent = Extent {
            entries: self.entries.len() as u64,
            bytes: self.bytes,
        };
        if let Some(spilling) = &self.spilling {
            extent.entries += (spilling.entries.len() - spilling.gone) as u64;
            extent.bytes += spilling.bytes;
        }
        extent
    }

    /// What is in files only.
    pub(crate) fn on_disk(&self, consumed: Sequence) -> Extent {
        self.spilled
            .iter()
            .fold(Extent::default(), |sum, file| Extent {
                entries: sum.entries + file.entries_after(consumed),
                bytes: sum.bytes + file.bytes_after(consumed),
            })
    }

    /// Whether every number from the mark to the last one sent has its message, as it must after
    /// recovery.
    pub(crate) fn is_whole(&self, consumed: Sequence, sent: Sequence) -> bool {
        let mut next = consumed.0.saturating_add(1);
        for (nth, file) in self.spilled.iter().enumerate() {
            // The mark may lie within the first.
            if file.first.0 != next && (nth > 0 || file.first.0 > next) {
                return false;
            }
            next = file.last.0.saturating_add(1);
        }
        let ends = (self.entries.front(), self.entries.back());
        if let (Some((first, _)), Some((last, _))) = ends {
            if first.0 != next || last.0 + 1 - first.0 != self.entries.len() as u64 {
                return false;
            }
            next = last.0.saturating_add(1);
        }
        next == sent.0.saturating_add(1)
    }
}

impl Extent {
    /// What it takes in memory, about.
    pub(crate) fn memory_bytes(self) -> u64 {
        self.bytes + self.entries * ENTRY_OVERHEAD_BYTES
    }
}

/// Messages being read, in order and without gaps.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    entries_max: usize,
    bytes: usize,
    bytes_max: usize,
    full: bool,
}

impl Page {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Page {
        Page {
            entries: Vec::new(),
            entries_max,
            bytes: 0,
            bytes_max,
            full: entries_max == 0,
        }
    }

    /// Takes a message if it fits. The first always does, or one above the limit would never go.
    pub(crate) fn offer(&mut self, sequence: Sequence, envelope: &Bytes) -> bool {
        if self.full {
            return false;
        }
        self.bytes = self.bytes.saturating_add(envelope.len().max(1));
        if self.bytes > self.bytes_max && !self.entries.is_empty() {
            self.full = true;
            return false;
        }
        self.entries.push((sequence, envelope.clone()));
        self.full = self.entries.len() >= self.entries_max;
        true
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// The last message that it has.
    pub(crate) fn last(&self) -> Option<Sequence> {
        self.entries.last().map(|(sequence, _)| *sequence)
    }
}

/// What a stream keeps in memory, when a checkpoint asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held<S> {
    pub(crate) stream: S,
    pub(crate) memory_bytes: u64,
    /// Whether it has files, so that nothing of this is read before they are.
    pub(crate) behind_files: bool,
}

/// Which streams go to disk: those behind files of theirs, if that makes a file worth having, and
/// beyond `budget` of all others the largest, until the rest takes half of it.
pub(crate) fn choose<S: Copy + Ord>(held: &[Held<S>], budget: u64) -> Vec<S> {
    let least = (budget / 8).max(1);
    let (behind, mut others): (Vec<Held<S>>, Vec<Held<S>>) = held
        .iter()
        .copied()
        .partition(|held| held.behind_files && held.memory_bytes >= least);
    let mut chosen: Vec<S> = behind.iter().map(|held| held.stream).collect();
    let mut left: u64 = others.iter().map(|held| held.memory_bytes).sum();
    if left <= budget {
        return chosen;
    }
    others.sort_by_key(|held| std::cmp::Reverse((held.memory_bytes, held.stream)));
    for held in others {
        if left <= budget / 2 || held.memory_bytes == 0 {
            break;
        }
        left -= held.memory_bytes;
        chosen.push(held.stream);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_streams_go_to_disk_until_the_others_take_half_of_the_budget() {
        for (memory, budget, expected) in [
            (vec![(60, 'a'), (40, 'b')], 100, vec![]),
            (vec![(60, 'a'), (41, 'b')], 100, vec!['a']),
            (vec![(30, 'a'), (71, 'b')], 100, vec!['b']),
            (vec![(40, 'a'), (41, 'b'), (42, 'c')], 100, vec!['c', 'b']),
            (vec![(1, 'a'), (0, 'b'), (2, 'c')], 0, vec!['c', 'a']),
            (vec![(0, 'a')], 0, vec![]),
            // Capitals are behind files.
            (vec![(20, 'A'), (40, 'b')], 100, vec!['A']),
            (vec![(11, 'A'), (40, 'b')], 100, vec![]),
            (vec![(60, 'A'), (99, 'b')], 100, vec!['A']),
            (vec![(60, 'A'), (99, 'b'), (2, 'c')], 100, vec!['A', 'b']),
        ] {
            let held = memory.iter().map(|(memory_bytes, stream)| Held {
                stream: *stream,
                memory_bytes: *memory_bytes,
                behind_files: stream.is_ascii_uppercase(),
            });
            let chosen = choose(&held.collect::<Vec<_>>(), budget);
            assert_eq!(chosen, expected, "{memory:?} {budget}");
        }
    }
}
