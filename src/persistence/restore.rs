//! Restoring: a cell made from a backup, as another incarnation of it.
//!
//! ```text
//! read the whole backup ─► FORMAT ─► snapshot · files · RESTORED · CHECKPOINT ─► first segment
//! ```
//!
//! The journal comes last and `FORMAT` first: until the restore is done the directory is one whose
//! journal is missing, which no opening takes for a new one. The first start makes the engine
//! from the snapshot; whatever it finds under way it treats as after any unclean end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::backup::{
    BackupError, BackupInfo, FILES, inspect_backup, not_whole, open_backup, read_piece_key,
    unreadable,
};
use super::checkpoint::CheckpointFile;
use super::disk::{Disk, DiskFile, OpenMode};
use super::format::{
    Decoder, Malformed, Unsealed, put_varint, read_file, replace_file, seal, unseal,
};
use super::journal::segment::SegmentHeader;
use super::journal::writer::JournalWriter;
use super::lineage::{Ancestor, Lineage};
use super::open::{FORMAT_MAGIC, Opening};
use super::snapshot::{SnapshotRows, SnapshotWriter};
use super::snapshots::snapshots_dir;
use crate::clock::{Clock, Timestamp};
use crate::commit::{EventNumber, Incarnation, Position};
use crate::error::StoreError;

const MAGIC: &[u8; 8] = b"RDLVRSTR";

/// What a restore has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The data directory.
    pub path: PathBuf,
    /// The new incarnation of the cell.
    pub incarnation: String,
    /// What it was made from; the incarnation in there is its predecessor.
    pub backup: BackupInfo,
}

/// Where an incarnation of a cell comes from, as its file `RESTORED` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Predecessor {
    pub(crate) incarnation: Incarnation,
    /// The last commit that is known of it.
    pub(crate) position: Position,
    /// The last event that is known of it.
    pub(crate) last_event: EventNumber,
    pub(crate) taken_at: Timestamp,
    pub(crate) restored_at: Timestamp,
    /// What it was itself restored from, the oldest first.
    pub(crate) ancestors: Vec<Ancestor>,
}

impl Predecessor {
    pub(super) fn path(cell_dir: &Path) -> PathBuf {
        cell_dir.join("RESTORED")
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = self.incarnation.0.to_le_bytes().to_vec();
        put_varint(&mut body, self.position.0);
        put_varint(&mut body, self.last_event.0);
        body.extend_from_slice(&self.taken_at.0.to_le_bytes());
        body.extend_from_slice(&self.restored_at.0.to_le_bytes());
        Ancestor::encode_all(&self.ancestors, &mut body);
        seal(MAGIC, &body)
    }

    pub(super) fn decode(file: &[u8]) -> Result<Predecessor, Unsealed> {
        let read = |from: &mut Decoder<'_>| -> Result<Predecessor, Malformed> {
            Ok(Predecessor {
                incarnation: Incarnation(from.u64()?),
                position: Position(from.varint()?),
                last_event: EventNumber(from.varint()?),
                taken_at: Timestamp(from.i64()?),
                restored_at: Timestamp(from.i64()?),
                ancestors: Ancestor::decode_all(from)?,
            })
        };
        let mut from = Decoder::new(unseal(MAGIC, file)?);
        read(&mut from)
            .and_then(|predecessor| from.finish().map(|()| predecessor))
            .map_err(|Malformed(detail)| Unsealed::Damaged(detail))
    }

    /// What a cell's file says; `None` if the cell was never restored.
    pub(crate) fn read(
        disk: &dyn Disk,
        cell_dir: &Path,
    ) -> io::Result<Option<Result<Predecessor, Unsealed>>> {
        let file = read_file(disk, &Predecessor::path(cell_dir))?;
        Ok(file.map(|file| Predecessor::decode(&file)))
    }

    /// The lineage of the cell that was made from this one.
    pub(super) fn lineage(self, incarnation: Incarnation) -> Lineage {
        let mut ancestors = self.ancestors;
        ancestors.push(Ancestor {
            incarnation: self.incarnation,
            last_event: self.last_event,
        });
        Lineage {
            incarnation,
            ancestors,
        }
    }
}

/// Makes the data directory `dir`, which must be missing or empty, from a backup.
pub fn restore(
    disk: Arc<dyn Disk>,
    clock: &dyn Clock,
    from: &Path,
    dir: &Path,
) -> Result<Restored, BackupError> {
    // All of it, before anything is written on its word.
    let backup = inspect_backup(disk.as_ref(), from)?;
    // Before the lock, which would leave its file in somebody's directory.
    refuse_unless_empty(disk.as_ref(), dir)?;
    let opening = Opening::to_look(dir, &backup.cell, disk);
    let _lock = opening.lock()?;
    refuse_unless_empty(opening.disk.as_ref(), dir)?;
    let restoring = Restoring {
        opening,
        from,
        incarnation: Incarnation(clock.entropy()),
        number: clock.entropy().max(1),
        now: clock.wall(),
    };
    match restoring.write() {
        Ok(()) => Ok(Restored {
            path: dir.to_owned(),
            incarnation: format!("{:016x}", restoring.incarnation.0),
            backup,
        }),
        Err(error) => Err(BackupError::Unfinished {
            path: dir.to_owned(),
            detail: error.to_string(),
        }),
    }
}

fn refuse_unless_empty(disk: &dyn Disk, dir: &Path) -> Result<(), BackupError> {
    let holds = match disk.list(dir) {
        Ok(paths) => paths
            .iter()
            .any(|path| path.file_name() != Some("LOCK".as_ref())),
        // Unless a file stands there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.open(dir, OpenMode::Read).is_ok()
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
        Err(error) => return Err(StoreError::io("listing", dir, &error).into()),
    };
    match holds {
        true => Err(BackupError::NotEmpty {
            path: dir.to_owned(),
        }),
        false => Ok(()),
    }
}

struct Restoring<'a> {
    opening: Opening,
    from: &'a Path,
    incarnation: Incarnation,
    number: u64,
    now: Timestamp,
}

impl Restoring<'_> {
    fn write(&self) -> Result<(), BackupError> {
        let disk = self.opening.disk.as_ref();
        let cell_dir = &self.opening.cell_dir;
        self.replace(
            &self.opening.options.dir.join("FORMAT"),
            &seal(FORMAT_MAGIC, &[]),
        )?;
        self.opening.create_dirs()?;
        let (head, rows) = open_backup(disk, self.from)?;
        let checkpoint = CheckpointFile {
            opening: 0,
            clean: false,
            boot_id: String::new(),
            ..head.checkpoint
        };
        self.write_rows(rows, &checkpoint)?;
        let predecessor = Predecessor {
            incarnation: head.incarnation,
            position: checkpoint.position,
            last_event: checkpoint.last_event,
            taken_at: head.taken_at,
            restored_at: self.now,
            ancestors: head.ancestors,
        };
        self.replace(&Predecessor::path(cell_dir), &predecessor.encode())?;
        self.replace(&CheckpointFile::path(cell_dir), &checkpoint.encode())?;
        let header = SegmentHeader {
            cell: self.opening.cell,
            incarnation: self.incarnation,
            opening: self.number,
            ordinal: 1,
            first: Position(checkpoint.position.0 + 1),
            durable: checkpoint.position,
            previous: 0,
        };
        JournalWriter::start(
            self.opening.disk.clone(),
            self.opening.journal_dir.clone(),
            header,
            &[],
            self.opening.options.first_segment_bytes,
            self.opening.options.segment_bytes,
        )
        .map_err(|error| {
            StoreError::io("starting a segment in", &self.opening.journal_dir, &error)
        })?;
        Ok(())
    }

    /// The snapshot, and the files that come behind its rows.
    fn write_rows(
        &self,
        rows: SnapshotRows,
        checkpoint: &CheckpointFile,
    ) -> Result<(), BackupError> {
        let disk = self.opening.disk.as_ref();
        let dir = snapshots_dir(&self.opening.cell_dir);
        self.create_dir(&dir)?;
        let path = dir.join(format!("{:016}.snap", checkpoint.position.0));
        let mut snapshot =
            SnapshotWriter::create(disk, &path, checkpoint.position, &checkpoint.encode())?;
        let mut files = Files::new(self);
        for row in rows {
            let (table, key, value) = row.map_err(|error| unreadable(self.from, error))?;
            if table == FILES {
                let (path, offset) =
                    read_piece_key(&key).map_err(|malformed| not_whole(self.from, malformed.0))?;
                files.put(&path, offset, &value)?;
            } else {
                snapshot.row(table, &key, &value)?;
            }
        }
        files.finish()?;
        snapshot.finish()?;
        Ok(())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        replace_file(self.opening.disk.as_ref(), path, bytes)
            .map_err(|error| StoreError::io("writing", path, &error))
    }

    fn create_dir(&self, dir: &Path) -> Result<(), StoreError> {
        let disk = self.opening.disk.as_ref();
        disk.create_dir(dir)
            .and_then(|()| disk.sync_dir(&self.opening.cell_dir))
            .map_err(|error| StoreError::io("creating", dir, &error))
    }
}

/// The files of a backup, one after the other, each durable before the next begins.
struct Files<'a> {
    restoring: &'a Restoring<'a>,
    open: Option<(PathBuf, Box<dyn DiskFile>, u64)>,
}

impl<'a> Files<'a> {
    fn new(restoring: &'a Restoring<'a>) -> Files<'a> {
        Files {
            restoring,
            open: None,
        }
    }

    fn put(&mut self, path: &Path, offset: u64, piece: &[u8]) -> Result<(), BackupError> {
        if self.open.as_ref().is_none_or(|(open, ..)| open != path) {
            self.close()?;
            self.begin(path)?;
        }
        let Some((_, file, size)) = &mut self.open else {
            return Ok(());
        };
        if *size != offset {
            return Err(not_whole(
                self.restoring.from,
                "a piece of a file is missing",
            ));
        }
        file.write_at(offset, piece)
            .map_err(|error| StoreError::io("writing", path, &error))?;
        *size += piece.len() as u64;
        Ok(())
    }

    fn begin(&mut self, path: &Path) -> Result<(), BackupError> {
        let whole = self.restoring.opening.cell_dir.join(path);
        if let Some(dir) = whole.parent() {
            self.restoring.create_dir(dir)?;
        }
        let disk = self.restoring.opening.disk.as_ref();
        let file = disk
            .open(&whole, OpenMode::CreateNew)
            .map_err(|error| StoreError::io("creating", &whole, &error))?;
        self.open = Some((path.to_owned(), file, 0));
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let Some((path, file, _)) = self.open.take() else {
            return Ok(());
        };
        let whole = self.restoring.opening.cell_dir.join(path);
        let dir = whole.parent().unwrap_or(Path::new("."));
        file.sync()
            .and_then(|()| self.restoring.opening.disk.sync_dir(dir))
            .map_err(|error| StoreError::io("syncing", &whole, &error))
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.close()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_restored() {
        let mut predecessor = Predecessor {
            incarnation: Incarnation(1),
            position: Position(300),
            last_event: EventNumber(2),
            taken_at: Timestamp(3),
            restored_at: Timestamp(4),
            ancestors: Vec::new(),
        };
        let bytes = predecessor.encode();
        let body: &[u8] = &[
            1, 0, 0, 0, 0, 0, 0, 0, 0xac, 2, 2, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(&bytes[..8], MAGIC);
        assert_eq!(&bytes[20..], body);
        assert_eq!(Predecessor::decode(&bytes).as_ref(), Ok(&predecessor));
        predecessor.ancestors.push(Ancestor {
            incarnation: Incarnation(5),
            last_event: EventNumber(300),
        });
        let again = predecessor.encode();
        assert_eq!(again[bytes.len()..], [5, 0, 0, 0, 0, 0, 0, 0, 0xac, 2]);
        assert_eq!(Predecessor::decode(&again), Ok(predecessor));
    }
}
