//! The lineage of a cell: its own history, and those that it has its first events from.
//!
//! A restore begins another history. It goes on behind the backup's last event, with numbers that the
//! lost one may have given to other events; up to there, both are the same.
//!
//! ```text
//! lost      1 ─────────── 400 ────── 500
//! restored                 └ 401 ────────── 600     the last event that both have: 400
//! ```

use super::format::{Decoder, Malformed, put_varint};
use crate::commit::{EventNumber, Incarnation};

/// A history that a cell's own goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ancestor {
    pub(crate) incarnation: Incarnation,
    /// The last event that both have.
    pub(crate) last_event: EventNumber,
}

impl Ancestor {
    /// One that nobody knows any more. It may have nothing in common with the cell.
    const UNKNOWN: Ancestor = Ancestor {
        incarnation: Incarnation(0),
        last_event: EventNumber(0),
    };

    /// Writes ancestors to the end of a record. Without any, it is as it was before there were any.
    pub(super) fn encode_all(ancestors: &[Ancestor], to: &mut Vec<u8>) {
        for ancestor in ancestors {
            to.extend_from_slice(&ancestor.incarnation.0.to_le_bytes());
            put_varint(to, ancestor.last_event.0);
        }
    }

    pub(super) fn decode_all(from: &mut Decoder<'_>) -> Result<Vec<Ancestor>, Malformed> {
        let mut ancestors = Vec::new();
        while !from.is_empty() {
            ancestors.push(Ancestor {
                incarnation: Incarnation(from.u64()?),
                last_event: EventNumber(from.varint()?),
            });
        }
        Ok(ancestors)
    }
}

/// The histories that a reader's number may be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lineage {
    pub(crate) incarnation: Incarnation,
    /// The oldest first; none if the cell was never restored.
    pub(super) ancestors: Vec<Ancestor>,
}

impl Lineage {
    /// Of a cell that was never restored.
    pub(super) fn first(incarnation: Incarnation) -> Lineage {
        Lineage {
            incarnation,
            ancestors: Vec::new(),
        }
    }

    /// Of a cell that was restored, nobody knows from what.
    pub(super) fn lost(incarnation: Incarnation) -> Lineage {
        Lineage {
            incarnation,
            ancestors: vec![Ancestor::UNKNOWN],
        }
    }

    /// What to name beside a number of this history: nothing if it was the first.
    pub(crate) fn name(&self) -> Option<Incarnation> {
        (!self.ancestors.is_empty()).then_some(self.incarnation)
    }

    /// The last number that means the same here as in the history of that name; `None` if that is
    /// this one, and all do.
    pub(crate) fn last_shared(&self, name: Option<Incarnation>) -> Option<EventNumber> {
        if name == self.name() || name == Some(self.incarnation) {
            return None;
        }
        let ancestor = match name {
            None => self.ancestors.first(),
            Some(name) => {
                let mut ancestors = self.ancestors.iter();
                ancestors.find(|ancestor| ancestor.incarnation == name)
            }
        };
        Some(ancestor.unwrap_or(&Ancestor::UNKNOWN).last_event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_an_ancestor_counts_up_to_the_last_event_that_both_have() {
        let first = Lineage::first(Incarnation(1));
        assert_eq!(first.name(), None);
        let ancestor = |incarnation, last_event| Ancestor {
            incarnation: Incarnation(incarnation),
            last_event: EventNumber(last_event),
        };
        let third = Lineage {
            incarnation: Incarnation(3),
            ancestors: vec![ancestor(1, 400), ancestor(2, 500)],
        };
        assert_eq!(third.name(), Some(Incarnation(3)));
        let lost = Lineage::lost(Incarnation(4));
        assert_eq!(lost.name(), Some(Incarnation(4)));
        for (lineage, name, shared) in [
            (&first, None, None),
            (&first, Some(1), None),
            // The restored directory was given up for the one that it came from.
            (&first, Some(3), Some(0)),
            (&third, None, Some(400)),
            (&third, Some(1), Some(400)),
            (&third, Some(2), Some(500)),
            (&third, Some(3), None),
            (&third, Some(4), Some(0)),
            (&lost, None, Some(0)),
            (&lost, Some(3), Some(0)),
            (&lost, Some(4), None),
        ] {
            let found = lineage.last_shared(name.map(Incarnation));
            assert_eq!(found, shared.map(EventNumber), "{name:?} in {lineage:?}");
        }
    }
}
