//! What an error of OpenDAL means for the caller, and how it is shown.

use std::error::Error as _;

use opendal::{Error, ErrorKind};

use crate::Kind;
use crate::web::refusal::{Refusal, shorten};

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

#[cfg(test)]
mod tests {
    use http::header::DATE;
    use http::{HeaderMap, StatusCode};
    use jiff::Timestamp;
    use jiff::fmt::rfc2822;

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
