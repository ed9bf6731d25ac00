//! Who forgets snapshots and brings them back.

use std::sync::Arc;

use bytes::Bytes;
use store::Store;
use vault::trash::Trash;
use vault::{PackId, SnapshotId, VaultError, name, trash};

use super::Actor;
use crate::objects::Millis;
use crate::toy::{self, VAULT};
use crate::world::{World, lock, millis};

/// Puts snapshots into the trash.
pub async fn forget(actor: Actor, snapshots: Vec<SnapshotId>) {
    for snapshot in snapshots {
        let mark = toy::mark(snapshot, &mut lock(&actor.world).random);
        let outcome = trash::forget(actor.store().as_ref(), VAULT, &mark).await;
        actor.note(|| {
            format!("forgot {}: {:?}", snapshot.short(), outcome.map_err(|error| error.to_string()))
        });
    }
}

/// Takes a snapshot out of the trash. It is only told to be back if it was not too late by the store's clock when the
/// marks had gone, with what that clock and the store's listings may be behind to spare.
pub async fn undelete(actor: Actor, snapshot: SnapshotId) {
    let outcome = try_to_undelete(&actor, snapshot).await;
    actor.note(|| {
        format!("undelete {}: {:?}", snapshot.short(), outcome.as_ref().map_err(ToString::to_string))
    });
    if matches!(outcome, Ok(true)) {
        let mut world = lock(&actor.world);
        world.count("snapshots brought back", 1);
        let World { oracle, objects, now, .. } = &mut *world;
        oracle.promise_again(snapshot, *now, objects);
    }
}

async fn try_to_undelete(actor: &Actor, snapshot: SnapshotId) -> Result<bool, VaultError> {
    let store = actor.store();
    let marks = Trash::read(store.as_ref(), VAULT).await?;
    let Some(forgotten) = marks.get(snapshot) else { return Ok(false) };
    let (settle, skew) = {
        let world = lock(&actor.world);
        (world.settle, world.skew)
    };
    let last = millis(forgotten.since) + actor.rules.delay;
    let is_early = |now: Millis| now + settle + 2 * skew < last;
    if !is_early(clock(actor, &store).await?) {
        return Ok(false);
    }
    trash::take_back(store.as_ref(), forgotten).await?;
    // Another mark may have been there that a listing hid.
    if Trash::read(store.as_ref(), VAULT).await?.get(snapshot).is_some() {
        return Ok(false);
    }
    Ok(is_early(clock(actor, &store).await?))
}

/// The time by the store's clock, as `vault::store_clock` learns it.
async fn clock(actor: &Actor, store: &Arc<dyn Store>) -> Result<Millis, VaultError> {
    let name = format!("{}{}", name::LEASES, PackId::new(actor.identity()));
    store.put(&name, vec![Bytes::from_static(b"?")]).await?;
    let stat = store.stat(&name).await;
    store.delete(&name).await?;
    Ok(millis(stat?.modified))
}
