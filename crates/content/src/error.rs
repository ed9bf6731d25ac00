//! What can go wrong on the owner's side.

use vault::error::Damage;
use vault::wire::Malformed;

/// An operation with keys, sealed bytes or trees failed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// Sealed bytes do not open: another key, or the bytes were changed.
    #[error("the sealed bytes cannot be opened: they were changed, or sealed with another key")]
    Sealed,
    /// Opened bytes do not follow their layout.
    #[error("the opened bytes are malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A segment could not be compressed, decompressed or proved to come back.
    #[error("a segment of {length} bytes could not be {action}")]
    Segment {
        /// What was attempted.
        action: &'static str,
        /// The length of the raw segment.
        length: usize,
    },
    /// No key slot opens with what was given.
    #[error("no key slot of this vault opens with the given passphrase or key")]
    WrongKey,
    /// This keyring can add to the vault but not read it.
    #[error("this key can add to the vault but not read it")]
    WriteOnly,
    /// The key that is needed belongs to an epoch that the keyring does not have.
    #[error("it is sealed with newer keys than this passphrase, code or key file gives (epoch {0})")]
    UnknownEpoch(u32),
    /// A cryptographic operation failed for an internal reason.
    #[error("the cryptographic library refused: {0}")]
    Library(&'static str),
    /// A file of the local cache could not be read or written.
    #[error("the local cache file {path} could not be {action}")]
    Cache {
        /// The file.
        path: String,
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file of the local cache is damaged; it can be deleted and is rebuilt.
    #[error("the local cache file {path} is damaged")]
    CacheDamaged {
        /// The file.
        path: String,
    },
}

impl From<ContentError> for Damage {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Malformed(malformed) => Self::Malformed(malformed),
            _ => Self::Sealed,
        }
    }
}
