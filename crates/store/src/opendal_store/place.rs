//! From a bucket's name and the usual settings to a store. Credentials come from where each ecosystem keeps them, and
//! from nowhere else; `look_up` is the environment, or what a test puts in its place.

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine};
use opendal::services::{Azblob, Gcs, Webdav};
use opendal::{Builder, OperationContext, Operator};

use super::{OpendalStore, refusal, wire};
use crate::location::{Bucket, LookUp, WebFolder};
use crate::{Kind, StoreError};

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
            if BASE64_STANDARD.decode(&key).is_err() {
                return Err(missing(location, "AZURE_STORAGE_KEY is no key: it is not base64"));
            }
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
    Ok(OpendalStore::new(build(builder, location, false)?, location))
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
    Ok(OpendalStore::new(build(builder, location, false)?, location))
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
    Ok(OpendalStore::new(build(builder, location, false)?, location))
}

/// `adds_checksums`: see [`wire::transport`].
pub(super) fn build(
    builder: impl Builder,
    location: &str,
    adds_checksums: bool,
) -> Result<Operator, StoreError> {
    let other = |reason: String| StoreError::new(Kind::Other, "open", "", location).because(reason);
    let operator = Operator::new(builder).map_err(|error| {
        let kind = if error.kind() == opendal::ErrorKind::ConfigInvalid {
            Kind::UnknownLocation
        } else {
            Kind::Other
        };
        StoreError { kind, ..other(refusal::shown(&error)) }
    })?;
    let transport = wire::transport(adds_checksums).map_err(|error| other(error.to_string()))?;
    let context = OperationContext::new().with_http_transport(transport);
    Ok(operator.with_context(context))
}

/// A setting without which nobody can log in.
pub(super) fn missing(location: &str, reason: &str) -> StoreError {
    StoreError::new(Kind::PermissionDenied, "open", "", location).because(reason)
}
