//! What a store offers beyond the contract, and what it does not: what protects objects from who holds the credential,
//! and what saves requests.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{FolderStore, SftpStore, Store};

/// What a store offers; `None` is what nobody could find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whether the store itself refuses to write what is there already. Else a `put` looks before it writes.
    pub creates_only: Option<bool>,
    /// Whether it keeps what is replaced or deleted as an older version.
    pub keeps_versions: Option<bool>,
    /// Whether objects can be locked against being deleted.
    pub locks: Option<bool>,
    /// For how many days every new object is locked; 0 when only those that somebody locks.
    pub lock_days: Option<u64>,
    /// Whether others can be let in by grants, see [`grant`](crate::grant).
    pub gives_grants: Option<bool>,
}

/// Somebody who can be asked what a store offers.
#[async_trait]
pub trait Surveyed: Send + Sync {
    /// Asks. `object` is one that is there: a grant to look at it is tried. What cannot be found out, for want of rights
    /// or of an answer, is left open.
    async fn survey(&self, object: &str) -> Survey;

    /// Takes away a folder in which no objects are left, where folders are something of their own; one that is not empty
    /// stays. Whatever fails, nothing is worse than before.
    async fn remove_folder(&self, _folder: &str) {}
}

/// A store, and who can be asked what it offers.
pub type WithSurvey = (Arc<dyn Store>, Arc<dyn Surveyed>);

/// Whatever speaks to files: nothing but the rights of the files protects them.
const FILES: Survey = Survey {
    creates_only: Some(false),
    keeps_versions: Some(false),
    locks: Some(false),
    lock_days: None,
    gives_grants: Some(false),
};

#[async_trait]
impl Surveyed for FolderStore {
    /// What the file system may keep besides, snapshots perhaps, cannot be seen from here.
    async fn survey(&self, _object: &str) -> Survey {
        FILES
    }

    async fn remove_folder(&self, folder: &str) {
        FolderStore::remove_folder(self, folder).await;
    }
}

#[async_trait]
impl Surveyed for SftpStore {
    async fn survey(&self, _object: &str) -> Survey {
        FILES
    }

    async fn remove_folder(&self, folder: &str) {
        SftpStore::remove_folder(self, folder).await;
    }
}
