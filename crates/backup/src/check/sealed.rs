//! Checking a vault without its key: what its custodian does.

use std::convert::Infallible;
use std::mem::take;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{Either, select};
use store::Store;
use vault::check::{ReadPacks, Report, Watch};
use vault::lease::{self, Lease, Role};
use vault::{SystemId, VaultError, VaultId};

use super::{CheckReport, Ledger, ReadData, record_damage, record_verified, tell_recorded, which_packs};
use crate::cleanup::read_descriptor;
use crate::vault_access::new_runtime;
use crate::{Error, Progress};

/// Checks all that can be proved of the vault in `store` without a key: every object is what its name says, what the
/// owner has to sign is signed, no snapshot is missing from its chain, and what each needs is there; with data, that
/// every stored byte is right. What is inside the sealed parts is for [`super::check`].
pub fn check_sealed(
    store: &Arc<dyn Store>,
    read_data: ReadData,
    progress: &Arc<Progress>,
) -> Result<CheckReport, Error> {
    let begun = Instant::now();
    let watch: Arc<dyn Watch> = progress.clone();
    let report = new_runtime()?.block_on(look(store, read_data, &watch))?;
    if report.ended_early {
        return Err(Error::Interrupted);
    }
    Ok(CheckReport {
        snapshots: report.snapshots,
        packs: report.packs,
        segments: report.segments,
        bytes_read: report.bytes_read,
        findings: report.findings.finish(),
        duration: begun.elapsed(),
    })
}

async fn look(store: &Arc<dyn Store>, read_data: ReadData, watch: &Arc<dyn Watch>) -> Result<Report, Error> {
    let vault = match read_descriptor(store).await {
        Ok(descriptor) => descriptor.vault,
        // Nobody knows which vault it is then, and the report says that.
        Err(Error::Vault(VaultError::Damaged { .. } | VaultError::Newer { .. })) => {
            return Ok(vault::check::check(store, &ReadPacks::None, None, watch).await?);
        }
        Err(error) => return Err(error),
    };
    let packs = which_packs(store, vault, read_data).await?;
    let report = during_a_lease(store, vault, vault::check::check(store, &packs, None, watch)).await?;
    if report.ended_early { Ok(report) } else { record(store, vault, &packs, report).await }
}

/// A reader's lease is held meanwhile, if the store takes one: what was listed stays until then.
async fn during_a_lease<T>(store: &Arc<dyn Store>, vault: VaultId, work: impl Future<Output = T>) -> T {
    let (id, holder) = (content::random::identity(), SystemId::default());
    let mut lease = Lease::begin(store, vault, id, holder, Role::Reader, lease::DURATION).await.ok();
    let outcome = match select(pin!(work), pin!(renewing(&mut lease))).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((never, _)) => match never {},
    };
    if let Some(lease) = lease {
        // One that cannot be ended runs out.
        let _ = lease.end().await;
    }
    outcome
}

async fn renewing(lease: &mut Option<Lease>) -> Infallible {
    loop {
        tokio::time::sleep(lease::DURATION / 3).await;
        if let Some(lease) = lease {
            let _ = lease.renew().await;
        }
    }
}

/// Writes down in the vault what is damaged, and what was found whole.
async fn record(
    store: &Arc<dyn Store>,
    vault: VaultId,
    packs: &ReadPacks,
    mut report: Report,
) -> Result<Report, Error> {
    let mut ledger = Ledger {
        findings: take(&mut report.findings),
        losses: take(&mut report.losses),
        unread: take(&mut report.cold),
    };
    let read = vault::check::choose(&report.stored, packs);
    tell_recorded(&report.recorded, &read, &mut ledger);
    record_damage(store, vault, &mut ledger).await?;
    if !matches!(packs, ReadPacks::None) {
        let (verified, stored) = (take(&mut report.verified), &report.stored);
        record_verified(store, vault, verified, &read, stored, &mut ledger).await?;
    }
    Ok(Report { findings: ledger.findings, ..report })
}
