//! Reading notes.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use content::ContentError;
use content::envelope::{DataKey, TAG_LENGTH};
use content::segment::Opener;
use content::tree::{Entry, decode_page};
use vault::{ObjectHash, SnapshotId};

use super::{BLOCK, ENDING, ENDING_NUMBER, Job, MAGIC, SALT, folder};
use crate::Vault;

/// No block is longer than this: what sealing adds to incompressible bytes is little.
const SEALED_BLOCK_MAX: usize = BLOCK + 1024;

/// Notes whose ending is right; the rest shows as it is read.
pub(in crate::run) struct Notes {
    /// What they are about.
    pub snapshot: SnapshotId,
    /// When its backup began, in seconds.
    pub began: i64,
    file: BufReader<File>,
    key: DataKey,
    opener: Opener,
    blocks: u32,
    read: u32,
    raw: Vec<u8>,
    at: usize,
}

/// One record.
pub(super) enum Record {
    Page(Vec<Entry>),
    Leave,
}

impl Notes {
    /// The job's notes, if there are any and their ending is right.
    pub(in crate::run) fn open(vault: &Vault, job: Job) -> Option<Self> {
        let mut file = File::open(folder(vault).join(job.file_name())).ok()?;
        let (mut magic, mut salt) = ([0; MAGIC.len()], [0; SALT]);
        file.read_exact(&mut magic).ok()?;
        file.read_exact(&mut salt).ok()?;
        let key = DataKey::of_notes(vault.keyring().current(), &salt, job.place(vault)).ok()?;
        let after = ENDING + TAG_LENGTH;
        let mut sealed = [0; ENDING + TAG_LENGTH];
        file.seek(SeekFrom::End(-i64::try_from(after).ok()?)).ok()?;
        file.read_exact(&mut sealed).ok()?;
        let mut ending = Vec::new();
        key.open_into(ENDING_NUMBER, &sealed, &mut ending).ok()?;
        let (snapshot, rest) = ending.split_first_chunk()?;
        let (began, rest) = rest.split_first_chunk()?;
        let blocks = rest.try_into().ok()?;
        file.seek(SeekFrom::Start((MAGIC.len() + SALT) as u64)).ok()?;
        (magic == MAGIC).then(|| Self {
            snapshot: ObjectHash::new(*snapshot),
            began: i64::from_le_bytes(*began),
            file: BufReader::new(file),
            key,
            opener: Opener::new(),
            blocks: u32::from_le_bytes(blocks),
            read: 0,
            raw: Vec::new(),
            at: 0,
        })
    }

    /// The next record; `None` at the end.
    pub(super) fn record(&mut self) -> Result<Option<Record>, ContentError> {
        if self.at == self.raw.len() && self.read == self.blocks {
            return Ok(None);
        }
        let length = self.take(4)?.try_into().map_err(|_| ContentError::Sealed)?;
        match u32::from_le_bytes(length) {
            0 => Ok(Some(Record::Leave)),
            length => Ok(Some(Record::Page(decode_page(self.take(length as usize)?)?))),
        }
    }

    /// The next `length` bytes of the stream.
    fn take(&mut self, length: usize) -> Result<&[u8], ContentError> {
        if self.raw.len() - self.at < length {
            self.raw.drain(..self.at);
            self.at = 0;
        }
        while self.raw.len() - self.at < length {
            self.block()?;
        }
        let start = self.at;
        self.at += length;
        self.raw.get(start..self.at).ok_or(ContentError::Sealed)
    }

    fn block(&mut self) -> Result<(), ContentError> {
        if self.read == self.blocks {
            return Err(ContentError::Sealed);
        }
        let mut length = [0; 4];
        self.file.read_exact(&mut length).map_err(|_| ContentError::Sealed)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > SEALED_BLOCK_MAX {
            return Err(ContentError::Sealed);
        }
        let mut sealed = vec![0; length];
        self.file.read_exact(&mut sealed).map_err(|_| ContentError::Sealed)?;
        self.raw.extend_from_slice(self.opener.open(&sealed, &self.key, self.read)?);
        self.read += 1;
        Ok(())
    }
}
