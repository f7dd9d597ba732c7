//! The machine's file system as a [`Disk`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{Disk, DiskFile, LockGuard, Locking, OpenMode};
use super::running::SharedMemory;

/// The machine's file system. Clones count their syncs together.
#[derive(Debug, Clone, Default)]
pub struct RealDisk {
    syncs: Arc<AtomicU64>,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::Truncate => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Box::new(RealFile {
            file: options.open(path)?,
            syncs: self.syncs.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<u64> {
        free_space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may not have written itself yet; then nobody knows who it is.
                let _ = file.read_to_string(&mut holder);
                return Ok(Locking::HeldBy(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut lock = RealLock { file };
        lock.file.set_len(0)?;
        lock.file
            .write_all(std::process::id().to_string().as_bytes())?;
        Ok(Locking::Acquired(Box::new(lock)))
    }

    fn shared(&self, path: &Path, bytes: usize) -> io::Result<SharedMemory> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if file.metadata()?.len() != bytes as u64 {
            file.set_len(bytes as u64)?;
        }
        SharedMemory::mapped(&file)
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn boot_id(&self) -> String {
        // Without one (not Linux) every start counts as a restart of the machine, which only
        // costs a count of the rows.
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    }
}

/// The kernel releases the lock when the descriptor is closed, also after `kill -9`.
struct RealLock {
    file: File,
}

impl LockGuard for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing alone leaves the lock to a child that another thread is starting just now: until
        // it runs its program, it has every descriptor of ours.
        let _ = self.file.unlock();
    }
}

struct RealFile {
    file: File,
    syncs: Arc<AtomicU64>,
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        allocate(&self.file, size)
    }

    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        // Page by page: written at once they would share a large page of the kernel's, and it
        // counts all of that for every small write into it.
        const PAGE: [u8; 4096] = [0; 4096];
        let mut at = from;
        while at < to {
            let in_page = PAGE.len() as u64 - at % PAGE.len() as u64;
            let count = in_page.min(to - at);
            let zeros = &PAGE[..usize::try_from(count).unwrap_or(PAGE.len())];
            self.file.write_all_at(zeros, at)?;
            at += count;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        // fdatasync also writes the size when it has changed, which is all we need.
        self.file.sync_data()
    }
}

// rustix: safe calls of what std lacks (space, reservation). We would leave for `libc`.
fn free_space(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        // A file system that cannot reserve finds out when it writes.
        Err(rustix::io::Errno::OPNOTSUPP) => extend(file, size),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, size: u64) -> io::Result<()> {
    extend(file, size)
}

fn extend(file: &File, size: u64) -> io::Result<()> {
    if file.metadata()?.len() < size {
        file.set_len(size)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn preparing_space_writes_zeros_into_it_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::default();
        let file = disk.open(&dir.path().join("f"), OpenMode::Truncate);
        let file = file.unwrap();
        file.write_at(0, &[1; 20_000]).unwrap();
        file.prepare(5_000, 15_001).unwrap();
        let mut content = [9; 20_000];
        assert_eq!(file.read_at(0, &mut content).unwrap(), 20_000);
        assert!(content[..5_000].iter().all(|byte| *byte == 1));
        assert!(content[5_000..15_001].iter().all(|byte| *byte == 0));
        assert!(content[15_001..].iter().all(|byte| *byte == 1));
    }

    /// A process that closed its store and opened it again was refused because of itself, now and
    /// then, while another of its threads started a program: the child holds the descriptors of its
    /// parent until it runs that program.
    #[test]
    fn a_lock_that_was_let_go_can_be_taken_again_while_children_are_started() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                }
            });
            let refused =
                (0..4_000).find_map(|round| match RealDisk::default().lock(&path).unwrap() {
                    Locking::Acquired(_) => None,
                    Locking::HeldBy(pid) => Some((round, pid)),
                });
            over.store(true, Ordering::Relaxed);
            assert_eq!(refused, None);
        });
    }
}
