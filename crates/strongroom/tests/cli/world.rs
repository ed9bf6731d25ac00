//! A machine of its own for a test: an empty home, some files, and the program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What opens the vault of [`World::with_vault`]: a key file's text, which costs nothing to try.
pub const KEY: &str = "strongroom-key-1-0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFGHJK";

pub struct World {
    top: tempfile::TempDir,
    vault: Option<PathBuf>,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    /// A home without anything configured.
    pub fn new() -> Self {
        let world = Self { top: tempfile::tempdir().unwrap(), vault: None };
        fs::create_dir(world.home()).unwrap();
        fs::create_dir(world.files()).unwrap();
        fs::write(world.files().join("note.txt"), "remember the milk").unwrap();
        fs::create_dir(world.files().join("folder")).unwrap();
        fs::write(world.files().join("folder/inner.conf"), "a = 1").unwrap();
        world
    }

    /// A home whose environment names a vault and its key.
    pub fn with_vault() -> Self {
        let mut world = Self::new();
        world.use_vault();
        world.ok(&["init"]);
        world
    }

    /// From now on the environment names a vault, which is yet to be made.
    pub fn use_vault(&mut self) {
        self.vault = Some(self.path("vault"));
    }

    /// The same with one snapshot.
    pub fn with_snapshot() -> Self {
        let world = Self::with_vault();
        world.backup();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// What is to be backed up.
    pub fn files(&self) -> PathBuf {
        self.path("files")
    }

    /// `latest:` and a path below the files.
    pub fn latest(&self, path: &str) -> String {
        format!("latest:{}/{path}", self.files().display())
    }

    /// The program with this world's environment and no other.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        self.wrapped(Command::new(env!("CARGO_BIN_EXE_strongroom")), arguments)
    }

    /// The same, started by another program.
    pub fn wrapped<A: AsRef<OsStr>>(&self, mut command: Command, arguments: &[A]) -> Command {
        command.args(arguments).env_clear().stdin(Stdio::null()).current_dir(self.top.path());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.home());
        if let Some(vault) = &self.vault {
            command.env("STRONGROOM_VAULT", vault).env("STRONGROOM_PASSPHRASE", KEY);
        }
        command
    }

    pub fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// Runs what must succeed; what it wrote.
    pub fn ok<A: AsRef<OsStr> + std::fmt::Debug>(&self, arguments: &[A]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
        outcome.out
    }

    /// Runs with `--json`; the events and the exit code.
    pub fn json<A: AsRef<OsStr>>(&self, arguments: &[A]) -> (Vec<Value>, Option<i32>) {
        let outcome = Outcome::of(self.command(arguments).arg("--json"));
        (events(&outcome.out), outcome.code)
    }

    pub fn backup(&self) {
        self.ok(&[OsStr::new("backup"), self.files().as_os_str()]);
    }

    /// How many snapshots there are.
    pub fn snapshots(&self) -> usize {
        let (events, _) = self.json(&["snapshots"]);
        events.iter().filter(|event| event["type"] == "snapshot").count()
    }

    /// The objects of one kind in the vault.
    pub fn objects(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("vault").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

impl Outcome {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let outcome = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!outcome.err.contains("panicked"), "{}", outcome.err);
        outcome
    }
}

/// Every line as the event it is.
pub fn events(out: &str) -> Vec<Value> {
    let event = |line: &str| -> Value {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["type"].is_string(), "{line}");
        event
    };
    out.lines().map(event).collect()
}

/// Turns one bit in the middle of a file.
pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Bytes that neither compress nor repeat.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
