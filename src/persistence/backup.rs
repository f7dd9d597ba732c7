//! The backup: one file with everything of a cell at one position.
//!
//! It has the format of a snapshot: it appears under its name whole or not at all, and any flipped
//! bit is noticed. Beside the rows it holds the files that belong to them, in pieces, as rows of a
//! table of their own behind all others.
//!
//! ```text
//! meta    sealed: cell | incarnation (8) | taken at (8) | what CHECKPOINT would say | ancestors
//! rows    every table: state, streams with their outboxes, timers, planned activities, …
//! files   table 0xffffffff: path below the cell, 0, offset (8, big-endian)  →  up to 64 KiB of it
//! ```
//!
//! What a host keeps beside its cells is not in it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::checkpoint::CheckpointFile;
use super::content::{Content, Counting};
use super::disk::{Disk, DiskFile, OpenMode};
use super::events;
use super::format::{Decoder, Malformed, Unsealed, put_slice, seal, unseal};
use super::lineage::Ancestor;
use super::options::{Driving, StoreOptions};
use super::real_disk::RealDisk;
use super::sled::SledFactory;
use super::snapshot::{Snapshot, SnapshotRows, SnapshotWriter};
use super::snapshots::each_engine_row;
use super::spill::{SpillFile, SpillReader, spill_dir};
use super::store::{Core, Store};
use super::writing::locked;
use crate::clock::{SystemClock, Timestamp};
use crate::commit::{EventNumber, Incarnation, Position, TableId};
use crate::error::{OpenError, StoreError};

const MAGIC: &[u8; 8] = b"RDLVBKUP";

/// The table of the files' pieces: behind all that a store can give out.
pub(super) const FILES: TableId = TableId(u32::MAX);

/// The folders of the files, in the order of their pieces.
const EVENTS: &str = "events";
const SPILL: &str = "spill";

/// How long a piece of a file is at most.
const PIECE_BYTES: usize = 64 * 1024;

/// A backup could not be taken or restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is nothing to back up.
    #[error("there is no data directory at {path}; name the one to back up")]
    NoData {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A data directory has not exactly one cell, and one file holds one.
    #[error("data directory {path} has {cells} cells; this version backs up only one")]
    SeveralCells {
        /// The directory.
        path: PathBuf,
        /// How many there are.
        cells: usize,
    },
    /// Something stands where the backup is to be written.
    #[error("{path} exists already and is left as it is; choose another name for the backup")]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// There is no such backup.
    #[error("there is no backup {path}; name the file that `backup` has written")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The data directory to restore into holds something.
    #[error(
        "{path} is not empty and is left as it is; restore into a directory that is missing or empty"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not what a finished backup is.
    #[error("{path} is not a whole backup ({detail}); nothing was changed; use another backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A newer version of the library has written it.
    #[error(
        "backup {path} has format {found}, this version reads up to {known}; run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest this version knows.
        known: u32,
    },
    /// The restore stopped half way. What stands there will not open.
    #[error("restoring into {path} stopped ({detail}); remove the directory and restore again")]
    Unfinished {
        /// The directory.
        path: PathBuf,
        /// What happened.
        detail: String,
    },
    /// The data directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a backup is, from its own words. All of it has been read and is as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupInfo {
    /// The file.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// The cell it was taken of.
    pub cell: String,
    /// The cell's incarnation then.
    pub incarnation: String,
    /// It holds the effects of all commits up to this one and of none behind it.
    pub position: u64,
    /// The newest event up to there.
    pub last_event: u64,
    /// When it was taken, by the wall clock.
    pub taken_at: String,
    /// All rows in it.
    pub rows: u64,
    /// Files beside the rows, such as segments of the event log.
    pub files: u64,
    /// What the rows are.
    pub content: Content,
}

/// What stands at the head of a backup.
pub(super) struct BackupHead {
    pub(super) cell: String,
    pub(super) incarnation: Incarnation,
    pub(super) taken_at: Timestamp,
    pub(super) checkpoint: CheckpointFile,
    /// What the cell was itself restored from.
    pub(super) ancestors: Vec<Ancestor>,
}

impl BackupHead {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_slice(&mut body, self.cell.as_bytes());
        body.extend_from_slice(&self.incarnation.0.to_le_bytes());
        body.extend_from_slice(&self.taken_at.0.to_le_bytes());
        put_slice(&mut body, &self.checkpoint.encode());
        Ancestor::encode_all(&self.ancestors, &mut body);
        seal(MAGIC, &body)
    }

    fn decode(meta: &[u8]) -> Result<BackupHead, Unsealed> {
        let damaged = |Malformed(detail): Malformed| Unsealed::Damaged(detail);
        let mut from = Decoder::new(unseal(MAGIC, meta)?);
        let head = BackupHead {
            cell: from.string().map_err(damaged)?,
            incarnation: Incarnation(from.u64().map_err(damaged)?),
            taken_at: Timestamp(from.i64().map_err(damaged)?),
            checkpoint: CheckpointFile::decode(from.slice().map_err(damaged)?)?,
            ancestors: Ancestor::decode_all(&mut from).map_err(damaged)?,
        };
        from.finish().map_err(damaged)?;
        match is_name(&head.cell) {
            true => Ok(head),
            false => Err(Unsealed::Damaged("the name of its cell is no name")),
        }
    }
}

/// The rows of a backup, of which only the head has been read.
pub(super) fn open_backup(
    disk: &dyn Disk,
    path: &Path,
) -> Result<(BackupHead, SnapshotRows), BackupError> {
    if let Err(error) = disk.open(path, OpenMode::Read)
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return Err(BackupError::Missing {
            path: path.to_owned(),
        });
    }
    let rows = Snapshot::rows(disk, path).map_err(|error| unreadable(path, error))?;
    match BackupHead::decode(rows.meta()) {
        Ok(head) if head.checkpoint.position == rows.position() => Ok((head, rows)),
        Ok(_) => Err(not_whole(path, "it is of another position than it says")),
        Err(Unsealed::Newer { found, known }) => Err(BackupError::NewerFormat {
            path: path.to_owned(),
            found,
            known,
        }),
        Err(Unsealed::Damaged(detail)) => Err(not_whole(path, detail)),
    }
}

/// Reads all of a backup and says what it is.
pub fn inspect_backup(disk: &dyn Disk, path: &Path) -> Result<BackupInfo, BackupError> {
    let (head, rows) = open_backup(disk, path)?;
    let size = |error: &std::io::Error| StoreError::io("reading", path, error);
    let bytes = disk
        .open(path, OpenMode::Read)
        .and_then(|file| file.size())
        .map_err(|error| size(&error))?;
    let mut counting = Counting::default();
    let mut total = 0;
    let mut files: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for row in rows {
        let (table, key, value) = row.map_err(|error| unreadable(path, error))?;
        if table == FILES {
            let (name, offset) = read_piece_key(&key).map_err(|m| not_whole(path, m.0))?;
            let size = files.entry(name).or_default();
            if *size != offset {
                return Err(not_whole(path, "a piece of a file is missing"));
            }
            *size += value.len() as u64;
            continue;
        }
        total += 1;
        counting
            .row(table, &key, &value)
            .map_err(|malformed| not_whole(path, malformed.0))?;
    }
    let spilled = &head.checkpoint.spilled;
    let lacks = |file: &&SpillFile| files.get(&file.path(Path::new(SPILL))) != Some(&file.size);
    if let Some(lacking) = spilled.iter().find(lacks) {
        let lacking = lacking.path(Path::new(SPILL));
        return Err(not_whole(path, format!("{} is missing", lacking.display())));
    }
    Ok(BackupInfo {
        path: path.to_owned(),
        bytes,
        cell: head.cell,
        incarnation: format!("{:016x}", head.incarnation.0),
        position: head.checkpoint.position.0,
        last_event: head.checkpoint.last_event.0,
        taken_at: head.taken_at.rfc3339(),
        rows: total,
        files: files.len() as u64,
        content: counting.content(spilled),
    })
}

/// Writes a backup of a data directory that no process has open to the file `to`. The directory
/// is recovered as by a start.
pub fn back_up_at_rest(dir: &Path, to: &Path) -> Result<BackupInfo, BackupError> {
    let disk = RealDisk::default();
    let no_data = || BackupError::NoData {
        path: dir.to_owned(),
    };
    if disk.open(&dir.join("FORMAT"), OpenMode::Read).is_err() {
        return Err(no_data());
    }
    let cells = disk.list(&dir.join("cells")).map_err(|_| no_data())?;
    let [cell] = cells.as_slice() else {
        return Err(BackupError::SeveralCells {
            path: dir.to_owned(),
            cells: cells.len(),
        });
    };
    let cell = cell.file_name().unwrap_or_default().to_string_lossy();
    let options = StoreOptions {
        cell: cell.into_owned(),
        ..StoreOptions::new(dir)
    };
    let engines = Arc::new(SledFactory {
        dir: options.cell_dir().join("sled"),
        cache_bytes: options.cache_bytes,
    });
    // Its steps are taken by the backup itself.
    let driving = Driving::Manual(Arc::new(|| {}));
    let clock = Arc::new(SystemClock);
    let (store, found) = Store::open(options, Arc::new(disk), engines, clock, driving)?;
    let info = store.backup(to)?;
    // Otherwise it is dropped: what the last process had in hand when it died is still to be
    // charged, by the next start.
    if found.clean {
        store.close()?;
    }
    Ok(info)
}

impl Core {
    /// Writes a backup of the present to the file `to`, beside the running system.
    pub(crate) fn backup(&self, to: &Path) -> Result<BackupInfo, BackupError> {
        let disk = self.disk.as_ref();
        if disk.open(to, OpenMode::Read).is_ok()
            || disk.list(to).is_ok_and(|in_it| !in_it.is_empty())
        {
            return Err(BackupError::Exists {
                path: to.to_owned(),
            });
        }
        let Rows {
            mut writer,
            checkpoint,
            spilled,
        } = self.back_up_rows(to)?;
        // The log is longer than this by now, perhaps; only its old end may have gone.
        let written = self
            .back_up_events(&mut writer, checkpoint.last_event)
            .and_then(|()| self.back_up_spilled(&mut writer, spilled));
        match written {
            Ok(()) => writer.finish()?,
            Err(error) => return Err(given_up(writer, error)),
        };
        match inspect_backup(disk, to) {
            Ok(info) => Ok(info),
            Err(error) => {
                // Nobody should trust this name; the error says what became of it.
                let _ = disk.remove(to);
                Err(error)
            }
        }
    }

    /// All rows at one position, and the files that only this position's checkpoint keeps.
    fn back_up_rows(&self, to: &Path) -> Result<Rows<'_>, BackupError> {
        let mut checkpointer = locked(&self.checkpointer);
        self.checkpoint_with(&mut checkpointer, false)?;
        let checkpoint = checkpointer.file(self, false);
        let head = BackupHead {
            cell: self.options.cell.clone(),
            incarnation: self.lineage.incarnation,
            taken_at: self.clock.wall(),
            checkpoint: checkpoint.clone(),
            ancestors: self.lineage.ancestors.clone(),
        };
        let disk = self.disk.as_ref();
        let mut writer = SnapshotWriter::create(disk, to, checkpoint.position, &head.encode())?;
        let written = each_engine_row(self.engine.as_ref(), |table, key, value| {
            writer.row(table, key, value)
        });
        // The next checkpoint may remove them; open, they stay what they are.
        let opened = written.and_then(|()| {
            let files = checkpoint.spilled.iter();
            files.map(|file| self.open_spilled(*file)).collect()
        });
        match opened {
            Ok(spilled) => Ok(Rows {
                writer,
                checkpoint,
                spilled,
            }),
            Err(error) => Err(given_up(writer, error)),
        }
    }

    fn open_spilled(&self, file: SpillFile) -> Result<Spilled, StoreError> {
        let dir = spill_dir(&self.options.cell_dir());
        let disk = self.disk.as_ref();
        let path = file.path(&dir);
        Ok(Spilled {
            reader: SpillReader::open(disk, &dir, file)?,
            file: disk
                .open(&path, OpenMode::Read)
                .map_err(|error| StoreError::io("opening", &path, &error))?,
            size: file.size,
            path,
        })
    }

    fn back_up_spilled(
        &self,
        writer: &mut SnapshotWriter<'_>,
        spilled: Vec<Spilled>,
    ) -> Result<(), StoreError> {
        // In the order of their names.
        let mut spilled = spilled;
        spilled.sort_by(|one, other| one.path.cmp(&other.path));
        for kept in spilled {
            kept.reader.verify()?;
            put_file(writer, SPILL, &kept.path, kept.file.as_ref(), kept.size)?;
        }
        Ok(())
    }

    fn back_up_events(
        &self,
        writer: &mut SnapshotWriter<'_>,
        last: EventNumber,
    ) -> Result<(), StoreError> {
        let dir = self.options.cell_dir().join("events");
        let found = events::inspect(self.disk.as_ref(), &dir, last)?;
        for segment in &found {
            let end = match segment.last == last {
                true => segment.end,
                false => segment.bytes,
            };
            let path = &segment.path;
            match self.disk.open(path, OpenMode::Read) {
                Ok(file) => put_file(writer, EVENTS, path, file.as_ref(), end)?,
                // Trimmed since it was found.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("opening", path, &error)),
            }
        }
        Ok(())
    }
}

/// What stands still while the rows are written, and what is copied after.
struct Rows<'d> {
    writer: SnapshotWriter<'d>,
    checkpoint: CheckpointFile,
    spilled: Vec<Spilled>,
}

/// A file of spilled messages, open.
struct Spilled {
    reader: SpillReader,
    file: Box<dyn DiskFile>,
    size: u64,
    path: PathBuf,
}

/// The first `end` bytes of a file, piece by piece, under its name in `folder`.
fn put_file(
    writer: &mut SnapshotWriter<'_>,
    folder: &str,
    path: &Path,
    file: &dyn DiskFile,
    end: u64,
) -> Result<(), StoreError> {
    let failed = |error: &std::io::Error| StoreError::io("reading", path, error);
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(StoreError::damaged(path, "its name is no text"));
    };
    let name = format!("{folder}/{name}");
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let wanted = &mut piece[..PIECE_BYTES.min(left)];
        let read = file.read_at(offset, wanted).map_err(|e| failed(&e))?;
        if read < wanted.len() {
            return Err(StoreError::damaged(path, "it has been cut"));
        }
        writer.row(FILES, &piece_key(&name, offset), wanted)?;
        offset += read as u64;
    }
    Ok(())
}

/// Removes what was written of a backup; the error is what matters.
fn given_up(writer: SnapshotWriter<'_>, error: StoreError) -> BackupError {
    let _ = writer.abandon();
    error.into()
}

pub(super) fn piece_key(name: &str, offset: u64) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&offset.to_be_bytes());
    key
}

/// The path of a file below the cell, and where in it a piece belongs.
pub(super) fn read_piece_key(key: &Bytes) -> Result<(PathBuf, u64), Malformed> {
    let cut = key.len().checked_sub(9).filter(|cut| key[*cut] == 0);
    let cut = cut.ok_or(Malformed("the key of a file is cut"))?;
    let mut offset = [0; 8];
    offset.copy_from_slice(&key[cut + 1..]);
    let path = std::str::from_utf8(&key[..cut]).map_err(|_| Malformed("a path is not UTF-8"))?;
    let mut parts = path.split('/');
    let inside = match (parts.next(), parts.next(), parts.next()) {
        (Some(folder), Some(name), None) => is_name(folder) && is_name(name),
        _ => false,
    };
    match inside {
        true => Ok((PathBuf::from(path), u64::from_be_bytes(offset))),
        false => Err(Malformed("a path leads out of the cell")),
    }
}

/// Whether a text is the name of something directly in a directory.
fn is_name(text: &str) -> bool {
    let mut components = Path::new(text).components();
    let first = components.next();
    matches!(first, Some(Component::Normal(name)) if name == text)
        && components.next().is_none()
        && !text.contains('\\')
}

pub(super) fn not_whole(path: &Path, detail: impl Into<String>) -> BackupError {
    BackupError::Damaged {
        path: path.to_owned(),
        detail: detail.into(),
    }
}

pub(super) fn unreadable(path: &Path, error: StoreError) -> BackupError {
    match error {
        StoreError::Damaged { detail, .. } => not_whole(path, detail),
        StoreError::NewerFormat { found, known, .. } => BackupError::NewerFormat {
            path: path.to_owned(),
            found,
            known,
        },
        error => error.into(),
    }
}

impl BackupInfo {
    /// The position as the store's other functions take it.
    pub fn position(&self) -> Position {
        Position(self.position)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_head() {
        let checkpoint = CheckpointFile {
            position: Position(300),
            ..CheckpointFile::default()
        };
        let mut head = BackupHead {
            cell: "main".to_owned(),
            incarnation: Incarnation(0x0807_0605_0403_0201),
            taken_at: Timestamp(9),
            checkpoint: checkpoint.clone(),
            ancestors: Vec::new(),
        };
        let bytes = head.encode();
        let body: &[u8] = &[
            4, b'm', b'a', b'i', b'n', 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(&bytes[..8], MAGIC);
        assert_eq!(&bytes[20..20 + body.len()], body);
        let inner = checkpoint.encode();
        let (length, rest) = bytes[20 + body.len()..].split_first().unwrap();
        assert_eq!((usize::from(*length), rest), (inner.len(), &inner[..]));
        let read = BackupHead::decode(&bytes).unwrap_or_else(|_| panic!("it is not read"));
        assert_eq!(read.incarnation, head.incarnation);
        assert_eq!(read.checkpoint, checkpoint);
        head.ancestors.push(Ancestor {
            incarnation: Incarnation(5),
            last_event: EventNumber(300),
        });
        let restored = head.encode();
        assert_eq!(restored[bytes.len()..], [5, 0, 0, 0, 0, 0, 0, 0, 0xac, 2]);
        let read = BackupHead::decode(&restored).unwrap_or_else(|_| panic!("it is not read"));
        assert_eq!(read.ancestors, head.ancestors);
    }

    #[test]
    fn pieces_come_back_and_lead_nowhere_else() {
        let key = |path: &str| Bytes::from(piece_key(path, 65_536));
        let read = read_piece_key(&key("events/1.events"));
        assert_eq!(read, Ok((PathBuf::from("events/1.events"), 65_536)));
        for path in [
            "", "/", "a", "/a", "a/", "../a", "a/..", "a/./b", "a/b/c", "./a", "a//b", "/a/b",
        ] {
            assert!(read_piece_key(&key(path)).is_err(), "{path}");
        }
        assert!(read_piece_key(&Bytes::from_static(b"events")).is_err());
    }
}
