//! Bringing back what somebody deleted or overwrote in the store: the custodian's work, for which no key is needed.

use std::sync::Arc;
use std::time::SystemTime;

use store::Store;
use store::versions::WithVersions;
use vault::condemned::{self, Condemned, Row};
use vault::recover::{self, Report, Versions};
use vault::{VaultId, name, settings};

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
        let versioned = versioned.as_ref();
        let versions = Versions::list(versioned).await?;
        // What says how the others are to be locked comes first.
        recover::recover(versioned, &versions, &is_first, None, !dry_run, watch, &mut report).await?;
        let descriptor = match read_descriptor(store).await {
            Ok(descriptor) => Some(descriptor),
            // It is lost, or this only looks.
            Err(error) if matches!(error.category(), Category::Damaged | Category::NoVault) => None,
            Err(error) => return Err(error),
        };
        let lock = match &descriptor {
            Some(descriptor) => settings::read_lock_setting(store.as_ref(), descriptor).await?,
            None => None,
        };
        let lock = lock.map(|setting| setting.from(SystemTime::now()));
        recover::recover(versioned, &versions, &is_other, lock, !dry_run, watch, &mut report).await?;
        if let Some(descriptor) = &descriptor {
            let closings = recover::closings(versioned, &versions, descriptor.vault, watch).await?;
            report.closed_again = close_again(store, descriptor.vault, closings, !dry_run).await?;
        }
        if !dry_run && !report.back.is_empty() {
            // What came back may be locked for a shorter time than was written down: the next cleanup asks.
            for record in store.list(name::LOCKS).await? {
                store.discard(&record.name).await?;
            }
        }
        if report.ended_early { Err(Error::Interrupted) } else { Ok(report) }
    })
}

/// Tells of these closings, as far as nothing does; how many those are. Their time is that of now: whoever began since
/// they were taken away did not see them, and is waited for.
async fn close_again(
    store: &Arc<dyn Store>,
    vault: VaultId,
    mut closings: Vec<Condemned>,
    changes: bool,
) -> Result<u64, Error> {
    if closings.is_empty() {
        return Ok(0);
    }
    let row = Row::read(store.as_ref(), vault).await?;
    let is_told =
        |closing: &Condemned| closing.pack().is_some_and(|pack| row.closed(closing.what).contains_key(&pack));
    closings.retain(|closing| !is_told(closing));
    if changes && !closings.is_empty() {
        condemned::write(store.as_ref(), vault, content::random::identity(), &closings).await?;
    }
    Ok(closings.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::MemoryStore;
    use vault::PackId;
    use vault::condemned::What;

    const VAULT: VaultId = VaultId::new([1; 16]);

    #[test]
    fn what_was_closed_is_closed_again_once() {
        let runtime = new_runtime().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let closing = |what, number| Condemned::closing(what, PackId::new([number; 16]));
        let lost = vec![closing(What::ClosedPack, 2), closing(What::ClosedElsewhere, 3)];
        let told = closing(What::ClosedPack, 4);
        let write = condemned::write(store.as_ref(), VAULT, [9; 16], std::slice::from_ref(&told));
        runtime.block_on(write).unwrap();
        let records = || runtime.block_on(store.list(name::CONDEMNED)).unwrap().len();
        let again = |changes| {
            let closings = lost.iter().chain([&told]).cloned().collect();
            runtime.block_on(close_again(&store, VAULT, closings, changes)).unwrap()
        };
        assert_eq!(runtime.block_on(close_again(&store, VAULT, Vec::new(), true)).unwrap(), 0);
        // What is told already is not told twice, and a dry run tells nobody.
        assert_eq!((again(false), records()), (2, 1));
        assert_eq!((again(true), records()), (2, 2));
        assert_eq!((again(true), records()), (0, 2));
        let row = runtime.block_on(Row::read(store.as_ref(), VAULT)).unwrap();
        for closing in lost {
            assert!(row.closed(closing.what).contains_key(&closing.pack().unwrap()), "{closing:?}");
        }
    }
}
