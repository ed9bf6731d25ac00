//! Amounts as people type them.

use std::time::Duration;

use store::{LockMode, StorageClass};

/// Bytes with an optional unit: K, M, G, T (binary, with or without iB).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("{unit:?} is not a unit; use K, M, G or T")),
    };
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a size such as 500M"))?;
    let bytes = value * factor as f64;
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err("the size is out of range".into())
    }
}

/// Bytes as [`parse_size`] reads them, or none at all.
pub fn parse_size_or_none(text: &str) -> Result<u64, String> {
    if text.trim() == "0" { Ok(0) } else { parse_size(text) }
}

/// Units of time in seconds. A year has 365 days; months have no length.
const TIMES: [(&str, u64); 6] =
    [("y", 365 * 86_400), ("w", 7 * 86_400), ("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];

/// Whole numbers with units, such as `36h` or `1w3d`; 0 needs none.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; use y, w, d, h, min and s, such as 36h or 1w3d");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut seconds = 0u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, length) = TIMES.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*length));
        seconds = part.and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    if text.trim().is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// A duration in words, in the largest unit that gives a whole number.
pub fn shown_duration(duration: Duration) -> String {
    const NAMES: [(&str, u64); 4] = [("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let seconds = duration.as_secs();
    let unit = NAMES.iter().find(|(_, length)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| "none".to_owned(), |(name, length)| crate::output::count(seconds / length, name))
}

/// A storage class by its name.
pub fn parse_class(text: &str) -> Result<StorageClass, String> {
    StorageClass::new(text).map_err(str::to_owned)
}

/// A storage class, or that none is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOrNone(pub Option<StorageClass>);

/// A storage class by its name, or `none`.
pub fn parse_class_or_none(text: &str) -> Result<ClassOrNone, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(ClassOrNone(None));
    }
    parse_class(text).map(|class| ClassOrNone(Some(class)))
}

/// A period, or that none is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodOrNone(pub Option<Duration>);

/// A duration, or `none`.
pub fn parse_period_or_none(text: &str) -> Result<PeriodOrNone, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(PeriodOrNone(None));
    }
    parse_duration(text).map(|period| PeriodOrNone(Some(period)))
}

/// How a lock is kept: `governance` or `compliance`.
pub fn parse_lock_mode(text: &str) -> Result<LockMode, String> {
    LockMode::from_name(text).ok_or_else(|| format!("{text:?} is neither governance nor compliance"))
}

/// A number of days: at least one.
pub fn parse_days(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(days) if days > 0 => Ok(days),
        _ => Err(format!("{text:?} is not a number of days; use 1 or more")),
    }
}

/// A number of days, or `forever`, which is more of them than anything is old.
pub fn parse_days_or_forever(text: &str) -> Result<u32, String> {
    match text.parse() {
        _ if text.eq_ignore_ascii_case("forever") => Ok(u32::MAX),
        Ok(days) if days > 0 => Ok(days),
        _ => Err(format!("{text:?} is not a number of days; use 1 or more, or forever")),
    }
}

/// How many threads: at least one.
pub fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("it must be a number from 1 to 1024".into()),
    }
}

/// A share of 0 or more, with or without a percent sign.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
    if (0.0..=1000.0).contains(&value) { Ok(value) } else { Err("it must be from 0 to 1000".into()) }
}

/// A share: more than 0 and at most 100, with or without a percent sign.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
    if value > 0.0 && value <= 100.0 {
        Ok(value)
    } else {
        Err("it must be more than 0 and at most 100".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("500"), Ok(500));
        assert_eq!(parse_size("1.5K"), Ok(1536));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        for wrong in ["lots", "5 parsecs", "0", "", "-1", "1e3", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!((parse_size_or_none("0"), parse_size_or_none("1K")), (Ok(0), Ok(1024)));
        assert!(parse_size_or_none("").is_err());
    }

    #[test]
    fn durations_are_read_as_people_write_them_and_shown() {
        for (text, seconds, shown) in [
            ("0", 0, "none"),
            ("0d", 0, "none"),
            ("90s", 90, "90 seconds"),
            ("36h", 129_600, "36 hours"),
            ("1w3d", 864_000, "10 days"),
            ("1d 12h", 129_600, "36 hours"),
            ("5min", 300, "5 minutes"),
            ("1y", 31_536_000, "365 days"),
        ] {
            let duration = parse_duration(text);
            assert_eq!(duration, Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(shown_duration(duration.unwrap()), shown, "{text}");
        }
        for wrong in
            ["", " ", "7", "d", "7x", "1m", "-1d", "1.5d", "99999999999999999999d", "9999999999999999y"]
        {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn days_are_counted_or_for_ever() {
        assert_eq!((parse_days_or_forever("30"), parse_days_or_forever("Forever")), (Ok(30), Ok(u32::MAX)));
        for wrong in ["0", "-1", "1.5", "", "ever", "4294967296"] {
            assert!(parse_days_or_forever(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn shares_and_threads_have_limits() {
        assert_eq!(parse_percent("2.5%"), Ok(2.5));
        assert_eq!(parse_percent("100"), Ok(100.0));
        for wrong in ["0", "101", "NaN", "", "%"] {
            assert!(parse_percent(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!((parse_share("0"), parse_share("12.5 %")), (Ok(0.0), Ok(12.5)));
        assert!(parse_share("-1").is_err() && parse_share("NaN").is_err());
        assert_eq!(parse_threads("8"), Ok(8));
        assert!(parse_threads("0").is_err() && parse_threads("many").is_err());
    }
}
