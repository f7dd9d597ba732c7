//! The sled engine: the materialised map on disk, and the only door to the crate `sled`.
//!
//! We trust sled (0.34.7) to be an ordered, cached, embedded map for state that can be rebuilt,
//! and for nothing else. What it does not do by itself is done here: it panics on damaged files
//! (caught, and reported as [`StoreError::Damaged`]), refuses to open beside a half-written
//! snapshot (removed first), answers `flush` without an fsync (we sync its files ourselves) and
//! never syncs the blob files of large values (we cut those into chunks, so that there are none).
//! It replays a damaged log without a word, as far as that goes (so `sled_log` looks at the log
//! before). It may still open as an older or an empty map where its files are missing: whoever owns
//! it must compare what it holds with what it must hold. To leave sled, write another [`Engine`]; no other file knows it.
//!
//! ```text
//! tree "rows"    key ─► 0 value                                  up to 4 KiB
//!                key ─► 1 generation u64  length u32  crc32c u32  above; the value stands in
//! tree "chunks"  key length u32  key  generation u64  index u32 ─► up to 4 KiB of it
//! ```
//!
//! A large value is written under a new generation before its row points to it, and the old
//! generation is removed after, so that a reader in between finds one of the two whole.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use sled::IVec;

use crate::error::StoreError;
use crate::persistence::engine::{Direction, Engine, EngineFactory, KeyRange, is_empty_range};
use crate::persistence::sled_log::{self, SegmentList};
use crate::persistence::writing::locked;

/// The longest value that stands in its row; longer ones are cut into chunks of this size.
const CHUNK_BYTES: usize = 4096;
const INLINE: u8 = 0;
const CHUNKED: u8 = 1;
/// Below this sled does little but evict.
const CACHE_BYTES_MIN: u64 = 1 << 20;
/// Bytes of memory for a byte that sled believes to cache: it counts pages as they are on disk, and
/// has them in memory as one key and value each. Measured: 7 with rows of 20 bytes; nearly 1 with
/// large ones.
const MEMORY_OF_CACHED: u64 = 4;
/// How often a reader looks again at a large value that is being replaced under its eyes.
const READ_ATTEMPTS: usize = 16;
/// sled's background work may hold its lock for a moment after the last handle is gone.
const LOCK_ATTEMPTS: usize = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// sled, opened.
pub struct SledEngine {
    dir: PathBuf,
    /// Taken only by `drop`.
    trees: Option<Trees>,
    /// Our own descriptor of sled's data file, open for as long as sled is, so that a failed
    /// write-back at any time in between is reported to the sync that follows.
    data: File,
    /// Set by a panic inside sled or a failed sync: what is in its memory is not trusted again.
    failed: AtomicBool,
    /// Set by a panic only: then it cannot even be closed.
    panicked: AtomicBool,
    /// Until the first sync after opening, a row may have chunks that a crash left behind.
    settled: AtomicBool,
    syncs: AtomicU64,
    /// What the next opening must find.
    segments: Mutex<SegmentList>,
}

/// Opens and destroys the sled engine of one directory.
#[derive(Debug, Clone)]
pub struct SledFactory {
    /// Its directory; nothing else may be in it.
    pub dir: PathBuf,
    /// How much memory its page cache may take, about: up to twice as much with very small rows.
    pub cache_bytes: u64,
}

struct Trees {
    db: sled::Db,
    rows: sled::Tree,
    chunks: sled::Tree,
}

impl SledEngine {
    /// Opens the engine in `dir`, creating it if there is none. On [`StoreError::Damaged`] the
    /// caller removes the directory and rebuilds.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<SledEngine, StoreError> {
        fs::create_dir_all(dir).map_err(|e| StoreError::io("creating", dir, &e))?;
        remove_half_written_snapshots(dir)?;
        sled_log::check(dir)?;

        // In a thread of its own: a panic while opening unwinds sled's half-made structures there,
        // and the thread ends with all it had.
        let opened = {
            let config = sled::Config::new()
                .path(dir)
                .mode(sled::Mode::HighThroughput)
                .cache_capacity((cache_bytes / MEMORY_OF_CACHED).max(CACHE_BYTES_MIN))
                .flush_every_ms(None);
            thread::Builder::new()
                .name("engine-open".to_owned())
                .spawn(move || open_trees(&config))
                .map_err(|e| StoreError::io("starting a thread to open", dir, &e))?
                .join()
        };
        let trees = match opened {
            Ok(Ok(trees)) => trees,
            Ok(Err(error)) => return Err(translate("opening", dir, error)),
            Err(panic) => return Err(StoreError::damaged(dir, panic_text(&*panic))),
        };

        let data = File::open(dir.join("db")).map_err(|e| StoreError::io("opening", dir, &e))?;
        let engine = SledEngine {
            dir: dir.to_owned(),
            trees: Some(trees),
            data,
            failed: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            segments: Mutex::new(SegmentList::of_opened(dir)?),
        };
        let no_chunks = engine.guarded("reading", |trees| Ok(trees.chunks.is_empty()))?;
        engine.settled.store(no_chunks, Ordering::Release);
        Ok(engine)
    }

    /// Does something inside sled; a panic in there becomes an error and ends the engine's use.
    fn guarded<T>(
        &self,
        doing: &str,
        operation: impl FnOnce(&Trees) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        let trees = match &self.trees {
            Some(trees) if !self.failed.load(Ordering::Acquire) => trees,
            _ => {
                return Err(StoreError::Closed {
                    reason: format!("the engine in {} has failed before", self.dir.display()),
                });
            }
        };
        match catch_unwind(AssertUnwindSafe(|| operation(trees))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(translate(doing, &self.dir, error)),
            Err(panic) => {
                self.panicked.store(true, Ordering::Release);
                self.failed.store(true, Ordering::Release);
                Err(StoreError::damaged(&self.dir, panic_text(&*panic)))
            }
        }
    }

    /// The value that a row of the main tree stands for; `None` if the row has gone meanwhile.
    fn value(&self, key: &[u8], row: IVec) -> Result<Option<Bytes>, StoreError> {
        let mut row = row;
        for _ in 0..READ_ATTEMPTS {
            let large = match parse_row(&row) {
                Some(Row::Inline(value)) => return Ok(Some(Bytes::copy_from_slice(value))),
                Some(Row::Large(large)) => large,
                None => break,
            };
            let found = self.guarded("reading", |trees| trees.read_large(key, large))?;
            if let Some(value) = found {
                return Ok(Some(value));
            }
            // Either the value was replaced since we read its row, or it is damaged.
            match self.guarded("reading", |trees| trees.rows.get(key))? {
                None => return Ok(None),
                Some(now) if now == row => break,
                Some(now) => row = now,
            }
        }
        Err(StoreError::damaged(
            &self.dir,
            format!("the value of key {key:02x?} is not whole"),
        ))
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.guarded("reading", |trees| trees.rows.get(key))? {
            Some(row) => self.value(key, row),
            None => Ok(None),
        }
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if limit == 0 || is_empty_range(range) {
            return Ok(Vec::new());
        }
        let mut rows = self.guarded("scanning", |trees| {
            Ok(trees.rows.range::<Bytes, KeyRange>(range.clone()))
        })?;
        let mut found = Vec::new();
        while found.len() < limit {
            let next = self.guarded("scanning", |_| {
                let next = match direction {
                    Direction::Ascending => rows.next(),
                    Direction::Descending => rows.next_back(),
                };
                next.transpose()
            })?;
            let Some((key, row)) = next else { break };
            if let Some(value) = self.value(&key, row)? {
                found.push((Bytes::copy_from_slice(&key), value));
            }
        }
        Ok(found)
    }

    // One insert per row instead of sled's own batch: the insert tells what was there before, and
    // is 1.4 times as fast (a batch locks out all readers and is not durable as a unit anyway).
    fn apply(&self, batch: &[(Bytes, Option<Bytes>)]) -> Result<Vec<bool>, StoreError> {
        let settled = self.settled.load(Ordering::Acquire);
        self.guarded("writing", |trees| {
            let mut scratch = Vec::with_capacity(CHUNK_BYTES + 1);
            batch
                .iter()
                .map(|(key, value)| match value {
                    Some(value) if value.len() > CHUNK_BYTES => {
                        trees.put_large(key, value, settled, &mut scratch)
                    }
                    Some(value) => {
                        scratch.clear();
                        scratch.push(INLINE);
                        scratch.extend_from_slice(value);
                        let before = trees.rows.insert(key, scratch.as_slice())?;
                        trees.clean_after(key, before, settled)
                    }
                    None => {
                        let before = trees.rows.remove(key)?;
                        trees.clean_after(key, before, settled)
                    }
                })
                .collect()
        })
    }

    fn sync(&self) -> Result<(), StoreError> {
        let synced = self
            .guarded("flushing", |trees| trees.db.flush())
            .and_then(|_| locked(&self.segments).update(&self.dir, &self.data))
            .and_then(|()| sync_files(&self.dir, &self.data, &self.syncs));
        match &synced {
            Ok(()) => self.settled.store(true, Ordering::Release),
            // The kernel reports a failed write-back once and may drop the pages: a second sync
            // would succeed without them.
            Err(_) => self.failed.store(true, Ordering::Release),
        }
        synced
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        let Some(trees) = self.trees.take() else {
            return;
        };
        if self.panicked.load(Ordering::Acquire) {
            // Closing sled flushes it, which may hang or panic again with what the first panic
            // left half done. What it holds can be rebuilt; its memory is given up.
            std::mem::forget(trees);
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| drop(trees))).is_err() {
            tracing::warn!(dir = %self.dir.display(), "engine failed while closing");
            return;
        }
        if !self.failed.load(Ordering::Acquire)
            && let Err(error) = locked(&self.segments).close(&self.dir, &self.data)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "engine failed while closing");
        }
    }
}

impl EngineFactory for SledFactory {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        Ok(Box::new(SledEngine::open(&self.dir, self.cache_bytes)?))
    }

    fn destroy(&self) -> Result<(), StoreError> {
        let removed = match fs::remove_dir_all(&self.dir) {
            // Whatever stands in its place keeps a new one from being made.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                fs::remove_file(&self.dir)
            }
            removed => removed,
        };
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("removing", &self.dir, &error)),
        }
        sync_parent(&self.dir)
    }
}

/// What a row of the main tree says.
enum Row<'r> {
    Inline(&'r [u8]),
    Large(Large),
}

#[derive(Clone, Copy)]
struct Large {
    generation: u64,
    length: u32,
    checksum: u32,
}

impl Trees {
    fn read_large(&self, key: &[u8], large: Large) -> sled::Result<Option<Bytes>> {
        let length = large.length as usize;
        let mut value = Vec::new();
        for index in 0..length.div_ceil(CHUNK_BYTES) {
            match self.chunks.get(chunk_key(key, large.generation, index))? {
                Some(chunk) => value.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
        let whole = value.len() == length && crc32c::crc32c(&value) == large.checksum;
        Ok(whole.then(|| Bytes::from(value)))
    }

    fn put_large(
        &self,
        key: &[u8],
        value: &[u8],
        settled: bool,
        scratch: &mut Vec<u8>,
    ) -> sled::Result<bool> {
        let before = self.rows.get(key)?;
        let large = Large {
            generation: match before.as_deref().and_then(parse_row) {
                Some(Row::Large(old)) => old.generation.wrapping_add(1),
                Some(Row::Inline(_)) | None => 0,
            },
            length: u32::try_from(value.len()).map_err(|_| {
                sled::Error::Unsupported("a value of 4 GiB or more cannot be stored".to_owned())
            })?,
            checksum: crc32c::crc32c(value),
        };
        for (index, chunk) in value.chunks(CHUNK_BYTES).enumerate() {
            self.chunks
                .insert(chunk_key(key, large.generation, index), chunk)?;
        }
        scratch.clear();
        scratch.put_u8(CHUNKED);
        scratch.put_u64_le(large.generation);
        scratch.put_u32_le(large.length);
        scratch.put_u32_le(large.checksum);
        self.rows.insert(key, scratch.as_slice())?;
        if !settled || is_large(before.as_ref()) {
            let first = chunk_key(key, large.generation, 0);
            let end = chunk_key(key, large.generation, value.len().div_ceil(CHUNK_BYTES));
            self.remove_chunks(key, |chunk| chunk < &first[..] || chunk >= &end[..])?;
        }
        Ok(before.is_some())
    }

    /// Removes the chunks of a row that no longer has any; says whether the row was there.
    fn clean_after(&self, key: &[u8], before: Option<IVec>, settled: bool) -> sled::Result<bool> {
        if !settled || is_large(before.as_ref()) {
            self.remove_chunks(key, |_| true)?;
        }
        Ok(before.is_some())
    }

    fn remove_chunks(&self, key: &[u8], unwanted: impl Fn(&[u8]) -> bool) -> sled::Result<()> {
        for chunk in self.chunks.scan_prefix(chunk_prefix(key)).keys() {
            let chunk = chunk?;
            if unwanted(&chunk) {
                self.chunks.remove(chunk)?;
            }
        }
        Ok(())
    }
}

fn parse_row(row: &[u8]) -> Option<Row<'_>> {
    let (marker, mut rest) = row.split_first()?;
    match *marker {
        INLINE => Some(Row::Inline(rest)),
        CHUNKED if rest.len() == 16 => Some(Row::Large(Large {
            generation: rest.get_u64_le(),
            length: rest.get_u32_le(),
            checksum: rest.get_u32_le(),
        })),
        _ => None,
    }
}

fn is_large(row: Option<&IVec>) -> bool {
    row.is_some_and(|row| row.first() == Some(&CHUNKED))
}

/// Begins with the key's length, so that no key's chunks lie among another's.
fn chunk_prefix(key: &[u8]) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(key.len() + 16);
    prefix.put_u32(u32::try_from(key.len()).unwrap_or(u32::MAX));
    prefix.put_slice(key);
    prefix
}

fn chunk_key(key: &[u8], generation: u64, index: usize) -> Vec<u8> {
    let mut chunk = chunk_prefix(key);
    chunk.put_u64(generation);
    chunk.put_u32(u32::try_from(index).unwrap_or(u32::MAX));
    chunk
}

fn open_trees(config: &sled::Config) -> sled::Result<Trees> {
    let mut attempt = 0;
    let db = loop {
        attempt += 1;
        match config.open() {
            Err(error) if is_locked(&error) && attempt < LOCK_ATTEMPTS => thread::sleep(LOCK_PAUSE),
            opened => break opened?,
        }
    };
    let rows = db.open_tree("rows")?;
    let chunks = db.open_tree("chunks")?;
    Ok(Trees { db, rows, chunks })
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

/// A crash while sled wrote its own snapshot leaves a file that keeps it from opening.
fn remove_half_written_snapshots(dir: &Path) -> Result<(), StoreError> {
    for path in files_of(dir)? {
        if path.extension().is_some_and(|e| e == "generating") {
            fs::remove_file(&path).map_err(|e| StoreError::io("removing", &path, &e))?;
        }
    }
    Ok(())
}

/// Makes all that sled has written durable: its `flush` asks the kernel to write pages out, but
/// not the disk to keep them, nor the file system to keep sizes and names.
fn sync_files(dir: &Path, data: &File, syncs: &AtomicU64) -> Result<(), StoreError> {
    let count = |more: u64| syncs.fetch_add(more, Ordering::Relaxed);
    // Those that we ask for; sled's own `sync_file_range` calls are known to nobody but sled.
    count(1);
    data.sync_data()
        .map_err(|e| StoreError::io("syncing", &dir.join("db"), &e))?;
    let mut directories = BTreeSet::from([dir.to_owned()]);
    for path in files_of(dir)? {
        let opened = File::open(&path);
        let file = match opened {
            Ok(file) => file,
            // sled removes its older snapshots and its blobs when it likes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("opening", &path, &error)),
        };
        count(1);
        file.sync_data()
            .map_err(|e| StoreError::io("syncing", &path, &e))?;
        directories.extend(path.parent().map(Path::to_owned));
    }
    for directory in &directories {
        sync_directory(directory)?;
    }
    count(directories.len() as u64 + 1);
    sync_parent(dir)
}

fn sync_parent(dir: &Path) -> Result<(), StoreError> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

fn sync_directory(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(|e| StoreError::io("syncing", dir, &e))
}

/// The files below a directory, itself one or two levels deep.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |e: io::Error| StoreError::io("listing", dir, &e);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            files.extend(files_of(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn translate(doing: &str, dir: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => match error.kind() {
            // What sled says when a file ends before what it refers to.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                StoreError::damaged(dir, error.to_string())
            }
            _ => StoreError::io(doing, dir, &error),
        },
        error @ (sled::Error::Corruption { .. }
        | sled::Error::CollectionNotFound(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Unsupported(_)) => StoreError::damaged(dir, error.to_string()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".to_owned());
    format!("sled panicked: {text}")
}
