//! A whole vault in a folder, and the trees of its snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use e2e::oracle::Facts;

use super::cutting::chunk_lengths;
use super::keys::{Keyring, open_slot};
use super::packs::{Origin, Pack, Segment, open_fragment, open_pack, trailer};
use super::records::Records;
use super::snapshots::{Descriptor, Snapshot, open_descriptor, open_snapshot};
use super::tree::{Address, Entry, Owner, What, read_extents, read_page};

pub struct Vault {
    pub descriptor: Descriptor,
    pub keys: Keyring,
    /// The pack objects, by their hashes.
    pub packs: BTreeMap<[u8; 32], Pack>,
    /// The oldest first.
    pub snapshots: Vec<Snapshot>,
    pub records: Records,
    /// Of all objects.
    pub names: BTreeSet<String>,
}

/// The keys that a passphrase, recovery code or key file opens.
pub fn open_keys(top: &Path, descriptor: &Descriptor, secret: &str) -> Keyring {
    let slots = hashed(top, "keys");
    let opened = slots.iter().filter_map(|slot| open_slot(slot, descriptor.vault, secret));
    let (_, keys) = opened.max_by_key(|(order, _)| *order).expect("a slot opens");
    assert_eq!(keys.signing_key().verifying_key().to_bytes(), descriptor.owner);
    keys
}

/// Everything in a tree.
#[derive(Default)]
pub struct Tree {
    /// By absolute path: the entry, its owner, and what the oracle would see.
    pub found: BTreeMap<PathBuf, (Entry, Facts)>,
    /// The names of owners, by user id.
    pub users: BTreeMap<u32, Vec<u8>>,
    /// The object that the snapshot names for each pack.
    named: BTreeMap<[u8; 16], [u8; 32]>,
    used: BTreeSet<([u8; 16], u32)>,
    /// How many directories had several pages.
    pub long_directories: usize,
    /// How many extent pages were read.
    pub extent_pages: usize,
    /// How many files had more than one chunk.
    pub cut_files: usize,
}

/// The objects under `prefix`, by the last part of their names.
pub fn objects(top: &Path, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(folder) = std::fs::read_dir(top.join(prefix)) else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for entry in folder {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = objects(top, &format!("{prefix}/{name}"));
            assert!(below.keys().all(|hash| hash.starts_with(&name) && name.len() == 2));
            out.extend(below);
        } else {
            out.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    out
}

/// The names of all objects.
fn names(top: &Path) -> BTreeSet<String> {
    let mut folders = vec![PathBuf::new()];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(top.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if top.join(&path).is_dir() {
                folders.push(path);
            } else {
                names.insert(path.into_os_string().into_string().unwrap());
            }
        }
    }
    names
}

/// As `objects`, but insists that each is called by its hash.
pub fn hashed(top: &Path, prefix: &str) -> Vec<Vec<u8>> {
    let check = |(name, object): (String, Vec<u8>)| {
        assert_eq!(blake3::hash(&object).to_hex().as_str(), name);
        object
    };
    objects(top, prefix).into_iter().map(check).collect()
}

impl Vault {
    /// Opens and checks everything in the vault at `top` with a passphrase, recovery code or key file.
    pub fn open(top: &Path, secret: &str) -> Self {
        let descriptor = open_descriptor(&std::fs::read(top.join("strongroom.vault")).unwrap());
        let keys = open_keys(top, &descriptor, secret);
        let records = Records::open(top, &descriptor);

        let mut packs = BTreeMap::new();
        let mut stored = BTreeMap::new();
        for object in hashed(top, "packs") {
            let hash = *blake3::hash(&object).as_bytes();
            packs.insert(hash, open_pack(&object, &keys));
            stored.insert(hash, (object.len() as u64, trailer(&object).to_vec()));
        }
        check_copies(&packs);
        let is_condemned = |what, hash: [u8; 32]| records.condemned.contains(&(what, hash));
        let mut fragments = hashed(top, "index");
        fragments.retain(|fragment| !is_condemned(2, *blake3::hash(fragment).as_bytes()));
        let fragments = fragments.into_iter().flat_map(|f| open_fragment(&f, descriptor.vault));
        let indexed: BTreeMap<_, _> = fragments.map(|(hash, size, copy)| (hash, (size, copy))).collect();
        stored.retain(|hash, _| !is_condemned(1, *hash));
        assert!(indexed == stored, "the index names all packs that are not condemned and nothing else");

        let open = |object: Vec<u8>| open_snapshot(&object, &descriptor, &keys);
        let mut snapshots: Vec<_> = hashed(top, "snapshots").into_iter().map(open).collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence);
        let names = names(top);
        Self { descriptor, keys, packs, snapshots, records, names }
    }

    /// The name of a pack object.
    pub fn name_of(&self, pack: [u8; 32]) -> String {
        let hash: String = pack.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("packs/{}/{hash}", &hash[..2])
    }

    /// How many segments of data are compressed.
    pub fn compressed(&self) -> usize {
        let data = self.packs.values().filter(|pack| pack.kind == 1);
        let segments = data.flat_map(|pack| pack.segments.values());
        segments.filter(|segment| segment.sealed < segment.raw.len()).count()
    }

    /// What is said of an origin wherever some of it is.
    pub fn seals_of(&self, pack: [u8; 16]) -> Vec<&Origin> {
        self.packs.values().filter_map(|object| object.origins.get(&pack)).collect()
    }

    /// Insists that the snapshots are those of one system, each after the one before, which may be gone if a mark says so.
    pub fn check_order(&self) {
        let mut before: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
        let system = self.snapshots[0].system;
        for mark in self.records.marks.iter().filter(|mark| mark.system == system) {
            let known = before.insert(mark.sequence, mark.snapshot);
            assert!(known.is_none_or(|known| known == mark.snapshot));
        }
        for snapshot in &self.snapshots {
            assert_eq!(snapshot.system, system);
            let known = before.insert(snapshot.sequence, snapshot.hash);
            assert!(known.is_none_or(|known| known == snapshot.hash));
            let previous = snapshot.sequence.checked_sub(1).map_or([0; 32], |place| before[&place]);
            assert_eq!(snapshot.previous, previous);
        }
    }

    /// The object that holds a segment of a pack: the one that a snapshot names, or if that is gone, the one that a
    /// relocation does.
    fn holder(&self, pack: [u8; 16], named: [u8; 32], number: u32) -> [u8; 32] {
        if self.packs.contains_key(&named) {
            return named;
        }
        let is_there = |(moved, _, numbers): &&([u8; 16], [u8; 32], BTreeSet<u32>)| {
            *moved == pack && numbers.contains(&number)
        };
        self.records.moved.iter().find(is_there).expect("a relocation tells").1
    }

    /// Reads the whole tree of a snapshot and compares it with what its envelope says.
    pub fn tree(&self, snapshot: &Snapshot) -> Tree {
        let named = snapshot.needs.iter().map(|(pack, (object, _))| (*pack, *object)).collect();
        let mut tree = Tree { named, ..Tree::default() };
        let root = self.chunk(&snapshot.body.root.unwrap(), 2, &mut tree);
        let (owners, mut entries) = read_page(root, &self.keys.cutting_key(), true);
        let entry = entries.pop().unwrap();
        assert!(entries.is_empty() && entry.name.is_empty() && entry.kind == 1);
        let totals = self.walk(entry, &owners, PathBuf::from("/"), &mut tree);
        assert_eq!(totals, (snapshot.files, snapshot.bytes), "files and bytes of the snapshot");
        let mut needed = BTreeSet::new();
        for (pack, (object, numbers)) in &snapshot.needs {
            let all: Vec<_> = numbers.iter().map(|number| (*pack, *number)).collect();
            for segment in &all {
                assert!(self.packs[&self.holder(*pack, *object, segment.1)].segments.contains_key(segment));
            }
            needed.extend(all);
        }
        assert!(needed == tree.used, "a snapshot names exactly the segments it needs");
        tree
    }

    /// The bytes of a chunk, which must be one of the segment's, in a pack of this kind.
    fn chunk(&self, address: &Address, kind: u8, tree: &mut Tree) -> &[u8] {
        let at = (address.pack, address.segment);
        let object = &self.packs[&self.holder(address.pack, tree.named[&address.pack], address.segment)];
        assert_eq!(object.kind, kind);
        let segment = &object.segments[&at];
        assert_eq!(segment.chunks.get(&address.offset), Some(&address.length), "{address:?} is a chunk");
        tree.used.insert(at);
        &segment.raw[address.offset as usize..][..address.length as usize]
    }

    /// Takes in an entry and all below it; how many things but directories, and how many bytes.
    fn walk(&self, entry: Entry, owners: &[Owner], path: PathBuf, tree: &mut Tree) -> (u64, u64) {
        let owner = &owners[entry.owner];
        tree.users.insert(owner.user, owner.user_name.clone());
        let mut facts = facts(&entry, owner);
        let totals = match &entry.what {
            What::Directory { pages, files, bytes } => {
                let totals = self.walk_directory(pages, &path, tree);
                assert_eq!(totals, (*files, *bytes), "files and bytes below {path:?}");
                totals
            }
            What::File { size, holes, extents, addresses } => {
                let addresses = match extents {
                    false => addresses,
                    true => &self.extents(addresses, tree),
                };
                let data = self.data(addresses, tree);
                let bytes = with_holes(&data, holes, *size);
                facts.size = *size;
                facts.content = blake3::hash(&bytes).to_hex().to_string();
                facts.data = data_ranges(holes, *size);
                (1, *size)
            }
            _ => (1, 0),
        };
        tree.found.insert(path, (entry, facts));
        totals
    }

    fn walk_directory(&self, pages: &[Address], path: &Path, tree: &mut Tree) -> (u64, u64) {
        let mut totals = (0, 0);
        let mut last = Vec::new();
        tree.long_directories += usize::from(pages.len() > 1);
        for (place, page) in pages.iter().enumerate() {
            let raw = self.chunk(page, 2, tree);
            let (owners, entries) = read_page(raw, &self.keys.cutting_key(), place + 1 == pages.len());
            assert!(!entries.is_empty());
            for entry in entries {
                assert!(last < entry.name, "names ascend from page to page, and none is empty");
                last.clone_from(&entry.name);
                let below = path.join(OsString::from_vec(entry.name.clone()));
                let (files, bytes) = self.walk(entry, &owners, below, tree);
                totals = (totals.0 + files, totals.1 + bytes);
            }
        }
        totals
    }

    fn extents(&self, pages: &[Address], tree: &mut Tree) -> Vec<Address> {
        let mut out = Vec::new();
        for page in pages {
            out.extend(read_extents(self.chunk(page, 2, tree)));
        }
        tree.extent_pages += pages.len();
        assert!(out.len() > 8192, "fewer fit into the entry");
        out
    }

    /// A file without its holes, which must be cut as the rule says.
    fn data(&self, addresses: &[Address], tree: &mut Tree) -> Vec<u8> {
        let mut data = Vec::new();
        for address in addresses {
            data.extend_from_slice(self.chunk(address, 1, tree));
        }
        let lengths: Vec<_> = addresses.iter().map(|address| address.length).collect();
        let expected = chunk_lengths(&data, &self.keys.cutting_key(), self.descriptor.chunk_sizes);
        assert_eq!(lengths, expected, "the lengths of a file's chunks");
        tree.cut_files += usize::from(lengths.len() > 1);
        data
    }
}

/// Insists that a segment that is in several objects says the same in all, but where it has holes: only a thinned one does,
/// and what is left of it is where it was.
fn check_copies(packs: &BTreeMap<[u8; 32], Pack>) {
    let mut seen: BTreeMap<([u8; 16], u32), &Segment> = BTreeMap::new();
    for (at, segment) in packs.values().flat_map(|pack| &pack.segments) {
        let Some(other) = seen.insert(*at, segment) else { continue };
        assert_eq!(segment.raw.len(), other.raw.len(), "what was moved stays as long as it was");
        for (offset, length) in &segment.chunks {
            let chunk = |of: &Segment| of.raw[*offset as usize..][..*length as usize].to_vec();
            let is_same = other.chunks.get(offset).is_none_or(|_| chunk(segment) == chunk(other));
            assert!(is_same, "what was moved stays as it was");
        }
    }
}

fn with_holes(mut data: &[u8], holes: &[(u64, u64)], size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (start, end) in data_ranges(holes, size) {
        out.resize(start as usize, 0);
        let (now, later) = data.split_at((end - start) as usize);
        out.extend_from_slice(now);
        data = later;
    }
    assert!(data.is_empty());
    out.resize(size as usize, 0);
    out
}

/// What is not hole: start and end of each range.
fn data_ranges(holes: &[(u64, u64)], size: u64) -> Vec<(u64, u64)> {
    let starts = [0].into_iter().chain(holes.iter().map(|hole| hole.1));
    let ends = holes.iter().map(|hole| hole.0).chain([size]);
    starts.zip(ends).filter(|(start, end)| start < end).collect()
}

fn facts(entry: &Entry, owner: &Owner) -> Facts {
    let kinds = ["file", "directory", "symlink", "fifo", "socket", "character device", "block device"];
    let device = match entry.what {
        What::Device(major, minor) => rustix::fs::makedev(major, minor),
        _ => 0,
    };
    let target = match &entry.what {
        What::Link(target) => OsString::from_vec(target.clone()).into(),
        _ => PathBuf::new(),
    };
    let attribute = |(name, value): &(Vec<u8>, Vec<u8>)| (OsString::from_vec(name.clone()), value.clone());
    Facts {
        kind: kinds[usize::from(entry.kind)],
        mode: if entry.kind == 2 { 0 } else { entry.mode },
        owner: (owner.user, owner.group),
        modified: (entry.modified.0, i64::from(entry.modified.1)),
        size: 0,
        device,
        target,
        content: String::new(),
        data: Vec::new(),
        xattrs: entry.attributes.iter().map(attribute).collect(),
        link_of: PathBuf::new(),
    }
}

impl Tree {
    /// What is in `top` of the tree, as the oracle would see it.
    pub fn look(&self, top: &Path) -> BTreeMap<PathBuf, Facts> {
        let mut first = BTreeMap::new();
        let mut out = BTreeMap::new();
        for (path, (entry, facts)) in &self.found {
            let Ok(below) = path.strip_prefix(top) else { continue };
            let mut facts = facts.clone();
            if entry.kind != 1 {
                facts.link_of = match entry.hard_linked {
                    true => first.entry((entry.device, entry.inode)).or_insert(below.to_owned()).clone(),
                    false => below.to_owned(),
                };
            }
            out.insert(below.to_owned(), facts);
        }
        assert!(self.found.keys().all(|path| path.starts_with(top) || top.starts_with(path)), "nothing else");
        out
    }

    /// The user name that entries carry for a user id.
    pub fn user_name(&self, id: u32) -> &std::ffi::OsStr {
        std::ffi::OsStr::from_bytes(&self.users[&id])
    }
}
