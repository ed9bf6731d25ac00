//! Whose clock counts: the store's, because it is one for all machines and no writer can turn it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use store::{Kind, Store};

use crate::error::VaultError;
use crate::header::ObjectKind;
use crate::name;

/// The moment by the store's clock: what it says of a small object that is written for that and deleted again.
pub async fn store_clock(store: &dyn Store) -> Result<SystemTime, VaultError> {
    // Only what would be a lease may come and go. Without a content it is none.
    let name = format!("{}{}", name::LEASES, unique_name());
    store.put(&name, vec![ObjectKind::Lease.header().to_vec().into()]).await?;
    let stat = store.stat(&name).await;
    store.discard(&name).await?;
    Ok(stat?.modified)
}

/// The same, or this machine's own clock where the store takes no writes: good enough for who only looks.
pub async fn store_clock_or_own(store: &dyn Store) -> Result<SystemTime, VaultError> {
    match store_clock(store).await {
        Err(VaultError::Store(error)) if takes_no_writes(error.kind) => Ok(SystemTime::now()),
        outcome => outcome,
    }
}

/// Whether an error of this kind says that the store takes no writes, be it from this user or now.
pub fn takes_no_writes(kind: Kind) -> bool {
    matches!(kind, Kind::PermissionDenied | Kind::ReadOnly | Kind::NoSpace | Kind::Unsupported)
}

/// 32 hex digits that nobody else chooses. They guard nothing.
fn unique_name() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// Seconds since 1970 (UTC), rounded down.
pub fn seconds(moment: SystemTime) -> i64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            -whole - i64::from(before.subsec_nanos() > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_clock_is_read_and_nothing_stays_behind() {
        let store = store::MemoryStore::new();
        let before = SystemTime::now();
        let now = store_clock(&store).await.unwrap();
        assert!(before <= now && now <= SystemTime::now());
        assert!(store.list("").await.unwrap().is_empty());
    }

    #[test]
    fn names_differ_and_have_32_digits() {
        let (one, other) = (unique_name(), unique_name());
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
    }

    #[test]
    fn seconds_are_rounded_down() {
        assert_eq!(seconds(UNIX_EPOCH + Duration::from_millis(1999)), 1);
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_millis(1)), -1);
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_secs(2)), -2);
    }
}
