//! The segment: one file of the journal.
//!
//! ```text
//! header block (4096 bytes):
//! magic (8) | format (4) | CRC of the rest (4) | cell (8) | incarnation (8) | opening (8)
//! | ordinal (8) | first position (8) | durable position (8) | CRC of the record before (4) | zeros
//! ```
//!
//! A segment appears under its name by rename, after its header and the records rescued into it
//! are durable. So what stands in a header is always true, and a bad header is damage.

use std::io;
use std::path::{Path, PathBuf};

use crate::commit::{Incarnation, Position};
use crate::persistence::disk::Disk;
use crate::persistence::format::{Decoder, FORMAT_VERSION, Unsealed};

/// Where records begin. A whole block, so that no record shares a sector with the header.
pub(crate) const RECORDS_START: usize = 4096;

const MAGIC: &[u8; 8] = b"RDLVJRNL";
const HEADER_BYTES: usize = 68;
/// No position or ordinal ever comes near it, so that one more is always a number too.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Hash of the cell's name: a segment copied into another cell is refused.
    pub(crate) cell: u64,
    pub(crate) incarnation: Incarnation,
    /// The opening that wrote every record in it.
    pub(crate) opening: u64,
    pub(crate) ordinal: u64,
    /// Position of its first commit, whether or not it has come yet.
    pub(crate) first: Position,
    /// Durable when the segment appeared.
    pub(crate) durable: Position,
    /// CRC of the commit before `first`; 0 if there is none.
    pub(crate) previous: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORDS_START);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for number in [
            self.cell,
            self.incarnation.0,
            self.opening,
            self.ordinal,
            self.first.0,
            self.durable.0,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        let crc = self.chain_of(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(RECORDS_START, 0);
        bytes
    }

    fn chain_of(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c(&bytes[16..HEADER_BYTES])
    }

    /// Where the chain of its records begins.
    pub(crate) fn chain(&self) -> u32 {
        let bytes = self.encode();
        self.chain_of(&bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, Unsealed> {
        let short = |_| Unsealed::Damaged("its header is cut");
        let mut from = Decoder::new(bytes);
        if from.take(8).map_err(short)? != MAGIC {
            return Err(Unsealed::Damaged(
                "its header does not start as a segment does",
            ));
        }
        let version = from.u32().map_err(short)?;
        let crc = from.u32().map_err(short)?;
        let covered = bytes
            .get(16..HEADER_BYTES)
            .ok_or(Unsealed::Damaged("its header is cut"))?;
        let sound = crc32c::crc32c(covered) == crc;
        if version > FORMAT_VERSION {
            return Err(Unsealed::Newer {
                found: version,
                known: FORMAT_VERSION,
            });
        }
        if !sound || version != FORMAT_VERSION {
            return Err(Unsealed::Damaged(
                "the checksum of its header does not match",
            ));
        }
        let mut number = || from.u64().map_err(short);
        let header = SegmentHeader {
            cell: number()?,
            incarnation: Incarnation(number()?),
            opening: number()?,
            ordinal: number()?,
            first: Position(number()?),
            durable: Position(number()?),
            previous: from.u32().map_err(short)?,
        };
        let largest = header.ordinal.max(header.first.0).max(header.durable.0);
        if header.first == Position(0) || largest > NUMBER_MAX {
            return Err(Unsealed::Damaged(
                "its header has a number that none can be",
            ));
        }
        Ok(header)
    }
}

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(format!("{ordinal:016}.seg"))
}

/// The segments in a directory with their ordinals, ascending.
pub(crate) fn list_segments(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments: Vec<(u64, PathBuf)> = disk
        .list(dir)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .filter_map(|path| {
            let ordinal = path.file_stem()?.to_str()?.parse().ok()?;
            Some((ordinal, path))
        })
        .collect();
    segments.sort();
    Ok(segments)
}

/// Hash of a cell's name for segment headers.
pub(crate) fn cell_hash(name: &str) -> u64 {
    // FNV-1a: stable across versions, which the hashers of std do not promise.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader {
            cell: cell_hash("main"),
            incarnation: Incarnation(2),
            opening: 3,
            ordinal: 4,
            first: Position(5),
            durable: Position(6),
            previous: 7,
        }
    }

    #[test]
    fn golden_bytes_of_a_segment_header() {
        let bytes = sample().encode();
        let expected: &[u8] = &[
            b'R', b'D', b'L', b'V', b'J', b'R', b'N', b'L', 1, 0, 0, 0, 0x5b, 0xfa, 0xa9,
            0xff, //
            0xc8, 0x03, 0x98, 0xce, 0xa2, 0x62, 0x59, 0x1f, 2, 0, 0, 0, 0, 0, 0, 0, //
            3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, //
            6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0,
        ];
        assert_eq!(bytes.len(), RECORDS_START);
        assert_eq!(&bytes[..HEADER_BYTES], expected);
    }

    /// Found by fuzzing: a header whose checksum is right and whose first position is 0 made recovery
    /// count backwards from it.
    #[test]
    fn a_header_with_numbers_that_cannot_be_is_refused() {
        let wrong = [
            SegmentHeader {
                first: Position(0),
                ..sample()
            },
            SegmentHeader {
                first: Position(u64::MAX),
                ..sample()
            },
            SegmentHeader {
                durable: Position(u64::MAX),
                ..sample()
            },
            SegmentHeader {
                ordinal: u64::MAX,
                ..sample()
            },
        ];
        for header in wrong {
            let refused = SegmentHeader::decode(&header.encode());
            assert!(refused.is_err(), "{header:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let good = sample().encode();
        assert_eq!(SegmentHeader::decode(&good), Ok(sample()));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
