//! Cleaning up a vault: the custodian's work, for which no key is needed.

use std::sync::Arc;
use std::time::Duration;

use store::{Kind, Store};
use vault::collect::{self, Options, Report};
use vault::descriptor::{DESCRIPTOR_MAX, Descriptor};
use vault::error::Damage;
use vault::locking::Locking;
use vault::{VaultError, name, settings};

use crate::vault_access::new_runtime;
use crate::{Error, Progress};

/// How to clean up.
#[derive(Clone, Debug, Default)]
pub struct CleanupRequest {
    /// The share of unused bytes, against those in use, that is put up with; 0.05 when `None`.
    pub max_unused: Option<f64>,
    /// No more bytes than this are moved.
    pub max_move: Option<u64>,
    /// What no snapshot ever needed is left alone this long; two days when `None`.
    pub unfinished: Option<Duration>,
    /// Only look.
    pub dry_run: bool,
}

/// Cleans up the vault in `store`.
pub fn clean_up(
    store: &Arc<dyn Store>,
    request: &CleanupRequest,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let runtime = new_runtime()?;
    runtime.block_on(async {
        let descriptor = read_descriptor(store).await?;
        let settings = settings::read_all(store.as_ref(), descriptor.vault, &descriptor.owner).await?;
        let now = vault::store_clock(store.as_ref()).await?;
        let delay = settings::effective_delay(&descriptor, &settings, now);
        let mut options = Options::new(delay, store.is_remote());
        options.max_unused = request.max_unused.unwrap_or(options.max_unused);
        options.max_move = request.max_move;
        options.unfinished = request.unfinished.unwrap_or(options.unfinished);
        if store.has_classes() {
            options.data_class = settings::data_class(&descriptor, &settings);
            options.keeps_data = settings::data_may_be_cold(&descriptor, &settings);
        }
        if store.has_locks() {
            options.lock = settings::lock_setting(&descriptor, &settings);
            options.lock_longest = settings::longest_lock(&descriptor, &settings);
        }
        options.dry_run = request.dry_run;
        let random = &mut content::random::identity;
        // A vault that was copied to a bucket which cannot lock is cleaned all the same.
        let can_lock = options.lock.is_some() && store.can_lock().await?;
        let store = &Locking::with(store.clone(), options.lock.filter(|_| can_lock));
        let report = collect::cleanup(store, descriptor.vault, &options, random, progress.as_ref()).await?;
        if report.ended_early { Err(Error::Interrupted) } else { Ok(report) }
    })
}

/// The descriptor of the vault in `store`.
pub(crate) async fn read_descriptor(store: &Arc<dyn Store>) -> Result<Descriptor, Error> {
    let damaged = |damage: Damage| Error::damaged(name::DESCRIPTOR, damage);
    match store.get(name::DESCRIPTOR, DESCRIPTOR_MAX).await {
        Ok(bytes) => Descriptor::decode(&bytes).map_err(damaged),
        Err(error) if error.kind == Kind::NotFound && !store.list(name::SNAPSHOTS).await?.is_empty() => {
            Err(damaged(Damage::Missing))
        }
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Gone) => {
            Err(VaultError::NoVault { location: store.location() }.into())
        }
        Err(error) => Err(error.into()),
    }
}
