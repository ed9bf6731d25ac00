//! `copy` and `repair`.

use std::fs;
use std::path::Path;

use crate::world::{KEY, Outcome, World, events, flip, noise};

/// Runs without anything that opens the vault.
fn without_key(world: &World, arguments: &[&str]) -> Outcome {
    Outcome::of(world.command(arguments).env_remove("STRONGROOM_PASSPHRASE"))
}

/// A world with two snapshots of something large enough for packs.
fn a_world() -> World {
    let world = World::with_vault();
    fs::write(world.files().join("large"), noise(3 << 20)).unwrap();
    world.backup();
    fs::write(world.files().join("more"), "more").unwrap();
    world.backup();
    world
}

fn largest(folder: &Path) -> std::path::PathBuf {
    let mut all = Vec::new();
    for shard in fs::read_dir(folder.join("packs")).unwrap() {
        all.extend(fs::read_dir(shard.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    all.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn a_copy_needs_no_key_and_is_a_vault() {
    let world = a_world();
    let dry = without_key(&world, &["copy", "--to", "far", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(!world.path("far").exists(), "a dry run makes nothing");
    let done = without_key(&world, &["copy", "--to", "far", "--verify"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.out.contains("Copied 2 snapshots") && done.out.contains("a new vault"), "{}", done.out);
    let again = without_key(&world, &["copy", "--to", "far"]);
    assert!(again.out.contains("Copied 0 snapshots, 0 packs"), "{}", again.out);
    fs::remove_dir_all(world.path("vault")).unwrap();
    world.ok(&["--vault", "far", "check", "--read-data"]);
    world.ok(&["--vault", "far", "restore", &world.latest(""), "--target", "back"]);
    assert_eq!(fs::read(world.path("back/large")).unwrap(), fs::read(world.files().join("large")).unwrap());
    assert_eq!(fs::read(world.path("back/more")).unwrap(), b"more");
}

#[test]
fn chosen_snapshots_are_copied_and_filters_ask_for_the_key() {
    let world = a_world();
    let (found, _) = world.json(&["snapshots"]);
    let id = found[0]["id"].as_str().unwrap();
    let by_id = without_key(&world, &["copy", "--to", "one", &id[..8]]);
    assert!(by_id.out.contains("Copied 1 snapshot,"), "{by_id:?}");
    let latest = without_key(&world, &["copy", "--to", "two", "latest"]);
    assert_eq!(latest.code, Some(2), "{latest:?}");
    assert!(world.ok(&["copy", "--to", "two", "latest"]).contains("Copied 1 snapshot,"));
    assert!(world.ok(&["copy", "--to", "three", "--host", "nobody"]).contains("Copied 0 snapshots"));
    for unknown in ["ffffffffff", ""] {
        assert_eq!(world.run(&["copy", "--to", "one", unknown]).code, Some(1));
    }
}

#[test]
fn what_is_in_the_way_is_said() {
    let world = a_world();
    assert_eq!(world.run(&["copy", "--to", "vault"]).code, Some(2), "onto itself");
    let full = world.run(&["copy", "--to", "files"]);
    assert_eq!(full.code, Some(1));
    assert!(full.err.contains("no vault and not empty"), "{}", full.err);
    let other = Outcome::of(world.command(&["--vault", "other", "init"]).env("STRONGROOM_PASSPHRASE", KEY));
    assert_eq!(other.code, Some(0));
    let foreign = world.run(&["copy", "--to", "other"]);
    assert!(foreign.code == Some(1) && foreign.err.contains("another vault"), "{foreign:?}");
    let foreign = world.run(&["repair", "--from", "other"]);
    assert!(foreign.code == Some(1) && foreign.err.contains("another vault"), "{foreign:?}");
}

#[test]
fn what_is_damaged_comes_back_from_a_copy_without_a_key() {
    let world = a_world();
    world.ok(&["copy", "--to", "far"]);
    flip(&largest(&world.path("vault")));
    fs::remove_file(&world.objects("snapshots")[1]).unwrap();
    flip(&world.path("vault/strongroom.vault"));
    // A copy of what is damaged is refused or incomplete, and says where to go.
    assert_eq!(world.run(&["copy", "--to", "third"]).code, Some(12));
    let dry = without_key(&world, &["repair", "--from", "far", "--read-data", "--dry-run"]);
    assert!(dry.out.contains("could be healed") || dry.code == Some(12), "{dry:?}");
    let done = without_key(&world, &["repair", "--from", "far", "--read-data"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(done.out.matches("healed: ").count(), 3, "{}", done.out);
    world.ok(&["check", "--read-data"]);
    assert_eq!(world.snapshots(), 2);
    world.ok(&["restore", &world.latest(""), "--target", "back"]);
    assert_eq!(fs::read(world.path("back/large")).unwrap(), fs::read(world.files().join("large")).unwrap());
}

#[test]
fn what_a_check_recorded_is_repaired_and_what_no_copy_has_is_named() {
    let world = a_world();
    world.ok(&["copy", "--to", "far"]);
    let pack = largest(&world.path("vault"));
    flip(&pack);
    assert_eq!(world.run(&["check", "--read-data"]).code, Some(12));
    let done = without_key(&world, &["repair", "--from", "far"]);
    assert!(done.code == Some(0) && done.out.contains("was replaced by a new pack"), "{done:?}");
    world.ok(&["check", "--read-data"]);
    assert!(world.objects("damage").is_empty(), "healed");
    // And without a copy.
    fs::remove_file(&pack).unwrap();
    let gone = largest(&world.path("vault"));
    fs::remove_file(&gone).unwrap();
    let lost = world.run(&["repair", "--salvage", "--json"]);
    assert_eq!(lost.code, Some(12), "{lost:?}");
    let events = events(&lost.out);
    let files: Vec<_> = events.iter().filter(|event| event["type"] == "file_lost").collect();
    assert_eq!(files.len(), 2, "one file in two snapshots: {files:?}");
    assert!(files.iter().all(|file| file["path"].as_str().unwrap().ends_with("/files/large")));
    world.backup();
    world.ok(&["restore", &world.latest(""), "--target", "back"]);
    assert_eq!(fs::read(world.path("back/large")).unwrap(), fs::read(world.files().join("large")).unwrap());
}
