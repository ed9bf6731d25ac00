//! What may be changed about a vault: today the delay before what was forgotten may be deleted.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use vault::ObjectHash;
use vault::error::Damage;
use vault::records::Record;
use vault::settings::{self, DELAY_TAG, Delays, SIGNING_CONTEXT, Settings};
use vault::wire::Write;

use crate::{Error, Vault};

/// No longer delay can be asked for. Who mistypes one must wait for it to pass.
pub const DELETE_DELAY_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// How a vault is set.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// How long what was forgotten can be brought back, as it was asked for last.
    pub delete_delay: Duration,
    /// How long it is in force now: longer, while a shorter one has yet to wait.
    pub in_force: Duration,
    /// Objects that should be settings and cannot be read.
    pub unreadable: Vec<(String, Damage)>,
}

/// The descriptor's setting with the first delay.
pub(crate) fn delay_setting(delay: Duration) -> Result<(u64, Bytes), Error> {
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
        let unreadable =
            records.into_iter().filter_map(|record| Some((record.object.name, record.content.err()?)));
        Ok(VaultSettings {
            delete_delay: delays.newest(),
            in_force: delays.effective(now),
            unreadable: unreadable.collect(),
        })
    }

    /// Asks for another delay before what is forgotten may be deleted. A longer one counts at once, a shorter one when the
    /// longer has passed. Whether anything was to be changed.
    pub fn set_delete_delay(&self, delay: Duration) -> Result<bool, Error> {
        self.may_change()?;
        let delete_delay = allowed(delay)?;
        let records = self.settings_records()?;
        for record in &records {
            // To follow a version that this program cannot read could undo what it says.
            if let Err(damage) = &record.content
                && damage.is_newer()
            {
                return Err(Error::damaged(record.object.name.clone(), damage.clone()));
            }
        }
        if Delays::new(self.descriptor(), &records).newest().as_secs() == delete_delay {
            return Ok(false);
        }
        let before = records
            .iter()
            .filter_map(|record| Some((&record.object.name, record.content.as_ref().ok()?)))
            .next_back();
        let next = match before {
            None => Settings {
                sequence: 1,
                previous: ObjectHash::default(),
                delete_delay,
                extensions: Vec::new(),
            },
            Some((name, before)) => Settings {
                sequence: before.sequence.saturating_add(1),
                previous: ObjectHash::from_object_name(name).unwrap_or_default(),
                delete_delay,
                extensions: before.extensions.clone(),
            },
        };
        let mut bytes = next.encode_unsigned(self.id(), &self.descriptor().owner);
        let signature = self.keyring().sign(SIGNING_CONTEXT, &bytes);
        bytes.extend_from_slice(&signature);
        self.wait(settings::write(self.store().as_ref(), bytes))?;
        Ok(true)
    }

    /// Whether this key may do more than add, and the vault is whole enough for it.
    pub(crate) fn may_change(&self) -> Result<(), Error> {
        if let Some(damage) = self.descriptor_damage() {
            return Err(Error::damaged(vault::name::DESCRIPTOR, damage.clone()));
        }
        if !self.keyring().can_read() {
            return Err(Error::content(self.opened_with(), content::ContentError::WriteOnly));
        }
        Ok(())
    }
}
