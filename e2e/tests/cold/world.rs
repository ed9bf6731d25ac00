//! A vault in a bucket of its own behind a freezer, and a folder to back up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use e2e::oracle::{Facts, assert_same, look};
use e2e::{Outcome, World, noise};
use services::Service;

use crate::freezer::Freezer;

/// The class that is cold.
pub const KEPT_COLD: &str = "GLACIER";
const FILES: u64 = 12;
const FILE_BYTES: usize = 8 << 20;
/// How many bytes there are to back up: more than fit into one pack.
pub const BYTES: u64 = FILES * FILE_BYTES as u64;

/// One server for all tests that run at the same time; it ends with the last of them.
fn service() -> Arc<Service> {
    static RUNNING: Mutex<Weak<Service>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.upgrade().unwrap_or_else(|| {
        let service = Arc::new(Service::start_with("ceph", &[("CEPH_CLASSES", KEPT_COLD)]));
        *running = Arc::downgrade(&service);
        service
    })
}

pub struct Cold {
    pub world: World,
    pub freezer: Freezer,
    service: Arc<Service>,
    bucket: String,
    before: BTreeMap<PathBuf, Facts>,
}

impl Cold {
    pub fn without_vault(bucket: &str) -> Self {
        let (world, service) = (World::new(), service());
        let url = service.setting("AWS_ENDPOINT_URL");
        let freezer = Freezer::before(url.strip_prefix("http://").unwrap());
        std::fs::create_dir_all(world.path("source/deep")).unwrap();
        for number in 0..FILES {
            let name = format!("source/{number}.noise");
            std::fs::write(world.path(&name), noise(number, FILE_BYTES)).unwrap();
        }
        std::fs::write(world.path("source/deep/text"), "small\n".repeat(1000)).unwrap();
        let before = look(&world.path("source"));
        let cold = Self { world, freezer, service, bucket: bucket.to_owned(), before };
        cold.s3("PUT", &format!("/{bucket}"));
        cold
    }

    /// With a new vault that keeps its data in a class.
    pub fn with_data_in(bucket: &str, class: Option<&str>) -> Self {
        let cold = Self::without_vault(bucket);
        let init = ["init"].into_iter().chain(class.iter().flat_map(|class| ["--data-class", class]));
        cold.run(&init.collect::<Vec<_>>()).expect(0);
        cold
    }

    pub fn location(&self) -> String {
        format!("s3://{}", self.bucket)
    }

    pub fn source(&self) -> String {
        self.world.text("source")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        if self.world.path("home/.aws/credentials").exists() {
            command.env("AWS_PROFILE", "vault");
        } else {
            command.envs(keys.map(|name| (name, self.service.setting(name))));
        }
        command.env("AWS_REGION", self.service.setting("AWS_REGION"));
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.freezer.proxy().port()))
            .env("STRONGROOM_VAULT", format!("{}/vault", self.location()))
            .env("STRONGROOM_PATIENCE", "30");
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.command(arguments).output().unwrap().into()
    }

    pub fn back_up(&self) {
        self.run(&["backup", &self.source()]).expect(0);
    }

    fn restore_command(&self, target: &str, options: &[&str]) -> Command {
        let part = format!("latest:{}", self.source());
        let target = self.world.text(target);
        let arguments = ["restore", &part, "--target", &target].into_iter().chain(options.iter().copied());
        self.command(&arguments.collect::<Vec<_>>())
    }

    pub fn restore(&self, target: &str, options: &[&str]) -> Outcome {
        self.restore_command(target, options).output().unwrap().into()
    }

    /// Starts a restore, and interrupts it when so many packs were asked for.
    pub fn interrupt_restore(&self, target: &str, packs: usize) -> Outcome {
        let mut command = self.restore_command(target, &[]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while self.freezer.asked().len() < packs {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not ask");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(1));
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        let interrupted = Instant::now();
        let outcome = child.wait_with_output().unwrap();
        assert!(interrupted.elapsed() < Duration::from_secs(3), "{:?}", interrupted.elapsed());
        outcome.into()
    }

    #[track_caller]
    pub fn is_source(&self, target: &str) {
        assert_same(&self.before, &look(&self.world.path(target)));
    }

    /// From now on the keys are where Amazon's own tools keep them, and not in the environment.
    pub fn keep_keys_in_a_file(&self) {
        let [key, secret] =
            ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| self.service.setting(name));
        let text = format!("[vault]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
        std::fs::create_dir_all(self.world.path("home/.aws")).unwrap();
        std::fs::write(self.world.path("home/.aws/credentials"), text).unwrap();
    }

    /// As on another machine.
    pub fn forget_cache(&self) {
        let cache = self.world.path("home/.cache");
        if cache.exists() {
            std::fs::remove_dir_all(cache).unwrap();
        }
    }

    /// Puts the packs that can only be of data into cold storage.
    pub fn freeze_large_packs(&self) {
        let listing = self.s3("GET", &format!("/{}", self.bucket));
        for object in listing.split("<Contents>").skip(1) {
            let field =
                |name: &str| object.split(&format!("<{name}>")).nth(1).unwrap().split('<').next().unwrap();
            if field("Key").contains("/packs/") && field("Size").parse::<u64>().unwrap() > 1 << 20 {
                self.freezer.freeze(format!("/{}/{}", self.bucket, field("Key")));
            }
        }
        assert!(self.freezer.packs() > 0, "{listing}");
    }

    /// What the real server says of an object.
    pub fn head(&self, path: &str) -> String {
        self.s3("HEAD", path)
    }

    /// A signed request past the proxy.
    fn s3(&self, method: &str, path: &str) -> String {
        let [url, key, secret] = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .map(|name| self.service.setting(name));
        let nothing =
            "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let method = if method == "HEAD" { vec!["-I"] } else { vec!["-X", method] };
        let mut command = Command::new("curl");
        command.arg("-fsS").args(method).args(["-H", nothing, "--aws-sigv4", "aws:amz:us-east-1:s3", "-u"]);
        let output = command.args([&format!("{key}:{secret}"), &format!("{url}{path}")]).output().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
