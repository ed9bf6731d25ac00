//! What is in a vault's store.

use std::sync::Arc;
use std::time::SystemTime;

use store::{ObjectInfo, Store};

use super::finding::{Finding, Findings, Severity};
use crate::error::VaultError;
use crate::name::{self, ObjectHash, VaultId};

/// All objects of a vault by what their names say.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub keys: Vec<ObjectInfo>,
    pub packs: Vec<ObjectInfo>,
    pub fragments: Vec<ObjectInfo>,
    pub damage_records: Vec<ObjectInfo>,
    pub snapshots: Vec<ObjectInfo>,
    pub trash_marks: Vec<ObjectInfo>,
    pub pins: Vec<ObjectInfo>,
    pub settings: Vec<ObjectInfo>,
    pub condemnations: Vec<ObjectInfo>,
    pub relocations: Vec<ObjectInfo>,
    /// When the store received the newest object of all.
    pub latest: Option<SystemTime>,
}

/// Folders of objects named by their hash that a check lets be.
const LET_BE: [&str; 5] = [name::SNAPSHOTS, name::INDEX, name::VERIFIED, name::ABILITIES, name::LOCKS];

impl Listing {
    /// Lists everything, in the order that the module above explains. Other names become notes.
    pub(super) async fn take(store: &Arc<dyn Store>, findings: &mut Findings) -> Result<Self, VaultError> {
        let mut listing = Self {
            snapshots: store.list(name::SNAPSHOTS).await?,
            fragments: store.list(name::INDEX).await?,
            ..Self::default()
        };
        let is_hash_in = |object: &ObjectInfo, folder: &str| {
            object.name.strip_prefix(folder).is_some_and(|name| ObjectHash::from_hex(name).is_some())
        };
        listing.snapshots.retain(|object| is_hash_in(object, name::SNAPSHOTS));
        listing.fragments.retain(|object| is_hash_in(object, name::INDEX));
        for object in store.list("").await? {
            listing.latest = listing.latest.max(Some(object.modified));
            let is_pack = || {
                ObjectHash::from_object_name(&object.name).is_some_and(|hash| hash.pack_name() == object.name)
            };
            if is_pack() {
                listing.packs.push(object);
            } else if is_hash_in(&object, name::KEYS) {
                listing.keys.push(object);
            } else if is_hash_in(&object, name::DAMAGE) {
                listing.damage_records.push(object);
            } else if is_hash_in(&object, name::TRASH) {
                listing.trash_marks.push(object);
            } else if is_hash_in(&object, name::PINS) {
                listing.pins.push(object);
            } else if is_hash_in(&object, name::SETTINGS) {
                listing.settings.push(object);
            } else if is_hash_in(&object, name::CONDEMNED) {
                listing.condemnations.push(object);
            } else if is_hash_in(&object, name::RELOCATIONS) {
                listing.relocations.push(object);
            } else if object.name != name::DESCRIPTOR
                && !is_lease(&object.name)
                && !LET_BE.iter().any(|folder| is_hash_in(&object, folder))
            {
                findings.add(Finding::new(
                    Severity::Note,
                    object.name,
                    "its name is none that a vault of this version has",
                    "leave it if a newer version of the program put it there; otherwise it may be removed",
                ));
            }
        }
        Ok(listing)
    }
}

/// Leases are named at random.
fn is_lease(name: &str) -> bool {
    let random = name.strip_prefix(name::LEASES);
    random.is_some_and(|digits| VaultId::from_hex(digits).is_some())
}
