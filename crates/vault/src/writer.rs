//! The writer's side of the protocol: a lease, what not to rely on, and a commit that knows whether it was in time.
//!
//! A writer begins its lease first and then reads what is condemned. From then on nothing that was not condemned is
//! deleted before its lease has ended, so it may rely on all of that. At the commit it sees by the store's clock
//! whether the lease was held until the snapshot was there. One that overslept takes a new lease and looks again; what
//! went missing meanwhile is told to the caller, who still has the data.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::Store;

use crate::error::VaultError;
use crate::lease::{CLOCK_STEP, Lease, Renewal, Role};
use crate::name::{self, ObjectHash, SnapshotId, SystemId, VaultId};
use crate::relocation::Holders;
use crate::sabotage::{Rule, keeps};
use crate::snapshot::PackNeed;

/// How often a commit starts over because its writer slept again.
const TRIES: usize = 5;

/// Somebody who adds to a vault.
#[derive(Debug)]
pub struct Writer {
    store: Arc<dyn Store>,
    vault: VaultId,
    holder: SystemId,
    lease: Lease,
    /// How many leases it has had.
    leases: u32,
    /// The lease is known to have run out once.
    overslept: bool,
    holders: Holders,
}

/// How a commit went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The snapshot is in the vault, and so is all it needs.
    Committed,
    /// The writer slept for longer than its lease and what it relied on was collected.
    Lost {
        /// What is not there any more.
        needs: Vec<PackNeed>,
        /// The snapshot itself was written before that was seen: it is in the vault, and not whole.
        written: bool,
    },
    /// The writer overslept again and again: nothing is known to be lost, and nothing is certain.
    Restless {
        /// The snapshot was written.
        written: bool,
    },
}

impl Writer {
    /// Puts a lease down and learns what not to rely on. `id` must be random.
    pub async fn begin(
        store: &Arc<dyn Store>,
        vault: VaultId,
        id: [u8; 16],
        holder: SystemId,
        duration: Duration,
    ) -> Result<Self, VaultError> {
        let early = match keeps(Rule::LeasesAreBegunFirst) {
            true => None,
            false => Some(Holders::read(store.as_ref(), vault).await?),
        };
        let lease = Lease::begin(store, vault, id, holder, Role::Writer, duration).await?;
        let holders = match early {
            Some(early) => early,
            None => Holders::read(store.as_ref(), vault).await?,
        };
        Ok(Self::holding(store, vault, holder, lease, holders))
    }

    /// For whoever begun a writer's lease, and read `holders` after that.
    pub fn holding(
        store: &Arc<dyn Store>,
        vault: VaultId,
        holder: SystemId,
        lease: Lease,
        holders: Holders,
    ) -> Self {
        Self { store: store.clone(), vault, holder, lease, leases: 1, overslept: false, holders }
    }

    /// Where packs went, and what not to rely on.
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// How many leases it has had. With each new one, what was read of the vault before counts no more.
    pub fn leases(&self) -> u32 {
        self.leases
    }

    /// The lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Renews the lease; due every third of its duration. That it ran out shows again at the commit.
    pub async fn renew(&mut self) -> Result<Renewal, VaultError> {
        let renewal = self.lease.renew().await?;
        self.overslept |= renewal == Renewal::Overslept;
        Ok(renewal)
    }

    /// Writes the snapshot `id`, whose stored form is `bytes` and which needs `needs`. `random` gives 16 random bytes.
    pub async fn commit(
        &mut self,
        id: SnapshotId,
        needs: &[PackNeed],
        bytes: &Bytes,
        random: &mut (dyn FnMut() -> [u8; 16] + Send),
    ) -> Result<Outcome, VaultError> {
        let mut written = false;
        for _ in 0..TRIES {
            if !self.overslept || !keeps(Rule::CommitsAreTimed) {
                let dated = self.store.put_dated(&id.snapshot_name(), vec![bytes.clone()]).await?;
                written = true;
                // One that was there before this lease says nothing of it: then the lease must be held still.
                let is_from_before = self.lease.begun().is_some_and(|begun| dated < begun);
                let is_in_time = match is_from_before {
                    _ if !keeps(Rule::CommitsAreTimed) => true,
                    true => self.renew().await? == Renewal::InTime,
                    false => dated + CLOCK_STEP <= self.lease.ends(),
                };
                if is_in_time {
                    return Ok(Outcome::Committed);
                }
                // It may have arrived too late to be seen by who waited for the lease; what it needs may be gone.
            }
            let duration = self.lease.duration();
            self.lease =
                Lease::begin(&self.store, self.vault, random(), self.holder, Role::Writer, duration).await?;
            self.overslept = false;
            self.leases += 1;
            self.holders = Holders::read(self.store.as_ref(), self.vault).await?;
            let lost = self.lost(needs).await?;
            if !lost.is_empty() {
                return Ok(Outcome::Lost { needs: lost, written });
            }
            if written {
                // All is there, and what holds it now is protected by the new lease.
                if self.renew().await? == Renewal::InTime {
                    return Ok(Outcome::Committed);
                }
            }
        }
        Ok(Outcome::Restless { written })
    }

    /// What of these is not in the store, or about to go.
    async fn lost(&self, needs: &[PackNeed]) -> Result<Vec<PackNeed>, VaultError> {
        let packs = self.store.list(name::PACKS).await?;
        let there: std::collections::HashSet<ObjectHash> =
            packs.iter().filter_map(|object| ObjectHash::from_object_name(&object.name)).collect();
        let is_lost = |need: &&PackNeed| {
            let is_there = |object| there.contains(&object);
            // While nobody waited for this writer, a chunk that it needs of a closed pack may have been left out, which its
            // segment's number does not tell.
            self.holders.is_closed(need.pack) && keeps(Rule::SleepersDoubtClosedPacks)
                || self.holders.find_among(need.pack, need.object, &need.segments, is_there).is_none()
        };
        Ok(needs.iter().filter(is_lost).cloned().collect())
    }

    /// Ends the lease.
    pub async fn end(self) -> Result<(), VaultError> {
        self.lease.end().await
    }
}
