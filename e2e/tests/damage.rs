//! The damage matrix: each kind of object × delete, truncate, flip, swap × check, restore, back up again. Nothing
//! panics, nothing that is whole is lost, what is lost is named, and the next backup puts right what it can.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{World, noise};

const KINDS: [&str; 5] = ["packs/", "index/", "snapshots/", "keys/", "strongroom.vault"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    Delete,
    Truncate,
    Flip,
    Swap,
}

fn plant(top: &Path) {
    for folder in ["a", "b"] {
        fs::create_dir_all(top.join(folder)).unwrap();
        for n in 0..50 {
            fs::write(top.join(format!("{folder}/{n}")), noise(n, 900)).unwrap();
        }
    }
    fs::write(top.join("a/large"), noise(100, 20 << 20)).unwrap();
    fs::write(top.join("b/large"), noise(101, 20 << 20)).unwrap();
}

fn files(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for folder in ["a", "b"] {
        for entry in fs::read_dir(top.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            out.insert(path.strip_prefix(top).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
    out
}

/// Harms one object of the kind (two, to swap them); the size of the smallest harmed, or `None` when there are not two.
fn harm(world: &World, kind: &str, which: usize, harm: Harm) -> Option<u64> {
    let objects = world.objects(kind);
    let object = world.vault().join(&objects[which % objects.len()].0);
    let bytes = fs::read(&object).unwrap();
    match harm {
        Harm::Delete => fs::remove_file(&object).unwrap(),
        Harm::Truncate => fs::write(&object, &bytes[..bytes.len() * 2 / 3]).unwrap(),
        Harm::Flip => {
            let mut bytes = bytes.clone();
            let at = bytes.len() / 2;
            bytes[at] ^= 0x20;
            fs::write(&object, bytes).unwrap();
        }
        Harm::Swap => {
            if objects.len() < 2 {
                return None;
            }
            let other = world.vault().join(&objects[(which + 1) % objects.len()].0);
            fs::write(&object, fs::read(&other).unwrap()).unwrap();
            fs::write(&other, &bytes).unwrap();
            return Some((bytes.len() as u64).min(object.metadata().unwrap().len()));
        }
    }
    Some(objects[which % objects.len()].1)
}

/// A world with two snapshots, and two key slots: the passphrase and the recovery code.
fn a_world() -> World {
    let world = World::new();
    let made = world.run(["init", "--json"]).expect(0).json();
    let code = made.iter().find_map(|event| event["recovery_code"].as_str()).unwrap();
    fs::write(world.path("recovery code"), code).unwrap();
    plant(&world.path("source"));
    world.run(["backup", &world.text("source"), "--tag", "first"]).expect(0);
    fs::write(world.path("source/b/new"), noise(7, 3 << 20)).unwrap();
    world.run(["backup", &world.text("source"), "--tag", "second"]).expect(0);
    world
}

fn copy(from: &World) -> World {
    let world = World::new();
    for name in ["vault", "source", "home"] {
        let (from, to) = (from.path(name), world.path(name));
        e2e::plant::tool("cp", &["-a".as_ref(), from.as_os_str(), to.as_os_str()]);
    }
    world
}

/// Restores whatever can be; every file that is there afterwards must be right.
fn restore_all(world: &World, from: &World, case: &str) -> (i32, usize) {
    restore_with(world.command(Vec::<String>::new()), world, from, case)
}

/// As [`restore_all`], opened with the recovery code that `init` printed.
fn restore_by_recovery_code(world: &World, from: &World, case: &str) -> i32 {
    let mut command = world.command(Vec::<String>::new());
    command.env("STRONGROOM_PASSPHRASE", fs::read_to_string(from.path("recovery code")).unwrap());
    restore_with(command, world, from, case).0
}

fn restore_with(mut command: Command, world: &World, from: &World, case: &str) -> (i32, usize) {
    let part = format!("latest:{}", from.text("source"));
    command.args(["restore", "--tag", "second", &part, "--target", &world.text("back")]);
    let outcome = e2e::Outcome::from(command.output().unwrap());
    assert!([0, 1, 3, 10, 11, 12].contains(&outcome.code), "{case}: {outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{case}: {outcome:?}");
    let expected = files(&world.path("source"));
    let found = files(&world.path("back"));
    for (path, bytes) in &found {
        assert!(expected[path] == *bytes, "{case}: {path:?} was restored wrong");
    }
    if outcome.code == 0 {
        assert_eq!(found.len(), expected.len(), "{case}: success means everything");
    } else {
        assert!(
            outcome.stderr.contains("error") || outcome.stderr.contains("problem"),
            "{case}: {outcome:?}"
        );
    }
    (outcome.code, found.len())
}

#[test]
fn every_harm_to_every_kind_of_object_is_named_and_loses_no_more_than_it_must() {
    let original = a_world();
    for kind in KINDS {
        for what in [Harm::Delete, Harm::Truncate, Harm::Flip, Harm::Swap] {
            let count = original.objects(kind).len();
            for which in [0, count / 2] {
                let case = format!("{what:?} of {kind} {which} of {count}");
                let world = copy(&original);
                let Some(smallest) = harm(&world, kind, which, what) else { continue };
                let check = world.run(["check", "--read-data"]);
                assert!(!check.stderr.contains("panicked"), "{case}: {check:?}");
                // Slots are removed on purpose, and only whoever remembers it can miss the newest snapshot; see the
                // threat model.
                let unseen = what == Harm::Delete && ["keys/", "snapshots/"].contains(&kind);
                if !unseen {
                    assert_eq!(check.code, 12, "{case}: check must notice: {check:?}");
                    let text = format!("{}{}", check.stdout, check.stderr);
                    assert!(text.contains(kind), "{case}: it names the object: {check:?}");
                }
                let (code, restored) = restore_all(&world, &original, &case);
                match kind {
                    // The index is a help for backups, and a descriptor says little more than the keys do; a restore
                    // does without.
                    "index/" | "strongroom.vault" => assert_eq!(code, 0, "{case}"),
                    // Without the pack of its trees, a small one, there is nothing to go by.
                    "packs/" => assert!(restored > 0 || smallest < 1 << 20, "{case}: nothing came back"),
                    // Slots that changed places still open it.
                    "keys/" if what == Harm::Swap => assert_eq!(code, 0, "{case}"),
                    // The other slot opens it, or this one.
                    "keys/" => {
                        let code =
                            if code == 0 { code } else { restore_by_recovery_code(&world, &original, &case) };
                        assert_eq!(code, 0, "{case}");
                    }
                    _ => {}
                }
                let again = world.run(["backup", "--force-read", &original.text("source"), "--tag", "again"]);
                assert!(!again.stderr.contains("panicked"), "{case}: {again:?}");
                if kind == "strongroom.vault" && what != Harm::Swap {
                    assert_eq!(again.code, 12, "{case}: nothing is added to what nobody knows: {again:?}");
                }
                if ["packs/", "index/", "snapshots/"].contains(&kind) {
                    assert_eq!(again.code, 0, "{case}: the next backup succeeds: {again:?}");
                    let part = format!("latest:{}", original.text("source"));
                    let target = world.text("healed");
                    world.run(["restore", "--tag", "again", &part, "--target", &target]).expect(0);
                    assert!(
                        files(&world.path("healed")) == files(&original.path("source")),
                        "{case}: what the next backup stored comes back"
                    );
                }
            }
        }
    }
}

#[test]
fn every_bad_input_has_its_exit_code_and_names_the_object() {
    let world = World::with_vault();
    plant(&world.path("source"));
    world.run(["backup", &world.text("source")]).expect(0);
    let nowhere = world.text("nowhere");
    assert!(world.run(["--vault", &nowhere, "snapshots"]).expect(10).stderr.contains("nowhere"));
    let mut wrong = world.command(["snapshots"]);
    let wrong = e2e::Outcome::from(wrong.env("STRONGROOM_PASSPHRASE", "wrong").output().unwrap());
    assert!(wrong.expect(11).stderr.contains("hint"), "it says what to do next");
    assert!(world.run(["ls", "ffffffff"]).expect(1).stderr.contains("ffffffff"));
    assert!(world.run(["ls", "latest:/not/there"]).expect(1).stderr.contains("/not/there"));
    assert!(world.run(["backup", &world.text("no such source")]).expect(1).stderr.contains("no such source"));
    world.run(["backup"]).expect(2);
    world.run(["no-such-verb"]).expect(2);
    fs::create_dir(world.path("not a vault")).unwrap();
    fs::write(world.path("not a vault/strongroom.vault"), "something else").unwrap();
    let other = world.run(["--vault", &world.text("not a vault"), "snapshots"]);
    assert!(other.expect(12).stderr.contains("strongroom.vault"));
    let mut newer = fs::read(world.vault().join("strongroom.vault")).unwrap();
    newer[6] = 9;
    fs::write(world.vault().join("strongroom.vault"), newer).unwrap();
    let newer = world.run(["snapshots"]);
    assert_eq!(newer.code, 1, "newer is not damaged: {newer:?}");
    assert!(newer.stderr.contains("version 9"), "{newer:?}");
}
