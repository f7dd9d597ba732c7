//! The simulated engine: an ordered map in memory that crashes the way a careless one would.
//!
//! It promises no more than [`Engine`] does: synced rows survive a crash, and of the others any
//! part may, in any order, half a batch included. What survives follows from the seed alone, so a
//! failing run can be repeated.
//!
//! ```text
//! SimEngine ──crash()──► its handles fail ──SimEngineFactory::open()──► new handle, surviving rows
//! ```

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::StoreError;
use crate::persistence::engine::{Direction, Engine, EngineFactory, KeyRange, is_empty_range};

/// A handle to a simulated engine. Clones share it and fail together after a crash.
#[derive(Clone, Debug)]
pub struct SimEngine {
    shared: Arc<Mutex<Machine>>,
    /// The life that this handle belongs to; a crash ends it.
    life: u64,
}

/// How a simulated engine is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// The next opening fails as damaged, until it is destroyed.
    RefusesToOpen,
    /// The next opening succeeds and finds nothing, as sled does after a garbled head.
    OpensEmpty,
    /// A random half of the rows is gone without a word.
    LosesRows,
}

/// Opens and destroys one simulated engine.
#[derive(Clone, Debug)]
pub struct SimEngineFactory {
    engine: SimEngine,
}

#[derive(Debug)]
struct Machine {
    random: fastrand::Rng,
    life: u64,
    refuses_to_open: bool,
    /// Operations left before every further one fails.
    fails_after: Option<u64>,
    operations: u64,
    /// What a reader sees, and what is there after a crash if all of `unsynced` is undone.
    seen: BTreeMap<Bytes, Bytes>,
    /// What was done since the last sync, in order.
    unsynced: Vec<Change>,
    /// Rows that cannot be read, until the engine is destroyed.
    unreadable: Option<KeyRange>,
}

/// A row that was put or removed, and what a crash may bring back.
#[derive(Debug)]
struct Change {
    key: Bytes,
    value: Option<Bytes>,
    before: Option<Bytes>,
}

impl SimEngine {
    /// An empty engine, open, whose crashes follow from `seed`.
    pub fn new(seed: u64) -> SimEngine {
        SimEngine {
            shared: Arc::new(Mutex::new(Machine {
                random: fastrand::Rng::with_seed(seed),
                life: 0,
                refuses_to_open: false,
                fails_after: None,
                operations: 0,
                seen: BTreeMap::new(),
                unsynced: Vec::new(),
                unreadable: None,
            })),
            life: 0,
        }
    }

    /// The factory to give to a store.
    pub fn factory(&self) -> SimEngineFactory {
        SimEngineFactory {
            engine: self.clone(),
        }
    }

    /// Pulls the plug: some legal part of the unsynced rows survives, and all handles fail until
    /// the factory opens a new one.
    pub fn crash(&self) {
        let mut machine = self.machine();
        let survivors = machine.fall_back();
        for (key, value) in survivors {
            put(&mut machine.seen, key, value);
        }
        machine.restart();
    }

    /// Removes everything, as an operator would who deletes the directory.
    pub fn destroy(&self) {
        let mut machine = self.machine();
        machine.seen.clear();
        machine.refuses_to_open = false;
        machine.unreadable = None;
        machine.restart();
    }

    /// Crashes and spoils what is left.
    pub fn corrupt(&self, how: Corruption) {
        self.crash();
        let mut machine = self.machine();
        match how {
            Corruption::RefusesToOpen => machine.refuses_to_open = true,
            Corruption::OpensEmpty => machine.seen.clear(),
            Corruption::LosesRows => machine.lose_half(),
        }
        machine.restart();
    }

    /// A random half of the rows is gone without a word, while the engine is used.
    pub fn lose_rows(&self) {
        self.machine().lose_half();
    }

    /// Whoever meets a row of this range is told of damage, until the engine is destroyed.
    pub fn spoil(&self, rows: KeyRange) {
        self.machine().unreadable = Some(rows);
    }

    /// Lets `operations` more succeed; all after them fail as a broken disk would, until a crash.
    pub fn fail_after(&self, operations: u64) {
        self.machine().fails_after = Some(operations);
    }

    /// How many operations (get, scan, apply, sync) were asked for so far.
    pub fn operations(&self) -> u64 {
        self.machine().operations
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts an operation, if this handle is alive.
    fn operate(&self) -> Result<MutexGuard<'_, Machine>, StoreError> {
        let mut machine = self.machine();
        if machine.life != self.life {
            return Err(StoreError::Closed {
                reason: "the simulated engine has crashed".to_owned(),
            });
        }
        machine.operations += 1;
        match &mut machine.fails_after {
            Some(0) => Err(StoreError::Io {
                operation: "an operation of the simulated engine".to_owned(),
                detail: "failure asked for by the test".to_owned(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(machine)
            }
            None => Ok(machine),
        }
    }
}

impl Engine for SimEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let machine = self.operate()?;
        let row = machine.seen.get_key_value(key);
        machine.check_readable(row.iter().map(|(key, _)| *key))?;
        Ok(row.map(|(_, value)| value.clone()))
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let machine = self.operate()?;
        if is_empty_range(range) {
            return Ok(Vec::new());
        }
        let rows = machine
            .seen
            .range(range.clone())
            .map(|(key, value)| (key.clone(), value.clone()));
        let found: Vec<(Bytes, Bytes)> = match direction {
            Direction::Ascending => rows.take(limit).collect(),
            Direction::Descending => rows.rev().take(limit).collect(),
        };
        machine.check_readable(found.iter().map(|(key, _)| key))?;
        Ok(found)
    }

    fn apply(&self, batch: &[(Bytes, Option<Bytes>)]) -> Result<Vec<bool>, StoreError> {
        let mut machine = self.operate()?;
        let mut was_there = Vec::with_capacity(batch.len());
        for (key, value) in batch {
            let before = put(&mut machine.seen, key.clone(), value.clone());
            was_there.push(before.is_some());
            machine.unsynced.push(Change {
                key: key.clone(),
                value: value.clone(),
                before,
            });
        }
        Ok(was_there)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.operate()?.unsynced.clear();
        Ok(())
    }
}

impl SimEngineFactory {
    /// A factory of a new engine whose crashes follow from `seed`.
    pub fn new(seed: u64) -> SimEngineFactory {
        SimEngine::new(seed).factory()
    }

    /// The engine, to crash, destroy or corrupt it. Not a handle to read with after a crash.
    pub fn engine(&self) -> &SimEngine {
        &self.engine
    }
}

impl EngineFactory for SimEngineFactory {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        let machine = self.engine.machine();
        if machine.refuses_to_open {
            return Err(StoreError::Damaged {
                what: "simulated engine".to_owned(),
                detail: "corrupted by the test".to_owned(),
            });
        }
        Ok(Box::new(SimEngine {
            shared: Arc::clone(&self.engine.shared),
            life: machine.life,
        }))
    }

    fn destroy(&self) -> Result<(), StoreError> {
        self.engine.destroy();
        Ok(())
    }
}

impl Machine {
    fn check_readable<'k>(
        &self,
        mut keys: impl Iterator<Item = &'k Bytes>,
    ) -> Result<(), StoreError> {
        match &self.unreadable {
            Some(spoilt) if keys.any(|key| spoilt.contains(key)) => Err(StoreError::Damaged {
                what: "simulated engine".to_owned(),
                detail: "a row was spoilt by the test".to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Undoes all that is not synced; returns the part of it that survives, in the order in which it
    /// reaches the disk.
    fn fall_back(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        let undone = std::mem::take(&mut self.unsynced);
        for change in undone.iter().rev() {
            put(&mut self.seen, change.key.clone(), change.before.clone());
        }
        let mut rows: Vec<_> = undone
            .into_iter()
            .map(|change| (change.key, change.value))
            .collect();
        match self.random.u8(..5) {
            0 => rows.clear(),
            1 => {}
            // A prefix may end within a batch.
            2 => rows.truncate(self.random.usize(..=rows.len())),
            3 => rows.retain(|_| self.random.bool()),
            _ => {
                self.random.shuffle(&mut rows);
                rows.truncate(self.random.usize(..=rows.len()));
            }
        }
        rows
    }

    fn lose_half(&mut self) {
        let mut random = self.random.fork();
        self.seen.retain(|_, _| random.bool());
    }

    /// Starts the next life on what is there.
    fn restart(&mut self) {
        self.life += 1;
        self.fails_after = None;
        self.unsynced.clear();
    }
}

/// Puts or removes a row; returns what was there.
fn put(rows: &mut BTreeMap<Bytes, Bytes>, key: Bytes, value: Option<Bytes>) -> Option<Bytes> {
    match value {
        Some(value) => rows.insert(key, value),
        None => rows.remove(&key),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::collections::HashSet;
    use std::ops::Bound;

    fn row(key: &str, value: &str) -> (Bytes, Option<Bytes>) {
        (
            Bytes::copy_from_slice(key.as_bytes()),
            Some(Bytes::copy_from_slice(value.as_bytes())),
        )
    }

    fn all(engine: &dyn Engine) -> Vec<(Bytes, Bytes)> {
        let everything = (Bound::Unbounded, Bound::Unbounded);
        engine
            .scan(&everything, Direction::Ascending, usize::MAX)
            .unwrap()
    }

    #[test]
    fn synced_rows_survive_every_crash() {
        for seed in 0..200 {
            let factory = SimEngineFactory::new(seed);
            let engine = factory.open().unwrap();
            engine.apply(&[row("a", "1"), row("b", "2")]).unwrap();
            engine.sync().unwrap();
            engine.apply(&[row("c", "3")]).unwrap();
            factory.engine().crash();
            let engine = factory.open().unwrap();
            assert_eq!(engine.get(b"a").unwrap().unwrap(), "1", "seed {seed}");
            assert_eq!(engine.get(b"b").unwrap().unwrap(), "2", "seed {seed}");
        }
    }

    #[test]
    fn unsynced_rows_may_survive_in_part_and_out_of_order() {
        let mut ends = HashSet::new();
        for seed in 0..500 {
            let factory = SimEngineFactory::new(seed);
            let engine = factory.open().unwrap();
            engine.apply(&[row("a", "1"), row("b", "1")]).unwrap();
            engine.apply(&[row("a", "2")]).unwrap();
            factory.engine().crash();
            let engine = factory.open().unwrap();
            let text = |key: &[u8]| engine.get(key).unwrap().map(|v| v[0] - b'0');
            ends.insert((text(b"a"), text(b"b")));
        }
        // Nothing, all, half the first batch, the second without the first, and the older value
        // written last: every outcome a careless engine may leave.
        let a = [None, Some(1), Some(2)];
        let b = [None, Some(1)];
        for end in a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b))) {
            assert!(ends.contains(&end), "{end:?} never happened");
        }
    }

    #[test]
    fn a_seed_repeats_its_crash() {
        let run = |seed| {
            let factory = SimEngineFactory::new(seed);
            for round in 0..5 {
                let engine = factory.open().unwrap();
                for key in 0..50 {
                    let key = format!("{key}");
                    engine.apply(&[row(&key, &format!("{round}"))]).unwrap();
                }
                factory.engine().crash();
            }
            all(factory.open().unwrap().as_ref())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn handles_of_a_crashed_engine_fail_until_it_is_reopened() {
        let factory = SimEngineFactory::new(1);
        let engine = factory.open().unwrap();
        factory.engine().crash();
        assert!(matches!(engine.get(b"a"), Err(StoreError::Closed { .. })));
        assert!(matches!(engine.sync(), Err(StoreError::Closed { .. })));
        assert!(factory.open().unwrap().get(b"a").unwrap().is_none());
    }

    #[test]
    fn a_corrupted_engine_refuses_opens_empty_or_loses_rows() {
        let factory = SimEngineFactory::new(3);
        let rows: Vec<_> = (0..64).map(|n| row(&format!("{n:02}"), "v")).collect();
        let fill = || {
            let engine = factory.open().unwrap();
            engine.apply(&rows).unwrap();
            engine.sync().unwrap();
        };
        fill();
        factory.engine().corrupt(Corruption::RefusesToOpen);
        assert!(matches!(factory.open(), Err(StoreError::Damaged { .. })));
        factory.destroy().unwrap();
        assert!(all(factory.open().unwrap().as_ref()).is_empty());

        fill();
        factory.engine().corrupt(Corruption::LosesRows);
        let left = all(factory.open().unwrap().as_ref()).len();
        assert!(left > 0 && left < 64, "{left} rows left");
        factory.engine().corrupt(Corruption::OpensEmpty);
        assert!(all(factory.open().unwrap().as_ref()).is_empty());
    }

    #[test]
    fn presence_counts_unsynced_rows_and_scans_stop_at_their_limit() {
        let engine = SimEngine::new(1);
        let removal = (Bytes::from_static(b"a"), None);
        let batch = [row("a", "1"), row("a", "2"), removal.clone(), removal];
        let was_there = engine.apply(&batch).unwrap();
        assert_eq!(was_there, [false, true, true, false]);

        engine
            .apply(&[row("a", "1"), row("b", "2"), row("c", "3")])
            .unwrap();
        let range = (Bound::Excluded(Bytes::from_static(b"a")), Bound::Unbounded);
        let last = engine.scan(&range, Direction::Descending, 1).unwrap();
        assert_eq!(last, [(Bytes::from("c"), Bytes::from("3"))]);
        let backwards = (
            Bound::Included(Bytes::from("b")),
            Bound::Excluded("a".into()),
        );
        assert!(
            engine
                .scan(&backwards, Direction::Ascending, 9)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn failures_come_when_asked_for() {
        let engine = SimEngine::new(1);
        engine.fail_after(1);
        engine.apply(&[row("a", "1")]).unwrap();
        assert!(matches!(engine.sync(), Err(StoreError::Io { .. })));
        assert_eq!(engine.operations(), 2);
    }
}
