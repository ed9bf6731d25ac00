//! What a container says of itself.

use std::time::Duration;

use store::probe::{Found, probe_blocking};
use store::survey::{Survey, Surveyed};
use store::{Location, Store, SwiftCredentials, SwiftStore};

use super::{address, bytes, create, request, shared, token};

#[test]
fn containers_say_whether_they_keep_versions() {
    let service = shared();
    let settings = |name: &str| {
        ["ST_AUTH", "ST_USER", "ST_KEY"].contains(&name).then(|| service.setting(name).to_owned())
    };
    let location = Location::parse("swift://surveyed/a%20b").unwrap();
    location.create_with(&settings).unwrap();
    for versions in [false, true] {
        let token = token(&service);
        let headers =
            [("X-Auth-Token", &*token), ("X-Versions-Enabled", if versions { "true" } else { "false" })];
        let changed = request(address(&service), "POST", "/v1/AUTH_test/surveyed", &headers);
        assert!(changed.starts_with("HTTP/1.1 20"), "{changed}");
        let (store, surveyed) = location.open_surveyed_with(&settings).unwrap();
        let probed = probe_blocking(store, surveyed).unwrap();
        assert!(probed.tried.iter().all(|tried| tried.problem.is_none()), "{:?}", probed.tried);
        let survey = Survey {
            creates_only: Some(true),
            keeps_versions: Some(versions),
            locks: Some(false),
            lock_days: None,
            gives_grants: Some(true),
        };
        let expected =
            Found { survey, listing_lag: Some(Duration::ZERO), deletes: Some(true), clock_offset: Some(0) };
        assert_eq!(probed.found, expected);
    }
}

/// Who may only read does not see the key that grants are signed with.
#[tokio::test]
async fn who_may_not_see_the_key_gives_no_grants() {
    let service = shared();
    let keeper = create(&service, "surveyed-by-reader", "").await;
    keeper.put("a", bytes("text")).await.unwrap();
    let token = token(&service);
    let headers = [("X-Auth-Token", &*token), ("X-Container-Read", "test:reader,.rlistings")];
    let changed = request(address(&service), "POST", "/v1/AUTH_test/surveyed-by-reader", &headers);
    assert!(changed.starts_with("HTTP/1.1 20"), "{changed}");
    let credentials = SwiftCredentials::find(|name| match name {
        "ST_AUTH" => Some(service.setting("ST_AUTH").to_owned()),
        "ST_USER" => Some(service.setting("READER_USER").to_owned()),
        "ST_KEY" => Some(service.setting("READER_KEY").to_owned()),
        _ => None,
    });
    let reader = SwiftStore::open("surveyed-by-reader", "", credentials.unwrap()).await.unwrap();
    assert_eq!(reader.survey("a").await.gives_grants, Some(false));
    assert_eq!(keeper.survey("a").await.gives_grants, Some(true));
}
