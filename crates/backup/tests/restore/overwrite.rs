//! Restoring where something is already.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup::{Overwrite, Progress, restore};
use store::{MemoryStore, Operation, Recorded};

use crate::Scene;
use crate::listing::{assert_equal, assert_same, list};
use crate::support::{noise, plant};

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

fn modified(path: &Path) -> SystemTime {
    path.symlink_metadata().unwrap().modified().unwrap()
}

fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn only_what_differs_is_fetched_and_written() {
    let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let scene = Scene::with_store(store.clone(), plant);
    scene.restore(&scene.request());
    // One byte, with size and time as they were: only the content can tell.
    let path = scene.target("a/large");
    let (time, before) = (modified(&path), inode(&path));
    File::options().write(true).open(&path).unwrap().write_all_at(&[0], 5 << 20).unwrap();
    set_modified(&path, time);
    let mut small = fs::read(scene.target("a/b/medium")).unwrap();
    small.truncate(1000);
    fs::write(scene.target("a/b/medium"), small).unwrap();
    let text = File::options().append(true).open(scene.target("z/text")).unwrap();
    text.set_len(5_000_000).unwrap();
    store.forget_calls();
    let report = scene.restore(&scene.request());
    assert_same(scene.source.path(), scene.target.path());
    assert_eq!((report.files_restored, report.files_unchanged), (3, 301));
    // One chunk of the large file, and the medium one. Of the long text nothing but the length was wrong.
    assert!((201_000..(4 << 20) + 201_000).contains(&report.bytes_written), "{report:?}");
    assert_eq!(inode(&path), before, "it was changed in its place");
    // A pack's table and the two pieces: one request where chance laid them side by side.
    let calls = store.calls();
    let ranges = calls.iter().filter(|call| call.operation == Operation::GetRange);
    let ranges: Vec<u64> =
        ranges.filter(|call| call.name.starts_with("packs/")).map(|call| call.bytes).collect();
    assert!((2..=3).contains(&ranges.len()), "{calls:#?}");
    assert!(ranges.iter().sum::<u64>() < 6 << 20, "of some 10 MiB: {calls:#?}");
}

#[test]
fn never_and_newer_leave_alone_what_they_should() {
    let scene = Scene::new(|top| {
        for name in ["older", "newer", "same", "missing"] {
            fs::write(top.join(name), format!("{name} in the snapshot")).unwrap();
        }
        symlink("snapshot", top.join("link")).unwrap();
        fs::create_dir(top.join("folder")).unwrap();
    });
    let mut request = scene.request();
    let plant = || {
        for (name, hours) in [("older", -1i64), ("newer", 1), ("same", 0)] {
            let path = scene.target(name);
            fs::write(&path, "of this machine").unwrap();
            let time = modified(&scene.source(name));
            let other = Duration::from_secs(3600 * hours.unsigned_abs());
            set_modified(&path, if hours < 0 { time - other } else { time + other });
        }
        let _ = fs::remove_file(scene.target("link"));
        symlink("here", scene.target("link")).unwrap();
    };
    plant();
    request.overwrite = Overwrite::Never;
    let report = scene.restore(&request);
    assert_eq!((report.files_restored, report.files_unchanged), (1, 4));
    for name in ["older", "newer", "same"] {
        assert_eq!(fs::read_to_string(scene.target(name)).unwrap(), "of this machine");
    }
    assert_eq!(fs::read_to_string(scene.target("missing")).unwrap(), "missing in the snapshot");
    assert_eq!(fs::read_link(scene.target("link")).unwrap(), Path::new("here"));

    plant();
    request.overwrite = Overwrite::IfNewer;
    let report = scene.restore(&request);
    assert_eq!((report.files_restored, report.files_unchanged), (1, 4));
    assert_eq!(fs::read_to_string(scene.target("older")).unwrap(), "older in the snapshot");
    assert_eq!(fs::read_to_string(scene.target("newer")).unwrap(), "of this machine");
    assert_eq!(fs::read_to_string(scene.target("same")).unwrap(), "of this machine");
    assert_eq!(fs::read_link(scene.target("link")).unwrap(), Path::new("here"), "it is younger");

    plant();
    request.overwrite = Overwrite::Always;
    request.verify = true;
    let report = scene.restore(&request);
    assert_eq!((report.files_restored, report.files_unchanged), (5, 0));
    assert_same(scene.source.path(), scene.target.path());
    let report = scene.restore(&request);
    assert_eq!(report.bytes_written, report.bytes_total, "all content is written again");
    assert_eq!((report.files_restored, report.files_unchanged), (4, 1), "the link is right");
}

/// Something of one kind where the snapshot has another.
fn plant_conflicts(top: &Path) {
    fs::write(top.join("file over link"), "file").unwrap();
    fs::write(top.join("file over empty folder"), "file").unwrap();
    fs::write(top.join("file over pipe"), "file").unwrap();
    symlink("target", top.join("link over file")).unwrap();
    symlink("target", top.join("link over link")).unwrap();
    fs::create_dir(top.join("folder over file")).unwrap();
    fs::write(top.join("folder over file/inside"), "inside").unwrap();
    fs::create_dir(top.join("folder over link")).unwrap();
    fs::write(top.join("folder over link/inside"), "inside").unwrap();
}

fn make_conflicts(top: &Path, outside: &Path) {
    symlink(outside.join("victim"), top.join("file over link")).unwrap();
    fs::create_dir(top.join("file over empty folder")).unwrap();
    crate::must("mkfifo", &[top.join("file over pipe").to_str().unwrap()]);
    fs::write(top.join("link over file"), "in the way").unwrap();
    symlink("elsewhere", top.join("link over link")).unwrap();
    fs::write(top.join("folder over file"), "in the way").unwrap();
    symlink(outside, top.join("folder over link")).unwrap();
}

#[test]
fn what_is_of_another_kind_is_replaced_and_links_are_not_followed() {
    let scene = Scene::new(plant_conflicts);
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(outside.path().join("victim"), "untouched").unwrap();
    let untouched = list(outside.path());
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let mut request = scene.request();
        (request.overwrite, request.target) = (overwrite, scene.target(&format!("{overwrite:?}")));
        fs::create_dir(&request.target).unwrap();
        make_conflicts(&request.target, outside.path());
        scene.restore(&request);
        assert_same(scene.source.path(), &request.target);
        assert_equal(&untouched, &list(outside.path()));
    }
    // Left alone, it is in the way of what belongs into a folder.
    let mut request = scene.request();
    (request.overwrite, request.target) = (Overwrite::Never, scene.target("never"));
    fs::create_dir(&request.target).unwrap();
    make_conflicts(&request.target, outside.path());
    let before = list(&request.target);
    let report = scene.run(&request);
    let paths: Vec<_> = report.problems.iter().map(|problem| problem.path.clone()).collect();
    assert_eq!(paths, ["folder over file", "folder over link"].map(|name| crate::bytes(&scene.source(name))));
    assert_equal(&before, &list(&request.target));
    assert_equal(&untouched, &list(outside.path()));
}

#[test]
fn a_folder_that_is_not_empty_goes_only_when_asked() {
    let scene = Scene::new(|top| fs::write(top.join("thing"), "file").unwrap());
    let make = || {
        let _ = fs::remove_file(scene.target("thing"));
        fs::create_dir_all(scene.target("thing/deep")).unwrap();
        fs::write(scene.target("thing/deep/kept"), "of this machine").unwrap();
    };
    make();
    let mut request = scene.request();
    let report = scene.run(&request);
    assert_eq!(report.problems.len(), 1);
    assert!(report.problems[0].message.contains("--delete"), "{:?}", report.problems);
    assert!(scene.target("thing/deep/kept").exists());
    request.delete = true;
    scene.restore(&request);
    assert_same(scene.source.path(), scene.target.path());
    make();
    (request.delete, request.overwrite) = (false, Overwrite::Always);
    scene.restore(&request);
    assert_same(scene.source.path(), scene.target.path());
}

#[test]
fn a_program_that_runs_is_replaced() {
    let scene = Scene::new(|top| fs::write(top.join("program"), noise(3, 300_000)).unwrap());
    let path = scene.target("program");
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let _ = fs::remove_file(&path);
        fs::copy("/bin/sleep", &path).unwrap();
        let mut running = std::process::Command::new(&path).arg("600").spawn().unwrap();
        let mut request = scene.request();
        request.overwrite = overwrite;
        let report = scene.run(&request);
        let went_on = running.try_wait().unwrap().is_none();
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert!(went_on, "the program still runs");
        assert_same(scene.source.path(), scene.target.path());
    }
}

#[test]
fn names_outside_of_the_target_keep_their_content() {
    let scene = Scene::new(|top| {
        fs::write(top.join("alone"), noise(1, 100_000)).unwrap();
        fs::write(top.join("one"), noise(2, 100_000)).unwrap();
        fs::hard_link(top.join("one"), top.join("two")).unwrap();
    });
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        for name in ["alone", "one", "two"] {
            let _ = fs::remove_file(scene.target(name));
        }
        let kept = outside.path().join(format!("{overwrite:?}"));
        fs::write(&kept, noise(3, 100_000)).unwrap();
        fs::hard_link(&kept, scene.target("alone")).unwrap();
        fs::hard_link(&kept, scene.target("one")).unwrap();
        let before = list(outside.path());
        let mut request = scene.request();
        request.overwrite = overwrite;
        scene.restore(&request);
        assert_same(scene.source.path(), scene.target.path());
        assert_equal(&before, &list(outside.path()));
    }
}

#[test]
fn links_are_mended() {
    let scene = Scene::new(|top| {
        for (first, second, seed) in [("a", "b", 1), ("c", "d", 2), ("e", "f", 2)] {
            fs::write(top.join(first), noise(seed, 5000)).unwrap();
            fs::hard_link(top.join(first), top.join(second)).unwrap();
        }
    });
    // Names of one file that should not be, and two files where one should be, all with the right content.
    fs::write(scene.target("a"), noise(1, 5000)).unwrap();
    fs::write(scene.target("b"), noise(1, 5000)).unwrap();
    fs::write(scene.target("c"), noise(2, 5000)).unwrap();
    for name in ["d", "e", "f"] {
        fs::hard_link(scene.target("c"), scene.target(name)).unwrap();
    }
    scene.restore(&scene.request());
    assert_same(scene.source.path(), scene.target.path());
}

#[test]
fn holes_come_back_where_data_was() {
    let scene = Scene::new(|top| {
        let file = File::create(top.join("sparse")).unwrap();
        file.set_len(16 << 20).unwrap();
        file.write_all_at(&noise(1, 1 << 20), 4 << 20).unwrap();
    });
    fs::write(scene.target("sparse"), noise(2, 17 << 20)).unwrap();
    let report = scene.restore(&scene.request());
    assert_same(scene.source.path(), scene.target.path());
    assert_eq!(report.bytes_written, 1 << 20);
    let blocks = scene.target("sparse").metadata().unwrap().blocks();
    assert_eq!(blocks * 512, 1 << 20, "what was data is a hole");
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let scene = Scene::new(plant);
    for name in ["a", "z"] {
        fs::create_dir(scene.target(name)).unwrap();
    }
    fs::write(scene.target("a/large"), noise(1000, 9 << 20)).unwrap();
    fs::write(scene.target("a/file-000"), "differs").unwrap();
    fs::write(scene.target("z/surplus"), "surplus").unwrap();
    fs::write(scene.target("empty"), "in the way").unwrap();
    let before = list(scene.target.path());
    let mut request = scene.request();
    (request.delete, request.dry_run) = (true, true);
    let dry = scene.restore(&request);
    assert_equal(&before, &list(scene.target.path()));
    request.dry_run = false;
    let real = scene.restore(&request);
    assert_same(scene.source.path(), scene.target.path());
    let counts = |report: &backup::RestoreReport| {
        (
            report.files_restored,
            report.files_unchanged,
            report.bytes_total,
            report.directories,
            report.deleted,
        )
    };
    assert_eq!(counts(&dry), counts(&real));
    assert_eq!((dry.bytes_written, dry.deleted, dry.files_unchanged), (0, 1, 1));
    // Into a target that is not there, without making it.
    (request.dry_run, request.target) = (true, scene.target("not/there"));
    assert_eq!(scene.restore(&request).files_restored, 304);
    assert!(!scene.target("not").exists());
}

#[test]
fn the_counters_add_up() {
    let scene = Scene::new(plant);
    for round in 0..2 {
        let progress = Arc::new(Progress::new());
        let report = restore(&scene.vault, &scene.request(), &progress).unwrap();
        assert_eq!((progress.files(), progress.files_total()), (304, 304), "round {round}");
        assert_eq!((progress.bytes(), progress.bytes_total()), (report.bytes_total, report.bytes_total));
        assert_eq!(progress.bytes_stored(), report.bytes_written);
        assert_eq!(progress.problems(), 0);
    }
}
