//! When all is quiet: a byte of a pack changes, and the vault is copied to a new place.

use std::collections::BTreeSet;

use bytes::Bytes;
use vault::condemned;
use vault::pack::verify_whole;
use vault::snapshot::PackNeed;
use vault::{ObjectHash, PackId, name};

use crate::actors::Actor;
use crate::afterwards::{clean_the_copy, copy_now};
use crate::objects::{Change, Objects};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::toy::VAULT;
use crate::world::{Place, Site, World, lock};

/// A segment with a byte that changed.
struct Torn {
    object: ObjectHash,
    pack: PackId,
    segment: u32,
    /// All packs of which something is in the object.
    holds: BTreeSet<PackId>,
    /// What the object was.
    whole: Bytes,
}

/// Copies a vault of which one segment is damaged. What is said to have arrived must be whole at the new place, and stay so;
/// and only what needs that segment may stay behind.
pub fn copy(actor: &Actor, random: &mut Random) {
    let Some(torn) = tear(actor, random) else { return };
    let outcome = try_to_copy(actor, &torn);
    let mut world = lock(&actor.world);
    if let Err(problem) = outcome {
        world.oracle.violation.get_or_insert(format!("the copy of a damaged vault: {problem}"));
    }
    world.change(Place::Vault, &torn.object.pack_name(), Change::Replace(torn.whole));
}

/// Changes a byte of a segment.
fn tear(actor: &Actor, random: &mut Random) -> Option<Torn> {
    let mut world = lock(&actor.world);
    let packs = world.objects.all(name::PACKS).filter_map(|(name, object)| {
        let hash = ObjectHash::from_object_name(name).filter(|hash| hash.pack_name() == name)?;
        let trailer = verify_whole(&object.bytes, hash, VAULT).ok()?;
        (!trailer.rows.is_empty()).then(|| (hash, trailer, object.bytes.clone()))
    });
    let packs: Vec<_> = packs.collect();
    let (object, trailer, whole) = random.pick(&packs)?.clone();
    let row = *random.pick(&trailer.rows)?;
    let mut bytes = whole.to_vec();
    *bytes.get_mut((row.offset + random.below(u64::from(row.length))) as usize)? ^= 1 << random.below(8);
    world.note(|| format!("segment {} in {} changes", row.number, object.pack_name()));
    world.change(Place::Vault, &object.pack_name(), Change::Replace(bytes.into()));
    let pack = trailer.origins.get(row.origin as usize)?.pack;
    let holds = trailer.origins.iter().map(|origin| origin.pack).collect();
    Some(Torn { object, pack, segment: row.number, holds, whole })
}

fn try_to_copy(actor: &Actor, torn: &Torn) -> Result<(), String> {
    {
        let mut world = lock(&actor.world);
        let oracle = Oracle::new(world.oracle.delay, world.oracle.slack);
        world.copy = Site { oracle, objects: Objects::default() };
    }
    let Some(report) = copy_now(actor)? else { return Ok(()) };
    {
        let mut world = lock(&actor.world);
        let World { oracle, objects, now, .. } = &mut *world;
        let records = objects.all(name::CONDEMNED);
        let condemned =
            records.flat_map(|(_, record)| condemned::decode(&record.bytes, VAULT).unwrap_or_default());
        let closed: BTreeSet<PackId> = condemned.filter_map(|object| object.pack()).collect();
        let is_excused = |need: &PackNeed| {
            need.pack == torn.pack && need.segments.contains(torn.segment)
                || torn.holds.contains(&need.pack) && closed.contains(&need.pack)
        };
        for id in oracle.promised(*now) {
            let arrived = report.copied.contains(&id) || report.forgotten_at_source.contains(&id);
            let needs = oracle.expected(id).map_or(&[][..], |(needs, _)| needs);
            // A thief may have told something else of the pack.
            if !arrived && !oracle.was_robbed && !needs.iter().any(is_excused) {
                return Err(format!("{} did not arrive: {:?}", id.short(), report.faults));
            }
        }
        world.count("segments taken from damaged packs", report.segments_moved);
        world.count("copies of damaged vaults", 1);
    }
    clean_the_copy(actor)
}
