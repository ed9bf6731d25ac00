//! The WebDAV store against a real Apache.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::chain;
use services::Service;
use store::{Kind, Location, Store, StoreError};

/// One server for all tests here. It ends with the process, as its standard input does.
fn server() -> &'static Service {
    static SERVER: OnceLock<Service> = OnceLock::new();
    SERVER.get_or_init(|| Service::start("webdav"))
}

fn with(folder: &str, password: Option<&str>, creates: bool) -> Result<Arc<dyn Store>, StoreError> {
    let location = Location::parse(&format!("webdav://{}/{folder}", server().setting("HOST"))).unwrap();
    let look_up = |key: &str| match key {
        "WEBDAV_PASSWORD" => Some(password.unwrap_or(server().setting(key)).to_owned()),
        "WEBDAV_USERNAME" => Some(server().setting(key).to_owned()),
        _ => None,
    };
    if creates { location.create_with(&look_up) } else { location.open_with(&look_up) }
}

fn create(folder: &str) -> Arc<dyn Store> {
    with(folder, None, true).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_of_one_client() {
    // Without the races of the suite: Apache removes an object before it moves another to its place.
    let store = create("deep/er%20odd/contract");
    let store = &*store;
    for _ in 0..2 {
        let outcome = async {
            store::conformance::fill(store).await?;
            store::conformance::fill(store).await?;
            store::conformance::reads(store).await?;
            store::conformance::clean(store).await
        };
        outcome.await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
    let name = "conformance/replaced";
    for text in ["one", "two"] {
        store.replace(name, vec![Bytes::from_static(text.as_bytes())]).await.unwrap();
        store.put(name, vec![Bytes::from_static(b"kept out")]).await.unwrap();
        assert_eq!(store.get(name, 9).await.unwrap(), text);
    }
    store.delete("conformance").await.unwrap();
    assert!(store.put("conformance", Vec::new()).await.is_err());
    store.delete(name).await.unwrap();
    let left = PathBuf::from(server().setting("FILES")).join("deep/er odd/contract/tmp");
    let left = std::fs::read_dir(left).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(left.count(), 0, "left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn opening() {
    let error = with("missing", None, false).unwrap_err();
    assert_eq!((error.kind, &*error.object), (Kind::NotFound, ""), "{}", chain(&error));
    let error = with("missing", Some("hunter2"), false).unwrap_err();
    assert_eq!(error.kind, Kind::PermissionDenied, "{}", chain(&error));
    assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_vanishes_is_gone_and_stays_so() {
    let store = create("vanishing");
    let bytes = || vec![Bytes::from_static(b"a")];
    store.put("packs/a", bytes()).await.unwrap();
    let folder = PathBuf::from(server().setting("FILES")).join("vanishing");
    std::fs::remove_dir_all(&folder).unwrap();
    for outcome in [
        store.get("packs/a", 9).await.map(drop),
        store.stat("packs/a").await.map(drop),
        store.list("").await.map(drop),
        store.list("packs/").await.map(drop),
        store.put("packs/b", bytes()).await,
        store.replace("packs/a", bytes()).await,
        store.delete("packs/a").await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, Kind::Gone, "{}", chain(&error));
    }
    assert!(!folder.exists());
}
