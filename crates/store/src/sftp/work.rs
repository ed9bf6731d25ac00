//! The operations, on an open connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use openssh_sftp_client::error::SftpErrorKind;
use openssh_sftp_client::file::{File, TokioCompatFile};
use openssh_sftp_client::fs::Fs;
use openssh_sftp_client::metadata::{MetaData, Permissions};
use openssh_sftp_client::{Error, Sftp};
use tokio::io::AsyncWriteExt;

use super::session::{Failure, Session};
use crate::{Kind, ObjectInfo, name, random};

/// How much is asked for at once, in bytes, and how often before the first answer: together 4 MiB are under way.
const PIECE: u64 = 128 << 10;
const PIECES_ASKED: usize = 32;

/// A connection and the folder that is worked on.
pub(super) struct Work {
    pub session: Arc<Session>,
    pub root: PathBuf,
}

impl Work {
    fn path(&self, object: &str) -> PathBuf {
        if object.is_empty() { self.root.clone() } else { self.root.join(object) }
    }

    fn sftp(&self) -> &Sftp {
        &self.session.sftp
    }

    fn fs(&self) -> Fs {
        self.sftp().fs()
    }

    /// The metadata of the store's folder, which has to be one.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        match self.fs().metadata(&self.root).await?.file_type() {
            Some(kind) if kind.is_dir() => Ok(()),
            _ => Err(Failure::new(Kind::NotFound, "it is not a folder")),
        }
    }

    /// Makes the store's folder and what is missing above it.
    pub(super) async fn create(&self) -> Result<(), Failure> {
        let ancestors: Vec<_> =
            self.root.ancestors().filter(|path| !matches!(path.to_str(), Some("" | "/"))).collect();
        for path in ancestors.into_iter().rev() {
            if self.fs().metadata(path).await.is_err() {
                self.make_folder(path).await?;
            }
        }
        self.check().await
    }

    /// Makes one folder; one that exists is fine.
    pub(super) async fn make_folder(&self, path: &Path) -> Result<(), Failure> {
        let made = self.fs().dir_builder().permissions(permissions(0o700)).create(path).await;
        match made {
            // The server's word for "exists".
            Ok(()) | Err(Error::SftpError(SftpErrorKind::Failure, _)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn make_folder_of_store(&self, folder: &str) -> Result<(), Failure> {
        self.make_folder(&self.path(folder)).await
    }

    /// Takes away a folder of the store; one that is not empty is refused.
    pub(super) async fn remove_folder(&self, folder: &str) -> Result<(), Failure> {
        Ok(self.fs().remove_dir(self.path(folder)).await?)
    }

    pub(super) async fn stat(&self, object: &str) -> Result<ObjectInfo, Failure> {
        let metadata = self.fs().symlink_metadata(self.path(object)).await;
        let metadata = match metadata {
            Ok(metadata) if metadata.file_type().is_some_and(|kind| kind.is_file()) => metadata,
            // A component that is a file is refused without a reason.
            Ok(_) | Err(Error::SftpError(SftpErrorKind::Failure | SftpErrorKind::NoSuchFile, _)) => {
                return Err(Failure::new(Kind::NotFound, "there is no such file"));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(info(object.to_owned(), metadata))
    }

    /// Reads the part of an object that `select` chooses by its size.
    pub(super) async fn read(
        &self,
        object: &str,
        select: impl FnOnce(u64) -> Result<(u64, u64), Failure>,
    ) -> Result<(Bytes, u64), Failure> {
        let size = self.stat(object).await?.size;
        let (start, end) = select(size)?;
        let length = end.checked_sub(start).filter(|_| end <= size);
        let length =
            length.ok_or_else(|| Failure::new(Kind::Truncated, "the object ends before the range does"))?;
        let mut bytes = Vec::new();
        let reserved = usize::try_from(length).ok().and_then(|length| bytes.try_reserve_exact(length).ok());
        reserved.ok_or_else(|| Failure::new(Kind::Other, "not enough memory"))?;
        let file = self.sftp().open(self.path(object)).await?;
        let starts = (0..length.div_ceil(PIECE)).map(|number| start + number * PIECE);
        let mut pieces = stream::iter(starts)
            .map(|from| read_piece(file.clone(), from, PIECE.min(end - from)))
            .buffered(PIECES_ASKED);
        while let Some(piece) = pieces.try_next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes.into(), size))
    }

    /// Writes an object to `tmp/` and moves it to its name.
    pub(super) async fn write(&self, object: &str, parts: &[Bytes], overwrite: bool) -> Result<(), Failure> {
        let target = self.path(object);
        if let Ok(found) = self.fs().symlink_metadata(&target).await {
            if !found.file_type().is_some_and(|kind| kind.is_file()) {
                return Err(Failure::new(Kind::Other, "something that is not a file is in its place"));
            }
            if !overwrite {
                // It may have been renamed by a writer that died before it flushed.
                return self.flush(&target).await;
            }
        }
        let unique = random::unique_name().map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
        let temporary = self.path(name::RESERVED).join(unique);
        let written = async {
            let mut file = self.fill(&temporary, parts).await?;
            if overwrite && !self.sftp().support_posix_rename() && self.fs().metadata(&target).await.is_ok() {
                return Err(Failure::new(
                    Kind::Other,
                    "the server cannot put a file in the place of another",
                ));
            }
            self.fs().rename(&temporary, &target).await?;
            self.sync(&mut file).await
        };
        let written = written.await;
        if let Err(failure) = &written
            && !failure.is_broken
        {
            // Best effort; what is left there is never listed.
            let _ = self.fs().remove_file(&temporary).await;
            // Without the extension a rename onto a file fails, and another writer of this name was faster.
            if !overwrite && failure.kind == Kind::Other && self.stat(object).await.is_ok() {
                return Ok(());
            }
        }
        written
    }

    async fn fill(&self, path: &Path, parts: &[Bytes]) -> Result<File, Failure> {
        let mut file = self.sftp().options().write(true).create_new(true).open(path).await?;
        file.set_permissions(permissions(0o600)).await?;
        let mut buffered = Box::pin(TokioCompatFile::new(file));
        let written = async {
            for part in parts {
                buffered.write_all(part).await?;
            }
            buffered.flush().await
        };
        if let Err(error) = written.await {
            let size: u64 = parts.iter().map(|part| part.len() as u64).sum();
            if self.is_full(size).await {
                return Err(Failure::new(Kind::NoSpace, "the server's disk is full"));
            }
            let kind = Kind::from(error.kind());
            let failure =
                Failure::new(if kind == Kind::NotFound { Kind::Other } else { kind }, error.to_string());
            return Err(Failure { is_broken: failure.kind == Kind::Unavailable, ..failure });
        }
        let mut file = buffered.as_mut().as_mut_file().clone();
        self.sync(&mut file).await?;
        Ok(file)
    }

    /// Whether there is no room for so many bytes: the protocol itself has no word for it.
    async fn is_full(&self, size: u64) -> bool {
        if !self.sftp().support_statvfs() {
            return false;
        }
        let asked = self.fs().statvfs(&self.root).await;
        asked.is_ok_and(|disk| disk.bavail.saturating_mul(disk.frsize) < size || disk.favail == 0)
    }

    /// All objects below a folder, sorted.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, Failure> {
        let mut objects = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let opened = self.fs().open_dir(self.path(folder.trim_end_matches('/'))).await;
            let entries = match opened {
                Ok(opened) => opened.read_dir(),
                // No such folder, or no folder, holds nothing, as long as the store itself is there.
                Err(Error::SftpError(SftpErrorKind::NoSuchFile | SftpErrorKind::Failure, _)) => {
                    self.check().await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut entries = Box::pin(entries);
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                let component = entry.filename().to_str();
                let Some(component) = component.filter(|text| name::check_component(text).is_ok()) else {
                    continue;
                };
                let object = format!("{folder}{component}");
                if name::check(&object).is_err() {
                    continue;
                }
                match entry.file_type() {
                    Some(kind) if kind.is_dir() => folders.push(object + "/"),
                    Some(kind) if kind.is_file() => objects.push(info(object, entry.metadata())),
                    _ => {}
                }
            }
        }
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    pub(super) async fn delete(&self, object: &str) -> Result<(), Failure> {
        match self.stat(object).await {
            Ok(_) => {}
            Err(failure) if failure.kind == Kind::NotFound => return self.check().await,
            Err(failure) => return Err(failure),
        }
        let path = self.path(object);
        // To flush what is removed: the server keeps it until it is closed.
        let opened = self.sftp().options().write(true).open(&path).await;
        match self.fs().remove_file(&path).await {
            Ok(()) | Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => {}
            Err(error) => return Err(error.into()),
        }
        match opened {
            Ok(mut file) => self.sync(&mut file).await,
            Err(_) => Ok(()),
        }
    }

    async fn flush(&self, path: &Path) -> Result<(), Failure> {
        let mut file = self.sftp().options().write(true).open(path).await?;
        self.sync(&mut file).await
    }

    /// Makes a file durable with what was done to its name, where the server can.
    async fn sync(&self, file: &mut File) -> Result<(), Failure> {
        if self.sftp().support_fsync() {
            file.sync_all().await?;
        }
        Ok(())
    }
}

/// Reads exactly `length` bytes at `from`. Answers may be shorter than asked for; each goes on where the last ended.
async fn read_piece(mut file: File, from: u64, length: u64) -> Result<BytesMut, Failure> {
    use std::io::SeekFrom;
    use tokio::io::AsyncSeekExt;

    let mut piece = BytesMut::new();
    while (piece.len() as u64) < length {
        let seek = file.seek(SeekFrom::Start(from + piece.len() as u64)).await;
        seek.map_err(|error| Failure::new(Kind::Other, error.to_string()))?;
        let missing = u32::try_from(length - piece.len() as u64).unwrap_or(u32::MAX);
        match file.read(missing, BytesMut::new()).await? {
            Some(bytes) if !bytes.is_empty() && bytes.len() <= missing as usize => {
                piece.extend_from_slice(&bytes);
            }
            Some(bytes) if !bytes.is_empty() => {
                return Err(Failure::new(Kind::Other, "the server sent more than was asked for"));
            }
            _ => return Err(Failure::new(Kind::Truncated, "the object became shorter while it was read")),
        }
    }
    Ok(piece)
}

fn info(name: String, metadata: MetaData) -> ObjectInfo {
    let modified = metadata.modified().map_or(UNIX_EPOCH, |time| time.as_system_time());
    ObjectInfo { name, size: metadata.len().unwrap_or(0), modified: SystemTime::min(modified, far_future()) }
}

/// Later than any time of the protocol, which counts seconds in 32 bits.
fn far_future() -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_secs(u64::from(u32::MAX))
}

fn permissions(mode: u16) -> Permissions {
    let mut permissions = Permissions::new();
    permissions.set_read_by_owner(true).set_write_by_owner(true).set_execute_by_owner(mode & 0o100 != 0);
    permissions
}
