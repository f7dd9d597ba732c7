//! Every decoder of the shop's own keeps its promises for all that fuzzing has kept (`fuzz/corpus`)
//! and for sound bytes of every kind.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../tests/common/replay.rs"]
mod replay;
#[path = "corpora/targets.rs"]
mod targets;

use std::path::Path;

use targets::TARGETS;

fn corpus() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus"))
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
fn any_single_bit_flip_of_a_token_a_signature_or_a_sealed_text_is_an_error() {
    let tried = replay::flipped_bits_are_refused(TARGETS, corpus());
    assert!(tried >= 4, "only {tried} were tried");
}

#[test]
fn every_decoder_has_its_program_for_libfuzzer() {
    let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"));
    replay::each_has_its_program(TARGETS, fuzz);
}
