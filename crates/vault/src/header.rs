//! The eight bytes every object starts with: `SROOM`, the kind, and the format version (two bytes, little-endian).
//!
//! A reader that meets a higher version hides the object and reports it; it never calls it damaged and never deletes
//! it.

use crate::error::Damage;
use crate::wire::Reader;

/// The format version this code writes and the highest it reads.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 5] = *b"SROOM";

/// The length of the header in bytes.
pub const LENGTH: usize = 8;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// The vault's public descriptor.
    Descriptor,
    /// A key slot.
    KeySlot,
    /// A pack.
    Pack,
    /// An index fragment.
    Fragment,
    /// A snapshot.
    Snapshot,
    /// A list of packs found damaged.
    DamageRecord,
    /// The mark of a forgotten snapshot.
    TrashMark,
    /// A lease.
    Lease,
    /// A list of objects that are about to be deleted.
    Condemnation,
    /// A list of packs whose segments were moved.
    Relocation,
    /// The settings that somebody may change.
    Settings,
    /// When which object was verified last.
    Verification,
    /// That a snapshot is to be kept.
    Pin,
    /// What a test of the store found.
    Abilities,
    /// Until when which object is locked.
    Locks,
}

impl ObjectKind {
    fn byte(self) -> u8 {
        match self {
            Self::Descriptor => b'V',
            Self::KeySlot => b'K',
            Self::Pack => b'P',
            Self::Fragment => b'I',
            Self::Snapshot => b'S',
            Self::DamageRecord => b'D',
            Self::TrashMark => b'T',
            Self::Lease => b'L',
            Self::Condemnation => b'C',
            Self::Relocation => b'R',
            Self::Settings => b'O',
            Self::Verification => b'Y',
            Self::Pin => b'H',
            Self::Abilities => b'A',
            Self::Locks => b'U',
        }
    }

    /// The header of an object of this kind.
    pub fn header(self) -> [u8; LENGTH] {
        let [a, b, c, d, e] = MAGIC;
        let [low, high] = VERSION.to_le_bytes();
        [a, b, c, d, e, self.byte(), low, high]
    }

    /// Reads a header and insists on this kind and a version that can be read.
    pub fn expect(self, reader: &mut Reader<'_>) -> Result<(), Damage> {
        let magic: [u8; 5] = reader.array("magic")?;
        let kind = reader.u8("kind")?;
        let version = reader.u16("format version")?;
        if magic != MAGIC || kind != self.byte() || version == 0 {
            return Err(Damage::NotThisKind { expected: self });
        }
        if version > VERSION {
            return Err(Damage::Newer { version });
        }
        Ok(())
    }
}
