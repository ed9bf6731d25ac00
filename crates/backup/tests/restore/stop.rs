//! Restores that end before their time leave whole files and folders only, and can be taken up again.

use std::sync::Arc;
use std::time::Duration;

use backup::{Category, Error, Progress, Vault, restore};
use store::{Fault, Faulty, Kind, MemoryStore, Operation, Rule, When};

use crate::listing::{assert_same, list};
use crate::support::{self, plant};
use crate::{Mount, Scene};

/// Whatever is there is as it was, to the last bit of its metadata. Returns how many files that is.
fn whole_files(scene: &Scene, target: &std::path::Path) -> usize {
    let (expected, found) = (list(scene.source.path()), list(target));
    for (path, seen) in &found {
        assert_eq!(Some(seen), expected.get(path), "{}", String::from_utf8_lossy(path));
    }
    found.values().filter(|seen| seen.mode & 0o170_000 == 0o100_000).count()
}

/// The scene's vault by way of a store that misbehaves.
fn through(scene: &Scene, rules: Vec<Rule>) -> (Arc<Vault>, Arc<Faulty>) {
    let store = Arc::new(Faulty::new(scene.vault.store().clone(), 1, rules));
    (support::open(store.clone(), scene.cache.path()), store)
}

fn on_ranges(when: When, fault: Fault) -> Rule {
    Rule::new(when, fault).on(Operation::GetRange).under("packs/")
}

#[test]
fn cancelled_it_keeps_whole_files_and_goes_on_later() {
    let scene = Scene::with_store(Arc::new(MemoryStore::new()), |top| {
        plant(top);
        crate::fidelity::plant_everything(top);
    });
    let slow = on_ranges(When::Always, Fault::Delay(Duration::from_millis(30)));
    let (vault, _) = through(&scene, vec![slow]);
    let progress = Arc::new(Progress::new());
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| restore(&vault, &scene.request(), &progress));
        while progress.bytes_stored() < 1 << 20 && !running.is_finished() {
            std::thread::yield_now();
        }
        progress.cancel();
        running.join().unwrap()
    });
    assert_eq!(outcome.unwrap_err().category(), Category::Interrupted);
    let kept = whole_files(&scene, scene.target.path());
    let report = scene.restore(&scene.request());
    assert!(report.files_unchanged >= kept as u64, "{kept} were there: {report:?}");
    assert_same(scene.source.path(), scene.target.path());
}

#[test]
fn cancelled_before_it_began_it_does_nothing() {
    let scene = Scene::new(plant);
    let progress = Arc::new(Progress::new());
    progress.cancel();
    let outcome = restore(&scene.vault, &scene.request(), &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)));
    assert_eq!(list(scene.target.path()).len(), 0);
}

#[test]
fn a_store_that_goes_away_ends_it() {
    let scene = Scene::new(plant);
    for kind in [Kind::Gone, Kind::Unavailable] {
        let (vault, store) = through(&scene, vec![on_ranges(When::From(4), Fault::Error(kind))]);
        let error = restore(&vault, &scene.request(), &Arc::new(Progress::new())).unwrap_err();
        assert!(matches!(&error, Error::Store(error) if error.kind == kind), "{error:?}");
        assert!(store.dealt() > 0);
        whole_files(&scene, scene.target.path());
    }
    scene.restore(&scene.request());
    assert_same(scene.source.path(), scene.target.path());
}

#[test]
fn an_object_that_cannot_be_read_costs_only_its_files() {
    let scene = Scene::new(plant);
    let rules = vec![
        on_ranges(When::Nth(3), Fault::Error(Kind::PermissionDenied)),
        on_ranges(When::Nth(4), Fault::FlipBit),
        on_ranges(When::Nth(5), Fault::Truncate),
    ];
    let (vault, _) = through(&scene, rules);
    let report = restore(&vault, &scene.request(), &Arc::new(Progress::new())).unwrap();
    assert!(!report.problems.is_empty());
    assert_eq!(whole_files(&scene, scene.target.path()), 304 - report.problems.len());
    assert!(
        report.problems.iter().all(|problem| problem.message.contains("packs/")),
        "{:?}",
        report.problems
    );
}

#[test]
fn a_full_target_is_one_error_that_names_it() {
    let scene = Scene::new(plant);
    let disk = scene.target("disk");
    std::fs::create_dir(&disk).unwrap();
    for options in ["size=6m", "size=100m,nr_inodes=60"] {
        let _mount = Mount::new(&disk, options);
        let mut request = scene.request();
        request.target = disk.join("target");
        let error = restore(&scene.vault, &request, &Arc::new(Progress::new())).unwrap_err();
        assert!(error.to_string().contains(request.target.to_str().unwrap()), "{error}");
        let Error::File { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert!(whole_files(&scene, &request.target) > 0);
    }
}

#[test]
fn a_target_that_cannot_be_written_to_is_an_error() {
    let scene = Scene::new(plant);
    let disk = scene.target("disk");
    std::fs::create_dir(&disk).unwrap();
    let _mount = Mount::new(&disk, "size=1m,ro");
    let mut request = scene.request();
    for target in ["", "below"] {
        request.target = disk.join(target);
        let error = restore(&scene.vault, &request, &Arc::new(Progress::new())).unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if path.starts_with(&disk)), "{error:?}");
    }
    // A file is not a folder.
    request.target = scene.target("file");
    std::fs::write(&request.target, "").unwrap();
    let error = restore(&scene.vault, &request, &Arc::new(Progress::new())).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
}
