//! Writing and deleting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use md5::{Digest, Md5};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use super::failure::Failure;
use super::http::Request;
use super::response::Response;
use super::{SwiftStore, gone, time, upload};
use crate::Kind;

/// Fewer bytes than this are hashed where we are; more, on a thread that may block (it would take a millisecond).
const HASHED_AT_ONCE: u64 = 512 << 10;

impl SwiftStore {
    /// Stores an object, and tells when it was there.
    pub(super) async fn write_dated(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        overwrite: bool,
    ) -> Result<SystemTime, Failure> {
        match self.write(name, parts, overwrite).await? {
            Some(date) => Ok(date),
            None => Ok(self.look_up(name).await?.modified),
        }
    }

    /// Stores an object by one request. The date of the answer, if it has one.
    pub(super) async fn write(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        overwrite: bool,
    ) -> Result<Option<SystemTime>, Failure> {
        let digest = md5_of(&parts).await?;
        let request = |storage: &str| {
            let mut request = Request::new(Method::PUT, self.address.object_url(storage, name)?)
                .header(ETAG, &digest)?
                .header(CONTENT_TYPE, "application/octet-stream")?;
            if !overwrite {
                request = request.header(IF_NONE_MATCH, "*")?;
            }
            request.body = Some(parts.clone());
            Ok(request)
        };
        let (sent, logins) = (Arc::new(AtomicU64::new(0)), self.session.logins());
        let response = match self.session.send(&sent, request).await {
            // A server that refuses the object may hang up on its bytes, and the answer is then lost. A request
            // without bytes tells whether it has the object, and gets a new token where the old one was the reason.
            Err(failure) if failure.kind == Kind::Unavailable && sent.load(Ordering::Relaxed) > 0 => {
                let is_there = self.look_up(name).await.is_ok();
                if is_there && !overwrite {
                    return Ok(None);
                }
                if self.session.logins() == logins {
                    return Err(failure);
                }
                self.session.send(&sent, request).await?
            }
            response => response?,
        };
        let date = response.header("date").and_then(time::from_http);
        match response.status() {
            status if status.is_success() => {
                let told = checksum(&response);
                response.finish().await;
                if told.is_some_and(|told| told != digest) {
                    return Err(self.withdraw(name, overwrite).await);
                }
            }
            StatusCode::PRECONDITION_FAILED if !overwrite => response.finish().await,
            StatusCode::NOT_FOUND => return Err(gone()),
            _ => return Err(self.session.failure(response).await),
        }
        Ok(date)
    }

    /// The failure of a write after which the server told of other bytes than were sent. The new object is taken away:
    /// the next try would find it and take it for good.
    async fn withdraw(&self, name: &str, overwrite: bool) -> Failure {
        if !overwrite && let Err(failure) = self.remove(name).await {
            let cause = format!(
                "the server stored other bytes than were sent, and they cannot be removed: {}",
                failure.cause
            );
            return Failure::new(Kind::Other, cause);
        }
        Failure::new(
            Kind::Unavailable,
            "the server says that it stored other bytes than were sent (its ETag differs)",
        )
    }

    /// Deletes an object. One that is not there is fine, as long as the container is.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Failure> {
        match self.object(Method::DELETE, name, HeaderMap::new()).await {
            Ok(response) => response.finish().await,
            Err(failure) if failure.kind == Kind::NotFound => {}
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

/// The MD5 of an object in hex, if the server tells it. That of an object in several parts is none of its bytes.
pub(super) fn checksum(response: &Response) -> Option<String> {
    let is_in_parts = ["x-static-large-object", "x-object-manifest"];
    if is_in_parts.iter().any(|name| response.header(name).is_some()) {
        return None;
    }
    let tag = response.header("etag")?.trim_matches('"').to_ascii_lowercase();
    (tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(tag)
}

/// The MD5 of all parts in hex: what Swift compares with what it got.
pub(super) async fn md5_of(parts: &[Bytes]) -> Result<String, Failure> {
    let hash = |parts: &[Bytes]| {
        let mut hasher = Md5::new();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    if upload::length(parts) < HASHED_AT_ONCE {
        return Ok(hash(parts));
    }
    let parts = parts.to_vec();
    let task = tokio::task::spawn_blocking(move || hash(&parts));
    task.await.map_err(|error| Failure::new(Kind::Other, error))
}
