//! The disk's own speed: one 4 KiB overwrite made durable.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK_BYTES: usize = 4096;
const BLOCKS: u64 = 1024;

/// A preallocated, zero-filled file on the disk to be measured.
#[derive(Debug)]
pub struct Fdatasync {
    file: File,
    next: u64,
}

impl Fdatasync {
    /// Prepares a file without a name in `dir`.
    pub fn prepare(dir: &Path) -> io::Result<Fdatasync> {
        let file = tempfile::tempfile_in(dir)?;
        let zeros = vec![0; BLOCK_BYTES];
        for block in 0..BLOCKS {
            file.write_all_at(&zeros, block * BLOCK_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(Fdatasync { file, next: 0 })
    }

    /// Overwrites one block and waits until it is durable; how long that took.
    pub fn once(&mut self) -> io::Result<Duration> {
        self.next += 1;
        let block = vec![self.next as u8; BLOCK_BYTES];
        let began = Instant::now();
        let at = (self.next % BLOCKS) * BLOCK_BYTES as u64;
        self.file.write_all_at(&block, at)?;
        self.file.sync_data()?;
        Ok(began.elapsed())
    }
}
