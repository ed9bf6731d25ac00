//! What lies between us and Swift: bytes that are cut, changed, late or nonsense. Under `Retrying` all calls succeed
//! with the right bytes; without it each says what can be done about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use services::Service;
use store::{Kind, Patience, Retrying, Store, SwiftStore};

use super::proxy::{Fault, Proxy};
use super::{address, bytes, chain, credentials, noise, shared};

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy";
const EXISTS: &str = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

async fn through(service: &Service, proxy: &Proxy, container: &str) -> SwiftStore {
    let store = SwiftStore::create(container, "p", credentials(service, &proxy.address)).await.unwrap();
    store.with_idle_timeout(Duration::from_millis(1500))
}

fn patient(store: SwiftStore) -> Retrying {
    let patience = Patience {
        pause_first: Duration::from_millis(10),
        pause_max: Duration::from_millis(100),
        deadline: Duration::from_secs(60),
    };
    Retrying::new(Arc::new(store), patience)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_arrive_whole_in_the_end() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = patient(through(&service, &proxy, "uploads").await);
    let parts = noise(3_000_000);
    let whole = parts.concat();
    let faults = [
        Fault::Delay(Duration::from_millis(300)),
        Fault::CutUpload(0),
        Fault::CutUpload(1_500_000),
        Fault::Corrupt,
        Fault::Answer(BUSY),
        Fault::AnswerEarly(BUSY),
        Fault::Answer("HTTP/1.1 498 Rate limited\r\nContent-Length: 0\r\n\r\n"),
        Fault::Answer("HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"),
        Fault::Answer("HTTP/1.1 banana\r\n\r\n"),
        Fault::Answer(""),
        Fault::Lose,
        Fault::Silence,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        for (name, replaces) in [(format!("put-{number}"), false), (format!("replace-{number}"), true)] {
            proxy.inject("PUT", fault.clone());
            if replaces {
                store.replace(&name, parts.clone()).await.unwrap();
            } else {
                store.put(&name, parts.clone()).await.unwrap();
            }
            assert!(proxy.is_spent());
            assert!(store.get(&name, 3_000_000).await.unwrap() == whole, "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_arrive_whole_in_the_end() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = patient(through(&service, &proxy, "downloads").await);
    let parts = noise(3_000_000);
    let whole = parts.concat();
    store.put("object", parts).await.unwrap();
    for fault in [
        Fault::Delay(Duration::from_millis(300)),
        Fault::CutDownload(0),
        Fault::CutDownload(1_000),
        Fault::Answer(BUSY),
        Fault::Answer("HTTP/1.1 504 Gateway Timeout\r\n\r\n<html><b>no</b>"),
        Fault::Answer("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\nthe beginning"),
        Fault::Answer("no HTTP at all\r\n\r\n"),
        Fault::Silence,
    ] {
        // A tail, a range, all, a listing.
        let inject = || proxy.inject("GET", fault.clone());
        inject();
        assert!(
            store.get_tail("object", 2_000_000).await.unwrap()
                == (whole[1_000_000..].to_vec().into(), 3_000_000)
        );
        inject();
        assert!(store.get_range("object", 5..2_000_005).await.unwrap() == whole[5..2_000_005]);
        inject();
        assert!(store.get("object", 3_000_000).await.unwrap() == whole);
        if !matches!(fault, Fault::Answer(text) if text.starts_with("HTTP/1.1 200")) {
            inject();
            assert_eq!(store.list("").await.unwrap().len(), 1);
        }
        assert!(proxy.is_spent(), "{fault:?}");
    }
}

/// A server may refuse an object that it has without taking its bytes, and the refusal may be lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_exists_is_no_failure_however_it_is_said() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = through(&service, &proxy, "exists").await;
    let parts = noise(20_000_000);
    store.put("object", parts.clone()).await.unwrap();
    for _ in 0..3 {
        proxy.inject("PUT", Fault::AnswerEarly(EXISTS));
        store.put("object", parts.clone()).await.unwrap();
    }
    proxy.inject("PUT", Fault::CutUpload(10_000));
    store.put("object", parts.clone()).await.unwrap();
    // One that is not there is a failure: nothing was stored.
    proxy.inject("PUT", Fault::CutUpload(10_000));
    assert_eq!(store.put("absent", parts.clone()).await.unwrap_err().kind, Kind::Unavailable);
    proxy.inject("PUT", Fault::CutUpload(10_000));
    assert_eq!(store.replace("object", parts).await.unwrap_err().kind, Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_says_what_it_is() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = through(&service, &proxy, "failures").await;
    store.put("a", bytes("0123456789")).await.unwrap();

    proxy.inject("PUT", Fault::Corrupt);
    let error = store.put("b", bytes("text")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{}", chain(&error));
    assert_eq!(store.stat("b").await.unwrap_err().kind, Kind::NotFound);

    proxy.inject(
        "GET",
        Fault::Answer("HTTP/1.1 429 Slow Down\r\nRetry-After: 77\r\nContent-Length: 0\r\n\r\n"),
    );
    let error = store.get("a", 10).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::Unavailable, Some(Duration::from_secs(77))));

    for (answer, kind) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Kind::PermissionDenied),
        ("HTTP/1.1 413 Too Large\r\nContent-Length: 15\r\n\r\nUpload exceeds.", Kind::NoSpace),
        ("HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n", Kind::NoSpace),
        ("HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", Kind::Other),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Kind::Gone),
    ] {
        proxy.inject("PUT", Fault::Answer(answer));
        let error = store.put("b", bytes("text")).await.unwrap_err();
        assert_eq!(error.kind, kind, "{}", chain(&error));
    }

    // A server that knows no ranges.
    proxy.inject("GET", Fault::Without("range"));
    assert_eq!(store.get_range("a", 2..5).await.unwrap(), "234");
    proxy.inject("GET", Fault::Without("range"));
    assert_eq!(store.get_range("a", 8..11).await.unwrap_err().kind, Kind::Truncated);
    proxy.inject("GET", Fault::Without("range"));
    assert_eq!(store.get_tail("a", 3).await.unwrap(), ("789".into(), 10));

    for (answer, kind) in [
        ("HTTP/1.1 206 P\r\nContent-Length: 3\r\n\r\n234", Kind::Other),
        ("HTTP/1.1 206 P\r\nContent-Range: bytes 1-3/10\r\nContent-Length: 3\r\n\r\n123", Kind::Other),
        ("HTTP/1.1 206 P\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 2\r\n\r\n23", Kind::Truncated),
        ("HTTP/1.1 206 P\r\nContent-Range: bytes 2-3/4\r\nContent-Length: 2\r\n\r\n23", Kind::Truncated),
        ("HTTP/1.1 416 R\r\nContent-Length: 0\r\n\r\n", Kind::Truncated),
    ] {
        proxy.inject("GET", Fault::Answer(answer));
        let error = store.get_range("a", 2..5).await.unwrap_err();
        assert_eq!(error.kind, kind, "{answer}: {}", chain(&error));
    }

    // More than the caller allows, announced or not. What is announced is not believed before it is there.
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n0123",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789ab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n0123456789ab\r\n0\r\n\r\n",
    ] {
        proxy.inject("GET", Fault::Answer(answer));
        assert_eq!(store.get("a", 10).await.unwrap_err().kind, Kind::TooLarge, "{answer}");
    }
    proxy.inject("GET", Fault::Answer("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n0123"));
    assert_eq!(store.get("a", u64::MAX).await.unwrap_err().kind, Kind::Unavailable);

    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\"",
        "HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n[{\"name\":\"p/\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n[{\"name\":\"p/a\"}]",
    ] {
        proxy.inject("GET", Fault::Answer(answer));
        assert_eq!(store.list("").await.unwrap_err().kind, Kind::Other, "{answer}");
    }

    // Nobody there.
    let start = Instant::now();
    proxy.inject("GET", Fault::Silence);
    let error = store.get("a", 10).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(start.elapsed() < Duration::from_secs(5));
    let error = SwiftStore::open("a", "", credentials(&service, "127.0.0.1:1")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_time_gets_it() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = patient(through(&service, &proxy, "waits").await);
    proxy.inject("PUT", Fault::Answer(BUSY));
    let start = Instant::now();
    store.put("a", bytes("text")).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
}

/// An upload whose token ended is hung up on, and the refusal is lost. No call fails for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_during_an_upload() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = through(&service, &proxy, "ends").await;
    let parts = noise(20_000_000);
    let whole = parts.concat();
    for round in 0..3 {
        for (name, replaces) in [(format!("put-{round}"), false), (format!("replace-{round}"), true)] {
            proxy.revoke_tokens();
            if replaces {
                store.replace(&name, parts.clone()).await.unwrap();
            } else {
                store.put(&name, parts.clone()).await.unwrap();
            }
            assert!(store.get(&name, 20_000_000).await.unwrap() == whole);
        }
    }
}

/// Sixteen calls at once find the token refused; one login serves them all.
#[tokio::test(flavor = "multi_thread")]
async fn one_login_for_many_calls() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let store = Arc::new(through(&service, &proxy, "logins").await);
    store.put("a", bytes("text")).await.unwrap();
    proxy.take_seen();
    proxy.revoke_tokens();
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.stat("a").await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(proxy.take_seen().iter().filter(|seen| seen.contains("/auth/")).count(), 1);
}
