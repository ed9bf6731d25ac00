//! Golden vaults: what an earlier program wrote is read by this one, whole, damaged and added to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::golden::{Age, Golden, damaged, folder, forgotten, hashes, is_condemned, run, whole};
use e2e::{World, oracle};

/// Restores everything that was promised, but for what is gone, and compares.
#[track_caller]
fn restores(world: &World, golden: &Golden, gone: &BTreeSet<String>) {
    let promised = golden.promised();
    assert!(promised.keys().any(|id| !gone.contains(id)));
    for (id, lines) in promised.into_iter().filter(|(id, _)| !gone.contains(id)) {
        let target = world.path(&format!("back-{}", &id[..8]));
        world.run(["restore", &id, "--target", target.to_str().unwrap()]).expect(0);
        let top = only_folder_with(&target, "text");
        assert_eq!(oracle::lines(&top), lines, "{id}");
        fs::remove_dir_all(target).unwrap();
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

/// What is in the trash of a golden vault.
fn trash(world: &World) -> BTreeSet<String> {
    let trash = forgotten(world, "right");
    assert_eq!(trash.len(), 1, "what was forgotten can be told from what was not");
    trash
}

/// Two cleanups, after which every byte is checked.
#[track_caller]
fn stays_whole_when_cleaned_up(world: &World) {
    for turn in ["first", "second"] {
        let told = world.run(["cleanup", "--max-unused", "0", "--json"]).expect(0).json().pop().unwrap();
        assert_eq!(told["not_understood"], 0, "{turn}: {told}");
        world.run(["check", "--read-data"]).expect(0);
    }
}

/// The bytes of golden vaults never change. Those of a new one are added to `hashes` by who makes it.
#[test]
fn no_golden_byte_has_changed() {
    let kept: BTreeSet<String> =
        fs::read_to_string(folder().join("hashes")).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(hashes(), kept);
}

#[test]
fn every_golden_vault_is_whole_and_gives_back_what_was_put_in() {
    for golden in whole() {
        let world = golden.unpack(Age::Fresh);
        world.run(["check", "--read-data"]).expect(0);
        restores(&world, &golden, &BTreeSet::new());
        // By its other key too.
        run(&world, &golden.read("recovery-code"), &["snapshots", "--json"]).expect(0);
        trash(&world);
        // Nothing of it goes before its time.
        stays_whole_when_cleaned_up(&world);
        restores(&world, &golden, &BTreeSet::new());
    }
}

#[test]
fn a_golden_vault_takes_new_backups_and_is_cleaned_up() {
    for golden in whole() {
        for age in [Age::Fresh, Age::Old] {
            let world = golden.unpack(age);
            // In an old one its time is over.
            let gone = if age == Age::Old { trash(&world) } else { BTreeSet::new() };
            fs::create_dir(world.path("new")).unwrap();
            fs::write(world.path("new/file"), "of today").unwrap();
            world.run(["backup", &world.text("new")]).expect(0);
            stays_whole_when_cleaned_up(&world);
            restores(&world, &golden, &gone);
            for id in &gone {
                assert!(!world.vault().join("snapshots").join(id).exists(), "{id} was forgotten long ago");
            }
        }
    }
}

#[test]
fn a_golden_vault_is_regrouped() {
    for golden in whole() {
        let world = golden.unpack(Age::Old);
        let gone = trash(&world);
        for _ in 0..2 {
            world.run(["cleanup", "--regroup=1", "--max-unused", "0"]).expect(0);
        }
        stays_whole_when_cleaned_up(&world);
        restores(&world, &golden, &gone);
    }
}

#[test]
fn a_golden_vault_is_copied_and_the_copy_is_whole() {
    for golden in whole() {
        let world = golden.unpack(Age::Fresh);
        let gone = trash(&world);
        let copy = World::new();
        world.run(["copy", "--to", copy.vault().to_str().unwrap(), "--verify"]).expect(0);
        copy.run(["check", "--read-data"]).expect(0);
        restores(&copy, &golden, &gone);
    }
}

/// What snapshots a key lists, and how many of them it cannot read because it can only add.
fn listed(world: &World, secret: &str) -> (usize, usize, usize) {
    let lines = run(world, secret, &["snapshots", "--json"]).expect(0).json();
    let of = |kind: &str| lines.iter().filter(|event| event["type"] == kind).count();
    let closed = lines.iter().filter(|event| event["write_only"] == true).count();
    (of("snapshot"), of("sealed"), closed)
}

#[test]
fn the_keys_of_a_golden_vault_do_what_they_are_for() {
    let with_keys = whole().into_iter().filter(|golden| golden.has("write-only-key"));
    let mut seen = 0;
    for golden in with_keys {
        let world = golden.unpack(Age::Fresh);
        let all = golden.promised().len() - trash(&world).len();
        assert_eq!(listed(&world, "right"), (all, 0, 0));
        assert_eq!(listed(&world, &golden.read("recovery-code")), (all, 0, 0));
        assert_eq!(
            listed(&world, &golden.read("older-key")),
            (1, all - 1, 0),
            "the first alone has old keys"
        );
        assert_eq!(listed(&world, &golden.read("write-only-key")), (0, all, all));
        fs::create_dir(world.path("new")).unwrap();
        fs::write(world.path("new/file"), "added by who cannot read").unwrap();
        run(&world, &golden.read("write-only-key"), &["backup", &world.text("new")]).expect(0);
        let part = format!("latest:{}", world.text("new"));
        world.run(["restore", &part, "--target", &world.text("back")]).expect(0);
        assert_eq!(fs::read_to_string(world.path("back/file")).unwrap(), "added by who cannot read");
        seen += 1;
    }
    assert!(seen > 0, "there is such a golden vault");
}

#[test]
fn damage_in_a_golden_vault_is_found_and_named() {
    for golden in whole() {
        let kinds: BTreeSet<String> = golden
            .unpack(Age::Fresh)
            .objects("")
            .iter()
            .filter_map(|(name, _)| Some(name.split_once('/')?.0.to_owned()))
            .filter(|kind| kind != "tmp")
            .collect();
        for kind in ["packs", "index", "snapshots", "keys", "relocations", "trash", "pins", "settings"] {
            assert!(kinds.contains(kind), "{} has no {kind}: {kinds:?}", golden.name());
            let world = golden.unpack(Age::Fresh);
            let objects = world.objects(&format!("{kind}/"));
            let (name, size) = objects.into_iter().find(|(name, _)| !is_condemned(&world, name)).unwrap();
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

/// What is said of each, what comes back of it, and what a repair heals. Whoever changes the words changes `expected`, and
/// sees what changed: `cargo run -p e2e --example golden -- FOLDER --damage` writes it anew.
#[test]
fn damaged_golden_vaults_are_told_of_restored_and_healed_as_ever() {
    for case in damaged() {
        let found = case.outcomes();
        let expected = case.expected();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(found, expected, "{} of {}", case.name(), case.whole().name());
    }
}
