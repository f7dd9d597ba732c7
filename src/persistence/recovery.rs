//! Recovery of what stands in the engine: whether the one on disk can be trusted, and how another
//! is made when it cannot.
//!
//! ```text
//! CHECKPOINT = P0    claim "from A to B"
//! B = P0             it is at the checkpoint, if it has that one's last row too
//! A = P0, B > P0     a checkpoint to B was interrupted: replay overwrites its parts
//! anything else      rebuild: newest whole snapshot, then the journal from there
//! ```
//!
//! `CHECKPOINT` follows the engine: after a rebuild it is the snapshot's, or gone if there is none.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{CheckpointFile, Checkpointer, Claim};
use super::disk::OpenMode;
use super::engine::{Direction, Engine};
use super::format::{Malformed, Unsealed, replace_file};
use super::journal::reader::{JournalReader, Survey, damaged, io_error};
use super::journal::segment::segment_path;
use super::open::Opening;
use super::snapshot::{Snapshot, SnapshotInfo};
use super::snapshots::{each_engine_row, list_snapshots, load_snapshot, snapshots_dir};
use super::state::{Cell, State};
use super::streams::{Stream, read_entry_key, read_stream_key, read_stream_row};
use super::tables::{CATALOG, OUTBOX, STREAMS, whole_table};
use crate::commit::{Position, TableId};
use crate::error::{OpenError, StoreError};
use crate::planted::PlantedBug;

/// Rows per page when the engine is read from end to end.
const PAGE_ROWS: usize = 1024;

impl Opening {
    /// An engine that fits the journal, and the checkpoint it is at: the one on disk if it can be
    /// trusted, otherwise a rebuilt one. Also whether it may hold parts of a later checkpoint.
    #[allow(clippy::type_complexity)]
    pub(super) fn engine_at(
        &self,
        journal: &JournalReader<'_>,
        checkpoint: &CheckpointFile,
        survey: &Survey,
    ) -> Result<(CheckpointFile, Arc<dyn Engine>, bool, Option<String>), OpenError> {
        let reason = match self.engines.open() {
            Ok(engine) => match self.judge(engine.as_ref(), checkpoint, survey) {
                Ok(Verdict::Fits(counts)) => {
                    let base = CheckpointFile {
                        counts,
                        ..checkpoint.clone()
                    };
                    return Ok((base, engine.into(), false, None));
                }
                Ok(Verdict::Interrupted(counts)) => {
                    let base = CheckpointFile {
                        counts,
                        ..checkpoint.clone()
                    };
                    return Ok((base, engine.into(), true, None));
                }
                Ok(Verdict::Unusable(reason)) => reason,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!(%reason, "the engine is rebuilt");
        let (base, engine) = self.rebuild(journal, survey)?;
        Ok((base, engine, false, Some(reason)))
    }

    /// Whether an engine is what the checkpoint says, and how many rows it has.
    fn judge(
        &self,
        engine: &dyn Engine,
        checkpoint: &CheckpointFile,
        survey: &Survey,
    ) -> Result<Verdict, StoreError> {
        let unusable = |reason: &str| Ok(Verdict::Unusable(reason.to_owned()));
        let claim = Claim::read(engine)?;
        let restarted = checkpoint.boot_id != self.disk.boot_id() || checkpoint.boot_id.is_empty();
        let Some(claim) = claim else {
            if checkpoint.position > Position(0) {
                return unusable("it has lost its rows");
            }
            let everything = (Bound::Unbounded, Bound::Unbounded);
            if !engine
                .scan(&everything, Direction::Ascending, 1)?
                .is_empty()
            {
                return unusable("it was being rebuilt");
            }
            return Ok(Verdict::Fits(BTreeMap::new()));
        };
        if claim.to > survey.end {
            return unusable("it is ahead of the journal");
        }
        if claim.to == checkpoint.position {
            if !claim.is_whole(engine)? {
                return unusable("it has lost the end of a checkpoint");
            }
            if restarted && count_rows(engine)? != checkpoint.counts {
                return unusable(
                    "its rows are not as many as they were before the machine restarted",
                );
            }
            return Ok(Verdict::Fits(checkpoint.counts.clone()));
        }
        if claim.from != checkpoint.position {
            return unusable("it belongs to another checkpoint");
        }
        if restarted && checkpoint.position > Position(0) {
            return unusable("a checkpoint was interrupted by a restart of the machine");
        }
        // The rows that the interrupted checkpoint has reached are counted among them.
        Ok(Verdict::Interrupted(count_rows(engine)?))
    }

    /// The snapshot that a new engine would be made from, or `None` if the journal is all that is
    /// needed. What it needs is whole.
    pub(super) fn rebuild_from(
        &self,
        journal: &JournalReader<'_>,
        end: Position,
    ) -> Result<Option<(Position, PathBuf)>, OpenError> {
        let found = self.whole_snapshot()?;
        let from = found
            .as_ref()
            .map_or(Position(0), |(position, _)| *position);
        if journal.first().0 > from.0 + 1 {
            let detail = "the engine cannot be rebuilt: there is no whole snapshot to start from";
            return Err(damaged(&self.cell_dir, 0, end, detail));
        }
        // The journal from there on must be whole before anything is given up for it.
        journal.survey(from)?;
        Ok(found)
    }

    /// A new engine from the journal.
    pub(super) fn rebuild(
        &self,
        journal: &JournalReader<'_>,
        survey: &Survey,
    ) -> Result<(CheckpointFile, Arc<dyn Engine>), OpenError> {
        let failed = |error: &StoreError| self.engine_failed(error);
        let found = self.rebuild_from(journal, survey.end)?;
        self.engines.destroy().map_err(|error| failed(&error))?;
        let engine = self.open_engine()?;
        let Some((position, path)) = found else {
            self.forget_checkpoint()?;
            return Ok((CheckpointFile::default(), engine));
        };
        let mut base = load_snapshot(self.disk.as_ref(), &path, engine.as_ref())
            .map_err(|error| failed(&error))?;
        base.boot_id = self.disk.boot_id();
        base.clean = false;
        // The claim comes last: without it the engine counts as empty, and this begins again.
        let claim = Claim {
            from: position,
            to: position,
        };
        claim
            .write(engine.as_ref())
            .map_err(|error| failed(&error))?;
        let file = CheckpointFile::path(&self.cell_dir);
        replace_file(self.disk.as_ref(), &file, &base.encode())
            .map_err(|error| self.refused("writing", &file, &error))?;
        Ok((base, engine))
    }

    /// Removes `CHECKPOINT`, of which a new engine holds nothing: the engine's first checkpoint
    /// may lead to the same position, and while it is under way must not be taken for it. Unlike
    /// a rewrite this needs no space.
    fn forget_checkpoint(&self) -> Result<(), OpenError> {
        let file = CheckpointFile::path(&self.cell_dir);
        let removed = match self.disk.remove(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        removed
            .and_then(|()| self.disk.sync_dir(&self.cell_dir))
            .map_err(|error| self.refused("removing", &file, &error))
    }

    /// The newest snapshot that can be read from end to end.
    fn whole_snapshot(&self) -> Result<Option<(Position, PathBuf)>, OpenError> {
        let dir = snapshots_dir(&self.cell_dir);
        let snapshots =
            list_snapshots(self.disk.as_ref(), &dir).map_err(|error| self.engine_failed(&error))?;
        for (position, path) in snapshots.into_iter().rev() {
            match Snapshot::verify(self.disk.as_ref(), &path) {
                Ok(info) if info.position == position => match CheckpointFile::decode(&info.meta) {
                    Ok(base) if self.has_rows(&base, &info) => return Ok(Some((position, path))),
                    Ok(_) => tracing::warn!(?path, "a snapshot lacks rows and cannot be used"),
                    Err(Unsealed::Newer { found, known }) => {
                        return Err(OpenError::NewerFormat { path, found, known });
                    }
                    Err(Unsealed::Damaged(error)) => {
                        tracing::warn!(?path, %error, "a snapshot cannot be used");
                    }
                },
                Ok(_) => tracing::warn!(?path, "a snapshot is named for another position"),
                Err(error) => tracing::warn!(?path, %error, "a snapshot cannot be used"),
            }
        }
        Ok(None)
    }

    /// Whether a snapshot has as many rows of each table as its checkpoint had.
    fn has_rows(&self, base: &CheckpointFile, info: &SnapshotInfo) -> bool {
        let counted = base.counts.iter().map(|(table, rows)| (*table, *rows));
        counted.eq(info.tables.iter().copied())
            || self.options.planted.is(PlantedBug::SnapshotMissesTable)
    }

    /// Remembers the newest snapshot and how much has been journaled since.
    pub(super) fn note_snapshot(
        &self,
        checkpointer: &mut Checkpointer,
        journal: &JournalReader<'_>,
    ) -> Result<(), OpenError> {
        let dir = snapshots_dir(&self.cell_dir);
        let snapshots =
            list_snapshots(self.disk.as_ref(), &dir).map_err(|error| self.engine_failed(&error))?;
        let size = |path: &Path| {
            let file = self.disk.open(path, OpenMode::Read);
            file.and_then(|file| file.size())
                .map_err(|error| io_error("reading", path, &error))
        };
        if let Some((position, path)) = snapshots.last() {
            checkpointer.snapshot = *position;
            checkpointer.snapshot_bytes = size(path)?;
        }
        let mut since = 0;
        for (ordinal, first) in journal.segments() {
            if first > checkpointer.snapshot {
                since += size(&segment_path(&self.journal_dir, ordinal))?;
            }
        }
        checkpointer.journal_bytes_at_snapshot = -i64::try_from(since).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Names and streams as the engine has them.
    pub(super) fn restore(
        &self,
        engine: &dyn Engine,
        base: &CheckpointFile,
        doubtful: bool,
    ) -> Result<(State, Cell), OpenError> {
        let state = State::new();
        let malformed =
            |Malformed(detail): Malformed| damaged(&self.cell_dir, 0, base.position, detail);
        each_row(engine, CATALOG, |key, value| state.name(key, Some(value)))
            .map_err(|error| self.engine_failed(&error))?
            .map_err(malformed)?;
        each_row(engine, STREAMS, |key, value| {
            let id = read_stream_key(key)?;
            let (sent, mark) = read_stream_row(value)?;
            state.streams.with(id, |stream| stream.restore(sent, mark));
            Ok(())
        })
        .map_err(|error| self.engine_failed(&error))?
        .map_err(malformed)?;
        for file in &base.spilled {
            let restore = |stream: &mut Stream| stream.restore_file(*file);
            state.streams.with(file.stream, restore);
        }
        each_row(engine, OUTBOX, |key, value| {
            let (id, sequence) = read_entry_key(key)?;
            state.streams.with(id, |stream| {
                stream.restore_entry(sequence, value.clone());
            });
            Ok(())
        })
        .map_err(|error| self.engine_failed(&error))?
        .map_err(malformed)?;
        if doubtful {
            for id in state.streams.ids() {
                state.streams.with(id, |stream| stream.doubt());
            }
        }
        let cell = Cell::at(base.position, base.newest, base.last_event);
        Ok((state, cell))
    }
}

/// What an engine is good for.
enum Verdict {
    /// It is at the checkpoint.
    Fits(BTreeMap<TableId, u64>),
    /// It is at the checkpoint and holds parts of the next.
    Interrupted(BTreeMap<TableId, u64>),
    /// Nothing.
    Unusable(String),
}

/// Rows of every table of an engine.
fn count_rows(engine: &dyn Engine) -> Result<BTreeMap<TableId, u64>, StoreError> {
    let mut counts = BTreeMap::new();
    each_engine_row(engine, |table, _, _| {
        *counts.entry(table).or_default() += 1;
        Ok(())
    })?;
    Ok(counts)
}

/// Calls `each` with every row of a table.
fn each_row(
    engine: &dyn Engine,
    table: TableId,
    mut each: impl FnMut(&[u8], &bytes::Bytes) -> Result<(), Malformed>,
) -> Result<Result<(), Malformed>, StoreError> {
    let mut range = whole_table(table);
    loop {
        let page = engine.scan(&range, Direction::Ascending, PAGE_ROWS)?;
        let Some((last, _)) = page.last() else {
            return Ok(Ok(()));
        };
        range.0 = Bound::Excluded(last.clone());
        for (key, value) in &page {
            if let Err(malformed) = each(&key[4..], value) {
                return Ok(Err(malformed));
            }
        }
    }
}
