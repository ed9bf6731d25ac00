//! Removing what the snapshot does not have, and nothing else.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use backup::{Overwrite, RestoreRequest};
use store::FolderStore;

use crate::listing::{assert_equal, assert_same, list};
use crate::support::{self, noise, plant};
use crate::{Mount, Scene, bytes, selection};

fn write(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "surplus").unwrap();
}

#[test]
fn surplus_goes_wherever_it_is() {
    let scene = Scene::new(plant);
    scene.restore(&scene.request());
    for path in ["0 first", "a/00", "a/b/zz", "empty/x/y/z", "new/folder/file", "z/file-0", "zz last"] {
        write(&scene.target(path));
    }
    let kept = scene.restore(&scene.request());
    assert_eq!(kept.deleted, 0);
    assert!(scene.target("new/folder/file").exists(), "nothing goes without being asked to");
    let mut request = scene.request();
    request.delete = true;
    let report = scene.restore(&request);
    // Seven files and the folders x, y, new, folder.
    assert_eq!((report.deleted, report.files_restored), (11, 0));
    assert_same(scene.source.path(), scene.target.path());
}

#[test]
fn what_is_not_selected_stays() {
    let scene = Scene::new(plant);
    scene.restore(&scene.request());
    for path in ["a/surplus", "a/keep.me", "a/gone/keep.me", "a/gone/gone", "z/surplus", "surplus"] {
        write(&scene.target(path));
    }
    let mut request = scene.request();
    request.delete = true;
    let folder = scene.source("a");
    request.selection = selection(&[folder.to_str().unwrap()], &["keep.me"]);
    let report = scene.restore(&request);
    assert_eq!(report.deleted, 2);
    let there = |path: &str| scene.target(path).exists();
    assert!(there("z/surplus") && there("surplus") && there("a/keep.me") && there("a/gone/keep.me"));
    assert!(!there("a/surplus") && !there("a/gone/gone"));
}

#[test]
fn folders_above_what_was_backed_up_keep_what_they_have() {
    let top = tempfile::tempdir_in("/var/tmp").unwrap();
    let source = top.path().join("home/source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("file"), "file").unwrap();
    write(&top.path().join("home/neighbour/file"));
    write(&top.path().join("other"));
    // Backed up by way of a link: the snapshot then tells the path as it was given.
    std::os::unix::fs::symlink(top.path().join("home"), top.path().join("way")).unwrap();
    for given in [source.clone(), top.path().join("way/source")] {
        let cache = tempfile::tempdir().unwrap();
        let vault = support::create(Arc::new(store::MemoryStore::new()), cache.path());
        support::run(&vault, &given);
        write(&source.join("surplus"));
        let mut before = list(top.path());
        let request = RestoreRequest {
            snapshot: support::latest(&vault),
            part: Vec::new(),
            target: "/".into(),
            selection: files::Selection::default(),
            overwrite: Overwrite::IfChanged,
            delete: true,
            verify: false,
            dry_run: false,
            parallelism: None,
        };
        let report = backup::restore(&vault, &request, &Arc::default()).unwrap();
        assert_eq!((report.deleted, report.files_unchanged), (1, 1), "{given:?}");
        before.remove(&b"home/source/surplus"[..]).unwrap();
        let mut after = list(top.path());
        // The folder's time is that of the snapshot.
        for listing in [&mut before, &mut after] {
            listing.remove(&b"home/source"[..]).unwrap();
        }
        assert_equal(&before, &after);
    }
}

#[test]
fn the_vault_and_its_cache_are_never_removed() {
    let top = tempfile::tempdir_in("/var/tmp").unwrap();
    let (vault_folder, cache) = (top.path().join("own/vault"), top.path().join("cache"));
    fs::create_dir_all(&vault_folder).unwrap();
    fs::write(top.path().join("file"), "file").unwrap();
    let store = Arc::new(FolderStore::open(&vault_folder).unwrap());
    let vault = support::create(store, &cache);
    let mut request = support::request(&[top.path()]);
    let mut rules = files::Rules::builder();
    rules.exclude("own").unwrap().exclude("cache").unwrap();
    request.rules = rules.build().unwrap();
    backup::back_up(&vault, &request, &Arc::default()).unwrap();
    write(&top.path().join("own/surplus"));
    write(&top.path().join("surplus"));
    let request = RestoreRequest {
        snapshot: support::latest(&vault),
        part: bytes(top.path()),
        target: top.path().into(),
        selection: files::Selection::default(),
        overwrite: Overwrite::IfChanged,
        delete: true,
        verify: false,
        dry_run: false,
        parallelism: None,
    };
    let report = backup::restore(&vault, &request, &Arc::default()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert!(!top.path().join("surplus").exists() && !top.path().join("own/surplus").exists());
    assert!(vault_folder.join("packs").exists(), "the vault is there");
    assert!(vault.cache_folder().exists(), "its cache is there");
    support::latest(&vault);
}

#[test]
fn what_is_mounted_on_an_empty_folder_stays() {
    let scene = Scene::new(|top| {
        fs::create_dir_all(top.join("mounted")).unwrap();
        fs::create_dir_all(top.join("plain")).unwrap();
    });
    scene.restore(&scene.request());
    let mounted = scene.target("mounted");
    let _mount = Mount::new(&mounted, "size=1m");
    write(&mounted.join("data"));
    write(&scene.target("plain/surplus"));
    fs::create_dir_all(scene.target("surplus/mounted")).unwrap();
    let within = scene.target("surplus/mounted");
    let _other = Mount::new(&within, "size=1m");
    write(&within.join("data"));
    write(&scene.target("surplus/file"));
    let mut request = scene.request();
    request.delete = true;
    let report = scene.restore(&request);
    assert_eq!(report.deleted, 2);
    assert!(mounted.join("data").exists() && within.join("data").exists());
}

#[test]
fn behind_a_damaged_part_of_a_listing_nothing_is_removed() {
    // Enough names for pages in several segments, all but the last of which are damaged here.
    let scene = Scene::new(|top| {
        for n in 0..12_000 {
            fs::write(top.join(format!("{n:05} {}", "x".repeat(240))), "").unwrap();
        }
        fs::write(top.join("z"), noise(1, 1000)).unwrap();
    });
    scene.restore(&scene.request());
    let before = list(scene.target.path());
    crate::damage::damage_tree(&scene.vault, &support::latest(&scene.vault));
    let mut request = scene.request();
    request.delete = true;
    let fresh = tempfile::tempdir().unwrap();
    let vault = support::open(scene.vault.store().clone(), fresh.path());
    let report = backup::restore(&vault, &request, &Arc::default()).unwrap();
    assert_eq!(report.deleted, 0);
    assert!(!report.problems.is_empty());
    assert_equal(&before, &list(scene.target.path()));
}
