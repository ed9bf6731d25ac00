//! A store in a folder behind an SSH server.
//!
//! OpenDAL's own SFTP service is not used: it makes the store's folder anew at every connection (a store that vanished
//! would begin again, empty), writes objects under their own names, never flushes, and tells a refused log-in from a
//! lost connection only in words. What is here uses the same protocol library and the command `ssh`, so that the user's
//! configuration, keys, agent and known hosts work as everywhere else. `STRONGROOM_SSH_CONFIG` names a configuration
//! file in place of the usual ones. Nobody is asked for a password.
//!
//! **Whole or not at all.** As in a local folder: an object is written to `tmp/` and renamed.
//!
//! **Durable** on a server that flushes on request (`fsync@openssh.com`, which OpenSSH has). The file is flushed before
//! it is renamed, and again after: the protocol does not flush folders, but the file systems that keep a journal
//! (ext4, XFS, btrfs) write down the renaming of a file, and all before it, when the file is flushed. A removed file is
//! flushed too, for the same reason. On another server it is as durable as the server makes it by itself.
//!
//! **Gone.** When the folder vanishes, calls say [`Kind::Gone`]. A folder that was moved away and replaced by another
//! is not noticed, as the protocol does not identify folders.
//!
//! One connection serves all calls. When it breaks, the calls on it fail with [`Kind::Unavailable`], and the next
//! call opens another; only a call on a connection that had worked before is tried once more at once.

mod session;
mod work;

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::location::{LookUp, SshFolder};
use crate::{Kind, ObjectInfo, Operation, Store, StoreError, name, network};
use session::{Failure, Session};
use work::Work;

/// The longest wait for a call, apart from its bytes.
const ANSWER: Duration = Duration::from_secs(120);

/// The slowest connection that is waited for, in bytes per second. A dead one ends much earlier.
const RATE_MIN: u64 = 16 << 10;

/// Objects as files in a folder of another machine.
#[derive(Clone)]
pub struct SftpStore {
    remote: Arc<Remote>,
}

struct Remote {
    folder: SshFolder,
    root: PathBuf,
    location: String,
    config: Option<String>,
    session: Mutex<Option<Arc<Session>>>,
    /// Folders in the store that are known to be there.
    known: std::sync::Mutex<HashSet<String>>,
}

impl SftpStore {
    /// A store in `folder`; `location` is shown in messages. Nothing is sent yet.
    pub fn new(folder: &SshFolder, location: impl Into<String>, look_up: LookUp<'_>) -> Self {
        let remote = Remote {
            folder: folder.clone(),
            root: PathBuf::from(&folder.path),
            location: location.into(),
            config: look_up("STRONGROOM_SSH_CONFIG").filter(|path| !path.is_empty()),
            session: Mutex::default(),
            known: std::sync::Mutex::default(),
        };
        Self { remote: Arc::new(remote) }
    }

    /// Logs in and looks whether the folder is there: [`Kind::NotFound`] when it is not, [`Kind::PermissionDenied`]
    /// when the server refuses the user or its own key is not the known one.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.at_start("open", false).await
    }

    /// Makes the folder and what is missing above it (mode 0700).
    pub async fn create(&self) -> Result<(), StoreError> {
        self.at_start("create", true).await
    }

    /// Takes away a folder inside, such as `packs/`, if it is empty.
    pub(crate) async fn remove_folder(&self, folder: &str) {
        let removed = self.run(Operation::List, folder, |remote, folder| async move {
            let folder = folder.trim_end_matches('/');
            remote.with_session(0, |work| async move { work.remove_folder(folder).await }).await?;
            remote.known().remove(folder);
            Ok(())
        });
        // Nothing depends on what a folder was for.
        let _ = removed.await;
    }

    async fn at_start(&self, verb: &'static str, creates: bool) -> Result<(), StoreError> {
        let remote = self.remote.clone();
        let run = network::run(async move {
            remote
                .with_session(0, move |work| async move {
                    if creates { work.create().await } else { work.check().await }
                })
                .await
        });
        let error = |kind| StoreError::new(kind, verb, "", self.location());
        match run.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(error(failure.kind).because(failure.reason)),
            Err(cause) => Err(error(Kind::Other).because(cause)),
        }
    }

    /// Runs `work` where the connection lives, after the name was found good.
    async fn run<T: Send + 'static, F: Future<Output = Result<T, Failure>> + Send + 'static>(
        &self,
        operation: Operation,
        object: &str,
        work: impl FnOnce(Arc<Remote>, String) -> F,
    ) -> Result<T, StoreError> {
        let error = |kind| StoreError::new(kind, operation.verb(), object, self.location());
        let checked =
            if operation == Operation::List { name::check_folder(object) } else { name::check(object) };
        checked.map_err(|reason| error(Kind::InvalidName).because(reason))?;
        let ran = network::run({
            let (remote, future) = (self.remote.clone(), work(self.remote.clone(), object.to_owned()));
            async move {
                match future.await {
                    // A write finds its folder missing only when it was removed.
                    Err(failure) if failure.kind == Kind::NotFound => {
                        let is_gone =
                            operation.writes() || operation == Operation::List || remote.is_gone().await;
                        Err(if is_gone { Failure { kind: Kind::Gone, ..failure } } else { failure })
                    }
                    outcome => outcome,
                }
            }
        });
        match ran.await {
            Ok(outcome) => outcome.map_err(|failure| error(failure.kind).because(failure.reason)),
            Err(cause) => Err(error(Kind::Other).because(cause)),
        }
    }
}

impl Remote {
    /// Runs `call` on the connection, which is opened first when there is none. `bytes` is how much is going to move.
    async fn with_session<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        bytes: u64,
        call: impl Fn(Work) -> F + Send,
    ) -> Result<T, Failure> {
        let limit = ANSWER.saturating_add(Duration::from_secs(bytes / RATE_MIN));
        loop {
            let (session, is_new) = self.session().await?;
            let work = Work { session: session.clone(), root: self.root.clone() };
            let outcome = match timeout(limit, call(work)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure {
                    is_broken: true,
                    ..Failure::new(Kind::Unavailable, format!("no answer within {} s", limit.as_secs()))
                }),
            };
            match outcome {
                Err(failure) if failure.is_broken => {
                    self.forget(&session).await;
                    if is_new {
                        return Err(failure);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    async fn session(&self) -> Result<(Arc<Session>, bool), Failure> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok((session.clone(), false));
        }
        let opened = Arc::new(Session::open(&self.folder, self.config.as_deref()).await?);
        *session = Some(opened.clone());
        Ok((opened, true))
    }

    async fn forget(&self, broken: &Arc<Session>) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|current| Arc::ptr_eq(current, broken)) {
            *session = None;
        }
    }

    async fn is_gone(&self) -> bool {
        let checked = self.with_session(0, |work| async move { work.check().await }).await;
        checked.is_err_and(|failure| failure.kind == Kind::NotFound)
    }

    async fn write(&self, object: &str, parts: &[Bytes], overwrite: bool) -> Result<(), Failure> {
        let size = parts.iter().map(|part| part.len() as u64).sum();
        self.with_session(size, |work| async move {
            let above = object.match_indices('/').map(|(end, _)| &object[..end]);
            for folder in [name::RESERVED].into_iter().chain(above) {
                if !self.known().contains(folder) {
                    work.make_folder_of_store(folder).await?;
                    self.known().insert(folder.to_owned());
                }
            }
            work.write(object, parts, overwrite).await
        })
        .await
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStore").field("location", &self.remote.location).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SftpStore {
    fn location(&self) -> String {
        self.remote.location.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Put, name, |remote, name| async move { remote.write(&name, &parts, false).await })
            .await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(
            Operation::Replace,
            name,
            |remote, name| async move { remote.write(&name, &parts, true).await },
        )
        .await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        let select = move |size| {
            if size > size_max {
                Err(Failure::new(Kind::TooLarge, "the caller allows less"))
            } else {
                Ok((0, size))
            }
        };
        self.run(Operation::Get, name, move |remote, name| async move {
            let name = &*name;
            Ok(remote.with_session(size_max, |work| async move { work.read(name, select).await }).await?.0)
        })
        .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (start, end) = (range.start, range.end);
        let select = move |_| {
            if start > end {
                return Err(Failure::new(Kind::Other, "the range ends before it starts"));
            }
            Ok((start, end))
        };
        self.run(Operation::GetRange, name, move |remote, name| async move {
            let (name, length) = (&*name, end.saturating_sub(start));
            Ok(remote.with_session(length, |work| async move { work.read(name, select).await }).await?.0)
        })
        .await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let select = move |size: u64| Ok((size.saturating_sub(length_max), size));
        self.run(Operation::GetTail, name, move |remote, name| async move {
            let name = &*name;
            remote.with_session(length_max, |work| async move { work.read(name, select).await }).await
        })
        .await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.run(Operation::Stat, name, |remote, name| async move {
            let name = &*name;
            remote.with_session(0, |work| async move { work.stat(name).await }).await
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.run(Operation::List, prefix, |remote, prefix| async move {
            let prefix = &*prefix;
            remote.with_session(u64::MAX, |work| async move { work.list(prefix).await }).await
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, name, |remote, name| async move {
            let name = &*name;
            remote.with_session(0, |work| async move { work.delete(name).await }).await
        })
        .await
    }
}
