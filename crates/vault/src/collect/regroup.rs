//! The owner's part in a cleanup: with the key, segments lose the chunks that nobody needs.
//!
//! It has two phases of its own. A pack is *closed*: from then on no new snapshot relies on a chunk in it because the
//! index knows it, but only because the snapshot before relied on it. When everybody who may not have seen that has
//! ended, what the snapshots in the store need of it is all that will ever be needed of it. Then it is moved, and its
//! segments are sealed anew without the rest.

use std::collections::HashSet;

use super::plan::Plan;
use super::view::{Standing, View};
use super::{CleanupError, Collector, Report, lost};
use crate::condemned::{self, Condemned, Row, What};
use crate::error::Damage;
use crate::moving::Sealed;
use crate::name::{ObjectHash, PackId, SnapshotId};
use crate::pack::{Origin, PackKind};
use crate::sabotage::{Rule, keeps};

/// Why an owner could not do its part; whoever lent the owner knows its kind.
pub type OwnerError = Box<dyn std::error::Error + Send + Sync>;

/// More closings than this are gathered in one object.
const CLOSINGS_MANY: usize = 4;

/// What only a key can do for a cleanup. Its methods may block.
pub trait Owner: Send {
    /// Learns what all snapshots that are in the store need, those in the trash included. An error if it cannot tell for
    /// one of `living`.
    fn survey(&mut self, living: &[SnapshotId]) -> Result<(), OwnerError>;

    /// Of the packs that living snapshots need, those whose segments hold much that nobody needs, the worst first.
    fn worth_regrouping(&mut self, view: &View) -> Result<Vec<PackId>, OwnerError>;

    /// The segments of a pack without what nobody needs, sealed for a key of their own, and their origin with its
    /// envelope. They keep their numbers, and what stays in them its place.
    fn thin(
        &mut self,
        kind: PackKind,
        origin: &Origin,
        sealed: &[Sealed],
    ) -> Result<(Origin, Vec<Sealed>), Damage>;
}

/// The packs that are regrouped when they are moved.
pub(super) struct Regrouping<'a> {
    pub owner: &'a mut dyn Owner,
    pub packs: &'a HashSet<PackId>,
}

impl Collector<'_> {
    /// Closes packs that are worth it, and adds to the plan the move of those that were closed before and are ready: these
    /// are what it returns.
    pub(super) async fn regroup(
        &mut self,
        view: &View,
        plan: &mut Plan,
        report: &mut Report,
    ) -> Result<HashSet<PackId>, CleanupError> {
        let mut ready = HashSet::new();
        let Some(owner) = self.owner.as_deref_mut() else { return Ok(ready) };
        if view.unreadable_snapshots().next().is_some() || self.options.keeps_data {
            return Ok(ready);
        }
        let living = view.snapshots.iter().filter(|(_, standing)| **standing == Standing::Live);
        let living: Vec<_> = living.map(|(id, _)| *id).collect();
        let copies_arrive = |row: &Row| {
            !self.options.no_more_copies
                && row.closed(What::ClosedElsewhere).contains_key(&condemned::EVERY_PACK)
        };
        report.copies_arrive = copies_arrive(&view.row);
        if report.copies_arrive {
            return Ok(ready);
        }
        owner.survey(&living).map_err(CleanupError::Owner)?;
        let worth = owner.worth_regrouping(view).map_err(CleanupError::Owner)?;
        let here = view.row.closed(What::ClosedPack);
        let mut closing = Vec::new();
        let settled = self.options.settle + self.options.settle;
        let is_settled = |object: ObjectHash| {
            view.objects.get(&object).is_some_and(|seen| seen.modified + settled <= view.now)
        };
        // Where no copies arrive any more, what they brought is regrouped like all else.
        for pack in worth {
            let Some(keeper) = plan.keepers.get(&pack).copied() else { continue };
            match here.get(&pack) {
                // What a copy brought is younger than the word that copies arrive: once it is settled, so is that.
                None if is_settled(keeper) => closing.push(Condemned::closing(What::ClosedPack, pack)),
                None => {}
                Some(since) if self.blocked(view, *since).is_some() && keeps(Rule::ClosingsAreWaitedFor) => {}
                Some(_) if plan.adds_move(view, self.options, keeper) => {
                    ready.insert(pack);
                }
                Some(_) => {}
            }
        }
        if !closing.is_empty() {
            // Since that was read a copy may have arrived, and what it brought be settled.
            let row = Row::read(self.store.as_ref(), self.vault).await.map_err(lost)?;
            report.copies_arrive = copies_arrive(&row);
            if report.copies_arrive {
                return Ok(HashSet::new());
            }
            report.packs_closed += closing.len() as u64;
            closing.sort();
            self.write_record(&closing).await.map_err(lost)?;
        }
        Ok(ready)
    }

    /// Gathers closings in one object, and removes those that stand in a newer one which nobody overlooks any more, or whose
    /// packs are gone for good.
    pub(super) async fn tidy_closings(&mut self, view: &View) -> Result<(), CleanupError> {
        let is_closing = |object: &Condemned| object.what.is_closing();
        let records = || view.row.condemnations.iter().filter(|record| record.objects.iter().any(is_closing));
        let there: HashSet<PackId> = view
            .objects
            .values()
            .flat_map(|seen| seen.origins.iter().map(|origin| origin.pack))
            .chain(view.live.keys().copied())
            .chain([condemned::EVERY_PACK])
            .collect();
        let margin = self.options.overlap();
        for record in records() {
            let is_told = |object: &Condemned| {
                let mut newer = records().filter(|other| {
                    (other.since, &other.name) > (record.since, &record.name)
                        && other.since + margin <= view.now
                });
                newer.any(|other| other.objects.contains(object))
            };
            let is_old = record.since + super::REMEMBERED <= view.now && view.not_understood.is_empty();
            let is_gone =
                |object: &Condemned| is_old && object.pack().is_some_and(|pack| !there.contains(&pack));
            if record.objects.iter().all(|object| is_told(object) || is_gone(object)) {
                self.drop_record(&record.name).await.map_err(lost)?;
            }
        }
        if records().count() > CLOSINGS_MANY {
            let all = records().flat_map(|record| record.objects.iter().copied().filter(is_closing));
            let mut all: Vec<_> = all.collect::<HashSet<_>>().into_iter().collect();
            let is_whole = |record: &condemned::Condemnation| record.objects.len() == all.len();
            if !records().any(is_whole) {
                all.sort();
                self.write_record(&all).await.map_err(lost)?;
            }
        }
        Ok(())
    }
}
