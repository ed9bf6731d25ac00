//! Pins and holds: snapshots that somebody wants to keep, whatever a policy says.
//!
//! A *pin* keeps a snapshot until it is taken away, a *hold* until a moment, by the store's clock. Either is a small
//! object; taking it away deletes the object.
//!
//! ```text
//! header (8)  vault id (16)  nonce (16)  snapshot's hash (32)
//! form (u8): 0 until it is taken away   1 until a moment: seconds (signed varint)
//! written: seconds (signed varint)
//! ```
//! The nonce is random, so that no name is ever written twice: a delete that arrives late can only hit its own pin.
//! A pin that cannot be read may be any snapshot's, so [`Pins::unreadable`] tells of it: nothing should be forgotten
//! before somebody looked.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use store::Store;

use crate::clock;
use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, SnapshotId, VaultId};
use crate::records;
use crate::wire::{Reader, Write};

/// A pin larger than this is refused.
pub const PIN_MAX: u64 = 4096;

/// How long a snapshot is kept. The longer is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Until {
    /// A hold: until this moment, in seconds since 1970 (UTC).
    Moment(i64),
    /// A pin: until it is taken away.
    Unpinned,
}

impl Until {
    /// Whether it still keeps its snapshot.
    pub fn holds(self, now: SystemTime) -> bool {
        match self {
            Self::Moment(end) => clock::seconds(now) < end,
            Self::Unpinned => true,
        }
    }
}

/// What a pin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Random.
    pub nonce: [u8; 16],
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// How long it is kept.
    pub until: Until,
    /// When it was written by the writer's clock: for people, and for nothing else. Seconds since 1970 (UTC).
    pub written: i64,
}

impl Pin {
    /// The stored form; its name is the hash of the result.
    pub fn encode(&self, vault: VaultId) -> Vec<u8> {
        let mut out = ObjectKind::Pin.header().to_vec();
        out.extend_from_slice(vault.bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(self.snapshot.bytes());
        match self.until {
            Until::Unpinned => out.push(0),
            Until::Moment(end) => {
                out.push(1);
                out.signed(end);
            }
        }
        out.signed(self.written);
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::Pin.expect(&mut reader)?;
        if VaultId::read(&mut reader, "vault id")? != vault {
            return Err(Damage::ForeignVault);
        }
        let nonce = reader.array("nonce")?;
        let snapshot = SnapshotId::read(&mut reader, "snapshot")?;
        let until = match reader.u8("form")? {
            0 => Until::Unpinned,
            1 => Until::Moment(reader.signed("end of the hold")?),
            _ => return Err(reader.malformed("form", "there is no such form").into()),
        };
        let pin = Self { nonce, snapshot, until, written: reader.signed("time")? };
        reader.finish("pin")?;
        Ok(pin)
    }
}

/// All pins and holds of a vault.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    by_snapshot: HashMap<SnapshotId, Vec<(String, Pin)>>,
    unreadable: Vec<(String, Damage)>,
}

impl Pins {
    /// Reads all.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        let mut pins = Self::default();
        let records =
            records::read_all(store, name::PINS, PIN_MAX, |bytes| Pin::decode(bytes, vault)).await?;
        for record in records {
            match record.content {
                Ok(pin) => pins.by_snapshot.entry(pin.snapshot).or_default().push((record.object.name, pin)),
                Err(damage) => pins.unreadable.push((record.object.name, damage)),
            }
        }
        Ok(pins)
    }

    /// How long a snapshot is kept; `None` when nothing keeps it at `now`.
    pub fn until(&self, snapshot: SnapshotId, now: SystemTime) -> Option<Until> {
        let pins = self.by_snapshot.get(&snapshot)?;
        pins.iter().map(|(_, pin)| pin.until).filter(|until| until.holds(now)).max()
    }

    /// The names of a snapshot's pins and holds, those that ended included.
    pub fn names(&self, snapshot: SnapshotId) -> impl Iterator<Item = &str> {
        self.by_snapshot.get(&snapshot).into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Objects that should be pins and cannot be read.
    pub fn unreadable(&self) -> &[(String, Damage)] {
        &self.unreadable
    }
}

/// Pins or holds a snapshot; the object's name.
pub async fn pin(store: &dyn Store, vault: VaultId, pin: &Pin) -> Result<String, VaultError> {
    records::write(store, name::PINS, pin.encode(vault)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::ObjectHash;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    const VAULT: VaultId = VaultId::new([1; 16]);

    fn a_pin(nonce: u8, until: Until) -> Pin {
        Pin { nonce: [nonce; 16], snapshot: ObjectHash::of(b"snapshot"), until, written: 1_700_000_000 }
    }

    #[tokio::test]
    async fn the_longest_counts_and_a_hold_ends_by_itself() {
        let store = store::MemoryStore::new();
        let snapshot = ObjectHash::of(b"snapshot");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (nonce, end) in [(1, 1000), (2, 500)] {
            pin(&store, VAULT, &a_pin(nonce, Until::Moment(end))).await.unwrap();
        }
        let pins = Pins::read(&store, VAULT).await.unwrap();
        assert_eq!(pins.until(snapshot, at(700)), Some(Until::Moment(1000)));
        assert_eq!(pins.until(snapshot, at(1000)), None);
        assert_eq!(pins.until(ObjectHash::of(b"other"), at(0)), None);
        let name = pin(&store, VAULT, &a_pin(3, Until::Unpinned)).await.unwrap();
        let pins = Pins::read(&store, VAULT).await.unwrap();
        assert_eq!(pins.until(snapshot, at(700)), Some(Until::Unpinned));
        assert_eq!(pins.names(snapshot).count(), 3);
        assert!(pins.names(snapshot).any(|found| found == name));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let store = store::MemoryStore::new();
        let name = pin(&store, VAULT, &a_pin(1, Until::Unpinned)).await.unwrap();
        store.replace(&name, vec![Bytes::from_static(b"x")]).await.unwrap();
        let pins = Pins::read(&store, VAULT).await.unwrap();
        assert_eq!(pins.unreadable(), [(name, Damage::HashMismatch)]);
    }

    #[test]
    fn the_document_has_this_encoding() {
        let pin = Pin {
            nonce: [0x66; 16],
            snapshot: SnapshotId::new([0x44; 32]),
            until: Until::Moment(1_850_000_000),
            written: 1_700_000_000,
        };
        let bytes = pin.encode(VaultId::new([0x11; 16]));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut document = include_str!("../../../docs/format.md").to_owned();
        document.retain(|letter| !letter.is_whitespace());
        assert!(document.contains(&hex), "{hex}");
    }

    proptest! {
        #[test]
        fn a_pin_comes_back(nonce: u8, end: i64, is_hold: bool) {
            let pin = a_pin(nonce, if is_hold { Until::Moment(end) } else { Until::Unpinned });
            prop_assert_eq!(Pin::decode(&pin.encode(VAULT).into(), VAULT).unwrap(), pin);
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Pin.header().to_vec();
            near.extend_from_slice(&[0; 16]);
            near.extend_from_slice(&bytes);
            let _ = Pin::decode(&near.into(), VaultId::default());
        }
    }
}
