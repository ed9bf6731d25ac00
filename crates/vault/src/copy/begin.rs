//! How a copy begins: that source and target belong together, what is small, and which snapshots are meant.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use store::{Kind, Store};

use super::{Chosen, CopyError, Copying, LeftBehind, hashes};
use crate::descriptor::{DESCRIPTOR_MAX, Descriptor};
use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::lease::{Lease, Role};
use crate::moving::damage_of;
use crate::name::{self, ObjectHash, SnapshotId, SystemId, VaultId};
use crate::settings::{SETTINGS_MAX, Settings};
use crate::snapshot::{self, SNAPSHOT_MAX};
use crate::trash::Trash;
use crate::wire::Reader;

/// How many small objects are asked for at once.
const AT_ONCE: usize = 8;
/// Snapshots are held from when they are chosen to when they are copied, up to this many bytes in all.
const HELD: usize = 48 << 20;

/// The source's descriptor, decoded and as stored.
pub(crate) async fn source(store: &Arc<dyn Store>) -> Result<(Descriptor, Bytes), CopyError> {
    match descriptor(store).await? {
        Some(found) => Ok(found),
        None if store.list(name::SNAPSHOTS).await?.is_empty() => {
            Err(VaultError::NoVault { location: store.location() }.into())
        }
        None => Err(CopyError::Unreadable {
            object: name::DESCRIPTOR.to_owned(),
            location: store.location(),
            damage: Damage::Missing,
        }),
    }
}

/// Whether a vault is to be made at the target. An error when something else is there.
pub(super) async fn target(store: &Arc<dyn Store>, of: &Descriptor) -> Result<bool, CopyError> {
    if let Some((found, _)) = descriptor(store).await? {
        let is_same = found.vault == of.vault && found.owner == of.owner;
        let foreign = CopyError::ForeignVault { location: store.location() };
        return if is_same { Ok(false) } else { Err(foreign) };
    }
    // A copy that was interrupted before the descriptor has left key slots and its lease.
    for object in store.list("").await? {
        let is_own = match object.name.strip_prefix(name::KEYS) {
            Some(_) => match store.get(&object.name, name::SLOT_MAX).await {
                Ok(bytes) => vault_of(&bytes) == Some(of.vault),
                Err(error) => damage_of(error).map(|_| false)?,
            },
            None => object.name.starts_with(name::LEASES),
        };
        if !is_own {
            return Err(CopyError::NotEmpty { location: store.location(), object: object.name });
        }
    }
    Ok(true)
}

async fn descriptor(store: &Arc<dyn Store>) -> Result<Option<(Descriptor, Bytes)>, CopyError> {
    let damage = match store.get(name::DESCRIPTOR, DESCRIPTOR_MAX).await {
        Ok(bytes) => match Descriptor::decode(&bytes) {
            Ok(descriptor) => return Ok(Some((descriptor, bytes))),
            Err(damage) => damage,
        },
        Err(error) if error.kind == Kind::NotFound => return Ok(None),
        Err(error) => damage_of(error)?,
    };
    let (object, location) = (name::DESCRIPTOR.to_owned(), store.location());
    Err(CopyError::Unreadable { object, location, damage })
}

/// The vault that a key slot says it belongs to.
pub(crate) fn vault_of(slot: &[u8]) -> Option<VaultId> {
    let mut reader = Reader::new(slot);
    ObjectKind::KeySlot.expect(&mut reader).ok()?;
    reader.u64("features").ok()?;
    VaultId::read(&mut reader, "vault id").ok()
}

/// A reader's lease, if the store takes one: whoever may only read does without.
pub(crate) async fn reader(
    store: &Arc<dyn Store>,
    vault: VaultId,
    id: [u8; 16],
    duration: Duration,
) -> Result<Option<Lease>, VaultError> {
    match Lease::begin(store, vault, id, SystemId::default(), Role::Reader, duration).await {
        Ok(lease) => Ok(Some(lease)),
        Err(VaultError::Store(error)) if matches!(error.kind, Kind::Gone | Kind::Unavailable) => {
            Err(error.into())
        }
        Err(_) => Ok(None),
    }
}

impl Copying<'_> {
    /// Copies the objects of a folder that are small, whole and not at the target: key slots, settings.
    pub(super) async fn small(&mut self, folder: &str) -> Result<(), CopyError> {
        let (vault, owner) = (self.descriptor.vault, self.descriptor.owner);
        let there = hashes(&self.target.list(folder).await?, folder);
        let listed = self.source.list(folder).await?;
        if folder == name::SETTINGS && self.is_set_on_its_own(&there, &hashes(&listed, folder)).await? {
            return Ok(());
        }
        let missing = listed.into_iter().filter_map(|object| {
            let hash = object.name.strip_prefix(folder).and_then(ObjectHash::from_hex)?;
            (!there.contains(&hash)).then_some((object.name, hash))
        });
        for (object, hash) in missing.collect::<Vec<_>>() {
            let size_max = if folder == name::KEYS { name::SLOT_MAX } else { SETTINGS_MAX };
            let damage = match self.source.get(&object, size_max).await {
                Ok(bytes) if ObjectHash::of(&bytes) != hash => Damage::HashMismatch,
                Ok(bytes) => {
                    // What a newer program wrote is copied as it is; what belongs to another vault is not.
                    let foreign = match folder == name::KEYS {
                        true => vault_of(&bytes).is_some_and(|of| of != vault),
                        false => matches!(
                            Settings::decode(&bytes, vault, &owner),
                            Err(Damage::ForeignVault | Damage::Signature)
                        ),
                    };
                    if !foreign {
                        self.store(&object, bytes).await?;
                        self.report.small_copied += 1;
                    }
                    continue;
                }
                Err(error) => damage_of(error)?,
            };
            self.fault(self.source.location(), object, damage);
        }
        Ok(())
    }

    /// Whether somebody changed the settings at the target: then it keeps them, since a later change at the source would
    /// count there instead.
    async fn is_set_on_its_own(
        &mut self,
        there: &HashSet<ObjectHash>,
        here: &HashSet<ObjectHash>,
    ) -> Result<bool, CopyError> {
        let (vault, owner) = (self.descriptor.vault, self.descriptor.owner);
        for hash in there.difference(here) {
            let object = format!("{}{hash}", name::SETTINGS);
            match self.target.get(&object, SETTINGS_MAX).await {
                // Who may only add can store anything there.
                Ok(bytes) if ObjectHash::of(&bytes) == *hash => {
                    if Settings::decode(&bytes, vault, &owner).is_ok() {
                        return Ok(true);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    damage_of(error)?;
                }
            }
        }
        Ok(false)
    }

    /// Stores a small object, and reads it back if that was asked for.
    pub(super) async fn store(&mut self, object: &str, bytes: Bytes) -> Result<(), CopyError> {
        self.target.put(object, vec![bytes.clone()]).await?;
        if self.options.verify && self.target.get(object, bytes.len() as u64).await? != bytes {
            self.fault(self.target.location(), object.to_owned(), Damage::HashMismatch);
        }
        Ok(())
    }

    /// The snapshots that are to be copied, the oldest first.
    pub(super) async fn choose(&mut self) -> Result<Vec<Chosen>, CopyError> {
        let vault = self.descriptor.vault;
        let trash = Trash::read(self.source.as_ref(), vault).await?;
        let listed = self.source.list(name::SNAPSHOTS).await?;
        let mut all: Vec<SnapshotId> = hashes(&listed, name::SNAPSHOTS).into_iter().collect();
        all.sort();
        if let Some(asked) = &self.options.snapshots {
            let asked: HashSet<_> = asked.iter().copied().collect();
            if let Some(missing) = asked.iter().find(|id| !all.contains(id)) {
                return Err(CopyError::NoSnapshot(*missing));
            }
            all.retain(|id| asked.contains(id));
        }
        let mut wanted = Vec::new();
        for id in all {
            if self.there.snapshots.contains(&id) {
                self.report.present += 1;
            } else if trash.get(id).is_some() {
                self.report.forgotten_at_source.push(id);
            } else if self.there.has_forgotten(id) {
                self.report.forgotten_at_target.push(id);
            } else {
                wanted.push(id);
            }
        }
        let source = self.source.clone();
        let fetches = wanted.into_iter().map(|id| {
            let source = &source;
            async move { (id, source.get(&id.snapshot_name(), SNAPSHOT_MAX).await) }
        });
        let mut fetches = stream::iter(fetches).buffered(AT_ONCE);
        let mut held = 0;
        let mut chosen = Vec::new();
        while let Some((id, outcome)) = fetches.next().await {
            let bytes = match outcome {
                Ok(bytes) => bytes,
                Err(error) => {
                    let damage = damage_of(error)?;
                    self.leave_snapshot(id, damage);
                    continue;
                }
            };
            match self.decode(id, &bytes) {
                Ok(object) => {
                    let fits = held + bytes.len() <= HELD;
                    held += if fits { bytes.len() } else { 0 };
                    chosen.push(Chosen {
                        id,
                        time: object.envelope.time,
                        previous: object.envelope.previous,
                        bytes: fits.then_some(bytes),
                    });
                }
                Err(damage) => self.leave_snapshot(id, damage),
            }
        }
        drop(fetches);
        chosen.sort_by_key(|chosen| (chosen.time, chosen.id));
        Ok(chosen)
    }

    /// A snapshot object, if the vault's owner signed it.
    pub(super) fn decode(&self, id: SnapshotId, bytes: &Bytes) -> Result<snapshot::SnapshotObject, Damage> {
        let object = snapshot::decode(bytes, id, self.descriptor.vault)?;
        if object.signer == self.descriptor.owner { Ok(object) } else { Err(Damage::Signature) }
    }

    /// Says that a snapshot is damaged itself.
    pub(super) fn leave_snapshot(&mut self, id: SnapshotId, damage: Damage) {
        let object = id.snapshot_name();
        self.fault(self.source.location(), object.clone(), damage);
        self.report.left_behind.push(LeftBehind { snapshot: id, objects: vec![object] });
    }
}
