//! Why a server refused, in the dialects of object stores, and what that means for the caller.

use std::fmt;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap};

use crate::Kind;

/// Of what a server says no more is shown, in characters.
const SHOWN_MAX: usize = 300;

/// Signatures are good for this long before and after the server's time, in seconds; some servers allow less.
const SKEW_MAX: u64 = 15 * 60;

/// A server's refusal: its status and its own words. Never the request, which holds credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: u16,
    /// The service's short name for the reason, such as `NoSuchBucket`; empty when it gave none.
    code: String,
    message: String,
    /// The server's clock minus that of this machine, in seconds, if it told the time.
    skew_seconds: Option<i64>,
}

impl Refusal {
    /// Reads a refusal of S3 or Azure (XML, or a header where there is no body) or of Google (JSON).
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let header = headers.get("x-ms-error-code").and_then(|value| value.to_str().ok());
        let code = header.or_else(|| between(&text, "<Code>", "</Code>"));
        let message = between(&text, "<Message>", "</Message>")
            .or_else(|| between(&text, "\"message\": \"", "\""))
            .or(status.canonical_reason());
        Self {
            status: status.as_u16(),
            code: shorten(code.unwrap_or_default()),
            message: shorten(message.unwrap_or_default()),
            skew_seconds: headers.get(DATE).and_then(|date| {
                let theirs = rfc2822::parse(date.to_str().ok()?).ok()?.timestamp().as_second();
                Some(theirs - Timestamp::now().as_second())
            }),
        }
    }

    /// Whether it is for the time that was signed.
    fn is_for_the_clock(&self) -> bool {
        let is_skewed = self.skew_seconds.is_some_and(|skew| skew.unsigned_abs() >= SKEW_MAX);
        self.code == "RequestTimeTooSkewed" || (is_skewed && matches!(self.status, 401 | 403))
    }

    /// The same for a request that somebody else signed: then it is not for this machine's clock.
    pub(crate) fn of_a_grant(self) -> Self {
        Self { skew_seconds: None, ..self }
    }

    /// Whether the service gave its own name for the reason.
    pub(crate) fn has_code(&self) -> bool {
        !self.code.is_empty()
    }

    /// Whether it is not the object that is missing but what holds all objects.
    pub(crate) fn is_bucket_missing(&self) -> bool {
        matches!(&*self.code, "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted")
            || (self.status == 404 && self.message.contains("bucket does not exist"))
    }

    /// Whether a bucket could not be made because it is there, and whoever asked has it.
    pub(crate) fn is_own_bucket(&self) -> bool {
        self.code == "BucketAlreadyOwnedByYou"
    }

    /// Whether there is no room for what was to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.status == 507
            || matches!(&*self.code, "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull")
    }

    /// Whether the server does not know how to do this at all.
    pub(crate) fn is_unknown(&self) -> bool {
        self.status == 501
    }

    /// Whether the server knows what is asked for, and says that it makes no sense here.
    pub(crate) fn is_invalid(&self) -> bool {
        self.status == 400
            && matches!(
                &*self.code,
                "InvalidRequest" | "InvalidBucketState" | "InvalidArgument" | "NotImplemented"
            )
    }

    /// What it means.
    pub(crate) fn kind(&self) -> Kind {
        if self.is_bucket_missing() {
            return Kind::Gone;
        }
        if self.is_full() {
            return Kind::NoSpace;
        }
        if self.is_for_the_clock() {
            return Kind::Clock;
        }
        match (self.status, &*self.code) {
            (_, "RequestTimeout" | "SlowDown" | "ServerBusy" | "OperationAborted") => Kind::Unavailable,
            // The bytes were damaged on their way.
            (_, "BadDigest") => Kind::Unavailable,
            (_, "AccountProblem" | "InvalidAccessKeyId" | "ExpiredToken" | "InvalidToken") => {
                Kind::PermissionDenied
            }
            (_, "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated") => Kind::Cold,
            // Asked for in a hurry, and there is no room for it: it would not help to wait.
            (_, "GlacierExpeditedRetrievalNotAvailable" | "InvalidStorageClass") => Kind::Unsupported,
            (401 | 403 | 407, _) => Kind::PermissionDenied,
            (404, _) => Kind::NotFound,
            (501 | 505, _) => Kind::Other,
            (408 | 425 | 429 | 500.., _) => Kind::Unavailable,
            _ => Kind::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(skew) = self.skew_seconds.filter(|_| self.is_for_the_clock()) {
            let minutes = skew.unsigned_abs().saturating_add(30) / 60;
            let side = if skew > 0 { "behind" } else { "ahead of" };
            let (hours, minutes) = (minutes / 60, minutes % 60);
            write!(f, "this machine's clock is {hours} h {minutes} min {side} the server's: ")?;
        }
        write!(f, "the server answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for Refusal {}

/// What is between two texts, first after first.
pub(crate) fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    Some(text.split_once(open)?.1.split_once(close)?.0)
}

/// What can be shown of a text from a server.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN_MAX).collect()
}
