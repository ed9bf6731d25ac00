//! Writing notes.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use content::ContentError;
use content::cut::Cutter;
use content::envelope::DataKey;
use content::segment::{Compression, Grain, Sealer};
use content::tree::{Entry, PageWriter};
use rustix::fs::{FlockOperation, flock};
use vault::SnapshotId;

use super::{BLOCK, ENDING_NUMBER, Job, MAGIC, NOTES_MAX, SALT, UNFINISHED, folder, shrink};
use crate::Vault;
use crate::vault_access::make_private_folder;

/// Takes the entries of a backup in the order of its walk. What goes wrong is for the next backup to bear, which then
/// reads everything.
pub(in crate::run) struct NotesWriter {
    /// `None` when something went wrong.
    open: Option<Open>,
}

struct Open {
    file: Unfinished,
    key: DataKey,
    sealer: Sealer,
    cutter: Cutter,
    page: PageWriter,
    /// What no block holds yet.
    raw: Vec<u8>,
    blocks: u32,
    written: u64,
    began: i64,
}

/// A file that goes unless it gets its name.
struct Unfinished {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has another name when it was kept.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl NotesWriter {
    /// Begins the notes of a backup that began at `began`, in seconds.
    pub(in crate::run) fn begin(vault: &Vault, job: Job, cutter: &Cutter, began: i64) -> Self {
        Self { open: Open::begin(vault, job, cutter, began).ok() }
    }

    /// Notes an entry. What is noted after a directory is in it, until it is left.
    pub(in crate::run) fn entry(&mut self, entry: &Entry) {
        self.try_to(|open| {
            let is_full = open.page.push(entry, &open.cutter);
            if is_full || entry.is_directory() { open.end_page() } else { Ok(()) }
        });
    }

    /// Leaves a directory.
    pub(in crate::run) fn leave(&mut self) {
        self.try_to(|open| {
            open.end_page()?;
            open.record(&[])
        });
    }

    /// Keeps them in place of the job's older ones, now that the snapshot is in the vault.
    pub(in crate::run) fn keep(mut self, snapshot: SnapshotId) {
        self.try_to(|open| open.keep(snapshot));
    }

    fn try_to(&mut self, act: impl FnOnce(&mut Open) -> Result<(), Unkept>) {
        if self.open.as_mut().is_some_and(|open| act(open).is_err()) {
            self.open = None;
        }
    }
}

/// Why there will be no notes; nobody asks.
struct Unkept;

impl From<io::Error> for Unkept {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl From<ContentError> for Unkept {
    fn from(_: ContentError) -> Self {
        Self
    }
}

impl Open {
    fn begin(vault: &Vault, job: Job, cutter: &Cutter, began: i64) -> Result<Self, Unkept> {
        let folder = folder(vault);
        make_private_folder(&folder).map_err(|_| Unkept)?;
        let mut salt = [0; SALT];
        content::random::fill(&mut salt);
        let key = DataKey::of_notes(vault.keyring().current(), &salt, job.place(vault))?;
        let unique = u128::from_le_bytes(content::random::identity());
        let path = folder.join(format!("{UNFINISHED}{unique:032x}"));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let target = folder.join(job.file_name());
        let mut file = Unfinished { file, path, target };
        // Without it the next run may take this one for dead, which costs the notes alone.
        let _ = flock(&file.file, FlockOperation::NonBlockingLockExclusive);
        file.file.write_all(&MAGIC)?;
        file.file.write_all(&salt)?;
        Ok(Self {
            file,
            key,
            sealer: Sealer::new(Compression::Fast),
            cutter: cutter.clone(),
            page: PageWriter::new(),
            raw: Vec::new(),
            blocks: 0,
            written: 0,
            began,
        })
    }

    fn end_page(&mut self) -> Result<(), Unkept> {
        if self.page.is_empty() {
            return Ok(());
        }
        let page = self.page.finish();
        self.record(&page)
    }

    fn record(&mut self, page: &[u8]) -> Result<(), Unkept> {
        let length = u32::try_from(page.len()).map_err(|_| Unkept)?;
        self.raw.extend_from_slice(&length.to_le_bytes());
        self.raw.extend_from_slice(page);
        while self.raw.len() >= BLOCK {
            self.block(BLOCK)?;
        }
        Ok(())
    }

    /// Seals the first `length` bytes of what waits.
    fn block(&mut self, length: usize) -> Result<(), Unkept> {
        let rest = self.raw.split_off(length);
        let raw = std::mem::replace(&mut self.raw, rest);
        let sealed = self.sealer.seal(&raw, Grain::Fine, &self.key, self.blocks)?;
        self.blocks += 1;
        self.written += sealed.len() as u64;
        if self.written > NOTES_MAX {
            return Err(Unkept);
        }
        self.file.file.write_all(&(sealed.len() as u32).to_le_bytes())?;
        self.file.file.write_all(&sealed)?;
        Ok(())
    }

    fn keep(&mut self, snapshot: SnapshotId) -> Result<(), Unkept> {
        if !self.raw.is_empty() {
            self.block(self.raw.len())?;
        }
        let mut ending = snapshot.bytes().to_vec();
        ending.extend_from_slice(&self.began.to_le_bytes());
        ending.extend_from_slice(&self.blocks.to_le_bytes());
        self.key.seal(ENDING_NUMBER, &mut ending)?;
        self.file.file.write_all(&ending)?;
        std::fs::rename(&self.file.path, &self.file.target)?;
        if let Some(folder) = self.file.target.parent() {
            shrink(folder, NOTES_MAX);
        }
        Ok(())
    }
}
