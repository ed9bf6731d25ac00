//! Locks: what is needed stays locked, and what is locked is not deleted.
//!
//! Until when each object is locked is kept in a record ([`crate::locks`]), so that a cleanup with nothing to do costs a
//! handful of requests, however many objects there are. An object that no record names is asked for once; after the loss
//! of the record, all are.
//!
//! Records are not signed: whoever may write into the store could say that all is locked, and wait until nothing is. So
//! what no setting allows is not believed, and each cleanup asks for a few objects that it knows; one that is not locked
//! as the record says is enough to ask for all.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream;
use store::{Kind, Lock, ObjectInfo, StoreError};

use super::plan::Plan;
use super::view::{Standing, View};
use super::{Collector, Report};
use crate::clock::seconds;
use crate::condemned::{Condemned, What};
use crate::error::VaultError;
use crate::name;

/// Rounds moments up to whole seconds.
const ALMOST_A_SECOND: Duration = Duration::from_nanos(999_999_999);
/// How many objects are asked for though a record names them.
const PROBED: usize = 4;
/// What is told of a lock may be rounded by this.
const ROUNDING: i64 = 2;
/// How many objects are asked for, or locked, at once.
const AT_ONCE: usize = 16;

/// What is kept locked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Held {
    /// Objects that are needed and locked.
    pub objects: u64,
    /// The first moment at which one of them is not locked any more, by the store's clock.
    pub until: Option<SystemTime>,
    /// Objects whose locks the store was asked for, because no record named them.
    pub asked: u64,
    /// Locks that were made longer.
    pub extended: u64,
    /// The settings ask for locks, and this store has none.
    pub is_impossible: bool,
}

impl Collector<'_> {
    /// Makes the locks of all that is needed last for half of the period at least.
    pub(super) async fn hold(
        &mut self,
        view: &View,
        plan: &Plan,
        report: &mut Report,
    ) -> Result<(), VaultError> {
        let Some(setting) = self.options.lock else { return Ok(()) };
        let now = view.now;
        let names = self.needed(view, plan).await?;
        let before = self.locks.until.clone();
        // What is locked and not needed any more is known still, for who deletes it.
        let needed: HashSet<&String> = names.iter().collect();
        let most = seconds(now + self.options.lock_longest.max(setting.period)) + ROUNDING;
        let is_known =
            |name: &String, until: i64| until <= most && (needed.contains(name) || until > seconds(now));
        self.locks.until.retain(|name, until| is_known(name, *until));
        self.probe(&names, report).await?;
        let unknown: Vec<String> =
            names.iter().filter(|name| !self.locks.until.contains_key(*name)).cloned().collect();
        report.held.asked += unknown.len() as u64;
        let gone = self.ask(unknown).await?;
        let lock = setting.from(now);
        let half = now + setting.period / 2;
        let is_due =
            |name: &&String| !gone.contains(*name) && self.locks.of(name).is_none_or(|until| until < half);
        let due: Vec<String> = names.iter().filter(is_due).cloned().collect();
        for group in due.chunks(AT_ONCE) {
            // By an old view it might lock for long what others have condemned.
            self.still_there().await?;
            let calls = group.iter().map(|name| self.store.lock(name, lock));
            for (name, outcome) in group.iter().zip(futures_util::future::join_all(calls).await) {
                match outcome {
                    Ok(()) => {
                        self.locks.until.insert(name.clone(), seconds(lock.until));
                        report.held.extended += 1;
                    }
                    Err(error) if error.kind == Kind::NotFound => {}
                    Err(error) if error.kind == Kind::Unsupported => {
                        report.held.is_impossible = true;
                        return Ok(());
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let ends = names.iter().filter_map(|name| self.locks.of(name)).filter(|until| *until > now);
        report.held.objects = ends.clone().count() as u64;
        report.held.until = ends.min();
        if self.locks.until != before {
            let nonce = (self.random)();
            self.locks.write(self.store.as_ref(), self.vault, nonce).await?;
        }
        Ok(())
    }

    /// Compares what is known of a few objects with what the store says, and forgets all that is known when one is not
    /// locked for so long.
    async fn probe(&mut self, names: &[String], report: &mut Report) -> Result<(), StoreError> {
        let known: Vec<&String> = names.iter().filter(|name| self.locks.until.contains_key(*name)).collect();
        let mut chosen: BTreeMap<String, i64> = BTreeMap::new();
        for _ in 0..PROBED {
            let number = u128::from_le_bytes((self.random)());
            let place = number.checked_rem(known.len() as u128).and_then(|place| usize::try_from(place).ok());
            let Some(name) = place.and_then(|place| known.get(place)) else { return Ok(()) };
            chosen.extend(self.locks.until.remove_entry(*name));
        }
        report.held.asked += chosen.len() as u64;
        let gone = self.ask(chosen.keys().cloned().collect()).await?;
        let is_true = |(name, until): (&String, &i64)| {
            gone.contains(name) || self.locks.until.get(name).is_some_and(|found| found + ROUNDING >= *until)
        };
        if !chosen.iter().all(is_true) {
            self.locks.until.clear();
        }
        Ok(())
    }

    /// The names of all objects without which something that a snapshot needs could not be had.
    async fn needed(&mut self, view: &View, plan: &Plan) -> Result<Vec<String>, VaultError> {
        let condemned: HashSet<Condemned> = view
            .row
            .condemnations
            .iter()
            .flat_map(|condemnation| condemnation.objects.iter().copied())
            .collect();
        let stays = |what, hash| {
            let object = Condemned { what, hash };
            !condemned.contains(&object) && !self.condemned_now.contains(&object)
        };
        // Who cannot read a snapshot does not know what it needs.
        let is_blind = view.unreadable_snapshots().next().is_some();
        let packs = view.objects.keys().filter(|object| is_blind || plan.needed.contains(*object));
        let mut names: Vec<String> =
            packs.filter(|object| stays(What::Pack, **object)).map(|object| object.pack_name()).collect();
        let living = view.snapshots.iter().filter(|(_, standing)| **standing != Standing::Expired);
        names.extend(living.map(|(id, _)| id.snapshot_name()));
        let fragments = view.fragments.iter().filter(|fragment| stays(What::Fragment, fragment.hash));
        names.extend(fragments.map(|fragment| fragment.hash.index_name()));
        let relocations = view.moved.records.iter().filter(|record| {
            super::view::hash_in(record, name::RELOCATIONS).is_some_and(|hash| stays(What::Relocation, hash))
        });
        names.extend(relocations.map(|record| record.name.clone()));
        for list in self.store.list_each(&[name::KEYS, name::SETTINGS]).await? {
            names.extend(list.into_iter().map(|ObjectInfo { name, .. }| name));
        }
        names.push(name::DESCRIPTOR.to_owned());
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Learns from the store until when these are locked. Returns those that are not there.
    async fn ask(&mut self, names: Vec<String>) -> Result<HashSet<String>, StoreError> {
        let store = self.store;
        let asked = names.into_iter().map(|name| async move {
            let lock = store.locked(&name).await;
            (name, lock)
        });
        let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
        let mut gone = HashSet::new();
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(Some(Lock { until, .. })) => {
                    // Not a moment too early.
                    self.locks.until.insert(name, seconds(until + ALMOST_A_SECOND));
                }
                Ok(None) => {}
                Err(error) if error.kind == Kind::NotFound => {
                    gone.insert(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// When the last lock of a condemned snapshot ends, if one has not ended yet. As long as it is there, what it needs
    /// stays too: a snapshot is whole, or gone.
    pub(super) async fn snapshots_locked_until(
        &mut self,
        view: &View,
    ) -> Result<Option<SystemTime>, VaultError> {
        let condemned = view.row.of(What::Snapshot);
        let there = condemned.iter().filter(|id| view.snapshots.get(*id) == Some(&Standing::Expired));
        let names: Vec<String> = there.map(|id| id.snapshot_name()).collect();
        self.ask_if_unknown(&names).await?;
        let ends = names.iter().filter_map(|name| self.locks.of(name));
        Ok(ends.filter(|until| *until > view.now).max())
    }

    async fn ask_if_unknown(&mut self, names: &[String]) -> Result<(), StoreError> {
        if self.options.lock.is_some() && self.store.has_locks() {
            let unknown =
                names.iter().filter(|name| !self.locks.until.contains_key(*name)).cloned().collect();
            self.ask(unknown).await?;
        }
        Ok(())
    }

    /// Takes from `going` what is locked still, or needed by a snapshot that is: it stays condemned.
    pub(super) async fn spare_locked(
        &mut self,
        view: &View,
        going: &mut Vec<Condemned>,
        snapshots: Option<SystemTime>,
        report: &mut Report,
    ) -> Result<(), VaultError> {
        let names: Vec<String> = going.iter().map(Condemned::object_name).collect();
        self.ask_if_unknown(&names).await?;
        let was_needed = |object: &Condemned| {
            let seen = view.objects.get(&object.hash).filter(|_| object.what == What::Pack);
            seen.is_some_and(|seen| {
                seen.origins.iter().any(|origin| view.expired_needs.contains_key(&origin.pack))
            })
        };
        going.retain(|object| {
            let own = self.locks.of(&object.object_name()).filter(|until| *until > view.now);
            let until = own.max(snapshots.filter(|_| was_needed(object)));
            if until.is_some() {
                report.note_locked(view, object, until);
            }
            until.is_none()
        });
        Ok(())
    }
}

impl Report {
    /// Notes something condemned that a lock keeps.
    pub(super) fn note_locked(&mut self, view: &View, object: &Condemned, until: Option<SystemTime>) {
        self.locked += 1;
        if object.what == What::Pack {
            self.bytes_locked += view.objects.get(&object.hash).map_or(0, |pack| pack.size);
        }
        self.locked_until = self.locked_until.max(until);
    }
}
