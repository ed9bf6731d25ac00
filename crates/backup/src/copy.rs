//! Copying a vault to another place: the custodian's work, for which no key is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use store::{StorageClass, Store};
use vault::copy::{self, Alarm, Due, Options, Report};
use vault::locking::Locking;
use vault::settings::LockSetting;
use vault::{ObjectHash, SnapshotId, VaultError, lease, name, settings};

use crate::cleanup::read_descriptor;
use crate::locks::require_locks;
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
    /// The storage class at the target for packs of data; as the settings say that count at the target when `None`.
    pub data_class: Option<Option<StorageClass>>,
    /// How what is copied is locked; as the settings say that count at the target when `None`.
    pub lock: Option<LockSetting>,
    /// Forget at the target what the source has forgotten for good.
    pub forget: bool,
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
    let CopyRequest { snapshots, verify, data_class, lock, forget, dry_run } = request.clone();
    let runtime = new_runtime()?;
    let asked = runtime.block_on(Asked::read(source, target))?;
    let data_class = data_class.unwrap_or(asked.data_class);
    data_class.iter().try_for_each(|class| target.check_class(class))?;
    let target = &match lock {
        Some(lock) => {
            runtime.block_on(require_locks(target))?;
            Locking::with(target.clone(), Some(lock))
        }
        None => Locking::with(target.clone(), asked.lock),
    };
    if let Some(class) = data_class.as_ref().filter(|class| verify && class.may_be_cold()) {
        let message = format!("what goes to the storage class {class} cannot be read back to be verified");
        return Err(Error::Setting(message));
    }
    let forget = match (forget, dry_run) {
        (false, _) => None,
        // A dry run writes nothing, and asking the store for its clock would.
        (true, true) => Some(SystemTime::now()),
        (true, false) => Some(runtime.block_on(clock_of(source, target))?),
    };
    let options = Options { snapshots, verify, data_class, forget, dry_run, ..Options::default() };
    let alarms = Alarms::default();
    let random = &mut content::random::identity;
    let timer = || alarms.next();
    let copying = copy::copy(source, target, &options, &timer, random, progress.as_ref());
    Ok(runtime.block_on(copying)?)
}

/// The source's clock; the target's where the source takes no writes. A machine's own clock makes nothing be forgotten.
async fn clock_of(source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> Result<SystemTime, Error> {
    match vault::store_clock(source.as_ref()).await {
        Err(VaultError::Store(error)) if vault::clock::takes_no_writes(error.kind) => {
            Ok(vault::store_clock(target.as_ref()).await?)
        }
        outcome => Ok(outcome?),
    }
}

/// What settings ask for at the target of a copy, as far as that can be had there: those that it was given, or those that
/// the copy brings.
#[derive(Debug, Default)]
struct Asked {
    /// The class for packs of data.
    data_class: Option<StorageClass>,
    /// How objects are locked.
    lock: Option<LockSetting>,
}

impl Asked {
    async fn read(source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> Result<Self, Error> {
        if !target.has_classes() && !target.has_locks() {
            return Ok(Self::default());
        }
        // Without one the copy says what is wrong.
        let Ok(descriptor) = read_descriptor(source).await else { return Ok(Self::default()) };
        let (vault, owner) = (descriptor.vault, &descriptor.owner);
        let own = settings::read_all(target.as_ref(), vault, owner).await?;
        let brought = settings::read_all(source.as_ref(), vault, owner).await?;
        let records = settings::at_target(own, brought);
        let data_class = settings::data_class(&descriptor, &records).filter(|_| target.has_classes());
        let lock = settings::lock_setting(&descriptor, &records).filter(|_| target.has_locks());
        // A vault that is locked may be copied to where nothing can be.
        let can_lock = lock.is_some() && target.can_lock().await?;
        Ok(Self { data_class, lock: lock.filter(|_| can_lock) })
    }
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
