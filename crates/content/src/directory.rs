//! A pack's sealed directory: which chunks are in which segment.
//!
//! ```text
//! layout (u8 = 1)  count of segments, each: count of chunks, each: length (varint)
//! then the ids (16 each) of all chunks in the same order
//! ```
//! Lengths and ids stand apart because the lengths compress and the ids do not.

use vault::wire::{Malformed, Reader, Write};

use crate::chunk::ChunkId;

/// The chunks of one segment in order.
pub type SegmentChunks = Vec<(ChunkId, u32)>;

/// Appends the stored form.
pub fn encode(segments: &[SegmentChunks]) -> Vec<u8> {
    let chunks: usize = segments.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(16 + segments.len() * 2 + chunks * 19);
    out.push(1);
    out.varint(segments.len() as u64);
    for segment in segments {
        out.varint(segment.len() as u64);
        for (_, length) in segment {
            out.varint(u64::from(*length));
        }
    }
    for (id, _) in segments.iter().flatten() {
        out.extend_from_slice(id.bytes());
    }
    out
}

/// Reads the stored form.
pub fn decode(bytes: &[u8]) -> Result<Vec<SegmentChunks>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8("directory layout")? != 1 {
        return Err(reader.malformed("directory layout", "it is not known"));
    }
    let count = reader.count("segments", 1)?;
    let mut segments: Vec<SegmentChunks> = Vec::with_capacity(count);
    for _ in 0..count {
        // Each chunk has a length of at least one byte here and an id further on.
        let chunks = reader.count("chunks of a segment", 1)?;
        let mut segment = Vec::with_capacity(chunks);
        for _ in 0..chunks {
            segment.push((ChunkId::default(), reader.varint_u32("chunk length")?));
        }
        segments.push(segment);
    }
    for (id, _) in segments.iter_mut().flatten() {
        *id = ChunkId::new(reader.array("chunk id")?);
    }
    reader.finish("directory")?;
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_directory_comes_back(
            segments in proptest::collection::vec(
                proptest::collection::vec((any::<[u8; 16]>(), any::<u32>()), 0..10), 0..10)
        ) {
            let segments: Vec<SegmentChunks> = segments
                .into_iter()
                .map(|segment| segment.into_iter().map(|(id, length)| (ChunkId::new(id), length)).collect())
                .collect();
            prop_assert_eq!(decode(&encode(&segments)).unwrap(), segments);
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
