//! The files beside the journal: what `CHECKPOINT` and `RESTORED` say, snapshots and backups,
//! spilled messages, the event log, the `running` file, and the rows of the library itself.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::commit::{
    EventNumber, Incarnation, Mark, Position, Sequence, ServiceId, StreamId, TableId,
};
use crate::persistence::backlog::{Entry, Page};
use crate::persistence::backup::{BackupHead, FILES, inspect_backup, piece_key};
use crate::persistence::catalog::Catalog;
use crate::persistence::checkpoint::CheckpointFile;
use crate::persistence::disk::{Disk, OpenMode};
use crate::persistence::events::{self, EventLimits, EventLog, StoredEvent};
use crate::persistence::lineage::Ancestor;
use crate::persistence::memory_disk::MemoryDisk;
use crate::persistence::restore::Predecessor;
use crate::persistence::running::{InHand, Running, SharedMemory};
use crate::persistence::sled_log::{self, SegmentList};
use crate::persistence::snapshot::{Snapshot, SnapshotWriter};
use crate::persistence::spill::{SpillCursor, SpillFile, write_file};
use crate::persistence::streams::{read_stream_row, stream_row};

/// Where a sealed file's checksum stands, and its body begins.
const SEAL_BYTES: usize = 20;

/// Makes the length and checksum of a small sealed file fit.
pub(crate) fn mend_sealed(data: &mut [u8]) {
    if data.len() < SEAL_BYTES {
        return;
    }
    let length = (data.len() - SEAL_BYTES) as u32;
    data[12..16].copy_from_slice(&length.to_le_bytes());
    let head = crc32c::crc32c(&data[..16]);
    let checksum = crc32c::crc32c_append(head, &data[SEAL_BYTES..]);
    data[16..20].copy_from_slice(&checksum.to_le_bytes());
}

pub(crate) fn checkpoint(data: &[u8]) -> Result<(), String> {
    let file = CheckpointFile::decode(data).map_err(|refused| format!("{refused:?}"))?;
    assert_eq!(file.encode(), data);
    Ok(())
}

pub(crate) fn checkpoints() -> Vec<Vec<u8>> {
    let plain = sample_checkpoint(Vec::new());
    let (_, spilled) = sample_spill();
    let with_files = sample_checkpoint(vec![spilled]);
    vec![plain.encode(), with_files.encode()]
}

fn sample_checkpoint(spilled: Vec<SpillFile>) -> CheckpointFile {
    CheckpointFile {
        position: Position(300),
        newest: Timestamp(1),
        last_event: EventNumber(2),
        opening: 3,
        clean: true,
        boot_id: "boot".to_owned(),
        counts: BTreeMap::from([(TableId(16), 5), (TableId(300), 1)]),
        spilled,
    }
}

pub(crate) fn engine_segments(data: &[u8]) -> Result<(), String> {
    let list = SegmentList::decode(data).map_err(|refused| format!("{refused:?}"))?;
    assert_eq!(list.encode(), data);
    Ok(())
}

pub(crate) fn engine_segment_lists() -> Vec<Vec<u8>> {
    vec![
        SegmentList::default().encode(),
        sled_log::sample_list().encode(),
    ]
}

/// The messages at the beginning of a segment of sled's log.
pub(crate) fn engine_log(data: &[u8]) -> Result<(), String> {
    match sled_log::messages(data) {
        0 => Err("there is no message".to_owned()),
        _ => Ok(()),
    }
}

pub(crate) fn engine_logs() -> Vec<Vec<u8>> {
    vec![sled_log::sample_segment()]
}

pub(crate) fn restored(data: &[u8]) -> Result<(), String> {
    let restored = Predecessor::decode(data).map_err(|refused| format!("{refused:?}"))?;
    assert_eq!(restored.encode(), data);
    Ok(())
}

pub(crate) fn restored_files() -> Vec<Vec<u8>> {
    let predecessor = Predecessor {
        incarnation: Incarnation(1),
        position: Position(300),
        last_event: EventNumber(2),
        taken_at: Timestamp(3),
        restored_at: Timestamp(4),
        ancestors: Vec::new(),
    };
    let again = Predecessor {
        ancestors: vec![sample_ancestor(), sample_ancestor()],
        ..predecessor.clone()
    };
    vec![predecessor.encode(), again.encode()]
}

fn sample_ancestor() -> Ancestor {
    Ancestor {
        incarnation: Incarnation(5),
        last_event: EventNumber(300),
    }
}

/// The library's own rows in the engine: streams and the catalog of names. The first byte says
/// which; the engine's own checksums are sled's.
pub(crate) fn engine_row(data: &[u8]) -> Result<(), String> {
    match data {
        [0, row @ ..] => {
            let (sent, mark) = read_stream_row(row).map_err(|malformed| malformed.0.to_owned())?;
            assert_eq!(stream_row(sent, &mark), row);
            Ok(())
        }
        [length, rest @ ..] => {
            let key_bytes = usize::from(*length - 1).min(rest.len());
            let (key, value) = rest.split_at(key_bytes);
            let mut catalog = Catalog::default();
            let applied = catalog.apply(key, Some(value));
            applied.map_err(|malformed| malformed.0.to_owned())
        }
        [] => Err("no row".to_owned()),
    }
}

pub(crate) fn engine_rows() -> Vec<Vec<u8>> {
    let mark = Mark {
        consumed: Sequence(300),
        applied: 200,
        rejected: 1,
        dead: 0,
        discarded: 0,
    };
    let mut catalog = Catalog::default();
    let (service, named) = catalog.service("orders", 0, &[]);
    let named = named.unwrap();
    catalog.apply(&named.key, named.value.as_deref()).unwrap();
    let (_, table) = catalog.table(service, "open", &[]);
    let rows = [named, table.unwrap()].into_iter().map(|row| {
        let length = [row.key.len() as u8 + 1];
        [&length, &row.key[..], &row.value.unwrap()].concat()
    });
    let stream = [&[0], &stream_row(Sequence(301), &mark)[..]].concat();
    rows.chain([stream]).collect()
}

const FILE: &str = "file";

fn disk_with(data: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::default();
    disk.put(Path::new(FILE), data);
    disk
}

pub(crate) fn snapshot(data: &[u8]) -> Result<(), String> {
    let disk = disk_with(data);
    let path = Path::new(FILE);
    let info = Snapshot::verify(&disk, path).map_err(|error| error.to_string())?;
    assert_eq!(info.bytes, data.len() as u64);
    let again = Path::new("again");
    let mut writer = SnapshotWriter::create(&disk, again, info.position, &info.meta).unwrap();
    for row in Snapshot::rows(&disk, path).unwrap() {
        let (table, key, value) = row.unwrap();
        writer.row(table, &key, &value).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), info.rows);
    // Not the same bytes, perhaps: where a block ends is its writer's business.
    let written = Snapshot::verify(&disk, again).unwrap();
    assert_eq!(
        (
            written.position,
            &written.meta,
            written.rows,
            &written.tables
        ),
        (info.position, &info.meta, info.rows, &info.tables)
    );
    Ok(())
}

pub(crate) fn mend_snapshot(data: &mut [u8]) {
    let _ = mended_snapshot(data);
}

/// Makes the checksums fit as far as the lengths do.
fn mended_snapshot(data: &mut [u8]) -> Option<()> {
    mend_prelude(data)?;
    let meta_bytes = u32_at(data, 24)? as usize;
    let mut chain = 0;
    let mut at = 28 + meta_bytes;
    chain = chained(chain, put_checksum(data, 16..at, at)?);
    at += 4;
    while let Some(kind) = data.get(at).copied() {
        let body = at + 13..at + 13 + u32_at(data, at + 1)? as usize;
        if kind == 2 {
            let end = body.end.checked_sub(4)?;
            data.get_mut(end..body.end)?
                .copy_from_slice(&chain.to_le_bytes());
        }
        chain = chained(chain, put_checksum(data, at..at + 9, at + 9)?);
        chain = chained(chain, put_checksum(data, body.clone(), body.end)?);
        at = body.end + 4;
    }
    Some(())
}

/// The first bytes of a file that is not small: magic, format, checksum.
fn mend_prelude(data: &mut [u8]) -> Option<()> {
    put_checksum(data, 0..12, 12).map(drop)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Puts the checksum of some bytes where it belongs.
fn put_checksum(data: &mut [u8], of: Range<usize>, at: usize) -> Option<u32> {
    let checksum = crc32c::crc32c(data.get(of)?);
    data.get_mut(at..at + 4)?
        .copy_from_slice(&checksum.to_le_bytes());
    Some(checksum)
}

fn chained(chain: u32, checksum: u32) -> u32 {
    crc32c::crc32c_append(chain, &checksum.to_le_bytes())
}

pub(crate) fn snapshots() -> Vec<Vec<u8>> {
    let disk = MemoryDisk::default();
    let path = Path::new(FILE);
    let written = |rows: &[(u32, &[u8], &[u8])], meta: &[u8]| {
        let mut writer = SnapshotWriter::create(&disk, path, Position(9), meta).unwrap();
        for (table, key, value) in rows {
            writer.row(TableId(*table), key, value).unwrap();
        }
        writer.finish().unwrap();
        disk.bytes(path)
    };
    let rows: [(u32, &[u8], &[u8]); 4] = [
        (16, b"a", b"1"),
        (16, b"b", b""),
        (300, b"", b"2"),
        (300, b"z", &[7; 300]),
    ];
    vec![written(&[], b""), written(&rows, b"meta")]
}

pub(crate) fn backup(data: &[u8]) -> Result<(), String> {
    let disk = disk_with(data);
    let info = inspect_backup(&disk, Path::new(FILE)).map_err(|error| error.to_string())?;
    assert_eq!(info.bytes, data.len() as u64);
    Ok(())
}

/// As [`mend_snapshot`], with the sealed head in its meta data.
pub(crate) fn mend_backup(data: &mut [u8]) {
    let meta_bytes = u32_at(data, 24).map_or(0, |bytes| bytes as usize);
    if let Some(meta) = data.get_mut(28..28usize.saturating_add(meta_bytes)) {
        mend_sealed(meta);
        // Behind the name of the cell and two numbers: what `CHECKPOINT` would say, with a length
        // of one byte.
        let name_bytes = meta.get(SEAL_BYTES).map_or(0, |bytes| usize::from(*bytes));
        let at = SEAL_BYTES + 1 + name_bytes + 16;
        if let Some([length, checkpoint @ ..]) = meta.get_mut(at..)
            && let Some(checkpoint) = checkpoint.get_mut(..usize::from(*length))
        {
            mend_sealed(checkpoint);
        }
        mend_sealed(meta);
    }
    mend_snapshot(data);
}

pub(crate) fn backups() -> Vec<Vec<u8>> {
    let disk = MemoryDisk::default();
    let path = Path::new(FILE);
    let (file, spilled) = sample_spill();
    let written = |spilled: Vec<SpillFile>, files: &[(&str, &[u8])]| {
        let head = BackupHead {
            cell: "main".to_owned(),
            incarnation: Incarnation(1),
            taken_at: Timestamp(2),
            ancestors: spilled.iter().map(|_| sample_ancestor()).collect(),
            checkpoint: sample_checkpoint(spilled),
        };
        let position = head.checkpoint.position;
        let mut writer = SnapshotWriter::create(&disk, path, position, &head.encode()).unwrap();
        writer.row(TableId(300), b"k", b"v").unwrap();
        for (name, bytes) in files {
            writer.row(FILES, &piece_key(name, 0), bytes).unwrap();
        }
        writer.finish().unwrap();
        disk.bytes(path)
    };
    let name = spilled.path(Path::new("spill"));
    let files = [(name.to_str().unwrap(), &file[..])];
    vec![written(Vec::new(), &[]), written(vec![spilled], &files)]
}

/// How long the `CHECKPOINT` is, it itself, and the one file of spilled messages that it names.
pub(crate) fn spill_file(data: &[u8]) -> Result<(), String> {
    let (checkpoint, bytes) = split_spilled(data).ok_or("too short")?;
    let checkpoint =
        CheckpointFile::decode(checkpoint).map_err(|refused| format!("{refused:?}"))?;
    let [file] = checkpoint.spilled[..] else {
        return Err("not one file".to_owned());
    };
    let disk = MemoryDisk::default();
    let dir = Path::new("spill");
    disk.put(&file.path(dir), bytes);
    let mut page = Page::new(usize::MAX, usize::MAX);
    let cursor = SpillCursor::default();
    let mut read = Sequence(file.first.0 - 1);
    while read < file.last {
        let more = cursor.read(&disk, dir, file, read, &mut page);
        more.map_err(|error| error.to_string())?;
        let last = page.last().unwrap();
        assert!(last > read, "reading goes on");
        read = last;
    }
    assert_eq!(page.entries.len() as u64, file.entries());
    let numbers = page.entries.iter().map(|(sequence, _)| sequence.0);
    assert!(numbers.eq(file.first.0..=file.last.0));
    let again = write_file(&disk, Path::new("again"), file.stream, page.entries.iter()).unwrap();
    let said = (again.first, again.last, again.bytes);
    assert_eq!(
        (again.stream, said.0, said.1),
        (file.stream, file.first, file.last)
    );
    match said.2 == file.bytes {
        true => Ok(()),
        false => Err("other bytes than it says".to_owned()),
    }
}

fn split_spilled(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

/// Makes the checksum of the foot fit, and what `CHECKPOINT` says of it.
pub(crate) fn mend_spill_file(data: &mut [u8]) {
    let Some((checkpoint, file)) = split_spilled(data) else {
        return;
    };
    let (named, size) = (checkpoint.len(), file.len());
    let Some((checkpoint, file)) = data[2..].split_at_mut_checked(named) else {
        return;
    };
    let foot_bytes = u32_at(file, size.saturating_sub(8)).map_or(0, |bytes| bytes as usize);
    if let Some(end) = size.checked_sub(8 + foot_bytes).filter(|end| *end >= 32) {
        let _ = mend_prelude(file);
        let head = crc32c::crc32c(&file[..32]);
        let checksum = crc32c::crc32c_append(head, &file[end..size - 4]).to_le_bytes();
        file[size - 4..].copy_from_slice(&checksum);
        // With one file, its checksum is the last that is said.
        if let Some(said) = checkpoint.last_chunk_mut() {
            *said = checksum;
        }
    }
    mend_sealed(checkpoint);
}

fn sample_spill() -> (Vec<u8>, SpillFile) {
    let disk = MemoryDisk::default();
    let dir = Path::new("spill");
    let stream = StreamId {
        sender: ServiceId(1),
        receiver: ServiceId(2),
    };
    let envelope = include_bytes!("../../../tests/golden/envelope-1.bin");
    let entries: [Entry; 3] = [
        (Sequence(7), Bytes::from_static(envelope)),
        (Sequence(8), Bytes::from_static(b"nameless")),
        (Sequence(9), Bytes::new()),
    ];
    let file = write_file(&disk, dir, stream, entries.iter()).unwrap();
    (disk.bytes(&file.path(dir)), file)
}

pub(crate) fn spill_files() -> Vec<Vec<u8>> {
    let (bytes, file) = sample_spill();
    let checkpoint = sample_checkpoint(vec![file]).encode();
    let length = (checkpoint.len() as u16).to_le_bytes();
    vec![[&length[..], &checkpoint, &bytes].concat()]
}

/// The first and the last number that a file of the event log should have, their checksum, the file.
pub(crate) fn event_log(data: &[u8]) -> Result<(), String> {
    let (head, file) = data.split_first_chunk::<20>().ok_or("too short")?;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    let (first, last) = (number(0), number(8));
    let said = u32_at(head, 16).unwrap();
    if crc32c::crc32c(&head[..16]) != said || first == 0 || last < first || last == u64::MAX {
        return Err("not the numbers of a file".to_owned());
    }
    let disk = MemoryDisk::default();
    let dir = Path::new("events");
    let name = format!("{first:020}.events");
    disk.put(&dir.join(&name), file);
    let seen = events::inspect(&disk, dir, EventNumber(last)).map_err(|error| error.to_string())?;
    let limits = EventLimits::default();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let (log, _) = EventLog::open(Arc::clone(&disk), dir, limits, EventNumber(last))
        .map_err(|error| error.to_string())?;
    let mut next = EventNumber(first);
    let (mut read, mut missing) = (Vec::new(), 0u64);
    while next.0 <= last {
        let page = log
            .read(next, 3, 1 << 20)
            .map_err(|error| error.to_string())?;
        assert!(page.next > next, "reading goes on");
        next = page.next;
        missing += page
            .gaps
            .iter()
            .map(|gap| gap.last.0 - gap.first.0 + 1)
            .sum::<u64>();
        read.extend(page.events);
    }
    assert!(read.is_sorted_by(|one, other| one.number < other.number));
    assert_eq!(
        missing + read.len() as u64,
        last - first + 1,
        "all are accounted for"
    );
    let copies = Path::new("copy");
    let before = EventNumber(first - 1);
    let (copy, _) = EventLog::open(Arc::clone(&disk), copies, limits, before).unwrap();
    copy.append(&read).unwrap();
    let copied = disk.open(&copies.join(&name), OpenMode::Read);
    let copied = copied.and_then(|file| {
        let mut bytes = vec![0; file.size()? as usize];
        file.read_at(0, &mut bytes).map(|_| bytes)
    });
    let whole = seen.iter().all(|segment| {
        segment.has_head && segment.missing.is_empty() && segment.end == segment.bytes
    });
    // With something between its events, one that rots might be found there again.
    match missing == 0 && whole && copied.is_ok_and(|copied| copied == file) {
        true => Ok(()),
        false => Err("not all of it".to_owned()),
    }
}

pub(crate) fn mend_event_log(data: &mut [u8]) {
    let _ = mended_event_log(data);
}

fn mended_event_log(data: &mut [u8]) -> Option<()> {
    put_checksum(data, 0..16, 16)?;
    let file = data.get_mut(20..)?;
    mend_prelude(file)?;
    put_checksum(file, 16..32, 32)?;
    let mut at = 36;
    while at < file.len() {
        let end = at + 8 + u32_at(file, at)? as usize;
        let length = crc32c::crc32c(&file[at..at + 4]);
        let checksum = crc32c::crc32c_append(length, file.get(at + 8..end)?);
        file[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
    Some(())
}

pub(crate) fn event_logs() -> Vec<Vec<u8>> {
    let disk = MemoryDisk::default();
    let dir = Path::new("events");
    let event = |number: u64| StoredEvent {
        number: EventNumber(number),
        position: Position(number + 1),
        at: Timestamp(number as i64),
        service: ServiceId(1),
        envelope: Bytes::from(vec![number as u8; number as usize]),
    };
    let all: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = EventLog::open(all, dir, EventLimits::default(), EventNumber(4)).unwrap();
    let events: Vec<_> = (5..=9).map(event).collect();
    log.append(&events).unwrap();
    let file = disk.bytes(&dir.join(format!("{:020}.events", 5)));
    let numbers = [5u64.to_le_bytes(), 9u64.to_le_bytes()].concat();
    let checksum = crc32c::crc32c(&numbers).to_le_bytes();
    vec![[&numbers[..], &checksum, &file].concat()]
}

/// The opening that reads, and the slots that openings before it have left.
pub(crate) fn running(data: &[u8]) -> Result<(), String> {
    let (opening, slots) = data.split_first_chunk().ok_or("too short")?;
    let opening = u64::from_le_bytes(*opening);
    let words = slots.chunks_exact(8).map(|word| {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        AtomicU64::new(word)
    });
    let memory = SharedMemory::Simulated(words.collect());
    let running = Running::new(memory.clone(), opening, Incarnation(0));
    let found = running.interrupted();
    // Who finds what an earlier opening has named, names the same.
    let blank = SharedMemory::simulated(slots.len());
    let earlier = Running::new(blank.clone(), opening ^ 1, Incarnation(0));
    for interrupted in &found {
        earlier.slot(interrupted.service).set(interrupted.what);
    }
    if opening > 1 {
        assert_eq!(
            Running::new(blank, opening, Incarnation(0)).interrupted(),
            found
        );
    }
    running.forget();
    assert!(running.interrupted().is_empty(), "nobody is charged twice");
    running.finish();
    match found.len() {
        0 => Err("nothing in hand".to_owned()),
        _ => Ok(()),
    }
}

pub(crate) fn running_files() -> Vec<Vec<u8>> {
    let all = [
        InHand::Message {
            sender: ServiceId(3),
            sequence: Sequence(9),
        },
        InHand::Command { hash: 1 },
        InHand::Timer { hash: 2 },
        InHand::Activity { hash: u64::MAX },
    ];
    let words: Arc<[AtomicU64]> = (0..32).map(|_| AtomicU64::new(0)).collect();
    let running = Running::new(
        SharedMemory::Simulated(Arc::clone(&words)),
        7,
        Incarnation(0),
    );
    for (service, what) in (0..).zip(all) {
        running.slot(ServiceId(service)).set(what);
    }
    let words = words.iter().map(|word| word.load(Ordering::Acquire));
    let opening = [8u64].into_iter();
    vec![opening.chain(words).flat_map(u64::to_le_bytes).collect()]
}
