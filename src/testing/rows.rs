//! Rows in memory, for turns that need no store.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::commit::{TableId, Write};
use crate::draft::Reads;
use crate::error::StoreError;
use crate::span::Span;

type Rows = BTreeMap<Bytes, Bytes>;

/// The state of one service.
#[derive(Debug, Default)]
pub(crate) struct MemoryRows {
    tables: Mutex<BTreeMap<TableId, Rows>>,
}

impl MemoryRows {
    pub(crate) fn apply(&self, writes: impl IntoIterator<Item = Write>) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            let rows = tables.entry(write.table).or_default();
            match write.value {
                Some(value) => rows.insert(write.key, value),
                None => rows.remove(&write.key),
            };
        }
    }

    pub(crate) fn remove(&self, table: TableId, key: Bytes) {
        self.apply([Write {
            table,
            key,
            value: None,
        }]);
    }

    pub(crate) fn all(&self, table: TableId) -> Vec<(Bytes, Bytes)> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .get(&table)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

impl Reads for MemoryRows {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(
        &self,
        table: TableId,
        span: &Span,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rows) = tables.get(&table) else {
            return Ok(Vec::new());
        };
        let spanned = rows
            .range((span.lower.clone(), span.upper.clone()))
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(if span.descending {
            spanned.rev().take(limit).collect()
        } else {
            spanned.take(limit).collect()
        })
    }
}
