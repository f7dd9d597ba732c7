//! Every decoder of the library keeps its promises for all that fuzzing has kept (`fuzz/corpus`) and
//! for sound bytes of every kind.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "common/replay.rs"]
mod replay;

use std::fs;
use std::path::Path;

use redeliver::fuzzing::TARGETS;

fn corpus() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus"))
}

#[test]
fn sound_bytes_decode() {
    replay::sound_bytes_decode(TARGETS);
}

#[test]
fn whatever_fuzzing_has_kept_decodes_to_what_was_written_or_is_refused() {
    replay::promises_hold(TARGETS, corpus());
}

#[test]
fn no_decoder_allocates_more_than_its_input_accounts_for() {
    replay::allocation_is_bounded(TARGETS, corpus());
}

#[test]
fn any_single_bit_flip_of_a_sealed_record_is_an_error() {
    let tried = replay::flipped_bits_are_refused(TARGETS, corpus());
    assert!(tried > 40, "only {tried} records were tried");
}

#[test]
fn every_kept_input_belongs_to_a_decoder() {
    let mut bytes = 0;
    for entry in fs::read_dir(corpus()).unwrap() {
        let folder = entry.unwrap().path();
        for entry in fs::read_dir(&folder).unwrap() {
            bytes += entry.unwrap().metadata().unwrap().len();
        }
        let name = folder.file_name().unwrap().to_str().unwrap();
        let is_known = TARGETS.iter().any(|target| target.name == name);
        // The shop's own are tried by the shop's tests.
        assert!(
            is_known || name.starts_with("shop_"),
            "{name} is no decoder"
        );
    }
    assert!(bytes <= 200_000, "{bytes} bytes are too many to keep");
}

#[test]
fn every_decoder_has_its_program_for_libfuzzer() {
    let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"));
    replay::each_has_its_program(TARGETS, fuzz);
}
