//! The record: how one commit stands in the journal.
//!
//! ```text
//! 0    4        8          16        24        32         36     37      40
//! | CRC | length | position | opening | durable | previous | kind | zeros | body … | zeros to 8 |
//! ```
//!
//! The CRC covers everything behind it. `previous` is the CRC of the record before, so records
//! form a chain; `durable` is the newest position known durable when this was written, which lets
//! recovery tell a torn tail from damage.

use crate::commit::Position;

pub(crate) const HEAD_BYTES: usize = 40;

/// Where in its head a record says which opening wrote it.
pub(crate) const OPENING_AT: usize = 16;

/// The longest body a record may have.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 20;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A commit; its body is the commit's.
    Commit,
    /// Says only that everything before it is durable. Its position is that of the commit before.
    Trailer,
}

/// A record as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) crc: u32,
    pub(crate) position: Position,
    pub(crate) opening: u64,
    pub(crate) durable: Position,
    pub(crate) previous: u32,
    pub(crate) kind: Kind,
    pub(crate) body: &'a [u8],
}

impl Record<'_> {
    /// Bytes it takes in the segment.
    pub(crate) fn bytes(&self) -> usize {
        framed_bytes(self.body.len())
    }
}

/// Bytes that a body of `length` bytes takes in a segment.
pub(crate) fn framed_bytes(length: usize) -> usize {
    (HEAD_BYTES + length).next_multiple_of(8)
}

/// Appends a record to `to` and returns its CRC.
pub(crate) fn put(
    to: &mut Vec<u8>,
    kind: Kind,
    position: Position,
    opening: u64,
    durable: Position,
    previous: u32,
    body: &[u8],
) -> u32 {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&(body.len() as u32).to_le_bytes());
    to.extend_from_slice(&position.0.to_le_bytes());
    to.extend_from_slice(&opening.to_le_bytes());
    to.extend_from_slice(&durable.0.to_le_bytes());
    to.extend_from_slice(&previous.to_le_bytes());
    let kind: u8 = match kind {
        Kind::Commit => 1,
        Kind::Trailer => 2,
    };
    to.extend_from_slice(&[kind, 0, 0, 0]);
    to.extend_from_slice(body);
    let crc = crc32c::crc32c(&to[start + 4..]);
    to[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    to.resize(start + framed_bytes(body.len()), 0);
    crc
}

/// The record at the beginning of `bytes`, if there is a sound one.
pub(crate) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let head = bytes.get(..HEAD_BYTES)?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    // Look at what is cheap first: the search for records behind a bad one calls this at every
    // eighth byte.
    let kind = match head[36..40] {
        [1, 0, 0, 0] => Kind::Commit,
        [2, 0, 0, 0] => Kind::Trailer,
        _ => return None,
    };
    let length = u32_at(4) as usize;
    if length > BODY_BYTES_MAX {
        return None;
    }
    let end = HEAD_BYTES + length;
    let covered = bytes.get(4..end)?;
    let crc = u32_at(0);
    if crc32c::crc32c(covered) != crc {
        return None;
    }
    // Not covered, but never anything else; a file may end within it.
    let padding = &bytes[end..bytes.len().min(framed_bytes(length))];
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(Record {
        crc,
        position: Position(u64_at(8)),
        opening: u64_at(OPENING_AT),
        durable: Position(u64_at(24)),
        previous: u32_at(32),
        kind,
        body: &bytes[HEAD_BYTES..end],
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            Kind::Commit,
            Position(5),
            0x1122_3344_5566_7788,
            Position(4),
            0xdead_beef,
            b"body",
        );
        bytes
    }

    #[test]
    fn golden_bytes_of_a_record() {
        let expected: &[u8] = &[
            0x36, 0x9c, 0xe7, 0xe7, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55,
            0x44, 0x33, 0x22, 0x11, 4, 0, 0, 0, 0, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde, 1, 0, 0, 0,
            b'b', b'o', b'd', b'y', 0, 0, 0, 0,
        ];
        assert_eq!(sample(), expected);
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let good = sample();
        assert_eq!(read(&good).unwrap().body, b"body");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_none(), "bit {bit}");
        }
        for length in 0..HEAD_BYTES + 4 {
            assert!(read(&good[..length]).is_none(), "cut to {length}");
        }
    }
}
