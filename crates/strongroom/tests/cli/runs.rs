//! Backing up, looking and getting back.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::world::{World, noise};

#[test]
fn what_was_backed_up_comes_back() {
    let world = World::with_vault();
    fs::write(world.files().join("large"), noise(3 << 20)).unwrap();
    let out = world.ok(&["backup", "files", "--tag", "daily"]);
    assert!(out.contains("Saved snapshot") && out.contains("3 files"), "{out}");

    world.ok(&["restore", "latest", "--target", "back", "--verify"]);
    let back = world.path("back").join(world.files().strip_prefix("/").unwrap());
    for name in ["note.txt", "folder/inner.conf", "large"] {
        assert_eq!(fs::read(back.join(name)).unwrap(), fs::read(world.files().join(name)).unwrap(), "{name}");
    }
    // The contents of a folder, and a file alone.
    world.ok(&["restore", &world.latest("folder"), "--target", "part"]);
    assert_eq!(fs::read_to_string(world.path("part/inner.conf")).unwrap(), "a = 1");
    world.ok(&["restore", &world.latest("note.txt"), "--target", "part"]);
    assert!(world.path("part/note.txt").exists());
    // Only what was chosen.
    world.ok(&["restore", "latest", "--target", "chosen", "--include", "*.conf"]);
    let chosen = world.path("chosen").join(world.files().strip_prefix("/").unwrap());
    assert!(chosen.join("folder/inner.conf").exists() && !chosen.join("note.txt").exists());
}

#[test]
fn a_restore_in_place_puts_right_what_was_changed() {
    let world = World::with_snapshot();
    let note = world.files().join("note.txt");
    fs::write(&note, "something else").unwrap();
    fs::remove_file(world.files().join("folder/inner.conf")).unwrap();
    fs::write(world.files().join("folder/extra"), "x").unwrap();
    let place = world.latest("");

    world.ok(&["restore", &place, "--in-place", "--delete", "--dry-run"]);
    assert_eq!(fs::read_to_string(&note).unwrap(), "something else", "a dry run changes nothing");
    world.ok(&["restore", &place, "--in-place", "--overwrite", "never"]);
    assert_eq!(fs::read_to_string(&note).unwrap(), "something else");
    assert!(world.files().join("folder/inner.conf").exists());
    world.ok(&["restore", &place, "--in-place", "--delete"]);
    assert_eq!(fs::read_to_string(&note).unwrap(), "remember the milk");
    assert!(!world.files().join("folder/extra").exists());
    // A file goes back into the folder it was in.
    fs::remove_file(&note).unwrap();
    world.ok(&["restore", &world.latest("note.txt"), "--in-place"]);
    assert_eq!(fs::read_to_string(&note).unwrap(), "remember the milk");
}

#[test]
fn an_unchanged_file_is_not_written_again() {
    let world = World::with_snapshot();
    let inode = || fs::metadata(world.files().join("note.txt")).unwrap().ino();
    let before = inode();
    let (events, code) = world.json(&["restore", &world.latest(""), "--in-place"]);
    assert_eq!(code, Some(0));
    let summary = events.last().unwrap();
    assert_eq!((&summary["bytes_written"], &summary["files_unchanged"]), (&0.into(), &2.into()), "{summary}");
    assert_eq!(inode(), before);
}

#[test]
fn a_snapshot_can_be_looked_at() {
    let world = World::with_snapshot();
    let files = world.files().display().to_string();
    let top = world.ok(&["ls", &world.latest("")]);
    assert_eq!(top, format!("{files}/folder/\n{files}/note.txt\n"));
    let all = world.ok(&["ls", "--recursive", &world.latest("")]);
    assert!(all.contains("/folder/inner.conf\n"), "{all}");
    let long = world.ok(&["ls", "--long", &world.latest("note.txt")]);
    assert!(long.starts_with("-rw") && long.contains(" 17 "), "{long}");
    let found = world.ok(&["find", "*.conf"]);
    assert!(found.contains("/folder/inner.conf"), "{found}");
    assert!(!world.ok(&["find", "*.conf", "--larger-than", "1K"]).contains("inner"));
    assert_eq!(world.ok(&["dump", &world.latest("note.txt")]), "remember the milk");
    world.ok(&["dump", &world.latest("note.txt"), "--output", "copy"]);
    assert_eq!(fs::read_to_string(world.path("copy")).unwrap(), "remember the milk");
    assert_eq!(world.run(&["dump", &world.latest("note.txt"), "--output", "copy"]).code, Some(1));
    world.ok(&["dump", &world.latest("folder"), "--output", "folder.tar"]);
    let tar = std::process::Command::new("tar").arg("tf").arg(world.path("folder.tar")).output().unwrap();
    assert!(String::from_utf8(tar.stdout).unwrap().contains("folder/inner.conf"));
    assert!(world.ok(&["stats"]).contains("Snapshots   1"));
}

#[test]
fn what_a_test_of_the_store_found_is_kept_in_the_vault_and_shown() {
    let world = World::with_snapshot();
    assert!(world.ok(&["stats"]).contains("Store       never tested"));
    let words = "looks before it creates; lists at once; no object lock; versioning off; gives no grants";
    let danger =
        "whoever may write there can delete the vault: there is neither an object lock nor versioning";
    for _ in 0..2 {
        let out = world.ok(&["store", "test"]);
        assert!(out.contains(words) && out.contains(danger) && out.contains("written down"), "{out}");
        assert_eq!(world.objects("abilities").len(), 1);
    }
    let stats = world.ok(&["stats"]);
    assert!(
        stats.contains(&format!("Store       tested just now; {words}")) && stats.contains(danger),
        "{stats}"
    );
    let (events, _) = world.json(&["stats"]);
    let store = &events.iter().find(|event| event["type"] == "stats").unwrap()["store"];
    assert_eq!((&store["versioning"], &store["listing_lag"]), (&false.into(), &0.0.into()), "{store}");
    assert!(store["tested"].is_string() && store["lock_days"].is_null(), "{store}");
    // A check has nothing to say about it.
    let (events, code) = world.json(&["check"]);
    assert_eq!((code, events.iter().any(|event| event["type"] == "finding")), (Some(0), false), "{events:?}");
    // Where there is no vault, nothing is left.
    fs::create_dir(world.path("empty")).unwrap();
    let out = world.ok(&["store", "test", "empty"]);
    assert!(out.contains(danger) && !out.contains("written down"), "{out}");
    assert!(!world.path("empty/abilities").exists());
}

#[test]
fn what_changed_between_two_snapshots_is_shown() {
    let world = World::with_snapshot();
    fs::write(world.files().join("note.txt"), "remember the bread").unwrap();
    fs::write(world.files().join("new"), "").unwrap();
    fs::remove_file(world.files().join("folder/inner.conf")).unwrap();
    world.backup();
    let (events, _) = world.json(&["snapshots"]);
    let first = events[0]["id"].as_str().unwrap();
    let diff = world.ok(&["diff", &first[..12], "latest"]);
    let files = world.files().display().to_string();
    for line in
        [format!("M {files}/note.txt"), format!("+ {files}/new"), format!("- {files}/folder/inner.conf")]
    {
        assert!(diff.lines().any(|found| found == line), "{line}\n{diff}");
    }
    assert!(
        diff.ends_with(
            "1 added, 1 removed, 1 with other content, 0 with other metadata, 0 of another type\n"
        )
    );
}

#[test]
fn snapshots_are_narrowed_by_machine_path_and_tag() {
    let world = World::with_vault();
    world.ok(&["backup", "files", "--host", "ada", "--tag", "daily"]);
    world.ok(&["backup", "files/folder", "--host", "bob"]);
    let count = |arguments: &[&str]| {
        let (events, code) = world.json(&[&["snapshots"], arguments].concat());
        assert_eq!(code, Some(0));
        events.iter().filter(|event| event["type"] == "snapshot").count()
    };
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--host", "ada"]), 1);
    assert_eq!(count(&["--host", "ada", "--host", "bob"]), 2);
    assert_eq!(count(&["--path", "files/folder"]), 1);
    assert_eq!(count(&["--tag", "daily"]), 1);
    assert_eq!(count(&["--tag", "daily", "--host", "bob"]), 0);
    assert!(world.ok(&["ls", "--recursive", "latest", "--tag", "daily"]).contains("note.txt"));
    assert!(!world.ok(&["ls", "--recursive", "latest"]).contains("note.txt"));
    for missing in ["ffffffffffff", "latest:/missing", "nonsense"] {
        let outcome = world.run(&["ls", missing]);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.err.contains("hint:"), "{outcome:?}");
    }
}

#[test]
fn exclusions_dry_runs_and_own_folders() {
    let world = World::with_vault();
    fs::write(world.path("rules"), "# a comment\n*.conf\n").unwrap();
    fs::write(world.files().join("large"), noise(100_000)).unwrap();
    fs::create_dir(world.files().join("marked")).unwrap();
    fs::write(world.files().join("marked/.nobackup"), "").unwrap();
    fs::write(world.files().join("marked/secret"), "").unwrap();
    let options =
        ["--exclude-from", "rules", "--exclude-larger-than", "50K", "--exclude-if-present", ".nobackup"];
    let (events, code) = world.json(&[&["backup", "files", "--dry-run"][..], &options].concat());
    assert_eq!((code, &events.last().unwrap()["snapshot"]), (Some(0), &serde_json::Value::Null));
    assert_eq!(world.snapshots(), 0);
    world.ok(&[&["backup", "files"][..], &options].concat());
    let all = world.ok(&["ls", "--recursive", "latest"]);
    assert!(all.contains("note.txt") && all.contains("marked"), "{all}");
    for out in ["inner.conf", "large", "secret"] {
        assert!(!all.contains(out), "{out}: {all}");
    }
    // The vault and its cache lie below what is backed up, and are not in it.
    let top = world.path("").display().to_string();
    world.ok(&["backup", &top]);
    let all = world.ok(&["ls", "--recursive", "latest"]);
    assert!(all.contains("/files/large") && all.contains("/home/"), "{all}");
    assert!(!all.contains("strongroom.vault") && !all.contains("packs") && !all.contains("/index"), "{all}");
}

#[test]
fn the_output_of_a_command_becomes_a_file() {
    let world = World::with_vault();
    world.ok(&["backup", "--stdin-from-command", "dumps/db.sql", "--", "printf", "select 1"]);
    assert_eq!(world.ok(&["dump", "latest:/dumps/db.sql"]), "select 1");
    for (command, code, says) in [
        (&["sh", "-c", "echo half; exit 9"][..], 1, "9"),
        (&["no-such-program"], 1, "no-such-program"),
        (&["sh", "-c", "kill -9 $$"], 1, "signal"),
    ] {
        let arguments = [&["backup", "--stdin-from-command", "db", "--"], command].concat();
        let outcome = world.run(&arguments);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.err.contains(says), "{outcome:?}");
        assert_eq!(world.snapshots(), 1, "{command:?}");
    }
}

#[test]
fn a_quiet_run_says_nothing_that_was_not_asked_for() {
    let world = World::with_snapshot();
    for arguments in [&["backup", "files"][..], &["check"], &["restore", "latest", "--target", "back"]] {
        let outcome = world.run(&[arguments, &["--quiet"]].concat());
        assert_eq!(
            (outcome.code, outcome.out.as_str(), outcome.err.as_str()),
            (Some(0), "", ""),
            "{arguments:?}"
        );
    }
    assert!(world.ok(&["ls", "--quiet", &world.latest("")]).contains("note.txt"));
}

#[test]
fn a_folder_neither_locks_nor_keeps_versions_and_says_so() {
    let world = World::with_snapshot();
    for (arguments, says) in [
        (&["settings", "--lock", "30d"][..], "only S3 can lock objects"),
        (&["settings", "--lock-mode", "compliance"], "there is no lock to have a mode"),
        (&["settings", "--lock", "30"], "not a duration"),
        (&["init", "--vault", "other", "--lock", "30d"], "only S3 can lock objects"),
        (
            &["init", "--vault", "other", "--lock", "30d", "--lock-mode", "firm"],
            "neither governance nor compliance",
        ),
        (&["store", "recover", "--dry-run"], "only Swift and S3 keep versions"),
    ] {
        let refused = world.run(arguments);
        assert!(matches!(refused.code, Some(1 | 2)) && refused.err.contains(says), "{refused:?}");
    }
    assert!(!world.path("other/keys").exists(), "nothing was begun");
    assert!(world.ok(&["settings"]).contains("Lock on objects         none"));
    assert!(world.ok(&["stats"]).contains("Protection  not known"));
    // A setting that is there already, and one that takes it away, are no change.
    let (events, _) = world.json(&["settings", "--lock", "none"]);
    assert_eq!(events[0]["changed"], false);
}
