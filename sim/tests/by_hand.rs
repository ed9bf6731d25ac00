//! Schedules written by hand, for rules that chance hardly ever shows to be needed. Each plays out a row of the table in
//! `docs/gc.md`: with the rule nothing is lost, without it something is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use bytes::Bytes;
use sim::actors;
use sim::play::{DAY, HOUR, MINUTE, Part, Play};
use sim::toy::{self, VAULT};
use sim::world::Place;
use vault::fragment::{self, PackRecord};
use vault::pack::{PackAssembler, PackKind, verify_whole};
use vault::sabotage::{Rule, break_rule};
use vault::snapshot::PackNeed;
use vault::{ObjectHash, PackId, SnapshotId, SystemId, name};

/// A lease that lasts for less than a store needs to settle, as is usual.
const LEASE: u64 = 15 * MINUTE;

/// What is lost by a schedule, with the rule or without it.
fn lost(broken: Option<Rule>, begin: fn() -> Play, schedule: fn(&mut Play)) -> Option<String> {
    break_rule(broken);
    let mut play = begin();
    schedule(&mut play);
    let lost = play.violation();
    break_rule(None);
    lost
}

#[track_caller]
fn is_needed(rule: Rule, begin: fn() -> Play, schedule: fn(&mut Play)) {
    assert_eq!(lost(None, begin, schedule), None, "with the rule");
    let without = lost(Some(rule), begin, schedule);
    assert!(without.is_some(), "{rule:?}: nothing is lost without it");
}

/// A store far away: what is new may be hidden for an hour.
fn far() -> Play {
    Play::new(HOUR, LEASE)
}

/// The same, and leases that last long.
fn far_and_slow() -> Play {
    Play::new(HOUR, DAY)
}

/// A store that hides nothing.
fn near() -> Play {
    Play::new(0, LEASE)
}

/// Days pass, and the vault is cleaned up on each.
fn days(play: &mut Play, count: usize) {
    for _ in 0..count {
        play.pass(DAY);
        play.clean(Place::Vault).unwrap();
    }
}

/// A listing hides who was at work lately: a cleanup that sees another one does nothing.
fn hide_leases(play: &mut Play) {
    let leases = play.objects(Place::Vault, name::LEASES);
    play.hide(&leases.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
}

/// Somebody who is about to write a snapshot that relies on what was found of these data.
fn about_to_commit(play: &mut Play, machine: u8, files: &[u64]) -> Part {
    let machine = play.machine(machine, files);
    let mut backup = play.backup(&machine);
    assert!(play.until(&mut backup, "put snapshots/"));
    backup
}

/// A snapshot of 1 that is about to be condemned: it is in the trash, and its time there is over.
fn forgotten(play: &mut Play) {
    let machine = play.machine(1, &[]);
    let first = play.save(&machine, &[1]);
    play.pass(2 * DAY);
    play.save(&machine, &[3]);
    play.forget(Place::Vault, first);
    play.pass(2 * DAY);
}

/// In the segment of 1, which is needed, is also 2, which nobody needs and the index knows.
fn half_dead(play: &mut Play) {
    let machine = play.machine(1, &[]);
    let first = play.save(&machine, &[1, 2]);
    play.save(&machine, &[1]);
    play.forget(Place::Vault, first);
    days(play, 3);
    play.pass(DAY);
    assert_eq!(play.objects(Place::Vault, name::SNAPSHOTS).len(), 1);
}

/// Somebody regroups on some more days.
fn regroup_at_leisure(play: &mut Play) {
    for _ in 0..4 {
        play.pass(DAY);
        play.regroup(Place::Vault).unwrap();
    }
}

#[test]
fn closings_are_waited_for() {
    is_needed(Rule::ClosingsAreWaitedFor, far, |play| {
        half_dead(play);
        let backup = about_to_commit(play, 2, &[2]);
        assert_eq!(play.regroup(Place::Vault).unwrap().packs_closed, 1);
        hide_leases(play);
        play.regroup(Place::Vault).unwrap();
        play.hide(&[]);
        play.finish(backup);
        regroup_at_leisure(play);
    });
}

#[test]
fn sleepers_doubt_closed_packs() {
    is_needed(Rule::SleepersDoubtClosedPacks, far, |play| {
        half_dead(play);
        let backup = about_to_commit(play, 2, &[2]);
        play.regroup(Place::Vault).unwrap();
        regroup_at_leisure(play);
        play.finish(backup);
        regroup_at_leisure(play);
    });
}

#[test]
fn condemnations_settle() {
    is_needed(Rule::CondemnationsSettle, far, |play| {
        forgotten(play);
        play.clean(Place::Vault).unwrap();
        hide_leases(play);
        play.clean(Place::Vault).unwrap();
        play.hide(&[name::CONDEMNED, name::INDEX, name::PACKS]);
        let machine = play.machine(2, &[]);
        play.save(&machine, &[1]);
        play.hide(&[]);
        days(play, 3);
    });
}

#[test]
fn ended_leases_settle() {
    is_needed(Rule::EndedLeasesSettle, far_and_slow, |play| {
        forgotten(play);
        let backup = about_to_commit(play, 2, &[1]);
        play.clean(Place::Vault).unwrap();
        play.pass(5 * HOUR);
        play.finish(backup);
        play.hide(&[name::SNAPSHOTS]);
        play.clean(Place::Vault).unwrap();
        play.hide(&[]);
        days(play, 3);
    });
}

#[test]
fn late_readers_are_waited_for() {
    is_needed(Rule::LateReadersAreWaitedFor, far_and_slow, |play| {
        forgotten(play);
        let backup = about_to_commit(play, 2, &[1]);
        play.clean(Place::Vault).unwrap();
        play.pass(5 * HOUR);
        let before = snapshots(play);
        play.finish(backup);
        let last = snapshots(play).into_iter().find(|id| !before.contains(id)).unwrap();
        play.pass(5 * HOUR);
        let mut restore = play.begin(|actor| actors::read(actor, last));
        assert!(play.until(&mut restore, "read part of packs/"));
        play.forget(Place::Vault, last);
        play.pass(MINUTE);
        play.clean(Place::Vault).unwrap();
        play.finish(restore);
    });
}

fn snapshots(play: &Play) -> Vec<SnapshotId> {
    let all = play.objects(Place::Vault, name::SNAPSHOTS);
    all.iter().filter_map(|(name, _)| ObjectHash::from_object_name(name)).collect()
}

/// Which records of what is condemned came since.
fn new_records(play: &Play, place: Place, before: &[(String, Bytes)]) -> Vec<String> {
    let all = play.objects(place, name::CONDEMNED).into_iter();
    all.filter(|record| !before.contains(record)).map(|(name, _)| name).collect()
}

/// A copy that has forgotten the only snapshot that came, and a source that has another one with the same data.
fn forgotten_by_the_copy(play: &mut Play) {
    let machine = play.machine(1, &[]);
    let first = play.save(&machine, &[1]);
    play.pass(DAY);
    let copy = play.copy();
    play.finish(copy);
    play.pass(DAY);
    play.forget(Place::Copy, first);
    play.pass(DAY);
    play.save(&machine, &[1, 5]);
    play.pass(DAY);
}

#[test]
fn records_overlap() {
    is_needed(Rule::RecordsOverlap, far, |play| {
        forgotten_by_the_copy(play);
        play.clean(Place::Copy).unwrap();
        play.pass(DAY);
        let before = play.objects(Place::Copy, name::CONDEMNED);
        play.repeat(true);
        play.clean(Place::Copy).unwrap();
        play.repeat(false);
        let new = new_records(play, Place::Copy, &before);
        play.hide(&new.iter().map(String::as_str).collect::<Vec<_>>());
        let copy = play.copy();
        play.finish(copy);
        play.hide(&[]);
        play.pass(HOUR);
    });
}

#[test]
fn successors_are_looked_for() {
    is_needed(Rule::SuccessorsAreLookedFor, near, |play| {
        forgotten_by_the_copy(play);
        // It sleeps before it deletes the pack, and another does it in its place.
        let mut sleeper = play.cleanup(Place::Copy);
        assert!(play.until(&mut sleeper, "delete packs/"));
        play.pass(DAY);
        let mut copy = play.copy();
        assert!(play.until(&mut copy, "read condemned/"));
        play.clean(Place::Copy).unwrap();
        play.finish(copy);
        play.finish(sleeper);
    });
}

#[test]
fn sleepers_stop() {
    is_needed(Rule::SleepersStop, far, |play| {
        forgotten_by_the_copy(play);
        play.clean(Place::Copy).unwrap();
        play.pass(DAY);
        // It sleeps before it deletes the snapshot, until nobody remembers the name of the pack that it would delete next.
        let mut sleeper = play.cleanup(Place::Copy);
        assert!(play.until(&mut sleeper, "delete snapshots/"));
        for _ in 0..40 {
            play.pass(DAY);
            play.clean(Place::Copy).unwrap();
        }
        let copy = play.copy();
        play.finish(copy);
        play.finish(sleeper);
    });
}

/// A snapshot whose pack was moved: the object that it is in now.
fn moved(play: &mut Play) -> ObjectHash {
    let machine = play.machine(1, &[]);
    let first = play.save(&machine, &[1, 2, 3, 4]);
    play.save(&machine, &[1, 2]);
    play.forget(Place::Vault, first);
    let before = play.objects(Place::Vault, name::PACKS);
    play.pass(DAY);
    play.clean(Place::Vault).unwrap();
    let now = play.objects(Place::Vault, name::PACKS).into_iter();
    let new: Vec<_> = now.filter(|pack| !before.contains(pack)).collect();
    assert_eq!(new.len(), 1, "one pack was moved");
    ObjectHash::from_object_name(&new[0].0).unwrap()
}

#[test]
fn contradictions_are_asked() {
    is_needed(Rule::ContradictionsAreAsked, far, |play| {
        let object = moved(play);
        days(play, 2);
        let size = play.objects(Place::Vault, &object.pack_name())[0].1.len() as u64;
        let fragment = disguise(play, object, size);
        play.plant(&ObjectHash::of(&fragment).index_name(), fragment);
        days(play, 3);
    });
}

/// A fragment that says of an object that something else is in it, and stands before all others in the index.
fn disguise(play: &Play, object: ObjectHash, size: u64) -> Bytes {
    let index = play.objects(Place::Vault, name::INDEX);
    let first = index.iter().map(|(name, _)| name.clone()).min().unwrap();
    let made = |seed: u64, length: usize| {
        let mut pack = PackAssembler::new(PackKind::Data, VAULT, PackId::new([9; 16]));
        pack.push(vec![7; length].into());
        pack.finish(0, Bytes::from_static(b"envelope"), seed.to_le_bytes().to_vec().into())
    };
    let rest = made(0, 1000).size - 1000;
    let mut all = (0..).map(|seed| {
        let record = PackRecord { hash: object, ..PackRecord::from(&made(seed, (size - rest) as usize)) };
        assert_eq!(record.size, size);
        fragment::encode(VAULT, &[record])
    });
    all.find(|bytes| ObjectHash::of(bytes).index_name() < first).unwrap()
}

#[test]
fn copies_are_proved() {
    is_needed(Rule::CopiesAreProved, far, |play| {
        let object = moved(play);
        play.ruin(&object.pack_name());
        days(play, 2);
    });
}

#[test]
fn leases_are_begun_first() {
    is_needed(Rule::LeasesAreBegunFirst, far, |play| {
        forgotten(play);
        let machine = play.machine(2, &[1]);
        let mut backup = play.backup(&machine);
        // Without the rule it has read what is condemned by now.
        assert!(play.until(&mut backup, "replace leases/"));
        play.clean(Place::Vault).unwrap();
        days(play, 1);
        play.hide(&[name::INDEX, name::PACKS]);
        play.finish(backup);
    });
}

/// A thief's snapshot, which says that a pack which is about to be somebody's is in an object of the thief's own.
fn steal(play: &mut Play) {
    let (object, bytes) = play.objects(Place::Vault, name::PACKS).pop().unwrap();
    let hash = ObjectHash::from_object_name(&object).unwrap();
    let trailer = verify_whole(&bytes, hash, VAULT).unwrap();
    let forged = toy::false_pack(PackId::new([6; 16]), trailer.pack, trailer.rows.len());
    let segments = trailer.segments_of(trailer.pack);
    let need = PackNeed { pack: trailer.pack, object: forged.hash, segments };
    let needs = BTreeMap::from([(trailer.pack, need)]);
    let (id, _, snapshot) =
        toy::snapshot(SystemId::new([66; 16]), 0, ObjectHash::default(), needs, &toy::body([]));
    let parts: Vec<Bytes> = forged.parts.clone();
    play.plant(&forged.hash.pack_name(), parts.concat().into());
    play.plant(&id.snapshot_name(), snapshot);
}

#[test]
fn arrivals_are_compared() {
    is_needed(Rule::ArrivalsAreCompared, far, |play| {
        let backup = about_to_commit(play, 1, &[1, 2]);
        steal(play);
        let copy = play.copy();
        play.finish(copy);
        play.finish(backup);
        // A relocation at the target leads to what the thief made.
        play.pass(DAY);
        play.clean(Place::Copy).unwrap();
        play.pass(DAY);
        let copy = play.copy();
        play.finish(copy);
    });
}

#[test]
fn arrivals_are_announced() {
    is_needed(Rule::ArrivalsAreAnnounced, far, |play| {
        let machine = play.machine(1, &[]);
        let first = play.save(&machine, &[1, 2]);
        play.save(&machine, &[1]);
        play.pass(DAY);
        let copy = play.copy();
        play.finish(copy);
        // Nobody there needs 2 any more. Here somebody will.
        play.forget(Place::Copy, first);
        for _ in 0..3 {
            play.pass(DAY);
            play.clean(Place::Copy).unwrap();
        }
        for _ in 0..4 {
            play.pass(DAY);
            play.regroup(Place::Copy).unwrap();
        }
        let other = play.machine(2, &[]);
        let last = play.save(&other, &[2]);
        play.pass(DAY);
        let copy = play.copy();
        play.finish(copy);
        play.must_have_arrived(last);
    });
}
