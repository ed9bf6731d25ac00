//! Where chunks and pages end: sections 9 and 11.

use std::sync::LazyLock;

static GEAR: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut table = [0; 2048];
    blake3::Hasher::new().update(b"strongroom 1 gear table").finalize_xof().fill(&mut table);
    table.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
});

/// The first two words of keyed BLAKE3: the PRF, and what the distance is made of.
fn words(key: &[u8; 32], bytes: &[u8]) -> [u64; 2] {
    let hash = blake3::keyed_hash(key, bytes);
    let word = |at: usize| u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().unwrap());
    [word(0), word(8)]
}

pub fn prf(key: &[u8; 32], bytes: &[u8]) -> u64 {
    words(key, bytes)[0]
}

/// The lengths of the chunks of `data` for the sizes (minimum, average, maximum).
pub fn chunk_lengths(data: &[u8], key: &[u8; 32], sizes: [u64; 3]) -> Vec<u64> {
    if data.len() <= 256 << 10 {
        return if data.is_empty() { Vec::new() } else { vec![data.len() as u64] };
    }
    let mut lengths = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let length = first_chunk(rest, key, sizes.map(|size| size as usize));
        lengths.push(length as u64);
        rest = &rest[length..];
    }
    lengths
}

fn first_chunk(data: &[u8], key: &[u8; 32], [min, average, max]: [usize; 3]) -> usize {
    let unit = u64::MAX / (average as u64 / 1024).max(8);
    let end = max.min(data.len());
    if end <= min {
        return end;
    }
    // Bytes shift out of 64 bits after 64 steps, so a start 64 bytes before the first position is enough.
    let mut hash = data[min - 64..min].iter().fold(0u64, |hash, byte| (hash << 1).wrapping_add(gear(*byte)));
    for length in min..=end {
        if hash < 1 << 54 {
            let [decides, distance] = words(key, &data[length - 64..length]);
            if decides < if length < average { unit / 2 } else { 4 * unit } {
                return (length + (distance % (average as u64 / 16)) as usize).min(end);
            }
        }
        if length < end {
            hash = (hash << 1).wrapping_add(gear(data[length]));
        }
    }
    end
}

fn gear(byte: u8) -> u64 {
    GEAR[usize::from(byte)]
}

/// Whether a page ends after an entry of this name, with which its entries have `length` bytes.
pub fn page_ends(key: &[u8; 32], length: usize, name: &[u8]) -> bool {
    length >= 1 << 20 || (length >= 16 << 10 && prf(key, name) < (1 << 56) - 1)
}
