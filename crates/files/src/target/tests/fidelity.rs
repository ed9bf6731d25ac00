//! What is written back is what was there, for every kind of file and every part of its metadata.

use super::*;

/// One of each, with metadata that is easy to get wrong.
fn zoo(at: &Path) {
    let path = |name: &str| at.join(name);
    fs::write(path("plain"), "content").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("line\nbreak"), "x").unwrap();
    fs::write(at.join(OsStr::from_bytes(b"not \xff utf-8")), "x").unwrap();
    fs::write(path(&"n".repeat(255)), "x").unwrap();
    fs::write(path("read only"), "x").unwrap();
    fs::write(path("no rights"), "x").unwrap();
    fs::write(path("setuid"), "x").unwrap();
    fs::write(path("capable"), "x").unwrap();
    fs::write(path("acl"), "x").unwrap();
    fs::write(path("large attribute"), "x").unwrap();
    fs::hard_link(path("plain"), path("second name")).unwrap();
    fs::create_dir_all(path("folder/inner/deep")).unwrap();
    fs::create_dir(path("sticky")).unwrap();
    fs::create_dir(path("setgid")).unwrap();
    fs::create_dir(path("closed")).unwrap();
    fs::create_dir(path("default acl")).unwrap();
    fs::hard_link(path("plain"), path("folder/third name")).unwrap();
    fs::write(path("folder/inner/deep/file"), "x".repeat(100_000)).unwrap();
    fs::write(path("setgid/file"), "x").unwrap();
    fs::write(path("closed/file"), "x").unwrap();
    symlink("nowhere/../at all", path("link")).unwrap();
    symlink(OsStr::from_bytes(b"\xfe/raw"), path("raw link")).unwrap();
    run("mkfifo", &[&path("pipe")]);
    run("mknod", &[&path("char"), &"c", &"1", &"300"]);
    run("mknod", &[&path("block"), &"b", &"259", &"1048575"]);
    drop(std::os::unix::net::UnixListener::bind(path("socket")).unwrap());

    let sparse = fs::File::create(path("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 5 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    fs::File::create(path("hole")).unwrap().set_len(64 << 20).unwrap();

    for (owner, name) in [("12:34", "plain"), ("1000:1000", "setuid"), ("7:8", "link"), ("9:10", "pipe")] {
        run("chown", &[&"-h", &owner, &path(name)]);
    }
    run("chown", &[&"1000:2000", &path("setgid")]);
    run("chown", &[&"1000:2000", &path("setgid/file")]);
    for (mode, name) in [
        ("0444", "read only"),
        ("0000", "no rights"),
        ("6755", "setuid"),
        ("1777", "sticky"),
        ("2775", "setgid"),
        ("0000", "closed"),
        ("0640", "pipe"),
        ("0222", "socket"),
        ("4611", "char"),
    ] {
        run("chmod", &[&mode, &path(name)]);
    }
    run("setfattr", &[&"-n", &"user.note", &"-v", &"a note", &path("plain")]);
    run("setfattr", &[&"-n", &"user.empty", &path("read only")]);
    run("setfattr", &[&"-n", &"trusted.on-a-link", &"-v", &"1", &"-h", &path("link")]);
    run("setfattr", &[&"-n", &"trusted.on-a-pipe", &"-v", &"1", &path("pipe")]);
    run("setfattr", &[&"-n", &"user.binary", &"-v", &"0x00ff0a00", &path("folder")]);
    run("setfattr", &[&"-n", &"user.large", &"-v", &"v".repeat(3000), &path("large attribute")]);
    let capability = "0x0100000200200000000000000000000000000000";
    run("setfattr", &[&"-n", &"security.capability", &"-v", &capability, &path("capable")]);
    run("setfacl", &[&"-m", &"u:1234:rw,g:4321:r,m::rw", &path("acl")]);
    run("setfacl", &[&"-d", &"-m", &"u:1234:rwx", &path("default acl")]);
    fs::write(path("default acl/inherits"), "x").unwrap();
    for (time, name) in [
        ("1901-12-13 20:45:52.5 UTC", "empty"),
        ("1969-12-31 23:59:59.999999999 UTC", "plain"),
        ("2038-01-19 03:14:08.000000001 UTC", "pipe"),
        ("2300-01-01 00:00:00.123456789 UTC", "link"),
        ("2001-02-03 04:05:06.7 UTC", "folder/inner"),
        ("2001-02-03 04:05:06.8 UTC", "closed"),
    ] {
        run("touch", &[&"-h", &"-d", &time, &path(name)]);
    }
    run("touch", &[&"-d", &"2010-10-10 10:10:10.101 UTC", &at]);
}

fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (seen_by_others(left), seen_by_others(right));
    assert!(left.len() > 40, "the comparison must see something");
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(left, right);
    }
    assert_eq!(left.len(), right.len());
}

#[test]
fn every_kind_of_file_comes_back_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    zoo(from.path());
    let problems = copy(from.path(), to.path(), &STRICT);
    assert!(problems.is_empty(), "{problems:?}");
    assert_same(from.path(), to.path());
}

#[test]
fn holes_stay_holes() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    zoo(from.path());
    copy(from.path(), to.path(), &STRICT);
    for name in ["sparse", "hole"] {
        let blocks = |folder: &Path| fs::metadata(folder.join(name)).unwrap().blocks();
        assert_eq!(blocks(to.path()), blocks(from.path()), "{name}");
        assert!(blocks(to.path()) < 100);
        let stat = stat_of(&to.path().join(name));
        assert!(stat.may_have_holes());
        assert_eq!(stat.size, fs::metadata(from.path().join(name)).unwrap().len());
    }
    assert!(!stat_of(&to.path().join("plain")).may_have_holes());
}

#[test]
fn a_target_that_passes_on_acls_and_groups_makes_no_difference() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    zoo(from.path());
    run("setfacl", &[&"-d", &"-m", &"u:4242:rwx,o::rwx", &to.path()]);
    run("chown", &[&"0:777", &to.path()]);
    run("chmod", &[&"2755", &to.path()]);
    let inside = to.path().join("made below");
    fs::create_dir(&inside).unwrap();
    let (inherited, group) = (run("getfacl", &[&inside]), fs::metadata(&inside).unwrap().gid());
    assert!(inherited.contains("4242") && group == 777, "the target does pass them on");
    let problems = copy(from.path(), &inside, &STRICT);
    assert!(problems.is_empty(), "{problems:?}");
    assert_same(from.path(), &inside);
    // A setgid folder alone passes on its group without an ACL.
    run("setfacl", &[&"-b", &to.path()]);
    let inside = to.path().join("again");
    fs::create_dir(&inside).unwrap();
    assert_eq!(fs::metadata(&inside).unwrap().gid(), 777);
    assert!(copy(from.path(), &inside, &STRICT).is_empty());
    assert_same(from.path(), &inside);
}

#[test]
fn metadata_of_what_exists_is_put_right_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    zoo(from.path());
    copy(from.path(), to.path(), &STRICT);
    let path = |name: &str| to.path().join(name);
    run("chmod", &[&"0777", &path("setuid"), &path("pipe"), &path("closed")]);
    run("chown", &[&"-h", &"55:66", &path("setuid"), &path("link"), &path("plain"), &path("acl")]);
    // The right mode under a wrong owner: correcting the owner takes it away again.
    run("chmod", &[&"6755", &path("setuid")]);
    run("setfacl", &[&"-m", &"u:999:rwx", &path("plain"), &path("folder")]);
    run("setfacl", &[&"-b", &path("acl"), &path("default acl")]);
    run("setfattr", &[&"-n", &"user.surplus", &"-v", &"1", &path("plain"), &path("capable")]);
    run("setfattr", &[&"-n", &"user.note", &"-v", &"another", &path("plain")]);
    run("setfattr", &[&"-x", &"security.capability", &path("capable")]);
    run("setfattr", &[&"-n", &"trusted.surplus", &"-v", &"1", &"-h", &path("link")]);
    run("touch", &[&"-h", &path("link"), &path("plain"), &path("folder"), &path("block")]);

    // By name for everything, as for files whose content needs no change.
    let target = open(to.path()).root();
    for step in Walk::start(&[from.path().to_owned()], WalkOptions::default()).unwrap() {
        let (Step::Item(entry) | Step::Enter(entry)) = step else { continue };
        if entry.folder.path() == from.path().canonicalize().unwrap() {
            let details = entry.details().unwrap();
            let problems = target.apply(&entry.name, &entry.stat, &details, &STRICT);
            assert!(problems.is_empty(), "{:?}: {problems:?}", entry.path());
        }
    }
    let top = fs::metadata(from.path()).unwrap();
    let stat = Stat {
        kind: Kind::Directory,
        mode: top.mode() & 0o7777,
        modified: Timestamp { seconds: top.mtime(), nanoseconds: top.mtime_nsec() as u32 },
        ..Stat::default()
    };
    assert!(target.apply_to_self(&stat, &Details::default(), &STRICT).is_empty());
    assert_same(from.path(), to.path());
}

#[test]
fn what_is_right_already_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    zoo(folder.path());
    let changed = |name: &[u8]| {
        let meta = fs::symlink_metadata(folder.path().join(OsStr::from_bytes(name))).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    };
    let target = open(folder.path()).root();
    for step in Walk::start(&[folder.path().to_owned()], WalkOptions::default()).unwrap() {
        let (Step::Item(entry) | Step::Enter(entry)) = step else { continue };
        if entry.folder.path() == folder.path().canonicalize().unwrap() {
            let before = changed(&entry.name);
            let details = entry.details().unwrap();
            assert_eq!(target.details(&entry.name).unwrap(), details);
            assert!(target.apply(&entry.name, &entry.stat, &details, &STRICT).is_empty());
            assert_eq!(changed(&entry.name), before, "{:?} was changed", entry.path());
        }
    }
}

#[test]
fn an_existing_file_is_rewritten_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let target = open(folder.path()).root();
    let file = target.open_file(b"file").unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    file.write_at(10, b"new").unwrap();
    file.punch_hole(64 << 10..512 << 10).unwrap();
    file.punch_hole(5..5).unwrap();
    file.set_len(600 << 10).unwrap();
    file.sync().unwrap();
    let mut expected = vec![b'x'; 600 << 10];
    expected[10..13].copy_from_slice(b"new");
    expected[64 << 10..512 << 10].fill(0);
    assert!(fs::read(&path).unwrap() == expected);
    assert_eq!(file.data_ranges(600 << 10).unwrap(), [0..64 << 10, 512 << 10..600 << 10]);
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(meta.ino(), inode);
    assert!(meta.blocks() * 512 <= 152 << 10, "the hole takes no room");
    let mut buffer = [0; 4];
    assert_eq!(file.read_at(9, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"xnew");
}

#[test]
fn on_a_simple_file_system_holes_become_zeros_and_attributes_a_problem() {
    assert!(crate::machine::is_root(), "mounting needs root; run these tests as root");
    let folder = tempfile::tempdir().unwrap();
    run("mount", &[&"-t", &"ramfs", &"ramfs", &folder.path()]);
    let check = || {
        let root = open(folder.path()).root();
        let file = root.create_file(b"file").unwrap();
        file.write_at(0, &vec![b'x'; 300_000]).unwrap();
        // Beyond the end, the file does not grow.
        file.punch_hole(1000..400_000).unwrap();
        let mut expected = vec![b'x'; 1000];
        expected.resize(300_000, 0);
        assert!(fs::read(folder.path().join("file")).unwrap() == expected);
        let data: u64 = file.data_ranges(300_000).unwrap().iter().map(|range| range.end - range.start).sum();
        assert_eq!(data, 300_000, "without holes, all is data");

        let note = (b"user.note".to_vec(), b"x".to_vec());
        let details = Details { xattrs: vec![note], ..Details::default() };
        let stat = Stat { mode: 0o640, ..Stat::default() };
        let problems = file.apply(&stat, &details, &STRICT);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].attribute, Attribute::Xattr(b"user.note".to_vec()));
        assert_eq!(mode(&folder.path().join("file")), 0o640);
        assert_eq!(root.details(b"file").unwrap(), Details::default());
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    run("umount", &[&folder.path()]);
    result.unwrap();
}
