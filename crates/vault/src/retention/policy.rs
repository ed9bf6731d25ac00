//! The rules.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::calendar::Local;
use super::{Judged, Reason};
use crate::clock;

/// Which snapshots of a group are kept: all that some rule keeps. A rule that is 0, `None` or empty is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// The last so many.
    pub keep_last: u32,
    /// The last one of each of the last so many hours that have one.
    pub keep_hourly: u32,
    /// Likewise of days.
    pub keep_daily: u32,
    /// Likewise of weeks, which begin on Monday.
    pub keep_weekly: u32,
    /// Likewise of months.
    pub keep_monthly: u32,
    /// Likewise of years.
    pub keep_yearly: u32,
    /// All made within this time before the newest of the group: a machine that is away loses nothing.
    pub keep_within: Option<Duration>,
    /// All of the last so many days before now, of 24 hours each. `None`, with no other rule, is for ever.
    pub keep_days: Option<u32>,
    /// All with any of these tags.
    pub keep_tags: Vec<String>,
    /// How many of the newest good ones stay whatever the rules say; 0 means 1. This is no rule.
    pub keep_at_least: u32,
}

type Bucket = fn(&Local) -> (i64, i32);

impl Policy {
    /// Whether there is no rule, so that nothing is forgotten.
    pub fn is_empty(&self) -> bool {
        let Self {
            keep_last,
            keep_hourly,
            keep_daily,
            keep_weekly,
            keep_monthly,
            keep_yearly,
            keep_within,
            keep_days,
            keep_tags,
            keep_at_least: _,
        } = self;
        [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly]
            .into_iter()
            .all(|count| *count == 0)
            && keep_within.is_none()
            && keep_days.is_none()
            && keep_tags.is_empty()
    }

    fn counted(&self) -> [(u32, Reason, Bucket); 5] {
        [
            (self.keep_hourly, Reason::Hourly, Local::hour),
            (self.keep_daily, Reason::Daily, Local::day),
            (self.keep_weekly, Reason::Weekly, Local::week),
            (self.keep_monthly, Reason::Monthly, Local::month),
            (self.keep_yearly, Reason::Yearly, Local::year),
        ]
    }

    /// Says what speaks for the snapshots of one group, the newest first.
    pub(super) fn apply(&self, group: &mut [&mut Judged<'_>], offset: &dyn Fn(i64) -> i32, now: SystemTime) {
        for one in group.iter_mut().take(self.keep_last as usize) {
            one.reasons.push(Reason::Last);
        }
        for (count, reason, bucket) in self.counted() {
            keep_one_each(group, count, reason, |seconds| bucket(&Local::new(seconds, offset(seconds))));
        }
        let newest = group.first().map_or(0, |one| one.candidate.time.0);
        let within = self.keep_within.map(|within| newest.saturating_sub(whole(within)));
        let days = self.keep_days.map(|days| clock::seconds(now) - i64::from(days) * 86_400);
        for one in group.iter_mut() {
            let time = one.candidate.time.0;
            if within.is_some_and(|from| time >= from) {
                one.reasons.push(Reason::Within);
            }
            if days.is_some_and(|from| time >= from) {
                one.reasons.push(Reason::Days);
            }
            if one.candidate.tags.iter().any(|tag| self.keep_tags.contains(tag)) {
                one.reasons.push(Reason::Tag);
            }
        }
        for one in group.iter_mut().take(self.keep_at_least.max(1) as usize) {
            if one.reasons.is_empty() {
                one.reasons.push(Reason::Newest);
            }
        }
    }
}

/// Keeps the first in each of the first `count` buckets.
fn keep_one_each(
    group: &mut [&mut Judged<'_>],
    count: u32,
    reason: Reason,
    bucket: impl Fn(i64) -> (i64, i32),
) {
    // Clocks that are set back may come to a bucket twice.
    let mut seen = BTreeSet::new();
    for one in group.iter_mut() {
        if seen.len() >= count as usize {
            break;
        }
        if seen.insert(bucket(one.candidate.time.0)) {
            one.reasons.push(reason);
        }
    }
}

fn whole(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
