//! A mint behind a policy.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::{Granted, Granter, Mint, Permission};
use crate::{Kind, ObjectInfo, StoreError};

/// Who may do what.
pub trait Policy: Send + Sync + Debug {
    /// Whether a grant of this permission on this object may be given. [`Permission::Replace`] is given only for
    /// what the same one has put, or what is not there.
    fn allows(&self, permission: Permission, name: &str) -> bool;

    /// Whether the objects in this folder may be listed.
    fn allows_listing(&self, prefix: &str) -> bool;
}

/// Of what one has put, no more objects than this can be replaced.
const OWN_MAX: usize = 1024;

/// Gives the grants that a policy allows, to one who asks: one agent, one run. Until when that one may begin to write,
/// which whoever verifies what was written needs to know, is certain when it is [closed](Self::close). It remembers
/// which replaceable objects that one has put, because nobody may replace those of others.
#[derive(Debug)]
pub struct GuardedMint {
    mint: Arc<dyn Mint>,
    policy: Arc<dyn Policy>,
    valid_for: Duration,
    writes: Mutex<Writes>,
    /// Names that may be replaced, and that were not there when this one first got a grant to write them.
    own: Mutex<HashSet<String>>,
}

/// What was given to write.
#[derive(Debug, Default)]
struct Writes {
    /// When the last of it ends.
    end: Option<SystemTime>,
    /// Whether nothing more is given.
    is_closed: bool,
}

impl GuardedMint {
    /// Grants of `mint` that live for `valid_for`.
    pub fn new(mint: Arc<dyn Mint>, policy: Arc<dyn Policy>, valid_for: Duration) -> Self {
        Self { mint, policy, valid_for, writes: Mutex::default(), own: Mutex::default() }
    }

    /// Gives no grant to write any more, also to those who have asked already and wait. When the last one that was
    /// given ends, by the store's clock; nothing when none was given.
    pub fn close(&self) -> Option<SystemTime> {
        let mut writes = self.writes();
        writes.is_closed = true;
        writes.end
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, HashSet<String>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, operation: &'static str, object: &str) -> StoreError {
        let error = StoreError::new(Kind::PermissionDenied, operation, object, self.mint.location());
        error.because("whoever asks may not do that")
    }
}

#[async_trait]
impl Granter for GuardedMint {
    fn location(&self) -> String {
        self.mint.location()
    }

    async fn grant(&self, permission: Permission, name: &str) -> Result<Granted, StoreError> {
        if !self.policy.allows(permission, name) {
            return Err(self.refuse("grant access to", name));
        }
        let is_replaceable = self.policy.allows(Permission::Replace, name);
        let is_own = is_replaceable && self.own().contains(name);
        // The grant alone would not keep what is there from being replaced.
        if permission == Permission::Put || (permission == Permission::Replace && !is_own) {
            match self.mint.stat(name).await {
                Ok(_) if permission == Permission::Put => return Ok(Granted::AlreadyThere),
                Ok(_) => return Err(self.refuse("grant access to", name)),
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
            if is_replaceable && !is_own {
                let mut own = self.own();
                if own.len() >= OWN_MAX {
                    return Err(self.refuse("grant access to", name));
                }
                own.insert(name.to_owned());
            }
        }
        let grant = self.mint.grant(permission, name, self.valid_for).await?;
        if permission.writes() {
            let mut writes = self.writes();
            if writes.is_closed {
                return Err(self.refuse("grant access to", name));
            }
            writes.end = writes.end.max(Some(grant.expires));
        }
        Ok(Granted::Grant(grant))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        if !self.policy.allows_listing(prefix) {
            return Err(self.refuse("list", prefix));
        }
        self.mint.list(prefix).await
    }
}
