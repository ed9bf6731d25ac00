//! Writing and deleting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use super::{SwiftStore, gone};
use crate::Kind;
use crate::web::object::{self, checksum};
use crate::web::{Failure, Request, hex, md5_of, time};

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
            None => Ok(object::look_up(&self.at(name)).await?.modified),
        }
    }

    /// Stores an object by one request. The date of the answer, if it has one.
    pub(super) async fn write(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        overwrite: bool,
    ) -> Result<Option<SystemTime>, Failure> {
        let digest = hex(&md5_of(&parts).await?);
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
                let is_there = object::look_up(&self.at(name)).await.is_ok();
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
        self.note_version(&response);
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
