//! Writing real files back and asking other programs whether they are the same.

mod escape;
mod fidelity;
mod rights;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::{Details, Entry, Stat, Step, Timestamp, Walk, WalkOptions};

/// Runs a program and gives its output; a test that needs it fails without it.
fn run(command: &str, arguments: &[&dyn AsRef<OsStr>]) -> String {
    let output = Command::new(command)
        .args(arguments.iter().map(|argument| argument.as_ref()))
        .output()
        .unwrap_or_else(|error| panic!("{command} is needed for this test: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn open(path: &Path) -> Target {
    Target::open(path, false).unwrap()
}

/// The options of the superuser, whoever runs the test.
const STRICT: ApplyOptions = ApplyOptions { require_owner: true };

/// Copies what is inside `from` into `to`, the way a restore does: contents first, metadata after,
/// folders last. Returns what could not be set.
fn copy(from: &Path, to: &Path, options: &ApplyOptions) -> Vec<MetadataProblem> {
    let top = from.canonicalize().unwrap();
    let mut folders = vec![open(to).root()];
    let mut entered: Vec<Option<Entry>> = Vec::new();
    let mut links: HashMap<u64, (std::sync::Arc<TargetFolder>, Vec<u8>)> = HashMap::new();
    let mut problems = Vec::new();
    for step in Walk::start(&[from.to_owned()], WalkOptions::default()).unwrap() {
        match step {
            Step::Enter(entry) if !entry.path().starts_with(&top) || entry.path() == top => {
                let is_top = entry.path() == top;
                entered.push(is_top.then_some(entry));
            }
            Step::Enter(entry) => {
                let inside = folders.last().unwrap().folder(&entry.name).unwrap();
                folders.push(inside);
                entered.push(Some(entry));
            }
            Step::Leave => {
                if let Some(entry) = entered.pop().unwrap() {
                    let folder = folders.pop().unwrap();
                    let details = entry.details().unwrap();
                    problems.extend(folder.apply_to_self(&entry.stat, &details, options));
                }
            }
            Step::Item(entry) => {
                let folder = folders.last().unwrap();
                if entry.stat.links > 1
                    && let Some((first, name)) = links.get(&entry.stat.inode)
                {
                    first.hard_link(name, folder, &entry.name).unwrap();
                    continue;
                }
                links.insert(entry.stat.inode, (folder.clone(), entry.name.clone()));
                problems.extend(copy_item(&entry, folder, options));
            }
            Step::Problem { path, error } => panic!("{}: {error}", path.display()),
        }
    }
    problems
}

fn copy_item(
    entry: &Entry,
    folder: &std::sync::Arc<TargetFolder>,
    options: &ApplyOptions,
) -> Vec<MetadataProblem> {
    let (name, stat) = (&entry.name[..], &entry.stat);
    let details = entry.details().unwrap();
    match stat.kind {
        Kind::File => {
            let source = entry.open().unwrap();
            let target = match folder.look(name).unwrap() {
                Some(_) => folder.open_file(name).unwrap(),
                None => folder.create_file_like(name, stat).unwrap(),
            };
            target.set_len(0).unwrap();
            target.set_len(stat.size).unwrap();
            for range in source.data_ranges(stat.size).unwrap() {
                let mut data = vec![0; (range.end - range.start) as usize];
                let mut read = 0;
                while read < data.len() {
                    read += source.read_at(range.start + read as u64, &mut data[read..]).unwrap();
                }
                target.write_at(range.start, &data).unwrap();
            }
            return target.apply(stat, &details, options);
        }
        Kind::Symlink => folder.symlink(name, &details.target),
        Kind::Fifo => folder.fifo(name),
        Kind::Socket => folder.socket(name),
        Kind::CharDevice | Kind::BlockDevice => folder.device(name, stat),
        Kind::Directory => unreachable!("directories are entered"),
    }
    .unwrap();
    folder.apply(name, stat, &details, options)
}

/// Everything that other programs see below `folder`: one line an entry, the attributes, the content.
fn seen_by_others(folder: &Path) -> Vec<String> {
    let listing = Command::new("find")
        .current_dir(folder)
        .args([".", "-printf", "%P|%y|%m|%U:%G|%s|%T@|%n|%l\\0"])
        .output()
        .expect("find is needed for this test");
    assert!(listing.status.success());
    let mut lines: Vec<String> = listing.stdout.split(|&byte| byte == 0).map(escaped).collect();
    // A folder's size is the file system's own affair.
    for line in lines.iter_mut().filter(|line| line.contains("|d|")) {
        let mut parts: Vec<&str> = line.split('|').collect();
        parts[4] = "-";
        *line = parts.join("|");
    }
    lines.sort_unstable();
    let attributes = Command::new("getfattr")
        .current_dir(folder)
        .args(["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "."])
        .output()
        .expect("getfattr is needed for this test");
    let mut blocks: Vec<&str> = std::str::from_utf8(&attributes.stdout).unwrap().split("\n\n").collect();
    blocks.sort_unstable();
    lines.extend(blocks.iter().map(|block| block.trim().to_owned()));
    let sums = Command::new("sh")
        .current_dir(folder)
        .args(["-c", "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum -z"])
        .output()
        .unwrap();
    lines.extend(sums.stdout.split(|&byte| byte == 0).map(escaped));
    let devices = Command::new("sh")
        .current_dir(folder)
        .args(["-c", "find . \\( -type b -o -type c \\) -exec stat -c '%n %t:%T' {} + | sort"])
        .output()
        .unwrap();
    lines.push(String::from_utf8_lossy(&devices.stdout).into_owned());
    lines
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn stat_of(path: &Path) -> Stat {
    let target = open(path.parent().unwrap());
    target.root().look(path.file_name().unwrap().as_bytes()).unwrap().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
