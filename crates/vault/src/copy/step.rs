//! What is to be done for one of the things that a snapshot needs.

use store::Kind;

use super::{ANOTHER_PACK, CopyError, Copying, REGROUPED_SINCE};
use crate::collect::proof::{Depth, Likeness, is_copy};
use crate::error::{Damage, VaultError};
use crate::moving::damage_of;
use crate::name::{ObjectHash, SnapshotId};
use crate::pack::read_trailer;
use crate::sabotage::{Rule, keeps};
use crate::segments::SegmentSet;
use crate::snapshot::PackNeed;

/// What is to be done for one of the things that a snapshot needs.
pub(super) enum Step {
    /// The target has it, where its readers look.
    There,
    /// The target has it in this object, and its readers do not know.
    Point(ObjectHash, SegmentSet),
    /// This object is to be copied.
    Copy(ObjectHash),
    /// The segments in this object are to be copied into another: its own name is not to be written again, or not all of it
    /// is whole.
    Move(ObjectHash),
    /// It cannot be had, because of this object.
    Lost(ObjectHash),
}

impl Copying<'_> {
    /// Looks at both vaults. `previous` is the snapshot before the one that needs it.
    pub(super) async fn step(&mut self, need: &PackNeed, previous: SnapshotId) -> Result<Step, CopyError> {
        let vault = self.descriptor.vault;
        if let Some(object) = self.there.find(need.pack, need.object, &need.segments) {
            let whole = self.find_here(need);
            let here = whole.or_else(|| self.find_torn_and_known(need));
            let needs_voucher = object != need.object && keeps(Rule::ArrivalsAreCompared);
            if needs_voucher && !self.is_vouched_for(need, here, object, previous).await? {
                // Under the name that the snapshot says, readers there find it and no relocation counts.
                if whole == Some(need.object) && !self.there.holders.is_condemned(need.object) {
                    return Ok(Step::Copy(need.object));
                }
                self.fault(self.target.location(), object.pack_name(), ANOTHER_PACK);
                return Ok(Step::Lost(object));
            }
            return match self.has_all_chunks(need, object).await? {
                true => Ok(self.if_whole(object, Step::There)),
                false => Ok(self.regrouped(object)),
            };
        }
        let Some(object) = self.find_here(need) else {
            if let Some(torn) = self.find_torn(need) {
                return Ok(Step::Move(torn));
            }
            let named = self.here.find(need.pack, need.object, &need.segments).unwrap_or(need.object);
            if !self.bad.contains_key(&named) {
                self.fault(self.source.location(), named.pack_name(), Damage::Missing);
            }
            return Ok(Step::Lost(named));
        };
        let was_moved = object != need.object || self.here.moved_to(need.pack).any(|(to, _)| to == object);
        if was_moved && !self.there.packs.is_empty() {
            // The target may have all of it in the object where it was before.
            let found = self.there.find_in_index(self.target, vault, need.pack, &need.segments).await?;
            if let Some((there, segments)) = found {
                let may_point = self.other_generation(need, object).await?.is_none();
                if may_point && self.is_same(need, object, there).await? {
                    return Ok(self.if_whole(there, Step::Point(there, segments)));
                }
                if !self.has_all_chunks(need, there).await? {
                    return Ok(self.regrouped(there));
                }
            }
        }
        let needs_pointing = object != need.object || self.there.holders.is_condemned(object);
        if needs_pointing && let Some(other) = self.other_generation(need, object).await? {
            return Ok(self.regrouped_at_the_source(other));
        }
        if self.there.holders.is_condemned(object) {
            return Ok(Step::Move(object));
        }
        if !self.there.packs.contains_key(&object) {
            return Ok(Step::Copy(object));
        }
        match read_trailer(self.target.as_ref(), object, vault).await {
            Ok(Ok((trailer, ..))) => {
                let segments = trailer.segments_of(need.pack);
                if segments.contains_all(&need.segments) {
                    return Ok(self.if_whole(object, Step::Point(object, segments)));
                }
                self.fault(self.source.location(), object.pack_name(), Damage::Missing);
            }
            Ok(Err(damage)) => self.fault(self.target.location(), object.pack_name(), damage),
            Err(error) => {
                let damage = damage_of(error)?;
                self.fault(self.target.location(), object.pack_name(), damage);
            }
        }
        Ok(Step::Lost(object))
    }

    fn regrouped(&mut self, object: ObjectHash) -> Step {
        let damage =
            Damage::Nonsense("its pack is regrouped there, without chunks that the snapshot may need");
        self.fault(self.target.location(), object.pack_name(), damage);
        Step::Lost(object)
    }

    fn regrouped_at_the_source(&mut self, object: ObjectHash) -> Step {
        self.fault(self.target.location(), object.pack_name(), REGROUPED_SINCE);
        Step::Lost(object)
    }

    /// An object at the target that holds the pack in another generation than `object` at the source. No relocation may
    /// lead to `object` then: cleanup and readers at the target would take the one for the other, and a regrouped pack
    /// lacks what only snapshots needed that the source has forgotten.
    async fn other_generation(
        &mut self,
        need: &PackNeed,
        object: ObjectHash,
    ) -> Result<Option<ObjectHash>, CopyError> {
        let may_differ = self.there.holders.is_closed(need.pack) && keeps(Rule::GenerationsAreKeptApart);
        if !may_differ || self.there.packs.is_empty() {
            return Ok(None);
        }
        let vault = self.descriptor.vault;
        let here = match read_trailer(self.source.as_ref(), object, vault).await {
            Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
            Err(error) => damage_of(error).map(|_| None)?,
        };
        let Some(here) = here else { return Ok(None) };
        for other in self.there.all_holders(self.target, vault, need.pack).await? {
            let found = match read_trailer(self.target.as_ref(), other, vault).await {
                Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
                Err(error) if error.kind == Kind::NotFound => continue,
                Err(error) => damage_of(error).map(|_| None)?,
            };
            // One that is damaged could be any.
            if found.is_none_or(|found| found.envelope != here.envelope) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Whether the object at the target has every chunk that snapshots of the source may need of a pack, and will have.
    /// Where the pack was never closed it is as it was first sealed, or as it came from there. One that the target itself
    /// closed is thinned any time, by what was needed before this copy.
    async fn has_all_chunks(&mut self, need: &PackNeed, object: ObjectHash) -> Result<bool, CopyError> {
        if self.there.closed_here.contains(&need.pack) {
            return Ok(false);
        }
        if !self.there.holders.is_closed(need.pack) {
            return Ok(true);
        }
        let Some(here) = self.find_here(need) else { return Ok(false) };
        let key = (need.pack, here, object);
        if let Some(known) = self.chunks_known.get(&key) {
            return Ok(*known);
        }
        let vault = self.descriptor.vault;
        let there = match read_trailer(self.target.as_ref(), object, vault).await {
            Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
            Err(error) => damage_of(error).map(|_| None)?,
        };
        let has_all = match there {
            Some(there) if there.generation == 0 => true,
            Some(there) => {
                let here = match read_trailer(self.source.as_ref(), here, vault).await {
                    Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
                    Err(error) => damage_of(error).map(|_| None)?,
                };
                // What a vault may not regroup itself came from the source, perhaps at an earlier time.
                here.is_some_and(|here| here.envelope == there.envelope || there.generation < here.generation)
            }
            None => false,
        };
        self.chunks_known.insert(key, has_all);
        Ok(has_all)
    }

    /// Whether `there` at the target holds all that `here` at the source does of the pack, byte for byte. Whoever may add
    /// to a vault can store an object that only says so, and a relocation to it would be believed.
    async fn is_same(
        &mut self,
        need: &PackNeed,
        here: ObjectHash,
        there: ObjectHash,
    ) -> Result<bool, CopyError> {
        let trailer = match read_trailer(self.source.as_ref(), here, self.descriptor.vault).await {
            Ok(Ok((trailer, ..))) if trailer.segments_of(need.pack).contains_all(&need.segments) => trailer,
            Ok(_) => return Ok(false),
            Err(error) => return damage_of(error).map(|_| false).map_err(CopyError::from),
        };
        let segments = trailer.segments_of(need.pack);
        let target = match read_trailer(self.target.as_ref(), there, self.descriptor.vault).await {
            Ok(Ok((target, ..))) => target,
            Ok(Err(_)) => return Ok(false),
            Err(error) if error.kind == Kind::Cold => return Ok(false),
            Err(error) => return damage_of(error).map(|_| false).map_err(CopyError::from),
        };
        let (there, like) = ((there, &target), Likeness::Same);
        match is_copy(self.target, &trailer, there, need.pack, &segments, like, Depth::Bytes).await {
            // What is in cold storage is brought once more.
            Err(VaultError::Store(error)) if error.kind == Kind::Cold => Ok(false),
            is_same => Ok(is_same?),
        }
    }

    /// The step, unless the object at the target has another size than at the source: the target is damaged.
    fn if_whole(&mut self, object: ObjectHash, step: Step) -> Step {
        let (here, there) = (self.sizes.get(&object), self.there.packs.get(&object));
        match (here, there) {
            (Some(recorded), Some(found)) if recorded != found => {
                let damage = Damage::Length { recorded: *recorded, found: *found };
                self.fault(self.target.location(), object.pack_name(), damage);
                Step::Lost(object)
            }
            _ => step,
        }
    }

    /// The object of the source that holds what is needed.
    pub(super) fn find_here(&self, need: &PackNeed) -> Option<ObjectHash> {
        self.find_here_among(need, |object| !self.bad.contains_key(&object))
    }

    /// The same among those that are good enough.
    pub(super) fn find_here_among(
        &self,
        need: &PackNeed,
        is_good: impl Fn(ObjectHash) -> bool,
    ) -> Option<ObjectHash> {
        let is_good = |object: ObjectHash| self.sizes.contains_key(&object) && is_good(object);
        let found = self.here.find_among(need.pack, need.object, &need.segments, is_good);
        // Even one that is about to go is good enough to be read.
        let condemned = || {
            let moved = self.here.moved_to(need.pack).filter(|(_, there)| there.contains_all(&need.segments));
            let mut all = std::iter::once(need.object).chain(moved.map(|(object, _)| object));
            all.find(|object| is_good(*object))
        };
        found.or_else(condemned)
    }
}
