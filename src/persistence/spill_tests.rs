//! Outboxes beyond memory: what waits for a receiver that is down is in files, costs a checkpoint
//! and a start nothing, and is there once and in order whatever happens to the machine.
#![allow(clippy::unwrap_used)]

mod midway;
mod model;
mod watched;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::engine::{Direction, EngineFactory};
use super::options::{Driving, StoreOptions};
use super::sim_disk::{Fault, SimDisk};
use super::sim_engine::SimEngine;
use super::store::{CellState, Store};
use super::tables::{OUTBOX, whole_table};
use crate::clock::{SystemClock, Timestamp};
use crate::commit::*;
use crate::envelope::{Envelope, Key, Kind, MessageId};
use crate::error::{OpenError, StoreError};
use watched::{Watch, WatchedDisk};

/// Bytes of a message.
const LENGTH: usize = 200;

/// A commit of marks and messages only.
fn commit(service: ServiceId, mark: Option<MarkMove>, sends: Vec<Send>) -> Commit {
    Commit {
        service,
        at: Timestamp(0),
        seed: 0,
        cause: Cause::System {
            note: String::new(),
        },
        mark,
        writes: Vec::new(),
        sends,
    }
}

/// A store with one stream, on a simulated machine.
struct Office {
    disk: SimDisk,
    watch: Watch,
    engine: SimEngine,
    options: StoreOptions,
    store: Option<Store>,
    sent: u64,
    consumed: u64,
}

impl Office {
    /// One whose outboxes may keep about ten messages in memory.
    fn new(seed: u64) -> Office {
        let mut options = StoreOptions::new("/data");
        options.segment_bytes = 256 << 10;
        options.first_segment_bytes = 64 << 10;
        options.checkpoint_start_bytes = u64::MAX;
        options.snapshot_bytes = u64::MAX / 4;
        options.reserve_bytes = 0;
        options.low_space_bytes = 0;
        options.outbox_memory_bytes = 10 * (LENGTH as u64 + 64);
        options.spill_file_bytes = 20 * LENGTH as u64;
        Office {
            disk: SimDisk::new(seed),
            watch: Watch::default(),
            engine: SimEngine::new(seed),
            options,
            store: None,
            sent: 0,
            consumed: 0,
        }
        .opened()
    }

    fn opened(mut self) -> Office {
        self.open().unwrap();
        self
    }

    fn open(&mut self) -> Result<(), OpenError> {
        self.store = None;
        let disk = WatchedDisk {
            disk: self.disk.clone(),
            watch: self.watch.clone(),
        };
        let (store, _) = Store::open(
            self.options.clone(),
            Arc::new(disk),
            Arc::new(self.engine.factory()),
            Arc::new(SystemClock),
            Driving::Manual(Arc::new(|| {})),
        )?;
        store.service("a", 0, &[]).unwrap();
        store.service("b", 0, &[]).unwrap();
        self.store = Some(store);
        Ok(())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn stream(&self) -> StreamId {
        StreamId {
            sender: self.store().service("a", 0, &[]).unwrap(),
            receiver: self.store().service("b", 0, &[]).unwrap(),
        }
    }

    fn queue(&self, service: ServiceId, mark: Option<MarkMove>, sends: Vec<Send>) {
        let commit = commit(service, mark, sends);
        let epoch = self.store().take_over(service);
        self.store().queue(epoch, commit, Vec::new()).unwrap();
    }

    fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.send_this(message(self.sent + 1));
        }
    }

    fn send_this(&mut self, envelope: Bytes) {
        let StreamId { sender, receiver } = self.stream();
        self.sent += 1;
        let send = Send {
            envelope,
            to: vec![receiver],
            event: false,
        };
        self.queue(sender, None, vec![send]);
    }

    fn consume(&mut self, count: u64) {
        let StreamId { sender, receiver } = self.stream();
        self.consumed += count;
        let mark = Mark {
            consumed: Sequence(self.consumed),
            applied: self.consumed,
            ..Mark::default()
        };
        self.queue(receiver, Some(MarkMove { sender, mark }), Vec::new());
    }

    fn checkpoint(&self) {
        self.store().checkpoint_now().unwrap();
    }

    /// Reads the outbox as a relay does, and makes sure that it has what was sent and not consumed.
    fn check(&self) {
        let stream = self.stream();
        assert_eq!(self.store().sent(stream), Sequence(self.sent));
        let mut after = self.store().mark(stream).consumed;
        assert_eq!(after, Sequence(self.consumed));
        while after.0 < self.sent {
            let run = self.store().outbox(stream, after, 7, 5 * LENGTH).unwrap();
            assert!(
                (1..=5).contains(&run.len()),
                "{} behind {after:?}",
                run.len()
            );
            for (sequence, envelope) in run {
                assert_eq!(sequence.0, after.0 + 1);
                assert_eq!(envelope, message(sequence.0));
                after = sequence;
            }
        }
        let whole = self
            .store()
            .outbox(stream, Sequence(0), usize::MAX, usize::MAX);
        assert_eq!(whole.unwrap().len() as u64, self.sent - self.consumed);
        let state = self.state();
        assert_eq!(state.backlog_entries, self.sent - self.consumed);
    }

    fn state(&self) -> super::streams::StreamState {
        self.store().streams()[0]
    }

    /// Rows of the outbox in the engine.
    fn rows(&self) -> usize {
        let engine = self.engine.factory().open().unwrap();
        let all = whole_table(OUTBOX);
        let rows = engine.scan(&all, Direction::Ascending, usize::MAX);
        rows.unwrap().len()
    }

    /// The files of spilled messages, with their sizes.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = self.disk.files();
        files.retain(|(path, _)| path.starts_with("/data/cells/main/spill"));
        files
    }

    fn crash(&mut self) {
        self.store = None;
        if !self.disk.is_down() {
            self.disk.crash();
        }
        self.engine.crash();
        self.disk.restart();
    }

    /// The process is killed; what it wrote is all there.
    fn kill(&mut self) {
        self.store = None;
        self.disk.abort();
        self.engine.crash();
    }
}

fn message(number: u64) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(LENGTH, number as u8);
    bytes.into()
}

#[test]
fn beyond_the_budget_messages_are_on_disk_and_not_in_memory() {
    let mut office = Office::new(1);
    office.send(8);
    office.checkpoint();
    assert_eq!((office.state().spilled_entries, office.rows()), (0, 8));
    office.send(992);
    office.checkpoint();
    let state = office.state();
    assert_eq!((state.spilled_entries, state.memory_bytes), (1_000, 0));
    assert_eq!(state.backlog_bytes, 1_000 * LENGTH as u64);
    assert_eq!(office.files().len(), 50);
    office.check();
    // What the engine had before it was in a file goes with the next checkpoint.
    office.send(1);
    office.checkpoint();
    assert_eq!((office.state().spilled_entries, office.rows()), (1_000, 1));
    // A receiver that comes back takes it all, and the files go as it does.
    office.consume(510);
    office.checkpoint();
    assert_eq!(office.state().spilled_entries, 490);
    assert_eq!(office.files().len(), 25);
    office.check();
    office.consume(491);
    office.checkpoint();
    assert_eq!((office.files().len(), office.rows()), (0, 0));
    office.check();
}

#[test]
fn neither_a_checkpoint_nor_a_start_costs_more_because_more_is_spilled() {
    let cost = |spilled: u64| {
        let mut office = Office::new(2);
        office.options.spill_file_bytes = 1 << 30;
        office = office.opened();
        office.send(spilled);
        office.checkpoint();
        office.send(1);
        // It removes nothing from the engine, which never had any of it.
        let (written, operations) = (office.disk.bytes_written(), office.engine.operations());
        office.checkpoint();
        let written = office.disk.bytes_written() - written;
        let operations = office.engine.operations() - operations;
        assert_eq!(office.state().spilled_entries, spilled);
        office.store().close().unwrap();
        let read = office.disk.bytes_read();
        office.open().unwrap();
        let read = office.disk.bytes_read() - read;
        office.check();
        (written, operations, read)
    };
    let (few, many) = (cost(500), cost(50_000));
    // Numbers are longer, and the foot of the file has a line for each quarter of a megabyte.
    assert!(many.0 < few.0 + 16, "{few:?} {many:?}");
    assert_eq!(few.1, many.1);
    // A start reads the end of the journal, and none of the ten megabytes.
    assert!(many.2 < few.2 + (256 << 10), "{few:?} {many:?}");
}

#[test]
fn the_rows_of_messages_go_only_when_a_checkpoint_has_named_their_files() {
    let prepare = |seed| {
        let mut office = Office::new(seed);
        office.send(8);
        office.checkpoint();
        office.send(8);
        office.consume(2);
        office
    };
    let operations = {
        let office = prepare(3);
        let before = office.engine.operations();
        office.checkpoint();
        office.engine.operations() - before
    };
    assert!(operations > 2);
    for (seed, stop) in (0..10).flat_map(|seed| (0..=operations).map(move |stop| (seed, stop))) {
        let mut office = prepare(seed);
        office.engine.fail_after(stop);
        let _ = office.store().checkpoint_now();
        office.kill();
        office.open().unwrap();
        office.check();
        office.send(20);
        office.checkpoint();
        office.check();
        office.kill();
        office.open().unwrap();
        office.check();
    }
}

#[test]
fn a_crash_at_any_operation_of_a_checkpoint_that_spills_loses_nothing() {
    let prepare = |seed| {
        let mut office = Office::new(seed);
        office.send(8);
        office.checkpoint();
        office.send(80);
        office.consume(3);
        while office.store().write_group().unwrap() {}
        office
    };
    let operations = {
        let office = prepare(4);
        let before = office.disk.operations();
        office.checkpoint();
        assert!(office.state().spilled_entries > 80);
        office.disk.operations() - before
    };
    assert!(operations > 30, "{operations}");
    for (seed, operation) in (4..8).flat_map(|seed| (1..=operations).map(move |n| (seed, n))) {
        for fault in [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::FailedSync] {
            let mut office = prepare(seed);
            let at = office.disk.operations() + operation;
            office.disk.fail_at(at, fault);
            let taken = office.store().checkpoint_now();
            match (fault, &taken) {
                (Fault::Enospc, Err(StoreError::Full)) => {
                    // There is space again: it goes on where it was.
                    assert_eq!(office.store().usage().state, CellState::Open);
                    office.check();
                    office.checkpoint();
                    office.check();
                    office.crash();
                }
                (Fault::Crash, _) => office.crash(),
                _ => office.kill(),
            }
            office.disk.clear_faults();
            office.open().unwrap();
            office.check();
            let named = office.files().len();
            office.send(5);
            office.checkpoint();
            office.check();
            // Nothing is left of what was interrupted.
            office.store().close().unwrap();
            office.open().unwrap();
            assert!(
                office.files().len() <= named.max(5) + 1,
                "{:?}",
                office.files()
            );
            office.consume(office.sent - office.consumed);
            office.checkpoint();
            assert_eq!(office.files(), []);
        }
    }
}

#[test]
fn what_is_consumed_while_a_checkpoint_waits_for_space_is_not_missing_from_it() {
    let mut office = Office::new(5);
    office.send(100);
    while office.store().write_group().unwrap() {}
    office.disk.set_capacity(Some(office.disk.used() + 1_000));
    let full = office.store().checkpoint_now();
    assert_eq!(full, Err(StoreError::Full));
    office.check();
    // These turns come behind the checkpoint, and are lost in the crash.
    office.consume(60);
    office.send(3);
    office.check();
    office.disk.set_capacity(None);
    office.checkpoint();
    office.check();
    office.consume(10);
    office.check();
    office.crash();
    office.open().unwrap();
    let stream = office.stream();
    let sent = office.store().sent(stream).0;
    let consumed = office.store().mark(stream).consumed.0;
    assert!(sent >= 100 && consumed <= 70, "{sent} {consumed}");
    (office.sent, office.consumed) = (sent, consumed);
    office.check();
}

#[test]
fn a_lost_engine_is_rebuilt_from_a_snapshot_that_names_the_files() {
    let mut office = Office::new(6);
    office.send(300);
    office.store().snapshot_now().unwrap();
    assert_eq!(office.state().spilled_entries, 300);
    // The journal that had them is gone: a later segment is all that is left of it.
    assert!(office.store().usage().segments <= 2);
    // Some files go after the snapshot and others come; the rebuilt one needs neither.
    office.consume(130);
    office.send(70);
    office.checkpoint();
    office.check();
    office.kill();
    office.engine.destroy();
    office.open().unwrap();
    office.check();
    office.send(30);
    office.checkpoint();
    office.check();
    office.crash();
    office.open().unwrap();
    office.check();
}

#[test]
fn a_damaged_file_of_messages_is_refused_by_name_and_never_taken_for_empty() {
    let mut office = Office::new(7);
    office.send(90);
    office.store().snapshot_now().unwrap();
    office.store().close().unwrap();
    office.store = None;
    let refused = |office: &mut Office, file: &PathBuf| {
        let operations = office.disk.operations();
        match office.open() {
            Err(OpenError::Damaged { file: named, .. }) => assert_eq!(named, *file),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            office.disk.operations(),
            operations,
            "something was changed"
        );
    };
    for (file, size) in office.files() {
        let foot = size - 20;
        for offset in (0..32).chain(foot..size) {
            assert!(office.disk.flip(&file, offset, 1 << (offset % 8)));
            refused(&mut office, &file);
            assert!(office.disk.flip(&file, offset, 1 << (offset % 8)));
        }
    }
    office.open().unwrap();
    office.check();
    // In the messages themselves it is noticed when they are read.
    let (file, size) = office.files()[2].clone();
    for offset in [32, 36, 40, size / 2] {
        assert!(office.disk.flip(&file, offset, 0x10));
        office.kill();
        office.open().unwrap();
        let stream = office.stream();
        let before = office.store().outbox(stream, Sequence(0), 40, usize::MAX);
        assert_eq!(before.unwrap().len(), 40);
        let damaged = office.store().outbox(stream, Sequence(0), 90, usize::MAX);
        assert!(
            matches!(&damaged, Err(StoreError::Damaged { what, .. })
            if what.contains(file.to_str().unwrap())),
            "{damaged:?}"
        );
        let closed = office.store().maintain();
        let Err(StoreError::Closed { reason }) = closed else {
            panic!("{closed:?}");
        };
        assert!(reason.contains(file.to_str().unwrap()), "{reason}");
        assert!(!reason.contains("restore"), "said twice: {reason}");
        assert!(matches!(office.store().usage().state, CellState::Closed(_)));
        assert!(office.disk.flip(&file, offset, 0x10));
    }
    // A file that is cut or lost is noticed by the start.
    office.kill();
    let content = office.disk.content(&file).unwrap();
    assert!(office.disk.truncate(&file, size - 1));
    refused(&mut office, &file);
    assert!(office.disk.truncate(&file, 10));
    refused(&mut office, &file);
    assert!(office.disk.lose(&file));
    refused(&mut office, &file);
    assert_eq!(content.len() as u64, size);
}

#[test]
fn files_that_no_checkpoint_names_go_at_the_next_start_unless_a_snapshot_names_them() {
    let mut office = Office::new(8);
    office.send(40);
    office.store().snapshot_now().unwrap();
    let kept = office.files();
    assert_eq!(kept.len(), 2);
    office.send(40);
    while office.store().write_group().unwrap() {}
    // Killed between its files and CHECKPOINT.
    office.engine.fail_after(0);
    office.store().checkpoint_now().unwrap_err();
    office.kill();
    assert_eq!(office.files().len(), 4);
    office.open().unwrap();
    assert_eq!(office.files(), kept);
    office.check();
}

#[test]
fn a_snapshot_that_cannot_be_read_now_finds_its_files_later() {
    let mut tried = 0;
    for operation in 1.. {
        let mut office = Office::new(11);
        office.send(40);
        office.store().snapshot_now().unwrap();
        office.send(40);
        let at = office.disk.operations() + operation;
        office.disk.fail_at(at, Fault::Eio);
        let taken = office.store().snapshot_now();
        office.kill();
        office.disk.clear_faults();
        let mut snapshots = office.disk.files();
        snapshots.retain(|(path, _)| path.extension().is_some_and(|end| end == "snap"));
        if let [_, (newer, size)] = &snapshots[..] {
            tried += 1;
            // The older one serves; what only the newer one names is not its business.
            assert!(office.disk.flip(newer, size - 1, 1));
            office.engine.destroy();
            office.open().unwrap();
            office.check();
            office.kill();
            assert!(office.disk.flip(newer, size - 1, 1));
            office.engine.destroy();
            office.open().unwrap();
            office.check();
        }
        if taken.is_ok() {
            break;
        }
    }
    assert!(tried > 0);
}

#[test]
fn a_checkpoint_of_nothing_takes_nothing_out_of_memory() {
    let mut office = Office::new(12);
    office.options.outbox_memory_bytes = u64::MAX;
    office = office.opened();
    office.send(40);
    office.store().close().unwrap();
    // From now on this is too much.
    office.options.outbox_memory_bytes = 0;
    office = office.opened();
    office.checkpoint();
    office.check();
    office.send(1);
    office.checkpoint();
    assert_eq!(office.state().spilled_entries, 41);
    office.check();
}

#[test]
fn a_reader_is_not_disturbed_by_a_checkpoint_that_removes_its_file() {
    let mut office = Office::new(9);
    office.send(60);
    office.checkpoint();
    let stream = office.stream();
    let read = |office: &Office, after| {
        let run = office
            .store()
            .outbox(stream, Sequence(after), 10, usize::MAX);
        run.unwrap()[0].0.0
    };
    assert_eq!(read(&office, 5), 6);
    office.consume(25);
    office.checkpoint();
    // It asks for what has been consumed meanwhile, and gets what follows.
    assert_eq!(read(&office, 5), 26);
    assert_eq!(read(&office, 30), 31);
    office.check();
}

/// A message as services send them.
fn named(name: &'static str, version: u16) -> Bytes {
    let id = MessageId(uuid::Uuid::from_u128(1));
    let envelope = Envelope {
        id,
        kind: Kind::Event,
        name: Bytes::from_static(name.as_bytes()),
        version,
        key: Key::None,
        correlation: id,
        causation: id,
        trace: None,
        at: Timestamp(0),
        wants_reply: false,
        body: Bytes::from(vec![1; LENGTH]),
    };
    envelope.encode().unwrap()
}

#[test]
fn names_of_spilled_messages_are_told_without_reading_them() {
    let mut office = Office::new(10);
    office.options.spill_file_bytes = 20 * named("told", 1).len() as u64;
    office = office.opened();
    for n in 0..60 {
        office.send_this(match n {
            0..20 => named("gone", 1),
            _ if n % 4 == 0 => named("told", 2),
            _ => named("told", 1),
        });
    }
    office.checkpoint();
    // Of the first file some have been consumed, so that it says too much.
    office.consume(1);
    let read = office.disk.bytes_read();
    let told = office
        .store()
        .spilled_names(office.stream())
        .unwrap()
        .unwrap();
    assert!(office.disk.bytes_read() - read < 500);
    assert_eq!((told.first, told.last), (Sequence(21), Sequence(60)));
    let mut counts: Vec<_> = told
        .names
        .iter()
        .map(|name| (name.kind, &name.name[..], name.version, name.count))
        .collect();
    counts.sort_by_key(|(_, _, version, _)| *version);
    let (one, two) = (
        (Kind::Event, &b"told"[..], 1, 15),
        (Kind::Event, &b"told"[..], 2, 5),
    );
    assert_eq!(counts, [one, one, two, two]);
    // What is no message of a service cannot be told.
    office.send(20);
    office.checkpoint();
    assert_eq!(office.store().spilled_names(office.stream()), Ok(None));
}
