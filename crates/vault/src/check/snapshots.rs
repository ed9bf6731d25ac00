//! Snapshots: each one by itself, and whether the packs have what it needs.

use std::collections::HashSet;
use std::time::Duration;

use store::{Kind, StoreError};

use super::chain::{self, Link};
use super::fetches::Fetches;
use super::finding::{Finding, Severity};
use super::pack_reading::PackReading;
use super::packs::cold;
use super::{Check, Held, Loss, unreadable};
use crate::condemned::EVERY_PACK;
use crate::error::{Damage, VaultError};
use crate::name::{ObjectHash, SnapshotId};
use crate::segments::SegmentSet;
use crate::snapshot::{self, Envelope, PackNeed, SNAPSHOT_MAX};

/// A listing of a store on another machine shows what was received so long before its newest object, with room for
/// times that are off.
const LISTING_LAG: Duration = Duration::from_secs(2 * 3600);

impl Check<'_> {
    pub(super) async fn snapshots(&mut self) -> Result<(), VaultError> {
        let objects = std::mem::take(&mut self.listing.snapshots);
        let advice = "this snapshot cannot be restored; take it from a copy of the vault with `strongroom repair --from`";
        let mut links = Vec::with_capacity(objects.len());
        let mut fetches = Fetches::new(self.store, &objects, SNAPSHOT_MAX);
        while self.goes_on()
            && let Some((object, outcome)) = fetches.next().await
        {
            let id = ObjectHash::from_object_name(&object.name).unwrap_or_default();
            let mut finding = match outcome {
                Ok(bytes) => match self.decode(&bytes, id) {
                    Ok(envelope) => {
                        self.report.snapshots += 1;
                        links.push(Link::new(id, &envelope, object.modified));
                        for need in &envelope.needs {
                            self.need(need, id).await?;
                        }
                        continue;
                    }
                    Err(damage) => Finding::of(&object.name, &damage, advice),
                },
                // Its time was over, and it went since it was listed.
                Err(error) if error.kind == Kind::NotFound && self.holders.is_going(id) => continue,
                Err(error) => unreadable(error, advice)?,
            };
            finding.affect(id.short());
            self.report.findings.add(finding);
        }
        drop(fetches);
        if !self.report.ended_early {
            let listed: HashSet<_> =
                objects.iter().filter_map(|object| ObjectHash::from_object_name(&object.name)).collect();
            let is_listed = |id| listed.contains(&id);
            let (is_copy, latest) = (self.holders.is_closed(EVERY_PACK), self.listing.latest);
            let lag = if self.store.is_remote() { LISTING_LAG } else { Duration::ZERO };
            // Only some snapshots may have been copied, and a listing may hide what is new.
            let passed = |link: &Link| latest?.duration_since(link.received).ok();
            let shows_loss = |link: &Link| !is_copy && passed(link).is_some_and(|passed| passed > lag);
            chain::check(&links, is_listed, &self.marks, shows_loss, &mut self.report.findings);
            let newest = &self.report.verified.newest;
            chain::rolled_back(newest, is_listed, &self.marks, &mut self.report.findings);
            links.iter().for_each(|link| link.saw(&mut self.report.verified));
            let marked = self.marks.iter().map(|mark| mark.snapshot);
            self.report.accounted = listed.iter().copied().chain(marked).collect();
        }
        Ok(())
    }

    fn decode(&self, bytes: &bytes::Bytes, id: SnapshotId) -> Result<Envelope, Damage> {
        let object = snapshot::decode(bytes, id, self.vault())?;
        if object.signer == self.descriptor.owner { Ok(object.envelope) } else { Err(Damage::Signature) }
    }

    /// Sees whether a pack has the segments that a snapshot needs.
    async fn need(&mut self, need: &PackNeed, snapshot: SnapshotId) -> Result<(), VaultError> {
        let is_there = |object| self.sizes.contains_key(&object);
        let found = self.holders.find_among(need.pack, need.object, &need.segments, is_there);
        let object = found.unwrap_or(need.object);
        let need = &PackNeed { object, ..need.clone() };
        let goes_too = self.holders.is_going(snapshot) && self.holders.is_condemned(object);
        if goes_too && !self.sizes.contains_key(&object) {
            return Ok(());
        }
        self.needed.insert(need.object);
        let fault = match self.faults.get(&need.object) {
            Some(number) => Some(*number),
            None if !self.sizes.contains_key(&need.object) => self.pack_fault(need.object, &Damage::Missing),
            None => self.learn(need.object).await?,
        };
        if let Some(number) = fault {
            self.lose_need(need, None, number, snapshot);
            return Ok(());
        }
        let held = self.report.holdings.get(need.object).or_else(|| self.not_indexed.get(&need.object));
        let Some(held) = held else { return Ok(()) };
        let present = held.of(need.pack);
        let lacking: SegmentSet =
            need.segments.iter().filter(|number| !present.is_some_and(|set| set.contains(*number))).collect();
        let first = lacking.iter().next();
        if let Some(first) = first {
            let number = match self.incomplete.get(&need.object) {
                Some(number) => Some(*number),
                None => self.report.findings.add(Finding::new(
                    Severity::Damage,
                    need.object.pack_name(),
                    format!("segment {first} of pack {} should be in it and is not", need.pack),
                    "take it from a copy of the vault with `strongroom repair --from`; the rest can still be restored",
                )),
            };
            if let Some(number) = number {
                self.incomplete.insert(need.object, number);
                self.lose_need(need, Some(lacking), number, snapshot);
            }
        }
        Ok(())
    }

    /// Reads the table of a pack that no fragment names. Returns the finding if that fails.
    async fn learn(&mut self, object: ObjectHash) -> Result<Option<usize>, VaultError> {
        let is_known = self.report.holdings.get(object).is_some() || self.not_indexed.contains_key(&object);
        if is_known || self.report.cold.contains(&object) {
            return Ok(None);
        }
        let size = self.sizes.get(&object).copied().unwrap_or_default();
        match PackReading::begin(self.store.as_ref(), object, size, self.vault()).await {
            Ok(Ok(reading)) => {
                let held = Held::new(size, reading.trailer(), reading.encoded_trailer());
                self.report.segments += held.segments;
                self.not_indexed.insert(object, held);
                Ok(None)
            }
            Ok(Err(damage)) => Ok(self.pack_fault(object, &damage)),
            Err(error) => self.unreadable_pack(object, error),
        }
    }

    /// A pack that the store does not give.
    pub(super) fn unreadable_pack(
        &mut self,
        object: ObjectHash,
        error: StoreError,
    ) -> Result<Option<usize>, VaultError> {
        if error.kind == Kind::Cold {
            if self.report.cold.insert(object) {
                self.report.findings.add(cold(object));
            }
            return Ok(None);
        }
        if error.kind == Kind::NotFound && self.holders.is_condemned(object) {
            // It went since it was listed; what needs it after all is led elsewhere, or the next check finds it missing.
            return Ok(None);
        }
        let finding = unreadable(
            error,
            "see whether the disk is failing; take it from a copy of the vault with `strongroom repair --from`",
        )?;
        let number = self.report.findings.add(finding);
        if let Some(number) = number {
            self.fault(object, number);
        }
        Ok(number)
    }

    fn lose_need(
        &mut self,
        need: &PackNeed,
        segments: Option<SegmentSet>,
        finding: usize,
        snapshot: SnapshotId,
    ) {
        if let Some(finding) = self.report.findings.get_mut(finding) {
            finding.affect(snapshot.short());
        }
        self.lose(Loss { pack: need.pack, object: need.object, segments, finding, snapshot: None });
    }
}
