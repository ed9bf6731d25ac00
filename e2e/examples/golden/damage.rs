//! Damaged vaults, each laid over a whole one: the bytes are kept, not the way to make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use e2e::World;
use e2e::golden::{self, Age, Golden, damaged};

/// What is laid over the whole vault: new bytes by name, or that the object is gone.
type Overlay = BTreeMap<String, Option<Vec<u8>>>;

/// Writes them beside the whole one, and then what the program says of each.
pub fn make(folder: &Path) {
    let golden = Golden::new(folder);
    let world = golden.unpack(Age::Fresh);
    let vault = Objects(&world);
    let (data, tree) = (vault.largest_pack(1), vault.largest_pack(2));
    let (fragment, key) = (vault.first("index/"), vault.slot_of_passphrase());
    let [held, last] = [1, 3].map(|place| vault.snapshot(&golden, place));
    for (name, overlay) in [
        ("data-pack-flipped", vault.flipped(&data)),
        ("tree-pack-flipped", vault.flipped(&tree)),
        ("data-pack-missing", gone(&data)),
        ("tree-pack-missing", gone(&tree)),
        ("fragment-missing", gone(&fragment)),
        ("fragment-truncated", vault.truncated(&fragment)),
        ("key-slot-flipped", vault.flipped(&key)),
        ("descriptor-flipped", vault.flipped("strongroom.vault")),
        ("descriptor-missing", gone("strongroom.vault")),
        ("snapshot-flipped", vault.flipped(&last)),
        ("snapshot-missing-in-the-chain", gone(&held)),
        ("snapshot-missing-at-the-end", gone(&last)),
        ("pack-under-another-name", vault.swapped(&data, &tree)),
        ("snapshot-of-another-vault", foreign(&["snapshots/"])),
        ("objects-of-another-vault", foreign(&["packs/", "index/", "keys/", "settings/", "trash/", "pins/"])),
        ("snapshot-of-a-newer-program", vault.newer(&["snapshots/"])),
        ("pack-of-a-newer-program", vault.newer(&["packs/"])),
        ("pack-with-a-newer-feature", vault.with_a_feature(&data)),
        ("fragment-of-a-newer-program", vault.newer(&["index/"])),
        ("pin-of-a-newer-program", vault.newer(&["pins/"])),
        (
            "marks-of-a-newer-program",
            vault.newer(&["keys/", "settings/", "trash/", "condemned/", "relocations/"]),
        ),
        ("records-of-a-newer-program", vault.newer(&["damage/", "verified/", "abilities/", "locks/"])),
        ("things-of-a-newer-program", unknown()),
        (
            "many-at-once",
            many([vault.flipped(&data), gone(&tree), vault.truncated(&fragment), vault.flipped(&held)]),
        ),
    ] {
        let case = golden.damaged_folder().join(name);
        // Bytes that are kept stay as they are.
        if !case.exists() {
            write(&case, overlay);
        }
    }
    for case in damaged().iter().filter(|case| case.whole().name() == golden.name()) {
        let path = golden.damaged_folder().join(case.name()).join("expected");
        fs::write(path, case.outcomes().join("\n") + "\n").unwrap();
    }
    let hashes = golden::folder().join("hashes");
    let kept = fs::read_to_string(&hashes).unwrap_or_default();
    let mut kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    kept.extend(golden::hashes());
    fs::write(hashes, kept.into_iter().collect::<Vec<_>>().join("\n") + "\n").unwrap();
}

fn write(case: &Path, overlay: Overlay) {
    let mut removed = String::new();
    for (name, bytes) in overlay {
        match bytes {
            None => removed.push_str(&format!("{name}\n")),
            Some(bytes) => {
                let path = case.join("changed").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
    }
    if !removed.is_empty() {
        fs::create_dir_all(case).unwrap();
        fs::write(case.join("removed"), removed).unwrap();
    }
}

fn gone(name: &str) -> Overlay {
    Overlay::from([(name.to_owned(), None)])
}

fn many<const N: usize>(overlays: [Overlay; N]) -> Overlay {
    overlays.into_iter().flatten().collect()
}

/// Objects of a vault that has nothing to do with it, each under its right name.
fn foreign(folders: &[&str]) -> Overlay {
    let other = World::with_vault();
    fs::create_dir(other.path("source")).unwrap();
    fs::write(other.path("source/file"), "of somebody else").unwrap();
    for _ in 0..2 {
        other.run(["backup", &other.text("source")]).expect(0);
    }
    other.run(["settings", "--delete-delay", "1h"]).expect(0);
    other.run(["pin", "latest"]).expect(0);
    let listed = other.run(["snapshots", "--json"]).expect(0).json();
    other.run(["forget", listed[0]["id"].as_str().unwrap()]).expect(0);
    let vault = Objects(&other);
    let names = folders.iter().map(|folder| vault.first(folder));
    names.map(|name| (name.clone(), Some(vault.read(&name)))).collect()
}

/// What no folder of this version is for.
fn unknown() -> Overlay {
    Overlay::from([("thoughts/of-a-newer-program".to_owned(), Some(b"SROOMX\x02\x00".to_vec()))])
}

/// Under the name that its bytes have.
fn named(folder: &str, bytes: Vec<u8>) -> Overlay {
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let name = match folder {
        "packs/" => format!("packs/{}/{hash}", &hash[..2]),
        _ => format!("{folder}{hash}"),
    };
    Overlay::from([(name, Some(bytes))])
}

/// Where the trailer of a pack begins: its length stands before the last eight bytes.
fn trailer_at(pack: &[u8]) -> usize {
    let end = pack.len() - 12;
    end - u32::from_le_bytes(pack[end..end + 4].try_into().unwrap()) as usize
}

/// The objects of a vault in a folder.
struct Objects<'a>(&'a World);

impl Objects<'_> {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.vault().join(name)).unwrap()
    }

    /// The first that is not condemned.
    fn first(&self, folder: &str) -> String {
        self.0
            .objects(folder)
            .into_iter()
            .map(|(name, _)| name)
            .find(|name| !golden::is_condemned(self.0, name))
            .unwrap()
    }

    fn flipped(&self, name: &str) -> Overlay {
        let mut bytes = self.read(name);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        Overlay::from([(name.to_owned(), Some(bytes))])
    }

    fn truncated(&self, name: &str) -> Overlay {
        let bytes = self.read(name);
        Overlay::from([(name.to_owned(), Some(bytes[..bytes.len() * 2 / 3].to_vec()))])
    }

    fn swapped(&self, one: &str, other: &str) -> Overlay {
        Overlay::from([(one.to_owned(), Some(self.read(other)))])
    }

    /// The largest pack of a kind, which is the first byte of the trailer.
    fn largest_pack(&self, kind: u8) -> String {
        let is_of_kind = |name: &str| {
            let bytes = self.read(name);
            bytes[trailer_at(&bytes)] == kind
        };
        let packs = self.0.objects("packs/").into_iter();
        let packs = packs.filter(|(name, _)| is_of_kind(name) && !golden::is_condemned(self.0, name));
        packs.max_by_key(|(_, size)| *size).unwrap().0
    }

    /// A promised snapshot by its place among them in time. The envelope has the sequence after 64 bytes.
    fn snapshot(&self, whole: &Golden, place: usize) -> String {
        let mut promised: Vec<_> = whole.promised().into_keys().map(|id| format!("snapshots/{id}")).collect();
        promised.sort_by_key(|name| self.read(name)[64]);
        promised.swap_remove(place)
    }

    /// The kind of a slot stands after 32 bytes; the newest passphrase counts.
    fn slot_of_passphrase(&self) -> String {
        let slots = self.0.objects("keys/").into_iter().map(|(name, _)| name);
        slots.filter(|name| self.read(name)[32] == 1).max_by_key(|name| self.read(name).len()).unwrap()
    }

    /// Beside what is there, an object in each of these folders that a newer program wrote.
    fn newer(&self, folders: &[&str]) -> Overlay {
        let newer = |folder: &&str| {
            let mut bytes = self.read(&self.first(folder));
            bytes[6] = 2;
            named(folder, bytes)
        };
        folders.iter().flat_map(newer).collect()
    }

    /// A pack with a bit in the features of its trailer that this version does not know.
    fn with_a_feature(&self, name: &str) -> Overlay {
        let mut bytes = self.read(name);
        let at = trailer_at(&bytes) + 1;
        bytes[at] |= 0x20;
        named("packs/", bytes)
    }
}
