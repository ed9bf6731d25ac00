//! The custodian's confirmation of a snapshot: that the store has what the snapshot needs, and will keep having it.
//!
//! Who writes through grants can do so until they end, and in some stores (Swift) also replace what was written. So a
//! snapshot is confirmed only after the last grant given to its writer has ended, by the store's clock; then uploads
//! that are still held open are made void ([`Settle`]), and every object is read whole and compared with its name. From
//! then on nobody but the custodian can change it: no grant to put is given for a name that exists.
//!
//! No key is needed, and memory does not grow with the size of packs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use store::grant::Settle;
use store::{Kind, Store, StoreError};
use tokio::task::JoinSet;

use crate::check::{Finding, Severity, Unwatched, Verdict, Watch, read_pack, read_table, unreadable};
use crate::descriptor::{DESCRIPTOR_MAX, Descriptor};
use crate::error::{Damage, VaultError};
use crate::name::{self, ObjectHash, SnapshotId, VaultId};
use crate::snapshot::{self, Envelope, PackNeed, SNAPSHOT_MAX};

/// How many packs are read at once.
const AT_ONCE: usize = 4;

const ADVICE: &str = "the snapshot is not safe: see who had grants of its machine, put the object back from a copy of \
                      the vault or remove it, and let the machine back up again";

/// On what terms a snapshot was written.
#[derive(Clone)]
pub struct Terms {
    /// When the last grant to write that its writer had ended, by the store's clock; and that of every other writer
    /// who put a pack that the snapshot shares with it, unless the pack is `confirmed`. Whoever runs a store of several
    /// machines adds what their clocks may be apart.
    pub grants_end: SystemTime,
    /// Ends uploads that were begun under those grants and are still open. Without it a caller has to add to
    /// `grants_end` the longest time that the store lets an upload take.
    pub settle: Option<Arc<dyn Settle>>,
    /// Packs that were confirmed with an earlier snapshot and are known to be unchanged since: of these only the end is
    /// read, to see that they are there and which segments they have.
    pub confirmed: HashSet<ObjectHash>,
}

/// An object that was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfirmedObject {
    /// Its name in the store.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether all of its bytes were read, and not only the end of a pack that had been confirmed before.
    pub is_read_whole: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A grant may still be good: nothing was looked at.
    TooEarly {
        /// The store's time.
        now: SystemTime,
    },
    /// Everything that the snapshot needs is there and is what its name says.
    Confirmed {
        /// The snapshot itself and all packs that it needs, sorted by name.
        objects: Vec<ConfirmedObject>,
        /// How many bytes of objects were read and hashed.
        bytes_read: u64,
    },
    /// Something is missing or is not what it should be.
    Refused {
        /// What, by object.
        findings: Vec<Finding>,
    },
}

/// Confirms a snapshot, or says why not. Only a failing store, or a vault without a good descriptor, is an error.
pub async fn confirm(
    store: &Arc<dyn Store>,
    snapshot: SnapshotId,
    terms: &Terms,
) -> Result<Outcome, VaultError> {
    let now = crate::store_clock(store.as_ref()).await?;
    if now <= terms.grants_end {
        return Ok(Outcome::TooEarly { now });
    }
    let descriptor = read_descriptor(store).await?;
    let mut work = Work { vault: descriptor.vault, objects: Vec::new(), bytes_read: 0, findings: Vec::new() };
    match read_snapshot(store, snapshot, terms, &descriptor).await {
        Ok(Ok((envelope, size))) => {
            work.confirmed(snapshot.snapshot_name(), size, true);
            work.bytes_read += size;
            work.packs(store, terms, &envelope.needs).await?;
        }
        Ok(Err(damage)) => work.findings.push(Finding::of(snapshot.snapshot_name(), &damage, ADVICE)),
        Err(error) => work.findings.push(unreadable(error, ADVICE)?),
    }
    Ok(work.finish())
}

/// A confirmation under way.
struct Work {
    vault: VaultId,
    objects: Vec<ConfirmedObject>,
    bytes_read: u64,
    findings: Vec<Finding>,
}

/// What was seen of one pack.
struct Seen {
    size: u64,
    verdict: Verdict,
    is_read_whole: bool,
}

impl Work {
    /// Reads every pack that is needed, several at once.
    async fn packs(
        &mut self,
        store: &Arc<dyn Store>,
        terms: &Terms,
        needs: &[PackNeed],
    ) -> Result<(), VaultError> {
        let mut by_object: BTreeMap<ObjectHash, Vec<&PackNeed>> = BTreeMap::new();
        for need in needs {
            by_object.entry(need.object).or_default().push(need);
        }
        let mut waiting = by_object.keys();
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < AT_ONCE {
                let Some(object) = waiting.next().copied() else { break };
                let (store, vault) = (store.clone(), self.vault);
                // What was confirmed before is not written by anybody any more.
                let is_new = !terms.confirmed.contains(&object);
                let settle = terms.settle.clone().filter(|_| is_new);
                reading.spawn(async move { (object, see(&store, object, vault, is_new, settle).await) });
            }
            match reading.join_next().await {
                None => return Ok(()),
                Some(Ok((object, Ok(seen)))) => {
                    self.judge(object, &seen, by_object.get(&object).map_or(&[], Vec::as_slice));
                }
                Some(Ok((_, Err(error)))) => self.findings.push(unreadable(error, ADVICE)?),
                Some(Err(error)) => {
                    return Err(StoreError::new(Kind::Other, "read", "", store.location())
                        .because(error)
                        .into());
                }
            }
        }
    }

    fn judge(&mut self, object: ObjectHash, seen: &Seen, needs: &[&PackNeed]) {
        let name = object.pack_name();
        self.bytes_read += seen.verdict.bytes_read;
        if let Some(damage) = &seen.verdict.damage {
            self.findings.push(Finding::of(name, damage, ADVICE));
            return;
        }
        for need in needs {
            let present = seen.verdict.holds.as_ref().and_then(|holds| holds.of(need.pack));
            let lacks = |number: &u32| !present.is_some_and(|set| set.contains(*number));
            if let Some(first) = need.segments.iter().find(lacks) {
                let message = format!("segment {first} of pack {} should be in it and is not", need.pack);
                self.findings.push(Finding::new(Severity::Damage, name, message, ADVICE));
                return;
            }
        }
        self.confirmed(name, seen.size, seen.is_read_whole);
    }

    fn confirmed(&mut self, name: String, size: u64, is_read_whole: bool) {
        self.objects.push(ConfirmedObject { name, size, is_read_whole });
    }

    fn finish(mut self) -> Outcome {
        if self.findings.is_empty() {
            self.objects.sort_unstable();
            return Outcome::Confirmed { objects: self.objects, bytes_read: self.bytes_read };
        }
        self.findings.sort_unstable_by(|a, b| a.object.cmp(&b.object));
        Outcome::Refused { findings: self.findings }
    }
}

/// Looks at one pack: at all of it, or only at its end.
async fn see(
    store: &Arc<dyn Store>,
    object: ObjectHash,
    vault: VaultId,
    is_read_whole: bool,
    settle: Option<Arc<dyn Settle>>,
) -> Result<Seen, StoreError> {
    let name = object.pack_name();
    if let Some(settle) = settle {
        settle.settle(&name).await?;
    }
    let size = store.stat(&name).await?.size;
    let verdict = if is_read_whole {
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        read_pack(store, object, size, vault, None, &watch).await?
    } else {
        read_table(store, object, size, vault).await?
    };
    Ok(Seen { size, verdict, is_read_whole })
}

async fn read_descriptor(store: &Arc<dyn Store>) -> Result<Descriptor, VaultError> {
    let bytes = store.get(name::DESCRIPTOR, DESCRIPTOR_MAX).await.map_err(|error| match error.kind {
        Kind::NotFound | Kind::Gone => VaultError::NoVault { location: store.location() },
        _ => error.into(),
    })?;
    Descriptor::decode(&bytes).map_err(|damage| VaultError::damaged(name::DESCRIPTOR, damage))
}

/// The snapshot's envelope and size. The inner error is the object's, the outer one the store's.
async fn read_snapshot(
    store: &Arc<dyn Store>,
    id: SnapshotId,
    terms: &Terms,
    descriptor: &Descriptor,
) -> Result<Result<(Envelope, u64), Damage>, StoreError> {
    let name = id.snapshot_name();
    if let Some(settle) = &terms.settle {
        settle.settle(&name).await?;
    }
    let bytes = store.get(&name, SNAPSHOT_MAX).await?;
    Ok(decode(&bytes, id, descriptor).map(|envelope| (envelope, bytes.len() as u64)))
}

fn decode(bytes: &Bytes, id: SnapshotId, descriptor: &Descriptor) -> Result<Envelope, Damage> {
    let object = snapshot::decode(bytes, id, descriptor.vault)?;
    if object.signer == descriptor.owner { Ok(object.envelope) } else { Err(Damage::Signature) }
}

#[cfg(test)]
mod tests;
