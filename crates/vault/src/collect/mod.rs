//! Collecting garbage, without a key and beside running backups.
//!
//! A cleanup has two phases, usually in two runs. It *condemns* what no living snapshot needs: it writes that down.
//! And it *deletes* what was condemned before, once everybody who may not have seen the condemnation has ended, and if
//! it is still not needed. Packs that are mostly dead are compacted in between. `docs/gc.md` says why this is safe,
//! operation by operation.
//!
//! Nothing here looks at the machine's own clock: the time is that at which the store received the collector's lease.

mod compact;
mod condemn;
mod fragments;
mod hold;
mod plan;
pub(crate) mod proof;
mod regroup;
mod report;
mod sweep;
mod tidy;
mod view;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Counted, StorageClass, Store};

pub use hold::Held;
pub use plan::{Plan, plan};
pub use regroup::{Owner, OwnerError};
pub use report::{Report, Waiting};
pub use view::{Authority, FragmentSeen, OriginSeen, PackObject, Standing, View};

use crate::check::Watch;
use crate::clock;
use crate::condemned::Condemned;
use crate::error::VaultError;
use crate::lease::{self, Lease, Renewal, Role, Seen};
use crate::locks::Locks;
pub use crate::moving::Sealed;
use crate::name::{ObjectHash, PackId, SystemId, VaultId};
use crate::sabotage::{Rule, keeps};
use crate::settings::LockSetting;

/// How long the names of deleted objects are remembered, so that none is written again while a delete that was sent
/// long ago could still arrive.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// How a cleanup goes about it.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a forgotten snapshot can be brought back.
    pub delay: Duration,
    /// How long a listing may lag behind, a write or delete may arrive late, and the store's clocks may differ.
    pub settle: Duration,
    /// What no snapshot ever needed is left alone this long: a backup that was interrupted goes on with it.
    pub unfinished: Duration,
    /// The share of unused bytes, against those in use, that is put up with.
    pub max_unused: f64,
    /// No more bytes than this are moved by compaction.
    pub max_move: Option<u64>,
    /// Packs of data are left as they are until nothing in them is needed: they are in cold storage.
    pub keeps_data: bool,
    /// The storage class for packs of data.
    pub data_class: Option<StorageClass>,
    /// How objects are locked, if they are.
    pub lock: Option<LockSetting>,
    /// The longest period for which objects were ever to be locked.
    pub lock_longest: Duration,
    /// Copies of another vault arrived here, and none will any more: an owner regroups all the same.
    pub no_more_copies: bool,
    /// How long the collector's own lease lasts.
    pub lease: Duration,
    /// Only look.
    pub dry_run: bool,
}

impl Options {
    /// The usual way with a store that is in order at once (`is_remote` is false) or not.
    pub fn new(delay: Duration, is_remote: bool) -> Self {
        Self {
            delay,
            settle: if is_remote { Duration::from_secs(3600) } else { Duration::ZERO },
            unfinished: Duration::from_secs(2 * 24 * 3600),
            max_unused: 0.05,
            max_move: None,
            keeps_data: false,
            data_class: None,
            lock: None,
            lock_longest: Duration::ZERO,
            no_more_copies: false,
            lease: lease::DURATION,
            dry_run: false,
        }
    }

    /// When a lease is over for certain, if it is not renewed.
    fn over_at(&self, lease: &Seen) -> SystemTime {
        match lease.ended {
            // Twice, since the store's times are only so good.
            true if keeps(Rule::EndedLeasesSettle) => lease.renewed + self.settle + self.settle,
            true => lease.renewed,
            // What was seen of it may be old by as much as its last snapshot may be late.
            false => lease.ends() + self.settle + self.settle,
        }
    }

    /// How long a record stays beside the one that takes its place.
    fn overlap(&self) -> Duration {
        match keeps(Rule::RecordsOverlap) {
            true => self.settle + self.settle,
            false => Duration::ZERO,
        }
    }

    fn is_over(&self, lease: &Seen, now: SystemTime) -> bool {
        self.over_at(lease) <= now
    }

    fn may_be_at_work(&self, lease: &Seen, now: SystemTime) -> bool {
        lease.role == Role::Writer && !self.is_over(lease, now)
    }
}

/// Why a cleanup did not take place.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The vault or its store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Another cleanup is at work.
    #[error("another cleanup is at work on this vault, or was interrupted")]
    Busy {
        /// When its lease runs out.
        until: SystemTime,
    },
    /// This cleanup was stopped for longer than its lease.
    #[error("the cleanup slept for longer than its lease")]
    Overslept,
    /// The owner could not do its part.
    #[error("the owner could not tell what snapshots need")]
    Owner(#[source] OwnerError),
}

impl From<store::StoreError> for CleanupError {
    fn from(error: store::StoreError) -> Self {
        Self::Vault(error.into())
    }
}

struct Collector<'a> {
    store: &'a Arc<dyn Store>,
    vault: VaultId,
    options: &'a Options,
    random: &'a mut (dyn FnMut() -> [u8; 16] + Send),
    lease: Lease,
    /// Copies of packs that were found not to be what they say.
    false_copies: HashSet<(PackId, ObjectHash)>,
    /// Whoever has a key, if somebody does.
    owner: Option<&'a mut dyn Owner>,
    /// Until when objects are locked, as far as that is known.
    locks: Locks,
    /// What this cleanup condemned.
    condemned_now: HashSet<Condemned>,
}

/// Cleans up the vault in `store`. `random` gives 16 fresh random bytes each time.
pub async fn cleanup(
    store: &Arc<dyn Store>,
    vault: VaultId,
    options: &Options,
    random: &mut (dyn FnMut() -> [u8; 16] + Send),
    watch: &dyn Watch,
) -> Result<Report, CleanupError> {
    cleanup_with(store, vault, options, None, random, watch).await
}

/// The same with the owner at hand, who regroups what is mostly dead.
pub async fn cleanup_with(
    store: &Arc<dyn Store>,
    vault: VaultId,
    options: &Options,
    owner: Option<&mut dyn Owner>,
    random: &mut (dyn FnMut() -> [u8; 16] + Send),
    watch: &dyn Watch,
) -> Result<Report, CleanupError> {
    let counted = Arc::new(Counted::new(store.clone()));
    let store: &Arc<dyn Store> = &(counted.clone() as Arc<dyn Store>);
    let mut report = Report::default();
    if options.dry_run {
        foresee(store, vault, options, watch, &mut report).await?;
        report.calls = counted.calls();
        return Ok(report);
    }
    let owner = owner.map(|owner| owner as &mut dyn Owner);
    let id = random();
    let lease = Lease::begin(store, vault, id, SystemId::default(), Role::Collector, options.lease).await?;
    let mut collector = Collector {
        store,
        vault,
        options,
        random,
        lease,
        false_copies: HashSet::new(),
        owner,
        locks: Locks::default(),
        condemned_now: HashSet::new(),
    };
    let outcome = collector.run(watch, &mut report).await;
    // What is left of it runs out.
    let ended = collector.lease.end().await;
    outcome?;
    ended?;
    report.ended_early = watch.is_cancelled();
    report.calls = counted.calls();
    Ok(report)
}

/// What a cleanup would do now. Nothing is written but, where the store takes it, the question for the time.
async fn foresee(
    store: &Arc<dyn Store>,
    vault: VaultId,
    options: &Options,
    watch: &dyn Watch,
    report: &mut Report,
) -> Result<(), CleanupError> {
    let now = clock::store_clock_or_own(store.as_ref()).await?;
    let view = View::read(store, vault, now, options.delay, watch).await?;
    let plan = plan(&view, options, &HashSet::new());
    report.note(&view, &plan);
    report.promise(&view, &plan);
    report.ended_early = watch.is_cancelled();
    Ok(())
}

impl Collector<'_> {
    async fn run(&mut self, watch: &dyn Watch, report: &mut Report) -> Result<(), CleanupError> {
        let view = self.look(watch).await?;
        let other = |lease: &&Seen| lease.role == Role::Collector && lease.name != self.lease.name();
        let others = view.leases.iter().filter(other).filter(|lease| !self.options.is_over(lease, view.now));
        if let Some(busy) = others.max_by_key(|lease| lease.ends()) {
            return Err(CleanupError::Busy { until: busy.ends() });
        }
        let mut plan = plan(&view, self.options, &self.false_copies);
        report.note(&view, &plan);
        if self.store.has_locks() {
            self.locks = Locks::read(self.store.as_ref(), self.vault).await?;
        }
        self.sweep(&view, &plan, watch, report).await.map_err(lost)?;
        if !self.false_copies.is_empty() {
            plan = plan::plan(&view, self.options, &self.false_copies);
        }
        let regrouping = self.regroup(&view, &mut plan, report).await?;
        let condemned = self.condemn(&view, &plan, &regrouping, watch, report).await.map_err(lost)?;
        self.tidy(&view).await?;
        self.tidy_closings(&view).await?;
        watch.stage("locking what is needed");
        self.hold(&view, &plan, report).await.map_err(lost)?;
        if condemned && self.options.settle.is_zero() && !watch.is_cancelled() {
            // The store hides nothing: only those who are at work right now need to be waited for.
            let view = self.look(watch).await?;
            let plan = plan::plan(&view, self.options, &self.false_copies);
            report.waiting.clear();
            (report.locked, report.bytes_locked, report.locked_until) = (0, 0, None);
            self.sweep(&view, &plan, watch, report).await.map_err(lost)?;
            report.note(&view, &plan);
            if !self.false_copies.is_empty() {
                // Nobody is to be led to them any more.
                let view = self.look(watch).await?;
                let plan = plan::plan(&view, self.options, &self.false_copies);
                self.condemn(&view, &plan, &HashSet::new(), watch, report).await.map_err(lost)?;
            }
        }
        Ok(())
    }

    async fn look(&mut self, watch: &dyn Watch) -> Result<View, CleanupError> {
        if self.lease.renew().await? == Renewal::Overslept {
            return Err(CleanupError::Overslept);
        }
        let now = self.lease.renewed();
        Ok(View::read(self.store, self.vault, now, self.options.delay, watch).await?)
    }

    /// An error unless the collector's lease is still held.
    async fn still_there(&mut self) -> Result<(), VaultError> {
        if !keeps(Rule::SleepersStop) {
            return Ok(());
        }
        match self.lease.renew().await? {
            Renewal::InTime => Ok(()),
            Renewal::Overslept => Err(VaultError::damaged(self.lease.name(), OVERSLEPT)),
        }
    }
}

/// How a lost lease travels through code that knows only errors of the vault.
const OVERSLEPT: crate::error::Damage = crate::error::Damage::Nonsense("the lease ran out");

fn lost(error: VaultError) -> CleanupError {
    match error {
        VaultError::Damaged { damage, .. } if damage == OVERSLEPT => CleanupError::Overslept,
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
