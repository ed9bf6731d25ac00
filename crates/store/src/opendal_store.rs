//! A store on a server that OpenDAL can speak to: S3 and its kin, Azure Blob, Google Cloud Storage, WebDAV.
//!
//! **Whole or not at all.** S3, Azure and Google keep an object when its last byte has come and answer then. So an
//! object is written under its own name, in one request up to [`SINGLE_REQUEST_MAX`] and in parts that the server joins
//! above. WebDAV promises nothing of the kind: there an object is written to `tmp/` and moved. What a move does to an
//! object in its way is up to the server: Apache removes it first, so a reader of an object that is being *replaced*
//! may find it missing for a moment, and two writers of one name may get in each other's way
//! ([`Kind::Unavailable`]).
//!
//! **Create only.** Where the server can, `put` asks for it (`If-None-Match: *`), which costs no further request. A
//! server that does not know it is asked first whether the name is there; two writers that both hear "no" write the
//! same bytes, as names are hashes or random. So is one that is not Amazon's and keeps versions, as soon as that is seen:
//! Ceph's gateway ignores the condition there. The first `put` of a process may so add a version of what is there.
//!
//! **Versions and locks** are those of S3. Where a bucket keeps versions, which is seen in its answers to writes, a
//! deletion removes all of an object's; whoever may not see or remove them only hides it.
//!
//! **Durable** is what the service promises to have stored when it answers; a WebDAV server may answer before its disk
//! has the bytes, and there is no way to ask for more.
//!
//! **Names.** An object store has no folders, so it accepts both `a` and `a/b`; it is left to the caller not to. Times
//! are whole seconds, as some answers have no more.
//!
//! **Gone.** When the bucket, container or folder vanishes, calls say [`Kind::Gone`]. Only an answer that says nothing
//! but "not found" costs a second request, to tell which of the two it is.
//!
//! Nothing is tried twice here; see [`Retrying`](crate::Retrying).

mod grant;
mod list;
mod lock;
mod make;
mod place;
mod read;
mod refusal;
mod s3;
mod survey;
mod versions;
mod warm;
mod wire;
mod write;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use opendal::raw::{OpStat, Service};
use opendal::{Error, ErrorKind, Metadata, Operator};
use tokio::time::timeout;

use crate::{
    Kind, Lock, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth, name, network,
};
pub(crate) use place::{azblob, gcs, webdav};
pub(crate) use s3::s3;

/// Up to this many bytes an object is sent in one request; the services allow five times as much.
pub const SINGLE_REQUEST_MAX: u64 = 1 << 30;

/// The longest wait for an answer that has no bytes of an object in it.
const ANSWER: Duration = Duration::from_secs(120);

/// Objects in a bucket, a container or a WebDAV folder.
#[derive(Clone)]
pub struct OpendalStore {
    remote: Arc<Remote>,
}

/// What all calls share.
struct Remote {
    operator: Operator,
    /// For messages.
    location: String,
    /// Whether the server knows folders, as WebDAV does: it has to be kept from reading or removing one as an object,
    /// and what is written has to be moved to its place.
    has_folders: bool,
    /// Whether the server can be asked to write only what is not there.
    creates_only: AtomicBool,
    /// Whether the bucket keeps versions, as far as it was seen until now; see `versions.rs`.
    versions: AtomicU8,
    /// What of S3 OpenDAL does not know, if it is S3.
    s3: Option<s3::Service>,
}

impl OpendalStore {
    /// A store at the root of `operator`, whose service is one of those that the module names. `location` is shown in
    /// messages and holds no credentials. Nothing is sent yet.
    pub fn new(operator: Operator, location: impl Into<String>) -> Self {
        Self::assemble(operator, location.into(), None)
    }

    fn of_s3(operator: Operator, location: &str, service: s3::Service) -> Self {
        Self::assemble(operator, location.to_owned(), Some(service))
    }

    fn assemble(operator: Operator, location: String, s3: Option<s3::Service>) -> Self {
        let capability = operator.info().capability();
        let remote = Remote {
            has_folders: operator.info().scheme() == opendal::services::WEBDAV_SCHEME,
            creates_only: AtomicBool::new(capability.write_with_if_not_exists),
            versions: AtomicU8::new(versions::UNKNOWN),
            operator,
            location,
            s3,
        };
        Self { remote: Arc::new(remote) }
    }

    /// Looks whether the store is there, with one request: [`Kind::NotFound`] when there is no such bucket, and
    /// [`Kind::PermissionDenied`] when it may not be listed.
    pub async fn check(&self) -> Result<(), StoreError> {
        let remote = self.remote.clone();
        let checked = network::run(async move { remote.check().await }).await;
        let error = match checked {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => self.remote.error_at("open", "", &error),
            Err(error) => StoreError::new(Kind::Other, "open", "", self.location()).because(error),
        };
        // At the beginning what is not there was never there.
        Err(if error.kind == Kind::Gone { StoreError { kind: Kind::NotFound, ..error } } else { error })
    }

    /// Makes the folder and what is missing above it, on a server that knows folders; then [`check`](Self::check).
    pub(crate) async fn create_folder(&self) -> Result<(), StoreError> {
        let remote = self.remote.clone();
        let made = network::run(async move { answer(remote.operator.create_dir("/")).await }).await;
        match made {
            Ok(Ok(())) => self.check().await,
            Ok(Err(error)) => Err(self.remote.error_at("create", "", &error)),
            Err(error) => Err(StoreError::new(Kind::Other, "create", "", self.location()).because(error)),
        }
    }

    /// Runs `work` where the connections live, after the name was found good.
    async fn run<T, F>(
        &self,
        operation: Operation,
        object: &str,
        work: impl FnOnce(Arc<Remote>, String) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let checked =
            if operation == Operation::List { name::check_folder(object) } else { name::check(object) };
        checked.map_err(|reason| {
            StoreError::new(Kind::InvalidName, operation.verb(), object, self.location()).because(reason)
        })?;
        network::run(work(self.remote.clone(), object.to_owned())).await.unwrap_or_else(|error| {
            Err(StoreError::new(Kind::Other, operation.verb(), object, self.location()).because(error))
        })
    }
}

impl Remote {
    /// Whether the server takes care that nothing is written twice, as far as it was seen until now.
    fn creates_only(&self) -> bool {
        self.creates_only.load(Ordering::Relaxed)
    }

    /// Looks whether the place for objects is there.
    async fn check(&self) -> opendal::Result<()> {
        if self.has_folders {
            // Not through the operator, which takes it for granted that the root is there.
            let stat = self.operator.base_service().stat(self.operator.context(), "/", OpStat::default());
            return answer(stat).await.map(drop);
        }
        let first = async {
            let mut lister = self.operator.lister_with("/").recursive(true).limit(1).await?;
            lister.try_next().await.map(drop)
        };
        answer(first).await
    }

    /// An error at `object`. "Not found" may also mean that all of the store is.
    async fn error(&self, operation: Operation, object: &str, error: &Error) -> StoreError {
        let found = self.error_at(operation.verb(), object, error);
        if found.kind == Kind::NotFound
            && let Err(error) = self.check().await
            && matches!(refusal::kind(&error), Kind::Gone | Kind::NotFound)
        {
            return StoreError { kind: Kind::Gone, ..found };
        }
        found
    }

    fn error_at(&self, verb: &'static str, object: &str, error: &Error) -> StoreError {
        StoreError::new(refusal::kind(error), verb, object, &self.location).because(refusal::shown(error))
    }

    async fn stat(&self, operation: Operation, object: &str) -> Result<ObjectInfo, StoreError> {
        match answer(self.operator.stat(object)).await {
            Ok(metadata) if metadata.is_file() => Ok(info(object.to_owned(), &metadata)),
            Ok(_) => Err(StoreError::new(Kind::NotFound, operation.verb(), object, &self.location)
                .because("it is a folder")),
            Err(error) => {
                let found = self.error(operation, object, &error).await;
                let is_below_object = found.kind == Kind::Other && self.is_below_object(object).await;
                Err(if is_below_object { StoreError { kind: Kind::NotFound, ..found } } else { found })
            }
        }
    }

    /// Whether a name cannot be there as an object is in the place of its folder. A WebDAV server calls it a bad request.
    async fn is_below_object(&self, object: &str) -> bool {
        let Some((above, _)) = object.rsplit_once('/').filter(|_| self.has_folders) else { return false };
        answer(self.operator.stat(above)).await.is_ok_and(|found| found.is_file())
    }

    /// Writes, and says when that was by the server's clock: by its answer, else by the object.
    async fn dated(
        &self,
        operation: Operation,
        object: &str,
        write: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<SystemTime, StoreError> {
        let (written, date) = wire::dated(write).await;
        written?;
        match date {
            Some(date) => Ok(date),
            None => Ok(self.stat(operation, object).await?.modified),
        }
    }

    async fn delete(&self, object: &str) -> Result<(), StoreError> {
        if self.has_folders {
            match self.stat(Operation::Delete, object).await {
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match answer(self.operator.delete(object)).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = self.error(Operation::Delete, object, &error).await;
                if error.kind == Kind::NotFound { Ok(()) } else { Err(error) }
            }
        }
    }
}

/// Waits for an answer, but not for ever.
async fn answer<T>(future: impl Future<Output = opendal::Result<T>>) -> opendal::Result<T> {
    within(ANSWER, future).await
}

async fn within<T>(limit: Duration, future: impl Future<Output = opendal::Result<T>>) -> opendal::Result<T> {
    timeout(limit, future).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", limit.as_secs());
        Err(Error::new(ErrorKind::Unexpected, message).set_temporary())
    })
}

fn info(name: String, metadata: &Metadata) -> ObjectInfo {
    let modified = metadata.last_modified().map_or(UNIX_EPOCH, SystemTime::from);
    let seconds = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    ObjectInfo { name, size: metadata.content_length(), modified: UNIX_EPOCH + Duration::from_secs(seconds) }
}

impl fmt::Debug for OpendalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpendalStore").field("location", &self.remote.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for OpendalStore {
    fn location(&self) -> String {
        self.remote.location.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Put, name, |remote, name| async move { remote.put(&name, parts, None).await })
            .await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Replace, name, |remote, name| async move { remote.replace(&name, parts).await })
            .await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.run(Operation::Put, name, |remote, name| async move {
            remote.dated(Operation::Put, &name, remote.put(&name, parts, None)).await
        })
        .await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.run(Operation::Replace, name, |remote, name| async move {
            remote.dated(Operation::Replace, &name, remote.replace(&name, parts)).await
        })
        .await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.run(Operation::Get, name, move |remote, name| async move { remote.get(&name, size_max).await })
            .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(
            Operation::GetRange,
            name,
            |remote, name| async move { remote.get_range(&name, range).await },
        )
        .await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.run(Operation::GetTail, name, move |remote, name| async move {
            remote.get_tail(&name, length_max).await
        })
        .await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.run(
            Operation::Stat,
            name,
            |remote, name| async move { remote.stat(Operation::Stat, &name).await },
        )
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.run(Operation::List, prefix, |remote, prefix| async move { remote.list(&prefix).await }).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        let owned: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
        let work = |remote: Arc<Remote>, _| async move {
            let folders: Vec<&str> = owned.iter().map(String::as_str).collect();
            remote.list_each(&folders).await
        };
        self.run(Operation::List, folders.first().copied().unwrap_or_default(), work).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, name, |remote, name| async move { remote.remove(&name, false).await })
            .await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, name, |remote, name| async move { remote.remove(&name, true).await })
            .await
    }

    fn has_locks(&self) -> bool {
        self.remote.s3.is_some()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        // Only its address matters.
        let name = "strongroom.vault";
        self.run(Operation::Lock, name, |remote, name| async move { Ok(remote.can_lock(&name).await) }).await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        if !self.has_locks() {
            return Err(self.without_locks(Operation::Put, name));
        }
        let class = class.cloned();
        let work = move |remote: Arc<Remote>, name: String| async move {
            remote.put_locked(&name, parts, class.as_ref(), lock).await
        };
        self.run(Operation::Put, name, work).await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        if !self.has_locks() {
            return Err(self.without_locks(Operation::Lock, name));
        }
        self.run(Operation::Lock, name, move |remote, name| async move { remote.lock(&name, lock).await })
            .await
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        if !self.has_locks() {
            return self.stat(name).await.map(|_| None);
        }
        self.run(Operation::Stat, name, |remote, name| async move { remote.locked(&name, None).await }).await
    }

    fn has_classes(&self) -> bool {
        self.remote.s3.is_some()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        match &self.remote.s3 {
            Some(service) => service.check(class),
            None => Err(self.without_classes(Operation::Put, "")),
        }
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        let class = class.clone();
        self.run(
            Operation::Put,
            name,
            |remote, name| async move { remote.put(&name, parts, Some(&class)).await },
        )
        .await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.run(Operation::Stat, name, |remote, name| async move { remote.warmth(&name).await }).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        if self.remote.s3.is_none() {
            return Err(self.without_classes(Operation::Warm, name));
        }
        self.run(Operation::Warm, name, move |remote, name| async move { remote.warm(&name, how).await })
            .await
    }
}
