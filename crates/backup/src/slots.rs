//! Key slots of a vault: who can open it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use content::Keyring;
use content::slot::Slot;
use futures_util::{StreamExt, TryStreamExt};
use store::{ObjectInfo, Store};
use vault::error::Damage;
use vault::{ObjectHash, VaultId, name};

use crate::{Credential, Error, PassphraseCost, SlotKind, SnapshotList, Vault};

/// How many slots are fetched at once.
const AT_ONCE: usize = 8;

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
    /// Its identity: 64 hex digits, the hash of the slot.
    pub id: String,
    /// What opens it; `None` when the slot cannot be read.
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
    let bytes = Slot::seal(keyring, &slot.credential, &slot.label, now(), slot.cost, slot.write_only)
        .map_err(|error| Error::content("a new key slot", error))?;
    Ok((ObjectHash::of(&bytes).slot_name(), bytes))
}

/// A slot as it was found.
pub(crate) struct Found {
    /// The object's name.
    pub name: String,
    /// What it says, if it can be read. It may still open the vault when there is damage.
    pub slot: Option<Slot>,
    /// What is wrong with it.
    pub damage: Option<Damage>,
}

impl Found {
    fn new(name: String, bytes: &Bytes, vault: Option<VaultId>) -> Self {
        let is_named_right = ObjectHash::from_object_name(&name) == Some(ObjectHash::of(bytes));
        match Slot::decode(bytes) {
            // The same passphrase may open it, and its keys are not this vault's.
            Ok(slot) if vault.is_some_and(|vault| vault != slot.vault) => {
                Self::unreadable(name, Damage::ForeignVault)
            }
            Ok(slot) => {
                Self { name, slot: Some(slot), damage: (!is_named_right).then_some(Damage::HashMismatch) }
            }
            Err(damage) => Self::unreadable(name, damage),
        }
    }

    fn unreadable(name: String, damage: Damage) -> Self {
        Self { name, slot: None, damage: Some(damage) }
    }
}

/// A slot's name with its bytes, or with what is wrong.
pub(crate) type Fetched = (String, Result<Bytes, Damage>);

/// All slots as they are stored.
pub(crate) async fn fetch_all(store: &Arc<dyn Store>) -> Result<Vec<Fetched>, Error> {
    let fetch = |object: ObjectInfo| async move {
        let bytes = match store.get(&object.name, name::SLOT_MAX).await {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind == store::Kind::TooLarge => Err(Damage::Nonsense("it is too large")),
            // Another slot may still open the vault.
            Err(error) if error.kind == store::Kind::NotFound => Err(Damage::Missing),
            Err(error) => return Err(error.into()),
        };
        Ok((object.name, bytes))
    };
    let objects = store.list_each(&[name::KEYS]).await?.pop().unwrap_or_default();
    futures_util::stream::iter(objects).map(fetch).buffered(AT_ONCE).try_collect().await
}

/// What slots say; of this vault, if it is known.
pub(crate) fn read(fetched: &[Fetched], vault: Option<VaultId>) -> Vec<Found> {
    let found = |(name, bytes): &Fetched| match bytes {
        Ok(bytes) => Found::new(name.clone(), bytes, vault),
        Err(damage) => Found::unreadable(name.clone(), damage.clone()),
    };
    fetched.iter().map(found).collect()
}

impl Vault {
    /// Every slot, damaged ones included.
    pub fn slots(&self) -> Result<Vec<SlotInfo>, Error> {
        let found = read(&self.wait(fetch_all(self.store()))?, Some(self.id()));
        let info = |Found { name, slot, damage }: Found| SlotInfo {
            id: name.rsplit('/').next().unwrap_or_default().to_owned(),
            kind: slot.as_ref().map(|slot| slot.kind),
            created: slot.as_ref().map_or(0, |slot| slot.created),
            opened_with: name == self.opened_with(),
            label: slot.map(|slot| slot.label).unwrap_or_default(),
            damage,
        };
        Ok(found.into_iter().map(info).collect())
    }

    /// Adds a slot. A key that can only add cannot give others the right to read.
    pub fn add_slot(&self, slot: &NewSlot) -> Result<SlotInfo, Error> {
        if !self.keyring().can_read() && !slot.write_only {
            return Err(Error::WriteOnly);
        }
        self.put_slot(self.keyring(), slot)
    }

    /// Gives the vault new keys: whatever is stored from now on is sealed with them. They are in `slots`, whose first
    /// takes the place of the slot that the vault was opened with; all others give the old keys only, which open what was
    /// stored before. Names of chunks, cutting and signatures stay as they are. The open vault goes on with its keys.
    pub fn renew_keys(self: &Arc<Self>, slots: &[NewSlot]) -> Result<Vec<SlotInfo>, Error> {
        if !self.keyring().can_read() {
            return Err(Error::WriteOnly);
        }
        self.must_open_everything()?;
        let refused = |error| Error::content(self.opened_with(), error);
        let keyring = self.keyring().with_new_epoch().map_err(refused)?;
        let mut added = Vec::with_capacity(slots.len());
        for slot in slots {
            added.push(self.put_slot(&keyring, slot)?);
        }
        if let Some((slot, info)) = slots.iter().zip(&added).next() {
            self.take_place(&keyring, slot, info)?;
        }
        Ok(added)
    }

    /// Removes the slot that the vault was opened with, and what a change that was interrupted left: other slots that the
    /// same secret opens and that give no more keys. Such a slot would outlast the next change of that secret.
    fn take_place(&self, keyring: &Keyring, slot: &NewSlot, added: &SlotInfo) -> Result<(), Error> {
        self.wait(self.store().discard(self.opened_with()))?;
        for found in read(&self.wait(fetch_all(self.store()))?, Some(self.id())) {
            if found.name == format!("{}{}", name::KEYS, added.id) {
                continue;
            }
            let keys = found.slot.and_then(|found| found.open(&slot.credential).ok());
            if keys.is_some_and(|keys| keys.can_read() && keyring.includes(&keys)) {
                self.wait(self.store().discard(&found.name))?;
            }
        }
        Ok(())
    }

    fn put_slot(&self, keyring: &Keyring, slot: &NewSlot) -> Result<SlotInfo, Error> {
        let (name, bytes) = seal(keyring, slot)?;
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

    /// An error unless the key opens every snapshot: there may be newer keys than its own.
    fn must_open_everything(self: &Arc<Self>) -> Result<(), Error> {
        match SnapshotList::load(self)?.sealed.first() {
            Some(sealed) => Err(sealed.error()),
            None => Ok(()),
        }
    }

    /// Removes the slot whose id starts with `prefix`; never the last one that is whole.
    ///
    /// What a slot gives shows only when it is opened: others may be able to add and not to read, or have only keys from
    /// before. So what opened the vault stays, and it must open everything; whoever may remove slots then can read all.
    pub fn remove_slot(self: &Arc<Self>, prefix: &str) -> Result<SlotInfo, Error> {
        if !self.keyring().can_read() {
            return Err(Error::WriteOnly);
        }
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
        if slot.opened_with {
            let used =
                format!("{} opened the vault just now: open it with what stays to remove this", slot.id);
            return Err(Error::Slot(used));
        }
        self.must_open_everything()?;
        self.wait(self.store().discard(&format!("{}{}", name::KEYS, slot.id)))?;
        Ok(slot)
    }

    /// Puts a new passphrase in the place of the one the vault was opened with: the new slot is written before the
    /// old one goes.
    pub fn change_passphrase(&self, slot: &NewSlot) -> Result<SlotInfo, Error> {
        let added = self.add_slot(slot)?;
        self.take_place(self.keyring(), slot, &added)?;
        Ok(added)
    }
}
