//! A vault with a history: all that the format has is in it.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Outcome, World, oracle};

use crate::plant;
use crate::world::{CLASS, Locked};

/// Makes it in a folder, goes on in a bucket whose objects can be locked, and keeps what is there in the end.
pub fn make(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let locked = Locked::in_ceph("golden");
    let world = &locked.world;
    fs::remove_dir_all(world.path("source")).unwrap();
    let mut restored = String::new();
    grow(world, folder, &mut restored);
    said(world);
    let forgotten = back_up(world, &mut restored, |arguments| world.run(arguments).expect(0));

    let names = world.objects("").into_iter().map(|(name, _)| name);
    // By the server's clock those who ended would have ended just now, and a cleanup would wait for them.
    let names: Vec<_> = names.filter(|name| !name.starts_with("leases/")).collect();
    locked.upload(&world.vault(), &names);
    locked.run(&["settings", "--lock", "30d"], 0);
    locked.run(&["settings", "--data-class", CLASS], 0);
    fs::write(world.path("source/folder/last"), "the last one").unwrap();
    back_up(world, &mut restored, |arguments| locked.run(arguments, 0));
    locked.run(&["forget", &forgotten], 0);
    locked.run(&["cleanup"], 0);
    locked.run(&["store", "test"], 0);
    locked.run(&["check", "--read-data"], 0);
    fs::write(folder.join("restored"), restored).unwrap();

    let top = world.path("downloaded");
    locked.download(&top);
    let tar = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "-cf"])
        .arg(folder.join("vault.tar"))
        .arg("-C")
        .arg(top)
        .arg(".")
        .status();
    assert!(tar.unwrap().success());
}

/// Snapshots that come and go, packs that are regrouped twice, and new keys between.
fn grow(world: &World, folder: &Path, restored: &mut String) {
    let run = |arguments: &[&str]| world.run(arguments).expect(0);
    let source = world.path("source");
    let passing = ["a passes", "b stays", "c passes later", "d stays", "e passes"];
    run(&["init", "--delete-delay", "0"]);
    add_key(world, folder, &["older-key"]);
    plant::everything(&source);
    let first = back_up(world, restored, run);
    run(&["pin", &first]);

    plant::small_files(&source, 1, &passing);
    let second = back_up(world, &mut String::new(), run);
    fs::remove_file(source.join("a passes")).unwrap();
    fs::remove_file(source.join("e passes")).unwrap();
    let third = back_up(world, &mut String::new(), run);
    run(&["forget", &second]);
    regroup(world);

    let renewed = run(&["key", "renew", "--json"]).json();
    let code = renewed.iter().find_map(|event| event["recovery_code"].as_str()).unwrap();
    fs::write(folder.join("recovery-code"), code).unwrap();
    add_key(world, folder, &["key"]);
    add_key(world, folder, &["write-only-key", "--write-only"]);
    fs::remove_file(source.join("c passes later")).unwrap();
    plant::small_files(&source, 2, &["f passes", "g stays"]);
    let fourth = back_up(world, &mut String::new(), run);
    fs::remove_file(source.join("f passes")).unwrap();
    let fifth = back_up(world, restored, run);
    run(&["pin", &fifth, "--until", "2099-12-31T00:00:00Z"]);
    run(&["forget", &third, &fourth]);
    run(&["cleanup"]);
    // Nothing can be deleted while somebody is at work: what was regrouped stays condemned beside what replaces it.
    let program = world.command(Vec::<String>::new());
    let cleanup = format!(
        "{} cleanup --passphrase-file '{}' --regroup=1 --max-unused 0 && exit 9",
        program.get_program().display(),
        world.text("key")
    );
    let stopped =
        world.run(["backup", "--stdin-from-command", "nothing", "--", "sh", "-c", &cleanup]).expect(1);
    assert!(stopped.stderr.contains("exit status: 9"), "{stopped:?}");
}

/// What is said of it besides: settings, the trash, damage.
fn said(world: &World) {
    for delay in ["7d", "30d", "2d"] {
        world.run(["settings", "--delete-delay", delay]).expect(0);
    }
    let (pack, _) = world.objects("packs/").into_iter().min_by_key(|(_, size)| *size).unwrap();
    let path = world.vault().join(pack);
    let (whole, time) = (fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    fs::write(&path, damaged).unwrap();
    world.run(["check", "--read-data"]).expect(12);
    fs::write(&path, whole).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    assert!(!world.objects("damage/").is_empty());
}

fn regroup(world: &World) {
    let told = world.run(["cleanup", "--regroup=1", "--max-unused", "0", "--json"]).expect(0).json();
    assert!(told.last().unwrap()["packs_regrouped"].as_u64().unwrap() > 0, "{told:?}");
}

/// Adds a key file and keeps it beside the vault.
fn add_key(world: &World, folder: &Path, name: &[&str]) {
    let path = world.text(name[0]);
    world.run([&["key", "add", "--key-file", &path], &name[1..]].concat()).expect(0);
    fs::copy(path, folder.join(name[0])).unwrap();
}

/// Backs up, and notes what the snapshot must give back; its id.
fn back_up(world: &World, restored: &mut String, run: impl Fn(&[&str]) -> Outcome) -> String {
    // What changed within two seconds of a backup is read again by the next, and stored anew if its pack is closed.
    std::thread::sleep(Duration::from_millis(2100));
    let events = run(&["backup", &world.text("source"), "--host", "golden", "--json"]).json();
    let id = events.iter().rev().find_map(|event| event["snapshot"].as_str()).unwrap().to_owned();
    for line in oracle::lines(&world.path("source")) {
        writeln!(restored, "{id}\t{line}").unwrap();
    }
    id
}
