//! The corpus *usr*: a real tree, copied from this machine with owners, times and hard links.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{at, make_empty_folder};

const SOURCE: &str = "/usr";
const PARTS: [&str; 4] = ["bin", "include", "lib", "share"];

/// Copies as much as fits in `size_max` bytes, in the order of the names; returns what to say about it.
pub fn copy(folder: &Path, size_max: u64) -> io::Result<String> {
    make_empty_folder(folder)?;
    let mut chosen = Chosen { size_left: size_max, paths: Vec::new(), links_seen: HashSet::new() };
    for part in PARTS {
        chosen.take(Path::new(part))?;
    }
    // One command for all, so that hard links between them stay. `--parents` keeps the folders above.
    let folder = std::path::absolute(folder)?;
    let mut copy = Command::new("cp");
    copy.current_dir(SOURCE).args(["-a", "--parents", "--"]).args(&chosen.paths).arg(&folder);
    let status = copy.status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cp failed: {status}")));
    }
    Ok(format!("{} bytes of {SOURCE} in {}", size_max - chosen.size_left, folder.display()))
}

struct Chosen {
    size_left: u64,
    paths: Vec<PathBuf>,
    links_seen: HashSet<u64>,
}

impl Chosen {
    /// Takes all of a path if it fits, otherwise what fits of its parts.
    fn take(&mut self, path: &Path) -> io::Result<()> {
        let mut links = self.links_seen.clone();
        let size = size_of(&Path::new(SOURCE).join(path), &mut links)?;
        if let Some(left) = self.size_left.checked_sub(size) {
            self.size_left = left;
            self.links_seen = links;
            self.paths.push(path.to_owned());
            return Ok(());
        }
        let absolute = Path::new(SOURCE).join(path);
        if absolute.is_dir() && !absolute.is_symlink() {
            for name in names_in(&absolute)? {
                self.take(&path.join(name))?;
            }
        }
        Ok(())
    }
}

/// The bytes of all files below a path, each file counted once.
fn size_of(path: &Path, links_seen: &mut HashSet<u64>) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path).map_err(at(path))?;
    if metadata.is_dir() {
        let names = names_in(path)?;
        return names.into_iter().map(|name| size_of(&path.join(name), links_seen)).sum();
    }
    let counted = metadata.nlink() > 1 && !links_seen.insert(metadata.ino());
    Ok(if metadata.is_file() && !counted { metadata.len() } else { 0 })
}

fn names_in(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let mut names =
        entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>().map_err(at(folder))?;
    names.sort_unstable();
    Ok(names)
}
