//! Before a pack that was moved is deleted, what replaces it is read and compared with it, byte for byte.
//!
//! An object's table may lie, and so may an index fragment about it. Sealed segments are compared by their hashes, which
//! the pack that is about to go has in its own table; nobody needs a key for that.

use std::collections::HashSet;
use std::sync::Arc;

use store::{Kind, Store};

use super::plan::Plan;
use super::view::{Authority, View};
use super::{Collector, Report};
use crate::check::Unwatched;
use crate::condemned::{Condemned, What};
use crate::error::VaultError;
use crate::moving::prove;
use crate::name::{ObjectHash, PackId, VaultId};
use crate::pack::{Trailer, read_trailer};
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
                if view.authority(pack, object.hash) == Authority::Itself {
                    continue;
                }
                let Some(live) = view.live.get(&pack) else { continue };
                let copied = match is_copy(self.store, &old, keeper, pack, live, depth).await {
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

/// Whether `keeper` really holds every needed segment of `pack` that the old object has.
pub(crate) async fn is_copy(
    store: &Arc<dyn Store>,
    old: &Trailer,
    keeper: ObjectHash,
    pack: PackId,
    needed: &SegmentSet,
    depth: Depth,
) -> Result<bool, VaultError> {
    let Some(new) = trailer(store, keeper, old.vault).await? else { return Ok(false) };
    for number in needed.iter() {
        let Some(row) = old.row(pack, number) else { continue };
        let Some(copy) = new.row(pack, number).filter(|copy| copy.hash == row.hash) else {
            return Ok(false);
        };
        if depth == Depth::Tables {
            continue;
        }
        let range = copy.offset..copy.offset + u64::from(copy.length);
        match store.get_range(&keeper.pack_name(), range).await {
            Ok(sealed) if *blake3::hash(&sealed).as_bytes() == row.hash => {}
            Ok(_) => return Ok(false),
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Truncated) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    // Without its envelope no segment can be opened.
    Ok(new.origin(pack) == old.origin(pack))
}
