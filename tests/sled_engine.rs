//! The sled engine keeps what it synced, tells what was there, and turns damage into an error.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use redeliver::error::StoreError;
use redeliver::persistence::engine::{Direction, Engine, EngineFactory, KeyRange};
use redeliver::persistence::sled::{SledEngine, SledFactory};

const CACHE_BYTES: u64 = 16 << 20;
const EVERYTHING: KeyRange = (Bound::Unbounded, Bound::Unbounded);

type Model = BTreeMap<Bytes, Bytes>;

fn open(dir: &Path) -> SledEngine {
    SledEngine::open(dir, CACHE_BYTES).unwrap()
}

fn put(key: &str, value: Vec<u8>) -> (Bytes, Option<Bytes>) {
    (Bytes::from(key.to_owned()), Some(Bytes::from(value)))
}

fn all(engine: &dyn Engine) -> Model {
    let rows = engine.scan(&EVERYTHING, Direction::Ascending, usize::MAX);
    rows.unwrap().into_iter().collect()
}

/// Opens sled itself, with the engine closed. Its lock goes a moment after it: with the last of its
/// threads, or with a child process that another test is starting.
fn open_sled(dir: &Path) -> sled::Db {
    let data = File::open(dir.join("db")).unwrap();
    data.lock().unwrap();
    data.unlock().unwrap();
    sled::open(dir).unwrap()
}

/// Counts the rows of sled's own tree of chunks, with the engine closed.
fn chunks_on_disk(dir: &Path) -> usize {
    open_sled(dir).open_tree("chunks").unwrap().len()
}

#[test]
fn values_of_every_size_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let sizes = [0, 1, 4095, 4096, 4097, 8192, 8193, 100_000, 1_048_577];
    let mut model = Model::new();
    for (n, size) in sizes.into_iter().enumerate() {
        let value: Vec<u8> = (0..size).map(|i| (i * 31 + n) as u8).collect();
        model.insert(Bytes::from(format!("key{n}")), Bytes::from(value));
    }
    let batch: Vec<_> = model
        .iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect();
    engine.apply(&batch).unwrap();
    assert_eq!(all(&engine), model);
    for (key, value) in &model {
        assert_eq!(engine.get(key).unwrap().as_ref(), Some(value));
    }
    engine.sync().unwrap();
    drop(engine);
    assert_eq!(all(&open(dir.path())), model);
}

#[test]
fn a_replaced_or_removed_large_value_leaves_no_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    // "ab" begins with "a": their chunks must not be taken for each other's.
    engine
        .apply(&[put("a", vec![1; 50_000]), put("ab", vec![2; 9_000])])
        .unwrap();
    engine.apply(&[put("a", vec![3; 20_000])]).unwrap();
    assert_eq!(engine.get(b"a").unwrap().unwrap(), vec![3; 20_000]);
    engine.apply(&[put("a", vec![4; 10])]).unwrap();
    assert_eq!(engine.get(b"a").unwrap().unwrap(), vec![4; 10]);
    engine.apply(&[put("a", vec![5; 5_000])]).unwrap();
    assert_eq!(engine.get(b"a").unwrap().unwrap(), vec![5; 5_000]);
    engine.apply(&[("a".into(), None)]).unwrap();
    assert_eq!(engine.get(b"a").unwrap(), None);
    assert_eq!(engine.get(b"ab").unwrap().unwrap(), vec![2; 9_000]);
    engine.sync().unwrap();
    drop(engine);
    assert_eq!(chunks_on_disk(dir.path()), 9_000_usize.div_ceil(4_096));
}

/// The crash we fear: chunks are written, the row that points to them is not. The next checkpoint
/// writes every such row again, whatever it has become.
#[test]
fn chunks_orphaned_by_a_crash_go_when_their_row_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let rows = [
        put("a", vec![1; 9_000]),
        put("b", vec![1; 9_000]),
        put("c", vec![1; 9_000]),
    ];
    engine.apply(&rows).unwrap();
    engine.sync().unwrap();
    drop(engine);
    {
        let db = open_sled(dir.path());
        db.open_tree("rows").unwrap().clear().unwrap();
    }
    assert_eq!(chunks_on_disk(dir.path()), 9);

    let engine = open(dir.path());
    let rows = [
        put("a", vec![2; 5]),
        ("b".into(), None),
        put("c", vec![2; 5_000]),
    ];
    assert_eq!(engine.apply(&rows).unwrap(), [false, false, false]);
    engine.sync().unwrap();
    assert_eq!(engine.get(b"c").unwrap().unwrap(), vec![2; 5_000]);
    drop(engine);
    assert_eq!(chunks_on_disk(dir.path()), 2);
}

#[test]
fn a_reader_never_sees_half_of_a_large_value_that_is_being_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    engine.apply(&[put("k", vec![0; 20_000])]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=300_usize {
                let size = if round % 7 == 0 {
                    10
                } else {
                    5_000 + round * 40
                };
                engine.apply(&[put("k", vec![round as u8; size])]).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let value = engine.get(b"k").unwrap().unwrap();
            assert!(value.iter().all(|byte| *byte == value[0]));
            assert_eq!(all(&engine).len(), 1);
        }
    });
}

/// Random rows against an ordered map: presence answers, point reads, and pages of random ranges
/// in both directions.
#[test]
fn the_engine_answers_as_an_ordered_map_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut engine = open(dir.path());
    let mut model = Model::new();
    for round in 0..40 {
        let batch: Vec<_> = (0..128)
            .map(|_| {
                let key = random_key(&mut random);
                let size = if random.u8(..20) == 0 {
                    6_000
                } else {
                    random.usize(..200)
                };
                let value = (random.u8(..4) > 0).then(|| Bytes::from(vec![round; size]));
                (key, value)
            })
            .collect();
        let expected: Vec<bool> = batch
            .iter()
            .map(|(key, value)| match value {
                Some(value) => model.insert(key.clone(), value.clone()).is_some(),
                None => model.remove(key).is_some(),
            })
            .collect();
        assert_eq!(engine.apply(&batch).unwrap(), expected);
        for _ in 0..50 {
            let range = (random_bound(&mut random), random_bound(&mut random));
            let limit = random.usize(..60);
            check_scan(&engine, &model, &range, limit);
        }
        if round % 10 == 9 {
            engine.sync().unwrap();
            drop(engine);
            engine = open(dir.path());
            assert_eq!(all(&engine), model);
        }
    }
}

fn check_scan(engine: &SledEngine, model: &Model, range: &KeyRange, limit: usize) {
    let within: Vec<_> = model
        .iter()
        .filter(|(key, _)| std::ops::RangeBounds::contains(range, *key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let up = engine.scan(range, Direction::Ascending, limit).unwrap();
    let expected: Vec<_> = within.iter().take(limit).cloned().collect();
    assert_eq!(up, expected, "{range:?} ascending");
    let down = engine.scan(range, Direction::Descending, limit).unwrap();
    let expected: Vec<_> = within.iter().rev().take(limit).cloned().collect();
    assert_eq!(down, expected, "{range:?} descending");
}

/// Short keys over few bytes, so that many collide, are prefixes of each other, or lie at the ends.
fn random_key(random: &mut fastrand::Rng) -> Bytes {
    let alphabet = [0, 1, 7, 128, 254, 255];
    let length = random.usize(1..6);
    (0..length)
        .map(|_| alphabet[random.usize(..alphabet.len())])
        .collect()
}

fn random_bound(random: &mut fastrand::Rng) -> Bound<Bytes> {
    match random.u8(..5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(random_key(random)),
        _ => Bound::Excluded(random_key(random)),
    }
}

#[test]
fn a_half_written_snapshot_of_sled_does_not_keep_it_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    engine.apply(&[put("a", vec![1])]).unwrap();
    engine.sync().unwrap();
    drop(engine);
    let torn = dir.path().join("snap.00000000000FFFFF.generating");
    fs::write(&torn, b"torn").unwrap();
    assert_eq!(open(dir.path()).get(b"a").unwrap().unwrap(), vec![1]);
    assert!(!torn.exists());
}

/// A child process writes, syncs and says so, round after round; it is killed after it has said so
/// a number of times, and every round it spoke of must be found.
#[test]
fn synced_rows_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(9);
    let mut reached = 0;
    for _ in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_child_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD_DIR, dir.path())
            .env(CHILD_START, (reached + 1).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let synced = lines.filter_map(|line| line.unwrap().strip_prefix("synced ")?.parse().ok());
        reached = synced.take(random.usize(1..40)).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        let engine = open(dir.path());
        for (key, value) in child_round(reached) {
            let found: u64 = round_of(&engine.get(&key).unwrap().unwrap());
            assert!(
                found >= reached,
                "{found} of {key:?} is older than {reached}"
            );
            // The rounds after it may be there in part, but each row is whole.
            assert!(found > reached || engine.get(&key).unwrap() == value);
        }
    }
}

/// Not a test by itself: does nothing unless started by [`synced_rows_survive_kill_9`].
#[test]
fn a_child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let start: u64 = std::env::var(CHILD_START).unwrap().parse().unwrap();
    let engine = open(Path::new(&dir));
    for round in start.. {
        engine.apply(&child_round(round)).unwrap();
        engine.sync().unwrap();
        println!("\nsynced {round}");
    }
}

const CHILD_DIR: &str = "REDELIVER_TEST_CHILD_DIR";
const CHILD_START: &str = "REDELIVER_TEST_CHILD_START";

fn child_round(round: u64) -> Vec<(Bytes, Option<Bytes>)> {
    (0..64_usize)
        .map(|n| {
            let mut value = round.to_be_bytes().to_vec();
            value.resize(if n % 16 == 0 { 10_000 } else { 100 }, round as u8);
            put(&format!("{n}"), value)
        })
        .collect()
}

fn round_of(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[..8].try_into().unwrap())
}

#[test]
fn a_factory_opens_destroys_and_opens_empty() {
    let dir = tempfile::tempdir().unwrap();
    let factory = SledFactory {
        dir: dir.path().join("sled"),
        cache_bytes: CACHE_BYTES,
    };
    factory.destroy().unwrap();
    let engine = factory.open().unwrap();
    engine.apply(&[put("a", vec![1])]).unwrap();
    engine.sync().unwrap();
    drop(engine);
    factory.destroy().unwrap();
    assert!(!factory.dir.exists());
    assert!(all(factory.open().unwrap().as_ref()).is_empty());
}

/// What sled makes of damage is its affair: it may open, older or empty. What must not come out is
/// a panic, a hang, or an error of another kind.
#[test]
fn garbled_files_end_in_an_error_and_never_in_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    for generation in 0..2 {
        let engine = open(&whole);
        for part in 0..16 {
            let batch: Vec<_> = (0..128)
                .map(|n| {
                    let size = if n % 40 == 0 { 9_000 } else { 100 };
                    put(&format!("{n:04}/{part}"), vec![generation; size])
                })
                .collect();
            engine.apply(&batch).unwrap();
        }
        engine.sync().unwrap();
    }

    let mut refused = 0;
    for seed in 0..40 {
        let garbled = dir.path().join(format!("garbled{seed}"));
        copy_dir(&whole, &garbled);
        garble(&garbled, seed);
        let outcome = SledEngine::open(&garbled, CACHE_BYTES).and_then(|engine| {
            engine.scan(&EVERYTHING, Direction::Ascending, usize::MAX)?;
            engine.scan(&EVERYTHING, Direction::Descending, usize::MAX)?;
            engine.apply(&[put("a", vec![1; 10_000]), put("b", vec![1])])?;
            engine.sync()
        });
        match outcome {
            Ok(()) => {}
            Err(StoreError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("seed {seed}: {other}"),
        }
        let factory = SledFactory {
            dir: garbled,
            cache_bytes: CACHE_BYTES,
        };
        factory.destroy().unwrap();
        assert!(all(factory.open().unwrap().as_ref()).is_empty());
        factory.destroy().unwrap();
    }
    assert!(refused > 10, "only {refused} of 40 were noticed");
}

/// Found by the campaign of damage: everything since sled was opened is replayed when it is opened
/// again, and a message that did not match its checksum took the rest of its segment with it, while
/// what came after was applied. As many rows were there as before, and some were older.
#[test]
fn damage_to_the_log_of_a_long_opening_never_brings_back_older_values() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let mut model = Model::new();
    let mut random = fastrand::Rng::with_seed(7);
    drop(open(&whole));
    let engine = open(&whole);
    for generation in 0..24 {
        let batch: Vec<_> = (0..600)
            .map(|_| {
                let size = if random.u8(..40) == 0 { 9_000 } else { 300 };
                put(
                    &format!("{:04}", random.u32(..2_000)),
                    vec![generation; size],
                )
            })
            .collect();
        engine.apply(&batch).unwrap();
        for (key, value) in batch {
            model.insert(key, value.unwrap());
        }
        engine.sync().unwrap();
    }
    drop(engine);
    let copy = dir.path().join("copy");
    copy_dir(&whole, &copy);
    assert_eq!(all(&open(&copy)), model);

    let mut refused = 0;
    for seed in 0..60 {
        let damaged = dir.path().join(format!("damaged{seed}"));
        copy_dir(&whole, &damaged);
        garble(&damaged, seed);
        let rows = SledEngine::open(&damaged, CACHE_BYTES)
            .and_then(|engine| engine.scan(&EVERYTHING, Direction::Ascending, usize::MAX));
        match rows {
            Ok(rows) => assert!(rows.into_iter().eq(model.clone()), "seed {seed}"),
            Err(StoreError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("seed {seed}: {other}"),
        }
        fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(refused > 30, "only {refused} of 60 were noticed");
}

/// sled frees segments, writes others in their place and cuts the file, in threads of its own. None
/// of that is damage.
#[test]
fn a_log_that_was_cleaned_and_cut_is_not_taken_for_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let mut model = Model::new();
    let mut random = fastrand::Rng::with_seed(11);
    for opening in 0..12 {
        let engine = open(&live);
        assert_eq!(all(&engine), model, "opening {opening}");
        for round in 0..random.u32(1..6) {
            let shrinks = random.bool();
            for _ in 0..8 {
                let batch: Vec<_> = (0..300)
                    .map(|_| {
                        let key = format!("{:04}", random.u32(..3_000));
                        match shrinks && random.u8(..4) > 0 {
                            true => (Bytes::from(key), None),
                            false => put(&key, vec![random.u8(..); random.usize(..2_000)]),
                        }
                    })
                    .collect();
                engine.apply(&batch).unwrap();
                for (key, value) in batch {
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
            }
            engine.sync().unwrap();
            // As a process leaves it that is killed, unless that is in the moment between a sync
            // and the cut that follows from it: then it is rebuilt.
            let copy = dir.path().join(format!("copy{opening}.{round}"));
            let size = |dir: &Path| fs::metadata(dir.join("db")).unwrap().len();
            loop {
                let before = size(&live);
                engine.sync().unwrap();
                copy_dir(&live, &copy);
                if size(&copy) == before {
                    break;
                }
            }
            assert_eq!(all(&open(&copy)), model);
            fs::remove_dir_all(&copy).unwrap();
        }
    }
}

/// Pages that no longer fit the cache are read back from files that have become noise. Whatever the
/// state that leaves sled in, the engine can be replaced within the same process.
#[test]
fn rot_under_an_open_engine_is_an_error_and_the_engine_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let factory = SledFactory {
        dir: dir.path().join("sled"),
        cache_bytes: 1 << 20,
    };
    let engine = factory.open().unwrap();
    for part in 0..200 {
        let batch: Vec<_> = (0..128)
            .map(|n| put(&format!("{n:04}/{part}"), vec![1; 300]))
            .collect();
        engine.apply(&batch).unwrap();
    }
    engine.sync().unwrap();
    let data = OpenOptions::new()
        .write(true)
        .open(factory.dir.join("db"))
        .unwrap();
    let length = usize::try_from(data.metadata().unwrap().len()).unwrap();
    data.write_all_at(&vec![0xa5; length], 0).unwrap();

    let scanned = engine.scan(&EVERYTHING, Direction::Ascending, usize::MAX);
    assert!(matches!(scanned, Err(StoreError::Damaged { .. })));
    drop(engine);
    factory.destroy().unwrap();
    assert!(all(factory.open().unwrap().as_ref()).is_empty());
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Cuts, flips, zeroes or overwrites a part of one of sled's files.
fn garble(dir: &Path, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let path = match random.u8(..3) {
        0 => files[random.usize(..files.len())].clone(),
        _ => dir.join("db"),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let length = file.metadata().unwrap().len();
    let start = random.u64(..length);
    let end = (start + random.u64(1..200_000)).min(length);
    let part = usize::try_from(end - start).unwrap();
    match seed % 4 {
        0 => file.set_len(start).unwrap(),
        1 => {
            let mut byte = [0];
            file.read_at(&mut byte, start).unwrap();
            file.write_at(&[byte[0] ^ 1 << random.u8(..8)], start)
                .unwrap();
        }
        2 => file.write_at(&vec![0; part], start).map(drop).unwrap(),
        _ => {
            let noise: Vec<u8> = (0..part).map(|_| random.u8(..)).collect();
            file.write_all_at(&noise, start).unwrap();
        }
    }
}
