//! What should be: the services of `services.rs` as plain maps.

use std::collections::BTreeMap;

use crate::services::{At, Changed, Item, Line, Slice, Tag};

/// A command as the model knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    Put {
        shelf: String,
        place: i16,
        amount: u64,
        tag: String,
    },
    Take {
        shelf: String,
        place: i16,
    },
    Empty {
        from: String,
        to: String,
    },
}

/// What a command answers: its reply in words, or the code of its rejection.
pub type Said = Result<String, String>;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub items: BTreeMap<At, Item>,
    /// Every event, in the order of publishing.
    pub published: Vec<Changed>,
    /// What was answered under an idempotency key, and to what.
    pub answers: BTreeMap<u8, (Deed, Said)>,
    /// When the reminders that are set are due.
    pub reminders: BTreeMap<u8, i64>,
    pub gone_off: BTreeMap<u8, u64>,
}

impl Model {
    pub fn apply(&mut self, deed: &Deed) -> Said {
        match deed.clone() {
            Deed::Put {
                shelf,
                place,
                amount,
                tag,
            } => {
                let key = (shelf, place);
                let before = self.items.insert(key.clone(), Item { amount, tag });
                self.change(key, Some(amount));
                Ok(format!("{:?}", before.map(|item| item.amount)))
            }
            Deed::Take { shelf, place } => {
                let key = (shelf, place);
                let item = self.items.remove(&key).ok_or("nothing_there")?;
                self.change(key, None);
                Ok(item.amount.to_string())
            }
            Deed::Empty { from, to } => {
                let on_it = self.items.iter().filter(|((shelf, _), _)| *shelf == from);
                let rows: Vec<_> = on_it
                    .map(|(key, item)| (key.clone(), item.clone()))
                    .collect();
                let moved = rows.len();
                for (key, item) in rows {
                    let target = (to.clone(), key.1);
                    self.items.remove(&key);
                    self.change(key, None);
                    let there = self.items.get(&target).map_or(0, |item| item.amount);
                    let amount = there.wrapping_add(item.amount);
                    self.items.insert(target.clone(), Item { amount, ..item });
                    self.change(target, Some(amount));
                }
                Ok(moved.to_string())
            }
        }
    }

    fn change(&mut self, (shelf, place): At, amount: Option<u64>) {
        self.published.push(Changed {
            shelf,
            place,
            amount,
        });
    }

    pub fn rows(&self, slice: &Slice) -> Vec<(At, Item)> {
        let rows = self.items.iter();
        let rows = rows
            .map(|(key, item)| (key.clone(), item.clone()))
            .collect();
        cut(rows, slice, false, |((shelf, place), _)| {
            (shelf, i64::from(*place))
        })
    }

    pub fn tagged(&self, slice: &Slice) -> Vec<(Tag, At)> {
        let tagged = self.items.iter().filter(|(_, item)| !item.tag.is_empty());
        let mut entries: Vec<_> = tagged
            .map(|(key, item)| ((item.tag.clone(), item.amount), key.clone()))
            .collect();
        entries.sort();
        cut(entries, slice, true, |((tag, amount), _)| {
            (tag, *amount as i64)
        })
    }

    /// What the ledger has written down once it has heard everything.
    pub fn book(&self) -> Vec<(String, Vec<Line>)> {
        let mut book: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for changed in &self.published {
            let lines = book.entry(changed.shelf.clone()).or_default();
            lines.push((changed.place, changed.amount));
        }
        book.into_iter().collect()
    }

    /// A reminder goes off.
    pub fn go_off(&mut self, n: u8) {
        self.reminders.remove(&n);
        *self.gone_off.entry(n).or_default() += 1;
    }

    pub fn reminders(&self) -> Vec<(u8, i64, u64)> {
        (0..4)
            .map(|n| {
                let due = self.reminders.get(&n).copied().unwrap_or(0);
                (n, due, self.gone_off.get(&n).copied().unwrap_or(0))
            })
            .collect()
    }
}

/// The rows of a slice, of rows in ascending order. Where several have the same text and number, all
/// of them lie behind these two alone.
fn cut<R>(
    mut rows: Vec<R>,
    slice: &Slice,
    are_several: bool,
    place: impl Fn(&R) -> (&String, i64),
) -> Vec<R> {
    if let Some(of) = &slice.of {
        let is_in = |row: &R| {
            let (text, number) = place(row);
            let after = slice.after.is_none_or(|after| match slice.descending {
                true => number < after,
                false => number > after || number == after && are_several,
            });
            let from = slice.from.is_none_or(|from| number >= from);
            let below = slice.below.is_none_or(|below| number < below);
            text == of && after && from && below
        };
        rows.retain(is_in);
    }
    if slice.descending {
        rows.reverse();
    }
    rows.truncate(slice.limit);
    rows
}
