//! Every decoder keeps its promises for all that fuzzing has kept (`fuzz/corpus`) and for sound
//! bytes of every kind.
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redeliver::fuzzing::{TARGETS, Target};

/// Its seeds and what is kept for it, each with a name.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let seeds = (target.seeds)().into_iter().enumerate();
    let mut inputs: Vec<_> = seeds.map(|(n, seed)| (format!("seed {n}"), seed)).collect();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    if let Ok(kept) = fs::read_dir(dir.join(target.name)) {
        for entry in kept {
            let path = entry.unwrap().path();
            inputs.push((path.display().to_string(), fs::read(path).unwrap()));
        }
    }
    inputs.sort();
    inputs
}

fn each_input(check: impl Fn(&Target, &[u8])) {
    for target in TARGETS {
        for (name, input) in inputs(target) {
            let checked = catch_unwind(AssertUnwindSafe(|| check(target, &input)));
            assert!(checked.is_ok(), "{} fails with {name}", target.name);
        }
    }
}

#[test]
fn sound_bytes_decode() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(
            !seeds.is_empty(),
            "{} has nothing to begin with",
            target.name
        );
        for (n, seed) in seeds.iter().enumerate() {
            let verdict = (target.decode)(seed);
            assert_eq!(verdict, Ok(()), "{}, seed {n}", target.name);
        }
    }
}

#[test]
fn whatever_fuzzing_has_kept_decodes_to_what_was_written_or_is_refused() {
    each_input(|target, input| {
        let _ = target.run(input);
    });
}

#[test]
fn no_decoder_allocates_more_than_its_input_accounts_for() {
    each_input(|target, input| {
        let held = allocation_counter::measure(|| {
            let _ = target.run(input);
        });
        let most = target.allocation_max(input.len()) as u64;
        assert!(
            held.bytes_max <= most,
            "{} bytes for {} bytes of input, at most {most}",
            held.bytes_max,
            input.len()
        );
    });
}

#[test]
fn any_single_bit_flip_of_a_sealed_record_is_an_error() {
    let tried = Cell::new(0);
    each_input(|target, input| {
        if !target.is_sealed {
            return;
        }
        let mut bytes = input.to_vec();
        if let Some(mend) = target.mend {
            mend(&mut bytes);
        }
        if (target.decode)(&bytes).is_err() {
            return;
        }
        tried.set(tried.get() + 1);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!((target.decode)(&bytes).is_err(), "bit {bit} is not noticed");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    });
    assert!(tried.get() > 20, "only {} records were tried", tried.get());
}

#[test]
fn every_kept_input_belongs_to_a_decoder() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut bytes = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let folder = entry.unwrap().path();
        for entry in fs::read_dir(&folder).unwrap() {
            bytes += entry.unwrap().metadata().unwrap().len();
        }
        let name = folder.file_name().unwrap().to_str().unwrap();
        let is_shops = name.starts_with("shop_");
        let is_known = is_shops || TARGETS.iter().any(|target| target.name == name);
        assert!(is_known, "{name} is no decoder");
    }
    assert!(bytes <= 200_000, "{bytes} bytes are too many to keep");
}
