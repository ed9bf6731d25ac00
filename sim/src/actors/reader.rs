//! A restore: it holds a lease, finds packs as `backup::Reader` does, and takes its time.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use store::{Kind, Store};
use vault::lease::{Lease, Renewal, Role};
use vault::pack::{Trailer, read_trailer};
use vault::relocation::Holders;
use vault::snapshot::{self, PackNeed, SNAPSHOT_MAX};
use vault::{ObjectHash, PackId, SnapshotId, SystemId, VaultError};

use super::Actor;
use crate::oracle::Content;
use crate::toy::{Spot, VAULT, contents_of, spots_in};
use crate::world::lock;

/// Restores a snapshot. If it was in retention when this began, and the lease was held, everything must be found.
pub async fn read(actor: Actor, snapshot: SnapshotId) {
    let mut restore = Restore { actor: &actor, snapshot, is_protected: false };
    let outcome = restore.run().await;
    let is_protected = restore.is_protected;
    actor.note(|| {
        format!("restore {}: {:?}", snapshot.short(), outcome.as_ref().map_err(ToString::to_string))
    });
    if matches!(outcome, Ok(None)) {
        lock(&actor.world).count("restores", 1);
    }
    if let Ok(Some(problem)) = outcome
        && is_protected
    {
        let problem = format!("a restore of {} fails: {problem}", snapshot.short());
        lock(&actor.world).oracle.violation.get_or_insert(problem);
    }
}

struct Restore<'a> {
    actor: &'a Actor,
    snapshot: SnapshotId,
    /// The snapshot was in retention when the lease was there, and the lease was held since.
    is_protected: bool,
}

impl Restore<'_> {
    /// What could not be restored.
    async fn run(&mut self) -> Result<Option<String>, VaultError> {
        let (actor, id) = (self.actor, self.snapshot);
        let store = actor.store();
        let duration = Duration::from_millis(actor.rules.lease);
        let identity = actor.identity();
        let begun = Lease::begin(&store, VAULT, identity, SystemId::default(), Role::Reader, duration);
        let mut lease = begun.await?;
        let mut renewed = {
            let mut world = lock(&actor.world);
            let now = world.now;
            // While the store is behind, something new may be hidden from this reader: that is no loss.
            self.is_protected = world.oracle.is_promised(id, now) && world.faults.stale == 0;
            now
        };
        let holders = Holders::read(store.as_ref(), VAULT).await?;
        let bytes = match store.get(&id.snapshot_name(), SNAPSHOT_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == Kind::NotFound => {
                self.is_protected &= matches!(lease.renew().await, Ok(Renewal::InTime));
                return Ok(Some("it is not there".to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let Ok(object) = snapshot::decode(&bytes, id, VAULT) else {
            // It is damaged for now.
            return Ok(None);
        };
        let expected: HashMap<(PackId, Spot), Content> = {
            let world = lock(&actor.world);
            let Some((_, contents)) = world.oracle.expected(id) else { return Ok(None) };
            contents.iter().map(|(pack, spot, content)| ((*pack, *spot), *content)).collect()
        };
        for need in &object.envelope.needs {
            let Some((object, trailer)) = find(store.as_ref(), &holders, need).await? else {
                self.is_protected &= matches!(lease.renew().await, Ok(Renewal::InTime));
                return Ok(Some(format!("pack {} is nowhere", need.pack)));
            };
            for number in need.segments.iter() {
                let now = lock(&actor.world).now;
                if now >= renewed + actor.rules.lease / 3 {
                    self.is_protected &= matches!(lease.renew().await, Ok(Renewal::InTime));
                    renewed = now;
                }
                match segment(store.as_ref(), object, &trailer, need.pack, number).await? {
                    Some(sealed) => {
                        let there: HashMap<Spot, Content> = contents_of(number, &sealed).collect();
                        let is_as_it_was = |spot: Spot| {
                            let content = expected.get(&(need.pack, spot));
                            content.is_none_or(|content| there.get(&spot) == Some(content))
                        };
                        if !spots_in(number).all(is_as_it_was) {
                            self.is_protected &= matches!(lease.renew().await, Ok(Renewal::InTime));
                            return Ok(Some("a segment is not what it was".to_owned()));
                        }
                    }
                    None => {
                        self.is_protected &= matches!(lease.renew().await, Ok(Renewal::InTime));
                        return Ok(Some(format!("segment {number} of pack {} is gone", need.pack)));
                    }
                }
            }
        }
        let _ = lease.end().await;
        Ok(None)
    }
}

async fn find(
    store: &dyn Store,
    holders: &Holders,
    need: &PackNeed,
) -> Result<Option<(ObjectHash, Trailer)>, VaultError> {
    let named = holders.find(need.pack, need.object, &need.segments).unwrap_or(need.object);
    if let Some(trailer) = trailer(store, named).await? {
        return Ok(Some((named, trailer)));
    }
    // It may have been moved since this reader began.
    let holders = Holders::read(store, VAULT).await?;
    for object in holders.elsewhere(need.pack) {
        if let Some(trailer) = trailer(store, object).await? {
            return Ok(Some((object, trailer)));
        }
    }
    Ok(None)
}

async fn trailer(store: &dyn Store, object: ObjectHash) -> Result<Option<Trailer>, VaultError> {
    match read_trailer(store, object, VAULT).await {
        Ok(Ok((trailer, ..))) => Ok(Some(trailer)),
        Ok(Err(_)) => Ok(None),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn segment(
    store: &dyn Store,
    object: ObjectHash,
    trailer: &Trailer,
    pack: PackId,
    number: u32,
) -> Result<Option<Bytes>, VaultError> {
    let Some(row) = trailer.row(pack, number) else { return Ok(None) };
    match store.get_range(&object.pack_name(), row.offset..row.offset + u64::from(row.length)).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == Kind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
