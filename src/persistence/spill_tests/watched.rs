//! A simulated disk that calls back before whatever is done with names or made durable, and may refuse it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use crate::persistence::disk::{Disk, DiskFile, Locking, OpenMode};
use crate::persistence::running::SharedMemory;
use crate::persistence::sim_disk::SimDisk;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Open,
    Create,
    Rename,
    Remove,
    SyncDir,
    Sync,
    Prepare,
}

type Watcher = Box<dyn FnMut(Call, &Path) -> io::Result<()> + std::marker::Send>;

/// Who is told.
#[derive(Clone, Default)]
pub(super) struct Watch {
    watcher: Arc<Mutex<Option<Watcher>>>,
    files: Arc<Mutex<Vec<Weak<PathBuf>>>>,
}

impl Watch {
    pub(super) fn set(
        &self,
        watcher: impl FnMut(Call, &Path) -> io::Result<()> + std::marker::Send + 'static,
    ) {
        *self.watcher.lock().unwrap() = Some(Box::new(watcher));
    }

    pub(super) fn clear(&self) {
        *self.watcher.lock().unwrap() = None;
    }

    /// How many files in a directory are open.
    pub(super) fn open_in(&self, dir: &Path) -> usize {
        let files = self.files.lock().unwrap();
        let open = files.iter().filter_map(Weak::upgrade);
        open.filter(|path| path.parent() == Some(dir)).count()
    }

    /// What the watcher itself does is not watched.
    fn tell(&self, call: Call, path: &Path) -> io::Result<()> {
        let taken = self.watcher.lock().unwrap().take();
        let Some(mut watcher) = taken else {
            return Ok(());
        };
        let told = watcher(call, path);
        self.watcher.lock().unwrap().get_or_insert(watcher);
        told
    }
}

pub(super) struct WatchedDisk {
    pub(super) disk: SimDisk,
    pub(super) watch: Watch,
}

struct WatchedFile {
    file: Box<dyn DiskFile>,
    path: Arc<PathBuf>,
    watch: Watch,
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let call = match mode {
            OpenMode::Read | OpenMode::Write => Call::Open,
            OpenMode::CreateNew | OpenMode::Truncate => Call::Create,
        };
        self.watch.tell(call, path)?;
        let file = WatchedFile {
            file: self.disk.open(path, mode)?,
            path: Arc::new(path.to_owned()),
            watch: self.watch.clone(),
        };
        let mut files = self.watch.files.lock().unwrap();
        files.retain(|path| path.strong_count() > 0);
        files.push(Arc::downgrade(&file.path));
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.watch.tell(Call::Rename, to)?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.watch.tell(Call::Remove, path)?;
        self.disk.remove(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.watch.tell(Call::SyncDir, dir)?;
        self.disk.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<u64> {
        self.disk.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        self.disk.lock(path)
    }

    fn shared(&self, path: &Path, bytes: usize) -> io::Result<SharedMemory> {
        self.disk.shared(path, bytes)
    }

    fn boot_id(&self) -> String {
        self.disk.boot_id()
    }
}

impl DiskFile for WatchedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_size(size)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        self.file.allocate(size)
    }

    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        self.watch.tell(Call::Prepare, &self.path)?;
        self.file.prepare(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.watch.tell(Call::Sync, &self.path)?;
        self.file.sync()
    }
}
