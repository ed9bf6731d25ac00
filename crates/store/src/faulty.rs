//! A store that fails on purpose.
//!
//! Rules say which calls fail, and how. Chance is drawn from the seed, the rule, the operation, the name and how
//! often this operation met this name before: not from the order in which calls of different names arrive, so a run
//! with many tasks fails in the same places every time it is repeated.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::random::{absorb, mix, unit};
use crate::{Kind, Lock, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error, and nothing happened.
    Error(Kind),
    /// An error, though it was done: the answer was lost on the way.
    ErrorAfter(Kind),
    /// A read succeeds with some of its bytes missing at the end. Breaks the contract, as a bad proxy does.
    Truncate,
    /// A read succeeds with one bit turned. Breaks the contract, as a bad disk does.
    FlipBit,
    /// It works, later.
    Delay(Duration),
}

/// Which of the calls that a rule matches are hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// Every one.
    Always,
    /// Only this one, counted from 0 in order of arrival.
    Nth(u64),
    /// This one and all after it, counted from 0 in order of arrival.
    From(u64),
    /// Each with this probability, `0.0..=1.0`.
    Chance(f64),
}

/// A fault for some calls.
#[derive(Clone, Debug)]
pub struct Rule {
    operation: Option<Operation>,
    changes_only: bool,
    prefix: String,
    when: When,
    fault: Fault,
}

impl Rule {
    /// A rule for every operation and every name.
    pub fn new(when: When, fault: Fault) -> Self {
        Self { operation: None, changes_only: false, prefix: String::new(), when, fault }
    }

    /// The same rule for one operation only.
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// The same rule for calls that change the store only.
    pub fn on_changes(self) -> Self {
        Self { changes_only: true, ..self }
    }

    /// The same rule for names (of a listing: folders) that begin with `prefix` only.
    pub fn under(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    fn matches(&self, operation: Operation, name: &str) -> bool {
        let can_hit = match self.fault {
            Fault::Truncate | Fault::FlipBit => operation.reads_bytes(),
            _ => true,
        };
        let is_meant =
            self.operation.is_none_or(|only| only == operation) && (operation.writes() || !self.changes_only);
        can_hit && is_meant && name.starts_with(&self.prefix)
    }
}

#[derive(Debug, Default)]
struct Counters {
    /// For each rule, how many calls it matched.
    matched: Vec<u64>,
    /// For each operation and name, how many calls there were.
    met: HashMap<(Operation, String), u64>,
    /// How many faults were dealt out.
    dealt: u64,
}

/// Deals out the faults of its rules; the first rule that hits decides.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    seed: u64,
    rules: Vec<Rule>,
    counters: Mutex<Counters>,
}

/// What was decided for one call.
struct Verdict<'a> {
    store: &'a Faulty,
    operation: Operation,
    name: &'a str,
    fault: Option<Fault>,
    /// Chooses the bit or the length.
    number: u64,
}

impl Faulty {
    /// Wraps `inner`; the same seed and rules fail in the same places.
    pub fn new(inner: Arc<dyn Store>, seed: u64, rules: Vec<Rule>) -> Self {
        let counters = Counters { matched: vec![0; rules.len()], ..Counters::default() };
        Self { inner, seed, rules, counters: Mutex::new(counters) }
    }

    /// How many faults were dealt out so far: lets a test show that it tested something.
    pub fn dealt(&self) -> u64 {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).dealt
    }

    /// Decides, waits if that is the verdict, and fails if that is.
    async fn meet<'a>(&'a self, operation: Operation, name: &'a str) -> Result<Verdict<'a>, StoreError> {
        let verdict = self.decide(operation, name);
        match verdict.fault {
            Some(Fault::Error(kind)) => Err(verdict.error(kind)),
            Some(Fault::Delay(duration)) => {
                tokio::time::sleep(duration).await;
                Ok(verdict)
            }
            _ => Ok(verdict),
        }
    }

    fn decide<'a>(&'a self, operation: Operation, name: &'a str) -> Verdict<'a> {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let Counters { matched, met, dealt } = &mut *counters;
        let times = met.entry((operation, name.to_owned())).or_default();
        let number = mix(absorb(self.seed ^ mix(operation as u64), name.as_bytes()) ^ *times);
        *times += 1;
        let mut fault = None;
        for (position, (rule, matched)) in self.rules.iter().zip(matched).enumerate() {
            if !rule.matches(operation, name) {
                continue;
            }
            let arrival = *matched;
            *matched += 1;
            let hits = match rule.when {
                When::Always => true,
                When::Nth(nth) => arrival == nth,
                When::From(first) => arrival >= first,
                When::Chance(probability) => unit(mix(number ^ position as u64)) < probability,
            };
            if hits && fault.is_none() {
                fault = Some(rule.fault);
                *dealt += 1;
            }
        }
        Verdict { store: self, operation, name, fault, number }
    }
}

impl Verdict<'_> {
    fn error(&self, kind: Kind) -> StoreError {
        let location = self.store.location();
        StoreError::new(kind, self.operation.verb(), self.name, location).because("a fault made on purpose")
    }

    /// Fails after the work if that is the verdict.
    fn finish<T>(&self, outcome: T) -> Result<T, StoreError> {
        match self.fault {
            Some(Fault::ErrorAfter(kind)) => Err(self.error(kind)),
            _ => Ok(outcome),
        }
    }

    /// Damages what was read if that is the verdict. There is nothing to damage in no bytes.
    fn damage(&self, bytes: Bytes) -> Bytes {
        let length = bytes.len() as u64;
        match self.fault {
            Some(Fault::Truncate) if length > 0 => bytes.slice(..(self.number % length) as usize),
            Some(Fault::FlipBit) if length > 0 => {
                let bit = self.number % (length * 8);
                let mut bytes = Vec::from(bytes);
                if let Some(byte) = bytes.get_mut((bit / 8) as usize) {
                    *byte ^= 1 << (bit % 8);
                }
                bytes.into()
            }
            _ => bytes,
        }
    }
}

#[async_trait]
impl Store for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Put, name).await?;
        self.inner.put(name, parts).await?;
        verdict.finish(())
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Replace, name).await?;
        self.inner.replace(name, parts).await?;
        verdict.finish(())
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        let verdict = self.meet(Operation::Get, name).await?;
        let bytes = self.inner.get(name, size_max).await?;
        verdict.finish(verdict.damage(bytes))
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let verdict = self.meet(Operation::GetRange, name).await?;
        let bytes = self.inner.get_range(name, range).await?;
        verdict.finish(verdict.damage(bytes))
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let verdict = self.meet(Operation::GetTail, name).await?;
        let (bytes, size) = self.inner.get_tail(name, length_max).await?;
        verdict.finish((verdict.damage(bytes), size))
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        let verdict = self.meet(Operation::Stat, name).await?;
        verdict.finish(self.inner.stat(name).await?)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let verdict = self.meet(Operation::List, prefix).await?;
        verdict.finish(self.inner.list(prefix).await?)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Delete, name).await?;
        self.inner.delete(name).await?;
        verdict.finish(())
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Delete, name).await?;
        self.inner.discard(name).await?;
        verdict.finish(())
    }

    fn has_locks(&self) -> bool {
        self.inner.has_locks()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        self.inner.can_lock().await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Put, name).await?;
        self.inner.put_locked(name, parts, class, lock).await?;
        verdict.finish(())
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Lock, name).await?;
        self.inner.lock(name, lock).await?;
        verdict.finish(())
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        let verdict = self.meet(Operation::Stat, name).await?;
        verdict.finish(self.inner.locked(name).await?)
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Put, name).await?;
        self.inner.put_as(name, parts, class).await?;
        verdict.finish(())
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        let verdict = self.meet(Operation::Stat, name).await?;
        verdict.finish(self.inner.warmth(name).await?)
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        let verdict = self.meet(Operation::Warm, name).await?;
        self.inner.warm(name, how).await?;
        verdict.finish(())
    }
}
