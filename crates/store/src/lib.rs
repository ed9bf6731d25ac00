//! Object access behind one small trait.
//!
//! A [`Store`] holds named byte strings (*objects*). It knows no vault, no key and no file tree. The trait names no
//! vendor; what a store should do besides (retry, limit, record, refuse writes, fail on purpose) is a wrapper around
//! it. Start with [`open_url`], or with [`FolderStore`] and [`MemoryStore`].
//!
//! # The contract
//!
//! Every implementation promises this, and [`conformance`] checks it (feature `conformance`).
//!
//! **Names** are relative, `/`-separated components of `[A-Za-z0-9._-]` that begin with no dot; see [`name`]. The
//! first component `tmp` belongs to the store itself. A caller uses a name for an object or for a folder of objects,
//! never for both: a store that has folders refuses it.
//!
//! **Whole or not at all.** An object appears with all its bytes or does not appear: no reader and no listing ever
//! sees a part of one, whatever happens to the writer. After an error from a write or a delete the object may be
//! there as before or as asked for, and in no third state.
//!
//! **Durable.** When `put`, `replace` or `delete` returns `Ok`, a loss of power does not undo it. So a caller that
//! awaits one call before it starts the next gets that order on the disk too.
//!
//! **Visible.** What has returned `Ok` is seen by every later `get`, `stat` and `list`.
//!
//! **Immutable.** An object written by `put` never changes: a `put` of a name that exists succeeds and does nothing
//! (it does not compare the bytes). Callers choose names that are hashes or random, so two writers write the same
//! bytes or different names. The few mutable objects are written by `replace`, which switches from the old bytes to
//! the new in one step; of two concurrent ones either wins.
//!
//! **What may be called twice.** Every operation. `put`, `replace` and `delete` mean the same the second time, which
//! is what makes it safe to repeat them after an error whose outcome is unknown. Deleting what is not there succeeds.
//!
//! **Concurrency.** All calls may run at once, from one process or several. Dropping the future of a call leaves
//! its outcome open, as an error does.
//!
//! **Limits.** A read never allocates more than the object holds and the caller allows. A store does not vanish
//! silently: when the thing behind it is gone every call says [`Kind::Gone`], and no call makes it anew.
//!
//! **Storage classes.** Some stores keep objects in classes ([`StorageClass`]) of which the cold ones cost little to keep
//! and hours to read. Without being asked for a class a store uses its usual one, which is never cold. A read of a cold
//! object is [`Kind::Cold`]; that it is there, how large it is and when it was written is known all the same. Asking for
//! it to be warmed costs money, so only [`Store::warm`] does; asking twice is the same as asking once.
//!
//! **Locks and versions.** Some stores can lock an object ([`Lock`]): until then nobody deletes or changes it. Some keep
//! what was replaced or deleted as older versions; there a deleted object is gone with all of them, unless one is locked.
//! [`versions`] brings back what others took away.
//!
//! **Who may do what** is the store's business. One that works by [`grant`]s can be added to and read, and refuses
//! [`Kind::PermissionDenied`] what would change or remove an object; listings are what its granter says.
//!
//! What each error kind means is said at [`Kind`]; what to do about it, by [`StoreError::hint`].

mod ahead;
mod cached;
mod class;
mod counted;
mod error;
mod faulty;
mod folder;
pub mod grant;
mod limited;
mod location;
mod lock;
mod memory;
#[cfg(feature = "grants")]
mod network;
#[cfg(feature = "grants")]
mod networked;
#[cfg(feature = "locations")]
mod opendal_store;
mod operation;
mod random;
mod read_only;
mod recorded;
mod retrying;
#[cfg(feature = "locations")]
mod sftp;
#[cfg(feature = "locations")]
mod swift;
pub mod versions;
#[cfg(feature = "grants")]
mod web;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod name;
#[cfg(feature = "locations")]
pub mod probe;
#[cfg(feature = "locations")]
pub mod survey;

use std::fmt::Debug;
use std::ops::Range;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

pub use ahead::Ahead;
pub use cached::{Cached, Immutable, Part};
pub use class::{StorageClass, WarmTier, Warming, Warmth};
pub use counted::{Calls, Counted};
pub use error::{Kind, StoreError};
pub use faulty::{Fault, Faulty, Rule, When};
pub use folder::FolderStore;
pub use limited::{Limited, Rates};
pub use location::{Bucket, Location, SCHEMES, SshFolder, WebFolder};
#[cfg(feature = "locations")]
pub use location::{LookUp, create_url, open_url};
pub use lock::{Lock, LockMode};
pub use memory::MemoryStore;
#[cfg(feature = "locations")]
pub use opendal_store::{OpendalStore, SINGLE_REQUEST_MAX};
pub use operation::Operation;
pub use read_only::ReadOnly;
pub use recorded::{Call, Recorded};
pub use retrying::{Patience, RETRY_AFTER_MAX, Retrying, Waits};
#[cfg(feature = "locations")]
pub use sftp::SftpStore;
#[cfg(feature = "locations")]
pub use swift::{SwiftCredentials, SwiftStore};

/// What a store knows of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its full name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// A place for objects. The module documentation is the contract.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Where the store is, for messages; never holds credentials.
    fn location(&self) -> String;

    /// Whether its objects are on other machines, so that keeping some of them here saves time and money.
    fn is_remote(&self) -> bool {
        false
    }

    /// Writes a whole object, made of `parts` in order; durable when it returns. A name that exists is left alone.
    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError>;

    /// Writes an object or puts new bytes in its place in one step; durable when it returns. Only for the few
    /// mutable objects.
    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError>;

    /// Reads a whole object of at most `size_max` bytes; a larger one is [`Kind::TooLarge`].
    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError>;

    /// Reads exactly the bytes of `range`, or fails: [`Kind::Truncated`] when the object ends before the range does.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Reads the last `length_max` bytes (all of a shorter object), and tells the object's size.
    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError>;

    /// What is known of one object.
    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError>;

    /// As [`put`](Self::put), and tells a time by the store's clock when the object was there: not before it was written
    /// (but by less than a second, where the store tells whole seconds), and not after the call returned.
    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.put(name, parts).await?;
        Ok(self.stat(name).await?.modified)
    }

    /// As [`replace`](Self::replace), with a time as [`put_dated`](Self::put_dated) tells it.
    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.replace(name, parts).await?;
        Ok(self.stat(name).await?.modified)
    }

    /// All objects in a folder such as `packs/` and in its folders, sorted by name as bytes; the empty prefix is the
    /// whole store. A folder that is not there holds nothing.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;

    /// The lists of several folders, as [`list`](Self::list) gives them, none older than the one before it. Where the
    /// store can, at the cost of one: it asks for all that lies between them too, so name neighbours.
    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        let mut lists = Vec::with_capacity(folders.len());
        for folder in folders {
            lists.push(self.list(folder).await?);
        }
        Ok(lists)
    }

    /// Removes an object with all older versions that the store keeps of it; one that is not there is fine. Durable when
    /// it returns. [`Kind::Locked`] when a lock forbids it: then nothing of the object has changed.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Like [`delete`](Self::delete), but what a lock forbids to remove is hidden: it stays behind as an older version.
    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.delete(name).await
    }

    /// Whether objects may be locked in this kind of store; [`can_lock`](Self::can_lock) asks whether they can in this one.
    fn has_locks(&self) -> bool {
        false
    }

    /// Asks whether objects can be locked here. What cannot be found out is no.
    async fn can_lock(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Like [`put`](Self::put), or [`put_as`](Self::put_as) where there is a class, with a lock from the first moment on.
    /// The lock of an object that is there is left alone. [`Kind::Unsupported`] where objects cannot be locked.
    async fn put_locked(
        &self,
        name: &str,
        _parts: Vec<Bytes>,
        _class: Option<&StorageClass>,
        _lock: Lock,
    ) -> Result<(), StoreError> {
        Err(self.without_locks(Operation::Put, name))
    }

    /// Locks an object, or makes its lock last longer. One that lasts longer already stays as it is.
    async fn lock(&self, name: &str, _lock: Lock) -> Result<(), StoreError> {
        Err(self.without_locks(Operation::Lock, name))
    }

    /// The lock of an object; `None` when it has none, or one that has ended.
    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.stat(name).await.map(|_| None)
    }

    /// The error of a store without locks.
    #[doc(hidden)]
    fn without_locks(&self, operation: Operation, name: &str) -> StoreError {
        let error = StoreError::new(Kind::Unsupported, operation.verb(), name, self.location());
        error.because("objects cannot be locked in this store")
    }

    /// Whether objects can be put into storage classes here.
    fn has_classes(&self) -> bool {
        false
    }

    /// Whether objects can be put into this class, as far as that is known without asking.
    fn check_class(&self, _class: &StorageClass) -> Result<(), StoreError> {
        Err(self.without_classes(Operation::Put, ""))
    }

    /// Like [`put`](Self::put), into a storage class. [`Kind::Unsupported`] where there are none.
    async fn put_as(&self, name: &str, _parts: Vec<Bytes>, _class: &StorageClass) -> Result<(), StoreError> {
        Err(self.without_classes(Operation::Put, name))
    }

    /// Whether an object can be read now, and its size.
    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.stat(name).await.map(|info| (Warmth::Warm, info.size))
    }

    /// Asks for a cold object to be made readable for a while; it is so some time after this returns. This costs money.
    async fn warm(&self, name: &str, _how: Warming) -> Result<(), StoreError> {
        Err(self.without_classes(Operation::Warm, name))
    }

    /// The error of a store without storage classes.
    #[doc(hidden)]
    fn without_classes(&self, operation: Operation, name: &str) -> StoreError {
        let error = StoreError::new(Kind::Unsupported, operation.verb(), name, self.location());
        error.because("this store has no storage classes")
    }
}

/// Puts an object into a class, or where objects usually are.
pub async fn put_in(
    store: &dyn Store,
    name: &str,
    parts: Vec<Bytes>,
    class: Option<&StorageClass>,
) -> Result<(), StoreError> {
    match class {
        Some(class) => store.put_as(name, parts, class).await,
        None => store.put(name, parts).await,
    }
}
