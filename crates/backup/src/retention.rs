//! Judging the snapshots of a vault by a policy.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vault::damage::{self, DamagedPack};
use vault::relocation::Holders;
use vault::retention::{self, Candidate, Group, Policy, Verdict};
use vault::snapshot::Envelope;
use vault::wire::Write;
use vault::{ObjectHash, SystemId, name};

use crate::{Error, Filter, Snapshot, SnapshotList, Vault};

/// What makes a group of snapshots that are judged together. The job always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// The machine.
    pub system: bool,
    /// The machine's name.
    pub host: bool,
    /// What was backed up.
    pub paths: bool,
}

impl Default for GroupBy {
    /// By machine and paths: two backups that have nothing to do with each other do not push each other out.
    fn default() -> Self {
        Self { system: true, host: false, paths: true }
    }
}

impl GroupBy {
    fn group(self, snapshot: &Snapshot) -> Group {
        let mut label = Vec::new();
        if self.host {
            label.sized(snapshot.body.host.as_bytes());
        }
        if self.paths {
            let mut paths: Vec<_> = snapshot.body.paths.iter().collect();
            paths.sort();
            paths.into_iter().for_each(|path| label.sized(path));
        }
        let system = if self.system { snapshot.envelope.system } else { SystemId::default() };
        Group { system, job: snapshot.envelope.job, label }
    }
}

/// A snapshot and what becomes of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Judges the snapshots that fit the filter; nothing is changed. Groups in the order of their first snapshots, in each the
/// oldest first. `zone` says where days begin, `now` what the store's clock says.
pub fn judge(
    vault: &Arc<Vault>,
    list: &SnapshotList,
    filter: &Filter,
    policy: &Policy,
    group_by: GroupBy,
    zone: &TimeZone,
    now: SystemTime,
) -> Result<Vec<Vec<Judged>>, Error> {
    let snapshots = list.matching(filter);
    let pins = vault.all_pins()?;
    let health = Health::read(vault)?;
    let candidate = |snapshot: &Arc<Snapshot>| Candidate {
        id: snapshot.id,
        group: group_by.group(snapshot),
        time: snapshot.envelope.time,
        received: snapshot.received,
        tags: snapshot.body.tags.clone(),
        is_good: health.has_all(&snapshot.envelope),
        pin: pins.until(snapshot.id, now),
    };
    let candidates: Vec<_> = snapshots.iter().map(candidate).collect();
    let offset =
        |seconds| Timestamp::from_second(seconds).map_or(0, |moment| zone.to_offset(moment).seconds());
    let verdicts = retention::judge(&candidates, policy, offset, now);
    let mut places: BTreeMap<&Group, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Judged>> = Vec::new();
    for ((candidate, snapshot), verdict) in candidates.iter().zip(snapshots).zip(verdicts) {
        let place = *places.entry(&candidate.group).or_insert(groups.len());
        let judged = Judged { snapshot, verdict };
        match groups.get_mut(place) {
            Some(group) => group.push(judged),
            None => groups.push(vec![judged]),
        }
    }
    Ok(groups)
}

/// What is known of the packs without reading one.
struct Health {
    stored: HashSet<ObjectHash>,
    damaged: HashSet<DamagedPack>,
    holders: Holders,
}

impl Health {
    fn read(vault: &Arc<Vault>) -> Result<Self, Error> {
        let objects = vault.wait(vault.store().list(name::PACKS))?;
        let stored = objects.iter().filter_map(|object| ObjectHash::from_object_name(&object.name)).collect();
        let damaged = vault.wait(damage::read_all(vault.store().as_ref(), vault.id()))?;
        let holders = vault.wait(Holders::read(vault.store().as_ref(), vault.id()))?;
        Ok(Self { stored, damaged: damaged.into_iter().collect(), holders })
    }

    /// Whether all packs that a snapshot needs are there, and none was found damaged.
    fn has_all(&self, envelope: &Envelope) -> bool {
        envelope.needs.iter().all(|need| {
            let object = self.holders.find(need.pack, need.object, &need.segments).unwrap_or(need.object);
            let pack = DamagedPack { pack: need.pack, object };
            self.stored.contains(&object) && !self.damaged.contains(&pack)
        })
    }
}
