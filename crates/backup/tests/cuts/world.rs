//! A vault with snapshots, and what must be true of it whatever happened.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup::{CleanupReport, Dropped, Error, Progress, ReadData, SnapshotList, Vault, check};
use store::{MemoryStore, Store};
use tempfile::TempDir;
use vault::check::Unwatched;
use vault::collect::{self, Options};
use vault::{SnapshotId, VaultId, name};

use crate::support::{contents, create, credential, noise, on_disk, run};

pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A vault as a machine sees it that knows nothing of it.
pub struct Fresh {
    vault: Arc<Vault>,
    _cache: TempDir,
}

impl Fresh {
    pub fn open(store: &Arc<dyn Store>) -> Self {
        Self::try_open(store).unwrap()
    }

    /// As `open`, while the store may fail.
    pub fn try_open(store: &Arc<dyn Store>) -> Result<Self, Error> {
        let cache = tempfile::tempdir().unwrap();
        let vault = Vault::open(store.clone(), &credential(), cache.path())?;
        Ok(Self { vault, _cache: cache })
    }
}

impl Deref for Fresh {
    type Target = Arc<Vault>;

    fn deref(&self) -> &Arc<Vault> {
        &self.vault
    }
}

pub struct World {
    pub source: TempDir,
    pub id: VaultId,
    pub store: MemoryStore,
    /// The oldest first, with what each must give back.
    pub snapshots: Vec<(SnapshotId, Files)>,
}

/// Small files of which each version changes some, a large one of which it changes a part, and one that is its own.
pub fn version(top: &Path, number: u64) {
    for n in 0..20 {
        if number == 0 || n % 4 == number % 4 {
            std::fs::write(top.join(format!("small-{n}")), noise(n + 1000 * number, 6000)).unwrap();
        }
    }
    let mut large = noise(7, 4 << 20);
    let at = (number as usize % 4) << 20;
    large[at..at + 5000].copy_from_slice(&noise(number, 5000));
    std::fs::write(top.join("large"), large).unwrap();
    let own = |number: u64| top.join(format!("only-{number}"));
    std::fs::write(own(number), noise(50 + number, 700_000)).unwrap();
    if number > 0 {
        std::fs::remove_file(own(number - 1)).unwrap();
    }
}

impl World {
    /// A vault with so many snapshots, in which what was forgotten can be brought back for seven days.
    pub fn new(versions: u64) -> Self {
        let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Arc::new(MemoryStore::new());
        let vault = create(store.clone(), cache.path());
        let mut snapshots = Vec::new();
        for number in 0..versions {
            version(source.path(), number);
            let id = run(&vault, source.path()).snapshot.unwrap();
            snapshots.push((id, on_disk(source.path())));
        }
        Self { source, id: vault.id(), store: store.as_ref().clone(), snapshots }
    }

    /// A copy of the store.
    pub fn copy(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    pub fn ids(&self, places: &[usize]) -> Vec<SnapshotId> {
        places.iter().map(|place| self.snapshots[*place].0).collect()
    }

    /// Changes the vault before anything is cut.
    pub fn prepare(&mut self, change: impl FnOnce(&Self, &Arc<dyn Store>)) {
        let store = Arc::new(self.store.clone());
        change(self, &(store.clone() as Arc<dyn Store>));
        self.store = store.as_ref().clone();
    }

    /// Puts snapshots into the trash.
    pub fn forget(&self, store: &Arc<dyn Store>, places: &[usize]) -> Result<(), Error> {
        let vault = Fresh::try_open(store)?;
        let list = SnapshotList::load(&vault)?;
        backup::forget(&vault, &list, &self.ids(places), Dropped::Named, false).map(drop)
    }

    /// Fails unless these snapshots are there, in the trash or not, and all that are there restore.
    pub fn assert_restores(&self, store: &Arc<dyn Store>, places: &[usize]) -> Fresh {
        let vault = Fresh::open(store);
        let list = SnapshotList::load(&vault).unwrap().with_trash();
        assert!(list.damaged.is_empty() && list.sealed.is_empty(), "{:?} {:?}", list.damaged, list.sealed);
        for id in self.ids(places) {
            assert!(list.snapshots.iter().any(|snapshot| snapshot.id == id), "{id} is gone");
        }
        for snapshot in &list.snapshots {
            let (_, files) = self.snapshots.iter().find(|(id, _)| *id == snapshot.id).unwrap();
            assert_eq!(&contents(&vault, snapshot, self.source.path()), files, "{}", snapshot.id);
        }
        vault
    }

    /// Fails unless exactly these are there, out of the trash, whole, and a check of everything agrees.
    pub fn assert_exactly(&self, store: &Arc<dyn Store>, places: &[usize]) {
        let vault = self.assert_restores(store, places);
        assert_eq!(live(&vault), self.ids(places));
        let report = check(&vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
        assert!(!report.is_damaged(), "{:#?}", report.findings);
    }
}

/// Those that are not in the trash, the oldest first.
pub fn live(vault: &Arc<Vault>) -> Vec<SnapshotId> {
    SnapshotList::load(vault).unwrap().snapshots.iter().map(|snapshot| snapshot.id).collect()
}

/// Removes the leases of those who were cut off: they run out, and nobody needs to wait for that here.
pub fn let_leases_run_out(store: &Arc<dyn Store>) {
    wait(async {
        for lease in store.list(name::LEASES).await.unwrap() {
            store.delete(&lease.name).await.unwrap();
        }
    });
}

pub fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A cleanup that waits for nothing, puts up with nothing, and takes the trash for over.
pub fn try_clean(store: &Arc<dyn Store>, vault: VaultId) -> Result<CleanupReport, collect::CleanupError> {
    let mut options = Options::new(Duration::ZERO, false);
    (options.unfinished, options.max_unused) = (Duration::ZERO, 0.0);
    wait(collect::cleanup(store, vault, &options, &mut content::random::identity, &Unwatched))
}

pub fn clean(store: &Arc<dyn Store>, vault: VaultId) -> CleanupReport {
    try_clean(store, vault).unwrap()
}
