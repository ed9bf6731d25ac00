//! What a bucket offers besides objects. OpenDAL asks no such thing, so S3 is asked here: with requests that the same
//! signer signs, over the same connections.

use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, StatusCode, Uri};
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, Metadata};
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;

use super::{OpendalStore, Remote, answer, refusal};
use crate::network;
use crate::survey::{Survey, Surveyed};
use crate::web::refusal::{Refusal, between};

/// Long enough to try a grant.
const TRIAL: Duration = Duration::from_secs(60);
/// Of an answer no more is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Who signs questions about a bucket of S3.
pub(super) struct Questions {
    signer: Signer<Credential>,
    /// How many folders deep in the bucket the store is.
    depth: usize,
    /// Whether it is Amazon's own server.
    is_amazon: bool,
}

impl Questions {
    pub(super) fn new(
        provider: ProvideCredentialChain<Credential>,
        region: &str,
        prefix: &str,
        is_amazon: bool,
    ) -> Self {
        let signer = Signer::new(Context::new(), provider, RequestSigner::new("s3", region));
        Self { signer, depth: depth(prefix), is_amazon }
    }

    /// The address of the bucket, from that of an object in the store.
    fn bucket<'a>(&self, object: &str, path: &'a str) -> Option<&'a str> {
        let last = self.depth + depth(object);
        let end = path.rmatch_indices('/').nth(last.checked_sub(1)?)?.0;
        Some(path.get(..end)?).map(|path| if path.is_empty() { "/" } else { path })
    }
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

/// Credentials that the caller has.
pub(super) fn of_keys(key: &str, secret: &str, token: Option<&str>) -> ProvideCredentialChain<Credential> {
    let keys = StaticCredentialProvider::new(key, secret);
    ProvideCredentialChain::new().push(match token {
        Some(token) => keys.with_session_token(token),
        None => keys,
    })
}

/// Credentials from the usual files, and from the machine's role if it `asks_machine`.
pub(super) fn of_files(profile: Option<&str>, asks_machine: bool) -> ProvideCredentialChain<Credential> {
    let mut usual = DefaultCredentialProvider::builder();
    if let Some(profile) = profile {
        usual = usual.with_profile(profile);
    }
    ProvideCredentialChain::new().push(if asks_machine { usual } else { usual.no_imds() }.build())
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
        let is_other = self.questions.as_ref().is_some_and(|questions| !questions.is_amazon);
        is_other && object.version().is_some()
    }

    async fn survey(&self, object: &str) -> Survey {
        let creates_only = Some(self.creates_only());
        let Some(questions) = &self.questions else {
            return Survey { creates_only, gives_grants: Some(false), ..Survey::default() };
        };
        let versions = self.ask(questions, object, "versioning").await;
        let lock = self.ask(questions, object, "object-lock").await;
        let lock = lock.as_ref().and_then(Answer::lock);
        Survey {
            creates_only,
            keeps_versions: versions.as_ref().and_then(Answer::versions),
            locks: lock.map(|lock| lock.is_some()),
            lock_days: lock.flatten(),
            gives_grants: self.gives_grants(object).await,
        }
    }

    /// What the bucket says to `GET ?question`. The server's address is where `object` is.
    async fn ask(&self, questions: &Questions, object: &str, question: &str) -> Option<Answer> {
        let transport = self.operator.context().http_transport();
        let near = answer(self.operator.presign_stat(object, TRIAL)).await.ok()?;
        let (scheme, authority) = (near.uri().scheme_str()?, near.uri().authority()?);
        let bucket = questions.bucket(object, near.uri().path())?;
        let uri: Uri = format!("{scheme}://{authority}{bucket}?{question}").parse().ok()?;
        let (mut head, ()) = Request::get(uri).body(()).ok()?.into_parts();
        let context =
            Context::new().with_file_read(TokioFileRead).with_env(OsEnv).with_http_send(transport.clone());
        let signer = questions.signer.clone().with_context(context);
        let signing = async {
            let failed = |error| Error::new(ErrorKind::Unexpected, "not signed").set_source(error);
            signer.sign(&mut head, None).await.map_err(failed)
        };
        answer(signing).await.ok()?;
        // The client sets it by itself.
        head.headers.remove(http::header::HOST);
        match answer(transport.fetch(Request::from_parts(head, Buffer::new()))).await {
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
        let questions =
            |prefix: &str| Questions::new(of_keys("key", "secret", None), "region", prefix, false);
        for (prefix, path, bucket) in [
            ("", "/vaults/test/a", "/vaults"),
            ("x", "/vaults/x/test/a", "/vaults"),
            ("x/a b", "/vaults/x/a%20b/test/a", "/vaults"),
            ("x", "/x/test/a", "/"),
            ("", "/test/a", "/"),
            ("", "/below/a/gateway/vaults/test/a", "/below/a/gateway/vaults"),
        ] {
            assert_eq!(questions(prefix).bucket("test/a", path), Some(bucket), "{path}");
        }
        assert_eq!(questions("x/y").bucket("test/a", "/a"), None);
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
