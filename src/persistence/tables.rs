//! The memory tables: rows committed since the last checkpoint, above the engine's.
//!
//! ```text
//! get, scan ──► active ──► frozen (while a checkpoint runs) ──► engine       newest wins
//! ```
//!
//! A removed row is kept as a tombstone until the checkpoint has removed it from the engine.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::engine::{Direction, Engine, KeyRange, is_empty_range};
use crate::commit::TableId;
use crate::error::StoreError;

/// Rows put (`Some`) and removed (`None`).
pub(crate) type Layer = BTreeMap<Bytes, Option<Bytes>>;

/// The catalog: names of services and tables.
pub(crate) const CATALOG: TableId = TableId(0);
/// Per stream the last number sent and the mark.
pub(crate) const STREAMS: TableId = TableId(1);
/// Outbox entries.
pub(crate) const OUTBOX: TableId = TableId(2);
/// What the engine says about itself. Not part of a snapshot.
pub(crate) const CLAIM: TableId = TableId(3);
/// The first table of a service. Those below are the store's.
pub(crate) const FIRST_TABLE: TableId = TableId(16);

/// All tables of a cell, by their id.
#[derive(Default)]
pub(crate) struct Tables {
    list: RwLock<Vec<Arc<Table>>>,
}

/// One table.
#[derive(Default)]
pub(crate) struct Table {
    layers: RwLock<Layers>,
    /// Held for reading by whoever merges layers with the engine. A checkpoint takes it once for
    /// writing between freezing and touching the engine, so that no reader who saw the layers as
    /// they were before sees the engine as it is after.
    pin: RwLock<()>,
}

#[derive(Default)]
struct Layers {
    active: Layer,
    frozen: Option<Arc<Layer>>,
}

/// The key of a row in the engine.
pub(crate) fn engine_key(table: TableId, key: &[u8]) -> Bytes {
    let mut prefixed = Vec::with_capacity(4 + key.len());
    prefixed.extend_from_slice(&table.0.to_be_bytes());
    prefixed.extend_from_slice(key);
    prefixed.into()
}

/// The table and key of a row of the engine.
pub(crate) fn table_and_key(engine_key: &Bytes) -> Option<(TableId, Bytes)> {
    let table = engine_key.get(..4)?;
    let table = u32::from_be_bytes([table[0], table[1], table[2], table[3]]);
    Some((TableId(table), engine_key.slice(4..)))
}

/// All keys of a table in the engine.
pub(crate) fn whole_table(table: TableId) -> KeyRange {
    engine_range(table, &(Bound::Unbounded, Bound::Unbounded))
}

fn engine_range(table: TableId, range: &KeyRange) -> KeyRange {
    let low = match &range.0 {
        Bound::Included(key) => Bound::Included(engine_key(table, key)),
        Bound::Excluded(key) => Bound::Excluded(engine_key(table, key)),
        Bound::Unbounded => Bound::Included(engine_key(table, &[])),
    };
    let high = match &range.1 {
        Bound::Included(key) => Bound::Included(engine_key(table, key)),
        Bound::Excluded(key) => Bound::Excluded(engine_key(table, key)),
        Bound::Unbounded => match table.0.checked_add(1) {
            Some(next) => Bound::Excluded(engine_key(TableId(next), &[])),
            None => Bound::Unbounded,
        },
    };
    (low, high)
}

impl Tables {
    /// Makes room for a table.
    pub(crate) fn ensure(&self, id: TableId) {
        let index = id.0 as usize;
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        while list.len() <= index {
            list.push(Arc::default());
        }
    }

    /// Lets `act` use the list without taking a lock per table.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&[Arc<Table>]) -> R) -> R {
        act(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn find(&self, id: TableId) -> Option<Arc<Table>> {
        self.with(|list| list.get(id.0 as usize).cloned())
    }

    /// Freezes every table's active layer; the frozen ones that are not empty, by table.
    pub(crate) fn freeze(&self) -> Vec<(TableId, Arc<Layer>)> {
        self.with(|list| {
            list.iter()
                .enumerate()
                .filter_map(|(id, table)| Some((TableId(id as u32), table.freeze()?)))
                .collect()
        })
    }

    /// Waits for the readers that began before the freeze.
    pub(crate) fn wait_for_readers(&self, frozen: &[(TableId, Arc<Layer>)]) {
        for (id, _) in frozen {
            if let Some(table) = self.find(*id) {
                drop(table.pin.write().unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Lets go of the frozen layers, whose content the engine has.
    pub(crate) fn release(&self) {
        self.with(|list| {
            for table in list {
                table.write().frozen = None;
            }
        });
    }
}

impl Table {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts or removes a row.
    pub(crate) fn put(&self, key: Bytes, value: Option<Bytes>) {
        self.write().active.insert(key, value);
    }

    fn freeze(&self) -> Option<Arc<Layer>> {
        let mut layers = self.write();
        if layers.active.is_empty() {
            return None;
        }
        let frozen = Arc::new(std::mem::take(&mut layers.active));
        layers.frozen = Some(frozen.clone());
        Some(frozen)
    }

    /// The newest value of a key.
    pub(crate) fn get(
        &self,
        id: TableId,
        key: &[u8],
        engine: &dyn Engine,
    ) -> Result<Option<Bytes>, StoreError> {
        {
            let layers = self.read();
            if let Some(value) = layers.active.get(key) {
                return Ok(value.clone());
            }
            if let Some(value) = layers.frozen.as_ref().and_then(|frozen| frozen.get(key)) {
                return Ok(value.clone());
            }
        }
        engine.get(&engine_key(id, key))
    }

    /// At most `limit` rows of a range, as they are at one instant.
    pub(crate) fn scan(
        &self,
        id: TableId,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
        engine: &dyn Engine,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        if limit == 0 || is_empty_range(range) {
            return Ok(Vec::new());
        }
        let _pin = self.pin.read().unwrap_or_else(PoisonError::into_inner);
        let mut above: Layer;
        {
            let layers = self.read();
            let frozen = layers.frozen.clone();
            above = cut(&layers.active, range, direction, limit);
            drop(layers);
            if let Some(frozen) = frozen {
                // Rows of the frozen layer count only where the active one says nothing. Because
                // the active cut may end early, taking `limit` live rows of each is enough: the
                // merge never looks past the earlier of the two ends.
                let enough = limit.saturating_add(above.len());
                let mut below = cut(&frozen, range, direction, enough);
                below.retain(|key, _| !above.contains_key(key));
                merge_cut(&mut above, below, direction, limit);
            }
        }
        merge_engine(id, above, range, direction, limit, engine)
    }
}

/// The rows of a layer in a range, up to the `limit`-th that is not a tombstone.
fn cut(layer: &Layer, range: &KeyRange, direction: Direction, limit: usize) -> Layer {
    let mut live = 0;
    let mut taken = Layer::new();
    let mut take = |key: &Bytes, value: &Option<Bytes>| {
        taken.insert(key.clone(), value.clone());
        live += usize::from(value.is_some());
        live < limit
    };
    let rows = layer.range::<Bytes, _>((range.0.as_ref(), range.1.as_ref()));
    match direction {
        Direction::Ascending => {
            for (key, value) in rows {
                if !take(key, value) {
                    break;
                }
            }
        }
        Direction::Descending => {
            for (key, value) in rows.rev() {
                if !take(key, value) {
                    break;
                }
            }
        }
    }
    taken
}

/// Adds the rows of an older layer to those of a newer one.
///
/// A cut that ended at its `limit`-th live row says nothing about what is behind that row, but
/// with that many live rows before it nobody will look there.
fn merge_cut(above: &mut Layer, below: Layer, direction: Direction, limit: usize) {
    above.extend(below);
    let mut live = 0;
    let last = {
        let mut rows = above.iter();
        let mut next = || match direction {
            Direction::Ascending => rows.next(),
            Direction::Descending => rows.next_back(),
        };
        loop {
            match next() {
                None => return,
                Some((key, value)) => {
                    live += usize::from(value.is_some());
                    if live == limit {
                        break key.clone();
                    }
                }
            }
        }
    };
    match direction {
        Direction::Ascending => {
            let mut rest = above.split_off(&last);
            if let Some(row) = rest.remove_entry(&last) {
                above.insert(row.0, row.1);
            }
        }
        Direction::Descending => *above = above.split_off(&last),
    }
}

/// Merges the rows of the layers with the engine's.
fn merge_engine(
    id: TableId,
    above: Layer,
    range: &KeyRange,
    direction: Direction,
    limit: usize,
    engine: &dyn Engine,
) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let before = |a: &Bytes, b: &Bytes| match direction {
        Direction::Ascending => a < b,
        Direction::Descending => a > b,
    };
    let mut layered: Box<dyn Iterator<Item = (Bytes, Option<Bytes>)>> = match direction {
        Direction::Ascending => Box::new(above.into_iter()),
        Direction::Descending => Box::new(above.into_iter().rev()),
    };
    let mut next_layered = layered.next();
    let mut rest = engine_range(id, range);
    let mut merged = Vec::new();
    loop {
        let wanted = limit - merged.len();
        let page = engine.scan(&rest, direction, wanted)?;
        let ended = page.len() < wanted;
        for (engine_key, value) in page {
            let key = engine_key.slice(4..);
            let cursor = Bound::Excluded(engine_key);
            match direction {
                Direction::Ascending => rest.0 = cursor,
                Direction::Descending => rest.1 = cursor,
            }
            while let Some((layered_key, _)) = &next_layered
                && before(layered_key, &key)
            {
                if let Some((layered_key, Some(value))) = next_layered {
                    merged.push((layered_key, value));
                    if merged.len() == limit {
                        return Ok(merged);
                    }
                }
                next_layered = layered.next();
            }
            match &next_layered {
                Some((layered_key, newer)) if *layered_key == key => {
                    if let Some(newer) = newer {
                        merged.push((key, newer.clone()));
                    }
                    next_layered = layered.next();
                }
                _ => merged.push((key, value)),
            }
            if merged.len() == limit {
                return Ok(merged);
            }
        }
        if ended {
            break;
        }
    }
    while let Some((key, value)) = next_layered {
        if let Some(value) = value {
            merged.push((key, value));
            if merged.len() == limit {
                break;
            }
        }
        next_layered = layered.next();
    }
    Ok(merged)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::persistence::sim_engine::SimEngine;

    /// Whoever asked for all rows, without a limit to speak of, while a checkpoint was under way
    /// made the sum overflow: only the first of its rows were found, and a user's sessions outlived
    /// the password that was changed.
    #[test]
    fn a_scan_without_a_limit_during_a_checkpoint_finds_all_rows() {
        let table = Table::default();
        let key = |n: u8| Bytes::copy_from_slice(&[n]);
        for n in 0..9 {
            table.put(key(n), Some(key(n)));
        }
        table.freeze().unwrap();
        table.put(key(9), Some(key(9)));
        let all = (Bound::Unbounded, Bound::Unbounded);
        for direction in [Direction::Ascending, Direction::Descending] {
            let engine = SimEngine::new(1);
            let rows = table.scan(TableId(7), &all, direction, usize::MAX, &engine);
            assert_eq!(rows.unwrap().len(), 10);
        }
    }
}
