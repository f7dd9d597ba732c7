//! What happens while a checkpoint is under way: turns, readers, and a disk that refuses.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::watched::Call;
use super::*;
use crate::persistence::backlog::Page;
use crate::persistence::spill::spill_dir;
use crate::persistence::streams::lock;

/// A turn of the receiver that takes everything up to a number, as a relay and it would do it.
fn consume(store: &Store, stream: StreamId, upto: u64) {
    let mark = Mark {
        consumed: Sequence(upto),
        applied: upto,
        ..Mark::default()
    };
    let sender = stream.sender;
    let commit = commit(stream.receiver, Some(MarkMove { sender, mark }), Vec::new());
    let epoch = store.take_over(stream.receiver);
    store.queue(epoch, commit, Vec::new()).unwrap();
}

/// Reads everything behind a number.
fn read(store: &Store, stream: StreamId, after: u64) -> Vec<u64> {
    let run = store.outbox(stream, Sequence(after), usize::MAX, usize::MAX);
    run.unwrap().iter().map(|(number, _)| number.0).collect()
}

#[test]
fn a_receiver_that_comes_back_at_any_step_of_a_checkpoint_takes_nothing_from_it() {
    for (upto, is_durable) in [
        (30, false),
        (57, false),
        (90, false),
        (57, true),
        (90, true),
    ] {
        for step in 1.. {
            let mut office = Office::new(step);
            office.send(8);
            office.checkpoint();
            office.send(60);
            office.consume(3);
            office.checkpoint();
            office.send(22);
            office.consume(7);
            while office.store().write_group().unwrap() {}
            let (store, stream) = (office.store().clone(), office.stream());
            let calls = Arc::new(AtomicU64::new(0));
            let counted = calls.clone();
            office.watch.set(move |_, _| {
                if counted.fetch_add(1, Ordering::Relaxed) + 1 == step {
                    consume(&store, stream, upto);
                    let left: Vec<u64> = (upto + 1..=90).collect();
                    assert_eq!(read(&store, stream, 0), left, "at step {step}");
                }
                Ok(())
            });
            office.checkpoint();
            office.watch.clear();
            if calls.load(Ordering::Relaxed) < step {
                assert!(step > 10, "{step}");
                break;
            }
            assert_eq!(read(office.store(), stream, 0).len() as u64, 90 - upto);
            if is_durable {
                while office.store().write_group().unwrap() {}
                office.consumed = upto;
            }
            // Without a sync the receiver's turn is lost, and everything waits for it again.
            match step % 2 {
                0 => office.crash(),
                _ => office.kill(),
            }
            if step % 3 == 0 {
                office.engine.destroy();
            }
            office.open().unwrap();
            office.check();
            office.consume(1.min(90 - office.consumed));
            office.checkpoint();
            office.check();
        }
    }
}

#[test]
fn a_reader_that_comes_late_does_not_keep_the_space_of_a_removed_file() {
    let mut office = Office::new(1);
    office.send(60);
    office.checkpoint();
    office.consume(60);
    let stream = office.stream();
    let found = office.store().handle.core.state.streams.find(stream);
    let found = found.unwrap();
    let dir = spill_dir(&office.options.cell_dir());
    let (file, cursor) = {
        let named = office.store().handle.core.checkpointer.lock().unwrap();
        (named.spilled()[0], lock(&found).cursor.clone())
    };
    // It has looked up its file, and opens it at the last moment.
    let was_late = Arc::new(AtomicBool::new(false));
    let (late, disk, path, from) = (
        was_late.clone(),
        office.disk.clone(),
        file.path(&dir),
        dir.clone(),
    );
    let disk = watched::WatchedDisk {
        disk,
        watch: office.watch.clone(),
    };
    office.watch.set(move |call, removed| {
        if call == Call::Remove && removed == path {
            let mut page = Page::new(1, 1);
            cursor
                .read(&disk, &from, file, Sequence(0), &mut page)
                .unwrap();
            late.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    office.checkpoint();
    assert!(was_late.load(Ordering::Relaxed));
    assert_eq!(office.files(), []);
    assert_eq!(office.watch.open_in(&dir), 0);
}

#[test]
fn names_that_a_snapshot_cannot_sync_close_the_cell_also_for_lack_of_space() {
    for nth in 1.. {
        let mut office = Office::new(nth);
        office.options.segment_bytes = 8 << 10;
        office.options.first_segment_bytes = 8 << 10;
        office = office.opened();
        office.send(150);
        office.checkpoint();
        office.send(1);
        office.checkpoint();
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        office.watch.set(move |call, _| {
            if call == Call::SyncDir && counted.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        });
        let taken = office.store().snapshot_now();
        office.watch.clear();
        if calls.load(Ordering::Relaxed) < nth {
            taken.unwrap();
            assert!(nth > 5, "{nth}");
            break;
        }
        assert!(
            matches!(taken, Err(StoreError::Io { .. })),
            "{nth}: {taken:?}"
        );
        assert!(
            matches!(office.store().usage().state, CellState::Closed(_)),
            "{nth}"
        );
        match nth % 2 {
            0 => office.crash(),
            _ => office.kill(),
        }
        office.open().unwrap();
        office.check();
        office.store().snapshot_now().unwrap();
        assert!(office.store().usage().segments <= 2);
        office.engine.destroy();
        office.crash();
        office.open().unwrap();
        office.check();
    }
}

#[test]
fn space_that_cannot_be_prepared_keeps_no_commit_waiting() {
    let mut office = Office::new(1);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    office.options.segment_bytes = 512 << 10;
    office.options.first_segment_bytes = 512 << 10;
    office = office.opened();
    office.watch.set(move |call, _| match call {
        Call::Prepare => {
            counted.fetch_add(1, Ordering::Relaxed);
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    });
    // In one segment, and in the next ones.
    for _ in 0..4_000 {
        office.send(1);
        office.store().write_group().unwrap();
        assert_eq!(office.store().durable(), office.store().queued());
    }
    assert!(calls.load(Ordering::Relaxed) > 2);
    assert!(office.store().usage().segments > 2);
    office.crash();
    office.watch.clear();
    office.open().unwrap();
    office.check();
}

#[test]
fn events_that_cannot_be_synced_close_the_cell_also_for_lack_of_space() {
    for refused in [Call::Sync, Call::SyncDir] {
        let office = Office::new(1);
        let StreamId { sender, receiver } = office.stream();
        let event = Send {
            envelope: message(1),
            to: vec![receiver],
            event: true,
        };
        office.queue(sender, None, vec![event]);
        office.watch.set(move |call, path| {
            let of_events = path.ancestors().any(|dir| dir.ends_with("events"));
            match call == refused && of_events {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        });
        let taken = office.store().checkpoint_now();
        assert!(matches!(taken, Err(StoreError::Io { .. })), "{taken:?}");
        assert!(matches!(office.store().usage().state, CellState::Closed(_)));
    }
}

#[test]
fn trimmed_events_whose_names_cannot_be_synced_close_the_cell() {
    let mut office = Office::new(1);
    office.options.events.age = Duration::from_secs(1);
    office = office.opened();
    let StreamId { sender, receiver } = office.stream();
    let event = Send {
        envelope: message(1),
        to: vec![receiver],
        event: true,
    };
    office.queue(sender, None, vec![event]);
    office.checkpoint();
    office.watch.set(
        move |call, path| match call == Call::SyncDir && path.ends_with("events") {
            true => Err(io::Error::other("no")),
            false => Ok(()),
        },
    );
    // The event is of the year 1970.
    let trimmed = office.store().maintain();
    assert!(matches!(trimmed, Err(StoreError::Io { .. })), "{trimmed:?}");
    office.watch.clear();
    office.store().maintain().unwrap_err();
    assert!(matches!(office.store().usage().state, CellState::Closed(_)));
}
