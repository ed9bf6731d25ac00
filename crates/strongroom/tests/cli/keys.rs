//! What opens a vault, and where it may come from.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::start::recovery_code;
use crate::world::{KEY, Outcome, World, events};

/// A vault that opens with the words `correct horse`.
fn world() -> World {
    let world = World::new();
    let made = Outcome::of(
        world.command(&["init", "--vault", "vault"]).env("STRONGROOM_PASSPHRASE", "correct horse"),
    );
    assert_eq!(made.code, Some(0), "{made:?}");
    world
}

fn list(world: &World, more: &[&str], passphrase: &str) -> Outcome {
    let arguments = [&["key", "list", "--vault", "vault"], more].concat();
    Outcome::of(world.command(&arguments).env("STRONGROOM_PASSPHRASE", passphrase))
}

#[test]
fn a_passphrase_may_come_from_three_places_and_the_nearest_wins() {
    let world = world();
    fs::write(world.path("right"), "correct horse\nmore\n").unwrap();
    fs::write(world.path("wrong"), "wrong\n").unwrap();
    assert_eq!(list(&world, &[], "correct horse").code, Some(0));
    assert_eq!(list(&world, &["--passphrase-file", "right"], "wrong").code, Some(0));
    assert_eq!(list(&world, &["--passphrase-command", "head -1 right"], "wrong").code, Some(0));
    for more in [&[][..], &["--passphrase-file", "wrong"], &["--passphrase-command", "cat wrong"]] {
        let passphrase = if more.is_empty() { "wrong" } else { "correct horse" };
        let outcome = list(&world, more, passphrase);
        assert_eq!(outcome.code, Some(11), "{outcome:?}");
        assert!(outcome.err.contains("vault") && outcome.err.contains("hint:"), "{outcome:?}");
    }
}

#[test]
fn a_source_that_gives_nothing_is_named() {
    let world = world();
    fs::write(world.path("empty"), "\n").unwrap();
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--passphrase-file", "missing"], 1, "missing"),
        (&["--passphrase-file", "empty"], 1, "empty"),
        (&["--passphrase-command", "exit 7"], 1, "7"),
        (&["--passphrase-command", "true"], 1, "command"),
        (&[], 2, "STRONGROOM_PASSPHRASE"),
    ];
    for (more, code, says) in cases {
        let outcome = list(&world, more, "");
        assert_eq!(outcome.code, Some(code), "{more:?}: {outcome:?}");
        assert!(outcome.err.contains(says) && outcome.err.contains("hint:"), "{more:?}: {outcome:?}");
    }
    let mut command = world.command(&["key", "list", "--vault", "vault"]);
    let strange = Outcome::of(command.env("STRONGROOM_PASSPHRASE", OsStr::from_bytes(b"\xff")));
    assert_eq!(strange.code, Some(2), "{strange:?}");
}

#[test]
fn a_passphrase_is_never_said() {
    let world = world();
    for outcome in [
        list(&world, &[], "correct horse"),
        list(&world, &["--json"], "correct horse"),
        list(&world, &[], "wrong battery"),
        list(&world, &["--json"], "wrong battery"),
        list(&world, &["--passphrase-command", "echo 'correct horse'; exit 3"], ""),
    ] {
        let said = format!("{}{}", outcome.out, outcome.err);
        assert!(!said.contains("correct horse") && !said.contains("wrong battery"), "{said}");
    }
}

#[test]
fn slots_are_added_changed_and_removed() {
    let world = world();
    let key = |arguments: &[&str], passphrase: &str| {
        let arguments = [&["key"], arguments, &["--vault", "vault", "--json"]].concat();
        let outcome = Outcome::of(world.command(&arguments).env("STRONGROOM_PASSPHRASE", passphrase));
        (events(&outcome.out), outcome.code, outcome.err)
    };
    fs::write(world.path("new"), "battery staple\n").unwrap();
    let slots = |passphrase: &str| -> Vec<(String, String, bool)> {
        let (events, code, err) = key(&["list"], passphrase);
        assert_eq!(code, Some(0), "{err}");
        let slots = events.iter().filter(|event| event["type"] == "key_slot");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        slots.map(|slot| (text(&slot["id"]), text(&slot["kind"]), slot["opened_with"] == true)).collect()
    };
    assert_eq!(slots("correct horse").len(), 2);

    // A machine's key in a file.
    let (_, code, err) = key(&["add", "--key-file", "machine.key", "--label", "machine"], "correct horse");
    assert_eq!(code, Some(0), "{err}");
    let machine = fs::read_to_string(world.path("machine.key")).unwrap();
    assert!(slots(machine.trim()).iter().any(|(_, kind, opened)| *opened && kind == "key file"));
    let (_, code, _) = key(&["add", "--key-file", "machine.key"], "correct horse");
    assert_eq!(code, Some(1), "a key file is never overwritten");
    assert_eq!(fs::read_to_string(world.path("machine.key")).unwrap(), machine);

    // Changing the passphrase takes the old one away, and only that.
    let (_, code, err) = key(&["passphrase", "--new-passphrase-file", "new"], "correct horse");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(key(&["list"], "correct horse").1, Some(11));
    assert_eq!(slots("battery staple").len(), 3);

    // Opened with the key file, the key file stays.
    fs::write(world.path("new"), "third words\n").unwrap();
    let (_, code, err) = key(&["passphrase", "--new-passphrase-file", "new"], machine.trim());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(slots(machine.trim()).len(), 4);
    assert_eq!(slots("third words").len(), 4);

    // A new recovery code opens it.
    let (events, code, err) = key(&["recovery"], machine.trim());
    assert_eq!(code, Some(0), "{err}");
    let code = events.iter().find_map(|event| event["recovery_code"].as_str()).unwrap();
    assert_eq!(slots(code).len(), 5);

    // Everything may go but the last.
    for (id, ..) in slots(machine.trim()).into_iter().filter(|(_, _, opened)| !opened) {
        assert_eq!(key(&["remove", &id[..8]], machine.trim()).1, Some(0));
    }
    let (last, ..) = slots(machine.trim()).remove(0);
    let (_, code, err) = key(&["remove", &last], machine.trim());
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(key(&["remove", "zz"], machine.trim()).1, Some(1));
    let (_, code, err) = key(&["add"], machine.trim());
    assert_eq!(code, Some(2), "a new passphrase is never taken from where the old one is: {err}");
}

#[test]
fn a_recovery_code_is_printed_by_quiet_runs_too() {
    let world = World::new();
    let mut command = world.command(&["init", "--vault", "vault", "--quiet"]);
    let outcome = Outcome::of(command.env("STRONGROOM_PASSPHRASE", KEY));
    assert!(recovery_code(&outcome.out).is_some(), "{outcome:?}");
}

#[test]
fn programs_that_are_run_do_not_get_the_secret() {
    let world = World::with_vault();
    let print = "printf %s \"${STRONGROOM_PASSPHRASE-nothing}\"";
    world.ok(&["backup", "--stdin-from-command", "environment", "--", "sh", "-c", print]);
    assert_eq!(world.ok(&["dump", "latest:/environment"]), "nothing");
    let key = format!("test -z \"$STRONGROOM_PASSPHRASE\" && echo {KEY}");
    world.ok(&["snapshots", "--passphrase-command", &key]);
}

#[test]
fn a_machine_that_can_only_add_backs_up_and_a_person_restores() {
    let world = World::new();
    let with = |arguments: &[&str], passphrase: &str| {
        let arguments = [arguments, &["--vault", "vault"]].concat();
        Outcome::of(world.command(&arguments).env("STRONGROOM_PASSPHRASE", passphrase))
    };
    fs::write(world.path("taken"), "mine").unwrap();
    let refused = with(&["init", "--write-only", "taken"], KEY);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("taken") && !world.path("vault").exists(), "{refused:?}");
    let made = with(&["init", "--write-only", "machine.key"], KEY);
    assert!(made.code == Some(0) && made.out.contains("machine.key"), "{made:?}");

    let machine = fs::read_to_string(world.path("machine.key")).unwrap();
    let machine = machine.lines().next().unwrap();
    for _ in 0..2 {
        let outcome = with(&["backup", "files"], machine);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
    let listed = with(&["snapshots"], machine);
    assert_eq!((listed.code, listed.out.matches("can only add").count()), (Some(0), 2), "{listed:?}");
    let refused = with(&["restore", "latest", "--target", "out"], machine);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("passphrase") && !world.path("out").exists(), "{refused:?}");
    let restored = with(&["restore", "latest", "--target", "out"], KEY);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert_eq!(with(&["check", "--read-data"], KEY).code, Some(0));
}

#[test]
fn renewed_keys_leave_the_old_code_what_was_there() {
    let world = World::with_snapshot();
    let (events, code) = world.json(&["key", "recovery"]);
    assert_eq!(code, Some(0));
    let told = |events: &[serde_json::Value]| {
        let event = events.iter().find(|event| event["type"] == "recovery_code").unwrap();
        event["recovery_code"].as_str().unwrap().to_owned()
    };
    let old = told(&events);
    let (events, code) = world.json(&["key", "renew"]);
    assert_eq!(code, Some(0), "{events:?}");
    let new = told(&events);
    world.backup();
    let with = |passphrase: &str| {
        let mut command = world.command(&["restore", "latest", "--dry-run", "--target", "out"]);
        Outcome::of(command.env("STRONGROOM_PASSPHRASE", passphrase))
    };
    assert_eq!((with(KEY).code, with(&new).code), (Some(0), Some(0)));
    let refused = with(&old);
    assert_eq!(refused.code, Some(11), "{refused:?}");
    assert!(refused.err.contains("newer keys"), "{refused:?}");
    let mut command = world.command(&["snapshots", "--json"]);
    let listed = Outcome::of(command.env("STRONGROOM_PASSPHRASE", &old));
    let kinds =
        |kind: &str| crate::world::events(&listed.out).iter().filter(|event| event["type"] == kind).count();
    assert_eq!((kinds("snapshot"), kinds("sealed")), (1, 1), "{listed:?}");
}

#[test]
fn nobody_removes_what_only_others_could_replace() {
    let world = World::new();
    let with = |arguments: &[&str], passphrase: &str| {
        let arguments = [arguments, &["--vault", "vault", "--json"]].concat();
        Outcome::of(world.command(&arguments).env("STRONGROOM_PASSPHRASE", passphrase))
    };
    let slots = |passphrase: &str| -> Vec<(String, bool)> {
        let listed = events(&with(&["key", "list"], passphrase).out);
        let slots = listed.iter().filter(|event| event["type"] == "key_slot");
        slots.map(|slot| (slot["id"].as_str().unwrap().to_owned(), slot["opened_with"] == true)).collect()
    };
    let used = || slots(KEY).into_iter().find(|(_, opened)| *opened).unwrap().0;
    assert_eq!(with(&["init", "--write-only", "machine.key"], KEY).code, Some(0));
    // What would be left can perhaps only add.
    let refused = with(&["key", "remove", &used()], KEY);
    assert!(refused.code == Some(1) && refused.err.contains("opened the vault just now"), "{refused:?}");
    let machine = fs::read_to_string(world.path("machine.key")).unwrap();
    let machine = machine.lines().next().unwrap();
    // It does not say of what it cannot read that there is nothing.
    assert_eq!(with(&["backup", "files"], machine).code, Some(0));
    let told = events(&with(&["stats"], machine).out);
    let stats = told.iter().find(|event| event["type"] == "stats").unwrap();
    assert!(stats["snapshots"] == 1 && stats["files"].is_null() && stats["chunks"].is_null(), "{stats}");
    let stats = events(&with(&["stats"], KEY).out);
    let stats = stats.iter().find(|event| event["type"] == "stats").unwrap();
    assert!(stats["snapshots"] == 1 && stats["files"].as_u64() > Some(0), "{stats}");
    for arguments in
        [&["key", "remove", &used()][..], &["key", "renew"], &["settings", "--delete-delay", "0"]]
    {
        let refused = with(arguments, machine);
        assert!(refused.code == Some(1) && refused.err.contains("can only add"), "{refused:?}");
    }
    // Who has only old keys might take the new ones away, or make others of the same number.
    let told = events(&with(&["key", "recovery"], KEY).out);
    let old = told.iter().find_map(|event| event["recovery_code"].as_str()).unwrap();
    assert_eq!(with(&["key", "renew"], KEY).code, Some(0));
    assert_eq!(with(&["backup", "files"], KEY).code, Some(0));
    for arguments in [&["key", "remove", &used()][..], &["key", "renew"]] {
        let refused = with(arguments, old);
        assert!(refused.code == Some(11) && refused.err.contains("newer keys"), "{refused:?}");
    }
    let added = with(&["key", "recovery"], old);
    assert!(added.code == Some(0) && added.err.contains("newer keys"), "{added:?}");
    // And their rules say what they do not see.
    let dry = with(&["forget", "--keep-last", "1", "--dry-run"], old);
    assert!(dry.out.contains("\"sealed\"") && dry.err.contains("no rule saw them"), "{dry:?}");
    for (id, _) in slots(KEY).iter().filter(|(_, opened)| !opened) {
        assert_eq!(with(&["key", "remove", id], KEY).code, Some(0));
    }
    assert_eq!(slots(KEY).len(), 1);
}
