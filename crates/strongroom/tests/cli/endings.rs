//! How runs end when something is in their way: problems, damage, signals, and readers that go away.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::world::{Outcome, World, events, flip, noise};

/// A command without the superuser's right to read everything.
fn mortal(world: &World, arguments: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_strongroom");
    if rustix::process::geteuid().is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--bounding-set=-dac_override,-dac_read_search", program]);
        world.wrapped(setpriv, arguments)
    } else {
        world.command(arguments)
    }
}

#[test]
fn an_unreadable_file_is_recorded_and_the_rest_is_saved() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::with_vault();
    let secret = world.files().join("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = Outcome::of(&mut mortal(&world, &["backup", "files", "--json"]));
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let found = events(&outcome.out);
    let problem = found.iter().find(|event| event["type"] == "problem").unwrap();
    assert_eq!(
        (&problem["path"], &problem["kind"]),
        (&secret.to_str().unwrap().into(), &"unreadable".into())
    );
    let summary = found.last().unwrap();
    assert_eq!(
        (&summary["type"], &summary["code"], &summary["problems"]),
        (&"summary".into(), &3.into(), &1.into())
    );
    // It is seen later too.
    let later = world.ok(&["snapshots", "--problems"]);
    assert!(later.contains("secret") && later.contains("1 problem"), "{later}");
    let shown = Outcome::of(&mut mortal(&world, &["backup", "files"]));
    assert!(shown.err.contains("secret") && shown.out.contains("1 problem"), "{shown:?}");
    assert!(world.ok(&["ls", "--recursive", "latest"]).contains("note.txt"));
}

#[test]
fn a_path_that_is_not_there_is_a_failure() {
    let world = World::with_vault();
    let outcome = world.run(&["backup", "missing"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.err.contains("missing") && outcome.err.contains("hint:"), "{outcome:?}");
    assert_eq!(world.snapshots(), 0);
}

#[test]
fn patience_is_a_number_of_seconds() {
    let world = World::with_vault();
    for (patience, code) in [("5", 0), ("", 0), ("0", 0), ("soon", 2), ("-1", 2)] {
        let outcome = Outcome::of(world.command(&["snapshots"]).env("STRONGROOM_PATIENCE", patience));
        assert_eq!(outcome.code, Some(code), "{patience}: {outcome:?}");
        assert_eq!(
            outcome.err.contains("STRONGROOM_PATIENCE is no number of seconds"),
            code == 2,
            "{outcome:?}"
        );
    }
}

#[test]
fn damage_has_its_own_code_and_what_is_whole_comes_back() {
    let world = World::with_vault();
    fs::write(world.files().join("large"), noise(9 << 20)).unwrap();
    world.backup();
    assert_eq!(world.run(&["check", "--read-data"]).code, Some(0));
    let packs = world.objects("packs");
    let largest = packs.iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    flip(largest);
    let (found, code) = world.json(&["check", "--read-data"]);
    assert_eq!(code, Some(12));
    let finding = found.iter().find(|event| event["type"] == "finding").unwrap();
    assert_eq!(finding["severity"], "damage");
    assert!(
        largest.to_str().unwrap().contains(finding["object"].as_str().unwrap().rsplit('/').next().unwrap())
    );
    let affected = finding["affects"].as_array().unwrap();
    assert!(affected.iter().any(|who| who.as_str().unwrap().contains("large")), "{finding}");

    let restored = world.run(&["restore", &world.latest(""), "--target", "back"]);
    assert_eq!(restored.code, Some(3), "{restored:?}");
    assert!(restored.err.contains("large"), "{restored:?}");
    assert!(!world.path("back/large").exists(), "no half of a file under its full name");
    assert_eq!(fs::read_to_string(world.path("back/note.txt")).unwrap(), "remember the milk");
    // A dump that stops half-way leaves no file that looks whole.
    let dump = world.run(&["dump", &world.latest("large"), "--output", "large"]);
    assert_eq!(dump.code, Some(12), "{dump:?}");
    assert!(!world.path("large").exists());
}

#[test]
fn a_damaged_snapshot_is_reported_and_the_others_are_listed() {
    let world = World::with_snapshot();
    world.backup();
    flip(&world.objects("snapshots")[0]);
    let (found, code) = world.json(&["snapshots"]);
    assert_eq!(code, Some(12));
    let types: Vec<_> = found.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["snapshot", "unreadable", "summary"]);
    let listed = world.run(&["ls", "latest"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.err.contains("passed over"), "{listed:?}");
}

#[test]
fn a_damaged_or_lost_descriptor_is_told_and_the_vault_can_still_be_read() {
    let world = World::with_snapshot();
    let descriptor = world.path("vault/strongroom.vault");
    flip(&descriptor);
    for _ in ["damaged", "lost"] {
        let outcome = world.run(&["snapshots"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(outcome.err.contains("warning: strongroom.vault"), "{outcome:?}");
        for verb in [&["check"][..], &["backup", "/etc/hostname"]] {
            let outcome = world.run(verb);
            assert_eq!(outcome.code, Some(12), "{outcome:?}");
            let said = format!("{}{}", outcome.out, outcome.err);
            assert!(said.contains("strongroom.vault"), "{outcome:?}");
        }
        let again = world.run(&["init"]);
        assert_eq!(again.code, Some(1), "nothing is made over it: {again:?}");
        let _ = std::fs::remove_file(&descriptor);
    }
}

/// Starts a run that writes JSON lines and waits until it has begun; what it writes after that.
fn begin(command: &mut Command) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(
        lines.any(|line| line.contains("\"progress\"") && line.contains("backing up")),
        "it ended too early"
    );
    (child, lines)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_signal_ends_a_backup_and_the_next_one_goes_on() {
    let world = World::with_vault();
    fs::write(world.files().join("large"), noise(40 << 20)).unwrap();
    for kind in [Signal::INT, Signal::TERM] {
        let (mut child, rest) =
            begin(&mut world.command(&["backup", "files", "--limit-upload", "1M", "--json"]));
        signal(&child, kind);
        let rest: Vec<String> = rest.collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{kind:?} {rest:?}");
        assert_eq!(world.snapshots(), 0);
    }
    world.backup();
    assert_eq!(world.snapshots(), 1);
    assert_eq!(world.run(&["check", "--read-data"]).code, Some(0));
}

#[test]
fn a_signal_ends_a_backup_that_waits_for_a_command() {
    let world = World::with_vault();
    let mark = world.path("pid");
    let script = format!("echo $$ > {}; echo begin; exec sleep 1000", mark.display());
    let (mut child, rest) = begin(&mut world.command(&[
        "backup",
        "--json",
        "--stdin-from-command",
        "x",
        "--",
        "sh",
        "-c",
        &script,
    ]));
    signal(&child, Signal::TERM);
    let rest: Vec<String> = rest.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let pid: i32 = fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
    let gone = rustix::process::test_kill_process(Pid::from_raw(pid).unwrap());
    assert!(gone.is_err(), "the command is left running");
    assert_eq!(world.snapshots(), 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let world = World::with_vault();
    let (mut child, rest) = begin(&mut world.command(&[
        "backup",
        "--json",
        "--stdin-from-command",
        "x",
        "--",
        "sh",
        "-c",
        "exec sleep 30",
    ]));
    signal(&child, Signal::INT);
    signal(&child, Signal::INT);
    drop(rest);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A run whose output nobody reads.
fn unread(world: &World, arguments: &[&str]) -> Outcome {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Outcome::of(world.command(arguments).stdout(writer))
}

#[test]
fn a_reader_that_goes_away_ends_a_listing_quietly_and_no_backup() {
    let world = World::with_snapshot();
    let without_reader = |arguments: &[&str]| unread(&world, arguments);
    for verb in [&["ls", "--recursive", "latest"][..], &["snapshots"], &["find", "*"], &["stats", "--json"]] {
        let outcome = without_reader(verb);
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""), "{verb:?}");
    }
    for more in [&[][..], &["--json"]] {
        let outcome = without_reader(&[&["backup", "files"], more].concat());
        assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
    }
    assert_eq!(world.snapshots(), 3);
    let dump = without_reader(&["dump", "latest"]);
    assert_eq!(dump.code, Some(1), "{dump:?}");

    // It goes away before the backup has begun: the first line is about the new vault.
    let fresh = World::new();
    assert_eq!(unread(&fresh, &["backup", "files"]).code, Some(0));
    assert_eq!(fresh.snapshots(), 1);
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let world = World::with_snapshot();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for verb in [&["ls", "--recursive", "latest"][..], &["backup", "files"], &["dump", "latest"]] {
        let outcome = Outcome::of(world.command(verb).stdout(full()));
        assert_eq!(outcome.code, Some(1), "{verb:?}: {outcome:?}");
        assert!(outcome.err.contains("hint:"), "{outcome:?}");
    }
    assert_eq!(world.snapshots(), 2, "the backup itself was done");
}

#[test]
fn a_mount_shows_the_files_until_it_is_interrupted() {
    let world = World::with_snapshot();
    let folder = world.path("look");
    fs::create_dir(&folder).unwrap();
    let mut command = world.command(&["mount", "look", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"mounted\"")), "it must be mountable: is FUSE here?");
    let inside = folder.join("latest").join(world.files().strip_prefix("/").unwrap());
    let text = fs::read_to_string(inside.join("note.txt"));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(text.unwrap(), "remember the milk");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "it is unmounted");
    assert_eq!(events(&lines.collect::<Vec<_>>().join("\n")).last().unwrap()["type"], "summary");
}
