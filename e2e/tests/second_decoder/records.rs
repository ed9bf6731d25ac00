//! All that is said in a vault beside snapshots and what they need: sections 13 to 15.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::custody::{
    Lease, Verified, asks_for_the_time, open_abilities, open_condemnation, open_lease, open_locks,
    open_relocation, open_verified,
};
use super::marks::{Mark, Pin, Settings, open_damage, open_marks, open_pin, open_settings};
use super::snapshots::Descriptor;
use super::vault::{hashed, objects};

/// What is said beside: marks, settings and custody.
#[derive(Default)]
pub struct Records {
    pub marks: Vec<Mark>,
    pub pins: Vec<Pin>,
    /// In their order, with the seconds since 1970 at which the store received them.
    pub settings: Vec<(Settings, u64)>,
    pub leases: Vec<Lease>,
    pub condemned: BTreeSet<(u8, [u8; 32])>,
    /// Where packs are, from relocations that are not condemned.
    pub moved: Vec<([u8; 16], [u8; 32], BTreeSet<u32>)>,
    pub verified: Vec<Verified>,
    pub damaged: Vec<([u8; 16], [u8; 32])>,
    pub abilities: Vec<(i64, BTreeMap<u64, i64>)>,
    pub locks: Vec<Vec<(String, i64)>>,
}

/// The folders that the document names; what is elsewhere is no object.
const FOLDERS: [&str; 15] = [
    "keys",
    "packs",
    "index",
    "snapshots",
    "damage",
    "trash",
    "pins",
    "settings",
    "leases",
    "condemned",
    "relocations",
    "verified",
    "abilities",
    "locks",
    "tmp",
];

impl Records {
    /// The packs that are closed here (5) or elsewhere (6).
    pub fn closed(&self, what: u8) -> BTreeSet<[u8; 16]> {
        let of_kind = self.condemned.iter().filter(|(closed, _)| *closed == what);
        of_kind.map(|(_, pack)| pack[..16].try_into().unwrap()).collect()
    }

    pub fn open(top: &Path, descriptor: &Descriptor) -> Self {
        for entry in std::fs::read_dir(top).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_known = name == "strongroom.vault" || FOLDERS.contains(&name.as_str());
            // An empty folder is nothing.
            assert!(is_known || objects(top, &name).is_empty(), "{name} is in the table");
        }
        let vault = descriptor.vault;
        let read = |folder| hashed(top, folder);
        let mut settings: Vec<(Settings, u64)> = Vec::new();
        for object in read("settings") {
            let version = open_settings(&object, descriptor);
            let path = top.join("settings").join(blake3::hash(&object).to_hex().as_str());
            settings.push((version, path.metadata().unwrap().mtime() as u64));
        }
        settings.sort_by_key(|(version, received)| (version.sequence, *received, version.hash));
        let mut previous = [0; 32];
        for ((version, _), sequence) in settings.iter().zip(1..) {
            assert_eq!((version.sequence, version.previous), (sequence, previous));
            previous = version.hash;
        }
        let condemned: BTreeSet<_> =
            read("condemned").iter().flat_map(|object| open_condemnation(object, vault)).collect();
        let mut leases = Vec::new();
        for (name, object) in objects(top, "leases") {
            if asks_for_the_time(&object) {
                continue;
            }
            let lease = open_lease(&object, vault);
            let id: String = lease.id.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(id, name);
            leases.push(lease);
        }
        let counts = |object: &Vec<u8>| !condemned.contains(&(4, *blake3::hash(object).as_bytes()));
        let moved = read("relocations").into_iter().filter(counts);
        let moved = moved.flat_map(|object| open_relocation(&object, vault)).collect();
        Self {
            marks: read("trash").iter().flat_map(|object| open_marks(object, vault)).collect(),
            pins: read("pins").iter().map(|object| open_pin(object, vault)).collect(),
            settings,
            leases,
            condemned,
            moved,
            verified: read("verified").iter().map(|object| open_verified(object, vault)).collect(),
            damaged: read("damage").iter().flat_map(|object| open_damage(object, vault)).collect(),
            abilities: read("abilities").iter().map(|object| open_abilities(object, vault)).collect(),
            locks: read("locks").iter().map(|object| open_locks(object, vault)).collect(),
        }
    }
}
