//! The journal's writer: one write and one sync for whatever commits are waiting.
//!
//! A failed write or sync is never tried again on the same bytes: the writer's owner closes the
//! cell. Only a *new segment* may fail for lack of space without harm, because nothing has been
//! promised of it yet; the waiting commits then stay with the writer until there is room.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::record::{self, Kind, framed_bytes};
use super::segment::{RECORDS_START, SegmentHeader, segment_path};
use crate::commit::Position;
use crate::error::StoreError;
use crate::persistence::disk::{Disk, DiskFile, OpenMode};

/// A commit on its way to the journal.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) position: Position,
    pub(crate) body: Vec<u8>,
}

/// What a step of the writer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing was waiting.
    Nothing,
    /// Everything up to here is durable.
    Through(Position),
    /// The next segment found no space; the commits wait.
    Full,
}

/// Bytes of a group beyond which the next one begins, so that a group's sync stays short.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Bytes of the reserved space that a small group prepares behind itself.
///
/// Space that has never been written costs its first sync another wait, for the file's metadata:
/// 265 µs were measured where space that holds zeros takes 170. One sync in fifty pays for the
/// others.
const PREPARED_BYTES: u64 = 256 << 10;
/// Bytes up to which a group is small. A large one hardly notices the metadata, and writing
/// everything twice would cost it more; so would a small one among large ones, which then write
/// over what it has prepared.
const SMALL_GROUP_BYTES: usize = 8 << 10;

pub(crate) struct JournalWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The header of the present segment.
    header: SegmentHeader,
    segment_bytes: u64,
    file: Box<dyn DiskFile>,
    offset: u64,
    capacity: u64,
    /// Up to where the file has been written or prepared.
    prepared: u64,
    /// Whether the group before was a small one.
    small_before: bool,
    /// CRC of the last record, trailers included: what the next one chains to.
    chain: u32,
    /// CRC of the last commit: what the next segment chains to.
    commit_crc: u32,
    last: Position,
    durable: Position,
    /// The newest durable position that the file itself speaks of.
    claimed: Position,
    waiting: VecDeque<Pending>,
    buffer: Vec<u8>,
    pub(crate) bytes_written: u64,
    pub(crate) syncs: u64,
}

impl JournalWriter {
    /// Starts a new segment with the commits rescued from an earlier tail. When this returns,
    /// everything up to `durable` is durable in a segment that says so.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        header: SegmentHeader,
        rescued: &[Pending],
        first_segment_bytes: u64,
        segment_bytes: u64,
    ) -> io::Result<JournalWriter> {
        let mut records = Vec::new();
        let mut chain = header.chain();
        let mut commit_crc = header.previous;
        let mut last = Position(header.first.0 - 1);
        for pending in rescued {
            chain = record::put(
                &mut records,
                Kind::Commit,
                pending.position,
                header.opening,
                header.durable,
                chain,
                &pending.body,
            );
            commit_crc = chain;
            last = pending.position;
        }
        let Segment {
            file,
            capacity,
            prepared,
        } = create_segment(disk.as_ref(), &dir, &header, &records, first_segment_bytes)?;
        Ok(JournalWriter {
            disk,
            dir,
            header,
            segment_bytes,
            file,
            offset: (RECORDS_START + records.len()) as u64,
            capacity,
            prepared,
            small_before: true,
            chain,
            commit_crc,
            last,
            durable: last,
            claimed: header.durable,
            waiting: VecDeque::new(),
            buffer: Vec::new(),
            bytes_written: 0,
            syncs: 0,
        })
    }

    /// Hands over commits; their positions follow the last one's.
    pub(crate) fn take(&mut self, group: Vec<Pending>) {
        self.waiting.extend(group);
    }

    /// Whether commits wait that have not been written.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The ordinal and first position of the present segment.
    pub(crate) fn segment(&self) -> (u64, Position) {
        (self.header.ordinal, self.header.first)
    }

    /// Makes the next group durable: one write, one sync.
    pub(crate) fn step(&mut self) -> Result<Written, StoreError> {
        let Some(first) = self.waiting.front() else {
            return Ok(Written::Nothing);
        };
        let needed = framed_bytes(first.body.len()) as u64;
        if !self.fits(needed) && !self.next_segment(needed)? {
            return Ok(Written::Full);
        }
        self.buffer.clear();
        while let Some(pending) = self.waiting.front() {
            let bytes = self.buffer.len() + framed_bytes(pending.body.len());
            let full = !self.fits(bytes as u64) || bytes > GROUP_BYTES_MAX;
            if full && !self.buffer.is_empty() {
                break;
            }
            self.chain = record::put(
                &mut self.buffer,
                Kind::Commit,
                pending.position,
                self.header.opening,
                self.durable,
                self.chain,
                &pending.body,
            );
            self.commit_crc = self.chain;
            self.last = pending.position;
            self.waiting.pop_front();
        }
        self.write_buffer()?;
        self.prepare()?;
        self.sync()?;
        self.claimed = self.durable;
        self.durable = self.last;
        Ok(Written::Through(self.durable))
    }

    /// Notes in the file, without a sync, how far it is durable. Called when nothing is waiting;
    /// otherwise the next group's records say so.
    pub(crate) fn trail(&mut self) -> Result<(), StoreError> {
        if self.claimed == self.durable {
            return Ok(());
        }
        self.buffer.clear();
        self.chain = record::put(
            &mut self.buffer,
            Kind::Trailer,
            self.last,
            self.header.opening,
            self.durable,
            self.chain,
            &[],
        );
        self.write_buffer()?;
        self.claimed = self.durable;
        Ok(())
    }

    /// Makes the last trailer durable as well: the end of an orderly life.
    pub(crate) fn finish(&mut self) -> Result<(), StoreError> {
        self.trail()?;
        self.sync()
    }

    fn write_buffer(&mut self) -> Result<(), StoreError> {
        self.file
            .write_at(self.offset, &self.buffer)
            .map_err(|error| self.failed("writing to", &error))?;
        self.offset += self.buffer.len() as u64;
        self.bytes_written += self.buffer.len() as u64;
        Ok(())
    }

    /// Prepares what lies behind the group that has just been written, for the next ones.
    fn prepare(&mut self) -> Result<(), StoreError> {
        let small = self.buffer.len() <= SMALL_GROUP_BYTES;
        let small_before = std::mem::replace(&mut self.small_before, small);
        if self.offset <= self.prepared || !small || !small_before {
            return Ok(());
        }
        let to = self.capacity.min(self.offset + PREPARED_BYTES);
        prepare(self.file.as_ref(), self.offset, to)
            .map_err(|error| self.failed("preparing", &error))?;
        self.prepared = to;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync()
            .map_err(|error| self.failed("syncing", &error))?;
        self.syncs += 1;
        Ok(())
    }

    /// Whether `bytes` and a trailer fit into the present segment.
    fn fits(&self, bytes: u64) -> bool {
        self.offset + bytes + framed_bytes(0) as u64 <= self.capacity
    }

    /// Goes over to a new segment; `false` if there is no space for one.
    fn next_segment(&mut self, needed: u64) -> Result<bool, StoreError> {
        let header = SegmentHeader {
            ordinal: self.header.ordinal + 1,
            first: Position(self.last.0 + 1),
            durable: self.durable,
            previous: self.commit_crc,
            ..self.header
        };
        let room = RECORDS_START as u64 + needed + framed_bytes(0) as u64;
        let bytes = self.segment_bytes.max(room);
        match create_segment(self.disk.as_ref(), &self.dir, &header, &[], bytes) {
            Ok(segment) => {
                self.file = segment.file;
                self.capacity = segment.capacity;
                self.prepared = segment.prepared;
                self.offset = RECORDS_START as u64;
                self.chain = header.chain();
                self.claimed = header.durable;
                self.header = header;
                Ok(true)
            }
            Err(error) if is_full(&error) => {
                // Whatever part of it exists takes the space that recovery from this needs.
                let _ = self.disk.remove(&self.dir.join(UNFINISHED));
                Ok(false)
            }
            Err(error) => Err(self.failed("starting a segment after", &error)),
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> StoreError {
        let path = segment_path(&self.dir, self.header.ordinal);
        StoreError::Io {
            operation: format!("{what} {}", path.display()),
            detail: error.to_string(),
        }
    }
}

/// Name of a segment that is not yet one.
pub(crate) const UNFINISHED: &str = "next.tmp";

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A segment that has just been made.
struct Segment {
    file: Box<dyn DiskFile>,
    capacity: u64,
    prepared: u64,
}

/// Prepares a part of a segment. That is for speed alone: where space cannot be reserved there may
/// be too little for it, and still enough for the groups.
fn prepare(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
    match file.prepare(from, to) {
        Err(error) if is_full(&error) => Ok(()),
        prepared => prepared,
    }
}

/// Creates a segment whose name appears only when header and records are durable. Its space is
/// reserved, and the beginning of it prepared.
fn create_segment(
    disk: &dyn Disk,
    dir: &std::path::Path,
    header: &SegmentHeader,
    records: &[u8],
    bytes: u64,
) -> io::Result<Segment> {
    let unfinished = dir.join(UNFINISHED);
    let file = disk.open(&unfinished, OpenMode::Truncate)?;
    let mut content = header.encode();
    content.extend_from_slice(records);
    let end = content.len() as u64;
    let capacity = bytes.max(end + framed_bytes(0) as u64);
    file.allocate(capacity)?;
    let prepared = capacity.min(end + PREPARED_BYTES);
    file.write_at(0, &content)?;
    prepare(file.as_ref(), end, prepared)?;
    file.sync()?;
    disk.rename(&unfinished, &segment_path(dir, header.ordinal))?;
    disk.sync_dir(dir)?;
    Ok(Segment {
        file,
        capacity,
        prepared,
    })
}
