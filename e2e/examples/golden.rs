//! Makes a golden vault: a vault as today's program writes it, which every later one must read.
//!
//!   cargo run -p e2e --example golden -- FOLDER
//!
//! Writes FOLDER/vault.tar, FOLDER/recovery-code, FOLDER/write-only-key and FOLDER/older-key, which knows nothing of the
//! renewed keys, and FOLDER/restored: what each snapshot must give back. Make a new one, with a new number, when the format
//! gains something; the old ones stay as they are.
#![allow(clippy::unwrap_used, reason = "who makes a fixture sees the panic")]

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use e2e::{World, noise, oracle};

fn main() {
    let folder = std::env::args().nth(1).expect("the folder to make");
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).unwrap();
    let world = World::new();
    world.run(["init", "--delete-delay", "0"]).expect(0);
    add_key(&world, folder, &["older-key"]);
    let source = world.path("source");
    plant(&source);
    let mut restored = String::new();
    let first = back_up(&world, &mut restored);
    fs::write(source.join("kept later"), noise(5, 2000)).unwrap();
    // A segment of its own, which only the second needs: what is moved when that is gone.
    fs::write(source.join("gone later"), noise(6, 700_000)).unwrap();
    let mut forgotten = String::new();
    let second = back_up(&world, &mut forgotten);
    fs::remove_file(source.join("gone later")).unwrap();
    let third = back_up(&world, &mut restored);
    world.run(["pin", &first]).expect(0);
    world.run(["forget", &second]).expect(0);
    for _ in 0..2 {
        world.run(["cleanup", "--max-unused", "0"]).expect(0);
    }
    assert!(!world.objects("relocations/").is_empty(), "nothing was moved");
    for delay in ["7d", "30d", "2d"] {
        world.run(["settings", "--delete-delay", delay]).expect(0);
    }
    let renewed = world.run(["key", "renew", "--json"]).expect(0).json();
    let code = renewed.iter().find_map(|event| event["recovery_code"].as_str()).unwrap();
    fs::write(folder.join("recovery-code"), code).unwrap();
    add_key(&world, folder, &["write-only-key", "--write-only"]);
    fs::write(source.join("folder/last"), "the last one").unwrap();
    let last = back_up(&world, &mut restored);
    world.run(["pin", &last, "--until", "2099-12-31T00:00:00Z"]).expect(0);
    world.run(["forget", &third]).expect(0);
    world.run(["store", "test"]).expect(0);
    world.run(["check", "--read-data"]).expect(0);
    fs::write(folder.join("restored"), restored).unwrap();
    let tar = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "-cf"])
        .arg(folder.join("vault.tar"))
        .arg("-C")
        .arg(world.vault())
        .arg(".")
        .status();
    assert!(tar.unwrap().success());
}

/// Adds a key file and keeps it beside the vault.
fn add_key(world: &World, folder: &Path, name: &[&str]) {
    let path = world.text(name[0]);
    world.run([&["key", "add", "--key-file", &path], &name[1..]].concat()).expect(0);
    fs::copy(path, folder.join(name[0])).unwrap();
}

/// Backs up, and notes what the snapshot must give back; its id.
fn back_up(world: &World, restored: &mut String) -> String {
    let events = world.run(["backup", &world.text("source"), "--host", "golden", "--json"]).expect(0).json();
    let id = events.iter().rev().find_map(|event| event["snapshot"].as_str()).unwrap().to_owned();
    for line in oracle::lines(&world.path("source")) {
        writeln!(restored, "{id}\t{line}").unwrap();
    }
    id
}

fn plant(top: &Path) {
    fs::create_dir_all(top.join("folder/deeper")).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join("text"), "some text, again and again\n".repeat(300)).unwrap();
    fs::write(top.join("folder/noise"), noise(1, 3000)).unwrap();
    fs::write(top.join("folder/deeper/ümlaut"), "a name that is not ASCII").unwrap();
    symlink("folder/noise", top.join("link")).unwrap();
    fs::hard_link(top.join("text"), top.join("text again")).unwrap();
    fs::set_permissions(top.join("text"), fs::Permissions::from_mode(0o640)).unwrap();
    xattr::set(top.join("text"), "user.note", b"an attribute").unwrap();
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    for (n, name) in (1..).zip(["empty", "text", "folder/noise", "folder/deeper", "folder", ""]) {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_700_000_000 + n, 123_456_789);
        fs::File::open(top.join(name)).unwrap().set_modified(time).unwrap();
    }
}
