//! Spilled messages: what an outbox keeps beyond memory, in files of its own.
//!
//! ```text
//! checkpoint: freeze ─► durable in the journal ─► files written, read back, synced ─► CHECKPOINT names them
//! ```
//!
//! A file holds a run of one stream's messages. It is written once, by a checkpoint, and never
//! changed; it counts if `CHECKPOINT` names it, or a snapshot that the engine may be rebuilt from.
//! What it holds is durable in the journal before it is written, so a name stands for one content
//! for ever. It goes when the receiver's mark has passed its last message durably: whatever a
//! recovery starts from, it ends beyond that mark.

mod file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::backlog::Entry;
use super::checkpoint::CheckpointFile;
use super::disk::Disk;
use super::format::{Decoder, Malformed, put_varint, sync_names};
use super::snapshot::Snapshot;
use super::snapshots::{list_snapshots, snapshots_dir};
use super::store::Core;
use super::streams::{FrozenStream, lock};
use crate::commit::{Sequence, ServiceId, StreamId};
use crate::envelope::Kind;
use crate::error::StoreError;
#[cfg(feature = "fuzzing")]
pub(crate) use file::write as write_file;
pub(crate) use file::{SpillCursor, SpillReader};

/// A file of spilled messages, as `CHECKPOINT` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpillFile {
    pub(crate) stream: StreamId,
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    /// Bytes of the messages, without what the file needs around them.
    pub(crate) bytes: u64,
    /// How long the file is.
    pub(crate) size: u64,
    /// The checksum of its foot, which vouches for all of it.
    pub(crate) checksum: u32,
}

/// Messages of one name among spilled ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpilledName {
    /// What they are to their receiver.
    pub kind: Kind,
    /// The schema version of their bodies.
    pub version: u16,
    /// Their wire name.
    pub name: Bytes,
    /// How many there are.
    pub count: u64,
}

/// The names of a run of spilled messages, none of which has been consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpilledNames {
    /// The first message.
    pub first: Sequence,
    /// The last message.
    pub last: Sequence,
    /// All names; one may stand here more than once.
    pub names: Vec<SpilledName>,
}

/// Where a cell keeps its spilled messages.
pub(crate) fn spill_dir(cell_dir: &Path) -> PathBuf {
    cell_dir.join("spill")
}

impl SpillFile {
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!(
            "{}-{}-{:020}-{:020}.spill",
            self.stream.sender.0, self.stream.receiver.0, self.first.0, self.last.0
        ))
    }

    /// How many messages it holds.
    pub(crate) fn entries(&self) -> u64 {
        self.last.0 + 1 - self.first.0
    }

    /// How many of them lie behind a mark.
    pub(crate) fn entries_after(&self, consumed: Sequence) -> u64 {
        self.last.0.saturating_sub(consumed.0).min(self.entries())
    }

    /// About how many bytes those take.
    pub(crate) fn bytes_after(&self, consumed: Sequence) -> u64 {
        let share = u128::from(self.bytes) * u128::from(self.entries_after(consumed));
        u64::try_from(share / u128::from(self.entries().max(1))).unwrap_or(u64::MAX)
    }
}

/// Appends the names of files to `CHECKPOINT`: nothing, if there are none.
pub(crate) fn put_files(to: &mut Vec<u8>, files: &[SpillFile]) {
    if files.is_empty() {
        return;
    }
    put_varint(to, files.len() as u64);
    for file in files {
        put_varint(to, u64::from(file.stream.sender.0));
        put_varint(to, u64::from(file.stream.receiver.0));
        for number in [file.first.0, file.last.0, file.bytes, file.size] {
            put_varint(to, number);
        }
        to.extend_from_slice(&file.checksum.to_le_bytes());
    }
}

pub(crate) fn files(from: &mut Decoder<'_>) -> Result<Vec<SpillFile>, Malformed> {
    let mut files: Vec<SpillFile> = Vec::new();
    if from.is_empty() {
        return Ok(files);
    }
    for _ in 0..from.varint()? {
        let file = SpillFile {
            stream: StreamId {
                sender: ServiceId(from.id()?),
                receiver: ServiceId(from.id()?),
            },
            first: Sequence(from.varint()?),
            last: Sequence(from.varint()?),
            bytes: from.varint()?,
            size: from.varint()?,
            checksum: from.u32()?,
        };
        if file.first == Sequence(0) || file.last < file.first || file.last.0 == u64::MAX {
            return Err(Malformed("a run of spilled messages has no length"));
        }
        files.push(file);
    }
    Ok(files)
}

/// Removes the files that neither `CHECKPOINT` nor a snapshot names: what a checkpoint was writing
/// when it was interrupted, and what was to be removed. Only for when none is being written.
pub(crate) fn remove_unnamed(
    disk: &dyn Disk,
    cell_dir: &Path,
    named: &[SpillFile],
) -> Result<(), StoreError> {
    let dir = spill_dir(cell_dir);
    let found = match disk.list(&dir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("listing", &dir, &error)),
    };
    let mut kept: BTreeSet<PathBuf> = named.iter().map(|file| file.path(&dir)).collect();
    if found.iter().all(|path| kept.contains(path)) {
        return Ok(());
    }
    for (_, path) in list_snapshots(disk, &snapshots_dir(cell_dir))? {
        let meta = Snapshot::rows(disk, &path).map(|rows| CheckpointFile::decode(rows.meta()));
        // What cannot be read now may be readable when it is needed.
        let Ok(Ok(checkpoint)) = meta else {
            return Ok(());
        };
        kept.extend(checkpoint.spilled.iter().map(|file| file.path(&dir)));
    }
    for path in found {
        if !kept.contains(&path) {
            disk.remove(&path)
                .map_err(|error| StoreError::io("removing", &path, &error))?;
        }
    }
    Ok(())
}

impl Core {
    /// Writes what a checkpoint takes out of memory. `written` has the files that an earlier
    /// attempt at the same checkpoint has finished.
    pub(crate) fn spill(
        &self,
        streams: &[FrozenStream],
        written: &mut Vec<SpillFile>,
    ) -> Result<(), StoreError> {
        let cell_dir = self.options.cell_dir();
        let dir = spill_dir(&cell_dir);
        let disk = self.disk.as_ref();
        let mut spilling = streams
            .iter()
            .filter_map(|stream| Some((stream.id, stream.spilling.as_ref()?)))
            .peekable();
        if spilling.peek().is_none() {
            return Ok(());
        }
        disk.create_dir(&dir)
            .map_err(|error| StoreError::io("creating", &dir, &error))?;
        sync(disk, &cell_dir)?;
        for (id, entries) in spilling {
            loop {
                let done = written.iter().rev().find(|file| file.stream == id);
                let done = done.map_or(Sequence(0), |file| file.last);
                let start = entries.partition_point(|(sequence, _)| *sequence <= done);
                let run = run_of(entries.range(start..), self.options.spill_file_bytes);
                if run == 0 {
                    break;
                }
                written.push(file::write(
                    disk,
                    &dir,
                    id,
                    entries.range(start..start + run),
                )?);
            }
        }
        sync(disk, &dir)
    }

    /// Removes files that no recovery needs any more.
    pub(crate) fn remove_spilled(&self, files: impl Iterator<Item = SpillFile>) {
        let dir = spill_dir(&self.options.cell_dir());
        for file in files {
            let path = file.path(&dir);
            if let Err(error) = self.disk.remove(&path) {
                // The next opening removes what nothing names.
                tracing::warn!(?path, %error, "a file of spilled messages cannot be removed");
            }
            // After it, or a reader that comes late would open the file again and keep its space.
            if let Some(stream) = self.state.streams.find(file.stream) {
                let cursor = lock(&stream).cursor.clone();
                cursor.forget(&file);
            }
        }
    }
}

fn sync(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    sync_names(disk, dir).map_err(|error| StoreError::io("syncing", dir, &error))
}

/// How many entries go into the next file: one at least, if there is one.
fn run_of<'e>(entries: impl Iterator<Item = &'e Entry>, bytes_max: u64) -> usize {
    let mut bytes = 0;
    entries
        .take_while(|(_, envelope)| {
            let first = bytes == 0;
            bytes += envelope.len().max(1) as u64;
            first || bytes <= bytes_max
        })
        .count()
}
