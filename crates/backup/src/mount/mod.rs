//! A vault as a file system (FUSE, read only).
//!
//! ```text
//! 2026-11-23_03.51.00_ab12cd34/…   one folder for each snapshot, named by its time (local) and its short id
//! latest                           a link to the newest
//! hosts/NAME/…                     links to the snapshots of each machine, and a `latest` of its own
//! ```
//! Inside a snapshot everything has its metadata as it was: modes, owners, times, extended attributes, link counts.
//! An inode number follows from a path (or, for a file with several names, from the file), so it stays the same as
//! long as the mount. Nothing ever changes, so the kernel may keep what it has seen.
//!
//! Mounted by root, every user sees what the modes in the snapshots allow. Mounted by anybody else, only that user
//! sees anything, and everything: whoever has the key may read.

mod attributes;
mod contents;
mod filesystem;
mod nodes;
mod pages;
mod top;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};

use crate::{Error, Progress, Reader, ReadingTenure, Snapshot, Vault};
use filesystem::SnapshotFiles;
use top::Top;

/// How many opened bytes are kept.
const CACHE: usize = 96 << 20;
/// How often is looked whether to end.
const LOOK: Duration = Duration::from_millis(100);
/// How long is waited for the last users after it was unmounted.
const PATIENCE: Duration = Duration::from_secs(1);
const THREADS_MAX: usize = 8;

/// Mounts snapshots at `mountpoint` and serves them until somebody unmounts it or the run is cancelled, which unmounts
/// it. While it is mounted, [`Progress::stage`] is `mounted`.
pub fn mount(
    vault: &Arc<Vault>,
    mountpoint: &Path,
    snapshots: &[Arc<Snapshot>],
    progress: &Arc<Progress>,
) -> Result<(), Error> {
    progress.set_stage("mounting");
    let failed = |source| Error::File { path: mountpoint.to_owned(), action: "mounted on", source };
    let _tenure = ReadingTenure::begin(vault);
    let reader = Reader::new(vault, CACHE);
    let files =
        SnapshotFiles::new(&reader, Top::new(snapshots), snapshots.to_vec(), progress).map_err(failed)?;
    // Where it really is: unmounting must work from any working folder.
    let place = mountpoint.canonicalize().map_err(failed)?;
    let mut session = Session::new(files, &place, &config(vault)).map_err(failed)?;
    let unmounter = session.unmount_callable();
    let serving = Serving(std::thread::Builder::new().spawn(move || session.run()).map_err(failed)?);
    progress.set_stage("mounted");
    while !progress.is_cancelled() {
        if serving.ends_within(LOOK) {
            return serving.outcome(place);
        }
    }
    progress.set_stage("unmounting");
    unmount(unmounter, &place)?;
    // Whoever still has something open keeps it until this process ends.
    if serving.ends_within(PATIENCE) { serving.outcome(place) } else { Ok(()) }
}

/// The thread that serves the mount.
struct Serving(JoinHandle<std::io::Result<()>>);

impl Serving {
    fn ends_within(&self, time: Duration) -> bool {
        let begun = Instant::now();
        while !self.0.is_finished() && begun.elapsed() < time {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.is_finished()
    }

    fn outcome(self, place: PathBuf) -> Result<(), Error> {
        let outcome = self.0.join().unwrap_or_else(|_| Err(std::io::Error::other("a thread panicked")));
        outcome.map_err(|source| Error::File { path: place, action: "served", source })
    }
}

fn config(vault: &Vault) -> Config {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut config = Config::default();
    config.n_threads = Some((cores + 1).min(THREADS_MAX));
    config.mount_options = vec![
        MountOption::FSName(format!("strongroom-{}", vault.id())),
        MountOption::Subtype("strongroom".to_owned()),
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    if rustix::process::geteuid().is_root() {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config
}

/// Unmounts, also when somebody still uses it.
fn unmount(mut unmounter: SessionUnmounter, place: &Path) -> Result<(), Error> {
    let failed = |source| Error::File { path: place.to_owned(), action: "unmounted", source };
    match unmounter.unmount() {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
            rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH)
                .map_err(|error| failed(error.into()))
        }
        outcome => outcome.map_err(failed),
    }
}
