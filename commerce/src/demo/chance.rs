//! Chance that a seed repeats: SplitMix64.

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// The numbers of one of a seed's parties, each with its own.
    pub(super) fn new(seed: u64, party: u64) -> Chance {
        let mut chance = Chance(seed ^ party.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        chance.number();
        chance
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..below`; 0 of nothing.
    pub(super) fn below(&mut self, below: u32) -> u32 {
        let drawn = self.number() % u64::from(below.max(1));
        u32::try_from(drawn).unwrap_or_default()
    }

    /// One of these; `None` if there is none.
    pub(super) fn one_of<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        let count = u32::try_from(things.len()).unwrap_or(u32::MAX);
        things.get(self.below(count) as usize).copied()
    }
}
