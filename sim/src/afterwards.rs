//! When all is quiet: a last copy brings everything, and a check finds a byte that was changed, and nothing else.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use vault::check::Finding;
use vault::collect::CleanupError;
use vault::condemned::{self, Condemned};
use vault::copy::{ANOTHER_PACK, REGROUPED_SINCE, Report};
use vault::{ObjectHash, SnapshotId, name};

use crate::actors::{self, Actor, Arrivals, Verdict};
use crate::objects::Change;
use crate::quiet::{alone, clean};
use crate::random::Random;
use crate::runtime::Within;
use crate::toy::VAULT;
use crate::world::{Place, World, lock};

const DAY: u64 = 24 * 3600 * 1000;
/// Where a changed byte is looked for: whatever else a vault has counts for nothing when it cannot be read.
const CHECKED: [&str; 6] =
    [name::PACKS, name::INDEX, name::SNAPSHOTS, name::KEYS, name::RELOCATIONS, name::DESCRIPTOR];

/// Copies once more. All that is promised must be at the target then, and stay there whole when that is cleaned up.
pub fn copy(actor: &Actor) {
    if let Err(problem) = try_to_copy(actor) {
        lock(&actor.world).oracle.violation.get_or_insert(format!("the last copy: {problem}"));
    }
}

fn try_to_copy(actor: &Actor) -> Result<(), String> {
    let Some(report) = copy_now(actor)? else { return Ok(()) };
    {
        let mut world = lock(&actor.world);
        let World { oracle, copy, now, .. } = &mut *world;
        let promised = oracle.promised(*now);
        let is_there = |name: &str| copy.objects.current(name).is_some();
        // What the source regrouped meanwhile cannot take the place of what older snapshots at the target need; and what a
        // thief's snapshot brought before stays until that is forgotten.
        let stays = |object: &String| {
            let mut faults = report.faults.iter().filter(|fault| fault.object == *object);
            faults.any(|fault| fault.damage == REGROUPED_SINCE || fault.damage == ANOTHER_PACK)
        };
        let waits = |id: &SnapshotId| {
            let left = report.left_behind.iter().find(|left| left.snapshot == *id);
            left.is_some_and(|left| left.objects.iter().all(stays))
        };
        let missing = promised.iter().find(|id| {
            !is_there(&id.snapshot_name()) && !report.forgotten_at_target.contains(id) && !waits(id)
        });
        if let Some(id) = missing {
            return Err(format!("{} did not arrive: {:?}", id.short(), report.faults));
        }
        let waiting = promised.iter().filter(|id| waits(id)).count() as u64;
        world.count("snapshots that a regrouping kept from a copy", waiting);
    }
    clean_the_copy(actor)?;
    lock(&actor.world).count("last copies", 1);
    Ok(())
}

/// Copies while nobody else is at work.
pub fn copy_now(actor: &Actor) -> Result<Option<Report>, String> {
    let arrivals = Arrivals::default();
    alone(actor, actors::copy(actor.clone(), arrivals.clone()));
    arrivals.lock().unwrap_or_else(PoisonError::into_inner).take().transpose()
}

/// What has arrived stays whole when the copy is cleaned up.
pub fn clean_the_copy(actor: &Actor) -> Result<(), String> {
    let there = actor.at(Place::Copy);
    for _ in 0..2 {
        lock(&actor.world).advance(actor.rules.delay + 2 * DAY);
        clean(&there)?;
        let mut world = lock(&actor.world);
        let World { copy, now, .. } = &mut *world;
        copy.oracle.look(*now, &copy.objects);
        world.hear_of_the_copy();
    }
    Ok(())
}

/// Regroups for as long as it takes: nothing is lost, and nothing is left in a segment that only a key can see is dead.
pub fn regroup(actor: &Actor) {
    if let Err(problem) = try_to_regroup(actor) {
        lock(&actor.world).oracle.violation.get_or_insert(format!("the last regrouping: {problem}"));
    }
}

fn try_to_regroup(actor: &Actor) -> Result<(), String> {
    for _ in 0..4 {
        lock(&actor.world).advance(2 * DAY);
        match alone(actor, actor.regroup_usually()) {
            Some(Ok(_)) => {}
            // A thief's snapshot that nobody can read.
            Some(Err(CleanupError::Owner(_))) if lock(&actor.world).oracle.was_robbed => return Ok(()),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Ok(()),
        }
        let mut world = lock(&actor.world);
        let World { oracle, objects, now, .. } = &mut *world;
        oracle.look(*now, objects);
        if oracle.violation.is_some() {
            return Ok(());
        }
    }
    lock(&actor.world).count("last regroupings", 1);
    Ok(())
}

/// Checks the quiet vault, changes a byte and checks again.
pub fn check(actor: &Actor, random: &mut Random) {
    if let Err(problem) = try_to_check(actor, random) {
        lock(&actor.world).oracle.violation.get_or_insert(format!("the last check: {problem}"));
    }
}

fn try_to_check(actor: &Actor, random: &mut Random) -> Result<(), String> {
    let Some(verdict) = check_all(actor)? else { return Ok(()) };
    {
        let mut world = lock(&actor.world);
        let World { oracle, now, .. } = &mut *world;
        let promised: BTreeSet<_> = oracle.promised(*now).iter().map(|id| id.short()).collect();
        let matters = |finding: &&Finding| {
            finding.affects.is_empty() || finding.affects.iter().any(|id| promised.contains(id))
        };
        // A thief leaves things behind that are damaged.
        if let Some(finding) = verdict.findings.iter().filter(|_| !oracle.was_robbed).find(matters) {
            return Err(format!("{} is not damaged: {}", finding.object, finding.message));
        }
    }
    let Some(changed) = change_a_byte(actor, random) else { return Ok(()) };
    let Some(verdict) = check_all(actor)? else { return Ok(()) };
    match verdict.findings.iter().any(|finding| finding.object == changed) {
        true => {
            lock(&actor.world).count("changed bytes that were found", 1);
            Ok(())
        }
        false => Err(format!("a byte of {changed} was changed, and it was not found")),
    }
}

fn check_all(actor: &Actor) -> Result<Option<Verdict>, String> {
    let mut verdict = None;
    alone(
        actor,
        Within::new(&actor.world, async { verdict = Some(actors::check(actor, Duration::ZERO).await) }),
    );
    verdict.transpose().map_err(|error| error.to_string())
}

/// Whether it is the name of something that a vault has: a thief leaves others behind.
fn is_proper(name: &str) -> bool {
    let hash = ObjectHash::from_object_name(name);
    let is_pack = |hash: ObjectHash| hash.pack_name() == name;
    let is_in = |folder: &str, hash: ObjectHash| name == format!("{folder}{hash}");
    let folders = [name::INDEX, name::SNAPSHOTS, name::KEYS, name::RELOCATIONS];
    name == name::DESCRIPTOR
        || hash.is_some_and(|hash| is_pack(hash) || folders.iter().any(|folder| is_in(folder, hash)))
}

/// Changes a byte of something that is not about to be deleted; its name.
fn change_a_byte(actor: &Actor, random: &mut Random) -> Option<String> {
    let mut world = lock(&actor.world);
    let records = world.objects.all(name::CONDEMNED);
    let going: BTreeSet<String> = records
        .flat_map(|(_, record)| condemned::decode(&record.bytes, VAULT).unwrap_or_default())
        .map(|object: Condemned| object.object_name())
        .collect();
    let folder = *random.pick(&CHECKED)?;
    let there: Vec<(String, Bytes)> = world
        .objects
        .all(folder)
        .filter(|(name, _)| !going.contains(*name) && is_proper(name))
        .map(|(name, object)| (name.to_owned(), object.bytes.clone()))
        .collect();
    let (name, bytes) = random.pick(&there)?.clone();
    let mut bytes = bytes.to_vec();
    let place = random.below(bytes.len() as u64) as usize;
    *bytes.get_mut(place)? ^= 1 << random.below(8);
    world.note(|| format!("byte {place} of {name} changes"));
    world.change(Place::Vault, &name, Change::Replace(bytes.into()));
    Some(name)
}
