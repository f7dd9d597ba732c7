//! Pages: how every list is asked for and answered.
//!
//! A cursor is the last key of a page, written in letters and digits; it means nothing to the
//! caller, and one that is made up can only skip rows of the same list. Over HTTP the gateway adds
//! which list it is of, so that none is used for another list or other filters.

use std::borrow::Cow;

use redeliver::{Rejection, Span, TableKey};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Rows of a page when the caller does not say.
pub const PAGE_ROWS_DEFAULT: u16 = 50;
/// Rows of a page at most.
pub const PAGE_ROWS_MAX: u16 = 200;

/// Which page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Rows, 1 to 200; 50 if not said.
    pub limit: Option<u16>,
    /// `next_cursor` of the page before; the first page if not said.
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last.
    pub next_cursor: Option<String>,
}

impl<T> Listing<T> {
    /// The same page with its rows shown otherwise.
    pub fn map<U>(self, show: impl FnMut(T) -> U) -> Listing<U> {
        Listing {
            items: self.items.into_iter().map(show).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

impl Page {
    /// Rows to show, if the limit is sane.
    pub fn rows(&self) -> Result<usize, Rejection> {
        let rows = self.limit.unwrap_or(PAGE_ROWS_DEFAULT);
        if rows == 0 || rows > PAGE_ROWS_MAX {
            return Err(Rejection::invalid(
                "invalid_limit",
                format!("limit {rows} is out of range; use 1 to {PAGE_ROWS_MAX}"),
            ));
        }
        Ok(usize::from(rows))
    }

    /// The part of `span` that this page shows, and one row more: whether there is a next page.
    /// `K` is what the cursor holds: the table's key, or an index's entry and key.
    pub fn of<K: TableKey>(&self, span: Span) -> Result<Span, Rejection> {
        let span = span.limit(self.rows()? + 1);
        Ok(match self.after::<K>()? {
            Some(key) => span.after(&key),
            None => span,
        })
    }

    /// The key after which this page begins; `None` for the first page.
    pub fn after<K: TableKey>(&self) -> Result<Option<K>, Rejection> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let key = from_hex(cursor).and_then(|bytes| K::from_bytes(&bytes));
        key.map(Some).ok_or_else(|| {
            Rejection::invalid(
                "invalid_cursor",
                "cursor is not one of ours; start again without it",
            )
        })
    }

    /// The page from the rows that [`Page::of`] led to.
    pub fn listing<K: TableKey, R, T>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        show: impl Fn(R) -> T,
    ) -> Result<Listing<T>, Rejection> {
        let limit = self.rows()?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = match rows.last() {
            Some(last) if more => Some(cursor(&key(last))),
            _ => None,
        };
        Ok(Listing {
            items: rows.into_iter().map(show).collect(),
            next_cursor,
        })
    }
}

impl<T: ToSchema> PartialSchema for Listing<T> {
    fn schema() -> RefOr<Schema> {
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .pattern(Some("^[A-Za-z0-9_-]+$"))
            .description(Some("Where the next page begins; `null` on the last."));
        ObjectBuilder::new()
            .property(
                "items",
                ArrayBuilder::new().items(Ref::from_schema_name(T::name())),
            )
            .property("next_cursor", cursor)
            .description(Some("One page of a list."))
            .into()
    }
}

/// Derived, all lists would have one name.
impl<T: ToSchema> ToSchema for Listing<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}List", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// The cursor of the page that begins after this key.
pub fn cursor<K: TableKey>(key: &K) -> String {
    to_hex(&key.to_bytes())
}

/// Bytes as lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The reverse of [`to_hex`]; `None` for anything else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn page(limit: u16, cursor: Option<&str>) -> Page {
        Page {
            limit: Some(limit),
            cursor: cursor.map(str::to_owned),
        }
    }

    #[test]
    fn a_page_names_the_next_one_only_if_there_is_more() {
        let full = page(2, None)
            .listing(vec![1u32, 2, 3], |n| *n, |n| n)
            .unwrap();
        assert_eq!(full.items, [1, 2]);
        assert_eq!(full.next_cursor.as_deref(), Some("00000002"));
        let last = page(2, None).listing(vec![1u32, 2], |n| *n, |n| n).unwrap();
        assert_eq!(last.next_cursor, None);
    }

    #[test]
    fn limits_out_of_range_and_foreign_cursors_are_refused() {
        assert_eq!(page(0, None).rows().unwrap_err().code, "invalid_limit");
        assert_eq!(page(201, None).rows().unwrap_err().code, "invalid_limit");
        for cursor in ["", "zz", "0", "00000002ff", "é0"] {
            let error = page(1, Some(cursor)).of::<u32>(Span::all()).unwrap_err();
            assert_eq!(error.code, "invalid_cursor", "{cursor:?}");
        }
        assert!(page(1, Some("00000002")).of::<u32>(Span::all()).is_ok());
    }
}
