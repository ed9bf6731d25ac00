//! Data in cold storage: what a restore needs of it is found, asked for at once, and waited for.
//!
//! The plan needs only what is never cold: trees say which packs a file's chunks are in, and snapshots which objects
//! hold these. Each object is looked at once; of what cannot be read the store is asked to make it readable, which costs
//! money, so nothing here asks without being told to.
//!
//! Waiting looks at one object at a time, the next one when it is warm: all are needed, so a look at another would be
//! money for nothing. A reader's lease is held all the while.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use content::tree::Node;
use files::Verdict;
use futures_util::StreamExt;
use futures_util::stream;
use store::{StoreError, Warming, Warmth};
use vault::{ObjectHash, PackId};

use super::layout::Layout;
use super::{Overwrite, RestoreRequest, TREE_CACHE, find};
use crate::tree_walk::clean_path;
use crate::{Error, Progress, Reader, ReadingTenure, TreeStep, Vault};

/// How many objects are looked at or asked for at once.
const AT_ONCE: usize = 16;
/// The first pause between two looks at an object that is being warmed; each is twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause: what takes hours need not be seen within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How often a waiting thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// How many packs, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackCount {
    /// How many packs.
    pub packs: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl PackCount {
    fn of(packs: &[Pack]) -> Self {
        Self { packs: packs.len() as u64, bytes: packs.iter().map(|pack| pack.size).sum() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Pack {
    object: ObjectHash,
    size: u64,
}

/// The packs of a restore that cannot be read now.
#[derive(Debug)]
pub struct ColdPacks {
    vault: Arc<Vault>,
    /// Nobody has asked for these.
    cold: Vec<Pack>,
    /// Somebody has.
    warming: Vec<Pack>,
    _tenure: Option<ReadingTenure>,
}

impl ColdPacks {
    /// Looks at every pack that the restore may need, if the vault's settings say that there may be cold ones, or
    /// `anyway`. `None` when all of them can be read.
    pub fn find(
        vault: &Arc<Vault>,
        request: &RestoreRequest,
        anyway: bool,
        progress: &Arc<Progress>,
    ) -> Result<Option<Self>, Error> {
        if !vault.store().has_classes() || !(anyway || vault.data_may_be_cold()?) {
            return Ok(None);
        }
        progress.set_stage("looking for cold packs");
        let tenure = ReadingTenure::begin(vault);
        let objects = objects(vault, request, progress)?;
        let looks = objects.into_iter().map(|object| {
            let store = vault.store().clone();
            async move { (object, store.warmth(&object.pack_name()).await) }
        });
        let looks = in_steps(vault, progress, looks)?;
        let mut found = Self { vault: vault.clone(), cold: Vec::new(), warming: Vec::new(), _tenure: tenure };
        for (object, outcome) in looks {
            match outcome {
                Ok((Warmth::Warm, _)) => {}
                Ok((Warmth::Warming, size)) => found.warming.push(Pack { object, size }),
                Ok((Warmth::Cold, size)) => found.cold.push(Pack { object, size }),
                // The restore tells which files are lost by it.
                Err(error) if error.kind == store::Kind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(found).filter(|found| !found.cold.is_empty() || !found.warming.is_empty()))
    }

    /// Those that nobody has asked for yet.
    pub fn cold(&self) -> PackCount {
        PackCount::of(&self.cold)
    }

    /// Those that somebody has asked for before.
    pub fn warming(&self) -> PackCount {
        PackCount::of(&self.warming)
    }

    /// Asks for all that nobody has asked for. This costs money.
    pub fn ask(&mut self, how: Warming, progress: &Arc<Progress>) -> Result<(), Error> {
        progress.set_stage("asking for cold packs");
        let mut waiting = std::mem::take(&mut self.cold).into_iter();
        // Whoever may not ask hears it once.
        for count in [1, usize::MAX] {
            let asked = waiting.by_ref().take(count).map(|pack| {
                let store = self.vault.store().clone();
                async move { (pack, store.warm(&pack.object.pack_name(), how).await) }
            });
            for (pack, outcome) in in_steps(&self.vault, progress, asked)? {
                outcome?;
                self.warming.push(pack);
            }
        }
        Ok(())
    }

    /// Waits until all that was asked for can be read; `told` hears how many packs still cannot, whenever one more can.
    pub fn wait(mut self, progress: &Arc<Progress>, told: &dyn Fn(u64)) -> Result<(), Error> {
        progress.set_stage("waiting for cold packs");
        let store = self.vault.store().clone();
        let mut pause = PAUSE_FIRST;
        while let Some(pack) = self.warming.last() {
            progress.checkpoint()?;
            let (warmth, _) = self.vault.wait(store.warmth(&pack.object.pack_name()))?;
            if warmth == Warmth::Warm {
                self.warming.pop();
                told(self.warming.len() as u64);
                continue;
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                progress.checkpoint()?;
                thread::sleep(LOOK);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }
}

/// What was asked about, and what the store said.
type Answer<T, U> = (T, Result<U, StoreError>);

/// Runs calls of the store, several at once, until one of them fails for good or somebody asks for the end.
fn in_steps<T, U, F: Future<Output = Answer<T, U>>>(
    vault: &Vault,
    progress: &Progress,
    calls: impl Iterator<Item = F>,
) -> Result<Vec<Answer<T, U>>, Error> {
    vault.wait(async {
        let mut answers = Vec::new();
        let mut running = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some(answer) = running.next().await {
            progress.checkpoint()?;
            let ends = matches!(&answer.1, Err(error) if error.kind != store::Kind::NotFound);
            answers.push(answer);
            if ends {
                break;
            }
        }
        Ok(answers)
    })
}

/// The objects that hold the content of all files that are to be restored. Files that exist are taken to need theirs,
/// unless they are left alone: what differs is known only when it is compared.
fn objects(
    vault: &Arc<Vault>,
    request: &RestoreRequest,
    progress: &Arc<Progress>,
) -> Result<BTreeSet<ObjectHash>, Error> {
    let reader = Reader::new(vault, TREE_CACHE);
    let root = reader.open(&request.snapshot)?;
    let part = clean_path(&request.part);
    let start = find(&reader, &root, &part, request)?;
    let mut packs: BTreeSet<PackId> = BTreeSet::new();
    let is_folder = start.is_directory();
    let exists = |path: &[u8]| {
        let below =
            if is_folder { path.strip_prefix(&*part) } else { path.rsplit(|byte| *byte == b'/').next() };
        let below = below.unwrap_or(path);
        let below = below.strip_prefix(b"/").unwrap_or(below);
        request.target.join(OsStr::from_bytes(below)).symlink_metadata().is_ok()
    };
    let mut walk = reader.walk(start, &part);
    while let Some(step) = walk.next() {
        progress.checkpoint()?;
        match step {
            Ok(TreeStep::Enter { path, .. }) => {
                if request.selection.verdict(&path, true) == Verdict::No {
                    walk.skip_directory();
                }
            }
            Ok(TreeStep::Item { path, entry }) => {
                let is_wanted = matches!(entry.node, Node::File { .. })
                    && request.selection.verdict(&path, false) == Verdict::Wanted
                    && !(request.overwrite == Overwrite::Never && exists(&path));
                if is_wanted {
                    // What cannot be read is told by the restore.
                    packs
                        .extend(Layout::new(&reader, &entry).map_while(Result::ok).map(|at| at.address.pack));
                }
            }
            Ok(TreeStep::Leave { .. }) => {}
            Err(error) if super::session::is_out_of_reach(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(packs.into_iter().filter_map(|pack| reader.object_of(pack)).collect())
}
