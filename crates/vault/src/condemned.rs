//! Condemnations: what the collector is about to delete.
//!
//! Collection has two phases. First the collector writes down what nothing needs; whoever begins to write after that
//! reuses nothing of it. Later, when everybody who may not have seen it has ended, what is still unneeded is deleted.
//! The record stays behind for a while after that, so that no name in it is written again while a late delete could
//! still arrive. `docs/gc.md` has the whole argument.
//!
//! ```text
//! header (8)  vault id (16)  nonce (16)
//! count, each:  what (u8: 1 pack, 2 index fragment, 3 snapshot, 4 relocation)  hash (32)
//!        or:    what (u8: 5 closed pack, 6 pack closed elsewhere)  pack id (16)  zeros (16)
//! ```
//! A pack is *closed* before the owner regroups it: what is in it is taken over from snapshots before, and no chunk in it
//! is found by the index any more. Closing is for ever, and deletes nothing. The pack id of zeros, closed elsewhere, stands
//! for all packs: copies of another vault arrive.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use bytes::Bytes;
use store::Store;

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, PackId, VaultId};
use crate::records;
use crate::wire::{Reader, Write};

/// A condemnation larger than this is refused.
pub const RECORD_MAX: u64 = 256 << 20;

/// A kind of object that can be condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A snapshot. Snapshots go before what they need.
    Snapshot,
    /// A pack.
    Pack,
    /// An index fragment.
    Fragment,
    /// A relocation.
    Relocation,
    /// No object: a pack whose chunks are found by the index no more.
    ClosedPack,
    /// The same, and it is regrouped in the vault from which it was copied, never here.
    ClosedElsewhere,
}

/// Stands for all packs: one that is closed elsewhere says that copies of another vault arrive here. What their snapshots
/// need nobody knows here, so nothing is regrouped.
pub const EVERY_PACK: PackId = PackId::new([0; 16]);

impl What {
    const ALL: [(Self, u8); 6] = [
        (Self::Pack, 1),
        (Self::Fragment, 2),
        (Self::Snapshot, 3),
        (Self::Relocation, 4),
        (Self::ClosedPack, 5),
        (Self::ClosedElsewhere, 6),
    ];

    /// Whether it closes a pack, in place of condemning an object.
    pub fn is_closing(self) -> bool {
        matches!(self, Self::ClosedPack | Self::ClosedElsewhere)
    }

    fn byte(self) -> u8 {
        Self::ALL.into_iter().find(|(what, _)| *what == self).map_or(0, |(_, byte)| byte)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, of)| *of == byte).map(|(what, _)| what)
    }

    /// The object name of one with this hash.
    pub fn object_name(self, hash: ObjectHash) -> String {
        match self {
            Self::Pack => hash.pack_name(),
            Self::Fragment => hash.index_name(),
            Self::Snapshot => hash.snapshot_name(),
            Self::Relocation => format!("{}{hash}", name::RELOCATIONS),
            Self::ClosedPack | Self::ClosedElsewhere => {
                Condemned { what: self, hash }.pack().map_or_else(String::new, |pack| format!("pack {pack}"))
            }
        }
    }
}

/// One condemned object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condemned {
    /// What it is.
    pub what: What,
    /// Its hash.
    pub hash: ObjectHash,
}

impl Condemned {
    /// The closing of a pack.
    pub fn closing(what: What, pack: PackId) -> Self {
        let mut hash = [0; 32];
        hash[..16].copy_from_slice(pack.bytes());
        Self { what, hash: ObjectHash::new(hash) }
    }

    /// The pack that it closes.
    pub fn pack(&self) -> Option<PackId> {
        let id: [u8; 16] = self.hash.bytes().get(..16)?.try_into().ok()?;
        self.what.is_closing().then_some(PackId::new(id))
    }

    /// Its object's name.
    pub fn object_name(&self) -> String {
        self.what.object_name(self.hash)
    }
}

/// The stored form; its name is the hash of the result. `nonce` is random, so that no name is written twice.
pub fn encode(vault: VaultId, nonce: [u8; 16], objects: &[Condemned]) -> Vec<u8> {
    let mut out = ObjectKind::Condemnation.header().to_vec();
    out.extend_from_slice(vault.bytes());
    out.extend_from_slice(&nonce);
    out.varint(objects.len() as u64);
    for object in objects {
        out.push(object.what.byte());
        out.extend_from_slice(object.hash.bytes());
    }
    out
}

/// Reads the stored form.
pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Vec<Condemned>, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Condemnation.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    reader.array::<16>("nonce")?;
    let count = reader.count("condemned objects", 33)?;
    let mut objects = Vec::with_capacity(count);
    for _ in 0..count {
        let what = What::from_byte(reader.u8("kind")?)
            .ok_or_else(|| reader.malformed("kind", "it is not a known kind"))?;
        objects.push(Condemned { what, hash: ObjectHash::read(&mut reader, "hash")? });
    }
    reader.finish("condemnation")?;
    Ok(objects)
}

/// One condemnation in the store.
#[derive(Debug, Clone)]
pub struct Condemnation {
    /// Its object's name.
    pub name: String,
    /// When the store received it.
    pub since: SystemTime,
    /// What it names.
    pub objects: Vec<Condemned>,
}

/// Everything that is condemned or was deleted lately.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// The condemnations, in the order of their names.
    pub condemnations: Vec<Condemnation>,
}

impl Row {
    /// Reads all condemnations. One that cannot be read is left out: nothing that it names will be deleted because of
    /// it, for deleting needs it too.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        let records =
            records::read_all(store, name::CONDEMNED, RECORD_MAX, |bytes| decode(bytes, vault)).await?;
        let readable = records.into_iter().filter_map(|record| {
            let (name, since) = (record.object.name, record.object.modified);
            record.content.ok().map(|objects| Condemnation { name, since, objects })
        });
        Ok(Self { condemnations: readable.collect() })
    }

    /// The packs that are closed, here or elsewhere, and since when.
    pub fn closed(&self, what: What) -> HashMap<PackId, SystemTime> {
        let mut closed: HashMap<PackId, SystemTime> = HashMap::new();
        for condemnation in &self.condemnations {
            for object in condemnation.objects.iter().filter(|object| object.what == what) {
                let Some(pack) = object.pack() else { continue };
                let since = closed.entry(pack).or_insert(condemnation.since);
                *since = condemnation.since.min(*since);
            }
        }
        closed
    }

    /// All condemned objects of a kind.
    pub fn of(&self, what: What) -> HashSet<ObjectHash> {
        let all = self.condemnations.iter().flat_map(|condemnation| &condemnation.objects);
        all.filter(|object| object.what == what).map(|object| object.hash).collect()
    }
}

/// Stores a condemnation; its name.
pub async fn write(
    store: &dyn Store,
    vault: VaultId,
    nonce: [u8; 16],
    objects: &[Condemned],
) -> Result<String, VaultError> {
    records::write(store, name::CONDEMNED, encode(vault, nonce, objects)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_condemnation_comes_back(objects in proptest::collection::vec((0usize..6, any::<u8>()), 0..20)) {
            let vault = VaultId::new([1; 16]);
            let objects: Vec<_> = objects
                .into_iter()
                .map(|(what, hash)| Condemned { what: What::ALL[what].0, hash: ObjectHash::of(&[hash]) })
                .collect();
            prop_assert_eq!(decode(&encode(vault, [3; 16], &objects).into(), vault).unwrap(), objects);
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Condemnation.header().to_vec();
            near.extend_from_slice(&[0; 32]);
            near.extend_from_slice(&bytes);
            let _ = decode(&near.into(), VaultId::default());
        }
    }
}
