//! All decoders, the library's and the shop's, by name.

#[path = "../../commerce/tests/corpora/targets.rs"]
mod shop;

use redeliver::fuzzing::{TARGETS, Target};

/// All of them.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    TARGETS.iter().chain(shop::TARGETS)
}

/// The decoder of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    targets().find(|target| target.name == name)
}

/// What a program of libFuzzer does with its bytes. Whether they decode makes no difference; a
/// panic does.
pub fn fuzz(name: &str, data: &[u8]) {
    match target(name) {
        Some(target) => {
            let _ = target.run(data);
        }
        None => panic!("{name} is no decoder"),
    }
}
