//! The first phase: what nobody needs is written down, after what is of value in it was moved.

use std::collections::HashSet;

use super::plan::Plan;
use super::regroup::Regrouping;
use super::view::{PackObject, Standing, View, hash_in};
use super::{Collector, Report, compact, fragments, proof};
use crate::check::Watch;
use crate::condemned::{self, Condemned, What};
use crate::error::VaultError;
use crate::name::{self, ObjectHash, PackId};
use crate::records;
use crate::relocation::{self, Moved};
use crate::sabotage::{Rule, keeps};

impl Collector<'_> {
    /// Moves what is worth moving and writes down what is not needed. Whether anything was.
    pub(super) async fn condemn(
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
        let old = view.moved.records.iter().filter_map(|record| hash_in(record, name::RELOCATIONS));
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
}

/// What relocations have to say of the objects that are kept.
pub(super) fn to_be_told<'a>(view: &'a View, plan: &'a Plan) -> impl Iterator<Item = Moved> + 'a {
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
