//! Locks of S3: objects that are written with one, locks that are made to last longer, and what one forbids.
//!
//! OpenDAL knows nothing of locks; the address of an object is taken from what it signs. A server that knows none may
//! take the headers and ignore them, so nobody believes in a lock before it was read back.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH};
use http::request::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use opendal::{Buffer, Error, ErrorKind};

use super::write::RATE_MIN;
use super::{ANSWER, Remote, SINGLE_REQUEST_MAX, answer, refusal, within};
use crate::web::refusal::Refusal;
use crate::{Kind, Lock, LockMode, Operation, StorageClass, StoreError};

/// How long a signature for one request is good.
const SIGNED_FOR: Duration = Duration::from_secs(300);

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const CLASS: &str = "x-amz-storage-class";

/// A moment as S3 writes it, in whole seconds.
fn moment(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let end = Timestamp::MAX.as_second();
    Timestamp::from_second(i64::try_from(seconds).unwrap_or(end).min(end)).unwrap_or_default().to_string()
}

/// A request whose object is to be locked.
pub(super) fn headers(request: Builder, lock: Lock) -> Builder {
    request.header(MODE, lock.mode.name().to_uppercase()).header(UNTIL, moment(lock.until))
}

/// The lock that an answer tells.
fn told(headers: &HeaderMap) -> Option<Lock> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let until: Timestamp = header(UNTIL)?.parse().ok()?;
    Some(Lock { until: until.into(), mode: LockMode::from_name(header(MODE)?)? })
}

/// The server does not lock here: it does not know how, or the bucket was not made for it.
fn is_impossible(error: &Error) -> bool {
    refusal::refusal(error).is_some_and(|refusal| refusal.is_unknown() || refusal.is_invalid())
}

impl Remote {
    pub(super) async fn put_locked(
        &self,
        object: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        let operation = Operation::Put;
        if let (Some(service), Some(class)) = (&self.s3, class) {
            service.check(class)?;
        }
        let bytes = Buffer::from(parts.clone());
        if bytes.len() as u64 > SINGLE_REQUEST_MAX {
            self.put(object, parts, class).await?;
            return self.lock(object, lock).await;
        }
        let creates_only = self.creates_only();
        if !creates_only {
            match answer(self.operator.stat(object)).await {
                Ok(_) => return Ok(()),
                Err(error) if refusal::kind(&error) == Kind::NotFound => {}
                Err(error) => return Err(self.unwritten(operation, object, &error)),
            }
        }
        match self.send_locked(object, bytes, class, lock, creates_only).await {
            Ok(answered) if answered.status().is_success() => {
                self.note_version(answered.headers());
                Ok(())
            }
            Ok(answered) if creates_only && answered.status() == StatusCode::PRECONDITION_FAILED => Ok(()),
            Ok(answered) => {
                let error = refused(answered.status());
                Err(self.unwritten(operation, object, &error))
            }
            Err(error) if creates_only && refusal::refusal(&error).is_some_and(Refusal::is_unknown) => {
                self.creates_only.store(false, Ordering::Relaxed);
                Box::pin(self.put_locked(object, parts, class, lock)).await
            }
            Err(error) => {
                let found = self.unwritten(operation, object, &error);
                let kind = if is_impossible(&error) { Kind::Unsupported } else { found.kind };
                Err(StoreError { kind, operation: Operation::Lock.verb(), ..found })
            }
        }
    }

    async fn send_locked(
        &self,
        object: &str,
        bytes: Buffer,
        class: Option<&StorageClass>,
        lock: Lock,
        create_only: bool,
    ) -> opendal::Result<Response<Buffer>> {
        let size = bytes.len() as u64;
        let mut request = self.request(Method::PUT, object, "").await?;
        request = headers(request, lock).header(CONTENT_LENGTH, size);
        if let Some(class) = class {
            request = request.header(CLASS, class.as_str());
        }
        if create_only {
            request = request.header(IF_NONE_MATCH, "*");
        }
        let limit = ANSWER.saturating_add(Duration::from_secs(size / RATE_MIN));
        within(limit, self.sign_and_send(request, bytes)).await
    }

    pub(super) async fn lock(&self, object: &str, lock: Lock) -> Result<(), StoreError> {
        let Err(refused) = self.try_to_lock(object, lock, false).await else { return Ok(()) };
        if refused.kind != Kind::PermissionDenied {
            return Err(refused);
        }
        // Servers shorten no lock, make none weaker, and let only those make one stricter who might take it away.
        let Ok(Some(before)) = self.locked(object, None).await else { return Err(refused) };
        if before.mode < lock.mode {
            let until = before.until.max(lock.until);
            if self.try_to_lock(object, Lock { until, ..lock }, true).await.is_ok() {
                return Ok(());
            }
        }
        if before.until >= lock.until {
            return Ok(());
        }
        // Then it is made longer as it is.
        self.try_to_lock(object, Lock { mode: before.mode, ..lock }, false).await
    }

    async fn try_to_lock(&self, object: &str, lock: Lock, may_change: bool) -> Result<(), StoreError> {
        let error = match self.ask_to_lock(object, lock, may_change).await {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(StatusCode::NOT_FOUND) => Error::new(ErrorKind::NotFound, "there is no such object"),
            Ok(status) => refused(status),
            Err(error) => error,
        };
        let found = self.error(Operation::Lock, object, &error).await;
        Err(if is_impossible(&error) { StoreError { kind: Kind::Unsupported, ..found } } else { found })
    }

    /// `may_change`: uses the right to change what a lock of mode governance says. Never with an earlier end.
    async fn ask_to_lock(&self, object: &str, lock: Lock, may_change: bool) -> opendal::Result<StatusCode> {
        let (mode, until) = (lock.mode.name().to_uppercase(), moment(lock.until));
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode>\
             <RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        let request = self.request(Method::PUT, object, "retention=").await?;
        let mut request = request.header(CONTENT_TYPE, "application/xml").header(CONTENT_LENGTH, body.len());
        if may_change {
            request = request.header("x-amz-bypass-governance-retention", "true");
        }
        let answered = answer(self.sign_and_send(request, Buffer::from(Bytes::from(body)))).await?;
        Ok(answered.status())
    }

    /// The lock of an object, or of one of its versions, that has not ended by the server's clock.
    pub(super) async fn locked(
        &self,
        object: &str,
        version: Option<&str>,
    ) -> Result<Option<Lock>, StoreError> {
        let operation = Operation::Stat;
        let query = version.map_or_else(String::new, |version| format!("versionId={}", encode(version)));
        let asked = async {
            let request = self.request(Method::HEAD, object, &query).await?;
            answer(self.sign_and_send(request, Buffer::new())).await
        };
        let error = match asked.await {
            Ok(found) if found.status().is_success() => {
                let now = server_time(found.headers()).unwrap_or_else(SystemTime::now);
                return Ok(told(found.headers()).filter(|lock| lock.until > now));
            }
            Ok(found) if found.status() == StatusCode::NOT_FOUND => {
                Error::new(ErrorKind::NotFound, "there is no such object")
            }
            Ok(found) => refused(found.status()),
            Err(error) => error,
        };
        Err(self.error(operation, object, &error).await)
    }

    /// What the refusal to delete means: the object, or this version of it, may be locked.
    pub(super) async fn undeleted(&self, object: &str, version: Option<&str>, error: &Error) -> StoreError {
        let found = self.error(Operation::Delete, object, error).await;
        if found.kind == Kind::PermissionDenied
            && let Ok(Some(lock)) = self.locked(object, version).await
        {
            let cause = format!("it is locked until {} ({})", moment(lock.until), lock.mode);
            return StoreError { kind: Kind::Locked, ..found }.because(cause);
        }
        found
    }

    /// The beginning of a request about an object that OpenDAL does not know.
    pub(super) async fn request(
        &self,
        method: Method,
        object: &str,
        query: &str,
    ) -> opendal::Result<Builder> {
        let head = answer(self.operator.presign_stat(object, SIGNED_FOR)).await?;
        let mut address = head.uri().clone().into_parts();
        let path = head.uri().path();
        let mark = if query.is_empty() { "" } else { "?" };
        address.path_and_query = format!("{path}{mark}{query}").parse().ok();
        let address = Uri::from_parts(address).map_err(|error| unbuilt(error.into()))?;
        Ok(Request::builder().method(method).uri(address))
    }

    pub(super) async fn sign_and_send(
        &self,
        request: Builder,
        body: Buffer,
    ) -> opendal::Result<Response<Buffer>> {
        let Some(service) = &self.s3 else {
            return Err(Error::new(ErrorKind::Unsupported, "this store is not S3"));
        };
        let transport = self.operator.context().http_transport();
        let request = request.body(body).map_err(unbuilt)?;
        let request = service.sign(request, transport).await?;
        transport.send(request).await
    }
}

fn unbuilt(error: http::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "the request cannot be made").set_source(error)
}

pub(super) fn refused(status: StatusCode) -> Error {
    Error::new(ErrorKind::Unexpected, format!("the server answered {status}"))
}

/// The server's clock, as an answer tells it.
fn server_time(headers: &HeaderMap) -> Option<SystemTime> {
    crate::web::time::from_http(headers.get(http::header::DATE)?.to_str().ok()?)
}

/// Percent signs for whatever a query may not hold.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_whole_seconds_and_never_out_of_range() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_999);
        assert_eq!(moment(time), "2023-11-14T22:13:20Z");
        assert!(moment(UNIX_EPOCH + Duration::from_secs(1 << 60)).starts_with("9999-"));
    }

    #[test]
    fn a_lock_is_told_by_both_headers() {
        let headers = |mode: &'static str, until: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(MODE, mode.parse().unwrap());
            headers.insert(UNTIL, until.parse().unwrap());
            headers
        };
        let lock = told(&headers("GOVERNANCE", "2023-11-14T22:13:20.000Z")).unwrap();
        assert_eq!(
            lock,
            Lock { until: UNIX_EPOCH + Duration::from_secs(1_700_000_000), mode: LockMode::Governance }
        );
        assert_eq!(told(&headers("OTHER", "2023-11-14T22:13:20Z")), None);
        assert_eq!(told(&headers("COMPLIANCE", "soon")), None);
        assert_eq!(told(&HeaderMap::new()), None);
    }
}
