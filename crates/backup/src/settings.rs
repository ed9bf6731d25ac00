//! What may be changed about a vault: the delay before what was forgotten may be deleted, the storage class of packs of
//! data, and for how long objects are locked.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::{LockMode, StorageClass, Store};
use vault::error::Damage;
use vault::records::Record;
use vault::settings::{
    self, DATA_CLASS_TAG, DELAY_TAG, Delays, LOCK_TAG, LockSetting, SIGNING_CONTEXT, Settings, encode_class,
    encode_lock,
};
use vault::wire::Write;
use vault::{ObjectHash, name};

use crate::locks::{prove_lock, require_locks};
use crate::{Error, Vault};

/// No longer delay can be asked for. Who mistypes one must wait for it to pass.
pub const DELETE_DELAY_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// How often a change is written because somebody made another at the same moment.
const TRIES: usize = 4;

/// No longer lock can be asked for. Who mistypes one must wait for it to end.
pub const LOCK_PERIOD_MAX: Duration = DELETE_DELAY_MAX;

/// How a vault is set.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// How long what was forgotten can be brought back, as it was asked for last.
    pub delete_delay: Duration,
    /// How long it is in force now: longer, while a shorter one has yet to wait.
    pub in_force: Duration,
    /// The storage class of packs of data that are written from now on; the store's usual one when `None`.
    pub data_class: Option<StorageClass>,
    /// How objects are locked that are written from now on, if they are.
    pub lock: Option<LockSetting>,
    /// Objects that should be settings and cannot be read.
    pub unreadable: Vec<(String, Damage)>,
}

/// What a new vault is set to; the usual where it is `None`.
#[derive(Clone, Debug, Default)]
pub struct FirstSettings {
    /// How long what was forgotten can be brought back.
    pub delete_delay: Option<Duration>,
    /// The storage class of packs of data.
    pub data_class: Option<StorageClass>,
    /// How objects are locked.
    pub lock: Option<LockSetting>,
}

/// What a vault's settings say of storage classes.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// That of packs of data which are written from now on; the store's usual one when `None`.
    data: Option<StorageClass>,
    /// Whether packs of data may have been put into one that has to be warmed.
    may_be_cold: bool,
}

impl FirstSettings {
    /// As the descriptor has them.
    pub(crate) fn encode(&self, store: &dyn Store) -> Result<Vec<(u64, Bytes)>, Error> {
        let delay = self.delete_delay.map(delay_setting).transpose()?;
        self.data_class.iter().try_for_each(|class| store.check_class(class))?;
        let class = self.data_class.as_ref().map(|class| encode_class(Some(class)));
        self.lock.as_ref().map(allowed_lock).transpose()?;
        let lock = self.lock.as_ref().map(|lock| encode_lock(Some(lock)));
        Ok(delay.into_iter().chain(class).chain(lock).collect())
    }
}

/// The descriptor's setting with the first delay.
fn delay_setting(delay: Duration) -> Result<(u64, Bytes), Error> {
    let mut value = Vec::new();
    value.varint(allowed(delay)?);
    Ok((DELAY_TAG, value.into()))
}

/// The delay in whole seconds.
fn allowed(delay: Duration) -> Result<u64, Error> {
    if delay > DELETE_DELAY_MAX {
        let days = DELETE_DELAY_MAX.as_secs() / 86_400;
        return Err(Error::Setting(format!("the delay before deleting is at most {days} days")));
    }
    Ok(delay.as_secs())
}

/// An error when a lock would last for too long, or for no time.
fn allowed_lock(lock: &LockSetting) -> Result<(), Error> {
    if lock.period > LOCK_PERIOD_MAX || lock.period.as_secs() == 0 {
        let days = LOCK_PERIOD_MAX.as_secs() / 86_400;
        return Err(Error::Setting(format!("a lock lasts for at least a second and at most {days} days")));
    }
    Ok(())
}

impl Vault {
    fn settings_records(&self) -> Result<Vec<Record<Settings>>, Error> {
        let owner = self.descriptor().owner;
        Ok(self.wait(settings::read_all(self.store().as_ref(), self.id(), &owner))?)
    }

    /// All delays before what was forgotten may be deleted.
    pub fn delays(&self) -> Result<Delays, Error> {
        Ok(Delays::new(self.descriptor(), &self.settings_records()?))
    }

    /// How it is set, at `now`.
    pub fn settings(&self, now: SystemTime) -> Result<VaultSettings, Error> {
        let records = self.settings_records()?;
        let delays = Delays::new(self.descriptor(), &records);
        let data_class = settings::data_class(self.descriptor(), &records);
        let lock = settings::lock_setting(self.descriptor(), &records);
        let unreadable =
            records.into_iter().filter_map(|record| Some((record.object.name, record.content.err()?)));
        Ok(VaultSettings {
            delete_delay: delays.newest(),
            in_force: delays.effective(now),
            data_class,
            lock,
            unreadable: unreadable.collect(),
        })
    }

    /// Asks for another delay before what is forgotten may be deleted. A longer one counts at once, a shorter one when the
    /// longer has passed. Whether anything was to be changed.
    pub fn set_delete_delay(&self, delay: Duration) -> Result<bool, Error> {
        let delete_delay = allowed(delay)?;
        self.change_settings(|settings| settings.delete_delay = delete_delay)
    }

    /// Asks for another storage class of packs of data that are written from now on; those that are there stay where they
    /// are. Whether anything was to be changed.
    pub fn set_data_class(&self, class: Option<&StorageClass>) -> Result<bool, Error> {
        class.iter().try_for_each(|class| self.store().check_class(class))?;
        let current = settings::data_class(self.descriptor(), &self.settings_records()?);
        if current.as_ref() == class {
            return Ok(false);
        }
        self.change_settings(|settings| {
            settings.extensions.retain(|(tag, _)| *tag != DATA_CLASS_TAG);
            settings.extensions.push(encode_class(class));
        })
    }

    /// Asks for another lock of objects that are written from now on; the next cleanup makes those of what is needed as long.
    /// Locks that are there are never shortened. Whether anything was to be changed.
    ///
    /// The store is not believed: the vault's descriptor is locked so, and its lock is read back.
    pub fn set_lock(&self, lock: Option<&LockSetting>) -> Result<bool, Error> {
        self.may_change()?;
        if let Some(lock) = lock {
            allowed_lock(lock)?;
            let (store, now) = (self.store(), SystemTime::now());
            self.wait(async {
                require_locks(store).await?;
                store.lock(name::DESCRIPTOR, lock.from(now)).await?;
                // A lock that was there may keep its mode.
                prove_lock(store, name::DESCRIPTOR, lock, LockMode::Governance, now).await
            })?;
        }
        if settings::lock_setting(self.descriptor(), &self.settings_records()?).as_ref() == lock {
            return Ok(false);
        }
        let changed = self.change_settings(|settings| {
            settings.extensions.retain(|(tag, _)| *tag != LOCK_TAG);
            settings.extensions.push(encode_lock(lock));
        })?;
        if let Some(lock) = lock.filter(|_| changed) {
            // It was written as it was set before. Whoever took it away would end all locks.
            let (store, lock) = (self.store(), lock.from(SystemTime::now()));
            self.wait(async {
                for object in store.list(name::SETTINGS).await? {
                    store.lock(&object.name, lock).await?;
                }
                Ok::<_, Error>(())
            })?;
        }
        Ok(changed)
    }

    /// How objects are locked that are written from now on, as the settings ask for it.
    pub fn lock_setting(&self) -> Result<Option<LockSetting>, Error> {
        Ok(settings::lock_setting(self.descriptor(), &self.settings_records()?))
    }

    /// What the settings say of storage classes, where the store has some. Asked for once.
    fn classes(&self) -> Result<&Classes, Error> {
        match self.known_classes().get() {
            Some(classes) => Ok(classes),
            None => self.wait(self.learn_classes(self.store().as_ref())),
        }
    }

    /// The same, read through a store that may know its listings already.
    pub(crate) async fn learn_classes(&self, store: &dyn Store) -> Result<&Classes, Error> {
        let mut classes = Classes::default();
        if store.has_classes() || store.has_locks() {
            let descriptor = self.descriptor();
            let records = settings::read_all(store, descriptor.vault, &descriptor.owner).await?;
            classes.data = settings::data_class(descriptor, &records);
            classes.may_be_cold = settings::data_may_be_cold(descriptor, &records);
            if let Some(locking) = self.locking() {
                locking.know(settings::lock_setting(descriptor, &records));
            }
        }
        Ok(self.known_classes().get_or_init(|| classes))
    }

    /// The storage class of packs of data, where the store has classes.
    pub(crate) fn data_class(&self) -> Result<Option<StorageClass>, Error> {
        Ok(self.classes()?.data.clone())
    }

    /// Whether data may have to be warmed before it can be read, as far as the settings tell.
    pub(crate) fn data_may_be_cold(&self) -> Result<bool, Error> {
        Ok(self.classes()?.may_be_cold)
    }

    /// Writes a new version of the settings, if the change makes one. Somebody may do so at the same moment, and know nothing
    /// of this change: then the one that counts is given both.
    fn change_settings(&self, change: impl Fn(&mut Settings)) -> Result<bool, Error> {
        self.may_change()?;
        let mut written: Option<String> = None;
        for _ in 0..TRIES {
            let records = self.settings_records()?;
            for record in &records {
                // To follow a version that this program cannot read could undo what it says.
                if let Err(damage) = &record.content
                    && damage.is_newer()
                {
                    return Err(Error::damaged(record.object.name.clone(), damage.clone()));
                }
            }
            let first = settings::initial_delay(self.descriptor());
            let Some(next) = next_settings(&records, first, written.as_deref(), &change) else { break };
            written = Some(self.write_settings(&next)?);
        }
        Ok(written.is_some())
    }

    /// Signs and stores settings; the object's name.
    fn write_settings(&self, settings: &Settings) -> Result<String, Error> {
        let mut bytes = settings.encode_unsigned(self.id(), &self.descriptor().owner);
        let signature = self.keyring().sign(SIGNING_CONTEXT, &bytes);
        bytes.extend_from_slice(&signature);
        Ok(self.wait(settings::write(self.store().as_ref(), bytes))?)
    }

    /// Whether this key may do more than add, and the vault is whole enough for it.
    pub(crate) fn may_change(&self) -> Result<(), Error> {
        if let Some(damage) = self.descriptor_damage() {
            return Err(Error::damaged(vault::name::DESCRIPTOR, damage.clone()));
        }
        if !self.keyring().can_read() {
            return Err(Error::WriteOnly);
        }
        Ok(())
    }
}

/// The version that is to be written so that a change counts; `None` when nothing is. `written` is the one that was written for
/// it before: it is enough unless somebody wrote another with the same number, without having read it.
fn next_settings(
    records: &[Record<Settings>],
    first_delay: Duration,
    written: Option<&str>,
    change: impl Fn(&mut Settings),
) -> Option<Settings> {
    let readable: Vec<(&str, &Settings)> = records
        .iter()
        .filter_map(|record| Some((record.object.name.as_str(), record.content.as_ref().ok()?)))
        .collect();
    let newest = readable.last().copied();
    let mut base = newest;
    if let Some(written) = written {
        let (_, own) = readable.iter().find(|(name, _)| *name == written)?;
        let is_rival =
            |(name, other): &&(&str, &Settings)| other.sequence == own.sequence && *name != written;
        let rival = readable.iter().rev().find(is_rival)?;
        if newest.is_some_and(|(name, _)| name == written) {
            base = Some(*rival);
        }
    }
    let next = Settings {
        sequence: newest.map_or(0, |(_, newest)| newest.sequence).saturating_add(1),
        previous: newest.and_then(|(name, _)| ObjectHash::from_object_name(name)).unwrap_or_default(),
        delete_delay: base.map_or(first_delay.as_secs(), |(_, base)| base.delete_delay),
        extensions: base.map(|(_, base)| base.extensions.clone()).unwrap_or_default(),
    };
    let mut changed = next.clone();
    change(&mut changed);
    let counts = |settings: &Settings| (settings.delete_delay, settings.extensions.clone());
    let now = newest.map_or((first_delay.as_secs(), Vec::new()), |(_, newest)| counts(newest));
    (counts(&changed) != now).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::ObjectInfo;

    /// A version of settings under a name.
    fn version(name: u8, sequence: u64, delete_delay: u64, tags: &[u64]) -> Record<Settings> {
        let name = format!("{}{}", name::SETTINGS, ObjectHash::of(&[name]));
        let extensions = tags.iter().map(|tag| (*tag, Bytes::new())).collect();
        let settings = Settings { sequence, previous: ObjectHash::default(), delete_delay, extensions };
        let object = ObjectInfo { name, size: 0, modified: SystemTime::UNIX_EPOCH };
        Record { object, content: Ok(settings) }
    }

    fn next(
        records: &[Record<Settings>],
        written: Option<usize>,
        change: impl Fn(&mut Settings),
    ) -> Option<Settings> {
        let written = written.map(|place| records[place].object.name.as_str());
        next_settings(records, Duration::from_secs(7), written, change)
    }

    fn longer(settings: &mut Settings) {
        settings.delete_delay = 30;
    }

    fn tagged(settings: &mut Settings) {
        settings.extensions.retain(|(tag, _)| *tag != 5);
        settings.extensions.push((5, Bytes::new()));
    }

    #[test]
    fn a_change_follows_the_newest_and_what_changes_nothing_is_not_written() {
        let first = next(&[], None, longer).unwrap();
        assert_eq!((first.sequence, first.previous, first.delete_delay), (1, ObjectHash::default(), 30));
        assert_eq!(next(&[], None, |settings| settings.delete_delay = 7), None);
        let there = [version(1, 1, 9, &[]), version(2, 2, 9, &[4])];
        let second = next(&there, None, longer).unwrap();
        assert_eq!((second.sequence, second.previous), (3, ObjectHash::of(&[2])));
        assert_eq!((second.delete_delay, second.extensions.len()), (30, 1));
        assert_eq!(next(&[version(1, 1, 30, &[])], None, longer), None);
    }

    #[test]
    fn of_two_changes_at_once_neither_is_lost() {
        let alone = [version(1, 1, 30, &[])];
        assert_eq!(next(&alone, Some(0), longer), None);
        assert_eq!(next(&[], None, tagged).map(|next| next.sequence), Some(1));
        // Both wrote the first version; the second of them counts.
        let both = [version(1, 1, 30, &[]), version(2, 1, 7, &[5])];
        for (place, change) in [(0, longer as fn(&mut Settings)), (1, tagged)] {
            let merged = next(&both, Some(place), change).unwrap();
            assert_eq!((merged.sequence, merged.delete_delay, merged.extensions.len()), (2, 30, 1));
            assert_eq!(merged.previous, ObjectHash::of(&[2]));
        }
        // Who comes later finds that the other has seen to it.
        let merged = [version(1, 1, 30, &[]), version(2, 1, 7, &[5]), version(3, 2, 30, &[5])];
        for (place, change) in [(0, longer as fn(&mut Settings)), (1, tagged)] {
            assert_eq!(next(&merged, Some(place), change), None);
        }
    }
}
