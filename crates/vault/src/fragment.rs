//! Index fragments: the trailers of many packs in one immutable object.
//!
//! A fragment holds, for each pack, the object's hash and size and a copy of its trailer. The chunk ids in it stay
//! sealed as they are in the pack, so a custodian can rebuild or merge fragments from packs alone, and an agent
//! learns a vault's chunks from a few objects and not from one read per pack.
//!
//! ```text
//! header (8)  vault id (16)  count, then for each pack: hash (32)  object size (varint)  trailer (sized)
//! ```

use std::collections::HashSet;

use bytes::Bytes;
use store::Store;

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{ObjectHash, VaultId};
use crate::pack::{FinishedPack, TRAILER_MAX, Trailer};
use crate::wire::{Reader, Write};

/// A fragment larger than this is refused.
pub const FRAGMENT_MAX: u64 = 1 << 30;

/// One pack as a fragment knows it.
#[derive(Debug, Clone)]
pub struct PackRecord {
    /// The pack's hash and name.
    pub hash: ObjectHash,
    /// The size of the whole object in bytes.
    pub size: u64,
    /// Its trailer as stored.
    pub trailer: Bytes,
}

impl From<&FinishedPack> for PackRecord {
    fn from(pack: &FinishedPack) -> Self {
        Self { hash: pack.hash, size: pack.size, trailer: pack.trailer.clone() }
    }
}

/// Builds the object for these packs; its name is the hash of the result.
pub fn encode(vault: VaultId, packs: &[PackRecord]) -> Bytes {
    let mut out = Vec::with_capacity(64 + packs.iter().map(|pack| pack.trailer.len() + 48).sum::<usize>());
    out.extend_from_slice(&ObjectKind::Fragment.header());
    out.extend_from_slice(vault.bytes());
    out.varint(packs.len() as u64);
    for pack in packs {
        out.extend_from_slice(pack.hash.bytes());
        out.varint(pack.size);
        out.sized(&pack.trailer);
    }
    out.into()
}

/// Stores a fragment for these packs under a name that is not in `condemned`, which a late delete could still hit: the
/// same packs in another order have another name, and a pack may also stand in a fragment twice. Its hash.
pub async fn write(
    store: &dyn Store,
    vault: VaultId,
    mut records: Vec<PackRecord>,
    condemned: &HashSet<ObjectHash>,
) -> Result<ObjectHash, VaultError> {
    let mut bytes = encode(vault, &records);
    while condemned.contains(&ObjectHash::of(&bytes)) {
        records.rotate_left(1);
        if let Some(first) = records.first().cloned() {
            records.push(first);
        }
        bytes = encode(vault, &records);
    }
    let hash = ObjectHash::of(&bytes);
    store.put(&hash.index_name(), vec![bytes]).await?;
    Ok(hash)
}

/// Reads a fragment, checking its name and that each trailer adds up to its pack's size.
pub fn decode(bytes: &Bytes, name: ObjectHash, vault: VaultId) -> Result<Vec<(PackRecord, Trailer)>, Damage> {
    if ObjectHash::of(bytes) != name {
        return Err(Damage::HashMismatch);
    }
    decode_unnamed(bytes, vault)
}

/// Reads the layout alone.
pub fn decode_unnamed(bytes: &Bytes, vault: VaultId) -> Result<Vec<(PackRecord, Trailer)>, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Fragment.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    let count = reader.count("packs", 34)?;
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = ObjectHash::read(&mut reader, "pack hash")?;
        let size = reader.varint("pack size")?;
        let encoded = bytes.slice_ref(reader.sized("trailer", TRAILER_MAX)?);
        let trailer = Trailer::decode(&encoded)?;
        if trailer.vault != vault {
            return Err(Damage::ForeignVault);
        }
        if trailer.object_size(encoded.len()) != size {
            return Err(Damage::Nonsense("a pack's table does not add up to its size"));
        }
        packs.push((PackRecord { hash, size, trailer: encoded }, trailer));
    }
    reader.finish("fragment")?;
    Ok(packs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::PackId;
    use crate::pack::{PackAssembler, PackKind};
    use proptest::prelude::*;

    #[test]
    fn a_fragment_comes_back() {
        let vault = VaultId::new([9; 16]);
        let packs: Vec<PackRecord> = (0..3)
            .map(|i| {
                let mut pack = PackAssembler::new(PackKind::Tree, vault, PackId::new([i; 16]));
                pack.push(vec![i; 40].into());
                PackRecord::from(&pack.finish(0, Bytes::new(), Bytes::new()))
            })
            .collect();
        let bytes = encode(vault, &packs);
        let again = decode(&bytes, ObjectHash::of(&bytes), vault).unwrap();
        assert_eq!(again.len(), 3);
        assert_eq!(again[2].1.pack, PackId::new([2; 16]));
        assert_eq!(decode(&bytes, ObjectHash::default(), vault).unwrap_err(), Damage::HashMismatch);
        assert_eq!(
            decode(&bytes, ObjectHash::of(&bytes), VaultId::default()).unwrap_err(),
            Damage::ForeignVault
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut with_header = ObjectKind::Fragment.header().to_vec();
            with_header.extend_from_slice(&bytes);
            let _ = decode_unnamed(&with_header.into(), VaultId::default());
        }
    }
}
