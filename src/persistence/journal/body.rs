//! The body of a commit's record.
//!
//! ```text
//! format 1 | service | at | seed | cause | mark? | writes | sends | numbers
//! ```
//!
//! A commit that consumes the next message of a stream has that message as its cause: the number
//! stands in the mark alone. A mark of a stream of which every message was applied is one number.
//!
//! Everything but the numbers is written by whoever queues the commit, before it takes the cell's
//! lock; the numbers given under the lock (sequences and event numbers, in the order of the
//! sends) come last so that they can simply be appended.

use crate::clock::Timestamp;
use crate::commit::{
    Cause, Commit, EventNumber, Mark, MarkMove, Queued, Send, Sequence, ServiceId, TableId, Write,
};
use crate::persistence::format::{Decoder, Malformed, put_slice, put_varint};

const BODY_FORMAT: u8 = 1;

/// The message that the mark moves over.
const CAUSE_MARKED: u8 = 6;

const MARK_NONE: u8 = 0;
const MARK_FULL: u8 = 1;
/// Every message that is consumed was applied.
const MARK_ALL_APPLIED: u8 = 2;

/// What the store gave the sends of a commit when it queued it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Numbers {
    /// For each send, the number given for each receiver.
    pub(crate) sequences: Vec<Vec<(ServiceId, Sequence)>>,
    /// The numbers of the sends that are events, in order.
    pub(crate) events: Vec<EventNumber>,
}

impl From<(crate::commit::Position, Numbers)> for Queued {
    fn from((position, numbers): (crate::commit::Position, Numbers)) -> Queued {
        Queued {
            position,
            sequences: numbers.sequences,
        }
    }
}

/// Everything but the numbers.
pub(crate) fn encode(commit: &Commit) -> Vec<u8> {
    let mut to = Vec::with_capacity(estimate(commit));
    to.push(BODY_FORMAT);
    put_varint(&mut to, u64::from(commit.service.0));
    to.extend_from_slice(&commit.at.0.to_le_bytes());
    to.extend_from_slice(&commit.seed.to_le_bytes());
    match commit.mark.as_ref().map(marked) {
        Some(marked) if marked == commit.cause => to.push(CAUSE_MARKED),
        _ => put_cause(&mut to, &commit.cause),
    }
    put_moved(&mut to, commit.mark.as_ref());
    put_varint(&mut to, commit.writes.len() as u64);
    for write in &commit.writes {
        put_varint(&mut to, u64::from(write.table.0));
        put_slice(&mut to, &write.key);
        match &write.value {
            None => to.push(0),
            Some(value) => {
                to.push(1);
                put_slice(&mut to, value);
            }
        }
    }
    put_varint(&mut to, commit.sends.len() as u64);
    for send in &commit.sends {
        put_slice(&mut to, &send.envelope);
        to.push(u8::from(send.event));
        put_varint(&mut to, send.to.len() as u64);
        for receiver in &send.to {
            put_varint(&mut to, u64::from(receiver.0));
        }
    }
    to
}

/// Room for a body, so that it is built without being moved.
fn estimate(commit: &Commit) -> usize {
    let writes: usize = commit
        .writes
        .iter()
        .map(|write| 12 + write.key.len() + write.value.as_ref().map_or(0, |value| value.len()))
        .sum();
    let sends: usize = commit
        .sends
        .iter()
        .map(|send| 24 + send.envelope.len() + 12 * send.to.len())
        .sum();
    let cause = match &commit.cause {
        Cause::Message { .. } => 0,
        Cause::Command { envelope } => envelope.len(),
        Cause::Timer { key } => key.len(),
        Cause::Activity { key, result } => key.len() + result.len(),
        Cause::System { note } => note.len(),
    };
    96 + cause + writes + sends
}

/// Appends the number of one receiver of one send.
pub(crate) fn put_sequence(to: &mut Vec<u8>, sequence: Sequence) {
    put_varint(to, sequence.0);
}

/// Appends the number of an event, behind the sequences of its send.
pub(crate) fn put_event(to: &mut Vec<u8>, number: EventNumber) {
    put_varint(to, number.0);
}

pub(crate) fn put_mark(to: &mut Vec<u8>, mark: &Mark) {
    for number in [
        mark.consumed.0,
        mark.applied,
        mark.rejected,
        mark.dead,
        mark.discarded,
    ] {
        put_varint(to, number);
    }
}

pub(crate) fn mark(from: &mut Decoder<'_>) -> Result<Mark, Malformed> {
    Ok(Mark {
        consumed: Sequence(from.varint()?),
        applied: from.varint()?,
        rejected: from.varint()?,
        dead: from.varint()?,
        discarded: from.varint()?,
    })
}

/// The message that a mark moves over, as a cause.
fn marked(moved: &MarkMove) -> Cause {
    Cause::Message {
        sender: moved.sender,
        sequence: moved.mark.consumed,
    }
}

fn all_applied(consumed: Sequence) -> Mark {
    Mark {
        consumed,
        applied: consumed.0,
        rejected: 0,
        dead: 0,
        discarded: 0,
    }
}

fn put_cause(to: &mut Vec<u8>, cause: &Cause) {
    match cause {
        Cause::Message { sender, sequence } => {
            to.push(1);
            put_varint(to, u64::from(sender.0));
            put_varint(to, sequence.0);
        }
        Cause::Command { envelope } => {
            to.push(2);
            put_slice(to, envelope);
        }
        Cause::Timer { key } => {
            to.push(3);
            put_slice(to, key);
        }
        Cause::Activity { key, result } => {
            to.push(4);
            put_slice(to, key);
            put_slice(to, result);
        }
        Cause::System { note } => {
            to.push(5);
            put_slice(to, note.as_bytes());
        }
    }
}

/// The cause; none if it is the message that the mark moves over.
fn cause(from: &mut Decoder<'_>) -> Result<Option<Cause>, Malformed> {
    Ok(Some(match from.u8()? {
        CAUSE_MARKED => return Ok(None),
        1 => Cause::Message {
            sender: ServiceId(from.id()?),
            sequence: Sequence(from.varint()?),
        },
        2 => Cause::Command {
            envelope: from.bytes()?,
        },
        3 => Cause::Timer { key: from.bytes()? },
        4 => Cause::Activity {
            key: from.bytes()?,
            result: from.bytes()?,
        },
        5 => Cause::System {
            note: from.string()?,
        },
        _ => return Err(Malformed("its cause is unknown")),
    }))
}

fn put_moved(to: &mut Vec<u8>, moved: Option<&MarkMove>) {
    match moved {
        None => to.push(MARK_NONE),
        Some(MarkMove { sender, mark }) if *mark == all_applied(mark.consumed) => {
            to.push(MARK_ALL_APPLIED);
            put_varint(to, u64::from(sender.0));
            put_varint(to, mark.consumed.0);
        }
        Some(MarkMove { sender, mark }) => {
            to.push(MARK_FULL);
            put_varint(to, u64::from(sender.0));
            put_mark(to, mark);
        }
    }
}

fn moved(from: &mut Decoder<'_>) -> Result<Option<MarkMove>, Malformed> {
    let kind = from.u8()?;
    if kind == MARK_NONE {
        return Ok(None);
    }
    let sender = ServiceId(from.id()?);
    let mark = match kind {
        MARK_FULL => mark(from)?,
        MARK_ALL_APPLIED => all_applied(Sequence(from.varint()?)),
        _ => return Err(Malformed("its mark is of an unknown kind")),
    };
    Ok(Some(MarkMove { sender, mark }))
}

/// A commit and its numbers.
pub(crate) fn decode(body: &[u8]) -> Result<(Commit, Numbers), Malformed> {
    let mut from = Decoder::new(body);
    if from.u8()? != BODY_FORMAT {
        return Err(Malformed("its body has an unknown format"));
    }
    let service = ServiceId(from.id()?);
    let at = Timestamp(from.i64()?);
    let seed = from.u64()?;
    let cause = cause(&mut from)?;
    let mark = moved(&mut from)?;
    let cause = cause
        .or(mark.as_ref().map(marked))
        .ok_or(Malformed("its cause is that of a mark which it has not"))?;
    // No capacity from counts: they are only as good as the bytes behind them.
    let mut writes = Vec::new();
    for _ in 0..from.varint()? {
        writes.push(Write {
            table: TableId(from.id()?),
            key: from.bytes()?,
            value: if from.flag()? {
                Some(from.bytes()?)
            } else {
                None
            },
        });
    }
    let mut sends = Vec::new();
    for _ in 0..from.varint()? {
        let envelope = from.bytes()?;
        let event = from.flag()?;
        let mut to = Vec::new();
        for _ in 0..from.varint()? {
            to.push(ServiceId(from.id()?));
        }
        sends.push(Send {
            envelope,
            to,
            event,
        });
    }
    let mut numbers = Numbers::default();
    for send in &sends {
        let mut sequences = Vec::with_capacity(send.to.len());
        for receiver in &send.to {
            sequences.push((*receiver, Sequence(from.varint()?)));
        }
        numbers.sequences.push(sequences);
        if send.event {
            numbers.events.push(EventNumber(from.varint()?));
        }
    }
    from.finish()?;
    let commit = Commit {
        service,
        at,
        seed,
        cause,
        mark,
        writes,
        sends,
    };
    Ok((commit, numbers))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sample(cause: Cause) -> (Commit, Numbers) {
        let commit = Commit {
            service: ServiceId(2),
            at: Timestamp(1_000),
            seed: 7,
            cause,
            mark: Some(MarkMove {
                sender: ServiceId(1),
                mark: Mark {
                    consumed: Sequence(4),
                    applied: 3,
                    rejected: 1,
                    dead: 0,
                    discarded: 0,
                },
            }),
            writes: vec![
                Write {
                    table: TableId(16),
                    key: Bytes::from_static(b"k"),
                    value: Some(Bytes::from_static(b"v")),
                },
                Write {
                    table: TableId(300),
                    key: Bytes::from_static(b"gone"),
                    value: None,
                },
            ],
            sends: vec![Send {
                envelope: Bytes::from_static(b"hi"),
                to: vec![ServiceId(3), ServiceId(4)],
                event: true,
            }],
        };
        let numbers = Numbers {
            sequences: vec![vec![
                (ServiceId(3), Sequence(9)),
                (ServiceId(4), Sequence(200)),
            ]],
            events: vec![EventNumber(5)],
        };
        (commit, numbers)
    }

    /// The same, of a stream of which all was applied.
    fn sample_all_applied(cause: Cause) -> (Commit, Numbers) {
        let (mut commit, numbers) = sample(cause);
        if let Some(moved) = &mut commit.mark {
            moved.mark = all_applied(moved.mark.consumed);
        }
        (commit, numbers)
    }

    /// Caused by the message that the sample's mark moves over.
    fn by_marked_message() -> Cause {
        Cause::Message {
            sender: ServiceId(1),
            sequence: Sequence(4),
        }
    }

    fn with_numbers(commit: &Commit) -> Vec<u8> {
        let mut body = encode(commit);
        put_sequence(&mut body, Sequence(9));
        put_sequence(&mut body, Sequence(200));
        put_event(&mut body, EventNumber(5));
        body
    }

    #[test]
    fn a_commit_comes_back_as_it_was_queued() {
        let key = Bytes::from_static(b"key");
        for cause in [
            by_marked_message(),
            Cause::Command {
                envelope: key.clone(),
            },
            Cause::Timer { key: key.clone() },
            Cause::Activity {
                key: key.clone(),
                result: Bytes::from_static(b"done"),
            },
            Cause::System {
                note: "parked".into(),
            },
        ] {
            for (commit, numbers) in [sample(cause.clone()), sample_all_applied(cause)] {
                let body = with_numbers(&commit);
                assert_eq!(decode(&body), Ok((commit, numbers)));
            }
        }
    }

    #[test]
    fn golden_bytes_of_a_commit() {
        let (commit, _) = sample(by_marked_message());
        let expected: &[u8] = &[
            1, 2, 0xe8, 3, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 6, 1, 1, 4, 3, 1, 0, 0, 2, 16,
            1, b'k', 1, 1, b'v', 0xac, 2, 4, b'g', b'o', b'n', b'e', 0, 1, 2, b'h', b'i', 1, 2, 3,
            4, 9, 200, 1, 5,
        ];
        assert_eq!(with_numbers(&commit), expected);
        let (commit, _) = sample_all_applied(by_marked_message());
        let shorter = [&expected[..19], &[2, 1, 4], &expected[26..]].concat();
        assert_eq!(with_numbers(&commit), shorter);
    }

    /// As commits were before a mark could stand for its cause, and one number for a mark.
    #[test]
    fn golden_bytes_of_a_commit_that_says_things_twice_stay_readable() {
        let before: &[u8] = &[
            1, 2, 0xe8, 3, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 1, 1, 4, 3, 1, 0, 0,
            2, 16, 1, b'k', 1, 1, b'v', 0xac, 2, 4, b'g', b'o', b'n', b'e', 0, 1, 2, b'h', b'i', 1,
            2, 3, 4, 9, 200, 1, 5,
        ];
        assert_eq!(decode(before), Ok(sample(by_marked_message())));
        let mut before = before.to_vec();
        before[24..26].copy_from_slice(&[4, 0]);
        assert_eq!(decode(&before), Ok(sample_all_applied(by_marked_message())));
    }

    #[test]
    fn a_commit_caused_by_the_message_of_no_mark_is_refused() {
        let (mut commit, _) = sample(Cause::Timer { key: Bytes::new() });
        commit.mark = None;
        let mut body = with_numbers(&commit);
        assert_eq!(body[18..20], [3, 0]);
        body[18] = CAUSE_MARKED;
        body.remove(19);
        assert!(decode(&body).is_err());
    }

    #[test]
    fn a_cut_commit_is_refused_at_every_length() {
        let (commit, _) = sample(Cause::Timer {
            key: Bytes::from_static(b"t"),
        });
        let body = with_numbers(&commit);
        for length in 0..body.len() {
            assert!(decode(&body[..length]).is_err(), "cut to {length}");
        }
    }
}
