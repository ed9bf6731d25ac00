//! What is needed, what is not, and what is worth moving: a pure function of what was seen.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::Options;
use super::view::{PackObject, View};
use crate::condemned::What;
use crate::name::{ObjectHash, PackId};
use crate::pack::PackKind;
use crate::sabotage::{Rule, keeps};

/// Packs smaller than this are worth joining, when there are many.
const SMALL: u64 = 8 << 20;
/// … namely this many of a kind.
const SMALL_MANY: usize = 16;
/// A pack with a smaller share of unused bytes is left as it is.
const WORTH_MOVING: f64 = 0.05;

/// What to do.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For each pack that is needed, the object that is kept for it.
    pub keepers: HashMap<PackId, ObjectHash>,
    /// Packs that are needed and of which several objects say to hold something, in a way that only their content could
    /// decide: all of these stay.
    pub disputed: HashSet<PackId>,
    /// Pack objects that something needs.
    pub needed: HashSet<ObjectHash>,
    /// Pack objects that nothing needs.
    pub dead: Vec<ObjectHash>,
    /// Pack objects that nothing needs yet: a backup may still be about to.
    pub unfinished: Vec<ObjectHash>,
    /// Pack objects whose living segments are to be moved, in order.
    pub moves: Vec<ObjectHash>,
    /// Bytes that snapshots need, with what goes with them.
    pub live_bytes: u64,
    /// Bytes in needed packs that nothing needs.
    pub unused_bytes: u64,
    /// Bytes that moving would read and write.
    pub moved_bytes: u64,
}

impl Plan {
    /// How many segments go elsewhere when an object is emptied: those of packs for which it is kept, as far as they live.
    pub(super) fn segments_to_move(&self, view: &View, object: ObjectHash) -> u64 {
        let origins = view.objects.get(&object).into_iter().flat_map(|seen| &seen.origins);
        let kept = origins.filter(|origin| self.keepers.get(&origin.pack) == Some(&object));
        let living = kept.filter_map(|origin| Some((origin, view.live.get(&origin.pack)?)));
        living
            .map(|(origin, live)| {
                live.iter().filter(|number| origin.present.contains(*number)).count() as u64
            })
            .sum()
    }

    /// Adds an object to those whose living segments are moved. Whether it is among them: one that nobody may move, or
    /// that would be too much, is not.
    pub(super) fn adds_move(&mut self, view: &View, options: &Options, object: ObjectHash) -> bool {
        let Some(seen) = view.objects.get(&object) else { return false };
        if self.moves.contains(&object) {
            return true;
        }
        let cost = used(self, object, seen);
        let fits = options.max_move.is_none_or(|most| self.moved_bytes + cost <= most);
        let may_move = fits && is_movable(view, options, self, object, seen);
        if may_move {
            self.moves.push(object);
            self.moved_bytes += cost;
        }
        may_move
    }
}

/// Whether an object may be emptied.
fn is_movable(view: &View, options: &Options, plan: &Plan, object: ObjectHash, seen: &PackObject) -> bool {
    let whole = seen
        .origins
        .iter()
        .all(|origin| !view.live.contains_key(&origin.pack) || plan.keepers.contains_key(&origin.pack));
    // Before that, an older one could be hidden still.
    let is_settled = seen.modified + options.settle + options.settle <= view.now;
    let may_move = seen.kind == PackKind::Tree || !options.keeps_data;
    whole && may_move && is_settled && plan.needed.contains(&object)
}

/// Makes the plan. `false_copies` are objects that were found not to hold what they say of a pack.
pub fn plan(view: &View, options: &Options, false_copies: &HashSet<(PackId, ObjectHash)>) -> Plan {
    let condemned = view.row.of(What::Pack);
    let mut plan = Plan::default();
    let mut places: HashMap<PackId, Vec<ObjectHash>> = HashMap::new();
    for (object, pack) in &view.objects {
        for origin in pack.origins.iter().filter(|origin| view.live.contains_key(&origin.pack)) {
            places.entry(origin.pack).or_default().push(*object);
        }
    }
    for pack in view.live.keys() {
        let all = places.get(pack).into_iter().flatten();
        let objects: Vec<ObjectHash> =
            all.filter(|object| !false_copies.contains(&(*pack, **object))).copied().collect();
        match keeper(view, options, &condemned, *pack, &objects) {
            Some(keeper) => {
                plan.keepers.insert(*pack, keeper);
                plan.needed.insert(keeper);
            }
            None => {
                plan.disputed.insert(*pack);
                plan.needed.extend(objects);
                let named = view.named.get(pack).into_iter().flatten();
                plan.needed.extend(named.filter(|object| view.objects.contains_key(*object)));
            }
        }
    }
    // Somebody at work may have stored what no snapshot needs yet.
    let at_work = view.leases.iter().filter(|lease| options.may_be_at_work(lease, view.now));
    let oldest = at_work.map(|lease| lease.begun).min();
    for (object, seen) in &view.objects {
        if plan.needed.contains(object) {
            let used = used(&plan, *object, seen);
            plan.live_bytes += used;
            plan.unused_bytes += seen.size.saturating_sub(used);
        } else if condemned.contains(object) {
            continue;
        } else {
            let was_needed = seen.origins.iter().any(|origin| {
                view.expired_needs.contains_key(&origin.pack) || view.live.contains_key(&origin.pack)
            });
            let is_young = seen.modified + options.unfinished > view.now
                || oldest.is_some_and(|begun| seen.modified >= begun);
            if is_young && !was_needed { &mut plan.unfinished } else { &mut plan.dead }.push(*object);
        }
    }
    plan.dead.sort();
    plan.unfinished.sort();
    choose_moves(view, options, &condemned, &mut plan);
    plan
}

/// The one object that is kept for a pack; `None` when that cannot be told.
///
/// A machine that only adds could be in the wrong hands: it can store an object that says to hold a pack, and a snapshot
/// that says so too. So an object takes the place of what another snapshot names only if a relocation leads to it:
/// only the collector writes those. And since a pack's id is not known before the pack is there, what was stored before
/// all others that say to hold it is the true one.
fn keeper(
    view: &View,
    options: &Options,
    condemned: &HashSet<ObjectHash>,
    pack: PackId,
    objects: &[ObjectHash],
) -> Option<ObjectHash> {
    let needed = view.live.get(&pack)?;
    let holding = |object: &ObjectHash| {
        view.objects.get(object).and_then(|seen| seen.origins.iter().find(|origin| origin.pack == pack))
    };
    let is_full = |object: &ObjectHash| holding(object).is_some_and(|at| at.present.contains_all(needed));
    // One that is not condemned. Of these the one that was regrouped last: it takes the place of the others, and none of them
    // that of it. And of these the one that holds the least besides.
    let rank = |object: &&ObjectHash| {
        let (generation, segments) =
            holding(object).map_or((0, 0), |origin| (origin.generation, origin.present.len()));
        (condemned.contains(*object), Reverse(generation), segments, **object)
    };
    let moved_to = objects.iter().filter(|object| view.moved.has_moved(pack, **object) && is_full(object));
    if let Some(object) = moved_to.min_by_key(rank) {
        return Some(*object);
    }
    if !keeps(Rule::KeepersAreTrusted) {
        return objects.iter().filter(|object| is_full(object)).min_by_key(rank).copied();
    }
    // What a relocation leads to is a copy that a collector made; a snapshot may name it too.
    let named = view.named.get(&pack).into_iter().flatten();
    let named: Vec<ObjectHash> =
        named.filter(|object| !view.moved.has_moved(pack, **object)).copied().collect();
    match (named.as_slice(), objects) {
        ([object], _) if objects.contains(object) => {
            let received = |object: &ObjectHash| view.objects.get(object).map(|seen| seen.modified);
            let first = received(object).map(|received| received + options.settle);
            let is_later = |other: &ObjectHash| {
                other == object || view.moved.has_moved(pack, *other) || received(other) >= first
            };
            (is_full(object) && objects.iter().all(is_later)).then_some(*object)
        }
        // The relocation was lost.
        (_, [object]) if !named.iter().any(|named| view.objects.contains_key(named)) => {
            is_full(object).then_some(*object)
        }
        // It was condemned when nobody needed the pack, and somebody relied on it.
        _ if !named.iter().any(|named| view.objects.contains_key(named)) => {
            let had_moved = |object: &&ObjectHash| view.moved.had_moved(pack, **object) && is_full(object);
            objects.iter().filter(had_moved).min_by_key(rank).copied()
        }
        _ => None,
    }
}

/// The bytes of an object that are kept because of it.
fn used(plan: &Plan, object: ObjectHash, seen: &PackObject) -> u64 {
    let kept = seen.origins.iter().filter(|origin| {
        plan.keepers.get(&origin.pack) == Some(&object) || plan.disputed.contains(&origin.pack)
    });
    kept.map(|origin| origin.live_bytes + origin.overhead).sum()
}

fn choose_moves(view: &View, options: &Options, condemned: &HashSet<ObjectHash>, plan: &mut Plan) {
    let movable =
        |(object, seen): &(&ObjectHash, &PackObject)| is_movable(view, options, plan, **object, seen);
    let candidates: Vec<_> = view.objects.iter().filter(movable).collect();
    let unused = |object: ObjectHash, seen: &PackObject| seen.size.saturating_sub(used(plan, object, seen));
    let share = |object: ObjectHash, seen: &PackObject| unused(object, seen) as f64 / seen.size.max(1) as f64;
    // What is condemned and needed after all stays condemned: it goes when all of value in it is elsewhere.
    let (rescued, candidates): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|(object, _)| condemned.contains(*object));
    let mut chosen: Vec<(ObjectHash, &PackObject)> =
        rescued.into_iter().map(|(object, seen)| (*object, seen)).collect();
    let mut small: HashMap<PackKind, Vec<(ObjectHash, &PackObject)>> = HashMap::new();
    let mut wasteful: Vec<(ObjectHash, &PackObject)> = Vec::new();
    for (object, seen) in candidates {
        if seen.size < SMALL {
            small.entry(seen.kind).or_default().push((*object, seen));
        }
        if share(*object, seen) > WORTH_MOVING {
            wasteful.push((*object, seen));
        }
    }
    wasteful.sort_by(|(a, seen_a), (b, seen_b)| {
        share(*b, seen_b).total_cmp(&share(*a, seen_a)).then_with(|| a.cmp(b))
    });
    let allowed = (plan.live_bytes as f64 * options.max_unused.max(0.0)) as u64;
    let mut remaining = plan.unused_bytes;
    for (object, seen) in wasteful {
        if remaining <= allowed {
            break;
        }
        remaining = remaining.saturating_sub(unused(object, seen));
        chosen.push((object, seen));
    }
    for kind in [PackKind::Data, PackKind::Tree] {
        let mut small = small.remove(&kind).unwrap_or_default();
        if small.len() >= SMALL_MANY {
            small.sort_by_key(|(object, seen)| (Reverse(seen.modified), *object));
            chosen.extend(small);
        }
    }
    let mut taken = HashSet::new();
    let mut moves = Vec::new();
    let mut bytes = 0;
    for (object, seen) in chosen {
        let cost = used(plan, object, seen);
        if options.max_move.is_none_or(|most| bytes + cost <= most) && taken.insert(object) {
            bytes += cost;
            moves.push((object, seen));
        }
    }
    // What was stored at about the same time stays together.
    moves.sort_by_key(|(object, seen)| (seen.modified, *object));
    plan.moves = moves.into_iter().map(|(object, _)| object).collect();
    plan.moved_bytes = bytes;
}
