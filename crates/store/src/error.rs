//! What can go wrong with a store: a kind to branch on, the object, the place, and the cause.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::Operation;

/// What went wrong, for code that has to decide what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such object; when opening, there is no such store.
    NotFound,
    /// The store refuses this user.
    PermissionDenied,
    /// The disk, the quota or the account is full. Nothing of the object was kept.
    NoSpace,
    /// The store takes no writes at all.
    ReadOnly,
    /// The object ends before the bytes that were asked for.
    Truncated,
    /// The object is larger than the caller allows.
    TooLarge,
    /// The name breaks the rules of [`crate::name`]; nothing was sent.
    InvalidName,
    /// The location names a kind of store that this program does not know, or cannot be understood.
    UnknownLocation,
    /// It did not work now and may work later: a time-out, a lost connection, a busy server. Worth a retry.
    Unavailable,
    /// The server refuses requests because its clock and that of this machine differ.
    Clock,
    /// The object is in cold storage: it can be read some hours after somebody asked for it.
    Cold,
    /// A lock forbids to delete or change the object; the cause says until when.
    Locked,
    /// The store cannot do this at all.
    Unsupported,
    /// The store itself vanished: its folder was removed or moved, or its disk was taken away.
    Gone,
    /// Anything else, such as a failing disk.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::PermissionDenied => "permission denied",
            Self::NoSpace => "no space left",
            Self::ReadOnly => "the store is read only",
            Self::Truncated => "it is shorter than it should be",
            Self::TooLarge => "it is larger than it may be",
            Self::InvalidName => "the name is not allowed",
            Self::UnknownLocation => "the location is not understood",
            Self::Unavailable => "the store does not answer now",
            Self::Clock => "the clocks of this machine and of the server differ too much",
            Self::Cold => "it is in cold storage and has to be warmed before it can be read",
            Self::Locked => "a lock forbids it",
            Self::Unsupported => "the store cannot do that",
            Self::Gone => "the store is no longer there",
            Self::Other => "the store failed",
        })
    }
}

/// An operation on a store failed. The text names the operation, the object and the place; the cause is in
/// [`source`](Error::source) and is not repeated.
#[derive(Debug)]
pub struct StoreError {
    /// What went wrong.
    pub kind: Kind,
    /// The operation as a verb, to follow "cannot".
    pub operation: &'static str,
    /// The name of the object or folder; empty when it was the store as a whole.
    pub object: String,
    /// [`Store::location`](crate::Store::location).
    pub location: String,
    /// The cause.
    pub source: Option<Box<dyn Error + Send + Sync>>,
    /// How long the server asked to be left alone before the next try; only with [`Kind::Unavailable`].
    pub retry_after: Option<Duration>,
}

impl StoreError {
    /// An error without a cause.
    pub fn new(
        kind: Kind,
        operation: &'static str,
        object: impl Into<String>,
        location: impl Into<String>,
    ) -> Self {
        let (object, location) = (object.into(), location.into());
        Self { kind, operation, object, location, source: None, retry_after: None }
    }

    /// The same error with its cause.
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What the user can do about it, as one sentence.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            Kind::NotFound if self.object.is_empty() => "Check the location, or create the store first.",
            Kind::NotFound => "Run a check to see what else is missing.",
            Kind::PermissionDenied if self.operation == Operation::Warm.verb() => {
                "Use a key that may do this (on Amazon S3 the right is s3:RestoreObject), or let its owner warm the packs."
            }
            Kind::PermissionDenied if self.operation == Operation::Lock.verb() => {
                "Use a key that may do this (on Amazon S3 the rights are s3:PutObjectRetention and s3:GetObjectRetention)."
            }
            Kind::PermissionDenied => {
                "Run as a user who may read and write the store (or change its owner), or check the credentials."
            }
            Kind::NoSpace => {
                "Make room in the store, then run the same command again: what is there is kept, and `strongroom forget` and `strongroom cleanup` free what is not to be."
            }
            Kind::ReadOnly => "Mount the store writable, or use a command that only reads.",
            Kind::Truncated => "The object is damaged: run a check, and restore the object from a copy.",
            Kind::TooLarge => "The object is not what its name says: run a check.",
            Kind::InvalidName => {
                "Use relative names of letters, digits, '.', '_' and '-' that begin with no dot."
            }
            Kind::UnknownLocation => {
                "Use a path, or a URL such as swift://CONTAINER/PREFIX, s3://BUCKET/PREFIX or sftp://USER@HOST/PATH."
            }
            Kind::Unavailable => "Try again later; what was already written is kept.",
            Kind::Clock => {
                "Set the clock of this machine (or that of the server) right, then run the same command again."
            }
            Kind::Cold => {
                "Run `strongroom restore --warm`: it asks for what it needs (which costs money) and waits; then everything else can read that, too."
            }
            Kind::Locked => "Wait until the lock ends: nothing that Strongroom does can end it sooner.",
            Kind::Unsupported if self.operation == Operation::Lock.verb() => {
                "Use a bucket that was made with object lock; it cannot be had otherwise. Or keep the vault without: `--lock none`."
            }
            Kind::Unsupported => "Do without it, or use a store that can do it.",
            Kind::Gone => {
                "Put the store back where it was (mount its disk), then run the same command again."
            }
            Kind::Other => "Look at the cause; if a disk reports errors, copy the store away first.",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, operation, object, location, .. } = self;
        if object.is_empty() {
            write!(f, "cannot {operation} the store {location}: {kind}")
        } else {
            write!(f, "cannot {operation} {object} in the store {location}: {kind}")
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// The kind of an error of the operating system.
impl From<io::ErrorKind> for Kind {
    fn from(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Io;
        match kind {
            // A component that is a file where a folder should be: there is no such object.
            Io::NotFound | Io::NotADirectory => Self::NotFound,
            Io::PermissionDenied => Self::PermissionDenied,
            Io::StorageFull | Io::QuotaExceeded => Self::NoSpace,
            Io::ReadOnlyFilesystem => Self::ReadOnly,
            Io::UnexpectedEof => Self::Truncated,
            Io::InvalidFilename => Self::InvalidName,
            // A network mount whose server or whose other end went away.
            Io::StaleNetworkFileHandle | Io::NotConnected => Self::Gone,
            Io::TimedOut
            | Io::Interrupted
            | Io::WouldBlock
            | Io::ResourceBusy
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::ConnectionRefused
            | Io::BrokenPipe => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_the_operating_system() {
        for (number, kind) in [
            (rustix::io::Errno::NOSPC, Kind::NoSpace),
            (rustix::io::Errno::DQUOT, Kind::NoSpace),
            (rustix::io::Errno::ROFS, Kind::ReadOnly),
            (rustix::io::Errno::ACCESS, Kind::PermissionDenied),
            (rustix::io::Errno::PERM, Kind::PermissionDenied),
            (rustix::io::Errno::NOENT, Kind::NotFound),
            (rustix::io::Errno::STALE, Kind::Gone),
            (rustix::io::Errno::NOTCONN, Kind::Gone),
            (rustix::io::Errno::TIMEDOUT, Kind::Unavailable),
            (rustix::io::Errno::IO, Kind::Other),
        ] {
            assert_eq!(Kind::from(io::Error::from(number).kind()), kind, "{number:?}");
        }
    }

    #[test]
    fn the_text_names_object_and_place_and_leaves_the_cause_to_the_source() {
        let error =
            StoreError::new(Kind::NoSpace, "write", "packs/ab/cd", "/vault").because("disk quota of bob");
        assert_eq!(error.to_string(), "cannot write packs/ab/cd in the store /vault: no space left");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("disk quota of bob"));
        let error = StoreError::new(Kind::NotFound, "open", "", "/vault");
        assert_eq!(error.to_string(), "cannot open the store /vault: not found");
        assert!(error.hint().contains("create"));
    }
}
