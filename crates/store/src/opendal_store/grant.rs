//! Grants: presigned URLs of S3.
//!
//! Such a URL covers the method, the object, the time, and each header that was there when it was signed. So a grant to
//! put demands `If-None-Match: *`: without it, or with another value, the signature does not hold. Further headers are
//! up to the server: Amazon's refuses those that change what is done; Ceph's gateway (16.2) takes `x-amz-copy-source`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, HOST};
use opendal::options::WriteOptions;
use opendal::raw::PresignedRequest;

use super::{OpendalStore, Remote, answer};
use crate::grant::{self, Checksum, Grant, Mint, Permission, Settle};
use crate::{Kind, StoreError, name, network};

const VERB: &str = "grant access to";

#[async_trait]
impl Mint for OpendalStore {
    /// Only on S3 and its kin. Signing itself sends nothing, but fetching the credentials may.
    async fn grant(
        &self,
        permission: Permission,
        name: &str,
        valid_for: Duration,
    ) -> Result<Grant, StoreError> {
        let error = |kind| StoreError::new(kind, VERB, name, &self.remote.location);
        name::check(name).map_err(|reason| error(Kind::InvalidName).because(reason))?;
        if self.remote.operator.info().scheme() != opendal::services::S3_SCHEME {
            return Err(
                error(Kind::Other).because("of the stores that OpenDAL speaks to only S3 gives grants")
            );
        }
        let valid_for = grant::whole_seconds(valid_for).ok_or_else(|| {
            error(Kind::Other).because("a grant lives for more than nothing and at most a day")
        })?;
        let (remote, object) = (self.remote.clone(), name.to_owned());
        let signed = network::run(async move { remote.sign(permission, &object, valid_for).await }).await;
        let signed = signed.map_err(|cause| error(Kind::Other).because(cause))?;
        let signed = signed.map_err(|error| self.remote.error_at(VERB, name, &error))?;
        // The signature counts from a second that had begun before now.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires = UNIX_EPOCH + Duration::from_secs(since.saturating_add(valid_for.as_secs()));
        let mut headers = Vec::new();
        for (header, value) in signed.header() {
            if ![HOST, CONTENT_LENGTH].contains(header) {
                let value = value.to_str().map_err(|cause| error(Kind::Other).because(cause))?;
                headers.push((header.to_string(), value.to_owned()));
            }
        }
        // The server compares it without its being signed; see `wire`.
        let checksum = permission.writes().then_some(Checksum::ContentMd5);
        let url = signed.uri().to_string();
        if permission == Permission::Put && !demands_condition(&url) {
            return Err(error(Kind::Other).because("the condition was not signed"));
        }
        Ok(Grant { permission, name: name.to_owned(), url, headers, checksum, expires })
    }
}

/// Whether the header `If-None-Match` is among those that are signed.
fn demands_condition(url: &str) -> bool {
    let signed = url.split(['?', '&']).find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders="));
    signed.is_some_and(|names| {
        names.split(';').flat_map(|name| name.split("%3B")).any(|name| name == "if-none-match")
    })
}

#[async_trait]
impl Settle for OpendalStore {
    /// Changes nothing: S3 looks at the condition when the last byte has come, and a copy has no bytes to be held back.
    /// Where the server may ignore the condition, an upload that is held open can end at any time and nothing makes it
    /// void: an error.
    async fn settle(&self, name: &str) -> Result<(), StoreError> {
        let error = |kind| StoreError::new(kind, "settle", name, &self.remote.location);
        name::check(name).map_err(|reason| error(Kind::InvalidName).because(reason))?;
        let (remote, object) = (self.remote.clone(), name.to_owned());
        let found = network::run(async move { answer(remote.operator.stat(&object)).await }).await;
        let found = found.map_err(|cause| error(Kind::Other).because(cause))?;
        let found = found.map_err(|error| self.remote.error_at("settle", name, &error))?;
        if self.remote.ignores_conditions(&found) {
            return Err(error(Kind::Other).because(
                "the bucket keeps versions, and such a server may let an upload replace an object although it was \
                 begun to create it: machines without a credential need a bucket without versions here",
            ));
        }
        Ok(())
    }
}

impl Remote {
    async fn sign(
        &self,
        permission: Permission,
        object: &str,
        valid_for: Duration,
    ) -> opendal::Result<PresignedRequest> {
        let operator = &self.operator;
        match permission {
            Permission::Put => {
                let condition = WriteOptions { if_not_exists: true, ..WriteOptions::default() };
                answer(operator.presign_write_options(object, valid_for, condition)).await
            }
            Permission::Replace => answer(operator.presign_write(object, valid_for)).await,
            Permission::Get => answer(operator.presign_read(object, valid_for)).await,
            Permission::Head => answer(operator.presign_stat(object, valid_for)).await,
        }
    }
}
