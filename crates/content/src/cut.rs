//! Where data is cut into chunks.
//!
//! A rolling hash that decides cuts by itself leaks its key through the chunk lengths it produces ("Chunking Attacks
//! on File Backup Services using Content-Defined Chunking", IACR eprint 2025/532; "Breaking and Fixing
//! Content-Defined Chunking", eprint 2025/558). Here the rolling hash is public and only *nominates* positions, about
//! one in a kibibyte; a pseudorandom function under the vault's key (keyed BLAKE3 of the 64 bytes before the
//! position) decides among them. Without the key the cuts look random, and the price is one call per candidate.
//!
//! A cut does not stand at the candidate itself but up to a sixteenth of the average further on, by other bits of the
//! same PRF: public positions would let whoever knows a file recognise it by where its chunks may end.
//!
//! The rule: with `h` = sum over the last 64 bytes b_i (i = 0 the latest) of `GEAR[b_i] << i` (mod 2^64), a position
//! is a candidate when `h < 2^54`. Let n = average / 1024 (at least 8) and u = (2^64 - 1) / n, both rounded down. A
//! candidate at length L (min <= L <= max) is taken when the first eight bytes of the PRF, little-endian, are below
//! u / 2 (L < average) or 4u (L >= average). The first that is taken ends the chunk at L + (the next eight bytes,
//! little-endian, mod (average / 16)), or at max if that is further than max. Without one, the chunk ends at max.

use std::sync::OnceLock;

use vault::descriptor::ChunkSizes;

use crate::secret::Secret;

const WINDOW: usize = 64;
const CANDIDATE_BELOW: u64 = 1 << 54;
const CANDIDATE_SPACING: u64 = 1024;
const GEAR_CONTEXT: &str = "strongroom 1 gear table";

/// The public table: 256 values of eight bytes, little-endian, from BLAKE3's extendable output over the context; and
/// the same values shifted by one, for taking two bytes in a step.
fn gear() -> &'static [[u64; 256]; 2] {
    static TABLES: OnceLock<[[u64; 256]; 2]> = OnceLock::new();
    TABLES.get_or_init(|| {
        let mut reader = blake3::Hasher::new().update(GEAR_CONTEXT.as_bytes()).finalize_xof();
        let table = std::array::from_fn(|_| {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        [table, table.map(|value| value << 1)]
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
    /// Where the chunk ends, once that is decided.
    end: Option<usize>,
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
        if progress.end.is_none() {
            progress.end = self.decide(progress, data);
        }
        progress.end.filter(|end| *end <= data.len())
    }

    /// Where the chunk ends, if what is there of it decides that; it may be beyond.
    fn decide(&self, progress: &mut Progress, data: &[u8]) -> Option<usize> {
        let (min, max) = (self.min(), self.max());
        let end = data.len().min(max);
        // Hashing starts a window before the first place where a cut may be, so that every candidate has a full one.
        let mut position = progress.scanned.max(min - WINDOW);
        let mut hash = progress.hash;
        let tables = gear();
        while position < end {
            let bytes = data.get(position..end).unwrap_or_default();
            let Some(steps) = next_candidate(tables, &mut hash, bytes) else {
                position = end;
                break;
            };
            position += steps;
            if position >= min
                && let Some(further) = self.takes(data, position)
            {
                return Some((position + further).min(max));
            }
        }
        (progress.scanned, progress.hash) = (position, hash);
        (end == max).then_some(max)
    }

    /// Whether the candidate that ends at `position` is taken, and how much further the cut stands.
    fn takes(&self, data: &[u8], position: usize) -> Option<usize> {
        let window = position.checked_sub(WINDOW).and_then(|start| data.get(start..position))?;
        let hash = blake3::keyed_hash(self.key.expose(), window);
        let (value, rest) = hash.as_bytes().split_first_chunk::<8>()?;
        let further =
            u64::from_le_bytes(*rest.first_chunk::<8>()?) % u64::from(self.sizes.average / 16).max(1);
        let below =
            if position < self.sizes.average as usize { self.before_average } else { self.after_average };
        (u64::from_le_bytes(*value) < below).then_some(further as usize)
    }

    /// The pseudorandom function: the first eight bytes, little-endian, of keyed BLAKE3.
    pub fn pseudorandom(&self, bytes: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(self.key.expose(), bytes);
        hash.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// Advances `hash` over `bytes` up to and including the first candidate; how many bytes that took.
///
/// Two bytes a step: the second hash does not wait for the first, which alone bounds the speed.
#[expect(
    clippy::indexing_slicing,
    reason = "a byte always indexes a table of 256; the check would cost a third"
)]
#[inline]
fn next_candidate(tables: &[[u64; 256]; 2], hash: &mut u64, bytes: &[u8]) -> Option<usize> {
    let [table, shifted] = tables;
    let mut h = *hash;
    let (pairs, last) = bytes.as_chunks::<2>();
    for (index, [first, second]) in pairs.iter().enumerate() {
        let after_first = (h << 1).wrapping_add(table[*first as usize]);
        h = (h << 2).wrapping_add(shifted[*first as usize].wrapping_add(table[*second as usize]));
        if after_first < CANDIDATE_BELOW {
            *hash = after_first;
            return Some(2 * index + 1);
        }
        if h < CANDIDATE_BELOW {
            *hash = h;
            return Some(2 * index + 2);
        }
    }
    for byte in last {
        h = (h << 1).wrapping_add(table[*byte as usize]);
    }
    *hash = h;
    (!last.is_empty() && h < CANDIDATE_BELOW).then_some(bytes.len())
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

    /// The lengths that `docs/format.md` gives for its example, so that another writer can compare.
    #[test]
    fn the_documented_example_is_cut_as_documented() {
        let key = Secret::new(std::array::from_fn(|i| 0x20 + i as u8)).derive("strongroom 1 cutting");
        let mut data = vec![0; 12 << 20];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut data);
        for (i, byte) in data[4 << 20..7 << 20].iter_mut().enumerate() {
            *byte = (i % 7) as u8;
        }
        let of = |min, average, max| {
            let cutter = Cutter::new(key.clone(), ChunkSizes { min, average, max });
            let all = lengths(&cutter, &data, data.len());
            (all.len(), all[..5].to_vec())
        };
        let large = (9, vec![1_224_489, 1_161_898, 330_104, 407_690, 4_194_304]);
        assert_eq!(of(256 << 10, 1 << 20, 4 << 20), large);
        assert_eq!(of(4096, 16384, 65536), (581, vec![18724, 23427, 15369, 18174, 7500]));
    }
}
