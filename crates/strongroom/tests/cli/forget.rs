//! Rules, the trash, pins and settings.

use std::fs;

use serde_json::Value;

use crate::world::{World, noise};

/// A world with so many snapshots of its files.
fn with_snapshots(count: usize) -> World {
    let world = World::with_vault();
    for n in 0..count {
        fs::write(world.files().join("note.txt"), n.to_string()).unwrap();
        world.backup();
    }
    world
}

/// Many small files of which each version changes every fourth; only the last two snapshots stay.
fn with_little_left_of_much() -> World {
    let mut world = World::new();
    world.use_vault();
    world.ok(&["init", "--delete-delay", "0d"]);
    let bytes = noise(200 * 5 * 8000);
    let mut fresh = bytes.chunks(8000);
    for version in 0..4 {
        for n in (0..200).filter(|n| version == 0 || n % 4 == version) {
            fs::write(world.files().join(format!("part-{n}")), fresh.next().unwrap()).unwrap();
        }
        world.backup();
    }
    world.ok(&["forget", "--keep-last", "2"]);
    world
}

/// The ids that `snapshots` lists.
fn ids(world: &World, arguments: &[&str]) -> Vec<String> {
    let (events, code) = world.json(&[&["snapshots"], arguments].concat());
    assert_eq!(code, Some(0));
    let snapshots = events.iter().filter(|event| event["type"] == "snapshot");
    snapshots.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn with_the_key_cleanup_takes_what_nobody_needs_out_of_packs() {
    let world = with_little_left_of_much();
    let stored =
        || -> u64 { world.objects("packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum() };
    world.ok(&["cleanup", "--unfinished", "0d"]);
    let before = stored();
    let said = world.ok(&["cleanup", "--unfinished", "0d", "--regroup=10"]);
    assert!(said.contains("Regrouped: 1 pack; announced for it: 1 pack."), "{said}");
    // A quarter of the first version was replaced in each of the two versions that are gone from the rest.
    assert!(stored() < before * 85 / 100, "{} of {before}", stored());
    world.ok(&["check", "--read-data"]);
    let target = world.path("back");
    world.ok(&["restore", &world.latest(""), "--target", target.to_str().unwrap()]);
    for n in 0..200 {
        let name = format!("part-{n}");
        assert!(
            fs::read(target.join(&name)).unwrap() == fs::read(world.files().join(&name)).unwrap(),
            "{name}"
        );
    }
    // Whoever cannot read cannot know what is needed.
    let refused = world.run(&["cleanup", "--regroup=101"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn rules_put_into_the_trash_and_undelete_brings_back() {
    let world = with_snapshots(4);
    let all = ids(&world, &[]);
    let leases = || fs::read_dir(world.path("vault/leases")).unwrap().count();
    let before = leases();
    let dry = world.ok(&["forget", "--keep-last", "2", "--dry-run"]);
    assert!(dry.contains("forget  no rule keeps it") && dry.contains("Would put 2 snapshots"), "{dry}");
    assert_eq!(ids(&world, &[]), all, "a dry run changes nothing");
    assert!(!world.path("vault/trash").exists());
    assert_eq!(leases(), before, "a dry run takes no lease");

    let said = world.ok(&["forget", "--keep-last", "2"]);
    assert!(said.contains("Put 2 snapshots into the trash") && said.contains("undelete"), "{said}");
    for line in said.lines().filter(|line| line.contains("  keep  ")) {
        assert!(line.ends_with("last"), "{line}");
    }
    assert_eq!(ids(&world, &[]), all[2..]);
    assert_eq!(ids(&world, &["--trash"]), all[..2]);
    assert!(world.ok(&["snapshots", "--trash"]).contains("(until "));
    assert!(world.ok(&["forget", "--keep-last", "2"]).contains("Nothing was put into the trash"));

    // Found by its id, with a word about where it is; and never the latest.
    let outcome = world.run(&["restore", &all[1][..12], "--target", "back"]);
    assert_eq!(outcome.code, Some(0));
    assert!(outcome.err.contains("in the trash"), "{outcome:?}");
    world.ok(&["forget", "latest", &all[2][..12]]);
    assert_eq!(world.run(&["ls", "latest"]).code, Some(1));
    assert!(world.ok(&["snapshots"]).contains("but those in the trash"));

    world.ok(&["undelete", &all[0][..12], &all[3][..12]]);
    assert_eq!(ids(&world, &[]), [all[0].clone(), all[3].clone()]);
    let again = world.run(&["undelete", &all[0][..12]]);
    assert!(again.code == Some(1) && again.err.contains("hint:"), "{again:?}");
    world.ok(&["check", "--read-data"]);
    assert!(world.ok(&["stats"]).contains("2 in the trash"));
}

#[test]
fn without_a_delay_there_is_no_way_back_and_it_is_said() {
    let mut world = World::new();
    world.use_vault();
    world.ok(&["init", "--delete-delay", "0"]);
    world.backup();
    assert!(world.ok(&["settings"]).contains("Delay before deleting   none"));
    assert!(world.ok(&["forget", "latest"]).contains("can not be brought back"));
    let trash = ids(&world, &["--trash"]);
    let outcome = world.run(&["undelete", &trash[0]]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("could be brought back until"), "{outcome:?}");
    assert!(world.ok(&["snapshots", "--trash"]).contains("too late"));
}

#[test]
fn pins_stand_against_rules_and_names() {
    let world = with_snapshots(3);
    let all = ids(&world, &[]);
    world.ok(&["pin", &all[0]]);
    world.ok(&["pin", &all[1], "--until", "2999-12-31"]);
    let listed = world.ok(&["snapshots"]);
    assert!(listed.contains("(pinned)") && listed.contains("(held until 3000-01-01"), "{listed}");
    let said = world.ok(&["forget", "--keep-last", "1"]);
    assert!(said.contains("keep    pinned") && said.contains("keep    held"), "{said}");
    assert_eq!(ids(&world, &[]), all);
    for id in &all[..2] {
        for dry in [&[][..], &["--dry-run"]] {
            let outcome = world.run(&[&["forget", id.as_str()][..], dry].concat());
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            assert!(outcome.err.contains(&format!("unpin {}", &id[..8])), "{outcome:?}");
        }
    }
    world.ok(&["unpin", &all[0], &all[1]]);
    assert!(world.ok(&["unpin", &all[0]]).contains("was not pinned"));
    world.ok(&["forget", "--keep-last", "1"]);
    assert_eq!(ids(&world, &[]), all[2..]);
    let outcome = world.run(&["pin", &all[0]]);
    assert!(outcome.code == Some(1) && outcome.err.contains("undelete"), "{outcome:?}");
}

#[test]
fn a_shorter_delay_waits_for_the_longer_one() {
    let world = World::with_vault();
    let settings = |arguments: &[&str]| -> Value {
        let (events, code) = world.json(&[&["settings"], arguments].concat());
        assert_eq!(code, Some(0));
        events[0].clone()
    };
    let day = 86_400;
    let shows = |event: &Value, asked: u64, in_force: u64, changed: bool| {
        assert_eq!(event["delete_delay"], asked, "{event}");
        assert_eq!(event["delete_delay_in_force"], in_force, "{event}");
        assert_eq!(event["changed"], changed, "{event}");
    };
    shows(&settings(&[]), 7 * day, 7 * day, false);
    shows(&settings(&["--delete-delay", "2d"]), 2 * day, 7 * day, true);
    shows(&settings(&["--delete-delay", "1d24h"]), 2 * day, 7 * day, false);
    assert!(world.ok(&["settings"]).contains("In force for now        7 days"));
    shows(&settings(&["--delete-delay", "30d"]), 30 * day, 30 * day, true);
    assert_eq!(world.run(&["settings", "--delete-delay", "11y"]).code, Some(1));
}

#[test]
fn what_is_to_be_forgotten_must_be_said_in_one_way() {
    let world = World::with_snapshot();
    let wrong: [&[&str]; 8] = [
        &["forget"],
        &["forget", "--dry-run"],
        &["forget", "latest", "--keep-last", "1"],
        &["forget", "--keep-last", "0"],
        &["forget", "--keep-last", "1", "--keep-at-least", "0"],
        &["forget", "--keep-within", "1m"],
        &["forget", "--keep-last", "1", "--group-by", "mood"],
        &["pin", "latest", "--until", "2001-01-01"],
    ];
    for arguments in wrong {
        let outcome = world.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
    }
    assert_eq!(world.snapshots(), 1);
}

#[test]
fn groups_and_filters_narrow_what_rules_see() {
    let world = World::with_vault();
    for (path, host) in [("files", "ada"), ("files", "bob"), ("files/folder", "ada")] {
        world.ok(&["backup", path, "--host", host, "--tag", host]);
    }
    let gone = |arguments: &[&str]| {
        let rules = ["forget", "--keep-last", "1", "--dry-run"];
        let (events, code) = world.json(&[&rules, arguments].concat());
        assert_eq!(code, Some(0));
        events.last().unwrap()["forgotten"].as_u64().unwrap()
    };
    assert_eq!(gone(&[]), 1, "by machine and paths");
    assert_eq!(gone(&["--group-by", "system"]), 2);
    assert_eq!(gone(&["--group-by", "host"]), 1);
    assert_eq!(gone(&["--group-by", "host,paths"]), 0);
    assert_eq!(gone(&["--group-by", "system", "--host", "ada"]), 1);
    assert_eq!(gone(&["--group-by", "system", "--tag", "bob"]), 0);
    assert_eq!(gone(&["--group-by", "system", "--keep-tag", "ada"]), 1);
    assert_eq!(gone(&["--group-by", "system", "--keep-at-least", "3"]), 0);
    assert_eq!(gone(&["--group-by", "system", "--keep-within", "1h"]), 0);
}

#[test]
fn a_preview_says_all_that_is_to_be_shown_of_each_snapshot() {
    let world = World::with_vault();
    for (host, tag) in [("ada", "first"), ("bob", "second"), ("bob", "third")] {
        world.ok(&["backup", "files", "--host", host, "--tag", tag]);
    }
    let all = ids(&world, &[]);
    crate::world::flip(&world.path("vault/snapshots").join(&all[1]));
    let rules = ["forget", "--keep-last", "1", "--dry-run"];
    let (events, code) = world.json(&rules);
    assert_eq!(code, Some(0));
    let verdicts: Vec<_> = events.iter().filter(|event| event["type"] == "verdict").collect();
    let [goes, stays] = &verdicts[..] else { panic!("{events:#?}") };
    assert_eq!(goes["snapshot"], all[0]);
    assert!(goes["host"] == "ada" && goes["keep"] == false, "{goes}");
    assert!(goes["tags"][0] == "first" && goes["reasons"][0] == "no_rule", "{goes}");
    assert!(goes["paths"][0]["path"].as_str().unwrap().ends_with("/files"), "{goes}");
    assert!(stays["snapshot"] == all[2] && stays["reasons"][0] == "last", "{stays}");
    let unreadable = events.iter().find(|event| event["type"] == "unreadable").unwrap();
    assert_eq!(unreadable["object"], format!("snapshots/{}", all[1]));
    assert!(world.ok(&rules).starts_with("ada, bob  "), "a group names all its machines");
}

#[test]
fn days_may_be_for_ever() {
    let world = with_snapshots(2);
    let dry = |days: &str| world.ok(&["forget", "--keep-days", days, "--dry-run"]);
    assert!(dry("forever").contains("Would put 0 snapshots"), "{}", dry("forever"));
    assert_eq!(world.run(&["forget", "--keep-days", "0"]).code, Some(2));
}

#[test]
fn what_is_named_twice_is_brought_back_once() {
    let world = with_snapshots(2);
    let all = ids(&world, &[]);
    world.ok(&["forget", &all[0], &all[0][..12]]);
    let (events, code) = world.json(&["undelete", &all[0], &all[0][..12]]);
    assert_eq!(code, Some(0));
    assert_eq!(events.last().unwrap()["undeleted"], 1);
    assert_eq!(ids(&world, &[]), all);
}

#[test]
fn a_plan_of_a_cleanup_says_what_will_be_free() {
    let world = with_little_left_of_much();
    let plan = ["cleanup", "--unfinished", "0d", "--max-unused", "0", "--dry-run"];
    assert!(world.ok(&plan).contains("Would free: "));
    let (events, code) = world.json(&plan);
    let planned = events.last().unwrap();
    let number = |name: &str| planned[name].as_u64().unwrap();
    assert_eq!(code, Some(0));
    assert!(number("segments_condemned") > 0 && number("bytes_to_free") > 0, "{planned}");
    assert_eq!(number("bytes_to_free"), number("bytes_condemned") - number("bytes_moved"));
    let (events, _) = world.json(&["cleanup", "--unfinished", "0d", "--max-unused", "0"]);
    let done = events.last().unwrap();
    for figure in ["snapshots_condemned", "packs_condemned", "segments_condemned", "segments_moved"] {
        assert_eq!(done[figure], planned[figure], "{figure}");
    }
    assert!(done["bytes_to_free"].is_null());
}
