//! What goes over HTTP, below OpenDAL: one client for all stores, with its time limits, and a look at each answer for
//! what OpenDAL does not tell apart: a bucket that is not there from an object that is not there, a full store from a
//! failing one, and a server that ignores which part was asked for.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use md5::{Digest, Md5};
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, HttpTransporter};
use opendal_http_transport_reqwest::ReqwestTransport;

use crate::Kind;
use crate::web::refusal::Refusal;
use crate::web::time;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);

/// How long bytes that were sent may stay without a sign of life before the connection is given up.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Of the text of a refusal no more is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// The transport of every store that speaks HTTP. `adds_checksums` is for a server that compares what it gets with the
/// header `Content-MD5` and does not want it signed.
pub(super) fn transport(adds_checksums: bool) -> Result<HttpTransporter, reqwest::Error> {
    let client = reqwest::Client::builder()
        .user_agent(concat!("strongroom/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .tcp_keepalive(SILENCE / 4);
    // Ends a connection on which nothing is acknowledged, however large the object that is being sent.
    #[cfg(target_os = "linux")]
    let client = client.tcp_user_timeout(SILENCE);
    Ok(HttpTransporter::new(Wire { inner: ReqwestTransport::new(client.build()?), adds_checksums }))
}

tokio::task_local! {
    /// When the server says that it answered last, by its own clock; OpenDAL keeps that to itself.
    static ANSWERED: Cell<Option<SystemTime>>;
}

/// What comes of the requests that `work` makes, and the date of the last answer.
pub(super) async fn dated<T>(work: impl Future<Output = T>) -> (T, Option<SystemTime>) {
    let work = async { (work.await, ANSWERED.with(Cell::get)) };
    ANSWERED.scope(Cell::new(None), work).await
}

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The MD5 of a body as its header wants it. Large bodies take milliseconds, so it is not done where connections live.
async fn checksum(body: Buffer) -> opendal::Result<HeaderValue> {
    let hash = move || {
        let mut hasher = Md5::new();
        body.for_each(|piece| hasher.update(piece));
        BASE64_STANDARD.encode(hasher.finalize())
    };
    let failed = |error| Error::new(ErrorKind::Unexpected, "no checksum could be made").set_source(error);
    let text = tokio::task::spawn_blocking(hash).await.map_err(failed)?;
    HeaderValue::from_str(&text)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "no checksum could be made").set_source(error))
}

struct Wire {
    inner: ReqwestTransport,
    adds_checksums: bool,
}

impl HttpTransport for Wire {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        if self.adds_checksums && request.method() == Method::PUT && !request.body().is_empty() {
            let checksum = checksum(request.body().clone()).await?;
            request.headers_mut().insert(CONTENT_MD5, checksum);
        }
        let range = request.headers().get(RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let answer = self.inner.fetch(request).await?;
        let date = answer.headers().get(DATE).and_then(|date| time::from_http(date.to_str().ok()?));
        // Nobody asks for it outside of `dated`.
        let _ = ANSWERED.try_with(|answered| answered.set(date));
        if range.is_some() && is_part_of_nothing(answer.status(), answer.headers()) {
            return Err(Error::new(ErrorKind::RangeNotSatisfied, "the object has no bytes"));
        }
        if let Some(range) = range.filter(|_| answer.status().is_success())
            && !answers_range(&range, answer.status(), answer.headers())
        {
            return Err(Error::new(ErrorKind::Unexpected, "the server ignores which part was asked for"));
        }
        if answer.status().is_client_error() || answer.status().is_server_error() {
            return screen(answer).await;
        }
        Ok(answer)
    }
}

/// Whether the part that comes begins where the part that was asked for does. The whole object may come where that is
/// the same; that no more comes than was asked for is seen when it is read.
fn answers_range(asked: &str, status: StatusCode, headers: &HeaderMap) -> bool {
    let Some(start) = asked.strip_prefix("bytes=").and_then(|asked| asked.split('-').next()) else {
        return true;
    };
    if status != StatusCode::PARTIAL_CONTENT {
        let is_empty = headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0");
        return is_empty || matches!(start, "" | "0");
    }
    let found = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let found = found.and_then(|value| value.strip_prefix("bytes ")?.split('-').next());
    start.is_empty() || found == Some(start)
}

/// Whether the answer is a part of an object that has no bytes. There is none, but Azurite sends one that ends before it
/// begins.
fn is_part_of_nothing(status: StatusCode, headers: &HeaderMap) -> bool {
    let found = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    status == StatusCode::PARTIAL_CONTENT && found.is_some_and(|found| found.trim_end().ends_with("/0"))
}

/// Turns a refusal into an error whose cause is a [`Refusal`], except where OpenDAL knows better what it means: nothing
/// there, or there already.
async fn screen(answer: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    let (parts, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while text.len() < REFUSAL_BYTES_MAX {
        let piece = body.read().await?;
        if piece.is_empty() {
            break;
        }
        text.extend_from_slice(&piece.to_bytes());
    }
    let refusal = Refusal::new(parts.status, &parts.headers, &text);
    if parts.status == StatusCode::RANGE_NOT_SATISFIABLE {
        // OpenDAL knows it from S3 alone.
        return Err(Error::new(ErrorKind::RangeNotSatisfied, refusal.to_string()));
    }
    let known_to_opendal = matches!(
        parts.status,
        StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::CONFLICT
            | StatusCode::PRECONDITION_FAILED
    );
    if known_to_opendal && !refusal.is_bucket_missing() && !refusal.is_full() && refusal.kind() != Kind::Cold
    {
        let pieces = stream::iter([Ok(Buffer::from(text))]);
        return Ok(Response::from_parts(parts, HttpBody::new(pieces, None)));
    }
    Err(Error::new(ErrorKind::Unexpected, "the server refused").set_source(refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_parts() {
        for (status, found, expected) in [
            (StatusCode::PARTIAL_CONTENT, "bytes 0--1/0", true),
            (StatusCode::PARTIAL_CONTENT, "bytes 0-0/10", false),
            (StatusCode::PARTIAL_CONTENT, "bytes 0-0/*", false),
            (StatusCode::OK, "bytes 0--1/0", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, found.parse().unwrap())]);
            assert_eq!(is_part_of_nothing(status, &headers), expected, "{status} {found}");
        }
    }

    #[test]
    fn a_part_has_to_begin_where_it_was_asked_to() {
        let headers = |text: &'static str| HeaderMap::from_iter([(CONTENT_RANGE, text.parse().unwrap())]);
        let partial = StatusCode::PARTIAL_CONTENT;
        for (asked, status, found, good) in [
            ("bytes=5-9", partial, "bytes 5-9/20", true),
            ("bytes=5-90", partial, "bytes 5-19/20", true),
            ("bytes=-9", partial, "bytes 11-19/20", true),
            ("bytes=5-9", partial, "bytes 0-4/20", false),
            ("bytes=5-9", partial, "nonsense", false),
            ("bytes=5-9", StatusCode::OK, "bytes 5-9/20", false),
            ("bytes=0-9", StatusCode::OK, "", true),
            ("bytes=-9", StatusCode::OK, "", true),
        ] {
            assert_eq!(answers_range(asked, status, &headers(found)), good, "{asked} {status} {found}");
        }
    }
}
