//! A vault's store, in which what has to stay is locked as it is written.
//!
//! Locked are packs, index fragments, snapshots, relocations, key slots, settings and the descriptor: without one of
//! them something could not be restored. Leases, marks, pins and records come and go and are not locked.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use store::{Kind, Lock, ObjectInfo, StorageClass, Store, StoreError, Warming, Warmth};
use tokio::sync::OnceCell;

use crate::descriptor::Descriptor;
use crate::error::VaultError;
use crate::name;
use crate::settings::{self, LockSetting};

/// Folders whose objects are locked.
pub const FOLDERS: [&str; 6] =
    [name::PACKS, name::INDEX, name::SNAPSHOTS, name::RELOCATIONS, name::KEYS, name::SETTINGS];

/// Whether objects of this name are locked.
pub fn is_lockable(name: &str) -> bool {
    name == name::DESCRIPTOR || FOLDERS.iter().any(|folder| name.starts_with(folder))
}

/// A store with locks, and how they are set.
#[derive(Debug)]
pub struct Locking {
    inner: Arc<dyn Store>,
    /// Whose settings say how, if it was not known from the beginning.
    descriptor: Option<Descriptor>,
    setting: OnceCell<Option<LockSetting>>,
}

impl Locking {
    /// Locks as the vault's settings say: they are read before the first object is written, unless somebody
    /// [tells](Self::know) what they say. Nothing for a store that has no locks.
    pub fn by_settings(inner: &Arc<dyn Store>, descriptor: &Descriptor) -> Option<Arc<Self>> {
        let (inner, descriptor) = (inner.clone(), Some(descriptor.clone()));
        inner.has_locks().then(|| Arc::new(Self { inner, descriptor, setting: OnceCell::new() }))
    }

    /// Tells what the settings say, if nobody has asked yet.
    pub fn know(&self, setting: Option<LockSetting>) {
        // Whoever asked heard the same.
        let _ = self.setting.set(setting);
    }

    /// Locks as `setting` says.
    pub fn with(inner: Arc<dyn Store>, setting: Option<LockSetting>) -> Arc<dyn Store> {
        match setting {
            None => inner,
            Some(_) => Arc::new(Self { inner, descriptor: None, setting: OnceCell::new_with(Some(setting)) }),
        }
    }

    /// The lock for an object that is written now. Its end is by this machine's clock, which a store that locks compares
    /// with its own: it refuses requests when the two differ by a quarter of an hour.
    async fn lock_for(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        if !is_lockable(name) {
            return Ok(None);
        }
        let ask = || async {
            let Some(descriptor) = &self.descriptor else { return Ok(None) };
            match settings::read_lock_setting(self.inner.as_ref(), descriptor).await {
                Ok(setting) => Ok(setting),
                Err(VaultError::Store(error)) => Err(error),
                Err(error) => {
                    let failed = StoreError::new(Kind::Other, "lock", name, self.location());
                    Err(failed.because(error))
                }
            }
        };
        let setting = self.setting.get_or_try_init(ask).await?;
        Ok(setting.map(|setting| setting.from(SystemTime::now())))
    }
}

#[async_trait]
impl Store for Locking {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        match self.lock_for(name).await? {
            Some(lock) => self.inner.put_locked(name, parts, None, lock).await,
            None => self.inner.put(name, parts).await,
        }
    }

    /// An object that is lockable is replaced only by a repair.
    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let lock = self.lock_for(name).await?;
        self.inner.replace(name, parts).await?;
        match lock {
            Some(lock) => self.inner.lock(name, lock).await,
            None => Ok(()),
        }
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.inner.get(name, size_max).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.inner.get_tail(name, length_max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.stat(name).await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        let Some(lock) = self.lock_for(name).await? else {
            return self.inner.put_dated(name, parts).await;
        };
        self.inner.put_locked(name, parts, None, lock).await?;
        Ok(self.stat(name).await?.modified)
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        let Some(lock) = self.lock_for(name).await? else {
            return self.inner.replace_dated(name, parts).await;
        };
        let written = self.inner.replace_dated(name, parts).await?;
        self.inner.lock(name, lock).await?;
        Ok(written)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        self.inner.list_each(folders).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.inner.discard(name).await
    }

    fn has_locks(&self) -> bool {
        self.inner.has_locks()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        self.inner.can_lock().await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        self.inner.put_locked(name, parts, class, lock).await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        self.inner.lock(name, lock).await
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.inner.locked(name).await
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        match self.lock_for(name).await? {
            Some(lock) => self.inner.put_locked(name, parts, Some(class), lock).await,
            None => self.inner.put_as(name, parts, class).await,
        }
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.inner.warmth(name).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.inner.warm(name, how).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use store::{LockMode, MemoryStore};

    use super::*;

    #[tokio::test]
    async fn what_has_to_stay_is_locked_and_nothing_else() {
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::with_locks());
        let period = Duration::from_secs(3600);
        let store = Locking::with(inner.clone(), Some(LockSetting { period, mode: LockMode::Compliance }));
        let begun = SystemTime::now();
        for name in [
            "packs/ab/ab",
            "index/a",
            "snapshots/a",
            "relocations/a",
            "keys/a",
            "settings/a",
            name::DESCRIPTOR,
        ] {
            let dated = store.put_dated(name, vec![]).await.unwrap();
            let lock = inner.locked(name).await.unwrap().unwrap();
            assert!(lock.until >= begun + period && lock.until <= SystemTime::now() + period, "{name}");
            assert!(dated >= begun && lock.mode == LockMode::Compliance);
            assert_eq!(store.delete(name).await.unwrap_err().kind, Kind::Locked);
        }
        for name in ["leases/a", "trash/a", "pins/a", "condemned/a", "locks/a", "verified/a", "abilities/a"] {
            store.put(name, vec![]).await.unwrap();
            assert_eq!(inner.locked(name).await.unwrap(), None);
            store.delete(name).await.unwrap();
        }
        // What a repair puts in the place of something damaged is locked too.
        inner.put("keys/b", vec![]).await.unwrap();
        store.replace("keys/b", vec![]).await.unwrap();
        assert!(inner.locked("keys/b").await.unwrap().is_some());
    }
}
