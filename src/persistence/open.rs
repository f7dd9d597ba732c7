//! Opening: lock, verify, recover, and only then write.
//!
//! ```text
//! lock ─► FORMAT ─► journal headers ─► CHECKPOINT ─► survey to the end ─► engine fits? ─► replay
//!      ─► new segment with the rescued tail ─► open
//! ```
//!
//! Whatever is found damaged is found before the first byte is changed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::{CheckpointFile, Checkpointer};
use super::disk::{Disk, LockGuard, Locking, OpenMode};
use super::engine::{Engine, EngineFactory};
use super::events::EventLog;
use super::format::{Malformed, Unsealed, read_file, replace_file, seal, unseal};
use super::journal::body;
use super::journal::reader::{JournalReader, Survey, damaged, io_error};
use super::journal::segment::{SegmentHeader, cell_hash};
use super::journal::writer::{JournalWriter, UNFINISHED, is_full};
use super::lineage::Lineage;
use super::options::{Driving, StoreOptions};
use super::restore::Predecessor;
use super::running::{self, Interrupted, RUNNING_BYTES, Running};
use super::snapshot::Snapshot;
use super::snapshots::snapshots_dir;
use super::space::{drop_ballast, take_ballast};
use super::spill::{SpillFile, SpillReader, remove_unnamed, spill_dir};
use super::state::{Cell, Given, State};
use super::store::{Core, Store};
use crate::clock::{Clock, Timestamp};
use crate::commit::{EventNumber, Incarnation, Position, TableId};
use crate::error::{OpenError, StoreError};
use crate::planted::PlantedBug;

pub(super) const FORMAT_MAGIC: &[u8; 8] = b"RDLVDATA";

/// What an opening found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Commits replayed from the journal.
    pub commits: u64,
    /// The position of the last commit.
    pub position: Position,
    /// How long it took.
    pub took: Duration,
    /// The newest time of any commit.
    pub newest: Timestamp,
    /// Whether the last opening ended in good order (also true for a new directory).
    pub clean: bool,
    /// Why the engine was rebuilt, if it was.
    pub rebuilt: Option<String>,
    /// Bytes of a torn last group that were given up; nobody had been told of it.
    pub torn_bytes: u64,
    /// What handlers had in hand when the process died, and no attempt is known to be charged for;
    /// see [`Store::interrupted_charged`].
    pub interrupted: Vec<Interrupted>,
}

impl Store {
    /// Opens a data directory, creating it if there is none, and recovers what it holds.
    pub fn open(
        options: StoreOptions,
        disk: Arc<dyn Disk>,
        engines: Arc<dyn EngineFactory>,
        clock: Arc<dyn Clock>,
        driving: Driving,
    ) -> Result<(Store, Recovered), OpenError> {
        let began = clock.wall();
        let opening = Opening {
            cell_dir: options.cell_dir(),
            journal_dir: options.cell_dir().join("journal"),
            cell: cell_hash(&options.cell),
            // Zero means "none" in the slots of `running`.
            number: clock.entropy().max(1),
            options,
            disk,
            engines,
        };
        let lock = opening.lock()?;
        let format = opening.read_format()?;
        let found = JournalReader::open(opening.disk.as_ref(), &opening.journal_dir, opening.cell)?;
        let parts = match found {
            None if format.is_some() => {
                let detail = "the journal has no segments";
                return Err(damaged(&opening.journal_dir, 0, Position(0), detail));
            }
            None => {
                opening.check_unused()?;
                opening.create(Incarnation(clock.entropy()))?
            }
            Some(journal) => opening.recover(&journal, format.is_some())?,
        };
        opening.finish(parts, lock, clock, driving, began)
    }
}

/// An opening under way.
pub(super) struct Opening {
    pub(super) options: StoreOptions,
    pub(super) cell_dir: PathBuf,
    pub(super) journal_dir: PathBuf,
    pub(super) cell: u64,
    number: u64,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) engines: Arc<dyn EngineFactory>,
}

/// For who must not touch the engine.
struct NoEngine;

impl EngineFactory for NoEngine {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        Err(StoreError::Closed {
            reason: "the engine is left alone".to_owned(),
        })
    }

    fn destroy(&self) -> Result<(), StoreError> {
        self.open().map(drop)
    }
}

/// What an opening has read before it decides on the engine.
pub(super) struct Looked {
    pub(super) checkpoint: CheckpointFile,
    pub(super) survey: Survey,
    /// Whether the last opening ended in good order.
    pub(super) clean: bool,
}

/// What an opening has put together.
struct Parts {
    lineage: Lineage,
    engine: Arc<dyn Engine>,
    state: State,
    cell: Cell,
    writer: JournalWriter,
    checkpointer: Checkpointer,
    segments: VecDeque<(u64, Position)>,
    recovered: Recovered,
    /// The last event that the event log should have.
    logged_events: EventNumber,
}

impl Opening {
    /// One that only looks, at a cell of a data directory: it has no engine.
    pub(super) fn to_look(dir: &Path, cell: &str, disk: Arc<dyn Disk>) -> Opening {
        let options = StoreOptions {
            cell: cell.to_owned(),
            ..StoreOptions::new(dir)
        };
        Opening {
            cell_dir: options.cell_dir(),
            journal_dir: options.cell_dir().join("journal"),
            cell: cell_hash(cell),
            number: 0,
            options,
            disk,
            engines: Arc::new(NoEngine),
        }
    }

    pub(super) fn lock(&self) -> Result<Box<dyn LockGuard>, OpenError> {
        let dir = &self.options.dir;
        let path = dir.join("LOCK");
        let locked = self
            .disk
            .create_dir(dir)
            .and_then(|()| self.disk.lock(&path));
        match locked {
            Ok(Locking::Acquired(guard)) => Ok(guard),
            Ok(Locking::HeldBy(pid)) => Err(OpenError::InUse {
                path: dir.clone(),
                pid: if pid.is_empty() {
                    "unknown".to_owned()
                } else {
                    pid
                },
            }),
            Err(error) => Err(self.refused("locking", &path, &error)),
        }
    }

    /// The format of the directory; `None` if it has none yet.
    pub(super) fn read_format(&self) -> Result<Option<()>, OpenError> {
        let path = self.options.dir.join("FORMAT");
        let file = read_file(self.disk.as_ref(), &path)
            .map_err(|error| io_error("reading", &path, &error))?;
        let Some(file) = file else {
            return Ok(None);
        };
        match unseal(FORMAT_MAGIC, &file) {
            Ok(_) => Ok(Some(())),
            Err(problem) => Err(self.unsealed(&path, problem)),
        }
    }

    fn unsealed(&self, path: &Path, problem: Unsealed) -> OpenError {
        match problem {
            Unsealed::Newer { found, known } => OpenError::NewerFormat {
                path: self.options.dir.clone(),
                found,
                known,
            },
            Unsealed::Damaged(detail) => damaged(path, 0, Position(0), detail),
        }
    }

    /// Refuses a directory whose checkpoint is all that says that there was a cell: the rows that it
    /// counts are neither read nor overwritten.
    fn check_unused(&self) -> Result<(), OpenError> {
        let checkpoint = self.read_checkpoint()?.unwrap_or_default();
        if checkpoint.position == Position(0) {
            return Ok(());
        }
        let detail = format!(
            "there are no segments, and a checkpoint was taken up to commit {}",
            checkpoint.position.0
        );
        Err(damaged(&self.journal_dir, 0, Position(0), &detail))
    }

    /// A new cell, in a directory that nobody has used.
    fn create(&self, incarnation: Incarnation) -> Result<Parts, OpenError> {
        self.create_dirs()?;
        // Whatever an engine holds here is not ours.
        self.engines
            .destroy()
            .map_err(|error| self.engine_failed(&error))?;
        let engine = self.open_engine()?;
        let header = SegmentHeader {
            cell: self.cell,
            incarnation,
            opening: self.number,
            ordinal: 1,
            first: Position(1),
            durable: Position(0),
            previous: 0,
        };
        let writer = self.start_writer(header, Vec::new())?;
        Ok(Parts {
            lineage: Lineage::first(incarnation),
            engine,
            state: State::new(),
            cell: Cell::at(Position(0), Timestamp(0), EventNumber(0)),
            segments: VecDeque::from([writer.segment()]),
            writer,
            checkpointer: Checkpointer::new(CheckpointFile::default()),
            recovered: Recovered {
                commits: 0,
                position: Position(0),
                took: Duration::ZERO,
                newest: Timestamp(0),
                clean: true,
                rebuilt: None,
                torn_bytes: 0,
                interrupted: Vec::new(),
            },
            logged_events: EventNumber(0),
        })
    }

    pub(super) fn create_dirs(&self) -> Result<(), OpenError> {
        let dir = &self.options.dir;
        let cells = dir.join("cells");
        let created = self.disk.create_dir(&self.journal_dir).and_then(|()| {
            // From the leaf to the root; each name is durable when its parent is synced.
            for dir in [&self.journal_dir, &self.cell_dir, &cells, dir] {
                self.disk.sync_dir(dir)?;
            }
            match directory_of(dir) {
                Some(parent) => self.disk.sync_dir(parent),
                None => Ok(()),
            }
        });
        created.map_err(|error| self.refused("creating", &self.journal_dir, &error))
    }

    /// What the files say, before the engine is looked at and before anything is written.
    pub(super) fn look(
        &self,
        journal: &JournalReader<'_>,
        has_format: bool,
    ) -> Result<Looked, OpenError> {
        let checkpoint = self.read_checkpoint()?;
        let survey = journal.survey(
            checkpoint
                .as_ref()
                .map_or(Position(0), |file| file.position),
        )?;
        if !has_format && survey.end > Position(0) {
            let path = self.options.dir.join("FORMAT");
            return Err(damaged(&path, 0, survey.end, "it is missing"));
        }
        let checkpoint = checkpoint.unwrap_or_default();
        if checkpoint.position > survey.end {
            let detail = format!(
                "the journal ends before commit {}, up to which the checkpoint was taken",
                checkpoint.position.0
            );
            return Err(damaged(&survey.last_path, 0, survey.end, &detail));
        }
        self.check_end(journal.incarnation(), &survey)?;
        let clean = checkpoint.clean
            && checkpoint.opening == survey.last.opening
            && checkpoint.position == survey.end;
        Ok(Looked {
            checkpoint,
            survey,
            clean,
        })
    }

    /// Whether the journal reaches as far as it is known to have been durable. Its own segments
    /// cannot say so of the last of them.
    fn check_end(&self, incarnation: Incarnation, survey: &Survey) -> Result<(), OpenError> {
        let path = self.cell_dir.join("running");
        let file = read_file(self.disk.as_ref(), &path)
            .map_err(|error| io_error("reading", &path, &error))?;
        match running::noted(&file.unwrap_or_default(), incarnation) {
            Some(noted) if noted > survey.end => {
                let detail = format!(
                    "commits up to {} were durable and are missing (without the file {} they would \
                     pass for never written)",
                    noted.0,
                    path.display()
                );
                let (file, offset) = (&survey.last_path, survey.durable_end);
                Err(damaged(file, offset, survey.end, &detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn recover(&self, journal: &JournalReader<'_>, has_format: bool) -> Result<Parts, OpenError> {
        let Looked {
            checkpoint,
            survey,
            clean,
        } = self.look(journal, has_format)?;
        let lineage = self.read_lineage(journal.incarnation())?;
        let (mut base, mut engine, doubtful, mut rebuilt) =
            self.engine_at(journal, &checkpoint, &survey)?;
        let (state, mut cell) = match self.restore(engine.as_ref(), &base, doubtful) {
            Err(error) if rebuilt.is_none() => {
                tracing::warn!(%error, "the engine is rebuilt");
                drop(engine);
                (base, engine) = self.rebuild(journal, &survey)?;
                rebuilt = Some(error.to_string());
                self.restore(engine.as_ref(), &base, false)?
            }
            restored => restored?,
        };
        let mut commits = 0;
        journal.replay(base.position, survey.end, &mut |position, bytes| {
            commits += 1;
            let malformed =
                |Malformed(detail): Malformed| damaged(&self.journal_dir, 0, position, detail);
            let (mut commit, numbers) = body::decode(bytes).map_err(malformed)?;
            if self.options.planted.is(PlantedBug::AnswerForgotten) {
                let tables = &state.catalog().tables;
                let name = |id: TableId| tables.get(&id).map_or("", |(_, name)| name.as_str());
                commit
                    .writes
                    .retain(|write| name(write.table) != "~answers");
            }
            cell.uncheckpointed_bytes += bytes.len() as u64;
            state
                .apply(&mut cell, commit, Given::Replayed(&numbers))
                .map_err(malformed)?;
            Ok(())
        })?;
        if self.options.planted.is(PlantedBug::OutboxTrimmedTooFar) {
            for id in state.streams.ids() {
                state.streams.with(id, |stream| stream.trim_one_more());
            }
        }
        for id in state.streams.ids() {
            if !state.streams.with(id, |stream| stream.is_whole()) {
                let detail = format!(
                    "messages of the stream from service {} to {} are missing",
                    id.sender.0, id.receiver.0
                );
                return Err(damaged(&self.cell_dir, 0, survey.end, &detail));
            }
        }
        self.check_spilled(&state, survey.end)?;
        let recovered = Recovered {
            commits,
            position: survey.end,
            took: Duration::ZERO,
            newest: cell.newest,
            clean,
            rebuilt,
            torn_bytes: survey.torn_bytes,
            interrupted: Vec::new(),
        };
        // From here on things are written.
        let mut checkpointer = Checkpointer::new(base);
        self.note_snapshot(&mut checkpointer, journal)?;
        let mut segments: VecDeque<_> = journal.segments().into();
        let writer = self.continue_journal(journal.incarnation(), survey)?;
        segments.push_back(writer.segment());
        Ok(Parts {
            lineage,
            engine,
            state,
            cell,
            writer,
            checkpointer,
            segments,
            recovered,
            logged_events: checkpoint.last_event,
        })
    }

    /// What the cell was restored from, if it was.
    fn read_lineage(&self, incarnation: Incarnation) -> Result<Lineage, OpenError> {
        let path = Predecessor::path(&self.cell_dir);
        let read = Predecessor::read(self.disk.as_ref(), &self.cell_dir);
        match read.map_err(|error| io_error("reading", &path, &error))? {
            None => Ok(Lineage::first(incarnation)),
            Some(Ok(predecessor)) => Ok(predecessor.lineage(incarnation)),
            // Readers from before the restore are shown too much then, which is no reason to refuse.
            Some(Err(Unsealed::Damaged(detail))) => {
                tracing::warn!(detail, "what this cell was restored from cannot be read");
                Ok(Lineage::lost(incarnation))
            }
            Some(Err(newer)) => Err(self.unsealed(&path, newer)),
        }
    }

    /// Whether the files of spilled messages that are still needed are there and what they were.
    /// Their messages are looked at when they are read: there may be gigabytes of them.
    fn check_spilled(&self, state: &State, end: Position) -> Result<(), OpenError> {
        let dir = spill_dir(&self.cell_dir);
        for id in state.streams.ids() {
            let files: Vec<SpillFile> = state
                .streams
                .with(id, |stream| stream.backlog.files().collect());
            for file in files {
                let path = file.path(&dir);
                match SpillReader::open(self.disk.as_ref(), &dir, file) {
                    Ok(_) => {}
                    Err(StoreError::Damaged { detail, .. }) => {
                        return Err(damaged(&path, 0, end, &detail));
                    }
                    Err(StoreError::NewerFormat { found, known, .. }) => {
                        return Err(OpenError::NewerFormat { path, found, known });
                    }
                    Err(error) => {
                        return Err(OpenError::Io {
                            operation: "reading the spilled messages of".to_owned(),
                            path,
                            detail: error.to_string(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn read_checkpoint(&self) -> Result<Option<CheckpointFile>, OpenError> {
        let path = CheckpointFile::path(&self.cell_dir);
        let file = read_file(self.disk.as_ref(), &path)
            .map_err(|error| io_error("reading", &path, &error))?;
        match file {
            None => Ok(None),
            Some(file) => CheckpointFile::decode(&file)
                .map(Some)
                .map_err(|problem| self.unsealed(&path, problem)),
        }
    }

    pub(super) fn open_engine(&self) -> Result<Arc<dyn Engine>, OpenError> {
        self.engines
            .open()
            .map(Arc::from)
            .map_err(|error| self.engine_failed(&error))
    }

    pub(super) fn engine_failed(&self, error: &StoreError) -> OpenError {
        self.failed("opening the engine of", error)
    }

    fn failed(&self, operation: &str, error: &StoreError) -> OpenError {
        OpenError::Io {
            operation: operation.to_owned(),
            path: self.cell_dir.clone(),
            detail: error.to_string(),
        }
    }

    /// Starts the segment that this opening writes to, beginning with the commits that the
    /// journal does not yet know to be durable.
    fn continue_journal(
        &self,
        incarnation: Incarnation,
        survey: Survey,
    ) -> Result<JournalWriter, OpenError> {
        let header = SegmentHeader {
            cell: self.cell,
            incarnation,
            opening: self.number,
            ordinal: survey.last.ordinal + 1,
            first: Position(survey.durable.0 + 1),
            durable: survey.end,
            previous: survey.previous,
        };
        let writer = self.start_writer(header, survey.rescued)?;
        // The old segment's remains, and the space it reserved, are of no use any more.
        let cut = self
            .disk
            .open(&survey.last_path, OpenMode::Write)
            .and_then(|file| {
                file.set_size(survey.durable_end)?;
                file.sync()
            });
        cut.map_err(|error| io_error("cutting", &survey.last_path, &error))?;
        Ok(writer)
    }

    fn start_writer(
        &self,
        header: SegmentHeader,
        rescued: Vec<super::journal::writer::Pending>,
    ) -> Result<JournalWriter, OpenError> {
        let start = || {
            JournalWriter::start(
                self.disk.clone(),
                self.journal_dir.clone(),
                header,
                &rescued,
                self.options.first_segment_bytes,
                self.options.segment_bytes,
            )
        };
        let started = match start() {
            Err(error) if is_full(&error) => {
                // This is what the reserve is for.
                drop_ballast(self.disk.as_ref(), &self.options).and_then(|_| start())
            }
            started => started,
        };
        started.map_err(|error| self.refused("starting a segment in", &self.journal_dir, &error))
    }

    pub(super) fn refused(&self, operation: &str, path: &Path, error: &io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::ReadOnly {
                    path: self.options.dir.clone(),
                    detail: error.to_string(),
                }
            }
            _ if is_full(error) => OpenError::Full {
                path: self.options.dir.clone(),
                needed: self.options.first_segment_bytes,
            },
            _ => io_error(operation, path, error),
        }
    }

    /// What is left when the journal can be written to.
    fn finish(
        &self,
        parts: Parts,
        lock: Box<dyn LockGuard>,
        clock: Arc<dyn Clock>,
        driving: Driving,
        began: Timestamp,
    ) -> Result<(Store, Recovered), OpenError> {
        let unfinished = self.journal_dir.join(UNFINISHED);
        match self.disk.remove(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("removing", &unfinished, &error));
            }
            _ => {}
        }
        let format = self.options.dir.join("FORMAT");
        if self.read_format()?.is_none() {
            replace_file(self.disk.as_ref(), &format, &seal(FORMAT_MAGIC, &[]))
                .map_err(|error| self.refused("writing", &format, &error))?;
        }
        let running_path = self.cell_dir.join("running");
        let memory = self
            .disk
            .shared(&running_path, RUNNING_BYTES)
            .map_err(|error| self.refused("mapping", &running_path, &error))?;
        let mut recovered = parts.recovered;
        let running = Running::new(memory, self.number, parts.lineage.incarnation);
        if recovered.clean {
            running.forget();
        } else {
            // Of any earlier opening: the last may have died before it could charge for them.
            recovered.interrupted = running.interrupted();
        }
        // Cut to what `CHECKPOINT` speaks of; what came after is in memory, from the journal.
        let (log, gaps) = EventLog::open(
            self.disk.clone(),
            &self.cell_dir.join("events"),
            self.options.events,
            parts.logged_events,
        )
        .map_err(|error| self.engine_failed(&error))?;
        if !gaps.is_empty() {
            tracing::warn!(?gaps, "published events are missing from the event log");
        }
        parts.state.published.keep_in(log);
        remove_unnamed(
            self.disk.as_ref(),
            &self.cell_dir,
            parts.checkpointer.spilled(),
        )
        .map_err(|error| self.failed("tidying the spilled messages of", &error))?;
        Snapshot::remove_unfinished(self.disk.as_ref(), &snapshots_dir(&self.cell_dir))
            .map_err(|error| self.failed("tidying the snapshots of", &error))?;
        match take_ballast(self.disk.as_ref(), &self.options) {
            Err(error) if !is_full(&error) => {
                return Err(io_error("reserving space in", &self.cell_dir, &error));
            }
            Ok(()) | Err(_) => {}
        }
        let core = Core::new(
            self.options.clone(),
            self.disk.clone(),
            clock.clone(),
            parts.engine,
            driving,
            parts.lineage,
            self.number,
            parts.writer,
            parts.state,
            parts.cell,
            parts.checkpointer,
            parts.segments,
            running,
            lock,
        );
        let store = Store::start(core).map_err(|error| OpenError::Io {
            operation: "starting the store of".to_owned(),
            path: self.options.dir.clone(),
            detail: error.to_string(),
        })?;
        recovered.took = clock.wall().since(began);
        Ok((store, recovered))
    }
}

/// The directory that has the name of another one, which for a name alone is the present one.
fn directory_of(dir: &Path) -> Option<&Path> {
    dir.parent()
        .map(|parent| match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a new data directory that was given as a name alone was not made durable: a
    /// power loss could take the whole directory with it.
    #[test]
    fn a_name_alone_is_in_the_present_directory() {
        assert_eq!(directory_of(Path::new("data")), Some(Path::new(".")));
        assert_eq!(directory_of(Path::new("a/data")), Some(Path::new("a")));
        assert_eq!(directory_of(Path::new("/data")), Some(Path::new("/")));
        assert_eq!(directory_of(Path::new("/")), None);
    }

    #[test]
    fn golden_bytes_of_format() {
        let expected: &[u8] = &[
            b'R', b'D', b'L', b'V', b'D', b'A', b'T', b'A', 1, 0, 0, 0, 0, 0, 0, 0, 0x04, 0xdf,
            0x49, 0x45,
        ];
        assert_eq!(seal(FORMAT_MAGIC, &[]), expected);
    }
}
