//! Snapshots that somebody wants to keep, whatever a policy says.

use std::sync::Arc;
use std::time::SystemTime;

use vault::SnapshotId;
use vault::pins::{Pin, Pins, Until};

use crate::{Error, SnapshotList, Vault, forget, slots};

/// Pins a snapshot, or holds it until a moment. Not one in the trash.
pub fn pin(vault: &Vault, list: &SnapshotList, snapshot: SnapshotId, until: Until) -> Result<(), Error> {
    vault.may_change()?;
    if list.in_trash(snapshot).is_some() {
        return Err(Error::InTrash(snapshot.short()));
    }
    let pin = Pin { nonce: content::random::identity(), snapshot, until, written: slots::now() };
    vault.wait(vault::pins::pin(vault.store().as_ref(), vault.id(), &pin))?;
    Ok(())
}

/// Takes all pins and holds of a snapshot away; how many there were.
pub fn unpin(vault: &Vault, pins: &Pins, snapshot: SnapshotId) -> Result<usize, Error> {
    vault.may_change()?;
    let mut count = 0;
    for name in pins.names(snapshot) {
        vault.wait(vault.store().discard(name))?;
        count += 1;
    }
    Ok(count)
}

impl Vault {
    /// All pins and holds.
    pub fn pins(self: &Arc<Self>) -> Result<Pins, Error> {
        Ok(self.wait(Pins::read(self.store().as_ref(), self.id()))?)
    }

    /// All pins and holds, when it matters that none is missed: one that cannot be read may be any snapshot's.
    pub(crate) fn all_pins(self: &Arc<Self>) -> Result<Pins, Error> {
        let pins = self.pins()?;
        match pins.unreadable().first() {
            None => Ok(pins),
            Some((name, damage)) => Err(Error::damaged(name.clone(), damage.clone())),
        }
    }
}

/// An error if somebody wants to keep a snapshot.
pub(crate) fn refuse_pinned(pins: &Pins, snapshot: SnapshotId, now: SystemTime) -> Result<(), Error> {
    let how = match pins.until(snapshot, now) {
        None => return Ok(()),
        Some(Until::Unpinned) => "pinned".to_owned(),
        Some(Until::Moment(end)) => format!("held until {}", forget::shown(end)),
    };
    Err(Error::Pinned { snapshot: snapshot.short(), how })
}
