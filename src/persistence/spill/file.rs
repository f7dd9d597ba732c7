//! One file of spilled messages: its bytes, and how a run of them is found again.
//!
//! ```text
//! head    magic "rdlvspil"  format u32  crc32c u32       (this line is the same in every format)
//!         sender u32  receiver u32  first number u64
//! blocks  { length u32  envelope } …                     one after the other, without anything around them
//! foot    last number  bytes of envelopes
//!         blocks { first number  offset  crc32c u32 } …
//!         nameless  names { kind u8  version  count  name } …
//! tail    length of the foot u32  crc32c u32 of head, foot and that length
//! ```
//!
//! Fixed numbers are little-endian, all others of variable length. The foot has the checksum of
//! every block, so the tail's, which `CHECKPOINT` keeps, vouches for all of the file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes};
use crc32c::{crc32c, crc32c_append};

use super::{SpillFile, SpilledName};
use crate::commit::{Sequence, StreamId};
use crate::envelope::{Envelope, Kind};
use crate::error::StoreError;
use crate::persistence::backlog::{Entry, Page};
use crate::persistence::disk::{Disk, DiskFile, OpenMode};
use crate::persistence::format::{Decoder, Malformed, put_slice, put_varint};

/// The format that this version writes, and the newest it reads.
const SPILL_FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"rdlvspil";
const PRELUDE_BYTES: usize = 16;
const HEAD_BYTES: usize = PRELUDE_BYTES + 16;
const TAIL_BYTES: usize = 8;
/// A block is closed once it is this long; one message may make it longer. A reader keeps one.
const BLOCK_BYTES: usize = 256 * 1024;

/// What the foot of a file says.
#[derive(Debug, Default)]
struct Foot {
    last: Sequence,
    bytes: u64,
    blocks: Vec<Block>,
    /// Messages whose names cannot be told.
    nameless: u64,
    names: Vec<SpilledName>,
    /// Where the blocks end.
    end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    first: Sequence,
    offset: u64,
    checksum: u32,
}

/// Writes a run of messages, which must not be empty; replaces what a failed attempt has left.
/// Durable under its name when its directory is synced.
pub(crate) fn write<'e>(
    disk: &dyn Disk,
    dir: &Path,
    stream: StreamId,
    entries: impl DoubleEndedIterator<Item = &'e Entry> + ExactSizeIterator + Clone,
) -> Result<SpillFile, StoreError> {
    let ends = (entries.clone().next(), entries.clone().next_back());
    let (Some((first, _)), Some((last, _))) = ends else {
        return Err(StoreError::damaged(
            dir,
            "a run of no messages was to be written",
        ));
    };
    let mut file = SpillFile {
        stream,
        first: *first,
        last: *last,
        bytes: 0,
        size: 0,
        checksum: 0,
    };
    let path = file.path(dir);
    let unfinished = path.with_extension("tmp");
    let written = write_blocks(disk, &unfinished, &mut file, entries).and_then(|()| {
        // Believed only when it has been read back: the journal will go for it.
        SpillReader::open_at(disk, unfinished.clone(), file)?.verify()
    });
    if let Err(error) = written {
        // The space is needed for something else; if this fails too, the next attempt writes over it.
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    disk.rename(&unfinished, &path)
        .map_err(|error| StoreError::io("renaming to", &path, &error))?;
    Ok(file)
}

fn write_blocks<'e>(
    disk: &dyn Disk,
    path: &Path,
    file: &mut SpillFile,
    entries: impl Iterator<Item = &'e Entry>,
) -> Result<(), StoreError> {
    let out = disk
        .open(path, OpenMode::Truncate)
        .map_err(|error| StoreError::io("creating", path, &error))?;
    let head = head(file.stream, file.first);
    let mut foot = Foot {
        last: file.last,
        ..Foot::default()
    };
    let mut offset = 0;
    let mut append = |bytes: &[u8]| {
        out.write_at(offset, bytes)
            .map_err(|error| StoreError::io("writing", path, &error))?;
        offset += bytes.len() as u64;
        Ok::<u64, StoreError>(offset)
    };
    foot.end = append(&head)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut block_first = file.first;
    for (sequence, envelope) in entries {
        let Ok(length) = u32::try_from(envelope.len()) else {
            return Err(StoreError::damaged(path, "a message is longer than 4 GiB"));
        };
        if !block.is_empty() && block.len() + 4 + envelope.len() > BLOCK_BYTES {
            foot.add_block(block_first, &block);
            foot.end = append(&block)?;
            block.clear();
        }
        if block.is_empty() {
            block_first = *sequence;
        }
        block.put_u32_le(length);
        block.put_slice(envelope);
        foot.bytes += u64::from(length);
        foot.count(envelope);
    }
    foot.add_block(block_first, &block);
    foot.end = append(&block)?;
    let mut ending = foot.encode();
    ending.put_u32_le(ending.len() as u32);
    file.checksum = crc32c_append(crc32c(&head), &ending);
    ending.put_u32_le(file.checksum);
    file.bytes = foot.bytes;
    file.size = append(&ending)?;
    out.sync()
        .map_err(|error| StoreError::io("syncing", path, &error))
}

fn head(stream: StreamId, first: Sequence) -> Vec<u8> {
    let mut head = prelude(SPILL_FORMAT);
    head.put_u32_le(stream.sender.0);
    head.put_u32_le(stream.receiver.0);
    head.put_u64_le(first.0);
    head
}

/// The first bytes of a file of a format.
fn prelude(format: u32) -> Vec<u8> {
    let mut prelude = Vec::with_capacity(HEAD_BYTES);
    prelude.put_slice(MAGIC);
    prelude.put_u32_le(format);
    let checksum = crc32c(&prelude);
    prelude.put_u32_le(checksum);
    prelude
}

impl Foot {
    fn add_block(&mut self, first: Sequence, block: &[u8]) {
        self.blocks.push(Block {
            first,
            offset: self.end,
            checksum: crc32c(block),
        });
    }

    /// Counts a message by its name.
    fn count(&mut self, envelope: &Bytes) {
        let Ok(envelope) = Envelope::decode(envelope) else {
            self.nameless += 1;
            return;
        };
        let known = self.names.iter_mut().find(|known| {
            known.kind == envelope.kind
                && known.version == envelope.version
                && known.name == envelope.name
        });
        match known {
            Some(known) => known.count += 1,
            None => self.names.push(SpilledName {
                kind: envelope.kind,
                version: envelope.version,
                // Of its own: a slice would keep the whole message.
                name: Bytes::copy_from_slice(&envelope.name),
                count: 1,
            }),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        put_varint(&mut to, self.last.0);
        put_varint(&mut to, self.bytes);
        put_varint(&mut to, self.blocks.len() as u64);
        for block in &self.blocks {
            put_varint(&mut to, block.first.0);
            put_varint(&mut to, block.offset);
            to.put_u32_le(block.checksum);
        }
        put_varint(&mut to, self.nameless);
        put_varint(&mut to, self.names.len() as u64);
        for name in &self.names {
            to.put_u8(name.kind.to_byte());
            put_varint(&mut to, u64::from(name.version));
            put_varint(&mut to, name.count);
            put_slice(&mut to, &name.name);
        }
        to
    }

    fn decode(bytes: &[u8], end: u64) -> Result<Foot, Malformed> {
        let mut from = Decoder::new(bytes);
        let mut foot = Foot {
            last: Sequence(from.varint()?),
            bytes: from.varint()?,
            end,
            ..Foot::default()
        };
        for _ in 0..from.varint()? {
            foot.blocks.push(Block {
                first: Sequence(from.varint()?),
                offset: from.varint()?,
                checksum: from.u32()?,
            });
        }
        foot.nameless = from.varint()?;
        for _ in 0..from.varint()? {
            foot.names.push(SpilledName {
                kind: Kind::from_byte(from.u8()?)
                    .ok_or(Malformed("its foot names an unknown kind of message"))?,
                version: u16::try_from(from.id()?)
                    .map_err(|_| Malformed("its foot names a version that is too large"))?,
                count: from.varint()?,
                name: from.bytes()?,
            });
        }
        from.finish()?;
        Ok(foot)
    }

    /// Whether its blocks follow each other from the head to the foot.
    fn is_sound(&self, file: &SpillFile) -> bool {
        let ascending = self
            .blocks
            .windows(2)
            .all(|pair| pair[0].first < pair[1].first && pair[0].offset < pair[1].offset);
        let first = self
            .blocks
            .first()
            .is_some_and(|block| block.first == file.first && block.offset == HEAD_BYTES as u64);
        let last = self
            .blocks
            .last()
            .is_some_and(|block| block.first <= file.last && block.offset < self.end);
        ascending && first && last && (self.last, self.bytes) == (file.last, file.bytes)
    }
}

/// Reads one file, block by block, and keeps the block that it read last.
pub(crate) struct SpillReader {
    disk_file: Box<dyn DiskFile>,
    path: PathBuf,
    file: SpillFile,
    foot: Foot,
    block: usize,
    /// Its messages; none before the first is read.
    held: Vec<Bytes>,
}

impl SpillReader {
    /// Opens a file and makes sure of its head and its foot.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        file: SpillFile,
    ) -> Result<SpillReader, StoreError> {
        SpillReader::open_at(disk, file.path(dir), file)
    }

    fn open_at(disk: &dyn Disk, path: PathBuf, file: SpillFile) -> Result<SpillReader, StoreError> {
        let damaged = |detail: &str| Err(StoreError::damaged(&path, detail));
        let failed = |error: std::io::Error| StoreError::io("reading", &path, &error);
        let disk_file = match disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return damaged("it is missing");
            }
            opened => opened.map_err(failed)?,
        };
        let size = disk_file.size().map_err(failed)?;
        let mut found = [0; HEAD_BYTES];
        let read = disk_file.read_at(0, &mut found).map_err(failed)?;
        if let Some(format) = format_of(&found[..read])
            && format > SPILL_FORMAT
        {
            return Err(StoreError::NewerFormat {
                what: format!("spilled messages {}", path.display()),
                found: format,
                known: SPILL_FORMAT,
            });
        }
        if size != file.size || size < (HEAD_BYTES + TAIL_BYTES) as u64 {
            return damaged("it does not have the length that it had");
        }
        let head = head(file.stream, file.first);
        if found[..] != head[..] {
            return damaged("it does not begin as it did");
        }
        let mut tail = [0; TAIL_BYTES];
        let tail_at = size - TAIL_BYTES as u64;
        let read = disk_file.read_at(tail_at, &mut tail).map_err(failed)?;
        let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let end = tail_at.saturating_sub(length);
        if read != TAIL_BYTES || end <= HEAD_BYTES as u64 {
            return damaged("its foot does not fit into it");
        }
        let mut ending = vec![0; usize::try_from(length).unwrap_or(0) + 4];
        let read = disk_file.read_at(end, &mut ending).map_err(failed)?;
        let checksum = crc32c_append(crc32c(&head), &ending);
        if read != ending.len()
            || checksum != file.checksum
            || tail[4..] != file.checksum.to_le_bytes()
        {
            return damaged("its foot does not match its checksum");
        }
        let foot = match Foot::decode(&ending[..ending.len() - 4], end) {
            Ok(foot) if foot.is_sound(&file) => foot,
            Ok(_) => return damaged("its foot does not speak of it"),
            Err(Malformed(detail)) => return damaged(detail),
        };
        Ok(SpillReader {
            disk_file,
            path,
            file,
            foot,
            block: 0,
            held: Vec::new(),
        })
    }

    /// Reads all of it.
    pub(crate) fn verify(mut self) -> Result<(), StoreError> {
        (0..self.foot.blocks.len()).try_for_each(|block| self.read_block(block))
    }

    /// The names of its messages, unless some of them have none.
    pub(crate) fn names(self) -> Option<Vec<SpilledName>> {
        (self.foot.nameless == 0).then_some(self.foot.names)
    }

    /// Adds to a page what lies behind `after` in the block that has the next message.
    fn read(&mut self, after: Sequence, page: &mut Page) -> Result<(), StoreError> {
        let next = self
            .foot
            .blocks
            .partition_point(|block| block.first.0 <= after.0 + 1);
        let block = next.saturating_sub(1);
        if self.held.is_empty() || self.block != block {
            self.read_block(block)?;
        }
        let first = self.foot.blocks[block].first.0;
        let skipped = usize::try_from((after.0 + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        for (nth, envelope) in self.held.iter().enumerate().skip(skipped) {
            if !page.offer(Sequence(first + nth as u64), envelope) {
                break;
            }
        }
        Ok(())
    }

    fn read_block(&mut self, nth: usize) -> Result<(), StoreError> {
        self.held.clear();
        let damaged = |detail: &str| Err(StoreError::damaged(&self.path, detail));
        let Some(block) = self.foot.blocks.get(nth).copied() else {
            return damaged("it has no such block");
        };
        let next = self.foot.blocks.get(nth + 1);
        let end = next.map_or(self.foot.end, |next| next.offset);
        let behind = next.map_or(self.file.last.0 + 1, |next| next.first.0);
        let mut bytes = vec![0; usize::try_from(end - block.offset).unwrap_or(usize::MAX)];
        let read = self
            .disk_file
            .read_at(block.offset, &mut bytes)
            .map_err(|error| StoreError::io("reading", &self.path, &error))?;
        if read != bytes.len() || crc32c(&bytes) != block.checksum {
            return damaged("a run of its messages does not match its checksum");
        }
        let mut held = Vec::new();
        let mut from = Decoder::new(&bytes);
        while !from.is_empty() {
            let envelope = from
                .u32()
                .and_then(|length| from.take(length as usize))
                .map_err(|Malformed(detail)| StoreError::damaged(&self.path, detail))?;
            // A copy: one that is kept for long must not keep the whole block.
            held.push(Bytes::copy_from_slice(envelope));
        }
        if held.len() as u64 != behind - block.first.0 {
            return damaged("a run of its messages is not as long as it was");
        }
        self.block = nth;
        self.held = held;
        Ok(())
    }
}

/// The format that the first bytes of a file speak of, if they are those of such a file.
fn format_of(head: &[u8]) -> Option<u32> {
    let start = head.get(..PRELUDE_BYTES)?;
    let format = u32::from_le_bytes(start[8..12].try_into().ok()?);
    (start == prelude(format)).then_some(format)
}

/// What is read of a stream's files: the file that was read last stays open.
#[derive(Default)]
pub(crate) struct SpillCursor(Mutex<Option<SpillReader>>);

impl SpillCursor {
    fn held(&self) -> MutexGuard<'_, Option<SpillReader>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds messages behind `after` to a page, which takes one at least if it has room.
    pub(crate) fn read(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        file: SpillFile,
        after: Sequence,
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let mut held = self.held();
        let reader = match held.take() {
            Some(reader) if reader.file == file => reader,
            _ => SpillReader::open(disk, dir, file)?,
        };
        // After an error it is opened anew.
        held.insert(reader)
            .read(after, page)
            .inspect_err(|_| *held = None)
    }

    /// Lets go of a file that has been removed, or its space would stay taken.
    pub(crate) fn forget(&self, file: &SpillFile) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|reader| reader.file == *file) {
            *held = None;
        }
    }
}

impl std::fmt::Debug for SpillCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpillCursor")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::commit::ServiceId;
    use crate::persistence::memory_disk::MemoryDisk;

    const STREAM: StreamId = StreamId {
        sender: ServiceId(1),
        receiver: ServiceId(2),
    };

    fn written(entries: &[Entry]) -> (MemoryDisk, SpillFile) {
        let disk = MemoryDisk::default();
        let file = write(&disk, Path::new("spill"), STREAM, entries.iter()).unwrap();
        (disk, file)
    }

    fn all(disk: &MemoryDisk, file: SpillFile, after: u64) -> Result<Vec<Entry>, StoreError> {
        let cursor = SpillCursor::default();
        let mut page = Page::new(usize::MAX, usize::MAX);
        let mut next = Sequence(after);
        while next < file.last {
            cursor.read(disk, Path::new("spill"), file, next, &mut page)?;
            next = page.last().unwrap();
        }
        Ok(page.entries)
    }

    #[test]
    fn messages_larger_and_smaller_than_a_block_share_a_file() {
        let lengths = [0, 1, BLOCK_BYTES, 3, 3 * BLOCK_BYTES, 0, 0];
        let small = std::iter::repeat_n(700, 2_000);
        let entries: Vec<Entry> = (5..)
            .zip(lengths.into_iter().chain(small))
            .map(|(n, length)| (Sequence(n), Bytes::from(vec![n as u8; length])))
            .collect();
        let (disk, file) = written(&entries);
        assert_eq!((file.first, file.last), (Sequence(5), Sequence(2_011)));
        let bytes: usize = entries.iter().map(|(_, envelope)| envelope.len()).sum();
        assert_eq!(file.bytes, bytes as u64);
        for after in [4, 5, 6, 7, 8, 9, 10, 11, 12, 400, 2_009, 2_010] {
            let behind = &entries[after as usize - 4..];
            assert_eq!(all(&disk, file, after).unwrap(), behind, "behind {after}");
        }
        assert!(disk.longest_read() <= 3 * BLOCK_BYTES + 4);
    }

    #[test]
    fn golden_bytes_of_a_file() {
        let entries = [
            (Sequence(7), Bytes::from_static(b"ab")),
            (Sequence(8), Bytes::from_static(b"c")),
        ];
        let (disk, file) = written(&entries);
        let path = file.path(Path::new("spill"));
        let name = "1-2-00000000000000000007-00000000000000000008.spill";
        assert_eq!(path, Path::new("spill").join(name));
        let bytes = disk.bytes(&path);
        assert_eq!(&bytes[..12], b"rdlvspil\x01\0\0\0");
        let head = [1, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes[16..32], head);
        assert_eq!(&bytes[32..43], b"\x02\0\0\0ab\x01\0\0\0c");
        let block = crc32c(&bytes[32..43]).to_le_bytes();
        assert_eq!(bytes[43..48], [8, 3, 1, 7, 32]);
        assert_eq!(bytes[48..52], block);
        assert_eq!(bytes[52..58], [2, 0, 11, 0, 0, 0]);
        let checksum = crc32c(&[&bytes[..32], &bytes[43..58]].concat());
        assert_eq!(bytes[58..], checksum.to_le_bytes());
        assert_eq!((file.size, file.checksum), (62, checksum));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed_and_a_newer_format_told_from_it() {
        let entries = [
            (Sequence(7), Bytes::from_static(b"ab")),
            (Sequence(8), Bytes::from_static(b"c")),
        ];
        let (disk, file) = written(&entries);
        let path = file.path(Path::new("spill"));
        let good = disk.bytes(&path);
        assert_eq!(all(&disk, file, 6).unwrap(), entries);
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.put(&path, &flipped);
            let damaged = all(&disk, file, 6);
            let is_named = matches!(&damaged, Err(StoreError::Damaged { .. }));
            assert!(is_named, "bit {bit}: {damaged:?}");
        }
        for length in 0..good.len() {
            disk.put(&path, &good[..length]);
            assert!(all(&disk, file, 6).is_err(), "cut to {length}");
        }
        let mut newer = good.clone();
        newer[..16].copy_from_slice(&prelude(2));
        disk.put(&path, &newer);
        let refused = all(&disk, file, 6);
        assert!(
            matches!(refused, Err(StoreError::NewerFormat { found: 2, .. })),
            "{refused:?}"
        );
        // The same run of another history.
        let other = [
            (Sequence(7), Bytes::from_static(b"ab")),
            (Sequence(8), Bytes::from_static(b"d")),
        ];
        write(&disk, Path::new("spill"), STREAM, other.iter()).unwrap();
        assert!(all(&disk, file, 6).is_err());
    }
}
