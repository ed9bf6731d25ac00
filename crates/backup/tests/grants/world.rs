//! A custodian with the credential, a machine without, and somebody who watches what the machine sends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use services::Service;
use store::grant::{Grant, GrantStore, Granted, Granter, GuardedMint, Mint, Permission, Settle};
use store::{Location, ObjectInfo, Store, StoreError};
use vault::agent::AgentPolicy;

/// Passes connections on and looks for secrets in what is sent.
#[derive(Clone, Debug)]
pub struct Wire {
    address: String,
    seen: Arc<Mutex<(usize, Vec<String>)>>,
}

impl Wire {
    fn start(server: &str, secrets: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self { address: listener.local_addr().unwrap().to_string(), seen: Arc::default() };
        let (seen, server) = (wire.seen.clone(), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, upstream) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let (mut from, mut to) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let (seen, secrets) = (seen.clone(), secrets.clone());
                std::thread::spawn(move || watch(client, upstream, &seen, &secrets));
            }
        });
        wire
    }

    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().0
    }

    /// The secrets that were sent.
    pub fn secrets_seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().1.clone()
    }
}

fn watch(
    mut client: TcpStream,
    mut server: TcpStream,
    seen: &Mutex<(usize, Vec<String>)>,
    secrets: &[String],
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).to_lowercase();
        let mut seen = seen.lock().unwrap();
        seen.0 += text.matches(" http/1.1\r\n").count();
        seen.1.extend(secrets.iter().filter(|secret| text.contains(*secret)).cloned());
        drop(seen);
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
}

/// Where the vault is, by way of the server itself and by way of the wire.
pub struct Place {
    custodian: Arc<dyn Mint>,
    /// Signs for the address of the wire, where the address is signed.
    for_wire: Option<Arc<dyn Mint>>,
    server: String,
    wire: Wire,
}

fn service(name: &'static str) -> &'static Service {
    static SWIFT: OnceLock<Service> = OnceLock::new();
    static CEPH: OnceLock<Service> = OnceLock::new();
    let cell = if name == "swift" { &SWIFT } else { &CEPH };
    cell.get_or_init(|| Service::start(name))
}

impl Place {
    pub fn swift(prefix: &str) -> Self {
        let service = service("swift");
        let known = ["ST_AUTH", "ST_USER", "ST_KEY"];
        let look_up = |key: &str| known.contains(&key).then(|| service.setting(key).to_owned());
        let location = Location::parse(&format!("swift://by-grants/{prefix}")).unwrap();
        location.create_with(&look_up).unwrap();
        let server = service.setting("S3_ENDPOINT").strip_prefix("http://").unwrap().to_owned();
        let secrets = ["x-auth-token", "x-auth-key", "authorization:", service.setting("TEMP_URL_KEY")];
        let wire = Wire::start(&server, secrets.map(str::to_lowercase).to_vec());
        Self { custodian: location.open_mint_with(&look_up).unwrap(), for_wire: None, server, wire }
    }

    pub fn s3(prefix: &str) -> Self {
        let service = service("ceph");
        let server = service.setting("AWS_ENDPOINT_URL").strip_prefix("http://").unwrap().to_owned();
        let secrets = ["authorization:", "x-amz-security-token", service.setting("AWS_SECRET_ACCESS_KEY")];
        let wire = Wire::start(&server, secrets.map(str::to_lowercase).to_vec());
        let known = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
        let mint = |endpoint: &str| {
            let look_up = |key: &str| match key {
                "AWS_ENDPOINT_URL" => Some(format!("http://{endpoint}")),
                _ => known.contains(&key).then(|| service.setting(key).to_owned()),
            };
            let location = Location::parse(&format!("s3://{}/{prefix}", service.setting("BUCKET"))).unwrap();
            location.open_mint_with(&look_up).unwrap()
        };
        // It looks whether the bucket is there, with its credential.
        let for_wire = mint(&wire.address);
        assert!(!wire.secrets_seen().is_empty(), "the wire sees what it should");
        *wire.seen.lock().unwrap() = (0, Vec::new());
        Self { custodian: mint(&server), for_wire: Some(for_wire), server, wire }
    }
}

/// The custodian's end of the line: a guarded mint, with a copy of all that it gave.
#[derive(Debug)]
struct Desk {
    guard: Arc<GuardedMint>,
    for_wire: Option<Arc<dyn Mint>>,
    addresses: (String, String),
    valid_for: Duration,
    given: Arc<Mutex<Vec<Grant>>>,
}

#[async_trait]
impl Granter for Desk {
    fn location(&self) -> String {
        self.guard.location()
    }

    async fn grant(&self, permission: Permission, name: &str) -> Result<Granted, StoreError> {
        let Granted::Grant(mut grant) = self.guard.grant(permission, name).await? else {
            return Ok(Granted::AlreadyThere);
        };
        self.given.lock().unwrap().push(grant.clone());
        match &self.for_wire {
            Some(mint) => grant = mint.grant(permission, name, self.valid_for).await?,
            None => grant.url = grant.url.replace(&self.addresses.0, &self.addresses.1),
        }
        Ok(Granted::Grant(grant))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.guard.list(prefix).await
    }
}

pub struct World {
    /// The vault with every right.
    pub custodian: Arc<dyn Store>,
    pub settle: Arc<dyn Settle>,
    /// The vault as the machine sees it.
    pub agent: Arc<dyn Store>,
    pub guard: Arc<GuardedMint>,
    /// Every grant that the machine got, for the server's own address.
    pub given: Arc<Mutex<Vec<Grant>>>,
    wire: Wire,
}

impl World {
    pub fn new(place: Place, valid_for: Duration) -> Self {
        let Place { custodian: mint, for_wire, server, wire } = place;
        let guard = Arc::new(GuardedMint::new(mint.clone(), Arc::new(AgentPolicy), valid_for));
        let given = Arc::<Mutex<Vec<Grant>>>::default();
        let desk = Desk {
            guard: guard.clone(),
            for_wire,
            addresses: (server, wire.address.clone()),
            valid_for,
            given: given.clone(),
        };
        let agent = GrantStore::open(Arc::new(desk), None).unwrap();
        Self { custodian: mint.clone(), settle: mint, agent, guard, given, wire }
    }

    /// Of the gateway of S3.
    pub fn bucket(&self) -> &'static str {
        service("ceph").setting("BUCKET")
    }

    pub fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Waits until no grant to write is good any more.
    pub fn outlive_grants(&self) {
        let end = self.guard.close().unwrap() + Duration::from_millis(2200);
        std::thread::sleep(end.duration_since(SystemTime::now()).unwrap_or_default());
    }

    /// The grant that the machine got to put this object.
    pub fn grant_to_put(&self, name: &str) -> Grant {
        let given = self.given.lock().unwrap();
        let found = given.iter().find(|grant| grant.permission == Permission::Put && grant.name == name);
        found.unwrap_or_else(|| panic!("no grant for {name}")).clone()
    }
}

/// The status of the answer to a request under a grant, by somebody who sends what he likes.
pub fn ask(grant: &Grant, method: &str, headers: &[&str], body: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30", "-X", method]);
    command.args(["--data-binary", body, "-H", "content-type:"]);
    for header in headers {
        command.args(["-H", header]);
    }
    String::from_utf8(command.arg(&grant.url).output().unwrap().stdout).unwrap()
}
