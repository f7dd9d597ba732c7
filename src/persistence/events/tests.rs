#![allow(clippy::unwrap_used)]

use super::*;
use crate::persistence::memory_disk::{Failing, MemoryDisk};

const DIR: &str = "/cell/events";
const SECOND: i64 = 1_000_000;
const SMALL: EventLimits = EventLimits {
    age: Duration::from_secs(1_000),
    bytes: 10_000,
    segment_bytes: 1_000,
};

/// Event `n` is published at second `n`, so that ages are easy to think about.
fn event(n: u64) -> StoredEvent {
    sized(n, 50)
}

fn sized(n: u64, bytes: usize) -> StoredEvent {
    StoredEvent {
        number: EventNumber(n),
        position: Position(n * 10),
        at: Timestamp(n as i64 * SECOND),
        service: ServiceId(7),
        envelope: Bytes::from(vec![n as u8; bytes]),
    }
}

fn events(range: std::ops::RangeInclusive<u64>) -> Vec<StoredEvent> {
    range.map(event).collect()
}

fn gap(first: u64, last: u64) -> EventGap {
    EventGap::from((first, last))
}

fn open(disk: &MemoryDisk, expected_last: u64) -> (EventLog, Vec<EventGap>) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    EventLog::open(disk, Path::new(DIR), SMALL, EventNumber(expected_last)).unwrap()
}

/// A log with events 1 to `last`, synced.
fn filled(disk: &MemoryDisk, last: u64) -> EventLog {
    let (log, _) = open(disk, 0);
    log.append(&events(1..=last)).unwrap();
    log.sync().unwrap();
    log
}

fn read_all(log: &EventLog) -> EventPage {
    log.read(EventNumber(1), usize::MAX, usize::MAX).unwrap()
}

fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.list(Path::new(DIR)).unwrap()
}

fn numbers(page: &EventPage) -> Vec<u64> {
    page.events.iter().map(|event| event.number.0).collect()
}

#[test]
fn events_come_back_as_published_over_many_segments_and_reopenings() {
    let disk = MemoryDisk::default();
    let mut log = filled(&disk, 20);
    for round in 1..5 {
        let last = round * 20;
        (log, _) = open(&disk, last);
        log.append(&events(last + 1..=last + 20)).unwrap();
        log.sync().unwrap();
    }
    assert!(files(&disk).len() > 5);
    let page = read_all(&log);
    assert_eq!(page.events, events(1..=100));
    assert_eq!(page.gaps, []);
    assert_eq!(page.next, EventNumber(101));
    let (log, gaps) = open(&disk, 100);
    assert_eq!(gaps, []);
    assert_eq!(read_all(&log), page);
    assert_eq!(
        (log.first(), log.last()),
        (EventNumber(1), EventNumber(100))
    );
}

#[test]
fn pages_are_cut_by_count_and_by_bytes_and_continue_where_they_ended() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 50);
    for (limit, bytes_max, length) in [(7, usize::MAX, 7), (100, 120, 2), (100, 0, 1), (1, 1, 1)] {
        let mut seen = Vec::new();
        let mut next = EventNumber(1);
        while next <= log.last() {
            let page = log.read(next, limit, bytes_max.max(1)).unwrap();
            assert!(page.events.len() <= length && !page.events.is_empty());
            seen.extend(numbers(&page));
            next = page.next;
        }
        assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    }
    assert_eq!(log.read(EventNumber(51), 9, 9).unwrap().events, []);
    assert_eq!(log.read(EventNumber(999), 9, 9).unwrap().next.0, 999);
}

#[test]
fn events_larger_than_segments_and_read_windows_come_back() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, 0);
    let limits = EventLimits {
        segment_bytes: 4 << 20,
        ..SMALL
    };
    let roomy = EventLog { limits, ..log };
    let mut expected: Vec<_> = (1..=40).map(|n| sized(n, n as usize * 12_345)).collect();
    roomy.append(&expected).unwrap();
    let (log, _) = open(&disk, 40);
    expected.push(sized(41, 500_000));
    log.append(&expected[40..]).unwrap();
    assert_eq!(read_all(&log).events, expected);
    let page = log.read(EventNumber(33), 3, usize::MAX).unwrap();
    assert_eq!(page.events, expected[32..35]);
}

#[test]
fn what_is_beyond_the_expected_last_event_is_cut_and_appended_again() {
    for expected_last in 0..=30 {
        let disk = MemoryDisk::default();
        filled(&disk, 30);
        let (log, gaps) = open(&disk, expected_last);
        assert_eq!(gaps, []);
        assert_eq!(log.last(), EventNumber(expected_last));
        assert_eq!(read_all(&log).events, events(1..=expected_last));
        log.append(&[sized(expected_last + 1, 9)]).unwrap();
        log.append(&[sized(expected_last + 2, 300)]).unwrap();
        log.sync().unwrap();
        let (log, gaps) = open(&disk, expected_last + 2);
        assert_eq!(gaps, []);
        let mut expected = events(1..=expected_last);
        expected.extend([sized(expected_last + 1, 9), sized(expected_last + 2, 300)]);
        assert_eq!(read_all(&log).events, expected);
    }
}

/// What a power loss may leave behind the last sync: any prefix of what was written, and after it
/// zeroes or noise.
#[test]
fn a_torn_tail_is_cut_to_the_expected_last_event() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 25);
    let newest = files(&disk).pop().unwrap();
    let synced = disk.bytes(&newest).len();
    log.append(&events(26..=29)).unwrap();
    assert_eq!(files(&disk).pop().unwrap(), newest);
    let whole = disk.bytes(&newest);
    for kept in synced..=whole.len() {
        for filler in [None, Some(0), Some(0x5a)] {
            let mut torn = whole[..kept].to_vec();
            torn.extend(filler.iter().cycle().take(whole.len() - kept));
            disk.put(&newest, &torn);
            let (log, gaps) = open(&disk, 25);
            assert_eq!(gaps, []);
            assert_eq!(disk.bytes(&newest), whole[..synced]);
            log.append(&events(26..=29)).unwrap();
            assert_eq!(read_all(&log).events, events(1..=29));
            assert_eq!(disk.bytes(&newest), whole);
        }
    }
}

#[test]
fn events_that_the_log_has_are_passed_over() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 10);
    log.append(&events(5..=15)).unwrap();
    log.append(&events(1..=3)).unwrap();
    assert_eq!(read_all(&log).events, events(1..=15));
}

#[test]
fn numbers_never_published_here_are_a_gap() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 3);
    log.append(&events(8..=9)).unwrap();
    log.sync().unwrap();
    for log in [log, open(&disk, 9).0] {
        let page = read_all(&log);
        assert_eq!(numbers(&page), [1, 2, 3, 8, 9]);
        assert_eq!(page.gaps, [gap(4, 7)]);
    }
}

#[test]
fn a_log_that_lost_its_end_says_so_and_goes_on() {
    let disk = MemoryDisk::default();
    filled(&disk, 10);
    let (log, gaps) = open(&disk, 14);
    assert_eq!(gaps, [gap(11, 14)]);
    log.append(&events(15..=16)).unwrap();
    log.sync().unwrap();
    for log in [log, open(&disk, 16).0] {
        let page = read_all(&log);
        assert_eq!(numbers(&page).len(), 12);
        assert_eq!(page.gaps, [gap(11, 14)]);
        assert_eq!(page.next, EventNumber(17));
    }
}

/// Every byte of a small log, one at a time: what is read is what was published, and what is not
/// read is a gap.
#[test]
fn damage_costs_the_damaged_events_and_is_told() {
    let disk = MemoryDisk::default();
    filled(&disk, 25);
    let mut cost_one = 0;
    for path in files(&disk) {
        let whole = disk.bytes(&path);
        for byte in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << (byte % 8);
            disk.put(&path, &flipped);
            let (log, at_opening) = open(&disk, 25);
            let page = read_all(&log);
            assert!(page.events.iter().all(|e| *e == event(e.number.0)));
            let missing: u64 = page.gaps.iter().map(|g| g.last.0 - g.first.0 + 1).sum();
            assert_eq!(missing + page.events.len() as u64, 25, "byte {byte}");
            assert!(missing <= 1, "byte {byte} cost {missing} events");
            assert!(at_opening.iter().all(|gap| page.gaps.contains(gap)));
            cost_one += missing;
            // The log goes on behind the damage.
            log.append(&[event(26)]).unwrap();
            assert_eq!(numbers(&read_all(&log)).last(), Some(&26));
            disk.put(&path, &whole);
            for added in files(&disk)
                .iter()
                .filter(|p| Segment::first_of(p) == Some(EventNumber(26)))
            {
                disk.remove(added).unwrap();
            }
        }
    }
    assert!(cost_one > 2_000, "{cost_one}");
}

#[test]
fn rot_while_the_log_is_open_becomes_a_gap() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 25);
    assert_eq!(read_all(&log).gaps, []);
    let oldest = Disk::open(
        &disk,
        &files(&disk)[0],
        crate::persistence::disk::OpenMode::Write,
    );
    // Within the second event.
    oldest.unwrap().write_at(160, &[0xff]).unwrap();
    let page = read_all(&log);
    assert_eq!(page.gaps, [gap(2, 2)]);
    assert_eq!(page.events.len(), 24);
}

#[test]
fn a_lost_segment_is_a_gap() {
    let disk = MemoryDisk::default();
    filled(&disk, 50);
    let lost = files(&disk)[2].clone();
    let first = Segment::first_of(&lost).unwrap().0;
    let after = Segment::first_of(&files(&disk)[3]).unwrap().0;
    disk.remove(&lost).unwrap();
    let page = read_all(&open(&disk, 50).0);
    assert_eq!(page.gaps, [gap(first, after - 1)]);
    assert_eq!(page.events.len() as u64, 50 - (after - first));
}

#[test]
fn too_old_segments_go_and_their_range_is_a_gap() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 100);
    let now = |second: i64| Timestamp(second * SECOND);
    assert_eq!(log.trim(now(1_000)).unwrap(), 0);
    let removed = log.trim(now(1_050)).unwrap();
    assert!(removed > 0);
    let first = log.first();
    // No event younger than the age is gone, and no segment is kept that is all older.
    assert!(first.0 > 30 && first.0 <= 50, "{first:?}");
    let page = read_all(&log);
    assert_eq!(page.first_kept, first);
    assert_eq!(page.gaps, [gap(1, first.0 - 1)]);
    assert_eq!(page.events, events(first.0..=100));

    // A quiet log forgets its newest segment too, but not its numbers.
    log.trim(now(2_000)).unwrap();
    assert_eq!(files(&disk), Vec::<PathBuf>::new());
    assert_eq!(log.first(), EventNumber(101));
    let page = log.read(EventNumber(90), 9, 99).unwrap();
    assert_eq!(
        (page.gaps, page.next),
        (vec![gap(90, 100)], EventNumber(101))
    );
    let (log, gaps) = open(&disk, 100);
    assert_eq!(gaps, []);
    log.append(&[event(101)]).unwrap();
    assert_eq!(numbers(&read_all(&log)), [101]);
}

#[test]
fn a_quiet_log_begins_a_segment_in_time_to_be_trimmed() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, 0);
    for n in [1, 100, 200, 1_000] {
        log.append(&[event(n)]).unwrap();
    }
    assert_eq!(files(&disk).len(), 3);
}

#[test]
fn too_many_segments_go_down_to_the_limit() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 300);
    assert!(log.bytes() > SMALL.bytes);
    log.trim(Timestamp(300 * SECOND)).unwrap();
    assert!(log.bytes() <= SMALL.bytes);
    assert!(log.bytes() > SMALL.bytes - 2 * SMALL.segment_bytes);
    let first = log.first().0;
    let (reopened, _) = open(&disk, 300);
    assert_eq!(read_all(&reopened).events, events(first..=300));
    assert_eq!(reopened.bytes(), log.bytes());
}

#[test]
fn a_failed_write_is_made_good_and_a_failed_sync_closes_the_log() {
    let disk = MemoryDisk::default();
    let log = filled(&disk, 5);
    disk.fail(Failing::Writes);
    assert!(matches!(
        log.append(&[event(6)]),
        Err(StoreError::Io { .. })
    ));
    disk.fail(Failing::Nothing);
    log.append(&events(6..=7)).unwrap();
    assert_eq!(read_all(&log).events, events(1..=7));
    disk.fail(Failing::Syncs);
    assert!(matches!(log.sync(), Err(StoreError::Io { .. })));
    disk.fail(Failing::Nothing);
    assert!(matches!(log.sync(), Err(StoreError::Closed { .. })));
    assert!(matches!(
        log.append(&[event(8)]),
        Err(StoreError::Closed { .. })
    ));
}

#[test]
fn a_newer_format_is_refused() {
    let disk = MemoryDisk::default();
    filled(&disk, 1);
    let path = &files(&disk)[0];
    let mut newer = disk.bytes(path);
    newer[8..16].copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
    let checksum = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&checksum.to_le_bytes());
    disk.put(path, &newer);
    let opened = EventLog::open(Arc::new(disk), Path::new(DIR), SMALL, EventNumber(1));
    assert!(matches!(
        opened.err(),
        Some(StoreError::NewerFormat {
            found: 2,
            known: 1,
            ..
        })
    ));
}

/// The format is a promise to every later version: if this test fails, raise `EVENTS_FORMAT` and
/// keep reading this one.
#[test]
fn format_1_is_written_to_the_byte() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, 0);
    log.append(&[sized(1, 3), sized(2, 0)]).unwrap();
    let golden = [
        // head: magic, format; first number and its time
        "72646c7665766e74 01000000 6761556e",
        "0100000000000000 40420f0000000000 7ee682e6",
        // two records
        "1f000000 57bd70c4 0100000000000000 0a00000000000000 40420f0000000000 07000000 010101",
        "1c000000 12c904bc 0200000000000000 1400000000000000 80841e0000000000 07000000",
    ]
    .concat()
    .replace(' ', "");
    let bytes = disk.bytes(&files(&disk)[0]);
    let written: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, golden);
}

#[test]
fn readers_see_a_growing_log_in_order() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200 {
                log.append(&events(n * 5 + 1..=n * 5 + 5)).unwrap();
                log.sync().unwrap();
            }
        });
        let mut next = EventNumber(1);
        while next.0 <= 1_000 {
            let page = log.read(next, 7, usize::MAX).unwrap();
            assert_eq!(page.gaps, []);
            assert_eq!(page.events, events(next.0..=page.next.0 - 1));
            next = page.next;
        }
    });
}
