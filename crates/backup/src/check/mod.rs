//! Checking a vault with its key.
//!
//! First everything that needs no key ([`vault::check`]); then key slots and snapshot bodies; then, if asked for, the
//! packs: every byte is hashed, every segment opened and every chunk named anew ([`data`]); then the trees of all
//! snapshots ([`trees`]). Only if something is lost, a walk from the roots finds who suffers ([`affected`]), and the
//! packs concerned are recorded in the vault, so that the next backup stores again what it still finds.

mod affected;
mod data;
mod graph;
mod lengths;
mod sealed;
mod trees;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::Store;
use vault::check::{FINDINGS_MAX, Findings, Loss, ReadPacks, Report, Watch};
use vault::damage::{self, DamagedPack};
use vault::segments::SegmentSet;
use vault::verified::{StoredPack, Verified};
use vault::{ObjectHash, PackId, VaultError, VaultId, name};

pub use sealed::check_sealed;
pub use vault::check::{Finding, Severity};

use crate::repair::LostFile;
use crate::{Error, Progress, ReadingTenure, SnapshotList, Vault, slots};

/// What to do about a pack that is not whole.
const PACK_ADVICE: &str = "take it from a copy of the vault with `strongroom repair --from`, or run a backup while the files \
                           are still there: it stores them again; everything else can still be restored";

/// How much of the data is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadData {
    /// Nothing but what snapshots, trees and the index need.
    No,
    /// A random share of the packs, in percent; other ones each time.
    Percent(f64),
    /// Everything.
    All,
    /// Everything that was not verified for so long, and each time a share of the rest, the oldest first.
    Due(Duration),
}

/// How a check went.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Snapshots that are whole themselves.
    pub snapshots: u64,
    /// Packs in the vault.
    pub packs: u64,
    /// Segments in those packs.
    pub segments: u64,
    /// Bytes of packs that were read, verified and opened.
    pub bytes_read: u64,
    /// Everything that is the matter, the worst first.
    pub findings: Vec<Finding>,
    /// How long it took.
    pub duration: Duration,
}

impl CheckReport {
    /// Whether anything is damaged.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// What was found and what is lost because of it, while a check goes on.
#[derive(Debug)]
struct Ledger {
    findings: Findings,
    losses: Vec<Loss>,
    /// Packs in cold storage, of which nothing was read.
    unread: HashSet<ObjectHash>,
}

impl Ledger {
    /// Adds a finding and, unless there are too many, what is lost by it.
    fn lose(
        &mut self,
        finding: Finding,
        packs: &[(PackId, Option<SegmentSet>)],
        object: ObjectHash,
    ) -> Option<usize> {
        let finding = self.findings.add(finding)?;
        let loss = |(pack, segments): &(PackId, Option<SegmentSet>)| Loss {
            pack: *pack,
            object,
            segments: segments.clone(),
            finding,
            snapshot: None,
        };
        self.losses.extend(packs.iter().map(loss));
        Some(finding)
    }
}

/// Checks the vault. Damage is in the report; an error means that the check itself could not be done.
///
/// With a key that can only add, what is sealed stays unopened, which a note says.
pub fn check(
    vault: &Arc<Vault>,
    read_data: ReadData,
    progress: &Arc<Progress>,
) -> Result<CheckReport, Error> {
    let begun = Instant::now();
    let _tenure = ReadingTenure::begin(vault);
    let packs = vault.wait(which_packs(vault.store(), vault.id(), read_data))?;
    let list = match vault.keyring().can_read() {
        // What is in the trash can be brought back, so it must be whole as well.
        true => Some(SnapshotList::load(vault)?.with_trash()),
        false => None,
    };
    // Whoever has only old keys cannot tell what is damaged of the rest.
    let list = list.filter(|list| list.sealed.is_empty());
    let can_read = list.is_some();
    // Before the check lists them: what another backup adds meanwhile is too new for it.
    let seen = vault.seen();
    let watch: Arc<dyn Watch> = progress.clone();
    let keyless = if can_read { ReadPacks::None } else { packs.clone() };
    let report =
        vault.wait(vault::check::check(vault.store(), &keyless, Some(vault.descriptor()), &watch))?;
    if report.ended_early {
        return Err(Error::Interrupted);
    }
    let missed = vault.missed(&seen, &report)?;
    let Report {
        snapshots,
        packs: count,
        segments,
        mut bytes_read,
        findings,
        losses,
        holdings,
        stored,
        verified,
        cold,
        recorded,
        ..
    } = report;
    let mut ledger = Ledger { findings, losses, unread: cold };
    for finding in missed {
        if !ledger.findings.iter().any(|known| known.object == finding.object) {
            ledger.findings.add(finding);
        }
    }
    key_slots(vault, &mut ledger)?;
    if let Some(list) = list {
        snapshot_bodies(&list, &mut ledger);
        bytes_read =
            data::read(vault, &vault::check::choose(&stored, &packs), &holdings, &mut ledger, progress)?;
        let graph = trees::walk(vault, &list, &mut ledger, progress)?;
        if !ledger.losses.is_empty() || graph.has_trouble() {
            affected::find(vault, &list, &graph, &mut ledger, progress)?;
        }
    } else {
        let (found, advice) = match vault.keyring().can_read() {
            true => (
                "this key is older than what is sealed with newer ones: nothing sealed was opened",
                "check again with a passphrase or code that was given the new keys",
            ),
            false => (
                "this key can only add to the vault: what is sealed was not opened",
                "check again with the vault's passphrase or its recovery code",
            ),
        };
        ledger.findings.add(Finding::new(Severity::Note, vault.opened_with(), found, advice));
    }
    let read = vault::check::choose(&stored, &packs);
    tell_recorded(&recorded, &read, &mut ledger);
    vault.wait(record_damage(vault.store(), vault.id(), &mut ledger))?;
    if !matches!(packs, ReadPacks::None) {
        vault.wait(record_verified(vault.store(), vault.id(), verified, &read, &stored, &mut ledger))?;
    }
    Ok(CheckReport {
        snapshots,
        packs: count,
        segments,
        bytes_read,
        findings: ledger.findings.finish(),
        duration: begun.elapsed(),
    })
}

/// Every file of every snapshot that these segments are part of, and every directory that cannot be read.
pub(crate) fn lost_files(
    vault: &Arc<Vault>,
    lost: &[(PackId, SegmentSet)],
    progress: &Arc<Progress>,
) -> Result<Vec<LostFile>, Error> {
    // What is in the trash can be brought back, and who cannot open a snapshot cannot say what it lost.
    let list = SnapshotList::load(vault)?.with_trash();
    if let Some(sealed) = list.sealed.first() {
        return Err(sealed.error());
    }
    let mut findings = Findings::default();
    let Some(finding) = findings.add(Finding::new(Severity::Damage, name::PACKS, "it is lost", "")) else {
        return Ok(Vec::new());
    };
    let loss = |(pack, segments): &(PackId, SegmentSet)| Loss {
        pack: *pack,
        object: ObjectHash::default(),
        segments: Some(segments.clone()),
        finding,
        snapshot: None,
    };
    let mut ledger = Ledger { findings, losses: lost.iter().map(loss).collect(), unread: HashSet::new() };
    let graph = trees::walk(vault, &list, &mut ledger, progress)?;
    affected::all(vault, &list, &graph, &ledger, progress)
}

async fn which_packs(
    store: &Arc<dyn Store>,
    vault: VaultId,
    read_data: ReadData,
) -> Result<ReadPacks, Error> {
    Ok(match read_data {
        ReadData::No => ReadPacks::None,
        ReadData::All => ReadPacks::All,
        ReadData::Percent(percent) => {
            let mut seed = [0; 32];
            content::random::fill(&mut seed);
            ReadPacks::Sample { percent, seed }
        }
        ReadData::Due(max_age) => {
            let now = vault::store_clock_or_own(store.as_ref()).await?;
            let verified = Arc::new(Verified::read(store.as_ref(), vault).await?);
            ReadPacks::Due { verified, now, max_age }
        }
    })
}

/// Tells of packs that an earlier check found damaged, and that this one did not read.
fn tell_recorded(recorded: &BTreeSet<ObjectHash>, read: &[(ObjectHash, u64)], ledger: &mut Ledger) {
    let known: HashSet<ObjectHash> = ledger.losses.iter().map(|loss| loss.object).collect();
    let read: HashSet<ObjectHash> = read.iter().map(|(pack, _)| *pack).collect();
    for pack in recorded.iter().filter(|pack| !known.contains(*pack) && !read.contains(*pack)) {
        ledger.findings.add(Finding::new(
            Severity::Damage,
            pack.pack_name(),
            "an earlier check found it damaged, and a snapshot needs it",
            "run `strongroom repair`, which reads it again: --from a copy of the vault it heals it; `strongroom check \
             --read-data` says what is affected, and when those snapshots are forgotten the rest is whole",
        ));
    }
}

/// Writes down which packs were found whole. A vault that takes no writes is no reason to fail.
async fn record_verified(
    store: &Arc<dyn Store>,
    vault: VaultId,
    mut verified: Verified,
    read: &[(ObjectHash, u64)],
    stored: &[StoredPack],
    ledger: &mut Ledger,
) -> Result<(), Error> {
    let unread = &ledger.unread;
    let lost: HashSet<ObjectHash> = ledger.losses.iter().map(|loss| loss.object).collect();
    let written = async {
        let now = vault::clock::seconds(vault::store_clock(store.as_ref()).await?);
        let whole = |(pack, _): &&(ObjectHash, u64)| !lost.contains(pack) && !unread.contains(pack);
        read.iter().filter(whole).for_each(|(pack, _)| verified.note(*pack, now));
        verified.write(store.as_ref(), vault, content::random::identity(), stored).await
    };
    match written.await {
        Err(VaultError::Store(error)) if error.kind == store::Kind::Gone => Err(error.into()),
        Err(error) => {
            ledger.findings.add(Finding::new(
                Severity::Note,
                name::VERIFIED,
                format!("what was verified could not be written down: {error}"),
                "nothing is lost: it is verified again next time",
            ));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

impl Watch for Progress {
    fn stage(&self, stage: &'static str) {
        self.set_stage(stage);
    }

    fn total(&self, bytes: u64) {
        self.add_bytes_total(bytes);
    }

    fn read(&self, bytes: u64) {
        self.add_bytes(bytes);
        self.add_bytes_read(bytes);
    }

    fn is_cancelled(&self) -> bool {
        Progress::is_cancelled(self)
    }
}

/// Slots whose public beginning is whole, and the rest of whose layout is not.
fn key_slots(vault: &Arc<Vault>, ledger: &mut Ledger) -> Result<(), Error> {
    for slots::Found { name, damage, .. } in
        slots::read(&vault.wait(slots::fetch_all(vault.store()))?, Some(vault.id()))
    {
        let known = ledger.findings.iter().any(|finding| finding.object == name);
        if let Some(damage) = damage
            && !known
        {
            let advice = "remove this key slot and add a new one; other slots still open the vault";
            ledger.findings.add(Finding::of(name, &damage, advice));
        }
    }
    Ok(())
}

/// Snapshots whose envelope is whole and whose sealed body is not.
fn snapshot_bodies(list: &SnapshotList, ledger: &mut Ledger) {
    for (object, damage) in &list.damaged {
        if ledger.findings.iter().any(|finding| finding.object == *object) {
            continue;
        }
        let advice = "this snapshot cannot be restored; take it from a copy of the vault with `strongroom repair --from`";
        let mut finding = Finding::of(object.clone(), damage, advice);
        if let Some(id) = ObjectHash::from_object_name(object) {
            finding.affect(id.short());
        }
        ledger.findings.add(finding);
    }
}

/// An error about one object as a finding; any other error stays one.
fn finding_of(error: Error, advice: &str) -> Result<Finding, Error> {
    match error {
        Error::Vault(VaultError::Damaged { object, damage } | VaultError::Newer { object, damage }) => {
            Ok(Finding::of(object, &damage, advice))
        }
        Error::Content { object, source } => {
            Ok(Finding::new(Severity::Damage, object, source.to_string(), advice))
        }
        Error::Store(error) | Error::Vault(VaultError::Store(error)) => {
            Ok(vault::check::unreadable(error, advice)?)
        }
        other => Err(other),
    }
}

/// Writes down in the vault which packs are not to be relied on. A vault that takes no writes is no reason to fail.
async fn record_damage(store: &Arc<dyn Store>, vault: VaultId, ledger: &mut Ledger) -> Result<(), Error> {
    let is_damage = |loss: &&Loss| {
        let finding = ledger.findings.iter().nth(loss.finding);
        loss.snapshot.is_none() && finding.is_some_and(|finding| finding.severity == Severity::Damage)
    };
    let packs: Vec<DamagedPack> = ledger
        .losses
        .iter()
        .take(FINDINGS_MAX)
        .filter(is_damage)
        .map(|loss| DamagedPack { pack: loss.pack, object: loss.object })
        .collect();
    if packs.is_empty() {
        return Ok(());
    }
    match damage::record(store.as_ref(), vault, &packs).await {
        Ok(_) => {}
        Err(VaultError::Store(error)) if error.kind == store::Kind::Gone => return Err(error.into()),
        Err(error) => {
            ledger.findings.add(Finding::new(
                Severity::Note,
                name::DAMAGE,
                format!("the damaged packs could not be recorded: {error}"),
                "check again with a vault that can be written, before the next backup: it would build on those packs",
            ));
        }
    }
    Ok(())
}
