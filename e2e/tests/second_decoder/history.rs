//! Vaults with a history: forgetting, pins, settings, cleanups, new keys. What they hold is what was done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use e2e::golden::{self, Age};
use e2e::{World, noise, oracle};

use super::marks::{class, delay_in_force, first_delay, lock, newest as newest_value, open_damage};
use super::vault::{Vault, open_keys};

fn hash_of(hex: &str) -> [u8; 32] {
    let bytes: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn back_up(world: &World) -> String {
    let events = world.run(["backup", &world.text("source"), "--json"]).expect(0).json();
    events.iter().rev().find_map(|event| event["snapshot"].as_str()).unwrap().to_owned()
}

/// Three snapshots, of which the first is pinned, the second was forgotten and deleted, and the third is held.
fn cleaned_up() -> (World, [String; 3]) {
    let world = World::new();
    world.run(["init", "--delete-delay", "0"]).expect(0);
    let source = world.path("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("kept"), noise(1, 50_000)).unwrap();
    let first = back_up(&world);
    std::fs::write(source.join("kept later"), noise(5, 20_000)).unwrap();
    // Several segments, of which the first stay: they are moved.
    let partly = noise(6, 12 << 20);
    std::fs::write(source.join("partly gone later"), &partly).unwrap();
    let second = back_up(&world);
    std::fs::write(source.join("partly gone later"), &partly[..4 << 20]).unwrap();
    let third = back_up(&world);
    world.run(["pin", &first]).expect(0);
    world.run(["pin", &third, "--until", "2099-12-31T00:00:00Z"]).expect(0);
    world.run(["forget", &second]).expect(0);
    for _ in 0..2 {
        world.run(["cleanup", "--max-unused", "0"]).expect(0);
    }
    (world, [first, second, third])
}

#[test]
fn what_a_cleanup_leaves_is_as_the_document_says() {
    let (world, [first, second, third]) = cleaned_up();
    world.run(["check", "--read-data"]).expect(0);
    world.run(["store", "test"]).expect(0);
    let vault = Vault::open(&world.vault(), "right");
    vault.check_order();
    let records = &vault.records;
    let [mark] = records.marks.as_slice() else { panic!("{:?}", records.marks) };
    assert_eq!((mark.snapshot, mark.sequence, mark.previous), (hash_of(&second), 1, hash_of(&first)));
    assert!(!mark.reason.is_empty() && mark.written > 1_700_000_000);
    let pins: BTreeMap<_, _> = records.pins.iter().map(|pin| (pin.snapshot, pin.until)).collect();
    assert_eq!(pins, BTreeMap::from([(hash_of(&first), None), (hash_of(&third), Some(4_102_358_400))]));
    assert!(records.condemned.contains(&(3, hash_of(&second))));
    assert!(records.condemned.iter().any(|(what, _)| *what == 1) && !records.moved.is_empty());
    let hashes: Vec<_> = vault.snapshots.iter().map(|snapshot| snapshot.hash).collect();
    assert_eq!(hashes, [hash_of(&first), hash_of(&third)]);
    // What was moved is found.
    oracle::assert_same(
        &oracle::look(&world.path("source")),
        &vault.tree(&vault.snapshots[1]).look(&world.path("source")),
    );
    vault.tree(&vault.snapshots[0]);

    let [verified] = records.verified.as_slice() else { panic!("one record of what was verified") };
    assert_eq!(
        verified.packs.keys().copied().collect::<BTreeSet<_>>(),
        vault.packs.keys().copied().collect()
    );
    let newest = BTreeMap::from([(vault.snapshots[1].system, (2, hash_of(&third)))]);
    assert_eq!(verified.newest, newest);
    let [(tested, facts)] = records.abilities.as_slice() else { panic!("one record of abilities") };
    assert!(*tested > 1_700_000_000);
    assert_eq!(
        (facts.get(&4), facts.get(&7)),
        (Some(&0), Some(&1)),
        "a folder locks nothing, and we may delete"
    );
    assert!(records.leases.iter().all(|lease| lease.has_ended && lease.seconds == 900));
    let roles: BTreeSet<u8> = records.leases.iter().map(|lease| lease.role).collect();
    assert_eq!(roles, BTreeSet::from([1, 2, 3]));
    let writers = records.leases.iter().filter(|lease| lease.role == 1);
    assert!(writers.clone().all(|lease| lease.holder == vault.snapshots[0].system && lease.begun.is_some()));
    assert!(records.damaged.is_empty() && records.locks.is_empty());

    let (pack, _) = world.objects("packs/").into_iter().max_by_key(|(_, size)| *size).unwrap();
    let mut bytes = std::fs::read(world.vault().join(&pack)).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(world.vault().join(&pack), bytes).unwrap();
    assert_ne!(world.run(["check", "--read-data"]).code, 0);
    let (record, _) = world.objects("damage/").remove(0);
    let damaged = open_damage(&std::fs::read(world.vault().join(record)).unwrap(), vault.descriptor.vault);
    assert_eq!(damaged.iter().map(|(_, object)| *object).collect::<Vec<_>>(), [hash_of(&pack[9..])]);
}

#[test]
fn the_delay_in_force_follows_from_the_document_alone() {
    let (world, [_, _, third]) = cleaned_up();
    let said = |world: &World| {
        let events = world.run(["settings", "--json"]).expect(0).json();
        let told = events.iter().find(|event| event["type"] == "settings").unwrap();
        (told["delete_delay"].as_u64().unwrap(), told["delete_delay_in_force"].as_u64().unwrap())
    };
    for (asked, expected) in
        [("7d", (604_800, 604_800)), ("1h", (3600, 604_800)), ("30d", (2_592_000, 2_592_000))]
    {
        world.run(["settings", "--delete-delay", asked]).expect(0);
        let vault = Vault::open(&world.vault(), "right");
        assert_eq!(first_delay(&vault.descriptor), 0);
        let versions = &vault.records.settings;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let newest = versions.last().unwrap().0.delay;
        assert!(versions.iter().all(|(version, _)| version.extensions.is_empty()), "neither class nor lock");
        assert_eq!((newest, delay_in_force(&vault.descriptor, versions, now)), expected);
        assert_eq!(said(&world), expected);
        assert_eq!(delay_in_force(&vault.descriptor, versions, now + 40 * 86_400), newest);
    }
    // What is in the trash is there, with its mark, and the chain goes on from it.
    world.run(["unpin", &third]).expect(0);
    world.run(["forget", &third]).expect(0);
    back_up(&world);
    let vault = Vault::open(&world.vault(), "right");
    vault.check_order();
    assert!(vault.records.marks.iter().any(|mark| mark.snapshot == hash_of(&third) && mark.sequence == 2));
    assert_eq!(vault.snapshots.len(), 3);
}

#[test]
fn renewed_keys_and_keys_that_only_add_are_as_the_document_says() {
    let (world, _) = cleaned_up();
    let add = |name: &str| {
        world.run(["key", "add", "--key-file", &world.text(name), "--write-only"]).expect(0);
        std::fs::read_to_string(world.path(name)).unwrap()
    };
    let before = add("before");
    let renewed = world.run(["key", "renew", "--json"]).expect(0).json();
    let code = renewed.iter().find_map(|event| event["recovery_code"].as_str()).unwrap().to_owned();
    let after = add("after");
    std::fs::write(world.path("source/new"), noise(9, 5000)).unwrap();
    back_up(&world);
    for secret in ["right", &code] {
        let vault = Vault::open(&world.vault(), secret);
        vault.check_order();
        let epochs: Vec<_> = vault.snapshots.iter().map(|snapshot| snapshot.epoch).collect();
        assert_eq!(epochs, [0, 0, 1]);
        let tree = vault.tree(&vault.snapshots[2]);
        oracle::assert_same(&oracle::look(&world.path("source")), &tree.look(&world.path("source")));
        let all = vault.keys.epochs();
        for (secret, count) in [(&before, 1), (&after, 2)] {
            let keys = open_keys(&world.vault(), &vault.descriptor, secret);
            let same: Vec<_> = all[..count].iter().map(|epoch| (epoch.0, epoch.1, epoch.2, false)).collect();
            assert_eq!(keys.epochs(), same, "all but what reads");
        }
    }
}

/// Small files in one segment, some of which change with each version.
fn plant_version(source: &Path, version: u64) {
    std::fs::create_dir_all(source).unwrap();
    for n in 0..12 {
        if version == 0 || n % 4 == version % 4 {
            std::fs::write(source.join(format!("small {n}")), noise(n + 100 * version, 3000)).unwrap();
        }
    }
    std::fs::write(source.join("always new"), noise(1000 + version, 40_000)).unwrap();
    // What changed within two seconds of a backup is read again by the next, and stored anew if its pack is closed.
    std::thread::sleep(std::time::Duration::from_millis(2100));
}

/// Forgets all but the newest snapshot, and regroups.
fn regroup(world: &World) {
    world.run(["forget", "--keep-last", "1"]).expect(0);
    let told = world.run(["cleanup", "--regroup=1", "--json"]).expect(0).json();
    assert!(told.last().unwrap()["packs_regrouped"].as_u64().unwrap() > 0, "{told:?}");
}

/// The newest snapshot is what is in the source; how the packs that it needs are sealed, by generation.
fn generations(world: &World) -> BTreeMap<u32, BTreeSet<u32>> {
    let vault = Vault::open(&world.vault(), "right");
    vault.check_order();
    let newest = vault.snapshots.last().unwrap();
    let source = world.path("source");
    oracle::assert_same(&oracle::look(&source), &vault.tree(newest).look(&source));
    let mut found: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for seal in newest.needs.keys().flat_map(|pack| vault.seals_of(*pack)) {
        found.entry(seal.generation).or_default().insert(seal.epoch);
    }
    let needed = |closed: &[u8; 16]| newest.needs.contains_key(closed);
    assert!(vault.records.closed(5).iter().any(needed) && vault.records.closed(6).is_empty());
    let segments = vault.packs.values().flat_map(|pack| pack.segments.values());
    assert!(segments.into_iter().any(|segment| !segment.holes.is_empty()), "something was taken out");
    found
}

#[test]
fn what_regrouping_leaves_is_as_the_document_says() {
    let world = World::new();
    world.run(["init", "--delete-delay", "0"]).expect(0);
    let source = world.path("source");
    for version in 0..2 {
        plant_version(&source, version);
        back_up(&world);
    }
    regroup(&world);
    let found = generations(&world);
    assert_eq!(found.get(&1), Some(&BTreeSet::from([0])), "{found:?}");
    assert!(!found.contains_key(&2), "{found:?}");

    // Thinned once more, now under newer keys.
    world.run(["key", "renew"]).expect(0);
    plant_version(&source, 2);
    back_up(&world);
    regroup(&world);
    let found = generations(&world);
    assert_eq!(found.get(&2), Some(&BTreeSet::from([1])), "{found:?}");
    world.run(["check", "--read-data"]).expect(0);

    // What was closed here is closed elsewhere in a copy, and so is every pack: copies arrive there.
    let closed = Vault::open(&world.vault(), "right").records.closed(5);
    world.run(["copy", "--to", &world.text("copy")]).expect(0);
    let copy = Vault::open(&world.path("copy"), "right");
    oracle::assert_same(&oracle::look(&source), &copy.tree(copy.snapshots.last().unwrap()).look(&source));
    let elsewhere = copy.records.closed(6);
    assert!(
        elsewhere.contains(&[0; 16]) && elsewhere.is_superset(&closed) && copy.records.closed(5).is_empty()
    );
}

#[test]
fn golden_vaults_are_as_the_document_says() {
    for golden in golden::whole() {
        let world = golden.unpack(Age::Fresh);
        for secret in ["right", &golden.read("recovery-code")] {
            let vault = Vault::open(&world.vault(), secret);
            vault.check_order();
            for (id, lines) in golden.promised() {
                let snapshot = vault.snapshots.iter().find(|snapshot| snapshot.hash == hash_of(&id)).unwrap();
                let source = String::from_utf8(snapshot.body.paths[0].clone()).unwrap();
                assert_eq!(oracle::as_lines(vault.tree(snapshot).look(Path::new(&source))), lines, "{id}");
            }
            let records = &vault.records;
            assert!(!records.marks.is_empty() && !records.pins.is_empty() && !records.settings.is_empty());
        }
    }
}

/// The folders of the table of objects in the document, with the byte that tells the kind.
fn kinds() -> BTreeMap<String, u8> {
    let rows = include_str!("../../../docs/format.md").lines().filter(|line| line.starts_with("| `"));
    let kind = |row: &str| {
        let (before, byte) = row.rsplit_once("` 0x")?;
        let folder = before.split('`').nth(1)?.trim_end_matches('/');
        let byte = u8::from_str_radix(byte.trim_end_matches(" |"), 16).ok()?;
        before.ends_with(char::from(byte)).then(|| (folder.to_owned(), byte))
    };
    let kinds: BTreeMap<_, _> = rows.filter_map(kind).collect();
    assert_eq!(kinds.len(), 15, "{kinds:?}");
    kinds
}

/// Whoever opens a vault here reads all its objects; so every kind that the document names is read from what the program
/// wrote, once the newest golden vault has it.
#[test]
fn every_kind_of_object_is_in_the_newest_golden_vault() {
    let newest = golden::whole().pop().unwrap();
    let world = newest.unpack(Age::Fresh);
    let vault = Vault::open(&world.vault(), "right");
    for (folder, kind) in kinds() {
        let (name, _) = world.objects(&folder).into_iter().next().unwrap_or_else(|| panic!("no {folder}"));
        assert_eq!(std::fs::read(world.vault().join(name)).unwrap()[5], kind, "{folder}");
    }
    let records = &vault.records;
    assert!(!records.damaged.is_empty() && !records.locks.is_empty() && !records.verified.is_empty());
    assert!(records.condemned.iter().any(|(what, hash)| *what == 1 && vault.packs.contains_key(hash)));
    assert!(records.condemned.iter().any(|(what, _)| *what == 4) && !records.closed(5).is_empty());
    let settings = &records.settings;
    assert_eq!(newest_class(&vault).as_deref(), Some("STANDARD_IA"));
    assert_eq!(newest_value(&vault.descriptor, settings, 3).and_then(lock), Some((30 * 86_400, 1)));
    // Thinned twice, the second time under newer keys; and what it was before is there still, condemned.
    let last = vault.snapshots.last().unwrap();
    let seals = last.needs.keys().flat_map(|pack| vault.seals_of(*pack));
    let found: BTreeSet<_> = seals.map(|seal| (seal.generation, seal.epoch)).collect();
    assert!(found.is_superset(&BTreeSet::from([(0, 0), (0, 1), (1, 0), (2, 1)])), "{found:?}");
    let kinds: BTreeSet<_> = vault.tree(last).found.values().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds, BTreeSet::from_iter(0..=6), "one of each kind of file");
}

fn newest_class(vault: &Vault) -> Option<String> {
    newest_value(&vault.descriptor, &vault.records.settings, 2).and_then(class)
}
