//! Bringing back what somebody deleted or overwrote in the store: the custodian's work, for which no key is needed.

use std::sync::Arc;
use std::time::SystemTime;

use store::Store;
use store::versions::WithVersions;
use vault::recover::{self, Report};
use vault::{name, settings};

use crate::cleanup::read_descriptor;
use crate::vault_access::new_runtime;
use crate::{Category, Error, Progress};

/// Looks at every object of the vault in `store`, whose older versions `versioned` has, and brings back those that were
/// deleted or overwritten. `dry_run` only looks.
pub fn recover(
    store: &Arc<dyn Store>,
    versioned: &WithVersions,
    dry_run: bool,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let is_first = |name: &str| name == name::DESCRIPTOR || name.starts_with(name::SETTINGS);
    let is_other = |name: &str| !is_first(name);
    progress.set_stage("looking at versions");
    new_runtime()?.block_on(async {
        let mut report = Report::default();
        let watch = progress.as_ref();
        let versions = versioned.as_ref();
        // What says how the others are to be locked comes first.
        recover::recover(versions, &is_first, None, !dry_run, watch, &mut report).await?;
        let lock = match read_descriptor(store).await {
            Ok(descriptor) => settings::read_lock_setting(store.as_ref(), &descriptor).await?,
            // It is lost, or this only looks.
            Err(error) if matches!(error.category(), Category::Damaged | Category::NoVault) => None,
            Err(error) => return Err(error),
        };
        let lock = lock.map(|setting| setting.from(SystemTime::now()));
        recover::recover(versions, &is_other, lock, !dry_run, watch, &mut report).await?;
        if !dry_run && !report.back.is_empty() {
            // What came back may be locked for a shorter time than was written down: the next cleanup asks.
            for record in store.list(name::LOCKS).await? {
                store.discard(&record.name).await?;
            }
        }
        if report.ended_early { Err(Error::Interrupted) } else { Ok(report) }
    })
}
