//! Snapshots: all rows of a cell at one position, in one checksummed file.
//!
//! A snapshot is what journal segments may be removed for, and what a lost engine is rebuilt from,
//! so it is trusted only after [`Snapshot::verify`] has read all of it back. It appears under its
//! name whole or not at all. Any flipped bit, cut or appended byte is noticed. Reading and writing
//! need memory for one block, whatever the size of the file. What the rows mean, when snapshots
//! are taken and which are kept, is the store's business.
//!
//! ```text
//! head    magic "rdlvsnap"  format u32  crc32c u32            (this line is the same in every format)
//!         position u64  meta length u32  meta  crc32c u32
//! block   1u8  length u32  rows u32  crc32c u32               rows in ascending (table, key) order:
//!         { table u32  key length u32  value length u32  key  value } …      crc32c u32
//! foot    2u8  length u32  tables u32  crc32c u32
//!         { table u32  rows u64 } …  all rows u64  chain u32      crc32c u32
//! ```
//!
//! Numbers are little-endian; each checksum covers its own line up to itself. The chain is the
//! crc32c of all checksums before the foot and ties the blocks to each other. (Not of all bytes:
//! a CRC over data and that data's own CRC is the same for any data.)

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use crc32c::{crc32c, crc32c_append};

use crate::commit::{Position, TableId};
use crate::error::StoreError;
use crate::persistence::disk::{Disk, DiskFile, OpenMode};
use crate::persistence::format::sync_names;

/// The format that this version writes, and the newest it reads.
pub const SNAPSHOT_FORMAT: u32 = 1;
/// The ending of a snapshot that is still being written.
pub const UNFINISHED: &str = "tmp";

const MAGIC: &[u8; 8] = b"rdlvsnap";
const PRELUDE_BYTES: usize = 16;
/// A block is closed once it is this long; one row may make it longer.
const BLOCK_BYTES: usize = 64 * 1024;
const BLOCK_HEAD_BYTES: usize = 13;
const CHECKSUM_BYTES: usize = 4;
const ROW_HEAD_BYTES: usize = 12;
const ROWS: u8 = 1;
const FOOT: u8 = 2;

/// One row: its table, its key within the table, its value.
pub type SnapshotRow = (TableId, Bytes, Bytes);

/// What a whole snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The commit up to which it holds everything.
    pub position: Position,
    /// What its writer kept beside the rows.
    pub meta: Bytes,
    /// How many rows it has.
    pub rows: u64,
    /// How many each table has; tables without rows are not named.
    pub tables: Vec<(TableId, u64)>,
    /// How long the file is.
    pub bytes: u64,
}

/// Reads snapshots.
#[derive(Debug)]
pub struct Snapshot;

impl Snapshot {
    /// Reads all of a snapshot back and says what it is.
    pub fn verify(disk: &dyn Disk, path: &Path) -> Result<SnapshotInfo, StoreError> {
        let mut rows = Snapshot::rows(disk, path)?;
        for row in &mut rows {
            row?;
        }
        Ok(SnapshotInfo {
            position: rows.position,
            meta: rows.meta,
            rows: rows.tables.iter().map(|(_, rows)| rows).sum(),
            tables: rows.tables,
            bytes: rows.size,
        })
    }

    /// The rows of a snapshot in ascending order of table and key. After an error nothing more
    /// follows; that the snapshot is whole is certain only when the last row has been read.
    pub fn rows(disk: &dyn Disk, path: &Path) -> Result<SnapshotRows, StoreError> {
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(|e| StoreError::io("opening snapshot", path, &e))?;
        let size = file
            .size()
            .map_err(|e| StoreError::io("reading snapshot", path, &e))?;
        let mut rows = SnapshotRows {
            file,
            path: path.to_owned(),
            size,
            offset: 0,
            chain: 0,
            position: Position::default(),
            meta: Bytes::new(),
            block: Bytes::new(),
            block_rows: 0,
            last: None,
            tables: Vec::new(),
            ended: false,
        };
        rows.read_head()?;
        Ok(rows)
    }

    /// Removes what crashed writers have left in a directory, if there is one; says how many files
    /// it was. Only for when none is being written.
    pub fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<usize, StoreError> {
        let mut removed = 0;
        let paths = match disk.list(dir) {
            Ok(paths) => paths,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(StoreError::io("listing", dir, &e)),
        };
        for path in paths {
            if path.extension().is_some_and(|e| e == UNFINISHED) {
                disk.remove(&path)
                    .map_err(|e| StoreError::io("removing", &path, &e))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Writes one snapshot. Until [`SnapshotWriter::finish`] there is only a file ending in
/// [`UNFINISHED`], which the next writer of the same name replaces.
pub struct SnapshotWriter<'d> {
    disk: &'d dyn Disk,
    path: PathBuf,
    unfinished: PathBuf,
    file: Box<dyn DiskFile>,
    offset: u64,
    /// Of all checksums written so far.
    chain: u32,
    /// The open block, with room for its head in front.
    block: Vec<u8>,
    block_rows: u32,
    last: Option<(TableId, Vec<u8>)>,
    tables: Vec<(TableId, u64)>,
}

impl<'d> SnapshotWriter<'d> {
    /// Begins the snapshot `path` of the state after the commit at `position`. `meta` is the
    /// caller's and comes back as it is.
    pub fn create(
        disk: &'d dyn Disk,
        path: &Path,
        position: Position,
        meta: &[u8],
    ) -> Result<SnapshotWriter<'d>, StoreError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".");
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = disk
            .open(&unfinished, OpenMode::Truncate)
            .map_err(|e| StoreError::io("creating snapshot", &unfinished, &e))?;
        let mut writer = SnapshotWriter {
            disk,
            path: path.to_owned(),
            unfinished,
            file,
            offset: 0,
            chain: 0,
            block: vec![0; BLOCK_HEAD_BYTES],
            block_rows: 0,
            last: None,
            tables: Vec::new(),
        };
        let head = writer.head(position, meta)?;
        writer.write(&head)?;
        Ok(writer)
    }

    /// Adds a row. Rows come in ascending order of table and key.
    pub fn row(&mut self, table: TableId, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let (Ok(key_length), Ok(value_length)) =
            (u32::try_from(key.len()), u32::try_from(value.len()))
        else {
            return Err(self.refused(format!("a row of {table:?} is longer than 4 GiB")));
        };
        match &mut self.last {
            Some((last_table, last_key)) => {
                if (*last_table, last_key.as_slice()) >= (table, key) {
                    return Err(self.refused(format!("the rows of {table:?} are out of order")));
                }
                *last_table = table;
                last_key.clear();
                last_key.extend_from_slice(key);
            }
            None => self.last = Some((table, key.to_vec())),
        }
        let room = BLOCK_BYTES.saturating_sub(self.block.len());
        if self.block_rows > 0 && ROW_HEAD_BYTES + key.len() + value.len() > room {
            self.write_block()?;
        }
        self.block.put_u32_le(table.0);
        self.block.put_u32_le(key_length);
        self.block.put_u32_le(value_length);
        self.block.put_slice(key);
        self.block.put_slice(value);
        self.block_rows += 1;
        count(&mut self.tables, table);
        Ok(())
    }

    /// How many rows each table has so far; tables without rows are not named.
    pub(crate) fn tables(&self) -> &[(TableId, u64)] {
        &self.tables
    }

    /// Makes the snapshot durable under its name; says how many rows it has.
    pub fn finish(mut self) -> Result<u64, StoreError> {
        if self.block_rows > 0 {
            self.write_block()?;
        }
        let rows = self.tables.iter().map(|(_, rows)| rows).sum();
        let chain = self.chain;
        for (table, rows) in &self.tables {
            self.block.put_u32_le(table.0);
            self.block.put_u64_le(*rows);
        }
        self.block.put_u64_le(rows);
        self.block.put_u32_le(chain);
        self.block_rows = u32::try_from(self.tables.len()).unwrap_or(u32::MAX);
        self.seal_and_write(FOOT)?;

        // In this order: a name that a crash leaves behind must stand for the whole content.
        self.file
            .sync()
            .map_err(|e| StoreError::io("syncing snapshot", &self.unfinished, &e))?;
        self.disk
            .rename(&self.unfinished, &self.path)
            .map_err(|e| StoreError::io("renaming snapshot to", &self.path, &e))?;
        // The parent of a mere name is the empty path, which nobody can open.
        let parent = self.path.parent().filter(|dir| *dir != Path::new(""));
        let dir = parent.unwrap_or(Path::new("."));
        sync_names(self.disk, dir).map_err(|e| StoreError::io("syncing", dir, &e))?;
        Ok(rows)
    }

    /// Gives the snapshot up and removes what was written of it.
    pub fn abandon(self) -> Result<(), StoreError> {
        let SnapshotWriter {
            disk,
            unfinished,
            file,
            ..
        } = self;
        drop(file);
        disk.remove(&unfinished)
            .map_err(|e| StoreError::io("removing", &unfinished, &e))
    }

    fn head(&mut self, position: Position, meta: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Ok(meta_length) = u32::try_from(meta.len()) else {
            return Err(self.refused("its meta data is longer than 4 GiB".to_owned()));
        };
        let mut head = prelude(SNAPSHOT_FORMAT);
        head.put_u64_le(position.0);
        head.put_u32_le(meta_length);
        head.put_slice(meta);
        let checksum = crc32c(&head[PRELUDE_BYTES..]);
        head.put_u32_le(checksum);
        self.chain = chained(self.chain, checksum);
        Ok(head)
    }

    fn write_block(&mut self) -> Result<(), StoreError> {
        self.seal_and_write(ROWS)
    }

    fn seal_and_write(&mut self, kind: u8) -> Result<(), StoreError> {
        let mut block = std::mem::take(&mut self.block);
        let (head, body) = block.split_at_mut(BLOCK_HEAD_BYTES);
        let Ok(length) = u32::try_from(body.len()) else {
            return Err(self.refused("a row is longer than 4 GiB".to_owned()));
        };
        let mut front = &mut head[..];
        front.put_u8(kind);
        front.put_u32_le(length);
        front.put_u32_le(self.block_rows);
        let head_checksum = crc32c(&head[..BLOCK_HEAD_BYTES - CHECKSUM_BYTES]);
        (&mut head[BLOCK_HEAD_BYTES - CHECKSUM_BYTES..]).put_u32_le(head_checksum);
        let checksum = crc32c(body);
        block.put_u32_le(checksum);
        self.chain = chained(chained(self.chain, head_checksum), checksum);
        self.write(&block)?;
        // One huge row must not hold its memory for the rest of the snapshot.
        block.truncate(BLOCK_HEAD_BYTES);
        block.shrink_to(2 * BLOCK_BYTES);
        self.block = block;
        self.block_rows = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_at(self.offset, bytes)
            .map_err(|e| StoreError::io("writing snapshot", &self.unfinished, &e))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn refused(&self, detail: String) -> StoreError {
        StoreError::Damaged {
            what: format!("what snapshot {} is written from", self.path.display()),
            detail,
        }
    }
}

/// The rows of a snapshot, read block by block. A row keeps its block in memory while it lives.
pub struct SnapshotRows {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    size: u64,
    offset: u64,
    /// Of all checksums read so far.
    chain: u32,
    position: Position,
    meta: Bytes,
    /// What is left of the current block.
    block: Bytes,
    block_rows: u32,
    last: Option<(TableId, Bytes)>,
    tables: Vec<(TableId, u64)>,
    ended: bool,
}

impl SnapshotRows {
    /// The commit up to which the snapshot holds everything.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What its writer kept beside the rows.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    fn read_head(&mut self) -> Result<(), StoreError> {
        let prelude_read = self.read(PRELUDE_BYTES)?;
        let mut fields = &prelude_read[MAGIC.len()..];
        let format = fields.get_u32_le();
        if prelude_read != prelude(format) {
            return Err(self.damaged("its first bytes are not those of a snapshot"));
        }
        if format > SNAPSHOT_FORMAT {
            return Err(StoreError::NewerFormat {
                what: format!("snapshot {}", self.path.display()),
                found: format,
                known: SNAPSHOT_FORMAT,
            });
        }
        let mut fixed = self.read(12)?;
        let mut checksum = crc32c(&fixed);
        self.position = Position(fixed.get_u64_le());
        let meta_length = fixed.get_u32_le() as usize;
        self.meta = self.read(meta_length)?;
        checksum = crc32c_append(checksum, &self.meta);
        self.expect_checksum(checksum, "its head")
    }

    fn next_row(&mut self) -> Result<Option<SnapshotRow>, StoreError> {
        while self.block_rows == 0 {
            if !self.read_block()? {
                return Ok(None);
            }
        }
        let (table, key, value) = split_row(&mut self.block)
            .ok_or_else(|| self.damaged("a block is shorter than its rows"))?;
        self.block_rows -= 1;
        if self.block_rows == 0 && !self.block.is_empty() {
            return Err(self.damaged("a block is longer than its rows"));
        }
        if let Some((last_table, last_key)) = &self.last
            && (*last_table, last_key) >= (table, &key)
        {
            return Err(self.damaged("its rows are out of order"));
        }
        self.last = Some((table, key.clone()));
        count(&mut self.tables, table);
        Ok(Some((table, key, value)))
    }

    /// Reads the next block; `false` if it was the foot.
    fn read_block(&mut self) -> Result<bool, StoreError> {
        let chain = self.chain;
        let head = self.read(BLOCK_HEAD_BYTES - CHECKSUM_BYTES)?;
        // Before the length is believed, or a flipped bit could ask for gigabytes of memory.
        self.expect_checksum(crc32c(&head), "the head of a block")?;
        let mut fields = head;
        let kind = fields.get_u8();
        let length = fields.get_u32_le() as usize;
        let rows = fields.get_u32_le();
        let body = self.read(length)?;
        self.expect_checksum(crc32c(&body), "a block")?;
        match kind {
            ROWS if rows > 0 => {
                self.block = body;
                self.block_rows = rows;
                Ok(true)
            }
            FOOT => {
                self.check_foot(body, rows as usize, chain)?;
                Ok(false)
            }
            _ => Err(self.damaged(format!("a block has the unknown kind {kind}"))),
        }
    }

    fn check_foot(&self, mut foot: Bytes, tables: usize, chain: u32) -> Result<(), StoreError> {
        if foot.len() != tables * 12 + 12 {
            return Err(self.damaged("its foot has the wrong length"));
        }
        let named: Vec<_> = (0..tables)
            .map(|_| (TableId(foot.get_u32_le()), foot.get_u64_le()))
            .collect();
        let rows: u64 = self.tables.iter().map(|(_, rows)| rows).sum();
        if named != self.tables || foot.get_u64_le() != rows {
            return Err(self.damaged("its rows are not those that its foot counts"));
        }
        if foot.get_u32_le() != chain {
            return Err(self.damaged("its blocks do not belong together"));
        }
        if self.offset != self.size {
            return Err(self.damaged("something follows its foot"));
        }
        Ok(())
    }

    fn expect_checksum(&mut self, expected: u32, of: &str) -> Result<(), StoreError> {
        if self.read(CHECKSUM_BYTES)?.get_u32_le() == expected {
            self.chain = chained(self.chain, expected);
            Ok(())
        } else {
            Err(self.damaged(format!("{of} does not match its checksum")))
        }
    }

    fn read(&mut self, length: usize) -> Result<Bytes, StoreError> {
        if self.size - self.offset < length as u64 {
            return Err(self.damaged("it ends too early"));
        }
        let mut bytes = vec![0; length];
        let read = self
            .file
            .read_at(self.offset, &mut bytes)
            .map_err(|e| StoreError::io("reading snapshot", &self.path, &e))?;
        if read != length {
            return Err(self.damaged("it ends too early"));
        }
        self.offset += length as u64;
        Ok(Bytes::from(bytes))
    }

    fn damaged(&self, detail: impl std::fmt::Display) -> StoreError {
        StoreError::Damaged {
            what: format!("snapshot {}", self.path.display()),
            detail: format!("{detail} (before byte {})", self.offset),
        }
    }
}

impl Iterator for SnapshotRows {
    type Item = Result<SnapshotRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_row().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The first bytes of a snapshot of a format.
fn prelude(format: u32) -> Vec<u8> {
    let mut prelude = Vec::with_capacity(PRELUDE_BYTES);
    prelude.put_slice(MAGIC);
    prelude.put_u32_le(format);
    let checksum = crc32c(&prelude);
    prelude.put_u32_le(checksum);
    prelude
}

fn chained(chain: u32, checksum: u32) -> u32 {
    crc32c_append(chain, &checksum.to_le_bytes())
}

/// Cuts the first row off a block.
fn split_row(block: &mut Bytes) -> Option<SnapshotRow> {
    let table = TableId(block.try_get_u32_le().ok()?);
    let key_length = block.try_get_u32_le().ok()? as usize;
    let value_length = block.try_get_u32_le().ok()? as usize;
    if block.len() < key_length.checked_add(value_length)? {
        return None;
    }
    let key = block.split_to(key_length);
    let value = block.split_to(value_length);
    Some((table, key, value))
}

/// Counts a row of a table; the rows of one table follow each other.
fn count(tables: &mut Vec<(TableId, u64)>, table: TableId) {
    match tables.last_mut() {
        Some((last, rows)) if *last == table => *rows += 1,
        _ => tables.push((table, 1)),
    }
}

#[cfg(test)]
mod tests;
