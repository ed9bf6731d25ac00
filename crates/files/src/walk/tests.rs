//! Walking real folders: order, roots, rules, folders that change or refuse, mounts.

mod deep;
mod mounts;
mod troubles;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::stat::{Kind, Timestamp};

/// What a walk shows, one line a step: `+name` enters, `-` leaves, `name` is anything else, `!name`
/// is a problem.
fn shown(walk: impl IntoIterator<Item = Step>) -> Vec<String> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    walk.into_iter()
        .map(|step| match step {
            Step::Enter(entry) => format!("+{}", text(&entry.name)),
            Step::Item(entry) => text(&entry.name),
            Step::Leave => "-".to_owned(),
            Step::Problem { path, .. } => {
                format!("!{}", text(path.file_name().unwrap_or_default().as_bytes()))
            }
        })
        .collect()
}

/// What a walk shows inside `folder`, without the way to it and back.
fn shown_inside(folder: &Path, steps: &[String]) -> Vec<String> {
    let depth = folder.components().count();
    let way: Vec<String> = folder
        .components()
        .map(|part| match part {
            std::path::Component::Normal(name) => format!("+{}", name.to_string_lossy()),
            _ => "+".to_owned(),
        })
        .collect();
    assert_eq!(steps[..depth], way, "the walk begins with the way to {}", folder.display());
    assert!(steps[steps.len() - depth..].iter().all(|step| step == "-"));
    steps[depth..steps.len() - depth].to_vec()
}

fn options(threads: usize, batch: usize) -> WalkOptions {
    WalkOptions { threads, batch, ..WalkOptions::default() }
}

fn walk(roots: &[&Path], options: WalkOptions) -> Vec<String> {
    let roots: Vec<PathBuf> = roots.iter().map(|root| root.to_path_buf()).collect();
    shown(Walk::start(&roots, options).unwrap())
}

/// A real path: the temporary folder may be reached through links.
fn real(folder: &TempDir) -> PathBuf {
    folder.path().canonicalize().unwrap()
}

/// Makes files (and folders, where a path ends with a slash) below `folder`.
fn make(folder: &Path, paths: &[&str]) {
    for path in paths {
        let whole = folder.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(whole).unwrap();
        } else {
            fs::create_dir_all(whole.parent().unwrap()).unwrap();
            fs::write(whole, path).unwrap();
        }
    }
}

fn run(command: &str, arguments: &[&std::ffi::OsStr]) {
    let output = Command::new(command).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command} is needed for this test: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn names_come_in_byte_order_with_files_and_directories_mixed() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["b/x", "a.txt", "b-", "b0", "B", "c/", "b/y/z"]);
    fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff\n")), "").unwrap();
    for threads in [0, 1, 3] {
        let steps = walk(&[folder.path()], options(threads, 4096));
        assert_eq!(
            shown_inside(&real(&folder), &steps),
            ["B", "a.txt", "+b", "x", "+y", "z", "-", "-", "b-", "b0", "+c", "-", "\u{fffd}\n"]
        );
    }
}

#[test]
fn ancestors_show_their_own_metadata_and_only_the_chosen_children() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["way/here/file", "way/other", "sister/"]);
    let root = folder.path().join("way/here/file");
    let mut path = PathBuf::from("/");
    let mut met = Vec::new();
    for step in Walk::start(&[root], WalkOptions::default()).unwrap() {
        if let Step::Enter(entry) | Step::Item(entry) = step {
            path.push(std::ffi::OsStr::from_bytes(&entry.name));
            assert_eq!(entry.path(), path);
            let expected = fs::symlink_metadata(&path).unwrap();
            assert_eq!((entry.stat.device, entry.stat.inode), (expected.dev(), expected.ino()));
            assert_eq!(entry.stat.mode, expected.mode() & 0o7777);
            entry.details().unwrap();
            met.push(entry.name);
        }
    }
    assert_eq!(met[0], b"", "the first is the top");
    assert_eq!(path, real(&folder).join("way/here/file"));
}

#[test]
fn roots_inside_each_other_and_repeated_are_one() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a/b/c", "a/d", "e/f", "g"]);
    let at = |path: &str| folder.path().join(path);
    let merged = walk(&[&at("e"), &at("a"), &at("a/b"), &at("a"), &at("e/../a/b/c")], WalkOptions::default());
    assert_eq!(shown_inside(&real(&folder), &merged), ["+a", "+b", "c", "-", "d", "-", "+e", "f", "-"]);
}

#[test]
fn links_above_a_root_are_resolved_and_the_root_itself_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["real/inner/file"]);
    symlink("real", folder.path().join("link")).unwrap();
    let inside = |path: &str| {
        let steps = walk(&[&folder.path().join(path)], WalkOptions::default());
        shown_inside(&real(&folder), &steps)
    };
    assert_eq!(inside("link/inner"), ["+real", "+inner", "file", "-", "-"]);
    assert_eq!(inside("link"), ["link"]);
    assert_eq!(inside("link/"), ["+real", "+inner", "file", "-", "-"]);
    assert_eq!(inside("real/inner/.."), ["+real", "+inner", "file", "-", "-"]);
}

#[test]
fn a_missing_root_is_an_error_that_names_it() {
    let error = Walk::start(&["/".into(), "/no/such/root".into()], WalkOptions::default()).unwrap_err();
    assert!(matches!(&error, WalkError::Root { path, .. } if path == Path::new("/no/such/root")));
    assert!(error.to_string().contains("/no/such/root"));
    assert!(matches!(Walk::start(&[], WalkOptions::default()), Err(WalkError::NoRoots)));
    let folder = tempfile::tempdir().unwrap();
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    let steps = walk(&[&folder.path().join("dangling")], WalkOptions::default());
    assert_eq!(shown_inside(&real(&folder), &steps), ["dangling"], "a dangling link is there itself");
}

#[test]
fn numbers_are_those_of_the_system_for_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "content").unwrap();
    fs::hard_link(at("file"), at("second name")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink("where/ever", at("link")).unwrap();
    run("mkfifo", &[at("pipe").as_ref()]);
    run("mknod", &[at("char").as_ref(), "c".as_ref(), "1".as_ref(), "300".as_ref()]);
    run("mknod", &[at("block").as_ref(), "b".as_ref(), "7".as_ref(), "99999".as_ref()]);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    run("chmod", &["6751".as_ref(), at("file").as_ref()]);
    run("chown", &["12:34".as_ref(), at("char").as_ref()]);
    run("touch", &["-d".as_ref(), "1969-07-20 20:17:40.123456789 UTC".as_ref(), at("pipe").as_ref()]);

    let mut kinds = BTreeMap::new();
    for step in Walk::start(&[folder.path().to_owned()], WalkOptions::default()).unwrap() {
        let (Step::Enter(entry) | Step::Item(entry)) = step else { continue };
        let stat = entry.stat;
        let expected = fs::symlink_metadata(entry.path()).unwrap();
        assert_eq!(stat.mode, expected.mode() & 0o7777);
        assert_eq!((stat.uid, stat.gid), (expected.uid(), expected.gid()));
        assert_eq!((stat.size, stat.blocks), (expected.size(), expected.blocks()));
        assert_eq!((stat.inode, stat.device, stat.links), (expected.ino(), expected.dev(), expected.nlink()));
        let moment = |time: Timestamp| (time.seconds, i64::from(time.nanoseconds));
        assert_eq!(moment(stat.modified), (expected.mtime(), expected.mtime_nsec()));
        assert_eq!(moment(stat.changed), (expected.ctime(), expected.ctime_nsec()));
        kinds.insert(String::from_utf8(entry.name.clone()).unwrap(), (stat, entry.details().unwrap()));
    }
    let kind = |name: &str| kinds[name].0.kind;
    assert_eq!(kind("file"), Kind::File);
    assert_eq!(kind("folder"), Kind::Directory);
    assert_eq!(kind("link"), Kind::Symlink);
    assert_eq!(kind("pipe"), Kind::Fifo);
    assert_eq!(kind("char"), Kind::CharDevice);
    assert_eq!(kind("block"), Kind::BlockDevice);
    assert_eq!(kind("socket"), Kind::Socket);
    assert_eq!(kinds["link"].1.target, b"where/ever");
    assert_eq!((kinds["char"].0.rdev_major, kinds["char"].0.rdev_minor), (1, 300));
    assert_eq!((kinds["block"].0.rdev_major, kinds["block"].0.rdev_minor), (7, 99999));
    assert_eq!(kinds["file"].0.links, 2);
    assert_eq!(kinds["pipe"].0.modified, Timestamp { seconds: -14_182_940, nanoseconds: 123_456_789 });
}

#[test]
fn rules_leave_out_what_they_should_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a.tmp", "keep.tmp", "src/target/x", "src/main", "cache/CACHEDIR.TAG", "cache/x"]);
    make(folder.path(), &["fake/CACHEDIR.TAG", "fake/x", "skip/.nobackup", "skip/x", "skip/y/z"]);
    let tag = [CACHE_TAG, b"\nmore"].concat();
    fs::write(folder.path().join("cache/CACHEDIR.TAG"), tag).unwrap();
    fs::write(folder.path().join("large"), [0; 101]).unwrap();
    fs::write(folder.path().join("small"), [0; 100]).unwrap();
    let mut builder = Rules::builder();
    builder.exclude("*.tmp").unwrap().exclude("!keep.tmp").unwrap().exclude("src/target").unwrap();
    builder.exclude_if_present(".nobackup").unwrap().exclude_caches(true).exclude_larger_than(100);
    let options = WalkOptions { rules: builder.build().unwrap(), ..WalkOptions::default() };

    let mut walk = Walk::start(&[folder.path().to_owned()], options).unwrap();
    let steps = shown(walk.by_ref());
    assert_eq!(
        shown_inside(&real(&folder), &steps),
        [
            "+cache",
            "-",
            "+fake",
            "CACHEDIR.TAG",
            "x",
            "-",
            "keep.tmp",
            "+skip",
            "-",
            "small",
            "+src",
            "main",
            "-"
        ]
    );
    assert_eq!(walk.counts(), Counts { excluded: 3, emptied: 2, mounts: 0 });
}

const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

#[test]
fn what_is_named_as_a_root_is_walked_even_where_rules_would_leave_it_out() {
    let folder = tempfile::tempdir().unwrap();
    make(
        folder.path(),
        &["out/in/x", "out/in/y.tmp", "out/z", "w.tmp", "marked/.no", "marked/a", "marked/b"],
    );
    let mut builder = Rules::builder();
    builder.exclude("out").unwrap().exclude("*.tmp").unwrap().exclude_if_present(".no").unwrap();
    let options = WalkOptions { rules: builder.build().unwrap(), ..WalkOptions::default() };
    let at = |path: &str| folder.path().join(path);
    let steps = walk(&[folder.path(), &at("out/in"), &at("w.tmp"), &at("marked/b")], options);
    assert_eq!(
        shown_inside(&real(&folder), &steps),
        ["+marked", "b", "-", "+out", "+in", "x", "-", "-", "w.tmp"]
    );
}

#[test]
fn skipped_directories_do_not_appear() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["vault/data", "other/vault/x"]);
    let vault = fs::metadata(folder.path().join("vault")).unwrap();
    let options = WalkOptions { skip: vec![(vault.dev(), vault.ino())], ..WalkOptions::default() };
    let steps = walk(&[folder.path(), &folder.path().join("vault")], options);
    assert_eq!(shown_inside(&real(&folder), &steps), ["+other", "+vault", "x", "-", "-"]);
}

#[test]
fn a_large_folder_is_looked_at_in_bounded_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let count = 50_000;
    for number in 0..count {
        fs::File::create(folder.path().join(format!("{number:05}"))).unwrap();
    }
    make(folder.path(), &["10000-folder/inside", "49999-folder/inside"]);
    for threads in [0, 2] {
        let mut walk = Walk::start(&[folder.path().to_owned()], options(threads, 1000)).unwrap();
        let mut names = Vec::new();
        while let Some(step) = walk.next() {
            if let Step::Item(entry) = step {
                names.push(String::from_utf8(entry.name).unwrap());
            }
            let held = walk.path.iter().map(|level| level.items.len()).max().unwrap_or(0);
            assert!(held <= 1000, "{held} entries are held at once");
        }
        let inside = names.iter().filter(|name| *name == "inside").count();
        assert_eq!(inside, 2);
        names.retain(|name| name != "inside");
        assert!(names.iter().cloned().eq((0..count).map(|number| format!("{number:05}"))));
    }
}

#[test]
fn a_walk_that_is_dropped_midway_closes_everything() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..300 {
        make(folder.path(), &[&format!("{number}/a/b/c/file")]);
    }
    let mut walk = Walk::start(&[folder.path().to_owned()], options(3, 7)).unwrap();
    let entry = walk.by_ref().find_map(|step| match step {
        Step::Item(entry) => Some(entry),
        _ => None,
    });
    let entry = entry.unwrap();
    let shared = std::sync::Arc::downgrade(&entry.folder);
    drop(walk);
    assert_eq!(entry.open().unwrap().stat().unwrap().size, entry.stat.size, "an entry outlives its walk");
    let open = entry.folder.path().components().count();
    assert_eq!(entry.folder.open_folders(), open, "only the way to the entry is open");
    drop(entry);
    assert!(shared.upgrade().is_none());
}

/// A tree as nested names, for random trees.
#[derive(Clone, Debug)]
enum Tree {
    Leaf,
    Folder(BTreeMap<Vec<u8>, Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let byte = prop_oneof![1..=46u8, 48..=255u8];
    let name = proptest::collection::vec(byte, 1..4)
        .prop_filter("a usable name", |name| !matches!(&name[..], b"." | b".."));
    Just(Tree::Leaf).prop_recursive(5, 60, 8, move |inner| {
        proptest::collection::btree_map(name.clone(), inner, 0..8).prop_map(Tree::Folder)
    })
}

fn build(tree: &Tree, at: &Path) {
    match tree {
        Tree::Leaf => fs::write(at, "leaf").unwrap(),
        Tree::Folder(children) => {
            fs::create_dir(at).unwrap();
            for (name, child) in children {
                build(child, &at.join(std::ffi::OsString::from_vec(name.clone())));
            }
        }
    }
}

fn expected(name: &[u8], tree: &Tree, steps: &mut Vec<String>) {
    let name = String::from_utf8_lossy(name).into_owned();
    match tree {
        Tree::Leaf => steps.push(name),
        Tree::Folder(children) => {
            steps.push(format!("+{name}"));
            for (name, child) in children {
                expected(name, child, steps);
            }
            steps.push("-".to_owned());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Threads and batches change nothing in what is shown.
    #[test]
    fn any_tree_is_shown_whole_and_in_order(tree in tree(), threads in 0..4usize, batch in 1..5usize) {
        let folder = tempfile::tempdir().unwrap();
        build(&tree, &folder.path().join("root"));
        let steps = walk(&[&folder.path().join("root")], options(threads, batch));
        let mut wanted = Vec::new();
        expected(b"root", &tree, &mut wanted);
        prop_assert_eq!(shown_inside(&real(&folder), &steps), wanted);
    }
}
