//! The disk: the seam under the journal, the snapshots and every file that must survive.
//!
//! Files are written only through [`DiskFile::write_at`] and made durable only by the sync calls
//! and by rename plus directory sync, so that a recorder of a power-loss test sees everything.

use std::io;
use std::path::{Path, PathBuf};

use super::running::SharedMemory;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file; an error if it exists.
    CreateNew,
    /// A new file, or an existing one cut to nothing.
    Truncate,
}

/// A file system as far as the store needs one. Paths are absolute or relative to the process.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file over another, atomically; durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; durable after [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The files and directories directly in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes this process may still write to the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<u64>;
    /// Takes an exclusive lock on a file, creating it if needed, for as long as the guard lives.
    fn lock(&self, path: &Path) -> io::Result<Locking>;
    /// Memory that outlives the process but not the machine, backed by a file of `bytes` bytes.
    fn shared(&self, path: &Path, bytes: usize) -> io::Result<SharedMemory>;
    /// Names the present run of the machine: differs after every restart of it.
    fn boot_id(&self) -> String;
    /// How many syncs of files and directories were asked for; 0 where nobody counts.
    fn syncs(&self) -> u64 {
        0
    }
}

/// What came of asking for a lock.
pub enum Locking {
    /// It is ours until this is dropped.
    Acquired(Box<dyn LockGuard>),
    /// Another process has it; what it wrote about itself into the file.
    HeldBy(String),
}

/// Holds a lock while it lives.
pub trait LockGuard: Send + Sync {}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// Reserves space for the first `size` bytes, so that writing them cannot fail for space.
    fn allocate(&self, size: u64) -> io::Result<()>;
    /// Prepares a part of the reserved space, which reads as zeros before and after, so that what
    /// is written there later is made durable more quickly. Nothing by default.
    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        let _ = (from, to);
        Ok(())
    }
    /// Makes everything written durable, including the size.
    fn sync(&self) -> io::Result<()>;
}
