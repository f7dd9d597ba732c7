//! Opening: lock, verify, recover, and only then write.
//!
//! ```text
//! lock ─► FORMAT ─► journal headers ─► CHECKPOINT ─► survey to the end ─► engine fits? ─► replay
//!      ─► new segment with the rescued tail ─► open
//! ```
//!
//! Whatever is found damaged is found before the first byte is changed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::{CheckpointFile, Checkpointer, Claim};
use super::disk::{Disk, LockGuard, Locking, OpenMode};
use super::engine::{Direction, Engine, EngineFactory};
use super::events::EventLog;
use super::format::{FORMAT_VERSION, Malformed, Unsealed, read_file, replace_file, seal, unseal};
use super::journal::body;
use super::journal::reader::{JournalReader, Survey, damaged, io_error};
use super::journal::segment::{SegmentHeader, cell_hash, segment_path};
use super::journal::writer::{JournalWriter, UNFINISHED, is_full};
use super::options::{Driving, StoreOptions};
use super::running::{Interrupted, RUNNING_BYTES, Running};
use super::snapshot::Snapshot;
use super::snapshots::{each_engine_row, list_snapshots, load_snapshot, snapshots_dir};
use super::space::take_ballast;
use super::state::{Cell, Given, State};
use super::store::{Core, Store};
use super::streams::{read_entry_key, read_stream_key, read_stream_row};
use super::tables::{CATALOG, OUTBOX, STREAMS, whole_table};
use crate::clock::{Clock, Timestamp};
use crate::commit::{EventNumber, Incarnation, Position, TableId};
use crate::error::{OpenError, StoreError};

const FORMAT_MAGIC: &[u8; 8] = b"RDLVDATA";

/// Rows per page when the engine is read from end to end.
const PAGE_ROWS: usize = 1024;

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
    /// What handlers had in hand when the process died.
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
        let found = JournalReader::open(opening.disk.as_ref(), &opening.journal_dir, opening.cell);
        let found = match found {
            Err(OpenError::Io { .. }) if format.is_none() => None,
            found => found?,
        };
        let parts = match found {
            None if format.is_some() => {
                let detail = "the journal has no segments";
                return Err(damaged(&opening.journal_dir, 0, Position(0), detail));
            }
            None => opening.create(Incarnation(clock.entropy()))?,
            Some(journal) => opening.recover(&journal, format.is_some())?,
        };
        opening.finish(parts, lock, clock, driving, began)
    }
}

/// An opening under way.
struct Opening {
    options: StoreOptions,
    cell_dir: PathBuf,
    journal_dir: PathBuf,
    cell: u64,
    number: u64,
    disk: Arc<dyn Disk>,
    engines: Arc<dyn EngineFactory>,
}

/// What an opening has put together.
struct Parts {
    incarnation: Incarnation,
    engine: Arc<dyn Engine>,
    state: State,
    cell: Cell,
    writer: JournalWriter,
    checkpointer: Checkpointer,
    segments: VecDeque<(u64, Position)>,
    recovered: Recovered,
    /// The last event that the event log should have.
    logged_events: EventNumber,
    /// The opening before this one, if it did not end in good order.
    unclean: Option<u64>,
}

impl Opening {
    fn lock(&self) -> Result<Box<dyn LockGuard>, OpenError> {
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
    fn read_format(&self) -> Result<Option<()>, OpenError> {
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
            Unsealed::Newer(found) => OpenError::NewerFormat {
                path: self.options.dir.clone(),
                found,
                known: FORMAT_VERSION,
            },
            Unsealed::Damaged(detail) => damaged(path, 0, Position(0), detail),
        }
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
            incarnation,
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
            unclean: None,
        })
    }

    fn create_dirs(&self) -> Result<(), OpenError> {
        let dir = &self.options.dir;
        let cells = dir.join("cells");
        let created = self.disk.create_dir(&self.journal_dir).and_then(|()| {
            // From the leaf to the root; each name is durable when its parent is synced.
            for dir in [&self.journal_dir, &self.cell_dir, &cells, dir] {
                self.disk.sync_dir(dir)?;
            }
            match dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => self.disk.sync_dir(parent),
                _ => Ok(()),
            }
        });
        created.map_err(|error| self.refused("creating", &self.journal_dir, &error))
    }

    fn recover(&self, journal: &JournalReader<'_>, has_format: bool) -> Result<Parts, OpenError> {
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
        let clean = checkpoint.clean
            && checkpoint.opening == survey.last.opening
            && checkpoint.position == survey.end;
        let (base, engine, doubtful, rebuilt) = self.engine_at(journal, &checkpoint, &survey)?;
        let (state, mut cell) = self.restore(engine.as_ref(), &base, doubtful)?;
        let mut commits = 0;
        journal.replay(base.position, survey.end, &mut |position, bytes| {
            commits += 1;
            let malformed =
                |Malformed(detail): Malformed| damaged(&self.journal_dir, 0, position, detail);
            let (commit, numbers) = body::decode(bytes).map_err(malformed)?;
            cell.uncheckpointed_bytes += bytes.len() as u64;
            state
                .apply(&mut cell, commit, Given::Replayed(&numbers))
                .map_err(malformed)?;
            Ok(())
        })?;
        for id in state.streams.ids() {
            if !state.streams.with(id, |stream| stream.is_whole()) {
                let detail = format!(
                    "messages of the stream from service {} to {} are missing",
                    id.sender.0, id.receiver.0
                );
                return Err(damaged(&self.cell_dir, 0, survey.end, &detail));
            }
        }
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
        let unclean = (!clean).then_some(survey.last.opening);
        let mut segments: VecDeque<_> = journal.segments().into();
        let writer = self.continue_journal(journal.incarnation(), survey)?;
        segments.push_back(writer.segment());
        Ok(Parts {
            incarnation: journal.incarnation(),
            engine,
            state,
            cell,
            writer,
            checkpointer,
            segments,
            recovered,
            logged_events: checkpoint.last_event,
            unclean,
        })
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

    /// An engine that fits the journal, and the checkpoint it is at: the one on disk if it can be
    /// trusted, otherwise a rebuilt one. Also whether it may hold parts of a later checkpoint.
    #[allow(clippy::type_complexity)]
    fn engine_at(
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

    /// A new engine from the journal.
    fn rebuild(
        &self,
        journal: &JournalReader<'_>,
        survey: &Survey,
    ) -> Result<(CheckpointFile, Arc<dyn Engine>), OpenError> {
        let failed = |error: &StoreError| self.engine_failed(error);
        let found = self.whole_snapshot()?;
        let from = found
            .as_ref()
            .map_or(Position(0), |(position, _)| *position);
        if journal.first().0 > from.0 + 1 {
            let detail = "the engine cannot be rebuilt: there is no whole snapshot to start from";
            return Err(damaged(&self.cell_dir, 0, survey.end, detail));
        }
        // The journal from there on must be whole before anything is given up for it.
        journal.survey(from)?;
        self.engines.destroy().map_err(|error| failed(&error))?;
        let engine = self.open_engine()?;
        let Some((position, path)) = found else {
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

    /// The newest snapshot that can be read from end to end.
    fn whole_snapshot(&self) -> Result<Option<(Position, PathBuf)>, OpenError> {
        let dir = snapshots_dir(&self.cell_dir);
        let snapshots =
            list_snapshots(self.disk.as_ref(), &dir).map_err(|error| self.engine_failed(&error))?;
        for (position, path) in snapshots.into_iter().rev() {
            match Snapshot::verify(self.disk.as_ref(), &path) {
                Ok(info) if info.position == position => return Ok(Some((position, path))),
                Ok(_) => tracing::warn!(?path, "a snapshot is named for another position"),
                Err(error) => tracing::warn!(?path, %error, "a snapshot cannot be used"),
            }
        }
        Ok(None)
    }

    /// Remembers the newest snapshot and how much has been journaled since.
    fn note_snapshot(
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

    fn open_engine(&self) -> Result<Arc<dyn Engine>, OpenError> {
        self.engines
            .open()
            .map(Arc::from)
            .map_err(|error| self.engine_failed(&error))
    }

    fn engine_failed(&self, error: &StoreError) -> OpenError {
        OpenError::Io {
            operation: "opening the engine of".to_owned(),
            path: self.cell_dir.clone(),
            detail: error.to_string(),
        }
    }

    /// Names and streams as the engine has them.
    fn restore(
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
        JournalWriter::start(
            self.disk.clone(),
            self.journal_dir.clone(),
            header,
            rescued,
            self.options.first_segment_bytes,
            self.options.segment_bytes,
        )
        .map_err(|error| self.refused("starting a segment in", &self.journal_dir, &error))
    }

    fn refused(&self, operation: &str, path: &Path, error: &io::Error) -> OpenError {
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
        if let Some(before) = parts.unclean {
            recovered.interrupted = Running::interrupted(&memory, before);
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
            parts.incarnation,
            self.number,
            parts.writer,
            parts.state,
            parts.cell,
            parts.checkpointer,
            parts.segments,
            Running::new(memory, self.number),
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
