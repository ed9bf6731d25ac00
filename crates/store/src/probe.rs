//! Tries on a store every right that a vault needs, and says what is missing and how to mend it.
//!
//! It works on two small objects below `strongroom-test/` with names that nobody else has, and removes them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{Kind, Store, StoreError, network, random};

const FOLDER: &str = "strongroom-test/";
/// Time stamps of objects may be this far from this machine's clock before it is worth a word.
const SKEW_MAX: Duration = Duration::from_secs(60);

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

/// Tries everything, in an order in which each step stands on those before; what cannot be tried then is left out.
pub async fn probe(store: &dyn Store) -> Vec<Tried> {
    let mut probe = Probe { tried: Vec::new() };
    let Ok(unique) = random::unique_name() else { return probe.tried };
    let (name, mutable) = (format!("{FOLDER}{unique}-written"), format!("{FOLDER}{unique}-replaced"));
    let text = Bytes::from_static(b"Strongroom tries what it may do here.");
    if probe.outcome(Need::Write, store.put(&name, vec![text.clone()]).await).is_none() {
        return probe.tried;
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
        let now = SystemTime::now();
        let ahead = facts.modified.duration_since(now).unwrap_or_default();
        let behind = now.duration_since(facts.modified).unwrap_or_default();
        let skew = ahead.max(behind);
        let words = format!("its clock differs from this machine's by {} s", skew.as_secs());
        probe.expect(Need::Clock, skew <= SKEW_MAX, &words);
    }
    if let Some(objects) = probe.outcome(Need::List, store.list(FOLDER).await) {
        let is_listed = objects.iter().any(|object| object.name == name);
        probe.expect(Need::List, is_listed, "an object that was just written is not in the listing yet");
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
    let deleted = store.delete(&name).await.and(store.delete(&mutable).await);
    if probe.outcome(Need::Delete, deleted).is_some() {
        let gone = store.stat(&name).await.is_err_and(|error| error.kind == Kind::NotFound);
        probe.expect(Need::Delete, gone, "a removed object is still there");
    }
    probe.tried
}

/// The same for a thread that may be blocked.
pub fn probe_blocking(store: Arc<dyn Store>) -> Result<Vec<Tried>, StoreError> {
    let location = store.location();
    network::wait(async move { probe(&*store).await })
        .map_err(|error| StoreError::new(Kind::Other, "try", "", location).because(error))
}

struct Probe {
    tried: Vec<Tried>,
}

impl Probe {
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
    use super::*;
    use crate::{Fault, Faulty, MemoryStore, Operation, Rule, When};

    fn failed(tried: &[Tried]) -> Vec<Need> {
        tried.iter().filter(|tried| tried.problem.is_some()).map(|tried| tried.need).collect()
    }

    #[tokio::test]
    async fn a_good_store_has_no_problem_and_nothing_stays() {
        let store = MemoryStore::new();
        let tried = probe(&store).await;
        assert_eq!(failed(&tried), []);
        assert_eq!(tried.len(), 10);
        assert!(store.list("").await.unwrap().is_empty());
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
            let rule = Rule::new(When::Always, Fault::Error(Kind::PermissionDenied)).on(operation);
            let store = Faulty::new(Arc::new(MemoryStore::new()), 1, vec![rule]);
            let tried = probe(&store).await;
            assert_eq!(failed(&tried), needs, "{operation:?}");
            let first = tried.iter().find_map(|tried| tried.problem.as_ref()).unwrap();
            assert!(first.remedy.contains(word), "{operation:?}: {first:?}");
        }
    }
}
