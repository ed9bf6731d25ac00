//! Grants: URLs that let somebody without credentials do one thing with one object for some time (Swift's TempURL).
//!
//! A grant is signed with a key that is kept with the container or the account. It cannot be taken back by itself;
//! a new key takes all grants back that were signed with the one before.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use reqwest::Method;
use reqwest::header::HeaderName;

use super::failure::Failure;
use super::http::Request;
use super::secret::Secret;
use super::{SwiftStore, address};
use crate::{Kind, Operation, StoreError};

const CONTAINER_KEY: &str = "x-container-meta-temp-url-key";
const ACCOUNT_KEY: &str = "x-account-meta-temp-url-key";

impl SwiftStore {
    /// A URL with which anybody may do `operation` with the object until `lifetime` from now, by the server's clock.
    /// Whoever has it has that right: treat it as a password.
    ///
    /// [`Operation::Put`] grants a PUT, [`Operation::Stat`] a HEAD and the three that read a GET; HEAD comes with
    /// all of them. **A PUT replaces what is there** unless its user sends the header `If-None-Match: *`, which no
    /// signature can demand; then 201 is success and 412 says that the object was there. Other operations cannot be
    /// granted. [`Kind::PermissionDenied`] when there is no key to sign with, see
    /// [`renew_grant_key`](Self::renew_grant_key).
    pub async fn grant(
        &self,
        operation: Operation,
        name: &str,
        lifetime: Duration,
    ) -> Result<String, StoreError> {
        self.check(operation, name)?;
        let failed = |failure: Failure| failure.into_error("grant access to", name, self.address.location());
        let method = match operation {
            Operation::Put => "PUT",
            Operation::Get | Operation::GetRange | Operation::GetTail => "GET",
            Operation::Stat => "HEAD",
            _ => return Err(failed(Failure::new(Kind::Other, "only reading and writing can be granted"))),
        };
        self.sign(method, name, lifetime).await.map_err(failed)
    }

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

    async fn sign(&self, method: &str, name: &str, lifetime: Duration) -> Result<String, Failure> {
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
        let expires = now.saturating_add(lifetime.as_secs());
        // What is signed is the path as it is meant, what is sent is the path as a URL spells it.
        let path = self.address.plain_path(address::parse(&storage)?.path(), name);
        let signed = format!("{method}\n{expires}\n{path}");
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
        let signature = hex(hmac::sign(&hmac_key, signed.as_bytes()).as_ref());
        let mut url = self.address.object_url(&storage, name)?;
        url.set_query(Some(&format!("temp_url_sig={signature}&temp_url_expires={expires}")));
        Ok(url.into())
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
