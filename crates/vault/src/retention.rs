//! Which snapshots a policy keeps: a function from a list of snapshots to a verdict on each. It touches no store.
//!
//! Groups are judged apart. In a group only those count that can be relied on: they are *good* and their date can be
//! right. All others take no place from them: no policy forgets them, they go when somebody names them.
//!
//! Whatever the policy says, the newest good snapshots of each group stay, at least one. And a policy without any rule
//! forgets nothing.

mod calendar;
mod policy;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::name::{SnapshotId, SystemId};
use crate::pins::Until;

pub use policy::Policy;

/// A writer's clock may be ahead of the store's by this much.
pub const AHEAD_MAX: Duration = Duration::from_secs(3600);

/// What is judged together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Group {
    /// The machine.
    pub system: SystemId,
    /// The job.
    pub job: [u8; 16],
    /// What else keeps groups apart, such as paths, which only the caller can know.
    pub label: Vec<u8>,
}

/// A snapshot as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: SnapshotId,
    /// Where it belongs.
    pub group: Group,
    /// When it was made, as its writer says: seconds since 1970 (UTC) and nanoseconds.
    pub time: (i64, u32),
    /// When the store received it.
    pub received: SystemTime,
    /// Its tags; empty for whoever cannot read them.
    pub tags: Vec<String>,
    /// It can be read, the owner signed it, and all it needs is there.
    pub is_good: bool,
    /// Its pin or hold.
    pub pin: Option<Until>,
}

impl Candidate {
    /// Whether it may count as the newest and take a place.
    fn is_reliable(&self) -> bool {
        self.is_good && self.has_a_date()
    }

    /// Whether its date can be right: not after the store received it, and not before there were backups.
    fn has_a_date(&self) -> bool {
        let latest = self.received.checked_add(AHEAD_MAX).unwrap_or(self.received);
        self.time.0 >= 0 && self.time.0 <= clock::seconds(latest)
    }
}

/// Why a snapshot stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There is no rule.
    NoPolicy,
    /// Somebody pinned it.
    Pinned,
    /// Somebody holds it until a date.
    Held,
    /// It cannot be relied on.
    NotGood,
    /// Its date cannot be right.
    Misdated,
    /// It is one of the last.
    Last,
    /// It is the last of its hour.
    Hourly,
    /// It is the last of its day.
    Daily,
    /// It is the last of its week.
    Weekly,
    /// It is the last of its month.
    Monthly,
    /// It is the last of its year.
    Yearly,
    /// It was made within a time before the newest.
    Within,
    /// It is younger than so many days.
    Days,
    /// It has a tag that is kept.
    Tag,
    /// No rule keeps it, but it is one of the newest good ones.
    Newest,
}

impl Reason {
    /// One word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoPolicy => "no_policy",
            Self::Pinned => "pinned",
            Self::Held => "held",
            Self::NotGood => "not_good",
            Self::Misdated => "misdated",
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "within",
            Self::Days => "days",
            Self::Tag => "tag",
            Self::Newest => "newest",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPolicy => "there is no rule",
            Self::NotGood => "not whole: stays until it is named",
            Self::Misdated => "its date cannot be right: stays until it is named",
            Self::Within => "recent",
            Self::Days => "young enough",
            Self::Newest => "newest good one",
            _ => self.name(),
        })
    }
}

/// Why a snapshot goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// No rule keeps it.
    NoRule,
    /// Somebody named it.
    Named,
}

impl Dropped {
    /// One word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::Named => "named",
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRule => "no rule keeps it",
            Self::Named => "named",
        })
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for all these reasons; never none.
    Keep(Vec<Reason>),
    /// It goes.
    Forget(Dropped),
}

impl Verdict {
    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Keep(_))
    }
}

/// A candidate and what speaks for it.
#[derive(Debug)]
struct Judged<'a> {
    candidate: &'a Candidate,
    reasons: Vec<Reason>,
}

impl<'a> Judged<'a> {
    /// With the reasons that are its own and no rule's.
    fn new(candidate: &'a Candidate, policy: &Policy, now: SystemTime) -> Self {
        let pinned = match candidate.pin.filter(|pin| pin.holds(now)) {
            Some(Until::Unpinned) => Some(Reason::Pinned),
            Some(Until::Moment(_)) => Some(Reason::Held),
            None => None,
        };
        let reasons = [
            policy.is_empty().then_some(Reason::NoPolicy),
            pinned,
            (!candidate.is_good).then_some(Reason::NotGood),
            (!candidate.has_a_date()).then_some(Reason::Misdated),
        ];
        Self { candidate, reasons: reasons.into_iter().flatten().collect() }
    }

    fn verdict(self) -> Verdict {
        if self.reasons.is_empty() { Verdict::Forget(Dropped::NoRule) } else { Verdict::Keep(self.reasons) }
    }
}

/// Judges each snapshot, in the order given. `offset` says how many seconds the local clock is ahead of UTC at a moment
/// in seconds since 1970; `now` is a moment by the store's clock.
pub fn judge(
    candidates: &[Candidate],
    policy: &Policy,
    offset: impl Fn(i64) -> i32,
    now: SystemTime,
) -> Vec<Verdict> {
    let mut judged: Vec<Judged<'_>> =
        candidates.iter().map(|candidate| Judged::new(candidate, policy, now)).collect();
    let mut groups: BTreeMap<&Group, Vec<&mut Judged<'_>>> = BTreeMap::new();
    for one in judged.iter_mut().filter(|one| one.candidate.is_reliable()) {
        groups.entry(&one.candidate.group).or_default().push(one);
    }
    for mut group in groups.into_values() {
        group.sort_by_key(|one| Reverse((one.candidate.time, one.candidate.id)));
        if !policy.is_empty() {
            policy.apply(&mut group, &offset, now);
        }
    }
    judged.into_iter().map(Judged::verdict).collect()
}

#[cfg(test)]
mod tests;
