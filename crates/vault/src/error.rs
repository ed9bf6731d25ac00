//! What can go wrong with an object, in words a person can act on.

use crate::header::ObjectKind;
use crate::wire::Malformed;

/// Why bytes are not the object they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The layout is broken.
    #[error("its bytes are malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The bytes hash to something other than the name.
    #[error("its bytes do not match its name")]
    HashMismatch,
    /// One sealed segment does not match the hash that the pack's table gives.
    #[error("segment {number} does not match its hash")]
    SegmentHash {
        /// The segment's number.
        number: u32,
    },
    /// A segment that is needed is not in the pack.
    #[error("segment {number} is not in it")]
    SegmentMissing {
        /// The segment's number.
        number: u32,
    },
    /// The object is something else.
    #[error("it is not a {expected:?} object")]
    NotThisKind {
        /// What it should have been.
        expected: ObjectKind,
    },
    /// Written by a newer version of the program.
    #[error("it has format version {version}, newer than this program reads")]
    Newer {
        /// Its format version.
        version: u16,
    },
    /// It uses a feature this program does not know.
    #[error("it uses features (bits {bits:#x}) that this program does not know")]
    UnknownFeatures {
        /// The unknown bits.
        bits: u64,
    },
    /// It belongs to another vault.
    #[error("it belongs to another vault")]
    ForeignVault,
    /// The signature does not hold, or the signer is not known.
    #[error("its signature does not hold")]
    Signature,
    /// A sealed part cannot be opened: wrong key, or the bytes were changed.
    #[error("a sealed part of it cannot be opened")]
    Sealed,
    /// It is gone.
    #[error("it is missing")]
    Missing,
    /// It has another length than recorded.
    #[error("it has {found} bytes where {recorded} are recorded")]
    Length {
        /// The length that is recorded elsewhere.
        recorded: u64,
        /// The length found.
        found: u64,
    },
    /// It says something that cannot be.
    #[error("{0}")]
    Nonsense(&'static str),
}

impl Damage {
    /// Whether this is a matter of the program's age and not of the object's health.
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::UnknownFeatures { .. })
    }
}

/// An operation on a vault failed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// An object is not what it should be.
    #[error("{object} is damaged: {damage}")]
    Damaged {
        /// The object's name in the store.
        object: String,
        /// What is wrong with it.
        damage: Damage,
    },
    /// An object is from a newer program.
    #[error("{object} cannot be read by this version of the program: {damage}")]
    Newer {
        /// The object's name in the store.
        object: String,
        /// Which version or feature.
        damage: Damage,
    },
    /// There is no vault at the place.
    #[error("there is no vault at {location}")]
    NoVault {
        /// The place that was looked at.
        location: String,
    },
}

impl VaultError {
    /// Says that `object` suffers from `damage`.
    pub fn damaged(object: impl Into<String>, damage: impl Into<Damage>) -> Self {
        let (object, damage) = (object.into(), damage.into());
        if damage.is_newer() { Self::Newer { object, damage } } else { Self::Damaged { object, damage } }
    }
}
