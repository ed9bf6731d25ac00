//! An open vault: its store, its keys, and the machine's cache for it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use content::{ContentError, Keyring};
use futures_util::future::join;
use store::{Cached, Kind, StorageClass, Store};
use vault::descriptor::{ChunkSizes, DESCRIPTOR_MAX, Descriptor};
use vault::error::Damage;
use vault::locking::Locking;
use vault::{VaultError, VaultId, name};

use crate::locks::{prove_lock, require_locks};
use crate::settings::FirstSettings;
use crate::slots::{self, Found, NewSlot};
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
    cache: PathBuf,
    /// The storage class of packs of data, when somebody has asked.
    data_class: OnceLock<Option<StorageClass>>,
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
        let mut first = String::new();
        for slot in slots {
            let (name, bytes) = slots::seal(&keyring, slot)?;
            runtime.block_on(store.put(&name, vec![bytes]))?;
            if first.is_empty() {
                first = name;
            }
        }
        if let Some(lock) = &lock
            && let Err(error) = runtime.block_on(prove_lock(&store, &first, lock, lock.mode, begun))
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
        runtime.block_on(store.put(name::DESCRIPTOR, vec![bytes.into()]))?;
        Self::assemble(plain, (descriptor, None), keyring, first, cache, runtime)
    }

    /// Opens the vault in the store. When its descriptor is damaged or gone, a key slot is enough to read what is there;
    /// [`Self::descriptor_damage`] tells of it.
    pub fn open(store: Arc<dyn Store>, credential: &Credential, cache: &Path) -> Result<Arc<Self>, Error> {
        let runtime = new_runtime()?;
        let location = store.location();
        let (stored, found) = runtime.block_on(join(read_descriptor(&store), slots::fetch_all(&store)));
        let stored = stored?;
        let vault = stored.as_ref().ok().map(|descriptor| descriptor.vault);
        let found = slots::read(found?, vault);
        if let (Err(damage), true) = (&stored, found.is_empty()) {
            return Err(Error::damaged(name::DESCRIPTOR, damage.clone()));
        }
        let mut damaged = Vec::new();
        for Found { name, slot, damage } in found {
            match slot.as_ref().map(|slot| slot.open(credential)) {
                Some(Ok(keyring)) => {
                    let descriptor = match stored {
                        Ok(descriptor) if descriptor.owner == keyring.verifying_key() => (descriptor, None),
                        // The keys are right for the slot, so the descriptor was signed by somebody else.
                        Ok(_) => return Err(Error::damaged(name::DESCRIPTOR, Damage::Signature)),
                        Err(damage) => (stand_in(&keyring), Some(damage)),
                    };
                    return Self::assemble(store, descriptor, keyring, name, cache, runtime);
                }
                // Whether it would have opened if it were whole, nobody can tell.
                None | Some(Err(ContentError::WrongKey)) => {
                    let is_of_kind = slot.is_none_or(|slot| slot.kind == credential.kind());
                    damaged.extend(damage.filter(|_| is_of_kind).map(|_| name));
                }
                Some(Err(error)) => return Err(Error::content(name, error)),
            }
        }
        if damaged.is_empty() {
            return Err(Error::WrongKey { location });
        }
        Err(Error::DamagedSlots { slots: damaged.join(", ") })
    }

    fn assemble(
        store: Arc<dyn Store>,
        (descriptor, descriptor_damage): (Descriptor, Option<Damage>),
        keyring: Keyring,
        slot: String,
        cache: &Path,
        runtime: tokio::runtime::Runtime,
    ) -> Result<Arc<Self>, Error> {
        let cache = cache.join(descriptor.vault.to_string());
        make_private_folder(&cache)?;
        let store = Locking::by_settings(store, &descriptor);
        let cached = store
            .is_remote()
            .then(|| Arc::new(Cached::new(store.clone(), is_kept, &cache.join("objects"), OBJECTS_KEPT)));
        let data_class = OnceLock::new();
        Ok(Arc::new(Self {
            store,
            cached,
            descriptor,
            descriptor_damage,
            keyring,
            slot,
            cache,
            data_class,
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

    pub(crate) fn known_data_class(&self) -> &OnceLock<Option<StorageClass>> {
        &self.data_class
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

/// The descriptor, or what is wrong with it.
pub(crate) async fn read_descriptor(store: &Arc<dyn Store>) -> Result<Result<Descriptor, Damage>, Error> {
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
        outcome => Ok(outcome),
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
