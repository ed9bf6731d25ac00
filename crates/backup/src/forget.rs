//! Putting snapshots into the trash, and bringing them back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vault::error::Damage;
use vault::retention::Dropped;
use vault::snapshot::{self, Envelope, SNAPSHOT_MAX};
use vault::trash::{self, Mark};
use vault::{ObjectHash, SnapshotId, SystemId, clock};

use crate::pins::refuse_pinned;
use crate::{Error, SnapshotList, Vault, slots};

/// How many marks are written at once.
const AT_ONCE: usize = 16;

/// What became of snapshots that were to be forgotten.
#[derive(Clone, Debug, Default)]
pub struct ForgetReport {
    /// Those put into the trash, or that would be.
    pub forgotten: Vec<SnapshotId>,
    /// Those that were there already: nothing was changed.
    pub already: Vec<SnapshotId>,
    /// Until when the first can be brought back, at least, by the store's clock. It is the moment itself when there
    /// is no delay.
    pub until: Option<SystemTime>,
}

/// Puts snapshots of the list into the trash. If one of them is pinned or held, or was written by a newer program, none is.
/// A dry run writes nothing, and goes by the machine's clock because asking the store's would.
pub fn forget(
    vault: &Arc<Vault>,
    list: &SnapshotList,
    snapshots: &[SnapshotId],
    why: Dropped,
    dry_run: bool,
) -> Result<ForgetReport, Error> {
    vault.may_change()?;
    let (in_trash, there): (BTreeSet<_>, BTreeSet<_>) =
        snapshots.iter().copied().partition(|id| list.in_trash(*id).is_some());
    let mut report = ForgetReport { already: in_trash.into_iter().collect(), ..ForgetReport::default() };
    if there.is_empty() {
        return Ok(report);
    }
    let now = if dry_run { SystemTime::now() } else { store_clock(vault)? };
    let pins = vault.all_pins()?;
    let mut marks = Vec::with_capacity(there.len());
    for id in there {
        refuse_pinned(&pins, id, now)?;
        marks.push(mark(vault, list, id, why)?);
    }
    report.until = Some(vault.delays()?.kept_until(now));
    if dry_run {
        report.forgotten = marks.iter().map(|mark| mark.snapshot).collect();
        return Ok(report);
    }
    for group in marks.chunks(AT_ONCE) {
        let writes: Vec<_> = group
            .iter()
            .cloned()
            .map(|mark| {
                let (store, id) = (vault.store().clone(), vault.id());
                vault.spawn(async move { trash::forget(store.as_ref(), id, &mark).await })
            })
            .collect();
        for (mark, write) in group.iter().zip(writes) {
            vault.wait(write).map_err(|_| Error::Interrupted)??;
            report.forgotten.push(mark.snapshot);
        }
    }
    Ok(report)
}

/// The moment by the clock of the vault's store.
pub fn store_clock(vault: &Vault) -> Result<SystemTime, Error> {
    Ok(vault.wait(clock::store_clock(vault.store().as_ref()))?)
}

/// A mark for a snapshot. Marks are public, so that they say nothing of who wrote them.
fn mark(vault: &Vault, list: &SnapshotList, id: SnapshotId, why: Dropped) -> Result<Mark, Error> {
    let (system, sequence, previous) = match list.snapshots.iter().find(|snapshot| snapshot.id == id) {
        Some(snapshot) => facts(&snapshot.envelope),
        None => damaged_facts(vault, list, id)?,
    };
    Ok(Mark {
        nonce: content::random::identity(),
        snapshot: id,
        system,
        sequence,
        previous,
        written: slots::now(),
        reason: why.to_string(),
    })
}

fn facts(envelope: &Envelope) -> (SystemId, u64, SnapshotId) {
    (envelope.system, envelope.sequence, envelope.previous)
}

/// What can be known of a damaged snapshot: nothing, if it is too bad.
fn damaged_facts(
    vault: &Vault,
    list: &SnapshotList,
    id: SnapshotId,
) -> Result<(SystemId, u64, SnapshotId), Error> {
    let name = id.snapshot_name();
    let known = list.damaged.iter().find(|(object, _)| *object == name);
    let (_, damage) = known.ok_or_else(|| Error::NoSuchSnapshot(id.short()))?;
    // What a newer program wrote is not damaged, and what it would mean to forget it nobody here knows.
    if damage.is_newer() || *damage == Damage::Missing {
        return Err(Error::damaged(name, damage.clone()));
    }
    match vault.wait(vault.reading().get(&name, SNAPSHOT_MAX)) {
        Ok(bytes) => {
            let is_named_right = ObjectHash::of(&bytes) == id;
            let decoded = snapshot::decode_unverified(&bytes).ok().filter(|_| is_named_right);
            Ok(decoded.map(|object| facts(&object.envelope)).unwrap_or_default())
        }
        Err(error) if error.kind == store::Kind::TooLarge => Ok(Default::default()),
        Err(error) => Err(error.into()),
    }
}

/// Brings snapshots back from the trash. If it is too late for one of them, none is.
pub fn undelete(vault: &Arc<Vault>, list: &SnapshotList, snapshots: &[SnapshotId]) -> Result<(), Error> {
    vault.may_change()?;
    let delays = vault.delays()?;
    let now = store_clock(vault)?;
    let mut found = Vec::with_capacity(snapshots.len());
    for id in snapshots {
        let one = list.in_trash(*id).ok_or_else(|| Error::NotInTrash(id.short()))?;
        let until = delays.kept_until(one.forgotten.since);
        if now >= until {
            let until = shown(clock::seconds(until));
            return Err(Error::TooLate { snapshot: id.short(), until });
        }
        found.push(&one.forgotten);
    }
    for forgotten in found {
        vault.wait(trash::take_back(vault.store().as_ref(), forgotten))?;
    }
    Ok(())
}

/// A moment in seconds since 1970 for people, in the local zone.
pub(crate) fn shown(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(moment) => moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
        Err(_) => format!("{seconds} s"),
    }
}
