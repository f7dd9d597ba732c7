//! The envelope: a message with everything that must travel beside it.
//!
//! One encoding serves the outbox, the journal, parked messages, timers, activities and the
//! event log, so a message is written down once and shared as bytes:
//!
//! ```text
//! format u8 │ kind u8 │ flags u8 │ version u16 │ id │ correlation │ causation (16 bytes each)
//! │ at i64 │ trace (25 bytes, if flagged) │ name (u8 length) │ key (u16 length) │ body … │ crc32c u32
//! ```
//!
//! A message that begins a conversation has no correlation but its own id, and one that the first
//! message of a conversation caused has no other causation: flags say so, and the ids are left out.

use bytes::Bytes;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::key::TableKey;

const FORMAT: u8 = 1;
const FLAG_TRACE: u8 = 1;
const FLAG_WANTS_REPLY: u8 = 2;
const FLAG_KEYED: u8 = 4;
/// Its correlation is its own id.
const FLAG_BEGINS: u8 = 8;
/// Its causation is its correlation.
const FLAG_OF_FIRST: u8 = 16;
/// Everything but trace, name, key and body, and the ids at their longest.
const FIXED_BYTES: usize = 3 + 2 + 3 * ID_BYTES + 8 + 1 + 2 + 4;
const ID_BYTES: usize = 16;
const FLAGS_KNOWN: u8 = FLAG_TRACE | FLAG_WANTS_REPLY | FLAG_KEYED | FLAG_BEGINS | FLAG_OF_FIRST;

/// Ordering key: messages of one stream with the same key are handled in the order of sending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Key {
    /// Unordered: a failure of this message holds up no other.
    #[default]
    None,
    /// Ordered with all others of the same bytes.
    Of(Bytes),
}

impl Key {
    /// The ordering key for a value that could be a table's key.
    ///
    /// # Panics
    ///
    /// Never; a key above 64 KiB is refused when the message is sent.
    pub fn of<K: TableKey>(value: &K) -> Key {
        Key::Of(value.to_bytes())
    }
}

/// Identifies a message; a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub Uuid);

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// W3C trace context of the work a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span that sent the message.
    pub span_id: [u8; 8],
    /// W3C flags; bit 0 is "sampled".
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent` header; `None` if it is malformed, which W3C says to ignore.
    pub fn from_traceparent(header: &str) -> Option<TraceContext> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let context = TraceContext {
            trace_id: hex(trace)?,
            span_id: hex(span)?,
            flags: hex::<1>(flags)?[0],
        };
        (context.trace_id != [0; 16] && context.span_id != [0; 8]).then_some(context)
    }

    /// The `traceparent` header.
    pub fn to_traceparent(&self) -> String {
        let trace = u128::from_be_bytes(self.trace_id);
        let span = u64::from_be_bytes(self.span_id);
        format!("00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// What a message is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A fact for every subscriber.
    Event,
    /// A request to one service.
    Command,
    /// The answer to a command of a service; its causation id is the command's id.
    Reply,
    /// A wake-up the service set for itself.
    Timer,
    /// Work with the outside world, planned by a turn.
    Activity,
}

impl Kind {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Kind::Event => 1,
            Kind::Command => 2,
            Kind::Reply => 3,
            Kind::Timer => 4,
            Kind::Activity => 5,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Event,
            2 => Kind::Command,
            3 => Kind::Reply,
            4 => Kind::Timer,
            5 => Kind::Activity,
            _ => return None,
        })
    }
}

/// A message and what travels beside it. Stream and sequence number are not in here: they differ
/// by receiver, the envelope is the same for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// This message.
    pub id: MessageId,
    /// What it is to its receiver.
    pub kind: Kind,
    /// Wire name.
    pub name: Bytes,
    /// Schema version of the body.
    pub version: u16,
    /// Ordering key.
    pub key: Key,
    /// The message from outside (or the timer's origin) that everything in this conversation
    /// goes back to.
    pub correlation: MessageId,
    /// The message whose turn sent this one.
    pub causation: MessageId,
    /// Trace context, if the conversation is traced.
    pub trace: Option<TraceContext>,
    /// When it was sent, by the sender's turn.
    pub at: Timestamp,
    /// Whether a command's sender handles its reply.
    pub wants_reply: bool,
    /// The sealed value.
    pub body: Bytes,
}

impl Envelope {
    /// The wire name as text.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or("?")
    }

    /// The envelope's bytes. An error if name or key are too long.
    pub fn encode(&self) -> Result<Bytes, CodecError> {
        let too_long = |what: &str| CodecError::Encode {
            subject: self.name().to_owned(),
            detail: format!("its {what} is too long"),
        };
        let key: &[u8] = match &self.key {
            Key::None => &[],
            Key::Of(bytes) => bytes,
        };
        let name_bytes = u8::try_from(self.name.len()).map_err(|_| too_long("name"))?;
        let key_bytes = u16::try_from(key.len()).map_err(|_| too_long("key"))?;
        let mut flags = 0;
        if self.trace.is_some() {
            flags |= FLAG_TRACE;
        }
        if self.wants_reply {
            flags |= FLAG_WANTS_REPLY;
        }
        if self.key != Key::None {
            flags |= FLAG_KEYED;
        }
        let mut length = FIXED_BYTES + self.name.len() + key.len() + self.body.len();
        if self.trace.is_some() {
            length += 25;
        }
        if self.correlation == self.id {
            flags |= FLAG_BEGINS;
            length -= ID_BYTES;
        }
        if self.causation == self.correlation {
            flags |= FLAG_OF_FIRST;
            length -= ID_BYTES;
        }
        // Exactly as much as it needs: it is kept as long as the message is.
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&[FORMAT, self.kind.to_byte(), flags]);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(self.id.0.as_bytes());
        if flags & FLAG_BEGINS == 0 {
            out.extend_from_slice(self.correlation.0.as_bytes());
        }
        if flags & FLAG_OF_FIRST == 0 {
            out.extend_from_slice(self.causation.0.as_bytes());
        }
        out.extend_from_slice(&self.at.0.to_le_bytes());
        if let Some(trace) = &self.trace {
            out.extend_from_slice(&trace.trace_id);
            out.extend_from_slice(&trace.span_id);
            out.push(trace.flags);
        }
        out.push(name_bytes);
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&key_bytes.to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&self.body);
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        Ok(Bytes::from(out))
    }

    /// Reads an envelope; its parts share `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Envelope, CodecError> {
        let damaged = || CodecError::Checksum {
            subject: "envelope".to_owned(),
        };
        let content_bytes = bytes.len().checked_sub(4).ok_or_else(damaged)?;
        if crc32c::crc32c(&bytes[..content_bytes]).to_le_bytes() != bytes[content_bytes..] {
            return Err(damaged());
        }
        let mut cursor = Cursor {
            bytes,
            at: 0,
            end: content_bytes,
        };
        let format = cursor.byte().ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(CodecError::NewerFormat {
                subject: "envelope".to_owned(),
                format,
                codec: 0,
            });
        }
        cursor.envelope().ok_or_else(|| CodecError::Decode {
            subject: "envelope".to_owned(),
            detail: "its fields do not fit its length".to_owned(),
        })
    }
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
    end: usize,
}

impl Cursor<'_> {
    fn envelope(&mut self) -> Option<Envelope> {
        let kind = Kind::from_byte(self.byte()?)?;
        let flags = self.byte()?;
        if flags & !FLAGS_KNOWN != 0 {
            return None;
        }
        let version = u16::from_le_bytes(self.array()?);
        let id = self.id()?;
        let correlation = match flags & FLAG_BEGINS {
            0 => self.id()?,
            _ => id,
        };
        let causation = match flags & FLAG_OF_FIRST {
            0 => self.id()?,
            _ => correlation,
        };
        let at = Timestamp(i64::from_le_bytes(self.array()?));
        let trace = if flags & FLAG_TRACE != 0 {
            Some(TraceContext {
                trace_id: self.array()?,
                span_id: self.array()?,
                flags: self.byte()?,
            })
        } else {
            None
        };
        let name_bytes = usize::from(self.byte()?);
        let name = self.slice(name_bytes)?;
        std::str::from_utf8(&name).ok()?;
        let key_bytes = usize::from(u16::from_le_bytes(self.array()?));
        let key = self.slice(key_bytes)?;
        let key = match flags & FLAG_KEYED {
            0 if key.is_empty() => Key::None,
            0 => return None,
            _ => Key::Of(key),
        };
        let body = self.slice(self.end - self.at)?;
        let wants_reply = flags & FLAG_WANTS_REPLY != 0;
        Some(Envelope {
            id,
            kind,
            name,
            version,
            key,
            correlation,
            causation,
            trace,
            at,
            wants_reply,
            body,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn id(&mut self) -> Option<MessageId> {
        self.array().map(|bytes| MessageId(Uuid::from_bytes(bytes)))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let end = self.at.checked_add(N).filter(|end| *end <= self.end)?;
        let array = self.bytes[self.at..end].try_into().ok()?;
        self.at = end;
        Some(array)
    }

    fn slice(&mut self, n: usize) -> Option<Bytes> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.end)?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Some(slice)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn envelope() -> Envelope {
        let id = |n| MessageId(Uuid::from_u128(n));
        Envelope {
            id: id(1),
            kind: Kind::Event,
            name: Bytes::from_static(b"order-created"),
            version: 1,
            key: Key::of(&7u32),
            correlation: id(2),
            causation: id(3),
            trace: TraceContext::from_traceparent(
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            at: Timestamp(1_700_000_000_000_000),
            wants_reply: false,
            body: Bytes::from_static(&[9, 8, 7]),
        }
    }

    #[test]
    fn an_envelope_survives_the_round_trip() {
        for trace in [envelope().trace, None] {
            for key in [Key::None, Key::Of(Bytes::new()), Key::of(&7u32)] {
                let envelope = Envelope {
                    trace,
                    key,
                    wants_reply: true,
                    ..envelope()
                };
                assert_eq!(
                    Envelope::decode(&envelope.encode().unwrap()).unwrap(),
                    envelope
                );
            }
        }
    }

    #[test]
    fn ids_that_are_another_of_its_ids_are_left_out_and_come_back() {
        let id = |n| MessageId(Uuid::from_u128(n));
        let bytes = envelope().encode().unwrap().len();
        for (correlation, causation, left_out) in [(1, 1, 2), (2, 2, 1), (1, 3, 1), (2, 1, 0)] {
            let envelope = Envelope {
                correlation: id(correlation),
                causation: id(causation),
                ..envelope()
            };
            let encoded = envelope.encode().unwrap();
            assert_eq!(encoded.len(), bytes - left_out * ID_BYTES);
            assert_eq!(Envelope::decode(&encoded).unwrap(), envelope);
        }
    }

    /// As envelopes were before ids were left out.
    #[test]
    fn ids_that_could_have_been_left_out_are_read() {
        let mut bytes = envelope().encode().unwrap().to_vec();
        bytes.truncate(bytes.len() - 4);
        let ids_at = 5;
        bytes.copy_within(ids_at..ids_at + ID_BYTES, ids_at + ID_BYTES);
        bytes.copy_within(ids_at..ids_at + ID_BYTES, ids_at + 2 * ID_BYTES);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let id = envelope().id;
        let begins = Envelope {
            correlation: id,
            causation: id,
            ..envelope()
        };
        assert_eq!(Envelope::decode(&Bytes::from(bytes)).unwrap(), begins);
    }

    #[test]
    fn golden_bytes_of_format_1_stay_readable() {
        let golden = include_bytes!("../tests/golden/envelope-1.bin");
        assert_eq!(
            envelope().encode().unwrap().as_ref(),
            golden,
            "the stored format changed: write a new format number and keep reading this one"
        );
        assert_eq!(
            Envelope::decode(&Bytes::from_static(golden)).unwrap(),
            envelope()
        );
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_refused() {
        let bytes = envelope().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Envelope::decode(&Bytes::from(bad)).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(
                Envelope::decode(&bytes.slice(..length)).is_err(),
                "length {length}"
            );
        }
    }

    /// Found by fuzzing: a key without the flag that says so was dropped without a word.
    #[test]
    fn a_key_that_no_flag_speaks_of_is_refused() {
        let bytes = envelope().encode().unwrap();
        let mut bad = bytes[..bytes.len() - 4].to_vec();
        bad[2] &= !FLAG_KEYED;
        let checksum = crc32c::crc32c(&bad);
        bad.extend_from_slice(&checksum.to_le_bytes());
        let refused = Envelope::decode(&Bytes::from(bad));
        assert!(
            matches!(refused, Err(CodecError::Decode { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        for header in [
            "",
            "00-x-y-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::from_traceparent(header), None);
        }
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(
            TraceContext::from_traceparent(header)
                .unwrap()
                .to_traceparent(),
            header
        );
    }
}
