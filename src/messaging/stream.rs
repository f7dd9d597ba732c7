//! The two ends of a stream: what a sender has handed on, and what a receiver may take next.
//!
//! The sender hands on no more than a window of unconsumed messages (its credit). The receiver
//! takes only `mark + 1`; higher numbers are held within the window, lower ones are copies and
//! dropped.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::commit::Sequence;

/// The sender's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// Highest number handed to the transport.
    handed: u64,
    /// Highest number that the receiver is known to have consumed.
    consumed: u64,
    window: u64,
}

impl Outgoing {
    pub(crate) fn new(consumed: Sequence, window: u64) -> Outgoing {
        Outgoing {
            handed: consumed.0,
            consumed: consumed.0,
            window,
        }
    }

    /// What may be handed on now, given the last number promised.
    pub(crate) fn next(&self, sent: Sequence) -> Option<RangeInclusive<u64>> {
        let last = sent.0.min(self.consumed.saturating_add(self.window));
        (self.handed < last).then(|| self.handed + 1..=last)
    }

    /// Notes that all up to `last` are handed on.
    pub(crate) fn handed(&mut self, last: Sequence) {
        self.handed = self.handed.max(last.0);
    }

    /// The receiver has consumed all up to this number.
    pub(crate) fn acknowledged(&mut self, consumed: Sequence) {
        self.consumed = self.consumed.max(consumed.0);
        self.handed = self.handed.max(consumed.0);
    }

    /// The receiver has accepted all up to this number and misses what follows.
    pub(crate) fn resume(&mut self, accepted: Sequence) {
        self.handed = accepted.0.max(self.consumed);
    }

    /// Whether the receiver still owes an acknowledgement.
    pub(crate) fn waits(&self, sent: Sequence) -> bool {
        self.consumed < sent.0
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// At least one message became ready.
    Ready,
    /// Nothing new: copies of what was accepted before.
    Known,
    /// Numbers before these are missing; the sender should resume after `after`.
    Gap {
        /// The highest number accepted.
        after: Sequence,
    },
}

/// The receiver's end.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    accepted: u64,
    ready: VecDeque<(Sequence, Bytes)>,
    held: BTreeMap<u64, Bytes>,
    window: usize,
}

impl Incoming {
    /// Starts after the mark.
    pub(crate) fn new(consumed: Sequence, window: usize) -> Incoming {
        Incoming {
            accepted: consumed.0,
            ready: VecDeque::new(),
            held: BTreeMap::new(),
            window,
        }
    }

    /// Takes a run of messages that begins with number `first`.
    pub(crate) fn accept(
        &mut self,
        first: Sequence,
        entries: impl IntoIterator<Item = Bytes>,
    ) -> Accepted {
        let before = self.accepted;
        let mut newer = false;
        for (sequence, entry) in (first.0..).zip(entries) {
            if sequence == self.accepted + 1 && self.ready.len() < self.window {
                self.accepted = sequence;
                self.ready.push_back((Sequence(sequence), entry));
            } else if sequence > self.accepted {
                newer = true;
                if self.held.len() < self.window {
                    self.held.insert(sequence, entry);
                }
            }
        }
        while self.ready.len() < self.window
            && let Some(entry) = self.held.remove(&(self.accepted + 1))
        {
            self.accepted += 1;
            self.ready.push_back((Sequence(self.accepted), entry));
        }
        let accepted = self.accepted;
        self.held.retain(|sequence, _| *sequence > accepted);
        match (
            self.accepted > before,
            newer && self.held.keys().next().is_some(),
        ) {
            (true, _) => Accepted::Ready,
            (false, true) => Accepted::Gap {
                after: Sequence(self.accepted),
            },
            (false, false) => Accepted::Known,
        }
    }

    /// The next message, if it has arrived.
    pub(crate) fn pop(&mut self) -> Option<(Sequence, Bytes)> {
        self.ready.pop_front()
    }

    /// Gives back the message that was popped last.
    pub(crate) fn put_back(&mut self, sequence: Sequence, entry: Bytes) {
        self.ready.push_front((sequence, entry));
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn depth(&self) -> usize {
        self.ready.len()
    }

    /// The highest number accepted; all below it are accepted too.
    pub(crate) fn accepted(&self) -> Sequence {
        Sequence(self.accepted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn entry(n: u64) -> Bytes {
        Bytes::from(n.to_be_bytes().to_vec())
    }

    #[test]
    fn a_sender_hands_on_no_more_than_its_credit() {
        let mut outgoing = Outgoing::new(Sequence(0), 3);
        assert_eq!(outgoing.next(Sequence(10)), Some(1..=3));
        outgoing.handed(Sequence(3));
        assert_eq!(outgoing.next(Sequence(10)), None);
        outgoing.acknowledged(Sequence(2));
        assert_eq!(outgoing.next(Sequence(10)), Some(4..=5));
    }

    #[test]
    fn a_resume_hands_on_again_but_never_what_is_consumed() {
        let mut outgoing = Outgoing::new(Sequence(0), 10);
        outgoing.handed(Sequence(8));
        outgoing.acknowledged(Sequence(4));
        outgoing.resume(Sequence(2));
        assert_eq!(outgoing.next(Sequence(8)), Some(5..=8));
    }

    #[test]
    fn a_gap_names_what_was_accepted() {
        let mut incoming = Incoming::new(Sequence(5), 10);
        assert_eq!(
            incoming.accept(Sequence(8), [entry(8)]),
            Accepted::Gap { after: Sequence(5) }
        );
        assert_eq!(
            incoming.accept(Sequence(4), [entry(4), entry(5)]),
            Accepted::Known
        );
        assert_eq!(
            incoming.accept(Sequence(6), [entry(6), entry(7)]),
            Accepted::Ready
        );
        let taken: Vec<u64> = std::iter::from_fn(|| incoming.pop())
            .map(|(s, _)| s.0)
            .collect();
        assert_eq!(taken, [6, 7, 8]);
    }

    proptest! {
        /// Whatever the transport loses, doubles or reorders: with resends, every message comes out
        /// once, in order.
        #[test]
        fn a_lossy_transport_still_delivers_each_message_once_in_order(
            seed: u64, total in 1u64..60, window in 1u64..8,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut outgoing = Outgoing::new(Sequence(0), window);
            let mut incoming = Incoming::new(Sequence(0), window as usize);
            let mut taken = Vec::new();
            let mut wire: Vec<u64> = Vec::new();
            for _ in 0..100_000 {
                if taken.len() as u64 == total { break; }
                if let Some(range) = outgoing.next(Sequence(total)) {
                    outgoing.handed(Sequence(*range.end()));
                    wire.extend(range);
                }
                random.shuffle(&mut wire);
                match random.u8(0..4) {
                    0 => { wire.pop(); }
                    1 => if let Some(n) = wire.last().copied() { wire.push(n) },
                    2 => outgoing.resume(incoming.accepted()),
                    _ => if let Some(n) = wire.pop()
                        && let Accepted::Gap { after } = incoming.accept(Sequence(n), [entry(n)])
                    {
                        outgoing.resume(after);
                    },
                }
                if random.bool() && let Some((sequence, bytes)) = incoming.pop() {
                    assert_eq!(bytes, entry(sequence.0));
                    taken.push(sequence.0);
                    if random.bool() { outgoing.acknowledged(sequence); }
                }
                if wire.is_empty() { outgoing.acknowledged(Sequence(taken.last().copied().unwrap_or(0))); }
            }
            prop_assert_eq!(taken, (1..=total).collect::<Vec<_>>());
        }
    }
}
