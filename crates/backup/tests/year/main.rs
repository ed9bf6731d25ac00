//! A year of daily backups in simulated time: what a vault then stores, against a fresh one with the same snapshots.
//!
//! The files are few, so that a year takes seconds; the sizes of files, chunks, segments and packs, the policy and the
//! delays are the usual ones. Everything in the store counts, also what is in the trash or waits for its deletion.
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
use store::MemoryStore;
use support::{contents, create, on_disk, run};
use vault::SnapshotId;
use vault::retention::{self, Candidate, Group};

const DAY: Duration = Duration::from_secs(86_400);
const DAYS: usize = 365;
/// Days between two cleanups.
const CLEANUP_EVERY: usize = 7;
/// Every so many cleanups the owner does its part.
const REGROUP_EVERY: usize = 4;
/// As `cleanup --regroup` without a number.
const DEAD_SHARE: f64 = 0.15;

struct Year {
    vault: Arc<Vault>,
    /// The snapshot of each day.
    days: Vec<SnapshotId>,
    size: usize,
}

impl Year {
    /// Lives through it, with the default delays.
    fn live(cache: &Path, source: &Path, mut clean: impl FnMut(&Arc<Vault>, usize)) -> Self {
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
                clean(&vault, (day + 1) / CLEANUP_EVERY);
            }
            store.advance(DAY);
        }
        Self { vault, days, size: corpus.size() }
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
fn fresh(cache: &Path, source: &Path, days: &BTreeSet<usize>, mut at: impl FnMut(usize)) -> u64 {
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache);
    let mut corpus = Corpus::plant(source);
    for day in 0..DAYS {
        if day > 0 {
            corpus.live_a_day();
        }
        if days.contains(&day) {
            run(&vault, source);
            at(day);
        }
    }
    stored(&vault)
}

/// Bytes in the store.
fn stored(vault: &Vault) -> u64 {
    vault.wait(vault.store().list("")).unwrap().iter().map(|object| object.size).sum()
}

#[test]
fn after_a_year_a_vault_stores_little_more_than_a_fresh_one_would() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let source = make("source");
    let (request, progress) = (CleanupRequest::default(), Arc::new(Progress::new()));
    let mut regrouped = 0;
    let year = Year::live(&make("cache"), &source, |vault, week| {
        let report = match week % REGROUP_EVERY {
            0 => clean_up_regrouping(vault, &request, DEAD_SHARE, &progress).unwrap(),
            _ => clean_up(vault.store(), &request, &progress).unwrap(),
        };
        assert_eq!(report.not_understood, [], "week {week}");
        regrouped += report.packs_regrouped;
    });
    let days = year.living_days();
    assert!(days.len() > 18 && days.first().is_some_and(|day| *day < 60), "{days:?}");
    let after_a_year = stored(&year.vault);
    let living = SnapshotList::load(&year.vault).unwrap().snapshots;
    let again = make("source again");
    let mut seen = 0;
    let fresh = fresh(&make("cache of another"), &again, &days, |day| {
        // Some of all ages: reading them all would take longer than the year.
        seen += 1;
        if seen % 4 == 1 {
            let snapshot = living.iter().find(|snapshot| snapshot.id == year.days[day]).unwrap();
            assert!(contents(&year.vault, snapshot, &source) == on_disk(&again), "day {day}");
        }
    });
    let times = after_a_year as f64 / fresh as f64;
    println!(
        "{} bytes of files; after {DAYS} days {after_a_year} bytes are stored, in a fresh vault {fresh}: {times:.3} times; {regrouped} packs regrouped",
        year.size
    );
    assert_eq!(seen, days.len());
    assert!(times <= 1.15, "{times:.3}");
}
