//! Cleaning up a vault: the custodian's work, for which no key is needed.

use std::sync::Arc;
use std::time::Duration;

use store::{Kind, Store};
use vault::collect::{self, CleanupError, Options, Owner, Report};
use vault::descriptor::{DESCRIPTOR_MAX, Descriptor};
use vault::error::Damage;
use vault::locking::Locking;
use vault::{VaultError, name, settings};

use crate::regroup::{Regrouper, Trash};
use crate::vault_access::new_runtime;
use crate::{Error, Progress, Vault};

/// How to clean up.
#[derive(Clone, Debug, Default)]
pub struct CleanupRequest {
    /// The share of unused bytes, against those in use, that is put up with; 0.05 when `None`.
    pub max_unused: Option<f64>,
    /// No more bytes than this are moved.
    pub max_move: Option<u64>,
    /// What no snapshot ever needed is left alone this long; two days when `None`.
    pub unfinished: Option<Duration>,
    /// Regroup though copies of another vault arrived here: none will any more.
    pub no_more_copies: bool,
    /// Only look.
    pub dry_run: bool,
}

/// Cleans up the vault in `store`.
pub fn clean_up(
    store: &Arc<dyn Store>,
    request: &CleanupRequest,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    run(store, request, None, progress)
}

/// The same for whoever has a key that can read: packs in whose segments more than `dead_share` of the bytes is of chunks
/// that no snapshot needs lose those chunks. Such a pack is closed first, and regrouped by the next cleanup, when
/// everybody who may not know of that has ended; where the store is in order at once, both happen here if nobody is at work.
pub fn clean_up_regrouping(
    vault: &Arc<Vault>,
    request: &CleanupRequest,
    dead_share: f64,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let mut regrouper = Regrouper::new(vault, dead_share, progress);
    let is_in_order_at_once = !vault.store().is_remote();
    let mut report = Report::default();
    if is_in_order_at_once && !request.dry_run {
        // What is in the store counts as needed, so first what can go.
        report = run(vault.store(), request, None, progress)?;
    }
    let mut once = || {
        // Most of it before the collector's lease begins to run.
        regrouper.read(Trash::LeftOut)?;
        run(vault.store(), request, Some(&mut regrouper), progress)
    };
    let next = once()?;
    let has_closed = next.packs_closed > 0;
    report.follow(next);
    if has_closed && is_in_order_at_once {
        report.follow(once()?);
    }
    Ok(report)
}

fn run(
    store: &Arc<dyn Store>,
    request: &CleanupRequest,
    owner: Option<&mut dyn Owner>,
    progress: &Arc<Progress>,
) -> Result<Report, Error> {
    let runtime = new_runtime()?;
    runtime.block_on(async {
        let descriptor = read_descriptor(store).await?;
        let settings = settings::read_all(store.as_ref(), descriptor.vault, &descriptor.owner).await?;
        let now = match request.dry_run {
            true => vault::store_clock_or_own(store.as_ref()).await?,
            false => vault::store_clock(store.as_ref()).await?,
        };
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
        options.no_more_copies = request.no_more_copies;
        let random = &mut content::random::identity;
        // A vault that was copied to a bucket which cannot lock is cleaned all the same.
        let can_lock = options.lock.is_some() && store.can_lock().await?;
        let store = &Locking::with(store.clone(), options.lock.filter(|_| can_lock));
        let cleanup =
            collect::cleanup_with(store, descriptor.vault, &options, owner, random, progress.as_ref());
        let report = cleanup.await.map_err(of_owner)?;
        if report.ended_early { Err(Error::Interrupted) } else { Ok(report) }
    })
}

/// The owner's own errors are ours.
fn of_owner(error: CleanupError) -> Error {
    match error {
        CleanupError::Owner(source) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => CleanupError::Owner(source).into(),
        },
        error => error.into(),
    }
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
