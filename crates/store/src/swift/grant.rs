//! Grants: URLs that let somebody without credentials do one thing with one object for some time (Swift's TempURL).
//!
//! A grant is signed with a key that is kept with the container or the account. It cannot be taken back by itself;
//! a new key takes all grants back that were signed with the one before.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::hmac;
use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode};

use super::{SwiftStore, address};
use crate::grant::{self, Checksum, Grant, Mint, Permission, Settle};
use crate::web::{Failure, Request, Secret, hex};
use crate::{Kind, StoreError, name};

const VERB: &str = "grant access to";
const CONTAINER_KEY: &str = "x-container-meta-temp-url-key";
const ACCOUNT_KEY: &str = "x-account-meta-temp-url-key";

#[async_trait]
impl Mint for SwiftStore {
    /// HEAD comes with every permission. **A PUT replaces what is there** unless its user sends the header
    /// `If-None-Match: *`, which is among the grant's headers and which no signature can demand.
    /// [`Kind::PermissionDenied`] when there is no key to sign with, see
    /// [`renew_grant_key`](SwiftStore::renew_grant_key).
    async fn grant(
        &self,
        permission: Permission,
        name: &str,
        valid_for: Duration,
    ) -> Result<Grant, StoreError> {
        let error = |kind| StoreError::new(kind, VERB, name, self.address.location());
        name::check(name).map_err(|reason| error(Kind::InvalidName).because(reason))?;
        let valid_for = grant::whole_seconds(valid_for).ok_or_else(|| {
            error(Kind::Other).because("a grant lives for more than nothing and at most a day")
        })?;
        let signed = self.sign(permission.method(), name, valid_for).await;
        let (url, expires) =
            signed.map_err(|failure| failure.into_error(VERB, name, self.address.location()))?;
        let mut headers = Vec::new();
        if permission.writes() {
            headers.push(("content-type".to_owned(), "application/octet-stream".to_owned()));
        }
        if permission == Permission::Put {
            headers.push(("if-none-match".to_owned(), "*".to_owned()));
        }
        let checksum = permission.writes().then_some(Checksum::Etag);
        Ok(Grant { permission, name: name.to_owned(), url, headers, checksum, expires })
    }
}

#[async_trait]
impl Settle for SwiftStore {
    /// Copies the object onto itself, inside of Swift. Of two writes the one that began later stays, whichever ends
    /// first; so an upload that began before the copy is thrown away when it ends. The copy has none of the old headers:
    /// whoever had a grant may have sent `X-Delete-At`, and the object would go by itself after it was confirmed.
    async fn settle(&self, name: &str) -> Result<(), StoreError> {
        let error = |kind| StoreError::new(kind, "settle", name, self.address.location());
        name::check(name).map_err(|reason| error(Kind::InvalidName).because(reason))?;
        let copied = async {
            let request = |storage: &str| {
                let mut request = Request::new(Method::PUT, self.address.object_url(storage, name)?)
                    .header(HeaderName::from_static("x-copy-from"), &self.address.copy_source(name))?
                    .header(HeaderName::from_static("x-fresh-metadata"), "true")?;
                request.body = Some(Vec::new());
                Ok(request)
            };
            let response = self.session.send(&Arc::default(), request).await?;
            match response.status() {
                status if status.is_success() => {
                    response.finish().await;
                    Ok(())
                }
                StatusCode::NOT_FOUND => {
                    response.finish().await;
                    Err(self.absent().await)
                }
                _ => Err(self.session.failure(response).await),
            }
        };
        copied.await.map_err(|failure: Failure| failure.into_error("settle", name, self.address.location()))
    }
}

impl SwiftStore {
    /// Gives the container a new random key for grants, which ends all that were signed with its old one.
    pub async fn renew_grant_key(&self) -> Result<(), StoreError> {
        let renewed = async {
            let mut random = [0_u8; 32];
            getrandom::fill(&mut random).map_err(|error| Failure::new(Kind::Other, error))?;
            let key = Secret::new(hex(&random));
            let request = |storage: &str| {
                Request::new(Method::POST, self.address.container_url(storage)?)
                    .header(HeaderName::from_static(CONTAINER_KEY), key.expose())
            };
            let response = self.session.send(&Arc::default(), request).await?;
            if !response.status().is_success() {
                return Err(self.session.failure(response).await);
            }
            response.finish().await;
            Ok(())
        };
        let failed =
            |failure: Failure| failure.into_error("renew the key for grants of", "", self.address.location());
        renewed.await.map_err(failed)
    }

    /// A signed URL, and when it ends by the server's clock.
    async fn sign(
        &self,
        method: &str,
        name: &str,
        valid_for: Duration,
    ) -> Result<(String, SystemTime), Failure> {
        let storage = self.session.storage_url().await?;
        let of_container = self.key_of(CONTAINER_KEY, &self.address.container_url(&storage)?).await?;
        let key = match of_container {
            Some(key) => Some(key),
            None => self.key_of(ACCOUNT_KEY, &address::parse(&storage)?).await?,
        };
        let none = "neither the container nor the account has a key for grants that this user may see";
        let key = key.ok_or_else(|| Failure::new(Kind::PermissionDenied, none))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = now.saturating_add_signed(self.session.skew_seconds().unwrap_or(0));
        let expires = now.saturating_add(valid_for.as_secs());
        // What is signed is the path as it is meant, what is sent is the path as a URL spells it.
        let path = self.address.plain_path(address::parse(&storage)?.path(), name);
        let signed = format!("{method}\n{expires}\n{path}");
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
        let signature = hex(hmac::sign(&hmac_key, signed.as_bytes()).as_ref());
        let mut url = self.address.object_url(&storage, name)?;
        url.set_query(Some(&format!("temp_url_sig={signature}&temp_url_expires={expires}")));
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(expires));
        Ok((url.into(), end.ok_or_else(|| Failure::strange("its clock is out of all bounds"))?))
    }

    /// The key that is kept with a container or an account, when this user may see it.
    async fn key_of(&self, header: &str, url: &reqwest::Url) -> Result<Option<Secret>, Failure> {
        let request = |_: &str| Ok(Request::new(Method::HEAD, url.clone()));
        let response = self.session.send(&Arc::default(), request).await?;
        match response.status() {
            status if status.is_success() => {
                let key = response.header(header).filter(|key| !key.is_empty());
                Ok(key.map(|key| Secret::new(key.to_owned())))
            }
            reqwest::StatusCode::FORBIDDEN => Ok(None),
            _ => Err(self.session.failure(response).await),
        }
    }
}
