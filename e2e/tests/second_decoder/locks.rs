//! A vault whose objects are locked, from a real server with object lock: what the settings and the record of locks say of
//! it, and what the server itself says.

use std::collections::BTreeSet;
use std::process::Command;

use e2e::noise;
use e2e::oracle::{assert_same, look};

use super::marks::{class, lock, newest};
use super::vault::Vault;
use crate::world::{CLASS, Locked, is_protected};

/// A moment as the server writes it, to the second, in small letters.
fn written(seconds: i64) -> String {
    let moment =
        Command::new("date").args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%S"]).output();
    String::from_utf8(moment.unwrap().stdout).unwrap().trim().to_lowercase()
}

#[test]
fn locks_and_classes_are_as_the_document_says() {
    let locked = Locked::in_ceph("decoded");
    locked.run(&["init", "--lock", "1d"], 0);
    locked.back_up_twice();
    locked.run(&["settings", "--data-class", CLASS], 0);
    locked.run(&["settings", "--lock", "30d"], 0);
    std::fs::write(locked.world.path("source/in its class"), noise(77, 100_000)).unwrap();
    locked.back_up_twice();
    locked.run(&["cleanup"], 0);
    locked.run(&["store", "test"], 0);

    let top = tempfile::tempdir().unwrap();
    locked.download(top.path());
    let vault = Vault::open(top.path(), "right");
    vault.check_order();
    let source = locked.world.path("source");
    assert_same(&look(&source), &vault.tree(vault.snapshots.last().unwrap()).look(&source));

    let (descriptor, records) = (&vault.descriptor, &vault.records);
    assert_eq!(lock(newest(descriptor, &[], 3).unwrap()), Some((86_400, 1)));
    assert_eq!(lock(newest(descriptor, &records.settings, 3).unwrap()), Some((30 * 86_400, 1)));
    assert_eq!(newest(descriptor, &[], 2), None);
    assert_eq!(class(newest(descriptor, &records.settings, 2).unwrap()).as_deref(), Some(CLASS));
    let is_in_class =
        |name: &str| locked.head(name).contains(&format!("x-amz-storage-class: {CLASS}").to_lowercase());
    let in_class = vault.packs.iter().filter(|(hash, pack)| {
        let is_cheap = is_in_class(&vault.name_of(**hash));
        assert!(!is_cheap || pack.kind == 1, "packs of data alone have a class");
        is_cheap
    });
    assert!(in_class.count() > 0, "a pack of data was written after the change");

    let [record] = records.locks.as_slice() else { panic!("one record of locks") };
    let named: BTreeSet<&str> = record.iter().map(|(name, _)| name.as_str()).collect();
    let there = vault.names.iter().map(String::as_str).filter(|name| is_protected(name));
    assert_eq!(named, there.collect(), "all that is to be locked, and nothing else");
    for (name, end) in record {
        let head = locked.head(name);
        let told = head.lines().find_map(|line| line.strip_prefix("x-amz-object-lock-retain-until-date: "));
        let told = told.unwrap_or_else(|| panic!("{name} is locked:\n{head}"));
        assert!(told >= written(end - 1).as_str(), "{name}: the record says {end}, the server {told}");
        assert!(told <= written(end + 1).as_str(), "{name}: the record says {end}, the server {told}");
        assert!(head.contains("x-amz-object-lock-mode: governance"), "{name}:\n{head}");
    }
    assert_eq!(records.abilities.len(), 1);
    assert_eq!(records.abilities[0].1.get(&4), Some(&1), "the store locks");
}
