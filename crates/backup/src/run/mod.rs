//! A backup run.
//!
//! ```text
//! walk ─ plan ──────────── steps in path order ───────────► assemble ─► sealers ─► pack ─► store
//!          └─► readers ── chunks of new and changed files ──►┘ ▲                     │
//!                                                              └── index ◄── fragments ┘
//! ```
//! *Plan* merges the walk with the snapshot before, also in path order: what did not change is taken over without
//! being opened. *Readers* read the rest, cut it and name its chunks. *Assemble* takes everything in path order again,
//! looks chunks up, gives unknown ones their place, and builds directories from the bottom up. *Sealers* compress,
//! seal and prove segments on all cores. *Pack* puts them into packs, stores those, and writes index fragments. The
//! snapshot is written last, when all it needs is stored. Every queue is bounded, in items whose size is bounded.

mod assemble;
mod commit;
mod failure;
mod journal;
mod lane;
mod notes;
mod pack;
mod parent;
mod plan;
mod previous;
mod read;
mod seal;
mod session;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use content::body::{Problem, Statistics};
use content::segment::Compression;
use crossbeam_channel::bounded;
use vault::SnapshotId;

use crate::{Error, Progress, Vault};
use failure::Failure;
use notes::NotesWriter;
use session::Session;
pub use stream::back_up_stream;

/// What to back up, and how.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// What to leave out.
    pub rules: files::Rules,
    /// Stay on the file systems of the paths.
    pub one_file_system: bool,
    /// Labels for the snapshot.
    pub tags: Vec<String>,
    /// Options that shaped the result, to be kept in the snapshot.
    pub options: Vec<(String, String)>,
    /// Look and count, store nothing.
    pub dry_run: bool,
    /// How hard to compress.
    pub compression: Compression,
    /// Read every file, changed or not.
    pub force_read: bool,
    /// How many threads read, and how many compress; the machine's cores when `None`.
    pub parallelism: Option<usize>,
    /// The machine's name.
    pub host: String,
    /// Folders by (device, inode) that are not entered: the vault and the cache themselves.
    pub skip: Vec<(u64, u64)>,
    /// The snapshot to compare with; the newest of the same host and paths when `None`.
    pub parent: Option<SnapshotId>,
}

/// How a backup went.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The new snapshot; `None` for a dry run.
    pub snapshot: Option<SnapshotId>,
    /// Numbers.
    pub statistics: Statistics,
    /// Everything that did not go well; it is in the snapshot too.
    pub problems: Vec<Problem>,
    /// How long it took.
    pub duration: Duration,
}

/// Backs up. What was stored before a failure or an interruption is found and reused by the next run.
pub fn back_up(
    vault: &Arc<Vault>,
    request: &BackupRequest,
    progress: &Arc<Progress>,
) -> Result<BackupReport, Error> {
    let begun = Instant::now();
    for _ in 0..TRIES {
        progress.set_stage("preparing");
        let session = Session::begin(vault, request, progress)?;
        progress.set_stage("backing up");
        let outcome = run_pipeline(&session, session.begin_notes(), plan::run)?;
        if let Some(report) = commit::finish(&session, outcome, begun)? {
            return Ok(report);
        }
    }
    Err(Error::Restless)
}

/// How often a backup begins anew because its machine slept and what it relied on was collected meanwhile.
const TRIES: usize = 3;

/// What the pipeline leaves for the commit.
struct PipelineOutcome {
    assembled: assemble::Assembled,
    packed: pack::Packed,
}

/// Starts all stages; `plan` runs on the caller's thread.
fn run_pipeline<'a>(
    session: &'a Session<'_>,
    notes: Option<NotesWriter>,
    plan: impl FnOnce(
        &'a Session<'_>,
        crossbeam_channel::Sender<read::ReadJob>,
        crossbeam_channel::Sender<plan::Portion>,
    ) -> Result<(), Error>,
) -> Result<PipelineOutcome, Error> {
    let failure = &Failure::new(session.progress.clone());
    let threads = session.parallelism;
    let (jobs_in, jobs) = bounded(4 * threads);
    let (portions_in, portions) = bounded(8);
    let (seals_in, seals) = bounded(2 * threads);
    let (sealed_in, sealed) = bounded(2 * threads);
    let (fragments_in, fragments) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        for _ in 0..threads {
            let jobs = jobs.clone();
            scope.spawn(move || failure.guard(|| read::run(session, &jobs)));
            let (seals, sealed_in) = (seals.clone(), sealed_in.clone());
            scope.spawn(move || failure.guard(|| seal::run(session.request.compression, &seals, &sealed_in)));
        }
        drop((jobs, seals));
        let to_pack = sealed_in.clone();
        drop(sealed_in);
        let assembling = scope.spawn(move || {
            failure.guard(|| assemble::run(session, notes, &portions, seals_in, to_pack, &fragments))
        });
        let packing = scope.spawn(move || failure.guard(|| pack::run(session, &sealed, &fragments_in)));
        failure.guard(|| plan(session, jobs_in, portions_in));
        let assembled = assembling.join().ok().flatten();
        let packed = packing.join().ok().flatten();
        match (failure.take(), assembled, packed) {
            (Some(error), _, _) => Err(error),
            (None, Some(assembled), Some(packed)) => Ok(PipelineOutcome { assembled, packed }),
            (None, _, _) => Err(Error::Interrupted),
        }
    })
}
