//! Replays what fuzzing has kept, and sound bytes of every kind, against the promises of decoders.
//! Shared by the library's tests and the shop's.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redeliver::fuzzing::Target;

/// Checks a target's seeds and what is kept for it in this folder.
fn each_input(targets: &[Target], corpus: &Path, mut check: impl FnMut(&Target, &[u8])) {
    for target in targets {
        let seeds = (target.seeds)().into_iter().enumerate();
        let mut inputs: Vec<_> = seeds.map(|(n, seed)| (format!("seed {n}"), seed)).collect();
        for entry in fs::read_dir(corpus.join(target.name)).into_iter().flatten() {
            let path = entry.unwrap().path();
            inputs.push((path.display().to_string(), fs::read(path).unwrap()));
        }
        inputs.sort();
        for (name, input) in inputs {
            let checked = catch_unwind(AssertUnwindSafe(|| check(target, &input)));
            assert!(checked.is_ok(), "{} fails with {name}", target.name);
        }
    }
}

pub fn sound_bytes_decode(targets: &[Target]) {
    for target in targets {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has none to begin with", target.name);
        for (n, seed) in seeds.iter().enumerate() {
            let verdict = (target.decode)(seed);
            assert_eq!(verdict, Ok(()), "{}, seed {n}", target.name);
        }
    }
}

/// Decodes everything, as it is and with fitting checksums: a target panics over a broken promise.
pub fn promises_hold(targets: &[Target], corpus: &Path) {
    each_input(targets, corpus, |target, input| {
        let _ = target.run(input);
    });
}

pub fn allocation_is_bounded(targets: &[Target], corpus: &Path) {
    each_input(targets, corpus, |target, input| {
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

/// Flips every bit of whatever decodes; answers in how many inputs.
pub fn flipped_bits_are_refused(targets: &[Target], corpus: &Path) -> usize {
    let mut tried = 0;
    each_input(targets, corpus, |target, input| {
        let mut bytes = input.to_vec();
        if let Some(mend) = target.mend {
            mend(&mut bytes);
        }
        if !target.is_sealed || (target.decode)(&bytes).is_err() {
            return;
        }
        tried += 1;
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!((target.decode)(&bytes).is_err(), "bit {bit} is not noticed");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    });
    tried
}

/// libFuzzer wants a program each.
pub fn each_has_its_program(targets: &[Target], fuzz: &Path) {
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for Target { name, .. } in targets {
        let path = format!("fuzz_targets/{name}.rs");
        let program = fs::read_to_string(fuzz.join(&path)).unwrap_or_default();
        assert!(
            program.contains(&format!("fuzz(\"{name}\", data)")),
            "{path}"
        );
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{name}");
    }
}
