//! The mix: what the shopper does and what becomes of parcels, each with its weight.
//!
//! Everything happens once before chance decides, so that a short demo shows everything too.

use std::collections::VecDeque;

use super::chance::Chance;

/// Something that a shopper does, from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Story {
    /// Orders and pays.
    Plain,
    /// Fills a cart and checks out.
    Checkout,
    /// Looks around, fills a cart and leaves it.
    Browse,
    /// The card is refused for good.
    Declined,
    /// The card is refused; another one pays.
    SoftDecline,
    /// The provider charges and does not answer.
    TimeoutCharged,
    /// The provider does neither.
    TimeoutLost,
    /// The provider takes its time.
    Slow,
    /// The provider says it twice.
    DuplicateWebhook,
    /// The parcel leaves and the money does not come; somebody of the shop decides.
    CaptureFails,
    /// More is ordered than there is.
    Shortfall,
    /// Called off in the same breath.
    CancelAtOnce,
    /// Called off once it is confirmed.
    CancelConfirmed,
    /// Called off at the very moment at which the parcel leaves.
    CancelAtDispatch,
    /// A part of the money goes back.
    PartialRefund,
    /// Something costs more or less from now on.
    PriceChange,
    /// A customer changes a name.
    ProfileUpdate,
    /// A customer leaves for good; another comes.
    Departure,
}

/// What the shopper does, by weight.
pub const STORIES: [(u32, Story); 18] = [
    (36, Story::Plain),
    (20, Story::Checkout),
    (10, Story::Browse),
    (4, Story::Declined),
    (4, Story::SoftDecline),
    (2, Story::TimeoutCharged),
    (2, Story::TimeoutLost),
    (2, Story::Slow),
    (3, Story::DuplicateWebhook),
    (2, Story::CaptureFails),
    (2, Story::Shortfall),
    (2, Story::CancelAtOnce),
    (3, Story::CancelConfirmed),
    (2, Story::CancelAtDispatch),
    (3, Story::PartialRefund),
    (1, Story::PriceChange),
    (1, Story::ProfileUpdate),
    (1, Story::Departure),
];

/// Something that the warehouse does with a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// It leaves.
    Dispatch,
    /// It is seen on its way.
    InTransit,
    /// It is in the van.
    OutForDelivery,
    /// Nobody took it.
    Attempt,
    /// It has arrived.
    Deliver,
    /// It has come back.
    Return,
}

/// What becomes of parcels, by weight: the acts after each other.
pub const FATES: [(u32, &[Act]); 5] = [
    (50, &[Act::Dispatch, Act::Deliver]),
    (
        30,
        &[
            Act::Dispatch,
            Act::InTransit,
            Act::OutForDelivery,
            Act::Deliver,
        ],
    ),
    (
        8,
        &[
            Act::Dispatch,
            Act::OutForDelivery,
            Act::Attempt,
            Act::Deliver,
        ],
    ),
    (
        5,
        &[
            Act::Dispatch,
            Act::Attempt,
            Act::Attempt,
            Act::Attempt,
            Act::Return,
        ],
    ),
    (7, &[Act::Dispatch, Act::Deliver, Act::Return]),
];

/// Draws from a table: everything once, in its order, and then by weight.
#[derive(Debug)]
pub(super) struct Deck<T: 'static> {
    table: &'static [(u32, T)],
    not_yet: VecDeque<T>,
}

impl<T: Copy> Deck<T> {
    pub(super) fn new(table: &'static [(u32, T)]) -> Deck<T> {
        Deck {
            table,
            not_yet: table.iter().map(|(_, thing)| *thing).collect(),
        }
    }

    /// The next; `None` only of an empty table.
    pub(super) fn draw(&mut self, chance: &mut Chance) -> Option<T> {
        if let Some(first) = self.not_yet.pop_front() {
            return Some(first);
        }
        let mut drawn = chance.below(self.table.iter().map(|(weight, _)| weight).sum());
        for (weight, thing) in self.table {
            if drawn < *weight {
                return Some(*thing);
            }
            drawn -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn everything_happens_once_before_anything_happens_twice() {
        let (mut deck, mut chance) = (Deck::new(&STORIES), Chance::new(7, 1));
        let first: HashSet<_> = STORIES.map(|_| deck.draw(&mut chance).unwrap()).into();
        assert_eq!(first.len(), STORIES.len());
    }

    #[test]
    fn then_each_comes_about_as_often_as_it_weighs_and_a_seed_repeats_it() {
        let draw = || {
            let (mut deck, mut chance) = (Deck::new(&STORIES), Chance::new(7, 1));
            (0..10_000).map(move |_| deck.draw(&mut chance).unwrap())
        };
        let mut counts: HashMap<Story, u32> = HashMap::new();
        draw().for_each(|story| *counts.entry(story).or_default() += 1);
        let total: u32 = STORIES.iter().map(|(weight, _)| weight).sum();
        for (weight, story) in STORIES {
            let expected = f64::from(weight * 10_000 / total);
            let off = (f64::from(counts[&story]) - expected).abs();
            assert!(off < expected * 0.5 + 20.0, "{story:?}: {}", counts[&story]);
        }
        assert!(draw().eq(draw()));
    }

    #[test]
    fn every_parcel_leaves_first_and_its_way_has_an_end() {
        for (_, fate) in FATES {
            assert_eq!(fate.first(), Some(&Act::Dispatch));
            assert!(matches!(fate.last(), Some(Act::Deliver | Act::Return)));
        }
    }
}
