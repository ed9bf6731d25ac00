//! Whether what a relocation of the target leads to is the pack that a snapshot of the source means.
//!
//! Whoever can sign for a machine can sign a snapshot that says of an object of its own that it holds somebody else's pack.
//! In the vault the true object was there first. In a copy the false one may be the first to arrive, and when the copy is
//! cleaned up, a relocation leads to it. So a relocation counts when something that no thief can say vouches for it: a
//! snapshot before the one that is copied now, one that names the same object or that both vaults have and read alike, or
//! the tables of both vaults.

use std::collections::HashMap;

use store::Kind;

use super::{CopyError, Copying, hashes};
use crate::error::Damage;
use crate::moving::damage_of;
use crate::name::{self, ObjectHash, PackId, SnapshotId};
use crate::pack::{Trailer, read_trailer};
use crate::snapshot::{Envelope, PackNeed, SNAPSHOT_MAX};

/// What is said of an object at the target when a snapshot cannot follow because of it.
pub const ANOTHER_PACK: Damage = Damage::Nonsense(
    "it says to hold a pack of the source and holds something else, or what cannot be compared; the snapshot arrives when \
     those that need it here are forgotten and cleaned up",
);

/// So far back one before a snapshot is looked for that is at the target.
const ANCESTORS_MAX: usize = 1000;
/// Tables are remembered up to this many, since those of moved packs are asked for again and again.
const TABLES_MAX: usize = 64;

/// Which objects a snapshot names for packs.
type Named = HashMap<PackId, ObjectHash>;

/// What is known of who vouches for what.
#[derive(Debug, Default)]
pub(super) struct Vouchers {
    /// What the nearest one before a snapshot names, if that is at the target; for the snapshot that was asked about last.
    before: Option<(SnapshotId, Option<Named>)>,
    /// What the snapshots that arrived in this copy name, the last one of each chain.
    arrived: HashMap<SnapshotId, Named>,
    /// What the snapshots at the target name for a pack, once somebody asked; and whether one is at the source too.
    all: Option<HashMap<PackId, HashMap<ObjectHash, bool>>>,
    /// Tables of the source (`true`) and the target.
    tables: HashMap<(bool, ObjectHash), Option<Trailer>>,
}

impl Vouchers {
    /// A snapshot arrived: what it names was vouched for.
    pub(super) fn arrived(&mut self, id: SnapshotId, envelope: &Envelope) {
        self.arrived.remove(&envelope.previous);
        self.arrived.insert(id, named(&envelope.needs));
        if let Some(all) = &mut self.all {
            add(all, &envelope.needs, true);
        }
    }
}

fn add(all: &mut HashMap<PackId, HashMap<ObjectHash, bool>>, needs: &[PackNeed], is_here: bool) {
    for need in needs {
        *all.entry(need.pack).or_default().entry(need.object).or_default() |= is_here;
    }
}

fn named(needs: &[PackNeed]) -> Named {
    needs.iter().map(|need| (need.pack, need.object)).collect()
}

impl Copying<'_> {
    /// Whether `there`, which a relocation of the target leads to, is the pack that the snapshot after `previous` needs.
    /// `here` is where the source has it.
    pub(super) async fn is_vouched_for(
        &mut self,
        need: &PackNeed,
        here: Option<ObjectHash>,
        there: ObjectHash,
        previous: SnapshotId,
    ) -> Result<bool, CopyError> {
        // Both mean the same pack, and who restores the one before reads it there.
        let before = self.named_before(previous).await?.and_then(|named| named.get(&need.pack).copied());
        let reads_there = |object| self.there.find(need.pack, object, &need.segments) == Some(there);
        if before.is_some_and(reads_there) {
            return Ok(true);
        }
        let all = self.all_named(need.pack).await?;
        if all.iter().any(|(named, _)| *named == need.object) {
            return Ok(true);
        }
        let Some(here) = here else { return Ok(false) };
        // One that is at both, and is read here where this one is, and there where this one would be.
        let is_alike = |(named, is_here): &(ObjectHash, bool)| {
            *is_here
                && self.here.find(need.pack, *named, &need.segments) == Some(here)
                && self.there.find(need.pack, *named, &need.segments) == Some(there)
        };
        if all.iter().any(is_alike) {
            return Ok(true);
        }
        let here = self.rows(true, here, need).await?;
        let there = self.rows(false, there, need).await?;
        Ok(here.is_some() && here == there)
    }

    /// What the nearest snapshot before this one names that is at the target, going from one to the one before it.
    async fn named_before(&mut self, previous: SnapshotId) -> Result<Option<&Named>, CopyError> {
        let is_known = self.vouchers.before.as_ref().is_some_and(|(of, _)| *of == previous);
        if !is_known {
            let named = self.find_before(previous).await?;
            self.vouchers.before = Some((previous, named));
        }
        Ok(self.vouchers.before.as_ref().and_then(|(_, named)| named.as_ref()))
    }

    async fn find_before(&mut self, previous: SnapshotId) -> Result<Option<Named>, CopyError> {
        let mut at = previous;
        for _ in 0..ANCESTORS_MAX {
            if at == SnapshotId::default() {
                break;
            }
            if let Some(named) = self.vouchers.arrived.get(&at) {
                return Ok(Some(named.clone()));
            }
            let is_there = self.there.snapshots.contains(&at) && !self.there.has_forgotten(at);
            let store = if is_there { self.target } else { self.source };
            let read = match store.get(&at.snapshot_name(), SNAPSHOT_MAX).await {
                Ok(bytes) => self.decode(at, &bytes).ok(),
                Err(error) => damage_of(error).map(|_| None)?,
            };
            match read {
                Some(object) if is_there => return Ok(Some(named(&object.envelope.needs))),
                Some(object) => at = object.envelope.previous,
                None => break,
            }
        }
        Ok(None)
    }

    /// What living snapshots at the target name for a pack, and whether one of these is at the source too. Each was vouched for
    /// when it arrived, or brought what it names.
    async fn all_named(&mut self, pack: PackId) -> Result<Vec<(ObjectHash, bool)>, CopyError> {
        if self.vouchers.all.is_none() {
            let here = hashes(&self.source.list(name::SNAPSHOTS).await?, name::SNAPSHOTS);
            let living: Vec<_> =
                self.there.snapshots.iter().filter(|id| !self.there.has_forgotten(**id)).copied().collect();
            let mut all = HashMap::new();
            for id in living {
                let read = match self.target.get(&id.snapshot_name(), SNAPSHOT_MAX).await {
                    Ok(bytes) => self.decode(id, &bytes).ok(),
                    Err(error) => damage_of(error).map(|_| None)?,
                };
                let needs = read.map(|object| object.envelope.needs).unwrap_or_default();
                add(&mut all, &needs, here.contains(&id));
            }
            self.vouchers.all = Some(all);
        }
        let named = self.vouchers.all.as_ref().and_then(|all| all.get(&pack));
        Ok(named.into_iter().flatten().map(|(object, is_here)| (*object, *is_here)).collect())
    }

    /// The hashes of the segments that are needed, and the envelope that opens them, as an object's table has them.
    async fn rows(
        &mut self,
        is_source: bool,
        object: ObjectHash,
        need: &PackNeed,
    ) -> Result<Option<(Vec<[u8; 32]>, bytes::Bytes)>, CopyError> {
        let key = (is_source, object);
        if !self.vouchers.tables.contains_key(&key) {
            let store = if is_source { self.source } else { self.target };
            let table = match read_trailer(store.as_ref(), object, self.descriptor.vault).await {
                Ok(read) => read.ok().map(|(trailer, ..)| trailer),
                Err(error) if error.kind == Kind::Cold => None,
                Err(error) => damage_of(error).map(|_| None)?,
            };
            if self.vouchers.tables.len() >= TABLES_MAX {
                self.vouchers.tables.clear();
            }
            self.vouchers.tables.insert(key, table);
        }
        let Some(table) = self.vouchers.tables.get(&key).and_then(Option::as_ref) else { return Ok(None) };
        let hashes = need.segments.iter().map(|number| table.row(need.pack, number).map(|row| row.hash));
        let hashes: Option<Vec<_>> = hashes.collect();
        Ok(hashes.zip(table.origin(need.pack).map(|origin| origin.envelope.clone())))
    }
}
