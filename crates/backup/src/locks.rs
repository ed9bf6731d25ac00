//! Locks on a vault's objects: whether the store keeps them, and what locks and versions protect the vault.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Kind, LockMode, Operation, Store, StoreError};
use vault::abilities::Abilities;
use vault::settings::LockSetting;

use crate::Error;

/// What keeps a vault's objects from whoever holds the store's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// They are locked.
    Locked,
    /// What is deleted or overwritten stays as an older version, until that is deleted too.
    Versioned,
    /// Nothing.
    Nothing,
}

impl Protection {
    /// What the settings ask for, as far as there are locks in this kind of store, and what the last test of it found;
    /// `None` when nobody knows.
    pub fn new(lock: Option<&LockSetting>, has_locks: bool, found: Option<&Abilities>) -> Option<Self> {
        let locks_by_itself = |found: &Abilities| found.lock_days.is_some_and(|days| days > 0);
        match (lock.filter(|_| has_locks), found) {
            // The store was seen to lock when that was set; a copy elsewhere may have been tested since.
            (Some(_), found) if found.is_none_or(|found| found.locks != Some(false)) => Some(Self::Locked),
            (_, None) => None,
            (_, Some(found)) if found.locks == Some(true) && locks_by_itself(found) => Some(Self::Locked),
            (_, Some(found)) => match found.keeps_versions {
                Some(true) => Some(Self::Versioned),
                Some(false) => Some(Self::Nothing),
                None => None,
            },
        }
    }

    /// Its name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Versioned => "versioned",
            Self::Nothing => "none",
        }
    }
}

/// The error of a store that does not lock.
fn refused(store: &dyn Store, cause: &'static str) -> StoreError {
    let error = StoreError::new(Kind::Unsupported, Operation::Lock.verb(), "", store.location());
    error.because(cause)
}

/// An error unless objects can be locked in the store, as far as it tells.
pub(crate) async fn require_locks(store: &Arc<dyn Store>) -> Result<(), Error> {
    if !store.has_locks() {
        return Err(refused(store.as_ref(), "only S3 can lock objects").into());
    }
    if !store.can_lock().await? {
        return Err(refused(store.as_ref(), "the bucket says that it has no object lock").into());
    }
    Ok(())
}

/// An error unless this object, which was locked after `since` by this machine's clock, is so, in `mode` at least: some
/// stores take locks and ignore them.
pub(crate) async fn prove_lock(
    store: &Arc<dyn Store>,
    name: &str,
    setting: &LockSetting,
    mode: LockMode,
    since: SystemTime,
) -> Result<(), Error> {
    let lock = store.locked(name).await?;
    // Stores keep whole seconds.
    let least = setting.from(since).until - Duration::from_secs(1);
    match lock {
        Some(lock) if lock.until >= least && lock.mode >= mode => Ok(()),
        _ => Err(refused(store.as_ref(), "it takes locks and does not keep them").into()),
    }
}

#[cfg(test)]
mod tests {

    use store::MemoryStore;

    use super::*;

    const SETTING: LockSetting =
        LockSetting { period: Duration::from_secs(3600), mode: LockMode::Governance };

    #[test]
    fn what_protects_is_known_by_settings_and_tests() {
        let found = |locks, lock_days, keeps_versions| {
            Some(Abilities { locks, lock_days, keeps_versions, ..Abilities::default() })
        };
        for (lock, found, expected) in [
            (Some(SETTING), None, Some(Protection::Locked)),
            (Some(SETTING), found(Some(true), Some(0), Some(true)), Some(Protection::Locked)),
            // The settings came with a copy.
            (Some(SETTING), found(Some(false), None, Some(false)), Some(Protection::Nothing)),
            (None, None, None),
            (None, found(Some(true), Some(5), Some(true)), Some(Protection::Locked)),
            (None, found(Some(true), Some(0), Some(true)), Some(Protection::Versioned)),
            (None, found(Some(false), None, Some(false)), Some(Protection::Nothing)),
            (None, found(None, None, None), None),
        ] {
            assert_eq!(Protection::new(lock.as_ref(), true, found.as_ref()), expected, "{lock:?} {found:?}");
        }
        assert_eq!(Protection::new(Some(&SETTING), false, None), None, "a copy in a folder");
    }

    #[tokio::test]
    async fn a_lock_is_believed_when_it_was_read_back() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::with_locks());
        let since = SystemTime::now();
        store.put("keys/a", vec![]).await.unwrap();
        require_locks(&store).await.unwrap();
        let ignored = prove_lock(&store, "keys/a", &SETTING, LockMode::Governance, since).await.unwrap_err();
        assert!(matches!(&ignored, Error::Store(error) if error.kind == Kind::Unsupported), "{ignored:?}");
        store.lock("keys/a", SETTING.from(since)).await.unwrap();
        prove_lock(&store, "keys/a", &SETTING, LockMode::Governance, since).await.unwrap();
        prove_lock(&store, "keys/a", &SETTING, LockMode::Compliance, since).await.unwrap_err();
        let plain: Arc<dyn Store> = Arc::new(MemoryStore::new());
        require_locks(&plain).await.unwrap_err();
    }
}
