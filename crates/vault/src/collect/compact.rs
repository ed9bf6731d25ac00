//! Compaction: living segments are copied, sealed as they are, into new packs.

use std::sync::Arc;

use bytes::Bytes;
use store::{Kind, Store};

use super::plan::Plan;
use super::view::View;
use crate::check::Watch;
use crate::error::{Damage, VaultError};
use crate::fragment::PackRecord;
use crate::name::{ObjectHash, PackId, VaultId};
use crate::pack::{FinishedPack, PackAssembler, PackKind, SegmentRow, Trailer, read_trailer};
use crate::relocation::Moved;
use crate::sabotage::{Rule, keeps};
use crate::segments::SegmentSet;

/// A new pack is ended when it has this many bytes: it is held in memory until it is stored.
const TARGET: u64 = 32 << 20;
/// … or this many origins.
const ORIGINS: usize = 4096;
/// Segments that lie side by side are read together, up to this many bytes.
const READ_MAX: u64 = 8 << 20;

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
    open: Option<PackAssembler>,
    /// What is in the open pack.
    filling: Vec<(PackId, SegmentSet)>,
    done: Compacted,
}

/// Moves what is alive in the objects that the plan chose. Whatever fails or is ended early, what was moved until then
/// is good: nothing is taken away here.
pub(super) async fn run(
    store: &Arc<dyn Store>,
    vault: VaultId,
    view: &View,
    plan: &Plan,
    random: &mut (dyn FnMut() -> [u8; 16] + Send),
    watch: &dyn Watch,
) -> Result<Compacted, VaultError> {
    let mut compaction =
        Compaction { store, vault, random, open: None, filling: Vec::new(), done: Compacted::default() };
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
                compaction.done.emptied.push(*object);
                continue;
            }
            match compaction.empty(*object, view, plan, watch).await? {
                Ok(()) => compaction.done.emptied.push(*object),
                Err(damage) => compaction.done.damaged.push((*object, damage)),
            }
        }
        compaction.end_pack().await?;
    }
    Ok(compaction.done)
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
            // A pack id has one home: all its segments go into one new pack, or readers would have to look in several.
            let sealed = match self.read(object, &wanted, watch).await? {
                Ok(sealed) => sealed,
                Err(damage) => return Ok(Err(damage)),
            };
            self.place(&trailer, place, &wanted, sealed);
            let is_full = |pack: &PackAssembler| pack.size() >= TARGET || pack.origins() >= ORIGINS;
            if self.open.as_ref().is_some_and(is_full) {
                self.end_pack().await?;
            }
        }
        Ok(Ok(()))
    }

    /// The sealed bytes of segments, each compared with its hash.
    async fn read(
        &mut self,
        object: ObjectHash,
        rows: &[SegmentRow],
        watch: &dyn Watch,
    ) -> Result<Result<Vec<Bytes>, Damage>, VaultError> {
        let name = object.pack_name();
        let mut sealed = Vec::with_capacity(rows.len());
        let mut rows = rows.iter().peekable();
        while let Some(first) = rows.next() {
            let mut together = vec![first];
            let mut end = first.offset + u64::from(first.length);
            while let Some(row) = rows.next_if(|row| {
                row.offset == end && row.offset + u64::from(row.length) - first.offset <= READ_MAX
            }) {
                end += u64::from(row.length);
                together.push(row);
            }
            let bytes = match self.store.get_range(&name, first.offset..end).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == Kind::NotFound => return Ok(Err(Damage::Missing)),
                Err(error) if error.kind == Kind::Truncated => return Ok(Err(Damage::HashMismatch)),
                Err(error) => return Err(error.into()),
            };
            watch.read(bytes.len() as u64);
            for row in together {
                let start = (row.offset - first.offset) as usize;
                let segment = bytes.get(start..start + row.length as usize).unwrap_or_default();
                if *blake3::hash(segment).as_bytes() != row.hash {
                    return Ok(Err(Damage::SegmentHash { number: row.number }));
                }
                sealed.push(bytes.slice_ref(segment));
            }
        }
        Ok(Ok(sealed))
    }

    fn place(&mut self, trailer: &Trailer, place: usize, rows: &[SegmentRow], sealed: Vec<Bytes>) {
        let Some(origin) = trailer.origins.get(place) else { return };
        let (vault, random) = (self.vault, &mut self.random);
        let pack =
            self.open.get_or_insert_with(|| PackAssembler::new(trailer.kind, vault, PackId::new(random())));
        pack.begin_origin(origin.clone());
        let mut segments = SegmentSet::default();
        for (row, sealed) in rows.iter().zip(sealed) {
            self.done.segments += 1;
            self.done.bytes += sealed.len() as u64;
            segments.insert(row.number);
            pack.push_moved(row.number, row.hash, sealed);
        }
        self.filling.push((origin.pack, segments));
    }

    async fn end_pack(&mut self) -> Result<(), VaultError> {
        let Some(pack) = self.open.take() else { return Ok(()) };
        let finished: FinishedPack = pack.finish_moved();
        let record = PackRecord::from(&finished);
        self.store.put(&finished.hash.pack_name(), finished.parts).await?;
        let object = record.hash;
        let filled = std::mem::take(&mut self.filling);
        self.done.moved.extend(filled.into_iter().map(|(pack, segments)| Moved { pack, object, segments }));
        self.done.packs.push(record);
        Ok(())
    }
}
