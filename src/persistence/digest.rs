//! A digest of everything that a simulated run does, to compare two runs by one number.

/// Takes in bytes and numbers in order. Fast rather than strong: it finds accidents, not forgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0x9E37_79B9_7F4A_7C15)
    }
}

impl Digest {
    /// Takes in bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(u64::from(crc32c::crc32c(bytes)) << 32 ^ bytes.len() as u64);
    }

    /// Takes in a number.
    pub(crate) fn number(&mut self, number: u64) {
        // One round of SplitMix64: every bit of what came before reaches every later one.
        let mut mixed = (self.0.rotate_left(23) ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 = mixed ^ (mixed >> 31);
    }

    /// What it came to.
    pub(crate) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut digest = Digest::default();
        for part in parts {
            digest.bytes(part);
        }
        digest.value()
    }

    #[test]
    fn what_differs_in_content_order_or_division_has_another_digest() {
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
        for other in [
            &[b"abc".as_slice()] as &[&[u8]],
            &[b"c", b"ab"],
            &[b"ab", b"d"],
            &[b"ab", b"c", b""],
        ] {
            assert_ne!(of(&[b"ab", b"c"]), of(other), "{other:?}");
        }
    }
}
