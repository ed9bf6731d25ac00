//! From what the user typed to a store.
//!
//! | location | store |
//! |---|---|
//! | `PATH`, `file:///PATH` | a folder of this machine |
//! | `swift://CONTAINER/PREFIX` | OpenStack Swift |
//! | `s3://BUCKET/PREFIX` | S3 and its kin |
//! | `azblob://CONTAINER/PREFIX` | Azure Blob Storage |
//! | `gcs://BUCKET/PREFIX`, `gs://…` | Google Cloud Storage |
//! | `sftp://USER@HOST:PORT/PATH` | a folder over SSH; `/~/PATH` begins at the user's home |
//! | `webdav://HOST:PORT/PATH`, `webdavs://…` | a folder on a WebDAV server, plain or encrypted |
//!
//! A location says where, never with which right: a password or key in it is refused, and so is a query. Credentials
//! are taken from where each ecosystem keeps them; see [`Location::open`].

mod url;

use std::fmt;
use std::path::PathBuf;
#[cfg(feature = "locations")]
use std::sync::Arc;
#[cfg(feature = "locations")]
use std::time::Duration;

#[cfg(feature = "locations")]
use crate::grant::Mint;
#[cfg(feature = "locations")]
use crate::networked::Networked;
#[cfg(feature = "locations")]
use crate::survey::{Surveyed, WithSurvey};
#[cfg(feature = "locations")]
use crate::versions::WithVersions;
#[cfg(feature = "locations")]
use crate::{
    FolderStore, OpendalStore, Patience, Retrying, SftpStore, Store, SwiftCredentials, SwiftStore, Waits,
    network, opendal_store,
};
use crate::{Kind, StoreError};
use url::{bucket, encode_percent, file, sftp, split_scheme, web_folder};

/// The schemes that a location may have now; one without a scheme is a path.
pub const SCHEMES: &[&str] = &["file", "swift", "s3", "sftp", "azblob", "gcs", "gs", "webdav", "webdavs"];

#[cfg(feature = "locations")]
/// Finds a setting by the name of its environment variable.
pub type LookUp<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// A place where a store is or can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A container of OpenStack Swift.
    Swift(Bucket),
    /// A bucket of S3 or its kin.
    S3(Bucket),
    /// A container of Azure Blob Storage.
    Azblob(Bucket),
    /// A bucket of Google Cloud Storage.
    Gcs(Bucket),
    /// A folder that is reached over SSH.
    Sftp(SshFolder),
    /// A folder on a WebDAV server.
    Webdav(WebFolder),
}

/// A bucket or container, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What all names in it begin with, without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
}

/// A folder behind an SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshFolder {
    /// Who logs in; without, whom the SSH configuration names.
    pub user: Option<String>,
    /// The server: a name, an address, or a name in the SSH configuration.
    pub host: String,
    /// Without, the one of the SSH configuration.
    pub port: Option<u16>,
    /// Absolute, or relative to the user's home.
    pub path: String,
}

/// A folder on a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebFolder {
    /// Whether TLS is used.
    pub is_encrypted: bool,
    /// `HOST` or `HOST:PORT`.
    pub authority: String,
    /// Without slashes at its ends; empty for the server's root.
    pub path: String,
}

impl Location {
    /// Understands a path or a URL. The error never repeats what may hold a password.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Err(refuse("(empty)", "no location was given"));
        }
        let Some((scheme, rest)) = split_scheme(text) else { return Ok(Self::Folder(text.into())) };
        let lower = scheme.to_ascii_lowercase();
        let parsed = match &*lower {
            "file" => file(rest).map(Self::Folder),
            "swift" => bucket(rest).map(Self::Swift),
            "s3" => bucket(rest).map(Self::S3),
            "azblob" => bucket(rest).map(Self::Azblob),
            "gcs" | "gs" => bucket(rest).map(Self::Gcs),
            "sftp" => sftp(rest).map(Self::Sftp),
            "webdav" | "webdavs" => web_folder(rest, lower == "webdavs").map(Self::Webdav),
            _ => {
                let known = SCHEMES.join(", ");
                let reason = format!(
                    "the scheme '{scheme}' is not available; available are a plain path and: {known}"
                );
                return Err(refuse(&format!("{scheme}://…"), &reason));
            }
        };
        parsed.map_err(|reason| refuse(&format!("{scheme}://…"), reason))
    }
}

#[cfg(feature = "locations")]
impl Location {
    /// Opens the store that is there. Credentials come from the environment and from the files that it names:
    ///
    /// * Swift: `OS_CLOUD` with `clouds.yaml`, or `OS_AUTH_URL` and the other `OS_…` (Keystone v3), or `ST_AUTH`,
    ///   `ST_USER` and `ST_KEY` (v1); see [`SwiftCredentials`](crate::SwiftCredentials).
    /// * S3: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; without them `AWS_PROFILE` and
    ///   `~/.aws`. `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_REGION` and `AWS_DEFAULT_REGION` say where. The
    ///   machine's own role is asked for only when `AWS_EC2_METADATA_DISABLED` is `false`.
    /// * SFTP: the `ssh` command with its configuration and its agent.
    /// * Azure: `AZURE_STORAGE_CONNECTION_STRING`, or `AZURE_STORAGE_ACCOUNT` with `AZURE_STORAGE_KEY` or
    ///   `AZURE_STORAGE_SAS_TOKEN`.
    /// * Google: `GOOGLE_APPLICATION_CREDENTIALS`, or what `gcloud auth application-default login` keeps.
    /// * WebDAV: `WEBDAV_USERNAME` and `WEBDAV_PASSWORD`.
    ///
    /// Waits for the server: not for asynchronous code. [`Kind::NotFound`] when there is no such folder or bucket,
    /// [`Kind::PermissionDenied`] when credentials are missing (the cause names the variable) or refused.
    pub fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.open_with(&environment)
    }

    /// Opens the store that is there; one on another machine is waited for, now and in all that is asked of it later.
    /// `waits` hears of each failure before it is tried again to open it, and later of calls that fail several times.
    /// The settings are those of `look_up`.
    pub fn open_patiently_with(
        &self,
        look_up: LookUp<'_>,
        patience: Patience,
        waits: &Waits,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let opened = patience.repeat(waits, || self.open_within(look_up, patience.silence()))?;
        Ok(patient(opened, patience, waits))
    }

    /// Like [`open_patiently_with`](Self::open_patiently_with) for whoever has used the store before: in a bucket or
    /// container nothing is asked for. Whether it is there, and whether the credentials are right, shows at the first
    /// use.
    pub fn open_known_with(
        &self,
        look_up: LookUp<'_>,
        patience: Patience,
        waits: &Waits,
    ) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Swift(Bucket { name, prefix }) => {
                let credentials = SwiftCredentials::find(look_up)?;
                let store = SwiftStore::known(name, prefix, credentials, patience.silence())?;
                Ok(patient(Arc::new(Networked::new(store)), patience, waits))
            }
            Self::S3(_) | Self::Azblob(_) | Self::Gcs(_) => {
                Ok(patient(Arc::new(self.remote(look_up)?), patience, waits))
            }
            Self::Folder(_) | Self::Sftp(_) | Self::Webdav(_) => {
                self.open_patiently_with(look_up, patience, waits)
            }
        }
    }

    /// Like [`create_with`](Self::create_with), and waits as [`open_patiently_with`](Self::open_patiently_with) does.
    pub fn create_patiently_with(
        &self,
        look_up: LookUp<'_>,
        patience: Patience,
        waits: &Waits,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let made = patience.repeat(waits, || self.create_within(look_up, patience.silence()))?;
        Ok(patient(made, patience, waits))
    }

    /// Makes the place for a store where there is none, and opens it. A container of Swift and a bucket of S3 are made as
    /// the server makes them when nothing is asked for: private, without versions and without locks. One of Azure or
    /// Google is never made: where it is missing that is said.
    pub fn create(&self) -> Result<Arc<dyn Store>, StoreError> {
        self.create_with(&environment)
    }

    /// Like [`open`](Self::open), with the settings of `look_up` in place of the environment.
    pub fn open_with(&self, look_up: LookUp<'_>) -> Result<Arc<dyn Store>, StoreError> {
        self.open_within(look_up, Patience::default().silence())
    }

    /// Like [`create`](Self::create), with the settings of `look_up` in place of the environment.
    pub fn create_with(&self, look_up: LookUp<'_>) -> Result<Arc<dyn Store>, StoreError> {
        self.create_within(look_up, Patience::default().silence())
    }

    /// `silence` is how long nothing may move on a connection; the stores of OpenDAL and of SSH have limits of their
    /// own.
    fn open_within(&self, look_up: LookUp<'_>, silence: Duration) -> Result<Arc<dyn Store>, StoreError> {
        Ok(self.open_surveyed_within(look_up, silence)?.0)
    }

    /// Opens the store that is there, with who can be asked what it offers; as [`open`](Self::open) does.
    pub fn open_surveyed(&self) -> Result<WithSurvey, StoreError> {
        self.open_surveyed_with(&environment)
    }

    /// Like [`open_surveyed`](Self::open_surveyed), with the settings of `look_up` in place of the environment.
    pub fn open_surveyed_with(&self, look_up: LookUp<'_>) -> Result<WithSurvey, StoreError> {
        self.open_surveyed_within(look_up, Patience::default().silence())
    }

    fn open_surveyed_within(&self, look_up: LookUp<'_>, silence: Duration) -> Result<WithSurvey, StoreError> {
        match self {
            Self::Folder(path) => Ok(both(FolderStore::open(path)?)),
            Self::Swift(Bucket { name, prefix }) => {
                let (name, prefix, credentials) =
                    (name.clone(), prefix.clone(), SwiftCredentials::find(look_up)?);
                let opened =
                    async move { SwiftStore::open_within(&name, &prefix, credentials, silence).await };
                Ok(both(Networked::new(self.wait(opened)?)))
            }
            Self::Sftp(folder) => {
                let store = SftpStore::new(folder, self.to_string(), look_up);
                Ok(both(self.wait(async move { store.check().await.map(|()| store) })?))
            }
            _ => {
                let store = self.remote(look_up)?;
                Ok(both(self.wait(async move { store.check().await.map(|()| store) })?))
            }
        }
    }

    fn create_within(&self, look_up: LookUp<'_>, silence: Duration) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Folder(path) => Ok(Arc::new(FolderStore::create(path)?)),
            Self::Swift(Bucket { name, prefix }) => {
                let (name, prefix, credentials) =
                    (name.clone(), prefix.clone(), SwiftCredentials::find(look_up)?);
                let made =
                    async move { SwiftStore::create_within(&name, &prefix, credentials, silence).await };
                Ok(Arc::new(Networked::new(self.wait(made)?)))
            }
            Self::Webdav(_) => {
                let store = self.remote(look_up)?;
                Ok(Arc::new(self.wait(async move { store.create_folder().await.map(|()| store) })?))
            }
            Self::Sftp(folder) => {
                let store = SftpStore::new(folder, self.to_string(), look_up);
                Ok(Arc::new(self.wait(async move { store.create().await.map(|()| store) })?))
            }
            Self::S3(_) => {
                let store = self.remote(look_up)?;
                let made = async move {
                    match store.check().await {
                        Err(error) if error.kind == Kind::NotFound => store.create_bucket().await?,
                        checked => checked?,
                    }
                    Ok(store)
                };
                Ok(Arc::new(self.wait(made)?))
            }
            Self::Azblob(bucket) | Self::Gcs(bucket) => {
                self.open_within(look_up, silence).map_err(|error| match error.kind {
                    Kind::NotFound => StoreError { operation: "create", ..error }.because(format!(
                        "there is no bucket or container '{}': make it with the service's own tools first",
                        bucket.name
                    )),
                    _ => error,
                })
            }
        }
    }

    /// Opens the store that is there as one that gives grants: Swift and S3 can. [`Kind::UnknownLocation`] for all
    /// others.
    pub fn open_mint(&self) -> Result<Arc<dyn Mint>, StoreError> {
        self.open_mint_with(&environment)
    }

    /// Like [`open_mint`](Self::open_mint), with the settings of `look_up` in place of the environment.
    pub fn open_mint_with(&self, look_up: LookUp<'_>) -> Result<Arc<dyn Mint>, StoreError> {
        match self {
            Self::Swift(Bucket { name, prefix }) => {
                let (name, prefix, credentials) =
                    (name.clone(), prefix.clone(), SwiftCredentials::find(look_up)?);
                let opened = async move { SwiftStore::open(&name, &prefix, credentials).await };
                Ok(Arc::new(Networked::new(self.wait(opened)?)))
            }
            Self::S3(_) => {
                let store = self.remote(look_up)?;
                Ok(Arc::new(self.wait(async move { store.check().await.map(|()| store) })?))
            }
            _ => Err(refuse(&self.to_string(), "only Swift and S3 let others in by grants")),
        }
    }

    /// Opens the store that is there as one whose older versions can be had: Swift and S3. [`Kind::Unsupported`] for all
    /// others.
    pub fn open_versioned(&self) -> Result<WithVersions, StoreError> {
        self.open_versioned_with(&environment)
    }

    /// Like [`open_versioned`](Self::open_versioned), with the settings of `look_up` in place of the environment.
    pub fn open_versioned_with(&self, look_up: LookUp<'_>) -> Result<WithVersions, StoreError> {
        match self {
            Self::Swift(Bucket { name, prefix }) => {
                let (name, prefix, credentials) =
                    (name.clone(), prefix.clone(), SwiftCredentials::find(look_up)?);
                let opened = async move { SwiftStore::open(&name, &prefix, credentials).await };
                Ok(Arc::new(Networked::new(self.wait(opened)?)))
            }
            Self::S3(_) => {
                let store = self.remote(look_up)?;
                Ok(Arc::new(self.wait(async move { store.check().await.map(|()| store) })?))
            }
            _ => {
                let error =
                    StoreError::new(Kind::Unsupported, "ask for older versions in", "", self.to_string());
                Err(error.because("only Swift and S3 keep versions that can be asked for"))
            }
        }
    }

    fn remote(&self, look_up: LookUp<'_>) -> Result<OpendalStore, StoreError> {
        let shown = self.to_string();
        match self {
            Self::S3(bucket) => opendal_store::s3(bucket, &shown, look_up),
            Self::Azblob(bucket) => opendal_store::azblob(bucket, &shown, look_up),
            Self::Gcs(bucket) => opendal_store::gcs(bucket, &shown, look_up),
            Self::Webdav(folder) => opendal_store::webdav(folder, &shown, look_up),
            Self::Folder(_) | Self::Swift(_) | Self::Sftp(_) => Err(refuse(&shown, "it is not a bucket")),
        }
    }

    fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        network::wait(future).unwrap_or_else(|error| {
            Err(StoreError::new(Kind::Other, "open", "", self.to_string()).because(error))
        })
    }
}

/// As it may be typed, for messages; it holds no credentials.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = |scheme: &str, bucket: &Bucket| {
            let slash = if bucket.prefix.is_empty() { "" } else { "/" };
            format!("{scheme}://{}{slash}{}", bucket.name, encode_percent(&bucket.prefix))
        };
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Swift(place) => f.write_str(&bucket("swift", place)),
            Self::S3(place) => f.write_str(&bucket("s3", place)),
            Self::Azblob(place) => f.write_str(&bucket("azblob", place)),
            Self::Gcs(place) => f.write_str(&bucket("gcs", place)),
            Self::Sftp(SshFolder { user, host, port, path }) => {
                f.write_str("sftp://")?;
                user.as_ref().map_or(Ok(()), |user| write!(f, "{user}@"))?;
                if host.contains(':') { write!(f, "[{host}]") } else { f.write_str(host) }?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
                let home = if path.starts_with('/') { "" } else { "/~/" };
                write!(f, "{home}{}", encode_percent(path))
            }
            Self::Webdav(WebFolder { is_encrypted, authority, path }) => {
                let scheme = if *is_encrypted { "webdavs" } else { "webdav" };
                write!(f, "{scheme}://{authority}/{}", encode_percent(path))
            }
        }
    }
}

#[cfg(feature = "locations")]
/// Opens the store at a path or URL; see [`Location::open`].
pub fn open_url(location: &str) -> Result<Arc<dyn Store>, StoreError> {
    Location::parse(location)?.open()
}

#[cfg(feature = "locations")]
/// Makes the place at a path or URL if it is missing, and opens it; see [`Location::create`].
pub fn create_url(location: &str) -> Result<Arc<dyn Store>, StoreError> {
    Location::parse(location)?.create()
}

#[cfg(feature = "locations")]
fn both<S: Store + Surveyed + 'static>(store: S) -> WithSurvey {
    let store = Arc::new(store);
    (store.clone(), store)
}

#[cfg(feature = "locations")]
/// What is far away may fail for a while: then it is asked again.
fn patient(store: Arc<dyn Store>, patience: Patience, waits: &Waits) -> Arc<dyn Store> {
    match store.is_remote() {
        true => Arc::new(Retrying::new(store, patience).telling(waits.clone())),
        false => store,
    }
}

#[cfg(feature = "locations")]
fn environment(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

fn refuse(shown: &str, reason: &str) -> StoreError {
    StoreError::new(Kind::UnknownLocation, "find", "", shown).because(reason)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn paths_and_file_urls() {
        for (text, path) in [
            ("/srv/vault", "/srv/vault"),
            ("vault", "vault"),
            ("./a://b", "./a://b"),
            ("C:\\vault", "C:\\vault"),
            ("file:///srv/my%20vault", "/srv/my vault"),
            ("FILE:///srv", "/srv"),
            ("file://localhost/srv", "/srv"),
            ("/100%", "/100%"),
        ] {
            assert_eq!(Location::parse(text).unwrap(), Location::Folder(path.into()), "{text}");
        }
    }

    #[test]
    fn other_locations_are_refused_without_their_secrets() {
        let error = Location::parse("ftp://key:secret@host/bucket?token=secret").unwrap_err();
        assert_eq!(error.kind, Kind::UnknownLocation);
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("'ftp'") && cause.contains("file"), "{cause}");
        assert!(!format!("{error} {cause} {error:?}").contains("secret"));
        for text in ["", "file://srv/vault", "file:///a%2", "file:///a%zz"] {
            assert_eq!(Location::parse(text).unwrap_err().kind, Kind::UnknownLocation, "{text}");
        }
    }

    #[test]
    fn open_needs_the_folder_and_create_makes_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        let url = format!("file://{}", path.display());
        let error = open_url(&url).unwrap_err();
        assert_eq!((error.kind, error.object.as_str()), (Kind::NotFound, ""));
        create_url(&url).unwrap();
        open_url(path.to_str().unwrap()).unwrap();
    }
}
