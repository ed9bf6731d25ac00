//! The JSON lines keep to their documentation.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use crate::world::{KEY, Outcome, World, events};

/// Every word in backquotes.
fn documented() -> BTreeSet<&'static str> {
    include_str!("../../../../docs/json.md").split('`').skip(1).step_by(2).collect()
}

fn names(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            out.insert(name.clone());
            names(value, out);
        }),
        Value::Array(items) => items.iter().for_each(|item| names(item, out)),
        _ => {}
    }
}

#[test]
fn every_verb_speaks_the_documented_lines() {
    let world = World::with_snapshot();
    fs::write(world.files().join(OsStr::from_bytes(b"not \xff text")), "x").unwrap();
    fs::write(world.path("new"), "other words").unwrap();
    std::os::unix::fs::symlink("note.txt", world.files().join("link")).unwrap();
    let place = world.latest("");
    let (events, _) = world.json(&["snapshots"]);
    let first = events[0]["id"].as_str().unwrap();
    let verbs: [&[&str]; 27] = [
        &["backup", "files"],
        &["snapshots", "--problems"],
        &["ls", "--recursive", "latest"],
        &["find", "*"],
        &["diff", "latest", "latest"],
        &["restore", "latest", "--target", "back"],
        &["restore", &place, "--in-place", "--dry-run"],
        &["dump", "latest", "--output", "all.tar"],
        &["pin", "latest"],
        &["pin", "latest", "--until", "2999-12-31"],
        &["snapshots"],
        &["forget", "--keep-last", "1"],
        &["snapshots", "--trash"],
        &["unpin", "latest"],
        &["undelete", first],
        &["settings", "--delete-delay", "30d"],
        &["check", "--read-data"],
        &["copy", "--to", "far"],
        &["repair", "--from", "far"],
        &["store", "test"],
        &["stats"],
        &["key", "list"],
        &["key", "add", "--key-file", "machine"],
        &["key", "recovery"],
        &["key", "passphrase", "--new-passphrase-file", "new"],
        &["completions", "bash"],
        &["man", "pages"],
    ];
    let documented = documented();
    let mut types = BTreeSet::new();
    for arguments in verbs {
        let (found, code) = world.json(arguments);
        assert_eq!(code, Some(0), "{arguments:?}");
        let summary = found.last().unwrap();
        assert_eq!((&summary["type"], &summary["code"]), (&"summary".into(), &0.into()), "{arguments:?}");
        let verb = summary["verb"].as_str().unwrap();
        assert!(arguments.join(" ").starts_with(verb), "{verb}");
        for event in &found {
            let mut used = BTreeSet::new();
            names(event, &mut used);
            for name in used.iter().filter(|name| *name != "type") {
                assert!(documented.contains(name.as_str()), "docs/json.md lacks {name:?} of {event}");
            }
            let kind = event["type"].as_str().unwrap();
            assert!(documented.contains(kind), "docs/json.md lacks the type {kind:?}");
            types.insert(kind.to_owned());
        }
    }
    for kind in [
        "progress",
        "snapshot",
        "entry",
        "found",
        "stats",
        "tried",
        "abilities",
        "key_slot",
        "recovery_code",
        "completions",
        "verdict",
        "forgotten",
        "undeleted",
        "pin",
        "settings",
    ] {
        assert!(types.contains(kind), "no {kind} in {types:?}");
    }
}

#[test]
fn bytes_that_are_not_text_are_kept() {
    let world = World::with_vault();
    let name = OsStr::from_bytes(b"odd\xff\n");
    fs::write(world.files().join(name), "x").unwrap();
    world.backup();
    let (found, _) = world.json(&["ls", &world.latest("")]);
    let odd = found.iter().find(|event| event.get("path_base64").is_some()).unwrap();
    assert!(odd["path"].as_str().unwrap().ends_with("odd\u{fffd}\n"));
    assert!(odd["path_base64"].as_str().unwrap().len() > 8);
    // For people it stays on one line.
    let listed = world.ok(&["ls", &world.latest("")]);
    assert_eq!(listed.lines().filter(|line| line.ends_with("odd\\xff\\n")).count(), 1, "{listed}");
}

#[test]
fn a_failure_is_the_last_line() {
    let world = World::with_snapshot();
    let wrong = Outcome::of(
        world.command(&["snapshots", "--json"]).env("STRONGROOM_PASSPHRASE", KEY.replace("012", "210")),
    );
    assert_eq!(wrong.code, Some(11), "{wrong:?}");
    let found = events(&wrong.out);
    let error = found.last().unwrap();
    assert_eq!((&error["type"], &error["code"]), (&"error".into(), &11.into()));
    assert!(error["hint"].is_string() && error["message"].as_str().unwrap().contains("vault"));
    assert!(wrong.err.starts_with("error: "), "{wrong:?}");
}

#[test]
fn a_first_backup_says_the_recovery_code_and_where_the_key_is() {
    let world = World::new();
    let (found, code) = world.json(&["backup", "files"]);
    assert_eq!(code, Some(0));
    let of_kind = |kind: &str| found.iter().find(|event| event["type"] == kind).unwrap();
    assert!(of_kind("vault")["recovery_code"].is_string());
    assert!(std::path::Path::new(of_kind("key_file")["file"].as_str().unwrap()).exists());
}
