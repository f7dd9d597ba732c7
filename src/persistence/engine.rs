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
    /// How many syncs of files and directories that took; 0 where nobody counts.
    fn syncs(&self) -> u64 {
        0
    }
}

/// Where a store gets its engine from, and how it gets rid of a bad one.
pub trait EngineFactory: Send + Sync + 'static {
    /// Opens the engine, creating it empty if there is none. [`StoreError::Damaged`] means that
    /// what is there cannot be used: [`EngineFactory::destroy`] it and rebuild.
    fn open(&self) -> Result<Box<dyn Engine>, StoreError>;
    /// Removes everything the engine holds, durably. Nothing to remove is no error. The engine
    /// must have been dropped before.
    fn destroy(&self) -> Result<(), StoreError>;
}

/// Whether no key can lie in a range; ordered maps panic or misbehave when asked for such ranges.
pub fn is_empty_range(range: &KeyRange) -> bool {
    match (&range.0, &range.1) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low), Bound::Excluded(high))
        | (Bound::Excluded(low), Bound::Included(high))
        | (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
    }
}
