//! Verifying: what a data directory or a backup holds, and whether all of it can be read.
//!
//! It takes the directory's lock, so that nobody writes meanwhile, and changes nothing else. The
//! same code reads and decides as in an opening; beyond that it reads what an opening leaves for
//! later: journal segments before the checkpoint, every snapshot, the whole event log. The engine
//! is not read: an opening makes it again if it does not fit, and what that takes is verified.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::backup::{BackupError, BackupInfo, inspect_backup};
use super::checkpoint::CheckpointFile;
use super::content::{Content, Counting};
use super::disk::{Disk, OpenMode};
use super::events;
use super::format::{FORMAT_VERSION, Malformed, Unsealed};
use super::journal::body;
use super::journal::reader::{JournalReader, damaged};
use super::open::{Looked, Opening};
use super::restore::Predecessor;
use super::snapshot::Snapshot;
use super::snapshots::{list_snapshots, snapshots_dir};
use super::spill::{SpillFile, SpillReader, spill_dir};
use crate::commit::{EventNumber, Position, Sequence, StreamId};
use crate::error::{OpenError, StoreError};

/// What stands directly in a cell's directory and what it is for.
const KNOWN: [&str; 9] = [
    "journal",
    "CHECKPOINT",
    "RESTORED",
    "snapshots",
    "events",
    // The messages of a long backlog.
    "spill",
    "sled",
    "running",
    "ballast",
];

/// Nothing could be verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is neither a data directory nor a file.
    #[error("there is no data directory and no backup at {path}; name the one to verify")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It cannot be locked.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk refused an operation.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verified {
    /// A data directory.
    DataDirectory(DirectoryReport),
    /// A backup.
    Backup(BackupReport),
}

impl Verified {
    /// What is wrong with it: nothing if this is empty.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Verified::DataDirectory(report) => &report.problems,
            Verified::Backup(report) => &report.problems,
        }
    }
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or directory.
    pub file: PathBuf,
    /// What is wrong and what to do, in one sentence.
    pub sentence: String,
}

/// A backup, verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The file.
    pub path: PathBuf,
    /// What it is; none if it cannot be read from end to end.
    pub backup: Option<BackupInfo>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// A data directory, verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectoryReport {
    /// The directory.
    pub path: PathBuf,
    /// The format of its files; none if `FORMAT` is missing or cannot be read.
    pub format: Option<u32>,
    /// Its cells.
    pub cells: Vec<CellReport>,
    /// What else stands in it: the host's, not verified and in no backup.
    pub others: Vec<String>,
    /// What is wrong, in all cells.
    pub problems: Vec<Problem>,
}

/// One cell, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CellReport {
    /// Its name.
    pub name: String,
    /// Names the continuous history of its sequence numbers.
    pub incarnation: Option<String>,
    /// Where it comes from, if it was restored from a backup.
    pub restored: Option<RestoredReport>,
    /// The last commit.
    pub position: Option<u64>,
    /// Whether the last process ended in good order.
    pub clean: bool,
    /// Remains of the last group of a process that died, of which nobody was told: the next start
    /// cuts them off.
    pub torn_bytes: u64,
    /// Where replay would begin.
    pub checkpoint: Option<u64>,
    /// The journal.
    pub journal: Vec<SegmentReport>,
    /// The snapshots, oldest first.
    pub snapshots: Vec<SnapshotReport>,
    /// The files of messages that wait for their receivers, beyond what memory holds.
    pub spilled: SpilledReport,
    /// The event log, without the events that only the journal has yet.
    pub events: EventsReport,
    /// What a lost materialised state would be made from.
    pub rebuild: RebuildReport,
    /// The materialised state: what it takes; it is not read.
    pub engine: EngineReport,
    /// What interrupted writers have left. It does no harm.
    pub unfinished: Vec<String>,
    /// Files that are none of the cell's.
    pub unknown: Vec<String>,
}

/// Where a cell comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredReport {
    /// The incarnation that the backup was taken of.
    pub predecessor: String,
    /// The last commit known of it.
    pub position: u64,
    /// The last event known of it.
    pub last_event: u64,
    /// When the backup was taken.
    pub taken_at: String,
    /// When it was restored.
    pub restored_at: String,
}

/// A segment of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// The position that it begins with.
    pub first: u64,
    /// The last position in it, as far as it can be read; one less than `first` if it has none.
    pub last: Option<u64>,
    /// How long the file is.
    pub bytes: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotReport {
    /// Its file.
    pub file: String,
    /// Its position, from its name.
    pub position: u64,
    /// What is in it; none if it cannot be read from end to end.
    pub content: Option<Content>,
    /// Its rows.
    pub rows: u64,
    /// How long the file is.
    pub bytes: u64,
}

/// Files of spilled messages that the checkpoint or a snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SpilledReport {
    /// How many there are.
    pub files: usize,
    /// How long they are together.
    pub bytes: u64,
}

/// The event log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EventsReport {
    /// Its files.
    pub segments: usize,
    /// The oldest event in them.
    pub first: Option<u64>,
    /// The newest event that must be in them.
    pub last: u64,
    /// How long they are together.
    pub bytes: u64,
}

/// What a lost materialised state would be made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RebuildReport {
    /// Whether it could be made.
    pub possible: bool,
    /// From the snapshot at this position; from the journal alone if none.
    pub snapshot: Option<u64>,
    /// And from so many commits behind it.
    pub commits: u64,
}

/// The files of the materialised state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EngineReport {
    /// Whether there is anything.
    pub present: bool,
    /// How long the files are together.
    pub bytes: u64,
}

/// Reads a data directory or a backup from end to end and says what is there and what is wrong.
pub fn verify(disk: Arc<dyn Disk>, path: &Path) -> Result<Verified, VerifyError> {
    let missing = || VerifyError::Missing {
        path: path.to_owned(),
    };
    let holds = match disk.list(path) {
        Ok(holds) => holds,
        Err(error) if is_no_directory(&error) => {
            return match disk.open(path, OpenMode::Read) {
                Ok(_) => verify_backup(disk.as_ref(), path),
                Err(error) if is_no_directory(&error) => Err(missing()),
                Err(error) => Err(StoreError::io("reading", path, &error).into()),
            };
        }
        Err(error) => return Err(StoreError::io("listing", path, &error).into()),
    };
    let is_ours = |path: &PathBuf| named(path, "FORMAT") || named(path, "cells");
    if !holds.iter().any(is_ours) {
        return Err(missing());
    }
    verify_directory(disk, path, &holds).map(Verified::DataDirectory)
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn verify_backup(disk: &dyn Disk, path: &Path) -> Result<Verified, VerifyError> {
    let (backup, problems) = match inspect_backup(disk, path) {
        Ok(info) => (Some(info), Vec::new()),
        Err(BackupError::Store(error)) => return Err(error.into()),
        Err(error) => {
            let problem = Problem {
                file: path.to_owned(),
                sentence: error.to_string(),
            };
            (None, vec![problem])
        }
    };
    Ok(Verified::Backup(BackupReport {
        path: path.to_owned(),
        backup,
        problems,
    }))
}

fn verify_directory(
    disk: Arc<dyn Disk>,
    dir: &Path,
    holds: &[PathBuf],
) -> Result<DirectoryReport, VerifyError> {
    let cells = match disk.list(&dir.join("cells")) {
        Ok(cells) => cells,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(StoreError::io("listing", &dir.join("cells"), &error).into()),
    };
    let opening = Opening::to_look(dir, "main", disk.clone());
    let _lock = opening.lock()?;
    let mut problems = Vec::new();
    let format = match opening.read_format() {
        Ok(found) => found.map(|()| FORMAT_VERSION),
        Err(error) => {
            problems.push(problem(error));
            None
        }
    };
    let has_format = format.is_some() || !problems.is_empty();
    let mut reports = Vec::new();
    for cell in &cells {
        let name = file_name(cell);
        let mut verifying = Verifying {
            opening: Opening::to_look(dir, &name, disk.clone()),
            report: CellReport {
                name,
                ..CellReport::default()
            },
            problems: &mut problems,
        };
        verifying.run(has_format)?;
        reports.push(verifying.report);
    }
    if reports.is_empty() && has_format {
        let detail = "it has no cells";
        problems.push(problem(damaged(dir, 0, Position(0), detail)));
    }
    let ours = ["LOCK", "FORMAT", "cells"];
    Ok(DirectoryReport {
        path: dir.to_owned(),
        format,
        cells: reports,
        others: holds
            .iter()
            .map(|path| file_name(path))
            .filter(|name| !ours.contains(&name.as_str()))
            .collect(),
        problems,
    })
}

/// One cell being verified.
struct Verifying<'a> {
    opening: Opening,
    report: CellReport,
    problems: &'a mut Vec<Problem>,
}

impl Verifying<'_> {
    fn run(&mut self, has_format: bool) -> Result<(), VerifyError> {
        self.list_files()?;
        self.read_predecessor()?;
        self.read_snapshots()?;
        let disk = self.opening.disk.clone();
        let found =
            JournalReader::open(disk.as_ref(), &self.opening.journal_dir, self.opening.cell);
        let journal = match found {
            Ok(Some(journal)) => journal,
            Ok(None) => {
                if has_format {
                    let detail = "the journal has no segments";
                    self.note(damaged(&self.opening.journal_dir, 0, Position(0), detail));
                }
                return Ok(());
            }
            Err(error) => {
                self.note(error);
                return Ok(());
            }
        };
        self.report.incarnation = Some(format!("{:016x}", journal.incarnation().0));
        let looked = match self.opening.look(&journal, has_format) {
            Ok(looked) => looked,
            Err(error) => {
                self.list_segments(&journal, None)?;
                self.note(error);
                return Ok(());
            }
        };
        self.list_segments(&journal, Some(looked.survey.end))?;
        self.report.position = Some(looked.survey.end.0);
        self.report.clean = looked.clean;
        self.report.torn_bytes = looked.survey.torn_bytes;
        let checkpoint = looked.checkpoint.position;
        self.report.checkpoint = (checkpoint > Position(0)).then_some(checkpoint.0);
        self.read_events(looked.checkpoint.last_event)?;
        self.read_spilled(&journal, &looked)?;
        self.read_journal(&journal, &looked);
        Ok(())
    }

    fn note(&mut self, error: OpenError) {
        self.problems.push(problem(error));
    }

    /// Notes damage that an opening does not meet while the engine is whole.
    fn note_dormant(&mut self, file: &Path, detail: &str) {
        let sentence = format!(
            "{} is damaged: {detail}; the data directory still opens as long as its sled is whole: start it and take a backup at once, or restore the newest backup",
            file.display()
        );
        self.problems.push(Problem {
            file: file.to_owned(),
            sentence,
        });
    }

    fn list_files(&mut self) -> Result<(), StoreError> {
        let dir = self.opening.cell_dir.clone();
        for path in self.list(&dir)? {
            let name = file_name(&path);
            if is_unfinished(&path) {
                self.report.unfinished.push(name);
            } else if !KNOWN.contains(&name.as_str()) {
                self.report.unknown.push(name);
            }
        }
        for (folder, ending) in [
            ("journal", "seg"),
            ("snapshots", "snap"),
            ("events", "events"),
        ] {
            for path in self.list(&dir.join(folder))? {
                let name = format!("{folder}/{}", file_name(&path));
                // As those who read them do: what is not named by a number is none.
                let numbered = path
                    .file_stem()
                    .and_then(|stem| stem.to_str())
                    .is_some_and(|stem| stem.parse::<u64>().is_ok());
                if is_unfinished(&path) {
                    self.report.unfinished.push(name);
                } else if !numbered || path.extension() != Some(ending.as_ref()) {
                    self.report.unknown.push(name);
                }
            }
        }
        for path in self.list(&dir.join("sled"))? {
            self.report.engine.present = true;
            self.report.engine.bytes += self.size(&path).unwrap_or_default();
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
        match self.opening.disk.list(dir) {
            Ok(paths) => Ok(paths),
            // Whoever needs what should be in it finds out.
            Err(error) if is_no_directory(&error) => Ok(Vec::new()),
            Err(error) => Err(StoreError::io("listing", dir, &error)),
        }
    }

    fn size(&self, path: &Path) -> Result<u64, StoreError> {
        let file = self.opening.disk.open(path, OpenMode::Read);
        file.and_then(|file| file.size())
            .map_err(|error| StoreError::io("reading", path, &error))
    }

    fn read_predecessor(&mut self) -> Result<(), StoreError> {
        let cell_dir = &self.opening.cell_dir;
        let path = Predecessor::path(cell_dir);
        let read = Predecessor::read(self.opening.disk.as_ref(), cell_dir);
        match read.map_err(|error| StoreError::io("reading", &path, &error))? {
            None => {}
            Some(Ok(from)) => {
                self.report.restored = Some(RestoredReport {
                    predecessor: format!("{:016x}", from.incarnation.0),
                    position: from.position.0,
                    last_event: from.last_event.0,
                    taken_at: from.taken_at.rfc3339(),
                    restored_at: from.restored_at.rfc3339(),
                });
            }
            Some(Err(Unsealed::Newer { found, known })) => {
                self.note(OpenError::NewerFormat { path, found, known });
            }
            Some(Err(Unsealed::Damaged(detail))) => self.problems.push(Problem {
                sentence: format!(
                    "{} is damaged: {detail}; it says only where the cell was restored from, and without \
                     it readers of events from before then begin anew: once they are back, remove it",
                    path.display()
                ),
                file: path,
            }),
        }
        Ok(())
    }

    fn read_snapshots(&mut self) -> Result<(), StoreError> {
        let disk = self.opening.disk.clone();
        let dir = snapshots_dir(&self.opening.cell_dir);
        for (position, path) in list_snapshots(disk.as_ref(), &dir)? {
            let mut report = SnapshotReport {
                file: format!("snapshots/{}", file_name(&path)),
                position: position.0,
                content: None,
                rows: 0,
                bytes: self.size(&path)?,
            };
            match read_snapshot(disk.as_ref(), &path, position) {
                Ok((content, rows)) => {
                    report.content = Some(content);
                    report.rows = rows;
                }
                Err(StoreError::Damaged { detail, .. }) => self.note_dormant(&path, &detail),
                Err(StoreError::NewerFormat { found, known, .. }) => {
                    self.note(OpenError::NewerFormat { path, found, known });
                }
                Err(error) => return Err(error),
            }
            self.report.snapshots.push(report);
        }
        Ok(())
    }

    /// The segments, and how far each goes: up to the next, the last to the journal's end.
    fn list_segments(
        &mut self,
        journal: &JournalReader<'_>,
        end: Option<Position>,
    ) -> Result<(), StoreError> {
        let nexts = journal.headers().skip(1).map(|(_, next)| next.first.0 - 1);
        let lasts: Vec<Option<u64>> = nexts.map(Some).chain([end.map(|end| end.0)]).collect();
        for ((path, header), last) in journal.headers().zip(lasts) {
            let report = SegmentReport {
                file: format!("journal/{}", file_name(path)),
                first: header.first.0,
                last,
                bytes: self.size(path)?,
            };
            self.report.journal.push(report);
        }
        Ok(())
    }

    fn read_events(&mut self, last: EventNumber) -> Result<(), StoreError> {
        let dir = self.opening.cell_dir.join("events");
        let found = match events::inspect(self.opening.disk.as_ref(), &dir, last) {
            Ok(found) => found,
            Err(StoreError::NewerFormat { found, known, .. }) => {
                self.note(OpenError::NewerFormat {
                    path: dir,
                    found,
                    known,
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.report.events = EventsReport {
            segments: found.len(),
            first: found.first().map(|segment| segment.first.0),
            last: last.0,
            bytes: found.iter().map(|segment| segment.bytes).sum(),
        };
        for segment in found {
            let gaps: Vec<String> = segment
                .missing
                .iter()
                .map(|gap| format!("{} to {}", gap.first.0, gap.last.0))
                .collect();
            let detail = match (gaps.is_empty(), segment.has_head) {
                (true, true) => continue,
                (true, false) => "its head cannot be read".to_owned(),
                (false, _) => format!("events {} cannot be read", gaps.join(", ")),
            };
            self.problems.push(Problem {
                sentence: format!(
                    "{} is damaged: {detail}; the data directory opens and tells its readers of the gap: restore the newest backup if these events matter",
                    segment.path.display()
                ),
                file: segment.path,
            });
        }
        Ok(())
    }

    /// The files of spilled messages that the checkpoint or a snapshot names, but for those that
    /// their receivers have passed: an opening needs them no more.
    fn read_spilled(
        &mut self,
        journal: &JournalReader<'_>,
        looked: &Looked,
    ) -> Result<(), VerifyError> {
        let disk = self.opening.disk.clone();
        let cell_dir = self.opening.cell_dir.clone();
        let dir = spill_dir(&cell_dir);
        let mut needed: BTreeMap<SpillFile, bool> = BTreeMap::new();
        for (_, path) in list_snapshots(disk.as_ref(), &snapshots_dir(&cell_dir))? {
            let meta = Snapshot::rows(disk.as_ref(), &path)
                .map(|rows| CheckpointFile::decode(rows.meta()));
            // What cannot be read has been noted.
            if let Ok(Ok(checkpoint)) = meta {
                needed.extend(checkpoint.spilled.iter().map(|file| (*file, false)));
            }
        }
        let of_checkpoint = looked.checkpoint.spilled.iter();
        needed.extend(of_checkpoint.map(|file| (*file, true)));
        let passed = match needed.is_empty() {
            true => HashMap::new(),
            false => self.consumed(journal, looked.survey.end),
        };
        let named: BTreeSet<PathBuf> = needed.keys().map(|file| file.path(&dir)).collect();
        for path in self.list(&dir)? {
            let name = format!("spill/{}", file_name(&path));
            if path.extension() != Some("spill".as_ref()) && !is_unfinished(&path) {
                self.report.unknown.push(name);
            } else if !named.contains(&path) {
                self.report.unfinished.push(name);
            }
        }
        for (file, is_current) in needed {
            if passed
                .get(&file.stream)
                .is_some_and(|mark| *mark >= file.last)
            {
                continue;
            }
            self.report.spilled.files += 1;
            self.report.spilled.bytes += file.size;
            let path = file.path(&dir);
            let read = SpillReader::open(disk.as_ref(), &dir, file).and_then(SpillReader::verify);
            match read {
                Ok(()) => {}
                Err(StoreError::Damaged { detail, .. }) if is_current => {
                    self.note(damaged(&path, 0, looked.survey.end, &detail));
                }
                Err(StoreError::Damaged { detail, .. }) => self.note_dormant(&path, &detail),
                Err(StoreError::NewerFormat { found, known, .. }) => {
                    self.note(OpenError::NewerFormat { path, found, known });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// How far the journal says that each stream's receiver has come.
    fn consumed(&self, journal: &JournalReader<'_>, end: Position) -> HashMap<StreamId, Sequence> {
        let mut consumed = HashMap::new();
        let before = Position(journal.first().0.saturating_sub(1));
        // Where it cannot be read it ends too early, and a file more is read.
        let _ = journal.replay(before, end, &mut |_, bytes| {
            if let Ok((commit, _)) = body::decode(bytes)
                && let Some(moved) = commit.mark
            {
                let id = StreamId {
                    sender: moved.sender,
                    receiver: commit.service,
                };
                consumed.insert(id, moved.mark.consumed);
            }
            Ok(())
        });
        consumed
    }

    /// All of the journal, and what an engine would be made from.
    fn read_journal(&mut self, journal: &JournalReader<'_>, looked: &Looked) {
        let end = looked.survey.end;
        let before = Position(journal.first().0.saturating_sub(1));
        let whole = journal.survey(before).and_then(|_| {
            journal.replay(before, end, &mut |position, bytes| {
                let malformed = |Malformed(detail): Malformed| {
                    damaged(&self.opening.journal_dir, 0, position, detail)
                };
                body::decode(bytes).map(drop).map_err(malformed)
            })
        });
        if let Err(OpenError::Damaged { file, detail, .. }) = &whole {
            self.note_dormant(file, detail);
        } else if let Err(error) = whole {
            self.note(error);
        }
        match self.opening.rebuild_from(journal, end) {
            Ok(found) => {
                let from = found.map(|(position, _)| position);
                self.report.rebuild = RebuildReport {
                    possible: true,
                    snapshot: from.map(|position| position.0),
                    commits: end.0 - from.unwrap_or_default().0,
                };
            }
            Err(OpenError::Damaged { file, detail, .. }) => {
                if self.problems.iter().all(|known| known.file != file) {
                    self.note_dormant(&file, &detail);
                }
            }
            Err(error) => self.note(error),
        }
    }
}

/// All of a snapshot that an engine could be made from.
fn read_snapshot(
    disk: &dyn Disk,
    path: &Path,
    position: Position,
) -> Result<(Content, u64), StoreError> {
    let rows = Snapshot::rows(disk, path)?;
    if rows.position() != position {
        return Err(StoreError::damaged(
            path,
            "it is named for another position",
        ));
    }
    let checkpoint = CheckpointFile::decode(rows.meta())
        .map_err(|_| StoreError::damaged(path, "its meta data cannot be read"))?;
    let mut counting = Counting::default();
    let mut count = 0;
    for row in rows {
        let (table, key, value) = row?;
        count += 1;
        counting
            .row(table, &key, &value)
            .map_err(|malformed| StoreError::damaged(path, malformed.0))?;
    }
    Ok((counting.content(&checkpoint.spilled), count))
}

fn problem(error: OpenError) -> Problem {
    let file = match &error {
        OpenError::Damaged { file, .. } => file.clone(),
        OpenError::InUse { path, .. }
        | OpenError::ReadOnly { path, .. }
        | OpenError::NewerFormat { path, .. }
        | OpenError::Full { path, .. }
        | OpenError::Io { path, .. } => path.clone(),
    };
    Problem {
        file,
        sentence: error.to_string(),
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.extension() == Some("tmp".as_ref())
}

fn named(path: &Path, name: &str) -> bool {
    path.file_name() == Some(name.as_ref())
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
