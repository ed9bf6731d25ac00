//! Restores, compared with what was there by a walker that shares no code with ours. Some tests make devices, mounts
//! and other people's files, so all of this runs as root (or in a user namespace that may do the same).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod delete;
mod fidelity;
mod handmade;
mod hostile;
mod listing;
mod overwrite;
mod part;
mod stop;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use backup::{Overwrite, Progress, RestoreReport, RestoreRequest, Vault, restore};
use store::MemoryStore;
use tempfile::TempDir;

/// A source, its vault, and a place to restore to.
struct Scene {
    source: TempDir,
    vault: Arc<Vault>,
    cache: TempDir,
    target: TempDir,
}

impl Scene {
    /// Backs up what `plant` makes.
    fn new(plant: impl FnOnce(&Path)) -> Self {
        Self::with_store(Arc::new(MemoryStore::new()), plant)
    }

    fn with_store(store: Arc<dyn store::Store>, plant: impl FnOnce(&Path)) -> Self {
        let source = tempfile::tempdir_in("/var/tmp").unwrap();
        let (cache, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
        plant(source.path());
        let vault = support::create(store, cache.path());
        let report = support::run(&vault, source.path());
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        Self { source, vault, cache, target }
    }

    /// A restore of the source's contents into the target, which exists.
    fn request(&self) -> RestoreRequest {
        RestoreRequest { part: bytes(self.source.path()), ..self.whole() }
    }

    /// A restore of everything into the target.
    fn whole(&self) -> RestoreRequest {
        RestoreRequest {
            snapshot: support::latest(&self.vault),
            part: Vec::new(),
            target: self.target.path().to_path_buf(),
            selection: files::Selection::default(),
            overwrite: Overwrite::default(),
            delete: false,
            verify: false,
            dry_run: false,
            parallelism: None,
        }
    }

    fn run(&self, request: &RestoreRequest) -> RestoreReport {
        restore(&self.vault, request, &Arc::new(Progress::new())).unwrap()
    }

    /// Restores without a problem.
    fn restore(&self, request: &RestoreRequest) -> RestoreReport {
        let report = self.run(request);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        report
    }

    fn source(&self, path: &str) -> std::path::PathBuf {
        self.source.path().join(path)
    }

    fn target(&self, path: &str) -> std::path::PathBuf {
        self.target.path().join(path)
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

fn selection(include: &[&str], exclude: &[&str]) -> files::Selection {
    files::Selection::new(include, exclude).unwrap()
}

/// Runs a program of the system that has to succeed.
fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaint}");
}

/// A small file system in memory, as long as this lives.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(path: &'a Path, options: &str) -> Self {
        must("mount", &["-t", "tmpfs", "-o", options, "strongroom-test", path.to_str().unwrap()]);
        Self(path)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        must("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}
