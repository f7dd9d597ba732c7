//! The store's options: where it lives and how much of everything it keeps.

use std::path::PathBuf;
use std::sync::Arc;

use super::events::EventLimits;
use crate::planted::Planted;

const MIB: u64 = 1 << 20;

/// How to open a store. Start from [`StoreOptions::new`] and change what you must.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The data directory.
    pub dir: PathBuf,
    /// The cell within it.
    pub cell: String,
    /// Size of a journal segment. A commit that is larger gets a segment of its own.
    pub segment_bytes: u64,
    /// Size of the first segment after each opening; small, so that short runs cost little.
    pub first_segment_bytes: u64,
    /// Journaled bytes since the last checkpoint at which the next one starts.
    pub checkpoint_start_bytes: u64,
    /// Journaled bytes since the last checkpoint above which edges should refuse work.
    pub checkpoint_bytes_max: u64,
    /// Journaled bytes since the last snapshot at which the next one starts (or twice the size of
    /// the last snapshot, if that is more).
    pub snapshot_bytes: u64,
    /// What one stream may keep in its outbox before edges should refuse work.
    pub stream_backlog_bytes: u64,
    /// What all outboxes together may keep in memory, about; what is beyond goes to files at the
    /// next checkpoint.
    pub outbox_memory_bytes: u64,
    /// Size of a file of spilled messages; a stream's next ones go into another.
    pub spill_file_bytes: u64,
    /// Size of the ballast that is let go when the disk is full, so that there is room to make
    /// room. At least one segment and one checkpoint; 0 for none.
    pub reserve_bytes: u64,
    /// Free space below which edges should refuse work.
    pub low_space_bytes: u64,
    /// How much of the event log is kept.
    pub events: EventLimits,
    /// Size of the engine's cache, for factories made from these options.
    pub cache_bytes: u64,
    /// The mistake to make on purpose; none in a default build.
    pub(crate) planted: Planted,
}

impl StoreOptions {
    /// The defaults, for a data directory.
    pub fn new(dir: impl Into<PathBuf>) -> StoreOptions {
        StoreOptions {
            dir: dir.into(),
            cell: "main".to_owned(),
            segment_bytes: 64 * MIB,
            first_segment_bytes: 4 * MIB,
            checkpoint_start_bytes: 64 * MIB,
            checkpoint_bytes_max: 256 * MIB,
            snapshot_bytes: 256 * MIB,
            stream_backlog_bytes: 1024 * MIB,
            outbox_memory_bytes: 64 * MIB,
            spill_file_bytes: 64 * MIB,
            reserve_bytes: 128 * MIB,
            low_space_bytes: 512 * MIB,
            events: EventLimits::default(),
            cache_bytes: 64 * MIB,
            planted: Planted::default(),
        }
    }

    /// The directory of the cell.
    pub fn cell_dir(&self) -> PathBuf {
        self.dir.join("cells").join(&self.cell)
    }
}

/// Who takes the writer's and the checkpointer's steps.
#[derive(Clone)]
pub enum Driving {
    /// Two threads of the store.
    Threads,
    /// The caller: told by this function that there is work, it calls
    /// [`Store::write_group`](super::store::Store::write_group) and
    /// [`Store::maintain`](super::store::Store::maintain).
    Manual(Arc<dyn Fn() + Send + Sync>),
}
