//! The ways in which servers write a time.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// `Sun, 06 Nov 1994 08:49:37 GMT`, of the headers `Date`, `Last-Modified` and `Retry-After`.
pub(crate) fn from_http(text: &str) -> Option<SystemTime> {
    Some(rfc2822::parse(text).ok()?.timestamp().into())
}

/// `1763881200.12345`: seconds since 1970, of the header `X-Timestamp`.
pub(crate) fn from_seconds(text: &str) -> Option<SystemTime> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.get(..fraction.len().min(9))?;
    let mut nanoseconds = if fraction.is_empty() { 0 } else { fraction.parse::<u32>().ok()? };
    for _ in fraction.len()..9 {
        nanoseconds = nanoseconds.checked_mul(10)?;
    }
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds.parse().ok()?, nanoseconds))
}

/// `2026-11-23T07:00:00.123450`, without a zone and meant as UTC, of a listing.
pub(crate) fn from_listing(text: &str) -> Option<SystemTime> {
    let time: DateTime = text.parse().ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

/// How long from one time to another, both as `2026-11-23T07:00:00.000000Z`, as Keystone writes them.
pub(crate) fn between(start: &str, end: &str) -> Option<Duration> {
    let (start, end): (Timestamp, Timestamp) = (start.parse().ok()?, end.parse().ok()?);
    Duration::try_from(end.duration_since(start)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_in_every_spelling() {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let later = moment + Duration::from_micros(123_450);
        assert_eq!(from_http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(moment));
        assert_eq!(from_seconds("784111777"), Some(moment));
        assert_eq!(from_seconds("784111777.12345"), Some(later));
        assert_eq!(from_listing("1994-11-06T08:49:37"), Some(moment));
        assert_eq!(from_listing("1994-11-06T08:49:37.123450"), Some(later));
        let life = between("1994-11-06T08:49:37.000000Z", "1994-11-06T09:49:37.000000Z");
        assert_eq!(life, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn nonsense_is_no_time() {
        for text in
            ["", "now", "-1", "1e9", "1.-5", "1.ä2345678", "99999999999999999999", "9999-99-99T00:00:00"]
        {
            assert_eq!(
                (from_http(text), from_seconds(text).filter(|_| !text.is_empty()), from_listing(text)),
                (None, None, None),
                "{text}"
            );
        }
        assert_eq!(between("1994-11-06T09:49:37Z", "1994-11-06T08:49:37Z"), None);
    }
}
