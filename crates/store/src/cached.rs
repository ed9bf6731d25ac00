//! A store whose immutable objects, or parts of them, are also kept in a folder of this machine.
//!
//! The folder is disposable: whatever is missing, damaged or cannot be written there is read from the store instead,
//! and nothing fails because of it. Every file carries a hash of what it is and holds, which is compared on each read.
//! What was used least lately goes when there is too much.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Lock, ObjectInfo, StorageClass, Store, StoreError, Warming, Warmth, random};

/// A part larger than this share of the limit is not kept: it would push out too much else.
const LARGEST: u64 = 16;
/// A file that was used is marked so only when the mark is this old.
const MARK: Duration = Duration::from_secs(3600);
const HASH: usize = 32;

/// Which objects never change, by their names: only those may be kept.
pub type Immutable = fn(&str) -> bool;

/// Keeps what was read of immutable objects.
#[derive(Clone, Debug)]
pub struct Cached {
    inner: Arc<dyn Store>,
    immutable: Immutable,
    shelf: Arc<Shelf>,
}

impl Cached {
    /// Wraps `inner`; keeps at most about `limit` bytes in `folder`, which is made when there is something to keep.
    pub fn new(inner: Arc<dyn Store>, immutable: Immutable, folder: &Path, limit: u64) -> Self {
        let shelf = Shelf { folder: folder.to_owned(), limit, used: Mutex::new(None) };
        Self { inner, immutable, shelf: Arc::new(shelf) }
    }

    /// Keeps an object that was just written, because it will be read again.
    pub async fn remember(&self, name: &str, bytes: Bytes) {
        if (self.immutable)(name) {
            self.keep(name, &Part::Whole, bytes).await;
        }
    }

    /// Keeps a range of an object that was just written, because just this range will be read again.
    pub async fn remember_range(&self, name: &str, range: Range<u64>, bytes: Bytes) {
        if (self.immutable)(name) {
            self.keep(name, &Part::Range(range), bytes).await;
        }
    }

    /// Keeps the end of an object of `size` bytes that was just written, as `get_tail` with `length_max` gives it.
    pub async fn remember_tail(&self, name: &str, length_max: u64, bytes: &[u8], size: u64) {
        if (self.immutable)(name) {
            self.keep(name, &Part::Tail(length_max), with_size(size, bytes)).await;
        }
    }

    /// Lets go of a part that turned out not to be what it should: the next read asks the store.
    pub async fn forget(&self, name: &str, part: &Part) {
        let (shelf, key) = (self.shelf.clone(), part.key(name));
        // What cannot be removed is found wrong again.
        let _ = tokio::task::spawn_blocking(move || fs::remove_file(shelf.path(&key))).await;
    }

    async fn find(&self, name: &str, part: &Part) -> Option<Bytes> {
        if !(self.immutable)(name) {
            return None;
        }
        let (shelf, key) = (self.shelf.clone(), part.key(name));
        tokio::task::spawn_blocking(move || shelf.read(&key)).await.ok()?
    }

    async fn keep(&self, name: &str, part: &Part, bytes: Bytes) {
        let (shelf, key) = (self.shelf.clone(), part.key(name));
        // A cache that cannot be written is slower, and nothing worse.
        let _ = tokio::task::spawn_blocking(move || shelf.keep(&key, &bytes)).await;
    }
}

/// What of an object is kept together.
#[derive(Clone, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Range(Range<u64>),
    /// The last bytes, at most so many; they are kept with the object's size before them.
    Tail(u64),
}

impl Part {
    /// What the file's name and hash are made of.
    fn key(&self, name: &str) -> String {
        match self {
            Self::Whole => format!("{name}\nwhole"),
            Self::Range(range) => format!("{name}\nrange {} {}", range.start, range.end),
            Self::Tail(length) => format!("{name}\ntail {length}"),
        }
    }
}

fn with_size(size: u64, bytes: &[u8]) -> Bytes {
    [&size.to_le_bytes()[..], bytes].concat().into()
}

fn hash(key: &str, bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes()).update(bytes);
    hasher.finalize()
}

/// The folder.
#[derive(Debug)]
struct Shelf {
    folder: PathBuf,
    limit: u64,
    /// Bytes in the folder; `None` before somebody looked.
    used: Mutex<Option<u64>>,
}

impl Shelf {
    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(blake3::hash(key.as_bytes()).to_hex().as_str())
    }

    fn read(&self, key: &str) -> Option<Bytes> {
        let path = self.path(key);
        let mut file = File::open(&path).ok()?;
        let facts = file.metadata().ok()?;
        let mut bytes = Vec::with_capacity(usize::try_from(facts.len().min(self.limit)).ok()?);
        Read::take(&mut file, self.limit).read_to_end(&mut bytes).ok()?;
        let mut bytes = Bytes::from(bytes);
        let is_right = bytes.len() >= HASH && {
            let found = bytes.split_to(HASH);
            hash(key, &bytes) == *found.first_chunk::<HASH>()?
        };
        if !is_right {
            let _ = fs::remove_file(&path);
            return None;
        }
        let now = SystemTime::now();
        let is_old = |time| now.duration_since(time).is_ok_and(|age| age > MARK);
        if facts.modified().is_ok_and(is_old) {
            let _ = file.set_modified(now);
        }
        Some(bytes)
    }

    fn keep(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let size = (bytes.len() + HASH) as u64;
        if size > self.limit / LARGEST {
            return Ok(());
        }
        self.make_room(size)?;
        let unfinished =
            self.folder.join(format!("unfinished-{}", random::unique_name().map_err(io::Error::other)?));
        let written = File::options().write(true).create_new(true).mode(0o600).open(&unfinished).and_then(
            |mut file| {
                file.write_all(hash(key, bytes).as_bytes())?;
                file.write_all(bytes)?;
                fs::rename(&unfinished, self.path(key))
            },
        );
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Counts `size` bytes as used, and removes what was used least lately if that is too much.
    fn make_room(&self, size: u64) -> io::Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *used {
            Some(before) => before,
            None => {
                let mut builder = fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.recursive(true).create(&self.folder)?;
                self.files()?.iter().map(|(_, size, _)| size).sum()
            }
        };
        let mut now = before + size;
        if now > self.limit {
            let mut files = self.files()?;
            files.sort();
            // Others may have written there too: count anew.
            now = files.iter().map(|(_, size, _)| size).sum::<u64>() + size;
            for (_, size, path) in files {
                if now <= self.limit / 4 * 3 {
                    break;
                }
                fs::remove_file(path)?;
                now -= size;
            }
        }
        *used = Some(now);
        Ok(())
    }

    /// Every file with the time of its last use and its size.
    fn files(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may have removed it.
            if let Ok(facts) = entry.metadata() {
                files.push((facts.modified()?, facts.len(), entry.path()));
            }
        }
        Ok(files)
    }
}

#[async_trait]
impl Store for Cached {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.inner.put(name, parts).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.inner.replace(name, parts).await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.inner.put_dated(name, parts).await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.inner.replace_dated(name, parts).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        if let Some(bytes) =
            self.find(name, &Part::Whole).await.filter(|bytes| bytes.len() as u64 <= size_max)
        {
            return Ok(bytes);
        }
        let bytes = self.inner.get(name, size_max).await?;
        if (self.immutable)(name) {
            self.keep(name, &Part::Whole, bytes.clone()).await;
        }
        Ok(bytes)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let part = Part::Range(range.clone());
        if let Some(bytes) = self.find(name, &part).await {
            return Ok(bytes);
        }
        let bytes = self.inner.get_range(name, range).await?;
        if (self.immutable)(name) {
            self.keep(name, &part, bytes.clone()).await;
        }
        Ok(bytes)
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let part = Part::Tail(length_max);
        if let Some(mut bytes) = self.find(name, &part).await.filter(|bytes| bytes.len() >= 8) {
            let size = bytes.split_to(8).first_chunk().map_or(0, |size| u64::from_le_bytes(*size));
            return Ok((bytes, size));
        }
        let (bytes, size) = self.inner.get_tail(name, length_max).await?;
        if (self.immutable)(name) {
            self.keep(name, &part, with_size(size, &bytes)).await;
        }
        Ok((bytes, size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        self.inner.list_each(folders).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.inner.discard(name).await
    }

    fn has_locks(&self) -> bool {
        self.inner.has_locks()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        self.inner.can_lock().await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        self.inner.put_locked(name, parts, class, lock).await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        self.inner.lock(name, lock).await
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.inner.locked(name).await
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.put_as(name, parts, class).await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.inner.warmth(name).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.inner.warm(name, how).await
    }
}
