//! The store on a real Swift.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use services::Service;
use store::{SwiftCredentials, SwiftStore, conformance};

fn credentials(service: &Service) -> SwiftCredentials {
    SwiftCredentials::find(|name| name.starts_with("ST_").then(|| service.setting(name).to_owned())).unwrap()
}

async fn create(service: &Service, container: &str, prefix: &str) -> SwiftStore {
    SwiftStore::create(container, prefix, credentials(service)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let service = Service::start("swift");
    let store = create(&service, "contract", "").await;
    conformance::run(Arc::new(store)).await.unwrap();
}
