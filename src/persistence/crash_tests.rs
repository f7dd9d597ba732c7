//! Crashes at every operation of a random workload, on the simulated disk and engine: what is
//! found afterwards is exactly what was queued up to some position, and nothing that was
//! acknowledged lies behind it.
#![allow(clippy::unwrap_used)]

mod backups;
mod engines;
mod recoveries;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::disk::Disk;
use super::engine::Direction;
use super::open::Recovered;
use super::options::{Driving, StoreOptions};
use super::running::InHand;
use super::sim_disk::{Fault, SimDisk};
use super::sim_engine::{Corruption, SimEngine};
use super::store::{CellState, Space, Store};
use crate::clock::{Clock, Timestamp};
use crate::commit::*;
use crate::error::{OpenError, StoreError};

struct SeededClock(Mutex<fastrand::Rng>);

impl Clock for SeededClock {
    fn wall(&self) -> Timestamp {
        Timestamp(1_000_000)
    }

    fn entropy(&self) -> u64 {
        self.0.lock().unwrap().u64(..)
    }
}

/// Everything a reader can ask for.
#[derive(Clone, PartialEq, Eq, Default)]
struct Model {
    rows: BTreeMap<Bytes, Bytes>,
    sent: u64,
    mark: Mark,
    outbox: Vec<(Sequence, Bytes)>,
    events: Vec<Bytes>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &Bytes| (bytes.first().copied(), bytes.len());
        for (key, value) in &self.rows {
            write!(f, "{}={:?} ", key[0], short(value))?;
        }
        let outbox: Vec<_> = self.outbox.iter().map(|entry| entry.0.0).collect();
        let events: Vec<_> = self.events.iter().map(|event| event[0]).collect();
        let consumed = self.mark.consumed.0;
        write!(
            f,
            "sent {} consumed {consumed} {outbox:?} {events:?}",
            self.sent
        )
    }
}

/// One machine, over any number of crashes.
struct World {
    seed: u64,
    random: fastrand::Rng,
    disk: SimDisk,
    engine: SimEngine,
    clock: Arc<SeededClock>,
    options: StoreOptions,
    acknowledged: Arc<AtomicU64>,
    /// Whether the receiver is up, where it is not always.
    receiver: Option<bool>,
    /// What the store should be at each position; those that set up names are like the one before.
    history: BTreeMap<Position, Model>,
}

struct Names {
    a: ServiceId,
    b: ServiceId,
    table: TableId,
    epoch: Epoch,
    epoch_b: Epoch,
}

impl World {
    fn new(seed: u64) -> World {
        let mut options = StoreOptions::new("/data");
        options.segment_bytes = 8 << 10;
        options.first_segment_bytes = 6 << 10;
        options.checkpoint_start_bytes = 2 << 10;
        options.snapshot_bytes = 6 << 10;
        options.events.segment_bytes = 1 << 10;
        options.reserve_bytes = 16 << 10;
        options.low_space_bytes = 0;
        // Every other world spills whatever waits for its receiver, which is down for long.
        let spills = seed % 2 == 1;
        if spills {
            options.outbox_memory_bytes = 400;
            options.checkpoint_start_bytes = 512;
            options.spill_file_bytes = 100;
        }
        World {
            seed,
            random: fastrand::Rng::with_seed(seed),
            disk: SimDisk::new(seed),
            engine: SimEngine::new(seed),
            clock: Arc::new(SeededClock(Mutex::new(fastrand::Rng::with_seed(seed)))),
            options,
            acknowledged: Arc::default(),
            receiver: spills.then_some(false),
            history: BTreeMap::from([(Position(0), Model::default())]),
        }
    }

    fn open(&self) -> Result<(Store, Recovered), OpenError> {
        Store::open(
            self.options.clone(),
            Arc::new(self.disk.clone()),
            Arc::new(self.engine.factory()),
            self.clock.clone(),
            Driving::Manual(Arc::new(|| {})),
        )
    }

    fn names(&mut self, store: &Store) -> Result<Names, StoreError> {
        let a = store.service("a", 0, &[])?;
        let b = store.service("b", 0, &[])?;
        let table = store.table(a, "rows", &[])?;
        self.note(store, |_| {});
        let (epoch, epoch_b) = (store.take_over(a), store.take_over(b));
        Ok(Names {
            a,
            b,
            table,
            epoch,
            epoch_b,
        })
    }

    /// Extends the history up to what is queued.
    fn note(&mut self, store: &Store, change: impl FnOnce(&mut Model)) {
        let queued = store.queued();
        // What was queued and lost in a crash never was.
        self.history.split_off(&Position(queued.0 + 1));
        let (last, model) = self.history.last_key_value().unwrap();
        let (last, mut model) = (*last, model.clone());
        for position in last.0 + 1..queued.0 {
            self.history.insert(Position(position), model.clone());
        }
        change(&mut model);
        self.history.insert(queued, model);
    }

    /// One random act. `Ok(false)` when the store was closed in good order.
    fn act(&mut self, store: &Store, names: &Names) -> Result<bool, StoreError> {
        match self.random.u8(..32) {
            0..18 => self.turn(store, names)?,
            18..26 => {
                store.write_group()?;
            }
            26..30 => {
                store.maintain()?;
            }
            30 => {
                store.checkpoint_now()?;
            }
            _ => {
                if self.random.u8(..3) == 0 {
                    store.close()?;
                    return Ok(false);
                }
                store.snapshot_now()?;
            }
        }
        let model = self.history[&store.queued()].clone();
        assert_eq!(look(store, names)?, model, "seed {}", self.seed);
        Ok(true)
    }

    fn turn(&mut self, store: &Store, names: &Names) -> Result<(), StoreError> {
        let random = &mut self.random;
        let model = self.history.last_key_value().unwrap().1.clone();
        if let Some(up) = &mut self.receiver
            && random.u8(..24) == 0
        {
            *up = !*up;
        }
        let receives = match self.receiver {
            None => random.u8(..3) == 0,
            Some(up) => up && random.u8(..4) > 0,
        } && model.mark.consumed.0 < model.sent;
        let mut commit = Commit {
            service: if receives { names.b } else { names.a },
            at: Timestamp(random.i64(0..1_000)),
            seed: random.u64(..),
            cause: Cause::System {
                note: String::new(),
            },
            mark: None,
            writes: Vec::new(),
            sends: Vec::new(),
        };
        if receives {
            let mut mark = model.mark;
            mark.consumed.0 += 1;
            mark.applied += 1;
            commit.mark = Some(MarkMove {
                sender: names.a,
                mark,
            });
        } else {
            for _ in 0..random.usize(..4) {
                let key = Bytes::from(vec![random.u8(..16)]);
                let length = random.usize(..200);
                let value = random
                    .bool()
                    .then(|| Bytes::from(vec![random.u8(..); length]));
                commit.writes.push(Write {
                    table: names.table,
                    key,
                    value,
                });
            }
            for _ in 0..random.usize(..3) {
                let receivers = random.usize(..if self.receiver.is_some() { 4 } else { 2 });
                commit.sends.push(Send {
                    envelope: Bytes::from(vec![random.u8(..); 20]),
                    to: vec![names.b; receivers],
                    event: random.bool(),
                });
            }
        }
        let acknowledged = self.acknowledged.clone();
        let output: Output = Box::new(move |outcome| {
            if let Ok(position) = outcome {
                acknowledged.fetch_max(position.0, Ordering::SeqCst);
            }
        });
        let epoch = if receives { names.epoch_b } else { names.epoch };
        store.queue(epoch, commit.clone(), vec![output])?;
        self.note(store, |model| {
            if let Some(moved) = commit.mark {
                model.mark = moved.mark;
                model
                    .outbox
                    .retain(|(sequence, _)| *sequence > moved.mark.consumed);
            }
            for write in commit.writes {
                match write.value {
                    Some(value) => model.rows.insert(write.key, value),
                    None => model.rows.remove(&write.key),
                };
            }
            for send in commit.sends {
                for _ in send.to {
                    model.sent += 1;
                    let entry = (Sequence(model.sent), send.envelope.clone());
                    model.outbox.push(entry);
                }
                if send.event {
                    model.events.push(send.envelope);
                }
            }
        });
        Ok(())
    }

    /// Works until something fails or `acts` are done, in as many openings as it takes.
    fn work(&mut self, acts: usize) -> Result<(), String> {
        let mut done = 0;
        while done < acts {
            let (store, _) = self.open().map_err(|error| error.to_string())?;
            let names = self.names(&store).map_err(|error| error.to_string())?;
            while done < acts {
                done += 1;
                match self.act(&store, &names) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
        Ok(())
    }

    /// After a crash: opens and compares.
    fn recover(&mut self) -> (Store, Names, Recovered) {
        let (store, recovered) = self
            .open()
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let position = recovered.position;
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let seed = self.seed;
        assert!(
            position.0 >= acknowledged,
            "seed {seed}: {acknowledged} was acknowledged, {position:?} found"
        );
        // A crash while names were given leaves positions that nobody has noted.
        let (_, model) = self.history.range(..=position).next_back().unwrap();
        let model = model.clone();
        self.history.split_off(&Position(position.0 + 1));
        self.history.insert(position, model.clone());
        let names = self.names(&store).unwrap();
        assert_eq!(look(&store, &names).unwrap(), model, "seed {seed}");
        (store, names, recovered)
    }

    fn crash(&self) {
        if !self.disk.is_down() {
            self.disk.crash();
        }
        self.engine.crash();
        self.disk.restart();
    }

    fn file(&self, extension: &str, nth_from_last: usize) -> PathBuf {
        let mut files: Vec<PathBuf> = self
            .disk
            .files()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        files.retain(|path| path.extension().is_some_and(|found| found == extension));
        files[files.len() - 1 - nth_from_last].clone()
    }
}

fn look(store: &Store, names: &Names) -> Result<Model, StoreError> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let ascending = store.scan(names.table, &all, Direction::Ascending, 1_000)?;
    let mut descending = store.scan(names.table, &all, Direction::Descending, 1_000)?;
    descending.reverse();
    assert_eq!(ascending, descending);
    for (key, value) in &ascending {
        assert_eq!(store.get(names.table, key)?.as_ref(), Some(value));
    }
    // Page by page it must be the same.
    let mut paged = Vec::new();
    let mut range = all;
    loop {
        let page = store.scan(names.table, &range, Direction::Ascending, 3)?;
        let Some((last, _)) = page.last() else { break };
        range.0 = Bound::Excluded(last.clone());
        paged.extend(page);
    }
    assert_eq!(paged, ascending);
    let stream = StreamId {
        sender: names.a,
        receiver: names.b,
    };
    // Only durable events are shown: make the rest visible to compare them.
    while store.write_group()? {}
    let mut events = Vec::new();
    loop {
        let from = EventNumber(events.len() as u64 + 1);
        let page = store.events(from, 4)?;
        assert!(page.gaps.is_empty(), "{page:?}");
        if page.events.is_empty() {
            break;
        }
        events.extend(page.events.into_iter().map(|event| event.envelope));
    }
    Ok(Model {
        rows: ascending.into_iter().collect(),
        sent: store.sent(stream).0,
        mark: store.mark(stream),
        outbox: store.outbox(stream, Sequence(0), 1_000, usize::MAX)?,
        events,
    })
}

/// How often a workload is run, for the number of its operations.
const ACTS: usize = 60;

fn operations_of(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.work(ACTS).unwrap();
    world.disk.operations()
}

#[test]
fn a_crash_at_any_disk_operation_leaves_an_exact_prefix_with_everything_acknowledged() {
    let mut torn = 0;
    let mut interrupted_checkpoints = 0;
    let mut spilled = 0;
    for seed in 0..6 {
        for operation in 1..=operations_of(seed) {
            let mut world = World::new(seed);
            world.disk.fail_at(operation, Fault::Crash);
            let failed = world.work(ACTS).is_err();
            assert!(
                failed && world.disk.is_down(),
                "seed {seed} operation {operation}"
            );
            world.crash();
            let (store, names, recovered) = world.recover();
            torn += u64::from(recovered.torn_bytes > 0);
            interrupted_checkpoints += u64::from(recovered.rebuilt.is_some());
            spilled += u64::from(is_spilled(&store));
            // It goes on as if nothing had happened, and survives another crash.
            for _ in 0..10 {
                if !world.act(&store, &names).unwrap() {
                    break;
                }
            }
            drop(store);
            world.crash();
            world.recover();
        }
    }
    // The workload must have come by the places that are hard.
    assert!(torn > 20, "{torn}");
    assert!(interrupted_checkpoints > 20, "{interrupted_checkpoints}");
    assert!(spilled > 100, "{spilled}");
}

fn is_spilled(store: &Store) -> bool {
    let streams = store.streams();
    streams.iter().any(|stream| stream.spilled_entries > 0)
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    for seed in 100..160 {
        let mut world = World::new(seed);
        let operations = operations_of(seed);
        let stop = world.random.u64(1..=operations);
        // An error stops the work in its middle, without power loss.
        world.disk.fail_at(stop, Fault::Eio);
        let _ = world.work(ACTS);
        world.disk.abort();
        world.disk.clear_faults();
        let (_, _, recovered) = world.recover();
        assert_eq!(recovered.torn_bytes, 0, "seed {seed}");
        assert_eq!(recovered.rebuilt, None, "seed {seed}");
    }
}

#[test]
fn a_failed_sync_closes_the_cell_and_is_never_believed_later() {
    for seed in 200..260 {
        let mut world = World::new(seed);
        let operations = operations_of(seed);
        let stop = world.random.u64(1..=operations);
        world.disk.fail_at(stop, Fault::FailedSync);
        let _ = world.work(ACTS);
        world.disk.abort();
        world.disk.clear_faults();
        // What recovery has shown is acknowledged: it must survive a power loss right after.
        let (store, _, _) = world.recover();
        let shown = store.durable().0;
        world.acknowledged.fetch_max(shown, Ordering::SeqCst);
        drop(store);
        world.crash();
        world.recover();
    }
}

/// A world with some history, stopped without a clean end.
fn worked(seed: u64) -> World {
    let mut world = World::new(seed);
    world.work(ACTS).unwrap();
    let (store, names, _) = world.recover();
    for _ in 0..20 {
        world.turn(&store, &names).unwrap();
        while store.write_group().unwrap() {}
    }
    world.disk.abort();
    world
}

#[test]
fn a_flipped_bit_below_a_durable_position_is_damage_and_changes_nothing() {
    let world = worked(1);
    let segment = world.file("seg", 0);
    // In the first record behind the header block.
    assert!(world.disk.flip(&segment, 4096 + 41, 1));
    let before: Vec<_> = world.disk.files();
    let content = world.disk.content(&segment);
    let operations = world.disk.operations();
    let refused = world.open().err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(world.disk.operations(), operations);
    assert_eq!(world.disk.files(), before);
    assert_eq!(world.disk.content(&segment), content);
    // Repaired, it opens.
    assert!(world.disk.flip(&segment, 4096 + 41, 1));
    world.open().unwrap();
}

#[test]
fn a_missing_segment_is_damage() {
    let mut world = worked(1);
    let (store, _, _) = world.recover();
    drop(store);
    let segment = world.file("seg", 1);
    assert!(world.disk.lose(&segment));
    let refused = world.open().err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

/// Found by thinking about what damage would be silent: without `FORMAT` and journal, a directory
/// passed for one that nobody had used, and a new cell was made over its engine.
#[test]
fn a_checkpoint_without_format_and_journal_is_damage() {
    let world = worked(1);
    let format_and_journal = |path: &Path| {
        path.ends_with("FORMAT") || path.extension().is_some_and(|found| found == "seg")
    };
    for (path, _) in world.disk.files() {
        if format_and_journal(&path) {
            assert!(world.disk.lose(&path));
        }
    }
    let before = world.disk.files();
    let refused = world.open().err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(world.disk.files(), before);
}

/// Found by damaging files of the real program: a newest segment that was deleted, or cut, zeroed or
/// overwritten at its end, passed for a tail that a power loss had torn, and what had been
/// acknowledged was gone without a word.
#[test]
fn a_durable_tail_that_is_gone_is_damage() {
    let mut only_noted = 0;
    for seed in 0..10 {
        for how in 0..3 {
            let world = worked(seed);
            let segment = world.file("seg", 0);
            let content = world.disk.content(&segment).unwrap();
            let end = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
            // More than the last commit, which nobody has been told of, and the trailer.
            assert!(match how {
                0 => world.disk.lose(&segment),
                1 => world.disk.truncate(&segment, end.saturating_sub(2_000)),
                _ => {
                    let from = end.saturating_sub(2_000);
                    world.disk.zero(&segment, from, (end - from) as usize)
                }
            });
            let refused = world.open().err();
            assert!(
                matches!(refused, Some(OpenError::Damaged { .. })),
                "{how} {refused:?}"
            );
            let told = refused.unwrap().to_string();
            assert!(
                told.contains("running") || !told.contains("up to"),
                "{told}"
            );
            // Nothing else has told: without the note it passes for never written.
            if told.contains("running") {
                only_noted += 1;
                world.disk.forget_memory();
                assert!(world.open().is_ok(), "seed {seed}, {how}");
            }
        }
    }
    assert!(only_noted > 0);
}

#[test]
fn a_torn_tail_is_cut_to_an_exact_prefix() {
    for cut in 0..40 {
        let mut world = worked(2);
        // A power loss tears; what `running` knew is gone with it.
        world.disk.forget_memory();
        let segment = world.file("seg", 0);
        let content = world.disk.content(&segment).unwrap();
        let end = content.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        // Nobody has been told of the last commit yet, and the trailer (40 bytes) is lost.
        assert!(world.disk.zero(&segment, end - cut, cut as usize));
        let last = *world.history.last_key_value().unwrap().0;
        world.acknowledged.store(last.0 - 1, Ordering::SeqCst);
        let (_, _, recovered) = world.recover();
        assert!(recovered.position.0 >= last.0 - 1);
    }
}

#[test]
fn a_spoilt_engine_is_rebuilt_and_nothing_is_missing() {
    for how in [
        Corruption::RefusesToOpen,
        Corruption::OpensEmpty,
        Corruption::LosesRows,
    ] {
        for seed in 0..5 {
            let mut world = worked(seed);
            world.engine.corrupt(how);
            // Lost rows are noticed after a restart of the machine, when they can have been lost.
            world.crash();
            let (_, _, recovered) = world.recover();
            assert!(recovered.rebuilt.is_some(), "{how:?} seed {seed}");
        }
    }
}

/// A world without a snapshot, closed in good order, whose engine is then lost.
fn closed_without_engine(seed: u64) -> World {
    let mut world = World::new(seed);
    let (store, _) = world.open().unwrap();
    let names = world.names(&store).unwrap();
    for _ in 0..60 {
        world.turn(&store, &names).unwrap();
    }
    // More rows than a checkpoint gives to the engine at once.
    let keys = (0..300_u16).map(|number| Bytes::from(number.to_be_bytes().to_vec()));
    let commit = Commit {
        service: names.a,
        at: Timestamp(0),
        seed: 0,
        cause: Cause::System {
            note: String::new(),
        },
        mark: None,
        writes: keys
            .clone()
            .map(|key| Write {
                table: names.table,
                value: Some(key.clone()),
                key,
            })
            .collect(),
        sends: Vec::new(),
    };
    store.queue(names.epoch, commit, Vec::new()).unwrap();
    world.note(&store, |model| {
        model.rows.extend(keys.map(|key| (key.clone(), key)));
    });
    store.close().unwrap();
    drop(store);
    world.engine.destroy();
    world
}

#[test]
fn a_checkpoint_of_a_rebuilt_engine_may_be_interrupted_anywhere() {
    let mut finished = false;
    for stop in 0.. {
        let mut world = closed_without_engine(7);
        let (store, _, recovered) = world.recover();
        assert!(recovered.rebuilt.is_some());
        assert!(recovered.commits > 60, "{}", recovered.commits);
        world.engine.fail_after(stop);
        finished = store.checkpoint_now().is_ok();
        drop(store);
        // The process is killed, in the same run of the machine: what it wrote is all there.
        world.disk.abort();
        world.engine.fail_after(u64::MAX);
        world.recover();
        if finished {
            assert!(stop > 4, "{stop}");
            break;
        }
    }
    assert!(finished);
}

#[test]
fn a_rebuild_without_a_snapshot_may_be_interrupted_anywhere() {
    let operations = |world: &World| world.disk.operations();
    let (before, after) = {
        let mut world = closed_without_engine(8);
        let before = operations(&world);
        world.recover();
        (before, operations(&world))
    };
    assert!(after > before);
    for operation in before + 1..=after {
        for power_fails in [false, true] {
            let mut world = closed_without_engine(8);
            let fault = if power_fails {
                Fault::Crash
            } else {
                Fault::Eio
            };
            world.disk.fail_at(operation, fault);
            let _ = world.open();
            if power_fails {
                world.crash();
            } else {
                world.disk.abort();
                world.disk.clear_faults();
            }
            let (store, _, _) = world.recover();
            world.engine.fail_after(2);
            let _ = store.checkpoint_now();
            drop(store);
            world.disk.abort();
            world.engine.fail_after(u64::MAX);
            world.recover();
        }
    }
}

#[test]
fn an_engine_that_fails_at_any_operation_costs_nothing_that_was_acknowledged() {
    for seed in 0..5 {
        let operations = {
            let mut world = World::new(seed);
            world.work(ACTS).unwrap();
            world.engine.operations()
        };
        for stop in (0..operations).step_by(2) {
            let mut world = World::new(seed);
            world.engine.fail_after(stop);
            let _ = world.work(ACTS);
            world.disk.abort();
            world.engine.crash();
            let (store, names, _) = world.recover();
            // What it makes of a checkpoint that was interrupted must hold without the journal.
            for _ in 0..10 {
                world.turn(&store, &names).unwrap();
            }
            store.checkpoint_now().unwrap();
            drop(store);
            world.disk.abort();
            let (_, _, recovered) = world.recover();
            assert_eq!(recovered.rebuilt, None, "seed {seed}");
        }
    }
}

#[test]
fn a_read_only_directory_and_a_newer_format_are_refused_by_name() {
    let world = worked(3);
    world.disk.set_read_only(true);
    let refused = world.open().err().unwrap();
    assert!(matches!(refused, OpenError::ReadOnly { .. }), "{refused}");
    world.disk.set_read_only(false);
    assert!(world.disk.flip(Path::new("/data/FORMAT"), 8, 0b11));
    let refused = world.open().err().unwrap();
    let expected = OpenError::NewerFormat {
        path: "/data".into(),
        found: 2,
        known: 1,
    };
    assert_eq!(refused, expected);
    assert!(world.disk.flip(Path::new("/data/FORMAT"), 8, 0b11));
    world.open().unwrap();
}

#[test]
fn a_full_disk_stops_turns_loses_nothing_and_goes_on_by_itself() {
    for seed in [4, 5] {
        fill_the_disk(seed);
    }
}

fn fill_the_disk(seed: u64) {
    let mut world = World::new(seed);
    let (store, _) = world.open().unwrap();
    let names = world.names(&store).unwrap();
    // Room for what there is, and no more.
    world.disk.set_capacity(Some(world.disk.used()));
    let mut exhausted = false;
    for _ in 0..400 {
        world.turn(&store, &names).unwrap();
        while store.write_group().unwrap() {}
        if store.usage().space == Space::Exhausted {
            exhausted = true;
            break;
        }
    }
    assert!(exhausted);
    assert!(store.durable() < store.queued());
    assert_eq!(store.usage().state, CellState::Open);
    let acknowledged = world.acknowledged.load(Ordering::SeqCst);
    assert_eq!(acknowledged, store.durable().0);
    // The reserve makes room for one segment, a checkpoint and a snapshot, and old segments go.
    while store.maintain().unwrap() {}
    while store.write_group().unwrap() {}
    assert_eq!(store.durable(), store.queued());
    assert_ne!(store.usage().space, Space::Exhausted);
    let model = world.history[&store.queued()].clone();
    assert_eq!(look(&store, &names).unwrap(), model);
    // With space again, the reserve comes back.
    world.disk.set_capacity(None);
    while store.maintain().unwrap() {}
    assert_eq!(store.usage().space, Space::Ok);
    assert!(
        world
            .disk
            .content(Path::new("/data/cells/main/ballast"))
            .is_some()
    );
    drop(store);
    world.disk.abort();
    world.recover();
}

/// Found by filling the disk of the real program: the journal had room for one more segment, the
/// checkpoint met the end of the disk in the middle of the engine, and the process ended, with
/// sixteen megabytes of reserve beside it.
#[test]
fn a_checkpoint_that_has_no_room_gets_the_reserve() {
    let mut world = World::new(6);
    world.options.low_space_bytes = 32 << 10;
    let (store, _) = world.open().unwrap();
    let names = world.names(&store).unwrap();
    let ballast = |world: &World| {
        let path = Path::new("/data/cells/main/ballast");
        world.disk.content(path).is_some()
    };
    let due = world.options.checkpoint_start_bytes;
    while store.usage().uncheckpointed_bytes < due {
        world.turn(&store, &names).unwrap();
        while store.write_group().unwrap() {}
    }
    assert!(ballast(&world));
    world.disk.set_capacity(Some(world.disk.used() + 1));
    assert!(store.maintain().unwrap(), "something was due");
    assert!(!ballast(&world));
    assert_eq!(store.usage().state, CellState::Open);
    world.disk.set_capacity(None);
    while store.maintain().unwrap() {}
    assert!(ballast(&world), "it comes back with the space");
}

#[test]
fn what_a_handler_had_in_hand_when_the_process_died_is_named() {
    let mut world = worked(5);
    let (store, names, _) = world.recover();
    let what = InHand::Message {
        sender: names.a,
        sequence: Sequence(3),
    };
    store.running(names.b).set(what);
    store.running(names.a).set(InHand::Command { hash: 5 });
    store.running(names.a).clear();
    drop(store);
    world.disk.abort();
    let (store, names, recovered) = world.recover();
    assert_eq!(recovered.interrupted.len(), 1);
    assert_eq!(recovered.interrupted[0].service, names.b);
    assert_eq!(recovered.interrupted[0].what, what);
    // An orderly end forgets.
    store.running(names.b).set(what);
    store.close().unwrap();
    drop(store);
    let (_, _, recovered) = world.recover();
    assert!(recovered.clean && recovered.interrupted.is_empty());
}

#[test]
fn what_was_in_hand_is_named_until_it_is_charged_however_many_openings_die_before() {
    let mut world = worked(9);
    let (store, names, _) = world.recover();
    let what = InHand::Message {
        sender: names.a,
        sequence: Sequence(3),
    };
    store.running(names.b).set(what);
    drop(store);
    world.disk.abort();
    // These die before they charge for it.
    for _ in 0..3 {
        let (store, names, recovered) = world.recover();
        assert_eq!(recovered.interrupted.len(), 1);
        assert_eq!(recovered.interrupted[0].service, names.b);
        assert_eq!(recovered.interrupted[0].what, what);
        drop(store);
        world.disk.abort();
    }
    // This one dies after it has charged, with another in hand.
    let (store, names, recovered) = world.recover();
    assert_eq!(recovered.interrupted.len(), 1);
    store.interrupted_charged();
    store.running(names.a).set(InHand::Timer { hash: 6 });
    drop(store);
    world.disk.abort();
    let (store, names, recovered) = world.recover();
    assert_eq!(recovered.interrupted.len(), 1);
    assert_eq!(recovered.interrupted[0].service, names.a);
    store.interrupted_charged();
    drop(store);
    world.disk.abort();
    let (_, _, recovered) = world.recover();
    assert!(!recovered.clean && recovered.interrupted.is_empty());
}

#[test]
fn what_was_in_hand_at_an_orderly_end_is_not_charged_after_a_later_crash() {
    let mut world = worked(10);
    let (store, names, _) = world.recover();
    store.running(names.b).set(InHand::Timer { hash: 6 });
    store.close().unwrap();
    drop(store);
    // The next opening dies at any of its operations on the disk.
    let mut died = 0;
    for operation in 1.. {
        world
            .disk
            .fail_at(world.disk.operations() + operation, Fault::Eio);
        let opened = world.open();
        world.disk.clear_faults();
        world.disk.abort();
        match opened {
            Ok((_, recovered)) => {
                assert!(!recovered.clean && recovered.interrupted.is_empty());
                break;
            }
            Err(_) => died += 1,
        }
    }
    assert!(died > 5, "{died}");
    let (_, _, recovered) = world.recover();
    assert!(!recovered.clean && recovered.interrupted.is_empty());
}

#[test]
fn the_journal_goes_when_a_verified_snapshot_has_it() {
    let mut world = worked(6);
    let (store, names, _) = world.recover();
    let before = store.usage().segments;
    assert!(before > 1);
    store.snapshot_now().unwrap();
    assert_eq!(store.usage().segments, 1);
    for _ in 0..5 {
        world.turn(&store, &names).unwrap();
    }
    while store.write_group().unwrap() {}
    drop(store);
    world.engine.corrupt(Corruption::RefusesToOpen);
    world.crash();
    let (_, _, recovered) = world.recover();
    assert!(recovered.rebuilt.is_some());
    assert!(recovered.commits <= 6, "{}", recovered.commits);
    let space = world.disk.space(Path::new("/data")).unwrap();
    assert_eq!(space, u64::MAX);
}
