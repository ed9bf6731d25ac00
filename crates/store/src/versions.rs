//! Older versions of objects, in stores that keep what is replaced or deleted: to bring back what somebody took away.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Lock, StoreError};

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object's name.
    pub name: String,
    /// What the store calls this version.
    pub id: String,
    /// When it came, by the store's clock.
    pub modified: SystemTime,
    /// Its length in bytes.
    pub size: u64,
    /// It is no bytes but says that the object was deleted.
    pub is_deletion: bool,
    /// It is the one that counts: what a read gives, or a deletion.
    pub is_current: bool,
}

/// A store that can be asked for older versions.
#[async_trait]
pub trait Versioned: Send + Sync {
    /// All versions of what is in a folder (such as `packs/`; empty for all), by name and for each name the newest first.
    /// In a place that keeps no versions, each object is its only one.
    async fn versions(&self, folder: &str) -> Result<Vec<Version>, StoreError>;

    /// Reads one version, of at most `size_max` bytes.
    async fn get_version(&self, version: &Version, size_max: u64) -> Result<Bytes, StoreError>;

    /// Removes one version for good; [`Kind::Locked`](crate::Kind::Locked) when a lock forbids it.
    async fn remove_version(&self, version: &Version) -> Result<(), StoreError>;

    /// Makes an older version the current one. Newer ones may stay behind as older versions; with `lock` what is
    /// current then is locked so, where the store can.
    async fn make_current(&self, version: &Version, lock: Option<Lock>) -> Result<(), StoreError>;
}

/// A store whose older versions can be had.
pub type WithVersions = Arc<dyn Versioned>;

/// Sorts by name and for each name the newest first.
#[cfg(feature = "locations")]
pub(crate) fn sort(versions: &mut [Version]) {
    versions.sort_by(|a, b| {
        let newer = |version: &Version| (!version.is_current, std::cmp::Reverse(version.modified));
        a.name.cmp(&b.name).then_with(|| newer(a).cmp(&newer(b)))
    });
}
