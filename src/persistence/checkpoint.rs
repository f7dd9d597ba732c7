//! The checkpoint: brings the engine up to one position, so that replay starts there.
//!
//! ```text
//! freeze at P ─► durable ≥ P ─► spill ─► claim "from P0 to P" ─► net content ─► "all of P" ─► sync
//!             ─► CHECKPOINT = P ─► release
//! ```
//!
//! A crash anywhere before `CHECKPOINT` leaves an engine that holds any part of what lies between
//! P0 and P; replay from P0 overwrites all of it. The claim, made durable first, says so. The last
//! row says that all the others came before it: an engine that is damaged may forget, without a
//! word, everything it was given after some moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::engine::Engine;
use super::format::{
    Decoder, Malformed, Unsealed, put_slice, put_varint, replace_file, seal_as, unseal_to,
};
use super::journal::writer::is_full;
use super::spill::{self, SpillFile};
use super::store::{Core, Damage, Space};
use super::streams::{FrozenStream, entry_key, stream_key, stream_row};
use super::tables::{CLAIM, FIRST_TABLE, Layer, OUTBOX, STREAMS, engine_key, table_and_key};
use super::writing::locked;
use crate::clock::Timestamp;
use crate::commit::{EventNumber, Position, Sequence, StreamId, TableId};
use crate::error::StoreError;
use crate::planted::PlantedBug;

/// Rows per batch; measured to be a good size for sled.
const BATCH_ROWS: usize = 128;

const MAGIC: &[u8; 8] = b"RDLVCKPT";
/// The format of a `CHECKPOINT` that names no files, and of the first ones ever written.
const PLAIN_FORMAT: u32 = 1;
/// The format of one that does, and the newest read here: who knows nothing of the files has to
/// refuse it, or their messages would be missing.
const SPILLED_FORMAT: u32 = 2;

/// What the file `CHECKPOINT` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CheckpointFile {
    /// The engine holds everything up to here.
    pub(crate) position: Position,
    /// The newest time of any commit up to here.
    pub(crate) newest: Timestamp,
    pub(crate) last_event: EventNumber,
    /// The opening that wrote this.
    pub(crate) opening: u64,
    /// Whether that opening ended with it, in good order.
    pub(crate) clean: bool,
    /// The run of the machine in which it was written.
    pub(crate) boot_id: String,
    /// Rows of each table in the engine.
    pub(crate) counts: BTreeMap<TableId, u64>,
    /// The files of spilled messages that belong to it, by stream and number.
    pub(crate) spilled: Vec<SpillFile>,
}

impl CheckpointFile {
    pub(crate) fn path(cell_dir: &Path) -> PathBuf {
        cell_dir.join("CHECKPOINT")
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_varint(&mut body, self.position.0);
        body.extend_from_slice(&self.newest.0.to_le_bytes());
        put_varint(&mut body, self.last_event.0);
        body.extend_from_slice(&self.opening.to_le_bytes());
        body.push(u8::from(self.clean));
        put_slice(&mut body, self.boot_id.as_bytes());
        put_counts(&mut body, &self.counts);
        spill::put_files(&mut body, &self.spilled);
        let format = match self.spilled.is_empty() {
            true => PLAIN_FORMAT,
            false => SPILLED_FORMAT,
        };
        seal_as(format, MAGIC, &body)
    }

    pub(crate) fn decode(file: &[u8]) -> Result<CheckpointFile, Unsealed> {
        let read = |from: &mut Decoder<'_>| -> Result<CheckpointFile, Malformed> {
            Ok(CheckpointFile {
                position: Position(from.varint()?),
                newest: Timestamp(from.i64()?),
                last_event: EventNumber(from.varint()?),
                opening: from.u64()?,
                clean: from.flag()?,
                boot_id: from.string()?,
                counts: counts(from)?,
                spilled: spill::files(from)?,
            })
        };
        let mut from = Decoder::new(unseal_to(SPILLED_FORMAT, MAGIC, file)?);
        let checkpoint = read(&mut from).map_err(|Malformed(detail)| Unsealed::Damaged(detail))?;
        from.finish()
            .map_err(|Malformed(detail)| Unsealed::Damaged(detail))?;
        // A table counted twice, or files in a format without files.
        match checkpoint.encode() == file {
            true => Ok(checkpoint),
            false => Err(Unsealed::Damaged("it says what is never written")),
        }
    }
}

fn put_counts(to: &mut Vec<u8>, counts: &BTreeMap<TableId, u64>) {
    put_varint(to, counts.len() as u64);
    for (table, count) in counts {
        put_varint(to, u64::from(table.0));
        put_varint(to, *count);
    }
}

fn counts(from: &mut Decoder<'_>) -> Result<BTreeMap<TableId, u64>, Malformed> {
    let mut counts = BTreeMap::new();
    for _ in 0..from.varint()? {
        counts.insert(TableId(from.id()?), from.varint()?);
    }
    Ok(counts)
}

/// What the engine says about itself: it holds everything up to `from`, and any part of what lies
/// between that and `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) from: Position,
    pub(crate) to: Position,
}

impl Claim {
    fn key() -> Bytes {
        engine_key(CLAIM, b"claim")
    }

    pub(crate) fn read(engine: &dyn Engine) -> Result<Option<Claim>, StoreError> {
        let Some(row) = engine.get(&Claim::key())? else {
            return Ok(None);
        };
        let read = |from: &mut Decoder<'_>| -> Result<Claim, Malformed> {
            Ok(Claim {
                from: Position(from.u64()?),
                to: Position(from.u64()?),
            })
        };
        let mut from = Decoder::new(&row);
        read(&mut from)
            .map(Some)
            .map_err(|Malformed(detail)| StoreError::Damaged {
                what: "the engine's claim".to_owned(),
                detail: detail.to_owned(),
            })
    }

    pub(crate) fn write(self, engine: &dyn Engine) -> Result<(), StoreError> {
        let mut row = self.from.0.to_le_bytes().to_vec();
        row.extend_from_slice(&self.to.0.to_le_bytes());
        engine.apply(&[(Claim::key(), Some(row.into()))])?;
        // Durable before any of what it speaks of.
        engine.sync()
    }

    /// Whether the engine has what it claims to have from the beginning to the end. One that was
    /// made from a snapshot was given its claim last.
    pub(crate) fn is_whole(self, engine: &dyn Engine) -> Result<bool, StoreError> {
        let last = engine.get(&last_row_key())?;
        Ok(self.from == self.to || last.is_some_and(|row| row[..] == self.to.0.to_le_bytes()))
    }
}

fn last_row_key() -> Bytes {
    engine_key(CLAIM, b"last")
}

/// Gives the engine the last row of a checkpoint.
fn write_last_row(engine: &dyn Engine, position: Position) -> Result<(), StoreError> {
    let row = Bytes::copy_from_slice(&position.0.to_le_bytes());
    engine.apply(&[(last_row_key(), Some(row))]).map(drop)
}

/// Takes checkpoints, one at a time.
pub(crate) struct Checkpointer {
    base: Position,
    counts: BTreeMap<TableId, u64>,
    newest: Timestamp,
    last_event: EventNumber,
    spilled: Vec<SpillFile>,
    /// A checkpoint that waits for space.
    frozen: Option<Frozen>,
    /// The newest snapshot, and its size.
    pub(crate) snapshot: Position,
    pub(crate) snapshot_bytes: u64,
    /// What the journal's count of bytes was at that snapshot: negative if it was taken in an
    /// earlier opening.
    pub(crate) journal_bytes_at_snapshot: i64,
    /// The same for the last attempt, if it failed.
    pub(crate) snapshot_failed_at: Option<u64>,
}

/// The content of a checkpoint.
struct Frozen {
    position: Position,
    newest: Timestamp,
    last_event: EventNumber,
    tables: Vec<(TableId, Arc<Layer>)>,
    streams: Vec<FrozenStream>,
    /// The files that it has written so far.
    spilled: Vec<SpillFile>,
    /// Whether the engine has it.
    applied: bool,
}

impl Checkpointer {
    pub(crate) fn new(base: CheckpointFile) -> Checkpointer {
        Checkpointer {
            base: base.position,
            counts: base.counts,
            newest: base.newest,
            last_event: base.last_event,
            spilled: base.spilled,
            frozen: None,
            snapshot: Position(0),
            snapshot_bytes: 0,
            journal_bytes_at_snapshot: 0,
            snapshot_failed_at: None,
        }
    }

    /// What `CHECKPOINT` has to say.
    pub(crate) fn file(&self, core: &Core, clean: bool) -> CheckpointFile {
        CheckpointFile {
            position: self.base,
            newest: self.newest,
            last_event: self.last_event,
            opening: core.opening,
            clean,
            boot_id: core.disk.boot_id(),
            counts: self.counts.clone(),
            spilled: self.spilled.clone(),
        }
    }

    /// How many rows of each table the engine has been given.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (TableId, u64)> {
        self.counts.iter().map(|(table, rows)| (*table, *rows))
    }

    /// The table of a service with the most rows, if there is one.
    pub(crate) fn largest_table(&self) -> Option<TableId> {
        let tables = self.counts.range(FIRST_TABLE..);
        tables
            .max_by_key(|(_, rows)| **rows)
            .map(|(table, _)| *table)
    }

    /// The files that belong to it.
    pub(crate) fn spilled(&self) -> &[SpillFile] {
        &self.spilled
    }

    /// The files that belong to a checkpoint with this content: those whose messages have not all
    /// been consumed, and its own.
    fn spilled_with(&self, frozen: &Frozen) -> Vec<SpillFile> {
        let marks: BTreeMap<StreamId, Sequence> = frozen
            .streams
            .iter()
            .map(|stream| (stream.id, stream.mark.consumed))
            .collect();
        let is_passed = |file: &SpillFile| {
            marks
                .get(&file.stream)
                .is_some_and(|mark| file.last <= *mark)
        };
        let left = self.spilled.iter().filter(|file| !is_passed(file));
        let mut files: Vec<SpillFile> = left.chain(&frozen.spilled).copied().collect();
        files.sort();
        files
    }

    pub(crate) fn base(&self) -> Position {
        self.base
    }
}

/// What the engine may write for a byte that is checkpointed; it rewrites whole pages.
const ENGINE_BYTES_MAX: u64 = 4;

impl Core {
    /// One step of the checkpointer. Says whether there was anything to do.
    pub(crate) fn maintain(&self) -> Result<bool, StoreError> {
        self.check_open()?;
        match self.damage.get() {
            None => {}
            Some(Damage::Engine(error)) => {
                return Err(self.condemn(&locked(&self.checkpointer), error.clone()));
            }
            Some(Damage::Spilled(error)) => {
                self.close_because(match error {
                    // What to do is said of the closed cell.
                    StoreError::Damaged { what, detail } => format!("damaged {what}: {detail}"),
                    error => error.to_string(),
                });
                self.check_open()?;
            }
        }
        let bytes = self.cell().uncheckpointed_bytes;
        let due = bytes >= self.options.checkpoint_start_bytes;
        if self.mind_space()? {
            return Ok(true);
        }
        if due || self.is_snapshot_due() {
            self.make_room(bytes.saturating_mul(ENGINE_BYTES_MAX))?;
        }
        // First, because under load the next checkpoint is due as soon as one is taken, and a
        // snapshot begins with one.
        if self.is_snapshot_due() {
            self.snapshot()?;
            return Ok(true);
        }
        if due {
            self.checkpoint(false)?;
            self.trim_events()?;
            return Ok(true);
        }
        // Also while nothing happens: age alone makes events go.
        Ok(self.trim_events()? > 0)
    }

    fn trim_events(&self) -> Result<usize, StoreError> {
        let trimmed = self.state.published.trim(self.clock.wall());
        if let Err(StoreError::Closed { reason }) = &trimmed {
            // A sync of it has failed before.
            self.close_because(reason.clone());
        }
        trimmed
    }

    /// Brings the engine to the present. Returns the position it is at.
    pub(crate) fn checkpoint(&self, clean: bool) -> Result<Position, StoreError> {
        let mut checkpointer = locked(&self.checkpointer);
        self.checkpoint_with(&mut checkpointer, clean)
    }

    pub(crate) fn checkpoint_with(
        &self,
        checkpointer: &mut Checkpointer,
        clean: bool,
    ) -> Result<Position, StoreError> {
        self.check_open()?;
        // A large part of the waiting is done before anything is frozen.
        self.write_until(Position(self.queued.load(Ordering::Acquire)))?;
        let mut frozen = match checkpointer.frozen.take() {
            Some(frozen) => frozen,
            None => self.freeze(checkpointer.base),
        };
        if frozen.position == checkpointer.base && !clean {
            return Ok(frozen.position);
        }
        let taken = self.take_checkpoint(checkpointer, &mut frozen, clean);
        match taken {
            Ok(()) => Ok(frozen.position),
            Err(StoreError::Full) => {
                checkpointer.frozen = Some(frozen);
                Err(StoreError::Full)
            }
            Err(error) => {
                // The engine is in an unknown state; opening again replays or rebuilds it.
                self.close_because(error.to_string());
                Err(error)
            }
        }
    }

    fn freeze(&self, base: Position) -> Frozen {
        let mut cell = self.cell();
        // At the same position nothing is written, so nothing may be taken out of memory.
        let streams = match cell.last > base {
            true => self.state.streams.freeze(self.options.outbox_memory_bytes),
            false => Vec::new(),
        };
        cell.uncheckpointed_bytes = 0;
        self.gauges.uncheckpointed_bytes.store(0, Ordering::Relaxed);
        let mut streams = streams;
        if self.options.planted.is(PlantedBug::OutboxNotCheckpointed) {
            for stream in &mut streams {
                stream.added.drain(..stream.added.len().min(1));
            }
        }
        Frozen {
            position: cell.last,
            newest: cell.newest,
            last_event: cell.last_event,
            tables: self.state.tables.freeze(),
            streams,
            spilled: Vec::new(),
            applied: false,
        }
    }

    fn take_checkpoint(
        &self,
        checkpointer: &mut Checkpointer,
        frozen: &mut Frozen,
        clean: bool,
    ) -> Result<(), StoreError> {
        self.write_until(frozen.position)?;
        if self.options.planted.is(PlantedBug::SegmentDeletedEarly) {
            self.trim_journal(frozen.position)?;
        }
        let one_more = self.options.planted.is(PlantedBug::CheckpointTooHigh);
        let position = Position(frozen.position.0 + u64::from(one_more));
        self.spill(&frozen.streams, &mut frozen.spilled)?;
        if !frozen.applied && frozen.position > checkpointer.base {
            self.state.tables.wait_for_readers(&frozen.tables);
            let claim = Claim {
                from: checkpointer.base,
                to: position,
            };
            let engine = self.engine.as_ref();
            let counts = &mut checkpointer.counts;
            claim
                .write(engine)
                .and_then(|()| apply_rows(engine, rows(frozen), counts))
                .and_then(|()| write_last_row(engine, frozen.position))
                .and_then(|()| engine.sync())
                .map_err(|error| match error {
                    // Nobody knows how much an engine has taken that ran out of space, so this
                    // is not tried again; the next opening replays or rebuilds.
                    StoreError::Full => StoreError::Io {
                        operation: "writing the engine".to_owned(),
                        detail: "no space left".to_owned(),
                    },
                    error => error,
                })?;
            frozen.applied = true;
        }
        self.state.published.save(frozen.last_event)?;
        let spilled = checkpointer.spilled_with(frozen);
        let file = CheckpointFile {
            position,
            newest: frozen.newest,
            last_event: frozen.last_event,
            spilled: spilled.clone(),
            ..checkpointer.file(self, clean)
        };
        let path = CheckpointFile::path(&self.options.cell_dir());
        replace_file(self.disk.as_ref(), &path, &file.encode()).map_err(|error| {
            if is_full(&error) {
                return StoreError::Full;
            }
            StoreError::Io {
                operation: format!("writing {}", path.display()),
                detail: error.to_string(),
            }
        })?;
        self.state.tables.release();
        self.state.published.release(frozen.last_event);
        let before = std::mem::replace(&mut checkpointer.spilled, spilled);
        self.release_spilled(frozen);
        checkpointer.base = frozen.position;
        checkpointer.newest = frozen.newest;
        checkpointer.last_event = frozen.last_event;
        self.gauges
            .checkpoint
            .store(frozen.position.0, Ordering::Relaxed);
        let is_named = |file: &SpillFile| checkpointer.spilled.binary_search(file).is_ok();
        self.remove_spilled(before.into_iter().filter(|file| !is_named(file)));
        Ok(())
    }

    /// Lets go of the messages that are in files now.
    fn release_spilled(&self, frozen: &Frozen) {
        for stream in &frozen.streams {
            if stream.spilling.is_some() {
                let own: Vec<SpillFile> = frozen
                    .spilled
                    .iter()
                    .filter(|file| file.stream == stream.id)
                    .copied()
                    .collect();
                self.state
                    .streams
                    .with(stream.id, |stream| stream.spilled(&own));
            }
        }
    }

    /// Takes the writer's steps until a position is durable: the checkpointer never waits for a
    /// thread that may not exist.
    fn write_until(&self, position: Position) -> Result<(), StoreError> {
        while self.durable() < position {
            if !self.write_group()? && self.durable() < position {
                return Err(match self.space() {
                    Space::Exhausted => StoreError::Full,
                    Space::Ok | Space::Low => continue,
                });
            }
        }
        Ok(())
    }
}

/// All rows that a checkpoint changes in the engine.
fn rows(frozen: &Frozen) -> impl Iterator<Item = (Bytes, Option<Bytes>)> + '_ {
    let tables = frozen.tables.iter().flat_map(|(table, layer)| {
        layer
            .iter()
            .map(|(key, value)| (engine_key(*table, key), value.clone()))
    });
    let streams = frozen.streams.iter().flat_map(|stream| {
        let row = stream_row(stream.sent, &stream.mark);
        let head = (
            engine_key(STREAMS, &stream_key(stream.id)),
            Some(Bytes::from(row)),
        );
        let removed = stream
            .removed
            .into_iter()
            .flat_map(|(from, to)| from.0..=to.0)
            .map(|sequence| {
                let key = entry_key(stream.id, Sequence(sequence));
                (engine_key(OUTBOX, &key), None)
            });
        let added = stream.added.iter().map(|(sequence, envelope)| {
            let key = entry_key(stream.id, *sequence);
            (engine_key(OUTBOX, &key), Some(envelope.clone()))
        });
        std::iter::once(head).chain(removed).chain(added)
    });
    tables.chain(streams)
}

/// Applies rows in batches and keeps count of them.
pub(crate) fn apply_rows(
    engine: &dyn Engine,
    rows: impl Iterator<Item = (Bytes, Option<Bytes>)>,
    counts: &mut BTreeMap<TableId, u64>,
) -> Result<(), StoreError> {
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        batch.clear();
        batch.extend(rows.by_ref().take(BATCH_ROWS));
        let were_there = engine.apply(&batch)?;
        for ((key, value), was_there) in batch.iter().zip(were_there) {
            let Some((table, _)) = table_and_key(key) else {
                continue;
            };
            let count = counts.entry(table).or_default();
            match (was_there, value) {
                (false, Some(_)) => *count += 1,
                (true, None) => *count = count.saturating_sub(1),
                (true, Some(_)) | (false, None) => {}
            }
        }
    }
    counts.retain(|_, count| *count > 0);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::format::unseal;
    use super::*;
    use crate::commit::ServiceId;

    #[test]
    fn golden_bytes_of_checkpoint() {
        let file = CheckpointFile {
            position: Position(300),
            newest: Timestamp(1),
            last_event: EventNumber(2),
            opening: 3,
            clean: true,
            boot_id: "b".to_owned(),
            counts: BTreeMap::from([(TableId(16), 5)]),
            spilled: Vec::new(),
        };
        let bytes = file.encode();
        let body: &[u8] = &[
            0xac, 2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'b', 1, 16, 5,
        ];
        assert_eq!(&bytes[..8], MAGIC);
        assert_eq!(&bytes[8..12], [1, 0, 0, 0]);
        assert_eq!(&bytes[20..], body);
        assert_eq!(CheckpointFile::decode(&bytes), Ok(file.clone()));
        // Files of spilled messages come last, and without any there is nothing of them. With them
        // the file has a format of its own, for those who do not know of them.
        let spilled = SpillFile {
            stream: StreamId {
                sender: ServiceId(1),
                receiver: ServiceId(2),
            },
            first: Sequence(5),
            last: Sequence(300),
            bytes: 7,
            size: 8,
            checksum: 0x0403_0201,
        };
        let file = CheckpointFile {
            spilled: vec![spilled],
            ..file
        };
        let bytes = file.encode();
        let more = [1, 1, 2, 5, 0xac, 2, 7, 8, 1, 2, 3, 4];
        assert_eq!(&bytes[8..12], [2, 0, 0, 0]);
        assert_eq!(bytes[20..], [body, &more].concat());
        let newer = Unsealed::Newer { found: 2, known: 1 };
        assert_eq!(unseal(MAGIC, &bytes), Err(newer));
        assert_eq!(CheckpointFile::decode(&bytes), Ok(file));
    }

    /// Found by fuzzing: a table that was counted twice had the second count, and files were read out
    /// of the format that has none, which an older program takes to mean that there are none.
    #[test]
    fn a_checkpoint_that_is_never_written_is_refused() {
        let body = |counts: &[u8], files: &[u8]| {
            let mut body = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            body.extend([&[3; 8][..], &[1, 0], counts, files].concat());
            body
        };
        let file = [1, 1, 2, 5, 6, 7, 8, 1, 2, 3, 4];
        let written = [
            (PLAIN_FORMAT, body(&[1, 16, 5], &[]), true),
            (SPILLED_FORMAT, body(&[1, 16, 5], &file), true),
            (PLAIN_FORMAT, body(&[2, 16, 5, 16, 6], &[]), false),
            (PLAIN_FORMAT, body(&[1, 16, 5], &file), false),
            (SPILLED_FORMAT, body(&[1, 16, 5], &[]), false),
        ];
        for (format, body, is_good) in written {
            let read = CheckpointFile::decode(&seal_as(format, MAGIC, &body));
            assert_eq!(read.is_ok(), is_good, "{format} {body:?}: {read:?}");
        }
    }
}
