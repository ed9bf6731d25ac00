//! What leads to packs, what sentences them, and what remembers damage.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use store::Kind;

use super::{How, RepairError, Repairing};
use crate::condemned::{self, Condemned, What};
use crate::copy::hashes;
use crate::damage::{self, DamagedPack};
use crate::fragment::{self, FRAGMENT_MAX, PackRecord};
use crate::moving::damage_of;
use crate::name::{self, ObjectHash};
use crate::pack::read_trailer;
use crate::records;
use crate::relocation;

/// A fragment has about this many bytes at most: it is held in memory.
const FRAGMENT_BYTES: usize = 32 << 20;

impl Repairing<'_> {
    /// Writes fragments for the packs that have none. When one was damaged, those are looked for.
    pub(super) async fn index(&mut self) -> Result<(), RepairError> {
        let bad: BTreeSet<ObjectHash> =
            self.condemn.iter().filter(|object| object.what == What::Fragment).map(|o| o.hash).collect();
        if !bad.is_empty() {
            let known: HashSet<_> = self.records.iter().map(|record| record.hash).collect();
            let mut unnamed: Vec<_> = self.here.packs.keys().copied().collect();
            unnamed.retain(|object| {
                !known.contains(object)
                    && !self.here.sources.contains_key(object)
                    && !self.here.holders.is_condemned(*object)
                    && !self.condemn.contains(&Condemned { what: What::Pack, hash: *object })
            });
            unnamed.sort();
            for object in unnamed {
                match read_trailer(self.store.as_ref(), object, self.vault()).await {
                    Ok(Ok((_, trailer, size))) => {
                        let trailer = Bytes::copy_from_slice(&trailer);
                        self.records.push(PackRecord { hash: object, size, trailer });
                    }
                    // A check tells of it.
                    Ok(Err(_)) => {}
                    Err(error) => {
                        damage_of(error)?;
                    }
                }
            }
        }
        if self.options.dry_run {
            return Ok(());
        }
        // Under the name of one that is damaged nothing could be written.
        let mut avoided = self.here.condemned_fragments.clone();
        avoided.extend(bad);
        let mut group = Vec::new();
        let mut size = 0;
        for record in std::mem::take(&mut self.records) {
            size += record.trailer.len();
            group.push(record);
            if size >= FRAGMENT_BYTES {
                size = 0;
                let full = std::mem::take(&mut group);
                fragment::write(self.store.as_ref(), self.vault(), full, &avoided).await?;
            }
        }
        if !group.is_empty() {
            fragment::write(self.store.as_ref(), self.vault(), group, &avoided).await?;
        }
        Ok(())
    }

    /// Says where packs went.
    pub(super) async fn relocate(&mut self) -> Result<(), RepairError> {
        let moved = std::mem::take(&mut self.moved);
        if !moved.is_empty() && !self.options.dry_run {
            let bytes = relocation::encode(self.vault(), (self.random)(), &moved);
            records::write(self.store.as_ref(), name::RELOCATIONS, bytes).await?;
        }
        Ok(())
    }

    /// Condemns what was replaced.
    pub(super) async fn sentence(&mut self) -> Result<(), RepairError> {
        if self.condemn.is_empty() || self.options.dry_run {
            return Ok(());
        }
        self.still_there().await?;
        let objects: Vec<Condemned> = self.condemn.iter().copied().collect();
        condemned::write(self.store.as_ref(), self.vault(), (self.random)(), &objects).await?;
        Ok(())
    }

    /// Takes what nobody has out of the index, and records it.
    pub(super) async fn salvage(&mut self) -> Result<(), RepairError> {
        if self.broken.is_empty() {
            return Ok(());
        }
        self.report.salvaged = self.broken.len() as u64;
        if self.options.dry_run {
            return Ok(());
        }
        let pairs = self.broken.iter().flat_map(|(object, lost)| {
            lost.iter().map(|(pack, _)| DamagedPack { pack: *pack, object: *object })
        });
        let pairs: Vec<_> = pairs.collect();
        damage::record(self.store.as_ref(), self.vault(), &pairs).await?;
        let going: HashSet<ObjectHash> = self.broken.keys().copied().collect();
        // Any fragment may name it, not only the one that was seen first.
        let listed = hashes(&self.store.list(name::INDEX).await?, name::INDEX);
        let mut listed: Vec<_> =
            listed.into_iter().filter(|hash| !self.here.condemned_fragments.contains(hash)).collect();
        listed.sort();
        for hash in listed {
            let bytes = match self.store.get(&hash.index_name(), FRAGMENT_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == Kind::NotFound => continue,
                Err(error) => {
                    damage_of(error)?;
                    continue;
                }
            };
            // What is not understood stays as it is.
            let Ok(packs) = fragment::decode(&bytes, hash, self.vault()) else { continue };
            if !packs.iter().any(|(record, _)| going.contains(&record.hash)) {
                continue;
            }
            for (record, _) in packs {
                if !going.contains(&record.hash) {
                    let trailer = Bytes::copy_from_slice(&record.trailer);
                    self.records.push(PackRecord { trailer, ..record });
                }
            }
            self.condemn.insert(Condemned { what: What::Fragment, hash });
        }
        Ok(())
    }

    /// Takes back the records of damage that is no more.
    pub(super) async fn damage_records(&mut self) -> Result<(), RepairError> {
        let vault = self.vault();
        let decode = |bytes: &Bytes| damage::decode(bytes, vault);
        let found = records::read_all(self.store.as_ref(), name::DAMAGE, damage::RECORD_MAX, decode).await?;
        for record in found {
            let object = record.object.name;
            let pairs = match record.content {
                Ok(pairs) => pairs,
                Err(damage) if damage.is_newer() => continue,
                // All that it could say was looked at just now.
                Err(damage) if self.options.read_all && !self.report.ended_early => {
                    if !self.options.dry_run {
                        self.store.discard(&object).await?;
                    }
                    self.heal(object, damage, How::MadeAnew);
                    continue;
                }
                Err(damage) => {
                    self.lose(object, damage);
                    continue;
                }
            };
            let is_healed = |pair: &DamagedPack| {
                let hash = pair.object;
                self.proved.contains(&hash)
                    || self.here.holders.is_condemned(hash)
                    || self.condemn.contains(&Condemned { what: What::Pack, hash })
            };
            let (healed, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(is_healed);
            self.report.records_healed += healed.len() as u64;
            if healed.is_empty() || self.options.dry_run {
                continue;
            }
            if !rest.is_empty() {
                // Not only those that no other record names: that one may go next.
                let bytes = damage::encode(vault, &rest);
                let name = format!("{}{}", name::DAMAGE, ObjectHash::of(&bytes));
                self.store.put(&name, vec![bytes]).await?;
            }
            self.store.discard(&object).await?;
        }
        Ok(())
    }
}
