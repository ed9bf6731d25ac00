//! Vaults whose objects are locked, or kept as older versions, and a thief with the store's credential: the whole program
//! on real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "lock/world.rs"]
#[allow(dead_code, reason = "the second decoder uses the rest")]
mod world;

use world::Locked;

/// All that whoever holds the credential can do: overwrite, delete, and remove older versions.
#[test]
fn what_a_thief_did_to_a_locked_vault_is_undone() {
    let vault = Locked::in_ceph("thief");
    vault.run(&["init", "--lock", "1d", "--lock-mode", "compliance"], 0);
    vault.back_up_twice();
    let told = vault.run(&["stats"], 0).stdout;
    assert!(told.contains("Protection  locked for 1 day (compliance)"), "{told}");

    let (overwritten, deleted) = vault.steal();
    assert!(overwritten > 4 && deleted > 4);
    vault.is_lost();

    let dry = vault.run(&["store", "recover", "--dry-run", "--json"], 0).json();
    let found = |harm| dry.iter().filter(|line| line["harm"] == harm).count();
    assert_eq!((found("overwritten"), found("deleted")), (overwritten, deleted));
    vault.is_lost();
    let told = vault.run(&["store", "recover"], 0).stdout;
    assert!(told.contains("objects brought back"), "{told}");
    vault.is_whole();
    // And it goes on as before.
    vault.run(&["store", "recover"], 0);
    vault.run(&["cleanup"], 0);
    vault.back_up_twice();
    vault.is_whole();
}

#[test]
fn what_is_written_is_locked_and_what_is_needed_stays_so() {
    let vault = Locked::in_ceph("held");
    let refused = vault.run(&["init", "--lock-mode", "compliance"], 2).stderr;
    assert!(refused.contains("--lock"), "{refused}");
    vault.run(&["init", "--lock", "1d"], 0);
    vault.back_up_twice();
    let protected = vault.objects() as u64;
    // A longer lock counts at once, and the next cleanup makes those that are there as long.
    let told = vault.run(&["settings", "--lock", "30d", "--json"], 0).json();
    assert_eq!((&told[0]["lock"], &told[0]["lock_mode"]), (&(30 * 86_400).into(), &"governance".into()));
    let cleaned = vault.run(&["cleanup", "--json"], 0).json().pop().unwrap();
    // The descriptor was locked when the store was asked whether it does; the new settings, one more object, as well.
    assert_eq!(
        (&cleaned["held"], &cleaned["locks_extended"]),
        (&(protected + 1).into(), &(protected - 1).into())
    );
    let stats = vault.stats();
    assert_eq!((&stats["protection"], &stats["lock"]), (&"locked".into(), &(30 * 86_400).into()));
    assert!(stats["locked_until"].is_string(), "{stats}");
    // None from now on: what is locked stays so.
    vault.run(&["settings", "--lock", "none"], 0);
    assert!(vault.stats()["lock"].is_null());
    vault.run(&["forget", "latest"], 0);
    let tried = vault.run(&["store", "test"], 0).stdout;
    assert!(tried.contains("ok      lock an object"), "{tried}");
}

/// A vault in a folder, and its copy in a bucket that locks, which has a lock of its own.
#[test]
fn a_locked_copy_outlasts_a_thief_and_later_copies_are_locked_too() {
    let copy = Locked::in_ceph("offsite");
    copy.run_beside(&["init"]);
    copy.back_up_beside();
    let (beside, to) = (copy.beside(), copy.location().to_owned());
    let asked = ["--vault", &beside, "copy", "--to", &to, "--lock", "1d", "--lock-mode", "compliance"];
    let told = copy.run(&asked, 0).stdout;
    assert!(told.contains("Copied 1 snapshot"), "{told}");
    let stats = copy.stats();
    assert_eq!((&stats["protection"], &stats["lock"]), (&"locked".into(), &86_400.into()), "{stats}");
    // The vault itself has none.
    assert!(copy.run_beside(&["settings"]).stdout.contains("Lock on objects         none"));
    // A later copy needs no key, and locks what it brings; none of that can be removed.
    copy.back_up_beside();
    assert!(copy.copy_without_key().stdout.contains("Copied 1 snapshot"));
    copy.remove_versions();
    let (overwritten, deleted) = copy.steal();
    assert!(overwritten > 3 && deleted > 3, "{overwritten} {deleted}");
    copy.is_lost();
    copy.run(&["store", "recover"], 0);
    copy.is_whole();
    // Its own cleanup keeps all locked; the same copy with the same lock changes nothing.
    let cleaned = copy.run(&["cleanup", "--json"], 0).json().pop().unwrap();
    assert_eq!(cleaned["held"], copy.objects(), "{cleaned}");
    assert!(copy.run(&asked, 0).stdout.contains("Copied 0 snapshots"));
    assert_eq!(copy.stats()["lock"], 86_400);
}

#[test]
fn a_copy_is_not_locked_where_nothing_can_be() {
    let copy = Locked::in_ceph_without("offsite-never");
    copy.run_beside(&["init"]);
    copy.back_up_beside();
    let (beside, to) = (copy.beside(), copy.location().to_owned());
    let refused = copy.run(&["--vault", &beside, "copy", "--to", &to, "--lock", "1d"], 1).stderr;
    assert!(refused.contains("made with object lock"), "{refused}");
    // A bucket that is missing is not made without locks.
    let missing = ["--vault", &beside, "copy", "--to", "s3://offsite-missing/vault", "--lock", "1d"];
    for _ in 0..2 {
        let refused = copy.run(&missing, 1).stderr;
        assert!(refused.contains("made with object lock"), "{refused}");
    }
    copy.copy_without_key();
    copy.is_whole();
}

#[test]
fn a_place_that_cannot_lock_is_refused_with_a_remedy() {
    let vault = Locked::in_ceph_without("never");
    let refused = vault.run(&["init", "--lock", "30d"], 1).stderr;
    for words in ["cannot lock", "has no object lock", "made with object lock"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    vault.run(&["init"], 0);
    let refused = vault.run(&["settings", "--lock", "30d"], 1).stderr;
    assert!(refused.contains("made with object lock"), "{refused}");
    assert!(vault.run(&["settings"], 0).stdout.contains("Lock on objects         none"));
}

/// Swift locks nothing. Its S3 takes locks and ignores them.
#[test]
fn in_swift_versions_bring_back_what_a_careless_thief_took() {
    let vault = Locked::in_swift("versioned");
    let refused = vault.run(&["init", "--lock", "30d"], 1).stderr;
    assert!(refused.contains("only S3 can lock"), "{refused}");
    vault.run(&["init"], 0);
    vault.run(&["store", "test"], 0);
    let told = vault.run(&["stats"], 0).stdout;
    assert!(told.contains("Protection  older versions are kept"), "{told}");
    assert_eq!(vault.stats()["protection"], "versioned");
    vault.back_up_twice();
    vault.run(&["pin", "latest"], 0);
    // He takes the pin away first, so that he may forget what it kept.
    assert_eq!(vault.delete_all("pins/"), 1);
    vault.run(&["forget", "latest"], 0);
    vault.steal();
    vault.is_lost();
    let told = vault.run(&["store", "recover"], 0).stdout;
    assert!(told.contains("brought back") && told.contains(" pins/"), "{told}");
    // The pin is back, and the mark that he made was taken away with the rest.
    let refused = vault.run(&["forget", "latest"], 1).stderr;
    assert!(refused.contains("pinned"), "{refused}");
    vault.is_whole();
    // Whoever also removes the older versions wins: there is no lock.
    vault.remove_versions();
    vault.run(&["store", "recover"], 0);
    vault.is_lost();
}
