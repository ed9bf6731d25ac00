//! Compaction: living segments are copied, sealed as they are, into new packs.

use std::sync::Arc;

use store::{Kind, StorageClass, Store};

use super::plan::Plan;
use super::view::View;
use crate::check::Watch;
use crate::error::{Damage, VaultError};
use crate::fragment::PackRecord;
use crate::moving::{Mover, read_segments};
use crate::name::{ObjectHash, VaultId};
use crate::pack::{PackKind, SegmentRow, read_trailer};
use crate::relocation::Moved;
use crate::sabotage::{Rule, keeps};

/// What compaction did.
#[derive(Debug, Default)]
pub(super) struct Compacted {
    /// The new packs.
    pub packs: Vec<PackRecord>,
    /// Where the segments went.
    pub moved: Vec<Moved>,
    /// Objects that are not needed any more because of it.
    pub emptied: Vec<ObjectHash>,
    /// Objects that stay as they are, and why.
    pub damaged: Vec<(ObjectHash, Damage)>,
    /// Segments and bytes that were copied.
    pub segments: u64,
    pub bytes: u64,
}

struct Compaction<'a> {
    store: &'a Arc<dyn Store>,
    vault: VaultId,
    random: &'a mut (dyn FnMut() -> [u8; 16] + Send),
    mover: Mover<'a>,
    emptied: Vec<ObjectHash>,
    damaged: Vec<(ObjectHash, Damage)>,
}

/// Moves what is alive in the objects that the plan chose. Whatever fails or is ended early, what was moved until then
/// is good: nothing is taken away here.
pub(super) async fn run(
    store: &Arc<dyn Store>,
    vault: VaultId,
    view: &View,
    plan: &Plan,
    data_class: Option<&StorageClass>,
    random: &mut (dyn FnMut() -> [u8; 16] + Send),
    watch: &dyn Watch,
) -> Result<Compacted, VaultError> {
    let mover = Mover::new(store, vault, data_class);
    let mut compaction = Compaction { store, vault, random, mover, emptied: Vec::new(), damaged: Vec::new() };
    watch.stage("moving segments");
    watch.total(plan.moved_bytes);
    for kind in [PackKind::Data, PackKind::Tree] {
        for object in &plan.moves {
            if view.objects.get(object).is_none_or(|seen| seen.kind != kind) {
                continue;
            }
            if watch.is_cancelled() {
                break;
            }
            if !keeps(Rule::SegmentsAreCopied) {
                compaction.emptied.push(*object);
                continue;
            }
            match compaction.empty(*object, view, plan, watch).await {
                Ok(Ok(())) => compaction.emptied.push(*object),
                Ok(Err(damage)) => compaction.damaged.push((*object, damage)),
                // Warming it would cost more than its unused bytes.
                Err(VaultError::Store(error)) if error.kind == Kind::Cold => {}
                Err(error) => return Err(error),
            }
        }
        compaction.mover.end_pack().await?;
    }
    let Compaction { mover, emptied, damaged, .. } = compaction;
    let Mover { packs, moved, segments, bytes, .. } = mover;
    Ok(Compacted { packs, moved, emptied, damaged, segments, bytes })
}

impl Compaction<'_> {
    async fn empty(
        &mut self,
        object: ObjectHash,
        view: &View,
        plan: &Plan,
        watch: &dyn Watch,
    ) -> Result<Result<(), Damage>, VaultError> {
        let (trailer, ..) = match read_trailer(self.store.as_ref(), object, self.vault).await {
            Ok(Ok(read)) => read,
            Ok(Err(damage)) => return Ok(Err(damage)),
            Err(error) if error.kind == Kind::NotFound => return Ok(Err(Damage::Missing)),
            Err(error) => return Err(error.into()),
        };
        for (place, origin) in trailer.origins.iter().enumerate() {
            if plan.keepers.get(&origin.pack) != Some(&object) {
                continue;
            }
            let Some(live) = view.live.get(&origin.pack) else { continue };
            let wanted: Vec<SegmentRow> = trailer
                .rows
                .iter()
                .filter(|row| row.origin as usize == place && live.contains(row.number))
                .copied()
                .collect();
            if wanted.len() != live.len() {
                return Ok(Err(Damage::Nonsense("a segment of it is missing")));
            }
            let sealed = match read_segments(self.store.as_ref(), object, &wanted, watch).await? {
                Ok(sealed) => sealed,
                Err(damage) => return Ok(Err(damage)),
            };
            self.mover.place(trailer.kind, origin, sealed, self.random).await?;
        }
        Ok(Ok(()))
    }
}
