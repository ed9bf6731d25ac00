//! A vault of a known shape in a store that is watched.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup::{CleanupReport, CleanupRequest, Dropped, FirstSettings, Progress, SnapshotList, Vault};
use tempfile::TempDir;
use vault::SnapshotId;

use crate::ledger::Watched;
use crate::support::{noise, open, run, slot};

pub const MIB: u64 = 1 << 20;
/// How many small files there are, and the size of each.
pub const SMALL: u64 = 60;
pub const SMALL_SIZE: u64 = 6000;
/// How many large files there are, and the size of each.
pub const LARGE: u64 = 6;
pub const LARGE_SIZE: u64 = 3 * MIB;
/// All files together.
pub const ALL: u64 = SMALL * SMALL_SIZE + LARGE * LARGE_SIZE;

/// What is read at once of the end of a pack, to have its table.
pub const TAIL: u64 = 64 << 10;
/// Leases, marks, the descriptor and whatever else is a few hundred bytes, all together.
pub const LITTLE: u64 = 2 << 10;

/// A vault with snapshots of a folder.
pub struct World {
    pub watched: Watched,
    pub source: TempDir,
    pub cache: TempDir,
    /// The oldest first.
    pub snapshots: Vec<SnapshotId>,
}

pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn progress() -> Arc<Progress> {
    Arc::new(Progress::new())
}

/// Writes a file that looks as if it had been there for long.
pub fn write(path: PathBuf, bytes: &[u8]) {
    std::fs::write(&path, bytes).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

/// The files of one version: all are new in version 0, and in each later one a large one and a tenth of the small ones.
pub fn version(top: &Path, number: u64) {
    for n in 0..SMALL {
        if number == 0 || n % 10 == number % 10 {
            write(top.join(format!("small-{n:02}")), &noise(n + 1000 * number, SMALL_SIZE as usize));
        }
    }
    for n in 0..LARGE {
        if number == 0 || n == number % LARGE {
            write(top.join(format!("large-{n}")), &noise(500 + n + 1000 * number, LARGE_SIZE as usize));
        }
    }
}

impl World {
    /// A vault of so many versions, in which what is forgotten may be deleted at once.
    pub fn new(versions: u64) -> Self {
        let watched = Watched::new();
        let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = FirstSettings { delete_delay: Some(Duration::ZERO), ..FirstSettings::default() };
        let vault = Vault::create_with(watched.store(), &[slot()], cache.path(), &settings).unwrap();
        let mut snapshots = Vec::new();
        for number in 0..versions {
            version(source.path(), number);
            snapshots.push(run(&vault, source.path()).snapshot.unwrap());
        }
        Self { watched, source, cache, snapshots }
    }

    /// The vault as this machine opens it.
    pub fn open(&self) -> Arc<Vault> {
        open(self.watched.store(), self.cache.path())
    }

    /// Puts snapshots into the trash.
    pub fn forget(&self, places: &[usize]) {
        let vault = self.open();
        let list = SnapshotList::load(&vault).unwrap();
        let ids: Vec<_> = places.iter().map(|place| self.snapshots[*place]).collect();
        backup::forget(&vault, &list, &ids, Dropped::Named, false).unwrap();
    }

    /// The sizes of all packs, the smallest first.
    pub fn packs(&self) -> Vec<u64> {
        let sizes = self.watched.sizes();
        let mut packs: Vec<u64> =
            sizes.iter().filter(|(name, _)| name.starts_with("packs/")).map(|(_, size)| *size).collect();
        packs.sort();
        packs
    }

    /// The bytes of packs that hold directory listings alone: those are much smaller than any other here.
    pub fn tree_packs(&self) -> u64 {
        self.packs().into_iter().filter(|size| *size < 16 << 10).sum()
    }

    /// All that is neither a pack nor comes and goes.
    pub fn small_objects(&self) -> (usize, u64) {
        let sizes = self.watched.sizes();
        let comes_and_goes =
            |name: &str| ["packs/", "leases/", "verified/"].iter().any(|folder| name.starts_with(folder));
        let small: Vec<u64> =
            sizes.iter().filter(|(name, _)| !comes_and_goes(name)).map(|(_, size)| *size).collect();
        (small.len(), small.iter().sum())
    }

    /// Cleans up without a key, and waits for nothing but whoever is at work.
    pub fn clean(&self, max_unused: f64) -> CleanupReport {
        let request = CleanupRequest {
            max_unused: Some(max_unused),
            unfinished: Some(Duration::ZERO),
            ..CleanupRequest::default()
        };
        backup::clean_up(&self.watched.store(), &request, &progress()).unwrap()
    }
}
