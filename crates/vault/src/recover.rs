//! Bringing back what somebody deleted or overwrote, in a store that keeps older versions.
//!
//! Every object but the descriptor says by its name what its bytes are, so of all its versions it can be told which is
//! the right one. The descriptor is written once: its oldest version whose signature holds is the right one. What somebody
//! added stays: nothing relies on it.
//!
//! What this program deleted has no versions left, so nothing of that comes back, but where it was not allowed to remove them.
//! So looked at is what can only do good when it comes back:
//!
//! * what a vault cannot do without, which is what [`locking`](crate::locking) locks. What a cleanup deleted is garbage, and
//!   the next one condemns it again;
//! * pins: one too many keeps a snapshot that somebody has to unpin once more. So a pin that a thief took away keeps its
//!   snapshot again, also when it was forgotten meanwhile.
//!
//! Condemnations do not come back: their time would be that of before, and who began since then did not see them. What is
//! garbage is condemned anew. But which packs are closed, for ever, has to be known by whoever copies or regroups, so that is
//! [told anew](closings), with the time of now.
//!
//! Marks of forgotten snapshots stay away: one that came back could take a snapshot away that somebody brought back. What
//! was forgotten lives then, until it is forgotten again. Leases and the other records are of no use later.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use store::versions::{Version, Versioned};
use store::{Kind, Lock, StoreError};

use crate::check::Watch;
use crate::condemned::{self, Condemned};
use crate::descriptor::Descriptor;
use crate::error::VaultError;
use crate::locking::is_lockable;
use crate::name::{self, ObjectHash, VaultId};

/// How many objects are looked at at once.
const AT_ONCE: usize = 4;
/// A version of more bytes is no object of a vault.
const OBJECT_MAX: u64 = 1 << 30;

/// Folders whose objects are not locked and come back too.
const UNLOCKED: [&str; 2] = [name::PINS, name::CONDEMNED];

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It was deleted.
    Deleted,
    /// Other bytes were put in its place.
    Overwritten,
}

/// An object that can be had again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Back {
    /// Its name.
    pub name: String,
    /// What was done to it.
    pub harm: Harm,
    /// When the version that is right was written, by the store's clock.
    pub written: SystemTime,
    /// Its length in bytes.
    pub size: u64,
}

/// What a recovery found and did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Objects that were brought back, or would be.
    pub back: Vec<Back>,
    /// Objects of which no version is right.
    pub lost: Vec<String>,
    /// Objects that were looked at.
    pub objects: u64,
    /// Packs that are closed again, since what said so was taken away.
    pub closed_again: u64,
    /// It was ended early.
    pub ended_early: bool,
}

/// What becomes of one object.
enum Verdict {
    Fine,
    Lost(String),
    Back(Back, Version),
}

/// All versions of the objects that can come back, by name.
#[derive(Debug)]
pub struct Versions(BTreeMap<String, Vec<Version>>);

impl Versions {
    /// Lists them.
    pub async fn list(store: &dyn Versioned) -> Result<Self, VaultError> {
        let mut objects: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        for version in store.versions("").await? {
            if is_vaults(&version.name) {
                objects.entry(version.name.clone()).or_default().push(version);
            }
        }
        Ok(Self(objects))
    }
}

/// Looks at the objects that are `wanted` and brings back what can be. Whatever has to be written anew is locked by `lock`,
/// if such objects are locked.
/// `changes`: false only looks.
pub async fn recover(
    store: &dyn Versioned,
    versions: &Versions,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    lock: Option<Lock>,
    changes: bool,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(), VaultError> {
    let comes_back = |name: &String| !name.starts_with(name::CONDEMNED) && wanted(name);
    let objects = versions.0.iter().filter(|(name, _)| comes_back(name));
    let objects: Vec<_> = objects.map(|(_, versions)| versions.clone()).collect();
    report.objects += objects.len() as u64;
    let verdicts = objects.into_iter().map(|versions| judge(store, versions, watch));
    let mut verdicts = stream::iter(verdicts).buffered(AT_ONCE);
    while let Some(verdict) = verdicts.next().await {
        if watch.is_cancelled() {
            report.ended_early = true;
            return Ok(());
        }
        match verdict? {
            Verdict::Fine => {}
            Verdict::Lost(name) => report.lost.push(name),
            Verdict::Back(back, version) => {
                if changes {
                    let lock = lock.filter(|_| is_lockable(&back.name));
                    store.make_current(&version, lock).await?;
                }
                report.back.push(back);
            }
        }
    }
    Ok(())
}

/// The closings in condemnations that somebody took away, for who tells them anew.
pub async fn closings(
    store: &dyn Versioned,
    versions: &Versions,
    vault: VaultId,
    watch: &dyn Watch,
) -> Result<Vec<Condemned>, VaultError> {
    let mut closings = Vec::new();
    for (_, versions) in versions.0.iter().filter(|(name, _)| name.starts_with(name::CONDEMNED)) {
        let Verdict::Back(_, version) = judge(store, versions.clone(), watch).await? else { continue };
        let bytes = match store.get_version(&version, condemned::RECORD_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if is_no_version(error.kind) || error.kind == Kind::Cold => continue,
            Err(error) => return Err(error.into()),
        };
        let objects = condemned::decode(&bytes, vault).unwrap_or_default();
        closings.extend(objects.into_iter().filter(|object| object.what.is_closing()));
    }
    closings.sort();
    closings.dedup();
    Ok(closings)
}

/// Whether it has a name that an object of a vault can have.
fn is_vaults(name: &str) -> bool {
    if name == name::DESCRIPTOR {
        return true;
    }
    let Some(hash) = ObjectHash::from_object_name(name) else { return false };
    let comes_back = is_lockable(name) || UNLOCKED.iter().any(|folder| name.starts_with(folder));
    comes_back && (hash.pack_name() == name || name.matches('/').count() == 1)
}

/// `versions` are those of one object, the newest first.
async fn judge(
    store: &dyn Versioned,
    mut versions: Vec<Version>,
    watch: &dyn Watch,
) -> Result<Verdict, VaultError> {
    let is_whole = |versions: &[Version]| matches!(versions, [only] if !only.is_deletion);
    if is_whole(&versions) {
        return Ok(Verdict::Fine);
    }
    let Some(newest) = versions.first().cloned() else { return Ok(Verdict::Fine) };
    let harm = if newest.is_deletion { Harm::Deleted } else { Harm::Overwritten };
    let name = newest.name.clone();
    if name == name::DESCRIPTOR {
        // Whoever overwrites it may have signed another one.
        versions.reverse();
    }
    for version in versions.iter().filter(|version| !version.is_deletion) {
        if !is_right(store, version, watch).await? {
            continue;
        }
        if version.id == newest.id {
            return Ok(Verdict::Fine);
        }
        let (written, size) = (version.modified, version.size);
        return Ok(Verdict::Back(Back { name, harm, written, size }, version.clone()));
    }
    // Nobody wrote it, or all versions of it were removed.
    let had_bytes = versions.iter().any(|version| !version.is_deletion);
    Ok(if had_bytes { Verdict::Lost(name) } else { Verdict::Fine })
}

/// Whether a version is what its object's name says.
async fn is_right(store: &dyn Versioned, version: &Version, watch: &dyn Watch) -> Result<bool, StoreError> {
    match store.get_version(version, OBJECT_MAX).await {
        Ok(bytes) => {
            watch.read(bytes.len() as u64);
            Ok(is_named(&version.name, &bytes))
        }
        // It cannot be read now, but brought back all the same: whoever reads it later compares it with its name.
        Err(error) if error.kind == Kind::Cold => Ok(true),
        Err(error) if is_no_version(error.kind) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error says that a version is of no use.
fn is_no_version(kind: Kind) -> bool {
    matches!(kind, Kind::TooLarge | Kind::NotFound | Kind::Truncated)
}

fn is_named(name: &str, bytes: &Bytes) -> bool {
    match name {
        name::DESCRIPTOR => Descriptor::decode(bytes).is_ok(),
        _ => ObjectHash::from_object_name(name) == Some(ObjectHash::of(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::check::Unwatched;
    use crate::condemned::What;
    use crate::name::PackId;

    /// Versions with their bytes, the newest of each name first; `None` is a deletion.
    #[derive(Default)]
    struct Shelf {
        versions: Vec<(Version, Option<Bytes>)>,
        /// Names, versions, and whether with a lock.
        brought: Mutex<Vec<(String, String, bool)>>,
        /// Listings, and the names of what was read.
        asked: Mutex<Vec<String>>,
    }

    impl Shelf {
        fn add(&mut self, name: &str, newest_first: &[Option<&'static [u8]>]) {
            for (age, bytes) in newest_first.iter().enumerate() {
                let version = Version {
                    name: name.to_owned(),
                    id: age.to_string(),
                    modified: SystemTime::UNIX_EPOCH + Duration::from_secs(100 - age as u64),
                    size: bytes.map_or(0, |bytes| bytes.len() as u64),
                    is_deletion: bytes.is_none(),
                    is_current: age == 0,
                };
                self.versions.push((version, bytes.map(Bytes::from_static)));
            }
        }
    }

    #[async_trait]
    impl Versioned for Shelf {
        async fn versions(&self, _folder: &str) -> Result<Vec<Version>, StoreError> {
            self.asked.lock().unwrap().push("list".to_owned());
            Ok(self.versions.iter().map(|(version, _)| version.clone()).collect())
        }

        async fn get_version(&self, version: &Version, _size_max: u64) -> Result<Bytes, StoreError> {
            self.asked.lock().unwrap().push(version.name.clone());
            let found = self.versions.iter().find(|(other, _)| other == version);
            let bytes = found.and_then(|(_, bytes)| bytes.clone());
            bytes.ok_or_else(|| StoreError::new(Kind::NotFound, "read", &*version.name, "shelf"))
        }

        async fn remove_version(&self, version: &Version) -> Result<(), StoreError> {
            Err(StoreError::new(Kind::Locked, "delete", &*version.name, "shelf"))
        }

        async fn make_current(&self, version: &Version, lock: Option<Lock>) -> Result<(), StoreError> {
            self.brought.lock().unwrap().push((version.name.clone(), version.id.clone(), lock.is_some()));
            Ok(())
        }
    }

    #[tokio::test]
    async fn of_all_versions_the_right_one_comes_back() {
        let right: &'static [u8] = b"right";
        let hash = ObjectHash::of(right);
        let mut shelf = Shelf::default();
        let [pack, slot, snapshot] = [hash.pack_name(), hash.slot_name(), hash.snapshot_name()];
        shelf.add(&pack, &[None, Some(b"wrong"), Some(right), Some(b"worse")]);
        shelf.add(&slot, &[Some(b"wrong"), Some(right)]);
        // Fine as they are: whole, whole above something else, the only version (a check reads that), or never there.
        shelf.add(&hash.index_name(), &[Some(right), None, Some(b"wrong")]);
        shelf.add(&format!("settings/{hash}"), &[Some(b"wrong")]);
        shelf.add(&format!("relocations/{hash}"), &[None]);
        // What comes and goes, and what is no name.
        shelf.add(&format!("trash/{hash}"), &[None, Some(right)]);
        shelf.add(&format!("packs/{hash}/x"), &[None, Some(right)]);
        shelf.add(&snapshot, &[None, Some(b"wrong"), Some(b"worse")]);
        let mut report = Report::default();
        let versions = Versions::list(&shelf).await.unwrap();
        recover(&shelf, &versions, &|_| true, None, false, &Unwatched, &mut report).await.unwrap();
        assert!(shelf.brought.lock().unwrap().is_empty(), "only looked at");
        let found: Vec<_> = report.back.iter().map(|back| (back.name.as_str(), back.harm)).collect();
        assert_eq!(found, [(slot.as_str(), Harm::Overwritten), (pack.as_str(), Harm::Deleted)]);
        assert_eq!(report.lost, [snapshot]);
        assert_eq!(report.objects, 6);
        let wanted = |name: &str| !name.starts_with("snapshots/");
        recover(&shelf, &versions, &wanted, None, true, &Unwatched, &mut report).await.unwrap();
        let expected = [(slot, "1".to_owned(), false), (pack, "2".to_owned(), false)];
        assert_eq!(*shelf.brought.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_pin_comes_back_unlocked_and_a_mark_stays_away() {
        let right: &'static [u8] = b"right";
        let hash = ObjectHash::of(right);
        let (pin, relocation) = (format!("{}{hash}", name::PINS), format!("{}{hash}", name::RELOCATIONS));
        let mut shelf = Shelf::default();
        for folder in [name::PINS, name::RELOCATIONS, name::TRASH, name::CONDEMNED, name::LEASES, name::LOCKS]
        {
            shelf.add(&format!("{folder}{hash}"), &[None, Some(right)]);
        }
        let lock = Lock { until: SystemTime::UNIX_EPOCH, mode: store::LockMode::Governance };
        let mut report = Report::default();
        let versions = Versions::list(&shelf).await.unwrap();
        recover(&shelf, &versions, &|_| true, Some(lock), true, &Unwatched, &mut report).await.unwrap();
        let expected = [(pin, "1".to_owned(), false), (relocation, "1".to_owned(), true)];
        assert_eq!(*shelf.brought.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn which_packs_are_closed_is_not_forgotten() {
        const VAULT: VaultId = VaultId::new([1; 16]);
        let closing = |pack| Condemned::closing(What::ClosedPack, PackId::new([pack; 16]));
        let pack = Condemned { what: What::Pack, hash: ObjectHash::of(b"pack") };
        let record = |nonce, objects: &[Condemned]| -> &'static [u8] {
            Vec::leak(condemned::encode(VAULT, [nonce; 16], objects))
        };
        let name = |record| format!("{}{}", name::CONDEMNED, ObjectHash::of(record));
        let mut shelf = Shelf::default();
        let (stolen, overwritten) = (record(1, &[closing(1), pack]), record(2, &[closing(2), closing(1)]));
        shelf.add(&name(stolen), &[None, Some(stolen)]);
        shelf.add(&name(overwritten), &[Some(b"wrong"), Some(overwritten)]);
        let (there, foreign) =
            (record(3, &[closing(3)]), condemned::encode(VaultId::new([2; 16]), [4; 16], &[closing(4)]));
        shelf.add(&name(there), &[Some(there)]);
        shelf.add(&name(&foreign), &[None, Some(Vec::leak(foreign.clone()))]);
        let versions = Versions::list(&shelf).await.unwrap();
        let found = closings(&shelf, &versions, VAULT, &Unwatched).await.unwrap();
        assert_eq!(found, [closing(1), closing(2)]);
    }

    /// Cost: one listing, whatever was harmed, and the versions of what was; nothing of what is whole is read.
    #[tokio::test]
    async fn only_what_was_harmed_is_read() {
        let right: &'static [u8] = b"right";
        let hash = ObjectHash::of(right);
        let mut shelf = Shelf::default();
        for number in 0..100u8 {
            shelf.add(&ObjectHash::of(&[number]).pack_name(), &[Some(b"whole")]);
        }
        shelf.add(&hash.pack_name(), &[None, Some(right), Some(b"older")]);
        let mut report = Report::default();
        let versions = Versions::list(&shelf).await.unwrap();
        for wanted in [true, false] {
            let wanted = |name: &str| name.starts_with(name::SETTINGS) == wanted;
            recover(&shelf, &versions, &wanted, None, true, &Unwatched, &mut report).await.unwrap();
        }
        closings(&shelf, &versions, VaultId::default(), &Unwatched).await.unwrap();
        assert_eq!((report.objects, report.back.len()), (101, 1));
        let asked = shelf.asked.lock().unwrap();
        assert_eq!(*asked, ["list", &hash.pack_name()], "{asked:?}");
    }
}
