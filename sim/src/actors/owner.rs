//! The owner, whose key opens snapshots: what it tells the collector, as `backup::regroup` does.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use vault::collect::{Owner, OwnerError, Sealed, View};
use vault::error::Damage;
use vault::pack::{Origin, PackKind, Trailer, verify_whole};
use vault::sabotage::{Rule, keeps};
use vault::{ObjectHash, PackId, SnapshotId, name, snapshot};

use super::Actor;
use crate::toy::{self, Spot, VAULT, segment_of};
use crate::world::lock;

/// What snapshots need, as far as it was surveyed.
pub struct KeyHolder {
    actor: Actor,
    needed: BTreeMap<PackId, BTreeSet<Spot>>,
}

impl KeyHolder {
    /// One who knows nothing yet.
    pub fn new(actor: &Actor) -> Self {
        Self { actor: actor.clone(), needed: BTreeMap::new() }
    }
}

impl Owner for KeyHolder {
    /// Reads all snapshots that a listing shows, which may be behind.
    fn survey(&mut self, living: &[SnapshotId]) -> Result<(), OwnerError> {
        let mut world = lock(&self.actor.world);
        let mut seen = HashSet::new();
        self.needed.clear();
        for (name, bytes) in world.listed(self.actor.place, name::SNAPSHOTS) {
            let Some(id) = ObjectHash::from_object_name(&name) else { continue };
            if !keeps(Rule::TrashIsSurveyed) && !living.contains(&id) {
                continue;
            }
            let spots = snapshot::decode(&bytes, id, VAULT).ok().and_then(|object| toy::spots_of(&object));
            let Some(spots) = spots else { return Err(format!("{name} cannot be read").into()) };
            for (pack, spot) in spots {
                self.needed.entry(pack).or_default().insert(spot);
            }
            seen.insert(id);
        }
        match living.iter().find(|id| !seen.contains(id)) {
            Some(id) => Err(format!("{} is not there", id.snapshot_name()).into()),
            None => Ok(()),
        }
    }

    fn worth_regrouping(&mut self, view: &View) -> Result<Vec<PackId>, OwnerError> {
        let mut world = lock(&self.actor.world);
        let (objects, _) = world.site(self.actor.place);
        let mut worth = Vec::new();
        for (pack, segments) in &view.live {
            let trailers = view.objects.iter().filter_map(|(object, seen)| {
                seen.origins.iter().find(|origin| origin.pack == *pack)?;
                verify_whole(&objects.current(&object.pack_name())?.bytes, *object, VAULT).ok()
            });
            let generation = |trailer: &Trailer| trailer.origin(*pack).map(|origin| origin.generation);
            let Some(newest) = trailers.max_by_key(generation) else { continue };
            let is_thinnable =
                newest.kind == PackKind::Data && newest.origin(*pack).is_some_and(toy::is_double);
            let needed = self.needed.get(pack);
            let is_dead = |(of, spot, _): &(PackId, Spot, u64)| {
                of == pack
                    && segments.contains(segment_of(*spot))
                    && needed.is_none_or(|needed| !needed.contains(spot))
            };
            if is_thinnable && toy::directory(&newest).iter().any(is_dead) {
                worth.push(*pack);
            }
        }
        worth.sort();
        Ok(worth)
    }

    fn thin(
        &mut self,
        _: PackKind,
        origin: &Origin,
        sealed: &[Sealed],
    ) -> Result<(Origin, Vec<Sealed>), Damage> {
        let needed = self.needed.get(&origin.pack);
        toy::thin(origin, sealed, |spot| needed.is_some_and(|needed| needed.contains(&spot)))
            .ok_or(Damage::Nonsense("a chunk that is needed is not there"))
    }
}
