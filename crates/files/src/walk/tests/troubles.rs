//! Folders that change while they are walked, and folders that refuse.

use std::io::ErrorKind;

use rustix::process::Uid;

use super::*;

/// Runs `work` as a user without rights; the other threads keep theirs.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    assert!(crate::machine::is_root(), "these tests drop rights, so they need to run as root");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn problems(steps: Vec<Step>) -> Vec<(PathBuf, ErrorKind)> {
    let problem = |step| match step {
        Step::Problem { path, error } => Some((path, error.kind())),
        _ => None,
    };
    steps.into_iter().filter_map(problem).collect()
}

#[test]
fn what_vanishes_between_listing_and_looking_is_a_problem_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a", "b", "c/inside", "d/inside", "e"]);
    // Without threads each entry is looked at when it is its turn.
    let mut walk = Walk::start(&[folder.path().to_owned()], options(0, 1)).unwrap();
    let mut steps = Vec::new();
    for step in walk.by_ref() {
        let first = matches!(&step, Step::Item(entry) if entry.name == b"a");
        steps.push(step);
        if first {
            fs::remove_file(folder.path().join("b")).unwrap();
            fs::remove_dir_all(folder.path().join("d")).unwrap();
        }
    }
    let gone = |name: &str| (real(&folder).join(name), ErrorKind::NotFound);
    let lines = shown(steps);
    assert_eq!(shown_inside(&real(&folder), &lines), ["a", "!b", "+c", "inside", "-", "!d", "e"]);
    // Once more for the errors' kinds: the steps were used up.
    make(folder.path(), &["b", "d/inside"]);
    let mut walk = Walk::start(&[folder.path().to_owned()], options(0, 1)).unwrap();
    let mut steps = Vec::new();
    for step in walk.by_ref() {
        if matches!(&step, Step::Item(entry) if entry.name == b"a") {
            fs::remove_file(folder.path().join("b")).unwrap();
            fs::remove_dir_all(folder.path().join("d")).unwrap();
        }
        steps.push(step);
    }
    assert_eq!(problems(steps), [gone("b"), gone("d")]);
}

#[test]
fn a_folder_that_vanishes_or_turns_into_a_link_after_it_was_looked_at_is_not_entered() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    make(elsewhere.path(), &["secret"]);
    make(folder.path(), &["a", "gone/x", "turned/x", "z"]);
    // One batch holds all four names, so the folders were looked at before `a` is shown.
    let mut walk = Walk::start(&[folder.path().to_owned()], options(0, 100)).unwrap();
    let mut steps = Vec::new();
    for step in walk.by_ref() {
        if matches!(&step, Step::Item(entry) if entry.name == b"a") {
            for name in ["gone", "turned"] {
                fs::remove_dir_all(folder.path().join(name)).unwrap();
            }
            symlink(elsewhere.path(), folder.path().join("turned")).unwrap();
        }
        if let Step::Problem { error, .. } = &step {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
        steps.push(step);
    }
    let lines = shown(steps);
    assert_eq!(shown_inside(&real(&folder), &lines), ["a", "!gone", "!turned", "z"]);
}

#[test]
fn a_folder_that_may_not_be_listed_is_shown_empty_with_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    run("chmod", &["755".as_ref(), folder.path().as_ref()]);
    make(folder.path(), &["a/x", "locked/x", "z"]);
    run("chmod", &["700".as_ref(), folder.path().join("locked").as_ref()]);
    let steps: Vec<Step> =
        as_nobody(|| Walk::start(&[folder.path().to_owned()], options(0, 10)).unwrap().collect());
    let locked = steps.iter().find_map(|step| match step {
        Step::Enter(entry) if entry.name == b"locked" => Some(entry.stat.mode),
        _ => None,
    });
    assert_eq!(locked, Some(0o700), "it is shown with its metadata");
    let refused = steps.iter().find_map(|step| match step {
        Step::Problem { path, error } => Some((path.clone(), error.kind())),
        _ => None,
    });
    assert_eq!(refused, Some((real(&folder).join("locked"), ErrorKind::PermissionDenied)));
    let lines = shown(steps);
    assert_eq!(shown_inside(&real(&folder), &lines), ["+a", "x", "-", "+locked", "!locked", "-", "z"]);
}

#[test]
fn a_root_below_a_folder_that_may_be_passed_but_not_listed_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    run("chmod", &["755".as_ref(), folder.path().as_ref()]);
    make(folder.path(), &["passage/open/x", "passage/hidden"]);
    run("chmod", &["711".as_ref(), folder.path().join("passage").as_ref()]);
    let root = folder.path().join("passage/open");
    let alone = as_nobody(|| shown(Walk::start(std::slice::from_ref(&root), options(0, 10)).unwrap()));
    assert_eq!(shown_inside(&real(&folder), &alone), ["+passage", "+open", "x", "-", "-"]);
    // Below another root too: the listing is a problem, the root is walked.
    let roots = [folder.path().to_owned(), root];
    let both = as_nobody(|| shown(Walk::start(&roots, options(0, 10)).unwrap()));
    assert_eq!(shown_inside(&real(&folder), &both), ["+passage", "!passage", "+open", "x", "-", "-"]);
}

#[test]
fn a_file_that_may_not_be_read_or_turned_into_something_else_is_an_error_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    run("chmod", &["755".as_ref(), folder.path().as_ref()]);
    make(folder.path(), &["locked", "pipe", "turned"]);
    run("chmod", &["600".as_ref(), folder.path().join("locked").as_ref()]);
    let entries: Vec<Entry> = Walk::start(&[folder.path().to_owned()], options(0, 10))
        .unwrap()
        .filter_map(|step| if let Step::Item(entry) = step { Some(entry) } else { None })
        .collect();
    let error = as_nobody(|| entries[0].open().map(drop).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);

    for name in ["pipe", "turned"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    run("mkfifo", &[folder.path().join("pipe").as_ref()]);
    symlink("/etc/passwd", folder.path().join("turned")).unwrap();
    // Opening a pipe that nobody writes to would wait for ever if it waited.
    let pipe = entries[1].open().unwrap();
    assert_eq!(pipe.stat().unwrap().kind, Kind::Fifo);
    entries[2].open().map(drop).unwrap_err();
}

#[test]
fn reading_leaves_the_access_time_alone() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["file"]);
    let file = folder.path().join("file");
    // Older than the last change, so that even the usual lazy rule would set it.
    run("touch", &["-a".as_ref(), "-d".as_ref(), "2001-01-01".as_ref(), file.as_ref()]);
    let before = fs::metadata(&file).unwrap().atime();
    for step in Walk::start(std::slice::from_ref(&file), options(0, 10)).unwrap() {
        if let Step::Item(entry) = step {
            let open = entry.open().unwrap();
            let mut buffer = [0; 16];
            assert_eq!(open.read(&mut buffer).unwrap(), 4);
            assert_eq!(&buffer[..4], b"file");
            assert_eq!(open.read_at(2, &mut buffer).unwrap(), 2);
        }
    }
    assert_eq!(fs::metadata(&file).unwrap().atime(), before);
}
