//! A folder with one of everything a file system can hold. Needs root, for owners and devices.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};

use crate::noise;

/// Runs a tool that must succeed.
#[track_caller]
pub fn tool(program: &str, arguments: &[&OsStr]) {
    let status = Command::new(program).args(arguments).status();
    let status = status.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup installs it"));
    assert!(status.success(), "{program} {arguments:?}");
}

fn node(path: &Path, kind: FileType, device: Dev) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).expect("root may make device nodes");
}

/// Plants it all.
pub fn everything(top: &Path) {
    fs::create_dir_all(top).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join("one byte"), "1").unwrap();
    fs::write(top.join("text"), "a line of text\n".repeat(5000)).unwrap();
    fs::write(top.join("large"), noise(1, 6 << 20)).unwrap();
    fs::write(top.join("larger"), noise(2, 13_000_001)).unwrap();
    for n in 0..200 {
        fs::create_dir_all(top.join(format!("many/{}", n % 7))).unwrap();
        fs::write(top.join(format!("many/{}/{n}", n % 7)), noise(n, n as usize * 31)).unwrap();
    }
    fs::create_dir(top.join("empty folder")).unwrap();

    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(&noise(3, 70_000), 8 << 20).unwrap();
    sparse.write_all_at(b"tail", (30 << 20) + 4093).unwrap();
    let hollow = File::create(top.join("all hole")).unwrap();
    hollow.set_len(5 << 20).unwrap();

    fs::write(top.join("first name"), noise(4, 5000)).unwrap();
    fs::create_dir(top.join("links")).unwrap();
    fs::hard_link(top.join("first name"), top.join("links/second name")).unwrap();
    fs::hard_link(top.join("first name"), top.join("another name")).unwrap();

    symlink("text", top.join("link")).unwrap();
    symlink("/nowhere/at all", top.join("dangling")).unwrap();
    symlink("links", top.join("link to folder")).unwrap();
    fs::hard_link(top.join("dangling"), top.join("dangling too")).unwrap();

    node(&top.join("fifo"), FileType::Fifo, 0);
    node(&top.join("socket"), FileType::Socket, 0);
    node(&top.join("null"), FileType::CharacterDevice, makedev(1, 3));
    node(&top.join("disk"), FileType::BlockDevice, makedev(259, 70_000));

    names(top);
    metadata(top);
    times(top);
}

/// Names that are not text, or try to be more than a name.
fn names(top: &Path) {
    let folder = top.join("names");
    fs::create_dir(&folder).unwrap();
    let long = vec![b'x'; 255];
    let every: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    for name in [
        &b"new\nline"[..],
        b"not UTF-8 \xff\xfe",
        b"-dash",
        b" ",
        b"...",
        b"a\\b",
        b"caf\xc3\xa9",
        &long,
        &every,
    ] {
        fs::write(folder.join(OsStr::from_bytes(&name[..name.len().min(255)])), name).unwrap();
    }
}

fn metadata(top: &Path) {
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2711), ("nothing", 0), ("all", 0o777)] {
        fs::write(top.join(name), name).unwrap();
        fs::set_permissions(top.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(top.join("sticky")).unwrap();
    fs::set_permissions(top.join("sticky"), Permissions::from_mode(0o3777)).unwrap();
    fs::create_dir(top.join("locked")).unwrap();
    fs::write(top.join("locked/in"), "in").unwrap();
    fs::set_permissions(top.join("locked"), Permissions::from_mode(0o000)).unwrap();
    for (name, user, group) in [("owned", 12345, 54321), ("owned suid", 1, 2)] {
        fs::write(top.join(name), name).unwrap();
        std::os::unix::fs::chown(top.join(name), Some(user), Some(group)).unwrap();
    }
    fs::set_permissions(top.join("owned suid"), Permissions::from_mode(0o6755)).unwrap();
    std::os::unix::fs::lchown(top.join("dangling"), Some(7), Some(8)).unwrap();
    xattr::set(top.join("text"), "user.note", b"a note").unwrap();
    xattr::set(top.join("text"), "user.bytes", &noise(9, 900)).unwrap();
    xattr::set(top.join("many"), "user.folder", b"").unwrap();
    xattr::set(top.join("dangling"), "trusted.of a link", b"itself").unwrap();
    xattr::set(top.join("fifo"), "trusted.of a fifo", b"too").unwrap();
    tool("setfacl", &["-m".as_ref(), "u:1234:rw,g:99:r".as_ref(), top.join("one byte").as_os_str()]);
    tool("setfacl", &["-d".as_ref(), "-m".as_ref(), "u:1234:rwx".as_ref(), top.join("links").as_os_str()]);
    // cap_net_raw+ep, version 2, as `setcap` writes it; after chown, which would clear it.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(top.join("all"), "security.capability", &capability).unwrap();
}

fn times(top: &Path) {
    let set = |name: &str, seconds, nanoseconds| {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, top.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    };
    set("text", 1_000_000_000, 123_456_789);
    set("one byte", -1_000_000, 1);
    set("empty", 0, 0);
    set("large", 4_000_000_000, 999_999_999);
    set("link", 1_234_567, 7);
    set("fifo", 1_234_568, 8);
    set("null", 1_234_569, 9);
    set("links", 1_300_000_000, 5);
    set("locked", 1_300_000_001, 6);
}
