//! The program under test with a home, a cache and a vault of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Builds the program once for each test process; where it is.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["build", "-q", "-p", "strongroom", "--message-format", "json"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "the program does not build");
        let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
        let found =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
                let is_program = message["target"]["name"] == "strongroom";
                message["executable"].as_str().filter(|_| is_program).map(PathBuf::from)
            });
        found.expect("cargo names the program it built")
    })
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl Outcome {
    /// Insists on an exit code; itself again.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The JSON lines it wrote.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A home, a vault and a place for sources and targets; gone when dropped.
#[derive(Debug)]
pub struct World {
    folder: tempfile::TempDir,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A new world without a vault.
    pub fn new() -> Self {
        Self::in_folder(&std::env::temp_dir())
    }

    /// A new world without a vault below another folder than that for temporary files.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: tempfile::tempdir_in(folder).unwrap() }
    }

    /// A new world with a vault whose passphrase is `right`.
    pub fn with_vault() -> Self {
        let world = Self::new();
        world.run(["init"]).expect(0);
        world
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in it as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    /// The folder that holds the vault.
    pub fn vault(&self) -> PathBuf {
        self.path("vault")
    }

    /// The program with this world's surroundings.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("STRONGROOM_VAULT", self.vault())
            .env("STRONGROOM_PASSPHRASE", "right")
            .stdin(Stdio::null());
        std::fs::create_dir_all(self.path("home")).unwrap();
        command
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Outcome {
        self.command(arguments).output().expect("the program starts").into()
    }

    /// The vault's objects whose names start with `prefix`, with the sizes of their files, sorted.
    pub fn objects(&self, prefix: &str) -> Vec<(String, u64)> {
        fn collect(top: &Path, at: &Path, out: &mut Vec<(String, u64)>) {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(top, &path, out);
                } else {
                    let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                    out.push((name, path.metadata().unwrap().len()));
                }
            }
        }
        let mut out = Vec::new();
        collect(&self.vault(), &self.vault(), &mut out);
        out.retain(|(name, _)| name.starts_with(prefix));
        out.sort();
        out
    }
}
