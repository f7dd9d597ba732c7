//! Chance that a seed repeats: SplitMix64.

/// Numbers that follow from a seed.
pub struct Chance(u64);

impl Chance {
    /// The numbers of one of a seed's parties, each with its own.
    pub fn new(seed: u64, party: u64) -> Chance {
        let mut chance = Chance(seed ^ party.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        chance.next();
        chance
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.next() % below
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        let place = self.below(things.len() as u64);
        &things[usize::try_from(place).unwrap()]
    }

    /// One of these, by weight.
    pub fn weighted<T: Copy>(&mut self, things: &[(u64, T)]) -> T {
        let mut drawn = self.below(things.iter().map(|(weight, _)| weight).sum());
        for (weight, thing) in things {
            if drawn < *weight {
                return *thing;
            }
            drawn -= weight;
        }
        unreachable!("the weights do not sum up")
    }
}
