//! The snapshot to compare with.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use content::Address;
use vault::snapshot::Envelope;
use vault::{SnapshotId, SystemId};

use super::BackupRequest;
use super::notes::{Job, Notes};
use super::session::path_bytes;
use crate::{Error, SealedSnapshot, Snapshot, SnapshotList, Vault};

/// A snapshot that is in the vault and not in the trash, with its tree or what this machine noted of it.
pub(super) enum Parent {
    /// One that the key opens.
    Opened(Arc<Snapshot>),
    /// One that it does not.
    Noted(Box<Noted>),
}

/// A sealed snapshot and the notes about it.
pub(super) struct Noted {
    snapshot: SealedSnapshot,
    began: i64,
    /// Until they are read.
    notes: Mutex<Option<Notes>>,
}

impl Parent {
    /// The newest of the same host and paths, or the one that was asked for.
    pub(super) fn find(
        vault: &Vault,
        system: SystemId,
        snapshots: &SnapshotList,
        request: &BackupRequest,
        paths: &[PathBuf],
    ) -> Result<Option<Self>, Error> {
        if !vault.keyring().can_read() {
            let noted = Self::noted(vault, system, snapshots, request, paths);
            if noted.is_some() || request.parent.is_none() {
                return Ok(noted);
            }
        }
        if let Some(id) = request.parent {
            // Not from the trash: what it needs may be deleted meanwhile.
            let parent = snapshots.snapshots.iter().find(|snapshot| snapshot.id == id).cloned();
            let parent = parent.map(|parent| Some(Self::Opened(parent)));
            return parent.ok_or_else(|| Error::NoSuchSnapshot(id.to_string()));
        }
        let mut wanted = path_bytes(paths);
        wanted.sort();
        let same = |snapshot: &&Arc<Snapshot>| {
            let mut paths = snapshot.body.paths.clone();
            paths.sort();
            snapshot.body.host == request.host && paths == wanted
        };
        Ok(snapshots.snapshots.iter().rev().find(same).cloned().map(Self::Opened))
    }

    fn noted(
        vault: &Vault,
        system: SystemId,
        snapshots: &SnapshotList,
        request: &BackupRequest,
        paths: &[PathBuf],
    ) -> Option<Self> {
        let notes = Notes::open(vault, Job::of(vault, system, &request.host, paths))?;
        let is_meant = request.parent.is_none_or(|id| id == notes.snapshot);
        // Not from the trash either, and the list of sealed ones has those too.
        if !is_meant || snapshots.in_trash(notes.snapshot).is_some() {
            return None;
        }
        let is_it =
            |sealed: &&SealedSnapshot| sealed.id == notes.snapshot && sealed.envelope.system == system;
        let snapshot = snapshots.sealed.iter().find(is_it)?.clone();
        Some(Self::Noted(Box::new(Noted { snapshot, began: notes.began, notes: Mutex::new(Some(notes)) })))
    }

    pub(super) fn id(&self) -> SnapshotId {
        match self {
            Self::Opened(snapshot) => snapshot.id,
            Self::Noted(noted) => noted.snapshot.id,
        }
    }

    /// What is public of it.
    pub(super) fn envelope(&self) -> &Envelope {
        match self {
            Self::Opened(snapshot) => &snapshot.envelope,
            Self::Noted(noted) => &noted.snapshot.envelope,
        }
    }

    /// When its backup began, in seconds.
    pub(super) fn began(&self) -> i64 {
        match self {
            Self::Opened(snapshot) => snapshot.body.started.seconds,
            Self::Noted(noted) => noted.began,
        }
    }

    /// Whether what is at this address is sure to be kept for it. Its tree cannot hold others; whether notes do, the signed
    /// list of what it needs says.
    pub(super) fn needs(&self, address: &Address) -> bool {
        match self {
            Self::Opened(_) => true,
            Self::Noted(noted) => {
                let needs = &noted.snapshot.envelope.needs;
                let found = needs.binary_search_by_key(&address.pack, |need| need.pack).ok();
                found
                    .and_then(|place| needs.get(place))
                    .is_some_and(|need| need.segments.contains(address.segment))
            }
        }
    }
}

impl Noted {
    /// The notes, for the one who reads them.
    pub(super) fn take(&self) -> Option<Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vault::snapshot::PackNeed;
    use vault::{ObjectHash, PackId, VaultId};

    #[test]
    fn of_what_was_noted_only_segments_count_that_the_snapshot_needs() {
        let pack = |n| PackId::new([n; 16]);
        let need = |n, segments: &[u32]| PackNeed {
            pack: pack(n),
            object: ObjectHash::of(&[n]),
            segments: segments.iter().copied().collect(),
        };
        let envelope = Envelope {
            vault: VaultId::default(),
            system: SystemId::default(),
            job: [0; 16],
            sequence: 0,
            time: (0, 0),
            previous: ObjectHash::default(),
            files: 0,
            bytes: 0,
            needs: vec![need(1, &[0]), need(3, &[0, 2]), need(4, &[1])],
        };
        let snapshot =
            SealedSnapshot { id: ObjectHash::of(b"snapshot"), envelope, epoch: 0, is_write_only: true };
        let parent = Parent::Noted(Box::new(Noted { snapshot, began: 0, notes: Mutex::new(None) }));
        let needs = |n, segment| parent.needs(&Address { pack: pack(n), segment, offset: 0, length: 1 });
        assert!(needs(1, 0) && needs(3, 0) && needs(3, 2) && needs(4, 1));
        assert!(!needs(1, 1) && !needs(3, 1) && !needs(2, 0) && !needs(4, 99));
    }
}
