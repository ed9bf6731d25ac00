//! What is whole of a damaged object: a snapshot that needs nothing else is not left behind because of the rest.

use std::collections::{HashMap, HashSet};

use super::shelf::Shelf;
use super::{CopyError, Copying};
use crate::error::{Damage, VaultError};
use crate::moving::{Mover, damage_of, read_each};
use crate::name::{ObjectHash, PackId};
use crate::pack::read_trailer;
use crate::segments::SegmentSet;
use crate::snapshot::PackNeed;

/// Objects of the source that are damaged.
#[derive(Debug, Default)]
pub(super) struct Torn {
    objects: HashSet<ObjectHash>,
    /// Which segments of a pack are whole there, once that was looked at.
    whole: HashMap<(ObjectHash, PackId), SegmentSet>,
    /// What the source's index says, once somebody asked.
    index: Option<Shelf>,
}

impl Torn {
    /// Takes note of an object that is not what its name says.
    pub(super) fn note(&mut self, object: ObjectHash, damage: &Damage) {
        if *damage != Damage::Missing && !damage.is_newer() {
            self.objects.insert(object);
        }
    }

    pub(super) fn contains(&self, object: ObjectHash) -> bool {
        self.objects.contains(&object)
    }
}

impl Copying<'_> {
    /// The damaged object of the source that may have what is needed all the same.
    pub(super) fn find_torn(&self, need: &PackNeed) -> Option<ObjectHash> {
        // Of what was regrouped it would have to be known which generation this is, and its own table does not prove that.
        if self.there.holders.is_closed(need.pack) {
            return None;
        }
        let may_have = |object: ObjectHash| {
            let whole = self.torn.whole.get(&(object, need.pack));
            whole.is_none_or(|whole| whole.contains_all(&need.segments))
        };
        self.find_here_among(need, |object| self.torn.objects.contains(&object) && may_have(object))
    }

    /// The same once it was looked at.
    pub(super) fn find_torn_and_known(&self, need: &PackNeed) -> Option<ObjectHash> {
        self.find_torn(need).filter(|object| self.torn.whole.contains_key(&(*object, need.pack)))
    }

    /// Takes what is whole of these packs out of a damaged object.
    pub(super) async fn move_whole(
        &mut self,
        object: ObjectHash,
        needs: &[PackNeed],
        mover: &mut Mover<'_>,
    ) -> Result<(), CopyError> {
        let read = match read_trailer(self.source.as_ref(), object, self.descriptor.vault).await {
            Ok(read) => read.ok(),
            Err(error) => damage_of(error).map(|_| None)?,
        };
        // Its table could be what is damaged, and nothing in it would tell; so another has to say the same.
        let table = match read {
            Some((trailer, encoded, _)) if self.is_indexed_as(object, &encoded).await? => Some(trailer),
            _ => None,
        };
        for need in needs {
            let mut whole = SegmentSet::default();
            if let Some(table) = &table
                && let Some(origin) = table.origin(need.pack)
            {
                let rows = table.rows_of(need.pack);
                let read = read_each(self.source.as_ref(), object, &rows, self.watch).await?;
                let sealed: Vec<_> = read.into_iter().flatten().collect();
                whole = sealed.iter().map(|sealed| sealed.number).collect();
                if whole.contains_all(&need.segments) {
                    mover.place(table.kind, origin, sealed, self.random).await?;
                }
            }
            self.torn.whole.insert((object, need.pack), whole);
        }
        Ok(())
    }

    /// Whether the index of the source has this table for the object.
    async fn is_indexed_as(&mut self, object: ObjectHash, table: &[u8]) -> Result<bool, VaultError> {
        let vault = self.descriptor.vault;
        if self.torn.index.is_none() {
            let mut shelf = Shelf::default();
            shelf.learn_index(self.source, vault).await?;
            self.torn.index = Some(shelf);
        }
        let Some(shelf) = &self.torn.index else { return Ok(false) };
        let indexed = shelf.indexed_table(self.source, vault, object).await?;
        Ok(indexed.is_some_and(|(record, _)| record.trailer == *table))
    }
}
