//! The second phase: what was condemned long enough ago, and is still not needed, is deleted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Kind, Store};

use super::condemn::to_be_told;
use super::plan::Plan;
use super::proof::Depth;
use super::view::{Authority, OriginSeen, Standing, View};
use super::{Collector, Report, Waiting};
use crate::check::Watch;
use crate::condemned::{self, Condemnation, Condemned, What};
use crate::error::VaultError;
use crate::lease::{Role, Seen};
use crate::name::PackId;
use crate::sabotage::{Rule, keeps};

impl Collector<'_> {
    /// Deletes what may be deleted, and forgets old condemnations.
    pub(super) async fn sweep(
        &mut self,
        view: &View,
        plan: &Plan,
        watch: &dyn Watch,
        report: &mut Report,
    ) -> Result<(), VaultError> {
        watch.stage("deleting");
        let untold = to_be_told(view, plan).filter(|moved| !view.moved.knows(moved));
        let untold: HashSet<PackId> = untold.map(|moved| moved.pack).collect();
        let is_blind = keeps(Rule::BlindnessDeletesNothing) && view.unreadable_snapshots().next().is_some();
        let overlap = self.options.overlap();
        let mut swept: Vec<Condemned> = Vec::new();
        let mut done: Vec<String> = Vec::new();
        let snapshots_locked = self.snapshots_locked_until(view).await?;
        for condemnation in &view.row.condemnations {
            if watch.is_cancelled() {
                break;
            }
            // Those are no sentences.
            if condemnation.objects.iter().any(|object| object.what.is_closing()) {
                continue;
            }
            // Whatever is still to be known stands in another record too, and nobody overlooks that any more.
            let is_anew = |object: &&Condemned| is_condemned_anew(view, condemnation, object, overlap);
            if condemnation.objects.iter().all(|object| is_anew(&object)) {
                self.drop_record(&condemnation.name).await?;
                continue;
            }
            let present: Vec<_> = condemnation
                .objects
                .iter()
                .filter(|object| view.has(object.what, object.hash))
                .copied()
                .collect();
            if present.is_empty() {
                if self.may_be_forgotten(view, condemnation) {
                    self.drop_record(&condemnation.name).await?;
                }
                continue;
            }
            // What is needed after all is kept, and stays condemned: another collector that slept may be about to delete
            // it by what it saw, so nobody is to rely on it anew. What is needed of it is moved.
            let (kept, present): (Vec<_>, Vec<_>) =
                present.into_iter().partition(|object| is_needed(view, plan, object));
            report.kept += kept.len() as u64;
            if let Some(waiting) = self.blocked(view, condemnation.since).filter(|_| !present.is_empty()) {
                report.waiting.push(waiting);
                continue;
            }
            // What was condemned once more, since it was moved only then, is deleted by the newer record.
            let deletable = |object: &&Condemned| match object.what {
                _ if is_condemned_anew(view, condemnation, object, Duration::ZERO) => false,
                // Who cannot read a snapshot does not know what it needs.
                // Who reads a snapshot that was condemned later than this is waited for with that.
                What::Pack => {
                    !is_blind
                        && is_replaced(view, plan, object)
                        && (is_passed_on(view, &untold, object) || !keeps(Rule::MovesArePassedOn))
                        && !(is_read_still(view, condemnation, object)
                            && keeps(Rule::LateReadersAreWaitedFor))
                }
                // What is needed again was perhaps moved: what told of that is condemned as well, and goes when it is
                // told anew.
                What::Relocation => untold.is_empty() || !keeps(Rule::MovesAreToldOf),
                What::Snapshot | What::Fragment => true,
                What::ClosedPack | What::ClosedElsewhere => false,
            };
            let mut going: Vec<_> = present.iter().filter(deletable).copied().collect();
            self.spare_locked(view, &mut going, snapshots_locked, report).await?;
            // What was to replace these is not what it says: they are the truth.
            let refuted = self.refute(view, plan, &going, Depth::Bytes, report).await?;
            going.retain(|object| !refuted.contains(object));
            report.kept += refuted.len() as u64;
            // Snapshots first: what remains after an interruption is whole snapshots and garbage.
            going.sort();
            let all_went = self.delete(view, &going, report).await?;
            if all_went && kept.is_empty() && going.len() == present.len() {
                // From now on it only keeps the names from being written again.
                swept.extend(&condemnation.objects);
                done.push(condemnation.name.clone());
            }
        }
        if !swept.is_empty() {
            swept.sort();
            swept.dedup();
            self.write_record(&swept).await?;
            // Where the new one may be hidden yet, the old ones go in a later cleanup.
            if overlap.is_zero() {
                for name in done {
                    self.drop_record(&name).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes what stays condemned. Whoever slept has an old view, by which it might take back what another, who is right,
    /// is about to delete.
    pub(super) async fn write_record(&mut self, objects: &[Condemned]) -> Result<(), VaultError> {
        self.still_there().await?;
        condemned::write(self.store.as_ref(), self.vault, (self.random)(), objects).await.map(drop)
    }

    pub(super) async fn drop_record(&mut self, name: &str) -> Result<(), VaultError> {
        self.still_there().await?;
        Ok(self.store.discard(name).await?)
    }

    /// Whether all of them went: a lock that nobody knew of keeps its object. Requests of one group may fail and succeed in
    /// any order, so that packs are not asked for before all snapshots went: one that stays is whole.
    async fn delete(
        &mut self,
        view: &View,
        objects: &[Condemned],
        report: &mut Report,
    ) -> Result<bool, VaultError> {
        let (mut all_went, mut snapshots_stay) = (true, false);
        let kinds = objects.chunk_by(|one, next| one.what == next.what);
        for group in kinds.flat_map(|kind| kind.chunks(DELETES_AT_ONCE)) {
            if snapshots_stay && group.iter().any(|object| object.what == What::Pack) {
                group.iter().for_each(|object| report.note_locked(view, object, None));
                continue;
            }
            // Whoever slept may have been taken for gone, and others may have gone on without it.
            self.still_there().await?;
            let deletes = group.iter().map(|object| {
                let (store, name): (&Arc<dyn Store>, _) = (self.store, object.object_name());
                async move { store.delete(&name).await }
            });
            for (object, outcome) in group.iter().zip(futures_util::future::join_all(deletes).await) {
                match outcome {
                    Ok(()) => {}
                    Err(error) if error.kind == Kind::Locked => {
                        report.note_locked(view, object, None);
                        all_went = false;
                        snapshots_stay |= object.what == What::Snapshot;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                match object.what {
                    What::Snapshot => report.snapshots_deleted += 1,
                    What::Pack => {
                        report.packs_deleted += 1;
                        report.bytes_freed += view.objects.get(&object.hash).map_or(0, |pack| pack.size);
                    }
                    What::Fragment | What::Relocation | What::ClosedPack | What::ClosedElsewhere => {}
                }
            }
        }
        Ok(all_went)
    }

    /// Why nothing that was condemned at that time may be deleted yet: somebody may not have seen it.
    pub(super) fn blocked(&self, view: &View, since: SystemTime) -> Option<Waiting> {
        let settle = self.options.settle;
        // Twice, since the store's times are only so good.
        let seen_by_all = since + settle + settle;
        if view.now < seen_by_all + settle && keeps(Rule::CondemnationsSettle) {
            return Some(Waiting { since, until: seen_by_all + settle, holder: None });
        }
        let in_the_way = |lease: &&Seen| {
            keeps(Rule::LeasesAreWaitedFor)
                && lease.role != Role::Collector
                && lease.begun <= seen_by_all
                && !self.options.is_over(lease, view.now)
        };
        let lease = view.leases.iter().filter(in_the_way).max_by_key(|lease| lease.ends())?;
        Some(Waiting { since, until: self.options.over_at(lease), holder: Some(lease.holder) })
    }

    /// Whether no late delete can arrive any more, and nobody could learn of the deleted packs from the index.
    fn may_be_forgotten(&self, view: &View, condemnation: &Condemnation) -> bool {
        let is_old = |now: SystemTime| condemnation.since + super::REMEMBERED <= now;
        let packs: HashSet<_> =
            condemnation.objects.iter().filter(|o| o.what == What::Pack).map(|o| o.hash).collect();
        if !keeps(Rule::NamesAreRemembered) {
            return true;
        }
        is_old(view.now)
            && view.not_understood.is_empty()
            && view.fragments.iter().all(|fragment| fragment.packs.iter().all(|pack| !packs.contains(pack)))
    }
}

/// Whether a newer record than this one names the object, and has been there for longer than `margin`.
fn is_condemned_anew(view: &View, condemnation: &Condemnation, object: &Condemned, margin: Duration) -> bool {
    let is_newer = |other: &&Condemnation| {
        (other.since, &other.name) > (condemnation.since, &condemnation.name)
            && other.since + margin <= view.now
    };
    view.row.condemnations.iter().filter(is_newer).any(|other| other.objects.contains(object))
}

/// How many objects are deleted between two looks at the lease.
const DELETES_AT_ONCE: usize = 16;

/// Whether a condemned object is needed after all.
fn is_needed(view: &View, plan: &Plan, object: &Condemned) -> bool {
    match object.what {
        _ if !keeps(Rule::NeedsAreReadAgain) => false,
        What::Pack => plan.needed.contains(&object.hash) && view.objects.contains_key(&object.hash),
        What::Snapshot => {
            matches!(view.snapshots.get(&object.hash), Some(Standing::Live | Standing::Unreadable))
        }
        What::Fragment | What::Relocation | What::ClosedPack | What::ClosedElsewhere => false,
    }
}

/// Whether a snapshot that needs something of a pack object is there, and was condemned after it or not at all. So it is with
/// what was kept though condemned, when the last snapshot that needed it is forgotten.
fn is_read_still(view: &View, condemnation: &Condemnation, object: &Condemned) -> bool {
    let origins = view.objects.get(&object.hash).map_or(&[][..], |seen| &seen.origins);
    let is_later = |origin: &OriginSeen| {
        view.expired_needs.get(&origin.pack).is_some_and(|since| *since > condemnation.since)
    };
    origins.iter().any(is_later)
}

/// Whether whoever is led to a pack object, by a snapshot that names it, is led on to what is kept in its place. A snapshot
/// may have come to name it only after it was condemned, while another object held the pack all the time.
fn is_passed_on(view: &View, untold: &HashSet<PackId>, object: &Condemned) -> bool {
    let origins = view.objects.get(&object.hash).map_or(&[][..], |seen| &seen.origins);
    origins.iter().all(|origin| !untold.contains(&origin.pack))
}

/// Whether everything that is needed of a pack object is in objects that nobody means to delete. What it merely says of
/// itself does not count as long as there is one that somebody names.
fn is_replaced(view: &View, plan: &Plan, object: &Condemned) -> bool {
    if !keeps(Rule::NeedsAreReadAgain) {
        return true;
    }
    let condemned = view.row.of(What::Pack);
    let has_named = |pack| {
        view.objects.iter().any(|(other, seen)| {
            view.authority(pack, *other) > Authority::Itself
                && seen.origins.iter().any(|origin| origin.pack == pack)
        })
    };
    let is_safe = |pack| match plan.keepers.get(&pack) {
        Some(keeper) => !condemned.contains(keeper),
        None => view.authority(pack, object.hash) == Authority::Itself && has_named(pack),
    };
    view.objects.get(&object.hash).is_some_and(|seen| {
        let live = seen.origins.iter().filter(|origin| view.live.contains_key(&origin.pack));
        live.map(|origin| origin.pack).all(is_safe)
    })
}
