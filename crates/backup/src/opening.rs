//! What this machine remembers of a remote vault's opening: its descriptor and the key slot that opened it.
//!
//! Both are public objects that never change, so reading them again would tell nothing new. Whether the slot is still
//! there does tell something: who is to be kept out loses the slot. So whoever opens a vault by what was remembered sees
//! in the first listing that it is there, see [`Vault::open_remembered`](crate::Vault::open_remembered).

use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use content::slot::Slot;
use vault::ObjectHash;
use vault::descriptor::{DESCRIPTOR_MAX, Descriptor};
use vault::name::SLOT_MAX;
use vault::wire::{Reader, Write};

use crate::vault_access::make_private_folder;

const HASH: usize = 32;
/// The hash, the lengths and what they are of.
const FILE_MAX: u64 = HASH as u64 + 20 + DESCRIPTOR_MAX + SLOT_MAX;

/// The two objects as they are stored.
#[derive(Debug)]
pub(crate) struct Opening {
    pub descriptor: Bytes,
    pub slot: Bytes,
}

/// Where it is kept, below the folder of all caches.
fn path(cache: &Path, location: &str) -> PathBuf {
    cache.join("openings").join(blake3::hash(location.as_bytes()).to_hex().as_str())
}

impl Opening {
    /// Whether anything is remembered of the vault there.
    pub(crate) fn is_known(cache: &Path, location: &str) -> bool {
        path(cache, location).is_file()
    }

    /// What is remembered of the vault at `location`, if it is whole.
    pub(crate) fn read(cache: &Path, location: &str) -> Option<Self> {
        let content = read_hashed(&path(cache, location), FILE_MAX)?;
        let mut reader = Reader::new(&content);
        let descriptor = content.slice_ref(reader.sized("descriptor", DESCRIPTOR_MAX as usize).ok()?);
        let slot = content.slice_ref(reader.sized("key slot", SLOT_MAX as usize).ok()?);
        reader.finish("opening").ok()?;
        Some(Self { descriptor, slot })
    }

    /// Keeps it. What cannot be kept is read from the store next time.
    pub(crate) fn keep(&self, cache: &Path, location: &str) {
        let mut both = Vec::new();
        both.sized(&self.descriptor);
        both.sized(&self.slot);
        let _ = write_hashed(&path(cache, location), &both);
    }

    /// Forgets what is remembered.
    pub(crate) fn forget(cache: &Path, location: &str) {
        let _ = fs::remove_file(path(cache, location));
    }

    /// Both, decoded, and the slot's object name; nothing if they do not belong together.
    pub(crate) fn decode(&self) -> Option<(Descriptor, Slot, String)> {
        let descriptor = Descriptor::decode(&self.descriptor).ok()?;
        let slot = Slot::decode(&self.slot).ok()?;
        let name = ObjectHash::of(&self.slot).slot_name();
        (slot.vault == descriptor.vault).then_some((descriptor, slot, name))
    }
}

/// What [`write_hashed`] wrote, if it is whole and no longer than `size_max`.
pub(crate) fn read_hashed(path: &Path, size_max: u64) -> Option<Bytes> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(size_max).read_to_end(&mut bytes).ok()?;
    let (hash, content) = bytes.split_first_chunk::<HASH>()?;
    (blake3::hash(content) == *hash).then(|| Bytes::copy_from_slice(content))
}

/// Puts a file there that only its owner can read, in one step, with a hash before its content.
pub(crate) fn write_hashed(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    make_private_folder(folder).map_err(io::Error::other)?;
    let unique = u128::from_le_bytes(content::random::identity());
    let unfinished = folder.join(format!("unfinished-{unique:032x}"));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(blake3::hash(content).as_bytes()).and_then(|()| file.write_all(content));
    let written = written.and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}
