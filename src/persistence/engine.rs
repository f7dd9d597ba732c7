//! The engine: the materialised map under the memory tables.
//!
//! It holds what the journal said up to the last checkpoint. It is not the truth: whatever it
//! loses is rebuilt from a snapshot and the journal, so it may be fast instead of careful.

use crate::error::StoreError;
use bytes::Bytes;
use std::ops::Bound;

/// A range of encoded keys.
pub type KeyRange = (Bound<Bytes>, Bound<Bytes>);

/// Which way to read a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// An ordered map from bytes to bytes. Only the checkpointer writes to it.
pub trait Engine: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    /// At most `limit` rows of a range.
    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
    /// Puts and removes rows. Says for each, in order, whether the key was there before. Durable
    /// only after [`Engine::sync`]; a crash before may leave any part of it.
    fn apply(&self, batch: &[(Bytes, Option<Bytes>)]) -> Result<Vec<bool>, StoreError>;
    /// Makes everything applied durable.
    fn sync(&self) -> Result<(), StoreError>;
}
