//! What this machine has seen in a vault: the snapshots that were there.
//!
//! Whoever may delete in the store can take the newest snapshots away with every record of them, or put the whole vault
//! back to how it was: what is left is whole, and nothing in it tells. So each machine remembers, in its cache folder,
//! which snapshots it saw or wrote, and a check names those that are gone though nobody forgot them.
//!
//! A mark explains that a snapshot is gone, so what has one is remembered no longer. Vaults are told apart by their place too: a copy
//! lacks what the original has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use store::Kind;
use vault::check::{Finding, Report, Severity};
use vault::wire::{Reader, Write};
use vault::{SnapshotId, SystemId, VaultId};

use crate::opening::{read_hashed, write_hashed};
use crate::{Error, SnapshotList, Vault};

/// A file larger than this is not read: some million snapshots.
const FILE_MAX: u64 = 256 << 20;
/// The least that a snapshot takes in it.
const ENTRY_MIN: usize = 49;

/// Snapshots with their machines and their numbers there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<SnapshotId, (SystemId, u64)>);

/// Where it is kept, below the folder of all caches.
fn path(cache: &Path, location: &str) -> PathBuf {
    cache.join("seen").join(blake3::hash(location.as_bytes()).to_hex().as_str())
}

impl Seen {
    /// What is remembered of a vault at a place: nothing, when it is not whole or of another vault.
    fn read(path: &Path, vault: VaultId) -> Self {
        Self::try_read(path, vault).unwrap_or_default()
    }

    fn try_read(path: &Path, vault: VaultId) -> Option<Self> {
        let content = read_hashed(path, FILE_MAX)?;
        let mut reader = Reader::new(&content);
        let is_same = VaultId::read(&mut reader, "vault id").ok()? == vault;
        let mut seen = Self::default();
        for _ in 0..reader.count("snapshots", ENTRY_MIN).ok()? {
            let id = SnapshotId::read(&mut reader, "snapshot").ok()?;
            let system = SystemId::read(&mut reader, "system id").ok()?;
            seen.0.insert(id, (system, reader.varint("sequence").ok()?));
        }
        reader.finish("snapshots seen").ok()?;
        is_same.then_some(seen)
    }

    fn encode(&self, vault: VaultId) -> Vec<u8> {
        let mut out = vault.bytes().to_vec();
        out.varint(self.0.len() as u64);
        for (id, (system, sequence)) in &self.0 {
            out.extend_from_slice(id.bytes());
            out.extend_from_slice(system.bytes());
            out.varint(*sequence);
        }
        out
    }
}

impl Vault {
    fn seen_path(&self) -> PathBuf {
        path(self.caches(), &self.store().location())
    }

    /// Remembers a snapshot that this machine wrote.
    pub(crate) fn saw(&self, id: SnapshotId, system: SystemId, sequence: u64) {
        self.remember(|seen| seen.0.extend([(id, (system, sequence))]));
    }

    /// Remembers what is in a list, and no longer what `is_forgotten`.
    pub(crate) fn saw_all(&self, list: &SnapshotList, is_forgotten: impl Fn(SnapshotId) -> bool) {
        let readable = list.snapshots.iter().map(|snapshot| (snapshot.id, &snapshot.envelope));
        let sealed = list.sealed.iter().map(|sealed| (sealed.id, &sealed.envelope));
        let found = readable.chain(sealed).map(|(id, envelope)| (id, (envelope.system, envelope.sequence)));
        self.remember(|seen| {
            seen.0.extend(found);
            seen.0.retain(|id, _| !is_forgotten(*id));
        });
    }

    /// What cannot be written down is not remembered.
    fn remember(&self, change: impl FnOnce(&mut Seen)) {
        let path = self.seen_path();
        let before = self.seen();
        let mut seen = before.clone();
        change(&mut seen);
        if seen != before {
            let _ = write_hashed(&path, &seen.encode(self.id()));
        }
    }

    /// What this machine remembers.
    pub(crate) fn seen(&self) -> Seen {
        Seen::read(&self.seen_path(), self.id())
    }

    /// What a check is to say of snapshots that were `seen` before it began and that its `report` does not account for.
    pub(crate) fn missed(&self, seen: &Seen, report: &Report) -> Result<Vec<Finding>, Error> {
        let (severity, advice) = match report.copies_arrive {
            // Several copies may take turns at one place.
            true => (Severity::Note, "nothing to do if another copy was at this place then".to_owned()),
            false => {
                (Severity::Damage, format!("{ADVICE}; if it was you, remove {}", self.seen_path().display()))
            }
        };
        let mut findings = Vec::new();
        for (id, (_, sequence)) in seen.0.iter().filter(|(id, _)| !report.accounted.contains(id)) {
            // A listing may lag behind.
            match self.wait(self.store().stat(&id.snapshot_name())) {
                Ok(_) => continue,
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            let message = format!("this machine saw it, as number {sequence} of its machine, and it is gone");
            let mut finding = Finding::new(severity, id.snapshot_name(), message, advice.as_str());
            finding.affect(id.short());
            findings.push(finding);
        }
        Ok(findings)
    }
}

const ADVICE: &str =
    "nobody forgot it: find out who can delete in this store; put it back from a copy of the vault";
