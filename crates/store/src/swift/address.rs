//! Names of containers and objects, and how they look in a URL.

use reqwest::Url;

use crate::Kind;
use crate::name::NAME_BYTES_MAX;
use crate::web::Failure;

/// The longest container name of Swift, in bytes.
const CONTAINER_BYTES_MAX: usize = 256;
/// The longest prefix, in bytes: what Swift's 1,024 leave to a name of ours and a slash.
const PREFIX_BYTES_MAX: usize = 1024 - NAME_BYTES_MAX - 1;

/// Where in an account a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    container: String,
    /// Empty, or ends with a slash.
    prefix: String,
}

impl Address {
    /// Checks both. Slashes around the prefix do not matter.
    pub(super) fn new(container: &str, prefix: &str) -> Result<Self, Failure> {
        let refuse = |reason: &str| Err(Failure::new(Kind::UnknownLocation, reason));
        let prefix = prefix.trim_matches('/');
        // A URL cannot hold these, however they are written: they would lead to another container.
        let is_step = |component: &str| component == "." || component == "..";
        if container.is_empty() || container.contains('/') || is_step(container) {
            return refuse("a Swift location names a container: swift://CONTAINER/PREFIX");
        }
        if prefix
            .split('/')
            .any(|component| is_step(component) || (component.is_empty() && !prefix.is_empty()))
        {
            return refuse("a component of the prefix is empty, '.' or '..'");
        }
        if container.len() > CONTAINER_BYTES_MAX || prefix.len() > PREFIX_BYTES_MAX {
            return refuse("the container may have 256 bytes and the prefix 511");
        }
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Self { container: container.to_owned(), prefix: format!("{prefix}{slash}") })
    }

    /// As the user would type it.
    pub(super) fn location(&self) -> String {
        let (container, prefix) = (encode(&self.container), encode(self.prefix.trim_end_matches('/')));
        if prefix.is_empty() {
            format!("swift://{container}")
        } else {
            format!("swift://{container}/{prefix}")
        }
    }

    /// The object's whole name in the container.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The name in this store of an object of the container.
    pub(super) fn own_name<'a>(&self, full_name: &'a str) -> Option<&'a str> {
        full_name.strip_prefix(&self.prefix)
    }

    /// The container below a storage URL.
    pub(super) fn container_url(&self, storage: &str) -> Result<Url, Failure> {
        parse(&format!("{}/{}", storage.trim_end_matches('/'), encode(&self.container)))
    }

    /// The path of an object below the path of a storage URL, without percent signs.
    pub(super) fn plain_path(&self, storage_path: &str, name: &str) -> String {
        format!("{}/{}/{}", storage_path.trim_end_matches('/'), self.container, self.full_name(name))
    }

    /// An object as the source of a copy.
    pub(super) fn copy_source(&self, name: &str) -> String {
        format!("/{}/{}", encode(&self.container), encode(&self.full_name(name)))
    }

    /// An object below a storage URL.
    pub(super) fn object_url(&self, storage: &str, name: &str) -> Result<Url, Failure> {
        let (container, object) = (encode(&self.container), encode(&self.full_name(name)));
        parse(&format!("{}/{container}/{object}", storage.trim_end_matches('/')))
    }
}

/// A URL of a setting or a server, which has to be one of HTTP.
pub(super) fn parse(text: &str) -> Result<Url, Failure> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        // The text may hold a password.
        _ => Err(Failure::new(
            Kind::UnknownLocation,
            "a URL of Swift or Keystone is no http:// or https:// URL",
        )),
    }
}

/// Percent signs for everything but letters, digits, `-._~` and slashes.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_odd_names() {
        let address = Address::new("my box", "/ä?#%/b c/").unwrap();
        assert_eq!(address.location(), "swift://my%20box/%C3%A4%3F%23%25/b%20c");
        let storage = "https://host:8080/v1/AUTH_a/";
        assert_eq!(address.container_url(storage).unwrap().as_str(), "https://host:8080/v1/AUTH_a/my%20box");
        assert_eq!(
            address.object_url(storage, "packs/0f").unwrap().as_str(),
            "https://host:8080/v1/AUTH_a/my%20box/%C3%A4%3F%23%25/b%20c/packs/0f"
        );
        assert_eq!(address.own_name("ä?#%/b c/packs/0f"), Some("packs/0f"));
        assert_eq!(address.own_name("other"), None);
        let bare = Address::new("box", "").unwrap();
        assert_eq!((bare.location().as_str(), bare.full_name("a").as_str()), ("swift://box", "a"));
    }

    #[test]
    fn what_cannot_be_addressed() {
        for (container, prefix) in
            [("", ""), ("a/b", ""), ("..", ""), ("a", "b/../c"), ("a", "."), ("a", "b//c")]
        {
            assert!(Address::new(container, prefix).is_err(), "{container} {prefix}");
        }
        assert!(Address::new(&"c".repeat(257), "").is_err());
        assert!(Address::new("c", &"p".repeat(512)).is_err());
        Address::new(&"c".repeat(256), &"p".repeat(511)).unwrap();
        for text in ["", "host", "ftp://host/", "file:///etc", "http://"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
