//! A machine that has no credential, only grants: the whole way from a backup to the custodian's confirmation, on a
//! real Swift and a real S3.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;
mod thief;
mod world;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup::{Overwrite, Progress, RestoreRequest, restore};
use store::Kind;
use support::{contents, create, latest, on_disk, open, plant, run};
use world::{Place, World};

/// Everything that a machine does, by grants alone; and nothing that it sends says who the custodian is to the store.
fn whole_round(place: Place) {
    let world = World::new(place, Duration::from_secs(60));
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    create(world.custodian.clone(), cache.path());
    let wire = world.wire();
    let agent = open(world.agent.clone(), cache.path());
    let first = run(&agent, source.path());
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    std::fs::write(source.path().join("a/new"), support::noise(77, 3 << 20)).unwrap();
    run(&agent, source.path());
    assert_eq!(contents(&agent, &latest(&agent), source.path()), on_disk(source.path()));
    // Another machine with the key, an empty cache, and grants.
    let fresh = tempfile::tempdir().unwrap();
    let other = open(world.agent.clone(), fresh.path());
    let target = tempfile::tempdir().unwrap();
    let back = RestoreRequest {
        snapshot: latest(&other),
        part: source.path().as_os_str().as_encoded_bytes().to_vec(),
        target: target.path().join("back"),
        selection: files::Selection::new::<&[u8]>(&[], &[]).unwrap(),
        overwrite: Overwrite::default(),
        delete: false,
        verify: true,
        dry_run: false,
        parallelism: None,
    };
    let report = restore(&other, &back, &Arc::new(Progress::new())).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(on_disk(&target.path().join("back")), on_disk(source.path()));
    assert!(wire.requests() > 20, "the agent went past the wire: {} requests", wire.requests());
    assert_eq!(wire.secrets_seen(), Vec::<String>::new());
    // Nothing of the vault can be changed or removed that way.
    for object in agent.wait(world.custodian.list("")).unwrap() {
        let name = object.name;
        let changed = agent.wait(world.agent.replace(&name, vec![b"x".as_slice().into()]));
        // Of the machine's own leases it may be.
        assert!(name.starts_with("leases/") || changed.unwrap_err().kind == Kind::PermissionDenied, "{name}");
        assert_eq!(agent.wait(world.agent.delete(&name)).unwrap_err().kind, Kind::PermissionDenied, "{name}");
    }
    assert!(world.guard.close().unwrap() > SystemTime::now());
}

#[test]
fn a_machine_backs_up_and_restores_by_grants_on_swift() {
    whole_round(Place::swift("whole"));
}

#[test]
fn a_machine_backs_up_and_restores_by_grants_on_s3() {
    whole_round(Place::s3("whole"));
}
