//! Who checks the vault without a key, beside everybody else: what was not verified for a while is read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use store::Store;
use vault::check::{self, Finding, ReadPacks, Report, Severity, Unwatched, Watch};
use vault::lease::{Lease, Renewal, Role};
use vault::verified::Verified;
use vault::{SystemId, VaultError, clock};

use super::Actor;
use crate::actor_store::pause;
use crate::runtime::Within;
use crate::toy::VAULT;
use crate::world::{World, lock};

/// What a check found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What the check says of anything that is damaged, or could be from a newer program.
    pub findings: Vec<Finding>,
    /// How many packs it read whole.
    pub packs_read: usize,
    /// Its lease was held from the beginning to the end.
    pub is_protected: bool,
}

/// Checks the vault once. In a vault without damage it must find none.
pub async fn scrub(actor: Actor) {
    let max_age = {
        let days = *lock(&actor.world).random.pick(&[0, 1, 30]).unwrap_or(&30);
        Duration::from_secs(days * 24 * 3600)
    };
    let world = actor.world.clone();
    Within::new(&world, async move {
        match check(&actor, max_age).await {
            Ok(verdict) => judge(&actor, &verdict),
            Err(error) => actor.note(|| format!("check: {error}")),
        }
    })
    .await;
}

/// Checks the vault; packs that were not verified for `max_age` are read. Needs a runtime.
pub async fn check(actor: &Actor, max_age: Duration) -> Result<Verdict, VaultError> {
    let store = actor.store();
    let duration = Duration::from_millis(actor.rules.lease);
    let begun = Lease::begin(&store, VAULT, actor.identity(), SystemId::default(), Role::Reader, duration);
    let mut lease = begun.await?;
    let now = lease.renewed();
    let verified = Arc::new(Verified::read(store.as_ref(), VAULT).await?);
    let packs = ReadPacks::Due { verified, now, max_age };
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let mut is_held = true;
    let report = {
        let reading = std::pin::pin!(check::check(&store, &packs, None, &watch));
        let renewing = std::pin::pin!(async {
            loop {
                pause(&actor.world, actor.number, actor.rules.lease / 3).await;
                is_held &= matches!(lease.renew().await, Ok(Renewal::InTime));
            }
        });
        match select(reading, renewing).await {
            Either::Left((report, _)) => report?,
            Either::Right((never, _)) => never,
        }
    };
    let is_protected = matches!(lease.renew().await, Ok(Renewal::InTime)) && is_held;
    let read = check::choose(&report.stored, &packs);
    let packs_read = read.len();
    let findings = report.findings.iter().filter(|finding| finding.severity != Severity::Note);
    let findings: Vec<_> = findings.cloned().collect();
    note_verified(actor, &store, report, read, now).await?;
    let _ = lease.end().await;
    Ok(Verdict { findings, packs_read, is_protected })
}

/// Writes down what was found whole, as `backup::check` does.
async fn note_verified(
    actor: &Actor,
    store: &Arc<dyn Store>,
    report: Report,
    read: Vec<(vault::ObjectHash, u64)>,
    now: SystemTime,
) -> Result<(), VaultError> {
    let Report { mut verified, losses, stored, .. } = report;
    let is_whole = |object: &vault::ObjectHash| losses.iter().all(|loss| loss.object != *object);
    let whole = read.into_iter().map(|(object, _)| object).filter(is_whole);
    whole.for_each(|object| verified.note(object, clock::seconds(now)));
    verified.write(store.as_ref(), VAULT, actor.identity(), &stored).await
}

fn judge(actor: &Actor, verdict: &Verdict) {
    let mut world = lock(&actor.world);
    world.count("checks", 1);
    world.count("packs checked", verdict.packs_read as u64);
    for finding in &verdict.findings {
        world.note(|| format!("#{} finds: {} {}", actor.number, finding.object, finding.message));
    }
    // While the store is behind, something may be hidden from a check; and there are vaults with damage in them.
    let is_whole = !world.oracle.was_robbed && !world.has_rotted && world.faults.stale == 0;
    if !is_whole || !verdict.is_protected {
        return;
    }
    let World { oracle, now, .. } = &mut *world;
    let promised: Vec<_> = oracle.promised(*now).iter().map(|id| id.short()).collect();
    // Nobody was told that the others are safe: a backup may have been stopped before it could take one back.
    let matters = |finding: &&Finding| {
        finding.affects.is_empty() || finding.affects.iter().any(|id| promised.contains(id))
    };
    if let Some(finding) = verdict.findings.iter().find(matters) {
        let problem =
            format!("a check finds damage where there is none: {} {}", finding.object, finding.message);
        oracle.violation.get_or_insert(problem);
    }
}
