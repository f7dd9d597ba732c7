//! Tables: typed, ordered key → value maps owned by one service, and the indexes over them.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TableKey;
use crate::codec::{self, Body, CodecError, Subject};

/// A table's name and types; rows are reached through [`Context`](crate::Context).
///
/// ```
/// use redeliver::Table;
///
/// /// Units on hand by product.
/// const STOCK: Table<String, u64> = Table::new("stock");
/// ```
pub struct Table<K, V> {
    name: &'static str,
    formerly: &'static [&'static str],
    version: u16,
    older: fn(u16, Body<'_>) -> Option<Result<V, CodecError>>,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Table<K, V> {
    /// A table of this name. The name is the table's identity in stored data.
    pub const fn new(name: &'static str) -> Table<K, V> {
        Table {
            name,
            formerly: &[],
            version: 1,
            older: codec::no_older::<V>,
            types: PhantomData,
        }
    }

    /// Names under which stored data may still know this table.
    #[must_use]
    pub const fn formerly(mut self, names: &'static [&'static str]) -> Table<K, V> {
        self.formerly = names;
        self
    }

    /// Sets the schema version that is written, and the function that reads older ones.
    #[must_use]
    pub const fn version(
        mut self,
        version: u16,
        older: fn(u16, Body<'_>) -> Option<Result<V, CodecError>>,
    ) -> Table<K, V> {
        self.version = version;
        self.older = older;
        self
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn former_names(&self) -> &'static [&'static str] {
        self.formerly
    }
}

impl<K, V: Serialize + DeserializeOwned> Table<K, V> {
    pub(crate) fn seal(&self, key: &[u8], value: &V) -> Result<Vec<u8>, CodecError> {
        codec::seal(Subject::row(self.name, key), self.version, value)
    }

    pub(crate) fn open(&self, key: &[u8], sealed: &[u8]) -> Result<V, CodecError> {
        // A row keeps the name it was written under in its checksum.
        let mut first = None;
        for name in std::iter::once(&self.name).chain(self.formerly) {
            match codec::open(Subject::row(name, key), self.version, sealed, self.older) {
                Err(error @ CodecError::Checksum { .. }) => first = first.or(Some(error)),
                other => return other,
            }
        }
        Err(first.unwrap_or(CodecError::Checksum {
            subject: self.name.to_owned(),
        }))
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

/// A secondary index: finds rows of a table by something else than their key. The library writes
/// it in the same commit as the row.
///
/// ```
/// use redeliver::{Index, Table};
///
/// const ORDERS: Table<u64, String> = Table::new("orders");
/// /// Orders by customer.
/// const BY_CUSTOMER: Index<String, u64, String> =
///     Index::new("orders_by_customer", ORDERS, |_order, customer| Some(customer.clone()));
/// ```
pub struct Index<I, K, V> {
    name: &'static str,
    table: Table<K, V>,
    of: fn(&K, &V) -> Option<I>,
}

impl<I, K, V> Index<I, K, V> {
    /// An index of this name over `table`; `of` gives a row's entry, or `None` to leave it out.
    /// Several rows may have the same entry.
    pub const fn new(
        name: &'static str,
        table: Table<K, V>,
        of: fn(&K, &V) -> Option<I>,
    ) -> Index<I, K, V> {
        Index { name, table, of }
    }

    /// The index's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The table it is over.
    pub const fn table(&self) -> Table<K, V> {
        self.table
    }
}

impl<I: TableKey + 'static, K: TableKey + 'static, V: 'static> Index<I, K, V> {
    pub(crate) fn keys(&self) -> IndexKeys {
        let of = self.of;
        IndexKeys(Box::new(move |key, value| {
            let (key, value) = (key.downcast_ref::<K>()?, value.downcast_ref::<V>()?);
            let entry = of(key, value)?;
            let mut bytes = Vec::with_capacity(48);
            entry.write(&mut bytes);
            key.write(&mut bytes);
            Some(bytes)
        }))
    }
}

impl<I, K, V> Clone for Index<I, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<I, K, V> Copy for Index<I, K, V> {}

/// The index row of a table row, whatever their types.
#[allow(clippy::type_complexity, reason = "the one place that spells it out")]
pub(crate) struct IndexKeys(Box<dyn Fn(&dyn Any, &dyn Any) -> Option<Vec<u8>> + Send + Sync>);

impl IndexKeys {
    pub(crate) fn of(&self, key: &dyn Any, value: &dyn Any) -> Option<Vec<u8>> {
        (self.0)(key, value)
    }
}
