//! The login at a real Keystone, whose tokens Swift asks it about. They are good for 25 seconds, so whatever takes
//! longer sees them renewed; on a busy machine it takes the servers longer than a few seconds to look at one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use services::Service;
use store::{
    Kind, Location, Patience, Recorded, Retrying, Store, StoreError, SwiftCredentials, SwiftStore,
    conformance,
};

use super::proxy::Proxy;
use super::{bytes, chain};

/// Swift takes this long to hear that a token was revoked, and Keystone refuses tokens of the second in which it was.
const REVOKED: Duration = Duration::from_millis(2200);

/// One server for all tests that run at the same time.
fn shared() -> Arc<Service> {
    static SHARED: Mutex<Weak<Service>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let settings = [("SWIFT_KEYSTONE", "1"), ("SWIFT_TOKEN_LIFE", "25")];
        let service = Arc::new(Service::start_with("swift", &settings));
        *shared = Arc::downgrade(&service);
        service
    })
}

type Pairs<'a> = Vec<(&'a str, String)>;

fn with(pairs: &Pairs) -> SwiftCredentials {
    SwiftCredentials::find(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone()))
        .unwrap()
}

/// The settings of these names, as the service tells them.
fn told<'a>(service: &Service, names: &[&'a str]) -> Pairs<'a> {
    names.iter().map(|name| (*name, service.setting(name).to_owned())).collect()
}

/// Names for everything, in domains that are not the same.
const BY_NAMES: [&str; 7] = [
    "OS_AUTH_URL",
    "OS_USERNAME",
    "OS_PASSWORD",
    "OS_USER_DOMAIN_NAME",
    "OS_PROJECT_NAME",
    "OS_PROJECT_DOMAIN_NAME",
    "OS_REGION_NAME",
];

fn by_names<'a>(service: &Service, changes: &[(&'a str, &str)]) -> Pairs<'a> {
    let mut pairs = told(service, &BY_NAMES);
    pairs.retain(|pair| changes.iter().all(|change| change.0 != pair.0));
    pairs.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    pairs
}

async fn use_it(container: &str, pairs: &Pairs<'_>) {
    let store = SwiftStore::create(container, "", with(pairs)).await;
    let store = store.unwrap_or_else(|error| panic!("{}", chain(&error)));
    store.put("a", bytes("text")).await.unwrap();
    assert_eq!(store.get("a", 10).await.unwrap(), "text");
}

async fn refusal(pairs: &Pairs<'_>) -> (Kind, String) {
    let error = SwiftStore::open("refused", "", with(pairs)).await.unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert!(!pairs.iter().any(|pair| pair.0 == "OS_PASSWORD" && text.contains(&pair.1)), "{text}");
    (error.kind, text)
}

/// The suite again and again until the first token has ended. No call fails.
#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_while_tokens_end() {
    let service = shared();
    let address = service.setting("OS_AUTH_URL").strip_prefix("http://").unwrap();
    let proxy = Proxy::start(address.strip_suffix("/identity").unwrap(), false);
    let keystone = format!("http://{}/identity", proxy.address);
    let user = with(&by_names(&service, &[("OS_AUTH_URL", &keystone)]));
    let recorded = Arc::new(Recorded::new(Arc::new(SwiftStore::create("tokens", "", user).await.unwrap())));
    let retrying: Arc<dyn Store> = Arc::new(Retrying::new(recorded.clone(), Patience::default()));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(27) {
        conformance::run(retrying.clone()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
    let refused = |kind| matches!(kind, Some(Kind::Unavailable | Kind::PermissionDenied));
    let failed: Vec<_> = recorded.calls().into_iter().filter(|call| refused(call.failed)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    let seen = proxy.take_seen();
    assert!(seen.len() >= 2 && seen.iter().all(|seen| seen == "POST /identity/v3/auth/tokens"), "{seen:?}");
    // One for each twenty seconds, with room for a slow machine.
    assert!(seen.len() as u64 <= 3 + start.elapsed().as_secs() / 10, "{} logins", seen.len());
}

#[tokio::test]
async fn passwords_with_names_and_with_ids() {
    let service = shared();
    use_it("by-names", &by_names(&service, &[])).await;
    let path = format!("{}/v3/", service.setting("OS_AUTH_URL"));
    use_it("by-path", &by_names(&service, &[("OS_AUTH_URL", &path), ("OS_INTERFACE", "internalURL")])).await;
    let ids =
        told(&service, &["OS_AUTH_URL", "OS_USER_ID", "OS_PASSWORD", "OS_PROJECT_ID", "OS_REGION_NAME"]);
    use_it("by-ids", &ids).await;
    let (user, project) = (service.setting("OS_USER_DOMAIN_ID"), service.setting("OS_PROJECT_DOMAIN_ID"));
    let mut domains = by_names(&service, &[("OS_USER_DOMAIN_ID", user), ("OS_PROJECT_DOMAIN_ID", project)]);
    domains.retain(|pair| !pair.0.ends_with("_DOMAIN_NAME"));
    use_it("by-domain-ids", &domains).await;

    // In another domain there is nobody of that name.
    let (kind, text) = refusal(&by_names(&service, &[("OS_USER_DOMAIN_NAME", "things")])).await;
    assert!(kind == Kind::PermissionDenied && text.contains("their domains"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let service = shared();
    let (kind, text) = refusal(&by_names(&service, &[("OS_PASSWORD", "not-the-password")])).await;
    assert!(
        kind == Kind::PermissionDenied && text.contains("the login was refused: check the user"),
        "{text}"
    );
    let (kind, text) = refusal(&by_names(&service, &[("OS_PROJECT_NAME", "none")])).await;
    assert!(kind == Kind::PermissionDenied && text.contains("the project and their domains"), "{text}");
    let (kind, text) = refusal(&by_names(&service, &[("OS_REGION_NAME", "west")])).await;
    assert!(kind == Kind::NotFound && text.contains("in the region west: check OS_REGION_NAME"), "{text}");
    let elsewhere = service.setting("OS_AUTH_URL").replace("identity", "elsewhere");
    let (kind, text) = refusal(&by_names(&service, &[("OS_AUTH_URL", &elsewhere)])).await;
    assert!(kind == Kind::Other && text.contains("there is no login at that address"), "{text}");
    let (kind, text) = refusal(&by_names(&service, &[])).await;
    assert!(kind == Kind::NotFound && text.contains("swift://refused"), "{text}");
    // Known in the project, but without a role that may use Swift.
    let (user, key) = (service.setting("READER_USER"), service.setting("READER_KEY"));
    let (kind, text) = refusal(&by_names(&service, &[("OS_USERNAME", user), ("OS_PASSWORD", key)])).await;
    assert!(kind == Kind::PermissionDenied && text.contains("403"), "{text}");
}

#[tokio::test]
async fn application_credentials_and_clouds_yaml() {
    let service = shared();
    let by_id = ["OS_AUTH_URL", "OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_SECRET"];
    let mut pairs = told(&service, &by_id);
    pairs.push(("OS_REGION_NAME", "north".to_owned()));
    use_it("application", &pairs).await;
    let by_name = [
        "OS_AUTH_URL",
        "OS_APPLICATION_CREDENTIAL_NAME",
        "OS_APPLICATION_CREDENTIAL_SECRET",
        "OS_USERNAME",
        "OS_USER_DOMAIN_NAME",
        "OS_REGION_NAME",
    ];
    let mut pairs = told(&service, &by_name);
    use_it("application", &pairs).await;
    pairs[2].1 = "not-the-secret".to_owned();
    let (kind, text) = refusal(&pairs).await;
    assert!(kind == Kind::PermissionDenied && text.contains("OS_APPLICATION_CREDENTIAL_ID"), "{text}");
    assert!(!text.contains("not-the-secret"), "{text}");

    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("clouds.yaml");
    let setting = |name| service.setting(name);
    let text = format!(
        "clouds:\n  \
           application:\n    auth_type: v3applicationcredential\n    region_name: north\n    auth:\n      \
             auth_url: {keystone}/v3\n      application_credential_id: {id}\n      \
             application_credential_secret: {secret}\n  \
           password:\n    region_name: north\n    interface: internal\n    auth:\n      \
             auth_url: {keystone}\n      username: tester\n      project_name: box\n      \
             user_domain_name: people\n      project_domain_name: things\n",
        keystone = setting("OS_AUTH_URL"),
        id = setting("OS_APPLICATION_CREDENTIAL_ID"),
        secret = setting("OS_APPLICATION_CREDENTIAL_SECRET"),
    );
    std::fs::write(&file, text).unwrap();
    let password = setting("OS_PASSWORD").replace('"', "\\\"");
    let secure = format!("clouds: {{password: {{auth: {{password: \"{password}\"}}}}}}\n");
    std::fs::write(scratch.path().join("secure.yaml"), secure).unwrap();
    for cloud in ["application", "password"] {
        let file = file.to_str().unwrap().to_owned();
        use_it("clouds", &vec![("OS_CLOUD", cloud.to_owned()), ("OS_CLIENT_CONFIG_FILE", file)]).await;
    }
}

/// A changed password revokes all tokens of the user, long before they end.
#[tokio::test]
async fn a_token_that_was_revoked_is_fetched_anew() {
    let service = shared();
    let (user, key) = (service.setting("CHANGER_USER"), service.setting("CHANGER_KEY"));
    let user = with(&by_names(&service, &[("OS_USERNAME", user), ("OS_PASSWORD", key)]));
    let store = SwiftStore::create("changes", "", user).await.unwrap();
    store.put("a", bytes("text")).await.unwrap();

    change_password(&service, key, "another");
    tokio::time::sleep(REVOKED).await;
    let error: StoreError = store.get("a", 10).await.unwrap_err();
    let text = chain(&error);
    assert!(error.kind == Kind::PermissionDenied && text.contains("OS_PASSWORD"), "{text}");
    change_password(&service, "another", key);
    tokio::time::sleep(REVOKED).await;
    assert_eq!(store.get("a", 10).await.unwrap(), "text");
}

/// Who knows the old password may.
fn change_password(service: &Service, old: &str, new: &str) {
    let (host, folder) =
        service.setting("OS_AUTH_URL").strip_prefix("http://").unwrap().split_once('/').unwrap();
    let body = format!(r#"{{"user":{{"original_password":"{old}","password":"{new}"}}}}"#);
    let id = service.setting("CHANGER_ID");
    let head = format!(
        "POST /{folder}/v3/users/{id}/password HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.lines().next().unwrap().contains(" 204 "), "{answer}");
}

/// As the program opens it.
#[test]
fn a_url_and_its_settings_are_enough() {
    let service = shared();
    let pairs = by_names(&service, &[]);
    let settings = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.clone());
    let location = Location::parse("swift://by-url/a").unwrap();
    assert_eq!(location.open_with(&settings).unwrap_err().kind, Kind::NotFound);
    location.create_with(&settings).unwrap();
    assert_eq!(location.open_with(&settings).unwrap().location(), "swift://by-url/a");
}
