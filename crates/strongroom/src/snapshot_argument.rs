//! Snapshots as they are typed: `ID`, `latest`, `ID:PATH`, and what narrows `latest`.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use backup::{Error, Filter, Reader, Snapshot, SnapshotList, Vault};
use clap::Args;
use content::tree::Entry;

use crate::failure::Failure;
use crate::output;

/// What narrows the choice of snapshots.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which snapshots")]
pub struct Narrow {
    /// Only snapshots of this machine (repeat for any of several)
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Only snapshots that backed this path up
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only snapshots with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
}

impl Narrow {
    /// As a filter.
    pub fn filter(&self) -> Filter {
        let path = |path: &PathBuf| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            absolute.components().collect::<PathBuf>().into_os_string().into_vec()
        };
        Filter {
            hosts: self.host.clone(),
            paths: self.paths.iter().map(path).collect(),
            tags: self.tag.clone(),
        }
    }
}

/// A snapshot, or a part of one.
#[derive(Clone, Debug)]
pub struct SnapshotArgument {
    /// The beginning of an id, or `latest`.
    pub snapshot: String,
    /// An absolute path in it, with single slashes; `/` for all of it.
    pub path: Vec<u8>,
}

impl SnapshotArgument {
    /// Splits what was typed at the first colon.
    pub fn parse(text: &std::ffi::OsStr) -> Self {
        let bytes = text.as_bytes();
        let (snapshot, path) = match bytes.iter().position(|byte| *byte == b':') {
            Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..).unwrap_or_default()),
            None => (bytes, &b""[..]),
        };
        Self { snapshot: String::from_utf8_lossy(snapshot).into_owned(), path: backup::clean_path(path) }
    }

    /// What is at the path.
    pub fn entry(&self, reader: &Arc<Reader>, snapshot: &Snapshot) -> Result<Entry, Failure> {
        let root = reader.open(snapshot)?;
        let entry = reader.lookup(&root, &self.path)?;
        let missing = || Error::NoSuchPath { path: output::path(&self.path), snapshot: snapshot.id.short() };
        Ok(entry.ok_or_else(missing)?)
    }

    /// The snapshot it means.
    pub fn find(&self, vault: &Arc<Vault>, narrow: &Narrow) -> Result<Arc<Snapshot>, Failure> {
        self.find_in(&SnapshotList::load(vault)?, narrow)
    }

    /// The same of a list.
    pub fn find_in(&self, list: &SnapshotList, narrow: &Narrow) -> Result<Arc<Snapshot>, Failure> {
        let found = list.find(&self.snapshot, &narrow.filter())?;
        if list.in_trash(found.id).is_some() {
            output::note(&format!(
                "note: snapshot {} is in the trash and may be deleted soon",
                found.id.short()
            ));
        }
        if self.snapshot == "latest" {
            for (name, damage) in &list.damaged {
                output::note(&format!("note: {name} was passed over: {damage}"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_split_at_the_first_colon() {
        for (typed, snapshot, path) in [
            ("latest", "latest", "/"),
            ("3f2a:", "3f2a", "/"),
            ("3f2a:/", "3f2a", "/"),
            ("latest:etc//./hosts/", "latest", "/etc/hosts"),
            ("latest:/a:b", "latest", "/a:b"),
            ("latest:/..", "latest", "/.."),
        ] {
            let argument = SnapshotArgument::parse(typed.as_ref());
            assert_eq!((argument.snapshot.as_str(), argument.path.as_slice()), (snapshot, path.as_bytes()));
        }
    }
}
