//! Requests over HTTP/1.1: no redirects, an end to every wait, and answers that are read with limits.
//!
//! The waits are watched here and not by the HTTP library, whose limit for reading also counts the time that a large
//! upload takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Certificate, Client, Method, Url, redirect};
use tokio::time::timeout;

use super::failure::Failure;
use super::response::Response;
use super::time;
use super::upload::{self, Upload};
use crate::Kind;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long nothing may move, in either direction.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Shorter than servers keep an idle connection, so that they seldom close one as we begin to use it.
const KEPT_CONNECTION: Duration = Duration::from_secs(15);

/// A request that can be sent more than once: its bytes are shared.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<Bytes>>,
}

impl Request {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None }
    }

    /// With a header. Text that no header can hold is the user's: a password with a line break, say.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Failure::new(
                Kind::PermissionDenied,
                format!("the value for the header {name} has a control character"),
            )
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// A client with its pool of connections.
pub(crate) struct Http {
    client: Client,
    /// The server's clock minus ours, in seconds.
    skew_seconds: AtomicI64,
    has_skew: AtomicBool,
    idle_timeout: Duration,
}

impl Http {
    /// A client that trusts the roots of this machine and those of a file with PEM certificates.
    pub(crate) fn new(certificates: Option<&[u8]>) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .http1_only()
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(KEPT_CONNECTION)
            .tcp_nodelay(true)
            .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = certificates {
            builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem)?);
        }
        Ok(Self {
            client: builder.build()?,
            skew_seconds: AtomicI64::new(0),
            has_skew: AtomicBool::new(false),
            idle_timeout: IDLE_TIMEOUT,
        })
    }

    pub(crate) fn set_idle_timeout(&mut self, limit: Duration) {
        self.idle_timeout = limit;
    }

    /// The server's clock minus ours, in whole seconds, by its latest answer.
    pub(crate) fn skew_seconds(&self) -> Option<i64> {
        self.has_skew.load(Ordering::Acquire).then(|| self.skew_seconds.load(Ordering::Acquire))
    }

    /// Sends a request and waits for the head of the answer, whatever its status is. `sent` counts the bytes of the
    /// body that were handed over.
    pub(crate) async fn send(&self, request: Request, sent: Arc<AtomicU64>) -> Result<Response, Failure> {
        let Request { method, url, headers, body } = request;
        let mut builder = self.client.request(method, url).headers(headers);
        if let Some(parts) = body {
            builder = builder.header(CONTENT_LENGTH, upload::length(&parts));
            builder = builder.body(Body::wrap(Upload::new(parts, sent.clone())));
        }
        let answer = builder.send();
        tokio::pin!(answer);
        loop {
            let before = sent.load(Ordering::Relaxed);
            match timeout(self.idle_timeout, &mut answer).await {
                Ok(answer) => {
                    let response = Response::new(answer?, self.idle_timeout);
                    self.learn_clock(&response);
                    return Ok(response);
                }
                Err(_) if sent.load(Ordering::Relaxed) == before => {
                    let seconds = self.idle_timeout.as_secs_f32();
                    let cause = format!("the server did not answer within {seconds} s");
                    return Err(Failure::new(Kind::Unavailable, cause));
                }
                Err(_) => {}
            }
        }
    }

    fn learn_clock(&self, response: &Response) {
        let Some(theirs) = response.header("date").and_then(time::from_http) else { return };
        let seconds = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        self.skew_seconds.store(seconds(theirs) - seconds(SystemTime::now()), Ordering::Release);
        self.has_skew.store(true, Ordering::Release);
    }
}
