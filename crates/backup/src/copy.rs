//! Copying a vault to another place: the custodian's work, for which no key is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::Store;
use vault::copy::{self, Alarm, Due, Options, Report};
use vault::{ObjectHash, SnapshotId, lease, name};

use crate::vault_access::new_runtime;
use crate::{Error, Progress};

/// How often a copy looks whether it is to end early.
const LOOK: Duration = Duration::from_millis(500);

/// What to copy.
#[derive(Clone, Debug, Default)]
pub struct CopyRequest {
    /// Only these snapshots; all when `None`.
    pub snapshots: Option<Vec<SnapshotId>>,
    /// Read back what was copied, and compare.
    pub verify: bool,
    /// Only look.
    pub dry_run: bool,
}

/// Copies what is in `source` to `target`.
pub fn copy(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    request: &CopyRequest,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let CopyRequest { snapshots, verify, dry_run } = request.clone();
    let options = Options { snapshots, verify, dry_run, ..Options::default() };
    let alarms = Alarms::default();
    let random = &mut content::random::identity;
    let timer = || alarms.next();
    let copying = copy::copy(source, target, &options, &timer, random, progress.as_ref());
    Ok(new_runtime()?.block_on(copying)?)
}

/// Finds snapshots in a store by the beginnings of their ids: no key is needed for that.
pub fn find_by_id(store: &Arc<dyn Store>, prefixes: &[String]) -> Result<Vec<SnapshotId>, Error> {
    let listed = new_runtime()?.block_on(store.list(name::SNAPSHOTS))?;
    let ids =
        listed.iter().filter_map(|object| ObjectHash::from_hex(object.name.strip_prefix(name::SNAPSHOTS)?));
    let ids: Vec<_> = ids.collect();
    let find = |prefix: &String| {
        let lower = prefix.to_ascii_lowercase();
        let mut meant = ids.iter().filter(|id| !lower.is_empty() && id.to_string().starts_with(&lower));
        match (meant.next(), meant.count()) {
            (Some(id), 0) => Ok(*id),
            (None, _) => Err(Error::NoSuchSnapshot(prefix.clone())),
            (Some(_), more) => Err(Error::AmbiguousSnapshot { text: prefix.clone(), count: more + 1 }),
        }
    };
    prefixes.iter().map(find).collect()
}

/// Alarms by the runtime's clock.
#[derive(Debug, Default)]
pub(crate) struct Alarms(AtomicU64);

impl Alarms {
    pub(crate) fn next(&self) -> Alarm {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let renewals = lease::DURATION.as_millis() / 3 / LOOK.as_millis();
        let due = if u128::from(count) % renewals == 0 { Due::Renewal } else { Due::Look };
        Box::pin(async move {
            tokio::time::sleep(LOOK).await;
            due
        })
    }
}
