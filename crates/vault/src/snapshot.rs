//! Snapshots: a public envelope, a sealed body and a signature. Writing one is the commit of a backup.
//!
//! ```text
//! header (8)  features (u64)  vault id (16)  system id (16)  job id (16)
//! sequence (varint)  time: seconds (signed varint), nanoseconds (varint)  previous snapshot's hash (32)
//! files (varint)  bytes (varint)
//! needs: count, then for each pack: pack id (16)  object hash (32)  live segments (see `segments`)
//! key epoch (u32)  key envelope (sized)  sealed body parts: count, each sized
//! signer's public key (32)  signature (64) over everything before it
//! ```
//! The envelope tells a custodian all it needs for liveness, order and completeness; `previous` chains the snapshots
//! of one system, so that one silently removed or rolled back is noticed.

use bytes::Bytes;

use crate::error::Damage;
use crate::header::ObjectKind;
use crate::name::{ObjectHash, PackId, SystemId, VaultId};
use crate::segments::SegmentSet;
use crate::signing::{SIGNATURE_LENGTH, VerifyingKey};
use crate::wire::{Reader, Write};

/// A snapshot object larger than this is refused.
pub const SNAPSHOT_MAX: u64 = 1 << 30;
/// The context string under which snapshots are signed.
pub const SIGNING_CONTEXT: &str = "strongroom 1 snapshot";

const ENVELOPE_MAX: usize = 64 << 10;
const BODY_PART_MAX: usize = 9 << 20;

/// Which segments of one pack a snapshot needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackNeed {
    /// The pack that addresses name.
    pub pack: PackId,
    /// The object that held it when the snapshot was written.
    pub object: ObjectHash,
    /// The segments.
    pub segments: SegmentSet,
}

/// The public part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The vault.
    pub vault: VaultId,
    /// The machine that wrote it.
    pub system: SystemId,
    /// The job it is a run of; zero for a backup made by hand.
    pub job: [u8; 16],
    /// One more than the sequence of `previous`; 0 for the first snapshot of a system.
    pub sequence: u64,
    /// When it was committed by the writer's clock: seconds since 1970 (UTC) and nanoseconds.
    pub time: (i64, u32),
    /// The snapshot of this system before this one; zero for the first.
    pub previous: ObjectHash,
    /// How many files (everything but directories) it holds.
    pub files: u64,
    /// The sum of their sizes in bytes.
    pub bytes: u64,
    /// Every pack it needs, sorted by pack id.
    pub needs: Vec<PackNeed>,
}

/// A decoded snapshot object whose signature holds.
#[derive(Debug, Clone)]
pub struct SnapshotObject {
    /// The public part.
    pub envelope: Envelope,
    /// The key epoch of the body.
    pub epoch: u32,
    /// The body's data key, sealed; opaque here.
    pub key_envelope: Bytes,
    /// The sealed body; opaque here.
    pub body: Vec<Bytes>,
    /// Who signed.
    pub signer: VerifyingKey,
}

/// Everything of a snapshot up to the signature: what is signed.
pub fn encode_unsigned(
    envelope: &Envelope,
    epoch: u32,
    key_envelope: &[u8],
    body: &[Bytes],
    signer: &VerifyingKey,
) -> Vec<u8> {
    let mut out = ObjectKind::Snapshot.header().to_vec();
    out.extend_from_slice(&0u64.to_le_bytes());
    out.extend_from_slice(envelope.vault.bytes());
    out.extend_from_slice(envelope.system.bytes());
    out.extend_from_slice(&envelope.job);
    out.varint(envelope.sequence);
    out.signed(envelope.time.0);
    out.varint(u64::from(envelope.time.1));
    out.extend_from_slice(envelope.previous.bytes());
    out.varint(envelope.files);
    out.varint(envelope.bytes);
    out.varint(envelope.needs.len() as u64);
    for need in &envelope.needs {
        out.extend_from_slice(need.pack.bytes());
        out.extend_from_slice(need.object.bytes());
        need.segments.encode(&mut out);
    }
    out.extend_from_slice(&epoch.to_le_bytes());
    out.sized(key_envelope);
    out.varint(body.len() as u64);
    for part in body {
        out.sized(part);
    }
    out.extend_from_slice(signer.bytes());
    out
}

/// Reads a snapshot object: its name, its layout, its vault and its signature must hold. Whether the signer may sign
/// for this vault is for the caller, who knows the vault's descriptor.
pub fn decode(bytes: &Bytes, name: ObjectHash, vault: VaultId) -> Result<SnapshotObject, Damage> {
    if ObjectHash::of(bytes) != name {
        return Err(Damage::HashMismatch);
    }
    let object = decode_unverified(bytes)?;
    if object.envelope.vault != vault {
        return Err(Damage::ForeignVault);
    }
    let split = bytes.len().saturating_sub(SIGNATURE_LENGTH);
    let (signed, signature) = bytes.split_at_checked(split).ok_or(Damage::Signature)?;
    let signature = signature.try_into().map_err(|_| Damage::Signature)?;
    object.signer.verify(SIGNING_CONTEXT, signed, signature)?;
    Ok(object)
}

/// Reads the layout alone, trusting nothing in it.
pub fn decode_unverified(bytes: &Bytes) -> Result<SnapshotObject, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Snapshot.expect(&mut reader)?;
    let features = reader.u64("features")?;
    if features != 0 {
        return Err(Damage::UnknownFeatures { bits: features });
    }
    let vault = VaultId::read(&mut reader, "vault id")?;
    let system = SystemId::read(&mut reader, "system id")?;
    let job = reader.array("job id")?;
    let sequence = reader.varint("sequence")?;
    let seconds = reader.signed("time")?;
    let nanoseconds = reader.varint_max("nanoseconds", 999_999_999)? as u32;
    let previous = ObjectHash::read(&mut reader, "previous snapshot")?;
    let files = reader.varint("files")?;
    let total = reader.varint("bytes")?;
    let count = reader.count("needs", 49)?;
    let mut needs: Vec<PackNeed> = Vec::with_capacity(count);
    for _ in 0..count {
        let need = PackNeed {
            pack: PackId::read(&mut reader, "needed pack id")?,
            object: ObjectHash::read(&mut reader, "needed object")?,
            segments: SegmentSet::decode(&mut reader)?,
        };
        if needs.last().is_some_and(|last| last.pack >= need.pack) {
            return Err(reader.malformed("needs", "the packs are not in ascending order").into());
        }
        needs.push(need);
    }
    let epoch = reader.u32("key epoch")?;
    let key_envelope = bytes.slice_ref(reader.sized("key envelope", ENVELOPE_MAX)?);
    let parts = reader.count("body parts", 1)?;
    let mut body = Vec::new();
    for _ in 0..parts {
        body.push(bytes.slice_ref(reader.sized("body part", BODY_PART_MAX)?));
    }
    let signer = VerifyingKey::new(reader.array("signer")?);
    reader.take("signature", SIGNATURE_LENGTH)?;
    reader.finish("snapshot")?;
    let envelope = Envelope {
        vault,
        system,
        job,
        sequence,
        time: (seconds, nanoseconds),
        previous,
        files,
        bytes: total,
        needs,
    };
    Ok(SnapshotObject { envelope, epoch, key_envelope, body, signer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    fn a_snapshot() -> Bytes {
        let key = SigningKey::from_bytes(&[5; 32]);
        let signer = VerifyingKey::new(key.verifying_key().to_bytes());
        let envelope = Envelope {
            vault: VaultId::new([1; 16]),
            system: SystemId::new([2; 16]),
            job: [0; 16],
            sequence: 3,
            time: (-5, 7),
            previous: ObjectHash::of(b"before"),
            files: 10,
            bytes: 1 << 40,
            needs: vec![PackNeed {
                pack: PackId::new([4; 16]),
                object: ObjectHash::of(b"pack"),
                segments: [1, 2, 3, 9].into_iter().collect(),
            }],
        };
        let mut out = encode_unsigned(&envelope, 0, b"envelope", &[Bytes::from_static(b"body")], &signer);
        let signature = key.sign(&signing::message(SIGNING_CONTEXT, &out));
        out.extend_from_slice(&signature.to_bytes());
        out.into()
    }

    #[test]
    fn a_snapshot_comes_back() {
        let bytes = a_snapshot();
        let object = decode(&bytes, ObjectHash::of(&bytes), VaultId::new([1; 16])).unwrap();
        assert_eq!(object.envelope.time, (-5, 7));
        assert_eq!(object.envelope.needs[0].segments.len(), 4);
        assert_eq!(object.body, [Bytes::from_static(b"body")]);
    }

    #[test]
    fn a_change_that_keeps_name_and_bytes_in_step_breaks_the_signature() {
        let mut bytes = a_snapshot().to_vec();
        bytes[70] ^= 1;
        let bytes = Bytes::from(bytes);
        let outcome = decode(&bytes, ObjectHash::of(&bytes), VaultId::new([1; 16]));
        assert!(outcome.is_err(), "{outcome:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>, at: prop::sample::Index, value: u8) {
            let _ = decode_unverified(&bytes.into());
            let mut near = a_snapshot().to_vec();
            let at = at.index(near.len());
            near[at] = value;
            let _ = decode_unverified(&near.into());
        }
    }
}
