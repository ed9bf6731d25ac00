//! A lease that is renewed by itself for as long as somebody works.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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

/// The store, with everything listed that a backup, or else a reader, has to know before it starts: two requests at once
/// in place of seven in a row, where the store can.
pub(crate) async fn look_around(vault: &Vault, role: Role) -> Result<Arc<dyn Store>, Error> {
    let (looks_for_keys, looks_for_settings) =
        (vault.is_unconfirmed(), vault.store().has_classes() || vault.store().has_locks());
    let mut first = vec![name::CONDEMNED];
    if role == Role::Writer {
        first.extend([name::DAMAGE, name::INDEX]);
    }
    first.extend(looks_for_keys.then_some(name::KEYS));
    let mut second = vec![name::RELOCATIONS];
    second.extend(looks_for_settings.then_some(name::SETTINGS));
    second.extend([name::SNAPSHOTS, name::TRASH]);
    let ahead = Ahead::list(vault.reading(), &[&first, &second]).await?;
    if looks_for_keys {
        vault.confirm(&ahead.list(name::KEYS).await?).await?;
    }
    if looks_for_settings {
        vault.learn_classes(&ahead).await?;
    }
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
            let around = look_around(vault, Role::Writer).await?;
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
    around: OnceLock<Arc<dyn Store>>,
    holders: OnceLock<Arc<Holders>>,
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
        let (around, holders) = (OnceLock::new(), OnceLock::new());
        Some(Self { vault: vault.clone(), lease, renewing, around, holders })
    }

    /// The store as it looked when this was first asked, see [`look_around`].
    pub(crate) fn around(&self) -> Result<&Arc<dyn Store>, Error> {
        if let Some(around) = self.around.get() {
            return Ok(around);
        }
        let around = self.vault.wait(look_around(&self.vault, Role::Reader))?;
        Ok(self.around.get_or_init(|| around))
    }

    /// Where packs went.
    pub(crate) fn holders(&self) -> Result<Arc<Holders>, Error> {
        if let Some(holders) = self.holders.get() {
            return Ok(holders.clone());
        }
        let holders = self.vault.wait(Holders::read(self.around()?.as_ref(), self.vault.id()))?;
        Ok(self.holders.get_or_init(|| Arc::new(holders)).clone())
    }

    /// Its vault.
    pub(crate) fn vault(&self) -> &Arc<Vault> {
        &self.vault
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
