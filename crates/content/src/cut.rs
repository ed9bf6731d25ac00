//! Where data is cut into chunks.
//!
//! A rolling hash that decides cuts by itself leaks its key through the chunk lengths it produces ("Chunking Attacks
//! on File Backup Services using Content-Defined Chunking", IACR eprint 2025/532; "Breaking and Fixing
//! Content-Defined Chunking", eprint 2025/558). Here the rolling hash is public and only *nominates* positions, about
//! one in a kibibyte; a pseudorandom function under the vault's key (keyed BLAKE3 of the 64 bytes before the
//! position) decides among them. Without the key the cuts look random, and the price is one call per candidate.
//!
//! The rule: with `h` = sum over the last 64 bytes b_i (i = 0 the latest) of `GEAR[b_i] << i` (mod 2^64), a position
//! is a candidate when `h < 2^54`. Let n = average / 1024 (at least 8) and u = (2^64 - 1) / n, both rounded down. A
//! candidate at length L (min <= L <= max) cuts when the first eight bytes of the PRF, little-endian, are below u / 2
//! (L < average) or 4u (L >= average). At max a cut is forced.

use std::sync::OnceLock;

use vault::descriptor::ChunkSizes;

use crate::secret::Secret;

const WINDOW: usize = 64;
const CANDIDATE_BELOW: u64 = 1 << 54;
const CANDIDATE_SPACING: u64 = 1024;
const GEAR_CONTEXT: &str = "strongroom 1 gear table";

/// The public table: 256 values of eight bytes, little-endian, from BLAKE3's extendable output over the context.
fn gear() -> &'static [u64; 256] {
    static TABLE: OnceLock<[u64; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut reader = blake3::Hasher::new().update(GEAR_CONTEXT.as_bytes()).finalize_xof();
        std::array::from_fn(|_| {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        })
    })
}

/// Decides where chunks end.
#[derive(Clone, Debug)]
pub struct Cutter {
    key: Secret,
    sizes: ChunkSizes,
    before_average: u64,
    after_average: u64,
}

/// How far into the current chunk the search has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    scanned: usize,
    hash: u64,
}

impl Cutter {
    /// Cuts into chunks of these sizes under this key.
    pub fn new(key: Secret, sizes: ChunkSizes) -> Self {
        let candidates = (u64::from(sizes.average) / CANDIDATE_SPACING).max(8);
        let one = u64::MAX / candidates;
        Self { key, sizes, before_average: one / 2, after_average: one.saturating_mul(4) }
    }

    /// The longest a chunk can be, in bytes.
    pub fn max(&self) -> usize {
        self.sizes.max as usize
    }

    /// The shortest a chunk can be that is not a file's last, in bytes.
    pub fn min(&self) -> usize {
        self.sizes.min as usize
    }

    /// Looks for the end of the chunk that starts at `data[0]`, going on from `progress`, which must be the one used
    /// for the same chunk before with less data (or new). `None`: there is no cut in what is there yet.
    pub fn find(&self, progress: &mut Progress, data: &[u8]) -> Option<usize> {
        let (min, max) = (self.min(), self.max());
        let end = data.len().min(max);
        // Hashing starts a window before the first place where a cut may be, so that every candidate has a full one.
        let mut position = progress.scanned.max(min - WINDOW);
        let mut hash = progress.hash;
        let table = gear();
        while position < end {
            let bytes = data.get(position..end).unwrap_or_default();
            let Some(steps) = next_candidate(table, &mut hash, bytes) else {
                position = end;
                break;
            };
            position += steps;
            if position >= min && self.decides(data, position) {
                return Some(position);
            }
        }
        *progress = Progress { scanned: position, hash };
        (end == max).then_some(max)
    }

    /// Whether the candidate that ends at `position` is a cut.
    fn decides(&self, data: &[u8], position: usize) -> bool {
        let Some(window) = position.checked_sub(WINDOW).and_then(|start| data.get(start..position)) else {
            return false;
        };
        let value = self.pseudorandom(window);
        value < if position < self.sizes.average as usize { self.before_average } else { self.after_average }
    }

    /// The pseudorandom function: the first eight bytes, little-endian, of keyed BLAKE3.
    pub fn pseudorandom(&self, bytes: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(self.key.expose(), bytes);
        hash.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// Advances `hash` over `bytes` up to and including the first candidate; how many bytes that took.
#[expect(
    clippy::indexing_slicing,
    reason = "a byte always indexes a table of 256; the check would cost a third"
)]
#[inline]
fn next_candidate(table: &[u64; 256], hash: &mut u64, bytes: &[u8]) -> Option<usize> {
    let mut h = *hash;
    for (index, byte) in bytes.iter().enumerate() {
        h = (h << 1).wrapping_add(table[*byte as usize]);
        if h < CANDIDATE_BELOW {
            *hash = h;
            return Some(index + 1);
        }
    }
    *hash = h;
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZES: ChunkSizes = ChunkSizes { min: 4096, average: 16384, max: 65536 };

    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut out = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
        out
    }

    fn lengths(cutter: &Cutter, mut data: &[u8], step: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let mut progress = Progress::default();
            let mut seen = 0;
            let length = loop {
                seen = (seen + step).min(data.len());
                match cutter.find(&mut progress, &data[..seen]) {
                    Some(length) => break length,
                    None if seen == data.len() => break seen,
                    None => {}
                }
            };
            lengths.push(length);
            data = &data[length..];
        }
        lengths
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cuts_do_not_depend_on_how_the_data_arrives(seed: u64, step in 1usize..9000) {
            let cutter = Cutter::new(Secret::new([1; 32]), SIZES);
            let data = noise(300_000, seed);
            let whole = lengths(&cutter, &data, data.len());
            prop_assert_eq!(&lengths(&cutter, &data, step), &whole);
            let (_, but_last) = whole.split_last().unwrap();
            for length in but_last {
                prop_assert!((SIZES.min as usize..=SIZES.max as usize).contains(length));
            }
        }

        #[test]
        fn an_insertion_moves_only_nearby_cuts(seed: u64, at in 0usize..500_000) {
            let cutter = Cutter::new(Secret::new([1; 32]), SIZES);
            let data = noise(1_000_000, seed);
            let mut edited = data.clone();
            edited.splice(at..at, noise(1000, seed ^ 1));
            let ends = |data: &[u8]| {
                let mut end = data.len();
                lengths(&cutter, data, data.len()).iter().rev().map(|length| { let e = end; end -= length; (data.len() - e, *length) }).collect::<std::collections::HashSet<_>>()
            };
            let (before, after) = (ends(&data), ends(&edited));
            prop_assert!(before.intersection(&after).count() * 10 > before.len() * 3);
        }
    }

    #[test]
    fn the_average_is_near_what_was_asked_and_keys_matter() {
        let data = noise(20_000_000, 3);
        let a = lengths(&Cutter::new(Secret::new([1; 32]), SIZES), &data, data.len());
        let b = lengths(&Cutter::new(Secret::new([2; 32]), SIZES), &data, data.len());
        let mean = data.len() / a.len();
        assert!((12_000..24_000).contains(&mean), "{mean}");
        assert_ne!(a, b);
    }

    #[test]
    fn data_without_candidates_is_cut_at_the_maximum() {
        let cutter = Cutter::new(Secret::new([1; 32]), SIZES);
        let zeros = vec![0; 200_000];
        let lengths = lengths(&cutter, &zeros, 1 << 20);
        assert!(lengths.iter().all(|length| *length <= SIZES.max as usize));
    }
}
