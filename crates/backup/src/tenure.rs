//! A lease that is renewed by itself for as long as somebody works.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::{Ahead, Store};
use tokio::task::JoinHandle;
use vault::lease::{self, Lease, Role};
use vault::relocation::Holders;
use vault::snapshot::PackNeed;
use vault::writer::{Outcome, Writer};
use vault::{SnapshotId, SystemId, name};

use crate::{Error, Vault};

/// How long is waited before a renewal that failed is tried again.
const AGAIN: Duration = Duration::from_secs(20);

/// The store, with everything listed that a backup has to know before it starts: two requests at once in place of seven
/// in a row, where the store can.
pub(crate) async fn look_around(vault: &Vault) -> Result<Arc<dyn Store>, Error> {
    let groups: [&[&str]; 2] =
        [&[name::CONDEMNED, name::DAMAGE, name::INDEX], &[name::RELOCATIONS, name::SNAPSHOTS, name::TRASH]];
    let ahead = Ahead::list(vault.reading(), &groups).await?;
    if !ahead.is_empty(name::CONDEMNED) {
        // What is condemned was relocated before, so relocations are to be seen after that.
        ahead.forget(name::RELOCATIONS);
    }
    Ok(Arc::new(ahead))
}

/// A writer's lease. It is marked as ended when this is dropped.
#[derive(Debug)]
pub(crate) struct WritingTenure {
    vault: Arc<Vault>,
    writer: Arc<tokio::sync::Mutex<Option<Writer>>>,
    renewing: JoinHandle<()>,
    holders: Mutex<Arc<Holders>>,
}

impl WritingTenure {
    /// Begins it: from now on nothing is deleted that was not condemned before. With it comes the store as it looks
    /// now to whoever begins a backup, see [`look_around`].
    pub(crate) fn begin(vault: &Arc<Vault>, system: SystemId) -> Result<(Self, Arc<dyn Store>), Error> {
        let id = content::random::identity();
        let begin = async {
            let begun = Lease::begin(vault.store(), vault.id(), id, system, Role::Writer, lease::DURATION);
            let lease = begun.await?;
            let around = look_around(vault).await?;
            let holders = Holders::read(around.as_ref(), vault.id()).await?;
            Ok::<_, Error>((Writer::holding(vault.store(), vault.id(), system, lease, holders), around))
        };
        let (writer, around) = vault.wait(begin)?;
        let holders = Mutex::new(Arc::new(writer.holders().clone()));
        let writer = Arc::new(tokio::sync::Mutex::new(Some(writer)));
        let kept = writer.clone();
        let renewing = vault.spawn(async move {
            let mut wait = lease::DURATION / 3;
            loop {
                tokio::time::sleep(wait).await;
                let mut writer = kept.lock().await;
                let Some(writer) = writer.as_mut() else { return };
                // Whether it was in time shows at the commit.
                wait = if writer.renew().await.is_ok() { lease::DURATION / 3 } else { AGAIN };
            }
        });
        Ok((Self { vault: vault.clone(), writer, renewing, holders }, around))
    }

    /// Where packs went, and what not to rely on.
    pub(crate) fn holders(&self) -> Arc<Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes the snapshot.
    pub(crate) fn commit(
        &self,
        id: SnapshotId,
        needs: &[PackNeed],
        bytes: &bytes::Bytes,
    ) -> Result<Outcome, Error> {
        self.vault.wait(async {
            let mut writer = self.writer.lock().await;
            let writer = writer.as_mut().ok_or(Error::Interrupted)?;
            Ok(writer.commit(id, needs, bytes, &mut content::random::identity).await?)
        })
    }
}

impl Drop for WritingTenure {
    fn drop(&mut self) {
        self.renewing.abort();
        let writer = self.writer.clone();
        // A lease that cannot be ended runs out.
        let _ = self.vault.wait(async move {
            match writer.lock().await.take() {
                Some(writer) => writer.end().await,
                None => Ok(()),
            }
        });
    }
}

/// A reader's lease, if the vault takes one: whoever may only read does without.
#[derive(Debug)]
pub struct ReadingTenure {
    vault: Arc<Vault>,
    lease: Arc<tokio::sync::Mutex<Option<Lease>>>,
    renewing: JoinHandle<()>,
}

impl ReadingTenure {
    /// Begins it. `None` when the store refuses.
    pub fn begin(vault: &Arc<Vault>) -> Option<Self> {
        let id = content::random::identity();
        let begun =
            Lease::begin(vault.store(), vault.id(), id, SystemId::default(), Role::Reader, lease::DURATION);
        let lease = Arc::new(tokio::sync::Mutex::new(Some(vault.wait(begun).ok()?)));
        let kept = lease.clone();
        let renewing = vault.spawn(async move {
            let mut wait = lease::DURATION / 3;
            loop {
                tokio::time::sleep(wait).await;
                let mut lease = kept.lock().await;
                let Some(lease) = lease.as_mut() else { return };
                wait = if lease.renew().await.is_ok() { lease::DURATION / 3 } else { AGAIN };
            }
        });
        Some(Self { vault: vault.clone(), lease, renewing })
    }
}

impl Drop for ReadingTenure {
    fn drop(&mut self) {
        self.renewing.abort();
        let lease = self.lease.clone();
        let _ = self.vault.wait(async move {
            match lease.lock().await.take() {
                Some(lease) => lease.end().await,
                None => Ok(()),
            }
        });
    }
}
