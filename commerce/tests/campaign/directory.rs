//! Data directories that are looked at, copied and made to look older by a campaign.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// So small that checkpoints and snapshots happen all the time, segments of the journal begin and
/// go, and every message that waits goes to a file.
pub const SMALL: [(&str, &str); 6] = [
    ("COMMERCE_STORAGE_SEGMENT_BYTES", "262144"),
    ("COMMERCE_STORAGE_CHECKPOINT_AFTER_BYTES", "98304"),
    ("COMMERCE_STORAGE_SNAPSHOT_AFTER_BYTES", "262144"),
    ("COMMERCE_STORAGE_OUTBOX_MEMORY_BYTES", "0"),
    ("COMMERCE_STORAGE_SPACE_LOW_BYTES", "0"),
    ("COMMERCE_STORAGE_SPACE_RESERVE_BYTES", "1048576"),
];

/// Every file below a directory.
pub fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    gather(directory, Path::new(""), &mut found);
    found
}

fn gather(directory: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let below = below.join(entry.file_name());
        if entry.path().is_dir() {
            gather(&entry.path(), &below, found);
        } else {
            found.insert(below, fs::read(entry.path()).unwrap());
        }
    }
}

/// Makes the run of the machine that a `CHECKPOINT` names another one, as after a restart.
pub fn another_boot(path: &Path) {
    let this = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let this = this.trim().as_bytes();
    let Ok(mut file) = fs::read(path) else {
        return;
    };
    let Some(at) = file.windows(this.len()).position(|part| part == this) else {
        return;
    };
    file[at..at + this.len()].reverse();
    let checksum = crc32c(&file[..16], &file[20..]);
    file[16..20].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, file).unwrap();
}

/// CRC32C, bit by bit.
fn crc32c(head: &[u8], body: &[u8]) -> u32 {
    let bits = head.iter().chain(body).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    });
    !bits
}

/// Copies a directory with all below it.
pub fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
