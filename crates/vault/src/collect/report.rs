//! What a cleanup says that it did, or would do.

use std::time::SystemTime;

use store::Calls;

use super::hold::Held;
use super::plan::Plan;
use super::view::{PackObject, Standing, View};
use crate::name::SystemId;

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

    pub(super) fn note(&mut self, view: &View, plan: &Plan) {
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
    pub(super) fn promise(&mut self, view: &View, plan: &Plan) {
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
