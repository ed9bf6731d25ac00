//! Tries on a store every right that a vault needs, and says what is missing and how to mend it.
//!
//! It works on two small objects below `strongroom-test/` with names that nobody else has, and removes them with their
//! folder.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::survey::{Survey, Surveyed};
use crate::{Kind, Lock, LockMode, ObjectInfo, Store, StoreError, network, random};

const FOLDER: &str = "strongroom-test/";
/// Time stamps of objects may be this far from this machine's clock before it is worth a word.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// How long to wait for an object to come into the listing, and how often to look.
const LISTING_WAIT: Duration = Duration::from_secs(10);
const LISTING_PAUSE: Duration = Duration::from_millis(500);
/// For how long an object is locked to see whether the store keeps that.
const LOCKED_FOR: Duration = Duration::from_secs(3);
/// Some stores round the times of objects down to this.
const ROUNDING: Duration = Duration::from_secs(1);

/// Something that a vault needs of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Writing a new object.
    Write,
    /// A name that exists keeps its bytes when it is written again.
    KeepWritten,
    /// Reading a whole object.
    Read,
    /// Reading a part of an object.
    ReadRange,
    /// Reading the end of an object of unknown size.
    ReadEnd,
    /// Asking for an object's size and time.
    Look,
    /// Listing, with what was just written in it.
    List,
    /// Exchanging the bytes of an object, for leases.
    Replace,
    /// Removing an object. A backup does without; cleaning up does not.
    Delete,
    /// A clock near that of this machine.
    Clock,
    /// Locking an object, in a store that says it can.
    Lock,
}

impl Need {
    /// For people, to follow "may it" and "it cannot".
    pub fn words(self) -> &'static str {
        match self {
            Self::Write => "write a new object",
            Self::KeepWritten => "keep an object that is written again",
            Self::Read => "read an object",
            Self::ReadRange => "read a part of an object",
            Self::ReadEnd => "read the end of an object",
            Self::Look => "tell an object's size and time",
            Self::List => "list objects, fresh ones included",
            Self::Replace => "replace an object",
            Self::Delete => "remove an object",
            Self::Clock => "tell the time",
            Self::Lock => "lock an object until a moment",
        }
    }

    /// What to do when it is refused.
    fn remedy(self) -> &'static str {
        match self {
            Self::Write | Self::KeepWritten | Self::Replace => {
                "give this key the right to write (S3: s3:PutObject; Swift: the container's write ACL)"
            }
            Self::Read | Self::ReadRange | Self::ReadEnd | Self::Look => {
                "give this key the right to read (S3: s3:GetObject; Swift: the container's read ACL)"
            }
            Self::List => {
                "give this key the right to list the bucket itself, not only its objects (S3: s3:ListBucket; Swift: .rlistings in the read ACL)"
            }
            Self::Delete => {
                "backups work without it; cleaning up needs it (S3: s3:DeleteObject; Swift: the container's write ACL)"
            }
            Self::Lock => {
                "give this key the rights to lock (S3: s3:PutObjectRetention, s3:GetObjectRetention); without them use no --lock"
            }
            Self::Clock => "set the clock of this machine or of the server",
        }
    }
}

/// How one need was met.
#[derive(Debug)]
pub struct Tried {
    /// What was tried.
    pub need: Need,
    /// What went wrong, if anything.
    pub problem: Option<Problem>,
}

/// Why a need is not met.
#[derive(Debug)]
pub struct Problem {
    /// What happened, in words.
    pub message: String,
    /// The store's own error, when it was one.
    pub error: Option<StoreError>,
    /// What to do about it.
    pub remedy: String,
}

/// What was learned on the way; `None` is what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What the store says that it offers. `creates_only` only if that was seen to hold.
    pub survey: Survey,
    /// After how long a listing had what was just written; as long as was waited, when it never had.
    pub listing_lag: Option<Duration>,
    /// Whether this credential may remove objects.
    pub deletes: Option<bool>,
    /// The store's clock minus that of this machine, in seconds.
    pub clock_offset: Option<i64>,
}

/// What a test of a store came to.
#[derive(Debug, Default)]
pub struct Probed {
    /// Each need, and how it was met.
    pub tried: Vec<Tried>,
    /// What was learned on the way.
    pub found: Found,
}

/// Tries everything, in an order in which each step stands on those before; what cannot be tried then is left out.
pub async fn probe(store: &dyn Store, surveyed: &dyn Surveyed) -> Probed {
    let mut probe = Probe::default();
    let Ok(unique) = random::unique_name() else { return probe.done() };
    let begun = SystemTime::now();
    let (name, mutable) = (format!("{FOLDER}{unique}-written"), format!("{FOLDER}{unique}-replaced"));
    let text = Bytes::from_static(b"Strongroom tries what it may do here.");
    if probe.outcome(Need::Write, store.put(&name, vec![text.clone()]).await).is_none() {
        return probe.done();
    }
    let again = store.put(&name, vec![Bytes::from_static(b"other bytes")]).await;
    let kept = match again {
        // A store that refuses to overwrite may say so in its own way, as long as the bytes stay.
        Ok(()) | Err(_) => store.get(&name, 1 << 10).await,
    };
    if probe.bytes(Need::Read, kept.as_ref().map(Clone::clone).map_err(copy), None) {
        probe.expect(
            Need::KeepWritten,
            kept.is_ok_and(|bytes| bytes == text),
            "a second write changed its bytes",
        );
    }
    probe.bytes(Need::ReadRange, store.get_range(&name, 11..16).await, text.get(11..16));
    let end = store.get_tail(&name, 5).await;
    let size = end.as_ref().map_or(0, |(_, size)| *size);
    if probe.bytes(
        Need::ReadEnd,
        end.map(|(bytes, _)| bytes),
        text.len().checked_sub(5).and_then(|at| text.get(at..)),
    ) {
        probe.expect(Need::ReadEnd, size == text.len() as u64, "it tells a wrong size");
    }
    if let Some(facts) = probe.outcome(Need::Look, store.stat(&name).await) {
        // It was written between `begun` and now.
        let ahead = facts.modified.duration_since(SystemTime::now()).unwrap_or_default();
        let behind = begun.duration_since(facts.modified).unwrap_or_default().saturating_sub(ROUNDING);
        let skew = ahead.max(behind);
        let words = format!("its clock differs from this machine's by {} s", skew.as_secs());
        probe.expect(Need::Clock, skew <= SKEW_MAX, &words);
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        probe.found.clock_offset = Some(seconds(ahead) - seconds(behind));
    }
    probe.listing(store, &name).await;
    probe.found.survey = surveyed.survey(&name).await;
    if probe.fails(Need::KeepWritten) {
        probe.found.survey.creates_only = Some(false);
    }
    let mut replaced = Ok(());
    for bytes in [&b"first"[..], b"second"] {
        replaced = replaced.and(store.replace(&mutable, vec![Bytes::copy_from_slice(bytes)]).await);
    }
    if probe.outcome(Need::Replace, replaced).is_some() {
        let found = store.get(&mutable, 1 << 10).await;
        probe.expect(
            Need::Replace,
            found.is_ok_and(|bytes| bytes == "second"),
            "it still gives the old bytes",
        );
    }
    if probe.found.survey.locks == Some(true) {
        probe.locking(store, &format!("{FOLDER}{unique}-locked"), text).await;
    }
    // In a bucket that locks everything by itself they can only be hidden.
    let deleted = store.discard(&name).await.and(store.discard(&mutable).await);
    if probe.outcome(Need::Delete, deleted).is_some() {
        let gone = store.stat(&name).await.is_err_and(|error| error.kind == Kind::NotFound);
        probe.expect(Need::Delete, gone, "a removed object is still there");
    }
    probe.found.deletes = Some(!probe.fails(Need::Delete));
    surveyed.remove_folder(FOLDER).await;
    probe.done()
}

/// The same for a thread that may be blocked.
pub fn probe_blocking(store: Arc<dyn Store>, surveyed: Arc<dyn Surveyed>) -> Result<Probed, StoreError> {
    let location = store.location();
    network::wait(async move { probe(&*store, &*surveyed).await })
        .map_err(|error| StoreError::new(Kind::Other, "try", "", location).because(error))
}

#[derive(Default)]
struct Probe {
    tried: Vec<Tried>,
    found: Found,
}

impl Probe {
    fn done(self) -> Probed {
        Probed { tried: self.tried, found: self.found }
    }

    fn fails(&self, need: Need) -> bool {
        self.tried.iter().any(|tried| tried.need == need && tried.problem.is_some())
    }

    /// Lists until what was written is there.
    async fn listing(&mut self, store: &dyn Store, name: &str) {
        let asked = Instant::now();
        let mut listed = store.list(FOLDER).await;
        let is_there = |listed: &Result<Vec<ObjectInfo>, StoreError>| {
            listed.as_ref().is_ok_and(|objects| objects.iter().any(|object| object.name == name))
        };
        let is_there_at_once = is_there(&listed);
        while listed.is_ok() && !is_there(&listed) && asked.elapsed() < LISTING_WAIT {
            sleep(LISTING_PAUSE).await;
            listed = store.list(FOLDER).await;
        }
        let waited = if is_there_at_once { Duration::ZERO } else { asked.elapsed() };
        let has_come = is_there(&listed);
        if self.outcome(Need::List, listed).is_some() {
            self.found.listing_lag = Some(waited);
            let seconds = waited.as_secs_f32();
            let words = match has_come {
                true => format!("an object that was just written came into the listing {seconds:.1} s later"),
                false => format!("an object that was written {seconds:.1} s ago is not in the listing yet"),
            };
            self.expect(Need::List, is_there_at_once, &words);
        }
    }

    /// Locks an object for seconds, and looks whether the store keeps that: some take locks and ignore them.
    async fn locking(&mut self, store: &dyn Store, name: &str, text: Bytes) {
        let ahead = self.found.clock_offset.unwrap_or(0);
        let now = SystemTime::now();
        let theirs = match ahead {
            0.. => now + Duration::from_secs(ahead.unsigned_abs()),
            _ => now - Duration::from_secs(ahead.unsigned_abs()),
        };
        let lock = Lock { until: theirs + LOCKED_FOR, mode: LockMode::Governance };
        let put = store.put_locked(name, vec![text], None, lock).await;
        if self.outcome(Need::Lock, put).is_none() {
            self.found.survey.locks = Some(false);
            return;
        }
        let told = store.locked(name).await;
        let is_told = told.is_ok_and(|found| found.is_some_and(|found| found.until + ROUNDING >= lock.until));
        let is_kept = store.delete(name).await.is_err_and(|error| error.kind == Kind::Locked);
        self.expect(Need::Lock, is_told && is_kept, "it takes a lock and does not keep it");
        if !(is_told && is_kept) {
            self.found.survey.locks = Some(false);
        }
        let begun = Instant::now();
        while begun.elapsed() < LOCKED_FOR * 2 && store.locked(name).await.is_ok_and(|lock| lock.is_some()) {
            sleep(LISTING_PAUSE).await;
        }
        if let Err(error) = store.discard(name).await {
            self.outcome::<()>(Need::Lock, Err(error));
        }
    }

    /// Notes how a call went.
    fn outcome<T>(&mut self, need: Need, outcome: Result<T, StoreError>) -> Option<T> {
        let (found, problem) = match outcome {
            Ok(found) => (Some(found), None),
            Err(error) => {
                let remedy = match error.kind {
                    Kind::PermissionDenied => need.remedy(),
                    _ => error.hint(),
                };
                (
                    None,
                    Some(Problem {
                        message: error.kind.to_string(),
                        remedy: remedy.to_owned(),
                        error: Some(error),
                    }),
                )
            }
        };
        self.tried.push(Tried { need, problem });
        found
    }

    /// Notes whether the right bytes came; any, when nothing is expected.
    fn bytes(&mut self, need: Need, outcome: Result<Bytes, StoreError>, expected: Option<&[u8]>) -> bool {
        let Some(found) = self.outcome(need, outcome) else { return false };
        self.expect(
            need,
            expected.is_none_or(|expected| found == expected),
            "it gives other bytes than were written",
        );
        true
    }

    /// Notes something that has to hold once the call itself went well.
    fn expect(&mut self, need: Need, holds: bool, message: &str) {
        let problem = (!holds).then(|| Problem {
            message: message.to_owned(),
            error: None,
            remedy: match need {
                Need::Clock => need.remedy().to_owned(),
                _ => {
                    "this store does not do what it should: choose another, or ask whoever runs it".to_owned()
                }
            },
        });
        match self.tried.last_mut() {
            Some(last) if last.need == need => {
                if last.problem.is_none() {
                    last.problem = problem;
                }
            }
            _ => self.tried.push(Tried { need, problem }),
        }
    }
}

/// The parts of an error that a report needs, for a call whose outcome is looked at twice.
fn copy(error: &StoreError) -> StoreError {
    let source: Option<String> = std::error::Error::source(error).map(ToString::to_string);
    let copy = StoreError::new(error.kind, error.operation, &*error.object, &*error.location);
    match source {
        Some(source) => copy.because(source),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use async_trait::async_trait;

    use super::*;
    use crate::{Fault, Faulty, MemoryStore, Operation, Rule, When};

    /// Whoever has looked at nothing but says that all is well.
    struct Boast;

    #[async_trait]
    impl Surveyed for Boast {
        async fn survey(&self, _object: &str) -> Survey {
            Survey { creates_only: Some(true), keeps_versions: Some(true), ..Survey::default() }
        }
    }

    fn failed(tried: &[Tried]) -> Vec<Need> {
        tried.iter().filter(|tried| tried.problem.is_some()).map(|tried| tried.need).collect()
    }

    fn failing(operation: Operation, when: When, fault: Fault) -> Faulty {
        Faulty::new(Arc::new(MemoryStore::new()), 1, vec![Rule::new(when, fault).on(operation)])
    }

    #[tokio::test]
    async fn a_good_store_has_no_problem_and_nothing_stays() {
        let store = MemoryStore::new();
        let Probed { tried, found } = probe(&store, &Boast).await;
        assert_eq!(failed(&tried), []);
        assert_eq!(tried.len(), 10);
        assert!(store.list("").await.unwrap().is_empty());
        let expected = Found {
            survey: Boast.survey("").await,
            listing_lag: Some(Duration::ZERO),
            deletes: Some(true),
            clock_offset: Some(0),
        };
        assert_eq!(found, expected);
    }

    /// Whoever says that there are locks.
    struct Locks;

    #[async_trait]
    impl Surveyed for Locks {
        async fn survey(&self, _object: &str) -> Survey {
            Survey { locks: Some(true), ..Survey::default() }
        }
    }

    #[tokio::test]
    async fn a_lock_is_believed_when_it_was_seen_to_hold() {
        let store = MemoryStore::with_locks();
        let Probed { tried, found } = probe(&store, &Locks).await;
        assert_eq!((failed(&tried), found.survey.locks), (vec![], Some(true)));
        assert!(tried.iter().any(|tried| tried.need == Need::Lock));
        assert!(store.list("").await.unwrap().is_empty());
        let Probed { tried, found } = probe(&MemoryStore::new(), &Locks).await;
        assert_eq!((failed(&tried), found.survey.locks), (vec![Need::Lock], Some(false)));
    }

    #[tokio::test]
    async fn each_missing_right_is_named_with_its_remedy() {
        for (operation, needs, word) in [
            (Operation::Put, vec![Need::Write], "PutObject"),
            (Operation::Get, vec![Need::Read, Need::Replace], "GetObject"),
            (Operation::GetRange, vec![Need::ReadRange], "GetObject"),
            (Operation::GetTail, vec![Need::ReadEnd], "GetObject"),
            (Operation::Stat, vec![Need::Look, Need::Delete], "GetObject"),
            (Operation::List, vec![Need::List], "ListBucket"),
            (Operation::Replace, vec![Need::Replace], "PutObject"),
            (Operation::Delete, vec![Need::Delete], "DeleteObject"),
        ] {
            let store = failing(operation, When::Always, Fault::Error(Kind::PermissionDenied));
            let Probed { tried, found } = probe(&store, &Boast).await;
            assert_eq!(failed(&tried), needs, "{operation:?}");
            let first = tried.iter().find_map(|tried| tried.problem.as_ref()).unwrap();
            assert!(first.remedy.contains(word), "{operation:?}: {first:?}");
            match operation {
                Operation::Put => assert_eq!(found, Found::default()),
                Operation::List => assert_eq!(found.listing_lag, None),
                Operation::Stat => assert_eq!(found.clock_offset, None),
                Operation::Delete => assert_eq!(found.deletes, Some(false)),
                _ => assert_eq!(found.deletes, Some(true)),
            }
        }
    }

    /// A store whose first listings show nothing.
    #[derive(Debug)]
    struct Lagging(MemoryStore, AtomicU32);

    #[async_trait]
    impl Store for Lagging {
        fn location(&self) -> String {
            self.0.location()
        }

        async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
            self.0.put(name, parts).await
        }

        async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
            self.0.replace(name, parts).await
        }

        async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
            self.0.get(name, size_max).await
        }

        async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
            self.0.get_range(name, range).await
        }

        async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
            self.0.get_tail(name, length_max).await
        }

        async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
            self.0.stat(name).await
        }

        async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
            let shows = self.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err();
            if shows { self.0.list(prefix).await } else { Ok(Vec::new()) }
        }

        async fn delete(&self, name: &str) -> Result<(), StoreError> {
            self.0.delete(name).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn how_late_a_listing_is_gets_measured() {
        for (late, lag, words) in [
            (3, LISTING_PAUSE * 3, "came into the listing 1.5 s later"),
            (1000, LISTING_WAIT, "written 10.0 s ago is not in the listing yet"),
        ] {
            let store = Lagging(MemoryStore::new(), AtomicU32::new(late));
            let Probed { tried, found } = probe(&store, &Boast).await;
            let waited = found.listing_lag.unwrap();
            assert!(waited >= lag && waited < lag + LISTING_PAUSE, "{waited:?}");
            assert_eq!(failed(&tried), [Need::List]);
            let problem = tried.iter().find_map(|tried| tried.problem.as_ref()).unwrap();
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }
}
