//! What a Swift that behaves can show.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use services::Service;
use store::{Kind, Location, Patience, Recorded, Retrying, Store, SwiftCredentials, SwiftStore, conformance};
use tokio::task::JoinSet;

use super::proxy::Proxy;
use super::{address, bytes, chain, create, credentials, meddle, names, shared};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let service = shared();
    conformance::run(Arc::new(create(&service, "contract", "").await)).await.unwrap();
    let odd = create(&service, "a contract: 100% ä", "odd &?#+%/prefix ü/-").await;
    assert_eq!(
        odd.location(),
        "swift://a%20contract%3A%20100%25%20%C3%A4/odd%20%26%3F%23%2B%25/prefix%20%C3%BC/-"
    );
    conformance::run(Arc::new(odd.with_page_size(2))).await.unwrap();
}

/// Swift's own face of S3 is one more dialect of it.
#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_s3_too() {
    let service = shared();
    let settings = |key: &str| match key {
        "AWS_ENDPOINT_URL" => Some(service.setting("S3_ENDPOINT").to_owned()),
        "AWS_ACCESS_KEY_ID" => Some(service.setting("ST_USER").to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(service.setting("ST_KEY").to_owned()),
        "AWS_REGION" => Some("us-east-1".to_owned()),
        _ => None,
    };
    let absent = Location::parse("s3://no-such-bucket").unwrap().open_with(&settings).unwrap_err();
    assert_eq!((absent.kind, &*absent.object), (Kind::NotFound, ""), "{}", chain(&absent));
    create(&service, "contract-of-s3", "").await;
    for prefix in ["", "/a/b%20c", "/%C3%A4%2B%26=;,"] {
        let place = Location::parse(&format!("s3://contract-of-s3{prefix}")).unwrap();
        let store = place.open_with(&settings).unwrap();
        conformance::run(store).await.unwrap_or_else(|error| panic!("{prefix}: {}", chain(&error)));
    }
}

/// The suite again and again until tokens of two seconds have ended many times. No call fails, whether the client
/// knows when a token ends or learns it by being refused.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_in_the_middle() {
    let service = Service::start_with("swift", &[("SWIFT_TOKEN_LIFE", "2")]);
    for hides_expiry in [false, true] {
        let proxy = Proxy::start(address(&service), hides_expiry);
        let store = SwiftStore::create("tokens", "", credentials(&service, &proxy.address)).await.unwrap();
        let recorded = Arc::new(Recorded::new(Arc::new(store)));
        let retrying = Retrying::new(recorded.clone(), Patience::default());
        let retrying: Arc<dyn Store> = Arc::new(retrying);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(7) {
            conformance::run(retrying.clone()).await.unwrap();
        }
        let refused = |kind| matches!(kind, Some(Kind::Unavailable | Kind::PermissionDenied));
        let failed: Vec<_> = recorded.calls().into_iter().filter(|call| refused(call.failed)).collect();
        assert!(failed.is_empty(), "{failed:?}");
        let logins = proxy.take_seen().iter().filter(|seen| *seen == "GET /auth/v1.0").count();
        // One each for two seconds; a few more for tokens that were handed out near their end.
        assert!((3..=40).contains(&logins), "{logins} logins");
    }
}

#[tokio::test]
async fn the_right_to_use_it_is_needed() {
    let service = shared();
    create(&service, "rights", "").await;
    let with = |user: &str, key: &str| {
        let auth = service.setting("ST_AUTH").to_owned();
        let pairs = [("ST_AUTH", auth), ("ST_USER", user.to_owned()), ("ST_KEY", key.to_owned())];
        SwiftCredentials::find(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone()))
            .unwrap()
    };
    let error = SwiftStore::open("rights", "", with("test:tester", "wrong-and-secret")).await.unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert_eq!(error.kind, Kind::PermissionDenied);
    assert!(text.contains("check ST_AUTH, ST_USER and ST_KEY") && !text.contains("secret"), "{text}");
    assert!(text.contains("cannot open the store swift://rights"), "{text}");

    // Known to the server, but without a right to this container.
    let reader = with(service.setting("READER_USER"), service.setting("READER_KEY"));
    let error = SwiftStore::open("rights", "", reader).await.unwrap_err();
    assert_eq!(error.kind, Kind::PermissionDenied, "{}", chain(&error));

    let auth_token = |name: &str| match name {
        "OS_AUTH_TOKEN" => Some("AUTH_tk_not_good".to_owned()),
        "OS_STORAGE_URL" => Some(service.setting("STORAGE_URL").to_owned()),
        _ => None,
    };
    let token = SwiftCredentials::find(auth_token).unwrap();
    let error = SwiftStore::open("rights", "", token).await.unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert_eq!(error.kind, Kind::PermissionDenied);
    assert!(text.contains("OS_AUTH_TOKEN") && !text.contains("AUTH_tk_not_good"), "{text}");
}

#[tokio::test]
async fn a_given_token_is_enough() {
    let service = shared();
    create(&service, "given", "").await;
    let token = super::token(&service);
    let given = |name: &str| match name {
        "OS_AUTH_TOKEN" => Some(token.clone()),
        "OS_STORAGE_URL" => Some(service.setting("STORAGE_URL").to_owned()),
        _ => None,
    };
    let store = SwiftStore::open("given", "", SwiftCredentials::find(given).unwrap()).await.unwrap();
    store.put("a", bytes("text")).await.unwrap();
    assert_eq!(store.get("a", 10).await.unwrap(), "text");
    assert!(store.clock_skew_seconds().unwrap().abs() <= 2);
    assert!(!format!("{store:?}").contains(&token));
}

#[tokio::test]
async fn a_container_is_made_by_create_alone() {
    let service = shared();
    let open = || SwiftStore::open("vanishing", "a", credentials(&service, address(&service)));
    let error = open().await.unwrap_err();
    assert_eq!((error.kind, error.object.as_str()), (Kind::NotFound, ""));
    let store = create(&service, "vanishing", "a").await;
    create(&service, "vanishing", "a").await;
    store.put("x", bytes("1")).await.unwrap();
    open().await.unwrap();

    meddle(&service, "DELETE", "vanishing/a/x");
    meddle(&service, "DELETE", "vanishing");
    for kind in [
        store.put("y", bytes("2")).await.unwrap_err().kind,
        store.replace("y", bytes("2")).await.unwrap_err().kind,
        store.get("x", 10).await.unwrap_err().kind,
        store.get_range("x", 0..1).await.unwrap_err().kind,
        store.get_tail("x", 1).await.unwrap_err().kind,
        store.stat("x").await.unwrap_err().kind,
        store.list("").await.unwrap_err().kind,
        store.delete("x").await.unwrap_err().kind,
    ] {
        assert_eq!(kind, Kind::Gone);
    }
    assert_eq!(open().await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writers_one_stays_and_whole() {
    let service = shared();
    let store = Arc::new(create(&service, "race", "").await);
    for round in 0..3 {
        let name = format!("round-{round}");
        let mut tasks = JoinSet::new();
        for writer in 0..8_u8 {
            let (store, name) = (store.clone(), name.clone());
            tasks.spawn(async move { store.put(&name, vec![Bytes::from(vec![writer; 200_000])]).await });
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.unwrap().unwrap();
        }
        let stored = store.get(&name, 1 << 20).await.unwrap();
        assert!(stored.len() == 200_000 && stored.iter().all(|byte| *byte == stored[0]) && stored[0] < 8);
    }
}

#[tokio::test]
async fn prefixes_are_worlds_apart() {
    let service = shared();
    let long = "p/".repeat(255) + "x";
    let prefixes =
        ["", "a", "ab", "a/b", "%41", "a b+c&d=e?f#g", "ä/ß/日本", "...", "-", "//slashes//", &long];
    for prefix in prefixes {
        let store = create(&service, "prefixes", prefix).await;
        store.put("name", bytes(prefix)).await.unwrap();
        store.put("folder/name", bytes("deep")).await.unwrap();
    }
    for prefix in prefixes.into_iter().filter(|prefix| !prefix.is_empty() && *prefix != "a") {
        let store = create(&service, "prefixes", prefix).await.with_page_size(1);
        assert_eq!(names(&store, "").await, ["folder/name", "name"], "{prefix}");
        assert_eq!(names(&store, "folder/").await, ["folder/name"], "{prefix}");
        assert_eq!(store.get("name", 1000).await.unwrap(), prefix);
        store.delete("name").await.unwrap();
        store.delete("folder/name").await.unwrap();
        assert!(names(&store, "").await.is_empty(), "{prefix}");
    }
    let store = create(&service, "prefixes", "a").await;
    assert_eq!(store.get("name", 10).await.unwrap(), "a");
    let store = create(&service, "prefixes", "").await;
    assert_eq!(names(&store, "").await, ["a/folder/name", "a/name", "folder/name", "name"]);
    for prefix in ["..", "a/../b", "a/./b"] {
        let error = SwiftStore::create("prefixes", prefix, credentials(&service, address(&service))).await;
        assert_eq!(error.unwrap_err().kind, Kind::UnknownLocation);
    }
}

#[tokio::test]
async fn listings_of_many_pages_leave_out_what_is_not_ours() {
    let service = shared();
    let store = create(&service, "pages", "p").await.with_page_size(3);
    let mut expected = Vec::new();
    for number in 0..25 {
        let name = format!("packs/{}/{number:02}", number % 3);
        store.put(&name, bytes("x")).await.unwrap();
        expected.push(name);
    }
    expected.sort();
    // Whole pages of other people's names, and one that only looks like ours.
    for foreign in [
        "p/.a",
        "p/.b",
        "p/.c",
        "p/.d",
        "p/packs/",
        "p/packs/1/.x",
        "p/packs/a%20b",
        "p/tmp/x",
        "p//y",
        "packs/z",
        "p/%C3%A4",
    ] {
        meddle(&service, "PUT", &format!("pages/{foreign}"));
    }
    assert_eq!(names(&store, "").await, expected);
    assert_eq!(names(&store, "packs/").await, expected);
    assert_eq!(names(&store, "packs/1/").await.len(), 8);
    assert!(names(&store, "other/").await.is_empty());
}

#[tokio::test]
async fn one_call_is_one_request() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = SwiftStore::create("counts", "", credentials(&service, &proxy.address)).await.unwrap();
    assert_eq!(proxy.take_seen(), ["GET /auth/v1.0", "PUT /v1/AUTH_test/counts"]);
    let object = "/v1/AUTH_test/counts/a";
    store.put("a", bytes("0123456789")).await.unwrap();
    store.put("a", bytes("there is one")).await.unwrap();
    assert_eq!(proxy.take_seen(), [format!("PUT {object}"), format!("PUT {object}")]);
    store.get("a", 10).await.unwrap();
    store.get_range("a", 2..5).await.unwrap();
    store.get_tail("a", 3).await.unwrap();
    assert_eq!(proxy.take_seen(), [(); 3].map(|()| format!("GET {object}")));
    store.stat("a").await.unwrap();
    store.replace("a", bytes("1")).await.unwrap();
    store.delete("a").await.unwrap();
    assert_eq!(
        proxy.take_seen(),
        [format!("HEAD {object}"), format!("PUT {object}"), format!("DELETE {object}")]
    );
    store.list("").await.unwrap();
    assert_eq!(proxy.take_seen(), ["GET /v1/AUTH_test/counts"]);
}

/// As the program opens it; that the settings come from the environment is seen in the tests of the whole program.
#[test]
fn a_url_and_its_settings_are_enough() {
    let service = shared();
    let settings = |name: &str| {
        ["ST_AUTH", "ST_USER", "ST_KEY"].contains(&name).then(|| service.setting(name).to_owned())
    };
    let open = |text: &str| Location::parse(text).unwrap().open_with(&settings);
    assert_eq!(open("swift://by-url/a").unwrap_err().kind, Kind::NotFound);
    let made = Location::parse("swift://by-url/a").unwrap().create_with(&settings).unwrap();
    let opened = open("swift://by-url/a/").unwrap();
    assert_eq!(opened.location(), "swift://by-url/a");
    // Two runtimes, one after the other, and neither is the one that opened the stores.
    for number in 0..2 {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            made.put(&format!("{number}"), bytes("text")).await.unwrap();
            assert_eq!(opened.get(&format!("{number}"), 4).await.unwrap(), "text");
            // From inside of one, too.
            open("swift://by-url").unwrap().list("").await.unwrap();
        });
    }
}
