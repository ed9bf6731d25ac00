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
    // Everything of the first backup was in that pack.
    for name in ["/files/large", "/files/note.txt", "/files/folder/inner.conf"] {
        let of = |file: &&&serde_json::Value| file["path"].as_str().unwrap().ends_with(name);
        assert_eq!(files.iter().filter(of).count(), 2, "{name} in two snapshots: {files:?}");
    }
    assert_eq!(files.len(), 6, "{files:?}");
    world.backup();
    world.ok(&["restore", &world.latest(""), "--target", "back"]);
    assert_eq!(fs::read(world.path("back/large")).unwrap(), fs::read(world.files().join("large")).unwrap());
}

/// The ids of a vault's snapshots, the oldest first.
fn ids(world: &World, vault: &str) -> Vec<String> {
    let (events, _) = world.json(&["--vault", vault, "snapshots"]);
    let snapshots = events.iter().filter(|event| event["type"] == "snapshot");
    snapshots.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_copy_goes_to_no_place_inside_the_vault() {
    let world = a_world();
    for inside in ["vault/copy", "vault/packs/copy", "files/../vault/./copy"] {
        let refused = world.run(&["copy", "--to", inside]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains("inside the vault itself"), "{refused:?}");
    }
    assert!(!world.path("vault/copy").exists() && !world.path("vault/packs/copy").exists());
    world.ok(&["copy", "--to", "vault-that-begins-alike"]);
}

#[test]
fn deletion_follows_to_a_copy_only_when_it_is_asked_for() {
    let mut world = World::new();
    world.use_vault();
    world.ok(&["init", "--delete-delay", "0"]);
    world.backup();
    world.backup();
    world.ok(&["copy", "--to", "far"]);
    let all = ids(&world, "vault");
    world.ok(&["forget", &all[0]]);
    let said = world.ok(&["copy", "--to", "near", &all[0]]);
    assert!(said.contains("Not copied: 1 snapshot in the trash"), "{said}");
    world.ok(&["copy", "--to", "far"]);
    assert_eq!(ids(&world, "far"), all, "nobody asked");
    let dry = without_key(&world, &["copy", "--to", "far", "--forget", "--dry-run"]);
    assert!(dry.out.contains("would go to the trash at the target"), "{dry:?}");
    assert_eq!(ids(&world, "far"), all, "a dry run");
    let (events, code) = world.json(&["copy", "--to", "far", "--forget"]);
    assert_eq!(code, Some(0));
    let forgotten: Vec<_> = events.iter().filter(|event| event["type"] == "forgotten").collect();
    assert_eq!((forgotten.len(), forgotten[0]["snapshot"].as_str()), (1, Some(all[0].as_str())));
    assert_eq!(events.last().unwrap()["forgotten"], 1);
    assert_eq!(ids(&world, "far"), all[1..]);
}

#[test]
fn a_check_without_a_key_proves_the_bytes_and_the_chain() {
    let world = a_world();
    world.backup();
    let check = |arguments: &[&str]| without_key(&world, &[&["check", "--without-key"], arguments].concat());
    let whole = check(&["--read-data"]);
    assert!(whole.code == Some(0) && whole.out.contains("without its key"), "{whole:?}");
    assert_eq!(without_key(&world, &["check"]).code, Some(2), "otherwise one is needed");

    let pack = largest(&world.path("vault"));
    let good = fs::read(&pack).unwrap();
    flip(&pack);
    assert_eq!(check(&[]).code, Some(0), "names and sizes are right");
    let name = pack.file_name().unwrap().to_str().unwrap();
    let damaged = check(&["--read-data"]);
    assert!(damaged.code == Some(12) && damaged.out.contains(name), "{damaged:?}");
    for told in [check(&[]), world.run(&["check"])] {
        assert_eq!(told.code, Some(12), "it was written down: {told:?}");
        assert!(told.out.contains(&format!("{name}: an earlier check found it damaged")), "{told:?}");
    }
    fs::write(&pack, good).unwrap();
    assert_eq!(check(&["--read-data"]).code, Some(0), "what was written down is over");
    assert_eq!(without_key(&world, &["repair"]).code, Some(0));
    assert_eq!(check(&[]).code, Some(0));

    let all = ids(&world, "vault");
    let snapshot = world.path("vault/snapshots").join(&all[1]);
    let kept = fs::read(&snapshot).unwrap();
    fs::remove_file(&snapshot).unwrap();
    let told = check(&[]);
    assert_eq!(told.code, Some(12), "{told:?}");
    assert!(told.out.contains(&format!("{}, is gone, and nobody forgot it", &all[1][..8])), "{told:?}");
    fs::write(&snapshot, kept).unwrap();
    assert_eq!(check(&[]).code, Some(0));
    // A copy may have only some of them.
    world.ok(&["copy", "--to", "far", &all[2]]);
    let noted = without_key(&world, &["--vault", "far", "check", "--without-key"]);
    assert!(noted.code == Some(0) && noted.out.contains("is not in the vault"), "{noted:?}");
}

#[test]
fn salvage_names_the_files_of_snapshots_in_the_trash_too() {
    let world = a_world();
    let all = ids(&world, "vault");
    world.ok(&["forget", &all[0]]);
    fs::remove_file(largest(&world.path("vault"))).unwrap();
    let lost = world.run(&["repair", "--salvage", "--json"]);
    assert_eq!(lost.code, Some(12), "{lost:?}");
    let events = events(&lost.out);
    let of = |id: &String| {
        let is_it = |event: &&serde_json::Value| {
            event["type"] == "file_lost"
                && event["snapshot"] == id.as_str()
                && event["path"].as_str().unwrap().ends_with("/files/large")
        };
        events.iter().filter(is_it).count()
    };
    assert_eq!((of(&all[0]), of(&all[1])), (1, 1), "{events:#?}");
}

#[test]
fn a_copy_keeps_the_settings_that_it_was_given() {
    let world = World::with_snapshot();
    let delay = |vault: &str| world.json(&["--vault", vault, "settings"]).0[0]["delete_delay"].clone();
    let day = 86_400;
    world.ok(&["settings", "--delete-delay", "9d"]);
    world.ok(&["copy", "--to", "far"]);
    assert_eq!(delay("far"), 9 * day, "what is set at the vault comes along");
    world.ok(&["settings", "--delete-delay", "10d"]);
    world.ok(&["copy", "--to", "far"]);
    assert_eq!(delay("far"), 10 * day);
    world.ok(&["--vault", "far", "settings", "--delete-delay", "30d"]);
    for days in ["11d", "12d"] {
        world.ok(&["settings", "--delete-delay", days]);
        world.ok(&["copy", "--to", "far"]);
        assert_eq!(delay("far"), 30 * day);
    }
    world.ok(&["repair", "--from", "far"]);
    assert_eq!(delay("vault"), 12 * day, "nor does the vault take those of the copy");
    // What was lost here comes back all the same.
    let newest =
        world.objects("settings").into_iter().max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    world.ok(&["copy", "--to", "near"]);
    fs::remove_file(newest.unwrap()).unwrap();
    assert_eq!(delay("vault"), 11 * day);
    world.ok(&["repair", "--from", "near"]);
    assert_eq!(delay("vault"), 12 * day);
}
