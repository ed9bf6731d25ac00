//! Collecting garbage, without a key and beside running backups.
//!
//! A cleanup has two phases, usually in two runs. It *condemns* what no living snapshot needs: it writes that down.
//! And it *deletes* what was condemned before, once everybody who may not have seen the condemnation has ended, and if
//! it is still not needed. Packs that are mostly dead are compacted in between. `docs/gc.md` says why this is safe,
//! operation by operation.
//!
//! Nothing here looks at the machine's own clock: the time is that at which the store received the collector's lease.

mod compact;
mod fragments;
mod hold;
mod plan;
pub(crate) mod proof;
mod regroup;
mod sweep;
mod view;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Calls, Counted, ObjectInfo, StorageClass, Store};

pub use hold::Held;
pub use plan::{Plan, plan};
pub use regroup::{Owner, OwnerError};
pub use view::{Authority, FragmentSeen, OriginSeen, PackObject, Standing, View};

use self::regroup::Regrouping;
use crate::check::Watch;
use crate::condemned::{self, Condemned, What};
use crate::error::VaultError;
use crate::lease::{self, Lease, Renewal, Role, Seen};
use crate::locks::Locks;
pub use crate::moving::Sealed;
use crate::name::{self, ObjectHash, PackId, SystemId, VaultId};
use crate::records;
use crate::relocation::{self, Moved};
use crate::sabotage::{Rule, keeps};
use crate::settings::LockSetting;
use crate::trash;

/// How long the names of deleted objects are remembered, so that none is written again while a delete that was sent
/// long ago could still arrive.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Ended leases are kept this long, for people to look at.
const LEASES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Marks of deleted snapshots are gathered in one object when there are more objects than this.
const MARKS_MANY: usize = 16;

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

/// Something condemned that cannot be deleted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// When it was condemned.
    pub since: SystemTime,
    /// When it can be deleted at the earliest, as far as is known.
    pub until: SystemTime,
    /// Whose lease it waits for, if for one.
    pub holder: Option<SystemId>,
}

/// What a cleanup did, or would do.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Snapshots that were deleted: their time in the trash was over.
    pub snapshots_deleted: u64,
    /// Packs that were deleted.
    pub packs_deleted: u64,
    /// The bytes of these.
    pub bytes_freed: u64,
    /// Snapshots that were condemned.
    pub snapshots_condemned: u64,
    /// Packs that were condemned.
    pub packs_condemned: u64,
    /// The segments in these, those included that were moved.
    pub segments_condemned: u64,
    /// The bytes of these.
    pub bytes_condemned: u64,
    /// Condemned objects that are needed after all, and stay.
    pub kept: u64,
    /// Segments that were moved to new packs.
    pub segments_moved: u64,
    /// The bytes of these.
    pub bytes_moved: u64,
    /// Packs that were closed, to be regrouped when nobody is at work who does not know.
    pub packs_closed: u64,
    /// Packs that were regrouped: chunks that nobody needs are gone from their segments.
    pub packs_regrouped: u64,
    /// Nothing was regrouped, since copies of another vault arrive here.
    pub copies_arrive: bool,
    /// Packs that no snapshot needs yet, and their bytes: a backup was interrupted or is running.
    pub unfinished: (u64, u64),
    /// Bytes that snapshots need.
    pub bytes_live: u64,
    /// Bytes in needed packs that nothing needs.
    pub bytes_unused: u64,
    /// What waits, and for what.
    pub waiting: Vec<Waiting>,
    /// Condemned objects that a lock keeps from being deleted.
    pub locked: u64,
    /// The bytes of the packs among them.
    pub bytes_locked: u64,
    /// When the last of these locks ends, by the store's clock, as far as that is known.
    pub locked_until: Option<SystemTime>,
    /// What is needed, and kept locked.
    pub held: Held,
    /// Objects that are not understood, and why: they stay, and if one of them is a snapshot, so do all packs.
    pub not_understood: Vec<(String, String)>,
    /// Calls made to the store, by kind; not those of the owner.
    pub calls: Calls,
    /// It was ended early.
    pub ended_early: bool,
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
    let mut report = Report::default();
    let outcome = collector.run(watch, &mut report).await;
    // What is left of it runs out.
    let ended = collector.lease.end().await;
    outcome?;
    ended?;
    report.ended_early = watch.is_cancelled();
    report.calls = counted.calls();
    Ok(report)
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
        if self.options.dry_run {
            report.promise(&view, &plan);
            return Ok(());
        }
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

    /// The first phase: moves what is worth moving and writes down what is not needed. Whether anything was.
    async fn condemn(
        &mut self,
        view: &View,
        plan: &Plan,
        regrouping: &HashSet<PackId>,
        watch: &dyn Watch,
        report: &mut Report,
    ) -> Result<bool, VaultError> {
        let is_blind = view.unreadable_snapshots().next().is_some();
        if is_blind && keeps(Rule::BlindnessDeletesNothing) || watch.is_cancelled() {
            return Ok(false);
        }
        let class = self.options.data_class.as_ref();
        let owner = self.owner.as_deref_mut().map(|owner| Regrouping { owner, packs: regrouping });
        let compacted =
            compact::run(self.store, self.vault, view, plan, class, owner, self.random, watch).await?;
        report.packs_regrouped += compacted.regrouped;
        report.segments_moved += compacted.segments;
        report.bytes_moved += compacted.bytes;
        for (object, damage) in &compacted.damaged {
            report.not_understood.push((object.pack_name(), damage.to_string()));
        }
        let dead: Vec<_> = plan.dead.iter().map(|hash| Condemned { what: What::Pack, hash: *hash }).collect();
        // Of two that differ, nobody here can tell which is true: both stay.
        let stays = self.refute(view, plan, &dead, proof::Depth::Tables, report).await?;
        let dead: Vec<ObjectHash> =
            dead.iter().filter(|object| !stays.contains(object)).map(|object| object.hash).collect();
        // So it is with what was emptied, and of which something is kept elsewhere.
        let is_kept_elsewhere = |object: &ObjectHash| {
            let origins = view.objects.get(object).map_or(&[][..], |seen| &seen.origins);
            let keepers = origins.iter().filter_map(|origin| plan.keepers.get(&origin.pack));
            keepers.into_iter().any(|keeper| keeper != object)
        };
        let doubtful = compacted.emptied.iter().filter(|object| is_kept_elsewhere(object));
        let doubtful: Vec<_> = doubtful.map(|hash| Condemned { what: What::Pack, hash: *hash }).collect();
        let stays = self.refute(view, plan, &doubtful, proof::Depth::Tables, report).await?;
        let is_going = |hash: &ObjectHash| !stays.contains(&Condemned { what: What::Pack, hash: *hash });
        let emptied: Vec<ObjectHash> = compacted.emptied.into_iter().filter(is_going).collect();
        let mut going: HashSet<ObjectHash> = dead.iter().chain(&emptied).copied().collect();
        let condemned_packs = view.row.of(What::Pack);
        going.extend(condemned_packs.iter().filter(|object| !plan.needed.contains(*object)));
        watch.stage("writing down what is not needed");
        // New places first: packs, then what leads to them, then the sentence.
        let worn = fragments::worn(view, &going);
        self.still_there().await?;
        fragments::rewrite(self.store, self.vault, view, &worn, &going, compacted.packs).await?;
        let relocated = self.relocate(view, plan, &going, compacted.moved).await?;
        let mut objects: Vec<Condemned> = Vec::new();
        let mut add = |what, hash| objects.push(Condemned { what, hash });
        let already = view.row.of(What::Snapshot);
        for (id, standing) in &view.snapshots {
            if *standing == Standing::Expired && !already.contains(id) {
                add(What::Snapshot, *id);
                report.snapshots_condemned += 1;
            }
        }
        for object in dead.iter().chain(&emptied) {
            add(What::Pack, *object);
            report.packs_condemned += 1;
            report.segments_condemned += view.objects.get(object).map_or(0, PackObject::segments);
            report.bytes_condemned += view.objects.get(object).map_or(0, |seen| seen.size);
        }
        worn.iter().for_each(|fragment| add(What::Fragment, *fragment));
        relocated.iter().for_each(|record| add(What::Relocation, *record));
        if objects.is_empty() {
            return Ok(false);
        }
        objects.sort();
        self.still_there().await?;
        condemned::write(self.store.as_ref(), self.vault, (self.random)(), &objects).await?;
        self.condemned_now.extend(objects);
        Ok(true)
    }

    /// Brings the relocations up to date; those that are replaced.
    async fn relocate(
        &mut self,
        view: &View,
        plan: &Plan,
        going: &HashSet<ObjectHash>,
        new: Vec<Moved>,
    ) -> Result<Vec<ObjectHash>, VaultError> {
        let condemned = view.row.of(What::Relocation);
        let old = view.moved.records.iter().filter_map(|record| view::hash_in(record, name::RELOCATIONS));
        let old: Vec<_> = old.filter(|hash| !condemned.contains(hash)).collect();
        // Made anew from what is there, so a record that was lost comes back.
        let mut wanted = new;
        wanted.extend(to_be_told(view, plan).filter(|moved| !going.contains(&moved.object)));
        wanted.sort_by_key(|moved| (moved.pack, moved.object));
        wanted.dedup();
        let is_right = view.moved.all_moved().count() == wanted.len()
            && wanted.iter().all(|moved| view.moved.knows(moved));
        if is_right && old.len() <= 1 {
            return Ok(Vec::new());
        }
        if !wanted.is_empty() && keeps(Rule::MovesAreToldOf) {
            // By an old view it would lead to what is gone.
            self.still_there().await?;
            let bytes = relocation::encode(self.vault, (self.random)(), &wanted);
            records::write(self.store.as_ref(), name::RELOCATIONS, bytes).await?;
        }
        Ok(old)
    }

    /// Removes leases that ended long ago and questions for the time that nobody took back, and gathers the marks of
    /// deleted snapshots.
    async fn tidy(&mut self, view: &View) -> Result<(), VaultError> {
        for lease in &view.leases {
            if lease.name != self.lease.name() && self.options.over_at(lease) + LEASES_KEPT <= view.now {
                self.store.discard(&lease.name).await?;
            }
        }
        let is_old = |question: &&ObjectInfo| question.modified + LEASES_KEPT <= view.now;
        for question in view.questions.iter().filter(is_old) {
            self.store.discard(&question.name).await?;
        }
        let gone = |forgotten: &&trash::Forgotten| !view.snapshots.contains_key(&forgotten.mark.snapshot);
        let mut buried: Vec<_> = view.trash.iter().filter(gone).collect();
        let objects: HashSet<&String> = buried.iter().flat_map(|forgotten| &forgotten.marks).collect();
        // A mark of a living snapshot could share an object with them.
        let shared =
            view.trash.iter().filter(|forgotten| !gone(forgotten)).flat_map(|forgotten| &forgotten.marks);
        let shared: HashSet<&String> = shared.collect();
        if objects.len() <= MARKS_MANY {
            return Ok(());
        }
        buried.sort_by_key(|forgotten| forgotten.mark.snapshot);
        let mut marks: Vec<_> = buried.iter().map(|forgotten| forgotten.mark.clone()).collect();
        if let Some(first) = marks.first_mut() {
            first.nonce = (self.random)();
        }
        records::write(self.store.as_ref(), name::TRASH, trash::encode(self.vault, &marks)).await?;
        for object in objects.difference(&shared) {
            self.store.discard(object).await?;
        }
        Ok(())
    }
}

/// What relocations have to say of the objects that are kept.
fn to_be_told<'a>(view: &'a View, plan: &'a Plan) -> impl Iterator<Item = Moved> + 'a {
    let of_keepers = plan.keepers.iter().flat_map(|(pack, object)| {
        let origins = view.objects.get(object).map_or(&[][..], |seen| &seen.origins);
        // A snapshot may name another object even for what was never moved: that one was the copy, and went.
        let is_named_otherwise =
            view.named.get(pack).is_some_and(|named| named.iter().any(|named| named != object));
        let moved =
            origins.iter().filter(move |origin| origin.pack == *pack && (origin.moved || is_named_otherwise));
        moved.map(|origin| Moved { pack: *pack, object: *object, segments: origin.present.clone() })
    });
    // Where it cannot be told which object is the one, all that were known stay known; also by relocations that were
    // condemned while the object was hidden, or nobody needed the pack.
    let stays = |pack: PackId, object: ObjectHash| {
        plan.disputed.contains(&pack) && view.objects.contains_key(&object) && keeps(Rule::DisputedMovesStay)
    };
    let known = view.moved.all_moved().filter(move |(pack, object, _)| stays(*pack, *object));
    let known = known.map(|(pack, object, segments)| Moved { pack, object, segments: segments.clone() });
    let before = view.moved.all_moved_before().filter(move |moved| stays(moved.pack, moved.object));
    of_keepers.chain(known).chain(before.cloned())
}

/// How a lost lease travels through code that knows only errors of the vault.
const OVERSLEPT: crate::error::Damage = crate::error::Damage::Nonsense("the lease ran out");

fn lost(error: VaultError) -> CleanupError {
    match error {
        VaultError::Damaged { damage, .. } if damage == OVERSLEPT => CleanupError::Overslept,
        error => error.into(),
    }
}

impl Report {
    /// Adds what a cleanup did that followed right after this one.
    pub fn follow(&mut self, next: Self) {
        let extended = self.held.extended + next.held.extended;
        let Self { bytes_live, bytes_unused, unfinished, waiting, not_understood, ended_early, .. } = next;
        self.snapshots_deleted += next.snapshots_deleted;
        self.packs_deleted += next.packs_deleted;
        self.bytes_freed += next.bytes_freed;
        self.snapshots_condemned += next.snapshots_condemned;
        self.packs_condemned += next.packs_condemned;
        self.segments_condemned += next.segments_condemned;
        self.bytes_condemned += next.bytes_condemned;
        self.segments_moved += next.segments_moved;
        self.bytes_moved += next.bytes_moved;
        self.packs_closed += next.packs_closed;
        self.packs_regrouped += next.packs_regrouped;
        self.copies_arrive = next.copies_arrive;
        (self.bytes_live, self.bytes_unused, self.unfinished) = (bytes_live, bytes_unused, unfinished);
        (self.waiting, self.ended_early, self.kept) = (waiting, ended_early, next.kept);
        (self.locked, self.bytes_locked, self.locked_until) =
            (next.locked, next.bytes_locked, next.locked_until);
        self.held = Held { extended, ..next.held };
        for (operation, count) in next.calls {
            match self.calls.iter_mut().find(|(of, _)| *of == operation) {
                Some((_, calls)) => *calls += count,
                None => self.calls.push((operation, count)),
            }
        }
        self.not_understood.extend(not_understood);
        self.not_understood.sort();
        self.not_understood.dedup();
    }

    fn note(&mut self, view: &View, plan: &Plan) {
        self.bytes_live = plan.live_bytes;
        self.bytes_unused = plan.unused_bytes;
        let bytes =
            plan.unfinished.iter().filter_map(|object| view.objects.get(object)).map(|seen| seen.size);
        self.unfinished = (plan.unfinished.len() as u64, bytes.sum());
        for object in &view.not_understood {
            if !self.not_understood.contains(object) {
                self.not_understood.push(object.clone());
            }
        }
    }

    /// What would be condemned and moved.
    fn promise(&mut self, view: &View, plan: &Plan) {
        let expired = view.snapshots.values().filter(|standing| **standing == Standing::Expired);
        self.snapshots_condemned = expired.count() as u64;
        let going = || plan.dead.iter().chain(&plan.moves).filter_map(|object| view.objects.get(object));
        self.packs_condemned = (plan.dead.len() + plan.moves.len()) as u64;
        self.segments_condemned = going().map(PackObject::segments).sum();
        self.bytes_condemned = going().map(|seen| seen.size).sum();
        self.segments_moved = plan.moves.iter().map(|object| plan.segments_to_move(view, *object)).sum();
        self.bytes_moved = plan.moved_bytes;
    }
}

#[cfg(test)]
mod tests;
