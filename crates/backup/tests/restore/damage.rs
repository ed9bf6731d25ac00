//! Restores from a damaged vault: all that can be restored is, the rest is listed, and nothing is half-written.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use backup::{ProblemKind, RestoreReport, Snapshot, Vault};
use bytes::Bytes;
use vault::pack::{PackKind, Tail, Trailer, trailer_in_tail};

use crate::Scene;
use crate::listing::list;
use crate::support::{self, noise};

/// How an object is damaged.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Delete,
    Truncate,
    Flip,
    FlipTrailer,
    Swap,
}

fn pack(vault: &Arc<Vault>, name: &str) -> (Bytes, Trailer) {
    let bytes = vault.wait(vault.store().get(name, 1 << 30)).unwrap();
    let Tail::Whole(encoded) = trailer_in_tail(&bytes, bytes.len() as u64).unwrap() else { panic!("whole") };
    (bytes, Trailer::decode(&encoded).unwrap())
}

/// The names of all packs of a kind.
fn packs(vault: &Arc<Vault>, kind: PackKind) -> Vec<String> {
    let objects = vault.wait(vault.store().list("packs/")).unwrap();
    objects.into_iter().map(|object| object.name).filter(|name| pack(vault, name).1.kind == kind).collect()
}

fn overwrite(vault: &Arc<Vault>, name: &str, bytes: Option<Vec<u8>>) {
    vault.wait(vault.store().delete(name)).unwrap();
    if let Some(bytes) = bytes {
        vault.wait(vault.store().put(name, vec![bytes.into()])).unwrap();
    }
}

/// Damages an object, and returns what mends it.
fn harm(vault: &Arc<Vault>, name: &str, harm: Harm) -> Bytes {
    let (whole, trailer) = pack(vault, name);
    let mut bytes = whole.to_vec();
    let middle = trailer.rows[trailer.rows.len() / 2];
    match harm {
        Harm::Delete => bytes.clear(),
        Harm::Truncate => bytes.truncate(middle.offset as usize + 10),
        Harm::Flip => bytes[middle.offset as usize + middle.length as usize / 2] ^= 1,
        Harm::FlipTrailer => bytes[trailer.segments_end() as usize + 100] ^= 1,
        Harm::Swap => {
            let others = vault.wait(vault.store().list("packs/")).unwrap();
            let other = others.iter().find(|object| object.name != name).unwrap();
            bytes = vault.wait(vault.store().get(&other.name, 1 << 30)).unwrap().to_vec();
        }
    }
    overwrite(vault, name, (!bytes.is_empty()).then_some(bytes));
    whole
}

/// Damages all pages of all folders but the ones at the top.
pub fn damage_tree(vault: &Arc<Vault>, snapshot: &Snapshot) {
    for name in packs(vault, PackKind::Tree) {
        let (whole, trailer) = pack(vault, &name);
        let mut bytes = whole.to_vec();
        for row in &trailer.rows {
            let holds_root = trailer.origins[row.origin as usize].pack == snapshot.body.root.pack
                && row.number == snapshot.body.root.segment;
            if !holds_root {
                bytes[row.offset as usize + 20] ^= 1;
            }
        }
        overwrite(vault, &name, Some(bytes));
    }
}

/// Every file that is there is whole, every other one is listed with its object, and all folders are there.
fn check(scene: &Scene, report: &RestoreReport) -> usize {
    let (expected, found) = (list(scene.source.path()), list(scene.target.path()));
    let top = crate::bytes(scene.source.path());
    let lost: BTreeSet<Vec<u8>> = report
        .problems
        .iter()
        .map(|problem| {
            assert_eq!(problem.kind, ProblemKind::Unreadable);
            assert!(problem.message.contains("pack"), "{}", problem.message);
            problem.path[top.len() + 1..].to_vec()
        })
        .collect();
    assert_eq!(lost.len(), report.problems.len(), "each is listed once: {:?}", report.problems);
    for (path, seen) in &expected {
        let shown = String::from_utf8_lossy(path);
        match found.get(path) {
            Some(found) => assert_eq!(found, seen, "{shown}"),
            None => assert!(lost.contains(path), "{shown} is missing and not listed"),
        }
    }
    assert!(found.keys().all(|path| !lost.contains(path)), "what is listed is not there");
    assert_eq!(report.files_restored as usize + lost.len(), 303 + 40 + 3);
    lost.len()
}

fn plant(top: &std::path::Path) {
    support::plant(top);
    fs::remove_file(top.join("z/same")).unwrap();
    fs::create_dir(top.join("large")).unwrap();
    for n in 0..40 {
        fs::write(top.join(format!("large/{n}")), noise(5000 + n, 900_000)).unwrap();
    }
    // Names of one file in several folders, each of which must be told.
    fs::write(top.join("a/name"), noise(1, 2_000_000)).unwrap();
    fs::hard_link(top.join("a/name"), top.join("a/b/name")).unwrap();
    fs::hard_link(top.join("a/name"), top.join("z/name")).unwrap();
}

#[test]
fn each_damaged_data_pack_costs_only_what_was_in_it() {
    let scene = Scene::new(plant);
    let names = packs(&scene.vault, PackKind::Data);
    assert!(names.len() > 2, "{names:?}");
    for kind in [Harm::Delete, Harm::Truncate, Harm::Flip, Harm::FlipTrailer, Harm::Swap] {
        let mut lost = Vec::new();
        for name in &names {
            let whole = harm(&scene.vault, name, kind);
            let report = scene.run(&scene.request());
            lost.push(check(&scene, &report));
            overwrite(&scene.vault, name, Some(whole.to_vec()));
            fs::remove_dir_all(scene.target.path()).unwrap();
            fs::create_dir(scene.target.path()).unwrap();
        }
        assert!(lost.iter().all(|lost| *lost > 0), "{kind:?}: {lost:?}");
        assert!(lost.iter().all(|lost| *lost < 346), "{kind:?}: {lost:?}");
    }
    let report = scene.restore(&scene.request());
    assert_eq!(report.files_restored, 346, "nothing is remembered as damaged");
}

#[test]
fn a_lost_pack_leaves_what_was_there_before() {
    let scene = Scene::new(plant);
    scene.restore(&scene.request());
    let before = list(scene.target.path());
    for name in packs(&scene.vault, PackKind::Data) {
        harm(&scene.vault, &name, Harm::Delete);
    }
    // A file that was changed and cannot be mended keeps its name and what is right in it.
    let path = scene.target("a/large");
    let mut content = fs::read(&path).unwrap();
    content[0] ^= 1;
    fs::write(&path, &content).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let vault = support::open(scene.vault.store().clone(), fresh.path());
    let report = backup::restore(&vault, &scene.request(), &Arc::default()).unwrap();
    assert!(!report.problems.is_empty());
    assert_eq!(fs::read(&path).unwrap(), content);
    let after = list(scene.target.path());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}

#[test]
fn a_damaged_tree_still_gives_what_can_be_read() {
    let scene = Scene::new(plant);
    let names = packs(&scene.vault, PackKind::Tree);
    let snapshot = support::latest(&scene.vault);
    damage_tree(&scene.vault, &snapshot);
    let fresh = tempfile::tempdir().unwrap();
    let vault = support::open(scene.vault.store().clone(), fresh.path());
    match backup::restore(&vault, &scene.whole(), &Arc::default()) {
        Ok(report) => assert!(report.problems.iter().all(|problem| problem.message.contains("pack"))),
        Err(error) => assert!(error.to_string().contains("pack"), "{error}"),
    }
    // With no tree at all there is nothing to go by; the error names the object.
    for name in &names {
        harm_whole(&scene.vault, name);
    }
    let error = backup::restore(&vault, &scene.whole(), &Arc::default()).unwrap_err();
    assert_eq!(error.category(), backup::Category::Damaged, "{error}");
    assert!(names.iter().any(|name| error.to_string().contains(name)), "{error}");
}

fn harm_whole(vault: &Arc<Vault>, name: &str) {
    overwrite(vault, name, None);
}
