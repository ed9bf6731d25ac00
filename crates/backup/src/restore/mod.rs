//! A restore.
//!
//! ```text
//! plan ─ folders, links, devices ─► target
//!   ├── files that exist ─► workers compare ─┐
//!   └── files ───────────────────────────────┴► window ─► ranges ─► fetch ─► workers ─► target
//! ```
//! *Plan* walks the tree in path order, which is nearly the order in the packs, makes folders and small things itself,
//! and collects files in *windows* of bounded size. Of files that exist already the workers first compare each chunk
//! with the chunk's id, so that only what differs is fetched. A window's chunks are grouped by segment, and segments
//! that lie side by side are *fetched* in one request, several at a time. *Workers*, one for each core, open a segment
//! once and write all that is wanted of it straight to the files; whoever writes a file's last byte sets its metadata
//! and closes it. A folder gets its metadata when the last who works below it lets go of it.
//!
//! # What is promised
//! - Nothing is written outside the target: every name is used relative to an open folder and no link is followed.
//! - A problem with one path, on this machine or in the vault, is noted and the rest goes on. What stops a restore is a
//!   full target, a store that is gone, and being asked to.
//! - A new file is removed again unless it is whole. A file that existed is changed where it is (so it may be left
//!   changed in part), unless it has other names or cannot be opened: then it is replaced.
//! - Owners are restored by number, because numbers are what ACLs and archives inside the files mean too.
//! - The target folder itself gets the metadata of what is restored into it only if the restore made it.
//!
//! # Cold storage
//! Whoever restores from cold storage lets [`ColdPacks`] warm what is needed first. A restore that meets a cold pack all
//! the same stops: waiting costs hours, and warming money.
//!
//! # Deleting
//! With `delete`, what a restored folder holds and the snapshot does not is removed. Never removed is what the selection
//! leaves out, what lies outside of the paths that were backed up (a folder *above* those shows only the way to them),
//! what is mounted where the snapshot has an empty folder, the vault itself, and this machine's cache of it. When a
//! folder's listing is damaged, nothing after the damage is removed. What a backup left out by its rules is not in the
//! snapshot, so it is removed.

mod budget;
mod clear;
mod compare;
mod existing;
mod fetch;
mod file;
mod folder;
mod layout;
mod links;
mod metadata;
mod plan;
mod session;
mod things;
mod verify;
mod warming;
mod window;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use content::body::Problem;
use content::tree::Entry;
use files::Selection;

use crate::tree_walk::clean_path;
use crate::{Error, Progress, Reader, ReadingTenure, Snapshot, Vault};
use session::Session;
pub use warming::{ColdPacks, PackCount};

/// How many opened bytes of the tree are kept.
const TREE_CACHE: usize = 16 << 20;

/// What to do with files that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Write all of their content again.
    Always,
    /// Compare their content with the snapshot's and write what differs. Sizes and times are not trusted.
    #[default]
    IfChanged,
    /// The same, but leave alone what is not older than in the snapshot.
    IfNewer,
    /// Leave alone everything that exists.
    Never,
}

/// What to restore, and how.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// From which snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The absolute path in the snapshot; empty or `/` is everything. Of a folder its contents are restored into the
    /// target, of anything else the thing itself.
    pub part: Vec<u8>,
    /// The folder to restore into, made when it is missing; `/` puts everything back where it was.
    pub target: PathBuf,
    /// Which paths of the snapshot.
    pub selection: Selection,
    /// What to do with files that exist.
    pub overwrite: Overwrite,
    /// Remove what is in restored folders and not in the snapshot.
    pub delete: bool,
    /// Read everything back afterwards and compare it with the chunks' ids.
    pub verify: bool,
    /// Look, compare and count; change nothing.
    pub dry_run: bool,
    /// How many threads write; the machine's cores when `None`.
    pub parallelism: Option<usize>,
}

/// How a restore went. "Files" are all things that are not folders.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    /// Files made, or changed in content.
    pub files_restored: u64,
    /// Files that were right already, or were left alone because they were to be.
    pub files_unchanged: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
    /// The sum of the sizes of all files that were selected, in bytes.
    pub bytes_total: u64,
    /// Folders that were selected, and others made on the way to what was.
    pub directories: u64,
    /// Things removed because the snapshot does not have them.
    pub deleted: u64,
    /// Every path that is not as it should be.
    pub problems: Vec<Problem>,
    /// How long it took.
    pub duration: Duration,
}

/// Restores. What was written before a failure or an interruption stays; the next restore finds it unchanged.
pub fn restore(
    vault: &Arc<Vault>,
    request: &RestoreRequest,
    progress: &Arc<Progress>,
) -> Result<RestoreReport, Error> {
    restore_during(ReadingTenure::begin(vault).as_ref(), vault, request, progress)
}

/// The same while a reader is at work already; `None` where no lease can be had.
pub fn restore_during(
    tenure: Option<&ReadingTenure>,
    vault: &Arc<Vault>,
    request: &RestoreRequest,
    progress: &Arc<Progress>,
) -> Result<RestoreReport, Error> {
    let begun = Instant::now();
    progress.set_stage("preparing");
    let reader = match tenure {
        Some(tenure) => Reader::during(tenure, TREE_CACHE)?,
        None => Reader::new(vault, TREE_CACHE),
    };
    let root = reader.open(&request.snapshot)?;
    let part = clean_path(&request.part);
    let start = find(&reader, &root, &part, request)?;
    let session = Arc::new(Session::begin(vault, request, progress, &reader, &root));
    progress.checkpoint()?;
    plan::run(&session, &start, &part)?;
    if request.verify && !request.dry_run {
        verify::run(&session, start, &part)?;
    }
    progress.checkpoint()?;
    Ok(session.report(begun.elapsed()))
}

fn find(reader: &Arc<Reader>, root: &Entry, part: &[u8], request: &RestoreRequest) -> Result<Entry, Error> {
    reader.lookup(root, part)?.ok_or_else(|| Error::NoSuchPath {
        path: String::from_utf8_lossy(&request.part).into_owned(),
        snapshot: request.snapshot.id.to_string(),
    })
}
