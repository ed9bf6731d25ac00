//! URLs for those who have no credentials.

use std::time::Duration;

use store::{Kind, Operation, Store};

use super::{address, bytes, create, request, shared};

#[tokio::test]
async fn a_grant_allows_one_thing_for_some_time() {
    let service = shared();
    // The account has a key; the container gets its own below.
    let store = create(&service, "grants", "ä b").await;
    store.put("a", bytes("text")).await.unwrap();
    let minute = Duration::from_secs(60);
    let server = address(&service);
    let ask = |url: &str, method: &str, headers: &[(&str, &str)]| {
        let path = url.strip_prefix(&format!("http://{server}")).unwrap().to_owned();
        request(server, method, &path, headers).lines().next().unwrap()[9..12].to_owned()
    };
    let once = [("If-None-Match", "*")];
    for round in 0..2 {
        let get = store.grant(Operation::Get, "a", minute).await.unwrap();
        assert_eq!(ask(&get, "GET", &[]), "200");
        assert_eq!(ask(&get, "GET", &[("Range", "bytes=1-2")]), "206");
        assert_eq!(ask(&get, "HEAD", &[]), "200");
        assert_eq!(ask(&get, "PUT", &[]), "401");
        assert_eq!(ask(&get, "DELETE", &[]), "401");
        assert_eq!(ask(&get.replace("/a?", "/b?"), "GET", &[]), "401");
        let stat = store.grant(Operation::Stat, "a", minute).await.unwrap();
        assert_eq!((ask(&stat, "HEAD", &[]), ask(&stat, "GET", &[])), ("200".to_owned(), "401".to_owned()));

        let name = format!("new-{round}");
        let put = store.grant(Operation::Put, &name, minute).await.unwrap();
        assert_eq!(ask(&put, "PUT", &once), "201");
        assert_eq!(ask(&put, "PUT", &once), "412");
        assert_eq!(ask(&put, "GET", &[]), "401");
        assert_eq!(store.stat(&name).await.unwrap().size, 0);

        let short = store.grant(Operation::Get, "a", Duration::from_secs(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(ask(&short, "GET", &[]), "401");

        // The key of the container comes before that of the account, and a new one ends what the old one signed.
        store.renew_grant_key().await.unwrap();
        let expected = if round == 0 { "200" } else { "401" };
        assert_eq!(ask(&get, "GET", &[]), expected);
    }
    for operation in [Operation::Delete, Operation::Replace] {
        assert_eq!(store.grant(operation, "a", minute).await.unwrap_err().kind, Kind::Other);
    }
    assert_eq!(store.grant(Operation::Get, "../a", minute).await.unwrap_err().kind, Kind::InvalidName);
}
