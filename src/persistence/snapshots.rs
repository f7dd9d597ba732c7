//! Snapshots of a cell: when they are taken, what they allow to be thrown away, and how an engine
//! is made again from one.
//!
//! A snapshot is taken right after a checkpoint, while the engine stands still, and counts only
//! when it has been read back whole and has as many rows of each table as the engine was given.
//! Then older snapshots go, and with them the journal segments that lie wholly before it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::checkpoint::{CheckpointFile, Checkpointer, apply_rows};
use super::disk::Disk;
use super::engine::{Direction, Engine};
use super::format::{replace_file, sync_names};
use super::journal::segment::segment_path;
use super::snapshot::{Snapshot, SnapshotWriter};
use super::store::Core;
use super::tables::{CLAIM, engine_key, table_and_key};
use super::writing::locked;
use crate::commit::{Position, TableId};
use crate::error::StoreError;
use crate::planted::PlantedBug;

/// Rows per page when the engine is dumped.
const PAGE_ROWS: usize = 1024;

/// Where a cell keeps its snapshots.
pub(crate) fn snapshots_dir(cell_dir: &Path) -> PathBuf {
    cell_dir.join("snapshots")
}

/// The snapshots in a directory, oldest first.
pub(crate) fn list_snapshots(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Vec<(Position, PathBuf)>, StoreError> {
    let paths = match disk.list(dir) {
        Ok(paths) => paths,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("listing", dir, &error)),
    };
    let mut snapshots: Vec<(Position, PathBuf)> = paths
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snap")
        })
        .filter_map(|path| {
            let position = path.file_stem()?.to_str()?.parse().ok()?;
            Some((Position(position), path))
        })
        .collect();
    snapshots.sort();
    Ok(snapshots)
}

impl Core {
    /// Takes a snapshot of the present. Returns its position.
    pub(crate) fn snapshot(&self) -> Result<Position, StoreError> {
        let mut checkpointer = locked(&self.checkpointer);
        self.checkpoint_with(&mut checkpointer, false)?;
        let position = checkpointer.base();
        let taken = self.take_snapshot(&mut checkpointer, position);
        if taken.is_err() {
            // Not again at once: what refused it will refuse it again.
            let written = self.gauges.journal_bytes.load(Ordering::Relaxed);
            checkpointer.snapshot_failed_at = Some(written);
            // It may be what has filled the disk.
            let dir = snapshots_dir(&self.options.cell_dir());
            let _ = Snapshot::remove_unfinished(self.disk.as_ref(), &dir);
        }
        taken.map(|()| position)
    }

    fn take_snapshot(
        &self,
        checkpointer: &mut Checkpointer,
        position: Position,
    ) -> Result<(), StoreError> {
        let disk = self.disk.as_ref();
        let dir = snapshots_dir(&self.options.cell_dir());
        disk.create_dir(&dir)
            .map_err(|error| StoreError::io("creating", &dir, &error))?;
        self.sync_or_close(&self.options.cell_dir())?;
        Snapshot::remove_unfinished(disk, &dir)?;
        let path = dir.join(format!("{:016}.snap", position.0));
        let meta = checkpointer.file(self, false).encode();
        let writer = SnapshotWriter::create(disk, &path, position, &meta)?;
        let missed = match self.options.planted.is(PlantedBug::SnapshotMissesTable) {
            true => checkpointer.largest_table(),
            false => None,
        };
        let writer = match dump(self.engine.as_ref(), writer, missed) {
            Ok(writer) => writer,
            Err(Undumped::File(error)) => return Err(error),
            Err(Undumped::Engine(error)) => return Err(self.condemn(checkpointer, error)),
        };
        let is_whole = writer.tables().iter().copied().eq(checkpointer.counts());
        if !is_whole && missed.is_none() {
            let _ = writer.abandon();
            let error = StoreError::Damaged {
                what: format!("the engine in {}", self.options.cell_dir().display()),
                detail: "it has lost rows".to_owned(),
            };
            return Err(self.condemn(checkpointer, error));
        }
        writer.finish().inspect_err(|error| {
            // One of its syncs may have failed. For lack of space it is written anew as a whole.
            if matches!(error, StoreError::Io { .. }) {
                self.close_because(error.to_string());
            }
        })?;
        let info = Snapshot::verify(disk, &path)?;
        if info.position != position {
            let detail = "it was read back with another position";
            return Err(StoreError::damaged(&path, detail));
        }
        checkpointer.snapshot_bytes = info.bytes;
        checkpointer.snapshot_failed_at = None;
        checkpointer.journal_bytes_at_snapshot =
            self.gauges.journal_bytes.load(Ordering::Relaxed) as i64;
        self.gauges.snapshot.store(position.0, Ordering::Relaxed);
        for (older, path) in list_snapshots(disk, &dir)? {
            if older < position {
                disk.remove(&path)
                    .map_err(|error| StoreError::io("removing", &path, &error))?;
            }
        }
        self.sync_or_close(&dir)?;
        self.trim_journal(position)
    }

    /// Closes the cell because of its engine, which the next opening will count and, if rows are
    /// missing or cannot be read, rebuild.
    pub(super) fn condemn(&self, checkpointer: &Checkpointer, error: StoreError) -> StoreError {
        tracing::error!(%error, "the engine is not used any more; the next start looks at all of it");
        let file = CheckpointFile {
            // As after a restart of the machine.
            boot_id: String::new(),
            ..checkpointer.file(self, false)
        };
        let path = CheckpointFile::path(&self.options.cell_dir());
        if let Err(error) = replace_file(self.disk.as_ref(), &path, &file.encode()) {
            tracing::warn!(?path, %error, "the next start is not told to look at the engine");
        }
        self.close_because(match &error {
            StoreError::Damaged { what, detail } => {
                format!("damaged {what}: {detail}; the next start makes it anew, from snapshot and journal")
            }
            error => format!("{error}; the next start looks at the engine and may make it anew"),
        });
        error
    }

    /// Makes names durable. The journal goes for what they stand for, so a failure closes the cell.
    fn sync_or_close(&self, dir: &Path) -> Result<(), StoreError> {
        sync_names(self.disk.as_ref(), dir).map_err(|error| {
            let error = StoreError::io("syncing", dir, &error);
            self.close_because(error.to_string());
            error
        })
    }

    /// Removes the segments that lie wholly at or before a position.
    pub(super) fn trim_journal(&self, position: Position) -> Result<(), StoreError> {
        let dir = self.options.cell_dir().join("journal");
        loop {
            let oldest = {
                let segments = locked(&self.segments);
                match (segments.front(), segments.get(1)) {
                    (Some((ordinal, _)), Some((_, next))) if next.0 <= position.0 + 1 => *ordinal,
                    _ => return Ok(()),
                }
            };
            let path = segment_path(&dir, oldest);
            // One by one: a crash must not leave a hole between two that are still there.
            self.disk
                .remove(&path)
                .map_err(|error| StoreError::io("removing", &path, &error))?;
            self.sync_or_close(&dir)?;
            locked(&self.segments).pop_front();
        }
    }

    /// Whether enough has been journaled since the last snapshot for another.
    pub(crate) fn is_snapshot_due(&self) -> bool {
        let checkpointer = locked(&self.checkpointer);
        let due = self
            .options
            .snapshot_bytes
            .max(2 * checkpointer.snapshot_bytes);
        let written = self.gauges.journal_bytes.load(Ordering::Relaxed);
        let since = written as i64 - checkpointer.journal_bytes_at_snapshot;
        let retry = checkpointer
            .snapshot_failed_at
            .is_none_or(|failed| written > failed + self.options.segment_bytes);
        since >= due as i64 && retry
    }
}

/// Why an engine's rows are in no snapshot.
enum Undumped {
    /// They could not be read.
    Engine(StoreError),
    /// They could not be written.
    File(StoreError),
}

impl From<StoreError> for Undumped {
    fn from(error: StoreError) -> Undumped {
        Undumped::Engine(error)
    }
}

/// Writes every row of an engine into a snapshot, but for those of a table that is to be missed.
fn dump<'d>(
    engine: &dyn Engine,
    mut writer: SnapshotWriter<'d>,
    missed: Option<TableId>,
) -> Result<SnapshotWriter<'d>, Undumped> {
    let written = each_engine_row(engine, |table, key, value| match missed == Some(table) {
        true => Ok(()),
        false => writer.row(table, key, value).map_err(Undumped::File),
    });
    match written {
        Ok(()) => Ok(writer),
        Err(error) => {
            // The error is what matters; the unfinished file is replaced or removed later.
            let _ = writer.abandon();
            Err(error)
        }
    }
}

/// Calls `each` with every row of an engine in order, but for what it says about itself.
pub(crate) fn each_engine_row<E: From<StoreError>>(
    engine: &dyn Engine,
    mut each: impl FnMut(TableId, &[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut range = (Bound::Unbounded, Bound::Unbounded);
    loop {
        let page = engine.scan(&range, Direction::Ascending, PAGE_ROWS)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        range.0 = Bound::Excluded(last.clone());
        for (key, value) in &page {
            if let Some((table, key)) = table_and_key(key)
                && table != CLAIM
            {
                each(table, &key, value)?;
            }
        }
    }
}

/// Fills an empty engine from a snapshot that has been verified. Says what checkpoint it is at.
pub(crate) fn load_snapshot(
    disk: &dyn Disk,
    path: &Path,
    engine: &dyn Engine,
) -> Result<CheckpointFile, StoreError> {
    let rows = Snapshot::rows(disk, path)?;
    let mut checkpoint = CheckpointFile::decode(rows.meta())
        .map_err(|_| StoreError::damaged(path, "its meta data cannot be read"))?;
    let mut failed = None;
    let mut counts = BTreeMap::new();
    let good = rows.map_while(|row| match row {
        Ok((table, key, value)) => Some((engine_key(table, &key), Some(value))),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    apply_rows(engine, good, &mut counts)?;
    if let Some(error) = failed {
        return Err(error);
    }
    engine.sync()?;
    checkpoint.counts = counts;
    Ok(checkpoint)
}
