//! The SFTP store against a real OpenSSH server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::chain;
use services::Service;
use store::{Kind, Location, Store, StoreError};
use tokio::task::JoinSet;

/// One server for all tests here. It ends with the process, as its standard input does.
fn server() -> &'static Service {
    static SERVER: OnceLock<Service> = OnceLock::new();
    SERVER.get_or_init(|| Service::start("sftp"))
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(server().setting("FILES")).join(name)
}

fn location(name: &str) -> Location {
    let [user, host, port] = ["USER", "HOST", "PORT"].map(|key| server().setting(key));
    Location::parse(&format!("sftp://{user}@{host}:{port}{}", folder(name).display())).unwrap()
}

fn open_as(name: &str, config: &str) -> Result<Arc<dyn Store>, StoreError> {
    location(name)
        .open_with(&|key| (key == "STRONGROOM_SSH_CONFIG").then(|| server().setting(config).to_owned()))
}

fn create(name: &str) -> Arc<dyn Store> {
    let config =
        |key: &str| (key == "STRONGROOM_SSH_CONFIG").then(|| server().setting("SSH_CONFIG").to_owned());
    location(name).create_with(&config).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn bytes(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract() {
    let store = create("deep/er/contract");
    for _ in 0..2 {
        store::conformance::run(store.clone()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
    assert_eq!(std::fs::read_dir(folder("deep/er/contract/tmp")).unwrap().count(), 0, "left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn opening() {
    let error = open_as("missing", "SSH_CONFIG").unwrap_err();
    assert_eq!((error.kind, &*error.object), (Kind::NotFound, ""), "{}", chain(&error));
    drop(create("rights"));
    for config in ["SSH_CONFIG_OF_STRANGER", "SSH_CONFIG_WITHOUT_HOST"] {
        let error = open_as("rights", config).unwrap_err();
        assert_eq!(error.kind, Kind::PermissionDenied, "{}", chain(&error));
    }
    let nobody = Location::parse("sftp://127.0.0.1:9/srv").unwrap();
    assert_eq!(nobody.open_with(&|_| None).unwrap_err().kind, Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_vanishes_is_gone_and_stays_so() {
    let store = create("vanishing");
    store.put("packs/a", bytes("a")).await.unwrap();
    std::fs::rename(folder("vanishing"), folder("moved")).unwrap();
    for outcome in [
        store.get("packs/a", 9).await.map(drop),
        store.stat("packs/a").await.map(drop),
        store.list("").await.map(drop),
        store.list("packs/").await.map(drop),
        store.put("packs/b", bytes("b")).await,
        store.put("new/b", bytes("b")).await,
        store.replace("packs/a", bytes("b")).await,
        store.delete("packs/a").await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, Kind::Gone, "{}", chain(&error));
    }
    assert!(!folder("vanishing").exists());
    std::fs::rename(folder("moved"), folder("vanishing")).unwrap();
    assert_eq!(store.get("packs/a", 9).await.unwrap(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_of_one_name_and_a_large_object() {
    let store = create("eight");
    let mut tasks = JoinSet::new();
    for fill in 0..8_u8 {
        let store = store.clone();
        tasks.spawn(async move { store.put("raced", vec![Bytes::from(vec![fill; 3_000_000]); 5]).await });
    }
    for outcome in tasks.join_all().await {
        outcome.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
    let found = store.get("raced", u64::MAX).await.unwrap();
    assert!(found.len() == 15_000_000 && found.iter().all(|byte| *byte == found[0]));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(folder("eight/raced").metadata().unwrap().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_the_store_leaves_no_folder_behind() {
    drop(create("tested"));
    let config =
        |key: &str| (key == "STRONGROOM_SSH_CONFIG").then(|| server().setting("SSH_CONFIG").to_owned());
    let (store, surveyed) = location("tested").open_surveyed_with(&config).unwrap();
    let tried = store::probe::probe(&*store, &*surveyed).await.tried;
    assert!(tried.iter().all(|tried| tried.problem.is_none()), "{tried:?}");
    let left: Vec<_> =
        std::fs::read_dir(folder("tested")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tmp"]);
}
