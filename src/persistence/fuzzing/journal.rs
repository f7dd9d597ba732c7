//! The journal: its records, the commits in them, and a whole segment as recovery reads it.

use std::path::Path;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::commit::{
    Cause, Commit, EventNumber, Incarnation, Mark, MarkMove, Position, Send, Sequence, ServiceId,
    TableId, Write,
};
use crate::persistence::journal::body::{self, Numbers};
use crate::persistence::journal::reader::JournalReader;
use crate::persistence::journal::record::{self, HEAD_BYTES, Kind};
use crate::persistence::journal::segment::{RECORDS_START, SegmentHeader, cell_hash, segment_path};
use crate::persistence::memory_disk::MemoryDisk;

/// What of a segment's header is not zeros.
const HEADER_BYTES: usize = 68;

pub(crate) fn record(data: &[u8]) -> Result<(), String> {
    let record = record::read(data).ok_or("no record")?;
    let mut again = Vec::new();
    let crc = record::put(
        &mut again,
        record.kind,
        record.position,
        record.opening,
        record.durable,
        record.previous,
        record.body,
    );
    let end = HEAD_BYTES + record.body.len();
    assert_eq!((crc, &again[..end]), (record.crc, &data[..end]));
    assert_eq!(again.len(), record.bytes());
    if data.len() != end {
        return Err("more than a record".to_owned());
    }
    Ok(())
}

pub(crate) fn mend_record(data: &mut [u8]) {
    let Some(head) = data.get_mut(..HEAD_BYTES) else {
        return;
    };
    let kind = 1 + (head[36] & 1);
    head[36..40].copy_from_slice(&[kind, 0, 0, 0]);
    let length = (data.len() - HEAD_BYTES) as u32;
    data[4..8].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&data[4..]);
    data[..4].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut trailer = Vec::new();
    let (position, durable) = (Position(9), Position(9));
    record::put(&mut trailer, Kind::Trailer, position, 3, durable, 7, &[]);
    let bodies = commits().into_iter().map(|body| {
        let mut bytes = Vec::new();
        record::put(
            &mut bytes,
            Kind::Commit,
            Position(5),
            0x1122_3344_5566_7788,
            Position(4),
            0xdead_beef,
            &body,
        );
        // Without the zeros behind it, which nothing covers.
        bytes.truncate(HEAD_BYTES + body.len());
        bytes
    });
    bodies.chain([trailer]).collect()
}

pub(crate) fn commit(data: &[u8]) -> Result<(), String> {
    let (commit, numbers) = body::decode(data).map_err(|malformed| malformed.0.to_owned())?;
    // What could be said once may be said twice, as it was before: then it becomes shorter.
    let again = encoded(&commit, &numbers);
    assert!(again == data || again.len() < data.len());
    assert_eq!(body::decode(&again), Ok((commit, numbers)));
    Ok(())
}

fn encoded(commit: &Commit, numbers: &Numbers) -> Vec<u8> {
    let mut bytes = body::encode(commit);
    let mut events = numbers.events.iter();
    assert_eq!(numbers.sequences.len(), commit.sends.len());
    for (send, sequences) in commit.sends.iter().zip(&numbers.sequences) {
        assert_eq!(sequences.len(), send.to.len());
        for (_, sequence) in sequences {
            body::put_sequence(&mut bytes, *sequence);
        }
        if send.event {
            body::put_event(&mut bytes, *events.next().unwrap());
        }
    }
    assert_eq!(events.next(), None);
    bytes
}

pub(crate) fn commits() -> Vec<Vec<u8>> {
    let key = || Bytes::from_static(b"k");
    let causes = [
        Cause::Message {
            sender: ServiceId(1),
            sequence: Sequence(300),
        },
        Cause::Command { envelope: key() },
        Cause::Timer { key: key() },
        Cause::Activity {
            key: key(),
            result: Bytes::new(),
        },
        Cause::System {
            note: "parked".to_owned(),
        },
    ];
    let each = causes.into_iter().enumerate().map(|(n, cause)| {
        let event = n % 2 == 0;
        let commit = Commit {
            service: ServiceId(2),
            at: Timestamp(1_000),
            seed: 7,
            cause,
            mark: event.then_some(MarkMove {
                sender: ServiceId(1),
                mark: Mark {
                    consumed: Sequence(400),
                    applied: 398,
                    rejected: 2,
                    dead: 0,
                    discarded: 0,
                },
            }),
            writes: [Some(Bytes::from_static(b"value")), None]
                .into_iter()
                .take(n)
                .map(|value| Write {
                    table: TableId(300),
                    key: key(),
                    value,
                })
                .collect(),
            sends: vec![Send {
                envelope: Bytes::from_static(b"envelope"),
                to: vec![ServiceId(1), ServiceId(3)],
                event,
            }],
        };
        let to = [(1, 20), (3, 1)];
        let numbers = Numbers {
            sequences: vec![to.map(|(id, n)| (ServiceId(id), Sequence(n))).to_vec()],
            events: event.then_some(EventNumber(9)).into_iter().collect(),
        };
        encoded(&commit, &numbers)
    });
    each.collect()
}

pub(crate) fn header(data: &[u8]) -> Result<(), String> {
    let header = SegmentHeader::decode(data).map_err(|refused| format!("{refused:?}"))?;
    let again = header.encode();
    assert_eq!(&again[..HEADER_BYTES], &data[..HEADER_BYTES]);
    if data.len() != HEADER_BYTES {
        return Err("more than a header".to_owned());
    }
    Ok(())
}

pub(crate) fn mend_header(data: &mut [u8]) {
    if data.len() >= HEADER_BYTES {
        data[8..12].copy_from_slice(&1u32.to_le_bytes());
        let crc = crc32c::crc32c(&data[16..HEADER_BYTES]);
        data[12..16].copy_from_slice(&crc.to_le_bytes());
    }
}

pub(crate) fn headers() -> Vec<Vec<u8>> {
    let mut bytes = sample_header().encode();
    bytes.truncate(HEADER_BYTES);
    vec![bytes]
}

fn sample_header() -> SegmentHeader {
    SegmentHeader {
        cell: cell_hash("main"),
        incarnation: Incarnation(2),
        opening: 3,
        ordinal: 1,
        first: Position(5),
        durable: Position(5),
        previous: 7,
    }
}

/// A journal of one segment: its header without the zeros, then its records.
pub(crate) fn journal(data: &[u8]) -> Result<(), String> {
    let (header, records) = data.split_at_checked(HEADER_BYTES).ok_or("no header")?;
    let mut segment = header.to_vec();
    segment.resize(RECORDS_START, 0);
    segment.extend_from_slice(records);
    let disk = MemoryDisk::default();
    let dir = Path::new("journal");
    let ordinal = SegmentHeader::decode(header).map_or(1, |header| header.ordinal);
    disk.put(&segment_path(dir, ordinal), &segment);
    let said = |error: crate::error::OpenError| error.to_string();
    let reader = JournalReader::open(&disk, dir, cell_hash("main"))
        .map_err(said)?
        .ok_or("no segments")?;
    let before = Position(reader.first().0 - 1);
    let survey = reader.survey(before).map_err(said)?;
    assert!(survey.durable <= survey.end);
    // The zeros behind the last record may be missing.
    assert!(survey.durable_end <= segment.len().next_multiple_of(8) as u64);
    let mut next = reader.first();
    reader
        .replay(before, survey.end, &mut |position, _| {
            assert_eq!(position, next);
            next = Position(next.0 + 1);
            Ok(())
        })
        .unwrap();
    assert_eq!(next, Position(survey.end.0 + 1), "all that was surveyed");
    let behind_durable = survey.rescued.iter().map(|pending| pending.position.0);
    let first_rescued = (survey.durable.0 + 1).max(reader.first().0);
    assert!(behind_durable.eq(first_rescued..=survey.end.0));
    match survey.torn_bytes {
        0 => Ok(()),
        _ => Err("a torn tail".to_owned()),
    }
}

/// Makes the chain of records fit as far as their lengths do.
pub(crate) fn mend_journal(data: &mut [u8]) {
    mend_header(data);
    let Ok(header) = SegmentHeader::decode(data) else {
        return;
    };
    let mut chain = header.chain();
    let mut at = HEADER_BYTES;
    while let Some(head) = data.get_mut(at..at + HEAD_BYTES) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        head[32..36].copy_from_slice(&chain.to_le_bytes());
        let end = at + HEAD_BYTES + length;
        let Some(covered) = data.get(at + 4..end) else {
            return;
        };
        chain = crc32c::crc32c(covered);
        data[at..at + 4].copy_from_slice(&chain.to_le_bytes());
        at += record::framed_bytes(length);
    }
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    let header = sample_header();
    let mut bytes = headers().remove(0);
    let mut chain = header.chain();
    for (position, body) in (5..).zip(commits()) {
        let (position, durable) = (Position(position), Position(4));
        chain = record::put(
            &mut bytes,
            Kind::Commit,
            position,
            header.opening,
            durable,
            chain,
            &body,
        );
    }
    let whole = bytes.clone();
    let durable = Position(9);
    record::put(
        &mut bytes,
        Kind::Trailer,
        durable,
        header.opening,
        durable,
        chain,
        &[],
    );
    vec![whole, bytes]
}
