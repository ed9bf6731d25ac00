//! Snapshots that somebody took out of the store without a word: `check` names each.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::world::{World, events};

/// A vault with so many snapshots, and their ids, the oldest first.
fn a_world(count: usize) -> (World, Vec<String>) {
    let world = World::with_vault();
    (0..count).for_each(|_| world.backup());
    let ids = ids(&world);
    (world, ids)
}

fn ids(world: &World) -> Vec<String> {
    let (events, _) = world.json(&["snapshots"]);
    let snapshots = events.iter().filter(|event| event["type"] == "snapshot");
    snapshots.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn remove(world: &World, id: &str) {
    fs::remove_file(world.path("vault/snapshots").join(id)).unwrap();
}

/// What a check says of a snapshot, and how it ended. With a `cache` of its own it is another machine.
fn told(world: &World, cache: Option<&str>, id: &str) -> (Vec<Value>, Option<i32>) {
    let mut command = world.command(&["check", "--json"]);
    if let Some(cache) = cache {
        command.env("STRONGROOM_CACHE", world.path(cache));
    }
    let output = command.output().unwrap();
    let mut found = events(&String::from_utf8(output.stdout).unwrap());
    found.retain(|event| event["type"] == "finding" && event.to_string().contains(&id[..8]));
    (found, output.status.code())
}

fn assert_named(told: (Vec<Value>, Option<i32>), id: &str) {
    let (found, code) = told;
    let name = format!("snapshots/{id}");
    let is_it = |event: &Value| event["severity"] == "damage" && event["object"] == *name;
    assert_eq!((found.iter().filter(|event| is_it(event)).count(), code), (1, Some(12)), "{found:?}");
}

fn copy_folder(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn the_newest_of_a_chain_is_missed() {
    let (world, ids) = a_world(3);
    remove(&world, &ids[2]);
    assert_named(told(&world, None, &ids[2]), &ids[2]);
    // A machine that never saw it, and no check that read data saw it either: nothing tells.
    assert_eq!(told(&world, Some("other"), &ids[2]), (vec![], Some(0)));
}

/// What a check that reads data saw is in the vault, for every machine.
#[test]
fn the_newest_that_a_check_saw_is_missed_by_every_machine() {
    let (world, ids) = a_world(3);
    world.ok(&["check", "--max-age", "30d"]);
    remove(&world, &ids[2]);
    for cache in [None, Some("other")] {
        assert_named(told(&world, cache, &ids[2]), &ids[2]);
    }
}

#[test]
fn one_in_the_middle_is_missed() {
    let (world, ids) = a_world(4);
    remove(&world, &ids[1]);
    assert_named(told(&world, None, &ids[1]), &ids[1]);
    // Whoever never saw it is told by the one that follows.
    let (found, code) = told(&world, Some("other"), &ids[1]);
    assert_eq!((found.len(), code), (1, Some(12)), "{found:?}");
    assert_eq!(
        (&found[0]["severity"], found[0]["object"].as_str()),
        (&"damage".into(), Some(&*format!("snapshots/{}", ids[2])))
    );
    assert!(found[0]["message"].as_str().unwrap().contains(&ids[1][..8]), "{found:?}");
}

#[test]
fn a_vault_that_was_put_back_to_an_older_state_is_missed() {
    let (world, before) = a_world(2);
    copy_folder(&world.path("vault"), &world.path("older"));
    (0..2).for_each(|_| world.backup());
    world.ok(&["check", "--read-data"]);
    let after: Vec<String> = ids(&world).split_off(2);
    let roll_back = || {
        fs::remove_dir_all(world.path("vault")).unwrap();
        copy_folder(&world.path("older"), &world.path("vault"));
    };
    roll_back();
    for id in &after {
        assert_named(told(&world, None, id), id);
    }
    // With everything that could tell of it gone, only a machine that saw it can know.
    assert_eq!(told(&world, Some("other"), &after[0]), (vec![], Some(0)));
    // New backups take the old numbers, and hide nothing.
    (0..3).for_each(|_| world.backup());
    for id in &after {
        assert_named(told(&world, None, id), id);
    }
    // Whoever did it on purpose says so once.
    let (found, _) = told(&world, None, &after[0]);
    let advice = found[0]["advice"].as_str().unwrap();
    fs::remove_file(advice.rsplit_once("remove ").unwrap().1).unwrap();
    assert_eq!(told(&world, None, &after[0]), (vec![], Some(0)));
    assert_eq!(told(&world, None, &before[0]), (vec![], Some(0)));
}

#[test]
fn what_was_forgotten_and_cleaned_up_is_not_missed() {
    let world = {
        let mut world = World::new();
        world.use_vault();
        world.ok(&["init", "--delete-delay", "0"]);
        (0..4).for_each(|_| world.backup());
        world
    };
    let ids = ids(&world);
    world.ok(&["forget", &ids[3], &ids[1]]);
    world.ok(&["cleanup"]);
    assert_eq!(world.objects("snapshots").len(), 2);
    for cache in [None, Some("other")] {
        for id in &ids {
            assert_eq!(told(&world, cache, id), (vec![], Some(0)));
        }
    }
    // One that is in the trash is one that is there, and can be missed when it was brought back.
    world.ok(&["settings", "--delete-delay", "7d"]);
    world.ok(&["forget", &ids[0]]);
    world.ok(&["undelete", &ids[0]]);
    world.ok(&["snapshots"]);
    remove(&world, &ids[0]);
    assert_named(told(&world, None, &ids[0]), &ids[0]);
}

/// Two disks with copies that are used in turn at one place.
#[test]
fn copies_that_take_turns_are_not_taken_for_damage() {
    let (world, _) = a_world(2);
    let far = world.path("far");
    let swap = |from: &str, to: &str| fs::rename(world.path(from), world.path(to)).unwrap();
    world.ok(&["copy", "--to", "far"]);
    swap("far", "first disk");
    world.backup();
    world.ok(&["copy", "--to", "far"]);
    world.ok(&["--vault", "far", "check"]);
    let newest = ids(&world)[2].clone();
    swap("far", "second disk");
    swap("first disk", "far");
    let (events, code) = world.json(&["--vault", far.to_str().unwrap(), "check"]);
    let found: Vec<_> = events.iter().filter(|event| event["type"] == "finding").collect();
    assert_eq!((found.len(), code), (1, Some(0)), "{found:?}");
    assert_eq!(
        (found[0]["severity"].as_str(), found[0]["object"].as_str()),
        (Some("note"), Some(&*format!("snapshots/{newest}")))
    );
}
