//! What sled's log must still hold, and whether it does: looked at before sled is.
//!
//! sled opens by replaying the part of its log that is newer than its own last snapshot, which it
//! writes only when it opens. A message in there that does not match its checksum ends its segment
//! without a word, and the segments after it are applied all the same: every page that the rest of
//! the segment spoke of falls back to what it was before. No count of rows shows that. So each sync
//! lists the segments which the next opening will replay, and how far each was written; an opening
//! compares before sled can take what is left for the whole. What is older than sled's snapshot
//! needs no list: sled reads it by page, and says so when a checksum does not match.
//!
//! ```text
//! db        segment of 512 KiB: header, message, message ... until a cap or the end
//! header    crc32 u32  lsn i64  stable lsn i64                       each as its complement
//! message   crc32 u32  kind u8  length  segment number  page  body   numbers as sled packs them
//! segments  sealed: base lsn, then of each segment: place, number, bytes written
//! ```
//!
//! A segment that has been freed since may hold a newer one, or none if the file has become shorter
//! by whole segments while something was written. Segments that no list knows were written after
//! the last sync; those that sled has called stable must be whole as well, because sled moves old
//! pages into new segments.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::{Decoder, Malformed, Unsealed, put_varint, seal, unseal};
use crate::error::StoreError;

const MAGIC: &[u8; 8] = b"RDLVSEGS";
/// What a list is called until it is whole; such a file is removed when the engine opens.
const UNFINISHED: &str = "generating";

/// sled's `segment_size`, as it is by default.
const SEGMENT_BYTES: usize = 512 * 1024;
const HEADER_BYTES: usize = 20;
/// Where less than this is left, sled writes no message: its longest header of one.
const MESSAGE_HEADER_MAX: usize = 32;
const CORRUPTED: u8 = 0;
const CAP: u8 = 2;
const LAST_KIND: u8 = 11;

/// The segments that the next opening replays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SegmentList {
    /// Up to here sled's snapshot speaks for the log.
    base: u64,
    /// By their place in the file, counted in segments.
    segments: BTreeMap<u64, Listed>,
}

/// A segment as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    /// Its place in the log: every segment that is written has the next number.
    number: u64,
    /// Where its last message ends.
    end: u32,
    /// Whether nothing comes after that. Not on disk, because it follows from the file.
    whole: bool,
}

/// What stands at a place of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    listed: Listed,
    /// Up to here the log was stable when the segment was begun.
    stable: u64,
}

impl SegmentList {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(16 + 9 * self.segments.len());
        put_varint(&mut body, self.base);
        put_varint(&mut body, self.segments.len() as u64);
        for (place, segment) in &self.segments {
            put_varint(&mut body, *place);
            put_varint(&mut body, segment.number);
            put_varint(&mut body, u64::from(segment.end));
        }
        seal(MAGIC, &body)
    }

    pub(crate) fn decode(file: &[u8]) -> Result<SegmentList, Unsealed> {
        let read = |from: &mut Decoder<'_>| -> Result<SegmentList, Malformed> {
            let base = from.varint()?;
            let mut segments = BTreeMap::new();
            for _ in 0..from.varint()? {
                let place = from.varint()?;
                let listed = Listed {
                    number: from.varint()?,
                    end: from.id()?,
                    whole: false,
                };
                if segments
                    .last_key_value()
                    .is_some_and(|(last, _)| *last >= place)
                {
                    return Err(Malformed("its segments are out of order"));
                }
                segments.insert(place, listed);
            }
            Ok(SegmentList { base, segments })
        };
        let mut from = Decoder::new(unseal(MAGIC, file)?);
        read(&mut from)
            .and_then(|list| from.finish().map(|()| list))
            .map_err(|Malformed(detail)| Unsealed::Damaged(detail))
    }

    /// The list of a directory whose engine has just been opened.
    pub(super) fn of_opened(dir: &Path) -> Result<SegmentList, StoreError> {
        Ok(SegmentList {
            base: newest_snapshot(dir)?.unwrap_or(0),
            segments: BTreeMap::new(),
        })
    }

    /// Looks at what has been written since, and saves the list if there was anything. To be called
    /// between sled's flush and the sync of its files.
    pub(super) fn update(&mut self, dir: &Path, data: &File) -> Result<(), StoreError> {
        let before = self.segments.clone();
        let mut segment = Vec::new();
        for place in 0..places(dir, data)? {
            let (number, _) = match read_header(dir, data, place)? {
                Place::Begun(header) => header,
                // What became of one that was listed is for the next opening to say.
                Place::Empty | Place::Unreadable => continue,
            };
            if ends_before(number, self.base) {
                self.segments.remove(&place);
                continue;
            }
            let known = self.segments.get(&place).filter(|at| at.number == number);
            if known.is_some_and(|at| at.whole) {
                continue;
            }
            read_segment(dir, data, place, &mut segment)?;
            let now = walk(&segment, number);
            if known.is_none_or(|at| at.end < now.end || now.whole) {
                self.segments.insert(place, now);
            }
        }
        self.forget_cut(dir, data)?;
        match before == self.segments {
            true => Ok(()),
            false => self.save(dir),
        }
    }

    /// Brings the list up to what is left when sled is closed: it cuts in threads of its own, after
    /// a sync as well.
    pub(super) fn close(&mut self, dir: &Path, data: &File) -> Result<(), StoreError> {
        let length = self.segments.len();
        self.forget_cut(dir, data)?;
        match self.segments.len() == length {
            true => Ok(()),
            false => self.save(dir),
        }
    }

    /// Forgets the segments that sled has cut off. Of two cuts the shorter may come first; then the
    /// other leaves zeros at the end.
    fn forget_cut(&mut self, dir: &Path, data: &File) -> Result<(), StoreError> {
        let mut cut = Vec::new();
        for place in self.segments.keys().rev() {
            match read_header(dir, data, *place)? {
                Place::Empty => cut.push(*place),
                Place::Begun(_) | Place::Unreadable => break,
            }
        }
        for place in cut {
            self.segments.remove(&place);
        }
        Ok(())
    }

    /// Replaces the file; it is durable after the sync of the directory's files.
    fn save(&self, dir: &Path) -> Result<(), StoreError> {
        let path = list_path(dir);
        let unfinished = path.with_extension(UNFINISHED);
        fs::write(&unfinished, self.encode())
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(|e| StoreError::io("writing", &path, &e))
    }
}

fn list_path(dir: &Path) -> PathBuf {
    dir.join("segments")
}

/// Refuses a directory whose engine would open with less than it had. Nothing is changed.
pub(super) fn check(dir: &Path) -> Result<(), StoreError> {
    let path = list_path(dir);
    let list = match fs::read(&path) {
        Ok(file) => SegmentList::decode(&file).map_err(|refused| {
            StoreError::damaged(&path, format!("it cannot be read: {refused:?}"))
        })?,
        // Of an engine that was never synced, or that was last written before there were lists.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("reading", &path, &error)),
    };
    let db = dir.join("db");
    let data = match File::open(&db) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::damaged(dir, "sled's data file is missing"));
        }
        Err(error) => return Err(StoreError::io("opening", &db, &error)),
    };
    let base = newest_snapshot(dir)?.unwrap_or(0);
    let mut found = BTreeMap::new();
    let mut filled = 0;
    let mut segment = Vec::new();
    for place in 0..places(dir, &data)? {
        let begins = read_header(dir, &data, place)?;
        if !matches!(begins, Place::Empty) {
            filled = place + 1;
        }
        let Place::Begun((number, stable)) = begins else {
            continue;
        };
        if !ends_before(number, base) {
            read_segment(dir, &data, place, &mut segment)?;
            let listed = walk(&segment, number);
            found.insert(place, Found { listed, stable });
        }
    }
    let by_the_whole = size(&db, &data)?.is_multiple_of(SEGMENT_BYTES as u64);
    let end = by_the_whole.then_some(filled);
    judge(&list, base, &found, end).map_err(|detail| StoreError::damaged(dir, detail))
}

/// Whether what was found in a log can be replayed without losing what was listed. `base` is where
/// sled's snapshot ends now, `end` the first of the empty places at the end of the file if that may
/// have been cut.
fn judge(
    list: &SegmentList,
    base: u64,
    found: &BTreeMap<u64, Found>,
    end: Option<u64>,
) -> Result<(), String> {
    if base < list.base {
        return Err(format!(
            "sled's snapshot of lsn {} is missing; the newest is of {base}",
            list.base
        ));
    }
    let grew = found.iter().any(|(place, at)| {
        let listed = list.segments.get(place);
        listed.is_none_or(|listed| (listed.number, listed.end) < (at.listed.number, at.listed.end))
    });
    for (place, listed) in &list.segments {
        if ends_before(listed.number, base) {
            continue;
        }
        let missing = |what: &str| {
            Err(format!(
                "segment {} of sled's log, at byte {}, {what}",
                listed.number,
                place * SEGMENT_BYTES as u64
            ))
        };
        match found.get(place) {
            Some(at) if at.listed.number > listed.number => {}
            Some(at) if at.listed.number < listed.number => {
                return missing("has become an older one");
            }
            Some(at) if at.listed.end < listed.end => {
                return missing("does not match its checksums");
            }
            Some(_) => {}
            // Cut off: sled does that with free segments at the end.
            None if grew && end.is_some_and(|end| *place >= end) => {}
            None => return missing("has no header"),
        }
    }
    let stable = found.values().map(|at| at.stable).max().unwrap_or(0);
    let torn = found
        .values()
        .find(|at| !at.listed.whole && ends_before(at.listed.number, stable));
    match torn {
        Some(at) => Err(format!(
            "segment {} of sled's log was stable and does not match its checksums",
            at.listed.number
        )),
        None => Ok(()),
    }
}

/// Whether a segment lies below a place of the log.
fn ends_before(number: u64, lsn: u64) -> bool {
    number < lsn / SEGMENT_BYTES as u64
}

/// Reads a segment, or what there is of it, message by message.
fn walk(segment: &[u8], number: u64) -> Listed {
    let mut end = HEADER_BYTES.min(segment.len());
    let whole = loop {
        if end > SEGMENT_BYTES - MESSAGE_HEADER_MAX {
            break true;
        }
        match segment.get(end..).and_then(|rest| message(rest, number)) {
            Some((kind, length)) => {
                end += length;
                if kind == CAP {
                    break true;
                }
            }
            None => break false,
        }
    };
    Listed {
        number,
        end: u32::try_from(end).unwrap_or(u32::MAX),
        whole,
    }
}

/// The kind and the length of the message at the beginning of `bytes`, if there is a good one.
fn message(bytes: &[u8], segment: u64) -> Option<(u8, usize)> {
    let mut rest = bytes.get(5..)?;
    let checksum = u32::from_le_bytes(bytes[..4].try_into().ok()?);
    let kind = bytes[4];
    if kind == CORRUPTED || kind > LAST_KIND {
        return None;
    }
    let length = usize::try_from(packed(&mut rest)?).ok()?;
    let number = packed(&mut rest)?;
    packed(&mut rest)?;
    let head = &bytes[4..bytes.len() - rest.len()];
    let body = rest.get(..length)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(body);
    crc.update(head);
    (number == segment && !crc.finalize() == checksum).then_some((kind, 4 + head.len() + length))
}

/// A number as sled packs it.
fn packed(from: &mut &[u8]) -> Option<u64> {
    let (first, rest) = from.split_first()?;
    let (value, used) = match *first {
        first @ 0..=240 => (u64::from(first), 0),
        first @ 241..=248 => (
            240 + 256 * (u64::from(first) - 241) + u64::from(*rest.first()?),
            1,
        ),
        249 => (
            2288 + 256 * u64::from(*rest.first()?) + u64::from(*rest.get(1)?),
            2,
        ),
        first => {
            let used = usize::from(first) - 247;
            let mut bytes = [0; 8];
            bytes[..used].copy_from_slice(rest.get(..used)?);
            (u64::from_le_bytes(bytes), used)
        }
    };
    *from = rest.get(used..)?;
    Some(value)
}

/// The number of a segment, and up to where the log was stable when it was begun.
fn header(bytes: &[u8; HEADER_BYTES]) -> Option<(u64, u64)> {
    let (checksum, fields) = bytes.split_first_chunk()?;
    if crc32fast::hash(fields) != !u32::from_le_bytes(*checksum) {
        return None;
    }
    let (lsn, stable) = fields.split_first_chunk()?;
    let plain = |field: [u8; 8]| i64::from_le_bytes(field) ^ i64::MAX;
    let lsn = u64::try_from(plain(*lsn)).ok()?;
    // Below zero in the first segment of all.
    let stable = u64::try_from(plain(stable.try_into().ok()?)).unwrap_or(0);
    lsn.is_multiple_of(SEGMENT_BYTES as u64)
        .then_some((lsn / SEGMENT_BYTES as u64, stable))
}

/// Up to where the newest of sled's snapshots in a directory speaks for the log.
fn newest_snapshot(dir: &Path) -> Result<Option<u64>, StoreError> {
    let failed = |e: io::Error| StoreError::io("listing", dir, &e);
    let mut newest = None;
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let lsn = name
            .to_str()
            .and_then(|name| name.strip_prefix("snap."))
            .and_then(|lsn| u64::from_str_radix(lsn, 16).ok());
        newest = newest.max(lsn);
    }
    Ok(newest)
}

fn size(db: &Path, data: &File) -> Result<u64, StoreError> {
    let metadata = data.metadata();
    metadata
        .map(|metadata| metadata.len())
        .map_err(|e| StoreError::io("reading", db, &e))
}

/// How many segments begin in the file.
fn places(dir: &Path, data: &File) -> Result<u64, StoreError> {
    Ok(size(&dir.join("db"), data)?.div_ceil(SEGMENT_BYTES as u64))
}

/// What a place of the file begins with.
enum Place {
    /// A segment: its number, and up to where the log was stable then.
    Begun((u64, u64)),
    /// Nothing: zeros, or the file has no such place.
    Empty,
    /// Something else.
    Unreadable,
}

fn read_header(dir: &Path, data: &File, place: u64) -> Result<Place, StoreError> {
    let mut bytes = [0; HEADER_BYTES];
    match data.read_exact_at(&mut bytes, place * SEGMENT_BYTES as u64) {
        Ok(()) if bytes == [0; HEADER_BYTES] => Ok(Place::Empty),
        Ok(()) => Ok(header(&bytes).map_or(Place::Unreadable, Place::Begun)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Place::Empty),
        Err(error) => Err(StoreError::io("reading", &dir.join("db"), &error)),
    }
}

/// Reads a segment; what is not in the file is zero, which is no message.
fn read_segment(dir: &Path, data: &File, place: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
    into.clear();
    into.resize(SEGMENT_BYTES, 0);
    let mut filled = 0;
    while filled < SEGMENT_BYTES {
        let at = place * SEGMENT_BYTES as u64 + filled as u64;
        match data.read_at(&mut into[filled..], at) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::io("reading", &dir.join("db"), &error)),
        }
    }
    Ok(())
}

/// How many bytes of good messages a segment with the number 1 begins with.
#[cfg(feature = "fuzzing")]
pub(crate) fn messages(segment: &[u8]) -> usize {
    let listed = walk(segment, 1);
    assert!(listed.end as usize <= segment.len());
    (listed.end as usize).saturating_sub(HEADER_BYTES)
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn sample_list() -> SegmentList {
    let listed = |number, end| Listed {
        number,
        end,
        whole: true,
    };
    SegmentList {
        base: 2 * SEGMENT_BYTES as u64 + 300,
        segments: BTreeMap::from([(0, listed(2, 400)), (1, listed(3, 500))]),
    }
}

/// The beginning of segment 1, as sled wrote it: a page's new content, and a message that was given up.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn sample_segment() -> Vec<u8> {
    let mut segment = vec![0; HEADER_BYTES];
    for (kind, body) in [(8, &b"content of a page"[..]), (1, b"")] {
        let mut message = vec![kind, body.len() as u8, 1, 7];
        let mut crc = crc32fast::Hasher::new();
        crc.update(body);
        crc.update(&message);
        segment.extend((!crc.finalize()).to_le_bytes());
        segment.append(&mut message);
        segment.extend(body);
    }
    segment
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listed(number: u64, end: u32) -> Listed {
        Listed {
            number,
            end,
            whole: true,
        }
    }

    fn found(number: u64, end: u32, stable: u64) -> Found {
        Found {
            listed: listed(number, end),
            stable,
        }
    }

    #[test]
    fn golden_bytes_of_a_list_of_segments() {
        let file = sample_list().encode();
        let body: &[u8] = &[0xac, 0x82, 0x40, 2, 0, 2, 0x90, 3, 1, 3, 0xf4, 3];
        assert_eq!(&file[..8], MAGIC);
        assert_eq!(&file[20..], body);
        let read = SegmentList::decode(&file).unwrap();
        assert_eq!(read.encode(), file);
        let twice = [1, 2, 0, 2, 3, 0, 2, 3];
        assert!(SegmentList::decode(&seal(MAGIC, &twice)).is_err());
    }

    #[test]
    fn a_log_is_refused_that_has_less_than_was_listed() {
        let list = sample_list();
        let base = list.base;
        let whole = BTreeMap::from([(0, found(2, 400, 0)), (1, found(3, 500, 0))]);
        let with = |place: u64, at: Option<Found>| {
            let mut found = whole.clone();
            match at {
                Some(at) => found.insert(place, at),
                None => found.remove(&place),
            };
            found
        };
        let torn = |number, end, stable: u64| Found {
            listed: Listed {
                whole: false,
                ..listed(number, end)
            },
            stable: stable * SEGMENT_BYTES as u64,
        };
        let newer = |mut found: BTreeMap<u64, Found>, at| {
            found.insert(2, at);
            found
        };
        let cases = [
            ("as it was", whole.clone(), base, Some(2), true),
            (
                "written on",
                with(1, Some(found(3, 501, 0))),
                base,
                Some(2),
                true,
            ),
            (
                "one is shorter",
                with(1, Some(found(3, 499, 0))),
                base,
                Some(2),
                false,
            ),
            ("one is gone", with(1, None), base, Some(2), false),
            (
                "one is older",
                with(1, Some(found(1, 500, 0))),
                base,
                Some(2),
                false,
            ),
            (
                "one is written anew",
                with(1, Some(found(4, 20, 0))),
                base,
                Some(2),
                true,
            ),
            ("the end is cut off", with(1, None), base, Some(1), false),
            (
                "cut off by sled, which wrote on",
                BTreeMap::from([(0, found(4, 20, 0))]),
                base,
                Some(1),
                true,
            ),
            (
                "cut off in the middle, written on or not",
                BTreeMap::from([(0, found(4, 20, 0))]),
                base,
                None,
                false,
            ),
            ("an older snapshot", whole.clone(), base - 1, Some(2), false),
            (
                "a newer snapshot speaks for it",
                BTreeMap::new(),
                4 * SEGMENT_BYTES as u64,
                Some(2),
                true,
            ),
            (
                "a torn end",
                newer(whole.clone(), torn(4, 600, 4)),
                base,
                Some(3),
                true,
            ),
            (
                "a torn middle",
                newer(whole.clone(), torn(4, 600, 5)),
                base,
                Some(3),
                false,
            ),
        ];
        for (case, found, base, end, is_good) in cases {
            let judged = judge(&list, base, &found, end);
            assert_eq!(judged.is_ok(), is_good, "{case}: {judged:?}");
        }
    }

    #[test]
    fn a_segment_is_read_up_to_the_first_message_that_is_not_good() {
        let mut segment = sample_segment();
        let length = segment.len();
        let end = |segment: &[u8]| walk(segment, 1).end as usize;
        assert_eq!(end(&segment), length);
        assert_eq!(walk(&segment, 2).end as usize, HEADER_BYTES);
        segment.resize(SEGMENT_BYTES, 0);
        assert_eq!(end(&segment), length);
        for bit in 8 * HEADER_BYTES..8 * length {
            segment[bit / 8] ^= 1 << (bit % 8);
            assert!(end(&segment) < length, "bit {bit}");
            segment[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn numbers_are_read_as_sled_packs_them() {
        for (bytes, value) in [
            (&[240][..], 240),
            (&[241, 0], 240),
            (&[248, 255], 2287),
            (&[249, 0, 0], 2288),
            (&[250, 1, 2, 3], 0x03_0201),
            (&[255, 1, 0, 0, 0, 0, 0, 0, 2], 0x0200_0000_0000_0001),
        ] {
            let mut rest = bytes;
            assert_eq!(packed(&mut rest), Some(value), "{bytes:?}");
            assert!(rest.is_empty());
            let mut short = &bytes[..bytes.len() - 1];
            assert_eq!(packed(&mut short), None, "{bytes:?}");
        }
    }
}
