//! Before a pack that was moved is deleted, what replaces it is read and compared with it, byte for byte.
//!
//! An object's table may lie, and so may an index fragment about it. Sealed segments are compared by their hashes, which
//! the pack that is about to go has in its own table; nobody needs a key for that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use store::{Kind, Store};

use super::plan::Plan;
use super::view::{Authority, View};
use super::{Collector, Report};
use crate::check::Unwatched;
use crate::condemned::{Condemned, What};
use crate::error::VaultError;
use crate::moving::{READ_MAX, prove, read_segments};
use crate::name::{ObjectHash, PackId, VaultId};
use crate::pack::{SegmentRow, Trailer, read_trailer};
use crate::sabotage::{Rule, keeps};
use crate::segments::SegmentSet;

/// How closely a copy is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the two tables say: enough to condemn.
    Tables,
    /// Every byte that is needed: before the original goes.
    Bytes,
}

impl Collector<'_> {
    /// Those of `going` that must stay, because what is kept in their place does not hold what they do. `depth` says
    /// whether to believe the tables.
    pub(super) async fn refute(
        &mut self,
        view: &View,
        plan: &Plan,
        going: &[Condemned],
        depth: Depth,
        report: &mut Report,
    ) -> Result<HashSet<Condemned>, VaultError> {
        let mut refuted = HashSet::new();
        if !keeps(Rule::CopiesAreProved) {
            return Ok(refuted);
        }
        // Many packs went into one object: its table is read once for those that follow one another.
        let mut last: Option<(ObjectHash, Option<Trailer>)> = None;
        for object in going.iter().filter(|object| object.what == What::Pack) {
            let Some(seen) = view.objects.get(&object.hash) else { continue };
            let needed: Vec<PackId> = seen
                .origins
                .iter()
                .map(|origin| origin.pack)
                .filter(|pack| view.live.contains_key(pack))
                .collect();
            if needed.is_empty() {
                continue;
            }
            let old = match trailer(self.store, object.hash, self.vault).await {
                Ok(Some(old)) => old,
                Ok(None) => continue,
                Err(error) if is_cold(&error) => {
                    refuted.insert(*object);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for pack in needed {
                let Some(keeper) = plan.keepers.get(&pack).copied() else { continue };
                // What a relocation led to counts, also when that has been told anew and is condemned itself.
                if view.authority(pack, object.hash) == Authority::Itself
                    && !view.moved.had_moved(pack, object.hash)
                {
                    continue;
                }
                let Some(live) = view.live.get(&pack) else { continue };
                if last.as_ref().is_none_or(|(object, _)| *object != keeper) {
                    last = match trailer(self.store, keeper, self.vault).await {
                        Ok(table) => Some((keeper, table)),
                        Err(error) if is_cold(&error) => {
                            refuted.insert(*object);
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                }
                let new = last.as_ref().and_then(|(_, table)| table.as_ref());
                let compared = match new {
                    Some(new) => {
                        let likeness = likeness(view, pack, &old, keeper, new);
                        is_copy(self.store, &old, (keeper, new), pack, live, likeness, depth).await
                    }
                    None => Ok(false),
                };
                let copied = match compared {
                    Err(error) if is_cold(&error) => {
                        refuted.insert(*object);
                        continue;
                    }
                    copied => copied?,
                };
                if !copied {
                    // What a repair replaced is damaged itself: what its table says counts for nothing.
                    let proved = prove(self.store, object.hash, seen.size, self.vault, &Unwatched).await?;
                    if proved.is_err() {
                        continue;
                    }
                    if view.authority(pack, keeper) < Authority::Custodian {
                        self.false_copies.insert((pack, keeper));
                    }
                    let problem = format!("it does not hold what {} holds", object.object_name());
                    report.not_understood.push((keeper.pack_name(), problem));
                    refuted.insert(*object);
                }
            }
        }
        Ok(refuted)
    }
}

/// What is in cold storage cannot be compared, so what it would take the place of stays.
fn is_cold(error: &VaultError) -> bool {
    matches!(error, VaultError::Store(error) if error.kind == Kind::Cold)
}

async fn trailer(
    store: &Arc<dyn Store>,
    object: ObjectHash,
    vault: VaultId,
) -> Result<Option<Trailer>, VaultError> {
    match read_trailer(store.as_ref(), object, vault).await {
        Ok(read) => Ok(read.ok().map(|(trailer, ..)| trailer)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What a copy of a pack is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// The same bytes.
    Same,
    /// Sealed anew by the owner.
    SealedAnew,
}

/// What `new`, the table of `keeper`, has to be. What the owner sealed anew is not the same bytes; that it holds what is
/// needed, its collector has said: nobody else writes relocations and closes packs.
fn likeness(view: &View, pack: PackId, old: &Trailer, keeper: ObjectHash, new: &Trailer) -> Likeness {
    let generation = |trailer: &Trailer| trailer.origin(pack).map_or(0, |origin| origin.generation);
    let is_regrouped = generation(new) > generation(old)
        && view.authority(pack, keeper) == Authority::Custodian
        && view.row.closed(What::ClosedPack).contains_key(&pack);
    if is_regrouped { Likeness::SealedAnew } else { Likeness::Same }
}

/// Whether `keeper`, whose table is `new`, really holds every needed segment of `pack` that the old object has.
pub(crate) async fn is_copy(
    store: &Arc<dyn Store>,
    old: &Trailer,
    (keeper, new): (ObjectHash, &Trailer),
    pack: PackId,
    needed: &SegmentSet,
    likeness: Likeness,
    depth: Depth,
) -> Result<bool, VaultError> {
    let by_number = |trailer: &Trailer| -> HashMap<u32, SegmentRow> {
        trailer.rows_of(pack).into_iter().map(|row| (row.number, row)).collect()
    };
    let (rows, copies) = (by_number(old), by_number(new));
    let is_regrouped = likeness == Likeness::SealedAnew;
    let mut wanted = Vec::new();
    for number in needed.iter() {
        let Some(row) = rows.get(&number) else { continue };
        match copies.get(&number) {
            Some(copy) if is_regrouped || copy.hash == row.hash => wanted.push(*copy),
            _ => return Ok(false),
        }
    }
    wanted.sort_by_key(|row| row.offset);
    let mut rest = if depth == Depth::Bytes { wanted.as_slice() } else { &[] };
    while !rest.is_empty() {
        // Those that lie side by side are read by one call; no more of them at once than memory is meant for.
        let mut bytes = 0;
        let fits = |row: &&SegmentRow| {
            bytes += u64::from(row.length);
            bytes <= READ_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, after) = rest.split_at(count);
        rest = after;
        if read_segments(store.as_ref(), keeper, group, &Unwatched).await?.is_err() {
            return Ok(false);
        }
    }
    // Without its envelope no segment can be opened.
    Ok(is_regrouped || new.origin(pack) == old.origin(pack))
}
