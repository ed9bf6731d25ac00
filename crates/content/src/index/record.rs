//! One chunk in a table: 32 bytes, so that a cache line holds two.
//!
//! ```text
//! chunk id (16)  pack's place in the table's list (u32)  segment (u24)  offset (u24)  length (u24)  check (u24)
//! ```
//! The check catches a damaged cache file before a wrong address gets into a snapshot.

use crate::chunk::ChunkId;

pub(super) const LENGTH: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub id: ChunkId,
    pub pack: u32,
    pub segment: u32,
    pub offset: u32,
    pub length: u32,
}

impl Record {
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut out = [0; LENGTH];
        let small = |value: u32| value.to_le_bytes().into_iter().take(3);
        let bytes = self
            .id
            .bytes()
            .iter()
            .copied()
            .chain(self.pack.to_le_bytes())
            .chain(small(self.segment))
            .chain(small(self.offset))
            .chain(small(self.length));
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        let check = check(&out);
        out.iter_mut().skip(LENGTH - 3).zip(check.to_le_bytes()).for_each(|(to, from)| *to = from);
        out
    }

    /// `None` when the check does not hold.
    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let [i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11, i12, i13, i14, i15, p0, p1, p2, p3, rest @ ..] =
            *bytes;
        let [s0, s1, s2, o0, o1, o2, l0, l1, l2, c0, c1, c2] = rest;
        if u32::from_le_bytes([c0, c1, c2, 0]) != check(bytes) {
            return None;
        }
        Some(Self {
            id: ChunkId::new([i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11, i12, i13, i14, i15]),
            pack: u32::from_le_bytes([p0, p1, p2, p3]),
            segment: u32::from_le_bytes([s0, s1, s2, 0]),
            offset: u32::from_le_bytes([o0, o1, o2, 0]),
            length: u32::from_le_bytes([l0, l1, l2, 0]),
        })
    }
}

/// 24 bits over everything before the check (FNV-1a, folded).
fn check(bytes: &[u8; LENGTH]) -> u32 {
    let hash = bytes.iter().take(LENGTH - 3).fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash ^ (hash >> 24) ^ (hash >> 48)) & 0x00ff_ffff) as u32
}
