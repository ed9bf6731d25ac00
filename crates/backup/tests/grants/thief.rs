//! Somebody who has stolen the grants of a machine, and a custodian who confirms only what he cannot touch any more.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use backup::Vault;
use store::grant::Permission;
use vault::SnapshotId;
use vault::confirm::{Outcome, Terms, confirm};

use super::support::{create, noise, open, plant, run};
use super::world::{Place, World, ask};

/// Long enough for the backups here, also on a busy machine.
const VALID: Duration = Duration::from_secs(60);

/// A backup of a machine that has grants only.
fn back_up(world: &World) -> (std::sync::Arc<Vault>, SnapshotId) {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    std::fs::write(source.path().join("own"), noise(std::process::id().into(), 100_000)).unwrap();
    create(world.custodian.clone(), cache.path());
    let agent = open(world.agent.clone(), cache.path());
    let id = run(&agent, source.path()).snapshot.unwrap();
    (agent, id)
}

/// The custodian's confirmation, with the credential and without a key.
fn confirmation(world: &World, agent: &Vault, id: SnapshotId) -> Outcome {
    let terms = Terms {
        grants_end: world.guard.close().unwrap(),
        settle: Some(world.settle.clone()),
        confirmed: HashSet::new(),
    };
    agent.wait(confirm(&world.custodian, id, &terms)).unwrap()
}

#[track_caller]
fn confirmed(world: &World, agent: &Vault, id: SnapshotId) {
    let outcome = confirmation(world, agent, id);
    let Outcome::Confirmed { objects, bytes_read } = outcome else { panic!("{outcome:?}") };
    assert!(objects.iter().any(|object| object.name == id.snapshot_name()));
    assert!(objects.iter().filter(|object| object.name.starts_with("packs/")).count() >= 2, "{objects:?}");
    assert_eq!(bytes_read, objects.iter().map(|object| object.size).sum::<u64>());
    assert!(bytes_read > 9 << 20, "{bytes_read}");
}

/// The names of what is wrong.
#[track_caller]
fn refused(world: &World, agent: &Vault, id: SnapshotId) -> Vec<String> {
    let outcome = confirmation(world, agent, id);
    let Outcome::Refused { findings } = outcome else { panic!("{outcome:?}") };
    findings.into_iter().map(|finding| finding.object).collect()
}

fn too_early(world: &World, agent: &Vault, id: SnapshotId) -> bool {
    matches!(confirmation(world, agent, id), Outcome::TooEarly { .. })
}

fn packs(world: &World, agent: &Vault) -> Vec<String> {
    agent.wait(world.custodian.list("packs/")).unwrap().into_iter().map(|object| object.name).collect()
}

/// Swift lets the holder of a grant to put replace what is there, if he leaves out a header.
#[test]
fn a_pack_that_is_swapped_late_is_found_on_swift() {
    let world = World::new(Place::swift("thief"), VALID);
    let (agent, id) = back_up(&world);
    let pack = packs(&world, &agent).remove(0);
    let honest = agent.wait(world.custodian.get(&pack, u64::MAX)).unwrap();
    let stolen = world.grant_to_put(&pack);
    assert_eq!(ask(&stolen, "PUT", &["If-None-Match: *"], "swapped"), "412");
    assert_eq!(ask(&stolen, "DELETE", &[], ""), "401");
    // The custodian would find everything as it should be, and does not look.
    assert!(too_early(&world, &agent, id));
    assert_eq!(ask(&stolen, "PUT", &[], "swapped"), "201");
    assert!(too_early(&world, &agent, id));
    world.outlive_grants();
    assert_eq!(refused(&world, &agent, id), std::slice::from_ref(&pack));
    // Grants are over, so what is put back stays.
    agent.wait(world.custodian.replace(&pack, vec![honest])).unwrap();
    for grant in world.given.lock().unwrap().iter().filter(|grant| grant.permission.writes()) {
        assert_eq!(ask(grant, "PUT", &[], "swapped"), "401", "{grant:?}");
    }
    confirmed(&world, &agent, id);
}

/// A thief who changes nothing, but tells Swift to remove the pack later: after the confirmation, if nothing were done.
#[test]
fn a_pack_that_a_thief_gives_an_end_outlives_it_on_swift() {
    let world = World::new(Place::swift("ending"), VALID);
    let (agent, id) = back_up(&world);
    let pack = packs(&world, &agent).remove(0);
    let honest = agent.wait(world.custodian.get(&pack, u64::MAX)).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &honest).unwrap();
    let life = VALID + Duration::from_secs(40);
    let begun = SystemTime::now();
    let end = format!("X-Delete-After: {}", life.as_secs());
    let body = format!("@{}", file.path().display());
    assert_eq!(ask(&world.grant_to_put(&pack), "PUT", &[&end], &body), "201");
    world.outlive_grants();
    confirmed(&world, &agent, id);
    let end = begun + life + Duration::from_secs(2);
    std::thread::sleep(end.duration_since(SystemTime::now()).unwrap_or_default());
    assert_eq!(agent.wait(world.custodian.get(&pack, u64::MAX)).unwrap(), honest);
}

/// With all grants of a machine on Swift: whatever is replaced is found, as long as it is needed.
#[test]
fn whatever_a_thief_of_all_grants_replaces_is_found_on_swift() {
    let world = World::new(Place::swift("all"), VALID);
    let (agent, id) = back_up(&world);
    let needed = packs(&world, &agent).into_iter().chain([id.snapshot_name()]);
    let mut needed: Vec<_> = needed.collect();
    needed.sort();
    for grant in world.given.lock().unwrap().iter() {
        assert_eq!(ask(grant, "DELETE", &[], ""), "401", "{grant:?}");
        assert_eq!(ask(grant, "POST", &[], ""), "401", "{grant:?}");
        if !grant.permission.writes() {
            assert_eq!(ask(grant, "PUT", &[], "swapped"), "401", "{grant:?}");
        }
    }
    for name in needed.iter().filter(|name| name.starts_with("packs/")) {
        assert_eq!(ask(&world.grant_to_put(name), "PUT", &[], "swapped"), "201", "{name}");
    }
    world.outlive_grants();
    needed.retain(|name| name.starts_with("packs/"));
    assert_eq!(refused(&world, &agent, id), needed);
}

/// On S3 the signature covers the condition. (What Ceph's gateway lets a thief do all the same is found.)
#[test]
fn a_late_put_is_refused_on_s3_and_a_late_copy_is_found() {
    let world = World::new(Place::s3("thief"), VALID);
    let (agent, id) = back_up(&world);
    let names = packs(&world, &agent);
    let (pack, other) = (&names[0], &names[1]);
    let honest = agent.wait(world.custodian.get(pack, u64::MAX)).unwrap();
    for grant in world.given.lock().unwrap().iter() {
        let condition = "If-None-Match: *";
        for method in ["DELETE", "POST"] {
            assert_eq!(ask(grant, method, &[condition], ""), "403", "{method} {grant:?}");
        }
        match grant.permission {
            Permission::Put => {
                assert_eq!(ask(grant, "PUT", &[condition], "swapped"), "412", "{grant:?}");
                assert_eq!(ask(grant, "PUT", &[], "swapped"), "403", "{grant:?}");
            }
            // The machine's own lease.
            Permission::Replace => {}
            Permission::Get | Permission::Head => {
                assert_eq!(ask(grant, "PUT", &[], "swapped"), "403", "{grant:?}");
            }
        }
    }
    assert!(too_early(&world, &agent, id));
    let stolen = world.grant_to_put(pack);
    let copy = format!("x-amz-copy-source: /{}/thief/{other}", world.bucket());
    assert_eq!(ask(&stolen, "PUT", &["If-None-Match: *", &copy], ""), "200");
    world.outlive_grants();
    assert_eq!(refused(&world, &agent, id), std::slice::from_ref(pack));
    agent.wait(world.custodian.replace(pack, vec![honest])).unwrap();
    assert_eq!(ask(&stolen, "PUT", &["If-None-Match: *", &copy], ""), "403");
    confirmed(&world, &agent, id);
}

/// A thief of grants on S3 who does what they are for.
#[test]
fn an_honest_backup_is_confirmed_on_s3() {
    let world = World::new(Place::s3("honest"), VALID);
    let (agent, id) = back_up(&world);
    let pack = packs(&world, &agent).remove(0);
    assert_eq!(ask(&world.grant_to_put(&pack), "PUT", &["If-None-Match: *"], "swapped"), "412");
    assert!(too_early(&world, &agent, id));
    world.outlive_grants();
    assert_eq!(ask(&world.grant_to_put(&pack), "PUT", &["If-None-Match: *"], "swapped"), "403");
    confirmed(&world, &agent, id);
}
