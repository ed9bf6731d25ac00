//! Snapshots that want to do harm: nothing outside of the target is touched, nothing panics, and what is honest in
//! them is restored.

use std::fs;
use std::path::PathBuf;

use backup::{RestoreReport, RestoreRequest};
use content::Address;
use content::tree::{Entry, FileContent, Hole, Node};
use vault::PackId;
use vault::pack::PackKind;

use crate::handmade::{self, Pack, entry, file, folder, link};
use crate::listing::{assert_equal, list};
use crate::{Scene, support};

/// What is around the target, so that leaving it can be seen.
struct Surroundings {
    scene: Scene,
    top: tempfile::TempDir,
}

impl Surroundings {
    fn new() -> Self {
        let top = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::create_dir(top.path().join("target")).unwrap();
        fs::create_dir(top.path().join("victim")).unwrap();
        fs::write(top.path().join("victim/file"), "untouched").unwrap();
        Self { scene: Scene::new(|_| {}), top }
    }

    fn victim(&self) -> PathBuf {
        self.top.path().join("victim")
    }

    fn target(&self) -> PathBuf {
        self.top.path().join("target")
    }

    /// Restores a root with the pages that `make` gives, with all that makes a restore bold.
    fn restore(&self, make: impl FnOnce(&mut Pack, &mut Pack) -> Vec<Address>) -> RestoreReport {
        let vault = &self.scene.vault;
        let (mut tree, mut data) = (Pack::new(vault, PackKind::Tree), Pack::new(vault, PackKind::Data));
        let pages = make(&mut tree, &mut data);
        let honest = support::latest(vault);
        let request = RestoreRequest {
            snapshot: handmade::snapshot(&honest, tree, &pages, vec![data.store()]),
            target: self.target(),
            overwrite: backup::Overwrite::Always,
            delete: true,
            verify: true,
            ..self.scene.whole()
        };
        let before = list(&self.victim());
        let report = self.scene.run(&request);
        assert_equal(&before, &list(&self.victim()));
        let around: Vec<_> =
            fs::read_dir(self.top.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(around.len(), 2, "{around:?}");
        report
    }
}

fn names(pages: &[Entry]) -> Vec<&[u8]> {
    pages.iter().map(|entry| &entry.name[..]).collect()
}

#[test]
fn names_that_climb_are_refused_and_the_rest_is_restored() {
    let evil: [&[u8]; 9] =
        [b"..", b".", b"", b"../victim", b"a/../../victim/x", b"/etc", b"victim/file", b"nul\0", b"./x"];
    for name in evil {
        let surroundings = Surroundings::new();
        let report = surroundings.restore(|tree, data| {
            let content = data.push(b"evil content");
            let below = tree.page(&[file(b"file", &[content])]);
            let bad = [file(name, &[content])];
            let worse = [folder(name, &[below])];
            let links = [link(name, &surroundings.victim())];
            let good = [file(b"zzz", &[content])];
            [&bad[..], &worse, &links, &good].map(|entries| tree.page(entries)).to_vec()
        });
        let found = list(&surroundings.target());
        assert_eq!(found.keys().collect::<Vec<_>>(), [b"zzz"], "{:?}", String::from_utf8_lossy(name));
        assert_eq!(report.problems.len(), 3, "{:?}", report.problems);
    }
}

#[test]
fn a_link_and_then_a_folder_of_the_same_name_do_not_lead_out() {
    for together in [true, false] {
        let surroundings = Surroundings::new();
        let report = surroundings.restore(|tree, data| {
            let content = data.push(b"evil content");
            let below = tree.page(&[file(b"file", &[content]), file(b"new", &[content])]);
            let (first, second) = (link(b"way", &surroundings.victim()), folder(b"way", &[below]));
            if together {
                vec![tree.page(&[first, second])]
            } else {
                vec![tree.page(&[first]), tree.page(&[second])]
            }
        });
        assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    }
}

#[test]
fn links_planted_in_the_target_are_not_followed() {
    let surroundings = Surroundings::new();
    let (target, victim) = (surroundings.target(), surroundings.victim());
    std::os::unix::fs::symlink(&victim, target.join("folder")).unwrap();
    std::os::unix::fs::symlink(victim.join("file"), target.join("one")).unwrap();
    fs::hard_link(victim.join("file"), target.join("two")).unwrap();
    fs::create_dir(target.join("surplus")).unwrap();
    std::os::unix::fs::symlink(&victim, target.join("surplus/link")).unwrap();
    let report = surroundings.restore(|tree, data| {
        let content = data.push(b"content");
        let below = tree.page(&[file(b"file", &[content])]);
        vec![tree.page(&[folder(b"folder", &[below]), file(b"one", &[content]), file(b"two", &[content])])]
    });
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(fs::read(target.join("folder/file")).unwrap(), b"content");
    assert!(!target.join("surplus").exists());
}

#[test]
fn what_claims_to_be_another_name_of_a_link_or_device_is_not() {
    let surroundings = Surroundings::new();
    let report = surroundings.restore(|tree, data| {
        let content = data.push(b"content");
        let mut entries = vec![
            link(b"a", &surroundings.victim().join("file")),
            entry(b"b", Node::CharDevice { major: 1, minor: 3 }),
            file(b"c", &[content]),
            file(b"d", &[content]),
        ];
        for entry in &mut entries {
            (entry.links, entry.device, entry.inode) = (4, 1, 5);
        }
        vec![tree.page(&entries)]
    });
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let found = list(&surroundings.target());
    let kinds: Vec<u32> = found.values().map(|seen| seen.mode >> 12).collect();
    assert_eq!(kinds, [0o12, 0o02, 0o10, 0o10]);
    assert_eq!(found[&b"d"[..]].same_as, b"c");
}

#[test]
fn a_folder_that_contains_itself_ends() {
    let surroundings = Surroundings::new();
    let report = surroundings.restore(|tree, data| {
        let content = data.push(b"content");
        // The page's own address is in it; its length is found by trying.
        let vault = surroundings.scene.vault.clone();
        let entries = |length| [file(b"file", &[content]), folder(b"inside", &[tree.next(length)])];
        let mut length = 0;
        for _ in 0..3 {
            length = handmade::encode(&vault, &entries(length)).len() as u32;
        }
        let entries = entries(length);
        assert_eq!(names(&entries), [&b"file"[..], b"inside"]);
        vec![tree.page(&entries)]
    });
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].message.contains("contains itself"), "{:?}", report.problems);
    assert_eq!(fs::read(surroundings.target().join("file")).unwrap(), b"content");
}

#[test]
fn addresses_and_sizes_that_lie_cost_only_their_file() {
    let surroundings = Surroundings::new();
    let report = surroundings.restore(|tree, data| {
        let good = data.push(&support::noise(1, 5000));
        let sized = |name: &[u8], size, content, holes| {
            entry(name, Node::File { size, content, holes, changing: false })
        };
        let extents = data.push(&content::tree::encode_extents(&[good, good]));
        let elsewhere = Address { pack: PackId::new([9; 16]), ..good };
        let entries = [
            file(b"a other segment", &[Address { segment: 700_000, ..good }]),
            file(b"b beyond the end", &[Address { offset: 4000, ..good }]),
            file(b"c other pack", &[good, elsewhere, good]),
            sized(b"d too few", 20_000, FileContent::Extents(vec![extents]), Vec::new()),
            sized(b"e too many", 7000, FileContent::Extents(vec![extents]), Vec::new()),
            sized(b"f not extents", 10_000, FileContent::Extents(vec![good]), Vec::new()),
            // More than any file system takes.
            sized(
                b"g huge hole",
                i64::MAX as u64,
                FileContent::Chunks(vec![good]),
                vec![Hole { offset: 5000, length: i64::MAX as u64 - 5000 }],
            ),
            file(b"h good", &[good, good]),
        ];
        vec![tree.page(&entries)]
    });
    let lost: Vec<_> = report.problems.iter().map(|problem| problem.path[1]).collect();
    let mut sorted = lost.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, b"abcdefg", "{:?}", report.problems);
    let left: Vec<_> = list(&surroundings.target()).into_keys().collect();
    assert_eq!(left, [b"h good"], "nothing is left half-written");
}

#[test]
fn what_reads_back_differently_is_found() {
    let surroundings = Surroundings::new();
    let report = surroundings.restore(|tree, data| {
        let good = data.push(&support::noise(1, 5000));
        let lie = data.push_as(&support::noise(2, 5000), content::ChunkId::new([7; 16]));
        vec![tree.page(&[file(b"good", &[good]), file(b"lie", &[good, lie])])]
    });
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!(problem.path, b"/lie");
    assert!(problem.message.contains("byte 5000"), "{problem:?}");
}
