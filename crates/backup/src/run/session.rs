//! What a run knows before it starts: the snapshots, the one to compare with, the index, and what an earlier run left.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use content::ContentError;
use content::cut::Cutter;
use content::index::{Index, PackChunks, open_directories};
use content::segment::Opener;
use content::tree::Time;
use futures_util::StreamExt;
use store::Store;
use vault::fragment::{self, FRAGMENT_MAX, PackRecord};
use vault::lease::Role;
use vault::relocation::Holders;
use vault::{ObjectHash, PackId, SystemId, name};

use super::BackupRequest;
use super::journal::Journal;
use super::notes::{self, Job, NotesWriter};
use super::parent::Parent;
use crate::tenure::{WritingTenure, look_around};
use crate::{Error, Progress, Reader, SnapshotList, Vault};

/// How many index fragments are fetched at once.
const FRAGMENTS_AT_ONCE: usize = 4;
/// How many opened bytes of the previous tree are kept.
const TREE_CACHE: usize = 8 << 20;

pub(super) struct Session<'a> {
    pub vault: &'a Arc<Vault>,
    pub request: &'a BackupRequest,
    pub progress: &'a Arc<Progress>,
    pub cutter: Cutter,
    pub reader: Arc<Reader>,
    pub parent: Option<Parent>,
    pub system: SystemId,
    /// The newest snapshot of this system: its sequence and name.
    pub last: Option<(u64, ObjectHash)>,
    pub parallelism: usize,
    pub started: Time,
    pub paths: Vec<PathBuf>,
    pub index: Mutex<Option<Index>>,
    pub journal: Mutex<Journal>,
    /// Packs whose bytes could not be read when they should have been: nothing in them is reused.
    distrusted: Mutex<HashSet<PackId>>,
    /// The lease; `None` for a dry run.
    pub tenure: Option<WritingTenure>,
    /// Where packs went, and what is about to be deleted.
    pub holders: Arc<Holders>,
}

impl<'a> Session<'a> {
    pub(super) fn begin(
        vault: &'a Arc<Vault>,
        request: &'a BackupRequest,
        progress: &'a Arc<Progress>,
    ) -> Result<Self, Error> {
        if let Some(damage) = vault.descriptor_damage() {
            return Err(Error::damaged(vault::name::DESCRIPTOR, damage.clone()));
        }
        let started = now();
        let paths = absolute(&request.paths)?;
        let system = system_id(vault);
        // Before anything else is read: what is there now stays until the lease has ended.
        let (tenure, around) = match request.dry_run {
            true => (None, vault.wait(look_around(vault, Role::Writer))?),
            false => {
                let (tenure, around) = WritingTenure::begin(vault, system)?;
                (Some(tenure), around)
            }
        };
        let holders = match &tenure {
            Some(tenure) => tenure.holders(),
            None => Arc::new(vault.wait(Holders::read(around.as_ref(), vault.id()))?),
        };
        let snapshots = SnapshotList::load_from(vault, &around)?;
        // Those in the trash too: the chain goes on after the newest that there was.
        let in_trash = snapshots.trash.iter().filter_map(|one| one.snapshot.as_ref().ok());
        let all = snapshots.snapshots.iter().chain(in_trash);
        let all = all.map(|snapshot| (&snapshot.envelope, snapshot.id));
        let sealed = snapshots.sealed.iter().map(|sealed| (&sealed.envelope, sealed.id));
        let last = all
            .chain(sealed)
            .filter(|(envelope, _)| envelope.system == system)
            .map(|(envelope, id)| (envelope.sequence, id))
            .max_by_key(|(number, _)| *number);
        // One that is condemned, though its mark is hidden or was taken away too late, tells no more where things are.
        let parent = Parent::find(vault, system, &snapshots, request, &paths)?;
        let parent = parent.filter(|parent| !holders.is_going(parent.id()));
        if !request.dry_run {
            notes::tidy(vault, |id| snapshots.has(id));
        }
        let reader = Reader::new(vault, TREE_CACHE);
        reader.know(holders.clone());
        let journal = Journal::begin(vault.cache_folder(), request.dry_run)?;
        let index = open_index(vault, &around, progress)?;
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let session = Self {
            vault,
            request,
            progress,
            cutter: Cutter::new(vault.keyring().cutting_key(), vault.descriptor().chunk_sizes),
            reader,
            parent,
            system,
            last,
            parallelism: request.parallelism.unwrap_or(cores).clamp(1, 64),
            started,
            paths,
            index: Mutex::new(Some(index)),
            journal: Mutex::new(journal),
            distrusted: Mutex::default(),
            tenure,
            holders,
        };
        let damaged = vault.wait(vault::damage::read_all(around.as_ref(), vault.id()))?;
        session.distrust(damaged.into_iter().map(|damaged| damaged.pack));
        // Of the snapshot before, what is condemned and was not moved.
        let going = session
            .parent
            .iter()
            .flat_map(|parent| &parent.envelope().needs)
            .filter(|need| session.holders.find(need.pack, need.object, &need.segments).is_none());
        session.distrust(going.map(|need| need.pack).collect::<Vec<_>>());
        session.adopt_leftovers()?;
        Ok(session)
    }

    /// What will be noted of this backup; `None` where the next one can read the tree, or there will be no snapshot.
    pub(super) fn begin_notes(&self) -> Option<NotesWriter> {
        let is_noted = !self.vault.keyring().can_read() && !self.request.dry_run;
        let job = Job::of(self.vault, self.system, &self.request.host, &self.paths);
        is_noted.then(|| NotesWriter::begin(self.vault, job, &self.cutter, self.started.seconds))
    }

    pub(super) fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn distrust(&self, packs: impl IntoIterator<Item = PackId>) {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).extend(packs);
    }

    pub(super) fn distrusts(&self, pack: PackId) -> bool {
        let distrusted = self.distrusted.lock().unwrap_or_else(PoisonError::into_inner);
        !distrusted.is_empty() && distrusted.contains(&pack)
    }

    /// Packs that an interrupted run stored and no fragment names yet: they get their fragment now.
    fn adopt_leftovers(&self) -> Result<(), Error> {
        let leftovers = self.journal().leftovers().to_vec();
        if leftovers.is_empty() || self.request.dry_run {
            return Ok(());
        }
        let mut slot = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = slot.as_mut() else { return Ok(()) };
        let mut opener = Opener::new();
        let (mut records, mut chunks) = (Vec::new(), Vec::new());
        // Whether they are in the store is the question.
        let reader = Reader::uncached(self.vault, 0);
        for object in leftovers {
            if index.holds(object) || self.holders.is_condemned(object) {
                continue;
            }
            // One that is missing or damaged is just not reused.
            let Ok((trailer, encoded)) = reader.trailer(object) else { continue };
            let size = trailer.object_size(encoded.len());
            let record = PackRecord { hash: object, size, trailer: encoded };
            if let Ok(packs) = open_directories(self.vault.keyring(), &record, &trailer, &mut opener) {
                chunks.extend(packs);
                records.push(record);
            }
        }
        if !records.is_empty() {
            let fragment = store_fragment(self.vault, &records)?;
            index.add_fragment(fragment, &chunks).map_err(Error::Cache)?;
        }
        Ok(())
    }
}

/// Writes an index fragment for these packs.
pub(super) fn store_fragment(vault: &Vault, records: &[PackRecord]) -> Result<ObjectHash, Error> {
    let bytes = fragment::encode(vault.id(), records);
    let name = ObjectHash::of(&bytes);
    vault.wait(vault.store().put(&name.index_name(), vec![bytes]))?;
    Ok(name)
}

/// Brings the local index up to date with the vault's fragments. A damaged fragment is skipped: what it lists is
/// stored again when it is met.
fn open_index(vault: &Arc<Vault>, store: &Arc<dyn Store>, progress: &Progress) -> Result<Index, Error> {
    let objects = vault.wait(store.list(name::INDEX))?;
    let listed: HashSet<ObjectHash> =
        objects.iter().filter_map(|object| ObjectHash::from_object_name(&object.name)).collect();
    let folder = vault.cache_folder().join("index");
    crate::vault_access::make_private_folder(&folder)?;
    let mut index = Index::open(&folder, &listed).map_err(Error::Cache)?;
    if !vault.keyring().can_read() {
        return Ok(index);
    }
    let mut opener = Opener::new();
    let missing = index.missing(&listed);
    let fetch = |fragment: ObjectHash| {
        let store = vault.store().clone();
        async move { (fragment, store.get(&fragment.index_name(), FRAGMENT_MAX).await) }
    };
    let mut fetched =
        std::pin::pin!(futures_util::stream::iter(missing).map(fetch).buffered(FRAGMENTS_AT_ONCE));
    while let Some((fragment, bytes)) = vault.wait(fetched.next()) {
        progress.checkpoint()?;
        let name = fragment.index_name();
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) if error.kind == store::Kind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let Ok(records) = fragment::decode(&bytes, fragment, vault.id()) else { continue };
        let mut packs: Vec<PackChunks> = Vec::new();
        let mut is_newer = false;
        for (record, trailer) in &records {
            match open_directories(vault.keyring(), record, trailer, &mut opener) {
                Ok(opened) => packs.extend(opened),
                Err(ContentError::Library(what)) => {
                    return Err(Error::content(name, ContentError::Library(what)));
                }
                Err(ContentError::UnknownEpoch(_)) => is_newer = true,
                Err(_) => {}
            }
        }
        if is_newer {
            // Who comes with newer keys reads it anew.
            continue;
        }
        index.add_fragment(fragment, &packs).map_err(Error::Cache)?;
    }
    Ok(index)
}

/// The paths as raw bytes.
pub(super) fn path_bytes(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect()
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut out = Vec::with_capacity(paths.len());
    for path in paths {
        let absolute = std::path::absolute(path).map_err(|source| Error::File {
            path: path.clone(),
            action: "made absolute",
            source,
        })?;
        // `a/.` and `a/..` mean a place, and the place is what the snapshot is compared by.
        let clean = if absolute.components().any(|part| matches!(part, std::path::Component::ParentDir)) {
            absolute.canonicalize().unwrap_or(absolute)
        } else {
            absolute.components().collect()
        };
        out.push(clean);
    }
    Ok(out)
}

/// The machine's identity in this vault: follows from the machine's own id, so it survives a lost cache, and says
/// nothing about it to whoever has no key.
fn system_id(vault: &Vault) -> SystemId {
    let machine = std::fs::read("/etc/machine-id").or_else(|_| std::fs::read("/var/lib/dbus/machine-id"));
    let mut identity = Vec::new();
    match machine {
        Ok(id) if !id.trim_ascii().is_empty() => identity.extend_from_slice(id.trim_ascii()),
        _ => identity.extend_from_slice(files::machine::host_name().as_bytes()),
    }
    SystemId::new(*vault.keyring().system_identifier().identify(&identity).bytes())
}

/// The moment, by the machine's clock.
pub(super) fn now() -> Time {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Time { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() },
        Err(_) => Time::default(),
    }
}
