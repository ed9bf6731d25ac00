//! What is small: the descriptor, key slots, settings, other records, and snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use store::{Kind, Store};

use super::{How, Options, RepairError, Repairing, Report, Wanted};
use crate::condemned::{Condemned, What};
use crate::copy::CopyError;
use crate::copy::begin::{self, vault_of};
use crate::copy::hashes;
use crate::descriptor::{DESCRIPTOR_MAX, Descriptor};
use crate::error::{Damage, VaultError};
use crate::fragment::FRAGMENT_MAX;
use crate::moving::damage_of;
use crate::name::{self, ObjectHash, SnapshotId, VaultId};
use crate::settings::{self, Settings};
use crate::snapshot::{self, SNAPSHOT_MAX, SnapshotObject};
use crate::writer::Outcome;

/// How many small objects are read at once.
const AT_ONCE: usize = 8;
/// Folders of objects that are named by their hash, and the largest object in each.
const FOLDERS: [(&str, u64); 7] = [
    (name::KEYS, name::SLOT_MAX),
    (name::SETTINGS, crate::settings::SETTINGS_MAX),
    (name::TRASH, crate::trash::RECORD_MAX),
    (name::PINS, crate::pins::PIN_MAX),
    (name::INDEX, FRAGMENT_MAX),
    (name::RELOCATIONS, crate::relocation::RECORD_MAX),
    (name::CONDEMNED, crate::condemned::RECORD_MAX),
];

/// The vault's descriptor; put back from the replica if it is lost here.
pub(super) async fn descriptor(
    store: &Arc<dyn Store>,
    replica: Option<&Arc<dyn Store>>,
    options: &Options,
    report: &mut Report,
) -> Result<Descriptor, RepairError> {
    let damage = match store.get(name::DESCRIPTOR, DESCRIPTOR_MAX).await {
        Ok(bytes) => match Descriptor::decode(&bytes) {
            Ok(descriptor) => {
                if let Some(replica) = replica {
                    let (other, _) = begin::source(replica).await?;
                    is_same(&other, descriptor.vault, replica)?;
                    if other.owner != descriptor.owner {
                        return Err(CopyError::ForeignVault { location: replica.location() }.into());
                    }
                }
                return Ok(descriptor);
            }
            Err(damage) if damage.is_newer() => {
                return Err(VaultError::damaged(name::DESCRIPTOR, damage).into());
            }
            Err(damage) => damage,
        },
        Err(error) if error.kind == Kind::Gone => {
            return Err(VaultError::NoVault { location: store.location() }.into());
        }
        Err(error) => damage_of(error)?,
    };
    // Which vault it is, its slots and snapshots tell.
    let Some(vault) = vault_in(store).await? else {
        return Err(VaultError::NoVault { location: store.location() }.into());
    };
    let Some(replica) = replica else { return Err(RepairError::NoDescriptor) };
    let (descriptor, bytes) = begin::source(replica).await?;
    is_same(&descriptor, vault, replica)?;
    if !options.dry_run {
        store.replace(name::DESCRIPTOR, vec![bytes]).await?;
    }
    let object = name::DESCRIPTOR.to_owned();
    report.healed.push(super::Healed { object, damage, how: How::PutBack });
    Ok(descriptor)
}

fn is_same(found: &Descriptor, vault: VaultId, replica: &Arc<dyn Store>) -> Result<(), RepairError> {
    let foreign = || CopyError::ForeignVault { location: replica.location() };
    if found.vault == vault { Ok(()) } else { Err(foreign().into()) }
}

/// The vault that key slots or snapshots belong to.
async fn vault_in(store: &Arc<dyn Store>) -> Result<Option<VaultId>, VaultError> {
    for object in store.list(name::KEYS).await? {
        if let Ok(bytes) = store.get(&object.name, name::SLOT_MAX).await
            && ObjectHash::from_object_name(&object.name) == Some(ObjectHash::of(&bytes))
            && let Some(vault) = vault_of(&bytes)
        {
            return Ok(Some(vault));
        }
    }
    for object in store.list(name::SNAPSHOTS).await? {
        if let Ok(bytes) = store.get(&object.name, SNAPSHOT_MAX).await
            && ObjectHash::from_object_name(&object.name) == Some(ObjectHash::of(&bytes))
            && let Ok(snapshot) = snapshot::decode_unverified(&bytes)
        {
            return Ok(Some(snapshot.envelope.vault));
        }
    }
    Ok(None)
}

/// Whether bytes that match their name are a whole object, or a newer program's: either way they are left alone.
fn damage_in(bytes: &Bytes, hash: ObjectHash) -> Option<Damage> {
    (ObjectHash::of(bytes) != hash).then_some(Damage::HashMismatch)
}

impl Repairing<'_> {
    /// An object of the replica, if it is there and its bytes match its name.
    async fn fetch_small(
        &self,
        object: &str,
        hash: ObjectHash,
        size_max: u64,
    ) -> Result<Option<Bytes>, RepairError> {
        let Some(replica) = &self.replica else { return Ok(None) };
        match replica.store.get(object, size_max).await {
            Ok(bytes) => Ok((ObjectHash::of(&bytes) == hash).then_some(bytes)),
            Err(error) => {
                damage_of(error)?;
                Ok(None)
            }
        }
    }

    /// Puts the right bytes under their own name, over whatever is there.
    async fn put_back(&mut self, object: &str, bytes: Bytes, damage: Damage) -> Result<(), RepairError> {
        if !self.options.dry_run {
            self.store.replace(object, vec![bytes]).await?;
        }
        self.heal(object.to_owned(), damage, How::PutBack);
        Ok(())
    }

    /// Compares small objects with their names, and puts back those that the replica has.
    pub(super) async fn small_objects(&mut self) -> Result<(), RepairError> {
        for (folder, size_max) in FOLDERS {
            let listed = self.store.list(folder).await?;
            let store = self.store.clone();
            let fetches = hashes(&listed, folder).into_iter().map(|hash| {
                let (store, object) = (&store, format!("{folder}{hash}"));
                async move { (hash, store.get(&object, size_max).await.map(|bytes| damage_in(&bytes, hash))) }
            });
            let mut fetches = stream::iter(fetches).buffer_unordered(AT_ONCE);
            let mut bad = Vec::new();
            let mut whole = 0;
            while let Some((hash, outcome)) = fetches.next().await {
                match outcome {
                    Ok(None) => whole += 1,
                    Ok(Some(damage)) => bad.push((hash, damage)),
                    // It was deleted meanwhile.
                    Err(error) if error.kind == Kind::NotFound => {}
                    Err(error) => bad.push((hash, damage_of(error)?)),
                }
            }
            drop(fetches);
            bad.sort_by_key(|(hash, _)| *hash);
            for (hash, damage) in bad {
                if self.goes_on().await? && !self.here.holders.is_going(hash) {
                    self.small_object(folder, hash, size_max, damage).await?;
                }
            }
            let may_lack = match folder {
                // Somebody may have removed a slot on purpose; without any nobody gets in.
                name::KEYS => whole == 0,
                name::SETTINGS => true,
                _ => false,
            };
            if may_lack {
                self.bring_missing(folder, size_max).await?;
            }
        }
        Ok(())
    }

    async fn small_object(
        &mut self,
        folder: &str,
        hash: ObjectHash,
        size_max: u64,
        damage: Damage,
    ) -> Result<(), RepairError> {
        let object = format!("{folder}{hash}");
        if let Some(bytes) = self.fetch_small(&object, hash, size_max).await? {
            return self.put_back(&object, bytes, damage).await;
        }
        match folder {
            // They are made anew from packs, which is done below.
            name::INDEX => {
                self.condemn.insert(Condemned { what: What::Fragment, hash });
                self.heal(object, damage, How::MadeAnew);
            }
            name::RELOCATIONS => {
                self.condemn.insert(Condemned { what: What::Relocation, hash });
                self.heal(object, damage, How::MadeAnew);
            }
            _ => self.lose(object, damage),
        }
        Ok(())
    }

    /// Puts back what the replica has and this vault lacks.
    async fn bring_missing(&mut self, folder: &str, size_max: u64) -> Result<(), RepairError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let theirs = hashes(&replica.store.list(folder).await?, folder);
        let ours = hashes(&self.store.list(folder).await?, folder);
        let missing: BTreeSet<_> = theirs.difference(&ours).copied().collect();
        let sequences = self.settings_sequences(folder).await?;
        for hash in missing {
            let object = format!("{folder}{hash}");
            let Some(bytes) = self.fetch_small(&object, hash, size_max).await? else { continue };
            let (vault, owner) = (self.descriptor.vault, self.descriptor.owner);
            let is_ours = match folder {
                name::KEYS => vault_of(&bytes) == Some(vault),
                // One that has the place of another was set at the replica, and for the replica.
                _ => Settings::decode(&bytes, vault, &owner)
                    .is_ok_and(|settings| !sequences.contains(&settings.sequence)),
            };
            if is_ours {
                self.put_back(&object, bytes, Damage::Missing).await?;
            }
        }
        Ok(())
    }

    /// The numbers of the settings here, when it is settings that are brought.
    async fn settings_sequences(&self, folder: &str) -> Result<BTreeSet<u64>, RepairError> {
        if folder != name::SETTINGS {
            return Ok(BTreeSet::new());
        }
        let (vault, owner) = (self.descriptor.vault, self.descriptor.owner);
        let records = settings::read_all(self.store.as_ref(), vault, &owner).await?;
        let readable = records.into_iter().filter_map(|record| record.content.ok());
        Ok(readable.map(|settings| settings.sequence).collect())
    }

    /// All snapshots: those that are whole, and those that are damaged or missing and come back.
    pub(super) async fn snapshots(&mut self) -> Result<Vec<Wanted>, RepairError> {
        let mut ids: BTreeSet<SnapshotId> = self.here.snapshots.iter().copied().collect();
        if let Some(replica) = &self.replica {
            // Forgetting leaves a mark: what is missing without one was lost.
            let missing = replica.shelf.snapshots.iter().filter(|id| !self.here.has_forgotten(**id));
            ids.extend(missing);
        }
        let mut wanted = Vec::new();
        for id in ids {
            if !self.goes_on().await? {
                break;
            }
            let object = id.snapshot_name();
            let damage = match self.store.get(&object, SNAPSHOT_MAX).await {
                Ok(bytes) => match self.decode(id, &bytes) {
                    Ok(snapshot) => {
                        wanted.push(Wanted { id, needs: snapshot.envelope.needs, back: None });
                        continue;
                    }
                    Err(damage) => damage,
                },
                Err(error) => damage_of(error)?,
            };
            // A stranger's and a newer program's are whole: there is nothing to repair.
            if damage != Damage::HashMismatch && damage != Damage::Missing && !is_torn(&damage) {
                continue;
            }
            let found = self.fetch_small(&object, id, SNAPSHOT_MAX).await?;
            let decoded = found.and_then(|bytes| Some((self.decode(id, &bytes).ok()?, bytes)));
            match decoded {
                Some((snapshot, bytes)) => {
                    let back = Some((bytes, damage));
                    wanted.push(Wanted { id, needs: snapshot.envelope.needs, back });
                }
                None if self.here.snapshots.contains(&id) => self.lose(object, damage),
                None => {}
            }
        }
        Ok(wanted)
    }

    fn decode(&self, id: SnapshotId, bytes: &Bytes) -> Result<SnapshotObject, Damage> {
        let object = snapshot::decode(bytes, id, self.vault())?;
        if object.signer == self.descriptor.owner { Ok(object) } else { Err(Damage::Signature) }
    }

    /// Snapshots come back last: by now all they need is here, as far as it can be had.
    pub(super) async fn bring_back(&mut self, snapshots: Vec<Wanted>) -> Result<(), RepairError> {
        for Wanted { id, needs, back } in snapshots {
            let Some((bytes, damage)) = back else { continue };
            if !self.goes_on().await? {
                return Ok(());
            }
            if damage != Damage::Missing {
                self.put_back(&id.snapshot_name(), bytes, damage).await?;
                continue;
            }
            let is_whole = needs.iter().all(|need| {
                self.here.find(need.pack, need.object, &need.segments).is_some_and(|object| {
                    let lost = self.broken.get(&object).map_or(&[][..], Vec::as_slice);
                    !lost.iter().any(|(pack, _)| *pack == need.pack)
                })
            });
            if !is_whole && !self.options.dry_run {
                self.lose(id.snapshot_name(), Damage::Missing);
                continue;
            }
            if let Some(writer) = &mut self.writer
                && writer.commit(id, &needs, &bytes, self.random).await? != Outcome::Committed
            {
                return Err(RepairError::Overslept);
            }
            self.heal(id.snapshot_name(), Damage::Missing, How::PutBack);
            self.report.snapshots_back.push(id);
        }
        Ok(())
    }
}

/// Whether the store gave less than it should, or nothing.
fn is_torn(damage: &Damage) -> bool {
    matches!(damage, Damage::Nonsense("the store cannot read it"))
}
