//! Maps by name, for what a turn looks up by the names that stand in the program.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by names of the program itself. Nobody from outside can choose them, so they are hashed in
/// the quickest way (FNV-1a) instead of the one that withstands chosen keys.
pub(crate) type Names<V> = HashMap<&'static str, V, BuildHasherDefault<NameHasher>>;

/// See [`Names`].
#[derive(Debug)]
pub(crate) struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> NameHasher {
        NameHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_fnv_1a() {
        let mut hasher = NameHasher::default();
        hasher.write(b"foobar");
        assert_eq!(hasher.finish(), 0x8594_4171_f739_67e8);
    }
}
