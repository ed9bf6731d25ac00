//! Older versions in a container that keeps them (`X-Versions-Enabled`). Nothing locks them: who may delete an object may
//! delete each of its versions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;

use super::{SwiftStore, gone};
use crate::versions::{Version, Versioned, sort};
use crate::web::object::{self, Object};
use crate::web::{Failure, Request, Response, time};
use crate::{Kind, Lock, Operation, StoreError, name};

/// The largest page that is read, in bytes.
const PAGE_BYTES_MAX: u64 = 128 << 20;
/// How Swift says that an entry is a deletion, at the beginning of its type.
const DELETION: &str = "application/x-deleted;swift_versions_deleted=1";

/// An entry of a listing of versions.
#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    version_id: Option<String>,
    bytes: Option<u64>,
    last_modified: Option<String>,
    content_type: Option<String>,
    is_latest: Option<bool>,
}

/// An object in one of its versions.
struct Old<'a> {
    store: &'a SwiftStore,
    version: &'a Version,
}

impl Object for Old<'_> {
    fn name(&self) -> &str {
        &self.version.name
    }

    async fn ask(&self, method: Method, headers: reqwest::header::HeaderMap) -> Result<Response, Failure> {
        let request = |storage: &str| {
            let request = self.store.about_version(method.clone(), storage, self.version)?;
            Ok(Request { headers: headers.clone(), ..request })
        };
        let response = self.store.session.send(&Arc::default(), request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.store.session.failure(response).await)
    }
}

impl SwiftStore {
    /// Notes that an answer tells of a version: then there are more.
    pub(super) fn note_version(&self, response: &Response) {
        if response.header("x-object-version-id").is_some_and(|id| id != "null") {
            self.keeps_versions.store(true, Ordering::Relaxed);
        }
    }

    /// Removes an object with all its versions, the current one last: else an older one could stay behind unseen.
    pub(super) async fn remove_all(&self, name: &str) -> Result<(), Failure> {
        if !self.keeps_versions.load(Ordering::Relaxed) {
            return self.remove(name).await;
        }
        let mut versions = self.list_versions(name).await?;
        versions.retain(|version| version.name == name);
        // A plain deletion of what is not there would be noted as one more version.
        for version in versions.iter().rev() {
            self.remove_one(version).await?;
        }
        Ok(())
    }

    fn about_version(&self, method: Method, storage: &str, version: &Version) -> Result<Request, Failure> {
        let mut url = self.address.object_url(storage, &version.name)?;
        url.query_pairs_mut().append_pair("version-id", &version.id);
        Ok(Request::new(method, url))
    }

    async fn remove_one(&self, version: &Version) -> Result<(), Failure> {
        let request = |storage: &str| self.about_version(Method::DELETE, storage, version);
        let response = self.session.send(&Arc::default(), request).await?;
        match response.status() {
            status if status.is_success() || status == reqwest::StatusCode::NOT_FOUND => {
                response.finish().await;
                Ok(())
            }
            _ => Err(self.session.failure(response).await),
        }
    }

    /// All versions whose names begin so.
    async fn list_versions(&self, prefix: &str) -> Result<Vec<Version>, Failure> {
        let mut versions = Vec::new();
        let (mut marker, mut version_marker) = (String::new(), String::new());
        // A page may be short without being the last, so only an empty one ends it.
        loop {
            let entries = self.page_of_versions(prefix, &marker, &version_marker).await?;
            let Some(last) = entries.last() else { break };
            let next = (last.name.clone().unwrap_or_default(), last.version_id.clone().unwrap_or_default());
            if next == (marker.clone(), version_marker.clone()) || next.0.is_empty() {
                return Err(Failure::strange("a page of a listing does not go on from the one before"));
            }
            (marker, version_marker) = next;
            for entry in entries {
                versions.extend(self.version(entry)?);
            }
        }
        sort(&mut versions);
        versions.dedup();
        Ok(versions)
    }

    async fn page_of_versions(
        &self,
        prefix: &str,
        marker: &str,
        version_marker: &str,
    ) -> Result<Vec<Entry>, Failure> {
        let limit = self.page_objects_max.map(|limit| limit.to_string()).unwrap_or_default();
        let prefix = self.address.full_name(prefix);
        let parameters = [
            ("prefix", prefix.as_str()),
            ("marker", marker),
            ("version_marker", version_marker),
            ("limit", limit.as_str()),
        ];
        let request = |storage: &str| {
            let mut url = self.address.container_url(storage)?;
            url.query_pairs_mut().append_pair("versions", "true").append_pair("format", "json");
            for (name, value) in parameters.into_iter().filter(|(_, value)| !value.is_empty()) {
                url.query_pairs_mut().append_pair(name, value);
            }
            Ok(Request::new(Method::GET, url))
        };
        let mut response = self.session.send(&Arc::default(), request).await?;
        if !response.status().is_success() {
            let failure = self.session.failure(response).await;
            return Err(if failure.kind == Kind::NotFound { gone() } else { failure });
        }
        let (body, goes_on) = response.read(0, PAGE_BYTES_MAX).await?;
        if goes_on {
            return Err(Failure::strange("a page of a listing is too large"));
        }
        if body.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_slice(&body).map_err(|_| Failure::strange("a listing is no list in JSON"))
    }

    /// What the entry tells; nothing when it cannot be an object of ours.
    fn version(&self, entry: Entry) -> Result<Option<Version>, Failure> {
        let Some(full_name) = entry.name else { return Ok(None) };
        let Some(own) = self.address.own_name(&full_name).filter(|own| name::check(own).is_ok()) else {
            return Ok(None);
        };
        let modified = entry.last_modified.as_deref().and_then(time::from_listing);
        match entry.bytes.zip(modified) {
            Some((size, modified)) => Ok(Some(Version {
                name: own.to_owned(),
                id: entry.version_id.unwrap_or_else(|| "null".to_owned()),
                modified,
                size,
                is_deletion: entry.content_type.is_some_and(|kind| kind.starts_with(DELETION)),
                is_current: entry.is_latest.unwrap_or(true),
            })),
            None => Err(Failure::strange("an object of a listing has no size or no time")),
        }
    }
}

#[async_trait]
impl Versioned for SwiftStore {
    async fn versions(&self, folder: &str) -> Result<Vec<Version>, StoreError> {
        self.run(Operation::List, folder, self.list_versions(folder)).await
    }

    async fn get_version(&self, version: &Version, size_max: u64) -> Result<Bytes, StoreError> {
        let old = Old { store: self, version };
        self.run(Operation::Get, &version.name, object::read_whole(&old, size_max)).await
    }

    async fn remove_version(&self, version: &Version) -> Result<(), StoreError> {
        self.run(Operation::Delete, &version.name, self.remove_one(version)).await
    }

    /// Swift lets a name stand for another of its versions. Newer ones stay behind it.
    async fn make_current(&self, version: &Version, _lock: Option<Lock>) -> Result<(), StoreError> {
        let restored = async {
            let request = |storage: &str| {
                let request = self.about_version(Method::PUT, storage, version)?;
                Ok(Request { body: Some(Vec::new()), ..request })
            };
            let response = self.session.send(&Arc::default(), request).await?;
            if !response.status().is_success() {
                return Err(self.session.failure(response).await);
            }
            response.finish().await;
            Ok(())
        };
        self.run(Operation::Replace, &version.name, restored).await
    }
}
