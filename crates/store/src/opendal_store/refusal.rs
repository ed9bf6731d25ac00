//! Why a server refused, and what that means for the caller.

use std::error::Error as _;
use std::fmt;

use http::header::DATE;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use opendal::{Error, ErrorKind};

use crate::Kind;

/// Of what a server says no more is shown, in characters.
const SHOWN_MAX: usize = 300;

/// Signatures are good for this long before and after the server's time, in seconds; some servers allow less.
const SKEW_MAX: u64 = 15 * 60;

/// A server's refusal: its status and its own words. Never the request, which holds credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    /// The service's short name for the reason, such as `NoSuchBucket`; empty when it gave none.
    code: String,
    message: String,
    /// The server's clock minus that of this machine, in seconds, if it told the time.
    skew_seconds: Option<i64>,
}

impl Refusal {
    /// Reads a refusal of S3 or Azure (XML, or a header where there is no body) or of Google (JSON).
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
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

    /// Whether it is not the object that is missing but what holds all objects.
    pub(super) fn is_bucket_missing(&self) -> bool {
        matches!(&*self.code, "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted")
            || (self.status == 404 && self.message.contains("bucket does not exist"))
    }

    /// Whether there is no room for what was to be written.
    pub(super) fn is_full(&self) -> bool {
        self.status == 507
            || matches!(&*self.code, "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull")
    }

    /// Whether the server does not know how to do this at all.
    pub(super) fn is_unknown(&self) -> bool {
        self.status == 501
    }

    /// Whether the object has to be warmed first.
    pub(super) fn is_cold(&self) -> bool {
        self.kind() == Kind::Cold
    }

    fn kind(&self) -> Kind {
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

/// What an error of OpenDAL means.
pub(super) fn kind(error: &Error) -> Kind {
    if let Some(refusal) = refusal(error) {
        return refusal.kind();
    }
    match error.kind() {
        ErrorKind::NotFound => Kind::NotFound,
        ErrorKind::PermissionDenied => Kind::PermissionDenied,
        ErrorKind::RangeNotSatisfied => Kind::Truncated,
        ErrorKind::RateLimited | ErrorKind::Conflict => Kind::Unavailable,
        _ if error.is_temporary() => Kind::Unavailable,
        _ => Kind::Other,
    }
}

/// The server's own words, when it said any.
pub(super) fn refusal(error: &Error) -> Option<&Refusal> {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(refusal) = source.downcast_ref() {
            return Some(refusal);
        }
        cause = source.source();
    }
    None
}

/// An error of OpenDAL as a text that can be shown: its message and its causes. The text that OpenDAL itself makes also
/// has the request's address and headers, and an address may be signed.
pub(super) fn shown(error: &Error) -> String {
    if let Some(refusal) = refusal(error) {
        return refusal.to_string();
    }
    let mut text = shorten(error.message());
    let mut cause = error.source();
    while let Some(source) = cause {
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text = if text.is_empty() { source_text } else { format!("{text}: {source_text}") };
        }
        cause = source.source();
    }
    if text.is_empty() { error.kind().to_string() } else { text }
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    Some(text.split_once(open)?.1.split_once(close)?.0)
}

fn shorten(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_three_dialects() {
        let s3 = |code: &str| format!("<?xml?><Error><Code>{code}</Code><Message>No.</Message></Error>");
        let google = "{\"error\": {\"code\": 404, \"message\": \"The specified bucket does not exist.\"}}";
        for (status, body, kind) in [
            (404, s3("NoSuchBucket"), Kind::Gone),
            (404, s3("NoSuchKey"), Kind::NotFound),
            (403, s3("AccessDenied"), Kind::PermissionDenied),
            (403, s3("QuotaExceeded"), Kind::NoSpace),
            (403, s3("InvalidObjectState"), Kind::Cold),
            (409, s3("BlobArchived"), Kind::Cold),
            (503, s3("GlacierExpeditedRetrievalNotAvailable"), Kind::Unsupported),
            (400, s3("InvalidStorageClass"), Kind::Unsupported),
            (400, s3("ExpiredToken"), Kind::PermissionDenied),
            (400, s3("RequestTimeout"), Kind::Unavailable),
            (400, s3("BadDigest"), Kind::Unavailable),
            (400, s3("EntityTooLarge"), Kind::Other),
            (503, s3("SlowDown"), Kind::Unavailable),
            (501, s3("NotImplemented"), Kind::Other),
            (404, google.to_owned(), Kind::Gone),
            (401, String::new(), Kind::PermissionDenied),
            (429, "<html>".to_owned(), Kind::Unavailable),
            (502, "<Code>never closed".to_owned(), Kind::Unavailable),
            (507, "\u{0}\u{1b}[31m".to_owned(), Kind::NoSpace),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::new(status, &HeaderMap::new(), body.as_bytes());
            let error = Error::new(ErrorKind::Unexpected, "x").set_source(refusal.clone());
            assert_eq!(super::kind(&error), kind, "{refusal}");
            assert!(!shown(&error).contains('\u{1b}'));
        }
        for (seconds, status, code, kind, says) in [
            (7200, 403, "RequestTimeTooSkewed", Kind::Clock, "clock is 2 h 0 min behind the server's"),
            (-86_400 - 90, 403, "AccessDenied", Kind::Clock, "clock is 24 h 2 min ahead of the server's"),
            (60, 403, "AccessDenied", Kind::PermissionDenied, "the server answered 403 AccessDenied"),
            (7200, 404, "NoSuchKey", Kind::NotFound, "the server answered 404 NoSuchKey"),
        ] {
            let theirs = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&theirs).unwrap();
            let headers = HeaderMap::from_iter([(DATE, date.parse().unwrap())]);
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), &headers, s3(code).as_bytes());
            assert_eq!(refusal.kind(), kind, "{refusal}");
            assert!(refusal.to_string().contains(says), "{refusal}");
        }
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-ms-error-code"),
            http::HeaderValue::from_static("ContainerNotFound"),
        )]);
        assert!(Refusal::new(StatusCode::NOT_FOUND, &headers, b"").is_bucket_missing());
    }
}
