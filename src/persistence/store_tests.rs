//! The store on the machine's own disk, driven by its own threads.
#![allow(clippy::unwrap_used)]

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::engine::Direction;
use super::events::EventLimits;
use super::open::Recovered;
use super::options::{Driving, StoreOptions};
use super::pace::Rouse;
use super::real_disk::RealDisk;
use super::sim_engine::SimEngine;
use super::sled::SledFactory;
use super::store::Store;
use crate::clock::{SystemClock, Timestamp, days};
use crate::commit::*;
use crate::error::{OpenError, StoreError};

fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        segment_bytes: 64 << 10,
        first_segment_bytes: 64 << 10,
        reserve_bytes: 0,
        low_space_bytes: 0,
        // The commits of these tests are as old as time itself.
        events: EventLimits::of(days(100_000), 1 << 30),
        ..StoreOptions::new(dir)
    }
}

fn open(dir: &Path, engine: &SimEngine) -> (Store, Recovered) {
    try_open(dir, engine).unwrap()
}

fn try_open(dir: &Path, engine: &SimEngine) -> Result<(Store, Recovered), OpenError> {
    Store::open(
        options(dir),
        Arc::new(RealDisk::default()),
        Arc::new(engine.factory()),
        Arc::new(SystemClock),
        Driving::Threads,
    )
}

struct Services {
    a: ServiceId,
    b: ServiceId,
    table: TableId,
    epoch: Epoch,
}

fn services(store: &Store) -> Services {
    let a = store.service("a", 0, &[]).unwrap();
    let b = store.service("b", 0, &[]).unwrap();
    let table = store.table(a, "rows", &[]).unwrap();
    let epoch = store.take_over(a);
    Services { a, b, table, epoch }
}

fn commit(services: &Services, n: u64) -> Commit {
    Commit {
        service: services.a,
        at: Timestamp(n as i64),
        seed: n,
        cause: Cause::Timer {
            key: Bytes::from_static(b"timer"),
        },
        mark: None,
        writes: vec![Write {
            table: services.table,
            key: Bytes::from(n.to_be_bytes().to_vec()),
            value: Some(Bytes::from(format!("value {n}"))),
        }],
        sends: vec![Send {
            envelope: Bytes::from(format!("message {n}")),
            to: vec![services.b],
            event: n.is_multiple_of(2),
        }],
    }
}

fn durable(store: &Store) {
    let (sender, receiver) = mpsc::channel();
    store.gate(Box::new(move |outcome| sender.send(outcome).unwrap()));
    receiver.recv().unwrap().unwrap();
}

fn all_rows(store: &Store, table: TableId) -> Vec<(Bytes, Bytes)> {
    let range = (Bound::Unbounded, Bound::Unbounded);
    store
        .scan(table, &range, Direction::Ascending, usize::MAX)
        .unwrap()
}

#[test]
fn space_that_small_groups_prepare_behind_them_costs_no_commit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = SimEngine::new(1);
    let open = || {
        let options = StoreOptions {
            segment_bytes: 2 << 20,
            first_segment_bytes: 2 << 20,
            ..options(dir.path())
        };
        Store::open(
            options,
            Arc::new(RealDisk::default()),
            Arc::new(engine.factory()),
            Arc::new(SystemClock),
            Driving::Threads,
        )
    };
    let (store, _) = open().unwrap();
    let names = services(&store);
    // A sync for every group: most of them small, some too large to prepare anything.
    for n in 1..=150 {
        let mut commit = commit(&names, n);
        let bytes = if n % 10 == 0 { 40_000 } else { 4_000 };
        commit.writes[0].value = Some(Bytes::from(vec![b'v'; bytes]));
        store.queue(names.epoch, commit, Vec::new()).unwrap();
        durable(&store);
    }
    drop(store);
    let (store, recovered) = open().unwrap();
    assert!(recovered.commits >= 150);
    assert_eq!(all_rows(&store, names.table).len(), 150);
}

#[test]
fn what_was_durable_is_there_after_a_death_without_close() {
    let dir = tempfile::tempdir().unwrap();
    let engine = SimEngine::new(1);
    let (store, recovered) = open(dir.path(), &engine);
    assert!(recovered.clean);
    let names = services(&store);
    for n in 1..=1000 {
        let queued = store
            .queue(names.epoch, commit(&names, n), Vec::new())
            .unwrap();
        assert_eq!(queued.sequences, [[(names.b, Sequence(n))]]);
    }
    durable(&store);
    let rows = all_rows(&store, names.table);
    assert_eq!(rows.len(), 1000);
    let position = store.durable();
    drop(store);
    let (store, recovered) = open(dir.path(), &engine);
    assert!(!recovered.clean);
    assert_eq!(recovered.position, position);
    assert_eq!(all_rows(&store, names.table), rows);
    let again = services(&store);
    assert_eq!(
        (again.a, again.b, again.table),
        (names.a, names.b, names.table)
    );
    let stream = StreamId {
        sender: names.a,
        receiver: names.b,
    };
    assert_eq!(store.sent(stream), Sequence(1000));
    let outbox = store.outbox(stream, Sequence(990), 100, 1 << 20).unwrap();
    assert_eq!(outbox.len(), 10);
    assert_eq!(outbox[0], (Sequence(991), Bytes::from("message 991")));
    let events = store.events(EventNumber(499), 10).unwrap();
    assert_eq!(events.events.len(), 2);
    assert_eq!(events.events[1].envelope, "message 1000");
}

#[test]
fn a_closed_store_opens_clean_and_replays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = SimEngine::new(1);
    let (store, _) = open(dir.path(), &engine);
    let names = services(&store);
    for n in 1..=300 {
        store
            .queue(names.epoch, commit(&names, n), Vec::new())
            .unwrap();
    }
    let rows = all_rows(&store, names.table);
    store.close().unwrap();
    let refused = store.queue(names.epoch, commit(&names, 1), Vec::new());
    assert!(matches!(refused, Err(StoreError::Closed { .. })));
    let (store, recovered) = open(dir.path(), &engine);
    assert!(recovered.clean);
    assert_eq!(recovered.commits, 0);
    assert_eq!(all_rows(&store, names.table), rows);
    assert_eq!(store.streams()[0].backlog_entries, 300);
}

#[test]
fn a_commit_of_an_earlier_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = SimEngine::new(1);
    let (store, _) = open(dir.path(), &engine);
    let names = services(&store);
    let newer = store.take_over(names.a);
    let refused = store.queue(names.epoch, commit(&names, 1), Vec::new());
    assert_eq!(refused, Err(StoreError::Superseded));
    store.queue(newer, commit(&names, 1), Vec::new()).unwrap();
}

#[test]
fn a_directory_in_use_is_refused_and_names_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let engine = SimEngine::new(1);
    let (_store, _) = open(dir.path(), &engine);
    let refused = try_open(dir.path(), &engine).err().unwrap();
    let pid = std::process::id().to_string();
    assert_eq!(
        refused,
        OpenError::InUse {
            path: dir.path().to_owned(),
            pid
        }
    );
}

#[test]
fn a_garbled_sled_directory_is_rebuilt_from_snapshot_and_journal() {
    let dir = tempfile::tempdir().unwrap();
    let factory = |options: &StoreOptions| SledFactory {
        dir: options.cell_dir().join("sled"),
        cache_bytes: 8 << 20,
    };
    let open = || {
        let options = options(dir.path());
        let engines = Arc::new(factory(&options));
        let clock = Arc::new(SystemClock);
        Store::open(
            options,
            Arc::new(RealDisk::default()),
            engines,
            clock,
            Driving::Threads,
        )
        .unwrap()
    };
    let (store, _) = open();
    let names = services(&store);
    for n in 1..=2000 {
        store
            .queue(names.epoch, commit(&names, n), Vec::new())
            .unwrap();
        if n == 1000 {
            store.snapshot_now().unwrap();
        }
    }
    store.checkpoint_now().unwrap();
    let rows = all_rows(&store, names.table);
    let streams = store.streams();
    drop(store);
    let sled = options(dir.path()).cell_dir().join("sled");
    for spoil in [garble, remove] {
        spoil(&sled);
        let (store, recovered) = open();
        assert!(recovered.rebuilt.is_some());
        assert_eq!(all_rows(&store, names.table), rows);
        assert_eq!(store.streams(), streams);
        assert_eq!(
            store.events(EventNumber(1), 2000).unwrap().events.len(),
            1000
        );
        drop(store);
        let (_, recovered) = open();
        assert_eq!(recovered.rebuilt, None);
    }
}

/// A receiver far behind catches up while messages come in and checkpoints move them to disk.
#[test]
fn a_backlog_on_disk_is_drained_in_order_while_more_of_it_comes() {
    const MESSAGES: u64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        checkpoint_start_bytes: 64 << 10,
        outbox_memory_bytes: 32 << 10,
        spill_file_bytes: 48 << 10,
        ..options(dir.path())
    };
    let (store, _) = Store::open(
        options,
        Arc::new(RealDisk::default()),
        Arc::new(SimEngine::new(1).factory()),
        Arc::new(SystemClock),
        Driving::Threads,
    )
    .unwrap();
    let names = services(&store);
    let stream = StreamId {
        sender: names.a,
        receiver: names.b,
    };
    let queue = |from, to| {
        for n in from..=to {
            let queued = store.queue(names.epoch, commit(&names, n), Vec::new());
            queued.unwrap();
        }
    };
    queue(1, MESSAGES / 4);
    store.checkpoint_now().unwrap();
    let spilled = store.streams()[0].spilled_entries;
    assert!(spilled > MESSAGES / 8, "{spilled}");
    std::thread::scope(|scope| {
        scope.spawn(|| queue(MESSAGES / 4 + 1, MESSAGES));
        let epoch = store.take_over(names.b);
        let mut consumed = 0;
        while consumed < MESSAGES {
            let run = store.outbox(stream, Sequence(consumed), 100, 1 << 20);
            for (sequence, envelope) in run.unwrap() {
                consumed += 1;
                assert_eq!(sequence, Sequence(consumed));
                assert_eq!(envelope, format!("message {consumed}"));
            }
            let mark = Mark {
                consumed: Sequence(consumed),
                applied: consumed,
                ..Mark::default()
            };
            let moved = Commit {
                service: names.b,
                mark: Some(MarkMove {
                    sender: names.a,
                    mark,
                }),
                writes: Vec::new(),
                sends: Vec::new(),
                ..commit(&names, 0)
            };
            store.queue(epoch, moved, Vec::new()).unwrap();
        }
    });
    store.close().unwrap();
    let spill = dir.path().join("cells/main/spill");
    assert_eq!(std::fs::read_dir(spill).unwrap().count(), 0);
}

fn garble(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let mut bytes = std::fs::read(&path).unwrap();
            for byte in bytes.iter_mut().step_by(7) {
                *byte ^= 0x55;
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

fn remove(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
}

/// A store whose writer's steps the test takes itself.
fn open_by_hand(dir: &Path) -> Store {
    let opened = Store::open(
        options(dir),
        Arc::new(RealDisk::default()),
        Arc::new(SimEngine::new(1).factory()),
        Arc::new(SystemClock),
        Driving::Manual(Arc::new(|| {})),
    );
    opened.unwrap().0
}

#[test]
fn a_gate_waits_for_its_position_and_for_nothing_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_by_hand(dir.path());
    let names = services(&store);
    let queue = |n| {
        let queued = store.queue(names.epoch, commit(&names, n), Vec::new());
        queued.unwrap().position
    };
    let (sender, receiver) = mpsc::channel();
    let gate = |position| {
        let sender = sender.clone();
        store.gate_at(
            position,
            Box::new(move |outcome| sender.send(outcome.unwrap()).unwrap()),
        );
    };
    let first = queue(1);
    gate(first);
    assert!(receiver.try_recv().is_err(), "it is not durable yet");
    assert!(store.write_group().unwrap());
    assert_eq!(receiver.try_recv().unwrap(), first);
    let (second, third) = (queue(2), queue(3));
    gate(first);
    assert_eq!(receiver.try_recv().unwrap(), first);
    gate(third);
    gate(second);
    gate(first);
    assert_eq!(receiver.try_recv().unwrap(), first);
    assert!(receiver.try_recv().is_err(), "they are not durable yet");
    assert!(store.write_group().unwrap());
    let released: Vec<Position> = receiver.try_iter().collect();
    assert_eq!(released, [second, third], "in order");
}

#[test]
fn a_service_that_never_rests_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), &SimEngine::new(1));
    let mut at_work = store.at_work();
    at_work.set(true);
    let names = services(&store);
    for n in 1..=20 {
        let queued = store.queue(names.epoch, commit(&names, n), Vec::new());
        queued.unwrap();
        durable(&store);
    }
}

/// Notes that somebody was woken.
fn noting(roused: &Arc<AtomicU64>) -> Rouse {
    let roused = roused.clone();
    Box::new(move || {
        roused.fetch_add(1, Ordering::SeqCst);
    })
}

#[test]
fn the_background_is_woken_when_the_others_rest_or_a_group_begins_and_never_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_by_hand(dir.path());
    let names = services(&store);
    assert!(store.write_group().unwrap());
    let roused = Arc::new(AtomicU64::new(0));
    let count = || roused.load(Ordering::SeqCst);
    let (mut at_work, background) = (store.at_work(), store.at_work());
    let queue = |n| {
        let queued = store.queue(names.epoch, commit(&names, n), Vec::new());
        queued.unwrap();
    };

    at_work.set(true);
    background.rouse_later(noting(&roused));
    assert_eq!(count(), 1, "there was nothing to write");

    queue(1);
    background.rouse_later(noting(&roused));
    assert_eq!(count(), 1, "the others are at work");
    at_work.set(false);
    assert_eq!(count(), 2, "they rest");
    background.rouse_later(noting(&roused));
    assert_eq!(count(), 3, "nobody is at work");

    at_work.set(true);
    queue(2);
    background.rouse_later(noting(&roused));
    assert!(store.write_group().unwrap());
    assert_eq!(count(), 4, "a group has begun");
}

#[test]
fn outputs_that_somebody_waits_for_run_first_and_the_others_hasten_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_by_hand(dir.path());
    let names = services(&store);
    let (sender, receiver) = mpsc::channel();
    let queue = |haste, n: u64| {
        let sender = sender.clone();
        let output: Output = Box::new(move |durable| {
            durable.unwrap();
            sender.send(n).unwrap();
        });
        let queued = store.queue_with(haste, names.epoch, commit(&names, n), vec![output]);
        queued.unwrap();
    };
    queue(Haste::Unhurried, 1);
    assert!(!store.is_awaited());
    queue(Haste::Awaited, 2);
    queue(Haste::Unhurried, 3);
    queue(Haste::Awaited, 4);
    assert!(store.is_awaited());
    assert!(store.write_group().unwrap());
    assert!(!store.is_awaited());
    let order: Vec<u64> = receiver.try_iter().collect();
    assert_eq!(order, [2, 4, 1, 3]);
}

#[test]
fn what_nobody_waits_for_becomes_durable_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), &SimEngine::new(1));
    let names = services(&store);
    // Both from rest and while the writer still lingers behind the group before.
    for n in 1..=3 {
        let queued = store.queue(names.epoch, commit(&names, n), Vec::new());
        let position = queued.unwrap().position;
        while store.durable() < position {
            std::thread::yield_now();
        }
    }
}
