//! Engines that fail without a crash. What a read had met was only told to whoever read: the
//! service failed again and again, a start of the same boot took the engine for good, the journal
//! grew for want of a snapshot, and the advice was to go back to a backup; all the time snapshot and
//! journal had everything.

use super::*;
use crate::persistence::disk::OpenMode;
use crate::persistence::engine::KeyRange;
use crate::persistence::tables::{CATALOG, whole_table};

/// A world at work, with a snapshot and a checkpoint behind it, and rows of which memory has nothing.
fn at_work(seed: u64) -> (World, Store, Names) {
    let mut world = worked(seed);
    let (store, names, _) = world.recover();
    store.snapshot_now().unwrap();
    for _ in 0..20 {
        world.turn(&store, &names).unwrap();
    }
    store.checkpoint_now().unwrap();
    (world, store, names)
}

/// The process ends and starts again, while the machine goes on, and makes the engine anew.
fn made_anew(mut world: World, store: Store, seed: u64) {
    drop(store);
    world.disk.abort();
    world.disk.restart();
    let (_, _, recovered) = world.recover();
    assert!(recovered.rebuilt.is_some(), "seed {seed}");
}

/// As [`made_anew`], of a cell that has closed.
fn closed_and_made_anew(world: World, store: Store, seed: u64) {
    let state = store.usage().state;
    assert!(matches!(state, CellState::Closed(_)), "seed {seed}");
    made_anew(world, store, seed);
}

#[test]
fn an_engine_that_loses_rows_at_work_makes_no_snapshot_and_is_rebuilt() {
    for seed in 0..6 {
        let (world, store, _) = at_work(seed);
        let snapshots = || {
            let files = world.disk.files().into_iter();
            let names = files.map(|(path, _)| path.to_string_lossy().into_owned());
            let all: Vec<String> = names.filter(|name| name.contains("/snapshots/")).collect();
            all
        };
        let before = snapshots();
        assert!(!before.is_empty());
        world.engine.lose_rows();
        let refused = store.snapshot_now().unwrap_err();
        assert!(
            matches!(refused, StoreError::Damaged { .. }),
            "seed {seed}: {refused}"
        );
        assert_eq!(snapshots(), before, "seed {seed}");
        closed_and_made_anew(world, store, seed);
    }
}

#[test]
fn rows_that_cannot_be_read_close_the_cell_and_the_next_start_has_them() {
    for seed in 0..6 {
        let (world, store, names) = at_work(seed);
        let all: KeyRange = (Bound::Unbounded, Bound::Unbounded);
        let rows = store.scan(names.table, &all, Direction::Ascending, 1_000);
        let (key, _) = rows.unwrap().swap_remove(0);
        world.engine.spoil(whole_table(names.table));
        let unread = store.get(names.table, &key).unwrap_err();
        assert!(
            matches!(unread, StoreError::Damaged { .. }),
            "seed {seed}: {unread}"
        );
        let _ = store.maintain();
        closed_and_made_anew(world, store, seed);
    }
}

#[test]
fn rows_that_cannot_be_read_for_a_snapshot_close_the_cell_and_the_next_start_has_them() {
    for seed in 0..6 {
        let (world, store, names) = at_work(seed);
        world.engine.spoil(whole_table(names.table));
        store.snapshot_now().unwrap_err();
        closed_and_made_anew(world, store, seed);
    }
}

#[test]
fn an_engine_whose_names_cannot_be_read_at_a_start_is_rebuilt() {
    for seed in 0..6 {
        let (world, store, _) = at_work(seed);
        world.engine.spoil(whole_table(CATALOG));
        made_anew(world, store, seed);
    }
}

#[test]
fn a_snapshot_that_nobody_will_finish_is_removed() {
    let (world, store, _) = at_work(2);
    let left = world.file("snap", 0).with_extension("snap.tmp");
    let unfinished = || {
        let files = world.disk.files().into_iter();
        files.filter(|(path, _)| *path == left).count()
    };
    let leave = || drop(world.disk.open(&left, OpenMode::Truncate).unwrap());
    leave();
    assert_eq!(unfinished(), 1);
    store.snapshot_now().unwrap();
    assert_eq!(unfinished(), 0);
    leave();
    drop(store);
    world.disk.abort();
    world.disk.restart();
    drop(world.open().unwrap());
    assert_eq!(unfinished(), 0);
}
