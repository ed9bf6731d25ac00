//! A small folder with one of everything.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use e2e::noise;
use e2e::plant::tool;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Plants it.
pub fn everything(top: &Path) {
    fs::create_dir_all(top.join("folder/deeper")).unwrap();
    fs::create_dir(top.join("empty folder")).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join("text"), "some text, again and again\n".repeat(300)).unwrap();
    fs::write(top.join("folder/noise"), noise(1, 3000)).unwrap();
    fs::write(top.join("folder/deeper/ümlaut"), "a name that is not ASCII").unwrap();
    fs::write(top.join(OsStr::from_bytes(b"not UTF-8 \xff\nand two lines")), "a name that is no text")
        .unwrap();
    symlink("folder/noise", top.join("link")).unwrap();
    symlink("/nowhere/at all", top.join("dangling")).unwrap();
    fs::hard_link(top.join("text"), top.join("folder/text again")).unwrap();
    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    sparse.write_all_at(&noise(3, 4096), 1 << 20).unwrap();
    File::create(top.join("all hole")).unwrap().set_len(1 << 20).unwrap();
    nodes(top);
    metadata(top);
    times(top);
}

fn nodes(top: &Path) {
    for (name, kind, device) in [
        ("pipe", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", FileType::BlockDevice, makedev(259, 70_000)),
    ] {
        let mode = Mode::from_raw_mode(0o640);
        mknodat(CWD, top.join(name), kind, mode, device).expect("root may make device nodes");
    }
}

fn metadata(top: &Path) {
    fs::write(top.join("owned"), "by somebody").unwrap();
    chown(top.join("owned"), Some(12345), Some(54321)).unwrap();
    fs::set_permissions(top.join("owned"), Permissions::from_mode(0o6755)).unwrap();
    fs::set_permissions(top.join("text"), Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(top.join("empty folder"), Permissions::from_mode(0o3777)).unwrap();
    xattr::set(top.join("text"), "user.note", b"an attribute").unwrap();
    xattr::set(top.join("dangling"), "trusted.note", b"of a link").unwrap();
    tool("setfacl", &["-m".as_ref(), "u:1234:rw,g:99:r".as_ref(), top.join("folder/noise").as_os_str()]);
    tool("setfacl", &["-d".as_ref(), "-m".as_ref(), "u:1234:rwx".as_ref(), top.join("folder").as_os_str()]);
    // cap_net_raw+ep, version 2, as `setcap` writes it.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::write(top.join("capable"), "of something").unwrap();
    xattr::set(top.join("capable"), "security.capability", &capability).unwrap();
}

fn times(top: &Path) {
    let names =
        ["empty", "text", "folder/noise", "folder/deeper/ümlaut", "sparse", "folder/deeper", "folder", ""];
    for (n, name) in (1..).zip(names) {
        let time = UNIX_EPOCH + Duration::new(1_700_000_000 + n, 123_456_789);
        File::open(top.join(name)).unwrap().set_modified(time).unwrap();
    }
    let long_ago = UNIX_EPOCH - Duration::new(1_000_000, 1);
    File::open(top.join("owned")).unwrap().set_modified(long_ago).unwrap();
}

/// Small files, which share a segment.
pub fn small_files(top: &Path, seed: u64, names: &[&str]) {
    for (n, name) in (0..).zip(names) {
        fs::write(top.join(name), noise(1000 * seed + n, 3000)).unwrap();
    }
}
