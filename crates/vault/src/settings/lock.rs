//! For how long a vault's objects are locked against being deleted, where the store can lock.
//!
//! What is written gets a lock of the whole period, and a cleanup makes the locks of what is needed last for a whole
//! period again before half of it is over. So all that a snapshot needs is locked for at least half a period from any
//! moment on, and what is not needed any more is free a period later.
//!
//! The newest word counts at once, also when it is a shorter period or none: the locks that are there stay. Whoever stole
//! a key can so end what is locked from then on, and nothing that was.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::{Lock, LockMode, Store};

use super::Settings;
use crate::descriptor::Descriptor;
use crate::error::VaultError;
use crate::records::Record;
use crate::wire::{Reader, Write};

/// The descriptor's setting, and the settings' extension, with the lock: seconds (varint), 0 for none, and the mode.
pub const LOCK_TAG: u64 = 3;
/// No period is longer, in seconds: a hundred years of 365 days.
pub const LOCK_MAX: u64 = 100 * 365 * 86_400;

/// How objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockSetting {
    /// For how long, in whole seconds.
    pub period: Duration,
    /// Who may take a lock away before its time.
    pub mode: LockMode,
}

impl LockSetting {
    /// A lock that begins at `now`.
    pub fn from(&self, now: SystemTime) -> Lock {
        Lock { until: now + self.period, mode: self.mode }
    }
}

/// A lock, or none, as a setting's value.
pub fn encode_lock(lock: Option<&LockSetting>) -> (u64, Bytes) {
    let mut value = Vec::new();
    value.varint(lock.map_or(0, |lock| lock.period.as_secs()));
    value.push(match lock.map(|lock| lock.mode) {
        Some(LockMode::Compliance) => 2,
        Some(LockMode::Governance) | None => 1,
    });
    (LOCK_TAG, value.into())
}

fn decode(value: &Bytes) -> Option<LockSetting> {
    let mut reader = Reader::new(value);
    let seconds = reader.varint("period").ok()?.min(LOCK_MAX);
    let mode = match reader.u8("mode").ok()? {
        1 => LockMode::Governance,
        2 => LockMode::Compliance,
        _ => return None,
    };
    let is_one = seconds > 0 && reader.is_empty();
    is_one.then_some(LockSetting { period: Duration::from_secs(seconds), mode })
}

/// What these settings say. `None`: nothing; what cannot be read is none.
fn said(settings: &[(u64, Bytes)]) -> Option<Option<LockSetting>> {
    let (_, value) = settings.iter().find(|(tag, _)| *tag == LOCK_TAG)?;
    Some(decode(value))
}

/// All that was ever said, the newest first.
fn history<'a>(
    descriptor: &'a Descriptor,
    records: &'a [Record<Settings>],
) -> impl Iterator<Item = Option<LockSetting>> + 'a {
    let changes = records.iter().rev().filter_map(|record| said(&record.content.as_ref().ok()?.extensions));
    changes.chain(said(&descriptor.settings))
}

/// The longest period for which objects were ever to be locked.
pub fn longest_lock(descriptor: &Descriptor, records: &[Record<Settings>]) -> Duration {
    history(descriptor, records).flatten().map(|lock| lock.period).max().unwrap_or_default()
}

/// How objects are locked that are written from now on, from the descriptor and the settings as [`super::read_all`]
/// gives them.
pub fn lock_setting(descriptor: &Descriptor, records: &[Record<Settings>]) -> Option<LockSetting> {
    history(descriptor, records).next().flatten()
}

/// The same, as far as this kind of store has locks: one that has none is not asked anything.
pub async fn read_lock_setting(
    store: &dyn Store,
    descriptor: &Descriptor,
) -> Result<Option<LockSetting>, VaultError> {
    if !store.has_locks() {
        return Ok(None);
    }
    let records = super::read_all(store, descriptor.vault, &descriptor.owner).await?;
    Ok(lock_setting(descriptor, &records))
}

#[cfg(test)]
mod tests {
    use store::ObjectInfo;

    use super::*;
    use crate::descriptor::ChunkSizes;
    use crate::name::{ObjectHash, VaultId};
    use crate::signing::VerifyingKey;

    fn descriptor(settings: Vec<(u64, Bytes)>) -> Descriptor {
        Descriptor {
            vault: VaultId::default(),
            created: 0,
            chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
            settings,
            owner: VerifyingKey::new([0; 32]),
        }
    }

    fn record(extensions: Vec<(u64, Bytes)>) -> Record<Settings> {
        let object = ObjectInfo { name: String::new(), size: 0, modified: SystemTime::UNIX_EPOCH };
        let (previous, delete_delay) = (ObjectHash::default(), 0);
        Record { object, content: Ok(Settings { sequence: 1, previous, delete_delay, extensions }) }
    }

    #[test]
    fn the_newest_word_counts() {
        let setting = |days: u64, mode| LockSetting { period: Duration::from_secs(days * 86_400), mode };
        let (month, year) = (setting(30, LockMode::Governance), setting(365, LockMode::Compliance));
        assert_eq!(lock_setting(&descriptor(Vec::new()), &[]), None);
        let made = descriptor(vec![encode_lock(Some(&month))]);
        assert_eq!(lock_setting(&made, &[record(Vec::new())]), Some(month));
        let changed = [record(vec![encode_lock(Some(&year))]), record(Vec::new())];
        assert_eq!(lock_setting(&made, &changed), Some(year));
        let none = [record(vec![encode_lock(Some(&year))]), record(vec![encode_lock(None)])];
        assert_eq!(lock_setting(&made, &none), None);
        assert_eq!((longest_lock(&made, &none), longest_lock(&made, &[])), (year.period, month.period));
    }

    #[test]
    fn nonsense_is_no_lock_and_nothing_lasts_for_ever() {
        for value in [&b""[..], b"\x05", b"\x05\x03", b"\x05\x01\x00", b"\x00\x01", b"\xff\xff"] {
            let made = descriptor(vec![(LOCK_TAG, Bytes::copy_from_slice(value))]);
            assert_eq!(lock_setting(&made, &[]), None, "{value:?}");
        }
        let mut value = Vec::new();
        value.varint(u64::MAX);
        value.push(2);
        let made = descriptor(vec![(LOCK_TAG, value.into())]);
        assert_eq!(lock_setting(&made, &[]).unwrap().period.as_secs(), LOCK_MAX);
    }
}
