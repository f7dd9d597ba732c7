//! The simulated disk: a file system in memory that keeps no more after a crash than it must.
//!
//! What has been synced survives. Of the rest, each 512-byte sector of each write may survive or
//! not, and of the changes of names in a directory any first part may. All of it follows from the
//! seed, so a failing run can be repeated.
//!
//! ```text
//! crash   power loss: a legal subset survives; every handle fails until restart()
//! abort   kill -9: everything written survives, synced or not; so does shared memory
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::digest::Digest;
use super::disk::{Disk, DiskFile, LockGuard, Locking, OpenMode};
use super::running::SharedMemory;

const SECTOR_BYTES: usize = 512;

/// What goes wrong at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power fails in the middle of it.
    Crash,
    /// It fails and changes nothing.
    Eio,
    /// It fails for lack of space, once.
    Enospc,
    /// It, or the next sync (of a file or a directory) if it is none, fails, and the kernel forgets
    /// that a file's data is unsaved.
    FailedSync,
}

/// What an operation of the disk was about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Make a file, or empty one.
    Create,
    /// Write to a file.
    Write,
    /// Change a file's size.
    Resize,
    /// Make a file's content durable.
    Sync,
    /// Give a file another name.
    Rename,
    /// Remove a file.
    Remove,
    /// Make a directory.
    MakeDir,
    /// Make the names in a directory durable.
    SyncDir,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
}

struct Machine {
    random: fastrand::Rng,
    /// Handles of an earlier life fail.
    life: u64,
    down: bool,
    boot: u64,
    operations: u64,
    /// The operations since somebody wanted to know of them, with their files.
    recorded: Option<Vec<(Operation, PathBuf)>>,
    bytes_read: u64,
    bytes_written: u64,
    /// Of all changes so far, in order.
    digest: Digest,
    faults: BTreeMap<u64, Fault>,
    sync_fails: bool,
    read_only: bool,
    capacity: Option<u64>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    seen: Names,
    durable: Names,
    /// Changes of names that no directory sync has covered, with their directory.
    unsynced: Vec<(PathBuf, NameChange)>,
    locks: BTreeSet<PathBuf>,
    memory: BTreeMap<PathBuf, SharedMemory>,
    /// How long an operation may take, and its own source of chance, so that a slow disk loses the
    /// same in a crash as a fast one.
    latency_max: Duration,
    latency: fastrand::Rng,
    /// How long the operations took that nobody has waited for.
    delay: Duration,
}

#[derive(Clone, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone)]
enum NameChange {
    Create(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    MakeDir(PathBuf),
}

#[derive(Default)]
struct Inode {
    seen: Content,
    durable: Content,
    unsynced: Vec<Change>,
    allocated: u64,
}

/// A file's content; what lies between its bytes and its size is zero.
#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    size: u64,
}

enum Change {
    Write(u64, Vec<u8>),
    Size(u64),
}

/// How an operation goes on.
#[derive(PartialEq, Eq)]
enum Fate {
    Succeeds,
    /// Its change has begun when the power fails.
    Crashes,
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::Create(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Remove(path) => {
                self.files.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
            }
            NameChange::MakeDir(path) => {
                self.dirs.insert(path.clone());
            }
        }
    }

    fn has_dir(&self, dir: &Path) -> bool {
        match dir.parent() {
            None => true,
            Some(parent) => {
                dir.as_os_str().is_empty() || self.dirs.contains(dir) && self.has_dir(parent)
            }
        }
    }
}

impl Content {
    fn is_zero(&self, from: u64, to: u64) -> bool {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let end = at(to).min(self.bytes.len());
        let written = self.bytes.get(at(from)..end).unwrap_or_default();
        written.iter().all(|byte| *byte == 0)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(offset, bytes) => self.write(*offset, bytes),
            Change::Size(size) => {
                self.bytes
                    .truncate(usize::try_from(*size).unwrap_or(usize::MAX));
                self.size = *size;
            }
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.size = self.size.max(end as u64);
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        let held = length.min(self.bytes.len() - start);
        buffer[..held].copy_from_slice(&self.bytes[start..start + held]);
        buffer[held..length].fill(0);
        length
    }
}

impl SimDisk {
    /// An empty disk without limits, whose crashes follow from `seed`.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk {
            machine: Arc::new(Mutex::new(Machine {
                random: fastrand::Rng::with_seed(seed),
                life: 0,
                down: false,
                boot: 1,
                operations: 0,
                recorded: None,
                bytes_read: 0,
                bytes_written: 0,
                digest: Digest::default(),
                faults: BTreeMap::new(),
                sync_fails: false,
                read_only: false,
                capacity: None,
                inodes: BTreeMap::new(),
                next_inode: 0,
                seen: Names::default(),
                durable: Names::default(),
                unsynced: Vec::new(),
                locks: BTreeSet::new(),
                memory: BTreeMap::new(),
                latency_max: Duration::ZERO,
                latency: fastrand::Rng::with_seed(seed.rotate_left(31)),
                delay: Duration::ZERO,
            })),
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations have changed something, or tried to.
    pub fn operations(&self) -> u64 {
        self.machine().operations
    }

    /// Records the operations from now on, for [`SimDisk::recorded`].
    pub fn record(&self) {
        self.machine().recorded = Some(Vec::new());
    }

    /// The operations since [`SimDisk::record`], those included that failed, with the file or
    /// directory of each.
    pub fn recorded(&self) -> Vec<(Operation, PathBuf)> {
        self.machine().recorded.clone().unwrap_or_default()
    }

    /// How many bytes were read from files since the disk was made.
    pub fn bytes_read(&self) -> u64 {
        self.machine().bytes_read
    }

    /// How many bytes were written to files since the disk was made.
    pub fn bytes_written(&self) -> u64 {
        self.machine().bytes_written
    }

    /// A digest of every change so far, in order: two runs with the same one have done the same to
    /// their disks.
    pub fn digest(&self) -> u64 {
        self.machine().digest.value()
    }

    /// Makes operation number `n` (counted from 1 since the disk was made) fail.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        self.machine().faults.insert(n, fault);
    }

    /// Whether faults have been asked for that have not come yet.
    pub fn has_faults(&self) -> bool {
        let machine = self.machine();
        machine.sync_fails || !machine.faults.is_empty()
    }

    /// Forgets all faults that have not come yet.
    pub fn clear_faults(&self) {
        let mut machine = self.machine();
        machine.faults.clear();
        machine.sync_fails = false;
    }

    /// Makes each operation take up to this long, by the seed. The time is virtual: who drives the
    /// store waits for it ([`SimDisk::take_delay`]).
    pub fn slow_down(&self, latency_max: Duration) {
        self.machine().latency_max = latency_max;
    }

    /// How long the operations since the last question took.
    pub fn take_delay(&self) -> Duration {
        std::mem::take(&mut self.machine().delay)
    }

    /// Limits the bytes that all files together may take.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.machine().capacity = bytes;
    }

    /// Bytes that all files together take, reserved ones included.
    pub fn used(&self) -> u64 {
        self.machine().used()
    }

    /// Refuses every change from now on.
    pub fn set_read_only(&self, read_only: bool) {
        self.machine().read_only = read_only;
    }

    /// The power fails. Every handle fails from now on, and every call until
    /// [`SimDisk::restart`].
    pub fn crash(&self) {
        self.machine().crash();
    }

    /// Whether the power has failed and not come back.
    pub fn is_down(&self) -> bool {
        self.machine().down
    }

    /// The machine is back, with what has survived.
    pub fn restart(&self) {
        self.machine().down = false;
    }

    /// The process is killed: its handles and locks are gone, everything it wrote is there.
    pub fn abort(&self) {
        let mut machine = self.machine();
        machine.life += 1;
        machine.locks.clear();
        // What is left of the killed process in this one must not reach what it left behind.
        for memory in machine.memory.values_mut() {
            *memory = memory.left_behind();
        }
    }

    /// All files with their sizes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let machine = self.machine();
        let files = machine.seen.files.iter();
        files
            .map(|(path, inode)| {
                let size = machine.inodes.get(inode).map_or(0, |inode| inode.seen.size);
                (path.clone(), size)
            })
            .collect()
    }

    /// A file's content, if there is such a file.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let machine = self.machine();
        let inode = machine.inodes.get(machine.seen.files.get(path)?)?;
        let mut bytes = vec![0; usize::try_from(inode.seen.size).unwrap_or(0)];
        inode.seen.read(0, &mut bytes);
        Some(bytes)
    }

    /// Bit rot: flips the bits of `mask` in one byte. Says whether the file has that byte.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) -> bool {
        self.rot(path, |content| {
            let mut byte = [0];
            let read = content.read(offset, &mut byte);
            if read == 1 {
                content.write(offset, &[byte[0] ^ mask]);
            }
            read == 1
        })
    }

    /// Zeroes a part of a file.
    pub fn zero(&self, path: &Path, offset: u64, bytes: usize) -> bool {
        self.rot(path, |content| {
            content.write(offset, &vec![0; bytes]);
            true
        })
    }

    /// Loses what is in shared memory, as a power loss does.
    #[cfg(test)]
    pub(crate) fn forget_memory(&self) {
        self.machine().memory.clear();
    }

    /// Cuts a file.
    pub fn truncate(&self, path: &Path, size: u64) -> bool {
        self.rot(path, |content| {
            content.apply(&Change::Size(size));
            true
        })
    }

    /// Loses a file.
    pub fn lose(&self, path: &Path) -> bool {
        let mut machine = self.machine();
        machine.durable.files.remove(path);
        machine.seen.files.remove(path).is_some()
    }

    fn rot(&self, path: &Path, mut change: impl FnMut(&mut Content) -> bool) -> bool {
        let mut machine = self.machine();
        let Some(inode) = machine.seen.files.get(path).copied() else {
            return false;
        };
        machine.inodes.get_mut(&inode).is_some_and(|inode| {
            change(&mut inode.durable);
            change(&mut inode.seen)
        })
    }
}

impl Machine {
    fn check(&self, life: u64) -> io::Result<()> {
        if self.down || life != self.life {
            return Err(io::Error::other("the simulated power has failed"));
        }
        Ok(())
    }

    /// The same for an operation on an open file.
    fn begin_in(&mut self, inode: u64, operation: Operation) -> io::Result<Fate> {
        // Looked for only if somebody wants to know: it is a walk through all names.
        let is_it = |(_, found): &(&PathBuf, &u64)| **found == inode;
        let path = match self.recorded {
            Some(_) => self.seen.files.iter().find(is_it),
            None => None,
        };
        let path = path.map(|(path, _)| path.clone()).unwrap_or_default();
        self.begin(operation, &path)
    }

    /// Counts an operation and says how it goes on.
    fn begin(&mut self, operation: Operation, path: &Path) -> io::Result<Fate> {
        if self.down {
            return Err(io::Error::other("the simulated power has failed"));
        }
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.operations += 1;
        if let Some(recorded) = &mut self.recorded {
            recorded.push((operation, path.to_owned()));
        }
        if !self.latency_max.is_zero() {
            self.delay += self.latency_max.mul_f64(self.latency.f64());
        }
        match self.faults.remove(&self.operations) {
            None => {}
            Some(Fault::Crash) => return Ok(Fate::Crashes),
            Some(Fault::Eio) => return Err(io::Error::other("simulated I/O error")),
            Some(Fault::Enospc) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::FailedSync) => self.sync_fails = true,
        }
        Ok(Fate::Succeeds)
    }

    fn end(&mut self, fate: Fate) -> io::Result<()> {
        if fate == Fate::Crashes {
            self.crash();
            return Err(io::Error::other("the simulated power has failed"));
        }
        Ok(())
    }

    fn rename_in(&mut self, dir: &Path, change: NameChange) {
        let (from, to, of) = match &change {
            NameChange::Create(path, inode) => (path, path, *inode),
            NameChange::Remove(path) => (path, path, u64::MAX),
            NameChange::Rename(from, to) => (from, to, u64::MAX),
            NameChange::MakeDir(path) => (path, path, u64::MAX),
        };
        self.digest.bytes(from.as_os_str().as_encoded_bytes());
        self.digest.bytes(to.as_os_str().as_encoded_bytes());
        self.digest.number(of);
        self.seen.apply(&change);
        self.unsynced.push((dir.to_owned(), change));
    }

    fn used(&self) -> u64 {
        let inodes: BTreeSet<u64> = self.seen.files.values().copied().collect();
        let inodes = inodes.iter().filter_map(|inode| self.inodes.get(inode));
        inodes
            .map(|inode| inode.seen.size.max(inode.allocated))
            .sum()
    }

    /// Refuses what would take more than there is.
    fn reserve(&self, inode: u64, size: u64) -> io::Result<()> {
        let held = self.inodes.get(&inode);
        let held = held.map_or(0, |inode| inode.seen.size.max(inode.allocated));
        let more = size.saturating_sub(held);
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn crash(&mut self) {
        self.life += 1;
        self.boot += 1;
        self.down = true;
        self.locks.clear();
        self.memory.clear();
        // Some crashes lose all that they may, some nothing, most something.
        let odds = match self.random.u8(..4) {
            0 => 0.0,
            1 => 1.0,
            _ => self.random.f64(),
        };
        let mut first_parts: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (dir, _) in &self.unsynced {
            *first_parts.entry(dir.clone()).or_default() += 1;
        }
        for count in first_parts.values_mut() {
            *count = (0..*count).take_while(|_| self.random.f64() < odds).count();
        }
        for (dir, change) in std::mem::take(&mut self.unsynced) {
            let Some(left) = first_parts.get_mut(&dir) else {
                continue;
            };
            if *left > 0 {
                *left -= 1;
                self.durable.apply(&change);
            }
        }
        let durable = self.durable.clone();
        self.durable.dirs.retain(|dir| durable.has_dir(dir));
        self.durable
            .files
            .retain(|path, _| path.parent().is_none_or(|dir| durable.has_dir(dir)));
        self.seen = self.durable.clone();
        let kept: BTreeSet<u64> = self.seen.files.values().copied().collect();
        self.inodes.retain(|inode, _| kept.contains(inode));
        for inode in self.inodes.values_mut() {
            for change in std::mem::take(&mut inode.unsynced) {
                match change {
                    Change::Size(_) => {
                        if self.random.f64() < odds {
                            inode.durable.apply(&change);
                        }
                    }
                    Change::Write(offset, bytes) => {
                        let mut at = 0;
                        while at < bytes.len() {
                            let place = offset as usize + at;
                            let end = bytes.len().min(at + SECTOR_BYTES - place % SECTOR_BYTES);
                            if self.random.f64() < odds {
                                inode.durable.write(place as u64, &bytes[at..end]);
                            }
                            at = end;
                        }
                    }
                }
            }
            inode.seen = inode.durable.clone();
            inode.allocated = inode.allocated.max(inode.seen.size);
        }
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} does not exist", path.display()),
    )
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        let found = machine.seen.files.get(path).copied();
        let inode = match (mode, found) {
            // A mapped file reads as its memory.
            (OpenMode::Read, None) if machine.memory.contains_key(path) => {
                let bytes = machine.memory[path].content();
                let inode = machine.next_inode;
                machine.next_inode += 1;
                let seen = Content {
                    size: bytes.len() as u64,
                    bytes,
                };
                let copy = Inode {
                    seen,
                    ..Inode::default()
                };
                machine.inodes.insert(inode, copy);
                inode
            }
            (OpenMode::Read | OpenMode::Write, None) => return Err(missing(path)),
            (OpenMode::Read | OpenMode::Write, Some(inode)) => inode,
            (OpenMode::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Truncate, Some(inode)) => {
                let fate = machine.begin(Operation::Create, path)?;
                if let Some(inode) = machine.inodes.get_mut(&inode) {
                    inode.seen.apply(&Change::Size(0));
                    inode.unsynced.push(Change::Size(0));
                    inode.allocated = 0;
                }
                machine.end(fate)?;
                inode
            }
            (OpenMode::CreateNew | OpenMode::Truncate, None) => {
                let dir = parent(path);
                if !machine.seen.has_dir(&dir) {
                    return Err(missing(&dir));
                }
                let fate = machine.begin(Operation::Create, path)?;
                let inode = machine.next_inode;
                machine.next_inode += 1;
                machine.inodes.insert(inode, Inode::default());
                machine.rename_in(&dir, NameChange::Create(path.to_owned(), inode));
                machine.end(fate)?;
                inode
            }
        };
        Ok(Box::new(SimFile {
            disk: self.clone(),
            inode,
            life: machine.life,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        if !machine.seen.files.contains_key(from) {
            return Err(missing(from));
        }
        let fate = machine.begin(Operation::Rename, to)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        machine.rename_in(&parent(to), change);
        machine.end(fate)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        if !machine.seen.files.contains_key(path) {
            return Err(missing(path));
        }
        let fate = machine.begin(Operation::Remove, path)?;
        machine.rename_in(&parent(path), NameChange::Remove(path.to_owned()));
        machine.end(fate)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        let mut wanted: Vec<&Path> = path
            .ancestors()
            .take_while(|dir| !machine.seen.has_dir(dir))
            .collect();
        wanted.reverse();
        for dir in wanted {
            let fate = machine.begin(Operation::MakeDir, dir)?;
            machine.rename_in(&parent(dir), NameChange::MakeDir(dir.to_owned()));
            machine.end(fate)?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let machine = self.machine();
        machine.check(machine.life)?;
        if !machine.seen.has_dir(dir) {
            return Err(missing(dir));
        }
        let names = machine.seen.files.keys().chain(&machine.seen.dirs);
        let mut inside: Vec<PathBuf> = names
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect();
        inside.sort();
        Ok(inside)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        let fate = machine.begin(Operation::SyncDir, dir)?;
        machine.end(fate)?;
        if std::mem::take(&mut machine.sync_fails) {
            // Unlike a file's pages, names that could not be written are not taken for saved: a
            // file system with a journal stops as a whole instead. The next sync covers them.
            return Err(io::Error::other("simulated failure of a sync"));
        }
        let (synced, unsynced) = std::mem::take(&mut machine.unsynced)
            .into_iter()
            .partition(|(of, _)| of == dir);
        machine.unsynced = unsynced;
        for (_, change) in synced as Vec<(PathBuf, NameChange)> {
            machine.durable.apply(&change);
        }
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<u64> {
        let machine = self.machine();
        machine.check(machine.life)?;
        Ok(machine
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(machine.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Locking> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        if machine.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if !machine.locks.insert(path.to_owned()) {
            return Ok(Locking::HeldBy("1".to_owned()));
        }
        Ok(Locking::Acquired(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
            life: machine.life,
        })))
    }

    fn shared(&self, path: &Path, bytes: usize) -> io::Result<SharedMemory> {
        let mut machine = self.machine();
        machine.check(machine.life)?;
        let memory = machine
            .memory
            .entry(path.to_owned())
            .or_insert_with(|| SharedMemory::simulated(bytes));
        Ok(memory.clone())
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.machine().boot)
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut machine = self.disk.machine();
        if machine.life == self.life {
            machine.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut machine = self.disk.machine();
        machine.check(self.life)?;
        let size = match &change {
            Change::Write(offset, bytes) => offset + bytes.len() as u64,
            Change::Size(size) => *size,
        };
        machine.reserve(self.inode, size)?;
        let operation = match change {
            Change::Write(..) => Operation::Write,
            Change::Size(_) => Operation::Resize,
        };
        let fate = machine.begin_in(self.inode, operation)?;
        machine.digest.number(self.inode);
        machine.digest.number(size);
        if let Change::Write(_, bytes) = &change {
            machine.digest.bytes(bytes);
        }
        if let Some(inode) = machine.inodes.get_mut(&self.inode) {
            inode.seen.apply(&change);
            if matches!(change, Change::Size(_)) {
                inode.allocated = inode.allocated.min(size);
            }
            inode.unsynced.push(change);
        }
        machine.end(fate)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))?;
        self.disk.machine().bytes_written += bytes.len() as u64;
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut machine = self.disk.machine();
        machine.check(self.life)?;
        let inode = machine.inodes.get(&self.inode);
        let read = inode.map_or(0, |inode| inode.seen.read(offset, buffer));
        machine.bytes_read += read as u64;
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        let machine = self.disk.machine();
        machine.check(self.life)?;
        let inode = machine.inodes.get(&self.inode);
        Ok(inode.map_or(0, |inode| inode.seen.size))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.change(Change::Size(size))
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let present = self.size()?;
        if size > present {
            self.change(Change::Size(size))?;
        }
        let mut machine = self.disk.machine();
        if let Some(inode) = machine.inodes.get_mut(&self.inode) {
            inode.allocated = inode.allocated.max(size);
        }
        Ok(())
    }

    /// Changes nothing that could be read, and sees to it that nothing could.
    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        let machine = self.disk.machine();
        machine.check(self.life)?;
        let inode = machine.inodes.get(&self.inode);
        if inode.is_some_and(|inode| !inode.seen.is_zero(from, to)) {
            return Err(io::Error::other("space to prepare holds data"));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = self.disk.machine();
        machine.check(self.life)?;
        let fate = machine.begin_in(self.inode, Operation::Sync)?;
        machine.digest.number(!self.inode);
        machine.end(fate)?;
        let fails = std::mem::take(&mut machine.sync_fails);
        let Machine { inodes, random, .. } = &mut *machine;
        let Some(inode) = inodes.get_mut(&self.inode) else {
            return Ok(());
        };
        for change in std::mem::take(&mut inode.unsynced) {
            // After a failure the kernel takes the pages for clean: they stay readable until the
            // next crash, and no later sync writes them.
            if !fails || random.bool() {
                inode.durable.apply(&change);
            }
        }
        match fails {
            true => Err(io::Error::other("simulated failure of a sync")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(disk: &SimDisk) -> Box<dyn DiskFile> {
        disk.create_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let file = disk.open(Path::new("/d/f"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_every_crash_and_the_rest_only_some() {
        let mut kept = 0;
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            let file = written(&disk);
            file.sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(4096, &[2; 4096]).unwrap();
            disk.crash();
            assert!(file.size().is_err());
            assert!(disk.open(Path::new("/d/f"), OpenMode::Read).is_err());
            disk.restart();
            let content = disk.content(Path::new("/d/f")).unwrap();
            assert_eq!(content[..4096], [1; 4096]);
            kept += content[4096..].iter().filter(|byte| **byte == 2).count();
        }
        assert!(kept > 4096 && kept < 99 * 4096, "{kept}");
    }

    #[test]
    fn a_file_whose_directory_was_not_synced_may_vanish() {
        let vanished = (0..100)
            .filter(|seed| {
                let disk = SimDisk::new(*seed);
                written(&disk).sync().unwrap();
                disk.crash();
                disk.restart();
                disk.content(Path::new("/d/f")).is_none()
            })
            .count();
        assert!((1..100).contains(&vanished), "{vanished}");
    }

    #[test]
    fn a_killed_process_loses_its_handles_and_nothing_else() {
        let disk = SimDisk::new(1);
        let file = written(&disk);
        disk.abort();
        assert!(file.sync().is_err());
        assert_eq!(disk.content(Path::new("/d/f")).unwrap(), [1; 4096]);
    }

    #[test]
    fn a_failed_sync_leaves_bytes_that_a_later_sync_does_not_save() {
        let lost = (0..50).any(|seed| {
            let disk = SimDisk::new(seed);
            let file = written(&disk);
            disk.sync_dir(Path::new("/d")).unwrap();
            disk.fail_at(disk.operations() + 1, Fault::FailedSync);
            assert!(file.sync().is_err());
            file.sync().unwrap();
            assert_eq!(disk.content(Path::new("/d/f")).unwrap(), [1; 4096]);
            disk.crash();
            disk.restart();
            disk.content(Path::new("/d/f")).unwrap().len() != 4096
        });
        assert!(lost);
    }

    #[test]
    fn a_full_disk_refuses_to_grow_and_takes_what_it_has_room_for() {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(8192));
        let file = written(&disk);
        file.allocate(8192).unwrap();
        let full = file.write_at(8192, &[1]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        file.write_at(8191, &[1]).unwrap();
        disk.remove(Path::new("/d/f")).unwrap();
        assert_eq!(disk.space(Path::new("/d")).unwrap(), 8192);
    }
}
