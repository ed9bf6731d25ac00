//! Where each byte of a file is: in which chunk, or in a hole.

use content::Address;
use content::tree::{Entry, Hole, Node};

use crate::{Error, Reader};

/// A map of one file. Finding a place takes a few steps, however large the file.
#[derive(Debug, Default)]
pub(crate) struct FileMap {
    size: u64,
    chunks: Vec<Address>,
    /// Where each chunk starts in the file's data, that is without its holes.
    starts: Vec<u64>,
    holes: Vec<Hole>,
    /// How many bytes of holes lie before each hole.
    hollow: Vec<u64>,
}

/// Consecutive bytes of a file that come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it starts in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The chunk, and how many of its bytes come before; `None` is a hole.
    pub chunk: Option<(Address, u32)>,
}

impl FileMap {
    /// Makes the map of a file; of anything else, an empty one.
    pub(crate) fn new(reader: &Reader, file: &Entry) -> Result<Self, Error> {
        let Node::File { size, holes, .. } = &file.node else { return Ok(Self::default()) };
        let chunks = reader.chunks(file)?;
        Ok(Self::of(*size, chunks, holes.clone()))
    }

    fn of(size: u64, chunks: Vec<Address>, holes: Vec<Hole>) -> Self {
        let starts = sums_before(chunks.iter().map(|chunk| u64::from(chunk.length)));
        let hollow = sums_before(holes.iter().map(|hole| hole.length));
        Self { size, chunks, starts, holes, hollow }
    }

    /// The length of the file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The piece that starts at `offset`; `None` at the end.
    pub(crate) fn at(&self, offset: u64) -> Option<Piece> {
        if offset >= self.size {
            return None;
        }
        let next = self.holes.partition_point(|hole| hole.offset <= offset);
        let before =
            next.checked_sub(1).and_then(|last| Some((self.holes.get(last)?, self.hollow.get(last)?)));
        let mut data = offset;
        if let Some((hole, hollow)) = before {
            let end = hole.offset + hole.length;
            if offset < end {
                return Some(Piece { offset, length: end - offset, chunk: None });
            }
            data -= hollow + hole.length;
        }
        let until_hole = self.holes.get(next).map_or(self.size, |hole| hole.offset) - offset;
        let which = self.starts.partition_point(|start| *start <= data).checked_sub(1)?;
        let (chunk, start) = (*self.chunks.get(which)?, *self.starts.get(which)?);
        let skip = data - start;
        let left = u64::from(chunk.length).checked_sub(skip).filter(|left| *left > 0)?;
        Some(Piece { offset, length: left.min(until_hole), chunk: Some((chunk, skip as u32)) })
    }

    /// The first place from `offset` on that is not in a hole; `None` when there is none.
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        let piece = self.at(offset)?;
        let data = if piece.chunk.is_some() { offset } else { offset + piece.length };
        (data < self.size).then_some(data)
    }

    /// The first place from `offset` on that is in a hole, or the end; `None` beyond the end.
    pub(crate) fn next_hole(&self, offset: u64) -> Option<u64> {
        let piece = self.at(offset)?;
        if piece.chunk.is_none() {
            return Some(offset);
        }
        let next = self.holes.partition_point(|hole| hole.offset <= offset);
        Some(self.holes.get(next).map_or(self.size, |hole| hole.offset))
    }

    /// All pieces from `offset` on, in order.
    pub(crate) fn pieces(&self, offset: u64) -> impl Iterator<Item = Piece> {
        let mut at = offset;
        std::iter::from_fn(move || {
            let piece = self.at(at)?;
            at += piece.length;
            Some(piece)
        })
    }
}

/// For each length, the sum of those before it.
fn sums_before(lengths: impl Iterator<Item = u64>) -> Vec<u64> {
    let add = |sum: &mut u64, length: u64| {
        let before = *sum;
        *sum = sum.saturating_add(length);
        Some(before)
    };
    lengths.scan(0, add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vault::PackId;

    fn chunk(segment: u32, length: u32) -> Address {
        Address { pack: PackId::default(), segment, offset: 0, length }
    }

    /// Start, end, and for data the segment and offset it comes from.
    type Told = (u64, u64, Option<(u32, u32)>);

    fn told(map: &FileMap, from: u64) -> Vec<Told> {
        let chunk = |piece: &Piece| piece.chunk.map(|(chunk, skip)| (chunk.segment, skip));
        map.pieces(from).map(|piece| (piece.offset, piece.length, chunk(&piece))).collect()
    }

    #[test]
    fn chunks_go_on_behind_holes() {
        let holes = vec![Hole { offset: 5, length: 10 }, Hole { offset: 20, length: 30 }];
        let map = FileMap::of(60, vec![chunk(0, 7), chunk(1, 13)], holes);
        let whole = [
            (0, 5, Some((0, 0))),
            (5, 10, None),
            (15, 2, Some((0, 5))),
            (17, 3, Some((1, 0))),
            (20, 30, None),
            (50, 10, Some((1, 3))),
        ];
        assert_eq!(told(&map, 0), whole);
        assert_eq!(told(&map, 18)[0], (18, 2, Some((1, 1))));
        assert_eq!(told(&map, 49)[0], (49, 1, None));
        assert!(told(&map, 60).is_empty());
        let [data, holes]: [Vec<_>; 2] = [
            [0, 4, 5, 14, 20, 59, 60].map(|at| map.next_data(at)).into(),
            [0, 4, 5, 14, 20, 50, 60].map(|at| map.next_hole(at)).into(),
        ];
        assert_eq!(data, [Some(0), Some(4), Some(15), Some(15), Some(50), Some(59), None]);
        assert_eq!(holes, [Some(5), Some(5), Some(5), Some(14), Some(20), Some(60), None]);
    }

    #[test]
    fn a_file_that_is_one_hole_or_empty() {
        let map = FileMap::of(9, Vec::new(), vec![Hole { offset: 0, length: 9 }]);
        assert_eq!(told(&map, 4), [(4, 5, None)]);
        assert!(told(&FileMap::of(0, Vec::new(), Vec::new()), 0).is_empty());
    }

    #[test]
    fn chunks_that_are_too_short_end_the_file_early() {
        let map = FileMap::of(10, vec![chunk(0, 4)], Vec::new());
        assert_eq!(told(&map, 0), [(0, 4, Some((0, 0)))]);
    }
}
