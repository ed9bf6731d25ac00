//! A vault on a real server behind a [`Proxy`], with a snapshot that was committed before anything went wrong, and a
//! larger folder that is yet to be backed up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::oracle::{Facts, assert_same, look};
use crate::proxy::{Proxy, Seen};
use crate::{Outcome, World, noise};

/// A patience, in seconds, that lets a busy machine be slow: nothing is given up that will be answered.
pub const AMPLE: u32 = 240;

/// How many files the larger folder has, and of how many bytes each.
const FILES: u64 = 10;
const FILE_BYTES: usize = 8 << 20;
/// What a backup of it stores besides its bytes, at most: trees, tables of packs, fragments, the snapshot.
const BESIDE: usize = 2 << 20;

/// The vault, its surroundings and what should be in it.
pub struct Trial {
    /// Where the folders are.
    pub world: World,
    /// What stands before the server.
    pub proxy: Proxy,
    location: String,
    settings: Vec<(String, String)>,
    early: BTreeMap<PathBuf, Facts>,
    source: BTreeMap<PathBuf, Facts>,
}

impl Trial {
    /// With the vault at `location` on `server` (a `HOST:PORT`); `settings` tells the program of it, given the address
    /// of the proxy.
    pub fn new(server: &str, location: &str, settings: impl Fn(&str) -> Vec<(String, String)>) -> Self {
        let (world, proxy) = (World::new(), Proxy::before(server));
        let settings = settings(&format!("127.0.0.1:{}", proxy.port()));
        for folder in ["early/deep", "source/deep"] {
            std::fs::create_dir_all(world.path(folder)).unwrap();
        }
        std::fs::write(world.path("early/text"), "committed before\n".repeat(10_000)).unwrap();
        std::fs::write(world.path("early/deep/noise"), noise(1000, 3 << 20)).unwrap();
        for number in 0..FILES {
            std::fs::write(world.path(&format!("source/deep/{number}")), noise(number, FILE_BYTES)).unwrap();
        }
        let (early, source) = (look(&world.path("early")), look(&world.path("source")));
        let trial = Self { world, proxy, location: location.to_owned(), settings, early, source };
        trial.run(&["init"]).expect(0);
        trial.run(&["backup", &trial.world.text("early")]).expect(0);
        trial.proxy.take();
        trial
    }

    /// The program with this vault.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.env("STRONGROOM_VAULT", &self.location).env("STRONGROOM_PATIENCE", AMPLE.to_string());
        command.envs(self.settings.iter().cloned());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.command(arguments).output().unwrap().into()
    }

    /// The backup of the larger folder, giving up after so many seconds.
    pub fn back_up(&self, patience: u32) -> Outcome {
        self.back_up_command(patience).output().unwrap().into()
    }

    /// The same, to be changed before it is run.
    pub fn back_up_command(&self, patience: u32) -> Command {
        let mut command = self.command(&["backup", &self.world.text("source")]);
        command.env("STRONGROOM_PATIENCE", patience.to_string());
        command
    }

    /// After a backup that failed: what was committed is there, the same command goes on from what `arrived`, and then
    /// all is well.
    #[track_caller]
    pub fn recovers(&self, failed: &[Seen]) {
        self.proxy.relent();
        self.proxy.take();
        self.holds("early", &self.early);
        self.proxy.take();
        self.back_up(AMPLE).expect(0);
        let (arrived, again) = (arrived(failed), sent(&self.proxy.take()));
        let all = FILES as usize * FILE_BYTES;
        assert!(arrived + again <= all + BESIDE, "{arrived} bytes had arrived, and {again} were sent again");
        self.is_whole();
    }

    /// After a backup that succeeded: everything is stored once, and the same command has nothing to send.
    #[track_caller]
    pub fn has_lost_nothing(&self, succeeded: &[Seen]) {
        let (arrived, all) = (arrived(succeeded), FILES as usize * FILE_BYTES);
        assert!((all..all + BESIDE).contains(&arrived), "{arrived} bytes were taken for {all} of files");
        self.needs_nothing_more();
    }

    /// The same command has nothing to send, and all is well.
    #[track_caller]
    pub fn needs_nothing_more(&self) {
        self.proxy.relent();
        self.proxy.take();
        self.back_up(AMPLE).expect(0);
        let again = sent(&self.proxy.take());
        assert!(again < BESIDE / 10, "{again} bytes were sent again");
        self.is_whole();
    }

    /// Every byte is in the vault, and both folders come back as they were.
    #[track_caller]
    fn is_whole(&self) {
        self.run(&["check", "--read-data"]).expect(0);
        self.holds("early", &self.early);
        self.holds("source", &self.source);
    }

    /// The newest snapshot of a folder comes back as it was.
    #[track_caller]
    fn holds(&self, folder: &str, expected: &BTreeMap<PathBuf, Facts>) {
        let (path, target) = (self.world.text(folder), self.world.text("back"));
        self.run(&["restore", &format!("latest:{path}"), "--path", &path, "--target", &target]).expect(0);
        assert_same(expected, &look(&self.world.path("back")));
        std::fs::remove_dir_all(&target).unwrap();
    }

    /// Takes away all that the machine remembers of the vault.
    pub fn forgets(&self) {
        std::fs::remove_dir_all(self.world.path("home/.cache")).unwrap();
    }

    /// Restores the larger folder into `target`.
    pub fn restore(&self, target: &str, patience: u32) -> Outcome {
        let (path, target) = (self.world.text("source"), self.world.text(target));
        let part = format!("latest:{path}");
        let mut command = self.command(&["restore", &part, "--path", &path, "--target", &target]);
        command.env("STRONGROOM_PATIENCE", patience.to_string()).output().unwrap().into()
    }

    /// A target holds the larger folder as it is.
    #[track_caller]
    pub fn is_source(&self, target: &str) {
        assert_same(&self.source, &look(&self.world.path(target)));
    }

    /// Of the larger folder nothing is in a target that is not right: a file is whole or not there.
    #[track_caller]
    pub fn is_part_of_source(&self, target: &str) {
        for (path, facts) in look(&self.world.path(target)) {
            if facts.kind == "file" && !path.to_string_lossy().contains(".strongroom") {
                assert_eq!(facts.content, self.source[&path].content, "{path:?}");
            }
        }
    }

    /// How many snapshots there are.
    pub fn snapshots(&self) -> usize {
        let lines = self.run(&["snapshots", "--json"]).expect(0).json();
        lines.iter().filter(|line| line["type"] == "snapshot").count()
    }

    /// The container or bucket, as the program names it.
    pub fn location(&self) -> &str {
        &self.location
    }
}

/// Bytes of packs that the server took for good.
pub fn arrived(seen: &[Seen]) -> usize {
    let taken = |seen: &&Seen| seen.request.is("PUT", "/packs/") && matches!(seen.status, 200 | 201);
    seen.iter().filter(taken).map(|seen| seen.request.length).sum()
}

/// Bytes of packs that were sent, whatever became of them.
fn sent(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.request.is("PUT", "/packs/")).map(|seen| seen.sent).sum()
}

impl Outcome {
    /// Insists on one clear error: what cannot be done, with which object or place, why, and the next step. No panic, no
    /// stack of causes. A note that something is waited for may come before.
    #[track_caller]
    pub fn is_one_clear_error(self, code: i32, says: &[&str]) -> Self {
        let told = self.expect(code);
        let lines: Vec<_> = told.stderr.lines().filter(|line| !line.starts_with("note: ")).collect();
        let starts = ["error: ", "  because: ", "hint: "];
        let in_order =
            lines.len() == 3 && lines.iter().zip(starts).all(|(line, start)| line.starts_with(start));
        let without_cause =
            lines.len() == 2 && lines[0].starts_with(starts[0]) && lines[1].starts_with(starts[2]);
        assert!(in_order || without_cause, "{}", told.stderr);
        for word in says {
            assert!(told.stderr.contains(word), "{word} is not in\n{}", told.stderr);
        }
        told
    }
}
