//! Older versions in buckets of S3. OpenDAL lists and removes them; which bucket keeps them is seen in what is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use opendal::{Buffer, Error};

use super::lock::encode;
use super::write::RATE_MIN;
use super::{ANSWER, OpendalStore, Remote, answer, info, lock, refusal, within};
use crate::versions::{Version, Versioned, sort};
use crate::{Kind, Lock, ObjectInfo, Operation, StoreError, name};

/// What is known of a bucket: whether it keeps versions.
pub(super) const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const NOT_KEPT: u8 = 2;

impl Remote {
    /// Notes what the answer to a write tells: the bucket keeps versions, or it does not.
    pub(super) fn note_version(&self, headers: &HeaderMap) {
        self.note_whether_versioned(headers.contains_key("x-amz-version-id"));
    }

    pub(super) fn note_whether_versioned(&self, is_versioned: bool) {
        if self.s3.as_ref().is_some_and(|service| is_versioned && !service.is_amazons()) {
            // Ceph's gateway ignores conditions where there are versions.
            self.creates_only.store(false, Ordering::Relaxed);
        }
        self.versions.store(if is_versioned { KEPT } else { NOT_KEPT }, Ordering::Relaxed);
    }

    /// Whether older versions may be there.
    fn may_keep_versions(&self) -> bool {
        self.s3.is_some() && self.versions.load(Ordering::Relaxed) != NOT_KEPT
    }

    /// Removes an object with its versions. `hides`: what is locked may stay behind as an older version.
    pub(super) async fn remove(&self, object: &str, hides: bool) -> Result<(), StoreError> {
        if !self.may_keep_versions() {
            return self.delete(object).await;
        }
        let found = match self.list_versions(object).await {
            Ok(mut found) => {
                found.retain(|version| version.name == object);
                found
            }
            // A server that knows no versions, or a key that may not see them: then it is as it was before there were any.
            Err(error)
                if refusal::refusal(&error)
                    .is_some_and(|refusal| refusal.is_unknown() || refusal.is_invalid())
                    || refusal::kind(&error) == Kind::PermissionDenied =>
            {
                return self.delete(object).await;
            }
            Err(error) => return Err(self.error(Operation::Delete, object, &error).await),
        };
        let (current, older): (Vec<_>, Vec<_>) = found.into_iter().partition(|version| version.is_current);
        // The current one last: else an older one could be seen for a moment.
        let mut kept = None;
        for version in older.iter().rev().chain(&current) {
            match self.remove_version(version).await {
                Ok(()) => {}
                Err(error) if error.kind == Kind::Locked && !version.is_current => kept = Some(error),
                Err(error) if error.kind == Kind::Locked && hides => kept = Some(error),
                Err(error) => return Err(error),
            }
        }
        // What is locked would come to light again.
        if kept.is_some() { self.delete(object).await } else { Ok(()) }
    }

    /// All versions whose names begin so.
    async fn list_versions(&self, prefix: &str) -> opendal::Result<Vec<Version>> {
        let folder = if prefix.is_empty() { "/" } else { prefix };
        let lister = self.operator.lister_with(folder).recursive(true).versions(true).deleted(true);
        let mut lister = answer(lister.into_future()).await?;
        let mut versions = Vec::new();
        while let Some(entry) = answer(lister.try_next()).await? {
            let (object, metadata) = entry.into_parts();
            if !object.starts_with(prefix) || name::check(&object).is_err() || metadata.is_dir() {
                continue;
            }
            let facts = info(object, &metadata);
            versions.push(Version {
                name: facts.name,
                id: metadata.version().unwrap_or("null").to_owned(),
                modified: metadata.last_modified().map_or(facts.modified, Into::into),
                size: facts.size,
                is_deletion: metadata.is_deleted(),
                is_current: metadata.is_current().unwrap_or(false),
            });
        }
        sort(&mut versions);
        Ok(versions)
    }

    async fn remove_version(&self, version: &Version) -> Result<(), StoreError> {
        let Version { name, id, .. } = version;
        match answer(self.operator.delete_with(name).version(id).into_future()).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let found = self.undeleted(name, Some(id), &error).await;
                if found.kind == Kind::NotFound { Ok(()) } else { Err(found) }
            }
        }
    }

    async fn get_version(&self, version: &Version, size_max: u64) -> Result<Bytes, StoreError> {
        let Version { name, id, size, .. } = version;
        let operation = Operation::Get;
        if *size > size_max {
            let error = StoreError::new(Kind::TooLarge, operation.verb(), name, &self.location);
            return Err(error.because("the caller allows less"));
        }
        let limit = ANSWER.saturating_add(Duration::from_secs(size / RATE_MIN));
        match within(limit, self.operator.read_with(name).version(id).into_future()).await {
            Ok(bytes) => Ok(bytes.to_bytes()),
            Err(error) => Err(self.error(operation, name, &error).await),
        }
    }

    /// Copies an older version over what is there.
    async fn copy_version(&self, version: &Version, to_lock: Option<Lock>) -> Result<(), StoreError> {
        let copied = async {
            let request = self.request(Method::PUT, &version.name, "").await?;
            let path = request.uri_ref().map_or("", |uri| uri.path()).to_owned();
            let source = match &self.s3 {
                Some(service) if service.names_bucket_in_host() => format!("/{}{path}", service.bucket()),
                _ => path,
            };
            let mut request = request
                .header("x-amz-copy-source", format!("{source}?versionId={}", encode(&version.id)))
                .header(CONTENT_LENGTH, 0);
            if let Some(to_lock) = to_lock {
                request = lock::headers(request, to_lock);
            }
            let answered = answer(self.sign_and_send(request, Buffer::new())).await?;
            if answered.status().is_success() { Ok(()) } else { Err(lock::refused(answered.status())) }
        };
        let failed: Result<(), Error> = copied.await;
        match failed {
            Ok(()) => Ok(()),
            Err(error) => Err(self.error(Operation::Replace, &version.name, &error).await),
        }
    }

    async fn make_current(&self, version: &Version, lock: Option<Lock>) -> Result<(), StoreError> {
        let mut found = match self.list_versions(&version.name).await {
            Ok(found) => found,
            Err(error) => return Err(self.error(Operation::Replace, &version.name, &error).await),
        };
        found.retain(|other| other.name == version.name);
        let newer: Vec<_> = found.iter().take_while(|other| other.id != version.id).collect();
        // What hides it goes, if it may: then it is the current one again, with the lock that it has.
        for other in newer {
            match self.remove_version(other).await {
                Ok(()) => {}
                // Whoever put that there locked it, or this key may not remove versions.
                Err(error) if matches!(error.kind, Kind::Locked | Kind::PermissionDenied) => {
                    return self.copy_version(version, lock).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Versioned for OpendalStore {
    async fn versions(&self, folder: &str) -> Result<Vec<Version>, StoreError> {
        let work = |remote: Arc<Remote>, folder: String| async move {
            if remote.s3.is_none() {
                let only = |object: ObjectInfo| Version {
                    name: object.name,
                    id: String::new(),
                    modified: object.modified,
                    size: object.size,
                    is_deletion: false,
                    is_current: true,
                };
                return Ok(remote.list(&folder).await?.into_iter().map(only).collect());
            }
            match remote.list_versions(&folder).await {
                Ok(found) => Ok(found),
                Err(error) => Err(remote.error(Operation::List, &folder, &error).await),
            }
        };
        self.run(Operation::List, folder, work).await
    }

    async fn get_version(&self, version: &Version, size_max: u64) -> Result<Bytes, StoreError> {
        let wanted = version.clone();
        self.run(Operation::Get, &version.name, move |remote, _| async move {
            remote.get_version(&wanted, size_max).await
        })
        .await
    }

    async fn remove_version(&self, version: &Version) -> Result<(), StoreError> {
        let unwanted = version.clone();
        self.run(Operation::Delete, &version.name, |remote, _| async move {
            remote.remove_version(&unwanted).await
        })
        .await
    }

    async fn make_current(&self, version: &Version, lock: Option<Lock>) -> Result<(), StoreError> {
        let wanted = version.clone();
        self.run(Operation::Replace, &version.name, move |remote, _| async move {
            remote.make_current(&wanted, lock).await
        })
        .await
    }
}
