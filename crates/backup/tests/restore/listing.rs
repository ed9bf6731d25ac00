//! Everything that can be seen of a tree, found with the system's calls alone.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, readlinkat, statat};

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Kind and permissions.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Of files: the length, and a hash of the content; of symlinks: where they point.
    pub content: Vec<u8>,
    pub modified: (i64, u64),
    pub device: u64,
    /// Attributes with their values.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first name of the same inode; itself when it is alone.
    pub same_as: Vec<u8>,
    /// Where data is, when a file takes less room than its length.
    pub data: Vec<(u64, u64)>,
}

/// All that is below `top`, by path relative to it; `top` itself is not listed.
pub fn list(top: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let folder = openat(CWD, top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let (mut out, mut inodes) = (BTreeMap::new(), HashMap::new());
    // A stack of folders still to be listed: paths may be longer than the system takes, and deep.
    let mut folders = vec![(folder, Vec::new())];
    while let Some((folder, path)) = folders.pop() {
        let mut names: Vec<Vec<u8>> = Dir::read_from(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_bytes().to_vec())
            .filter(|name| !matches!(name.as_slice(), b"." | b".."))
            .collect();
        names.sort();
        for name in names {
            let mut full = path.clone();
            if !full.is_empty() {
                full.push(b'/');
            }
            full.extend_from_slice(&name);
            let (seen, below) = look(&folder, &name, &full, &mut inodes);
            out.insert(full.clone(), seen);
            folders.extend(below.map(|below| (below, full)));
        }
    }
    // Which name is the first depends on the order in which folders were listed; the sorted one does not.
    let mut first: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for (path, seen) in &mut out {
        seen.same_as = first.entry(seen.same_as.clone()).or_insert_with(|| path.clone()).clone();
    }
    out
}

fn look(
    folder: &OwnedFd,
    name: &[u8],
    path: &[u8],
    inodes: &mut HashMap<(u64, u64), Vec<u8>>,
) -> (Seen, Option<OwnedFd>) {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let mut seen = Seen {
        mode: stat.st_mode,
        owner: (stat.st_uid, stat.st_gid),
        content: Vec::new(),
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        device: stat.st_rdev,
        attributes: attributes(folder, name),
        same_as: inodes.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_vec()).clone(),
        data: Vec::new(),
    };
    let open =
        |flags| openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::RDONLY, Mode::empty()).unwrap();
    match stat.st_mode & 0o170_000 {
        0o040_000 => return (seen, Some(open(OFlags::DIRECTORY))),
        0o120_000 => seen.content = readlinkat(folder, name, Vec::new()).unwrap().into_bytes(),
        0o100_000 => {
            let file = std::fs::File::from(open(OFlags::empty()));
            let size = stat.st_size.cast_unsigned();
            let mut parts = vec![(0, size)];
            if stat.st_blocks.cast_unsigned() * 512 < size {
                parts = data(&file, size);
                seen.data = parts.clone();
            }
            // Only what is data is read: holes may be as large as they like.
            let mut hasher = blake3::Hasher::new();
            let mut buffer = vec![0; 1 << 20];
            for (start, end) in parts {
                let mut at = start;
                while at < end {
                    let room = buffer.len().min((end - at) as usize);
                    let got = file.read_at(&mut buffer[..room], at).unwrap();
                    assert!(got > 0, "it ends where its length says");
                    hasher.update(&buffer[..got]);
                    at += got as u64;
                }
            }
            seen.content = size.to_be_bytes().to_vec();
            seen.content.extend_from_slice(hasher.finalize().as_bytes());
        }
        _ => {}
    }
    (seen, None)
}

fn data(file: &std::fs::File, size: u64) -> Vec<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    let (mut out, mut at) = (Vec::new(), 0);
    while at < size {
        let Ok(start) = seek(file, SeekFrom::Data(at)) else { break };
        let end = seek(file, SeekFrom::Hole(start)).unwrap();
        out.push((start, end.min(size)));
        at = end;
    }
    out
}

fn attributes(folder: &OwnedFd, name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut buffer = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(&path[..], &mut buffer).unwrap();
    let names = buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut out: Vec<_> = names
        .map(|attribute| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(&path[..], attribute, &mut value).unwrap();
            value.truncate(length);
            (attribute.to_vec(), value)
        })
        .collect();
    out.sort();
    out
}

/// Fails with the first differences of two trees.
pub fn assert_same(expected: &Path, found: &Path) {
    assert_equal(&list(expected), &list(found));
}

/// Fails with the first differences of two listings.
pub fn assert_equal(expected: &BTreeMap<Vec<u8>, Seen>, found: &BTreeMap<Vec<u8>, Seen>) {
    let mut differences = Vec::new();
    for path in expected.keys().chain(found.keys()) {
        let (expected, found) = (expected.get(path), found.get(path));
        if expected != found {
            let path = String::from_utf8_lossy(path);
            let path = path.chars().take(200).collect::<String>();
            differences.push(format!("{path}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences[..differences.len().min(5)].join("\n"));
}
