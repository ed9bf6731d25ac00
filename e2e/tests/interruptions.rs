//! Kill, interrupt, fill and take away: nothing committed is harmed, and the same command goes on from there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use e2e::plant::tool;
use e2e::{Outcome, World, noise};
use rustix::process::{Pid, Signal, kill_process};

fn plant_bulk(world: &World) {
    fs::create_dir_all(world.path("source")).unwrap();
    for n in 0..24 {
        fs::write(world.path("source").join(format!("{n}")), noise(n, 8 << 20)).unwrap();
    }
}

fn start(world: &World, arguments: &[&str]) -> Child {
    world.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits until the vault holds a pack, or the command ended.
fn wait_for_a_pack(world: &World, child: &mut Child, packs: usize) {
    while child.try_wait().unwrap().is_none() && world.objects("packs/").len() <= packs {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_at_any_moment_the_vault_is_whole_and_the_next_run_reuses_what_was_stored() {
    let world = World::with_vault();
    plant_bulk(&world);
    fs::create_dir(world.path("early")).unwrap();
    fs::write(world.path("early/file"), "committed before").unwrap();
    world.run(["backup", &world.text("early")]).expect(0);
    for packs in [1, 4, 7] {
        let mut child = start(&world, &["backup", &world.text("source")]);
        wait_for_a_pack(&world, &mut child, packs);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        world.run(["check", "--read-data"]).expect(0);
        let part = format!("latest:{}", world.text("early"));
        world
            .run(["restore", "--path", &world.text("early"), &part, "--target", &world.text("back")])
            .expect(0);
        assert_eq!(fs::read_to_string(world.path("back/file")).unwrap(), "committed before");
        fs::remove_dir_all(world.path("back")).unwrap();
    }
    let stored: u64 = world.objects("packs/").iter().map(|(_, size)| size).sum();
    assert!(stored > 16 << 20, "some packs were stored before the kills");
    world.run(["backup", &world.text("source")]).expect(0);
    let after: u64 = world.objects("packs/").iter().map(|(_, size)| size).sum();
    // 192 MiB of noise: a pack or two that were not noted in time may be there twice.
    assert!(after < (192 << 20) + ((3 * 3 * 18) << 20), "{stored} before, {after} after");
    world.run(["check", "--read-data"]).expect(0);
}

#[test]
fn an_interrupt_ends_within_two_seconds_with_its_own_exit_code() {
    let world = World::with_vault();
    plant_bulk(&world);
    let mut child = start(&world, &["backup", &world.text("source")]);
    wait_for_a_pack(&world, &mut child, 0);
    signal(&child, Signal::INT);
    let asked = Instant::now();
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert!(asked.elapsed() < Duration::from_secs(10), "far beyond any noise: {:?}", asked.elapsed());
    assert_eq!(outcome.code, 130, "{outcome:?}");
    assert!(world.objects("snapshots/").is_empty());
    world.run(["check", "--read-data"]).expect(0);
    world.run(["backup", &world.text("source")]).expect(0);
}

#[test]
fn a_full_vault_fails_in_words_and_harms_nothing() {
    let world = World::new();
    let mount = world.path("small");
    fs::create_dir(&mount).unwrap();
    let place = mount.as_os_str();
    tool(
        "mount",
        &["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), "size=60m".as_ref(), "none".as_ref(), place],
    );
    let vault = world.text("small/vault");
    world.run(["--vault", &vault, "init"]).expect(0);
    fs::create_dir(world.path("early")).unwrap();
    fs::write(world.path("early/file"), noise(99, 5 << 20)).unwrap();
    world.run(["--vault", &vault, "backup", &world.text("early")]).expect(0);
    plant_bulk(&world);
    let full = world.run(["--vault", &vault, "backup", &world.text("source")]);
    let check = world.run(["--vault", &vault, "check", "--read-data"]);
    let part = format!("latest:{}", world.text("early"));
    let restore = world.run(["--vault", &vault, "restore", &part, "--target", &world.text("back")]);
    tool("umount", &[place]);
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.stderr.contains("no space"), "{full:?}");
    check.expect(0);
    restore.expect(0);
    assert!(fs::read(world.path("back/file")).unwrap() == noise(99, 5 << 20));
}

#[test]
fn a_read_only_vault_reads_and_refuses_writes_in_words() {
    let world = World::with_vault();
    fs::create_dir(world.path("source")).unwrap();
    fs::write(world.path("source/file"), "content").unwrap();
    world.run(["backup", &world.text("source")]).expect(0);
    let vault = world.vault();
    tool("mount", &["--bind".as_ref(), vault.as_os_str(), vault.as_os_str()]);
    tool("mount", &["-o".as_ref(), "remount,ro,bind".as_ref(), vault.as_os_str()]);
    let backup = world.run(["backup", &world.text("source")]);
    let part = format!("latest:{}", world.text("source"));
    let restore = world.run(["restore", &part, "--target", &world.text("back")]);
    let check = world.run(["check", "--read-data"]);
    tool("umount", &[vault.as_os_str()]);
    assert_eq!(backup.code, 1, "{backup:?}");
    assert!(backup.stderr.contains("read only") || backup.stderr.contains("read-only"), "{backup:?}");
    restore.expect(0);
    check.expect(0);
}

#[test]
fn a_vault_taken_away_under_our_feet_is_an_error_and_not_an_empty_vault() {
    let world = World::with_vault();
    plant_bulk(&world);
    let mut child = start(&world, &["backup", &world.text("source")]);
    wait_for_a_pack(&world, &mut child, 0);
    fs::rename(world.vault(), world.path("away")).unwrap();
    let outcome = Outcome::from(child.wait_with_output().unwrap());
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("no longer there"), "{outcome:?}");
    assert!(!world.vault().exists(), "it is not made anew");
    fs::rename(world.path("away"), world.vault()).unwrap();
    world.run(["check", "--read-data"]).expect(0);
    world.run(["backup", &world.text("source")]).expect(0);
}
