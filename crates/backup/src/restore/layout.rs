//! Where a file's chunks belong in it: one after the other, beside the holes.

use std::ops::Range;
use std::sync::Arc;

use content::Address;
use content::tree::{Entry, FileContent, Hole, Node, decode_extents};
use vault::error::Damage;

use crate::{Error, Reader};

/// A chunk of a file. Its bytes start at `at` and go on behind each hole they meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedChunk {
    pub address: Address,
    pub at: u64,
}

/// The chunks of a file in order, read page by page when there are many. Ends after the first error.
#[derive(Clone)]
pub(super) struct Layout {
    reader: Arc<Reader>,
    chunks: std::vec::IntoIter<Address>,
    pages: std::vec::IntoIter<Address>,
    holes: Vec<Hole>,
    at: u64,
    /// Bytes of data that are still to come.
    left: u64,
}

impl Layout {
    pub(super) fn new(reader: &Arc<Reader>, file: &Entry) -> Self {
        let (mut chunks, mut pages, mut hollow, mut size) = (Vec::new(), Vec::new(), Vec::new(), 0);
        if let Node::File { size: length, content, holes, .. } = &file.node {
            (size, hollow) = (*length, holes.clone());
            match content {
                FileContent::Chunks(list) => chunks = list.clone(),
                FileContent::Extents(list) => pages = list.clone(),
            }
        }
        let left = size.saturating_sub(hollow.iter().map(|hole| hole.length).sum());
        let (chunks, pages) = (chunks.into_iter(), pages.into_iter());
        Self { reader: reader.clone(), chunks, pages, holes: hollow, at: 0, left }
    }

    fn place(&mut self, address: Address) -> Result<PlacedChunk, Error> {
        let length = u64::from(address.length);
        self.left = self.left.checked_sub(length).ok_or_else(does_not_add_up)?;
        let mut place = None;
        each_span(&self.holes, self.at, length, |span, _| {
            place.get_or_insert(span.start);
            self.at = span.end;
        });
        Ok(PlacedChunk { address, at: place.unwrap_or(self.at) })
    }

    fn extents(&self, page: &Address) -> Result<Vec<Address>, Error> {
        let object = || format!("extent page in pack {}, segment {}", page.pack, page.segment);
        decode_extents(&self.reader.chunk(page)?).map_err(|error| Error::content(object(), error))
    }

    fn end(&mut self) {
        (self.chunks, self.pages, self.left) = (Vec::new().into_iter(), Vec::new().into_iter(), 0);
    }
}

impl Iterator for Layout {
    type Item = Result<PlacedChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = loop {
            match self.chunks.next() {
                Some(address) if address.length == 0 => {}
                Some(address) => break self.place(address),
                None => match self.pages.next() {
                    Some(page) => match self.extents(&page) {
                        Ok(chunks) => self.chunks = chunks.into_iter(),
                        Err(error) => break Err(error),
                    },
                    None if self.left > 0 => break Err(does_not_add_up()),
                    None => return None,
                },
            }
        };
        if step.is_err() {
            self.end();
        }
        Some(step)
    }
}

fn does_not_add_up() -> Error {
    Error::damaged("its list of chunks", Damage::Nonsense("they do not add up to the file's size"))
}

/// Calls `with` for each piece of `length` bytes of data that start at `at`: the range in the file, and where in the
/// data that piece starts. Nothing lies in a hole.
pub(super) fn each_span(holes: &[Hole], at: u64, length: u64, mut with: impl FnMut(Range<u64>, u64)) {
    let (mut at, mut done) = (at, 0);
    let mut next = holes.partition_point(|hole| hole.offset + hole.length <= at);
    while done < length {
        let until = match holes.get(next) {
            Some(hole) if hole.offset <= at => {
                at = hole.offset + hole.length;
                next += 1;
                continue;
            }
            Some(hole) => hole.offset - at,
            None => u64::MAX,
        };
        let step = until.min(length - done);
        with(at..at.saturating_add(step), done);
        at = at.saturating_add(step);
        done += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(holes: &[(u64, u64)], at: u64, length: u64) -> Vec<(u64, u64, u64)> {
        let holes: Vec<Hole> = holes.iter().map(|&(offset, length)| Hole { offset, length }).collect();
        let mut out = Vec::new();
        each_span(&holes, at, length, |span, from| out.push((span.start, span.end, from)));
        out
    }

    #[test]
    fn data_goes_around_holes() {
        assert_eq!(spans(&[], 7, 5), [(7, 12, 0)]);
        assert_eq!(spans(&[(0, 10)], 0, 5), [(10, 15, 0)]);
        assert_eq!(spans(&[(3, 10), (15, 1)], 0, 6), [(0, 3, 0), (13, 15, 3), (16, 17, 5)]);
        assert_eq!(spans(&[(3, 10)], 13, 4), [(13, 17, 0)]);
        assert_eq!(spans(&[(3, 10)], 3, 4), [(13, 17, 0)]);
        assert_eq!(spans(&[(3, 10)], 0, 0), []);
    }
}
