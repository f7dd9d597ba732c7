//! Values to bytes and back: the only door to the serialisation formats.
//!
//! bincode is compact and fast but not self-describing: reordered fields decode silently swapped
//! and trailing bytes pass. So every stored or sent value is sealed:
//!
//! ```text
//! format u8 │ codec u8 │ schema version u16 │ body … │ crc32c u32     (little endian)
//! ```
//!
//! The checksum also covers a *context* (the type's name and, for rows, the key), so a value that
//! ends up under the wrong key or is read as the wrong type is refused. The body must be consumed
//! to its last byte.

pub use crate::json::{check_objects, from_json, to_json};

use std::marker::PhantomData;

use bincode::config::{Configuration, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::frugal::Frugal;

/// The newest seal format this version writes and the newest it reads.
const FORMAT: u8 = 1;
/// The body is bincode 2 with variable-length integers.
const CODEC_BINCODE: u8 = 1;
/// format + codec + version
const HEADER_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// Up to here a value is written on the stack before it gets the room it needs.
const SMALL_BYTES: usize = 256;

/// No single value may be larger than this, written or read.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No message, and no input or output of an activity, may be larger than this. Both of an activity
/// and the history of their failures fit into one value.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Without a limit of its own: [`Frugal`] says why.
const BINCODE: Configuration<LittleEndian, Varint> = bincode::config::standard();

/// A value could not be turned into bytes or back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value cannot be written.
    #[error("value of {subject} cannot be encoded: {detail}")]
    Encode {
        /// Table or message.
        subject: String,
        /// What the encoder said.
        detail: String,
    },
    /// The bytes are not what was written: bit rot, a wrong key, or another type.
    #[error("value of {subject} fails its checksum; it is damaged or belongs elsewhere")]
    Checksum {
        /// Table or message.
        subject: String,
    },
    /// The bytes are in a format of a newer version of the library.
    #[error("value of {subject} has format {format} codec {codec}; a newer version wrote it")]
    NewerFormat {
        /// Table or message.
        subject: String,
        /// Seal format found.
        format: u8,
        /// Codec found.
        codec: u8,
    },
    /// The value has a schema version that this program has no upgrade for.
    #[error(
        "value of {subject} has schema version {found}, this program knows {known} and has no upgrade for it"
    )]
    UnknownVersion {
        /// Table or message.
        subject: String,
        /// Version found.
        found: u16,
        /// The version this program writes.
        known: u16,
    },
    /// The body does not decode as its type.
    #[error("value of {subject} cannot be decoded: {detail}")]
    Decode {
        /// Table or message.
        subject: String,
        /// What the decoder said.
        detail: String,
    },
}

/// What a value's checksum covers beside the value itself.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Name of the table or message.
    pub name: &'a str,
    /// The row's key; empty for messages.
    pub key: &'a [u8],
    bytes_max: usize,
}

impl<'a> Subject<'a> {
    /// A message of this wire name.
    pub const fn message(name: &'a str) -> Subject<'a> {
        Subject {
            name,
            key: &[],
            bytes_max: MESSAGE_BYTES_MAX,
        }
    }

    /// A row of this table.
    pub const fn row(name: &'a str, key: &'a [u8]) -> Subject<'a> {
        Subject {
            name,
            key,
            bytes_max: VALUE_BYTES_MAX,
        }
    }

    fn checksum(&self, sealed: &[u8]) -> u32 {
        // The lengths keep ("ab", "c") and ("a", "bc") apart.
        let name_bytes = (self.name.len() as u32).to_le_bytes();
        let key_bytes = (self.key.len() as u32).to_le_bytes();
        let parts = [&name_bytes, self.name.as_bytes(), &key_bytes, self.key];
        // A call for a few bytes costs more than copying them together.
        let mut together = [0; 128];
        let (mut filled, mut sum) = (0, 0);
        for part in parts {
            if filled + part.len() > together.len() {
                sum = crc32c::crc32c_append(sum, &together[..filled]);
                filled = 0;
            }
            match together.get_mut(filled..filled + part.len()) {
                Some(room) => {
                    room.copy_from_slice(part);
                    filled += part.len();
                }
                None => sum = crc32c::crc32c_append(sum, part),
            }
        }
        sum = crc32c::crc32c_append(sum, &together[..filled]);
        crc32c::crc32c_append(sum, sealed)
    }
}

/// The body of a sealed value of an older schema version, for an upgrade function to decode.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    subject: Subject<'a>,
    bytes: &'a [u8],
}

impl Body<'_> {
    /// Decodes the body as the (frozen) type of its version.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        decode_body(self.subject, self.bytes)
    }
}

/// Seals a value.
pub fn seal<T: Serialize + ?Sized>(
    subject: Subject<'_>,
    version: u16,
    value: &T,
) -> Result<Vec<u8>, CodecError> {
    let [low, high] = version.to_le_bytes();
    let mut draft = SmallVec::<[u8; SMALL_BYTES]>::new();
    draft.extend_from_slice(&[FORMAT, CODEC_BINCODE, low, high]);
    bincode::serde::encode_into_std_write(value, &mut draft, BINCODE).map_err(|error| {
        CodecError::Encode {
            subject: subject.name.to_owned(),
            detail: error.to_string(),
        }
    })?;
    let bytes = draft.as_slice();
    if bytes.len() > subject.bytes_max {
        return Err(CodecError::Encode {
            subject: subject.name.to_owned(),
            detail: format!(
                "{} bytes are more than the limit of {}",
                bytes.len(),
                subject.bytes_max
            ),
        });
    }
    let checksum = subject.checksum(bytes).to_le_bytes();
    // Exactly as much as it needs: a row is kept until the next checkpoint, and there are many.
    let mut sealed = Vec::with_capacity(bytes.len() + CHECKSUM_BYTES);
    sealed.extend_from_slice(bytes);
    sealed.extend_from_slice(&checksum);
    Ok(sealed)
}

/// Opens a sealed value. `older` gets values of other schema versions; it answers `None` for
/// versions that it does not know.
pub fn open<T: DeserializeOwned>(
    subject: Subject<'_>,
    version: u16,
    sealed: &[u8],
    older: fn(u16, Body<'_>) -> Option<Result<T, CodecError>>,
) -> Result<T, CodecError> {
    let Some(content_bytes) = sealed
        .len()
        .checked_sub(CHECKSUM_BYTES)
        .filter(|n| *n >= HEADER_BYTES)
    else {
        return Err(CodecError::Checksum {
            subject: subject.name.to_owned(),
        });
    };
    let (content, checksum) = sealed.split_at(content_bytes);
    if subject.checksum(content).to_le_bytes() != checksum {
        return Err(CodecError::Checksum {
            subject: subject.name.to_owned(),
        });
    }
    let (format, codec) = (content[0], content[1]);
    if format != FORMAT || codec != CODEC_BINCODE {
        return Err(CodecError::NewerFormat {
            subject: subject.name.to_owned(),
            format,
            codec,
        });
    }
    let found = u16::from_le_bytes([content[2], content[3]]);
    let bytes = &content[HEADER_BYTES..];
    if found == version {
        return decode_body(subject, bytes);
    }
    older(found, Body { subject, bytes }).unwrap_or_else(|| {
        Err(CodecError::UnknownVersion {
            subject: subject.name.to_owned(),
            found,
            known: version,
        })
    })
}

/// Makes the checksum of a sealed value fit what stands before it.
#[cfg(feature = "fuzzing")]
pub(crate) fn mend(subject: Subject<'_>, sealed: &mut [u8]) {
    if let Some((content, checksum)) = sealed.split_last_chunk_mut::<CHECKSUM_BYTES>() {
        *checksum = subject.checksum(content).to_le_bytes();
    }
}

/// For types that have had one version only.
pub fn no_older<T>(_version: u16, _body: Body<'_>) -> Option<Result<T, CodecError>> {
    None
}

fn decode_body<T: DeserializeOwned>(subject: Subject<'_>, bytes: &[u8]) -> Result<T, CodecError> {
    let seed = Frugal(PhantomData::<T>);
    let (value, consumed) =
        bincode::serde::seed_decode_from_slice(seed, bytes, BINCODE).map_err(|error| {
            CodecError::Decode {
                subject: subject.name.to_owned(),
                detail: error.to_string(),
            }
        })?;
    if consumed != bytes.len() {
        return Err(CodecError::Decode {
            subject: subject.name.to_owned(),
            detail: format!("{} bytes are left over", bytes.len() - consumed),
        });
    }
    Ok(value)
}

/// For `#[serde(with)]`: bytes within a stored value as a whole, not one number after the other. The
/// stored form is the same.
pub(crate) mod blob {
    use serde::{Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Blob;
        impl de::Visitor<'_> for Blob {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Blob)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[test]
    fn a_sealed_value_of_any_size_comes_back_and_takes_no_more_room_than_it_needs() {
        let sizes = (0..600).chain([4_096, 70_000]);
        for size in sizes {
            let parts = (0..size % 7).map(|n| n as u8).collect::<Vec<u8>>();
            let value = ("x".repeat(size), parts, size);
            let sealed = seal(Subject::row("t", b"k"), 1, &value).unwrap();
            assert_eq!(sealed.capacity(), sealed.len());
            let opened: (String, Vec<u8>, usize) =
                open(Subject::row("t", b"k"), 1, &sealed, no_older).unwrap();
            assert_eq!(opened, value);
        }
    }

    #[test]
    fn bytes_as_a_whole_are_stored_like_bytes_one_by_one() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Whole(#[serde(with = "blob")] Vec<u8>, u8);
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct OneByOne(Vec<u8>, u8);
        for length in [0, 1, 250, 251, 70_000] {
            let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let subject = Subject::row("t", b"k");
            let whole = seal(subject, 1, &Whole(bytes.clone(), 7)).unwrap();
            let one_by_one = seal(subject, 1, &OneByOne(bytes.clone(), 7)).unwrap();
            assert!(whole == one_by_one, "{length} bytes differ");
            let opened: Whole = open(subject, 1, &whole, no_older).unwrap();
            assert_eq!(opened, Whole(bytes, 7));
        }
    }

    #[test]
    fn the_checksum_is_that_of_its_parts_in_a_row_however_long_they_are() {
        for (name_bytes, key_bytes) in [(0, 0), (5, 16), (60, 60), (60, 61), (3, 500), (200, 1)] {
            let (name, key) = ("n".repeat(name_bytes), vec![b'k'; key_bytes]);
            let mut whole = (name_bytes as u32).to_le_bytes().to_vec();
            whole.extend_from_slice(name.as_bytes());
            whole.extend_from_slice(&(key_bytes as u32).to_le_bytes());
            whole.extend_from_slice(&key);
            whole.extend_from_slice(b"sealed");
            let sum = Subject::row(&name, &key).checksum(b"sealed");
            assert_eq!(sum, crc32c::crc32c(&whole), "{name_bytes}, {key_bytes}");
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stock {
        on_hand: u64,
        name: String,
    }

    fn stock() -> Stock {
        Stock {
            on_hand: 7,
            name: "lamp".into(),
        }
    }

    #[test]
    fn golden_bytes_of_format_1_stay_readable() {
        let golden = [1, 1, 1, 0, 7, 4, b'l', b'a', b'm', b'p', 196, 176, 244, 241];
        let sealed = seal(Subject::row("stock", b"k"), 1, &stock()).unwrap();
        assert_eq!(
            sealed, golden,
            "the stored format changed: write a new format number and keep reading this one"
        );
        assert_eq!(
            open::<Stock>(Subject::row("stock", b"k"), 1, &golden, no_older).unwrap(),
            stock()
        );
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let sealed = seal(Subject::row("stock", b"k"), 1, &stock()).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open::<Stock>(Subject::row("stock", b"k"), 1, &bad, no_older).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_value_under_another_key_or_table_is_refused() {
        let sealed = seal(Subject::row("stock", b"k"), 1, &stock()).unwrap();
        for subject in [
            Subject::row("stock", b"l"),
            Subject::row("stick", b"k"),
            Subject::row("stockk", b""),
        ] {
            assert!(matches!(
                open::<Stock>(subject, 1, &sealed, no_older),
                Err(CodecError::Checksum { .. })
            ));
        }
    }

    /// A list of two million numbers was sealed in two mebibytes, and refused by whoever opened it:
    /// the decoder counted eight bytes a number against the limit of sixteen mebibytes. A message of
    /// that kind was sent and could never be read; a row of that kind failed its service.
    #[test]
    fn whatever_can_be_sealed_can_be_opened() {
        let numbers = vec![7u64; 2_200_000];
        for subject in [Subject::row("t", b"k"), Subject::message("m")] {
            let sealed = seal(subject, 1, &numbers).unwrap();
            let opened: Vec<u64> = open(subject, 1, &sealed, no_older).unwrap();
            assert!(opened == numbers, "they came back otherwise");
        }
    }

    #[test]
    fn a_length_is_not_believed_before_there_are_bytes() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Blob(#[serde(with = "blob")] Vec<u8>);
        let subject = Subject::message("m");
        // As a sequence of numbers it is the length of what should follow.
        for length in [1u64 << 20, 1 << 32, u64::MAX] {
            let sealed = seal(subject, 1, &(length, [1u8; 8])).unwrap();
            let peak = allocation_counter::measure(|| {
                open::<String>(subject, 1, &sealed, no_older).unwrap_err();
                open::<Blob>(subject, 1, &sealed, no_older).unwrap_err();
                open::<Vec<u64>>(subject, 1, &sealed, no_older).unwrap_err();
            });
            assert!(peak.bytes_max < 2 << 20, "{length}: {}", peak.bytes_max);
        }
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let subject = Subject::message("m");
        let sealed = seal(subject, 1, &(1u8, 2u8)).unwrap();
        assert!(matches!(
            open::<u8>(subject, 1, &sealed, no_older),
            Err(CodecError::Decode { .. })
        ));
    }

    #[test]
    fn an_older_version_is_upgraded_and_an_unknown_one_named() {
        let subject = Subject::row("stock", b"k");
        let sealed = seal(subject, 1, &7u64).unwrap();
        let upgrade = |version: u16, body: Body<'_>| match version {
            1 => Some(body.decode::<u64>().map(|on_hand| Stock {
                on_hand,
                name: String::new(),
            })),
            _ => None,
        };
        assert_eq!(
            open(subject, 2, &sealed, upgrade).unwrap(),
            Stock {
                on_hand: 7,
                name: String::new()
            }
        );
        let error = open::<Stock>(subject, 3, &sealed, no_older).unwrap_err();
        assert_eq!(
            error,
            CodecError::UnknownVersion {
                subject: "stock".into(),
                found: 1,
                known: 3
            }
        );
    }
}
