//! Paths longer than the system takes in one call, and folders deeper than a stack is tall.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags};

use super::*;
use crate::Target;

/// Makes `levels` folders inside each other, step by step, with a file in the last.
fn dig(top: &Path, name: &str, levels: usize) {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::openat(CWD, top, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        rustix::fs::mkdirat(&folder, name, Mode::RWXU).unwrap();
        folder = rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&folder, "treasure", flags, Mode::RUSR).unwrap();
    rustix::io::write(&file, b"gold").unwrap();
    rustix::fs::fsetxattr(&file, "user.depth", b"deep", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::symlinkat("way out", &folder, "link").unwrap();
}

/// Lets go of the last hold on a chain of folders where there is no room to do so recursively.
fn end_on_a_small_stack<T: Send + 'static>(last: T) {
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(move || drop(last));
    thread.unwrap().join().unwrap();
}

fn walks_and_removes(name: &str, levels: usize) {
    let folder = tempfile::tempdir().unwrap();
    let hole = folder.path().join("hole");
    fs::create_dir(&hole).unwrap();
    dig(&hole, name, levels);

    for threads in [0, 2] {
        let (mut entered, mut left, mut met) = (0, 0, Vec::new());
        for step in Walk::start(std::slice::from_ref(&hole), options(threads, 10)).unwrap() {
            match step {
                Step::Enter(entry) => entered += usize::from(entry.name == name.as_bytes()),
                Step::Leave => left += 1,
                Step::Item(entry) => met.push(entry),
                Step::Problem { path, error } => {
                    panic!("{error} at a path of {} bytes", path.as_os_str().len())
                }
            }
        }
        assert_eq!(entered, levels);
        assert_eq!(left, levels + real(&folder).components().count() + 1);
        assert_eq!(met.len(), 2);
        assert_eq!(met[0].details().unwrap().target, b"way out");
        let treasure = &met[1];
        assert_eq!(
            treasure.path().as_os_str().len(),
            real(&folder).as_os_str().len() + "/hole".len() + levels * (name.len() + 1) + "/treasure".len()
        );
        let open = treasure.open().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(open.read(&mut buffer).unwrap(), 4);
        let details = treasure.details().unwrap();
        assert_eq!(details.xattrs, [(b"user.depth".to_vec(), b"deep".to_vec())]);
        assert_eq!(open.details().unwrap(), details);
        end_on_a_small_stack(met);
    }

    let target = Target::open(folder.path(), false).unwrap();
    let mut deepest = target.root().existing_folder(b"hole").unwrap();
    while let Ok(next) = deepest.existing_folder(name.as_bytes()) {
        deepest = next;
    }
    assert_eq!(deepest.names().unwrap(), [&b"link"[..], b"treasure"]);
    end_on_a_small_stack(deepest);
    target.root().remove(b"hole").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_path_of_eight_thousand_bytes_is_walked_and_removed() {
    walks_and_removes(&"n".repeat(200), 40);
}

#[test]
fn a_path_of_twelve_hundred_folders_is_walked_and_removed() {
    // More than the usual limit on open files, which the walk raises by itself.
    walks_and_removes("level", 1200);
}
