//! A year of daily backups in simulated time: what a vault then stores, against a fresh one with the same snapshots.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backup::{
    CleanupRequest, Dropped, Policy, Progress, SnapshotList, Vault, clean_up, clean_up_regrouping, forget,
};
use corpus::Corpus;
use store::{MemoryStore, Store};
use support::{create, run};
use vault::SnapshotId;
use vault::retention::{self, Candidate, Group};

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: usize = 365;
/// Days between two cleanups.
const CLEANUP_EVERY: usize = 7;

struct Year {
    store: Arc<MemoryStore>,
    vault: Arc<Vault>,
    /// The snapshot of each day.
    days: Vec<SnapshotId>,
    size: usize,
}

impl Year {
    /// Lives through it, with the default delays.
    fn live(cache: &Path, source: &Path, clean: impl Fn(&Arc<Vault>, Arc<dyn Store>)) -> Self {
        let store = Arc::new(MemoryStore::new());
        let vault = create(store.clone(), cache);
        let mut corpus = Corpus::plant(source);
        let mut days = Vec::new();
        for day in 0..DAYS {
            if day > 0 {
                corpus.live_a_day();
            }
            days.push(run(&vault, source).snapshot.unwrap());
            if day % CLEANUP_EVERY == CLEANUP_EVERY - 1 {
                forget_by_policy(&vault, &store);
                clean(&vault, store.clone());
            }
            store.advance(DAY);
        }
        Self { store, vault, days, size: corpus.size() }
    }

    /// The days whose snapshots are still there.
    fn living_days(&self) -> BTreeSet<usize> {
        let list = SnapshotList::load(&self.vault).unwrap();
        let day = |id| self.days.iter().position(|known| *known == id).unwrap();
        list.snapshots.iter().map(|snapshot| day(snapshot.id)).collect()
    }
}

/// As `forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12` does. The machine's clock stands nearly still here, so the
/// times are those at which the store received the snapshots.
fn forget_by_policy(vault: &Arc<Vault>, store: &MemoryStore) {
    let policy = Policy { keep_daily: 7, keep_weekly: 4, keep_monthly: 12, ..Policy::default() };
    let list = SnapshotList::load(vault).unwrap();
    let candidates: Vec<_> = list
        .snapshots
        .iter()
        .map(|snapshot| Candidate {
            id: snapshot.id,
            group: Group::default(),
            time: (vault::clock::seconds(snapshot.received), 0),
            received: snapshot.received,
            tags: Vec::new(),
            is_good: true,
            pin: None,
        })
        .collect();
    let verdicts = retention::judge(&candidates, &policy, |_| 0, store.now());
    let dropped: Vec<_> = candidates
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| !verdict.is_kept())
        .map(|(candidate, _)| candidate.id)
        .collect();
    forget(vault, &list, &dropped, Dropped::Named, false).unwrap();
}

/// What a vault stores that has the snapshots of these days and never had others.
fn fresh(cache: &Path, source: &Path, days: &BTreeSet<usize>) -> u64 {
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache);
    let mut corpus = Corpus::plant(source);
    for day in 0..DAYS {
        if day > 0 {
            corpus.live_a_day();
        }
        if days.contains(&day) {
            run(&vault, source);
        }
    }
    stored(&vault, "")
}

/// Bytes in the store.
fn stored(vault: &Vault, folder: &str) -> u64 {
    vault.wait(vault.store().list(folder)).unwrap().iter().map(|object| object.size).sum()
}

fn measure(clean: impl Fn(&Arc<Vault>, Arc<dyn Store>)) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let begun = std::time::Instant::now();
    let year = Year::live(&make("cache"), &make("source"), clean);
    println!("lived {:?}", begun.elapsed());
    let days = year.living_days();
    let after_a_year = stored(&year.vault, "");
    let fresh = fresh(&make("cache of another"), &make("source again"), &days);
    println!("fresh {:?}", begun.elapsed());
    for folder in ["packs/", "index/", "snapshots/", "trash/", "condemned/", "relocations/", "leases/"] {
        println!("{folder} {}", stored(&year.vault, folder));
    }
    println!("days {days:?}");
    let times = after_a_year as f64 / fresh as f64;
    println!("corpus {} bytes; after {DAYS} days {after_a_year} bytes, fresh {fresh}: {times:.3} times", year.size);
    times
}

#[test]
fn without_a_key() {
    measure(|_, store| {
        clean_up(&store, &CleanupRequest::default(), &Arc::new(Progress::new())).unwrap();
    });
}

#[test]
fn with_the_key() {
    let share = std::env::var("SHARE").map_or(0.25, |share| share.parse().unwrap());
    measure(|vault, _| {
        let begun = std::time::Instant::now();
        let report =
            clean_up_regrouping(vault, &CleanupRequest::default(), share, &Arc::new(Progress::new())).unwrap();
        println!(
            "live {} unused {} moved {} closed {} regrouped {} in {:?} {:?}",
            report.bytes_live, report.bytes_unused, report.bytes_moved, report.packs_closed, report.packs_regrouped,
            begun.elapsed(), report.not_understood
        );
    });
}
