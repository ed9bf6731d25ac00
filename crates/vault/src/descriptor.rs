//! The vault's public descriptor: what anybody must know before reading anything else.
//!
//! ```text
//! header (8)  features (u64)  vault id (16)  created: seconds (signed varint)
//! chunk sizes of data: min, average, max (varints, bytes)
//! settings: count, each: tag (varint), value (sized)      unknown tags are kept and ignored
//! owner's public signing key (32)  signature (64) over everything before it
//! ```

use bytes::Bytes;

use crate::error::Damage;
use crate::header::ObjectKind;
use crate::name::VaultId;
use crate::signing::{SIGNATURE_LENGTH, VerifyingKey};
use crate::wire::{Reader, Write};

/// A descriptor larger than this is refused.
pub const DESCRIPTOR_MAX: u64 = 1 << 20;
/// The context string under which descriptors are signed.
pub const SIGNING_CONTEXT: &str = "strongroom 1 descriptor";
/// The largest chunk any vault may ask for, in bytes.
pub const CHUNK_SIZE_MAX: u32 = 8 << 20;

/// Minimum, average and maximum length of a chunk in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    /// No chunk but a file's last is shorter.
    pub min: u32,
    /// What the cut rule aims at.
    pub average: u32,
    /// No chunk is longer.
    pub max: u32,
}

impl ChunkSizes {
    /// Whether the three make sense together.
    pub fn are_valid(&self) -> bool {
        self.min >= 4096 && self.min < self.average && self.average < self.max && self.max <= CHUNK_SIZE_MAX
    }
}

/// The public facts of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its identity.
    pub vault: VaultId,
    /// When it was made, in seconds since 1970 (UTC).
    pub created: i64,
    /// How data is cut.
    pub chunk_sizes: ChunkSizes,
    /// Further settings by tag.
    pub settings: Vec<(u64, Bytes)>,
    /// Who may sign snapshots and this descriptor.
    pub owner: VerifyingKey,
}

impl Descriptor {
    /// Everything up to the signature: what is signed.
    pub fn encode_unsigned(&self) -> Vec<u8> {
        let mut out = ObjectKind::Descriptor.header().to_vec();
        out.extend_from_slice(&0u64.to_le_bytes());
        out.extend_from_slice(self.vault.bytes());
        out.signed(self.created);
        out.varint(u64::from(self.chunk_sizes.min));
        out.varint(u64::from(self.chunk_sizes.average));
        out.varint(u64::from(self.chunk_sizes.max));
        out.varint(self.settings.len() as u64);
        for (tag, value) in &self.settings {
            out.varint(*tag);
            out.sized(value);
        }
        out.extend_from_slice(self.owner.bytes());
        out
    }

    /// Reads a descriptor and checks that its own signature holds. That the signer is the owner one expects shows
    /// when a key slot is opened: the keys in it must give the same public key.
    pub fn decode(bytes: &Bytes) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::Descriptor.expect(&mut reader)?;
        let features = reader.u64("features")?;
        if features != 0 {
            return Err(Damage::UnknownFeatures { bits: features });
        }
        let vault = VaultId::read(&mut reader, "vault id")?;
        let created = reader.signed("creation time")?;
        let chunk_sizes = ChunkSizes {
            min: reader.varint_u32("minimum chunk size")?,
            average: reader.varint_u32("average chunk size")?,
            max: reader.varint_u32("maximum chunk size")?,
        };
        if !chunk_sizes.are_valid() {
            return Err(reader.malformed("chunk sizes", "they make no sense together").into());
        }
        let count = reader.count("settings", 2)?;
        let mut settings = Vec::with_capacity(count);
        for _ in 0..count {
            let tag = reader.varint("setting")?;
            let value = bytes.slice_ref(reader.sized("setting's value", DESCRIPTOR_MAX as usize)?);
            settings.push((tag, value));
        }
        let owner = VerifyingKey::new(reader.array("owner")?);
        let signed = bytes.get(..reader.position()).unwrap_or_default();
        let signature: [u8; SIGNATURE_LENGTH] = reader.array("signature")?;
        reader.finish("descriptor")?;
        owner.verify(SIGNING_CONTEXT, signed, &signature)?;
        Ok(Self { vault, created, chunk_sizes, settings, owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    fn a_descriptor() -> (Descriptor, Vec<u8>) {
        let key = SigningKey::from_bytes(&[5; 32]);
        let descriptor = Descriptor {
            vault: VaultId::new([3; 16]),
            created: 1_700_000_000,
            chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
            settings: vec![(77, Bytes::from_static(b"later"))],
            owner: VerifyingKey::new(key.verifying_key().to_bytes()),
        };
        let mut bytes = descriptor.encode_unsigned();
        bytes.extend_from_slice(&key.sign(&signing::message(SIGNING_CONTEXT, &bytes)).to_bytes());
        (descriptor, bytes)
    }

    #[test]
    fn a_descriptor_comes_back_with_settings_it_does_not_know() {
        let (descriptor, bytes) = a_descriptor();
        assert_eq!(Descriptor::decode(&bytes.into()).unwrap(), descriptor);
    }

    proptest! {
        #[test]
        fn every_flip_is_found(at: prop::sample::Index, bit in 0u8..8) {
            let (_, mut bytes) = a_descriptor();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Descriptor::decode(&bytes.into()).is_err());
        }
    }
}
