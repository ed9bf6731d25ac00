//! URLs for those who have no credentials.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::grant::{GrantStore, Granted, Granter, GuardedMint, Mint, Permission, Policy, Settle, VALID_MAX};
use store::{Kind, Store, SwiftStore};

use super::proxy::{Fault, Proxy};
use super::{address, bytes, chain, create, credentials, request, shared};

const MINUTE: Duration = Duration::from_secs(60);

/// Whoever may add below `conformance/` and `new/`, and read everything.
#[derive(Debug)]
struct Adder;

impl Policy for Adder {
    fn allows(&self, permission: Permission, name: &str) -> bool {
        match permission {
            Permission::Put => {
                ["conformance/", "new/", "leases/"].iter().any(|folder| name.starts_with(folder))
            }
            Permission::Replace => name.starts_with("leases/"),
            Permission::Get | Permission::Head => true,
        }
    }

    fn allows_listing(&self, _: &str) -> bool {
        true
    }
}

/// A store by grants on `store`.
fn by_grants(store: SwiftStore, valid_for: Duration) -> (Arc<dyn Store>, Arc<GuardedMint>) {
    let granter = Arc::new(GuardedMint::new(Arc::new(store), Arc::new(Adder), valid_for));
    (GrantStore::open(granter.clone(), None).unwrap(), granter)
}

#[tokio::test]
async fn a_grant_allows_one_thing_for_some_time() {
    let service = shared();
    // The account has a key; the container gets its own below.
    let store = create(&service, "grants", "ä b").await;
    store.put("a", bytes("text")).await.unwrap();
    let server = address(&service);
    let ask = |url: &str, method: &str, headers: &[(&str, &str)]| {
        let path = url.strip_prefix(&format!("http://{server}")).unwrap().to_owned();
        request(server, method, &path, headers).lines().next().unwrap()[9..12].to_owned()
    };
    let once = [("If-None-Match", "*")];
    for round in 0..2 {
        let get = store.grant(Permission::Get, "a", MINUTE).await.unwrap();
        assert!(get.headers.is_empty() && !format!("{get:?}").contains("temp_url_sig"));
        let get = get.url;
        assert_eq!(ask(&get, "GET", &[]), "200");
        assert_eq!(ask(&get, "GET", &[("Range", "bytes=1-2")]), "206");
        assert_eq!(ask(&get, "HEAD", &[]), "200");
        for method in ["PUT", "POST", "DELETE", "COPY"] {
            assert_eq!(ask(&get, method, &[]), "401", "{method}");
        }
        assert_eq!(ask(&get.replace("/a?", "/b?"), "GET", &[]), "401");
        let head = store.grant(Permission::Head, "a", MINUTE).await.unwrap().url;
        assert_eq!((ask(&head, "HEAD", &[]), ask(&head, "GET", &[])), ("200".to_owned(), "401".to_owned()));

        let name = format!("new-{round}");
        let put = store.grant(Permission::Put, &name, MINUTE).await.unwrap();
        assert!(put.headers.contains(&("if-none-match".to_owned(), "*".to_owned())));
        let put = put.url;
        assert_eq!(ask(&put, "PUT", &once), "201");
        assert_eq!(ask(&put, "PUT", &once), "412");
        for method in ["GET", "POST", "DELETE", "COPY"] {
            assert_eq!(ask(&put, method, &[]), "401", "{method}");
        }
        assert_eq!(ask(&put.replace("/new-", "/old-"), "PUT", &once), "401");
        assert_eq!(store.stat(&name).await.unwrap().size, 0);

        let short = store.grant(Permission::Get, "a", Duration::from_millis(600)).await.unwrap();
        let late = store.grant(Permission::Put, "late", Duration::from_secs(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(short.expires < SystemTime::now());
        assert_eq!((ask(&short.url, "GET", &[]), ask(&late.url, "PUT", &[])), ("401".into(), "401".into()));

        // The key of the container comes before that of the account, and a new one ends what the old one signed.
        store.renew_grant_key().await.unwrap();
        let expected = if round == 0 { "200" } else { "401" };
        assert_eq!(ask(&get, "GET", &[]), expected);
    }
    for too_long in [Duration::ZERO, VALID_MAX + MINUTE] {
        assert_eq!(store.grant(Permission::Get, "a", too_long).await.unwrap_err().kind, Kind::Other);
    }
    assert_eq!(store.grant(Permission::Get, "../a", MINUTE).await.unwrap_err().kind, Kind::InvalidName);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_by_grants_keeps_the_contract() {
    let service = shared();
    let keeper = create(&service, "by-grants", "ä b").await;
    let (store, granter) = by_grants(create(&service, "by-grants", "ä b").await, MINUTE);
    store::conformance::append_only(store.clone(), &keeper)
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    // What the policy does not allow, and what it does.
    assert_eq!(store.put("other/a", bytes("x")).await.unwrap_err().kind, Kind::PermissionDenied);
    store.replace("leases/a", bytes("1")).await.unwrap();
    store.replace("leases/a", bytes("2")).await.unwrap();
    store.put("leases/c", bytes("1")).await.unwrap();
    store.replace("leases/c", bytes("2")).await.unwrap();
    // What somebody else has put cannot be replaced, also not by who says that it is new.
    keeper.put("leases/b", bytes("1")).await.unwrap();
    store.put("leases/b", bytes("2")).await.unwrap();
    assert_eq!(store.replace("leases/b", bytes("2")).await.unwrap_err().kind, Kind::PermissionDenied);
    assert_eq!(store.get("leases/b", 1).await.unwrap(), "1");
    assert_eq!(store.get("leases/a", 1).await.unwrap(), "2");
    let end = granter.close().unwrap();
    assert!(end > SystemTime::now() + MINUTE / 2 && end < SystemTime::now() + MINUTE * 2);
    for refused in [store.put("new/late", bytes("x")).await, store.replace("leases/a", bytes("3")).await] {
        assert_eq!(refused.unwrap_err().kind, Kind::PermissionDenied);
    }
    assert_eq!(store.get("leases/a", 1).await.unwrap(), "2");
    assert_eq!(granter.close(), Some(end));
}

/// A grant that ended while it was kept is exchanged, and one to write is always fresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ended_is_exchanged() {
    let service = shared();
    let proxy = Proxy::start(address(&service), false);
    let through = SwiftStore::create("exchanged", "", credentials(&service, &proxy.address)).await.unwrap();
    through.put("a", bytes("text")).await.unwrap();
    let (store, _) = by_grants(through, MINUTE);
    let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 24\r\n\r\nTemp URL invalid, indeed";
    let object = "/v1/AUTH_test/exchanged/a";
    let asked = |method: &str| {
        let seen = proxy.take_seen();
        seen.iter().filter(|line| **line == format!("{method} {object}")).count()
    };
    proxy.take_seen();
    store.get("a", 4).await.unwrap();
    store.get_range("a", 1..3).await.unwrap();
    assert_eq!(asked("GET"), 2);
    proxy.inject("GET", Fault::Answer(refused));
    assert_eq!(store.get("a", 4).await.unwrap(), "text");
    assert_eq!(asked("GET"), 2, "once more with a new grant");
    proxy.inject("GET", Fault::Answer(refused));
    proxy.inject("GET", Fault::Answer(refused));
    let error = store.get("a", 4).await.unwrap_err();
    assert_eq!((error.kind, asked("GET")), (Kind::PermissionDenied, 2), "and not again");
    assert!(chain(&error).contains("Temp URL invalid") && !chain(&error).contains("temp_url_sig"));
    for twice in [false, true] {
        let name = format!("new/{twice}");
        proxy.inject("PUT", Fault::Answer(refused));
        if twice {
            proxy.inject("PUT", Fault::Answer(refused));
        }
        let outcome = store.put(&name, vec![vec![7; 3_000_000].into()]).await;
        assert_eq!(
            outcome.map_err(|error| error.kind),
            if twice { Err(Kind::PermissionDenied) } else { Ok(()) }
        );
        assert!(proxy.is_spent());
    }
    // Bytes that were changed on their way are refused.
    proxy.inject("PUT", Fault::Corrupt);
    assert_eq!(store.put("new/bad", bytes("some text")).await.unwrap_err().kind, Kind::Unavailable);
    store.put("new/bad", bytes("some text")).await.unwrap();
    assert_eq!(store.get("new/bad", 9).await.unwrap(), "some text");
}

/// In Swift a grant to put lets its holder replace the object, so none is given for what is there.
#[tokio::test(flavor = "multi_thread")]
async fn no_grant_is_given_for_what_is_there() {
    let service = shared();
    let store = create(&service, "there", "").await;
    store.put("new/a", bytes("text")).await.unwrap();
    let (_, granter) = by_grants(store, MINUTE);
    assert_eq!(granter.grant(Permission::Put, "new/a").await.unwrap(), Granted::AlreadyThere);
    let Granted::Grant(grant) = granter.grant(Permission::Put, "new/b").await.unwrap() else {
        panic!("no grant")
    };
    let error = granter.grant(Permission::Replace, "new/a").await.unwrap_err();
    assert_eq!(error.kind, Kind::PermissionDenied);
    assert_eq!(granter.close(), Some(grant.expires));
}

/// An upload that began before its grant ended may come to its end at any time after it. Settling throws it away.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_held_open_changes_nothing_once_settled() {
    use std::io::{Read, Write};
    let service = shared();
    let store = create(&service, "held", "p q").await;
    let server = address(&service);
    for settles in [false, true] {
        let name = format!("object-{settles}");
        store.put(&name, bytes("honest")).await.unwrap();
        let grant = store.grant(Permission::Put, &name, Duration::from_secs(5)).await.unwrap();
        let path = grant.url.strip_prefix(&format!("http://{server}")).unwrap();
        let mut thief = std::net::TcpStream::connect(server).unwrap();
        write!(
            thief,
            "PUT {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nth"
        )
        .unwrap();
        // Until the grant has ended for sure, by a clock of whole seconds.
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(request(server, "PUT", path, &[]).starts_with("HTTP/1.1 401"));
        assert_eq!(store.get(&name, 10).await.unwrap(), "honest");
        if settles {
            store.settle(&name).await.unwrap();
        }
        thief.write_all(b"ief").unwrap();
        let mut answer = String::new();
        thief.read_to_string(&mut answer).unwrap();
        let left = store.get(&name, 10).await.unwrap();
        // The first round shows that settling is needed: the server takes it although the grant has ended.
        assert_eq!(left, if settles { "honest" } else { "thief" }, "{answer}");
    }
    assert_eq!(store.settle("nothing").await.unwrap_err().kind, Kind::NotFound);
}

/// A thief may put the very bytes that should be there, and say that Swift shall remove them later.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_came_with_a_write_is_gone_once_settled() {
    let service = shared();
    let store = create(&service, "ending", "").await;
    let server = address(&service);
    for settles in [false, true] {
        let name = format!("object-{settles}");
        let grant = store.grant(Permission::Put, &name, MINUTE).await.unwrap();
        let path = grant.url.strip_prefix(&format!("http://{server}")).unwrap();
        let answer = request(server, "PUT", path, &[("X-Delete-After", "6"), ("X-Object-Meta-A", "b")]);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        assert_eq!(store.stat(&name).await.unwrap().size, 0);
        if settles {
            store.settle(&name).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
        // The first round shows that settling is needed.
        let left = store.stat(&name).await.map(|found| found.size).map_err(|error| error.kind);
        assert_eq!(left, if settles { Ok(0) } else { Err(Kind::NotFound) });
    }
}
