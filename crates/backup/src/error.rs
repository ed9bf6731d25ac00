//! What can go wrong, for a person and for a caller that must decide.

use std::path::PathBuf;

use content::ContentError;
use store::StoreError;
use vault::collect::CleanupError;
use vault::copy::CopyError;
use vault::error::Damage;
use vault::repair::RepairError;
use vault::{VaultError, name};

use crate::forget;

/// What an error means for whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// It failed.
    Failed,
    /// There is no vault at the place.
    NoVault,
    /// The passphrase or key does not open it.
    WrongKey,
    /// Objects of the vault are damaged or missing.
    Damaged,
    /// Somebody stopped it.
    Interrupted,
}

/// An operation failed. The text names the object; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object of the vault is not what it should be.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Sealed bytes of an object do not open or do not decode.
    #[error("{object} cannot be read")]
    Content {
        /// The object, or what of it.
        object: String,
        /// Why.
        source: ContentError,
    },
    /// The local cache failed.
    #[error("the local cache failed")]
    Cache(#[source] ContentError),
    /// A file of this machine could not be used.
    #[error("{} cannot be {action}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No key slot opens.
    #[error("the passphrase or key does not open the vault at {location}")]
    WrongKey {
        /// Where the vault is.
        location: String,
    },
    /// No key slot opens, and what is damaged may be the right one.
    #[error("no whole key slot opens with this passphrase or key, and {slots} cannot be tried: damaged")]
    DamagedSlots {
        /// Their object names.
        slots: String,
    },
    /// There is a vault already.
    #[error("there is a vault at {location} already")]
    VaultExists {
        /// Where.
        location: String,
    },
    /// No snapshot fits.
    #[error("there is no snapshot {0}")]
    NoSuchSnapshot(String),
    /// More than one snapshot fits.
    #[error("{text} could be any of {count} snapshots")]
    AmbiguousSnapshot {
        /// What was asked for.
        text: String,
        /// How many fit.
        count: usize,
    },
    /// A path is not in a snapshot.
    #[error("{path} is not in snapshot {snapshot}")]
    NoSuchPath {
        /// The path, as text.
        path: String,
        /// The snapshot.
        snapshot: String,
    },
    /// No key slot fits.
    #[error("{0}")]
    Slot(String),
    /// What is asked for takes more than adding.
    #[error("the key that opened the vault can only add to it")]
    WriteOnly,
    /// Somebody wants to keep it.
    #[error("snapshot {snapshot} is {how}")]
    Pinned {
        /// The beginning of its id.
        snapshot: String,
        /// `pinned`, or until when it is held.
        how: String,
    },
    /// It was forgotten.
    #[error("snapshot {0} is in the trash")]
    InTrash(String),
    /// It was not forgotten.
    #[error("snapshot {0} is not in the trash")]
    NotInTrash(String),
    /// It was forgotten too long ago.
    #[error("snapshot {snapshot} could be brought back until {until}; since then it may be deleted")]
    TooLate {
        /// The beginning of its id.
        snapshot: String,
        /// When that ended, by the store's clock.
        until: String,
    },
    /// A setting of the vault cannot be so.
    #[error("{0}")]
    Setting(String),
    /// The source of a backup cannot be used.
    #[error("{0}")]
    Source(String),
    /// A cleanup could not be done.
    #[error(transparent)]
    Cleanup(CleanupError),
    /// A repair could not be made.
    #[error(transparent)]
    Repair(RepairError),
    /// A copy could not be made.
    #[error(transparent)]
    Copy(CopyError),
    /// The machine slept during the backup.
    #[error(
        "this machine slept during the backup for longer than its lease, and what it relied on was collected meanwhile"
    )]
    Restless,
    /// It was stopped.
    #[error("interrupted")]
    Interrupted,
}

impl From<CleanupError> for Error {
    fn from(error: CleanupError) -> Self {
        match error {
            CleanupError::Vault(error) => Self::Vault(error),
            other => Self::Cleanup(other),
        }
    }
}

impl From<RepairError> for Error {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Vault(error) => Self::Vault(error),
            RepairError::Replica(error) => error.into(),
            other => Self::Repair(other),
        }
    }
}

impl From<CopyError> for Error {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Vault(error) => Self::Vault(error),
            other => Self::Copy(other),
        }
    }
}

impl Error {
    /// A damaged object.
    pub(crate) fn damaged(object: impl Into<String>, damage: impl Into<Damage>) -> Self {
        Self::Vault(VaultError::damaged(object, damage))
    }

    /// Bytes of an object that do not open or decode.
    pub(crate) fn content(object: impl Into<String>, source: impl Into<ContentError>) -> Self {
        Self::Content { object: object.into(), source: source.into() }
    }

    /// What it means for the caller.
    pub fn category(&self) -> Category {
        match self {
            Self::Vault(VaultError::NoVault { .. }) => Category::NoVault,
            Self::WrongKey { .. } => Category::WrongKey,
            Self::Vault(VaultError::Damaged { .. }) | Self::DamagedSlots { .. } => Category::Damaged,
            Self::Copy(CopyError::Unreadable { .. }) | Self::Repair(RepairError::NoDescriptor) => {
                Category::Damaged
            }
            Self::Content { source: ContentError::WriteOnly, .. } => Category::Failed,
            Self::Content { source: ContentError::UnknownEpoch(_), .. } => Category::WrongKey,
            Self::Content { .. } => Category::Damaged,
            Self::Interrupted => Category::Interrupted,
            _ => Category::Failed,
        }
    }

    /// The next step, in words.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Store(error) | Self::Vault(VaultError::Store(error)) => {
                return Some(error.hint().to_string()).filter(|hint| !hint.is_empty());
            }
            Self::Vault(VaultError::NoVault { .. }) => {
                "make one with `strongroom init`, or name another place"
            }
            Self::Vault(VaultError::Newer { .. }) => "update this program; nothing is wrong with the vault",
            Self::Vault(VaultError::Damaged { object, .. }) if object == name::DESCRIPTOR => {
                "take it from a copy of the vault with `strongroom repair --from`; until then it can be read, and not added to"
            }
            Self::Vault(VaultError::Damaged { .. }) => {
                "run `strongroom check` to see what is affected; the rest can still be restored"
            }
            Self::WriteOnly => "use the vault's passphrase or its recovery code",
            Self::Content { source: ContentError::WriteOnly, .. } => {
                "this key can only add; use the vault's passphrase or its recovery code"
            }
            Self::Content { source: ContentError::UnknownEpoch(_), .. } => {
                "use one that was made when the keys were renewed or later; see `strongroom key list`"
            }
            Self::Content { .. } => {
                "run `strongroom check --read-data` to see what is affected; the rest can still be restored"
            }
            Self::Cache(_) => "free space or fix rights there; the cache may be deleted at any time",
            Self::WrongKey { .. } => "check which passphrase belongs to this vault, or use its recovery code",
            Self::DamagedSlots { .. } => {
                "use another passphrase, key file or the recovery code; or take the object from a copy of the vault with \
                 `strongroom repair --from`"
            }
            Self::VaultExists { .. } => "use it as it is, or choose another place for a new one",
            Self::NoSuchSnapshot(_) => "see `strongroom snapshots` for what there is",
            Self::AmbiguousSnapshot { .. } => "give more digits of the snapshot's id",
            Self::NoSuchPath { .. } => "see `strongroom ls` for what is in it",
            Self::Slot(_) => "see `strongroom key list`",
            Self::Pinned { snapshot, .. } => {
                return Some(format!("take the pin away first: `strongroom unpin {snapshot}`"));
            }
            Self::InTrash(snapshot) => {
                return Some(format!("bring it back first: `strongroom undelete {snapshot}`"));
            }
            Self::NotInTrash(_) => "see `strongroom snapshots --trash` for what can be brought back",
            Self::TooLate { .. } => {
                "restore from it at once if it is still there, or look for it in a copy of the vault"
            }
            Self::Setting(_) => "see `strongroom settings --help`",
            Self::Interrupted => "run the same command again: what was finished is kept",
            Self::Restless => {
                "run the same command again while the machine stays awake: what was stored is used"
            }
            Self::Cleanup(CleanupError::Busy { until }) => {
                let until = forget::shown(vault::clock::seconds(*until));
                return Some(format!(
                    "wait for it; one that was killed is over at {until}, when its lease ends"
                ));
            }
            Self::Copy(CopyError::Unreadable { .. }) => {
                "run `strongroom repair --from` with the other vault: it puts back what is small and whole there"
            }
            Self::Copy(CopyError::ForeignVault { .. }) => {
                "name a place that holds a copy of this vault, or for a new copy an empty one"
            }
            Self::Repair(RepairError::NoDescriptor) => "name a copy of the vault with --from",
            Self::Repair(_) => {
                "run the same command again while the machine stays awake: what was healed is kept"
            }
            Self::Copy(CopyError::NotEmpty { .. }) => "copy to an empty folder, or to a new one in it",
            Self::Copy(CopyError::NoSnapshot(_)) => "see `strongroom snapshots` for what there is",
            Self::Copy(_) => "run the same command again while the machine stays awake: what arrived is kept",
            Self::Cleanup(_) => "run the same command again: what was done is kept",
            Self::File { .. } | Self::Source(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// For work that goes on with the rest: what is wrong with one object is survived and given back; what ends everything
/// stays an error.
pub(crate) fn survivable(error: Error) -> Result<Error, Error> {
    match &error {
        Error::Store(cause)
            if matches!(
                cause.kind,
                store::Kind::Gone | store::Kind::Unavailable | store::Kind::Clock | store::Kind::Cold
            ) =>
        {
            Err(error)
        }
        Error::Store(_) | Error::Vault(_) | Error::Content { .. } => Ok(error),
        _ => Err(error),
    }
}
