//! One file of the event log: its bytes, and the index that finds a number in them.
//!
//! ```text
//! head    magic "rdlvevnt"  format u32  crc32c u32     (this line is the same in every format)
//!         first number u64  its time i64  crc32c u32
//! record  length u32  crc32c u32  number u64  position u64  at i64  service u32  envelope
//! ```
//!
//! Numbers are little-endian. A record's length is that of everything after its checksum, and its
//! checksum covers both. Numbers ascend; where they jump, events are missing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes};
use crc32c::{crc32c, crc32c_append};

use super::{Reading, StoredEvent};
use crate::clock::Timestamp;
use crate::commit::{EventNumber, Position, ServiceId};
use crate::error::StoreError;
use crate::persistence::disk::{Disk, DiskFile, OpenMode};
use crate::persistence::format::unsynced;

/// The format that this version writes, and the newest it reads.
pub(super) const EVENTS_FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"rdlvevnt";
const PRELUDE_BYTES: usize = 16;
const HEAD_BYTES: usize = PRELUDE_BYTES + 20;
const RECORD_HEAD_BYTES: usize = 8;
const BODY_HEAD_BYTES: usize = 28;
/// One mark of the index per this many bytes.
const MARK_BYTES: u64 = 64 * 1024;
/// How much a reader takes from the disk at once.
const WINDOW_BYTES: usize = 128 * 1024;

/// A file of the log, open.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// The number that it begins with, also in its name.
    pub(super) first: EventNumber,
    /// When that event was published; no event of the segments before is younger.
    pub(super) first_at: Timestamp,
    file: Box<dyn DiskFile>,
    size: AtomicU64,
    /// Made when it is first needed: at most one read of the file.
    index: Mutex<Option<Arc<Index>>>,
}

/// Where the readable events of a segment are.
#[derive(Clone, Default)]
pub(super) struct Index {
    runs: Vec<Run>,
    last_at: Timestamp,
}

/// Events without a number missing in between, one record after the other.
#[derive(Clone)]
struct Run {
    first: u64,
    last: u64,
    /// Some numbers and their offsets, ascending, the first event's among them.
    marks: Vec<(u64, u64)>,
    end: u64,
}

/// A record as it lies in a buffer.
struct Record<'b> {
    number: u64,
    position: Position,
    at: Timestamp,
    service: ServiceId,
    envelope: &'b [u8],
    /// How long it is with its head.
    length: usize,
}

impl Segment {
    /// The name of the segment that begins with an event.
    pub(super) fn path_of(dir: &Path, first: EventNumber) -> PathBuf {
        dir.join(format!("{:020}.events", first.0))
    }

    /// The first number of the segment of this name; `None` if it is none.
    pub(super) fn first_of(path: &Path) -> Option<EventNumber> {
        let number = path.file_name()?.to_str()?.strip_suffix(".events")?;
        Some(EventNumber(number.parse().ok()?))
    }

    /// Begins a segment with an event; replaces what a failed attempt has left.
    pub(super) fn create(
        disk: &dyn Disk,
        dir: &Path,
        event: &StoredEvent,
    ) -> Result<Segment, StoreError> {
        let path = Segment::path_of(dir, event.number);
        let file = disk
            .open(&path, OpenMode::Truncate)
            .map_err(|e| StoreError::io("creating", &path, &e))?;
        let mut head = prelude(EVENTS_FORMAT);
        head.put_u64_le(event.number.0);
        head.put_i64_le(event.at.0);
        let checksum = crc32c(&head[PRELUDE_BYTES..]);
        head.put_u32_le(checksum);
        file.write_at(0, &head)
            .map_err(|e| StoreError::io("writing", &path, &e))?;
        Ok(Segment {
            path,
            first: event.number,
            first_at: event.at,
            file,
            size: AtomicU64::new(HEAD_BYTES as u64),
            index: Mutex::new(Some(Arc::default())),
        })
    }

    /// Opens the segment that its name says begins with `first`. A damaged head costs only the
    /// time of its first event, for which `at_least` then stands.
    pub(super) fn open(
        disk: &dyn Disk,
        path: PathBuf,
        first: EventNumber,
        at_least: Timestamp,
    ) -> Result<Segment, StoreError> {
        let failed = |e| StoreError::io("opening", &path, &e);
        let file = disk.open(&path, OpenMode::Write).map_err(failed)?;
        let size = file.size().map_err(failed)?;
        let mut head = [0; HEAD_BYTES];
        file.read_at(0, &mut head).map_err(failed)?;
        let first_at = match parse_head(&head) {
            Some((format, _, _)) if format > EVENTS_FORMAT => {
                return Err(StoreError::NewerFormat {
                    what: format!("event log {}", path.display()),
                    found: format,
                    known: EVENTS_FORMAT,
                });
            }
            Some((_, number, at)) if number == first => at,
            Some(_) | None => at_least,
        };
        Ok(Segment {
            path,
            first,
            first_at,
            file,
            size: AtomicU64::new(size),
            index: Mutex::new(None),
        })
    }

    /// Whether its head can be read and names the number that it begins with.
    pub(super) fn has_head(&self) -> Result<bool, StoreError> {
        let mut head = [0; HEAD_BYTES];
        let read = self.read_at(0, &mut head)?;
        let named = parse_head(&head).is_some_and(|(_, first, _)| first == self.first);
        Ok(read == HEAD_BYTES && named)
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Where its readable events up to `upto` are.
    pub(super) fn index(&self, upto: EventNumber) -> Result<Arc<Index>, StoreError> {
        let mut index = self.held_index();
        if let Some(index) = index.as_ref() {
            return Ok(Arc::clone(index));
        }
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        let read = self.read_at(0, &mut bytes)?;
        let made = Arc::new(Index::of(&bytes[..read], self.first.0, upto.0));
        *index = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Forgets the index, because the file no longer holds what it says.
    pub(super) fn forget_index(&self) {
        *self.held_index() = None;
    }

    /// Cuts everything after the last event that its index knows. Not durable yet.
    pub(super) fn cut(&self, index: &Index) -> Result<(), StoreError> {
        let end = index.end();
        if self.size() > end {
            self.file
                .set_size(end)
                .map_err(|e| StoreError::io("cutting", &self.path, &e))?;
            self.size.store(end, Ordering::Release);
        }
        Ok(())
    }

    /// Adds events, of which `records` are the bytes. Readers see them at once.
    pub(super) fn append(&self, events: &[&StoredEvent], records: &[u8]) -> Result<(), StoreError> {
        let mut offset = self.size();
        self.file
            .write_at(offset, records)
            .map_err(|e| StoreError::io("writing", &self.path, &e))?;
        let mut index = self.held_index();
        let index = Arc::make_mut(index.get_or_insert_default());
        for event in events {
            let end = offset + record_bytes(event) as u64;
            index.add(event.number.0, event.at, offset, end);
            offset = end;
        }
        self.size.store(offset, Ordering::Release);
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync()
            .map_err(|e| StoreError::io("syncing", &self.path, &unsynced(e)))
    }

    /// Reads on with this segment's events up to `upto`.
    pub(super) fn read(&self, reading: &mut Reading, upto: EventNumber) -> Result<(), StoreError> {
        for run in &self.index(upto)?.runs {
            if reading.is_full() {
                return Ok(());
            }
            if run.last >= reading.page.next.0 {
                reading.skip_to(EventNumber(run.first));
                self.read_run(run, reading)?;
            }
        }
        Ok(())
    }

    fn read_run(&self, run: &Run, reading: &mut Reading) -> Result<(), StoreError> {
        let mark = run
            .marks
            .partition_point(|(n, _)| *n <= reading.page.next.0);
        let Some(&(_, mut offset)) = mark.checked_sub(1).and_then(|m| run.marks.get(m)) else {
            return Ok(());
        };
        let mut window = Vec::new();
        let mut wanted = WINDOW_BYTES;
        while offset < run.end {
            let left = usize::try_from(run.end - offset).unwrap_or(usize::MAX);
            window.resize(wanted.min(left), 0);
            let read = self.read_at(offset, &mut window)?;
            let mut rest = &window[..read];
            while let Some(record) = parse_record(rest, run.first, run.last) {
                if reading.is_full() {
                    return Ok(());
                }
                if record.number >= reading.page.next.0 {
                    reading.push(record.to_event());
                }
                offset += record.length as u64;
                rest = &rest[record.length..];
            }
            if reading.page.next.0 > run.last {
                return Ok(());
            }
            if read < window.len() {
                return Err(StoreError::damaged(&self.path, "it has been cut"));
            }
            // The next record ends outside the window, or it has rotted since it was indexed.
            wanted = match length_of(rest) {
                Some(length) if length > rest.len() && length <= left => length.max(WINDOW_BYTES),
                None if rest.len() < RECORD_HEAD_BYTES && rest.len() < read => WINDOW_BYTES,
                _ => return Err(StoreError::damaged(&self.path, "an event has rotted")),
            };
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        self.file
            .read_at(offset, buffer)
            .map_err(|e| StoreError::io("reading", &self.path, &e))
    }

    fn held_index(&self) -> MutexGuard<'_, Option<Arc<Index>>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// The index of a segment's bytes. Past anything unreadable it looks for the next record
    /// that can be read, byte by byte.
    fn of(bytes: &[u8], first: u64, upto: u64) -> Index {
        let mut index = Index::default();
        let mut offset = HEAD_BYTES.min(bytes.len());
        let mut least = first;
        while least <= upto && offset < bytes.len() {
            let Some(record) = parse_record(&bytes[offset..], least, upto) else {
                offset += 1;
                continue;
            };
            let end = offset + record.length;
            index.add(record.number, record.at, offset as u64, end as u64);
            least = record.number.saturating_add(1);
            offset = end;
        }
        index
    }

    fn add(&mut self, number: u64, at: Timestamp, offset: u64, end: u64) {
        self.last_at = at;
        match self.runs.last_mut() {
            Some(run) if run.last.checked_add(1) == Some(number) && run.end == offset => {
                let marked = run.marks.last().map_or(0, |(_, offset)| *offset);
                if offset - marked >= MARK_BYTES {
                    run.marks.push((number, offset));
                }
                run.last = number;
                run.end = end;
            }
            _ => self.runs.push(Run {
                first: number,
                last: number,
                marks: vec![(number, offset)],
                end,
            }),
        }
    }

    /// The last event's number and time.
    pub(super) fn last(&self) -> Option<(EventNumber, Timestamp)> {
        let run = self.runs.last()?;
        Some((EventNumber(run.last), self.last_at))
    }

    /// The numbers from `first` to `upto` that it does not have, as first and last.
    pub(super) fn missing(&self, first: u64, upto: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut next = first;
        for run in &self.runs {
            if run.first > next {
                missing.push((next, run.first - 1));
            }
            next = run.last.saturating_add(1);
        }
        if next <= upto {
            missing.push((next, upto));
        }
        missing
    }

    pub(super) fn end(&self) -> u64 {
        self.runs.last().map_or(HEAD_BYTES as u64, |run| run.end)
    }
}

/// How long an event's record is.
pub(super) fn record_bytes(event: &StoredEvent) -> usize {
    RECORD_HEAD_BYTES + BODY_HEAD_BYTES + event.envelope.len()
}

/// Adds an event's record to a buffer.
pub(super) fn write_record(buffer: &mut Vec<u8>, event: &StoredEvent) -> Result<(), StoreError> {
    let Ok(length) = u32::try_from(BODY_HEAD_BYTES + event.envelope.len()) else {
        return Err(StoreError::Damaged {
            what: format!("event {}", event.number.0),
            detail: "it is longer than 4 GiB".to_owned(),
        });
    };
    let start = buffer.len();
    buffer.put_u32_le(length);
    buffer.put_u32_le(0);
    buffer.put_u64_le(event.number.0);
    buffer.put_u64_le(event.position.0);
    buffer.put_i64_le(event.at.0);
    buffer.put_u32_le(event.service.0);
    buffer.put_slice(&event.envelope);
    let checksum = record_checksum(&buffer[start..]);
    (&mut buffer[start + 4..start + 8]).put_u32_le(checksum);
    Ok(())
}

/// The record at the start of a buffer, if it is whole and its number is one that may stand here.
/// The number is looked at first: it is cheap, and rules out nearly every wrong place.
fn parse_record(buffer: &[u8], least: u64, most: u64) -> Option<Record<'_>> {
    let length = length_of(buffer)?;
    let record = buffer.get(..length)?;
    let mut fields = &record[4..];
    let checksum = fields.get_u32_le();
    let number = fields.get_u64_le();
    if !(least..=most).contains(&number) || record_checksum(record) != checksum {
        return None;
    }
    Some(Record {
        number,
        position: Position(fields.get_u64_le()),
        at: Timestamp(fields.get_i64_le()),
        service: ServiceId(fields.get_u32_le()),
        envelope: fields,
        length,
    })
}

/// How long the record at the start of a buffer says it is.
fn length_of(mut buffer: &[u8]) -> Option<usize> {
    if buffer.len() < RECORD_HEAD_BYTES {
        return None;
    }
    let body = buffer.get_u32_le() as usize;
    (body >= BODY_HEAD_BYTES).then_some(RECORD_HEAD_BYTES + body)
}

fn record_checksum(record: &[u8]) -> u32 {
    crc32c_append(crc32c(&record[..4]), &record[RECORD_HEAD_BYTES..])
}

/// The first bytes of a segment of a format.
fn prelude(format: u32) -> Vec<u8> {
    let mut prelude = Vec::with_capacity(HEAD_BYTES);
    prelude.put_slice(MAGIC);
    prelude.put_u32_le(format);
    let checksum = crc32c(&prelude);
    prelude.put_u32_le(checksum);
    prelude
}

/// Format, first number and its time; the latter two mean nothing if the format is a newer one.
fn parse_head(head: &[u8; HEAD_BYTES]) -> Option<(u32, EventNumber, Timestamp)> {
    let (start, rest) = head.split_at(PRELUDE_BYTES);
    let format = (&start[MAGIC.len()..]).get_u32_le();
    let mut fields = rest;
    let first = EventNumber(fields.get_u64_le());
    let at = Timestamp(fields.get_i64_le());
    let whole = crc32c(&rest[..16]) == fields.get_u32_le();
    (start == prelude(format) && (whole || format > EVENTS_FORMAT)).then_some((format, first, at))
}

impl Record<'_> {
    fn to_event(&self) -> StoredEvent {
        StoredEvent {
            number: EventNumber(self.number),
            position: self.position,
            at: self.at,
            service: self.service,
            envelope: Bytes::copy_from_slice(self.envelope),
        }
    }
}
