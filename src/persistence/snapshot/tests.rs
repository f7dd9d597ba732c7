#![allow(clippy::unwrap_used)]

use super::*;
use crate::persistence::memory_disk::{Failing, MemoryDisk};

fn path() -> &'static Path {
    Path::new("/snapshots/17.snap")
}

fn write(disk: &MemoryDisk, rows: &[SnapshotRow]) -> u64 {
    let mut writer = SnapshotWriter::create(disk, path(), Position(17), b"meta").unwrap();
    for (table, key, value) in rows {
        writer.row(*table, key, value).unwrap();
    }
    writer.finish().unwrap()
}

fn read(disk: &MemoryDisk) -> Result<Vec<SnapshotRow>, StoreError> {
    Snapshot::rows(disk, path())?.collect()
}

fn row(table: u32, key: &[u8], value: &[u8]) -> SnapshotRow {
    (
        TableId(table),
        Bytes::copy_from_slice(key),
        Bytes::copy_from_slice(value),
    )
}

fn few_rows() -> Vec<SnapshotRow> {
    vec![
        row(0, b"", b"empty key"),
        row(0, b"a", b""),
        row(3, b"a", b"value"),
    ]
}

#[test]
fn rows_come_back_in_order_with_position_meta_and_counts() {
    let disk = MemoryDisk::default();
    assert_eq!(write(&disk, &few_rows()), 3);
    assert_eq!(read(&disk).unwrap(), few_rows());
    let info = Snapshot::verify(&disk, path()).unwrap();
    assert_eq!(info.position, Position(17));
    assert_eq!(info.meta, "meta");
    assert_eq!(info.rows, 3);
    assert_eq!(info.tables, [(TableId(0), 2), (TableId(3), 1)]);
    assert_eq!(info.bytes, disk.bytes(path()).len() as u64);
}

#[test]
fn a_snapshot_without_rows_is_whole() {
    let disk = MemoryDisk::default();
    assert_eq!(write(&disk, &[]), 0);
    assert_eq!(Snapshot::verify(&disk, path()).unwrap().rows, 0);
}

/// The format is a promise to every later version: if this test fails, raise `SNAPSHOT_FORMAT`
/// and keep reading this one.
#[test]
fn format_1_is_written_to_the_byte() {
    let disk = MemoryDisk::default();
    write(&disk, &few_rows());
    let golden = [
        // head: magic, format; position, meta
        "72646c76736e6170 01000000 074d3a8d",
        "1100000000000000 04000000 6d657461 946627d4",
        // block of three rows
        "01 34000000 03000000 92d99285",
        "00000000 00000000 09000000 656d707479206b6579",
        "00000000 01000000 00000000 61",
        "03000000 01000000 05000000 61 76616c7565",
        "25983338",
        // foot: rows of tables 0 and 3, of all, chain
        "02 24000000 02000000 b7760ec5",
        "00000000 0200000000000000 03000000 0100000000000000",
        "0300000000000000 30e315e8",
        "7eaceb5c",
    ]
    .concat()
    .replace(' ', "");
    let written: String = disk
        .bytes(path())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(written, golden);
}

#[test]
fn rows_larger_and_smaller_than_a_block_share_a_file() {
    let disk = MemoryDisk::default();
    let mut random = fastrand::Rng::with_seed(5);
    let rows: Vec<_> = (0..3_000_u32)
        .map(|n| {
            let size = if n % 500 == 0 {
                300_000
            } else {
                random.usize(..300)
            };
            row(n / 1_000, &n.to_be_bytes(), &vec![n as u8; size])
        })
        .collect();
    assert_eq!(write(&disk, &rows), 3_000);
    assert_eq!(read(&disk).unwrap(), rows);
}

#[test]
fn reading_needs_memory_for_one_block_only() {
    let disk = MemoryDisk::default();
    let rows: Vec<_> = (0..20_000_u32)
        .map(|n| row(1, &n.to_be_bytes(), &[7; 100]))
        .collect();
    write(&disk, &rows);
    Snapshot::verify(&disk, path()).unwrap();
    assert!(disk.bytes(path()).len() > 30 * BLOCK_BYTES);
    assert!(disk.longest_read() <= BLOCK_BYTES);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let disk = MemoryDisk::default();
    write(&disk, &few_rows());
    let whole = disk.bytes(path());
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << bit;
            disk.put(path(), &flipped);
            let verified = Snapshot::verify(&disk, path());
            assert!(
                matches!(verified, Err(StoreError::Damaged { .. })),
                "bit {bit} of byte {byte}: {verified:?}"
            );
            assert!(read(&disk).is_err());
        }
    }
}

#[test]
fn every_cut_and_every_appended_byte_is_noticed() {
    let disk = MemoryDisk::default();
    write(&disk, &few_rows());
    let whole = disk.bytes(path());
    for length in 0..whole.len() {
        disk.put(path(), &whole[..length]);
        let verified = Snapshot::verify(&disk, path());
        assert!(
            matches!(verified, Err(StoreError::Damaged { .. })),
            "cut to {length}: {verified:?}"
        );
    }
    disk.put(path(), &[whole.as_slice(), &[0]].concat());
    let verified = Snapshot::verify(&disk, path());
    assert!(matches!(verified, Err(StoreError::Damaged { .. })));
}

/// Each block is whole in itself; only the chain of checksums tells.
#[test]
fn a_block_of_another_snapshot_is_noticed() {
    let disk = MemoryDisk::default();
    write(&disk, &[row(1, b"a", b"old")]);
    let old = disk.bytes(path());
    write(&disk, &[row(1, b"a", b"new")]);
    let mut mixed = disk.bytes(path());
    let block = PRELUDE_BYTES + 12 + 4 + CHECKSUM_BYTES;
    let foot = block + BLOCK_HEAD_BYTES + ROW_HEAD_BYTES + 4 + CHECKSUM_BYTES;
    mixed[block..foot].copy_from_slice(&old[block..foot]);
    disk.put(path(), &mixed);
    let error = Snapshot::verify(&disk, path()).unwrap_err();
    assert!(error.to_string().contains("belong together"), "{error}");
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let disk = MemoryDisk::default();
    write(&disk, &few_rows());
    let mut newer = disk.bytes(path());
    newer[..PRELUDE_BYTES].copy_from_slice(&prelude(2));
    disk.put(path(), &newer);
    let error = Snapshot::verify(&disk, path()).unwrap_err();
    let expected = StoreError::NewerFormat {
        what: "snapshot /snapshots/17.snap".to_owned(),
        found: 2,
        known: 1,
    };
    assert_eq!(error, expected);
}

#[test]
fn a_missing_snapshot_is_an_error_that_names_it() {
    let error = Snapshot::verify(&MemoryDisk::default(), path()).unwrap_err();
    assert!(error.to_string().contains("/snapshots/17.snap"), "{error}");
}

#[test]
fn rows_out_of_order_are_refused() {
    let disk = MemoryDisk::default();
    let mut writer = SnapshotWriter::create(&disk, path(), Position(1), &[]).unwrap();
    writer.row(TableId(2), b"b", b"").unwrap();
    for (table, key) in [(2, b"b"), (2, b"a"), (1, b"z")] {
        let refused = writer.row(TableId(table), key, b"");
        assert!(matches!(refused, Err(StoreError::Damaged { .. })));
    }
    writer.row(TableId(2), b"c", b"").unwrap();
    assert_eq!(writer.finish().unwrap(), 2);
    Snapshot::verify(&disk, path()).unwrap();
}

#[test]
fn the_name_appears_only_after_the_last_sync() {
    let disk = MemoryDisk::default();
    let writer = SnapshotWriter::create(&disk, path(), Position(1), &[]).unwrap();
    disk.fail(Failing::Syncs);
    assert!(matches!(writer.finish(), Err(StoreError::Io { .. })));
    disk.fail(Failing::Nothing);
    let left = disk.list(Path::new("/snapshots")).unwrap();
    assert_eq!(left, [Path::new("/snapshots/17.snap.tmp")]);
    let removed = Snapshot::remove_unfinished(&disk, Path::new("/snapshots"));
    assert_eq!(removed.unwrap(), 1);

    let writer = SnapshotWriter::create(&disk, path(), Position(1), &[]).unwrap();
    writer.abandon().unwrap();
    assert!(disk.list(Path::new("/snapshots")).unwrap().is_empty());
}
