//! The store of Azure Blob Storage against Microsoft's emulator of it, Azurite.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::{Proxy, chain};
use services::Service;
use store::{Kind, Location, Store, StoreError, conformance};

/// One server for all tests here. It ends with the process, as its standard input does.
fn server() -> &'static Service {
    static SERVER: OnceLock<Service> = OnceLock::new();
    SERVER.get_or_init(|| Service::start("azurite"))
}

/// The account with its key.
const OWNER: [&str; 3] = ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SERVICE_ENDPOINT"];

/// Opens a location with settings that the service tells, and others.
fn open_with(location: &str, told: &[&str], others: &[(&str, &str)]) -> Result<Arc<dyn Store>, StoreError> {
    let look_up = |key: &str| {
        let other = others.iter().find(|other| other.0 == key).map(|other| other.1.to_owned());
        other.or_else(|| told.contains(&key).then(|| server().setting(key).to_owned()))
    };
    let opened = Location::parse(location).unwrap().open_with(&look_up);
    let key = server().setting("AZURE_STORAGE_KEY");
    match &opened {
        Ok(store) => assert!(!format!("{store:?} {}", store.location()).contains(key)),
        Err(error) => assert!(!format!("{error:?} {}", chain(error)).contains(key)),
    }
    opened
}

fn open(prefix: &str) -> Arc<dyn Store> {
    let location = format!("azblob://{}/{prefix}", server().setting("CONTAINER"));
    open_with(&location, &OWNER, &[]).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

async fn keeps_the_contract(store: Arc<dyn Store>) {
    let location = store.location();
    conformance::run(store).await.unwrap_or_else(|error| panic!("{location}: {}", chain(&error)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract() {
    keeps_the_contract(open("contract")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_below_odd_prefixes() {
    for prefix in ["a/b%20c", "%C3%A4%2B%26=;,", "100%25/it's"] {
        keeps_the_contract(open(prefix)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_ways_to_log_in() {
    let place = |name: &str| format!("azblob://{}/{name}", server().setting("CONTAINER"));
    let connection = ["AZURE_STORAGE_CONNECTION_STRING"];
    keeps_the_contract(open_with(&place("connection"), &connection, &[]).unwrap()).await;

    let without_key = ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_SERVICE_ENDPOINT"];
    let token = |name: &str| [("AZURE_STORAGE_SAS_TOKEN", server().setting(name))];
    keeps_the_contract(open_with(&place("shared"), &without_key, &token("SAS_FOR_ALL")).unwrap()).await;

    let bytes = || vec![Bytes::from_static(b"text")];
    open("read").put("a", bytes()).await.unwrap();
    let reader = open_with(&place("read"), &without_key, &token("SAS_FOR_READING")).unwrap();
    assert_eq!(reader.get("a", 9).await.unwrap(), "text");
    for outcome in
        [reader.put("b", bytes()).await, reader.replace("a", bytes()).await, reader.delete("a").await]
    {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, Kind::PermissionDenied, "{}", chain(&error));
        assert!(!chain(&error).contains("sig="), "{}", chain(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_not_allowed() {
    let error = open_with("azblob://no-such-container/x", &OWNER, &[]).unwrap_err();
    assert_eq!((error.kind, &*error.object), (Kind::NotFound, ""), "{}", chain(&error));
    let vaults = format!("azblob://{}/rights", server().setting("CONTAINER"));
    for changes in [
        [("AZURE_STORAGE_KEY", "bm90LXRoZS1zZWNyZXQ=")],
        [("AZURE_STORAGE_KEY", "no base64 at all!")],
        [("AZURE_STORAGE_ACCOUNT", "nobody")],
    ] {
        let error = open_with(&vaults, &OWNER, &changes).unwrap_err();
        assert_eq!(error.kind, Kind::PermissionDenied, "{changes:?} {}", chain(&error));
        assert!(!chain(&error).contains(changes[0].1) || changes[0].1 == "nobody", "{}", chain(&error));
    }
    let nowhere = [("AZURE_STORAGE_SERVICE_ENDPOINT", "http://127.0.0.1:9/tester")];
    let error = open_with(&vaults, &OWNER, &nowhere).unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_one_request() {
    let url = server().setting("AZURE_STORAGE_SERVICE_ENDPOINT").strip_prefix("http://").unwrap();
    let (host, account) = url.split_once('/').unwrap();
    let proxy = Proxy::to(host).await;
    let endpoint = format!("{}/{account}", proxy.url());
    let location = format!("azblob://{}/counts", server().setting("CONTAINER"));
    let store = open_with(&location, &OWNER, &[("AZURE_STORAGE_SERVICE_ENDPOINT", &endpoint)]).unwrap();
    assert_eq!(proxy.requests(), 1, "opening");
    let bytes = || vec![Bytes::from_static(b"0123456789")];
    for (what, outcome) in [
        ("put", store.put("a", bytes()).await.map(drop)),
        ("put again", store.put("a", bytes()).await.map(drop)),
        ("replace", store.replace("a", bytes()).await.map(drop)),
        ("get", store.get("a", 10).await.map(drop)),
        ("get_range", store.get_range("a", 2..5).await.map(drop)),
        ("stat", store.stat("a").await.map(drop)),
        ("list", store.list("").await.map(drop)),
        ("delete", store.delete("a").await.map(drop)),
    ] {
        outcome.unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
    }
    assert_eq!(proxy.requests(), 8, "eight calls");
}
