//! What all parts of one restore share: the request, the counters, the problems, and the reason to stop.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use content::body::{Problem, ProblemKind};
use content::tree::Entry;
use files::{ApplyOptions, TargetError};
use vault::VaultError;

use super::compare::Ids;
use super::{RestoreReport, RestoreRequest};
use crate::tree_walk::clean_path;
use crate::{Error, Progress, Reader, Vault};

/// No more problems are kept than this; the rest is counted.
const PROBLEMS_MAX: usize = 100_000;

#[derive(Default)]
pub(super) struct Counts {
    pub files_restored: AtomicU64,
    pub files_unchanged: AtomicU64,
    pub bytes_written: AtomicU64,
    pub bytes_total: AtomicU64,
    pub directories: AtomicU64,
    pub deleted: AtomicU64,
}

#[derive(Default)]
struct Problems {
    kept: Vec<Problem>,
    uncounted: u64,
    /// Marks of paths that are not to be verified: they were left alone or could not be restored.
    unverified: HashSet<[u8; 16]>,
}

pub(super) struct Session {
    pub vault: Arc<Vault>,
    pub reader: Arc<Reader>,
    pub progress: Arc<Progress>,
    pub request: RestoreRequest,
    pub apply: ApplyOptions,
    pub counts: Counts,
    pub ids: Ids,
    /// The paths that were backed up, as the tree names them.
    sources: Vec<Vec<u8>>,
    /// What is never removed, by device and inode.
    protected: Vec<(u64, u64)>,
    problems: Mutex<Problems>,
    failure: Mutex<Option<Error>>,
    stopped: AtomicBool,
}

impl Session {
    pub(super) fn begin(
        vault: &Arc<Vault>,
        request: &RestoreRequest,
        progress: &Arc<Progress>,
        reader: &Arc<Reader>,
        root: &Entry,
    ) -> Self {
        let location = vault.store().location();
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        let own = [vault.cache_folder(), Path::new(&location)];
        Self {
            vault: vault.clone(),
            reader: reader.clone(),
            progress: progress.clone(),
            request: request.clone(),
            apply: ApplyOptions::default(),
            counts: Counts::default(),
            ids: Ids::new(reader),
            sources: if request.delete { sources(request, reader, root) } else { Vec::new() },
            protected: own.into_iter().filter(|path| path.is_absolute()).filter_map(identity).collect(),
            problems: Mutex::default(),
            failure: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        self.request.parallelism.unwrap_or(cores).clamp(1, 64)
    }

    /// Whether everything should end: it failed, or somebody asked.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) || self.progress.is_cancelled()
    }

    pub(super) fn checkpoint(&self) -> Result<(), Error> {
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Ends everything; the first reason counts.
    pub(super) fn stop(&self, reason: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*failure, None | Some(Error::Interrupted)) {
            *failure = Some(reason);
        }
        self.stopped.store(true, Ordering::Release);
    }

    /// The reason why everything ended, if it did.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn problems(&self) -> MutexGuard<'_, Problems> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn problem(&self, kind: ProblemKind, path: &[u8], message: String) {
        self.progress.add_problems(1);
        let mut problems = self.problems();
        if kind != ProblemKind::Metadata && self.request.verify {
            problems.unverified.insert(mark(path));
        }
        if problems.kept.len() < PROBLEMS_MAX {
            problems.kept.push(Problem { kind, path: path.to_vec(), message });
        } else {
            problems.uncounted += 1;
        }
    }

    /// A path cannot be restored, or not whole.
    pub(super) fn lost(&self, path: &[u8], message: String) {
        self.problem(ProblemKind::Unreadable, path, message);
    }

    /// A path cannot be restored because of this machine. Ends everything when nothing else could succeed either.
    pub(super) fn refused(&self, path: &[u8], error: TargetError) {
        self.lost(path, describe(&error));
        if let TargetError::System { source, .. } = error
            && is_hopeless(source.kind())
        {
            let action = "written to any more";
            self.stop(Error::File { path: self.request.target.clone(), action, source });
        }
    }

    /// An existing path is left alone, as it was asked for.
    pub(super) fn left_alone(&self, path: &[u8]) {
        self.counts.files_unchanged.fetch_add(1, Ordering::Relaxed);
        if self.request.verify {
            self.problems().unverified.insert(mark(path));
        }
    }

    pub(super) fn is_to_verify(&self, path: &[u8]) -> bool {
        !self.problems().unverified.contains(&mark(path))
    }

    /// Whether a folder of the snapshot shows all that was in it, so that what else is here may be removed.
    pub(super) fn is_complete(&self, folder: &[u8]) -> bool {
        self.sources.iter().any(|source| is_at_or_below(folder, source))
    }

    /// Whether this is our own and never removed.
    pub(super) fn is_protected(&self, device: u64, inode: u64) -> bool {
        self.protected.contains(&(device, inode))
    }

    pub(super) fn report(&self, duration: Duration) -> RestoreReport {
        let mut problems = self.problems();
        let mut kept = std::mem::take(&mut problems.kept);
        if problems.uncounted > 0 {
            let message = format!("and {} problems more", problems.uncounted);
            kept.push(Problem { kind: ProblemKind::Unreadable, path: b"/".to_vec(), message });
        }
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RestoreReport {
            files_restored: value(&self.counts.files_restored),
            files_unchanged: value(&self.counts.files_unchanged),
            bytes_written: value(&self.counts.bytes_written),
            bytes_total: value(&self.counts.bytes_total),
            directories: value(&self.counts.directories),
            deleted: value(&self.counts.deleted),
            problems: kept,
            duration,
        }
    }
}

/// The paths that were backed up. A snapshot keeps them as they were given; where that leads through a link that this
/// machine has too, the tree has the place it leads to.
fn sources(request: &RestoreRequest, reader: &Arc<Reader>, root: &Entry) -> Vec<Vec<u8>> {
    let is_there = |path: &[u8]| matches!(reader.lookup(root, path), Ok(Some(_)));
    let resolve = |path: &Vec<u8>| {
        let path = clean_path(path);
        if is_there(&path) {
            return Some(path);
        }
        let as_path = Path::new(std::ffi::OsStr::from_bytes(&path));
        let place = as_path.parent()?.canonicalize().ok()?.join(as_path.file_name()?);
        Some(place.as_os_str().as_bytes().to_vec()).filter(|place| is_there(place))
    };
    request.snapshot.body.paths.iter().filter_map(resolve).collect()
}

fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    top == b"/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn mark(path: &[u8]) -> [u8; 16] {
    let mut mark = [0; 16];
    blake3::Hasher::new().update(path).finalize_xof().fill(&mut mark);
    mark
}

/// When one file meets this, every other would too.
fn is_hopeless(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as Io;
    matches!(kind, Io::StorageFull | Io::QuotaExceeded | Io::ReadOnlyFilesystem)
}

/// Whether the store as a whole is out of reach, so that going on would only repeat it for every path.
pub(super) fn is_out_of_reach(error: &Error) -> bool {
    let (Error::Store(error) | Error::Vault(VaultError::Store(error))) = error else {
        return matches!(error, Error::Interrupted);
    };
    matches!(
        error.kind,
        store::Kind::Gone | store::Kind::Unavailable | store::Kind::Clock | store::Kind::Cold
    )
}

/// An error and its causes in one line.
pub(super) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_means_whole_names() {
        for (path, top, expected) in [
            ("/a/b", "/a", true),
            ("/a", "/a", true),
            ("/ab", "/a", false),
            ("/", "/a", false),
            ("/a", "/a/b", false),
            ("/anything", "/", true),
        ] {
            assert_eq!(is_at_or_below(path.as_bytes(), top.as_bytes()), expected, "{path} below {top}");
        }
    }
}
