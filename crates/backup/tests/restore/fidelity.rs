//! What was there comes back: every kind of thing with everything that belongs to it.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use crate::listing::{assert_same, list};
use crate::support::noise;
use crate::{Scene, selection};

/// An ACL as the kernel takes it: version 2, then tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&permissions.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

const NOBODY: u32 = u32::MAX;

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn give_to(path: &Path, user: u32, group: u32) {
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_modified(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn make_node(path: &Path, kind: FileType, device: (u32, u32)) {
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

fn plant_contents(top: &Path) {
    for (name, length) in [("empty", 0), ("one byte", 1), ("page", 4096), ("own segment", 200_000)] {
        fs::write(top.join(name), noise(length as u64, length)).unwrap();
    }
    fs::write(top.join("many chunks"), noise(1, 9 << 20)).unwrap();
    fs::write(top.join("zeros"), vec![0; 3 << 20]).unwrap();
    fs::write(top.join("text"), "all work and no play ".repeat(100_000)).unwrap();
    for n in 0..500u64 {
        fs::write(top.join(format!("small {n}")), noise(n, (n * 31 % 4000) as usize)).unwrap();
    }
    // Equal to one that comes much earlier: its chunk is in another segment.
    fs::write(top.join("z copy"), noise(7, 217)).unwrap();
}

fn plant_holes(top: &Path) {
    let make = |name: &str, length: u64, data: &[(u64, usize)]| {
        let file = File::create(top.join(name)).unwrap();
        file.set_len(length).unwrap();
        for (at, length) in data {
            file.write_all_at(&noise(*at, *length), *at).unwrap();
        }
    };
    make("only a hole", 10 << 20, &[]);
    make("hole at the start", 8 << 20, &[(7 << 20, 1 << 20)]);
    make("hole at the end", 8 << 20, &[(0, 1 << 20)]);
    // Chunks do not end where holes begin.
    make("many holes", 64 << 20, &[(0, 5000), (1 << 20, 3 << 20), (6 << 20, 300_000), (63 << 20, 12345)]);
    make("huge", 1 << 40, &[(1 << 39, 4096)]);
}

fn plant_kinds(top: &Path) {
    symlink("nowhere/at all", top.join("dangling")).unwrap();
    symlink("/etc/passwd", top.join("absolute")).unwrap();
    symlink("x".repeat(4000), top.join("long link")).unwrap();
    give_to(&top.join("dangling"), 1234, 5678);
    set_modified(&top.join("absolute"), 1_234_567_890, 123_456_789);
    make_node(&top.join("pipe"), FileType::Fifo, (0, 0));
    make_node(&top.join("socket"), FileType::Socket, (0, 0));
    make_node(&top.join("null"), FileType::CharacterDevice, (1, 3));
    make_node(&top.join("loop"), FileType::BlockDevice, (7, 250));
    make_node(&top.join("large numbers"), FileType::CharacterDevice, (4000, 1_000_000));
    for name in ["pipe", "null"] {
        give_to(&top.join(name), 77, 88);
        set_mode(&top.join(name), 0o4751);
        set_modified(&top.join(name), 999_999_999, 1);
    }
}

fn plant_metadata(top: &Path) {
    for mode in [0o000, 0o400, 0o644, 0o755, 0o4755, 0o2755, 0o6711, 0o1777, 0o7777] {
        for owner in [0, 54321] {
            let path = top.join(format!("mode {mode:o} of {owner}"));
            fs::write(&path, noise(mode.into(), 100)).unwrap();
            give_to(&path, owner, owner + 1);
            set_mode(&path, mode);
        }
    }
    for (name, seconds, nanoseconds) in
        [("old", -1_000_000_000, 999_999_999), ("epoch", 0, 0), ("future", 4_000_000_000, 7)]
    {
        fs::write(top.join(name), name).unwrap();
        set_modified(&top.join(name), seconds, nanoseconds);
    }
    let path = top.join("attributes");
    fs::write(&path, "has attributes").unwrap();
    set_attribute(&path, "user.empty", b"");
    set_attribute(&path, "user.bytes", &[0, 255, 10, 0]);
    set_attribute(&path, "trusted.large", &noise(5, 2000));
    let entries =
        [(1, 6, NOBODY), (2, 4, 1234), (4, 4, NOBODY), (8, 6, 99), (0x10, 6, NOBODY), (0x20, 0, NOBODY)];
    set_attribute(&path, "system.posix_acl_access", &acl(&entries));
    let path = top.join("capable");
    fs::write(&path, "may bind low ports").unwrap();
    give_to(&path, 31, 32);
    set_mode(&path, 0o755);
    let capability = [0x0200_0001u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    set_attribute(&path, "security.capability", &capability);
    symlink("x", top.join("link with attributes")).unwrap();
    set_attribute(&top.join("link with attributes"), "trusted.link", b"yes");
}

fn plant_folders(top: &Path) {
    let inherits = top.join("inherits");
    fs::create_dir_all(inherits.join("below")).unwrap();
    // Set after the folder below it was made, which therefore has none: the restored one must not inherit it.
    let entries = [(1, 7, NOBODY), (2, 5, 1234), (4, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY)];
    set_attribute(&inherits, "system.posix_acl_default", &acl(&entries));
    fs::write(inherits.join("has inherited"), "an ACL").unwrap();
    fs::write(inherits.join("below/has not"), "an ACL").unwrap();
    fs::create_dir(top.join("empty folder")).unwrap();
    let locked = top.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::write(locked.join("inside"), "inside").unwrap();
    set_attribute(&locked, "user.folder", b"attribute");
    give_to(&locked, 54321, 54322);
    set_mode(&locked, 0o500);
    for (name, mode) in [("set group", 0o2775), ("sticky", 0o1777), ("closed", 0)] {
        fs::create_dir(top.join(name)).unwrap();
        fs::write(top.join(name).join("inside"), name).unwrap();
        give_to(&top.join(name), 3, 4);
        set_mode(&top.join(name), mode);
        set_modified(&top.join(name), 1_500_000_000, 500);
    }
}

fn plant_names(top: &Path) {
    let long = "n".repeat(255);
    let names: [&[u8]; 8] = [
        b"with\nnewline",
        b" spaces ",
        b"\xff\xfe not utf-8",
        "ünïcode".as_bytes(),
        b"-dash",
        b"\\back\\slash",
        b"...",
        long.as_bytes(),
    ];
    for name in names {
        fs::write(top.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    // Paths longer than the system takes in one call.
    for (name, length, depth) in [("long path", 200, 40), ("deep path", 2, 1200)] {
        fs::create_dir(top.join(name)).unwrap();
        let mut folder = rustix::fs::open(top.join(name), OFlags::RDONLY, Mode::empty()).unwrap();
        let below = CString::new("d".repeat(length)).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&folder, &below, Mode::from_raw_mode(0o755)).unwrap();
            folder = rustix::fs::openat(&folder, &below, OFlags::RDONLY, Mode::empty()).unwrap();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = rustix::fs::openat(&folder, "bottom", flags, Mode::from_raw_mode(0o600)).unwrap();
        rustix::io::write(&file, b"at the bottom").unwrap();
    }
}

fn plant_links(top: &Path) {
    fs::create_dir_all(top.join("a/b")).unwrap();
    fs::create_dir(top.join("z")).unwrap();
    fs::write(top.join("a/first"), noise(11, 2 << 20)).unwrap();
    fs::write(top.join("a/small"), "small").unwrap();
    fs::write(top.join("a/nothing"), "").unwrap();
    symlink("x", top.join("a/link")).unwrap();
    make_node(&top.join("a/pipe"), FileType::Fifo, (0, 0));
    for name in ["first", "small", "nothing", "link", "pipe"] {
        for (folder, more) in [("a", "0 earlier"), ("a/b", "other"), ("z", "later")] {
            fs::hard_link(top.join("a").join(name), top.join(folder).join(format!("{more} {name}"))).unwrap();
        }
    }
    set_mode(&top.join("z/later first"), 0o4640);
}

/// Makes a part of the tree.
type Plant = fn(&Path);

/// Everything above in one tree.
pub fn plant_everything(top: &Path) {
    let parts: [(&str, Plant); 7] = [
        ("contents", plant_contents),
        ("holes", plant_holes),
        ("kinds", plant_kinds),
        ("metadata", plant_metadata),
        ("folders", plant_folders),
        ("names", plant_names),
        ("links", plant_links),
    ];
    for (name, plant) in parts {
        fs::create_dir(top.join(name)).unwrap();
        plant(&top.join(name));
    }
    for (name, _) in parts {
        set_modified(&top.join(name), 1_000_000_000, 111_222_333);
    }
}

#[test]
fn everything_comes_back_exactly() {
    let scene = Scene::new(plant_everything);
    let mut request = scene.request();
    request.verify = true;
    request.target = scene.target("made/by the restore");
    let report = scene.restore(&request);
    assert_same(scene.source.path(), &request.target);
    let expected = list(scene.source.path());
    let folders = expected.values().filter(|seen| seen.mode & 0o170_000 == 0o040_000).count();
    assert_eq!(report.directories, folders as u64);
    assert_eq!(report.files_restored, (expected.len() - folders) as u64);
    assert_eq!(report.files_unchanged, 0);
    // The made target is the folder that was restored into it.
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&request.target), mode(scene.source.path()));

    // Once more, there is nothing to do, and nothing is done.
    let again = scene.restore(&request);
    assert_eq!((again.files_restored, again.bytes_written), (0, 0), "{again:?}");
    assert_eq!(again.files_unchanged, report.files_restored);
    assert_same(scene.source.path(), &request.target);
}

#[test]
fn into_a_folder_that_exists_it_is_the_same() {
    let scene = Scene::new(plant_everything);
    set_mode(scene.target.path(), 0o711);
    scene.restore(&scene.request());
    assert_same(scene.source.path(), scene.target.path());
    let mode = scene.target.path().metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o711, "a target that exists keeps its own metadata");
}

#[test]
fn one_thread_does_the_same_as_many() {
    let scene = Scene::new(|top| {
        plant_contents(top);
        plant_links(top);
    });
    for threads in [1, 2, 9] {
        let mut request = scene.request();
        (request.parallelism, request.target) = (Some(threads), scene.target(&threads.to_string()));
        scene.restore(&request);
        assert_same(scene.source.path(), &request.target);
    }
}

#[test]
fn everything_is_put_back_in_its_place() {
    let scene = Scene::new(plant_everything);
    let before = list(scene.source.path());
    for name in ["contents", "names", "links", "metadata"] {
        fs::remove_dir_all(scene.source(name)).unwrap();
    }
    let large = scene.source("holes/many holes");
    File::options().write(true).open(large).unwrap().write_all_at(b"oops", 2 << 20).unwrap();
    let mut request = scene.whole();
    request.target = "/".into();
    scene.restore(&request);
    crate::listing::assert_equal(&before, &list(scene.source.path()));
}

#[test]
fn a_further_name_alone_has_the_content() {
    let scene = Scene::new(plant_links);
    let mut request = scene.request();
    let wanted = scene.source("z/later first");
    request.selection = selection(&[wanted.to_str().unwrap()], &[]);
    let report = scene.restore(&request);
    assert_eq!(report.files_restored, 1);
    assert_eq!(fs::read(scene.target("z/later first")).unwrap(), noise(11, 2 << 20));
    assert_eq!(fs::read_dir(scene.target.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_with_many_names_in_many_windows() {
    let scene = Scene::new(|top| {
        for n in 0..20_000u32 {
            fs::write(top.join(format!("{n:x}")), n.to_le_bytes()).unwrap();
        }
    });
    let mut request = scene.request();
    request.target = scene.target("fresh");
    assert_eq!(scene.restore(&request).files_restored, 20_000);
    assert_same(scene.source.path(), &request.target);
    let again = scene.restore(&request);
    assert_eq!((again.files_restored, again.files_unchanged), (0, 20_000));
}
