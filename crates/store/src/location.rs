//! From what the user typed to a store.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{FolderStore, Kind, Store, StoreError, SwiftStore};

/// The schemes that a location may have now; one without a scheme is a path.
pub const SCHEMES: &[&str] = &["file", "swift"];

/// A place where a store is or can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A container of OpenStack Swift. The account and the credentials come from the environment.
    Swift {
        /// The container.
        container: String,
        /// What the objects' names begin with in the container; may be empty.
        prefix: String,
    },
}

impl Location {
    /// Understands a path or a URL. The error never repeats what may hold a password.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let refuse = |shown: &str, reason: String| {
            StoreError::new(Kind::UnknownLocation, "find", "", shown).because(reason)
        };
        if text.is_empty() {
            return Err(refuse("(empty)", "no location was given".to_owned()));
        }
        let Some((scheme, rest)) = split_scheme(text) else { return Ok(Self::Folder(text.into())) };
        if scheme.eq_ignore_ascii_case("swift") {
            return parse_swift(rest).map_err(|reason| refuse("swift://…", reason.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("file") {
            let known = SCHEMES.join(", ");
            return Err(refuse(
                &format!("{scheme}://…"),
                format!("the scheme '{scheme}' is not available; available are a plain path and: {known}"),
            ));
        }
        // `file://HOST/PATH`: the host is empty or this machine.
        let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(refuse(
                text,
                "a file URL has three slashes before the path: file:///PATH".to_owned(),
            ));
        }
        let bytes = decode_percent(path).ok_or_else(|| {
            refuse(text, "a percent sign in a URL is followed by two hex digits".to_owned())
        })?;
        Ok(Self::Folder(OsString::from_vec(bytes).into()))
    }

    /// Opens the store that is there.
    pub fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Folder(path) => Ok(Arc::new(FolderStore::open(path)?)),
            Self::Swift { container, prefix } => Ok(Arc::new(SwiftStore::open_blocking(container, prefix)?)),
        }
    }

    /// Makes the place for a store where there is none, and opens it.
    pub fn create(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Folder(path) => Ok(Arc::new(FolderStore::create(path)?)),
            Self::Swift { container, prefix } => {
                Ok(Arc::new(SwiftStore::create_blocking(container, prefix)?))
            }
        }
    }
}

/// For people. It holds no secret.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Swift { container, prefix } if prefix.is_empty() => write!(f, "swift://{container}"),
            Self::Swift { container, prefix } => write!(f, "swift://{container}/{prefix}"),
        }
    }
}

/// `CONTAINER/PREFIX` of a Swift URL, with percent signs for what is no plain text.
fn parse_swift(rest: &str) -> Result<Location, &'static str> {
    let text = decode_percent(rest).ok_or("a percent sign in a URL is followed by two hex digits")?;
    let text = String::from_utf8(text).map_err(|_| "the names in it are not UTF-8")?;
    let (container, prefix) = text.split_once('/').unwrap_or((&text, ""));
    if container.is_empty() {
        return Err("a Swift URL names a container: swift://CONTAINER/PREFIX");
    }
    Ok(Location::Swift { container: container.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
}

/// Opens the store at a path or URL.
pub fn open_url(location: &str) -> Result<Arc<dyn Store>, StoreError> {
    Location::parse(location)?.open()
}

/// Makes the place at a path or URL if it is missing, and opens it.
pub fn create_url(location: &str) -> Result<Arc<dyn Store>, StoreError> {
    Location::parse(location)?.create()
}

/// `scheme://rest`, when the text begins with what can be a scheme. A path such as `./a://b` has none.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let begins_with_letter = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    (begins_with_letter && scheme.bytes().all(letters)).then_some((scheme, rest))
}

fn decode_percent(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return Some(bytes),
            [b'%', high, low, rest @ ..] => {
                bytes.push(digit(*high)? << 4 | digit(*low)?);
                rest
            }
            [b'%', ..] => return None,
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
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
    fn swift_urls() {
        for (text, container, prefix) in [
            ("swift://box", "box", ""),
            ("Swift://box/", "box", ""),
            ("swift://my%20box/a/b/", "my box", "a/b"),
        ] {
            let location = Location::Swift { container: container.to_owned(), prefix: prefix.to_owned() };
            assert_eq!(Location::parse(text).unwrap(), location, "{text}");
        }
        for text in ["swift://", "swift:///a", "swift://a%2", "swift://%ff"] {
            assert_eq!(Location::parse(text).unwrap_err().kind, Kind::UnknownLocation, "{text}");
        }
    }

    #[test]
    fn other_locations_are_refused_without_their_secrets() {
        let error = Location::parse("s3://key:secret@host/bucket?token=secret").unwrap_err();
        assert_eq!(error.kind, Kind::UnknownLocation);
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("'s3'") && cause.contains("file"), "{cause}");
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
