//! The oracle: back up, restore, and compare everything, as `docs/fidelity.md` promises.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::oracle::{assert_same, look};
use e2e::{World, plant};

/// The oldest snapshot's tree of `source` as it was, restored and compared.
#[test]
fn everything_comes_back_exactly() {
    let world = World::with_vault();
    plant::everything(&world.path("source"));
    let before = look(&world.path("source"));
    world.run(["backup", &world.text("source")]).expect(0);
    let part = format!("latest:{}", world.text("source"));
    world.run(["restore", &part, "--target", &world.text("back"), "--verify"]).expect(0);
    assert_same(&before, &look(&world.path("back")));
    // And once more into what is there already: nothing to do, and still the same.
    world.run(["restore", &part, "--target", &world.text("back")]).expect(0);
    assert_same(&before, &look(&world.path("back")));
}

#[test]
fn a_second_snapshot_changes_nothing_in_the_first() {
    let world = World::with_vault();
    plant::everything(&world.path("source"));
    let first = look(&world.path("source"));
    world.run(["backup", &world.text("source"), "--tag", "first"]).expect(0);
    std::fs::write(world.path("source/large"), "small now").unwrap();
    std::fs::remove_dir_all(world.path("source/many")).unwrap();
    std::fs::rename(world.path("source/names"), world.path("source/renamed")).unwrap();
    let second = look(&world.path("source"));
    world.run(["backup", &world.text("source"), "--tag", "second"]).expect(0);
    for (tag, expected) in [("first", first), ("second", second)] {
        let (part, target) = (format!("latest:{}", world.text("source")), world.text(tag));
        world.run(["restore", "--tag", tag, &part, "--target", &target]).expect(0);
        assert_same(&expected, &look(&world.path(tag)));
    }
}

#[test]
fn in_place_what_is_damaged_lost_or_too_much_is_put_right() {
    let world = World::with_vault();
    plant::everything(&world.path("source"));
    let before = look(&world.path("source"));
    world.run(["backup", &world.text("source")]).expect(0);
    use std::os::unix::fs::FileExt;
    let large = std::fs::File::options().write(true).open(world.path("source/large")).unwrap();
    large.write_all_at(b"spoiled", 3_000_000).unwrap();
    large.set_modified(std::time::UNIX_EPOCH).unwrap();
    std::fs::remove_file(world.path("source/text")).unwrap();
    std::fs::remove_dir_all(world.path("source/many")).unwrap();
    std::fs::remove_file(world.path("source/link")).unwrap();
    std::fs::create_dir(world.path("source/link")).unwrap();
    std::fs::write(world.path("source/extra"), "extra").unwrap();
    let part = world.text("source");
    world.run(["restore", "latest", "--include", &part, "--target", "/", "--delete"]).expect(0);
    assert_same(&before, &look(&world.path("source")));
}

/// In memory: a disk would take minutes to make and remove so many files.
#[test]
fn a_folder_of_a_million_entries_comes_back_and_costs_little_when_one_is_added() {
    let world = World::in_folder(std::path::Path::new("/dev/shm"));
    world.run(["init"]).expect(0);
    std::fs::create_dir(world.path("source")).unwrap();
    for number in 0..1_000_000 {
        std::fs::File::create(world.path("source").join(format!("entry {number}"))).unwrap();
    }
    world.run(["backup", &world.text("source")]).expect(0);
    std::fs::write(world.path("source/entry 500000 and a half"), "").unwrap();
    let stored = |world: &World| world.objects("packs/").iter().map(|(_, size)| size).sum::<u64>();
    let before = stored(&world);
    world.run(["backup", &world.text("source")]).expect(0);
    let added = stored(&world) - before;
    assert!(added < 64 << 10, "one more entry added {added} bytes of packs");
    let part = format!("latest:{}", world.text("source"));
    world.run(["restore", &part, "--target", &world.text("back")]).expect(0);
    let names = |folder| {
        let mut names: Vec<_> =
            std::fs::read_dir(world.path(folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert!(names("source") == names("back"), "other names came back");
}

#[test]
fn paths_beyond_the_system_s_limit_come_back() {
    let world = World::with_vault();
    let name = "d".repeat(200);
    // `mkdir` and `cd` by steps: no single path may be this long.
    let script = format!(
        "mkdir -p '{}' && cd '{}' && for i in $(seq 40); do mkdir {name} && cd -P {name} || exit 1; done && echo deep > file",
        world.text("source"),
        world.text("source"),
    );
    plant::tool("bash", &["-c".as_ref(), script.as_ref()]);
    world.run(["backup", &world.text("source")]).expect(0);
    let part = format!("latest:{}", world.text("source"));
    world.run(["restore", &part, "--target", &world.text("back")]).expect(0);
    let script = format!(
        "cd '{}' && for i in $(seq 40); do cd -P {name} || exit 1; done && grep -qx deep file",
        world.text("back")
    );
    plant::tool("bash", &["-c".as_ref(), script.as_ref()]);
}

#[test]
fn an_ordinary_user_backs_up_and_restores_what_is_theirs() {
    let world = World::new();
    let everything = world.path("");
    std::fs::create_dir(world.path("home")).unwrap();
    std::fs::create_dir(world.path("mine")).unwrap();
    std::fs::write(world.path("mine/file"), "mine").unwrap();
    std::fs::write(world.path("mine/secret"), "not mine").unwrap();
    plant::tool("chown", &["-R".as_ref(), "65534:65534".as_ref(), everything.as_os_str()]);
    std::os::unix::fs::chown(world.path("mine/secret"), Some(0), Some(0)).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(world.path("mine/secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        use std::os::unix::process::CommandExt;
        let mut command = world.command(arguments);
        let output = command.uid(65534).gid(65534).output().unwrap();
        e2e::Outcome::from(output)
    };
    as_nobody(&["init"]).expect(0);
    let report = as_nobody(&["backup", &world.text("mine")]).expect(3);
    assert!(report.stderr.contains("secret") || report.stdout.contains("secret"), "{report:?}");
    let part = format!("latest:{}", world.text("mine"));
    as_nobody(&["restore", &part, "--target", &world.text("back")]).expect(0);
    assert_eq!(std::fs::read_to_string(world.path("back/file")).unwrap(), "mine");
    assert!(!world.path("back/secret").exists());
    let problems = as_nobody(&["snapshots", "--problems"]).expect(0);
    assert!(problems.stdout.contains("secret"), "{problems:?}");
}
