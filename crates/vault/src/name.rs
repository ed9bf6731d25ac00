//! Identities and object names.
//!
//! Every name under a vault is a hash of the object or random, so two writers can only write the same bytes or
//! different names: correctness never rests on a store's atomic create.

use std::fmt;

use crate::wire::{Malformed, Reader};

/// The public descriptor of the vault: the first object read, and the last one written when a vault is made.
pub const DESCRIPTOR: &str = "strongroom.vault";
/// Key slots: `keys/` and the 64 hex digits of the hash.
pub const KEYS: &str = "keys/";
/// A key slot of more bytes is refused.
pub const SLOT_MAX: u64 = 8 << 20;
/// Packs: `packs/`, two hex digits, `/`, and the 64 of the hash.
pub const PACKS: &str = "packs/";
/// Index fragments: `index/` and the 64 hex digits of the hash.
pub const INDEX: &str = "index/";
/// Snapshots: `snapshots/` and the 64 hex digits of the hash.
pub const SNAPSHOTS: &str = "snapshots/";

/// Damage records: `damage/` and the 64 hex digits of the hash.
pub const DAMAGE: &str = "damage/";
/// Marks of forgotten snapshots: `trash/` and the 64 hex digits of the hash.
pub const TRASH: &str = "trash/";
/// Leases: `leases/` and 32 random hex digits. The only objects that are ever replaced.
pub const LEASES: &str = "leases/";
/// Condemnations: `condemned/` and the 64 hex digits of the hash.
pub const CONDEMNED: &str = "condemned/";
/// Relocations: `relocations/` and the 64 hex digits of the hash.
pub const RELOCATIONS: &str = "relocations/";
/// Settings: `settings/` and the 64 hex digits of the hash.
pub const SETTINGS: &str = "settings/";
/// Pins and holds: `pins/` and the 64 hex digits of the hash.
pub const PINS: &str = "pins/";
/// What tests of the store found: `abilities/` and the 64 hex digits of the hash.
pub const ABILITIES: &str = "abilities/";
/// Records of locks: `locks/` and the 64 hex digits of the hash.
pub const LOCKS: &str = "locks/";
/// Verification records: `verified/` and the 64 hex digits of the hash.
pub const VERIFIED: &str = "verified/";

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; $length]);

        impl $name {
            /// How many bytes it has.
            pub const LENGTH: usize = $length;

            /// Wraps raw bytes.
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Reads one.
            pub fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, Malformed> {
                reader.array(field).map(Self)
            }

            /// Parses the full lower-case hexadecimal form.
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; $length];
                from_hex(text, &mut bytes).then_some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }
    };
}

identity!(
    /// One dedup and key domain; random.
    VaultId, 16
);
identity!(
    /// The machine that wrote a snapshot; follows from the machine's own id under a key of the vault.
    SystemId, 16
);
identity!(
    /// The identity that addresses name: random, chosen before the first segment is sealed, and bound into every
    /// segment. It stays with the segments when compaction moves them to another object.
    PackId, 16
);
identity!(
    /// BLAKE3 of a whole object, which is also its name.
    ObjectHash, 32
);

/// A snapshot is named by the hash of its object.
pub type SnapshotId = ObjectHash;

impl ObjectHash {
    /// The hash of an object held as one slice.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }

    /// The object name of the pack with this hash.
    pub fn pack_name(&self) -> String {
        let text = self.to_string();
        let shard = text.get(..2).unwrap_or_default();
        format!("{PACKS}{shard}/{text}")
    }

    /// The object name of the index fragment with this hash.
    pub fn index_name(&self) -> String {
        format!("{INDEX}{self}")
    }

    /// The object name of the key slot with this hash.
    pub fn slot_name(&self) -> String {
        format!("{KEYS}{self}")
    }

    /// The object name of the snapshot with this hash.
    pub fn snapshot_name(&self) -> String {
        format!("{SNAPSHOTS}{self}")
    }

    /// The hash in an object's name: its last component.
    pub fn from_object_name(name: &str) -> Option<Self> {
        Self::from_hex(name.rsplit('/').next()?)
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn from_hex(text: &str, out: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return false;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    digits.chunks_exact(2).zip(out).all(|(pair, out)| match pair {
        [high, low] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => {
                *out = high << 4 | low;
                true
            }
            _ => false,
        },
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_their_text() {
        let hash = ObjectHash::of(b"x");
        assert_eq!(ObjectHash::from_object_name(&hash.pack_name()), Some(hash));
        assert_eq!(ObjectHash::from_object_name(&hash.snapshot_name()), Some(hash));
        assert_eq!(ObjectHash::from_hex("00"), None);
        assert_eq!(ObjectHash::from_hex(&"G".repeat(64)), None);
        assert_eq!(ObjectHash::from_hex(&"é".repeat(32)), None);
    }
}
