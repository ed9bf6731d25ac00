//! The store on a real Swift, directly and through a proxy that misbehaves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod grants;
mod keystone;
mod proxy;
mod server;
mod survey;
mod versions;

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use services::Service;
use store::{Store, SwiftCredentials, SwiftStore};

/// One server for all tests that run at the same time; it ends with the last of them.
fn shared() -> Arc<Service> {
    static SHARED: Mutex<Weak<Service>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let service = Arc::new(Service::start("swift"));
        *shared = Arc::downgrade(&service);
        service
    })
}

/// The variables for a login at `address`, which is the server or a proxy before it.
fn credentials(service: &Service, address: &str) -> SwiftCredentials {
    SwiftCredentials::find(|name| match name {
        "ST_AUTH" => Some(format!("http://{address}/auth/v1.0")),
        "ST_USER" | "ST_KEY" => Some(service.setting(name).to_owned()),
        _ => None,
    })
    .unwrap()
}

/// `HOST:PORT` of the server.
fn address(service: &Service) -> &str {
    service.setting("S3_ENDPOINT").strip_prefix("http://").unwrap()
}

async fn create(service: &Service, container: &str, prefix: &str) -> SwiftStore {
    SwiftStore::create(container, prefix, credentials(service, address(service))).await.unwrap()
}

/// A request by hand. Returns the head of the answer.
fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split("\r\n\r\n").next().unwrap().to_owned()
}

/// A token of the server itself.
fn token(service: &Service) -> String {
    let user = [("X-Auth-User", service.setting("ST_USER")), ("X-Auth-Key", service.setting("ST_KEY"))];
    let head = request(address(service), "GET", "/auth/v1.0", &user);
    let line = head.lines().find_map(|line| line.strip_prefix("X-Auth-Token: "));
    line.unwrap_or_else(|| panic!("{head}")).to_owned()
}

/// Changes something in the account behind the store's back.
fn meddle(service: &Service, method: &str, path: &str) {
    let path = format!("/v1/AUTH_test/{path}");
    let head = request(address(service), method, &path, &[("X-Auth-Token", &token(service))]);
    assert!(head.starts_with("HTTP/1.1 20"), "{method} {path}: {head}");
}

fn bytes(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

/// Bytes that no compression and no coincidence can fake, in parts of uneven lengths.
fn noise(length: usize) -> Vec<Bytes> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let whole = Bytes::from((0..length).map(|_| next()).collect::<Vec<_>>());
    (0..length).step_by(100_003).map(|start| whole.slice(start..length.min(start + 100_003))).collect()
}

async fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|object| object.name).collect()
}

/// The error and all its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
