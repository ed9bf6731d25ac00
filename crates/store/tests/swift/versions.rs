//! Older versions in a real container that keeps them.

use services::Service;
use store::versions::Versioned;
use store::{Kind, Location, Store, SwiftStore};

use super::{address, bytes, create, request, shared, token};

async fn versioned(service: &Service, container: &str) -> SwiftStore {
    create(service, container, "a b/c").await;
    let token = token(service);
    let headers = [("X-Auth-Token", &*token), ("X-Versions-Enabled", "true")];
    let changed = request(address(service), "POST", &format!("/v1/AUTH_test/{container}"), &headers);
    assert!(changed.starts_with("HTTP/1.1 20"), "{changed}");
    create(service, container, "a b/c").await
}

#[tokio::test]
async fn deleting_leaves_no_version_behind() {
    let service = shared();
    let store = versioned(&service, "no-version-left").await.with_page_size(2);
    for round in ["a", "b", "c"] {
        for name in ["leases/1", "leases/1-other", "packs/ab/ab"] {
            store.replace(name, bytes(round)).await.unwrap();
        }
    }
    let found = store.versions("leases/").await.unwrap();
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(found.iter().filter(|version| version.is_current).count(), 2);
    assert_eq!(store.get_version(&found[0], 9).await.unwrap(), "c", "the newest first");
    assert_eq!(store.get_version(&found[2], 9).await.unwrap(), "a");
    // A process that found the container so knows it from the beginning.
    let other = create(&service, "no-version-left", "a b/c").await;
    other.replace("leases/1", bytes("d")).await.unwrap();
    for name in ["leases/1", "packs/ab/ab", "never/there"] {
        other.delete(name).await.unwrap();
    }
    assert_eq!(store.stat("leases/1").await.unwrap_err().kind, Kind::NotFound);
    let left = store.versions("").await.unwrap();
    assert!(left.len() == 3 && left.iter().all(|version| version.name == "leases/1-other"), "{left:?}");
}

#[tokio::test]
async fn an_older_version_comes_back() {
    let service = shared();
    let store = versioned(&service, "comes-back").await;
    let known = service.clone();
    let settings = move |name: &str| {
        ["ST_AUTH", "ST_USER", "ST_KEY"].contains(&name).then(|| known.setting(name).to_owned())
    };
    for name in ["deleted", "overwritten"] {
        store.put(name, bytes("right")).await.unwrap();
    }
    // As a thief does.
    let token = token(&service);
    let path = "/v1/AUTH_test/comes-back/a%20b/c/deleted";
    let gone = request(address(&service), "DELETE", path, &[("X-Auth-Token", &*token)]);
    assert!(gone.starts_with("HTTP/1.1 20"), "{gone}");
    store.replace("overwritten", bytes("wrong")).await.unwrap();
    let place = Location::parse("swift://comes-back/a%20b/c").unwrap();
    let versions =
        tokio::task::spawn_blocking(move || place.open_versioned_with(&settings)).await.unwrap().unwrap();
    let found = versions.versions("").await.unwrap();
    assert_eq!(
        found.iter().map(|version| version.is_deletion).collect::<Vec<_>>(),
        [true, false, false, false]
    );
    for version in found.iter().filter(|version| !version.is_current) {
        assert_eq!(versions.get_version(version, 99).await.unwrap(), "right");
        versions.make_current(version, None).await.unwrap();
        assert_eq!(store.get(&version.name, 99).await.unwrap(), "right", "{}", version.name);
    }
    let missing = versions.get_version(&found[0], 9).await.unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound, "a deletion has no bytes");
}

#[tokio::test]
async fn where_there_are_no_versions_each_object_is_its_only_one() {
    let service = shared();
    let store = create(&service, "unversioned", "").await;
    store.put("a/b", bytes("x")).await.unwrap();
    let found = store.versions("").await.unwrap();
    assert!(
        found.len() == 1 && found[0].is_current && !found[0].is_deletion && found[0].size == 1,
        "{found:?}"
    );
    store.delete("a/b").await.unwrap();
    assert!(store.versions("").await.unwrap().is_empty());
}
