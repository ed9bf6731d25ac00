//! Damage records: packs that were found damaged or missing.
//!
//! A check writes one; every later backup reads them all and reuses nothing in those packs, so that what they held is
//! stored again from the living files. A record only ever causes work: it is never a reason to delete anything.
//!
//! ```text
//! header (8)  vault id (16)  count, then for each pack: pack id (16)  object hash (32)
//! ```

use bytes::Bytes;
use store::{Kind, Store};

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, PackId, VaultId};
use crate::wire::{Reader, Write};

/// A record larger than this is refused.
pub const RECORD_MAX: u64 = 64 << 20;

/// A pack that cannot be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DamagedPack {
    /// The pack that addresses name.
    pub pack: PackId,
    /// The object that should hold it.
    pub object: ObjectHash,
}

/// The stored form; its name is the hash of the result.
pub fn encode(vault: VaultId, packs: &[DamagedPack]) -> Bytes {
    let mut out = ObjectKind::DamageRecord.header().to_vec();
    out.extend_from_slice(vault.bytes());
    out.varint(packs.len() as u64);
    for damaged in packs {
        out.extend_from_slice(damaged.pack.bytes());
        out.extend_from_slice(damaged.object.bytes());
    }
    out.into()
}

/// Reads the stored form.
pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Vec<DamagedPack>, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::DamageRecord.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    let count = reader.count("damaged packs", 48)?;
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let pack = PackId::read(&mut reader, "pack id")?;
        packs.push(DamagedPack { pack, object: ObjectHash::read(&mut reader, "object hash")? });
    }
    reader.finish("damage record")?;
    Ok(packs)
}

/// Every pack that some record names. A record that cannot be read is passed over: the next check writes it anew.
pub async fn read_all(store: &dyn Store, vault: VaultId) -> Result<Vec<DamagedPack>, VaultError> {
    let mut packs = Vec::new();
    for object in store.list(name::DAMAGE).await? {
        match store.get(&object.name, RECORD_MAX).await {
            Ok(bytes) => packs.extend(decode(&bytes, vault).unwrap_or_default()),
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::TooLarge | Kind::Truncated) => {}
            Err(error) => return Err(error.into()),
        }
    }
    packs.sort();
    packs.dedup();
    Ok(packs)
}

/// Records those of `found` that no record names yet; how many that were.
pub async fn record(store: &dyn Store, vault: VaultId, found: &[DamagedPack]) -> Result<usize, VaultError> {
    let known = read_all(store, vault).await?;
    let mut new: Vec<_> = found.iter().filter(|pack| known.binary_search(pack).is_err()).copied().collect();
    new.sort();
    new.dedup();
    if !new.is_empty() {
        let bytes = encode(vault, &new);
        let name = format!("{}{}", name::DAMAGE, ObjectHash::of(&bytes));
        store.put(&name, vec![bytes]).await?;
    }
    Ok(new.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn what_is_recorded_is_read_once() {
        let store = store::MemoryStore::new();
        let vault = VaultId::new([1; 16]);
        let damaged = |n: u8| DamagedPack { pack: PackId::new([n; 16]), object: ObjectHash::of(&[n]) };
        assert_eq!(record(&store, vault, &[damaged(2), damaged(1), damaged(2)]).await.unwrap(), 2);
        assert_eq!(record(&store, vault, &[damaged(1), damaged(3)]).await.unwrap(), 1);
        assert_eq!(record(&store, vault, &[damaged(1)]).await.unwrap(), 0);
        assert_eq!(read_all(&store, vault).await.unwrap(), [damaged(1), damaged(2), damaged(3)]);
        assert!(read_all(&store, VaultId::default()).await.unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::DamageRecord.header().to_vec();
            near.extend_from_slice(&[0; 16]);
            near.extend_from_slice(&bytes);
            let _ = decode(&near.into(), VaultId::default());
        }
    }
}
