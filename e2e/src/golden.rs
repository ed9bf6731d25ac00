//! Golden vaults: bytes that an earlier program wrote and that stay as they are, whole and damaged.
//!
//! A whole one is a folder with `vault.tar` and `restored`: what each snapshot must give back. A damaged one is a folder
//! below `NUMBER-damaged`: the objects under `changed` and the names in `removed` are laid over the whole vault of that
//! number. Beside them is `expected`: what the program must say of it, and what must come back all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::{Outcome, World, oracle};

/// How long ago the newest object was stored, when a test begins. Delays and leases count from there, so that a test finds
/// the same today and in ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Just now: what was forgotten can be brought back.
    Fresh,
    /// So long that every delay is over.
    Old,
}

impl Age {
    fn duration(self) -> Duration {
        match self {
            Self::Fresh => Duration::ZERO,
            Self::Old => Duration::from_secs(1000 * 86_400),
        }
    }
}

/// Where golden vaults are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The hash and the name of each file that is kept. What is said of them may be put into better words.
pub fn hashes() -> BTreeSet<String> {
    let top = folder();
    let mut hashes = BTreeSet::new();
    for path in files(&top) {
        let name = path.strip_prefix(&top).unwrap().to_str().unwrap();
        if name != "hashes" && !name.ends_with("/expected") {
            hashes.insert(format!("{}  {name}", blake3::hash(&fs::read(&path).unwrap()).to_hex()));
        }
    }
    hashes
}

/// All files below a folder.
fn files(top: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left = vec![top.to_owned()];
    while let Some(folder) = left.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { &mut left } else { &mut files }.push(path);
        }
    }
    files
}

/// A whole golden vault.
#[derive(Clone, Debug)]
pub struct Golden {
    folder: PathBuf,
}

/// A damaged one.
#[derive(Clone, Debug)]
pub struct Damaged {
    folder: PathBuf,
    whole: Golden,
    /// The folder that was backed up, on the machine where that was.
    source: String,
}

fn folders(top: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.is_dir());
    all.sort();
    all
}

/// Every whole golden vault there is.
pub fn whole() -> Vec<Golden> {
    let with_vault = folders(&folder()).into_iter().filter(|folder| folder.join("vault.tar").exists());
    let all: Vec<_> = with_vault.map(|folder| Golden { folder }).collect();
    assert!(!all.is_empty());
    all
}

/// Every damaged one.
pub fn damaged() -> Vec<Damaged> {
    let all: Vec<_> = whole().iter().flat_map(Golden::damaged).collect();
    assert!(!all.is_empty());
    all
}

impl Golden {
    /// The one in this folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Its number.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Whether something is kept beside it.
    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// What is kept beside it: a secret that opens it.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Where those that are damaged are.
    pub fn damaged_folder(&self) -> PathBuf {
        self.folder.with_file_name(format!("{}-damaged", self.name()))
    }

    fn damaged(&self) -> Vec<Damaged> {
        let top = self.damaged_folder();
        if !top.exists() {
            return Vec::new();
        }
        let listed = self.unpack(Age::Fresh).run(["snapshots", "--json"]).expect(0).json();
        let source = listed[0]["paths"][0]["path"].as_str().unwrap();
        let damaged = |folder| Damaged { folder, whole: self.clone(), source: source.to_owned() };
        folders(&top).into_iter().map(damaged).collect()
    }

    /// A world with this vault.
    pub fn unpack(&self, age: Age) -> World {
        let world = World::new();
        self.unpack_into(&world.vault());
        grow_old(&world, age);
        world
    }

    /// The vault's objects, with the times at which the store received them.
    pub fn unpack_into(&self, top: &Path) {
        fs::create_dir(top).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(self.folder.join("vault.tar")).arg("-C").arg(top);
        assert!(tar.status().unwrap().success());
    }

    /// What each snapshot must give back, line by line.
    pub fn promised(&self) -> BTreeMap<String, Vec<String>> {
        let mut promised: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.read("restored").lines() {
            let (id, rest) = line.split_once('\t').unwrap();
            promised.entry(id.to_owned()).or_default().push(rest.to_owned());
        }
        promised
    }
}

/// Moves the times of all objects so that the newest is as old as that.
fn grow_old(world: &World, age: Age) {
    let paths: Vec<_> = world.objects("").into_iter().map(|(name, _)| world.vault().join(name)).collect();
    let time = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    let newest = paths.iter().map(time).max().unwrap();
    let now = SystemTime::now() - age.duration();
    for path in &paths {
        let before = newest.duration_since(time(path)).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(now - before).unwrap();
    }
}

impl Damaged {
    /// What is wrong with it.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }

    /// The vault that was damaged.
    pub fn whole(&self) -> &Golden {
        &self.whole
    }

    /// What must be said of it and come back.
    pub fn expected(&self) -> String {
        fs::read_to_string(self.folder.join("expected")).unwrap()
    }

    /// The objects that are changed or added, by name.
    pub fn changed(&self) -> BTreeMap<String, Vec<u8>> {
        let top = self.folder.join("changed");
        let paths = if top.exists() { files(&top) } else { Vec::new() };
        let object = |path: PathBuf| {
            let name = path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
            (name, fs::read(&path).unwrap())
        };
        paths.into_iter().map(object).collect()
    }

    /// The names of the objects that are gone.
    pub fn removed(&self) -> BTreeSet<String> {
        let names = fs::read_to_string(self.folder.join("removed")).unwrap_or_default();
        names.lines().map(str::to_owned).collect()
    }

    /// A world with this vault.
    pub fn unpack(&self, age: Age) -> World {
        let world = World::new();
        self.whole.unpack_into(&world.vault());
        for (name, bytes) in self.changed() {
            let path = world.vault().join(&name);
            // What is damaged keeps its time.
            let before = path.metadata().and_then(|metadata| metadata.modified()).ok();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            let like = world.vault().join("strongroom.vault").metadata().unwrap().modified().unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(before.unwrap_or(like)).unwrap();
        }
        for name in self.removed() {
            fs::remove_file(world.vault().join(name)).unwrap();
        }
        grow_old(&world, age);
        world
    }

    /// What the program of today says of it, and what comes back.
    pub fn outcomes(&self) -> Vec<String> {
        let mut out = self.opened();
        let world = self.unpack(Age::Fresh);
        out.extend(self.checked(&world));
        let back = self.come_back(&world, "back", &BTreeSet::new());
        out.extend(back.iter().map(|line| format!("restore {line}")));
        world.run(["store", "test"]);
        out.extend(self.what_stays(&world));
        for age in [Age::Fresh, Age::Old] {
            out.extend(self.cleaned_up(age, &back));
        }
        out.extend(self.repaired());
        out
    }

    /// Which secrets open it, and what they list.
    fn opened(&self) -> Vec<String> {
        let world = self.unpack(Age::Fresh);
        let files = ["recovery-code", "key", "older-key", "write-only-key"];
        let kept = files.map(|name| (name, self.whole.read(name)));
        let secrets = [("passphrase", "right".to_owned())].into_iter().chain(kept);
        let listed = secrets.map(|(name, secret)| {
            let outcome = run(&world, &secret, &["snapshots", "--json"]);
            let of = |kind: &str| outcome.json().iter().filter(|event| event["type"] == kind).count();
            let [read, sealed, unreadable] = ["snapshot", "sealed", "unreadable"].map(of);
            format!("{name}: {}: {read} snapshots, {sealed} sealed, {unreadable} unreadable", outcome.code)
        });
        listed.collect()
    }

    /// What comes back of each snapshot but some. It must be right, and the program must say so if it is not all.
    fn come_back(&self, world: &World, place: &str, but: &BTreeSet<String>) -> Vec<String> {
        let mut out = Vec::new();
        for (id, lines) in self.whole.promised().into_iter().filter(|(id, _)| !but.contains(id)) {
            let target = world.path(&format!("{place}-{id}"));
            let arguments = ["restore", &id, "--json", "--target", target.to_str().unwrap()];
            let outcome = run(world, &self.whole.read("key"), &arguments);
            let found = target.join(self.source.trim_start_matches('/'));
            let found = if found.exists() { oracle::lines(&found) } else { Vec::new() };
            let wrong: Vec<_> = found.iter().filter(|line| !lines.contains(line)).collect();
            assert!(wrong.is_empty(), "{}, {id}: {wrong:#?}", self.name());
            assert_eq!(outcome.code == 0, found.len() == lines.len(), "{}, {id}: {outcome:?}", self.name());
            out.push(format!("{}: {}: {} of {}", &id[..8], outcome.code, found.len(), lines.len()));
            out.extend(
                self.not_restored(world, &outcome).into_iter().map(|line| format!("{} {line}", &id[..8])),
            );
        }
        out
    }

    /// Two cleanups, after which no less comes `back`, however old the vault is.
    fn cleaned_up(&self, age: Age, back: &[String]) -> Vec<String> {
        let mut out = Vec::new();
        let world = self.unpack(age);
        let forgotten = forgotten(&world, &self.whole.read("key"));
        for turn in ["first", "second"] {
            let outcome = run(&world, "right", &["cleanup", "--max-unused", "0", "--json"]);
            let last = outcome.json().pop().unwrap();
            let told = match last["type"].as_str() {
                Some("summary") => format!(
                    "{} snapshots deleted, {} not understood",
                    last["snapshots_deleted"], last["not_understood"]
                ),
                _ => format!("error: {}", tidy(&world, &last["message"])),
            };
            out.push(format!("{turn} cleanup, {age:?}: {}: {told}", outcome.code));
        }
        out.extend(self.what_stays(&world));
        let gone = if age == Age::Old { forgotten } else { BTreeSet::new() };
        let after = self.come_back(&world, "after", &gone);
        let worse: Vec<_> = after.iter().filter(|line| !back.contains(line)).collect();
        assert!(worse.is_empty(), "{}: a cleanup changed what comes back: {worse:#?}", self.name());
        out
    }

    /// Which of the changed objects are there still.
    fn what_stays(&self, world: &World) -> Vec<String> {
        let told = self.changed().into_iter().map(|(name, bytes)| {
            let stays = fs::read(world.vault().join(&name)).is_ok_and(|there| there == bytes);
            format!("  {} {name}", if stays { "stays:" } else { "goes:" })
        });
        told.collect()
    }

    /// What a repair from the whole vault heals.
    fn repaired(&self) -> Vec<String> {
        let world = self.unpack(Age::Fresh);
        self.whole.unpack_into(&world.path("replica"));
        let arguments = ["repair", "--from", &world.text("replica"), "--read-data", "--json"];
        let outcome = run(&world, "right", &arguments);
        let mut out = vec![format!("repair: {}", outcome.code)];
        for event in outcome.json() {
            let text = |name: &str| tidy(&world, &event[name]);
            match event["type"].as_str() {
                Some("healed") => {
                    out.push(format!("  healed {}: {}: {}", text("object"), text("message"), text("how")));
                }
                Some("lost") => out.push(format!("  lost {}: {}", text("object"), text("message"))),
                Some("error") => out.push(format!("  error: {}", text("message"))),
                _ => {}
            }
        }
        let rest = self.checked(&world).into_iter();
        let rest = rest.chain(self.come_back(&world, "repaired", &BTreeSet::new()));
        out.extend(rest.map(|line| format!("repaired: {line}")));
        out.extend(self.what_stays(&world));
        out
    }

    /// What a restore says of what it did not bring back.
    fn not_restored(&self, world: &World, outcome: &Outcome) -> Vec<String> {
        let mut told: Vec<_> = Vec::new();
        for event in outcome.json() {
            match event["type"].as_str() {
                Some("problem") => {
                    let path = event["path"].as_str().unwrap();
                    let path = path.strip_prefix(&self.source).unwrap_or(path);
                    told.push(format!("  lost {path:?}: {}", tidy(world, &event["message"])));
                }
                Some("error") => told.push(format!("  error: {}", tidy(world, &event["message"]))),
                _ => {}
            }
        }
        told.sort();
        told
    }

    /// What a check says, and whom it affects.
    fn checked(&self, world: &World) -> Vec<String> {
        let outcome = run(world, &self.whole.read("key"), &["check", "--read-data", "--json"]);
        let mut found = Vec::new();
        for event in outcome.json() {
            let text = |name: &str| tidy(world, &event[name]);
            match event["type"].as_str() {
                Some("finding") => {
                    let said = format!("  {} {}: {}", text("severity"), text("object"), text("message"));
                    let affected = event["affects"].as_array().unwrap().iter();
                    let mut affected: Vec<_> =
                        affected.map(|who| who.as_str().unwrap().replacen(&self.source, "", 1)).collect();
                    affected.sort();
                    let affected = affected.iter().map(|who| format!("    affects {who:?}"));
                    found.push([said].into_iter().chain(affected).collect::<Vec<_>>());
                }
                Some("error") => found.push(vec![format!("  error: {}", text("message"))]),
                _ => {}
            }
        }
        found.sort();
        [vec![format!("check: {}", outcome.code)], found.concat()].concat()
    }
}

/// The snapshots in the trash.
pub fn forgotten(world: &World, secret: &str) -> BTreeSet<String> {
    let listed = run(world, secret, &["snapshots", "--trash", "--json"]).json();
    let snapshots = listed.iter().filter(|event| event["type"] == "snapshot");
    snapshots.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Whether an object is condemned: then it counts for nothing. Condemnations hold hashes; that one holds this is enough here.
pub fn is_condemned(world: &World, name: &str) -> bool {
    let digits = name.rsplit('/').next().unwrap();
    let pairs = digits.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    let Ok(hash) = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<Vec<u8>, _>>() else {
        return false;
    };
    let records = world.objects("condemned/").into_iter();
    let records = records.map(|(record, _)| fs::read(world.vault().join(record)).unwrap());
    records.into_iter().any(|record| record.windows(32).any(|window| window == hash))
}

/// The program with another secret than usual.
pub fn run(world: &World, secret: &str, arguments: &[&str]) -> Outcome {
    world.command(arguments).env("STRONGROOM_PASSPHRASE", secret).output().unwrap().into()
}

/// What is said, without where this world is.
fn tidy(world: &World, message: &Value) -> String {
    message.as_str().unwrap().replace(&world.text(""), "")
}
