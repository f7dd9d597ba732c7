//! The journal's reader: finds where the journal ends, tells a torn tail from damage, and replays.
//!
//! Nothing here changes a byte on disk. A bad record is *damage* when anything that was written
//! says that a position at or beyond it was durable; otherwise it is a *torn tail*: the remains of
//! the last group, whose sync never returned and of which nobody was told anything.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{self, Kind};
use super::segment::{RECORDS_START, SegmentHeader, list_segments};
use super::writer::Pending;
use crate::commit::{Incarnation, Position};
use crate::error::OpenError;
use crate::persistence::disk::Disk;
use crate::persistence::format::{Unsealed, read_file};

/// Takes a commit: its position and body.
pub(crate) type Apply<'f> = dyn FnMut(Position, &[u8]) -> Result<(), OpenError> + 'f;

/// Takes a commit: its position, CRC and body.
type Each<'f> = dyn FnMut(Position, u32, &[u8]) -> Result<(), OpenError> + 'f;

/// The segments of a journal as they were found.
pub(crate) struct JournalReader<'a> {
    disk: &'a dyn Disk,
    segments: Vec<Segment>,
}

struct Segment {
    path: PathBuf,
    header: SegmentHeader,
}

/// Where a journal ends.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The last commit that can be read. Everything acknowledged is at or before it.
    pub(crate) end: Position,
    /// Known durable by what the journal itself says.
    pub(crate) durable: Position,
    /// CRC of the commit at `durable`.
    pub(crate) previous: u32,
    /// Commits behind `durable`. They may be in no more than the page cache (a failed sync leaves
    /// that behind), so they are written again into the next segment.
    pub(crate) rescued: Vec<Pending>,
    /// Bytes of the torn tail.
    pub(crate) torn_bytes: u64,
    /// The last segment.
    pub(crate) last: SegmentHeader,
    pub(crate) last_path: PathBuf,
    /// Where the commit at `durable` ends in the last segment.
    pub(crate) durable_end: u64,
}

impl<'a> JournalReader<'a> {
    /// Reads the headers of all segments; `None` if there are no segments.
    pub(crate) fn open(
        disk: &'a dyn Disk,
        dir: &Path,
        cell: u64,
    ) -> Result<Option<JournalReader<'a>>, OpenError> {
        let found = match list_segments(disk, dir) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("listing", dir, &error)),
        };
        let mut segments: Vec<Segment> = Vec::with_capacity(found.len());
        for (ordinal, path) in found {
            let header = read_header(disk, &path)?;
            let damaged = |detail: &str| damaged(&path, 0, Position(0), detail);
            if header.ordinal != ordinal {
                return Err(damaged("it is named for another place in the journal"));
            }
            if header.cell != cell {
                return Err(damaged("it belongs to another cell"));
            }
            if let Some(before) = segments.last() {
                if before.header.ordinal + 1 != ordinal {
                    return Err(damaged("the segment before it is missing"));
                }
                if before.header.incarnation != header.incarnation {
                    return Err(damaged("it belongs to another incarnation of the cell"));
                }
                if before.header.first > header.first {
                    return Err(damaged("it begins before the segment before it"));
                }
            }
            segments.push(Segment { path, header });
        }
        if segments.is_empty() {
            return Ok(None);
        }
        Ok(Some(JournalReader { disk, segments }))
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.segments[0].header.incarnation
    }

    /// First position that the journal still has.
    pub(crate) fn first(&self) -> Position {
        self.segments[0].header.first
    }

    pub(crate) fn segments(&self) -> Vec<(u64, Position)> {
        self.segments
            .iter()
            .map(|segment| (segment.header.ordinal, segment.header.first))
            .collect()
    }

    /// Where its segments are and what they say about themselves.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&Path, &SegmentHeader)> {
        self.segments
            .iter()
            .map(|segment| (segment.path.as_path(), &segment.header))
    }

    /// Verifies everything behind `from` and finds the end.
    pub(crate) fn survey(&self, from: Position) -> Result<Survey, OpenError> {
        let start = self.segment_of(from)?;
        let mut before: Option<u32> = None;
        for (index, segment) in self.segments.iter().enumerate().skip(start) {
            if let Some(crc) = before
                && segment.header.previous != crc
            {
                let last = Position(segment.header.first.0 - 1);
                return Err(damaged(
                    &segment.path,
                    0,
                    last,
                    "it does not follow the segment before it",
                ));
            }
            match self.segments.get(index + 1) {
                Some(next) => {
                    let end = Position(next.header.first.0 - 1);
                    let mut crc = segment.header.previous;
                    self.read_segment(segment, end, &mut |_, record, _| {
                        crc = record;
                        Ok(())
                    })?;
                    before = Some(crc);
                }
                None => return self.survey_last(segment),
            }
        }
        // `segment_of` gives an existing segment, so the loop ends in `survey_last`.
        Err(damaged(
            &self.segments[0].path,
            0,
            Position(0),
            "the journal has no end",
        ))
    }

    fn survey_last(&self, segment: &Segment) -> Result<Survey, OpenError> {
        let bytes = self.read(segment)?;
        let mut walk = Walk::new(&bytes, &segment.header);
        let mut unclaimed: VecDeque<(Pending, u32, u64)> = VecDeque::new();
        let mut previous = segment.header.previous;
        let mut durable_end = RECORDS_START as u64;
        loop {
            let next = walk.next();
            if let Some((position, body)) = next {
                let body = body.to_vec();
                unclaimed.push_back((Pending { position, body }, walk.chain, walk.offset as u64));
            }
            while let Some((pending, crc, end)) = unclaimed.front()
                && pending.position <= walk.claim
            {
                previous = *crc;
                durable_end = *end;
                unclaimed.pop_front();
            }
            if next.is_none() {
                break;
            }
        }
        let beyond = Beyond::search(&bytes, walk.offset, &segment.header, walk.last);
        if walk.claim.max(beyond.claim) > walk.last {
            let detail = format!("commit {} was durable and cannot be read", walk.last.0 + 1);
            return Err(damaged(
                &segment.path,
                walk.offset as u64,
                walk.last,
                &detail,
            ));
        }
        Ok(Survey {
            end: walk.last,
            // Not what is claimed behind the end: rescuing more than needed does no harm.
            durable: walk.claim,
            previous,
            rescued: unclaimed.into_iter().map(|(pending, ..)| pending).collect(),
            torn_bytes: beyond.bytes,
            last: segment.header,
            last_path: segment.path.clone(),
            durable_end,
        })
    }

    /// Calls `apply` with every commit behind `from` up to `to`, which a survey has found.
    pub(crate) fn replay(
        &self,
        from: Position,
        to: Position,
        apply: &mut Apply<'_>,
    ) -> Result<(), OpenError> {
        let start = self.segment_of(from)?;
        for (index, segment) in self.segments.iter().enumerate().skip(start) {
            if segment.header.first > to {
                break;
            }
            let end = self.segments.get(index + 1).map_or(to, |next| {
                to.min(Position(next.header.first.0.saturating_sub(1)))
            });
            self.read_segment(segment, end, &mut |position, _, body| {
                if position > from {
                    apply(position, body)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads a segment's commits up to `end`, all of which must be there.
    fn read_segment(
        &self,
        segment: &Segment,
        end: Position,
        each: &mut Each<'_>,
    ) -> Result<(), OpenError> {
        if end < segment.header.first {
            return Ok(());
        }
        let bytes = self.read(segment)?;
        let mut walk = Walk::new(&bytes, &segment.header);
        while walk.last < end {
            let Some((position, body)) = walk.next() else {
                let detail = format!("commit {} was durable and cannot be read", walk.last.0 + 1);
                return Err(damaged(
                    &segment.path,
                    walk.offset as u64,
                    walk.last,
                    &detail,
                ));
            };
            each(position, walk.chain, body)?;
        }
        Ok(())
    }

    /// Index of the segment that has, or will have, the commit behind `from`.
    fn segment_of(&self, from: Position) -> Result<usize, OpenError> {
        let next = Position(from.0 + 1);
        let after = self
            .segments
            .partition_point(|segment| segment.header.first <= next);
        // Of several that begin there, all but the last are empty; any of them will do.
        after.checked_sub(1).ok_or_else(|| {
            damaged(
                &self.segments[0].path,
                0,
                from,
                "the segments before it are missing",
            )
        })
    }

    fn read(&self, segment: &Segment) -> Result<Vec<u8>, OpenError> {
        read_file(self.disk, &segment.path)
            .map_err(|error| io_error("reading", &segment.path, &error))?
            .ok_or_else(|| damaged(&segment.path, 0, Position(0), "it has disappeared"))
    }
}

/// Walks along the chain of a segment's records.
struct Walk<'a> {
    bytes: &'a [u8],
    opening: u64,
    /// Where the next record should begin.
    offset: usize,
    /// CRC of the last record.
    chain: u32,
    /// The last commit.
    last: Position,
    /// The newest position said to be durable.
    claim: Position,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], header: &SegmentHeader) -> Walk<'a> {
        Walk {
            bytes,
            opening: header.opening,
            offset: RECORDS_START,
            chain: header.chain(),
            last: Position(header.first.0.saturating_sub(1)),
            claim: header.durable,
        }
    }

    /// The next commit; `None` where the chain ends.
    fn next(&mut self) -> Option<(Position, &'a [u8])> {
        loop {
            let record = record::read(self.bytes.get(self.offset..)?)?;
            let expected = match record.kind {
                Kind::Commit => Position(self.last.0 + 1),
                Kind::Trailer => self.last,
            };
            if record.previous != self.chain
                || record.opening != self.opening
                || record.position != expected
            {
                return None;
            }
            self.offset += record.bytes();
            self.chain = record.crc;
            self.last = record.position;
            self.claim = self.claim.max(record.durable);
            if record.kind == Kind::Commit {
                return Some((record.position, record.body));
            }
        }
    }
}

/// What lies behind the end of the chain.
struct Beyond {
    /// Bytes up to the last that is not zero.
    bytes: u64,
    /// The newest position that any sound record there says was durable.
    claim: Position,
}

impl Beyond {
    fn search(bytes: &[u8], from: usize, header: &SegmentHeader, last: Position) -> Beyond {
        let rest = bytes.get(from..).unwrap_or_default();
        let torn = rest
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let mut claim = Position(0);
        // A random number that nobody could know who has sent what lies there. Looked at before the
        // checksum: a message may consist of what looks like the heads of a hundred thousand
        // records, of megabytes each.
        let opening = header.opening.to_le_bytes();
        let is_ours = |at: usize| {
            let field = rest.get(at + record::OPENING_AT..);
            field.is_some_and(|field| field.starts_with(&opening))
        };
        // Records begin at multiples of eight.
        for at in (0..torn).step_by(8) {
            if is_ours(at)
                && let Some(record) = record::read(&rest[at..])
                && record.opening == header.opening
                && record.position >= last
            {
                claim = claim.max(record.durable);
            }
        }
        Beyond {
            bytes: torn as u64,
            claim,
        }
    }
}

fn read_header(disk: &dyn Disk, path: &Path) -> Result<SegmentHeader, OpenError> {
    let failed = |error: &io::Error| io_error("reading", path, error);
    let file = disk
        .open(path, crate::persistence::disk::OpenMode::Read)
        .map_err(|error| failed(&error))?;
    let mut bytes = vec![0; RECORDS_START];
    let read = file
        .read_at(0, &mut bytes)
        .map_err(|error| failed(&error))?;
    bytes.truncate(read);
    SegmentHeader::decode(&bytes).map_err(|problem| match problem {
        Unsealed::Newer { found, known } => OpenError::NewerFormat {
            path: path.to_owned(),
            found,
            known,
        },
        Unsealed::Damaged(detail) => damaged(path, 0, Position(0), detail),
    })
}

pub(crate) fn damaged(file: &Path, offset: u64, position: Position, detail: &str) -> OpenError {
    OpenError::Damaged {
        file: file.to_owned(),
        offset,
        position,
        detail: detail.to_owned(),
    }
}

pub(crate) fn io_error(operation: &str, path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io {
        operation: operation.to_owned(),
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::persistence::journal::segment::{cell_hash, segment_path};
    use crate::persistence::memory_disk::MemoryDisk;

    /// A client sent a message of many numbers, each run of them the head of a record that claims to
    /// be megabytes long, and the power failed with it in the last group. The search behind the torn
    /// tail took the checksum of every one of those records: hours for one message.
    #[test]
    fn a_torn_tail_full_of_what_looks_like_records_is_passed_over_at_once() {
        let header = SegmentHeader {
            cell: cell_hash("main"),
            incarnation: Incarnation(1),
            opening: 0x1122_3344_5566_7788,
            ordinal: 1,
            first: Position(1),
            durable: Position(0),
            previous: 0,
        };
        let mut head = [0xaa; record::HEAD_BYTES];
        head[4..8].copy_from_slice(&(8u32 << 20).to_le_bytes());
        head[36..40].copy_from_slice(&[1, 0, 0, 0]);
        let mut segment = header.encode();
        segment.extend(head.iter().cycle().take(16 << 20));
        let disk = MemoryDisk::default();
        let dir = Path::new("journal");
        disk.put(&segment_path(dir, 1), &segment);
        let reader = JournalReader::open(&disk, dir, header.cell)
            .unwrap()
            .unwrap();
        let began = Instant::now();
        let survey = reader.survey(Position(0)).unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{:?}",
            began.elapsed()
        );
        assert_eq!((survey.end, survey.torn_bytes), (Position(0), 16 << 20));
    }
}
