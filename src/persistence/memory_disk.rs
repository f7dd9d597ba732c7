//! A disk in memory for the tests of this folder and for fuzzing: no crashes, but every byte at hand.
#![cfg_attr(not(test), allow(dead_code))]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::persistence::disk::{Disk, DiskFile, Locking, OpenMode};
use crate::persistence::running::SharedMemory;

/// Files by path. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<PathBuf, Content>>>,
    failing: Arc<Mutex<Failing>>,
    longest_read: Arc<AtomicUsize>,
}

/// What a disk refuses to do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Failing {
    #[default]
    Nothing,
    Writes,
    Syncs,
}

type Content = Arc<Mutex<Vec<u8>>>;

struct MemoryFile {
    content: Content,
    disk: MemoryDisk,
}

impl MemoryDisk {
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        held(&self.content(path).unwrap()).clone()
    }

    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        let content = Arc::new(Mutex::new(bytes.to_vec()));
        held(&self.files).insert(path.to_owned(), content);
    }

    pub(crate) fn fail(&self, failing: Failing) {
        *held(&self.failing) = failing;
    }

    /// The most bytes that one read has asked for.
    pub(crate) fn longest_read(&self) -> usize {
        self.longest_read.load(Ordering::Relaxed)
    }

    fn refuse(&self, what: Failing) -> io::Result<()> {
        match *held(&self.failing) == what {
            true => Err(io::Error::other("failure asked for by the test")),
            false => Ok(()),
        }
    }

    fn content(&self, path: &Path) -> io::Result<Content> {
        held(&self.files).get(path).cloned().ok_or_else(missing)
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let content = match mode {
            OpenMode::Read | OpenMode::Write => self.content(path)?,
            OpenMode::CreateNew if self.content(path).is_ok() => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            OpenMode::CreateNew | OpenMode::Truncate => {
                self.put(path, &[]);
                self.content(path)?
            }
        };
        let disk = self.clone();
        Ok(Box::new(MemoryFile { content, disk }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = held(&self.files);
        let content = files.remove(from).ok_or_else(missing)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        held(&self.files).remove(path).map(drop).ok_or_else(missing)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let files = held(&self.files);
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.cloned().collect())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.refuse(Failing::Syncs)
    }

    fn space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, _: &Path) -> io::Result<Locking> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn shared(&self, _: &Path, bytes: usize) -> io::Result<SharedMemory> {
        Ok(SharedMemory::simulated(bytes))
    }

    fn boot_id(&self) -> String {
        "boot".to_owned()
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.refuse(Failing::Writes)?;
        let mut content = held(&self.content);
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk
            .longest_read
            .fetch_max(buffer.len(), Ordering::Relaxed);
        let content = held(&self.content);
        let start = usize::try_from(offset).unwrap().min(content.len());
        let length = buffer.len().min(content.len() - start);
        buffer[..length].copy_from_slice(&content[start..start + length]);
        Ok(length)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(held(&self.content).len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        held(&self.content).resize(usize::try_from(size).unwrap(), 0);
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.refuse(Failing::Syncs)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
