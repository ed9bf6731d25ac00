//! Repairing a vault from a replica: the custodian's work. Naming the files that are lost is the owner's.

use std::sync::Arc;

use store::Store;
use vault::copy::{Alarm, Due};
use vault::lease;
use vault::locking::Locking;
use vault::repair::{self, Options, Report};

use crate::check::lost_files;
use crate::vault_access::{new_runtime, read_descriptor};
use crate::{Error, Progress, Vault};

/// How to repair.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairRequest {
    /// Read every pack that a snapshot needs, and not only those that are recorded as damaged.
    pub read_data: bool,
    /// Take what nobody has out of the index.
    pub salvage: bool,
    /// Only look.
    pub dry_run: bool,
}

/// A file that has lost some or all of its content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostFile {
    /// The snapshot.
    pub snapshot: vault::SnapshotId,
    /// The path in it, as raw bytes; of a directory that cannot be read, and so all that is below it, its own.
    pub path: Vec<u8>,
}

/// Repairs the vault in `store` with what `replica` has.
pub fn repair(
    store: &Arc<dyn Store>,
    replica: Option<&Arc<dyn Store>>,
    request: RepairRequest,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let RepairRequest { read_data, salvage, dry_run } = request;
    let options = Options { read_all: read_data, salvage, dry_run, ..Options::default() };
    let timer = || -> Alarm {
        Box::pin(async {
            tokio::time::sleep(lease::DURATION / 3).await;
            Due::Renewal
        })
    };
    let random = &mut content::random::identity;
    let runtime = new_runtime()?;
    // Without a descriptor nobody knows; what is put back unlocked then is locked by the next cleanup.
    let locking = match runtime.block_on(read_descriptor(store)) {
        Ok(Ok((_, descriptor))) => Locking::by_settings(store, &descriptor),
        _ => None,
    };
    let store = &locking.map_or_else(|| store.clone(), |locking| locking as Arc<dyn Store>);
    let repairing = repair::repair(store, replica, &options, &timer, random, progress.as_ref());
    let report = runtime.block_on(repairing)?;
    if report.ended_early { Err(Error::Interrupted) } else { Ok(report) }
}

/// Exactly which files of which snapshots need what the report says is lost; all of them, sorted.
pub fn files_lost(
    vault: &Arc<Vault>,
    report: &Report,
    progress: &Arc<Progress>,
) -> Result<Vec<LostFile>, Error> {
    let lost = report.lost.iter().flat_map(|lost| &lost.segments);
    let lost: Vec<_> = lost.map(|(pack, segments)| (*pack, segments.clone())).collect();
    lost_files(vault, &lost, progress)
}
