use std::collections::BTreeMap;
use std::sync::Arc;

use content::Address;
use content::cut::Cutter;
use content::slot::{Credential, PassphraseCost};
use content::tree::{Entry, FileContent, Node, Owner, Time};
use store::MemoryStore;
use vault::{ObjectHash, PackId};

use super::reader::Record;
use super::*;
use crate::{NewSlot, Vault};

/// A directory: its files with their sizes, its folders with what is in them.
type Tree = BTreeMap<Vec<u8>, Thing>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    File(u32),
    Folder(Tree),
}

struct World {
    vault: Arc<Vault>,
    job: Job,
    _cache: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let slot = NewSlot {
            credential: Credential::new_key_file(),
            label: String::new(),
            cost: PassphraseCost::STANDARD,
            write_only: false,
        };
        let vault = Vault::create(Arc::new(MemoryStore::new()), &[slot], cache.path()).unwrap();
        let job = Job::of(&vault, SystemId::default(), "host", &["/a".into()]);
        Self { vault, job, _cache: cache }
    }

    fn writer(&self, job: Job) -> NotesWriter {
        let sizes = self.vault.descriptor().chunk_sizes;
        NotesWriter::begin(&self.vault, job, &Cutter::new(self.vault.keyring().cutting_key(), sizes), 7)
    }

    fn note(&self, tree: &Tree) {
        let mut writer = self.writer(self.job);
        note_folder(&mut writer, b"", tree);
        writer.keep(snapshot(1));
    }

    fn path(&self, job: Job) -> PathBuf {
        folder(&self.vault).join(job.file_name())
    }

    fn open(&self) -> Option<Notes> {
        Notes::open(&self.vault, self.job)
    }

    /// What can be read of the notes, one line for each entry and each end of a directory, and whether all could be.
    fn lines(&self) -> Option<(Vec<String>, bool)> {
        let mut notes = self.open()?;
        let mut lines = Vec::new();
        loop {
            match notes.record() {
                Ok(Some(Record::Page(entries))) => {
                    lines.extend(entries.iter().map(|entry| format!("{entry:?}")));
                }
                Ok(Some(Record::Leave)) => lines.push("leave".to_owned()),
                Ok(None) => return Some((lines, true)),
                Err(_) => return Some((lines, false)),
            }
        }
    }
}

fn snapshot(number: u8) -> SnapshotId {
    ObjectHash::of(&[number])
}

fn note_folder(writer: &mut NotesWriter, name: &[u8], tree: &Tree) {
    writer.entry(&entry(name, Node::Directory { pages: Vec::new(), files: 0, bytes: 0 }));
    for (name, thing) in tree {
        match thing {
            Thing::File(size) => writer.entry(&file(name, *size)),
            Thing::Folder(tree) => note_folder(writer, name, tree),
        }
    }
    writer.leave();
}

fn file(name: &[u8], size: u32) -> Entry {
    let address = Address { pack: PackId::new([5; 16]), segment: 3, offset: 9, length: size };
    let content = FileContent::Chunks(vec![address]);
    entry(name, Node::File { size: u64::from(size), content, holes: Vec::new(), changing: false })
}

fn entry(name: &[u8], node: Node) -> Entry {
    Entry {
        name: name.to_vec(),
        node,
        mode: 0o640,
        owner: Arc::new(Owner::default()),
        modified: Time { seconds: 1_700_000_000, nanoseconds: 5 },
        changed: Time::default(),
        inode: 77,
        device: 0,
        links: 1,
        xattrs: vec![(b"user.note".to_vec(), b"value".to_vec())],
    }
}

/// Numbers that depend on a seed alone.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn roll(&mut self, sides: u8) -> u8 {
        let mut byte = [0];
        self.0.fill(&mut byte);
        byte[0] % sides
    }

    fn tree(&mut self, depth: u8) -> Tree {
        let mut tree = Tree::new();
        for _ in 0..self.roll(6) {
            // Few names, some the beginning of others, so that two trees share many.
            let name = b"abcdef"[..1 + usize::from(self.roll(3))].to_vec();
            let name = [vec![b'a' + self.roll(3)], name].concat();
            let thing = match self.roll(3) {
                0 if depth > 0 => Thing::Folder(self.tree(depth - 1)),
                size => Thing::File(u32::from(size) + 1),
            };
            tree.insert(name, thing);
        }
        tree
    }
}

/// Walks `after` beside the notes of `before`; how many things were found.
fn merge(noted: &mut NotedTree, before: Option<&Tree>, after: &Tree) -> usize {
    let mut count = 0;
    for (name, thing) in after {
        let found = noted.find(name);
        let expected = before.and_then(|before| before.get(name));
        match (&found, expected) {
            (Some(entry), Some(Thing::File(size))) => assert_eq!(*entry, file(name, *size)),
            (Some(entry), Some(Thing::Folder(_))) => assert!(entry.is_directory() && entry.name == *name),
            (None, None) => {}
            (found, expected) => panic!("{name:?}: found {found:?} for {expected:?}"),
        }
        count += usize::from(found.is_some());
        if let Thing::Folder(below) = thing {
            noted.enter(found.as_ref());
            let before = match expected {
                Some(Thing::Folder(before)) => Some(before),
                _ => None,
            };
            count += merge(noted, before, below);
            noted.leave();
        }
    }
    count
}

#[test]
fn a_walk_finds_in_the_notes_what_stood_at_each_path_and_nothing_else() {
    let world = World::new();
    let mut found = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        let (before, after) = (dice.tree(4), dice.tree(4));
        for after in [&after, &before] {
            world.note(&before);
            let mut noted = NotedTree::new(world.open());
            let root = noted.find(b"").unwrap();
            noted.enter(Some(&root));
            found += merge(&mut noted, Some(&before), after);
            noted.leave();
        }
    }
    assert!(found > 1000, "{found}");
}

/// A tree whose notes take several blocks.
fn large() -> Tree {
    let files = (0..9000u32).map(|n| {
        let name = blake3::hash(&n.to_le_bytes()).to_hex().repeat(3);
        (name.into_bytes(), Thing::File(n % 1000 + 1))
    });
    Tree::from([(b"many".to_vec(), Thing::Folder(files.collect())), (b"one".to_vec(), Thing::File(4))])
}

#[test]
fn notes_of_several_blocks_come_back_and_say_what_they_are_about() {
    let world = World::new();
    assert!(world.open().is_none(), "there are none");
    world.note(&large());
    let notes = world.open().unwrap();
    assert_eq!((notes.snapshot, notes.began), (snapshot(1), 7));
    let (lines, is_whole) = world.lines().unwrap();
    assert!(is_whole);
    assert_eq!(lines.len(), 1 + 1 + 9000 + 1 + 1 + 1);
    let size = world.path(world.job).metadata().unwrap().len();
    let raw = 9000 * 192;
    assert!(size < raw, "{size} bytes are compressed from {raw} and more");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(world.path(world.job).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder(&world.vault).metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn of_damaged_notes_only_what_is_right_is_read() {
    let world = World::new();
    world.note(&large());
    let path = world.path(world.job);
    let good = fs::read(&path).unwrap();
    let (lines, _) = world.lines().unwrap();
    let mut partly = 0;
    let mut try_with = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        if let Some((read, is_whole)) = world.lines() {
            assert!(!is_whole, "{what}");
            assert!(lines.starts_with(&read) && read.len() < lines.len(), "{what}");
            partly += usize::from(!read.is_empty());
        }
    };
    let middle = (48..good.len() - 70).step_by(good.len() / 40);
    for at in (0..48).step_by(5).chain(middle).chain((good.len() - 70..good.len()).step_by(7)) {
        let mut broken = good.clone();
        broken[at] ^= 1;
        try_with(&broken, &format!("flipped byte {at}"));
        try_with(&good[..at], &format!("cut at {at}"));
        broken.splice(at..at, [0; 3]);
        try_with(&broken, &format!("grown at {at}"));
    }
    assert!(partly > 10, "{partly}");
    fs::write(&path, &good).unwrap();
    assert!(world.lines().unwrap().1);
}

#[test]
fn notes_of_another_job_or_vault_or_older_keys_are_none() {
    let world = World::new();
    world.note(&large());
    let path = world.path(world.job);
    let vault = &world.vault;
    let others = [
        Job::of(vault, SystemId::new([1; 16]), "host", &["/a".into()]),
        Job::of(vault, SystemId::default(), "hosts", &["/a".into()]),
        Job::of(vault, SystemId::default(), "host", &["/a/".into()]),
        Job::of(vault, SystemId::default(), "host", &["/a".into(), "/b".into()]),
    ];
    for other in others {
        fs::copy(&path, world.path(other)).unwrap();
        assert!(Notes::open(vault, other).is_none());
    }
    assert_eq!(
        Job::of(vault, SystemId::default(), "host", &["/b".into(), "/a".into()]),
        others[3],
        "the order of the paths says nothing"
    );
    let elsewhere = World::new();
    fs::create_dir_all(folder(&elsewhere.vault)).unwrap();
    fs::copy(&path, elsewhere.path(elsewhere.job)).unwrap();
    assert!(elsewhere.open().is_none());
    assert!(world.open().is_some());
}

#[test]
fn what_is_not_kept_leaves_the_older_notes_and_no_file() {
    let world = World::new();
    world.note(&Tree::new());
    let mut writer = world.writer(world.job);
    writer.entry(&file(b"x", 1));
    let names = || fs::read_dir(folder(&world.vault)).unwrap().count();
    assert_eq!(names(), 2);
    tidy(&world.vault, |_| true);
    assert_eq!(names(), 2, "the run that writes it lives");
    drop(writer);
    assert_eq!(names(), 1);
    assert_eq!(world.open().unwrap().snapshot, snapshot(1));
}

fn make_old(path: &Path, days: u64) {
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn what_killed_runs_left_goes_and_notes_go_with_their_snapshot() {
    let world = World::new();
    world.note(&Tree::new());
    let path = world.path(world.job);
    let left = folder(&world.vault).join(format!("{UNFINISHED}1"));
    let strange = folder(&world.vault).join("strange");
    for path in [&left, &strange] {
        fs::write(path, "").unwrap();
    }
    tidy(&world.vault, |_| false);
    assert!(!left.exists() && path.exists() && strange.exists(), "a listing may lag");
    make_old(&path, 2);
    make_old(&strange, 2);
    tidy(&world.vault, |id| id == snapshot(1));
    assert!(path.exists() && !strange.exists());
    tidy(&world.vault, |id| id == snapshot(2));
    assert!(!path.exists());
}

#[test]
fn the_oldest_notes_go_when_there_are_too_many() {
    let world = World::new();
    let jobs: Vec<_> =
        (1..4).map(|n| Job::of(&world.vault, SystemId::new([n; 16]), "host", &["/a".into()])).collect();
    for (job, days) in jobs.iter().zip([2, 3, 1]) {
        world.writer(*job).keep(snapshot(1));
        make_old(&world.path(*job), days);
    }
    let each = world.path(jobs[0]).metadata().unwrap().len();
    let there = || jobs.iter().map(|job| world.path(*job).exists()).collect::<Vec<_>>();
    shrink(&folder(&world.vault), 3 * each);
    assert_eq!(there(), [true, true, true]);
    shrink(&folder(&world.vault), 3 * each - 1);
    assert_eq!(there(), [true, false, true]);
    shrink(&folder(&world.vault), each);
    assert_eq!(there(), [false, false, true]);
}
