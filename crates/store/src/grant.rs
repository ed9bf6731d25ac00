//! Grants: the right to do one thing with one object for some minutes, for those who have no credential.
//!
//! Whoever keeps the credential of a store is a [`Mint`] and makes grants: presigned URLs of S3, temporary URLs of
//! Swift. Who needs one asks a [`Granter`]. [`GuardedMint`] is both ends in one process: a mint behind a [`Policy`]. In
//! production, a client of the custodian's server is the granter and the server has the mint. `GrantStore` (feature
//! `grants`) is a [`Store`] that works through grants alone.
//!
//! **A grant is a password** for what it allows, until it ends. It cannot be taken back by itself.
//!
//! **A grant to put is no promise that nothing is replaced**, though every such grant demands `If-None-Match: *`. In
//! Swift the demand is left to whoever uses the grant. S3 signs it, so Amazon's refuses all requests without it; but
//! Ceph's gateway takes a header that nobody signed, `x-amz-copy-source`, and then copies over what is there (and what
//! it copies may be anything that the mint's credential can read: limit it to the vault). So whoever has stolen a grant
//! to put may replace that object for as long as the grant lives. Two things follow for the custodian: no grant to put
//! is given for a name that exists, which [`GuardedMint`] sees to; and what was written under grants is verified after
//! the last of them has ended, and after [`Settle::settle`].

#[cfg(feature = "grants")]
mod grant_store;
mod guarded_mint;
#[cfg(feature = "grants")]
mod seconds;

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::{ObjectInfo, Store, StoreError};
#[cfg(feature = "grants")]
pub use grant_store::GrantStore;
pub use guarded_mint::{GuardedMint, Policy};

/// The longest time that a grant may be asked for.
pub const VALID_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What may be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "grants", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Permission {
    /// Writing it where there is none, as [`Store::put`] does.
    Put,
    /// Writing it whether there is one or not, as [`Store::replace`] does.
    Replace,
    /// Reading its bytes.
    Get,
    /// Looking up its size and time.
    Head,
}

impl Permission {
    /// The method of HTTP.
    pub fn method(self) -> &'static str {
        match self {
            Self::Put | Self::Replace => "PUT",
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }

    /// Whether it changes the store.
    pub fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Replace)
    }
}

/// A header with a checksum of the body. It needs no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "grants",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Checksum {
    /// `ETag`: the MD5 in hex, of Swift; and its answer tells that of what it stored.
    Etag,
    /// `Content-MD5`: the MD5 in base64, of S3.
    ContentMd5,
}

/// The right to send one kind of request about one object until some time.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "grants", derive(serde::Serialize, serde::Deserialize))]
pub struct Grant {
    /// What it permits.
    pub permission: Permission,
    /// The object's name in the store.
    pub name: String,
    /// Where the request goes, with a signature in it: a secret.
    pub url: String,
    /// Headers that have to be sent, by name; their values may be secrets too.
    pub headers: Vec<(String, String)>,
    /// How the store is told what bytes to expect, so that it refuses those that were damaged on their way.
    #[cfg_attr(feature = "grants", serde(default, skip_serializing_if = "Option::is_none"))]
    pub checksum: Option<Checksum>,
    /// No request that begins later than this is accepted, by the store's clock. Whole seconds.
    #[cfg_attr(feature = "grants", serde(with = "seconds"))]
    pub expires: SystemTime,
}

/// Neither the signature nor what headers hold.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Grant")
            .field("permission", &self.permission)
            .field("name", &self.name)
            .field("url", &self.url.split(['?', '#']).next().unwrap_or_default())
            .field("headers", &headers)
            .field("checksum", &self.checksum)
            .field("expires", &self.expires)
            .finish()
    }
}

/// A store whose credential can sign grants.
#[async_trait]
pub trait Mint: Store + Settle {
    /// A grant that is good from now for `valid_for`, rounded up to whole seconds, by the store's clock. Nothing is
    /// asked of the store but what signing needs: the object need not be there.
    /// [`Kind::PermissionDenied`](crate::Kind::PermissionDenied) when there is no key to sign with.
    async fn grant(
        &self,
        permission: Permission,
        name: &str,
        valid_for: Duration,
    ) -> Result<Grant, StoreError>;
}

/// Ends what expired grants have begun.
#[async_trait]
pub trait Settle: Send + Sync {
    /// Makes sure that no write to the object that began before this call can take effect after it returns: an upload
    /// that was begun under a grant may come to its end long after the grant has; and that the object does not end by
    /// itself at a time that came with a write. Does nothing where there is no such thing. The object's bytes stay; its
    /// time may change.
    async fn settle(&self, name: &str) -> Result<(), StoreError>;
}

/// What is answered to who asks for a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "grants",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Granted {
    /// The grant.
    Grant(Grant),
    /// Only to [`Permission::Put`]: the object is there, so there is nothing to do.
    AlreadyThere,
}

/// Somebody who gives grants on some store, and lists what is in it.
#[async_trait]
pub trait Granter: Send + Sync + fmt::Debug {
    /// Where the objects are, for messages; never holds credentials.
    fn location(&self) -> String;

    /// A fresh grant; [`Kind::PermissionDenied`](crate::Kind::PermissionDenied) when the one who asks may not do that.
    async fn grant(&self, permission: Permission, name: &str) -> Result<Granted, StoreError>;

    /// As [`Store::list`].
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError>;
}

/// `valid_for` in whole seconds, rounded up; nothing when it is none or too much.
#[cfg(feature = "locations")]
pub(crate) fn whole_seconds(valid_for: Duration) -> Option<Duration> {
    let part = u64::from(valid_for.subsec_nanos() > 0);
    let whole = Duration::from_secs(valid_for.as_secs().saturating_add(part));
    (!whole.is_zero() && whole <= VALID_MAX).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_grant() -> Grant {
        Grant {
            permission: Permission::Put,
            name: "packs/ab".into(),
            url: "https://host/v1/a/c/packs/ab?temp_url_sig=5ec7e7&temp_url_expires=9".into(),
            headers: vec![("if-none-match".into(), "*".into()), ("authorization".into(), "5ec7e7".into())],
            checksum: Some(Checksum::ContentMd5),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(9),
        }
    }

    #[test]
    fn what_is_shown_of_a_grant_cannot_be_used() {
        let shown = format!("{:?} {:?}", a_grant(), Granted::Grant(a_grant()));
        assert!(shown.contains("packs/ab") && shown.contains("if-none-match") && !shown.contains("5ec7e7"));
    }

    #[cfg(feature = "grants")]
    #[test]
    fn a_grant_comes_back_from_its_text() {
        for granted in [Granted::Grant(a_grant()), Granted::AlreadyThere] {
            let text = serde_json::to_string(&granted).unwrap();
            assert_eq!(serde_json::from_str::<Granted>(&text).unwrap(), granted, "{text}");
        }
        let text = serde_json::to_string(&a_grant()).unwrap();
        assert!(
            text.contains("\"put\"") && text.contains("\"expires\":9") && text.contains("\"content_md5\""),
            "{text}"
        );
        let far = text.replace("\"expires\":9", "\"expires\":18446744073709551615");
        assert!(serde_json::from_str::<Grant>(&far).is_err());
    }

    #[cfg(feature = "locations")]
    #[test]
    fn the_life_of_a_grant_is_whole_seconds_and_bounded() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), Some(Duration::from_secs(1)));
        assert_eq!(whole_seconds(Duration::from_secs(7)), Some(Duration::from_secs(7)));
        assert_eq!(whole_seconds(VALID_MAX), Some(VALID_MAX));
        for refused in [Duration::ZERO, VALID_MAX + Duration::from_millis(1), Duration::MAX] {
            assert_eq!(whole_seconds(refused), None);
        }
    }
}
