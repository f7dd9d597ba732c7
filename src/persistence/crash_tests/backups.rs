//! Backups, restores and verifications in the midst of all that: a backup is the state at its
//! position, also when the power fails while it is taken or restored, and what is verified is
//! what an opening finds.

use super::*;
use crate::persistence::backup::{BackupError, BackupInfo, inspect_backup};
use crate::persistence::restore::restore;
use crate::persistence::verify::{DirectoryReport, Verified, VerifyError, verify};

const BACKUP: &str = "/backups/b";

fn all_files(disk: &SimDisk) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let files = disk.files().into_iter();
    files
        .map(|(path, _)| (path.clone(), disk.content(&path)))
        .collect()
}

/// Verifies `/data` and sees to it that nothing is changed.
fn verified(world: &World) -> DirectoryReport {
    let before = all_files(&world.disk);
    let disk = Arc::new(world.disk.clone());
    let Verified::DataDirectory(report) = verify(disk, Path::new("/data")).unwrap() else {
        panic!("a data directory is taken for a backup");
    };
    assert!(all_files(&world.disk) == before, "seed {}", world.seed);
    report
}

/// A world whose data directory is made from a backup of another.
fn restored(world: &World, info: &BackupInfo) -> World {
    let mut other = World::new(world.seed + 1_000);
    other.disk = world.disk.clone();
    other.options.dir = "/restored".into();
    let position = Position(info.position);
    let (_, model) = world.history.range(..=position).next_back().unwrap();
    other.history.insert(position, model.clone());
    other
}

fn restore_into(world: &World, other: &World) -> Result<(), BackupError> {
    let disk = Arc::new(world.disk.clone());
    let (from, to) = (Path::new(BACKUP), other.options.dir.as_path());
    restore(disk, other.clock.as_ref(), from, to).map(drop)
}

/// Some work, and a backup in the middle of it.
fn backed_up(seed: u64) -> (World, BackupInfo) {
    let acts = fastrand::Rng::with_seed(seed).usize(1..200);
    backed_up_after(seed, acts)
}

fn backed_up_after(seed: u64, acts: usize) -> (World, BackupInfo) {
    let mut world = World::new(seed);
    world.disk.create_dir(Path::new("/backups")).unwrap();
    world.disk.sync_dir(Path::new("/")).unwrap();
    world.work(acts).unwrap();
    let (store, _) = world.open().unwrap();
    let names = world.names(&store).unwrap();
    for _ in 0..world.random.usize(..20) {
        world.turn(&store, &names).unwrap();
    }
    let info = store.backup(Path::new(BACKUP)).unwrap();
    assert_eq!(info.position, store.queued().0, "seed {seed}");
    for _ in 0..world.random.usize(..40) {
        world.turn(&store, &names).unwrap();
    }
    (world, info)
}

#[test]
fn what_is_restored_is_the_state_at_the_position_of_the_backup() {
    let mut spilled = 0;
    for seed in 300..324 {
        let (world, info) = backed_up(seed);
        let mut other = restored(&world, &info);
        restore_into(&world, &other).unwrap();
        let disk = Arc::new(world.disk.clone());
        let Verified::DataDirectory(report) = verify(disk, &other.options.dir).unwrap() else {
            panic!("a data directory is taken for a backup");
        };
        assert_eq!(report.problems, [], "seed {seed}");
        let cell = &report.cells[0];
        assert_eq!(cell.position, Some(info.position));
        spilled += usize::from(cell.spilled.files > 0);
        let from = cell.restored.as_ref().unwrap();
        assert_eq!(from.predecessor, info.incarnation);
        assert_eq!(
            (from.position, from.last_event),
            (info.position, info.last_event)
        );
        assert_ne!(cell.incarnation.as_ref(), Some(&info.incarnation));
        let (store, names, recovered) = other.recover();
        assert_eq!(recovered.position.0, info.position, "seed {seed}");
        // It lives on, through crashes too.
        for _ in 0..20 {
            if !other.act(&store, &names).unwrap() {
                break;
            }
        }
        drop(store);
        other.crash();
        other.recover();
    }
    assert!(spilled > 5, "{spilled}");
}

#[test]
fn a_crash_at_any_disk_operation_leaves_a_whole_backup_or_none() {
    let (mut whole, mut none) = (0, 0);
    // Once the backup has more operations, the next seed.
    let mut seed = 5;
    let mut operation = 0;
    while seed < 11 {
        operation += 1;
        let mut world = World::new(seed);
        world.disk.create_dir(Path::new("/backups")).unwrap();
        world.disk.sync_dir(Path::new("/")).unwrap();
        world.work(50).unwrap();
        let (store, _) = world.open().unwrap();
        let names = world.names(&store).unwrap();
        for _ in 0..10 {
            world.turn(&store, &names).unwrap();
        }
        let at = world.disk.operations() + operation;
        world.disk.fail_at(at, Fault::Crash);
        let taken = store.backup(Path::new(BACKUP));
        drop(store);
        if !world.disk.is_down() {
            taken.unwrap();
            (seed, operation) = (seed + 1, 0);
            continue;
        }
        world.crash();
        match inspect_backup(&world.disk, Path::new(BACKUP)) {
            Ok(info) => {
                whole += 1;
                let mut other = restored(&world, &info);
                restore_into(&world, &other).unwrap();
                other.recover();
            }
            Err(BackupError::Missing { .. }) => none += 1,
            Err(error) => panic!("operation {operation}: {error}"),
        }
        // What is left of it is in nobody's way.
        let (store, ..) = world.recover();
        if inspect_backup(&world.disk, Path::new(BACKUP)).is_err() {
            store.backup(Path::new(BACKUP)).unwrap();
        }
    }
    assert!(whole > 0 && none > 10, "{whole} {none}");
}

#[test]
fn a_crash_at_any_disk_operation_of_a_restore_leaves_what_will_not_open_or_all_of_it() {
    let (mut refused, mut whole) = (0, 0);
    let mut seed = 310;
    let mut operation = 0;
    while seed < 316 {
        operation += 1;
        let (world, info) = backed_up_after(seed, 30);
        let mut other = restored(&world, &info);
        let at = world.disk.operations() + operation;
        world.disk.fail_at(at, Fault::Crash);
        let done = restore_into(&world, &other);
        if !world.disk.is_down() {
            done.unwrap();
            (seed, operation) = (seed + 1, 0);
            continue;
        }
        other.crash();
        // Before the first file is there, it is a directory like any other empty one.
        if world.disk.content(Path::new("/restored/FORMAT")).is_none() {
            continue;
        }
        match other.open() {
            Err(OpenError::Damaged { .. }) => {
                refused += 1;
                let again = restore_into(&world, &other).unwrap_err();
                assert!(matches!(again, BackupError::NotEmpty { .. }), "{again}");
            }
            Err(error) => panic!("operation {operation}: {error}"),
            Ok((store, recovered)) => {
                drop(store);
                whole += 1;
                assert_eq!(recovered.position.0, info.position);
                other.recover();
            }
        }
    }
    assert!(refused > 10 && whole > 0, "{refused} {whole}");
}

#[test]
fn any_flipped_bit_and_any_cut_of_a_backup_is_refused_before_anything_is_written() {
    let (world, info) = backed_up(302);
    let other = restored(&world, &info);
    let before = all_files(&world.disk);
    let path = Path::new(BACKUP);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..400 {
        let (offset, mask) = (random.u64(..info.bytes), 1 << random.u8(..8));
        assert!(world.disk.flip(path, offset, mask));
        assert!(restore_into(&world, &other).is_err(), "byte {offset}");
        let found = verify(Arc::new(world.disk.clone()), path).unwrap();
        assert_eq!(found.problems().len(), 1, "byte {offset}");
        assert!(world.disk.flip(path, offset, mask));
    }
    assert!(all_files(&world.disk) == before);
    // What an interrupted backup leaves is no backup under its own name either.
    for size in [0, 10, info.bytes / 2, info.bytes - 1] {
        assert!(world.disk.truncate(path, size));
        let error = restore_into(&world, &other).unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    }
}

#[test]
fn whatever_a_crash_leaves_is_no_damage() {
    for seed in 0..6 {
        for operation in (1..=operations_of(seed)).step_by(7) {
            let mut world = World::new(seed);
            world.disk.fail_at(operation, Fault::Crash);
            let _ = world.work(ACTS);
            world.crash();
            match verify(Arc::new(world.disk.clone()), Path::new("/data")) {
                // It had not begun to be one.
                Err(VerifyError::Missing { .. }) => {}
                Err(error) => panic!("seed {seed} operation {operation}: {error}"),
                Ok(_) => {
                    let report = verified(&world);
                    assert_eq!(report.problems, [], "seed {seed} operation {operation}");
                    let (_, _, recovered) = world.recover();
                    let found = report.cells.first().and_then(|cell| cell.position);
                    assert_eq!(found.unwrap_or_default(), recovered.position.0);
                }
            }
        }
    }
}

#[test]
fn what_the_journal_says_is_damaged_exactly_if_an_opening_refuses_it() {
    let mut world = World::new(7);
    world.work(150).unwrap();
    let (store, names, _) = world.recover();
    for _ in 0..40 {
        world.turn(&store, &names).unwrap();
    }
    store.snapshot_now().unwrap();
    for _ in 0..40 {
        world.turn(&store, &names).unwrap();
    }
    while store.write_group().unwrap() {}
    drop(store);
    world.disk.abort();
    assert_eq!(verified(&world).problems, []);
    let end = world.history.last_key_value().unwrap().0.0;
    let mut random = fastrand::Rng::with_seed(7);
    let (mut noticed, mut harmless) = (0, 0);
    for (path, size) in world.disk.files() {
        if path.extension() != Some("seg".as_ref()) {
            continue;
        }
        for _ in 0..150 {
            let (offset, mask) = (random.u64(..size), 1 << random.u8(..8));
            assert!(world.disk.flip(&path, offset, mask));
            let report = verified(&world);
            let opened = crate::persistence::open::Opening::to_look(
                Path::new("/data"),
                "main",
                Arc::new(world.disk.clone()),
            );
            let refuses = {
                let journal = crate::persistence::journal::reader::JournalReader::open(
                    &world.disk,
                    &opened.journal_dir,
                    opened.cell,
                );
                journal
                    .and_then(|journal| opened.look(&journal.unwrap(), true))
                    .is_err()
            };
            match report.problems.first() {
                Some(problem) => {
                    noticed += 1;
                    assert_eq!(problem.file, path, "{}", problem.sentence);
                }
                None => {
                    harmless += 1;
                    assert!(!refuses, "{} byte {offset}", path.display());
                    // A trailer is no commit, and zeros are nothing.
                    assert_eq!(report.cells[0].position, Some(end));
                    assert!(report.cells[0].rebuild.possible);
                }
            }
            assert!(world.disk.flip(&path, offset, mask));
        }
    }
    assert!(noticed > 50 && harmless > 5, "{noticed} {harmless}");
}

/// It would otherwise pass for the first history, and readers from before for its own.
#[test]
fn a_cell_that_cannot_say_what_it_was_restored_from_shares_no_event_with_anyone() {
    let (world, info) = backed_up(303);
    let mut other = restored(&world, &info);
    restore_into(&world, &other).unwrap();
    let shared_with_the_first = |other: &mut World| {
        let (store, ..) = other.recover();
        assert_eq!(store.lineage().name(), Some(store.incarnation()));
        store.lineage().last_shared(None)
    };
    let shared = EventNumber(info.last_event);
    assert!(shared > EventNumber(0));
    assert_eq!(shared_with_the_first(&mut other), Some(shared));
    let file = other.options.cell_dir().join("RESTORED");
    assert!(world.disk.flip(&file, 25, 1));
    assert_eq!(shared_with_the_first(&mut other), Some(EventNumber(0)));
}

#[test]
fn any_flipped_bit_of_the_other_files_is_told_with_the_file_and_the_way_out() {
    let (world, info) = backed_up(303);
    let mut other = restored(&world, &info);
    restore_into(&world, &other).unwrap();
    // With everything that a cell can have: events in the log, a snapshot, where it came from.
    let (store, names, _) = other.recover();
    for _ in 0..60 {
        other.turn(&store, &names).unwrap();
    }
    store.snapshot_now().unwrap();
    store.close().unwrap();
    drop(store);
    let dir = other.options.dir.clone();
    let disk = || Arc::new(world.disk.clone());
    assert_eq!(verify(disk(), &dir).unwrap().problems(), []);
    let mut random = fastrand::Rng::with_seed(8);
    let mut kinds = std::collections::BTreeSet::new();
    for (path, size) in world.disk.files() {
        let kind = path
            .extension()
            .or(path.file_name())
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let ours = [
            "CHECKPOINT",
            "RESTORED",
            "FORMAT",
            "snap",
            "events",
            "spill",
        ];
        if !path.starts_with(&dir) || !ours.contains(&kind.as_str()) {
            continue;
        }
        kinds.insert(kind);
        for _ in 0..60 {
            let (offset, mask) = (random.u64(..size), 1 << random.u8(..8));
            assert!(world.disk.flip(&path, offset, mask));
            let found = verify(disk(), &dir).unwrap();
            let told = found.problems();
            assert!(
                told.iter().any(|problem| problem.file == path
                    // A version too new is told of the whole directory.
                    || problem.sentence.contains("this version reads up to")),
                "{} byte {offset}: {told:?}",
                path.display()
            );
            assert!(
                told.iter().all(
                    |problem| ["restore the newest", "run the version", "remove it"]
                        .iter()
                        .any(|way| problem.sentence.contains(way))
                ),
                "{told:?}"
            );
            assert!(world.disk.flip(&path, offset, mask));
        }
    }
    assert_eq!(kinds.len(), 6, "{kinds:?}");
    assert_eq!(verify(disk(), &dir).unwrap().problems(), []);
}

#[test]
fn a_cell_without_its_engine_is_whole_and_one_without_its_snapshot_is_not() {
    let mut world = World::new(9);
    world.work(200).unwrap();
    let (store, _, _) = world.recover();
    store.snapshot_now().unwrap();
    store.close().unwrap();
    drop(store);
    world.engine.destroy();
    let report = verified(&world);
    assert_eq!(report.problems, []);
    let rebuild = &report.cells[0].rebuild;
    assert!(
        rebuild.possible && rebuild.snapshot.is_some(),
        "{rebuild:?}"
    );
    let snapshot = world.file("snap", 0);
    assert!(world.disk.lose(&snapshot));
    let report = verified(&world);
    assert!(!report.cells[0].rebuild.possible);
    assert!(report.problems[0].sentence.contains("cannot be rebuilt"));
}

#[test]
fn files_of_nobody_are_named_and_change_nothing_in_the_verdict() {
    let world = worked(3);
    for (path, bytes) in [
        ("/data/cells/main/notes.txt", "n"),
        ("/data/cells/main/journal/notes.txt", "n"),
        ("/data/cells/main/CHECKPOINT.tmp", "half"),
        ("/data/keyring", "k"),
    ] {
        let file = world.disk.open(
            Path::new(path),
            crate::persistence::disk::OpenMode::CreateNew,
        );
        file.unwrap().write_at(0, bytes.as_bytes()).unwrap();
    }
    let report = verified(&world);
    assert_eq!(report.problems, []);
    assert_eq!(report.others, ["keyring"]);
    assert_eq!(report.cells[0].unknown, ["notes.txt", "journal/notes.txt"]);
    assert_eq!(report.cells[0].unfinished, ["CHECKPOINT.tmp"]);
}

#[test]
fn a_directory_in_use_is_not_verified_and_not_restored_into() {
    let (world, info) = backed_up(304);
    let (store, _) = world.open().unwrap();
    let error = verify(Arc::new(world.disk.clone()), Path::new("/data")).unwrap_err();
    let VerifyError::Open(OpenError::InUse { pid, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!(pid, "1");
    drop(store);
    let mut other = restored(&world, &info);
    other.options.dir = "/data".into();
    let before = all_files(&world.disk);
    let error = restore_into(&world, &other).unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty { .. }), "{error}");
    assert!(all_files(&world.disk) == before);
}
