//! The snapshots of a vault.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use content::ContentError;
use content::envelope::{DataKey, Place, Purpose};
use content::keyring::EpochKeys;
use content::segment::Opener;
use store::{Ahead, Cached, ObjectInfo, Part, Store};
use vault::error::Damage;
use vault::name;
use vault::snapshot::{self, Envelope, SNAPSHOT_MAX, SnapshotObject};
use vault::trash::{Forgotten, Trash};
use vault::{ObjectHash, SnapshotId};

use crate::{Body, Error, ReadingTenure, Vault};

/// How many snapshots are fetched at once.
const AT_ONCE: usize = 16;

/// One snapshot, opened.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// What is public of it.
    pub envelope: Envelope,
    /// What was sealed.
    pub body: Body,
    /// The size of its object in bytes.
    pub size: u64,
    /// When the store received it, by the store's clock.
    pub received: SystemTime,
}

/// A snapshot that is right as far as anybody can see, and that the key does not open: a key that can only add, or one from
/// before the vault's keys were renewed.
#[derive(Clone, Debug)]
pub struct SealedSnapshot {
    /// Its name.
    pub id: SnapshotId,
    /// What is public of it.
    pub envelope: Envelope,
    /// The number of the keys that it is sealed with.
    pub epoch: u32,
    /// Whether the vault was opened with a key that can only add; else with one from before.
    pub is_write_only: bool,
}

impl SealedSnapshot {
    /// Why it is not opened.
    pub(crate) fn error(&self) -> Error {
        let why = match self.is_write_only {
            true => ContentError::WriteOnly,
            false => ContentError::UnknownEpoch(self.epoch),
        };
        Error::content(self.id.snapshot_name(), why)
    }
}

/// Why a snapshot is not opened.
enum Unopened {
    Damaged(Damage),
    Sealed(Box<SealedSnapshot>),
}

impl From<Damage> for Unopened {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// All snapshots of a vault.
#[derive(Clone, Debug, Default)]
pub struct SnapshotList {
    /// Those that can be read, the oldest first.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// Objects that should be snapshots and cannot be read, with the reason.
    pub damaged: Vec<(String, Damage)>,
    /// Those that the key does not open, in the trash or not.
    pub sealed: Vec<SealedSnapshot>,
    /// Those in the trash, which are in none of the others: the oldest first, and then what cannot be read.
    pub trash: Vec<InTrash>,
}

/// A snapshot that was forgotten and is still there.
#[derive(Clone, Debug)]
pub struct InTrash {
    /// Its name.
    pub id: SnapshotId,
    /// When it was forgotten, and by which marks.
    pub forgotten: Forgotten,
    /// The snapshot, or why it cannot be read.
    pub snapshot: Result<Arc<Snapshot>, Damage>,
}

/// Narrows which snapshots are meant; an empty list asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Any of these machines.
    pub hosts: Vec<String>,
    /// All of these paths were backed up.
    pub paths: Vec<Vec<u8>>,
    /// All of these tags are set.
    pub tags: Vec<String>,
}

impl Filter {
    /// Whether a snapshot is meant.
    pub fn fits(&self, snapshot: &Snapshot) -> bool {
        let body = &snapshot.body;
        (self.hosts.is_empty() || self.hosts.contains(&body.host))
            && self.paths.iter().all(|path| body.paths.contains(path))
            && self.tags.iter().all(|tag| body.tags.contains(tag))
    }
}

impl SnapshotList {
    /// Reads all of them. Damaged ones do not stop it.
    pub fn load(vault: &Arc<Vault>) -> Result<Self, Error> {
        // In this order, so that of none that is listed the mark is missed.
        let groups: [&[&str]; 2] = [&[name::SNAPSHOTS, name::TRASH], &[name::KEYS]];
        let looks_for_keys = vault.is_unconfirmed();
        let groups = groups.get(..1 + usize::from(looks_for_keys)).unwrap_or(&groups);
        let ahead = vault.wait(async {
            let ahead = Ahead::list(vault.reading(), groups).await?;
            if looks_for_keys {
                vault.confirm(&ahead.list(name::KEYS).await?).await?;
            }
            Ok::<_, Error>(ahead)
        })?;
        let ahead: Arc<dyn Store> = Arc::new(ahead);
        Self::load_from(vault, &ahead)
    }

    /// The same while a reader is at work: what it sees stays until it has ended, and costs no further listing. To be
    /// asked once.
    pub fn load_during(tenure: &ReadingTenure) -> Result<Self, Error> {
        Self::load_from(tenure.vault(), tenure.around()?)
    }

    /// The same through a store that may know its listings already.
    pub(crate) fn load_from(vault: &Arc<Vault>, store: &Arc<dyn Store>) -> Result<Self, Error> {
        let objects = vault.wait(store.list(name::SNAPSHOTS))?;
        let trash = vault.wait(Trash::read(store.as_ref(), vault.id()))?;
        let mut list = Self::default();
        let mut opener = Opener::new();
        for group in objects.chunks(AT_ONCE) {
            let fetches: Vec<_> = group
                .iter()
                .map(|object| {
                    let (store, name) = (vault.reading(), object.name.clone());
                    vault.spawn(async move { store.get(&name, SNAPSHOT_MAX).await })
                })
                .collect();
            for (object, fetch) in group.iter().zip(fetches) {
                let snapshot = match vault.wait(fetch) {
                    Ok(Ok(bytes)) => open(vault, object, &bytes, &mut opener),
                    Ok(Err(error)) => match error.kind {
                        store::Kind::NotFound => Err(Damage::Missing.into()),
                        store::Kind::TooLarge | store::Kind::Truncated | store::Kind::InvalidName => {
                            Err(Damage::HashMismatch.into())
                        }
                        _ => return Err(error.into()),
                    },
                    Err(_) => return Err(Error::Interrupted),
                };
                let snapshot = match vault.cached().filter(|_| matches!(snapshot, Err(Unopened::Damaged(_))))
                {
                    Some(cached) => again(vault, cached, object, &mut opener)?,
                    None => snapshot,
                };
                list.add(object.name.clone(), snapshot.map(Arc::new), &trash);
            }
        }
        list.sort();
        vault.saw_all(&list, |id| trash.get(id).is_some());
        Ok(list)
    }

    fn add(&mut self, object: String, snapshot: Result<Arc<Snapshot>, Unopened>, trash: &Trash) {
        let id = ObjectHash::from_object_name(&object);
        match (id.and_then(|id| Some((id, trash.get(id)?.clone()))), snapshot) {
            // Deleted between the listing and now, as it should be.
            (Some(_), Err(Unopened::Damaged(Damage::Missing))) => {}
            (Some((id, forgotten)), snapshot) => {
                let snapshot = snapshot.map_err(|why| match why {
                    Unopened::Damaged(damage) => damage,
                    Unopened::Sealed(sealed) => {
                        self.sealed.push(*sealed);
                        Damage::Sealed
                    }
                });
                self.trash.push(InTrash { id, forgotten, snapshot });
            }
            (None, Ok(snapshot)) => self.snapshots.push(snapshot),
            (None, Err(Unopened::Damaged(damage))) => self.damaged.push((object, damage)),
            (None, Err(Unopened::Sealed(sealed))) => self.sealed.push(*sealed),
        }
    }

    fn sort(&mut self) {
        let place = |snapshot: &Arc<Snapshot>| (snapshot.envelope.time, snapshot.id);
        self.snapshots.sort_by_key(place);
        self.sealed.sort_by_key(|sealed| (sealed.envelope.time, sealed.id));
        self.trash.sort_by_key(|one| (one.snapshot.is_err(), one.snapshot.as_ref().ok().map(place)));
    }

    /// The same list as if nothing had been forgotten: for whoever looks at all that is there.
    pub fn with_trash(mut self) -> Self {
        for one in std::mem::take(&mut self.trash) {
            match one.snapshot {
                Ok(snapshot) => self.snapshots.push(snapshot),
                Err(_) if self.sealed.iter().any(|sealed| sealed.id == one.id) => {}
                Err(damage) => self.damaged.push((one.id.snapshot_name(), damage)),
            }
        }
        self.sort();
        self
    }

    /// Whether there is an object of this name, whatever its state.
    pub(crate) fn has(&self, id: SnapshotId) -> bool {
        let name = id.snapshot_name();
        self.snapshots.iter().any(|snapshot| snapshot.id == id)
            || self.sealed.iter().any(|sealed| sealed.id == id)
            || self.in_trash(id).is_some()
            || self.damaged.iter().any(|(damaged, _)| *damaged == name)
    }

    /// What the trash has of a snapshot.
    pub fn in_trash(&self, id: SnapshotId) -> Option<&InTrash> {
        self.trash.iter().find(|one| one.id == id)
    }

    /// Those that fit, the oldest first.
    pub fn matching(&self, filter: &Filter) -> Vec<Arc<Snapshot>> {
        self.snapshots.iter().filter(|snapshot| filter.fits(snapshot)).cloned().collect()
    }

    /// The one meant by `text`: the beginning of an id, also of one in the trash; or `latest`, which never is, among those
    /// that fit the filter.
    pub fn find(&self, text: &str, filter: &Filter) -> Result<Arc<Snapshot>, Error> {
        if text == "latest" {
            return match (self.matching(filter).pop(), self.sealed.first()) {
                // Whether a sealed one fits nobody knows, and it may be the latest.
                (_, Some(sealed)) => Err(sealed.error()),
                (Some(latest), None) => Ok(latest),
                (None, None) => Err(Error::NoSuchSnapshot("that fits".to_owned())),
            };
        }
        match self.find_id(text, filter)? {
            (_, Ok(snapshot)) => Ok(snapshot),
            (id, Err(damage)) => Err(Error::damaged(id.snapshot_name(), damage)),
        }
    }

    /// The id of the one meant by `text`, as [`Self::find`] takes it, be it damaged.
    pub fn find_id_of(&self, text: &str, filter: &Filter) -> Result<SnapshotId, Error> {
        match text {
            "latest" => self.find(text, filter).map(|snapshot| snapshot.id),
            _ => self.find_id(text, filter).map(|(id, _)| id),
        }
    }

    /// The one whose id begins with `text`. One that cannot be read is meant only if no other is: whether it fits the
    /// filter nobody knows.
    fn find_id(
        &self,
        text: &str,
        filter: &Filter,
    ) -> Result<(SnapshotId, Result<Arc<Snapshot>, Damage>), Error> {
        let is_meant = |id: SnapshotId| is_meant(text, id);
        let in_trash = self.trash.iter().filter_map(|one| one.snapshot.as_ref().ok());
        let readable = self.snapshots.iter().chain(in_trash);
        let mut meant = readable.filter(|snapshot| filter.fits(snapshot) && is_meant(snapshot.id));
        match (meant.next(), meant.count()) {
            (Some(snapshot), 0) => Ok((snapshot.id, Ok(snapshot.clone()))),
            (Some(_), more) => Err(Error::AmbiguousSnapshot { text: text.to_owned(), count: more + 1 }),
            (None, _) => {
                if let Some(sealed) = self.sealed.iter().find(|sealed| is_meant(sealed.id)) {
                    return Err(sealed.error());
                }
                let damaged = self.damaged_ids().find(|(id, _)| is_meant(*id));
                let (id, damage) = damaged.ok_or_else(|| Error::NoSuchSnapshot(text.to_owned()))?;
                Ok((id, Err(damage.clone())))
            }
        }
    }

    fn damaged_ids(&self) -> impl Iterator<Item = (SnapshotId, &Damage)> {
        let listed = self
            .damaged
            .iter()
            .filter_map(|(name, damage)| Some((ObjectHash::from_object_name(name)?, damage)));
        listed.chain(self.trash.iter().filter_map(|one| Some((one.id, one.snapshot.as_ref().err()?))))
    }
}

/// Whether `text` is the beginning of the id.
fn is_meant(text: &str, id: SnapshotId) -> bool {
    !text.is_empty() && id.to_string().starts_with(&text.to_ascii_lowercase())
}

/// Decodes, verifies and opens one snapshot object.
fn open(
    vault: &Vault,
    object: &ObjectInfo,
    bytes: &Bytes,
    opener: &mut Opener,
) -> Result<Snapshot, Unopened> {
    let id =
        ObjectHash::from_object_name(&object.name).ok_or(Damage::Nonsense("its name is not a snapshot's"))?;
    let received = object.modified;
    let object = snapshot::decode(bytes, id, vault.id())?;
    if object.signer != vault.descriptor().owner {
        return Err(Damage::Signature.into());
    }
    let keys = vault.keyring().epoch(object.epoch).ok();
    if !keys.is_some_and(EpochKeys::can_read) {
        let (epoch, is_write_only) = (object.epoch, keys.is_some());
        let sealed = SealedSnapshot { id, envelope: object.envelope, epoch, is_write_only };
        return Err(Unopened::Sealed(Box::new(sealed)));
    }
    let body = open_body(vault, &object, opener)?;
    Ok(Snapshot { id, envelope: object.envelope, body, size: bytes.len() as u64, received })
}

/// A second look at a snapshot that is damaged: its bytes may have been damaged on their way, and what this machine keeps
/// may have come that way.
fn again(
    vault: &Arc<Vault>,
    cached: &Cached,
    object: &ObjectInfo,
    opener: &mut Opener,
) -> Result<Result<Snapshot, Unopened>, Error> {
    let name = &object.name;
    vault.wait(cached.forget(name, &Part::Whole));
    let opened = match vault.wait(vault.reading().get(name, SNAPSHOT_MAX)) {
        Ok(bytes) => open(vault, object, &bytes, opener),
        Err(error) if error.kind == store::Kind::NotFound => Err(Damage::Missing.into()),
        Err(error) => return Err(error.into()),
    };
    if opened.is_err() {
        vault.wait(cached.forget(name, &Part::Whole));
    }
    Ok(opened)
}

fn open_body(vault: &Vault, object: &SnapshotObject, opener: &mut Opener) -> Result<Body, Damage> {
    let place = Place { vault: vault.id(), id: *object.envelope.system.bytes(), purpose: Purpose::Body };
    let key = DataKey::open(vault.keyring(), object.epoch, &object.key_envelope, place)?;
    let mut bytes = Vec::new();
    for (number, part) in object.body.iter().enumerate() {
        bytes.extend_from_slice(opener.open(part, &key, number as u32)?);
        if bytes.len() > content::body::BODY_MAX {
            return Err(Damage::Nonsense("its body is too long"));
        }
    }
    Body::decode(&bytes).map_err(Damage::from)
}
