//! Syncs that the shop itself asks for, beside those of the runtime's store: counted, so that
//! whoever measures knows what an order costs the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Syncs files and counts it. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Syncs(Arc<AtomicU64>);

impl Syncs {
    /// Makes a file's bytes durable.
    pub fn data(&self, file: &File) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        file.sync_data()
    }

    /// Makes a file durable with all that is known of it, or the names in a directory.
    pub fn all(&self, file: &File) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        file.sync_all()
    }

    /// Makes the names in a directory durable.
    pub fn names(&self, dir: &Path) -> io::Result<()> {
        let dir = match dir.as_os_str().is_empty() {
            // Where a name alone is.
            true => Path::new("."),
            false => dir,
        };
        self.all(&File::open(dir)?)
    }

    /// Puts a file under its name, durable and whole or not at all, for nobody but this user. Its
    /// directory must be there, and no other may put the same file meanwhile.
    pub fn put(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(content)?;
        self.data(&file)?;
        fs::rename(&new, path)?;
        self.names(path.parent().unwrap_or(path))
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
