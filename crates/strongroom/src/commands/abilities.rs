//! What a store can do, in words.

use std::time::{Duration, SystemTime};

use ::backup::{Abilities, LockSetting};
use serde_json::{Value, json};
use vault::clock::seconds;

use super::units::shown_duration;
use crate::output;

/// What was found, from the most to the least general; what was not found out is left out.
pub fn words(found: &Abilities) -> String {
    let mut words = Vec::new();
    let mut add = |fact: Option<bool>, yes: &str, no: &str| {
        words.extend(fact.map(|fact| if fact { yes } else { no }.to_owned()));
    };
    add(found.creates_only, "creates conditionally", "looks before it creates");
    add(found.listing_lag_ms.map(|lag| lag == 0), "lists at once", &late(found.listing_lag_ms));
    add(found.locks, &lock(found.lock_days), "no object lock");
    add(found.keeps_versions, "versioning on", "versioning off");
    add(found.gives_grants, "gives grants", "gives no grants");
    add(found.deletes, "this credential may delete", "this credential may not delete");
    words.extend(found.clock_offset_seconds.filter(|offset| *offset != 0).map(clock));
    words.join("; ")
}

fn late(lag_ms: Option<u64>) -> String {
    format!("lists {:.1} s late", Duration::from_millis(lag_ms.unwrap_or(0)).as_secs_f32())
}

fn lock(days: Option<u64>) -> String {
    match days {
        Some(days @ 1..) => format!("locks every object for {}", output::count(days, "day")),
        _ => "object lock possible, but nothing is locked by itself".to_owned(),
    }
}

/// A lock that the settings ask for.
pub fn lock_words(lock: &LockSetting) -> String {
    format!("{} ({})", shown_duration(lock.period), lock.mode)
}

fn clock(offset: i64) -> String {
    let time = output::duration(Duration::from_secs(offset.unsigned_abs()));
    format!("its clock is {time} {}", if offset > 0 { "ahead" } else { "behind" })
}

/// What does not protect the vault, if that is so.
pub fn danger(found: &Abilities, is_remote: bool) -> Option<String> {
    let who = if is_remote { "whoever holds this store's credential" } else { "whoever may write there" };
    let is_locked = found.locks == Some(true) && found.lock_days.is_some_and(|days| days > 0);
    let why = match (is_locked, found.keeps_versions) {
        (true, _) => return None,
        (false, Some(true)) => {
            return Some(format!("what is deleted stays as an older version, until {who} deletes that too"));
        }
        (false, Some(false)) if found.locks == Some(true) => {
            "no object is locked by itself, and no versions are kept"
        }
        (false, Some(false)) if found.locks == Some(false) => {
            "there is neither an object lock nor versioning"
        }
        (false, Some(false)) => "no versions are kept, and nobody could find out about locks",
        (false, None) => "nobody could find out whether versions are kept",
    };
    Some(format!("{who} can delete the vault: {why}"))
}

/// How long ago it was tested, by this machine's clock.
pub fn age(found: &Abilities) -> String {
    age_at(found.tested, seconds(SystemTime::now()))
}

fn age_at(tested: i64, now: i64) -> String {
    let passed = u64::try_from(now.saturating_sub(tested)).unwrap_or(0);
    let (amount, unit) = match passed {
        0..120 => return "just now".to_owned(),
        120..7200 => (passed / 60, "minute"),
        7200..172_800 => (passed / 3600, "hour"),
        _ => (passed / 86_400, "day"),
    };
    format!("{} ago", output::count(amount, unit))
}

/// All of it; null is what is not known.
pub fn json(found: &Abilities) -> Value {
    json!({
        "creates_conditionally": found.creates_only,
        "listing_lag": found.listing_lag_ms.map(|lag| Duration::from_millis(lag).as_secs_f64()),
        "versioning": found.keeps_versions, "object_lock": found.locks, "lock_days": found.lock_days,
        "grants": found.gives_grants, "deletes": found.deletes, "clock_offset": found.clock_offset_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Abilities = Abilities {
        tested: 0,
        creates_only: Some(true),
        listing_lag_ms: Some(0),
        keeps_versions: Some(false),
        locks: Some(false),
        lock_days: None,
        gives_grants: Some(true),
        deletes: Some(true),
        clock_offset_seconds: Some(0),
    };

    #[test]
    fn every_fact_has_its_words() {
        assert_eq!(
            words(&PLAIN),
            "creates conditionally; lists at once; no object lock; versioning off; gives grants; this credential may delete"
        );
        assert_eq!(words(&Abilities::default()), "");
        let other = Abilities {
            tested: 0,
            creates_only: Some(false),
            listing_lag_ms: Some(1520),
            keeps_versions: Some(true),
            locks: Some(true),
            lock_days: Some(30),
            gives_grants: Some(false),
            deletes: Some(false),
            clock_offset_seconds: Some(-3),
        };
        assert_eq!(
            words(&other),
            "looks before it creates; lists 1.5 s late; locks every object for 30 days; versioning on; gives no grants; \
             this credential may not delete; its clock is 3.0 s behind"
        );
    }

    #[test]
    fn what_protects_nothing_is_said() {
        let told = |keeps_versions, locks, lock_days| {
            danger(&Abilities { keeps_versions, locks, lock_days, ..PLAIN }, true)
        };
        let plain = told(Some(false), Some(false), None).unwrap();
        assert_eq!(
            plain,
            "whoever holds this store's credential can delete the vault: there is neither an object lock nor versioning"
        );
        assert!(danger(&PLAIN, false).unwrap().starts_with("whoever may write there can delete"));
        assert_eq!(told(Some(true), Some(true), Some(30)), None);
        assert!(told(Some(true), Some(false), None).unwrap().contains("until whoever"));
        assert!(told(Some(false), Some(true), Some(0)).unwrap().contains("no object is locked by itself"));
        assert!(told(Some(false), None, None).unwrap().contains("can delete the vault"));
        assert!(told(None, None, None).unwrap().contains("can delete the vault"));
    }

    #[test]
    fn ages_are_rounded_down() {
        for (passed, words) in [
            (-5, "just now"),
            (119, "just now"),
            (120, "2 minutes ago"),
            (7200, "2 hours ago"),
            (3 * 86_400 + 5, "3 days ago"),
        ] {
            assert_eq!(age_at(1_700_000_000, 1_700_000_000 + passed), words);
        }
        assert_eq!(age_at(i64::MIN, 0), "106,751,991,167,300 days ago");
    }
}
