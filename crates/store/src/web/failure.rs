//! What went wrong with one request, before it is known which operation of the store it was for.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use crate::{Kind, StoreError};

/// A failed request: everything of a [`StoreError`] but the operation, the object and the place.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) cause: Box<dyn Error + Send + Sync>,
    /// How long the server asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, cause: cause.into(), retry_after: None }
    }

    /// For an answer that no server of its kind gives.
    pub(crate) fn strange(what: &str) -> Self {
        Self::new(Kind::Other, format!("the server's answer is not understood: {what}"))
    }

    pub(crate) fn into_error(self, operation: &'static str, object: &str, location: String) -> StoreError {
        let error = StoreError::new(self.kind, operation, object, location).because(self.cause);
        StoreError { retry_after: self.retry_after, ..error }
    }
}

/// The connection failed. The text names no address, because an address may hold a signature; of the causes it has the
/// last, which says what happened.
impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let kind = if error.is_builder() || is_certificate(&error) { Kind::Other } else { Kind::Unavailable };
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            next = cause.source();
            if next.is_none() {
                text = format!("{text}: {cause}");
            }
        }
        Self::new(kind, text)
    }
}

/// Somebody who was asked for help failed.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { kind: error.kind, retry_after: error.retry_after, cause: Box::new(error) }
    }
}

/// Whether TLS refused the other side, which does not pass with time. Below, that is "invalid data".
fn is_certificate(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        // What an error of the system wraps is not among its causes.
        next = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => cause.source(),
        };
    }
    false
}

/// What a status means that the caller did not expect.
pub(crate) fn kind_of(status: StatusCode) -> Kind {
    match status.as_u16() {
        401 | 403 => Kind::PermissionDenied,
        404 => Kind::NotFound,
        // A quota of the account or the container, or the disks of the cluster.
        413 | 507 => Kind::NoSpace,
        416 => Kind::Truncated,
        501 | 505 => Kind::Other,
        // 409: another writer was faster. 422: the bytes were damaged on their way. 498: the rate limit of Swift.
        408 | 409 | 422 | 425 | 429 | 498 | 499 => Kind::Unavailable,
        500.. => Kind::Unavailable,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_kind() {
        for (status, kind) in [
            (301, Kind::Other),
            (400, Kind::Other),
            (401, Kind::PermissionDenied),
            (403, Kind::PermissionDenied),
            (404, Kind::NotFound),
            (408, Kind::Unavailable),
            (409, Kind::Unavailable),
            (413, Kind::NoSpace),
            (416, Kind::Truncated),
            (422, Kind::Unavailable),
            (429, Kind::Unavailable),
            (498, Kind::Unavailable),
            (500, Kind::Unavailable),
            (501, Kind::Other),
            (502, Kind::Unavailable),
            (503, Kind::Unavailable),
            (504, Kind::Unavailable),
            (507, Kind::NoSpace),
            (999, Kind::Unavailable),
        ] {
            assert_eq!(kind_of(StatusCode::from_u16(status).unwrap()), kind, "{status}");
        }
    }
}
