//! Chance from a seed: the same numbers on every machine (SplitMix64).

/// A source of numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The source that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias is far smaller than anything that matters here.
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// A number from `start` up to and including `last`.
    pub fn between(&mut self, start: u64, last: u64) -> u64 {
        start + self.below((last + 1).saturating_sub(start))
    }

    /// True so many times in a thousand.
    pub fn permille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let place = self.below(of.len() as u64) as usize;
        of.get(place)
    }

    /// Bytes for an identity.
    pub fn identity(&mut self) -> [u8; 16] {
        let (one, other) = (self.number(), self.number());
        (u128::from(one) << 64 | u128::from(other)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut random = Random::new(1);
        // The first output of SplitMix64 for the seed 1, as published.
        assert_eq!(random.number(), 0x910a_2dec_8902_5cc1);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between(3, 5))));
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}
