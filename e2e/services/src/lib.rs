//! Real servers for tests. Each has a script `scripts/services/NAME` that installs what it needs, runs one server of
//! its own until its standard input ends, and keeps everything below the folder it is given. So a server is gone when
//! its [`Service`] is dropped, and also when the test process is killed.
//!
//! A script is called as `scripts/services/NAME run FOLDER PORT` (it may use PORT to PORT + 9) and prints, when the
//! server answers, one line `KEY=VALUE` for each thing that a client has to know, and then `ready`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

/// How many ports in a row a server may use.
const PORTS: u16 = 10;

/// A server that runs as long as this lives.
#[derive(Debug)]
pub struct Service {
    settings: HashMap<String, String>,
    child: Child,
    /// Its end tells the script to stop.
    input: Option<ChildStdin>,
    _folder: TempDir,
}

impl Service {
    /// Starts a server and waits until it answers; panics with its log when it does not.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// Starts a server with further variables in its script's environment.
    pub fn start_with(name: &str, environment: &[(&str, &str)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services").join(name);
        // Servers keep extended attributes and sockets there: not a file system in memory, and a short path.
        let folder =
            tempfile::Builder::new().prefix(name).tempdir_in("/var/tmp").expect("a folder for a server");
        let port = free_ports().to_string();
        let mut child = Command::new(&script)
            .arg("run")
            .arg(folder.path())
            .arg(&port)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut settings = HashMap::new();
        let mut ready = false;
        for line in output.lines().map_while(Result::ok) {
            if line == "ready" {
                ready = true;
                break;
            }
            if let Some((key, value)) = line.split_once('=') {
                settings.insert(key.to_owned(), value.to_owned());
            }
        }
        assert!(ready, "{} did not start (its complaint is above)", script.display());
        Self { settings, child, input, _folder: folder }
    }

    /// What the script said of the server.
    pub fn setting(&self, key: &str) -> &str {
        self.settings
            .get(key)
            .unwrap_or_else(|| panic!("the service does not tell {key}: {:?}", self.settings.keys()))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has nothing left to say that a test could act on.
        let _ = self.child.wait();
    }
}

/// The first of [`PORTS`] ports in a row that nobody listens on now, below those that the system hands out.
fn free_ports() -> u16 {
    static TURN: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1000).unwrap_or(0);
    for _ in 0..2000 {
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let first = 12_000 + (own.wrapping_add(turn).wrapping_mul(7) % 1900) * PORTS;
        if (first..first + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {PORTS} free ports in a row");
}
