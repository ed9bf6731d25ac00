//! A vault on a real server, and a thief who has all that the program has: the store's credential.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use e2e::oracle::{assert_same, look};
use e2e::{Outcome, World, noise};
use serde_json::Value;
use services::Service;

/// One server for all tests that run at the same time; it ends with the last of them.
fn ceph() -> Arc<Service> {
    static RUNNING: Mutex<Weak<Service>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.upgrade().unwrap_or_else(|| {
        let service = Arc::new(Service::start_with("ceph", &[("CEPH_CLASSES", CLASS)]));
        *running = Arc::downgrade(&service);
        service
    })
}

/// A storage class that Ceph has besides its usual one. It can be read at any time.
pub const CLASS: &str = "STANDARD_IA";

/// What the program needs to know of Ceph, and of Swift.
const CEPH: &[&str] = &["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
const SWIFT: &[&str] = &["ST_AUTH", "ST_USER", "ST_KEY"];

pub struct Locked {
    pub world: World,
    service: Arc<Service>,
    names: &'static [&'static str],
    location: String,
}

impl Locked {
    /// In a bucket that was made with object lock.
    pub fn in_ceph(bucket: &str) -> Self {
        let lock = "-H 'x-amz-bucket-object-lock-enabled: true'";
        Self::new(ceph(), CEPH, format!("s3://{bucket}/vault"), &make_bucket(bucket, lock))
    }

    /// In a plain one.
    pub fn in_ceph_without(bucket: &str) -> Self {
        Self::new(ceph(), CEPH, format!("s3://{bucket}/vault"), &make_bucket(bucket, ""))
    }

    /// In a container that keeps versions.
    pub fn in_swift(container: &str) -> Self {
        let make = format!(
            "token=$(curl -fsSi -H \"X-Auth-User: $ST_USER\" -H \"X-Auth-Key: $ST_KEY\" \"$ST_AUTH\" | \
             tr -d '\\r' | sed -n 's/^X-Auth-Token: //Ip') && curl -fsS -X PUT -H \"X-Auth-Token: $token\" \
             -H 'X-Versions-Enabled: true' \"$STORAGE_URL/{container}\""
        );
        Self::new(Arc::new(Service::start("swift")), SWIFT, format!("swift://{container}/vault"), &make)
    }

    fn new(service: Arc<Service>, names: &'static [&'static str], location: String, make: &str) -> Self {
        let world = World::new();
        std::fs::create_dir_all(world.path("source/deep")).unwrap();
        for number in 0..4 {
            std::fs::write(world.path(&format!("source/{number}.noise")), noise(number, 1 << 20)).unwrap();
        }
        std::fs::write(world.path("source/deep/text"), "small\n".repeat(1000)).unwrap();
        let vault = Self { world, service, names, location };
        let mut command = Command::new("bash");
        command.args(["-c", make]).envs(vault.settings());
        if names == SWIFT {
            command.env("STORAGE_URL", vault.service.setting("STORAGE_URL"));
        }
        assert!(command.status().unwrap().success(), "{make}");
        vault
    }

    fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.names.iter().map(|name| (*name, self.service.setting(name)))
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str], code: i32) -> Outcome {
        let mut command = self.world.command(arguments);
        command.env("STRONGROOM_VAULT", &self.location).env("STRONGROOM_PATIENCE", "30");
        Outcome::from(command.envs(self.settings()).output().unwrap()).expect(code)
    }

    /// What `stats` says.
    pub fn stats(&self) -> Value {
        let told = self.run(&["stats", "--json"], 0).json();
        told.into_iter().find(|line| line["type"] == "stats").unwrap()
    }

    /// That nobody can use the vault as it is. This machine may remember some of it, so another one asks.
    #[track_caller]
    pub fn is_lost(&self) {
        let cache = tempfile::tempdir().unwrap();
        let mut command = self.world.command(["snapshots"]);
        command.env("STRONGROOM_CACHE", cache.path());
        command.env("STRONGROOM_VAULT", &self.location).env("STRONGROOM_PATIENCE", "30");
        let outcome = Outcome::from(command.envs(self.settings()).output().unwrap());
        assert!([10, 12].contains(&outcome.code), "{}{}", outcome.stdout, outcome.stderr);
    }

    /// A vault beside it, in a folder.
    pub fn beside(&self) -> String {
        self.world.text("beside")
    }

    /// Runs the program on that one.
    #[track_caller]
    pub fn run_beside(&self, arguments: &[&str]) -> Outcome {
        let beside = self.beside();
        self.run(&[&["--vault", &beside], arguments].concat(), 0)
    }

    /// One more snapshot there.
    pub fn back_up_beside(&self) {
        self.run_beside(&["backup", &self.world.text("source")]);
    }

    /// Copies that vault to this place, without anything that would open it.
    #[track_caller]
    pub fn copy_without_key(&self) -> Outcome {
        let mut command = self.world.command(["--vault", &self.beside(), "copy", "--to", &self.location]);
        command.env_remove("STRONGROOM_PASSPHRASE").env("STRONGROOM_PATIENCE", "30");
        Outcome::from(command.envs(self.settings()).output().unwrap()).expect(0)
    }

    /// Where it is.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Two snapshots, of which the second has something of its own.
    pub fn back_up_twice(&self) {
        let source = self.world.text("source");
        let more = self.world.path("source/more");
        std::fs::write(&more, noise(99, 100_000)).unwrap();
        self.run(&["backup", &source], 0);
        std::fs::remove_file(&more).unwrap();
        std::fs::write(self.world.path("source/deep/other"), noise(98, 100_000)).unwrap();
        self.run(&["backup", &source], 0);
        std::fs::remove_file(self.world.path("source/deep/other")).unwrap();
        self.run(&["backup", &source], 0);
    }

    /// A check of every byte without the machine's cache, and a restore.
    #[track_caller]
    pub fn is_whole(&self) {
        let cache = self.world.path("home/.cache");
        if cache.exists() {
            std::fs::remove_dir_all(cache).unwrap();
        }
        self.run(&["check", "--read-data"], 0);
        let (part, target) = (format!("latest:{}", self.world.text("source")), self.world.text("back"));
        self.run(&["restore", &part, "--target", &target], 0);
        let back = self.world.path("back");
        assert_same(&look(&self.world.path("source")), &look(&back));
        std::fs::remove_dir_all(back).unwrap();
    }

    /// A request as the thief sends it, with the program's own credential: the status and the body.
    fn request(&self, method: &str, path: &str, further: &[&str]) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-w", "\n%{http_code}"]).args(further);
        if self.names == CEPH {
            let [url, key, secret] = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
                .map(|name| self.service.setting(name));
            command.args([
                "-H",
                "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                "--aws-sigv4",
                "aws:amz:us-east-1:s3",
            ]);
            command.args(["-u", &format!("{key}:{secret}"), &format!("{url}{path}")]);
        } else {
            let header = format!("X-Auth-Token: {}", self.token());
            command.args(["-H", &header, &format!("{}{path}", self.service.setting("STORAGE_URL"))]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    fn token(&self) -> String {
        let [url, user, key] = ["ST_AUTH", "ST_USER", "ST_KEY"].map(|name| self.service.setting(name));
        let (user, key) = (format!("X-Auth-User: {user}"), format!("X-Auth-Key: {key}"));
        let output = Command::new("curl").args(["-fsSi", "-H", &user, "-H", &key, url]).output().unwrap();
        let head = String::from_utf8(output.stdout).unwrap();
        let token = head.lines().find_map(|line| line.strip_prefix("X-Auth-Token: "));
        token.unwrap_or_else(|| panic!("{head}")).trim().to_owned()
    }

    /// The names of all objects, as they are in the bucket.
    fn names(&self) -> Vec<String> {
        let (status, text) = if self.names == CEPH {
            self.request("GET", &format!("/{}?list-type=2", self.bucket()), &[])
        } else {
            self.request("GET", &format!("/{}?format=json", self.bucket()), &[])
        };
        assert_eq!(status, 200, "{text}");
        let (open, close) = if self.names == CEPH { ("<Key>", "<") } else { ("\"name\": \"", "\"") };
        let mut names: Vec<_> = fields(&text, open, close).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Brings all objects into a folder, with the times at which the server received them. That is a vault too.
    pub fn download(&self, top: &Path) {
        for name in self.names() {
            let path = top.join(name.strip_prefix("vault/").unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let to = ["--remote-time", "-o", path.to_str().unwrap()];
            let (status, text) = self.request("GET", &format!("/{}/{name}", self.bucket()), &to);
            assert_eq!(status, 200, "{name}: {text}");
        }
    }

    /// Puts there what is in a folder, as it is.
    pub fn upload(&self, top: &Path, names: &[String]) {
        for name in names {
            let body = format!("@{}", top.join(name).display());
            let path = format!("/{}/vault/{name}", self.bucket());
            let (status, text) = self.request("PUT", &path, &["--data-binary", &body]);
            assert_eq!(status, 200, "{name}: {text}");
        }
    }

    /// What the server says of an object, in its headers, in small letters.
    pub fn head(&self, name: &str) -> String {
        let path = format!("/{}/vault/{name}", self.bucket());
        let (status, text) = self.request("HEAD", &path, &["--head"]);
        assert_eq!(status, 200, "{name}: {text}");
        text.to_lowercase()
    }

    /// Deletes what is in a folder, as the thief does; how many objects.
    pub fn delete_all(&self, folder: &str) -> usize {
        let prefix = format!("vault/{folder}");
        let names: Vec<_> = self.names().into_iter().filter(|name| name.starts_with(&prefix)).collect();
        for name in &names {
            let (status, text) = self.request("DELETE", &format!("/{}/{name}", self.bucket()), &[]);
            assert_eq!(status, 204, "{text}");
        }
        names.len()
    }

    fn bucket(&self) -> &str {
        self.location.split("://").nth(1).unwrap().split('/').next().unwrap()
    }

    /// How many objects there are without which the vault would not be whole.
    pub fn objects(&self) -> usize {
        self.names().iter().filter(|name| is_protected(name)).count()
    }

    /// Removes for good what nothing locks, then overwrites half of the rest, some of that with a lock of its own, and
    /// deletes the others. How many were overwritten, and how many deleted.
    pub fn steal(&self) -> (usize, usize) {
        if self.names == CEPH {
            self.remove_versions();
        }
        let (mut overwritten, mut deleted) = (0, 0);
        let tomorrow = Command::new("date").args(["-u", "-d", "+1 day", "+%Y-%m-%dT%H:%M:%SZ"]).output();
        let until = String::from_utf8(tomorrow.unwrap().stdout).unwrap();
        let until = format!("x-amz-object-lock-retain-until-date: {}", until.trim());
        for (turn, name) in self.names().into_iter().enumerate() {
            let path = format!("/{}/{name}", self.bucket());
            if turn % 2 == 1 && !name.ends_with("strongroom.vault") {
                let mut further = vec!["--data-binary", "mine now"];
                if self.names == CEPH && turn % 4 == 1 {
                    let md5 = "content-md5: aWt94gj6g1h6J7yAXLB5AQ==";
                    further.extend(["-H", "x-amz-object-lock-mode: COMPLIANCE", "-H", &until, "-H", md5]);
                }
                let (status, text) = self.request("PUT", &path, &further);
                assert!(matches!(status, 200 | 201), "{text}");
                overwritten += usize::from(is_protected(&name));
            } else {
                let (status, text) = self.request("DELETE", &path, &[]);
                assert_eq!(status, 204, "{text}");
                deleted += usize::from(is_protected(&name));
            }
        }
        (overwritten, deleted)
    }

    /// Removes each version of each object, as far as it may; what is protected in a locked vault, it may not.
    pub fn remove_versions(&self) {
        let question = if self.names == CEPH { "versions=" } else { "versions=true&format=json" };
        let (status, text) = self.request("GET", &format!("/{}?{question}", self.bucket()), &[]);
        assert_eq!(status, 200, "{text}");
        let (key, id, parameter, close) = match self.names == CEPH {
            true => ("<Key>", "<VersionId>", "versionId", "<"),
            false => ("\"name\": \"", "\"version_id\": \"", "version-id", "\""),
        };
        let start = if self.names == CEPH { "<Key>" } else { "{" };
        let mut tried = 0;
        for block in text.split(start).skip(1).map(|block| format!("{start}{block}")) {
            let (Some(name), Some(id)) =
                (fields(&block, key, close).next(), fields(&block, id, close).next())
            else {
                continue;
            };
            let path = format!("/{}/{name}?{parameter}={id}", self.bucket());
            let (status, text) = self.request("DELETE", &path, &[]);
            let may = self.names != CEPH || !is_protected(name);
            assert_eq!(status, if may { 204 } else { 403 }, "{name}: {text}");
            tried += 1;
        }
        assert!(tried > 10, "{text}");
    }
}

/// What is between two texts, each time.
fn fields<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}

pub fn is_protected(name: &str) -> bool {
    let name = name.trim_start_matches("vault/");
    let folders = ["packs/", "index/", "snapshots/", "relocations/", "keys/", "settings/"];
    name == "strongroom.vault" || folders.iter().any(|folder| name.starts_with(folder))
}

/// A script that makes a bucket, with further arguments for curl.
fn make_bucket(bucket: &str, further: &str) -> String {
    format!(
        "curl -fsS -X PUT {further} -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --aws-sigv4 aws:amz:us-east-1:s3 \
         -u \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" \"$AWS_ENDPOINT_URL/{bucket}\""
    )
}
