//! Golden vaults: what an earlier program wrote is read by this one, whole, damaged and added to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Outcome, World, oracle};

/// Every golden vault there is.
fn all() -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"));
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

/// A world with a golden vault.
fn unpack(golden: &Path) -> World {
    let world = World::new();
    fs::create_dir(world.vault()).unwrap();
    let tar =
        Command::new("tar").arg("-xf").arg(golden.join("vault.tar")).arg("-C").arg(world.vault()).status();
    assert!(tar.unwrap().success());
    world
}

/// What each snapshot must give back, line by line.
fn promised(golden: &Path) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(golden.join("restored")).unwrap();
    let mut promised: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let (id, rest) = line.split_once('\t').unwrap();
        promised.entry(id.to_owned()).or_default().push(rest.to_owned());
    }
    promised
}

/// Restores everything that was promised, and compares.
#[track_caller]
fn restores(world: &World, golden: &Path) {
    for (id, lines) in promised(golden) {
        let target = world.path(&format!("back-{}", &id[..8]));
        world.run(["restore", &id, "--target", target.to_str().unwrap()]).expect(0);
        let top = only_folder_with(&target, "text");
        assert_eq!(oracle::lines(&top), lines, "{id}");
    }
}

/// The folder below `target` that holds the file: the way there is that of the machine that was backed up.
fn only_folder_with(target: &Path, name: &str) -> PathBuf {
    let mut at = target.to_owned();
    while !at.join(name).exists() {
        let mut entries = fs::read_dir(&at).unwrap();
        at = entries.next().unwrap().unwrap().path();
        assert!(entries.next().is_none(), "{}", at.display());
    }
    at
}

#[test]
fn every_golden_vault_is_whole_and_gives_back_what_was_put_in() {
    for golden in all() {
        let world = unpack(&golden);
        world.run(["check", "--read-data"]).expect(0);
        restores(&world, &golden);
        // By its other key too.
        let code = fs::read_to_string(golden.join("recovery-code")).unwrap();
        let listed = world.command(["snapshots", "--json"]).env("STRONGROOM_PASSPHRASE", code).output();
        assert!(listed.unwrap().status.success());
        // What was forgotten can be told from what was not.
        let trash = world.run(["snapshots", "--trash", "--json"]).expect(0).json();
        assert_eq!(trash.iter().filter(|event| event["type"] == "snapshot").count(), 1);
    }
}

#[test]
fn a_golden_vault_takes_new_backups_and_is_cleaned_up() {
    for golden in all() {
        let world = unpack(&golden);
        fs::create_dir(world.path("new")).unwrap();
        fs::write(world.path("new/file"), "of today").unwrap();
        world.run(["backup", &world.text("new")]).expect(0);
        world.run(["cleanup", "--max-unused", "0"]).expect(0);
        world.run(["check", "--read-data"]).expect(0);
        restores(&world, &golden);
    }
}

/// What snapshots a key lists, and how many of them it cannot read because it can only add.
fn listed(world: &World, secret: &str) -> (usize, usize, usize) {
    let output =
        world.command(["snapshots", "--json"]).env("STRONGROOM_PASSPHRASE", secret).output().unwrap();
    let lines = Outcome::from(output).expect(0).json();
    let of = |kind: &str| lines.iter().filter(|event| event["type"] == kind).count();
    let closed = lines.iter().filter(|event| event["write_only"] == true).count();
    (of("snapshot"), of("sealed"), closed)
}

#[test]
fn the_keys_of_a_golden_vault_do_what_they_are_for() {
    let with_keys = all().into_iter().filter(|golden| golden.join("write-only-key").exists());
    let mut seen = 0;
    for golden in with_keys {
        let world = unpack(&golden);
        let key = |name: &str| fs::read_to_string(golden.join(name)).unwrap();
        assert_eq!(listed(&world, "right"), (2, 0, 0));
        assert_eq!(listed(&world, &key("older-key")), (1, 1, 0), "the last was sealed with new keys");
        assert_eq!(listed(&world, &key("write-only-key")), (0, 2, 2));
        fs::create_dir(world.path("new")).unwrap();
        fs::write(world.path("new/file"), "added by who cannot read").unwrap();
        let mut adding = world.command(["backup", &world.text("new")]);
        let added = adding.env("STRONGROOM_PASSPHRASE", key("write-only-key")).output().unwrap();
        Outcome::from(added).expect(0);
        let part = format!("latest:{}", world.text("new"));
        world.run(["restore", &part, "--target", &world.text("back")]).expect(0);
        assert_eq!(fs::read_to_string(world.path("back/file")).unwrap(), "added by who cannot read");
        seen += 1;
    }
    assert!(seen > 0, "there is such a golden vault");
}

#[test]
fn damage_in_a_golden_vault_is_found_and_named() {
    for golden in all() {
        let kinds: BTreeSet<String> = unpack(&golden)
            .objects("")
            .iter()
            .filter_map(|(name, _)| Some(name.split_once('/')?.0.to_owned()))
            .filter(|kind| kind != "tmp")
            .collect();
        for kind in ["packs", "index", "snapshots", "keys", "relocations", "trash", "pins", "settings"] {
            assert!(kinds.contains(kind), "{} has no {kind}: {kinds:?}", golden.display());
            let world = unpack(&golden);
            let (name, size) = world.objects(&format!("{kind}/")).remove(0);
            let path = world.vault().join(&name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[size as usize / 2] ^= 4;
            fs::write(&path, bytes).unwrap();
            let outcome = world.run(["check", "--read-data"]);
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(said.contains(&name), "{name} flipped: {outcome:?}");
            assert_ne!(outcome.code, 0, "{name} flipped: {outcome:?}");
        }
    }
}
