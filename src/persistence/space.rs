//! Space: what the store does when the disk fills up.
//!
//! ```text
//! Ok ──free < low mark──► Low ──no room for a segment──► Exhausted
//!  ▲                       ▲                                 │ ballast let go, checkpoint,
//!  └───────────────────────┴─────────────────────────────────┘ snapshot, trim, write on
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::disk::{Disk, OpenMode};
use super::journal::writer::is_full;
use super::options::StoreOptions;
use super::store::{Core, Space};
use crate::error::StoreError;

fn ballast_path(options: &StoreOptions) -> PathBuf {
    options.cell_dir().join("ballast")
}

/// Reserves the ballast, if there is space for it above the low mark.
pub(crate) fn take_ballast(disk: &dyn Disk, options: &StoreOptions) -> io::Result<()> {
    let path = ballast_path(options);
    let bytes = options.reserve_bytes;
    let file = match disk.open(&path, OpenMode::Write) {
        Ok(file) if file.size()? >= bytes => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) if bytes == 0 => return Ok(()),
        Ok(_) | Err(_) => {
            if disk.space(&options.cell_dir())? < bytes.saturating_add(options.low_space_bytes) {
                return Ok(());
            }
            disk.open(&path, OpenMode::Truncate)?
        }
    };
    match file.allocate(bytes).and_then(|()| file.sync()) {
        Err(error) if is_full(&error) => {
            drop(file);
            disk.remove(&path)
        }
        taken => taken,
    }
}

/// Lets the ballast go. Says whether there was any.
pub(crate) fn drop_ballast(disk: &dyn Disk, options: &StoreOptions) -> io::Result<bool> {
    match disk.remove(&ballast_path(options)) {
        Ok(()) => disk.sync_dir(&options.cell_dir()).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Core {
    /// Looks at the disk, and makes room if the journal has none. Says whether it did.
    pub(crate) fn mind_space(&self) -> Result<bool, StoreError> {
        if self.space() == Space::Exhausted {
            self.reserve(drop_ballast(self.disk.as_ref(), &self.options))?;
            self.write_group()?;
            if self.space() == Space::Exhausted {
                return Ok(false);
            }
            tracing::warn!("the disk is full; the reserve is used to make room");
            // The snapshot is what lets segments go; without room for one, the space that was
            // let go must last until an operator has made more.
            match self.snapshot() {
                Ok(_) | Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
            return Ok(true);
        }
        let space = match self.free()? < self.options.low_space_bytes {
            true => Space::Low,
            false => Space::Ok,
        };
        // Unless the writer has found it exhausted meanwhile.
        let _ = self.gauges.space.compare_exchange(
            (space as u64) ^ 1,
            space as u64,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if space == Space::Ok {
            self.reserve(take_ballast(self.disk.as_ref(), &self.options))?;
        }
        Ok(false)
    }

    /// Lets the ballast go if the disk has no room for what is about to be written. A full disk in
    /// the middle of a checkpoint would close the cell.
    pub(crate) fn make_room(&self, bytes: u64) -> Result<(), StoreError> {
        let free = self.free()?;
        // The mark is kept too: with space above it the ballast would be taken again at once.
        if free < bytes
            && free < self.options.low_space_bytes
            && self.reserve(drop_ballast(self.disk.as_ref(), &self.options))?
        {
            tracing::warn!(
                free,
                "the disk is nearly full; the reserve is used for a checkpoint"
            );
        }
        Ok(())
    }

    /// Bytes that the disk has left.
    fn free(&self) -> Result<u64, StoreError> {
        self.reserve(self.disk.space(&self.options.cell_dir()))
    }

    /// What came of a look at the disk's space or of a change of the ballast.
    fn reserve<T>(&self, outcome: io::Result<T>) -> Result<T, StoreError> {
        outcome.map_err(|error| {
            let dir = self.options.cell_dir();
            StoreError::io("keeping the space reserve of", &dir, &error)
        })
    }
}
