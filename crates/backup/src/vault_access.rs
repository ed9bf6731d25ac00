//! An open vault: its store, its keys, and the machine's cache for it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use content::{ContentError, Keyring};
use store::{Kind, Store};
use vault::descriptor::{ChunkSizes, DESCRIPTOR_MAX, Descriptor};
use vault::error::Damage;
use vault::{VaultError, VaultId, name};

use crate::slots::{self, NewSlot};
use crate::{Credential, Error};

/// How data is cut in new vaults.
pub const CHUNK_SIZES: ChunkSizes = ChunkSizes { min: 256 << 10, average: 1 << 20, max: 4 << 20 };

/// A vault that was opened with a key.
#[derive(Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    descriptor: Descriptor,
    keyring: Keyring,
    slot: String,
    cache: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Vault {
    /// Whether there is a vault in the store.
    pub fn exists(store: &Arc<dyn Store>) -> Result<bool, Error> {
        let runtime = new_runtime()?;
        match runtime.block_on(store.stat(name::DESCRIPTOR)) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Gone) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a new vault with these key slots; `cache` is the folder under which each vault's cache lives.
    ///
    /// The slots are written before the descriptor: without its descriptor it is not a vault yet, so a failure on the
    /// way leaves nothing that could be taken for one.
    pub fn create(store: Arc<dyn Store>, slots: &[NewSlot], cache: &Path) -> Result<Arc<Self>, Error> {
        let runtime = new_runtime()?;
        let location = store.location();
        match runtime.block_on(store.stat(name::DESCRIPTOR)) {
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Error::VaultExists { location }),
        }
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
        let descriptor = Descriptor {
            vault: id,
            created: slots::now(),
            chunk_sizes: CHUNK_SIZES,
            settings: Vec::new(),
            owner: keyring.verifying_key(),
        };
        let mut bytes = descriptor.encode_unsigned();
        let signature = keyring.sign(vault::descriptor::SIGNING_CONTEXT, &bytes);
        bytes.extend_from_slice(&signature);
        runtime.block_on(store.put(name::DESCRIPTOR, vec![bytes.into()]))?;
        Self::assemble(store, descriptor, keyring, first, cache, runtime)
    }

    /// Opens the vault in the store.
    pub fn open(store: Arc<dyn Store>, credential: &Credential, cache: &Path) -> Result<Arc<Self>, Error> {
        let runtime = new_runtime()?;
        let location = store.location();
        let bytes = match runtime.block_on(store.get(name::DESCRIPTOR, DESCRIPTOR_MAX)) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Gone) => {
                return Err(VaultError::NoVault { location }.into());
            }
            Err(error) => return Err(error.into()),
        };
        let descriptor =
            Descriptor::decode(&bytes).map_err(|damage| Error::damaged(name::DESCRIPTOR, damage))?;
        let found = runtime.block_on(slots::read_all(&store, descriptor.vault))?;
        let mut damaged = None;
        for (slot_name, slot) in found {
            let slot = match slot {
                Ok(slot) => slot,
                Err(damage) => {
                    damaged = Some(Error::damaged(slot_name, damage));
                    continue;
                }
            };
            match slot.open(credential) {
                Ok(keyring) if keyring.verifying_key() == descriptor.owner => {
                    return Self::assemble(store, descriptor, keyring, slot_name, cache, runtime);
                }
                // The keys are right for the slot, so the descriptor was signed by somebody else.
                Ok(_) => return Err(Error::damaged(name::DESCRIPTOR, Damage::Signature)),
                Err(ContentError::WrongKey) => {}
                Err(error) => return Err(Error::content(slot_name, error)),
            }
        }
        Err(damaged.unwrap_or(Error::WrongKey { location }))
    }

    fn assemble(
        store: Arc<dyn Store>,
        descriptor: Descriptor,
        keyring: Keyring,
        slot: String,
        cache: &Path,
        runtime: tokio::runtime::Runtime,
    ) -> Result<Arc<Self>, Error> {
        let cache = cache.join(descriptor.vault.to_string());
        make_private_folder(&cache)?;
        Ok(Arc::new(Self { store, descriptor, keyring, slot, cache, runtime }))
    }

    /// Its store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its keys.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Its public facts.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
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

fn new_runtime() -> Result<tokio::runtime::Runtime, Error> {
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
