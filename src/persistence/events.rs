//! The event log: published events by number, kept for a time and a size, to be read again.
//!
//! It promises that an event which is read is the one that was published under its number, that
//! events come in the order of their numbers, and that whatever is missing, trimmed or damaged,
//! is told as a gap. It is written when the journal has long been durable: what a crash takes
//! from its end is appended again from there, by the store.
//!
//! ```text
//! events/00000000000000000001.events   sealed segment, removed whole once too old or too many
//!        00000000000000048211.events   …
//!        00000000000000091377.events   the newest, appended to
//! ```

mod segment;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Timestamp, days};
use crate::commit::{EventNumber, Position, ServiceId};
use crate::error::StoreError;
use crate::persistence::disk::{Disk, OpenMode};
use crate::persistence::format::sync_names;
use segment::{Segment, record_bytes, write_record};

/// A published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number in its cell.
    pub number: EventNumber,
    /// The commit that published it.
    pub position: Position,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub service: ServiceId,
    /// The encoded envelope.
    pub envelope: Bytes,
}

/// Numbers whose events can no longer be read, trimmed or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventGap {
    /// The first of them.
    pub first: EventNumber,
    /// The last of them.
    pub last: EventNumber,
}

/// How much of the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// How long an event is kept, about; whole segments go, so it may be an eighth more.
    pub age: Duration,
    /// How long all files together may be; whole segments go, the newest never.
    pub bytes: u64,
    /// How long a segment may become before the next begins.
    pub segment_bytes: u64,
}

impl EventLimits {
    /// Limits of age and size, with segments small enough that a whole one is a small part.
    pub fn of(age: Duration, bytes: u64) -> EventLimits {
        let usual = EventLimits::default();
        EventLimits {
            age,
            bytes,
            segment_bytes: usual.segment_bytes.min(bytes / 16).max(4 << 10),
        }
    }
}

impl Default for EventLimits {
    fn default() -> EventLimits {
        EventLimits {
            age: days(7),
            bytes: 1 << 30,
            segment_bytes: 16 << 20,
        }
    }
}

/// Some events, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The oldest event that is still kept (one past the last, if none is).
    pub first_kept: EventNumber,
    /// The events.
    pub events: Vec<StoredEvent>,
    /// Numbers below `next` that were asked for and cannot be read.
    pub gaps: Vec<EventGap>,
    /// Where to read on.
    pub next: EventNumber,
}

/// The event log of one cell. One writer, any number of readers beside it.
pub struct EventLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: EventLimits,
    state: Mutex<State>,
}

struct State {
    /// Ascending.
    segments: Vec<Arc<Segment>>,
    /// Whether the newest may be appended to: a damaged one is left as it is.
    newest_is_open: bool,
    last: EventNumber,
    last_at: Timestamp,
    /// Written since the last sync.
    unsynced: Vec<Arc<Segment>>,
    names_unsynced: bool,
    failed: bool,
}

/// A page being filled.
struct Reading {
    page: EventPage,
    limit: usize,
    bytes_left: usize,
}

impl EventLog {
    /// Opens the log in `dir`, creating it if there is none. Events after `expected_last` are cut:
    /// they are to be appended again. Events up to it that are found missing are told as gaps;
    /// only the newest segment is looked at, the others when they are read.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        limits: EventLimits,
        expected_last: EventNumber,
    ) -> Result<(EventLog, Vec<EventGap>), StoreError> {
        disk.create_dir(dir)
            .map_err(|e| StoreError::io("creating", dir, &e))?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent)
                .map_err(|e| StoreError::io("syncing", parent, &e))?;
        }
        let mut state = State {
            segments: open_segments(disk.as_ref(), dir, expected_last)?,
            newest_is_open: false,
            last: expected_last,
            last_at: Timestamp(i64::MAX),
            unsynced: Vec::new(),
            names_unsynced: true,
            failed: false,
        };
        let mut gaps = Vec::new();
        if let Some(newest) = state.segments.last() {
            let index = newest.index(expected_last)?;
            gaps = index
                .missing(newest.first.0, expected_last.0)
                .into_iter()
                .map(EventGap::from)
                .collect();
            state.last_at = newest.first_at;
            if let Some((last, at)) = index.last() {
                state.last_at = at;
                if last == expected_last {
                    newest.cut(&index)?;
                    state.newest_is_open = true;
                    state.unsynced.push(Arc::clone(newest));
                }
            }
        }
        let log = EventLog {
            disk,
            dir: dir.to_owned(),
            limits,
            state: Mutex::new(state),
        };
        log.sync()?;
        Ok((log, gaps))
    }

    /// Adds events, whose numbers ascend. Those that the log has already are passed over, so that
    /// a replay may append again. After an error, append the same events again once its cause is
    /// gone. Durable after [`EventLog::sync`].
    pub fn append(&self, events: &[StoredEvent]) -> Result<(), StoreError> {
        let mut state = self.state();
        state.refuse_if_failed()?;
        let mut events = events;
        while let Some(next) = events.iter().position(|event| event.number > state.last) {
            events = &events[next..];
            let segment = self.segment_for(&mut state, &events[0])?;
            let room = self.limits.segment_bytes.saturating_sub(segment.size());
            let mut records = Vec::new();
            let mut taken: Vec<&StoredEvent> = Vec::new();
            for event in events {
                let last = taken.last().map_or(state.last, |event| event.number);
                let full = (records.len() + record_bytes(event)) as u64 > room;
                if event.number <= last || full && !taken.is_empty() {
                    break;
                }
                write_record(&mut records, event)?;
                taken.push(event);
            }
            segment.append(&taken, &records)?;
            if let Some(event) = taken.last() {
                state.last = event.number;
                state.last_at = event.at;
            }
        }
        Ok(())
    }

    /// Makes all appended events durable. If that fails, the log is closed: the kernel may have
    /// dropped what it could not write, and a second sync would not tell.
    pub fn sync(&self) -> Result<(), StoreError> {
        let (unsynced, names_unsynced) = {
            let mut state = self.state();
            state.refuse_if_failed()?;
            let names_unsynced = std::mem::take(&mut state.names_unsynced);
            (std::mem::take(&mut state.unsynced), names_unsynced)
        };
        // Without the lock: readers must not wait for the disk.
        let synced = unsynced
            .iter()
            .try_for_each(|segment| segment.sync())
            .and_then(|()| match names_unsynced {
                true => self.sync_dir(),
                false => Ok(()),
            });
        if synced.is_err() {
            self.state().failed = true;
        }
        synced
    }

    /// The events from number `from` on: at most `limit`, and at most `bytes_max` of envelopes,
    /// but one at least if there is one.
    pub fn read(
        &self,
        from: EventNumber,
        limit: usize,
        bytes_max: usize,
    ) -> Result<EventPage, StoreError> {
        let (segments, last, newest_is_open) = {
            let state = self.state();
            (state.segments.clone(), state.last, state.newest_is_open)
        };
        let end = EventNumber(last.0.saturating_add(1));
        let first_kept = segments.first().map_or(end, |segment| segment.first);
        let mut reading = Reading {
            page: EventPage {
                first_kept,
                events: Vec::new(),
                gaps: Vec::new(),
                next: from.max(EventNumber(1)),
            },
            limit,
            bytes_left: bytes_max,
        };
        reading.skip_to(first_kept);
        let begin = segments.partition_point(|segment| segment.first <= reading.page.next);
        for n in begin.saturating_sub(1)..segments.len() {
            let segment_end = segments.get(n + 1).map_or(end, |next| next.first);
            let upto = match n + 1 == segments.len() && newest_is_open {
                // It may be growing at this moment, and all that it holds is the log's.
                true => EventNumber(u64::MAX),
                false => EventNumber(segment_end.0.saturating_sub(1)),
            };
            reading.read_segment(&segments[n], upto)?;
            if reading.is_full() {
                break;
            }
            reading.skip_to(segment_end);
        }
        Ok(reading.page)
    }

    /// The oldest event that is still kept; one past the last if there is none.
    pub fn first(&self) -> EventNumber {
        let state = self.state();
        let first = state.segments.first().map(|segment| segment.first);
        first.unwrap_or(EventNumber(state.last.0.saturating_add(1)))
    }

    /// The newest event's number; 0 if there has never been one.
    pub fn last(&self) -> EventNumber {
        self.state().last
    }

    /// How long all files are together.
    pub fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// Removes the segments that are too old at `now` or too many; says how many it removed.
    pub fn trim(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.state();
        state.refuse_if_failed()?;
        let mut removed = 0;
        while let Some(oldest) = state.segments.first() {
            let next = state.segments.get(1);
            let youngest_at = next.map_or(state.last_at, |next| next.first_at);
            let too_old = now.since(youngest_at) > self.limits.age;
            let too_many = next.is_some() && state.bytes() > self.limits.bytes;
            if !too_old && !too_many {
                break;
            }
            self.disk
                .remove(&oldest.path)
                .map_err(|e| StoreError::io("removing", &oldest.path, &e))?;
            let oldest = state.segments.remove(0);
            state.unsynced.retain(|s| !Arc::ptr_eq(s, &oldest));
            removed += 1;
        }
        if removed > 0 {
            // Names that still had to be made durable may be lost with those of the removed.
            self.sync_dir().inspect_err(|_| state.failed = true)?;
        }
        Ok(removed)
    }

    /// The segment that an event goes into: the newest, or a new one if that is full, damaged,
    /// or so old that a quiet log would keep its first events far too long for its last one's sake.
    fn segment_for(
        &self,
        state: &mut State,
        event: &StoredEvent,
    ) -> Result<Arc<Segment>, StoreError> {
        let newest = state.segments.last().filter(|newest| {
            state.newest_is_open
                && newest.size() + record_bytes(event) as u64 <= self.limits.segment_bytes
                && event.at.since(newest.first_at) <= self.limits.age / 8
        });
        let segment = match newest {
            Some(newest) => Arc::clone(newest),
            None => {
                let segment = Arc::new(Segment::create(self.disk.as_ref(), &self.dir, event)?);
                state.segments.push(Arc::clone(&segment));
                state.newest_is_open = true;
                state.names_unsynced = true;
                segment
            }
        };
        if !state.unsynced.iter().any(|s| Arc::ptr_eq(s, &segment)) {
            state.unsynced.push(Arc::clone(&segment));
        }
        Ok(segment)
    }

    fn sync_dir(&self) -> Result<(), StoreError> {
        sync_names(self.disk.as_ref(), &self.dir)
            .map_err(|e| StoreError::io("syncing", &self.dir, &e))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size()).sum()
    }

    fn refuse_if_failed(&self) -> Result<(), StoreError> {
        match self.failed {
            false => Ok(()),
            true => Err(StoreError::Closed {
                reason: "the event log could not be synced".to_owned(),
            }),
        }
    }
}

impl Reading {
    fn read_segment(&mut self, segment: &Segment, upto: EventNumber) -> Result<(), StoreError> {
        match segment.read(self, upto) {
            // Rot since it was indexed: a new index leaves out what cannot be read.
            Err(StoreError::Damaged { .. }) => {
                segment.forget_index();
                segment.read(self, upto)
            }
            read => read,
        }
    }

    fn is_full(&self) -> bool {
        self.page.events.len() >= self.limit || self.bytes_left == 0
    }

    fn push(&mut self, event: StoredEvent) {
        if event.envelope.len() > self.bytes_left && !self.page.events.is_empty() {
            self.bytes_left = 0;
            return;
        }
        self.skip_to(event.number);
        self.bytes_left = self.bytes_left.saturating_sub(event.envelope.len().max(1));
        self.page.next = EventNumber(event.number.0.saturating_add(1));
        self.page.events.push(event);
    }

    /// Goes on at `number`; what is left out is a gap.
    fn skip_to(&mut self, number: EventNumber) {
        if number <= self.page.next {
            return;
        }
        let missed = EventGap::from((self.page.next.0, number.0 - 1));
        match self.page.gaps.last_mut() {
            Some(gap) if gap.last.0.checked_add(1) == Some(self.page.next.0) => {
                gap.last = missed.last
            }
            _ => self.page.gaps.push(missed),
        }
        self.page.next = number;
    }
}

impl From<(u64, u64)> for EventGap {
    fn from((first, last): (u64, u64)) -> EventGap {
        EventGap {
            first: EventNumber(first),
            last: EventNumber(last),
        }
    }
}

/// What one file of the log holds of the events that it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFound {
    pub(crate) path: PathBuf,
    pub(crate) first: EventNumber,
    pub(crate) last: EventNumber,
    pub(crate) bytes: u64,
    /// Where the last of its events ends.
    pub(crate) end: u64,
    pub(crate) missing: Vec<EventGap>,
    /// Whether its head is what it was written as.
    pub(crate) has_head: bool,
}

/// Reads the whole log up to `expected_last`, changing nothing. Files that begin after it are not
/// named: they will be written again.
pub(crate) fn inspect(
    disk: &dyn Disk,
    dir: &Path,
    expected_last: EventNumber,
) -> Result<Vec<SegmentFound>, StoreError> {
    let paths = match disk.list(dir) {
        Ok(paths) => paths,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("listing", dir, &error)),
    };
    let mut named: Vec<_> = paths
        .into_iter()
        .filter_map(|path| Segment::first_of(&path).map(|first| (first, path)))
        .filter(|(first, _)| *first <= expected_last)
        .collect();
    named.sort();
    let mut found = Vec::with_capacity(named.len());
    let ends: Vec<u64> = named[1.min(named.len())..]
        .iter()
        .map(|(next, _)| next.0.saturating_sub(1))
        .chain([expected_last.0])
        .collect();
    for ((first, path), last) in named.into_iter().zip(ends) {
        // One that was trimmed away since it was listed is missing from no one.
        let segment = match Segment::open(disk, path.clone(), first, Timestamp(0)) {
            Err(_) if disk.open(&path, OpenMode::Read).is_err() => continue,
            opened => opened?,
        };
        let index = segment.index(EventNumber(last))?;
        found.push(SegmentFound {
            path,
            first,
            last: EventNumber(last),
            bytes: segment.size(),
            end: index.end(),
            missing: index
                .missing(first.0, last)
                .into_iter()
                .map(EventGap::from)
                .collect(),
            has_head: segment.has_head()?,
        });
    }
    Ok(found)
}

/// Opens the segments with events up to `expected_last` and removes the others.
fn open_segments(
    disk: &dyn Disk,
    dir: &Path,
    expected_last: EventNumber,
) -> Result<Vec<Arc<Segment>>, StoreError> {
    let mut segments = Vec::new();
    let mut at_least = Timestamp(i64::MIN);
    let paths = disk
        .list(dir)
        .map_err(|e| StoreError::io("listing", dir, &e))?;
    let mut named: Vec<_> = paths
        .into_iter()
        .filter_map(|path| Segment::first_of(&path).map(|first| (first, path)))
        .collect();
    named.sort();
    for (first, path) in named {
        if first > expected_last {
            disk.remove(&path)
                .map_err(|e| StoreError::io("removing", &path, &e))?;
            continue;
        }
        let segment = Segment::open(disk, path, first, at_least)?;
        at_least = segment.first_at;
        segments.push(Arc::new(segment));
    }
    Ok(segments)
}

#[cfg(test)]
mod tests;
