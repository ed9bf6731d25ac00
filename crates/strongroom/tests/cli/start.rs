//! The first steps: a vault out of nothing, a vault by intent, and what stands in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{KEY, Outcome, World};

/// The recovery code in an output: nine groups of four.
pub fn recovery_code(out: &str) -> Option<String> {
    let is_code = |word: &&str| {
        let groups: Vec<&str> = word.split('-').collect();
        groups.len() == 9 && groups.iter().all(|group| group.len() == 4)
    };
    out.split_whitespace().find(is_code).map(str::to_owned)
}

#[test]
fn a_first_backup_needs_no_configuration() {
    let world = World::new();
    let out = world.ok(&["backup", "files"]);
    let code = recovery_code(&out).expect("the recovery code is printed");
    let vault = world.home().join(".local/share/strongroom/vault");
    let key = world.home().join(".config/strongroom/key");
    assert!(out.contains(vault.to_str().unwrap()) && out.contains(key.to_str().unwrap()), "{out}");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&vault).unwrap().permissions().mode() & 0o777, 0o700);

    // Everything finds both by itself, and the code is not said again.
    let again = world.ok(&["backup", "files"]);
    assert_eq!(recovery_code(&again), None);
    assert_eq!(world.snapshots(), 2);
    world.ok(&["restore", "latest", "--target", "back"]);
    let back = world.path("back").join(world.files().strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back.join("note.txt")).unwrap(), "remember the milk");
    // By its name it is the same vault.
    world.ok(&["snapshots", "--vault", vault.to_str().unwrap()]);

    // Without its key the recovery code opens it, and nothing is made anew.
    fs::remove_file(&key).unwrap();
    let lost = world.run(&["backup", "files"]);
    assert_eq!(lost.code, Some(2), "{lost:?}");
    let recovered = Outcome::of(world.command(&["snapshots"]).env("STRONGROOM_PASSPHRASE", &code));
    assert_eq!(recovered.code, Some(0), "{recovered:?}");
    assert!(!recovered.out.contains(&code) && !recovered.err.contains(&code));
}

#[test]
fn a_key_without_its_vault_is_never_replaced() {
    let world = World::new();
    world.ok(&["backup", "files"]);
    let key = world.home().join(".config/strongroom/key");
    let before = fs::read(&key).unwrap();
    fs::rename(world.home().join(".local"), world.home().join("elsewhere")).unwrap();
    let outcome = world.run(&["backup", "files"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("hint:"), "{outcome:?}");
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn the_default_vault_takes_a_passphrase_that_is_given() {
    let world = World::new();
    let first = Outcome::of(world.command(&["backup", "files"]).env("STRONGROOM_PASSPHRASE", KEY));
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(!world.home().join(".config/strongroom/key").exists());
    assert_eq!(world.run(&["snapshots"]).code, Some(2), "nothing else opens it");
}

#[test]
fn a_first_backup_that_cannot_be_leaves_nothing_behind() {
    let world = World::new();
    let dry = world.run(&["backup", "files", "--dry-run"]);
    assert_eq!(dry.code, Some(1), "{dry:?}");
    let bad = world.run(&["backup", "files", "--exclude", "[a"]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    // The cache cannot be made: no vault may exist whose recovery code nobody saw.
    let hindered =
        Outcome::of(world.command(&["backup", "files"]).env("STRONGROOM_CACHE", "/dev/null/cache"));
    assert_eq!(hindered.code, Some(1), "{hindered:?}");
    assert_eq!(fs::read_dir(world.home().join(".config/strongroom")).map_or(0, Iterator::count), 0);
    assert!(!world.home().join(".local/share/strongroom/vault/strongroom.vault").exists());
}

#[test]
fn init_makes_one_vault_in_a_folder_of_its_own() {
    let world = World::new();
    let init = |folder: &str| {
        Outcome::of(world.command(&["init", "--vault", folder]).env("STRONGROOM_PASSPHRASE", "correct horse"))
    };
    let made = init("deep/er/vault");
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(recovery_code(&made.out).is_some());
    let again = init("deep/er/vault");
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.err.contains("already"), "{again:?}");
    let foreign = init("files");
    assert_eq!(foreign.code, Some(1), "{foreign:?}");
    assert!(foreign.err.contains("not empty"), "{foreign:?}");
    fs::create_dir(world.path("empty")).unwrap();
    assert_eq!(init("empty").code, Some(0));
    let elsewhere = init("s3://bucket");
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:?}");
}

#[test]
fn where_there_is_no_vault_nothing_is_asked_and_the_code_says_so() {
    let world = World::new();
    fs::create_dir(world.path("empty")).unwrap();
    for place in ["missing", "empty", "files/note.txt"] {
        for verb in
            [&["snapshots"][..], &["backup", "files"], &["check"], &["restore", "latest", "--target", "x"]]
        {
            let outcome = Outcome::of(world.command(verb).env("STRONGROOM_VAULT", world.path(place)));
            assert_eq!(outcome.code, Some(10), "{place} {verb:?}: {outcome:?}");
            assert!(outcome.err.contains(place) && outcome.err.contains("hint:"), "{outcome:?}");
        }
    }
    assert_eq!(world.run(&["snapshots"]).code, Some(10), "the default vault is not there either");
    // A variable that is set to nothing names nothing.
    let unset = Outcome::of(world.command(&["snapshots"]).env("STRONGROOM_VAULT", ""));
    assert_eq!(unset.code, Some(10), "{unset:?}");
}
