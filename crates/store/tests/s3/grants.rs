//! URLs for those who have no credentials.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::grant::{Grant, GrantStore, Granted, Granter, GuardedMint, Mint, Permission, Policy, VALID_MAX};
use store::{Kind, Location};

use super::common::chain;
use super::{SECRET, bytes, gateway, open, settings};

const MINUTE: Duration = Duration::from_secs(60);

/// Whoever may add below `conformance/` and read everything.
#[derive(Debug)]
struct Adder;

impl Policy for Adder {
    fn allows(&self, permission: Permission, name: &str) -> bool {
        match permission {
            Permission::Put => name.starts_with("conformance/") || name.starts_with("leases/"),
            Permission::Replace => name.starts_with("leases/"),
            Permission::Get | Permission::Head => true,
        }
    }

    fn allows_listing(&self, _: &str) -> bool {
        true
    }
}

fn mint(prefix: &str) -> Arc<dyn Mint> {
    let location = format!("s3://{}/{prefix}", gateway().setting("BUCKET"));
    Location::parse(&location).unwrap().open_mint_with(&settings(&[])).unwrap()
}

/// The status of the answer to a request by `curl`, which knows nothing of grants.
fn ask(grant: &Grant, method: &str, with_headers: bool, changes: &[&str]) -> String {
    let mut command = std::process::Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]);
    match method {
        "HEAD" => command.arg("--head"),
        "PUT" | "POST" => command.args(["-X", method, "--data-binary", "thief", "-H", "content-type:"]),
        _ => command.args(["-X", method]),
    };
    for (name, value) in grant.headers.iter().filter(|_| with_headers) {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let output = command.args(changes).arg(&grant.url).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_allows_one_thing_for_some_time() {
    let store = mint("grants/a b");
    store.put("a", bytes("text")).await.unwrap();
    let get = store.grant(Permission::Get, "a", MINUTE).await.unwrap();
    assert!(!format!("{get:?} {store:?}").contains("Signature") && !get.url.contains(SECRET));
    assert_eq!(ask(&get, "GET", true, &[]), "200");
    assert_eq!(ask(&get, "GET", true, &["-H", "Range: bytes=1-2"]), "206");
    for method in ["HEAD", "PUT", "POST", "DELETE"] {
        assert_eq!(ask(&get, method, true, &[]), "403", "{method}");
    }
    let elsewhere = Grant { url: get.url.replace("/a?", "/b?"), ..get.clone() };
    assert_ne!(elsewhere.url, get.url);
    assert_eq!(ask(&elsewhere, "GET", true, &[]), "403");
    let head = store.grant(Permission::Head, "a", MINUTE).await.unwrap();
    assert_eq!((ask(&head, "HEAD", true, &[]), ask(&head, "GET", true, &[])), ("200".into(), "403".into()));

    let put = store.grant(Permission::Put, "new", MINUTE).await.unwrap();
    assert!(put.headers.contains(&("if-none-match".to_owned(), "*".to_owned())));
    assert!(put.expires > SystemTime::now() + MINUTE / 2 && put.expires < SystemTime::now() + MINUTE * 2);
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        assert_eq!(ask(&put, method, true, &[]), "403", "{method}");
    }
    let elsewhere = Grant { url: put.url.replace("/new?", "/a?"), ..put.clone() };
    assert_eq!(ask(&elsewhere, "PUT", true, &[]), "403");
    let longer = Grant { url: put.url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), ..put.clone() };
    assert_ne!(longer.url, put.url);
    assert_eq!(ask(&longer, "PUT", true, &[]), "403");
    assert_eq!(store.stat("new").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(ask(&put, "PUT", true, &[]), "200");

    let short = store.grant(Permission::Get, "a", Duration::from_millis(600)).await.unwrap();
    let late = store.grant(Permission::Put, "late", Duration::from_secs(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(late.expires < SystemTime::now());
    assert_eq!((ask(&short, "GET", true, &[]), ask(&late, "PUT", true, &[])), ("403".into(), "403".into()));
    assert_eq!(store.stat("late").await.unwrap_err().kind, Kind::NotFound);

    for refused in [Duration::ZERO, VALID_MAX + MINUTE] {
        assert_eq!(store.grant(Permission::Get, "a", refused).await.unwrap_err().kind, Kind::Other);
    }
    assert_eq!(store.grant(Permission::Get, "../a", MINUTE).await.unwrap_err().kind, Kind::InvalidName);
}

/// Whoever has a grant to put can create the object and can do nothing to one that exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_thief_of_a_grant_to_put_replaces_nothing() {
    let store = mint("thief");
    let put = store.grant(Permission::Put, "pack", MINUTE).await.unwrap();
    store.put("pack", bytes("honest")).await.unwrap();
    assert_eq!(ask(&put, "PUT", true, &[]), "412");
    // The condition left out, emptied, or turned around: the signature does not hold.
    assert_eq!(ask(&put, "PUT", false, &[]), "403");
    for condition in ["If-None-Match;", "If-None-Match: \"other\"", "If-Match: *"] {
        assert_eq!(ask(&put, "PUT", false, &["-H", condition]), "403", "{condition}");
    }
    // Two of them.
    let status = ask(&put, "PUT", true, &["-H", "If-None-Match: \"other\""]);
    assert!(["400", "403", "412"].contains(&&*status), "{status}");
    for method in ["DELETE", "POST", "GET"] {
        assert_eq!(ask(&put, method, true, &[]), "403", "{method}");
    }
    let get = store.grant(Permission::Get, "pack", MINUTE).await.unwrap();
    let head = store.grant(Permission::Head, "pack", MINUTE).await.unwrap();
    for grant in [get, head] {
        for method in ["PUT", "DELETE", "POST"] {
            assert_eq!(ask(&grant, method, true, &[]), "403", "{method}");
        }
    }
    store.settle("pack").await.unwrap();
    assert_eq!(store.get("pack", 10).await.unwrap(), "honest");
}

/// Ceph's gateway takes a header that makes a copy of a request to put, whether it was signed or not, and forgets the
/// condition. That is why no grant is given for what is there, and why grants are outlived before a confirmation. If
/// this fails because the gateway refuses it, that is good news for `store::grant`.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_to_put_is_one_to_copy_in_ceph() {
    let store = mint("copies");
    store.put("other", bytes("from elsewhere")).await.unwrap();
    let copy = format!("x-amz-copy-source: /{}/copies/other", gateway().setting("BUCKET"));
    store.put("pack", bytes("honest")).await.unwrap();
    let put = store.grant(Permission::Put, "pack", Duration::from_secs(8)).await.unwrap();
    assert_eq!(ask(&put, "PUT", true, &["-H", &copy]), "200");
    assert_eq!(store.get("pack", 99).await.unwrap(), "from elsewhere");
    store.replace("pack", bytes("honest")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(ask(&put, "PUT", true, &["-H", &copy]), "403");
    assert_eq!(store.get("pack", 99).await.unwrap(), "honest");
}

/// No header makes an object end by itself: there is nothing to settle.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_does_not_end_by_itself() {
    let store = mint("ending");
    let put = store.grant(Permission::Put, "pack", MINUTE).await.unwrap();
    let expires = "Expires: Sun, 06 Nov 1994 08:49:37 GMT";
    let headers = ["-H", "X-Delete-After: 2", "-H", "X-Delete-At: 784111777", "-H", expires];
    assert_eq!(ask(&put, "PUT", true, &headers), "200");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(store.get("pack", 10).await.unwrap(), "thief");
}

/// The condition is looked at when the last byte has come: an upload that is held open replaces nothing either.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_held_open_replaces_nothing() {
    use std::io::{Read, Write};
    let store = mint("held");
    let put = store.grant(Permission::Put, "pack", MINUTE).await.unwrap();
    let (server, path) = put.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut thief = std::net::TcpStream::connect(server).unwrap();
    write!(
        thief,
        "PUT /{path} HTTP/1.1\r\nHost: {server}\r\nIf-None-Match: *\r\nConnection: close\r\nContent-Length: 5\r\n\r\nth"
    )
    .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.put("pack", bytes("honest")).await.unwrap();
    thief.write_all(b"ief").unwrap();
    let mut answer = String::new();
    thief.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 412"), "{answer}");
    assert_eq!(store.get("pack", 10).await.unwrap(), "honest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_by_grants_keeps_the_contract() {
    let granter = Arc::new(GuardedMint::new(mint("by grants/ä"), Arc::new(Adder), MINUTE));
    let store = GrantStore::open(granter.clone(), None).unwrap();
    let keeper = open("by%20grants/%C3%A4");
    store::conformance::append_only(store.clone(), &*keeper)
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(!format!("{store:?} {granter:?}").contains(SECRET));
    store.put("conformance/there", bytes("x")).await.unwrap();
    let again = granter.grant(Permission::Put, "conformance/there").await.unwrap();
    assert_eq!(again, Granted::AlreadyThere);
    keeper.delete("conformance/there").await.unwrap();
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
}

#[test]
fn other_places_give_no_grants() {
    for location in ["/srv/vault", "sftp://host/vault", "webdav://host/vault", "gcs://bucket/vault"] {
        let error = Location::parse(location).unwrap().open_mint_with(&settings(&[])).unwrap_err();
        assert_eq!(error.kind, Kind::UnknownLocation, "{}", chain(&error));
    }
}

/// In a bucket with versions Ceph's gateway ignores the condition, so nothing there can be settled. If the first half of
/// this fails because the gateway keeps it, that is good news for `store::grant`.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_settled_where_conditions_are_ignored() {
    use std::io::{Read, Write};
    super::bucket("PUT", "with-versions");
    super::survey::configure_versions("with-versions", "Enabled");
    let place = Location::parse("s3://with-versions").unwrap();
    let store = place.open_mint_with(&settings(&[])).unwrap();
    let put = store.grant(Permission::Put, "pack", Duration::from_secs(8)).await.unwrap();
    store.put("pack", bytes("honest")).await.unwrap();
    let (server, path) = put.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut thief = std::net::TcpStream::connect(server).unwrap();
    write!(
        thief,
        "PUT /{path} HTTP/1.1\r\nHost: {server}\r\nIf-None-Match: *\r\nConnection: close\r\nContent-Length: 5\r\n\r\nth"
    )
    .unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(ask(&put, "PUT", true, &[]), "403", "the grant is over");
    let error = store.settle("pack").await.unwrap_err();
    assert!(error.kind == Kind::Other && chain(&error).contains("keeps versions"), "{}", chain(&error));
    thief.write_all(b"ief").unwrap();
    let mut answer = String::new();
    thief.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(store.get("pack", 10).await.unwrap(), "thief");
    // What the store itself writes keeps what is there, at the price of a look.
    store.put("pack", bytes("other")).await.unwrap();
    assert_eq!(store.get("pack", 10).await.unwrap(), "thief");
    super::survey::configure_versions("with-versions", "Suspended");
    let put = store.grant(Permission::Put, "later", MINUTE).await.unwrap();
    store.put("later", bytes("honest")).await.unwrap();
    assert_eq!(ask(&put, "PUT", true, &[]), "412");
    store.settle("later").await.unwrap();
    assert_eq!(mint("settled").settle("nothing").await.unwrap_err().kind, Kind::NotFound);
}
