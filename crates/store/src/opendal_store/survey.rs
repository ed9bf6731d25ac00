//! What a bucket offers besides objects. OpenDAL asks no such thing, so S3 is asked here.

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, StatusCode, Uri};
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, HttpBody, Metadata};

use super::{OpendalStore, Remote, answer, refusal, s3};
use crate::network;
use crate::survey::{Survey, Surveyed};
use crate::web::refusal::{Refusal, between};

/// Long enough to try a grant.
const TRIAL: Duration = Duration::from_secs(60);
/// Of an answer no more is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The address of the bucket, from that of an object in the store, which is `prefix` deep in it.
fn bucket_path<'a>(prefix: &str, object: &str, path: &'a str) -> Option<&'a str> {
    let last = depth(prefix) + depth(object);
    let end = path.rmatch_indices('/').nth(last.checked_sub(1)?)?.0;
    Some(path.get(..end)?).map(|path| if path.is_empty() { "/" } else { path })
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

#[async_trait]
impl Surveyed for OpendalStore {
    /// Of stores that are not S3 only what any `put` has shown.
    async fn survey(&self, object: &str) -> Survey {
        let (remote, object) = (self.remote.clone(), object.to_owned());
        network::run(async move { remote.survey(&object).await }).await.unwrap_or_default()
    }
}

impl Remote {
    /// Whether the object is in a bucket in which the server may not keep the condition that nothing is there. Ceph's
    /// gateway (16.2) does not where there are versions; Amazon's does.
    pub(super) fn ignores_conditions(&self, object: &Metadata) -> bool {
        let is_other = self.s3.as_ref().is_some_and(|service| !service.is_amazons());
        is_other && object.version().is_some()
    }

    /// Whether objects in the bucket can be locked. `object` need not be there.
    pub(super) async fn can_lock(&self, object: &str) -> bool {
        let Some(service) = &self.s3 else { return false };
        let told = self.ask(service, object, "object-lock").await;
        told.as_ref().and_then(Answer::lock).is_some_and(|lock| lock.is_some())
    }

    async fn survey(&self, object: &str) -> Survey {
        let creates_only = Some(self.creates_only());
        let Some(service) = &self.s3 else {
            return Survey { creates_only, gives_grants: Some(false), ..Survey::default() };
        };
        let versions = self.ask(service, object, "versioning").await;
        let lock = self.ask(service, object, "object-lock").await;
        let lock = lock.as_ref().and_then(Answer::lock);
        Survey {
            creates_only,
            keeps_versions: versions.as_ref().and_then(Answer::versions),
            locks: lock.map(|lock| lock.is_some()),
            lock_days: lock.flatten(),
            gives_grants: self.gives_grants(object).await,
        }
    }

    /// The address of the bucket, on the server where `object` is.
    pub(super) async fn bucket_address(&self, service: &s3::Service, object: &str) -> Option<String> {
        let near = answer(self.operator.presign_stat(object, TRIAL)).await.ok()?;
        let (scheme, authority) = (near.uri().scheme_str()?, near.uri().authority()?);
        let bucket = bucket_path(service.prefix(), object, near.uri().path())?;
        Some(format!("{scheme}://{authority}{bucket}"))
    }

    /// What the bucket says to `GET ?question`. The server's address is where `object` is.
    async fn ask(&self, service: &s3::Service, object: &str, question: &str) -> Option<Answer> {
        let transport = self.operator.context().http_transport();
        let uri: Uri = format!("{}?{question}", self.bucket_address(service, object).await?).parse().ok()?;
        let request = Request::get(uri).body(Buffer::new()).ok()?;
        let request = answer(service.sign(request, transport)).await.ok()?;
        match answer(transport.fetch(request)).await {
            Ok(response) => {
                let status = response.status();
                let text = answer(read(response.into_body())).await.ok()?;
                Some(Answer { status, text })
            }
            // The server does not know the question, so it has nothing of the kind.
            Err(error) if refusal::refusal(&error).is_some_and(Refusal::is_unknown) => {
                Some(Answer { status: StatusCode::NOT_IMPLEMENTED, text: String::new() })
            }
            Err(_) => None,
        }
    }

    async fn gives_grants(&self, object: &str) -> Option<bool> {
        let grant = answer(self.operator.presign_stat(object, TRIAL)).await.ok()?;
        let request = Request::builder().method(Method::HEAD).uri(grant.uri()).body(Buffer::new()).ok()?;
        match answer(self.operator.context().http_transport().fetch(request)).await {
            Ok(response) => Some(response.status().is_success()),
            Err(error) => refusal::refusal(&error).map(|_| false),
        }
    }
}

/// The beginning of a body as text.
async fn read(mut body: HttpBody) -> opendal::Result<String> {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        let piece = body.read().await?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece.to_bytes());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a bucket says of itself.
struct Answer {
    status: StatusCode,
    text: String,
}

impl Answer {
    /// Whether versions are kept.
    fn versions(&self) -> Option<bool> {
        match self.status {
            StatusCode::NOT_IMPLEMENTED => Some(false),
            StatusCode::OK if self.text.contains("<VersioningConfiguration") => {
                Some(between(&self.text, "<Status>", "</Status>") == Some("Enabled"))
            }
            _ => None,
        }
    }

    /// Whether objects can be locked, and then for how many days every new one is, if that can be understood.
    fn lock(&self) -> Option<Option<u64>> {
        match self.status {
            StatusCode::NOT_IMPLEMENTED => Some(None),
            StatusCode::NOT_FOUND if self.text.contains("<Code>ObjectLockConfigurationNotFound") => {
                Some(None)
            }
            StatusCode::OK if self.text.contains("<ObjectLockConfiguration") => {
                let enabled = between(&self.text, "<ObjectLockEnabled>", "</ObjectLockEnabled>");
                Some((enabled == Some("Enabled")).then(|| self.lock_days()))
            }
            _ => None,
        }
    }

    fn lock_days(&self) -> u64 {
        let number = |open, close| between(&self.text, open, close)?.trim().parse::<u64>().ok();
        let years = || number("<Years>", "</Years>").map(|years| years.saturating_mul(365));
        number("<Days>", "</Days>").or_else(years).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, text: &str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), text: text.to_owned() }
    }

    #[test]
    fn the_bucket_is_where_its_objects_are() {
        for (prefix, path, bucket) in [
            ("", "/vaults/test/a", "/vaults"),
            ("x", "/vaults/x/test/a", "/vaults"),
            ("x/a b", "/vaults/x/a%20b/test/a", "/vaults"),
            ("x", "/x/test/a", "/"),
            ("", "/test/a", "/"),
            ("", "/below/a/gateway/vaults/test/a", "/below/a/gateway/vaults"),
        ] {
            assert_eq!(bucket_path(prefix, "test/a", path), Some(bucket), "{path}");
        }
        assert_eq!(bucket_path("x/y", "test/a", "/a"), None);
    }

    #[test]
    fn what_buckets_say_of_versions() {
        let configuration = |inner: &str| {
            format!("<?xml?><VersioningConfiguration xmlns=\"s3\">{inner}</VersioningConfiguration>")
        };
        for (answer, keeps) in [
            (said(200, &configuration("<Status>Enabled</Status>")), Some(true)),
            (said(200, &configuration("<Status>Suspended</Status>")), Some(false)),
            (said(200, "<VersioningConfiguration/>"), Some(false)),
            // It does not know the question and answers another one.
            (said(200, "<ListBucketResult><Status>Enabled</Status></ListBucketResult>"), None),
            (said(404, "<Code>NoSuchBucket</Code>"), None),
            (said(501, ""), Some(false)),
        ] {
            assert_eq!(answer.versions(), keeps, "{}", answer.text);
        }
    }

    #[test]
    fn what_buckets_say_of_locks() {
        let enabled = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>";
        let rule = |time: &str| {
            format!(
                "{enabled}<Rule><DefaultRetention><Mode>COMPLIANCE</Mode>{time}</DefaultRetention></Rule></ObjectLockConfiguration>"
            )
        };
        for (answer, lock) in [
            (said(200, &format!("{enabled}</ObjectLockConfiguration>")), Some(Some(0))),
            (said(200, &rule("<Days>30</Days>")), Some(Some(30))),
            (said(200, &rule("<Years>2</Years>")), Some(Some(730))),
            (said(200, &rule("<Years>18446744073709551615</Years>")), Some(Some(u64::MAX))),
            (said(200, &rule("<Days>-1</Days>")), Some(Some(0))),
            (said(200, "<ObjectLockConfiguration/>"), Some(None)),
            (said(404, "<Error><Code>ObjectLockConfigurationNotFoundError</Code></Error>"), Some(None)),
            (said(404, "<Error><Code>NoSuchBucket</Code></Error>"), None),
            (said(200, "<ListBucketResult/>"), None),
            (said(501, ""), Some(None)),
        ] {
            assert_eq!(answer.lock(), lock, "{}", answer.text);
        }
    }
}
