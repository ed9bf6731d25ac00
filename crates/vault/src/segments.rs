//! A set of segment numbers of one pack, stored as alternating runs.
//!
//! Layout: a varint count of runs, then for each run a varint of how many numbers are skipped and a varint of how
//! many follow that are in the set (at least one).

use crate::wire::{Malformed, Reader, Write};

/// A pack has fewer segments than this.
pub const SEGMENTS_MAX: u32 = 1 << 20;

/// A set of segment numbers, each below [`SEGMENTS_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentSet {
    words: Vec<u64>,
}

impl SegmentSet {
    /// Adds a number; returns whether it was new. Numbers of [`SEGMENTS_MAX`] and above are refused (`false`).
    pub fn insert(&mut self, number: u32) -> bool {
        if number >= SEGMENTS_MAX {
            return false;
        }
        let index = (number / 64) as usize;
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let bit = 1u64 << (number % 64);
        match self.words.get_mut(index) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.words.get((number / 64) as usize).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// How many numbers are in the set.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Adds everything that is in `other`.
    pub fn union(&mut self, other: &SegmentSet) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    /// Whether everything in `other` is in this set too.
    pub fn contains_all(&self, other: &SegmentSet) -> bool {
        let mine = self.words.iter().copied().chain(std::iter::repeat(0));
        other.words.iter().zip(mine).all(|(theirs, mine)| theirs & !mine == 0)
    }

    /// The numbers in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| index as u32 * 64 + bit)
        })
    }

    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for number in self.iter() {
            match runs.last_mut() {
                Some((start, length)) if *start + *length == number => *length += 1,
                _ => runs.push((number, 1)),
            }
        }
        out.varint(runs.len() as u64);
        let mut end = 0;
        for (start, length) in runs {
            out.varint(u64::from(start - end));
            out.varint(u64::from(length));
            end = start + length;
        }
    }

    /// Reads the stored form.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let runs = reader.count("segment runs", 2)?;
        let mut set = Self::default();
        let mut end = 0u64;
        for run in 0..runs {
            let skipped = reader.varint_max("skipped segments", u64::from(SEGMENTS_MAX))?;
            let length = reader.varint_max("segments in a run", u64::from(SEGMENTS_MAX))?;
            let start = end + skipped;
            end = start + length;
            if length == 0 || end > u64::from(SEGMENTS_MAX) || (run > 0 && skipped == 0) {
                return Err(reader.malformed("segment runs", "a run is empty, not maximal or out of range"));
            }
            for number in start..end {
                set.insert(number as u32);
            }
        }
        Ok(set)
    }
}

impl FromIterator<u32> for SegmentSet {
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut set = Self::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_comes_back(numbers in proptest::collection::btree_set(0u32..5000, 0..300)) {
            let set: SegmentSet = numbers.iter().copied().collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), numbers.clone());
            prop_assert_eq!(set.len(), numbers.len());
            prop_assert!(set.contains_all(&set) && set.contains_all(&SegmentSet::default()));
            let more: SegmentSet = numbers.iter().copied().chain([7000]).collect();
            prop_assert!(more.contains_all(&set) && !set.contains_all(&more));
            let mut out = Vec::new();
            set.encode(&mut out);
            let mut reader = Reader::new(&out);
            let again = SegmentSet::decode(&mut reader).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let _ = SegmentSet::decode(&mut Reader::new(&bytes));
        }
    }
}
