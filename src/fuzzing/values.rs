//! Envelopes and sealed values: what every row and every message is made of.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Verdict;
use crate::clock::Timestamp;
use crate::codec::{self, Body, CodecError, Subject};
use crate::envelope::{Envelope, Key, Kind, MessageId, TraceContext};

pub(super) fn envelope(data: &[u8]) -> Verdict {
    let bytes = Bytes::copy_from_slice(data);
    let envelope = Envelope::decode(&bytes).map_err(|error| error.to_string())?;
    // Ids that could be left out may stand there, as they did before: then it becomes shorter.
    let encoded = envelope.encode().unwrap();
    assert!(encoded == bytes || encoded.len() < bytes.len());
    assert_eq!(Envelope::decode(&encoded).unwrap(), envelope);
    assert_eq!(envelope.name().as_bytes(), envelope.name, "a name is text");
    Ok(())
}

pub(super) fn mend_envelope(data: &mut [u8]) {
    if let Some((content, checksum)) = data.split_last_chunk_mut::<4>() {
        *checksum = crc32c::crc32c(content).to_le_bytes();
    }
}

pub(super) fn envelopes() -> Vec<Vec<u8>> {
    let golden = include_bytes!("../../tests/golden/envelope-1.bin");
    let id = |n| MessageId(Uuid::from_u128(n));
    let bare = Envelope {
        id: id(1),
        kind: Kind::Command,
        name: Bytes::from_static(b"ask"),
        version: 2,
        key: Key::None,
        correlation: id(1),
        causation: id(1),
        trace: None,
        at: Timestamp(0),
        wants_reply: true,
        body: Bytes::new(),
    };
    let traced = Envelope {
        trace: Some(TraceContext {
            trace_id: [1; 16],
            span_id: [2; 8],
            flags: 1,
        }),
        key: Key::Of(Bytes::new()),
        ..bare.clone()
    };
    let encoded = [bare, traced].map(|envelope| envelope.encode().unwrap().to_vec());
    [golden.to_vec()].into_iter().chain(encoded).collect()
}

/// Everything that a stored type is usually made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    id: Uuid,
    name: String,
    numbers: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    choice: Choice,
    lines: Vec<(String, i64)>,
    flags: Vec<bool>,
    stock: BTreeMap<u64, Option<char>>,
    nested: Option<Box<Sample>>,
    #[serde(with = "crate::codec::blob")]
    blob: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    None,
    One(Timestamp),
    Many { all: Vec<Vec<u8>> },
}

const SAMPLE: Subject<'static> = Subject::message("sample");

pub(super) fn value(data: &[u8]) -> Verdict {
    opens_again::<Sample>(SAMPLE, 1, data, codec::no_older)
}

/// Opens a value and, if that can be done, one that is sealed anew.
pub(super) fn opens_again<T>(
    subject: Subject<'_>,
    version: u16,
    data: &[u8],
    older: fn(u16, Body<'_>) -> Option<Result<T, CodecError>>,
) -> Verdict
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let value = codec::open(subject, version, data, older).map_err(|error| error.to_string())?;
    // Not the same bytes, perhaps: a number may be written longer than it has to be.
    let again = codec::seal(subject, version, &value).unwrap();
    let opened: T = codec::open(subject, version, &again, codec::no_older).unwrap();
    assert_eq!(opened, value);
    Ok(())
}

pub(super) fn mend_value(data: &mut [u8]) {
    codec::mend(SAMPLE, data);
}

fn sample(nested: Option<Box<Sample>>, choice: Choice) -> Sample {
    Sample {
        id: Uuid::from_u128(7),
        name: "größer".to_owned(),
        numbers: (1, 300, 70_000, 1 << 40, 1 << 100),
        signed: (-1, -300, -70_000, -(1 << 40), -(1 << 100)),
        choice,
        lines: vec![("a".to_owned(), 1), (String::new(), -1)],
        flags: vec![true, false],
        stock: BTreeMap::from([(1, Some('x')), (2, None)]),
        nested,
        blob: vec![0, 255],
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let all = vec![vec![1, 2, 3], vec![]];
    let inner = sample(None, Choice::Many { all });
    let outer = sample(Some(Box::new(inner)), Choice::One(Timestamp(-5)));
    let plain = sample(None, Choice::None);
    [outer, plain]
        .map(|value| codec::seal(SAMPLE, 1, &value).unwrap())
        .to_vec()
}

/// The third version of a type.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Third {
    name: String,
    prices: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Second {
    name: String,
    price: u64,
}

/// The first was a name alone.
fn upgrade(version: u16, body: Body<'_>) -> Option<Result<Third, CodecError>> {
    let from_second = |second: Second| Third {
        name: second.name,
        prices: vec![second.price],
    };
    let from_first = |name| from_second(Second { name, price: 0 });
    match version {
        1 => Some(body.decode().map(from_first)),
        2 => Some(body.decode().map(from_second)),
        _ => None,
    }
}

pub(super) fn upgraded(data: &[u8]) -> Verdict {
    opens_again(SAMPLE, 3, data, upgrade)
}

pub(super) fn older_seeds() -> Vec<Vec<u8>> {
    let name = || "lamp".to_owned();
    let second = Second {
        name: name(),
        price: 999,
    };
    let third = Third {
        name: name(),
        prices: vec![1, 2, 300],
    };
    [
        codec::seal(SAMPLE, 1, &name()),
        codec::seal(SAMPLE, 2, &second),
        codec::seal(SAMPLE, 3, &third),
    ]
    .map(Result::unwrap)
    .to_vec()
}
