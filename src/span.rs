//! Spans: which keys of a table to read, in which direction, and how many.

use std::ops::Bound;

use bytes::Bytes;

use crate::TableKey;

/// A span of a table's or index's keys, the direction to read it in, and how many rows to read.
///
/// ```
/// use redeliver::Span;
///
/// let newest_ten_of_customer = Span::prefix(&"customer-7".to_owned()).descending().limit(10);
/// let page_after = Span::all().after(&42u64).limit(50);
/// # let _ = (newest_ten_of_customer, page_after);
/// ```
#[derive(Debug, Clone)]
pub struct Span {
    pub(crate) lower: Bound<Bytes>,
    pub(crate) upper: Bound<Bytes>,
    pub(crate) descending: bool,
    pub(crate) limit: usize,
}

/// Rows read by a [`Span`] without a limit of its own.
pub const SPAN_ROWS_DEFAULT: usize = 1_000;

impl Span {
    /// All keys.
    pub fn all() -> Span {
        Span {
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            descending: false,
            limit: SPAN_ROWS_DEFAULT,
        }
    }

    /// All keys that begin with these parts: a prefix of a tuple key.
    pub fn prefix<P: TableKey>(prefix: &P) -> Span {
        let lower = prefix.to_bytes();
        let upper = match after_prefix(&lower) {
            Some(upper) => Bound::Excluded(upper),
            None => Bound::Unbounded,
        };
        Span {
            lower: Bound::Included(lower),
            upper,
            ..Span::all()
        }
    }

    /// Only keys greater than (descending: less than) this one. For reading page after page, give
    /// the last key of the previous page.
    #[must_use]
    pub fn after<K: TableKey>(self, key: &K) -> Span {
        self.after_bytes(key.to_bytes())
    }

    /// As [`Span::after`], with a key that is already encoded.
    #[must_use]
    pub fn after_bytes(mut self, key: Bytes) -> Span {
        // Not narrower than the span itself: a cursor from elsewhere must not widen it.
        if self.descending {
            if !beyond(&self.upper, &key, false) {
                self.upper = Bound::Excluded(key);
            }
        } else if !beyond(&self.lower, &key, true) {
            self.lower = Bound::Excluded(key);
        }
        self
    }

    /// Only keys from this one on, including it.
    #[must_use]
    pub fn from<K: TableKey>(mut self, key: &K) -> Span {
        self.lower = Bound::Included(key.to_bytes());
        self
    }

    /// Only keys less than this one.
    #[must_use]
    pub fn below<K: TableKey>(mut self, key: &K) -> Span {
        self.upper = Bound::Excluded(key.to_bytes());
        self
    }

    /// Largest key first. Call before [`Span::after`].
    #[must_use]
    pub fn descending(mut self) -> Span {
        self.descending = true;
        self
    }

    /// Reads at most `rows` rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Span {
        self.limit = rows;
        self
    }

    pub(crate) fn contains(&self, key: &Bytes) -> bool {
        use std::ops::RangeBounds;
        (self.lower.clone(), self.upper.clone()).contains(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                a >= b
            }
            _ => false,
        }
    }
}

/// Whether `bound` already excludes `key` on its side.
fn beyond(bound: &Bound<Bytes>, key: &Bytes, lower: bool) -> bool {
    match bound {
        Bound::Unbounded => false,
        Bound::Included(at) | Bound::Excluded(at) => {
            if lower {
                at > key
            } else {
                at < key
            }
        }
    }
}

fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let mut upper = prefix.to_vec();
    while let Some(last) = upper.pop() {
        if last < 0xFF {
            upper.push(last + 1);
            return Some(Bytes::from(upper));
        }
    }
    None
}
