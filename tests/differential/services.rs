//! What is tried: shelves with an index over them and timers on them, and a ledger that hears of
//! every change.

use redeliver::TimerId;
use redeliver::prelude::*;

use crate::messages;

messages! {
    Put = "put" { shelf: String, place: i16, amount: u64, tag: String }
    Take = "take" { shelf: String, place: i16 }
    Empty = "empty" { from: String, to: String }
    Remind = "remind" { n: u8, after_ms: u64 }
    Forget = "forget" { n: u8 }
    Due = "due" { n: u8 }
    Rows = "rows" { of: Slice }
    Tagged = "tagged" { of: Slice }
    Reminders = "reminders" {}
    Book = "book" {}
}

/// Something changed. Ordered by shelf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    pub shelf: String,
    pub place: i16,
    pub amount: Option<u64>,
}
impl Message for Changed {
    const NAME: &'static str = "changed";
    fn key(&self) -> Key {
        Key::of(&self.shelf)
    }
}
impl Event for Changed {}

impl Command for Put {
    type Reply = Option<u64>;
}
impl Command for Take {
    type Reply = u64;
}
impl Command for Empty {
    type Reply = u64;
}
impl Command for Remind {
    /// When it is due.
    type Reply = i64;
}
impl Command for Forget {
    type Reply = bool;
}
impl Query for Rows {
    type Answer = Vec<(At, Item)>;
}
impl Query for Tagged {
    type Answer = Vec<(Tag, At)>;
}
impl Query for Reminders {
    type Answer = Vec<(u8, i64, u64)>;
}
impl Query for Book {
    type Answer = Vec<(String, Vec<Line>)>;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub amount: u64,
    pub tag: String,
}

/// Which rows to read: all or those of one shelf (or tag), from and below a place (or amount), after
/// a row, how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    pub of: Option<String>,
    pub from: Option<i64>,
    pub below: Option<i64>,
    pub after: Option<i64>,
    pub descending: bool,
    pub limit: usize,
}

/// Where something stands: its shelf and its place on it.
pub type At = (String, i16);
/// What an item is found by: its tag and its amount.
pub type Tag = (String, u64);
/// What is written down of a change: where on its shelf, and what stands there now.
pub type Line = (i16, Option<u64>);

pub const ITEMS: Table<At, Item> = Table::new("items");
/// By tag and amount; what has no tag is in no index.
pub const BY_TAG: Index<Tag, At, Item> = Index::new("items_by_tag", ITEMS, |_, item| {
    (!item.tag.is_empty()).then(|| (item.tag.clone(), item.amount))
});
/// When a reminder is due, by its number; and how often it has gone off.
pub const REMINDERS: Table<u8, (TimerId, i64)> = Table::new("reminders");
pub const GONE_OFF: Table<u8, u64> = Table::new("gone_off");
pub const BOOK: Table<String, Vec<Line>> = Table::new("book");

pub struct Shelves;

impl Service for Shelves {
    const NAME: &'static str = "shelves";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ITEMS)
            .index(BY_TAG)
            .table(REMINDERS)
            .table(GONE_OFF)
            .command(Self::put)
            .command(Self::take)
            .command(Self::empty)
            .command(Self::remind)
            .command(Self::forget)
            .timer(Self::due)
            .query(Self::rows)
            .query(Self::tagged)
            .query(Self::reminders)
            .publishes::<Changed>();
    }
}

impl Shelves {
    fn put(&self, put: Put, cx: &mut Context<Self>) -> Result<Option<u64>, Rejection> {
        let key = (put.shelf.clone(), put.place);
        let before = cx.get(ITEMS, &key)?.map(|item| item.amount);
        let item = Item {
            amount: put.amount,
            tag: put.tag,
        };
        cx.put(ITEMS, &key, &item)?;
        changed(cx, key, Some(put.amount));
        Ok(before)
    }

    fn take(&self, take: Take, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        let key = (take.shelf, take.place);
        let Some(item) = cx.get(ITEMS, &key)? else {
            // What a rejection has planned must not happen.
            changed(cx, key, None);
            return Err(Rejection::not_found("nothing_there", "nothing is there"));
        };
        cx.remove(ITEMS, &key)?;
        changed(cx, key, None);
        Ok(item.amount)
    }

    /// Moves everything from one shelf to another, in the middle of reading what the turn itself has
    /// written.
    fn empty(&self, empty: Empty, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        let mut moved = 0;
        for (key, item) in cx.scan(ITEMS, &Span::prefix(&empty.from))? {
            let to = (empty.to.clone(), key.1);
            cx.remove(ITEMS, &key)?;
            changed(cx, key, None);
            let there = cx.get(ITEMS, &to)?.map_or(0, |item| item.amount);
            let amount = there.wrapping_add(item.amount);
            cx.put(ITEMS, &to, &Item { amount, ..item })?;
            changed(cx, to, Some(amount));
            moved += 1;
        }
        let there = cx.scan(ITEMS, &Span::prefix(&empty.to))?;
        assert!(there.len() >= moved, "a turn sees what it has written");
        Ok(moved as u64)
    }

    fn remind(&self, remind: Remind, cx: &mut Context<Self>) -> Result<i64, Rejection> {
        if let Some((timer, _)) = cx.get(REMINDERS, &remind.n)? {
            cx.cancel(timer);
        }
        let after = std::time::Duration::from_millis(remind.after_ms);
        let due = cx.now().plus(after).0;
        let timer = cx.after(after, Due { n: remind.n });
        cx.put(REMINDERS, &remind.n, &(timer, due))?;
        Ok(due)
    }

    fn forget(&self, forget: Forget, cx: &mut Context<Self>) -> Result<bool, Rejection> {
        let Some((timer, _)) = cx.get(REMINDERS, &forget.n)? else {
            return Ok(false);
        };
        cx.cancel(timer);
        cx.remove(REMINDERS, &forget.n)?;
        Ok(true)
    }

    fn due(&self, due: Due, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let set = cx.get(REMINDERS, &due.n)?;
        let (_, at) = set.expect("a cancelled timer does not go off");
        assert!(cx.now().0 >= at, "a timer never goes off early");
        cx.remove(REMINDERS, &due.n)?;
        let times = cx.get(GONE_OFF, &due.n)?.unwrap_or(0);
        cx.put(GONE_OFF, &due.n, &(times + 1))?;
        Ok(())
    }

    fn rows(&self, rows: Rows, view: &View<Self>) -> Result<Vec<(At, Item)>, Rejection> {
        let key = |shelf: &String, place: i64| (shelf.clone(), place as i16);
        Ok(view.scan(ITEMS, &span(&rows.of, key))?)
    }

    fn tagged(&self, tagged: Tagged, view: &View<Self>) -> Result<Vec<(Tag, At)>, Rejection> {
        let key = |tag: &String, amount: i64| (tag.clone(), amount as u64);
        let rows = view.rows_by(BY_TAG, &span(&tagged.of, key))?;
        Ok(rows
            .into_iter()
            .map(|(entry, key, item)| {
                assert_eq!(entry, (item.tag, item.amount), "an index shows its rows");
                (entry, key)
            })
            .collect())
    }

    /// Number, when it is due (0: it is not set), how often it has gone off.
    fn reminders(&self, _: Reminders, view: &View<Self>) -> Result<Vec<(u8, i64, u64)>, Rejection> {
        let mut all = Vec::new();
        for n in 0..4u8 {
            let due = view.get(REMINDERS, &n)?.map_or(0, |(_, due)| due);
            all.push((n, due, view.get(GONE_OFF, &n)?.unwrap_or(0)));
        }
        Ok(all)
    }
}

fn changed(cx: &mut Context<Shelves>, (shelf, place): At, amount: Option<u64>) {
    cx.publish(Changed {
        shelf,
        place,
        amount,
    });
}

/// The span of a slice: a table of (text, number), by text and number.
fn span<K: TableKey>(slice: &Slice, key: impl Fn(&String, i64) -> K) -> Span {
    let mut span = match &slice.of {
        Some(of) => Span::prefix(of),
        None => Span::all(),
    };
    if let Some(of) = &slice.of {
        if let Some(from) = slice.from {
            span = span.from(&key(of, from));
        }
        if let Some(below) = slice.below {
            span = span.below(&key(of, below));
        }
    }
    if slice.descending {
        span = span.descending();
    }
    if let (Some(of), Some(after)) = (&slice.of, slice.after) {
        span = span.after(&key(of, after));
    }
    span.limit(slice.limit)
}

/// Writes down what it hears, in the order of its arrival.
pub struct Ledger;

impl Service for Ledger {
    const NAME: &'static str = "ledger";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(BOOK).event(Self::changed).query(Self::book);
    }
}

impl Ledger {
    fn changed(&self, changed: Changed, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let mut lines = cx.get(BOOK, &changed.shelf)?.unwrap_or_default();
        lines.push((changed.place, changed.amount));
        cx.put(BOOK, &changed.shelf, &lines)?;
        Ok(())
    }

    fn book(&self, _: Book, view: &View<Self>) -> Result<Vec<(String, Vec<Line>)>, Rejection> {
        Ok(view.scan(BOOK, &Span::all())?)
    }
}
