//! The S3 store against a real gateway.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod grants;
mod locks;
mod survey;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::{Proxy, chain};
use services::Service;
use store::{Kind, Location, Store, StoreError};
use tokio::task::JoinSet;

const SECRET: &str = "test-secret";

/// One gateway for all tests here. It ends with the process, as its standard input does.
fn gateway() -> &'static Service {
    static GATEWAY: OnceLock<Service> = OnceLock::new();
    GATEWAY.get_or_init(|| Service::start("ceph"))
}

/// The gateway's credentials, some of them replaced.
fn settings(changes: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + Sync {
    move |key: &str| {
        let changed = changes.iter().find(|(changed, _)| *changed == key);
        match changed {
            Some((_, value)) => Some((*value).to_owned()),
            None if key.starts_with("AWS_") => {
                let known = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
                known.contains(&key).then(|| gateway().setting(key).to_owned())
            }
            None => None,
        }
    }
}

/// Opens a location with the gateway's credentials, some of them replaced.
fn open_with(location: &str, changes: &[(&str, &str)]) -> Result<Arc<dyn Store>, StoreError> {
    let look_up = settings(changes);
    let opened = Location::parse(location).and_then(|location| location.open_with(&look_up));
    match &opened {
        Ok(store) => assert!(!format!("{store:?} {}", store.location()).contains(SECRET)),
        Err(error) => assert!(!format!("{error:?} {}", chain(error)).contains(SECRET)),
    }
    opened
}

fn open(prefix: &str) -> Arc<dyn Store> {
    open_with(&format!("s3://{}/{prefix}", gateway().setting("BUCKET")), &[]).expect("the gateway's bucket")
}

fn bytes(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract() {
    store::conformance::run(open("contract")).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_below_odd_prefixes() {
    for prefix in ["a/b%20c", "%C3%A4%2B%26=;,", "100%25/it's"] {
        let store = open(prefix);
        store::conformance::run(store).await.unwrap_or_else(|error| panic!("{prefix}: {}", chain(&error)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_not_allowed() {
    let error = open_with("s3://no-such-bucket/x", &[]).unwrap_err();
    assert_eq!((error.kind, &*error.object), (Kind::NotFound, ""), "{}", chain(&error));
    let vaults = format!("s3://{}/rights", gateway().setting("BUCKET"));
    for changes in [
        &[("AWS_SECRET_ACCESS_KEY", "test-secret-but-wrong")][..],
        &[("AWS_ACCESS_KEY_ID", "nobody")],
        &[("AWS_SECRET_ACCESS_KEY", "")],
        &[("AWS_ACCESS_KEY_ID", "")],
        &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("HOME", "/nonexistent")],
    ] {
        let error = open_with(&vaults, changes).unwrap_err();
        assert_eq!(error.kind, Kind::PermissionDenied, "{}", chain(&error));
        if changes.iter().any(|(_, value)| value.is_empty()) {
            assert!(chain(&error).contains(changes[0].0), "{}", chain(&error));
        }
    }
    let error = open_with(&vaults, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_made_by_create_alone() {
    let create = |location: &str, changes: &[(&str, &str)]| {
        Location::parse(location).unwrap().create_with(&settings(changes))
    };
    let text = "s3://made-by-create/deep/er";
    assert_eq!(open_with(text, &[]).unwrap_err().kind, Kind::NotFound);
    let store = create(text, &[]).unwrap_or_else(|error| panic!("{}", chain(&error)));
    store.put("a", bytes("text")).await.unwrap();
    // What is there is left as it is.
    let store = create(text, &[]).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(store.get("a", 9).await.unwrap(), "text");
    assert_eq!(open_with("s3://made-by-create", &[]).unwrap().list("").await.unwrap().len(), 1);

    // Nobody sees into it who is not let in.
    let address = gateway().setting("AWS_ENDPOINT_URL").strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let question = format!("GET /made-by-create/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    std::io::Write::write_all(&mut stream, question.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");

    let wrong = [("AWS_SECRET_ACCESS_KEY", "test-secret-but-wrong")];
    assert_eq!(create("s3://not-made", &wrong).unwrap_err().kind, Kind::PermissionDenied);
    let error = create("s3://x", &[]).unwrap_err();
    assert!(error.operation == "create" && chain(&error).contains("InvalidBucketName"), "{}", chain(&error));
    assert_eq!(open_with("s3://not-made", &[]).unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_one_request() {
    let server = gateway().setting("AWS_ENDPOINT_URL");
    let proxy = Proxy::to(server.strip_prefix("http://").unwrap()).await;
    let location = format!("s3://{}/requests", gateway().setting("BUCKET"));
    let store = open_with(&location, &[("AWS_ENDPOINT_URL", &proxy.url())]).unwrap();
    assert_eq!(proxy.requests(), 1, "open");
    store.put("packs/a", vec![Bytes::from(vec![7; 20_000_000]); 2]).await.unwrap();
    assert_eq!(proxy.requests(), 1, "put");
    store.put("packs/a", bytes("other")).await.unwrap();
    assert_eq!(proxy.requests(), 1, "put of what is there");
    let written = store.replace_dated("leases/a", bytes("dated")).await.unwrap();
    assert_eq!(proxy.requests(), 1, "a date comes with the answer");
    let modified = store.stat("leases/a").await.unwrap().modified;
    assert!(written.max(modified).duration_since(written.min(modified)).unwrap().as_secs() <= 1);
    assert_eq!(proxy.requests(), 1, "stat");
    assert_eq!(store.get("packs/a", u64::MAX).await.unwrap().len(), 40_000_000);
    assert_eq!(proxy.requests(), 1, "get");
    assert_eq!(store.get("packs/a", 100).await.unwrap_err().kind, Kind::TooLarge);
    assert_eq!(proxy.requests(), 1, "get of what is too large");
    assert_eq!(store.get_range("packs/a", 5..500).await.unwrap().len(), 495);
    assert_eq!(proxy.requests(), 1, "get_range");
    assert_eq!(store.get_range("packs/a", 5..40_000_001).await.unwrap_err().kind, Kind::Truncated);
    assert_eq!(proxy.requests(), 1, "get_range beyond the end");
    assert_eq!(store.get_tail("packs/a", 99).await.unwrap().1, 40_000_000);
    assert_eq!(proxy.requests(), 1, "get_tail");
    store.stat("packs/a").await.unwrap();
    assert_eq!(proxy.requests(), 1, "stat");
    store.replace("packs/a", bytes("b")).await.unwrap();
    assert_eq!(proxy.requests(), 1, "replace");
    store.list("packs/").await.unwrap();
    assert_eq!(proxy.requests(), 1, "list");
    store.delete("packs/a").await.unwrap();
    assert_eq!(proxy.requests(), 1, "delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_of_one_name() {
    let store = open("eight");
    for round in 0..8 {
        let name = format!("raced/{round}");
        let mut tasks = JoinSet::new();
        for fill in 0..8_u8 {
            let (store, name) = (store.clone(), name.clone());
            tasks.spawn(async move { store.put(&name, vec![Bytes::from(vec![fill; 100_000])]).await });
        }
        while let Some(outcome) = tasks.join_next().await {
            outcome.unwrap().unwrap_or_else(|error| panic!("{}", chain(&error)));
        }
        let first = store.get(&name, u64::MAX).await.unwrap();
        assert!(first.len() == 100_000 && first.iter().all(|byte| *byte == first[0]));
        assert_eq!(store.get(&name, u64::MAX).await.unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_more_than_a_page() {
    let store = open("pages");
    let mut tasks = JoinSet::new();
    for worker in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in (worker..1100).step_by(16) {
                store.put(&format!("many/{number:04}"), bytes("x")).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let listed = store.list("").await.unwrap();
    let names = (0..1100).map(|number| format!("many/{number:04}"));
    assert!(listed.iter().map(|object| object.name.clone()).eq(names));
}

/// The gateway's own client, for what the store does not do: signed by curl.
fn bucket(method: &str, name: &str) {
    let nothing = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    bucket_with(method, name, &["-H", nothing]);
}

/// The same with further arguments for curl.
fn bucket_with(method: &str, name: &str, arguments: &[&str]) {
    let [url, key, secret] =
        ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|key| gateway().setting(key));
    let status = std::process::Command::new("curl")
        .args(["-fsS", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3", "-u"])
        .args([&format!("{key}:{secret}"), &format!("{url}/{name}")])
        .args(arguments)
        .status();
    assert!(status.expect("curl").success(), "{method} {name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_vanishes_is_gone_and_stays_so() {
    bucket("PUT", "vanishing");
    let store = open_with("s3://vanishing/vault", &[]).unwrap();
    store.put("packs/a", bytes("a")).await.unwrap();
    store.delete("packs/a").await.unwrap();
    assert_eq!(store.stat("packs/a").await.unwrap_err().kind, Kind::NotFound);
    bucket("DELETE", "vanishing");
    for outcome in [
        store.get("packs/a", 9).await.map(drop),
        store.get_range("packs/a", 0..9).await.map(drop),
        store.get_tail("packs/a", 9).await.map(drop),
        store.stat("packs/a").await.map(drop),
        store.list("").await.map(drop),
        store.list("packs/").await.map(drop),
        store.put("packs/b", bytes("b")).await,
        store.replace("packs/a", bytes("b")).await,
        store.delete("packs/a").await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, Kind::Gone, "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_there_is_not_listed() {
    let (outer, inner) = (open("foreign"), open("foreign/in/side"));
    inner.put("a", bytes("a")).await.unwrap();
    let odd = open("foreign/odd%20folder");
    odd.put("b", bytes("b")).await.unwrap();
    open("foreign/.hidden").put("c", bytes("c")).await.unwrap();
    open("foreign/tmp").put("d", bytes("d")).await.unwrap();
    open("foreign-too").put("e", bytes("e")).await.unwrap();
    let listed = outer.list("").await.unwrap();
    assert_eq!(listed.iter().map(|object| &*object.name).collect::<Vec<_>>(), ["in/side/a"]);
}
