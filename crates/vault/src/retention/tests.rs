use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::name::ObjectHash;

/// Seconds since 1970 of `2026-01-31 12:00` (UTC), by counting days.
fn seconds(text: &str) -> i64 {
    let numbers: Vec<i64> = text.split(['-', ' ', ':']).map(|number| number.parse().unwrap()).collect();
    let [year, month, day, hour, minute] = numbers[..] else { panic!("{text}") };
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let february = if is_leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths.iter().take(month as usize - 1).sum();
    ((years + months + day - 1) * 24 + hour) * 3600 + minute * 60
}

fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds as u64)
}

fn candidate(seconds: i64) -> Candidate {
    Candidate {
        id: ObjectHash::of(&seconds.to_le_bytes()),
        group: Group::default(),
        time: (seconds, 0),
        received: moment(seconds),
        tags: Vec::new(),
        is_good: true,
        pin: None,
    }
}

fn utc(_: i64) -> i32 {
    0
}

/// The places of those that stay.
fn kept(candidates: &[Candidate], policy: &Policy, now: SystemTime) -> Vec<usize> {
    let verdicts = judge(candidates, policy, utc, now);
    (0..candidates.len()).filter(|place| verdicts[*place].is_kept()).collect()
}

/// Policy, dates, and which of these stay.
fn table(cases: &[(Policy, &[&str], &[&str])]) {
    for (policy, dates, expected) in cases {
        let candidates: Vec<_> = dates.iter().map(|date| candidate(seconds(date))).collect();
        let kept = kept(&candidates, policy, moment(seconds("2026-03-01 00:00")));
        let kept: Vec<_> = kept.into_iter().map(|place| dates[place]).collect();
        assert_eq!(kept, *expected, "{policy:?}");
    }
}

#[test]
fn each_rule_keeps_its_own() {
    let none = Policy::default;
    let days = ["2026-01-01 08:00", "2026-01-01 20:00", "2026-01-02 08:00", "2026-01-04 08:00"];
    let hours = ["2026-01-01 08:00", "2026-01-01 08:59", "2026-01-01 09:00", "2026-01-01 23:30"];
    // 2025-12-29 was a Monday.
    let weeks = ["2025-12-28 23:59", "2025-12-29 00:00", "2026-01-04 23:59", "2026-01-05 00:00"];
    let months = ["2025-11-30 12:00", "2025-12-01 12:00", "2025-12-31 12:00", "2026-02-01 12:00"];
    let years = ["2022-06-01 00:00", "2024-01-01 00:00", "2024-12-31 23:59", "2026-01-01 00:00"];
    table(&[
        (none(), &days, &days),
        (Policy { keep_at_least: 2, ..none() }, &days, &days),
        (Policy { keep_last: 1, ..none() }, &days, &days[3..]),
        (Policy { keep_last: 3, ..none() }, &days, &days[1..]),
        (Policy { keep_last: 9, ..none() }, &days, &days),
        (Policy { keep_hourly: 1, ..none() }, &hours, &hours[3..]),
        (Policy { keep_hourly: 2, ..none() }, &hours, &hours[2..]),
        (Policy { keep_hourly: 9, ..none() }, &hours, &hours[1..]),
        (Policy { keep_daily: 2, ..none() }, &days, &days[2..]),
        (Policy { keep_daily: 3, ..none() }, &days, &days[1..]),
        (Policy { keep_weekly: 2, ..none() }, &weeks, &weeks[2..]),
        (Policy { keep_weekly: 3, ..none() }, &weeks, &[weeks[0], weeks[2], weeks[3]]),
        (Policy { keep_monthly: 2, ..none() }, &months, &months[2..]),
        (Policy { keep_monthly: 3, ..none() }, &months, &[months[0], months[2], months[3]]),
        (Policy { keep_yearly: 2, ..none() }, &years, &years[2..]),
        (Policy { keep_yearly: 9, ..none() }, &years, &[years[0], years[2], years[3]]),
    ]);
}

#[test]
fn times_are_measured_from_the_newest_and_from_now() {
    let none = Policy::default;
    let dates = ["2026-01-01 00:00", "2026-01-30 00:00", "2026-01-31 00:00", "2026-02-01 00:00"];
    let day = Duration::from_secs(86_400);
    table(&[
        (Policy { keep_within: Some(day), ..none() }, &dates, &dates[2..]),
        (Policy { keep_within: Some(2 * day), ..none() }, &dates, &dates[1..]),
        (Policy { keep_within: Some(Duration::MAX), ..none() }, &dates, &dates),
        // Now is 2026-03-01, so that 30 days reach back to 2026-01-30.
        (Policy { keep_days: Some(30), ..none() }, &dates, &dates[1..]),
        (Policy { keep_days: Some(28), ..none() }, &dates, &dates[3..]),
        // All are too old: the newest good one stays all the same.
        (Policy { keep_days: Some(1), ..none() }, &dates, &dates[3..]),
        (Policy { keep_days: Some(1), keep_at_least: 3, ..none() }, &dates, &dates[1..]),
        (Policy { keep_days: Some(u32::MAX), ..none() }, &dates, &dates),
    ]);
}

#[test]
fn rules_add_up_and_say_why() {
    let dates = ["2025-12-31 12:00", "2026-01-01 08:00", "2026-01-01 09:00", "2026-01-02 09:00"];
    let mut candidates: Vec<_> = dates.iter().map(|date| candidate(seconds(date))).collect();
    candidates[1].tags = vec!["release".into()];
    let policy = Policy {
        keep_last: 1,
        keep_daily: 2,
        keep_yearly: 2,
        keep_tags: vec!["other".into(), "release".into()],
        ..Policy::default()
    };
    let verdicts = judge(&candidates, &policy, utc, moment(seconds("2026-01-03 00:00")));
    assert_eq!(
        verdicts,
        [
            Verdict::Keep(vec![Reason::Yearly]),
            Verdict::Keep(vec![Reason::Tag]),
            Verdict::Keep(vec![Reason::Daily]),
            Verdict::Keep(vec![Reason::Last, Reason::Daily, Reason::Yearly]),
        ]
    );
    candidates[1].tags.clear();
    assert_eq!(kept(&candidates, &policy, moment(0)), [0, 2, 3]);
}

#[test]
fn groups_are_judged_apart() {
    let mut candidates: Vec<_> = (0..6).map(|n| candidate(1_000_000 + n)).collect();
    candidates[0].group.system = SystemId::new([1; 16]);
    candidates[1].group.job = [1; 16];
    candidates[2].group.label = b"/etc".to_vec();
    let policy = Policy { keep_last: 1, ..Policy::default() };
    assert_eq!(kept(&candidates, &policy, moment(0)), [0, 1, 2, 5]);
}

#[test]
fn what_cannot_be_relied_on_stays_and_takes_no_place() {
    let date = seconds("2026-01-05 12:00");
    let mut candidates: Vec<_> = (0..5).map(|n| candidate(date + n)).collect();
    // Received an hour before it was made, as it says; a second more is too much.
    candidates[2].received = moment(date + 2 - 3600);
    candidates[3].received = moment(date + 3 - 3601);
    candidates[4].is_good = false;
    let policy = Policy { keep_last: 1, keep_daily: 1, ..Policy::default() };
    let verdicts = judge(&candidates, &policy, utc, moment(date));
    let gone = Verdict::Forget(Dropped::NoRule);
    assert_eq!(
        verdicts,
        [
            gone.clone(),
            gone,
            Verdict::Keep(vec![Reason::Last, Reason::Daily]),
            Verdict::Keep(vec![Reason::Misdated]),
            Verdict::Keep(vec![Reason::NotGood]),
        ]
    );
    let ancient = Candidate { time: (i64::MIN, 0), ..candidate(0) };
    let far = Candidate { time: (i64::MAX, 0), ..candidate(0) };
    for verdict in judge(&[ancient, far], &policy, utc, moment(0)) {
        assert_eq!(verdict, Verdict::Keep(vec![Reason::Misdated]));
    }
}

#[test]
fn pins_and_holds_keep_and_a_hold_ends() {
    let mut candidates: Vec<_> = (0..4).map(|n| candidate(1000 + n)).collect();
    candidates[0].pin = Some(Until::Unpinned);
    candidates[1].pin = Some(Until::Moment(2000));
    let policy = Policy { keep_last: 1, ..Policy::default() };
    assert_eq!(kept(&candidates, &policy, moment(1999)), [0, 1, 3]);
    assert_eq!(kept(&candidates, &policy, moment(2000)), [0, 3]);
    let verdicts = judge(&candidates, &policy, utc, moment(1999));
    assert_eq!(verdicts[0], Verdict::Keep(vec![Reason::Pinned]));
    assert_eq!(verdicts[1], Verdict::Keep(vec![Reason::Held]));
}

#[test]
fn days_are_those_of_the_zone() {
    let dates = ["2026-01-01 22:30", "2026-01-01 23:30", "2026-01-02 00:30"];
    let candidates: Vec<_> = dates.iter().map(|date| candidate(seconds(date))).collect();
    let policy = Policy { keep_daily: 9, ..Policy::default() };
    let days = |offset: i32| {
        let verdicts = judge(&candidates, &policy, |_| offset, moment(0));
        verdicts.iter().map(Verdict::is_kept).collect::<Vec<_>>()
    };
    assert_eq!(days(0), [false, true, true]);
    assert_eq!(days(3600), [true, false, true]);
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let counts = prop::array::uniform6(0u32..4);
    let within = prop::option::of(0u64..100);
    let days = prop::option::of(0u32..100);
    (counts, within, days, 0u32..4, any::<bool>()).prop_map(|(counts, within, days, keep_at_least, tag)| {
        Policy {
            keep_last: counts[0],
            keep_hourly: counts[1],
            keep_daily: counts[2],
            keep_weekly: counts[3],
            keep_monthly: counts[4],
            keep_yearly: counts[5],
            keep_within: within.map(|days| Duration::from_secs(days * 86_400)),
            keep_days: days,
            keep_tags: if tag { vec!["kept".to_owned()] } else { Vec::new() },
            keep_at_least,
        }
    })
}

/// Some are not good, some misdated; all made in the three years before [`NOW`], in two groups.
fn some_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0i64..3 * 365 * 24, any::<[bool; 3]>(), 0u8..10, any::<u64>());
    prop::collection::vec(one, 0..24).prop_map(|all| {
        let make = |(hour, [tag, other_group, ahead], quality, id): (i64, [bool; 3], u8, u64)| {
            let time = NOW - hour * 3600;
            let late = if ahead { 0 } else { 100 };
            Candidate {
                id: ObjectHash::of(&id.to_le_bytes()),
                group: Group { job: [u8::from(other_group); 16], ..Group::default() },
                received: moment(if quality == 0 { time - 7200 } else { time + late }),
                is_good: quality != 1,
                tags: if tag { vec!["kept".to_owned()] } else { Vec::new() },
                ..candidate(time)
            }
        };
        all.into_iter().map(make).collect()
    })
}

const NOW: i64 = 1_800_000_000;

proptest! {
    #[test]
    fn the_newest_good_ones_always_stay(candidates in some_candidates(), policy in a_policy()) {
        let verdicts = judge(&candidates, &policy, utc, moment(NOW));
        for group in candidates.iter().map(|candidate| &candidate.group) {
            let mut members: Vec<_> = candidates
                .iter()
                .zip(&verdicts)
                .filter(|(candidate, _)| candidate.group == *group && candidate.is_reliable())
                .collect();
            members.sort_by_key(|(candidate, _)| Reverse(candidate.time));
            let floor = policy.keep_at_least.max(1) as usize;
            let dropped = members.iter().take(floor).filter(|(_, verdict)| !verdict.is_kept());
            // Of two made at once either may be the newest.
            let ties = members.windows(2).filter(|pair| pair[0].0.time == pair[1].0.time).count();
            prop_assert!(ties > 0 || dropped.count() == 0);
            prop_assert!(members.is_empty() || members.iter().any(|(_, verdict)| verdict.is_kept()));
        }
    }

    #[test]
    fn what_cannot_be_relied_on_changes_nothing_for_the_others(
        candidates in some_candidates(), policy in a_policy(),
    ) {
        let verdicts = judge(&candidates, &policy, utc, moment(NOW));
        let reliable: Vec<_> = candidates.iter().filter(|one| one.is_reliable()).cloned().collect();
        let alone = judge(&reliable, &policy, utc, moment(NOW));
        let together: Vec<_> = candidates
            .iter()
            .zip(verdicts)
            .filter(|(candidate, _)| candidate.is_reliable())
            .map(|(_, verdict)| verdict)
            .collect();
        prop_assert_eq!(alone, together);
    }

    #[test]
    fn no_policy_forgets_what_cannot_be_relied_on(candidates in some_candidates(), policy in a_policy()) {
        let verdicts = judge(&candidates, &policy, utc, moment(NOW));
        for (candidate, verdict) in candidates.iter().zip(verdicts) {
            prop_assert!(candidate.is_reliable() || verdict.is_kept());
        }
    }

    #[test]
    fn who_keeps_more_of_the_last_forgets_no_more(candidates in some_candidates(), policy in a_policy()) {
        // Setting the first rule of a policy is no such step: without a rule everything stays.
        let policy = Policy { keep_last: policy.keep_last.max(1), ..policy };
        let more = Policy { keep_last: policy.keep_last + 1, ..policy.clone() };
        let kept_before = kept(&candidates, &policy, moment(NOW));
        let kept_after = kept(&candidates, &more, moment(NOW));
        prop_assert!(kept_before.iter().all(|place| kept_after.contains(place)));
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(candidates in some_candidates(), policy in a_policy()) {
        let mut verdicts = judge(&candidates, &policy, utc, moment(NOW));
        let mut backwards = candidates;
        backwards.reverse();
        verdicts.reverse();
        prop_assert_eq!(judge(&backwards, &policy, utc, moment(NOW)), verdicts);
    }
}
