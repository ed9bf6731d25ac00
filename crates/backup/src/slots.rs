//! Key slots of a vault: who can open it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use content::Keyring;
use content::slot::{SLOT_MAX, Slot};
use store::Store;
use vault::error::Damage;
use vault::{VaultId, name};

use crate::{Credential, Error, PassphraseCost, SlotKind, Vault};

/// A slot to be made.
#[derive(Clone, Debug)]
pub struct NewSlot {
    /// What will open it.
    pub credential: Credential,
    /// A name for people.
    pub label: String,
    /// What trying a passphrase costs.
    pub cost: PassphraseCost,
    /// Whether it gives only the right to add.
    pub write_only: bool,
}

/// A slot as people see it.
#[derive(Clone, Debug)]
pub struct SlotInfo {
    /// Its identity: 32 hex digits.
    pub id: String,
    /// What opens it; `None` when the slot is damaged.
    pub kind: Option<SlotKind>,
    /// Its name for people.
    pub label: String,
    /// When it was made, in seconds since 1970 (UTC).
    pub created: i64,
    /// Whether the vault was opened with it just now.
    pub opened_with: bool,
    /// What is wrong with it, if anything.
    pub damage: Option<Damage>,
}

/// Seconds since 1970 by the machine's clock.
pub(crate) fn now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs().cast_signed(),
        Err(before) => -before.duration().as_secs().cast_signed(),
    }
}

/// The object name and bytes of a new slot.
pub(crate) fn seal(keyring: &Keyring, slot: &NewSlot) -> Result<(String, Bytes), Error> {
    let name = format!("{}{}", name::KEYS, vault::PackId::new(content::random::identity()));
    let bytes = Slot::seal(keyring, &slot.credential, &slot.label, now(), slot.cost, slot.write_only);
    bytes.map(|bytes| (name.clone(), bytes)).map_err(|error| Error::content(name, error))
}

/// All slots with their object names.
pub(crate) async fn read_all(
    store: &Arc<dyn Store>,
    vault: VaultId,
) -> Result<Vec<(String, Result<Slot, Damage>)>, Error> {
    let mut slots = Vec::new();
    for object in store.list(name::KEYS).await? {
        let slot = match store.get(&object.name, SLOT_MAX).await {
            Ok(bytes) => Slot::decode(&bytes, vault),
            Err(error) if error.kind == store::Kind::TooLarge => Err(Damage::Nonsense("it is too large")),
            Err(error) => return Err(error.into()),
        };
        slots.push((object.name, slot));
    }
    Ok(slots)
}

impl Vault {
    /// Every slot, damaged ones included.
    pub fn slots(&self) -> Result<Vec<SlotInfo>, Error> {
        let found = self.wait(read_all(self.store(), self.id()))?;
        Ok(found
            .into_iter()
            .map(|(name, slot)| {
                let id = name.rsplit('/').next().unwrap_or_default().to_owned();
                let opened_with = name == self.opened_with();
                match slot {
                    Ok(slot) => SlotInfo {
                        id,
                        kind: Some(slot.kind),
                        label: slot.label,
                        created: slot.created,
                        opened_with,
                        damage: None,
                    },
                    Err(damage) => SlotInfo {
                        id,
                        kind: None,
                        label: String::new(),
                        created: 0,
                        opened_with,
                        damage: Some(damage),
                    },
                }
            })
            .collect())
    }

    /// Adds a slot. A key that can only add cannot give others the right to read.
    pub fn add_slot(&self, slot: &NewSlot) -> Result<SlotInfo, Error> {
        if !self.keyring().can_read() && !slot.write_only {
            return Err(Error::content(self.opened_with(), content::ContentError::WriteOnly));
        }
        let (name, bytes) = seal(self.keyring(), slot)?;
        self.wait(self.store().put(&name, vec![bytes]))?;
        Ok(SlotInfo {
            id: name.rsplit('/').next().unwrap_or_default().to_owned(),
            kind: Some(slot.credential.kind()),
            label: slot.label.clone(),
            created: now(),
            opened_with: false,
            damage: None,
        })
    }

    /// Removes the slot whose id starts with `prefix`; never the last one that is whole.
    pub fn remove_slot(&self, prefix: &str) -> Result<SlotInfo, Error> {
        let slots = self.slots()?;
        let mut fitting = slots.iter().filter(|slot| !prefix.is_empty() && slot.id.starts_with(prefix));
        let slot = match (fitting.next(), fitting.next()) {
            (Some(slot), None) => slot.clone(),
            (None, _) => return Err(Error::Slot(format!("there is no key slot {prefix}"))),
            _ => return Err(Error::Slot(format!("{prefix} could be several key slots"))),
        };
        let others = slots.iter().any(|other| other.id != slot.id && other.damage.is_none());
        if !others && slot.damage.is_none() {
            let last = format!("{} is the last key slot: without it nobody could open the vault", slot.id);
            return Err(Error::Slot(last));
        }
        self.wait(self.store().delete(&format!("{}{}", name::KEYS, slot.id)))?;
        Ok(slot)
    }

    /// Puts a new passphrase in the place of the one the vault was opened with: the new slot is written before the
    /// old one goes.
    pub fn change_passphrase(&self, slot: &NewSlot) -> Result<SlotInfo, Error> {
        let added = self.add_slot(slot)?;
        self.wait(self.store().delete(self.opened_with()))?;
        Ok(added)
    }
}
