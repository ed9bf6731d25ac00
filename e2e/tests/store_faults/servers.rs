//! The servers, and what their keeper does to them behind the program's back.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use e2e::proxy::{Act, Request};
use e2e::trial::Trial;
use services::Service;

/// A server for all tests that run at the same time; it ends with the last of them.
pub struct Shared {
    name: &'static str,
    running: Mutex<Weak<Service>>,
}

impl Shared {
    const fn new(name: &'static str) -> Self {
        Self { name, running: Mutex::new(Weak::new()) }
    }

    pub fn get(&self) -> Arc<Service> {
        let mut running = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let service = Arc::new(Service::start(self.name));
            *running = Arc::downgrade(&service);
            service
        })
    }
}

pub static SWIFT: Shared = Shared::new("swift");
pub static CEPH: Shared = Shared::new("ceph");

/// A name for a container that no other test has.
pub fn fresh(word: &str) -> String {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    format!("{word}-{}", TURN.fetch_add(1, Ordering::Relaxed))
}

/// `HOST:PORT` of a server's address.
pub fn address(url: &str) -> &str {
    url.strip_prefix("http://").unwrap()
}

/// What tells the program of a Swift at an address.
pub fn swift_settings(service: &Service, address: &str) -> Vec<(String, String)> {
    let login = ("ST_AUTH".to_owned(), format!("http://{address}/auth/v1.0"));
    let setting = |name: &str| (name.to_owned(), service.setting(name).to_owned());
    vec![login, setting("ST_USER"), setting("ST_KEY")]
}

/// A vault in a container of its own.
pub fn in_swift(service: &Service, container: &str) -> Trial {
    let location = format!("swift://{container}/vault");
    Trial::new(address(service.setting("S3_ENDPOINT")), &location, |proxy| swift_settings(service, proxy))
}

/// A vault in a bucket of its own.
pub fn in_s3(service: &Service, bucket: &str) -> Trial {
    s3_request(service, "PUT", bucket);
    let location = format!("s3://{bucket}/vault");
    let url = service.setting("AWS_ENDPOINT_URL");
    Trial::new(address(url), &location, |proxy| {
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
        let mut settings: Vec<_> =
            names.iter().map(|name| ((*name).to_owned(), service.setting(name).to_owned())).collect();
        settings.push(("AWS_ENDPOINT_URL".to_owned(), format!("http://{proxy}")));
        settings
    })
}

/// What an upload of a pack meets the first time, for each pack.
pub fn first_upload(act: Act) -> impl FnMut(&Request) -> Act + Send + 'static {
    first("PUT", "/packs/", act)
}

/// What a request meets the first time that its path is asked for.
pub fn first(
    method: &'static str,
    part: &'static str,
    act: Act,
) -> impl FnMut(&Request) -> Act + Send + 'static {
    let mut met = HashSet::new();
    move |request| {
        if request.is(method, part) && met.insert(request.path.clone()) { act.clone() } else { Act::Pass }
    }
}

/// Lets so many uploads of packs through and does `act` to all requests from then on.
pub fn after_uploads(count: usize, act: Act) -> impl FnMut(&Request) -> Act + Send + 'static {
    let mut uploads = 0;
    move |request| {
        if request.is("PUT", "/packs/") {
            uploads += 1;
        }
        if uploads > count { act.clone() } else { Act::Pass }
    }
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("curl, which scripts/setup installs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A request to the account, past the proxy; the answer's body if it was a good one.
pub fn swift_request(service: &Service, method: &str, path: &str, header: &str) -> Option<String> {
    let script = "token=$(curl -fsSi -H \"X-Auth-User: $ST_USER\" -H \"X-Auth-Key: $ST_KEY\" \"$ST_AUTH\" | \
         tr -d '\\r' | sed -n 's/^X-Auth-Token: //Ip') && curl -fsS -X \"$1\" -H \"X-Auth-Token: $token\" \
         -H \"$3\" \"$STORAGE_URL/$2\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash", method, path, header]);
    for name in ["ST_AUTH", "ST_USER", "ST_KEY", "STORAGE_URL"] {
        command.env(name, service.setting(name));
    }
    let (good, body) = run(&mut command);
    good.then_some(body)
}

/// A signed request to the gateway, past the proxy; the answer's body if it was a good one.
pub fn s3_try(service: &Service, method: &str, path: &str) -> Option<String> {
    let [url, key, secret] =
        ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| service.setting(name));
    let nothing = "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mut command = Command::new("curl");
    command.args(["-fsS", "-X", method, "-H", nothing, "--aws-sigv4", "aws:amz:us-east-1:s3", "-u"]);
    let (good, body) = run(command.args([&format!("{key}:{secret}"), &format!("{url}/{path}")]));
    good.then_some(body)
}

#[track_caller]
pub fn s3_request(service: &Service, method: &str, path: &str) -> String {
    s3_try(service, method, path).unwrap_or_else(|| panic!("{method} {path}"))
}

/// Removes a container with all that is in it, also what still arrives.
pub fn remove_container(service: &Service, container: &str) {
    let mut listing = None;
    for _ in 0..50 {
        listing = swift_request(service, "GET", container, "X-Nothing: x");
        let Some(objects) = &listing else { return };
        for object in objects.lines() {
            swift_request(service, "DELETE", &format!("{container}/{object}"), "X-Nothing: x");
        }
        swift_request(service, "DELETE", container, "X-Nothing: x");
    }
    panic!("{container} cannot be removed: {listing:?}");
}

/// The same with a bucket.
pub fn remove_bucket(service: &Service, bucket: &str) {
    for _ in 0..50 {
        let listing = s3_try(service, "GET", bucket).unwrap_or_default();
        for key in listing.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next()) {
            s3_try(service, "DELETE", &format!("{bucket}/{key}"));
        }
        if s3_try(service, "DELETE", bucket).is_some() {
            return;
        }
    }
    panic!("{bucket} cannot be removed");
}
