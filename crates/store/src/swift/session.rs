//! Requests with a token that is always good: fetched when it is first needed, before it ends, and when it is refused.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderName;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::credentials::{Method, SwiftCredentials};
use super::login::{self, Expiry, Token};
use crate::Kind;
use crate::web::Failure;
use crate::web::Response;
use crate::web::{Http, Request};

/// Servers tell the life of a token in whole seconds, rounded down.
const SECOND: Duration = Duration::from_secs(1);

/// How often one call may fetch a token. The second time is for one that ended as it was handed out.
const RENEWALS_MAX: u32 = 3;

/// A client of one account.
pub(super) struct Session {
    http: Http,
    credentials: SwiftCredentials,
    /// Locked during a login, so that of many calls that need a token one fetches it and the others wait.
    token: Mutex<Option<Arc<Token>>>,
    /// How often a token was fetched.
    logins: AtomicU64,
}

impl Session {
    /// Sends nothing yet.
    pub(super) fn new(credentials: SwiftCredentials) -> Result<Self, Failure> {
        let http = new_client(&credentials)?;
        Ok(Self { http, credentials, token: Mutex::new(None), logins: AtomicU64::new(0) })
    }

    pub(super) fn set_idle_timeout(&mut self, limit: Duration) {
        self.http.set_idle_timeout(limit);
    }

    pub(super) fn skew_seconds(&self) -> Option<i64> {
        self.http.skew_seconds()
    }

    /// Sends the request that `build` makes for a storage URL. Any answer but "unauthorized" is returned.
    pub(super) async fn send(
        &self,
        sent: &Arc<AtomicU64>,
        build: impl Fn(&str) -> Result<Request, Failure> + Send,
    ) -> Result<Response, Failure> {
        let mut token = self.token().await?;
        for renewal in 1..=RENEWALS_MAX {
            let request = build(&token.storage_url)?
                .header(HeaderName::from_static("x-auth-token"), token.secret.expose())?;
            let response = self.http.send(request, sent.clone()).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let has_ended = token.expiry.is_some_and(|expiry| expiry.end <= Instant::now());
            if renewal == RENEWALS_MAX || (renewal > 1 && !has_ended) {
                return Err(response.into_failure(&[&token.secret]).await);
            }
            response.finish().await;
            token = self.renew(&token).await?;
        }
        Err(Failure::new(Kind::PermissionDenied, "no token was accepted"))
    }

    /// Sends a request that has its right in itself.
    pub(super) async fn send_without_token(&self, request: Request) -> Result<Response, Failure> {
        self.http.send(request, Arc::default()).await
    }

    /// The failure that an answer is.
    pub(super) async fn failure(&self, response: Response) -> Failure {
        let token = self.token.lock().await.clone();
        let secrets: Vec<_> = token.iter().map(|token| &token.secret).collect();
        response.into_failure(&secrets).await
    }

    /// Where the account is.
    pub(super) async fn storage_url(&self) -> Result<String, Failure> {
        Ok(self.token().await?.storage_url.clone())
    }

    /// How often a token was fetched: another number means another token.
    pub(super) fn logins(&self) -> u64 {
        self.logins.load(Ordering::Acquire)
    }

    async fn log_in(&self) -> Result<Token, Failure> {
        let token = login::log_in(&self.http, &self.credentials).await?;
        self.logins.fetch_add(1, Ordering::AcqRel);
        Ok(token)
    }

    async fn token(&self) -> Result<Arc<Token>, Failure> {
        let mut current = self.token.lock().await;
        if let Some(token) = &*current {
            let now = Instant::now();
            let Some(expiry) = token.expiry.filter(|expiry| expiry.renewal <= now) else {
                return Ok(token.clone());
            };
            return match self.log_in().await {
                Ok(fresh) if fresh.secret.expose() == token.secret.expose() => {
                    // Some servers hand out one token until it ends: asking again before then is of no use.
                    let renewal = expiry.end.checked_add(SECOND).unwrap_or(expiry.end);
                    let expiry = Some(Expiry { renewal, end: expiry.end });
                    Ok(current.insert(Arc::new(Token { expiry, ..fresh })).clone())
                }
                Ok(fresh) => Ok(current.insert(Arc::new(fresh)).clone()),
                // The old one is still good for a while.
                Err(failure) if failure.kind == Kind::Unavailable && expiry.end > now => Ok(token.clone()),
                Err(failure) => Err(failure),
            };
        }
        let token = self.log_in().await?;
        Ok(current.insert(Arc::new(token)).clone())
    }

    /// Another token than the one that was refused.
    async fn renew(&self, refused: &Arc<Token>) -> Result<Arc<Token>, Failure> {
        if let Method::Token(_) = self.credentials.method {
            let cause = "the token is not accepted (any more): get a new one and set OS_AUTH_TOKEN";
            return Err(Failure::new(Kind::PermissionDenied, cause));
        }
        let mut current = self.token.lock().await;
        if let Some(token) = current.as_ref().filter(|token| !Arc::ptr_eq(token, refused)) {
            return Ok(token.clone());
        }
        let token = self.log_in().await?;
        Ok(current.insert(Arc::new(token)).clone())
    }
}

fn new_client(credentials: &SwiftCredentials) -> Result<Http, Failure> {
    let certificates = match &credentials.certificates {
        Some(path) => Some(fs::read(path).map_err(|error| {
            Failure::new(Kind::Other, format!("cannot read OS_CACERT {}: {error}", path.display()))
        })?),
        None => None,
    };
    Http::new(certificates.as_deref())
}
