//! The snapshots of a vault.

use std::sync::Arc;

use content::envelope::{DataKey, Place, Purpose};
use content::segment::Opener;
use store::{Cached, Part};
use vault::error::Damage;
use vault::name;
use vault::snapshot::{self, Envelope, SNAPSHOT_MAX, SnapshotObject};
use vault::{ObjectHash, SnapshotId};

use crate::{Body, Error, Vault};

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
}

/// All snapshots of a vault.
#[derive(Clone, Debug, Default)]
pub struct SnapshotList {
    /// Those that can be read, the oldest first.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// Objects that should be snapshots and cannot be read, with the reason.
    pub damaged: Vec<(String, Damage)>,
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
    fn fits(&self, snapshot: &Snapshot) -> bool {
        let body = &snapshot.body;
        (self.hosts.is_empty() || self.hosts.contains(&body.host))
            && self.paths.iter().all(|path| body.paths.contains(path))
            && self.tags.iter().all(|tag| body.tags.contains(tag))
    }
}

impl SnapshotList {
    /// Reads all of them. Damaged ones do not stop it.
    pub fn load(vault: &Arc<Vault>) -> Result<Self, Error> {
        let objects = vault.wait(vault.store().list(name::SNAPSHOTS))?;
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
                let bytes = match vault.wait(fetch) {
                    Ok(Ok(bytes)) => bytes,
                    Ok(Err(error)) => match error.kind {
                        store::Kind::NotFound => {
                            list.damaged.push((object.name.clone(), Damage::Missing));
                            continue;
                        }
                        store::Kind::TooLarge | store::Kind::Truncated | store::Kind::InvalidName => {
                            list.damaged.push((object.name.clone(), Damage::HashMismatch));
                            continue;
                        }
                        _ => return Err(error.into()),
                    },
                    Err(_) => return Err(Error::Interrupted),
                };
                let opened = open(vault, &object.name, &bytes, &mut opener);
                let opened = match vault.cached().filter(|_| opened.is_err()) {
                    Some(cached) => again(vault, cached, &object.name, &mut opener)?,
                    None => opened,
                };
                match opened {
                    Ok(snapshot) => list.snapshots.push(Arc::new(snapshot)),
                    Err(damage) => list.damaged.push((object.name.clone(), damage)),
                }
            }
        }
        list.snapshots.sort_by_key(|snapshot| (snapshot.envelope.time, snapshot.id));
        Ok(list)
    }

    /// Those that fit, the oldest first.
    pub fn matching(&self, filter: &Filter) -> Vec<Arc<Snapshot>> {
        self.snapshots.iter().filter(|snapshot| filter.fits(snapshot)).cloned().collect()
    }

    /// The one meant by `text`: the beginning of an id, or `latest` among those that fit the filter.
    pub fn find(&self, text: &str, filter: &Filter) -> Result<Arc<Snapshot>, Error> {
        let fitting = self.matching(filter);
        if text == "latest" {
            return fitting.last().cloned().ok_or_else(|| Error::NoSuchSnapshot("that fits".to_owned()));
        }
        let prefix = text.to_ascii_lowercase();
        let mut meant = fitting.iter().filter(|snapshot| snapshot.id.to_string().starts_with(&prefix));
        match (meant.next(), meant.count()) {
            _ if prefix.is_empty() => Err(Error::NoSuchSnapshot(text.to_owned())),
            (Some(snapshot), 0) => Ok(snapshot.clone()),
            (None, _) => {
                let damaged = |(name, _): &&(String, Damage)| {
                    name.strip_prefix(name::SNAPSHOTS).is_some_and(|id| id.starts_with(&prefix))
                };
                match self.damaged.iter().find(damaged) {
                    Some((name, damage)) => Err(Error::damaged(name.clone(), damage.clone())),
                    None => Err(Error::NoSuchSnapshot(text.to_owned())),
                }
            }
            (Some(_), more) => Err(Error::AmbiguousSnapshot { text: text.to_owned(), count: more + 1 }),
        }
    }
}

/// Decodes, verifies and opens one snapshot object.
pub(crate) fn open(
    vault: &Vault,
    object: &str,
    bytes: &bytes::Bytes,
    opener: &mut Opener,
) -> Result<Snapshot, Damage> {
    let id = ObjectHash::from_object_name(object).ok_or(Damage::Nonsense("its name is not a snapshot's"))?;
    let object = snapshot::decode(bytes, id, vault.id())?;
    if object.signer != vault.descriptor().owner {
        return Err(Damage::Signature);
    }
    let body = open_body(vault, &object, opener)?;
    Ok(Snapshot { id, envelope: object.envelope, body, size: bytes.len() as u64 })
}

/// A second look at a snapshot that is damaged: its bytes may have been damaged on their way, and what this machine keeps
/// may have come that way.
fn again(
    vault: &Arc<Vault>,
    cached: &Cached,
    name: &str,
    opener: &mut Opener,
) -> Result<Result<Snapshot, Damage>, Error> {
    vault.wait(cached.forget(name, &Part::Whole));
    let opened = match vault.wait(vault.reading().get(name, SNAPSHOT_MAX)) {
        Ok(bytes) => open(vault, name, &bytes, opener),
        Err(error) if error.kind == store::Kind::NotFound => Err(Damage::Missing),
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
