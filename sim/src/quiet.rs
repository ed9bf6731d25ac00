//! The end of a scenario: nobody works any more, nothing goes wrong, and two cleanups must leave no garbage.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;

use vault::collect::Report;
use vault::pack::{Trailer, verify_whole};
use vault::{ObjectHash, PackId, SegmentSet, condemned, fragment, name, relocation, snapshot, trash};

use crate::actors::Actor;
use crate::objects::{Millis, Objects};
use crate::scenario::advance;
use crate::toy::{self, VAULT};
use crate::world::{Faults, Place, World, lock};

/// How a finding begins that is about what is left when all is quiet.
pub const AT_REST: &str = "at rest: ";
/// Two do, unless what a disturbed cleanup left behind keeps the first from seeing what is worth moving.
const CLEANUPS_MAX: u64 = 4;
const DAY: Millis = 24 * 3600 * 1000;

/// Lets all come to rest and looks at what is left.
pub fn settle(actor: &Actor) {
    let outcome = come_to_rest(actor);
    let mut world = lock(&actor.world);
    if let Err(problem) = outcome {
        world.oracle.violation.get_or_insert(format!("{AT_REST}{problem}"));
    }
}

fn come_to_rest(actor: &Actor) -> Result<(), String> {
    {
        let mut world = lock(&actor.world);
        world.note(|| "all is quiet now".to_owned());
        (world.faults, world.full_until) = (Faults::default(), 0);
        let settle = world.settle;
        // Longer than every lease, and than what was never needed is left alone.
        world.advance(settle + 10 * DAY);
        forget_unreadable(&mut world);
        world.advance(actor.rules.delay + DAY);
    }
    let mut found = Ok(());
    for cleanups in 1..=CLEANUPS_MAX {
        let report = clean(actor)?;
        let mut world = lock(&actor.world);
        let World { oracle, objects, now, .. } = &mut *world;
        oracle.look(*now, objects);
        if oracle.violation.is_some() {
            return Ok(());
        }
        found = Remains::read(objects, *now, actor.rules.delay).check(&report, oracle.was_robbed);
        if found.is_ok() && cleanups >= 2 {
            let what =
                if cleanups == 2 { "clean after two cleanups" } else { "clean after three or four cleanups" };
            world.count(what, 1);
            return Ok(());
        }
        world.advance(2 * DAY);
    }
    let mut world = lock(&actor.world);
    if found.is_err() && world.oracle.was_robbed {
        // Who may add can leave as much as the store takes, and make others keep something by needing it.
        world.count("seeds at which a thief's garbage stays", 1);
        return Ok(());
    }
    found
}

/// Whoever sees that a snapshot is garbage can forget it: it must not hold up collection for ever.
fn forget_unreadable(world: &mut World) {
    let is_garbage = |name: &str, bytes: &bytes::Bytes| {
        let id = ObjectHash::from_object_name(name)?;
        snapshot::decode(bytes, id, VAULT).is_err().then_some(id)
    };
    let garbage: Vec<_> = world
        .objects
        .all(name::SNAPSHOTS)
        .filter_map(|(name, object)| is_garbage(name, &object.bytes))
        .collect();
    for id in garbage {
        let mark = trash::encode(VAULT, &[toy::mark(id, &mut world.random)]);
        let name = format!("{}{}", name::TRASH, ObjectHash::of(&mark));
        world.change(Place::Vault, &name, crate::objects::Change::Put(mark.into()));
    }
}

/// Cleans up to the end.
pub fn clean(actor: &Actor) -> Result<Report, String> {
    match alone(actor, actor.clean_usually()) {
        Some(Ok(report)) => Ok(report),
        Some(Err(error)) => Err(format!("a cleanup fails: {error}")),
        None => Ok(Report::default()),
    }
}

/// What comes of an actor's future when nobody else does anything; `None` if something was lost meanwhile.
pub fn alone<T: Send>(actor: &Actor, future: impl Future<Output = T> + Send) -> Option<T> {
    let outcome = Mutex::new(None);
    let mut future: Pin<Box<dyn Future<Output = ()> + Send + '_>> = Box::pin(async {
        let done = future.await;
        if let Ok(mut outcome) = outcome.lock() {
            *outcome = Some(done);
        }
    });
    while !advance(&actor.world, actor.number, &mut future) {
        let mut world = lock(&actor.world);
        if world.oracle.violation.is_some() {
            break;
        }
        world.advance(20);
    }
    drop(future);
    outcome.into_inner().ok().flatten()
}

/// What is in the store at the end.
#[derive(Debug, Default)]
struct Remains {
    needs: BTreeMap<PackId, SegmentSet>,
    /// Objects that living snapshots name.
    named: BTreeSet<(PackId, ObjectHash)>,
    /// Where relocations lead to.
    relocated: BTreeSet<(PackId, ObjectHash)>,
    packs: BTreeMap<ObjectHash, Trailer>,
    fragments: BTreeMap<ObjectHash, Vec<ObjectHash>>,
    expired: Vec<ObjectHash>,
    condemned: BTreeSet<String>,
    names: HashSet<String>,
}

impl Remains {
    fn read(objects: &Objects, now: Millis, delay: Millis) -> Self {
        let names = objects.all("").map(|(name, _)| name.to_owned()).collect();
        let mut remains = Self { names, ..Self::default() };
        let mut forgotten: BTreeMap<ObjectHash, Millis> = BTreeMap::new();
        for (_, object) in objects.all(name::TRASH) {
            for mark in trash::decode(&object.bytes, VAULT).unwrap_or_default() {
                let since = forgotten.entry(mark.snapshot).or_default();
                *since = (*since).max(object.modified);
            }
        }
        for (name, object) in objects.all(name::SNAPSHOTS) {
            let Some(id) = ObjectHash::from_object_name(name) else { continue };
            if forgotten.get(&id).is_some_and(|since| since + delay + DAY < now) {
                remains.expired.push(id);
            } else if let Ok(found) = snapshot::decode(&object.bytes, id, VAULT) {
                for need in found.envelope.needs {
                    remains.named.insert((need.pack, need.object));
                    remains.needs.entry(need.pack).or_default().union(&need.segments);
                }
            }
        }
        for (_, object) in objects.all(name::RELOCATIONS) {
            let moved = relocation::decode(&object.bytes, VAULT).unwrap_or_default();
            remains.relocated.extend(moved.iter().map(|moved| (moved.pack, moved.object)));
        }
        for (name, object) in objects.all(name::PACKS) {
            let Some(hash) = ObjectHash::from_object_name(name) else { continue };
            if let Ok(trailer) = verify_whole(&object.bytes, hash, VAULT) {
                remains.packs.insert(hash, trailer);
            }
        }
        for (name, object) in objects.all(name::INDEX) {
            let Some(hash) = ObjectHash::from_object_name(name) else { continue };
            if let Ok(packs) = fragment::decode(&object.bytes, hash, VAULT) {
                let packs = packs.into_iter().map(|(record, _)| record.hash).collect();
                remains.fragments.insert(hash, packs);
            }
        }
        for (_, object) in objects.all(name::CONDEMNED) {
            let objects = condemned::decode(&object.bytes, VAULT).unwrap_or_default();
            remains.condemned.extend(objects.iter().map(condemned::Condemned::object_name));
        }
        remains
    }

    /// Whether there is garbage. A thief can keep something from being collected, by needing it.
    fn check(&self, report: &Report, was_robbed: bool) -> Result<(), String> {
        if let Some(id) = self.expired.first() {
            return Err(format!("snapshot {} is still there", id.short()));
        }
        // What is needed after all stays, and stays condemned, where it cannot be moved: so does a snapshot that somebody took
        // out of the trash. None of these is expired, as was just seen.
        let is_needed = |name: &&String| {
            if name.starts_with(name::SNAPSHOTS) {
                return true;
            }
            let pack = ObjectHash::from_object_name(name).and_then(|hash| self.packs.get(&hash));
            pack.is_some_and(|pack| pack.origins.iter().any(|origin| self.needs.contains_key(&origin.pack)))
        };
        let stays = |name: &&String| self.names.contains(*name) && !is_needed(name);
        if let Some(name) = self.condemned.iter().find(stays) {
            return Err(format!("{name} is condemned and still there"));
        }
        for (fragment, packs) in &self.fragments {
            if let Some(gone) = packs.iter().find(|pack| !self.packs.contains_key(*pack)) {
                return Err(format!(
                    "fragment {} names pack {}, which is not there",
                    fragment.short(),
                    gone.short()
                ));
            }
        }
        let named: BTreeSet<_> = self.fragments.values().flatten().collect();
        for (object, trailer) in &self.packs {
            if !named.contains(object) {
                return Err(format!("no fragment names pack {}", object.short()));
            }
            let is_needed = trailer.origins.iter().any(|origin| self.is_needed(*object, origin.pack));
            if !is_needed && !was_robbed {
                return Err(format!("nothing needs pack {}: {:?}", object.short(), self.explain(trailer)));
            }
        }
        let allowed = report.bytes_live as f64 * 0.05 + 1.0;
        if !was_robbed && !self.is_disputed() && report.bytes_unused as f64 > allowed {
            return Err(format!("{} bytes are unused, of {} used", report.bytes_unused, report.bytes_live));
        }
        Ok(())
    }

    /// For each pack in an object that is needed: in which objects it is, and which ones snapshots name.
    fn explain(&self, trailer: &Trailer) -> Vec<(String, Vec<String>, Vec<String>)> {
        let needed = trailer.origins.iter().filter(|origin| self.needs.contains_key(&origin.pack));
        let of = |pack: PackId| {
            let holds = |other: &&Trailer| other.origin(pack).is_some();
            let here = self.packs.iter().filter(|(_, other)| holds(other));
            let segments = |other: &Trailer| {
                let origin = other.origins.iter().position(|origin| origin.pack == pack).unwrap_or_default();
                let rows = other.rows.iter().filter(|row| row.origin as usize == origin);
                rows.map(|row| row.number).collect::<Vec<_>>()
            };
            let here = here.map(|(hash, other)| format!("{} {:?}", hash.short(), segments(other))).collect();
            let named = self.named.iter().filter(|(of, _)| *of == pack).map(|(_, object)| object.short());
            let needs: Vec<_> = self.needs.get(&pack).into_iter().flat_map(SegmentSet::iter).collect();
            (format!("{needs:?}"), here, named.collect())
        };
        needed.map(|origin| of(origin.pack)).collect()
    }

    /// Whether several objects hold something of a needed pack: then these may not be compacted.
    fn is_disputed(&self) -> bool {
        let holders = |pack| self.packs.values().filter(|trailer| trailer.origin(pack).is_some()).count();
        self.needs.keys().any(|pack| holders(*pack) > 1)
    }

    /// Whether an object is the only one that holds all that is needed of a pack, or one of those that hold a part when
    /// none holds all; or if snapshots name several objects for it, which stay until it is clear that one is enough.
    fn is_needed(&self, object: ObjectHash, pack: PackId) -> bool {
        let Some(needed) = self.needs.get(&pack) else { return false };
        let holds = |trailer: &Trailer| needed.iter().all(|number| trailer.row(pack, number).is_some());
        let full: Vec<_> =
            self.packs.iter().filter(|(_, trailer)| holds(trailer)).map(|(hash, _)| *hash).collect();
        let named = self.named.iter().filter(|(of, _)| *of == pack).count();
        // Without a relocation nobody knows which of them is the true one.
        let is_told = full.iter().any(|object| self.relocated.contains(&(pack, *object)));
        full.is_empty()
            || full == [object]
            || full.contains(&object) && !is_told
            || named > 1 && self.named.contains(&(pack, object))
    }
}
