//! Reading packs whole and verifying every byte, as far as that is possible without a key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use store::{Kind, Store, StoreError};
use tokio::task::JoinSet;

use super::finding::{Finding, Severity};
use super::pack_reading::PackReading;
use super::{Check, Held, Loss, Watch};
use crate::error::{Damage, VaultError};
use crate::name::{ObjectHash, PackId, VaultId};
use crate::verified::{StoredPack, Verified};

/// How many packs are read at once. Each has one piece in memory: a few MiB, and a segment more at most.
const AT_ONCE: usize = 4;

/// Which packs are read whole.
#[derive(Clone, Debug, Default)]
pub enum ReadPacks {
    /// None: names, sizes and tables are all that is checked of packs.
    #[default]
    None,
    /// All of them.
    All,
    /// A random share of them.
    Sample {
        /// How many of a hundred; at least one pack is read.
        percent: f64,
        /// Decides which; a fresh one for each check, so that in time every pack has its turn.
        seed: [u8; 32],
    },
    /// Those whose turn it is.
    Due {
        /// What was verified when.
        verified: Arc<Verified>,
        /// The moment, by the store's clock.
        now: SystemTime,
        /// How old a verification may become.
        max_age: Duration,
    },
}

/// The packs to read, the largest first, so that those read at once end at about the same time.
pub fn choose(packs: &[StoredPack], which: &ReadPacks) -> Vec<(ObjectHash, u64)> {
    let chosen = match which {
        ReadPacks::None => Vec::new(),
        ReadPacks::All => packs.to_vec(),
        ReadPacks::Sample { percent, seed } => {
            let share = (percent.clamp(0.0, 100.0) / 100.0 * packs.len() as f64).ceil() as usize;
            let mut drawn: Vec<_> = packs
                .iter()
                .map(|pack| (*blake3::keyed_hash(seed, pack.hash.bytes()).as_bytes(), *pack))
                .collect();
            drawn.sort_unstable_by_key(|(draw, _)| *draw);
            drawn.into_iter().take(share.max(1)).map(|(_, pack)| pack).collect()
        }
        ReadPacks::Due { verified, now, max_age } => verified.due(packs, *now, *max_age),
    };
    let mut chosen: Vec<_> = chosen.into_iter().map(|pack| (pack.hash, pack.size)).collect();
    chosen.sort_unstable_by_key(|(hash, size)| (std::cmp::Reverse(*size), *hash));
    chosen
}

/// What reading one pack showed.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) bytes_read: u64,
    /// The pack as a whole.
    pub(crate) damage: Option<Damage>,
    /// What its own table says that it holds, as far as the table could be read.
    pub(crate) holds: Option<Held>,
    /// Segments that do not match their hashes.
    segments: Vec<(PackId, u32)>,
    /// An index fragment says something else of it.
    table_differs: bool,
}

impl Check<'_> {
    /// Reads the chosen packs. Those that are known to be of no use are left out.
    pub(super) async fn read_packs(&mut self, which: &ReadPacks) -> Result<(), VaultError> {
        let mut chosen = choose(&self.report.stored, which);
        chosen.retain(|(object, _)| !self.faults.contains_key(object));
        self.watch.stage("reading data");
        self.watch.total(chosen.iter().map(|(_, size)| size).sum());
        let mut waiting = chosen.into_iter();
        let mut reading = JoinSet::new();
        loop {
            while self.goes_on() && reading.len() < AT_ONCE {
                let Some((object, size)) = waiting.next() else { break };
                let (store, watch, vault) = (self.store.clone(), self.watch.clone(), self.vault());
                let held = self.report.holdings.get(object).cloned();
                reading.spawn(async move {
                    let verdict = read_pack(&store, object, size, vault, held, &watch).await;
                    (object, verdict)
                });
            }
            match reading.join_next().await {
                None => return Ok(()),
                Some(Ok((object, outcome))) => self.judge(object, outcome)?,
                Some(Err(error)) => {
                    let location = self.store.location();
                    let error = StoreError::new(Kind::Other, "read", "", location).because(error);
                    return Err(error.into());
                }
            }
        }
    }

    fn judge(&mut self, object: ObjectHash, outcome: Result<Verdict, StoreError>) -> Result<(), VaultError> {
        let verdict = match outcome {
            Ok(verdict) => verdict,
            Err(error) => return self.unreadable_pack(object, error).map(|_| ()),
        };
        self.report.bytes_read += verdict.bytes_read;
        if verdict.table_differs {
            self.report.findings.add(table_differs(object));
        }
        let Some(damage) = verdict.damage else { return Ok(()) };
        if verdict.segments.is_empty() {
            self.pack_fault(object, &damage);
            return Ok(());
        }
        // The other segments of it are as good as ever.
        let advice = "take it from a copy of the vault with `strongroom repair --from`; what does not need this segment can still be \
             restored";
        let finding = self.report.findings.add(Finding::of(object.pack_name(), &damage, advice));
        let Some(finding) = finding else { return Ok(()) };
        for (pack, number) in verdict.segments {
            let segments = Some([number].into_iter().collect());
            self.lose(Loss { pack, object, segments, finding, snapshot: None });
        }
        Ok(())
    }
}

/// A pack in cold storage: nothing is known to be wrong with it.
pub fn cold(object: ObjectHash) -> Finding {
    Finding::new(
        Severity::Note,
        object.pack_name(),
        "it is in cold storage and was not read",
        "to check it, warm it first (`strongroom restore --warm` does), and check again while it is warm",
    )
}

/// An index fragment and the pack itself disagree.
pub fn table_differs(object: ObjectHash) -> Finding {
    Finding::new(
        Severity::Damage,
        object.pack_name(),
        "an index fragment says something else of it than its own table",
        "remove the fragments in index/: restores do not need them; backups then store again what they do not find",
    )
}

/// Reads the table of a pack of `size` bytes and nothing else of it.
pub(crate) async fn read_table(
    store: &Arc<dyn Store>,
    object: ObjectHash,
    size: u64,
    vault: VaultId,
) -> Result<Verdict, StoreError> {
    Ok(match PackReading::begin(store.as_ref(), object, size, vault).await? {
        Ok(reading) => Verdict {
            bytes_read: reading.encoded_trailer().len() as u64,
            holds: Some(Held::new(size, reading.trailer(), reading.encoded_trailer())),
            ..Verdict::default()
        },
        Err(damage) => Verdict { damage: Some(damage), ..Verdict::default() },
    })
}

/// Reads a pack of `size` bytes whole and compares it with its name, and with what an index fragment says of it. Ends
/// early, without a verdict, when the watch is cancelled.
pub(crate) async fn read_pack(
    store: &Arc<dyn Store>,
    object: ObjectHash,
    size: u64,
    vault: VaultId,
    held: Option<Held>,
    watch: &Arc<dyn Watch>,
) -> Result<Verdict, StoreError> {
    let mut verdict = Verdict::default();
    let mut reading = match PackReading::begin(store.as_ref(), object, size, vault).await? {
        Ok(reading) => reading,
        Err(damage) => {
            verdict.damage = Some(damage);
            return Ok(verdict);
        }
    };
    verdict.holds = Some(Held::new(size, reading.trailer(), reading.encoded_trailer()));
    verdict.table_differs = held.is_some_and(|held| !held.is_from(reading.encoded_trailer()));
    let name = object.pack_name();
    for piece in reading.pieces() {
        if watch.is_cancelled() {
            return Ok(verdict);
        }
        let bytes = store.get_range(&name, piece.range.clone()).await?;
        let length = bytes.len() as u64;
        // Hashing takes a while: not on a thread that others wait for.
        let hashed = tokio::task::spawn_blocking(move || {
            reading.take(&piece, &bytes);
            let bad = reading.bad_segments(&piece, &bytes);
            (reading, bad)
        });
        let (back, bad) = hashed.await.map_err(|error| {
            StoreError::new(Kind::Other, "read", name.clone(), store.location()).because(error)
        })?;
        reading = back;
        verdict.segments.extend(bad);
        verdict.bytes_read += length;
        watch.read(length);
    }
    watch.read(size.saturating_sub(verdict.bytes_read));
    verdict.bytes_read = size;
    verdict.damage = match (verdict.segments.first(), reading.finish()) {
        (Some((_, number)), _) => Some(Damage::SegmentHash { number: *number }),
        (None, outcome) => outcome.err(),
    };
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_share_and_another_seed_draws_others() {
        let packs: Vec<_> = (0..100u64)
            .map(|n| StoredPack {
                hash: ObjectHash::of(&n.to_le_bytes()),
                size: n % 7,
                modified: SystemTime::UNIX_EPOCH,
            })
            .collect();
        let draw = |percent, seed| choose(&packs, &ReadPacks::Sample { percent, seed: [seed; 32] });
        assert_eq!(draw(10.0, 1).len(), 10);
        assert_eq!(draw(10.0, 1), draw(10.0, 1));
        assert_ne!(draw(10.0, 1), draw(10.0, 2));
        assert_eq!(draw(0.0, 1).len(), 1);
        assert_eq!(draw(f64::NAN, 1).len(), 1);
        assert_eq!(draw(1e9, 1).len(), 100);
        assert!(choose(&packs, &ReadPacks::None).is_empty());
        assert!(choose(&packs, &ReadPacks::All).windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }
}
