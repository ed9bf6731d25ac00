//! What is in a folder, in every respect that a restore must bring back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

/// Everything about one thing in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `file`, `directory`, …
    pub kind: &'static str,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Length of a file.
    pub size: u64,
    /// Number of a device.
    pub device: u64,
    /// Target of a symlink.
    pub target: PathBuf,
    /// Hash of a file's bytes.
    pub content: String,
    /// Where a file has data: start and end of each range.
    pub data: Vec<(u64, u64)>,
    /// Extended attributes, ACLs and capabilities among them.
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first name, in order, of those that are one file with this.
    pub link_of: PathBuf,
}

/// Everything below `top`, by path relative to it; `top` itself is the empty path.
pub fn look(top: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut out = BTreeMap::new();
    collect(top, Path::new(""), &mut out);
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for (path, facts) in &mut out {
        let stat = top.join(path).symlink_metadata().unwrap();
        if facts.kind != "directory" {
            facts.link_of = first.entry((stat.dev(), stat.ino())).or_insert_with(|| path.clone()).clone();
        }
    }
    out
}

fn collect(top: &Path, below: &Path, out: &mut BTreeMap<PathBuf, Facts>) {
    let path = if below.as_os_str().is_empty() { top.to_owned() } else { top.join(below) };
    let facts = facts(&path);
    let is_directory = facts.kind == "directory";
    out.insert(below.to_owned(), facts);
    if is_directory {
        for entry in std::fs::read_dir(&path).unwrap() {
            collect(top, &below.join(entry.unwrap().file_name()), out);
        }
    }
}

fn facts(path: &Path) -> Facts {
    let stat = path.symlink_metadata().unwrap();
    let kind = match stat.file_type() {
        t if t.is_file() => "file",
        t if t.is_dir() => "directory",
        t if t.is_symlink() => "symlink",
        t if t.is_fifo() => "fifo",
        t if t.is_socket() => "socket",
        t if t.is_char_device() => "character device",
        t if t.is_block_device() => "block device",
        _ => "unknown",
    };
    let is_file = kind == "file";
    let xattrs = xattr::list(path).map(|names| {
        names.map(|name| (name.clone(), xattr::get(path, &name).unwrap().unwrap_or_default())).collect()
    });
    Facts {
        kind,
        mode: if kind == "symlink" { 0 } else { stat.mode() & 0o7777 },
        owner: (stat.uid(), stat.gid()),
        modified: (stat.mtime(), stat.mtime_nsec()),
        size: if is_file { stat.len() } else { 0 },
        device: if kind.ends_with("device") { stat.rdev() } else { 0 },
        target: if kind == "symlink" { path.read_link().unwrap() } else { PathBuf::new() },
        content: if is_file { hash(path) } else { String::new() },
        data: if is_file { data_ranges(path) } else { Vec::new() },
        xattrs: xattrs.unwrap_or_default(),
        link_of: PathBuf::new(),
    }
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().to_hex().to_string(),
            length => hasher.update(&buffer[..length]),
        };
    }
}

fn data_ranges(path: &Path) -> Vec<(u64, u64)> {
    let file = File::open(path).unwrap();
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        ranges.push((start, at));
    }
    ranges
}

/// Insists that two looks are the same, and says where they are not.
#[track_caller]
pub fn assert_same(expected: &BTreeMap<PathBuf, Facts>, found: &BTreeMap<PathBuf, Facts>) {
    let mut differences = Vec::new();
    for (path, facts) in expected {
        match found.get(path) {
            None => differences.push(format!("{path:?} is missing")),
            Some(other) if other != facts => {
                differences.push(format!("{path:?}\n  expected {facts:?}\n  found    {other:?}"));
            }
            Some(_) => {}
        }
    }
    differences
        .extend(found.keys().filter(|path| !expected.contains_key(*path)).map(|p| format!("{p:?} is extra")));
    let shown = differences.len().min(10);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..shown].join("\n")
    );
}

/// The same as text that can be kept in a file: a line for each thing, in the order of paths.
pub fn lines(top: &Path) -> Vec<String> {
    as_lines(look(top))
}

/// A look as text.
pub fn as_lines(look: BTreeMap<PathBuf, Facts>) -> Vec<String> {
    let line = |(path, facts): (PathBuf, Facts)| {
        let Facts { kind, mode, owner, modified, size, device, target, content, data, xattrs, link_of } =
            facts;
        format!(
            "{path:?} {kind} {mode:o} {owner:?} {modified:?} {size} {device} {target:?} {content} {data:?} {xattrs:?} \
             {link_of:?}"
        )
    };
    look.into_iter().map(line).collect()
}
