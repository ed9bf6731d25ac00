//! Segments: raw bytes compressed, sealed and proved to come back before anyone may store them.
//!
//! ```text
//! opened segment: method (u8: 0 stored, 1 zstd, 2 thinned)  raw length (u32)  bytes
//! thinned bytes:  count of holes, each: distance from the end of the one before (varint)  length (varint)
//!                 zstd frame (sized) of what is between the holes
//! ```
//! The raw length bounds what a reader allocates before it decompresses. A thinned segment has lost chunks that nobody
//! needs; the others are where they were, and who asks for bytes in a hole gets none.

use std::ops::Range;

use bytes::Bytes;
use vault::wire::{self, Write};
use zstd::zstd_safe::{CCtx, CParameter, DCtx};

use crate::envelope::{DataKey, TAG_LENGTH};
use crate::error::ContentError;

/// A raw segment is never longer than this, in bytes.
pub const RAW_SEGMENT_MAX: usize = 8 << 20;

const PREFIX: usize = 5;
const STORED: u8 = 0;
const ZSTD: u8 = 1;
const THINNED: u8 = 2;

/// What a user chose for compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compression {
    /// Store everything as it is.
    Off,
    /// As little time as possible.
    Fast,
    /// The best use of two cores beside a disk or a network.
    #[default]
    Default,
    /// As few bytes as possible within reason.
    Max,
}

/// What a segment is made of; they compress differently for the same effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// One large chunk.
    Coarse,
    /// A run of small chunks: small files, ends of files, directory listings.
    Fine,
}

/// How zstd is set: a level, and whether its tables are kept small enough for the processor's nearest caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Effort {
    level: i32,
    small_tables: bool,
}

impl Compression {
    /// How a segment of this grain is compressed; `None` stores it. Measured in `docs/performance.md`.
    fn effort(self, grain: Grain) -> Option<Effort> {
        let plain = |level| Some(Effort { level, small_tables: false });
        match (self, grain) {
            (Self::Off, _) => None,
            (Self::Fast, _) => plain(1),
            (Self::Default, Grain::Coarse) => plain(2),
            (Self::Default, Grain::Fine) => Some(Effort { level: 3, small_tables: true }),
            (Self::Max, Grain::Coarse) => plain(9),
            (Self::Max, Grain::Fine) => plain(12),
        }
    }
}

/// Compresses, seals and proves segments; one for each thread.
pub struct Sealer {
    compressor: CCtx<'static>,
    opener: Opener,
    compression: Compression,
    configured: Option<Effort>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({:?})", self.compression)
    }
}

impl Sealer {
    /// Makes a sealer for this choice of compression.
    pub fn new(compression: Compression) -> Self {
        Self {
            compressor: CCtx::create(),
            opener: Opener::new(),
            compression,
            configured: None,
            scratch: Vec::new(),
        }
    }

    /// Seals `raw` as part `number` under `key`, then opens, decompresses and compares it: what is returned is known
    /// to come back.
    pub fn seal(
        &mut self,
        raw: &[u8],
        grain: Grain,
        key: &DataKey,
        number: u32,
    ) -> Result<Bytes, ContentError> {
        if raw.len() > RAW_SEGMENT_MAX {
            return Err(ContentError::Segment { action: "taken: it is too long", length: raw.len() });
        }
        let mut sealed = self.compress(raw, grain)?;
        key.seal(number, &mut sealed)?;
        let came_back = self.opener.open(&sealed, key, number)?;
        if came_back != raw {
            return Err(ContentError::Segment { action: "proved to come back", length: raw.len() });
        }
        sealed.shrink_to_fit();
        Ok(sealed.into())
    }

    /// Seals a segment without what is in `holes`, which are in order, not empty, and apart. What is returned is known to
    /// come back.
    pub fn seal_thinned(
        &mut self,
        raw: &[u8],
        holes: &[Range<u32>],
        key: &DataKey,
        number: u32,
    ) -> Result<Bytes, ContentError> {
        let taken = ContentError::Segment { action: "thinned", length: raw.len() };
        if raw.len() > RAW_SEGMENT_MAX {
            return Err(taken);
        }
        let mut kept = Vec::with_capacity(raw.len());
        let mut listed = Vec::new();
        listed.varint(holes.len() as u64);
        let mut end = 0;
        for hole in holes {
            let between = raw.get(end as usize..hole.start as usize);
            let (Some(between), false) = (between, hole.is_empty()) else { return Err(taken) };
            kept.extend_from_slice(between);
            listed.varint(u64::from(hole.start - end));
            listed.varint(u64::from(hole.end - hole.start));
            end = hole.end;
        }
        let Some(rest) = raw.get(end as usize..) else { return Err(taken) };
        kept.extend_from_slice(rest);
        let effort = Compression::Default.effort(Grain::Fine).ok_or(taken)?;
        self.deflate(&kept, effort)?;
        listed.sized(&self.scratch);
        let mut sealed = framed(THINNED, (raw.len() as u32).to_le_bytes(), &listed);
        key.seal(number, &mut sealed)?;
        let came_back = self.opener.open_segment(&sealed, key, number)?;
        let is_same = came_back.holes == holes && came_back.raw.len() == raw.len() && {
            let starts = std::iter::once(0).chain(holes.iter().map(|hole| hole.end));
            let ends = holes.iter().map(|hole| hole.start).chain([raw.len() as u32]);
            starts.zip(ends).all(|(start, end)| {
                let kept = raw.get(start as usize..end as usize);
                came_back.get(start, end.saturating_sub(start)) == kept
            })
        };
        if !is_same {
            return Err(ContentError::Segment { action: "proved to come back", length: raw.len() });
        }
        sealed.shrink_to_fit();
        Ok(sealed.into())
    }

    fn compress(&mut self, raw: &[u8], grain: Grain) -> Result<Vec<u8>, ContentError> {
        let length = (raw.len() as u32).to_le_bytes();
        if let Some(effort) = self.compression.effort(grain) {
            self.deflate(raw, effort)?;
            if self.scratch.len() < raw.len() {
                return Ok(framed(ZSTD, length, &self.scratch));
            }
        }
        Ok(framed(STORED, length, raw))
    }

    /// Compresses into the scratch buffer.
    fn deflate(&mut self, raw: &[u8], effort: Effort) -> Result<(), ContentError> {
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        self.scratch.clear();
        self.scratch.reserve(bound);
        self.configure(effort)
            .and_then(|()| self.compressor.compress2(&mut self.scratch, raw).map(|_| ()))
            .map_err(|_| ContentError::Segment { action: "compressed", length: raw.len() })
    }

    fn configure(&mut self, effort: Effort) -> Result<(), usize> {
        if self.configured == Some(effort) {
            return Ok(());
        }
        // Zero leaves a parameter to the level.
        let (window, hash, chain, shortest) =
            if effort.small_tables { (20, 15, 14, 5) } else { (0, 0, 0, 0) };
        for parameter in [
            CParameter::CompressionLevel(effort.level),
            CParameter::WindowLog(window),
            CParameter::HashLog(hash),
            CParameter::ChainLog(chain),
            CParameter::MinMatch(shortest),
            CParameter::ChecksumFlag(false),
            CParameter::ContentSizeFlag(false),
        ] {
            self.compressor.set_parameter(parameter)?;
        }
        self.configured = Some(effort);
        Ok(())
    }
}

fn framed(method: u8, length: [u8; 4], bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PREFIX + bytes.len() + TAG_LENGTH);
    out.push(method);
    out.extend_from_slice(&length);
    out.extend_from_slice(bytes);
    out
}

/// An opened segment; valid until its opener opens another.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// Its bytes; zeros where there are holes.
    pub raw: &'a [u8],
    /// Where bytes are missing, in order: what is there no more because nobody needed it.
    pub holes: &'a [Range<u32>],
}

impl<'a> Opened<'a> {
    /// The bytes at `offset`; `None` when they are not all there.
    pub fn get(&self, offset: u32, length: u32) -> Option<&'a [u8]> {
        let end = offset.checked_add(length)?;
        if touches(self.holes, offset..end) {
            return None;
        }
        self.raw.get(offset as usize..end as usize)
    }
}

/// Whether a range has bytes in one of these holes, which are in order.
pub fn touches(holes: &[Range<u32>], range: Range<u32>) -> bool {
    let first = holes.partition_point(|hole| hole.end <= range.start);
    holes.get(first).is_some_and(|hole| hole.start < range.end)
}

/// Opens and decompresses segments; one for each thread.
pub struct Opener {
    decompressor: DCtx<'static>,
    opened: Vec<u8>,
    raw: Vec<u8>,
    kept: Vec<u8>,
    holes: Vec<Range<u32>>,
}

impl Default for Opener {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

impl Opener {
    /// Makes an opener.
    pub fn new() -> Self {
        let (opened, raw, kept, holes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { decompressor: DCtx::create(), opened, raw, kept, holes }
    }

    /// The raw bytes of a sealed part that is never thinned: a directory, a part of a body. Valid until the next call.
    pub fn open(&mut self, sealed: &[u8], key: &DataKey, number: u32) -> Result<&[u8], ContentError> {
        let opened = self.open_segment(sealed, key, number)?;
        if opened.holes.is_empty() { Ok(opened.raw) } else { Err(ContentError::Sealed) }
    }

    /// A sealed segment; valid until the next call.
    pub fn open_segment(
        &mut self,
        sealed: &[u8],
        key: &DataKey,
        number: u32,
    ) -> Result<Opened<'_>, ContentError> {
        self.holes.clear();
        key.open_into(number, sealed, &mut self.opened)?;
        let (prefix, bytes) = self.opened.split_at_checked(PREFIX).ok_or(ContentError::Sealed)?;
        let [method, length @ ..] = prefix else { return Err(ContentError::Sealed) };
        let length: [u8; 4] = length.try_into().map_err(|_| ContentError::Sealed)?;
        let length = u32::from_le_bytes(length) as usize;
        let fail = || ContentError::Segment { action: "decompressed", length };
        if length > RAW_SEGMENT_MAX {
            return Err(fail());
        }
        match *method {
            STORED if bytes.len() == length => Ok(Opened { raw: bytes, holes: &[] }),
            ZSTD => {
                self.raw.clear();
                self.raw.reserve(length);
                self.decompressor.decompress(&mut self.raw, bytes).map_err(|_| fail())?;
                if self.raw.len() == length { Ok(Opened { raw: &self.raw, holes: &[] }) } else { Err(fail()) }
            }
            THINNED => {
                let frame = read_holes(bytes, length as u32, &mut self.holes).ok_or_else(fail)?;
                let missing: usize = self.holes.iter().map(|hole| (hole.end - hole.start) as usize).sum();
                let kept = length.checked_sub(missing).ok_or_else(fail)?;
                self.kept.clear();
                self.kept.reserve(kept);
                self.decompressor.decompress(&mut self.kept, frame).map_err(|_| fail())?;
                if self.kept.len() != kept {
                    return Err(fail());
                }
                self.raw.clear();
                self.raw.reserve(length);
                let mut rest = self.kept.as_slice();
                for hole in &self.holes {
                    let until = hole.start as usize - self.raw.len();
                    let (between, after) = rest.split_at_checked(until).ok_or_else(fail)?;
                    self.raw.extend_from_slice(between);
                    self.raw.resize(hole.end as usize, 0);
                    rest = after;
                }
                self.raw.extend_from_slice(rest);
                Ok(Opened { raw: &self.raw, holes: &self.holes })
            }
            _ => Err(fail()),
        }
    }
}

/// Reads the list of holes of a thinned segment; the compressed frame behind it. `None` when it is malformed.
fn read_holes<'a>(bytes: &'a [u8], length: u32, holes: &mut Vec<Range<u32>>) -> Option<&'a [u8]> {
    let mut reader = wire::Reader::new(bytes);
    let count = reader.count("holes", 2).ok()?;
    let mut end = 0u32;
    for place in 0..count {
        let distance = reader.varint_u32("distance of a hole").ok()?;
        let size = reader.varint_u32("length of a hole").ok()?;
        let start = end.checked_add(distance)?;
        end = start.checked_add(size)?;
        if size == 0 || end > length || (distance == 0 && place > 0) {
            return None;
        }
        holes.push(start..end);
    }
    let frame = reader.sized("zstd frame", bytes.len()).ok()?;
    reader.finish("thinned segment").ok()?;
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Place, Purpose};
    use crate::keyring::Keyring;
    use proptest::prelude::*;
    use vault::VaultId;

    fn a_key() -> DataKey {
        let keyring = Keyring::generate(VaultId::default());
        let place = Place { vault: VaultId::default(), id: [1; 16], purpose: Purpose::Data };
        DataKey::generate(keyring.current(), place).unwrap().0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_segment_comes_back_and_no_flip_passes(
            pieces in proptest::collection::vec((any::<u8>(), 0usize..5000), 0..8),
            at: prop::sample::Index,
        ) {
            let raw: Vec<u8> = pieces.iter().flat_map(|(byte, times)| vec![*byte; *times]).collect();
            let key = a_key();
            for compression in [Compression::Off, Compression::Fast, Compression::Default, Compression::Max] {
                let sealed = Sealer::new(compression).seal(&raw, Grain::Fine, &key, 5).unwrap();
                let mut opener = Opener::new();
                prop_assert_eq!(opener.open(&sealed, &key, 5).unwrap(), &raw[..]);
                let mut broken = sealed.to_vec();
                let at = at.index(broken.len());
                broken[at] ^= 0x10;
                prop_assert!(opener.open(&broken, &key, 5).is_err());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_thinned_segment_has_what_was_kept_and_nothing_in_its_holes(
            lengths in proptest::collection::vec((1usize..3000, any::<bool>()), 1..12),
        ) {
            let mut raw = Vec::new();
            let mut holes: Vec<Range<u32>> = Vec::new();
            let mut kept = Vec::new();
            for (place, (length, is_kept)) in lengths.iter().enumerate() {
                let range = raw.len() as u32..(raw.len() + length) as u32;
                raw.resize(range.end as usize, place as u8 + 1);
                match (is_kept, holes.last_mut()) {
                    (true, _) => kept.push(range),
                    (false, Some(last)) if last.end == range.start => last.end = range.end,
                    (false, _) => holes.push(range),
                }
            }
            let key = a_key();
            let sealed = Sealer::new(Compression::Default).seal_thinned(&raw, &holes, &key, 5).unwrap();
            let mut opener = Opener::new();
            let opened = opener.open_segment(&sealed, &key, 5).unwrap();
            for range in kept {
                let length = range.end - range.start;
                let expected = &raw[range.start as usize..range.end as usize];
                prop_assert_eq!(opened.get(range.start, length), Some(expected));
            }
            for hole in &holes {
                prop_assert_eq!(opened.get(hole.start, 1), None);
                prop_assert_eq!(opened.get(hole.end - 1, 1), None);
            }
            prop_assert_eq!(opened.get(0, raw.len() as u32).is_some(), holes.is_empty());
            // Who expects a part that is whole does not take one that is not.
            prop_assert_eq!(opener.open(&sealed, &key, 5).is_ok(), holes.is_empty());
        }

        #[test]
        fn any_list_of_holes_is_read_or_refused(bytes: Vec<u8>, length: u32) {
            let mut holes = Vec::new();
            if read_holes(&bytes, length, &mut holes).is_some() {
                prop_assert!(holes.iter().all(|hole| hole.start < hole.end && hole.end <= length));
                prop_assert!(holes.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }

    #[test]
    fn noise_is_stored_and_not_swollen() {
        let mut noise = vec![0; 100_000];
        crate::random::fill(&mut noise);
        let sealed = Sealer::new(Compression::Default).seal(&noise, Grain::Coarse, &a_key(), 0).unwrap();
        assert_eq!(sealed.len(), noise.len() + PREFIX + TAG_LENGTH);
    }
}
