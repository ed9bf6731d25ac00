//! Parts of a snapshot, and selections from it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use backup::{Category, Error, Progress, restore};

use crate::listing::{assert_same, list};
use crate::support::plant;
use crate::{Scene, bytes, selection};

#[test]
fn everything_stands_below_the_target_with_its_whole_path() {
    let scene = Scene::new(plant);
    for part in ["", "/", "//", "/."] {
        let mut request = scene.whole();
        request.part = part.into();
        request.target = scene.target(&format!("part {}", part.replace('/', "s")));
        scene.restore(&request);
        let below = request.target.join(scene.source.path().strip_prefix("/").unwrap());
        assert_same(scene.source.path(), &below);
    }
}

#[test]
fn of_a_folder_the_contents_and_of_a_file_itself() {
    let scene = Scene::new(plant);
    let mut request = scene.request();
    for part in ["a", "a/", "a//b/.."] {
        request.part = bytes(&scene.source(part));
        let outcome = restore(&scene.vault, &request, &Arc::new(Progress::new()));
        if part.contains("..") {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::NoSuchPath { .. }), "{error}");
            assert_eq!(error.category(), Category::Failed);
        } else {
            outcome.unwrap();
            assert_same(&scene.source("a"), scene.target.path());
        }
    }
    request.part = bytes(&scene.source("a/b/medium"));
    request.target = scene.target("of a file");
    request.verify = true;
    let report = scene.restore(&request);
    assert_eq!((report.files_restored, report.directories), (1, 0));
    let names: Vec<_> = list(&request.target).into_keys().collect();
    assert_eq!(names, [b"medium"]);
    assert_eq!(
        fs::read(request.target.join("medium")).unwrap(),
        fs::read(scene.source("a/b/medium")).unwrap()
    );
}

#[test]
fn a_path_that_is_not_there_is_an_error_and_nothing_is_made() {
    let scene = Scene::new(plant);
    let mut request = scene.request();
    request.target = scene.target("new");
    for part in ["missing", "a/large/below a file", "a/b/c/d"] {
        request.part = bytes(&scene.source(part));
        let error = restore(&scene.vault, &request, &Arc::new(Progress::new())).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(!request.target.exists());
}

#[test]
fn only_folders_that_lead_to_something_are_made() {
    let scene = Scene::new(plant);
    let mut request = scene.request();
    let path = |path: &str| scene.source(path).to_str().unwrap().to_owned();
    request.selection = selection(&["*-00?", &path("a/b/medium")], &["file-003"]);
    let report = scene.restore(&request);
    let found = list(scene.target.path());
    let names: Vec<&str> = found.keys().map(|name| std::str::from_utf8(name).unwrap()).collect();
    let expected = [
        "a",
        "a/b",
        "a/b/file-001",
        "a/b/file-004",
        "a/b/file-007",
        "a/b/medium",
        "a/file-000",
        "a/file-006",
        "a/file-009",
        "z",
        "z/file-002",
        "z/file-005",
        "z/file-008",
    ];
    assert_eq!(names, expected);
    assert_eq!((report.files_restored, report.directories), (10, 3));
    let source = list(scene.source.path());
    assert!(
        found.iter().all(|(name, seen)| source[name] == *seen),
        "folders on the way have their metadata too"
    );
}

#[test]
fn nothing_selected_makes_nothing() {
    let scene = Scene::new(plant);
    let mut request = scene.request();
    request.selection = selection(&["/no/such/path"], &[]);
    let report = scene.restore(&request);
    assert_eq!((report.files_restored, report.directories), (0, 0));
    assert_eq!(list(scene.target.path()).len(), 0);
}

#[test]
fn what_is_excluded_is_not_touched() {
    let scene = Scene::new(plant);
    fs::create_dir_all(scene.target("a")).unwrap();
    fs::write(scene.target("a/large"), "of this machine").unwrap();
    let mut request = scene.request();
    request.selection = selection(&[], &["large", &scene.source("z").display().to_string()]);
    scene.restore(&request);
    assert_eq!(fs::read_to_string(scene.target("a/large")).unwrap(), "of this machine");
    assert!(!scene.target("z").exists());
    assert!(Path::new(&scene.target("a/b/medium")).exists());
}
