//! Segments: raw bytes compressed, sealed and proved to come back before anyone may store them.
//!
//! ```text
//! opened segment: method (u8: 0 stored, 1 zstd)  raw length (u32)  bytes
//! ```
//! The raw length bounds what a reader allocates before it decompresses.

use bytes::Bytes;
use zstd::zstd_safe::{CCtx, CParameter, DCtx};

use crate::envelope::{DataKey, TAG_LENGTH};
use crate::error::ContentError;

/// A raw segment is never longer than this, in bytes.
pub const RAW_SEGMENT_MAX: usize = 8 << 20;

const PREFIX: usize = 5;
const STORED: u8 = 0;
const ZSTD: u8 = 1;

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

    fn compress(&mut self, raw: &[u8], grain: Grain) -> Result<Vec<u8>, ContentError> {
        let length = (raw.len() as u32).to_le_bytes();
        if let Some(effort) = self.compression.effort(grain) {
            let bound = zstd::zstd_safe::compress_bound(raw.len());
            self.scratch.clear();
            self.scratch.reserve(bound);
            self.configure(effort)
                .and_then(|()| self.compressor.compress2(&mut self.scratch, raw).map(|_| ()))
                .map_err(|_| ContentError::Segment { action: "compressed", length: raw.len() })?;
            if self.scratch.len() < raw.len() {
                return Ok(framed(ZSTD, length, &self.scratch));
            }
        }
        Ok(framed(STORED, length, raw))
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

/// Opens and decompresses segments; one for each thread.
pub struct Opener {
    decompressor: DCtx<'static>,
    opened: Vec<u8>,
    raw: Vec<u8>,
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
        Self { decompressor: DCtx::create(), opened: Vec::new(), raw: Vec::new() }
    }

    /// The raw bytes of a sealed segment; valid until the next call.
    pub fn open(&mut self, sealed: &[u8], key: &DataKey, number: u32) -> Result<&[u8], ContentError> {
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
            STORED if bytes.len() == length => Ok(bytes),
            ZSTD => {
                self.raw.clear();
                self.raw.reserve(length);
                self.decompressor.decompress(&mut self.raw, bytes).map_err(|_| fail())?;
                if self.raw.len() == length { Ok(&self.raw) } else { Err(fail()) }
            }
            _ => Err(fail()),
        }
    }
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

    #[test]
    fn noise_is_stored_and_not_swollen() {
        let mut noise = vec![0; 100_000];
        crate::random::fill(&mut noise);
        let sealed = Sealer::new(Compression::Default).seal(&noise, Grain::Coarse, &a_key(), 0).unwrap();
        assert_eq!(sealed.len(), noise.len() + PREFIX + TAG_LENGTH);
    }
}
