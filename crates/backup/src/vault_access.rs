//! An open vault: its store, its keys, and the machine's cache for it.

use std::cmp::Reverse;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use content::slot::Slot;
use content::{ContentError, Keyring};
use futures_util::future::join;
use store::{Cached, Kind, ObjectInfo, Store};
use vault::descriptor::{ChunkSizes, DESCRIPTOR_MAX, Descriptor};
use vault::error::Damage;
use vault::locking::Locking;
use vault::{VaultError, VaultId, name};

use crate::locks::{prove_lock, require_locks};
use crate::opening::Opening;
use crate::settings::{Classes, FirstSettings};
use crate::slots::{self, Fetched, Found, NewSlot};
use crate::{Credential, Error};

/// How data is cut in new vaults.
pub const CHUNK_SIZES: ChunkSizes = ChunkSizes { min: 256 << 10, average: 1 << 20, max: 4 << 20 };

/// How much of a remote vault's small immutable objects is kept on this machine, in bytes.
const OBJECTS_KEPT: u64 = 512 << 20;

/// Objects that are named by their hash, and read in parts or again and again.
fn is_kept(name: &str) -> bool {
    [name::PACKS, name::SNAPSHOTS, name::TRASH].iter().any(|folder| name.starts_with(folder))
}

/// A vault that was opened with a key.
#[derive(Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    /// The store with a cache before it, when it is remote.
    cached: Option<Arc<Cached>>,
    descriptor: Descriptor,
    /// What is wrong with the stored descriptor; then `descriptor` is a stand-in.
    descriptor_damage: Option<Damage>,
    keyring: Keyring,
    slot: String,
    /// What opened it, while nobody has seen that its slot is still there.
    unconfirmed: Mutex<Option<Credential>>,
    /// The folder of all caches.
    caches: PathBuf,
    cache: PathBuf,
    /// When somebody has asked.
    classes: OnceLock<Classes>,
    /// What `store` is, where it has locks.
    locking: Option<Arc<Locking>>,
    runtime: tokio::runtime::Runtime,
}

impl Vault {
    /// Whether there is a vault in the store, be it one that lost its descriptor.
    pub fn exists(store: &Arc<dyn Store>) -> Result<bool, Error> {
        let runtime = new_runtime()?;
        runtime.block_on(exists(store))
    }

    /// An object that is in the way of a new vault. What a creation that was interrupted left behind is not.
    pub fn in_the_way(store: &Arc<dyn Store>) -> Result<Option<String>, Error> {
        let objects = new_runtime()?.block_on(store.list(""))?;
        Ok(objects.into_iter().map(|object| object.name).find(|name| !name.starts_with(name::KEYS)))
    }

    /// Makes a new vault with these key slots; `cache` is the folder under which each vault's cache lives.
    ///
    /// The slots are written before the descriptor: without its descriptor it is not a vault yet, so a failure on the
    /// way leaves nothing that could be taken for one.
    pub fn create(store: Arc<dyn Store>, slots: &[NewSlot], cache: &Path) -> Result<Arc<Self>, Error> {
        Self::create_with(store, slots, cache, &FirstSettings::default())
    }

    /// The same with settings of its own.
    pub fn create_with(
        store: Arc<dyn Store>,
        slots: &[NewSlot],
        cache: &Path,
        settings: &FirstSettings,
    ) -> Result<Arc<Self>, Error> {
        let lock = settings.lock;
        let settings = settings.encode(store.as_ref())?;
        let runtime = new_runtime()?;
        let location = store.location();
        if runtime.block_on(exists(&store))? {
            return Err(Error::VaultExists { location });
        }
        if lock.is_some() {
            runtime.block_on(require_locks(&store))?;
        }
        let (plain, begun) = (store.clone(), SystemTime::now());
        let store = Locking::with(store, lock);
        let id = VaultId::new(content::random::identity());
        let keyring = Keyring::generate(id);
        let mut first = None;
        for slot in slots {
            let (name, bytes) = slots::seal(&keyring, slot)?;
            runtime.block_on(store.put(&name, vec![bytes.clone()]))?;
            first.get_or_insert((name, bytes));
        }
        let (name, slot) = first.unwrap_or_default();
        if let Some(lock) = &lock
            && let Err(error) = runtime.block_on(prove_lock(&store, &name, lock, lock.mode, begun))
        {
            // A place where nothing began is told from one where something is amiss.
            for slot in runtime.block_on(store.list(name::KEYS))? {
                runtime.block_on(store.discard(&slot.name))?;
            }
            return Err(error);
        }
        let descriptor = Descriptor {
            vault: id,
            created: slots::now(),
            chunk_sizes: CHUNK_SIZES,
            settings,
            owner: keyring.verifying_key(),
        };
        let mut bytes = descriptor.encode_unsigned();
        let signature = keyring.sign(vault::descriptor::SIGNING_CONTEXT, &bytes);
        bytes.extend_from_slice(&signature);
        let bytes = Bytes::from(bytes);
        runtime.block_on(store.put(name::DESCRIPTOR, vec![bytes.clone()]))?;
        if store.is_remote() {
            Opening { descriptor: bytes, slot }.keep(cache, &location);
        }
        Self::assemble(plain, (descriptor, None), keyring, name, cache, runtime)
    }

    /// Opens the vault in the store. When its descriptor is damaged or gone, a key slot is enough to read what is there;
    /// [`Self::descriptor_damage`] tells of it.
    pub fn open(store: Arc<dyn Store>, credential: &Credential, cache: &Path) -> Result<Arc<Self>, Error> {
        let runtime = new_runtime()?;
        let location = store.location();
        let Unlocked { stored, fetched, name, keyring } = runtime.block_on(unlock(&store, credential))?;
        let descriptor = match stored {
            Ok((bytes, descriptor)) if descriptor.owner == keyring.verifying_key() => {
                let slot = fetched.into_iter().find(|(fetched, _)| *fetched == name);
                if let (true, Some((_, Ok(slot)))) = (store.is_remote(), slot) {
                    Opening { descriptor: bytes, slot }.keep(cache, &location);
                }
                (descriptor, None)
            }
            // The keys are right for the slot, so the descriptor was signed by somebody else.
            Ok(_) => return Err(Error::damaged(name::DESCRIPTOR, Damage::Signature)),
            Err(damage) => (stand_in(&keyring), Some(damage)),
        };
        Self::assemble(store, descriptor, keyring, name, cache, runtime)
    }

    /// Opens the vault in the store by what this machine remembers of it, without asking the store for anything; as
    /// [`Self::open`] does where nothing is remembered or it does not fit.
    ///
    /// That the key slot is still there is seen when a backup begins, when a reader's tenure does, or when snapshots are
    /// listed, and each fails where it is not. **Only for those who begin with one of these.**
    pub fn open_remembered(
        store: Arc<dyn Store>,
        credential: &Credential,
        cache: &Path,
    ) -> Result<Arc<Self>, Error> {
        let remembered = store.is_remote().then(|| Opening::read(cache, &store.location())).flatten();
        if let Some((descriptor, slot, name)) = remembered.and_then(|opening| opening.decode())
            && let Ok(keyring) = slot.open(credential)
            && descriptor.owner == keyring.verifying_key()
        {
            let vault = Self::assemble(store, (descriptor, None), keyring, name, cache, new_runtime()?)?;
            *vault.unconfirmed() = Some(credential.clone());
            return Ok(vault);
        }
        Self::open(store, credential, cache)
    }

    /// Whether this machine has opened a remote vault there before.
    pub fn is_remembered(location: &str, cache: &Path) -> bool {
        Opening::is_known(cache, location)
    }

    fn unconfirmed(&self) -> std::sync::MutexGuard<'_, Option<Credential>> {
        self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has yet to see in the listing of the key slots that the one is there that opened the vault.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed().is_some()
    }

    /// Looks for the slot that opened the vault among those that are there. Where it is gone, another may open it by the
    /// same credential; else whoever has the credential is to be kept out.
    pub(crate) async fn confirm(&self, slots: &[ObjectInfo]) -> Result<(), Error> {
        let Some(credential) = self.unconfirmed().take() else { return Ok(()) };
        if slots.iter().any(|slot| slot.name == self.slot) {
            return Ok(());
        }
        Opening::forget(&self.caches, &self.store.location());
        let keyring = unlock(&self.store, &credential).await?.keyring;
        if keyring.vault() != self.id() {
            // Another vault was made in its place. The next run finds that one.
            return Err(VaultError::NoVault { location: self.store.location() }.into());
        }
        Ok(())
    }

    fn assemble(
        store: Arc<dyn Store>,
        (descriptor, descriptor_damage): (Descriptor, Option<Damage>),
        keyring: Keyring,
        slot: String,
        cache: &Path,
        runtime: tokio::runtime::Runtime,
    ) -> Result<Arc<Self>, Error> {
        let caches = cache.to_owned();
        let cache = caches.join(descriptor.vault.to_string());
        make_private_folder(&cache)?;
        let locking = Locking::by_settings(&store, &descriptor);
        let store = locking.clone().map_or(store, |locking| locking as Arc<dyn Store>);
        let cached = store
            .is_remote()
            .then(|| Arc::new(Cached::new(store.clone(), is_kept, &cache.join("objects"), OBJECTS_KEPT)));
        Ok(Arc::new(Self {
            store,
            cached,
            descriptor,
            descriptor_damage,
            keyring,
            slot,
            unconfirmed: Mutex::default(),
            caches,
            cache,
            classes: OnceLock::new(),
            locking,
            runtime,
        }))
    }

    /// Its store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its store through the machine's cache: for whoever wants what an object says, and not to know that it is there.
    pub(crate) fn reading(&self) -> Arc<dyn Store> {
        match &self.cached {
            Some(cached) => cached.clone(),
            None => self.store.clone(),
        }
    }

    /// The cache itself, when the store is remote.
    pub(crate) fn cached(&self) -> Option<&Arc<Cached>> {
        self.cached.as_ref()
    }

    pub(crate) fn locking(&self) -> Option<&Arc<Locking>> {
        self.locking.as_ref()
    }

    pub(crate) fn known_classes(&self) -> &OnceLock<Classes> {
        &self.classes
    }

    /// Its keys.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Its public facts.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// What is wrong with the stored descriptor, if anything: then the vault can be read, and not added to.
    pub fn descriptor_damage(&self) -> Option<&Damage> {
        self.descriptor_damage.as_ref()
    }

    /// Its identity.
    pub fn id(&self) -> VaultId {
        self.descriptor.vault
    }

    /// The object name of the slot it was opened with.
    pub fn opened_with(&self) -> &str {
        &self.slot
    }

    /// The folder of all caches of this machine.
    pub(crate) fn caches(&self) -> &Path {
        &self.caches
    }

    /// This machine's cache for it.
    pub fn cache_folder(&self) -> &Path {
        &self.cache
    }

    /// Waits for a future; for threads that are not workers of the runtime.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Starts a task on the runtime.
    pub(crate) fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(future)
    }
}

/// A descriptor, or snapshots that had one.
async fn exists(store: &Arc<dyn Store>) -> Result<bool, Error> {
    match store.stat(name::DESCRIPTOR).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::NotFound => Ok(!store.list(name::SNAPSHOTS).await?.is_empty()),
        Err(error) if error.kind == Kind::Gone => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What opening read, and what came of it.
struct Unlocked {
    /// The descriptor with its bytes, or what is wrong with it.
    stored: Result<(Bytes, Descriptor), Damage>,
    fetched: Vec<Fetched>,
    /// The slot that the credential opens.
    name: String,
    keyring: Keyring,
}

async fn unlock(store: &Arc<dyn Store>, credential: &Credential) -> Result<Unlocked, Error> {
    let (stored, fetched) = join(read_descriptor(store), slots::fetch_all(store)).await;
    let (stored, fetched) = (stored?, fetched?);
    let vault = stored.as_ref().ok().map(|(_, descriptor)| descriptor.vault);
    if let (Err(damage), true) = (&stored, fetched.is_empty()) {
        return Err(Error::damaged(name::DESCRIPTOR, damage.clone()));
    }
    let (name, keyring) = try_slots(&fetched, vault, credential, &store.location())?;
    Ok(Unlocked { stored, fetched, name, keyring })
}

/// The name of the slot that the credential opens, and the keys in it.
fn try_slots(
    fetched: &[Fetched],
    vault: Option<VaultId>,
    credential: &Credential,
    location: &str,
) -> Result<(String, Keyring), Error> {
    let mut damaged = Vec::new();
    let mut found = slots::read(fetched, vault);
    found.sort_by_key(|found| Reverse(found.slot.as_ref().map(Slot::newness)));
    for Found { name, slot, damage } in found {
        match slot.as_ref().map(|slot| slot.open(credential)) {
            Some(Ok(keyring)) => return Ok((name, keyring)),
            // Whether it would have opened if it were whole, nobody can tell.
            None | Some(Err(ContentError::WrongKey)) => {
                let is_of_kind = slot.is_none_or(|slot| slot.kind == credential.kind());
                damaged.extend(damage.filter(|_| is_of_kind).map(|_| name));
            }
            Some(Err(error)) => return Err(Error::content(name, error)),
        }
    }
    if damaged.is_empty() {
        return Err(Error::WrongKey { location: location.to_owned() });
    }
    Err(Error::DamagedSlots { slots: damaged.join(", ") })
}

/// The descriptor with its bytes, or what is wrong with it.
pub(crate) async fn read_descriptor(
    store: &Arc<dyn Store>,
) -> Result<Result<(Bytes, Descriptor), Damage>, Error> {
    let bytes = match store.get(name::DESCRIPTOR, DESCRIPTOR_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Gone) => {
            if error.kind == Kind::NotFound && exists(store).await? {
                return Ok(Err(Damage::Missing));
            }
            return Err(VaultError::NoVault { location: store.location() }.into());
        }
        Err(error) if error.kind == Kind::TooLarge => return Ok(Err(Damage::Nonsense("it is too large"))),
        Err(error) => return Err(error.into()),
    };
    match Descriptor::decode(&bytes) {
        // Its key slots may be newer too.
        Err(damage) if damage.is_newer() => Err(Error::damaged(name::DESCRIPTOR, damage)),
        outcome => Ok(outcome.map(|descriptor| (bytes, descriptor))),
    }
}

/// What reading needs of a descriptor that is lost: all of it follows from the keys. How data was cut does not, so
/// nothing may be added.
fn stand_in(keyring: &Keyring) -> Descriptor {
    Descriptor {
        vault: keyring.vault(),
        created: 0,
        chunk_sizes: CHUNK_SIZES,
        settings: Vec::new(),
        owner: keyring.verifying_key(),
    }
}

pub(crate) fn new_runtime() -> Result<tokio::runtime::Runtime, Error> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|source| Error::File {
        path: "/".into(),
        action: "used: no thread could be started",
        source,
    })
}

/// Makes a folder that only its owner can look into.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::File { path: path.to_owned(), action: "made", source })
}
