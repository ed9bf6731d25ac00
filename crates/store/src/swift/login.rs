//! Getting a token: the login of Swift itself (version 1) and that of Keystone, see [`keystone`](super::keystone).

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderName;
use reqwest::{Method as Verb, StatusCode};
use tokio::time::Instant;

use super::address;
use super::credentials::{Method, SwiftCredentials};
use super::keystone;
use crate::Kind;
use crate::web::Failure;
use crate::web::Response;
use crate::web::Secret;
use crate::web::{Http, Request};

/// The right to use an account for some time.
pub(super) struct Token {
    pub(super) secret: Secret,
    /// The account; container and object follow.
    pub(super) storage_url: String,
    /// When it ends, if that was said.
    pub(super) expiry: Option<Expiry>,
}

#[derive(Clone, Copy)]
pub(super) struct Expiry {
    /// From then on a new one is fetched first.
    pub(super) renewal: Instant,
    /// From then on the server refuses it.
    pub(super) end: Instant,
}

impl Expiry {
    /// For a token that is good for `life` from now. Renewed a minute before its end; a short one, in its last
    /// eighth.
    pub(super) fn after(life: Duration) -> Option<Self> {
        let (now, margin) = (Instant::now(), (life / 8).min(Duration::from_secs(60)));
        Some(Self { renewal: now.checked_add(life - margin)?, end: now.checked_add(life)? })
    }
}

/// Logs in.
pub(super) async fn log_in(http: &Http, credentials: &SwiftCredentials) -> Result<Token, Failure> {
    let mut token = match &credentials.method {
        Method::Token(secret) => Token { secret: secret.clone(), storage_url: String::new(), expiry: None },
        Method::V1 { url, user, key } => version_1(http, url, user, key).await?,
        Method::Keystone(keystone) => {
            keystone::log_in(http, keystone, credentials.storage_url.is_some()).await?
        }
    };
    if let Some(url) = &credentials.storage_url {
        token.storage_url.clone_from(url);
    } else {
        let login = match &credentials.method {
            Method::Token(_) => "",
            Method::V1 { url, .. } => url,
            Method::Keystone(keystone) => &keystone.url,
        };
        refuse_plain_text(login, &token.storage_url)?;
    }
    address::parse(&token.storage_url)?;
    Ok(token)
}

/// Who logs in over TLS does not want to send the token without it. A server behind a TLS proxy may say so all the
/// same, not knowing better; then the user says where it is.
fn refuse_plain_text(login: &str, storage: &str) -> Result<(), Failure> {
    let is_encrypted = |url: &str| address::parse(url).is_ok_and(|url| url.scheme() == "https");
    if is_encrypted(login) && !is_encrypted(storage) {
        let cause = "the login is over https, but its answer leads to an object store without: \
                     set OS_STORAGE_URL to the address that is meant";
        return Err(Failure::new(Kind::Other, cause));
    }
    Ok(())
}

async fn version_1(http: &Http, url: &str, user: &str, key: &Secret) -> Result<Token, Failure> {
    let request = Request::new(Verb::GET, address::parse(url)?)
        .header(HeaderName::from_static("x-auth-user"), user)?
        .header(HeaderName::from_static("x-auth-key"), key.expose())?;
    let response = http.send(request, Arc::default()).await?;
    if !response.status().is_success() {
        return Err(refused(response, &[key], "ST_AUTH, ST_USER and ST_KEY").await);
    }
    let text = |name| response.header(name).map(str::to_owned);
    let token = text("x-auth-token").or_else(|| text("x-storage-token"));
    let (Some(token), Some(storage_url)) = (token, text("x-storage-url")) else {
        return Err(Failure::strange("the login at ST_AUTH gave no token or no storage URL"));
    };
    let life = response.header("x-auth-token-expires").and_then(|seconds| seconds.trim().parse().ok());
    let expiry = life.and_then(|seconds| Expiry::after(Duration::from_secs(seconds)));
    response.finish().await;
    Ok(Token { secret: Secret::new(token), storage_url, expiry })
}

/// The failure of a login, with what to check.
pub(super) async fn refused(response: Response, secrets: &[&Secret], check: &str) -> Failure {
    let status = response.status();
    let failure = response.into_failure(secrets).await;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let cause = format!("the login was refused: check {check} ({})", failure.cause);
            Failure::new(Kind::PermissionDenied, cause)
        }
        StatusCode::NOT_FOUND => {
            Failure::new(Kind::Other, format!("there is no login at that address: check {check}"))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_came_encrypted_stays_so() {
        for (login, storage, is_fine) in [
            ("https://a/v3", "https://b/v1", true),
            ("HTTPS://a/v3", "http://b/v1", false),
            ("http://a/v3", "http://b/v1", true),
            ("http://a/v3", "https://b/v1", true),
        ] {
            assert_eq!(refuse_plain_text(login, storage).is_ok(), is_fine, "{login} {storage}");
        }
    }
}
