//! S3 and its kin: from the usual settings to a store, and what OpenDAL does not know of it.
//!
//! OpenDAL has one storage class for all that an operator writes, so there is an operator for each class that is asked
//! for. Requests that it never makes are signed here by the signer that it uses, and go over the same connections.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use http::Request;
use http::header::HOST;
use opendal::services::S3;
use opendal::{Buffer, Error, ErrorKind, HttpTransporter, Operator};
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;

use super::OpendalStore;
use super::place::{build, missing};
use crate::location::{Bucket, LookUp};
use crate::{Kind, StorageClass, StoreError};

/// S3 and its kin. Without `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` it is Amazon's own.
pub(crate) fn s3(bucket: &Bucket, location: &str, look_up: LookUp<'_>) -> Result<OpendalStore, StoreError> {
    let server = Server::find(bucket, location, look_up)?;
    let operator = build(server.builder(), location, true)?;
    let signer = server.signer();
    let service = Service { server, location: location.to_owned(), signer, operators: Mutex::default() };
    Ok(OpendalStore::of_s3(operator, location, service))
}

/// All that a connection is made from.
struct Server {
    bucket: Bucket,
    region: String,
    endpoint: Option<String>,
    asks_machine: bool,
    keys: Keys,
}

enum Keys {
    Given {
        key: String,
        secret: String,
        token: Option<String>,
    },
    /// In `~/.aws`, or where the machine has them.
    Elsewhere {
        profile: Option<String>,
    },
}

impl Server {
    fn find(bucket: &Bucket, location: &str, look_up: LookUp<'_>) -> Result<Self, StoreError> {
        let set = |key: &str| look_up(key).filter(|value| !value.is_empty());
        let endpoint = set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"));
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                return Err(missing(
                    location,
                    "set AWS_REGION, or AWS_ENDPOINT_URL for a server of your own",
                ));
            }
        };
        // Asking the machine for its role takes seconds where there is none: only on request.
        let asks_machine =
            set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("false"));
        let keys = match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
            (Some(key), Some(secret)) => Keys::Given { key, secret, token: set("AWS_SESSION_TOKEN") },
            (Some(_), None) => return Err(missing(location, "AWS_SECRET_ACCESS_KEY is not set")),
            (None, Some(_)) => return Err(missing(location, "AWS_ACCESS_KEY_ID is not set")),
            (None, None) => {
                let home = set("HOME").unwrap_or_default();
                let file = |key: &str, usual: &str| {
                    set(key).map_or_else(|| Path::new(&home).join(usual), Into::into).is_file()
                };
                let has_other = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")
                    || file("AWS_CONFIG_FILE", ".aws/config")
                    || set("AWS_WEB_IDENTITY_TOKEN_FILE").is_some()
                    || set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").is_some()
                    || set("AWS_CONTAINER_CREDENTIALS_FULL_URI").is_some();
                if !has_other && !asks_machine {
                    let reason = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and there is no ~/.aws/credentials";
                    return Err(missing(location, reason));
                }
                Keys::Elsewhere { profile: set("AWS_PROFILE") }
            }
        };
        Ok(Self { bucket: bucket.clone(), region, endpoint, asks_machine, keys })
    }

    fn builder(&self) -> S3 {
        let Bucket { name, prefix } = &self.bucket;
        let mut builder = S3::default().bucket(name).root(prefix).region(&self.region);
        builder = match &self.endpoint {
            Some(endpoint) => builder.endpoint(endpoint),
            // Amazon's own names the bucket in the host, unless that would break its certificate.
            None if name.contains('.') => builder.endpoint("https://s3.amazonaws.com"),
            None => builder.endpoint("https://s3.amazonaws.com").enable_virtual_host_style(),
        };
        if !self.asks_machine {
            builder = builder.disable_ec2_metadata();
        }
        match &self.keys {
            Keys::Given { key, secret, token } => {
                builder = builder.disable_config_load().access_key_id(key).secret_access_key(secret);
                token.iter().fold(builder, |builder, token| builder.session_token(token))
            }
            Keys::Elsewhere { profile } => {
                profile.iter().fold(builder, |builder, profile| builder.profile(profile))
            }
        }
    }

    /// The signer that OpenDAL makes for itself of the same settings.
    fn signer(&self) -> Signer<Credential> {
        let mut usual = DefaultCredentialProvider::builder();
        if !self.asks_machine {
            usual = usual.no_imds();
        }
        let keys = ProvideCredentialChain::new();
        let keys = match &self.keys {
            Keys::Given { key, secret, token } => {
                let given = StaticCredentialProvider::new(key, secret);
                keys.push(token.iter().fold(given, |given, token| given.with_session_token(token)))
            }
            Keys::Elsewhere { profile } => {
                keys.push(profile.iter().fold(usual, |usual, profile| usual.with_profile(profile)).build())
            }
        };
        let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv);
        Signer::new(context, keys, RequestSigner::new("s3", &self.region))
    }
}

/// What a bucket of S3 has beside what OpenDAL knows of it.
pub(super) struct Service {
    server: Server,
    location: String,
    signer: Signer<Credential>,
    operators: Mutex<HashMap<StorageClass, Operator>>,
}

impl Service {
    /// Whether it is Amazon's own server.
    pub(super) fn is_amazons(&self) -> bool {
        self.server.endpoint.is_none()
    }

    /// Whether the server's name begins with the bucket's, and no address of an object has it.
    pub(super) fn names_bucket_in_host(&self) -> bool {
        self.is_amazons() && !self.bucket().contains('.')
    }

    /// The bucket's name.
    pub(super) fn bucket(&self) -> &str {
        &self.server.bucket.name
    }

    /// Where the bucket is.
    pub(super) fn region(&self) -> &str {
        &self.server.region
    }

    /// The folder in the bucket where the store is.
    pub(super) fn prefix(&self) -> &str {
        &self.server.bucket.prefix
    }

    /// Amazon's own has its own classes and no others.
    pub(super) fn check(&self, class: &StorageClass) -> Result<(), StoreError> {
        if !self.is_amazons() || class.is_amazons() {
            return Ok(());
        }
        let error = StoreError::new(Kind::Unsupported, "use", "", &self.location);
        Err(error.because(format!("Amazon S3 has no storage class '{class}'")))
    }

    /// An operator whose objects are of this class.
    pub(super) fn operator(&self, class: &StorageClass) -> Result<Operator, StoreError> {
        self.check(class)?;
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operator) = operators.get(class) {
            return Ok(operator.clone());
        }
        let builder = self.server.builder().default_storage_class(class.as_str());
        let operator = build(builder, &self.location, true)?;
        operators.insert(class.clone(), operator.clone());
        Ok(operator)
    }

    /// Signs a request that OpenDAL does not know. What was logged in with is kept.
    pub(super) async fn sign(
        &self,
        request: Request<Buffer>,
        transport: &HttpTransporter,
    ) -> opendal::Result<Request<Buffer>> {
        let (mut head, body) = request.into_parts();
        let context =
            Context::new().with_file_read(TokioFileRead).with_env(OsEnv).with_http_send(transport.clone());
        self.signer.clone().with_context(context).sign(&mut head, None).await.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "the request cannot be signed").set_source(error)
        })?;
        // The client sets it by itself.
        head.headers.remove(HOST);
        Ok(Request::from_parts(head, body))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("location", &self.location).finish_non_exhaustive()
    }
}
