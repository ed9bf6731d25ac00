//! From a bucket's name and the usual settings to a store. Credentials come from where each ecosystem keeps them, and
//! from nowhere else; `look_up` is the environment, or what a test puts in its place.

use std::path::Path;

use opendal::services::{Azblob, Gcs, S3, Webdav};
use opendal::{Builder, OperationContext, Operator};

use super::survey::{self, Questions};
use super::{OpendalStore, refusal, wire};
use crate::location::{Bucket, LookUp, WebFolder};
use crate::{Kind, StoreError};

/// S3 and its kin. Without `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` it is Amazon's own.
pub(crate) fn s3(bucket: &Bucket, location: &str, look_up: LookUp<'_>) -> Result<OpendalStore, StoreError> {
    let set = |key: &str| look_up(key).filter(|value| !value.is_empty());
    let endpoint = set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"));
    let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
    let region = match (region, &endpoint) {
        (Some(region), _) => region,
        (None, Some(_)) => "us-east-1".to_owned(),
        (None, None) => {
            return Err(missing(location, "set AWS_REGION, or AWS_ENDPOINT_URL for a server of your own"));
        }
    };
    let mut builder = S3::default().bucket(&bucket.name).root(&bucket.prefix).region(&region);
    builder = match &endpoint {
        Some(endpoint) => builder.endpoint(endpoint),
        // Amazon's own names the bucket in the host, unless that would break its certificate.
        None if bucket.name.contains('.') => builder.endpoint("https://s3.amazonaws.com"),
        None => builder.endpoint("https://s3.amazonaws.com").enable_virtual_host_style(),
    };
    // Asking the machine for its role takes seconds where there is none: only on request.
    let asks_machine =
        set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("false"));
    if !asks_machine {
        builder = builder.disable_ec2_metadata();
    }
    let provider = match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(secret)) => {
            builder = builder.disable_config_load().access_key_id(&key).secret_access_key(&secret);
            let token = set("AWS_SESSION_TOKEN");
            if let Some(token) = &token {
                builder = builder.session_token(token);
            }
            survey::of_keys(&key, &secret, token.as_deref())
        }
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
            let profile = set("AWS_PROFILE");
            if let Some(profile) = &profile {
                builder = builder.profile(profile);
            }
            survey::of_files(profile.as_deref(), asks_machine)
        }
    };
    build(builder, location, Some(Questions::new(provider, &region, &bucket.prefix, endpoint.is_none())))
}

/// Azure Blob Storage.
pub(crate) fn azblob(
    bucket: &Bucket,
    location: &str,
    look_up: LookUp<'_>,
) -> Result<OpendalStore, StoreError> {
    let set = |key: &str| look_up(key).filter(|value| !value.is_empty());
    let mut builder = if let Some(connection) = set("AZURE_STORAGE_CONNECTION_STRING") {
        // The cause would repeat the text, which holds the key.
        Azblob::from_connection_string(&connection)
            .map_err(|_| missing(location, "AZURE_STORAGE_CONNECTION_STRING cannot be understood"))?
    } else {
        let Some(account) = set("AZURE_STORAGE_ACCOUNT") else {
            let reason = "AZURE_STORAGE_ACCOUNT (with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN) or AZURE_STORAGE_CONNECTION_STRING is not set";
            return Err(missing(location, reason));
        };
        let endpoint = set("AZURE_STORAGE_SERVICE_ENDPOINT")
            .unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
        let builder = Azblob::default().endpoint(&endpoint).account_name(&account);
        if let Some(key) = set("AZURE_STORAGE_KEY") {
            builder.account_key(&key)
        } else if let Some(token) = set("AZURE_STORAGE_SAS_TOKEN") {
            builder.sas_token(token.trim_start_matches('?'))
        } else if set("AZURE_CLIENT_ID").is_some() {
            builder
        } else {
            return Err(missing(location, "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN is not set"));
        }
    };
    builder = builder.container(&bucket.name).root(&bucket.prefix);
    build(builder, location, None)
}

/// Google Cloud Storage.
pub(crate) fn gcs(bucket: &Bucket, location: &str, look_up: LookUp<'_>) -> Result<OpendalStore, StoreError> {
    let set = |key: &str| look_up(key).filter(|value| !value.is_empty());
    let builder = Gcs::default().bucket(&bucket.name).root(&bucket.prefix).disable_config_load();
    let builder = if let Some(endpoint) = set("STORAGE_EMULATOR_HOST") {
        let endpoint = if endpoint.contains("://") { endpoint } else { format!("http://{endpoint}") };
        builder.endpoint(&endpoint).skip_signature()
    } else {
        let usual = || {
            let path = Path::new(&set("HOME")?).join(".config/gcloud/application_default_credentials.json");
            path.is_file().then(|| path.to_string_lossy().into_owned())
        };
        match set("GOOGLE_APPLICATION_CREDENTIALS").or_else(usual) {
            Some(path) if Path::new(&path).is_file() => builder.disable_vm_metadata().credential_path(&path),
            Some(_) => return Err(missing(location, "GOOGLE_APPLICATION_CREDENTIALS names no file")),
            // Whoever sets this wants the machine's own account.
            None if set("GCE_METADATA_HOST").is_some() => builder,
            None => return Err(missing(location, "GOOGLE_APPLICATION_CREDENTIALS is not set")),
        }
    };
    build(builder, location, None)
}

/// A folder on a WebDAV server.
pub(crate) fn webdav(
    folder: &WebFolder,
    location: &str,
    look_up: LookUp<'_>,
) -> Result<OpendalStore, StoreError> {
    let set = |key: &str| look_up(key).filter(|value| !value.is_empty());
    let scheme = if folder.is_encrypted { "https" } else { "http" };
    let builder = Webdav::default().endpoint(&format!("{scheme}://{}", folder.authority)).root(&folder.path);
    let builder = match (set("WEBDAV_USERNAME"), set("WEBDAV_PASSWORD")) {
        (Some(user), Some(password)) => builder.username(&user).password(&password),
        (None, None) => builder,
        (Some(_), None) => return Err(missing(location, "WEBDAV_PASSWORD is not set")),
        (None, Some(_)) => return Err(missing(location, "WEBDAV_USERNAME is not set")),
    };
    build(builder, location, None)
}

/// Only S3 has `questions`, and wants checksums: see [`wire::transport`].
fn build(
    builder: impl Builder,
    location: &str,
    questions: Option<Questions>,
) -> Result<OpendalStore, StoreError> {
    let other = |reason: String| StoreError::new(Kind::Other, "open", "", location).because(reason);
    let operator = Operator::new(builder).map_err(|error| {
        let kind = if error.kind() == opendal::ErrorKind::ConfigInvalid {
            Kind::UnknownLocation
        } else {
            Kind::Other
        };
        StoreError { kind, ..other(refusal::shown(&error)) }
    })?;
    let transport = wire::transport(questions.is_some()).map_err(|error| other(error.to_string()))?;
    let context = OperationContext::new().with_http_transport(transport);
    Ok(OpendalStore::with_questions(operator.with_context(context), location.to_owned(), questions))
}

/// A setting without which nobody can log in.
fn missing(location: &str, reason: &str) -> StoreError {
    StoreError::new(Kind::PermissionDenied, "open", "", location).because(reason)
}
